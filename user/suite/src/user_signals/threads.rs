//! Signals that are sent to all threads of a group: one of those that do not mask it takes each.

use super::{Log, PLAIN, between::queue, handle, receiving};
use crate::case::{Outcome, Trouble};
use crate::process::{Shared, await_blocked, checked_child, exits};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use core::time::Duration;
use rt::abi::Errno;
use rt::abi::signal::{SIGUSR1, SIGUSR2};
use rt::signal::user::{Group, Info, Right, SIGRTMIN, Sender, Signals, bit};
use rt::thread::{self, JoinHandle};

pub const BOTH: u64 = bit(SIGUSR1) | bit(SIGRTMIN);

/// A member that notes these, and masks what is said.
pub fn member(group: &Arc<Group>, mask: u64) -> Result<(Signals, &'static Log), Trouble> {
    let (signals, log) = (receiving()?, Log::new());
    for signal in [SIGUSR1, SIGRTMIN] {
        handle(&signals, signal, PLAIN, |_, info| log.note(info))?;
    }
    signals.set_mask(mask);
    signals.join(group)?;
    Ok((signals, log))
}

/// What a thread and the one that has started it say to each other.
#[derive(Default)]
pub struct Steps(AtomicU32);

impl Steps {
    pub fn reach(&self, step: u32) {
        self.0.store(step, SeqCst);
    }

    pub fn wait(&self, step: u32) {
        while self.0.load(SeqCst) < step {
            thread::yield_now();
        }
    }
}

/// Another member that runs `body`, with its signals, what it notes, and the steps, of which the first is done when it is one.
pub fn another(
    group: &Arc<Group>,
    mask: u64,
    body: impl FnOnce(Signals, &'static Log, &Steps) -> Outcome + Send + 'static,
) -> Result<(JoinHandle<Outcome>, Arc<Steps>), Trouble> {
    let (group, steps) = (group.clone(), Arc::new(Steps::default()));
    let theirs = steps.clone();
    let thread = thread::spawn(move || {
        let member = member(&group, mask);
        theirs.reach(1);
        let (signals, log) = member?;
        body(signals, log, &theirs)
    })?;
    steps.wait(1);
    Ok((thread, steps))
}

pub fn ended(thread: JoinHandle<Outcome>) -> Outcome {
    thread.join().ok_or_else(|| Trouble::failed("the thread has no result"))?
}

/// In a child, which ends.
pub fn send(right: &Right, count: u64) -> Outcome {
    let right = Right::from_fd(right.fd().try_clone()?);
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        sender.queue(SIGUSR1, 77)?;
        (0..count).try_for_each(|value| queue(&sender, SIGRTMIN, value))
    })?;
    exits(pid, 0)
}

pub fn until(log: &Log, count: u64) {
    while log.count() < count {
        thread::yield_now();
    }
}

pub fn equal_to_sent(log: &Log, count: u64, tag: u64) -> Outcome {
    let (one, queued): (Vec<Info>, Vec<Info>) = log.infos().into_iter().partition(|info| info.signal == SIGUSR1);
    equal!(one, [Info { signal: SIGUSR1, value: 77, tag }]);
    ensure!(queued.iter().map(|info| info.value).eq(0..count), "{queued:?}");
    ensure!(queued.iter().all(|info| info.tag == tag));
    Ok(())
}

/// Who has granted the right masks them; another takes them, in their order.
pub fn who_does_not_mask() -> Outcome {
    const COUNT: u64 = 100;
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    fails!(signals.join(&group), EBUSY);
    let right = signals.grant_for_group(5)?;
    let (thread, steps) = another(&group, 0, |_signals, log, steps| {
        until(log, COUNT + 1);
        equal_to_sent(log, COUNT, 5)?;
        // What is sent to one of them is that one's.
        steps.wait(2);
        equal!(log.count(), COUNT + 1);
        Ok(())
    })?;
    send(&right, COUNT)?;
    Sender::open(signals.grant(6)?)?.kill(SIGUSR1)?;
    while signals.pending() & bit(SIGUSR1) == 0 {
        thread::yield_now();
    }
    steps.reach(2);
    ended(thread)?;
    signals.set_mask(0);
    equal!(log.infos(), [Info { signal: SIGUSR1, value: 0, tag: 6 }]);
    Ok(())
}

