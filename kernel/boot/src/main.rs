//! The kernel binary. Built for the machine only; everything it composes is tested on the host.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod card;
mod command_line;
mod console;
mod devices;
mod disk;
mod first_process;
mod grantable;
mod log_sink;
mod proc_files;
mod serial;
mod startup;
mod tree;
