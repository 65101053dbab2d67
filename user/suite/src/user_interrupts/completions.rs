//! Completions of a ring that raise a vector.

use super::{counting, until};
use crate::case::{Outcome, Trouble};
use crate::process::{Shared, checked_child, dies, exits, kill, millis};
use crate::rings::transfer;
use alloc::vec::Vec;
use rt::abi::io_uring::{IORING_OP_READ, IORING_UNREGISTER_EVENTFD, Sqe};
use rt::abi::signal::SIGKILL;
use rt::io::{Read, Write};
use rt::ring::Ring;
use rt::{fs, thread};

/// A thread that computes, and makes no call, has its completions when its handler has run; each raises the vector once.
pub fn of_a_ring() -> Outcome {
    const ROUNDS: u32 = 60;
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1)?;
    let mut ring = Ring::new(8, 0)?;
    fails!(ring.raise(&right, 1), EPERM);
    fails!(ring.raise(&right, 64), EINVAL);
    ring.raise(&right, 0)?;
    fails!(ring.raise(&right, 0), EBUSY);
    let (read, mut write) = rt::pipe::pipe()?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        for round in 1..=ROUNDS {
            shared.await_least(0, round);
            write.write_all(&[round as u8])?;
        }
        Ok(())
    })?;
    let mut byte = [0];
    for round in 1..=ROUNDS {
        let entry = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
        ensure!(ring.push_raw(&Sqe { user_data: round.into(), ..entry }), "no room");
        ring.submit(0)?;
        shared.set(0, round);
        while counts.get(0) < round {
            core::hint::spin_loop();
        }
        let found = ring.pop().map(|cqe| (cqe.user_data, cqe.res));
        equal!((found, byte[0]), (Some((u64::from(round), 1)), round as u8));
        equal!(counts.get(0), round);
    }
    exits(pid, 0)?;
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_EVENTFD, 0, 0)?;
    Ok(ring.raise(&right, 0)?)
}

/// Reads that complete together.
const READS: usize = 4;
/// What the thread does until they have.
const WAYS: u32 = 7;

/// Their pipes: the ends that are read, and those that are written.
fn pipes() -> Result<(Vec<fs::File>, Vec<fs::File>), Trouble> {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..READS {
        let (read, write) = rt::pipe::pipe()?;
        reads.push(read);
        writes.push(write);
    }
    Ok((reads, writes))
}

/// Whatever the thread does that completions interrupt, all are there in the end, each once: it serves them on its way, or others do while it waits.
pub fn whatever_it_does() -> Outcome {
    const ROUNDS: u32 = 50 * WAYS;
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1)?;
    let mut ring = Ring::new(8, 0)?;
    ring.raise(&right, 0)?;
    let (reads, mut writes) = pipes()?;
    let (mut last, mut tells) = rt::pipe::pipe()?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        for round in 1..=ROUNDS {
            shared.await_least(0, round);
            for write in &mut writes {
                write.write_all(&[round as u8])?;
            }
            tells.write_all(&[round as u8])?;
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        let mut bytes = [0; READS];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let entry = transfer(IORING_OP_READ, reads[index].fd().raw(), core::slice::from_mut(byte), 0);
            ensure!(ring.push_raw(&Sqe { user_data: index as u64, ..entry }), "no room");
        }
        ring.submit(0)?;
        let before = counts.get(0);
        shared.set(0, round);
        let (mut found, mut came) = ([0; READS], 0);
        while came < READS {
            if round % WAYS == 1 {
                // Once: behind that what is missing is looked for.
                until(&receiver, || counts.get(0) > before)?;
            } else {
                passes(round % WAYS, &mut ring)?;
            }
            while let Some(cqe) = ring.pop() {
                equal!(cqe.res, 1);
                found[cqe.user_data as usize] += 1;
                came += 1;
            }
        }
        let mut told = [0];
        last.read_exact(&mut told)?;
        equal!((found, bytes, told), ([1; READS], [round as u8; READS], [round as u8]));
        // Whoever has posted them tells of them next.
        until(&receiver, || counts.get(0) > before)?;
    }
    exits(pid, 0)
}

/// A while.
fn passes(way: u32, ring: &mut Ring) -> Outcome {
    let span = millis(1);
    match way {
        0 => (0..10_000).for_each(|_| core::hint::spin_loop()),
        // An interrupt may end it.
        2 => drop(call!(NANOSLEEP, &raw const span, 0)),
        3 => thread::yield_now(),
        // Likewise.
        4 => drop(ring.submit(1)),
        5 => drop(thread::spawn(|| ())?.join()),
        _ => {}
    }
    Ok(())
}

/// A thread that computes hears of its completions until the right ends by which it is told; then of none, also while it waits for one in the ring; and with a new right as before.
pub fn by_another_right() -> Outcome {
    const ROUNDS: u32 = 20;
    let shared = Shared::new()?;
    let (read, mut write) = rt::pipe::pipe()?;
    let computes = checked_child(|| {
        let (receiver, counts) = counting()?;
        let mut right = receiver.grant(1)?;
        let mut ring = Ring::new(8, 0)?;
        let mut byte = [0];
        ring.raise(&right, 0)?;
        for round in 1..=ROUNDS {
            let is_told = round != ROUNDS / 2;
            if !is_told {
                receiver.revoke(&right)?;
            }
            let entry = transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0);
            ensure!(ring.push_raw(&Sqe { user_data: round.into(), ..entry }), "no room");
            ring.submit(0)?;
            let before = counts.get(0);
            shared.set(0, round);
            if is_told {
                while counts.get(0) == before {
                    core::hint::spin_loop();
                }
            } else {
                ring.submit(1)?;
                equal!(counts.get(0), before);
                call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_EVENTFD, 0, 0)?;
                right = receiver.grant(1)?;
                ring.raise(&right, 0)?;
            }
            equal!(ring.pop().map(|cqe| (cqe.user_data, cqe.res)), Some((round.into(), 1)));
        }
        Ok(())
    })?;
    let writes = checked_child(|| {
        for round in 1..=ROUNDS {
            shared.await_least(0, round);
            write.write_all(b"x")?;
        }
        Ok(())
    })?;
    exits(writes, 0)?;
    exits(computes, 0)
}

/// A process that computes beside such reads is killed, or ends by itself, while they complete; who writes finds the other ends gone then, and nothing is left of it.
pub fn ends_meanwhile() -> Outcome {
    drop(counting()?);
    for round in 0..60 {
        let (reads, mut writes) = pipes()?;
        let shared = Shared::new()?;
        let pid = checked_child(|| {
            let (receiver, counts) = counting()?;
            let right = receiver.grant(1)?;
            let mut ring = Ring::new(8, 0)?;
            ring.raise(&right, 0)?;
            let mut bytes = [0; READS];
            for (read, byte) in reads.iter().zip(&mut bytes) {
                let entry = transfer(IORING_OP_READ, read.fd().raw(), core::slice::from_mut(byte), 0);
                ensure!(ring.push_raw(&entry), "no room");
            }
            ring.submit(0)?;
            shared.set(0, 1);
            // Half of them end in the middle of it.
            while round % 2 == 0 || counts.get(0) == 0 {
                core::hint::spin_loop();
            }
            crate::process::exit(0);
        })?;
        shared.await_least(0, 1);
        for write in &mut writes {
            write.write_all(b"x")?;
        }
        if round % 2 == 0 {
            kill(pid, SIGKILL)?;
            dies(pid, SIGKILL)?;
        } else {
            exits(pid, 0)?;
        }
    }
    Ok(())
}
