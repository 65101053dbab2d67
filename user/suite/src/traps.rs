//! Exceptions that a program takes itself (note 0008, section 6), and three uses of them.

mod barrier;
mod integers;
mod pager;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{PAGE, RW, checked_child, child, dies, exits, faults, map};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use rt::abi::mm::{PROT_EXEC, PROT_NONE, PROT_READ};
use rt::abi::signal::{SIGBUS, SIGILL, SIGSEGV};
use rt::conditions::{self, Conditions};
use rt::raw::{self, take_traps};
use rt::uintr::traps::{Causes, Kind, Next, Trapped};
use rt::uintr::{Handlers, Receiver, Sender, masked, receive};

pub const CASES: &[Case] = &[
    case!("traps/illegal-instruction", "U7", illegal_instruction),
    case!("traps/breakpoint", "U7", breakpoint),
    case!("traps/misaligned", "U7", misaligned),
    case!("traps/access", "U7", access),
    case!("traps/elsewhere", "U7", elsewhere),
    case!("traps/not-asked-for", "U7", not_asked_for),
    case!("traps/while-masked", "U7 S6", while_masked),
    case!("traps/in-a-handler", "U7 S6", in_a_handler),
    case!("traps/refused", "U7", refused),
    case!("traps/errors", "U7", errors),
    case!("traps/among-interrupts", "U7 U4", among_interrupts),
    case!("traps/registers-stay", "U7 S4", registers_stay),
    case!("traps/ends-with-exec-and-fork", "U7 P1", not_inherited),
    case!("traps/write-barrier", "U7", barrier::write_barrier),
    case!("traps/pager", "U7", pager::pages_on_demand),
    case!("traps/checked-arithmetic", "U7", checked_arithmetic),
    case!("traps/conditions-of-a-handler", "U7 U4", handler_meets_its_own),
    case!("traps/checked-integers", "U7", integers::checked),
    case!("traps/checked-integers-masked", "U7 S6", integers::masked),
    case!("traps/integers-unchecked-for", "U7", integers::without_a_handler),
];

/// `ebreak` of two bytes, and a return.
const BREAKPOINT: u64 = 0x8082_9002;
/// `unimp` of two bytes, and a return.
const ILLEGAL: u64 = 0x8082_0000;
/// The same of four bytes: a read of a register that is not there.
const ILLEGAL_LONG: u64 = 0x8082_5c00_2573;

/// `lr.w a1, (a0)`, `amoadd.w zero, a0, (a0)`; and a return.
const LOAD_RESERVED: u64 = 0x8082_1005_25af;
const ADD: u64 = 0x8082_00a5_202f;

/// A thread that can take exceptions.
fn receiver() -> Result<Receiver, Trouble> {
    needs_kernel("exceptions for programs")?;
    Ok(receive(Handlers::new())?)
}

/// Code somewhere.
fn code(instructions: u64) -> Result<usize, Trouble> {
    let page = map(PAGE, RW)?;
    raw::store64(page, instructions);
    call!(MPROTECT, page, PAGE, PROT_READ | PROT_EXEC)?;
    raw::fence_i();
    Ok(page)
}

/// What a handler has seen.
#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    address: AtomicUsize,
    pc: AtomicUsize,
    kinds: AtomicUsize,
}

impl Seen {
    fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    fn note(&self, trapped: &Trapped) {
        self.count.fetch_add(1, Relaxed);
        self.address.store(trapped.address, Relaxed);
        self.pc.store(trapped.pc, Relaxed);
        self.kinds.fetch_or(1 << trapped.kind as usize, Relaxed);
    }

    fn count(&self) -> usize {
        self.count.load(Relaxed)
    }
}

/// Notes exceptions and goes on as told.
fn noting(receiver: &Receiver, causes: Causes, next: Next) -> Result<&'static Seen, Trouble> {
    let seen = Seen::new();
    let handler: &'static _ = Box::leak(Box::new(move |trapped: &Trapped| {
        seen.note(trapped);
        next
    }));
    take_traps(receiver, causes, handler)?;
    Ok(seen)
}

fn illegal_instruction() -> Outcome {
    let receiver = receiver()?;
    let (short, long) = (code(ILLEGAL)?, code(ILLEGAL_LONG)?);
    let seen = noting(&receiver, Causes::ILLEGAL, Next::Behind)?;
    for round in 0..100 {
        equal!(raw::call(short, round), round);
        equal!(seen.pc.load(Relaxed), short);
        raw::call(long, round);
        equal!(seen.pc.load(Relaxed), long);
    }
    equal!(seen.count(), 200);
    equal!(seen.kinds.load(Relaxed), 1 << Kind::Illegal as usize);
    Ok(())
}

fn breakpoint() -> Outcome {
    let receiver = receiver()?;
    let page = code(BREAKPOINT)?;
    let seen = noting(&receiver, Causes::BREAKPOINT, Next::Behind)?;
    for round in 0..100 {
        equal!(raw::call(page, round), round);
    }
    equal!(seen.count(), 100);
    equal!(seen.kinds.load(Relaxed), 1 << Kind::Breakpoint as usize);
    Ok(())
}

