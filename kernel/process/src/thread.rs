//! A user thread, as others see it. Its registers live in its coroutine ([`crate::run`]) and nowhere else.
//!
//! **Waking a thread.** Whoever has something for a thread (a signal, a kill) first makes it visible, then
//! calls [`Thread::notify`], which sets `attention`, wakes the thread's coroutine, and interrupts the hart that last ran it.
//! The coroutine clears `attention` before it looks, and looks before each entry to user mode. Its waits that something else
//! than their object may end look at each poll, before they answer that they wait: a wake-up that comes
//! later has the coroutine polled once more (the scheduler's task word sees to that), so no wait needs a
//! place in a queue for it. These waits are therefore made by the thread's own coroutine only.

use crate::{
    affinity::Affinity,
    class::Class,
    doing::Doing,
    footprint,
    process::Process,
    reservation::{Reservation, Server},
    share::BUSY,
    signal::{Pending, bits},
    usage::Usage,
};
use abi::{
    errno::Errno,
    signal::{SS_DISABLE, SigStack, Siginfo, mask},
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    task::Poll,
};
use hal::sync::{SpinLock, rank};
use io::caller::Caller;
use mem::Charge;
use sync::attention::Attention;

/// A wait ended because of a signal or a kill, not because of what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// Not a signal mask: what cannot be blocked is in it.
const NO_MASK: u64 = u64::MAX;

/// In [`Thread::take_interrupts`]: something has arrived.
const ARRIVED: u8 = 1;
/// It is not known what: the thread has to look at everything.
const LOOK: u8 = 2;
/// It would take it now.
const OPEN: u8 = 4;

/// A user thread.
pub struct Thread {
    tid: AtomicU32,
    process: Arc<Process>,
    /// Signals blocked. Written by the thread itself only.
    mask: AtomicU64,
    /// Mask to put back when the next signal has been dealt with (`rt_sigsuspend`, `ppoll`).
    /// [`NO_MASK`]: none. By the thread itself only.
    saved_mask: AtomicU64,
    /// When the call ends that runs again after a signal without a handler (ns since boot); 0: none does. While it is set, the
    /// thread is about to make that call and nothing else. By the thread itself only.
    resume: AtomicU64,
    pub(crate) pending: Pending,
    /// Signals that [`Thread::take_signal`] waits for.
    awaited: AtomicU64,
    pub(crate) alternate: SpinLock<SigStack>,
    /// Whether it has to look at what was made visible for it, and the hart that last ran it.
    pub(crate) attention: Attention,
    killed: AtomicBool,
    /// Where to store 0 and wake a futex at the end (`CLONE_CHILD_CLEARTID`, `set_tid_address`).
    pub(crate) clear_tid: AtomicUsize,
    /// Head of the list of robust mutexes.
    pub(crate) robust: AtomicUsize,
    /// Whether its coroutine waits for something.
    pub(crate) waits: AtomicBool,
    /// The call or fault that it is in, or was last.
    pub(crate) doing: Doing,
    /// Where it may run.
    pub(crate) affinity: Affinity,
    /// See [`Class`].
    class: AtomicU32,
    /// What that makes of its priority, 0 to 31: hints of its process are clamped to it.
    priority: AtomicU8,
    /// Its place among those that share the process's slots, from 1; 0: none. Written by its own coroutine only.
    place: AtomicU8,
    /// When it was last looked at for its slot, in units of its user. By its own coroutine only.
    examined: AtomicU16,
    /// The call or fault that it waits in, by its number in the trace; 0 if there is none, or it is not recorded.
    /// Touched by its own coroutine only.
    request: AtomicU64,
    /// What its coroutine has not seen of its user interrupts: [`ARRIVED`], [`LOOK`]; whether they are [`OPEN`].
    interrupt: AtomicU8,
    pub(crate) scheduled: SpinLock<Scheduled>,
    /// CPU time of this thread.
    pub usage: Usage,
    _charge: Charge,
}

/// What schedules a thread.
#[derive(Default)]
pub(crate) struct Scheduled {
    /// Its coroutine, while that lives.
    pub(crate) task: Option<exec::TaskRef>,
    /// What CPU time is reserved for it.
    pub(crate) server: Option<Box<Server>>,
}

