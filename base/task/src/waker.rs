//! Wakers, task references, and what a task can ask its context for.
//!
//! A waker is a pointer to the task's header and one reference. All wakers of this crate share one
//! table, at one address: that is how a [`TaskRef`] recognises them.

use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use sched::Mark;
use sched::interface::Header;
use sched::word::{Ending, Wake};

use crate::Seen;
use crate::cell::{self, vtable};
use crate::{Priority, Wait};

/// The one table. A `static`, so that it has one address.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// # Safety
/// `data` is a task's header to which the caller holds a reference; so too in the next three.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: alive by contract.
    unsafe { (*data.cast::<Header>()).word().add_ref() };
    RawWaker::new(data, &VTABLE)
}

/// # Safety
/// As [`clone`]; the reference is given up.
unsafe fn wake(data: *const ()) {
    // SAFETY: by contract.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

/// # Safety
/// As [`clone`].
#[inline]
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: a waker's data is never null, and alive by contract.
    let task = unsafe { NonNull::new_unchecked(data.cast::<Header>().cast_mut()) };
    // SAFETY: as above.
    let header = unsafe { task.as_ref() };
    if header.word().wake() == Wake::Enqueue {
        // SAFETY: alive while the caller's reference is, and so is its pool; the word says to queue it.
        unsafe { (vtable(header).wake)(task) };
    }
}

/// # Safety
/// As [`wake`].
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: a waker's data is never null; the reference is given up, by contract.
    unsafe { cell::drop_ref(NonNull::new_unchecked(data.cast::<Header>().cast_mut())) };
}

/// Of [`looking`]: its functions do nothing. A `static`, as above.
static NOBODY: RawWakerVTable =
    RawWakerVTable::new(|_| RawWaker::new(core::ptr::null(), &NOBODY), |_| (), |_| (), |_| ());
// SAFETY: the functions touch nothing.
static LOOKING: Waker = unsafe { Waker::new(core::ptr::null(), &NOBODY) };

/// The waker of who polls a future only to see whether it has to wait; somebody else goes on with it then. What belongs to a task as long as the
/// future waits is not for this one: see [`is_looking`].
#[must_use]
pub fn looking() -> &'static Waker {
    &LOOKING
}

/// Whether who polls has the waker of [`looking`].
#[inline]
#[must_use]
pub fn is_looking(context: &Context<'_>) -> bool {
    core::ptr::eq(context.waker().vtable(), &raw const NOBODY)
}

/// A waker that has no reference of its own, for the time of one poll.
///
/// # Safety
///
/// The caller holds `RUNNING` as long as the waker is used.
#[inline]
pub(crate) unsafe fn borrowed(task: NonNull<Header>) -> ManuallyDrop<Waker> {
    // SAFETY: the table's functions get the header they expect; dropping, which would give up a
    // reference that is not there, is prevented.
    ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(task.as_ptr().cast_const().cast(), &VTABLE)) })
}

/// A reference to a task, of whatever type.
#[derive(Clone, Debug)]
pub struct TaskRef(Waker);

impl TaskRef {
    /// The task that `waker` wakes, if it is one of this scheduler's.
    #[must_use]
    pub fn from_waker(waker: &Waker) -> Option<Self> {
        core::ptr::eq(waker.vtable(), &raw const VTABLE).then(|| Self(waker.clone()))
    }

    /// A reference made from a pointer.
    ///
    /// # Safety
    ///
    /// The caller holds a reference, or `RUNNING`.
    pub(crate) unsafe fn of(task: NonNull<Header>) -> Self {
        // SAFETY: alive by contract; `borrowed` is used for the clone only.
        Self(unsafe { Waker::clone(&*borrowed(task)) })
    }

    #[inline]
    pub(crate) fn pointer(&self) -> NonNull<Header> {
        // SAFETY: made from this crate's own wakers only, whose data is a header and never null.
        unsafe { NonNull::new_unchecked(self.0.data().cast::<Header>().cast_mut()) }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the waker holds a reference.
        unsafe { self.pointer().as_ref() }
    }

