//! Ends at any moment, very many of everything, and rights that change; the table of note 0005 says which case is for what.

use super::calls::{call_of, one};
use super::*;
use crate::machine::needs_root;
use crate::process::{RW, dies, kill, map, sleep_ms, unmap};
use crate::runner::free_memory;
use rt::abi::fs::{AT_FDCWD, OpenHow, RESOLVE_BENEATH};
use rt::abi::poll::POLLERR;
use rt::abi::process::{
    CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM,
};
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::abi::signal::{SIGCONT, SIGKILL, SIGSTOP};

pub const CASES: &[Case] = &[
    case!("ring/killed-anywhere", "C4 D14 P1", killed_anywhere),
    case!("ring/execs-while-requests-wait", "C4 D14 P1", execs),
    case!("ring/exits-while-another-thread-waits", "C4 D14", exits_beside_a_waiter),
    case!("ring/ends-while-the-disk-works", "C4 D14 D15", ends_while_the_disk_works),
    case!("ring/cancels-of-cancels", "C4 D14", cancels_of_cancels),
    case!("ring/cancel-against-limit-against-completion", "C4 D14", cancel_against_limit_against_completion),
    case!("ring/thousands-of-one-name", "C4 D13 D14", thousands_of_one_name),
    case!("ring/hundred-thousand-of-one-name", "C4 D13 D14", hundred_thousand_of_one_name, slow),
    case!("ring/longest-chain", "C4 D13 E1", longest_chain),
    case!("ring/never-reaped", "C4 D4 D13", never_reaped),
    case!("ring/thousand-threads-wait", "C4 D2", thousand_threads_wait),
    case!("ring/no-more-than-descriptors", "C4 D13 E1", no_more_than_descriptors),
    case!("ring/rights-are-those-of-submission", "C4 P1", rights_of_submission),
    case!("ring/bounds-hold-while-links-change", "C4 E1", bounds_hold),
];

/// Waits until nobody has the reading end of a pipe any more.
fn is_released(write: &rt::fs::File) -> Outcome {
    for _ in 0..20_000 {
        let mut poll = PollFd { fd: write.fd().raw(), events: 0, revents: 0 };
        let zero = millis(0);
        call!(PPOLL, &raw mut poll, 1, &raw const zero, 0, 0)?;
        if poll.revents & POLLERR != 0 {
            return Ok(());
        }
        sleep_ms(1);
    }
    Err(Trouble::failed("a request has the pipe yet"))
}

/// Some that wait, of each kind, over and over.
fn waits_for_ever(ring: &mut Ring, fd: i32) -> Outcome {
    let (mut bytes, long, word) = ([0u8; 64], millis(100_000), 0u32);
    let address = (&raw const word) as u64;
    let reads = transfer(IORING_OP_READ, fd, &mut bytes, 0);
    let time = Sqe { addr: (&raw const long) as u64, len: 1, ..call_of(IORING_OP_TIMEOUT, -1) };
    let link = |entry: Sqe| Sqe { flags: IOSQE_IO_LINK, ..entry };
    let futex = Sqe { addr: address, addr3: u32::MAX.into(), ..call_of(IORING_OP_FUTEX_WAIT, 0x82) };
    loop {
        push(ring, &[reads, time, Sqe { op_flags: 1, ..call_of(IORING_OP_POLL_ADD, fd) }, futex]);
        push(ring, &[link(reads), Sqe { opcode: IORING_OP_LINK_TIMEOUT, ..time }, link(reads), nop(1, 0, 0)]);
        push(ring, &[nop(2, IOSQE_IO_DRAIN, 0)]);
        ring.submit(0)?;
        push(ring, &[cancel_of(0, IORING_ASYNC_CANCEL_ANY)]);
        ring.submit(1)?;
        while !reap(ring).is_empty() {
            ring.flush()?;
        }
    }
}

