//! The controller against a reference that is a plain table; the CSRs and instructions by example.

extern crate std;

use crate::csr;
use crate::hart::{Hart, Mode};
use crate::instruction::{Access, Change, Csr, Source, System, Word, system, word};
use crate::matrix::Matrix;
use crate::registers::{self, CONTEXTS, Register, SLOTS, Side, receiver, sender};
use proptest::prelude::*;
use std::vec::Vec;

/// Two tables of booleans, senders by receivers, and everything computed anew from them.
struct Reference {
    enabled: [[bool; SLOTS]; SLOTS],
    pending: [[bool; SLOTS]; SLOTS],
    senders: [u32; SLOTS],
    receivers: [u32; SLOTS],
    sent: [bool; SLOTS],
    listening: [usize; CONTEXTS],
}

impl Reference {
    fn new() -> Self {
        Self {
            enabled: [[false; SLOTS]; SLOTS],
            pending: [[false; SLOTS]; SLOTS],
            senders: [0; SLOTS],
            receivers: [0; SLOTS],
            sent: [false; SLOTS],
            listening: [0; CONTEXTS],
        }
    }

    fn line(&self, context: usize) -> bool {
        let slot = self.listening[context];
        slot != 0 && (0..SLOTS).any(|s| self.enabled[s][slot] && self.pending[s][slot])
    }

    fn send(&mut self, s: usize, uiid: u32) {
        let found = (1..SLOTS).find(|&r| uiid != 0 && self.receivers[r] == uiid && self.enabled[s][r]);
        self.sent[s] = found.is_some();
        if let Some(r) = found {
            self.pending[s][r] = true;
        }
    }

    fn claim(&mut self, r: usize) -> u32 {
        let found = (0..SLOTS).find(|&s| self.enabled[s][r] && self.pending[s][r]);
        found.map_or(0, |s| {
            self.pending[s][r] = false;
            self.senders[s]
        })
    }

    fn enable(&mut self, s: usize, r: usize, on: bool) {
        if s != 0 && r != 0 {
            self.enabled[s][r] = on;
            self.pending[s][r] &= on;
        }
    }

    fn name(&mut self, side: Side, slot: usize, uiid: u32) {
        for other in 0..SLOTS {
            match side {
                Side::Sender => self.enable(slot, other, false),
                Side::Receiver => self.enable(other, slot, false),
            }
        }
        match side {
            Side::Sender => (self.senders[slot], self.sent[slot]) = (uiid, false),
            Side::Receiver => self.receivers[slot] = uiid,
        }
    }

    /// The bits of a row (what a sender's registers show) or of a column.
    fn bits(table: &[[bool; SLOTS]; SLOTS], side: Side, slot: usize, first: usize) -> u32 {
        let bit = |at: usize| match side {
            Side::Sender => table[slot][first + at],
            Side::Receiver => table[first + at][slot],
        };
        (0..32).fold(0, |bits, at| bits | u32::from(bit(at)) << at)
    }
}

/// What kernel and programs do.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize, u32),
    Claim(usize),
    Listen(usize, usize),
    Enable(Side, usize, usize, u32),
    Pend(Side, usize, usize, u32),
    Name(Side, usize, u32),
}

/// Few slots, at both ends of the words, so that steps meet.
fn slot() -> impl Strategy<Value = usize> {
    prop::sample::select(&[1_usize, 2, 31, 32, 63][..])
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(&[Side::Sender, Side::Receiver][..])
}

