//! User interrupts: what is raised is handled once or more often than told, never lost, and never by who has no right (note 0008).

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{harts, needs_kernel};
use crate::process::{Shared, checked_child, child, exits};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;
use rt::abi::Errno;
use rt::uintr::{Handlers, Receiver, Sender, receive};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("uintr/to-oneself", "U1 U5 D5", to_oneself),
    case!("uintr/each-vector", "U1 D5", each_vector),
    case!("uintr/errors", "U5 D5", errors),
    case!("uintr/by-call", "U2", by_call),
    case!("uintr/from-a-child", "U1 U3 U4", from_a_child),
    case!("uintr/wakes-who-waits", "U4", wakes_who_waits),
    case!("uintr/ends-a-read", "U4", ends_a_read),
    case!("uintr/revoked", "U5", revoked),
    case!("uintr/recycled", "U5", recycled),
    case!("uintr/any-number", "U5 S6", any_number),
    case!("uintr/end-of-receiver", "U5", end_of_receiver),
    case!("uintr/masked", "U4", masked),
    case!("uintr/storm", "U4 S6", storm),
    case!("uintr/moves", "U4", moves),
    case!("uintr/more-than-places", "U4 D5", more_than_places),
];

/// What handlers count, by vector.
struct Counts([AtomicU32; 64]);

impl Counts {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self([const { AtomicU32::new(0) }; 64])))
    }

    fn get(&self, vector: u32) -> u32 {
        self.0[vector as usize].load(Relaxed)
    }
}

/// A receiver that counts.
fn counting() -> Result<(Receiver, &'static Counts), Trouble> {
    needs_kernel("user interrupts")?;
    let counts = Counts::new();
    let count: &'static _ = Box::leak(Box::new(|vector: u32| {
        counts.0[vector as usize].fetch_add(1, Relaxed);
    }));
    let handlers = (0..64).fold(Handlers::new(), |handlers, vector| handlers.on(vector, count));
    match receive(handlers) {
        Ok(receiver) => Ok((receiver, counts)),
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV.number()) => {
            Err(Trouble::skipped("no user interrupts in this world, or on this machine"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until `done`, by waiting for interrupts.
fn until(receiver: &Receiver, done: impl Fn() -> bool) -> Outcome {
    loop {
        // Looked at while nothing is handled, and the wait ends for what comes behind the look.
        let over = rt::uintr::masked(receiver, || {
            if done() {
                return Ok(true);
            }
            receiver.wait(None).map(|()| false)
        })?;
        if over {
            return Ok(());
        }
    }
}

fn to_oneself() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(1 << 5)?)?;
    for sent in 1..=1000 {
        sender.send(5)?;
        until(&receiver, || counts.get(5) == sent)?;
    }
    equal!(counts.get(5), 1000);
    Ok(())
}

fn each_vector() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(u64::MAX)?)?;
    rt::uintr::masked(&receiver, || (0..64).try_for_each(|vector| sender.send(vector)))?;
    until(&receiver, || (0..64).all(|vector| counts.get(vector) >= 1))?;
    equal!((0..64).map(|vector| counts.get(vector)).sum::<u32>(), 64);
    Ok(())
}

fn errors() -> Outcome {
    let (receiver, counts) = counting()?;
    fails!(receive(Handlers::new()), EBUSY);
    fails!(receiver.grant(0), EINVAL);
    let first = Sender::open(receiver.grant(1)?)?;
    fails!(first.send_by_call(1), EPERM);
    fails!(first.send_by_call(64), EINVAL);
    fails!(crate::process::call(rt::abi::uintr::SEND, &[0, 0]), EINVAL);
    fails!(crate::process::call(rt::abi::uintr::SEND, &[usize::MAX, 0]), EBADF);
    fails!(crate::process::call(rt::abi::uintr::RECEIVER, &[2, 0]), EBUSY);
    fails!(receiver.wait(Some(Duration::from_millis(2))), ETIMEDOUT);
    let mut rights = alloc::vec::Vec::new();
    for _ in 1..63 {
        rights.push(receiver.grant(2)?);
    }
    fails!(receiver.grant(2), ENOSPC);
    rights.pop();
    rights.push(receiver.grant(2)?);
    first.send(0)?;
    until(&receiver, || counts.get(0) == 1)
}

