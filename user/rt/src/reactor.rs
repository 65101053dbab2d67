//! What tasks wait for: descriptors and time. One epoll set serves all, however many wait.
//!
//! A task tries its call first, unless the last read has taken all there was. A descriptor enters the set when that finds it not ready, for the direction in question, and
//! stays there until its [`AsyncFd`] is dropped; the set reports edges, so what waits later makes no call for it.
//!
//! ```text
//!   task                                     whoever looks at the set
//!   try: EAGAIN                              an edge of this descriptor and direction
//!   under the source's lock:                 under the source's lock:
//!     an edge is noted?  forget it, try again  a waker is there?  take it, else note the edge
//!     else leave the waker                   call the waker
//!   first wait in this direction: epoll_ctl
//! ```
//!
//! **Why no edge is lost.** One from after the attempt finds the waker or is noted; one from before it costs an attempt in
//! vain. `epoll_ctl` reports what holds already. A future that is dropped leaves its waker behind: the edge that takes it
//! wakes for nothing, and whoever waits next has tried after that. A source that is gone is not found by its key, which is
//! never used again.
//!
//! Who finds nothing to run does not always ask the set first: a read that waits may just as well be tried (see `guess`).
//!
//! One thread at a time parks here: the one in `block_on`, or, where the kernel has slots, a thread of its own, once anybody
//! waits (see `task`). There a worker that finds nothing to run looks too, before it idles. Each edge goes to one of them,
//! who calls the waker at once.
//!
//! A bell, an eventfd in the set, makes the parked thread look again: at tasks that another thread made ready, or at an
//! earlier timer. It reports its level, and only the parked thread silences it, so nobody else takes it away.
//!
//! ```text
//!   parked thread                        other thread
//!   PARKED = true          (SeqCst)      make the task ready      (the pool, or the main flag: SeqCst),
//!   look for ready tasks, timers         or insert the timer      (under the lock)
//!   none: epoll_wait                     PARKED?  ring the bell
//! ```

use crate::sync::{Arc, Mutex, OnceLock};
use crate::sys::{self, OwnedFd, syscall};
use crate::time::Instant;
use crate::{io, requests, task, thread};
use ::task::Wait;
use abi::fs::{EFD_CLOEXEC, EFD_NONBLOCK};
use abi::poll::{EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLIN, EPOLLOUT, EpollEvent};
use abi::time::Timespec;
use alloc::collections::BTreeMap;
use core::future::poll_fn;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering, fence};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use guess::Guess;

mod guess;

/// Reports taken in one call; the rest waits for the next one.
const REPORTS: usize = 32;
/// Where they are put: as many as a call says are there.
type Reports = [MaybeUninit<EpollEvent>; REPORTS];
/// The bell's key; sources count from 0.
const BELL: u64 = u64::MAX;
/// How often a parked thread looks that cannot be called, because there were no descriptors left for the set.
pub(crate) const UNCALLED: Duration = Duration::from_millis(10);

/// What a task wants to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn event(self) -> u32 {
        match self {
            Direction::Read => EPOLLIN,
            Direction::Write => EPOLLOUT,
        }
    }

    fn wait(self) -> Wait {
        match self {
            Direction::Read => Wait::Read,
            Direction::Write => Wait::Write,
        }
    }
}

