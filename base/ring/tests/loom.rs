//! Every interleaving of a program and the kernel on one ring, explored by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ring --release --test loom
//! ```
//!
//! The contents of entries and completions are relaxed atomics here, which order nothing: a side that reads one too
//! early gets a wrong value. One that writes what the other may still read would not, as loom lets no load see
//! what comes later; so each has a cell as well, in which loom notices accesses that nothing orders.
#![cfg(loom)]

use abi::io_uring::{Cqe, Sqe};
use core::task::{Context, Poll, Waker};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use loom::sync::{Arc, Notify};
use loom::thread;
use ring::{
    Completions, Kernel, Layout, Outcome, Polled, Program, Reaper, RequestState, Submissions, Submitter, Taken, Words,
    at,
};

/// An entry or a completion.
#[derive(Default)]
struct Place {
    value: AtomicU64,
    access: UnsafeCell<()>,
}

impl Place {
    fn load(&self) -> u64 {
        self.access.with(|_| self.value.load(Relaxed))
    }

    fn store(&self, value: u64) {
        self.access.with_mut(|_| self.value.store(value, Relaxed));
    }
}

/// Shared memory of a ring of two entries and two completions.
struct Memory {
    words: Vec<AtomicU32>,
    array: [AtomicU32; 2],
    entries: [Place; 2],
    completions: [Place; 2],
}

fn layout() -> Layout {
    Layout::new(2, 2, true)
}

impl Memory {
    fn new() -> Arc<Self> {
        let words = (0..at::CQES / 4).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            words,
            array: Default::default(),
            entries: Default::default(),
            completions: Default::default(),
        })
    }
}

impl Words for Memory {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 4]
    }

    fn number(&self, place: u32) -> &AtomicU32 {
        &self.array[place as usize]
    }
}

impl Kernel for Memory {
    fn entry(&self, index: u32) -> Sqe {
        Sqe { user_data: self.entries[index as usize].load(), ..Sqe::default() }
    }

    fn complete(&self, index: u32, completion: &Cqe) {
        self.completions[index as usize].store(completion.user_data);
    }
}

impl Program for Memory {
    fn put(&self, index: u32, entry: &Sqe) {
        self.entries[index as usize].store(entry.user_data);
    }

    fn completion(&self, index: u32) -> Cqe {
        cqe(self.completions[index as usize].load())
    }
}

fn sqe(user_data: u64) -> Sqe {
    Sqe { user_data, ..Sqe::default() }
}

fn cqe(user_data: u64) -> Cqe {
    Cqe { user_data, ..Cqe::default() }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

fn take_all(kernel: &mut Submissions, memory: &Memory, taken: &mut Vec<u64>) {
    for _ in 0..kernel.ready(memory) {
        match kernel.take(memory) {
            Taken::Entry(entry) => taken.push(entry.user_data),
            Taken::Dropped => panic!("the array names every entry"),
        }
    }
    kernel.commit(memory);
}

/// More entries than places: the kernel gets each once, in order and whole, while the program uses the places again.
#[test]
fn entries_arrive_whole_and_in_order() {
    model(|| {
        let memory = Memory::new();
        let program = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let mut program = Submitter::new(&layout());
                (1..=4)
                    .take_while(|&number| {
                        let added = program.push(&*memory, &sqe(number));
                        let _ = program.publish(&*memory);
                        added
                    })
                    .count() as u64
            })
        };
        let (mut kernel, mut taken) = (Submissions::new(&layout()), Vec::new());
        take_all(&mut kernel, &memory, &mut taken);
        take_all(&mut kernel, &memory, &mut taken);
        let added = program.join().unwrap();
        take_all(&mut kernel, &memory, &mut taken);
        assert!(added >= 2 && taken.iter().copied().eq(1..=added), "{taken:?} of {added}");
    });
}

