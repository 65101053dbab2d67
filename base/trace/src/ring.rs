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

use crate::event::{Record, Words};

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
    pub fn record(&self, hart: u8, time: u64, event: Words) {
        // Relaxed: writers are on one hart, so program order orders them.
        let index = self.head.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[index as usize & (N - 1)];
        slot.stamp.store(2 * index + 1, Ordering::Relaxed);
        // Pairs with the Acquire fence in `read`: who sees a word stored below sees this stamp (or a later
        // one) at its second look.
        fence(Ordering::Release);
        let words = [time, event.head | u64::from(hart) << 8, event.a, event.b];
        for (cell, word) in slot.words.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        // Pairs with the Acquire load in `read`: who sees the stamp sees the words.
        slot.stamp.store(2 * index + 2, Ordering::Release);
    }

    /// A reader from the beginning: what is overwritten already counts as lost.
    #[must_use]
    pub fn reader(&self) -> Reader<'_, N> {
        Reader { ring: self, next: 0, end: u64::MAX, lost: 0 }
    }

    /// A reader of what is in the ring now: it starts at the oldest record that is left and ends before the next
    /// that is begun, however long it takes. What is overwritten meanwhile counts as lost.
    #[must_use]
    pub fn snapshot(&self) -> Reader<'_, N> {
        // Acquire: as in `oldest`, which must not be younger than this.
        let end = self.head.load(Ordering::Acquire);
        let start = end.saturating_sub(N as u64);
        Reader { ring: self, next: start, end, lost: start }
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
    /// The index that it does not come to.
    end: u64,
    lost: u64,
}

