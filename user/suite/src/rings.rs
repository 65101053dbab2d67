//! Rings that are shared with the kernel, as correct programs use them and as others do.

use crate::case::{Case, Outcome, Trouble};
use crate::process::{PAGE, Shared, await_blocked, checked_child, child, exits, millis};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use rt::abi::io_uring::*;
use rt::abi::poll::{POLLIN, POLLOUT, PollFd};
use rt::abi::time::Timespec;
use rt::abi::{Errno, mm as m};
use rt::fs::File;
use rt::io;
use rt::ring::{Ring, at};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("ring/nothing", "C4 D3 D4", nothing),
    case!("ring/links", "C4 D3", links),
    case!("ring/wrong-entries", "C4 E1 D3", wrong_entries),
    case!("ring/setup-is-checked", "C4 E1 D3", setup_is_checked),
    case!("ring/probe", "C4 D3", probe),
    case!("ring/wait-has-a-limit", "C4 D16", wait_has_a_limit),
    case!("ring/all-who-wait-are-woken", "C4 D2", all_who_wait_are_woken),
    case!("ring/is-polled", "C4 I1", is_polled),
    case!("ring/nothing-is-lost-that-is-not-taken", "C4 D4 D13", nothing_is_lost),
    case!("ring/any-value-anywhere", "C4 S6 E1", any_value_anywhere),
    case!("ring/entries-that-change", "C4 S6", entries_that_change),
    case!("ring/mappings", "C4 S6 D15", mappings),
    case!("ring/of-two-processes", "C4 P1", of_two_processes),
    case!("ring/many-rings", "C4 D13", many_rings),
    case!("ring/files", "C4 C5 D3", files),
    case!("ring/waits-for-bytes", "C4 D2 D4", waits_for_bytes),
    case!("ring/thousands-wait", "C4 D4 D13", thousands_wait),
    case!("ring/cancel", "C4 D14", cancel),
    case!("ring/cancel-against-completion", "C4 D14", cancel_against_completion),
    case!("ring/closed-while-requests-wait", "C4 D14", closed_while_requests_wait),
    case!("ring/process-ends-while-requests-wait", "C4 D14 P1", process_ends_while_requests_wait),
    case!("ring/memory-goes-while-requests-wait", "C4 D15 S6", memory_goes_while_requests_wait),
];

const EINVAL: i32 = -22;
const CANCELLED: i32 = -125;

fn nop(user_data: u64, flags: u8, result: i32) -> Sqe {
    let op_flags = IORING_NOP_INJECT_RESULT;
    Sqe { flags, user_data, len: result.cast_unsigned(), op_flags, ..Sqe::default() }
}

fn push(ring: &mut Ring, entries: &[Sqe]) {
    for entry in entries {
        ring.push_raw(entry);
    }
}

/// Submits all of these and takes their completions, which come at once.
fn run(ring: &mut Ring, entries: &[Sqe]) -> io::Result<Vec<(u64, i32)>> {
    push(ring, entries);
    ring.submit(0)?;
    Ok(reap(ring))
}

fn reap(ring: &mut Ring) -> Vec<(u64, i32)> {
    core::iter::from_fn(|| ring.pop()).map(|cqe| (cqe.user_data, cqe.res)).collect()
}

fn nothing() -> Outcome {
    for flags in [0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN] {
        let mut ring = Ring::new(8, flags)?;
        for round in 0..100u64 {
            let count = 1 + round % 8;
            let entries: Vec<Sqe> = (0..count).map(|number| nop(8 * round + number, 0, number as i32)).collect();
            push(&mut ring, &entries);
            equal!(ring.submit(count as u32)?, count as usize);
            let expected: Vec<_> = (0..count).map(|number| (8 * round + number, number as i32)).collect();
            equal!(reap(&mut ring), expected);
        }
        ensure!(
            (0..8).all(|_| ring.push_raw(&nop(0, 0, 0))) && !ring.push_raw(&nop(0, 0, 0)),
            "more than there is room for"
        );
        equal!(ring.submit(0)?, 8);
    }
    Ok(())
}

