//! A ring that the kernel shares with this program (io_uring): entries go in, completions come out.
//!
//! What an entry makes the kernel do with memory, it does at any time until the completion: whoever pushes one that
//! names memory answers for that memory. Hence [`Ring::push`] is for entries that name none, and
//! what else there is comes through the owners of buffers.
//!
//! The offsets of the words are the system's, which need not be AsyncOS: `ring`'s are translated.

use crate::io;
use crate::sys::{self, OwnedFd, syscall};
use crate::uintr::Right;
use abi::errno::Errno;
use abi::io_uring::*;
use abi::time::Timespec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use ring::{Layout, Program, Reaper, Submitter, Words};

#[cfg(feature = "raw")]
mod buffers;

#[cfg(feature = "raw")]
pub use buffers::Buffers;
/// Names of the words.
pub use ring::at;

/// One mapping, for as long as this is there.
#[derive(Debug)]
struct Mapping {
    base: usize,
    len: usize,
}

impl Mapping {
    fn new(fd: &OwnedFd, len: usize, offset: u64) -> io::Result<Self> {
        let prot = abi::mm::PROT_READ | abi::mm::PROT_WRITE;
        let flags = abi::mm::MAP_SHARED | abi::mm::MAP_POPULATE;
        Ok(Self { base: syscall!(MMAP, 0, len, prot, flags, fd.raw(), offset)?, len })
    }

    /// Memory of zeros.
    #[cfg(feature = "raw")]
    fn anonymous(len: usize) -> io::Result<Self> {
        let prot = abi::mm::PROT_READ | abi::mm::PROT_WRITE;
        let flags = abi::mm::MAP_PRIVATE | abi::mm::MAP_ANONYMOUS;
        Ok(Self { base: syscall!(MMAP, 0, len, prot, flags, usize::MAX, 0)?, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let args = [self.base, self.len, 0, 0, 0, 0];
        // SAFETY: the mapping is this value's, and nothing that was lent of it outlives the ring.
        let _ = unsafe { sys::call6(abi::nr::MUNMAP, args) };
    }
}

/// The shared memory. The addresses lead into the two mappings.
#[derive(Debug)]
struct Memory {
    words: Mapping,
    entries: Mapping,
    submissions: SqOffsets,
    completions: CqOffsets,
}

impl Memory {
    #[inline(always)]
    fn address(&self, offset: usize) -> usize {
        let (sq, cq) = (&self.submissions, &self.completions);
        let offset = match offset {
            at::SQ_HEAD => sq.head,
            at::SQ_TAIL => sq.tail,
            at::SQ_FLAGS => sq.flags,
            at::SQ_DROPPED => sq.dropped,
            at::CQ_HEAD => cq.head,
            at::CQ_TAIL => cq.tail,
            at::CQ_FLAGS => cq.flags,
            _ => cq.overflow,
        };
        self.words.base + offset as usize
    }
}

/// The word at `address`.
///
/// # Safety
/// It is aligned and mapped as long as `'a`, and nobody touches it but atomically.
#[inline(always)]
unsafe fn word<'a>(address: usize) -> &'a AtomicU32 {
    // SAFETY: the contract.
    unsafe { AtomicU32::from_ptr(address as *mut u32) }
}

impl Words for Memory {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel says where its words are, which is aligned and in the mapping; that is there as long as `self`.
        unsafe { word(self.address(offset)) }
    }

    #[inline(always)]
    fn number(&self, place: u32) -> &AtomicU32 {
        // SAFETY: as above; the array has a number for each place.
        unsafe { word(self.words.base + self.submissions.array as usize + 4 * place as usize) }
    }
}

impl Program for Memory {
    #[inline(always)]
    fn put(&self, index: u32, entry: &Sqe) {
        let place = (self.entries.base as *mut Sqe).wrapping_add(index as usize);
        // SAFETY: `index` is below the number of entries, all of which are mapped; the kernel only reads them, and those that it
        // has given back not even that.
        unsafe { place.write(*entry) };
    }

    #[inline(always)]
    fn completion(&self, index: u32) -> Cqe {
        let first = self.words.base + self.completions.cqes as usize;
        // SAFETY: `index` is below the number of completions, all of which are mapped; the kernel has written this one, as the
        // tail says, and leaves it alone until the head says that it was taken.
        unsafe { (first as *const Cqe).wrapping_add(index as usize).read() }
    }
}

/// A ring.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    memory: Memory,
    submitter: Submitter,
    reaper: Reaper,
    /// Entries that were added and not submitted.
    added: u32,
    features: u32,
}

