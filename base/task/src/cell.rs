//! A task's allocation: the scheduler's header, who joins, and the future or its output.
//!
//! All handles (wakers, join handles, queue links) are pointers to the header; the functions that know
//! the future's type are in a table made for each type. Who may call which is decided by the task word, see the invariants
//! of `sched`.

use alloc::sync::Arc;
use core::alloc::Layout;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};

use sched::interface::{Birth, DROP_OUTPUT, Header, Ops, WAKE_JOINER};
use sched::word::Release;
use sched::{Mark, Priority, crossing};
use sync::cell::UnsafeCell;

use crate::pool::{Memory, Pender, Shared};
use crate::scheduler::Scheduler;
use crate::waker::{self, Running, TaskRef};

/// What is in the same place in all tasks. `repr(C)`: the header is at offset 0, so a pointer to it is one to the whole.
#[repr(C)]
pub(crate) struct Head {
    pub header: Header,
    /// Who waits for the end (S4).
    pub join_waker: UnsafeCell<Option<Waker>>,
}

/// The bar is 128 bytes a task besides its future; the allocator takes some, too.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Head>() <= 112);

/// The functions that know the types behind a header. `repr(C)`: the scheduler sees the first field.
#[repr(C)]
pub(crate) struct Vtable {
    ops: Ops,
    /// Puts a task that is `SCHEDULED` in a queue of its pool. The caller keeps the pool alive.
    pub enqueue: unsafe fn(NonNull<Header>),
    /// The same for a task that was woken; tells the pool's `Pender`, too.
    pub wake: unsafe fn(NonNull<Header>),
    /// [`Scheduler::set_priority`], and the two that follow.
    pub set_priority: unsafe fn(NonNull<Header>, Priority),
    pub inherit: unsafe fn(NonNull<Header>, Priority),
    pub restore: unsafe fn(NonNull<Header>, Priority),
    /// [`Pender::joins`] and [`Pender::joins_no_more`].
    pub joins: fn(&TaskRef) -> bool,
    pub joins_no_more: fn(&TaskRef),
    /// Drops the output. Needs the right to the output (S1); once only.
    pub drop_output: unsafe fn(NonNull<Header>),
    /// Moves the output to where the pointer says. Needs the right to the output (S1); once only.
    pub take_output: unsafe fn(NonNull<Header>, *mut ()),
}

/// The table of a task.
#[inline]
pub(crate) fn vtable(header: &Header) -> &'static Vtable {
    // SAFETY: every header of this crate's is made by `create`, with such a table.
    unsafe { header.ops().cast::<Vtable>().as_ref() }
}

/// The cell of who joins a task.
///
/// # Safety
///
/// The task is alive.
#[inline]
pub(crate) unsafe fn join_waker<'t>(task: NonNull<Header>) -> &'t UnsafeCell<Option<Waker>> {
    // SAFETY: every header of this crate's is the first field of a head.
    unsafe { &task.cast::<Head>().as_ref().join_waker }
}

/// The future while the task lives, the output once it is complete.
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
}

/// The allocation. `repr(C)` as above.
#[repr(C)]
struct Cell<F: Future> {
    head: Head,
    stage: UnsafeCell<Stage<F>>,
}

/// Allocates a task, `SCHEDULED` and with one reference (the join handle's); gives the future back when
/// there is no memory.
#[inline]
pub(crate) fn create<F, P, S>(
    shared: &Arc<Shared<P>>,
    pool: &sched::Pool,
    birth: &Birth,
    future: F,
) -> Result<NonNull<Header>, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    P: Pender,
    S: Scheduler,
{
    let layout = Layout::new::<Cell<F>>();
    // The layout is not of size zero, it contains a header.
    let memory = P::Memory::allocate(layout).cast::<Cell<F>>();
    let Some(cell) = NonNull::new(memory) else {
        return Err(future);
    };
    let stage = UnsafeCell::new(Stage { future: ManuallyDrop::new(future) });
    // The task's share in the pool; given back by `free`, which knows it as the context of the pool's port.
    core::mem::forget(Arc::clone(shared));
    // SAFETY: freshly allocated with the layout of this type; the table is that of the type, the future can be sent.
    unsafe {
        S::new_task(pool, cell.cast(), NonNull::from_ref(const { &table::<F, P, S>() }).cast(), birth);
        (&raw mut (*memory).head.join_waker).write(UnsafeCell::new(None));
        (&raw mut (*memory).stage).write(stage);
    }
    Ok(cell.cast())
}

