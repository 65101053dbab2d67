//! What the kernel shows in every process's window (note 0003): one set of pages for all.

use crate::signal::deliver::SIGRETURN_CODE;
use abi::errno::Errno;
use hal::sync::{SpinLock, rank};
use mem::{AddressSpace, FixedPages, Window};

static WINDOW: SpinLock<Option<Window>> = SpinLock::new(rank::ACCOUNT, None);

/// Maps the window into a new space.
pub(crate) fn map(space: &AddressSpace) -> Result<(), Errno> {
    space.map_window(&shared()?)
}

fn shared() -> Result<Window, Errno> {
    if let Some(window) = &*WINDOW.lock() {
        return Ok(window.clone());
    }
    let code = FixedPages::new("[sigreturn]", &SIGRETURN_CODE).ok_or(Errno::ENOMEM)?;
    let frames = hal::sched_image::frames();
    let image = if frames.is_empty() { None } else { Some(FixedPages::of("[sched]", frames) as _) };
    Ok(WINDOW.lock().get_or_insert(Window { image, code }).clone())
}

/// Where the scheduler's image is, for a new program; none in a build without it.
pub(crate) fn image() -> Option<usize> {
    (!hal::sched_image::pages().is_empty()).then_some(abi::window::IMAGE)
}
