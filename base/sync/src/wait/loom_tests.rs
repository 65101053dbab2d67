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
    queue: WaitQueue<RawSpin>,
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