fn links() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (link, hard, skip) = (IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_CQE_SKIP_SUCCESS);
    let chain = [nop(1, link, 0), nop(2, link, -5), nop(3, link, 0), nop(4, 0, 0), nop(5, 0, 5)];
    equal!(run(&mut ring, &chain)?, [(1, 0), (2, -5), (3, CANCELLED), (4, CANCELLED), (5, 5)]);
    equal!(run(&mut ring, &[nop(1, hard, -7), nop(2, 0, 2)])?, [(1, -7), (2, 2)]);
    equal!(run(&mut ring, &[nop(1, link, 1)])?, [(1, 1)]);
    equal!(run(&mut ring, &[nop(1, skip, 1), nop(2, skip, -1)])?, [(2, -1)]);
    let wrong = Sqe { ioprio: 1, ..nop(2, link, 0) };
    equal!(run(&mut ring, &[nop(1, link, 1), wrong, nop(3, 0, 3)])?, [(1, CANCELLED), (2, EINVAL), (3, CANCELLED)]);
    Ok(())
}

fn wrong_entries() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let plain = nop(9, 0, 0);
    let wrong = [
        Sqe { opcode: 255, ..plain },
        Sqe { flags: 1 << 7, ..plain },
        Sqe { ioprio: 1, ..plain },
        Sqe { op_flags: 1 << 31, ..plain },
        Sqe { personality: 1, ..plain },
    ];
    for entry in wrong {
        // The first that is wrong ends the submission, and is one of it.
        ensure!(ring.push_raw(&entry) && ring.push_raw(&nop(2, 0, 2)));
        equal!(ring.submit(0)?, 1);
        equal!(reap(&mut ring), [(9, EINVAL)]);
        equal!(ring.submit(0)?, 1);
        equal!(reap(&mut ring), [(2, 2)]);
    }
    // A number that no entry has is counted and ends the submission.
    let place = raw::atomic(ring.address(at::SQ_TAIL)).load(Relaxed) & 3;
    ensure!(ring.push_raw(&plain) && ring.push_raw(&nop(2, 0, 2)));
    raw::atomic(ring.number(place)).store(u32::MAX, Relaxed);
    equal!(ring.submit(0)?, 0);
    equal!(raw::atomic(ring.address(at::SQ_DROPPED)).load(Relaxed), 1);
    equal!(ring.submit(0)?, 1);
    equal!(reap(&mut ring), [(2, 2)]);
    Ok(())
}

fn setup(entries: u32, params: &mut Params) -> Result<usize, Errno> {
    call!(IO_URING_SETUP, entries, core::ptr::from_mut(params))
}

fn setup_is_checked() -> Outcome {
    let wrong = [
        (0, Params::default()),
        (32_769, Params::default()),
        (4, Params { resv: [0, 1, 0], ..Params::default() }),
        (4, Params { flags: 1 << 31, ..Params::default() }),
        (4, Params { flags: IORING_SETUP_CQSIZE, cq_entries: 2, ..Params::default() }),
        (4, Params { flags: IORING_SETUP_DEFER_TASKRUN, ..Params::default() }),
        (4, Params { flags: IORING_SETUP_REGISTERED_FD_ONLY, ..Params::default() }),
    ];
    for (entries, mut params) in wrong {
        fails!(setup(entries, &mut params), EINVAL);
    }
    fails!(call!(IO_URING_SETUP, 4, 8), EFAULT);
    let mut params = Params { flags: IORING_SETUP_CLAMP, ..Params::default() };
    let fd = setup(100_000, &mut params)?;
    equal!((params.sq_entries, params.cq_entries), (32_768, 65_536));
    equal!(call!(FCNTL, fd, rt::abi::fs::F_GETFD)?, 1);
    let mut byte = 0u8;
    fails!(call!(READ, fd, &raw mut byte, 1), EINVAL);
    drop(raw::file(fd));
    let (read, _write) = rt::pipe::pipe()?;
    fails!(call!(IO_URING_ENTER, read.fd().raw(), 1, 0, 0, 0, 0), EOPNOTSUPP);
    fails!(call!(IO_URING_ENTER, 200, 1, 0, 0, 0, 0), EBADF);
    fails!(call!(IO_URING_ENTER, 200, 1, 0, 1 << 20, 0, 0), EINVAL);
    Ok(())
}