fn killed_anywhere() -> Outcome {
    for round in 0..60u64 {
        let (read, write) = rt::pipe::pipe()?;
        let fd = read.fd().raw();
        let pid = checked_child(|| waits_for_ever(&mut Ring::new(64, 0)?, fd))?;
        drop(read);
        thread::sleep(core::time::Duration::from_micros(round * 211));
        if round % 3 == 0 {
            kill(pid, SIGSTOP)?;
            sleep_ms(1);
            if round % 2 == 0 {
                kill(pid, SIGCONT)?;
            }
        }
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
        is_released(&write)?;
    }
    Ok(())
}

fn execs() -> Outcome {
    for _ in 0..10 {
        let (read, write) = rt::pipe::pipe()?;
        let (fd, mut byte) = (read.fd().raw(), [0u8]);
        let pid = checked_child(|| {
            let mut ring = Ring::new(8, 0)?;
            push(&mut ring, &[transfer(IORING_OP_READ, fd, &mut byte, 0); 8]);
            equal!(ring.submit(0)?, 8);
            let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), c"exit 5".as_ptr(), core::ptr::null()];
            call!(EXECVE, c"/bin/sh".as_ptr(), arguments.as_ptr(), 0)?;
            Ok(())
        })?;
        drop(read);
        exits(pid, 5)?;
        is_released(&write)?;
    }
    Ok(())
}

fn exits_beside_a_waiter() -> Outcome {
    for round in 0..20u64 {
        let (read, write) = rt::pipe::pipe()?;
        let (fd, mut byte) = (read.fd().raw(), [0u8]);
        let pid = checked_child(|| {
            let mut ring = Ring::new(8, 0)?;
            push(&mut ring, &[transfer(IORING_OP_READ, fd, &mut byte, 0); 4]);
            equal!(ring.submit(0)?, 4);
            let number = ring.fd().raw();
            let enters = move || call!(IO_URING_ENTER, number, 0, 1, IORING_ENTER_GETEVENTS, 0, 0);
            core::mem::forget((thread::spawn(enters)?, thread::spawn(enters)?));
            thread::sleep(core::time::Duration::from_micros(round * 100));
            Ok(())
        })?;
        drop(read);
        exits(pid, 0)?;
        is_released(&write)?;
    }
    Ok(())
}

/// Transfers go on into memory that nobody has any more: it is pinned, or kept, until they end.
fn ends_while_the_disk_works() -> Outcome {
    let place = crate::place::Place::disk()?;
    let path = place.join("ends");
    let file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open(&path)?;
    let (fd, len) = (file.fd().raw(), 64 * PAGE);
    for round in 0..20 {
        let pid = checked_child(|| {
            let mut ring = Ring::new(32, 0)?;
            let base = crate::process::map(len, crate::process::RW)?;
            let piece = rt::abi::fs::Iovec { base: base as u64, len: len as u64 };
            call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_BUFFERS, &raw const piece, 1)?;
            let moves = |opcode, off| Sqe { addr: base as u64, len: len as u32, off, ..call_of(opcode, fd) };
            for number in 0..8 {
                push(&mut ring, &[moves(IORING_OP_WRITE_FIXED, number * len as u64), call_of(IORING_OP_FSYNC, fd)]);
                push(&mut ring, &[moves(IORING_OP_READ_FIXED, number * len as u64)]);
            }
            ring.submit(0)?;
            if round % 2 == 0 {
                call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_BUFFERS, 0, 0)?;
                call!(MUNMAP, base, len)?;
            }
            Ok(())
        })?;
        exits(pid, 0)?;
    }
    call!(FSYNC, fd)?;
    nothing()
}

