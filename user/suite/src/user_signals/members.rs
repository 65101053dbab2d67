//! Threads that are of a group and end, in any way, or make children; senders that are killed; rights that end.

use super::threads::{BOTH, Taken, another, ended, equal_to_sent, member, send, until};
use super::{PLAIN, between::queue, handle};
use crate::case::{Outcome, Trouble};
use crate::exec::exec;
use crate::process::{Shared, checked_child, dies, exits, kill, wait_with};
use crate::programs::own_path;
use crate::sockets::rights;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::forget;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use rt::abi::net::SOCK_DGRAM;
use rt::abi::process::WaitStatus;
use rt::abi::signal::{SIGCHLD, SIGKILL, SIGUSR1, SIGUSR2};
use rt::signal::user::{Group, Info, Right, SIGRTMIN, Sender, Signals, bit};
use rt::sync::Mutex;
use rt::thread;
use rt::uintr::Handlers;

/// Another thread grants two rights, by one of which 21 signals are pending for all; what it does behind that, and a sender by that right.
fn home_of_some(group: &Arc<Group>, end: fn(Signals)) -> Result<Sender, Trouble> {
    let right = Arc::new(Mutex::new(None));
    let theirs = right.clone();
    let (thread, steps) = another(group, BOTH, move |signals, _, steps| {
        *theirs.lock() = Some(signals.grant_for_group(8)?);
        drop(signals.grant_for_group(9)?);
        steps.reach(2);
        steps.wait(3);
        end(signals);
        Ok(())
    })?;
    steps.wait(2);
    let Some(right) = right.lock().take() else { return Err(Trouble::failed("no right")) };
    send(&right, 20)?;
    let sender = Sender::open(right)?;
    steps.reach(3);
    ended(thread)?;
    Ok(sender)
}

/// Who has granted the right leaves: what was sent is the others', and what is sent then has nowhere to go. Rights and members are given back: so many are not at once.
pub fn home_leaves() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    for _ in 0..70 {
        let sender = home_of_some(&group, drop)?;
        fails!(sender.kill(SIGUSR1), ESRCH);
        equal!(signals.pending(), BOTH);
        let before = log.count();
        signals.set_mask(0);
        equal!(log.count(), before + 21);
        signals.set_mask(BOTH);
    }
    Ok(())
}

/// The same of one that forgets what it receives by, and ends: its pages are given back, and others may be there.
pub fn home_is_gone() -> Outcome {
    apart(takes_from_who_is_gone)
}

/// In a process whose descriptors nobody counts: what is forgotten stays open.
fn apart(body: fn() -> Outcome) -> Outcome {
    crate::machine::needs_kernel("user interrupts")?;
    exits(checked_child(body)?, 0)
}

fn takes_from_who_is_gone() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    for round in 1..=40 {
        let sender = home_of_some(&group, forget)?;
        fails!(sender.kill(0), ESRCH);
        equal!(signals.pending(), BOTH);
        let pages: Vec<_> = (0..8).map(|_| crate::process::map(64 << 12, 3)).collect::<Result<_, _>>()?;
        signals.set_mask(0);
        equal!(log.count(), 21 * round);
        equal!(signals.set_mask(BOTH), 0);
        for start in pages {
            crate::process::unmap(start, 64 << 12)?;
        }
    }
    Ok(())
}

/// One that takes all has forgotten it and ended: another is chosen.
pub fn chosen_is_gone() -> Outcome {
    apart(rings_another)
}

fn rings_another() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let right = signals.grant_for_group(5)?;
    let (gone, _) = another(&group, 0, |signals, _, _| {
        forget(signals);
        Ok(())
    })?;
    ended(gone)?;
    let (thread, _) = another(&group, 0, |_signals, log, _| {
        until(log, 21);
        equal_to_sent(log, 20, 5)
    })?;
    send(&right, 20)?;
    ended(thread)?;
    equal!(log.count(), 0);
    Ok(())
}

/// A process of two threads of a group, in which one does `body`, and a right to send to both.
fn victim(body: impl FnOnce() -> Outcome) -> Result<(i32, Sender), Trouble> {
    crate::machine::needs_kernel("user interrupts")?;
    let (here, there) = rights::pair(SOCK_DGRAM)?;
    let pid = checked_child(|| {
        let group = Group::new();
        let (signals, _) = member(&group, BOTH)?;
        let right = signals.grant_for_group(0)?;
        let (_other, _) = another(&group, BOTH, |_signals, _, steps| {
            steps.wait(u32::MAX);
            Ok(())
        })?;
        rights::send(&there, b"x", &[right.fd().raw()])?;
        body()
    })?;
    drop(there);
    let fd = rights::receive_one(&here)?.fd().try_clone()?;
    Ok((pid, Sender::open(Right::from_fd(fd))?))
}

/// A process of several threads that is killed, or starts another program from the thread that is not the home.
pub fn process_ends() -> Outcome {
    let (pid, sender) = victim(|| {
        loop {
            thread::yield_now();
        }
    })?;
    sender.queue(SIGRTMIN, 1)?;
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    fails!(sender.queue(SIGRTMIN, 2), ESRCH);
    let (read, write) = rt::pipe::pipe()?;
    let (pid, sender) = victim(|| {
        let _ = call!(DUP3, read.fd().raw(), 0, 0);
        let thread = thread::spawn(|| exec(&own_path(), &["suite", "--program", "cat"]))?;
        let _ = thread.join();
        Err(Trouble::failed("no program"))
    })?;
    drop(read);
    while sender.kill(0).is_ok() {
        thread::yield_now();
    }
    fails!(sender.queue(SIGRTMIN, 3), ESRCH);
    drop(write);
    exits(pid, 0)
}