fn step() -> impl Strategy<Value = Step> {
    let first = prop::sample::select(&[0_usize, 32][..]);
    let bits = prop_oneof![Just(!0), Just(0), any::<u32>()];
    prop_oneof![
        4 => (slot(), 0..6_u32).prop_map(|(s, uiid)| Step::Send(s, uiid)),
        3 => slot().prop_map(Step::Claim),
        1 => (0..CONTEXTS, prop_oneof![slot(), Just(0)]).prop_map(|(context, r)| Step::Listen(context, r)),
        2 => (side(), slot(), first.clone(), bits.clone()).prop_map(|(a, b, c, d)| Step::Enable(a, b, c, d)),
        1 => (side(), slot(), first, bits).prop_map(|(a, b, c, d)| Step::Pend(a, b, c, d)),
        1 => (side(), slot(), 0..6_u32).prop_map(|(a, b, c)| Step::Name(a, b, c)),
    ]
}

fn base(side: Side, slot: usize) -> usize {
    if side == Side::Sender { sender(slot) } else { receiver(slot) }
}

/// Does the step on both, through the window on the one side; returns the contexts that were told about.
fn both(matrix: &mut Matrix, reference: &mut Reference, step: Step) -> u8 {
    let mut write = |offset: usize, value: u32| matrix.write(Register::at(offset), value);
    match step {
        Step::Send(s, uiid) => {
            reference.send(s, uiid);
            write(sender(s), uiid)
        }
        Step::Claim(r) => {
            let (value, changed) = matrix.read(Register::at(receiver(r)));
            assert_eq!(value, reference.claim(r));
            changed
        }
        Step::Listen(context, r) => {
            reference.listening[context] = r;
            write(registers::listen(context), r as u32)
        }
        Step::Enable(side, slot, first, bits) => {
            for at in 0..32 {
                let (s, r) = if side == Side::Sender { (slot, first + at) } else { (first + at, slot) };
                reference.enable(s, r, bits >> at & 1 != 0);
            }
            write(base(side, slot) + registers::ENABLE + first / 8, bits)
        }
        Step::Pend(side, slot, first, bits) => {
            for at in 0..32 {
                let (s, r) = if side == Side::Sender { (slot, first + at) } else { (first + at, slot) };
                reference.pending[s][r] = bits >> at & 1 != 0 && reference.enabled[s][r];
            }
            write(base(side, slot) + registers::PENDING + first / 8, bits)
        }
        Step::Name(side, slot, uiid) => {
            reference.name(side, slot, uiid);
            write(base(side, slot) + registers::UIID, uiid)
        }
    }
}

fn lines(of: impl Fn(usize) -> bool) -> Vec<bool> {
    (0..CONTEXTS).map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_matrix_is_the_table(steps in prop::collection::vec(step(), 1..60)) {
        let (mut matrix, mut reference) = (Matrix::new(), Reference::new());
        for step in steps {
            let before = lines(|context| matrix.line(context));
            let told = both(&mut matrix, &mut reference, step);
            let after = lines(|context| matrix.line(context));
            prop_assert_eq!(&after, &lines(|context| reference.line(context)), "{:?}", step);
            for context in 0..CONTEXTS {
                prop_assert!(before[context] == after[context] || told >> context & 1 != 0, "untold: {:?}", step);
            }
            for (side, slot) in [1, 2, 31, 32, 63].into_iter().flat_map(|s| [(Side::Sender, s), (Side::Receiver, s)]) {
                for first in [0, 32] {
                    let at = base(side, slot) + first / 8;
                    let mut read = |offset: usize| matrix.read(Register::at(at + offset)).0;
                    prop_assert_eq!(read(registers::ENABLE), Reference::bits(&reference.enabled, side, slot, first));
                    prop_assert_eq!(read(registers::PENDING), Reference::bits(&reference.pending, side, slot, first));
                }
            }
        }
    }

    #[test]
    fn whatever_is_written_anywhere_is_borne(accesses in prop::collection::vec((any::<u32>(), any::<u32>()), 1..200)) {
        let mut matrix = Matrix::new();
        for (offset, value) in accesses {
            let register = Register::at(offset as usize % (registers::SIZE + 64));
            matrix.write(register, value);
            matrix.read(register);
        }
        prop_assert!(lines(|context| matrix.line(context)).len() == CONTEXTS);
    }

    #[test]
    fn whatever_is_executed_is_borne(words in prop::collection::vec((any::<u32>(), any::<usize>()), 1..200)) {
        let mut hart = Hart::new();
        for (instruction, source) in words {
            word(instruction);
            if let Some(System::Csr(csr)) = system(instruction & 0xf0f_ffff | 0x73) {
                hart.access(csr, source, Mode::User, false);
                prop_assert_eq!(hart.access(csr_read(csr::SEDELEG), 0, Mode::User, false), None);
                prop_assert!(!hart.is_interrupted(true), "nothing was delegated");
            }
        }
    }
}