    /// The task's number, never used twice in its pool.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.header().id()
    }

    /// How urgent it is: its own priority, or a more urgent one that it has inherited.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.header().priority()
    }

    /// The priority that it has without what it inherits.
    #[must_use]
    pub fn own_priority(&self) -> Priority {
        self.header().own_priority()
    }

    /// Changes its own priority. If it is queued it moves at once. Not from an interrupt handler: see
    /// [`sched::Pool::set_priority`].
    pub fn set_priority(&self, priority: Priority) {
        // SAFETY: the waker holds a reference.
        unsafe { (vtable(self.header()).set_priority)(self.pointer(), priority) };
    }

    /// Makes it at least as urgent as `priority`, that of somebody who waits for it, until
    /// [`restore`](Self::restore). Else as [`set_priority`](Self::set_priority).
    pub fn inherit(&self, priority: Priority) {
        // SAFETY: the waker holds a reference.
        unsafe { (vtable(self.header()).inherit)(self.pointer(), priority) };
    }

    /// Takes back what it has inherited, down to `priority`: that of the most urgent who still waits for it, or
    /// [`Priority::LOWEST`]. Who waits is to be looked for again afterwards, and raises it again: an `inherit` at the same
    /// time may have come before.
    pub fn restore(&self, priority: Priority) {
        // SAFETY: the waker holds a reference.
        unsafe { (vtable(self.header()).restore)(self.pointer(), priority) };
    }

    /// What its policy ranks it by.
    #[inline]
    #[must_use]
    pub fn key(&self) -> u64 {
        self.header().key()
    }

    /// Changes what its policy ranks it by, from the next time on that it is queued.
    #[inline]
    pub fn set_key(&self, key: u64) {
        self.header().set_key(key);
    }

    /// The worker it last ran on.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.header().worker()
    }

    /// What can be told of it from outside.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.header().seen()
    }

    /// Where it lies: no other task has this as long as there is a reference.
    pub(crate) fn address(&self) -> usize {
        self.pointer().addr().get()
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.header().word().ending().is_some()
    }

    /// Whether the task has failed: it panicked, and what it held stays as it was.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.header().word().ending() == Some(Ending::Failed)
    }

    /// The task has a name, for who looks from outside: the first [`NAME_LEN`](crate::NAME_LEN) bytes of its future `F`, which it keeps there as long as it is
    /// there. `false`: a future that is aligned like that has no place that they know.
    pub fn mark_named<F>(&self) -> bool {
        let has_place = align_of::<F>() <= cell::MOST_ALIGNED;
        if has_place {
            self.header().mark(Mark::Named);
        }
        has_place
    }

    /// Makes the task run.
    pub fn wake(&self) {
        self.0.wake_by_ref();
    }

    /// The task's waker.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.0
    }

    /// Has the task's future dropped at its next run, instead of polled; from any context. Nothing happens
    /// if it has ended or its present poll ends it.
    pub fn abort(&self) {
        let header = self.header();
        if header.word().abort() == Wake::Enqueue {
            // SAFETY: alive while the reference is, and so is its pool; the word says to queue it.
            unsafe { (vtable(header).enqueue)(self.pointer()) };
        }
    }

    /// Marks the running task as failed: its joiner gets `JoinError::Panicked`, its future stays where it
    /// is for ever (leaked), whatever it has lent out with it.
    ///
    /// # Safety
    ///
    /// Called by the runtime from within this task's poll, which never returns and whose stack is never
    /// reused.
    pub unsafe fn fail(&self) {
        // SAFETY: by contract.
        unsafe { sched::fail(self.pointer()) };
    }
}

impl TaskRef {
    /// As a pointer, which has the reference.
    pub(crate) fn into_pointer(self) -> NonNull<Header> {
        let task = self.pointer();
        core::mem::forget(self);
        task
    }

    /// With the reference that a pointer has.
    ///
    /// # Safety
    /// The pointer came from [`into_pointer`](Self::into_pointer), and is not used again.
    pub(crate) unsafe fn from_pointer(task: NonNull<Header>) -> Self {
        // SAFETY: the reference is the pointer's, by contract.
        ManuallyDrop::into_inner(unsafe { Self::borrowed(task) })
    }

    /// For the time of one use, without a reference of its own.
    ///
    /// # Safety
    /// The task is not freed before this is gone, and this is cloned only where the caller holds a reference or `RUNNING`.
    #[inline]
    pub(crate) unsafe fn borrowed(task: NonNull<Header>) -> ManuallyDrop<Self> {
        // SAFETY: by contract.
        ManuallyDrop::new(Self(ManuallyDrop::into_inner(unsafe { borrowed(task) })))
    }