/// A child is none of its parent's group, and can have one of its own.
pub fn fork_between() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let right = signals.grant_for_group(5)?;
    signals.queue_for_group(SIGRTMIN, 1)?;
    let pid = checked_child(|| {
        let own = signals.inherit(Handlers::new())?;
        equal!((own.pending(), log.count()), (0, 0));
        fails!(own.join(&group), EINVAL);
        fails!(own.queue_for_group(SIGUSR1, 0), EINVAL);
        let group = Group::new();
        own.join(&group)?;
        own.queue_for_group(SIGUSR1, 3)?;
        equal!(own.set_mask(0), BOTH);
        equal!(log.infos(), [Info { signal: SIGUSR1, value: 3, tag: 0 }]);
        // To its parent and the others there.
        Sender::open(right)?.queue(SIGRTMIN, 2)?;
        equal!((own.pending(), log.count()), (0, 1));
        Ok(())
    })?;
    exits(pid, 0)?;
    signals.set_mask(0);
    equal!(log.infos().iter().map(|info| (info.value, info.tag)).collect::<Vec<_>>(), [(1, 0), (2, 5)]);
    Ok(())
}

/// A child that a handler makes ends where it would take what is its parent's.
pub fn fork_in_a_handler() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let child: &'static AtomicI32 = Box::leak(Box::new(AtomicI32::new(-2)));
    handle(&signals, SIGUSR2, PLAIN, |signals, _| {
        child.store(call!(CLONE, SIGCHLD, 0, 0, 0, 0).map_or(-1, |pid| pid as i32), Relaxed);
        if child.load(Relaxed) == 0 {
            signals.unblock(BOTH);
            crate::process::exit(3);
        }
    })?;
    let right = signals.grant_for_group(5)?;
    send(&right, 20)?;
    signals.queue_for_group(SIGUSR2, 0)?;
    let (_, status) = wait_with(child.load(Relaxed), 0)?;
    ensure!(matches!(status, WaitStatus::Signaled(..)), "the child: {status:?}");
    signals.set_mask(0);
    equal_to_sent(log, 20, 5)
}

/// Processes that are killed while they send: what has come is the first of what they would have sent, each once.
pub fn sender_is_killed() -> Outcome {
    const ROUNDS: u64 = 10;
    let (group, taken) = (Group::new(), Taken::new());
    let (signals, _) = member(&group, BOTH)?;
    for round in 0..ROUNDS {
        let right = signals.grant_for_group(round % 2)?;
        taken.begin();
        let threads = taken.threads(&group)?;
        let (own, shared) = (Right::from_fd(right.fd().try_clone()?), Shared::new()?);
        let pid = checked_child(|| {
            let sender = Sender::open(own)?;
            for value in 0..Taken::VALUES {
                queue(&sender, SIGRTMIN, value)?;
                shared.count(0);
            }
            loop {
                thread::yield_now();
            }
        })?;
        while shared.get(0) < 20 * (round as u32 + 1) {
            thread::yield_now();
        }
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
        let sent = u64::from(shared.get(0));
        while taken.count() < sent {
            thread::yield_now();
        }
        signals.revoke(&right)?;
        taken.end(threads)?;
        // The one that it was at may have come, or not.
        ensure!((sent..=sent + 1).contains(&taken.count()), "{sent} sent, {} taken", taken.count());
        ensure!(taken.each_once(round % 2, sent), "lost, or taken twice");
    }
    Ok(())
}

/// What is queued by a right that ends is gone; whoever has its slot then is heard by the thread alone, and other rights go on.
pub fn right_ends() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let (right, kept) = (signals.grant_for_group(1)?, signals.grant_for_group(2)?);
    let sender = Sender::open(Right::from_fd(right.fd().try_clone()?))?;
    sender.queue(SIGRTMIN, 1)?;
    Sender::open(kept)?.queue(SIGRTMIN, 2)?;
    signals.revoke(&right)?;
    fails!(sender.queue(SIGRTMIN, 3), ESRCH);
    fails!(signals.revoke(&right), ESRCH);
    drop((sender, right));
    let own = Sender::open(signals.grant(4)?)?;
    own.queue(SIGRTMIN, 5)?;
    let (thread, _) = another(&group, bit(SIGUSR1), |_signals, log, _| {
        until(log, 1);
        equal!(log.infos(), [Info { signal: SIGRTMIN, value: 2, tag: 2 }]);
        Ok(())
    })?;
    ended(thread)?;
    signals.set_mask(0);
    until(log, 1);
    equal!(log.infos(), [Info { signal: SIGRTMIN, value: 5, tag: 4 }]);
    // As many as a receiver has slots for, again and again: each takes one in the group.
    signals.set_mask(BOTH);
    for _ in 0..200 {
        let right = signals.grant_for_group(6)?;
        signals.revoke(&right)?;
    }
    Ok(())
}