fn by_call() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(1 << 63 | 1 << 31 | 1)?)?;
    for vector in [63, 31, 0] {
        sender.send_by_call(vector)?;
    }
    until(&receiver, || [63, 31, 0].iter().all(|vector| counts.get(*vector) == 1))
}

fn from_a_child() -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << 7)?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=500 {
            sender.send(7)?;
            while shared.get(0) < round {
                thread::yield_now();
            }
        }
        Ok(())
    })?;
    for round in 1..=500 {
        until(&receiver, || counts.get(7) >= round)?;
        shared.set(0, round);
    }
    exits(pid, 0)?;
    equal!(counts.get(7), 500);
    Ok(())
}

fn wakes_who_waits() -> Outcome {
    const ROUNDS: u32 = 50;
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << 2)?;
    let shared = Shared::new()?;
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            crate::process::await_blocked(waiter)?;
            sender.send(2)?;
            shared.await_least(0, round);
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        until(&receiver, || counts.get(2) >= round)?;
        shared.set(0, round);
    }
    exits(pid, 0)
}

fn ends_a_read() -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << 9)?;
    let (mut from, mut to) = rt::pipe::pipe()?;
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        crate::process::await_blocked(waiter)?;
        sender.send(9)?;
        // The handler has run, and the read goes on.
        while !rt::fs::read_to_string(&alloc::format!("/proc/{waiter}/stat"))?.contains(") S") {
            thread::yield_now();
        }
        rt::io::Write::write_all(&mut to, b"x")?;
        Ok(())
    })?;
    let mut byte = [0];
    rt::io::Read::read_exact(&mut from, &mut byte)?;
    until(&receiver, || counts.get(9) == 1)?;
    equal!(byte, *b"x");
    exits(pid, 0)
}

fn revoked() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(1 << 4)?)?;
    sender.send(4)?;
    until(&receiver, || counts.get(4) == 1)?;
    receiver.revoke(sender.right())?;
    fails!(sender.send(4), ESRCH);
    fails!(sender.send_by_call(4), ESRCH);
    fails!(receiver.revoke(sender.right()), ESRCH);
    fails!(receiver.wait(Some(Duration::from_millis(5))), ETIMEDOUT);
    equal!(counts.get(4), 1);
    Ok(())
}

/// A slot that is used again: its predecessor, who still has its pages and writes to them, is not heard through it.
fn recycled() -> Outcome {
    let (receiver, counts) = counting()?;
    let old = Sender::open(receiver.grant(1 << 6)?)?;
    old.send(6)?;
    until(&receiver, || counts.get(6) == 1)?;
    receiver.revoke(old.right())?;
    let new = Sender::open(receiver.grant(1 << 6)?)?;
    for _ in 0..100 {
        fails!(old.send(6), ESRCH);
    }
    fails!(receiver.wait(Some(Duration::from_millis(5))), ETIMEDOUT);
    equal!(counts.get(6), 1);
    new.send(6)?;
    until(&receiver, || counts.get(6) == 2)
}

/// Whoever has a doorbell can store any number to it: no handler runs but for what its own word says.
fn any_number() -> Outcome {
    let (receiver, counts) = counting()?;
    let victim = Sender::open(receiver.grant(1 << 1)?)?;
    let hostile = Sender::open(receiver.grant(1 << 2)?)?;
    hostile.send(2)?;
    until(&receiver, || counts.get(2) == 1)?;
    for number in 0..=300_u32 {
        raw::atomic(hostile.doorbell()).store(number, Relaxed);
    }
    // Vectors that were not granted to it.
    hostile.send(1)?;
    hostile.send(3)?;
    victim.send(1)?;
    until(&receiver, || counts.get(1) == 1)?;
    equal!((counts.get(1), counts.get(2), counts.get(3)), (1, 1, 0));
    ensure!(receiver.idle() > 0);
    Ok(())
}

