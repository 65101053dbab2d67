//! Threads and tasks that wait for signals.

use super::{PLAIN, handle, noting, receiving};
use crate::case::Outcome;
use crate::process::{Shared, await_blocked, checked_child, exits};
use core::time::Duration;
use rt::abi::signal::{SIGUSR1, SIGUSR2};
use rt::signal::user::{Info, SIGRTMIN, Sender, bit};

/// From a child that waits until the receiver sleeps, each time.
pub fn wait() -> Outcome {
    const ROUNDS: u32 = 40;
    let (signals, log) = noting(&[SIGUSR1, SIGUSR2])?;
    let (right, shared) = (signals.grant(1)?, Shared::new()?);
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            await_blocked(waiter)?;
            sender.queue(SIGUSR1, round.into())?;
            shared.await_least(0, round);
        }
        await_blocked(waiter)?;
        sender.kill(SIGUSR2)?;
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        let info = signals.wait(bit(SIGUSR1) | bit(SIGRTMIN), None)?;
        equal!(info, Info { signal: SIGUSR1, value: round.into(), tag: 1 });
        shared.set(0, round);
    }
    equal!((log.count(), signals.set_mask(0)), (0, 0));
    // Another one, which is handled, ends the wait.
    fails!(signals.wait(bit(SIGUSR1), None), EINTR);
    equal!(log.signals(), [SIGUSR2]);
    exits(pid, 0)
}

pub fn wait_has_a_limit() -> Outcome {
    let signals = receiving()?;
    for limit in [Duration::ZERO, Duration::from_millis(3)] {
        fails!(signals.wait(bit(SIGUSR1), Some(limit)), EAGAIN);
    }
    signals.block(bit(SIGUSR1) | bit(SIGRTMIN));
    for signal in [SIGRTMIN, SIGUSR1, SIGRTMIN] {
        signals.queue(signal, signal.into())?;
    }
    for signal in [SIGUSR1, SIGRTMIN, SIGRTMIN] {
        equal!(signals.wait(u64::MAX, Some(Duration::ZERO))?, Info { signal, value: signal.into(), tag: 0 });
    }
    fails!(signals.wait(u64::MAX, Some(Duration::ZERO)), EAGAIN);
    equal!(signals.pending(), 0);
    Ok(())
}

/// With the mask changed for the time of the wait alone: what is masked else never comes between two waits.
pub fn suspend() -> Outcome {
    const ROUNDS: u32 = 40;
    let (signals, log) = noting(&[SIGUSR1, SIGUSR2])?;
    signals.block(bit(SIGUSR1) | bit(SIGUSR2));
    let (right, shared) = (signals.grant(1)?, Shared::new()?);
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            sender.kill(SIGUSR2)?;
            sender.kill(SIGUSR1)?;
            shared.await_least(0, round);
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        equal!(log.count(), u64::from(round) - 1);
        signals.suspend(bit(SIGUSR2));
        equal!(log.count(), u64::from(round));
        equal!(log.signals().last().copied(), Some(SIGUSR1));
        shared.set(0, round);
    }
    exits(pid, 0)?;
    equal!(signals.set_mask(0), bit(SIGUSR1) | bit(SIGUSR2));
    equal!(log.signals().last().copied(), Some(SIGUSR2));
    Ok(())
}

/// What its mask has kept off is delivered when it is over, if the mask of before lets it in.
pub fn suspend_delivers_the_rest() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1])?;
    handle(&signals, SIGUSR2, PLAIN, |signals, info| {
        // Masked in here: by the wait, not by what it was before.
        let _ = signals.raise(SIGUSR1);
        log.note(info);
    })?;
    signals.block(bit(SIGUSR2));
    for round in 1..=20 {
        signals.raise(SIGUSR2)?;
        signals.suspend(bit(SIGUSR1));
        equal!(log.count(), 2 * round);
        equal!(log.signals()[2 * round as usize - 2..], [SIGUSR2, SIGUSR1]);
    }
    equal!((signals.set_mask(0), signals.pending()), (bit(SIGUSR2), 0));
    Ok(())
}

/// A task takes what is masked.
pub fn task() -> Outcome {
    const ROUNDS: u32 = 200;
    let signals = receiving()?;
    signals.block(u64::MAX);
    let (right, shared) = (signals.grant(1)?, Shared::new()?);
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            sender.queue(SIGRTMIN, round.into())?;
            if round % 2 == 0 {
                shared.await_least(0, round);
            }
        }
        Ok(())
    })?;
    rt::task::block_on(async {
        for round in 1..=ROUNDS {
            equal!(signals.next(bit(SIGRTMIN)).await?, Info { signal: SIGRTMIN, value: round.into(), tag: 1 });
            shared.set(0, round);
        }
        signals.queue(SIGUSR1, 3)?;
        equal!(signals.next(bit(SIGUSR1)).await?, Info { signal: SIGUSR1, value: 3, tag: 0 });
        Ok::<(), crate::case::Trouble>(())
    })?;
    exits(pid, 0)
}