const _: () = assert!(size_of::<Thread>() + 2 * size_of::<usize>() <= footprint::THREAD);

/// Ends [`Thread::take_signal`], however that ends.
struct Awaited<'a>(&'a AtomicU64);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Thread {
    /// A thread that does not run yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(
        tid: u32,
        process: Arc<Process>,
        mask: u64,
        class: Class,
        affinity: Affinity,
    ) -> Result<Arc<Self>, Errno> {
        let charge = process.account().charge(footprint::CHARGE)?;
        let no_stack = SigStack { sp: 0, flags: SS_DISABLE as i32, pad: 0, size: 0 };
        Ok(Arc::new(Self {
            tid: AtomicU32::new(tid),
            process,
            mask: AtomicU64::new(mask),
            saved_mask: AtomicU64::new(NO_MASK),
            resume: AtomicU64::new(0),
            pending: Pending::new(),
            awaited: AtomicU64::new(0),
            alternate: SpinLock::new(rank::THREAD, no_stack),
            attention: Attention::new(),
            killed: AtomicBool::new(false),
            clear_tid: AtomicUsize::new(0),
            robust: AtomicUsize::new(0),
            doing: Doing::default(),
            waits: AtomicBool::new(false),
            affinity,
            class: AtomicU32::new(class.word()),
            priority: AtomicU8::new(class.birth(0).priority.number()),
            place: AtomicU8::new(0),
            examined: AtomicU16::new(0),
            request: AtomicU64::new(0),
            interrupt: AtomicU8::new(0),
            scheduled: SpinLock::new(rank::THREAD, Scheduled::default()),
            usage: Usage::default(),
            _charge: charge,
        }))
    }

    /// Thread id.
    #[inline]
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// `execve` in another thread than the first takes over the process id.
    pub(crate) fn set_tid(&self, tid: u32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// The process.
    #[inline]
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The address space.
    #[must_use]
    pub fn space(&self) -> Arc<mem::AddressSpace> {
        self.process.space()
    }

    /// Priority, 0 to 31.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.priority.load(Ordering::Relaxed)
    }

    /// How it is scheduled.
    #[inline]
    #[must_use]
    pub fn class(&self) -> Class {
        Class::from_word(self.class.load(Ordering::Relaxed))
    }

    /// Changes how it is scheduled from now on, and what it submits, unless its class is another one than `before` by now: `false`.
    /// The new class goes by a reservation if there is one.
    ///
    /// # Errors
    /// `EBUSY`: too much is reserved; `EPERM`: a reservation is for who may run on all harts.
    pub fn set_class(&self, before: Class, class: Class, reservation: Option<Reservation>) -> Result<bool, Errno> {
        let task = {
            let mut scheduled = self.scheduled.lock();
            if self.class().with_nice(0) != before.with_nice(0) {
                return Ok(false);
            }
            if reservation.is_some() && !self.affinity.is_all() {
                return Err(Errno::EPERM);
            }
            scheduled.reserve(reservation)?;
            // Relaxed: the word is all there is. Only a nice value is changed without the lock, and may be lost.
            self.class.store(class.word(), Ordering::Relaxed);
            self.priority.store(class.birth(0).priority.number(), Ordering::Relaxed);
            scheduled.task.clone()
        };
        // Another may change it at the same time: who comes last here has seen the last.
        while let Some(task) = task.as_ref() {
            let class = self.class();
            exec::set_class(task, &class.birth(self.key()));
            if self.class().with_nice(0) == class.with_nice(0) {
                break;
            }
        }
        // So that it is accounted for in another way from now on.
        self.notify();
        Ok(true)
    }

    /// Changes its nice value, and nothing else of its class.
    pub fn set_nice(&self, nice: i32) {
        let change = |word| Some(Class::from_word(word).with_nice(nice).word());
        // Relaxed: the word is all there is. The function never says no.
        let _ = self.class.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// What policies that rank go by.
    fn key(&self) -> u64 {
        self.deadline().unwrap_or_else(|| self.process.share.key())
    }

    /// Its process has had more of the CPU than others, or not any more. By its own coroutine.
    pub(crate) fn set_busy(&self, busy: bool) {
        let usual = self.class().birth(0).priority;
        let ceiling = if busy { usual.max(BUSY) } else { usual };
        // No swap: of a byte that is a loop. Who changes the class meanwhile may be overwritten, as with one, until it is accounted for again.
        let before = self.priority.load(Ordering::Relaxed);
        if before != ceiling.number() {
            self.priority.store(ceiling.number(), Ordering::Relaxed);
            // What its process has made less urgent than that stays so.
            let own = self.task().map_or(ceiling, |task| task.own_priority());
            self.run_at(if own.number() == before { ceiling } else { own.max(ceiling) });
        }
    }

    /// Has its coroutine run at this priority, which is not above its own.
    pub(crate) fn run_at(&self, priority: exec::Priority) {
        if let Some(task) = self.task().filter(|task| task.own_priority() != priority) {
            exec::set_class(&task, &self.class().at(priority, task.key()));
        }
    }

    /// How the coroutine of a request of this thread runs: with a reservation as without one, which pays for what the thread does itself.
    #[must_use]
    pub fn birth_of_request(&self) -> exec::Birth {
        if self.class().is_reserved() {
            return Class::DEFAULT.birth(self.process.share.key());
        }
        self.class().at(exec::Priority::new(self.priority()), self.key())
    }

    /// The same for a request that is to be less urgent than the thread: no more urgent than [`birth_of_request`](Self::birth_of_request) says.
    #[must_use]
    pub fn birth_of_request_at(&self, priority: exec::Priority) -> exec::Birth {
        let usual = self.birth_of_request();
        let class = if self.class().is_reserved() { Class::DEFAULT } else { self.class() };
        class.at(priority.max(usual.priority), self.process.share.key())
    }

    /// Its place among the threads that share the process's slots.
    #[inline]
    pub(crate) fn place(&self) -> Option<u8> {
        self.place.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Sets it.
    pub(crate) fn set_place(&self, place: Option<u8>) {
        self.place.store(place.map_or(0, |place| place.saturating_add(1)), Ordering::Relaxed);
    }

    /// When it was last looked at for its slot.
    pub(crate) fn examined(&self) -> u16 {
        self.examined.load(Ordering::Relaxed)
    }

    /// Notes that it is looked at now.
    pub(crate) fn set_examined(&self, now: u16) {
        self.examined.store(now, Ordering::Relaxed);
    }

    /// Its coroutine, while that lives.
    pub(crate) fn task(&self) -> Option<exec::TaskRef> {
        self.scheduled.lock().task.clone()
    }

    /// Has its coroutine polled: what it waits for may have come.
    pub(crate) fn wake(&self) {
        if let Some(task) = self.task() {
            task.wake();
        }
    }

    /// On whose behalf a request of this thread runs (D14).
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            pid: self.process.pid(),
            tid: self.tid(),
            credentials: self.process.credentials(),
            priority: self.priority(),
            request: self.request.load(Ordering::Relaxed),
            file_limit: self.process.file_limit(),
            account: self.process.account().clone(),
        }
    }

    /// A call or a fault begins that may wait.
    #[inline]
    pub(crate) fn submit(&self, work: trace::Work) {
        if hal::record::recording() {
            self.request.store(hal::record::submit(work), Ordering::Relaxed);
        }
    }

    /// It is over.
    #[inline]
    pub(crate) fn complete(&self, result: isize) {
        let request = self.request.load(Ordering::Relaxed);
        if request != 0 {
            self.request.store(0, Ordering::Relaxed);
            hal::record::complete(request, result as i64);
        }
    }

    /// Whether a hart runs it or it waits for one only (a snapshot, for /proc).
    #[must_use]
    pub fn running(&self) -> bool {
        // Acquire pairs with the Release of `run`'s `on_account`: what a thread was counted for that is seen to wait is seen, too.
        !self.waits.load(Ordering::Acquire)
    }

    /// Sets where to store 0 when the thread ends (`set_tid_address`).
    pub fn set_clear_tid(&self, addr: usize) {
        self.clear_tid.store(addr, Ordering::Relaxed);
    }

    /// The head of the list of robust mutexes.
    #[must_use]
    pub fn robust_list(&self) -> usize {
        self.robust.load(Ordering::Relaxed)
    }

    /// Sets the head of the list of robust mutexes (`set_robust_list`).
    pub fn set_robust_list(&self, head: usize) {
        self.robust.store(head, Ordering::Relaxed);
    }

    /// The signals blocked.
    #[must_use]
    pub fn signal_mask(&self) -> u64 {
        self.mask.load(Ordering::Relaxed)
    }

    /// Blocks exactly these signals (those that cannot be blocked are left out). By the thread itself.
    pub fn set_signal_mask(&self, mask: u64) {
        self.mask.store(mask & !bits::UNBLOCKABLE, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `signal::send`: it sees this mask, or we see the signal
        // What was blocked and pending may have become deliverable.
        self.attention.raise();
    }

    /// Blocks these signals until the next one has been dealt with (`rt_sigsuspend`, `ppoll`, `pselect6`).
    pub fn set_temporary_mask(&self, mask: u64) {
        if self.saved_mask().is_none() {
            self.saved_mask.store(self.signal_mask(), Ordering::Relaxed);
        }
        self.set_signal_mask(mask);
    }

    /// Ends a temporary mask when the wait ended without a signal.
    pub fn end_temporary_mask(&self) {
        if let Some(mask) = self.take_saved_mask() {
            self.set_signal_mask(mask);
        }
    }

    /// The mask to put back.
    pub(crate) fn saved_mask(&self) -> Option<u64> {
        let mask = self.saved_mask.load(Ordering::Relaxed);
        (mask != NO_MASK).then_some(mask)
    }

    /// The mask to put back, which is forgotten.
    pub(crate) fn take_saved_mask(&self) -> Option<u64> {
        let mask = self.saved_mask();
        self.saved_mask.store(NO_MASK, Ordering::Relaxed);
        mask
    }

    /// A wait for a time was interrupted: if it runs again, it is to end at `deadline` (ns since boot), which goes on passing
    /// while the thread is stopped. Only before an answer with [`crate::Restart::IfNoHandler`].
    pub fn resume_at(&self, deadline: u64) {
        self.resume.store(deadline.max(1), Ordering::Relaxed);
    }

    /// When this call ends if it is one that runs again. Asked by each call that calls [`Thread::resume_at`].
    pub fn take_resume(&self) -> Option<u64> {
        let deadline = self.resume.load(Ordering::Relaxed);
        self.resume.store(0, Ordering::Relaxed);
        (deadline != 0).then_some(deadline)
    }

    /// The signals pending for this thread or its process (`rt_sigpending`).
    #[must_use]
    pub fn signals_pending(&self) -> u64 {
        self.pending.mask() | self.process.pending.mask()
    }

    /// Whether it waits for `signal`, blocked or not.
    pub(crate) fn awaits(&self, signal: u32) -> bool {
        self.awaited.load(Ordering::Relaxed) & mask(signal) != 0
    }

    /// Waits for one of the signals in `set` and takes it out of what is pending (`rt_sigtimedwait`). By the thread itself.
    pub async fn take_signal(&self, set: u64) -> Siginfo {
        let set = set & !bits::UNBLOCKABLE;
        self.awaited.store(set, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `signal::send`: it sees what is awaited, or we see the signal
        let _awaited = Awaited(&self.awaited);
        poll_fn(|_| self.take_pending(set).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Takes out what is pending of `set`: its own first, then its process's.
    pub(crate) fn take_pending(&self, set: u64) -> Option<Siginfo> {
        self.pending.take(set).or_else(|| self.process.pending.take(set))
    }

    /// The same, but `accept` sees it first, and it stays if that fails; called with the signals locked.
    pub(crate) fn take_pending_if<E>(
        &self,
        set: u64,
        mut accept: impl FnMut(&Siginfo) -> Result<(), E>,
    ) -> Result<Option<Siginfo>, E> {
        match self.pending.take_if(set, &mut accept)? {
            None => self.process.pending.take_if(set, accept),
            own => Ok(own),
        }
    }

    /// A user interrupt has arrived for it; `look`: it is not known from whom. Any context.
    pub(crate) fn note_interrupt(&self, look: bool) {
        // Release pairs with the Acquire in `take_interrupts`.
        self.interrupt.fetch_or(if look { ARRIVED | LOOK } else { ARRIVED }, Ordering::Release);
    }

    /// Whether one has, also if it would not take it now.
    pub(crate) fn has_interrupt(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed) & (ARRIVED | LOOK) != 0
    }

    /// Whether it would take one. By its own coroutine, when it leaves user mode.
    pub(crate) fn set_open(&self, open: bool) {
        if open {
            self.interrupt.fetch_or(OPEN, Ordering::Relaxed);
        } else {
            self.interrupt.fetch_and(!OPEN, Ordering::Relaxed);
        }
    }

    /// It is going to take them; whether it has to look at everything.
    pub(crate) fn take_interrupts(&self) -> bool {
        self.has_interrupt() && self.interrupt.swap(0, Ordering::Acquire) & LOOK != 0
    }

    /// Whether a signal or a user interrupt should end an interruptible wait, or the thread has to end or stop.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.killed()
            || self.process.stopped()
            || self.signals_pending() & !self.signal_mask() != 0
            || self.interrupt.load(Ordering::Relaxed) > OPEN
    }

    /// Whether the thread has to end.
    #[inline]
    #[must_use]
    pub fn killed(&self) -> bool {
        // Acquire pairs with the Release in `kill`: the reason is visible.
        self.killed.load(Ordering::Acquire)
    }

    /// Makes the thread end at its next await or entry to user mode. What it waits for is cancelled.
    pub(crate) fn kill(&self) {
        self.leave();
        self.notify();
    }

    /// As [`Thread::kill`], by the thread itself.
    pub(crate) fn leave(&self) {
        // Release pairs with the Acquire in `killed`.
        self.killed.store(true, Ordering::Release);
    }

    /// Makes the thread look at what has been made visible for it.
    pub(crate) fn notify(&self) {
        self.attention.raise();
        // Not there yet: the coroutine will look after it has announced itself (see `adopt`).
        self.wake();
        self.call_back();
    }

    /// Tells it, whose coroutine is `task`, of user interrupts that were noted: it looks on its way to user mode, which it does not leave for more. Any context.
    pub(crate) fn tell(&self, task: &exec::TaskRef) {
        let is_first = self.attention.tell();
        // In any case: what it was told of before may have been no reason to end its wait.
        task.wake();
        if is_first {
            self.call_back();
        }
    }

    /// Has it do an errand on its way; `false`: it is not there. Any context.
    pub(crate) fn send(&self) -> bool {
        let is_there = self.attention.send();
        if is_there {
            self.call_back();
        }
        is_there
    }

    /// Has its hart leave user mode.
    fn call_back(&self) {
        let hart = self.attention.whereabouts();
        if hart != hal::hart::id() {
            hal::hart::send_ipi(hart);
        }
    }

    /// Waits for `future` until a signal comes that should end the wait. Services wrap what signals may end in this.
    ///
    /// # Errors
    /// [`Interrupted`]; the future is dropped then.
    pub fn interruptible<T>(&self, future: impl Future<Output = T>) -> impl Future<Output = Result<T, Interrupted>> {
        self.unless(future, || self.interrupted())
    }

    /// Waits for `future` until the thread is killed.
    pub(crate) fn unless_killed<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Interrupted>> {
        self.unless(future, || self.killed())
    }

    /// Waits until then (ns since boot), or for something to look at: its class may have changed.
    pub(crate) async fn rest(&self, until: u64) {
        // Either way it is looked at again.
        let _ = self.unless(exec::sleep_until(until), || self.killed() || self.attention.is_wanted()).await;
    }

    async fn unless<T>(&self, future: impl Future<Output = T>, over: impl Fn() -> bool) -> Result<T, Interrupted> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending if over() => Poll::Ready(Err(Interrupted)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits until `done`, asked again at each [`Thread::notify`].
    pub(crate) async fn wait_notified(&self, done: impl Fn() -> bool) {
        poll_fn(|_| if done() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Makes the coroutine that awaits this the thread's. Who has made something visible before and found no coroutine
    /// to wake, relies on it that the coroutine looks afterwards.
    pub(crate) async fn adopt(&self) -> Option<exec::TaskRef> {
        let task = exec::current().await;
        if let Some(task) = &task {
            // It may have changed since the coroutine was made.
            let birth = self.class().birth(self.key());
            if task.own_priority() != birth.priority {
                exec::set_class(task, &birth);
            }
        }
        self.scheduled.lock().task.clone_from(&task);
        if !self.affinity.is_all() {
            self.keep_to_harts();
            // It may have begun anywhere.
            self.attention.raise();
        }
        task
    }
}
