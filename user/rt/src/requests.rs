//! Requests: what tasks have the kernel do through the ring that this process shares with it, and wait for.
//!
//! ```text
//!   task                          whoever polls tasks                    whoever looks
//!   first poll: push the entry    at the end of its round:               takes completions; for each
//!   leave the waker in its place    one `enter` for all that was pushed    note the result, call the waker
//!   next poll: the result
//! ```
//!
//! There is one ring, made by the first request. All that threads share of it, the program's half of the queues and the places of the requests, is under
//! one lock, which nobody holds across a call or while a waker runs.
//!
//! **Why none sleeps through its completion.** The result is noted and the waker taken in one step under the lock, and left there under it too. An entry
//! that was pushed is submitted by the thread that polled its task, at the end of its round, before it sleeps ([`submit`]); so it waits for no other
//! thread, only for the polls of that round. Who parks in the reactor waits in `enter`: the kernel looks at the queue itself, and a completion
//! that nobody has taken ends the wait before it begins. Tasks made ready by others, and timers, ring the reactor's bell, which is in its set; and
//! the set is watched by a request of this ring. Another thread may take the completion of that while the one that parks is on its way into `enter`: it
//! watches the set again, and leaves the bell as it is, so that there is another completion if that was what rang ([`watch_again`]).
//!
//! **A future that is dropped** leaves what it owns in its place, where it stays until the completion is there: the kernel may use it till then. The
//! request is cancelled at once. Its descriptor is kept open only as long as the kernel may not have taken the entry yet, lest the number
//! mean another file by then.
//!
//! A child made by `fork` shares the ring with its parent and has no threads that would use it: as for all tasks, it is for
//! what needs none.

use crate::ring::{self, Ring};
use crate::sync::{Arc, Mutex, OnceLock};
use crate::sys::OwnedFd;
use crate::{reactor, task};
use ::task::Wait;
use abi::errno::{Errno, Result};
use abi::io_uring::*;
use abi::poll::EPOLLIN;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

/// Entries that can be pushed before they are submitted.
const ENTRIES: u32 = 256;
/// Completions that are taken in one look.
const AT_ONCE: usize = 512;
/// What watches the reactor's set.
const SET: u64 = u64::MAX;
/// What nobody waits for.
const NOBODY: u64 = u64::MAX - 1;

/// A place of a request.
enum Place {
    /// The next free one, if there is one.
    Free(Option<u32>),
    Waits(Waker),
    Done(i32),
    /// Its future was dropped.
    Left(Left),
}

/// What is kept of a request whose future was dropped.
struct Left {
    /// Dropped for its effect: the memory that the kernel may use.
    _resources: Box<dyn Any + Send>,
    /// There until the kernel has the file.
    file: Option<Arc<OwnedFd>>,
    /// What it answers is a descriptor.
    opens: bool,
}

/// What threads share.
struct State {
    ring: Ring,
    places: Vec<(u32, Place)>,
    free: Option<u32>,
    /// Dropped requests whose cancellation was not pushed yet.
    cancels: Vec<u64>,
    /// The reactor's set.
    set: i32,
    /// A request watches it.
    is_watched: bool,
    /// It had something, and the thread that parks has not looked.
    reports: bool,
}

struct Port {
    /// The ring's descriptor.
    fd: i32,
    state: Mutex<State>,
}

static PORT: OnceLock<Option<Port>> = OnceLock::new();
/// Entries that were pushed, and that the kernel had not taken when somebody last looked. Changed under the lock; looked at without it by who
/// has pushed some itself.
static PUSHED: AtomicU32 = AtomicU32::new(0);

/// The ring, if there was a first request.
fn port() -> Option<&'static Port> {
    PORT.get()?.as_ref()
}

fn new_port() -> Option<Port> {
    // Who waits in the ring is called through the set.
    let set = reactor::set_up()?;
    let ring = Ring::new(ENTRIES, 0).ok()?;
    let fd = ring.fd().raw();
    let (places, cancels) = (Vec::new(), Vec::new());
    let state = State { ring, places, free: None, cancels, set, is_watched: false, reports: false };
    Some(Port { fd, state: Mutex::new(state) })
}