/// Three cancel one, another cancels these, and the byte comes: each has one answer.
fn cancels_of_cancels() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (fd, mut byte) = (read.fd().raw(), [0u8]);
    let (stop, number) = (Shared::new()?, ring.fd().raw());
    let canceller = thread::spawn(move || {
        let timeout = Timespec { sec: -1, nsec: -1 };
        let asked = SyncCancel { addr: 7, fd: -1, flags: 0, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] };
        while stop.get(0) == 0 {
            let _ = call!(IO_URING_REGISTER, number, IORING_REGISTER_SYNC_CANCEL, &raw const asked, 1);
        }
    })?;
    let mut outcome = Ok(());
    for round in 0..300 {
        let cancel = |user_data, target| Sqe { user_data, ..cancel_of(target, 0) };
        push(&mut ring, &[transfer(IORING_OP_READ, fd, &mut byte, 0), cancel(1, 7), cancel(2, 7), cancel(3, 1)]);
        push(&mut ring, &[cancel(4, 4), cancel(5, 7)]);
        ring.submit(0)?;
        if round % 2 == 0 {
            io::Write::write_all(&mut write, b"x")?;
        }
        let mut found = reap(&mut ring);
        while found.len() < 6 {
            found.extend(wait(&mut ring, 1)?);
        }
        found.sort_unstable();
        let names: Vec<u64> = found.iter().map(|one| one.0).collect();
        let answers = found[..5].iter().all(|(_, result)| [0, -2, -114, CANCELLED].contains(result));
        if names != [1, 2, 3, 4, 5, 7] || !answers || ![1, CANCELLED].contains(&found[5].1) {
            outcome = Err(Trouble::failed(format_args!("{found:?}")));
            break;
        }
        if round % 2 == 0 && found[5].1 == CANCELLED {
            equal!(call!(READ, fd, byte.as_mut_ptr(), 1)?, 1);
        }
    }
    stop.set(0, 1);
    let _ = canceller.join();
    outcome
}

/// One thread has requests wait, each with a limit of its time, one cancels them, and one has them complete: each has one answer, and no byte is lost.
fn cancel_against_limit_against_completion() -> Outcome {
    const ROUNDS: u32 = 600;
    let mut ring = Ring::new(16, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (fd, mut byte, number, shared) = (read.fd().raw(), [0u8], ring.fd().raw(), Shared::new()?);
    let canceller = thread::spawn(move || {
        let timeout = Timespec { sec: -1, nsec: -1 };
        let asked = SyncCancel { addr: 7, fd: -1, flags: 0, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] };
        while shared.get(0) == 0 {
            let _ = call!(IO_URING_REGISTER, number, IORING_REGISTER_SYNC_CANCEL, &raw const asked, 1);
        }
    })?;
    let writer = thread::spawn(move || {
        let mut written = 0;
        shared.set(2, 1);
        while shared.get(0) == 0 {
            // No more than are asked for: the pipe never is full.
            if written < shared.get(1) {
                written += u32::from(io::Write::write_all(&mut write, b"x").is_ok());
            }
            thread::yield_now();
        }
        written
    })?;
    // Else the rounds may be over before it writes.
    shared.await_least(2, 1);
    let (mut got, mut outcome, mut kinds) = (0, Ok(()), [0u32; 3]);
    for round in 1..=ROUNDS {
        let span = Timespec { sec: 0, nsec: i64::from(round % 25) * 20_000 };
        let limit = Sqe { addr: (&raw const span) as u64, len: 1, ..call_of(IORING_OP_LINK_TIMEOUT, -1) };
        let reads = Sqe { flags: IOSQE_IO_LINK, ..transfer(IORING_OP_READ, fd, &mut byte, 0) };
        push(&mut ring, &[reads, Sqe { user_data: 8, ..limit }]);
        if round % 2 == 0 {
            shared.count(1);
        }
        let found = wait_sorted(&mut ring, 2)?;
        match found[..] {
            [(7, 1), (8, CANCELLED | -114)] => (got, kinds[0]) = (got + 1, kinds[0] + 1),
            [(7, CANCELLED), (8, -62)] => kinds[1] += 1,
            [(7, CANCELLED), (8, CANCELLED | -114)] => kinds[2] += 1,
            _ => {
                outcome = Err(Trouble::failed(format_args!("{found:?}")));
                break;
            }
        }
    }
    shared.set(0, 1);
    let (_, written) = (canceller.join(), writer.join());
    outcome?;
    let mut left = alloc::vec![0u8; ROUNDS as usize];
    let written = written.unwrap_or(0) as usize;
    if got < written {
        got += call!(READ, fd, left.as_mut_ptr(), left.len())?;
    }
    equal!(got, written);
    // Else nothing has met.
    ensure!(kinds[0] > 0 && kinds[1] + kinds[2] > 0, "{kinds:?}");
    Ok(())
}

