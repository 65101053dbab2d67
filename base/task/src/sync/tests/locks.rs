//! The locks: order, going away, and a semaphore beside a list.

use super::*;
use proptest::prelude::*;

#[test]
fn a_mutex_goes_round_in_order_and_skips_who_has_gone() {
    let mutex = Mutex::<_, Spin>::new(0);
    let guard = now(mutex.lock()).unwrap();
    let mut waiters: Vec<_> = (0..4).map(|_| Some(waiter(mutex.lock()))).collect();
    for waiter in waiters.iter_mut().flatten() {
        assert!(waiter.poll().is_none());
    }
    waiters[1] = None;
    assert_eq!(mutex.try_lock().err(), Some(TryLockError::WouldBlock));
    drop(guard);
    // Free, but somebody waits; and only the first is told.
    assert_eq!(mutex.try_lock().err(), Some(TryLockError::WouldBlock));
    assert!(waiters[2].as_mut().unwrap().run().is_none());
    // Told, and gone before it looked: the next is told.
    assert!(waiters[0].as_ref().unwrap().is_woken());
    waiters[0] = None;
    let mut guard = waiters[2].as_mut().unwrap().run().unwrap().unwrap();
    *guard += 1;
    assert!(!waiters[3].as_ref().unwrap().is_woken(), "it is held");
    drop(guard);
    assert_eq!(*waiters[3].as_mut().unwrap().run().unwrap().unwrap(), 1);
    drop(waiters);
    assert_eq!(mutex.into_inner(), 1);
}

#[test]
fn an_owned_guard_keeps_the_mutex() {
    let mutex = Arc::new(Mutex::<_, Spin>::new(1));
    let mut guard = now(mutex.clone().lock_owned()).unwrap();
    assert!(mutex.try_lock().is_err());
    *guard = 2;
    assert_eq!(Arc::strong_count(&mutex), 2);
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 2);
}

#[test]
fn readers_share_and_a_waiting_writer_goes_before_later_readers() {
    let lock = RwLock::<_, Spin>::new(0);
    let (first, second) = (now(lock.read()).unwrap(), lock.try_read().unwrap());
    let mut writer = waiter(lock.write());
    let mut readers = [waiter(lock.read()), waiter(lock.read())];
    assert!(writer.poll().is_none() && readers.iter_mut().all(|reader| reader.poll().is_none()));
    assert!(lock.try_read().is_err());
    drop(first);
    assert!(writer.run().is_none(), "one reads still");
    drop(second);
    let mut guard = writer.run().unwrap().unwrap();
    *guard = 5;
    assert!(!readers[0].is_woken());
    drop(guard);
    // One reader after the other, without waiting for the first to end.
    let read = readers[0].run().unwrap().unwrap();
    let more = readers[1].run().unwrap().unwrap();
    assert_eq!((*read, *more), (5, 5));
    assert!(lock.try_write().is_err());
    drop((read, more));
    assert_eq!(*lock.try_write().unwrap(), 5);
}

#[test]
fn a_writer_that_goes_away_lets_the_readers_behind_it_in() {
    let lock = RwLock::<_, Spin>::new(0);
    let read = now(lock.read()).unwrap();
    let (mut writer, mut reader) = (waiter(lock.write()), waiter(lock.read()));
    assert!(writer.poll().is_none() && reader.poll().is_none());
    drop(writer);
    assert!(reader.run().is_some());
    drop(read);
}

#[test]
fn places_of_readers_are_used_again() {
    let lock = RwLock::<_, Spin>::new(0);
    for _ in 0..3 {
        let mut guards: Vec<_> = (0..5).map(|_| lock.try_read().unwrap()).collect();
        drop(guards.swap_remove(1));
        guards.push(lock.try_read().unwrap());
        assert!(lock.try_write().is_err());
        drop(guards);
        assert!(lock.try_write().is_ok());
    }
}

#[test]
fn a_notification_is_kept_once_and_passed_on() {
    let notify = Notify::<Spin>::new();
    notify.notify_one();
    notify.notify_one();
    now(notify.notified());
    let mut waiters: Vec<_> = (0..3).map(|_| waiter(notify.notified())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()), "only one was kept");
    notify.notify_one();
    notify.notify_one();
    assert!(waiters[2].run().is_none());
    // The first goes away with its notification: the other two have one each.
    waiters.remove(0);
    assert!(waiters[0].run().is_some());
    assert!(waiters[1].run().is_some());
    // Nobody waits who could take a second one that is left over.
    notify.notify_one();
    now(notify.notified());
    assert!(waiter(notify.notified()).poll().is_none());
}

