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
