//! Waiting for descriptors by ring: once, and at each change.

use super::calls::{call_of, one};
use super::*;
use rt::abi::poll::{EPOLLEXCLUSIVE, POLLHUP};
use rt::time::Duration;

pub const CASES: &[Case] = &[
    case!("ring/polls", "C4 I1", polls),
    case!("ring/polls-again-and-again", "C4 I1", polls_again_and_again),
    case!("ring/polls-tell-what-is-gone", "C4 I1 D3", tell_what_is_gone),
    case!("ring/polls-are-told-by-then", "C4 I1 D3", told_by_then),
    case!("ring/polls-are-shown-when-asked", "C4 I1", shown_when_asked),
    case!("ring/polls-what-tells-of-it", "C4 E1", polls_what_tells),
    case!("ring/changes-polls", "C4 I1", changes),
    case!("ring/changes-polls-as-they-end", "C4 D14", changes_at_the_end),
    case!("ring/polls-itself", "C4 E1", polls_itself),
    case!("ring/wrong-polls", "C4 E1", wrong_polls),
    case!("ring/changes-a-set-of-events", "C4 I1 D3", changes_a_set),
    case!("ring/one-of-several-hears", "C4 I1", one_hears),
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

/// What comes and is taken before anybody looks is told all the same, once.
fn tell_what_is_gone() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let event = raw::file(call!(EVENTFD2, 0, 0)?);
    let (read, mut write) = rt::pipe::pipe()?;
    let fd = event.fd().raw();
    for round in 0..100 {
        let (mut value, one, mut byte) = (0u64, 1u64, 0u8);
        let again = round % 2 * IORING_POLL_ADD_MULTI;
        push(&mut ring, &[Sqe { len: again, user_data: 1, ..poll(fd, IN) }]);
        push(&mut ring, &[Sqe { len: again, user_data: 2, ..poll(read.fd().raw(), IN) }]);
        equal!(ring.submit(0)?, 2);
        equal!(call!(WRITE, fd, &raw const one, 8)?, 8);
        equal!(call!(READ, fd, &raw mut value, 8)?, 8);
        io::Write::write_all(&mut write, b"x")?;
        equal!(call!(READ, read.fd().raw(), &raw mut byte, 1)?, 1);
        equal!(wait_sorted(&mut ring, 2)?, [(1, IN as i32), (2, IN as i32)]);
        if again != 0 {
            push(&mut ring, &[Sqe { user_data: 91, ..remove(1) }, Sqe { user_data: 92, ..remove(2) }]);
            equal!(wait_sorted(&mut ring, 4)?, [(1, CANCELLED), (2, CANCELLED), (91, 0), (92, 0)]);
            // So is what held when it was submitted.
            equal!(call!(WRITE, fd, &raw const one, 8)?, 8);
            push(&mut ring, &[Sqe { len: again, user_data: 1, ..poll(fd, IN) }]);
            equal!(ring.submit(0)?, 1);
            equal!(call!(READ, fd, &raw mut value, 8)?, 8);
            equal!(wait(&mut ring, 1)?, [(1, IN as i32)]);
            push(&mut ring, &[Sqe { user_data: 91, ..remove(1) }]);
            equal!(wait_sorted(&mut ring, 2)?, [(1, CANCELLED), (91, 0)]);
        }
    }
    // An end is not something to read.
    push(&mut ring, &[poll(read.fd().raw(), IN)]);
    equal!(ring.submit(0)?, 1);
    drop(write);
    equal!(wait(&mut ring, 1)?, [(7, POLLHUP.into())]);
    Ok(())
}

/// What is in the ring's memory: no call is made.
fn told(ring: &mut Ring) -> Vec<(u64, i32, u32)> {
    core::iter::from_fn(|| ring.pop()).map(|cqe| (cqe.user_data, cqe.res, cqe.flags)).collect()
}

