//! Provided buffers: chosen from a list or from a ring when there is something to put into one, once or again and again.

use super::calls::{call_of, one};
use super::hostile::scramble;
use super::*;
use crate::process::{RW, map};
use core::time::Duration;
use rt::abi::net::{AF_INET, AF_UNIX, MSG_WAITALL, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use rt::fs::File;
use rt::ring::Buffers;

pub const CASES: &[Case] = &[
    case!("ring/provided-buffers", "C4 D3", list),
    case!("ring/ring-of-buffers", "C4 D3 D4", shared),
    case!("ring/buffers-used-bit-by-bit", "C4 D3", bit_by_bit),
    case!("ring/receives-again-and-again", "C4 D3 D17", again_and_again),
    case!("ring/receives-each-message", "C4 D3", each_message),
    case!("ring/receives-where-memory-is-missing", "C4 D15", missing_memory),
    case!("ring/reads-again-and-again", "C4 D3", reads_again),
    case!("ring/buffer-that-is-not-needed", "C4 D14", given_back),
    case!("ring/fills-chosen-buffers", "C4 D14", fills),
    case!("ring/wrong-provided-buffers", "C4 E1", wrong),
    case!("ring/any-ring-of-buffers", "C4 E1", hostile),
];

pub const ENOBUFS: i32 = -105;
const ENOTCONN: i32 = -107;
const GROUP: u16 = 3;

pub fn pair() -> Result<(File, File), Errno> {
    pair_of(SOCK_STREAM)
}

fn pair_of(kind: u32) -> Result<(File, File), Errno> {
    let mut fds = [0i32; 2];
    call!(SOCKETPAIR, AF_UNIX, kind, 0, fds.as_mut_ptr())?;
    Ok((raw::file(fds[0] as usize), raw::file(fds[1] as usize)))
}

pub fn provides(addr: usize, len: usize, count: i32, first: u64) -> Sqe {
    let (addr, len) = (addr as u64, len as u32);
    Sqe { addr, len, off: first, buf_index: GROUP, ..call_of(IORING_OP_PROVIDE_BUFFERS, count) }
}

pub fn removes(count: i32) -> Sqe {
    Sqe { buf_index: GROUP, ..call_of(IORING_OP_REMOVE_BUFFERS, count) }
}

/// One that has a buffer chosen for it.
pub fn selects(opcode: u8, fd: i32) -> Sqe {
    Sqe { flags: IOSQE_BUFFER_SELECT, buf_index: GROUP, ..call_of(opcode, fd) }
}

pub fn buffer(bid: u32) -> u32 {
    IORING_CQE_F_BUFFER | bid << IORING_CQE_BUFFER_SHIFT
}

pub fn next(ring: &mut Ring) -> Result<(u64, i32, u32), Trouble> {
    loop {
        match ring.pop() {
            Some(Cqe { user_data, res, flags }) => return Ok((user_data, res, flags)),
            None => drop(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?),
        }
    }
}

/// Submits one, and takes the next completion.
pub fn ask(ring: &mut Ring, entry: Sqe) -> Result<(u64, i32, u32), Trouble> {
    push(ring, &[entry]);
    equal!(ring.submit(0)?, 1);
    next(ring)
}

fn send(file: &mut File, bytes: &[u8]) -> Outcome {
    Ok(io::Write::write_all(file, bytes)?)
}

/// Places of a ring of buffers.
pub const PLACES: u16 = 8;

fn buffers(ring: &Ring) -> Result<Buffers, Trouble> {
    Ok(Buffers::new(ring, GROUP, PLACES)?)
}

fn unregister(ring: &Ring) -> Result<usize, Errno> {
    let asked = BufReg { bgid: GROUP, ..BufReg::default() };
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_PBUF_RING, &raw const asked, 1)
}

fn head(ring: &Ring) -> Result<u32, Errno> {
    let mut asked = BufStatus { buf_group: GROUP.into(), ..BufStatus::default() };
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_PBUF_STATUS, &raw mut asked, 1)?;
    Ok(asked.head)
}

