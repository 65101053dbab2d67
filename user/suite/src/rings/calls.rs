//! System calls as entries: what they do to files, and what is wrong with an entry.

use super::*;
use core::ffi::CStr;
use rt::abi::fs::{AT_FDCWD, AT_REMOVEDIR, O_CREAT, O_RDWR};
use rt::abi::stat::{STATX_BASIC_STATS, Statx};

pub const CASES: &[Case] = &[
    case!("ring/calls-on-files", "C4 C5 D3", calls_on_files),
    case!("ring/calls-in-a-chain", "C4 D3", calls_in_a_chain),
    case!("ring/calls-that-go-on", "C4 D14", calls_that_go_on),
    case!("ring/wrong-calls", "C4 E1 D3", wrong_calls),
    case!("ring/what-is-probed-is-there", "C4 D3", what_is_probed_is_there),
];

pub fn call_of(opcode: u8, fd: i32) -> Sqe {
    Sqe { opcode, fd, user_data: 7, ..Sqe::default() }
}

/// A call with a path, in the working directory.
fn path_of(opcode: u8, path: &CStr) -> Sqe {
    Sqe { addr: path.as_ptr() as u64, ..call_of(opcode, AT_FDCWD) }
}

/// Does one, which may wait; its result.
pub fn one(ring: &mut Ring, entry: Sqe) -> Result<i32, Trouble> {
    push(ring, &[entry]);
    match wait(ring, 1)?[..] {
        [(7, result)] => Ok(result),
        ref found => Err(Trouble::failed(format_args!("{found:?}"))),
    }
}

fn calls_on_files() -> Outcome {
    let (dir, old, new, link, soft) =
        (c"/tmp/ring-dir", c"/tmp/ring-dir/old", c"/tmp/ring-dir/new", c"/tmp/ring-dir/link", c"/tmp/ring-dir/soft");
    let mut ring = Ring::new(8, 0)?;
    let ring = &mut ring;
    equal!(one(ring, Sqe { len: 0o755, ..path_of(IORING_OP_MKDIRAT, dir) })?, 0);
    equal!(one(ring, Sqe { len: 0o755, ..path_of(IORING_OP_MKDIRAT, dir) })?, -17);
    let fd = one(ring, Sqe { len: 0o600, op_flags: O_CREAT | O_RDWR, ..path_of(IORING_OP_OPENAT, old) })?;
    ensure!(fd > 2, "{fd}");
    equal!(one(ring, transfer(IORING_OP_WRITE, fd, &mut [1; 100], 0))?, 100);
    equal!(one(ring, call_of(IORING_OP_FSYNC, fd))?, 0);
    equal!(one(ring, Sqe { op_flags: IORING_FSYNC_DATASYNC, ..call_of(IORING_OP_FSYNC, fd) })?, 0);
    equal!(one(ring, Sqe { addr: 5_000, ..call_of(IORING_OP_FALLOCATE, fd) })?, 0);
    let mut found = [0u8; size_of::<Statx>()];
    let statx = |found: &mut [u8; size_of::<Statx>()]| Sqe {
        off: found.as_mut_ptr() as u64,
        len: STATX_BASIC_STATS,
        ..path_of(IORING_OP_STATX, old)
    };
    let size = |found: &[u8]| u64::from_le_bytes(found[40..48].try_into().unwrap_or_default());
    equal!(one(ring, statx(&mut found))?, 0);
    equal!(size(&found), 5_000);
    equal!(one(ring, Sqe { off: 70, ..call_of(IORING_OP_FTRUNCATE, fd) })?, 0);
    equal!(one(ring, statx(&mut found))?, 0);
    equal!(size(&found), 70);
    equal!(one(ring, Sqe { len: 10, ..call_of(IORING_OP_FADVISE, fd) })?, 0);
    equal!(one(ring, Sqe { op_flags: 6, ..call_of(IORING_OP_FADVISE, fd) })?, -22);
    equal!(one(ring, Sqe { addr: u64::MAX, ..call_of(IORING_OP_FADVISE, fd) })?, -22);
    let (read, _write) = rt::pipe::pipe()?;
    equal!(one(ring, call_of(IORING_OP_FADVISE, read.fd().raw()))?, -29);
    let two =
        |opcode, from: &CStr, to: &CStr| Sqe { off: to.as_ptr() as u64, len: AT_FDCWD as u32, ..path_of(opcode, from) };
    equal!(one(ring, two(IORING_OP_RENAMEAT, old, new))?, 0);
    equal!(one(ring, two(IORING_OP_RENAMEAT, old, new))?, -2);
    equal!(one(ring, two(IORING_OP_LINKAT, new, link))?, 0);
    equal!(one(ring, Sqe { len: 0, ..two(IORING_OP_SYMLINKAT, new, soft) })?, 0);
    ensure!(rt::fs::metadata("/tmp/ring-dir/soft")?.size() == 70, "it leads elsewhere");
    for path in [new, link, soft] {
        equal!(one(ring, path_of(IORING_OP_UNLINKAT, path))?, 0);
    }
    equal!(one(ring, Sqe { op_flags: AT_REMOVEDIR, ..path_of(IORING_OP_UNLINKAT, dir) })?, 0);
    equal!(one(ring, call_of(IORING_OP_CLOSE, fd))?, 0);
    equal!(one(ring, call_of(IORING_OP_CLOSE, fd))?, -9);
    // Memory, by its length in either field.
    let page = crate::process::map(PAGE, crate::process::RW)?;
    for (len, off) in [(PAGE as u32, 0), (0, PAGE as u64)] {
        raw::store64(page, 77);
        let advice = Sqe { addr: page as u64, len, off, op_flags: m::MADV_DONTNEED, ..call_of(IORING_OP_MADVISE, -1) };
        equal!(one(ring, advice)?, 0);
        equal!(raw::bytes(page, 1)[0], 0);
    }
    call!(MUNMAP, page, PAGE)?;
    Ok(())
}

