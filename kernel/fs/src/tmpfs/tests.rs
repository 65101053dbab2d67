//! The tree of names over files in memory: what path(7), rename(2) and open(2) promise.

use super::*;
use crate::{
    namespace::{MountInfo, Namespace},
    walk::{Context, LINKS, Last, Place},
};
use abi::fs::{O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
use alloc::format;
use core::task::{Context as Waking, Poll, Waker};
use io::{caller::Credentials, open::OpenFile};
use mem::{Account, Sink, Source};
use std::future::Future;

mod corners;

/// Nothing here waits, so one poll must do.
fn now<T>(work: impl Future<Output = T>) -> T {
    match core::pin::pin!(work).poll(&mut Waking::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a file system in memory waited"),
    }
}

struct World {
    space: Arc<Namespace>,
    caller: Caller,
}

impl World {
    fn new(limit: usize) -> World {
        let info = MountInfo { source: "tmpfs".into(), path: "/".into(), kind: "tmpfs" };
        World { space: Namespace::new(super::new(limit), info), caller: user(0) }
    }

    fn context(&self) -> Context<'_> {
        Context { caller: &self.caller, root: self.space.root(), base: self.space.root(), resolve: 0 }
    }

    fn open(&self, path: &str, flags: u32) -> Result<Arc<OpenFile>, Errno> {
        now(self.space.open(&self.context(), path.as_bytes(), flags, 0o644)).map(|(file, _)| file)
    }

    fn find(&self, path: &str) -> Result<Arc<Place>, Errno> {
        now(self.space.find(&self.context(), path.as_bytes(), Last::Follow))
    }

    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        let new = NewInode { kind: Kind::Directory, permissions: 0o755, rdev: 0 };
        now(self.space.create(&self.context(), path.as_bytes(), new)).map(drop)
    }

    fn link(&self, target: &str, path: &str) -> Result<(), Errno> {
        now(self.space.symlink(&self.context(), target.as_bytes(), path.as_bytes()))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let context = self.context();
        now(self.space.rename((&context, from.as_bytes()), (&context, to.as_bytes()), Replace::Yes))
    }

    fn remove(&self, path: &str, removal: Removal) -> Result<(), Errno> {
        now(self.space.unlink(&self.context(), path.as_bytes(), removal))
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Errno> {
        let file = self.open(path, O_CREAT | O_WRONLY | O_TRUNC)?;
        put(&file, &self.caller, bytes)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, O_RDONLY)?;
        let mut bytes = alloc::vec![0; 1 << 16];
        let mut sink = Sink::kernel(&mut bytes);
        while file.read_now(&self.caller, &mut sink).unwrap().unwrap() > 0 {}
        let done = sink.done();
        bytes.truncate(done);
        Ok(bytes)
    }
}

fn put(file: &Arc<OpenFile>, caller: &Caller, bytes: &[u8]) -> Result<(), Errno> {
    let mut source = Source::kernel(bytes);
    while source.remaining() > 0 {
        match file.write_now(caller, &mut source) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a file in memory waited"),
            Err(io::file::IoError::Errno(errno)) => return Err(errno),
            Err(io::file::IoError::Fault(_)) => unreachable!("kernel memory does not fault"),
        }
    }
    Ok(())
}

fn user(uid: u32) -> Caller {
    Caller { credentials: Credentials { uid, gid: uid }, ..Caller::kernel(16, Account::new(None, usize::MAX)) }
}

#[test]
fn paths_lead_where_they_say() {
    let world = World::new(1 << 20);
    world.mkdir("/a").unwrap();
    world.mkdir("/a/b/").unwrap();
    world.write("/a/b/file", b"text").unwrap();
    for path in ["/a/b/file", "a/b/file", "//a/./b/../b//file", "/../a/b/file"] {
        assert_eq!(world.read(path).unwrap(), b"text", "{path}");
    }
    let errors = [
        ("", Errno::ENOENT),
        ("/a/none", Errno::ENOENT),
        ("/none/file", Errno::ENOENT),
        ("/a/b/file/", Errno::ENOTDIR),
        ("/a/b/file/x", Errno::ENOTDIR),
        ("/a/b/file/..", Errno::ENOTDIR),
    ];
    for (path, errno) in errors {
        assert_eq!(world.find(path).err(), Some(errno), "{path}");
    }
    assert_eq!(world.find(&format!("/{}", "x".repeat(256))).err(), Some(Errno::ENAMETOOLONG));
    assert_eq!(world.find(&"/a/..".repeat(1000)).err(), Some(Errno::ENAMETOOLONG));
    assert_eq!(world.find("/a/b/file").unwrap().path(world.space.root()), b"/a/b/file");
}

