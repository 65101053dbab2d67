//! Every interleaving of taking, giving back, going away and ending, on two threads and the one that waits for them.

use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use ::sync::raw::RawSpin;
use ::sync::wait::{WaitLock, WaitQueue};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use super::*;
use crate::{Pender, Pool, Priority};

/// The lock of these tests.
struct Spin(RawSpin);

// SAFETY: the raw lock's word.
unsafe impl WaitLock for Spin {
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        self.0.with(f)
    }
}

loom::lazy_static! {
    static ref FAILURES: WaitQueue<Spin> = WaitQueue::new(Spin(RawSpin::new()));
    static ref DEBTS: Turns<Spin, Debts> = Turns::new(Spin(RawSpin::new()), Debts::new());
}

// SAFETY: only the pools of `Alone` have tasks that run as current ones.
unsafe impl Lock for Spin {
    fn new() -> Self {
        Self(RawSpin::new())
    }

    fn failures() -> &'static WaitQueue<Self> {
        // SAFETY: loom keeps the value until the model's run ends, and nothing of the run lives longer.
        unsafe { &*core::ptr::from_ref::<WaitQueue<Self>>(&*FAILURES) }
    }

    fn debts() -> &'static Turns<Self, Debts> {
        // SAFETY: as above.
        unsafe { &*core::ptr::from_ref::<Turns<Self, Debts>>(&*DEBTS) }
    }

    fn with_current<R>(f: impl FnOnce(Option<&TaskRef>) -> R) -> R {
        let current = CURRENT.with(|current| current.borrow().clone());
        f(current.as_ref())
    }
}

loom::thread_local! {
    static CURRENT: RefCell<Option<TaskRef>> = RefCell::new(None);
}

/// Calls nobody.
struct Alone;

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

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Polls once, and drops the future.
fn try_once(future: impl Future) {
    let mut future = core::pin::pin!(future);
    let _: Poll<_> = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
}

/// Both get the mutex, one after the other, whatever a third does that goes away; loom watches the cell.
#[test]
fn a_mutex_excludes_and_is_passed_on() {
    model(|| {
        let shared = Arc::new((Mutex::<(), Spin>::new(()), UnsafeCell::new(0)));
        let add = |shared: &(Mutex<(), Spin>, UnsafeCell<i32>)| {
            let guard = block_on(shared.0.lock());
            // SAFETY: under the mutex.
            shared.1.with_mut(|number| unsafe { *number += 1 });
            drop(guard);
        };
        let other = shared.clone();
        let thread = thread::spawn(move || add(&other));
        try_once(shared.0.lock());
        add(&shared);
        thread.join().unwrap();
        // SAFETY: the other thread has ended.
        assert_eq!(shared.1.with(|number| unsafe { *number }), 2);
    });
}

/// A waiter that has been called goes away: the one behind it is called.
#[test]
fn a_permit_is_not_lost_with_who_goes_away() {
    model(|| {
        let semaphore = Arc::new(Semaphore::<Spin>::new(0));
        let mut gone = Box::pin(semaphore.acquire());
        assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let other = semaphore.clone();
        let waits = thread::spawn(move || block_on(other.acquire()).map(SemaphorePermit::forget));
        semaphore.add_permits(1);
        drop(gone);
        assert_eq!(waits.join().unwrap(), Ok(()));
    });
}

/// A writer and readers: the writer is alone.
#[test]
fn a_writer_is_alone() {
    model(|| {
        let shared = Arc::new((RwLock::<(), Spin>::new(()), UnsafeCell::new(0)));
        let other = shared.clone();
        let writer = thread::spawn(move || {
            let guard = block_on(other.0.write());
            // SAFETY: under the lock.
            other.1.with_mut(|number| unsafe { *number = 1 });
            drop(guard);
        });
        let guard = block_on(shared.0.read());
        // SAFETY: under the lock.
        let seen = shared.1.with(|number| unsafe { *number });
        assert!(seen == 0 || seen == 1);
        drop(guard);
        writer.join().unwrap();
    });
}

/// A notification that races the wait is not lost.
#[test]
fn a_notification_is_seen() {
    model(|| {
        let notify = Arc::new(Notify::<Spin>::new());
        let other = notify.clone();
        let thread = thread::spawn(move || other.notify_one());
        block_on(notify.notified());
        thread.join().unwrap();
    });
}

