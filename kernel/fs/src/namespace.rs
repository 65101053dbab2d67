//! The tree of names: mounts, and the operations that take paths.
//!
//! A [`Namespace`] owns the mount table. A mount hides the directory it lies on: whoever looks that directory up gets the
//! root of the mount instead. Operations check permissions here, once, and leave to the file systems what only they know.

use crate::{
    access::{self, EXECUTE, READ, WRITE, metadata_of},
    walk::{Context, Last, Outcome, Place, resolve},
};
use abi::{
    errno::Errno,
    fs::{O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, O_TRUNC, O_WRONLY},
};
use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};
use hal::sync::{SpinLock, rank};
use io::{
    caller::Caller,
    file::File,
    inode::{Inode, InodeId, Kind, NewInode, Removal, Replace, SetAttributes, Timestamp},
    open::OpenFile,
};

/// How often `open` looks again when the name that it was to create has come up meanwhile.
const RACES: usize = 16;

/// One line of /proc/mounts.
#[derive(Clone)]
pub struct MountInfo {
    /// What is mounted: a device, or the name of the file system again.
    pub source: String,
    /// Absolute path of the mount.
    pub path: String,
    /// Name of the file system.
    pub kind: &'static str,
}

struct Mount {
    root: Arc<dyn Inode>,
    info: MountInfo,
}

/// A tree of names.
pub struct Namespace {
    root: Arc<Place>,
    mounts: SpinLock<BTreeMap<InodeId, Mount>>,
    /// Number of mounts beside the root; 0 saves the lock.
    count: AtomicUsize,
}

impl Namespace {
    /// A tree whose root is the root of one file system.
    pub fn new(root: Arc<dyn Inode>, info: MountInfo) -> Arc<Namespace> {
        let mut mounts = BTreeMap::new();
        // Nothing is ever looked up under this key: the root has no name.
        mounts.insert(InodeId { dev: 0, ino: 0 }, Mount { root: root.clone(), info });
        Arc::new(Namespace {
            root: Place::root(root),
            mounts: SpinLock::new(rank::NAMESPACE, mounts),
            count: AtomicUsize::new(0),
        })
    }

    /// The root of all.
    pub fn root(&self) -> &Arc<Place> {
        &self.root
    }

    /// The mount table, in the order of the mount points' numbers.
    pub fn mounts(&self) -> Vec<MountInfo> {
        self.mounts.lock().values().map(|mount| mount.info.clone()).collect()
    }

    /// The root directories of all that is mounted, also where another has been mounted above.
    pub fn roots(&self) -> Vec<Arc<dyn Inode>> {
        self.mounts.lock().values().map(|mount| mount.root.clone()).collect()
    }

    /// Mounts `root` on the directory at `path`.
    ///
    /// # Errors
    /// `EPERM` unless the caller is the superuser; `ENOTDIR`, `EBUSY`.
    pub async fn mount(
        &self,
        context: &Context<'_>,
        path: &[u8],
        root: Arc<dyn Inode>,
        source: &str,
        kind: &'static str,
    ) -> Result<(), Errno> {
        if context.caller.credentials.uid != 0 {
            return Err(Errno::EPERM);
        }
        let place = self.find(context, path, Last::Follow).await?;
        if place.inode().kind() != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let path = String::from_utf8_lossy(&place.path(&self.root)).into_owned();
        let info = MountInfo { source: source.into(), path, kind };
        let mut mounts = self.mounts.lock();
        let id = place.inode().id();
        if mounts.contains_key(&id) || mounts.values().any(|mount| mount.root.id() == id) {
            return Err(Errno::EBUSY);
        }
        mounts.insert(id, Mount { root, info });
        self.count.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes the mount at `path` out of the tree; open files go on.
    ///
    /// # Errors
    /// `EPERM`; `EINVAL` if nothing is mounted there.
    pub async fn unmount(&self, context: &Context<'_>, path: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        if context.caller.credentials.uid != 0 {
            return Err(Errno::EPERM);
        }
        let place = self.find(context, path, Last::Follow).await?;
        let id = place.inode().id();
        let mut mounts = self.mounts.lock();
        let point = mounts.iter().find(|(point, mount)| point.dev != 0 && mount.root.id() == id);
        let point = *point.ok_or(Errno::EINVAL)?.0;
        let mount = mounts.remove(&point).ok_or(Errno::EINVAL)?;
        self.count.fetch_sub(1, Ordering::Release);
        Ok(mount.root)
    }

