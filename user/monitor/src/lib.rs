//! What runs on the machine, from `/proc`: its lines as values ([`lines`]), all of them at one time ([`sample`]), what happened
//! between two times as rows ([`rows`]), and rows as a screen ([`screen`]). Files come in through [`Files`], so all of it
//! runs and is tested on the host.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod lines;
pub mod rows;
pub mod sample;
pub mod screen;

#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

/// The files of `/proc`.
pub trait Files {
    /// The text of a file, at most this many bytes of it; none if it is gone or cannot be read.
    fn text(&self, path: &str, most: usize) -> Option<String>;

    /// The names in `/proc`.
    fn names(&self) -> Vec<String>;
}
