//! What the thread that receives signals and its handlers share, and the delivery.

use super::group::Member;
use super::{Flags, Handler, Info, Signals, State, calls};
use crate::io::{Error, Result};
use crate::signal;
use crate::sync::OnceLock;
use crate::sys::syscall;
use crate::uintr::redirect::{Frame, redirect};
use crate::uintr::{Raised, Receiver, Right};
use ::signal::area::{Area, at};
use ::signal::bit;
use ::signal::state::{Areas, Next};
use abi::Errno;
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Words that are shared, or the receiver's own.
#[derive(Clone, Copy)]
pub(super) struct Words(pub(super) *const AtomicU64);

impl Area for Words {
    #[inline(always)]
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < at::WORDS);
        // SAFETY: `at::WORDS` are mapped there while this is used, and the protocol names no others.
        unsafe { &*self.0.add(index) }
    }
}

const _: () = assert!(abi::uintr::AREA + at::WORDS * 8 <= 4096);

/// What the thread and its handlers use.
pub(super) struct Inner {
    pub(super) vector: u32,
    /// Set before anything is granted, thus before it is used.
    pub(super) receiver: UnsafeCell<Option<Receiver>>,
    pub(super) state: UnsafeCell<State>,
    /// What it sends to itself.
    pub(super) own: [AtomicU64; at::WORDS],
    /// Handlers that have begun.
    pub(super) handled: AtomicU64,
    /// The alternate stack: where it begins, and its bytes.
    pub(super) stack: [AtomicUsize; 2],
    /// Signals that a task awaits.
    pub(super) awaited: AtomicU64,
    /// Those that the thread waits for, though they are masked.
    pub(super) waited: AtomicU64,
    /// Slots that are the group's: what comes by them is not for this thread alone.
    pub(super) apart: AtomicU64,
    /// Written once at most, with interrupts off.
    pub(super) member: UnsafeCell<Option<Member>>,
    pub(super) bell: OnceLock<Raised>,
}

impl Areas for Inner {
    type Area = Words;

    #[inline(always)]
    fn area(&self, number: usize) -> Words {
        Words(if number == 0 { self.own.as_ptr() } else { self.receiver().area(number) })
    }

    #[inline(always)]
    fn may_signal(&self, number: usize) -> bool {
        number == 0 || self.receiver().granted(number).0 & 1 << self.vector != 0
    }

    fn take_shared(&self, set: u64) -> (Option<Info>, u64) {
        self.member().map_or((None, 0), |member| member.take(set))
    }

    fn discard_shared(&self, signal: u32) -> u64 {
        self.member().map_or(0, |member| member.discard(signal))
    }
}

/// What the vector's handler has.
pub(super) struct Served(pub(super) *const Inner);

// SAFETY: the handler runs in the thread that made it.
unsafe impl Sync for Served {}

impl Served {
    pub(super) fn arrived(&self) {
        // SAFETY: it is there as long as the receiver.
        unsafe { &*self.0 }.arrived();
    }
}

impl Inner {
    /// Slots that are somebody's who may send signals to this thread.
    pub(super) fn used(&self) -> u64 {
        let used = (1..abi::uintr::SLOTS).filter(|slot| self.may_signal(*slot)).fold(0, |used, slot| used | 1 << slot);
        used & !self.apart.load(Relaxed)
    }

    /// Its being one of a group, if it is. That is the end of a child that a handler has made, which is none of them: what they share is its parent's.
    #[inline(always)]
    pub(super) fn member(&self) -> Option<&Member> {
        let member = self.membership()?;
        self.receiver().ends_a_child();
        Some(member)
    }

    /// The same, of its parent, in a child.
    #[inline(always)]
    pub(super) fn membership(&self) -> Option<&Member> {
        // SAFETY: written once, by this thread with interrupts off, before this finds it.
        unsafe { &*self.member.get() }.as_ref()
    }

