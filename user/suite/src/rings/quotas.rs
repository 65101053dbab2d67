//! What a process may have at once: rings, requests, pinned memory, words that are waited for. Who has too much is refused, and nobody else.

use super::buffers::{piece, register, unregister};
use super::calls::{call_of, one};
use super::*;
use crate::machine::needs_asyncos;
use crate::process::{RW, map};
use alloc::string::String;
use rt::abi::asyncos::{RLIMIT_RING_REQUESTS, RLIMIT_RING_WORDS, RLIMIT_RINGS};
use rt::abi::futex::{FUTEX2_PRIVATE, FUTEX2_SIZE_U32, FutexWaitv};
use rt::abi::process::{RLIMIT_MEMLOCK, Rlimit};

pub const CASES: &[Case] = &[
    case!("ring/quota-of-rings", "C4 D13 E1", of_rings),
    case!("ring/quota-of-requests", "C4 D13 E1", of_requests),
    case!("ring/quota-of-pinned-memory", "C4 D13 E1", of_pinned_memory),
    case!("ring/quota-of-words", "C4 D13 E1", of_words),
    case!("ring/quotas-are-shown", "C4 D13 P3", are_shown),
];

const ENOMEM: i32 = -12;

/// Runs it in a process that has this limit.
fn limited(resource: u32, value: u64, body: fn() -> Outcome) -> Outcome {
    let pid = checked_child(|| {
        let limit = Rlimit { current: value, max: value };
        call!(PRLIMIT64, 0, resource, &raw const limit, 0)?;
        body()
    })?;
    exits(pid, 0)
}

/// Another process does not feel it: a child begins with nothing.
fn beside(body: fn() -> Outcome) -> Outcome {
    exits(checked_child(body)?, 0)
}

fn of_rings() -> Outcome {
    needs_asyncos()?;
    limited(RLIMIT_RINGS, 4, || {
        let four = || -> Result<Vec<Ring>, Trouble> {
            let rings = (0..4).map(|_| Ring::new(1, 0)).collect::<Result<_, _>>()?;
            fails!(setup(1, &mut Params::default()), ENOMEM);
            Ok(rings)
        };
        let mut rings = four()?;
        beside(|| {
            let _own: Vec<Ring> = (0..4).map(|_| Ring::new(1, 0)).collect::<Result<_, _>>()?;
            fails!(setup(1, &mut Params::default()), ENOMEM);
            Ok(())
        })?;
        equal!(run(&mut rings[3], &[nop(1, 0, 1)])?, [(1, 1)]);
        // One that is closed counts until its requests have ended.
        let (read, _write) = rt::pipe::pipe()?;
        let mut bytes = [0; 4];
        push(&mut rings[0], &[transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0)]);
        equal!(rings[0].submit(0)?, 1);
        drop(rings);
        comes_back(|| four().map(drop))
    })
}

/// What ended requests have is given back soon after.
fn comes_back(mut attempt: impl FnMut() -> Outcome) -> Outcome {
    for _ in 0..5000 {
        if attempt().is_ok() {
            return Ok(());
        }
        crate::process::sleep_ms(1);
    }
    attempt()
}

/// Begins as many reads as it goes; how many.
fn fill(ring: &mut Ring, entry: Sqe) -> Result<usize, Trouble> {
    let mut begun = 0;
    loop {
        while ring.push_raw(&entry) {}
        match ring.submit(0) {
            Ok(taken) => begun += taken,
            Err(error) => {
                equal!(error.raw_os_error(), Some(Errno::EAGAIN.number()));
                return Ok(begun);
            }
        }
        ensure!(begun <= 1000, "{begun} in spite of the limit");
    }
}

fn of_requests() -> Outcome {
    needs_asyncos()?;
    limited(RLIMIT_RING_REQUESTS, 300, || {
        let (read, _write) = rt::pipe::pipe()?;
        let mut bytes = [0; 4];
        let reads = transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0);
        let (mut ring, mut other) = (Ring::new(64, 0)?, Ring::new(8, 0)?);
        for _ in 0..3 {
            // In blocks of 126.
            equal!(fill(&mut ring, reads)?, 252);
            equal!(fill(&mut other, reads)?, 0);
            beside(|| {
                let (read, _write) = rt::pipe::pipe()?;
                let (mut ring, mut bytes) = (Ring::new(8, 0)?, [0; 4]);
                let reads = transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0);
                equal!(fill(&mut ring, reads)?, 252);
                Ok(())
            })?;
            let asked = SyncCancel { flags: IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL, ..no_cancel() };
            equal!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_SYNC_CANCEL, &raw const asked, 1)?, 252);
            let mut found = 0;
            while found < 252 {
                ring.flush()?;
                found += reap(&mut ring).into_iter().filter(|done| *done == (7, CANCELLED)).count();
            }
        }
        Ok(())
    })
}

