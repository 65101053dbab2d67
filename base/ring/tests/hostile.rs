//! Against a reference: a program that keeps to the rules is served as by two queues without end; one that writes
//! anything anywhere gets nothing but its own entries, and costs nothing without bound.
#![cfg(not(loom))]

use abi::io_uring::{Cqe, IORING_SQ_CQ_OVERFLOW, IORING_SQ_NEED_WAKEUP, Sqe};
use proptest::prelude::*;
use ring::{Completions, Kernel, Layout, MOST_OUTSTANDING, Program, Reaper, Submissions, Submitter, Taken, Words, at};
use std::cell::RefCell;
use std::collections::VecDeque;
use sync::atomic::{AtomicU32, Ordering::Relaxed};

struct Memory {
    words: Vec<AtomicU32>,
    array: usize,
    entries: RefCell<Vec<Sqe>>,
    completions: RefCell<Vec<Cqe>>,
}

impl Memory {
    fn new(layout: &Layout) -> Self {
        let memory = Self {
            words: (0..layout.ring_bytes() / 4).map(|_| AtomicU32::new(0)).collect(),
            array: layout.array().unwrap_or(0) / 4,
            entries: RefCell::new(vec![Sqe::default(); layout.entries() as usize]),
            completions: RefCell::new(vec![Cqe::default(); layout.completions() as usize]),
        };
        layout.write(&memory);
        memory
    }
}

impl Words for Memory {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 4]
    }

    fn number(&self, place: u32) -> &AtomicU32 {
        &self.words[self.array + place as usize]
    }
}

impl Kernel for Memory {
    fn entry(&self, index: u32) -> Sqe {
        self.entries.borrow()[index as usize]
    }

    fn complete(&self, index: u32, completion: &Cqe) {
        self.completions.borrow_mut()[index as usize] = *completion;
    }
}

impl Program for Memory {
    fn put(&self, index: u32, entry: &Sqe) {
        self.entries.borrow_mut()[index as usize] = *entry;
    }

    fn completion(&self, index: u32) -> Cqe {
        self.completions.borrow()[index as usize]
    }
}

fn cqe(user_data: u64) -> Cqe {
    Cqe { user_data, res: user_data as i32, flags: 0 }
}

/// A step of either side.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Publish,
    Take(u32),
    Begin,
    /// Entries that are completed as they are taken, but for one with this number.
    Through(u32, u32),
    Post(usize),
    Flush(usize),
    Pop,
    Park,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        2 => Just(Step::Publish),
        2 => (0..9u32).prop_map(Step::Take),
        3 => Just(Step::Begin),
        2 => (0..9u32, 0..9u32).prop_map(|(most, wrong)| Step::Through(most, wrong)),
        3 => (1..4usize).prop_map(Step::Post),
        1 => (0..9usize).prop_map(Step::Flush),
        3 => Just(Step::Pop),
        1 => Just(Step::Park),
    ];
    prop::collection::vec(step, 0..200)
}

/// Both sides, and what two queues without end would hold.
struct Pair {
    memory: Memory,
    layout: Layout,
    kernel: (Submissions, Completions),
    program: (Submitter, Reaper),
    /// Added, of those published, in all and taken.
    added: u64,
    published: u64,
    taken: u64,
    begun: usize,
    posted: u64,
    found: VecDeque<u64>,
}

