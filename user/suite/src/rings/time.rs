//! Times as requests: alone, repeated, by count, as the limit of another; removed and changed.

use super::*;
use rt::abi::asyncos::RLIMIT_RING_REQUESTS;
use rt::abi::process::Rlimit;
use rt::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    case!("ring/times", "C4 D3 D16", times),
    case!("ring/times-by-count", "C4 D3", times_by_count),
    case!("ring/times-again-and-again", "C4 D3 D13", times_again_and_again),
    case!("ring/wrong-times", "C4 E1 D3", wrong_times),
    case!("ring/times-are-changed", "C4 D3", times_are_changed),
    case!("ring/time-of-another-is-limited", "C4 D3 D14", time_of_another_is_limited),
    case!("ring/limit-against-completion", "C4 D14", limit_against_completion),
    case!("ring/limit-of-nothing", "C4 E1", limit_of_nothing),
    case!("ring/silent-limits", "C4 D14", silent_limits),
    case!("ring/thousands-of-times", "C4 D13 D16", thousands_of_times),
    case!("ring/times-up-to-the-quota", "C4 D13 D16", times_up_to_the_quota, slow),
];

const TIME: i32 = -62;

fn timeout(span: &Timespec, user_data: u64) -> Sqe {
    let addr = core::ptr::from_ref(span) as u64;
    Sqe { opcode: IORING_OP_TIMEOUT, fd: -1, addr, len: 1, user_data, ..Sqe::default() }
}

fn limit(span: &Timespec, user_data: u64) -> Sqe {
    Sqe { opcode: IORING_OP_LINK_TIMEOUT, ..timeout(span, user_data) }
}

fn remove(target: u64) -> Sqe {
    Sqe { opcode: IORING_OP_TIMEOUT_REMOVE, fd: -1, addr: target, user_data: 90, ..Sqe::default() }
}

fn change(target: u64, span: &Timespec, flags: u32) -> Sqe {
    let op_flags = IORING_TIMEOUT_UPDATE | flags;
    Sqe { off: core::ptr::from_ref(span) as u64, op_flags, ..remove(target) }
}

fn now(clock: u32) -> Result<Timespec, Errno> {
    let mut time = millis(0);
    call!(CLOCK_GETTIME, clock, &raw mut time)?;
    Ok(time)
}

fn times() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (start, span) = (Instant::now(), millis(15));
    push(&mut ring, &[timeout(&span, 1)]);
    equal!(ring.submit(0)?, 1);
    equal!(wait(&mut ring, 1)?, [(1, TIME)]);
    ensure!(start.elapsed() >= Duration::from_millis(15), "too early");
    for (clock, flag) in [(1, 0), (0, IORING_TIMEOUT_REALTIME), (7, IORING_TIMEOUT_BOOTTIME)] {
        let (start, time) = (Instant::now(), now(clock)?);
        let later = Timespec { nsec: time.nsec + 10_000_000, ..time };
        let op_flags = IORING_TIMEOUT_ABS | flag;
        push(&mut ring, &[Sqe { op_flags, ..timeout(&later, 2) }, Sqe { op_flags, ..timeout(&millis(0), 1) }]);
        // Both may be over when they are taken.
        equal!(wait_sorted(&mut ring, 2)?, [(1, TIME), (2, TIME)]);
        ensure!(start.elapsed() >= Duration::from_millis(10), "too early by clock {clock}");
    }
    // The earlier comes first, and a failure ends a chain unless it is asked to be none.
    let (short, long) = (millis(5), millis(500));
    push(&mut ring, &[timeout(&long, 1), timeout(&short, 2)]);
    equal!(wait(&mut ring, 2)?, [(2, TIME), (1, TIME)]);
    let link = |op_flags| Sqe { flags: IOSQE_IO_LINK, op_flags, ..timeout(&short, 1) };
    push(&mut ring, &[link(0), nop(2, 0, 0)]);
    equal!(wait(&mut ring, 2)?, [(1, TIME), (2, CANCELLED)]);
    push(&mut ring, &[link(IORING_TIMEOUT_ETIME_SUCCESS), nop(2, 0, 0)]);
    equal!(wait(&mut ring, 2)?, [(1, TIME), (2, 0)]);
    // What it says is in memory that nobody has touched yet: zero.
    let fresh = crate::process::map(PAGE, crate::process::RW)?;
    let untouched = Sqe { addr: fresh as u64, ..timeout(&short, 3) };
    push(&mut ring, &[nop(1, IOSQE_IO_LINK, 1), nop(2, IOSQE_IO_LINK, 2), untouched]);
    equal!(wait(&mut ring, 3)?, [(1, 1), (2, 2), (3, TIME)]);
    call!(MUNMAP, fresh, PAGE)?;
    Ok(())
}

