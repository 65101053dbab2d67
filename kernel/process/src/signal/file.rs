//! `signalfd`: signals that are read like a file.
//!
//! Whose signals is decided by who asks: a read, and whoever watches, gets those for the thread and the process that it comes from, as in Linux. The
//! signals have to be blocked, or their actions take them first.
//!
//! **Wake-up protocol.** Who waits enters its process's `arrivals`, looks at what is pending, and sleeps; `signal::send` makes the signal
//! pending first and wakes `arrivals` then. So does who changes the set, for its own process, as in Linux.

use super::bits;
use crate::{process::Process, table, thread::Thread};
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

    /// Resolves when `thread` has a signal of the set, and more arrived than `seen`.
    async fn readable(&self, thread: &Arc<Thread>, seen: Option<u64>) {
        let arrivals = &thread.process().arrivals;
        wait_until(&arrivals.queue, || (seen != Some(arrivals.count()) && self.ready(thread)).then_some(())).await;
    }

    fn ready(&self, thread: &Thread) -> bool {
        thread.signals_pending() & self.set.load(Relaxed) != 0
    }

    async fn wait_as(&self, caller: &Caller, events: u32, seen: Option<u64>) -> Result<(), Errno> {
        match table::thread(caller.tid) {
            Some(thread) if events & EPOLLIN != 0 => self.readable(&thread, seen).await,
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
        while dst.remaining() >= BYTES {
            let mut put = |info: &_| dst.put(SignalfdSiginfo::from(info).as_bytes());
            let own = thread.pending.take_if(set, &mut put);
            let taken = own.transpose().or_else(|| thread.process().pending.take_if(set, &mut put).transpose());
            match taken.transpose() {
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
        Box::pin(self.wait_as(caller, mask_of(want), None))
    }

    /// Without a caller there are none.
    fn events(&self) -> u32 {
        0
    }

    fn look(&self, caller: &Caller) -> (u64, u32) {
        let Some(thread) = table::thread(caller.tid) else { return (0, 0) };
        let edges = thread.process().arrivals.count();
        (edges, if self.ready(&thread) { EPOLLIN } else { 0 })
    }

    fn wait_edge<'a>(&'a self, caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(self.wait_as(caller, events, Some(since)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
