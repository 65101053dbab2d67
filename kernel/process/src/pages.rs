//! Memory whose pages are there from the beginning, for programs to share: what another party has charged or used up cannot make an access fail.

use abi::errno::Errno;
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use hal::{PAGE_SIZE, frame::Frame};
use mem::{Account, Backing, Charge, list, new_object_id};

/// See the module.
pub(crate) struct Pages {
    id: u64,
    name: &'static str,
    frames: Vec<Frame>,
    _charge: Charge,
}

impl Pages {
    /// So many, all zero, with a name for `/proc/PID/maps`. `account` pays for them, and for so many bytes beside them.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(
        name: &'static str,
        pages: usize,
        beside: usize,
        account: &Arc<Account>,
    ) -> Result<Arc<Self>, Errno> {
        let charge = account.charge(pages * PAGE_SIZE + beside)?;
        let mut frames = list(pages)?;
        for _ in 0..pages {
            frames.push(Frame::zeroed().ok_or(Errno::ENOMEM)?);
        }
        Ok(Arc::new(Self { id: new_object_id(), name, frames, _charge: charge }))
    }

    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

impl Backing for Pages {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        self.frames.get(index as usize).cloned().map(Some).ok_or(Errno::EFAULT)
    }

    fn frame(&self, index: u64) -> mem::BoxFuture<'_, Result<Frame, Errno>> {
        Box::pin(core::future::ready(self.frame_now(index).and_then(|frame| frame.ok_or(Errno::EFAULT))))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn len_pages(&self) -> u64 {
        self.frames.len() as u64
    }

    /// What is mapped is there: a party that was told of more pages than there are learns it here, not by a signal later.
    fn admit(&self, first: u64, pages: u64) -> Result<(), Errno> {
        if first.checked_add(pages).is_some_and(|end| end <= self.len_pages()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> Option<String> {
        Some(String::from(self.name))
    }
}