fn access() -> Outcome {
    let receiver = receiver()?;
    let (page, gone) = (map(PAGE, PROT_READ)?, map(PAGE, PROT_NONE)?);
    let seen = noting(&receiver, Causes::FAULTS, Next::Behind)?;
    raw::store64(page + 8, 1);
    equal!(seen.address.load(Relaxed), page + 8);
    equal!(seen.kinds.swap(0, Relaxed), 1 << Kind::Store as usize);
    let _ = raw::load64(gone + 16);
    equal!(seen.address.load(Relaxed), gone + 16);
    equal!(seen.kinds.swap(0, Relaxed), 1 << Kind::Load as usize);
    // Nothing is mapped at 0.
    let _ = raw::load64(8);
    equal!(seen.address.load(Relaxed), 8);
    equal!(seen.count(), 3);
    equal!(raw::load64(page + 8), 0);
    Ok(())
}

/// Atomic accesses, which the machine does not carry out where they are misaligned; without a handler they are `SIGBUS`.
fn misaligned() -> Outcome {
    let receiver = receiver()?;
    let (reserved, added) = (code(LOAD_RESERVED)?, code(ADD)?);
    let page = map(PAGE, RW)?;
    let bus_error = |code: usize| dies(child(|| raw::call(code, page + 2) as i32)?, SIGBUS);
    bus_error(reserved)?;
    bus_error(added)?;
    let seen = noting(&receiver, Causes::MISALIGNED, Next::Behind)?;
    for (round, code) in [reserved, added].into_iter().cycle().take(100).enumerate() {
        raw::call(code, page + 2);
        equal!((seen.count(), seen.pc.load(Relaxed)), (round + 1, code));
        equal!(seen.address.load(Relaxed), page + 2);
    }
    equal!(seen.kinds.load(Relaxed), 1 << Kind::Misaligned as usize);
    equal!(raw::load64(page), 0);
    // Aligned, they are carried out.
    raw::call(added, page);
    ensure!(raw::load64(page) != 0);
    equal!(seen.count(), 100);
    Ok(())
}

/// A fetch, which cannot go on behind itself: the handler sends it somewhere else.
fn elsewhere() -> Outcome {
    let receiver = receiver()?;
    let (nowhere, somewhere) = (map(PAGE, RW)?, code(0x8082)?);
    let seen = noting(&receiver, Causes::FAULTS, Next::At(somewhere))?;
    equal!(raw::call(nowhere, 7), 7);
    equal!(seen.address.load(Relaxed), nowhere);
    equal!(seen.kinds.load(Relaxed), 1 << Kind::Fetch as usize);
    Ok(())
}

fn not_asked_for() -> Outcome {
    let receiver = receiver()?;
    let seen = noting(&receiver, Causes::BREAKPOINT, Next::Behind)?;
    let page = code(ILLEGAL)?;
    dies(
        child(|| {
            raw::call(page, 0);
            0
        })?,
        SIGILL,
    )?;
    equal!(seen.count(), 0);
    Ok(())
}

/// In a child, which is a thread of its own and begins without: as a receiver of its own.
fn ends_by(signal: u32, body: impl FnOnce(&Receiver) -> Outcome) -> Outcome {
    needs_kernel("exceptions for programs")?;
    dies(
        checked_child(|| {
            let receiver = receiver()?;
            body(&receiver)
        })?,
        signal,
    )
}

fn while_masked() -> Outcome {
    ends_by(SIGSEGV, |receiver| {
        noting(receiver, Causes::FAULTS, Next::Behind)?;
        let _ = masked(receiver, || raw::load64(8));
        Ok(())
    })
}

fn in_a_handler() -> Outcome {
    for (causes, instruction, signal) in
        [(Causes::FAULTS, 0, SIGSEGV), (Causes::FAULTS.and(Causes::ILLEGAL), ILLEGAL, SIGILL)]
    {
        let page = if instruction == 0 { 0 } else { code(instruction)? };
        ends_by(signal, move |receiver| {
            let handler: &'static _ = Box::leak(Box::new(move |_: &Trapped| {
                if page == 0 {
                    let _ = raw::load64(16);
                } else {
                    raw::call(page, 0);
                }
                Next::Behind
            }));
            take_traps(receiver, causes, handler)?;
            let _ = raw::load64(8);
            Ok(())
        })?;
    }
    Ok(())
}

fn refused() -> Outcome {
    ends_by(SIGSEGV, |receiver| {
        noting(receiver, Causes::FAULTS, Next::Signal)?;
        let _ = raw::load64(8);
        Ok(())
    })
}

