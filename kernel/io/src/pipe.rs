//! Pipes: a ring of 16 pages between two ends.
//!
//! Pages come when bytes need them and go when they are read; the first page stays, so that small messages
//! neither allocate nor free. The ring belongs to both ends and lives as long as either.
//!
//! A write of up to [`PIPE_BUF`] bytes is done whole or not at all; a larger one takes what room there is.
//! The end that closes last wins nothing: readers then see end of file, writers `EPIPE`.
//!
//! A splice holds one side, or one of each of two pipes, for the length of one immediate call ([`hold`]).

use crate::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want},
};
use abi::{
    errno::Errno,
    poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT},
};
use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, ops::Range};
use exec::sync::{WaitQueue, wait_until};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    sync::{SpinLock, rank},
};
use mem::{Account, Charge, CopyFault, Sink, Source};

pub mod hold;

/// Writes up to this many bytes are atomic.
pub const PIPE_BUF: usize = 4096;
/// Pages of a pipe.
pub const PAGES: usize = 16;
/// Bytes that a pipe holds.
pub const CAPACITY: usize = PAGES * PAGE_SIZE;
/// A closing, among [`Ring::arrivals`].
const CLOSED: u64 = 1 << 32;

struct Ring {
    pages: [Option<(Frame, Charge)>; PAGES],
    /// How many of them there are besides the first.
    further: usize,
    head: usize,
    len: usize,
    /// Ends that are open.
    readers: usize,
    writers: usize,
    /// Ends that have been opened so far.
    readers_met: u64,
    writers_met: u64,
    /// Writes so far, and closings in the upper half; reads so far.
    arrivals: u64,
    departures: u64,
    /// A splice holds the side: no other takes bytes out, or puts some in.
    reading: bool,
    writing: bool,
}

struct Shared {
    ring: SpinLock<Ring>,
    account: Arc<Account>,
    readable: WaitQueue,
    writable: WaitQueue,
}

/// An end that reads.
pub struct ReadEnd {
    pipe: Arc<Shared>,
    /// The writers that had come when this end was opened and none was there: that they are gone is no news to it.
    stale: Option<u64>,
}

/// An end that writes.
pub struct WriteEnd(Arc<Shared>);

/// A pipe without ends; for named pipes, whose ends come and go.
pub struct Pipe(Arc<Shared>);

/// A new pipe whose pages `account` pays for.
pub fn new(account: &Arc<Account>) -> (Arc<ReadEnd>, Arc<WriteEnd>) {
    let pipe = Pipe::new(account);
    let writer = pipe.writer();
    (pipe.reader(), writer)
}

impl Pipe {
    /// A pipe whose pages `account` pays for.
    pub fn new(account: &Arc<Account>) -> Pipe {
        let ring = Ring {
            pages: [const { None }; PAGES],
            further: 0,
            head: 0,
            len: 0,
            readers: 0,
            writers: 0,
            readers_met: 0,
            writers_met: 0,
            arrivals: 0,
            departures: 0,
            reading: false,
            writing: false,
        };
        Pipe(Arc::new(Shared {
            ring: SpinLock::new(rank::PIPE, ring),
            account: account.clone(),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
        }))
    }

    /// Opens an end that reads.
    pub fn reader(&self) -> Arc<ReadEnd> {
        let mut ring = self.0.ring.lock();
        ring.readers += 1;
        ring.readers_met += 1;
        let stale = (ring.writers == 0).then_some(ring.writers_met);
        drop(ring);
        self.0.writable.wake_all();
        Arc::new(ReadEnd { pipe: self.0.clone(), stale })
    }

    /// Opens an end that writes.
    pub fn writer(&self) -> Arc<WriteEnd> {
        let mut ring = self.0.ring.lock();
        ring.writers += 1;
        ring.writers_met += 1;
        drop(ring);
        self.0.readable.wake_all();
        Arc::new(WriteEnd(self.0.clone()))
    }

    /// Whether anybody could read what is written now.
    pub fn has_reader(&self) -> bool {
        self.0.ring.lock().readers > 0
    }
}

impl ReadEnd {
    /// Resolves when a writer has come since this end was opened, or was there.
    pub async fn met_writer(&self) {
        wait_until(&self.pipe.readable, || {
            let met = self.pipe.ring.lock().writers_met;
            (self.stale != Some(met)).then_some(())
        })
        .await;
    }
}

impl WriteEnd {
    /// Resolves when a reader is there, or has been since `before` readers had come.
    pub async fn met_reader(&self, before: u64) {
        wait_until(&self.0.writable, || {
            let ring = self.0.ring.lock();
            (ring.readers > 0 || ring.readers_met != before).then_some(())
        })
        .await;
    }

    /// How many readers have come so far.
    pub fn readers_met(&self) -> u64 {
        self.0.ring.lock().readers_met
    }
}

impl Ring {
    /// Moves up to `want` bytes out, page by page; stops at a fault, which counts only if nothing moved.
    fn take(&mut self, dst: &mut Sink<'_>) -> Result<usize, CopyFault> {
        let want = dst.remaining().min(self.len);
        let mut done = 0;
        while done < want {
            let (page, offset) = (self.head / PAGE_SIZE, self.head % PAGE_SIZE);
            let part = (want - done).min(PAGE_SIZE - offset);
            let Some((frame, _)) = &self.pages[page] else { break };
            match dst.put_frame(frame, offset, part) {
                Ok(()) => self.advance(part),
                Err(fault) if done == 0 => return Err(fault),
                Err(_) => break,
            }
            done += part;
        }
        Ok(done)
    }

