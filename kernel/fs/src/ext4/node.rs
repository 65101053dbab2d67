//! An inode of ext4 in memory.
//!
//! It caches its attributes (as of the last answer of the metadata coroutine), the names that were looked up in it and the
//! target if it is a link. The size of a regular file is that of its [`Pages`]; the medium follows at write-back.

use super::{
    Shared,
    attributes::without_any,
    data::Places,
    volume::{Volume, errno_of, number_of},
};
use crate::{cache::Pages, namespace::Directory, regular::Regular};
use abi::errno::Errno;
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use hal::{
    PAGE_SIZE,
    sync::{SpinLock, rank},
};
use io::{
    caller::Caller,
    file::File,
    inode::{
        DirEntry, Inode, InodeId, Kind, Metadata, NewInode, Removal, Replace, Reply, SetAttributes, Statistics,
        Timestamp, XattrMode,
    },
};
use rsext4::{
    DeviceNumber, DirectoryCursor, DirectoryEntryType, Ext4Timestamp, FileName, FilePermissions, InodeInfo,
    InodeMetadataUpdate, MutationContext, RenameOptions, SpecialInodeKind,
};

/// Names that one directory remembers.
const NAMES: usize = 1024;
/// Longest target of a symbolic link.
const TARGET: usize = 4095;

/// What a directory remembers of its names.
type Names = BTreeMap<Box<[u8]>, Option<Weak<Node>>>;

/// An inode.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    number: u32,
    kind: Kind,
    metadata: SpinLock<Metadata>,
    disk_size: AtomicU64,
    pub(super) pages: Pages,
    pub(super) places: SpinLock<Option<Places>>,
    /// Names looked up in this directory; `None`: known to be missing.
    names: SpinLock<Names>,
    target: SpinLock<Option<Box<[u8]>>>,
    unlinked: AtomicBool,
    /// The times on the medium are not those of the last change; until they are, those in memory count.
    touched: AtomicBool,
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut nodes = self.shared.nodes.lock();
        // A newer node of the same number may have taken the place.
        if nodes.get(&self.number).is_some_and(|node| node.strong_count() == 0) {
            nodes.remove(&self.number);
        }
        drop(nodes);
        if *self.unlinked.get_mut() {
            self.shared.queue.reap(self.number);
        }
    }
}

fn kind_of(info: &InodeInfo) -> Result<Kind, Errno> {
    Kind::from_mode(u32::from(info.mode)).ok_or(Errno::EUCLEAN)
}

fn entry_kind(kind: DirectoryEntryType) -> Kind {
    match kind {
        DirectoryEntryType::Directory => Kind::Directory,
        DirectoryEntryType::CharacterDevice => Kind::Character,
        DirectoryEntryType::BlockDevice => Kind::Block,
        DirectoryEntryType::Fifo => Kind::Fifo,
        DirectoryEntryType::Socket => Kind::Socket,
        DirectoryEntryType::Symlink => Kind::Symlink,
        DirectoryEntryType::RegularFile | DirectoryEntryType::Unknown => Kind::Regular,
    }
}

fn metadata_of(dev: u64, info: &InodeInfo, kind: Kind) -> Metadata {
    let time = |seconds: u32| Timestamp { seconds: i64::from(seconds as i32), nanos: 0 };
    let rdev = info.device_number.map_or(0, |number| abi::stat::makedev(number.major(), number.minor()));
    Metadata {
        id: InodeId { dev, ino: u64::from(info.number.raw()) },
        kind,
        permissions: u32::from(info.mode) & 0o7777,
        links: u32::from(info.links),
        uid: info.uid,
        gid: info.gid,
        rdev,
        size: info.size,
        blocks: info.blocks,
        accessed: time(info.atime),
        modified: time(info.mtime),
        changed: time(info.ctime),
        // Inodes of the small size have no room for it, and say 0.
        created: (info.btime != 0).then(|| time(info.btime)),
    }
}

