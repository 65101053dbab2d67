//! What interrupts a thread that polls a green thread: a timer of its own, by a user interrupt.
//!
//! ```text
//!   poll: the timer is set ── the green thread ── tick: somebody else is ready? no: set again
//!                                                  yes ── goes on in `uintr_leave`, on its own stack
//!   the poll's rest  <──────────────────────────── switch, as if it had yielded
//! ```
//!
//! What is interrupted goes on for longer than what interrupts it takes, whatever a slice is: a tick that is handled late, as where firmware or the kernel plays the hardware, has the next
//! come later.
//!
//! A tick that comes where the green thread has a guard is noted, and taken where it drops that ([`Own::want`]). Where it may have what has no
//! guards, the lock of the heap or a queue of the scheduler's, the next tick comes soon.

use crate::slots::{self, Held};
use crate::task::Preemption;
use crate::thread::Own;
use crate::time::Duration;
use crate::uintr::redirect::{self, Frame};
use crate::uintr::timer::{self, Timer};
use crate::uintr::{self, Handlers, Receiver};
use crate::{chunks, heap, stack, thread};
use abi::window::{IMAGE, IMAGE_PAGES};
use alloc::boxed::Box;
use core::arch::{asm, naked_asm};
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The vector of the timer.
const TICK: u32 = 0;
/// How soon it ticks again where the green thread cannot be left.
const SOON: Duration = Duration::from_micros(20);
/// A tick comes so many times later than the last one was handled behind its time.
const LATE: u64 = 8;
/// But for this no later than a slice of its own: it may have been late as the thread did not run.
const LATEST: Duration = Duration::from_millis(2);
/// So much room there is to be on a stack that is left: for what is kept, and for who keeps it.
const ROOM: usize = 4096;
/// A thread without a slot that waits in the kernel is looked at once in a slice, in two, and so on, so often.
const DOUBLED: u32 = 7;

/// Of a slice, in nanoseconds.
static SLICE: AtomicU64 = AtomicU64::new(2_000_000);

