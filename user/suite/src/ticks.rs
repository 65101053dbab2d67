//! Green threads that ticks interrupt: they share a worker without yielding, what is urgent goes before them, and nothing that they are in
//! the middle of is lost (note 0008, section 10).

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{harts, needs_asyncos};
use crate::process::{child, exits, sleep_ms};
use crate::word::{flag, spin_until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use rt::io::{Read, Write};
use rt::sync::Mutex;
use rt::task::{self, Builder, JoinError, JoinHandle, Preemption, Priority, block_on, green, policy};
use rt::time::{Duration, sleep};
use rt::{async_pipe, io, pipe, raw, task_local, thread};

pub const CASES: &[Case] = &[
    case!("ticks/share-a-worker", "C5 S4 S5", share_a_worker),
    case!("ticks/alone-goes-on", "C5 S5", alone_goes_on),
    case!("ticks/urgent-first", "C5 S1 S4", urgent_first),
    case!("ticks/as-they-choose", "S4 S5", as_they_choose),
    case!("ticks/registers", "C5 P9", registers),
    case!("ticks/rounding", "C5 P9", rounding),
    case!("ticks/locks", "C5 S5", locks),
    case!("ticks/memory", "C5 S5", memory),
    case!("ticks/beside-waits", "C5 S4", beside_waits),
    case!("ticks/after-a-call", "C5 C7", after_a_call),
    case!("ticks/aborted", "C5 D14", aborted),
    case!("ticks/aborted-in-the-middle", "C5 D14", aborted_in_the_middle),
    case!("ticks/panics", "C5 D10", panics),
    case!("ticks/exit", "C5 D14", exit),
    case!("ticks/forks", "C5 P1", forks),
    case!("ticks/locals", "C5 S5", locals),
    case!("ticks/on-all-harts", "C5 P8", on_all_harts),
    case!("ticks/futures-share", "C5 S4 S5", futures_share),
    case!("ticks/futures-give-way", "C5 S1 S5", futures_give_way),
];

fn ticked<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    Builder::new().ticked().spawn_green(f)
}

/// How often green threads were left by ticks.
fn left() -> u64 {
    task::metrics().preempted
}

/// Spins until ticks have had so many green threads left, from now on.
fn spin_for(times: u64) {
    let end = left() + times;
    while left() < end {
        core::hint::spin_loop();
    }
}

/// All end, and found what they were to find.
fn all_hold(all: Vec<JoinHandle<bool>>) -> Outcome {
    for one in all {
        equal!(block_on(one), Ok(true));
    }
    Ok(())
}

/// On one hart one at least was left since this count; on more, each may have had one.
fn were_left_since(before: u64) -> Outcome {
    ensure!(harts() > 1 || left() > before, "never left");
    Ok(())
}

/// One that computes until the case is over, so that there is always somebody to give way to.
struct Beside {
    stop: Arc<AtomicU32>,
    one: JoinHandle<()>,
}

impl Beside {
    fn new() -> io::Result<Self> {
        let stop = flag();
        let spins = stop.clone();
        Ok(Self { stop, one: ticked(move || spin_until(&spins, 1))? })
    }

    fn end(self) -> Outcome {
        self.stop.store(1, SeqCst);
        equal!(block_on(self.one), Ok(()));
        Ok(())
    }
}

/// Three that never yield have turns on one worker, until each has had five. The kernel gives none of them a thread of its own: it sees each poll for less than a slice of its.
fn share_a_worker() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (turns, last) = (Arc::new([const { AtomicU32::new(0) }; 3]), flag());
    let before = left();
    let all: Vec<_> = (0..3_usize)
        .map(|number| {
            let (turns, last) = (turns.clone(), last.clone());
            let name = number as u32 + 1;
            ticked(move || {
                while turns.iter().any(|turns| turns.load(SeqCst) < 5) {
                    if last.swap(name, SeqCst) != name {
                        turns[number].fetch_add(1, SeqCst);
                    }
                }
            })
        })
        .collect();
    for one in all {
        equal!(block_on(one?), Ok(()));
    }
    // On more harts one that has lost its slot goes on beside another for a while.
    let least = if harts() == 1 { 5 } else { 1 };
    ensure!(left() - before >= least, "left {} times", left() - before);
    Ok(())
}

/// With nobody else there it is not left, and ends.
fn alone_goes_on() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let alone = ticked(|| {
        let before = left();
        let kept = raw::hold_integers(7, 20_000_000);
        (kept, left() - before)
    })?;
    let ended = block_on(alone);
    // Once perhaps for somebody who has just gone: the queue says so only when it is looked through.
    ensure!(matches!(ended, Ok((0, 0..=2))), "{ended:?}");
    Ok(())
}

