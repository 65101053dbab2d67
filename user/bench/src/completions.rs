//! A thread that computes while reads of a ring are pending (note 0008, section 10): how its program hears of those that complete, what that costs and how late it is.

use crate::measure::{self, Outcome, call};
use crate::processes::{fork, wait};
use crate::urgency;
use alloc::boxed::Box;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use rt::abi::io_uring::{IORING_OP_READ, Sqe};
use rt::abi::nr;
use rt::abi::process::SCHED_FIFO;
use rt::io::{self, Write};
use rt::ring::Ring;
use rt::sync::Mutex;
use rt::time::Duration;
use rt::uintr::{Handlers, Receiver, Right, receive};
use rt::{fs, pipe, raw, thread};

/// Ways to hear of them, and how many reads are pending.
const WAYS: [&str; 4] = ["interrupt", "enter", "call", "look"];
const LOADS: [usize; 3] = [1, 8, 32];
/// How often all of them complete, and how many of these come first, to warm up: they are not asked how late they were.
const ROUNDS: usize = 330;
const WARM: usize = 30;
/// Turns of a loop of two instructions between two looks.
const SLICE: u64 = 5_000;
/// Levels of `SCHED_FIFO`: of who writes, so that all writes of a round are done first, and of a thread that waits in the ring, above what computes.
const WRITES: i32 = 90;
const WAITS: i32 = 50;

/// All rows, each in a process of its own. None on Linux, which has no vectors.
pub fn rows() -> Outcome {
    if !urgency::has_slots() {
        return Ok(());
    }
    for way in WAYS {
        for load in LOADS {
            urgency::in_a_process(&["--pending", &format!("{way}_{load}")])?;
        }
    }
    Ok(())
}

/// Between two rounds: 200 to 900 us, not in step with ticks or slices.
fn span(round: usize) -> Duration {
    Duration::from_micros(200 + (round as u64 * 7_919) % 701)
}

fn stand_at(level: i32) -> Outcome {
    call(nr::SCHED_SETSCHEDULER, &[0, SCHED_FIFO as usize, &raw const level as usize])?;
    Ok(())
}

/// The reads: the next of each pipe begins when the one before it is taken.
struct Reads {
    ring: Ring,
    pipes: Vec<fs::File>,
    stamps: Vec<u64>,
    /// How late each was.
    late: Vec<f64>,
}

impl Reads {
    fn new(pipes: Vec<fs::File>) -> io::Result<Self> {
        let (load, ring) = (pipes.len(), Ring::new(64, 0)?);
        let mut reads = Self { ring, pipes, stamps: vec![0; load], late: Vec::with_capacity(load * ROUNDS) };
        (0..load).for_each(|index| reads.push(index));
        reads.ring.submit(0)?;
        Ok(reads)
    }

    fn push(&mut self, index: usize) {
        let (addr, len) = (&raw mut self.stamps[index] as u64, size_of::<u64>() as u32);
        let (fd, user_data) = (self.pipes[index].fd().raw(), index as u64);
        let _ = self.ring.push_raw(&Sqe {
            opcode: IORING_OP_READ,
            fd,
            addr,
            len,
            off: u64::MAX,
            user_data,
            ..Sqe::default()
        });
    }

    /// Takes what has completed, and pushes the next; whether there was anything.
    fn take(&mut self) -> bool {
        let mut found = false;
        while let Some(cqe) = self.ring.pop() {
            let index = cqe.user_data as usize;
            let stamp = raw::load64(&raw const self.stamps[index] as usize);
            self.late.push(measure::instructions_since(stamp) as f64);
            self.push(index);
            found = true;
        }
        found
    }

    /// The same, and submits them.
    fn serve(&mut self) -> Outcome {
        // What completes where it is submitted raises nothing.
        while self.take() {
            self.ring.submit(0)?;
        }
        Ok(())
    }

    /// Waits for each, and submits the next with the same call.
    fn wait_for_all(&mut self) -> Outcome {
        while !self.are_over() {
            self.ring.submit(1)?;
            self.take();
        }
        Ok(())
    }

