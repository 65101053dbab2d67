//! `/proc`: what the kernel knows, as text.
//!
//! Upper layers [`register`] closures by path (`"meminfo"`, `"asyncos/syscalls"`); a file's text is made when it is opened.
//! What is more than a text, and can be written, brings its own file: [`register_control`].
//! Processes come from a [`ProcessTable`] that the process layer injects; nothing about them is kept here, so
//! a directory of a process that is gone is empty by itself.

use crate::{
    lines::{Lines, Listing},
    namespace::{Directory, Namespace, ready},
    text::Text,
    walk::Place,
};
use abi::errno::Errno;
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;
use hal::sync::{SpinLock, rank};
use io::{
    caller::Caller,
    file::File,
    inode::{DirEntry, Inode, InodeId, Kind, Metadata, Reply, SetAttributes, Statistics, Timestamp},
    open::OpenFile,
};
use mem::{Room, list};

/// Makes the text of a file.
pub type Generate = Arc<dyn Fn() -> String + Send + Sync>;

/// Opens a file that is not just a text.
pub type Open = fn(&Caller, Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno>;

/// What is behind a registered path.
#[derive(Clone)]
enum Content {
    Text(Generate),
    Control(Open),
}

/// Files of a process directory that are text.
const TEXTS: [&str; 12] = [
    "cmdline", "comm", "environ", "limits", "maps", "mounts", "resident", "sched", "stat", "statm", "status", "threads",
];
/// Files of a process directory that are made line by line.
const LISTINGS: [&str; 1] = ["coroutines"];
/// Links of a process directory.
const LINKS: [&str; 3] = ["cwd", "exe", "root"];

/// What `/proc` asks the process layer. A process that is gone answers `None`.
pub trait ProcessTable: Send + Sync {
    /// All process ids, in rising order.
    fn pids(&self) -> Vec<u32>;

    /// The process that is running on this hart, for `readlink("/proc/self")`.
    fn current(&self) -> Option<u32>;

    /// User and group that own the process.
    fn owner(&self, pid: u32) -> Option<(u32, u32)>;

    /// The text of `cmdline`, `comm`, `environ`, `limits`, `maps`, `resident`, `sched`, `stat`, `statm`, `status` or `threads`.
    fn text(&self, pid: u32, name: &str) -> Option<Vec<u8>>;

    /// The lines of `coroutines`.
    fn listing(&self, pid: u32, name: &str) -> Option<Box<dyn Listing>>;

    /// Where `cwd`, `exe` or `root` lead.
    fn link(&self, pid: u32, name: &str) -> Option<Arc<Place>>;

    /// Open descriptors, in rising order.
    fn descriptors(&self, pid: u32) -> Option<Vec<u32>>;

    /// One descriptor.
    fn descriptor(&self, pid: u32, fd: u32) -> Option<Arc<OpenFile>>;
}

static FILES: SpinLock<BTreeMap<String, Content>> = SpinLock::new(rank::NAMESPACE, BTreeMap::new());
static PROCESSES: SpinLock<Option<&'static dyn ProcessTable>> = SpinLock::new(rank::NAMESPACE, None);

const DEV: u64 = 4;

/// Makes `path` (relative to /proc) a file with generated text.
pub fn register<F>(path: &str, generate: F)
where
    F: Fn() -> String + Send + Sync + 'static,
{
    FILES.lock().insert(path.to_string(), Content::Text(Arc::new(generate)));
}

/// Makes `path` (relative to /proc) a file that only root can read and write; `open` opens it.
pub fn register_control(path: &str, open: Open) {
    FILES.lock().insert(path.to_string(), Content::Control(open));
}

/// Injects the process layer's part.
pub fn set_processes(table: &'static dyn ProcessTable) {
    *PROCESSES.lock() = Some(table);
}

/// Registers what this layer knows itself: mounts, file systems, memory, uptime.
pub fn register_basics(space: &Arc<Namespace>) {
    let space = Arc::downgrade(space);
    register("mounts", move || mounts(&space));
    register("filesystems", || String::from("nodev\tproc\nnodev\tdevtmpfs\nnodev\ttmpfs\n\text4\n"));
    register("uptime", || {
        let now = hal::time::now() / 10_000_000;
        format!("{}.{:02} 0.00\n", now / 100, now % 100)
    });
    register("meminfo", meminfo);
}

fn mounts(space: &Weak<Namespace>) -> String {
    let Some(space) = space.upgrade() else { return String::new() };
    let line = |mount: &crate::namespace::MountInfo| {
        let path = if mount.path.is_empty() { "/" } else { &mount.path };
        format!("{} {path} {} rw 0 0\n", mount.source, mount.kind)
    };
    space.mounts().iter().map(line).collect()
}

fn meminfo() -> String {
    let stats = hal::frame::stats();
    let kib = |frames: usize| frames * (hal::PAGE_SIZE / 1024);
    let cached = crate::cache::cached_pages();
    format!(
        "MemTotal:       {:8} kB\nMemFree:        {:8} kB\nMemAvailable:   {:8} kB\nBuffers:        {:8} kB\nCached:         {:8} kB\nSwapTotal:      {:8} kB\nSwapFree:       {:8} kB\n",
        kib(stats.total),
        kib(stats.free),
        kib(stats.free + cached),
        0,
        kib(cached),
        0,
        0
    )
}

/// The root of `/proc`.
pub fn root() -> Arc<dyn Inode> {
    Arc::new(Node { what: What::Directory(String::new()) })
}

enum What {
    /// A directory of registered files: its path with a slash behind, or nothing for the root.
    Directory(String),
    File(String, Content),
    /// `/proc/self`.
    Own,
    Process(u32),
    ProcessText(u32, &'static str),
    ProcessLines(u32, &'static str),
    ProcessLink(u32, &'static str),
    Descriptors(u32),
    Descriptor(u32, u32),
}

struct Node {
    what: What,
}

fn processes() -> Option<&'static dyn ProcessTable> {
    *PROCESSES.lock()
}

fn node(what: What) -> Arc<dyn Inode> {
    Arc::new(Node { what })
}

/// An inode number that is the same each time: a hash of what the node is.
fn number(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.iter().flat_map(|part| part.iter().chain(&[0])) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash >> 1 | 1
}

/// Names directly below the registered directory `prefix`, and whether each is a directory.
fn registered(prefix: &str) -> BTreeSet<(String, bool)> {
    let files = FILES.lock();
    let below = files.range(prefix.to_string()..).map(|(path, _)| path).take_while(|path| path.starts_with(prefix));
    below
        .map(|path| match path[prefix.len()..].split_once('/') {
            Some((directory, _)) => (directory.to_string(), true),
            None => (path[prefix.len()..].to_string(), false),
        })
        .collect()
}

fn alive(pid: u32) -> bool {
    processes().is_some_and(|table| table.owner(pid).is_some())
}

/// The path that a process's link shows: from that process's root.
fn path_of(table: &dyn ProcessTable, pid: u32, name: &str) -> Option<Vec<u8>> {
    Some(table.link(pid, name)?.path(&*table.link(pid, "root")?))
}

/// The place that a link of a process directory leads to; `None` for every other inode. Following it to the inode alone
/// would lose how that was reached.
pub(crate) fn place(link: &dyn Inode) -> Option<Arc<Place>> {
    match &link.as_any().downcast_ref::<Node>()?.what {
        What::ProcessLink(pid, name) => processes()?.link(*pid, name),
        _ => None,
    }
}

/// Whether a link that is followed by itself says where it leads: to another name beside it.
pub(crate) fn leads_by_name(link: &dyn Inode) -> bool {
    link.as_any().downcast_ref::<Node>().is_some_and(|node| matches!(node.what, What::Own))
}

fn decimal(name: &str) -> Option<u32> {
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    plain.then(|| name.parse().ok()).flatten()
}

impl Node {
    fn child(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        match &self.what {
            What::Directory(prefix) => Self::registered_child(prefix, name),
            What::Process(pid) if alive(*pid) => Self::process_child(*pid, name),
            What::Descriptors(pid) => {
                let fd = decimal(name).ok_or(Errno::ENOENT)?;
                let found = processes().and_then(|table| table.descriptor(*pid, fd));
                found.map(|_| node(What::Descriptor(*pid, fd))).ok_or(Errno::ENOENT)
            }
            What::Process(_) => Err(Errno::ENOENT),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn registered_child(prefix: &str, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        if prefix.is_empty() {
            if name == "self" {
                return Ok(node(What::Own));
            }
            if let Some(pid) = decimal(name).filter(|pid| alive(*pid)) {
                return Ok(node(What::Process(pid)));
            }
        }
        let path = format!("{prefix}{name}");
        let file = FILES.lock().get(&path).cloned();
        if let Some(content) = file {
            return Ok(node(What::File(path, content)));
        }
        let directory = format!("{path}/");
        if registered(&directory).is_empty() { Err(Errno::ENOENT) } else { Ok(node(What::Directory(directory))) }
    }

    fn process_child(pid: u32, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        if name == "fd" {
            return Ok(node(What::Descriptors(pid)));
        }
        if let Some(name) = TEXTS.iter().find(|text| **text == name) {
            return Ok(node(What::ProcessText(pid, name)));
        }
        if let Some(name) = LISTINGS.iter().find(|listing| **listing == name) {
            return Ok(node(What::ProcessLines(pid, name)));
        }
        let link = LINKS.iter().find(|link| **link == name).ok_or(Errno::ENOENT)?;
        Ok(node(What::ProcessLink(pid, link)))
    }

    /// Names and kinds in this directory.
    fn names(&self) -> Result<Vec<(String, Kind)>, Errno> {
        let kind = |directory: bool| if directory { Kind::Directory } else { Kind::Regular };
        match &self.what {
            What::Directory(prefix) => {
                let mut names: Vec<_> =
                    registered(prefix).into_iter().map(|(name, directory)| (name, kind(directory))).collect();
                if prefix.is_empty() {
                    names.push((String::from("self"), Kind::Symlink));
                    let pids = processes().map_or_else(Vec::new, |table| table.pids());
                    names.make_exact_room(pids.len())?;
                    names.extend(pids.iter().map(|pid| (pid.to_string(), Kind::Directory)));
                }
                Ok(names)
            }
            What::Process(pid) if alive(*pid) => {
                let texts = TEXTS.iter().chain(&LISTINGS).map(|name| (name.to_string(), Kind::Regular));
                let links = LINKS.iter().map(|name| (name.to_string(), Kind::Symlink));
                let fd = core::iter::once((String::from("fd"), Kind::Directory));
                Ok(texts.chain(links).chain(fd).collect())
            }
            What::Descriptors(pid) => {
                let fds = processes().and_then(|table| table.descriptors(*pid)).ok_or(Errno::ENOENT)?;
                let mut names = list(fds.len())?;
                names.extend(fds.iter().map(|fd| (fd.to_string(), Kind::Symlink)));
                Ok(names)
            }
            What::Process(_) => Err(Errno::ENOENT),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn text(&self) -> Result<Vec<u8>, Errno> {
        match &self.what {
            What::File(_, Content::Text(generate)) => Ok(generate().into_bytes()),
            What::ProcessText(_, "mounts") => {
                let content = FILES.lock().get("mounts").cloned();
                let Some(Content::Text(generate)) = content else { return Ok(Vec::new()) };
                Ok(generate().into_bytes())
            }
            What::ProcessText(pid, name) => processes().and_then(|table| table.text(*pid, name)).ok_or(Errno::ESRCH),
            _ => Err(Errno::EINVAL),
        }
    }

    fn target(&self) -> Result<Vec<u8>, Errno> {
        let table = processes().ok_or(Errno::ENOENT)?;
        match &self.what {
            What::Own => table.current().map(|pid| pid.to_string().into_bytes()).ok_or(Errno::ENOENT),
            What::ProcessLink(pid, name) => path_of(table, *pid, name).ok_or(Errno::ENOENT),
            What::Descriptor(pid, fd) => {
                table.descriptor(*pid, *fd).map(|open| open.path().to_vec()).ok_or(Errno::ENOENT)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn owner(&self) -> (u32, u32) {
        let (What::Process(pid)
        | What::ProcessText(pid, _)
        | What::ProcessLines(pid, _)
        | What::ProcessLink(pid, _)
        | What::Descriptors(pid)
        | What::Descriptor(pid, _)) = self.what
        else {
            return (0, 0);
        };
        processes().and_then(|table| table.owner(pid)).unwrap_or((0, 0))
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        let ino = match &self.what {
            What::Directory(path) if path.is_empty() => 1,
            What::Directory(path) | What::File(path, _) => number(&[path.as_bytes()]),
            What::Own => 2,
            What::Process(pid) => number(&[b"/", &pid.to_le_bytes()]),
            What::ProcessText(pid, name) | What::ProcessLines(pid, name) | What::ProcessLink(pid, name) => {
                number(&[b"/", &pid.to_le_bytes(), name.as_bytes()])
            }
            What::Descriptors(pid) => number(&[b"/", &pid.to_le_bytes(), b"fd"]),
            What::Descriptor(pid, fd) => number(&[b"/", &pid.to_le_bytes(), b"fd", &fd.to_le_bytes()]),
        };
        InodeId { dev: DEV, ino }
    }

    fn kind(&self) -> Kind {
        match &self.what {
            What::Directory(_) | What::Process(_) | What::Descriptors(_) => Kind::Directory,
            What::File(..) | What::ProcessText(..) | What::ProcessLines(..) => Kind::Regular,
            What::Own | What::ProcessLink(..) | What::Descriptor(..) => Kind::Symlink,
        }
    }

    fn metadata_now(&self) -> Option<Metadata> {
        let kind = self.kind();
        let now = Timestamp::now();
        let (uid, gid) = self.owner();
        let permissions = match (kind, &self.what) {
            (Kind::Directory, What::Descriptors(_)) => 0o500,
            (Kind::Directory, _) => 0o555,
            (Kind::Symlink, _) => 0o777,
            (_, What::ProcessText(_, "environ" | "resident") | What::ProcessLines(..)) => 0o400,
            (_, What::File(_, Content::Control(_))) => 0o600,
            _ => 0o444,
        };
        let links = if kind == Kind::Directory { 2 } else { 1 };
        Some(Metadata {
            id: self.id(),
            kind,
            permissions,
            links,
            uid,
            gid,
            rdev: 0,
            size: 0,
            blocks: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: None,
        })
    }

    fn lookup_now(&self, name: &[u8]) -> Option<Result<Arc<dyn Inode>, Errno>> {
        Some(self.child(name))
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        ready(self.child(name))
    }

    fn readlink_now(&self) -> Option<Box<[u8]>> {
        self.target().ok().map(Into::into)
    }

    fn readlink(&self) -> Reply<'_, Box<[u8]>> {
        ready(self.target().map(Into::into))
    }

    fn follow(&self, caller: &Caller) -> Option<Result<Arc<dyn Inode>, Errno>> {
        let table = processes()?;
        match &self.what {
            What::Own => Some(if alive(caller.pid) { Ok(node(What::Process(caller.pid))) } else { Err(Errno::ENOENT) }),
            What::ProcessLink(pid, name) => {
                Some(table.link(*pid, name).map(|place| place.inode().clone()).ok_or(Errno::ENOENT))
            }
            What::Descriptor(pid, fd) => Some(match table.descriptor(*pid, *fd) {
                Some(open) => {
                    Ok(open.file().inode().unwrap_or_else(|| Arc::new(Nameless(Arc::downgrade(open.file())))))
                }
                None => Err(Errno::ENOENT),
            }),
            _ => None,
        }
    }

    fn readdir(&self, cookie: u64, limit: usize) -> Reply<'_, Vec<DirEntry>> {
        let list = || {
            let mut names = alloc::vec![(String::from("."), Kind::Directory), (String::from(".."), Kind::Directory)];
            let more = self.names()?;
            names.make_exact_room(more.len())?;
            names.extend(more);
            let own = self.id().ino;
            let entry = |(index, (name, kind)): (usize, (String, Kind))| DirEntry {
                ino: number(&[&own.to_le_bytes(), name.as_bytes()]),
                kind,
                next: index as u64 + 1,
                name: name.into_bytes().into(),
            };
            Ok(names.into_iter().enumerate().skip(cookie as usize).take(limit).map(entry).collect())
        };
        ready(list())
    }

    /// A file that can be written has no content that could be cut: `O_TRUNC` changes nothing.
    fn set_attributes<'a>(&'a self, _caller: &'a Caller, set: SetAttributes) -> Reply<'a, ()> {
        let cut = matches!(set, SetAttributes { permissions: None, uid: None, gid: None, size: Some(0), .. });
        let control = matches!(self.what, What::File(_, Content::Control(_)));
        ready(if control && cut { Ok(()) } else { Err(Errno::EPERM) })
    }

    fn open(self: Arc<Self>, caller: &Caller, _flags: u32) -> Reply<'static, Arc<dyn File>> {
        if let What::File(_, Content::Control(open)) = self.what {
            return ready(open(caller, self));
        }
        if let What::ProcessLines(pid, name) = self.what {
            let listing = processes().and_then(|table| table.listing(pid, name)).ok_or(Errno::ESRCH);
            return ready(listing.map(|listing| Lines::open(listing, self)));
        }
        ready(match self.kind() {
            Kind::Directory => Ok(Directory::open(self)),
            Kind::Regular => self.text().map(|text| Text::open(text, self)),
            _ => Err(Errno::ELOOP),
        })
    }

    fn statistics(&self) -> Reply<'_, Statistics> {
        let magic = abi::fs::PROC_SUPER_MAGIC as u64;
        ready(Ok(Statistics { magic, block_size: hal::PAGE_SIZE as u64, ..Statistics::default() }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A pipe or socket reached through /proc/PID/fd: opening it gives the same object, as long as somebody has that. What is open as a path alone keeps nothing:
/// else sockets in flight could be kept by what does not look like one.
struct Nameless(Weak<dyn File>);

impl Inode for Nameless {
    fn id(&self) -> InodeId {
        InodeId { dev: DEV, ino: self.0.as_ptr().cast::<u8>() as u64 }
    }

    fn kind(&self) -> Kind {
        Kind::Fifo
    }

    fn metadata_now(&self) -> Option<Metadata> {
        let now = Timestamp::now();
        Some(Metadata {
            id: self.id(),
            kind: Kind::Fifo,
            permissions: 0o600,
            links: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: None,
        })
    }

    fn open(self: Arc<Self>, _caller: &Caller, _flags: u32) -> Reply<'static, Arc<dyn File>> {
        ready(self.0.upgrade().ok_or(Errno::ENXIO))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