/// The ring, made if there is none.
fn make() -> Result<&'static Port> {
    if let Some(made) = PORT.get() {
        return made.as_ref().ok_or(Errno::ENOSYS);
    }
    let made = PORT.get_or_init(new_port).as_ref().ok_or(Errno::ENOSYS)?;
    // Who is parked in the set goes over to the ring.
    reactor::notify();
    Ok(made)
}

/// Whether there is a ring: one descriptor.
pub(crate) fn exists() -> bool {
    port().is_some()
}

/// Whether entries wait for the end of this thread's round, so that one more costs no call.
#[inline]
pub(crate) fn gather() -> bool {
    // Relaxed: a guess.
    PUSHED.load(Ordering::Relaxed) > 0
}

impl State {
    fn push(&mut self, entry: &Sqe) -> bool {
        let pushed = self.ring.add(entry);
        if pushed {
            self.count_pushed();
        }
        pushed
    }

    /// How many entries the kernel has yet to take.
    fn count_pushed(&self) -> u32 {
        let pushed = self.ring.untaken();
        // Relaxed: under the lock; see `PUSHED`.
        PUSHED.store(pushed, Ordering::Relaxed);
        pushed
    }

    /// A place for a request; its key.
    fn enter(&mut self, waker: &Waker) -> Result<u64> {
        let index = match self.free {
            Some(index) => index,
            None => {
                self.places.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.places.push((0, Place::Free(None)));
                self.places.len() as u32 - 1
            }
        };
        let (serial, place) = &mut self.places[index as usize];
        *serial = serial.wrapping_add(1) & (u32::MAX >> 1);
        let key = u64::from(*serial) << 32 | u64::from(index);
        if let Place::Free(next) = mem::replace(place, Place::Waits(waker.clone())) {
            self.free = next;
        }
        Ok(key)
    }

    /// Ends the use of a place; what was in it.
    fn leave(&mut self, key: u64) -> Place {
        let index = key as u32;
        let free = Place::Free(self.free.replace(index));
        mem::replace(&mut self.places[index as usize].1, free)
    }

    fn place(&mut self, key: u64) -> Option<&mut Place> {
        let (serial, place) = self.places.get_mut(key as u32 as usize)?;
        (u64::from(*serial) == key >> 32).then_some(place)
    }

    /// Pushes what the runtime itself asks for: to be told of the set, and to be rid of what was dropped.
    fn push_own(&mut self) {
        if !self.is_watched {
            let (fd, op_flags) = (self.set, EPOLLIN);
            self.is_watched =
                self.push(&Sqe { opcode: IORING_OP_POLL_ADD, fd, op_flags, user_data: SET, ..Sqe::default() });
        }
        while let Some(key) = self.cancels.last() {
            let entry = Sqe { opcode: IORING_OP_ASYNC_CANCEL, fd: -1, addr: *key, user_data: NOBODY, ..Sqe::default() };
            if !self.push(&entry) {
                return;
            }
            self.cancels.pop();
        }
    }

    /// Notes a completion; what is to be done about it without the lock.
    fn complete(&mut self, cqe: &Cqe) -> Completed {
        match cqe.user_data {
            SET => {
                (self.is_watched, self.reports) = (false, true);
                return Completed::Set;
            }
            NOBODY => return Completed::Nothing,
            _ => {}
        }
        match self.place(cqe.user_data) {
            Some(place @ Place::Waits(_)) => match mem::replace(place, Place::Done(cqe.res)) {
                Place::Waits(waker) => Completed::Wakes(waker),
                _ => Completed::Nothing,
            },
            Some(Place::Left(_)) => Completed::Leaves(self.leave(cqe.user_data), cqe.res),
            _ => Completed::Nothing,
        }
    }
}

enum Completed {
    Nothing,
    Set,
    Wakes(Waker),
    Leaves(Place, i32),
}

