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
//! urgent vector (the lowest number) first. Vectors can be kept off one by one ([`Receiver::mask_vectors`]), and a handler can let more urgent ones interrupt it
//! ([`Handlers::nesting`]).
//!
//! Other threads may grant and revoke while the receiver's handlers run. What was sent before [`Receiver::revoke`] was called may be handled behind its return, what is sent
//! behind its return is not (`abi::uintr` has the order of accesses that this rests on).

mod area;
mod block;
mod entry;
mod gate;
mod handlers;
mod interrupted;
mod nesting;
mod nuintc;
mod raised;
pub(crate) mod redirect;
mod sender;
pub mod timer;
pub mod traps;
mod vectors;

use crate::io::{Error, Result};
use crate::stack::{self, Stack};
use crate::sys::{self, OwnedFd, syscall};
use crate::thread;
use abi::{Errno, uintr as at};
use core::arch::asm;
use core::marker::PhantomData;
use core::mem::forget;
use core::sync::atomic::Ordering;
use core::time::Duration;

use block::Block;
use entry::{uintr_entry, uintr_entry_nuintc, uintr_entry_soft, uintr_entry_trap};

pub use handlers::Handlers;
pub use nesting::Nesting;
pub use raised::Raised;
pub use sender::{Right, Sender};

/// Bytes of the stack that handlers run on.
pub(crate) const STACK: usize = 64 << 10;
/// The same with the block, and what the entry keeps, above them.
const WITH_BLOCK: usize = STACK + PAGE;
const PAGE: usize = 4096;
/// `sie` of VS-mode: software interrupts (look at everything) and external ones (a slot's number).
const INTERRUPTS: usize = SOFTWARE | 1 << 9;
/// A software interrupt, in `sie` and `sip`.
const SOFTWARE: usize = 1 << 1;
/// `sstatus.SIE`.
const SIE: usize = 1 << 1;

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

/// Makes this thread take its user interrupts, with these handlers. They are on from here.
///
/// # Errors
/// `EBUSY`: it does already; `EINVAL`: in a green thread, which may go on on another thread; `ENOMEM`, `EMFILE`.
pub fn receive(handlers: Handlers) -> Result<Receiver> {
    if thread::green().is_some() {
        return Err(Error::from(Errno::EINVAL));
    }
    let stack = Stack::new(WITH_BLOCK)?;
    let nested = if handlers.nest() { Some(Stack::new(STACK)?) } else { None };
    let block = block_below(stack.top());
    // SAFETY: within the stack, aligned, and nobody else's.
    unsafe {
        block.write(Block::new(handlers, nested.as_ref().map_or(0, Stack::guard)));
    }
    let thread = syscall!(GETTID)?;
    let (fd, backend) = begin(block)?;
    let pages = map(&fd, at::RECEIVER_PAGES)?;
    // SAFETY: still nobody else's. Where this is not reached, it never is: nothing is let in.
    unsafe {
        (*block).pages = pages;
        (*block).backend = backend;
    }
    // From here on it is the thread's, which stays a receiver until it ends.
    thread::keep_handlers(stack.guard());
    forget((stack, nested));
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

/// Where the block lies on a stack that begins there.
fn block_below(top: usize) -> *mut Block {
    const { assert!(align_of::<Block>() == 16 && size_of::<Block>() + entry::FRAME <= PAGE) };
    ((top - size_of::<Block>()) & !15) as *mut Block
}

/// Frees what the handlers of a thread had.
///
/// # Safety
/// The guard page is that of a stack which was given to [`thread::keep_handlers`] here, by a thread that has ended. A [`Receiver`] is its thread's alone.
pub(crate) unsafe fn free(guard: usize) {
    // SAFETY: the caller's promise; nobody has frames there.
    let stack = unsafe { Stack::again(guard, WITH_BLOCK) };
    // SAFETY: `receive` has written the block, and nobody else has it any more.
    let pages = unsafe { (*block_below(stack.top())).pages };
    // SAFETY: the caller's promise.
    let nested = unsafe { guard_of_nesting(guard) };
    if nested != 0 {
        // SAFETY: as above, `receive` has forgotten it.
        drop(unsafe { Stack::again(nested, STACK) });
    }
    let _ = syscall!(MUNMAP, pages, at::RECEIVER_PAGES * PAGE); // fails only where it is mapped no more
}

/// The guard page of the stack for handlers that others interrupt, 0 if there is none, of a thread whose handlers' stack has this one.
///
/// # Safety
/// It is that of a stack which was given to [`thread::keep_handlers`] here, by the calling thread or one that has ended.
pub(crate) unsafe fn guard_of_nesting(guard: usize) -> usize {
    let top = guard + stack::GUARD + WITH_BLOCK;
    // SAFETY: `receive` has written the block, where nobody writes the field again.
    unsafe { (*block_below(top)).nested }
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

/// Maps the pages of a receiver or a sender.
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
    pub(crate) fn mask(&self) -> bool {
        // SAFETY: the thread's own.
        unsafe { gate::close(self.backend, self.block) }
    }

    /// Lets them in.
    pub(crate) fn unmask(&self) {
        // SAFETY: as above.
        unsafe { gate::open(self.backend, self.block) }
    }

    /// Not so in a child made by `fork`.
    pub(crate) fn is_this_thread(&self) -> bool {
        syscall!(GETTID) == Ok(self.thread)
    }

    /// A right to raise the vectors whose bits are set.
    ///
    /// # Errors
    /// `EINVAL`: none is; `ENOSPC`: 63 are given already; `ENOMEM`, `EMFILE`.
    pub fn grant(&self, vectors: u64) -> Result<Right> {
        // SAFETY: no pointers.
        let fd = unsafe { sys::call6(at::GRANT, sys::pad([self.fd.raw() as usize, vectors as usize])) }?;
        Ok(Right::from_fd(OwnedFd::new(fd)))
    }

    /// Ends a right of this receiver: behind the call nothing that is sent by it reaches a handler.
    ///
    /// # Errors
    /// `ESRCH`: it has ended already; `EINVAL`: it is another receiver's.
    pub fn revoke(&self, right: &Right) -> Result<()> {
        // SAFETY: no pointers.
        unsafe { sys::call6(at::REVOKE, sys::pad([self.fd.raw() as usize, right.fd().raw() as usize])) }?;
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

    /// By which backend it takes them (`abi::uintr`).
    #[cfg(feature = "raw")]
    #[must_use]
    pub fn backend(&self) -> usize {
        self.backend
    }

    /// Interrupts so far that told of nothing that was granted.
    #[must_use]
    pub fn idle(&self) -> u64 {
        // SAFETY: the block is there as long as the thread; the field is atomic.
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
        if !self.is_this_thread() {
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
