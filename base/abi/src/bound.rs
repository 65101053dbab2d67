//! Which calls cannot be made without the thread that makes them (`asyncos::ASYNC`), and why. All others can, and those that are not there answer
//! `ENOSYS` either way.
//!
//! A call that is added can be made so, unless it is added here.

use crate::{
    asyncos::{NAME_RING, SCHED_FOLLOW, SCHED_KICK, SCHED_SETUP, SCHED_WAIT, TAKE},
    channel, nr, uintr,
};

/// Why a call needs its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is about the thread's registers: makes, replaces or ends the thread, or goes back to where it was.
    Registers,
    /// It gives up the hart, or says on which the thread is.
    Hart,
    /// It is about the signals that reach this thread: its mask, its stack for them, a wait in which it takes one. `signalfd` is for who does not wait.
    Signals,
    /// It names memory that is written when this thread ends.
    End,
    /// It is about the thread's place among those that share slots.
    Place,
    /// It is about the thread's user interrupts.
    Interrupts,
    /// It is about rings, one of which is where the call would complete.
    Ring,
    /// It is the form of another that is made by who is there to go on: a read that never waits, a wait with the caller's own bell.
    Form,
}

/// Why call `number` cannot be made without its thread.
#[must_use]
pub const fn of(number: usize) -> Option<Bound> {
    Some(match number {
        nr::CLONE | nr::CLONE3 | nr::EXECVE | nr::EXECVEAT | nr::EXIT | nr::EXIT_GROUP => Bound::Registers,
        nr::RT_SIGRETURN | nr::RESTART_SYSCALL => Bound::Registers,
        nr::SCHED_YIELD | nr::GETCPU => Bound::Hart,
        nr::RT_SIGPROCMASK | nr::RT_SIGSUSPEND | nr::RT_SIGTIMEDWAIT | nr::SIGALTSTACK => Bound::Signals,
        nr::SET_TID_ADDRESS | nr::SET_ROBUST_LIST => Bound::End,
        SCHED_SETUP | SCHED_WAIT | SCHED_KICK | SCHED_FOLLOW => Bound::Place,
        uintr::RECEIVER | uintr::RETURN | uintr::SET_TRAPS | uintr::TIMER | uintr::WAIT => Bound::Interrupts,
        nr::IO_URING_SETUP | nr::IO_URING_ENTER | nr::IO_URING_REGISTER | NAME_RING => Bound::Ring,
        TAKE | channel::RING_CALL => Bound::Form,
        _ => return None,
    })
}