fn probe() -> Outcome {
    let ring = Ring::new(1, 0)?;
    let mut found = [0u64; 2 + 64];
    let fd = ring.fd().raw();
    call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, found.as_mut_ptr(), 64)?;
    ensure!(found[0] & 0xff >= 57, "the last operation");
    // Each that it claims to have is not refused as unknown, and the others are.
    ensure!(found[2] >> 16 & 1 == 1, "nothing is not there");
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, found.as_mut_ptr(), 64), EINVAL);
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, 8, 64), EFAULT);
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PROBE, found.as_mut_ptr(), 257), EINVAL);
    fails!(call!(IO_URING_REGISTER, fd, 12345, 0, 0), EINVAL);
    Ok(())
}

fn wait_has_a_limit() -> Outcome {
    let ring = Ring::new(1, 0)?;
    let span = millis(20);
    let argument = GetEvents { ts: core::ptr::from_ref(&span) as u64, ..GetEvents::default() };
    let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    let start = rt::time::Instant::now();
    fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, 24), ETIME);
    ensure!(start.elapsed() >= core::time::Duration::from_millis(20), "too early");
    // No time is wrong: one that is over ends the wait at once.
    for (sec, nsec) in [(-1, 0), (0, -1), (i64::MIN, i64::MIN), (-3, 2_000_000_000)] {
        let span = Timespec { sec, nsec };
        let argument = GetEvents { ts: core::ptr::from_ref(&span) as u64, ..GetEvents::default() };
        fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, 24), ETIME);
    }
    fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, &raw const argument, 23), EINVAL);
    fails!(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, flags, 8, 24), EFAULT);
    Ok(())
}

fn all_who_wait_are_woken() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let fd = ring.fd().raw();
    for count in 1..=3u32 {
        let children: Vec<i32> = (0..20)
            .map(|_| {
                checked_child(|| {
                    equal!(call!(IO_URING_ENTER, fd, 0, count, IORING_ENTER_GETEVENTS, 0, 0)?, 0);
                    Ok(())
                })
            })
            .collect::<Result<_, _>>()?;
        children.iter().try_for_each(|&pid| await_blocked(pid))?;
        let entries: Vec<Sqe> = (0..u64::from(count)).map(|number| nop(number, 0, 0)).collect();
        push(&mut ring, &entries);
        equal!(ring.submit(0)?, count as usize);
        children.into_iter().try_for_each(|pid| exits(pid, 0))?;
        equal!(reap(&mut ring).len(), count as usize);
    }
    Ok(())
}

fn is_polled() -> Outcome {
    let mut ring = Ring::new(2, 0)?;
    let poll = |ring: &Ring| {
        let mut fds = [PollFd { fd: ring.fd().raw(), events: POLLIN | POLLOUT, revents: 0 }];
        let zero = millis(0);
        call!(PPOLL, fds.as_mut_ptr(), 1, &raw const zero, 0, 0).map(|_| fds[0].revents)
    };
    equal!(poll(&ring)?, POLLOUT);
    ensure!(ring.push_raw(&nop(1, 0, 0)) && ring.push_raw(&nop(2, 0, 0)));
    equal!(ring.submit(0)?, 2);
    equal!(poll(&ring)?, POLLIN | POLLOUT);
    equal!(reap(&mut ring).len(), 2);
    equal!(poll(&ring)?, POLLOUT);
    Ok(())
}

fn nothing_is_lost() -> Outcome {
    const COUNT: u64 = 60_000;
    let mut ring = Ring::new(256, 0)?;
    for first in (0..COUNT).step_by(250) {
        let entries: Vec<Sqe> = (0..250).map(|number| nop(first + number, 0, 0)).collect();
        push(&mut ring, &entries);
        equal!(ring.submit(0)?, 250);
    }
    let mut next = 0;
    while next < COUNT {
        let found = reap(&mut ring);
        ensure!(!found.is_empty(), "{next} of {COUNT}");
        for (user_data, _) in found {
            equal!(user_data, next);
            next += 1;
        }
        ring.flush()?;
    }
    equal!(raw::atomic(ring.address(at::CQ_OVERFLOW)).load(Relaxed), 0);
    Ok(())
}

/// A small generator: the same values in each run.
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 24
}