fn no_cancel() -> SyncCancel {
    let timeout = Timespec { sec: -1, nsec: -1 };
    SyncCancel { addr: 0, fd: 0, flags: 0, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] }
}

fn of_pinned_memory() -> Outcome {
    needs_asyncos()?;
    limited(RLIMIT_MEMLOCK, 16 * PAGE as u64, || {
        let base = map(32 * PAGE, RW)?;
        let (ring, other) = (Ring::new(8, 0)?, Ring::new(8, 0)?);
        for _ in 0..3 {
            fails!(register(&ring, &[piece(base, 17 * PAGE)]), ENOMEM);
            // A page counts whole, and again each time.
            fails!(register(&ring, &[piece(base, 15 * PAGE), piece(base + PAGE - 1, 2)]), ENOMEM);
            equal!(register(&ring, &[piece(base, 15 * PAGE), piece(base, 1)])?, 0);
            fails!(register(&other, &[piece(base, 1)]), ENOMEM);
            let group = BufReg { ring_addr: base as u64, ring_entries: 8, bgid: 1, ..BufReg::default() };
            let asks = |what: u32| call!(IO_URING_REGISTER, other.fd().raw(), what, core::ptr::from_ref(&group), 1);
            fails!(asks(IORING_REGISTER_PBUF_RING), ENOMEM);
            beside(|| {
                let (base, ring) = (map(16 * PAGE, RW)?, Ring::new(8, 0)?);
                equal!(register(&ring, &[piece(base, 16 * PAGE)])?, 0);
                Ok(())
            })?;
            equal!(unregister(&ring)?, 0);
            equal!(asks(IORING_REGISTER_PBUF_RING)?, 0);
            fails!(register(&ring, &[piece(base, 16 * PAGE)]), ENOMEM);
            equal!(register(&ring, &[piece(base, 15 * PAGE)])?, 0);
            equal!(asks(IORING_UNREGISTER_PBUF_RING)?, 0);
            equal!(unregister(&ring)?, 0);
        }
        Ok(())
    })
}

fn of_words() -> Outcome {
    needs_asyncos()?;
    limited(RLIMIT_RING_WORDS, 10, || {
        let words = [0u32; 4];
        let flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;
        let word = |opcode, off| Sqe {
            addr: words.as_ptr() as u64,
            off,
            addr3: u64::from(u32::MAX),
            ..call_of(opcode, flags.cast_signed())
        };
        let list =
            words.each_ref().map(|word| FutexWaitv { uaddr: word as *const u32 as u64, flags, val: 0, reserved: 0 });
        let several = Sqe { addr: list.as_ptr() as u64, len: 4, ..call_of(IORING_OP_FUTEX_WAITV, 0) };
        let (waits, wakes) = (word(IORING_OP_FUTEX_WAIT, 0), Sqe { user_data: 8, ..word(IORING_OP_FUTEX_WAKE, 100) });
        let mut ring = Ring::new(16, 0)?;
        for _ in 0..3 {
            push(&mut ring, &[several, several, waits, waits]);
            equal!(ring.submit(0)?, 4);
            equal!(one(&mut ring, waits)?, ENOMEM);
            equal!(one(&mut ring, several)?, ENOMEM);
            beside(|| {
                let (mut ring, word) = (Ring::new(2, 0)?, 0u32);
                let fd = (FUTEX2_SIZE_U32 | FUTEX2_PRIVATE).cast_signed();
                let addr3 = u64::from(u32::MAX);
                push(&mut ring, &[Sqe { addr: &raw const word as u64, addr3, ..call_of(IORING_OP_FUTEX_WAIT, fd) }]);
                equal!(ring.submit(0)?, 1);
                equal!(reap(&mut ring), []);
                Ok(())
            })?;
            push(&mut ring, &[wakes]);
            equal!(wait_sorted(&mut ring, 5)?, [(7, 0), (7, 0), (7, 0), (7, 0), (8, 4)]);
        }
        Ok(())
    })
}

fn are_shown() -> Outcome {
    needs_asyncos()?;
    limited(RLIMIT_RINGS, 77, || {
        let text = rt::fs::read_to_string("/proc/self/limits")?;
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).map(String::from);
        equal!(
            line("Max rings").as_deref(),
            Some("Max rings                 77                   77                   rings     ")
        );
        for name in ["Limit ", "Max locked memory", "Max open files", "Max ring requests", "Max ring words"] {
            ensure!(line(name).is_some(), "no {name}");
        }
        equal!(text.lines().count(), 20);
        let limit = Rlimit { current: 0, max: 0 };
        for resource in [16, 17, 18, 19, RLIMIT_RING_WORDS + 1, u32::MAX] {
            fails!(call!(PRLIMIT64, 0, resource, &raw const limit, 0), EINVAL);
        }
        Ok(())
    })
}
