//! What `io_uring_register` has beside files, buffers and counters: rings by a place, restrictions, what is said of workers and clocks; and waits that take what there is
//! after some time.

use super::calls::{call_of, one};
use super::others::{fixed, nobody_reads};
use super::*;
use rt::fs::File;
use rt::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    case!("ring/rings-by-place", "C4 D3", rings_by_place),
    case!("ring/rings-by-place-are-a-threads", "C4 S6", places_of_threads),
    case!("ring/place-keeps-its-ring", "C4 D14", place_keeps_its_ring),
    case!("ring/wrong-places-of-rings", "C4 E1", wrong_places),
    case!("ring/restricted", "C4 S6", restricted),
    case!("ring/wrong-restrictions", "C4 E1", wrong_restrictions),
    case!("ring/sparse-files", "C4 D3", sparse_files),
    case!("ring/workers-and-clocks", "C4 E1", workers_and_clocks),
    case!("ring/takes-what-there-is-after-a-time", "C4 D3", takes_what_there_is),
];

fn call<T>(ring: &Ring, what: u32, argument: *const T, count: usize) -> Result<usize, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), what, argument, count)
}

const ANY: u32 = u32::MAX;

fn enrol(ring: &Ring, offset: u32) -> Result<u32, Errno> {
    let mut update = RingUpdate { offset, resv: 0, data: ring.fd().raw() as u64 };
    equal_or(call(ring, IORING_REGISTER_RING_FDS, &raw mut update, 1)?, 1)?;
    Ok(update.offset)
}

/// One that counts wrongly is not what the caller expects.
fn equal_or(found: usize, expected: usize) -> Result<(), Errno> {
    if found == expected { Ok(()) } else { Err(Errno::EIO) }
}

fn expel(ring: &Ring, offset: u32) -> Result<usize, Errno> {
    call(ring, IORING_UNREGISTER_RING_FDS, &RingUpdate { offset, ..RingUpdate::default() }, 1)
}

fn enter(place: u32, submit: u32) -> Result<usize, Errno> {
    call!(IO_URING_ENTER, place, submit, 0, IORING_ENTER_REGISTERED_RING, 0, 0)
}

fn probe_by(place: u32) -> Result<usize, Errno> {
    let mut found = [0u64; 2 + 64];
    let what = IORING_REGISTER_PROBE | IORING_REGISTER_USE_REGISTERED_RING;
    call!(IO_URING_REGISTER, place, what, found.as_mut_ptr(), 64)
}

fn rings_by_place() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    ensure!(ring.features() & IORING_FEAT_REG_REG_RING != 0, "the feature is not told");
    equal!(enrol(&ring, ANY)?, 0);
    equal!(enrol(&ring, 7)?, 7);
    equal!(enrol(&ring, ANY)?, 1);
    for place in [0, 1, 7] {
        push(&mut ring, &[nop(u64::from(place), 0, 0)]);
        ring.show();
        equal!(enter(place, 1)?, 1);
        equal!(reap(&mut ring), [(u64::from(place), 0)]);
        equal!(probe_by(place)?, 0);
    }
    equal!(expel(&ring, 7)?, 1);
    equal!(expel(&ring, 7)?, 1);
    fails!(enter(7, 0), EBADF);
    fails!(probe_by(7), EBADF);
    fails!(enter(2, 0), EBADF);
    fails!(enter(16, 0), EINVAL);
    fails!(probe_by(16), EINVAL);
    // It stays when its descriptor goes, which may be another's then.
    let other = raw::file(call!(DUP, ring.fd().raw())?);
    let update = RingUpdate { offset: 7, resv: 0, data: other.fd().raw() as u64 };
    equal!(call(&ring, IORING_REGISTER_RING_FDS, &update, 1)?, 1);
    drop(other);
    push(&mut ring, &[nop(5, 0, 5)]);
    ring.show();
    equal!(enter(7, 1)?, 1);
    equal!(reap(&mut ring), [(5, 5)]);
    Ok(())
}

