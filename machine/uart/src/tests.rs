//! The driver against a model of a 16550.

use super::*;
use hal::irq::Handler;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::vec::Vec;
use std::{assert_eq, vec};

#[derive(Default)]
struct Chip {
    received: VecDeque<u8>,
    fifo: VecDeque<u8>,
    /// The last byte has left the FIFO, and is not on the line yet.
    shifting: bool,
    sent: Vec<u8>,
    interrupts: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    divisor: [u8; 2],
    /// Reads and writes of registers.
    accesses: usize,
    overrun: bool,
    /// The line takes bytes as fast as they come.
    fast: bool,
    /// So does the port itself, which receives them.
    looped: bool,
}

#[derive(Clone, Default)]
struct Model(Arc<Mutex<Chip>>);

impl Model {
    fn type_in(&self, bytes: &[u8]) {
        self.0.lock().unwrap().received.extend(bytes);
    }

    /// The line has carried away what was in the FIFO.
    fn carry(&self) {
        let chip = &mut *self.0.lock().unwrap();
        chip.sent.extend(chip.fifo.drain(..));
    }

    fn interrupts(&self) -> u8 {
        self.0.lock().unwrap().interrupts
    }

    fn sent(&self) -> Vec<u8> {
        self.0.lock().unwrap().sent.clone()
    }
}

impl Registers for Model {
    fn read(&self, number: usize) -> u8 {
        let chip = &mut *self.0.lock().unwrap();
        chip.accesses += 1;
        match number {
            DATA => chip.received.pop_front().expect("read without data"),
            LINE_STATUS => {
                let overrun = if core::mem::take(&mut chip.overrun) { OVERRUN } else { 0 };
                let received = if chip.received.is_empty() { 0 } else { RECEIVED };
                let empty = if chip.fifo.is_empty() { EMPTY } else { 0 };
                let idle = if chip.fifo.is_empty() && !chip.shifting { IDLE } else { 0 };
                overrun | received | empty | idle
            }
            MODEM_STATUS => CARRIER,
            _ => panic!("register {number} is not read"),
        }
    }

