//! Rings whose entries the kernel takes by itself (`IORING_SETUP_SQPOLL`).

use super::*;
use rt::abi::time::CLOCK_PROCESS_CPUTIME_ID;
use rt::fs::File;
use rt::io::{Read, Write};

pub const CASES: &[Case] = &[
    case!("ring/polled-setup", "C3 C4 E1", setup_of_polled),
    case!("ring/polled-needs-no-call", "C3 C4", needs_no_call),
    case!("ring/polled-parks-and-is-called", "C3 C4 D4", parks_and_is_called),
    case!("ring/polled-parks-against-submission", "C3 C4 D4", parks_against_submission),
    case!("ring/polled-stream", "C3 C4 G3", stream),
    case!("ring/polled-full", "C3 C4", full),
    case!("ring/polled-operations", "C3 C4 D14", operations),
    case!("ring/polled-disabled", "C3 C4", disabled),
    case!("ring/polled-by-a-child", "C3 C4 P1", by_a_child),
    case!("ring/polled-process-ends", "C3 C4 D14 P1", process_ends),
    case!("ring/polled-program-is-replaced", "C3 C4 D14 P1", program_is_replaced),
    case!("ring/polled-closed-again-and-again", "C3 C4 D13", closed_again_and_again),
    case!("ring/polled-beside-others", "C3 C4 P6", beside_others),
    case!("ring/polled-idle-takes-no-time", "C3 C4 P6", idle_takes_no_time),
    case!("ring/polled-owner-moves", "C3 C4 P6", owner_moves),
    case!("ring/polled-any-value-anywhere", "C3 C4 S6 E1", any_value_anywhere),
];

/// It looks on for this long: longer than any case takes.
const LONG: u32 = 600_000;

fn polled(entries: u32, idle: u32, flags: u32) -> Result<Ring, Trouble> {
    let params = Params { flags: IORING_SETUP_SQPOLL | flags, sq_thread_idle: idle, ..Params::default() };
    Ok(Ring::with(entries, params)?)
}

pub fn sleeps(ring: &Ring) -> bool {
    raw::atomic(ring.address(at::SQ_FLAGS)).load(Relaxed) & IORING_SQ_NEED_WAKEUP != 0
}

pub fn enter(ring: &Ring, flags: u32, wait_for: u32) -> Result<usize, Errno> {
    call!(IO_URING_ENTER, ring.fd().raw(), 0, wait_for, flags, 0, 0)
}

/// So many completions, by looking for them only; the hang limit is the runner's.
fn look(ring: &mut Ring, count: usize) -> Vec<(u64, i32)> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(reap(ring));
        thread::yield_now();
    }
    found
}

/// Submits all of these and takes their completions.
fn pass(ring: &mut Ring, entries: &[Sqe]) -> io::Result<Vec<(u64, i32)>> {
    push(ring, entries);
    ring.submit_polled(0)?;
    Ok(look(ring, entries.len()))
}