impl Ring {
    /// A ring for so many entries at a time; `flags` are `IORING_SETUP_*` that change neither sizes nor layout.
    ///
    /// # Errors
    /// `EINVAL` for what the system does not know, `ENOMEM`, `EMFILE`.
    pub fn new(entries: u32, flags: u32) -> io::Result<Self> {
        const UNKNOWN: u32 = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IORING_SETUP_NO_MMAP | IORING_SETUP_NO_SQARRAY;
        if flags & (UNKNOWN | IORING_SETUP_REGISTERED_FD_ONLY | IORING_SETUP_CQSIZE) != 0 {
            return Err(Errno::EINVAL.into());
        }
        Self::of(entries, Params { flags, ..Params::default() })
    }

    fn of(entries: u32, mut params: Params) -> io::Result<Self> {
        let fd = OwnedFd::new(syscall!(IO_URING_SETUP, entries, &raw mut params)?);
        let layout = Layout::new(params.sq_entries, params.cq_entries, true);
        let (submissions, completions) = (params.sq_off, params.cq_off);
        let array_end = submissions.array as usize + params.sq_entries as usize * 4;
        let cqes_end = completions.cqes as usize + params.cq_entries as usize * size_of::<Cqe>();
        let words = Mapping::new(&fd, array_end.max(cqes_end), IORING_OFF_SQ_RING)?;
        let entries = Mapping::new(&fd, layout.entry_bytes(), IORING_OFF_SQES)?;
        let memory = Memory { words, entries, submissions, completions };
        let (submitter, reaper) = (Submitter::new(&layout), Reaper::new(&layout));
        Ok(Self { fd, memory, submitter, reaper, added: 0, features: params.features })
    }

