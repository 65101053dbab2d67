//! `timerfd`: a timer that is read, and waited for, like a file.
//!
//! Nothing runs when it expires: how often it has is computed from the clock when somebody looks, and who waits sleeps until
//! the next time. So an idle timer costs its memory, however short its interval.
//!
//! **Wake-up protocol.** Who waits enters `changed`, looks, and sleeps until the expiry that it saw; setting the timer stores first and wakes
//! `changed` then, and who waits looks again.

use crate::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want, mask_of},
};
use abi::{errno::Errno, poll::EPOLLIN};
use alloc::{boxed::Box, sync::Arc};
use core::{
    any::Any,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};
use exec::sync::{WaitQueue, wait_until};
use hal::{
    sync::{SpinLock, rank},
    time,
};
use mem::Sink;

/// Largest time, as in Linux: what is later never comes.
const LATEST: u64 = i64::MAX as u64;

/// What a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Time since boot.
    Boot,
    /// The time of day.
    Wall,
}

impl Clock {
    /// What it shows, in nanoseconds.
    #[must_use]
    pub fn now(self) -> u64 {
        match self {
            Clock::Boot => time::now(),
            Clock::Wall => time::wall(),
        }
    }

    /// When, by the time since boot, it shows so many nanoseconds.
    fn to_boot(self, nanoseconds: u64) -> u64 {
        match self {
            Clock::Boot => nanoseconds,
            Clock::Wall => time::of_wall(nanoseconds),
        }
    }
}

/// When a timer expires, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The first time; 0: never.
    pub value: u64,
    /// From then on; 0: once only.
    pub interval: u64,
}

#[derive(Clone, Copy)]
struct State {
    /// The first expiry that has not been read, by the timer's clock; 0: none is to come.
    next: u64,
    interval: u64,
    /// Expiries that nobody can read any more. Never less: with what can be read, and `sets`, these are the edges.
    read: u64,
    /// How often it was set.
    sets: u64,
}

impl State {
    /// Expiries that have not been read.
    fn expired(&self, now: u64) -> u64 {
        match (self.next, self.interval) {
            (0, _) => 0,
            (next, _) if now < next => 0,
            (_, 0) => 1,
            (next, interval) => 1 + (now - next) / interval,
        }
    }

    /// The first expiry after `now`; `None` if it has expired for good, or is not set.
    fn following(&self, now: u64) -> Option<u64> {
        let next = match self.expired(now) {
            0 => self.next,
            _ if self.interval == 0 => 0,
            expired => self.next.saturating_add(expired.saturating_mul(self.interval)).min(LATEST),
        };
        (next != 0).then_some(next)
    }
}

/// A timer.
pub struct Timer {
    clock: Clock,
    state: SpinLock<State>,
    changed: WaitQueue,
}

impl Timer {
    /// A timer that is not set.
    pub fn new(clock: Clock) -> Arc<Timer> {
        let state = State { next: 0, interval: 0, read: 0, sets: 0 };
        Arc::new(Timer { clock, state: SpinLock::new(rank::PIPE, state), changed: WaitQueue::new() })
    }

    /// Sets it, `absolute` by its clock or from now on; answers the old setting as [`Timer::get`] does. What had expired is forgotten.
    pub fn set(&self, new: Setting, absolute: bool) -> Setting {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let old = left(&state, now);
        state.read = state.read.wrapping_add(state.expired(now));
        state.next = match new.value {
            0 => 0,
            value if absolute => value.min(LATEST),
            value => now.saturating_add(value).min(LATEST),
        };
        state.interval = new.interval.min(LATEST);
        state.sets += 1;
        drop(state);
        self.changed.wake_all();
        old
    }

    /// What is left until the next expiry, and the interval.
    #[must_use]
    pub fn get(&self) -> Setting {
        let now = self.clock.now();
        left(&self.state.lock(), now)
    }