    /// What `inode` shows: itself, or the root of what is mounted on it.
    pub(crate) fn cross(&self, inode: Arc<dyn Inode>) -> Arc<dyn Inode> {
        // Acquire pairs with the Release of `mount`.
        if self.count.load(Ordering::Acquire) == 0 || inode.kind() != Kind::Directory {
            return inode;
        }
        match self.mounts.lock().get(&inode.id()) {
            Some(mount) => mount.root.clone(),
            None => inode,
        }
    }

    /// What `path` names.
    ///
    /// # Errors
    /// `ENOENT` and those of [`resolve`].
    pub async fn find(&self, context: &Context<'_>, path: &[u8], last: Last) -> Result<Arc<Place>, Errno> {
        resolve(self, context, path, last).await?.found.ok_or(Errno::ENOENT)
    }

    /// `openat`: finds or creates, checks, opens. The place is for `fchdir` and `*at` calls.
    ///
    /// # Errors
    /// Those of open(2).
    pub async fn open(
        &self,
        context: &Context<'_>,
        path: &[u8],
        flags: u32,
        permissions: u32,
    ) -> Result<(Arc<OpenFile>, Arc<Place>), Errno> {
        let follow = flags & O_NOFOLLOW == 0 && flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL;
        let last = if follow { Last::Follow } else { Last::Keep };
        for _ in 0..RACES {
            let outcome = resolve(self, context, path, last).await?;
            if flags & O_CREAT != 0 && flags & O_PATH == 0 {
                if outcome.slash || flags & O_DIRECTORY != 0 {
                    return Err(if outcome.slash { Errno::EISDIR } else { Errno::EINVAL });
                }
                if outcome.found.is_none() {
                    match self.create_open(context, &outcome, flags, permissions).await {
                        // Somebody else was faster: theirs is opened, by its permissions.
                        Err(Errno::EEXIST) if flags & O_EXCL == 0 => continue,
                        opened => return opened,
                    }
                }
                if flags & O_EXCL != 0 {
                    return Err(Errno::EEXIST);
                }
            }
            let place = outcome.found.ok_or(Errno::ENOENT)?;
            self.check_open(context.caller, &place, flags).await?;
            let file = self.open_inode(context.caller, place.inode(), flags).await?;
            return Ok((OpenFile::new(file, flags, &place.path(context.root)), place));
        }
        Err(Errno::EEXIST)
    }

    async fn create_open(
        &self,
        context: &Context<'_>,
        outcome: &Outcome,
        flags: u32,
        permissions: u32,
    ) -> Result<(Arc<OpenFile>, Arc<Place>), Errno> {
        let new = NewInode { kind: Kind::Regular, permissions, rdev: 0 };
        let inode = self.create_in(context, outcome, new).await?;
        let place = Place::below(&outcome.parent, &outcome.name, inode);
        let file = place.inode().clone().open(context.caller, flags).await?;
        Ok((OpenFile::new(file, flags, &place.path(context.root)), place))
    }

    async fn check_open(&self, caller: &Caller, place: &Place, flags: u32) -> Result<(), Errno> {
        let kind = place.inode().kind();
        if flags & O_DIRECTORY != 0 && kind != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if flags & O_PATH != 0 {
            return Ok(());
        }
        let write = flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0;
        match kind {
            Kind::Symlink => return Err(Errno::ELOOP),
            Kind::Directory if write || flags & O_CREAT != 0 => return Err(Errno::EISDIR),
            Kind::Socket => return Err(Errno::ENXIO),
            _ => {}
        }
        let read = if flags & O_ACCMODE == O_WRONLY { 0 } else { READ };
        access::check_inode(&**place.inode(), caller.credentials, read | if write { WRITE } else { 0 }).await
    }

