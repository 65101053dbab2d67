//! What becomes of those who wait for a task that has failed.

use super::*;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};

/// Calls nobody.
pub(super) struct Alone;

impl Pender for Alone {
    type Memory = crate::Heap;

    fn pend(&self, _: usize, _: Priority) {}

    fn joins(task: &TaskRef) -> bool {
        Spin::with_current(|joiner| joiner.is_some_and(|joiner| lend::<Spin>(task, joiner)))
    }

    fn joins_no_more(task: &TaskRef) {
        repay::<Spin>(task);
    }

    fn ends(task: &TaskRef) {
        ended::<Spin>(task);
    }
}

/// The future, as the task that runs while it is polled.
pub(super) async fn as_current<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let before = CURRENT.replace(TaskRef::from_waker(context.waker()));
        let answer = future.as_mut().poll(context);
        CURRENT.set(before);
        answer
    })
    .await
}

thread_local! {
    /// Where a thread that runs the pool says that it fails.
    static FAILS: RefCell<Option<Sender<bool>>> = const { RefCell::new(None) };
}

/// The running task fails as it does where panics do not unwind: nothing is dropped, and the stack is left as it is.
fn fail() -> ! {
    let task = CURRENT.replace(None).unwrap();
    // SAFETY: the poll does not come back.
    unsafe { task.fail() };
    failed::<Spin>();
    FAILS.with_borrow(|fails| fails.as_ref().unwrap().send(true).unwrap());
    loop {
        std::thread::park();
    }
}

/// Runs what there is to run, on a fresh thread after each failure.
fn drain(pool: &Arc<Pool<Alone>>) {
    let mut failed = true;
    while failed {
        let (pool, (fails, says)) = (pool.clone(), channel());
        std::thread::spawn(move || {
            FAILS.set(Some(fails.clone()));
            while pool.run_next(0).is_some() {}
            let _ = fails.send(false);
        });
        failed = says.recv().unwrap();
    }
}

#[test]
fn a_mutex_whose_holder_failed_is_poisoned_for_all() {
    let (pool, mutex) = (Arc::new(Pool::new(1, Alone)), Arc::new(Mutex::<_, Spin>::new(0)));
    let (held, notify) = (mutex.clone(), Arc::new(Notify::<Spin>::new()));
    let told = notify.clone();
    let holder = pool.spawn(
        Priority::NORMAL,
        as_current(async move {
            let _guard = held.lock().await.unwrap();
            told.notified().await;
            fail();
        }),
    );
    drain(&pool);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let mutex = mutex.clone();
            pool.spawn(Priority::NORMAL, as_current(async move { mutex.lock().await.map(|guard| *guard) }))
        })
        .collect();
    let mut foreign = waiter(mutex.lock());
    assert!(foreign.poll().is_none());
    drain(&pool);
    assert!(!mutex.is_poisoned() && !foreign.is_woken());
    notify.notify_one();
    drain(&pool);
    assert_eq!(now(holder).map(|()| 0), Err(JoinError::Panicked));
    assert!(waiting.into_iter().all(|waiter| now(waiter) == Ok(Err(Poisoned))));
    assert_eq!(foreign.run().unwrap().err(), Some(Poisoned));
    assert!(mutex.is_poisoned());
    assert_eq!(mutex.try_lock().err(), Some(TryLockError::Poisoned));
}

#[test]
fn a_failed_reader_keeps_writers_out_and_a_failed_writer_all() {
    let pool = Arc::new(Pool::new(1, Alone));
    for writes in [false, true] {
        let lock = Arc::new(RwLock::<_, Spin>::new(0));
        let held = lock.clone();
        pool.spawn(
            Priority::NORMAL,
            as_current(async move {
                if writes {
                    let _guard = held.write().await.unwrap();
                    crate::yield_now().await;
                    fail();
                }
                let _guard = held.read().await.unwrap();
                crate::yield_now().await;
                fail();
            }),
        )
        .detach();
        assert!(pool.run_next(0).is_some());
        let mut writer = waiter(lock.write());
        assert!(writer.poll().is_none());
        drain(&pool);
        assert_eq!(writer.run().unwrap().err(), Some(Poisoned));
        assert_eq!(now(lock.read()).is_ok(), !writes);
    }
}

#[test]
fn a_value_whose_maker_failed_is_made_by_another() {
    let (pool, cell) = (Arc::new(Pool::new(1, Alone)), Arc::new(OnceCell::<_, Spin>::new()));
    let made = cell.clone();
    pool.spawn(
        Priority::NORMAL,
        as_current(async move {
            made.get_or_init(|| async {
                crate::yield_now().await;
                fail()
            })
            .await;
        }),
    )
    .detach();
    assert!(pool.run_next(0).is_some());
    let mut other = waiter(cell.get_or_init(|| async { 2 }));
    assert!(other.poll().is_none());
    drain(&pool);
    assert_eq!(other.run(), Some(&2));
}
