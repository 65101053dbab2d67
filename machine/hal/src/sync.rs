//! Spin locks of the kernel.
//!
//! A [`SpinLock`] disables preemption while it is held, an [`IrqLock`] interrupts as well: what an
//! interrupt handler locks must be an `IrqLock`. Neither may be held across an `.await` (invariant A6);
//! the executor checks that with [`held`] after each poll in checked builds.
//!
//! **Lock order.** Every lock has a rank of [`rank`]; a hart takes locks in rising rank only. Checked builds
//! assert it at each acquisition, so an order that could deadlock fails the first time it is taken.

use crate::{arch, hart};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering::Relaxed;
use sync::raw::RawSpin;
use sync::wait::{Turns, WaitQueue};
use task::TaskRef;
use task::sync::{Debts, Lock};

/// The lock order: outermost first. Two locks of one rank are never held together.
pub mod rank {
    /// Table of all processes.
    pub const PROCESSES: u8 = 4;
    /// Family relations, groups and sessions.
    pub const FAMILY: u8 = 6;
    /// One process.
    pub const PROCESS: u8 = 8;
    /// One thread.
    pub const THREAD: u8 = 10;
    /// Signal state.
    pub const SIGNAL: u8 = 12;
    /// Descriptor table.
    pub const DESCRIPTORS: u8 = 14;
    /// Mount table and directory cache.
    pub const NAMESPACE: u8 = 16;
    /// An open file description.
    pub const OPEN_FILE: u8 = 18;
    /// A directory or an inode.
    pub const INODE: u8 = 20;
    /// Terminal.
    pub const TTY: u8 = 22;
    /// A pipe, an event, an epoll set.
    pub const PIPE: u8 = 24;
    /// A socket.
    pub const SOCKET: u8 = 26;
    /// A network interface.
    pub const NETWORK: u8 = 28;
    /// Regions and page tables of a process.
    pub const ADDRESS_SPACE: u8 = 32;
    /// Pages shared by address spaces.
    pub const SHARED_MEMORY: u8 = 34;
    /// Page cache of a file.
    pub const CACHE: u8 = 36;
    /// A file system's own state.
    pub const FILE_SYSTEM: u8 = 38;
    /// Block layer.
    pub const BLOCK: u8 = 40;
    /// Futex buckets.
    pub const FUTEX: u8 = 42;
    /// Timers of a hart.
    pub const TIMER: u8 = 44;
    /// Queues of waiting coroutines.
    pub const WAIT: u8 = 46;
    /// What coroutines have inherited.
    pub const DEBTS: u8 = 47;
    /// Queues of the executor.
    pub const RUN_QUEUE: u8 = 48;
    /// Device drivers.
    pub const DEVICE: u8 = 50;
    /// Console and log.
    pub const CONSOLE: u8 = 52;
    /// Accounts.
    pub const ACCOUNT: u8 = 54;
    /// Kernel heap.
    pub const HEAP: u8 = 58;
    /// Kernel stacks and the kernel's page table.
    pub const KERNEL_TABLE: u8 = 60;
    /// Page frames.
    pub const FRAMES: u8 = 62;
}

/// Ranks held by this hart, a bit each; always 0 in unchecked builds.
pub fn held() -> u64 {
    arch::local().held.load(Relaxed)
}

/// Checked before the lock is waited for, so that a deadlock is reported instead of entered.
#[inline(always)]
fn check_order(rank: u8) {
    if cfg!(debug_assertions) {
        let held = arch::local().held.load(Relaxed);
        assert!(held >> rank == 0, "lock order: rank {rank} taken while ranks {held:#x} are held");
    }
}

#[inline(always)]
fn note_taken(rank: u8) {
    if cfg!(debug_assertions) {
        let local = arch::local();
        local.held.store(local.held.load(Relaxed) | 1 << rank, Relaxed);
    }
}

#[inline(always)]
fn note_released(rank: u8) {
    if cfg!(debug_assertions) {
        let local = arch::local();
        local.held.store(local.held.load(Relaxed) & !(1 << rank), Relaxed);
    }
}

macro_rules! lock_type {
    ($(#[$doc:meta])* $name:ident, $guard:ident, $enter:expr, $leave:expr) => {
        $(#[$doc])*
        pub struct $name<T: ?Sized> {
            raw: RawSpin,
            rank: u8,
            value: UnsafeCell<T>,
        }

        // SAFETY: the raw lock lets one holder at a time reach the value, so sharing the lock only moves
        // the value between threads, which `T: Send` allows.
        unsafe impl<T: ?Sized + Send> Sync for $name<T> {}
        // SAFETY: moving the lock moves the value.
        unsafe impl<T: ?Sized + Send> Send for $name<T> {}

        impl<T> $name<T> {
            /// A free lock of a rank of [`rank`] around `value`.
            pub const fn new(rank: u8, value: T) -> Self {
                Self { raw: RawSpin::new(), rank, value: UnsafeCell::new(value) }
            }

            /// Takes the value out of a lock that nobody else has.
            pub fn into_inner(self) -> T {
                self.value.into_inner()
            }
        }

        impl<T: ?Sized> $name<T> {
            /// Takes the lock, spinning until it is free.
            #[inline(always)]
            pub fn lock(&self) -> $guard<'_, T> {
                $enter;
                check_order(self.rank);
                self.raw.lock();
                note_taken(self.rank);
                $guard { lock: self, not_send: core::marker::PhantomData }
            }

            /// Takes the lock if it is free.
            pub fn try_lock(&self) -> Option<$guard<'_, T>> {
                $enter;
                if self.raw.try_lock() {
                    note_taken(self.rank);
                    return Some($guard { lock: self, not_send: core::marker::PhantomData });
                }
                $leave;
                None
            }

            /// The value of a lock that nobody else can reach.
            pub fn get_mut(&mut self) -> &mut T {
                self.value.get_mut()
            }
        }

        /// Access to the value of a lock; dropping it releases the lock.
        #[must_use]
        pub struct $guard<'a, T: ?Sized> {
            lock: &'a $name<T>,
            /// A lock is released on the hart that took it.
            not_send: core::marker::PhantomData<*mut ()>,
        }

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;
            #[inline(always)]
            fn deref(&self) -> &T {
                // SAFETY: the guard exists, so this hart holds the lock and nobody else has the value.
                unsafe { &*self.lock.value.get() }
            }
        }

        impl<T: ?Sized> DerefMut for $guard<'_, T> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
                unsafe { &mut *self.lock.value.get() }
            }
        }

        impl<T: ?Sized> Drop for $guard<'_, T> {
            #[inline(always)]
            fn drop(&mut self) {
                note_released(self.lock.rank);
                // SAFETY: the guard is proof that this context holds the raw lock, and it is going away.
                unsafe { self.lock.raw.unlock() };
                $leave;
            }
        }
    };
}

