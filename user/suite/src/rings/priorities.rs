//! Rings in which each entry says how urgent its request is (`IORING_SETUP_PRIORITIES`).

use super::*;
use rt::abi::asyncos::IORING_SETUP_PRIORITIES;
use rt::fs::File;
use rt::io::{Read, Write};

pub const CASES: &[Case] = &[
    case!("ring/priorities", "C4 D4 D7 E1", priorities_are_checked),
    case!("ring/priorities-of-what-waits", "C4 D4 D7", of_what_waits),
    case!("ring/priorities-when-taken", "C3 C4 D4 D7", when_taken),
];

/// Attempts to see an order that only what is at work on the same hart from outside may disturb.
const ATTEMPTS: usize = 50;

/// An entry that says this priority.
fn at_priority(priority: u64, entry: Sqe) -> Sqe {
    Sqe { pad: 1 + priority, ..entry }
}

fn read(file: &File, byte: &mut [u8; 1], user_data: u64) -> Sqe {
    let (addr, off) = (byte.as_mut_ptr() as u64, u64::MAX);
    Sqe { opcode: IORING_OP_READ, fd: file.fd().raw(), addr, off, len: 1, user_data, ..Sqe::default() }
}

fn write(file: &File, byte: &[u8; 1], user_data: u64) -> Sqe {
    let (addr, off) = (byte.as_ptr() as u64, u64::MAX);
    Sqe { opcode: IORING_OP_WRITE, fd: file.fd().raw(), addr, off, len: 1, user_data, ..Sqe::default() }
}

fn priorities_are_checked() -> Outcome {
    let mut ring = Ring::new(8, IORING_SETUP_PRIORITIES)?;
    for pad in 0..=32 {
        equal!(run(&mut ring, &[Sqe { pad, ..nop(pad, 0, 1) }])?, [(pad, 1)]);
    }
    for pad in [33, 255, 256, 1 << 63, u64::MAX] {
        equal!(run(&mut ring, &[Sqe { pad, ..nop(1, 0, 1) }])?, [(1, EINVAL)]);
    }
    // What is nothing, or reads, alone, is asked as well.
    let plain = Sqe { opcode: IORING_OP_NOP, user_data: 4, pad: 33, ..Sqe::default() };
    equal!(run(&mut ring, &[plain])?, [(4, EINVAL)]);
    let mut byte = [0];
    let alone = Sqe { pad: 33, ..read(&rt::pipe::pipe()?.0, &mut byte, 5) };
    equal!(run(&mut ring, &[alone])?, [(5, EINVAL)]);
    // Of a chain: it keeps all of it from beginning. Of one that is right: what waits, goes on, and has a limit.
    let wrong = Sqe { pad: 33, ..nop(2, IOSQE_IO_LINK, 2) };
    let chain = [nop(1, IOSQE_IO_LINK, 1), wrong, nop(3, 0, 3)];
    equal!(run(&mut ring, &chain)?, [(1, CANCELLED), (2, EINVAL), (3, CANCELLED)]);
    let ((from, mut into), mut bytes) = (rt::pipe::pipe()?, [[0u8; 1]; 3]);
    let [first, second, third] = &mut bytes;
    let link = |flags, entry| Sqe { flags, ..entry };
    push(
        &mut ring,
        &[
            link(IOSQE_IO_LINK, at_priority(20, read(&from, first, 1))),
            link(IOSQE_IO_LINK, at_priority(31, read(&from, second, 2))),
            read(&from, third, 3),
        ],
    );
    ring.submit(0)?;
    for byte in b"xyz" {
        into.write_all(&[*byte])?;
    }
    let mut found = Vec::new();
    while found.len() < 3 {
        ring.submit(1)?;
        found.extend(reap(&mut ring));
    }
    equal!(found, [(1, 1), (2, 1), (3, 1)]);
    equal!(bytes, [*b"x", *b"y", *b"z"]);
    // To others it is nothing.
    let mut plain = Ring::new(8, 0)?;
    equal!(run(&mut plain, &[Sqe { pad: 33, ..nop(1, 0, 1) }])?, [(1, 1)]);
    Ok(())
}

/// What has become ready first goes behind what is more urgent: on one hart, where no other takes it meanwhile.
fn of_what_waits() -> Outcome {
    crate::affinity::needs_one_hart()?;
    let mut ring = Ring::new(8, IORING_SETUP_PRIORITIES)?;
    let (mut late, mut soon) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    let mut found = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut bytes = [[0u8; 1]; 2];
        let [first, second] = &mut bytes;
        push(&mut ring, &[at_priority(31, read(&late.0, first, 1)), at_priority(20, read(&soon.0, second, 2))]);
        ring.submit(0)?;
        late.1.write_all(b"l")?;
        soon.1.write_all(b"s")?;
        found = Vec::new();
        while found.len() < 2 {
            ring.submit(1)?;
            found.extend(reap(&mut ring));
        }
        if found == [(2, 1), (1, 1)] {
            return Ok(());
        }
    }
    Err(Trouble::failed(format_args!("in this order: {found:?}")))
}

/// Two rings whose entries are taken on this thread's hart: that of the more urgent ones first, and one with an urgent entry behind others with that.
fn when_taken() -> Outcome {
    let hart = crate::affinity::stay()?;
    let polled = || {
        let flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_PRIORITIES;
        Ring::with(8, Params { flags, sq_thread_cpu: hart, sq_thread_idle: 1, ..Params::default() })
    };
    let (mut one, mut other) = (polled()?, polled()?);
    let (mut from, into) = rt::pipe::pipe()?;
    for (is_followed, expected) in [(false, *b"ca"), (true, *b"ab")] {
        let mut found = *b"--";
        for _ in 0..ATTEMPTS {
            // Both sleep.
            while ![&one, &other].into_iter().all(super::polled::sleeps) {
                crate::process::sleep_ms(1);
            }
            submit(&mut one, at_priority(31, write(&into, b"a", 1)))?;
            submit(&mut other, at_priority(20, write(&into, b"c", 1)))?;
            if is_followed {
                submit(&mut one, write(&into, b"b", 2))?;
            }
            from.read_exact(&mut found)?;
            if is_followed {
                from.read_exact(&mut [0])?;
            }
            reap(&mut one);
            reap(&mut other);
            if found == expected {
                break;
            }
        }
        equal!(found, expected);
    }
    Ok(())
}

/// One entry, of which who takes it is told: it may be more urgent than those before it.
fn submit(ring: &mut Ring, entry: Sqe) -> Outcome {
    push(ring, &[entry]);
    ring.show();
    super::polled::enter(ring, IORING_ENTER_SQ_WAKEUP, 0)?;
    Ok(())
}
