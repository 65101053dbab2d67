//! Ending requests that wait: by an entry, with the ring, with the process.

use super::{
    Ring,
    operation::{Done, Step, Waits, place_of},
    request::{Outcome, Request},
};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};
use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::{
    borrow::Borrow,
    cmp::Ordering,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use exec::sync::wait_until;
use hal::sync::{SpinLock, rank};
use io::open::OpenFile;

/// Requests that are looked at under the lock at a time.
const AT_ONCE: usize = 64;

/// The requests of a ring that wait, by what comes back with them: a pointer each.
pub(super) struct Requests {
    all: SpinLock<BTreeSet<Listed>>,
    /// Begun so far.
    begun: AtomicU64,
}

/// `user_data`, and a number that no other request of the ring has.
pub(super) type Key = (u64, u64);

/// Where a request is in the table: its key. It changes under the table's lock, while the request is not in it.
pub(super) struct Place {
    user_data: AtomicU64,
    number: u64,
}

impl Place {
    pub(super) fn of((user_data, number): Key) -> Self {
        Self { user_data: AtomicU64::new(user_data), number }
    }

    pub(super) fn key(&self) -> Key {
        // Relaxed: ordered by the table's lock, or a value to show.
        (self.user_data.load(Relaxed), self.number)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A request, at its place.
struct Listed(Arc<Request>);

impl Borrow<Place> for Listed {
    fn borrow(&self) -> &Place {
        &self.0.place
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.0.place == other.0.place
    }
}

impl Eq for Listed {}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.place.cmp(&other.0.place)
    }
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { all: SpinLock::new(rank::PIPE, BTreeSet::new()), begun: AtomicU64::new(0) }
    }

    /// The key of one that begins: behind all with this `user_data`.
    pub(super) fn key(&self, user_data: u64) -> Key {
        // Relaxed: a number.
        (user_data, self.begun.fetch_add(1, Relaxed))
    }

    pub(super) fn insert(&self, request: &Arc<Request>) {
        self.all.lock().insert(Listed(request.clone()));
    }

    pub(super) fn remove(&self, request: &Request) {
        let removed = self.all.lock().take(&request.place);
        // Not under the lock.
        drop(removed);
    }

    /// From now on this comes back with it; `false`: it has ended.
    pub(super) fn rename(&self, request: &Request, user_data: u64) -> bool {
        let mut all = self.all.lock();
        if !request.runs() {
            return false;
        }
        // What was there has a place again.
        if let Some(listed) = all.take(&request.place) {
            request.place.user_data.store(user_data, Relaxed);
            all.insert(listed);
        }
        true
    }

    /// It ends; what comes back with it, which changes no more.
    pub(super) fn decide(&self, request: &Request) -> u64 {
        let _all = self.all.lock();
        request.decide();
        request.user_data()
    }

    /// The next that `is_meant` from `from` on, among some; and where to go on, if there are more.
    fn some(&self, from: Key, is_meant: impl Fn(&Request) -> bool) -> (Vec<Arc<Request>>, Option<Key>) {
        let all = self.all.lock();
        let mut found = Vec::new();
        for (looked, Listed(request)) in all.range(Place::of(from)..).enumerate() {
            if looked == AT_ONCE {
                return (found, Some(request.place.key()));
            }
            if is_meant(request) {
                found.push(request.clone());
            }
        }
        (found, None)
    }

    /// The first that runs with this `user_data` and `is_meant`.
    pub(super) fn first(&self, user_data: u64, is_meant: impl Fn(&Request) -> bool) -> Option<Arc<Request>> {
        let is_meant = |request: &Request| request.user_data() == user_data && request.runs() && is_meant(request);
        let mut next = Some((user_data, 0));
        while let Some(from) = next.filter(|key| key.0 == user_data) {
            let (mut found, more) = self.some(from, is_meant);
            if !found.is_empty() {
                return Some(found.swap_remove(0));
            }
            next = more;
        }
        None
    }

    /// Nobody is left who wants those that `is_meant`.
    pub(super) fn abandon(&self, is_meant: impl Fn(&Request) -> bool) {
        let mut next = Some((0, 0));
        while let Some(from) = next {
            let (found, more) = self.some(from, &is_meant);
            found.iter().for_each(|request| request.abandon());
            next = more;
        }
    }
}

/// `IORING_OP_ASYNC_CANCEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cancel {
    user_data: u64,
    flags: u32,
    fd: i32,
    opcode: u32,
}

impl Cancel {
    pub(super) fn prepare(entry: &Sqe) -> Result<Self, Errno> {
        let &Sqe { addr, op_flags: mut flags, fd, len, .. } = entry;
        if entry.flags & IOSQE_FIXED_FILE != 0 {
            flags |= IORING_ASYNC_CANCEL_FD_FIXED;
        }
        let any_and_some = |flag| flags & IORING_ASYNC_CANCEL_ANY != 0 && flags & flag != 0;
        if entry.off != 0 || entry.file_index != 0 || any_and_some(IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP) {
            return Err(Errno::EINVAL);
        }
        Self::checked(Self { user_data: addr, flags, fd, opcode: len })
    }

