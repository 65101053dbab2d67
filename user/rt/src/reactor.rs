//! What tasks wait for: descriptors and time. One `ppoll` serves all; the executor parks in it ([`wait`]).
//!
//! A task that finds a descriptor not ready leaves its waker under (descriptor, direction) and returns `Pending`. When
//! `ppoll` reports the descriptor, the waker is taken out and called, and the task tries again; so nothing here
//! depends on what the kernel's report says exactly. A source is registered as long as its [`AsyncFd`] lives.
//!
//! Where the kernel has slots, a thread of its own parks here, once anybody waits (see `task`).
//!
//! Waking a parked executor from another thread goes through a pipe, made when the process first has a second thread.
//!
//! ```text
//!   executor                             waker on another thread
//!   PARKED = true          (SeqCst)      make the task ready      (the pool, or the main flag: SeqCst)
//!   look for ready tasks                 PARKED?  write to the pipe
//!   none: ppoll
//! ```

use crate::fs::File;
use crate::io::{self, Read, Write};
use crate::pipe;
use crate::sync::Mutex;
use crate::sys::{OwnedFd, syscall};
use crate::time::Instant;
use crate::{task, thread};
use abi::Errno;
use abi::poll::{POLLIN, POLLOUT, PollFd};
use abi::time::Timespec;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

