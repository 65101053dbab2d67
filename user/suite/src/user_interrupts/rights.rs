//! Who may raise what, and what is left of a right that has ended.

use super::{counting, until};
use crate::case::{Outcome, Trouble};
use crate::process::{call, checked_child, child, exits, wait};
use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use core::time::Duration;
use rt::abi::{process::WaitStatus, signal::SIGBUS};
use rt::uintr::{Handlers, Receiver, Sender, receive};
use rt::{abi, abi::Errno, raw};

pub fn errors() -> Outcome {
    let (receiver, counts) = counting()?;
    fails!(receive(Handlers::new()), EBUSY);
    fails!(receiver.grant(0), EINVAL);
    let first = Sender::open(receiver.grant(1)?)?;
    fails!(first.send_by_call(1), EPERM);
    fails!(first.send_by_call(64), EINVAL);
    fails!(call(abi::uintr::SEND, &[0, 0]), EINVAL);
    fails!(call(abi::uintr::SEND, &[usize::MAX, 0]), EBADF);
    fails!(call(abi::uintr::RECEIVER, &[2, 0]), EBUSY);
    fails!(receiver.wait(Some(Duration::from_millis(2))), ETIMEDOUT);
    let mut rights = Vec::new();
    for _ in 1..63 {
        rights.push(receiver.grant(2)?);
    }
    fails!(receiver.grant(2), ENOSPC);
    rights.pop();
    rights.push(receiver.grant(2)?);
    first.send(0)?;
    until(&receiver, || counts.get(0) == 1)
}