/// What is more urgent, and is made ready by time, by the green thread itself, or by another thread, does not wait for its end.
fn urgent_first() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (ran, told) = (flag(), Arc::new(task::sync::Notify::new()));
    let (timed, notified) = (ran.clone(), told.clone());
    let first = task::spawn_with(Priority::new(10), async move {
        sleep(Duration::from_millis(3)).await;
        timed.fetch_add(1, SeqCst);
    });
    let seen = ran.clone();
    let second = task::spawn_with(Priority::new(10), async move {
        notified.notified().await;
        seen.fetch_add(1, SeqCst);
    });
    let teller = told.clone();
    let computes = ticked(move || {
        spin_until(&ran, 1);
        teller.notify_one();
        spin_until(&ran, 2);
        green::yield_now();
        green::is_current()
    })?;
    equal!(block_on(async { (first.await, second.await, computes.await) }), (Ok(()), Ok(()), Ok(true)));
    Ok(())
}

/// One that chose not to be preempted for its equals is left for what is more urgent alone.
fn as_they_choose() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let turns = |kinds: [Builder; 3]| -> Result<u64, Trouble> {
        let before = left();
        let turn = |kind: Builder| kind.ticked().spawn_green(move || raw::hold_integers(1, 8_000_000));
        let all: Vec<_> = kinds.into_iter().map(turn).collect();
        for one in all {
            equal!(block_on(one?), Ok(0));
        }
        Ok(left() - before)
    };
    let others = turns([(); 3].map(|()| Builder::new()))?;
    let choosing = turns([
        Builder::new().preemption(Preemption::Urgent),
        Builder::new().preemption(Preemption::Never),
        Builder::new().policy(policy::FIFO, 0),
    ])?;
    // Eight slices each, or more where it is slow. Now and then without their slot, which they lose where the thread waits for memory.
    ensure!(choosing <= 3 || 4 * choosing < others, "left {choosing} times, others {others}");
    Ok(())
}

/// Each has its own values in all registers, and finds them there.
fn registers() -> Outcome {
    needs_asyncos()?;
    let before = left();
    let mut all = Vec::new();
    for number in 0..6_u64 {
        all.push(ticked(move || {
            (0..3).all(|turn| {
                let seed = (number << 40) + turn;
                raw::hold_floats(seed, 2_000_000) == 0 && raw::hold_integers(seed, 2_000_000) == 0
            })
        })?);
    }
    all_hold(all)?;
    were_left_since(before)?;
    Ok(())
}

/// The rounding mode that one has chosen is its own.
fn rounding() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let usual = raw::rounding();
    let (gate, mut all) = (flag(), Vec::new());
    for mode in [1, 2, 3, usual] {
        let gate = gate.clone();
        all.push(ticked(move || {
            raw::set_rounding(mode);
            gate.fetch_add(1, SeqCst);
            spin_until(&gate, 4);
            spin_for(8);
            raw::rounding() == mode
        })?);
    }
    let beside = Beside::new()?;
    let other = task::spawn(async move {
        let mut kept = true;
        for _ in 0..20 {
            kept &= raw::rounding() == usual;
            sleep(Duration::from_millis(1)).await;
        }
        kept
    });
    all_hold(all)?;
    equal!(block_on(other), Ok(true));
    beside.end()
}

/// They take locks of both kinds all the time, and hold one for longer than a slice.
fn locks() -> Outcome {
    needs_asyncos()?;
    const EACH: u32 = 3_000;
    let (blocking, waiting) = (Arc::new(Mutex::new(0)), Arc::new(task::sync::Mutex::new(0)));
    let before = left();
    let mut all = Vec::new();
    for number in 0..5 {
        let (blocking, waiting) = (blocking.clone(), waiting.clone());
        all.push(ticked(move || {
            for round in 0..EACH {
                let mut count = blocking.lock();
                let seen = *count;
                if round % 1_000 == number {
                    core::hint::black_box(raw::hold_integers(1, 3_000_000));
                }
                *count = seen + 1;
                drop(count);
                let Ok(mut count) = green::block_on(waiting.lock()) else { return false };
                let seen = *count;
                core::hint::black_box(&mut *count);
                *count = seen + 1;
            }
            true
        })?);
    }
    all_hold(all)?;
    equal!(*blocking.lock(), 5 * EACH);
    equal!(block_on(async { waiting.lock().await.map(|count| *count).ok() }), Some(5 * EACH));
    were_left_since(before)?;
    Ok(())
}

