//! Paths, files, and the file systems they lie on.
//!
//! | module | what |
//! |---|---|
//! | [`namespace`] | mounts, and the operations that take paths |
//! | [`walk`] | path resolution |
//! | [`access`] | permission bits |
//! | [`cache`] | the page cache of a file |
//! | [`regular`] | regular files over it |
//! | [`blockdev`] | block devices as files |
//! | [`ext4`] | the file system on disk |
//! | [`tmpfs`] | files in memory |
//! | [`devfs`] | `/dev` |
//! | [`procfs`], [`text`], [`lines`] | `/proc`, generated files |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
mod batch;
pub mod blockdev;
pub mod cache;
mod clock;
pub mod devfs;
pub mod ext4;
mod jobs;
pub mod lines;
pub mod namespace;
pub mod procfs;
pub mod regular;
pub mod text;
pub mod tmpfs;
pub mod walk;