impl Pair {
    fn new(layout: Layout) -> Self {
        Self {
            memory: Memory::new(&layout),
            kernel: (Submissions::new(&layout), Completions::new(&layout)),
            program: (Submitter::new(&layout), Reaper::new(&layout)),
            layout,
            added: 0,
            published: 0,
            taken: 0,
            begun: 0,
            posted: 0,
            found: VecDeque::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let memory = &self.memory;
        match step {
            Step::Push => {
                let has_room = self.added - self.taken < u64::from(self.layout.entries());
                let entry = Sqe { user_data: self.added, ..Sqe::default() };
                assert_eq!(self.program.0.push(memory, &entry), has_room);
                self.added += u64::from(has_room);
            }
            Step::Publish => {
                let flagged = memory.word(at::SQ_FLAGS).load(Relaxed) & IORING_SQ_NEED_WAKEUP != 0;
                assert_eq!(self.program.0.publish(memory), flagged);
                self.published = self.added;
                self.kernel.0.unpark(memory);
            }
            Step::Take(most) => {
                assert_eq!(u64::from(self.kernel.0.ready(memory)), self.published - self.taken);
                for _ in 0..most.min(self.kernel.0.ready(memory)) {
                    let Taken::Entry(entry) = self.kernel.0.take(memory) else { panic!("dropped") };
                    assert_eq!(entry.user_data, self.taken);
                    self.taken += 1;
                }
                self.kernel.0.commit(memory);
            }
            Step::Begin => {
                assert_eq!(self.kernel.1.reserve(1, |_, _| true), 1);
                self.begun += 1;
            }
            Step::Through(most, wrong) => {
                let count = most.min(self.kernel.0.ready(memory));
                let room = self.kernel.1.room(memory);
                let next = |ahead| {
                    let entry = self.kernel.0.peek(memory, ahead).filter(|_| ahead != wrong)?;
                    assert_eq!(entry.user_data, self.taken + u64::from(ahead));
                    Some(cqe(self.posted + u64::from(ahead)))
                };
                let waiting = self.kernel.1.post_all(memory, count, next);
                assert_eq!(waiting.is_some(), wrong >= count && count <= room && !self.kernel.1.overflows());
                if let Some(waiting) = waiting {
                    assert_eq!(waiting, self.kernel.1.waiting(memory));
                    self.kernel.0.advance(count);
                    self.kernel.0.commit(memory);
                    self.taken += u64::from(count);
                    self.found.extend((self.posted..).take(count as usize));
                    self.posted += u64::from(count);
                }
                self.kernel.1.publish(memory);
            }
            Step::Post(most) => {
                let count = most.min(self.begun);
                let completions: Vec<Cqe> = (self.posted..).take(count).map(cqe).collect();
                let kept = self.kernel.1.post(memory, &completions);
                self.kernel.1.release(count - kept);
                self.kernel.1.publish(memory);
                self.begun -= count;
                self.found.extend(completions.iter().map(|cqe| cqe.user_data));
                self.posted += count as u64;
            }
            Step::Flush(most) => {
                let moved = self.kernel.1.flush(memory, most);
                assert!(!moved || most > 0);
                self.kernel.1.publish(memory);
            }
            Step::Pop => self.pop(),
            Step::Park => {
                assert_eq!(self.kernel.0.park(memory), self.published == self.taken);
            }
        }
        let kept = self.kernel.1.overflows();
        assert_eq!(self.program.1.asks_for_a_call(&self.memory), kept);
    }

    fn pop(&mut self) {
        match self.program.1.pop(&self.memory) {
            Some(completion) => assert_eq!(Some(completion), self.found.pop_front().map(cqe)),
            None => assert!(self.found.is_empty() || self.kernel.1.overflows()),
        }
    }
}

/// Memory whose head of completions is another at every look.
struct Flips<'a> {
    memory: &'a Memory,
    heads: RefCell<std::iter::Cycle<std::vec::IntoIter<u32>>>,
}

impl Words for Flips<'_> {
    fn word(&self, offset: usize) -> &AtomicU32 {
        if offset == at::CQ_HEAD {
            self.memory.word(offset).store(self.heads.borrow_mut().next().unwrap(), Relaxed);
        }
        self.memory.word(offset)
    }

    fn number(&self, place: u32) -> &AtomicU32 {
        self.memory.number(place)
    }
}

impl Kernel for Flips<'_> {
    fn entry(&self, index: u32) -> Sqe {
        self.memory.entry(index)
    }

    fn complete(&self, index: u32, completion: &Cqe) {
        self.memory.complete(index, completion);
    }
}

