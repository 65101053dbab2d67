//! Permission bits.

use abi::errno::Errno;
use io::{
    caller::Credentials,
    inode::{Inode, Kind, Metadata},
};

/// Wanted access, in the bits of one permission digit.
pub const READ: u32 = 4;
/// Write access.
pub const WRITE: u32 = 2;
/// Execute or search access.
pub const EXECUTE: u32 = 1;

/// Whether `who` may access an object with these attributes in all of the ways `wanted`.
///
/// # Errors
/// `EACCES`.
pub fn check(metadata: &Metadata, who: Credentials, wanted: u32) -> Result<(), Errno> {
    let bits = metadata.permissions;
    if who.uid == 0 {
        // The superuser may do all but execute what nobody may.
        let executable = bits & 0o111 != 0 || metadata.kind == Kind::Directory;
        return if wanted & EXECUTE == 0 || executable { Ok(()) } else { Err(Errno::EACCES) };
    }
    let digit = if who.uid == metadata.uid {
        bits >> 6
    } else if who.gid == metadata.gid {
        bits >> 3
    } else {
        bits
    };
    if digit & wanted == wanted { Ok(()) } else { Err(Errno::EACCES) }
}

/// [`check`] with the attributes of `inode`, read in if need be.
///
/// # Errors
/// `EACCES`, `EIO`.
pub async fn check_inode(inode: &dyn Inode, who: Credentials, wanted: u32) -> Result<(), Errno> {
    let metadata = metadata_of(inode).await?;
    check(&metadata, who, wanted)
}

/// Attributes, without a box if they are in memory.
///
/// # Errors
/// `EIO`.
pub async fn metadata_of(inode: &dyn Inode) -> Result<Metadata, Errno> {
    match inode.metadata_now() {
        Some(metadata) => Ok(metadata),
        None => inode.metadata().await,
    }
}

/// Whether `who` may remove or rename an entry of `directory` that names `victim`: the sticky bit.
///
/// # Errors
/// `EPERM`.
pub fn check_sticky(directory: &Metadata, victim: &Metadata, who: Credentials) -> Result<(), Errno> {
    let sticky = directory.permissions & 0o1000 != 0;
    let owner = who.uid == 0 || who.uid == victim.uid || who.uid == directory.uid;
    if sticky && !owner { Err(Errno::EPERM) } else { Ok(()) }
}
