//! Whatever the other party stores: an error, or messages of its own.
#![cfg(not(loom))]

use channel::{Broken, Inbox, Memory, Outbox, Side, at};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const PLACES: u32 = 4;

#[derive(Default)]
struct Plain {
    words: [AtomicU32; at::PLACES / 64],
    places: [Cell<u32>; PLACES as usize],
}

impl Memory<u32> for Plain {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 64]
    }

    fn put(&self, _side: usize, place: u32, message: &u32) {
        self.places[place as usize].set(*message);
    }

    /// A message is anything but 99.
    fn get(&self, _side: usize, place: u32) -> Option<u32> {
        Some(self.places[place as usize].get()).filter(|message| *message != 99)
    }
}

#[test]
fn a_tail_of_any_value_is_messages_that_fit_or_an_error() {
    for tail in (0..64).chain((0..64).map(|less| u32::MAX - less)).chain([1 << 31]) {
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
    for head in (0..64).chain((0..64).map(|less| u32::MAX - less)).chain([1 << 31]) {
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
