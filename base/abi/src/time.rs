//! Clocks and times.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// Clock ids.
constants! { u32:
    CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1, CLOCK_PROCESS_CPUTIME_ID = 2, CLOCK_THREAD_CPUTIME_ID = 3,
    CLOCK_MONOTONIC_RAW = 4, CLOCK_REALTIME_COARSE = 5, CLOCK_MONOTONIC_COARSE = 6, CLOCK_BOOTTIME = 7,
    CLOCK_REALTIME_ALARM = 8, CLOCK_BOOTTIME_ALARM = 9, CLOCK_TAI = 11,
}

// `clock_nanosleep` flag and `setitimer` timers.
constants! { u32:
    TIMER_ABSTIME = 1, ITIMER_REAL = 0, ITIMER_VIRTUAL = 1, ITIMER_PROF = 2,
}

// `timerfd` flags.
constants! { u32:
    TFD_TIMER_ABSTIME = 0x1, TFD_TIMER_CANCEL_ON_SET = 0x2, TFD_CLOEXEC = 0x80000, TFD_NONBLOCK = 0x800,
}

// Special `nsec` values of `utimensat`.
constants! { i64:
    UTIME_NOW = 0x3fff_ffff, UTIME_OMIT = 0x3fff_fffe,
}

/// Linux `struct __kernel_timespec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: i64,
}
layout!(Timespec, 16, nsec @ 8);

impl Timespec {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { sec: (nanos / 1_000_000_000) as i64, nsec: (nanos % 1_000_000_000) as i64 }
    }

    /// In nanoseconds, at most `u64::MAX`; `None` when a part is negative or `nsec` is not below a second: what a
    /// call answers with `EINVAL`.
    #[must_use]
    pub const fn to_nanos(self) -> Option<u64> {
        if self.sec < 0 || self.nsec < 0 || self.nsec >= 1_000_000_000 {
            return None;
        }
        Some((self.sec as u64).saturating_mul(1_000_000_000).saturating_add(self.nsec as u64))
    }
}

/// Linux `struct timeval`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds.
    pub usec: i64,
}
layout!(Timeval, 16, usec @ 8);

/// Linux `struct __kernel_itimerspec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Itimerspec {
    /// Period; zero for a single shot.
    pub interval: Timespec,
    /// First expiry; zero disarms.
    pub value: Timespec,
}
layout!(Itimerspec, 32, value @ 16);

/// Linux `struct itimerval`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Itimerval {
    /// Period; zero for a single shot.
    pub interval: Timeval,
    /// First expiry; zero disarms.
    pub value: Timeval,
}
layout!(Itimerval, 32, value @ 16);

/// Linux `struct tms`, in ticks of 1/100 s.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Tms {
    /// User time.
    pub utime: i64,
    /// Kernel time.
    pub stime: i64,
    /// User time of waited-for children.
    pub cutime: i64,
    /// Kernel time of waited-for children.
    pub cstime: i64,
}
layout!(Tms, 32, cutime @ 16);
