//! The whole stack against images of `mkfs.ext4`, checked by `e2fsck`.
//!
//! Without these two programs the tests have nothing to compare with and pass without looking.

use super::*;
use alloc::{format, string::String, vec};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};
use futures_util::stream::{FuturesUnordered, Stream};
use hal::PAGE_SIZE;
use io::{
    caller::Caller,
    file::{File, IoError},
    inode::{Kind, NewInode, Removal, Replace, SetAttributes},
    ramdisk::RamDisk,
};
use mem::{Account, Sink, Source};
use std::{fs, path::PathBuf, process::Command, thread};

mod corrupt;
mod depth;
mod files;
mod journal;
mod power;

pub(super) fn caller() -> Caller {
    Caller::kernel(16, Account::new(None, usize::MAX))
}

struct Unpark(thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `work` to its end, and the engine beside it.
pub(super) fn drive<T>(engine: &mut Engine, work: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut work = pin!(work);
    let mut parts: FuturesUnordered<_> = engine.0.drain(..).collect();
    let mut both = pin!(poll_fn(|context| {
        while let Poll::Ready(Some(())) = pin!(&mut parts).poll_next(context) {}
        work.as_mut().poll(context)
    }));
    let value = loop {
        if let Poll::Ready(value) = both.as_mut().poll(&mut context) {
            break value;
        }
        thread::park();
    };
    engine.0.extend(parts);
    value
}

/// An empty file system, or `None` without the program that makes it.
pub(super) fn image(megabytes: u64, options: &[&str]) -> Option<Vec<u8>> {
    let path = scratch();
    fs::File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).args(options).arg(&path).status();
    let made = made.is_ok_and(|status| status.success());
    let bytes = made.then(|| fs::read(&path).unwrap());
    fs::remove_file(&path).unwrap();
    bytes
}

fn scratch() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("fs-test-{}-{number}.img", std::process::id()))
}

/// What `e2fsck -fn` says if it is not content.
pub(super) fn complaints(image: &[u8]) -> Option<String> {
    let path = scratch();
    fs::write(&path, image).unwrap();
    let checked = Command::new("e2fsck").arg("-fn").arg(&path).output();
    fs::remove_file(&path).unwrap();
    let output = checked.ok()?;
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The image after `e2fsck -p`, which replays the journal and mends only what a power cut may leave; `None` without that program.
pub(super) fn repaired(image: &[u8]) -> Option<Vec<u8>> {
    let path = scratch();
    fs::write(&path, image).unwrap();
    let checked = Command::new("e2fsck").args(["-f", "-p"]).arg(&path).output();
    let image = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let output = checked.ok()?;
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stdout));
    Some(image)
}

pub(super) fn mounted(disk: &Arc<RamDisk>) -> (Engine, Arc<Ext4>) {
    let (mut engine, mounting) = mount(disk.clone()).unwrap();
    let system = drive(&mut engine, mounting).unwrap();
    (engine, system)
}

pub(super) fn regular() -> NewInode {
    NewInode { kind: Kind::Regular, permissions: 0o644, rdev: 0 }
}

pub(super) fn directory() -> NewInode {
    NewInode { kind: Kind::Directory, permissions: 0o755, rdev: 0 }
}

pub(super) async fn open(inode: &Arc<dyn Inode>) -> Arc<dyn File> {
    inode.clone().open(&caller(), 0).await.unwrap()
}

pub(super) async fn write(file: &Arc<dyn File>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    let caller = caller();
    let mut source = Source::kernel(bytes);
    while source.remaining() > 0 {
        let at = offset + source.done() as u64;
        match file.write_now(&caller, at, &mut source) {
            Ok(Some(_)) => {}
            Ok(None) => {
                let len = source.remaining();
                file.wait(&caller, io::file::Want::Write { offset: at, len }).await?;
            }
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(_)) => unreachable!("kernel memory does not fault"),
        }
    }
    Ok(())
}

pub(super) async fn read(file: &Arc<dyn File>, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let caller = caller();
    let mut bytes = vec![0; len];
    let mut sink = Sink::kernel(&mut bytes);
    loop {
        let at = offset + sink.done() as u64;
        match file.read_now(&caller, at, &mut sink) {
            Ok(Some(0)) => break,
            Ok(Some(_)) => {}
            Ok(None) => {
                let len = sink.remaining();
                file.wait(&caller, io::file::Want::Read { offset: at, len }).await?;
            }
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(_)) => unreachable!("kernel memory does not fault"),
        }
    }
    let done = sink.done();
    bytes.truncate(done);
    Ok(bytes)
}

/// Bytes that tell a misplaced block.
pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Takes the file's pages out of memory.
pub(super) fn evict(inode: &Arc<dyn Inode>) {
    let node = inode.as_any().downcast_ref::<Node>().unwrap();
    while node.pages.count().0 > 0 {
        cache::shrink(100_000);
        thread::yield_now();
    }
}