/// One direction of a descriptor.
#[derive(Debug, Default)]
struct Side {
    /// There was an edge that found no waker.
    edge: bool,
    /// The last waker was called by a guess.
    is_guessed: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Source {
    /// Key in the set, and the directions that it is there for; `None` while it is not.
    entry: Option<(u64, u32)>,
    sides: [Side; 2],
}

impl Source {
    /// Notes an edge; who is to be woken.
    fn report(&mut self, events: u32) -> [Option<Waker>; 2] {
        // Errors and hang-ups concern both directions.
        let both = events & !(EPOLLIN | EPOLLOUT) != 0;
        [Direction::Read, Direction::Write].map(|direction| {
            let side = &mut self.sides[direction as usize];
            let concerned = both || events & direction.event() != 0;
            let waker = side.waker.take_if(|_| concerned);
            side.edge |= concerned && waker.is_none();
            waker
        })
    }
}

/// The set and its bell.
#[derive(Debug)]
struct Set {
    epoll: OwnedFd,
    bell: OwnedFd,
}

static SET: OnceLock<Set> = OnceLock::new();

impl Set {
    /// The only one, made when it is first needed.
    fn get() -> io::Result<&'static Set> {
        if let Some(set) = SET.get() {
            return Ok(set);
        }
        let epoll = OwnedFd::new(syscall!(EPOLL_CREATE1, EPOLL_CLOEXEC)?);
        let bell = OwnedFd::new(syscall!(EVENTFD2, 0, EFD_CLOEXEC | EFD_NONBLOCK)?);
        let made = Set { epoll, bell };
        made.control(EPOLL_CTL_ADD, &made.bell, EPOLLIN, BELL)?;
        // If another thread was faster, this one's is closed.
        Ok(SET.get_or_init(|| made))
    }

    fn control(&self, operation: u32, fd: &OwnedFd, events: u32, data: u64) -> io::Result<()> {
        let event = EpollEvent { events, pad: 0, data };
        syscall!(EPOLL_CTL, self.epoll.raw(), operation, fd.raw(), &raw const event)?;
        Ok(())
    }

    /// Has a source reported in this direction from now on, if it is not already.
    fn watch(&self, fd: &OwnedFd, source: &Arc<Mutex<Source>>, direction: Direction) -> io::Result<()> {
        let mut state = source.lock();
        let event = direction.event();
        match state.entry {
            Some((_, events)) if events & event != 0 => {}
            Some((key, events)) => {
                self.control(EPOLL_CTL_MOD, fd, events | event | EPOLLET, key)?;
                state.entry = Some((key, events | event));
            }
            None => {
                let key = REACTOR.lock().insert(source);
                if let Err(error) = self.control(EPOLL_CTL_ADD, fd, event | EPOLLET, key) {
                    REACTOR.lock().sources.remove(&key);
                    return Err(error);
                }
                state.entry = Some((key, event));
            }
        }
        Ok(())
    }

    /// What there is to report now.
    fn look(&self, events: &mut Reports) -> usize {
        syscall!(EPOLL_PWAIT, self.epoll.raw(), events.as_mut_ptr(), REPORTS, 0, 0, 0).unwrap_or(0)
    }

    /// What there is to report; waits for it, at most `limit`.
    fn wait(&self, events: &mut Reports, limit: Option<Duration>) -> usize {
        let limit = limit.map(|t| Timespec { sec: t.as_secs() as i64, nsec: i64::from(t.subsec_nanos()) });
        let limit_ptr = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // Without an answer, as after a signal, there is nothing.
        syscall!(EPOLL_PWAIT2, self.epoll.raw(), events.as_mut_ptr(), REPORTS, limit_ptr, 0, 0).unwrap_or(0)
    }

    fn ring(&self) {
        // A counter that is full rings as well.
        // Neither waits: they are made whatever interrupts.
        let _ = sys::retry(|| sys::write(self.bell.raw(), &1u64.to_ne_bytes()));
    }

    fn silence(&self) {
        let _ = sys::retry(|| sys::read(self.bell.raw(), &mut [0; 8]));
    }
}

#[derive(Debug)]
struct Reactor {
    /// What is in the set. Locked after a source, if both are.
    sources: BTreeMap<u64, Arc<Mutex<Source>>>,
    timers: BTreeMap<(Instant, u64), Waker>,
    next_source: u64,
    next_timer: u64,
}

static REACTOR: Mutex<Reactor> =
    Mutex::new(Reactor { sources: BTreeMap::new(), timers: BTreeMap::new(), next_source: 0, next_timer: 0 });
static PARKED: AtomicBool = AtomicBool::new(false);
static GUESS: Guess = Guess::new();

impl Reactor {
    fn insert(&mut self, source: &Arc<Mutex<Source>>) -> u64 {
        let key = self.next_source;
        self.next_source += 1;
        self.sources.insert(key, Arc::clone(source));
        key
    }

