//! Pipes for tasks, in the shape of `tokio::net::unix::pipe`: the calls wait in the task, not in the thread.

use crate::io;
use crate::reactor::{AsyncFd, Direction};
use crate::sys::{self, OwnedFd, syscall};
use abi::fs::{O_CLOEXEC, O_NONBLOCK};

/// Makes a pipe; both ends are closed on exec.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let mut ends = [0i32; 2];
    syscall!(PIPE2, ends.as_mut_ptr(), O_CLOEXEC | O_NONBLOCK)?;
    let [read, write] = ends.map(|fd| AsyncFd::new(OwnedFd::new(fd as usize)));
    Ok((Sender(write), Receiver(read)))
}

/// The writing end.
#[derive(Debug)]
pub struct Sender(AsyncFd);

impl Sender {
    /// Writes some of `buf`; returns how much.
    ///
    /// # Errors
    /// `EPIPE` when nobody can read it any more.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.io(Direction::Write, |fd| Ok(sys::write(fd.raw(), buf)?)).await
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let n = self.write(buf).await?;
            buf = &buf[n..];
        }
        Ok(())
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Receiver(AsyncFd);

impl Receiver {
    /// Reads up to `buf.len()` bytes; 0 when all were read and nobody can write any more.
    ///
    /// # Errors
    /// None that the program does not cause.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the writing end is closed before.
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(buf).await
    }
}
