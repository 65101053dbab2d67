//! This hart, the other harts, and preemption.
//!
//! [`Local`] is what a hart keeps for itself. It is reached through `tp` and touched by its own hart only
//! (its interrupt handlers included), except for the fields that say otherwise; all fields are
//! atomics accessed with relaxed loads and stores, which cost what plain accesses do.

use crate::arch;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, compiler_fence,
};

/// Harts that the kernel can use.
pub const MAX: usize = 8;

/// Hart-local data.
#[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the fakes need only part of it"))]
#[repr(align(128))]
pub struct Local {
    /// Index of this hart, `0..count()`.
    pub(crate) index: AtomicUsize,
    /// The firmware's number of this hart.
    pub(crate) hart_id: AtomicUsize,
    /// Depth of sections that must not be preempted (spin locks held, per-hart references).
    pub(crate) preempt_off: AtomicU32,
    /// Depth of `IrqLock`s held, and whether interrupts were on before the first.
    pub(crate) irq_depth: AtomicU32,
    pub(crate) irq_restore: AtomicBool,
    /// Ranks of the locks held, a bit each; kept in checked builds.
    pub(crate) held: AtomicU64,
    /// Trace points record. Written by any hart (`record`).
    pub(crate) recording: AtomicBool,
    /// The coroutine that this hart polls, by number; 0 outside any, and in interrupt handlers.
    pub(crate) coroutine: AtomicU64,
    /// Something wants the running user thread to leave: the next entry returns at once.
    pub(crate) leave: AtomicBool,
    /// An interrupt has struck user mode.
    pub(crate) struck: AtomicBool,
    /// An interrupt handler is running.
    pub(crate) in_interrupt: AtomicBool,
    /// Preempted coroutines whose stacks lie below the running one.
    pub(crate) stack_level: AtomicUsize,
    /// Space id in user mode on this hart, 0 in the kernel. Read by other harts (shootdown).
    pub(crate) running: AtomicU64,
    /// Root of the space that is selected (an owned `Arc`), or null.
    pub(crate) selected: AtomicPtr<crate::space::Root>,
    /// Generation of the selected space that this hart's TLB has seen. Read by other harts (shootdown).
    pub(crate) seen: AtomicU64,
    /// This hart's save area.
    pub(crate) area: AtomicPtr<riscv::context::SaveArea>,
    /// Kernel stacks that this hart's TLB knows (see `stack`).
    pub(crate) stacks_seen: AtomicUsize,
    /// Context whose floating-point registers are loaded.
    pub(crate) floating_owner: AtomicU64,
    /// The [`OwnTraps`](crate::user::OwnTraps) that are loaded; 0: none, and nothing is delegated.
    pub(crate) traps_owner: AtomicU64,
    /// The [`UserTraps`](crate::user::UserTraps) that are loaded; 0: none, and the registers are those that every process starts with.
    pub(crate) user_traps_owner: AtomicU64,
}

impl Local {
    /// Local data of a hart that has not started.
    pub(crate) const fn new(index: usize, hart_id: usize) -> Self {
        Self {
            index: AtomicUsize::new(index),
            hart_id: AtomicUsize::new(hart_id),
            preempt_off: AtomicU32::new(0),
            irq_depth: AtomicU32::new(0),
            irq_restore: AtomicBool::new(false),
            held: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            coroutine: AtomicU64::new(0),
            leave: AtomicBool::new(false),
            struck: AtomicBool::new(false),
            in_interrupt: AtomicBool::new(false),
            stack_level: AtomicUsize::new(0),
            running: AtomicU64::new(0),
            selected: AtomicPtr::new(core::ptr::null_mut()),
            seen: AtomicU64::new(0),
            area: AtomicPtr::new(core::ptr::null_mut()),
            stacks_seen: AtomicUsize::new(0),
            floating_owner: AtomicU64::new(0),
            traps_owner: AtomicU64::new(0),
            user_traps_owner: AtomicU64::new(0),
        }
    }
}

static LOCALS: [Local; MAX] = {
    let mut index = 0;
    let mut locals = [const { Local::new(0, 0) }; MAX];
    while index < MAX {
        locals[index] = Local::new(index, 0);
        index += 1;
    }
    locals
};
static COUNT: AtomicUsize = AtomicUsize::new(1);
/// IPIs that all harts have sent; relaxed, a statistic.
static IPIS: AtomicU64 = AtomicU64::new(0);

/// Local data of any hart; only the fields marked so may be read across harts.
pub(crate) fn local_of(index: usize) -> &'static Local {
    &LOCALS[index]
}

/// Index of the running hart, `0..count()`. Meaningful only while the caller cannot move: preemption off,
/// or in an interrupt handler, or for statistics.
#[inline(always)]
pub fn id() -> usize {
    arch::local().index.load(Relaxed)
}

/// The number of the coroutine that this hart polls; 0 outside any, and in interrupt handlers.
#[inline(always)]
pub fn coroutine() -> u64 {
    arch::local().coroutine.load(Relaxed)
}

