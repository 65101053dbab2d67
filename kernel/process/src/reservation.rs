//! CPU time reserved for a thread (`SCHED_DEADLINE`): a constant bandwidth server for each such thread.
//!
//! A reservation is `runtime` in each `period`, to be had within `deadline` of the period's begin. Its thread is ranked by when that is
//! (policy `deadline`), above all other user threads. What it has used up it gets again with the next period, and rests until
//! then. So however it behaves, no more than runtime / period of a hart goes to it; and what all have together stays below what
//! the harts have.
//!
//! ```text
//!   wakes:     its deadline is over, or what is left is more than its part until then ──► a period begins
//!   has run:   left -= ran ── none left ──► rests until the next period: left += runtime, deadline += period
//! ```
//!
//! It is looked at at each interrupt. What it has run beyond its runtime by then is taken from the next periods.

use crate::thread::{Scheduled, Thread};
use abi::errno::Errno;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nanoseconds: the least runtime, and the least and the greatest period; Linux's.
const LEAST_RUNTIME: u64 = 1 << 10;
const PERIODS: core::ops::RangeInclusive<u64> = 100_000..=(1 << 22) * 1_000;
/// A whole hart, as a bandwidth; and what of it can be reserved.
const HART: u64 = 1 << 20;
const MOST: u64 = HART * 95 / 100;

/// So much CPU time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// In each period.
    pub runtime: u64,
    /// After the period's begin.
    pub deadline: u64,
    /// From one begin to the next.
    pub period: u64,
}

impl Reservation {
    /// A period of 0 means as long as the deadline.
    ///
    /// # Errors
    /// `EINVAL`: not runtime ≤ deadline ≤ period, or too little, too often or too seldom.
    pub fn new(runtime: u64, deadline: u64, period: u64) -> Result<Self, Errno> {
        let period = if period == 0 { deadline } else { period };
        let fits = (LEAST_RUNTIME..=deadline).contains(&runtime) && deadline <= period && PERIODS.contains(&period);
        if fits { Ok(Self { runtime, deadline, period }) } else { Err(Errno::EINVAL) }
    }

    fn bandwidth(&self) -> u64 {
        self.runtime * HART / self.period
    }
}

/// The bandwidth of all.
static RESERVED: AtomicU64 = AtomicU64::new(0);

/// A part of [`RESERVED`], given back when it is dropped.
#[derive(Debug)]
struct Bandwidth(u64);

impl Bandwidth {
    /// Changes to this.
    ///
    /// # Errors
    /// `EBUSY`: all have too much then.
    fn change(&mut self, to: u64) -> Result<(), Errno> {
        let most = MOST * hal::hart::count() as u64;
        let next = |all: u64| Some(all - self.0 + to).filter(|all| *all <= most || to <= self.0);
        // Relaxed: a number on its own.
        RESERVED.fetch_update(Relaxed, Relaxed, next).map_err(|_| Errno::EBUSY)?;
        self.0 = to;
        Ok(())
    }
}

impl Drop for Bandwidth {
    fn drop(&mut self) {
        RESERVED.fetch_sub(self.0, Relaxed);
    }
}

/// A thread's reservation, and what it has had of it.
#[derive(Debug)]
pub(crate) struct Server {
    reservation: Reservation,
    bandwidth: Bandwidth,
    /// What is left of the runtime, in nanoseconds; below 0 if it has had too much.
    left: i64,
    /// When it is to have had that (ns since boot); 0: no period has begun.
    deadline: u64,
    /// How often its thread had waited when it was last looked at.
    waits: u64,
    /// Whether it is in force.
    is_on: bool,
}

/// Not how often a thread has waited.
const AFRESH: u64 = u64::MAX;

/// Whether a thread may run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Yes, to be ranked by this.
    Until(u64),
    /// Not before this (ns since boot), and then to be ranked by that.
    Rests(u64, u64),
}

impl Server {
    fn new(reservation: Reservation) -> Result<Self, Errno> {
        let mut bandwidth = Bandwidth(0);
        bandwidth.change(reservation.bandwidth())?;
        Ok(Self { reservation, bandwidth, left: 0, deadline: 0, waits: AFRESH, is_on: true })
    }