fn calls_in_a_chain() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (mut byte, path) = ([0u8], c"/tmp/ring-chain");
    let link = |entry: Sqe, user_data| Sqe { flags: IOSQE_IO_LINK, user_data, ..entry };
    // Behind one that waits, to the end of the chain, and the first failure cancels the rest.
    let reads = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    let make = Sqe { len: 0o755, ..path_of(IORING_OP_MKDIRAT, path) };
    let remove = Sqe { op_flags: AT_REMOVEDIR, ..path_of(IORING_OP_UNLINKAT, path) };
    push(&mut ring, &[link(reads, 1), link(make, 2), link(remove, 3), link(remove, 4), link(make, 5), nop(6, 0, 6)]);
    equal!(ring.submit(0)?, 6);
    ensure!(rt::fs::metadata("/tmp/ring-chain").is_err() && ring.pop().is_none(), "before its turn");
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 6)?, [(1, 1), (2, 0), (3, 0), (4, -2), (5, CANCELLED), (6, CANCELLED)]);
    Ok(())
}

/// What no signal would end goes on to its end, and says what it did, whoever wanted it to end.
fn calls_that_go_on() -> Outcome {
    const TIME_WAS_OVER: i32 = -114;
    let mut ring = Ring::new(8, 0)?;
    let place = crate::place::Place::disk()?;
    let file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open(&place.join("goes-on"))?;
    let (fd, zero, mut content, mut waited) = (file.fd().raw(), millis(0), alloc::vec![7u8; 1 << 17], 0);
    for round in 0..20 {
        push(&mut ring, &[transfer(IORING_OP_WRITE, fd, &mut content, 0)]);
        equal!(wait(&mut ring, 1)?, [(7, 1 << 17)]);
        let limit = Sqe { addr: (&raw const zero) as u64, len: 1, ..call_of(IORING_OP_LINK_TIMEOUT, -1) };
        let (flags, ends) = match round % 2 {
            0 => (IOSQE_IO_LINK, limit),
            _ => (0, cancel_of(7, 0)),
        };
        push(&mut ring, &[Sqe { flags, ..call_of(IORING_OP_FSYNC, fd) }, Sqe { user_data: 8, ..ends }]);
        let found = wait_sorted(&mut ring, 2)?;
        // Done at once or not, it has been done: a limit that came too late or not at all, a canceller that found it at work or nothing.
        let [(7, 0), (8, TIME_WAS_OVER | CANCELLED | -2)] = found[..] else {
            return Err(Trouble::failed(format_args!("{found:?}")));
        };
        waited += u32::from(found[1].1 == TIME_WAS_OVER);
    }
    ensure!(waited > 0, "none was at work");
    Ok(())
}