/// Who waits for a descriptor.
#[derive(Debug, Default)]
struct Source {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Reactor {
    sources: BTreeMap<i32, Source>,
    timers: BTreeMap<(Instant, u64), Waker>,
    next_timer: u64,
    /// Reading and writing end of the wake-up pipe, once there is one.
    pipe: Option<(File, File)>,
}

static REACTOR: Mutex<Reactor> =
    Mutex::new(Reactor { sources: BTreeMap::new(), timers: BTreeMap::new(), next_timer: 0, pipe: None });
static PARKED: AtomicBool = AtomicBool::new(false);

/// What a task wants to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// A non-blocking descriptor that tasks wait for: at most one reading and one writing at a time.
#[derive(Debug)]
pub(crate) struct AsyncFd(OwnedFd);

impl AsyncFd {
    /// Takes a descriptor that is non-blocking already.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Repeats `attempt` until it does not answer `EAGAIN`, waiting in between.
    pub(crate) async fn io<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| match attempt(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.register(direction, cx);
                Poll::Pending
            }
            result => Poll::Ready(result),
        })
        .await
    }

    fn register(&self, direction: Direction, cx: &Context<'_>) {
        let mut reactor = REACTOR.lock();
        let source = reactor.sources.entry(self.0.raw()).or_default();
        let slot = match direction {
            Direction::Read => &mut source.reader,
            Direction::Write => &mut source.writer,
        };
        let before = slot.replace(cx.waker().clone());
        drop(reactor);
        drop(before);
        task::need_reactor();
        notify();
    }

    /// Waits once until the descriptor is worth trying.
    pub(crate) async fn ready(&self, direction: Direction) {
        let mut registered = false;
        poll_fn(|cx| {
            if registered {
                return Poll::Ready(());
            }
            registered = true;
            self.register(direction, cx);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for AsyncFd {
    fn drop(&mut self) {
        // Dropped after the lock is released: a waker may own the last reference to a task with descriptors of its own.
        let source = REACTOR.lock().sources.remove(&self.0.raw());
        drop(source);
    }
}

/// An armed timer; dropping it disarms.
#[derive(Debug)]
pub(crate) struct Timer(Instant, u64);

impl Timer {
    pub(crate) fn new(deadline: Instant, waker: &Waker) -> Self {
        let mut reactor = REACTOR.lock();
        let id = reactor.next_timer;
        reactor.next_timer += 1;
        reactor.timers.insert((deadline, id), waker.clone());
        drop(reactor);
        task::need_reactor();
        notify();
        Self(deadline, id)
    }

    /// Replaces the waker, if the timer has not fired.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut reactor = REACTOR.lock();
        let slot = reactor.timers.get_mut(&(self.0, self.1));
        let before = slot.map(|slot| core::mem::replace(slot, waker.clone()));
        drop(reactor);
        drop(before);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let waker = REACTOR.lock().timers.remove(&(self.0, self.1));
        drop(waker);
    }
}

/// Announces that the executor is about to look for work a last time before [`wait`].
pub(crate) fn prepare() -> io::Result<()> {
    let mut reactor = REACTOR.lock();
    if reactor.pipe.is_none() && thread::started() {
        let (read, write) = pipe::pipe()?;
        read.fd().set_nonblocking(true)?;
        write.fd().set_nonblocking(true)?;
        reactor.pipe = Some((read, write));
    }
    PARKED.store(true, Ordering::SeqCst);
    Ok(())
}

/// Takes [`prepare`] back: there is work after all.
pub(crate) fn cancel() {
    PARKED.store(false, Ordering::SeqCst);
}

/// Makes a parked executor look again. Free when it is not parked, which it is not when the caller is one of its tasks.
pub(crate) fn notify() {
    // SeqCst: the caller's task became ready before this load, see the module head.
    if PARKED.swap(false, Ordering::SeqCst)
        && let Some((_, write)) = &mut REACTOR.lock().pipe
    {
        // A full pipe wakes as well.
        let _ = write.write(&[0]);
    }
}

/// How many descriptors are open for waking a parked executor.
pub(crate) fn kept_descriptors() -> usize {
    if REACTOR.lock().pipe.is_some() { 2 } else { 0 }
}

/// Waits for a descriptor or a timer (`park`), or only looks, and wakes the tasks concerned.
pub(crate) fn wait(park: bool) {
    if !park && REACTOR.lock().is_empty() {
        return;
    }
    let (mut fds, timeout) = REACTOR.lock().interest(park);
    let limit = timeout.map(|t| Timespec { sec: t.as_secs() as i64, nsec: i64::from(t.subsec_nanos()) });
    let limit_ptr = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let found = syscall!(PPOLL, fds.as_mut_ptr(), fds.len(), limit_ptr, 0, 0);
    PARKED.store(false, Ordering::SeqCst);
    let mut wakers = Vec::new();
    if found != Err(Errno::EINTR) {
        REACTOR.lock().collect(&fds, &mut wakers);
    }
    wakers.into_iter().for_each(Waker::wake);
}

impl Reactor {
    /// Whether nobody waits here.
    fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.timers.is_empty()
    }

    /// What to ask `ppoll` for, and for how long.
    fn interest(&self, park: bool) -> (Vec<PollFd>, Option<Duration>) {
        let mut fds = Vec::with_capacity(self.sources.len() + 1);
        if let Some((read, _)) = &self.pipe {
            fds.push(PollFd { fd: read.fd().raw(), events: POLLIN, revents: 0 });
        }
        for (&fd, source) in &self.sources {
            let events = source.reader.as_ref().map_or(0, |_| POLLIN) | source.writer.as_ref().map_or(0, |_| POLLOUT);
            if events != 0 {
                fds.push(PollFd { fd, events, revents: 0 });
            }
        }
        let next = self.timers.first_key_value().map(|((deadline, _), _)| *deadline);
        let timeout = match (park, next) {
            (false, _) => Some(Duration::ZERO),
            (true, Some(deadline)) => Some(deadline.saturating_duration_since(Instant::now())),
            (true, None) => None,
        };
        (fds, timeout)
    }

    /// Takes out the wakers of what is ready or due.
    fn collect(&mut self, fds: &[PollFd], wakers: &mut Vec<Waker>) {
        if let Some((read, _)) = &mut self.pipe {
            // Empties the pipe as far as one buffer goes; a byte left over wakes once too often.
            let _ = read.read(&mut [0; 64]);
        }
        for ready in fds.iter().filter(|p| p.revents != 0) {
            let Some(source) = self.sources.get_mut(&ready.fd) else { continue };
            // Errors and hang-ups concern both directions.
            let other = ready.revents & !(POLLIN | POLLOUT) != 0;
            if other || ready.revents & POLLIN != 0 {
                wakers.extend(source.reader.take());
            }
            if other || ready.revents & POLLOUT != 0 {
                wakers.extend(source.writer.take());
            }
        }
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            wakers.push(entry.remove());
        }
    }
}
