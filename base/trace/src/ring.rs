//! The recorder of one hart.
//!
//! **Writers** are one hart's code and its interrupt handlers: a handler may come between any two steps of
//! a writer it interrupts, but nobody writes at the same time. A writer reserves the next index with one
//! atomic addition, marks the slot as being written, stores four words and marks it as complete:
//!
//! ```text
//!   slot of index i:   stamp = 2i + 1  (being written)   words   stamp = 2i + 2  (complete)
//! ```
//!
//! **Readers**, on any hart, read the stamp, the words, the stamp again, and then whether the index is still
//! among the newest `N`. If the stamps are not both `2i + 2` or the ring has gone round, the record is
//! lost and counted. A record still being written is not lost: the reader stops before it, and comes back,
//! unless a whole round has passed.

use sync::atomic::{AtomicU64, Ordering, fence};

use crate::event::{Event, Record};

struct Slot {
    stamp: AtomicU64,
    words: [AtomicU64; 4],
}

/// The newest `N` records of a hart; `N` is a power of two.
pub struct Ring<const N: usize> {
    /// How many records were ever begun: the index of the next.
    head: AtomicU64,
    slots: [Slot; N],
}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two()) };
        Self {
            head: AtomicU64::new(0),
            slots: [const { Slot { stamp: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; 4] } }; N],
        }
    }

    /// An empty ring.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        let slot = || Slot { stamp: AtomicU64::new(0), words: core::array::from_fn(|_| AtomicU64::new(0)) };
        Self { head: AtomicU64::new(0), slots: core::array::from_fn(|_| slot()) }
    }

    /// Records an event. Only for the ring's hart, its interrupt handlers included; never waits.
    pub fn record(&self, hart: u8, time: u64, event: Event) {
        // Relaxed: writers are on one hart, so program order orders them.
        let index = self.head.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[index as usize & (N - 1)];
        slot.stamp.store(2 * index + 1, Ordering::Relaxed);
        // Pairs with the Acquire fence in `read`: who sees a word stored below sees this stamp (or a later
        // one) at its second look.
        fence(Ordering::Release);
        for (cell, word) in slot.words.iter().zip(Record::new(hart, time, event).to_words()) {
            cell.store(word, Ordering::Relaxed);
        }
        // Pairs with the Acquire load in `read`: who sees the stamp sees the words.
        slot.stamp.store(2 * index + 2, Ordering::Release);
    }

    /// A reader from the beginning: what is overwritten already counts as lost.
    #[must_use]
    pub fn reader(&self) -> Reader<'_, N> {
        Reader { ring: self, next: 0, lost: 0 }
    }

    fn oldest(&self) -> u64 {
        // Acquire pairs with nothing in particular: indices only grow, a stale one is found out later.
        self.head.load(Ordering::Acquire).saturating_sub(N as u64)
    }

    /// The record with this index.
    fn read(&self, index: u64) -> Found {
        let slot = &self.slots[index as usize & (N - 1)];
        let complete = 2 * index + 2;
        // Acquire pairs with the last store of `record`.
        let before = slot.stamp.load(Ordering::Acquire);
        if before < complete {
            // Not begun, or being written; or a writer of an earlier round was interrupted for a whole
            // round and marked the slot late.
            return if self.oldest() > index { Found::Lost } else { Found::NotYet };
        }
        let words = core::array::from_fn(|word| slot.words[word].load(Ordering::Relaxed));
        // Pairs with the Release fence of `record`.
        fence(Ordering::Acquire);
        let after = slot.stamp.load(Ordering::Relaxed);
        if before != complete || after != complete || self.oldest() > index {
            return Found::Lost;
        }
        Found::Record(Record::from_words(words))
    }
}

#[cfg(not(loom))]
impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

enum Found {
    Record(Record),
    NotYet,
    Lost,
}

/// Reads a ring while it is written.
pub struct Reader<'a, const N: usize> {
    ring: &'a Ring<N>,
    next: u64,
    lost: u64,
}

