//! Entries of a ring in the trace: each has a number where it is taken, and its result under that number.

use super::{
    Cpu, DATA,
    rings::{Mapped, NOT, cancel, nop, pipe, read},
};
use abi::{asyncos, errno::Errno, io_uring::*, nr};
use alloc::{vec, vec::Vec};
use trace::{Event, Work};

/// What is recorded while this is there.
struct Recording {
    reader: trace::Reader<'static, { hal::record::RECORDS }>,
    events: Vec<Event>,
}

impl Recording {
    fn start() -> Self {
        let mut reader = hal::record::reader(hal::hart::id()).unwrap();
        // What others recorded.
        let _ = reader.by_ref().count();
        hal::record::set_recording(true);
        Self { reader, events: Vec::new() }
    }

    /// The opcodes of all entries so far, in the order in which they were taken, each with its results.
    fn entries(&mut self) -> Vec<(u8, Vec<i64>)> {
        self.events.extend(self.reader.by_ref().filter_map(|record| record.event()));
        let results_of = |number| {
            let result = |event: &Event| match *event {
                Event::Complete { request, result } if request == number => Some(result),
                _ => None,
            };
            self.events.iter().filter_map(result).collect()
        };
        let entry = |event: &Event| match *event {
            Event::Submit { request, work: Work::Entry(opcode), .. } => Some((opcode as u8, results_of(request))),
            _ => None,
        };
        self.events.iter().filter_map(entry).collect()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        hal::record::set_recording(false);
    }
}

pub(super) async fn traced(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 8, 0).await;
    let (from, to) = pipe(cpu).await;
    let failed = |errno: Errno| vec![i64::from(errno.to_return() as i32)];
    let done = |result: i64| vec![result];
    // Done at once, refused, wrong, cancelled with its chain, and without a completion.
    let silent = IOSQE_CQE_SKIP_SUCCESS;
    let entries = [
        nop(1, 0, 5),
        read(99, DATA, 1),
        nop(1, IOSQE_IO_LINK, -7),
        nop(1, 0, 0),
        nop(1, silent, 3),
        Sqe { ioprio: 7 << 13, ..read(from, DATA, 1) },
    ];
    let mut recording = Recording::start();
    ring.put(cpu, &entries);
    assert_eq!(ring.enter(cpu, entries.len(), NOT).await, Ok(entries.len()));
    let mut expected = vec![
        (IORING_OP_NOP, done(5)),
        (IORING_OP_READ, failed(Errno::EBADF)),
        (IORING_OP_NOP, done(-7)),
        (IORING_OP_NOP, failed(Errno::ECANCELED)),
        (IORING_OP_NOP, done(3)),
        (IORING_OP_READ, failed(Errno::EINVAL)),
    ];
    assert_eq!(recording.entries(), expected);
    assert_eq!(ring.reap(cpu).len(), 5);
    // Two that wait, one in a coroutine for what is linked behind it, until there is something; then two that are cancelled.
    let linked = |user_data| Sqe { flags: IOSQE_IO_LINK, user_data, ..read(from, DATA, 4) };
    ring.put(cpu, &[read(from, DATA, 4), linked(8), nop(9, 0, 0)]);
    assert_eq!(ring.enter(cpu, 3, NOT).await, Ok(3));
    let waiting = recording.entries().split_off(expected.len());
    assert_eq!(waiting, [(IORING_OP_READ, Vec::new()), (IORING_OP_READ, Vec::new()), (IORING_OP_NOP, Vec::new())]);
    assert_eq!(cpu.good(nr::WRITE, [to, DATA, 8]).await, 8);
    assert_eq!(ring.enter(cpu, 0, 3).await, Ok(0));
    expected.extend([(IORING_OP_READ, done(4)), (IORING_OP_READ, done(4)), (IORING_OP_NOP, done(0))]);
    assert_eq!(recording.entries(), expected);
    ring.reap(cpu);
    ring.put(cpu, &[read(from, DATA, 4), linked(7), nop(9, 0, 0), cancel(7, IORING_ASYNC_CANCEL_ALL, 0)]);
    assert_eq!(ring.enter(cpu, 4, 4).await, Ok(4));
    let cancelled = || failed(Errno::ECANCELED);
    expected.extend([IORING_OP_READ, IORING_OP_READ, IORING_OP_NOP].map(|opcode| (opcode, cancelled())));
    expected.push((IORING_OP_ASYNC_CANCEL, done(2)));
    assert_eq!(recording.entries(), expected);
    assert_eq!(ring.reap(cpu).len(), 4);
    no_place(cpu, &mut recording).await;
    for fd in [ring.fd(), from, to] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

/// An entry for which the process may have no more requests says so, and is taken later.
async fn no_place(cpu: &Cpu, recording: &mut Recording) {
    let known = recording.entries().len();
    let ring = Mapped::new(cpu, 8, 0).await;
    let (limit, requests) = (DATA + 0x100, asyncos::RLIMIT_RING_REQUESTS as usize);
    cpu.good(nr::PRLIMIT64, [0, requests, 0, limit]).await;
    let usual = cpu.load(limit, 16);
    cpu.store(limit, &0u64.to_le_bytes());
    cpu.good(nr::PRLIMIT64, [0, requests, limit, 0]).await;
    ring.put(cpu, &[nop(1, 0, 2)]);
    assert_eq!(ring.enter(cpu, 1, NOT).await, Err(Errno::EAGAIN));
    let refused = (IORING_OP_NOP, vec![i64::from(Errno::EAGAIN.to_return() as i32)]);
    assert_eq!(recording.entries().split_off(known), core::slice::from_ref(&refused));
    cpu.store(limit, &usual);
    cpu.good(nr::PRLIMIT64, [0, requests, limit, 0]).await;
    assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
    assert_eq!(recording.entries().split_off(known), [refused, (IORING_OP_NOP, vec![2])]);
    cpu.good(nr::CLOSE, [ring.fd()]).await;
}