/// An event is told before the call that brings it about has come back, each for itself: nothing else is called.
fn told_by_then() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    for round in 0..200 {
        let again = round % 2 * IORING_POLL_ADD_MULTI;
        let more = if again == 0 { 0 } else { IORING_CQE_F_MORE };
        let event = raw::file(call!(EVENTFD2, 0, 0)?);
        let (read, mut write) = rt::pipe::pipe()?;
        let mut other = Ring::new(4, 0)?;
        let watched = [(1, event.fd().raw()), (2, event.fd().raw()), (3, read.fd().raw())];
        let polls = watched.map(|(user_data, fd)| Sqe { len: again, user_data, ..poll(fd, IN) });
        push(&mut ring, &polls);
        push(&mut ring, &[Sqe { len: again, user_data: 4, ..poll(other.fd().raw(), IN) }]);
        equal!(ring.submit(0)?, 4);
        ensure!(told(&mut ring).is_empty(), "nothing is there");
        for _ in 0..if again == 0 { 1 } else { 3 } {
            let (mut value, one, mut byte) = (0u64, 1u64, 0u8);
            equal!(call!(WRITE, event.fd().raw(), &raw const one, 8)?, 8);
            equal!(told(&mut ring), [(1, IN as i32, more), (2, IN as i32, more)]);
            equal!(call!(READ, event.fd().raw(), &raw mut value, 8)?, 8);
            io::Write::write_all(&mut write, b"x")?;
            equal!(told(&mut ring), [(3, IN as i32, more)]);
            equal!(call!(READ, read.fd().raw(), &raw mut byte, 1)?, 1);
        }
        // Of a ring a poll hears once.
        push(&mut other, &[nop(1, 0, 1)]);
        equal!(other.submit(0)?, 1);
        equal!(told(&mut ring), [(4, IN as i32, 0)]);
        push(&mut ring, &[Sqe { user_data: 5, ..poll(read.fd().raw(), 0) }]);
        equal!(ring.submit(0)?, 1);
        drop(write);
        let ends = told(&mut ring);
        let all_end = ends.iter().all(|(_, res, _)| *res == i32::from(POLLHUP));
        ensure!(all_end && ends.len() == if again == 0 { 1 } else { 2 }, "{ends:?}");
        push(&mut ring, &[Sqe { user_data: 99, ..cancel_of(0, IORING_ASYNC_CANCEL_ANY) }]);
        let left = if again == 0 { 0 } else { 3 };
        equal!(wait(&mut ring, left + 1)?.len(), left as usize + 1);
    }
    Ok(())
}

/// With `DEFER_TASKRUN` they are there by then too, and the submitter is told so, but it does not see them before it asks.
fn shown_when_asked() -> Outcome {
    let flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    for _ in 0..50 {
        let mut ring = Ring::new(4, flags)?;
        let event = raw::file(call!(EVENTFD2, 0, 0)?);
        push(&mut ring, &[poll(event.fd().raw(), IN)]);
        equal!(ring.submit(0)?, 1);
        let says_so = |ring: &Ring| raw::atomic(ring.address(at::SQ_FLAGS)).load(Relaxed) & IORING_SQ_TASKRUN != 0;
        ensure!(!says_so(&ring), "nothing is there");
        let one = 1u64;
        equal!(call!(WRITE, event.fd().raw(), &raw const one, 8)?, 8);
        ensure!(says_so(&ring), "it is there, and nobody was told");
        equal!(told(&mut ring), []);
        ring.flush()?;
        equal!(told(&mut ring), [(7, IN as i32, 0)]);
        // So is what holds already, of one that goes on.
        push(&mut ring, &[Sqe { len: IORING_POLL_ADD_MULTI, ..poll(event.fd().raw(), IN) }]);
        equal!(ring.submit(0)?, 1);
        ensure!(says_so(&ring), "it is there already");
        equal!(told(&mut ring), []);
        ring.flush()?;
        equal!(told(&mut ring), [(7, IN as i32, IORING_CQE_F_MORE)]);
    }
    Ok(())
}

/// The counter that tells of a ring's completions, polled by that: what it says of a change tells of itself, and so the next is the last.
fn polls_what_tells() -> Outcome {
    for _ in 0..50 {
        let mut ring = Ring::new(4, 0)?;
        let event = raw::file(call!(EVENTFD2, 0, 0)?);
        let fd = event.fd().raw();
        equal!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_EVENTFD, &raw const fd, 1)?, 0);
        push(&mut ring, &[Sqe { len: IORING_POLL_ADD_MULTI, ..poll(fd, IN) }]);
        equal!(ring.submit(0)?, 1);
        let one = 1u64;
        equal!(call!(WRITE, fd, &raw const one, 8)?, 8);
        equal!(take(&mut ring)?, (IN as i32, IORING_CQE_F_MORE));
        equal!(take(&mut ring)?, (IN as i32, 0));
        push(&mut ring, &[remove(7)]);
        equal!(wait(&mut ring, 1)?, [(90, -2)]);
    }
    Ok(())
}

fn update(user_data: u64) -> Sqe {
    Sqe { len: IORING_POLL_UPDATE_EVENTS, user_data: 7, ..remove(user_data) }
}