    /// A reference by who has borrowed a task without one, unless that has ended, or is cancelled since nobody refers to it.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        // SAFETY: the reference that was just added is the new one's.
        self.header().word().try_add_ref().then(|| unsafe { ManuallyDrop::into_inner(Self::borrowed(self.pointer())) })
    }

    /// Somebody may look for it who has no reference: [`Pender::ends`](crate::Pender::ends) is called.
    pub(crate) fn mark_known(&self) {
        if !self.header().has(Mark::Known) {
            self.header().mark(Mark::Known);
        }
    }
}

/// A task that may be gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    task: NonNull<Header>,
    /// Another may lie there later.
    id: u64,
}

// SAFETY: no more than an address, until somebody shows that the task is there.
unsafe impl Send for Known {}

impl Known {
    pub(crate) fn of(task: &TaskRef) -> Self {
        Self { task: task.pointer(), id: task.id() }
    }

    #[inline]
    pub(crate) fn is(self, task: &TaskRef) -> bool {
        self.task == task.pointer() && self.id == task.id()
    }

    pub(crate) fn address(self) -> usize {
        self.task.addr().get()
    }

    /// The task.
    ///
    /// # Safety
    /// It is not freed before this is gone, which is not cloned.
    pub(crate) unsafe fn task(self) -> ManuallyDrop<TaskRef> {
        // SAFETY: by contract.
        unsafe { TaskRef::borrowed(self.task) }
    }
}

/// A task that is being polled; see [`Pender::runs`](crate::Pender::runs).
#[derive(Clone, Copy, Debug)]
pub struct Running(pub(crate) NonNull<Header>);

impl Running {
    /// As a pointer, to be kept in a word.
    #[must_use]
    pub fn as_ptr(self) -> *mut () {
        self.0.as_ptr().cast()
    }

    /// The task that [`as_ptr`](Self::as_ptr) was asked of, without a reference: to be looked at, or cloned.
    ///
    /// # Safety
    ///
    /// Its poll is not over, and is not before this is gone.
    #[inline]
    #[must_use]
    pub unsafe fn borrow(pointer: NonNull<()>) -> ManuallyDrop<TaskRef> {
        // SAFETY: the poll holds `RUNNING`, and the pointer is a header's, by contract.
        unsafe { TaskRef::borrowed(pointer.cast()) }
    }

    /// A reference to the task that [`as_ptr`](Self::as_ptr) was asked of.
    ///
    /// # Safety
    ///
    /// Its poll is not over.
    #[must_use]
    pub unsafe fn task(pointer: NonNull<()>) -> TaskRef {
        // SAFETY: the poll holds `RUNNING`, and the pointer is a header's, by contract.
        unsafe { TaskRef::of(pointer.cast()) }
    }
}

/// The task that is polled; none under a foreign executor, or behind a combinator that makes wakers of its own.
#[inline]
fn polled<'c>(context: &Context<'c>) -> Option<&'c Header> {
    let waker = context.waker();
    // SAFETY: the data of this crate's own wakers is a header, alive while the waker is.
    core::ptr::eq(waker.vtable(), &raw const VTABLE).then(|| unsafe { &*waker.data().cast::<Header>() })
}

/// Notes what the task that is polled waits for, for who looks from outside: for futures that answer pending.
#[inline]
pub fn waits_for(context: &Context<'_>, wait: Wait) {
    if let Some(task) = polled(context) {
        task.waits_for(wait);
    }
}

/// Notes that it has come: for such futures when they are ready.
#[inline]
pub fn waits_no_more(context: &Context<'_>) {
    if let Some(task) = polled(context) {
        task.waits_no_more();
    }
}

/// The task that awaits this; none under a foreign executor or behind a combinator that makes wakers of
/// its own.
pub async fn current() -> Option<TaskRef> {
    core::future::poll_fn(|cx| Poll::Ready(TaskRef::from_waker(cx.waker()))).await
}

/// Lets tasks of the same priority run first: the task goes to the end of its list.
#[must_use = "futures do nothing unless awaited"]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        // The task runs, so this only has it queued at the end of the poll.
        if core::ptr::eq(cx.waker().vtable(), &raw const VTABLE) {
            // SAFETY: one of this crate's own wakers; called here, it is inlined.
            unsafe { wake_by_ref(cx.waker().data()) };
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
