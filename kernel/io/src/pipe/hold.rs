//! Moving bytes between a pipe and something else, without losing or mixing up any: what `splice` and `tee` are made of.
//!
//! Who splices holds the side of the pipe for the length of one immediate call; it never waits meanwhile, so a hold is a flag and no lock.
//! The bytes stay in the pipe until they are somewhere else ([`Front::advance`]), and come in only where pages are kept for them
//! ([`Back::keep`]), so what was taken of a stream always has its place.
//!
//! ```text
//! free --ReadEnd::hold, WriteEnd::hold--> held --Drop of Front, Back--> free, wakes who waits
//! ```
//!
//! **Wake-up.** Whoever finds a side held waits in that side's queue as if the pipe were empty, or full: entered, looked, slept. The end of a
//! hold clears the flag under the pipe's lock and wakes both queues behind it. Two pipes are held one behind the other, and neither is waited
//! for while the other is: nobody waits in a circle.

use super::{CAPACITY, ReadEnd, Ring, Shared, WriteEnd};
use crate::{fifo, file::File};
use abi::errno::Errno;
use alloc::sync::Arc;
use hal::{PAGE_SIZE, frame::Frame};
use mem::Source;

/// What came of the attempt to hold a side.
#[must_use]
pub enum Hold<T> {
    /// It is held.
    Held(T),
    /// There is nothing to take, no room, or another holds it.
    Waits,
    /// There is nothing, and nobody writes; or nobody reads.
    Over,
}

/// What came of an attempt to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many, not 0.
    Moved(usize),
    /// None are to come.
    End,
    /// Whoever is read from has none.
    WaitsIn,
    /// Whoever is written to has no room.
    WaitsOut,
}

/// What becomes of the bytes where they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They are gone.
    Taken,
    /// They stay.
    Left,
}

/// The ends that one description has.
pub struct Ends<'a> {
    /// It reads.
    pub read: Option<&'a ReadEnd>,
    /// It writes.
    pub write: Option<&'a WriteEnd>,
}

/// The ends behind a file, if it is a pipe.
#[must_use]
pub fn ends(file: &dyn File) -> Option<Ends<'_>> {
    let any = file.as_any();
    if let Some(end) = any.downcast_ref() {
        return Some(Ends { read: Some(end), write: None });
    }
    if let Some(end) = any.downcast_ref() {
        return Some(Ends { read: None, write: Some(end) });
    }
    let (read, write) = fifo::ends(file)?;
    Some(Ends { read, write })
}

impl Ends<'_> {
    fn pipe(&self) -> Option<&Arc<Shared>> {
        self.read.map(|end| &end.pipe).or(self.write.map(|end| &end.0))
    }

    /// Whether both are of one pipe.
    #[must_use]
    pub fn is_of(&self, other: &Ends<'_>) -> bool {
        self.pipe().zip(other.pipe()).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }
}

/// The side of a pipe where bytes are taken out.
pub struct Front<'a> {
    pipe: &'a Shared,
    moved: bool,
}

impl ReadEnd {
    /// Holds the side.
    pub fn hold(&self) -> Hold<Front<'_>> {
        let mut ring = self.pipe.ring.lock();
        match (ring.reading, ring.len, ring.writers) {
            (true, ..) => Hold::Waits,
            (false, 0, 0) => Hold::Over,
            (false, 0, _) => Hold::Waits,
            (false, ..) => {
                ring.reading = true;
                Hold::Held(Front { pipe: &self.pipe, moved: false })
            }
        }
    }
}

impl Front<'_> {
    /// How many bytes there are, not 0 at first. More may come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pipe.ring.lock().len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the first bytes, of which there are as many; they stay.
    pub fn peek(&self, into: &mut [u8]) {
        let ring = self.pipe.ring.lock();
        let mut done = 0;
        while done < into.len().min(ring.len)
            && let Some((frame, offset, len)) = ring.filled(done)
        {
            let part = len.min(into.len() - done);
            frame.read(offset, &mut into[done..done + part]);
            done += part;
        }
    }

    /// The first `count` bytes are somewhere else now.
    pub fn advance(&mut self, count: usize) {
        let mut ring = self.pipe.ring.lock();
        let mut left = count.min(ring.len);
        while left > 0 {
            let part = left.min(PAGE_SIZE - ring.head % PAGE_SIZE);
            ring.advance(part);
            left -= part;
        }
        ring.departures += 1;
        drop(ring);
        self.moved = true;
    }
}

impl Drop for Front<'_> {
    fn drop(&mut self) {
        self.pipe.ring.lock().reading = false;
        self.pipe.readable.wake_all();
        if self.moved {
            self.pipe.writable.wake_all();
        }
    }
}

