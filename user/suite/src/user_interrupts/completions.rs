//! Completions of a ring that raise a vector.

use super::counting;
use crate::case::Outcome;
use crate::process::{Shared, checked_child, exits};
use crate::rings::transfer;
use rt::abi::io_uring::{IORING_OP_READ, IORING_UNREGISTER_EVENTFD, Sqe};
use rt::ring::Ring;

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
            rt::io::Write::write_all(&mut write, &[round as u8])?;
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
