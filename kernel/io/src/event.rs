//! `eventfd`: a 64-bit counter that can be waited for.
//!
//! Reading takes the whole count, or 1 in semaphore mode; writing adds. The counter stops one short of
//! `u64::MAX`: a writer whose value would pass that waits until it fits. How much room that takes is noted by thread
//! between the attempt and the wait; a note that is lost makes the wait end early, never late.

use crate::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want, mask_of},
};
use abi::{
    errno::Errno,
    poll::{EPOLLIN, EPOLLOUT},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use mem::{Sink, Source};

const MAX: u64 = u64::MAX - 1;
/// Notes of refused writers that are kept.
const NOTES: usize = 16;

/// How a read takes from the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All at once.
    Counter,
    /// One at a time (`EFD_SEMAPHORE`).
    Semaphore,
}

struct State {
    count: u64,
    edges: u64,
    /// Threads whose values did not fit, and the values.
    refused: Vec<(u32, u64)>,
}

impl State {
    fn fits(&self, value: u64) -> bool {
        value <= MAX - self.count
    }

    fn note_refusal(&mut self, tid: u32, value: u64) {
        self.refused.retain(|(known, _)| *known != tid);
        if self.refused.len() >= NOTES {
            self.refused.clear();
        }
        self.refused.push((tid, value));
    }

    /// Takes the note of a thread; without one, any room is worth an attempt.
    fn take_refusal(&mut self, tid: u32) -> u64 {
        let place = self.refused.iter().position(|(known, _)| *known == tid);
        place.map_or(1, |place| self.refused.swap_remove(place).1)
    }
}

/// An event counter.
pub struct Event {
    state: SpinLock<State>,
    mode: Mode,
    changed: WaitQueue,
}

impl Event {
    /// A counter that begins at `count`.
    pub fn new(count: u32, mode: Mode) -> Arc<Event> {
        let state = SpinLock::new(rank::PIPE, State { count: u64::from(count), edges: 0, refused: Vec::new() });
        Arc::new(Event { state, mode, changed: WaitQueue::new() })
    }

    /// Adds `value` on behalf of the kernel (a ring's completion); saturates.
    pub fn signal(&self, value: u64) {
        let mut state = self.state.lock();
        state.count = state.count.saturating_add(value).min(MAX);
        state.edges += 1;
        drop(state);
        self.changed.wake_all();
    }
}

impl File for Event {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.state.lock();
        if state.count == 0 {
            return Ok(None);
        }
        let value = if self.mode == Mode::Semaphore { 1 } else { state.count };
        dst.put(&value.to_ne_bytes())?;
        state.count -= value;
        state.edges += 1;
        state.refused.clear();
        drop(state);
        self.changed.wake_all();
        Ok(Some(8))
    }

    fn write_now(&self, caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let mut bytes = [0; 8];
        src.take(&mut bytes)?;
        let value = u64::from_ne_bytes(bytes);
        if value == u64::MAX {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.state.lock();
        if !state.fits(value) {
            state.note_refusal(caller.tid, value);
            return Ok(None);
        }
        state.count += value;
        state.edges += 1;
        drop(state);
        self.changed.wake_all();
        Ok(Some(8))
    }

    fn wait<'a>(&'a self, caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        let mask = mask_of(want);
        let value = match want {
            Want::Write { .. } => self.state.lock().take_refusal(caller.tid),
            _ => 0,
        };
        let ready = move || self.events() & mask != 0 && self.state.lock().fits(value);
        Box::pin(async move {
            exec::sync::wait_until(&self.changed, || ready().then_some(())).await;
            Ok(())
        })
    }

    fn events(&self) -> u32 {
        let count = self.state.lock().count;
        (if count > 0 { EPOLLIN } else { 0 }) | if count < MAX { EPOLLOUT } else { 0 }
    }

    fn edges(&self) -> u64 {
        self.state.lock().edges
    }

    fn wait_edge<'a>(&'a self, _caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            let ready = || self.edges() != since && self.events() & events != 0;
            exec::sync::wait_until(&self.changed, || ready().then_some(())).await;
            Ok(())
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