fn csr_read(number: usize) -> Csr {
    Csr { number, destination: 10, source: Source::Register(0), change: None }
}

fn csr_write(number: usize) -> Csr {
    Csr { change: Some(Change::Write), ..csr_read(number) }
}

#[test]
fn a_process_reaches_no_slot_but_its_own() {
    // One page of each slot: every offset in it is that slot's `send` or `claim`, or nothing.
    for offset in (0..registers::PAGE).step_by(4) {
        let of_sender = Register::at(sender(5) + offset);
        let of_receiver = Register::at(receiver(5) + offset);
        let first = offset == 0;
        assert_eq!(of_sender, if first { Register::Send(5) } else { Register::Reserved });
        assert_eq!(of_receiver, if first { Register::Claim(5) } else { Register::Reserved });
    }
}

#[test]
fn the_window_has_its_edges() {
    assert_eq!(Register::at(registers::listen(7)), Register::Listen(7));
    assert_eq!(Register::at(registers::listen(CONTEXTS)), Register::Reserved);
    assert_eq!(Register::at(receiver(0)), Register::Reserved, "slot 0 of the receivers is nobody's");
    assert_eq!(Register::at(sender(SLOTS)), Register::Reserved);
    assert_eq!(Register::at(sender(1) + 2), Register::Reserved);
    assert_eq!(Register::at(usize::MAX), Register::Reserved);
    assert_eq!(Register::at(sender(3) + 0x1804), Register::Enable(Side::Sender, 3, 32));
    assert_eq!(Register::at(sender(3) + 0x1808), Register::Reserved);
    assert_eq!(Register::at(receiver(63) + 0x1a04), Register::Pending(Side::Receiver, 63, 32));
}

#[test]
fn a_trap_and_its_return() {
    let mut hart = Hart::new();
    for (number, value) in [(csr::SIDELEG, !0), (csr::UIE_CSR, !0), (csr::UTVEC, 0x1003), (csr::USTATUS, !0)] {
        hart.access(csr_write(number), value, Mode::Supervisor, false);
    }
    assert!(!hart.is_interrupted(false));
    assert!(hart.is_interrupted(true));
    assert_eq!(hart.interrupt(0x4000, true), 0x1000, "vectored, cause 0");
    assert!(!hart.is_interrupted(true), "not while it is served");
    let read = |hart: &mut Hart, number| hart.access(csr_read(number), 0, Mode::User, true);
    assert_eq!(read(&mut hart, csr::UCAUSE), Some(csr::INTERRUPT));
    assert_eq!(read(&mut hart, csr::USTATUS), Some(csr::UPIE));
    assert_eq!(read(&mut hart, csr::UIP), Some(csr::SOFTWARE), "the level");
    assert_eq!(hart.uret(), Some(0x4000));
    assert!(hart.is_interrupted(true));
    hart.access(csr_write(csr::UIP), csr::INTERRUPTS, Mode::Supervisor, false);
    assert_eq!(hart.interrupt(0x4000, false), 0x1020, "the external one first");
    assert_eq!(hart.exception(2, 0x4004, 0xdead), 0x1000, "exceptions are not vectored");
    assert_eq!(read(&mut hart, csr::UTVAL), Some(0xdead));
}

