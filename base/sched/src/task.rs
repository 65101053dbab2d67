//! A task: one allocation that holds the header, the pool's handle, and the future or its output.
//!
//! All handles (wakers, join handles, queue links) are pointers to the header; the functions that know
//! the future's type are in a table made for each type. Who may call which is decided by the task word
//! (`state`), see the invariants at the crate's head.

use alloc::alloc::{alloc, dealloc};
use alloc::sync::Arc;
use core::alloc::Layout;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};

use sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use sync::cell::UnsafeCell;

use crate::Priority;
use crate::pool::Pender;
use crate::queue::Link;
use crate::shared::{Shared, Worker};
use crate::state::{Ending, Release, Word};

/// What every task begins with, whatever its future.
pub(crate) struct Header {
    /// See `state`.
    pub word: Word,
    /// Belongs to the queue the task is in (S2).
    pub link: UnsafeCell<Link>,
    /// The functions that know the types behind this header.
    pub vtable: &'static Vtable,
    /// Unique in the pool, never used again.
    pub id: u64,
    /// What the next enqueue goes by.
    priority: AtomicU8,
    /// The worker it last ran on: where it is put unless another is better (S6).
    home: AtomicPtr<Worker>,
    /// Never leaves its worker.
    pub pinned: bool,
    /// Who waits for the end (S4).
    pub join_waker: UnsafeCell<Option<Waker>>,
}

impl Header {
    /// The priority that the next enqueue goes by.
    #[inline]
    pub(crate) fn priority(&self) -> Priority {
        // Relaxed: a number on its own.
        Priority::from_number(self.priority.load(Ordering::Relaxed))
    }

    /// Changes the priority from the next enqueue on.
    pub(crate) fn set_priority(&self, priority: Priority) {
        self.priority.store(priority.number(), Ordering::Relaxed);
    }

    /// The worker the task last ran on.
    #[inline]
    pub(crate) fn home(&self) -> NonNull<Worker> {
        // Relaxed: a hint, or constant for a pinned task; the workers are older than the task.
        let home = self.home.load(Ordering::Relaxed);
        // SAFETY: made from a reference, in `create` and `set_home`.
        unsafe { NonNull::new_unchecked(home) }
    }

    /// Notes the worker the task runs on, one of its pool's.
    #[inline]
    pub(crate) fn set_home(&self, worker: &Worker) {
        self.home.store(ptr::from_ref(worker).cast_mut(), Ordering::Relaxed);
    }
}

/// Operations on a task whose type is known to the table only. All take the pointer that
/// [`create`] returned.
pub(crate) struct Vtable {
    /// Puts a task that is `SCHEDULED` in a queue of its pool. The caller keeps the pool alive.
    pub enqueue: unsafe fn(NonNull<Header>),
    /// The same for a task that was woken; tells the pool's `Pender`, too.
    pub wake: unsafe fn(NonNull<Header>),
    /// Polls the future; when ready, drops it and puts the output in place. Needs `RUNNING`.
    pub poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    /// Drops the future. Needs `RUNNING`; once only.
    pub drop_future: unsafe fn(NonNull<Header>),
    /// Drops the output. Needs the right to the output (S1); once only.
    pub drop_output: unsafe fn(NonNull<Header>),
    /// Moves the output to where the pointer says. Needs the right to the output (S1); once only.
    pub take_output: unsafe fn(NonNull<Header>, *mut ()),
    /// Frees the task, whose future and output are gone (S3).
    pub free: unsafe fn(NonNull<Header>),
}

/// The future while the task lives, the output once it is complete.
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
}

/// What is in the same place in all tasks of a pool. `repr(C)`: the header is at offset 0, so a pointer to it is one to
/// the whole.
#[repr(C)]
struct Head<P: Pender> {
    header: Header,
    shared: ManuallyDrop<Arc<Shared<P>>>,
}

/// The allocation. `repr(C)` as above.
#[repr(C)]
struct Cell<F: Future, P: Pender> {
    head: Head<P>,
    stage: UnsafeCell<Stage<F>>,
}

/// What a new task is made of besides its future.
pub(crate) struct Birth<'a> {
    pub id: u64,
    pub priority: Priority,
    pub home: &'a Worker,
    pub pinned: bool,
}

