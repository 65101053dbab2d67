//! Every interleaving of the scheduler's races, explored by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p task --release --test loom
//! ```
#![cfg(loom)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc as Plain;
use std::sync::Mutex as PlainMutex;
use std::task::{Context, Poll, Waker};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use loom::thread;
use sched::slots::{MAX_SLOTS, Shown};
use task::{JoinError, JoinHandle, Outcome, Pender, Pool, Priority, yield_now};

/// A pender that counts.
struct Count(Arc<AtomicUsize>);

impl Pender for Count {
    type Memory = task::Heap;

    fn pend(&self, _: usize, _: Priority) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

fn pool(workers: usize) -> (Plain<Pool<Count>>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    (Plain::new(Pool::new(workers, Count(calls.clone()))), calls)
}

fn poll_once<T>(handle: &mut JoinHandle<T>, waker: &Waker) -> Poll<Result<T, JoinError>> {
    pin!(handle).poll(&mut Context::from_waker(waker))
}

type Slot = Plain<PlainMutex<Option<Waker>>>;

/// Waits until `flag` is set; leaves its waker in `slot` first.
fn until(flag: Arc<AtomicBool>, slot: Slot) -> impl Future<Output = ()> + Send {
    poll_fn(move |cx| {
        *slot.lock().unwrap() = Some(cx.waker().clone());
        // Relaxed on purpose: the scheduler's own ordering must make a wake's past visible to the poll.
        if flag.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// A wake that races the end of a poll: the task is polled again and sees what its waker did before.
#[test]
fn wake_against_the_end_of_a_poll() {
    model(3, || {
        let (pool, _) = pool(1);
        let (flag, slot) = (Arc::new(AtomicBool::new(false)), Slot::default());
        let task = pool.spawn(Priority::NORMAL, until(flag.clone(), slot.clone()));
        assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
        let waker = slot.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        let other = thread::spawn(move || {
            flag.store(true, Ordering::Relaxed);
            waker.wake();
        });
        while pool.run_next(0).is_some() {}
        other.join().unwrap();
        while pool.run_next(0).is_some() {}
        assert!(task.is_finished());
    });
}

/// Wakes that race completion do nothing, and the task is freed once.
#[test]
fn wake_against_completion() {
    model(3, || {
        let (pool, _) = pool(1);
        let slot = Slot::default();
        let inner = slot.clone();
        let mut first = true;
        let task = pool.spawn(
            Priority::NORMAL,
            poll_fn(move |cx| {
                *inner.lock().unwrap() = Some(cx.waker().clone());
                if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(Box::new(1)) }
            }),
        );
        assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
        let waker = slot.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        let other = thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        });
        assert_eq!(pool.run_next(0), Some(Outcome::Complete));
        drop(task);
        drop(slot);
        other.join().unwrap();
        assert_eq!(pool.run_next(0), None);
    });
}

/// Tasks pushed while the owner drains are neither lost nor run twice, and the ready bits end empty.
#[test]
fn push_against_drain() {
    model(3, || {
        let (pool, _) = pool(1);
        let done = Arc::new(AtomicUsize::new(0));
        let spawn = |pool: &Pool<Count>, priority| {
            let done = done.clone();
            pool.spawn(Priority::new(priority), async move {
                done.fetch_add(1, Ordering::Relaxed);
            })
            .detach();
        };
        spawn(&pool, 4);
        let (remote, counter) = (pool.clone(), done.clone());
        let other = thread::spawn(move || {
            remote
                .spawn(Priority::new(4), async move {
                    counter.fetch_add(1, Ordering::Relaxed);
                })
                .detach();
        });
        while pool.run_next(0).is_some() {}
        other.join().unwrap();
        assert!(done.load(Ordering::Relaxed) == 2 || pool.highest_ready(0).is_some());
        while pool.run_next(0).is_some() {}
        assert_eq!(done.load(Ordering::Relaxed), 2);
        // A stale bit may remain until the owner looks once more, never a task.
        assert_eq!(pool.run_next(0), None);
        assert_eq!(pool.highest_ready(0), None);
    });
}

/// A worker that parks has either seen the task or is called.
#[test]
fn no_wake_is_lost_when_parking() {
    model(3, || {
        let (pool, calls) = pool(1);
        let remote = pool.clone();
        let other = thread::spawn(move || remote.spawn(Priority::NORMAL, async {}).detach());
        let mut ran = pool.run_next(0).is_some();
        let parked = !ran && pool.set_idle(0);
        other.join().unwrap();
        if parked {
            assert_eq!(calls.load(Ordering::SeqCst), 1, "parked, and nobody called");
            pool.clear_idle(0);
        }
        ran |= pool.run_next(0).is_some();
        assert!(ran);
    });
}

/// A worker that begins to run something has either seen the more urgent task or is called.
#[test]
fn no_urgent_task_is_left_behind() {
    model(3, || {
        let (pool, calls) = pool(1);
        pool.spawn(Priority::LOWEST, async {}).detach();
        let remote = pool.clone();
        let other = thread::spawn(move || remote.spawn(Priority::HIGHEST, async {}).detach());
        let runnable = pool.next(0).unwrap();
        other.join().unwrap();
        if runnable.priority() == Priority::LOWEST {
            assert_eq!(calls.load(Ordering::SeqCst), 1, "runs the less urgent task uncalled");
            let urgent = pool.next_above(0, Priority::LOWEST).unwrap();
            assert_eq!(urgent.run(), Outcome::Complete);
        }
        runnable.run();
    });
}

/// A worker that stands in for others runs nothing, though it has something: what is more urgent is seen or calls it.
#[test]
fn no_urgent_task_is_left_behind_by_who_stands_in() {
    model(3, || {
        let (pool, calls) = pool(1);
        pool.spawn(Priority::LOWEST, async {}).detach();
        let elsewhere = pool.clone();
        let other = thread::spawn(move || elsewhere.spawn(Priority::HIGHEST, async {}).detach());
        let stands = pool.stand_in(0, Priority::new(20));
        other.join().unwrap();
        assert!(!stands || calls.load(Ordering::SeqCst) == 1, "stands in uncalled");
        pool.clear_idle(0);
        while pool.run_next(0).is_some() {}
    });
}

/// Counts, and has workers that are lent.
struct Lent(Arc<AtomicUsize>, &'static [Shown; MAX_SLOTS]);

impl Pender for Lent {
    type Memory = task::Heap;

    fn pend(&self, _: usize, _: Priority) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn shown(&self) -> Option<&'static [Shown; MAX_SLOTS]> {
        Some(self.1)
    }
}

/// A kernel makes the thread less urgent that has a worker, and that runs nothing: it sees what is more urgent, or is called.
#[test]
fn no_urgent_task_is_left_behind_by_who_lowers_a_thread() {
    model(3, || {
        let shown: &[Shown; MAX_SLOTS] = Box::leak(Box::new(core::array::from_fn(|_| {
            let [owner, kicked, standing, low] = [1, 0, 16, 0].map(AtomicU32::new);
            Shown { owner, kicked, standing, low }
        })));
        let calls = Arc::new(AtomicUsize::new(0));
        let pool: Plain<Pool<Lent>> = Plain::new(Pool::new(1, Lent(calls.clone(), shown)));
        let elsewhere = pool.clone();
        let other = thread::spawn(move || elsewhere.spawn(Priority::HIGHEST, async {}).detach());
        // As `stand_at` in the kernel's `process::slots`.
        shown[0].low.store(28, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_seen = pool.highest_ready(0).is_some();
        other.join().unwrap();
        assert!(is_seen || calls.load(Ordering::SeqCst) == 1, "stands low uncalled");
        while pool.run_next(0).is_some() {}
    });
}

/// The same when the worker picks from its lists: those that it has just filled, and those that it had filled before.
#[test]
fn no_urgent_task_is_left_behind_by_the_lists() {
    for picked in 0..2 {
        model(3, move || {
            let (pool, calls) = pool(1);
            (0..2 + picked).for_each(|_| pool.spawn(Priority::LOWEST, async {}).detach());
            (0..picked).for_each(|_| assert_eq!(pool.run_next(0), Some(Outcome::Complete)));
            let remote = pool.clone();
            let other = thread::spawn(move || remote.spawn(Priority::HIGHEST, async {}).detach());
            let runnable = pool.next(0).unwrap();
            other.join().unwrap();
            if runnable.priority() == Priority::LOWEST {
                assert!(calls.load(Ordering::SeqCst) > 0, "runs the less urgent task uncalled");
            }
        });
    }
}

/// The same when a worker runs what it has stolen.
#[test]
fn no_urgent_task_is_left_behind_by_a_thief() {
    model(3, || {
        let (pool, calls) = pool(2);
        pool.spawn(Priority::LOWEST, async {}).detach();
        let remote = pool.clone();
        let other = thread::spawn(move || remote.spawn_on(1, Priority::HIGHEST, async {}).detach());
        let runnable = pool.next(1).unwrap();
        other.join().unwrap();
        if runnable.priority() == Priority::LOWEST {
            assert!(calls.load(Ordering::SeqCst) > 0, "runs the less urgent task uncalled");
        }
    });
}

/// A task that is woken goes on at another worker, with what its last poll, elsewhere, left in its future.
#[test]
fn a_woken_task_goes_on_elsewhere() {
    model(2, || {
        let (pool, _) = pool(2);
        let slot = Slot::default();
        let flag = Arc::new(AtomicBool::new(false));
        let task = pool.spawn(Priority::NORMAL, until(flag.clone(), slot.clone()));
        assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
        let waker = slot.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        let (here, waking) = (pool.clone(), waker);
        let here = thread::spawn(move || {
            let _ = here.run_next(0);
        });
        let waking = thread::spawn(move || {
            flag.store(true, Ordering::Relaxed);
            waking.wake();
        });
        let _ = pool.run_next(1);
        waking.join().unwrap();
        let _ = pool.run_next(1);
        here.join().unwrap();
        while pool.run_next(0).is_some() {}
        slot.lock().unwrap().take();
        assert!(task.is_finished());
    });
}

/// Owner and thief never get the same task, and a pinned one stays.
#[test]
fn steal_against_pop() {
    model(2, || {
        let (pool, _) = pool(2);
        let runs = Arc::new(AtomicUsize::new(0));
        let count = |runs: &Arc<AtomicUsize>| {
            let runs = runs.clone();
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };
        pool.spawn(Priority::NORMAL, count(&runs)).detach();
        let pinned = pool.spawn_on(0, Priority::NORMAL, count(&runs));
        let thief = pool.clone();
        let other = thread::spawn(move || {
            if let Some(runnable) = thief.next(1) {
                assert_eq!(runnable.run(), Outcome::Complete);
            }
        });
        while pool.run_next(0).is_some() {}
        other.join().unwrap();
        while pool.run_next(0).is_some() {}
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert_eq!(pinned.task().worker(), 0);
    });
}

/// A joiner that registers while the task completes gets the output or is woken.
#[test]
fn join_against_completion() {
    model(3, || {
        let (pool, _) = pool(1);
        // The output is written by one thread and read by the other: loom checks the hand-over.
        let mut task = pool.spawn(Priority::NORMAL, async { UnsafeCell::new(5) });
        let runner = pool.clone();
        let other = thread::spawn(move || assert_eq!(runner.run_next(0), Some(Outcome::Complete)));
        let woken = Arc::new(AtomicBool::new(false));
        let waker = Waker::from(Plain::new(Flag(woken.clone())));
        let mut answer = poll_once(&mut task, &waker);
        if answer.is_pending() {
            answer = poll_once(&mut task, &waker);
        }
        other.join().unwrap();
        if answer.is_pending() {
            assert!(woken.load(Ordering::SeqCst), "nobody woke the joiner");
            answer = poll_once(&mut task, &waker);
        }
        let Poll::Ready(Ok(cell)) = answer else { panic!("no output") };
        cell.with(|_| ());
    });
}

struct Flag(Arc<AtomicBool>);

impl std::task::Wake for Flag {
    fn wake(self: Plain<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Dropping the handle while the task completes drops the output once.
#[test]
fn detach_against_completion() {
    model(3, || {
        let drops = Arc::new(AtomicUsize::new(0));
        struct Drops(Arc<AtomicUsize>);
        impl Drop for Drops {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (pool, _) = pool(1);
        let mut task = pool.spawn(Priority::NORMAL, std::future::ready(Drops(drops.clone())));
        let runner = pool.clone();
        let other = thread::spawn(move || assert_eq!(runner.run_next(0), Some(Outcome::Complete)));
        let waker = Waker::from(Plain::new(Flag(Arc::new(AtomicBool::new(false)))));
        drop(poll_once(&mut task, &waker));
        drop(task);
        other.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

/// Aborting a task that runs, waits or ends: it ends once, one way or the other.
#[test]
fn abort_against_run() {
    model(3, || {
        let (pool, _) = pool(1);
        let slot = Slot::default();
        let flag = Arc::new(AtomicBool::new(false));
        let mut task = pool.spawn(Priority::NORMAL, until(flag.clone(), slot.clone()));
        let reference = task.task();
        let other = thread::spawn(move || {
            reference.abort();
            drop(reference);
        });
        while pool.run_next(0).is_some() {}
        other.join().unwrap();
        while pool.run_next(0).is_some() {}
        slot.lock().unwrap().take();
        let answer = poll_once(&mut task, Waker::noop());
        assert!(matches!(answer, Poll::Ready(Err(JoinError::Cancelled))));
    });
}

/// The last references of a waiting task go in two contexts at once: it is cancelled exactly once.
#[test]
fn the_last_references_go() {
    model(3, || {
        let (pool, _) = pool(1);
        let slot = Slot::default();
        let task = pool.spawn(Priority::NORMAL, until(Arc::new(AtomicBool::new(false)), slot.clone()));
        assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
        let waker = slot.lock().unwrap().take().unwrap();
        let other = thread::spawn(move || drop(waker));
        drop(task);
        other.join().unwrap();
        assert_eq!(pool.run_next(0), Some(Outcome::Cancelled));
        assert_eq!(pool.run_next(0), None);
        assert_eq!(Plain::strong_count(&slot), 1);
    });
}

/// The last reference of a task goes while it is polled: the worker frees it, after all that the handle did to it.
#[test]
fn the_last_reference_goes_during_a_poll() {
    model(3, || {
        let (pool, _) = pool(1);
        let mut task = pool.spawn(Priority::NORMAL, std::future::pending::<()>());
        let other = thread::spawn(move || {
            assert!(poll_once(&mut task, Waker::noop()).is_pending());
            drop(task);
        });
        let outcome = pool.run_next(0);
        other.join().unwrap();
        if outcome != Some(Outcome::Cancelled) {
            assert_eq!(outcome, Some(Outcome::Waiting));
            assert_eq!(pool.run_next(0), Some(Outcome::Cancelled));
        }
        assert_eq!(pool.run_next(0), None);
    });
}

/// Worker 1 looks for a task and parks if there is none.
fn look_and_park(pool: &Pool<Count>) {
    if let Some(runnable) = pool.next(1) {
        runnable.run();
    } else {
        let _ = pool.set_idle(1);
    }
}

/// A pool of two whose worker 0 runs something; the next task to be spawned has that worker as its home.
fn busy_pair(task: impl Future<Output = ()> + Send + 'static) -> Plain<Pool<Count>> {
    let (pool, _) = pool(2);
    pool.spawn(Priority::NORMAL, task).detach();
    pool.spawn(Priority::NORMAL, async {}).detach();
    // Its own task, not the other's.
    assert_eq!(pool.run_next(1), Some(Outcome::Complete));
    pool
}

/// If worker 1 is idle, and nobody has called it, then there is nothing for it to run.
fn assert_work_is_conserved(pool: &Pool<Count>) {
    if pool.idle_workers() != 0 {
        assert!(pool.next(1).is_none(), "idle beside a task");
    }
}

/// A task that comes to a busy worker's queue while another parks does not wait for the busy one.
#[test]
fn no_worker_idles_beside_a_task() {
    model(3, || {
        let pool = busy_pair(async {});
        let running = pool.next(0).unwrap();
        let (waker, thief) = (pool.clone(), pool.clone());
        let waker = thread::spawn(move || waker.spawn(Priority::NORMAL, async {}).detach());
        let thief = thread::spawn(move || look_and_park(&thief));
        waker.join().unwrap();
        thief.join().unwrap();
        assert_work_is_conserved(&pool);
        running.run();
    });
}

/// The same when the task comes while the busy worker takes the only one that it has. Counted, since a thief does not see
/// a task whose bit is gone.
#[test]
fn no_worker_idles_beside_a_task_that_came_as_another_went() {
    model(2, || {
        let runs = Arc::new(AtomicUsize::new(0));
        let count = |runs: &Arc<AtomicUsize>| {
            let runs = runs.clone();
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };
        let pool = busy_pair(count(&runs));
        let (waker, second, thief) = (pool.clone(), count(&runs), pool.clone());
        let waker = thread::spawn(move || waker.spawn(Priority::NORMAL, second).detach());
        let thief = thread::spawn(move || look_and_park(&thief));
        let running = pool.next(0);
        waker.join().unwrap();
        thief.join().unwrap();
        if running.is_some() && pool.idle_workers() != 0 {
            assert_eq!(runs.load(Ordering::Relaxed), 1, "idle beside a task");
        }
        drop(running);
    });
}

/// The same while the busy worker looks for what is more urgent, and so has the queue's tasks in hand for a moment.
#[test]
fn no_worker_idles_beside_a_task_that_was_in_hand() {
    model(2, || {
        let pool = busy_pair(async {});
        let running = pool.next(0).unwrap();
        let (waker, thief) = (pool.clone(), pool.clone());
        let waker = thread::spawn(move || waker.spawn(Priority::NORMAL, async {}).detach());
        let thief = thread::spawn(move || look_and_park(&thief));
        assert!(pool.next_above(0, Priority::HIGHEST).is_none());
        waker.join().unwrap();
        thief.join().unwrap();
        assert_work_is_conserved(&pool);
        running.run();
    });
}

/// The same when the busy worker's task is queued again and what came meanwhile runs in its place.
#[test]
fn no_worker_idles_beside_a_task_that_gave_way() {
    model(2, || {
        let pool = busy_pair(yield_now());
        let running = pool.next(0).unwrap();
        let (waker, thief) = (pool.clone(), pool.clone());
        let waker = thread::spawn(move || waker.spawn(Priority::HIGHEST, async {}).detach());
        let thief = thread::spawn(move || look_and_park(&thief));
        assert_eq!(running.run(), Outcome::Requeued);
        let running = pool.next(0);
        waker.join().unwrap();
        thief.join().unwrap();
        if running.is_some() {
            assert_work_is_conserved(&pool);
        }
        let _ = running.map(|running| running.run());
    });
}

/// The same while a thief has the queue's tasks in hand, and takes but one of them.
#[test]
fn no_worker_idles_beside_what_a_thief_left() {
    model(2, || {
        let (pool, _) = pool(3);
        let _pinned = pool.spawn_on(0, Priority::NORMAL, async {});
        let running = pool.next(0).unwrap();
        // New tasks take the workers in turn: only the first stays, and the next has worker 0 as its home, too.
        pool.spawn(Priority::NORMAL, async {}).detach();
        for worker in 1..3 {
            pool.spawn(Priority::NORMAL, async {}).detach();
            assert_eq!(pool.run_next(worker), Some(Outcome::Complete));
        }
        let (waker, parker) = (pool.clone(), pool.clone());
        let waker = thread::spawn(move || waker.spawn(Priority::NORMAL, async {}).detach());
        let parker = thread::spawn(move || {
            if let Some(runnable) = parker.next(2) {
                runnable.run();
            } else {
                let _ = parker.set_idle(2);
            }
        });
        let stolen = pool.next(1);
        waker.join().unwrap();
        parker.join().unwrap();
        if stolen.is_some() && pool.idle_workers() != 0 {
            assert!(pool.next(2).is_none(), "idle beside a task");
        }
        drop((running, stolen));
    });
}

/// Three workers, of which the first runs something and the last takes no part; and a task that waits, kept on the first two.
fn kept_pair(flag: &Arc<AtomicBool>, slot: &Slot) -> (Plain<Pool<Count>>, JoinHandle<()>) {
    let (pool, _) = pool(3);
    let kept = pool.spawn(Priority::NORMAL, until(flag.clone(), slot.clone()));
    assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
    pool.set_workers(&kept.task(), 0b011);
    (pool, kept)
}

/// A task that is kept among some workers and comes to a busy one does not wait for that while another of these parks.
#[test]
fn no_worker_idles_beside_a_task_that_is_kept() {
    model(2, || {
        let (flag, slot) = (Arc::new(AtomicBool::new(false)), Slot::default());
        let (pool, kept) = kept_pair(&flag, &slot);
        let _busy = pool.spawn_on(0, Priority::NORMAL, async {});
        let running = pool.next(0).unwrap();
        let waker = slot.lock().unwrap().take().unwrap();
        let thief = pool.clone();
        let waker = thread::spawn(move || {
            flag.store(true, Ordering::Relaxed);
            waker.wake();
        });
        let thief = thread::spawn(move || look_and_park(&thief));
        waker.join().unwrap();
        thief.join().unwrap();
        assert_work_is_conserved(&pool);
        running.run();
        drop(kept);
    });
}

/// The same while it gives way on the busy worker, which goes on with something else.
#[test]
fn no_worker_idles_beside_a_kept_task_that_gave_way() {
    model(2, || {
        let (pool, _) = pool(3);
        let kept = pool.spawn(Priority::NORMAL, yield_now());
        pool.set_workers(&kept.task(), 0b011);
        let running = pool.next(0).unwrap();
        let _other = pool.spawn_on(0, Priority::NORMAL, async {});
        let thief = pool.clone();
        let thief = thread::spawn(move || look_and_park(&thief));
        assert_eq!(running.run(), Outcome::Requeued);
        let running = pool.next(0);
        thief.join().unwrap();
        if running.is_some() {
            assert_work_is_conserved(&pool);
        }
        drop(running);
    });
}

/// A task whose choice changes while it is woken, taken or stolen is run once; and once that is over it is where it belongs.
#[test]
fn a_choice_changes_while_the_task_is_woken_and_taken() {
    model(2, || {
        let (flag, slot) = (Arc::new(AtomicBool::new(false)), Slot::default());
        let (pool, mut kept) = kept_pair(&flag, &slot);
        let waker = slot.lock().unwrap().take().unwrap();
        let (reference, changer) = (kept.task(), pool.clone());
        let changer = thread::spawn(move || changer.set_workers(&reference, 0b100));
        let waker = thread::spawn(move || {
            flag.store(true, Ordering::Relaxed);
            waker.wake();
        });
        let mut runs = usize::from(pool.run_next(1).is_some());
        changer.join().unwrap();
        waker.join().unwrap();
        // Who queued it meanwhile may have looked before.
        runs += (0..3).filter(|worker| pool.run_next(*worker).is_some()).count();
        assert_eq!(runs, 1);
        assert!(poll_once(&mut kept, Waker::noop()).is_ready());
    });
}

/// Two change the choice at once: what stands then is one of the two, and the queue goes by it.
#[test]
fn two_choose_at_once() {
    model(2, || {
        let (pool, _) = pool(3);
        let kept = pool.spawn(Priority::NORMAL, async {});
        let (reference, other) = (kept.task(), pool.clone());
        let other = thread::spawn(move || other.set_workers(&reference, 0b001));
        pool.set_workers(&kept.task(), 0b010);
        other.join().unwrap();
        assert!(kept.task().worker() < 2);
        assert_eq!(pool.run_next(2), None);
        assert_eq!((0..2).filter(|worker| pool.run_next(*worker).is_some()).count(), 1);
        drop(kept);
    });
}

/// A task whose priority changes while it is pushed, taken or stolen is run once, and ends up at what it was given.
#[test]
fn a_priority_changes_while_the_task_is_queued_and_taken() {
    model(2, || {
        let (pool, _) = pool(2);
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = runs.clone();
        let task = pool.spawn(Priority::NORMAL, async move {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (reference, thief) = (task.task(), pool.clone());
        let changer = thread::spawn(move || {
            reference.set_priority(Priority::HIGHEST);
            reference.inherit(Priority::new(3));
        });
        let thief = thread::spawn(move || {
            if let Some(runnable) = thief.next(1) {
                assert_eq!(runnable.run(), Outcome::Complete);
            }
        });
        let _ = pool.run_next(0);
        changer.join().unwrap();
        thief.join().unwrap();
        while pool.run_next(0).is_some() {}
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(task.task().priority(), Priority::HIGHEST);
    });
}

/// Between one who raises and one who restores and then looks who waits, the one who waits is never left behind.
#[test]
fn who_waits_is_inherited_from_whenever_it_came() {
    model(3, || {
        let (pool, _) = pool(1);
        let holder = pool.spawn(Priority::LOWEST, async {});
        let waits = Arc::new(AtomicBool::new(false));
        let (reference, announced) = (holder.task(), waits.clone());
        let waiter = thread::spawn(move || {
            announced.store(true, Ordering::Relaxed);
            reference.inherit(Priority::HIGHEST);
        });
        holder.task().restore(Priority::LOWEST);
        if waits.load(Ordering::Relaxed) {
            holder.task().inherit(Priority::HIGHEST);
        }
        waiter.join().unwrap();
        assert_eq!(holder.task().priority(), Priority::HIGHEST);
        assert_eq!(pool.highest_ready(0), Some(Priority::HIGHEST), "and it is queued at it");
    });
}

/// A task moves in its queue, or is seen at its new priority, whether it was pushed before or after the change.
#[test]
fn a_priority_changes_while_the_task_is_woken() {
    model(3, || {
        let (pool, _) = pool(1);
        let slot = Slot::default();
        let task = pool.spawn(Priority::NORMAL, until(Arc::new(AtomicBool::new(false)), slot.clone()));
        assert_eq!(pool.run_next(0), Some(Outcome::Waiting));
        pool.spawn(Priority::new(8), async {}).detach();
        let waker = slot.lock().unwrap().take().unwrap();
        let other = thread::spawn(move || waker.wake());
        task.task().set_priority(Priority::new(4));
        other.join().unwrap();
        let first = pool.next(0).unwrap();
        assert_eq!((first.id(), first.priority()), (task.id(), Priority::new(4)));
        drop((first, slot));
    });
}

/// A tick that moves what is being pushed, or what a thief is after, loses nothing and runs nothing twice.
#[test]
fn tick_against_push_and_steal() {
    model(2, || {
        let (pool, _) = pool(2);
        let done = Arc::new(AtomicUsize::new(0));
        let spawn = move |pool: &Pool<Count>, done: &Arc<AtomicUsize>, priority| {
            let done = done.clone();
            let count = async move {
                done.fetch_add(1, Ordering::Relaxed);
            };
            pool.spawn(Priority::new(priority), count).detach();
        };
        spawn(&pool, &done, 4);
        // All but the tick that ages it.
        for _ in 1..task::AGE {
            pool.tick(0);
        }
        let (remote, counter, thief) = (pool.clone(), done.clone(), pool.clone());
        let other = thread::spawn(move || spawn(&remote, &counter, 9));
        let thief = thread::spawn(move || look_and_park(&thief));
        pool.tick(0);
        while pool.run_next(0).is_some() {}
        other.join().unwrap();
        thief.join().unwrap();
        for worker in 0..2 {
            while pool.run_next(worker).is_some() {}
        }
        assert_eq!(done.load(Ordering::Relaxed), 2);
    });
}

/// Many polls in one call: an urgent task that comes meanwhile is taken next, or the worker is called; none is lost to a thief.
#[test]
fn many_polls_against_push_and_steal() {
    model(2, || {
        let (pool, _) = pool(2);
        let yields = || async {
            yield_now().await;
            yield_now().await;
        };
        pool.spawn(Priority::NORMAL, yields()).detach();
        pool.spawn_on(0, Priority::NORMAL, yields()).detach();
        let urgent = Arc::new(AtomicBool::new(false));
        let (remote, ran) = (pool.clone(), urgent.clone());
        let other = thread::spawn(move || {
            let task = async move { ran.store(true, Ordering::Relaxed) };
            remote.spawn_on(0, Priority::HIGHEST, task).detach();
        });
        let thief = pool.clone();
        let thief = thread::spawn(move || look_and_park(&thief));
        let stop = sync::atomic::AtomicBool::new(false);
        pool.run_many(0, 3, &stop);
        other.join().unwrap();
        thief.join().unwrap();
        while pool.run_many(0, 8, &stop) > 0 {}
        while pool.run_many(1, 8, &stop) > 0 {}
        assert!(urgent.load(Ordering::Relaxed));
        assert_eq!(pool.highest_ready(0), None);
    });
}

/// A worker that takes turns between equals never leaves another idle beside them.
#[test]
fn no_worker_idles_beside_tasks_that_take_turns() {
    model(2, || {
        let (pool, _) = pool(2);
        let yields = || async {
            yield_now().await;
            yield_now().await;
        };
        // Both at worker 0: the second in turn is made and run at worker 1 first.
        pool.spawn(Priority::NORMAL, yields()).detach();
        pool.spawn_on(1, Priority::NORMAL, async {}).detach();
        assert_eq!(pool.run_next(1), Some(Outcome::Complete));
        pool.spawn_on(0, Priority::NORMAL, yields()).detach();
        let thief = pool.clone();
        let thief = thread::spawn(move || look_and_park(&thief));
        let stop = sync::atomic::AtomicBool::new(false);
        pool.run_many(0, 2, &stop);
        thief.join().unwrap();
        assert_work_is_conserved(&pool);
        while pool.run_many(0, 8, &stop) > 0 {}
        while pool.run_many(1, 8, &stop) > 0 {}
    });
}
