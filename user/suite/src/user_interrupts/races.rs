//! Interrupts against what becomes of their receiver meanwhile: it is stopped, forks, has another program, ends; and against who has no part in it.

use super::{counting, receiving, until};
use crate::case::{Outcome, Trouble};
use crate::machine::{go_to, needs_harts};
use crate::process::{Shared, become_cat, call, checked_child, child, dies, exits, kill, sleep_ms, stop, wait_with};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;
use rt::abi::process::{WNOHANG, WUNTRACED, WaitStatus};
use rt::abi::signal::{SIGCONT, SIGKILL, SIGSTOP};
use rt::abi::uintr;
use rt::time::{Duration, Instant};
use rt::uintr::Sender;

/// Words that the processes of a case share: what the receiver has seen, how often it was interrupted, who has got how far.
const SEEN: usize = 0;
const CALLS: usize = 1;
const READY: usize = 2;
const GO: usize = 3;
const DONE: usize = 4;

/// What is raised while the receiver is stopped runs no handler, and is handled when it goes on.
pub fn stopped() -> Outcome {
    const SENT: u32 = 1000;
    drop(counting()?);
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let receiver = receiving(move |_| shared.count(CALLS))?;
        let right = receiver.grant(1 << 3)?;
        let peer = checked_child(|| {
            let sender = Sender::open(right)?;
            shared.await_least(GO, 1);
            (0..SENT).try_for_each(|_| sender.send(3))?;
            shared.set(DONE, 1);
            Ok(())
        })?;
        shared.set(READY, 1);
        until(&receiver, || shared.get(CALLS) > 0)?;
        exits(peer, 0)
    })?;
    ready_or_ended(pid, shared)?;
    stop(pid)?;
    shared.set(GO, 1);
    shared.await_least(DONE, 1);
    equal!(shared.get(CALLS), 0);
    kill(pid, SIGCONT)?;
    exits(pid, 0)?;
    // They came together.
    ensure!(shared.get(CALLS) <= 2, "{} calls for what came while it was stopped", shared.get(CALLS));
    Ok(())
}

/// What was raised while the receiver was stopped is handled before its next instruction.
pub fn first_when_it_goes_on() -> Outcome {
    const COUNTED: usize = 5;
    const FOUND: usize = 6;
    drop(counting()?);
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let receiver = receiving(move |_| {
            shared.set(FOUND, shared.get(COUNTED));
            shared.count(CALLS);
        })?;
        let right = receiver.grant(1 << 3)?;
        let peer = checked_child(|| {
            let sender = Sender::open(right)?;
            shared.set(READY, 1);
            shared.await_least(GO, 1);
            sender.send(3)?;
            shared.set(DONE, 1);
            Ok(())
        })?;
        while shared.get(CALLS) == 0 {
            shared.word(COUNTED).fetch_add(1, Relaxed);
        }
        exits(peer, 0)
    })?;
    ready_or_ended(pid, shared)?;
    // The peer was ready, which may be before the receiver counts.
    shared.await_least(COUNTED, 1);
    stop(pid)?;
    let counted = shared.get(COUNTED);
    shared.set(GO, 1);
    shared.await_least(DONE, 1);
    equal!(shared.get(CALLS), 0);
    kill(pid, SIGCONT)?;
    exits(pid, 0)?;
    equal!(shared.get(FOUND), counted);
    Ok(())
}

/// The receiver changes harts while another sends without a pause: it sees the last message.
pub fn moves_in_a_storm() -> Outcome {
    const MOVES: u32 = 60;
    needs_harts(2)?;
    let shared = Shared::new()?;
    // What the sender has written before it sends is what the handler sees, or something later.
    let receiver = receiving(move |_| shared.set(SEEN, shared.get(GO)))?;
    let right = receiver.grant(1)?;
    let peer = checked_child(|| {
        let sender = Sender::open(right)?;
        let mut over = false;
        while !over {
            over = shared.get(DONE) != 0;
            shared.count(GO);
            sender.send(0)?;
        }
        Ok(())
    })?;
    (0..MOVES).try_for_each(go_to)?;
    shared.set(DONE, 1);
    exits(peer, 0)?;
    until(&receiver, || shared.get(SEEN) == shared.get(GO))
}