fn end_of_receiver() -> Outcome {
    drop(counting()?);
    let (mut from, mut to) = rt::pipe::pipe()?;
    let handed = rt::thread::spawn(move || {
        let Ok((receiver, counts)) = counting() else { return None };
        let sender = Sender::open(receiver.grant(1).ok()?).ok()?;
        sender.send(0).ok()?;
        until(&receiver, || counts.get(0) == 1).ok()?;
        rt::io::Write::write_all(&mut to, b"r").ok()?;
        Some(sender)
    })?;
    let mut byte = [0];
    rt::io::Read::read_exact(&mut from, &mut byte)?;
    let sender = handed.join().flatten().ok_or_else(|| Trouble::failed("the thread did not receive"))?;
    fails!(sender.send(0), ESRCH);
    fails!(sender.send_by_call(0), ESRCH);
    Ok(())
}

fn masked() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(3)?)?;
    rt::uintr::masked(&receiver, || -> Outcome {
        for _ in 0..10 {
            sender.send(0)?;
        }
        // It is there, and not taken.
        receiver.wait(None)?;
        equal!(counts.get(0), 0);
        Ok(())
    })?;
    until(&receiver, || counts.get(0) > 0)?;
    equal!(counts.get(0), 1);
    Ok(())
}

/// Several senders at once, as fast as they can: whoever reads the word last finds everything.
fn storm() -> Outcome {
    let (receiver, counts) = counting()?;
    let shared = Shared::new()?;
    let mut pids = alloc::vec::Vec::new();
    for vector in 0..4 {
        let right = receiver.grant(1 << vector)?;
        pids.push(checked_child(|| {
            let sender = Sender::open(right)?;
            for _ in 0..20_000 {
                sender.send(vector)?;
            }
            // The last one has to arrive, whatever became of those before.
            shared.count(0);
            sender.send(vector)?;
            Ok(())
        })?);
    }
    while shared.get(0) < 4 {
        receiver.wait(Some(Duration::from_millis(50))).or_else(|error| match error.raw_os_error() {
            Some(number) if number == Errno::ETIMEDOUT.number() => Ok(()),
            _ => Err(error),
        })?;
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    for vector in 0..4 {
        ensure!(counts.get(vector) > 0, "vector {vector} never arrived");
    }
    Ok(())
}

/// The receiver changes harts all the time: nothing is lost on the way.
fn moves() -> Outcome {
    let (receiver, counts) = counting()?;
    if harts() < 2 {
        return Err(Trouble::skipped("needs 2 harts"));
    }
    let right = receiver.grant(1 << 8)?;
    let shared = Shared::new()?;
    const ROUNDS: u32 = 300;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            sender.send(8)?;
            while shared.get(0) < round {
                thread::yield_now();
            }
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        let mask = 1_u64 << (round as usize % harts());
        call!(SCHED_SETAFFINITY, 0, 8, &raw const mask)?;
        until(&receiver, || counts.get(8) >= round)?;
        shared.set(0, round);
    }
    exits(pid, 0)
}

/// More receivers on a hart than it has places: each still gets what is sent to it.
fn more_than_places() -> Outcome {
    drop(counting()?);
    const RECEIVERS: usize = 12;
    const ROUNDS: u32 = 40;
    let pids = (0..RECEIVERS).map(|_| {
        child(|| {
            let body = || -> Outcome {
                let mask = 1_u64;
                call!(SCHED_SETAFFINITY, 0, 8, &raw const mask)?;
                from_another(ROUNDS)
            };
            match body() {
                Ok(()) => 0,
                Err(trouble) => {
                    rt::eprintln!("in a child: {trouble:?}");
                    1
                }
            }
        })
    });
    let pids: alloc::vec::Vec<_> = pids.collect();
    for pid in pids {
        exits(pid?, 0)?;
    }
    Ok(())
}

/// A receiver whose child sends to it, one at a time.
fn from_another(rounds: u32) -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1)?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=rounds {
            sender.send(0)?;
            while shared.get(0) < round {
                crate::process::sleep_ms(1);
            }
        }
        Ok(())
    })?;
    for round in 1..=rounds {
        until(&receiver, || counts.get(0) >= round)?;
        shared.set(0, round);
    }
    exits(pid, 0)
}
