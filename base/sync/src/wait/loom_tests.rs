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
