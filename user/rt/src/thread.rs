//! Threads: `clone` on a stack of their own with a guard page below.
//!
//! ```text
//!   guard page | stack, grows down ... | ControlBlock | stack of `overflow`      tp points at the control block
//! ```
//!
//! The control block belongs to the thread; its `tid` word is the exception: the kernel clears it when the thread has
//! left its stack, and wakes whoever joins. Only after that is the stack given back: by `join`, or, for a handle
//! that was dropped, by a later `spawn`. A few that were given back are kept for the threads to come, mapped and with the
//! pages that were touched: making and taking away a mapping costs several times what a thread does.

use crate::slots::Held;
use crate::sync::{Arc, Mutex};
use crate::sys::{self, syscall};
use crate::task::{LocalScope as Scope, Switch};
use crate::{futex, heap, io, overflow, stack, uintr};
use abi::process::{
    CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_PARENT_SETTID, CLONE_SETTLS, CLONE_SIGHAND, CLONE_SYSVSEM,
    CLONE_THREAD, CLONE_VM,
};
use alloc::vec::Vec;
use core::arch::{asm, global_asm};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;
use task::{Running, TaskRef};

mod own;

pub(crate) use own::Own;

/// Stack of a spawned thread in bytes; pages are backed when touched.
pub(crate) const STACK: usize = 256 * 1024;
/// What is mapped for a thread.
const MAPPED: usize = stack::GUARD + STACK + overflow::STACK;
const FLAGS: u64 = CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID;

/// What every thread has, the first included.
#[repr(C)]
struct Local {
    /// Thread id while it runs, 0 once it has left its stack.
    tid: AtomicU32,
    // The rest is touched by the thread alone.
    /// The guard page of its own stack; 0 for the main thread.
    own: AtomicUsize,
    /// The task that it polls.
    task: AtomicPtr<()>,
    /// The frame at which it leaves the stack that it polls tasks on; 0 if it is on no such stack.
    back: AtomicUsize,
    /// The guard page of that stack.
    polls: AtomicUsize,
    /// Twice how many guards of blocking locks were made on this stack and are still there; less one if it is to be left when there are
    /// none ([`Own`]).
    guards: AtomicI32,
    /// The green thread that it runs.
    green: AtomicPtr<Switch>,
    /// The scopes of task-local values that it polls.
    scopes: AtomicPtr<Scope>,
    /// The slot with which it runs a worker.
    held: AtomicPtr<Held>,
    /// The guard page of the stack that the handlers of its user interrupts run on, which goes with the thread; 0 if it takes none.
    handlers: AtomicUsize,
}

impl Local {
    const fn new(own: usize) -> Self {
        Self {
            tid: AtomicU32::new(0),
            own: AtomicUsize::new(own),
            task: AtomicPtr::new(ptr::null_mut()),
            back: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
            guards: AtomicI32::new(0),
            green: AtomicPtr::new(ptr::null_mut()),
            scopes: AtomicPtr::new(ptr::null_mut()),
            held: AtomicPtr::new(ptr::null_mut()),
            handlers: AtomicUsize::new(0),
        }
    }
}

/// What `tp` points at.
#[repr(C, align(16))]
struct ControlBlock {
    local: Local,
    /// What the thread runs, taken by it at its start.
    entry: Option<Arc<dyn Run>>,
}

/// What a thread runs and the value it leaves, in one allocation.
struct Packet<F, T> {
    work: Mutex<Option<F>>,
    result: Mutex<Option<T>>,
}

/// A packet, for the thread.
trait Run: Send + Sync {
    fn run(&self);
}

/// A packet, for whoever joins.
trait Leaves<T>: Send + Sync {
    fn take(&self) -> Option<T>;
}

impl<T: Send, F: FnOnce() -> T + Send> Run for Packet<F, T> {
    fn run(&self) {
        let work = self.work.lock().take();
        let value = work.map(|work| work());
        *self.result.lock() = value;
    }
}

impl<T: Send, F: Send> Leaves<T> for Packet<F, T> {
    fn take(&self) -> Option<T> {
        self.result.lock().take()
    }
}

/// The main thread's, whose id the kernel does not clear.
static MAIN: Local = Local::new(0);

/// Makes the calling thread, the first, a thread of this module.
pub(crate) fn adopt_main() {
    let block = ptr::from_ref(&MAIN) as usize;
    // SAFETY: nothing else uses tp; `MAIN` is a control block as far as `local` sees one.
    unsafe { asm!("mv tp, {}", in(reg) block, options(nomem, nostack)) };
    let tid = syscall!(GETTID).unwrap_or_default();
    MAIN.tid.store(tid as u32, Ordering::Relaxed);
}