proptest! {
    #[test]
    fn a_head_that_flips_takes_no_place_from_who_has_one(
        completions in 1..5u32, heads in prop::collection::vec(any::<u8>(), 1..5), steps in prop::collection::vec(0..4u8, 0..200)
    ) {
        let layout = Layout::new(1, completions, true);
        let memory = Memory::new(&layout);
        let heads: Vec<u32> = heads.into_iter().map(|head| u32::from(head % 8).wrapping_sub(4)).collect();
        let flips = Flips { memory: &memory, heads: RefCell::new(heads.into_iter().cycle()) };
        let mut kernel = Completions::new(&layout);
        let mut begun = 0;
        for step in steps {
            let before = kernel.outstanding();
            match step {
                0 => begun += kernel.reserve(1, |_, _| true),
                1 if begun > 0 => {
                    let kept = kernel.post(&flips, &[cqe(1)]);
                    kernel.release(1 - kept);
                    begun -= 1;
                }
                2 => {
                    // One of several of a request: no place is its own.
                    let (tail, overflows) = (kernel.posted(), kernel.overflows());
                    let posted = kernel.post_if_room(&flips, &cqe(2));
                    prop_assert_eq!((kernel.outstanding(), kernel.overflows()), (before, overflows));
                    prop_assert_eq!(kernel.posted(), tail.wrapping_add(posted.into()));
                }
                _ => drop(kernel.flush(&flips, 2)),
            }
            prop_assert!(kernel.outstanding() >= begun, "each that runs has its place");
        }
    }

    #[test]
    fn who_keeps_to_the_rules_is_served_as_by_queues_without_end(
        entries in 1..9u32, completions in 1..9u32, has_array: bool, steps in steps()
    ) {
        let mut pair = Pair::new(Layout::new(entries, completions, has_array));
        steps.into_iter().for_each(|step| pair.step(step));
        // All that was posted can be had in the end.
        while !pair.found.is_empty() {
            pair.step(Step::Flush(3));
            pair.step(Step::Pop);
        }
        assert!(!pair.kernel.1.overflows() && pair.kernel.1.outstanding() == pair.begun);
    }

    #[test]
    fn nothing_that_is_written_does_more_than_make_a_ring_look_empty_or_full(
        entries in 1..9u32, completions in 1..9u32, has_array: bool,
        rounds in prop::collection::vec((prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..8), 0..4u32), 0..50)
    ) {
        let layout = Layout::new(entries, completions, has_array);
        let memory = Memory::new(&layout);
        let (mut submissions, mut kernel) = (Submissions::new(&layout), Completions::new(&layout));
        let mut dropped = 0;
        for (writes, posts) in rounds {
            for (place, value) in writes {
                memory.words[place.index(memory.words.len())].store(value, Relaxed);
            }
            let ready = submissions.ready(&memory);
            prop_assert!(ready <= layout.entries());
            for ahead in 0..ready {
                // An index out of range would panic in `Memory`.
                let _ = submissions.peek(&memory, ahead);
            }
            for _ in 0..ready {
                dropped += u32::from(submissions.take(&memory) == Taken::Dropped);
            }
            submissions.commit(&memory);
            let _ = submissions.park(&memory);
            for number in 0..posts {
                prop_assert_eq!(kernel.reserve(1, |_, _| true), 1);
                let fits = kernel.post_one(&memory, &cqe(u64::from(number)));
                kernel.release(usize::from(fits));
            }
            prop_assert!(kernel.room(&memory) <= layout.completions());
            prop_assert!(kernel.waiting(&memory) <= layout.completions());
            let before = kernel.outstanding();
            kernel.flush(&memory, 4);
            kernel.publish(&memory);
            prop_assert!(before - kernel.outstanding() <= 4);
        }
        if !has_array {
            prop_assert_eq!(dropped, 0);
        }
        // The kernel's own words are its own again as soon as it writes them.
        let head = memory.word(at::SQ_HEAD).load(Relaxed);
        memory.word(at::SQ_HEAD).store(!head, Relaxed);
        submissions.commit(&memory);
        prop_assert_eq!(memory.word(at::SQ_HEAD).load(Relaxed), head);
    }
}

#[test]
fn an_entry_that_has_no_place_is_counted_and_the_next_is_served() {
    let layout = Layout::new(4, 4, true);
    let memory = Memory::new(&layout);
    let (mut kernel, mut program) = (Submissions::new(&layout), Submitter::new(&layout));
    (0..2).for_each(|user_data| assert!(program.push(&memory, &Sqe { user_data, ..Sqe::default() })));
    let _ = program.publish(&memory);
    memory.word(layout.offsets().0.array as usize).store(4, Relaxed);
    assert_eq!((kernel.ready(&memory), kernel.take(&memory)), (2, Taken::Dropped));
    assert_eq!(memory.word(at::SQ_DROPPED).load(Relaxed), 1);
    assert!(matches!(kernel.take(&memory), Taken::Entry(entry) if entry.user_data == 1));
}

