//! Direct I/O (`O_DIRECT`), and the disk as a file.

use super::pattern;
use crate::case::{Case, Outcome, Trouble};
use crate::machine::{is_asyncos, needs_root};
use crate::place::Place;
use crate::process::{PAGE, RW, Shared, checked_child, child, dies, exits, kill, map, map_at, sleep_ms, unmap};
use alloc::ffi::CString;
use alloc::vec::Vec;
use rt::abi::fs::{AT_FDCWD, Iovec, O_CREAT, O_DIRECT, O_RDONLY, O_RDWR, O_WRONLY, SEEK_CUR, SEEK_END, SEEK_SET};
use rt::abi::ioctl as i;
use rt::abi::mm::MAP_SHARED;
use rt::abi::signal::SIGKILL;
use rt::abi::stat::{S_IFBLK, S_IFMT};
use rt::fs::{self, File};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("direct/disk-is-a-block-device", "D3 D18", block_device),
    case!("direct/disk-is-for-root", "E1 P1", disk_is_for_root),
    case!("direct/disk-is-read", "D3 D18", disk_is_read),
    case!("direct/alignment", "D3 E1", alignment),
    case!("direct/file-is-one", "D3 D18", file_is_one),
    case!("direct/holes-and-ends", "D3 D18", holes_and_ends),
    case!("direct/lists-of-pieces", "D3", lists_of_pieces),
    case!("direct/memory-of-a-file", "D15 D18", memory_of_a_file),
    case!("direct/memory-goes", "D14 D15", memory_goes),
    case!("direct/forks", "D15 P1", forks),
    case!("direct/killed", "D14 P1", killed),
    case!("direct/truncated-meanwhile", "D14 D18", truncated_meanwhile),
];

pub const DISK: &str = "/dev/vda";

/// Opens a file past its cache.
pub fn open(path: &str, flags: u32) -> Result<File, Trouble> {
    let name = CString::new(path).map_err(|_| Trouble::failed("a name with a zero in it"))?;
    Ok(raw::file(call!(OPENAT, AT_FDCWD, name.as_ptr(), flags | O_DIRECT, 0o600)?))
}

/// The disk, where there is one and it may be read.
pub fn disk() -> Result<File, Trouble> {
    needs_root()?;
    if fs::exists(DISK) { open(DISK, O_RDONLY) } else { Err(Trouble::skipped("no disk")) }
}

pub fn pread(file: &File, address: usize, len: usize, offset: usize) -> Result<usize, rt::abi::Errno> {
    call!(PREAD64, file.fd().raw(), address, len, offset)
}

pub fn pwrite(file: &File, address: usize, len: usize, offset: usize) -> Result<usize, rt::abi::Errno> {
    call!(PWRITE64, file.fd().raw(), address, len, offset)
}

fn size(file: &File) -> Result<usize, rt::abi::Errno> {
    call!(LSEEK, file.fd().raw(), 0, SEEK_END)
}

fn block_device() -> Outcome {
    let disk = disk()?;
    let stat = *disk.metadata()?.stat();
    equal!(stat.mode & S_IFMT, S_IFBLK);
    let fd = disk.fd().raw();
    let (mut bytes, mut sectors, mut number) = (0u64, 0u64, 0u32);
    equal!(call!(IOCTL, fd, i::BLKGETSIZE64, &raw mut bytes), Ok(0));
    equal!(call!(IOCTL, fd, i::BLKGETSIZE, &raw mut sectors), Ok(0));
    ensure!(bytes > 0 && bytes == sectors * 512 && bytes == size(&disk)? as u64, "{bytes} bytes, {sectors} sectors");
    for (command, expected) in [(i::BLKSSZGET, 512), (i::BLKPBSZGET, 512), (i::BLKROGET, 0)] {
        equal!(call!(IOCTL, fd, command, &raw mut number), Ok(0));
        equal!(number, expected);
    }
    equal!(call!(IOCTL, fd, i::BLKFLSBUF, 0), Ok(0));
    fails!(call!(IOCTL, fd, i::TCGETS, &raw mut number), ENOTTY);
    fails!(call!(IOCTL, fd, i::BLKGETSIZE64, 8), EFAULT);
    equal!(call!(FSYNC, fd), Ok(0));
    if is_asyncos() {
        equal!((stat.mode & 0o777, stat.rdev), (0o660, rt::abi::stat::makedev(254, 0)));
        // The root file system is on it.
        for flags in [O_WRONLY, O_RDWR] {
            fails!(call!(OPENAT, AT_FDCWD, c"/dev/vda".as_ptr(), flags), EBUSY);
        }
    }
    fails!(pwrite(&disk, map(PAGE, RW)?, PAGE, 0), EBADF);
    Ok(())
}