    fn advance(&mut self, part: usize) {
        let page = self.head / PAGE_SIZE;
        self.head = (self.head + part) % CAPACITY;
        self.len -= part;
        if self.writing {
            // Whoever puts bytes in has kept pages behind them.
        } else if self.len == 0 {
            self.rewind();
        } else if self.head / PAGE_SIZE != page && page != 0 && self.len <= CAPACITY - PAGE_SIZE {
            self.drop_pages(page..page + 1);
        }
    }

    /// Without bytes, begins at the first page again.
    fn rewind(&mut self) {
        self.head = 0;
        if self.further > 0 {
            self.drop_pages(1..PAGES);
        }
    }

    /// Gives up pages other than the first.
    #[inline(never)]
    fn drop_pages(&mut self, range: Range<usize>) {
        for page in &mut self.pages[range] {
            if page.take().is_some() {
                self.further -= 1;
            }
        }
    }

    /// Moves up to `want` bytes in.
    fn put(&mut self, account: &Arc<Account>, src: &mut Source<'_>, want: usize) -> Result<usize, PutError> {
        let mut done = 0;
        while done < want {
            let tail = (self.head + self.len) % CAPACITY;
            let (page, offset) = (tail / PAGE_SIZE, tail % PAGE_SIZE);
            let part = (want - done).min(PAGE_SIZE - offset);
            let moved = match self.page(account, page) {
                Ok(frame) => src.take_into_frame(frame, offset, part).map_err(PutError::Fault),
                Err(errno) => Err(PutError::Errno(errno)),
            };
            match moved {
                Ok(()) => self.len += part,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            done += part;
        }
        Ok(done)
    }

    fn page(&mut self, account: &Arc<Account>, page: usize) -> Result<&Frame, Errno> {
        let slot = &mut self.pages[page];
        if slot.is_none() {
            let charge = account.charge(PAGE_SIZE)?;
            *slot = Some((Frame::zeroed().ok_or(Errno::ENOMEM)?, charge));
            self.further += usize::from(page != 0);
        }
        slot.as_ref().map(|(frame, _)| frame).ok_or(Errno::ENOMEM)
    }

    fn read_events(&self, stale: Option<u64>) -> u32 {
        let data = if self.len > 0 { EPOLLIN } else { 0 };
        data | if self.writers > 0 || stale == Some(self.writers_met) { 0 } else { EPOLLHUP }
    }

    fn write_events(&self) -> u32 {
        let room = if CAPACITY - self.len >= PIPE_BUF { EPOLLOUT } else { 0 };
        room | if self.readers > 0 { 0 } else { EPOLLERR }
    }
}

enum PutError {
    Fault(CopyFault),
    Errno(Errno),
}

impl From<PutError> for crate::file::IoError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Fault(fault) => fault.into(),
            PutError::Errno(errno) => errno.into(),
        }
    }
}

impl File for ReadEnd {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        if dst.remaining() == 0 {
            return Ok(Some(0));
        }
        let mut ring = self.pipe.ring.lock();
        if ring.len == 0 || ring.reading {
            return Ok(if ring.writers > 0 || ring.reading { None } else { Some(0) });
        }
        let done = ring.take(dst)?;
        ring.departures += 1;
        drop(ring);
        self.pipe.writable.wake(EPOLLOUT);
        Ok(Some(done))
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.pipe.readable)
    }

    fn read_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.readable)
    }

    fn read_waits(&self) -> bool {
        let ring = self.pipe.ring.lock();
        ring.len == 0 && ring.writers > 0
    }

    fn events(&self) -> u32 {
        self.pipe.ring.lock().read_events(self.stale)
    }

    fn edges(&self) -> u64 {
        self.pipe.ring.lock().arrivals
    }

    fn look(&self, _caller: &Caller) -> (u64, u32) {
        let ring = self.pipe.ring.lock();
        (ring.arrivals, ring.read_events(self.stale))
    }

    fn passed(&self, since: u64, now: u64) -> u32 {
        if (since ^ now) & (CLOSED - 1) == 0 { 0 } else { EPOLLIN }
    }

    fn ioctl<'a>(
        &'a self,
        _caller: &'a Caller,
        space: &'a mem::AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        Box::pin(async move {
            if command != abi::ioctl::FIONREAD {
                return Err(Errno::ENOTTY);
            }
            let len = self.pipe.ring.lock().len as u32;
            space.put(argument, &len).await?;
            Ok(0)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl File for WriteEnd {
    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let want = src.remaining();
        let mut ring = self.0.ring.lock();
        if ring.readers == 0 {
            return Err(Errno::EPIPE.into());
        }
        let room = CAPACITY - ring.len;
        if room == 0 || ring.writing || want <= PIPE_BUF && room < want {
            return Ok(None);
        }
        let done = ring.put(&self.0.account, src, want.min(room))?;
        ring.arrivals += 1;
        drop(ring);
        self.0.readable.wake(EPOLLIN);
        Ok(Some(done))
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.0.writable)
    }

    fn events(&self) -> u32 {
        self.0.ring.lock().write_events()
    }

    fn edges(&self) -> u64 {
        self.0.ring.lock().departures
    }

    fn look(&self, _caller: &Caller) -> (u64, u32) {
        let ring = self.0.ring.lock();
        (ring.departures, ring.write_events())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        let mut ring = self.pipe.ring.lock();
        ring.readers -= 1;
        ring.departures += 1;
        drop(ring);
        self.pipe.writable.wake_all();
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        let mut ring = self.0.ring.lock();
        ring.writers -= 1;
        ring.arrivals = ring.arrivals.wrapping_add(CLOSED);
        drop(ring);
        self.0.readable.wake_all();
    }
}

#[cfg(test)]
mod tests;
