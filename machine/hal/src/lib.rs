//! The safe interface that the kernel is written against.
//!
//! The kernel's policy crates contain no `unsafe` and know no register: pages, page tables, locks, user
//! mode, interrupts and time are values and functions of this crate. On the host the same code runs over
//! the fakes in `arch/fake.rs` (memory is an ordinary allocation, a hart is a thread, user mode is a
//! closure), so that everything above is tested there.
//!
//! | module | what |
//! |---|---|
//! | [`frame`] | physical pages: counted, shared, pinned |
//! | [`part`] | what a device is given of a page |
//! | [`stretch`] | pages side by side, used as one piece and shared one by one |
//! | [`space`] | page tables of a process in one of three worlds; shootdown |
//! | [`guest_file`] | places at which user interrupts arrive by hardware |
//! | [`uintc`] | the controller of user interrupts for the other worlds |
//! | [`user`]  | running user code as a value: enter, get the reason for leaving |
//! | [`hart`]  | this hart, the others, preemption |
//! | [`sync`]  | spin locks with a checked order |
//! | [`record`] | the trace: what happened, on which hart, when |
//! | [`fail`] | failures on demand |
//! | [`time`], [`irq`], [`power`], [`console`] | clock, device interrupts, off, early output |
#![no_std]
#![expect(unsafe_code, reason = "owns physical memory, page tables and hart-local state")]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

mod arch;
mod buddy;

pub mod console;
pub mod fail;
pub mod frame;
pub mod guest_file;
pub mod hart;
#[cfg(target_os = "none")]
pub mod heap;
pub mod irq;
pub mod part;
pub mod power;
pub mod record;
pub mod registers;
pub mod sched_image;
pub mod sizes;
pub mod space;
pub mod stack;
pub mod stretch;
pub mod sync;
pub mod time;
pub mod uintc;
pub mod user;

#[cfg(target_os = "none")]
pub mod backtrace;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
mod kernel_table;
#[cfg(target_os = "none")]
mod trap;

#[cfg(not(target_os = "none"))]
pub use arch::fake;

/// Bytes in a page.
pub const PAGE_SIZE: usize = riscv::sv39::PAGE_SIZE;

/// First address above what a process can map, in every world.
pub const USER_END: usize = 0x40_0000_0000 - PAGE_SIZE;