    fn are_over(&self) -> bool {
        self.late.len() >= self.pipes.len() * ROUNDS
    }
}

/// Who hears of completions.
struct Hears {
    reads: Mutex<Reads>,
    over: AtomicBool,
}

impl Hears {
    /// In the handler, which interrupts a thread that does not lock it; or in that thread.
    fn serve(&self) {
        let Some(mut reads) = self.reads.try_lock() else { return };
        let served = reads.serve();
        // Relaxed: nothing is handed over with it.
        self.over.store(served.is_err() || reads.are_over(), Relaxed);
    }

    /// With a call, whether there is something or not.
    fn call(&self) {
        if let Some(mut reads) = self.reads.try_lock() {
            let _ = reads.ring.submit(0);
        }
        self.serve();
    }

    /// By a thread that does nothing else.
    fn serve_all(&self) -> Outcome {
        let served = stand_at(WAITS).and_then(|()| self.reads.lock().wait_for_all());
        self.over.store(true, Relaxed);
        served
    }

    /// Computes until they are over, and does this after each slice; how many there were.
    fn compute(&self, between: impl Fn()) -> u64 {
        let mut slices = 0;
        while !self.over.load(Relaxed) {
            let _ = raw::hold_integers(0, SLICE);
            slices += 1;
            between();
        }
        slices
    }
}

/// A row's process, `bench --pending WAY_LOAD`.
pub fn pending(kind: &str) -> Outcome {
    let (way, load) = kind.split_once('_').unwrap_or((kind, "1"));
    let load: usize = load.parse().unwrap_or(1);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..load {
        let (read, write) = pipe::pipe()?;
        here.push(read);
        there.push(write);
    }
    let hears: &'static Hears =
        Box::leak(Box::new(Hears { reads: Mutex::new(Reads::new(here)?), over: AtomicBool::new(false) }));
    let told = if way == "interrupt" { Some(interrupted(hears)?) } else { None };
    let writer = fork(|| {
        let _ = write_all(&mut there);
    })?;
    let started = raw::instret();
    let slices = match way {
        "enter" => {
            let waits = thread::spawn(|| hears.serve_all())?;
            let slices = hears.compute(|| ());
            waits.join().unwrap_or(Ok(()))?;
            slices
        }
        "call" => hears.compute(|| hears.call()),
        "look" => hears.compute(|| hears.serve()),
        _ => hears.compute(|| ()),
    };
    let cost = measure::instructions_since(started) - slices * SLICE * 2;
    wait(writer)?;
    drop(told);
    report(kind, cost, &mut hears.reads.lock().late);
    Ok(())
}

/// Completions interrupt the calling thread for as long as it keeps these.
fn interrupted(hears: &'static Hears) -> io::Result<(Receiver, Right)> {
    let handler: &'static _ = Box::leak(Box::new(|_| hears.serve()));
    let receiver = receive(raw::on(Handlers::new(), 0, handler))?;
    let right = receiver.grant(1)?;
    hears.reads.lock().ring.raise(&right, 0)?;
    Ok((receiver, right))
}

/// In a process of its own: lets all reads complete, so often, each with what the counter said.
fn write_all(pipes: &mut [fs::File]) -> Outcome {
    stand_at(WRITES)?;
    for round in 0..ROUNDS {
        thread::sleep(span(round));
        for pipe in &mut *pipes {
            pipe.write_all(&raw::instret().to_le_bytes())?;
        }
    }
    Ok(())
}

/// What a completion costs, all that the hart does but computing; and how late they were, 99 of a hundred.
fn report(kind: &str, cost: u64, late: &mut [f64]) {
    measure::report(&format!("pending_{kind}"), cost as f64 / late.len() as f64, "insn");
    let warm = late.len() / ROUNDS * WARM;
    let late = &mut late[warm..];
    late.sort_by(f64::total_cmp);
    if let Some(value) = late.get((late.len() * 99).div_ceil(100).saturating_sub(1)) {
        measure::report(&format!("pending_{kind}_p99"), *value, "insn");
    }
}