/// Allocates a task, `SCHEDULED` and with one reference (the join handle's); gives the future back when
/// there is no memory.
pub(crate) fn create<F, P>(shared: &Arc<Shared<P>>, birth: &Birth<'_>, future: F) -> Result<NonNull<Header>, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    P: Pender,
{
    let layout = Layout::new::<Cell<F, P>>();
    // SAFETY: the layout is not of size zero, it contains a header.
    let memory = unsafe { alloc(layout) }.cast::<Cell<F, P>>();
    let Some(cell) = NonNull::new(memory) else {
        return Err(future);
    };
    let header = Header {
        word: Word::new(),
        link: UnsafeCell::new(Link::new()),
        vtable: const { &table::<F, P>() },
        id: birth.id,
        priority: AtomicU8::new(birth.priority.number()),
        home: AtomicPtr::new(ptr::from_ref(birth.home).cast_mut()),
        pinned: birth.pinned,
        join_waker: UnsafeCell::new(None),
    };
    let value = Cell {
        head: Head { header, shared: ManuallyDrop::new(Arc::clone(shared)) },
        stage: UnsafeCell::new(Stage { future: ManuallyDrop::new(future) }),
    };
    // SAFETY: freshly allocated with the layout of this type.
    unsafe { cell.write(value) };
    Ok(cell.cast())
}

/// The memory a task of this future takes, in bytes.
pub(crate) const fn size_of_task<F: Future, P: Pender>() -> usize {
    size_of::<Cell<F, P>>()
}

const fn table<F, P>() -> Vtable
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    P: Pender,
{
    Vtable {
        enqueue: enqueue::<P>,
        wake: wake::<P>,
        poll: poll::<F, P>,
        drop_future: drop_future::<F, P>,
        drop_output: drop_output::<F, P>,
        take_output: take_output::<F, P>,
        free: free::<F, P>,
    }
}

/// # Safety
/// `task` points to a live `Head<P>` that is `SCHEDULED` and in no queue; its pool outlives the call.
unsafe fn enqueue<P: Pender>(task: NonNull<Header>) {
    // SAFETY: by contract; the handle to the pool is never changed.
    let shared: *const Shared<P> = Arc::as_ptr(unsafe { &task.cast::<Head<P>>().as_ref().shared });
    // SAFETY: by contract; the task may go to the queue.
    unsafe { (*shared).enqueue(task) };
}

/// # Safety
/// As [`enqueue`].
unsafe fn wake<P: Pender>(task: NonNull<Header>) {
    // SAFETY: by contract; a scheduled task is alive until it is queued.
    let head = unsafe { task.cast::<Head<P>>().as_ref() };
    head.shared.pender.woken(head.header.id);
    // SAFETY: by contract.
    unsafe { enqueue::<P>(task) };
}

/// # Safety
/// `task` points to a `Cell<F, P>` whose `RUNNING` the caller holds, with the future in place.
unsafe fn poll<F: Future, P: Pender>(task: NonNull<Header>, cx: &mut Context<'_>) -> Poll<()> {
    // SAFETY: a live cell of this type, by contract.
    let stage = unsafe { &task.cast::<Cell<F, P>>().as_ref().stage };
    stage.with_mut(|stage| {
        // SAFETY: S1, the caller holds RUNNING; the future is in place and does not move until dropped.
        let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
        let Poll::Ready(output) = future.poll(cx) else {
            return Poll::Pending;
        };
        // SAFETY: as above; the output replaces the dropped future.
        unsafe {
            ManuallyDrop::drop(&mut (*stage).future);
            (*stage).output = ManuallyDrop::new(output);
        }
        Poll::Ready(())
    })
}

/// # Safety
/// As [`poll`]; the future is not touched afterwards.
unsafe fn drop_future<F: Future, P: Pender>(task: NonNull<Header>) {
    // SAFETY: a live cell of this type, by contract.
    let stage = unsafe { &task.cast::<Cell<F, P>>().as_ref().stage };
    // SAFETY: S1, the caller holds RUNNING and drops the future once.
    stage.with_mut(|stage| unsafe { ManuallyDrop::drop(&mut (*stage).future) });
}

/// # Safety
/// `task` points to a `Cell<F, P>` with an output in place that is the caller's.
unsafe fn drop_output<F: Future, P: Pender>(task: NonNull<Header>) {
    // SAFETY: a live cell of this type, by contract.
    let stage = unsafe { &task.cast::<Cell<F, P>>().as_ref().stage };
    // SAFETY: S1, the output is the caller's and dropped once.
    stage.with_mut(|stage| unsafe { ManuallyDrop::drop(&mut (*stage).output) });
}

/// # Safety
/// As [`drop_output`]; `to` points to memory for an `F::Output`.
unsafe fn take_output<F: Future, P: Pender>(task: NonNull<Header>, to: *mut ()) {
    // SAFETY: a live cell of this type, by contract.
    let stage = unsafe { &task.cast::<Cell<F, P>>().as_ref().stage };
    stage.with_mut(|stage| {
        // SAFETY: S1, the output is the caller's and moved out once; `to` has room for it.
        unsafe { to.cast::<F::Output>().write(ManuallyDrop::take(&mut (*stage).output)) }
    });
}

/// # Safety
/// `task` points to a `Cell<F, P>` that nobody else can reach (S3), its future and output gone.
unsafe fn free<F: Future, P: Pender>(task: NonNull<Header>) {
    let cell = task.cast::<Cell<F, P>>().as_ptr();
    // SAFETY: sole owner. The header's only field with a destructor is the join waker (always empty by
    // now); the handle to the pool is dropped here, once; the memory came from `alloc` with this layout.
    unsafe {
        ManuallyDrop::drop(&mut (*cell).head.shared);
        ptr::drop_in_place(&raw mut (*cell).head.header);
        dealloc(cell.cast(), Layout::new::<Cell<F, P>>());
    }
}

/// Gives up a reference to a task and does what that entails.
///
/// # Safety
///
/// The caller holds the reference and does not use it afterwards.
pub(crate) unsafe fn drop_ref(task: NonNull<Header>) {
    // SAFETY: alive, the caller holds a reference.
    let header = unsafe { task.as_ref() };
    match header.word.drop_ref() {
        Release::Nothing => {}
        // SAFETY: S3; future and output are gone, since the join handle took or dropped the output
        // before it gave up its reference.
        Release::Free => unsafe { (header.vtable.free)(task) },
        Release::Enqueue => {
            // SAFETY: the word says that the task is to be queued; the reference keeps it and its pool.
            unsafe { (header.vtable.enqueue)(task) };
            // The task is scheduled or further now, so this does not come here again.
            // SAFETY: the reference was given back by the word.
            unsafe { drop_ref(task) };
        }
    }
}

/// Completes a task whose future is gone and gives up `RUNNING`.
///
/// # Safety
///
/// The caller holds `RUNNING` and does not touch the task afterwards; with [`Ending::Output`] the output
/// is in place, else the future has been dropped.
pub(crate) unsafe fn complete(task: NonNull<Header>, ending: Ending) {
    // SAFETY: RUNNING keeps it alive.
    let header = unsafe { task.as_ref() };
    // SAFETY: by contract.
    unsafe { publish_end(task, ending) };
    match header.word.release() {
        Release::Nothing | Release::Enqueue => {}
        // SAFETY: S3; the future is gone, and there is no join handle, so the output is too.
        Release::Free => unsafe { (header.vtable.free)(task) },
    }
}

/// Completes a task without giving up `RUNNING`: wakes who joins it, drops an output nobody wants.
///
/// # Safety
///
/// As [`complete`], but the task stays the caller's.
pub(crate) unsafe fn publish_end(task: NonNull<Header>, ending: Ending) {
    // SAFETY: RUNNING keeps it alive.
    let header = unsafe { task.as_ref() };
    let found = header.word.complete(ending);
    if found.drop_output {
        // SAFETY: S1, the join handle is gone and RUNNING is the caller's.
        unsafe { (header.vtable.drop_output)(task) };
    }
    if found.wake_joiner {
        // SAFETY: S4, the cell is the completer's now.
        let waker = header.join_waker.with_mut(|cell| unsafe { (*cell).take() });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
