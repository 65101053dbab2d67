//! Handlers that harm their own process: it ends, or goes on in vain, what it had is had by another, and who receives beside it is told as before.

use super::{Counts, counting, receiving, until};
use crate::case::{Outcome, Trouble};
use crate::machine::go_to;
use crate::process::{PAGE, RW, Shared, call, checked_child, dies, kill, map, unmap, wait_with};
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use rt::abi::mm::{MAP_SHARED, PROT_EXEC, PROT_READ};
use rt::abi::process::{WNOHANG, WaitStatus};
use rt::abi::signal::{SIGKILL, SIGSEGV};
use rt::abi::{nr, uintr};
use rt::raw;
use rt::uintr::{Receiver, Right, Sender};

/// Words that the processes of a case share.
const READY: usize = 0;
const CALLS: usize = 1;
const DONE: usize = 2;

/// More than a hart has places, and than the controller has slots.
const MANY: u32 = 70;

/// Who receives on the same hart meanwhile.
pub struct Neighbour {
    receiver: Receiver,
    counts: &'static Counts,
    sender: Sender,
    sent: u32,
}

impl Neighbour {
    pub fn new() -> Result<Self, Trouble> {
        go_to(0)?;
        let (receiver, counts) = counting()?;
        let sender = Sender::open(receiver.grant(1 << 5)?)?;
        Ok(Self { receiver, counts, sender, sent: 0 })
    }

    /// Is told, once.
    pub fn is_told(&mut self) -> Outcome {
        self.sent += 1;
        self.sender.send(5)?;
        until(&self.receiver, || self.counts.get(5) >= self.sent)?;
        equal!(self.counts.get(5), self.sent);
        Ok(())
    }

    /// A child that receives by the same backend, whatever became of those before it. It is interrupted once, behind `before`.
    fn child(
        &self,
        before: impl FnOnce(&Receiver) -> Outcome,
        handler: impl Fn() + Sync + 'static,
    ) -> Result<i32, Trouble> {
        let backend = self.receiver.backend();
        Ok(checked_child(|| {
            let receiver = receiving(move |_| handler())?;
            equal!(receiver.backend(), backend);
            let sender = Sender::open(receiver.grant(1)?)?;
            before(&receiver)?;
            sender.send(0)?;
            // The stack is what it was.
            black_box(&mut [0_u8; 64]);
            Ok(())
        })?)
    }

    /// Such a child ends by `SIGSEGV`.
    fn child_dies(
        &mut self,
        before: impl FnOnce(&Receiver) -> Outcome,
        handler: impl Fn() + Sync + 'static,
    ) -> Outcome {
        dies(self.child(before, handler)?, SIGSEGV)?;
        self.is_told()
    }
}

/// It accesses what is not there, as often as there are places.
pub fn faults() -> Outcome {
    let mut neighbour = Neighbour::new()?;
    (0..MANY).try_for_each(|_| neighbour.child_dies(|_| Ok(()), || raw::store64(8, 0)))
}

/// Takes a kibibyte of stack for each of so many frames.
pub fn descend(frames: usize) {
    let mut frame = [0_u8; 1024];
    black_box(&mut frame);
    if frames > 1 {
        descend(frames - 1);
    }
    black_box(&mut frame);
}

/// It needs a page more of stack than it has: it meets the page below, and not what else lies there.
pub fn recurses() -> Outcome {
    Neighbour::new()?.child_dies(|_| Ok(()), || descend(black_box(66)))
}

/// It never returns.
pub fn loops() -> Outcome {
    let (mut neighbour, shared) = (Neighbour::new()?, Shared::new()?);
    let endless = move || {
        shared.set(READY, 1);
        loop {
            core::hint::spin_loop();
        }
    };
    let pid = neighbour.child(|_| Ok(()), endless)?;
    shared.await_least(READY, 1);
    (0..20).try_for_each(|_| neighbour.is_told())?;
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    neighbour.is_told()
}

/// `mv sp, a0`, and a store there; `csrw sscratch, a0`; `csrw uscratch, a0`.
const SET_SP: [u32; 2] = [0x0005_0113, 0xfe11_3c23];
const SET_SSCRATCH: [u32; 2] = [0x1405_1073, RET];
const SET_USCRATCH: [u32; 2] = [0x0405_1073, RET];
const RET: u32 = 0x0000_8067;

