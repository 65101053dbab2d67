//! Waiting and waking on one thread: order, bounds, cancellation.

use super::*;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

/// Counts its calls.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn taken(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn poll<F: Future>(future: Pin<&mut F>, count: &Arc<Count>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(count.clone())))
}

fn queue() -> WaitQueue<RawSpin> {
    WaitQueue::new(RawSpin::new())
}

#[test]
fn a_wake_up_is_for_those_who_wait_and_looks_again() {
    let (queue, value, count) = (queue(), AtomicU32::new(0), Arc::new(Count::default()));
    let mut wait = pin!(wait_until(&queue, || Some(value.load(Ordering::Relaxed)).filter(|&value| value > 1)));
    queue.wake_all();
    assert!(poll(wait.as_mut(), &count).is_pending());
    value.store(1, Ordering::Relaxed);
    queue.wake_all();
    assert_eq!(count.taken(), 1);
    assert!(poll(wait.as_mut(), &count).is_pending());
    value.store(2, Ordering::Relaxed);
    queue.wake_all();
    queue.wake_all();
    assert_eq!(count.taken(), 1);
    assert_eq!(poll(wait.as_mut(), &count), Poll::Ready(2));
    queue.wake_all();
    assert_eq!(count.taken(), 0);
}

#[test]
fn who_leaves_from_any_place_is_not_woken_and_the_rest_is() {
    for gone in 0..3 {
        let queue = queue();
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let mut waits: Vec<_> = counts.iter().map(|_| Some(Box::pin(wait_until(&queue, || None::<()>)))).collect();
        for (wait, count) in waits.iter_mut().zip(&counts) {
            assert!(poll(wait.as_mut().unwrap().as_mut(), count).is_pending());
        }
        waits[gone] = None;
        assert_eq!(Arc::strong_count(&counts[gone]), 1, "its waker is gone");
        queue.wake_all();
        let woken: Vec<_> = counts.iter().map(|count| count.taken()).collect();
        assert_eq!(woken, (0..3).map(|number| u32::from(number != gone)).collect::<Vec<_>>());
    }
}

/// A waker that waits again at once, as a task that runs between two wake-ups of one `wake_all` does.
#[test]
fn who_enters_while_all_are_woken_waits_for_the_next_time() {
    struct Again {
        queue: &'static WaitQueue<RawSpin>,
        calls: AtomicU32,
    }
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            assert!(self.calls.fetch_add(1, Ordering::Relaxed) < 10, "no end");
            let mut wait = Box::pin(wait_until(self.queue, || None::<()>));
            assert!(wait.as_mut().poll(&mut Context::from_waker(&Waker::from(self.clone()))).is_pending());
            core::mem::forget(wait);
        }
    }
    let queue: &'static WaitQueue<RawSpin> = Box::leak(Box::new(queue()));
    let again = Arc::new(Again { queue, calls: AtomicU32::new(0) });
    again.clone().wake();
    again.clone().wake();
    queue.wake_all();
    assert_eq!(again.calls.load(Ordering::Relaxed), 4);
}

#[test]
fn the_last_waker_counts_and_a_look_may_be_left_out() {
    let (queue, first, second) = (queue(), Arc::new(Count::default()), Arc::new(Count::default()));
    let mut looks = 0;
    {
        let mut wait = pin!(wait_until_next(&queue, || {
            looks += 1;
            (looks == 3).then_some(())
        }));
        assert!(poll(wait.as_mut(), &first).is_pending());
        // A poll without a wake-up does not look, but wakes whom it names.
        assert!(poll(wait.as_mut(), &second).is_pending());
        queue.wake_all();
        assert_eq!((first.taken(), second.taken()), (0, 1));
        assert!(poll(wait.as_mut(), &second).is_ready(), "one look out of the queue, one in it");
    }
    assert_eq!(looks, 3);
    queue.wake_all();
    assert_eq!(second.taken(), 0);
}

#[test]
fn who_stays_is_woken_each_time_and_lets_others_in() {
    let queue = queue();
    let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
    let mut stays: Vec<_> = (0..2).map(|_| Box::pin(stay(&queue))).collect();
    let mut once = pin!(wait_until(&queue, || None::<()>));
    assert!(poll(stays[0].as_mut(), &counts[0]).is_pending());
    assert!(poll(once.as_mut(), &counts[2]).is_pending());
    assert!(poll(stays[1].as_mut(), &counts[1]).is_pending());
    let taken = || counts.iter().map(|count| count.taken()).collect::<Vec<_>>();
    queue.wake_all();
    assert_eq!(taken(), [1, 1, 1]);
    queue.wake_all();
    assert_eq!(taken(), [1, 1, 0]);
    // With another waker.
    assert!(poll(stays[0].as_mut(), &counts[2]).is_pending());
    queue.wake_all();
    assert_eq!(taken(), [0, 1, 1]);
    drop(stays.remove(0));
    queue.wake_all();
    assert_eq!(taken(), [0, 1, 0]);
    drop(stays);
    queue.wake_all();
    assert_eq!(taken(), [0, 0, 0]);
}

