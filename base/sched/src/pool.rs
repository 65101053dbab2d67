//! The pool: placement of woken tasks, idle workers, running priorities, stealing.
//!
//! Each worker publishes what it runs at (`running`) and whether it is about to park (`idle`). Two store/load pairs with
//! a sequentially consistent fence on either side keep it true that no wake is lost, no urgent task waits behind
//! a less urgent one, and no worker stays idle beside a task that it could run:
//!
//! ```text
//!   waker                                worker
//!   ─────                                ──────
//!   push the task                        publish: idle bit (set_idle), or the priority about to
//!   fence(SeqCst)                          run (next, next_above)
//!   read idle bits and running           fence(SeqCst)
//!   idle, or runs less urgent: pend      look at the queues again; park or run only if nothing is there
//! ```
//!
//! Whichever fence comes first, one side sees the other's store. A waker that finds an idle bit takes it away,
//! so that a parked worker is called once however many tasks it gets.
//!
//! **Placement.** A woken task goes to the worker it last ran on if that one is free. Else it goes to an idle worker;
//! if none is idle, home if it is more urgent than all that home has; else to the worker that runs the
//! least urgent thing, provided it is less urgent than the task. A pinned task always goes to its worker. One that is *kept*
//! among some workers is placed so among these, anew each time that it is queued, when it gives way, too.
//!
//! **Stealing.** A worker whose own queue is empty takes a task from another before it goes idle, and the look
//! before parking covers what can be stolen everywhere. Kept tasks are in the columns of the pinned ones; once there has been
//! such a task, who finds nothing else, or that it comes first, looks there for one that it may run, among some of each group.
//!
//! **Work is conserved**: while a worker is idle there are no more tasks in queues that it could run than workers that
//! *search*, which is to run nothing and look for a task before parking. It holds when a worker parks, since it saw no
//! such task; and it goes on holding, because
//! * a push calls an idle worker, and so makes it search: the one that got the task, or else any other;
//! * a worker that takes a task, and may stop searching by that, makes both numbers smaller by one;
//! * a worker that has its task requeued at the end of a poll begins to search, so that push calls nobody (it
//!   does when the worker was preempting something and goes back to that);
//! * a searching worker that takes a pinned task stops without taking one that others could: if somebody is idle it looks for such
//!   a task, and calls (`pass_on`), since the push of a pinned task has called nobody but its worker;
//! * who has let go of a queue's lock and left tasks there calls for them as their pusher did.
//!
//! **Calling context.** `enqueue`, `highest_ready` may be used in any context. `next`, `next_above`,
//! `set_idle` are the worker's; a caller that can be preempted calls them with preemption off: an
//! interrupted `next` makes a nested `next_above` find nothing (nothing breaks, but an urgent task waits).
//!
//! **Memory.** A pool lies in memory of its maker's, of [`Pool::bytes_for`] bytes: the pool, then its workers.

use core::ptr::NonNull;

use sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crate::Priority;
use crate::interface::{ANY_WORKER, Birth, Header, Ops, Port};
use crate::policy::{BUILT_IN, Policy, RANKED, ROUND_ROBIN};
use crate::run::{self, Outcome, Runnable};
use crate::standing::{CHOICES, POLICIES, Standing};
use crate::worker::{Held, Worker};

/// The most workers a pool can have.
pub const MAX_WORKERS: usize = 64;

/// A set of workers and the tasks that are queued at them.
#[repr(C, align(64))]
pub struct Pool {
    port: Port,
    /// Right behind the pool; never changed (S6).
    workers: NonNull<Worker>,
    count: usize,
    next_id: AtomicU64,
    /// Where the next new task goes.
    next_home: AtomicU64,
    /// Workers that park, or are about to.
    pub(crate) idle: AtomicU64,
    /// Whether a task has ever been kept among some workers: until then nobody looks for such.
    has_kept: AtomicBool,
}

// SAFETY: the port's context is whatever `pend` can take in any context, by contract of `init`; the rest is atomic, or
// never changed, or as safe as a queue.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// How many workers a pool gets if it is made for so many.
const fn clamped(workers: usize) -> usize {
    if workers < 1 {
        1
    } else if workers > MAX_WORKERS {
        MAX_WORKERS
    } else {
        workers
    }
}

impl Pool {
    /// What the memory of a pool must be aligned to.
    pub const ALIGN: usize = align_of::<Self>();

    /// The bytes of a pool with this many workers (1 to [`MAX_WORKERS`], others are brought into that range).
    #[must_use]
    pub const fn bytes_for(workers: usize) -> usize {
        size_of::<Self>() + clamped(workers) * size_of::<Worker>()
    }

