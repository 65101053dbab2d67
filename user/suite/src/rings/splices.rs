//! `splice` and `tee` as entries.

use super::calls::{call_of, one};
use super::others::{fixed, register};
use super::*;
use crate::files::pattern;
use crate::pipes::splices::take;
use rt::abi::fs::{SPLICE_F_MOVE, SPLICE_F_NONBLOCK};
use rt::fs::File;
use rt::io::Write;

pub const CASES: &[Case] = &[
    case!("ring/splice-file-to-pipe-to-file", "C4 D3", file_to_pipe_to_file),
    case!("ring/splice-waits", "C4 D2", waits),
    case!("ring/splice-cancelled-keeps-the-bytes", "C4 D14", cancelled_keeps_the_bytes),
    case!("ring/splice-of-registered-files", "C4 D3", of_registered_files),
    case!("ring/wrong-splices", "C4 E1", wrong_splices),
];

/// What Linux answers for one whose wait was ended: its worker has a signal.
const INTERRUPTED: i32 = -4;
const RESTARTS: i32 = -512;
/// No offset.
const NONE: u64 = u64::MAX;

/// From one to the other at these offsets.
fn splice(from: &File, from_at: u64, to: &File, to_at: u64, len: u32) -> Sqe {
    let file_index = from.fd().raw().cast_unsigned();
    Sqe { addr: from_at, off: to_at, len, file_index, ..call_of(IORING_OP_SPLICE, to.fd().raw()) }
}

fn tee(from: &File, to: &File, len: u32) -> Sqe {
    Sqe { len, file_index: from.fd().raw().cast_unsigned(), ..call_of(IORING_OP_TEE, to.fd().raw()) }
}

fn opened(name: &str) -> Result<File, Trouble> {
    // The file outlives its name.
    let place = crate::place::Place::any()?;
    Ok(rt::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&place.join(name))?)
}

fn file_to_pipe_to_file() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (mut from, mut to, (mut read, write)) = (opened("from")?, opened("to")?, rt::pipe::pipe()?);
    from.write_all(&pattern(0, 20_000))?;
    let link = |entry: Sqe, user_data| Sqe { flags: IOSQE_IO_LINK, user_data, ..entry };
    let there = splice(&from, 1_000, &write, NONE, 8_192);
    let back = splice(&read, NONE, &to, 500, 8_192);
    push(&mut ring, &[link(there, 1), link(back, 2), nop(3, 0, 3)]);
    equal!(wait(&mut ring, 3)?, [(1, 8_192), (2, 8_192), (3, 3)]);
    let mut bytes = Vec::new();
    equal!(io::Read::read_to_end(&mut to, &mut bytes)?, 8_692);
    ensure!(bytes[..500] == [0; 500] && bytes[500..] == pattern(1_000, 8_192));
    // Less than was asked for ends the chain. At the position, which moves.
    push(&mut ring, &[link(splice(&from, 19_000, &write, NONE, 8_192), 1), nop(2, 0, 2)]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, 1_000), (2, CANCELLED)]);
    take(&mut read, 1_000)?;
    call!(LSEEK, from.fd().raw(), 3_000, 0)?;
    equal!(one(&mut ring, splice(&from, NONE, &write, NONE, 2_000))?, 2_000);
    equal!(call!(LSEEK, from.fd().raw(), 0, 1)?, 5_000);
    ensure!(take(&mut read, 2_000)? == pattern(3_000, 2_000));
    Ok(())
}

fn waits() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ((read, mut write), (mut target, into)) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    push(&mut ring, &[splice(&read, NONE, &into, NONE, 100)]);
    equal!(ring.submit(0)?, 1);
    ensure!(ring.pop().is_none(), "nothing was spliced");
    write.write_all(b"abc")?;
    equal!(wait(&mut ring, 1)?, [(7, 3)]);
    equal!(take(&mut target, 3)?, b"abc");
    push(&mut ring, &[tee(&read, &into, 100)]);
    equal!(ring.submit(0)?, 1);
    write.write_all(b"def")?;
    equal!(wait(&mut ring, 1)?, [(7, 3)]);
    equal!(take(&mut target, 3)?, b"def");
    equal!(one(&mut ring, splice(&read, NONE, &into, NONE, 2))?, 2);
    // As on Linux a descriptor that does not wait holds for these entries.
    let nonblocking = |entry: Sqe| Sqe { op_flags: SPLICE_F_NONBLOCK | SPLICE_F_MOVE, ..entry };
    equal!(take(&mut target, 2)?, b"de");
    equal!(one(&mut ring, splice(&read, NONE, &into, NONE, 2))?, 1);
    equal!(one(&mut ring, nonblocking(splice(&read, NONE, &into, NONE, 2)))?, -11);
    equal!(one(&mut ring, nonblocking(tee(&read, &into, 2)))?, -11);
    read.fd().set_nonblocking(true)?;
    equal!(one(&mut ring, splice(&read, NONE, &into, NONE, 2))?, -11);
    drop(write);
    equal!(one(&mut ring, splice(&read, NONE, &into, NONE, 2))?, 0);
    equal!(one(&mut ring, tee(&read, &into, 2))?, 0);
    Ok(())
}