fn setup_of_polled() -> Outcome {
    let mut ring = polled(4, 0, IORING_SETUP_SQ_AFF)?;
    ensure!(ring.features() & IORING_FEAT_SQPOLL_NONFIXED != 0);
    equal!(pass(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    let plain = Ring::new(1, 0)?;
    let of = |flags: u32, wq_fd: i32| Params { flags, wq_fd: wq_fd.cast_unsigned(), ..Params::default() };
    let (own, others) = (ring.fd().raw(), plain.fd().raw());
    let (polls, attach) = (IORING_SETUP_SQPOLL, IORING_SETUP_ATTACH_WQ);
    let wrong = [
        (of(IORING_SETUP_SQ_AFF, 0), Errno::EINVAL),
        (Params { sq_thread_cpu: 64, ..of(polls | IORING_SETUP_SQ_AFF, 0) }, Errno::EINVAL),
        (of(polls | IORING_SETUP_COOP_TASKRUN, 0), Errno::EINVAL),
        (of(polls | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER, 0), Errno::EINVAL),
        (of(attach, -1), Errno::ENXIO),
        (of(attach, 0), Errno::EINVAL),
        (of(polls | attach, -1), Errno::ENXIO),
        (of(polls | attach, 0), Errno::EINVAL),
        (of(polls | attach, others), Errno::EINVAL),
    ];
    for (mut params, errno) in wrong {
        equal!(setup(4, &mut params), Err(errno));
    }
    for params in [of(attach, own), of(attach, others), of(polls | attach, own)] {
        let mut ring = Ring::with(4, params)?;
        let entry = [nop(2, 0, 2)];
        let is_polled = params.flags & polls != 0;
        equal!(if is_polled { pass(&mut ring, &entry) } else { run(&mut ring, &entry) }?, [(2, 2)]);
    }
    Ok(())
}

fn needs_no_call() -> Outcome {
    for flags in [0, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SUBMIT_ALL] {
        let mut ring = polled(8, LONG, flags)?;
        for round in 0..100 {
            let entries: Vec<Sqe> = (0..round % 8 + 1).map(|number| nop(8 * round + number, 0, round as i32)).collect();
            push(&mut ring, &entries);
            if ring.show() {
                enter(&ring, IORING_ENTER_SQ_WAKEUP, 0)?;
            }
            let expected: Vec<_> = entries.iter().map(|entry| (entry.user_data, round as i32)).collect();
            equal!(look(&mut ring, entries.len()), expected);
        }
    }
    Ok(())
}

fn parks_and_is_called() -> Outcome {
    let mut ring = polled(8, 1, 0)?;
    for round in 0..20 {
        while !sleeps(&ring) {
            crate::process::sleep_ms(1);
        }
        push(&mut ring, &[nop(round, 0, 5)]);
        ensure!(ring.show(), "who sleeps does not say so");
        let head = raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed);
        if round == 0 {
            // Nobody has called.
            crate::process::sleep_ms(20);
            equal!(raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed), head);
        }
        equal!(enter(&ring, IORING_ENTER_SQ_WAKEUP | IORING_ENTER_GETEVENTS, 1)?, 0);
        equal!(reap(&mut ring), [(round, 5)]);
    }
    Ok(())
}

fn parks_against_submission() -> Outcome {
    // The shortest time to look, so that it parks again and again; how long the program stays away differs each time.
    let mut ring = polled(4, 1, 0)?;
    let start = rt::time::Instant::now();
    let mut state = 3;
    let (mut calls, mut rounds) = (0, 0);
    while start.elapsed() < core::time::Duration::from_secs(3) || rounds <= 100 || calls == 0 {
        push(&mut ring, &[nop(rounds, 0, 0)]);
        if ring.show() {
            calls += 1;
            enter(&ring, IORING_ENTER_SQ_WAKEUP, 0)?;
        }
        equal!(look(&mut ring, 1), [(rounds, 0)]);
        rounds += 1;
        let away = rt::time::Instant::now();
        let span = core::time::Duration::from_micros(hostile::scramble(&mut state) % 2_000);
        while away.elapsed() < span {
            thread::yield_now();
        }
    }
    ensure!(calls <= rounds, "{calls} calls in {rounds} rounds");
    Ok(())
}

/// A million requests, never less than there is room for: how often the program enters the kernel for that. It makes no other call.
fn stream() -> Outcome {
    const ENTRIES: u32 = 256;
    const ALL: u64 = 1_000_000;
    let bar = if crate::machine::harts() == 1 { ALL.div_ceil(u64::from(ENTRIES)) } else { 2 };
    let mut calls = [0; 6];
    // The coroutine gives way to whoever needs its hart for a moment, and is called then: one stream of some is left alone, but for a call in each second that it takes.
    for calls in &mut calls {
        let start = rt::time::Instant::now();
        *calls = stream_of(ALL, ENTRIES)?;
        if *calls <= bar + start.elapsed().as_secs() {
            return Ok(());
        }
    }
    Err(Trouble::failed(format_args!("{calls:?} calls for {ALL} requests, {bar} are enough")))
}

