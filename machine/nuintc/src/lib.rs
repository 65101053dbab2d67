//! User interrupts by the N extension and the matrix UINTC, as `docs/nuintc.md` describes them.
//!
//! [`registers`] and [`csr`] name what a driver sees. [`matrix`] is the controller and [`hart`] the state that N adds to
//! a hart, both as values without any access to a machine; [`instruction`] takes apart what a hart was about to do. The
//! firmware plays the hardware with them. Nothing here allocates, waits or panics, whatever a program writes.

#![no_std]
#![forbid(unsafe_code)]

pub mod csr;
pub mod hart;
pub mod instruction;
pub mod matrix;
pub mod registers;

#[cfg(test)]
mod tests;
