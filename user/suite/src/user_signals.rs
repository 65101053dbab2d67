//! Signals in user mode (note 0012): what POSIX says of masks, queues, handlers and waits, among processes that share no more than a right.

mod between;
mod calls;
mod ends;
mod members;
mod threads;
mod waits;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use rt::abi::Errno;
use rt::abi::signal::{SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use rt::raw;
use rt::signal::user::{Flags, Handler, Info, SIGRTMAX, SIGRTMIN, Signals, bit};
use rt::uintr::{Handlers, Nesting};

pub const CASES: &[Case] = &[
    case!("user-signals/to-oneself", "U6", to_oneself),
    case!("user-signals/masked", "U6", masked),
    case!("user-signals/order", "U6", order),
    case!("user-signals/coalesced", "U6", coalesced),
    case!("user-signals/nested", "U6", nested),
    case!("user-signals/runs-once", "U6", runs_once),
    case!("user-signals/ignored", "U6", ignored),
    case!("user-signals/own-stack", "U6", own_stack),
    case!("user-signals/errors", "U6", errors),
    case!("user-signals/full-queue", "U6", full_queue),
    case!("user-signals/interrupts", "U6", between::interrupts),
    case!("user-signals/keeps-registers", "U6", between::keeps_registers),
    case!("user-signals/storm", "U6 S6", between::storm),
    case!("user-signals/several-senders", "U6", between::several_senders),
    case!("user-signals/read", "U6", calls::read),
    case!("user-signals/write", "U6", calls::write),
    case!("user-signals/receive", "U6", calls::receive),
    case!("user-signals/accept", "U6", calls::accept),
    case!("user-signals/wait-for-a-child", "U6", calls::wait_for_a_child),
    case!("user-signals/lock", "U6", calls::lock),
    case!("user-signals/futex", "U6", calls::futex),
    case!("user-signals/never-made-again", "U6", calls::never_made_again),
    case!("user-signals/all-of-a-buffer", "U6", calls::all_of_a_buffer),
    case!("user-signals/passed-on", "U5 U6", between::passed_on),
    case!("user-signals/revoked", "U5 U6", ends::revoked),
    case!("user-signals/usual-actions", "U6", ends::usual_actions),
    case!("user-signals/any-value-anywhere", "U6 S6", ends::any_value_anywhere),
    case!("user-signals/sender-ends-within", "U6 S6", ends::sender_ends_within),
    case!("user-signals/kept-after-the-sender", "U6", ends::kept_after_the_sender),
    case!("user-signals/receiver-ends", "U5 U6", ends::receiver_ends),
    case!("user-signals/inherited", "U6", ends::inherited),
    case!("user-signals/fork-in-a-handler", "U6", ends::fork_in_a_handler),
    case!("user-signals/fork-in-a-called-handler", "U6", ends::fork_in_a_called_handler),
    case!("user-signals/wait", "U6", waits::wait),
    case!("user-signals/wait-has-a-limit", "U6", waits::wait_has_a_limit),
    case!("user-signals/suspend", "U6", waits::suspend),
    case!("user-signals/suspend-delivers-the-rest", "U6", waits::suspend_delivers_the_rest),
    case!("user-signals/task", "U6 R3", waits::task),
    case!("user-signals/threads-who-does-not-mask", "U6", threads::who_does_not_mask),
    case!("user-signals/threads-all-mask", "U6", threads::all_mask),
    case!("user-signals/threads-one-waits", "U6", threads::one_waits),
    case!("user-signals/threads-one-awaits", "U6 R3", threads::one_awaits),
    case!("user-signals/threads-home-sleeps", "U6", threads::home_sleeps),
    case!("user-signals/threads-chosen-masks-it", "U6", threads::chosen_masks_it),
    case!("user-signals/threads-storm", "U6 S6", threads::storm),
    case!("user-signals/threads-storm-of-one", "U6 S6", threads::storm_of_one),
    case!("user-signals/threads-home-leaves", "U5 U6", members::home_leaves),
    case!("user-signals/threads-home-is-gone", "U5 U6", members::home_is_gone),
    case!("user-signals/threads-chosen-is-gone", "U6", members::chosen_is_gone),
    case!("user-signals/threads-process-ends", "U5 U6", members::process_ends),
    case!("user-signals/threads-fork", "U6", members::fork_between),
    case!("user-signals/threads-fork-in-a-handler", "U6", members::fork_in_a_handler),
    case!("user-signals/threads-sender-is-killed", "U6", members::sender_is_killed),
    case!("user-signals/threads-right-ends", "U5 U6", members::right_ends),
];

/// What came, in its order.
struct Log {
    count: AtomicU64,
    infos: [[AtomicU64; 3]; Self::ROOM],
}

impl Log {
    const ROOM: usize = 256;

    fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            count: AtomicU64::new(0),
            infos: [const { [const { AtomicU64::new(0) }; 3] }; Self::ROOM],
        }))
    }

    fn note(&self, info: &Info) {
        let words = &self.infos[self.count.load(Relaxed) as usize % Self::ROOM];
        for (word, value) in words.iter().zip([u64::from(info.signal), info.value, info.tag]) {
            word.store(value, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The last of them, at most as many as there is room for.
    fn infos(&self) -> Vec<Info> {
        let count = self.count() as usize;
        let info = |index: usize| {
            let [signal, value, tag] = self.infos[index % Self::ROOM].each_ref().map(|word| word.load(Relaxed));
            Info { signal: signal as u32, value, tag }
        };
        (count.saturating_sub(Self::ROOM)..count).map(info).collect()
    }

    fn signals(&self) -> Vec<u32> {
        self.infos().iter().map(|info| info.signal).collect()
    }
}

/// A thread that receives signals.
fn receiving() -> Result<Signals, Trouble> {
    needs_kernel("user interrupts")?;
    let signals = Signals::receive(Handlers::new(), 4);
    if signals.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::ENODEV.number())) {
        return Err(Trouble::skipped("no user interrupts in this world, or on this machine"));
    }
    Ok(signals?)
}

