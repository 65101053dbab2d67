//! User interrupts: handlers that run in this thread when somebody who was given the right raises one of its vectors, on the way by hardware without
//! the kernel where there is such hardware (note 0008).
//!
//! ```no_run
//! let raised: &'static Raised = Box::leak(Box::new(Raised::new()?));
//! let receiver = uintr::receive(uintr::Handlers::new().note(3, raised))?;
//! let right = receiver.grant(1 << 3)?; // to be inherited by a child, or passed on
//! let sender = uintr::Sender::open(right)?;
//! sender.send(3)?;
//! assert_eq!(raised.next().await?, 1 << 3);
//! ```
//!
//! A handler of one's own ([`Handlers::on`]) interrupts its thread anywhere, also in the middle of an allocation, like the handler of a signal: what it may do is told there.
//! It runs on a stack of its own, with further interrupts kept off; what is raised meanwhile is served when it returns, the most
//! urgent vector (the lowest number) first.
//!
//! Other threads may grant and revoke while the receiver's handlers run. What was sent before [`Receiver::revoke`] was called may be handled behind its return, what is sent
//! behind its return is not (`abi::uintr` has the order of accesses that this rests on).

mod entry;
mod nuintc;
mod raised;
pub mod timer;
pub mod traps;

use crate::io::{Error, Result};
use crate::sys::{self, OwnedFd, syscall};
use abi::{Errno, uintr as at};
use alloc::vec;
use core::arch::asm;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
use core::time::Duration;

use entry::{uintr_entry, uintr_entry_nuintc, uintr_entry_soft, uintr_entry_trap};

pub use raised::Raised;

/// Bytes of the stack that handlers run on.
const STACK: usize = 64 << 10;
const PAGE: usize = 4096;
/// `sie` of VS-mode: software interrupts (look at everything) and external ones (a slot's number).
const INTERRUPTS: usize = SOFTWARE | 1 << 9;
/// A software interrupt, in `sie` and `sip`.
const SOFTWARE: usize = 1 << 1;
/// `sstatus.SIE`.
const SIE: usize = 1 << 1;

/// What serves a vector: the code, which gets the data and the vector.
#[repr(C)]
#[derive(Clone, Copy)]
struct Served {
    data: *const (),
    code: unsafe extern "C" fn(*const (), u32),
}

impl Served {
    const NOTHING: Self = Self { data: core::ptr::null(), code: ignore };

    fn by<H: Fn(u32) + Sync>(handler: &'static H) -> Self {
        Self { data: core::ptr::from_ref(handler).cast(), code: call::<H> }
    }
}

/// # Safety
/// None: it does nothing.
unsafe extern "C" fn ignore(_: *const (), _: u32) {}

/// # Safety
/// `data` is of a handler of this type, which is never gone.
unsafe extern "C" fn call<H: Fn(u32) + Sync>(data: *const (), vector: u32) {
    // SAFETY: the caller's promise; `Served::by` is where both come from.
    unsafe { (*data.cast::<H>())(vector) }
}

/// Handlers by vector.
#[repr(C)]
pub struct Handlers {
    served: [Served; at::VECTORS],
    /// Vectors whose handlers may use floating point.
    floats: u64,
}

impl Default for Handlers {
    fn default() -> Self {
        Self::new()
    }
}

impl Handlers {
    /// All vectors are ignored.
    #[must_use]
    pub fn new() -> Self {
        Self { served: [Served::NOTHING; at::VECTORS], floats: 0 }
    }

    /// `vector`, 0 to 63, is noted in `raised`, for tasks and threads to take it from there.
    ///
    /// # Panics
    /// If there is no such vector.
    #[must_use]
    pub fn note(self, vector: u32, raised: &'static Raised) -> Self {
        self.with(vector, Served { data: core::ptr::from_ref(raised).cast(), code: raised::note }, false)
    }

    /// `handler` serves `vector`, 0 to 63, which it is told.
    ///
    /// # Panics
    /// If there is no such vector.
    ///
    /// # Safety
    /// The handler interrupts the thread between any two instructions. It must not depend on what those are in the middle of, which rules out
    /// what is not for the handler of a signal: taking a lock, allocating or freeing, borrowing from a cell or a task's locals, starting or waking tasks,
    /// panicking. It may use atomics and system calls.
    #[must_use]
    pub unsafe fn on<H: Fn(u32) + Sync>(self, vector: u32, handler: &'static H) -> Self {
        self.with(vector, Served::by(handler), true)
    }

