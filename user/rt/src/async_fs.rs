//! Files for tasks, in the shape of `tokio-uring`: what may wait for the disk waits in the task, not in the thread. Buffers belong to the operation until it
//! has ended.

use crate::fs::{Metadata, OpenOptions};
use crate::io;
use crate::owned::{self, IoBuf, IoBufMut};
use crate::requests::{self, Request};
use crate::sys::{self, OwnedFd, c_string};
use ::task::Wait;
use abi::errno::{Errno, Result};
use abi::fs::{AT_FDCWD, AT_REMOVEDIR};
use abi::io_uring::*;
use alloc::ffi::CString;
use alloc::sync::Arc;

/// The most that a request moves.
const MOST: usize = 1 << 30;
/// The most that is copied from, or to, a buffer that is lent.
const LENT: usize = 128 << 10;
/// `IORING_OP_FSYNC`: the data only.
const DATA: u32 = IORING_FSYNC_DATASYNC;

/// An open file. There is no position: each operation says where.
#[derive(Debug)]
pub struct File(Arc<OwnedFd>);

impl From<crate::fs::File> for File {
    fn from(file: crate::fs::File) -> Self {
        Self(Arc::new(file.into()))
    }
}

impl File {
    /// Opens for reading.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, ...
    pub async fn open(path: &str) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true), path).await
    }

    /// Opens for writing; the file is made, or emptied.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, `EISDIR`, `ENOSPC`, ...
    pub async fn create(path: &str) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().write(true).create(true).truncate(true), path).await
    }

    /// Opens as the options say.
    ///
    /// # Errors
    /// As for [`OpenOptions::open`].
    pub async fn open_with(options: OpenOptions, path: &str) -> io::Result<Self> {
        let (path, (op_flags, len)) = (c_string(path)?, options.numbers());
        let addr = path.as_ptr() as u64;
        let entry = Sqe { opcode: IORING_OP_OPENAT, fd: AT_FDCWD, addr, len, op_flags, ..Sqe::default() };
        // SAFETY: the text lies apart from its owner, and is only read.
        let (opened, _) = unsafe { Request::new(entry, Wait::Read, None, path) }.opens().await;
        Ok(Self(Arc::new(OwnedFd::new(opened?))))
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    async fn read_from<B: IoBufMut>(&self, mut buf: B, from: usize, offset: u64) -> (Result<usize>, B) {
        let (start, len) = buf.room();
        let (start, len) = (start.wrapping_add(from), len.saturating_sub(from).min(MOST));
        if !requests::gather() {
            // SAFETY: the room is the buffer's, and nobody else's.
            match unsafe { sys::take_at(self.0.raw(), start, len, offset) } {
                Err(Errno::EAGAIN) => {}
                taken => return (taken, buf),
            }
        }
        self.request_read(buf, from, offset).await
    }

    async fn request_read<B: IoBufMut>(&self, mut buf: B, from: usize, offset: u64) -> (Result<usize>, B) {
        let (start, len) = buf.room();
        let (addr, len) = (start.wrapping_add(from) as u64, len.saturating_sub(from).min(MOST) as u32);
        let entry = Sqe { opcode: IORING_OP_READ, addr, len, off: offset, ..Sqe::default() };
        // SAFETY: the room is the buffer's, does not move with it, and nobody else touches it.
        unsafe { Request::new(entry, Wait::Read, Some(&self.0), buf) }.await
    }

    /// Reads into a buffer that is lent: what is in memory by the call, else through a buffer of the request's.
    pub(crate) async fn read_lent(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // SAFETY: the buffer is borrowed.
        match unsafe { sys::take_at(self.0.raw(), buf.as_mut_ptr(), buf.len(), offset) } {
            Err(Errno::EAGAIN) => {}
            taken => return Ok(taken?),
        }
        let room = alloc::vec![0; buf.len().min(LENT)].into_boxed_slice();
        let (read, bytes) = self.request_read(room, 0, offset).await;
        let count = read?;
        buf[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Writes from a buffer that is lent, through one of the request's.
    pub(crate) async fn write_lent(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(buf[..buf.len().min(LENT)].to_vec(), offset).await.0
    }

    /// Reads at `offset` into the room of `buf`; 0 is the end.
    ///
    /// # Errors
    /// `EIO`, `EISDIR`; the buffer comes back.
    pub async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        let (read, mut buf) = self.read_from(buf, 0, offset).await;
        // SAFETY: so many were written.
        unsafe { buf.set_len(read.unwrap_or(0)) };
        (read.map_err(Into::into), buf)
    }

    /// Fills the room of `buf` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before; the buffer comes back with what was read.
    pub async fn read_exact_at<B: IoBufMut>(&self, buf: B, offset: u64) -> (io::Result<()>, B) {
        owned::read_exact(buf, "ended too early", |buf, from| self.read_from(buf, from, offset + from as u64)).await
    }

    async fn write_from<B: IoBuf>(&self, buf: B, from: usize, offset: u64) -> (Result<usize>, B) {
        let bytes = buf.bytes().get(from..).unwrap_or_default();
        let (addr, len) = (bytes.as_ptr() as u64, bytes.len().min(MOST) as u32);
        let entry = Sqe { opcode: IORING_OP_WRITE, addr, len, off: offset, ..Sqe::default() };
        // SAFETY: the bytes are the buffer's, do not move with it, and nobody writes to them.
        unsafe { Request::new(entry, Wait::Write, Some(&self.0), buf) }.await
    }

    /// Writes some of `buf` at `offset`; returns how much.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`; the buffer comes back.
    pub async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        let (written, buf) = self.write_from(buf, 0, offset).await;
        (written.map_err(Into::into), buf)
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// As for [`write_at`](Self::write_at).
    pub async fn write_all_at<B: IoBuf>(&self, buf: B, offset: u64) -> (io::Result<()>, B) {
        owned::write_all(buf, |buf, from| self.write_from(buf, from, offset + from as u64)).await
    }

    /// An operation that touches no memory.
    async fn plain(&self, entry: Sqe) -> io::Result<()> {
        // SAFETY: as it says.
        let (done, ()) = unsafe { Request::new(entry, Wait::Write, Some(&self.0), ()) }.await;
        Ok(done.map(drop)?)
    }

    /// Writes what is cached of the file to its disk.
    ///
    /// # Errors
    /// `EIO`.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.plain(Sqe { opcode: IORING_OP_FSYNC, ..Sqe::default() }).await
    }

    /// The same, without what nobody needs in order to read it.
    ///
    /// # Errors
    /// `EIO`.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.plain(Sqe { opcode: IORING_OP_FSYNC, op_flags: DATA, ..Sqe::default() }).await
    }

    /// Makes the file `len` bytes long.
    ///
    /// # Errors
    /// `EINVAL`, `ENOSPC`.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        self.plain(Sqe { opcode: IORING_OP_FTRUNCATE, off: len, ..Sqe::default() }).await
    }

    /// What is known of the file. Of one that is open that is in memory.
    ///
    /// # Errors
    /// `EIO`.
    #[expect(clippy::unused_async, reason = "as all of them: where it is not in memory, it would wait")]
    pub async fn metadata(&self) -> io::Result<Metadata> {
        crate::fs::metadata_of(&self.0)
    }
}

