//! Random short programs on a ring against a reference of it: links, hard links, entries that say nothing, drains, cancellation by entry and by call, reads that wait.
//!
//! Behind each step the completions are, as a set, what the reference says; at the end their order is looked at: a chain's is that of its entries, and what drains comes behind all
//! that was submitted before it. A read has a pipe of its own, so it is certain which of them is served. There is one cancelling entry at a time: what several find of each
//! other depends on who is first.

use super::{
    Cpu, DATA,
    rings::{Mapped, NOT, cancel, nop, pipe, read},
};
use abi::{errno::Errno, io_uring::*, nr, time::Timespec};
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use proptest::{prelude::*, sample::Index, strategy::ValueTree, test_runner::TestRunner};
use zerocopy::IntoBytes;

const PROGRAMS: usize = 200;
const ECANCELED: i32 = -Errno::ECANCELED.number();
const BYTES: i32 = 4;

/// What an entry asks for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// It fails, or not.
    Nop(bool),
    Read,
    /// The end of the entry with this number.
    Cancel(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Submit(Vec<(Kind, u8)>),
    /// An entry that cancels another, alone; its flags.
    Cancel(Index, u8),
    /// A call does.
    CancelNow(Index),
    /// What a read waits for.
    Write(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![4 => Just(Kind::Nop(false)), 1 => Just(Kind::Nop(true)), 4 => Just(Kind::Read)];
    let link = prop_oneof![3 => Just(0), 3 => Just(IOSQE_IO_LINK), 2 => Just(IOSQE_IO_HARDLINK)];
    // A program that leaves completions out may not drain, so most do one of both.
    let special = prop_oneof![
        4 => Just([0, IOSQE_IO_DRAIN]),
        2 => Just([0, IOSQE_CQE_SKIP_SUCCESS]),
        1 => Just([IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_DRAIN])
    ];
    special.prop_flat_map(move |special| {
        let special = move || prop_oneof![3 => Just(0), 1 => Just(special[0]), 2 => Just(special[1])];
        let entry = (kind.clone(), link.clone(), special()).prop_map(|(kind, link, special)| (kind, link | special));
        let step = prop_oneof![
            4 => prop::collection::vec(entry, 1..6).prop_map(Step::Submit),
            1 => (any::<Index>(), special()).prop_map(|(target, flags)| Step::Cancel(target, flags)),
            1 => any::<Index>().prop_map(Step::CancelNow),
            3 => any::<Index>().prop_map(Step::Write),
        ];
        prop::collection::vec(step, 1..10)
    })
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    kind: Kind,
    flags: u8,
    error: Option<i32>,
}

impl Entry {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

type Chain = VecDeque<Entry>;

/// What a ring is to do, without one.
#[derive(Default)]
struct Reference {
    /// All entries so far: what they ask for.
    kinds: Vec<Kind>,
    /// Reads that may go on, by number.
    written: Vec<u64>,
    /// Reads that wait, each with what is linked behind it.
    waiting: BTreeMap<u64, (Entry, Chain)>,
    /// Chains that have not begun, and whether they wait for all before them.
    deferred: VecDeque<(Chain, bool)>,
    /// Entries that have begun, or are linked behind one that has, and have not ended.
    running: usize,
    skips: bool,
    drains_next: bool,
    /// Since the last look.
    completions: Vec<(u64, i32)>,
    /// Numbers of which the first is completed before the second, if they are.
    order: Vec<(u64, u64)>,
    cancels: usize,
}

impl Reference {
    fn submit(&mut self, batch: &[(Kind, u8)]) {
        let mut chain = Chain::new();
        for &(kind, flags) in batch {
            let mut entry = Entry { number: self.kinds.len() as u64, kind, flags, error: None };
            self.kinds.push(kind);
            self.skips |= entry.has(IOSQE_CQE_SKIP_SUCCESS);
            if entry.has(IOSQE_IO_DRAIN) && self.skips {
                entry.error = Some(-Errno::EOPNOTSUPP.number());
            }
            chain.push_back(entry);
            if !entry.has(IOSQE_IO_LINK | IOSQE_IO_HARDLINK) {
                self.begin(core::mem::take(&mut chain));
            }
        }
        self.begin(chain);
        self.settle();
    }

    /// A chain is complete.
    fn begin(&mut self, chain: Chain) {
        let numbers: Vec<u64> = chain.iter().map(|entry| entry.number).collect();
        let Some(first) = chain.front().copied() else { return };
        if chain.iter().any(|entry| entry.error.is_some()) {
            let told = if first.has(IOSQE_CQE_SKIP_SUCCESS) { 1 } else { chain.len() };
            let failed = chain.iter().take(told).map(|entry| (entry.number, entry.error.unwrap_or(ECANCELED)));
            return self.completions.extend(failed);
        }
        self.order.extend(numbers.windows(2).map(|pair| (pair[0], pair[1])));
        let later = chain.iter().skip(1).any(|entry| entry.has(IOSQE_IO_DRAIN));
        let drains = core::mem::replace(&mut self.drains_next, later) || first.has(IOSQE_IO_DRAIN) || later;
        if drains {
            self.order.extend((0..first.number).map(|earlier| (earlier, first.number)));
        }
        if !self.deferred.is_empty() || drains && self.running > 0 {
            self.deferred.push_back((chain, drains));
        } else {
            self.running += chain.len();
            self.run(chain);
        }
    }

    /// Those whose turn it is begin.
    fn settle(&mut self) {
        while self.deferred.front().is_some_and(|(_, drains)| !drains || self.running == 0) {
            if let Some((chain, _)) = self.deferred.pop_front() {
                self.running += chain.len();
                self.run(chain);
            }
        }
    }

    /// Up to what waits.
    fn run(&mut self, mut chain: Chain) {
        while let Some(entry) = chain.pop_front() {
            let result = match entry.kind {
                Kind::Nop(fails) => -i32::from(fails),
                Kind::Read if self.written.contains(&entry.number) => BYTES,
                Kind::Read => {
                    self.waiting.insert(entry.number, (entry, chain));
                    return;
                }
                Kind::Cancel(target) => {
                    self.cancels -= 1;
                    self.cancel(target)
                }
            };
            if !self.end(entry, result, &mut chain) {
                return;
            }
        }
    }

    /// Whether what is linked behind it begins.
    fn end(&mut self, entry: Entry, result: i32, chain: &mut Chain) -> bool {
        self.running -= 1;
        if result < 0 || !entry.has(IOSQE_CQE_SKIP_SUCCESS) {
            self.completions.push((entry.number, result));
        }
        if result >= 0 || entry.has(IOSQE_IO_HARDLINK) {
            return true;
        }
        self.running -= chain.len();
        if !entry.has(IOSQE_CQE_SKIP_SUCCESS) {
            self.completions.extend(chain.iter().map(|entry| (entry.number, ECANCELED)));
        }
        false
    }

    /// A read ends like this.
    fn end_read(&mut self, number: u64, result: i32) -> bool {
        let Some((entry, mut chain)) = self.waiting.remove(&number) else { return false };
        if self.end(entry, result, &mut chain) {
            self.run(chain);
        }
        true
    }

    /// What that answers. A chain that has not begun goes by the number of its first; what cancels is not cancelled.
    fn cancel(&mut self, target: u64) -> i32 {
        if self.end_read(target, ECANCELED) {
            return 0;
        }
        let of_target = |(chain, _): &(Chain, bool)| {
            chain.front().is_some_and(|first| first.number == target && !matches!(first.kind, Kind::Cancel(_)))
        };
        let Some(place) = self.deferred.iter().position(of_target) else { return -Errno::ENOENT.number() };
        for entry in self.deferred.remove(place).into_iter().flat_map(|(chain, _)| chain) {
            self.completions.push((entry.number, ECANCELED));
            // It is in no order any more.
            self.order.retain(|pair| pair.0 != entry.number && pair.1 != entry.number);
        }
        0
    }

    fn cancel_now(&mut self, target: u64) -> i32 {
        let answer = self.cancel(target);
        self.settle();
        answer
    }

    fn write(&mut self, number: u64) {
        self.written.push(number);
        self.end_read(number, BYTES);
        self.settle();
    }

    fn reads(&self) -> Vec<u64> {
        let is_read = |&number: &u64| matches!(self.kinds[number as usize], Kind::Read);
        (0..self.kinds.len() as u64).filter(is_read).collect()
    }
}

/// The ring, and what was done with it.
struct Real<'c> {
    cpu: &'c Cpu,
    ring: Mapped,
    /// Of each read: both ends.
    pipes: BTreeMap<u64, (usize, usize)>,
    reaped: Vec<(u64, i32)>,
    submitted: u64,
}

impl Real<'_> {
    async fn submit(&mut self, batch: &[(Kind, u8)]) {
        let mut entries = Vec::new();
        for &(kind, flags) in batch {
            let number = self.submitted;
            self.submitted += 1;
            let entry = match kind {
                Kind::Nop(fails) => nop(number, 0, -i32::from(fails)),
                Kind::Read => {
                    let ends = pipe(self.cpu).await;
                    self.pipes.insert(number, ends);
                    read(ends.0, DATA, BYTES as u32)
                }
                Kind::Cancel(target) => cancel(target, 0, 0),
            };
            entries.push(Sqe { user_data: number, flags, ..entry });
        }
        self.ring.put(self.cpu, &entries);
        assert_eq!(self.ring.enter(self.cpu, entries.len(), NOT).await, Ok(entries.len()));
    }

    async fn cancel_now(&self, target: u64) -> i32 {
        let timeout = Timespec { sec: -1, nsec: -1 };
        let (opcode, pad, pad2) = (0, [0; 7], [0; 3]);
        let argument = SyncCancel { addr: target, fd: -1, flags: 0, timeout, opcode, pad, pad2 };
        let at = self.cpu.store(DATA + 0x7100, argument.as_bytes());
        let args = [self.ring.fd(), IORING_REGISTER_SYNC_CANCEL as usize, at, 1];
        self.cpu
            .call(nr::IO_URING_REGISTER, args)
            .await
            .map_or_else(|errno| errno.to_return() as i32, |found| found as i32)
    }

    /// Everybody has gone on as far as that goes; then all completions.
    async fn reap(&mut self) -> Vec<(u64, i32)> {
        for _ in 0..YIELDS {
            self.cpu.good(nr::SCHED_YIELD, []).await;
        }
        let found = self.ring.reap(self.cpu);
        self.reaped.extend(&found);
        found
    }

    async fn close(self) {
        for (from, to) in self.pipes.into_values() {
            self.cpu.good(nr::CLOSE, [from]).await;
            self.cpu.good(nr::CLOSE, [to]).await;
        }
        self.ring.close(self.cpu).await;
    }
}