fn times_by_count() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let long = millis(100_000);
    push(&mut ring, &[Sqe { off: 2, ..timeout(&long, 1) }]);
    equal!(ring.submit(0)?, 1);
    equal!(run(&mut ring, &[nop(2, 0, 2)])?, [(2, 2)]);
    thread::sleep(Duration::from_millis(5));
    ensure!(ring.pop().is_none(), "after one");
    push(&mut ring, &[nop(3, 0, 3)]);
    equal!(wait(&mut ring, 2)?, [(3, 3), (1, 0)]);
    // More than ever come.
    push(&mut ring, &[Sqe { off: u32::MAX.into(), ..timeout(&millis(5), 1) }, nop(2, 0, 2)]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, TIME), (2, 2)]);
    // A time that is over is none of those that are counted.
    push(&mut ring, &[Sqe { off: 1, ..timeout(&long, 1) }, timeout(&millis(1), 2)]);
    equal!(wait(&mut ring, 1)?, [(2, TIME)]);
    thread::sleep(Duration::from_millis(5));
    ensure!(ring.pop().is_none(), "counted");
    push(&mut ring, &[nop(3, 0, 3)]);
    equal!(wait(&mut ring, 2)?, [(3, 3), (1, 0)]);
    Ok(())
}

fn take(ring: &mut Ring) -> Result<Cqe, Trouble> {
    loop {
        match ring.pop() {
            Some(cqe) => return Ok(cqe),
            None => drop(call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?),
        }
    }
}

fn times_again_and_again() -> Outcome {
    // Room for all that come while this thread is away.
    let mut ring = Ring::new(256, 0)?;
    let (op_flags, span) = (IORING_TIMEOUT_MULTISHOT, millis(2));
    push(&mut ring, &[Sqe { off: 3, op_flags, ..timeout(&span, 1) }]);
    equal!(ring.submit(0)?, 1);
    for more in [IORING_CQE_F_MORE, IORING_CQE_F_MORE, 0] {
        let cqe = take(&mut ring)?;
        equal!((cqe.user_data, cqe.res, cqe.flags), (1, TIME, more));
    }
    // Without end, until it is removed.
    push(&mut ring, &[Sqe { op_flags, ..timeout(&span, 1) }]);
    equal!(ring.submit(0)?, 1);
    for _ in 0..10 {
        equal!(take(&mut ring)?.flags, IORING_CQE_F_MORE);
    }
    push(&mut ring, &[remove(1)]);
    equal!(ring.submit(0)?, 1);
    let mut last = Vec::new();
    while last.len() < 2 {
        let cqe = take(&mut ring)?;
        if cqe.flags == 0 {
            last.push((cqe.user_data, cqe.res));
        }
    }
    last.sort_unstable();
    equal!(last, [(1, CANCELLED), (90, 0)]);
    // Nobody takes them: it ends when there is no more room, with a completion that is kept.
    let mut ring = Ring::new(4, 0)?;
    push(&mut ring, &[Sqe { op_flags, ..timeout(&millis(0), 1) }]);
    equal!(ring.submit(0)?, 1);
    while raw::atomic(ring.address(at::SQ_FLAGS)).load(Relaxed) & IORING_SQ_CQ_OVERFLOW == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let mut flags = Vec::new();
    while flags.last() != Some(&0) {
        flags.push(take(&mut ring)?.flags);
    }
    equal!(flags.len(), 8 + 1);
    ensure!(flags[..8].iter().all(|flags| *flags == IORING_CQE_F_MORE), "{flags:?}");
    Ok(())
}

