//! Threads: `clone` on a stack of their own with a guard page below.
//!
//! ```text
//!   guard page | stack, grows down ... | ControlBlock        tp points at the control block
//! ```
//!
//! The control block belongs to the thread; its `tid` word is the exception: the kernel clears it when the thread has
//! left its stack, and wakes whoever joins. Only after that is the mapping returned: by `join`, or, for a handle
//! that was dropped, by a later `spawn`.

use crate::sync::{Arc, Mutex};
use crate::sys::{self, syscall};
use crate::{futex, heap, io};
use abi::process::{
    CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_PARENT_SETTID, CLONE_SETTLS, CLONE_SIGHAND, CLONE_SYSVSEM,
    CLONE_THREAD, CLONE_VM,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

/// Stack of a spawned thread in bytes; pages are backed when touched.
const STACK: usize = 256 * 1024;
const GUARD: usize = 4096;
const FLAGS: u64 = CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID;

/// What `tp` points at.
#[repr(C, align(16))]
struct ControlBlock {
    /// Thread id while it runs, 0 once it has left its stack.
    tid: AtomicU32,
    /// What the thread runs, taken by it at its start.
    entry: Option<Box<dyn FnOnce() + Send>>,
}

/// The main thread's, whose id the kernel does not clear.
static MAIN: AtomicU32 = AtomicU32::new(0);

/// Makes the calling thread, the first, a thread of this module.
pub(crate) fn adopt_main() {
    let block = MAIN.as_ptr() as usize;
    // SAFETY: nothing else uses tp; `MAIN` is a whole control block as far as `id` reads one: its first word.
    unsafe { asm!("mv tp, {}", in(reg) block, options(nomem, nostack)) };
    let tid = syscall!(GETTID).unwrap_or_default();
    MAIN.store(tid as u32, Ordering::Relaxed);
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn id() -> u32 {
    let word: *const AtomicU32;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, tp", out(reg) word, options(nomem, nostack, preserves_flags)) };
    // SAFETY: tp points at the running thread's tid word (module head), alive as long as the thread.
    unsafe { (*word).load(Ordering::Relaxed) }
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
        entry();
    }
    loop {
        let _ = syscall!(EXIT, 0);
    }
}

/// The memory of a thread.
struct Stack {
    base: usize,
}

impl Stack {
    fn new() -> io::Result<Self> {
        let base = heap::map(GUARD + STACK)?;
        let stack = Self { base };
        syscall!(MPROTECT, base, GUARD, abi::mm::PROT_NONE)?;
        Ok(stack)
    }

    fn block(&self) -> *mut ControlBlock {
        (self.base + GUARD + STACK - size_of::<ControlBlock>()) as *mut ControlBlock
    }

    fn tid(&self) -> &AtomicU32 {
        // SAFETY: the block lives in the mapping this value owns, and its tid is only used atomically.
        unsafe { &(*self.block()).tid }
    }

    fn finished(&self) -> bool {
        // Acquire: pairs with the kernel's clearing of the word after the thread's last access.
        self.tid().load(Ordering::Acquire) == 0
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let args = [self.base, GUARD + STACK, 0, 0, 0, 0];
        // SAFETY: dropped only when no thread runs on it: before the clone, or after `finished`.
        let _ = unsafe { sys::call6(abi::nr::MUNMAP, args) };
    }
}

/// Stacks of threads whose handle was dropped while they ran.
static DETACHED: Mutex<Vec<Stack>> = Mutex::new(Vec::new());

/// A running thread, and the value it will leave.
pub struct JoinHandle<T> {
    stack: Option<Stack>,
    result: Arc<Mutex<Option<T>>>,
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
        self.result.lock().take()
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

static STARTED: AtomicBool = AtomicBool::new(false);

/// Runs `f` on a new thread.
///
/// # Errors
/// `EAGAIN` or `ENOMEM` when there can be no more threads.
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    DETACHED.lock().retain(|stack| !stack.finished());
    STARTED.store(true, Ordering::Relaxed);
    let stack = Stack::new()?;
    let result = Arc::new(Mutex::new(None));
    let slot = result.clone();
    let entry: Box<dyn FnOnce() + Send> = Box::new(move || *slot.lock() = Some(f()));
    let block = stack.block();
    // SAFETY: `block` lies in the fresh mapping, aligned to 16 because size and base are multiples of it.
    unsafe { block.write(ControlBlock { tid: AtomicU32::new(0), entry: Some(entry) }) };
    let tid = stack.tid().as_ptr();
    // SAFETY: the new thread gets a stack of its own below `block`, and `block` as tp; both live until the kernel has
    // cleared `tid`, because `Stack` is dropped only then.
    let started = unsafe { rt_thread_clone(FLAGS, block as usize, tid, block as usize, tid) };
    match abi::Errno::from_return(started) {
        Ok(_) => Ok(JoinHandle { stack: Some(stack), result }),
        Err(error) => {
            // SAFETY: no thread was started, so this is the only access to the block.
            unsafe { core::ptr::drop_in_place(block) };
            Err(error.into())
        }
    }
}

/// Whether this process ever started a second thread.
pub(crate) fn started() -> bool {
    // Relaxed: set before the first other thread exists, and a thread sees its own writes.
    STARTED.load(Ordering::Relaxed)
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
