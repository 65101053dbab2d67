//! Ends of senders and receivers, and senders that keep no rule.

use super::{PLAIN, handle, noting};
use crate::case::{Outcome, Trouble};
use crate::exec::exec;
use crate::machine::needs_kernel;
use crate::process::{Shared, checked_child, child, dies, exits, kill, wait_with};
use crate::programs::own_path;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use rt::abi::Errno;
use rt::abi::process::{WUNTRACED, WaitStatus};
use rt::abi::signal::{SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1};
use rt::signal::user::{Info, SIGRTMAX, SIGRTMIN, Sender, Signals, bit};
use rt::uintr::Handlers;
use rt::{raw, thread};

pub fn revoked() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1, SIGRTMIN])?;
    let right = signals.grant(1)?;
    let sender = Sender::open(rt::signal::user::Right::from_fd(right.fd().try_clone()?))?;
    let other = Sender::open(signals.grant(2)?)?;
    signals.block(bit(SIGRTMIN));
    sender.queue(SIGRTMIN, 1)?;
    other.queue(SIGRTMIN, 2)?;
    signals.revoke(&right)?;
    fails!(sender.kill(SIGUSR1), ESRCH);
    fails!(sender.kill(0), ESRCH);
    fails!(signals.revoke(&right), ESRCH);
    // Not what was pending by it either, also for who has its place now.
    let next = Sender::open(signals.grant(3)?)?;
    next.queue(SIGRTMIN, 3)?;
    signals.set_mask(0);
    while log.count() < 2 {
        thread::yield_now();
    }
    let mut values: alloc::vec::Vec<_> = log.infos().iter().map(|info| (info.value, info.tag)).collect();
    values.sort_unstable();
    equal!(values, [(2, 2), (3, 3)]);
    Ok(())
}

/// A child that receives signals, and a right to send it some.
fn victim(body: impl FnOnce() -> Outcome) -> Result<(i32, Sender), Trouble> {
    let (here, there) = crate::sockets::rights::pair(rt::abi::net::SOCK_DGRAM)?;
    needs_kernel("user interrupts")?;
    let pid = checked_child(|| {
        let signals = Signals::receive(Handlers::new(), 0)?;
        let right = signals.grant(0)?;
        crate::sockets::rights::send(&there, b"x", &[right.fd().raw()])?;
        drop(right);
        body()
    })?;
    let fd = crate::sockets::rights::receive_one(&here)?.fd().try_clone()?;
    Ok((pid, Sender::open(rt::signal::user::Right::from_fd(fd))?))
}

fn forever() -> Outcome {
    loop {
        thread::yield_now();
    }
}

/// Sends a signal by which the receiver ends, perhaps before the sender looks whether its right is still one.
fn ends(sender: &Sender, signal: u32) -> Outcome {
    match sender.kill(signal) {
        Err(error) if error.raw_os_error() != Some(Errno::ESRCH.number()) => Err(error.into()),
        _ => Ok(()),
    }
}

pub fn usual_actions() -> Outcome {
    for signal in [SIGTERM, SIGKILL, SIGRTMIN, SIGRTMAX, SIGUSR1] {
        let (pid, sender) = victim(forever)?;
        ends(&sender, signal)?;
        dies(pid, signal)?;
    }
    for signal in [SIGTSTP, SIGSTOP] {
        let (pid, sender) = victim(forever)?;
        sender.kill(signal)?;
        equal!(wait_with(pid, WUNTRACED)?, (pid, WaitStatus::Stopped(SIGSTOP as u8)));
        kill(pid, SIGCONT)?;
        ends(&sender, SIGTERM)?;
        dies(pid, SIGTERM)?;
    }
    Ok(())
}