    fn change(&mut self, to: Reservation) -> Result<(), Errno> {
        self.bandwidth.change(to.bandwidth())?;
        self.reservation = to;
        self.left = self.left.min(to.runtime.cast_signed());
        if !core::mem::replace(&mut self.is_on, true) {
            // As if it had waited meanwhile.
            self.waits = AFRESH;
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.is_on = false;
        self.bandwidth = Bandwidth(0);
    }

    /// It has run for so long. Whether it has to rest.
    fn spend(&mut self, ran: u64) -> bool {
        self.left = self.left.saturating_sub_unsigned(ran);
        self.left <= 0
    }

    /// It would run. `waits`: how often it has waited for something by now.
    fn begin(&mut self, now: u64, waits: u64) -> Due {
        let waited = core::mem::replace(&mut self.waits, waits) != waits;
        if self.deadline == 0 {
            self.begin_period(now);
        } else if waited && self.left > 0 {
            self.wake(now);
        }
        if self.left > 0 {
            return Due::Until(self.deadline);
        }
        let Reservation { runtime, deadline, period } = self.reservation;
        let next = self.deadline + (period - deadline);
        if now < next {
            return Due::Rests(next, self.deadline + period);
        }
        let periods = self.left.unsigned_abs() / runtime + 1;
        self.left = self.left.saturating_add_unsigned(periods.saturating_mul(runtime));
        self.deadline = self.deadline.saturating_add(periods.saturating_mul(period));
        if self.deadline < now {
            self.begin_period(now);
        }
        Due::Until(self.deadline)
    }

    fn begin_period(&mut self, now: u64) {
        (self.left, self.deadline) = (self.reservation.runtime.cast_signed(), now + self.reservation.deadline);
    }

    /// It has waited and has something left, which is not to be more of a hart than was reserved. Where the deadline is before the
    /// period's end a new one would be, too: then it loses a part, and has no more before that end.
    fn wake(&mut self, now: u64) {
        let Reservation { runtime, deadline, period } = self.reservation;
        let rest = u128::from(self.deadline.saturating_sub(now));
        let part = rest * u128::from(runtime) / u128::from(deadline);
        if u128::from(self.left.unsigned_abs()) <= part {
            return;
        }
        if deadline == period || now >= self.deadline + (period - deadline) {
            self.begin_period(now);
        } else {
            // Less than what was left.
            self.left = part as i64;
        }
    }
}

impl Scheduled {
    /// Reserves CPU time, or gives back what is reserved. What has been had of it is remembered: who comes back gets no more.
    ///
    /// # Errors
    /// `EBUSY`: too much is reserved.
    pub(crate) fn reserve(&mut self, reservation: Option<Reservation>) -> Result<(), Errno> {
        match (self.server.as_mut(), reservation) {
            (None, None) => {}
            (Some(server), None) => server.stop(),
            (Some(server), Some(reservation)) => server.change(reservation)?,
            (None, Some(reservation)) => self.server = Some(Box::new(Server::new(reservation)?)),
        }
        Ok(())
    }
}

impl Thread {
    /// `None`: nothing is reserved for it.
    fn server<T>(&self, act: impl FnOnce(&mut Server) -> T) -> Option<T> {
        self.scheduled.lock().server.as_deref_mut().filter(|server| server.is_on).map(act)
    }

    /// What is reserved for it.
    #[must_use]
    pub fn reservation(&self) -> Option<Reservation> {
        self.server(|server| server.reservation)
    }

    /// By when it is to have had what is reserved for it (ns since boot).
    pub(crate) fn deadline(&self) -> Option<u64> {
        let now = hal::time::now();
        self.server(|server| if server.deadline > now { server.deadline } else { now + server.reservation.deadline })
    }

    /// It has run for so long, and gives up the rest if it `yields`. Whether it has to rest.
    pub(crate) fn spend(&self, ran: u64, yields: bool) -> bool {
        let spend = |server: &mut Server| {
            if yields {
                server.left = server.left.min(0);
            }
            server.spend(ran)
        };
        self.server(spend).unwrap_or(false)
    }

    /// Whether it may run now; `None` without a reservation.
    pub(crate) fn due(&self, now: u64) -> Option<Due> {
        let waits = self.usage.waits();
        self.server(|server| server.begin(now, waits))
    }