#[test]
fn all_that_wait_are_notified_also_before_their_first_poll() {
    let notify = Notify::<Spin>::new();
    let (mut first, mut early) = (waiter(notify.notified()), waiter(notify.notified()));
    assert!(first.poll().is_none());
    notify.notify_waiters();
    assert!(first.run().is_some());
    assert!(early.poll().is_some());
    assert!(waiter(notify.notified()).poll().is_none(), "none is kept");
}

#[test]
fn a_barrier_lets_all_go_and_does_not_count_who_has_gone() {
    let barrier = Barrier::<Spin>::new(3);
    for _ in 0..2 {
        let mut waiters: Vec<_> = (0..3).map(|_| waiter(barrier.wait())).collect();
        assert!(waiters[0].poll().is_none() && waiters[1].poll().is_none());
        waiters.remove(0);
        assert!(waiters[1].poll().is_none());
        assert!(!waiters[0].is_woken());
        assert!(now(barrier.wait()).is_leader());
        assert!(waiters.iter_mut().all(|waiter| !waiter.run().unwrap().is_leader()));
    }
}

#[test]
fn a_value_is_made_once_by_who_does_not_give_up() {
    let cell = OnceCell::<_, Spin>::new();
    let mut maker = waiter(cell.get_or_init(pending::<i32>));
    assert!(maker.poll().is_none());
    let mut other = waiter(cell.get_or_try_init(|| async { Err::<i32, _>("no") }));
    let mut third = waiter(cell.get_or_init(|| async { 3 }));
    assert!(other.poll().is_none() && third.poll().is_none());
    drop(maker);
    assert_eq!(other.run(), Some(Err("no")));
    assert_eq!(third.run(), Some(&3));
    assert_eq!(now(cell.get_or_init(|| async { 4 })), &3);
}

/// What is done to a semaphore.
#[derive(Debug, Clone)]
enum Step {
    Acquire(usize),
    Poll(usize),
    Forget(usize),
    Try(usize),
    Add(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1..4usize).prop_map(Step::Acquire),
        20 => (0..6usize).prop_map(Step::Poll),
        8 => (0..6usize).prop_map(Step::Forget),
        8 => (1..3usize).prop_map(Step::Try),
        20 => (1..4usize).prop_map(Step::Add),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// A semaphore is a number and a list of those who wait, of whom the first alone may take.
    #[test]
    fn a_semaphore_behaves_like_a_list(steps in prop::collection::vec(step(), 0..100)) {
        let semaphore = Semaphore::<Spin>::new(2);
        let (mut permits, mut closed) = (2, false);
        let mut waiters = Vec::new();
        for step in steps {
            match step {
                Step::Acquire(count) => {
                    let mut waiter = waiter(acquire(&semaphore, count));
                    let got = waiter.poll();
                    if closed {
                        prop_assert_eq!(got, Some(Err(AcquireError)));
                    } else if waiters.is_empty() && permits >= count {
                        permits -= count;
                        prop_assert_eq!(got, Some(Ok(())));
                    } else {
                        prop_assert_eq!(got, None);
                        waiters.push((waiter, count));
                    }
                }
                Step::Poll(number) => {
                    let Some((waiter, count)) = waiters.get_mut(number) else { continue };
                    let expected = if closed {
                        Some(Err(AcquireError))
                    } else {
                        (number == 0 && permits >= *count).then_some(Ok(()))
                    };
                    prop_assert_eq!(waiter.poll(), expected);
                    if expected.is_some() {
                        permits -= if closed { 0 } else { *count };
                        waiters.remove(number);
                    }
                }
                Step::Forget(number) => {
                    if number < waiters.len() {
                        waiters.remove(number);
                    }
                }
                Step::Try(count) => {
                    let got = semaphore.try_acquire_many(count).map(SemaphorePermit::forget);
                    let may = !closed && waiters.is_empty() && permits >= count;
                    prop_assert_eq!(got.is_ok(), may);
                    permits -= if may { count } else { 0 };
                }
                Step::Add(count) => {
                    semaphore.add_permits(count);
                    permits += count;
                }
                Step::Close => {
                    semaphore.close();
                    closed = true;
                }
            }
            prop_assert_eq!(semaphore.available_permits(), permits);
            // Nobody sleeps on what it could have.
            if closed {
                prop_assert!(waiters.iter().all(|(waiter, _)| waiter.is_woken()));
            } else if let Some((waiter, count)) = waiters.first() {
                prop_assert!(waiter.is_woken() || permits < *count);
            }
        }
    }
}

/// Takes permits for ever.
async fn acquire(semaphore: &Semaphore<Spin>, count: usize) -> Result<(), AcquireError> {
    semaphore.acquire_many(count).await.map(SemaphorePermit::forget)
}
