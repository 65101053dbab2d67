//! Objects that a descriptor can refer to, and who asks for them.
//!
//! [`file::File`] is the one interface between the system-call layer and everything that can be read,
//! written or waited for; [`caller::Caller`] says on whose behalf. File systems, sockets, pipes and
//! devices implement the first and take the second.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod caller;
pub mod file;
pub mod inode;
pub mod open;
