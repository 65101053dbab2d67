//! A program of world `vm` that writes the registers of its mode: it may die or hang, and harms nobody else.

use super::{Counts, counting, until};
use crate::case::{Outcome, Trouble};
use crate::machine::world;
use crate::process::{RW, Shared, checked_child, child, kill, map, sleep_ms, unmap, wait, wait_with};
use crate::rings::hostile::scramble;
use alloc::boxed::Box;
use alloc::vec::Vec;
use rt::abi::asyncos::WORLD_VM;
use rt::abi::mm::{PROT_EXEC, PROT_READ};
use rt::abi::process::WNOHANG;
use rt::abi::signal::SIGKILL;
use rt::raw::{self, take_traps};
use rt::uintr::traps::{Causes, Next, Trapped};
use rt::uintr::{Receiver, Sender};

const PAGE: usize = 4096;
/// How many numbers of registers there are.
const NUMBERS: u32 = 4096;
const RET: u32 = 0x0000_8067;

/// sstatus sie stvec scounteren senvcfg sscratch sepc scause stval sip stimecmp siselect sireg stopei satp stopi, then those of the hypervisor and of the machine.
const REGISTERS: [u32; 28] = [
    0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x144, 0x14d, 0x150, 0x151, 0x15c, 0x180, 0xdb0,
    0x200, 0x204, 0x205, 0x24d, 0x280, 0x600, 0x602, 0x603, 0x606, 0x680, 0x300, 0x305,
];

/// wfi, sret, mret, sfence.vma, hfence.vvma, hfence.gvma, `hlv.d a0, (a0)`, `hsv.d a0, (a0)`, `vsetvli a0, a0, e8, m1`, `vadd.vv v0, v0, v0`, `fadd.d ft0, ft0, ft0`.
const INSTRUCTIONS: [u32; 11] = [
    0x1050_0073,
    0x1020_0073,
    0x3020_0073,
    0x1200_0073,
    0x2200_0073,
    0x6200_0073,
    0x6c05_4573,
    0x6ea5_4073,
    0x0005_7557,
    0x0200_0057,
    0x0200_7053,
];

/// `csrrw a0, register, a0`.
fn exchange(register: u32) -> u32 {
    register << 20 | 0x0005_1573
}

/// A receiver beside the programs that do so, in world `vm`.
struct Beside {
    receiver: Receiver,
    counts: &'static Counts,
    sender: Sender,
    told: u32,
}

impl Beside {
    const VECTOR: u32 = 5;

    fn new() -> Result<Self, Trouble> {
        if world() != Some(WORLD_VM) {
            return Err(Trouble::skipped("the registers of a mode of its own are there in world vm alone"));
        }
        let (receiver, counts) = counting()?;
        let sender = Sender::open(receiver.grant(1 << Self::VECTOR)?)?;
        Ok(Self { receiver, counts, sender, told: 0 })
    }

    /// It still is.
    fn is_told(&mut self) -> Outcome {
        self.told += 1;
        self.sender.send(Self::VECTOR)?;
        until(&self.receiver, || self.counts.get(Self::VECTOR) == self.told)
    }
}

/// Each register with nothing, all ones, and a mixture, and each instruction, by a receiver and by who is none. A receiver beside it is still told.
pub fn any() -> Outcome {
    let (mut beside, shared) = (Beside::new()?, Shared::new()?);
    for word in REGISTERS.map(exchange).into_iter().chain(INSTRUCTIONS) {
        for value in [0, usize::MAX, 0x5a5a_0000_1234_8a2f] {
            for receives in [false, true] {
                executed(shared, word, value, receives)?;
                beside.is_told()?;
            }
        }
    }
    Ok(())
}

/// A child executes this, twice, with this in `a0`, and is killed if it does not end.
fn executed(shared: Shared, word: u32, value: usize, receives: bool) -> Outcome {
    shared.set(0, 0);
    let page = map(PAGE, RW)?;
    raw::store64(page, u64::from(word) << 32 | u64::from(word));
    raw::store64(page + 8, u64::from(RET));
    call!(MPROTECT, page, PAGE, PROT_READ | PROT_EXEC)?;
    let pid = child(|| {
        let receiver = receives.then(counting);
        shared.set(0, if matches!(receiver, Some(Err(_))) { 2 } else { 1 });
        raw::call(page, value);
        0
    })?;
    shared.await_least(0, 1);
    sleep_ms(1);
    // It may be over.
    let _ = kill(pid, SIGKILL);
    wait(pid)?;
    unmap(page, PAGE)?;
    equal!(shared.get(0), 1);
    Ok(())
}