/// The page with the code, and that with the registers of the backend `SOFT`.
static CODE: AtomicUsize = AtomicUsize::new(0);
static CONTROL: AtomicUsize = AtomicUsize::new(0);

/// Changes the stack pointer: its own, or what is there instead of it at the next interrupt, or at the return from this one.
fn change(backend: usize, at_once: bool, value: usize) {
    match backend {
        uintr::SOFT if !at_once => raw::store64(CONTROL.load(Relaxed) + uintr::SCRATCH, value as u64),
        _ => drop(raw::call(CODE.load(Relaxed), value)),
    }
}

fn write_code(backend: usize, at_once: bool) -> Outcome {
    let [first, second] = match backend {
        _ if at_once => SET_SP,
        uintr::AIA => SET_SSCRATCH,
        _ => SET_USCRATCH,
    };
    let page = map(PAGE, RW)?;
    raw::store64(page, u64::from(second) << 32 | u64::from(first));
    call!(MPROTECT, page, PAGE, PROT_READ | PROT_EXEC)?;
    raw::fence_i();
    CODE.store(page, Relaxed);
    Ok(())
}

/// In a child: finds the page with the registers.
fn map_control(receiver: &Receiver) -> Outcome {
    let control = call(nr::MMAP, &[0, PAGE, RW as usize, MAP_SHARED as usize, receiver.fd().raw() as usize, 0])?;
    CONTROL.store(control, Relaxed);
    Ok(())
}

/// It changes its stack pointer, that of the thread that it has interrupted, or the thread that of the handler to come.
pub fn changes_stacks() -> Outcome {
    const VALUES: [usize; 5] = [0, 16, usize::MAX & !15, 1 << 63, 0xffff_ffc0_0000_0000];
    let mut neighbour = Neighbour::new()?;
    let backend = neighbour.receiver.backend();
    for at_once in [true, false] {
        write_code(backend, at_once)?;
        for value in VALUES {
            neighbour.child_dies(map_control, move || change(backend, at_once, value))?;
            if !at_once {
                let before = |receiver: &Receiver| {
                    map_control(receiver)?;
                    change(backend, at_once, value);
                    Ok(())
                };
                neighbour.child_dies(before, || ())?;
            }
        }
        unmap(CODE.load(Relaxed), PAGE)?;
    }
    Ok(())
}

/// A receiver keeps its interrupts off for ever under a storm: no handler of its runs, and its hart is its neighbour's, too.
pub fn masks() -> Outcome {
    let (mut neighbour, shared) = (Neighbour::new()?, Shared::new()?);
    let pid = checked_child(|| {
        let receiver = receiving(move |_| shared.count(CALLS))?;
        let right = receiver.grant(1)?;
        rt::uintr::masked(&receiver, || {
            let sender = checked_child(|| stormed(right))?;
            loop {
                (0..100_000).for_each(|_| core::hint::spin_loop());
                match wait_with(sender, WNOHANG)? {
                    (0, _) => {}
                    (_, WaitStatus::Exited(0)) => break,
                    (_, other) => return Err(Trouble::failed(format_args!("who sends: {other:?}"))),
                }
            }
            shared.set(DONE, 1);
            loop {
                core::hint::spin_loop();
            }
        })
    })?;
    while shared.get(DONE) == 0 {
        neighbour.is_told()?;
        equal!(wait_with(pid, WNOHANG)?.0, 0);
    }
    neighbour.is_told()?;
    equal!(shared.get(CALLS), 0);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    neighbour.is_told()
}

/// From another hart, if there is one.
fn stormed(right: Right) -> Outcome {
    go_to(1)?;
    let sender = Sender::open(right)?;
    Ok((0..100_000).try_for_each(|_| sender.send(0))?)
}

/// Threads that receive, one after the other, leave nothing of it behind.
pub fn leaves_nothing() -> Outcome {
    drop(counting()?);
    let turns = |count: u32| -> Result<usize, Trouble> {
        for _ in 0..count {
            let received = rt::thread::spawn(|| counting().map(drop))?.join();
            received.ok_or_else(|| Trouble::failed("the thread ended"))??;
        }
        Ok(rt::fs::read_to_string("/proc/self/maps")?.lines().count())
    };
    // Stacks of threads are kept, and the heap has grown.
    let before = turns(20)?;
    let after = turns(40)?;
    ensure!(after < before + 10, "{before} mappings, then {after}");
    Ok(())
}