/// They allocate, start tasks and wait for them all the time, beside coroutines that do so, too.
fn memory() -> Outcome {
    needs_asyncos()?;
    let before = left();
    let mut all = Vec::new();
    for number in 0..4_usize {
        all.push(ticked(move || {
            (0..400).all(|round| {
                let pieces: Vec<Vec<u8>> =
                    (0..20).map(|size| alloc::vec![number as u8; size * 40 + round % 50]).collect();
                let sum = task::spawn(async move { pieces.iter().flatten().map(|byte| *byte as usize).sum::<usize>() });
                let expected = (0..20).map(|size| (size * 40 + round % 50) * number).sum();
                green::block_on(sum) == Ok(expected)
            })
        })?);
    }
    let beside = Beside::new()?;
    all_hold(all)?;
    were_left_since(before)?;
    beside.end()
}

/// Two that never yield keep nobody from what comes by time, by a descriptor, or by a request of the ring.
fn beside_waits() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let stop = flag();
    let computing: Vec<_> = (0..2)
        .map(|_| {
            let stop = stop.clone();
            ticked(move || spin_until(&stop, 1))
        })
        .collect();
    let (sender, receiver) = async_pipe::pipe()?;
    let reads = task::spawn(async move {
        let mut sum = 0_u32;
        for _ in 0..20 {
            let mut byte = [0];
            receiver.read_exact(&mut byte).await.ok()?;
            sum += u32::from(byte[0]);
        }
        Some(sum)
    });
    let writes = task::spawn(async move {
        for byte in 0..20_u8 {
            sleep(Duration::from_millis(1)).await;
            sender.write_all(&[byte]).await.ok()?;
        }
        Some(())
    });
    equal!(block_on(async { (writes.await, reads.await) }), (Ok(Some(())), Ok(Some(190))));
    stop.store(1, SeqCst);
    for one in computing {
        ensure!(block_on(one?).is_ok());
    }
    Ok(())
}

/// One that has waited in the kernel comes back without its worker, and to the pool at its next tick.
fn after_a_call() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (mut read, mut write) = pipe::pipe()?;
    let waits = flag();
    let waiting = waits.clone();
    let first = ticked(move || {
        waiting.store(1, SeqCst);
        let mut byte = [0];
        if read.read_exact(&mut byte).is_err() {
            return false;
        }
        waiting.store(2, SeqCst);
        spin_for(6);
        true
    })?;
    let second = ticked(move || {
        spin_until(&waits, 1);
        thread::sleep(Duration::from_millis(5));
        let written = write.write_all(&[1]).is_ok();
        spin_until(&waits, 2);
        spin_for(6);
        written
    })?;
    let beside = Beside::new()?;
    equal!(block_on(async { (first.await, second.await) }), (Ok(true), Ok(true)));
    beside.end()
}

/// Aborted while it waits for its turn it goes on to where it waits, and no further.
fn aborted() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let stage = flag();
    let seen = stage.clone();
    let one = ticked(move || {
        seen.store(1, SeqCst);
        spin_until(&seen, 2);
        seen.store(3, SeqCst);
        green::yield_now();
        seen.store(4, SeqCst);
    })?;
    let beside = Beside::new()?;
    while stage.load(SeqCst) == 0 {
        sleep_ms(1);
    }
    // The other has had its turn, so this one was left.
    let before = left();
    while left() < before + 4 {
        sleep_ms(1);
    }
    one.abort();
    sleep_ms(10);
    stage.store(2, SeqCst);
    equal!(block_on(one), Err(JoinError::Cancelled));
    equal!(stage.load(SeqCst), 3);
    beside.end()
}

/// Aborted again and again in the middle of waking others, none of these is forgotten.
fn aborted_in_the_middle() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    green::set_slice(Duration::from_micros(100));
    for round in 0..40_u64 {
        let told: Vec<_> = (0..8).map(|_| Arc::new(task::sync::Semaphore::new(0))).collect();
        let waiting: Vec<_> = told
            .iter()
            .map(|told| {
                let told = told.clone();
                task::spawn(async move { told.acquire().await.map(|permit| permit.forget()).is_ok() })
            })
            .collect();
        let (beside, stop) = (Beside::new()?, flag());
        let ends = stop.clone();
        let wakes = ticked(move || {
            while ends.load(SeqCst) == 0 {
                for told in &told {
                    told.add_permits(1);
                    drop(told.try_acquire());
                }
            }
            told.iter().for_each(|told| told.add_permits(1));
            green::yield_now();
        })?;
        let before = left();
        while left() < before + 2 + round % 5 {
            thread::yield_now();
        }
        wakes.abort();
        stop.store(1, SeqCst);
        for one in waiting {
            equal!(block_on(one), Ok(true));
        }
        let _ = block_on(wakes);
        beside.end()?;
    }
    Ok(())
}

/// One that panics after it was left ends alone.
fn panics() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (beside, other) = (Beside::new()?, Beside::new()?);
    let fails = ticked(|| {
        spin_for(4);
        assert!(!green::is_current(), "on purpose");
    })?;
    equal!(block_on(fails), Err(JoinError::Panicked));
    let fine = ticked(|| spin_for(4))?;
    equal!(block_on(fine), Ok(()));
    beside.end()?;
    other.end()
}