    /// Makes a pool with this many workers, none of them idle.
    ///
    /// # Safety
    ///
    /// `memory` is aligned to [`ALIGN`](Self::ALIGN), has [`bytes_for(workers)`](Self::bytes_for) bytes, and is the pool's for as
    /// long as there is a task of this pool (S6). `port.pend` may be called with `port.context` from any context as long.
    /// `port.policies` has `port.policy_count` policies, which live as long and do what [`Policy`] says; `port.shown` is null or
    /// has one for each worker.
    #[must_use]
    pub unsafe fn init(memory: NonNull<u8>, workers: usize, port: Port) -> NonNull<Self> {
        let pool: NonNull<Self> = memory.cast();
        // SAFETY: the workers lie behind the pool, in the same memory, by contract.
        let first: NonNull<Worker> = unsafe { pool.add(1) }.cast();
        let count = clamped(workers);
        for number in 0..count {
            // SAFETY: within the memory, by contract.
            unsafe { first.add(number).write(Worker::new(pool, number as u8)) };
        }
        let (next_id, next_home) = (AtomicU64::new(1), AtomicU64::new(0));
        // SAFETY: as above.
        unsafe {
            let (idle, has_kept) = (AtomicU64::new(0), AtomicBool::new(false));
            pool.write(Self { port, workers: first, count, next_id, next_home, idle, has_kept });
        }
        pool
    }

    /// What the pool was made with.
    #[inline]
    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// How many workers there are.
    #[inline]
    #[must_use]
    pub fn workers(&self) -> usize {
        self.count
    }

    /// All workers.
    #[inline]
    pub(crate) fn all_workers(&self) -> &[Worker] {
        // SAFETY: made by `init`, `count` of them, and never moved (S6).
        unsafe { core::slice::from_raw_parts(self.workers.as_ptr(), self.count) }
    }

    /// The worker with this number.
    #[inline]
    pub(crate) fn worker(&self, number: usize) -> Option<&Worker> {
        self.all_workers().get(number)
    }

    /// What a set of workers, one bit each, is as a choice: 0 for none of the pool's, or all.
    pub(crate) fn choice_of(&self, workers: u8) -> u8 {
        let choice = self.all_workers().iter().take(CHOICES).fold(0, |all, worker| all | worker.bit() as u8) & workers;
        if choice.count_ones() as usize == self.count {
            return 0;
        }
        if choice != 0 {
            // Relaxed: before the task is queued, which orders it as it does the task (`park`).
            self.has_kept.store(true, Ordering::Relaxed);
        }
        choice
    }

    /// Whether there may be tasks that are kept among some workers.
    #[inline]
    pub(crate) fn has_kept(&self) -> bool {
        // Relaxed: as above.
        self.has_kept.load(Ordering::Relaxed)
    }

    /// One of these workers, another each time.
    pub(crate) fn any_of(&self, choice: u8) -> Option<&Worker> {
        // Relaxed: any spread will do.
        let turn = self.next_home.fetch_add(1, Ordering::Relaxed) as usize;
        let skipped = turn.checked_rem(choice.count_ones() as usize)?;
        let left = (0..skipped).fold(choice, |left, _| left & left.wrapping_sub(1));
        self.worker(left.trailing_zeros() as usize)
    }

    /// Gets a worker's attention.
    pub(crate) fn pend(&self, worker: usize, priority: Priority) {
        // SAFETY: by contract of `init`.
        unsafe { (self.port.pend)(self.port.context, worker as u32, u32::from(priority.number())) };
    }

    /// Whether the thread that has a worker stands at something less urgent than this. Behind the fence of `call_for`, which pairs
    /// with that of who has written the word and looks at the ready bits then.
    pub(crate) fn stands_below(&self, worker: &Worker, priority: Priority) -> bool {
        // SAFETY: by contract of `init` there is one for each worker.
        !self.port.shown.is_null() && unsafe { &*self.port.shown.add(worker.number()) }.stands_below(priority)
    }

