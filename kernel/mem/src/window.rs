//! The window (note 0003): the last pages of user space, which a space has from its making on, and keeps.
//!
//! The scheduler's image and the page that signal handlers return to are the same frames in every space. The status page and the
//! hint page are pages of zeros of each space's own: a copy of the space begins with fresh ones, for what they say is
//! about this one.
//!
//! Edits that a process asks for end below the window; what would change it is `EPERM`.

use crate::{
    backing::{Backing, new_object_id},
    region::{Content, Phase, Region, Role, USER_END},
    space::AddressSpace,
};
use abi::{errno::Errno, window as at};
use alloc::sync::Arc;
use core::ops::Range;
use hal::{PAGE_SIZE, frame::Frame, space::Prot, user::Access};

/// What all spaces have in their windows.
#[derive(Clone)]
pub struct Window {
    /// The scheduler's image; none in a build without it.
    pub image: Option<Arc<dyn Backing>>,
    /// What signal handlers return to.
    pub code: Arc<dyn Backing>,
}

/// Whether an edit of `range` leaves the window alone.
pub(crate) fn spared(range: &Range<usize>) -> Result<(), Errno> {
    if range.end > at::START && range.start < USER_END { Err(Errno::EPERM) } else { Ok(()) }
}

/// `range` without what of it is the window.
pub(crate) fn below(range: Range<usize>) -> Range<usize> {
    range.start.min(at::START)..range.end.min(at::START)
}

/// What `/proc/PID/maps` calls a region of the window that is no object.
pub(crate) fn name(start: usize) -> Option<&'static str> {
    match start {
        at::STATUS => Some("[status]"),
        at::HINT => Some("[hint]"),
        _ => None,
    }
}

impl AddressSpace {
    /// The space's own page at [`STATUS`](at::STATUS) or [`HINT`](at::HINT). It stays there.
    ///
    /// # Errors
    /// `ENOMEM`; `EFAULT` if the space has no window.
    pub async fn window_page(&self, page: usize) -> Result<Frame, Errno> {
        self.fault(page, Access::Read).await?;
        self.state.lock().pages.get(page).map(|(frame, _)| frame).ok_or(Errno::EFAULT)
    }

    /// Maps the window into a space that nobody else knows yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn map_window(&self, window: &Window) -> Result<(), Errno> {
        let code = Prot::READ | Prot::EXEC;
        let mut state = self.state.lock();
        state.admit(&(at::START..USER_END), 4)?;
        let mut put = |start: usize, pages: u64, prot: Prot, content: Content| {
            let (end, stamp) = (start + pages as usize * PAGE_SIZE, new_object_id());
            let (shared, role, phase) = (false, Role::Window, Phase::Live);
            state.regions.insert(start, Region { end, prot, max: prot, shared, content, role, stamp, phase });
        };
        let pages = |backing: &Arc<dyn Backing>| Content::Pages { backing: backing.clone(), first: 0 };
        if let Some(image) = &window.image {
            put(at::IMAGE, image.len_pages().min(at::IMAGE_PAGES as u64), code, pages(image));
        }
        put(at::STATUS, 1, Prot::READ, Content::Zero);
        put(at::HINT, 1, Prot::READ | Prot::WRITE, Content::Zero);
        put(at::RETURN, 1, code, pages(&window.code));
        Ok(())
    }
}
