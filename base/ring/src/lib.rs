//! The protocol of the memory that a program and the kernel share as rings (D4, io_uring's), both sides of it.
//!
//! ```text
//!   program                                        kernel
//!   put the entry, its number into the array
//!   SQ tail    --- Release / Acquire --->          take: the entry is copied once
//!   may reuse the entry  <--- Release / Acquire    SQ head
//!
//!                                                  put the completion
//!   pop: the completion  <--- Release / Acquire    CQ tail
//!   CQ head    --- Release / Acquire --->          may reuse its place
//! ```
//!
//! **Who owns what.** The program writes the SQ tail, the array, the entries and the CQ head, the kernel the SQ head, the CQ tail, the completions and
//! the flags. But all of it lies in memory that a hostile program writes as it likes. So the kernel's own two indices are private
//! ([`Submissions`], [`Completions`]) and only shown; of the program's two each use loads one once; no value of
//! them does more than make the ring look empty or full, to this program. Sizes are the kernel's, too.
//!
//! **Need-wakeup.** A server that looks into the ring by itself parks when it finds nothing; the program then has to call. Both sides store, fence,
//! and look at what the other stored ([`Submissions::park`], [`Submitter::publish`]): whichever fence comes first, the server sees
//! the entry or the program sees the flag.
//!
//! **Overflow.** No completion is lost. Those for which the program has made no room are kept, in order, and the flag
//! says so; a place for each is reserved before the request begins ([`Completions::reserve`]), so that keeping one cannot fail. When there is
//! no place, the request does not begin: back-pressure.
//!
//! **A request that waits** between two parties of the kernel, who serves it and who cancels it, is [`RequestState`].
//!
//! The words come from [`sync`], so loom explores this source; the memory itself is whatever implements [`Words`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod complete;
mod kept;
mod layout;
mod state;
mod submit;

pub use complete::{Completions, MOST_OUTSTANDING, Reaper};
pub use layout::{Layout, MOST_COMPLETIONS, MOST_ENTRIES};
pub use state::{Outcome, Polled, RequestState};
pub use submit::{Submissions, Submitter, Taken};

use abi::io_uring::{Cqe, Sqe};
use sync::atomic::AtomicU32;

/// Byte offsets of the words that every ring has.
pub mod at {
    /// Of the kernel.
    pub const SQ_HEAD: usize = 0;
    /// Of the program.
    pub const SQ_TAIL: usize = 4;
    /// Of the program.
    pub const CQ_HEAD: usize = 8;
    /// Of the kernel.
    pub const CQ_TAIL: usize = 12;
    /// Constants, for the program.
    pub const SQ_MASK: usize = 16;
    /// As above.
    pub const CQ_MASK: usize = 20;
    /// As above.
    pub const SQ_ENTRIES: usize = 24;
    /// As above.
    pub const CQ_ENTRIES: usize = 28;
    /// Entries whose number was out of range: of the kernel.
    pub const SQ_DROPPED: usize = 32;
    /// `IORING_SQ_*`: of the kernel.
    pub const SQ_FLAGS: usize = 36;
    /// `IORING_CQ_*`: of the program.
    pub const CQ_FLAGS: usize = 40;
    /// Completions lost, which are none: of the kernel.
    pub const CQ_OVERFLOW: usize = 44;
    /// The completions; behind them the array.
    pub const CQES: usize = 64;
}

/// The shared words.
pub trait Words {
    /// One of the words of [`at`].
    fn word(&self, offset: usize) -> &AtomicU32;

    /// A word of the array, where there is one: the number of the entry that is submitted in this place.
    fn number(&self, place: u32) -> &AtomicU32;
}

/// The shared memory as the kernel uses it. Entries and completions are plain memory: the indices say who may touch which.
pub trait Kernel: Words {
    /// Copies an entry. The program may be writing it: then the copy is a mix, of values that this program chose.
    fn entry(&self, index: u32) -> Sqe;

    /// Stores a completion.
    fn complete(&self, index: u32, completion: &Cqe);
}

/// The shared memory as the program uses it.
pub trait Program: Words {
    /// Stores an entry.
    fn put(&self, index: u32, entry: &Sqe);

    /// Copies a completion.
    fn completion(&self, index: u32) -> Cqe;
}
