//! Requests that wait: for bytes, to be cancelled, for the end of their ring or process.

use super::*;
use rt::fs::File;

pub const CASES: &[Case] = &[
    case!("ring/files", "C4 C5 D3", files),
    case!("ring/waits-for-bytes", "C4 D2 D4", waits_for_bytes),
    case!("ring/one-that-has-ended-serves-the-next", "C4 D13 D14", ended_serves_the_next),
    case!("ring/waits-with-memory-that-is-not-there", "C4 D14 D15", waits_with_memory_that_is_not_there),
    case!("ring/thousands-wait", "C4 D4 D13", thousands_wait),
    case!("ring/cancel", "C4 D14", cancel),
    case!("ring/cancel-against-completion", "C4 D14", cancel_against_completion),
    case!("ring/closed-while-requests-wait", "C4 D14", closed_while_requests_wait),
    case!("ring/process-ends-while-requests-wait", "C4 D14 P1", process_ends_while_requests_wait),
    case!("ring/memory-goes-while-requests-wait", "C4 D15 S6", memory_goes_while_requests_wait),
];

fn files() -> Outcome {
    let file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open("/tmp/ring-files")?;
    let mut ring = Ring::new(8, 0)?;
    let mut content: Vec<u8> = (0..20_000u32).map(|number| number as u8).collect();
    push(&mut ring, &[transfer(IORING_OP_WRITE, file.fd().raw(), &mut content, 0)]);
    equal!(wait(&mut ring, 1)?, [(7, 20_000)]);
    // Into memory that has not been touched, at the position, and beyond the end.
    let fresh = crate::process::map(5 * PAGE, crate::process::RW)?;
    let there = raw::bytes(fresh, 20_000);
    push(&mut ring, &[transfer(IORING_OP_READ, file.fd().raw(), there, 0)]);
    equal!(wait(&mut ring, 1)?, [(7, 20_000)]);
    ensure!(raw::bytes(fresh, 20_000) == content, "other bytes");
    // A part of which is there: it is whole all the same, and so it is by the call.
    for by_ring in [true, false] {
        call!(MADVISE, fresh + PAGE, 4 * PAGE, m::MADV_DONTNEED)?;
        let moved = if by_ring {
            push(&mut ring, &[transfer(IORING_OP_READ, file.fd().raw(), there, 0)]);
            wait(&mut ring, 1)?
        } else {
            alloc::vec![(7, call!(PREAD64, file.fd().raw(), fresh, 20_000, 0)? as i32)]
        };
        equal!(moved, [(7, 20_000)]);
        ensure!(raw::bytes(fresh, 20_000) == content, "other bytes");
    }
    let mut some = [0u8; 100];
    for expected in [0, 100, 200] {
        push(&mut ring, &[transfer(IORING_OP_READ, file.fd().raw(), &mut some, u64::MAX)]);
        equal!(wait(&mut ring, 1)?, [(7, 100)]);
        equal!(some[0], expected);
    }
    push(&mut ring, &[transfer(IORING_OP_READ, file.fd().raw(), &mut some, 30_000)]);
    equal!(wait(&mut ring, 1)?, [(7, 0)]);
    push(&mut ring, &[transfer(IORING_OP_READ, 200, &mut some, 0)]);
    equal!(wait(&mut ring, 1)?, [(7, -9)]);
    call!(MUNMAP, fresh, 5 * PAGE)?;
    rt::fs::remove_file("/tmp/ring-files")?;
    Ok(())
}

/// What has ended is not found in the place of the next, keeps no file, and is cancelled no more than the next is.
fn ended_serves_the_next() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    for round in 0..20u8 {
        let (first, mut to_first) = rt::pipe::pipe()?;
        let (second, mut to_second) = rt::pipe::pipe()?;
        let (mut one, mut two) = ([0u8; 4], [0u8; 4]);
        push(&mut ring, &[Sqe { user_data: 1, ..transfer(IORING_OP_READ, first.fd().raw(), &mut one, 0) }]);
        equal!(ring.submit(0)?, 1);
        io::Write::write_all(&mut to_first, &[round; 2])?;
        equal!(wait(&mut ring, 1)?, [(1, 2)]);
        push(&mut ring, &[Sqe { user_data: 2, ..transfer(IORING_OP_READ, second.fd().raw(), &mut two, 0) }]);
        equal!(ring.submit(0)?, 1);
        push(&mut ring, &[cancel_of(1, 0)]);
        equal!(wait(&mut ring, 1)?, [(99, -2)]);
        drop(first);
        let (mut fds, limit) = ([PollFd { fd: to_first.fd().raw(), events: 0, revents: 0 }], millis(20_000));
        call!(PPOLL, fds.as_mut_ptr(), 1, &raw const limit, 0, 0)?;
        equal!(fds[0].revents, POLLERR);
        io::Write::write_all(&mut to_second, &[round; 3])?;
        equal!(wait(&mut ring, 1)?, [(2, 3)]);
        equal!((one, two), ([round, round, 0, 0], [round, round, round, 0]));
        push(&mut ring, &[Sqe { user_data: 3, ..transfer(IORING_OP_READ, second.fd().raw(), &mut two, 0) }]);
        equal!(ring.submit(0)?, 1);
        push(&mut ring, &[cancel_of(3, 0)]);
        equal!(wait_sorted(&mut ring, 2)?, [(3, -125), (99, 0)]);
    }
    Ok(())
}

