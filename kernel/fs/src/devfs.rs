//! `/dev`: the devices by name.
//!
//! A fixed set of nodes that boot fills in before anybody looks: devices, which are opened by a closure; symbolic links; and
//! empty directories to mount on. Nothing can be created or removed by programs.

use crate::namespace::{Directory, ready};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::any::Any;
use hal::sync::{SpinLock, rank};
use io::{
    caller::Caller,
    file::{Attempt, BoxFuture, DirectIo, File, Want},
    inode::{DirEntry, Inode, InodeId, Kind, Metadata, Reply, SetAttributes, Timestamp},
};

/// Opens a device; the flags are those of `openat`.
pub type Opener = Box<dyn Fn(&Caller, u32) -> Result<Device, Errno> + Send + Sync>;

/// A device that was opened.
pub struct Device {
    file: Arc<dyn File>,
    /// What is dropped with the descriptor.
    _hold: Option<Box<dyn Any + Send + Sync>>,
}

impl From<Arc<dyn File>> for Device {
    fn from(file: Arc<dyn File>) -> Self {
        Self { file, _hold: None }
    }
}

impl Device {
    /// A device that has to know how long it is open: it drops `hold` at the end.
    pub fn held(file: Arc<dyn File>, hold: impl Any + Send + Sync) -> Self {
        Self { file, _hold: Some(Box::new(hold)) }
    }
}

const DEV: u64 = 5;
/// Debian's group `disk`, whose the block devices are.
const DISK: u32 = 6;
/// And `dialout`, whose the serial ports are.
const DIALOUT: u32 = 20;

enum What {
    Device { open: Opener, kind: Kind, rdev: u64 },
    Link(Box<[u8]>),
    Empty,
}

/// A node below `/dev`.
struct Node {
    ino: u64,
    what: What,
    permissions: SpinLock<(u32, u32, u32)>,
}

/// The directory `/dev`.
pub struct DevFs {
    nodes: SpinLock<BTreeMap<Box<[u8]>, Arc<Node>>>,
}

fn metadata(ino: u64, kind: Kind, rdev: u64, size: u64, (permissions, uid, gid): (u32, u32, u32)) -> Metadata {
    let time = Timestamp::default();
    Metadata {
        id: InodeId { dev: DEV, ino },
        kind,
        permissions,
        links: if kind == Kind::Directory { 2 } else { 1 },
        uid,
        gid,
        rdev,
        size,
        blocks: 0,
        accessed: time,
        modified: time,
        changed: time,
        created: None,
    }
}

impl DevFs {
    /// A `/dev` with `fd`, `stdin`, `stdout`, `stderr` as links, and directories `shm` and `pts`.
    pub fn new() -> Arc<DevFs> {
        let dev = Arc::new(DevFs { nodes: SpinLock::new(rank::INODE, BTreeMap::new()) });
        dev.link(b"fd", b"/proc/self/fd");
        dev.link(b"stdin", b"/proc/self/fd/0");
        dev.link(b"stdout", b"/proc/self/fd/1");
        dev.link(b"stderr", b"/proc/self/fd/2");
        dev.add(b"shm", What::Empty, 0o755);
        dev.add(b"pts", What::Empty, 0o755);
        dev
    }

    /// Adds a character device; `number` is (major, minor).
    pub fn character(&self, name: &[u8], number: (u32, u32), permissions: u32, open: Opener) {
        let rdev = abi::stat::makedev(number.0, number.1);
        self.add(name, What::Device { open, kind: Kind::Character, rdev }, permissions);
    }

    /// Adds a serial port.
    pub fn port(&self, name: &[u8], number: (u32, u32), open: Opener) {
        let rdev = abi::stat::makedev(number.0, number.1);
        self.add_owned(name, What::Device { open, kind: Kind::Character, rdev }, (0o660, 0, DIALOUT));
    }

    /// Adds a block device; `number` is (major, minor).
    pub fn block(&self, name: &[u8], number: (u32, u32), permissions: u32, open: Opener) {
        let rdev = abi::stat::makedev(number.0, number.1);
        self.add_owned(name, What::Device { open, kind: Kind::Block, rdev }, (permissions, 0, DISK));
    }

    /// Adds a character device that is the same object for all who open it.
    pub fn shared(&self, name: &[u8], number: (u32, u32), permissions: u32, file: Arc<dyn File>) {
        self.character(name, number, permissions, Box::new(move |_, _| Ok(file.clone().into())));
    }

    /// Adds a symbolic link.
    pub fn link(&self, name: &[u8], target: &[u8]) {
        self.add(name, What::Link(target.into()), 0o777);
    }

    fn add(&self, name: &[u8], what: What, permissions: u32) {
        self.add_owned(name, what, (permissions, 0, 0));
    }

    fn add_owned(&self, name: &[u8], what: What, owned: (u32, u32, u32)) {
        let mut nodes = self.nodes.lock();
        let ino = nodes.len() as u64 + 2;
        let permissions = SpinLock::new(rank::INODE + 1, owned);
        nodes.insert(name.into(), Arc::new(Node { ino, what, permissions }));
    }

    fn get(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        self.nodes.lock().get(name).map(|node| node.clone() as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }
}

fn dots(cookie: u64, ino: u64) -> impl Iterator<Item = DirEntry> {
    let dot = move |(index, name): (u64, &'static [u8])| DirEntry {
        ino,
        kind: Kind::Directory,
        next: index + 1,
        name: name.into(),
    };
    [(0, &b"."[..]), (1, &b".."[..])].into_iter().filter(move |(index, _)| *index >= cookie).map(dot)
}

impl Inode for DevFs {
    fn id(&self) -> InodeId {
        InodeId { dev: DEV, ino: 1 }
    }