#[test]
fn a_program_without_anything_delegated_has_no_registers() {
    let mut hart = Hart::new();
    for number in [csr::USTATUS, csr::UIE_CSR, csr::UTVEC, csr::USCRATCH, csr::UEPC, csr::UCAUSE, csr::UTVAL, csr::UIP]
    {
        assert_eq!(hart.access(csr_write(number), !0, Mode::User, false), None);
        assert_eq!(hart.access(csr_read(number), 0, Mode::Supervisor, false), Some(0));
    }
    assert_eq!(hart.uret(), None);
    hart.access(csr_write(csr::SEDELEG), 4, Mode::Supervisor, false);
    assert_eq!(hart.access(csr_write(csr::USCRATCH), 5, Mode::User, false), Some(0));
    assert_eq!(hart.uret(), Some(0));
}

#[test]
fn a_level_is_not_kept_by_setting_other_bits() {
    let mut hart = Hart::new();
    hart.access(csr_write(csr::SIDELEG), !0, Mode::Supervisor, false);
    let set = Csr { change: Some(Change::Set), ..csr_read(csr::UIP) };
    assert_eq!(hart.access(set, csr::TIMER, Mode::Supervisor, true), Some(csr::SOFTWARE));
    assert_eq!(hart.access(csr_read(csr::UIP), 0, Mode::User, false), Some(csr::TIMER));
    hart.access(csr_write(csr::UIP), csr::EXTERNAL, Mode::User, false);
    assert_eq!(hart.access(csr_read(csr::UIP), 0, Mode::User, false), Some(csr::TIMER), "not a program's");
}

#[test]
fn instructions() {
    assert_eq!(system(0x0020_0073), Some(System::Uret));
    assert_eq!(system(0x1020_0073), Some(System::Sret));
    assert_eq!(system(0x0000_0073), None, "ecall");
    assert_eq!(system(0x0040_4073), None, "no such form");
    // csrrsi x0, uip, 1
    let Some(System::Csr(csr)) = system(0x0440_e073) else { panic!("a CSR access") };
    assert_eq!((csr.number, csr.source, csr.change), (csr::UIP, Source::Immediate(1), Some(Change::Set)));
    // csrrs a0, ucause, x0
    let Some(System::Csr(csr)) = system(0x0420_2573) else { panic!("a CSR access") };
    assert_eq!(csr, csr_read(csr::UCAUSE));
    // lw a0, 0(a1); lwu; sw a0, 0(a1); c.lw a0, 0(a1); c.sw; c.lwsp a0; c.swsp a0; ld a0, 0(a1)
    let load = |unsigned| Word::Load { destination: 10, unsigned };
    let store = Word::Store { source: 10 };
    let access = |word, base, offset, length| Some(Access { word, base, offset, length });
    assert_eq!(word(0x0005_a503), access(load(false), 11, 0, 4));
    assert_eq!(word(0x0005_e503), access(load(true), 11, 0, 4));
    assert_eq!(word(0x00a5_a023), access(store, 11, 0, 4));
    // lw a0, -4(a1); sw a0, -4(a1)
    assert_eq!(word(0xffc5_a503), access(load(false), 11, !3, 4));
    assert_eq!(word(0xfea5_ae23), access(store, 11, !3, 4));
    assert_eq!(word(0x4188), access(load(false), 11, 0, 2));
    assert_eq!(word(0xc188), access(store, 11, 0, 2));
    assert_eq!(word(0x4502), access(load(false), 2, 0, 2));
    assert_eq!(word(0xc02a), access(store, 2, 0, 2));
    // c.lw a0, 68(a1); c.swsp a0, 68(sp); c.lwsp a0, 100(sp)
    assert_eq!(word(0x41e8), access(load(false), 11, 0x44, 2));
    assert_eq!(word(0xc2aa), access(store, 2, 0x44, 2));
    assert_eq!(word(0x5516), access(load(false), 2, 0x64, 2));
    assert_eq!(word(0x0005_b503), None);
}