/// A right ends while its sender rings on another hart: behind the return no handler runs, and the sender is told.
pub fn revoked_while_it_rings() -> Outcome {
    needs_harts(2)?;
    go_to(0)?;
    let (receiver, counts) = counting()?;
    let fd = receiver.fd().raw() as usize;
    for _ in 0..100 {
        let sender = Arc::new(Sender::open(receiver.grant(1 << 3)?)?);
        let ringing = sender.clone();
        let before = counts.get(3);
        let thread = rt::thread::spawn(move || -> Outcome {
            go_to(1)?;
            while ringing.send(3).is_ok() {}
            // It goes on with what it has.
            for _ in 0..1000 {
                let _ = ringing.send(3);
            }
            fails!(ringing.send(3), ESRCH);
            fails!(ringing.send_by_call(3), ESRCH);
            Ok(())
        })?;
        until(&receiver, || counts.get(3) > before)?;
        call(uintr::REVOKE, &[fd, sender.right().fd().raw() as usize])?;
        let handled = counts.get(3);
        thread.join().unwrap_or_else(|| Err(Trouble::failed("who sends ended")))?;
        equal!(counts.get(3), handled);
    }
    Ok(())
}

/// A program that takes the sender's place has no right: its slot is another's.
pub fn sender_execs() -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1)?;
    let (input, mut to) = rt::pipe::pipe()?;
    let (mut from, output) = rt::pipe::pipe()?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        sender.send(0)?;
        shared.await_least(GO, 1);
        become_cat(input.fd().raw(), output.fd().raw())?;
        drop(sender);
        Ok(())
    })?;
    drop((input, output));
    until(&receiver, || counts.get(0) == 1)?;
    let mut rights = Vec::new();
    for _ in 1..63 {
        rights.push(receiver.grant(2)?);
    }
    fails!(receiver.grant(2), ENOSPC);
    shared.set(GO, 1);
    rt::io::Write::write_all(&mut to, b"x")?;
    rt::io::Read::read_exact(&mut from, &mut [0])?;
    let last = Sender::open(receiver.grant(2)?)?;
    last.send(1)?;
    until(&receiver, || counts.get(1) == 1)?;
    drop(to);
    exits(pid, 0)
}

/// Waits until a child says that it receives.
fn ready_or_ended(pid: i32, shared: Shared) -> Outcome {
    while shared.get(READY) == 0 {
        if wait_with(pid, WNOHANG)?.0 == pid {
            return Err(Trouble::failed("the receiver has ended"));
        }
        sleep_ms(1);
    }
    Ok(())
}

/// Nothing is lost of a stream of messages to one that is stopped and goes on all the time.
pub fn stopped_in_a_storm() -> Outcome {
    const MESSAGES: u32 = 50_000;
    drop(counting()?);
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        // What a sender has written before it sends is what its handler sees, or something later.
        let receiver = receiving(move |_| shared.set(SEEN, shared.get(GO)))?;
        let right = receiver.grant(1)?;
        let peer = checked_child(|| {
            let sender = Sender::open(right)?;
            for message in 1..=MESSAGES {
                shared.set(GO, message);
                sender.send(0)?;
            }
            Ok(())
        })?;
        shared.set(READY, 1);
        until(&receiver, || shared.get(SEEN) == MESSAGES)?;
        exits(peer, 0)
    })?;
    ready_or_ended(pid, shared)?;
    for _ in 0..50 {
        kill(pid, SIGSTOP)?;
        match wait_with(pid, WUNTRACED)? {
            (_, WaitStatus::Stopped(_)) => {}
            (_, WaitStatus::Exited(0)) => return Ok(()),
            (_, other) => return Err(Trouble::failed(format_args!("the receiver: {other:?}"))),
        }
        kill(pid, SIGCONT)?;
    }
    exits(pid, 0)
}

/// A child that is forked in a storm runs no handler, and its parent goes on.
pub fn forks_in_a_storm() -> Outcome {
    let (shared, (receiver, counts)) = (Shared::new()?, counting()?);
    let right = receiver.grant(1 << 2)?;
    let peer = checked_child(|| {
        let sender = Sender::open(right)?;
        while shared.get(DONE) == 0 {
            sender.send(2)?;
        }
        Ok(())
    })?;
    for _ in 0..20 {
        let before = counts.get(2);
        let pid = checked_child(|| {
            // Its own copy, as of a moment between two of its parent's interrupts.
            let copied = counts.get(2);
            (0..50).for_each(|_| {
                let _ = call!(SCHED_YIELD);
            });
            equal!(counts.get(2), copied);
            Ok(())
        })?;
        exits(pid, 0)?;
        until(&receiver, || counts.get(2) > before)?;
    }
    shared.set(DONE, 1);
    exits(peer, 0)
}

