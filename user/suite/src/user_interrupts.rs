//! User interrupts: what is raised is handled once or more often than told, never lost, and never by who has no right (note 0008).

mod completions;
mod controller;
mod handlers;
mod mapping;
mod masks;
mod nesting;
mod passing;
mod places;
mod races;
mod registers;
mod rights;
mod timers;
mod waits;
pub mod worlds;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{Shared, checked_child, exits};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::Errno;
use rt::uintr::{Handlers, Receiver, Sender, receive};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("uintr/to-oneself", "U1 U5 D5", to_oneself),
    case!("uintr/each-vector", "U1 D5", each_vector),
    case!("uintr/errors", "U5 D5", rights::errors),
    case!("uintr/by-call", "U2", by_call),
    case!("uintr/rung-by-call", "U2", rights::rung_by_call),
    case!("uintr/from-a-child", "U1 U3 U4", from_a_child),
    case!("uintr/wakes-who-waits", "U4", wakes_who_waits),
    case!("uintr/ends-a-read", "U4", ends_a_read),
    case!("uintr/revoked", "U5", rights::revoked),
    case!("uintr/recycled", "U5", rights::recycled),
    case!("uintr/passed-on", "U3 U5", passing::passed_on),
    case!("uintr/other-worlds", "U3 U5 D5", worlds::both_ways),
    case!("uintr/revoked-in-flight", "U5 S6", passing::revoked_in_flight),
    case!("uintr/any-number", "U5 S6", rights::any_number),
    case!("uintr/anything-anywhere", "U5 S6", rights::anything_anywhere),
    case!("uintr/end-of-receiver", "U5", rights::end_of_receiver),
    case!("uintr/dropped-by-a-child", "U5", rights::dropped_by_a_child),
    case!("uintr/masked", "U4", masked),
    case!("uintr/masked-vectors", "U4", masks::one_by_one),
    case!("uintr/masked-by-a-handler", "U4", masks::by_a_handler),
    case!("uintr/masked-vectors-in-a-storm", "U4 S6", masks::in_a_storm),
    case!("uintr/order", "U4", order),
    case!("uintr/storm", "U4 S6", storm),
    case!("uintr/moves", "U4", places::moves),
    case!("uintr/slots-come-back", "U5 S6", rights::slots_come_back),
    case!("uintr/place-of-another", "U5 S6", rights::place_of_another),
    case!("uintr/revoked-by-another", "U5", rights::revoked_by_another),
    case!("uintr/sleeps-when-masked", "U4", waits::sleeps_when_masked),
    case!("uintr/sleep-in-a-handler", "U4", waits::sleep_in_a_handler),
    case!("uintr/in-user-mode", "U4 D5", waits::in_user_mode),
    case!("uintr/fork-in-user-mode", "U4 D5", waits::fork_in_user_mode),
    case!("uintr/noted", "U1 R3", waits::noted),
    case!("uintr/moves-and-evictions", "U4 D5", places::moves_and_evictions),
    case!("uintr/more-than-places", "U4 D5", places::more_than_places),
    case!("uintr/timer", "U4", timers::comes),
    case!("uintr/timer-taken-back", "U4", timers::is_taken_back),
    case!("uintr/timer-ticks", "U4", timers::ticks),
    case!("uintr/doorbell-as-buffer", "U5 S6", mapping::as_buffer),
    case!("uintr/doorbell-unmapped", "U5 S6", mapping::unmapped),
    case!("uintr/doorbell-unmapped-elsewhere", "U5 S6", mapping::unmapped_elsewhere),
    case!("uintr/doorbell-edited", "U5 S6", mapping::edited),
    case!("uintr/doorbell-mapped-often", "U5", mapping::mapped_often),
    case!("uintr/doorbell-absent", "U5 S6", mapping::absent),
    case!("uintr/stopped", "U4", races::stopped),
    case!("uintr/stopped-in-a-storm", "U4 S6", races::stopped_in_a_storm),
    case!("uintr/forks-in-a-storm", "U5 S6", races::forks_in_a_storm),
    case!("uintr/first-when-it-goes-on", "U4", races::first_when_it_goes_on),
    case!("uintr/moves-in-a-storm", "U4 S6", races::moves_in_a_storm),
    case!("uintr/revoked-while-it-rings", "U5 S6", races::revoked_while_it_rings),
    case!("uintr/sender-execs", "U5", races::sender_execs),
    case!("uintr/receiver-execs", "U5 S6", races::receiver_execs),
    case!("uintr/ends-in-a-storm", "U5 S6", races::ends_in_a_storm),
    case!("uintr/senders-killed", "U5 S6", races::senders_killed),
    case!("uintr/innocent-neighbour", "U4 S6", races::innocent_neighbour),
    case!("uintr/completions", "C5 U1", completions::of_a_ring),
    case!("uintr/completions-whatever-it-does", "C5 U1", completions::whatever_it_does),
    case!("uintr/completions-by-another-right", "C5 U1 U5", completions::by_another_right),
    case!("uintr/completions-at-its-end", "C5 U5 S6", completions::ends_meanwhile),
    case!("uintr/any-register", "S6 U5", registers::any),
    case!("uintr/every-register", "S6 U5", registers::every),
    case!("uintr/registers-at-random", "S6 U5", registers::at_random),
    case!("uintr/handler-faults", "U4 S6", handlers::faults),
    case!("uintr/handler-recurses", "U4 S6", handlers::recurses),
    case!("uintr/handler-loops", "U4 S6", handlers::loops),
    case!("uintr/handler-changes-stacks", "U4 S6", handlers::changes_stacks),
    case!("uintr/masked-for-ever", "U4 S6", handlers::masks),
    case!("uintr/leaves-nothing", "U5 S6", handlers::leaves_nothing),
    case!("uintr/nested-order", "U4", nesting::order),
    case!("uintr/nested-deep", "U4 S6", nesting::deep),
    case!("uintr/nested-in-a-storm", "U4 S6", nesting::in_a_storm),
    case!("uintr/nested-meanwhile", "U4 U7", nesting::goes_on_meanwhile),
    case!("uintr/nested-faults", "U4 S6", nesting::faults),
    case!("uintr/nested-forks", "U4 P1", nesting::forks),
    case!("uintr/as-asked", "D5", controller::as_asked),
    case!("uintr/world-by-itself", "D5", controller::world_by_itself),
    case!("uintr/controller-claims", "U5 D5", controller::claimed),
    case!("uintr/controller-is-full", "U5 S6 D5", controller::all_taken),
];

