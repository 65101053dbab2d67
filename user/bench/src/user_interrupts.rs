//! User interrupts (note 0008): what the sender, the entry of the handler and the return from it execute, and a round trip between threads that
//! wait.

use crate::measure::{Outcome, call, count_on_all_harts, instructions_between, measure, report};
use crate::urgency;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use rt::abi::{asyncos, mm::PROT_READ, nr, uintr::SOFT};
use rt::uintr::timer::{self, Timer};
use rt::uintr::traps::{Causes, Next, Trapped};
use rt::uintr::{Handlers, Receiver, Sender, masked, receive};
use rt::{io, raw, thread};

/// Interrupts so far, and what the counter said in the last handler.
#[derive(Default)]
pub struct Seen {
    count: AtomicU32,
    counter: AtomicU64,
}

impl Seen {
    /// How many.
    pub fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }
}

/// What handlers do.
fn handle(seen: &Seen) {
    seen.counter.store(raw::instret(), Relaxed);
    seen.count.store(seen.count.load(Relaxed) + 1, Relaxed);
}

/// Vector of the handler that promises to use no floating point, and of the same without the promise.
const INTEGERS: u32 = 0;
const FLOATS: u32 = 1;

/// Makes the thread a receiver that counts.
pub fn counting() -> io::Result<(Receiver, &'static Seen)> {
    let seen: &'static Seen = Box::leak(Box::default());
    let handler: &'static _ = Box::leak(Box::new(|_| handle(seen)));
    let handlers = raw::on_without_floats(Handlers::new(), INTEGERS, handler);
    Ok((receive(raw::on(handlers, FLOATS, handler))?, seen))
}

/// Waits until more than `before` have come.
pub fn await_more(receiver: &Receiver, seen: &Seen, before: u32) -> Outcome {
    loop {
        let over = masked(receiver, || match seen.count() > before {
            true => Ok(true),
            false => receiver.wait(None).map(|()| false),
        })?;
        if over {
            return Ok(());
        }
    }
}

/// All rows.
pub fn rows() -> Outcome {
    let Ok((receiver, seen)) = counting() else { return Ok(()) };
    let sender = Sender::open(receiver.grant(1 << INTEGERS | 1 << FLOATS)?)?;
    urgency::in_a_process(&["--uintr", "integers"])?;
    core::hint::black_box(core::hint::black_box(1.5) * 2.0);
    parts(&receiver, &sender, seen, INTEGERS)?.report("uintr_entry_integers", "uintr_return_integers");
    parts(&receiver, &sender, seen, FLOATS)?.report("uintr_entry_floats", "uintr_return_floats");
    masked(&receiver, || {
        measure("uintr_send", 100_000, |count| {
            for _ in 0..count {
                sender.send(0)?;
            }
            Ok(())
        })
    })?;
    measure("uintr_to_oneself", 100_000, |count| {
        for _ in 0..count {
            sender.send(0)?;
        }
        Ok(())
    })?;
    traps(&receiver)?;
    let ticks = ticks(&receiver)?;
    report("uintr_tick_floats", ticks as f64 / ROUNDS as f64, "insn");
    between_threads(&receiver, seen)
}

/// Instructions of many ticks: the timer is set, interrupts, its vector is handled.
#[inline(never)]
fn ticks(receiver: &Receiver) -> io::Result<u64> {
    timer::set(receiver, 0, None)?;
    let timer = Timer::of(receiver);
    let before = raw::instret();
    for _ in 0..ROUNDS {
        timer.start_ticks(0)?;
    }
    Ok(instructions_between(before, raw::instret()))
}

/// Exceptions that the program takes itself and goes on behind: a store to a page that is read-only, an `ebreak`.
fn traps(receiver: &Receiver) -> Outcome {
    let behind: &'static _ = Box::leak(Box::new(|_: &Trapped| Next::Behind));
    raw::take_traps(receiver, Causes::FAULTS.and(Causes::BREAKPOINT), behind)?;
    let page = call(nr::MMAP, &[0, 4096, PROT_READ as usize, 0x22, usize::MAX, 0])?;
    measure("trap_page_fault", 20_000, |count| {
        (0..count).for_each(|_| raw::store64(page, 1));
        Ok(())
    })?;
    measure("trap_breakpoint", 20_000, |count| {
        (0..count).for_each(|_| raw::breakpoint());
        Ok(())
    })
}