fn disk_is_for_root() -> Outcome {
    drop(disk()?);
    let pid = checked_child(|| {
        call!(SETRESUID, 1000, 1000, 1000)?;
        fails!(call!(OPENAT, AT_FDCWD, c"/dev/vda".as_ptr(), O_RDONLY), EACCES);
        Ok(())
    })?;
    exits(pid, 0)
}

/// Past its cache and through it the same, whose first page has the mark of the file system.
fn disk_is_read() -> Outcome {
    let (direct, cached) = (disk()?, File::open(DISK)?);
    let (memory, other) = (map(64 * PAGE, RW)?, map(64 * PAGE, RW)?);
    // More than a request to the device takes.
    equal!(pread(&direct, memory, 64 * PAGE, 0), Ok(64 * PAGE));
    ensure!(raw::bytes(memory + 1024 + 56, 2) == [0x53, 0xef], "no ext4");
    // What does not change while it is mounted: the tables behind the superblock may.
    equal!(pread(&cached, other, 512, 0), Ok(512));
    ensure!(raw::bytes(memory, 512) == raw::bytes(other, 512), "other bytes");
    // Parts of pages, at places that are no page's.
    equal!(pread(&direct, other + 512, 1024, 1024), Ok(1024));
    ensure!(raw::bytes(other + 512 + 56, 2) == [0x53, 0xef], "no ext4 in a part");
    equal!(pread(&direct, other + PAGE - 512, 1024, 1024), Ok(1024));
    ensure!(raw::bytes(other + PAGE - 512 + 56, 2) == [0x53, 0xef], "no ext4 in two parts");
    // By the position, which moves, and at the end.
    let (fd, end) = (direct.fd().raw(), size(&direct)?);
    equal!(call!(LSEEK, fd, 1024, SEEK_SET), Ok(1024));
    equal!(call!(READ, fd, other, 512), Ok(512));
    ensure!(raw::bytes(other + 56, 2) == [0x53, 0xef], "no ext4 at the position");
    equal!(call!(LSEEK, fd, 0, SEEK_CUR), Ok(1536));
    equal!(pread(&direct, memory, 64 * PAGE, end - PAGE), Ok(PAGE));
    equal!(pread(&direct, memory, PAGE, end), Ok(0));
    equal!(pread(&cached, memory, PAGE, end), Ok(0));
    equal!(pread(&cached, memory, PAGE, end - 512), Ok(512));
    Ok(())
}

fn alignment() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    fs::write(&path, pattern(0, 4 * PAGE))?;
    let file = open(&path, O_RDWR)?;
    let memory = map(4 * PAGE, RW)?;
    for (address, len, offset) in
        [(1, 512, 0), (0, 511, 0), (0, 512, 1), (8, 512, 512), (0, PAGE + 4, 0), (256, 512, 0)]
    {
        fails!(pread(&file, memory + address, len, offset), EINVAL);
        fails!(pwrite(&file, memory + address, len, offset), EINVAL);
    }
    equal!(pread(&file, memory, 0, 0), Ok(0));
    equal!(pread(&file, memory + 3, 512, 4 * PAGE), Ok(0));
    for (address, len, offset) in [(512, 512, 512), (PAGE - 512, 1024, PAGE - 512), (512, 3 * PAGE, 1024)] {
        equal!(pread(&file, memory + address, len, offset), Ok(len));
        ensure!(raw::bytes(memory + address, len) == pattern(offset, len), "{len} bytes at {offset}");
    }
    // Memory that is not there, or may not be written.
    fails!(pread(&file, 512, 512, 0), EFAULT);
    fails!(pwrite(&file, usize::MAX - 511, 512, 0), EFAULT);
    unmap(memory + PAGE, PAGE)?;
    fails!(pread(&file, memory + PAGE, 512, 0), EFAULT);
    ensure!(fs::read(&path)? == pattern(0, 4 * PAGE), "a write that failed was made");
    Ok(())
}

