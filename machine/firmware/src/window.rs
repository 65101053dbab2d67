//! The controller's registers: accesses to a window that nothing answers.

use crate::board;
use crate::csr::{csr_read, csr_write};
use crate::local::Local;
use crate::lock::Lock;
use crate::translate::{self, Translation};
use crate::trap::{self, STORE_ACCESS, Trap};
use crate::{forward, unprivileged};
use core::sync::atomic::Ordering;
use nuintc::instruction::{Word, word};
use nuintc::matrix::{Contexts, Matrix};
use nuintc::registers::{self, Register};

static MATRIX: Lock<Matrix> = Lock::new(Matrix::new());

/// `mcause` of a page fault, as that of an access fault plus this.
const PAGE_FAULT: usize = 8;

/// Does the access if it is one to the window, else hands it on.
#[inline]
pub fn access(trap: &mut Trap<'_>, cause: usize) {
    let (status, address) = (csr_read!("mstatus"), csr_read!("mtval"));
    let Some(mode) = trap::origin(status) else { return forward::exception(trap, cause, address) };
    let is_store = cause == STORE_ACCESS;
    match translate::physical(address, mode, status, is_store) {
        Translation::Fault => forward::exception(trap, cause + PAGE_FAULT, address),
        Translation::At(physical) if in_window(physical) => {
            let pc = csr_read!("mepc");
            let Some(instruction) = unprivileged::fetch(pc) else { return };
            let meant = word(instruction).filter(|access| {
                // A part of an access across words or pages may have faulted on its own.
                let effective = trap.frame.get(access.base).wrapping_add(access.offset);
                effective == address && address.is_multiple_of(4)
            });
            let Some(access) = meant else { return forward::exception(trap, cause, address) };
            execute(trap, access.word, physical - registers::BASE);
            csr_write!("mepc", pc.wrapping_add(access.length));
        }
        Translation::At(_) | Translation::Unknown => forward::exception(trap, cause, address),
    }
}

fn in_window(physical: usize) -> bool {
    physical.wrapping_sub(registers::BASE) < registers::SIZE
}

#[inline(always)]
fn execute(trap: &mut Trap<'_>, word: Word, offset: usize) {
    let register = Register::at(offset);
    match word {
        Word::Load { destination, unsigned } => {
            let value = MATRIX.with(|matrix| {
                let (value, changed) = matrix.read(register);
                publish(matrix, changed, trap.frame.hart);
                value
            });
            let extended = if unsigned { value as usize } else { value as i32 as usize };
            trap.frame.set(destination, extended);
        }
        Word::Store { source } => {
            let value = trap.frame.get(source) as u32;
            MATRIX.with(|matrix| {
                let changed = matrix.write(register, value);
                publish(matrix, changed, trap.frame.hart);
            });
        }
    }
}

/// Tells contexts how their lines stand. One that is raised at another hart interrupts it; a hart looks at its own line on the
/// way out. Under the lock, so that the last store is the last state.
#[inline(always)]
fn publish(matrix: &Matrix, changed: Contexts, own: usize) {
    let mut left = changed;
    while left != 0 {
        let context = left.trailing_zeros() as usize;
        left &= left - 1;
        let Some(local) = Local::of(context) else { continue };
        let line = matrix.line(context);
        // Release pairs with the Acquire in `deliver`; the interrupt comes after the store.
        local.line.store(line, Ordering::Release);
        if line && context != own {
            board::interrupt(context);
        }
    }
}