impl<const N: usize> Reader<'_, N> {
    /// How many records were overwritten before this reader came to them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn skip_to(&mut self, index: u64) {
        let index = index.min(self.end);
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
            self.skip_to(self.ring.oldest());
            // Relaxed: an index that is not begun yet is told by its stamp.
            if self.next >= self.ring.head.load(Ordering::Relaxed).min(self.end) {
                return None;
            }
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
    use crate::event::{Event, Interrupted, Place, Source, Work};
    use proptest::prelude::*;

    fn number(record: Record) -> u64 {
        let Some(Event::PollBegin { task }) = record.event() else { panic!("{record:?}") };
        task
    }

    const EVENTS: [(Event, &str); 24] = [
        (Event::Spawn { task: 1, parent: 2 }, "spawn task=1 parent=2"),
        (Event::Name { task: 1, part: 1, text: *b"sleep\nr\0" }, "name task=1 part=1 text=sleep\\nr"),
        (Event::PollBegin { task: u64::MAX }, "poll-begin task=18446744073709551615"),
        (Event::PollEnd { task: 5, finished: true }, "poll-end task=5 finished=1"),
        (Event::Wake { task: 1, waker: 0 }, "wake task=1 by=0"),
        (Event::Switch { from: 1, to: 2 }, "switch from=1 to=2"),
        (Event::Trap { task: 9, cause: 8, user: true }, "trap task=9 mode=user exception=8"),
        (Event::Trap { task: 0, cause: 1 << 63 | 5, user: false }, "trap task=0 mode=kernel interrupt=5"),
        (Event::Interrupt { source: Source::Hart }, "interrupt from=hart"),
        (Event::Interrupt { source: Source::Timer }, "interrupt from=timer"),
        (Event::Interrupt { source: Source::Line(u32::MAX) }, "interrupt from=line line=4294967295"),
        (Event::Submit { request: 3, task: 4, work: Work::Call(63) }, "submit request=3 task=4 call=63"),
        (Event::Submit { request: 4, task: 4, work: Work::Fault(1) }, "submit request=4 task=4 fault=1"),
        (Event::Submit { request: 5, task: 4, work: Work::Device(2) }, "submit request=5 task=4 device=2"),
        (Event::Submit { request: 6, task: 4, work: Work::Entry(22) }, "submit request=6 task=4 entry=22"),
        (Event::Complete { request: 3, result: -22 }, "complete request=3 result=-22"),
        (
            Event::UserInterrupt { task: 6, what: Interrupted::Placed(Place { hart: 255, file: 7 }) },
            "uintr task=6 placed=255.7",
        ),
        (
            Event::UserInterrupt { task: 6, what: Interrupted::Displaced(Place { hart: 1, file: 255 }) },
            "uintr task=6 displaced=1.255",
        ),
        (Event::UserInterrupt { task: 6, what: Interrupted::Rung(63) }, "uintr task=6 rung=63"),
        (Event::UserInterrupt { task: 6, what: Interrupted::Arrived }, "uintr task=6 told=place"),
        (Event::UserInterrupt { task: 6, what: Interrupted::Told }, "uintr task=6 told=all"),
        (Event::UserInterrupt { task: 6, what: Interrupted::Due }, "uintr task=6 told=timer"),
        (Event::UserInterrupt { task: 6, what: Interrupted::Revoked(1) }, "uintr task=6 revoked=1"),
        (Event::UserInterrupt { task: 6, what: Interrupted::Ended(2) }, "uintr task=6 ended=2"),
    ];

    #[test]
    fn every_event_survives_the_round_trip() {
        let ring = Ring::<32>::new();
        for (time, (event, _)) in EVENTS.into_iter().enumerate() {
            ring.record(3, time as u64, event.words());
        }
        let read: Vec<_> = ring.reader().collect();
        assert_eq!(read.iter().map(|r| r.event().unwrap()).collect::<Vec<_>>(), EVENTS.map(|(event, _)| event));
        assert!(read.iter().enumerate().all(|(i, r)| r.time == i as u64 && r.hart == 3));
        assert_eq!(Record { kind: 99, ..read[0] }.event(), None);
    }

    #[test]
    fn a_record_is_a_line() {
        let ring = Ring::<16>::new();
        for (event, text) in EVENTS {
            ring.record(7, 12_000_000_034, event.words());
            let record = ring.reader().last().unwrap();
            assert_eq!(record.to_string(), format!("12.000000034 7 {text}"));
            assert_eq!(Record { kind: 99, ..record }.to_string(), "12.000000034 7 unknown kind=99");
        }
    }

    #[test]
    fn a_snapshot_ends_where_it_was_taken() {
        let ring = Ring::<4>::new();
        let write = |task| ring.record(0, 0, Event::PollBegin { task }.words());
        (0..6).for_each(write);
        let mut snapshot = ring.snapshot();
        assert_eq!(snapshot.lost(), 2);
        assert_eq!(snapshot.next().map(number), Some(2));
        // 3 is overwritten, and 6 and 7 are younger than the snapshot.
        (6..8).for_each(write);
        assert_eq!(snapshot.by_ref().map(number).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(snapshot.lost(), 3);
        (8..100).for_each(write);
        assert_eq!((snapshot.next(), snapshot.lost()), (None, 3));
        let mut late = ring.snapshot();
        (100..200).for_each(write);
        // All four went, and no more than those count.
        assert_eq!((late.next(), late.lost()), (None, 100));
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
                    ring.record(0, 0, Event::PollBegin { task: written }.words());
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
    use crate::event::Event;
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
            let write = |ring: &Ring<2>, n: u64| ring.record(0, n, Event::Switch { from: n, to: n }.words());
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

    /// A snapshot beside a writer that laps it ends where it was taken, and accounts for all up to there.
    #[test]
    fn a_snapshot_is_whole_and_ends() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let ring = Arc::new(Ring::<2>::new());
            let writer = ring.clone();
            let write = |ring: &Ring<2>, n: u64| ring.record(0, n, Event::Switch { from: n, to: n }.words());
            (0..2).for_each(|n| write(&ring, n));
            let thread = thread::spawn(move || (2..4).for_each(|n| write(&writer, n)));
            let mut snapshot = ring.snapshot();
            let end = snapshot.end;
            let early = snapshot.by_ref().take(1).map(|record| record.time).collect::<Vec<_>>();
            thread.join().unwrap();
            let late = snapshot.by_ref().map(|record| record.time).collect::<Vec<_>>();
            assert!(early.iter().chain(&late).is_sorted(), "{early:?} {late:?}");
            assert!(early.iter().chain(&late).all(|n| *n < end));
            assert_eq!((early.len() + late.len()) as u64 + snapshot.lost(), end);
        });
    }
}
