//! Handlers that let more urgent vectors interrupt them: in the order of their priorities, as deep as there are vectors, and whatever becomes of the thread meanwhile.

use super::{
    Counts, begin,
    handlers::{Neighbour, descend},
    until,
};
use crate::case::{Outcome, Trouble};
use crate::machine::{go_to, needs_harts, needs_kernel};
use crate::process::{Shared, checked_child, dies, exits};
use alloc::{boxed::Box, vec::Vec};
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::signal::SIGSEGV;
use rt::raw;
use rt::sync::OnceLock;
use rt::uintr::traps::{Causes, Next, Trapped};
use rt::uintr::{Handlers, Nesting, Receiver, Sender, masked};

/// A thread that sends to itself from its handlers, too.
struct Own {
    receiver: Receiver,
    sender: &'static Sender,
}

/// All vectors of `nesting` are served by one that can let others in, the others by the same without.
fn receiving(nesting: u64, handler: impl Fn(&Sender, u32, Option<&Nesting>) + Sync + 'static) -> Result<Own, Trouble> {
    let sender: &'static OnceLock<Sender> = Box::leak(Box::new(OnceLock::new()));
    let handler: &'static _ = Box::leak(Box::new(handler));
    let serve = move |vector, nesting: Option<&Nesting>| {
        if let Some(sender) = sender.get() {
            handler(sender, vector, nesting);
        }
    };
    let open: &'static _ = Box::leak(Box::new(move |vector, nesting: &Nesting| serve(vector, Some(nesting))));
    let plain: &'static _ = Box::leak(Box::new(move |vector| serve(vector, None)));
    let handlers = (0..64).fold(Handlers::new(), |handlers, vector| match nesting >> vector & 1 {
        0 => raw::on(handlers, vector, plain),
        _ => raw::on_nesting(handlers, vector, open),
    });
    let receiver = begin(handlers)?;
    let right = receiver.grant(u64::MAX)?;
    let fresh = Sender::open(right)?;
    Ok(Own { receiver, sender: sender.get_or_init(|| fresh) })
}

/// In a process of its own: what handlers have to send by stays to its end.
fn apart(body: fn() -> Outcome) -> Outcome {
    needs_kernel("user interrupts")?;
    exits(checked_child(body)?, 0)
}

fn raise(sender: &Sender, vector: u32) {
    let _ = sender.send(vector); // fails at the end of the right alone
}

/// Computes while that is so, and now and then lets another have the hart.
fn give_way_while(is_so: impl Fn() -> bool) {
    while is_so() {
        if (0..1000).all(|_| is_so()) {
            rt::thread::yield_now();
        }
    }
}

/// Words for handlers.
fn words<const COUNT: usize>(values: [u32; COUNT]) -> [&'static AtomicU32; COUNT] {
    values.map(|value| &*Box::leak(Box::new(AtomicU32::new(value))))
}

/// What was done, in its order.
struct Log {
    count: AtomicU32,
    lines: [AtomicU32; 32],
}

impl Log {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self { count: AtomicU32::new(0), lines: [const { AtomicU32::new(0) }; 32] }))
    }

    fn add(&self, line: u32) {
        self.lines[self.count.fetch_add(1, Relaxed) as usize % 32].store(line, Relaxed);
    }

    fn times(&self, line: u32) -> usize {
        // For handlers, too: nothing is allocated.
        let count = self.count.load(Relaxed) as usize;
        self.lines.iter().take(count).filter(|other| other.load(Relaxed) == line).count()
    }

    /// Waits for a line that was there so often.
    fn await_more(&self, line: u32, before: usize) {
        while self.times(line) <= before {
            core::hint::spin_loop();
        }
    }

    fn lines(&self) -> Vec<u32> {
        self.lines.iter().take(self.count.load(Relaxed) as usize).map(|line| line.load(Relaxed)).collect()
    }
}

/// The end of a handler, in a log.
const END: u32 = 100;

/// Sends, and waits for the handler to have begun.
fn interrupted_by(log: &Log, sender: &Sender, vector: u32) {
    let before = log.times(vector);
    raise(sender, vector);
    log.await_more(vector, before);
}

/// What is more urgent interrupts a handler where that lets it in, what is not waits for its end, and that of those below.
pub fn order() -> Outcome {
    apart(in_order)
}

