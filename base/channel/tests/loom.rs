//! Every interleaving of two parties on one channel, explored by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p channel --release --test loom
//! ```
//!
//! Messages are relaxed atomics here, which order nothing, each with a cell in which loom notices accesses that nothing orders.
#![cfg(loom)]

use channel::calls::{Answer, Calls, Tag};
use channel::stream::Bytes;
use channel::{Inbox, MESSAGE, Memory, Outbox, ROOM, RUNS, Side, Words, at};
use core::future::poll_fn;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const PLACES: u32 = 2;

#[derive(Default)]
struct Place {
    value: AtomicU32,
    access: UnsafeCell<()>,
}

/// A side as who delivers rings knows it.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Shared {
    words: Vec<AtomicU32>,
    places: [[Place; PLACES as usize]; 2],
    bells: [Bell; 2],
}

impl Shared {
    fn new() -> Arc<Self> {
        let words = (0..at::PLACES / 64).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self { words, places: Default::default(), bells: Default::default() })
    }
}

impl Place {
    fn put(&self, value: u32) {
        self.access.with_mut(|_| self.value.store(value, Relaxed));
    }

    fn get(&self) -> u32 {
        self.access.with(|_| self.value.load(Relaxed))
    }
}

impl Words for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 64]
    }
}

impl Memory<u32> for Shared {
    fn put(&self, side: usize, place: u32, message: &u32) {
        self.places[side][place as usize].put(*message);
    }

    fn get(&self, side: usize, place: u32) -> Option<u32> {
        Some(self.places[side][place as usize].get())
    }
}

impl Bytes for Shared {
    fn put(&self, side: usize, place: u32, bytes: &[u8]) {
        let places = &self.places[side][place as usize..][..bytes.len()];
        places.iter().zip(bytes).for_each(|(place, byte)| place.put(u32::from(*byte)));
    }

    fn get(&self, side: usize, place: u32, bytes: &mut [u8]) {
        let places = &self.places[side][place as usize..][..bytes.len()];
        places.iter().zip(bytes).for_each(|(place, byte)| *byte = place.get() as u8);
    }
}

struct Party {
    shared: Arc<Shared>,
    side: Side,
    outbox: Outbox,
    inbox: Inbox,
}

impl Party {
    fn new(shared: &Arc<Shared>, side: usize) -> Self {
        let side = Side(side);
        Self { shared: shared.clone(), side, outbox: Outbox::new(side, PLACES), inbox: Inbox::new(side, PLACES) }
    }

    /// Who is to be interrupted hears nothing else: it may not sleep.
    fn ring_if(&self, what: u32) {
        let said = self.side.must_ring(&*self.shared, what);
        if said != 0 && said & RUNS == 0 {
            self.shared.bells[1 - self.side.0].ring();
        }
    }

    fn send(&mut self, message: u32) {
        while !self.outbox.push(&*self.shared, &message).unwrap() {
            self.side.waits(&*self.shared, ROOM);
            if !self.outbox.has_room(&*self.shared).unwrap() {
                self.shared.bells[self.side.0].wait();
            }
            self.side.waits_no_more(&*self.shared);
        }
        self.ring_if(MESSAGE);
    }

    fn receive(&mut self) -> u32 {
        loop {
            if let Some(message) = self.inbox.pop(&*self.shared).unwrap() {
                self.ring_if(ROOM);
                return message;
            }
            self.side.waits(&*self.shared, MESSAGE);
            if self.inbox.is_empty(&*self.shared).unwrap() {
                self.shared.bells[self.side.0].wait();
            }
            self.side.waits_no_more(&*self.shared);
        }
    }

    fn finish(&self) {
        self.outbox.finish(&*self.shared);
        self.ring_if(MESSAGE);
    }

    /// Until there is something, or nothing follows.
    fn settle(&mut self) {
        self.side.waits(&*self.shared, MESSAGE);
        if !self.inbox.is_settled(&*self.shared).unwrap() {
            self.shared.bells[self.side.0].wait();
        }
        self.side.waits_no_more(&*self.shared);
    }

    /// The next of a stream; `None`: there is none.
    fn next(&mut self) -> Option<u32> {
        loop {
            if let Some(message) = self.inbox.pop(&*self.shared).unwrap() {
                self.ring_if(ROOM);
                return Some(message);
            }
            if self.inbox.is_finished(&*self.shared).unwrap() {
                return None;
            }
            self.settle();
        }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let sent = self.outbox.write(&*self.shared, bytes).unwrap();
            self.ring_if(MESSAGE);
            bytes = &bytes[sent..];
            if sent == 0 {
                self.side.waits(&*self.shared, ROOM);
                if !self.outbox.has_room(&*self.shared).unwrap() {
                    self.shared.bells[self.side.0].wait();
                }
                self.side.waits_no_more(&*self.shared);
            }
        }
    }

    /// Sends, and rings and sleeps in one, as `call` does.
    fn call(&mut self, message: u32) -> u32 {
        assert!(self.outbox.push(&*self.shared, &message).unwrap());
        loop {
            if let Some(message) = self.inbox.pop(&*self.shared).unwrap() {
                return message;
            }
            self.side.waits(&*self.shared, MESSAGE);
            if self.side.must_ring_fenced(&*self.shared, MESSAGE) != 0 {
                self.shared.bells[1 - self.side.0].ring();
            }
            if self.inbox.is_empty(&*self.shared).unwrap() {
                self.shared.bells[self.side.0].wait();
            }
            self.side.waits_no_more(&*self.shared);
        }
    }
}