fn errors() -> Outcome {
    needs_kernel("exceptions for programs")?;
    fails!(crate::process::call(rt::abi::uintr::SET_TRAPS, &[0]), EINVAL);
    let receiver = receiver()?;
    for bit in (0..64).filter(|bit| rt::abi::uintr::TRAPS & 1 << bit == 0) {
        fails!(crate::process::call(rt::abi::uintr::SET_TRAPS, &[1 << bit]), EINVAL);
    }
    drop(receiver);
    Ok(())
}

/// Exceptions and interrupts of one thread, each again and again.
fn among_interrupts() -> Outcome {
    needs_kernel("exceptions for programs")?;
    let interrupts: &'static AtomicUsize = Box::leak(Box::default());
    let count: &'static _ = Box::leak(Box::new(move |_| {
        interrupts.fetch_add(1, Relaxed);
    }));
    let receiver = receive(raw::on(Handlers::new(), 1, count))?;
    let seen = noting(&receiver, Causes::FAULTS.and(Causes::ILLEGAL), Next::Behind)?;
    let sender = Sender::open(receiver.grant(2)?)?;
    let page = code(ILLEGAL)?;
    for round in 1..=500 {
        sender.send(1)?;
        raw::call(page, 0);
        let _ = raw::load64(8);
        sender.send_by_call(1)?;
        equal!(seen.count(), 2 * round);
    }
    while interrupts.load(Relaxed) == 0 {
        core::hint::spin_loop();
    }
    ensure!(interrupts.load(Relaxed) <= 1000);
    Ok(())
}

/// Registers of the interrupted code, floating-point ones too.
fn registers_stay() -> Outcome {
    let receiver = receiver()?;
    let page = map(PAGE, PROT_NONE)?;
    let seen = Seen::new();
    let handler: &'static _ = Box::leak(Box::new(|trapped: &Trapped| {
        seen.note(trapped);
        // Uses registers of both kinds.
        core::hint::black_box(core::hint::black_box(seen.count() as f64) * 1.5);
        Next::Behind
    }));
    take_traps(&receiver, Causes::FAULTS, handler)?;
    let mut value = core::hint::black_box(1.0_f64);
    let mut whole = core::hint::black_box(1_u64);
    for _ in 0..300 {
        value = value * 1.000_1 + 0.5;
        whole = whole.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        raw::store64(page, whole);
    }
    let (mut same, mut same_whole) = (core::hint::black_box(1.0_f64), core::hint::black_box(1_u64));
    for _ in 0..300 {
        same = same * 1.000_1 + 0.5;
        same_whole = same_whole.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    equal!(value.to_bits(), same.to_bits());
    equal!(whole, same_whole);
    equal!(seen.count(), 300);
    Ok(())
}

fn not_inherited() -> Outcome {
    let receiver = receiver()?;
    let seen = noting(&receiver, Causes::FAULTS, Next::Behind)?;
    faults(|| raw::load64(8))?;
    equal!(seen.count(), 0);
    let _ = raw::load64(8);
    equal!(seen.count(), 1);
    exits(child(|| 0)?, 0)
}

/// What a handler computes that runs where its thread lets interrupts in meets no condition of the thread's.
fn handler_meets_its_own() -> Outcome {
    let zero = core::hint::black_box(0.0);
    let counted: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let handler: &'static _ = Box::leak(Box::new(move |_: u32| {
        core::hint::black_box(1.0 / core::hint::black_box(zero));
        counted.fetch_add(1, Relaxed);
    }));
    needs_kernel("exceptions for programs")?;
    let receiver = receive(raw::on(Handlers::new(), 0, handler))?;
    let sender = Sender::open(receiver.grant(1)?)?;
    let (sent, met) = conditions::of(|| masked(&receiver, || sender.send(0)));
    sent?;
    while counted.load(Relaxed) == 0 {
        core::hint::spin_loop();
    }
    equal!(met, Conditions::NONE);
    Ok(())
}

fn checked_arithmetic() -> Outcome {
    let of = |a: f64, b: f64, operation: fn(f64, f64) -> f64| {
        let (a, b) = core::hint::black_box((a, b));
        conditions::of(|| operation(a, b)).1
    };
    ensure!(of(1.0, 0.0, |a, b| a / b).has(Conditions::DIVISION_BY_ZERO));
    ensure!(of(0.0, 0.0, |a, b| a / b).has(Conditions::INVALID));
    ensure!(of(f64::MAX, f64::MAX, |a, b| a * b).has(Conditions::OVERFLOW));
    ensure!(of(f64::MIN_POSITIVE, f64::MIN_POSITIVE, |a, b| a * b).has(Conditions::UNDERFLOW));
    ensure!(of(1.0, 3.0, |a, b| a / b).has(Conditions::INEXACT));
    equal!(of(1.5, 2.0, |a, b| a * b), Conditions::NONE);
    // Those of an inner look are the outer's, too.
    let zero = core::hint::black_box(0.0);
    let (inner, outer) = conditions::of(|| conditions::of(|| 1.0 / zero).1);
    ensure!(inner.has(Conditions::DIVISION_BY_ZERO));
    ensure!(outer.has(Conditions::DIVISION_BY_ZERO));
    Ok(())
}
