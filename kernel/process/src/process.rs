//! A process: what its threads share.
//!
//! `state` is one short lock for everything that calls read and change; family relations are in
//! [`crate::table`]. An ended process gives up space, descriptors and file context at once; what is left is
//! what `wait` reports.

use crate::{
    descriptors::FdTable,
    limits::{Limits, Quotas},
    registered_rings::RegisteredRings,
    share::Share,
    signal::{Actions, Arrivals, Pending},
    slots::Slots,
    thread::Thread,
    usage::{Times, Usage},
};
use abi::errno::Errno;
use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
};
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use io::{caller::Credentials, open::OpenFile};
use mem::{Account, AddressSpace, Charge};

/// What a process costs beside its pages: its structures and its share of tables.
const PROCESS_BYTES: usize = 8 << 10;
/// Bit in `Process::ending` beside the wait status.
const ENDING: u32 = 1 << 31;

/// A place in the file system; the layer above knows the type.
pub type Place = Arc<dyn Any + Send + Sync>;

/// Working directory, root and file-creation mask; shared by `CLONE_FS` relatives.
pub struct FileContext {
    inner: SpinLock<FilePlaces>,
}

/// The content of a [`FileContext`].
#[derive(Clone)]
pub struct FilePlaces {
    /// `chroot`.
    pub root: Place,
    /// `chdir`.
    pub directory: Place,
    /// `umask`.
    pub umask: u32,
}

impl FileContext {
    /// A context of its own.
    #[must_use]
    pub fn new(places: FilePlaces) -> Arc<Self> {
        Arc::new(Self { inner: SpinLock::new(rank::PROCESS + 1, places) })
    }

    /// The places now.
    #[must_use]
    pub fn get(&self) -> FilePlaces {
        self.inner.lock().clone()
    }

    /// Changes them.
    pub fn set(&self, change: impl FnOnce(&mut FilePlaces)) {
        let mut places = self.get();
        change(&mut places);
        // The old places are dropped after the lock: that may run a file system's code.
        let old = core::mem::replace(&mut *self.inner.lock(), places);
        drop(old);
    }
}

/// User and group ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

pub(crate) struct State {
    pub space: Arc<AddressSpace>,
    pub descriptors: Option<Arc<FdTable>>,
    pub files: Option<Arc<FileContext>>,
    /// The program that it runs.
    pub executable: Option<Place>,
    pub actions: Arc<Actions>,
    pub limits: Limits,
    pub identity: Identity,
    /// At most 15 bytes.
    pub name: Vec<u8>,
    /// Arguments, each with its NUL.
    pub command_line: Vec<u8>,
    pub threads: Vec<Arc<Thread>>,
    pub slots: Option<Arc<Slots>>,
}

fn pack(identity: &Identity) -> u64 {
    u64::from(identity.egid) << 32 | u64::from(identity.euid)
}

/// What does something for a process that only it wanted: told when that ends, or runs another program.
pub trait Attached: Send + Sync {
    /// Nobody is left who wants it. `pid` is the process's.
    fn abandoned(&self, pid: u32);
}

