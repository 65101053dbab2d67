//! The kernel binary.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;
#[cfg(target_os = "none")]
mod card;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod devices;
#[cfg(target_os = "none")]
mod disk;
#[cfg(target_os = "none")]
mod log_sink;
#[cfg(target_os = "none")]
mod startup;

#[cfg(not(target_os = "none"))]
fn main() {}
