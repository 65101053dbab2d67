//! The pages of a ring, as the kernel and as a mapping sees them.

use abi::{
    errno::Errno,
    io_uring::{Cqe, IORING_OFF_CQ_RING, IORING_OFF_SQ_RING, IORING_OFF_SQES, Sqe},
};
use alloc::{string::String, sync::Arc};
use core::sync::atomic::AtomicU32;
use hal::{PAGE_SIZE, frame::Frame, stretch::Stretch};
use mem::{Account, Backing, BoxFuture, Charge};
use ring::{Kernel, Layout, Words, at};

/// Which run of the pages of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunOf {
    /// Words, completions and the array.
    Ring,
    Entries,
}

impl RunOf {
    /// Where it lies in the file.
    pub(super) fn offset(self) -> u64 {
        match self {
            RunOf::Ring => IORING_OFF_SQ_RING,
            RunOf::Entries => IORING_OFF_SQES,
        }
    }
}

/// Completions lie behind the words as if they were some of them.
const FIRST_CQE: usize = at::CQES / size_of::<Cqe>();
const _: () = assert!(at::CQES.is_multiple_of(size_of::<Cqe>()));

/// Pages of a ring; they live as long as the ring or a mapping.
pub(super) struct Pages {
    id: u64,
    /// Words, completions and the array.
    ring: Stretch,
    entries: Stretch,
    /// The first word of the array.
    array: usize,
    /// As of [`Layout::entry_shift`] and [`Layout::completion_shift`].
    entry_shift: u32,
    completion_shift: u32,
    _charge: Charge,
}

/// How often caches are asked for memory, which lies here and there, before no pages side by side are found.
const RECLAIMS: usize = 64;

/// Pages side by side, also where caches have them.
async fn side_by_side(pages: usize) -> Result<Stretch, Errno> {
    for _ in 0..RECLAIMS {
        if let Some(stretch) = Stretch::zeroed(pages) {
            return Ok(stretch);
        }
        if !mem::reclaim::reclaim().await {
            break;
        }
    }
    Err(Errno::ENOMEM)
}

impl Pages {
    /// Fresh ones, at most 6.2 MiB of them in two pieces.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) async fn new(layout: &Layout, account: &Arc<Account>) -> Result<Arc<Self>, Errno> {
        let (ring, entries) = (layout.ring_bytes().div_ceil(PAGE_SIZE), layout.entry_bytes().div_ceil(PAGE_SIZE));
        let charge = account.charge((ring + entries) * (PAGE_SIZE + size_of::<Frame>()) + size_of::<Self>())?;
        let (ring, entries) = (side_by_side(ring).await?, side_by_side(entries).await?);
        let array = layout.array().unwrap_or(0) / 4;
        let (entry_shift, completion_shift) = (layout.entry_shift(), layout.completion_shift());
        let id = mem::new_object_id();
        let made = Self { id, ring, entries, array, entry_shift, completion_shift, _charge: charge };
        layout.write(&made);
        Ok(Arc::new(made))
    }

    /// Writes a page of a run, but not the words at the head of the ring.
    pub(super) fn fill(&self, run: RunOf, page: usize, content: &[u8]) {
        let (stretch, head) = match run {
            RunOf::Ring if page == 0 => (&self.ring, at::CQES / 8),
            RunOf::Ring => (&self.ring, 0),
            RunOf::Entries => (&self.entries, 0),
        };
        let words = content.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).take(PAGE_SIZE / 8);
        words.enumerate().skip(head).for_each(|(word, value)| stretch.write(page * PAGE_SIZE / 8 + word, [value]));
    }

    /// The run of pages that a page of a mapping is in, and its place there.
    fn run(&self, index: u64) -> Option<(&[Frame], usize)> {
        let first = |offset: u64| offset / PAGE_SIZE as u64;
        let runs = [
            (first(IORING_OFF_SQES), self.entries.frames()),
            (first(IORING_OFF_CQ_RING), self.ring.frames()),
            (first(IORING_OFF_SQ_RING), self.ring.frames()),
        ];
        let (first, run) = runs.into_iter().find(|(first, _)| index >= *first)?;
        Some((run, usize::try_from(index - first).ok()?))
    }
}

impl Words for Pages {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.ring.first_page_word(offset / 4)
    }

    #[inline(always)]
    fn number(&self, place: u32) -> &AtomicU32 {
        self.ring.word(self.array + place as usize)
    }
}

impl Kernel for Pages {
    #[inline(always)]
    fn entry(&self, index: u32) -> Sqe {
        // What a wide one has more is for commands of devices, of which there are none.
        let words: [u64; 8] = self.entries.read((index as usize) << self.entry_shift);
        zerocopy::transmute!(words)
    }

    #[inline(always)]
    fn complete(&self, index: u32, completion: &Cqe) {
        let (words, place): ([u64; 2], _) =
            (zerocopy::transmute!(*completion), FIRST_CQE + ((index as usize) << self.completion_shift));
        self.ring.write(place, words);
        if self.completion_shift > 0 {
            self.ring.write(place + 1, [0u64; 2]);
        }
    }
}

/// The pages of a ring whose entries and completions have the usual size.
pub(super) struct Usual<'a>(pub &'a Pages);

impl Words for Usual<'_> {
    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.word(offset)
    }

    #[inline(always)]
    fn number(&self, place: u32) -> &AtomicU32 {
        self.0.number(place)
    }
}

impl Kernel for Usual<'_> {
    #[inline(always)]
    fn entry(&self, index: u32) -> Sqe {
        let words: [u64; 8] = self.0.entries.read(index as usize);
        zerocopy::transmute!(words)
    }

    #[inline(always)]
    fn complete(&self, index: u32, completion: &Cqe) {
        let words: [u64; 2] = zerocopy::transmute!(*completion);
        self.0.ring.write(FIRST_CQE + index as usize, words);
    }
}

impl Backing for Pages {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        let frame = self.run(index).and_then(|(run, place)| run.get(place));
        frame.cloned().map(Some).ok_or(Errno::EFAULT)
    }

    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        let now = self.frame_now(index).and_then(|frame| frame.ok_or(Errno::EIO));
        alloc::boxed::Box::pin(core::future::ready(now))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn len_pages(&self) -> u64 {
        IORING_OFF_SQES / PAGE_SIZE as u64 + self.entries.frames().len() as u64
    }

    /// Runs can be mapped from their beginning, all or a part.
    fn admit(&self, first: u64, pages: u64) -> Result<(), Errno> {
        match self.run(first) {
            Some((run, 0)) if pages <= run.len() as u64 => Ok(()),
            _ => Err(Errno::ENOMEM),
        }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> Option<String> {
        Some(String::from("anon_inode:[io_uring]"))
    }
}