    /// The same for a handler that does not use floating point: faster, where the thread does, since no such registers are saved.
    ///
    /// # Panics
    /// If there is no such vector.
    ///
    /// # Safety
    /// As for [`Handlers::on`]; and neither the handler nor what it calls computes with floating-point numbers.
    #[must_use]
    pub unsafe fn on_without_floats<H: Fn(u32) + Sync>(self, vector: u32, handler: &'static H) -> Self {
        self.with(vector, Served::by(handler), false)
    }

    fn with(mut self, vector: u32, served: Served, floats: bool) -> Self {
        self.served[vector as usize] = served;
        self.floats = self.floats & !(1 << vector) | u64::from(floats) << vector;
        self
    }
}

/// What the entry finds in `sscratch`: the end of the handlers' stack, at which this lies. The entry knows where its fields are.
#[repr(C, align(16))]
struct Block {
    /// The receiver's pages.
    pages: *const u8,
    /// Vectors that were taken and not served.
    pending: u64,
    /// Interrupts that told of nothing.
    idle: AtomicU64,
    /// Makes the number of the lowest bit of a word of that bit: the upper six bits of the product say where in `numbers`.
    sequence: u64,
    numbers: [u8; 64],
    handlers: Handlers,
    traps: traps::Handler,
    /// The vector that the timer raises, as a bit.
    timer: u64,
}

/// Any sequence of 64 bits in which each six neighbours differ will do (de Bruijn).
const SEQUENCE: u64 = 0x03f7_9d71_b4cb_0a89;

const NUMBERS: [u8; 64] = {
    let mut numbers = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        numbers[(SEQUENCE.wrapping_mul(1 << bit) >> 58) as usize] = bit;
        bit += 1;
    }
    numbers
};

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Block, pages) == 0 && offset_of!(Block, pending) == 8 && offset_of!(Block, sequence) == 24);
    assert!(offset_of!(Block, numbers) == 32 && offset_of!(Block, handlers) == 96);
    assert!(offset_of!(Handlers, served) == 0 && offset_of!(Handlers, floats) == 1024);
    assert!(offset_of!(Served, data) == 0 && offset_of!(Served, code) == 8 && size_of::<Served>() == 16);
    assert!(
        at::GRANTED == 0 && at::ENTRY == 16 && at::CHANGE == 8 && at::WORD == 0 && at::SLOTS == 64 && PAGE == 1 << 12
    );
};

/// This thread's being a receiver, which it is until it ends.
pub struct Receiver {
    fd: OwnedFd,
    block: *const Block,
    backend: usize,
    /// The thread's number: a child made by `fork` has this value, too, and nothing that it stands for.
    thread: usize,
    /// It is about the thread that made it.
    _thread: PhantomData<*mut ()>,
}

/// The right to raise vectors of a receiver, as a descriptor: to be inherited, passed over a local socket, and opened with [`Sender::open`].
#[derive(Debug)]
pub struct Right(OwnedFd);