fn places_of_threads() -> Outcome {
    let ring = Ring::new(4, 0)?;
    equal!(enrol(&ring, 3)?, 3);
    let others = rt::thread::spawn(|| enter(3, 0).map_err(|errno| errno.number()))?.join();
    equal!(others, Some(Err(Errno::EBADF.number())));
    let pid = checked_child(|| {
        fails!(enter(3, 0), EBADF);
        equal!(enrol(&ring, ANY)?, 0);
        equal!(enter(0, 0)?, 0);
        Ok(())
    })?;
    exits(pid, 0)?;
    // Many threads, each with places of its own, that end with them.
    let threads = (0..20).map(|number| {
        let fd = ring.fd().raw() as u64;
        rt::thread::spawn(move || {
            let update = RingUpdate { offset: number % 16, resv: 0, data: fd };
            call!(IO_URING_REGISTER, fd, IORING_REGISTER_RING_FDS, &raw const update, 1) == Ok(1)
                && (0..16).all(|place| enter(place, 0).is_ok() == (place == number % 16))
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        equal!(thread?.join(), Some(true));
    }
    equal!(enter(3, 0)?, 0);
    Ok(())
}

/// A ring that reads.
fn reads(read: &File) -> Result<Ring, Trouble> {
    let mut ring = Ring::new(8, 0)?;
    // Nothing ever comes that would go to this address.
    push(&mut ring, &[Sqe { addr: 8, len: 1, ..call_of(IORING_OP_READ, read.fd().raw()) }]);
    equal!(ring.submit(0)?, 1);
    Ok(ring)
}

/// A ring that reads a pipe, which has no other reader; and the other end.
fn reader() -> Result<(Ring, File), Trouble> {
    let (read, write) = rt::pipe::pipe()?;
    Ok((reads(&read)?, write))
}

fn is_read(write: &File) -> Outcome {
    let mut polls = Ring::new(1, 0)?;
    let entry = Sqe { op_flags: POLLOUT.into(), ..call_of(IORING_OP_POLL_ADD, write.fd().raw()) };
    equal!(one(&mut polls, entry)? as u16, POLLOUT);
    Ok(())
}

fn place_keeps_its_ring() -> Outcome {
    let mut looks = Ring::new(8, 0)?;
    let (ring, write) = reader()?;
    equal!(enrol(&ring, ANY)?, 0);
    drop(ring);
    is_read(&write)?;
    equal!(enter(0, 0)?, 0);
    equal!(expel(&looks, 0)?, 1);
    nobody_reads(&mut looks, &write)?;
    // With its thread.
    let (ring, write) = reader()?;
    let ends = thread::spawn(move || enrol(&ring, ANY).map(drop))?;
    ends.join().ok_or_else(|| Trouble::failed(format_args!("it panicked")))??;
    nobody_reads(&mut looks, &write)?;
    // With its process, however that ends.
    for signal in [false, true] {
        let (read, write) = rt::pipe::pipe()?;
        let pid = checked_child(|| {
            let ring = reads(&read)?;
            enrol(&ring, ANY)?;
            drop(ring);
            if signal {
                loop {
                    thread::sleep(core::time::Duration::from_secs(1));
                }
            }
            Ok(())
        })?;
        drop(read);
        if signal {
            await_blocked(pid)?;
            crate::process::kill(pid, 9)?;
            crate::process::dies(pid, 9)?;
        } else {
            exits(pid, 0)?;
        }
        nobody_reads(&mut looks, &write)?;
    }
    Ok(())
}

fn wrong_places() -> Outcome {
    let ring = Ring::new(4, 0)?;
    let (read, _write) = rt::pipe::pipe()?;
    let right = RingUpdate { offset: ANY, resv: 0, data: ring.fd().raw() as u64 };
    let what = IORING_REGISTER_RING_FDS;
    for (wrong, errno) in [
        (RingUpdate { resv: 1, ..right }, Errno::EINVAL),
        (RingUpdate { offset: 16, ..right }, Errno::EINVAL),
        (RingUpdate { data: read.fd().raw() as u64, ..right }, Errno::EOPNOTSUPP),
        (RingUpdate { data: 300, ..right }, Errno::EBADF),
    ] {
        equal!(call(&ring, what, &wrong, 1), Err(errno));
        // Behind one that is right, it ends the list.
        equal!(call(&ring, what, &[RingUpdate { offset: 4, ..right }, wrong], 2), Ok(1));
        equal!(expel(&ring, 4)?, 1);
    }
    for count in [0, 17] {
        equal!(call(&ring, what, &right, count), Err(Errno::EINVAL));
        equal!(call(&ring, IORING_UNREGISTER_RING_FDS, &right, count), Err(Errno::EINVAL));
    }
    equal!(call(&ring, what, core::ptr::without_provenance::<u8>(8), 1), Err(Errno::EFAULT));
    for wrong in [RingUpdate { data: 1, ..RingUpdate::default() }, RingUpdate { offset: 16, ..RingUpdate::default() }] {
        equal!(call(&ring, IORING_UNREGISTER_RING_FDS, &wrong, 1), Err(Errno::EINVAL));
    }
    for place in 0..16 {
        equal!(enrol(&ring, ANY)?, place);
    }
    equal!(enrol(&ring, ANY), Err(Errno::EBUSY));
    equal!(enrol(&ring, 5), Err(Errno::EBUSY));
    Ok(())
}

fn rule(opcode: u16, value: u8) -> Restriction {
    Restriction { opcode, value, ..Restriction::default() }
}

fn restricted() -> Outcome {
    let mut ring = Ring::new(8, IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL)?;
    let rules = [
        rule(IORING_RESTRICTION_SQE_OP, IORING_OP_NOP),
        rule(IORING_RESTRICTION_SQE_OP, IORING_OP_READ),
        rule(IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IOSQE_IO_LINK),
        rule(IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_PROBE as u8),
    ];
    equal!(call(&ring, IORING_REGISTER_RESTRICTIONS, &rules, rules.len())?, 0);
    equal!(call(&ring, IORING_REGISTER_RESTRICTIONS, &rules, rules.len()), Err(Errno::EBUSY));
    equal!(call::<u8>(&ring, IORING_REGISTER_ENABLE_RINGS, core::ptr::null(), 0)?, 0);
    equal!(call(&ring, IORING_REGISTER_RESTRICTIONS, &rules, rules.len()), Err(Errno::EACCES));
    let refused = -Errno::EACCES.number();
    let (read, mut write) = rt::pipe::pipe()?;
    io::Write::write_all(&mut write, b"abc")?;
    let mut byte = [0u8];
    equal!(run(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    equal!(one(&mut ring, transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0))?, 1);
    equal!(one(&mut ring, transfer(IORING_OP_WRITE, write.fd().raw(), &mut byte, 0))?, refused);
    equal!(one(&mut ring, fixed(transfer(IORING_OP_READ, 0, &mut byte, 0)))?, refused);
    // In a batch, and in a chain, which what is refused ends.
    let reads = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
    let writes = Sqe { user_data: 8, ..transfer(IORING_OP_WRITE, write.fd().raw(), &mut byte, 0) };
    equal!(run(&mut ring, &[nop(1, 0, 1), writes, reads])?, [(1, 1), (8, refused), (7, 1)]);
    let linked = nop(1, IOSQE_IO_LINK, 1);
    equal!(run(&mut ring, &[linked, writes])?, [(1, CANCELLED), (8, refused)]);
    equal!(run(&mut ring, &[Sqe { opcode: 255, ..nop(2, 0, 0) }])?, [(2, EINVAL)]);
    let mut found = [0u64; 2 + 64];
    equal!(call(&ring, IORING_REGISTER_PROBE, found.as_mut_ptr(), 64)?, 0);
    equal!(call::<u8>(&ring, IORING_UNREGISTER_FILES, core::ptr::null(), 0), Err(Errno::EACCES));
    Ok(())
}

fn wrong_restrictions() -> Outcome {
    let ring = Ring::new(4, IORING_SETUP_R_DISABLED)?;
    let what = IORING_REGISTER_RESTRICTIONS;
    for wrong in [rule(IORING_RESTRICTION_LAST, 0), rule(IORING_RESTRICTION_SQE_OP, 200)] {
        equal!(call(&ring, what, &[rule(IORING_RESTRICTION_SQE_OP, 0), wrong], 2), Err(Errno::EINVAL));
    }
    equal!(call::<u8>(&ring, what, core::ptr::null(), 1), Err(Errno::EINVAL));
    equal!(call(&ring, what, core::ptr::without_provenance::<u8>(8), 1), Err(Errno::EFAULT));
    equal!(call(&ring, what, &[0u8; 16], 1000), Err(Errno::EINVAL));
    // What was wrong left nothing behind.
    equal!(call(&ring, what, &rule(IORING_RESTRICTION_SQE_OP, 0), 1)?, 0);
    let enabled = Ring::new(4, 0)?;
    equal!(call(&enabled, what, &rule(IORING_RESTRICTION_SQE_OP, 0), 1), Err(Errno::EBADFD));
    Ok(())
}

fn sparse_files() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let size = size_of::<RsrcRegister>();
    let sparse = RsrcRegister { nr: 8, flags: IORING_RSRC_REGISTER_SPARSE, ..RsrcRegister::default() };
    let some = [0i32; 8];
    for wrong in [
        RsrcRegister { nr: 0, ..sparse },
        RsrcRegister { resv2: 1, ..sparse },
        RsrcRegister { flags: 2, ..sparse },
        RsrcRegister { data: some.as_ptr() as u64, ..sparse },
    ] {
        equal!(call(&ring, IORING_REGISTER_FILES2, &wrong, size), Err(Errno::EINVAL));
    }
    equal!(call(&ring, IORING_REGISTER_FILES2, &sparse, size - 1), Err(Errno::EINVAL));
    equal!(call(&ring, IORING_REGISTER_FILES2, &sparse, size)?, 0);
    equal!(call(&ring, IORING_REGISTER_FILES2, &sparse, size), Err(Errno::EBUSY));
    let (read, mut write) = rt::pipe::pipe()?;
    io::Write::write_all(&mut write, b"xy")?;
    let mut byte = [0u8];
    let reads = fixed(transfer(IORING_OP_READ, 5, &mut byte, 0));
    equal!(one(&mut ring, reads)?, -9);
    let (fds, tags) = ([read.fd().raw(), -1], [0u64, 0]);
    let update =
        RsrcUpdate { offset: 5, data: fds.as_ptr() as u64, tags: tags.as_ptr() as u64, nr: 2, ..RsrcUpdate::default() };
    let size = size_of::<RsrcUpdate>();
    for wrong in [
        RsrcUpdate { nr: 0, ..update },
        RsrcUpdate { resv: 1, ..update },
        RsrcUpdate { resv2: 1, ..update },
        RsrcUpdate { offset: 7, ..update },
    ] {
        equal!(call(&ring, IORING_REGISTER_FILES_UPDATE2, &wrong, size), Err(Errno::EINVAL));
    }
    let beyond = RsrcUpdate { offset: u32::MAX, ..update };
    equal!(call(&ring, IORING_REGISTER_FILES_UPDATE2, &beyond, size), Err(Errno::EOVERFLOW));
    equal!(call(&ring, IORING_REGISTER_FILES_UPDATE2, &update, size)?, 2);
    equal!(one(&mut ring, reads)?, 1);
    equal!(byte[0], b'x');
    Ok(())
}

fn workers_and_clocks() -> Outcome {
    let ring = Ring::new(64, 0)?;
    let mut limits = [3u32, 0];
    equal!(call(&ring, IORING_REGISTER_IOWQ_MAX_WORKERS, limits.as_mut_ptr(), 2)?, 0);
    let first = limits;
    ensure!(first[0] > 0 && first[1] > 0, "limits at first: {first:?}");
    limits = [0, 5];
    equal!(call(&ring, IORING_REGISTER_IOWQ_MAX_WORKERS, limits.as_mut_ptr(), 2)?, 0);
    equal!(limits, [3, first[1]]);
    limits = [0, 0];
    equal!(call(&ring, IORING_REGISTER_IOWQ_MAX_WORKERS, limits.as_mut_ptr(), 2)?, 0);
    equal!(limits, [3, 5]);
    limits = [1 << 31, 0];
    equal!(call(&ring, IORING_REGISTER_IOWQ_MAX_WORKERS, limits.as_mut_ptr(), 2), Err(Errno::EINVAL));
    equal!(call(&ring, IORING_REGISTER_IOWQ_MAX_WORKERS, limits.as_mut_ptr(), 1), Err(Errno::EINVAL));
    let hart = 1u64;
    equal!(call(&ring, IORING_REGISTER_IOWQ_AFF, &hart, 8)?, 0);
    equal!(call(&ring, IORING_REGISTER_IOWQ_AFF, &(1u64 << 40), 8), Err(Errno::EINVAL));
    equal!(call(&ring, IORING_REGISTER_IOWQ_AFF, &hart, 0), Err(Errno::EINVAL));
    equal!(call::<u8>(&ring, IORING_UNREGISTER_IOWQ_AFF, core::ptr::null(), 0)?, 0);
    let clock = |clockid, resv| ClockRegister { clockid, resv };
    for right in [rt::abi::time::CLOCK_MONOTONIC, rt::abi::time::CLOCK_BOOTTIME] {
        equal!(call(&ring, IORING_REGISTER_CLOCK, &clock(right, [0; 3]), 0)?, 0);
    }
    for wrong in [clock(0, [0; 3]), clock(1, [0, 0, 1])] {
        equal!(call(&ring, IORING_REGISTER_CLOCK, &wrong, 0), Err(Errno::EINVAL));
    }
    for polling in [IORING_REGISTER_NAPI, IORING_UNREGISTER_NAPI] {
        equal!(call(&ring, polling, &hart, 1), Err(Errno::EOPNOTSUPP));
        equal!(call(&ring, polling, &hart, 2), Err(Errno::EINVAL));
    }
    equal!(call::<u8>(&ring, IORING_REGISTER_NAPI, core::ptr::null(), 1), Err(Errno::EINVAL));
    Ok(())
}

/// A wait for so many completions, with a time from which on one that comes is enough, and one after which none is.
fn wait_least(ring: &Ring, count: u32, least: Duration, most: Option<u64>) -> Result<usize, Errno> {
    let span = most.map(millis);
    let ts = span.as_ref().map_or(0, |span| core::ptr::from_ref(span) as u64);
    let argument = GetEvents { ts, min_wait_usec: least.as_micros() as u32, ..GetEvents::default() };
    let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    call!(IO_URING_ENTER, ring.fd().raw(), 0, count, flags, &raw const argument, 24)
}

fn takes_what_there_is() -> Outcome {
    const LEAST: Duration = Duration::from_millis(20);
    let mut ring = Ring::new(8, 0)?;
    ensure!(ring.features() & IORING_FEAT_MIN_TIMEOUT != 0, "the feature is not told");
    let after = |millis: u64, user_data| {
        let span = Timespec::from_nanos(millis * 1_000_000);
        (span, user_data)
    };
    // No time of its own, which would end a wait: a read that has a silent limit.
    let (read, _write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    let mut begin = |ring: &mut Ring, (span, user_data): &(Timespec, u64)| -> Outcome {
        let addr = core::ptr::from_ref(span) as u64;
        let reads = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
        let limit = Sqe { opcode: IORING_OP_LINK_TIMEOUT, addr, len: 1, ..Sqe::default() };
        let limit = Sqe { flags: IOSQE_CQE_SKIP_SUCCESS, ..limit };
        push(ring, &[Sqe { flags: IOSQE_IO_LINK, user_data: *user_data, ..reads }, limit]);
        equal!(ring.submit(0)?, 2);
        Ok(())
    };
    let elapsed = CANCELLED;
    // One comes before: with that it ends, though two are wanted, but not sooner.
    let start = Instant::now();
    begin(&mut ring, &after(2, 1))?;
    equal!(wait_least(&ring, 2, LEAST, None)?, 0);
    ensure!(start.elapsed() >= LEAST, "too early");
    equal!(reap(&mut ring), [(1, elapsed)]);
    // None comes before: with the first that does.
    let start = Instant::now();
    begin(&mut ring, &after(60, 2))?;
    equal!(wait_least(&ring, 2, LEAST, Some(1_000_000))?, 0);
    ensure!(start.elapsed() >= Duration::from_millis(60), "too early");
    equal!(reap(&mut ring), [(2, elapsed)]);
    // All come before.
    push(&mut ring, &[nop(3, 0, 0), nop(4, 0, 0)]);
    equal!(ring.submit(0)?, 2);
    equal!(wait_least(&ring, 2, Duration::from_secs(1000), None)?, 0);
    equal!(reap(&mut ring).len(), 2);
    // One that was there, and not taken, is enough then.
    push(&mut ring, &[nop(5, 0, 0)]);
    equal!(ring.submit(0)?, 1);
    equal!(wait_least(&ring, 2, LEAST, Some(1_000_000))?, 0);
    equal!(reap(&mut ring).len(), 1);
    // None at all.
    fails!(wait_least(&ring, 2, LEAST, None), ETIME);
    fails!(wait_least(&ring, 2, LEAST, Some(40)), ETIME);
    // As on Linux, not sooner with a limit that is.
    let start = Instant::now();
    fails!(wait_least(&ring, 2, LEAST, Some(1)), ETIME);
    ensure!(start.elapsed() >= LEAST, "too early");
    Ok(())
}