    /// It ends.
    pub(crate) fn give_back(&self) {
        self.server(Server::stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn server(runtime: u64, deadline: u64, period: u64) -> Server {
        let reservation = Reservation::new(runtime * MS, deadline * MS, period * MS).unwrap();
        Server { reservation, bandwidth: Bandwidth(0), left: 0, deadline: 0, waits: 0, is_on: true }
    }

    #[test]
    fn what_linux_refuses_is_refused() {
        let of = |runtime, deadline, period| Reservation::new(runtime, deadline, period).is_ok();
        assert!(of(MS, 2 * MS, 3 * MS) && of(1024, 100_000, 0) && of(MS, MS, MS));
        assert!(!of(0, 0, 0) && !of(1023, MS, MS) && !of(2 * MS, MS, 3 * MS) && !of(MS, 3 * MS, 2 * MS));
        assert!(!of(1024, 99_999, 0) && !of(MS, MS, (4 << 20) * 1_000 + 1) && !of(MS, 1 << 63, 1 << 63));
    }

    #[test]
    fn who_has_used_its_runtime_rests_until_the_next_period() {
        let mut server = server(10, 100, 100);
        assert_eq!(server.begin(1_000 * MS, 0), Due::Until(1_100 * MS));
        assert!(!server.spend(4 * MS));
        assert_eq!(server.begin(1_050 * MS, 0), Due::Until(1_100 * MS), "preempted, it keeps what is left");
        assert!(server.spend(6 * MS));
        assert_eq!(server.begin(1_060 * MS, 0), Due::Rests(1_100 * MS, 1_200 * MS));
        assert_eq!(server.begin(1_060 * MS, 1), Due::Rests(1_100 * MS, 1_200 * MS), "nor does it wait that away");
        assert_eq!(server.begin(1_100 * MS, 1), Due::Until(1_200 * MS));
        assert!(!server.spend(9 * MS));
    }

    #[test]
    fn what_it_has_run_beyond_that_is_taken_from_the_next() {
        let mut server = server(10, 100, 100);
        let _ = server.begin(1_000 * MS, 0);
        assert!(server.spend(25 * MS));
        assert_eq!(server.begin(1_030 * MS, 0), Due::Rests(1_100 * MS, 1_200 * MS));
        assert_eq!(server.begin(1_100 * MS, 0), Due::Until(1_300 * MS));
        assert!(server.spend(5 * MS));
    }

    #[test]
    fn who_wakes_late_begins_a_period_and_does_not_save_up() {
        let mut server = server(10, 100, 100);
        let _ = server.begin(1_000 * MS, 0);
        let _ = server.spend(9 * MS);
        assert_eq!(server.begin(1_050 * MS, 1), Due::Until(1_100 * MS), "1 ms in 50 is no more than reserved");
        assert_eq!(server.begin(1_095 * MS, 2), Due::Until(1_195 * MS));
        assert_eq!(server.left, 10 * MS.cast_signed());
    }

    #[test]
    fn with_a_short_deadline_it_has_no_second_runtime_in_a_period() {
        let mut server = server(10, 20, 100);
        let _ = server.begin(1_000 * MS, 0);
        let _ = server.spend(4 * MS);
        assert_eq!(server.begin(1_015 * MS, 1), Due::Until(1_020 * MS));
        assert_eq!(server.left, 5 * MS as i64 / 2, "as much of the 5 ms as was reserved of 20");
        assert_eq!(server.begin(1_030 * MS, 2), Due::Rests(1_100 * MS, 1_120 * MS));
        assert_eq!(server.begin(1_100 * MS, 2), Due::Until(1_120 * MS));
    }

    #[test]
    fn who_leaves_and_comes_back_gets_no_more() {
        let mut server = server(10, 100, 100);
        let reservation = server.reservation;
        let _ = server.begin(1_000 * MS, 0);
        assert!(server.spend(12 * MS));
        server.stop();
        server.change(reservation).unwrap();
        assert_eq!(server.begin(1_020 * MS, 0), Due::Rests(1_100 * MS, 1_200 * MS));
        assert_eq!(server.begin(1_100 * MS, 0), Due::Until(1_200 * MS));
        assert_eq!(server.left, 8 * MS.cast_signed());
        server.stop();
        server.change(reservation).unwrap();
        assert_eq!(server.begin(1_500 * MS, 0), Due::Until(1_600 * MS), "what is past does not count");
    }

    #[test]
    fn all_together_stay_below_the_harts() {
        let whole = Reservation::new(95 * MS, 100 * MS, 0).unwrap();
        let mut all: Vec<_> = (0..hal::hart::count()).map(|_| Server::new(whole).unwrap()).collect();
        assert_eq!(Server::new(Reservation::new(MS, 100 * MS, 0).unwrap()).err(), Some(Errno::EBUSY));
        let half = Reservation::new(47 * MS, 100 * MS, 0).unwrap();
        assert_eq!(all[0].change(half), Ok(()));
        assert!(Server::new(half).is_ok());
        assert_eq!(all[0].change(whole), Ok(()), "the other was dropped");
    }

    proptest! {
        /// Whatever it does, it has no more than its runtime for each period that has begun, and one more.
        #[test]
        fn no_more_than_reserved(
            times in (1u64..40, 0u64..40, 0u64..40),
            steps in prop::collection::vec((0u64..60, any::<bool>()), 1..200),
        ) {
            let (runtime, deadline) = (times.0, times.0 + times.1);
            let period = deadline + times.2;
            let mut server = server(runtime, deadline, period);
            let (begin, mut now, mut waits, mut had) = (1_000, 1_000, 0, 0);
            for (step, waited) in steps {
                waits += u64::from(waited);
                match server.begin(now * MS, waits) {
                    Due::Until(_) => {
                        let ran = step.min(server.left as u64 / MS);
                        let _ = server.spend(ran * MS);
                        (had, now) = (had + ran, now + ran);
                    }
                    Due::Rests(until, _) => {
                        prop_assert!(until > now * MS);
                        now += step;
                    }
                }
                now += if waited { step } else { 0 };
                prop_assert!(had <= ((now - begin) / period + 2) * runtime, "{} in {}", had, now - begin);
            }
        }
    }
}
