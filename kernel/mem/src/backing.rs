//! Where the pages of a mapping come from when they are not private zero pages.
//!
//! [`Backing`] is what files, shared anonymous memory and fixed kernel pages look like from an address
//! space. The space calls it without holding its own lock, so an implementation may take any lock it
//! likes, but it must not wait in the `_now` form.

use crate::account::{Account, Charge};
use crate::loans::{Lent, Loan};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec, vec::Vec};
use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    sync::{SpinLock, rank},
};

/// A boxed future, for operations that really wait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An object made of pages.
pub trait Backing: Send + Sync {
    /// The page `index` if it is in memory; `Ok(None)` if getting it means waiting. Of what lends its pages there is none.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`, ... ; past the end `EFAULT`.
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        let _ = index;
        Err(Errno::EFAULT)
    }

    /// The page `index`, read in if need be.
    ///
    /// # Errors
    /// As [`Backing::frame_now`].
    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        let _ = index;
        Box::pin(core::future::ready(Err(Errno::EFAULT)))
    }

    /// Page `index` may be written through a shared mapping from now on (or was until now).
    fn mark_dirty(&self, index: u64) {
        let _ = index;
    }

    /// Whether its pages come from [`Backing::lend`]. Always the same answer.
    fn lends(&self) -> bool {
        false
    }

    /// Page `index` for a mapping from which it can be taken back: `loan` says which that is, and is noted before the page is looked up
    /// (see [`Loans`](crate::loans::Loans)).
    ///
    /// # Errors
    /// `ENOMEM`; `EFAULT` where there is no page.
    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        let _ = (index, loan);
        Err(Errno::EFAULT)
    }

    /// A program has stored to page `index`, which was lent as [`Lent::Absent`].
    fn knock(&self, index: u64) {
        let _ = index;
    }

    /// Size in pages; a fault beyond is a bus error.
    fn len_pages(&self) -> u64;

    /// Whether these pages may be mapped, whatever is there of them.
    ///
    /// # Errors
    /// What `mmap` answers.
    fn admit(&self, first: u64, pages: u64) -> Result<(), Errno> {
        let _ = (first, pages);
        Ok(())
    }

    /// Never shared with another object (see [`new_object_id`]).
    fn id(&self) -> u64;

    /// What names the memory itself, for who waits for a word of it: where several objects are about the same, all say the same.
    fn memory(&self) -> u64 {
        self.id()
    }

    /// The name that `/proc/PID/maps` shows.
    fn name(&self) -> Option<String> {
        None
    }

    /// Device and number of the file whose pages these are.
    fn file(&self) -> Option<(u64, u64)> {
        None
    }
}

/// A fresh id for a [`Backing`] or an address space; never reused.
#[must_use]
pub fn new_object_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed) // ids order nothing
}

/// What a page of shared memory costs besides the page: its entry in the map.
const NOTE: usize = 96;

/// Shared anonymous memory: zero pages that come into being at their first use and live as long as the object.
///
/// Each page is charged to the account of the creator.
pub struct SharedMemory {
    id: u64,
    pages: u64,
    account: Arc<Account>,
    frames: SpinLock<BTreeMap<u64, (Frame, Charge)>>,
}

impl SharedMemory {
    /// An object of `pages` pages, none of which is there yet.
    #[must_use]
    pub fn new(pages: u64, account: Arc<Account>) -> Arc<Self> {
        let frames = SpinLock::new(rank::SHARED_MEMORY, BTreeMap::new());
        Arc::new(Self { id: new_object_id(), pages, account, frames })
    }
}

impl Backing for SharedMemory {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        if index >= self.pages {
            return Err(Errno::EFAULT);
        }
        if let Some((frame, _)) = self.frames.lock().get(&index) {
            return Ok(Some(frame.clone()));
        }
        let charge = self.account.charge(PAGE_SIZE + NOTE)?;
        let fresh = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        // Another thread may have been faster: the first frame stays.
        let mut frames = self.frames.lock();
        let (frame, _) = frames.entry(index).or_insert((fresh, charge));
        Ok(Some(frame.clone()))
    }

    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        let now = self.frame_now(index).and_then(|frame| frame.ok_or(Errno::EIO));
        Box::pin(core::future::ready(now))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn len_pages(&self) -> u64 {
        self.pages
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> Option<String> {
        Some(String::from("/dev/zero (deleted)"))
    }
}

/// A few kernel pages that every process sees, read-only: the signal-return code, the scheduler's image.
pub struct FixedPages {
    id: u64,
    name: &'static str,
    frames: Vec<Frame>,
}

impl FixedPages {
    /// One page holding `bytes` (at most a page), zeros behind them.
    #[must_use]
    pub fn new(name: &'static str, bytes: &[u8]) -> Option<Arc<Self>> {
        let frame = Frame::zeroed()?;
        frame.write(0, bytes.get(..PAGE_SIZE).unwrap_or(bytes));
        Some(Self::of(name, vec![frame]))
    }

    /// These pages.
    #[must_use]
    pub fn of(name: &'static str, frames: Vec<Frame>) -> Arc<Self> {
        Arc::new(Self { id: new_object_id(), name, frames })
    }
}

impl Backing for FixedPages {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        self.frames.get(index as usize).cloned().map(Some).ok_or(Errno::EFAULT)
    }

    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        let now = self.frame_now(index).and_then(|frame| frame.ok_or(Errno::EIO));
        Box::pin(core::future::ready(now))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn len_pages(&self) -> u64 {
        self.frames.len() as u64
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> Option<String> {
        Some(String::from(self.name))
    }
}
