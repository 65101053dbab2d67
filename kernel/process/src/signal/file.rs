//! `signalfd`: signals that are read like a file.
//!
//! Whose signals is decided by who asks: a read, and whoever watches, gets those for the thread and the process that it comes from, as in Linux. The
//! signals have to be blocked, or their actions take them first.
//!
//! **Wake-up protocol.** Who waits enters its process's `arrivals`, looks at what is pending and at how many there were, and sleeps; `signal::send`
//! makes the signal pending first, counts it, and wakes `arrivals` then. So does who changes the set, for its own process, as in Linux.

use super::{Arrivals, bits};
use crate::{process::Process, table};
use abi::{errno::Errno, poll::EPOLLIN, signal::SignalfdSiginfo};
use alloc::{boxed::Box, sync::Arc};
use core::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use exec::sync::wait_until;
use io::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want, mask_of},
};
use mem::Sink;
use zerocopy::IntoBytes;

/// Bytes of each signal that is read.
const BYTES: usize = size_of::<SignalfdSiginfo>();

/// Signals that one attempt reads: each is looked for in what is pending.
const AT_ONCE: usize = 64;

/// A set of signals to read.
pub struct SignalFile {
    /// Relaxed: who waits by an old set is woken behind the change, by a queue whose lock orders both.
    set: AtomicU64,
}

impl SignalFile {
    /// For the signals of `set`, of which those that cannot be blocked are left out.
    #[must_use]
    pub fn new(set: u64) -> Arc<Self> {
        Arc::new(Self { set: AtomicU64::new(set & !bits::UNBLOCKABLE) })
    }

    /// Another set, for everybody; `process` is the caller's.
    pub fn set(&self, process: &Process, set: u64) {
        self.set.store(set & !bits::UNBLOCKABLE, Relaxed);
        process.arrivals.note();
    }

    fn ready(&self, caller: &Caller) -> bool {
        table::thread(caller.tid).is_some_and(|thread| thread.signals_pending() & self.set.load(Relaxed) != 0)
    }

    /// Resolves when signals arrive at the caller's process so that `enough` holds. The process itself is not kept: who waits may outlive it.
    async fn wait_as(&self, caller: &Caller, events: u32, enough: impl Fn(&Arrivals) -> bool) -> Result<(), Errno> {
        let arrivals = table::process(caller.pid).map(|process| process.arrivals.clone());
        match arrivals {
            Some(arrivals) if events & EPOLLIN != 0 => {
                wait_until(&arrivals.queue, || enough(&arrivals).then_some(())).await;
            }
            _ => core::future::pending().await,
        }
        Ok(())
    }
}

impl File for SignalFile {
    fn read_now(&self, caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        if dst.remaining() < BYTES {
            return Err(Errno::EINVAL.into());
        }
        let thread = table::thread(caller.tid).ok_or(Errno::ESRCH)?;
        let (set, mut done) = (self.set.load(Relaxed), 0);
        while dst.remaining() >= BYTES && done < AT_ONCE * BYTES {
            match thread.take_pending_if(set, |info| dst.put(SignalfdSiginfo::from(info).as_bytes())) {
                Ok(Some(_)) => done += BYTES,
                Ok(None) => break,
                // What has been read already is told first.
                Err(_) if done > 0 => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok((done > 0).then_some(done))
    }

    fn wait<'a>(&'a self, caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            // More than there were will do: they may be for a thread that is going to ask.
            let before = self.look(caller).0;
            self.wait_as(caller, mask_of(want), |arrivals| arrivals.count() != before || self.ready(caller)).await
        })
    }

    /// Without a caller there are none.
    fn events(&self) -> u32 {
        0
    }

    fn look(&self, caller: &Caller) -> (u64, u32) {
        let edges = table::process(caller.pid).map_or(0, |process| process.arrivals.count());
        (edges, if self.ready(caller) { EPOLLIN } else { 0 })
    }

    /// For whichever thread they are: an epoll set does not know who will ask it.
    fn wait_edge<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(self.wait_as(caller, events, move |arrivals| arrivals.count() != since))
    }

    fn wait_level<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        self.wait_edge(caller, events, since)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
