//! Placeholder of `bench`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]
rt::main!(main);
fn main() {}
