//! Pipes for tasks, in the shape of `tokio::net::unix::pipe`: the calls wait in the task, not in the thread.

use crate::fs::File;
use crate::io;
use crate::stream::{Stream, reads, writes};
use crate::sys::{OwnedFd, syscall};
use abi::fs::{O_CLOEXEC, O_NONBLOCK};

/// Makes a pipe; both ends are closed on exec.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let mut ends = [0i32; 2];
    syscall!(PIPE2, ends.as_mut_ptr(), O_CLOEXEC | O_NONBLOCK)?;
    let [read, write] = ends.map(|fd| Stream::pipe(OwnedFd::new(fd as usize)));
    Ok((Sender(write), Receiver(read)))
}

/// An end that was made for threads.
fn end(file: File) -> io::Result<Stream> {
    let fd = OwnedFd::from(file);
    fd.set_nonblocking(true)?;
    Ok(Stream::pipe(fd))
}

/// The writing end.
#[derive(Debug)]
pub struct Sender(Stream);

impl Sender {
    /// The writing end that a file is, as a child's standard input.
    ///
    /// # Errors
    /// `EBADF` only.
    pub fn from_file(file: File) -> io::Result<Self> {
        Ok(Self(end(file)?))
    }

    writes!();
}

/// The reading end.
#[derive(Debug)]
pub struct Receiver(Stream);

impl Receiver {
    /// The reading end that a file is, as a child's standard output.
    ///
    /// # Errors
    /// `EBADF` only.
    pub fn from_file(file: File) -> io::Result<Self> {
        Ok(Self(end(file)?))
    }

    reads!();
}
