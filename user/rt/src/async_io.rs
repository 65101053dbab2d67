//! What stands before readers and files that tasks use, over the traits of `embedded-io-async`: a buffer, lines, a position.

use crate::async_fs::File;
use crate::io;
use abi::Errno;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use embedded_io_async::{BufRead, ErrorType, Read, Seek, SeekFrom, Write};
use futures_util::stream::{self, Stream};

/// Size of a buffer in bytes.
const SIZE: usize = 8192;

/// A reader with a buffer that can be looked into.
///
/// ```ignore
/// let mut lines = pin!(BufReader::new(async_stdio::Stdin).lines());
/// while let Some(line) = lines.next().await {
///     println!("{}", line?);
/// }
/// ```
#[derive(Debug)]
pub struct BufReader<R> {
    inner: R,
    buf: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read<Error = io::Error>> BufReader<R> {
    /// Puts a buffer before `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, buf: alloc::vec![0; SIZE].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Appends up to and with `delimiter`, or to the end; how much, and 0 is the end. Dropped, it has appended what it has read.
    ///
    /// # Errors
    /// Those of the reader.
    pub async fn read_until(&mut self, delimiter: u8, out: &mut Vec<u8>) -> io::Result<usize> {
        let before = out.len();
        loop {
            let buf = self.fill_buf().await?;
            let at = buf.iter().position(|byte| *byte == delimiter);
            let count = at.map_or(buf.len(), |at| at + 1);
            out.extend_from_slice(&buf[..count]);
            self.consume(count);
            if at.is_some() || count == 0 {
                return Ok(out.len() - before);
            }
        }
    }

    /// The next line, without its newline; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader; [`InvalidData`](io::ErrorKind::InvalidData) when it is not UTF-8.
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        if self.read_until(b'\n', &mut bytes).await? == 0 {
            return Ok(None);
        }
        bytes.pop_if(|last| *last == b'\n');
        io::text(bytes).map(Some)
    }

    /// All lines. Who stops waiting for one loses nothing of it.
    pub fn lines(self) -> impl Stream<Item = io::Result<String>> {
        stream::unfold(self, async |mut reader| {
            let line = reader.next_line().await.transpose()?;
            Some((line, reader))
        })
    }
}

impl<R: ErrorType> ErrorType for BufReader<R> {
    type Error = R::Error;
}

impl<R: Read> Read for BufReader<R> {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, R::Error> {
        if self.start == self.end && out.len() >= self.buf.len() {
            return self.inner.read(out).await;
        }
        let buf = self.fill_buf().await?;
        let count = buf.len().min(out.len());
        out[..count].copy_from_slice(&buf[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for BufReader<R> {
    async fn fill_buf(&mut self) -> Result<&[u8], R::Error> {
        if self.start == self.end {
            // Dropped meanwhile, it has none.
            (self.start, self.end) = (0, 0);
            self.end = self.inner.read(&mut self.buf).await?;
        }
        Ok(&self.buf[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }
}

/// A file with a position: what reads and writes one piece after the other.
#[derive(Debug)]
pub struct Cursor {
    file: File,
    position: u64,
}

impl Cursor {
    /// At the file's beginning.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, position: 0 }
    }

    /// The file.
    #[must_use]
    pub fn into_inner(self) -> File {
        self.file
    }
}

impl ErrorType for Cursor {
    type Error = io::Error;
}

impl Read for Cursor {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_lent(buf, self.position).await?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Dropped, a write may have been done; the position is as before.
impl Write for Cursor {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.file.write_lent(buf, self.position).await?;
        self.position += count as u64;
        Ok(count)
    }

    /// Nothing is kept back here; [`File::sync_all`] is another thing.
    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    async fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            SeekFrom::End(distance) => self.file.metadata().await?.size().checked_add_signed(distance),
        };
        self.position = position.filter(|position| *position <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
        Ok(self.position)
    }
}