/// The process ends while some are left and some run.
fn exit() -> Outcome {
    needs_asyncos()?;
    for code in 0..4 {
        let pid = child(move || {
            let spinning: Vec<_> = (0..6)
                .map(|_| {
                    ticked(|| {
                        loop {
                            core::hint::spin_loop()
                        }
                    })
                })
                .collect();
            let before = left();
            let ends = task::spawn_with(Priority::new(10), async move {
                while left() < before + 10 && harts() < 6 {
                    sleep(Duration::from_millis(1)).await;
                }
            });
            let ended = block_on(ends).is_ok() && spinning.iter().all(Result::is_ok);
            if ended { code } else { 100 }
        })?;
        exits(pid, code as u8)?;
    }
    Ok(())
}

/// A child that one makes is not interrupted, and goes on to its end.
fn forks() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let beside = Beside::new()?;
    let forks = ticked(|| {
        spin_for(2);
        let pid = child(|| i32::from(raw::hold_integers(3, 5_000_000) != 0));
        pid.map_err(Trouble::from).and_then(|pid| exits(pid, 0))
    })?;
    let ended = block_on(forks);
    ensure!(matches!(ended, Ok(Ok(()))), "{ended:?}");
    beside.end()
}

task_local! {
    static NUMBER: u32;
}

/// What belongs to a task does so wherever that is left.
fn locals() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (beside, gate, mut all) = (Beside::new()?, flag(), Vec::new());
    for number in 0..4 {
        let gate = gate.clone();
        all.push(ticked(move || {
            gate.fetch_add(1, SeqCst);
            let id = green::block_on(task::current()).map(|task| task.id());
            let inside = green::block_on(NUMBER.scope(number, async {
                spin_until(&gate, 4);
                spin_for(6);
                NUMBER.get() == number
            }));
            inside
                && NUMBER.try_with(|_| ()).is_err()
                && green::block_on(task::current()).map(|task| task.id()) == id
                && id.is_some()
        })?);
    }
    all_hold(all)?;
    beside.end()
}

/// Many on all workers, beside coroutines: each is done once and entirely.
fn on_all_harts() -> Outcome {
    needs_asyncos()?;
    green::set_slice(Duration::from_micros(200));
    let done = flag();
    let mut all = Vec::new();
    for number in 0..40_u64 {
        let done = done.clone();
        all.push(ticked(move || {
            for turn in 0..4 {
                if raw::hold_integers((number << 32) + turn, 200_000) != 0 {
                    return false;
                }
                if number % 4 == turn {
                    green::block_on(sleep(Duration::from_millis(1)));
                }
                done.fetch_add(1, SeqCst);
            }
            true
        })?);
    }
    let coroutines: Vec<_> = (0..100).map(|_| task::spawn(task::yield_now())).collect();
    for one in coroutines {
        ensure!(block_on(one).is_ok());
    }
    all_hold(all)?;
    equal!(done.load(SeqCst), 160);
    Ok(())
}

/// Two futures that never yield and never wait have turns on one worker, each as often as the other asks for.
fn futures_share() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let turn = flag();
    let before = left();
    let both = [0, 1].map(|side| {
        let turn = turn.clone();
        Builder::new().ticked().spawn(async move {
            for round in 0..5 {
                spin_until(&turn, 2 * round + side);
                turn.fetch_add(1, SeqCst);
            }
            green::is_current()
        })
    });
    for one in both {
        equal!(block_on(one), Ok(true));
    }
    equal!(turn.load(SeqCst), 10);
    were_left_since(before)
}

/// A future that never yields gives way to what is more urgent and comes by time; it waits for that, too, as any future does, and goes on.
fn futures_give_way() -> Outcome {
    needs_asyncos()?;
    task::set_workers(1);
    let (begun, ran, told) = (flag(), flag(), Arc::new(task::sync::Notify::new()));
    let (begins, urgent, tells) = (begun.clone(), ran.clone(), told.clone());
    let first = task::spawn_with(Priority::new(10), async move {
        // Else it may come before there is anybody who could give way.
        while begins.load(SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(3)).await;
        urgent.fetch_add(1, SeqCst);
        tells.notify_one();
    });
    let before = left();
    let computes = Builder::new().ticked().spawn(async move {
        begun.store(1, SeqCst);
        spin_until(&ran, 1);
        told.notified().await;
        sleep(Duration::from_millis(1)).await;
        green::is_current()
    });
    let beside = Beside::new()?;
    equal!(block_on(async { (first.await, computes.await) }), (Ok(()), Ok(true)));
    beside.end()?;
    were_left_since(before)
}
