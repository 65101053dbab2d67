//! Buffers around readers and writers, and reading by lines.

use super::{ErrorKind, Read, Result, Write, text};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Default size of a buffer in bytes.
const SIZE: usize = 8192;

/// A reader with a buffer that can be looked into.
pub trait BufRead: Read {
    /// What is buffered, after reading if nothing is; empty at the end.
    ///
    /// # Errors
    /// Those of the reader.
    fn fill_buf(&mut self) -> Result<&[u8]>;

    /// Drops `n` buffered bytes.
    fn consume(&mut self, n: usize);

    /// Appends up to and with `delimiter`, or to the end; 0 is the end.
    ///
    /// # Errors
    /// Those of the reader.
    fn read_until(&mut self, delimiter: u8, out: &mut Vec<u8>) -> Result<usize> {
        let before = out.len();
        loop {
            let buf = match self.fill_buf() {
                Ok(buf) => buf,
                // What was taken would be lost.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let at = buf.iter().position(|&b| b == delimiter);
            let n = at.map_or(buf.len(), |at| at + 1);
            out.extend_from_slice(&buf[..n]);
            self.consume(n);
            if at.is_some() || n == 0 {
                return Ok(out.len() - before);
            }
        }
    }

    /// Appends a line with its newline; 0 is the end.
    ///
    /// # Errors
    /// [`super::ErrorKind::InvalidData`] when it is not UTF-8.
    fn read_line(&mut self, out: &mut String) -> Result<usize> {
        let mut bytes = Vec::new();
        let n = self.read_until(b'\n', &mut bytes)?;
        out.push_str(&text(bytes)?);
        Ok(n)
    }

    /// All lines, without newlines.
    fn lines(self) -> Lines<Self>
    where
        Self: Sized,
    {
        Lines(self)
    }
}

/// Iterator over lines.
#[derive(Debug)]
pub struct Lines<R>(R);

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                if line.ends_with('\n') {
                    line.pop();
                }
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// A reader with a buffer.
#[derive(Debug)]
pub struct BufReader<R> {
    inner: R,
    buf: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> BufReader<R> {
    /// Puts a buffer before `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, buf: alloc::vec![0; SIZE].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl<R: Read> Read for BufReader<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.start == self.end && out.len() >= self.buf.len() {
            return self.inner.read(out);
        }
        let buf = self.fill_buf()?;
        let n = buf.len().min(out.len());
        out[..n].copy_from_slice(&buf[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for BufReader<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.inner.read(&mut self.buf)?;
        }
        Ok(&self.buf[self.start..self.end])
    }

    fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

/// A writer with a buffer, written out when full, on `flush` and when dropped.
#[derive(Debug)]
pub struct BufWriter<W: Write> {
    inner: W,
    buf: Vec<u8>,
}

impl<W: Write> BufWriter<W> {
    /// Puts a buffer before `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, buf: Vec::with_capacity(SIZE) }
    }
}

impl<W: Write> Write for BufWriter<W> {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        if self.buf.len() + buf.len() > SIZE {
            self.flush()?;
        }
        if buf.len() >= SIZE {
            return self.inner.write(buf);
        }
        self.buf.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<()> {
        let result = self.inner.write_all(&self.buf);
        self.buf.clear();
        result?;
        self.inner.flush()
    }
}

impl<W: Write> Drop for BufWriter<W> {
    fn drop(&mut self) {
        // Who wants to know of the error flushes first.
        let _ = self.flush();
    }
}
