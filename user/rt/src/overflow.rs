//! A stack that overflows meets a page that must not be touched. Whose stack that was is said on standard error; then the fault
//! does what it does by default, so the process ends as it would without this.
//!
//! There is no room for a handler where the stack has ended, so it has one of its own: the main thread's is static, that of a thread that
//! runs tasks lies above its stack (`thread`). It costs memory when it is used only. Other threads have none, and end without a word.
//! Nothing here allocates or waits: the fault may have come
//! anywhere, in the allocator, too.

use crate::sys::syscall;
use crate::task::{NameOf, green};
use crate::{signal, stack, thread, uintr};
use abi::signal::{SA_ONSTACK, SA_SIGINFO, SIG_DFL, SIGSEGV, SIGSET_SIZE, SigStack, Sigaction, Siginfo, Ucontext};
use core::cell::UnsafeCell;
use core::fmt;

/// The stack of the handler in bytes.
pub(crate) const STACK: usize = 8192;

#[repr(C, align(16))]
struct Space(UnsafeCell<[u8; STACK]>);

// SAFETY: nobody but the kernel uses it, as the stack of a handler in one thread.
unsafe impl Sync for Space {}

static MAIN: Space = Space(UnsafeCell::new([0; STACK]));

/// Watches the main thread, and has faults handled in all that [`watch_thread`] is called in. Not if the program was started with
/// another way to deal with them.
pub(crate) fn watch() {
    watch_thread(MAIN.0.get() as usize);
    let handler = faulted as *const () as usize as u64;
    let action = Sigaction { handler, flags: SA_ONSTACK | SA_SIGINFO, mask: 0 };
    let mut before = Sigaction { handler: SIG_DFL as u64, flags: 0, mask: 0 };
    // Where this fails a fault ends the process without a word.
    let _ = syscall!(RT_SIGACTION, SIGSEGV, &raw const action, &raw mut before, SIGSET_SIZE);
    if before.handler != SIG_DFL as u64 {
        let _ = syscall!(RT_SIGACTION, SIGSEGV, &raw const before, 0, SIGSET_SIZE);
    }
}

/// Gives the calling thread a stack for the handler, of [`STACK`] bytes from this address on.
pub(crate) fn watch_thread(lowest: usize) {
    let stack = SigStack { sp: lowest as u64, flags: 0, pad: 0, size: STACK as u64 };
    let _ = syscall!(SIGALTSTACK, &raw const stack, 0);
}

extern "C" fn faulted(_signal: usize, info: *const Siginfo, context: *const Ucontext) {
    // SAFETY: the kernel made both for this call.
    let (code, address, sp) = unsafe { ((*info).code, (*info).fields[0] as usize, (*context).regs.x[1] as usize) };
    let is_fault = (1..abi::signal::SI_KERNEL).contains(&code);
    if is_fault {
        report(address, sp);
    }
    // The fault comes again when this returns.
    let _ = signal::default(SIGSEGV);
    if !is_fault {
        let pid = syscall!(GETPID).unwrap_or_default();
        let _ = syscall!(KILL, pid, SIGSEGV);
    }
}

/// Says whose stack has overflowed, if one has: the fault was at this address, with the stack pointer there.
fn report(address: usize, sp: usize) {
    let is_at = |guard: usize| guard != 0 && (guard..guard + stack::GUARD).contains(&address);
    let stacks = thread::guard_pages();
    if is_at(stacks.nesting) {
        say(format_args!("handlers of user interrupts that let others in, of thread {}", thread::id()), uintr::STACK);
    } else if is_at(stacks.handlers) {
        say(format_args!("a handler of user interrupts of thread {}", thread::id()), uintr::STACK);
    } else if is_at(stacks.green) {
        say(format_args!("a green thread{}", Running), green::STACK);
    } else if is_at(stacks.polls) {
        say(format_args!("a coroutine{}", Running), crate::task::POLL_STACK);
    } else if is_at(stacks.own) {
        say(format_args!("thread {}", thread::id()), thread::STACK);
    } else if stacks.own == 0 && address.abs_diff(sp) < stack::GUARD {
        // The kernel made this stack: there is no page that is known to be its guard.
        eprintln!("stack overflow in the main thread");
    }
}

fn say(whose: fmt::Arguments<'_>, size: usize) {
    eprintln!("stack overflow in {whose}: its stack has {size} bytes");
}

/// The task that the calling thread polls.
struct Running;

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match thread::task() {
            Some(task) => write!(f, " (task {}{})", task.id(), NameOf(task.id())),
            None => Ok(()),
        }
    }
}