/// `count` requests of one name, which one cancellation ends.
fn many_of_one_name(count: usize, waits: Sqe) -> Outcome {
    let mut ring = Ring::new(1024, 0)?;
    for _ in 0..count / 1000 {
        push(&mut ring, &alloc::vec![waits; 1000]);
        equal!(ring.submit(0)?, 1000);
    }
    push(&mut ring, &[cancel_of(7, IORING_ASYNC_CANCEL_ALL)]);
    ring.submit(0)?;
    let (mut cancelled, mut told) = (0, false);
    while cancelled < count || !told {
        ring.submit(1)?;
        for found in reap(&mut ring) {
            cancelled += usize::from(found == (7, CANCELLED));
            told |= found == (99, count as i32);
            ensure!(found == (7, CANCELLED) || found == (99, count as i32), "{found:?}");
        }
        ring.flush()?;
    }
    equal!(cancelled, count);
    Ok(())
}

fn thousands_of_one_name() -> Outcome {
    let (read, _write) = rt::pipe::pipe()?;
    many_of_one_name(10_000, Sqe { op_flags: 1, ..call_of(IORING_OP_POLL_ADD, read.fd().raw()) })
}

fn hundred_thousand_of_one_name() -> Outcome {
    let (read, _write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    many_of_one_name(100_000, transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0))
}

