//! The protocol of slots, explored by loom: the source of `sched::slots`, with the kernel's part where it runs, in the thread
//! that it is about.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p sched --release --test loom
//! ```
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread::{self, JoinHandle};
use sched::slots::{Book, Do, Seat, Shown, Wait, polls};

/// A process of two threads and one slot, and the kernel around it.
struct Process {
    book: Mutex<Book>,
    shown: Shown,
    counts: [AtomicU32; 2],
    /// The kernel has asked a thread to leave user mode.
    interrupted: [AtomicBool; 2],
    /// The worker: who has the slot and is in the scheduler touches it. Loom fails on two at once.
    worker: UnsafeCell<u32>,
    /// Something more urgent than what is polled is ready.
    urgent: AtomicBool,
}

impl Process {
    fn new() -> Arc<Self> {
        let mut book = Book::new(1);
        assert!(book.enter(0) && book.enter(1));
        // The first thread has the slot, and polls.
        assert_eq!((book.kick(0), book.wait(0)), (Do::Nothing, Wait::Slot(0)));
        let process = Self {
            book: Mutex::new(book),
            shown: Shown {
                owner: AtomicU32::new(1),
                kicked: AtomicU32::new(0),
                standing: AtomicU32::new(31),
                low: AtomicU32::new(0),
            },
            counts: [AtomicU32::new(0), AtomicU32::new(0)],
            interrupted: [AtomicBool::new(false), AtomicBool::new(false)],
            worker: UnsafeCell::new(0),
            urgent: AtomicBool::new(false),
        };
        Arc::new(process)
    }

    fn seat(&self, place: u8) -> Seat<'_> {
        let count = &self.counts[usize::from(place)];
        Seat::new(count, &self.shown, u32::from(place))
    }

    /// What the kernel does under its lock: an operation, the status page, and what is to be done for others.
    fn kernel<T>(&self, operation: impl FnOnce(&mut Book) -> (T, Do)) -> T {
        let mut book = self.book.lock().unwrap();
        let (answer, action) = operation(&mut book);
        let (owner, kicked) = book.shown(0);
        self.shown.owner.store(owner, Ordering::Relaxed);
        self.shown.kicked.store(u32::from(kicked), Ordering::Relaxed);
        drop(book);
        if let Do::Interrupt(place) = action {
            self.interrupted[usize::from(place)].store(true, Ordering::Release);
        }
        answer
    }

    fn polls(&self, place: u8) -> bool {
        // Its own count: whoever asks is the thread's coroutine.
        polls(self.counts[usize::from(place)].load(Ordering::Relaxed))
    }

    fn examine(&self, place: u8) {
        let polls = self.polls(place);
        // Looked at under the lock: who sees a kick there sees what was kicked for.
        self.kernel(|book| ((), book.examine(place, polls, self.urgent.load(Ordering::Relaxed))));
    }

    /// A point at which the thread may be interrupted.
    fn point(&self, place: u8) {
        if self.interrupted[usize::from(place)].swap(false, Ordering::Acquire) {
            self.examine(place);
        }
    }

    /// Something urgent becomes ready and the worker is kicked, as a waker does.
    fn wake_urgent(&self) {
        self.urgent.store(true, Ordering::Relaxed);
        self.kernel(|book| ((), book.kick(0)));
    }

    /// In the scheduler with the slot: takes what is urgent.
    fn schedule(&self, place: u8) {
        self.worker.with_mut(|_| ());
        if self.urgent.swap(false, Ordering::Relaxed) {
            // That is polled at once, and has an end.
            self.worker.with_mut(|_| ());
        }
        self.point(place);
    }

    /// A turn of a thread that has the slot and is in a poll; `false` if it has lost the slot by its end.
    fn turn(&self, place: u8, blocks: bool) -> bool {
        self.point(place);
        if blocks {
            let polls = self.polls(place);
            self.kernel(|book| ((), book.blocks(place, polls)));
        }
        if !self.seat(place).end_poll() {
            return false;
        }
        self.point(place);
        self.schedule(place);
        if self.seat(place).begin_poll() {
            self.examine(place);
        }
        true
    }

    /// Parks until it has the slot, or `over`.
    fn park(&self, place: u8, over: impl Fn() -> bool) -> bool {
        let begun = self.kernel(|book| match book.wait(place) {
            Wait::Waits(action) => (false, action),
            Wait::Slot(_) => (true, Do::Nothing),
        });
        let waited = || self.book.lock().unwrap().waited(place).is_some();
        let mut has = begun;
        while !has {
            if over() {
                return self.book.lock().unwrap().give_up(place).is_some();
            }
            thread::yield_now();
            has = waited();
        }
        true
    }
}

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A holder that blocks in a poll while a spare comes to wait: the spare gets the slot, whichever is first, and the two are never in the
/// scheduler together.
#[test]
fn a_blocked_holder_and_a_spare() {
    model(3, || {
        let process = Process::new();
        let spare = {
            let process = process.clone();
            thread::spawn(move || {
                assert!(process.park(1, || false));
                process.counts[1].store(1, Ordering::Relaxed);
                process.schedule(1);
            })
        };
        assert!(!process.turn(0, true));
        spare.join().unwrap();
        assert_eq!(process.book.lock().unwrap().slot_of(1), Some(0));
    });
}