    async fn open_inode(&self, caller: &Caller, inode: &Arc<dyn Inode>, flags: u32) -> Result<Arc<dyn File>, Errno> {
        if flags & O_PATH != 0 {
            return Ok(Arc::new(PathOnly(inode.clone())));
        }
        if flags & O_TRUNC != 0 && inode.kind() == Kind::Regular {
            inode.set_attributes(caller, SetAttributes { size: Some(0), ..Default::default() }).await?;
        }
        if inode.kind() == Kind::Fifo {
            return io::fifo::open(inode, caller, flags);
        }
        inode.clone().open(caller, flags).await
    }

    /// Creates what the outcome of a resolution says is missing.
    async fn create_in(
        &self,
        context: &Context<'_>,
        outcome: &Outcome,
        new: NewInode,
    ) -> Result<Arc<dyn Inode>, Errno> {
        vacant(outcome, new.kind)?;
        let directory = outcome.parent.inode();
        access::check_inode(&**directory, context.caller.credentials, WRITE | EXECUTE).await?;
        directory.create(context.caller, &outcome.name, new).await
    }

    /// `mkdirat` and `mknodat`; what was created.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` for device nodes of ordinary users, and those of resolution.
    pub async fn create(&self, context: &Context<'_>, path: &[u8], new: NewInode) -> Result<Arc<dyn Inode>, Errno> {
        let device = matches!(new.kind, Kind::Character | Kind::Block);
        if device && context.caller.credentials.uid != 0 {
            return Err(Errno::EPERM);
        }
        let outcome = resolve(self, context, path, Last::Name).await?;
        self.create_in(context, &outcome, new).await
    }

    /// `symlinkat`.
    ///
    /// # Errors
    /// `ENOENT` for an empty target, `EEXIST`.
    pub async fn symlink(&self, context: &Context<'_>, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= crate::walk::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let outcome = resolve(self, context, path, Last::Name).await?;
        vacant(&outcome, Kind::Symlink)?;
        let directory = outcome.parent.inode();
        access::check_inode(&**directory, context.caller.credentials, WRITE | EXECUTE).await?;
        directory.symlink(context.caller, &outcome.name, target).await.map(drop)
    }

    /// `linkat`: gives `target` one more name.
    ///
    /// # Errors
    /// `EPERM` for directories, `EXDEV`, `EEXIST`.
    pub async fn link(&self, context: &Context<'_>, target: &Arc<dyn Inode>, path: &[u8]) -> Result<(), Errno> {
        let outcome = resolve(self, context, path, Last::Name).await?;
        vacant(&outcome, target.kind())?;
        let directory = outcome.parent.inode();
        if target.kind() == Kind::Directory {
            return Err(Errno::EPERM);
        }
        if target.id().dev != directory.id().dev {
            return Err(Errno::EXDEV);
        }
        access::check_inode(&**directory, context.caller.credentials, WRITE | EXECUTE).await?;
        directory.link(&outcome.name, target).await
    }

