//! The standard streams. Input and output each have one buffer for the whole process, under a lock. Output is written
//! out at each newline on a terminal, when the buffer is full, and by [`crate::process::exit`]. Errors are unbuffered,
//! but one formatted message is one write as long as it fits in 512 bytes.

use super::{BufRead, Read, Result, Write};
use crate::sync::Mutex;
use crate::{sys, tty};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Size of the output buffer in bytes.
const SIZE: usize = 8192;

struct Input {
    buf: Vec<u8>,
    start: usize,
}

struct Output {
    buf: Vec<u8>,
    by_line: Option<bool>,
}

static INPUT: Mutex<Input> = Mutex::new(Input { buf: Vec::new(), start: 0 });
static OUTPUT: Mutex<Output> = Mutex::new(Output { buf: Vec::new(), by_line: None });

/// Standard input.
#[derive(Clone, Copy, Debug)]
pub struct Stdin;
/// Standard output.
#[derive(Clone, Copy, Debug)]
pub struct Stdout;
/// Standard error.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

/// Standard input.
#[must_use]
pub fn stdin() -> Stdin {
    Stdin
}

/// Standard output.
#[must_use]
pub fn stdout() -> Stdout {
    Stdout
}

/// Standard error.
#[must_use]
pub fn stderr() -> Stderr {
    Stderr
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.start == self.buf.len() {
            self.start = 0;
            self.buf.resize(SIZE, 0);
            let read = sys::read(0, &mut self.buf);
            self.buf.truncate(read.unwrap_or(0));
            read?;
        }
        Ok(&self.buf[self.start..])
    }

    fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.buf.len());
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let buf = self.fill_buf()?;
        let n = buf.len().min(out.len());
        out[..n].copy_from_slice(&buf[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl Read for Stdin {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        INPUT.lock().read(out)
    }
}

impl Stdin {
    /// Appends a line with its newline; 0 is the end.
    ///
    /// # Errors
    /// [`super::ErrorKind::InvalidData`] when it is not UTF-8.
    pub fn read_line(&self, out: &mut String) -> Result<usize> {
        INPUT.lock().read_line(out)
    }
}

impl Output {
    fn flush(&mut self) -> Result<()> {
        let mut rest = self.buf.as_slice();
        let mut result = Ok(());
        while !rest.is_empty() {
            match sys::retry(|| sys::write(1, rest)) {
                Ok(n) => rest = &rest[n..],
                Err(error) => {
                    result = Err(error.into());
                    break;
                }
            }
        }
        self.buf.clear();
        result
    }
}

/// Writes out standard output unless somebody is writing to it: for a panic, which must not wait.
pub(crate) fn flush_if_free() {
    if let Some(mut output) = OUTPUT.try_lock() {
        // The panic is what gets reported.
        let _ = output.flush();
    }
}

impl Write for Stdout {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        let mut output = OUTPUT.lock();
        let by_line = *output.by_line.get_or_insert_with(|| tty::is_terminal(1));
        output.buf.extend_from_slice(buf);
        if output.buf.len() >= SIZE || (by_line && buf.contains(&b'\n')) {
            output.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<()> {
        OUTPUT.lock().flush()
    }
}

impl Write for Stderr {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        Ok(sys::write(2, buf)?)
    }

    fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> Result<()> {
        let mut message = Message { buf: [0; 512], len: 0 };
        // `Message` never reports an error, and a formatter that does has printed what it could.
        let _ = fmt::write(&mut message, args);
        message.send();
        Ok(())
    }
}

/// Collects a message on the stack, so that a panic can report without allocating.
struct Message {
    buf: [u8; 512],
    len: usize,
}

impl Message {
    fn send(&mut self) {
        // Nobody can be told that standard error failed.
        let _ = Stderr.write_all(&self.buf[..self.len]);
        self.len = 0;
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(self.buf.len()) {
            if self.len + piece.len() > self.buf.len() {
                self.send();
            }
            self.buf[self.len..self.len + piece.len()].copy_from_slice(piece);
            self.len += piece.len();
        }
        Ok(())
    }
}
