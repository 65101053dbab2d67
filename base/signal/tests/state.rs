//! What is pending, masked and done, and what hostile words do to it.
#![cfg(not(loom))]

use signal::area::{self, Area, Full, PLACES, at};
use signal::bit;
use signal::state::{Action, Areas, Flags, Info, Invalid, Next, State};
use std::rc::Rc;
use sync::atomic::{AtomicU64, Ordering::Relaxed};

const USR1: u32 = 10;
const USR2: u32 = 12;
const TERM: u32 = 15;
const CONT: u32 = 18;
const TSTP: u32 = 20;
const RT: u32 = 32;

#[derive(Clone)]
struct Words(Rc<Vec<AtomicU64>>);

impl Area for Words {
    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0[index]
    }
}

struct Memory([Words; 3], std::cell::Cell<u64>);

impl Memory {
    fn new() -> Self {
        Self(
            [(); 3].map(|()| Words(Rc::new((0..at::WORDS).map(|_| AtomicU64::new(0)).collect()))),
            std::cell::Cell::new(u64::MAX),
        )
    }

    fn send(&self, area: usize, signal: u32, value: u64) {
        area::send(&self.0[area], signal, value).unwrap();
    }
}

impl Areas for Memory {
    type Area = Words;
    fn area(&self, number: usize) -> Words {
        self.0[number].clone()
    }
    fn may_signal(&self, number: usize) -> bool {
        self.1.get() & 1 << number != 0
    }
}

/// A receiver of two others that handles all signals, each with its number.
fn receiving(flags: Flags) -> (Memory, State<u32>) {
    let (memory, mut state) = (Memory::new(), State::new());
    state.set_used(0b111);
    state.set_tag(1, 100);
    state.set_tag(2, 200);
    for signal in [USR1, USR2, TERM, RT, RT + 1, 64] {
        state.set_action(&memory, signal, Action::Handle(signal, 0, flags)).unwrap();
    }
    (memory, state)
}

/// Runs what is pending, each handler to its end; what came.
fn run(memory: &Memory, state: &mut State<u32>) -> Vec<Info> {
    let mut infos = Vec::new();
    state.collect(memory);
    while let Some((info, next)) = state.next(memory) {
        let Next::Run(handler, _, mask) = next else { panic!("{next:?}") };
        assert_eq!(handler, info.signal);
        state.set_mask(mask);
        infos.push(info);
    }
    infos
}

fn values(infos: &[Info]) -> Vec<(u32, u64)> {
    infos.iter().map(|info| (info.signal, info.value)).collect()
}

#[test]
fn the_lowest_comes_first_and_each_number_in_order() {
    let (memory, mut state) = receiving(Flags::default());
    for (signal, value) in [(64, 1), (RT + 1, 2), (RT, 3), (RT + 1, 4), (USR2, 5), (RT, 6), (USR1, 7)] {
        memory.send(1, signal, value);
    }
    let expected = [(USR1, 7), (USR2, 5), (RT, 3), (RT, 6), (RT + 1, 2), (RT + 1, 4), (64, 1)];
    assert_eq!(values(&run(&memory, &mut state)), expected);
}

#[test]
fn those_that_do_not_queue_become_one() {
    let (memory, mut state) = receiving(Flags::default());
    memory.send(1, USR1, 1);
    state.collect(&memory);
    memory.send(1, USR1, 2);
    memory.send(2, USR1, 3);
    // What is pending keeps what came with it.
    assert_eq!(run(&memory, &mut state), [Info { signal: USR1, value: 1, tag: 100 }]);
    memory.send(2, USR1, 4);
    assert_eq!(run(&memory, &mut state), [Info { signal: USR1, value: 4, tag: 200 }]);
}

#[test]
fn a_queue_that_is_full_is_told_to_its_sender_alone() {
    let (memory, mut state) = receiving(Flags::default());
    (0..PLACES as u64).for_each(|value| memory.send(1, RT, value));
    assert_eq!(area::send(&memory.0[1], RT, 0), Err(Full));
    assert_eq!(area::send(&memory.0[1], USR1, 0), Ok(()));
    memory.send(2, RT, 1000);
    let infos = run(&memory, &mut state);
    assert_eq!(infos.len(), PLACES + 2);
    // Not behind all of the other's.
    assert!(infos.iter().position(|info| info.tag == 200).is_some_and(|at| at <= 2));
    let of_one: Vec<u64> = infos.iter().filter(|info| info.tag == 100 && info.signal == RT).map(|i| i.value).collect();
    assert_eq!(of_one, (0..PLACES as u64).collect::<Vec<_>>());
    memory.send(1, RT, 5);
    assert_eq!(run(&memory, &mut state).len(), 1);
}