fn any_value_anywhere() -> Outcome {
    const WORDS: [usize; 16] = [
        at::SQ_HEAD,
        at::SQ_TAIL,
        at::CQ_HEAD,
        at::CQ_TAIL,
        at::SQ_FLAGS,
        at::SQ_DROPPED,
        at::CQ_FLAGS,
        at::CQ_OVERFLOW,
        at::SQ_MASK,
        at::CQ_MASK,
        at::SQ_ENTRIES,
        at::CQ_ENTRIES,
        at::SQ_TAIL,
        at::CQ_HEAD,
        at::SQ_TAIL,
        at::CQ_HEAD,
    ];
    let mut state = 7;
    for _ in 0..8 {
        let ring = Ring::new(16, 0)?;
        let [(_, _), (entries, bytes)] = ring.mappings();
        for _ in 0..400 {
            let value = scramble(&mut state);
            let word = ring.address(WORDS[value as usize % WORDS.len()]);
            let near = raw::atomic(word).load(Relaxed).wrapping_add((value >> 8) as u32 % 40).wrapping_sub(8);
            raw::atomic(word).store(if value & 64 == 0 { near } else { scramble(&mut state) as u32 }, Relaxed);
            raw::atomic(ring.number((value >> 16) as u32 & 15)).store((scramble(&mut state) & 31) as u32, Relaxed);
            let place = (value >> 7) as usize % (bytes / 8) * 8;
            let wide = scramble(&mut state) ^ scramble(&mut state) << 32;
            // An operation with any flags, then: but of a descriptor that is not there.
            raw::store64(
                entries + place,
                if place.is_multiple_of(64) { wide & 0xffff_ff3f | 0xffff << 44 } else { wide },
            );
            // Any answer will do, and a wait would be for nothing.
            let _ = call!(IO_URING_ENTER, ring.fd().raw(), value as u32 & 31, 0, IORING_ENTER_GETEVENTS, 0, 0);
        }
    }
    // Others have come to no harm.
    nothing()
}

fn entries_that_change() -> Outcome {
    let mut ring = Ring::new(64, 0)?;
    let [_, (entries, bytes)] = ring.mappings();
    let stop = Shared::new()?;
    // Opcode and flags in the first word, the result in the fourth, then what comes back.
    let values = [[0, 5 | 1 << 32, 0x1111_1111_1111_1111], [255, 7 | 1 << 32, 0x2222_2222_2222_2222]];
    let changer = thread::spawn(move || {
        while stop.get(0) == 0 {
            for [first, result, user_data] in values {
                for place in (entries..entries + bytes).step_by(64) {
                    raw::store64(place, first);
                    raw::store64(place + 24, result);
                    raw::store64(place + 32, user_data);
                }
            }
        }
    })?;
    let mut outcome = Ok(());
    let tail = raw::atomic(ring.address(at::SQ_TAIL));
    for place in 0..64 {
        raw::atomic(ring.number(place)).store(place, Relaxed);
    }
    'all: for _ in 0..2_000 {
        // What is there, without writing it.
        let next = tail.load(Relaxed).wrapping_add(64);
        tail.store(next, Relaxed);
        while raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed) != next {
            call!(IO_URING_ENTER, ring.fd().raw(), 64, 0, 0, 0, 0)?;
        }
        for (user_data, result) in reap(&mut ring) {
            let known =
                |index: usize| values.iter().any(|value| value[index] & 0xffff_ffff == u64::from(result as u32));
            if !values.iter().any(|value| value[2] == user_data) && user_data != 0
                || !known(1) && result != EINVAL && result != 0
            {
                outcome = Err(Trouble::failed(format_args!("{user_data:#x} {result}")));
                break 'all;
            }
        }
    }
    stop.set(0, 1);
    let _ = changer.join();
    outcome
}