impl Completed {
    fn finish(self) {
        match self {
            Completed::Wakes(waker) => waker.wake(),
            Completed::Leaves(Place::Left(left), result) if left.opens => drop(descriptor(result)),
            _ => {}
        }
    }
}

/// The descriptor that a request has opened.
fn descriptor(result: i32) -> Option<OwnedFd> {
    (result >= 0).then(|| OwnedFd::new(result as usize))
}

impl Port {
    /// Submits what was pushed and waits for so many completions, for `limit` at most; whether all that was pushed before is the kernel's now. What is not
    /// is taken another time.
    fn call(&self, wait_for: u32, limit: Option<Duration>) -> bool {
        let (pushed, tail) = {
            let mut state = self.state.lock();
            state.push_own();
            let _ = state.ring.publish();
            (state.count_pushed(), state.ring.tail())
        };
        if pushed == 0 && wait_for == 0 {
            return true;
        }
        // Others may have been told to take the same: then it waits for nothing, and the caller comes again.
        let taken = ring::enter(self.fd, pushed, wait_for, limit);
        if matches!(taken, Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOMEM)) && wait_for > 0 {
            // There is no place for another completion, or no memory: some have to be taken first.
            let soon = limit.map_or(reactor::UNCALLED, |limit| limit.min(reactor::UNCALLED));
            let _ = ring::enter(self.fd, 0, wait_for, Some(soon));
        }
        let state = self.state.lock();
        state.count_pushed();
        state.ring.has_taken(tail)
    }

    /// Takes the completions that there are; whether there were any, and whether the set is not watched now.
    fn take(&self) -> (bool, bool) {
        let (mut found, mut set) = (false, false);
        for _ in 0..AT_ONCE {
            match self.take_one() {
                Some(completed) => {
                    found |= !matches!(completed, Completed::Nothing | Completed::Set);
                    set |= matches!(completed, Completed::Set);
                    completed.finish();
                }
                None if self.asks_for_a_call() => drop(ring::enter(self.fd, 0, 0, None)),
                None => break,
            }
        }
        (found, set)
    }

    /// Takes the oldest completion.
    fn take_one(&self) -> Option<Completed> {
        let mut state = self.state.lock();
        let cqe = state.ring.pop()?;
        Some(state.complete(&cqe))
    }

    fn asks_for_a_call(&self) -> bool {
        self.state.lock().ring.asks_for_a_call()
    }

    /// Pushes a request, submitting what is there if there is no more room.
    fn begin(&self, entry: &Sqe, waker: &Waker) -> Result<u64> {
        for _ in 0..2 {
            {
                let mut state = self.state.lock();
                let key = state.enter(waker)?;
                if state.push(&Sqe { user_data: key, ..*entry }) {
                    return Ok(key);
                }
                let place = state.leave(key);
                drop(state);
                drop(place);
            }
            let _ = self.call(0, None);
        }
        Err(Errno::EAGAIN)
    }

    /// The result of a request, when it is there.
    fn poll(&self, key: u64, waker: &Waker) -> Poll<i32> {
        let mut state = self.state.lock();
        let before = match state.place(key) {
            Some(Place::Done(result)) => {
                let result = *result;
                let _ = state.leave(key);
                return Poll::Ready(result);
            }
            Some(Place::Waits(before)) if !before.will_wake(waker) => Some(mem::replace(before, waker.clone())),
            _ => None,
        };
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// Keeps what a request owns, and cancels it.
    fn abandon(&self, key: u64, left: Left) {
        let (mut left, mut before) = (Some(left), None);
        {
            let mut state = self.state.lock();
            match state.place(key) {
                Some(Place::Done(_)) => before = Some(state.leave(key)),
                Some(place) => {
                    before = left.take().map(|left| mem::replace(place, Place::Left(left)));
                    state.cancels.push(key);
                }
                None => {}
            }
        }
        if let (Some(Place::Done(result)), Some(Left { opens: true, .. })) = (&before, &left) {
            drop(descriptor(*result));
        }
        drop(before);
        if left.is_none() {
            let is_taken = self.call(0, None);
            let file = {
                let mut state = self.state.lock();
                match state.place(key) {
                    Some(Place::Left(left)) if is_taken => left.file.take(),
                    _ => None,
                }
            };
            drop(file);
        }
    }
}

