//! The start of a child: `clone(CLONE_VM | CLONE_VFORK)` and `execve`, on a small stack of the child's own.
//!
//! Until it execs, the child shares all memory with the parent, whose thread waits. So it allocates nothing, touches
//! only the [`Plan`] and its own stack, and leaves an error number in the plan's outcome. (An emulator may turn the
//! sharing into a copy: then the error shows as exit status 126 only.)

use crate::sys::{call6, syscall};
use crate::{io, signal};
use abi::Errno;
use abi::asyncos::{WORLD_AUTO, WORLD_SET_NEXT};
use abi::process::{CLONE_VFORK, CLONE_VM};
use abi::signal::{SIG_DFL, SIGCHLD, SIGSET_SIZE, Sigaction};
use alloc::vec::Vec;
use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicI32, Ordering};

/// What the child does. All pointers stay valid while the parent waits.
pub(super) struct Plan<'a> {
    /// Path of the program.
    pub program: &'a CStr,
    /// Arguments, ended by null.
    pub args: Vec<*const c_char>,
    /// Environment, ended by null.
    pub environment: Vec<*const c_char>,
    /// Descriptor for each standard stream; -1 keeps the parent's.
    pub streams: [i32; 3],
    /// Process group to join; 0 a new one, -1 the parent's.
    pub group: i32,
    /// Terminal whose foreground the child's group becomes, or -1.
    pub foreground: i32,
    /// World it runs in (`abi::asyncos::WORLD_*`).
    pub world: usize,
}

struct Order<'a> {
    plan: &'a Plan<'a>,
    /// Error number of the step that failed, or 0. Relaxed: the parent reads it after the kernel has resumed it.
    outcome: AtomicI32,
}

/// The child's stack in bytes.
const STACK: usize = 16 * 1024;
/// Left free above the stack: an emulator may read a structure of a later layout, longer than what it was given.
const RED_ZONE: usize = 64;
/// Exit status when the program could not be started.
const CANNOT_EXECUTE: i32 = 126;

// rt_spawn_clone(flags, stack, order) -> pid or -errno. The child runs `child(order)` on the new stack.
global_asm!(
    ".globl rt_spawn_clone",
    "rt_spawn_clone:",
    "mv t0, a2",
    "mv a2, zero",
    "mv a3, zero",
    "mv a4, zero",
    "li a7, {clone}",
    "ecall",
    "bnez a0, 1f",
    "mv ra, zero",
    "mv fp, zero",
    "mv a0, t0",
    "tail {child}",
    "1: ret",
    clone = const abi::nr::CLONE,
    child = sym child,
);

unsafe extern "C" {
    fn rt_spawn_clone(flags: u64, stack: usize, order: usize) -> isize;
}

/// Starts the program of `plan`; its process id.
pub(super) fn spawn(plan: &Plan<'_>) -> io::Result<i32> {
    let order = Order { plan, outcome: AtomicI32::new(0) };
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = stack.as_mut_ptr() as usize + STACK - RED_ZONE;
    let flags = CLONE_VM | CLONE_VFORK | u64::from(SIGCHLD);
    // SAFETY: the child gets `stack`, which nothing else uses, and only reads `order`; both outlive it: CLONE_VFORK
    // holds this thread until the child has exec'd or exited.
    let pid = unsafe { rt_spawn_clone(flags, top, &raw const order as usize) };
    drop(stack);
    let pid = Errno::from_return(pid)? as i32;
    match Errno::new(order.outcome.load(Ordering::Relaxed) as u16) {
        None => Ok(pid),
        Some(error) => {
            // It has exited already; a failure to wait leaves nothing worse than the error below.
            let _ = super::wait(pid);
            Err(error.into())
        }
    }
}

extern "C" fn child(order: &Order<'_>) -> ! {
    let Err(error) = prepare_and_exec(order.plan);
    order.outcome.store(error.number(), Ordering::Relaxed);
    loop {
        let _ = syscall!(EXIT_GROUP, CANNOT_EXECUTE);
    }
}

fn prepare_and_exec(plan: &Plan<'_>) -> abi::errno::Result<core::convert::Infallible> {
    if plan.group >= 0 {
        syscall!(SETPGID, 0, plan.group)?;
    }
    if plan.foreground >= 0 {
        let group = syscall!(GETPGID, 0)? as i32;
        // Before the signals are reset: the parent ignores SIGTTOU, which this may raise. A terminal that went away
        // is no reason not to run.
        let _ = syscall!(IOCTL, plan.foreground, abi::ioctl::TIOCSPGRP, &raw const group);
    }
    for (number, &fd) in plan.streams.iter().enumerate() {
        // The descriptors of a plan are clones, above 2, so none is overwritten before it is used.
        if fd >= 0 {
            syscall!(DUP3, fd, number, 0)?;
        }
    }
    let default = Sigaction { handler: SIG_DFL as u64, flags: 0, mask: 0 };
    let mut ignored = signal::ignored();
    while ignored != 0 {
        let number = ignored.trailing_zeros() + 1;
        syscall!(RT_SIGACTION, number, &raw const default, 0, SIGSET_SIZE)?;
        ignored &= ignored - 1;
    }
    if plan.world != WORLD_AUTO {
        // SAFETY: sets a number in this process, touches no memory.
        unsafe { call6(abi::asyncos::WORLD, [WORLD_SET_NEXT, plan.world, 0, 0, 0, 0])? };
    }
    syscall!(EXECVE, plan.program.as_ptr(), plan.args.as_ptr(), plan.environment.as_ptr())?;
    Err(Errno::ENOEXEC)
}
