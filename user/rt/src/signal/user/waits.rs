//! Waiting for signals: `sigsuspend`, `sigtimedwait`, and a future.
//!
//! A wait looks while interrupts are off, and sleeps without letting them in: what comes behind the look ends the sleep, and is taken by the vector's handler between two turns.

use super::{Info, Inner, Signals, State};
use crate::io::{Error, Result};
use crate::thread;
use crate::time::Instant;
use crate::uintr::Raised;
use abi::Errno;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

impl Signals {
    /// Waits, with these masked alone, until a handler has run.
    ///
    /// # Panics
    /// While interrupts are kept off ([`uintr::masked`](crate::uintr::masked)): no handler may run then.
    pub fn suspend(&self, mask: u64) {
        let (old, before) = self.inner().begin_wait(0, |_| mask);
        let _: Result<()> = self.inner().wait_until(None, |inner, _| match inner.handled.load(Relaxed) == before {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(Ok(())),
        });
        self.inner().end_wait(old);
    }

    /// Takes the most urgent signal of a set, which no handler runs for meanwhile; waits for one, no longer than that.
    ///
    /// # Errors
    /// `EAGAIN`: none came; `EINTR`: a handler has run, for another one.
    ///
    /// # Panics
    /// As [`Signals::suspend`].
    pub fn wait(&self, set: u64, limit: Option<Duration>) -> Result<Info> {
        let (old, before) = self.inner().begin_wait(set, |mask| mask | set);
        let taken = self.inner().wait_until(limit, |inner, state| match state.take(inner, set) {
            Some(info) => ControlFlow::Break(Ok(info)),
            None if inner.handled.load(Relaxed) != before => ControlFlow::Break(Err(Error::from(Errno::EINTR))),
            None => ControlFlow::Continue(()),
        });
        self.inner().end_wait(old);
        taken
    }

    /// Takes the most urgent signal of a set, all of which are to be masked, when there is one. For one task at a time, of this thread.
    ///
    /// # Errors
    /// As [`Raised::new`].
    pub async fn next(&self, set: u64) -> Result<Info> {
        let bell = match self.inner().bell.get() {
            Some(bell) => bell,
            None => {
                let bell = Raised::new()?;
                self.inner().bell.get_or_init(|| bell)
            }
        };
        let _awaits = Awaits(self.inner());
        loop {
            let taken = self.inner().closed(|state| {
                // Before the look: what comes behind it rings.
                self.inner().awaited.store(set, Relaxed);
                state.collect(self.inner());
                self.inner().look_around(state);
                state.take(self.inner(), set)
            });
            match taken {
                Some(info) => return Ok(info),
                None => drop(bell.next().await?),
            }
        }
    }
}

/// A task's awaiting signals. What comes behind it is others' to take.
struct Awaits<'a>(&'a Inner);

impl Drop for Awaits<'_> {
    fn drop(&mut self) {
        self.0.closed(|_| self.0.awaited.store(0, Relaxed));
    }
}

impl Inner {
    /// Keeps interrupts off and changes the mask, and delivers nothing yet; what it was, and how many handlers had begun.
    fn begin_wait(&self, waited: u64, change: impl FnOnce(u64) -> u64) -> (u64, u64) {
        assert!(self.receiver().mask(), "waiting for signals while interrupts are kept off");
        // SAFETY: interrupts are off, and nothing that is called comes here.
        let state = unsafe { &mut *self.state.get() };
        let mask = change(state.mask());
        let before = state.set_mask(mask);
        if self.member().is_some() {
            self.waited.store(waited, Relaxed);
            self.tell_group();
        }
        (before, self.handled.load(Relaxed))
    }

    /// The mask is what it was, what that lets in is delivered, and interrupts are on.
    fn end_wait(&self, mask: u64) {
        // SAFETY: interrupts are off, and nothing that is called comes here.
        unsafe { &mut *self.state.get() }.set_mask(mask);
        if self.member().is_some() {
            self.waited.store(0, Relaxed);
            self.tell_group();
        }
        self.run(None);
        self.receiver().unmask();
    }

    /// Waits until `look` finds something, no longer than that. What is not masked is delivered before each look. Called and left with interrupts off.
    fn wait_until<T>(
        &self,
        limit: Option<Duration>,
        mut look: impl FnMut(&Self, &mut State) -> ControlFlow<Result<T>>,
    ) -> Result<T> {
        let end = limit.map(|limit| Instant::now() + limit);
        let (mut is_over, mut has_given_way) = (false, false);
        loop {
            // Whose interrupt is still on its way must be found without it by who looks once, or for the last time. Between them the vector's handler has collected.
            if !has_given_way || is_over {
                // SAFETY: interrupts are off, and nothing that is called comes here.
                let state = unsafe { &mut *self.state.get() };
                state.collect(self);
                self.look_around(state);
            }
            self.run(None);
            // SAFETY: as above.
            let found = look(self, unsafe { &mut *self.state.get() });
            if let ControlFlow::Continue(()) = found
                && !is_over
            {
                if !core::mem::replace(&mut has_given_way, true) {
                    // On one hart whoever answers may run meanwhile: then nobody sleeps, and nobody is woken.
                    self.receiver().unmask();
                    thread::yield_now();
                    self.receiver().mask();
                    continue;
                }
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                // Also where a flood lets no sleep last so long.
                is_over = left == Some(Duration::ZERO)
                    || self.receiver().wait(left).is_err_and(|error| is(&error, Errno::ETIMEDOUT));
                // What has come is taken here.
                self.receiver().unmask();
                self.receiver().mask();
                continue;
            }
            return match found {
                ControlFlow::Break(result) => result,
                ControlFlow::Continue(()) => Err(Error::from(Errno::EAGAIN)),
            };
        }
    }
}

fn is(error: &Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.number())
}
