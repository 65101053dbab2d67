//! Names with a slash behind them, names that come up while they are being created, and times of change.

use super::*;
use core::sync::atomic::AtomicBool;

#[test]
fn a_slash_behind_a_link_does_not_reach_through_it() {
    let world = World::new(1 << 20);
    world.mkdir("/d").unwrap();
    world.link("d", "/l").unwrap();
    world.link("none", "/dangling").unwrap();
    world.write("/file", b"x").unwrap();
    assert_eq!(world.remove("/l/", Removal::Directory), Err(Errno::ENOTDIR));
    assert_eq!(world.remove("/l/", Removal::File), Err(Errno::ENOTDIR));
    assert_eq!(world.remove("/file/", Removal::File), Err(Errno::ENOTDIR));
    assert_eq!(world.rename("/l/", "/moved"), Err(Errno::ENOTDIR));
    assert_eq!(world.rename("/file", "/moved/"), Err(Errno::ENOTDIR));
    for path in ["/l/", "/dangling/", "/file/", "/d/"] {
        assert_eq!(world.mkdir(path), Err(Errno::EEXIST), "{path}");
    }
    assert!(world.find("/d").is_ok() && world.find("/none").is_err());
    // What is looked at, not changed, is reached.
    assert!(world.find("/l/").is_ok());
    assert_eq!(world.link("file", "/new/"), Err(Errno::ENOENT));
    let file = world.find("/file").unwrap().inode().clone();
    assert_eq!(now(world.space.link(&world.context(), &file, b"/new/")), Err(Errno::ENOENT));
    assert!(world.find("/new").is_err());
    world.mkdir("/new/").unwrap();
    world.rename("/new/", "/newer/").unwrap();
    assert_eq!(world.open("/newer", O_CREAT).err(), Some(Errno::EISDIR));
}

/// A directory in which the next lookup comes just too early.
struct Early(Arc<dyn Inode>, AtomicBool);

impl Inode for Early {
    fn id(&self) -> InodeId {
        self.0.id()
    }

    fn kind(&self) -> Kind {
        Kind::Directory
    }

    fn metadata_now(&self) -> Option<Metadata> {
        self.0.metadata_now()
    }

    fn lookup_now(&self, name: &[u8]) -> Option<Result<Arc<dyn Inode>, Errno>> {
        if self.1.swap(false, Ordering::Relaxed) { Some(Err(Errno::ENOENT)) } else { self.0.lookup_now(name) }
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Reply<'a, Arc<dyn Inode>> {
        self.0.lookup(name)
    }

    fn create<'a>(&'a self, caller: &'a Caller, name: &'a [u8], new: NewInode) -> Reply<'a, Arc<dyn Inode>> {
        self.0.create(caller, name, new)
    }

    fn open(self: Arc<Self>, caller: &Caller, flags: u32) -> Reply<'static, Arc<dyn File>> {
        self.0.clone().open(caller, flags)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn a_file_that_comes_up_while_it_is_created_keeps_its_permissions() {
    let root = super::super::new(1 << 20);
    let new = |permissions| NewInode { kind: Kind::Regular, permissions, rdev: 0 };
    now(root.create(&user(0), b"secret", new(0o600))).unwrap();
    now(root.create(&user(0), b"open", new(0o666))).unwrap();
    let early = Arc::new(Early(root, AtomicBool::new(false)));
    let info = MountInfo { source: "tmpfs".into(), path: "/".into(), kind: "tmpfs" };
    let world = World { space: Namespace::new(early.clone(), info), caller: user(7) };
    for (path, expected) in [("/secret", Some(Errno::EACCES)), ("/open", None)] {
        early.1.store(true, Ordering::Relaxed);
        assert_eq!(world.open(path, O_CREAT | O_RDWR).err(), expected, "{path}");
    }
    early.1.store(true, Ordering::Relaxed);
    assert_eq!(world.open("/open", O_CREAT | O_EXCL | O_RDWR).err(), Some(Errno::EEXIST));
}

#[test]
fn each_write_is_a_change() {
    let world = World::new(1 << 20);
    let file = world.open("/file", O_CREAT | O_RDWR).unwrap();
    let inode = file.file().inode().unwrap();
    for _ in 0..2 {
        put(&file, &world.caller, b"text").unwrap();
        let old = Some(Timestamp { seconds: -1, nanos: 0 });
        now(inode.set_attributes(&world.caller, SetAttributes { modified: old, ..Default::default() })).unwrap();
        put(&file, &world.caller, b"text").unwrap();
        assert!(inode.metadata_now().unwrap().modified.seconds >= 0);
    }
}

#[test]
fn a_mapping_says_that_its_file_is_gone() {
    let world = World::new(1 << 20);
    let file = world.open("/file", O_CREAT | O_RDWR).unwrap();
    let backing = file.file().backing(file.path()).unwrap();
    assert_eq!(backing.name().as_deref(), Some("/file"));
    world.remove("/file", Removal::File).unwrap();
    assert_eq!(backing.name().as_deref(), Some("/file (deleted)"));
}