impl<const N: usize> Reader<'_, N> {
    /// How many records were overwritten before this reader came to them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn skip_to(&mut self, index: u64) {
        self.lost += index.saturating_sub(self.next);
        self.next = self.next.max(index);
    }
}

impl<const N: usize> Iterator for Reader<'_, N> {
    type Item = Record;

    /// The next record that is complete and not overwritten; `None` when there is none yet. A bounded number of
    /// slots is looked at, so it ends however fast the writer is.
    fn next(&mut self) -> Option<Record> {
        for _ in 0..=N {
            // Relaxed: an index that is not begun yet is told by its stamp.
            if self.next >= self.ring.head.load(Ordering::Relaxed) {
                return None;
            }
            self.skip_to(self.ring.oldest());
            match self.ring.read(self.next) {
                Found::Record(record) => {
                    self.next += 1;
                    return Some(record);
                }
                Found::NotYet => return None,
                Found::Lost => self.skip_to(self.next + 1),
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(record: Record) -> u64 {
        let Some(Event::PollBegin { task }) = record.event() else { panic!("{record:?}") };
        task
    }

    #[test]
    fn every_event_survives_the_round_trip() {
        let events = [
            Event::Spawn { task: 1, parent: 2 },
            Event::Name { task: 1, part: 1, text: *b"sleeper\0" },
            Event::PollBegin { task: u64::MAX },
            Event::PollEnd { task: 5, finished: true },
            Event::Wake { task: 1, waker: 0 },
            Event::Switch { from: 1, to: 2 },
            Event::Trap { task: 9, cause: 8 },
            Event::Interrupt { cause: 1 << 63 | 5 },
            Event::Submit { request: 3, task: 4 },
            Event::Complete { request: 3, result: -22 },
        ];
        let ring = Ring::<16>::new();
        for (time, event) in events.into_iter().enumerate() {
            ring.record(3, time as u64, event);
        }
        let read: Vec<_> = ring.reader().collect();
        assert_eq!(read.iter().map(|r| r.event().unwrap()).collect::<Vec<_>>(), events);
        assert!(read.iter().enumerate().all(|(i, r)| r.time == i as u64 && r.hart == 3));
        assert_eq!(Record { kind: 99, ..read[0] }.event(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever the mix of writing and reading: records come in order, and what is not read is counted.
        #[test]
        fn nothing_vanishes_uncounted(bursts in prop::collection::vec((0..20u64, any::<bool>()), 0..30)) {
            let ring = Ring::<8>::new();
            let mut reader = ring.reader();
            let (mut written, mut read) = (0, 0);
            for (burst, reads) in bursts {
                for _ in 0..burst {
                    ring.record(0, 0, Event::PollBegin { task: written });
                    written += 1;
                }
                if reads {
                    for record in reader.by_ref() {
                        read += 1;
                        let expected = read - 1;
                        prop_assert!(number(record) >= expected);
                    }
                    prop_assert_eq!(read + reader.lost(), written);
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A reader beside a writer that laps it gets whole records in order, and counts the rest.
    #[test]
    fn no_torn_record_is_handed_out() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let ring = Arc::new(Ring::<2>::new());
            let writer = ring.clone();
            let write = |ring: &Ring<2>, n: u64| ring.record(0, n, Event::Switch { from: n, to: n });
            write(&ring, 0);
            let thread = thread::spawn(move || (1..3).for_each(|n| write(&writer, n)));
            let mut reader = ring.reader();
            let mut last = None;
            let mut read = 0;
            let mut take = |record: Record| {
                assert_eq!(record.event(), Some(Event::Switch { from: record.time, to: record.time }));
                assert!(last < Some(record.time), "out of order");
                last = Some(record.time);
                read += 1;
            };
            reader.by_ref().take(1).for_each(&mut take);
            thread.join().unwrap();
            reader.by_ref().for_each(&mut take);
            assert_eq!(read + reader.lost(), 3);
        });
    }
}