/// How long a green thread that ticks interrupt is polled while others as urgent are ready: 2 ms, if this is not called. To be called before the first is started.
pub fn set_slice(slice: Duration) {
    SLICE.store(u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
}

/// How many there are.
static TICKERS: AtomicU32 = AtomicU32::new(0);

/// How many descriptors they keep open: one each.
pub(crate) fn kept_descriptors() -> usize {
    TICKERS.load(Ordering::Relaxed) as usize
}

/// That of a thread, which is never gone.
pub(crate) struct Ticker {
    /// Set before it ticks.
    receiver: UnsafeCell<Option<(Receiver, Timer)>>,
    /// A slice, [`SOON`] and [`LATEST`], in ticks of the timer.
    slice: Cell<u64>,
    soon: Cell<u64>,
    latest: Cell<u64>,
    /// When the timer is to tick, and how soon at least it may tick again.
    due_at: Cell<u64>,
    least: Cell<u64>,
    /// The green thread that the thread polls.
    polled: AtomicPtr<Own>,
    /// The timer is set.
    is_set: AtomicBool,
    /// It was set when the poll began, or later.
    is_whole: AtomicBool,
    /// How often it has ticked while the thread had no slot and waited.
    waited: AtomicU32,
}

// SAFETY: it is used by the thread that made it, and its handlers.
unsafe impl Sync for Ticker {}

impl Ticker {
    /// That of the thread that has a slot; made if there is none. None: it cannot be interrupted.
    pub(super) fn of(held: &Held) -> Option<&'static Self> {
        held.ticker.get().or_else(|| {
            held.ticker.set(Self::new());
            held.ticker.get()
        })
    }

    #[cold]
    fn new() -> Option<&'static Self> {
        let ticker = Box::into_raw(Box::new(Self {
            receiver: UnsafeCell::new(None),
            slice: Cell::new(0),
            soon: Cell::new(0),
            latest: Cell::new(0),
            due_at: Cell::new(0),
            least: Cell::new(0),
            polled: AtomicPtr::new(ptr::null_mut()),
            is_set: AtomicBool::new(false),
            is_whole: AtomicBool::new(false),
            waited: AtomicU32::new(0),
        }));
        // SAFETY: just made, and never gone where it is used.
        let this: &'static Self = unsafe { &*ticker };
        let handler = Box::into_raw(Box::new(move |_: u32| this.ticked()));
        // SAFETY: as above. The handler reads atomics, and what is its thread's; it computes with integers alone.
        let handlers = unsafe { Handlers::new().on_without_floats(TICK, &*handler) };
        match uintr::receive(handlers).and_then(|receiver| timer::set(&receiver, TICK, None).map(|()| receiver)) {
            Ok(receiver) => {
                this.begin_ticking(receiver);
                Some(this)
            }
            Err(_) => {
                // SAFETY: nothing has come of them.
                unsafe { (drop(Box::from_raw(handler)), drop(Box::from_raw(ticker))) };
                None
            }
        }
    }

    fn begin_ticking(&self, receiver: Receiver) {
        TICKERS.fetch_add(1, Ordering::Relaxed);
        let timer = Timer::of(&receiver);
        self.slice.set(timer.ticks(Duration::from_nanos(SLICE.load(Ordering::Relaxed))).max(1));
        self.soon.set(timer.ticks(SOON).max(1));
        self.latest.set(timer.ticks(LATEST));
        // SAFETY: the timer is not set yet: the handler does not run.
        unsafe { *self.receiver.get() = Some((receiver, timer)) };
    }

    fn receiver(&self) -> &(Receiver, Timer) {
        // SAFETY: written once, before anybody has this.
        match unsafe { &*self.receiver.get() } {
            Some(both) => both,
            None => unreachable!("a tick before there is a receiver"),
        }
    }

    /// The thread polls that from now on.
    #[inline]
    pub(super) fn begin(&self, own: &Own) {
        // Relaxed, as all in this file: the thread's own, and its handlers'.
        self.polled.store(ptr::from_ref(own).cast_mut(), Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
        let was_set = self.is_set.load(Ordering::Relaxed);
        self.is_whole.store(!was_set, Ordering::Relaxed);
        if !was_set {
            self.set(self.slice.get());
        }
    }

    /// The poll has ended. The timer ticks once more, and finds nothing.
    #[inline]
    pub(crate) fn end(&self) {
        self.polled.store(ptr::null_mut(), Ordering::Relaxed);
    }

    fn set(&self, ticks: u64) {
        let (timer, ticks) = (self.receiver().1, ticks.max(self.least.get()));
        self.is_set.store(true, Ordering::Relaxed);
        self.due_at.set(timer.now().saturating_add(ticks));
        // What it promises: no errors.
        let _ = timer.start_ticks(ticks);
    }

    /// The timer has ticked.
    fn note_tick(&self) {
        self.is_set.store(false, Ordering::Relaxed);
        let late = self.receiver().1.now().saturating_sub(self.due_at.get());
        self.least.set(late.saturating_mul(LATE).min(self.latest.get()));
    }

    /// The handler.
    fn ticked(&self) {
        self.note_tick();
        // SAFETY: there while it is polled.
        let Some(own) = (unsafe { self.polled.load(Ordering::Relaxed).as_ref() }) else { return };
        if own.stays() {
            return self.set(self.slice.get());
        }
        let receiver = &self.receiver().0;
        // SAFETY: in a handler of this receiver's.
        let (pc, sp) = unsafe { redirect::interrupted(receiver) };
        let was_whole = self.is_whole.swap(true, Ordering::Relaxed);
        match was_whole.then(|| self.due(own, pc)) {
            Some(Due::Now) => {}
            None | Some(Due::Later) => return self.set(self.slice.get()),
            Some(Due::Waits) => {
                let waited = self.waited.load(Ordering::Relaxed).min(DOUBLED);
                self.waited.store(waited + 1, Ordering::Relaxed);
                return self.set(self.slice.get().saturating_mul(1 << waited));
            }
        }
        if own.has_guards() {
            own.want();
            return self.set(self.slice.get());
        }
        // SAFETY: in a handler of this receiver's. Its code has no guard, and there is room.
        if !may_be_left(own, pc, sp) || !unsafe { redirect::redirect(receiver, uintr_leave, ptr::null()) } {
            self.set(self.soon.get());
        }
    }

    /// Whether somebody is to run instead.
    fn due(&self, own: &Own, pc: usize) -> Due {
        let Some(held) = own.held() else { return Due::Later };
        if !held.seat.is_owner() {
            // It goes on beside the pool, until it comes back here. Not out of a call that it waits in.
            // SAFETY: the instruction that was to be executed next.
            return if unsafe { is_call(pc) } { Due::Waits } else { Due::Now };
        }
        let pool = crate::task::pool();
        let Some(ready) = pool.highest_ready(held.slot) else { return Due::Later };
        let Some(running) = pool.running(held.slot) else { return Due::Later };
        let is_due = match slots::preempted_for(held) {
            equal if equal == Preemption::Equal as u32 => ready <= running,
            urgent if urgent == Preemption::Urgent as u32 => ready < running,
            _ => false,
        };
        if is_due { Due::Now } else { Due::Later }
    }
}

