//! The shell without a system under it: what a command line means ([`lex`], [`parse`]), what its words expand to
//! ([`expand`], [`glob`]), and how a line is edited ([`edit`], [`complete`]). Files, variables and processes come in through
//! traits, so all of it runs and is tested on the host.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod complete;
pub mod edit;
pub mod expand;
pub mod glob;
pub mod lex;
pub mod parse;
mod show;

#[cfg(test)]
mod tests;
