//! Where files can be made: the disk's file system and a tmpfs, each with a directory that belongs to one case.

use crate::case::Trouble;
use alloc::format;
use alloc::string::String;
use rt::abi::fs::TMPFS_MAGIC;
use rt::{fs, process};

/// Mounts what a first program finds missing.
pub fn prepare() {
    if process::id() != 1 {
        return;
    }
    for (there, target, kind) in
        [("/proc/meminfo", "/proc", "proc"), ("/dev/zero", "/dev", "devtmpfs"), ("/tmp/.", "/tmp", "tmpfs")]
    {
        if !fs::exists(there) {
            let _ = fs::create_dir(target);
            // What cannot be mounted shows in the cases that need it.
            let _ = fs::mount("none", target, kind);
        }
    }
    bring_loopback_up();
}

/// Linux starts with its loopback interface down. The request is a name and flags: up, running.
fn bring_loopback_up() {
    const SIOCSIFFLAGS: usize = 0x8914;
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = 0x41;
    if let Ok(socket) = call!(SOCKET, 2, 2, 0) {
        let _ = call!(IOCTL, socket, SIOCSIFFLAGS, request.as_ptr());
        let _ = call!(CLOSE, socket);
    }
}

/// A directory of the running case, removed with all that is in it when dropped.
pub struct Place {
    path: String,
}

impl Place {
    fn new(below: &str) -> Result<Self, Trouble> {
        let path = format!("{below}/suite-{}", process::id());
        if fs::exists(&path) {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// On the disk.
    pub fn disk() -> Result<Self, Trouble> {
        let is_disk = |path: &&&str| fs::statfs(path).is_ok_and(|statfs| statfs.kind != TMPFS_MAGIC);
        match ["/root", "/var/tmp", "/var"].iter().find(is_disk) {
            Some(below) => Self::new(below),
            None => Err(Trouble::skipped("no file system on a disk")),
        }
    }

    /// In memory.
    pub fn memory() -> Result<Self, Trouble> {
        let is_memory = |path: &&&str| fs::statfs(path).is_ok_and(|statfs| statfs.kind == TMPFS_MAGIC);
        match ["/tmp", "/dev/shm", "/run", "/dev"].iter().find(is_memory) {
            Some(below) => Self::new(below),
            None => Err(Trouble::skipped("no tmpfs")),
        }
    }

    /// On the disk, if there is one.
    pub fn best() -> Result<Self, Trouble> {
        Self::disk().or_else(|_| Self::memory())
    }

    /// Whichever there is.
    pub fn any() -> Result<Self, Trouble> {
        Self::memory().or_else(|_| Self::disk())
    }

    /// The path of `name` in it.
    pub fn join(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Its own path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left shows in the image's check, and in the next case of the same process id.
        let _ = fs::remove_dir_all(&self.path);
    }
}