    /// When the first timer fires.
    fn first(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes out the waker of a timer that is due.
    fn due(&mut self, now: Instant) -> Option<Waker> {
        self.timers.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }
}

/// A non-blocking descriptor that tasks wait for: at most one reading and one writing at a time.
#[derive(Debug)]
pub(crate) struct AsyncFd {
    fd: Arc<OwnedFd>,
    /// The last read took all there was: the next waits for an edge. By who reads.
    dry: AtomicBool,
    source: Arc<Mutex<Source>>,
}

impl AsyncFd {
    /// Takes a descriptor that is non-blocking already.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd), dry: AtomicBool::new(false), source: Arc::default() }
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Repeats `attempt` until it does not answer `EAGAIN`, waiting in between.
    pub(crate) async fn io<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|cx| {
            loop {
                let is_known_dry = direction == Direction::Read && self.take_dry();
                if !is_known_dry {
                    match attempt(&self.fd) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => {
                            ::task::waits_no_more(cx);
                            return Poll::Ready(result);
                        }
                    }
                }
                if !self.leave(direction, is_known_dry, cx)? {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Reads up to `buf.len()` bytes; 0 is the end.
    pub(crate) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io(Direction::Read, |fd| {
            let (len, dry) = sys::take(fd.raw(), buf)?;
            // Relaxed, as below: whoever reads next has it from the one that read last.
            self.dry.store(dry, Ordering::Relaxed);
            Ok(len)
        })
        .await
    }

    /// Whether the last read took all there was; asked once.
    fn take_dry(&self) -> bool {
        let dry = self.dry.load(Ordering::Relaxed);
        if dry {
            self.dry.store(false, Ordering::Relaxed);
        }
        dry
    }

    /// Fills `buf`.
    pub(crate) async fn read_exact(&self, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read(buf).await? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed too early")),
                n => buf = &mut buf[n..],
            }
        }
        Ok(())
    }

    /// Leaves the task's waker for the next edge. `true`: there was one already, and no waker is left. Without an attempt
    /// before this, the last one found something (`is_known_dry`).
    fn leave(&self, direction: Direction, is_known_dry: bool, cx: &Context<'_>) -> io::Result<bool> {
        let mut source = self.source.lock();
        let side = &mut source.sides[direction as usize];
        if core::mem::take(&mut side.is_guessed) {
            if is_known_dry { GUESS.was_right() } else { GUESS.was_wrong() }
        }
        if core::mem::take(&mut side.edge) {
            return Ok(true);
        }
        let before = match &side.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => side.waker.replace(cx.waker().clone()),
        };
        let watched = source.entry.filter(|(_, events)| events & direction.event() != 0);
        drop(source);
        drop(before);
        match watched {
            Some((key, _)) if direction == Direction::Read => GUESS.note_wait(key),
            Some(_) => {}
            None => {
                task::need_reactor();
                Set::get()?.watch(&self.fd, &self.source, direction)?;
            }
        }
        ::task::waits_for(cx, direction.wait());
        Ok(false)
    }
}

impl Drop for AsyncFd {
    fn drop(&mut self) {
        // A copy of the descriptor, in a child say, would keep it in the set.
        let entry = self.source.lock().entry;
        if let Some((key, _)) = entry
            && let Some(set) = SET.get()
        {
            let _ = set.control(EPOLL_CTL_DEL, &self.fd, 0, key);
            let source = REACTOR.lock().sources.remove(&key);
            drop(source);
        }
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
        let earlier = reactor.first().is_none_or(|first| deadline < first);
        reactor.timers.insert((deadline, id), waker.clone());
        drop(reactor);
        task::need_reactor();
        if earlier {
            notify();
        }
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
        // Dropped after the lock is released: a waker may own the last reference to a task with timers of its own.
        let waker = REACTOR.lock().timers.remove(&(self.0, self.1));
        drop(waker);
    }
}

/// Makes the set, if that is possible: a thread that parks can be called then. Its descriptor.
pub(crate) fn set_up() -> Option<i32> {
    Set::get().ok().map(|set| set.epoll.raw())
}