#[test]
fn what_is_masked_waits() {
    let (memory, mut state) = receiving(Flags::default());
    assert_eq!(state.set_mask(bit(USR1) | bit(RT) | bit(9)), 0);
    assert_eq!(state.mask(), bit(USR1) | bit(RT));
    for signal in [USR1, USR2, RT] {
        memory.send(1, signal, 1);
    }
    assert_eq!(values(&run(&memory, &mut state)), [(USR2, 1)]);
    assert!(!state.is_wanted());
    assert_eq!(state.pending(), bit(USR1) | bit(RT));
    state.set_mask(0);
    assert_eq!(values(&run(&memory, &mut state)), [(USR1, 1), (RT, 1)]);
    assert_eq!(state.pending(), 0);
}

#[test]
fn a_handler_masks_its_signal_and_more() {
    for (flags, itself) in [(Flags::default(), bit(USR1)), (Flags::NODEFER, 0)] {
        let (memory, mut state) = receiving(flags);
        state.set_action(&memory, USR1, Action::Handle(USR1, bit(USR2), flags)).unwrap();
        state.set_mask(bit(TERM));
        memory.send(1, USR1, 1);
        state.collect(&memory);
        let (_, next) = state.next(&memory).unwrap();
        assert_eq!(next, Next::Run(USR1, flags, bit(TERM)));
        assert_eq!(state.mask(), bit(TERM) | bit(USR2) | itself);
    }
}

#[test]
fn one_that_resets_runs_once() {
    let (memory, mut state) = receiving(Flags::RESETHAND);
    memory.send(0, USR1, 1);
    assert_eq!(run(&memory, &mut state).len(), 1);
    memory.send(0, USR1, 1);
    state.collect(&memory);
    assert_eq!(state.next(&memory), Some((Info { signal: USR1, value: 1, tag: 0 }, Next::End)));
}

#[test]
fn usual_actions() {
    let (memory, mut state) = (Memory::new(), State::<u32>::new());
    for signal in [17, CONT, 23, 28] {
        memory.send(0, signal, 0);
    }
    state.collect(&memory);
    assert_eq!(state.next(&memory), None);
    for (signal, next) in [(TSTP, Next::Stop), (19, Next::Stop), (TERM, Next::End), (9, Next::End), (64, Next::End)] {
        memory.send(0, signal, 0);
        state.collect(&memory);
        assert_eq!(state.next(&memory).map(|(_, next)| next), Some(next), "{signal}");
    }
    for signal in [0, 9, 19, 65, u32::MAX] {
        assert_eq!(state.set_action(&memory, signal, Action::Ignore), Err(Invalid), "{signal}");
    }
}

#[test]
fn what_is_ignored_is_not_pending() {
    let (memory, mut state) = receiving(Flags::default());
    state.set_mask(u64::MAX);
    for value in 0..3 {
        memory.send(1, RT, value);
        memory.send(1, USR1, value);
    }
    memory.send(1, RT + 1, 7);
    for signal in [RT, USR1] {
        state.set_action(&memory, signal, Action::Ignore).unwrap();
        state.set_action(&memory, signal, Action::Handle(signal, 0, Flags::default())).unwrap();
    }
    state.set_mask(0);
    assert_eq!(values(&run(&memory, &mut state)), [(RT + 1, 7)]);
}

#[test]
fn stopping_and_continuing_cancel_each_other() {
    let (memory, mut state) = receiving(Flags::default());
    state.set_mask(bit(TSTP) | bit(CONT));
    for (signal, pending) in [(TSTP, TSTP), (CONT, CONT), (TSTP, TSTP)] {
        memory.send(1, signal, 0);
        state.collect(&memory);
        assert_eq!(state.pending(), bit(pending));
    }
}

#[test]
fn a_child_inherits_what_is_done_and_nothing_pending() {
    let (memory, mut state) = receiving(Flags::default());
    state.set_mask(bit(USR1));
    memory.send(1, USR1, 1);
    state.collect(&memory);
    let (memory, mut child) = (Memory::new(), state.inherited());
    assert_eq!((child.mask(), child.pending()), (bit(USR1), 0));
    memory.send(0, USR2, 1);
    assert_eq!(values(&run(&memory, &mut child)), [(USR2, 1)]);
}

