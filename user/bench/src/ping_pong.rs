//! Two processes on two harts that wake each other in turn: by user interrupts, running and waiting, and by what else there is. Times, as instructions
//! of several harts do not tell how long anybody waits.

use crate::channels::{Body, next, serve};
use crate::measure::{Outcome, call, report};
use crate::processes::{end, fork};
use crate::user_interrupts::{Seen, await_more, counting};
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use rt::abi::mm::{MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE};
use rt::abi::nr;
use rt::abi::signal::{SIG_BLOCK, SIGCHLD, SIGUSR1};
use rt::channel::{Channel, pair};
use rt::time::Instant;
use rt::uintr::{Receiver, Sender};
use rt::{io, raw};

const ROUNDS: u32 = 5_000;
/// Without a time slice's end, or another program's turn, in every measurement.
const TRIES: u32 = 5;
const CLONE_FILES: usize = 0x400;

/// All of them; the two harts that the first takes are 0 and 1.
pub fn rows() -> Outcome {
    go_to(0)?;
    signals()?;
    with_descriptors("pp_eventfd", || {
        let [there, back] = [call(nr::EVENTFD2, &[0, 0])?, call(nr::EVENTFD2, &[0, 0])?];
        Ok([[there, there], [back, back]])
    })?;
    with_descriptors("pp_pipe", || Ok([pipe()?, pipe()?]))?;
    // Another kernel has no user interrupts.
    let Ok((receiver, seen)) = counting() else { return Ok(()) };
    by_interrupts("pp_uintr_running", &receiver, seen, |_, seen, before| spin(seen, before))?;
    by_interrupts("pp_uintr_blocked", &receiver, seen, await_more)?;
    by_channel()?;
    by_channel_interrupts(&receiver, seen)
}

/// A request and its reply by a channel, both sides of which wait.
fn by_channel() -> Outcome {
    let (near, far) = pair::<Body, Body>(64)?;
    let child = fork(|| {
        let _ = go_to(1).and_then(|()| far.open()).and_then(serve); // ends by being killed
    })?;
    let mut client: Channel<Body, Body> = near.open()?;
    timed("pp_channel", || client.call(&[1; 8]).map(drop))?;
    end(child)
}

/// The same between sides that listen and run: each message raises an interrupt, and nobody calls the kernel.
fn by_channel_interrupts(receiver: &Receiver, seen: &'static Seen) -> Outcome {
    let (near, far) = pair::<Body, Body>(64)?;
    let child = fork(|| {
        let _ = go_to(1).and_then(|()| far.open()).and_then(answer_interrupts);
    })?;
    let mut client: Channel<Body, Body> = near.open()?;
    client.bind(receiver, 0)?;
    timed("pp_channel_interrupt", || {
        client.send(&[1; 8])?;
        next(&mut client, seen, |before| spin(seen, before)).map(drop)
    })?;
    end(child)
}

fn answer_interrupts(mut server: Channel<Body, Body>) -> Outcome {
    let (receiver, seen) = counting()?;
    server.bind(&receiver, 0)?;
    loop {
        let request = next(&mut server, seen, |before| spin(seen, before))?;
        server.send(&request)?;
    }
}

