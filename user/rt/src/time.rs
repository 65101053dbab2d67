//! Clocks, and waiting for time to pass in a task.

use crate::io;
use crate::reactor;
use crate::sys::syscall;
use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME, Timespec};
use core::future::{Future, poll_fn};
use core::ops::{Add, Sub};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_util::Stream;

pub use core::time::Duration;

fn clock(id: u32) -> Duration {
    let mut now = Timespec::default();
    // Fails only for a clock that does not exist.
    let _ = syscall!(CLOCK_GETTIME, id, &raw mut now);
    Duration::from_nanos(now.to_nanos().unwrap_or_default())
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn since_boot() -> u64 {
    u64::try_from(clock(CLOCK_MONOTONIC).as_nanos()).unwrap_or(u64::MAX)
}

sched::crossing! {
    /// The time register: a clock that costs no call. The kernel knows how fast it goes.
    ///
    /// # Safety
    /// None is needed.
    pub(crate) unsafe fn ticks() -> u64 {
        let ticks;
        // SAFETY: reads a register that programs may read.
        unsafe { core::arch::asm!("rdtime {}", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
}

/// A moment of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(clock(CLOCK_MONOTONIC))
    }

    /// Time since then.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// Time from `earlier` to this; zero if it is later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// A moment of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SystemTime(Duration);

impl SystemTime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(clock(CLOCK_REALTIME))
    }

    /// Time since the beginning of 1970, UTC.
    #[must_use]
    pub fn since_epoch(self) -> Duration {
        self.0
    }
}

/// Waits in a task for at least `duration`.
#[must_use]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits in a task until `deadline`.
#[must_use]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None }
}

/// Future of [`sleep`]. Dropping it disarms the timer.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    timer: Option<reactor::Timer>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            if self.timer.take().is_some() {
                task::waits_no_more(cx);
            }
            return Poll::Ready(());
        }
        let deadline = self.deadline;
        task::waits_for(cx, task::Wait::Time);
        match &self.timer {
            Some(timer) => timer.set_waker(cx.waker()),
            None => self.timer = Some(reactor::Timer::new(deadline, cx.waker())),
        }
        Poll::Pending
    }
}

/// Waits for `future`, at most `duration`.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`]; the future is dropped then.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> io::Result<F::Output> {
    timeout_at(Instant::now() + duration, future).await
}

/// Waits for `future` until `deadline`.
///
/// # Errors
/// As for [`timeout`].
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> io::Result<F::Output> {
    let future = core::pin::pin!(future);
    let sleep = core::pin::pin!(sleep_until(deadline));
    match futures_util::future::select(future, sleep).await {
        futures_util::future::Either::Left((output, _)) => Ok(output),
        futures_util::future::Either::Right(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "timed out")),
    }
}

/// Moments that are `period` apart, the first of them now.
#[must_use]
pub fn interval(period: Duration) -> Interval {
    Interval { next: Instant::now(), period, sleep: None }
}

/// See [`interval`]. As a stream it has no end.
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
    /// Until the next one, once somebody waits.
    sleep: Option<Sleep>,
}

impl Interval {
    /// Waits for the next moment; which it was. Moments that have passed are made up for, one for each call.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let tick = self.next;
        let sleep = self.sleep.get_or_insert_with(|| sleep_until(tick));
        ready!(Pin::new(sleep).poll(cx));
        self.sleep = None;
        self.next = tick + self.period;
        Poll::Ready(tick)
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.get_mut().poll_tick(cx).map(Some)
    }
}
