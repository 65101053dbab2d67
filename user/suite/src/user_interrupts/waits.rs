//! What a thread that takes user interrupts waits for, and what ends that.

use super::{counting, receiving, until};
use crate::case::{Outcome, Trouble};
use crate::process::{Shared, await_blocked, checked_child, exits, millis, sleep_ms};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::{time::Timespec, uintr};
use rt::raw;
use rt::time::Instant;
use rt::uintr::{Handlers, Raised, Right, Sender, receive};

fn nanosleep(time: Timespec) -> rt::abi::errno::Result<usize> {
    call!(NANOSLEEP, &raw const time, 0)
}

/// A child that sends `vector` again and again while the caller is blocked, until the shared word is set.
fn sends_to_who_sleeps(right: Right, vector: u32, shared: Shared) -> Result<i32, Trouble> {
    let waiter = rt::process::id() as i32;
    Ok(checked_child(|| {
        let sender = Sender::open(right)?;
        while shared.get(0) == 0 {
            await_blocked(waiter)?;
            sender.send(vector)?;
            // In both ways: a call tells a thread that has no place.
            sender.send_by_call(vector)?;
            sleep_ms(5);
        }
        Ok(())
    })?)
}

/// An interrupt that is kept off ends nothing but a wait for interrupts.
pub fn sleeps_when_masked() -> Outcome {
    let (receiver, counts) = counting()?;
    let shared = Shared::new()?;
    let pid = sends_to_who_sleeps(receiver.grant(1)?, 0, shared)?;
    rt::uintr::masked(&receiver, || -> Outcome {
        for _ in 0..10 {
            nanosleep(millis(30))?;
        }
        equal!(counts.get(0), 0);
        Ok(())
    })?;
    until(&receiver, || counts.get(0) > 0)?;
    shared.set(0, 1);
    exits(pid, 0)
}

/// A sleep that an interrupt ends says so; what the handler sleeps meanwhile takes its own time.
pub fn sleep_in_a_handler() -> Outcome {
    let slept: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
    let receiver = receiving(move |_| {
        if slept.load(Relaxed) == 0 {
            let start = Instant::now();
            let _ = nanosleep(millis(20));
            slept.store(start.elapsed().as_millis().max(1) as u32, Relaxed);
        }
    })?;
    let shared = Shared::new()?;
    let pid = sends_to_who_sleeps(receiver.grant(1)?, 0, shared)?;
    fails!(nanosleep(millis(25_000)), EINTR);
    shared.set(0, 1);
    exits(pid, 0)?;
    let slept = slept.load(Relaxed);
    ensure!(slept < 10_000, "the handler slept {slept} ms instead of 20");
    Ok(())
}

/// In VU-mode interrupts are let in whatever `sstatus.SIE` says: also one that arrives while the thread is blocked.
pub fn in_user_mode() -> Outcome {
    let by_hardware = in_another_thread(|| counting().map(|(receiver, _)| receiver.backend() == uintr::AIA))?;
    if !by_hardware {
        return Err(Trouble::skipped("needs interrupts by hardware, in world vm"));
    }
    // A process of its own: it stays in that mode, in which it cannot end its being a receiver.
    exits(checked_child(read_in_user_mode)?, 0)
}

fn read_in_user_mode() -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1)?;
    let (mut from, mut to) = rt::pipe::pipe()?;
    let shared = Shared::new()?;
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        await_blocked(waiter)?;
        sender.send(0)?;
        shared.await_least(0, 1);
        rt::io::Write::write_all(&mut to, b"x")?;
        Ok(())
    })?;
    // The writer tells when the handler has run, which the thread itself only sees behind the read.
    let watched = rt::thread::spawn(move || {
        while counts.get(0) == 0 {
            sleep_ms(1);
        }
        shared.set(0, 1);
    })?;
    raw::enter_user_mode();
    let mut byte = [0];
    rt::io::Read::read_exact(&mut from, &mut byte)?;
    let _ = watched.join();
    exits(pid, 0)?;
    core::mem::forget(receiver);
    Ok(())
}

/// A child of who is in VU-mode begins as any other.
pub fn fork_in_user_mode() -> Outcome {
    let by_hardware = in_another_thread(|| counting().map(|(receiver, _)| receiver.backend() == uintr::AIA))?;
    if !by_hardware {
        return Err(Trouble::skipped("needs interrupts by hardware, in world vm"));
    }
    // A process of its own, as above.
    let forks = || {
        let (receiver, _) = counting()?;
        raw::enter_user_mode();
        let forked = exits(checked_child(|| Ok(()))?, 0);
        core::mem::forget(receiver);
        forked
    };
    exits(checked_child(forks)?, 0)
}

/// Vectors that are noted, for a task to await them.
pub fn noted() -> Outcome {
    in_another_thread(|| counting().map(drop))?;
    // A process of its own: what notes stays for good.
    exits(checked_child(await_noted)?, 0)
}

fn await_noted() -> Outcome {
    const ROUNDS: u32 = 100;
    let vector_of = |round| if round % 2 == 0 { 4 } else { 60 };
    let raised: &'static Raised = Box::leak(Box::new(Raised::new()?));
    let receiver = receive(Handlers::new().note(4, raised).note(60, raised))?;
    let right = receiver.grant(1 << 4 | 1 << 60)?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            sender.send(vector_of(round))?;
            shared.await_least(0, round);
        }
        Ok(())
    })?;
    rt::task::block_on(async {
        for round in 1..=ROUNDS {
            equal!(raised.next().await?, 1 << vector_of(round));
            shared.set(0, round);
        }
        equal!(raised.take(), 0);
        Ok(())
    })?;
    exits(pid, 0)
}

/// What `body` finds in a thread of its own, which can be a receiver apart from this one.
fn in_another_thread<T: Send + 'static>(body: fn() -> Result<T, Trouble>) -> Result<T, Trouble> {
    rt::thread::spawn(body)?.join().unwrap_or_else(|| Err(Trouble::failed("the thread ended")))
}
