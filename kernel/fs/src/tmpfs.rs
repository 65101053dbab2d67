//! Files in memory.
//!
//! A file is its pages (the page cache without a store behind it), a directory a sorted map of names. One lock per
//! file system guards the tree, so a rename is atomic and cannot make a directory its own ancestor; file data has the
//! locks of its pages. Everything is counted against the file system's limit: a page for each page of data, a little
//! for each inode and name.

mod attributes;
mod options;

use crate::{
    cache::{self, Pages, Store},
    namespace::{Directory, ready},
    regular::Regular,
};
use abi::errno::Errno;
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use attributes::Attributes;
use core::{
    any::Any,
    ops::Bound,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    sync::{SpinLock, rank},
};
use io::{
    block::{Answer, Direction, Parts, Placed},
    caller::Caller,
    file::{BoxFuture, File},
    inode::{
        DirEntry, Inode, InodeId, Kind, Metadata, NAME_MAX, NewInode, Removal, Replace, Reply, SetAttributes,
        Statistics, Timestamp, XattrMode,
    },
};
use options::Options;

/// What an inode or a name costs, in bytes.
const SMALL: usize = 256;

/// Numbers of file systems in memory.
static NEXT_DEV: AtomicU64 = AtomicU64::new(0x10);

struct Shared {
    dev: u64,
    next: AtomicU64,
    /// Bytes in use, and the most there may be.
    used: AtomicUsize,
    limit: usize,
    /// Guards all directories.
    tree: SpinLock<()>,
}