impl Right {
    /// Of a descriptor that another process has passed.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// Makes this thread take its user interrupts, with these handlers. They are on from here.
///
/// # Errors
/// `EBUSY`: it does already; `ENOMEM`, `EMFILE`.
pub fn receive(handlers: Handlers) -> Result<Receiver> {
    let mut memory = vec![0_u8; STACK + size_of::<Block>() + align_of::<Block>()];
    let end = memory.as_mut_ptr() as usize + STACK;
    let block = end.next_multiple_of(align_of::<Block>()) as *mut Block;
    // SAFETY: within the memory, aligned, and nobody else's.
    unsafe {
        block.write(Block {
            pages: core::ptr::null(),
            pending: 0,
            idle: AtomicU64::new(0),
            sequence: SEQUENCE,
            numbers: NUMBERS,
            handlers,
            traps: traps::Handler::NONE,
            timer: 0,
        });
    }
    let thread = syscall!(GETTID)?;
    let (fd, backend) = begin(block)?;
    let pages = map(&fd, at::RECEIVER_PAGES)?;
    // SAFETY: still nobody else's. Where this is not reached, it never is: nothing is let in.
    unsafe { (*block).pages = pages };
    // From here on it is never freed: the thread stays a receiver.
    memory.leak();
    let receiver = Receiver { fd, block, backend, thread, _thread: PhantomData };
    match backend {
        // SAFETY: the block is complete; the thread's registers of VS-mode are its own from the call on.
        at::AIA => unsafe { asm!("csrs sie, {}", in(reg) INTERRUPTS) },
        at::NUINTC => nuintc::enable(),
        _ => {}
    }
    receiver.unmask();
    Ok(receiver)
}

/// Makes the thread a receiver by the best backend that it can have. Its interrupts are off.
fn begin(block: *mut Block) -> Result<(OwnedFd, usize)> {
    let by = |backend, entry: unsafe extern "C" fn()| {
        let arguments = sys::pad([entry as *const () as usize, block as usize, backend]);
        // SAFETY: nothing is delivered before the thread lets it in, which is when the block is complete.
        unsafe { sys::call6(at::RECEIVER, arguments) }.map(|fd| (OwnedFd::new(fd), backend))
    };
    let not_here = |result: &core::result::Result<_, Errno>| matches!(result, Err(error) if *error == Errno::ENODEV);
    let mut result = by(at::AIA, uintr_entry);
    for (backend, entry) in [(at::NUINTC, uintr_entry_nuintc as unsafe extern "C" fn()), (at::SOFT, uintr_entry_soft)] {
        if not_here(&result) {
            result = by(backend, entry);
        }
    }
    result.map_err(Error::from)
}

/// Maps the pages of a receiver or a sender, for good.
fn map(fd: &OwnedFd, pages: usize) -> Result<*const u8> {
    let rights = abi::mm::PROT_READ | abi::mm::PROT_WRITE;
    let start = syscall!(MMAP, 0, pages * PAGE, rights, abi::mm::MAP_SHARED, fd.raw(), 0)?;
    Ok(start as *const u8)
}

/// Keeps this thread's user interrupts off while `body` runs. What is raised meanwhile is served behind it. Only in a thread that is a [`Receiver`].
pub fn masked<T>(receiver: &Receiver, body: impl FnOnce() -> T) -> T {
    let was_on = receiver.mask();
    let value = body();
    if was_on {
        receiver.unmask();
    }
    value
}

impl Receiver {
    /// Keeps interrupts off; whether they were on.
    fn mask(&self) -> bool {
        if self.backend == at::SOFT {
            let was_on = self.status().swap(0, Ordering::Relaxed) & at::ON != 0;
            compiler_fence(Ordering::SeqCst); // the kernel reads it on this thread's way to user mode
            return was_on;
        }
        if self.backend == at::NUINTC {
            return nuintc::mask();
        }
        let old: usize;
        // SAFETY: only delays interrupts; a receiver may write its `sstatus`. No `nomem`: what is done behind it stays there.
        unsafe { asm!("csrrc {}, sstatus, {}", out(reg) old, in(reg) SIE) };
        old & SIE != 0
    }

    fn unmask(&self) {
        if self.backend == at::SOFT {
            compiler_fence(Ordering::SeqCst); // as in `mask`
            self.status().store(at::ON, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            // Behind the store: what comes after this look finds interrupts on.
            // SAFETY: the pages stay mapped.
            if unsafe { (*self.block).pending_slots() }.load(Ordering::Relaxed) != 0 {
                let _ = self.wait(Some(Duration::ZERO)); // entered on the way back
            }
            return;
        }
        if self.backend == at::NUINTC {
            return nuintc::unmask();
        }
        // SAFETY: the entry saves what it changes.
        unsafe { asm!("csrs sstatus, {}", in(reg) SIE) };
    }

    /// `STATUS` of the backend `SOFT`.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: within the control page, which stays mapped.
        unsafe { &*(*self.block).pages.add(at::STATUS).cast() }
    }

    /// A right to raise the vectors whose bits are set.
    ///
    /// # Errors
    /// `EINVAL`: none is; `ENOSPC`: 63 are given already; `ENOMEM`, `EMFILE`.
    pub fn grant(&self, vectors: u64) -> Result<Right> {
        // SAFETY: no pointers.
        let fd = unsafe { sys::call6(at::GRANT, sys::pad([self.fd.raw() as usize, vectors as usize])) }?;
        Ok(Right(OwnedFd::new(fd)))
    }

    /// Ends a right of this receiver: behind the call nothing that is sent by it reaches a handler.
    ///
    /// # Errors
    /// `ESRCH`: it has ended already; `EINVAL`: it is another receiver's.
    pub fn revoke(&self, right: &Right) -> Result<()> {
        // SAFETY: no pointers.
        unsafe { sys::call6(at::REVOKE, sys::pad([self.fd.raw() as usize, right.0.raw() as usize])) }?;
        Ok(())
    }

    /// Waits until something may have been raised, also while interrupts are [masked] (the handlers run behind that); `Ok` may come for nothing.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `EINTR`: a signal.
    pub fn wait(&self, limit: Option<Duration>) -> Result<()> {
        let ns = limit.map_or(at::FOREVER, |limit| usize::try_from(limit.as_nanos()).unwrap_or(at::FOREVER));
        // SAFETY: no pointers.
        unsafe { sys::call6(at::WAIT, sys::pad([ns])) }?;
        Ok(())
    }