/// As long as a ring, of which none is longer: to its end, cancelled from its beginning, and behind one that waits. With `--rounds 2` four at a time are behind
/// those that wait, more than 10^5 entries.
fn longest_chain() -> Outcome {
    let mut ring = Ring::new(LONGEST as u32, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    let chains = if fuzz::number(fuzz::ROUNDS, 1) > 1 { 4 } else { 1 };
    let waits = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    for (head, chains, first, rest) in
        [(nop(0, 0, 0), 1, 0, 3), (nop(0, 0, -5), 1, -5, CANCELLED), (waits, chains, 1, 3)]
    {
        for chain in 0..chains {
            submit_chain(&mut ring, Sqe { flags: IOSQE_IO_LINK, user_data: chain << 32, ..head })?;
        }
        if head.opcode == IORING_OP_READ {
            ensure!(ring.pop().is_none(), "a chain has begun");
            io::Write::write_all(&mut write, &alloc::vec![0; chains as usize])?;
        }
        let mut next = alloc::vec![0; chains as usize];
        while next.iter().any(|next| *next < LONGEST) {
            ring.submit(1)?;
            for (user_data, found) in reap(&mut ring) {
                let (chain, number) = ((user_data >> 32) as usize, user_data as u32 as usize);
                equal!((number, found), (next[chain], if number == 0 { first } else { rest }));
                next[chain] += 1;
            }
            ring.flush()?;
        }
    }
    Ok(())
}

/// Entries of the longest ring, so of the longest chain: one ends with its submission.
const LONGEST: usize = 32_768;

/// One of that length. What its entries are named is counted from the name of the first.
fn submit_chain(ring: &mut Ring, head: Sqe) -> Outcome {
    push(ring, &[head]);
    for number in 1..LONGEST {
        let flags = if number + 1 < LONGEST { IOSQE_IO_LINK } else { 0 };
        push(ring, &[nop(head.user_data + number as u64, flags, 3)]);
    }
    let mut taken = 0;
    while taken < LONGEST {
        taken += ring.submit(0)?;
    }
    Ok(())
}

/// Completions that nobody takes are kept, as many as a ring has places for; then no entry is taken, and nothing was lost.
fn never_reaped() -> Outcome {
    /// Entries, to a ring that takes none.
    const OFFERED: u64 = 10_000_000;
    let mut ring = Ring::new(1024, 0)?;
    let (mut pushed, mut taken) = (0u64, 0);
    let refused = loop {
        while ring.push_raw(&nop(pushed, 0, 1)) {
            pushed += 1;
        }
        match ring.submit(0) {
            Ok(some) => taken += some as u64,
            Err(error) => break error,
        }
        ensure!(taken <= 1 << 20, "{taken} without end");
    };
    ensure!([Some(11), Some(16)].contains(&refused.raw_os_error()), "{refused}");
    // Who goes on all the same gets nothing for it, and costs nothing: all entries of the ring, over and over.
    let (offers, before) = (OFFERED / (pushed - taken), free_memory());
    for _ in 0..offers {
        let refused = ring.submit(0).err().and_then(|error| error.raw_os_error());
        ensure!(matches!(refused, Some(11 | 16)), "{refused:?}");
    }
    let missing = before.unwrap_or(0) - free_memory().unwrap_or(0);
    ensure!(missing < 1024, "{missing} KiB more are kept");
    reap_in_order(&mut ring, taken)?;
    let mut next = taken;
    equal!(raw::atomic(ring.address(at::CQ_OVERFLOW)).load(Relaxed), 0);
    // What was refused goes on.
    while next < pushed {
        ring.submit(0)?;
        next += reap(&mut ring).len() as u64;
        ring.flush()?;
    }
    equal!(next, pushed);
    Ok(())
}

/// Where the threads of the next case find what they need.
const NUMBER: usize = 0;
const READY: usize = 1;
const WOKEN: usize = 2;

/// Waits for all completions of the ring; `address` is of the page that all share.
extern "C" fn waits_on_small_stack(address: usize) {
    let number = raw::atomic(address + 4 * NUMBER).load(Relaxed);
    raw::atomic(address + 4 * READY).fetch_add(1, Relaxed);
    if call!(IO_URING_ENTER, number, 0, 8, IORING_ENTER_GETEVENTS, 0, 0) == Ok(0) {
        raw::atomic(address + 4 * WOKEN).fetch_add(1, Relaxed);
    }
}

/// On stacks as small as they may be: a ring is not to be what limits how many wait in it.
fn thousand_threads_wait() -> Outcome {
    const STACK: usize = 2 * PAGE;
    // Each takes some tens of KiB of the kernel's: a small machine has not the memory for all.
    let count = if free_memory().is_some_and(|free| free < 256 << 10) { 300 } else { 1_000 };
    let mut ring = Ring::new(8, 0)?;
    // Words of all, then one of each thread, which is cleared when it has left its stack.
    let shared = map(2 * PAGE, RW)?;
    let stacks = map(count * STACK, RW)?;
    let word = |index: usize| raw::atomic(shared + 4 * index);
    word(NUMBER).store(ring.fd().raw().cast_unsigned(), Relaxed);
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
    let runs = |thread: usize| raw::atomic(shared + PAGE + 4 * thread);
    for thread in 0..count {
        let stack = stacks + (thread + 1) * STACK;
        runs(thread).store(1, Relaxed);
        let how = raw::Clone { flags, stack, parent_tid: 0, tls: 0, child_tid: shared + PAGE + 4 * thread };
        let tid = raw::clone_call(how, waits_on_small_stack, shared);
        ensure!(tid > 0, "thread {thread}: {tid}");
    }
    let until = |index: usize, value: u32| {
        while word(index).load(Relaxed) < value {
            sleep_ms(1);
        }
    };
    until(READY, count as u32);
    // Too few for any of them, again and again.
    for number in 0..8 {
        equal!(word(WOKEN).load(Relaxed), 0);
        push(&mut ring, &[nop(number, 0, 0)]);
        equal!(ring.submit(0)?, 1);
    }
    until(WOKEN, count as u32);
    equal!(reap(&mut ring).len(), 8);
    while (0..count).any(|thread| runs(thread).load(Relaxed) != 0) {
        sleep_ms(1);
    }
    unmap(stacks, count * STACK)?;
    unmap(shared, 2 * PAGE)?;
    Ok(())
}

fn no_more_than_descriptors() -> Outcome {
    let pid = checked_child(|| {
        let limit = Rlimit { current: 40, max: 40 };
        call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const limit, 0)?;
        for _ in 0..3 {
            let mut rings = Vec::new();
            let refused = loop {
                match Ring::new(1, 0) {
                    Ok(ring) => rings.push(ring),
                    Err(error) => break error,
                }
                ensure!(rings.len() <= 40, "{} rings", rings.len());
            };
            equal!(refused.raw_os_error(), Some(Errno::EMFILE.number()));
        }
        Ok(())
    })?;
    exits(pid, 0)
}