fn handle(
    signals: &Signals,
    signal: u32,
    (flags, mask): (Flags, u64),
    handler: impl Fn(&Signals, &Info) + 'static,
) -> Outcome {
    let handler: &'static Handler = Box::leak(Box::new(handler));
    raw::handle_signal(signals, signal, (flags, mask), handler)?;
    Ok(())
}

const PLAIN: (Flags, u64) = (Flags::RESTART, 0);

/// One that notes these signals.
fn noting(wanted: &[u32]) -> Result<(Signals, &'static Log), Trouble> {
    let (signals, log) = (receiving()?, Log::new());
    for signal in wanted {
        handle(&signals, *signal, PLAIN, |_, info| log.note(info))?;
    }
    Ok((signals, log))
}

fn to_oneself() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1, SIGRTMIN, SIGRTMAX])?;
    for round in 0..500 {
        for signal in [SIGUSR1, SIGRTMIN, SIGRTMAX] {
            signals.queue(signal, round)?;
            // Before the return.
            equal!(log.infos().last().copied(), Some(Info { signal, value: round, tag: 0 }));
        }
    }
    equal!(log.count(), 1500);
    signals.raise(0)?;
    equal!((log.count(), signals.pending()), (1500, 0));
    Ok(())
}

fn masked() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1, SIGUSR2, SIGRTMIN])?;
    equal!(signals.block(bit(SIGUSR1) | bit(SIGRTMIN)), 0);
    for signal in [SIGRTMIN, SIGUSR1, SIGUSR2] {
        signals.raise(signal)?;
    }
    equal!(log.signals(), [SIGUSR2]);
    equal!(signals.pending(), bit(SIGUSR1) | bit(SIGRTMIN));
    equal!(signals.unblock(bit(SIGRTMIN)), bit(SIGUSR1) | bit(SIGRTMIN));
    equal!(log.signals(), [SIGUSR2, SIGRTMIN]);
    equal!(signals.set_mask(u64::MAX), bit(SIGUSR1));
    // Nothing can mask these.
    equal!(signals.set_mask(0), !(bit(SIGKILL) | bit(SIGSTOP)));
    equal!(log.signals(), [SIGUSR2, SIGRTMIN, SIGUSR1]);
    equal!(signals.pending(), 0);
    Ok(())
}