fn in_order() -> Outcome {
    const BEFORE: u32 = 200;
    const BEHIND: u32 = 201;
    let log = Log::new();
    let own = receiving(1 << 10 | 1 << 5, move |sender, vector, nesting| {
        let before = log.times(vector);
        log.add(vector);
        let Some(nesting) = nesting else { return };
        match (vector, before) {
            (10, 0) => {
                raise(sender, 3);
                log.add(BEFORE);
                nesting.by_more_urgent(|| {
                    log.await_more(3, 0);
                    [20, 11, 10].iter().for_each(|vector| raise(sender, *vector));
                    interrupted_by(log, sender, 5);
                });
                raise(sender, 2);
                log.add(BEHIND);
            }
            (10, _) => nesting.by_more_urgent(|| log.await_more(2, 1)),
            (5, 0) => nesting.by_more_urgent(|| {
                [7, 5].iter().for_each(|vector| raise(sender, *vector));
                interrupted_by(log, sender, 2);
            }),
            _ => {}
        }
        log.add(END + vector);
    })?;
    own.sender.send(10)?;
    until(&own.receiver, || log.times(20) > 0)?;
    // 5 comes a second time, and 7, in the place of 5: still within the first 10.
    let expected = [10, BEFORE, 3, 5, 2, END + 5, 5, END + 5, 7, BEHIND, END + 10, 10, 2, END + 10, 11, 20];
    equal!(log.lines(), expected);
    Ok(())
}

/// Each handler is interrupted by the next more urgent vector, from the last to the first: none sees its registers changed, and the thread goes on.
pub fn deep() -> Outcome {
    apart(sixty_four)
}

fn sixty_four() -> Outcome {
    let counts = Counts::new();
    let [depth, deepest, wrong] = words([0; 3]);
    let own = receiving(u64::MAX, move |sender, vector, nesting| {
        let Some(nesting) = nesting else { return };
        deepest.fetch_max(depth.fetch_add(1, Relaxed) + 1, Relaxed);
        let seed = u64::from(vector) << 32;
        let differs = nesting.by_more_urgent(|| {
            if vector > 0 {
                raise(sender, vector - 1);
            }
            raw::hold_integers(seed, 50) | raw::hold_floats(seed, 50)
        });
        wrong.fetch_or(u32::from(differs != 0), Relaxed);
        counts.0[vector as usize].fetch_add(1, Relaxed);
        depth.fetch_sub(1, Relaxed);
    })?;
    for round in 1..=50 {
        own.sender.send(63)?;
        equal!(raw::hold_integers(7 << 32, 1000) | raw::hold_floats(9 << 32, 1000), 0);
        until(&own.receiver, || counts.get(63) >= round)?;
    }
    equal!((0..64).map(|vector| counts.get(vector)).sum::<u32>(), 64 * 50);
    equal!([depth, deepest, wrong].map(|word| word.load(Relaxed)), [0, 64, 0]);
    Ok(())
}

/// Ten thousand vectors, which are drawn, from another hart, while the receiver computes and changes harts, and its handlers see others sent: each interrupts only what is less urgent,
/// the last message of each vector is seen, and nobody's registers change.
pub fn in_a_storm() -> Outcome {
    needs_harts(2)?;
    apart(stormed)
}

fn stormed() -> Outcome {
    const MESSAGES: u32 = 10_000;
    const VECTORS: u32 = 16;
    const DONE: usize = 40;
    const SENT: usize = 41;
    const BEGUN: usize = 42;
    const WAITS: usize = 43;
    let shared = Shared::new()?;
    let seen = Counts::new();
    let [running, wrong, deep] = words([64, 0, 0]);
    // Every third lets nobody in.
    let own = receiving(0xdb6d_b6db_6db6_db6d, move |_, vector, nesting| {
        let before = running.swap(vector, Relaxed);
        wrong.fetch_or(u32::from(before <= vector), Relaxed);
        deep.fetch_add(u32::from(before < 64), Relaxed);
        let told = shared.get(vector as usize);
        shared.count(BEGUN);
        if let Some(nesting) = nesting {
            let seed = u64::from(vector) << 32;
            let differs = nesting.by_more_urgent(|| {
                let sent = shared.get(SENT);
                shared.count(WAITS);
                give_way_while(|| shared.get(SENT) < sent + 4 && shared.get(DONE) == 0);
                shared.word(WAITS).fetch_sub(1, Relaxed);
                raw::hold_integers(seed, 500) | raw::hold_floats(seed, 100)
            });
            wrong.fetch_or(u32::from(differs != 0) << 1, Relaxed);
        }
        seen.0[vector as usize].store(told, Relaxed);
        running.store(before, Relaxed);
    })?;
    let right = own.receiver.grant(u64::MAX)?;
    let peer = checked_child(|| {
        let sender = Sender::open(right)?;
        let mut drawn = 12_345_u32;
        for message in 1..=MESSAGES {
            drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let vector = drawn >> 16 & (VECTORS - 1);
            shared.set(vector as usize, message);
            let before = shared.get(BEGUN);
            sender.send(vector)?;
            shared.set(SENT, message);
            // What was sent is handled, unless a handler waits for more.
            give_way_while(|| shared.get(BEGUN) == before && shared.get(WAITS) == 0);
        }
        shared.set(DONE, 1);
        Ok(())
    })?;
    let mut round = 0;
    while shared.get(DONE) == 0 {
        round += 1;
        go_to(round)?;
        equal!(raw::hold_integers(5 << 32, 2000) | raw::hold_floats(3 << 32, 2000), 0);
    }
    exits(peer, 0)?;
    let all = |vector: u32| seen.get(vector) == shared.get(vector as usize);
    until(&own.receiver, || (0..VECTORS).all(all))?;
    equal!(wrong.load(Relaxed), 0);
    equal!(running.load(Relaxed), 64);
    ensure!(deep.load(Relaxed) > 0, "no handler was interrupted");
    Ok(())
}

