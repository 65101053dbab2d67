//! Futexes: waiting until somebody says that a word of user memory may have changed.
//!
//! Waiters queue in hashed buckets. **No wake-up is lost:** a waiter enters its bucket while it holds the address
//! space's lock and has just read the word there, and a waker changes the word (in user mode, or under that lock) before
//! it looks into the bucket. A waiter's `state` decides races: exactly one of waker and canceller moves it
//! away from `WAITING`, so a wake-up is never given to a waiter that has left. One that was given and of which nobody has heard when the wait is dropped (its thread was killed, or there
//! was no memory for who was to wait) goes to the next waiter.
//!
//! ```text
//! WAITING --wake--> WOKEN
//! WAITING --time-out, signal, cancellation (drop)--> GONE   (and leaves its bucket)
//! ```

use crate::{footprint, thread::Thread};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
};
use hal::{
    sync::{SpinLock, rank},
    user::Access,
};
use io::file::IoError;
use mem::{AddressSpace, CopyFault, FutexKey, Room};

const BUCKETS: usize = 64;
/// Places that a bucket keeps.
const ROOM: usize = 64;
const WAITING: u32 = 0;
const WOKEN: u32 = 1;
const GONE: u32 = 2;

struct Waiter {
    /// A whole word: the machine has no smaller compare-and-exchange.
    state: AtomicU32,
    bitset: u32,
    /// Whose bucket it is in, or is being moved to. Changed before the move, which then looks at `state`.
    key: SpinLock<FutexKey>,
    waker: SpinLock<Option<Waker>>,
}

const _: () = assert!(size_of::<Waiter>() + 2 * size_of::<usize>() <= footprint::WAITER);

impl Waiter {
    /// `true` if this call decided.
    fn settle(&self, to: u32) -> bool {
        // AcqRel: what the waker did before is visible to the woken, and the other way round for GONE.
        self.state.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn waits(&self) -> bool {
        self.state.load(Ordering::Acquire) == WAITING // pairs with `settle`
    }

    fn woken(&self) -> bool {
        self.state.load(Ordering::Acquire) == WOKEN // pairs with `settle`
    }
}

/// Waiters in order of arrival. One that leaves only says so; when half of them may have, all that have go at once. So leaving costs the same
/// however many are here, and those that are gone are never more than those that wait.
struct Bucket {
    waiters: Vec<(FutexKey, Arc<Waiter>)>,
    /// How many have said that they leave since the last sweep: at least as many as are here and gone.
    left: usize,
}

impl Bucket {
    /// `false`: there is no memory.
    #[inline]
    fn enter(&mut self, key: FutexKey, waiter: Arc<Waiter>) -> bool {
        let has_room = self.waiters.len() < self.waiters.capacity() || self.waiters.make_room(1).is_ok();
        if has_room {
            self.waiters.push((key, waiter));
        }
        has_room
    }

    fn leave(&mut self) {
        self.left += 1;
        if self.left * 2 > self.waiters.len() {
            self.left = 0;
            self.waiters.retain(|(_, waiter)| waiter.waits());
            self.fit();
        }
    }

    /// Gives memory back that is not needed, if there is some for what is.
    #[inline]
    fn fit(&mut self) {
        let room = self.waiters.capacity();
        if room > ROOM && self.waiters.len() < room / 4 {
            self.shrink();
        }
    }

    #[cold]
    #[inline(never)]
    fn shrink(&mut self) {
        let mut less = Vec::new();
        if less.make_exact_room(2 * self.waiters.len()).is_ok() {
            less.append(&mut self.waiters);
            self.waiters = less;
        }
    }
}

static TABLE: [SpinLock<Bucket>; BUCKETS] =
    [const { SpinLock::new(rank::FUTEX, Bucket { waiters: Vec::new(), left: 0 }) }; BUCKETS];

fn bucket(key: FutexKey) -> &'static SpinLock<Bucket> {
    &TABLE[(key.hash() >> 58) as usize % BUCKETS]
}

/// Leaves the queue when the waiting future is dropped.
struct Registration {
    waiter: Arc<Waiter>,
    /// Who waits has heard of the wake-up.
    is_told: bool,
}