/// In a ring of buffers that are used bit by bit what is left of one is the next.
fn bit_by_bit() -> Outcome {
    const MORE: u32 = IORING_CQE_F_BUF_MORE;
    let mut ring = Ring::new(8, 0)?;
    let (mut here, there) = pair()?;
    let mut buffers = Buffers::incremental(&ring, GROUP, PLACES)?;
    let mut memory = [0u8; 30];
    let base = memory.as_mut_ptr() as usize;
    buffers.add(base, 10, 5);
    buffers.add(base + 10, 4, 6);
    buffers.add(base + 14, 16, 7);
    let receives = selects(IORING_OP_RECV, there.fd().raw());
    send(&mut here, b"abcde")?;
    equal!(ask(&mut ring, Sqe { len: 2, ..receives })?, (7, 2, buffer(5) | MORE));
    equal!(ask(&mut ring, receives)?, (7, 3, buffer(5) | MORE));
    equal!(head(&ring)?, 0);
    // Again and again: up to its end, which is no failure, and on in the next.
    let again = Sqe { ioprio: IORING_RECV_MULTISHOT, ..receives };
    push(&mut ring, &[again]);
    equal!(ring.submit(0)?, 1);
    send(&mut here, b"fghijkl")?;
    equal!(next(&mut ring)?, (7, 5, buffer(5) | IORING_CQE_F_MORE));
    equal!(next(&mut ring)?, (7, 2, buffer(6) | IORING_CQE_F_MORE | MORE));
    equal!(head(&ring)?, 1);
    push(&mut ring, &[cancel_of(7, 0)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    equal!(memory[..12], *b"abcdefghijkl");
    // What waits for all of it has it to itself.
    let all = Sqe { op_flags: MSG_WAITALL, len: 2, ..receives };
    push(&mut ring, &[all]);
    equal!(ring.submit(0)?, 1);
    send(&mut here, b"m")?;
    thread::sleep(Duration::from_millis(2));
    send(&mut here, b"n")?;
    equal!(next(&mut ring)?, (7, 2, buffer(6)));
    // A file's end uses nothing of one.
    let file = rt::fs::File::open("/dev/null")?;
    equal!(ask(&mut ring, selects(IORING_OP_READ, file.fd().raw()))?, (7, 0, buffer(7) | MORE));
    send(&mut here, &[b'o'; 16])?;
    equal!(ask(&mut ring, receives)?, (7, 16, buffer(7)));
    equal!(memory[10..], *b"klmnoooooooooooooooo");
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    Ok(())
}

fn list() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (mut here, there) = pair()?;
    let receives = selects(IORING_OP_RECV, there.fd().raw());
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    let mut memory = [0u8; 40];
    let base = memory.as_mut_ptr() as usize;
    equal!(one(&mut ring, provides(base, 10, 4, 20))?, 0);
    // What is there, cut to the buffer or to what is wanted; and what comes later.
    send(&mut here, b"hello, ring of bytes")?;
    equal!(ask(&mut ring, receives)?, (7, 10, buffer(20)));
    equal!(ask(&mut ring, Sqe { len: 4, ..receives })?, (7, 4, buffer(21)));
    equal!(ask(&mut ring, Sqe { len: 400, ..receives })?, (7, 6, buffer(22)));
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "there is nothing yet");
    send(&mut here, b"later")?;
    equal!(next(&mut ring)?, (7, 5, buffer(23)));
    equal!(memory[..14], *b"hello, ring of");
    equal!(memory[20..35], *b" bytes\0\0\0\0later");
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    // Some are taken back before they are used.
    equal!(one(&mut ring, provides(base, 10, 3, 0))?, 0);
    equal!(one(&mut ring, removes(2))?, 2);
    send(&mut here, b"x")?;
    equal!(ask(&mut ring, receives)?, (7, 1, buffer(2)));
    equal!(one(&mut ring, removes(2))?, 0);
    // Of a file, at an offset and at its position; the end has one too.
    let mut file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open("/tmp/ring-provided")?;
    send(&mut file, b"0123456789abcdef")?;
    rt::fs::remove_file("/tmp/ring-provided")?;
    equal!(one(&mut ring, provides(base, 10, 4, 0))?, 0);
    let reads = selects(IORING_OP_READ, file.fd().raw());
    equal!(ask(&mut ring, Sqe { off: 2, ..reads })?, (7, 10, buffer(0)));
    equal!(ask(&mut ring, Sqe { off: 12, ..reads })?, (7, 4, buffer(1)));
    equal!(ask(&mut ring, Sqe { off: u64::MAX, ..reads })?, (7, 0, buffer(2)));
    equal!(ask(&mut ring, Sqe { off: 16, ..reads })?, (7, 0, buffer(3)));
    equal!(memory[..14], *b"23456789abcdef");
    equal!(one(&mut ring, removes(9))?, 0);
    // Where nothing can come, that is said at once.
    let fd = call!(SOCKET, AF_INET, SOCK_STREAM, 0)?;
    let lone = raw::file(fd);
    equal!(one(&mut ring, provides(base, 10, 1, 0))?, 0);
    equal!(ask(&mut ring, selects(IORING_OP_RECV, lone.fd().raw()))?, (7, ENOTCONN, 0));
    equal!(one(&mut ring, removes(9))?, 1);
    Ok(())
}