fn order() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1, SIGUSR2, SIGRTMIN, SIGRTMIN + 1, SIGRTMAX])?;
    signals.block(u64::MAX);
    for (signal, value) in
        [(SIGRTMAX, 1), (SIGRTMIN + 1, 2), (SIGRTMIN, 3), (SIGRTMIN + 1, 4), (SIGUSR2, 5), (SIGUSR1, 6)]
    {
        signals.queue(signal, value)?;
    }
    equal!(log.count(), 0);
    // Each handler is interrupted by none of the others, so that all notes are in the order of delivery.
    signals.set_mask(0);
    let values: Vec<u64> = log.infos().iter().map(|info| info.value).collect();
    equal!(values, [6, 5, 3, 2, 4, 1]);
    Ok(())
}

fn coalesced() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1, SIGRTMIN])?;
    signals.block(u64::MAX);
    for _ in 0..10 {
        signals.raise(SIGUSR1)?;
        signals.raise(SIGRTMIN)?;
    }
    signals.set_mask(0);
    equal!(log.signals().iter().filter(|signal| **signal == SIGUSR1).count(), 1);
    equal!(log.count(), 11);
    Ok(())
}

/// What a handler does to those that come while it runs: masks its own and those it was set with, unless it defers none.
fn nested() -> Outcome {
    let (signals, log) = noting(&[SIGUSR2, SIGRTMIN])?;
    let rounds: &'static AtomicU64 = Box::leak(Box::default());
    let body = move |signals: &Signals, info: &Info| {
        log.note(info);
        if rounds.fetch_add(1, Relaxed) == 0 {
            for signal in [SIGUSR1, SIGRTMIN, SIGUSR2] {
                let _ = signals.raise(signal);
            }
        }
        log.note(&Info { signal: 100, ..*info });
    };
    handle(&signals, SIGUSR1, (Flags::default(), bit(SIGRTMIN)), body)?;
    signals.raise(SIGUSR1)?;
    // Its own and the other come behind it, the lower first; the one that it does not mask within.
    equal!(log.signals(), [SIGUSR1, SIGUSR2, 100, SIGUSR1, 100, SIGRTMIN]);
    rounds.store(0, Relaxed);
    handle(&signals, SIGUSR1, (Flags::NODEFER, 0), body)?;
    signals.raise(SIGUSR1)?;
    equal!(log.signals()[6..], [SIGUSR1, SIGUSR1, 100, SIGRTMIN, SIGUSR2, 100]);
    equal!(signals.set_mask(0), 0);
    Ok(())
}

fn runs_once() -> Outcome {
    let (signals, log) = noting(&[])?;
    handle(&signals, SIGWINCH, (Flags::RESETHAND, 0), |_, info| log.note(info))?;
    signals.raise(SIGWINCH)?;
    signals.raise(SIGWINCH)?;
    equal!(log.count(), 1);
    Ok(())
}

fn ignored() -> Outcome {
    let (signals, log) = noting(&[SIGUSR1, SIGRTMIN])?;
    signals.block(u64::MAX);
    for signal in [SIGUSR1, SIGRTMIN, SIGRTMIN] {
        signals.raise(signal)?;
        signals.ignore(signal)?;
        handle(&signals, signal, PLAIN, |_, info| log.note(info))?;
    }
    signals.set_mask(0);
    equal!(log.count(), 0);
    // What is usual for these is nothing.
    for signal in [SIGCHLD, SIGCONT, SIGWINCH] {
        signals.raise(signal)?;
    }
    signals.ignore(SIGTERM)?;
    signals.raise(SIGTERM)?;
    signals.raise(SIGUSR1)?;
    equal!(log.count(), 1);
    Ok(())
}