/// A file that only root may open: by what root has submitted, though it is root no more; by nothing that comes later, and by nobody
/// who has only got the ring.
fn rights_of_submission() -> Outcome {
    needs_root()?;
    let path = c"/tmp/ring-rights";
    rt::fs::write("/tmp/ring-rights", [1; 4])?;
    call!(FCHMODAT, AT_FDCWD, path.as_ptr(), 0o600)?;
    let mut ring = Ring::new(8, 0)?;
    let opens = Sqe { addr: path.as_ptr() as u64, ..call_of(IORING_OP_OPENAT, AT_FDCWD) };
    let (read, mut write) = rt::pipe::pipe()?;
    let pid = checked_child(|| {
        let mut own = Ring::new(8, 0)?;
        let mut byte = [0u8];
        let waits = Sqe { flags: IOSQE_IO_LINK, ..transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0) };
        push(&mut own, &[waits, Sqe { user_data: 8, ..opens }]);
        equal!(own.submit(0)?, 2);
        call!(SETUID, 4244)?;
        io::Write::write_all(&mut write, b"x")?;
        let mut found = Vec::new();
        while found.len() < 2 {
            found.extend(self::wait(&mut own, 1)?);
        }
        ensure!(matches!(found[..], [(7, 1), (8, 3..)]), "{found:?}");
        equal!(one(&mut own, opens)?, -13);
        // Root's ring, by somebody else's call.
        equal!(one(&mut ring, opens)?, -13);
        Ok(())
    })?;
    let ended = exits(pid, 0);
    rt::fs::remove_file("/tmp/ring-rights")?;
    ended
}

/// A name becomes a link that leads out, and back, while it is opened.
fn bounds_hold() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let _ = rt::fs::remove_dir_all("/tmp/ring-swap");
    rt::fs::create_dir_all("/tmp/ring-swap/in/dir")?;
    rt::fs::create_dir_all("/tmp/ring-swap/out")?;
    rt::fs::write("/tmp/ring-swap/in/dir/file", b"inside")?;
    rt::fs::write("/tmp/ring-swap/out/file", b"beyond")?;
    call!(SYMLINKAT, c"../out".as_ptr(), AT_FDCWD, c"/tmp/ring-swap/in/link".as_ptr())?;
    let dir = rt::fs::File::open("/tmp/ring-swap/in")?;
    let stop = Shared::new()?;
    let swapper = thread::spawn(move || {
        let renames = |from: &core::ffi::CStr, to: &core::ffi::CStr| {
            let _ = call!(RENAMEAT2, AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), 0);
        };
        while stop.get(0) == 0 {
            renames(c"/tmp/ring-swap/in/dir", c"/tmp/ring-swap/in/aside");
            renames(c"/tmp/ring-swap/in/link", c"/tmp/ring-swap/in/dir");
            renames(c"/tmp/ring-swap/in/dir", c"/tmp/ring-swap/in/link");
            renames(c"/tmp/ring-swap/in/aside", c"/tmp/ring-swap/in/dir");
        }
    })?;
    let how = OpenHow { flags: 0, mode: 0, resolve: RESOLVE_BENEATH.into() };
    let (addr, off) = (c"dir/file".as_ptr() as u64, &raw const how as u64);
    let opens = Sqe { addr, off, len: size_of::<OpenHow>() as u32, ..call_of(IORING_OP_OPENAT2, dir.fd().raw()) };
    let mut outcome = Ok(());
    for _ in 0..1000 {
        let fd = one(&mut ring, opens)?;
        let mut bytes = [0u8; 6];
        // Not there for a moment, or leading out.
        let fine = match fd {
            0.. => call!(READ, fd, bytes.as_mut_ptr(), 6)? == 6 && bytes == *b"inside" && call!(CLOSE, fd).is_ok(),
            error => [-2, -18, -11].contains(&error),
        };
        if !fine {
            outcome = Err(Trouble::failed(format_args!("{fd} {bytes:?}")));
            break;
        }
    }
    stop.set(0, 1);
    let _ = swapper.join();
    rt::fs::remove_dir_all("/tmp/ring-swap")?;
    outcome
}