/// The side of a pipe where bytes come in.
pub struct Back<'a> {
    pipe: &'a Shared,
    moved: bool,
}

impl WriteEnd {
    /// Holds the side.
    pub fn hold(&self) -> Hold<Back<'_>> {
        let mut ring = self.0.ring.lock();
        if ring.readers == 0 {
            return Hold::Over;
        }
        if ring.writing || ring.len == CAPACITY {
            return Hold::Waits;
        }
        ring.writing = true;
        Hold::Held(Back { pipe: &self.0, moved: false })
    }
}

impl Back<'_> {
    /// Keeps pages for up to `want` bytes; for how many there are some then, not 0 unless nothing is wanted.
    ///
    /// # Errors
    /// `ENOMEM`, the account's.
    pub fn keep(&mut self, want: usize) -> Result<usize, Errno> {
        let mut ring = self.pipe.ring.lock();
        let want = want.min(CAPACITY - ring.len);
        let mut kept = 0;
        while kept < want {
            let tail = (ring.head + ring.len + kept) % CAPACITY;
            match ring.page(&self.pipe.account, tail / PAGE_SIZE) {
                Ok(_) => kept += (want - kept).min(PAGE_SIZE - tail % PAGE_SIZE),
                Err(errno) if kept == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(kept)
    }

    /// Bytes for which pages are kept.
    pub fn put(&mut self, bytes: &[u8]) {
        let done = self.pipe.ring.lock().put(&self.pipe.account, &mut Source::kernel(bytes), bytes.len());
        debug_assert!(done.is_ok_and(|done| done == bytes.len()), "bytes came for which no pages are kept");
        self.came();
    }

    fn came(&mut self) {
        self.pipe.ring.lock().arrivals += 1;
        self.moved = true;
    }

    /// Copies bytes of a page for which room is kept; how many, at most to the end of a page.
    fn put_frame(&mut self, (frame, offset, len): (Frame, usize, usize)) -> usize {
        let mut ring = self.pipe.ring.lock();
        let tail = (ring.head + ring.len) % CAPACITY;
        let Some((to, _)) = &ring.pages[tail / PAGE_SIZE] else { return 0 };
        let part = len.min(PAGE_SIZE - tail % PAGE_SIZE);
        frame.copy_to(offset, to, tail % PAGE_SIZE, part);
        ring.len += part;
        drop(ring);
        self.came();
        part
    }
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let mut ring = self.pipe.ring.lock();
        ring.writing = false;
        if ring.len == 0 {
            ring.rewind();
        }
        drop(ring);
        self.pipe.writable.wake_all();
        if self.moved {
            self.pipe.readable.wake_all();
        }
    }
}

impl Ring {
    /// The frame of the byte that comes `skip` behind the first, where in it, and how many are there in a row.
    fn filled(&self, skip: usize) -> Option<(&Frame, usize, usize)> {
        let at = (self.head + skip) % CAPACITY;
        let len = self.len.checked_sub(skip)?.min(PAGE_SIZE - at % PAGE_SIZE);
        let (frame, _) = self.pages[at / PAGE_SIZE].as_ref()?;
        Some((frame, at % PAGE_SIZE, len))
    }
}

/// Moves or copies up to `want` bytes of one pipe into another, page by page.
///
/// # Errors
/// `EPIPE` if nobody reads that; `ENOMEM`, the account's.
pub fn move_now(from: &ReadEnd, to: &WriteEnd, want: usize, rest: Rest) -> Result<Step, Errno> {
    let mut front = match from.hold() {
        Hold::Held(front) => front,
        Hold::Waits => return Ok(Step::WaitsIn),
        Hold::Over if to.has_no_reader() => return Err(Errno::EPIPE),
        Hold::Over => return Ok(Step::End),
    };
    let mut back = match to.hold() {
        Hold::Held(back) => back,
        Hold::Waits => return Ok(Step::WaitsOut),
        Hold::Over => return Err(Errno::EPIPE),
    };
    let want = back.keep(want.min(front.len()))?;
    let mut done = 0;
    while done < want {
        let skip = if rest == Rest::Left { done } else { 0 };
        // A clone keeps it while this pipe's lock is not held: two of one rank never are.
        let ring = front.pipe.ring.lock();
        let piece = ring.filled(skip).map(|(frame, offset, len)| (frame.clone(), offset, len.min(want - done)));
        drop(ring);
        let Some(piece) = piece else { break };
        let part = back.put_frame(piece);
        if rest == Rest::Taken {
            front.advance(part);
        }
        done += part;
    }
    Ok(Step::Moved(done))
}

impl WriteEnd {
    fn has_no_reader(&self) -> bool {
        self.0.ring.lock().readers == 0
    }
}