fn wrong_calls() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let path = c"/tmp/ring-wrong";
    let zero = |opcode| call_of(opcode, 0);
    let wrong = [
        Sqe { off: 1, ..zero(IORING_OP_CLOSE) },
        Sqe { file_index: 1, fd: 5, ..zero(IORING_OP_CLOSE) },
        Sqe { addr: 1, ..zero(IORING_OP_FSYNC) },
        Sqe { op_flags: 2, ..zero(IORING_OP_FSYNC) },
        Sqe { op_flags: 1, ..zero(IORING_OP_FALLOCATE) },
        Sqe { addr3: 1, ..zero(IORING_OP_FTRUNCATE) },
        Sqe { len: 1, ..zero(IORING_OP_FTRUNCATE) },
        Sqe { len: 1, ..zero(IORING_OP_UNLINKAT) },
        Sqe { op_flags: 1, ..zero(IORING_OP_UNLINKAT) },
        Sqe { off: 1, ..zero(IORING_OP_MKDIRAT) },
        Sqe { len: 1, ..zero(IORING_OP_SYMLINKAT) },
        Sqe { file_index: 1, ..zero(IORING_OP_LINKAT) },
        Sqe { file_index: 1, ..zero(IORING_OP_STATX) },
        Sqe { buf_index: 1, ..zero(IORING_OP_OPENAT) },
        Sqe { ioprio: 1, ..zero(IORING_OP_OPENAT) },
        Sqe { personality: 1, ..zero(IORING_OP_OPENAT) },
        Sqe { off: 1, ..zero(IORING_OP_RECV) },
        Sqe { ioprio: 1 << 15, ..zero(IORING_OP_RECV) },
        Sqe { ioprio: IORING_RECV_MULTISHOT, ..zero(IORING_OP_RECV) },
        Sqe { file_index: 1 << 16, ..zero(IORING_OP_SEND) },
        Sqe { len: 1, ..zero(IORING_OP_ACCEPT) },
        Sqe { op_flags: 1, ..zero(IORING_OP_ACCEPT) },
        Sqe { len: 1, ..zero(IORING_OP_CONNECT) },
        Sqe { addr: 1, ..zero(IORING_OP_SOCKET) },
        Sqe { addr: 1, ..zero(IORING_OP_LISTEN) },
        Sqe { off: 1, ..zero(IORING_OP_SHUTDOWN) },
        Sqe { flags: IOSQE_BUFFER_SELECT | 1 << 7, ..zero(IORING_OP_RECV) },
    ];
    for entry in wrong {
        let found = run(&mut ring, &[entry])?;
        ensure!(found == [(7, EINVAL)], "{found:?} of {entry:?}");
    }
    let bad = |opcode| call_of(opcode, 200);
    let own = ring.fd().raw();
    let others = [
        (bad(IORING_OP_FSYNC), -9),
        (bad(IORING_OP_RECV), -9),
        (Sqe { addr: c"here".as_ptr() as u64, ..bad(IORING_OP_MKDIRAT) }, -9),
        (Sqe { flags: IOSQE_FIXED_FILE, ..zero(IORING_OP_FSYNC) }, -9),
        (Sqe { flags: IOSQE_FIXED_FILE, ..path_of(IORING_OP_UNLINKAT, path) }, -9),
        (call_of(IORING_OP_CLOSE, own), -9),
        (Sqe { file_index: 1, ..path_of(IORING_OP_OPENAT, path) }, -2),
        (Sqe { file_index: 1, ..path_of(IORING_OP_OPENAT, c"/tmp") }, -6),
        (Sqe { addr: 8, ..path_of(IORING_OP_OPENAT, path) }, -14),
        (Sqe { addr: 1 << 63, ..path_of(IORING_OP_UNLINKAT, path) }, -14),
        (Sqe { off: u64::MAX - 7, len: STATX_BASIC_STATS, ..path_of(IORING_OP_STATX, c"/tmp") }, -14),
        (path_of(IORING_OP_OPENAT, path), -2),
        (call_of(IORING_OP_RECV, own), -88),
        (call_of(IORING_OP_FSYNC, own), EINVAL),
        (Sqe { op_flags: 77, addr: PAGE as u64, len: PAGE as u32, ..call_of(IORING_OP_MADVISE, -1) }, EINVAL),
    ];
    for (entry, errno) in others {
        let found = one(&mut ring, entry)?;
        ensure!(found == errno, "{found} of {entry:?}");
    }
    Ok(())
}

fn what_is_probed_is_there() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let mut found = [0u64; 2 + 64];
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_PROBE, found.as_mut_ptr(), 64)?;
    let mut count = 0;
    for opcode in 0..=u8::MAX {
        let known = found.get(2 + usize::from(opcode)).is_some_and(|op| op >> 16 & 1 == 1);
        count += u32::from(known);
        if !known {
            equal!(run(&mut ring, &[call_of(opcode, -1)])?, [(7, EINVAL)]);
        }
    }
    ensure!(count >= 48, "{count}");
    Ok(())
}