/// So many requests, in a stream that never runs dry; the calls that took.
fn stream_of(all: u64, entries: u32) -> Result<u64, Trouble> {
    let is_alone = crate::machine::harts() == 1;
    let mut ring = polled(entries, LONG, 0)?;
    let (mut added, mut taken, mut calls) = (0, 0, 0);
    while taken < all {
        while added < all && added - taken < 2 * u64::from(entries) && ring.push_raw(&nop(added, 0, 0)) {
            added += 1;
        }
        let sleeps = ring.show();
        // On one hart it waits for all, or nobody would get to take them.
        let wait_for = if is_alone { (added - taken) as u32 } else { 0 };
        if sleeps || is_alone {
            calls += 1;
            let waits = if is_alone { IORING_ENTER_GETEVENTS } else { 0 };
            enter(&ring, waits | if sleeps { IORING_ENTER_SQ_WAKEUP } else { 0 }, wait_for)?;
        }
        while let Some(cqe) = ring.pop() {
            equal!((cqe.user_data, cqe.res), (taken, 0));
            taken += 1;
        }
    }
    Ok(calls)
}

fn full() -> Outcome {
    let mut ring = polled(4, 1, 0)?;
    for _ in 0..50 {
        while ring.push_raw(&nop(1, 0, 1)) {}
        ring.show();
        equal!(enter(&ring, IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT, 0)?, 0);
        ensure!(ring.push_raw(&nop(1, 0, 1)), "no room after the wait for it");
        ring.submit_polled(0)?;
        look(&mut ring, 5);
    }
    // Nothing is full: there is nothing to wait for. What it was asked to submit is the answer.
    equal!(call!(IO_URING_ENTER, ring.fd().raw(), 77, 0, IORING_ENTER_SQ_WAIT, 0, 0)?, 77);
    Ok(())
}

fn operations() -> Outcome {
    let (read, mut write) = rt::pipe::pipe()?;
    let mut ring = polled(8, 50, 0)?;
    let (link, drain) = (IOSQE_IO_LINK, IOSQE_IO_DRAIN);
    // Links, and what is wrong: the rest is taken all the same.
    let chain = [nop(1, link, 0), nop(2, link, -5), nop(3, 0, 0), nop(4, 0, 4)];
    equal!(pass(&mut ring, &chain)?, [(1, 0), (2, -5), (3, CANCELLED), (4, 4)]);
    let wrong = Sqe { ioprio: 1, ..nop(2, 0, 0) };
    equal!(pass(&mut ring, &[nop(1, 0, 1), wrong, nop(3, 0, 3)])?, [(1, 1), (2, EINVAL), (3, 3)]);
    // One that waits, and what is to come after it.
    let mut byte = [0u8];
    let waits = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    push(&mut ring, &[waits, nop(2, drain, 2), nop(3, 0, 3)]);
    ring.submit_polled(0)?;
    crate::process::sleep_ms(5);
    equal!(reap(&mut ring), []);
    write.write_all(b"x")?;
    equal!(look(&mut ring, 3), [(7, 1), (2, 2), (3, 3)]);
    equal!(byte, *b"x");
    // One that is cancelled, and a time.
    push(&mut ring, &[waits]);
    ring.submit_polled(0)?;
    let mut found = pass(&mut ring, &[cancel_of(7, 0)])?;
    found.extend(look(&mut ring, 2 - found.len().min(2)));
    found.sort_unstable();
    equal!(found, [(7, CANCELLED), (99, 0)]);
    let span = millis(5);
    let time = Sqe {
        opcode: IORING_OP_TIMEOUT,
        addr: core::ptr::from_ref(&span) as u64,
        len: 1,
        user_data: 8,
        ..Sqe::default()
    };
    equal!(pass(&mut ring, &[time])?, [(8, -62)]);
    memory_and_calls(&mut ring)
}

