//! `eventfd`: a 64-bit counter that can be waited for.
//!
//! Reading takes the whole count, or 1 in semaphore mode; writing adds. The counter stops one short of
//! `u64::MAX`: a writer whose value would pass that waits until it fits. How much room that takes is noted by thread
//! between the attempt and the wait; a note that is lost makes the wait end early, never late.

use crate::{
    caller::Caller,
    file::{Attempt, File, Want},
};
use abi::{
    errno::Errno,
    poll::{EPOLLIN, EPOLLOUT},
};
use alloc::sync::Arc;
use core::any::Any;
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use mem::{Account, Charge, Sink, Source};

const MAX: u64 = u64::MAX - 1;

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
    /// What came, in the lower half; what was taken, in the upper one.
    edges: u64,
}

const CAME: u64 = 1;
const TAKEN: u64 = 1 << 32;

fn events_of(count: u64) -> u32 {
    (if count > 0 { EPOLLIN } else { 0 }) | if count < MAX { EPOLLOUT } else { 0 }
}

/// An event counter.
pub struct Event {
    state: SpinLock<State>,
    mode: Mode,
    changed: WaitQueue,
    _charge: Charge,
}

impl Event {
    /// A counter that begins at `count`; `account` pays for it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(account: &Arc<Account>, count: u32, mode: Mode) -> Result<Arc<Event>, Errno> {
        let charge = account.charge(2 * size_of::<Event>())?;
        let state = SpinLock::new(rank::PIPE, State { count: u64::from(count), edges: 0 });
        Ok(Arc::new(Event { state, mode, changed: WaitQueue::new(), _charge: charge }))
    }

    /// Adds `value` on behalf of the kernel (a ring's completion); saturates.
    pub fn signal(&self, value: u64) {
        let mut state = self.state.lock();
        state.count = state.count.saturating_add(value).min(MAX);
        state.edges = state.edges.wrapping_add(CAME);
        drop(state);
        self.changed.wake(EPOLLIN);
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
        state.edges = state.edges.wrapping_add(TAKEN);
        drop(state);
        self.changed.wake(EPOLLOUT);
        Ok(Some(8))
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
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
        if value > MAX - state.count {
            return Ok(None);
        }
        state.count += value;
        state.edges = state.edges.wrapping_add(CAME);
        drop(state);
        self.changed.wake(EPOLLIN);
        Ok(Some(8))
    }

    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.changed)
    }

    fn read_queue(&self) -> Option<&WaitQueue> {
        Some(&self.changed)
    }

    fn events(&self) -> u32 {
        events_of(self.state.lock().count)
    }

    fn edges(&self) -> u64 {
        self.state.lock().edges
    }

    fn look(&self, _caller: &Caller) -> (u64, u32) {
        let state = self.state.lock();
        (state.edges, events_of(state.count))
    }

    fn passed(&self, since: u64, now: u64) -> u32 {
        let changed = since ^ now;
        (if changed & (TAKEN - 1) != 0 { EPOLLIN } else { 0 }) | if changed >= TAKEN { EPOLLOUT } else { 0 }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