#[test]
fn who_ends_in_the_middle_holds_nobody_up() {
    let (memory, mut state) = receiving(Flags::default());
    // It has taken a place, and a stamp.
    memory.0[1].word(at::CLAIMED).store(1, Relaxed);
    memory.0[1].word(at::STAMP).store(1, Relaxed);
    (1..PLACES as u64).for_each(|value| memory.send(1, RT, value));
    assert_eq!(area::send(&memory.0[1], RT, 0), Err(Full));
    assert_eq!(run(&memory, &mut state).len(), PLACES - 1);
}

#[test]
fn any_value_anywhere_is_a_bounded_number_of_signals_of_that_right() {
    for value in (0..64).map(|shift| 1 << shift).chain([0, u64::MAX, u64::MAX - 1, 31, 32, 63, 64, 65]) {
        let (memory, mut state) = receiving(Flags::default());
        (1..=64).for_each(|signal| {
            let _ = state.set_action(&memory, signal, Action::Handle(signal, 0, Flags::default()));
        });
        memory.0[1].0.iter().for_each(|word| word.store(value, Relaxed));
        memory.send(2, RT, 1);
        state.collect(&memory);
        let mut of_others = 0;
        for round in 0.. {
            let Some((info, next)) = state.next(&memory) else { break };
            assert!((1..=64).contains(&info.signal) && round <= 64 + PLACES);
            if let Next::Run(_, _, mask) = next {
                state.set_mask(mask);
            }
            of_others += usize::from(info.tag == 200);
        }
        assert_eq!(of_others, 1);
        let _ = area::send(&memory.0[1], RT, 1);
    }
}

#[test]
fn an_area_that_is_anothers_is_not_looked_at() {
    let (memory, mut state) = receiving(Flags::default());
    memory.send(1, RT, 1);
    memory.send(1, USR1, 1);
    memory.1.set(!0b10);
    memory.send(2, RT, 2);
    assert_eq!(state.collect_queued(&memory), 0b100);
    assert_eq!(values(&run(&memory, &mut state)), [(RT, 2)]);
    state.set_action(&memory, RT, Action::Ignore).unwrap();
    assert_eq!(area::queued(&memory.0[1]), bit(RT));
}

/// Says that all places hold a signal, however often they are emptied.
struct Refilled(Words);

impl Area for Refilled {
    fn word(&self, index: usize) -> &AtomicU64 {
        self.0.word(at::READY).store(u64::MAX, Relaxed);
        self.0.word(at::RAISED).store(bit(RT) | bit(RT + 1), Relaxed);
        self.0.word(index)
    }
}

struct Hostile(Words);

impl Areas for Hostile {
    type Area = Refilled;
    fn area(&self, _: usize) -> Refilled {
        Refilled(self.0.clone())
    }
    fn may_signal(&self, _: usize) -> bool {
        true
    }
}

#[test]
fn a_flood_of_low_ones_does_not_keep_the_others_for_ever() {
    // Looked at again while the handler has all masked, or behind it.
    [false, true].into_iter().for_each(flood);
}

fn flood(inside: bool) {
    let (memory, mut state) = receiving(Flags::default());
    memory.send(2, RT + 1, 7);
    let mut taken = 0;
    loop {
        // Always there again before the next is taken.
        let send_all = || {
            [USR1, USR2, TERM, RT].into_iter().for_each(|signal| {
                let _ = area::send(&memory.area(1), signal, 0);
            });
        };
        send_all();
        state.collect(&memory);
        let Some((info, Next::Run(_, _, mask))) = state.next(&memory) else { panic!("the flood is handled") };
        if inside {
            state.set_mask(u64::MAX);
            send_all();
            state.collect(&memory);
        }
        state.set_mask(mask);
        taken += 1;
        if info.signal == RT + 1 {
            break;
        }
        assert!(taken < 5_000, "it never comes");
    }
    // Behind a pause the lowest comes first again.
    let _ = run(&memory, &mut state);
    memory.send(2, RT + 1, 8);
    memory.send(1, USR1, 0);
    assert_eq!(run(&memory, &mut state).iter().map(|info| info.signal).collect::<Vec<_>>(), [USR1, RT + 1]);
}