/// In a handler that others interrupt the thread changes harts, vectors are masked, exceptions are taken.
pub fn goes_on_meanwhile() -> Outcome {
    apart(meanwhile)
}

fn meanwhile() -> Outcome {
    let (log, counts) = (Log::new(), Counts::new());
    let own = receiving(1 << 9, move |sender, vector, nesting| {
        log.add(vector);
        let Some(nesting) = nesting else { return };
        nesting.by_more_urgent(|| {
            for round in 0..8 {
                let moved = go_to(round).is_ok();
                interrupted_by(log, sender, 8);
                raw::breakpoint();
                counts.0[0].fetch_add(u32::from(moved), Relaxed);
            }
            // It is open already.
            nesting.by_more_urgent(|| interrupted_by(log, sender, 8));
            raise(sender, 4);
        });
        log.add(END + vector);
    })?;
    let behind: &'static _ = Box::leak(Box::new(move |_: &Trapped| {
        counts.0[1].fetch_add(1, Relaxed);
        Next::Behind
    }));
    raw::take_traps(&own.receiver, Causes::BREAKPOINT, behind)?;
    own.receiver.mask_vectors(1 << 4);
    own.sender.send(9)?;
    until(&own.receiver, || log.times(END + 9) > 0)?;
    equal!(log.lines(), [9, 8, 8, 8, 8, 8, 8, 8, 8, 8, 109]);
    equal!([counts.get(0), counts.get(1)], [8, 8]);
    own.receiver.unmask_vectors(1 << 4);
    until(&own.receiver, || log.times(4) > 0)?;
    // All is let in again.
    masked(&own.receiver, || own.sender.send(63))?;
    until(&own.receiver, || log.times(63) > 0)
}

/// It accesses what is not there, before, while and after others are let in, or needs more stack than it has.
pub fn faults() -> Outcome {
    let mut neighbour = Neighbour::new()?;
    for how in 0..5 {
        let pid = checked_child(|| {
            let own = receiving(1 << 3, move |sender, vector, nesting| {
                let fault = |when| {
                    if when == how {
                        raw::store64(8, 0)
                    }
                };
                let Some(nesting) = nesting else { return fault(3) };
                fault(0);
                nesting.by_more_urgent(|| {
                    fault(1);
                    raise(sender, vector - 1);
                    if how == 4 {
                        descend(black_box(66));
                    }
                });
                fault(2);
            })?;
            own.sender.send(3)?;
            // The stack is what it was.
            black_box(&mut [0_u8; 64]);
            Ok(())
        })?;
        dies(pid, SIGSEGV)?;
        neighbour.is_told()?;
    }
    Ok(())
}

/// A child that such a handler makes is no receiver: it can end, and never returns to what was interrupted in its parent, which goes on.
pub fn forks() -> Outcome {
    apart(forked)
}

fn forked() -> Outcome {
    const CHILDREN: usize = 0;
    const BEHIND: usize = 1;
    const LATER: usize = 2;
    let shared = Shared::new()?;
    let [ended, killed] = words([0; 2]);
    let parent = rt::process::id();
    let own = receiving(1 << 30, move |sender, vector, nesting| {
        let Some(nesting) = nesting else {
            // Not in a child either.
            return shared.count(if rt::process::id() == parent { LATER } else { BEHIND });
        };
        for returns in [false, true] {
            let pid = nesting.by_more_urgent(|| {
                raise(sender, vector + 1);
                raise(sender, vector - 1);
                let pid = call!(CLONE, rt::abi::signal::SIGCHLD, 0, 0, 0, 0).unwrap_or(usize::MAX);
                if pid == 0 {
                    shared.count(CHILDREN);
                    raise(sender, vector - 1);
                    if !returns {
                        crate::process::exit(0);
                    }
                }
                pid
            });
            if rt::process::id() != parent {
                shared.count(BEHIND);
            }
            let how = crate::process::wait(pid as i32);
            ended.fetch_add(u32::from(matches!(how, Ok(rt::abi::process::WaitStatus::Exited(0)))), Relaxed);
            killed.fetch_add(u32::from(matches!(how, Ok(rt::abi::process::WaitStatus::Signaled(..)))), Relaxed);
        }
    })?;
    own.sender.send(30)?;
    until(&own.receiver, || ended.load(Relaxed) + killed.load(Relaxed) == 2)?;
    equal!([ended.load(Relaxed), killed.load(Relaxed)], [1, 1]);
    equal!([shared.get(CHILDREN), shared.get(BEHIND)], [2, 0]);
    ensure!(shared.get(LATER) >= 2, "what the handlers have sent was not handled");
    Ok(())
}