/// What is at the start of a future that is aligned like this or less lies where the census looks for a name.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Head>() == sched::census::NAME);
/// See [`crate::TaskRef::mark_named`].
pub(crate) const MOST_ALIGNED: usize = 16;
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(sched::census::NAME.is_multiple_of(MOST_ALIGNED));

/// The memory a task of this future takes, in bytes.
pub(crate) const fn size_of_task<F: Future>() -> usize {
    size_of::<Cell<F>>()
}

const fn table<F, P, S>() -> Vtable
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    P: Pender,
    S: Scheduler,
{
    Vtable {
        ops: Ops {
            poll: poll::<F, P>,
            drop_future: drop_future::<F, P>,
            ended,
            free: free::<F, P>,
            output_drops: core::mem::needs_drop::<F::Output>(),
        },
        enqueue: S::enqueue,
        wake: if P::HEARS_WAKES { wake::<P, S> } else { S::enqueue },
        set_priority: S::set_priority,
        inherit: S::inherit,
        restore: S::restore,
        joins: P::joins,
        joins_no_more: P::joins_no_more,
        drop_output: drop_output::<F>,
        take_output: take_output::<F>,
    }
}

/// The pool's part of a task.
///
/// # Safety
/// `task` points to a live task of a `Pool<P, _>`.
#[inline]
unsafe fn shared_of<P>(task: NonNull<Header>) -> *const Shared<P> {
    // SAFETY: by contract.
    unsafe { task.as_ref() }.pool().port().context.cast()
}

/// # Safety
/// `task` points to a live task of a `Pool<P, S>` that is `SCHEDULED` and in no queue; its pool outlives the call.
unsafe fn wake<P: Pender, S: Scheduler>(task: NonNull<Header>) {
    // SAFETY: by contract; a scheduled task is alive until it is queued.
    unsafe {
        (*shared_of::<P>(task)).pender.woken(task.as_ref().id());
        S::enqueue(task);
    }
}

/// The future is gone: who knows the task has to be told before it is freed.
///
/// # Safety
/// The caller holds `RUNNING`.
#[inline]
unsafe fn tell_of_end<P: Pender>(task: NonNull<Header>) {
    // SAFETY: RUNNING keeps it alive.
    if unsafe { task.as_ref() }.has(Mark::Known) {
        // SAFETY: as above.
        unsafe { tell::<P>(task) };
    }
}

/// # Safety
/// As [`tell_of_end`].
#[cold]
#[inline(never)]
unsafe fn tell<P: Pender>(task: NonNull<Header>) {
    // SAFETY: by contract.
    let task = unsafe { TaskRef::borrowed(task) };
    P::ends(&task);
}