impl Shared {
    /// The node of an inode that was just read. Runs on the metadata coroutine, so one number has one node.
    pub(super) fn node(self: &Arc<Self>, info: &InodeInfo) -> Result<Arc<Node>, Errno> {
        let kind = kind_of(info)?;
        let number = info.number.raw();
        let known = self.nodes.lock().get(&number).and_then(Weak::upgrade);
        if let Some(node) = known
            && node.kind == kind
            && !node.unlinked.load(Ordering::Relaxed)
        {
            return Ok(node);
        }
        if info.links == 0 {
            return Err(Errno::EUCLEAN);
        }
        let size = if kind == Kind::Regular { info.size } else { 0 };
        if size > i64::MAX as u64 {
            return Err(Errno::EUCLEAN);
        }
        let node = Arc::new(Node {
            shared: self.clone(),
            number,
            kind,
            metadata: SpinLock::new(rank::FILE_SYSTEM + 1, metadata_of(self.dev, info, kind)),
            disk_size: AtomicU64::new(info.size),
            pages: Pages::new(size),
            places: SpinLock::new(rank::FILE_SYSTEM + 1, (size == 0 && info.blocks == 0).then(Places::default)),
            names: SpinLock::new(rank::FILE_SYSTEM - 1, BTreeMap::new()),
            target: SpinLock::new(rank::FILE_SYSTEM + 1, None),
            unlinked: AtomicBool::new(false),
            touched: AtomicBool::new(false),
        });
        self.nodes.lock().insert(number, Arc::downgrade(&node));
        if kind == Kind::Regular {
            let store: Arc<dyn crate::cache::Store> = node.clone();
            crate::cache::register(&store);
        }
        self.touch(&node);
        Ok(node)
    }

    /// The node of an inode number.
    pub(super) fn node_by_number(self: &Arc<Self>, volume: &mut Volume<'_>, number: u32) -> Result<Arc<Node>, Errno> {
        let info = volume.library.inode(number_of(number)?).map_err(errno_of)?;
        self.node(&info)
    }

    /// The name of inode `number` is gone; it lives on while it is used.
    fn unlinked(&self, number: u32, links: u16) {
        if links == 0 {
            // Relaxed: on the metadata coroutine, as the other side; who removed the name has its answer from there.
            self.doomed.fetch_add(1, Ordering::Relaxed);
        }
        let node = self.nodes.lock().get(&number).and_then(Weak::upgrade);
        match node {
            Some(node) => {
                node.metadata.lock().links = u32::from(links);
                if links == 0 {
                    node.unlinked.store(true, Ordering::Relaxed);
                    drop(node);
                    self.forget(number);
                }
            }
            None if links == 0 => self.queue.reap(number),
            None => {}
        }
    }
}

impl Node {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn disk_size(&self) -> u64 {
        self.disk_size.load(Ordering::Relaxed)
    }

