//! Futexes: waiting until somebody says that a word of user memory may have changed.
//!
//! Waiters queue in hashed buckets. **No wake-up is lost:** a waiter enters its bucket while it holds the address
//! space's lock and has just read the word there, and a waker changes the word (in user mode, or under that lock) before
//! it looks into the bucket. A waiter's `state` decides races: exactly one of waker and canceller moves it
//! away from `WAITING`, so a wake-up is never given to a waiter that has left.
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
use mem::{AddressSpace, CopyFault, FutexKey};

const BUCKETS: usize = 64;
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

type Bucket = SpinLock<Vec<(FutexKey, Arc<Waiter>)>>;

static TABLE: [Bucket; BUCKETS] = [const { SpinLock::new(rank::FUTEX, Vec::new()) }; BUCKETS];

fn bucket(key: FutexKey) -> &'static Bucket {
    &TABLE[(key.hash() >> 58) as usize % BUCKETS]
}

/// Leaves the queue when the waiting future is dropped.
struct Registration(Arc<Waiter>);

impl Drop for Registration {
    fn drop(&mut self) {
        if self.0.woken() {
            return; // the waker has it out of its bucket, and takes and calls what it holds
        }
        self.0.settle(GONE);
        if self.0.state.load(Ordering::Acquire) == GONE {
            // Either this finds the key of the bucket that it is in, or the requeue that moves it finds it gone.
            let key = *self.0.key.lock();
            bucket(key).lock().retain(|(_, waiter)| waiter.waits());
        }
        // A requeue in the middle of its move may be the last to hold the waiter: it must not hold the task.
        let waker = self.0.waker.lock().take();
        drop(waker);
    }
}

/// Begins `FUTEX_WAIT` or `FUTEX_WAIT_BITSET`: enters the queue, if the word at `addr` is `expected`. `space` is the thread's.
///
/// # Errors
/// `EAGAIN` (another value), `EFAULT`, `EINVAL`; the page that is missing.
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
    let registered = space.word_now(addr, Access::Read, |word| {
        // Relaxed: the bucket's lock orders this against wakers.
        let mut bucket = bucket(key).lock();
        let equal = word.load(Ordering::Relaxed) == expected;
        if equal {
            bucket.push((key, waiter.clone()));
        }
        equal
    })?;
    if registered { Ok(Wait { thread, registration: Registration(waiter) }) } else { Err(Errno::EAGAIN.into()) }
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
    pub fn give_up(&self, errno: Errno) -> Result<(), Errno> {
        if self.registration.0.settle(GONE) { Err(errno) } else { Ok(()) }
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
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waiter = &self.registration.0;
        if !waiter.waits() {
            return Poll::Ready(Ok(()));
        }
        let old = waiter.waker.lock().replace(context.waker().clone());
        drop(old);
        // A waker that settled before the line above found no one to wake.
        if !waiter.waits() {
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

fn wake_key(key: FutexKey, count: usize, bitset: u32) -> usize {
    // Most often there is one: no list for that.
    let (mut first, mut others) = (None, Vec::new());
    let mut bucket = bucket(key).lock();
    let mut left = count;
    let leaves = |(other, waiter): &mut (FutexKey, Arc<Waiter>)| {
        let wakes = *other == key && left > 0 && waiter.bitset & bitset != 0 && waiter.settle(WOKEN);
        left -= usize::from(wakes);
        wakes || !waiter.waits()
    };
    for (_, waiter) in bucket.extract_if(.., leaves).filter(|(_, waiter)| waiter.woken()) {
        match first {
            None => first = Some(waiter),
            Some(_) => others.push(waiter),
        }
    }
    drop(bucket);
    let number = count - left;
    first.into_iter().chain(others).for_each(|waiter| rouse(&waiter));
    number
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
/// `EAGAIN` (another value), `EINVAL`, `EFAULT`.
pub async fn requeue(space: &AddressSpace, addr: usize, private: bool, plan: Requeue) -> Result<(usize, usize), Errno> {
    let from = space.futex_key(addr, private)?;
    let to = space.futex_key(plan.to, private)?;
    let Some(expected) = plan.expected else {
        let shifted = shift(&mut bucket(from).lock(), from, &plan);
        return Ok(shifted.finish(to));
    };
    loop {
        // The look at the word and the choice of waiters are one step: who comes with the new value is not among them.
        let shifted = space.word_now(addr, Access::Read, |word| {
            let mut bucket = bucket(from).lock();
            (word.load(Ordering::Relaxed) == expected).then(|| shift(&mut bucket, from, &plan))
        });
        match shifted {
            Ok(shifted) => return shifted.map(|shifted| shifted.finish(to)).ok_or(Errno::EAGAIN),
            Err(fault) => space.resolve(fault).await?,
        }
    }
}

/// Waiters that a requeue has taken out of the first bucket.
struct Shifted {
    woken: Vec<Arc<Waiter>>,
    moved: Vec<Arc<Waiter>>,
}

fn shift(bucket: &mut Vec<(FutexKey, Arc<Waiter>)>, from: FutexKey, plan: &Requeue) -> Shifted {
    let (mut woken, mut moved) = (Vec::new(), Vec::new());
    bucket.retain(|(key, waiter)| {
        if *key != from || !waiter.waits() {
            return waiter.waits();
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
    Shifted { woken, moved }
}

impl Shifted {
    /// Puts the others into the bucket of `to`; answers how many were woken and moved.
    fn finish(self, to: FutexKey) -> (usize, usize) {
        let counts = (self.woken.len(), self.moved.len());
        self.woken.iter().for_each(|waiter| rouse(waiter));
        self.moved.iter().for_each(|waiter| *waiter.key.lock() = to);
        // Who has left meanwhile either did so before this look, or finds itself in this bucket.
        bucket(to).lock().extend(self.moved.into_iter().filter(|waiter| waiter.waits()).map(|waiter| (to, waiter)));
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
    TABLE.iter().map(|bucket| bucket.lock().len()).sum()
}
