//! Address spaces: regions, page tables, and who pays.
//!
//! **Locks.** `state` is a short spin lock, never held across an await and never while a [`Backing`] is called.
//! `editing` is an asynchronous lock that serialises everything that changes regions (map, unmap, protect,
//! remap, brk, fork), so that those can work in bounded steps; page faults and copies take only `state`.
//!
//! **Taking pages away.** A page leaves the tables under `state`, goes onto `retired` together with its
//! TLB shootdown, and is dropped once every hart that may still see it has left user mode. The
//! list belongs to the space, not to the future that waits, so a cancelled caller cannot free a page early.
//!
//! **Paying.** A page that only this space has (zero pages, private copies) is charged to the account
//! while it is mapped, to every space that maps it: a copy-on-write fault can then never fail
//! for lack of quota. Page-table frames are charged too. Pages of a [`Backing`] are its owner's.
//!
//! [`Backing`]: crate::backing::Backing

mod payment;

use crate::{
    account::Account,
    backing::new_object_id,
    loans::Borrower,
    region::{GUARD_GAP, Regions, USER_END},
    written::Written,
};
use abi::errno::Errno;
use alloc::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};
use exec::sync::Mutex;
use hal::{
    PAGE_SIZE,
    frame::Frame,
    space::{NoFrame, Prot, Rights, Shootdown, SpaceHandle, UserSpace, World},
    sync::{SpinLock, rank},
};

/// Default stack limit in bytes (`RLIMIT_STACK`).
pub const DEFAULT_STACK: usize = 8 << 20;
/// What one page table of the lowest level covers.
pub(crate) const CHUNK: usize = 512 * PAGE_SIZE;

/// Limits that the owner process sets (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub address_space: usize,
    /// `RLIMIT_DATA`, applied to the heap.
    pub data: usize,
    /// `RLIMIT_STACK`.
    pub stack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { address_space: usize::MAX, data: usize::MAX, stack: DEFAULT_STACK }
    }
}

/// The last region that a fault hit, if its pages are zeros: spares most faults the map look-up. Empty at first.
#[derive(Clone, Copy)]
pub(crate) struct Hot {
    pub start: usize,
    pub end: usize,
    /// What entries of its pages hold: no right to execute.
    pub prot: Prot,
    /// The same, made.
    pub rights: Rights,
}

impl Hot {
    pub const NONE: Self = Self { start: 0, end: 0, prot: Prot::empty(), rights: Prot::empty().rights() };
}

/// The heap: `start` is fixed by `execve`, `end` is what `brk` moves (not page-aligned).
#[derive(Clone, Copy, Default)]
pub(crate) struct Heap {
    pub start: usize,
    pub end: usize,
}

/// What left the page tables, or lost the right to be written, and may still be seen by a hart.
pub(crate) struct Retired {
    shootdown: Shootdown,
    frames: Vec<Frame>,
    /// Pages became read-only that are written elsewhere, through stale translations, until this is over.
    protects: bool,
}

pub(crate) struct State {
    pub pages: UserSpace,
    pub regions: Regions,
    pub hot: Hot,
    pub heap: Heap,
    pub limits: Limits,
    /// Top of the area in which `mmap` places.
    pub map_top: usize,
    /// Private copies of pages of a backing, by address.
    pub copied: BTreeSet<usize>,
    retired: Vec<Retired>,
    /// Pages that objects are to be told of (see `written`).
    pub written: Written,
    /// Some region may be dying or busy (see `edit`).
    pub unfinished: bool,
    /// What was ever lent to it, was lent to this.
    pub borrower: Option<Arc<Borrower>>,
    pub account: Arc<Account>,
    /// Bytes charged ahead and not used.
    spare: usize,
    /// Bytes charged in all, `spare` included.
    charged: usize,
    /// Page-table frames that are charged.
    tables: usize,
    /// Regions that are charged, at least as many as there are.
    paid_regions: usize,
    /// Pages mapped, private and shared.
    pub resident: usize,
    /// The most that they were before one went.
    pub most_resident: usize,
}

impl State {
    pub fn new(world: World, account: Arc<Account>) -> Result<Self, Errno> {
        let pages = UserSpace::new(world).ok_or(Errno::ENOMEM)?;
        let mut state = Self {
            pages,
            regions: Regions::default(),
            hot: Hot::NONE,
            heap: Heap::default(),
            limits: Limits::default(),
            map_top: USER_END - DEFAULT_STACK - GUARD_GAP,
            copied: BTreeSet::new(),
            retired: Vec::new(),
            written: Written::new(),
            unfinished: false,
            borrower: None,
            account,
            spare: 0,
            charged: 0,
            tables: 0,
            paid_regions: 0,
            resident: 0,
            most_resident: 0,
        };
        while state.tables < state.pages.table_frames() {
            if !state.pay() {
                return Err(Errno::ENOMEM);
            }
            state.tables += 1;
        }
        state.trim(); // a space that is never used costs its tables only
        Ok(state)
    }

