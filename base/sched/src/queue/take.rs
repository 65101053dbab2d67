//! Taking a task from a queue: by its worker, in several ways for what is common, and by a thief.

use core::ptr::{self, NonNull};

use sync::atomic::Ordering;

use super::{PATIENCE, RunQueue, Taken};
use crate::Priority;
use crate::columns::{fold, priority_of};
use crate::interface::Header;
use crate::lists::Lists;
use crate::policy::{FAIR, fair};
use crate::worker::Publisher;

impl RunQueue {
    /// Takes the first task of the most urgent priority, if that is below `limit`.
    ///
    /// What is about to be taken is published first (see `pool`), and then the inbox is looked at once more, so that a
    /// task pushed meanwhile is either seen here or its pusher sees what was published.
    #[inline(always)]
    pub(crate) fn pop(&self, limit: usize, publisher: Publisher<'_>) -> Option<Taken> {
        if !self.lock.lock_within(PATIENCE) {
            return None;
        }
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        if lists.bits == 0 {
            self.take_single(lists, limit, publisher).or_else(|| self.take_sorted(lists, limit, publisher))
        } else {
            self.take_listed(lists, limit, publisher)
        }
    }

    /// The common case: the lists are empty and one task has come. It is handed on without entering them.
    /// `None`: it is some other case, and nothing is lost. The caller holds the lock.
    #[inline(always)]
    fn take_single(&self, lists: &mut Lists, limit: usize, publisher: Publisher<'_>) -> Option<Taken> {
        // Acquire pairs with the Release of the exchange in `push`.
        let task = NonNull::new(self.inbox.swap(ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: S2, what was in the inbox belongs to the queue and is alive.
        let header = unsafe { task.as_ref() };
        // SAFETY: S2, its link too.
        let is_single = header.link.with(|link| unsafe { (*link).next.is_null() });
        let priority = priority_of(header.standing.slot());
        if is_single && priority.index() < limit {
            publisher.publish(Some(priority));
            // Acquire: as in `settle`; one look at the inbox serves both the publication and the clearing.
            let cleared = self.ready.swap(0, Ordering::Acquire);
            if !self.has_post() {
                if header.standing.policy() == FAIR {
                    fair::serve_alone(header, self, priority);
                }
                return Some((task, priority));
            }
            // As in `settle`.
            self.ready.fetch_or(cleared, Ordering::Relaxed);
        }
        // SAFETY: S2, as above.
        unsafe { lists.append_stack(task.as_ptr()) };
        None
    }

    /// The case that something is in the lists.
    #[inline(never)]
    fn take_listed(&self, lists: &mut Lists, limit: usize, publisher: Publisher<'_>) -> Option<Taken> {
        self.take_head(lists, limit, publisher).or_else(|| self.take_sorted(lists, limit, publisher))
    }

    /// The other common case: nothing has come since the lists were last looked at. `None` as above.
    #[inline(always)]
    fn take_head(&self, lists: &mut Lists, limit: usize, publisher: Publisher<'_>) -> Option<Taken> {
        if !self.is_settled(lists) {
            return None;
        }
        let ready = fold(lists.bits);
        // Most often it is what ran before, and need not be looked for.
        let best = match publisher.held.priority() {
            Some(held) if ready & (held.bits_above() | held.bit()) == held.bit() => held,
            _ => Priority::highest_in(ready)?,
        };
        if best.index() >= limit {
            return None;
        }
        publisher.publish(Some(best));
        if self.has_post() {
            return None;
        }
        self.take_settled(lists, best)
    }

    /// Whether nothing has come since the lists were last looked at. The caller holds the lock.
    #[inline]
    pub(super) fn is_settled(&self, lists: &Lists) -> bool {
        // Relaxed: a bit without a task is cleared in the general case only.
        !self.has_post() && self.ready.load(Ordering::Relaxed) == lists.bits
    }

    /// Takes the first task of a priority from lists that [are settled](Self::is_settled).
    #[inline]
    fn take_settled(&self, lists: &mut Lists, priority: Priority) -> Option<Taken> {
        let before = lists.bits;
        let taken = lists.take(priority);
        if lists.bits != before {
            self.settle(lists);
        }
        taken.map(|task| (task, priority))
    }

    /// The general case of [`pop`](Self::pop). The caller holds the lock.
    #[inline(never)]
    fn take_sorted(&self, lists: &mut Lists, limit: usize, publisher: Publisher<'_>) -> Option<Taken> {
        let best = loop {
            self.drain(lists);
            let best = Priority::highest_in(fold(lists.bits)).filter(|p| p.index() < limit);
            publisher.publish(best);
            if !self.has_post() {
                break best;
            }
        };
        let taken = best.and_then(|priority| lists.take(priority).map(|task| (task, priority)));
        self.settle(lists);
        taken
    }

    /// Takes a task on behalf of another worker: the first stealable one of the most urgent priority.
    /// Does not wait for the lock.
    pub(crate) fn steal(&self) -> Option<Taken> {
        if !self.lock.try_lock() {
            return None;
        }
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        self.drain(lists);
        let best = Priority::highest_in(lists.bits as u32);
        let taken = best.and_then(|priority| lists.take_column(priority.number()).map(|task| (task, priority)));
        self.settle(lists);
        taken
    }

    /// Takes on behalf of another worker, which this bit stands for, a task that is kept among some workers of which it is one,
    /// of a priority from the bitmap `wanted`.
    pub(crate) fn take_kept(&self, bit: u8, wanted: u32) -> Option<Taken> {
        self.find_kept(bit, wanted, |lists, task, slot| {
            // SAFETY: S2, it was found in that slot of these lists, under the lock.
            unsafe { lists.remove(task, slot) };
            (task, priority_of(slot))
        })?
    }

    /// Whether there is such a task, or it cannot be told since somebody is at the queue.
    pub(crate) fn may_have_kept(&self, bit: u8) -> bool {
        self.find_kept(bit, !0, |_, _, _| ()).is_none_or(|found| found.is_some())
    }

    /// Does something with such a task, if there is one. `None`: the lock is not to be had.
    fn find_kept<T>(
        &self,
        bit: u8,
        wanted: u32,
        act: impl FnOnce(&mut Lists, NonNull<Header>, u8) -> T,
    ) -> Option<Option<T>> {
        if !self.lock.lock_within(PATIENCE) {
            return None;
        }
        // SAFETY: taken above.
        let locked = unsafe { self.locked() };
        let lists = &mut *locked.lists;
        if self.is_closed() {
            return Some(None);
        }
        self.drain(lists);
        let found = lists.first_kept(bit, wanted).map(|(task, slot)| act(lists, task, slot));
        self.settle(lists);
        Some(found)
    }
}
