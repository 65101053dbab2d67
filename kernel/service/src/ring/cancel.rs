//! Ending requests that wait: by an entry, with the ring, with the process.

use super::{
    Ring,
    operation::{Done, Step, place_of},
    request::Request,
    table::{CHAIN, Table},
    waits::Waits,
};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use exec::sync::wait_until;
use hal::sync::{SpinGuard, SpinLock, rank};
use io::open::OpenFile;
use mem::{Account, Charge};
use ring::Outcome;

/// Requests that are looked at under the lock at a time: with the name that is looked for, or at their places.
const NAMED_AT_ONCE: usize = 512;
const AT_ONCE: u32 = 64;
/// Chains of the table, at most.
const CHAINS: usize = 1024;
/// A request that is in no table.
const NOWHERE: u32 = u32::MAX;

/// The requests of a ring that wait, by what comes back with them: a pointer each.
pub(super) struct Requests {
    all: SpinLock<All>,
}

struct All {
    table: Table<Arc<Request>>,
    /// Pays for the table. It is as large as there were requests at a time, until there are none.
    charge: Charge,
}

impl All {
    #[cold]
    fn grow(&mut self) -> Result<(), Errno> {
        self.charge.grow(Table::<Arc<Request>>::BLOCK_BYTES)?;
        self.table.grow().inspect_err(|_| self.charge.shrink(Table::<Arc<Request>>::BLOCK_BYTES))
    }
}

/// Where a request is in the table, and its name there: what comes back with it. Both change under the table's lock only.
pub(super) struct Place {
    user_data: AtomicU64,
    at: AtomicU32,
}

impl Place {
    pub(super) fn new(user_data: u64) -> Self {
        Self { user_data: AtomicU64::new(user_data), at: AtomicU32::new(NOWHERE) }
    }

    pub(super) fn user_data(&self) -> u64 {
        // Relaxed: ordered by the table's lock, or a value to show.
        self.user_data.load(Relaxed)
    }
}

/// Where a search goes on.
#[derive(Clone, Copy)]
enum Search {
    /// Among those with this name.
    Named(u64),
    /// At the places from this on.
    From(u32),
}

impl Requests {
    /// Of a ring with so many places for completions.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(completions: u32, account: &Arc<Account>) -> Result<Self, Errno> {
        let chains = CHAINS.min(completions as usize);
        let charge = account.charge(chains.next_power_of_two() * CHAIN)?;
        Ok(Self { all: SpinLock::new(rank::PIPE, All { table: Table::new(chains)?, charge }) })
    }

    /// # Errors
    /// `ENOMEM`.
    pub(super) fn insert(&self, request: &Arc<Request>) -> Result<(), Errno> {
        let mut all = self.all.lock();
        if all.table.is_full() {
            all.grow()?;
        }
        // Relaxed: ordered by the lock.
        all.table.insert(request.user_data(), request.clone(), |request, at| request.place.at.store(at, Relaxed))
    }

    pub(super) fn remove(&self, request: &Request) {
        let mut all = self.all.lock();
        let removed = all.table.remove(request.place.at.swap(NOWHERE, Relaxed));
        if all.table.has_spare() {
            shrink(all);
        } else {
            drop(all);
        }
        // Not under the lock.
        drop(removed);
    }

    /// From now on this comes back with it; `false`: it has ended.
    pub(super) fn rename(&self, request: &Request, user_data: u64) -> bool {
        let mut all = self.all.lock();
        if !request.state().runs() {
            return false;
        }
        request.place.user_data.store(user_data, Relaxed);
        all.table.rename(request.place.at.load(Relaxed), user_data);
        true
    }

    /// It ends; what comes back with it, which changes no more.
    pub(super) fn decide(&self, request: &Request) -> u64 {
        let _all = self.all.lock();
        request.state().decide();
        request.user_data()
    }

    /// The next that `is_meant`, among some; and where to go on, if there are more. Where very many are in a chain, all are looked through
    /// instead.
    fn some(&self, search: Search, is_meant: impl Fn(&Request) -> bool) -> (Vec<Arc<Request>>, Option<Search>) {
        let all = self.all.lock();
        let mut found = Vec::new();
        let look = |request: &Arc<Request>| {
            if is_meant(request) {
                found.push(request.clone());
            }
        };
        match search {
            Search::From(from) => {
                let more = all.table.from(from, AT_ONCE, look).map(Search::From);
                (found, more)
            }
            Search::Named(user_data) if all.table.named(user_data, NAMED_AT_ONCE, look) => (found, None),
            Search::Named(_) => {
                drop(all);
                // Outside the lock: found again, with the others.
                found.clear();
                (found, Some(Search::From(0)))
            }
        }
    }

    /// The first that runs with this `user_data` and `is_meant`.
    pub(super) fn first(&self, user_data: u64, is_meant: impl Fn(&Request) -> bool) -> Option<Arc<Request>> {
        let is_meant =
            |request: &Request| request.user_data() == user_data && request.state().runs() && is_meant(request);
        let mut next = Some(Search::Named(user_data));
        while let Some(search) = next {
            let (mut found, more) = self.some(search, is_meant);
            if !found.is_empty() {
                return Some(found.swap_remove(0));
            }
            next = more;
        }
        None
    }

    /// Nobody is left who wants those that `is_meant`.
    pub(super) fn abandon(&self, is_meant: impl Fn(&Request) -> bool) {
        let mut next = Some(Search::From(0));
        while let Some(search) = next {
            let (found, more) = self.some(search, &is_meant);
            found.iter().for_each(|request| request.abandon());
            next = more;
        }
    }
}

