//! Writes that end on the medium (`O_DSYNC`, `O_SYNC`), and the flags of a single call or entry (`RWF_*`).

use super::pattern;
use crate::case::{Case, Outcome, Trouble};
use crate::machine::{is_asyncos, needs_asyncos, needs_root};
use crate::place::Place;
use crate::process::{PAGE, RW, map};
use crate::rings::calls::one;
use crate::rings::transfer;
use crate::trace::{PATH as TRACE, record};
use alloc::vec::Vec;
use rt::abi::Errno;
use rt::abi::fs::{Iovec, O_APPEND, O_DIRECT, O_DSYNC, O_SYNC, SEEK_CUR};
use rt::abi::fs::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT, RWF_SYNC};
use rt::abi::io_uring::{IORING_OP_READ, IORING_OP_WRITE, IORING_OP_WRITEV, Sqe};
use rt::fs::{self, File, OpenOptions};
use rt::io::Write;
use rt::ring::Ring;
use rt::{pipe, raw, system};

pub const CASES: &[Case] = &[
    case!("files/synced-writes-reach-the-disk", "D3 D18", reach_the_disk),
    case!("files/disk/flags-of-a-write", "D3 D18", || flags_of_a_write(&Place::disk()?)),
    case!("files/memory/flags-of-a-write", "D3 D18", || flags_of_a_write(&Place::memory()?)),
    case!("files/disk/flags-of-an-entry", "C4 D3", || flags_of_an_entry(&Place::disk()?)),
    case!("files/memory/flags-of-an-entry", "C4 D3", || flags_of_an_entry(&Place::memory()?)),
    case!("files/wrong-flags", "D3 E1", wrong_flags),
    case!("files/does-not-wait", "D3", does_not_wait),
    case!("files/streams-do-not-wait", "D3", streams_do_not_wait),
];

fn open(path: &str, flags: u32) -> Result<File, Trouble> {
    Ok(OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(path)?)
}

fn number(file: &File) -> i32 {
    file.fd().raw()
}

fn piece(bytes: &[u8]) -> Iovec {
    Iovec { base: bytes.as_ptr() as u64, len: bytes.len() as u64 }
}

/// `pwritev2` of one piece; -1: at the position.
fn write_with(fd: i32, bytes: &[u8], offset: isize, flags: u32) -> Result<usize, Errno> {
    let list = piece(bytes);
    call!(PWRITEV2, fd, &raw const list, 1, offset, 0, flags)
}

fn read_with(fd: i32, bytes: &mut [u8], offset: isize, flags: u32) -> Result<usize, Errno> {
    let list = piece(bytes);
    call!(PREADV2, fd, &raw const list, 1, offset, 0, flags)
}

