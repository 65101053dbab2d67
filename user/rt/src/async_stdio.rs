//! The standard streams for tasks: what waits for a terminal or a pipe waits in the task. Nothing is buffered here, and buffers belong to the
//! operation until it has ended.

use crate::io;
use crate::owned::{self, IoBuf, IoBufMut};
use crate::requests::Request;
use ::task::Wait;
use abi::errno::Result;
use abi::io_uring::{IORING_OP_READ, IORING_OP_WRITE, Sqe};

/// Where a file has a position, that.
const AT_POSITION: u64 = u64::MAX;

/// Reads from standard input what there is, or waits; 0 is the end. Not to be mixed with [`crate::io::stdin`], which has a buffer.
///
/// # Errors
/// `EIO`, `EBADF`; the buffer comes back.
pub async fn read<B: IoBufMut>(mut buf: B) -> (io::Result<usize>, B) {
    let (start, len) = buf.room();
    let (addr, len) = (start as u64, len.min(1 << 30) as u32);
    let entry = Sqe { opcode: IORING_OP_READ, fd: 0, addr, len, off: AT_POSITION, ..Sqe::default() };
    // SAFETY: the room is the buffer's, does not move with it, and nobody else touches it.
    let (read, mut buf) = unsafe { Request::new(entry, Wait::Read, None, buf) }.await;
    // SAFETY: so many were written.
    unsafe { buf.set_len(read.unwrap_or(0)) };
    (read.map_err(Into::into), buf)
}

async fn write_from<B: IoBuf>(fd: i32, buf: B, from: usize) -> (Result<usize>, B) {
    let bytes = buf.bytes().get(from..).unwrap_or_default();
    let (addr, len) = (bytes.as_ptr() as u64, bytes.len().min(1 << 30) as u32);
    let entry = Sqe { opcode: IORING_OP_WRITE, fd, addr, len, off: AT_POSITION, ..Sqe::default() };
    // SAFETY: the bytes are the buffer's, do not move with it, and nobody writes to them.
    unsafe { Request::new(entry, Wait::Write, None, buf) }.await
}

async fn write_all_to<B: IoBuf>(fd: i32, buf: B) -> (io::Result<()>, B) {
    owned::write_all(buf, |buf, from| write_from(fd, buf, from)).await
}

/// Writes all of `buf` to standard output, behind what was printed and flushed.
///
/// # Errors
/// `EPIPE`, `EIO`; the buffer comes back.
pub async fn write_all<B: IoBuf>(buf: B) -> (io::Result<()>, B) {
    write_all_to(1, buf).await
}

/// Writes all of `buf` to standard error.
///
/// # Errors
/// As for [`write_all`].
pub async fn write_all_error<B: IoBuf>(buf: B) -> (io::Result<()>, B) {
    write_all_to(2, buf).await
}

/// Standard input as a reader of `embedded-io-async`; put [`BufReader`](crate::async_io::BufReader) before it. What comes between a read that is dropped and
/// its cancellation is lost.
#[derive(Debug)]
pub struct Stdin;

/// Standard output as a writer of `embedded-io-async`.
#[derive(Debug)]
pub struct Stdout;

/// Standard error, likewise.
#[derive(Debug)]
pub struct Stderr;

/// The most that is copied from, or to, a buffer that is lent.
const LENT: usize = 64 << 10;

impl Stdin {
    pub(crate) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (count, bytes) = read(alloc::vec![0; buf.len().min(LENT)].into_boxed_slice()).await;
        let count = count?;
        buf[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}

async fn write_lent(fd: i32, buf: &[u8]) -> io::Result<usize> {
    Ok(write_from(fd, buf[..buf.len().min(LENT)].to_vec(), 0).await.0?)
}

impl Stdout {
    pub(crate) async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        write_lent(1, buf).await
    }
}

impl Stderr {
    pub(crate) async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        write_lent(2, buf).await
    }
}