    /// The first request of a kind with this `user_data`.
    pub(super) fn of_opcode(user_data: u64, opcode: u8) -> Self {
        let flags = IORING_ASYNC_CANCEL_USERDATA | IORING_ASYNC_CANCEL_OP;
        Self { user_data, flags, fd: -1, opcode: opcode.into() }
    }

    fn checked(self) -> Result<Self, Errno> {
        const KNOWN: u32 = IORING_ASYNC_CANCEL_ALL
            | IORING_ASYNC_CANCEL_FD
            | IORING_ASYNC_CANCEL_ANY
            | IORING_ASYNC_CANCEL_FD_FIXED
            | IORING_ASYNC_CANCEL_USERDATA
            | IORING_ASYNC_CANCEL_OP;
        if self.flags & !KNOWN == 0 { Ok(self) } else { Err(Errno::EINVAL) }
    }

    /// As a call asks for it (`IORING_REGISTER_SYNC_CANCEL`).
    pub(super) fn of_call(asked: &SyncCancel) -> Result<Self, Errno> {
        let &SyncCancel { addr, fd, flags, opcode, .. } = asked;
        if asked.pad != [0; 7] || asked.pad2 != [0; 3] {
            return Err(Errno::EINVAL);
        }
        Self::checked(Self { user_data: addr, flags, fd, opcode: opcode.into() })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether it means all that match, or one.
    fn all(&self) -> bool {
        self.has(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)
    }

    /// By what comes back with it: alone, or beside others.
    fn by_data(&self) -> bool {
        const OTHERS: u32 = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_OP;
        self.has(IORING_ASYNC_CANCEL_USERDATA) || !self.has(OTHERS)
    }

    /// The file whose requests it means: a description, whatever number it has now.
    ///
    /// # Errors
    /// `EBADF`.
    pub(super) fn file(&self, task: &Task<'_>, ring: &Ring) -> Result<Option<Arc<OpenFile>>, Errno> {
        let found =
            self.has(IORING_ASYNC_CANCEL_FD).then(|| ring.file(task, self.fd, self.has(IORING_ASYNC_CANCEL_FD_FIXED)));
        found.transpose()
    }

    fn means(&self, request: &Request, open: Option<&Arc<OpenFile>>) -> bool {
        // A limit of the time of another goes with that.
        let is_meant = !matches!(request.about.opcode, IORING_OP_ASYNC_CANCEL | IORING_OP_LINK_TIMEOUT);
        if !is_meant || !request.runs() {
            return false;
        }
        let fd = open.is_none_or(|open| request.about.file == place_of(open));
        let data = !self.by_data() || request.user_data() == self.user_data;
        let opcode = !self.has(IORING_ASYNC_CANCEL_OP) || u32::from(request.about.opcode) == self.opcode;
        self.has(IORING_ASYNC_CANCEL_ANY) || fd && data && opcode
    }

    /// Where those that may be meant begin, and whether one is beyond them.
    fn range(&self) -> (Key, impl Fn(Key) -> bool + use<>) {
        let (by_data, user_data) = (self.by_data() && !self.has(IORING_ASYNC_CANCEL_ANY), self.user_data);
        (if by_data { (user_data, 0) } else { (0, 0) }, move |key: Key| by_data && key.0 != user_data)
    }

    /// None at all is known at once.
    pub(super) fn run(self, task: &Task<'_>, ring: &Ring) -> Step {
        let open = match self.file(task, ring) {
            Ok(open) => open,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let (from, beyond) = self.range();
        let (found, more) = ring.requests.some(from, |request| self.means(request, open.as_ref()));
        if found.is_empty() && more.is_none_or(beyond) {
            return Step::Done(if self.all() { Done::with(0) } else { Done::failed(Errno::ENOENT) });
        }
        Step::Waits(Waits::Cancel(self, open))
    }

    /// Cancels, and waits for what becomes of it: the answer is what happened. What goes on is waited for `to_its_end`, or is `EALREADY`.
    pub(super) async fn wait(&self, ring: &Ring, open: Option<&Arc<OpenFile>>, to_its_end: bool) -> Done {
        let (from, beyond) = self.range();
        let (mut next, mut marked, mut cancelled) = (Some(from), 0, 0);
        while let Some(from) = next.filter(|_| self.all() || marked == 0) {
            let (mut found, more) = ring.requests.some(from, |request| self.means(request, open));
            if !self.all() {
                found.truncate(1);
            }
            marked += found.len();
            found.iter().for_each(|request| request.cancel());
            for request in found {
                let ended = wait_until(&ring.changed, || {
                    let outcome = request.outcome();
                    let waits = outcome == Outcome::Runs || to_its_end && outcome == Outcome::GoesOn;
                    (!waits).then_some(outcome)
                });
                cancelled += usize::from(ended.await == Outcome::Cancelled);
            }
            next = more.filter(|key| !beyond(*key));
        }
        match (self.all(), marked, cancelled) {
            (true, ..) => Done::with(cancelled as i32),
            (false, 0, _) => Done::failed(Errno::ENOENT),
            (false, _, 0) => Done::failed(Errno::EALREADY),
            (false, ..) => Done::with(0),
        }
    }
}