    /// Rights to send to the group that have ended are the group's no more. Before their slots can be others'.
    pub(super) fn forget_ended(&self) {
        if let Some(member) = self.member() {
            let apart = self.apart.load(Relaxed);
            (1..abi::uintr::SLOTS)
                .filter(|slot| apart & 1 << slot != 0 && !self.may_signal(*slot))
                .for_each(|slot| member.forget(slot));
        }
    }

    /// A right, and its slot: to this thread, or for the group.
    pub(super) fn new_right(&self, state: &mut State, is_apart: bool) -> Result<(Right, usize)> {
        let receiver = self.receiver();
        let before: [u32; abi::uintr::SLOTS] = core::array::from_fn(|slot| receiver.granted(slot).1);
        let right = self.grant_beside_queued(state)?;
        let changed = |slot: &usize| self.may_signal(*slot) && receiver.granted(*slot).1 != before[*slot];
        let Some(slot) = (1..abi::uintr::SLOTS).find(changed) else { return Err(Error::from(Errno::ESRCH)) };
        if let Some(member) = self.member() {
            // One that was ended by its receiver without a word here.
            member.forget(slot);
        }
        let others = self.apart.load(Relaxed) & !(1 << slot);
        self.apart.store(others | u64::from(is_apart) << slot, Relaxed);
        state.set_used(self.used());
        // Relaxed: nobody has the right yet.
        self.area(slot).word(at::VECTOR).store(u64::from(self.vector), Relaxed);
        Ok((right, slot))
    }

    /// A right to send signals. What a sender that is gone has queued is still to be taken: its slot must not be the new one's.
    pub(super) fn grant_beside_queued(&self, state: &mut State) -> Result<Right> {
        let (receiver, vectors) = (self.receiver(), 1 << self.vector);
        state.collect(self);
        let holding = state.collect_queued(self);
        let kept: [u64; abi::uintr::SLOTS] = core::array::from_fn(|slot| match slot != 0 && holding & 1 << slot != 0 {
            true => receiver.keep(slot, vectors),
            false => 0,
        });
        let right = receiver.grant(vectors);
        kept.iter().enumerate().filter(|(_, kept)| **kept != 0).for_each(|(slot, kept)| receiver.release(slot, *kept));
        state.collect(self);
        self.tell(state);
        right
    }

    #[inline(always)]
    pub(super) fn receiver(&self) -> &Receiver {
        // SAFETY: written once, before this is called.
        match unsafe { &*self.receiver.get() } {
            Some(receiver) => receiver,
            // No right was granted yet.
            None => unreachable!("signals before there is a receiver"),
        }
    }