/// A process.
pub struct Process {
    pid: u32,
    /// Copies, for calls that only ask: the parent as [`crate::table`] has it, effective ids as `state` has them.
    parent: AtomicU32,
    effective: AtomicU64,
    /// The limit of the size of files, for whoever has no lock.
    file_limit: AtomicU64,
    account: Arc<Account>,
    quotas: Quotas,
    _charge: Charge,
    pub(crate) state: SpinLock<State>,
    pub(crate) pending: Pending,
    /// Wait status with [`ENDING`], once the process has to end.
    ending: AtomicU32,
    /// Bit 0: a signal has stopped its threads. Above: how often it was continued, so that a stop that was decided before
    /// is recognised.
    stopped: AtomicU32,
    /// A thread is in `execve`, waiting for the others to end.
    pub(crate) executing: AtomicBool,
    /// Signal to the parent at the end.
    pub(crate) exit_signal: AtomicU32,
    /// World of the next `execve` (`abi::asyncos::WORLD_*`).
    world: AtomicU8,
    /// A child changed its state, or a thread ended.
    pub(crate) changed: WaitQueue,
    /// Of signals, for who reads them.
    pub(crate) arrivals: Arc<Arrivals>,
    /// A `vfork` parent waits on it.
    pub(crate) released: WaitQueue,
    pub(crate) borrowing: AtomicBool,
    /// Its space is its maker's (`CLONE_VM`). Relaxed: written before it runs, and by its only thread.
    pub(crate) is_guest: AtomicBool,
    /// CPU time of ended threads.
    pub(crate) usage: Usage,
    /// CPU time of children that were waited for.
    pub(crate) children_usage: Usage,
    pub(crate) share: Share,
    attached: SpinLock<Vec<Weak<dyn Attached>>>,
    /// What its threads have registered.
    pub(crate) rings: RegisteredRings,
    /// Where its asynchronous calls complete. Weak: closing the descriptors closes the ring.
    ring: SpinLock<Option<Weak<OpenFile>>>,
    started: u64,
}

impl Process {
    /// A process without threads; charged to `parent` account's child.
    pub(crate) fn new(pid: u32, account: Arc<Account>, state: State, exit_signal: u32) -> Result<Arc<Self>, Errno> {
        let charge = account.charge(PROCESS_BYTES)?;
        let effective = AtomicU64::new(pack(&state.identity));
        let file_limit = AtomicU64::new(state.limits.current(abi::process::RLIMIT_FSIZE));
        let quotas = Quotas::new(&account, &state.limits);
        Ok(Arc::new(Self {
            pid,
            parent: AtomicU32::new(0),
            effective,
            file_limit,
            account,
            quotas,
            _charge: charge,
            state: SpinLock::new(rank::PROCESS, state),
            pending: Pending::new(),
            ending: AtomicU32::new(0),
            stopped: AtomicU32::new(0),
            executing: AtomicBool::new(false),
            exit_signal: AtomicU32::new(exit_signal),
            world: AtomicU8::new(0),
            changed: WaitQueue::new(),
            arrivals: Arc::default(),
            released: WaitQueue::new(),
            borrowing: AtomicBool::new(false),
            is_guest: AtomicBool::new(false),
            usage: Usage::default(),
            children_usage: Usage::default(),
            share: Share::default(),
            attached: SpinLock::new(rank::THREAD, Vec::new()),
            rings: RegisteredRings::new(),
            ring: SpinLock::new(rank::THREAD, None),
            started: hal::time::now(),
        }))
    }

    /// Process id.
    #[inline]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Process id of the parent; 0 for the first process.
    #[inline]
    #[must_use]
    pub fn parent(&self) -> u32 {
        self.parent.load(Ordering::Relaxed)
    }

    /// The table has noted a parent.
    pub(crate) fn set_parent(&self, parent: u32) {
        self.parent.store(parent, Ordering::Relaxed);
    }

    /// Tells this when the process ends or runs another program. Those that have gone are forgotten on the way.
    pub fn attach(&self, attached: Weak<dyn Attached>) {
        let mut all = self.attached.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(attached);
    }

    /// The ring for the completions of asynchronous calls, while it is open.
    pub fn ring(&self) -> Option<Arc<OpenFile>> {
        self.ring.lock().as_ref()?.upgrade()
    }

    /// Completions of asynchronous calls go there from now on.
    pub fn name_ring(&self, open: Option<&Arc<OpenFile>>) {
        let old = core::mem::replace(&mut *self.ring.lock(), open.map(Arc::downgrade));
        drop(old);
    }

    /// Its program is over.
    pub(crate) fn abandon_attached(&self) {
        self.name_ring(None);
        let all = core::mem::take(&mut *self.attached.lock());
        // Not under the lock: they wake others.
        all.iter().filter_map(Weak::upgrade).for_each(|attached| attached.abandoned(self.pid));
    }