impl Registration {
    /// Nobody has heard of the wake-up, and nobody will: it is the next waiter's.
    #[cold]
    #[inline(never)]
    fn pass_on(&self) {
        let key = *self.waiter.key.lock();
        wake_one(key, self.waiter.bitset);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.waiter.woken() {
            // The waker has it out of its bucket, and takes and calls what it holds.
            if !self.is_told {
                self.pass_on();
            }
            return;
        }
        self.waiter.settle(GONE);
        if self.waiter.state.load(Ordering::Acquire) == GONE {
            // Either this finds the key of the bucket that it is in, or the requeue that moves it finds it gone.
            let key = *self.waiter.key.lock();
            bucket(key).lock().leave();
        }
        // A requeue in the middle of its move may be the last to hold the waiter: it must not hold the task.
        let waker = self.waiter.waker.lock().take();
        drop(waker);
    }
}

/// Begins `FUTEX_WAIT` or `FUTEX_WAIT_BITSET`: enters the queue, if the word at `addr` is `expected`. `space` is the thread's.
///
/// # Errors
/// `EAGAIN` (another value), `EFAULT`, `EINVAL`, `ENOMEM`; the page that is missing.
pub fn begin<'a>(
    thread: Option<&'a Thread>,
    space: &AddressSpace,
    addr: usize,
    private: bool,
    expected: u32,
    bitset: u32,
) -> Result<Wait<'a>, IoError> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = space.futex_key(addr, private)?;
    let (state, waker) = (AtomicU32::new(WAITING), SpinLock::new(rank::FUTEX + 1, None));
    let key_now = SpinLock::new(rank::FUTEX + 1, key);
    let waiter = Arc::new(Waiter { state, bitset, key: key_now, waker });
    let entered = space.word_now(addr, Access::Read, |word| {
        // Relaxed: the bucket's lock orders this against wakers.
        let mut bucket = bucket(key).lock();
        let equal = word.load(Ordering::Relaxed) == expected;
        (equal, equal && bucket.enter(key, waiter.clone()))
    })?;
    match entered {
        (_, true) => Ok(Wait { thread, registration: Registration { waiter, is_told: false } }),
        (equal, false) => Err(if equal { Errno::ENOMEM } else { Errno::EAGAIN }.into()),
    }
}

/// [`begin`], whatever pages are missing, and the wait, until `deadline` (nanoseconds since boot) at most.
///
/// # Errors
/// `EAGAIN` (another value), `EINTR`, `ETIMEDOUT`, `EFAULT`, `EINVAL`, `ENOMEM`.
pub async fn wait(
    thread: &Thread,
    addr: usize,
    private: bool,
    expected: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<(), Errno> {
    let wait = loop {
        let space = thread.space();
        match begin(Some(thread), &space, addr, private, expected, bitset) {
            Ok(wait) => break wait,
            Err(IoError::Errno(errno)) => return Err(errno),
            Err(IoError::Fault(fault)) => space.resolve(fault).await?,
        }
    };
    match deadline {
        Some(deadline) => wait.until(deadline).await,
        None => wait.await,
    }
}

/// A wait that has begun: a future that ends with the wake-up, or with `EINTR`. Dropped, it leaves the queue.
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<'a> {
    /// Whose signals end it; without one its owner ends it.
    thread: Option<&'a Thread>,
    registration: Registration,
}

impl Wait<'_> {
    /// Ends it for another reason than a wake-up, unless a waker is faster than this.
    ///
    /// # Errors
    /// That.
    pub fn give_up(&mut self, errno: Errno) -> Result<(), Errno> {
        if self.registration.waiter.settle(GONE) {
            return Err(errno);
        }
        self.registration.is_told = true;
        Ok(())
    }

    /// Waits until `deadline` (nanoseconds since boot) at most.
    async fn until(mut self, deadline: u64) -> Result<(), Errno> {
        let mut limit = exec::sleep_until(deadline);
        poll_fn(|context| match Pin::new(&mut self).poll(context) {
            Poll::Pending => Pin::new(&mut limit).poll(context).map(|()| self.give_up(Errno::ETIMEDOUT)),
            ready => ready,
        })
        .await
    }
}

impl Future for Wait<'_> {
    type Output = Result<(), Errno>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Registration { waiter, is_told } = &mut self.registration;
        if !waiter.waits() {
            *is_told = true;
            return Poll::Ready(Ok(()));
        }
        let old = waiter.waker.lock().replace(context.waker().clone());
        drop(old);
        // A waker that settled before the line above found no one to wake.
        if !waiter.waits() {
            *is_told = true;
            return Poll::Ready(Ok(()));
        }
        if self.thread.is_some_and(|thread| thread.interrupted()) {
            Poll::Ready(self.give_up(Errno::EINTR))
        } else {
            Poll::Pending
        }
    }
}

