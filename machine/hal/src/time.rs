//! One monotonic clock for everything: nanoseconds since the `time` CSR was zero (about power-on).

use crate::arch;
use core::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering::Relaxed};

/// Nanoseconds per tick, as a fixed-point number with 32 bits of fraction.
static SCALE: AtomicU64 = AtomicU64::new(1 << 32);
/// Ticks per nanosecond, with [`INVERSE_BITS`] bits of fraction: dividing takes hundreds of instructions.
#[cfg(target_os = "none")]
static INVERSE: AtomicU64 = AtomicU64::new(0);
#[cfg(target_os = "none")]
const INVERSE_BITS: u32 = 63;
static TIMEBASE: AtomicU64 = AtomicU64::new(1_000_000_000);
/// Wall-clock time minus monotonic time.
static WALL_OFFSET: AtomicI64 = AtomicI64::new(0);
static ALARM: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Nanoseconds of the monotonic clock. Any context.
pub fn now() -> u64 {
    nanoseconds_of(arch::ticks())
}

/// Nanoseconds of so many ticks of the `time` CSR.
#[must_use]
pub fn nanoseconds_of(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(SCALE.load(Relaxed))) >> 32) as u64
}

/// Ticks per second of the `time` CSR, which user programs read directly.
pub fn timebase() -> u64 {
    TIMEBASE.load(Relaxed)
}

/// Nanoseconds since 1970-01-01 UTC. Any context.
pub fn wall() -> u64 {
    now().wrapping_add_signed(WALL_OFFSET.load(Relaxed))
}

/// When, by [`now`], [`wall`] shows so many nanoseconds. Not by way of what both show: time goes by between two looks.
pub fn of_wall(nanoseconds: u64) -> u64 {
    nanoseconds.saturating_add_signed(WALL_OFFSET.load(Relaxed).saturating_neg())
}

/// Sets the wall clock.
pub fn set_wall(nanoseconds: u64) {
    WALL_OFFSET.store(nanoseconds.wrapping_sub(now()) as i64, Relaxed);
}

#[cfg(target_os = "none")]
pub(crate) fn initialise(timebase: u64) {
    TIMEBASE.store(timebase, Relaxed);
    SCALE.store(((1_000_000_000u128 << 32) / u128::from(timebase)) as u64, Relaxed);
    // Clocks of 2 GHz and more would not fit; none ticks so fast.
    INVERSE.store(((u128::from(timebase) << INVERSE_BITS) / 1_000_000_000).min(u128::from(u64::MAX)) as u64, Relaxed);
}

/// Installs what runs, in interrupt context, when an alarm set on this hart is due. Once, at boot.
pub fn on_alarm(handler: fn()) {
    ALARM.store(handler as *mut (), Relaxed);
}

#[cfg(target_os = "none")]
pub(crate) fn alarm() {
    let handler = ALARM.load(Relaxed);
    // Quiet until somebody sets the next one: the timer's interrupt is a level.
    machine::program(u64::MAX);
    if !handler.is_null() {
        // SAFETY: only `on_alarm` stores here, from a function pointer of this type.
        unsafe { core::mem::transmute::<*mut (), fn()>(handler)() };
    }
}

/// Asks for an alarm on this hart at a time of [`now`]; replaces the last one. `u64::MAX` is never.
pub fn set_alarm(nanoseconds: u64) {
    #[cfg(target_os = "none")]
    machine::program(machine::ticks_at(nanoseconds));
    #[cfg(not(target_os = "none"))]
    let _ = nanoseconds;
}

#[cfg(target_os = "none")]
pub(crate) mod machine {
    use super::*;
    use core::sync::atomic::AtomicBool;

    /// Harts have `stimecmp` (Sstc); else the firmware programs the timer.
    pub(crate) static HAS_SSTC: AtomicBool = AtomicBool::new(false);

    pub(super) fn ticks_at(nanoseconds: u64) -> u64 {
        if nanoseconds == u64::MAX {
            return u64::MAX;
        }
        let ticks = ((u128::from(nanoseconds) * u128::from(INVERSE.load(Relaxed))) >> INVERSE_BITS) as u64;
        // Both scales are rounded down. Should the clock be a tick short at the alarm, its handler asks again.
        if nanoseconds_of(ticks) < nanoseconds { ticks.saturating_add(1) } else { ticks }
    }

    /// A time that does not come, in ticks, for a compare register; `None`: there is none.
    pub(crate) fn never() -> Option<usize> {
        HAS_SSTC.load(Relaxed).then(|| ticks_at(i64::MAX as u64) as usize)
    }

    pub(super) fn program(ticks: u64) {
        if HAS_SSTC.load(Relaxed) {
            // Writing the compare register also withdraws a pending interrupt.
            riscv::csr_write!(stimecmp, ticks as usize);
        } else if riscv::sbi::set_timer(ticks).is_err() {
            log::error!("the firmware cannot set the timer");
        }
    }
}