/// What is waited for, and what comes back with it.
fn changes() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let event = raw::file(call!(EVENTFD2, 0, 0)?);
    let fd = event.fd().raw();
    let renamed = |old, new| Sqe { len: IORING_POLL_UPDATE_USER_DATA, off: new, user_data: 90, ..update(old) };
    // To what holds already, and back before that.
    push(&mut ring, &[Sqe { user_data: 1, ..poll(fd, IN) }]);
    equal!(ring.submit(0)?, 1);
    equal!(one(&mut ring, Sqe { op_flags: 0, ..update(1) })?, 0);
    equal!(one(&mut ring, Sqe { op_flags: IN, ..update(1) })?, 0);
    push(&mut ring, &[Sqe { op_flags: POLLOUT as u32, ..update(1) }]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, POLLOUT.into()), (7, 0)]);
    equal!(one(&mut ring, update(1))?, -2);
    // Found by its new name in the same submission, and no more by the old one.
    push(&mut ring, &[Sqe { user_data: 1, ..poll(fd, IN) }, renamed(1, 2), Sqe { user_data: 91, ..remove(1) }]);
    equal!(wait_sorted(&mut ring, 2)?, [(90, 0), (91, -2)]);
    let both = IORING_POLL_UPDATE_USER_DATA | IORING_POLL_UPDATE_EVENTS;
    push(&mut ring, &[Sqe { len: both, op_flags: POLLOUT as u32, ..renamed(2, 3) }]);
    equal!(wait_sorted(&mut ring, 2)?, [(3, POLLOUT.into()), (90, 0)]);
    push(&mut ring, &[Sqe { user_data: 1, ..poll(fd, IN) }, renamed(1, 2), Sqe { user_data: 91, ..remove(2) }]);
    equal!(wait_sorted(&mut ring, 3)?, [(2, CANCELLED), (90, 0), (91, 0)]);
    // One that repeats goes on so, whatever the change says of that.
    push(&mut ring, &[Sqe { user_data: 1, len: IORING_POLL_ADD_MULTI, ..poll(fd, IN) }, renamed(1, 2)]);
    equal!(wait_sorted(&mut ring, 1)?, [(90, 0)]);
    for _ in 0..20 {
        let (mut value, one) = (0u64, 1u64);
        equal!(call!(WRITE, fd, &raw const one, 8)?, 8);
        equal!(take(&mut ring)?, (POLLIN.into(), IORING_CQE_F_MORE));
        equal!(call!(READ, fd, &raw mut value, 8)?, 8);
    }
    push(&mut ring, &[Sqe { user_data: 91, ..remove(2) }]);
    equal!(wait_sorted(&mut ring, 2)?, [(2, CANCELLED), (91, 0)]);
    Ok(())
}

/// A change that says it was done holds for the completion; one that came too late changes nothing.
fn changes_at_the_end() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let event = raw::file(call!(EVENTFD2, 0, 0)?);
    let fd = event.fd().raw();
    for _ in 0..200 {
        let (mut value, one) = (0u64, 1u64);
        push(&mut ring, &[Sqe { user_data: 1, ..poll(fd, IN) }]);
        equal!(ring.submit(0)?, 1);
        equal!(call!(WRITE, fd, &raw const one, 8)?, 8);
        push(&mut ring, &[Sqe { len: IORING_POLL_UPDATE_USER_DATA, off: 2, user_data: 90, ..update(1) }]);
        let found = wait_sorted(&mut ring, 2)?;
        let expected = [[(2, IN as i32), (90, 0)], [(1, IN as i32), (90, -2)], [(1, IN as i32), (90, -114)]];
        ensure!(expected.iter().any(|expected| found == expected), "{found:?}");
        equal!(call!(READ, fd, &raw mut value, 8)?, 8);
    }
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
        (Sqe { len: IORING_POLL_ADD_LEVEL, ..plain }, EINVAL),
        (Sqe { len: IORING_POLL_ADD_MULTI, ..call_of(IORING_OP_POLL_REMOVE, -1) }, EINVAL),
        (Sqe { len: IORING_POLL_ADD_LEVEL | IORING_POLL_UPDATE_EVENTS, ..update(1) }, EINVAL),
        (Sqe { len: IORING_POLL_UPDATE_EVENTS, off: 1, ..update(1) }, EINVAL),
        (Sqe { len: IORING_POLL_UPDATE_USER_DATA, op_flags: IN, ..update(1) }, EINVAL),
        (Sqe { buf_index: 1, ..update(1) }, EINVAL),
        (Sqe { user_data: 7, ..update(1) }, -2),
    ];
    for (entry, errno) in wrong {
        let found = run(&mut ring, &[entry])?;
        ensure!(found == [(7, errno)], "{found:?} of {entry:?}");
    }
    Ok(())
}

