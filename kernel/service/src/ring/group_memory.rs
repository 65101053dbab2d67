//! A ring of buffers: entries of 16 bytes in memory that the program fills, its own or the kernel's, which it maps (`IOU_PBUF_RING_MMAP`).
//!
//! The head is the kernel's own. The program stores the tail behind the entries; it is loaded once for each choice, and an entry copied once. Whatever they
//! say, it is memory of the program's, and checked as such when it is used.

use super::groups::Given;
use abi::{errno::Errno, io_uring::Buf};
use alloc::{boxed::Box, string::String, sync::Arc};
use core::sync::atomic::{AtomicU32, Ordering::Acquire};
use hal::{PAGE_SIZE, frame::Frame, stretch::Stretch};
use mem::{Account, Backing, BoxFuture, Charge, Pinned};

/// Where the word lies whose upper half is the tail.
const TAIL: usize = 12;

/// Memory of the kernel's, which lives as long as the group or a mapping.
pub(super) struct OwnMemory {
    id: u64,
    pages: Stretch,
    _charge: Charge,
}

impl OwnMemory {
    /// For so many entries.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(entries: u32, account: &Arc<Account>) -> Result<Arc<Self>, Errno> {
        let pages = (entries as usize * size_of::<Buf>()).div_ceil(PAGE_SIZE);
        let charge = account.charge(pages * (PAGE_SIZE + size_of::<Frame>()) + size_of::<Self>())?;
        let pages = Stretch::zeroed(pages).ok_or(Errno::ENOMEM)?;
        Ok(Arc::new(Self { id: mem::new_object_id(), pages, _charge: charge }))
    }
}

impl Backing for OwnMemory {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        let frame = usize::try_from(index).ok().and_then(|index| self.pages.frames().get(index));
        frame.cloned().map(Some).ok_or(Errno::EFAULT)
    }

    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        let now = self.frame_now(index).and_then(|frame| frame.ok_or(Errno::EIO));
        Box::pin(core::future::ready(now))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn len_pages(&self) -> u64 {
        self.pages.frames().len() as u64
    }

    /// It can be mapped from its beginning, all or a part.
    fn admit(&self, first: u64, pages: u64) -> Result<(), Errno> {
        if first == 0 && pages <= self.len_pages() { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> Option<String> {
        Some(String::from("anon_inode:[io_uring]"))
    }
}

/// Whose it is.
pub(super) enum Memory {
    Program(Pinned),
    Own(Arc<OwnMemory>),
}

impl Memory {
    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        match self {
            Self::Program(memory) => memory.word(offset),
            Self::Own(memory) => Some(memory.pages.word(offset / 4)),
        }
    }

    /// The words of the entry with this number, which is there.
    fn entry(&self, number: usize) -> Option<[u32; 4]> {
        match self {
            Self::Program(memory) => memory.words(number * size_of::<Buf>()),
            Self::Own(memory) => {
                let [first, second]: [u64; 2] = memory.pages.read(number);
                Some([first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32])
            }
        }
    }
}

/// A ring of buffers.
pub(super) struct Shared {
    pub memory: Memory,
    mask: u16,
    pub head: u16,
}

impl Shared {
    /// With so many entries, a power of two below 2^16, which are in that memory.
    pub(super) fn new(memory: Memory, entries: u32) -> Self {
        Self { memory, mask: (entries - 1) as u16, head: 0 }
    }

    pub(super) fn waiting(&self) -> u16 {
        // Acquire: the entries were stored before the tail.
        let tail = self.memory.word(TAIL).map_or(0, |word| (word.load(Acquire) >> 16) as u16);
        tail.wrapping_sub(self.head)
    }

    pub(super) fn take(&mut self) -> Option<Given> {
        if self.waiting() == 0 {
            return None;
        }
        // As `Buf` has them.
        let [low, high, len, bid] = self.memory.entry(usize::from(self.head & self.mask))?;
        self.head = self.head.wrapping_add(1);
        Some(Given { addr: u64::from(high) << 32 | u64::from(low), len, bid: bid as u16 })
    }
}