/// Cancelled at any time: each byte is in the first pipe or in the second.
fn cancelled_keeps_the_bytes() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ((mut read, mut write), (mut target, mut into)) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    let capacity = 16 * PAGE;
    for round in 0..40 {
        write.write_all(&pattern(0, 100))?;
        into.write_all(&pattern(0, capacity))?;
        push(&mut ring, &[splice(&read, NONE, &into, NONE, 100)]);
        equal!(ring.submit(0)?, 1);
        // Room comes about when it is cancelled.
        let thread = (round % 2 == 1).then(|| {
            let mut target = target.try_clone()?;
            let reads = move || take(&mut target, capacity).map(|_| ()).map_err(|_| rt::abi::Errno::EIO);
            thread::spawn(reads).map_err(Trouble::from)
        });
        let thread = thread.transpose()?;
        push(&mut ring, &[cancel_of(7, 0)]);
        let found = wait_sorted(&mut ring, 2)?;
        match thread {
            Some(thread) => thread.join().ok_or(rt::abi::Errno::EIO)??,
            None => drop(take(&mut target, capacity)?),
        }
        equal!((found[0].0, found[1].0), (7, 99));
        let holder = match found[0].1 {
            100 => &mut target,
            other => {
                ensure!([CANCELLED, INTERRUPTED, RESTARTS].contains(&other), "{found:?}");
                &mut read
            }
        };
        ensure!(take(holder, 100)? == pattern(0, 100));
    }
    Ok(())
}

fn of_registered_files() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ((read, mut write), (mut target, into)) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    equal!(register(&ring, IORING_REGISTER_FILES, &[read.fd().raw(), into.fd().raw(), -1])?, 0);
    write.write_all(b"registered")?;
    let plain = splice(&read, NONE, &into, NONE, 3);
    let input = |entry: Sqe, place| Sqe { file_index: place, op_flags: SPLICE_F_FD_IN_FIXED, ..entry };
    let out = |entry: Sqe, place| fixed(Sqe { fd: place, ..entry });
    equal!(one(&mut ring, input(plain, 0))?, 3);
    equal!(one(&mut ring, out(plain, 1))?, 3);
    equal!(one(&mut ring, out(input(plain, 0), 1))?, 3);
    equal!(take(&mut target, 9)?, b"registere");
    equal!(one(&mut ring, out(input(tee(&read, &into, 1), 0), 1))?, 1);
    for wrong in [input(plain, 2), input(plain, 3), input(plain, u32::MAX), out(plain, 2), out(plain, -1)] {
        equal!(one(&mut ring, wrong)?, -9);
    }
    // They are kept while it waits.
    equal!(one(&mut ring, plain)?, 1);
    push(&mut ring, &[out(input(plain, 0), 1)]);
    equal!(ring.submit(0)?, 1);
    equal!(register(&ring, IORING_UNREGISTER_FILES, &[])?, 0);
    drop((read, into));
    write.write_all(b"x")?;
    equal!(wait(&mut ring, 1)?, [(7, 1)]);
    equal!(take(&mut target, 3)?, b"ddx");
    Ok(())
}

fn wrong_splices() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ((read, mut write), (target, into)) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    let mut from = opened("from")?;
    from.write_all(b"text")?;
    write.write_all(b"pipe")?;
    let (right, copies) = (splice(&read, NONE, &into, NONE, 4), tee(&read, &into, 4));
    for (entry, expected) in [
        (Sqe { op_flags: 16, ..right }, EINVAL),
        (Sqe { op_flags: 16, ..copies }, EINVAL),
        (Sqe { addr: 1, ..copies }, EINVAL),
        (Sqe { off: 1, ..copies }, EINVAL),
        (Sqe { ioprio: 1, ..right }, EINVAL),
        (Sqe { file_index: 200, ..right }, -9),
        (Sqe { fd: 200, ..right }, -9),
        (Sqe { file_index: 200, len: 0, ..right }, -9),
        (Sqe { len: 0, ..right }, 0),
        (Sqe { len: 0, ..copies }, 0),
        (splice(&read, 0, &into, NONE, 4), -29),
        (splice(&read, NONE, &into, 0, 4), -29),
        (splice(&from, NONE, &into, 0, 4), -29),
        (splice(&read, 0, &from, NONE, 4), -29),
        (splice(&from, u64::MAX - 1, &into, NONE, 4), EINVAL),
        (splice(&from, i64::MAX as u64, &into, NONE, 4), EINVAL),
        (splice(&from, NONE, &from, NONE, 4), EINVAL),
        (splice(&read, NONE, &write, NONE, 4), EINVAL),
        (splice(&write, NONE, &read, NONE, 4), -9),
        (tee(&from, &into, 4), EINVAL),
        (splice(&from, 4, &into, NONE, u32::MAX), 0),
        (splice(&from, 2, &into, NONE, u32::MAX), 2),
        (copies, 4),
    ] {
        equal!((entry, one(&mut ring, entry)?), (entry, expected));
    }
    // Nobody reads: an error, and no signal.
    drop(target);
    equal!(one(&mut ring, right)?, -32);
    equal!(one(&mut ring, copies)?, -32);
    equal!(one(&mut ring, splice(&from, 0, &into, NONE, 4))?, -32);
    Ok(())
}