/// Interrupts off; the outermost one remembers whether they were on. Guards may be dropped in any order.
#[inline(always)]
fn irq_enter() {
    let enabled = arch::interrupts_off();
    let local = arch::local();
    let depth = local.irq_depth.load(Relaxed);
    if depth == 0 {
        local.irq_restore.store(enabled, Relaxed);
    }
    local.irq_depth.store(depth + 1, Relaxed);
}

#[inline(always)]
fn irq_leave() {
    let local = arch::local();
    let depth = local.irq_depth.load(Relaxed) - 1;
    local.irq_depth.store(depth, Relaxed);
    if depth == 0 && local.irq_restore.load(Relaxed) {
        arch::interrupts_on();
    }
}

lock_type! {
    /// A spin lock whose holder cannot be preempted. Not for data that interrupt handlers touch.
    SpinLock, SpinGuard, hart::preempt_disable(), hart::preempt_enable()
}

impl<T> SpinLock<T> {
    /// Calls `f` with the value, under this lock and `_outer`'s, which keeps this hart from being preempted: that need not be done again.
    /// If `f` panics the lock stays taken.
    #[inline(always)]
    pub fn with_inside<U, R>(&self, _outer: &SpinGuard<'_, U>, f: impl FnOnce(&mut T) -> R) -> R {
        check_order(self.rank);
        self.raw.lock();
        note_taken(self.rank);
        // SAFETY: this hart holds the lock, and `f` has the only reference.
        let result = f(unsafe { &mut *self.value.get() });
        note_released(self.rank);
        // SAFETY: taken above in this very call.
        unsafe { self.raw.unlock() };
        result
    }
}

lock_type! {
    /// A spin lock whose holder cannot be interrupted either: for data that interrupt handlers touch.
    IrqLock, IrqGuard, irq_enter(), irq_leave()
}

/// Runs `f` under a raw lock of this rank, with interrupts off.
///
/// # Safety
/// The lock is taken in no other way.
#[inline(always)]
unsafe fn with_raw<R>(raw: &RawSpin, rank: u8, f: impl FnOnce() -> R) -> R {
    irq_enter();
    check_order(rank);
    raw.lock();
    note_taken(rank);
    let result = f();
    note_released(rank);
    // SAFETY: taken above in this very call.
    unsafe { raw.unlock() };
    irq_leave();
    result
}

/// The raw lock inside wait queues: interrupts off, rank [`rank::WAIT`], so that interrupt handlers may wake.
pub struct RawIrqLock(RawSpin);

impl RawIrqLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self(RawSpin::new())
    }
}

impl Default for RawIrqLock {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the closure runs between taking and releasing the raw lock with interrupts off on this hart, so closures of
// one lock exclude each other, and the raw lock orders them.
unsafe impl sync::wait::WaitLock for RawIrqLock {
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: nothing else reaches it.
        unsafe { with_raw(&self.0, rank::WAIT, f) }
    }
}

/// The raw lock inside locks that are held across an `.await`, with the table of what tasks inherit through them, which is looked up with
/// such a lock taken: else as [`RawIrqLock`].
pub struct RawLendingLock {
    raw: RawSpin,
    rank: u8,
}

// SAFETY: as for `RawIrqLock`.
unsafe impl sync::wait::WaitLock for RawLendingLock {
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: nothing else reaches it.
        unsafe { with_raw(&self.raw, self.rank, f) }
    }
}

// SAFETY: `with_current` shows no task.
unsafe impl Lock for RawLendingLock {
    const NEW: Self = Self { raw: RawSpin::new(), rank: rank::WAIT };

    /// Nobody waits there: the kernel's tasks do not fail, it ends with a panic.
    fn failures() -> &'static WaitQueue<Self> {
        static FAILURES: WaitQueue<RawLendingLock> = WaitQueue::new(Lock::NEW);
        &FAILURES
    }

    fn debts() -> &'static Turns<Self, Debts> {
        static DEBTS: Turns<RawLendingLock, Debts> =
            Turns::new(RawLendingLock { raw: RawSpin::new(), rank: rank::DEBTS }, Debts::new());
        &DEBTS
    }

    /// Who takes a lock says who it is.
    fn with_current<R>(f: impl FnOnce(Option<&TaskRef>) -> R) -> R {
        f(None)
    }
}