/// A sender that stores any value anywhere makes signals of its own right, and a sender beside it is heard.
pub fn any_value_anywhere() -> Outcome {
    let (signals, log) = noting(&[])?;
    for signal in (1..=64).filter(|signal| ![SIGKILL, SIGSTOP].contains(signal)) {
        handle(&signals, signal, PLAIN, |_, info| {
            if info.tag == 2 {
                log.note(info);
            }
        })?;
    }
    let (bad, good) = (signals.grant(1)?, signals.grant(2)?);
    let shared = Shared::new()?;
    let hostile = child(|| {
        let Ok(sender) = Sender::open(bad) else { return 1 };
        let mut value = 1_u64;
        while shared.get(0) == 0 {
            for word in 0..496 {
                value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Neither end nor stop: that it may.
                let kept = if word == signal_words::RAISED { !(bit(SIGKILL) | bit(SIGSTOP)) } else { u64::MAX };
                raw::store64(sender.area() + 8 * word, value & kept);
            }
            let _ = sender.kill(0);
            let _ = sender.kill(SIGUSR1);
        }
        0
    })?;
    let sender = checked_child(|| {
        let sender = Sender::open(good)?;
        for value in 0..50 {
            sender.queue(SIGRTMIN, value)?;
            shared.await_least(1, value as u32 + 1);
        }
        Ok(())
    })?;
    for value in 0..50_u64 {
        while log.count() <= value {
            thread::yield_now();
        }
        equal!(log.infos().last().copied(), Some(Info { signal: SIGRTMIN, value, tag: 2 }));
        shared.set(1, value as u32 + 1);
    }
    shared.set(0, 1);
    exits(hostile, 0)?;
    exits(sender, 0)
}

/// Where the words are that say which signals were sent, and which places are taken.
mod signal_words {
    pub const RAISED: usize = 8;
    pub const CLAIMED: usize = 16;
}

/// A process that ends between taking a place and filling it: the place is lost to its right until that ends, and all others are not.
pub fn sender_ends_within() -> Outcome {
    let (signals, log) = noting(&[SIGRTMIN])?;
    let right = signals.grant(4)?;
    let shared = Sender::open(rt::signal::user::Right::from_fd(right.fd().try_clone()?))?;
    let pid = child(|| {
        let Ok(sender) = Sender::open(right) else { return 1 };
        raw::store64(sender.area() + 8 * signal_words::CLAIMED, 1);
        0
    })?;
    exits(pid, 0)?;
    signals.block(u64::MAX);
    for value in 0..63 {
        shared.queue(SIGRTMIN, value)?;
    }
    fails!(shared.queue(SIGRTMIN, 63), EAGAIN);
    signals.set_mask(0);
    while log.count() < 63 {
        thread::yield_now();
    }
    ensure!(log.infos().iter().map(|info| info.value).eq(0..63));
    Ok(())
}

/// What a sender has queued is pending when it is gone, also while others are given rights.
pub fn kept_after_the_sender() -> Outcome {
    let (signals, log) = noting(&[SIGRTMIN, SIGUSR1])?;
    signals.block(u64::MAX);
    let right = signals.grant(1)?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        (0..5).try_for_each(|value| sender.queue(SIGRTMIN, value))?;
        sender.kill(SIGUSR1)?;
        Ok(())
    })?;
    exits(pid, 0)?;
    equal!(signals.pending(), bit(SIGRTMIN) | bit(SIGUSR1));
    let next = Sender::open(signals.grant(2)?)?;
    next.queue(SIGRTMIN, 5)?;
    signals.set_mask(0);
    while log.count() < 7 {
        thread::yield_now();
    }
    let infos = log.infos();
    let of_one = infos.iter().filter(|info| info.tag == 1 && info.signal == SIGRTMIN).map(|info| info.value);
    ensure!(of_one.eq(0..5));
    // Its slot is free then: so many would not fit else.
    for _ in 0..200 {
        drop(signals.grant(3)?);
    }
    // Nor does what is kept while another is given a right stay for ever.
    for round in 1..=70 {
        signals.block(u64::MAX);
        let right = signals.grant(4)?;
        let pid = checked_child(|| Ok(Sender::open(right)?.queue(SIGRTMIN, round)?))?;
        exits(pid, 0)?;
        drop(signals.grant(5)?);
        signals.set_mask(0);
        while log.count() < 7 + round {
            thread::yield_now();
        }
    }
    Ok(())
}

