//! Exceptions that a program handles itself: page faults that would be `SIGSEGV`, illegal instructions, breakpoints, misaligned accesses (note 0008,
//! section 6). By hardware where there is such hardware (page faults by way of the kernel), else by the kernel; no signal is involved.
//!
//! A thread takes them while its user interrupts are on. An exception while they are off, thus in any handler, becomes the signal that it would be, and
//! the thread takes no exceptions any more.

use super::{Block, Receiver, uintr_entry_trap};
use crate::io::Result;
use crate::sys;
use abi::uintr as at;
use core::arch::asm;

/// `sstatus.SPIE`, as the entry tells it: interrupts were on before the exception.
pub(super) const BEFORE: usize = 1 << 5;

/// A set of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Causes(usize);

impl Causes {
    /// Not an instruction.
    pub const ILLEGAL: Self = Self(1 << 2);
    /// `ebreak`.
    pub const BREAKPOINT: Self = Self(1 << 3);
    /// Misaligned accesses that the machine does not carry out.
    pub const MISALIGNED: Self = Self(1 << 4 | 1 << 6);
    /// Accesses without a right, where `SIGSEGV` would be: nothing is mapped, or not for that.
    pub const FAULTS: Self = Self(1 << 12 | 1 << 13 | 1 << 15);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not an instruction.
    Illegal,
    /// `ebreak`.
    Breakpoint,
    /// A misaligned access.
    Misaligned,
    /// A fetch without a right.
    Fetch,
    /// A load without a right.
    Load,
    /// A store or an atomic operation without a right.
    Store,
}

/// An exception.
#[derive(Clone, Copy, Debug)]
pub struct Trapped {
    /// What it is.
    pub kind: Kind,
    /// The address of the access; of others it says nothing.
    pub address: usize,
    /// Where the instruction is.
    pub pc: usize,
}

/// How the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The instruction is tried again.
    Again,
    /// Behind the instruction.
    Behind,
    /// There.
    At(usize),
    /// As if nobody took exceptions, from now on: with the signal.
    Signal,
}

/// Has `handler` serve the thread's exceptions of `causes`, which may be none, instead of those before.
///
/// # Errors
/// None, as long as `causes` are those above.
///
/// # Safety
/// The handler interrupts the thread at any instruction that can raise one of these. It must not depend on what that was in the middle of: locks,
/// allocations, borrows.
pub unsafe fn take<H: Fn(&Trapped) -> Next + Sync>(
    receiver: &Receiver,
    causes: Causes,
    handler: &'static H,
) -> Result<()> {
    set_causes(0)?;
    // SAFETY: the thread's own block; no exception reads it now.
    unsafe { (*receiver.block.cast_mut()).traps = Handler::of(handler) };
    if receiver.backend == at::AIA {
        // SAFETY: an entry for exceptions and interrupts.
        unsafe { asm!("csrw stvec, {}", in(reg) uintr_entry_trap as *const () as usize) };
    }
    set_causes(causes.0)
}

/// The thread takes no exceptions any more.
pub(super) fn take_none() {
    let _ = set_causes(0); // fails in a thread alone that takes none: a child made by `fork`
}

fn set_causes(causes: usize) -> Result<()> {
    // SAFETY: no pointers; what handles them is there.
    unsafe { sys::call6(at::SET_TRAPS, sys::pad([causes])) }?;
    Ok(())
}

/// What serves exceptions.
#[derive(Clone, Copy)]
pub(super) struct Handler {
    data: *const (),
    code: unsafe fn(*const (), &Trapped) -> Next,
}

impl Handler {
    pub(super) const NONE: Self = Self { data: core::ptr::null(), code: refuse };

    fn of<H: Fn(&Trapped) -> Next + Sync>(handler: &'static H) -> Self {
        Self { data: core::ptr::from_ref(handler).cast(), code: call::<H> }
    }
}

/// # Safety
/// None: it does nothing.
unsafe fn refuse(_: *const (), _: &Trapped) -> Next {
    Next::Signal
}

/// # Safety
/// `data` is of a handler of this type, which is never gone.
unsafe fn call<H: Fn(&Trapped) -> Next + Sync>(data: *const (), trapped: &Trapped) -> Next {
    // SAFETY: the caller's promise; `Handler::of` is where both come from.
    unsafe { (*data.cast::<H>())(trapped) }
}

impl Trapped {
    /// `None`: of a cause that was not asked for.
    fn new(cause: usize, address: usize, pc: usize) -> Option<Self> {
        let kind = match cause {
            2 => Kind::Illegal,
            3 => Kind::Breakpoint,
            4 | 6 => Kind::Misaligned,
            12 | 20 => Kind::Fetch,
            13 | 21 => Kind::Load,
            15 | 23 => Kind::Store,
            _ => return None,
        };
        Some(Self { kind, address, pc })
    }

    /// The address behind the instruction.
    fn behind(&self) -> usize {
        // SAFETY: the hart has fetched it there, so the page can be read if it can be executed, which all of ours can; a fetch that failed never gets here.
        let low = unsafe { (self.pc as *const u16).read_volatile() };
        self.pc + if low & 3 == 3 { 4 } else { 2 }
    }
}

/// Serves an exception; where the thread goes on.
///
/// # Safety
/// Called by the entries alone, with their thread's block; `status` is `sstatus` behind the trap.
#[unsafe(no_mangle)]
unsafe extern "C" fn uintr_trapped(block: *const Block, cause: usize, value: usize, pc: usize, status: usize) -> usize {
    if let Some(trapped) = Trapped::new(cause, value, pc)
        && status & BEFORE != 0
    {
        // SAFETY: interrupts were on, so this is the block. Nobody writes it while causes are set, but `take` itself, which sets none first.
        let handler = unsafe { (*block).traps };
        // SAFETY: data and code belong together.
        match unsafe { (handler.code)(handler.data, &trapped) } {
            Next::Again => return pc,
            Next::Behind if trapped.kind != Kind::Fetch => return trapped.behind(),
            Next::At(pc) => return pc,
            Next::Behind | Next::Signal => {}
        }
    }
    // It fails for threads alone that take none. The instruction is tried again, and the kernel's answer is the signal.
    let _ = set_causes(0);
    pc
}