fn bounded(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

#[test]
fn messages_arrive_in_order_through_a_full_ring() {
    bounded(|| {
        let shared = Shared::new();
        let mut receiver = Party::new(&shared, 1);
        let sender = thread::spawn(move || {
            let mut sender = Party::new(&shared, 0);
            (1..=3).for_each(|message| sender.send(message));
        });
        (1..=3).for_each(|message| assert_eq!(receiver.receive(), message));
        sender.join().unwrap();
    });
}

#[test]
fn a_request_is_answered_though_both_wait() {
    bounded(|| {
        let shared = Shared::new();
        let mut client = Party::new(&shared, 0);
        let server = thread::spawn(move || {
            let mut server = Party::new(&shared, 1);
            let request = server.receive();
            server.send(request + 1);
        });
        assert_eq!(client.call(7), 8);
        server.join().unwrap();
    });
}

#[test]
fn who_has_listened_sleeps_through_nothing() {
    bounded(|| {
        let shared = Shared::new();
        let mut receiver = Party::new(&shared, 1);
        receiver.side.waits(&*shared, MESSAGE | RUNS);
        let sender = thread::spawn(move || {
            let mut sender = Party::new(&shared, 0);
            (1..=2).for_each(|message| sender.send(message));
        });
        // It finds the first by itself, and sleeps for the second.
        (1..=2).for_each(|message| assert_eq!(receiver.receive(), message));
        sender.join().unwrap();
    });
}

/// The peer answers what it is sent, the last first; one request is given up at any time.
#[test]
fn replies_find_who_asked_though_another_gives_up() {
    bounded(|| {
        let shared = Shared::new();
        let calls = Arc::new(Mutex::new(Calls::new(PLACES)));
        let answers = calls.clone();
        let mut peer = Party::new(&shared, 1);
        let peer = thread::spawn(move || {
            let mut requests = [peer.receive(), peer.receive()];
            requests.reverse();
            for request in requests {
                let answer = answers.lock().unwrap().answer(Tag(request.into()), request + 10);
                if let Ok(Answer::Arrived(Some(waker))) = answer {
                    waker.wake();
                }
            }
        });
        let mut client = Party::new(&shared, 0);
        let tags = [(); 2].map(|()| calls.lock().unwrap().begin().unwrap());
        tags.iter().for_each(|tag| client.send(tag.0 as u32));
        calls.lock().unwrap().give_up(tags[0]);
        let reply = block_on(poll_fn(|context| calls.lock().unwrap().poll(tags[1], context.waker())));
        assert_eq!(u64::from(reply), tags[1].0 + 10);
        peer.join().unwrap();
        // Each place is free once.
        let mut calls = calls.lock().unwrap();
        assert!(calls.begin().is_some() && calls.begin().is_some() && calls.begin().is_none());
    });
}

#[test]
fn a_stream_is_whole_before_its_end_which_nobody_sleeps_through() {
    bounded(|| {
        let shared = Shared::new();
        let mut receiver = Party::new(&shared, 1);
        let sender = thread::spawn(move || {
            let mut sender = Party::new(&shared, 0);
            sender.send(1);
            // Without a look at whether the other side sleeps, and so without a fence.
            assert!(sender.outbox.push(&*sender.shared, &2).unwrap());
            sender.finish();
        });
        assert_eq!([(); 3].map(|()| receiver.next()), [Some(1), Some(2), None]);
        sender.join().unwrap();
    });
}

#[test]
fn bytes_arrive_in_order_through_a_full_ring() {
    bounded(|| {
        let shared = Shared::new();
        let mut receiver = Party::new(&shared, 1);
        let sender = thread::spawn(move || {
            let mut sender = Party::new(&shared, 0);
            sender.write(&[1, 2, 3]);
            sender.finish();
        });
        let mut all = Vec::<u8>::new();
        while !receiver.inbox.is_finished(&*receiver.shared).unwrap() {
            let mut piece = [0; 2];
            let count = receiver.inbox.read(&*receiver.shared, &mut piece).unwrap();
            all.extend(&piece[..count]);
            if count == 0 {
                receiver.settle();
            } else {
                receiver.ring_if(ROOM);
            }
        }
        assert_eq!(all, [1, 2, 3]);
        sender.join().unwrap();
    });
}
