//! Objects that a descriptor can refer to, and who asks for them.
//!
//! [`file::File`] is the one interface between the system-call layer and everything that can be read,
//! written or waited for; [`caller::Caller`] says on whose behalf. File systems, sockets, pipes and
//! devices implement the first and take the second. [`inode::Inode`] is what a path leads to,
//! [`open::OpenFile`] what a descriptor number stands for.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod block;
pub mod caller;
pub mod console;
pub mod device;
pub mod epoll;
pub mod event;
pub mod faults;
pub mod fifo;
pub mod file;
pub mod history;
pub mod inode;
pub mod line;
pub mod lock;
pub mod log;
pub mod open;
pub mod pipe;
pub mod ramdisk;
pub mod timer;
pub mod tty;