fn shared() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let mut buffers = buffers(&ring)?;
    let (mut here, there) = pair()?;
    let receives = selects(IORING_OP_RECV, there.fd().raw());
    let mut memory = [0u8; 64];
    let base = memory.as_mut_ptr() as usize;
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    // Around it, and around its indices.
    for round in 0..20_000u32 {
        let bid = (round % 1_000) as u16;
        buffers.add(base, 16, bid);
        send(&mut here, &round.to_le_bytes())?;
        equal!(ask(&mut ring, receives)?, (7, 4, buffer(bid.into())));
        equal!(memory[..4], round.to_le_bytes());
    }
    equal!(head(&ring)?, 20_000);
    for place in 0..4 {
        buffers.add(base + 16 * place, 16, place as u16);
    }
    send(&mut here, &[5; 64])?;
    for place in 0..4 {
        equal!(ask(&mut ring, receives)?, (7, 16, buffer(place)));
    }
    equal!(memory, [5; 64]);
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    equal!(unregister(&ring)?, 0);
    equal!(ask(&mut ring, receives)?, (7, ENOBUFS, 0));
    fails!(unregister(&ring), ENOENT);
    fails!(head(&ring), ENOENT);
    Ok(())
}

fn again_and_again() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let mut buffers = buffers(&ring)?;
    let (mut here, there) = pair()?;
    let receives = Sqe { ioprio: IORING_RECV_MULTISHOT, ..selects(IORING_OP_RECV, there.fd().raw()) };
    let mut memory = [0u8; 64];
    let base = memory.as_mut_ptr() as usize;
    for bid in 0..4 {
        buffers.add(base + 16 * usize::from(bid), 16, bid);
    }
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    for round in 0..300u32 {
        send(&mut here, &round.to_le_bytes())?;
        let bid = round % 4;
        equal!(next(&mut ring)?, (7, 4, IORING_CQE_F_MORE | buffer(bid)));
        equal!(memory[16 * bid as usize..][..4], round.to_le_bytes());
        buffers.add(base + 16 * bid as usize, 16, bid as u16);
    }
    // More at once than there are buffers: it ends, and says why.
    send(&mut here, &[9; 70])?;
    for bid in 0..4 {
        equal!(next(&mut ring)?, (7, 16, IORING_CQE_F_MORE | buffer(bid)));
    }
    equal!(next(&mut ring)?, (7, ENOBUFS, 0));
    buffers.add(base, 16, 9);
    buffers.add(base, 16, 10);
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    equal!(next(&mut ring)?, (7, 6, IORING_CQE_F_MORE | buffer(9)));
    push(&mut ring, &[cancel_of(7, 0)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    // The other end goes.
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    drop(here);
    equal!(next(&mut ring)?, (7, 0, 0));
    // The buffer that was not needed is there yet.
    let (mut here, there) = pair()?;
    send(&mut here, b"z")?;
    equal!(ask(&mut ring, selects(IORING_OP_RECV, there.fd().raw()))?, (7, 1, buffer(10)));
    Ok(())
}

/// Messages that come before it waits, and together while it does: none stays behind, though each is shorter than its buffer.
fn each_message() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let mut buffers = buffers(&ring)?;
    let mut memory = [0u8; 256];
    let base = memory.as_mut_ptr() as usize;
    let mut give =
        |bids: core::ops::Range<u16>| bids.for_each(|bid| buffers.add(base + 32 * usize::from(bid), 32, bid));
    give(0..3);
    for kind in [SOCK_SEQPACKET, SOCK_DGRAM] {
        let (mut here, there) = pair_of(kind)?;
        give(3..8);
        (0..3u8).try_for_each(|number| send(&mut here, &[number]))?;
        let receives = Sqe { ioprio: IORING_RECV_MULTISHOT, ..selects(IORING_OP_RECV, there.fd().raw()) };
        push(&mut ring, &[receives]);
        equal!(ring.submit(0)?, 1);
        for bid in 0..7 {
            if bid == 3 {
                give(0..3);
                (3..7u8).try_for_each(|number| send(&mut here, &[number]))?;
            }
            equal!(next(&mut ring)?, (7, 1, IORING_CQE_F_MORE | buffer(bid)));
            equal!(u32::from(memory[32 * bid as usize]), bid);
        }
        send(&mut here, &[7])?;
        equal!(next(&mut ring)?, (7, 1, IORING_CQE_F_MORE | buffer(7)));
        push(&mut ring, &[cancel_of(7, 0)]);
        equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 0)]);
    }
    Ok(())
}

