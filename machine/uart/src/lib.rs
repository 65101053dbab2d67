//! Asynchronous driver of 16550 UARTs.
//!
//! Two rings of bytes lie between the hardware and its users. The interrupt handler moves bytes between rings
//! and FIFOs and wakes; readers and writers touch the rings and never wait by themselves: they take or give what
//! is possible now, and [`Uart::poll_input`] and [`Uart::poll_output`] tell when to try again.
//!
//! Input that finds the ring full stays in the hardware, and the receive interrupt is off until somebody reads: the
//! sender notices (flow control, or an emulator that stops reading its terminal) and nothing is
//! lost on our side. What the hardware loses all the same is counted in [`Uart::lost`].
//!
//! Speed and format are left as the firmware set them, except that characters have eight bits. Nothing received
//! before [`Uart::start`] is thrown away.
//!
//! One lock (rank `DEVICE`) guards rings and registers. [`Uart::write_emergency`] takes none: it is for a machine
//! that is going down, whose lock may be held by the very code that failed.

#![no_std]
#![expect(unsafe_code, reason = "device registers")]

#[cfg(test)]
extern crate std;

mod registers;
mod ring;
#[cfg(test)]
mod tests;

use core::task::{Context, Poll, Waker};
use hal::sync::{IrqGuard, IrqLock, rank};
use registers::*;
use ring::Ring;

pub use registers::{Mapped, Registers};

/// Received bytes that wait for a reader at most.
const INPUT: usize = 4096;
/// Bytes that wait to be sent at most.
const OUTPUT: usize = 2048;
/// Bytes that are moved in one hold of the lock, each way.
const BUDGET: usize = 256;
/// How often the transmitter is asked whether it is empty, before an emergency byte is given up.
const PATIENCE: usize = 1_000_000;

/// A 16550.
pub struct Uart<R = Mapped> {
    registers: R,
    state: IrqLock<State>,
}

struct State {
    input: Ring<INPUT>,
    output: Ring<OUTPUT>,
    /// What the register [`INTERRUPTS`] holds.
    wanted: u8,
    lost: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The machine's console with its interrupt line, if it is a 16550. Handed out once: a second call returns `None`.
#[cfg(target_os = "none")]
pub fn console() -> Option<(Option<platform::Line>, Uart)> {
    use core::sync::atomic::{AtomicBool, Ordering};
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let found = hal::boot::machine().platform.uart?;
    // Relaxed: nothing is published by it, the exchange alone decides who is first.
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let base = hal::boot::registers(found.registers)?;
    // SAFETY: the device tree names these registers; its parser has checked that all eight lie inside, begin on a
    // word, and that shift and access size are possible. Boot has mapped them for ever.
    let registers = unsafe { Mapped::new(base, found.register_shift, found.access_bytes) };
    Some((found.line, Uart::new(registers)))
}

impl<R: Registers> Uart<R> {
    /// A driver for these registers; it does nothing to them yet.
    pub const fn new(registers: R) -> Uart<R> {
        let state = State { input: Ring::new(), output: Ring::new(), wanted: 0, lost: 0, reader: None, writer: None };
        Uart { registers, state: IrqLock::new(rank::DEVICE, state) }
    }

    /// Sets the device up and asks it for interrupts. Its line must be claimed for this driver by then, or soon.
    pub fn start(&self) {
        let mut state = self.state.lock();
        self.registers.write(LINE_CONTROL, EIGHT_BITS);
        self.registers.write(FIFO, FIFO_ON | FIFO_EIGHT);
        self.registers.write(MODEM_CONTROL, READY);
        state.wanted = 0;
        self.registers.write(INTERRUPTS, 0);
        self.transfer(&mut state);
    }