/// Into memory that is not there yet; a call that opens; by a thread other than the one that made the ring.
fn memory_and_calls(ring: &mut Ring) -> Outcome {
    const PATH: &core::ffi::CStr = c"/tmp/ring-polled";
    File::create("/tmp/ring-polled")?.write_all(&[9; 3 * PAGE])?;
    let open = Sqe {
        opcode: IORING_OP_OPENAT,
        fd: rt::abi::fs::AT_FDCWD,
        addr: PATH.as_ptr() as u64,
        user_data: 1,
        ..Sqe::default()
    };
    let [(1, fd)] = pass(ring, &[open])?[..] else { return Err(Trouble::failed("no file")) };
    let file = raw::file(usize::try_from(fd).map_err(|_| Trouble::failed(fd))?);
    let fresh = crate::process::map(3 * PAGE, crate::process::RW)?;
    let there = raw::bytes(fresh, 3 * PAGE);
    equal!(pass(ring, &[transfer(IORING_OP_READ, file.fd().raw(), there, 0)])?, [(7, 3 * PAGE as i32)]);
    ensure!(there.iter().all(|byte| *byte == 9), "other bytes");
    call!(MUNMAP, fresh, 3 * PAGE)?;
    rt::fs::remove_file("/tmp/ring-polled")?;
    let made = thread::spawn(|| polled(4, 1, 0))?;
    let mut ring = made.join().ok_or(Trouble::failed("the thread"))??;
    for _ in 0..10 {
        crate::process::sleep_ms(2);
        equal!(pass(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    }
    Ok(())
}

fn disabled() -> Outcome {
    let mut ring = polled(4, 1, IORING_SETUP_R_DISABLED)?;
    push(&mut ring, &[nop(1, 0, 1)]);
    ring.show();
    fails!(enter(&ring, IORING_ENTER_SQ_WAKEUP, 0), EBADFD);
    crate::process::sleep_ms(20);
    equal!(reap(&mut ring), []);
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_ENABLE_RINGS, 0, 0)?;
    equal!(look(&mut ring, 1), [(1, 1)]);
    equal!(pass(&mut ring, &[nop(2, 0, 2)])?, [(2, 2)]);
    Ok(())
}

/// What a child submits is done for who made the ring: in its memory, with its files.
fn by_a_child() -> Outcome {
    let mut ring = polled(4, 1, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    write.write_all(b"y")?;
    let mut byte = [0u8];
    let entry = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    let pid = checked_child(|| {
        call!(CLOSE, read.fd().raw())?;
        push(&mut ring, &[entry]);
        ring.submit_polled(1)?;
        equal!(reap(&mut ring), [(7, 1)]);
        equal!(raw::load8(entry.addr as usize), 0);
        Ok(())
    })?;
    exits(pid, 0)?;
    equal!(raw::load8(entry.addr as usize), b'y');
    Ok(())
}

/// A ring of a process that has ended, or runs another program: nobody takes entries any more.
fn is_lost(ring: &Ring) -> Outcome {
    let start = rt::time::Instant::now();
    while enter(ring, IORING_ENTER_SQ_WAKEUP, 0).is_ok() {
        ensure!(start.elapsed() < core::time::Duration::from_secs(60), "it is still there");
        crate::process::sleep_ms(1);
    }
    fails!(enter(ring, 0, 0), EOWNERDEAD);
    fails!(enter(ring, IORING_ENTER_SQ_WAIT, 0), EOWNERDEAD);
    while !sleeps(ring) {
        ensure!(start.elapsed() < core::time::Duration::from_secs(60), "who has gone does not say so");
        crate::process::sleep_ms(1);
    }
    let mut params = Params {
        flags: IORING_SETUP_SQPOLL | IORING_SETUP_ATTACH_WQ,
        wq_fd: ring.fd().raw().cast_unsigned(),
        ..Params::default()
    };
    // Of another process: then it is a new one.
    let fd = setup(1, &mut params)?;
    call!(CLOSE, fd)?;
    Ok(())
}

/// A process with a ring, which a read of `pipe` waits in, and a child of its that says in `shared` that the ring is lost.
fn with_witness(shared: Shared, pipe: i32) -> Outcome {
    let mut ring = polled(4, 1, 0)?;
    let mut byte = [0u8];
    push(&mut ring, &[transfer(IORING_OP_READ, pipe, &mut byte, 0)]);
    ring.submit_polled(0)?;
    while raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed) == 0 {
        thread::yield_now();
    }
    checked_child(|| {
        shared.await_least(0, 1);
        let outcome = is_lost(&ring);
        // The read has ended with who wanted it.
        equal!(look(&mut ring, 1), [(7, CANCELLED)]);
        shared.set(1, if outcome.is_ok() { 1 } else { 2 });
        outcome
    })?;
    core::mem::forget(ring);
    Ok(())
}

fn process_ends() -> Outcome {
    let (shared, (read, _write)) = (Shared::new()?, rt::pipe::pipe()?);
    let pid = checked_child(|| with_witness(shared, read.fd().raw()))?;
    exits(pid, 0)?;
    shared.set(0, 1);
    shared.await_least(1, 1);
    equal!(shared.get(1), 1);
    Ok(())
}

fn program_is_replaced() -> Outcome {
    crate::machine::needs_kernel("execve")?;
    let (shared, (read, _write)) = (Shared::new()?, rt::pipe::pipe()?);
    let (mut inward, outward) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    let path = c"/bin/cat";
    let pid = checked_child(|| {
        with_witness(shared, read.fd().raw())?;
        call!(DUP3, inward.0.fd().raw(), 0, 0)?;
        call!(DUP3, outward.1.fd().raw(), 1, 0)?;
        call!(CLOSE, inward.1.fd().raw())?;
        let arguments = [path.as_ptr() as usize, 0];
        call!(EXECVE, path.as_ptr(), arguments.as_ptr(), 0)?;
        Ok(())
    })?;
    // It is there, and runs the other program.
    inward.1.write_all(b"z")?;
    let mut byte = [0u8];
    let (mut from, _) = outward;
    from.read_exact(&mut byte)?;
    equal!(byte, *b"z");
    shared.set(0, 1);
    shared.await_least(1, 1);
    equal!(shared.get(1), 1);
    drop(inward);
    exits(pid, 0)
}

fn closed_again_and_again() -> Outcome {
    // Until there are no more, and again: nothing of the first is left, and who looks for their entries has gone too.
    let (read, _write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    let entry = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    let mut most = 0;
    for _ in 0..3 {
        let start = rt::time::Instant::now();
        loop {
            let mut rings = Vec::new();
            while let Ok(mut ring) = polled(4, 1, 0) {
                push(&mut ring, &[entry]);
                ring.submit_polled(0)?;
                rings.push(ring);
            }
            ensure!(rings.len() > 100, "{} rings", rings.len());
            // A few less where memory is what ends: others may have more of it by now.
            if rings.len() + most / 50 >= most {
                most = most.max(rings.len());
                break;
            }
            ensure!(start.elapsed() < core::time::Duration::from_secs(30), "{} of {most}", rings.len());
        }
    }
    Ok(())
}

/// Programs that compute get on, though a ring's entries never end.
fn beside_others() -> Outcome {
    let shared = Shared::new()?;
    let busy = crate::machine::harts() + 1;
    let children: Vec<i32> = (0..busy)
        .map(|_| {
            child(|| {
                while shared.get(0) == 0 {
                    shared.count(1);
                }
                0
            })
        })
        .collect::<Result<_, _>>()?;
    let feeder = child(|| {
        let Ok(ring) = polled(64, LONG, 0) else { return 1 };
        let word = |offset| raw::atomic(ring.address(offset));
        while shared.get(0) == 0 {
            word(at::SQ_TAIL).store(word(at::SQ_HEAD).load(Relaxed).wrapping_add(64), Relaxed);
            word(at::CQ_HEAD).store(word(at::CQ_TAIL).load(Relaxed), Relaxed);
            // As one that does not even look whether it has to.
            let _ = enter(&ring, IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT, 0);
        }
        0
    })?;
    let start = rt::time::Instant::now();
    let mut last = 0;
    for _ in 0..20 {
        while shared.get(1).wrapping_sub(last) < 10_000 {
            ensure!(start.elapsed() < core::time::Duration::from_secs(60), "the others do not get on");
            crate::process::sleep_ms(1);
        }
        last = shared.get(1);
    }
    shared.set(0, 1);
    children.into_iter().chain([feeder]).try_for_each(|pid| exits(pid, 0))
}

/// Nanoseconds that this process has had, its rings' coroutines included.
fn own_time() -> Result<u64, Errno> {
    let mut time = millis(0);
    call!(CLOCK_GETTIME, CLOCK_PROCESS_CPUTIME_ID, &raw mut time)?;
    Ok(time.sec as u64 * 1_000_000_000 + time.nsec as u64)
}

/// Of a ring whose owner sleeps for very long nothing runs. On a machine that is itself without time now and then a moment may be long: not each time.
fn idle_takes_no_time() -> Outcome {
    const SPAN: u64 = 100;
    let mut ring = polled(8, 1, 0)?;
    let mut times = Vec::new();
    for round in 0..5 {
        equal!(pass(&mut ring, &[nop(round, 0, 1)])?, [(round, 1)]);
        while !sleeps(&ring) {
            crate::process::sleep_ms(1);
        }
        let before = own_time()?;
        crate::process::sleep_ms(SPAN);
        times.push(own_time()? - before);
        if times.iter().any(|time| *time < SPAN * 1_000_000 / 10) {
            return Ok(());
        }
    }
    Err(Trouble::failed(format_args!("{times:?} ns of {SPAN} ms each")))
}

/// Who owns it goes from hart to hart, and has none but the one on which the entries are looked for, too: all entries are taken, also while the owner does nothing but look.
fn owner_moves() -> Outcome {
    let harts = crate::machine::harts();
    for home in 0..harts as u32 {
        let params = Params { sq_thread_cpu: home, sq_thread_idle: LONG, ..Params::default() };
        let flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
        let mut ring = Ring::with(8, Params { flags, ..params })?;
        for round in 0..4 * harts as u64 {
            let only = 1u64 << (round % harts as u64);
            call!(SCHED_SETAFFINITY, 0, 8, &raw const only)?;
            push(&mut ring, &[nop(round, 0, 3)]);
            ring.submit_polled(0)?;
            let found = loop {
                match ring.pop() {
                    Some(found) => break found,
                    None => core::hint::spin_loop(),
                }
            };
            equal!((found.user_data, found.res), (round, 3));
        }
    }
    Ok(())
}

fn any_value_anywhere() -> Outcome {
    let mut state = 11;
    for _ in 0..6 {
        let ring = polled(16, 1, 0)?;
        let [_, (entries, bytes)] = ring.mappings();
        for _ in 0..2_000 {
            let value = hostile::scramble(&mut state);
            let word = ring.address(hostile::WORDS[value as usize % hostile::WORDS.len()]);
            raw::atomic(word).store(hostile::scramble(&mut state) as u32, Relaxed);
            raw::atomic(ring.number((value >> 16) as u32 & 15)).store((value >> 20) as u32 & 31, Relaxed);
            let place = (value >> 7) as usize % (bytes / 64) * 64;
            // An operation with any flags, of a descriptor that is not there.
            let wide = hostile::scramble(&mut state) ^ hostile::scramble(&mut state) << 32;
            raw::store64(entries + place, wide & 0xffff_ff3f | 0xffff << 44);
            raw::store64(entries + place + 32, wide);
            if value & 31 == 0 {
                let _ = enter(&ring, IORING_ENTER_SQ_WAKEUP, 0);
            }
        }
    }
    // Others have come to no harm.
    let mut ring = polled(4, 1, 0)?;
    equal!(pass(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    nothing()
}
