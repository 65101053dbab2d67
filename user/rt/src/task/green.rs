//! Green threads: a task that runs a closure on a stack of its own, and may wait anywhere in it.
//!
//! ```text
//!   Green::poll ──switch──> the closure ── block_on(future) ── pending ──switch──> Green::poll answers Pending
//!               <────────── ... next poll goes on there                            ready ──> the closure goes on
//! ```
//!
//! To the scheduler it is a task like any other. Stacks are [`STACK`] bytes, of which the pages that were touched are backed; some are
//! kept for the next. Frames cannot be unwound: a green thread that is aborted while it waits leaves its stack
//! behind for ever, with what lies there (counted in [`super::metrics`]), since others may point to it. One that should end early
//! is told by a channel.
//!
//! One that never waits keeps its thread until the kernel gives the worker to another. One that asks for it ([`super::Builder::ticked`]) is left by a timer
//! of its thread instead, between any two instructions, as if it had yielded, and needs neither the kernel nor a thread of its own (note 0008, section 10). Aborted there it
//! goes on to where it waits.

mod ticked;
mod ticker;

use super::{JoinHandle, Priority, failure};
use crate::io;
use crate::stack::{self, Stack};
use crate::sync::Mutex;
use crate::thread;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;
use core::future::Future;
use core::pin::{Pin, pin};
use core::ptr;
use core::task::{Context, Poll, Waker};
use ticked::Ticked;

pub use ticker::set_slice;
pub(crate) use ticker::{Ticker, is_here, kept_descriptors};

/// The stack of a green thread in bytes.
pub const STACK: usize = 64 * 1024;
/// How many stacks are kept.
const KEPT: usize = 64;

static STACKS: Mutex<Vec<Stack>> = Mutex::new(Vec::new());

fn take_stack() -> io::Result<Stack> {
    let kept = STACKS.lock().pop();
    kept.map_or_else(|| Stack::new(STACK), Ok)
}

fn give_back(stack: Stack) {
    let mut stacks = STACKS.lock();
    if stacks.len() < KEPT {
        stacks.push(stack);
    }
}

/// The two frames between which it goes to and fro, and the waker of the poll that is under way.
pub(crate) struct Switch {
    inside: usize,
    outside: usize,
    waker: *const Waker,
    /// The guard page of its stack.
    guard: usize,
    /// Whether ticks interrupt it: then it has a block of its own, with a guard wherever its code does not run.
    is_ticked: bool,
}

impl Switch {
    pub(crate) fn guard(&self) -> usize {
        self.guard
    }

    pub(crate) fn is_ticked(&self) -> bool {
        self.is_ticked
    }
}

/// What lies in one place for as long as it runs.
struct Body<F, T> {
    switch: Switch,
    f: Option<F>,
    output: Option<T>,
}

/// The future of a green thread.
struct Green<F, T> {
    body: Box<Body<F, T>>,
    /// There until it has ended.
    stack: Option<Stack>,
}

// SAFETY: the closure and what it makes may be sent, and so may its frames: they hold what the closure made, and the bound on
// `spawn` is what `thread::spawn` asks of a closure that runs on another thread from its start. What a frame takes from the thread
// it runs on (`tp`) it reads anew after each switch.
unsafe impl<F: Send, T: Send> Send for Green<F, T> {}
impl<F, T> Unpin for Green<F, T> {}

extern "C" fn run<F: FnOnce() -> T, T>(body: *mut ()) -> ! {
    let body = body.cast::<Body<F, T>>();
    // SAFETY: the body lives until this has ended; the poll that is under way touches nothing but `switch` meanwhile.
    unsafe {
        let f = (*body).f.take();
        let output = f.map(|f| f());
        (*body).output = output;
    }
    loop {
        // SAFETY: the poll under way waits at `outside`. It never comes back here.
        unsafe { stack::switch(&raw mut (*body).switch.inside, (*body).switch.outside) };
    }
}

impl<F: FnOnce() -> T, T> Future for Green<F, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let body = &raw mut *this.body;
        // SAFETY: the body is this future's. What runs inside waits at `inside`, on a stack that nothing else runs on; it comes
        // back to `outside` on this thread, before this returns.
        unsafe {
            let switch = &raw mut (*body).switch;
            (*switch).waker = context.waker();
            let outer = thread::enter_green(switch);
            stack::switch(&raw mut (*switch).outside, (*switch).inside);
            thread::leave_green(outer);
            (*switch).waker = ptr::null();
        }
        match this.body.output.take() {
            Some(output) => {
                if let Some(stack) = this.stack.take() {
                    give_back(stack);
                }
                Poll::Ready(output)
            }
            None => Poll::Pending,
        }
    }
}

