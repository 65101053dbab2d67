//! Every interleaving of waiting, waking and going away.

use super::*;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use std::pin::pin;
use std::sync::Arc as Plain;
use std::task::Wake;

/// Counts its calls.
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Plain<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Shared {
    queue: WaitQueue<RawSpin, Plain<Set>>,
    value: AtomicUsize,
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared { queue: WaitQueue::new(RawSpin::new()), value: AtomicUsize::new(0) })
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Changes the value and wakes.
fn change(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        shared.value.fetch_add(1, Ordering::Relaxed);
        shared.queue.wake_all();
    })
}

/// A waiter that still waits when the changer is through has been called.
#[test]
fn no_change_is_missed() {
    model(|| {
        let shared = shared();
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let changer = change(&shared);
        let mut wait = pin!(wait_until(&shared.queue, || (shared.value.load(Ordering::Relaxed) > 0).then_some(())));
        let waits = wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        changer.join().unwrap();
        if waits {
            assert_eq!(count.0.load(Ordering::SeqCst), 1, "waits, and nobody called");
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        }
    });
}

/// Two changers, one of which may take the waiter out on its first change: it comes back and sees the second.
#[test]
fn no_second_change_is_missed() {
    model(|| {
        let shared = shared();
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut wait = pin!(wait_until(&shared.queue, || (shared.value.load(Ordering::Relaxed) > 1).then_some(())));
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        assert!(poll());
        let changers = [change(&shared), change(&shared)];
        let mut waits = true;
        if count.0.swap(0, Ordering::SeqCst) > 0 {
            waits = poll();
        }
        changers.map(|changer| changer.join().unwrap());
        if waits {
            assert!(count.0.load(Ordering::SeqCst) > 0, "waits, and nobody called");
            assert!(!poll());
        }
    });
}

/// A waiter goes away, or waits again with another waker, while it is woken: the list stays whole and its neighbour is
/// called.
#[test]
fn going_against_waking() {
    model(|| {
        let shared = shared();
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let never = || None::<()>;
        let mut neighbour = pin!(wait_until(&shared.queue, never));
        {
            let mut wait = Box::pin(wait_until(&shared.queue, never));
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(neighbour.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let changer = change(&shared);
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            drop(wait);
            changer.join().unwrap();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        shared.queue.wake_all();
        assert!(!shared.queue.occupied.load(Ordering::Relaxed), "nobody is left");
    });
}

/// Who stays looks once, and after each call. Two change at once: nothing is missed, and who stays is in the queue still.
#[test]
fn who_stays_misses_nothing() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let shared = shared();
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut stay = pin!(stay(&shared.queue));
        assert!(stay.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let changers = [change(&shared), change(&shared)];
        // The mark is taken away before the look.
        count.0.swap(0, Ordering::SeqCst);
        let seen = shared.value.load(Ordering::Relaxed);
        changers.map(|changer| changer.join().unwrap());
        assert!(seen == 2 || count.0.swap(0, Ordering::SeqCst) > 0, "a change was neither seen nor told of");
        count.0.store(0, Ordering::SeqCst);
        shared.queue.wake_all();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "once for each");
    });
}

/// Who stays goes while it is woken: nothing of it is touched afterwards, and its neighbour is called.
#[test]
fn who_stays_goes_against_waking() {
    model(|| {
        let shared = shared();
        let counts = [(); 2].map(|()| Plain::new(Count(AtomicUsize::new(0))));
        let wakers = counts.clone().map(Waker::from);
        let mut stay = Box::pin(stay(&shared.queue));
        let mut other = pin!(wait_until(&shared.queue, || (shared.value.load(Ordering::Relaxed) > 0).then_some(())));
        assert!(stay.as_mut().poll(&mut Context::from_waker(&wakers[0])).is_pending());
        assert!(other.as_mut().poll(&mut Context::from_waker(&wakers[1])).is_pending());
        let changer = change(&shared);
        drop(stay);
        let told = counts[0].0.load(Ordering::SeqCst);
        changer.join().unwrap();
        assert_eq!(counts[1].0.load(Ordering::SeqCst), 1);
        shared.queue.wake_all();
        // At most the call that was under way.
        assert!(counts[0].0.load(Ordering::SeqCst) <= told + 1);
    });
}

fn seat_of(owner: &Plain<WaitQueue<RawSpin>>) -> Seat<Plain<WaitQueue<RawSpin>>, RawSpin> {
    // SAFETY: an `Arc`.
    unsafe { Seat::new(owner.clone(), |queue| Some(queue)) }.unwrap()
}

