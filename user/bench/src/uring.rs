//! Rings that are shared with the kernel: nothing, in batches and alone.

use crate::measure::{Outcome, measure};
use rt::abi::io_uring::{IORING_OP_NOP, Sqe};
use rt::io;
use rt::ring::Ring;

const BATCH: u32 = 128;

/// All of them.
pub fn rings() -> Outcome {
    let mut ring = Ring::new(BATCH, 0)?;
    measure("uring_enter", 20_000, |count| (0..count).try_for_each(|_| ring.submit(0).map(drop)))?;
    nothing("uring_nop_128", BATCH, 200_000)?;
    nothing("uring_nop_1", 1, 20_000)
}

/// An entry that asks for nothing, `batch` of them with each call; submitted, waited for, taken.
fn nothing(id: &str, batch: u32, operations: u64) -> Outcome {
    let mut ring = Ring::new(BATCH, 0)?;
    measure(id, operations / u64::from(batch) * u64::from(batch), |count| {
        let mut left = count;
        while left > 0 {
            let some = left.min(u64::from(batch)) as u32;
            for number in 0..some {
                let entry = Sqe { opcode: IORING_OP_NOP, user_data: u64::from(number), ..Sqe::default() };
                let _ = ring.push(&entry)?;
            }
            ring.submit(some)?;
            let sum: u64 = core::iter::from_fn(|| ring.pop()).map(|cqe| cqe.user_data + 1).sum();
            if sum != u64::from(some) * u64::from(some + 1) / 2 {
                return Err(io::Error::new(io::ErrorKind::Other, "a completion is missing"));
            }
            left -= u64::from(some);
        }
        Ok(())
    })
}