crossing! {
    /// # Safety
    /// `task` points to a `Cell<F>` whose `RUNNING` the caller holds, with the future in place.
    unsafe fn poll[F: Future, P: Pender](task: NonNull<Header>) -> bool {
        // SAFETY: RUNNING is the caller's, and the waker is not used afterwards.
        let waker = unsafe { waker::borrowed(task) };
        // SAFETY: a live cell of this type, by contract.
        let stage = unsafe { &task.cast::<Cell<F>>().as_ref().stage };
        stage.with_mut(|stage| {
            // SAFETY: S1, the caller holds RUNNING; the future is in place and does not move until dropped.
            let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
            P::runs(Some(Running(task)));
            let answer = future.poll(&mut Context::from_waker(&waker));
            P::runs(None);
            let Poll::Ready(output) = answer else {
                return false;
            };
            // SAFETY: as above; the output replaces the dropped future.
            unsafe {
                ManuallyDrop::drop(&mut (*stage).future);
                (*stage).output = ManuallyDrop::new(output);
                tell_of_end::<P>(task);
            }
            true
        })
    }

    /// # Safety
    /// As [`poll`]; the future is not touched afterwards.
    unsafe fn drop_future[F: Future, P: Pender](task: NonNull<Header>) {
        // SAFETY: a live cell of this type, by contract.
        let stage = unsafe { &task.cast::<Cell<F>>().as_ref().stage };
        stage.with_mut(|stage| {
            P::runs(Some(Running(task)));
            // SAFETY: S1, the caller holds RUNNING and drops the future once.
            unsafe { ManuallyDrop::drop(&mut (*stage).future) };
            P::runs(None);
            // SAFETY: as above.
            unsafe { tell_of_end::<P>(task) };
        });
    }

    /// # Safety
    /// The task's `RUNNING` is the caller's, and so is what `duty` names.
    unsafe fn ended(task: NonNull<Header>, duty: u32) {
        if duty & DROP_OUTPUT != 0 {
            // SAFETY: S1, the join handle is gone and RUNNING is the caller's.
            unsafe { (vtable(task.as_ref()).drop_output)(task) };
        }
        if duty & WAKE_JOINER != 0 {
            // SAFETY: S4, the cell is the completer's now.
            let waker = unsafe { join_waker(task) }.with_mut(|cell| unsafe { (*cell).take() });
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// # Safety
    /// `task` points to a `Cell<F>` of a `Pool<P, _>` that nobody else can reach (S3), its future and output gone.
    unsafe fn free[F: Future, P: Pender](task: NonNull<Header>) {
        let cell = task.cast::<Cell<F>>().as_ptr();
        // SAFETY: sole owner. The only field with a destructor is the join waker, always empty by now; the memory came from
        // `allocate` with this layout; the share in the pool is the one taken in `create`, given back last.
        unsafe {
            if cfg!(loom) {
                // Loom does not see a drop: this shows that all accesses to the cell come before.
                (*cell).head.join_waker.with_mut(|cell| assert!((*cell).is_none()));
            }
            let shared = shared_of::<P>(task);
            ptr::drop_in_place(&raw mut (*cell).head);
            P::Memory::deallocate(cell.cast(), Layout::new::<Cell<F>>());
            Arc::decrement_strong_count(shared);
        }
    }
}

/// # Safety
/// `task` points to a `Cell<F>` with an output in place that is the caller's.
unsafe fn drop_output<F: Future>(task: NonNull<Header>) {
    // SAFETY: a live cell of this type, by contract.
    let stage = unsafe { &task.cast::<Cell<F>>().as_ref().stage };
    // SAFETY: S1, the output is the caller's and dropped once.
    stage.with_mut(|stage| unsafe { ManuallyDrop::drop(&mut (*stage).output) });
}

/// # Safety
/// As [`drop_output`]; `to` points to memory for an `F::Output`.
unsafe fn take_output<F: Future>(task: NonNull<Header>, to: *mut ()) {
    // SAFETY: a live cell of this type, by contract.
    let stage = unsafe { &task.cast::<Cell<F>>().as_ref().stage };
    stage.with_mut(|stage| {
        // SAFETY: S1, the output is the caller's and moved out once; `to` has room for it.
        unsafe { to.cast::<F::Output>().write(ManuallyDrop::take(&mut (*stage).output)) }
    });
}

/// Gives up a reference to a task and does what that entails.
///
/// # Safety
///
/// The caller holds the reference and does not use it afterwards.
#[inline]
pub(crate) unsafe fn drop_ref(task: NonNull<Header>) {
    // SAFETY: alive, the caller holds a reference.
    let header = unsafe { task.as_ref() };
    match header.word().drop_ref() {
        Release::Nothing => {}
        // SAFETY: S3; future and output are gone, since the join handle took or dropped the output
        // before it gave up its reference.
        Release::Free => unsafe { (vtable(header).ops.free)(task) },
        Release::Enqueue => {
            // SAFETY: the word says that the task is to be queued; the reference keeps it and its pool. The task is
            // scheduled or further then, so this does not come here again; the reference was given back by the word.
            unsafe {
                (vtable(header).enqueue)(task);
                drop_ref(task);
            }
        }
    }
}