pub fn revoked() -> Outcome {
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
pub fn recycled() -> Outcome {
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
pub fn any_number() -> Outcome {
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

/// A sender stores what it likes anywhere in its two pages, in words, bytes and double words: it may end by that, another is heard, and no handler runs but what both were granted.
pub fn anything_anywhere() -> Outcome {
    const VALUES: [u64; 6] =
        [u64::MAX, 0x8000_0000_8000_0000, 0x0001_0000_0001_0000, 0x0100_0000_0100_0000, 0x5555_0000_aaaa_0000, 0];
    let (receiver, counts) = counting()?;
    let victim = Sender::open(receiver.grant(1 << 1)?)?;
    let hostile = Sender::open(receiver.grant(1 << 2)?)?;
    let (word, bell) = (hostile.doorbell() - 4096, hostile.doorbell());
    // What it is to store, before it writes over that.
    let slot = raw::atomic(word + abi::uintr::SLOT).load(Relaxed);
    let mut sent = 0;
    let mut is_heard = || {
        sent += 1;
        victim.send(1)?;
        until(&receiver, || counts.get(1) >= sent)?;
        equal!(counts.get(1), sent);
        ensure!((0..64).all(|vector| vector == 1 || vector == 2 || counts.get(vector) == 0), "what was not granted");
        Ok(())
    };
    let stores: [fn(usize, u64); 3] = [
        |address, value| raw::store64(address & !7, value),
        |address, value| raw::atomic(address).store(value as u32, Relaxed),
        |address, value| raw::store8(address, value as u8),
    ];
    for value in VALUES {
        for store in stores {
            let heard = counts.get(2);
            (0..4096).step_by(4).for_each(|offset| store(word + offset, value));
            raw::atomic(bell).store(slot, Relaxed);
            is_heard()?;
            // Its word was looked at, and vector 2 is granted to it.
            if value & 1 << 2 != 0 {
                until(&receiver, || counts.get(2) > heard)?;
            }
            for offset in [0, 4, 8, 12, 0x100, 0x7fc, 0x800, 0xffc] {
                // The page takes words at its beginning; where it takes nothing, that is SIGBUS.
                let pid = child(|| {
                    store(bell + offset, value);
                    0
                })?;
                match wait(pid)? {
                    WaitStatus::Exited(0) => {}
                    WaitStatus::Signaled(signal, _) if u32::from(signal) == SIGBUS => {}
                    other => return Err(Trouble::failed(format_args!("{value:#x} at {offset:#x}: {other:?}"))),
                }
                is_heard()?;
            }
        }
    }
    Ok(())
}

pub fn end_of_receiver() -> Outcome {
    drop(counting()?);
    let sender = ended()?;
    fails!(sender.send(0), ESRCH);
    fails!(sender.send_by_call(0), ESRCH);
    Ok(())
}

/// A child has its parent's value, and nothing of what it stands for: it drops that, and the parent goes on.
pub fn dropped_by_a_child() -> Outcome {
    let (receiver, counts) = counting()?;
    let receiver = core::cell::RefCell::new(Some(receiver));
    let pid = checked_child(|| {
        drop(receiver.borrow_mut().take());
        Ok(())
    })?;
    exits(pid, 0)?;
    let receiver = receiver.into_inner().ok_or_else(|| Trouble::failed("it is the child's that is gone"))?;
    Sender::open(receiver.grant(1)?)?.send(0)?;
    until(&receiver, || counts.get(0) == 1)
}

/// A receiver's thread that has ended with a sender left to others, who has rung.
fn ended() -> Result<Sender, Trouble> {
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
    handed.join().flatten().ok_or_else(|| Trouble::failed("the thread did not receive"))
}

/// Who rings a receiver that has ended does not ring at its place, which is another's by now.
pub fn place_of_another() -> Outcome {
    crate::machine::go_to(0)?;
    // Others on this hart may take the place instead.
    for _ in 0..10 {
        let old = ended()?;
        let heard = rt::thread::spawn(move || {
            let (receiver, counts) = counting().ok()?;
            let sender = Sender::open(receiver.grant(1).ok()?).ok()?;
            sender.send(0).ok()?;
            until(&receiver, || counts.get(0) == 1).ok()?;
            let before = receiver.idle();
            for _ in 0..100 {
                raw::atomic(old.doorbell()).store(1, Relaxed);
            }
            Some(receiver.idle() - before)
        })?;
        equal!(heard.join().flatten(), Some(0));
    }
    Ok(())
}

/// Sets vectors in a sender's word without ringing.
fn set_silently(sender: &Sender, vectors: u32) {
    raw::atomic(sender.doorbell() - 4096 + abi::uintr::WORD).fetch_or(vectors, Relaxed);
}

/// What is set in the word is told of by a call that raises nothing itself: each is handled once.
pub fn rung_by_call() -> Outcome {
    const ROUNDS: u32 = 100;
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(2)?)?;
    let ring = || call(abi::uintr::SEND, &[sender.right().fd().raw() as usize, abi::uintr::RING]);
    for round in 1..=ROUNDS {
        set_silently(&sender, 2);
        ring()?;
        until(&receiver, || counts.get(1) >= round)?;
        ring()?;
    }
    equal!((counts.get(1), counts.get(0)), (ROUNDS, 0));
    receiver.revoke(sender.right())?;
    fails!(ring(), ESRCH);
    Ok(())
}

/// As many senders as a receiver can have. What those before have left may still be taken.
fn all(receiver: &Receiver) -> Result<Vec<Sender>, Trouble> {
    let grant = || {
        for _ in 0..1000 {
            match receiver.grant(1) {
                Err(error) if error == Errno::ENOSPC.into() => drop(receiver.wait(Some(Duration::from_millis(1)))),
                right => return right,
            }
        }
        receiver.grant(1)
    };
    (1..abi::uintr::SLOTS).map(|_| Ok(Sender::open(grant()?)?)).collect()
}

/// Senders that end with something in their words do not keep their slots: what was granted is taken, what was not is nothing.
pub fn slots_come_back() -> Outcome {
    let (receiver, counts) = counting()?;
    for silent in [2, 1, 3] {
        for sender in all(&receiver)? {
            set_silently(&sender, silent);
        }
    }
    drop(all(&receiver)?);
    ensure!(counts.get(0) > 0);
    equal!(counts.get(1), 0);
    Ok(())
}

/// Another thread revokes and grants while the receiver's handlers run: what is sent by a right that has ended reaches no handler, and what its
/// successor sends is not lost. Someone tells of the slot all the time, so that the handler often looks at it just then.
pub fn revoked_by_another() -> Outcome {
    const ROUNDS: u32 = 300;
    let (receiver, counts) = counting()?;
    let fd = receiver.fd().raw() as usize;
    let hostile = Sender::open(receiver.grant(1 << 2)?)?;
    let grant =
        move || -> Result<Sender, Trouble> { Ok(Sender::open(raw::right(call(abi::uintr::GRANT, &[fd, 2])?))?) };
    // Who asks counts the first up; the receiver, which is in no handler then, makes the second the same.
    let passes: &'static [AtomicU32; 3] = Box::leak(Box::new([const { AtomicU32::new(0) }; 3]));
    let pass = || {
        let turn = passes[0].fetch_add(1, SeqCst) + 1;
        while passes[1].load(SeqCst) < turn {
            rt::thread::yield_now();
        }
    };
    let teller = rt::thread::spawn(move || {
        while passes[2].load(SeqCst) == 0 {
            for _ in 0..20 {
                raw::atomic(hostile.doorbell()).store(2, Relaxed);
            }
            rt::thread::yield_now();
        }
    })?;
    let revoker = rt::thread::spawn(move || -> Outcome {
        for round in 1..=ROUNDS {
            let old = grant()?;
            call(abi::uintr::REVOKE, &[fd, old.right().fd().raw() as usize])?;
            set_silently(&old, 2);
            pass();
            let new = grant()?;
            set_silently(&old, 2);
            pass();
            equal!(counts.get(1), round - 1);
            new.send(1)?;
            while counts.get(1) < round {
                rt::thread::yield_now();
            }
            equal!(counts.get(1), round);
        }
        Ok(())
    })?;
    while !revoker.is_finished() {
        let turn = passes[0].load(SeqCst);
        passes[1].store(turn, SeqCst);
        rt::thread::yield_now();
    }
    passes[2].store(1, SeqCst);
    let _ = teller.join();
    revoker.join().unwrap_or_else(|| Err(Trouble::failed("the other thread ended")))
}