    /// Resolves when the timer is set, or when the next expiry comes.
    async fn changes(&self, sets: u64, next: Option<u64>) {
        let mut set = pin!(wait_until(&self.changed, || (self.state.lock().sets != sets).then_some(())));
        let mut expiry = pin!(exec::sleep_until(next.map_or(u64::MAX, |next| self.clock.to_boot(next))));
        poll_fn(|context| match set.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => expiry.as_mut().poll(context),
        })
        .await;
    }

    /// Resolves when it is readable and its edges are not `seen`.
    async fn readable(&self, seen: Option<u64>) {
        loop {
            let now = self.clock.now();
            let state = *self.state.lock();
            if state.expired(now) > 0 && seen != Some(edges(&state, now)) {
                return;
            }
            self.changes(state.sets, state.following(now)).await;
        }
    }
}

fn left(state: &State, now: u64) -> Setting {
    Setting { value: state.following(now).map_or(0, |next| next - now), interval: state.interval }
}

/// Grows with each expiry and each setting.
fn edges(state: &State, now: u64) -> u64 {
    state.sets.wrapping_add(state.read).wrapping_add(state.expired(now))
}

impl File for Timer {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let now = self.clock.now();
        let mut state = self.state.lock();
        let expired = state.expired(now);
        if expired == 0 {
            return Ok(None);
        }
        dst.put(&expired.to_ne_bytes())?;
        state.next = state.following(now).unwrap_or(0);
        state.read = state.read.wrapping_add(expired);
        Ok(Some(8))
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            match mask_of(want) & EPOLLIN {
                0 => core::future::pending().await,
                _ => self.readable(None).await,
            }
            Ok(())
        })
    }

    fn events(&self) -> u32 {
        let now = self.clock.now();
        if self.state.lock().expired(now) > 0 { EPOLLIN } else { 0 }
    }

    fn edges(&self) -> u64 {
        let now = self.clock.now();
        edges(&self.state.lock(), now)
    }

    fn wait_edge<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            if events & EPOLLIN == 0 {
                return self.wait(caller, Want::Events(events)).await;
            }
            self.readable(Some(since)).await;
            Ok(())
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn state(next: u64, interval: u64) -> State {
        State { next, interval, read: 0, sets: 1 }
    }

    #[test]
    fn expiries_are_counted_from_the_clock() {
        assert_eq!(state(0, 5).expired(100), 0);
        assert_eq!([9, 10, 11, 1000].map(|now| state(10, 0).expired(now)), [0, 1, 1, 1]);
        assert_eq!([9, 10, 14, 15, 110].map(|now| state(10, 5).expired(now)), [0, 1, 1, 2, 21]);
        assert_eq!(state(1, 1).expired(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_next_expiry_is_on_the_grid_of_the_first() {
        assert_eq!([9, 10, 14, 15].map(|now| state(10, 5).following(now)), [Some(10), Some(15), Some(15), Some(20)]);
        assert_eq!([9, 10].map(|now| state(10, 0).following(now)), [Some(10), None]);
        assert_eq!(state(0, 5).following(3), None);
        assert_eq!(state(10, LATEST).following(10), Some(LATEST));
        assert_eq!(left(&state(10, 5), 12), Setting { value: 3, interval: 5 });
        assert_eq!(left(&state(10, 0), 12), Setting { value: 0, interval: 0 });
    }

    #[test]
    fn edges_never_go_back() {
        let timer = Timer::new(Clock::Boot);
        timer.set(Setting { value: 1, interval: 1 }, true);
        let first = timer.edges();
        timer.set(Setting { value: LATEST, interval: 0 }, true);
        let second = timer.edges();
        assert!(second > first);
        timer.set(Setting { value: 1, interval: 0 }, true);
        assert!(timer.edges() > second);
    }

    #[test]
    fn an_edge_is_an_expiry_read_or_not() {
        let mut timer = state(10, 5);
        let first = edges(&timer, 10);
        timer.read += timer.expired(10);
        timer.next = timer.following(10).unwrap();
        assert_eq!(edges(&timer, 14), first);
        assert_eq!(edges(&timer, 15), first + 1);
    }
}
