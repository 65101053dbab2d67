//! HTTP/1.1 (RFC 9110, RFC 9112) as far as a server of files needs it, without input or output: bytes in, decisions and
//! bytes out. So it is the same source in the guest's server and in host tests.
//!
//! [`request::parse`] takes what a connection has received so far; everything in a request is hostile until it has
//! passed there. [`range`], [`date`], [`mime`], [`listing`] and [`response`] are the parts of an answer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod date;
pub mod listing;
pub mod mime;
pub mod path;
pub mod range;
pub mod request;
pub mod response;

#[cfg(test)]
mod tests;