/// What the calling thread has.
#[inline]
fn local<'t>() -> &'t Local {
    let local: *const Local;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, tp", out(reg) local, options(nomem, nostack, preserves_flags)) };
    // SAFETY: tp points at the running thread's block (module head), alive as long as the thread; callers do not keep it.
    unsafe { &*local }
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn id() -> u32 {
    local().tid.load(Ordering::Relaxed)
}

/// Notes what the calling thread polls.
#[inline]
pub(crate) fn set_task(task: Option<Running>) {
    // Relaxed, as below: the thread's own.
    local().task.store(task.map_or(ptr::null_mut(), Running::as_ptr), Ordering::Relaxed);
}

/// Calls `f` with the task that the calling thread polls.
#[inline]
pub(crate) fn with_task<R>(f: impl FnOnce(Option<&TaskRef>) -> R) -> R {
    // SAFETY: set at the beginning of the poll, and cleared at its end; this is called from within it.
    match NonNull::new(local().task.load(Ordering::Relaxed)).map(|task| unsafe { Running::borrow(task) }) {
        Some(task) => f(Some(&task)),
        None => f(None),
    }
}

/// The task that the calling thread polls.
pub(crate) fn task() -> Option<TaskRef> {
    with_task(|task| task.cloned())
}

/// Runs `f` with a slot that the calling thread has from now on.
pub(crate) fn hold<R>(held: &Held, f: impl FnOnce() -> R) -> R {
    local().held.store(ptr::from_ref(held).cast_mut(), Ordering::Relaxed);
    let result = f();
    local().held.store(ptr::null_mut(), Ordering::Relaxed);
    result
}

/// The slot with which the calling thread runs a worker, or did before it lost it.
pub(crate) fn held<'t>() -> Option<&'t Held> {
    // SAFETY: set for as long as `hold` borrows it; a poll that panics is left within that. Callers do not keep it.
    unsafe { local().held.load(Ordering::Relaxed).as_ref() }
}

/// What [`enter_stack`] found, for [`leave_stack`].
pub(crate) struct Outer {
    back: usize,
    polls: usize,
    guards: i32,
}

/// The calling thread goes to a stack that it can leave for good, with its guard page there.
pub(crate) fn enter_stack(guard: usize) -> Outer {
    let local = local();
    // Relaxed, as in all that follow: the thread's own.
    let guards = local.guards.load(Ordering::Relaxed);
    let polls = local.polls.load(Ordering::Relaxed);
    local.guards.store(0, Ordering::Relaxed);
    local.polls.store(guard, Ordering::Relaxed);
    Outer { back: local.back.load(Ordering::Relaxed), polls, guards }
}

/// It is back, or has left that stack as it was.
pub(crate) fn leave_stack(outer: Outer) {
    let local = local();
    local.back.store(outer.back, Ordering::Relaxed);
    local.polls.store(outer.polls, Ordering::Relaxed);
    local.guards.store(outer.guards, Ordering::Relaxed);
    local.green.store(ptr::null_mut(), Ordering::Relaxed);
    local.scopes.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Has a stack overflow of the calling thread named, whatever stack it is on. A call of the kernel's, which would be a fifth of what starting and
/// joining a thread costs: so only threads that run others' code for long ask for it.
pub(crate) fn watch_overflow() {
    match local().own.load(Ordering::Relaxed) {
        0 => {}
        own => overflow::watch_thread(own + stack::GUARD + STACK),
    }
}

/// The guard pages of the stacks that a thread may be on; 0 where it is on none such.
pub(crate) struct GuardPages {
    pub(crate) own: usize,
    pub(crate) polls: usize,
    pub(crate) green: usize,
    pub(crate) handlers: usize,
    pub(crate) nesting: usize,
}

/// Those of the calling thread.
pub(crate) fn guard_pages() -> GuardPages {
    let local = local();
    // SAFETY: the green thread that this thread runs keeps its switch meanwhile.
    let green = green().map_or(0, |switch| unsafe { switch.as_ref() }.guard());
    let handlers = local.handlers.load(Ordering::Relaxed);
    let nesting = match handlers {
        0 => 0,
        // SAFETY: this thread's own (`keep_handlers`).
        guard => unsafe { uintr::guard_of_nesting(guard) },
    };
    GuardPages {
        own: local.own.load(Ordering::Relaxed),
        polls: local.polls.load(Ordering::Relaxed),
        green,
        handlers,
        nesting,
    }
}

/// The handlers of the calling thread's user interrupts run on the stack with this guard page, until the thread ends.
pub(crate) fn keep_handlers(guard: usize) {
    local().handlers.store(guard, Ordering::Relaxed);
}

/// Where the frame's address is by which the calling thread leaves its stack; 0 there if it cannot.
pub(crate) fn way_back() -> *mut usize {
    local().back.as_ptr()
}

/// Whether it can.
pub(crate) fn can_leave_stack() -> bool {
    local().back.load(Ordering::Relaxed) != 0
}

/// Whether the calling thread has guards of blocking locks.
pub(crate) fn has_guards() -> bool {
    local().guards.load(Ordering::Relaxed) > 0
}

/// It makes one: said before the lock is taken.
#[inline]
pub(crate) fn begin_guard() {
    let guards = &local().guards;
    guards.store(guards.load(Ordering::Relaxed) + 2, Ordering::Relaxed);
}

/// It has dropped one: said when the lock is free. A green thread that was to be left meanwhile is left here.
#[inline]
pub(crate) fn end_guard() {
    let guards = &local().guards;
    let left = guards.load(Ordering::Relaxed) - 2;
    guards.store(left, Ordering::Relaxed);
    if left < 0 {
        own::give_way();
    }
}

/// The green thread that the calling thread runs.
pub(crate) fn green() -> Option<NonNull<Switch>> {
    NonNull::new(local().green.load(Ordering::Relaxed))
}

/// The calling thread goes to a green thread's stack: there are none of the scopes that it is in here.
pub(crate) fn enter_green(switch: *mut Switch) -> (*mut Switch, *const Scope) {
    let local = local();
    let outer = (local.green.load(Ordering::Relaxed), take_scopes());
    local.green.store(switch, Ordering::Relaxed);
    outer
}

/// It is back, with what [`enter_green`] answered.
pub(crate) fn leave_green(outer: (*mut Switch, *const Scope)) {
    local().green.store(outer.0, Ordering::Relaxed);
    set_scopes(outer.1);
}

/// The scopes of task-local values that the calling thread polls, innermost first.
pub(crate) fn scopes() -> *const Scope {
    local().scopes.load(Ordering::Relaxed)
}

/// Changes them.
pub(crate) fn set_scopes(scopes: *const Scope) {
    local().scopes.store(scopes.cast_mut(), Ordering::Relaxed);
}

/// The scopes, of which none are left.
pub(crate) fn take_scopes() -> *const Scope {
    let scopes = scopes();
    set_scopes(ptr::null());
    scopes
}

// rt_thread_clone(flags, stack, parent_tid, tls, child_tid) -> tid or -errno. The child starts on the new stack with
// its tp set, and never returns from here.
global_asm!(
    ".globl rt_thread_clone",
    "rt_thread_clone:",
    "li a7, {clone}",
    "ecall",
    "bnez a0, 1f",
    "mv ra, zero",
    "mv fp, zero",
    "mv a0, tp",
    "tail {run}",
    "1: ret",
    clone = const abi::nr::CLONE,
    run = sym run,
);

unsafe extern "C" {
    fn rt_thread_clone(flags: u64, stack: usize, parent: *mut u32, tls: usize, child: *mut u32) -> isize;
}

extern "C" fn run(block: *mut ControlBlock) -> ! {
    // SAFETY: `block` is this thread's control block, initialised before the clone; `entry` is touched by it alone.
    let entry = unsafe { (*block).entry.take() };
    if let Some(entry) = entry {
        entry.run();
    }
    loop {
        let _ = syscall!(EXIT, 0);
    }
}

/// The memory of a thread.
struct Stack {
    base: usize,
}

/// Most stacks that are kept.
const KEPT: usize = 8;

/// Stacks that no thread runs on.
struct Kept {
    bases: [usize; KEPT],
    count: usize,
}

static FREE: Mutex<Kept> = Mutex::new(Kept { bases: [0; KEPT], count: 0 });

impl Kept {
    fn take(&mut self) -> Option<usize> {
        self.count = self.count.checked_sub(1)?;
        Some(self.bases[self.count])
    }

    /// `false`: there is no room.
    fn keep(&mut self, base: usize) -> bool {
        let Some(place) = self.bases.get_mut(self.count) else { return false };
        *place = base;
        self.count += 1;
        true
    }
}

impl Stack {
    fn new() -> io::Result<Self> {
        if let Some(base) = FREE.lock().take() {
            return Ok(Self { base });
        }
        let stack = Self { base: heap::map(MAPPED)? };
        syscall!(MPROTECT, stack.base, stack::GUARD, abi::mm::PROT_NONE)?;
        Ok(stack)
    }

    fn block(&self) -> *mut ControlBlock {
        (self.base + stack::GUARD + STACK - size_of::<ControlBlock>()) as *mut ControlBlock
    }

    fn tid(&self) -> &AtomicU32 {
        // SAFETY: the block lives in the mapping this value owns, and its tid is only used atomically.
        unsafe { &(*self.block()).local.tid }
    }

    fn finished(&self) -> bool {
        // Acquire: pairs with the kernel's clearing of the word after the thread's last access.
        self.tid().load(Ordering::Acquire) == 0
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the block lies in the mapping this value owns. Nobody runs on the stack (below), so nobody else uses the field; where no thread was, it is
        // zero, as fresh memory is and as this leaves it.
        match unsafe { &(*self.block()).local }.handlers.swap(0, Ordering::Relaxed) {
            0 => {}
            // SAFETY: the thread that it was given to has ended.
            guard => unsafe { uintr::free(guard) },
        }
        if FREE.lock().keep(self.base) {
            return;
        }
        let args = [self.base, MAPPED, 0, 0, 0, 0];
        // SAFETY: dropped only when no thread runs on it: before the clone, or after `finished`.
        let _ = unsafe { sys::call6(abi::nr::MUNMAP, args) };
    }
}

/// Stacks of threads whose handle was dropped while they ran.
static DETACHED: Mutex<Vec<Stack>> = Mutex::new(Vec::new());

/// A running thread, and the value it will leave.
pub struct JoinHandle<T> {
    stack: Option<Stack>,
    packet: Arc<dyn Leaves<T>>,
}

impl<T> JoinHandle<T> {
    /// Waits until the thread ends; its value. (A panic would have ended the process.)
    #[must_use]
    pub fn join(mut self) -> Option<T> {
        if let Some(stack) = self.stack.take() {
            loop {
                // Acquire: as in `finished`.
                match stack.tid().load(Ordering::Acquire) {
                    0 => break,
                    tid => futex::wait_kernel(stack.tid(), tid),
                }
            }
        }
        self.packet.take()
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.stack.as_ref().is_none_or(Stack::finished)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        match self.stack.take() {
            Some(stack) if !stack.finished() => DETACHED.lock().push(stack),
            _ => {}
        }
    }
}

/// One of [`DETACHED`] on which nobody runs any more. It is to be dropped without the lock: that is some calls.
fn ended() -> Option<Stack> {
    let mut detached = DETACHED.lock();
    let at = detached.iter().position(Stack::finished)?;
    Some(detached.swap_remove(at))
}

/// Runs `f` on a new thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM` when there can be no more threads.
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    while let Some(stack) = ended() {
        drop(stack);
    }
    let stack = Stack::new()?;
    let packet = Arc::new(Packet { work: Mutex::new(Some(f)), result: Mutex::new(None) });
    let entry: Arc<dyn Run> = packet.clone();
    let block = stack.block();
    // SAFETY: `block` lies in the fresh mapping, aligned to 16 because size and base are multiples of it.
    unsafe { block.write(ControlBlock { local: Local::new(stack.base), entry: Some(entry) }) };
    let tid = stack.tid().as_ptr();
    // SAFETY: the new thread gets a stack of its own below `block`, and `block` as tp; both live until the kernel has
    // cleared `tid`, because `Stack` is dropped only then.
    let started = unsafe { rt_thread_clone(FLAGS, block as usize, tid, block as usize, tid) };
    match abi::Errno::from_return(started) {
        Ok(_) => Ok(JoinHandle { stack: Some(stack), packet }),
        Err(error) => {
            // SAFETY: no thread was started, so this is the only access to the block.
            unsafe { core::ptr::drop_in_place(block) };
            Err(error.into())
        }
    }
}

/// Lets another thread run.
pub fn yield_now() {
    let _ = syscall!(SCHED_YIELD);
}

/// Blocks the thread for at least `duration`.
pub fn sleep(duration: Duration) {
    let mut left = abi::time::Timespec { sec: duration.as_secs() as i64, nsec: i64::from(duration.subsec_nanos()) };
    while syscall!(NANOSLEEP, &raw const left, &raw mut left) == Err(abi::Errno::EINTR) {}
}