    /// Takes the attributes from the library again. Runs on the metadata coroutine.
    pub(super) fn refresh(&self, volume: &mut Volume<'_>) -> Result<(), Errno> {
        let info = volume.library.inode(number_of(self.number)?).map_err(errno_of)?;
        let mut fresh = metadata_of(self.shared.dev, &info, self.kind);
        let mut metadata = self.metadata.lock();
        if self.touched.load(Ordering::Relaxed) {
            (fresh.modified, fresh.changed) = (metadata.modified, fresh.changed.max(metadata.changed));
        }
        *metadata = fresh;
        drop(metadata);
        self.disk_size.store(info.size, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the time of the last write to the medium, if it is not there yet.
    pub(super) async fn stamp(self: &Arc<Self>) -> Result<(), Errno> {
        if !self.touched.load(Ordering::Relaxed) || self.unlinked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let work = |volume: &mut Volume<'_>, node: &Arc<Node>| {
            if !node.touched.swap(false, Ordering::Relaxed) {
                return Ok(());
            }
            let modified = node.metadata.lock().modified;
            let mtime = Some(Ext4Timestamp::new(modified.seconds, modified.nanos));
            let update = InodeMetadataUpdate { mtime, ..InodeMetadataUpdate::default() };
            let updated = volume.library.update_inode_metadata(number_of(node.number)?, update).map_err(errno_of);
            updated.map(drop).inspect_err(|_| node.touched.store(true, Ordering::Relaxed))
        };
        self.change(work).await
    }

    /// The content changes now.
    pub(super) fn touch(&self) {
        let now = Timestamp::now();
        let mut metadata = self.metadata.lock();
        (metadata.modified, metadata.changed) = (now, now);
        // Relaxed: set and tested under the lock of the attributes, or on the metadata coroutine.
        self.touched.store(true, Ordering::Relaxed);
    }

    /// Takes the attributes again after a write-back, which is no change: the library has set the time of one.
    pub(super) fn refresh_written(&self, volume: &mut Volume<'_>) -> Result<(), Errno> {
        self.touched.store(true, Ordering::Relaxed);
        self.refresh(volume)
    }

    /// Puts this file on the list of those to write back.
    pub(super) fn note_dirty(self: &Arc<Self>) {
        self.touch();
        self.shared.dirty.lock().insert(self.number, self.clone());
        self.shared.dirtied.wake_all();
    }

    /// Takes this file off that list if it is clean.
    pub(super) fn settle_dirty(self: &Arc<Self>) {
        let mut dirty = self.shared.dirty.lock();
        let removed = if self.pages.count().1 == 0 { dirty.remove(&self.number) } else { None };
        drop(dirty);
        drop(removed);
    }

    /// Whether this file has no name, and no user but `holders`, the list of dirty files among them.
    pub(super) fn is_abandoned(self: &Arc<Self>, holders: usize) -> bool {
        self.unlinked.load(Ordering::Relaxed) && Arc::strong_count(self) <= holders
    }

    /// Drops the content if nobody can come to it any more.
    pub(super) async fn abandon(self: &Arc<Self>) {
        // Without a name nobody finds the node anew, so a count that is down stays down: the list, and the caller.
        if !self.is_abandoned(2) {
            return;
        }
        let claim = self.pages.claim().await;
        let units = self.pages.cut(&claim, 0).await;
        drop(claim);
        self.shared.unreserve(units);
        self.settle_dirty();
    }

    /// Runs `work` on the metadata coroutine with this node, then takes the attributes again.
    pub(super) async fn change<T, F>(self: &Arc<Self>, work: F) -> Result<T, Errno>
    where
        T: Send + 'static,
        F: for<'p> FnOnce(&mut Volume<'p>, &Arc<Node>) -> Result<T, Errno> + Send + 'static,
    {
        let node = self.clone();
        let work = move |volume: &mut Volume<'_>| {
            let value = work(volume, &node)?;
            node.refresh(volume)?;
            Ok(value)
        };
        self.shared.queue.call(work).await
    }

    fn remember(&self, name: &[u8], node: Option<&Arc<Node>>) {
        let mut names = self.names.lock();
        // Nobody pays for them.
        if names.len() >= NAMES || hal::frame::is_scarce() {
            names.clear();
        }
        names.insert(name.into(), node.map(Arc::downgrade));
    }

    /// Creates `name` by `make`.
    async fn add<F>(self: &Arc<Self>, name: &[u8], make: F) -> Result<Arc<dyn Inode>, Errno>
    where
        F: for<'p> FnOnce(&mut Volume<'p>, FileName<'_>) -> rsext4::Ext4Result<InodeInfo> + Send + 'static,
    {
        let name: Box<[u8]> = name.into();
        let work = move |volume: &mut Volume<'_>, node: &Arc<Node>| {
            if node.unlinked.load(Ordering::Relaxed) {
                return Err(Errno::ENOENT);
            }
            let info = make(volume, FileName::new(&name).map_err(errno_of)?).map_err(errno_of)?;
            let child = node.shared.node(&info)?;
            node.remember(&name, Some(&child));
            Ok(child)
        };
        let child = self.change(work).await?;
        Ok(child)
    }

    /// `Arc` of itself, which the trait's methods do not get.
    pub(super) fn myself(&self) -> Result<Arc<Node>, Errno> {
        self.shared.nodes.lock().get(&self.number).and_then(Weak::upgrade).ok_or(Errno::ESTALE)
    }
}

fn context_of(caller: &Caller) -> MutationContext {
    MutationContext::new(caller.credentials.uid, caller.credentials.gid, 0, 0)
}

fn device_number(rdev: u64) -> Result<DeviceNumber, Errno> {
    let (major, minor) = abi::stat::split_dev(rdev);
    DeviceNumber::new(major, minor).map_err(errno_of)
}

fn permissions_of(bits: u32) -> Result<FilePermissions, Errno> {
    FilePermissions::new((bits & 0o7777) as u16).map_err(errno_of)
}

/// Set in the positions that are hashes; the others are offsets in the directory.
const HASHED: u64 = 1 << 62;
/// The end: no hash, as in Linux, whose largest is kept free for it.
const END: u64 = i64::MAX as u64;

/// A position in a directory as a number that is positive as an `off_t`. A hash has 63 bits (the lowest of `major` says
/// nothing), of which the lowest is lost.
fn cookie_of(cursor: DirectoryCursor) -> u64 {
    match cursor {
        DirectoryCursor::Start => 0,
        DirectoryCursor::Linear { offset } => offset,
        DirectoryCursor::HTree { major, minor, .. } => HASHED | u64::from(major >> 1) << 31 | u64::from(minor >> 1),
        DirectoryCursor::End => END,
    }
}

