//! Reading and writing, in the shape of `std::io`: [`Read`], [`Write`], [`BufRead`], buffers, the standard streams.

mod buffered;
mod error;
mod stdio;

pub use buffered::{BufRead, BufReader, BufWriter, Lines};
pub use error::{Error, ErrorKind, Result};
pub(crate) use stdio::flush_if_free;
pub use stdio::{Stderr, Stdin, Stdout, stderr, stdin, stdout};

use crate::sys::retry;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A source of bytes.
pub trait Read {
    /// Reads up to `buf.len()` bytes; 0 is the end.
    ///
    /// # Errors
    /// Those of the source.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize>;

    /// Fills `buf`.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when the source ends before.
    fn read_exact(&mut self, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            match retry(|| self.read(buf))? {
                0 => return Err(Error::new(ErrorKind::UnexpectedEof, "ended too early")),
                n => buf = &mut buf[n..],
            }
        }
        Ok(())
    }

    /// Appends everything up to the end to `out`; returns how much.
    ///
    /// # Errors
    /// Those of the source; [`ErrorKind::OutOfMemory`].
    fn read_to_end(&mut self, out: &mut Vec<u8>) -> Result<usize> {
        let before = out.len();
        let mut chunk = [0u8; 8192];
        loop {
            match retry(|| self.read(&mut chunk))? {
                0 => return Ok(out.len() - before),
                n => {
                    out.try_reserve(n).map_err(|_| Error::from(abi::Errno::ENOMEM))?;
                    out.extend_from_slice(&chunk[..n]);
                }
            }
        }
    }

    /// Appends everything up to the end to `out`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when it is not UTF-8.
    fn read_to_string(&mut self, out: &mut String) -> Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        out.push_str(&text(bytes)?);
        Ok(out.len())
    }
}

/// A sink of bytes.
pub trait Write {
    /// Writes some of `buf`; returns how much.
    ///
    /// # Errors
    /// Those of the sink.
    fn write(&mut self, buf: &[u8]) -> Result<usize>;

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// Those of the sink.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// Those of the sink; [`ErrorKind::WriteZero`] when it takes no more.
    fn write_all(&mut self, mut buf: &[u8]) -> Result<()> {
        while !buf.is_empty() {
            match retry(|| self.write(buf))? {
                0 => return Err(Error::new(ErrorKind::WriteZero, "nothing more can be written")),
                n => buf = &buf[n..],
            }
        }
        Ok(())
    }

    /// Writes formatted text; what `write!` calls.
    ///
    /// # Errors
    /// Those of the sink.
    fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> Result<()> {
        let mut adapter = Adapter { inner: self, error: None };
        match fmt::write(&mut adapter, args) {
            Ok(()) => Ok(()),
            Err(_) => Err(adapter.error.unwrap_or(Error::new(ErrorKind::Other, "formatting failed"))),
        }
    }
}

/// Carries the error that `fmt::Write` cannot.
struct Adapter<'a, W: ?Sized> {
    inner: &'a mut W,
    error: Option<Error>,
}

impl<W: Write + ?Sized> fmt::Write for Adapter<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.inner.write_all(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

impl<R: Read + ?Sized> Read for &mut R {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        (**self).read(buf)
    }
}

impl<R: Read + ?Sized> Read for alloc::boxed::Box<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        (**self).read(buf)
    }
}

impl<W: Write + ?Sized> Write for &mut W {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        (**self).write(buf)
    }
    fn flush(&mut self) -> Result<()> {
        (**self).flush()
    }
}

impl Read for &[u8] {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.len());
        buf[..n].copy_from_slice(&self[..n]);
        *self = &self[n..];
        Ok(n)
    }
}

impl Write for Vec<u8> {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        self.extend_from_slice(buf);
        Ok(buf.len())
    }
}

/// Copies everything from `reader` to `writer`; returns how much.
///
/// # Errors
/// Those of either side.
pub fn copy(reader: &mut (impl Read + ?Sized), writer: &mut (impl Write + ?Sized)) -> Result<u64> {
    let mut buf = alloc::vec![0u8; 64 * 1024];
    let mut total = 0;
    loop {
        match retry(|| reader.read(&mut buf))? {
            0 => return Ok(total),
            n => {
                writer.write_all(&buf[..n])?;
                total += n as u64;
            }
        }
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not valid UTF-8"))
}