/// What is written one way is read the other way at once.
fn file_is_one() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    let (memory, len) = (map(16 * PAGE, RW)?, 16 * PAGE);
    let mut model = pattern(0, len);
    fs::write(&path, &model)?;
    let direct = open(&path, O_RDWR)?;
    let cached = fs::OpenOptions::new().read(true).write(true).open(&path)?;
    let mapped = call!(MMAP, 0, PAGE, RW, MAP_SHARED, cached.fd().raw(), 4 * PAGE)?;
    ensure!(*raw::bytes(mapped, PAGE) == model[4 * PAGE..5 * PAGE], "other bytes are mapped");
    for round in 0..20 {
        // Through the cache, then past it.
        let (at, bytes) = (round * 1777 % (len - 100), pattern(7 * round + 1, 100));
        equal!(cached.write_at(&bytes, at as u64)?, 100);
        model[at..at + 100].copy_from_slice(&bytes);
        equal!(pread(&direct, memory, len, 0), Ok(len));
        ensure!(raw::bytes(memory, len) == model, "round {round}: a direct read is behind");
        // And back.
        let (at, some) = (round * 5 % 31 * 512, 512 * (1 + round % 3));
        let bytes = pattern(3 * round + 2, some);
        raw::bytes(memory + 512, some).copy_from_slice(&bytes);
        equal!(pwrite(&direct, memory + 512, some, at), Ok(some));
        model[at..at + some].copy_from_slice(&bytes);
        ensure!(fs::read(&path)? == model, "round {round}: the cache is behind");
        ensure!(*raw::bytes(mapped, PAGE) == model[4 * PAGE..5 * PAGE], "round {round}: a mapping is behind");
    }
    equal!(call!(FSYNC, direct.fd().raw()), Ok(0));
    unmap(mapped, PAGE)?;
    Ok(())
}

fn holes_and_ends() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    let memory = map(16 * PAGE, RW)?;
    let file = open(&path, O_RDWR | O_CREAT)?;
    // Nothing is there yet.
    equal!(pread(&file, memory, PAGE, 0), Ok(0));
    raw::bytes(memory, PAGE).fill(1);
    equal!(pwrite(&file, memory, PAGE, 2 * PAGE), Ok(PAGE));
    equal!(size(&file)?, 3 * PAGE);
    raw::bytes(memory, 4 * PAGE).fill(9);
    equal!(pread(&file, memory, 4 * PAGE, 0), Ok(3 * PAGE));
    ensure!(raw::bytes(memory, 2 * PAGE).iter().all(|byte| *byte == 0), "a hole is not zeros");
    ensure!(raw::bytes(memory + 2 * PAGE, PAGE).iter().all(|byte| *byte == 1), "what was written is not there");
    // An end within a sector: the read is short.
    file.set_len(2 * PAGE as u64 + 100)?;
    equal!(pread(&file, memory, PAGE, 2 * PAGE), Ok(100));
    equal!(pread(&file, memory, PAGE, 3 * PAGE), Ok(0));
    // Appended to, by its position and not.
    let log = open(&path, O_WRONLY | rt::abi::fs::O_APPEND)?;
    fails!(call!(WRITE, log.fd().raw(), memory, 512), EINVAL);
    file.set_len(512)?;
    raw::bytes(memory, 512).fill(5);
    equal!(call!(WRITE, log.fd().raw(), memory, 512), Ok(512));
    equal!(pwrite(&log, memory, 512, 0), Ok(512));
    equal!(size(&file)?, 3 * 512);
    let found = fs::read(&path)?;
    ensure!(found[..512].iter().all(|byte| *byte == 0) && found[512..].iter().all(|byte| *byte == 5), "other bytes");
    Ok(())
}

