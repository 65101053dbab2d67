//! Exceptions of a user thread: to its program, if that takes them itself (note 0008, section 6), else signals.

use crate::uintr::Taking;
use abi::signal::*;
use alloc::boxed::Box;
use hal::user::{Access, Exception, UserContext};

/// An exception as the hardware tells it to who handles it.
#[derive(Clone, Copy)]
pub(crate) struct Trap {
    /// `scause`.
    pub(crate) cause: usize,
    /// `stval`.
    pub(crate) value: usize,
}

impl Trap {
    /// Of an access that has no right.
    pub(crate) fn of_fault(access: Access, address: usize) -> Self {
        let cause = match access {
            Access::Exec => 12,
            Access::Read => 13,
            Access::Write => 15,
        };
        Self { cause, value: address }
    }

    /// Of another exception; `None`: no program takes it.
    pub(crate) fn of(exception: Exception, context: &UserContext) -> Option<Self> {
        let (cause, value) = match exception {
            Exception::IllegalInstruction => (2, 0),
            Exception::Breakpoint => (3, context.pc()),
            Exception::Misaligned { address, access: Access::Read } => (4, address),
            Exception::Misaligned { address, access: Access::Write } => (6, address),
            // A jump to an odd half-word cannot be continued behind: it is a signal.
            Exception::Misaligned { access: Access::Exec, .. } => return None,
            Exception::AccessFault { .. } | Exception::Other { .. } => return None,
        };
        Some(Self { cause, value })
    }
}

/// Has the program take a trap, if it asked for that and can.
#[cold]
#[inline(never)]
pub(crate) fn taken(taking: &mut Option<Box<Taking>>, context: &mut UserContext, trap: Trap) -> bool {
    taking.as_mut().is_some_and(|taking| taking.trap(context, trap))
}

/// The same for an exception that is no page fault.
pub(crate) fn taken_of(taking: &mut Option<Box<Taking>>, context: &mut UserContext, exception: Exception) -> bool {
    taking.is_some() && Trap::of(exception, context).is_some_and(|trap| taken(taking, context, trap))
}

/// The signal that an exception is.
pub(crate) fn signal(pc: usize, exception: Exception) -> Siginfo {
    let pc = pc as u64;
    match exception {
        Exception::IllegalInstruction => Siginfo::fault(SIGILL, ILL_ILLOPC, pc),
        Exception::Breakpoint => Siginfo::fault(SIGTRAP, TRAP_BRKPT, pc),
        Exception::Misaligned { address, .. } => Siginfo::fault(SIGBUS, BUS_ADRALN, address as u64),
        Exception::AccessFault { address } => Siginfo::fault(SIGBUS, BUS_ADRERR, address as u64),
        Exception::Other { .. } => Siginfo::fault(SIGILL, ILL_ILLTRP, pc),
    }
}
