//! Whatever the other party stores: an error, or messages of its own.
#![cfg(not(loom))]

use channel::stream::Bytes;
use channel::{Broken, Inbox, Memory, Outbox, Side, Words, at};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const PLACES: u32 = 4;

#[derive(Default)]
struct Plain {
    words: [AtomicU32; at::PLACES / 64],
    places: [Cell<u32>; PLACES as usize],
}

impl Words for Plain {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 64]
    }
}

impl Bytes for Plain {
    fn put(&self, _side: usize, place: u32, bytes: &[u8]) {
        for (place, byte) in self.places[place as usize..][..bytes.len()].iter().zip(bytes) {
            place.set(u32::from(*byte));
        }
    }

    fn get(&self, _side: usize, place: u32, bytes: &mut [u8]) {
        let places = &self.places[place as usize..][..bytes.len()];
        bytes.iter_mut().zip(places).for_each(|(byte, place)| *byte = place.get() as u8);
    }
}

impl Memory<u32> for Plain {
    fn put(&self, _side: usize, place: u32, message: &u32) {
        self.places[place as usize].set(*message);
    }

    /// A message is anything but 99.
    fn get(&self, _side: usize, place: u32) -> Option<u32> {
        Some(self.places[place as usize].get()).filter(|message| *message != 99)
    }
}

/// Values around each bound.
fn values() -> impl Iterator<Item = u32> {
    (0..64).chain((0..64).map(|less| u32::MAX - less)).chain([1 << 31])
}

#[test]
fn a_tail_of_any_value_is_messages_that_fit_or_an_error() {
    for tail in values() {
        let memory = Plain::default();
        let mut inbox = Inbox::new(Side(1), PLACES);
        memory.word(at::TAIL).store(tail, Relaxed);
        let mut taken = 0;
        let ended = loop {
            match inbox.pop(&memory) {
                Ok(Some(_)) => taken += 1,
                ended => break ended,
            }
        };
        let expected = if tail <= PLACES { (tail, Ok(None)) } else { (0, Err(Broken)) };
        assert_eq!((taken, ended), expected, "tail {tail}");
    }
}

#[test]
fn a_head_of_any_value_is_room_that_there_is_or_an_error() {
    for head in values() {
        let memory = Plain::default();
        let mut outbox = Outbox::new(Side(0), PLACES);
        for message in 0..PLACES {
            assert_eq!(outbox.push(&memory, &message), Ok(true));
        }
        memory.word(at::HEAD).store(head, Relaxed);
        let expected = match head {
            0 => Ok(false),
            1..=PLACES => Ok(true),
            _ => Err(Broken),
        };
        assert_eq!(outbox.push(&memory, &9), expected, "head {head}");
    }
}

#[test]
fn what_is_no_message_is_an_error_each_time() {
    let memory = Plain::default();
    let (mut outbox, mut inbox) = (Outbox::new(Side(0), PLACES), Inbox::new(Side(1), PLACES));
    for message in [1, 99, 2] {
        assert_eq!(outbox.push(&memory, &message), Ok(true));
    }
    assert_eq!(inbox.pop(&memory), Ok(Some(1)));
    assert_eq!(inbox.pop(&memory), Err(Broken));
    assert_eq!(inbox.pop(&memory), Err(Broken));
}

#[test]
fn bytes_behind_any_index_are_as_many_as_fit_or_an_error() {
    for (value, len) in values().flat_map(|value| (1..=6).map(move |len| (value, len))) {
        let memory = Plain::default();
        let mut inbox = Inbox::new(Side(1), PLACES);
        memory.word(at::TAIL).store(value, Relaxed);
        let mut bytes = vec![0; len];
        let expected = if value <= PLACES { Ok((value as usize).min(len)) } else { Err(Broken) };
        assert_eq!(inbox.read(&memory, &mut bytes), expected, "tail {value}, {len} bytes");

        let memory = Plain::default();
        let mut outbox = Outbox::new(Side(0), PLACES);
        assert_eq!(outbox.write(&memory, &[1; PLACES as usize]), Ok(PLACES as usize));
        memory.word(at::HEAD).store(value, Relaxed);
        let expected = if value <= PLACES { Ok((value as usize).min(len)) } else { Err(Broken) };
        assert_eq!(outbox.write(&memory, &bytes), expected, "head {value}, {len} bytes");
    }
}

#[test]
fn bytes_come_as_they_were_sent_in_pieces_of_any_length() {
    let memory = Plain::default();
    let (mut outbox, mut inbox) = (Outbox::new(Side(0), PLACES), Inbox::new(Side(1), PLACES));
    let all: Vec<u8> = (0..250).collect();
    let (mut sent, mut received) = (0, Vec::<u8>::new());
    for round in 0.. {
        sent += outbox.write(&memory, &all[sent..all.len().min(sent + round % 6)]).unwrap();
        let mut piece = [0; 5];
        let taken = inbox.read(&memory, &mut piece[..round % 5 + 1]).unwrap();
        received.extend(&piece[..taken]);
        if received.len() == all.len() {
            break;
        }
    }
    assert_eq!(received, all);
}

#[test]
fn an_end_is_behind_what_was_sent_and_stays() {
    let memory = Plain::default();
    let (mut outbox, mut inbox) = (Outbox::new(Side(0), PLACES), Inbox::new(Side(1), PLACES));
    assert_eq!(inbox.is_finished(&memory), Ok(false));
    assert_eq!(outbox.push(&memory, &1), Ok(true));
    outbox.finish(&memory);
    assert_eq!(inbox.is_finished(&memory), Ok(false));
    assert_eq!(inbox.pop(&memory), Ok(Some(1)));
    assert_eq!(inbox.is_finished(&memory), Ok(true));
    // Its sender takes it back, and sends more.
    memory.word(at::DONE).store(0, Relaxed);
    assert_eq!(outbox.push(&memory, &2), Ok(true));
    assert_eq!(inbox.is_finished(&memory), Ok(true));
    assert_eq!((inbox.pop(&memory), inbox.is_settled(&memory)), (Ok(None), Ok(true)));
    memory.word(at::TAIL).store(u32::MAX, Relaxed);
    assert_eq!((inbox.pop(&memory), inbox.is_finished(&memory)), (Ok(None), Ok(true)));
}

#[test]
fn an_end_of_any_value_is_one_or_none() {
    for value in values() {
        let memory = Plain::default();
        memory.word(at::DONE).store(value, Relaxed);
        let mut inbox = Inbox::new(Side(1), PLACES);
        assert_eq!(inbox.is_finished(&memory), Ok(value != 0));
        memory.word(at::TAIL).store(u32::MAX, Relaxed);
        assert_eq!(Inbox::new(Side(1), PLACES).is_finished(&memory), Err(Broken));
    }
}