fn mappings() -> Outcome {
    let mut ring = Ring::new(64, 0)?;
    let (prot, fd) = (m::PROT_READ | m::PROT_WRITE, ring.fd().raw());
    let map = |len: usize, offset: u64| call!(MMAP, 0, len, prot, m::MAP_SHARED, fd, offset);
    fails!(map(PAGE, IORING_OFF_SQES + 0x80_0000), ENOMEM);
    fails!(map(64 * 64 + PAGE, IORING_OFF_SQES), ENOMEM);
    fails!(map(1 << 30, IORING_OFF_SQ_RING), ENOMEM);
    // Both offsets of the first mapping are the same memory.
    let again = map(PAGE, IORING_OFF_CQ_RING)?;
    equal!(run(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    equal!(raw::atomic(again).load(Relaxed), raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed));
    call!(MUNMAP, again, PAGE)?;
    // The kernel needs none of the program's mappings.
    let [(words, len), (entries, bytes)] = ring.mappings();
    let view = map(PAGE, IORING_OFF_SQ_RING)?;
    ensure!(ring.push_raw(&nop(2, 0, 2)) && ring.push_raw(&nop(3, 0, 3)));
    let tail = view + ring.address(at::SQ_TAIL) - words;
    call!(MADVISE, entries, bytes, m::MADV_DONTNEED)?;
    call!(MPROTECT, entries, bytes, m::PROT_NONE)?;
    call!(MPROTECT, words, len, m::PROT_NONE)?;
    raw::atomic(tail).store(raw::atomic(tail).load(Relaxed) + 2, Relaxed);
    equal!(call!(IO_URING_ENTER, fd, 2, 2, IORING_ENTER_GETEVENTS, 0, 0)?, 2);
    call!(MPROTECT, words, len, prot)?;
    equal!(reap(&mut ring), [(2, 2), (3, 3)]);
    // A child has the same pages.
    call!(MPROTECT, entries, bytes, prot)?;
    let number = ring.number(0);
    let pid = child(|| {
        raw::atomic(number).store(77, Relaxed);
        0
    })?;
    exits(pid, 0)?;
    equal!(raw::atomic(number).load(Relaxed), 77);
    Ok(())
}

fn of_two_processes() -> Outcome {
    const ROUNDS: u64 = 300;
    let mut ring = Ring::new(8, 0)?;
    let (fd, tail) = (ring.fd().raw(), raw::atomic(ring.address(at::SQ_TAIL)));
    let [_, (entries, bytes)] = ring.mappings();
    (0..bytes / 8).for_each(|word| raw::store64(entries + 8 * word, 0));
    (0..8).for_each(|place| raw::atomic(ring.number(place)).store(place, Relaxed));
    let submit = move || {
        // The tail is both's; the kernel takes each entry once.
        for _ in 0..ROUNDS {
            tail.fetch_add(1, Relaxed);
            call!(IO_URING_ENTER, fd, 1, 0, 0, 0, 0)?;
        }
        Ok(())
    };
    let pid = checked_child(submit)?;
    submit()?;
    exits(pid, 0)?;
    while call!(IO_URING_ENTER, fd, 8, 0, 0, 0, 0)? > 0 {}
    let mut found = 0;
    loop {
        found += reap(&mut ring).len() as u64;
        if found == 2 * ROUNDS {
            return Ok(());
        }
        let before = found;
        ring.flush()?;
        found += reap(&mut ring).len() as u64;
        ensure!(found > before, "{found} of {}", 2 * ROUNDS);
    }
}

fn many_rings() -> Outcome {
    // Until there are no more, and again: nothing of the first is left.
    let mut counts = Vec::new();
    for _ in 0..2 {
        let mut rings = Vec::new();
        while let Ok(ring) = Ring::new(64, 0) {
            rings.push(ring);
        }
        counts.push(rings.len());
        let mut last = rings.pop().ok_or(Trouble::failed("not one"))?;
        equal!(run(&mut last, &[nop(1, 0, 1)])?, [(1, 1)]);
    }
    ensure!(counts[0] > 100 && counts[0] == counts[1], "{counts:?}");
    Ok(())
}

fn transfer(opcode: u8, fd: i32, bytes: &mut [u8], off: u64) -> Sqe {
    let (addr, len) = (bytes.as_mut_ptr() as u64, bytes.len() as u32);
    Sqe { opcode, fd, addr, len, off, user_data: 7, ..Sqe::default() }
}

fn wait(ring: &mut Ring, count: u32) -> Result<Vec<(u64, i32)>, Trouble> {
    ring.submit(count)?;
    Ok(reap(ring))
}

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

fn cancel_of(user_data: u64, flags: u32) -> Sqe {
    Sqe { opcode: IORING_OP_ASYNC_CANCEL, addr: user_data, op_flags: flags, user_data: 99, ..Sqe::default() }
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
fn takes_nothing(read: &File, write: &mut File) -> Outcome {
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