impl Shared {
    fn take(&self, bytes: usize) -> Result<(), Errno> {
        // Relaxed: a count that guards nothing.
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            self.give(bytes);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

enum Content {
    Pages(Box<Pages>),
    /// Names, and where each is in the order of creation, which is the order of listing.
    Names(SpinLock<Names>),
    Target(Box<[u8]>),
    Other,
}

#[derive(Default)]
struct Names {
    by_name: BTreeMap<Box<[u8]>, (u64, Arc<Node>)>,
    by_order: BTreeMap<u64, Box<[u8]>>,
    next: u64,
    parent: Option<Weak<Node>>,
    /// Removed: nothing can be created here any more.
    dead: bool,
}

impl Names {
    fn add(&mut self, name: &[u8], node: Arc<Node>) {
        // 0 and 1 are `.` and `..`.
        let order = self.next + 2;
        self.next += 1;
        self.by_order.insert(order, name.into());
        self.by_name.insert(name.into(), (order, node));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let (order, node) = self.by_name.remove(name)?;
        self.by_order.remove(&order);
        Some(node)
    }
}

struct Node {
    shared: Arc<Shared>,
    myself: Weak<Node>,
    kind: Kind,
    content: Content,
    metadata: SpinLock<Metadata>,
    attributes: Attributes,
}

/// A new file system that holds up to `limit` bytes; answers its root directory.
pub fn new(limit: usize) -> Arc<dyn Inode> {
    with(&Options { limit, ..Options::default() })
}

/// A new file system as the options of `mount` say, of `limit` bytes if they say nothing about it.
///
/// # Errors
/// `EINVAL` for options that are unknown or malformed.
pub fn with_options(limit: usize, options: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
    let total = hal::frame::stats().total * PAGE_SIZE;
    Options { limit, ..Options::default() }.parse(options, total).map(|options| with(&options))
}

fn with(options: &Options) -> Arc<dyn Inode> {
    let shared = Arc::new(Shared {
        dev: NEXT_DEV.fetch_add(1, Ordering::Relaxed),
        next: AtomicU64::new(1),
        used: AtomicUsize::new(0),
        limit: options.limit,
        tree: SpinLock::new(rank::INODE, ()),
    });
    let new = NewInode { kind: Kind::Directory, permissions: options.permissions, rdev: 0 };
    Node::new(&shared, new, options.owner, None, Content::Names(SpinLock::new(rank::INODE + 1, Names::default())))
}

impl Node {
    fn new(
        shared: &Arc<Shared>,
        new: NewInode,
        (uid, gid): (u32, u32),
        parent: Option<&Arc<Node>>,
        content: Content,
    ) -> Arc<Node> {
        let now = Timestamp::now();
        let id = InodeId { dev: shared.dev, ino: shared.next.fetch_add(1, Ordering::Relaxed) };
        let metadata = Metadata {
            id,
            kind: new.kind,
            permissions: new.permissions & 0o7777,
            links: if new.kind == Kind::Directory { 2 } else { 1 },
            uid,
            gid,
            rdev: new.rdev,
            size: 0,
            blocks: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: Some(now),
        };
        if let (Content::Names(names), Some(parent)) = (&content, parent) {
            names.lock().parent = Some(Arc::downgrade(parent));
        }
        Arc::new_cyclic(|myself| Node {
            shared: shared.clone(),
            myself: myself.clone(),
            kind: new.kind,
            content,
            metadata: SpinLock::new(rank::INODE + 3, metadata),
            attributes: Attributes::new(),
        })
    }

    fn arc(&self) -> Result<Arc<Node>, Errno> {
        self.myself.upgrade().ok_or(Errno::ESTALE)
    }

    fn names(&self) -> Result<&SpinLock<Names>, Errno> {
        match &self.content {
            Content::Names(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn touch(&self) {
        let now = Timestamp::now();
        let mut metadata = self.metadata.lock();
        (metadata.modified, metadata.changed) = (now, now);
    }

    fn adjust_links(&self, by: i32) {
        let mut metadata = self.metadata.lock();
        metadata.links = metadata.links.saturating_add_signed(by);
        metadata.changed = Timestamp::now();
    }

    fn get(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let _tree = self.shared.tree.lock();
        let names = self.names()?.lock();
        names.by_name.get(name).map(|(_, node)| node.clone()).ok_or(Errno::ENOENT)
    }

    fn put_new(&self, caller: &Caller, name: &[u8], new: NewInode, content: Content) -> Result<Arc<dyn Inode>, Errno> {
        check_name(name)?;
        self.shared.take(SMALL)?;
        let parent = self.arc()?;
        let owner = (caller.credentials.uid, caller.credentials.gid);
        // Dropping it on the way out gives the bytes back.
        let node = Node::new(&self.shared, new, owner, Some(&parent), content);
        let _tree = self.shared.tree.lock();
        {
            let mut names = self.names()?.lock();
            if names.dead {
                return Err(Errno::ENOENT);
            }
            if names.by_name.contains_key(name) {
                return Err(Errno::EEXIST);
            }
            names.add(name, node.clone());
        }
        self.touch();
        if new.kind == Kind::Directory {
            self.adjust_links(1);
        }
        Ok(node)
    }

    /// Whether `victim` may be removed in this way; marks a directory dead. The tree is locked.
    fn retire(victim: &Node, removal: Removal) -> Result<(), Errno> {
        match (&victim.content, removal) {
            (Content::Names(_), Removal::File) => Err(Errno::EISDIR),
            (Content::Names(names), Removal::Directory) => {
                let mut names = names.lock();
                if !names.by_name.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
                names.dead = true;
                Ok(())
            }
            (_, Removal::File) => Ok(()),
            (_, Removal::Directory) => Err(Errno::ENOTDIR),
        }
    }

    fn remove(&self, name: &[u8], removal: Removal) -> Result<Arc<Node>, Errno> {
        let _tree = self.shared.tree.lock();
        let victim = {
            let names = self.names()?.lock();
            names.by_name.get(name).map(|(_, node)| node.clone()).ok_or(Errno::ENOENT)?
        };
        Self::retire(&victim, removal)?;
        self.names()?.lock().remove(name);
        self.touch();
        if removal == Removal::Directory {
            victim.adjust_links(-2);
            self.adjust_links(-1);
        } else {
            victim.adjust_links(-1);
        }
        Ok(victim)
    }

    /// Whether this is `other` or lies below it. The tree is locked.
    fn is_below(&self, other: &Node) -> bool {
        let mut at = self.myself.upgrade();
        while let Some(node) = at {
            if core::ptr::eq(&*node, other) {
                return true;
            }
            at = match &node.content {
                Content::Names(names) => names.lock().parent.as_ref().and_then(Weak::upgrade),
                _ => None,
            };
        }
        false
    }

    fn move_entry(&self, old: &[u8], to: &Node, new: &[u8], replace: Replace) -> Result<Option<Arc<Node>>, Errno> {
        check_name(new)?;
        let _tree = self.shared.tree.lock();
        let find = |directory: &Node, name: &[u8]| -> Result<Option<Arc<Node>>, Errno> {
            Ok(directory.names()?.lock().by_name.get(name).map(|(_, node)| node.clone()))
        };
        let moved = find(self, old)?.ok_or(Errno::ENOENT)?;
        let target = find(to, new)?;
        if to.names()?.lock().dead {
            return Err(Errno::ENOENT);
        }
        if moved.kind == Kind::Directory && to.is_below(&moved) {
            return Err(Errno::EINVAL);
        }
        match (&target, replace) {
            (Some(target), _) if Arc::ptr_eq(target, &moved) => return Ok(None),
            (Some(_), Replace::No) => return Err(Errno::EEXIST),
            (None, Replace::Exchange) => return Err(Errno::ENOENT),
            (Some(target), Replace::Exchange) => {
                if target.kind == Kind::Directory && self.is_below(target) {
                    return Err(Errno::EINVAL);
                }
            }
            (Some(target), Replace::Yes) => {
                let directory = moved.kind == Kind::Directory;
                Self::retire(target, if directory { Removal::Directory } else { Removal::File })?;
                target.adjust_links(if directory { -2 } else { -1 });
            }
            (None, _) => {}
        }
        self.names()?.lock().remove(old);
        to.names()?.lock().remove(new);
        to.settle(new, &moved)?;
        if let (Some(target), Replace::Exchange) = (&target, replace) {
            self.settle(old, target)?;
        }
        // Each subdirectory's `..` is a link to its parent.
        let is_directory = |node: &Arc<Node>| i32::from(node.kind == Kind::Directory);
        let gained = is_directory(&moved) - target.as_ref().map_or(0, is_directory);
        let given = if replace == Replace::Exchange { -gained } else { -is_directory(&moved) };
        to.adjust_links(gained);
        self.adjust_links(given);
        self.touch();
        to.touch();
        Ok(target)
    }

    /// Enters `node` under `name` and makes this its parent.
    fn settle(&self, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        self.names()?.lock().add(name, node.clone());
        if let Content::Names(names) = &node.content {
            names.lock().parent = Some(self.myself.clone());
        }
        Ok(())
    }

    fn list(&self, cookie: u64, limit: usize) -> Result<Vec<DirEntry>, Errno> {
        let _tree = self.shared.tree.lock();
        let names = self.names()?.lock();
        let parent = names.parent.as_ref().and_then(Weak::upgrade);
        let own = self.id().ino;
        let dots = [(0, &b"."[..], own), (1, b"..", parent.map_or(own, |parent| parent.id().ino))];
        let mut entries: Vec<DirEntry> = dots
            .into_iter()
            .filter(|(order, ..)| *order >= cookie)
            .map(|(order, name, ino)| DirEntry { ino, kind: Kind::Directory, next: order + 1, name: name.into() })
            .take(limit)
            .collect();
        for (order, name) in names.by_order.range((Bound::Included(cookie.max(2)), Bound::Unbounded)) {
            if entries.len() >= limit {
                break;
            }
            let Some((_, node)) = names.by_name.get(name) else { continue };
            entries.push(DirEntry { ino: node.id().ino, kind: node.kind, next: order + 1, name: name.clone() });
        }
        Ok(entries)
    }

    async fn resize(&self, size: u64) -> Result<(), Errno> {
        let Content::Pages(pages) = &self.content else { return Err(Errno::EINVAL) };
        if size > i64::MAX as u64 {
            return Err(Errno::EFBIG);
        }
        let claim = pages.claim().await;
        if size >= pages.size() {
            pages.extend(&claim, size);
        } else {
            let freed = pages.cut(&claim, size).await;
            self.unreserve(freed);
        }
        drop(claim);
        self.touch();
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Content::Pages(pages) = &self.content {
            self.shared.give(pages.count().0 * PAGE_SIZE);
        }
        if let Content::Target(target) = &self.content {
            self.shared.give(target.len());
        }
        self.shared.give(SMALL);
        self.attributes.clear(&self.shared);
        // A deep tree must not be dropped by recursion.
        let mut pending = Vec::new();
        if let Content::Names(names) = &mut self.content {
            pending.extend(core::mem::take(&mut names.get_mut().by_name).into_values());
        }
        while let Some((_, node)) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(node)
                && let Content::Names(names) = &mut node.content
            {
                pending.extend(core::mem::take(&mut names.get_mut().by_name).into_values());
            }
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}

fn content_of(kind: Kind) -> Content {
    match kind {
        Kind::Regular => Content::Pages(Box::new(Pages::new(0))),
        Kind::Directory => Content::Names(SpinLock::new(rank::INODE + 1, Names::default())),
        _ => Content::Other,
    }
}

impl Placed for Node {
    fn leave(&self) {
        Store::pages(self).leave_places();
    }
}

impl Store for Node {
    fn pages(&self) -> &Pages {
        static NONE: Pages = Pages::none();
        match &self.content {
            Content::Pages(pages) => pages,
            _ => &NONE,
        }
    }

    fn backed(&self) -> bool {
        false
    }

    fn fetch(self: Arc<Self>, _index: u64, _frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
        ready(Err(Errno::EIO))
    }

    fn store(self: Arc<Self>, _index: u64, _frames: Vec<Frame>) -> BoxFuture<'static, Result<(), Errno>> {
        ready(Err(Errno::EIO))
    }

    fn reserve(&self, _index: u64) -> Result<Option<usize>, Errno> {
        self.shared.take(PAGE_SIZE)?;
        Ok(Some(1))
    }

    fn unreserve(&self, units: usize) {
        self.shared.give(units * PAGE_SIZE);
    }

    fn in_place(&self, _offset: u64, _len: usize) -> Option<bool> {
        Some(false)
    }

    fn transfer(&self, _direction: Direction, _offset: u64, _parts: Parts) -> Answer {
        crate::batch::failed(Errno::EIO)
    }

    fn start(&self, _job: BoxFuture<'static, ()>) {}

    fn dirtied(self: Arc<Self>) {
        self.touch();
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        self.metadata.lock().id
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn metadata_now(&self) -> Option<Metadata> {
        let mut metadata = *self.metadata.lock();
        match &self.content {
            Content::Pages(pages) => {
                metadata.size = pages.size();
                metadata.blocks = (pages.count().0 * PAGE_SIZE / 512) as u64;
            }
            Content::Target(target) => metadata.size = target.len() as u64,
            Content::Names(_) | Content::Other => {}
        }
        Some(metadata)
    }

    fn set_attributes<'a>(&'a self, _caller: &'a Caller, set: SetAttributes) -> Reply<'a, ()> {
        Box::pin(async move {
            if let Some(size) = set.size {
                self.resize(size).await?;
            }
            let mut metadata = self.metadata.lock();
            let old = *metadata;
            metadata.permissions = set.permissions.unwrap_or(old.permissions) & 0o7777;
            metadata.uid = set.uid.unwrap_or(old.uid);
            metadata.gid = set.gid.unwrap_or(old.gid);
            metadata.accessed = set.accessed.unwrap_or(old.accessed);
            metadata.modified = set.modified.unwrap_or(old.modified);
            metadata.changed = Timestamp::now();
            Ok(())
        })
    }

    fn lookup_now(&self, name: &[u8]) -> Option<Result<Arc<dyn Inode>, Errno>> {
        Some(self.get(name).map(|node| node as Arc<dyn Inode>))
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        ready(self.get(name).map(|node| node as Arc<dyn Inode>))
    }

    fn create<'a>(&'a self, caller: &'a Caller, name: &'a [u8], new: NewInode) -> Reply<'a, Arc<dyn Inode>> {
        ready(self.put_new(caller, name, new, content_of(new.kind)))
    }

    fn symlink<'a>(&'a self, caller: &'a Caller, name: &'a [u8], target: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        let new = NewInode { kind: Kind::Symlink, permissions: 0o777, rdev: 0 };
        ready(
            self.shared
                .take(target.len())
                .and_then(|()| self.put_new(caller, name, new, Content::Target(target.into()))),
        )
    }

    fn link<'a>(&'a self, name: &'a [u8], target: &'a Arc<dyn Inode>) -> Reply<'a, ()> {
        let add = || {
            let node = target.as_any().downcast_ref::<Node>().ok_or(Errno::EXDEV)?.arc()?;
            check_name(name)?;
            let _tree = self.shared.tree.lock();
            if node.metadata.lock().links == 0 {
                return Err(Errno::ENOENT);
            }
            {
                let mut names = self.names()?.lock();
                if names.dead {
                    return Err(Errno::ENOENT);
                }
                if names.by_name.contains_key(name) {
                    return Err(Errno::EEXIST);
                }
                names.add(name, node.clone());
            }
            node.adjust_links(1);
            self.touch();
            Ok(())
        };
        ready(add())
    }

    fn unlink<'a>(&'a self, name: &'a [u8], removal: Removal) -> Reply<'a, ()> {
        ready(self.remove(name, removal).map(drop))
    }

    fn rename<'a>(
        &'a self,
        old: &'a [u8],
        directory: &'a Arc<dyn Inode>,
        new: &'a [u8],
        replace: Replace,
    ) -> Reply<'a, ()> {
        let to = directory.as_any().downcast_ref::<Node>().filter(|to| Arc::ptr_eq(&to.shared, &self.shared));
        ready(match to {
            Some(to) => self.move_entry(old, to, new, replace).map(drop),
            None => Err(Errno::EXDEV),
        })
    }