fn wrong_times() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let span = millis(1);
    let plain = timeout(&span, 1);
    let negative = [Timespec { sec: -1, nsec: 0 }, Timespec { sec: 0, nsec: -1 }];
    let both = IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME;
    let wrong = [
        (Sqe { len: 0, ..plain }, EINVAL),
        (Sqe { len: 2, ..plain }, EINVAL),
        (Sqe { buf_index: 1, ..plain }, EINVAL),
        (Sqe { file_index: 1, ..plain }, EINVAL),
        (Sqe { ioprio: 1, ..plain }, EINVAL),
        (Sqe { op_flags: both, ..plain }, EINVAL),
        (Sqe { op_flags: IORING_TIMEOUT_ABS | IORING_TIMEOUT_MULTISHOT, ..plain }, EINVAL),
        (Sqe { op_flags: IORING_TIMEOUT_UPDATE, ..plain }, EINVAL),
        (Sqe { op_flags: 1 << 31, ..plain }, EINVAL),
        (timeout(&negative[0], 1), EINVAL),
        (timeout(&negative[1], 1), EINVAL),
        (Sqe { addr: 8, ..plain }, -14),
        (Sqe { addr: u64::MAX - 3, ..plain }, -14),
        (Sqe { addr: 1 << 63, ..plain }, -14),
    ];
    for (entry, errno) in wrong {
        equal!(run(&mut ring, &[entry])?, [(1, errno)]);
        // One that is wrong keeps its chain from beginning.
        equal!(run(&mut ring, &[nop(2, IOSQE_IO_LINK, 0), entry])?, [(2, CANCELLED), (1, errno)]);
    }
    let change = change(1, &span, 0);
    let wrong = [
        (Sqe { len: 1, ..remove(1) }, EINVAL),
        (Sqe { op_flags: IORING_TIMEOUT_ABS, ..remove(1) }, EINVAL),
        (Sqe { flags: IOSQE_FIXED_FILE, ..remove(1) }, EINVAL),
        (Sqe { op_flags: change.op_flags | IORING_TIMEOUT_REALTIME, ..change }, EINVAL),
        (Sqe { off: 8, ..change }, -14),
        (remove(1), -2),
        (change, -2),
    ];
    for (entry, errno) in wrong {
        equal!(run(&mut ring, &[entry])?, [(90, errno)]);
    }
    Ok(())
}

fn times_are_changed() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (long, short) = (millis(100_000), millis(5));
    push(&mut ring, &[timeout(&long, 1), remove(1)]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, CANCELLED), (90, 0)]);
    push(&mut ring, &[timeout(&long, 1)]);
    equal!(ring.submit(0)?, 1);
    let start = Instant::now();
    push(&mut ring, &[change(1, &short, 0)]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, TIME), (90, 0)]);
    ensure!(start.elapsed() >= Duration::from_millis(5), "too early");
    // By a time of the clock; and one that waited for a number waits no more for that.
    push(&mut ring, &[Sqe { off: 1, ..timeout(&long, 1) }]);
    equal!(ring.submit(0)?, 1);
    let start = Instant::now();
    let time = now(1)?;
    let later = Timespec { nsec: time.nsec + 20_000_000, ..time };
    push(&mut ring, &[change(1, &later, IORING_TIMEOUT_ABS)]);
    equal!(wait_sorted(&mut ring, 2)?, [(1, TIME), (90, 0)]);
    ensure!(start.elapsed() >= Duration::from_millis(15), "too early");
    // The limit of another is there with it, and changed under its own name only.
    let (read, _write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    let reads = Sqe { flags: IOSQE_IO_LINK, ..transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0) };
    push(&mut ring, &[reads, limit(&long, 8)]);
    equal!(ring.submit(0)?, 2);
    equal!(run(&mut ring, &[change(8, &short, 0)])?, [(90, -2)]);
    equal!(run(&mut ring, &[remove(8)])?, [(90, -2)]);
    equal!(run(&mut ring, &[cancel_of(8, 0)])?, [(99, -2)]);
    push(&mut ring, &[change(8, &short, IORING_LINK_TIMEOUT_UPDATE)]);
    equal!(wait_sorted(&mut ring, 3)?, [(7, CANCELLED), (8, TIME), (90, 0)]);
    Ok(())
}