/// Pending for all while all mask it; who unmasks it takes it, once.
pub fn all_mask() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let right = signals.grant_for_group(5)?;
    let (thread, steps) = another(&group, BOTH, |signals, log, steps| {
        steps.wait(2);
        equal!(signals.pending(), BOTH);
        equal!(log.count(), 0);
        signals.set_mask(0);
        equal_to_sent(log, 20, 5)
    })?;
    send(&right, 20)?;
    while signals.pending() != BOTH {
        thread::yield_now();
    }
    steps.reach(2);
    ended(thread)?;
    signals.set_mask(0);
    equal!((log.count(), signals.pending()), (0, 0));
    // By itself, to all: who masks it not has it before the return.
    signals.queue_for_group(SIGUSR1, 3)?;
    equal!(log.infos(), [Info { signal: SIGUSR1, value: 3, tag: 0 }]);
    fails!(signals.queue_for_group(65, 0), EINVAL);
    Ok(())
}

/// One of two threads waits for what both mask, and sleeps.
pub fn one_waits() -> Outcome {
    const ROUNDS: u32 = 40;
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let (right, shared) = (signals.grant_for_group(5)?, Shared::new()?);
    let done = Arc::new(AtomicU32::new(0));
    let theirs = done.clone();
    let (thread, _) = another(&group, BOTH, move |signals, log, _| {
        for round in 1..=ROUNDS {
            let info = signals.wait(BOTH, None)?;
            equal!(info, Info { signal: SIGRTMIN, value: round.into(), tag: 5 });
            theirs.store(round, SeqCst);
        }
        fails!(signals.wait(BOTH, Some(Duration::from_millis(2))), EAGAIN);
        equal!(log.count(), 0);
        Ok(())
    })?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            queue(&sender, SIGRTMIN, round.into())?;
            shared.await_least(0, round);
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        while done.load(SeqCst) < round {
            thread::yield_now();
        }
        shared.set(0, round);
    }
    ended(thread)?;
    // Whoever waits no more wants them no more.
    signals.queue_for_group(SIGRTMIN, 9)?;
    signals.set_mask(0);
    equal!(log.infos(), [Info { signal: SIGRTMIN, value: 9, tag: 0 }]);
    exits(pid, 0)
}

/// The home sleeps in the kernel, with all masked: it is woken, and has the other look.
pub fn home_sleeps() -> Outcome {
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    handle(&signals, SIGUSR2, PLAIN, |_, info| log.note(info))?;
    let (right, back) = (signals.grant_for_group(5)?, signals.grant(6)?);
    let (thread, _) = another(&group, BOTH | bit(SIGUSR2), move |signals, log, _| {
        signals.suspend(bit(SIGUSR2));
        equal!(log.infos(), [Info { signal: SIGUSR1, value: 4, tag: 5 }]);
        Ok(Sender::open(back)?.kill(SIGUSR2)?)
    })?;
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        await_blocked(waiter)?;
        Ok(Sender::open(right)?.queue(SIGUSR1, 4)?)
    })?;
    signals.suspend(BOTH);
    equal!(log.infos(), [Info { signal: SIGUSR2, value: 0, tag: 6 }]);
    ended(thread)?;
    exits(pid, 0)
}

/// A handler that masks more: what is left then is another's, though this thread was chosen for it.
pub fn chosen_masks_it() -> Outcome {
    let group = Group::new();
    let (signals, log) = (receiving()?, Log::new());
    let taken = Arc::new(Steps::default());
    let theirs = taken.clone();
    handle(&signals, SIGUSR1, (PLAIN.0, bit(SIGRTMIN)), move |_, info| {
        log.note(info);
        taken.wait(1);
    })?;
    handle(&signals, SIGRTMIN, PLAIN, |_, info| log.note(info))?;
    signals.join(&group)?;
    let right = signals.grant_for_group(5)?;
    let (thread, _) = another(&group, bit(SIGUSR1), move |_signals, log, _| {
        until(log, 1);
        equal!(log.infos(), [Info { signal: SIGRTMIN, value: 0, tag: 5 }]);
        theirs.reach(1);
        Ok(())
    })?;
    // Both are there when it looks.
    rt::uintr::masked(signals.receiver(), || send(&right, 1))?;
    until(log, 1);
    equal!(log.infos(), [Info { signal: SIGUSR1, value: 77, tag: 5 }]);
    ended(thread)
}

/// A task of one of two threads awaits what both mask.
pub fn one_awaits() -> Outcome {
    const ROUNDS: u64 = 100;
    let group = Group::new();
    let (signals, log) = member(&group, BOTH)?;
    let right = signals.grant_for_group(5)?;
    let (thread, steps) = another(&group, BOTH, move |signals, log, steps| {
        rt::task::block_on(async {
            for value in 0..ROUNDS {
                equal!(signals.next(bit(SIGRTMIN)).await?, Info { signal: SIGRTMIN, value, tag: 5 });
                steps.reach(value as u32 + 2);
            }
            Ok::<(), Trouble>(())
        })?;
        equal!(log.count(), 0);
        Ok(())
    })?;
    let sender = Sender::open(right)?;
    for value in 0..ROUNDS {
        sender.queue(SIGRTMIN, value)?;
        // One of two is sent before the last was taken.
        steps.wait((value as u32 & !1) + 1);
    }
    ended(thread)?;
    signals.set_mask(0);
    equal!((log.count(), signals.pending()), (0, 0));
    Ok(())
}