/// Whether the disk has carried out a request while `body` ran.
fn reaches_the_disk(body: impl FnOnce() -> Outcome) -> Result<bool, Trouble> {
    // What was recorded before is there still.
    let before = fs::read_to_string(TRACE)?;
    let text = record(body)?;
    let last = before.lines().last().unwrap_or_default();
    let new = text.rsplit_once(last).map_or(&*text, |(_, new)| new);
    let mut submitted = Vec::new();
    for line in new.lines() {
        let request = line.split(' ').find(|word| word.starts_with("request="));
        if line.contains(" submit ") && line.contains(" device=2") {
            submitted.extend(request);
        } else if line.contains(" complete ") && request.is_some_and(|request| submitted.contains(&request)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What each way writes.
const LEN: usize = PAGE;

/// A way to write so many bytes to a file, perhaps by a ring: its name, how the file is opened, what is moved.
type Way = (&'static str, u32, fn(i32, &mut Ring, &mut [u8]) -> Result<usize, Trouble>);

const WAYS: &[Way] = &[
    ("write, O_DSYNC", O_DSYNC, |fd, _, bytes| Ok(call!(WRITE, fd, bytes.as_ptr(), LEN)?)),
    ("pwrite, O_SYNC", O_SYNC, |fd, _, bytes| Ok(call!(PWRITE64, fd, bytes.as_ptr(), LEN, 5)?)),
    ("writev, O_DSYNC", O_DSYNC, |fd, _, bytes| {
        let list = piece(bytes);
        Ok(call!(WRITEV, fd, &raw const list, 1)?)
    }),
    ("pwritev2, RWF_DSYNC", 0, |fd, _, bytes| Ok(write_with(fd, bytes, 0, RWF_DSYNC)?)),
    ("pwritev2, RWF_SYNC", 0, |fd, _, bytes| Ok(write_with(fd, bytes, -1, RWF_SYNC)?)),
    ("an entry, O_DSYNC", O_DSYNC, |fd, ring, bytes| Ok(one(ring, transfer(IORING_OP_WRITE, fd, bytes, 0))? as usize)),
    ("an entry, RWF_DSYNC", 0, |fd, ring, bytes| {
        let entry = transfer(IORING_OP_WRITE, fd, bytes, 0);
        Ok(one(ring, Sqe { op_flags: RWF_DSYNC, ..entry })? as usize)
    }),
    ("an entry with a list, O_SYNC", O_SYNC, |fd, ring, bytes| {
        let list = piece(bytes);
        let entry = Sqe { opcode: IORING_OP_WRITEV, fd, user_data: 7, ..Sqe::default() };
        Ok(one(ring, Sqe { addr: &raw const list as u64, len: 1, ..entry })? as usize)
    }),
    ("splice, O_DSYNC", O_DSYNC, |fd, _, bytes| {
        let (read, mut write) = pipe::pipe()?;
        write.write_all(bytes)?;
        Ok(call!(SPLICE, read.fd().raw(), 0, fd, 0, LEN, 0)?)
    }),
    ("sendfile, O_DSYNC", O_DSYNC, |fd, _, bytes| {
        let place = Place::memory()?;
        let from = place.join("from");
        fs::write(&from, bytes)?;
        let from = File::open(&from)?;
        Ok(call!(SENDFILE, fd, number(&from), 0, LEN)?)
    }),
    ("past the cache, O_DSYNC", O_DSYNC | O_DIRECT, |fd, _, bytes| {
        let memory = map(LEN, RW)?;
        raw::bytes(memory, LEN).copy_from_slice(bytes);
        Ok(call!(PWRITE64, fd, memory, LEN, 0)?)
    }),
    ("write, and sync", 0, |fd, _, bytes| {
        let written = call!(WRITE, fd, bytes.as_ptr(), LEN)?;
        system::sync();
        Ok(written)
    }),
    ("write, and syncfs", 0, |fd, _, bytes| {
        let written = call!(WRITE, fd, bytes.as_ptr(), LEN)?;
        call!(SYNCFS, fd)?;
        Ok(written)
    }),
];

/// The disk is asked before a synced write ends, each time. Others wait for whoever writes pages back.
fn reach_the_disk() -> Outcome {
    const TIMES: usize = 3;
    const TRIES: usize = 20;
    needs_asyncos()?;
    needs_root()?;
    let place = Place::disk()?;
    let path = place.join("file");
    fs::write(&path, pattern(0, 2 * PAGE))?;
    let mut ring = Ring::new(8, 0)?;
    for (name, flags, write) in WAYS {
        let file = open(&path, *flags)?;
        for round in 0..TIMES {
            let mut bytes = pattern(round * 77, LEN);
            let body = || {
                equal!(write(number(&file), &mut ring, &mut bytes)?, LEN);
                Ok(())
            };
            ensure!(reaches_the_disk(body)?, "{name}: nothing went to the disk");
        }
    }
    let plain = open(&path, 0)?;
    plain.sync_all()?;
    for _ in 0..TRIES {
        let body = || {
            equal!(write_with(number(&plain), &[1; 100], 0, 0), Ok(100));
            Ok(())
        };
        if !reaches_the_disk(body)? {
            return Ok(());
        }
    }
    Err(Trouble::failed("a plain write never stays in memory: the case shows nothing"))
}

fn position(fd: i32) -> Result<usize, Errno> {
    call!(LSEEK, fd, 0, SEEK_CUR)
}

fn flags_of_a_write(place: &Place) -> Outcome {
    let path = place.join("file");
    fs::write(&path, "0123456789")?;
    let file = open(&path, 0)?;
    let fd = number(&file);
    // At the end, wherever it is said to go; the position moves only if it is what is said.
    equal!(write_with(fd, b"ab", 3, RWF_APPEND), Ok(2));
    equal!(position(fd), Ok(0));
    equal!(write_with(fd, b"cd", -1, RWF_APPEND | RWF_DSYNC), Ok(2));
    equal!(position(fd), Ok(14));
    equal!(write_with(fd, b"X", 0, RWF_SYNC | RWF_HIPRI), Ok(1));
    equal!(fs::read_to_string(&path)?, "X123456789abcd");
    // Not at the end, in spite of the description.
    let appending = open(&path, O_APPEND)?;
    equal!(write_with(number(&appending), b"Y", 1, RWF_NOAPPEND), Ok(1));
    equal!(write_with(number(&appending), b"Z", -1, RWF_NOAPPEND), Ok(1));
    equal!(position(number(&appending)), Ok(1));
    equal!(write_with(number(&appending), b"e", 1, 0), Ok(1));
    equal!(fs::read_to_string(&path)?, "ZY23456789abcde");
    // What an open file says of itself.
    for (asked, said) in [(O_DSYNC, O_DSYNC), (O_SYNC, O_SYNC)] {
        let synced = open(&path, asked)?;
        equal!(call!(FCNTL, number(&synced), rt::abi::fs::F_GETFL).map(|flags| flags as u32 & O_SYNC), Ok(said));
        // It stays so.
        call!(FCNTL, number(&synced), rt::abi::fs::F_SETFL, 0)?;
        equal!(call!(FCNTL, number(&synced), rt::abi::fs::F_GETFL).map(|flags| flags as u32 & O_SYNC), Ok(said));
        equal!(call!(WRITE, number(&synced), b"s".as_ptr(), 1), Ok(1));
        equal!(call!(WRITE, number(&synced), b"t".as_ptr(), 1), Ok(1));
        equal!(position(number(&synced)), Ok(2));
    }
    equal!(fs::read_to_string(&path)?, "st23456789abcde");
    Ok(())
}

fn flags_of_an_entry(place: &Place) -> Outcome {
    let path = place.join("file");
    fs::write(&path, "0123456789")?;
    let (file, mut ring) = (open(&path, 0)?, Ring::new(8, 0)?);
    let fd = number(&file);
    let mut write = |bytes: &[u8], off: i64, op_flags| {
        let mut bytes = bytes.to_vec();
        let entry = transfer(IORING_OP_WRITE, fd, &mut bytes, off as u64);
        one(&mut ring, Sqe { op_flags, ..entry })
    };
    equal!(write(b"ab", 3, RWF_APPEND)?, 2);
    equal!(write(b"cd", -1, RWF_APPEND | RWF_SYNC)?, 2);
    equal!(write(b"X", 0, RWF_DSYNC)?, 1);
    for (flags, wrong) in [(RWF_HIPRI, -22), (RWF_APPEND | RWF_NOAPPEND, -22), (0x100, -95)] {
        equal!(write(b"no", 0, flags)?, wrong);
    }
    equal!(position(fd), Ok(14));
    equal!(fs::read_to_string(&path)?, "X123456789abcd");
    let mut bytes = [0; 20];
    let entry = transfer(IORING_OP_READ, fd, &mut bytes, 0);
    equal!(one(&mut ring, Sqe { op_flags: RWF_DSYNC, ..entry })?, 14);
    equal!(&bytes[..14], b"X123456789abcd");
    Ok(())
}

fn wrong_flags() -> Outcome {
    let place = Place::memory()?;
    let path = place.join("file");
    fs::write(&path, "0123456789")?;
    let file = open(&path, 0)?;
    let fd = number(&file);
    fails!(write_with(fd, b"a", 0, 0x8000_0000), EOPNOTSUPP);
    fails!(read_with(fd, &mut [0], 0, 0x8000_0000), EOPNOTSUPP);
    fails!(write_with(fd, b"a", 0, RWF_APPEND | RWF_NOAPPEND), EINVAL);
    // A file that is nothing but pages does not tell of waits.
    fails!(read_with(fd, &mut [0], 0, RWF_NOWAIT), EOPNOTSUPP);
    fails!(write_with(fd, b"a", 0, RWF_NOWAIT), EOPNOTSUPP);
    fails!(write_with(number(&File::open(&path)?), b"a", 0, RWF_APPEND), EBADF);
    fails!(write_with(fd, b"a", -2, RWF_APPEND), EINVAL);
    // Devices of memory do, but for the one that is always full.
    for (path, told) in
        [("/dev/null", Ok(0)), ("/dev/zero", Ok(1)), ("/dev/urandom", Ok(1)), ("/dev/full", Err(Errno::EOPNOTSUPP))]
    {
        let device = fs::OpenOptions::new().read(true).write(true).open(path)?;
        equal!((path, read_with(number(&device), &mut [0], 0, RWF_NOWAIT)), (path, told));
    }
    let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
    equal!(write_with(number(&null), b"a", 0, RWF_NOWAIT), Ok(1));
    // What has no positions is told so before anything else.
    let (read, write) = pipe::pipe()?;
    fails!(read_with(read.fd().raw(), &mut [0], 0, 0x8000_0000), ESPIPE);
    fails!(write_with(write.fd().raw(), b"a", 0, RWF_APPEND | RWF_NOAPPEND), ESPIPE);
    fails!(call!(PREADV, read.fd().raw(), 1, 1, 0, 0), ESPIPE);
    // Nobody looks at the flags of nothing.
    equal!(write_with(fd, b"", 0, 0x8000_0000), Ok(0));
    equal!(fs::read_to_string(&path)?, "0123456789");
    Ok(())
}

/// What is in memory is read; a write would have to go there, and is refused.
fn does_not_wait() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    fs::write(&path, pattern(0, PAGE))?;
    let (file, mut ring) = (open(&path, 0)?, Ring::new(8, 0)?);
    let fd = number(&file);
    let mut bytes = [0; 100];
    equal!(read_with(fd, &mut bytes, 50, RWF_NOWAIT), Ok(100));
    ensure!(bytes[..] == pattern(50, 100));
    bytes.fill(0);
    let entry = transfer(IORING_OP_READ, fd, &mut bytes, 50);
    equal!(one(&mut ring, Sqe { op_flags: RWF_NOWAIT, ..entry })?, 100);
    ensure!(bytes[..] == pattern(50, 100));
    if is_asyncos() {
        fails!(write_with(fd, b"a", 0, RWF_NOWAIT), EOPNOTSUPP);
    }
    let entry = transfer(IORING_OP_WRITE, fd, &mut bytes, 0);
    equal!(one(&mut ring, Sqe { op_flags: RWF_NOWAIT, ..entry })?, -11);
    Ok(())
}

fn streams_do_not_wait() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    let fd = read.fd().raw();
    let (mut bytes, mut ring) = ([0; 4], Ring::new(8, 0)?);
    fails!(read_with(fd, &mut bytes, -1, RWF_NOWAIT), EAGAIN);
    let mut entry = transfer(IORING_OP_READ, fd, &mut bytes, 0);
    entry.op_flags = RWF_NOWAIT;
    equal!(one(&mut ring, entry)?, -11);
    write.write_all(b"abcd")?;
    equal!(one(&mut ring, entry)?, 4);
    equal!(&bytes, b"abcd");
    write.write_all(b"ef")?;
    equal!(read_with(fd, &mut bytes, -1, RWF_NOWAIT), Ok(2));
    // Full to the last byte.
    while write_with(write.fd().raw(), &[0; 4096], -1, RWF_NOWAIT).is_ok() {}
    fails!(write_with(write.fd().raw(), &[0; 4096], -1, RWF_NOWAIT), EAGAIN);
    Ok(())
}