/// Announces that the executor is about to look for work a last time before [`wait`].
pub(crate) fn prepare() {
    let _ = set_up();
    PARKED.store(true, Ordering::SeqCst);
    // Before the look for a ring: who makes one calls whoever is parked.
    fence(Ordering::SeqCst);
}

/// Takes [`prepare`] back: there is work after all.
pub(crate) fn cancel() {
    PARKED.store(false, Ordering::SeqCst);
}

/// Makes a parked executor look again. Free when it is not parked, which it is not when the caller is one of its tasks.
pub(crate) fn notify() {
    // SeqCst: the caller's task became ready before this load, see the module head.
    if PARKED.swap(false, Ordering::SeqCst)
        && let Some(set) = SET.get()
    {
        set.ring();
    }
}

/// How many descriptors are open for waiting.
pub(crate) fn kept_descriptors() -> usize {
    if SET.get().is_some() { 2 + usize::from(requests::exists()) } else { 0 }
}

/// Waits, after [`prepare`], for a descriptor, a timer or the bell, and wakes the tasks concerned.
pub(crate) fn wait() {
    let first = REACTOR.lock().first();
    let limit = first.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match SET.get() {
        Some(set) => match requests::wait(limit) {
            None => {
                let mut events = [const { MaybeUninit::uninit() }; REPORTS];
                let count = set.wait(&mut events, limit);
                PARKED.store(false, Ordering::SeqCst);
                let _ = deliver(set, &events[..count], true);
            }
            Some(reports) => {
                PARKED.store(false, Ordering::SeqCst);
                let _ = reports && look_at(set, true);
            }
        },
        None => thread::sleep(limit.map_or(UNCALLED, |limit| limit.min(UNCALLED))),
    }
    fire();
}

/// Wakes those whom what the set has to report now concerns.
fn look_at(set: &Set, parked: bool) -> bool {
    let mut events = [const { MaybeUninit::uninit() }; REPORTS];
    let count = set.look(&mut events);
    deliver(set, &events[..count], parked)
}

/// Wakes the tasks whose request has ended, whose descriptor is ready or whose time has come; whether there were any.
pub(crate) fn look() -> bool {
    let (requests, unwatched) = requests::look();
    let (sources, timers) = {
        let reactor = REACTOR.lock();
        (!reactor.sources.is_empty(), !reactor.timers.is_empty())
    };
    let found = sources && (guess() || SET.get().is_some_and(|set| look_at(set, false)));
    if unwatched {
        requests::watch_again();
    }
    timers && fire() || found || requests
}

/// Wakes a reader for whom something may be there; whether there was one.
fn guess() -> bool {
    let Some(key) = GUESS.make() else { return false };
    let source = REACTOR.lock().sources.get(&key).cloned();
    let waker = source.and_then(|source| {
        let mut source = source.lock();
        let side = &mut source.sides[Direction::Read as usize];
        side.is_guessed = side.waker.is_some();
        side.waker.take()
    });
    let is_made = waker.is_some();
    waker.into_iter().for_each(Waker::wake);
    is_made
}

/// Wakes those whom reports of the set concern, all of which are there; whether there was anybody.
fn deliver(set: &Set, reports: &[MaybeUninit<EpollEvent>], parked: bool) -> bool {
    let mut woken = false;
    for report in reports {
        // SAFETY: the call has put them there, said its answer.
        let event = unsafe { report.assume_init_ref() };
        if event.data == BELL && parked {
            set.silence();
        }
        let source = REACTOR.lock().sources.get(&event.data).cloned();
        let wakers = source.map(|source| source.lock().report(event.events));
        for waker in wakers.into_iter().flatten().flatten() {
            woken = true;
            waker.wake();
        }
    }
    woken
}

/// Wakes the tasks whose time has come; whether there were any.
fn fire() -> bool {
    if REACTOR.lock().timers.is_empty() {
        return false;
    }
    let (now, mut woken) = (Instant::now(), false);
    loop {
        let due = REACTOR.lock().due(now);
        let Some(waker) = due else { return woken };
        woken = true;
        waker.wake();
    }
}