/// More than any step needs for what comes of it.
const YIELDS: usize = 64;

async fn check(cpu: &Cpu, program: &[Step]) {
    let mut reference = Reference::default();
    let ring = Mapped::new(cpu, 32, IORING_SETUP_SUBMIT_ALL).await;
    let mut real = Real { cpu, ring, pipes: BTreeMap::new(), reaped: Vec::new(), submitted: 0 };
    for step in program {
        let known = reference.kinds.len();
        match step {
            Step::Submit(batch) => {
                reference.submit(batch);
                real.submit(batch).await;
            }
            Step::Cancel(target, flags) if known > 0 && reference.cancels == 0 => {
                let batch = [(Kind::Cancel(target.index(known) as u64), *flags)];
                reference.cancels += 1;
                reference.submit(&batch);
                real.submit(&batch).await;
            }
            Step::CancelNow(target) if known > 0 => {
                let target = target.index(known) as u64;
                assert_eq!(real.cancel_now(target).await, reference.cancel_now(target), "{target} of {program:?}");
            }
            Step::Write(target) => {
                let left: Vec<u64> =
                    reference.reads().into_iter().filter(|read| !reference.written.contains(read)).collect();
                if !left.is_empty() {
                    let number = left[target.index(left.len())];
                    reference.write(number);
                    cpu.good(nr::WRITE, [real.pipes[&number].1, DATA, BYTES as usize]).await;
                }
            }
            _ => {}
        }
        compare(&mut reference, &mut real, program, step).await;
    }
    // All that is left ends.
    while let Some(&number) = reference.waiting.keys().next() {
        assert_eq!(real.cancel_now(number).await, reference.cancel_now(number), "{number} of {program:?}");
        compare(&mut reference, &mut real, program, &"the end").await;
    }
    assert!(reference.deferred.is_empty() && reference.running == 0, "{program:?}");
    let place = |number| real.reaped.iter().position(|done| done.0 == number);
    for &(first, second) in &reference.order {
        if let (Some(first), Some(second)) = (place(first), place(second)) {
            assert!(first < second, "{first} behind {second} in {:?} of {program:?}", real.reaped);
        }
    }
    real.close().await;
}

async fn compare(
    reference: &mut Reference,
    real: &mut Real<'_>,
    program: &[Step],
    step: &(impl core::fmt::Debug + ?Sized),
) {
    let (mut expected, mut found) = (core::mem::take(&mut reference.completions), real.reap().await);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "behind {step:?} of {program:?}");
}

pub(super) async fn programs(cpu: &Cpu) {
    let (mut runner, steps) = (TestRunner::default(), steps());
    for _ in 0..PROGRAMS {
        let program = steps.new_tree(&mut runner).unwrap().current();
        check(cpu, &program).await;
    }
}