/// A server parks while the program submits: it has seen the entry, or the program sees that it has to call.
#[test]
fn no_entry_is_left_with_a_parked_server() {
    model(|| {
        let memory = Memory::new();
        let program = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let mut program = Submitter::new(&layout());
                assert!(program.push(&*memory, &sqe(1)));
                program.publish(&*memory)
            })
        };
        let kernel = Submissions::new(&layout());
        let parked = kernel.park(&*memory);
        let calls = program.join().unwrap();
        assert!(!parked || calls, "parked beside an entry");
        if !parked {
            let mut again = Submitter::new(&layout());
            assert!(again.push(&*memory, &sqe(2)) && !again.publish(&*memory), "the flag of one who went on stays");
        }
    });
}

/// A server that parks after each look, and a program that calls when it is told to: all entries are taken.
#[test]
fn a_server_that_is_called_takes_all() {
    model(|| {
        let (memory, call) = (Memory::new(), Arc::new(Notify::new()));
        let program = {
            let (memory, call) = (Arc::clone(&memory), Arc::clone(&call));
            thread::spawn(move || {
                let mut program = Submitter::new(&layout());
                for number in 1..=2 {
                    assert!(program.push(&*memory, &sqe(number)));
                    if program.publish(&*memory) {
                        call.notify();
                    }
                }
            })
        };
        let (mut kernel, mut taken) = (Submissions::new(&layout()), Vec::new());
        while taken.len() < 2 {
            if kernel.park(&*memory) {
                // Loom says so if nobody calls.
                call.wait();
                kernel.unpark(&*memory);
            }
            take_all(&mut kernel, &memory, &mut taken);
        }
        program.join().unwrap();
        assert_eq!(taken, [1, 2]);
        kernel.leave(&*memory);
        let mut late = Submitter::new(&layout());
        assert!(late.push(&*memory, &sqe(3)) && late.publish(&*memory), "who submits to nobody is told");
    });
}

/// More completions than places: the program gets each once, in order and whole; those that did not fit come with a flush.
#[test]
fn completions_arrive_whole_and_in_order() {
    model(|| {
        let memory = Memory::new();
        let mut kernel = Completions::new(&layout());
        let program = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let mut program = Reaper::new(&layout());
                let found: Vec<u64> = (0..2).filter_map(|_| program.pop(&*memory)).map(|cqe| cqe.user_data).collect();
                (program, found)
            })
        };
        for number in 1..=4 {
            assert_eq!(kernel.reserve(1, |_, _| true), 1);
            let _ = kernel.post(&*memory, &[cqe(number)]);
            kernel.publish(&*memory);
        }
        let (mut program, mut found) = program.join().unwrap();
        while let Some(cqe) = program.pop(&*memory) {
            found.push(cqe.user_data);
        }
        let overflows = kernel.overflows();
        assert!(found.len() == 4 || overflows && program.asks_for_a_call(&*memory), "{found:?}");
        while kernel.flush(&*memory, 1) {
            kernel.publish(&*memory);
            found.extend(program.pop(&*memory).map(|cqe| cqe.user_data));
        }
        assert_eq!(found, [1, 2, 3, 4]);
        assert!(!program.asks_for_a_call(&*memory));
    });
}

/// How a request waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// For a byte; where it waits it may be ended.
    Transfer,
    /// For a sign of that, which it does not take.
    Readiness,
    /// For a byte, whoever says that it is to end.
    Deaf,
}

const DONE: u64 = 1;
const CANCELLED: u64 = 2;

/// A request, the byte that it waits for, and its completion.
struct Waiting {
    kind: Kind,
    state: RequestState,
    byte: AtomicU32,
    due: AtomicU32,
    completion: Place,
    /// Who serves is called.
    call: Notify,
    /// Who cancels is told.
    told: Notify,
}