impl<F, T> Drop for Green<F, T> {
    fn drop(&mut self) {
        match self.stack.take() {
            // Not begun: nothing is there.
            Some(stack) if self.body.f.is_some() => give_back(stack),
            Some(stack) => failure::leak(stack),
            None => {}
        }
    }
}

/// Starts a green thread of normal priority. It runs as tasks do, while some thread is in [`super::block_on`].
///
/// # Errors
/// `ENOMEM` when there is no stack.
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    spawn_with(Priority::NORMAL, f)
}

/// Starts a green thread of the given priority.
///
/// # Errors
/// As for [`spawn`].
pub fn spawn_with<T, F>(priority: Priority, f: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Ok(super::spawn_with(priority, future(f)?))
}

/// A future that runs `f` on a stack of its own.
pub(super) fn future<T, F>(f: F) -> io::Result<impl Future<Output = T> + Send + 'static>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    begin(f, false)
}

/// The same for one that ticks interrupt.
pub(super) fn ticked<T, F>(f: F) -> io::Result<impl Future<Output = T> + Send + 'static>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let inside = move || {
        thread::end_guard();
        let output = f();
        thread::begin_guard();
        output
    };
    Ok(Ticked::new(begin(inside, true)?))
}

fn begin<F: FnOnce() -> T, T>(f: F, is_ticked: bool) -> io::Result<Green<F, T>> {
    let stack = take_stack()?;
    let switch = Switch { inside: 0, outside: 0, waker: ptr::null(), guard: stack.guard(), is_ticked };
    let mut body = Box::new(Body { switch, f: Some(f), output: None });
    body.switch.inside = stack::prepare(&stack, run::<F, T>, (&raw mut *body).cast());
    Ok(Green { body, stack: Some(stack) })
}

/// Whether the caller is in a green thread.
#[must_use]
pub fn is_current() -> bool {
    thread::green().is_some()
}

/// Waits for `future`: a green thread lets others run meanwhile; a thread outside the executor blocks, as in
/// [`super::block_on`].
pub fn block_on<F: Future>(future: F) -> F::Output {
    let Some(switch) = thread::green() else { return super::block_on(future) };
    let switch = switch.as_ptr();
    // SAFETY: there as long as this runs.
    let is_ticked = unsafe { (*switch).is_ticked };
    let mut future = pin!(future);
    loop {
        let before = times_left(is_ticked);
        // SAFETY: the poll under way keeps its waker until this switches back to it.
        let mut context = Context::from_waker(unsafe { &*(*switch).waker });
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if is_ticked {
            // From the look where the poll waits to the one that goes on: another tick would have it wait elsewhere.
            thread::begin_guard();
        }
        if times_left(is_ticked) == before {
            // SAFETY: it is this green thread's code that calls.
            unsafe { go_out(switch) };
        }
        if is_ticked {
            thread::end_guard();
        }
    }
}

/// How often ticks have had the calling green thread left. A wake that came then has been the next poll's, which went on in the middle of this one.
fn times_left(is_ticked: bool) -> u32 {
    if !is_ticked {
        return 0;
    }
    // SAFETY: it has a block of its own.
    unsafe { thread::Own::current() }.times_left()
}

/// Ends the poll under way; comes back in the next one.
///
/// # Safety
/// Called by the code of the green thread, which is not left meanwhile.
unsafe fn go_out(switch: *mut Switch) {
    let scopes = thread::take_scopes();
    // SAFETY: the poll under way waits at `outside`; the next one comes back here.
    unsafe {
        // One that goes on in the middle of something has its rounding mode there.
        let control = (*switch).is_ticked.then(float_control);
        stack::switch(&raw mut (*switch).inside, (*switch).outside);
        if let Some(control) = control {
            set_float_control(control);
        }
    }
    thread::set_scopes(scopes);
}

/// Ends the poll under way as if the green thread had yielded.
///
/// # Safety
/// As [`go_out`], in the green thread that the calling thread polls.
pub(crate) unsafe fn leave() {
    let Some(switch) = thread::green() else { return };
    let switch = switch.as_ptr();
    // SAFETY: by contract; the poll under way keeps its waker until this switches back to it.
    unsafe {
        (*(*switch).waker).wake_by_ref();
        go_out(switch);
    }
}

/// Lets other tasks run.
pub fn yield_now() {
    block_on(super::yield_now());
}

/// Rounding and exceptions of the floating-point unit.
fn float_control() -> usize {
    let control;
    // SAFETY: reads a register.
    unsafe {
        asm!(".option push", ".option arch, +f", "frcsr {}", ".option pop", out(reg) control, options(nomem, nostack))
    };
    control
}

fn set_float_control(control: usize) {
    // SAFETY: what it was when the poll began.
    unsafe {
        asm!(".option push", ".option arch, +f", "fscsr {}", ".option pop", in(reg) control, options(nomem, nostack))
    };
}