#[test]
fn a_head_that_cannot_be_is_a_full_ring_and_nothing_is_lost() {
    let layout = Layout::new(1, 2, true);
    let memory = Memory::new(&layout);
    let mut kernel = Completions::new(&layout);
    memory.word(at::CQ_HEAD).store(7, Relaxed);
    assert_eq!((kernel.room(&memory), kernel.waiting(&memory)), (0, 2));
    assert_eq!(kernel.reserve(1, |_, _| true), 1);
    assert_eq!(kernel.post(&memory, &[cqe(5)]), 1);
    assert!(kernel.overflows() && memory.word(at::SQ_FLAGS).load(Relaxed) == IORING_SQ_CQ_OVERFLOW);
    memory.word(at::CQ_HEAD).store(0, Relaxed);
    assert!(kernel.flush(&memory, 8));
    kernel.publish(&memory);
    assert_eq!(Reaper::new(&layout).pop(&memory), Some(cqe(5)));
}

#[test]
fn a_place_is_there_before_the_request_or_the_request_does_not_begin() {
    let layout = Layout::new(1, 2, true);
    let mut kernel = Completions::new(&layout);
    assert_eq!(kernel.reserve(3, |_, _| false), 0);
    assert_eq!((kernel.reserve(0, |_, _| false), kernel.owed().0), (0, 0));
    let mut taken = 0;
    assert_eq!(kernel.reserve(3, |bytes, _| core::mem::replace(&mut taken, bytes) == 0), 3);
    assert_eq!(kernel.owed().0, taken);
    // As many more as fit into what was taken; the next would take more.
    let fit = kernel.reserve(1000, |_, _| false);
    assert!(fit < 1000 && kernel.owed().0 == taken && kernel.reserve(1, |_, _| false) == 0);
    kernel.release(3 + fit);
    assert_eq!((kernel.reserve(usize::MAX, |_, _| true), kernel.outstanding()), (MOST_OUTSTANDING, MOST_OUTSTANDING));
    assert_eq!(kernel.reserve(1, |_, _| true), 0);
}

#[test]
fn what_is_deferred_is_shown_when_the_program_asks() {
    let layout = Layout::new(1, 4, true);
    let memory = Memory::new(&layout);
    let (mut kernel, mut program) = (Completions::new(&layout), Reaper::new(&layout));
    for (number, wants_flag) in [true, false].into_iter().enumerate() {
        let number = 2 * number as u64;
        assert!(kernel.post_if_room(&memory, &cqe(number)));
        kernel.defer(&memory, wants_flag);
        assert_eq!((program.pop(&memory), kernel.waiting(&memory)), (None, 1));
        assert_eq!(program.asks_for_a_call(&memory), wants_flag);
        assert!(kernel.show(&memory));
        assert_eq!((program.pop(&memory), program.asks_for_a_call(&memory)), (Some(cqe(number)), false));
        assert!(kernel.post_if_room(&memory, &cqe(number + 1)));
        assert!(!kernel.show(&memory), "nothing is deferred");
        assert_eq!(program.pop(&memory), None);
        kernel.publish(&memory);
        assert_eq!(program.pop(&memory), Some(cqe(number + 1)));
    }
}

#[test]
fn a_tail_is_reached_across_the_end_of_the_numbers() {
    let layout = Layout::new(1, 4, true);
    let memory = Memory::new(&layout);
    let mut kernel = Completions::new(&layout);
    let target = kernel.target(&memory, 2);
    for reached in [false, true, true] {
        assert_eq!(kernel.reserve(1, |_, _| true), 1);
        assert_eq!(kernel.post(&memory, &[cqe(0)]), 0);
        assert_eq!(kernel.reached(target), reached);
    }
    assert!(!kernel.reached(kernel.target(&memory, 99)), "of four at most");
}

#[test]
fn what_is_put_back_is_taken_again() {
    let layout = Layout::new(4, 8, true);
    let memory = Memory::new(&layout);
    let (mut submitter, mut submissions) = (Submitter::new(&layout), Submissions::new(&layout));
    let sqe = |user_data| Sqe { user_data, ..Sqe::default() };
    // Also where the indices pass the end of the ring.
    for round in 0..10 {
        for number in 0..4 {
            assert!(submitter.push(&memory, &sqe(4 * round + number)));
        }
        let _ = submitter.publish(&memory);
        let mut next = 4 * round;
        for back in [3, 1, 0] {
            let before = memory.word(at::SQ_HEAD).load(Relaxed);
            while next < 4 * round + 4 {
                assert_eq!(submissions.take(&memory), Taken::Entry(sqe(next)));
                next += 1;
            }
            submissions.put_back(back);
            next -= u64::from(back);
            assert_eq!(memory.word(at::SQ_HEAD).load(Relaxed), before);
        }
        submissions.commit(&memory);
        assert_eq!(submissions.ready(&memory), 0);
    }
}