    /// The header of a new task. It is `SCHEDULED`, has one reference, the join handle's, and is in no queue: the caller
    /// hands it to [`enqueue`](Self::enqueue) next.
    ///
    /// # Safety
    ///
    /// `ops` lives for ever and does what its fields say for what the header becomes the first field of, which may be sent between threads;
    /// the header is dropped by `ops.free` only.
    #[inline]
    #[must_use]
    pub unsafe fn new_task(&self, ops: NonNull<Ops>, birth: &Birth) -> Header {
        // Relaxed: only uniqueness matters.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let turn = if birth.worker == ANY_WORKER && self.count > 1 {
            // Relaxed: any spread will do.
            self.next_home.fetch_add(1, Ordering::Relaxed) as usize
        } else {
            birth.worker as usize
        };
        // The only worker of a pool keeps all its tasks: there is no choice to make at each wake.
        let pinned = birth.worker != ANY_WORKER || self.count == 1;
        let number = if self.count == 1 { 0 } else { turn.checked_rem(self.count).unwrap_or(0) };
        // SAFETY: one of the workers.
        let home = unsafe { self.workers.add(number) };
        // 0 to 3 are built in; all four need not be asked, and what is most common costs nothing.
        let (policy, ranked) = if birth.policy == ROUND_ROBIN { (0, false) } else { self.group_of(birth.policy) };
        Header::new(ops, home, id, Standing::new(birth.priority, pinned, ranked, policy), birth.key)
    }

    /// The policy's number, or that of round robin if there is none; and whether it ranks.
    #[inline(never)]
    pub(crate) fn group_of(&self, policy: u32) -> (u8, bool) {
        let count = (BUILT_IN.len() + self.port.policy_count).min(POLICIES);
        let known = u8::try_from(policy).ok().filter(|number| usize::from(*number) < count);
        let number = known.unwrap_or(ROUND_ROBIN as u8);
        // SAFETY: the functions of a policy ask for nothing.
        (number, unsafe { (self.policy(u32::from(number)).group)() } == RANKED)
    }

    /// The policy with this number.
    pub(crate) fn policy(&self, number: u32) -> &Policy {
        let number = number as usize;
        if number < BUILT_IN.len() || self.port.policy_count == 0 {
            return &BUILT_IN[number % BUILT_IN.len()];
        }
        let own = (number - BUILT_IN.len()) % self.port.policy_count;
        // SAFETY: by contract of `init` there are so many.
        unsafe { &*self.port.policies.add(own) }
    }

    /// Somebody has used so much of a worker, who is or could be fair at this priority. If nobody waits for it there, in the queue or
    /// since it was preempted, and with `above` nobody more urgent either, that is what the next to come is not ranked below. What they
    /// are not ranked below now. By the worker's thread of control.
    pub fn raise_floor(&self, worker: usize, priority: Priority, above: bool, used: u64) -> u64 {
        let Some(worker) = self.worker(worker) else { return 0 };
        let others = priority.bit() | if above { priority.bits_above() } else { 0 };
        if !worker.queue.has_ready(others) && !worker.has_beneath(others) {
            worker.queue.raise_floor(priority, used);
        }
        worker.queue.floor(priority)
    }

    /// The ticks that a task may run while others of its priority wait; 0 without end.
    pub(crate) fn slice_of(&self, task: &Header) -> u32 {
        // SAFETY: the functions of a policy ask for nothing.
        unsafe { (self.policy(task.standing.policy()).slice)() }
    }

    /// The next task for a worker: the most urgent of its own queue, the oldest of these; if there is none,
    /// one from another worker. It counts as running from here on.
    #[inline(always)]
    pub fn next(&self, worker: usize) -> Option<Runnable<'_>> {
        let worker = self.worker(worker)?;
        let outer = worker.outer();
        // SAFETY: just taken from its queue.
        self.take(worker, Priority::COUNT, outer, Held::NOTHING)
            .or_else(|| self.steal(worker, outer))
            .map(|taken| unsafe { Runnable::new(worker, taken, outer) })
    }

    /// The next task of a worker's own queue that is strictly more urgent than `priority`, for nested
    /// execution upon preemption. The caller repeats until there is none. When there is none although
    /// [`ready_above`](Self::ready_above) says so, another worker is at the queue for the moment.
    #[inline]
    pub fn next_above(&self, worker: usize, priority: Priority) -> Option<Runnable<'_>> {
        let worker = self.worker(worker)?;
        let outer = worker.outer();
        // SAFETY: just taken from its queue.
        self.take_own(worker, priority.index(), outer).map(|taken| unsafe { Runnable::new(worker, taken, outer) })
    }

    /// Takes and polls once, as [`next_above`](Self::next_above) and [`run_next`](Self::run_next).
    pub fn run_above(&self, worker: usize, priority: Priority) -> Option<Outcome> {
        self.next_above(worker, priority).map(Runnable::run)
    }

    /// Polls once the task that [`next`](Self::next) finds; `None` if there is none.
    pub fn run_next(&self, worker: usize) -> Option<Outcome> {
        self.next(worker).map(Runnable::run)
    }

    /// A tick has passed for a worker: what it runs has run for one more, what waits there has waited for one more. `true`:
    /// what it runs should give way to what is ready. By the worker's thread of control, interrupt handlers included.
    pub fn tick(&self, worker: usize) -> bool {
        let Some(worker) = self.worker(worker) else { return false };
        worker.count_tick();
        if worker.queue.tick(worker.running()) | worker.age_beneath() {
            // Whatever its slice: what is aged has waited for long enough.
            worker.spend();
        }
        worker.gives_way()
    }

    /// Whether what a worker runs should give way: something more urgent is ready in the worker's queue, or waits to go on since
    /// it was preempted; or something as urgent, and what runs has used up its slice. No lock; stale at once. By the worker's
    /// thread of control, interrupt handlers included.
    #[must_use]
    #[inline]
    pub fn should_yield(&self, worker: usize) -> bool {
        self.worker(worker).is_some_and(Worker::gives_way)
    }

    /// Whether something waits for a worker, whatever its priority: in the worker's queue, or to go on since it was preempted. No lock; stale at
    /// once. By the worker's thread of control.
    #[must_use]
    pub fn is_awaited(&self, worker: usize) -> bool {
        self.worker(worker).is_some_and(Worker::is_awaited)
    }

    /// Announces that a worker is about to park. `true`: it may, and the next task for it will pend it.
    /// `false`: there is something to run; the worker is not idle.
    #[must_use]
    pub fn set_idle(&self, worker: usize) -> bool {
        self.worker(worker).is_some_and(|worker| self.park(worker))
    }

    /// A worker with something to run does not run it: others, which were preempted, are to go on first. It counts as running at
    /// `priority` until [`clear_idle`](Self::clear_idle), so that it is called for what is more urgent. `false`: there is such a thing.
    #[must_use]
    pub fn stand_in(&self, worker: usize, priority: Priority) -> bool {
        let Some(worker) = self.worker(worker) else { return false };
        worker.set_running(priority);
        // Pairs with the fence in `call_for`: publish before looking at the queue again.
        fence(Ordering::SeqCst);
        let found = worker.queue.has_ready(priority.bits_above());
        if found {
            worker.abandon();
        }
        !found
    }

    /// A worker that had announced to park is awake, for whatever reason; or another thread of control has it from now on
    /// (see `slots`). It runs nothing.
    pub fn clear_idle(&self, worker: usize) {
        if let Some(worker) = self.worker(worker) {
            worker.abandon();
            self.unpark(worker);
        }
    }

    /// Where a worker's ready bits are, and what it runs at: the addresses for `abi::slots`.
    #[must_use]
    pub fn hints(&self, worker: usize) -> Option<[usize; 2]> {
        let worker = self.worker(worker)?;
        let (ready, running) = (&raw const worker.queue.ready, &raw const worker.running);
        Some([ready.expose_provenance(), running.expose_provenance()])
    }

    /// The workers that are parked or about to park, one bit each.
    #[must_use]
    pub fn idle_workers(&self) -> u64 {
        self.idle.load(Ordering::Relaxed)
    }

    /// The most urgent priority with a task in a worker's queue. Any context, no lock; stale at once.
    #[must_use]
    #[inline]
    pub fn highest_ready(&self, worker: usize) -> Option<Priority> {
        self.worker(worker)?.queue.highest_ready()
    }

    /// Whether a worker's queue has something strictly more urgent than `priority`. Any context, no lock; stale
    /// at once.
    #[must_use]
    #[inline]
    pub fn ready_above(&self, worker: usize, priority: Priority) -> bool {
        self.worker(worker).is_some_and(|w| w.queue.has_ready(priority.bits_above()))
    }

    /// The most urgent priority with a task in any queue. Any context, no lock; stale at once.
    #[must_use]
    pub fn highest_ready_anywhere(&self) -> Option<Priority> {
        self.all_workers().iter().filter_map(|w| w.queue.highest_ready()).min()
    }

    /// What a worker runs at; `None` when it runs nothing.
    #[must_use]
    #[inline]
    pub fn running(&self, worker: usize) -> Option<Priority> {
        self.worker(worker)?.running()
    }

    /// A worker goes on after a poll that did not come back: its task has failed ([`fail`](crate::fail)), and the stack was left.
    pub fn abandon(&self, worker: usize) {
        if let Some(worker) = self.worker(worker) {
            worker.abandon();
        }
    }

    /// Cancels what is queued; what is woken later is cancelled by its waker.
    pub fn close(&self) {
        for worker in self.all_workers() {
            while !worker.queue.is_closed() {
                if let Some(task) = worker.queue.close() {
                    // SAFETY: just taken from its queue, scheduled.
                    unsafe { run::cancel(task) };
                }
            }
        }
    }
}
