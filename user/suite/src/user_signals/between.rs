//! From one process to another.

use super::{Log, PLAIN, handle, noting};
use crate::case::{Outcome, Trouble};
use crate::process::{Shared, checked_child, exits};
use crate::sockets::rights;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use rt::abi::Errno;
use rt::abi::net::SOCK_DGRAM;
use rt::abi::signal::SIGUSR1;
use rt::signal::user::{self, Right, SIGRTMAX, SIGRTMIN, Sender};
use rt::{raw, thread};

/// Sends one when there is room.
pub fn queue(sender: &Sender, signal: u32, value: u64) -> Outcome {
    loop {
        match sender.queue(signal, value) {
            Err(error) if error.raw_os_error() == Some(Errno::EAGAIN.number()) => thread::yield_now(),
            sent => return Ok(sent?),
        }
    }
}

/// Runs `body` until so many have come.
fn until(log: &Log, count: u64, mut body: impl FnMut() -> Outcome) -> Outcome {
    while log.count() < count {
        body()?;
    }
    Ok(())
}

fn give_way() -> Outcome {
    thread::yield_now();
    Ok(())
}

/// One signal at a time, while the receiver runs.
pub fn interrupts() -> Outcome {
    const ROUNDS: u32 = 300;
    let (signals, log) = noting(&[SIGUSR1])?;
    let (right, shared) = (signals.grant(9)?, Shared::new()?);
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            sender.queue(SIGUSR1, round.into())?;
            while shared.get(0) < round {
                thread::yield_now();
            }
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        until(log, round.into(), give_way)?;
        let last = log.infos().last().copied();
        equal!(last, Some(user::Info { signal: SIGUSR1, value: round.into(), tag: 9 }));
        shared.set(0, round);
    }
    exits(pid, 0)
}

/// What a handler computes with is not what the interrupted thread computes with.
pub fn keeps_registers() -> Outcome {
    const SIGNALS: u64 = 400;
    let (signals, log) = noting(&[])?;
    handle(&signals, SIGUSR1, PLAIN, |_, info| {
        log.note(info);
        ensure_changed(info.value);
    })?;
    let (right, shared) = (signals.grant(0)?, Shared::new()?);
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        let mut value = 0;
        while shared.get(0) == 0 {
            value += 1;
            sender.queue(SIGUSR1, value)?;
            thread::yield_now();
        }
        Ok(())
    })?;
    let mut seed = 0x1234_5678_9abc;
    until(log, SIGNALS, || {
        seed += 77;
        equal!(raw::hold_integers(seed, 20_000), 0);
        equal!(raw::hold_floats(seed, 20_000), 0);
        equal!(raw::hold_floats_over_calls(seed, 3, [rt::abi::nr::GETPID, 0]).0, 0);
        equal!(raw::hold_integers_over_call(rt::abi::nr::SCHED_YIELD, seed), 0);
        Ok(())
    })?;
    shared.set(0, 1);
    exits(pid, 0)
}

/// Has all registers hold something else.
fn ensure_changed(seed: u64) {
    core::hint::black_box(raw::hold_integers(seed, 1) | raw::hold_floats(seed, 1));
}

/// Those that queue, as fast as they can be sent, with others between: each arrives once, in its order.
pub fn storm() -> Outcome {
    const SIGNALS: u64 = 10_000;
    let (signals, log) = noting(&[SIGUSR1])?;
    let next: &'static [AtomicU64; 2] = Box::leak(Box::default());
    for (index, signal) in [SIGRTMIN, SIGRTMAX].into_iter().enumerate() {
        handle(&signals, signal, PLAIN, move |_, info| {
            // Anything out of order ends the count.
            let _ = next[index].compare_exchange(info.value, info.value + 1, Relaxed, Relaxed);
        })?;
    }
    let right = signals.grant(0)?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for value in 0..SIGNALS {
            queue(&sender, SIGRTMIN, value)?;
            queue(&sender, SIGRTMAX, value)?;
            sender.kill(SIGUSR1)?;
        }
        Ok(())
    })?;
    // It ends when all is sent, and what is sent is there.
    exits(pid, 0)?;
    while signals.pending() != 0 {
        thread::yield_now();
    }
    equal!(next.each_ref().map(|next| next.load(Relaxed)), [SIGNALS; 2]);
    ensure!(log.count() >= 1);
    Ok(())
}

/// Two by a right of their own each, and two by one that they share.
pub fn several_senders() -> Outcome {
    const SIGNALS: u64 = 2_000;
    let (signals, _) = noting(&[])?;
    let sums: &'static [AtomicU64; 3] = Box::leak(Box::default());
    handle(&signals, SIGRTMIN + 5, PLAIN, |_, info| {
        sums[info.tag as usize % 3].fetch_add(info.value, Relaxed);
    })?;
    let rights: [Right; 3] = [signals.grant(0)?, signals.grant(1)?, signals.grant(2)?];
    let send = |index: usize| -> Result<i32, Trouble> {
        let right = Right::from_fd(rights[index].fd().try_clone()?);
        Ok(checked_child(|| {
            let sender = Sender::open(right)?;
            (1..=SIGNALS).try_for_each(|value| queue(&sender, SIGRTMIN + 5, value))
        })?)
    };
    let pids = [send(0)?, send(1)?, send(2)?, send(2)?];
    for pid in pids {
        exits(pid, 0)?;
    }
    while signals.pending() != 0 {
        thread::yield_now();
    }
    let sum = SIGNALS * (SIGNALS + 1) / 2;
    equal!(sums.each_ref().map(|sum| sum.load(Relaxed)), [sum, sum, 2 * sum]);
    Ok(())
}

/// By a local socket, to a process that was there before the right.
pub fn passed_on() -> Outcome {
    let (here, there) = rights::pair(SOCK_DGRAM)?;
    let pid = checked_child(|| {
        let right = Right::from_fd(rights::receive_one(&there)?.fd().try_clone()?);
        Sender::open(right)?.queue(SIGRTMIN, 5)?;
        Ok(())
    })?;
    let (signals, log) = noting(&[SIGRTMIN])?;
    let right = signals.grant(3)?;
    rights::send(&here, b"x", &[right.fd().raw()])?;
    until(log, 1, give_way)?;
    equal!(log.infos(), [user::Info { signal: SIGRTMIN, value: 5, tag: 3 }]);
    exits(pid, 0)
}