/// Threads that mask, unmask and wait while two processes send: each signal is taken once.
pub fn storm() -> Outcome {
    let (group, taken) = (Group::new(), Taken::new());
    let (signals, _) = member(&group, BOTH)?;
    let rights = [signals.grant_for_group(0)?, signals.grant_for_group(1)?];
    let threads = taken.threads(&group)?;
    let mut pids = Vec::new();
    for right in rights {
        pids.push(checked_child(|| {
            let sender = Sender::open(right)?;
            (0..Taken::VALUES).try_for_each(|value| queue(&sender, SIGRTMIN, value))
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    while taken.count() < 2 * Taken::VALUES {
        thread::yield_now();
    }
    taken.end(threads)?;
    equal!(taken.count(), 2 * Taken::VALUES);
    ensure!((0..2).all(|tag| taken.each_once(tag, Taken::VALUES)), "lost, or taken twice");
    Ok(())
}

/// The same of one that does not queue, each sent when the one before has come.
pub fn storm_of_one() -> Outcome {
    let (group, taken) = (Group::new(), Taken::new());
    let (signals, _) = member(&group, BOTH)?;
    let threads = taken.threads(&group)?;
    for value in 0..Taken::VALUES {
        signals.queue_for_group(SIGUSR1, value)?;
        while taken.count() <= value {
            thread::yield_now();
        }
    }
    taken.end(threads)?;
    equal!(taken.count(), Taken::VALUES);
    ensure!(taken.each_once(0, Taken::VALUES), "lost, or taken twice");
    Ok(())
}

/// How often each value has come, by two rights.
pub struct Taken {
    values: [Vec<AtomicU64>; 2],
    count: AtomicU64,
    over: AtomicU32,
}

impl Taken {
    pub const VALUES: u64 = 3_000;

    pub fn new() -> &'static Self {
        let values = [(); 2].map(|()| (0..Self::VALUES).map(|_| AtomicU64::new(0)).collect());
        Box::leak(Box::new(Self { values, count: AtomicU64::new(0), over: AtomicU32::new(0) }))
    }

    fn note(&self, info: &Info) {
        if let Some(value) = self.values.get(info.tag as usize).and_then(|values| values.get(info.value as usize)) {
            value.fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// From here on nothing has come, and more is to.
    pub fn begin(&self) {
        self.over.store(0, Relaxed);
        self.values.iter().flatten().for_each(|value| value.store(0, Relaxed));
        self.count.store(0, Relaxed);
    }

    /// Whether so many have come once, and no other twice.
    pub fn each_once(&self, tag: u64, count: u64) -> bool {
        let (first, others) = self.values[tag as usize].split_at(count.min(Self::VALUES) as usize);
        let is = |value: &AtomicU64, wanted: core::ops::RangeInclusive<u64>| wanted.contains(&value.load(Relaxed));
        first.iter().all(|value| is(value, 1..=1)) && others.iter().all(|value| is(value, 0..=1))
    }

    /// Three members that take by turns.
    pub fn threads(&'static self, group: &Arc<Group>) -> Result<Vec<JoinHandle<Outcome>>, Trouble> {
        let start = |index| {
            another(group, BOTH, move |signals, _, _| {
                for signal in [SIGUSR1, SIGRTMIN] {
                    handle(&signals, signal, PLAIN, move |_, info| self.note(info))?;
                }
                self.take_by_turns(&signals, index)
            })
        };
        (0..3).map(|index| Ok(start(index)?.0)).collect()
    }

    fn take_by_turns(&self, signals: &Signals, index: u32) -> Outcome {
        let mut turn = index;
        while self.over.load(Relaxed) == 0 {
            turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match turn >> 30 {
                0 => drop(signals.block(BOTH)),
                1 => drop(signals.unblock(BOTH)),
                2 => match signals.wait(BOTH, Some(Duration::from_micros(200))) {
                    Ok(info) => self.note(&info),
                    Err(error) if error.raw_os_error() == Some(Errno::EAGAIN.number()) => {}
                    Err(error) => fails!(Err::<(), _>(error), EINTR),
                },
                _ => thread::yield_now(),
            }
        }
        signals.unblock(BOTH);
        Ok(())
    }

    /// All is sent, and has come. What comes now is too much.
    pub fn end(&self, threads: Vec<JoinHandle<Outcome>>) -> Outcome {
        self.over.store(1, Relaxed);
        threads.into_iter().try_for_each(ended)
    }
}
