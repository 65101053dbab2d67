//! Who waits for a lock lends its priority to whoever holds it.

use super::failure::{Alone, as_current};
use super::*;
use crate::yield_now;
use std::sync::atomic::AtomicUsize;

/// What the tasks of a test share.
struct Shared {
    locks: Vec<Mutex<(), Spin>>,
    start: Notify<Spin>,
    /// The order in which tasks end.
    ended: AtomicUsize,
}

/// A chain of eight: each link holds a lock and wants the one before it; the first holds its own while it works. The last lock
/// is wanted by somebody urgent, and a task of middling urgency never leaves the worker to the links.
#[test]
fn an_urgent_task_does_not_wait_for_middling_ones_through_a_chain_of_eight() {
    const LINKS: usize = 8;
    let pool = Pool::<Alone>::new(1, Alone);
    let locks = (0..LINKS).map(|_| Mutex::new(())).collect();
    let shared = Arc::new(Shared { locks, start: Notify::new(), ended: AtomicUsize::new(0) });
    let mut links = Vec::new();
    for link in 0..LINKS {
        let shared = shared.clone();
        links.push(pool.spawn(
            Priority::LOWEST,
            as_current(async move {
                let own = shared.locks[link].lock().await.unwrap();
                match link.checked_sub(1) {
                    Some(before) => drop(shared.locks[before].lock().await.unwrap()),
                    None => {
                        shared.start.notified().await;
                        for _ in 0..10 {
                            yield_now().await;
                        }
                    }
                }
                assert_eq!(shared.ended.fetch_add(1, Ordering::Relaxed), link);
                drop(own);
            }),
        ));
        while pool.run_next(0).is_some() {}
    }
    let middling = pool.spawn(Priority::NORMAL, async {
        loop {
            yield_now().await;
        }
    });
    shared.start.notify_one();
    (0..100).for_each(|_| assert!(pool.run_next(0).is_some()));
    assert_eq!(shared.ended.load(Ordering::Relaxed), 0, "the middling task has the worker");
    let theirs = shared.clone();
    let urgent = pool.spawn(
        Priority::HIGHEST,
        as_current(async move {
            drop(theirs.locks[LINKS - 1].lock().await.unwrap());
        }),
    );
    let mut polls = 0;
    while !urgent.is_finished() {
        assert!(pool.run_next(0).is_some());
        polls += 1;
        assert!(polls < 100, "{} of {LINKS} have ended", shared.ended.load(Ordering::Relaxed));
    }
    assert!(links.iter().all(|link| link.task().priority() == Priority::LOWEST), "all is paid back");
    middling.abort();
}

/// The same chain, of which somebody goes away while all wait: the urgent one, or a link in the middle, whose lock goes on then. Behind
/// it nobody is more urgent than by himself.
#[test]
fn who_goes_away_takes_along_what_went_through_him() {
    const LINKS: usize = 8;
    for gone in [LINKS, 4, 1] {
        let pool = Pool::<Alone>::new(1, Alone);
        let run = || while pool.run_next(0).is_some() {};
        let locks: Arc<Vec<_>> = Arc::new((0..=LINKS).map(|_| Mutex::<(), Spin>::new(())).collect());
        let start = Arc::new(Notify::<Spin>::new());
        let mut links = Vec::new();
        for link in 0..=LINKS {
            let (locks, start) = (locks.clone(), start.clone());
            let priority = if link == LINKS { Priority::HIGHEST } else { Priority::LOWEST };
            links.push(pool.spawn(
                priority,
                as_current(async move {
                    let _own = locks[link].lock().await.unwrap();
                    match link.checked_sub(1) {
                        Some(before) => drop(locks[before].lock().await.unwrap()),
                        None => start.notified().await,
                    }
                }),
            ));
            run();
        }
        let at = |links: &[crate::JoinHandle<()>]| {
            links.iter().filter(|link| link.task().priority() != Priority::LOWEST).count()
        };
        assert_eq!(at(&links), LINKS + 1);
        links[gone].abort();
        run();
        assert_eq!(at(&links[..gone]), 0, "without {gone}");
        assert!(links[gone..].iter().all(crate::JoinHandle::is_finished));
        start.notify_one();
        run();
        assert!(links.iter().all(crate::JoinHandle::is_finished));
    }
}

/// A writer that gives up lends nothing any more to those that read.
#[test]
fn a_writer_that_goes_away_takes_back_what_it_lent() {
    let pool = Pool::<Alone>::new(1, Alone);
    let run = || while pool.run_next(0).is_some() {};
    let lock = Arc::new(RwLock::<(), Spin>::new(()));
    let readers = [(); 2].map(|()| {
        let lock = lock.clone();
        let task = async move {
            let _guard = lock.read().await.unwrap();
            std::future::pending::<()>().await;
        };
        pool.spawn(Priority::LOWEST, as_current(task))
    });
    run();
    let writers = [3, 5].map(|priority| {
        let lock = lock.clone();
        pool.spawn(Priority::new(priority), as_current(async move { drop(lock.write().await) }))
    });
    run();
    let mut found = Vec::new();
    for writer in &writers {
        found.push(readers.each_ref().map(|reader| reader.task().priority()));
        writer.abort();
        run();
    }
    found.push(readers.each_ref().map(|reader| reader.task().priority()));
    assert_eq!(found, [Priority::new(3), Priority::new(5), Priority::LOWEST].map(|priority| [priority; 2]));
}