    fn write(&self, number: usize, value: u8) {
        let chip = &mut *self.0.lock().unwrap();
        chip.accesses += 1;
        match number {
            DATA | INTERRUPTS if chip.line_control & DIVISOR != 0 => chip.divisor[number] = value,
            DATA if chip.looped && chip.received.len() == FIFO_BYTES => chip.overrun = true,
            DATA if chip.looped => chip.received.push_back(value),
            DATA if chip.fast => chip.sent.push(value),
            DATA => {
                assert!(chip.fifo.len() < FIFO_BYTES, "FIFO overrun");
                chip.fifo.push_back(value);
            }
            INTERRUPTS => chip.interrupts = value,
            FIFO => {
                chip.fifo_control = value;
                if value & FIFO_CLEAR == FIFO_CLEAR {
                    chip.received.clear();
                    chip.fifo.clear();
                }
            }
            LINE_CONTROL => chip.line_control = value,
            MODEM_CONTROL => chip.modem_control = value,
            _ => panic!("register {number} is not written"),
        }
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn started() -> (Uart<Model>, Model) {
    let model = Model::default();
    let uart = Uart::new(model.clone());
    uart.start();
    (uart, model)
}

#[test]
fn starting_keeps_what_was_typed_early() {
    let model = Model::default();
    model.type_in(b"early");
    let uart = Uart::new(model.clone());
    uart.start();
    // FIFOs on, not cleared.
    assert_eq!(model.0.lock().unwrap().fifo_control & 7, 1);
    let mut bytes = [0; 8];
    assert_eq!((uart.read(&mut bytes), &bytes[..5]), (5, b"early".as_slice()));
    assert_eq!(model.interrupts(), WANT_RECEIVED);
}

#[test]
fn input_wakes_the_reader() {
    let (uart, model) = started();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(uart.poll_input(&mut cx).is_pending());
    model.type_in(b"ab");
    uart.interrupt();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(uart.poll_input(&mut cx).is_ready());
    let mut byte = [0];
    assert_eq!((uart.read(&mut byte), byte), (1, *b"a"));
    assert_eq!((uart.read(&mut byte), byte), (1, *b"b"));
    assert_eq!(uart.read(&mut byte), 0);
}

#[test]
fn input_that_a_writer_took_from_the_hardware_wakes_the_reader() {
    let (uart, model) = started();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(uart.poll_input(&mut Context::from_waker(&waker)).is_pending());
    // Fewer bytes than the FIFO's trigger level: the chip has not interrupted yet, and now it never will.
    model.type_in(b"ab");
    assert_eq!(uart.write(b"echo"), 4);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[test]
fn output_that_a_reader_moved_on_wakes_the_writer() {
    let (uart, model) = started();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    model.type_in(&[1; INPUT + 1]);
    (0..INPUT / BUDGET + 1).for_each(|_| uart.interrupt());
    uart.write(&[7; OUTPUT + FIFO_BYTES]);
    assert!(uart.poll_output(&mut Context::from_waker(&waker)).is_pending());
    model.carry();
    assert_eq!(uart.read(&mut [0]), 1);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_full_ring_stops_the_sender_and_loses_nothing() {
    let (uart, model) = started();
    let text: Vec<u8> = (0..INPUT + 100).map(|n| n as u8).collect();
    model.type_in(&text);
    for _ in 0..INPUT / BUDGET + 5 {
        uart.interrupt();
    }
    assert_eq!((model.interrupts() & WANT_RECEIVED, model.0.lock().unwrap().received.len()), (0, 100));
    let mut read = Vec::new();
    let mut part = [0; 77];
    loop {
        match uart.read(&mut part) {
            0 => break,
            len => read.extend_from_slice(&part[..len]),
        }
    }
    assert_eq!(read, text);
    assert_eq!((model.interrupts() & WANT_RECEIVED, uart.lost()), (WANT_RECEIVED, 0));
}

#[test]
fn output_goes_out_a_fifo_at_a_time() {
    let (uart, model) = started();
    let text: Vec<u8> = (0..100).collect();
    assert_eq!(uart.write(&text), 100);
    assert_eq!(model.0.lock().unwrap().fifo.len(), FIFO_BYTES);
    assert_eq!(model.interrupts(), WANT_RECEIVED | WANT_EMPTY);
    for _ in 0..7 {
        model.carry();
        uart.interrupt();
    }
    assert_eq!(model.sent(), text);
    assert_eq!(model.interrupts(), WANT_RECEIVED);
}

#[test]
fn output_has_back_pressure() {
    let (uart, model) = started();
    let text = vec![7; OUTPUT + 100];
    assert_eq!(uart.write(&text), OUTPUT + FIFO_BYTES);
    assert_eq!(uart.write(&text), 0);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(uart.poll_output(&mut Context::from_waker(&waker)).is_pending());
    model.carry();
    uart.interrupt();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(uart.write(&text), FIFO_BYTES);
}

#[test]
fn a_fast_line_needs_no_interrupt() {
    let (uart, model) = started();
    model.0.lock().unwrap().fast = true;
    assert_eq!(uart.write(&[1; 200]), 200);
    assert_eq!((model.sent().len(), model.interrupts()), (200, WANT_RECEIVED));
}

#[test]
fn last_words_pass_the_queue_and_flush_sends_the_rest() {
    let (uart, model) = started();
    model.0.lock().unwrap().fifo.push_back(b'x');
    uart.write(b"queued");
    model.carry();
    model.0.lock().unwrap().fast = true;
    uart.write_emergency(b"last");
    uart.flush();
    assert_eq!(model.sent(), b"xlastqueued");
}

#[test]
fn dead_hardware_holds_nobody_up() {
    let (uart, model) = started();
    model.0.lock().unwrap().fifo.push_back(0);
    uart.write_emergency(b"no one listens");
    uart.write(b"nor here");
    uart.flush();
    assert_eq!(model.sent(), b"");
}

#[test]
fn lost_bytes_are_counted() {
    let (uart, model) = started();
    model.0.lock().unwrap().overrun = true;
    model.type_in(b"x");
    uart.interrupt();
    assert_eq!(uart.lost(), 1);
}

#[test]
fn a_port_that_is_stopped_is_not_touched() {
    let (uart, model) = started();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert_eq!(uart.write(&[7; OUTPUT + 100]), OUTPUT + FIFO_BYTES);
    assert!(uart.poll_output(&mut Context::from_waker(&waker)).is_pending());
    uart.stop();
    assert_eq!((count.0.load(Ordering::SeqCst), uart.unsent()), (1, 0));
    assert_eq!((model.interrupts(), model.0.lock().unwrap().modem_control), (0, 0));
    assert_eq!(model.0.lock().unwrap().fifo, []);
    let accesses = model.0.lock().unwrap().accesses;
    model.type_in(b"for another");
    uart.interrupt();
    // Who waits to write is not held up by a port that is another's.
    assert_eq!(uart.write(&[7; 3 * OUTPUT]), 3 * OUTPUT);
    assert_eq!(uart.read(&mut [0; 4]), 0);
    uart.set_modem(LOOP, 0);
    assert_eq!(uart.modem(), (READY | LOOP, 0));
    assert_eq!(model.0.lock().unwrap().accesses, accesses);
}

#[test]
fn a_port_that_was_others_begins_anew() {
    let (uart, model) = started();
    uart.set_modem(LOOP, TERMINAL_READY | GATE);
    assert_eq!(uart.modem(), (REQUEST | GATE | LOOP, CARRIER));
    uart.stop();
    model.type_in(b"another's");
    model.0.lock().unwrap().fifo.extend(b"another's");
    uart.restart();
    {
        let chip = model.0.lock().unwrap();
        assert_eq!((chip.divisor, chip.line_control), ([SPEED_9600, 0], EIGHT_BITS));
        // The loop stays, as on Linux.
        assert_eq!(chip.modem_control, READY | LOOP);
    }
    assert_eq!((uart.read(&mut [0; 16]), model.interrupts()), (0, WANT_RECEIVED));
    model.type_in(b"own");
    uart.interrupt();
    assert_eq!((uart.read(&mut [0; 16]), uart.write(b"too")), (3, 3));
    model.carry();
    assert_eq!(model.sent(), b"too");
}

#[test]
fn what_was_not_sent_is_forgotten_on_demand() {
    let (uart, model) = started();
    uart.write(&[1; 100]);
    assert_eq!(uart.unsent(), 100 - FIFO_BYTES);
    uart.discard();
    // The hardware has some, which it does not give back.
    assert_eq!(uart.unsent(), 1);
    model.carry();
    uart.interrupt();
    assert_eq!(uart.unsent(), 0);
    assert_eq!(model.sent(), [1; FIFO_BYTES]);
    assert_eq!(model.interrupts(), WANT_RECEIVED);
}

#[test]
fn what_the_hardware_is_sending_is_unsent() {
    let (uart, model) = started();
    assert_eq!((uart.unsent(), uart.write(b"last"), uart.unsent()), (0, 4, 1));
    model.0.lock().unwrap().shifting = true;
    model.carry();
    uart.interrupt();
    assert_eq!(uart.unsent(), 1);
    model.0.lock().unwrap().shifting = false;
    assert_eq!(uart.unsent(), 0);
    // Looking for it takes nothing from the count of what was lost, and is for the owner alone.
    model.0.lock().unwrap().overrun = true;
    assert_eq!((uart.unsent(), uart.lost()), (0, 1));
    uart.stop();
    model.0.lock().unwrap().shifting = true;
    assert_eq!(uart.unsent(), 0);
}

#[test]
fn what_it_sends_to_itself_finds_room() {
    let (uart, model) = started();
    model.0.lock().unwrap().looped = true;
    let text: Vec<u8> = (0..200).collect();
    assert_eq!(uart.write(&text), 200);
    uart.interrupt();
    let mut back = [0; 300];
    assert_eq!((uart.read(&mut back), uart.lost()), (200, 0));
    assert_eq!(back[..200], text);
}