/// Two messages through one place, and the end.
#[test]
fn messages_arrive_in_order_and_then_the_end() {
    model(|| {
        let (sender, mut receiver) = mpsc::channel::<i32, Spin>(1);
        let thread = thread::spawn(move || {
            block_on(sender.send(1)).unwrap();
            block_on(sender.send(2)).unwrap();
        });
        assert_eq!(block_on(receiver.recv()), Some(1));
        assert_eq!(block_on(receiver.recv()), Some(2));
        assert_eq!(block_on(receiver.recv()), None);
        thread.join().unwrap();
    });
}

/// The receiver goes away while a message is on its way: the sender gets it back, or it is dropped.
#[test]
fn no_sender_waits_for_a_receiver_that_is_gone() {
    model(|| {
        let (sender, receiver) = mpsc::channel::<i32, Spin>(1);
        sender.try_send(0).unwrap();
        let thread = thread::spawn(move || drop(receiver));
        assert!(block_on(sender.send(1)).is_err());
        thread.join().unwrap();
    });
}

/// The message, or the end of the sender, reaches who waits.
#[test]
fn one_message_or_the_end_arrives() {
    for sends in [false, true] {
        model(move || {
            let (sender, receiver) = oneshot::channel::<i32, Spin>();
            let thread = thread::spawn(move || {
                if sends {
                    sender.send(1).unwrap();
                }
            });
            assert_eq!(block_on(receiver).is_ok(), sends);
            thread.join().unwrap();
        });
    }
}

/// Each receiver gets the message, and the end.
#[test]
fn a_message_reaches_all_receivers() {
    model(|| {
        let (sender, mut first) = broadcast::channel::<i32, Spin>(1);
        let mut second = sender.subscribe();
        let thread = thread::spawn(move || {
            let _ = sender.send(1);
        });
        for receiver in [&mut first, &mut second] {
            assert_eq!(block_on(receiver.recv()), Ok(1));
            assert_eq!(block_on(receiver.recv()), Err(broadcast::RecvError::Closed));
        }
        thread.join().unwrap();
    });
}

/// The last value is seen, whatever was missed.
#[test]
fn the_last_value_is_seen() {
    model(|| {
        let (sender, mut receiver) = watch::channel::<i32, Spin>(0);
        let thread = thread::spawn(move || {
            sender.send(1).unwrap();
            sender.send(2).unwrap();
        });
        while block_on(receiver.changed()).is_ok() {}
        assert_eq!(*receiver.borrow(), 2);
        thread.join().unwrap();
    });
}

/// Two who need each other at a barrier both pass.
#[test]
fn both_pass_the_barrier() {
    model(|| {
        let barrier = Arc::new(Barrier::<Spin>::new(2));
        let other = barrier.clone();
        let thread = thread::spawn(move || block_on(other.wait()).is_leader());
        let leads = block_on(barrier.wait()).is_leader();
        assert!(leads != thread.join().unwrap());
    });
}

/// One makes the value, both see it.
#[test]
fn a_value_is_made_once() {
    model(|| {
        let cell = Arc::new(OnceCell::<i32, Spin>::new());
        let other = cell.clone();
        let thread = thread::spawn(move || *block_on(other.get_or_init(|| async { 1 })));
        let mine = *block_on(cell.get_or_init(|| async { 2 }));
        assert_eq!(thread.join().unwrap(), mine);
    });
}

/// Somebody urgent comes while the holder goes: whoever of them is first, what was lent is paid back.
#[test]
fn what_a_holder_inherited_is_paid_back() {
    model(|| {
        let pool = Pool::<Alone>::new(1, Alone);
        let tasks = [Priority::LOWEST, Priority::HIGHEST].map(|priority| pool.spawn(priority, async {}));
        let mutex = Arc::new(Mutex::<(), Spin>::new(()));
        let lock_as = |task: TaskRef, mutex: &Mutex<(), Spin>| {
            CURRENT.with(|current| *current.borrow_mut() = Some(task));
            drop(block_on(mutex.lock()));
            CURRENT.with(|current| *current.borrow_mut() = None);
        };
        let (urgent, theirs) = (tasks[1].task(), mutex.clone());
        let thread = thread::spawn(move || lock_as(urgent, &theirs));
        lock_as(tasks[0].task(), &mutex);
        thread.join().unwrap();
        assert_eq!(tasks[0].task().priority(), Priority::LOWEST);
        assert!(Spin::debts().look(|debts| debts.is_empty()));
    });
}

