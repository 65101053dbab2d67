//! Entries in the kernel's trace.

use super::*;
use crate::trace::{Line, find};

pub const CASES: &[Case] = &[case!("trace/ring-request", "D16 C4", ring_request)];

/// A length that no other read has.
const MESSAGE: usize = 3_797;

/// The entry that ended with this result: the places of its two records.
fn ended(lines: &[Line<'_>], result: &str) -> Option<(usize, usize)> {
    let entry = alloc::format!("{IORING_OP_READ}");
    lines.iter().enumerate().filter(|(_, line)| line.is("submit", &[("entry", &entry)])).find_map(|(at, submit)| {
        let request = submit.get("request")?;
        let end = lines.iter().position(|line| line.is("complete", &[("request", request), ("result", result)]))?;
        (submit.get("task") != Some("0")).then_some((at, end))
    })
}

/// A read that waits for a pipe is in the trace when it is taken, and when there is something; one that is refused, with its reason.
fn ring_request() -> Outcome {
    let (read, write) = rt::pipe::pipe()?;
    let reads = || {
        let (mut ring, mut bytes) = (Ring::new(4, 0)?, [0; MESSAGE]);
        push(&mut ring, &[transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0)]);
        equal!(ring.submit(0)?, 1);
        push(&mut ring, &[transfer(IORING_OP_READ, 200, &mut [0; 4], 0)]);
        equal!(wait(&mut ring, 1)?, [(7, -9)]);
        equal!(call!(WRITE, write.fd().raw(), [7u8; MESSAGE].as_ptr(), MESSAGE)?, MESSAGE);
        equal!(wait(&mut ring, 1)?, [(7, MESSAGE as i32)]);
        Ok(())
    };
    find(reads, |lines| {
        let (waits, refused) = (ended(lines, &alloc::format!("{MESSAGE}"))?, ended(lines, "-9")?);
        // Taken in this order, and ended in the other.
        (waits.0 < refused.0 && refused.0 < refused.1 && refused.1 < waits.1).then_some(())
    })
}