/// What handlers count, by vector.
struct Counts([AtomicU32; 64]);

impl Counts {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self([const { AtomicU32::new(0) }; 64])))
    }

    fn get(&self, vector: u32) -> u32 {
        self.0[vector as usize].load(Relaxed)
    }
}

/// A receiver whose handler of all vectors is this.
fn receiving(handler: impl Fn(u32) + Sync + 'static) -> Result<Receiver, Trouble> {
    let handler: &'static _ = Box::leak(Box::new(handler));
    begin((0..64).fold(Handlers::new(), |handlers, vector| raw::on(handlers, vector, handler)))
}

/// A receiver with these handlers.
fn begin(handlers: Handlers) -> Result<Receiver, Trouble> {
    needs_kernel("user interrupts")?;
    match receive(handlers) {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV.number()) => {
            Err(Trouble::skipped("no user interrupts in this world, or on this machine"))
        }
        receiver => Ok(receiver?),
    }
}

/// A receiver that counts.
fn counting() -> Result<(Receiver, &'static Counts), Trouble> {
    let counts = Counts::new();
    let receiver = receiving(|vector| {
        counts.0[vector as usize].fetch_add(1, Relaxed);
    })?;
    Ok((receiver, counts))
}

/// Waits until `done`, by waiting for interrupts.
fn until(receiver: &Receiver, done: impl Fn() -> bool) -> Outcome {
    loop {
        // Looked at while nothing is handled, and the wait ends for what comes behind the look.
        let over = rt::uintr::masked(receiver, || {
            if done() {
                return Ok(true);
            }
            match receiver.wait(None) {
                // It was stopped meanwhile.
                Err(error) if error.raw_os_error() == Some(Errno::EINTR.number()) => Ok(false),
                waited => waited.map(|()| false),
            }
        })?;
        if over {
            return Ok(());
        }
    }
}

fn to_oneself() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(1 << 5)?)?;
    for sent in 1..=1000 {
        sender.send(5)?;
        until(&receiver, || counts.get(5) == sent)?;
    }
    equal!(counts.get(5), 1000);
    Ok(())
}

fn each_vector() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(u64::MAX)?)?;
    rt::uintr::masked(&receiver, || (0..64).try_for_each(|vector| sender.send(vector)))?;
    until(&receiver, || (0..64).all(|vector| counts.get(vector) >= 1))?;
    equal!((0..64).map(|vector| counts.get(vector)).sum::<u32>(), 64);
    Ok(())
}