/// Who has a seat and still waits when the changer is through has been called; it goes away meanwhile, or is called first.
#[test]
fn a_seat_misses_no_change_and_goes_at_any_time() {
    model(|| {
        let queue = Plain::new(WaitQueue::new(RawSpin::new()));
        let value = Arc::new(AtomicUsize::new(0));
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let mut seat = Box::pin(seat_of(&queue));
        let changer = {
            let value = value.clone();
            thread::spawn(move || {
                value.fetch_add(1, Ordering::Relaxed);
                queue.wake_all();
            })
        };
        seat.as_mut().enter(|| Waker::from(count.clone()));
        if value.load(Ordering::Relaxed) > 0 {
            drop(seat);
            changer.join().unwrap();
        } else {
            changer.join().unwrap();
            assert_eq!(count.0.load(Ordering::SeqCst), 1, "waits, and nobody called");
        }
    });
}

/// A contender as an epoll set is one: news under a lock, those who wait for them, and how many these are.
struct Set {
    has_news: loom::sync::Mutex<bool>,
    changed: WaitQueue<RawSpin>,
    crowd: Crowd,
}

impl Contender for Plain<Set> {
    fn tell(self) -> bool {
        *self.has_news.lock().unwrap() = true;
        self.changed.wake_all();
        self.crowd.is_there()
    }
}

fn set() -> Plain<Set> {
    let (has_news, changed) = (loom::sync::Mutex::new(false), WaitQueue::new(RawSpin::new()));
    Plain::new(Set { has_news, changed, crowd: Crowd::new() })
}

impl Set {
    fn take_news(&self) -> bool {
        core::mem::take(&mut *self.has_news.lock().unwrap())
    }
}

fn poll_once(future: Pin<&mut impl Future>, waker: &Waker) -> bool {
    future.poll(&mut Context::from_waker(waker)).is_pending()
}

fn contest<'q>(shared: &'q Shared, set: &Plain<Set>) -> Pin<Box<Contend<'q, RawSpin, Plain<Set>>>> {
    let mut place = Box::pin(contend(&shared.queue, set.clone(), 1));
    assert!(poll_once(place.as_mut(), Waker::noop()));
    place
}

fn change_for_one(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        shared.value.fetch_add(1, Ordering::Relaxed);
        shared.queue.wake(1);
    })
}

/// The waiter of the first of two sets has enough while a change comes: it sees the news with its last look, or those of the other set hear of it.
#[test]
fn what_one_takes_is_looked_at() {
    model(|| {
        let shared = shared();
        let (first, second) = (set(), set());
        let _places = [contest(&shared, &first), contest(&shared, &second)];
        second.crowd.join();
        first.crowd.join();
        let changer = change_for_one(&shared);
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut seen = {
            let mut wait = pin!(wait_until(&first.changed, || first.take_news().then_some(())));
            !poll_once(wait.as_mut(), &waker)
        };
        first.crowd.leave();
        seen |= first.take_news();
        changer.join().unwrap();
        assert!(seen || second.take_news(), "both sets sleep");
    });
}

/// A waiter comes to the first set, of which nobody waits so far, while a change comes: it sees that, or is called.
#[test]
fn who_comes_hears_of_what_its_set_was_told() {
    model(|| {
        let shared = shared();
        let set = set();
        let _place = contest(&shared, &set);
        let changer = change_for_one(&shared);
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        set.crowd.join();
        let mut wait = pin!(wait_until(&set.changed, || set.take_news().then_some(())));
        let waits = poll_once(wait.as_mut(), &waker);
        changer.join().unwrap();
        assert!(!waits || count.0.load(Ordering::SeqCst) > 0, "waits, and nobody called");
    });
}

/// A set goes away, and passes on what it may have been told: the other hears of the change.
#[test]
fn who_goes_passes_on_what_it_was_told() {
    model(|| {
        let shared = shared();
        let (first, second) = (set(), set());
        let (place, _other) = (contest(&shared, &first), contest(&shared, &second));
        first.crowd.join();
        second.crowd.join();
        let changer = change_for_one(&shared);
        drop(place);
        shared.queue.wake(1);
        changer.join().unwrap();
        assert!(second.take_news(), "told who went, and nobody else");
    });
}

/// A set that goes away, or comes, leaves the other waiters of the queue their wake-ups.
#[test]
fn contenders_hide_nobody() {
    model(|| {
        let shared = shared();
        let set = set();
        let place = contest(&shared, &set);
        let count = Plain::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut wait = pin!(wait_until(&shared.queue, || (shared.value.load(Ordering::Relaxed) > 0).then_some(())));
        let changer = change_for_one(&shared);
        let waits = poll_once(wait.as_mut(), &waker);
        drop(place);
        changer.join().unwrap();
        assert!(!waits || count.0.load(Ordering::SeqCst) == 1, "waits, and nobody called");
        shared.queue.wake_all();
        assert!(!shared.queue.occupied.load(Ordering::Relaxed), "nobody is left");
    });
}