fn own_stack() -> Outcome {
    const BYTES: usize = 64 << 10;
    let signals = receiving()?;
    let stack: &'static mut [u8] = Box::leak(alloc::vec![0; BYTES].into_boxed_slice());
    let start = stack.as_ptr() as usize;
    let seen: &'static [AtomicU64; 3] = Box::leak(Box::default());
    let look = move |at: usize| {
        let here = 0_u8;
        seen[at].store((start..start + BYTES).contains(&(&raw const here as usize)).into(), Relaxed);
    };
    handle(&signals, SIGUSR1, (Flags::ONSTACK, 0), move |signals, _| {
        look(0);
        let is_busy = signals.is_on_stack() && signals.set_stack(None).is_err();
        // One within it goes on there, from where the first is.
        let _ = signals.raise(SIGUSR2);
        seen[2].store(is_busy.into(), Relaxed);
    })?;
    handle(&signals, SIGUSR2, (Flags::ONSTACK, 0), move |_, _| look(1))?;
    signals.raise(SIGUSR1)?;
    equal!(seen.each_ref().map(|word| word.load(Relaxed)), [0, 0, 0]);
    fails!(signals.set_stack(Some(Box::leak(Box::new([0; 100])))), ENOMEM);
    signals.set_stack(Some(stack))?;
    signals.raise(SIGUSR1)?;
    equal!(seen.each_ref().map(|word| word.load(Relaxed)), [1, 1, 1]);
    ensure!(!signals.is_on_stack());
    signals.set_stack(None)?;
    signals.raise(SIGUSR2)?;
    equal!(seen[1].load(Relaxed), 0);
    Ok(())
}

fn errors() -> Outcome {
    let signals = receiving()?;
    // They would come in a handler that lets others in.
    let open: &'static _ = Box::leak(Box::new(|_: u32, _: &Nesting| ()));
    fails!(Signals::receive(raw::on_nesting(Handlers::new(), 5, open), 4).map(drop), EINVAL);
    let sender = rt::signal::user::Sender::open(signals.grant(1)?)?;
    for signal in [65, u32::MAX] {
        fails!(signals.raise(signal), EINVAL);
        fails!(sender.kill(signal), EINVAL);
    }
    for signal in [0, SIGKILL, SIGSTOP, 65] {
        fails!(signals.ignore(signal), EINVAL);
        fails!(signals.default(signal), EINVAL);
        fails!(raw::handle_signal(&signals, signal, PLAIN, &|_, _| ()), EINVAL);
    }
    sender.kill(0)?;
    Ok(())
}

fn full_queue() -> Outcome {
    let (signals, log) = noting(&[SIGRTMIN, SIGUSR1])?;
    let sender = rt::signal::user::Sender::open(signals.grant(7)?)?;
    signals.block(u64::MAX);
    for value in 0..64 {
        sender.queue(SIGRTMIN, value)?;
        signals.queue(SIGRTMIN, 100 + value)?;
    }
    fails!(sender.queue(SIGRTMIN, 0), EAGAIN);
    fails!(signals.raise(SIGRTMIN), EAGAIN);
    // What does not queue needs no place.
    sender.kill(SIGUSR1)?;
    signals.set_mask(0);
    equal!(log.count(), 129);
    let infos = log.infos();
    for (tag, first) in [(7, 0), (0, 100)] {
        let of_one = infos.iter().filter(|info| info.signal == SIGRTMIN && info.tag == tag).map(|info| info.value);
        ensure!(of_one.eq(first..first + 64));
    }
    sender.queue(SIGRTMIN, 0)?;
    Ok(())
}