    /// Maps a page, paying first for the tables that it takes. The frame that was there is the caller's to retire.
    #[inline]
    pub fn map_page(&mut self, page: usize, frame: Frame, rights: Prot) -> Result<Option<Frame>, NoFrame> {
        match self.pages.map_there(page, frame, rights) {
            Ok(old) => Ok(old),
            Err(frame) => {
                self.prepare(page)?;
                self.pages.map_there(page, frame, rights).map_err(|_| NoFrame)
            }
        }
    }

    /// Polls the shootdowns; moves frames that no hart can see any more to `over`.
    fn poll_retired(&mut self, context: &mut Context<'_>, over: &mut Vec<Vec<Frame>>) -> Poll<()> {
        let mut index = 0;
        while index < self.retired.len() {
            if Pin::new(&mut self.retired[index].shootdown).poll(context).is_ready() {
                over.push(self.retired.swap_remove(index).frames);
            } else {
                index += 1;
            }
        }
        if self.retired.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Puts frames that left the page tables aside until no hart can see them; gives them back if that is so already.
    pub fn retire_or_free(&mut self, frames: Vec<Frame>) -> Vec<Frame> {
        let shootdown = self.pages.shootdown();
        if shootdown.done() {
            return frames;
        }
        self.retired.push(Retired { shootdown, frames, protects: false });
        Vec::new()
    }

    /// Makes an edit visible on every hart, and keeps `frames` until it is. `true`: that is already so.
    pub fn retire(&mut self, frames: Vec<Frame>) -> bool {
        drop(self.retire_or_free(frames));
        self.settled()
    }

    /// Makes an edit visible that took the right to write away.
    pub fn retire_rights(&mut self) {
        let shootdown = self.pages.shootdown();
        if !shootdown.done() {
            self.retired.push(Retired { shootdown, frames: Vec::new(), protects: true });
        }
    }

    /// Whether no hart sees what it should not any more.
    pub fn settled(&self) -> bool {
        self.retired.iter().all(|retired| retired.shootdown.done())
    }

    /// Whether a read-only page may still be written through a stale translation: it must not be copied yet.
    pub fn writes_linger(&self) -> bool {
        self.retired.iter().any(|retired| retired.protects && !retired.shootdown.done())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.account.give(self.charged);
    }
}

/// The address space of a process (or of several, with `CLONE_VM`).
pub struct AddressSpace {
    id: u64,
    /// What it lends pages to.
    pub(crate) me: Weak<Self>,
    world: World,
    handle: SpaceHandle,
    account: Arc<Account>,
    pub(crate) state: SpinLock<State>,
    pub(crate) editing: Mutex<()>,
}

impl AddressSpace {
    /// An empty space; its pages and tables are charged to `account`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(world: World, account: Arc<Account>) -> Result<Arc<Self>, Errno> {
        Ok(Self::wrap(world, State::new(world, account)?))
    }

    pub(crate) fn wrap(world: World, state: State) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            id: new_object_id(),
            me: me.clone(),
            world,
            handle: state.pages.handle().clone(),
            account: state.account.clone(),
            state: SpinLock::new(rank::ADDRESS_SPACE, state),
            editing: Mutex::new(()),
        })
    }

    /// Never reused.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The world its threads run in.
    #[must_use]
    pub fn world(&self) -> World {
        self.world
    }

    /// What `UserContext::enter` takes.
    #[must_use]
    pub fn handle(&self) -> &SpaceHandle {
        &self.handle
    }

    /// Who pays.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Sets the limits for what is mapped from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.state.lock().limits = limits;
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.state.lock().limits
    }

    /// Makes what was written as code be fetched anew, by every hart that runs this space (`riscv_flush_icache`).
    pub async fn flush_instructions(&self) {
        // A hart that enters user mode and finds that the generation moved flushes; those inside are waited for.
        let _ = self.state.lock().retire(Vec::new());
        self.settle().await;
    }

    /// Waits until no hart can see a page that this space gave up, then frees those pages.
    pub(crate) async fn settle(&self) {
        poll_fn(|context| {
            let mut over = Vec::new();
            let settled = self.state.lock().poll_retired(context, &mut over);
            drop(over); // frees frames: not under the lock
            settled
        })
        .await;
    }
}

/// Gives way between two steps of a long edit, if the hart is wanted elsewhere.
pub(crate) async fn breathe() {
    if exec::should_yield() {
        exec::yield_now().await;
    }
}
