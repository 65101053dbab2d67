//! User memory: who pays for it, what an address means, and how the kernel reaches it.
//!
//! | module | what |
//! |---|---|
//! | [`account`]  | [`Account`], [`Charge`]: quotas in bytes, a tree (D13) |
//! | [`backing`]  | [`Backing`]: pages of files and shared objects |
//! | [`region`]   | the sorted map of regions, placement |
//! | [`space`]    | [`AddressSpace`], payment, TLB shootdown |
//! | [`edit`]     | `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `brk` |
//! | [`fault`]    | page faults (D15) |
//! | [`fork`]     | copy-on-write copies of a space |
//! | [`copy`], [`transfer`] | copies between kernel and user memory |
//! | [`loans`]    | pages that their owner can take back |
//! | `written`    | marking what was stored through shared mappings |
//! | [`reclaim`]  | getting memory back under pressure |
//! | [`room`]     | lists that grow on a user's behalf |
//!
//! Everything that could wait has a `_now` form that does not. Copies and futex words never allocate, except for
//! strings; faults allocate what they install: frames, page tables, a note for each private copy, all paid for.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
pub mod backing;
pub mod copy;
pub mod edit;
pub mod fault;
pub mod fork;
pub mod loans;
pub mod pinned;
pub mod reclaim;
pub mod region;
pub mod report;
pub mod room;
pub mod space;
#[cfg(test)]
mod tests;
pub mod transfer;
pub mod window;
mod written;

pub use account::{Account, Charge};
pub use backing::{Backing, BoxFuture, FixedPages, SharedMemory, new_object_id};
pub use copy::{CopyFault, FutexKey};
pub use edit::{Advice, Mapping, Placement, Remap};
pub use fault::{FaultError, SegvKind};
pub use loans::{Lent, Loan, Loans};
pub use pinned::{Pinned, Unpinned};
pub use region::{Role, USER_END, USER_START};
pub use room::{Room, list};
pub use space::{AddressSpace, Limits};
pub use transfer::{Piece, Sink, Source};
pub use window::Window;