/// Computes until more have come.
fn spin(seen: &Seen, before: u32) -> Outcome {
    for _ in 0..u32::MAX {
        if seen.count() > before {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(io::Error::new(io::ErrorKind::Other, "no interrupt comes: the other process has ended"))
}

/// Keeps the calling thread on a hart.
pub fn go_to(hart: usize) -> Outcome {
    let mask = 1_u64 << hart;
    call(nr::SCHED_SETAFFINITY, &[0, 8, &raw const mask as usize])?;
    Ok(())
}

/// A process on a hart, which has this one's descriptors, not copies of them.
pub fn partner(hart: usize, body: impl FnOnce() -> Outcome) -> io::Result<i32> {
    match call(nr::CLONE, &[SIGCHLD as usize | CLONE_FILES, 0, 0, 0, 0])? {
        0 => {
            let _ = go_to(hart).and_then(|()| body());
            loop {
                let _ = call(nr::EXIT_GROUP, &[1]);
            }
        }
        pid => Ok(pid as i32),
    }
}

/// The best time of a turn, in microseconds.
fn timed(row: &str, mut turn: impl FnMut() -> Outcome) -> Outcome {
    let mut best = f64::MAX;
    (0..ROUNDS / 10).try_for_each(|_| turn())?;
    for _ in 0..TRIES {
        let start = Instant::now();
        (0..ROUNDS).try_for_each(|_| turn())?;
        best = best.min(start.elapsed().as_nanos() as f64 / 1_000.0 / f64::from(ROUNDS));
    }
    report(row, best, "us");
    Ok(())
}

fn pipe() -> io::Result<[usize; 2]> {
    let mut ends = [0_i32; 2];
    call(nr::PIPE2, &[&raw mut ends as usize, 0])?;
    Ok(ends.map(|end| end as usize))
}

/// By two files, each of which has an end to read and one to write.
fn with_descriptors(row: &str, make: impl Fn() -> io::Result<[[usize; 2]; 2]>) -> Outcome {
    let [there, back] = make()?;
    let write = |to: usize| call(nr::WRITE, &[to, &raw const ONE as usize, 8]);
    let read = |from: usize| {
        let mut word = 0_u64;
        call(nr::READ, &[from, &raw mut word as usize, 8])
    };
    let child = partner(1, || {
        loop {
            read(there[0])?;
            write(back[1])?;
        }
    })?;
    timed(row, || {
        write(there[1])?;
        read(back[0])?;
        Ok(())
    })?;
    end(child)
}

static ONE: u64 = 1;

/// Signals that both have blocked and wait for, which is the least that the kernel does for one.
fn signals() -> Outcome {
    let set = 1_u64 << (SIGUSR1 - 1);
    call(nr::RT_SIGPROCMASK, &[SIG_BLOCK as usize, &raw const set as usize, 0, 8])?;
    let own = rt::process::id() as usize;
    let take = || call(nr::RT_SIGTIMEDWAIT, &[&raw const set as usize, 0, 0, 8]);
    let send = |pid: usize| call(nr::KILL, &[pid, SIGUSR1 as usize]);
    let child = partner(1, || {
        loop {
            take()?;
            send(own)?;
        }
    })?;
    timed("pp_signal", || {
        send(child as usize)?;
        take()?;
        Ok(())
    })?;
    end(child)
}

/// A word that children share.
pub fn shared_word() -> io::Result<&'static AtomicU32> {
    let rights = (PROT_READ | PROT_WRITE) as usize;
    let page = call(nr::MMAP, &[0, 4096, rights, (MAP_SHARED | MAP_ANONYMOUS) as usize, usize::MAX, 0])?;
    Ok(raw::atomic(page))
}

fn by_interrupts(
    row: &str,
    receiver: &Receiver,
    seen: &'static Seen,
    await_one: fn(&Receiver, &Seen, u32) -> Outcome,
) -> Outcome {
    let descriptor = shared_word()?;
    let answer = Sender::open(receiver.grant(1)?)?;
    let child = partner(1, || {
        let (receiver, seen) = counting()?;
        let right = receiver.grant(1)?;
        descriptor.store(right.fd().raw() as u32, Release); // pairs with the Acquire below
        for before in 0.. {
            await_one(&receiver, seen, before)?;
            answer.send(0)?;
        }
        Ok(())
    })?;
    while descriptor.load(Acquire) == 0 {
        call(nr::SCHED_YIELD, &[])?;
    }
    let ask = Sender::open(raw::right(descriptor.load(Relaxed) as usize))?;
    timed(row, || {
        let before = seen.count();
        ask.send(0)?;
        await_one(receiver, seen, before)
    })?;
    end(child)
}