/// What a tick finds.
enum Due {
    Now,
    Later,
    /// The thread waits in the kernel, without a slot.
    Waits,
}

/// Whether the instruction there is a system call.
///
/// # Safety
/// There is one, which may be executed.
unsafe fn is_call(pc: usize) -> bool {
    let halves = pc as *const u16;
    // SAFETY: by contract; the first half says that there is a second.
    unsafe { halves.read() == 0x73 && halves.add(1).read() == 0 }
}

/// Whether the code that was interrupted is that of the green thread, on its stack, and has nothing that has no guard and others wait for.
fn may_be_left(own: &Own, pc: usize, sp: usize) -> bool {
    let lowest = own.guard_page() + stack::GUARD;
    let is_scheduler = (IMAGE..IMAGE + IMAGE_PAGES * 4096).contains(&pc);
    !is_scheduler && is_on(lowest, sp) && !heap::is_locked() && !chunks::is_locked()
}

/// Whether a stack pointer is on the stack that begins there, and leaves room.
fn is_on(lowest: usize, sp: usize) -> bool {
    (lowest + ROOM..=lowest + super::STACK).contains(&sp)
}

/// Called in the place of what was interrupted, on the green thread's stack (`redirect`): leaves that, and goes on behind when it is polled again.
///
/// # Safety
/// Called by the trampoline alone, with its frame, which is where the stack ends.
#[unsafe(naked)]
unsafe extern "C" fn uintr_leave(_: *const (), _: &mut Frame) {
    // The rest of the trampoline, that of the backend of the thread which goes on.
    naked_asm!("call {}", "jr a0", sym left)
}

/// Where the trampoline goes on.
///
/// # Safety
/// As for [`uintr_leave`]. Called and left with interrupts off.
unsafe extern "C" fn left(_: *const (), frame: &mut Frame) -> usize {
    // SAFETY: a green thread that ticks interrupt.
    let own = unsafe { Own::current() };
    own.begin_leaving();
    if let Some(ticker) = own.ticker() {
        ticker.receiver().0.unmask();
    }
    // SAFETY: its code had no guard.
    unsafe { super::leave() };
    // Another thread, perhaps. Who polls what was left has a ticker.
    let Some(ticker) = own.ticker() else { unreachable!("polled where it cannot go on") };
    let receiver = &ticker.receiver().0;
    receiver.mask();
    own.arrive();
    forget_reservation();
    frame.go_on_by(receiver)
}

/// A store-conditional that was interrupted must fail: what it watches may have been written by this hart since.
fn forget_reservation() {
    let word = 0_u32;
    // SAFETY: a word of this function's. It does not matter whether that is written.
    unsafe { asm!("sc.w zero, zero, ({})", in(reg) &raw const word, options(nostack)) };
}

/// Whether the caller is on the stack of the green thread that is polled: not on one of its own making.
pub(crate) fn is_here() -> bool {
    let here = 0_u8;
    // SAFETY: there as long as the green thread.
    thread::green()
        .is_some_and(|switch| is_on(unsafe { switch.as_ref() }.guard() + stack::GUARD, &raw const here as usize))
}