fn waits_for_bytes() -> Outcome {
    for flags in [0, IORING_SETUP_SINGLE_ISSUER] {
        let mut ring = Ring::new(8, flags)?;
        let (read, mut write) = rt::pipe::pipe()?;
        for round in 0..50u8 {
            let mut bytes = [0u8; 4];
            push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0)]);
            equal!(ring.submit(0)?, 1);
            ensure!(ring.pop().is_none(), "there are no bytes yet");
            io::Write::write_all(&mut write, &[round; 4])?;
            equal!(wait(&mut ring, 1)?, [(7, 4)]);
            equal!(bytes, [round; 4]);
        }
        // A thread writes while this one waits; the last descriptor goes meanwhile.
        let mut bytes = [0u8; 8];
        push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0)]);
        equal!(ring.submit(0)?, 1);
        drop(read);
        let writer = thread::spawn(move || io::Write::write_all(&mut write, b"from far"))?;
        equal!(wait(&mut ring, 1)?, [(7, 8)]);
        equal!(&bytes, b"from far");
        let _ = writer.join();
    }
    Ok(())
}

/// What comes finds no page to go into: that is made first. Others wait meanwhile, and may be cancelled.
fn waits_with_memory_that_is_not_there() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let fresh = crate::process::map(2 * PAGE, crate::process::RW)?;
    for round in 0..50u8 {
        call!(MADVISE, fresh, 2 * PAGE, m::MADV_DONTNEED)?;
        // Over both pages.
        let first = transfer(IORING_OP_READ, read.fd().raw(), raw::bytes(fresh + PAGE - 2, 4), 0);
        let second = Sqe { user_data: 8, ..transfer(IORING_OP_READ, read.fd().raw(), raw::bytes(fresh, 4), 0) };
        push(&mut ring, &[first, second]);
        equal!(ring.submit(0)?, 2);
        io::Write::write_all(&mut write, &[round; 4])?;
        let found = wait(&mut ring, 1)?;
        // Either has them.
        let (addr, other) = match found[..] {
            [(7, 4)] => (fresh + PAGE - 2, 8),
            [(8, 4)] => (fresh, 7),
            _ => return Err(Trouble::failed(format_args!("{found:?}"))),
        };
        equal!(raw::bytes(addr, 4), [round; 4]);
        push(&mut ring, &[cancel_of(other, 0)]);
        equal!(wait_sorted(&mut ring, 2)?, [(other, CANCELLED), (99, 0)]);
    }
    call!(MUNMAP, fresh, 2 * PAGE)?;
    takes_nothing(&read, &mut write)
}