    fn kind(&self) -> Kind {
        Kind::Directory
    }

    fn metadata_now(&self) -> Option<Metadata> {
        Some(metadata(1, Kind::Directory, 0, 0, (0o755, 0, 0)))
    }

    fn lookup_now(&self, name: &[u8]) -> Option<Result<Arc<dyn Inode>, Errno>> {
        Some(self.get(name))
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        ready(self.get(name))
    }

    fn readdir(&self, cookie: u64, limit: usize) -> Reply<'_, Vec<DirEntry>> {
        let nodes = self.nodes.lock();
        let named = nodes.iter().enumerate().map(|(index, (name, node))| DirEntry {
            ino: node.ino,
            kind: node.kind(),
            next: index as u64 + 3,
            name: name.clone(),
        });
        let listed = named.filter(|entry| entry.next > cookie);
        ready(Ok(dots(cookie, 1).chain(listed).take(limit).collect()))
    }

    fn open(self: Arc<Self>, _caller: &Caller, _flags: u32) -> Reply<'static, Arc<dyn File>> {
        ready(Ok(Directory::open(self)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { dev: DEV, ino: self.ino }
    }

    fn kind(&self) -> Kind {
        match &self.what {
            What::Device { kind, .. } => *kind,
            What::Link(_) => Kind::Symlink,
            What::Empty => Kind::Directory,
        }
    }

    fn metadata_now(&self) -> Option<Metadata> {
        let (rdev, size) = match &self.what {
            What::Device { rdev, .. } => (*rdev, 0),
            What::Link(target) => (0, target.len() as u64),
            What::Empty => (0, 0),
        };
        Some(metadata(self.ino, self.kind(), rdev, size, *self.permissions.lock()))
    }

    fn set_attributes<'a>(&'a self, _caller: &'a Caller, set: SetAttributes) -> Reply<'a, ()> {
        let mut now = self.permissions.lock();
        *now = (set.permissions.unwrap_or(now.0) & 0o7777, set.uid.unwrap_or(now.1), set.gid.unwrap_or(now.2));
        ready(Ok(()))
    }

    fn lookup<'a>(&'a self, _name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        ready(Err(if self.kind() == Kind::Directory { Errno::ENOENT } else { Errno::ENOTDIR }))
    }

    fn readlink_now(&self) -> Option<Box<[u8]>> {
        match &self.what {
            What::Link(target) => Some(target.clone()),
            _ => None,
        }
    }

    fn readlink(&self) -> Reply<'_, Box<[u8]>> {
        ready(self.readlink_now().ok_or(Errno::EINVAL))
    }

    fn readdir(&self, cookie: u64, limit: usize) -> Reply<'_, Vec<DirEntry>> {
        ready(match self.what {
            What::Empty => Ok(dots(cookie, self.ino).take(limit).collect()),
            _ => Err(Errno::ENOTDIR),
        })
    }

    fn open(self: Arc<Self>, caller: &Caller, flags: u32) -> Reply<'static, Arc<dyn File>> {
        ready(match &self.what {
            What::Device { open, .. } => {
                open(caller, flags).map(|device| Arc::new(Opened { device, inode: self.clone() }) as Arc<dyn File>)
            }
            What::Empty => Ok(Directory::open(self.clone())),
            What::Link(_) => Err(Errno::ELOOP),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A device with the name it was opened by, for `fstat`.
struct Opened {
    device: Device,
    inode: Arc<dyn Inode>,
}

impl File for Opened {
    fn read_now(&self, caller: &Caller, offset: u64, dst: &mut mem::Sink<'_>) -> Attempt<usize> {
        self.device.file.read_now(caller, offset, dst)
    }

    fn write_now(&self, caller: &Caller, offset: u64, src: &mut mem::Source<'_>) -> Attempt<usize> {
        self.device.file.write_now(caller, offset, src)
    }

    fn queue(&self, want: Want) -> Option<&exec::sync::WaitQueue> {
        self.device.file.queue(want)
    }

    fn wait<'a>(&'a self, caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        self.device.file.wait(caller, want)
    }

    fn can_signal(&self) -> bool {
        self.device.file.can_signal()
    }

    fn take_less(&self) -> bool {
        self.device.file.take_less()
    }

    fn events(&self) -> u32 {
        self.device.file.events()
    }

    fn edges(&self) -> u64 {
        self.device.file.edges()
    }

    fn wait_edge<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        self.device.file.wait_edge(caller, events, since)
    }

    fn seekable(&self) -> bool {
        self.device.file.seekable()
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn ioctl<'a>(
        &'a self,
        caller: &'a Caller,
        space: &'a mem::AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        self.device.file.ioctl(caller, space, command, argument)
    }

    fn size(&self) -> Option<u64> {
        self.device.file.size().or_else(|| Some(self.inode.metadata_now()?.size))
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Errno>> {
        if self.inode.kind() == Kind::Block { self.device.file.sync() } else { self.inode.sync() }
    }

    fn direct(&self) -> Option<&dyn DirectIo> {
        self.device.file.direct()
    }

    fn backing(&self, path: &Arc<[u8]>) -> Option<Arc<dyn mem::Backing>> {
        self.device.file.backing(path)
    }

    /// The device itself: who asks for a terminal gets it.
    fn as_any(&self) -> &dyn Any {
        self.device.file.as_any()
    }
}