/// Instructions of many rounds: until the handler reads the counter, and from there on.
struct Parts {
    there: u64,
    back: u64,
}

const ROUNDS: u64 = 10_000;

impl Parts {
    /// Apart: who calls it would use floating point from its first line on.
    #[inline(never)]
    fn report(&self, there: &str, back: &str) {
        report(there, self.there as f64 / ROUNDS as f64, "insn");
        report(back, self.back as f64 / ROUNDS as f64, "insn");
    }
}

/// A process of its own, `bench --uintr HOW`.
pub fn in_a_process(how: &str) -> Outcome {
    match how {
        "counted" => counted(),
        "channel" => crate::channels::by_interrupt(),
        _ => integers(),
    }
}

/// How often the kernel is entered for interrupts to oneself, and for ticks, one after the other.
fn counted() -> Outcome {
    const INTERRUPTS: u64 = 100_000;
    let Ok((receiver, seen)) = counting() else { return Ok(()) };
    // Where the kernel enters the handler there is nothing to count; the rows are of world `vm`.
    if receiver.backend() == SOFT && call(asyncos::WORLD, &[asyncos::WORLD_GET, 0])? != asyncos::WORLD_VM {
        return Ok(());
    }
    let sender = Sender::open(receiver.grant(1)?)?;
    let one_by_one = |count: u64, raise: &dyn Fn() -> Outcome| {
        (0..count).try_for_each(|_| {
            let before = seen.count();
            raise()?;
            while seen.count() == before {
                core::hint::spin_loop();
            }
            Ok(())
        })
    };
    count_on_all_harts("uintr", INTERRUPTS, |count| one_by_one(count, &|| sender.send(0)))?;
    timer::set(&receiver, 0, None)?;
    let timer = Timer::of(&receiver);
    count_on_all_harts("uintr_tick", INTERRUPTS, |count| one_by_one(count, &|| timer.start_ticks(0)))
}

/// The same as the first rows in a process that uses no floating point before it reports.
fn integers() -> Outcome {
    let (receiver, seen) = counting()?;
    let sender = Sender::open(receiver.grant(1)?)?;
    let (parts, ticks) = (parts(&receiver, &sender, seen, INTEGERS)?, ticks(&receiver)?);
    parts.report("uintr_entry", "uintr_return");
    report_ticks(ticks);
    Ok(())
}

/// Apart, as [`Parts::report`].
#[inline(never)]
fn report_ticks(ticks: u64) {
    report("uintr_tick", ticks as f64 / ROUNDS as f64, "insn");
}

/// What an interrupt adds to calling the handler behind the sending.
#[inline(never)]
fn parts(receiver: &Receiver, sender: &Sender, seen: &Seen, vector: u32) -> io::Result<Parts> {
    let interrupted = both_ways(seen, || sender.send(vector))?;
    let called = masked(receiver, || {
        both_ways(seen, || {
            sender.send(vector)?;
            core::hint::black_box(handle as fn(&Seen))(seen);
            Ok(())
        })
    })?;
    Ok(Parts { there: interrupted.there - called.there, back: interrupted.back - called.back })
}

fn both_ways(seen: &Seen, act: impl Fn() -> Outcome) -> io::Result<Parts> {
    let mut parts = Parts { there: 0, back: 0 };
    for _ in 0..ROUNDS {
        let before = raw::instret();
        act()?;
        let after = raw::instret();
        let handled = seen.counter.load(Relaxed);
        parts.there += instructions_between(before, handled);
        parts.back += instructions_between(handled, after);
    }
    Ok(parts)
}

/// Two threads that send to each other and wait in between: on one hart each blocks every time.
fn between_threads(receiver: &Receiver, seen: &'static Seen) -> Outcome {
    let there = receiver.grant(1)?;
    let (give, given) = rt::sync::mpsc::channel();
    let _ = thread::spawn(move || -> Outcome {
        let (child, heard) = counting()?;
        let _ = give.send(child.grant(1)?);
        let answer = Sender::open(there)?;
        for round in 0.. {
            await_more(&child, heard, round)?;
            answer.send(0)?;
        }
        Ok(())
    })?;
    let Ok(right) = given.recv() else { return Ok(()) };
    let ask = Sender::open(right)?;
    measure("uintr_blocked_pp", 5_000, |count| {
        for _ in 0..count {
            let before = seen.count();
            ask.send(0)?;
            await_more(receiver, seen, before)?;
        }
        Ok(())
    })
}