/// A program that takes the receiver's place is never interrupted: who sends is told that nobody is there.
pub fn receiver_execs() -> Outcome {
    drop(counting()?);
    let shared = Shared::new()?;
    let (input, mut to) = rt::pipe::pipe()?;
    let (mut from, output) = rt::pipe::pipe()?;
    let pid = checked_child(|| {
        let (receiver, _) = counting()?;
        let right = receiver.grant(1)?;
        let peer = || {
            let sender = Sender::open(right)?;
            while sender.send(0).is_ok() {}
            fails!(sender.send(0), ESRCH);
            fails!(sender.send_by_call(0), ESRCH);
            shared.set(DONE, 1);
            Ok(())
        };
        checked_child(peer)?;
        become_cat(input.fd().raw(), output.fd().raw())
    })?;
    drop((input, output));
    for byte in 0..100 {
        rt::io::Write::write_all(&mut to, &[byte])?;
        let mut back = [0];
        rt::io::Read::read_exact(&mut from, &mut back)?;
        equal!(back[0], byte);
    }
    // The pipe's last writer: the sender holds copies of both ends until it has ended.
    shared.await_least(DONE, 1);
    drop(to);
    exits(pid, 0)
}

/// Receivers end in a storm, of themselves and killed; who sends is told, and a receiver that takes their place hears nothing.
pub fn ends_in_a_storm() -> Outcome {
    let (receiver, counts) = counting()?;
    let own = Sender::open(receiver.grant(1 << 1)?)?;
    for round in 0..20 {
        let shared = Shared::new()?;
        let pid = child(|| {
            let Ok(receiver) = receiving(move |_| shared.count(CALLS)) else { return 1 };
            let Ok(right) = receiver.grant(1) else { return 1 };
            let peer = checked_child(|| {
                let sender = Sender::open(right)?;
                while sender.send(0).is_ok() {}
                shared.set(DONE, 1);
                Ok(())
            });
            let heard = peer.is_ok() && until(&receiver, || shared.get(CALLS) > 10).is_ok();
            shared.set(READY, 1);
            if round % 2 == 1 {
                loop {
                    let _ = call!(SCHED_YIELD);
                }
            }
            i32::from(!heard)
        })?;
        if round % 2 == 1 {
            shared.await_least(READY, 1);
            kill(pid, SIGKILL)?;
            dies(pid, SIGKILL)?;
        } else {
            exits(pid, 0)?;
        }
        shared.await_least(DONE, 1);
    }
    own.send(1)?;
    until(&receiver, || counts.get(1) == 1)?;
    equal!(counts.get(0), 0);
    Ok(())
}

/// Senders that are killed while they send leave nothing behind that another could not use.
pub fn senders_killed() -> Outcome {
    let (shared, (receiver, counts)) = (Shared::new()?, counting()?);
    for round in 0..30 {
        let right = receiver.grant(1 << 4)?;
        let pid = checked_child(|| {
            let sender = Sender::open(right)?;
            loop {
                sender.send(4)?;
                shared.set(READY, round + 1);
            }
        })?;
        shared.await_least(READY, round + 1);
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
    }
    let own = Sender::open(receiver.grant(1 << 5)?)?;
    own.send(5)?;
    until(&receiver, || counts.get(5) == 1)?;
    ensure!(counts.get(4) > 0, "no interrupt of thirty senders");
    Ok(())
}

/// Who has no part in a storm has its hart's other half: the receiver's handlers run in the receiver's time. Both count in loops of the same length, beside each other
/// on one hart; a third, on another, sends all the time.
pub fn innocent_neighbour() -> Outcome {
    const TURNS: u32 = 20_000_000;
    const LIMIT: Duration = Duration::from_secs(5);
    needs_harts(2)?;
    let shared = Shared::new()?;
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1)?;
    let peer = checked_child(|| {
        go_to(1)?;
        let sender = Sender::open(right)?;
        while shared.get(DONE) == 0 {
            sender.send(0)?;
        }
        Ok(())
    })?;
    go_to(0)?;
    let neighbour = checked_child(|| {
        shared.set(READY, 1);
        while shared.get(DONE) == 0 {
            shared.word(SEEN).fetch_add(1, Relaxed);
        }
        Ok(())
    })?;
    shared.await_least(READY, 1);
    until(&receiver, || counts.get(0) > 0)?;
    let before = shared.get(SEEN);
    // Where the storm takes most of its time it has not all of its turns.
    let (start, mut turns) = (Instant::now(), 0);
    while turns < TURNS && (turns % 4096 != 0 || start.elapsed() < LIMIT) {
        turns = shared.word(CALLS).fetch_add(1, Relaxed) + 1;
    }
    let passed = shared.get(SEEN).wrapping_sub(before);
    shared.set(DONE, 1);
    exits(peer, 0)?;
    exits(neighbour, 0)?;
    // Handlers make the receiver slower, not its neighbour. A slice at either end is not counted out.
    let handled = counts.get(0);
    ensure!(passed > turns / 4, "the neighbour had {passed} turns, the receiver {turns} and {handled} handlers");
    Ok(())
}