/// A thread that waits for the slot until it is over, and one that wakes what is urgent.
fn spare_and_waker(process: &Arc<Process>, over: &Arc<AtomicBool>) -> (JoinHandle<()>, JoinHandle<()>) {
    let (parks, wakes, over) = (process.clone(), process.clone(), over.clone());
    let spare = thread::spawn(move || {
        if parks.park(1, || over.load(Ordering::Acquire)) {
            parks.counts[1].store(1, Ordering::Relaxed);
            parks.schedule(1);
        }
    });
    (spare, thread::spawn(move || wakes.wake_urgent()))
}

/// A kick that races the holder's way through the scheduler: what is urgent is taken by the holder there, or the slot goes to
/// the spare; it never waits behind a poll that goes on.
#[test]
fn a_kick_against_a_turn() {
    model(3, || {
        let process = Process::new();
        let over = Arc::new(AtomicBool::new(false));
        let (spare, waker) = spare_and_waker(&process, &over);
        let holds = process.turn(0, false);
        waker.join().unwrap();
        // The poll goes on for ever from here; only interrupts come.
        process.point(0);
        over.store(true, Ordering::Release);
        spare.join().unwrap();
        let kicked = process.shown.kicked.load(Ordering::Relaxed) != 0;
        let urgent = process.urgent.load(Ordering::Relaxed);
        // With a spare it is done; without one the kick stands, for the first that comes.
        assert!(!urgent || (holds && kicked && process.book.lock().unwrap().slot_of(0) == Some(0)));
    });
}

/// The same while the holder takes a queue's lock in its poll, for which it enters the scheduler: nobody else is there meanwhile,
/// and a kick that finds it there is not lost.
#[test]
fn a_kick_against_a_lock_in_a_poll() {
    model(3, || {
        let process = Process::new();
        let over = Arc::new(AtomicBool::new(false));
        let (spare, waker) = spare_and_waker(&process, &over);
        process.point(0);
        let seat = process.seat(0);
        assert!(seat.interrupt_poll());
        let holds = seat.is_owner();
        if holds {
            process.worker.with_mut(|_| ());
        }
        process.point(0);
        if seat.begin_poll() && holds {
            process.examine(0);
        }
        assert!(process.polls(0), "back in its poll, with the slot or without");
        waker.join().unwrap();
        process.point(0);
        over.store(true, Ordering::Release);
        spare.join().unwrap();
        let kicked = process.shown.kicked.load(Ordering::Relaxed) != 0;
        let urgent = process.urgent.load(Ordering::Relaxed);
        assert!(!urgent || (kicked && process.book.lock().unwrap().slot_of(0) == Some(0)));
    });
}