/// Submits what was pushed. By whoever has polled tasks, before it does anything else that may take long.
#[inline]
pub(crate) fn submit() {
    // Relaxed: what this thread has pushed it sees.
    if PUSHED.load(Ordering::Relaxed) > 0 {
        submit_all();
    }
}

#[cold]
#[inline(never)]
fn submit_all() {
    if let Some(port) = port() {
        let _ = port.call(0, None);
    }
}

/// Submits, and takes what has completed; whether there was anything, and whether [`watch_again`] is to be called after a look at the set.
#[inline]
pub(crate) fn look() -> (bool, bool) {
    let Some(port) = port() else { return (false, false) };
    submit();
    port.take()
}

/// Watches the set. By a thread that has taken the completion which says that it had something.
pub(crate) fn watch_again() {
    if let Some(port) = port() {
        let _ = port.call(0, None);
    }
}

/// Submits, and waits for completions, or until the set has something, whichever is first, and takes them. Whether the set may have
/// something; `None` without a ring. By the one thread that is parked in the reactor.
pub(crate) fn wait(limit: Option<Duration>) -> Option<bool> {
    let port = port()?;
    let _ = port.call(1, limit);
    // The set is watched again by the next wait of this thread, which looks at it before.
    let _ = port.take();
    Some(mem::take(&mut port.state.lock().reports))
}

/// A request that owns what the kernel may touch on its account.
#[must_use = "it begins when it is polled"]
pub(crate) struct Request<T: Send + 'static> {
    entry: Sqe,
    key: Option<u64>,
    wait: Wait,
    opens: bool,
    file: Option<Arc<OwnedFd>>,
    /// There until it has ended.
    resources: Option<T>,
}

impl<T: Send + 'static> Unpin for Request<T> {}

impl<T: Send + 'static> Request<T> {
    /// One about `file`.
    ///
    /// # Safety
    /// What the entry makes the kernel do with memory is that of `resources`, does not depend on where those themselves lie, and nobody
    /// else touches it.
    pub(crate) unsafe fn new(entry: Sqe, wait: Wait, file: Option<&Arc<OwnedFd>>, resources: T) -> Self {
        let fd = file.map_or(entry.fd, |file| file.raw());
        let (entry, file) = (Sqe { fd, ..entry }, file.cloned());
        Self { entry, key: None, wait, opens: false, file, resources: Some(resources) }
    }

    /// The answer is a descriptor.
    pub(crate) fn opens(mut self) -> Self {
        self.opens = true;
        self
    }

    fn end(&mut self, result: Result<usize>) -> Poll<(Result<usize>, T)> {
        self.resources.take().map_or(Poll::Pending, |resources| Poll::Ready((result, resources)))
    }
}

impl<T: Send + 'static> Future for Request<T> {
    type Output = (Result<usize>, T);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(key) = this.key else {
            match make().and_then(|port| port.begin(&this.entry, cx.waker())) {
                Ok(key) => this.key = Some(key),
                Err(errno) => return this.end(Err(errno)),
            }
            task::need_reactor();
            ::task::waits_for(cx, this.wait);
            return Poll::Pending;
        };
        match port().map(|port| port.poll(key, cx.waker())) {
            Some(Poll::Ready(result)) => {
                ::task::waits_no_more(cx);
                this.end(Errno::from_return(result as isize))
            }
            _ => {
                ::task::waits_for(cx, this.wait);
                Poll::Pending
            }
        }
    }
}

impl<T: Send + 'static> Drop for Request<T> {
    fn drop(&mut self) {
        if let (Some(key), Some(resources), Some(port)) = (self.key, self.resources.take(), port()) {
            let left = Left { _resources: Box::new(resources), file: self.file.take(), opens: self.opens };
            port.abandon(key, left);
        }
    }
}
