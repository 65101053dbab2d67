//! A timer that raises a vector of its thread: by hardware where the thread has a timer of its own (Sstc in VS-mode), with no instruction of the kernel's; else by way of the kernel.

use super::Receiver;
use crate::io::Result;
use crate::sys;
use abi::uintr as at;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

/// In `sie`: the timer.
const ENABLE: usize = 1 << 5;
const NANOSECONDS: u128 = 1_000_000_000;
/// A hundred years.
const LATEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Raises `vector` of this thread once, after this time, instead of what was set before. `None`: not at all. A handler may set it again.
///
/// # Errors
/// `EINVAL`: there is no such vector.
pub fn set(receiver: &Receiver, vector: u32, after: Option<Duration>) -> Result<()> {
    if vector as usize >= at::VECTORS {
        return Err(abi::Errno::EINVAL.into());
    }
    let timer = Timer::of(receiver);
    timer.cancel()?;
    // SAFETY: the thread's own, which handlers read when the timer is due: there is none now.
    unsafe { (&raw mut (*receiver.block.cast_mut()).timer).write_volatile(1 << vector) };
    match after {
        Some(after) => timer.start(after),
        None => Ok(()),
    }
}

/// Sets it again, for a handler of the vector that [`set`] was given. Async-signal-safe, and a few instructions where the timer is the thread's own.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    /// Ticks a second; 0: the timer is the kernel's.
    timebase: u64,
}

impl Timer {
    /// That of a receiver, to be used in its thread and its handlers alone.
    #[must_use]
    pub fn of(receiver: &Receiver) -> Self {
        // SAFETY: within the control page, which stays mapped.
        let timebase = unsafe { &*(*receiver.block).pages.add(at::TIMEBASE).cast::<AtomicU64>() };
        Self { timebase: timebase.load(Relaxed) }
    }

    /// So many ticks of [`Timer::start_ticks`], or nanoseconds if the kernel keeps it, are this time.
    #[must_use]
    pub fn ticks(self, time: Duration) -> u64 {
        let frequency = if self.timebase == 0 { NANOSECONDS } else { u128::from(self.timebase) };
        // So that a time from now on is never one that is over, also for who counts it in nanoseconds.
        let ticks = time.min(LATEST).as_nanos() * frequency / NANOSECONDS;
        u64::try_from(ticks).unwrap_or(u64::MAX / 2)
    }

    /// Its clock, in such ticks.
    #[inline]
    pub(crate) fn now(self) -> u64 {
        if self.timebase == 0 {
            return crate::time::since_boot();
        }
        // SAFETY: it reads a register.
        unsafe { crate::time::ticks() }
    }

    /// Has it raise its vector after this time.
    ///
    /// # Errors
    /// None.
    pub fn start(self, after: Duration) -> Result<()> {
        self.start_ticks(self.ticks(after))
    }

    /// The same for a time that is known in ticks.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn start_ticks(self, ticks: u64) -> Result<()> {
        if self.timebase == 0 {
            return by_kernel(crate::time::since_boot().saturating_add(ticks));
        }
        // SAFETY: the thread's own registers; the entry saves what its interrupt changes.
        unsafe {
            asm!(
                "csrr {now}, time", "add {now}, {now}, {ticks}", "csrw 0x14d, {now}", "csrs sie, {enable}",
                now = out(reg) _, ticks = in(reg) ticks, enable = in(reg) ENABLE, options(nostack)
            );
        }
        Ok(())
    }

    fn cancel(self) -> Result<()> {
        if self.timebase == 0 {
            return by_kernel(at::FOREVER as u64);
        }
        stop();
        Ok(())
    }
}

fn by_kernel(deadline: u64) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys::call6(at::TIMER, sys::pad([deadline as usize])) }?;
    Ok(())
}

/// Whether the timer of the hardware is set, and due. Not by `sip`, in which QEMU 7.2 does not show it.
pub(super) fn is_due() -> bool {
    let (enabled, at, now): (usize, u64, u64);
    // SAFETY: reads the thread's own registers; the second is there if the first says so.
    unsafe { asm!("csrr {}, sie", out(reg) enabled, options(nostack)) };
    if enabled & ENABLE == 0 {
        return false;
    }
    // SAFETY: as above.
    unsafe { asm!("csrr {}, 0x14d", "csrr {}, time", out(reg) at, out(reg) now, options(nostack)) };
    now >= at
}

/// Turns the timer of the hardware off, and has it due much later: what is due keeps an emulator's hart busy looking.
pub(super) fn stop() {
    // SAFETY: the thread's own registers.
    unsafe {
        asm!(
            "csrc sie, {enable}", "csrr {late}, time", "add {late}, {late}, {more}", "csrw 0x14d, {late}",
            enable = in(reg) ENABLE, late = out(reg) _, more = in(reg) 1_usize << 40, options(nostack)
        );
    }
}