fn time_of_another_is_limited() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (long, short) = (millis(100_000), millis(5));
    let mut byte = [0u8];
    let mut reads = |flags| Sqe { flags, ..transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0) };
    let (plain, link, hard) = (reads(0), reads(IOSQE_IO_LINK), reads(IOSQE_IO_HARDLINK));
    push(&mut ring, &[link, limit(&short, 8)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (8, TIME)]);
    // In time.
    push(&mut ring, &[link, limit(&long, 8)]);
    equal!(ring.submit(0)?, 2);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait_sorted(&mut ring, 2)?, [(7, 1), (8, CANCELLED)]);
    // What does not wait needs no limit. It is no part of the chain.
    let next = |span| Sqe { flags: IOSQE_IO_LINK, ..limit(span, 8) };
    equal!(run(&mut ring, &[nop(1, IOSQE_IO_LINK, 1), next(&short), nop(2, 0, 2)])?, [(1, 1), (8, CANCELLED), (2, 2)]);
    push(&mut ring, &[link, next(&short), nop(2, 0, 2)]);
    equal!(wait_sorted(&mut ring, 3)?, [(2, CANCELLED), (7, CANCELLED), (8, TIME)]);
    push(&mut ring, &[hard, next(&short), nop(2, 0, 2)]);
    equal!(wait_sorted(&mut ring, 3)?, [(2, 2), (7, CANCELLED), (8, TIME)]);
    // In the middle of a chain, for the one before it.
    push(&mut ring, &[link, Sqe { user_data: 6, ..link }, next(&short), nop(2, 0, 2)]);
    equal!(ring.submit(0)?, 4);
    thread::sleep(Duration::from_millis(10));
    ensure!(ring.pop().is_none(), "the time of the second has begun with the first");
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait_sorted(&mut ring, 4)?, [(2, CANCELLED), (6, CANCELLED), (7, 1), (8, TIME)]);
    // Who cancels the request ends the limit.
    push(&mut ring, &[link, limit(&long, 8)]);
    equal!(ring.submit(0)?, 2);
    push(&mut ring, &[cancel_of(7, 0)]);
    equal!(wait_sorted(&mut ring, 3)?, [(7, CANCELLED), (8, CANCELLED), (99, 0)]);
    // A ring that goes, with all that.
    push(&mut ring, &[link, limit(&long, 8), plain, timeout(&long, 5)]);
    equal!(ring.submit(0)?, 4);
    drop(ring);
    thread::sleep(Duration::from_millis(10));
    waiting::takes_nothing(&read, &mut write)
}

fn limit_of_nothing() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let span = millis(1);
    // It is wrong, and ends the submission.
    push(&mut ring, &[limit(&span, 8), nop(1, 0, 1)]);
    equal!(ring.submit(0)?, 1);
    equal!(reap(&mut ring), [(8, EINVAL)]);
    equal!(run(&mut ring, &[])?, [(1, 1)]);
    let link = Sqe { flags: IOSQE_IO_LINK, ..limit(&span, 8) };
    equal!(
        run(&mut ring, &[nop(1, IOSQE_IO_LINK, 1), link, limit(&span, 9)])?,
        [(1, CANCELLED), (8, CANCELLED), (9, EINVAL)]
    );
    equal!(
        run(&mut ring, &[nop(1, IOSQE_IO_LINK, 1), Sqe { off: 1, ..limit(&span, 9) }])?,
        [(1, CANCELLED), (9, EINVAL)]
    );
    Ok(())
}

/// A limit that is to say nothing but failures says nothing, used or not.
fn silent_limits() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (mut byte, span) = ([0u8], millis(1));
    let silent = Sqe { flags: IOSQE_CQE_SKIP_SUCCESS, ..limit(&span, 8) };
    let reads = Sqe { flags: IOSQE_IO_LINK, ..transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0) };
    push(&mut ring, &[reads, silent]);
    equal!(wait(&mut ring, 1)?, [(7, CANCELLED)]);
    push(&mut ring, &[reads, nop(1, IOSQE_IO_LINK, 1), silent]);
    equal!(ring.submit(0)?, 3);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 2)?, [(7, 1), (1, 1)]);
    thread::sleep(Duration::from_millis(5));
    equal!(reap(&mut ring), []);
    Ok(())
}

/// A byte comes while the time of its reader ends: either has it, and the answers agree.
fn limit_against_completion() -> Outcome {
    const ROUNDS: u32 = 200;
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (go, done) = (Shared::new()?, Shared::new()?);
    let writer = thread::spawn(move || {
        for round in 1..=ROUNDS {
            go.await_least(0, round);
            (0..round % 40 * 50).for_each(|_| core::hint::spin_loop());
            let _ = io::Write::write_all(&mut write, b"x");
            done.set(0, round);
        }
    })?;
    let mut byte = [0u8];
    for round in 1..=ROUNDS {
        let span = Timespec { sec: 0, nsec: i64::from(round % 20) * 20_000 };
        let reads = Sqe { flags: IOSQE_IO_LINK, ..transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0) };
        push(&mut ring, &[reads, limit(&span, 8)]);
        go.set(0, round);
        let found = wait_sorted(&mut ring, 2)?;
        done.await_least(0, round);
        match found[..] {
            // Over in the moment in which the byte came: that is no cancellation.
            [(7, 1), (8, CANCELLED | -114)] => {}
            [(7, CANCELLED), (8, TIME)] => equal!(call!(READ, read.fd().raw(), byte.as_mut_ptr(), 1)?, 1),
            _ => return Err(Trouble::failed(format_args!("{found:?}"))),
        }
    }
    let _ = writer.join();
    Ok(())
}