    /// `unlinkat`, for files and directories.
    ///
    /// # Errors
    /// Those of unlink(2) and rmdir(2).
    pub async fn unlink(&self, context: &Context<'_>, path: &[u8], removal: Removal) -> Result<(), Errno> {
        let outcome = resolve(self, context, path, Last::Name).await?;
        let victim = outcome.found.as_ref().ok_or(Errno::ENOENT)?;
        if outcome.name.is_empty() {
            return Err(if removal == Removal::Directory { dot_error(path) } else { Errno::EISDIR });
        }
        let directory = victim.inode().kind() == Kind::Directory;
        if removal == Removal::File && (directory || outcome.slash) {
            return Err(if directory { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        if victim.inode().id().dev != outcome.parent.inode().id().dev {
            return Err(Errno::EBUSY);
        }
        self.check_removal(context.caller, &outcome.parent, victim).await?;
        outcome.parent.inode().unlink(&outcome.name, removal).await
    }

    async fn check_removal(&self, caller: &Caller, parent: &Place, victim: &Place) -> Result<(), Errno> {
        let directory = metadata_of(&**parent.inode()).await?;
        access::check(&directory, caller.credentials, WRITE | EXECUTE)?;
        access::check_sticky(&directory, &metadata_of(&**victim.inode()).await?, caller.credentials)
    }

    /// `renameat2`.
    ///
    /// # Errors
    /// Those of rename(2).
    pub async fn rename(
        &self,
        from: (&Context<'_>, &[u8]),
        to: (&Context<'_>, &[u8]),
        replace: Replace,
    ) -> Result<(), Errno> {
        let old = resolve(self, from.0, from.1, Last::Name).await?;
        let new = resolve(self, to.0, to.1, Last::Name).await?;
        let moved = old.found.as_ref().ok_or(Errno::ENOENT)?;
        if old.name.is_empty() || new.name.is_empty() {
            return Err(Errno::EBUSY);
        }
        let directory = moved.inode().kind() == Kind::Directory;
        if (old.slash || new.slash) && !directory {
            return Err(Errno::ENOTDIR);
        }
        let dev = old.parent.inode().id().dev;
        if new.parent.inode().id().dev != dev {
            return Err(Errno::EXDEV);
        }
        let mounted = |place: &Arc<Place>| place.inode().id().dev != dev;
        if mounted(moved) || new.found.as_ref().is_some_and(mounted) {
            return Err(Errno::EBUSY);
        }
        if directory && is_below(&new.parent, &**moved.inode()) {
            return Err(Errno::EINVAL);
        }
        self.check_removal(from.0.caller, &old.parent, moved).await?;
        if directory && old.parent.inode().id() != new.parent.inode().id() {
            // Its `..` changes.
            access::check_inode(&**moved.inode(), from.0.caller.credentials, WRITE).await?;
        }
        match &new.found {
            Some(target) if replace == Replace::No => {
                let _ = target;
                return Err(Errno::EEXIST);
            }
            Some(target) if target.inode().id() == moved.inode().id() => return Ok(()),
            Some(target) => {
                self.check_removal(to.0.caller, &new.parent, target).await?;
                if replace == Replace::Yes {
                    check_kinds(directory, target.inode().kind() == Kind::Directory)?;
                }
            }
            None if replace == Replace::Exchange => return Err(Errno::ENOENT),
            None => {
                let who = to.0.caller.credentials;
                access::check_inode(&**new.parent.inode(), who, WRITE | EXECUTE).await?;
            }
        }
        old.parent.inode().rename(&old.name, new.parent.inode(), &new.name, replace).await
    }
}

/// A directory replaces a directory only, anything else all but a directory.
fn check_kinds(moved_directory: bool, target_directory: bool) -> Result<(), Errno> {
    match (moved_directory, target_directory) {
        (false, true) => Err(Errno::EISDIR),
        (true, false) => Err(Errno::ENOTDIR),
        _ => Ok(()),
    }
}

/// Whether `place` is `inode` or below it.
fn is_below(place: &Arc<Place>, inode: &dyn Inode) -> bool {
    let mut at = Some(place);
    while let Some(place) = at {
        if place.inode().id() == inode.id() {
            return true;
        }
        at = place.parent();
    }
    false
}

/// Whether a new object of this kind can have the name. Behind a slash only a directory can.
fn vacant(outcome: &Outcome, kind: Kind) -> Result<(), Errno> {
    if outcome.found.is_some() || outcome.name.is_empty() {
        return Err(Errno::EEXIST);
    }
    if outcome.slash && kind != Kind::Directory { Err(Errno::ENOENT) } else { Ok(()) }
}

/// What `rmdir` says to a path without a last name.
fn dot_error(path: &[u8]) -> Errno {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    match trimmed.rsplit(|byte| *byte == b'/').next() {
        Some(b"..") => Errno::ENOTEMPTY,
        Some(b".") => Errno::EINVAL,
        _ => Errno::EBUSY,
    }
}

/// `chmod`.
///
/// # Errors
/// `EPERM` unless the caller owns the object.
pub async fn change_mode(caller: &Caller, inode: &dyn Inode, permissions: u32) -> Result<(), Errno> {
    let metadata = metadata_of(inode).await?;
    let who = caller.credentials;
    if who.uid != 0 && who.uid != metadata.uid {
        return Err(Errno::EPERM);
    }
    // Who is not of the group cannot give its set-group-id bit.
    let strip = who.uid != 0 && who.gid != metadata.gid && metadata.kind != Kind::Directory;
    let permissions = permissions & if strip { 0o5777 } else { 0o7777 };
    inode.set_attributes(caller, SetAttributes { permissions: Some(permissions), ..Default::default() }).await
}

/// `chown`.
///
/// # Errors
/// `EPERM`: only the superuser changes owners; an owner may choose their own group.
pub async fn change_owner(caller: &Caller, inode: &dyn Inode, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let metadata = metadata_of(inode).await?;
    let who = caller.credentials;
    let own = who.uid == metadata.uid
        && uid.is_none_or(|uid| uid == metadata.uid)
        && gid.is_none_or(|gid| gid == who.gid || gid == metadata.gid);
    if who.uid != 0 && !own {
        return Err(Errno::EPERM);
    }
    let strip = metadata.kind == Kind::Regular && metadata.permissions & 0o6000 != 0;
    let permissions = strip.then_some(metadata.permissions & 0o1777);
    inode.set_attributes(caller, SetAttributes { uid, gid, permissions, ..Default::default() }).await
}

/// `truncate`; `ftruncate` checks the descriptor instead and calls `set_attributes`.
///
/// # Errors
/// `EISDIR`, `EINVAL`, `EACCES`.
pub async fn truncate(caller: &Caller, inode: &dyn Inode, size: u64) -> Result<(), Errno> {
    match inode.kind() {
        Kind::Regular => {}
        Kind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    access::check_inode(inode, caller.credentials, WRITE).await?;
    inode.set_attributes(caller, SetAttributes { size: Some(size), ..Default::default() }).await
}

/// `utimensat`: `None` leaves a time as it is; `now` says that both were the current time, which writers may set too.
///
/// # Errors
/// `EPERM`, `EACCES`.
pub async fn change_times(
    caller: &Caller,
    inode: &dyn Inode,
    accessed: Option<Timestamp>,
    modified: Option<Timestamp>,
    now: bool,
) -> Result<(), Errno> {
    let metadata = metadata_of(inode).await?;
    let who = caller.credentials;
    if who.uid != 0 && who.uid != metadata.uid {
        if !now {
            return Err(Errno::EPERM);
        }
        access::check(&metadata, who, WRITE)?;
    }
    inode.set_attributes(caller, SetAttributes { accessed, modified, ..Default::default() }).await
}

/// What `O_PATH` opens: a name, no content.
struct PathOnly(Arc<dyn Inode>);

impl File for PathOnly {
    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.0.clone())
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// A directory that is open.
pub struct Directory(Arc<dyn Inode>);

impl Directory {
    /// An open directory.
    pub fn open(inode: Arc<dyn Inode>) -> Arc<dyn File> {
        Arc::new(Directory(inode))
    }
}

impl File for Directory {
    fn read_now(&self, _: &Caller, _: u64, _: &mut mem::Sink<'_>) -> io::file::Attempt<usize> {
        Err(Errno::EISDIR.into())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.0.clone())
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Shorthand for boxed answers of inodes.
pub(crate) fn ready<'a, T: Send + 'a>(value: Result<T, Errno>) -> io::inode::Reply<'a, T> {
    Box::pin(core::future::ready(value))
}