/// `FUTEX_WAKE` and `FUTEX_WAKE_BITSET`: wakes up to `count` waiters whose bits overlap; answers how many.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub fn wake(space: &AddressSpace, addr: usize, private: bool, count: usize, bitset: u32) -> Result<usize, Errno> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(wake_key(space.futex_key(addr, private)?, count, bitset))
}

/// Wakes the first: the usual case.
#[inline]
fn wake_one(key: FutexKey, bitset: u32) -> usize {
    let mut bucket = bucket(key).lock();
    let wakes = |(other, waiter): &(FutexKey, Arc<Waiter>)| {
        *other == key && waiter.bitset & bitset != 0 && waiter.settle(WOKEN)
    };
    let Some(at) = bucket.waiters.iter().position(wakes) else { return 0 };
    let (_, waiter) = bucket.waiters.remove(at);
    bucket.fit();
    drop(bucket);
    rouse(&waiter);
    1
}

fn wake_key(key: FutexKey, count: usize, bitset: u32) -> usize {
    if count == 1 {
        return wake_one(key, bitset);
    }
    let (number, more) = wake_some(key, count, bitset);
    if more == 0 { number } else { number + wake_more(key, more, bitset) }
}

/// Of the waiters that are here, wakes up to `most`, for a list of whom there was no memory: few at a time.
#[cold]
#[inline(never)]
fn wake_more(key: FutexKey, most: usize, bitset: u32) -> usize {
    let mut all = 0;
    while all < most {
        let (number, more) = wake_some(key, most - all, bitset);
        all += number;
        if more == 0 || number == 0 {
            break;
        }
    }
    all
}

/// Wakes up to `count`; how many, and how many more of those that are here it may be, for lack of memory.
#[inline(always)]
fn wake_some(key: FutexKey, count: usize, bitset: u32) -> (usize, usize) {
    // Often there is one: no list for that.
    let (mut first, mut others) = (None, Vec::new());
    let (mut left, mut is_short) = (count, false);
    let mut bucket = bucket(key).lock();
    let here = bucket.waiters.len();
    let leaves = |(other, waiter): &mut (FutexKey, Arc<Waiter>)| {
        if *other != key {
            return false;
        }
        if left == 0 || waiter.bitset & bitset == 0 || is_short {
            return !waiter.waits();
        }
        if left < count {
            is_short = others.make_room(1).is_err();
            if is_short || !waiter.settle(WOKEN) {
                return !waiter.waits();
            }
            others.push(waiter.clone());
        } else if !waiter.settle(WOKEN) {
            return true;
        }
        left -= 1;
        true
    };
    for (_, waiter) in bucket.waiters.extract_if(.., leaves) {
        if first.is_none() && waiter.woken() {
            first = Some(waiter);
        }
    }
    if here > ROOM {
        bucket.fit();
    }
    drop(bucket);
    if let Some(first) = first {
        rouse(&first);
    }
    if !others.is_empty() {
        rouse_all(others);
    }
    (count - left, if is_short { left.min(here) } else { 0 })
}

#[inline(never)]
fn rouse_all(waiters: Vec<Arc<Waiter>>) {
    waiters.iter().for_each(|waiter| rouse(waiter));
}