fn thousands_of_times() -> Outcome {
    times_at_once(2_000)
}

/// All end in the same moment.
fn times_at_once(count: u64) -> Outcome {
    let mut ring = Ring::new(256, 0)?;
    let time = now(1)?;
    let at = Timespec { sec: time.sec + 1, ..time };
    for number in 0..count {
        let entry = Sqe { op_flags: IORING_TIMEOUT_ABS, ..timeout(&at, number) };
        if !ring.push_raw(&entry) {
            ring.submit(0)?;
            ring.push_raw(&entry);
        }
    }
    ring.submit(0)?;
    let mut seen = alloc::vec![false; count as usize];
    for _ in 0..count {
        let cqe = take(&mut ring)?;
        equal!(cqe.res, TIME);
        ensure!(!core::mem::replace(&mut seen[cqe.user_data as usize], true), "twice: {}", cqe.user_data);
    }
    Ok(())
}

/// As many as one process may have, all in the same moment: the next is refused by its quota (`RLIMIT_RING_REQUESTS`). That is 2^18 places, with `--rounds 2`;
/// else the process has less.
fn times_up_to_the_quota() -> Outcome {
    crate::machine::needs_asyncos()?;
    let most = if fuzz::number(fuzz::ROUNDS, 1) > 1 { 1 << 18 } else { 1 << 14 };
    let pid = checked_child(|| {
        let limit = Rlimit { current: most, max: most };
        call!(PRLIMIT64, 0, RLIMIT_RING_REQUESTS, &raw const limit, 0)?;
        for _ in 0..2 {
            all_times_of_a_process(most)?;
        }
        Ok(())
    })?;
    exits(pid, 0)
}

fn all_times_of_a_process(most: u64) -> Outcome {
    let time = now(1)?;
    // Later than it takes to ask for them.
    let at = Timespec { sec: time.sec + 1000, ..time };
    let mut rings = Vec::new();
    loop {
        let mut ring = Ring::new(1024, 0)?;
        let count = fill_with_times(&mut ring, &at)?;
        rings.push((ring, count));
        if count == 0 {
            break;
        }
    }
    let all: u64 = rings.iter().map(|(_, count)| count).sum();
    // Places are asked for some at a time.
    ensure!(all <= most && all > most / 8 * 7, "{all} of {most}");
    rings.iter_mut().try_for_each(|(ring, count)| ends_all_times(ring, *count))
}

/// As many that wait as the ring takes.
fn fill_with_times(ring: &mut Ring, at: &Timespec) -> Result<u64, Trouble> {
    let entry = Sqe { op_flags: IORING_TIMEOUT_ABS, ..timeout(at, 1) };
    let mut count = 0;
    loop {
        while ring.push_raw(&entry) {}
        match ring.submit(0) {
            Err(error) if error.raw_os_error() == Some(Errno::EAGAIN.number()) => return Ok(count),
            Err(error) => return Err(error.into()),
            Ok(taken) => count += taken as u64,
        }
        if let Some(cqe) = ring.pop() {
            return Err(Trouble::failed(format_args!("{cqe:?} behind {count}")));
        }
    }
}

fn ends_all_times(ring: &mut Ring, count: u64) -> Outcome {
    let timeout = Timespec { sec: -1, nsec: -1 };
    let flags = IORING_ASYNC_CANCEL_ALL;
    let asked = SyncCancel { addr: 1, fd: -1, flags, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] };
    let number = ring.fd().raw();
    let cancelled = call!(IO_URING_REGISTER, number, IORING_REGISTER_SYNC_CANCEL, &raw const asked, 1)? as u64;
    equal!(cancelled, count);
    let mut found = 0;
    while found < count {
        let cqe = take(ring)?;
        equal!(cqe.res, CANCELLED);
        found += 1;
    }
    Ok(())
}