/// Of each buffer only a part is there at first: what a read has no memory for comes with the next.
fn missing_memory() -> Outcome {
    const EACH: usize = 2 * PAGE;
    let mut ring = Ring::new(16, 0)?;
    let mut buffers = buffers(&ring)?;
    let base = map(8 * EACH, RW)?;
    for bid in 0..8u16 {
        raw::store64(base + usize::from(bid) * EACH, 1);
        buffers.add(base + usize::from(bid) * EACH, EACH as u32, bid);
    }
    let (mut here, there) = pair()?;
    let bytes: Vec<u8> = (0..3 * EACH).map(|at| (at / 7) as u8).collect();
    send(&mut here, &bytes)?;
    let receives = Sqe { ioprio: IORING_RECV_MULTISHOT, ..selects(IORING_OP_RECV, there.fd().raw()) };
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    let mut done = 0;
    while done < bytes.len() {
        let (_, len, flags) = next(&mut ring)?;
        ensure!(len > 0 && flags & IORING_CQE_F_MORE != 0, "{len} {flags:#x} behind {done} bytes");
        let from = base + (flags >> IORING_CQE_BUFFER_SHIFT) as usize * EACH;
        ensure!(raw::bytes(from, len as usize) == &bytes[done..done + len as usize], "other bytes behind {done}");
        done += len as usize;
    }
    call!(MUNMAP, base, 8 * EACH)?;
    Ok(())
}

fn reads_again() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut memory = [0u8; 200];
    equal!(one(&mut ring, provides(memory.as_mut_ptr() as usize, 10, 20, 0))?, 0);
    let reads = selects(IORING_OP_READ_MULTISHOT, read.fd().raw());
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    for bid in 0..3 {
        send(&mut write, b"abc")?;
        equal!(next(&mut ring)?, (7, 3, IORING_CQE_F_MORE | buffer(bid)));
    }
    // No room to tell of more: the last is told as such, and the rest is left.
    send(&mut write, &[1; 100])?;
    while raw::atomic(ring.address(at::SQ_FLAGS)).load(Relaxed) & IORING_SQ_CQ_OVERFLOW == 0 {
        thread::sleep(core::time::Duration::from_millis(1));
    }
    for bid in 3..11 {
        equal!(next(&mut ring)?, (7, 10, IORING_CQE_F_MORE | buffer(bid)));
    }
    equal!(next(&mut ring)?, (7, 10, buffer(11)));
    equal!(ask(&mut ring, selects(IORING_OP_READ, read.fd().raw()))?, (7, 10, buffer(12)));
    let file = rt::fs::OpenOptions::new().read(true).open("/bin/sh")?;
    equal!(ask(&mut ring, Sqe { fd: file.fd().raw(), ..reads })?, (7, -77, 0));
    equal!(ask(&mut ring, Sqe { fd: write.fd().raw(), ..reads })?, (7, -9, 0));
    for wrong in
        [Sqe { addr: 1, ..reads }, Sqe { len: 1, ..reads }, Sqe { flags: 0, ..reads }, Sqe { ioprio: 1, ..reads }]
    {
        equal!(ask(&mut ring, wrong)?, (7, EINVAL, 0));
    }
    Ok(())
}

