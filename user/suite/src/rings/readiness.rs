//! Waiting for descriptors by ring: once, and at each change.

use super::calls::{call_of, one};
use super::*;
use rt::abi::poll::POLLHUP;
use rt::time::Duration;

pub const CASES: &[Case] = &[
    case!("ring/polls", "C4 I1", polls),
    case!("ring/polls-again-and-again", "C4 I1", polls_again_and_again),
    case!("ring/polls-itself", "C4 E1", polls_itself),
    case!("ring/wrong-polls", "C4 E1", wrong_polls),
];

const IN: u32 = POLLIN as u32;

fn poll(fd: i32, events: u32) -> Sqe {
    Sqe { op_flags: events, ..call_of(IORING_OP_POLL_ADD, fd) }
}

fn remove(user_data: u64) -> Sqe {
    Sqe { addr: user_data, user_data: 90, ..call_of(IORING_OP_POLL_REMOVE, -1) }
}

fn polls() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    equal!(run(&mut ring, &[poll(write.fd().raw(), POLLOUT.into())])?, [(7, POLLOUT.into())]);
    for _ in 0..20 {
        push(&mut ring, &[poll(read.fd().raw(), IN)]);
        equal!(ring.submit(0)?, 1);
        ensure!(ring.pop().is_none(), "nothing is there");
        io::Write::write_all(&mut write, b"x")?;
        equal!(wait(&mut ring, 1)?, [(7, POLLIN.into())]);
        // It takes nothing.
        equal!(run(&mut ring, &[poll(read.fd().raw(), IN)])?, [(7, POLLIN.into())]);
        waiting::takes_nothing(&read, &mut write)?;
        waiting::takes_nothing(&read, &mut write)?;
        let mut byte = 0u8;
        equal!(call!(READ, read.fd().raw(), &raw mut byte, 1)?, 1);
    }
    push(&mut ring, &[poll(read.fd().raw(), IN), remove(7)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (90, 0)]);
    equal!(one(&mut ring, Sqe { user_data: 7, ..remove(7) })?, -2);
    // The end is reported unasked.
    push(&mut ring, &[poll(read.fd().raw(), 0)]);
    equal!(ring.submit(0)?, 1);
    drop(write);
    equal!(wait(&mut ring, 1)?, [(7, POLLHUP.into())]);
    Ok(())
}

fn take(ring: &mut Ring) -> Result<(i32, u32), Trouble> {
    loop {
        match ring.pop() {
            Some(cqe) => return Ok((cqe.res, cqe.flags)),
            None => drop(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?),
        }
    }
}

fn polls_again_and_again() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let again = |fd| Sqe { len: IORING_POLL_ADD_MULTI, ..poll(fd, IN) };
    push(&mut ring, &[again(read.fd().raw())]);
    equal!(ring.submit(0)?, 1);
    for _ in 0..50 {
        io::Write::write_all(&mut write, b"x")?;
        equal!(take(&mut ring)?, (POLLIN.into(), IORING_CQE_F_MORE));
        let mut byte = 0u8;
        equal!(call!(READ, read.fd().raw(), &raw mut byte, 1)?, 1);
    }
    thread::sleep(Duration::from_millis(5));
    ensure!(ring.pop().is_none(), "nothing has changed");
    push(&mut ring, &[remove(7)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (90, 0)]);
    // What nobody takes ends it; nothing is lost of that it has ended.
    let event = raw::file(call!(EVENTFD2, 0, 0)?);
    push(&mut ring, &[again(event.fd().raw())]);
    equal!(ring.submit(0)?, 1);
    let one = 1u64;
    while raw::atomic(ring.address(at::SQ_FLAGS)).load(Relaxed) & IORING_SQ_CQ_OVERFLOW == 0 {
        equal!(call!(WRITE, event.fd().raw(), &raw const one, 8)?, 8);
    }
    let mut flags = Vec::new();
    while flags.last() != Some(&0) {
        flags.push(take(&mut ring)?.1);
    }
    equal!(flags.len(), 8 + 1);
    // A file that never changes says so once.
    let file = rt::fs::File::open("/proc/self/stat")?;
    equal!(run(&mut ring, &[again(file.fd().raw())])?, [(7, POLLIN.into())]);
    Ok(())
}

fn polls_itself() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let own = ring.fd().raw();
    for len in [0, IORING_POLL_ADD_MULTI] {
        push(&mut ring, &[Sqe { len, ..poll(own, IN) }]);
        equal!(ring.submit(0)?, 1);
        ensure!(ring.pop().is_none(), "nothing is there");
        push(&mut ring, &[nop(1, 0, 1)]);
        equal!(wait_sorted(&mut ring, 2)?, [(1, 1), (7, POLLIN.into())]);
    }
    // Two that wait for each other; then all of it goes.
    let mut other = Ring::new(4, 0)?;
    push(&mut ring, &[Sqe { len: IORING_POLL_ADD_MULTI, ..poll(other.fd().raw(), IN) }]);
    push(&mut other, &[Sqe { len: IORING_POLL_ADD_MULTI, ..poll(own, IN) }]);
    equal!((ring.submit(0)?, other.submit(0)?), (1, 1));
    push(&mut ring, &[nop(1, 0, 1)]);
    equal!(ring.submit(0)?, 1);
    thread::sleep(Duration::from_millis(5));
    let (here, there) = (reap(&mut ring).len(), reap(&mut other).len());
    ensure!((1..=2).contains(&here) && there == 1, "{here} {there}");
    Ok(())
}

fn wrong_polls() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let plain = poll(ring.fd().raw(), IN);
    let wrong = [
        (Sqe { buf_index: 1, ..plain }, EINVAL),
        (Sqe { off: 1, ..plain }, EINVAL),
        (Sqe { addr: 1, ..plain }, EINVAL),
        (Sqe { len: 1 << 5, ..plain }, EINVAL),
        (Sqe { len: 1, flags: IOSQE_CQE_SKIP_SUCCESS, ..plain }, EINVAL),
        (Sqe { flags: IOSQE_FIXED_FILE, ..plain }, -9),
        (Sqe { fd: 200, ..plain }, -9),
        (Sqe { len: 1, fd: -1, ..plain }, -9),
        (Sqe { len: 1 << 7, ..call_of(IORING_OP_POLL_REMOVE, -1) }, EINVAL),
        (Sqe { off: 1, ..call_of(IORING_OP_POLL_REMOVE, -1) }, EINVAL),
    ];
    for (entry, errno) in wrong {
        let found = run(&mut ring, &[entry])?;
        ensure!(found == [(7, errno)], "{found:?} of {entry:?}");
    }
    Ok(())
}