#[test]
fn what_is_ignored_and_refilled_holds_nobody_up() {
    let (memory, mut state) = (Memory::new(), State::<u32>::new());
    let hostile = Hostile(memory.area(1));
    for place in 0..PLACES {
        let signal = u64::from(RT) + place as u64 % 2;
        hostile.0.word(at::PLACES + place * at::PLACE + at::FIELDS[1]).store(signal, Relaxed);
    }
    for signal in [RT, RT + 1] {
        state.set_action(&hostile, signal, Action::Ignore).unwrap();
    }
    state.collect(&hostile);
    assert_eq!(state.pending(), bit(RT) | bit(RT + 1));
    assert_eq!(state.next(&hostile), None);
    assert_eq!(state.pending(), 0);
}

#[test]
fn places_of_no_signal_are_given_back_and_untold_ones_are_pending() {
    let (memory, mut state) = receiving(Flags::default());
    memory.0[1].word(at::READY).store(u64::MAX, Relaxed);
    memory.0[1].word(at::CLAIMED).store(u64::MAX, Relaxed);
    assert_eq!((state.collect_queued(&memory), state.pending()), (0, 0));
    assert_eq!((memory.0[1].word(at::READY).load(Relaxed), memory.0[1].word(at::CLAIMED).load(Relaxed)), (0, 0));
    // Its sender has ended before it told.
    memory.send(2, RT, 3);
    memory.0[2].word(at::RAISED).store(0, Relaxed);
    assert_eq!(state.collect_queued(&memory), 0b100);
    assert_eq!(values(&run(&memory, &mut state)), [(RT, 3)]);
}

#[test]
fn nobody_takes_those_that_nothing_can_be_done_about() {
    let (memory, mut state) = receiving(Flags::default());
    memory.send(1, 9, 0);
    state.collect(&memory);
    assert_eq!(state.take(&memory, u64::MAX), None);
    assert_eq!(state.next(&memory).map(|(_, next)| next), Some(Next::End));
}

/// One thread's, and what is pending for it and others.
struct Together(Memory, std::cell::RefCell<Vec<Info>>);

impl Together {
    fn left(&self) -> u64 {
        self.1.borrow().iter().fold(0, |set, info| set | bit(info.signal))
    }
}

impl Areas for Together {
    type Area = Words;
    fn area(&self, number: usize) -> Words {
        self.0.area(number)
    }
    fn may_signal(&self, number: usize) -> bool {
        self.0.may_signal(number)
    }
    fn take_shared(&self, set: u64) -> (Option<Info>, u64) {
        let found = self.1.borrow().iter().position(|info| bit(info.signal) & set != 0);
        (found.map(|at| self.1.borrow_mut().remove(at)), self.left())
    }
    fn discard_shared(&self, signal: u32) -> u64 {
        self.1.borrow_mut().retain(|info| info.signal != signal);
        self.left()
    }
}

/// With these pending for all.
fn together(signals: &[u32]) -> (Together, State<u32>) {
    let (memory, mut state) = receiving(Flags::default());
    let infos = signals.iter().map(|signal| Info { signal: *signal, value: 9, tag: 900 }).collect();
    let memory = Together(memory, std::cell::RefCell::new(infos));
    state.set_shared(memory.left());
    (memory, state)
}

#[test]
fn what_another_thread_has_taken_does_not_come_again() {
    for signal in [USR1, RT] {
        let (memory, mut state) = together(&[signal]);
        assert!(state.is_wanted());
        memory.1.borrow_mut().clear();
        assert_eq!(state.take(&memory, bit(signal)), None);
        assert_eq!(state.pending(), 0);
    }
}

#[test]
fn of_a_number_those_for_the_thread_and_for_all_come_in_turn() {
    let (memory, mut state) = together(&[RT, RT, USR1, 64]);
    for value in 0..3 {
        memory.0.send(1, RT, value);
    }
    state.collect(&memory);
    let mut values = Vec::new();
    while let Some((info, Next::Run(_, _, mask))) = state.next(&memory) {
        state.set_mask(mask);
        values.push((info.signal, info.tag));
    }
    assert_eq!(values, [(USR1, 900), (RT, 100), (RT, 900), (RT, 100), (RT, 900), (RT, 100), (64, 900)]);
    assert_eq!((state.pending(), memory.left()), (0, 0));
}

#[test]
fn what_is_ignored_is_pending_for_nobody() {
    let (memory, mut state) = together(&[RT, RT, 64]);
    state.set_action(&memory, RT, Action::Ignore).unwrap();
    assert_eq!((state.pending(), memory.left()), (bit(64), bit(64)));
}