fn by_call() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(1 << 63 | 1 << 31 | 1)?)?;
    for vector in [63, 31, 0] {
        sender.send_by_call(vector)?;
    }
    until(&receiver, || [63, 31, 0].iter().all(|vector| counts.get(*vector) == 1))
}

/// A receiver whose child sends to it, one at a time, and has a `pause` while it waits for the next. `before` each the receiver does something.
fn from_another(rounds: u32, pause: fn(), before: impl Fn(u32) -> Outcome) -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << 7)?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=rounds {
            sender.send(7)?;
            while shared.get(0) < round {
                pause();
            }
        }
        Ok(())
    })?;
    for round in 1..=rounds {
        before(round)?;
        until(&receiver, || counts.get(7) >= round)?;
        shared.set(0, round);
    }
    exits(pid, 0)?;
    equal!(counts.get(7), rounds);
    Ok(())
}

fn from_a_child() -> Outcome {
    from_another(500, thread::yield_now, |_| Ok(()))
}

fn wakes_who_waits() -> Outcome {
    const ROUNDS: u32 = 50;
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << 2)?;
    let shared = Shared::new()?;
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        for round in 1..=ROUNDS {
            crate::process::await_blocked(waiter)?;
            sender.send(2)?;
            shared.await_least(0, round);
        }
        Ok(())
    })?;
    for round in 1..=ROUNDS {
        until(&receiver, || counts.get(2) >= round)?;
        shared.set(0, round);
    }
    exits(pid, 0)
}

fn ends_a_read() -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << 9)?;
    let (mut from, mut to) = rt::pipe::pipe()?;
    let waiter = rt::process::id() as i32;
    let pid = checked_child(|| {
        let sender = Sender::open(right)?;
        crate::process::await_blocked(waiter)?;
        sender.send(9)?;
        // The handler has run, and the read goes on.
        while !rt::fs::read_to_string(&alloc::format!("/proc/{waiter}/stat"))?.contains(") S") {
            thread::yield_now();
        }
        rt::io::Write::write_all(&mut to, b"x")?;
        Ok(())
    })?;
    let mut byte = [0];
    rt::io::Read::read_exact(&mut from, &mut byte)?;
    until(&receiver, || counts.get(9) == 1)?;
    equal!(byte, *b"x");
    exits(pid, 0)
}

fn masked() -> Outcome {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(3)?)?;
    rt::uintr::masked(&receiver, || -> Outcome {
        for _ in 0..10 {
            sender.send(0)?;
        }
        // It is there, and not taken.
        receiver.wait(None)?;
        equal!(counts.get(0), 0);
        Ok(())
    })?;
    until(&receiver, || counts.get(0) > 0)?;
    equal!(counts.get(0), 1);
    Ok(())
}

/// The most urgent vector is served first whoever sends it. Slots are given in ascending order, so that a claim finds the least urgent first.
fn order() -> Outcome {
    const VECTORS: [u32; 4] = [63, 31, 62, 0];
    let turns = Counts::new();
    let last = AtomicU32::new(0);
    let receiver = receiving(move |vector| turns.0[vector as usize].store(last.fetch_add(1, Relaxed) + 1, Relaxed))?;
    let mut senders = alloc::vec::Vec::new();
    for vector in VECTORS {
        senders.push(Sender::open(receiver.grant(1 << vector)?)?);
    }
    rt::uintr::masked(&receiver, || senders.iter().zip(VECTORS).try_for_each(|(sender, vector)| sender.send(vector)))?;
    until(&receiver, || VECTORS.iter().all(|vector| turns.get(*vector) != 0))?;
    equal!([0, 31, 62, 63].map(|vector| turns.get(vector)), [1, 2, 3, 4]);
    Ok(())
}

/// Several senders at once, as fast as they can: whoever reads the word last finds everything, the last message of each included.
fn storm() -> Outcome {
    const MESSAGES: u32 = 20_000;
    let shared = Shared::new()?;
    let seen = Counts::new();
    // What a sender has written before it sends is what its handler sees, or something later.
    let receiver = receiving(move |vector| seen.0[vector as usize].store(shared.get(vector as usize), Relaxed))?;
    let mut pids = alloc::vec::Vec::new();
    for vector in 0..4 {
        let right = receiver.grant(1 << vector)?;
        pids.push(checked_child(|| {
            let sender = Sender::open(right)?;
            for message in 1..=MESSAGES {
                shared.set(vector as usize, message);
                sender.send(vector)?;
            }
            Ok(())
        })?);
    }
    until(&receiver, || (0..4).all(|vector| seen.get(vector) == MESSAGES))?;
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}