/// A set of events is changed by entries.
fn changes_a_set() -> Outcome {
    use rt::abi::poll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, EpollEvent};
    let mut ring = Ring::new(8, 0)?;
    let set = raw::file(call!(EPOLL_CREATE1, 0)?);
    let (read, mut write) = rt::pipe::pipe()?;
    io::Write::write_all(&mut write, b"x")?;
    let (set, fd) = (set.fd().raw(), read.fd().raw());
    let mut change = |set: i32, operation: u32, fd: i32, event: &EpollEvent| {
        let addr = core::ptr::from_ref(event) as u64;
        one(&mut ring, Sqe { addr, len: operation, off: fd as u64, ..call_of(IORING_OP_EPOLL_CTL, set) })
    };
    let found = || {
        let mut events = [EpollEvent { events: 0, pad: 0, data: 0 }; 2];
        let count = call!(EPOLL_PWAIT, set, events.as_mut_ptr(), 2, 0, 0, 8)?;
        Ok::<_, Errno>(events[..count].iter().map(|event| event.data).collect::<Vec<_>>())
    };
    let event = |events, data| EpollEvent { events, pad: 0, data };
    equal!(change(set, EPOLL_CTL_ADD, fd, &event(EPOLLIN, 11))?, 0);
    equal!(found()?, [11]);
    equal!(change(set, EPOLL_CTL_ADD, fd, &event(EPOLLIN, 12))?, Errno::EEXIST.to_return() as i32);
    equal!(change(set, EPOLL_CTL_MOD, fd, &event(EPOLLIN, 13))?, 0);
    equal!(found()?, [13]);
    equal!(change(set, EPOLL_CTL_MOD, fd, &event(0, 14))?, 0);
    equal!(found()?, []);
    equal!(change(set, EPOLL_CTL_DEL, fd, &event(0, 0))?, 0);
    equal!(change(set, EPOLL_CTL_DEL, fd, &event(0, 0))?, Errno::ENOENT.to_return() as i32);
    equal!(change(set, 9, fd, &event(0, 0))?, -22);
    equal!(change(fd, EPOLL_CTL_ADD, write.fd().raw(), &event(0, 0))?, -22);
    equal!(change(set, EPOLL_CTL_ADD, 9_999, &event(0, 0))?, Errno::EBADF.to_return() as i32);
    let fault = Sqe { addr: 8, len: EPOLL_CTL_ADD, off: fd as u64, ..call_of(IORING_OP_EPOLL_CTL, set) };
    equal!(one(&mut ring, fault)?, Errno::EFAULT.to_return() as i32);
    for wrong in [Sqe { buf_index: 1, ..fault }, Sqe { file_index: 1, ..fault }] {
        equal!(one(&mut ring, wrong)?, -22);
    }
    Ok(())
}

/// Of several polls for the same one hears of a change; if it is removed instead, another, and of an end all.
fn one_hears() -> Outcome {
    for multi in [0, IORING_POLL_ADD_MULTI] {
        let mut ring = Ring::new(16, 0)?;
        ensure!(ring.features() & IORING_FEAT_POLL_32BITS != 0, "32 bits");
        let (read, mut write) = rt::pipe::pipe()?;
        let fd = read.fd().raw();
        let exclusive = |user_data| Sqe { len: multi, user_data, ..poll(fd, IN | EPOLLEXCLUSIVE) };
        push(&mut ring, &[exclusive(1), exclusive(2), exclusive(3), Sqe { user_data: 4, ..poll(fd, IN) }]);
        equal!(ring.submit(0)?, 4);
        thread::sleep(Duration::from_millis(5));
        io::Write::write_all(&mut write, b"x")?;
        // One of them, and the one that is not.
        let found = wait_sorted(&mut ring, 2)?;
        ensure!(matches!(found[..], [(1..=3, 1), (4, 1)]), "{found:?}");
        thread::sleep(Duration::from_millis(5));
        ensure!(ring.pop().is_none(), "another heard of it");
        let mut byte = 0u8;
        equal!(call!(READ, fd, &raw mut byte, 1)?, 1);
        // All of the end.
        drop(write);
        let mut left = wait_sorted(&mut ring, if multi == 0 { 2 } else { 3 })?;
        left.retain(|(_, res)| *res == i32::from(POLLHUP));
        equal!(left.len(), if multi == 0 { 2 } else { 3 });
    }
    Ok(())
}
