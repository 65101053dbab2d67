//! What is told of tasks from outside: what they wait for and what their polls take, by themselves and in a copy of their memory.

use super::*;
use crate::{Doing, yield_now};
use sched::census::{HEADER, Seen};
use sched::slots::{Seat, Shown};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Nobody has to be called.
struct Quiet;

impl Pender for Quiet {
    type Memory = crate::Heap;

    fn pend(&self, _: usize, _: Priority) {}
}

fn drain(pool: &Pool<Quiet>) {
    while pool.run_next(0).is_some() {}
}

/// Times that were asked for.
static ASKED: AtomicU64 = AtomicU64::new(0);

sched::crossing! {
    /// A clock by which the n-th poll takes n.
    ///
    /// # Safety
    /// None is needed.
    unsafe fn ticks() -> u64 {
        let polls = ASKED.fetch_add(1, Ordering::Relaxed).div_ceil(2);
        polls * (polls + 1) / 2
    }
}

/// What a copy of a task's header says.
fn seen(task: &TaskRef) -> Option<Seen> {
    let header: *const [u8; HEADER] = core::ptr::with_exposed_provenance(task.address());
    // SAFETY: a header, alive while the reference is; nobody else is at it.
    Seen::of(&unsafe { header.read() })
}

#[test]
fn polls_are_counted_and_timed() {
    let pool = Pool::<Quiet>::new(1, Quiet);
    let task = pool.spawn(Priority::NORMAL, async {
        for _ in 0..9 {
            yield_now().await;
        }
        pending::<()>().await;
    });
    let [standing, low] = [AtomicU32::new(31), AtomicU32::new(0)];
    let shown = Shown { owner: AtomicU32::new(1), kicked: AtomicU32::new(0), standing, low };
    let seat = Seat::new(Box::leak(Box::new(AtomicU32::new(1))), Box::leak(Box::new(shown)), 0);
    // SAFETY: the clock may be called.
    let run = |polls: u32| unsafe { pool.run_seated_measured(0, polls, &seat, ticks) };
    assert_eq!(run(4), 4);
    let measured = task.task().seen().measured;
    assert_eq!((measured.polls, measured.time, measured.longest), (4, 1 + 2 + 3 + 4, 4));
    // What is not measured does not count.
    assert_eq!(pool.run_many(0, 2, &false.into()), 2);
    assert_eq!(task.task().seen().measured, measured);
    assert_eq!(run(100), 4);
    assert_eq!(task.task().seen().measured.polls, 8);
    assert_eq!(seen(&task.task()), Some(task.task().seen()));
}

#[test]
fn what_a_task_waits_for_is_noted_and_forgotten() {
    let pool = Pool::<Quiet>::new(1, Quiet);
    let lock = Arc::new(Mutex::<(), Spin>::new(()));
    let held = lock.try_lock().ok();
    let (sender, mut receiver) = mpsc::channel::<u8, Spin>(1);
    let notify = Arc::new(Notify::<Spin>::new());
    let (other, told) = (lock.clone(), notify.clone());
    let locks = pool.spawn(Priority::new(3), async move { other.lock().await.is_ok() });
    let receives = pool.spawn(Priority::new(4), async move {
        let first = receiver.recv().await;
        told.notified().await;
        first
    });
    let stuck = pool.spawn(Priority::new(5), pending::<()>());
    let stuck_task = stuck.task();
    let joins = pool.spawn(Priority::new(6), async move { stuck.await.is_ok() });
    let all = [locks.task(), receives.task(), stuck_task, joins.task()];
    let say = || all.each_ref().map(|task| seen(task).map(|seen| (seen.doing, seen.waits)));
    assert_eq!(say(), [Some((Doing::Ready, 0)); 4]);
    drain(&pool);
    let waits = |kinds: [u8; 4]| kinds.map(|kind| Some((Doing::Waits, kind)));
    let [lock_kind, channel, join] = [Wait::Lock, Wait::Channel, Wait::Join].map(|wait| wait as u8);
    assert_eq!(say(), waits([lock_kind, channel, 0, join]));
    assert!(sender.try_send(7).is_ok());
    drain(&pool);
    // The message is forgotten.
    assert_eq!(say(), waits([lock_kind, Wait::Notice as u8, 0, join]));
    for (task, number) in all.iter().zip([3, 4, 5, 6]) {
        assert_eq!(seen(task), Some(task.seen()));
        let found = seen(task).map(|seen| (seen.id, seen.priority, seen.own, seen.policy));
        assert_eq!(found, Some((task.id(), number, number, 0)));
    }
    drop(held);
    notify.notify_one();
    all[2].abort();
    drain(&pool);
    assert_eq!(say(), [Some((Doing::Ended, 0)); 4]);
}
