//! The pages of the backend `NUINTC`, by hand, without a handler: what is rung is claimed, by who has the right and as long as it has.

use crate::case::{Outcome, Trouble};
use crate::machine::{needs_asyncos, needs_kernel, needs_root, world};
use crate::process::{PAGE, call, checked_child, child, dies, exits, sleep_ms};
use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::asyncos::{WORLD_TABLE, WORLD_VM};
use rt::abi::futex::FUTEX_WAIT;
use rt::abi::signal::SIGBUS;
use rt::abi::{Errno, mm::*, nr, uintr};
use rt::raw;

fn map_pages(fd: usize, pages: usize) -> Result<usize, Trouble> {
    Ok(call(nr::MMAP, &[0, pages * PAGE, (PROT_READ | PROT_WRITE) as usize, MAP_SHARED as usize, fd, 0])?)
}

fn word(address: usize) -> &'static AtomicU32 {
    raw::atomic(address)
}

/// The backend that the kernel's command line asks for is there, in the worlds that can have it, and no other but `SOFT`.
pub fn as_asked() -> Outcome {
    needs_asyncos()?;
    let line = rt::fs::read_to_string("/proc/cmdline")?;
    let asked = line.split_whitespace().find_map(|word| word.strip_prefix("uintr="));
    let Some(asked) = asked.filter(|asked| *asked != "auto") else {
        return Err(Trouble::skipped("the command line asks for none"));
    };
    let in_vm = world() == Some(WORLD_VM);
    let backends = [("aia", uintr::AIA, in_vm), ("nuintc", uintr::NUINTC, !in_vm)];
    for (backend, there) in backends
        .map(|(name, backend, can_be)| (backend, can_be && name == asked))
        .into_iter()
        .chain([(uintr::SOFT, true)])
    {
        // A thread is a receiver once.
        let begun = rt::thread::spawn(move || call(uintr::RECEIVER, &[PAGE, 0, backend]).map(raw::file))?.join();
        match begun.ok_or_else(|| Trouble::failed("the thread ended"))? {
            Ok(_) => ensure!(there, "{backend} is there, asked for was {asked}"),
            Err(error) => ensure!(!there && error == Errno::ENODEV, "{backend}: {error:?}, asked for was {asked}"),
        }
    }
    Ok(())
}

/// Where nobody chooses a world and user interrupts come by the controller alone, a native program has the world in which they do.
pub fn world_by_itself() -> Outcome {
    needs_asyncos()?;
    let line = rt::fs::read_to_string("/proc/cmdline")?;
    if !["world=auto", "uintr=nuintc"].iter().all(|asked| line.split_whitespace().any(|word| word == *asked)) {
        return Err(Trouble::skipped("the command line asks for something else"));
    }
    equal!(world(), Some(WORLD_TABLE));
    let begun = rt::thread::spawn(|| call(uintr::RECEIVER, &[PAGE, 0, uintr::NUINTC]).map(raw::file))?.join();
    begun.ok_or_else(|| Trouble::failed("the thread ended"))??;
    Ok(())
}

pub fn claimed() -> Outcome {
    needs_kernel("user interrupts")?;
    // Nothing is let in, so nothing arrives there.
    let receiver = match call(uintr::RECEIVER, &[PAGE, 0, uintr::NUINTC]) {
        Err(Errno::ENODEV) => return Err(Trouble::skipped("no such controller, or not in this world")),
        receiver => receiver?,
    };
    let claim = map_pages(receiver, uintr::RECEIVER_PAGES)? + uintr::CLAIM * PAGE;
    let rights = [call(uintr::GRANT, &[receiver, 1])?, call(uintr::GRANT, &[receiver, 1])?];
    let senders = [map_pages(rights[0], uintr::SENDER_PAGES)?, map_pages(rights[1], uintr::SENDER_PAGES)?];
    let ring = |sender: usize, number: u32| word(sender + PAGE).store(number, Relaxed);
    let uiid = word(senders[0] + uintr::SLOT).load(Relaxed);
    equal!(word(senders[1] + uintr::SLOT).load(Relaxed), uiid);
    equal!(word(claim).load(Relaxed), 0);
    for sender in [senders[1], senders[0], senders[1]] {
        ring(sender, uiid);
    }
    // Each once, in an order that is the controller's.
    let mut claimed = [1, 2, 3].map(|_| word(claim).load(Relaxed));
    claimed.sort_unstable();
    equal!(claimed, [0, 1, 2]);
    // Nobody claims but the receiver's own program, and no call reaches the register for one.
    ring(senders[1], uiid);
    dies(child(|| word(claim).load(Relaxed) as i32)?, SIGBUS)?;
    fails!(call!(GETCWD, claim, 100), EFAULT);
    fails!(call!(FUTEX, claim, FUTEX_WAIT, 0, 0), EFAULT);
    equal!(word(claim).load(Relaxed), 2);
    // No other number leads anywhere, and a store to the page that claims is lost.
    for number in (0..=100).filter(|number| *number != uiid) {
        ring(senders[0], number);
    }
    word(claim).store(1, Relaxed);
    equal!(word(claim).load(Relaxed), 0);
    // What was rung by a right that has ended is not claimed, whenever it was.
    ring(senders[0], uiid);
    call(uintr::REVOKE, &[receiver, rights[0]])?;
    equal!(word(claim).load(Relaxed), 0);
    ring(senders[0], uiid);
    equal!(word(claim).load(Relaxed), 0);
    ring(senders[1], uiid);
    equal!(word(claim).load(Relaxed), 2);
    for fd in [receiver, rights[0], rights[1]] {
        drop(raw::file(fd));
    }
    Ok(())
}

/// As many receivers as a user can have, which is half of them for the first: those behind them are refused, another user has one, and all come back with their threads.
pub fn all_taken() -> Outcome {
    needs_kernel("user interrupts")?;
    needs_root()?;
    for _ in 0..3 {
        let begin = || call(uintr::RECEIVER, &[PAGE, 0, uintr::NUINTC]);
        let first = rt::thread::spawn(begin)?.join().ok_or_else(|| Trouble::failed("the thread ended"))?;
        match first {
            Err(Errno::ENODEV) => return Err(Trouble::skipped("no such controller, or not in this world")),
            first => drop(raw::file(first?)),
        }
        let mut threads = Vec::new();
        let (begun, refused, leave) = (counter(), counter(), counter());
        for _ in 0..70 {
            threads.push(rt::thread::spawn(move || {
                let receiver = begin().map(raw::file);
                let count = if receiver.is_ok() { begun } else { refused };
                count.fetch_add(1, Relaxed);
                while leave.load(Relaxed) == 0 {
                    sleep_ms(1);
                }
            })?);
        }
        while begun.load(Relaxed) + refused.load(Relaxed) < 70 {
            sleep_ms(1);
        }
        exits(checked_child(another_user)?, 0)?;
        leave.store(1, Relaxed);
        for thread in threads {
            let _ = thread.join();
        }
        equal!((begun.load(Relaxed), refused.load(Relaxed)), (32, 38));
    }
    Ok(())
}

/// Becomes one that has no slot.
fn another_user() -> Outcome {
    call!(SETUID, 65534)?;
    drop(raw::file(call(uintr::RECEIVER, &[PAGE, 0, uintr::NUINTC])?));
    Ok(())
}

fn counter() -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(0)))
}