    fn readlink_now(&self) -> Option<Box<[u8]>> {
        match &self.content {
            Content::Target(target) => Some(target.clone()),
            _ => None,
        }
    }

    fn readlink(&self) -> Reply<'_, Box<[u8]>> {
        ready(self.readlink_now().ok_or(Errno::EINVAL))
    }

    fn readdir(&self, cookie: u64, limit: usize) -> Reply<'_, Vec<DirEntry>> {
        ready(self.list(cookie, limit))
    }

    fn xattr<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Vec<u8>> {
        ready(self.attributes.get(name))
    }

    fn set_xattr<'a>(&'a self, name: &'a [u8], value: &'a [u8], mode: XattrMode) -> Reply<'a, ()> {
        let set = self.attributes.set(&self.shared, name, value, mode);
        ready(set.inspect(|()| self.metadata.lock().changed = Timestamp::now()))
    }

    fn remove_xattr<'a>(&'a self, name: &'a [u8]) -> Reply<'a, ()> {
        let removed = self.attributes.remove(&self.shared, name);
        ready(removed.inspect(|()| self.metadata.lock().changed = Timestamp::now()))
    }

    fn xattrs(&self) -> Reply<'_, Vec<Box<[u8]>>> {
        ready(self.attributes.names())
    }

    fn open(self: Arc<Self>, _caller: &Caller, _flags: u32) -> Reply<'static, Arc<dyn File>> {
        ready(match self.kind {
            Kind::Regular => Ok(Regular::open(self)),
            Kind::Directory => Ok(Directory::open(self)),
            _ => Err(Errno::ENXIO),
        })
    }

    fn statistics(&self) -> Reply<'_, Statistics> {
        let blocks = (self.shared.limit / PAGE_SIZE) as u64;
        let used = self.shared.used.load(Ordering::Relaxed).div_ceil(PAGE_SIZE) as u64;
        ready(Ok(Statistics {
            magic: abi::fs::TMPFS_MAGIC as u64,
            block_size: PAGE_SIZE as u64,
            blocks,
            blocks_free: blocks.saturating_sub(used),
            files: blocks,
            files_free: blocks.saturating_sub(used),
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Reads a whole file that lies in memory; for tests and for the boot image.
///
/// # Errors
/// `EINVAL` if it is no regular file.
pub fn contents(inode: &Arc<dyn Inode>) -> Result<Vec<u8>, Errno> {
    let node = inode.as_any().downcast_ref::<Node>().ok_or(Errno::EINVAL)?;
    let Content::Pages(pages) = &node.content else { return Err(Errno::EINVAL) };
    let mut bytes = alloc::vec![0; pages.size() as usize];
    let mut sink = mem::Sink::kernel(&mut bytes);
    while sink.remaining() > 0 {
        let at = sink.done() as u64;
        if !matches!(cache::read_now(pages, false, at, &mut sink), Ok(Some(1..))) {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