/// A receiver that exits, is killed, or starts another program.
pub fn receiver_ends() -> Outcome {
    let (pid, sender) = victim(|| Ok(()))?;
    exits(pid, 0)?;
    fails!(sender.kill(SIGUSR1), ESRCH);
    let (pid, sender) = victim(forever)?;
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    fails!(sender.kill(0), ESRCH);
    let (read, write) = rt::pipe::pipe()?;
    let (pid, sender) = victim(|| {
        let _ = call!(DUP3, read.fd().raw(), 0, 0);
        exec(&own_path(), &["suite", "--program", "cat"]);
        Err(Trouble::failed("no program"))
    })?;
    drop(read);
    while sender.kill(0).is_ok() {
        thread::yield_now();
    }
    fails!(sender.kill(SIGTERM), ESRCH);
    drop(write);
    exits(pid, 0)
}

/// A child has its parent's mask and handlers, and nothing of what is pending.
pub fn inherited() -> Outcome {
    let (signals, log) = noting(&[SIGRTMIN, SIGUSR1])?;
    signals.block(bit(SIGRTMIN));
    signals.queue(SIGRTMIN, 1)?;
    let right = signals.grant(1)?;
    let pid = checked_child(|| {
        let own = signals.inherit(Handlers::new())?;
        equal!((own.pending(), log.count()), (0, 0));
        own.raise(SIGUSR1)?;
        own.queue(SIGRTMIN, 9)?;
        equal!(log.signals(), [SIGUSR1]);
        equal!(own.set_mask(0), bit(SIGRTMIN));
        equal!(log.infos().last().map(|info| info.value), Some(9));
        // The rights that its parent has given are to its parent.
        Sender::open(right)?.queue(SIGRTMIN, 2)?;
        equal!((own.pending(), log.count()), (0, 2));
        Ok(())
    })?;
    exits(pid, 0)?;
    equal!(log.count.load(Relaxed), 0);
    signals.set_mask(0);
    let mut values: alloc::vec::Vec<_> = log.infos().iter().map(|info| info.value).collect();
    values.sort_unstable();
    equal!(values, [1, 2]);
    Ok(())
}

/// A child that a handler makes by `fork` ends when the handler returns: in a thread that was interrupted, and in one that has called it.
pub fn fork_in_a_handler() -> Outcome {
    forks_in_a_handler(|signals| Ok(Sender::open(signals.grant(0)?)?.kill(SIGUSR1)?))
}

pub fn fork_in_a_called_handler() -> Outcome {
    forks_in_a_handler(|signals| Ok(signals.raise(SIGUSR1)?))
}

fn forks_in_a_handler(send: impl FnOnce(&Signals) -> Outcome) -> Outcome {
    let (signals, _) = noting(&[])?;
    let child: &'static AtomicI32 = Box::leak(Box::new(AtomicI32::new(-2)));
    let shared = Shared::new()?;
    handle(&signals, SIGUSR1, PLAIN, |_, _| {
        child.store(call!(CLONE, SIGCHLD, 0, 0, 0, 0).map_or(-1, |pid| pid as i32), Relaxed);
    })?;
    send(&signals)?;
    while child.load(Relaxed) == -2 {
        thread::yield_now();
    }
    let pid = child.load(Relaxed);
    if pid == 0 {
        shared.set(0, 1);
        crate::process::exit(0);
    }
    let (_, status) = wait_with(pid, 0)?;
    ensure!(matches!(status, WaitStatus::Signaled(..)), "the child: {status:?}");
    equal!(shared.get(0), 0);
    Ok(())
}
