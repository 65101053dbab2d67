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
//! before [`Uart::start`] is thrown away. A port that others may drive meanwhile begins with [`Uart::restart`], which
//! keeps nothing of theirs, and ends with [`Uart::stop`], behind which the driver touches no register.
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

pub use registers::{CARRIER, CLEAR, GATE, LOOP, Mapped, OUT1, REQUEST, RING, Registers, SET_READY, TERMINAL_READY};

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
    /// The device is this driver's.
    is_on: bool,
    /// What the register [`MODEM_CONTROL`] holds, or will.
    modem: u8,
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
        let state = State {
            is_on: false,
            modem: READY,
            input: Ring::new(),
            output: Ring::new(),
            wanted: 0,
            lost: 0,
            reader: None,
            writer: None,
        };
        Uart { registers, state: IrqLock::new(rank::DEVICE, state) }
    }

    /// Sets the device up and asks it for interrupts. Its line must be claimed for this driver by then, or soon.
    pub fn start(&self) {
        self.begin(&mut self.state.lock(), 0);
    }

    /// As [`Uart::start`], for a device that others have driven: nothing of them is kept, and it has the usual speed, 9,600 bits a second.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        self.registers.write(LINE_CONTROL, DIVISOR);
        // The divisor's halves lie where these are otherwise.
        self.registers.write(DATA, SPEED_9600);
        self.registers.write(INTERRUPTS, 0);
        state.modem |= READY;
        self.begin(&mut state, FIFO_CLEAR);
    }

    fn begin(&self, state: &mut State, clear: u8) {
        self.registers.write(LINE_CONTROL, EIGHT_BITS);
        self.registers.write(FIFO, FIFO_ON | FIFO_EIGHT | clear);
        self.registers.write(MODEM_CONTROL, state.modem);
        state.wanted = 0;
        self.registers.write(INTERRUPTS, 0);
        state.is_on = true;
        self.transfer(state);
    }

    /// Leaves the device to others: it is asked for nothing and not touched any more, what it has received or not sent yet is forgotten, and what is written vanishes.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        self.registers.write(INTERRUPTS, 0);
        // Or the next owner's line would carry what this one's did not.
        self.registers.write(FIFO, FIFO_ON | FIFO_EIGHT | FIFO_CLEAR);
        self.registers.write(MODEM_CONTROL, 0);
        state.is_on = false;
        state.input.clear();
        self.settle_discarded(state);
    }

    /// Forgets what was written and not given to the hardware yet.
    pub fn discard(&self) {
        self.settle_discarded(self.state.lock());
    }

    fn settle_discarded(&self, mut state: IrqGuard<'_, State>) {
        state.output.clear();
        self.settle(state);
    }

    /// Bytes that were written and that the hardware has not taken; one at least while it is sending those that it has.
    pub fn unsent(&self) -> usize {
        let mut state = self.state.lock();
        // Who takes the device away, or clears its FIFO, must know of these, and the hardware does not tell how many.
        let is_sending = state.is_on && self.status(&mut state) & IDLE == 0;
        state.output.len().max(usize::from(is_sending))
    }

    /// The lines to the modem as they are set ([`TERMINAL_READY`] and so on), and those from it ([`CLEAR`] and so on).
    pub fn modem(&self) -> (u8, u8) {
        let state = self.state.lock();
        let from = if state.is_on { self.registers.read(MODEM_STATUS) } else { 0 };
        (state.modem, from)
    }

    /// Changes lines to the modem; the gate for interrupts stays open.
    pub fn set_modem(&self, set: u8, clear: u8) {
        let mut state = self.state.lock();
        state.modem = state.modem & !clear | set | GATE;
        if state.is_on {
            self.registers.write(MODEM_CONTROL, state.modem);
        }
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
        if !state.is_on {
            return bytes.len();
        }
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

    /// Takes as many bytes as a FIFO holds, at most.
    #[inline(always)]
    fn take_received(&self, state: &mut State, status: &mut u8) -> usize {
        let mut taken = 0;
        while taken < FIFO_BYTES && !state.input.is_full() && *status & RECEIVED != 0 {
            state.input.push(self.registers.read(DATA));
            *status = self.status(state);
            taken += 1;
        }
        taken
    }

    /// Gives as many bytes as a FIFO holds, if it is empty.
    #[inline(always)]
    fn send_some(&self, state: &mut State, status: &mut u8) -> usize {
        if state.output.is_empty() || *status & EMPTY == 0 {
            return 0;
        }
        let mut sent = 0;
        while sent < FIFO_BYTES
            && let Some(byte) = state.output.pop()
        {
            self.registers.write(DATA, byte);
            sent += 1;
        }
        *status = self.status(state);
        sent
    }

    /// Moves bytes both ways and asks for the interrupts that are needed to go on.
    fn transfer(&self, state: &mut State) {
        if !state.is_on {
            return;
        }
        // In turns: of a port that receives what it sends, as much as it is given at once finds room.
        let mut status = self.status(state);
        for _ in 0..BUDGET / FIFO_BYTES {
            let received = self.take_received(state, &mut status);
            let sent = self.send_some(state, &mut status);
            if received + sent == 0 {
                break;
            }
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
        if !state.is_on {
            // It comes late, and the device may be another's.
            return;
        }
        // Never asked for, but a firmware may have left it pending: reading ends it.
        let _ = self.registers.read(MODEM_STATUS);
        self.settle(state);
    }
}