    /// Takes what has arrived, as much as fits into `bytes`, and returns how much that is.
    pub fn read(&self, bytes: &mut [u8]) -> usize {
        let mut state = self.state.lock();
        let mut taken = 0;
        for byte in bytes {
            let Some(received) = state.input.pop() else { break };
            *byte = received;
            taken += 1;
        }
        if taken > 0 && state.wanted & WANT_RECEIVED == 0 {
            // The ring was full, and the hardware may hold more.
            self.settle(state);
        }
        taken
    }

    /// Ready when [`Uart::read`] has something. For one reader at a time.
    pub fn poll_input(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.input.is_empty() {
            return Poll::Ready(());
        }
        let old = state.reader.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Sends as much of `bytes` as there is room for, and returns how much that is.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        let mut given = 0;
        for &byte in bytes {
            if state.output.is_full() {
                // The hardware may be faster than its interrupt.
                self.transfer(&mut state);
            }
            if !state.output.push(byte) {
                break;
            }
            given += 1;
        }
        self.settle(state);
        given
    }

    /// Ready when [`Uart::write`] has room. For one writer at a time.
    pub fn poll_output(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.output.is_full() {
            return Poll::Ready(());
        }
        let old = state.writer.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Received bytes that were lost in the hardware, as far as it tells.
    pub fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    /// Sends everything that [`Uart::write`] has taken, waiting for the hardware: for the way down, when no
    /// interrupt will come. Gives up if the lock is held, or the hardware does not go on.
    pub fn flush(&self) {
        let Some(mut state) = self.state.try_lock() else { return };
        while let Some(byte) = state.output.pop() {
            if !self.send_polled(byte) {
                return;
            }
        }
    }

    /// Sends bytes at once, past everything that is queued, without a lock: for last words. Gives up on
    /// hardware that does not go on.
    pub fn write_emergency(&self, bytes: &[u8]) {
        for &byte in bytes {
            if !self.send_polled(byte) {
                return;
            }
        }
    }

    fn send_polled(&self, byte: u8) -> bool {
        for _ in 0..PATIENCE {
            if self.registers.read(LINE_STATUS) & EMPTY != 0 {
                self.registers.write(DATA, byte);
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    /// Reads the line status; reading forgets an overrun, so it is counted here.
    fn status(&self, state: &mut State) -> u8 {
        let status = self.registers.read(LINE_STATUS);
        state.lost += u64::from(status & OVERRUN != 0);
        status
    }

    /// Moves bytes both ways, and wakes whoever can go on. Whatever moves bytes ends with this: a byte that a
    /// writer took out of the hardware raises no interrupt any more, so the writer must wake its reader.
    fn settle(&self, mut state: IrqGuard<'_, State>) {
        self.transfer(&mut state);
        let reader = if state.input.is_empty() { None } else { state.reader.take() };
        let writer = if state.output.is_full() { None } else { state.writer.take() };
        drop(state);
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Moves bytes both ways and asks for the interrupts that are needed to go on.
    fn transfer(&self, state: &mut State) {
        let mut status = self.status(state);
        for _ in 0..BUDGET {
            if status & RECEIVED == 0 || state.input.is_full() {
                break;
            }
            state.input.push(self.registers.read(DATA));
            status = self.status(state);
        }
        for _ in 0..BUDGET / FIFO_BYTES {
            if status & EMPTY == 0 || state.output.is_empty() {
                break;
            }
            for _ in 0..FIFO_BYTES {
                let Some(byte) = state.output.pop() else { break };
                self.registers.write(DATA, byte);
            }
            status = self.status(state);
        }
        let received = if state.input.is_full() { 0 } else { WANT_RECEIVED };
        let empty = if state.output.is_empty() { 0 } else { WANT_EMPTY };
        if state.wanted != received | empty {
            state.wanted = received | empty;
            self.registers.write(INTERRUPTS, state.wanted);
        }
    }
}

impl<R: Registers> hal::irq::Handler for Uart<R> {
    fn interrupt(&self) {
        let state = self.state.lock();
        // Never asked for, but a firmware may have left it pending: reading ends it.
        let _ = self.registers.read(MODEM_STATUS);
        self.settle(state);
    }
}