/// Somebody urgent comes while the holder goes, and gives up: what was lent is taken back by the one or the other. A task that is named
/// takes it as well.
#[test]
fn what_a_waiter_lent_goes_with_it() {
    model(|| {
        let pool = Pool::<Alone>::new(1, Alone);
        let tasks = [Priority::LOWEST, Priority::HIGHEST].map(|priority| pool.spawn(priority, async {}));
        let mutex = Arc::new(Mutex::<(), Spin>::new(()));
        let (urgent, theirs) = (tasks[1].task(), mutex.clone());
        let guard = block_on(mutex.lock_as(Some(tasks[0].task())));
        let thread = thread::spawn(move || try_once(theirs.lock_as(Some(urgent))));
        drop(guard);
        thread.join().unwrap();
        assert_eq!(tasks[0].task().priority(), Priority::LOWEST);
        assert!(Spin::debts().look(|debts| debts.is_empty()));
    });
}

/// Somebody urgent joins a task while that runs, ends, or has ended, and goes away or gets its output: what was lent is paid back.
#[test]
fn what_a_joiner_lent_is_paid_back() {
    for waits in [false, true] {
        model(move || {
            let pool = Arc::new(Pool::<Alone>::new(1, Alone));
            let urgent = pool.spawn(Priority::HIGHEST, async {});
            assert!(pool.run_next(0).is_some());
            let mut handle = pool.spawn(Priority::LOWEST, async { 1 });
            let (theirs, task) = (pool.clone(), handle.task());
            // It may find the queue locked, and nothing in it.
            let worker = thread::spawn(move || theirs.run_next(0).is_some());
            CURRENT.with(|current| *current.borrow_mut() = Some(urgent.task()));
            let answer = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
            if waits && answer.is_pending() {
                worker.join().unwrap();
                while pool.run_next(0).is_some() {}
                assert_eq!(block_on(handle), Ok(1));
            } else {
                drop(handle);
                worker.join().unwrap();
                while pool.run_next(0).is_some() {}
            }
            CURRENT.with(|current| *current.borrow_mut() = None);
            assert_eq!(task.priority(), Priority::LOWEST);
            assert!(Spin::debts().look(|debts| debts.is_empty()));
        });
    }
}

/// Somebody urgent sends to a task that has received, while that ends, is aborted, or is found to lie dead: it is looked for as long as it is
/// there, and nothing is left of it.
#[test]
fn a_server_that_ends_against_who_sends_to_it() {
    for aborted in [false, true] {
        model(move || {
            let pool = Arc::new(Pool::<Alone>::new(1, Alone));
            let urgent = pool.spawn(Priority::HIGHEST, async {});
            assert!(pool.run_next(0).is_some());
            let (sender, receiver) = mpsc::unbounded_channel::<(), Spin>();
            let receiver = Arc::new(::sync::wait::Turns::new(Spin::new(), Kept(receiver)));
            let theirs = receiver.clone();
            let server = pool.spawn(Priority::LOWEST, async move {
                let task = crate::current().await;
                CURRENT.with(|current| current.replace(task));
                let _ = theirs.look(|kept| kept.0.try_recv());
                CURRENT.with(|current| current.replace(None));
                // Nobody wakes it from here on.
                core::future::pending::<()>().await;
            });
            let (runs, send) = (pool.clone(), sender.clone());
            let handle = if aborted {
                Some(server)
            } else {
                drop(server);
                None
            };
            let worker = thread::spawn(move || {
                let ran = runs.run_next(0).is_some();
                if let Some(handle) = handle {
                    handle.abort();
                }
                ran
            });
            CURRENT.with(|current| *current.borrow_mut() = Some(urgent.task()));
            send.send(()).unwrap();
            CURRENT.with(|current| *current.borrow_mut() = None);
            worker.join().unwrap();
            while pool.run_next(0).is_some() {}
            assert!(Spin::debts().look(|debts| debts.is_empty()));
            drop((receiver, sender));
        });
    }
}

/// A receiver that does not go with its task.
struct Kept(mpsc::UnboundedReceiver<(), Spin>);

impl Gate for Kept {
    fn is_open(&self) -> bool {
        false
    }
}