#[test]
fn links_are_followed_but_not_for_ever() {
    let world = World::new(1 << 20);
    world.mkdir("/d").unwrap();
    world.write("/d/file", b"text").unwrap();
    world.link("d", "/l").unwrap();
    world.link("../d/file", "/d/up").unwrap();
    world.link("/loop", "/loop").unwrap();
    assert_eq!(world.read("/l/file").unwrap(), b"text");
    assert_eq!(world.read("/l/up").unwrap(), b"text");
    assert_eq!(world.find("/loop").err(), Some(Errno::ELOOP));
    assert_eq!(world.find("/loop/x").err(), Some(Errno::ELOOP));
    assert_eq!(world.open("/d/up", O_NOFOLLOW).err(), Some(Errno::ELOOP));
    assert_eq!(world.open("/l", O_NOFOLLOW | O_DIRECTORY).err(), Some(Errno::ENOTDIR));
    world.link("d/file", "/c0").unwrap();
    for index in 0..LINKS {
        world.link(&format!("c{index}"), &format!("/c{}", index + 1)).unwrap();
    }
    assert_eq!(world.read(&format!("/c{}", LINKS - 1)).unwrap(), b"text");
    assert_eq!(world.find(&format!("/c{LINKS}")).err(), Some(Errno::ELOOP));
    // A link that leads nowhere: creating through it makes what it names, exclusively never.
    world.link("fresh", "/dangling").unwrap();
    assert_eq!(world.open("/dangling", O_CREAT | O_EXCL | O_RDWR).err(), Some(Errno::EEXIST));
    world.write("/dangling", b"new").unwrap();
    assert_eq!(world.read("/fresh").unwrap(), b"new");
}

#[test]
fn opening_obeys_flags_and_permissions() {
    let mut world = World::new(1 << 20);
    world.write("/file", b"12345").unwrap();
    assert_eq!(world.open("/file", O_CREAT | O_EXCL).err(), Some(Errno::EEXIST));
    assert_eq!(world.open("/", O_RDWR).err(), Some(Errno::EISDIR));
    assert_eq!(world.open("/file", O_DIRECTORY).err(), Some(Errno::ENOTDIR));
    let file = world.open("/file", O_WRONLY | O_APPEND).unwrap();
    put(&file, &world.caller, b"67").unwrap();
    assert_eq!(file.position(), 7);
    assert_eq!(world.read("/file").unwrap(), b"1234567");
    assert!(file.read_now(&world.caller, &mut Sink::kernel(&mut [0; 4])).is_err());
    world.open("/file", O_WRONLY | O_TRUNC).unwrap();
    assert_eq!(world.read("/file").unwrap(), b"");
    world.mkdir("/private").unwrap();
    world.write("/private/file", b"x").unwrap();
    let inode = world.find("/private").unwrap().inode().clone();
    now(crate::namespace::change_mode(&world.caller, &*inode, 0o700)).unwrap();
    world.caller = user(7);
    assert_eq!(world.read("/private/file").err(), Some(Errno::EACCES));
    assert_eq!(world.open("/file", O_WRONLY).err(), Some(Errno::EACCES));
    assert_eq!(now(crate::namespace::change_mode(&world.caller, &*inode, 0o777)), Err(Errno::EPERM));
    // The root directory is sticky: others' files stay.
    assert_eq!(world.remove("/file", Removal::File), Err(Errno::EPERM));
    world.write("/mine", b"x").unwrap();
    world.remove("/mine", Removal::File).unwrap();
}