    /// Who pays for its memory.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// What it may have of what goes on without a thread.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// When it started, in nanoseconds since boot.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Its address space.
    #[must_use]
    pub fn space(&self) -> Arc<AddressSpace> {
        self.state.lock().space.clone()
    }

    /// Its descriptors.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    pub fn descriptors(&self) -> Result<Arc<FdTable>, Errno> {
        self.state.lock().descriptors.clone().ok_or(Errno::ESRCH)
    }

    /// The description behind its descriptor `fd`: what most calls begin with, so the table is not shared on the way.
    ///
    /// # Errors
    /// `EBADF`; `ESRCH` if it has ended.
    #[inline(always)]
    pub fn file(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        let state = self.state.lock();
        state.descriptors.as_ref().ok_or(Errno::ESRCH)?.get_inside(&state, fd)
    }

    /// Its working directory, root and umask.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    pub fn files(&self) -> Result<Arc<FileContext>, Errno> {
        self.state.lock().files.clone().ok_or(Errno::ESRCH)
    }

    /// Where the program that it runs was found; `None` if it has ended.
    #[must_use]
    pub fn executable(&self) -> Option<Place> {
        self.state.lock().executable.clone()
    }

    /// Effective ids, for access checks.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        let effective = self.effective.load(Ordering::Relaxed); // one word: never half old
        Credentials { uid: effective as u32, gid: (effective >> 32) as u32 }
    }

    /// `RLIMIT_FSIZE`: how large regular files may become by this process' hand.
    #[must_use]
    pub fn file_limit(&self) -> u64 {
        self.file_limit.load(Ordering::Relaxed) // one word: never half old
    }

    /// Its real user.
    #[must_use]
    #[inline]
    pub fn user(&self) -> u32 {
        self.state.lock().identity.uid
    }

    /// All ids.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.state.lock().identity.clone()
    }

    /// Changes the ids, in one step for all others who change them: `change` answers whether it may, goes by what they are now, and frees nothing (it is under a lock).
    ///
    /// # Errors
    /// Those of `change`.
    pub fn change_identity<T>(
        &self,
        change: impl FnOnce(&mut Identity) -> Result<T, abi::errno::Errno>,
    ) -> Result<T, abi::errno::Errno> {
        let mut state = self.state.lock();
        let changed = change(&mut state.identity)?;
        self.effective.store(pack(&state.identity), Ordering::Relaxed); // ordered by the lock among writers
        Ok(changed)
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.state.lock().limits.clone()
    }

    /// One limit in force.
    #[must_use]
    pub fn limit(&self, resource: u32) -> u64 {
        self.state.lock().limits.current(resource)
    }

    /// Changes a limit.
    ///
    /// # Errors
    /// See [`Limits::set`].
    pub fn set_limit(&self, resource: u32, new: abi::process::Rlimit) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let privileged = state.identity.euid == 0;
        state.limits.set(resource, new, privileged)?;
        let (space, limits) = (state.space.clone(), state.limits.of_space());
        // Relaxed: ordered by the lock among writers.
        self.file_limit.store(state.limits.current(abi::process::RLIMIT_FSIZE), Ordering::Relaxed);
        self.quotas.set(&state.limits);
        drop(state);
        space.set_limits(limits);
        Ok(())
    }

    /// The program's name, at most 15 bytes (`PR_GET_NAME`).
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        self.state.lock().name.clone()
    }

    /// Sets the name; what is beyond 15 bytes is cut off.
    pub fn set_name(&self, name: &[u8]) {
        let name = name[..name.len().min(15)].to_vec();
        let old = core::mem::replace(&mut self.state.lock().name, name);
        drop(old);
    }

    /// Its threads.
    #[must_use]
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.state.lock().threads.clone()
    }

    /// Number of its threads; 0 for a zombie.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.state.lock().threads.len()
    }

    /// The slots that it asked for.
    pub(crate) fn slots(&self) -> Option<Arc<Slots>> {
        self.state.lock().slots.clone()
    }

    /// Sets them, once.
    pub(crate) fn set_slots(&self, slots: Arc<Slots>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.slots.is_some() {
            return Err(Errno::EBUSY);
        }
        state.slots = Some(slots);
        Ok(())
    }

    /// Takes them away.
    pub(crate) fn take_slots(&self) -> Option<Arc<Slots>> {
        self.state.lock().slots.take()
    }

    pub(crate) fn actions(&self) -> Arc<Actions> {
        self.state.lock().actions.clone()
    }

    /// World that the next `execve` chooses (`abi::asyncos::WORLD_*`).
    #[must_use]
    pub fn next_world(&self) -> usize {
        usize::from(self.world.load(Ordering::Relaxed))
    }

    /// Sets the world that the next `execve` chooses.
    pub fn set_next_world(&self, world: u8) {
        self.world.store(world, Ordering::Relaxed);
    }

    /// The wait status it is going to end with, once that is decided.
    #[must_use]
    pub fn ending(&self) -> Option<u32> {
        // Acquire pairs with the Release in `end`.
        let word = self.ending.load(Ordering::Acquire);
        (word & ENDING != 0).then_some(word & !ENDING)
    }

    /// Makes all threads end; the first status counts.
    pub fn end(&self, status: u32) {
        // Release pairs with the Acquire in `ending`.
        let first = self.ending.compare_exchange(0, status | ENDING, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first {
            self.threads().iter().for_each(|thread| thread.kill());
        }
    }

    /// `thread` calls `exit`: it ends, and the process with it if no other goes on (`true`). Of threads that do so at the same time
    /// one is the last, whose status counts.
    pub(crate) fn leave(&self, thread: &Thread) -> bool {
        let state = self.state.lock();
        thread.leave();
        state.threads.iter().all(|thread| thread.killed())
    }

    /// Whether its threads are stopped by a signal.
    #[inline]
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) & 1 != 0 // pairs with `stop` and `resume`
    }

    /// How often it was continued: to be asked before a signal that may stop it is taken out.
    pub(crate) fn continued(&self) -> u32 {
        self.stopped.load(Ordering::Acquire) >> 1 // pairs with `resume`
    }

    /// Stops all threads, unless it was continued more than `continued` times; says whether it did.
    pub(crate) fn stop(&self, continued: u32) -> bool {
        let running = continued << 1;
        // Release pairs with the Acquire in `stopped`.
        let stops = self.stopped.compare_exchange(running, running | 1, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if stops {
            self.threads().iter().for_each(|thread| thread.notify());
        }
        stops
    }

    /// Lets all threads go on; says whether they were stopped.
    pub(crate) fn resume(&self) -> bool {
        let next = |word: u32| Some((word & !1).wrapping_add(2));
        // Release pairs with the Acquires in `stopped` and `continued`; the closure never declines.
        let word = self.stopped.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_else(|word| word);
        let was = word & 1 != 0;
        if was {
            self.threads().iter().for_each(|thread| thread.notify());
        }
        was
    }

    /// CPU time of all threads, ended ones included.
    #[must_use]
    pub fn times(&self) -> Times {
        let sum = Usage::default();
        sum.absorb(&self.usage.times());
        self.threads().iter().for_each(|thread| sum.absorb(&thread.usage.times()));
        sum.times()
    }

    /// CPU time of children that were waited for.
    #[must_use]
    pub fn children_times(&self) -> Times {
        self.children_usage.times()
    }

    /// Lets a `vfork` parent go on: the child has its own space now, or none.
    pub(crate) fn release_parent(&self) {
        self.is_guest.store(false, Ordering::Relaxed);
        self.borrowing.store(false, Ordering::Release); // pairs with the Acquire in `clone`
        self.released.wake_all();
    }
}
