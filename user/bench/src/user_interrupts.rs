//! User interrupts (note 0008): what the sender, the entry of the handler and the return from it execute, and a round trip between threads that
//! wait.

use crate::measure::{Outcome, instructions_since, measure, report};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use rt::uintr::{Handlers, Receiver, Sender, masked, receive};
use rt::{io, raw, thread};

/// Interrupts so far, and what the counter said in the last handler.
#[derive(Default)]
struct Seen {
    count: AtomicU32,
    counter: AtomicU64,
}

fn counting() -> io::Result<(Receiver, &'static Seen)> {
    let seen: &'static Seen = Box::leak(Box::default());
    let handler: &'static _ = Box::leak(Box::new(|_| {
        seen.counter.store(raw::instret(), Relaxed);
        seen.count.store(seen.count.load(Relaxed) + 1, Relaxed);
    }));
    Ok((receive(Handlers::new().on(0, handler))?, seen))
}

/// Waits until more than `before` have come.
fn await_more(receiver: &Receiver, seen: &Seen, before: u32) -> Outcome {
    loop {
        let over = masked(receiver, || match seen.count.load(Relaxed) > before {
            true => Ok(true),
            false => receiver.wait(None).map(|()| false),
        })?;
        if over {
            return Ok(());
        }
    }
}

/// All rows. Nothing where there are no user interrupts by hardware.
pub fn rows() -> Outcome {
    let Ok((receiver, seen)) = counting() else { return Ok(()) };
    let sender = Sender::open(receiver.grant(1)?)?;
    masked(&receiver, || {
        measure("uintr_send", 100_000, |count| {
            for _ in 0..count {
                sender.send(0)?;
            }
            Ok(())
        })
    })?;
    measure("uintr_to_oneself", 100_000, |count| {
        for _ in 0..count {
            sender.send(0)?;
        }
        Ok(())
    })?;
    parts(&sender, seen)?;
    between_threads(&receiver, seen)
}

/// From the store to the handler's first line, and from there back: each once in a loop, and with what reading the counter costs.
fn parts(sender: &Sender, seen: &Seen) -> Outcome {
    const ROUNDS: u64 = 10_000;
    let (mut entry, mut whole) = (0, 0);
    for _ in 0..ROUNDS {
        let before = raw::instret();
        sender.send(0)?;
        whole += instructions_since(before);
        let handled = seen.counter.load(Relaxed);
        entry += instructions_since(before) - instructions_since(handled);
    }
    report("uintr_sent_to_handled", entry as f64 / ROUNDS as f64, "insn");
    report("uintr_sent_to_gone_on", whole as f64 / ROUNDS as f64, "insn");
    Ok(())
}

/// Two threads that send to each other and wait in between: on one hart each blocks every time.
fn between_threads(receiver: &Receiver, seen: &'static Seen) -> Outcome {
    let there = receiver.grant(1)?;
    let (give, given) = rt::sync::mpsc::channel();
    let _ = thread::spawn(move || -> Outcome {
        let (child, heard) = counting()?;
        let _ = give.send(child.grant(1)?);
        let answer = Sender::open(there)?;
        for round in 0.. {
            await_more(&child, heard, round)?;
            answer.send(0)?;
        }
        Ok(())
    })?;
    let Ok(right) = given.recv() else { return Ok(()) };
    let ask = Sender::open(right)?;
    measure("uintr_blocked_pp", 5_000, |count| {
        for _ in 0..count {
            let before = seen.count.load(Relaxed);
            ask.send(0)?;
            await_more(receiver, seen, before)?;
        }
        Ok(())
    })
}