fn seat_of(owner: &Arc<WaitQueue<RawSpin>>) -> Seat<Arc<WaitQueue<RawSpin>>, RawSpin> {
    // SAFETY: an `Arc`.
    unsafe { Seat::new(owner.clone(), |queue| Some(queue)) }.unwrap()
}

#[test]
fn a_seat_is_called_once_for_each_time_that_it_is_entered() {
    let (owner, count) = (Arc::new(queue()), Arc::new(Count::default()));
    let waker = || Waker::from(count.clone());
    let mut seat = pin!(seat_of(&owner));
    owner.wake_all();
    seat.as_mut().enter(waker);
    seat.as_mut().enter(waker);
    owner.wake_all();
    owner.wake_all();
    assert_eq!(count.taken(), 1);
    seat.as_mut().enter(waker);
    owner.wake_all();
    assert_eq!(count.taken(), 1);
}

#[test]
fn a_seat_that_goes_leaves_the_queue_and_keeps_it_until_then() {
    let (owner, count) = (Arc::new(queue()), Arc::new(Count::default()));
    let mut seat = Box::pin(seat_of(&owner));
    seat.as_mut().enter(|| Waker::from(count.clone()));
    assert_eq!(Arc::strong_count(seat.owner()), 2);
    drop(seat);
    owner.wake_all();
    assert_eq!((count.taken(), Arc::strong_count(&owner)), (0, 1));
    let mut seat = Box::pin(seat_of(&owner));
    seat.as_mut().enter(|| Waker::from(count.clone()));
    drop(owner);
    // With the queue.
    drop(seat);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn a_seat_that_has_left_is_not_called_and_may_enter_again() {
    let (owner, count) = (Arc::new(queue()), Arc::new(Count::default()));
    let waker = || Waker::from(count.clone());
    let mut seat = pin!(seat_of(&owner));
    // Not in the queue: nothing to leave.
    seat.leave();
    seat.as_mut().enter(waker);
    seat.leave();
    owner.wake_all();
    assert_eq!(count.taken(), 0);
    seat.as_mut().enter(waker);
    owner.wake_all();
    assert_eq!(count.taken(), 1);
}

/// A contender that takes what it is told while it is told to.
struct Told {
    count: Count,
    takes: AtomicBool,
}

impl Contender for Arc<Told> {
    fn tell(self) -> bool {
        self.count.0.fetch_add(1, Ordering::Relaxed);
        self.takes.load(Ordering::Relaxed)
    }
}

#[test]
fn one_contender_is_enough_that_takes_it_and_is_of_the_kind() {
    let queue = WaitQueue::new(RawSpin::new());
    let told: Vec<_> =
        (0..3).map(|_| Arc::new(Told { count: Count::default(), takes: AtomicBool::new(true) })).collect();
    let mut places: Vec<_> =
        told.iter().zip([1, 2, 3]).map(|(told, kinds)| Box::pin(contend(&queue, told.clone(), kinds))).collect();
    let nobody = Arc::new(Count::default());
    for place in &mut places {
        assert!(poll(place.as_mut(), &nobody).is_pending());
    }
    let taken = || told.iter().map(|told| told.count.taken()).collect::<Vec<_>>();
    // Others come and go meanwhile.
    drop({
        let mut wait = Box::pin(wait_until(&queue, || None::<()>));
        assert!(poll(wait.as_mut(), &nobody).is_pending());
        wait
    });
    // In turn; who is of another kind hears of it on the way, and does not count.
    queue.wake(1);
    assert_eq!(taken(), [1, 0, 0]);
    queue.wake(1);
    assert_eq!(taken(), [0, 1, 1]);
    queue.wake(2);
    queue.wake(2);
    assert_eq!(taken(), [1, 1, 1]);
    queue.wake_all();
    assert_eq!(taken(), [1, 1, 1]);
    // Who takes nothing is told, and the next as well.
    told[0].takes.store(false, Ordering::Relaxed);
    (0..2).for_each(|_| queue.wake(1));
    assert_eq!(taken(), [2, 2, 2]);
    told[2].takes.store(false, Ordering::Relaxed);
    queue.wake(1);
    assert_eq!(taken(), [1, 1, 1]);
    // The others wait as ever.
    let (stays, mut wait) = (Arc::new(Count::default()), Box::pin(stay(&queue)));
    assert!(poll(wait.as_mut(), &stays).is_pending());
    queue.wake(4);
    assert_eq!((taken(), stays.taken()), (vec![1, 1, 1], 1));
    drop(places);
    queue.wake_all();
    assert_eq!((taken(), stays.taken()), (vec![0, 0, 0], 1));
    drop(wait);
    assert!(!queue.occupied.load(Ordering::Relaxed));
}
