//! Slots: how the kernel moves the right to run a worker of a process's pool between the process's threads (note 0003,
//! section 5).
//!
//! A slot is the right to run one worker; a thread has at most one. Each thread that takes part has a *place*, a number of the
//! process's choosing. [`Book`] is the kernel's side: who has which slot, who waits for one; under a lock of the kernel's (`book`, and
//! `preempted` for those that go on without one). [`Seat`] is a thread's side, over one word of the process's hint page and two of its
//! status page (`seat`):
//!
//! ```text
//!   thread                                    kernel, for the same thread: it has left user mode
//!   end_poll:  count += 1     (odd)
//!              owner == me ?  go on : wait    count odd, it is in the scheduler: leave the slot
//!   ... take a task ...                       else: owner = a spare thread, wake that
//!   begin_poll: count += 1    (even)
//!               kicked ? call the kernel      (a kick that found the count odd stays in `kicked`)
//!   ... poll ...
//! ```
//!
//! **Why nothing is lost, and no worker has two threads.** The kernel takes a slot from a thread only in that thread's own
//! coroutine, so never between two lines on the left; or while the thread waits in the kernel for a slot. A thread that sees
//! itself as the owner with an odd count therefore keeps the slot until the count is even. A kick stores `kicked` first and then
//! makes the thread leave user mode: if that finds the count odd, the thread sees `kicked` when it has made it even; if it finds it even, the
//! slot moves at once. A thread that waits is given a slot, or woken, under the lock that it looked under before it
//! waited.
//!
//! The count tells more than a flag: a kernel that sees the same even number twice knows that one poll has lasted so long (`lasting`).

mod book;
mod lasting;
mod preempted;
mod seat;

pub use book::{Book, Do, Wait};
pub use lasting::Lasting;
pub use seat::{NOBODY, Seat, Shown, polls};

/// The most slots a process can have.
pub const MAX_SLOTS: usize = 8;
/// The most threads that can take part.
pub const MAX_PLACES: usize = 64;
/// So many are kept for what is urgent: with no more left, nobody is preempted by time for its equals, and a worker's thread begins
/// nothing that is no more urgent than all that was preempted (see [`Book::few`]).
pub const KEPT: u32 = 16;

#[cfg(all(test, not(loom)))]
mod tests;
