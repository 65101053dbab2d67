//! The seam between this crate and the machine: the same names for the real one and for the host's fake.

#[cfg(not(target_os = "none"))]
pub mod fake;
#[cfg(target_os = "none")]
mod real;

#[cfg(not(target_os = "none"))]
pub use fake::*;
#[cfg(target_os = "none")]
pub use real::*;