impl Waiting {
    fn new(kind: Kind) -> Arc<Self> {
        let (byte, due) = (AtomicU32::new(0), AtomicU32::new(0));
        let (call, told) = (Notify::new(), Notify::new());
        Arc::new(Self { kind, state: RequestState::default(), byte, due, completion: Place::default(), call, told })
    }

    /// What it does in a poll: `false` where a signal would end it.
    fn run(&self) -> Poll<bool> {
        let is_there = self.byte.load(Acquire) > 0;
        if is_there && self.kind != Kind::Readiness {
            // Nobody else takes it.
            self.byte.store(0, Relaxed);
        }
        match is_there {
            true => Poll::Ready(true),
            false if self.kind == Kind::Transfer && self.state.is_cancelled() => Poll::Ready(false),
            false => Poll::Pending,
        }
    }

    fn end(&self, result: u64, outcome: Outcome) {
        self.state.decide();
        self.completion.store(result);
        if self.state.tell(outcome) {
            self.told.notify();
        }
        assert!(!self.state.tell(Outcome::Completed), "an end is told once");
    }

    /// Who serves it, to its end.
    fn serve(&self) {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let (run, is_over) = (|_: &mut Context<'_>| self.run(), |_: &mut Context<'_>| self.due.load(Acquire) > 0);
            match self.state.poll(&mut context, self.kind == Kind::Readiness, run, is_over) {
                Polled::Done(true) => return self.end(DONE, Outcome::Completed),
                Polled::Done(false) | Polled::Cancelled => return self.end(CANCELLED, Outcome::Cancelled),
                Polled::GoesOn => {
                    if self.state.tell(Outcome::GoesOn) {
                        self.told.notify();
                    }
                    self.call.wait();
                }
                Polled::Pending => self.call.wait(),
            }
        }
    }

    fn write(&self) {
        self.byte.store(1, Release);
        self.call.notify();
    }

    /// Its answer is what happened.
    fn cancel(&self) {
        if !self.state.runs() {
            return;
        }
        self.state.cancel();
        self.call.notify();
        loop {
            match self.state.outcome() {
                Outcome::Runs => self.told.wait(),
                Outcome::GoesOn => return assert!(self.kind == Kind::Deaf),
                Outcome::Completed => return assert_eq!(self.completion.load(), DONE),
                Outcome::Cancelled => return assert_eq!(self.completion.load(), CANCELLED),
            }
        }
    }
}

/// A byte comes, somebody cancels: the completion says what happened, who cancels has its answer, and no byte is lost.
fn completes_against(kind: Kind, other: fn(&Waiting)) {
    model(move || {
        let waiting = Waiting::new(kind);
        let threads = [Waiting::write, other].map(|act| {
            let waiting = Arc::clone(&waiting);
            thread::spawn(move || act(&waiting))
        });
        waiting.serve();
        for thread in threads {
            thread.join().unwrap();
        }
        let is_taken = waiting.byte.load(Relaxed) == 0;
        let result = waiting.completion.load();
        assert!(kind == Kind::Readiness || is_taken == (result == DONE), "a byte is lost, or came from nowhere");
        assert!(!waiting.state.runs());
    });
}

#[test]
fn a_transfer_that_is_cancelled_loses_nothing() {
    completes_against(Kind::Transfer, Waiting::cancel);
}

#[test]
fn what_is_dropped_has_an_answer() {
    completes_against(Kind::Readiness, Waiting::cancel);
}

#[test]
fn who_cancels_what_goes_on_is_told() {
    completes_against(Kind::Deaf, Waiting::cancel);
}

#[test]
fn a_limit_cancels() {
    completes_against(Kind::Transfer, |waiting| {
        waiting.due.store(1, Release);
        waiting.call.notify();
    });
}

#[test]
fn who_sees_the_cancellation_sees_that_nobody_wants_it() {
    model(|| {
        let state = Arc::new(RequestState::default());
        let process = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.abandon())
        };
        assert!(!state.is_cancelled() || state.is_abandoned());
        process.join().unwrap();
    });
}
