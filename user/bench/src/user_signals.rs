//! Signals in user mode (note 0012): to oneself, and round trips between two processes.

use crate::measure::{Outcome, call, count_on_all_harts, measure};
use crate::ping_pong::{go_to, partner, shared_word};
use crate::processes::end;
use crate::urgency;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use rt::abi::nr;
use rt::abi::signal::{SIG_BLOCK, SIGUSR1};
use rt::signal::user::{Flags, Group, Right, Sender, Signals, bit};
use rt::uintr::Handlers;
use rt::{io, raw};

/// Has this thread receive `SIGUSR1`; how many have come.
fn counting() -> io::Result<(Signals, &'static AtomicU64)> {
    let (signals, count) = (Signals::receive(Handlers::new(), 0)?, &*Box::leak(Box::new(AtomicU64::new(0))));
    let handler: &'static _ = Box::leak(Box::new(|_: &_, _: &_| count.store(count.load(Relaxed) + 1, Relaxed)));
    raw::handle_signal(&signals, SIGUSR1, (Flags::RESTART, 0), handler)?;
    Ok((signals, count))
}

/// In a process of its own, of one thread: `bench --signals one`, or `two` for two harts.
pub fn measured(which: &str) -> Outcome {
    if which == "kernel" {
        return by_kernel();
    }
    let (signals, count) = counting()?;
    if which == "two" {
        go_to(0)?;
        return against(signals.grant(0)?, true, |ask| {
            count_on_all_harts("usignal_running_pp", 2_000, |rounds| {
                (0..rounds).try_for_each(|_| {
                    let before = count.load(Relaxed);
                    ask.kill(SIGUSR1)?;
                    spin_behind(count, before);
                    Ok(())
                })
            })
        });
    }
    measure("usignal_to_oneself", 100_000, |rounds| (0..rounds).try_for_each(|_| signals.raise(SIGUSR1)))?;
    let own = Sender::open(signals.grant(0)?)?;
    measure("usignal_interrupts", 100_000, |rounds| (0..rounds).try_for_each(|_| own.kill(SIGUSR1)))?;
    signals.block(bit(SIGUSR1));
    blocked("usignal_blocked_pp", &signals, signals.grant(0)?)?;
    for_all(&signals)
}

/// To all threads of a group, of which there is one.
fn for_all(signals: &Signals) -> Outcome {
    signals.join(&Group::new())?;
    blocked("usignal_group_blocked_pp", signals, signals.grant_for_group(0)?)?;
    signals.unblock(bit(SIGUSR1));
    measure("usignal_group_to_oneself", 100_000, |rounds| {
        (0..rounds).try_for_each(|_| signals.queue_for_group(SIGUSR1, 0))
    })
}

/// A round trip with a process that answers by `answer`, where each sleeps until it is asked or answered.
fn blocked(row: &str, signals: &Signals, answer: Right) -> Outcome {
    against(answer, false, |ask| {
        measure(row, 5_000, |rounds| {
            (0..rounds).try_for_each(|_| {
                ask.kill(SIGUSR1)?;
                signals.wait(bit(SIGUSR1), None).map(drop)
            })
        })
    })
}

/// The same by the conventional mechanism: a signal to oneself that is taken, and a round trip.
fn by_kernel() -> Outcome {
    let set = bit(SIGUSR1);
    call(nr::RT_SIGPROCMASK, &[SIG_BLOCK as usize, &raw const set as usize, 0, 8])?;
    let own = rt::process::id() as usize;
    let take = || call(nr::RT_SIGTIMEDWAIT, &[&raw const set as usize, 0, 0, 8]).map(drop);
    let send = |pid: usize| call(nr::KILL, &[pid, SIGUSR1 as usize]).map(drop);
    measure("signal_to_oneself", 20_000, |rounds| {
        for _ in 0..rounds {
            send(own)?;
            take()?;
        }
        Ok(())
    })?;
    let child = partner(0, || {
        loop {
            take()?;
            send(own)?;
        }
    })?;
    measure("signal_blocked_pp", 5_000, |rounds| {
        for _ in 0..rounds {
            send(child as usize)?;
            take()?;
        }
        Ok(())
    })?;
    end(child)
}

fn spin_behind(count: &AtomicU64, before: u64) {
    while count.load(Relaxed) <= before {
        core::hint::spin_loop();
    }
}

/// Runs `body` with the right to send to a process that answers each signal by `answer`: while it runs, on another hart, or when it has slept.
fn against(answer: Right, is_running: bool, body: impl FnOnce(&Sender) -> Outcome) -> Outcome {
    let answer = Sender::open(answer)?;
    let descriptor: &'static AtomicU32 = shared_word()?;
    let child = partner(usize::from(is_running), || {
        let (signals, count) = counting()?;
        if !is_running {
            signals.block(bit(SIGUSR1));
        }
        let right = signals.grant(0)?;
        descriptor.store(right.fd().raw() as u32, Release); // pairs with the Acquire below
        for before in 0.. {
            if is_running {
                spin_behind(count, before);
            } else {
                signals.wait(bit(SIGUSR1), None)?;
            }
            answer.kill(SIGUSR1)?;
        }
        Ok(())
    })?;
    while descriptor.load(Acquire) == 0 {
        call(nr::SCHED_YIELD, &[])?;
    }
    let fd = raw::right(descriptor.load(Relaxed) as usize).fd().try_clone()?;
    body(&Sender::open(Right::from_fd(fd))?)?;
    end(child)
}

/// All rows.
pub fn rows() -> Outcome {
    urgency::in_a_process(&["--signals", "kernel"])?;
    if !has_interrupts() {
        return Ok(());
    }
    urgency::in_a_process(&["--signals", "one"])
}

/// A round trip on two harts, counted on both.
pub fn across_harts() -> Outcome {
    if urgency::harts() < 2 || !has_interrupts() {
        return Ok(());
    }
    urgency::in_a_process(&["--signals", "two"])
}

/// Another kernel has none.
pub fn has_interrupts() -> bool {
    call(rt::abi::uintr::WAIT, &[0]).is_err_and(|error| error != rt::abi::Errno::ENOSYS)
}