#[test]
fn renaming_replaces_and_refuses_cycles() {
    let world = World::new(1 << 20);
    for path in ["/a", "/a/b", "/a/b/c", "/empty", "/full", "/full/x"] {
        world.mkdir(path).unwrap();
    }
    assert_eq!(world.rename("/a", "/a/b/c/d"), Err(Errno::EINVAL));
    assert_eq!(world.rename("/a", "/full"), Err(Errno::ENOTEMPTY));
    world.rename("/a/b", "/empty").unwrap();
    assert!(world.find("/empty/c").is_ok());
    assert_eq!(world.find("/a/b").err(), Some(Errno::ENOENT));
    world.write("/one", b"1").unwrap();
    world.write("/two", b"2").unwrap();
    let held = world.open("/two", O_RDONLY).unwrap();
    world.rename("/one", "/two").unwrap();
    assert_eq!(world.read("/two").unwrap(), b"1");
    assert_eq!(held.file().inode().unwrap().metadata_now().unwrap().links, 0);
    assert_eq!(world.rename("/two", "/full"), Err(Errno::EISDIR));
    assert_eq!(world.rename("/full", "/two"), Err(Errno::ENOTDIR));
    let links = |path: &str| world.find(path).unwrap().inode().metadata_now().unwrap().links;
    assert_eq!((links("/a"), links("/empty"), links("/full")), (2, 3, 3));
    assert_eq!(links("/"), 2 + 3);
}

#[test]
fn mounts_cover_and_come_off() {
    let world = World::new(1 << 20);
    world.mkdir("/mnt").unwrap();
    world.write("/mnt/below", b"x").unwrap();
    let other = super::new(1 << 20);
    now(world.space.mount(&world.context(), b"/mnt", other.clone(), "none", "tmpfs")).unwrap();
    assert_eq!(world.find("/mnt/below").err(), Some(Errno::ENOENT));
    world.mkdir("/mnt/inside").unwrap();
    assert_eq!(world.find("/mnt/inside/../..").unwrap().inode().id(), world.space.root().inode().id());
    assert_eq!(world.remove("/mnt", Removal::Directory), Err(Errno::EBUSY));
    assert_eq!(world.rename("/mnt/inside", "/inside"), Err(Errno::EXDEV));
    assert_eq!(now(world.space.mount(&world.context(), b"/mnt", other, "none", "tmpfs")), Err(Errno::EBUSY));
    assert_eq!(world.space.mounts().len(), 2);
    now(world.space.unmount(&world.context(), b"/mnt")).unwrap();
    assert!(world.find("/mnt/below").is_ok());
}

#[test]
fn space_is_limited_and_comes_back() {
    let world = World::new(64 * PAGE_SIZE);
    let before = hal_used(&world);
    assert_eq!(world.write("/big", &alloc::vec![1; 100 * PAGE_SIZE]), Err(Errno::ENOSPC));
    world.write("/big", &alloc::vec![1; 50 * PAGE_SIZE]).unwrap();
    assert_eq!(world.write("/more", &alloc::vec![1; 20 * PAGE_SIZE]), Err(Errno::ENOSPC));
    let inode = world.find("/big").unwrap().inode().clone();
    now(crate::namespace::truncate(&world.caller, &*inode, 5000)).unwrap();
    now(crate::namespace::truncate(&world.caller, &*inode, 100_000)).unwrap();
    let bytes = world.read("/big").unwrap();
    assert!(bytes[..5000].iter().all(|byte| *byte == 1) && bytes[5000..].iter().all(|byte| *byte == 0));
    drop(inode);
    world.remove("/big", Removal::File).unwrap();
    world.remove("/more", Removal::File).unwrap();
    assert_eq!(hal_used(&world), before);
}

fn hal_used(world: &World) -> u64 {
    let statistics = now(world.space.root().inode().statistics()).unwrap();
    statistics.blocks - statistics.blocks_free
}

#[test]
fn a_listing_survives_removal() {
    let world = World::new(1 << 22);
    for number in 0..100 {
        world.write(&format!("/{number}"), b"").unwrap();
    }
    let root = world.space.root().inode();
    let (mut cookie, mut seen) = (0, 0);
    loop {
        let part = now(root.readdir(cookie, 7)).unwrap();
        let Some(last) = part.last() else { break };
        cookie = last.next;
        for entry in part.iter().filter(|entry| entry.kind == Kind::Regular) {
            seen += 1;
            now(root.unlink(&entry.name, Removal::File)).unwrap();
        }
    }
    assert_eq!(seen, 100);
}