fn thousands_wait() -> Outcome {
    const COUNT: usize = 4_000;
    let mut ring = Ring::new(256, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut bytes = alloc::vec![0u8; COUNT];
    for (number, byte) in bytes.chunks_mut(1).enumerate() {
        let entry = transfer(IORING_OP_READ, read.fd().raw(), byte, 0);
        if !ring.push_raw(&Sqe { user_data: number as u64, ..entry }) {
            ring.submit(0)?;
            ring.push_raw(&Sqe { user_data: number as u64, ..entry });
        }
    }
    ring.submit(0)?;
    io::Write::write_all(&mut write, &alloc::vec![1u8; COUNT])?;
    let mut seen = alloc::vec![false; COUNT];
    for _ in 0..COUNT {
        let cqe = loop {
            match ring.pop() {
                Some(cqe) => break cqe,
                None => drop(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?),
            }
        };
        equal!(cqe.res, 1);
        ensure!(!core::mem::replace(&mut seen[cqe.user_data as usize], true), "twice: {}", cqe.user_data);
    }
    ensure!(bytes.iter().all(|byte| *byte == 1), "a byte is missing");
    Ok(())
}

fn cancel() -> Outcome {
    let mut ring = Ring::new(64, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    let waits = |byte: &mut [u8], user_data| Sqe { user_data, ..transfer(IORING_OP_READ, read.fd().raw(), byte, 0) };
    push(&mut ring, &[cancel_of(1, 0)]);
    equal!(wait(&mut ring, 1)?, [(99, -2)]);
    push(&mut ring, &[waits(&mut byte, 1), waits(&mut byte, 2)]);
    equal!(ring.submit(0)?, 2);
    push(&mut ring, &[cancel_of(1, 0)]);
    let mut found = wait(&mut ring, 2)?;
    found.sort_unstable();
    equal!(found, [(1, CANCELLED), (99, 0)]);
    // All at once; the pipe has its bytes for others.
    for _ in 0..20 {
        push(&mut ring, &[waits(&mut byte, 3)]);
    }
    equal!(ring.submit(0)?, 20);
    push(&mut ring, &[cancel_of(3, IORING_ASYNC_CANCEL_ALL)]);
    let mut found = wait(&mut ring, 21)?;
    found.sort_unstable();
    ensure!(found[..20].iter().all(|one| *one == (3, CANCELLED)) && found[20] == (99, 20), "{found:?}");
    push(&mut ring, &[cancel_of(0, IORING_ASYNC_CANCEL_ANY)]);
    let mut found = wait(&mut ring, 2)?;
    found.sort_unstable();
    equal!(found, [(2, CANCELLED), (99, 1)]);
    takes_nothing(&read, &mut write)
}

/// No request of this pipe goes on: what is written is for who reads.
pub fn takes_nothing(read: &File, write: &mut File) -> Outcome {
    io::Write::write_all(write, b"x")?;
    let mut byte = 0u8;
    equal!(call!(READ, read.fd().raw(), &raw mut byte, 1)?, 1);
    Ok(())
}

fn cancel_against_completion() -> Outcome {
    // A byte comes while its reader is cancelled: either has it, and the answers agree.
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (go, done) = (Shared::new()?, Shared::new()?);
    const ROUNDS: u32 = 300;
    let writer = thread::spawn(move || {
        for round in 1..=ROUNDS {
            go.await_least(0, round);
            let _ = io::Write::write_all(&mut write, b"x");
            done.set(0, round);
        }
    })?;
    let mut byte = [0u8];
    for round in 1..=ROUNDS {
        push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0)]);
        equal!(ring.submit(0)?, 1);
        go.set(0, round);
        (0..round % 50 * 20).for_each(|_| core::hint::spin_loop());
        push(&mut ring, &[cancel_of(7, 0)]);
        let mut found = wait(&mut ring, 2)?;
        found.sort_unstable();
        done.await_least(0, round);
        match found[..] {
            // Linux says so, or that it is under way.
            [(7, 1), (99, error)] => ensure!([-2, -114].contains(&error), "{error}"),
            [(7, CANCELLED), (99, 0)] => equal!(call!(READ, read.fd().raw(), byte.as_mut_ptr(), 1)?, 1),
            _ => return Err(Trouble::failed(format_args!("{found:?}"))),
        }
    }
    let _ = writer.join();
    Ok(())
}

fn closed_while_requests_wait() -> Outcome {
    let (read, mut write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    for _ in 0..20 {
        let mut ring = Ring::new(8, 0)?;
        for _ in 0..8 {
            push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0)]);
        }
        equal!(ring.submit(0)?, 8);
    }
    // What is left of them ends in a while, and takes nothing.
    thread::sleep(core::time::Duration::from_millis(50));
    takes_nothing(&read, &mut write)
}

fn process_ends_while_requests_wait() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let tail = raw::atomic(ring.address(at::SQ_TAIL));
    let mut byte = [0u8];
    ring.push_raw(&transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0));
    let fd = ring.fd().raw();
    let pid = checked_child(|| {
        tail.fetch_add(1, Relaxed);
        equal!(call!(IO_URING_ENTER, fd, 1, 0, 0, 0, 0)?, 1);
        Ok(())
    })?;
    exits(pid, 0)?;
    // Its memory is gone; the byte is for others.
    call!(IO_URING_ENTER, fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?;
    let found = reap(&mut ring);
    ensure!(matches!(found[..], [(7, error)] if error < 0), "{found:?}");
    takes_nothing(&read, &mut write)
}

fn memory_goes_while_requests_wait() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let page = crate::process::map(PAGE, crate::process::RW)?;
    push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), raw::bytes(page, 4), 0)]);
    equal!(ring.submit(0)?, 1);
    call!(MUNMAP, page, PAGE)?;
    io::Write::write_all(&mut write, b"abcd")?;
    equal!(wait(&mut ring, 1)?, [(7, -14)]);
    let mut bytes = [0u8; 4];
    equal!(call!(READ, read.fd().raw(), bytes.as_mut_ptr(), 4)?, 4);
    Ok(())
}