/// `MSG_WAITALL`; and what is not needed counts as not taken.
fn fills() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let mut buffers = buffers(&ring)?;
    let (mut here, there) = pair()?;
    let mut memory = [0u8; 64];
    let base = memory.as_mut_ptr() as usize;
    for bid in 0..4 {
        buffers.add(base + 16 * usize::from(bid), 16, bid);
    }
    let receives = Sqe { op_flags: MSG_WAITALL, ..selects(IORING_OP_RECV, there.fd().raw()) };
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    equal!(head(&ring)?, 0);
    for byte in 0..15 {
        send(&mut here, &[byte])?;
        ensure!(ring.pop().is_none(), "it is not full");
    }
    send(&mut here, &[15, 16])?;
    equal!(next(&mut ring)?, (7, 16, buffer(0)));
    equal!(head(&ring)?, 1);
    equal!(memory[..16], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    // Cancelled: what is there is told, or waits yet if it has not come to look.
    push(&mut ring, &[Sqe { len: 8, ..receives }]);
    equal!(ring.submit(0)?, 1);
    equal!(head(&ring)?, 2);
    push(&mut ring, &[cancel_of(7, 0)]);
    equal!(ring.submit(0)?, 1);
    equal!(sorted_by_data(&mut ring)?, [(7, 1, buffer(1)), (99, -114, 0)]);
    equal!(memory[16..18], [16, 0]);
    // So does the end.
    push(&mut ring, &[receives]);
    equal!(ring.submit(0)?, 1);
    equal!(head(&ring)?, 2);
    send(&mut here, &[1, 2, 3])?;
    drop(here);
    equal!(next(&mut ring)?, (7, 3, buffer(2)));
    equal!(head(&ring)?, 3);
    Ok(())
}

/// Two completions.
fn sorted_by_data(ring: &mut Ring) -> Result<[(u64, i32, u32); 2], Trouble> {
    let mut found = [next(ring)?, next(ring)?];
    found.sort_unstable();
    Ok(found)
}

fn given_back() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (mut here, there) = pair()?;
    let mut memory = [0u8; 20];
    let base = memory.as_mut_ptr() as usize;
    equal!(one(&mut ring, provides(base, 10, 2, 0))?, 0);
    let receives = selects(IORING_OP_RECV, there.fd().raw());
    // Those that wait have chosen none: there are fewer than of these.
    push(&mut ring, &[receives; 5]);
    equal!(ring.submit(0)?, 5);
    send(&mut here, &[1; 20])?;
    // Two get some; the others find that nothing is left to choose, if they look.
    let (mut full, mut ended) = (Vec::new(), 0);
    while full.len() < 2 {
        match next(&mut ring)? {
            (7, 10, flags) => full.push(flags),
            (7, ENOBUFS, 0) => ended += 1,
            other => return Err(Trouble::failed(format_args!("{other:?}"))),
        }
    }
    full.sort_unstable();
    equal!(full, [buffer(0), buffer(1)]);
    push(&mut ring, &[Sqe { user_data: 99, ..cancel_of(7, IORING_ASYNC_CANCEL_ALL) }]);
    equal!(ring.submit(0)?, 1);
    while ended < 4 {
        match next(&mut ring)? {
            (7, ENOBUFS | CANCELLED, 0) | (99, 0.., 0) => ended += 1,
            other => return Err(Trouble::failed(format_args!("{other:?}"))),
        }
    }
    equal!(one(&mut ring, provides(base, 10, 1, 5))?, 0);
    equal!(one(&mut ring, removes(9))?, 1);
    // One that may not be written goes back, too.
    equal!(one(&mut ring, provides(8, 10, 1, 6))?, 0);
    send(&mut here, b"y")?;
    equal!(ask(&mut ring, receives)?, (7, -14, 0));
    equal!(one(&mut ring, removes(9))?, 1);
    Ok(())
}