    /// Whether its thread has supervisor registers of its own.
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn has_registers(&self) -> bool {
        self.backend == at::AIA
    }

    /// Interrupts so far that told of nothing that was granted.
    #[must_use]
    pub fn idle(&self) -> u64 {
        // SAFETY: the block is never freed; the field is atomic.
        unsafe { (*self.block).idle.load(Ordering::Relaxed) }
    }

    /// Its descriptor, for who tests how it can be mapped.
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

impl Drop for Receiver {
    /// The thread takes no more interrupts and exceptions; its senders may go on ringing.
    fn drop(&mut self) {
        if syscall!(GETTID) != Ok(self.thread) {
            return;
        }
        traps::take_none();
        match self.backend {
            at::SOFT => drop(self.mask()),
            at::NUINTC => nuintc::disable(),
            // SAFETY: only keeps interrupts off, the timer's too.
            _ => unsafe { asm!("csrw sie, zero") },
        }
    }
}

/// Raises vectors by a right.
pub struct Sender {
    right: Right,
    word: *const AtomicU64,
    closed: *const AtomicU32,
    asleep: *const AtomicU32,
    doorbell: *mut u32,
    slot: u32,
}

// SAFETY: the pages stay mapped, the words are atomic, and any thread may store to the doorbell.
unsafe impl Send for Sender {}
// SAFETY: as above.
unsafe impl Sync for Sender {}

impl Sender {
    /// Maps the right's pages.
    ///
    /// # Errors
    /// `ENOMEM`; `ENODEV`, `EINVAL`: the descriptor is no right.
    pub fn open(right: Right) -> Result<Self> {
        let pages = map(&right.0, at::SENDER_PAGES)?;
        // SAFETY: two pages, mapped for good but for `drop`.
        let (word, slot) =
            unsafe { (pages.cast::<AtomicU64>(), (*pages.add(at::SLOT).cast::<AtomicU32>()).load(Ordering::Relaxed)) };
        // SAFETY: as above.
        let (closed, asleep) = unsafe { (pages.add(at::CLOSED).cast(), pages.add(at::ASLEEP).cast()) };
        // SAFETY: as above.
        let doorbell = unsafe { pages.add(PAGE).cast_mut().cast() };
        Ok(Self { right, word, closed, asleep, doorbell, slot })
    }

    /// Raises a vector: one atomic instruction and one store, if the receiver's place is known to the hardware.
    ///
    /// # Errors
    /// `ESRCH`: the right has ended. A vector that was not granted, or is none, reaches nobody.
    #[inline]
    pub fn send(&self, vector: u32) -> Result<()> {
        // SAFETY: the word's page is mapped while `self` lives. Release pairs with the swap of `collect`: what was written before is visible to the handler.
        unsafe { (*self.word).fetch_or(1 << (vector & 63), Ordering::Release) };
        // SAFETY: a fence. It orders the word before the load, with which the kernel's fence pairs, and before the doorbell, which is device output.
        unsafe { asm!("fence rw, orw", options(nostack)) };
        // SAFETY: as for the word.
        if unsafe { (*self.asleep).load(Ordering::Relaxed) } != 0 {
            // Nothing is set by that: it may have been taken meanwhile. A right that has ended is told below.
            // SAFETY: no pointers.
            let _ = unsafe { sys::call6(at::SEND, sys::pad([self.right.0.raw() as usize, at::RING])) };
        } else {
            // SAFETY: the doorbell's page is mapped while `self` lives, and takes any number.
            unsafe { asm!("sw {}, 0({})", in(reg) self.slot, in(reg) self.doorbell, options(nostack)) };
        }
        // SAFETY: as for the word. Acquire pairs with the kernel's Release: what the receiver did before its end is visible.
        if unsafe { (*self.closed).load(Ordering::Acquire) } != 0 {
            return Err(Error::from(abi::Errno::ESRCH));
        }
        Ok(())
    }

    /// The same by a system call, which works whatever the receiver's side has.
    ///
    /// # Errors
    /// `EINVAL`: no such vector; `EPERM`: it was not granted; `ESRCH`: the right has ended.
    pub fn send_by_call(&self, vector: u32) -> Result<()> {
        // SAFETY: no pointers.
        unsafe { sys::call6(at::SEND, sys::pad([self.right.0.raw() as usize, vector as usize])) }?;
        Ok(())
    }

