//! Vectors that are masked one by one: others are handled meanwhile, and what was raised is handled once when they are not masked any more.

use super::{Counts, receiving, until};
use crate::case::Outcome;
use crate::process::{Shared, checked_child, exits};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::raw::InHandlers;
use rt::uintr::{Sender, masked};

pub fn one_by_one() -> Outcome {
    let turns = Counts::new();
    let counts = Counts::new();
    let last = AtomicU32::new(0);
    let receiver = receiving(move |vector| {
        counts.0[vector as usize].fetch_add(1, Relaxed);
        turns.0[vector as usize].store(last.fetch_add(1, Relaxed) + 1, Relaxed);
    })?;
    let sender = Sender::open(receiver.grant(u64::MAX)?)?;
    equal!(receiver.mask_vectors(1 << 5 | 1 << 9), 0);
    equal!(receiver.mask_vectors(1 << 63), 1 << 5 | 1 << 9);
    for _ in 0..3 {
        [63, 9, 5, 6].iter().try_for_each(|vector| sender.send(*vector))?;
    }
    until(&receiver, || counts.get(6) > 0)?;
    let handled = || [5, 9, 63].map(|vector| counts.get(vector));
    equal!(handled(), [0, 0, 0]);
    // One that is not masked, and one in which nothing was raised.
    equal!(receiver.unmask_vectors(1 << 6 | 1 << 7), 1 << 5 | 1 << 9 | 1 << 63);
    equal!(handled(), [0, 0, 0]);
    equal!(receiver.unmask_vectors(1 << 9), 1 << 5 | 1 << 9 | 1 << 63);
    equal!(handled(), [0, 1, 0]);
    // Together, behind what keeps all off.
    masked(&receiver, || {
        receiver.unmask_vectors(u64::MAX);
        equal!(handled(), [0, 1, 0]);
        Ok::<_, crate::case::Trouble>(())
    })?;
    equal!(handled(), [1, 1, 1]);
    ensure!(turns.get(5) < turns.get(63), "63 before 5");
    // As before.
    sender.send(9)?;
    until(&receiver, || counts.get(9) == 2)?;
    equal!(handled(), [1, 2, 1]);
    Ok(())
}

/// A handler keeps all interrupts off and masks a vector: they come again behind it, and that vector when it is unmasked.
pub fn by_a_handler() -> Outcome {
    let (counts, own) = (Counts::new(), &*Box::leak(Box::new(InHandlers::default())));
    let receiver = receiving(move |vector| {
        counts.0[vector as usize].fetch_add(1, Relaxed);
        own.with(|receiver| masked(receiver, || receiver.mask_vectors(1 << 2)));
    })?;
    own.set(&receiver);
    let sender = Sender::open(receiver.grant(1 << 1 | 1 << 2)?)?;
    // No wait in between: that would let interrupts in.
    let handled = |vector, times| (0..1_000_000).any(|_| counts.get(vector) == times || sched_yield());
    for round in 1..=3 {
        sender.send(1)?;
        ensure!(handled(1, round), "not handled behind {} handlers", round - 1);
    }
    sender.send(2)?;
    sender.send(1)?;
    ensure!(handled(1, 4), "not handled beside what is masked");
    equal!(counts.get(2), 0);
    receiver.unmask_vectors(1 << 2);
    equal!(counts.get(2), 1);
    Ok(())
}

/// Gives way; `false`.
fn sched_yield() -> bool {
    rt::thread::yield_now();
    false
}

/// The vector is masked and unmasked all the time: the last message is seen.
pub fn in_a_storm() -> Outcome {
    const MESSAGES: u32 = 20_000;
    let shared = Shared::new()?;
    // What the sender has written before it sends is what the handler sees, or something later.
    let receiver = receiving(move |_| shared.set(1, shared.get(0)))?;
    let right = receiver.grant(1 << 4)?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for message in 1..=MESSAGES {
            shared.set(0, message);
            sender.send(4)?;
        }
        shared.set(2, 1);
        Ok(())
    })?;
    while shared.get(2) == 0 {
        receiver.mask_vectors(1 << 4);
        let seen = shared.get(1);
        core::hint::spin_loop();
        equal!(shared.get(1), seen);
        receiver.unmask_vectors(1 << 4);
        rt::thread::yield_now();
    }
    until(&receiver, || shared.get(1) == MESSAGES)?;
    exits(pid, 0)
}