fn lists_of_pieces() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    fs::write(&path, pattern(0, 8 * PAGE))?;
    let file = open(&path, O_RDWR)?;
    let memory = map(16 * PAGE, RW)?;
    let piece = |at: usize, len: usize| Iovec { base: (memory + at) as u64, len: len as u64 };
    let list = [piece(0, 512), piece(2 * PAGE + 512, PAGE), piece(5 * PAGE, 0), piece(6 * PAGE, 1536)];
    let len = 512 + PAGE + 1536;
    equal!(call!(PREADV, file.fd().raw(), list.as_ptr(), list.len(), 512, 0), Ok(len));
    let found: Vec<u8> =
        list.iter().flat_map(|piece| raw::bytes(piece.base as usize, piece.len as usize).to_vec()).collect();
    ensure!(found == pattern(512, len), "other bytes");
    equal!(call!(PWRITEV, file.fd().raw(), list.as_ptr(), list.len(), PAGE, 0), Ok(len));
    ensure!(fs::read(&path)?[PAGE..PAGE + len] == pattern(512, len), "other bytes were written");
    let wrong = [piece(0, 512), piece(PAGE, 100)];
    fails!(call!(PREADV, file.fd().raw(), wrong.as_ptr(), 2, 0, 0), EINVAL);
    Ok(())
}

/// Memory that is itself a file's, which others see.
fn memory_of_a_file() -> Outcome {
    let place = Place::disk()?;
    let (from, into) = (place.join("from"), place.join("into"));
    fs::write(&from, pattern(0, 8 * PAGE))?;
    fs::write(&into, pattern(5, 8 * PAGE))?;
    let (file, other) = (open(&from, O_RDWR)?, fs::OpenOptions::new().read(true).write(true).open(&into)?);
    let mapped = call!(MMAP, 0, 8 * PAGE, RW, MAP_SHARED, other.fd().raw(), 0)?;
    equal!(pread(&file, mapped + PAGE, 3 * PAGE, 512), Ok(3 * PAGE));
    ensure!(fs::read(&into)?[PAGE..4 * PAGE] == pattern(512, 3 * PAGE), "the file that is mapped has other bytes");
    equal!(pwrite(&file, mapped + PAGE, PAGE, 4 * PAGE), Ok(PAGE));
    ensure!(fs::read(&from)?[4 * PAGE..5 * PAGE] == pattern(512, PAGE), "other bytes were written");
    // Into its own pages.
    let own = call!(MMAP, 0, 8 * PAGE, RW, MAP_SHARED, file.fd().raw(), 0)?;
    equal!(pread(&file, own, PAGE, PAGE), Ok(PAGE));
    equal!(pwrite(&file, own, PAGE, 2 * PAGE), Ok(PAGE));
    ensure!(fs::read(&from)?[2 * PAGE..3 * PAGE] == pattern(PAGE, PAGE), "its own pages");
    unmap(own, 8 * PAGE)?;
    unmap(mapped, 8 * PAGE)?;
    Ok(())
}

/// One thread reads, the other takes the memory away: the read finds all of it, or none.
fn memory_goes() -> Outcome {
    let disk = disk()?;
    let base = map(32 * PAGE, 0)?;
    let shared = Shared::new()?;
    let stop = shared.word(0);
    let other = thread::spawn(move || {
        while stop.load(core::sync::atomic::Ordering::SeqCst) == 0 {
            let _ = map_at(base, 32 * PAGE, RW);
            thread::yield_now();
            let _ = map_at(base, 32 * PAGE, 0);
        }
    })?;
    let mut outcome = Ok(());
    for _ in 0..300 {
        match pread(&disk, base, 32 * PAGE, 0) {
            Ok(len) if len.is_multiple_of(512) && len > 0 => {}
            Err(rt::abi::Errno::EFAULT) => {}
            found => {
                outcome = Err(Trouble::failed(format_args!("{found:?}")));
                break;
            }
        }
    }
    shared.set(0, 1);
    let _ = other.join();
    outcome
}