/// Says which coroutine this hart polls from now on; for the executor.
#[inline(always)]
pub fn set_coroutine(number: u64) {
    arch::local().coroutine.store(number, Relaxed);
}

/// Harts in use.
pub fn count() -> usize {
    COUNT.load(Relaxed)
}

/// Sets the number of harts in use; boot code and tests.
pub fn set_count(harts: usize) {
    COUNT.store(harts.clamp(1, MAX), Relaxed);
}

/// Makes the running user thread leave user mode: its next entry returns [`crate::user::Exit::Interrupt`]
/// at once. Called from interrupt handlers on the same hart.
pub fn leave_user() {
    arch::local().leave.store(true, Relaxed);
}

/// Whether an interrupt has struck user mode on this hart since this was asked: for who had an [`crate::user::Exit::Interrupt`], which may as well mean that it did not come to user mode.
/// It may have been another thread's.
pub fn take_user_interrupt() -> bool {
    let struck = &arch::local().struck;
    struck.load(Relaxed) && struck.swap(false, Relaxed)
}

/// Keeps the running coroutine on this hart while it lives.
#[must_use]
pub struct PreemptGuard(());

/// Disables preemption on this hart until the guard is dropped. Interrupts still come.
#[inline(always)]
pub fn no_preempt() -> PreemptGuard {
    preempt_disable();
    PreemptGuard(())
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        preempt_enable();
    }
}

#[inline(always)]
pub(crate) fn preempt_disable() {
    let local = arch::local();
    // Two accesses, not one read-modify-write: an interrupt in between restores the value it found, and
    // preemption between `local()` and the store is harmless only because a preempted coroutine
    // resumes on the same hart (D2).
    local.preempt_off.store(local.preempt_off.load(Relaxed) + 1, Relaxed);
    // What follows stays behind the store for interrupts on this hart, which see program order.
    compiler_fence(SeqCst);
}

#[inline(always)]
pub(crate) fn preempt_enable() {
    let local = arch::local();
    // What came before stays before the store, as above.
    compiler_fence(SeqCst);
    local.preempt_off.store(local.preempt_off.load(Relaxed) - 1, Relaxed);
}

/// Whether the running code may be preempted.
pub fn preemptible() -> bool {
    arch::local().preempt_off.load(Relaxed) == 0
}

/// Ends the wait of an idle hart, or interrupts a running one, as soon as possible. Any context.
pub fn send_ipi(index: usize) {
    IPIS.fetch_add(1, Relaxed);
    #[cfg(target_os = "none")]
    crate::irq::send_ipi(local_of(index).hart_id.load(Relaxed), index);
    #[cfg(not(target_os = "none"))]
    let _ = index;
}

/// How often one hart has interrupted another since boot.
pub fn ipis() -> u64 {
    IPIS.load(Relaxed)
}

/// Waits for an interrupt and handles it, unless `ready()` says, with interrupts off, that there is work.
///
/// The check and the wait are one step: `wfi` ends also on an interrupt that is pending but disabled, so
/// nothing that arrives after `ready()` can be slept through.
pub fn idle_unless(ready: impl FnOnce() -> bool) {
    let enabled = arch::interrupts_off();
    if !ready() {
        crate::space::deselect();
        arch::wait_for_interrupt();
    }
    if enabled {
        arch::interrupts_on();
    }
}

/// Hook that runs when an interrupt in the kernel is over and the interrupted code may be preempted.
///
/// It runs on a stack of its own with interrupts on, and returns when the interrupted coroutine
/// should go on.
static PREEMPT_HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// Hook that asks whether anything should run before the interrupted code.
static PREEMPT_CHECK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Installs the executor's preemption: `wanted` is asked with interrupts off at the end of an interrupt,
/// `run` is called when it says yes. Once, at boot.
pub fn set_preemption(wanted: fn() -> bool, run: fn()) {
    PREEMPT_CHECK.store(wanted as *mut (), Relaxed);
    // Release pairs with the Acquire in `preemption`: who sees `run` sees `wanted`.
    PREEMPT_HOOK.store(run as *mut (), core::sync::atomic::Ordering::Release);
}

/// Asks whether something should run before the interrupted code, and runs it.
#[cfg(target_os = "none")]
pub(crate) type Preemption = (fn() -> bool, fn());

/// The installed hooks.
#[cfg(target_os = "none")]
pub(crate) fn preemption() -> Option<Preemption> {
    let run = PREEMPT_HOOK.load(core::sync::atomic::Ordering::Acquire);
    if run.is_null() {
        return None;
    }
    let wanted = PREEMPT_CHECK.load(Relaxed);
    // SAFETY: both were stored from function pointers of exactly these types in `set_preemption`, and a
    // non-null `run` was stored after `wanted`.
    Some(unsafe { (core::mem::transmute::<*mut (), fn() -> bool>(wanted), core::mem::transmute::<*mut (), fn()>(run)) })
}
