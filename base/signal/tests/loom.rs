//! Every interleaving of senders and a receiver of signals, explored by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p signal --release --test loom
//! ```
//!
//! Each place has a cell, in which loom notices accesses to it that nothing orders.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use signal::area::{self, Area, at};
use signal::bit;
use signal::group::Group;

const SIGNAL: u32 = 40;

struct Shared {
    heads: Vec<AtomicU64>,
    places: Vec<AtomicU64>,
    cells: [UnsafeCell<()>; 2],
    /// The receiver's word, which tells of signals.
    vector: AtomicU64,
    bell: (Mutex<bool>, Condvar),
}

impl Shared {
    /// So many places can be taken.
    fn new(places: u32) -> Arc<Self> {
        let shared = Self {
            heads: (0..at::PLACES / 8).map(|_| AtomicU64::new(0)).collect(),
            places: (0..2 * at::PLACE).map(|_| AtomicU64::new(0)).collect(),
            cells: Default::default(),
            vector: AtomicU64::new(0),
            bell: Default::default(),
        };
        shared.heads[at::CLAIMED / 8].store(u64::MAX << places, Ordering::Relaxed);
        Arc::new(shared)
    }

    fn at(&self, index: usize, access: impl Fn(&UnsafeCell<()>)) -> &AtomicU64 {
        match index.checked_sub(at::PLACES) {
            None => &self.heads[index / 8],
            Some(word) => {
                access(&self.cells[word / at::PLACE]);
                &self.places[word]
            }
        }
    }
}

#[derive(Clone)]
struct Sends(Arc<Shared>);

impl Area for Sends {
    fn word(&self, index: usize) -> &AtomicU64 {
        self.0.at(index, |cell| cell.with_mut(|_| ()))
    }
}

impl Sends {
    fn send(&self, signal: u32, value: u64) {
        while area::send(self, signal, value).is_err() {
            thread::yield_now();
        }
        self.0.vector.fetch_or(1, Ordering::Release);
        *self.0.bell.0.lock().unwrap() = true;
        self.0.bell.1.notify_one();
    }
}

struct Receives(Arc<Shared>);

impl Area for Receives {
    fn word(&self, index: usize) -> &AtomicU64 {
        self.0.at(index, |cell| cell.with(|_| ()))
    }
}

impl Receives {
    /// Waits for an interrupt, and takes what it tells of.
    fn receive(&self, count: usize, mut take: impl FnMut(&Self, u64, &mut Vec<u64>)) -> Vec<u64> {
        let mut values = Vec::new();
        while values.len() < count {
            let mut rung = self.0.bell.0.lock().unwrap();
            while !*rung {
                rung = self.0.bell.1.wait(rung).unwrap();
            }
            *rung = false;
            drop(rung);
            if self.0.vector.swap(0, Ordering::Acquire) != 0 {
                take(self, area::collect(self), &mut values);
            }
        }
        values
    }

    fn queued(&self, count: usize) -> Vec<u64> {
        self.receive(count, |this, raised, values| {
            if raised & signal::bit(SIGNAL) != 0 {
                while let Some(value) = area::take(this, SIGNAL) {
                    values.push(value);
                }
            }
        })
    }
}

fn bounded(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

#[test]
fn what_two_send_at_once_arrives() {
    bounded(|| {
        let shared = Shared::new(2);
        let sender = Sends(shared.clone());
        let other = thread::spawn(move || sender.send(SIGNAL, 1));
        let sender = Sends(shared.clone());
        let another = thread::spawn(move || sender.send(SIGNAL, 2));
        let mut values = Receives(shared).queued(2);
        values.sort_unstable();
        assert_eq!(values, [1, 2]);
        other.join().unwrap();
        another.join().unwrap();
    });
}

#[test]
fn a_place_is_used_again_when_it_was_read() {
    bounded(|| {
        let shared = Shared::new(1);
        let sender = Sends(shared.clone());
        let other = thread::spawn(move || {
            sender.send(SIGNAL, 1);
            sender.send(SIGNAL, 2);
        });
        assert_eq!(Receives(shared).queued(2), [1, 2]);
        other.join().unwrap();
    });
}

#[test]
fn one_that_does_not_queue_comes_with_a_value() {
    bounded(|| {
        let shared = Shared::new(0);
        let sender = Sends(shared.clone());
        let other = thread::spawn(move || sender.send(10, 7));
        let values = Receives(shared).receive(1, |this, raised, values| {
            if raised & signal::bit(10) != 0 {
                values.push(area::value(this, 10));
            }
        });
        assert_eq!(values, [7]);
        other.join().unwrap();
    });
}

/// Threads of a group, each with a bell, and one signal that is queued for all.
struct Threads {
    group: Group,
    /// How many are queued: what the lock guards.
    queued: Mutex<u64>,
    bells: [AtomicU64; 2],
    /// What each wants, which is its own.
    wanted: [AtomicU64; 2],
    taken: AtomicU64,
}

impl Threads {
    fn new() -> Arc<Self> {
        let threads = Self {
            group: Group::new(),
            queued: Mutex::new(0),
            bells: Default::default(),
            wanted: Default::default(),
            taken: AtomicU64::new(0),
        };
        for number in 0..2 {
            assert_eq!(threads.group.join(), Some(number));
        }
        Arc::new(threads)
    }

    /// As who is rung: what was sent is found, and handed over where it is not wanted. Whether it is.
    fn look(&self, member: usize, sent: u64) -> bool {
        let mut queued = self.queued.lock().unwrap();
        *queued += sent;
        self.group.publish(if *queued == 0 { 0 } else { bit(SIGNAL) });
        self.group.hand_over(member, |other| {
            // Release pairs with the Acquire of `serve`.
            self.bells[other].store(1, Ordering::Release);
            true
        });
        *queued != 0 && self.wanted[member].load(Ordering::Relaxed) != 0
    }

    fn take(&self) {
        let mut queued = self.queued.lock().unwrap();
        self.taken.fetch_add(*queued, Ordering::Relaxed);
        *queued = 0;
        self.group.publish(0);
    }

    fn want(&self, member: usize, signals: u64) {
        self.wanted[member].store(signals, Ordering::Relaxed);
        let pending = self.group.want(member, signals);
        if pending & signals != 0 {
            self.take();
        } else if pending != 0 {
            self.look(member, 0);
        }
    }

    /// What the bell's interrupt does, when the member lets it in.
    fn serve(&self, member: usize) {
        if self.bells[member].swap(0, Ordering::Acquire) != 0 && self.look(member, 0) {
            self.take();
        }
    }
}

/// All block a signal. It is found while another begins to want it.
#[test]
fn who_unblocks_takes_what_is_found_meanwhile() {
    bounded(|| {
        let threads = Threads::new();
        let other = thread::spawn({
            let threads = threads.clone();
            move || threads.want(1, bit(SIGNAL))
        });
        assert!(!threads.look(0, 1));
        other.join().unwrap();
        threads.serve(1);
        assert_eq!(threads.taken.load(Ordering::Relaxed), 1);
    });
}

/// The one that is chosen blocks the signal, or leaves, while another begins to want it.
#[test]
fn who_blocks_hands_over() {
    bounded(|| {
        let threads = Threads::new();
        threads.want(1, bit(SIGNAL));
        let other = thread::spawn({
            let threads = threads.clone();
            move || threads.want(1, 0)
        });
        assert!(!threads.look(0, 1));
        threads.want(0, bit(SIGNAL));
        other.join().unwrap();
        threads.serve(1);
        threads.serve(0);
        assert_eq!(threads.taken.load(Ordering::Relaxed), 1);
    });
}