/// An operation on two paths, of which the second may be missing.
async fn paths(entry: Sqe, first: &str, second: Option<&str>) -> io::Result<()> {
    let texts: [CString; 2] = [c_string(first)?, c_string(second.unwrap_or_default())?];
    let off = second.map_or(entry.off, |_| texts[1].as_ptr() as u64);
    let entry = Sqe { fd: AT_FDCWD, addr: texts[0].as_ptr() as u64, off, ..entry };
    // SAFETY: the texts lie apart from their owners, and are only read.
    let (done, _) = unsafe { Request::new(entry, Wait::Write, None, texts) }.await;
    Ok(done.map(drop)?)
}

/// Removes a file.
///
/// # Errors
/// `ENOENT`, `EACCES`, `EISDIR`.
pub async fn remove_file(path: &str) -> io::Result<()> {
    paths(Sqe { opcode: IORING_OP_UNLINKAT, ..Sqe::default() }, path, None).await
}

/// Removes an empty directory.
///
/// # Errors
/// `ENOENT`, `ENOTEMPTY`, `EACCES`.
pub async fn remove_dir(path: &str) -> io::Result<()> {
    paths(Sqe { opcode: IORING_OP_UNLINKAT, op_flags: AT_REMOVEDIR, ..Sqe::default() }, path, None).await
}

/// Makes a directory.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EACCES`, `ENOSPC`.
pub async fn create_dir(path: &str) -> io::Result<()> {
    paths(Sqe { opcode: IORING_OP_MKDIRAT, len: 0o777, ..Sqe::default() }, path, None).await
}

/// Gives a file another name; what has that is replaced.
///
/// # Errors
/// `ENOENT`, `EACCES`, `EXDEV`, ...
pub async fn rename(from: &str, to: &str) -> io::Result<()> {
    let len = AT_FDCWD.cast_unsigned();
    paths(Sqe { opcode: IORING_OP_RENAMEAT, len, ..Sqe::default() }, from, Some(to)).await
}
