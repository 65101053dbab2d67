//! The tree of names: the disk as root, and what is mounted on it.

use crate::console::Parts;
use crate::serial::Port;
use crate::startup::PRIORITY_SERVICE;
use abi::errno::Errno;
use abi::mux::Channel;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use fs::blockdev;
use fs::devfs::{DevFs, Device};
use fs::ext4::Ext4;
use fs::namespace::{MountInfo, Namespace};
use fs::walk::Context;
use fs::{ext4, procfs, tmpfs};
use io::block::BlockDevice;
use io::caller::Caller;
use io::device::{Full, Null, Random, Zero};
use io::file::File;
use io::inode::Inode;

/// The tree, and the file system that has to be unmounted at the end.
pub struct Tree {
    /// All names.
    pub namespace: Arc<Namespace>,
    /// The mounted disk.
    pub disk: Option<Arc<Ext4>>,
}

/// The kernel itself as a caller.
pub fn kernel_caller() -> Caller {
    Caller::kernel(PRIORITY_SERVICE.number(), process::oom::system_account())
}

/// Mounts the disk (or an empty file system in memory, without one) and the rest on it.
///
/// # Errors
/// Why there is no root file system, for the log.
pub async fn mount(
    disk: Option<Arc<dyn BlockDevice>>,
    console: &Parts,
    ports: Vec<&'static Port>,
    random: &Arc<Random>,
) -> Result<Tree, String> {
    let device = disk.clone();
    let (root, disk, kind) = match disk {
        Some(device) => {
            let disk = mount_disk(device).await.map_err(|errno| format!("cannot mount the disk: {errno}"))?;
            (disk.root(), Some(disk), "ext4")
        }
        None => {
            log::warn!("no disk: the root file system is empty and in memory");
            (tmpfs::new(half_of_memory()), None, "tmpfs")
        }
    };
    let info = MountInfo {
        source: String::from(if disk.is_some() { "/dev/vda" } else { "tmpfs" }),
        path: String::new(),
        kind,
    };
    let namespace = Namespace::new(root, info);
    mount_at(&namespace, b"/proc", procfs::root(), "proc").await;
    mount_at(&namespace, b"/dev", dev(console, ports, random, device), "devtmpfs").await;
    mount_at(&namespace, b"/dev/shm", tmpfs::new(half_of_memory()), "tmpfs").await;
    Ok(Tree { namespace, disk })
}

async fn mount_disk(device: Arc<dyn BlockDevice>) -> Result<Arc<Ext4>, Errno> {
    let (engine, mounted) = ext4::mount(device)?;
    for part in engine.0 {
        exec::spawn(PRIORITY_SERVICE, "ext4", part);
    }
    mounted.await
}

/// Mounts on a directory of the image; one that is not there is only worth a warning.
async fn mount_at(namespace: &Arc<Namespace>, path: &[u8], root: Arc<dyn Inode>, kind: &'static str) {
    let caller = kernel_caller();
    let context = Context { caller: &caller, root: namespace.root(), base: namespace.root(), resolve: 0 };
    if let Err(errno) = namespace.mount(&context, path, root, kind, kind).await {
        log::warn!("cannot mount {kind} on {}: {errno}", String::from_utf8_lossy(path));
    }
}

fn half_of_memory() -> usize {
    hal::frame::stats().total / 2 * hal::PAGE_SIZE
}

/// The devices by name, with Linux's numbers.
fn dev(
    console: &Parts,
    ports: Vec<&'static Port>,
    random: &Arc<Random>,
    disk: Option<Arc<dyn BlockDevice>>,
) -> Arc<DevFs> {
    let dev = DevFs::new();
    let random: Arc<dyn File> = random.clone();
    dev.shared(b"null", (1, 3), 0o666, Arc::new(Null));
    dev.shared(b"zero", (1, 5), 0o666, Arc::new(Zero));
    dev.shared(b"full", (1, 7), 0o666, Arc::new(Full));
    dev.shared(b"random", (1, 8), 0o666, random.clone());
    dev.shared(b"urandom", (1, 9), 0o666, random);
    // As Linux numbers them: the console is on the first port.
    for (port, number) in ports.iter().copied().zip(1..) {
        let name = format!("ttyS{number}");
        dev.port(name.as_bytes(), (4, 64 + number), Box::new(move |_, _| port.open()));
    }
    let tty = console.tty.clone();
    // A name for the terminal of whoever opens it.
    let own = move |caller: &Caller, _| match ports.iter().find(|port| port.controls(caller)) {
        Some(port) => port.open(),
        None if tty.controls(caller) => Ok((tty.clone() as Arc<dyn File>).into()),
        None => Err(Errno::ENXIO),
    };
    dev.character(b"tty", (5, 0), 0o666, Box::new(own));
    dev.shared(b"console", (5, 1), 0o600, console.tty.clone());
    dev.shared(b"stdout.host", (240, 2), 0o600, console.console.output(Channel::Stdout));
    dev.shared(b"stderr.host", (240, 3), 0o600, console.console.output(Channel::Stderr));
    if let Some(device) = disk {
        let (disk, jobs) = blockdev::Disk::new(device, true);
        exec::spawn(PRIORITY_SERVICE, "disk", jobs);
        // On Linux the number of virtio disks is given out when the driver starts, and this one in practice.
        dev.block(b"vda", (254, 0), 0o660, Box::new(move |_, flags| disk.open(flags).map(Device::from)));
    }
    let log = console.log.clone();
    dev.character(b"kmsg", (1, 11), 0o644, Box::new(move |_, _| Ok((log.open() as Arc<dyn File>).into())));
    dev
}

/// What `mount` can make anew.
///
/// # Errors
/// `ENODEV` for an unknown kind, `EINVAL` for wrong options.
pub fn new_file_system(kind: &[u8], options: &[u8]) -> Result<(&'static str, Arc<dyn Inode>), Errno> {
    match kind {
        b"tmpfs" => Ok(("tmpfs", tmpfs::with_options(half_of_memory(), options)?)),
        b"proc" => Ok(("proc", procfs::root())),
        _ => Err(Errno::ENODEV),
    }
}