fn cursor_of(cookie: u64) -> DirectoryCursor {
    match cookie {
        0 => DirectoryCursor::Start,
        END => DirectoryCursor::End,
        hash if hash & HASHED != 0 => {
            DirectoryCursor::HTree { major: (hash >> 31 << 1) as u32, minor: (hash << 1) as u32, collision: 0 }
        }
        offset => DirectoryCursor::Linear { offset },
    }
}

fn list(volume: &mut Volume<'_>, number: u32, cookie: u64, limit: usize) -> Result<Vec<DirEntry>, Errno> {
    let mut entries = volume.library.read_directory(number_of(number)?, cursor_of(cookie), limit).map_err(errno_of)?;
    // A cookie has no room for the place among equal hashes, nor for all of a hash: a listing stops where it says all.
    while let Some(last) = entries.last()
        && let next @ DirectoryCursor::HTree { .. } = last.next_cursor
        && cursor_of(cookie_of(next)) != next
    {
        let more = volume.library.read_directory(number_of(number)?, next, 1).map_err(errno_of)?;
        if more.is_empty() {
            break;
        }
        entries.extend(more);
    }
    let entry = |entry: rsext4::DirectoryEntry| DirEntry {
        ino: u64::from(entry.inode.raw()),
        kind: entry_kind(entry.file_type),
        next: cookie_of(entry.next_cursor),
        name: entry.name.into(),
    };
    Ok(entries.into_iter().map(entry).collect())
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { dev: self.shared.dev, ino: u64::from(self.number) }
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn metadata_now(&self) -> Option<Metadata> {
        let mut metadata = *self.metadata.lock();
        if self.kind == Kind::Regular {
            metadata.size = self.pages.size();
            metadata.blocks += (self.pages.reserved() * (PAGE_SIZE / 512)) as u64;
        }
        Some(metadata)
    }

    fn set_attributes<'a>(&'a self, _caller: &'a Caller, set: SetAttributes) -> Reply<'a, ()> {
        Box::pin(async move {
            let node = self.myself()?;
            if let Some(size) = set.size {
                if self.kind != Kind::Regular {
                    return Err(Errno::EINVAL);
                }
                if size > i64::MAX as u64 {
                    return Err(Errno::EFBIG);
                }
                node.clone().set_size(size).await?;
            }
            if set.permissions.is_none()
                && set.uid.is_none()
                && set.gid.is_none()
                && set.accessed.is_none()
                && set.modified.is_none()
            {
                return Ok(());
            }
            let work = move |volume: &mut Volume<'_>, node: &Arc<Node>| {
                let now = *node.metadata.lock();
                let stamp = |time: Timestamp| Ext4Timestamp::new(time.seconds, time.nanos);
                let owner = set.uid.is_some() || set.gid.is_some();
                let update = InodeMetadataUpdate {
                    permissions: set.permissions.map(permissions_of).transpose()?,
                    owner: owner.then(|| (set.uid.unwrap_or(now.uid), set.gid.unwrap_or(now.gid))),
                    atime: set.accessed.map(stamp),
                    mtime: set.modified.map(stamp),
                    ..InodeMetadataUpdate::default()
                };
                let updated =
                    volume.library.update_inode_metadata(number_of(node.number)?, update).map_err(errno_of)?;
                if set.modified.is_some() {
                    node.touched.store(false, Ordering::Relaxed);
                }
                Ok(updated)
            };
            node.change(work).await.map(drop)
        })
    }

    fn lookup_now(&self, name: &[u8]) -> Option<Result<Arc<dyn Inode>, Errno>> {
        if self.kind != Kind::Directory {
            return Some(Err(Errno::ENOTDIR));
        }
        match self.names.lock().get(name)? {
            None => Some(Err(Errno::ENOENT)),
            Some(node) => node.upgrade().map(|node| Ok(node as Arc<dyn Inode>)),
        }
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        let name: Box<[u8]> = name.into();
        Box::pin(async move {
            let directory = self.myself()?;
            let work = move |volume: &mut Volume<'_>| {
                let file_name = FileName::new(&name).map_err(errno_of)?;
                let found = volume.library.lookup_child(number_of(directory.number)?, file_name).map_err(errno_of)?;
                let node = found.map(|info| directory.shared.node(&info)).transpose()?;
                directory.remember(&name, node.as_ref());
                node.ok_or(Errno::ENOENT)
            };
            let node = self.shared.queue.call(work).await?;
            Ok(node as Arc<dyn Inode>)
        })
    }

    fn create<'a>(&'a self, caller: &'a Caller, name: &'a [u8], new: NewInode) -> Reply<'a, Arc<dyn Inode>> {
        let context = context_of(caller);
        Box::pin(async move {
            let permissions = permissions_of(new.permissions)?;
            let parent = number_of(self.number)?;
            let special = match new.kind {
                Kind::Character => Some(SpecialInodeKind::CharacterDevice(device_number(new.rdev)?)),
                Kind::Block => Some(SpecialInodeKind::BlockDevice(device_number(new.rdev)?)),
                Kind::Fifo => Some(SpecialInodeKind::Fifo),
                Kind::Socket => Some(SpecialInodeKind::Socket),
                Kind::Symlink => return Err(Errno::EINVAL),
                Kind::Regular | Kind::Directory => None,
            };
            let directory = new.kind == Kind::Directory;
            let make = move |volume: &mut Volume<'_>, name: FileName<'_>| {
                let new = match special {
                    Some(kind) => volume.library.create_special_inode(context, parent, name, permissions, kind),
                    None if directory => volume.library.create_directory(context, parent, name, permissions),
                    None => volume.library.create_regular_file(context, parent, name, permissions),
                }?;
                without_any(volume, new)
            };
            self.myself()?.add(name, make).await
        })
    }

    fn symlink<'a>(&'a self, caller: &'a Caller, name: &'a [u8], target: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        let context = context_of(caller);
        let target: Box<[u8]> = target.into();
        Box::pin(async move {
            let parent = number_of(self.number)?;
            let make = move |volume: &mut Volume<'_>, name: FileName<'_>| {
                let new = volume.library.create_symlink(context, parent, name, &target)?;
                without_any(volume, new)
            };
            self.myself()?.add(name, make).await
        })
    }

    fn link<'a>(&'a self, name: &'a [u8], target: &'a Arc<dyn Inode>) -> Reply<'a, ()> {
        Box::pin(async move {
            let other = target.as_any().downcast_ref::<Node>().ok_or(Errno::EXDEV)?.myself()?;
            let parent = number_of(self.number)?;
            let kept = other.clone();
            let make = move |volume: &mut Volume<'_>, name: FileName<'_>| {
                if other.unlinked.load(Ordering::Relaxed) {
                    return Err(rsext4::Ext4Error::not_found());
                }
                let info = volume.library.hard_link(
                    number_of(other.number).map_err(|_| rsext4::Ext4Error::corrupted())?,
                    parent,
                    name,
                )?;
                other.metadata.lock().links = u32::from(info.links);
                Ok(info)
            };
            self.myself()?.add(name, make).await?;
            drop(kept);
            Ok(())
        })
    }

    fn unlink<'a>(&'a self, name: &'a [u8], removal: Removal) -> Reply<'a, ()> {
        let name: Box<[u8]> = name.into();
        Box::pin(async move {
            let work = move |volume: &mut Volume<'_>, node: &Arc<Node>| {
                let file_name = FileName::new(&name).map_err(errno_of)?;
                let parent = number_of(node.number)?;
                let outcome = match removal {
                    Removal::File => volume.library.unlink(parent, file_name),
                    Removal::Directory => volume.library.remove_empty_directory(parent, file_name),
                }
                .map_err(errno_of)?;
                node.remember(&name, None);
                node.shared.unlinked(outcome.inode.raw(), outcome.remaining_links);
                Ok(())
            };
            self.myself()?.change(work).await
        })
    }

    fn rename<'a>(
        &'a self,
        old: &'a [u8],
        directory: &'a Arc<dyn Inode>,
        new: &'a [u8],
        replace: Replace,
    ) -> Reply<'a, ()> {
        let (old, new): (Box<[u8]>, Box<[u8]>) = (old.into(), new.into());
        Box::pin(async move {
            let to = directory.as_any().downcast_ref::<Node>().ok_or(Errno::EXDEV)?.myself()?;
            let options = match replace {
                Replace::Yes => RenameOptions::REPLACE,
                Replace::No => RenameOptions::NO_REPLACE,
                Replace::Exchange => RenameOptions::EXCHANGE,
            };
            let work = move |volume: &mut Volume<'_>, from: &Arc<Node>| {
                let (old_name, new_name) =
                    (FileName::new(&old).map_err(errno_of)?, FileName::new(&new).map_err(errno_of)?);
                let (old_parent, new_parent) = (number_of(from.number)?, number_of(to.number)?);
                let outcome =
                    volume.library.rename(old_parent, old_name, new_parent, new_name, options).map_err(errno_of)?;
                from.names.lock().remove(&*old);
                to.names.lock().remove(&*new);
                if let Some(replaced) = outcome.replaced {
                    from.shared.unlinked(replaced.inode.raw(), replaced.remaining_links);
                }
                to.refresh(volume)
            };
            self.myself()?.change(work).await
        })
    }

    fn readlink_now(&self) -> Option<Box<[u8]>> {
        self.target.lock().clone()
    }

    fn readlink(&self) -> Reply<'_, Box<[u8]>> {
        Box::pin(async move {
            if self.kind != Kind::Symlink {
                return Err(Errno::EINVAL);
            }
            let node = self.myself()?;
            let work = move |volume: &mut Volume<'_>| {
                let mut target = alloc::vec![0; TARGET];
                let len = volume.library.read_inode(number_of(node.number)?, 0, &mut target).map_err(errno_of)?;
                target.truncate(len);
                let target: Box<[u8]> = target.into();
                *node.target.lock() = Some(target.clone());
                Ok(target)
            };
            self.shared.queue.call(work).await
        })
    }

    fn readdir(&self, cookie: u64, limit: usize) -> Reply<'_, Vec<DirEntry>> {
        Box::pin(async move {
            if self.kind != Kind::Directory {
                return Err(Errno::ENOTDIR);
            }
            let number = self.number;
            self.shared.queue.call(move |volume| list(volume, number, cookie, limit)).await
        })
    }

    fn xattr<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Vec<u8>> {
        Box::pin(self.get_attribute(name))
    }

    fn set_xattr<'a>(&'a self, name: &'a [u8], value: &'a [u8], mode: XattrMode) -> Reply<'a, ()> {
        Box::pin(self.set_attribute(name, value.to_vec(), mode))
    }

    fn remove_xattr<'a>(&'a self, name: &'a [u8]) -> Reply<'a, ()> {
        Box::pin(self.remove_attribute(name))
    }

    fn xattrs(&self) -> Reply<'_, Vec<Box<[u8]>>> {
        Box::pin(self.attribute_names())
    }

    fn open(self: Arc<Self>, _caller: &Caller, _flags: u32) -> Reply<'static, Arc<dyn File>> {
        crate::namespace::ready(match self.kind {
            Kind::Regular => Ok(Regular::open(self)),
            Kind::Directory => Ok(Directory::open(self)),
            // Device nodes live in /dev; those on a disk lead nowhere.
            _ => Err(Errno::ENXIO),
        })
    }

    fn sync(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let node = self.myself()?;
            let store: Arc<dyn crate::cache::Store> = node.clone();
            let flushed = crate::cache::flush(&store).await;
            node.settle_dirty();
            flushed?;
            node.stamp().await?;
            self.shared.queue.call(|volume| volume.sync()).await?;
            self.shared.device.flush().await
        })
    }

    fn sync_all(&self) -> Reply<'_, ()> {
        Box::pin(self.shared.sync())
    }

    fn statistics(&self) -> Reply<'_, Statistics> {
        Box::pin(async move {
            self.shared.clear_remains().await?;
            let mut statistics = *self.shared.statistics.lock();
            let promised = self.shared.reserved.load(Ordering::Relaxed).max(0) as u64;
            statistics.blocks_free = statistics.blocks_free.saturating_sub(promised);
            Ok(statistics)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_positive_and_in_order() {
        let hash = |major, minor| DirectoryCursor::HTree { major, minor, collision: 0 };
        let (low, high) = (hash(0, 0), hash(0xffff_fffc, u32::MAX - 1));
        let cursors = [DirectoryCursor::Start, DirectoryCursor::Linear { offset: 1 << 40 }, low, hash(2, 0), high];
        let cookies = cursors.map(cookie_of);
        assert!(cookies.is_sorted() && cookies[4] < END && (END as i64) > 0);
        assert_eq!(cookies.map(cursor_of), cursors);
        assert_eq!(cursor_of(cookie_of(DirectoryCursor::End)), DirectoryCursor::End);
        // What is lost leads back, never past something.
        assert_eq!(cursor_of(cookie_of(hash(4, 7))), hash(4, 6));
    }
}
