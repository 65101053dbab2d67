//! Rings that a thread names by a place of its own instead of a descriptor (`IORING_REGISTER_RING_FDS`).
//!
//! A place holds the ring's description, whatever becomes of the descriptor. They end with the thread, and when it runs another program.

use crate::thread::Thread;
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::Range;
use hal::sync::{SpinLock, rank};
use io::open::OpenFile;
use mem::{Charge, Room};

/// Places of a thread, as many as in Linux (`IO_RINGFD_REG_MAX`).
pub const PLACES: usize = 16;

/// Places of one thread.
struct Places {
    tid: u32,
    rings: [Option<Arc<OpenFile>>; PLACES],
    _charge: Charge,
}

/// The places of a process's threads that have taken one, in the order of their ids. A thread itself has no room to spare ([`footprint`](crate::footprint)).
pub(crate) struct RegisteredRings(SpinLock<List>);

type List = Vec<Box<Places>>;

impl RegisteredRings {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(rank::THREAD, Vec::new()))
    }

    /// Empties those of all threads.
    pub(crate) fn clear(&self) {
        let all = core::mem::take(&mut *self.0.lock());
        // Not under the lock.
        drop(all);
    }
}

fn find(all: &[Box<Places>], tid: u32) -> Result<usize, usize> {
    all.binary_search_by_key(&tid, |places| places.tid)
}

impl Thread {
    /// The ring that it has registered in a place.
    ///
    /// # Errors
    /// `EINVAL` for a place that is none, `EBADF` for one that is empty; on Linux the former also from a thread that has used no ring at all.
    pub fn registered_ring(&self, place: usize) -> Result<Arc<OpenFile>, Errno> {
        if place >= PLACES {
            return Err(Errno::EINVAL);
        }
        let all = self.process().rings.0.lock();
        let found = find(&all, self.tid()).ok().and_then(|at| all[at].rings[place].clone());
        found.ok_or(Errno::EBADF)
    }

    /// Registers a ring in the first of these places that is free; which.
    ///
    /// # Errors
    /// `EBUSY`: none is; `ENOMEM`.
    pub fn register_ring(&self, range: Range<usize>, ring: Arc<OpenFile>) -> Result<usize, Errno> {
        let has_some = find(&self.process().rings.0.lock(), self.tid()).is_ok();
        let mut made = if has_some { None } else { Some(Places::paid(self)?) };
        let mut ring = Some(ring);
        let mut all = self.process().rings.0.lock();
        // Calls that nobody waits for may have changed that meanwhile.
        let at = match (find(&all, self.tid()), &made) {
            (Ok(at), _) => Ok(at),
            (Err(_), None) => Err(Errno::ENOMEM),
            (Err(at), Some(_)) => all.make_room(1).map(|()| {
                all.extend(made.take());
                all[at..].rotate_right(1);
                at
            }),
        };
        let place = at.and_then(|at| {
            let places = &mut all[at];
            let place = places.free_in(range).ok_or(Errno::EBUSY)?;
            places.rings[place] = ring.take();
            Ok(place)
        });
        drop(all);
        // What is left of these is not to go under the lock.
        drop((made, ring));
        place
    }

    /// Empties a place; what was there is to go under no lock.
    #[must_use]
    pub fn take_registered_ring(&self, place: usize) -> Option<Arc<OpenFile>> {
        let mut all = self.process().rings.0.lock();
        let at = find(&all, self.tid()).ok()?;
        all[at].rings.get_mut(place)?.take()
    }

    /// Empties all of them.
    pub(crate) fn end_registered_rings(&self) {
        let mut all = self.process().rings.0.lock();
        let gone = find(&all, self.tid()).ok().map(|at| all.remove(at));
        // The last does not leave the list's room behind.
        let room = if all.is_empty() { core::mem::take(&mut *all) } else { Vec::new() };
        drop(all);
        // Not under the lock.
        drop((gone, room));
    }
}

impl Places {
    fn free_in(&self, mut range: Range<usize>) -> Option<usize> {
        range.find(|place| self.rings.get(*place).is_some_and(Option::is_none))
    }

    fn paid(thread: &Thread) -> Result<Box<Self>, Errno> {
        let charge = thread.process().account().charge(size_of::<Self>() + 32)?;
        Ok(Box::new(Self { tid: thread.tid(), rings: [const { None }; PLACES], _charge: charge }))
    }
}
