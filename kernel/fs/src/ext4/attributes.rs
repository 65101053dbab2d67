//! Extended attributes of an inode of ext4, as the library keeps them: in the inode, and in one block.

use super::{
    node::Node,
    volume::{Volume, errno_of, number_of},
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use io::inode::XattrMode;
use rsext4::{Ext4Error, Ext4ErrorKind, Ext4Result, InodeInfo, XattrNamespace, XattrSetMode};

/// The namespaces that have names here.
const SPACES: [(&[u8], XattrNamespace); 3] = [
    (b"user.", XattrNamespace::User),
    (b"trusted.", XattrNamespace::Trusted),
    (b"security.", XattrNamespace::Security),
];

/// The namespace, and the name in it.
fn split(name: &[u8]) -> Result<(XattrNamespace, Box<[u8]>), Errno> {
    let found = SPACES.iter().find_map(|(prefix, space)| Some((*space, name.strip_prefix(*prefix)?.into())));
    found.ok_or(Errno::EOPNOTSUPP)
}

fn failed(error: Ext4Error) -> Errno {
    if error.kind() == Ext4ErrorKind::NotFound { Errno::ENODATA } else { errno_of(error) }
}

/// Takes the attributes away that a new inode has: the library leaves those of the file that had its place before.
pub(super) fn without_any(volume: &mut Volume<'_>, new: InodeInfo) -> Ext4Result<InodeInfo> {
    for name in volume.library.list_xattrs(new.number)? {
        volume.library.remove_xattr(new.number, name.namespace, &name.name)?;
    }
    Ok(new)
}

impl Node {
    pub(super) async fn get_attribute(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let (space, name) = split(name)?;
        let node = self.myself()?;
        let work = move |volume: &mut Volume<'_>| {
            volume.library.get_xattr(number_of(node.number())?, space, &name).map_err(failed)
        };
        self.shared.queue.call(work).await
    }

    pub(super) async fn set_attribute(&self, name: &[u8], value: Vec<u8>, mode: XattrMode) -> Result<(), Errno> {
        let (space, name) = split(name)?;
        let mode = match mode {
            XattrMode::Any => XattrSetMode::Upsert,
            XattrMode::Create => XattrSetMode::Create,
            XattrMode::Replace => XattrSetMode::Replace,
        };
        let work = move |volume: &mut Volume<'_>, node: &Arc<Node>| {
            volume.library.set_xattr(number_of(node.number())?, space, &name, &value, mode).map_err(failed)
        };
        self.myself()?.change(work).await
    }

    pub(super) async fn remove_attribute(&self, name: &[u8]) -> Result<(), Errno> {
        let (space, name) = split(name)?;
        let work = move |volume: &mut Volume<'_>, node: &Arc<Node>| {
            volume.library.remove_xattr(number_of(node.number())?, space, &name).map_err(failed)
        };
        self.myself()?.change(work).await
    }

    pub(super) async fn attribute_names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let node = self.myself()?;
        let work =
            move |volume: &mut Volume<'_>| volume.library.list_xattrs(number_of(node.number())?).map_err(errno_of);
        let found = self.shared.queue.call(work).await?;
        let whole = |name: &rsext4::XattrName| -> Option<Box<[u8]>> {
            let (prefix, _) = SPACES.iter().find(|(_, space)| *space == name.namespace)?;
            Some([*prefix, &name.name].concat().into())
        };
        Ok(found.iter().filter_map(whole).collect())
    }
}
