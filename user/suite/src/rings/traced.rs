//! Entries in the kernel's trace.

use super::calls::call_of;
use super::*;
use crate::trace::{Line, find};

pub const CASES: &[Case] =
    &[case!("trace/ring-request", "D16 C4", ring_request), case!("trace/ring-refusals", "D16 C4 E1", ring_refusals)];

/// A length that no other read has.
const MESSAGE: usize = 3_797;

/// The entry of this operation that ended with this result: the places of its two records.
fn ended(lines: &[Line<'_>], opcode: u8, result: i32) -> Option<(usize, usize)> {
    let (entry, result) = (alloc::format!("{opcode}"), alloc::format!("{result}"));
    lines.iter().enumerate().filter(|(_, line)| line.is("submit", &[("entry", &entry)])).find_map(|(at, submit)| {
        let request = submit.get("request")?;
        let end = lines.iter().position(|line| line.is("complete", &[("request", request), ("result", &result)]))?;
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
        let (waits, refused) = (ended(lines, IORING_OP_READ, MESSAGE as i32)?, ended(lines, IORING_OP_READ, -9)?);
        // Taken in this order, and ended in the other.
        (waits.0 < refused.0 && refused.0 < refused.1 && refused.1 < waits.1).then_some(())
    })
}

/// Of each kind of refusal the trace says which entry it was, and why.
fn ring_refusals() -> Outcome {
    let (file, (read, _write)) = (rt::fs::File::open("/bin/sh")?, rt::pipe::pipe()?);
    let (fd, pipe, past) = (file.fd().raw(), read.fd().raw(), Timespec { sec: -1, nsec: 0 });
    let time = Sqe { addr: (&raw const past) as u64, len: 1, ..call_of(IORING_OP_TIMEOUT, -1) };
    let selects = Sqe { flags: IOSQE_BUFFER_SELECT, len: 1, buf_index: 3, ..call_of(IORING_OP_READ, pipe) };
    let refused = [
        // No such operation; flags, and a field that has to be zero.
        (call_of(255, -1), EINVAL),
        (Sqe { flags: 1 << 7, ..call_of(IORING_OP_NOP, -1) }, EINVAL),
        (Sqe { buf_index: 1, ..call_of(IORING_OP_CLOSE, 200) }, EINVAL),
        (time, EINVAL),
        // No such descriptor, place in the table, or buffer; memory that is not there.
        (call_of(IORING_OP_WRITE, 200), -9),
        (Sqe { flags: IOSQE_FIXED_FILE, ..call_of(IORING_OP_FSYNC, 5) }, -9),
        (Sqe { len: 4, ..call_of(IORING_OP_READ_FIXED, fd) }, -14),
        (Sqe { addr: 8, len: 4, ..call_of(IORING_OP_READ, fd) }, -14),
        (selects, -105),
        // The wrong kind of file, none of this name, nothing of this name that goes on.
        (call_of(IORING_OP_ACCEPT, pipe), -88),
        (Sqe { addr: c"/none".as_ptr() as u64, ..call_of(IORING_OP_OPENAT, -100) }, -2),
        (call_of(IORING_OP_ASYNC_CANCEL, -1), -2),
    ];
    let submits = || {
        let mut ring = Ring::new(4, 0)?;
        for (entry, result) in refused {
            push(&mut ring, &[entry]);
            equal!((entry.opcode, wait(&mut ring, 1)?), (entry.opcode, alloc::vec![(7, result)]));
        }
        // And with what was refused before it in its chain.
        push(&mut ring, &[Sqe { flags: IOSQE_IO_LINK, ..refused[4].0 }, call_of(IORING_OP_TEE, pipe)]);
        equal!(wait(&mut ring, 2)?, [(7, -9), (7, CANCELLED)]);
        Ok(())
    };
    find(submits, |lines| {
        let told = |entry: Sqe, result| ended(lines, entry.opcode, result).map(drop);
        refused.iter().try_for_each(|(entry, result)| told(*entry, *result))?;
        told(call_of(IORING_OP_TEE, pipe), CANCELLED)
    })
}
