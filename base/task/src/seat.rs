//! A place in the queue of something shared, which is kept with it.

use alloc::sync::Arc;
use sync::wait::{Contender, Seat, WaitLock, WaitQueue};

/// A place in the queue that `find` finds in `owner`, outside it for now; `None` if it finds none.
pub fn seat<T: ?Sized, L: WaitLock, C: Contender>(
    owner: Arc<T>,
    find: impl for<'a> FnOnce(&'a T) -> Option<&'a WaitQueue<L, C>>,
) -> Option<Seat<Arc<T>, L, C>> {
    // SAFETY: what an `Arc` points to stays where it is and is shared, wherever the `Arc` is moved: it is inside the seat, where nobody gets
    // at it but to look or to clone it.
    unsafe { Seat::new(owner, find) }
}