    /// What the system can do with it: `IORING_FEAT_*`.
    #[must_use]
    pub fn features(&self) -> u32 {
        self.features
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Has a vector raised whenever requests complete later than they were submitted: a thread that computes need not look for completions.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM` (no such vector, or not granted), `EBUSY` (somebody is told already).
    pub fn raise(&self, right: &Right, vector: u32) -> io::Result<()> {
        let arguments = sys::pad([self.fd.raw() as usize, right.fd().raw() as usize, vector as usize]);
        // SAFETY: no pointers.
        unsafe { sys::call6(abi::uintr::COMPLETIONS, arguments) }?;
        Ok(())
    }

    /// Adds an entry; `false` when there is no room. It begins with [`submit`](Self::submit).
    ///
    /// # Errors
    /// `EINVAL` if its operation may touch memory.
    #[inline]
    pub fn push(&mut self, entry: &Sqe) -> io::Result<bool> {
        if entry.opcode != IORING_OP_NOP {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.add(entry))
    }

    /// Adds any entry. What it makes the kernel do with memory the caller answers for.
    #[inline]
    pub(crate) fn add(&mut self, entry: &Sqe) -> bool {
        let added = self.submitter.push(&self.memory, entry);
        self.added += u32::from(added);
        added
    }

    /// Submits what was added, and waits until there are so many completions; how many entries were taken.
    ///
    /// # Errors
    /// `EAGAIN` when the system has no place for a completion, `EINTR`.
    #[inline]
    pub fn submit(&mut self, wait_for: u32) -> io::Result<usize> {
        // Who polls the ring says so with another call (`submit_polled`).
        let _ = self.publish();
        let flags = if wait_for > 0 { IORING_ENTER_GETEVENTS } else { 0 };
        let taken = syscall!(IO_URING_ENTER, self.fd.raw(), self.added, wait_for, flags, 0, 0)?;
        self.added -= (taken as u32).min(self.added);
        Ok(taken)
    }

    /// The same for a ring whose entries the kernel takes by itself (`IORING_SETUP_SQPOLL`): without a call, unless it has to be woken or there is
    /// something to wait for.
    ///
    /// # Errors
    /// `EOWNERDEAD` when the process that made it has ended, `EINTR`.
    pub fn submit_polled(&mut self, wait_for: u32) -> io::Result<()> {
        let wakes = if self.publish() { IORING_ENTER_SQ_WAKEUP } else { 0 };
        let waits = if wait_for > 0 { IORING_ENTER_GETEVENTS } else { 0 };
        self.added = 0;
        if wakes | waits != 0 {
            syscall!(IO_URING_ENTER, self.fd.raw(), 0, wait_for, wakes | waits, 0, 0)?;
        }
        Ok(())
    }

    /// Shows the kernel what was added. `true`: it takes entries by itself, and has to be called for these.
    #[inline]
    pub(crate) fn publish(&self) -> bool {
        self.submitter.publish(&self.memory)
    }

    /// How many entries were added in all; it wraps.
    pub(crate) fn tail(&self) -> u32 {
        self.submitter.tail()
    }

    /// How many of them the kernel has not taken.
    pub(crate) fn untaken(&self) -> u32 {
        // Relaxed: a number; `Submitter::push` is what uses the places again.
        self.tail().wrapping_sub(self.memory.word(at::SQ_HEAD).load(Ordering::Relaxed))
    }

    /// Whether it has taken all of the first `tail`.
    pub(crate) fn has_taken(&self, tail: u32) -> bool {
        self.untaken() <= self.tail().wrapping_sub(tail)
    }

    /// Whether there are completions for which there was no room, or which are shown to who asks ([`flush`](Self::flush)).
    pub fn asks_for_a_call(&self) -> bool {
        self.reaper.asks_for_a_call(&self.memory)
    }

    /// Takes the oldest completion.
    #[inline]
    pub fn pop(&mut self) -> Option<Cqe> {
        self.reaper.pop(&self.memory)
    }

    /// Gets completions for which there was no room, or which are shown to who asks.
    ///
    /// # Errors
    /// None that a ring of this program's gives.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.asks_for_a_call() {
            syscall!(IO_URING_ENTER, self.fd.raw(), 0, 0, IORING_ENTER_GETEVENTS, 0, 0)?;
        }
        Ok(())
    }
}

/// The call for the ring behind `fd`, by who lets others use that meanwhile: so many entries are to be taken, and so many completions waited for, for
/// `limit` at most. Moves completions for which there was no room.
pub(crate) fn enter(fd: i32, entries: u32, wait_for: u32, limit: Option<Duration>) -> abi::errno::Result<usize> {
    let flags = if entries == 0 || wait_for > 0 { IORING_ENTER_GETEVENTS } else { 0 };
    let Some(limit) = limit else { return syscall!(IO_URING_ENTER, fd, entries, wait_for, flags, 0, 0) };
    let time = Timespec { sec: limit.as_secs() as i64, nsec: i64::from(limit.subsec_nanos()) };
    let argument = GetEvents { ts: (&raw const time) as u64, ..GetEvents::default() };
    let (flags, size) = (flags | IORING_ENTER_EXT_ARG, size_of::<GetEvents>());
    syscall!(IO_URING_ENTER, fd, entries, wait_for, flags, &raw const argument, size)
}

/// For programs that test the kernel: anything goes in.
#[cfg(feature = "raw")]
impl Ring {
    /// As [`new`](Self::new), with all that can be asked for.
    ///
    /// # Errors
    /// As there.
    pub fn with(entries: u32, params: Params) -> io::Result<Self> {
        Self::of(entries, params)
    }

    /// Shows the kernel what was added, without a call, which counts as submitted. `true`: it has to be called for it (`IORING_ENTER_SQ_WAKEUP`).
    pub fn show(&mut self) -> bool {
        self.added = 0;
        self.publish()
    }

    /// Adds any entry; what it does to memory is the caller's business (see [`crate::raw`]).
    #[inline]
    pub fn push_raw(&mut self, entry: &Sqe) -> bool {
        self.add(entry)
    }

    /// The address of a word (`ring::at`).
    #[must_use]
    pub fn address(&self, offset: usize) -> usize {
        self.memory.address(offset)
    }

    /// The first mapping and the second, the entries: addresses and bytes.
    #[must_use]
    pub fn mappings(&self) -> [(usize, usize); 2] {
        [&self.memory.words, &self.memory.entries].map(|mapping| (mapping.base, mapping.len))
    }

    /// The address of the number of the entry in a place.
    #[must_use]
    pub fn number(&self, place: u32) -> usize {
        core::ptr::from_ref(self.memory.number(place)) as usize
    }
}