fn rouse(waiter: &Waiter) {
    let waker = waiter.waker.lock().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The second word of a requeue, and how many waiters may do what.
#[derive(Clone, Copy, Debug)]
pub struct Requeue {
    /// Where the waiters go.
    pub to: usize,
    /// Waiters to wake.
    pub wake: usize,
    /// Waiters to move.
    pub limit: usize,
    /// `FUTEX_CMP_REQUEUE`: what the first word must be.
    pub expected: Option<u32>,
}

/// `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`: wakes some waiters and moves others; answers (woken, moved).
///
/// # Errors
/// `EAGAIN` (another value), `EINVAL`, `EFAULT`, `ENOMEM`.
pub async fn requeue(space: &AddressSpace, addr: usize, private: bool, plan: Requeue) -> Result<(usize, usize), Errno> {
    let from = space.futex_key(addr, private)?;
    let to = space.futex_key(plan.to, private)?;
    let Some(expected) = plan.expected else {
        let shifted = shift(&mut bucket(from).lock(), from, &plan)?;
        return Ok(shifted.finish(to));
    };
    loop {
        // The look at the word and the choice of waiters are one step: who comes with the new value is not among them.
        let shifted = space.word_now(addr, Access::Read, |word| {
            let mut bucket = bucket(from).lock();
            (word.load(Ordering::Relaxed) == expected).then(|| shift(&mut bucket, from, &plan))
        });
        match shifted {
            Ok(shifted) => return Ok(shifted.unwrap_or(Err(Errno::EAGAIN))?.finish(to)),
            Err(fault) => space.resolve(fault).await?,
        }
    }
}

/// Waiters that a requeue has taken out of the first bucket.
struct Shifted {
    woken: Vec<Arc<Waiter>>,
    moved: Vec<Arc<Waiter>>,
}

fn shift(bucket: &mut Bucket, from: FutexKey, plan: &Requeue) -> Result<Shifted, Errno> {
    let (mut woken, mut moved) = (Vec::new(), Vec::new());
    let here = bucket.waiters.iter().filter(|(key, _)| *key == from).count();
    for (list, most) in [(&mut woken, plan.wake), (&mut moved, plan.limit)] {
        list.make_exact_room(here.min(most))?;
    }
    bucket.waiters.retain(|(key, waiter)| {
        if *key != from || !waiter.waits() {
            return *key != from;
        }
        let (wakes, moves) = (woken.len() < plan.wake, moved.len() < plan.limit);
        match (wakes, moves) {
            (true, _) if waiter.settle(WOKEN) => woken.push(waiter.clone()),
            (true, _) => {} // it has left
            (false, true) => moved.push(waiter.clone()),
            (false, false) => return true,
        }
        false
    });
    bucket.fit();
    Ok(Shifted { woken, moved })
}

impl Shifted {
    /// Puts the others into the bucket of `to`; answers how many were woken and moved.
    fn finish(mut self, to: FutexKey) -> (usize, usize) {
        let counts = (self.woken.len(), self.moved.len());
        self.woken.iter().for_each(|waiter| rouse(waiter));
        self.moved.iter().for_each(|waiter| *waiter.key.lock() = to);
        let mut bucket = bucket(to).lock();
        // Who has left meanwhile either did so before this look, or finds itself in this bucket.
        self.moved.retain(|waiter| waiter.waits() && !bucket.enter(to, waiter.clone()));
        drop(bucket);
        // For whom there is no room: a wake-up is no promise.
        self.moved.iter().filter(|waiter| waiter.settle(WOKEN)).for_each(|waiter| rouse(waiter));
        counts
    }
}

/// Stores 0 at `addr` and wakes one waiter there: how a thread announces its end.
pub(crate) async fn clear_and_wake(space: &AddressSpace, addr: usize) {
    // An address that is not valid is the program's own loss.
    if space.word(addr, |word| word.store(0, Ordering::Release)).await.is_ok() {
        wake_either(space, addr);
    }
}

/// [`clear_and_wake`] if the page is there.
///
/// # Errors
/// The page that is missing.
pub(crate) fn clear_and_wake_now(space: &AddressSpace, addr: usize) -> Result<(), CopyFault> {
    space.word_now(addr, Access::Write, |word| word.store(0, Ordering::Release))?;
    wake_either(space, addr);
    Ok(())
}

/// Wakes a waiter that said that the word is its space's only, and one that did not.
fn wake_either(space: &AddressSpace, addr: usize) {
    let (own, mapped) = (space.futex_key(addr, true), space.futex_key(addr, false));
    if let Ok(own) = own {
        wake_key(own, 1, u32::MAX);
    }
    if let Ok(mapped) = mapped.and_then(|key| if own == Ok(key) { Err(Errno::EAGAIN) } else { Ok(key) }) {
        wake_key(mapped, 1, u32::MAX);
    }
}

/// Marks a robust mutex whose owner ends, and wakes one waiter.
pub(crate) async fn owner_died(space: &AddressSpace, addr: usize, tid: u32) {
    use abi::futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
    let marked = space.word(addr, |word| {
        let owned = |value: u32| (value & FUTEX_TID_MASK == tid).then_some(value & FUTEX_WAITERS | FUTEX_OWNER_DIED);
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, owned).is_ok()
    });
    if marked.await == Ok(true) {
        wake_either(space, addr);
    }
}

/// Entries in all buckets.
#[cfg(test)]
pub(crate) fn entries() -> usize {
    TABLE.iter().map(|bucket| bucket.lock().waiters.len()).sum()
}

/// Places in all buckets.
#[cfg(test)]
pub(crate) fn room() -> usize {
    TABLE.iter().map(|bucket| bucket.lock().waiters.capacity()).sum()
}
