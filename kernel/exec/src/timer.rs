//! Time: sleeping, time limits, and the alarm of each hart.
//!
//! Each hart has a queue of its own, sorted by deadline; a sleeper is in the queue of the hart that first polled
//! it, and leaves it when dropped. The hart's alarm is set to whatever comes first: its earliest sleeper
//! or the next tick of the time slice. The alarm's interrupt wakes who is due; wakers are called, and dropped, with
//! no lock held.

use alloc::collections::BTreeMap;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use hal::sync::{IrqLock, rank};
use hal::{hart, time};

use crate::harts;

/// Half a time slice, in nanoseconds.
const TICK: u64 = 5_000_000;
const NEVER: u64 = u64::MAX;

/// What waits for time on one hart.
struct Queue {
    /// By deadline, then in order of arrival.
    sleepers: BTreeMap<(u64, u64), Waker>,
    arrivals: u64,
    /// When the next tick of the time slice is due.
    tick: u64,
    /// What the hart's alarm is set to.
    armed: u64,
}

static QUEUES: [IrqLock<Queue>; hart::MAX] = [const { IrqLock::new(rank::TIMER, Queue::new()) }; hart::MAX];

impl Queue {
    const fn new() -> Self {
        Self { sleepers: BTreeMap::new(), arrivals: 0, tick: NEVER, armed: NEVER }
    }

    /// Sets the alarm of this hart, whose queue this is, to what comes first.
    fn arm(&mut self) {
        let first = self.sleepers.first_key_value().map_or(NEVER, |(&(deadline, _), _)| deadline);
        let next = first.min(self.tick);
        if next != self.armed {
            self.armed = next;
            time::set_alarm(next);
        }
    }

    fn pop_due(&mut self, now: u64) -> Option<Waker> {
        let due = self.sleepers.first_entry().filter(|first| first.key().0 <= now)?;
        Some(due.remove())
    }
}

/// Wakes who is due on this hart, counts the tick, sets the next alarm. In the alarm's interrupt; may be called at any
/// other time.
pub fn on_timer_interrupt() {
    let hart = hart::id();
    let now = time::now();
    // Ends: who is added meanwhile for an earlier time than `now` does not sleep in the first place.
    loop {
        let due = QUEUES[hart].lock().pop_due(now);
        match due {
            Some(waker) => waker.wake(),
            None => break,
        }
    }
    let mut queue = QUEUES[hart].lock();
    if queue.tick <= now {
        let running = harts::tick(hart);
        queue.tick = if running { now.saturating_add(TICK) } else { NEVER };
        ticking::set(hart, running);
    }
    // The alarm that brought us here is spent, even if the clock is still a tick short of what it was set to.
    queue.armed = NEVER;
    queue.arm();
}

/// Has ticks counted from now on, while this hart runs something.
#[inline]
pub(crate) fn start_ticking(hart: usize) {
    if !ticking::get(hart) {
        start(hart);
    }
}

#[cold]
fn start(hart: usize) {
    let mut queue = QUEUES[hart].lock();
    queue.tick = time::now().saturating_add(TICK);
    queue.arm();
    ticking::set(hart, true);
}

/// Whether a hart's queue has a tick, readable without its lock.
mod ticking {
    use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use hal::hart;

    static TICKING: [AtomicBool; hart::MAX] = [const { AtomicBool::new(false) }; hart::MAX];

    // Relaxed: written by the hart itself, with interrupts off.
    pub(super) fn get(hart: usize) -> bool {
        TICKING[hart].load(Relaxed)
    }

    pub(super) fn set(hart: usize, on: bool) {
        TICKING[hart].store(on, Relaxed);
    }
}

/// Resolves at a time of the monotonic clock, in nanoseconds. Can be dropped at any point.
#[must_use = "futures do nothing unless awaited"]
pub fn sleep_until(deadline: u64) -> Sleep {
    Sleep { deadline, place: None }
}

/// Resolves after this many nanoseconds.
#[must_use = "futures do nothing unless awaited"]
pub fn sleep(nanoseconds: u64) -> Sleep {
    sleep_until(time::now().saturating_add(nanoseconds))
}

/// The future of [`sleep`] and [`sleep_until`].
#[derive(Debug)]
pub struct Sleep {
    deadline: u64,
    /// The hart in whose queue this is, and the number there.
    place: Option<(usize, u64)>,
}

impl Sleep {
    /// When it resolves.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Leaves the queue.
    fn leave(&mut self) {
        if let Some((hart, number)) = self.place.take() {
            let old = QUEUES[hart].lock().sleepers.remove(&(self.deadline, number));
            drop(old);
        }
    }

    /// Enters this hart's queue.
    fn enter(&mut self, waker: Waker) {
        // The hart cannot change in here: a preempted coroutine goes on on the same one.
        let hart = hart::id();
        let mut queue = QUEUES[hart].lock();
        queue.arrivals += 1;
        let number = queue.arrivals;
        queue.sleepers.insert((self.deadline, number), waker);
        queue.arm();
        self.place = Some((hart, number));
    }

    /// Puts another waker in place of the one that waits; `false` when nobody waits there any more.
    fn replace(&self, hart: usize, number: u64, waker: &Waker) -> bool {
        let old = {
            let mut queue = QUEUES[hart].lock();
            match queue.sleepers.get_mut(&(self.deadline, number)) {
                Some(old) if old.will_wake(waker) => return true,
                Some(old) => core::mem::replace(old, waker.clone()),
                None => return false,
            }
        };
        drop(old);
        true
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if time::now() >= self.deadline {
            if self.place.is_some() {
                task::waits_no_more(cx);
            }
            self.leave();
            return Poll::Ready(());
        }
        if self.deadline == NEVER {
            return Poll::Pending;
        }
        task::waits_for(cx, task::Wait::Time);
        let waits = self.place.is_some_and(|(hart, number)| self.replace(hart, number, cx.waker()));
        if !waits {
            self.enter(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A time limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl core::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the time limit has passed")
    }
}

impl core::error::Error for Elapsed {}

/// `future`, unless this many nanoseconds pass first.
///
/// # Errors
///
/// [`Elapsed`] if they do; `future` is dropped then.
pub async fn timeout<F: Future>(nanoseconds: u64, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(time::now().saturating_add(nanoseconds), future).await
}

/// `future`, unless a time of the monotonic clock (nanoseconds) comes first.
///
/// # Errors
///
/// [`Elapsed`] if it does; `future` is dropped then.
pub async fn timeout_at<F: Future>(deadline: u64, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut limit = sleep_until(deadline);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// How many wait on a hart.
#[cfg(test)]
pub(crate) fn sleeping(hart: usize) -> usize {
    QUEUES[hart].lock().sleepers.len()
}