    /// Runs `body` with interrupts off, then what is to be delivered.
    #[inline]
    pub(super) fn closed<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        let was_on = self.receiver().mask();
        // SAFETY: interrupts are off, and `body` calls nothing that comes here.
        let value = body(unsafe { &mut *self.state.get() });
        self.tell_group();
        if was_on {
            self.run(None);
            self.receiver().unmask();
        } else if let Some(member) = self.member() {
            // Others count on this thread for what it does not mask, which it finds when it lets interrupts in.
            // SAFETY: as above.
            if unsafe { &*self.state.get() }.is_wanted() {
                member.ring_itself();
            }
        }
        value
    }

    /// The vector's handler.
    fn arrived(&self) {
        // SAFETY: interrupts are off, and were on: nobody else has it.
        let state = unsafe { &mut *self.state.get() };
        state.collect(self);
        self.look_around(state);
        self.tell(state);
        if state.is_wanted() {
            // SAFETY: called by a handler of the receiver's. What it calls is for any instruction, by the word of who has set the handlers. In a mode that cannot, signals stay pending.
            let _ = unsafe { redirect(self.receiver(), deliver, core::ptr::from_ref(self).cast()) };
        }
    }

    /// Tells the task that awaits signals.
    pub(super) fn tell(&self, state: &State) {
        if state.pending() & self.awaited.load(Relaxed) != 0
            && let Some(bell) = self.bell.get()
        {
            bell.note(0);
        }
    }

    /// Delivers what is not masked. Called and left with interrupts off; handlers run with them on.
    #[inline]
    pub(super) fn run(&self, frame: Option<&mut Frame>) {
        // SAFETY: interrupts are off, and who has it borrowed calls nothing that comes here.
        if unsafe { &*self.state.get() }.is_wanted() {
            self.run_wanted(frame);
        }
    }

    /// Apart: most often nothing is.
    #[inline(never)]
    fn run_wanted(&self, mut frame: Option<&mut Frame>) {
        loop {
            // SAFETY: interrupts are off, and who has it borrowed calls nothing that comes here.
            let state = unsafe { &mut *self.state.get() };
            if !state.is_wanted() {
                return;
            }
            let Some((info, next)) = state.next(self) else { return };
            match next {
                Next::Run(handler, flags, mask) => {
                    self.handled.store(self.handled.load(Relaxed) + 1, Relaxed);
                    if !flags.has(Flags::RESTART)
                        && let Some(frame) = &mut frame
                    {
                        frame.answer_at(calls::interruptible(), -(Errno::EINTR.number() as isize));
                    }
                    self.tell_group();
                    self.receiver().unmask();
                    self.call(handler, flags, &info);
                    // A child that it has made is no receiver, and ends here, whatever the backend makes of the registers that it lacks.
                    self.receiver().ends_a_child();
                    self.receiver().mask();
                    // SAFETY: as above.
                    unsafe { &mut *self.state.get() }.set_mask(mask);
                    self.tell_group();
                }
                Next::Stop => by_kernel(abi::signal::SIGSTOP),
                Next::End => end(info.signal),
            }
        }
    }

    fn call(&self, handler: &'static Handler, flags: Flags, info: &Info) {
        let [start, len] = self.stack.each_ref().map(|word| word.load(Relaxed));
        if !flags.has(Flags::ONSTACK) || start == 0 || self.is_on_stack() {
            return handler(&self.lent(), info);
        }
        let lent = self.lent();
        let call = (handler, &*lent);
        let (data, argument) = (core::ptr::from_ref(&call).cast(), core::ptr::from_ref(info).cast());
        // SAFETY: the stack is this thread's for good, is not in use, and its end is aligned; `handle` gets what it wants.
        unsafe { calls::rt_signal_on_stack(data, argument, call_there, (start + len) & !15) };
    }

    /// For a handler, which cannot keep it.
    fn lent(&self) -> ManuallyDrop<Signals> {
        ManuallyDrop::new(Signals { inner: self })
    }

    pub(super) fn is_on_stack(&self) -> bool {
        let [start, len] = self.stack.each_ref().map(|word| word.load(Relaxed));
        let here = 0_u8;
        (start..start + len).contains(&(&raw const here as usize))
    }
}

/// # Safety
/// `call` is a reference to a handler and what it is called with; so is `info`.
unsafe extern "C" fn call_there(call: *const (), info: *const ()) {
    // SAFETY: the caller's promise.
    unsafe {
        let (handler, signals) = &*call.cast::<(&'static Handler, &Signals)>();
        handler(signals, &*info.cast());
    }
}

/// What an interrupted thread calls before it goes on.
///
/// # Safety
/// `inner` is the thread's; interrupts are off.
unsafe extern "C" fn deliver(inner: *const (), frame: &mut Frame) {
    // SAFETY: the caller's promise.
    unsafe { &*inner.cast::<Inner>() }.run(Some(frame));
}

fn by_kernel(signal: u32) {
    let _ = signal::kill(crate::process::id(), signal);
}

/// Ends the process as the kernel's signal does.
fn end(signal: u32) -> ! {
    let _ = signal::default(signal);
    let set = bit(signal);
    let _ = syscall!(RT_SIGPROCMASK, abi::signal::SIG_UNBLOCK, &raw const set, 0, abi::signal::SIGSET_SIZE);
    by_kernel(signal);
    loop {
        let _ = syscall!(EXIT_GROUP, 128 + signal);
    }
}