/// Code of so many words.
fn code(words: &[u32]) -> Result<usize, Trouble> {
    let bytes = (4 * words.len()).next_multiple_of(PAGE);
    let base = map(bytes, RW)?;
    for (place, pair) in words.chunks(2).enumerate() {
        let second = pair.get(1).copied().unwrap_or(RET);
        raw::store64(base + 8 * place, u64::from(second) << 32 | u64::from(pair[0]));
    }
    call!(MPROTECT, base, bytes, PROT_READ | PROT_EXEC)?;
    raw::fence_i();
    Ok(base)
}

/// Becomes a receiver that goes on behind what it may not do.
fn goes_on() -> Result<Receiver, Trouble> {
    let (receiver, _) = counting()?;
    take_traps(&receiver, Causes::ILLEGAL.and(Causes::FAULTS), Box::leak(Box::new(|_: &Trapped| Next::Behind)))?;
    Ok(receiver)
}

/// Waits until a child has ended, or does not go on any more: then it is killed.
fn ended(pid: i32, shared: Shared, word: usize) -> Outcome {
    /// Looks, a millisecond apart.
    const PATIENCE: u32 = 20;
    let (mut before, mut still) = (shared.get(word), 0);
    while wait_with(pid, WNOHANG)?.0 != pid {
        sleep_ms(1);
        let now = shared.get(word);
        still = if now == before { still + 1 } else { 0 };
        before = now;
        if still == PATIENCE {
            kill(pid, SIGKILL)?;
            wait(pid)?;
            break;
        }
    }
    Ok(())
}

/// Each number that a register can have, with all ones and a mixture, by a receiver that goes on behind those that are not its own; what kills it or has it hang costs it a child. A receiver
/// beside it is still told.
pub fn every() -> Outcome {
    const NEXT: usize = 0;
    let (mut beside, shared) = (Beside::new()?, Shared::new()?);
    let words: Vec<u32> = (0..NUMBERS).flat_map(|number| [exchange(number), RET]).collect();
    let base = code(&words)?;
    for value in [usize::MAX, 0x5a5a_0000_1234_8a2f] {
        shared.set(NEXT, 0);
        while shared.get(NEXT) < NUMBERS {
            let before = shared.get(NEXT);
            let pid = checked_child(|| {
                let _receiver = goes_on()?;
                for number in shared.get(NEXT)..NUMBERS {
                    shared.set(NEXT, number + 1);
                    raw::call(base + 8 * number as usize, value);
                }
                Ok(())
            })?;
            shared.await_least(NEXT, before + 1);
            ended(pid, shared, NEXT)?;
            beside.is_told()?;
        }
    }
    Ok(())
}

/// Some of them one behind the other, each with what another held, among instructions that leave the mode or wait in it. A seed that harms others is in the verdict.
pub fn at_random() -> Outcome {
    const WORDS: usize = 24;
    const SEEDS: u64 = 100;
    let (mut beside, shared) = (Beside::new()?, Shared::new()?);
    for seed in 1..=SEEDS {
        let mut state = seed;
        let mut below = |bound: usize| scramble(&mut state) as usize % bound;
        let word = |_| match below(8) {
            0 => INSTRUCTIONS[below(INSTRUCTIONS.len())],
            1 => exchange(below(NUMBERS as usize) as u32),
            _ => exchange(REGISTERS[below(REGISTERS.len())]),
        };
        let words: Vec<u32> = (0..WORDS).map(word).chain([RET]).collect();
        let base = code(&words)?;
        let value = scramble(&mut state) as usize;
        shared.set(0, 0);
        let pid = checked_child(|| {
            let _receiver = goes_on()?;
            for round in 1..=10 {
                shared.set(0, round);
                raw::call(base, value);
            }
            Ok(())
        })?;
        shared.await_least(0, 1);
        ended(pid, shared, 0)?;
        unmap(base, PAGE)?;
        beside.is_told().map_err(|trouble| Trouble::failed(format_args!("seed {seed}: {trouble:?}")))?;
    }
    Ok(())
}