    /// The right.
    #[must_use]
    pub fn right(&self) -> &Right {
        &self.right
    }

    /// Address of the doorbell, for who tests what a hostile sender can do.
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn doorbell(&self) -> usize {
        self.doorbell as usize
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Nobody can have it any more.
        let _ = syscall!(MUNMAP, self.word, at::SENDER_PAGES * PAGE);
    }
}

impl Block {
    /// Takes what all have raised.
    ///
    /// # Safety
    /// The pages are mapped; only the entry has the block.
    #[cold]
    unsafe fn collect_all(&mut self) {
        // SAFETY: the caller's promise. Of these backends the timer's bit alone is used. Acquire as for `uintr_look_soft`.
        if unsafe { self.pending_slots() }.load(Ordering::Relaxed) != 0 {
            // SAFETY: as above.
            unsafe { self.pending_slots() }.swap(0, Ordering::Acquire);
            self.pending |= self.timer;
        }
        for slot in 1..at::SLOTS {
            // SAFETY: the caller's promise.
            unsafe { self.collect(slot) };
        }
    }

    /// Takes what the sender of a slot has raised, in the order of `abi::uintr`.
    ///
    /// # Safety
    /// As [`Block::collect_all`].
    unsafe fn collect(&mut self, slot: usize) {
        // SAFETY: the control page holds so many entries.
        let entry = unsafe { self.pages.add(at::GRANTED + slot * at::ENTRY) };
        // SAFETY: within the entry, aligned.
        let (granted, change) = unsafe { (&*entry.cast::<AtomicU64>(), &*entry.add(at::CHANGE).cast::<AtomicU32>()) };
        // SAFETY: each slot has a word page, whose ever it is.
        let word = unsafe { &*self.pages.add(slot * PAGE + at::WORD).cast::<AtomicU64>() };
        let sent = loop {
            // Acquire pairs with the kernel's fence between the change and the vectors, which come behind the taking back of the last sender's page.
            let before = change.load(Ordering::Acquire);
            let sent = granted.load(Ordering::Relaxed) & word.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if change.load(Ordering::Relaxed) == before {
                break sent;
            }
        };
        if sent != 0 {
            // Acquire pairs with the sender's Release.
            word.fetch_and(!sent, Ordering::Acquire);
            self.pending |= sent;
        }
    }

    /// `PENDING` of the backend `SOFT`.
    ///
    /// # Safety
    /// The pages are mapped.
    unsafe fn pending_slots(&self) -> &AtomicU64 {
        // SAFETY: within the control page, aligned.
        unsafe { &*self.pages.add(at::PENDING).cast() }
    }

    fn count_idle(&self) {
        self.idle.store(self.idle.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Looks at all that was raised, if that is what the interrupt asks for; else it told of nothing.
///
/// # Safety
/// Called by the entry alone, with its thread's block and interrupts off.
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_look(block: *mut Block) {
    // SAFETY: the caller's promise: nobody else has it.
    let block = unsafe { &mut *block };
    let pending: usize;
    // SAFETY: reads the register.
    unsafe { asm!("csrr {}, sip", out(reg) pending, options(nomem, nostack)) };
    if pending & SOFTWARE != 0 {
        // SAFETY: clears the interrupt before the look, so that one that comes during it is not lost.
        unsafe { asm!("csrc sip, {}", "fence io, rw", in(reg) SOFTWARE) };
        // SAFETY: as above.
        unsafe { block.collect_all() };
    } else if timer::is_due() {
        timer::stop();
        block.pending |= block.timer;
    } else {
        block.count_idle();
    }
}

/// Takes what the senders have raised that the kernel tells of.
///
/// # Safety
/// As [`uintr_look`].
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_look_soft(block: *mut Block) {
    // SAFETY: the caller's promise: nobody else has it.
    let block = unsafe { &mut *block };
    // SAFETY: mapped before interrupts were let in. Before the words are looked at, so that what comes meanwhile is pending behind it. Acquire pairs
    // with the kernel's Release: the word that a bit tells of is visible.
    let mut slots = unsafe { block.pending_slots() }.swap(0, Ordering::Acquire);
    if slots & 1 << at::TIMER_SLOT != 0 {
        slots &= !(1 << at::TIMER_SLOT);
        block.pending |= block.timer;
    }
    while slots != 0 {
        // SAFETY: as above.
        unsafe { block.collect(slots.trailing_zeros() as usize) };
        slots &= slots - 1;
    }
    if block.pending == 0 {
        block.count_idle();
    }
}