/// Gives back what the table takes without use. Apart: an end of a request is short without it.
#[cold]
#[inline(never)]
fn shrink(mut all: SpinGuard<'_, All>) {
    let spare = all.table.take_spare();
    if let Some(spare) = &spare {
        all.charge.shrink(spare.len() * Table::<Arc<Request>>::BLOCK_BYTES);
    }
    drop(all);
    // Not under the lock.
    drop(spare);
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
        let fixed = self.has(IORING_ASYNC_CANCEL_FD_FIXED);
        let found = self.has(IORING_ASYNC_CANCEL_FD).then(|| ring.file(task, self.fd, fixed)).transpose()?;
        Ok(found.as_deref().cloned())
    }

    fn means(&self, request: &Request, open: Option<&Arc<OpenFile>>) -> bool {
        // A limit of the time of another goes with that.
        let is_meant = !matches!(request.about.opcode, IORING_OP_ASYNC_CANCEL | IORING_OP_LINK_TIMEOUT);
        if !is_meant || !request.state().runs() {
            return false;
        }
        let fd = open.is_none_or(|open| request.about.file == place_of(open));
        let data = !self.by_data() || request.user_data() == self.user_data;
        let opcode = !self.has(IORING_ASYNC_CANCEL_OP) || u32::from(request.about.opcode) == self.opcode;
        self.has(IORING_ASYNC_CANCEL_ANY) || fd && data && opcode
    }

    /// Where those that may be meant are looked for.
    fn search(&self) -> Search {
        match self.by_data() && !self.has(IORING_ASYNC_CANCEL_ANY) {
            true => Search::Named(self.user_data),
            false => Search::From(0),
        }
    }

    /// None at all is known at once.
    pub(super) fn run(self, task: &Task<'_>, ring: &Ring) -> Step {
        let open = match self.file(task, ring) {
            Ok(open) => open,
            Err(errno) => return Step::Done(Done::failed(errno)),
        };
        let (found, more) = ring.requests.some(self.search(), |request| self.means(request, open.as_ref()));
        if found.is_empty() && more.is_none() {
            return Step::Done(if self.all() { Done::with(0) } else { Done::failed(Errno::ENOENT) });
        }
        Step::Waits(Waits::Cancel(self, open))
    }

    /// Cancels, and waits for what becomes of it: the answer is what happened. What goes on is waited for `to_its_end`, or is `EALREADY`.
    pub(super) async fn wait(&self, ring: &Ring, open: Option<&Arc<OpenFile>>, to_its_end: bool) -> Done {
        let (mut next, mut marked, mut cancelled, mut counted) = (Some(self.search()), 0, 0, false);
        while let Some(search) = next.filter(|_| self.all() || marked == 0) {
            let (mut found, more) = ring.requests.some(search, |request| self.means(request, open));
            if !self.all() {
                found.truncate(1);
            }
            marked += found.len();
            found.iter().for_each(|request| request.cancel());
            for request in found {
                let ended = wait_until(ring.changed(), || {
                    let outcome = request.state().outcome();
                    let waits = outcome == Outcome::Runs || to_its_end && outcome == Outcome::GoesOn;
                    (!waits).then_some(outcome)
                });
                cancelled += usize::from(ended.await == Outcome::Cancelled);
                counted |= request.is_counted();
            }
            next = more;
        }
        match (self.all(), marked, cancelled) {
            (true, ..) => Done::with(cancelled as i32),
            (false, 0, _) => Done::failed(Errno::ENOENT),
            (false, _, 0) => Done::failed(Errno::EALREADY),
            (false, ..) => Done::with(counted.into()),
        }
    }
}