fn wrong() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, write) = rt::pipe::pipe()?;
    let (_here, there) = pair()?;
    let good = provides(0x1_0000, 10, 4, 0);
    let receives = selects(IORING_OP_RECV, there.fd().raw());
    let again = Sqe { ioprio: IORING_RECV_MULTISHOT, ..receives };
    equal!(one(&mut ring, removes(1))?, -2);
    let wrong = [
        (Sqe { fd: 0, ..good }, -7),
        (Sqe { fd: (1 << 16) + 1, ..good }, -7),
        (Sqe { fd: -1, ..good }, -7),
        (Sqe { off: 1 << 16, ..good }, -7),
        (Sqe { off: (1 << 16) - 3, ..good }, EINVAL),
        (Sqe { addr: u64::MAX, ..good }, -75),
        (Sqe { addr: 1 << 62, ..good }, -14),
        (Sqe { op_flags: 1, ..good }, EINVAL),
        (Sqe { file_index: 1, ..good }, EINVAL),
        (removes(0), EINVAL),
        (removes(-1), EINVAL),
        (Sqe { addr: 1, ..removes(1) }, EINVAL),
        (Sqe { off: 1, ..receives }, EINVAL),
        (Sqe { file_index: 1, ..receives }, EINVAL),
        (Sqe { ioprio: 1 << 9, ..receives }, EINVAL),
        (Sqe { len: 1, ..again }, EINVAL),
        (Sqe { op_flags: MSG_WAITALL, ..again }, EINVAL),
        (Sqe { flags: 0, buf_index: 0, ..again }, EINVAL),
        (selects(IORING_OP_WRITE, write.fd().raw()), -95),
        (selects(IORING_OP_FSYNC, write.fd().raw()), -95),
        (selects(IORING_OP_READ, write.fd().raw()), -9),
        (selects(IORING_OP_RECV, read.fd().raw()), -88),
        (selects(IORING_OP_RECV, 200), -9),
    ];
    for (entry, errno) in wrong {
        let found = one(&mut ring, entry)?;
        ensure!(found == errno, "{found} of {entry:?}");
    }
    let register = |asked: &BufReg| {
        let what = IORING_REGISTER_PBUF_RING;
        call!(IO_URING_REGISTER, ring.fd().raw(), what, core::ptr::from_ref(asked), 1)
    };
    let base = map(PAGE, RW)?;
    let good = BufReg { ring_addr: base as u64, ring_entries: PLACES.into(), bgid: GROUP, ..BufReg::default() };
    fails!(register(&BufReg { ring_addr: 0, ..good }), EFAULT);
    fails!(register(&BufReg { ring_addr: base as u64 + 8, ..good }), EINVAL);
    fails!(register(&BufReg { ring_addr: 1 << 40, ..good }), EFAULT);
    fails!(register(&BufReg { ring_entries: 3, ..good }), EINVAL);
    fails!(register(&BufReg { ring_entries: 0, ..good }), EINVAL);
    fails!(register(&BufReg { ring_entries: 1 << 16, ..good }), EINVAL);
    fails!(register(&BufReg { ring_entries: 1 << 15, ..good }), EFAULT);
    fails!(register(&BufReg { flags: 4, ..good }), EINVAL);
    fails!(register(&BufReg { resv: [0, 0, 1], ..good }), EINVAL);
    equal!(register(&good)?, 0);
    fails!(register(&good), EEXIST);
    equal!(one(&mut ring, provides(0x1_0000, 10, 4, 0))?, EINVAL);
    equal!(one(&mut ring, removes(1))?, EINVAL);
    Ok(())
}

/// Says anything in each word of a ring of so many buffers as here.
pub fn scribble(buffers: &Buffers, seed: &mut u64) {
    for word in 0..usize::from(PLACES) * 4 {
        raw::atomic(buffers.address() + 4 * word).store(scramble(seed) as u32, Relaxed);
    }
}

/// The program says anything about its ring of buffers, and takes its memory away.
fn hostile() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let buffers = buffers(&ring)?;
    let (mut here, there) = pair()?;
    let receives = selects(IORING_OP_RECV, there.fd().raw());
    let mut seed = 12_345;
    for _ in 0..3_000 {
        scribble(&buffers, &mut seed);
        send(&mut here, b"x")?;
        let (_, result, flags) = ask(&mut ring, receives)?;
        ensure!([-14, ENOBUFS, 0].contains(&result), "{result} {flags:#x}");
    }
    call!(MUNMAP, buffers.address(), PAGE)?;
    let (_, result, _) = ask(&mut ring, receives)?;
    ensure!([-14, ENOBUFS, 0].contains(&result), "{result}");
    equal!(unregister(&ring)?, 0);
    Ok(())
}