/// What was inherited through one lock outlasts another that is given back.
#[test]
fn a_lock_that_is_given_back_takes_only_its_own_along() {
    let pool = Pool::<Alone>::new(1, Alone);
    let shared = Arc::new([Mutex::<(), Spin>::new(()), Mutex::new(())]);
    let (theirs, notify) = (shared.clone(), Arc::new(Notify::<Spin>::new()));
    let told = notify.clone();
    let holder = pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            let first = theirs[0].lock().await.unwrap();
            let second = theirs[1].lock().await.unwrap();
            told.notified().await;
            drop(first);
            told.notified().await;
            drop(second);
            told.notified().await;
        }),
    );
    let run = || while pool.run_next(0).is_some() {};
    run();
    for (lock, priority) in [(0, 3), (1, 5)] {
        let shared = shared.clone();
        pool.spawn(Priority::new(priority), as_current(async move { drop(shared[lock].lock().await.unwrap()) }))
            .detach();
    }
    let mut found = vec![holder.task().priority()];
    for _ in 0..3 {
        run();
        found.push(holder.task().priority());
        notify.notify_one();
    }
    assert_eq!(found, [Priority::LOWEST, Priority::new(3), Priority::new(5), Priority::LOWEST]);
    run();
    assert!(holder.is_finished());
}

/// Somebody urgent joins one that joins the next, and so on; the last of them holds the worker as often as it likes, and a middling
/// task never waits.
#[test]
fn an_urgent_task_does_not_wait_for_middling_ones_through_joins() {
    const LINKS: usize = 8;
    let pool = Pool::<Alone>::new(1, Alone);
    let start = Arc::new(Notify::<Spin>::new());
    let starts = start.clone();
    let mut last = pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            starts.notified().await;
            for _ in 0..10 {
                yield_now().await;
            }
        }),
    );
    let mut links = vec![last.task()];
    for _ in 1..LINKS {
        let before = core::mem::replace(&mut last, pool.spawn(Priority::LOWEST, async {}));
        last = pool.spawn(Priority::LOWEST, as_current(async move { before.await.unwrap() }));
        links.push(last.task());
    }
    while pool.run_next(0).is_some() {}
    let middling = pool.spawn(Priority::NORMAL, async {
        loop {
            yield_now().await;
        }
    });
    start.notify_one();
    (0..100).for_each(|_| assert!(pool.run_next(0).is_some()));
    assert!(!links[0].is_finished(), "the middling task has the worker");
    let urgent = pool.spawn(Priority::HIGHEST, as_current(async move { last.await.unwrap() }));
    let mut polls = 0;
    while !urgent.is_finished() {
        assert!(pool.run_next(0).is_some());
        polls += 1;
        assert!(polls < 100, "{} of {LINKS} have ended", links.iter().filter(|link| link.is_finished()).count());
    }
    assert!(links.iter().all(|link| link.priority() == Priority::LOWEST), "all is paid back");
    middling.abort();
}

/// A handle lends as much as who polls it is worth, and nothing when it is gone; what a lock lends stays.
#[test]
fn a_handle_lends_as_much_as_its_present_owner() {
    let pool = Pool::<Alone>::new(1, Alone);
    let mutex = Arc::new(Mutex::<(), Spin>::new(()));
    let theirs = mutex.clone();
    let mut handle = pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            let _guard = theirs.lock().await.unwrap();
            std::future::pending::<()>().await;
        }),
    );
    let task = handle.task();
    let run = || while pool.run_next(0).is_some() {};
    run();
    let mut found = Vec::new();
    for priority in [3, 9, 5] {
        let given = pool.spawn(
            Priority::new(priority),
            as_current(poll_fn(move |context| {
                assert!(Pin::new(&mut handle).poll(context).is_pending());
                // Goes on to the next.
                let taken = core::mem::replace(&mut handle, stand_in());
                Poll::Ready(taken)
            })),
        );
        run();
        found.push(task.priority());
        handle = waiter(given).poll().unwrap().unwrap();
    }
    assert_eq!(found, [3, 9, 5].map(Priority::new));
    pool.spawn(Priority::new(7), as_current(async move { drop(mutex.lock().await) })).detach();
    run();
    assert_eq!(task.priority(), Priority::new(5));
    drop(handle);
    assert_eq!(task.priority(), Priority::new(7));
    task.abort();
    run();
}

/// A handle of a task that has ended.
fn stand_in() -> crate::JoinHandle<()> {
    Pool::<Alone>::new(1, Alone).spawn(Priority::LOWEST, async {})
}

/// Who only tries is not counted among those who wait: the next holder inherits nothing from it.
#[test]
fn who_tries_in_vain_lends_nothing_to_the_next() {
    let pool = Pool::<Alone>::new(1, Alone);
    let shared = Arc::new((Mutex::<(), Spin>::new(()), RwLock::<(), Spin>::new(()), Notify::<Spin>::new()));
    let spawn = |priority, waits: bool| {
        let shared = shared.clone();
        pool.spawn(
            priority,
            as_current(async move {
                if !waits {
                    assert!(
                        shared.0.try_lock().is_err() && shared.1.try_write().is_err() && shared.1.try_read().is_err()
                    );
                    return;
                }
                let _guards = (shared.0.lock().await.unwrap(), shared.1.write().await.unwrap());
                shared.2.notified().await;
            }),
        )
    };
    let run = || while pool.run_next(0).is_some() {};
    let first = spawn(Priority::LOWEST, true);
    run();
    let second = spawn(Priority::LOWEST, true);
    run();
    spawn(Priority::HIGHEST, false).detach();
    run();
    shared.2.notify_one();
    run();
    assert!(first.is_finished() && !second.is_finished());
    assert_eq!(second.task().priority(), Priority::LOWEST);
    shared.2.notify_one();
    run();
    assert!(second.is_finished());
}