/// Children are born while a device writes: what is read is the parent's, at its place.
fn forks() -> Outcome {
    let disk = disk()?;
    let (memory, expected) = (map(8 * PAGE, RW)?, map(8 * PAGE, RW)?);
    equal!(pread(&disk, expected, PAGE, 0), Ok(PAGE));
    let shared = Shared::new()?;
    let stop = shared.word(0);
    let other = thread::spawn(move || {
        let mut born = 0;
        while stop.load(core::sync::atomic::Ordering::SeqCst) == 0 {
            match child(|| 0) {
                Ok(pid) if exits(pid, 0).is_ok() => born += 1,
                _ => return None,
            }
        }
        Some(born)
    })?;
    let mut outcome = Ok(());
    for round in 0..200 {
        raw::bytes(memory, PAGE).fill(round as u8);
        let read = pread(&disk, memory, PAGE, 0);
        // The rest of the block may change while it is mounted.
        if read != Ok(PAGE) || raw::bytes(memory, 1024) != raw::bytes(expected, 1024) {
            outcome = Err(Trouble::failed(format_args!("{read:?} in round {round}, or other bytes")));
            break;
        }
    }
    shared.set(0, 1);
    ensure!(other.join().flatten().is_some(), "a child did not end well");
    outcome
}

/// Killed while a device works for it: nothing of it stays, and the file has the old or the new in each sector, when the device has done: who reads meanwhile may see some of both.
fn killed() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    fs::write(&path, alloc::vec![1u8; 32 * PAGE])?;
    open(&path, O_RDWR)?.sync_all()?;
    for round in 0..20 {
        let shared = Shared::new()?;
        let pid = child(|| {
            let (Ok(file), Ok(memory)) = (open(&path, O_RDWR), map(32 * PAGE, RW)) else { return 1 };
            for byte in 1..=u8::MAX {
                raw::bytes(memory, 32 * PAGE).fill(byte);
                if pwrite(&file, memory, 32 * PAGE, 0) != Ok(32 * PAGE)
                    || pread(&file, memory, 32 * PAGE, 0) != Ok(32 * PAGE)
                {
                    return 2;
                }
                shared.count(0);
            }
            loop {
                let _ = pread(&file, memory, 32 * PAGE, 0);
                shared.count(0);
            }
        })?;
        shared.await_least(0, 1 + round % 7);
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
        let mut looks = 0;
        while !has_whole_sectors(&path)? {
            looks += 1;
            ensure!(looks < 200, "round {round}: a sector is half written");
            sleep_ms(10);
        }
    }
    Ok(())
}

/// Whether each sector of the file has one byte throughout, as all that was ever written there.
fn has_whole_sectors(path: &str) -> Result<bool, Trouble> {
    let found = fs::read(path)?;
    equal!(found.len(), 32 * PAGE);
    Ok(found.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])))
}

/// One thread cuts the file and lets it grow, the other reads it: what was never written to it is not to be seen.
fn truncated_meanwhile() -> Outcome {
    let place = Place::disk()?;
    let (path, noise) = (place.join("file"), place.join("noise"));
    let shared = Shared::new()?;
    fs::write(&path, alloc::vec![1u8; 16 * PAGE])?;
    let pid = checked_child(|| {
        let (file, memory) = (open(&path, O_RDONLY)?, map(16 * PAGE, RW)?);
        while shared.get(0) == 0 {
            raw::bytes(memory, 16 * PAGE).fill(0);
            let len = pread(&file, memory, 16 * PAGE, 0)?;
            ensure!(raw::bytes(memory, len).iter().all(|byte| *byte <= 1), "another file's bytes");
            shared.count(1);
        }
        Ok(())
    })?;
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    for round in 0..40 {
        file.set_len(0)?;
        // Whoever gets the blocks writes something else there.
        fs::write(&noise, alloc::vec![7u8; 16 * PAGE])?;
        File::open(&noise)?.sync_all()?;
        fs::write(&path, alloc::vec![1u8; 16 * PAGE])?;
        fs::remove_file(&noise)?;
        if round % 8 == 0 {
            let seen = shared.get(1);
            while shared.get(1) == seen && !crate::process::wait_with(pid, 1).is_ok_and(|(ended, _)| ended == pid) {
                sleep_ms(1);
            }
        }
    }
    shared.set(0, 1);
    exits(pid, 0)
}
