//! Threads of one process.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{self, PAGE, RW, Shared, child, dies, exits, kill, map, sleep_ms};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use rt::abi::process::{
    CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_PARENT_SETTID, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD,
    CLONE_VM,
};
use rt::abi::signal::SIGKILL;
use rt::sync::{Arc, Condvar, Mutex, mpsc};
use rt::{raw, thread};

pub const CASES: &[Case] = &[
    case!("threads/join", "P7 D3", join),
    case!("threads/ids", "P4 D3", ids),
    case!("threads/many", "P7 P8", many),
    case!("threads/in-sequence", "P7 D13", in_sequence),
    case!("threads/mutex", "R1 G1", mutex),
    case!("threads/condvar", "R1", condvar),
    case!("threads/channel", "R1", channel),
    case!("threads/share-everything", "P1 P7", share_everything),
    case!("threads/exit-ends-all", "D3", exit_ends_all),
    case!("threads/main-may-leave-first", "D3", main_may_leave_first),
    case!("threads/fork-takes-one", "P1 D3", fork_takes_one),
    case!("threads/kill-blocked", "D14", kill_blocked),
    case!("threads/clear-child-tid", "D3", clear_child_tid),
    case!("threads/bad-flags", "D3", bad_flags),
];

fn join() -> Outcome {
    let handle = thread::spawn(|| 6 * 7)?;
    equal!(handle.join(), Some(42));
    Ok(())
}

fn ids() -> Outcome {
    let own = call!(GETTID)?;
    equal!(own, rt::process::id() as usize);
    let ids = thread::spawn(|| (call!(GETTID), rt::process::id(), thread::id()))?.join();
    let Some((tid, pid, block)) = ids else { return Err(Trouble::failed("no value")) };
    equal!(pid, rt::process::id());
    ensure!(tid != Ok(own) && tid == Ok(block as usize));
    Ok(())
}

fn many() -> Outcome {
    let counter = Arc::new(AtomicU32::new(0));
    let mut threads = Vec::new();
    for _ in 0..64 {
        let counter = counter.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..100 {
                counter.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
        })?);
    }
    for handle in threads {
        ensure!(handle.join().is_some());
    }
    equal!(counter.load(Ordering::Relaxed), 6400);
    Ok(())
}

fn in_sequence() -> Outcome {
    for number in 0..300 {
        equal!(thread::spawn(move || number)?.join(), Some(number));
    }
    Ok(())
}

fn mutex() -> Outcome {
    let value = Arc::new(Mutex::new((0u64, 0u64)));
    let mut threads = Vec::new();
    for _ in 0..4 {
        let value = value.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..5000 {
                let mut guard = value.lock();
                guard.0 += 1;
                guard.1 += guard.0;
            }
        })?);
    }
    for handle in threads {
        ensure!(handle.join().is_some());
    }
    equal!(*value.lock(), (20_000, 20_000 * 20_001 / 2));
    Ok(())
}

fn condvar() -> Outcome {
    let pair = Arc::new((Mutex::new(0u32), Condvar::new()));
    let theirs = pair.clone();
    let other = thread::spawn(move || {
        for turn in 0..200 {
            let mut guard = theirs.0.lock();
            while *guard != 2 * turn + 1 {
                guard = theirs.1.wait(guard);
            }
            *guard += 1;
            theirs.1.notify_all();
        }
    })?;
    for turn in 0..200 {
        let mut guard = pair.0.lock();
        while *guard != 2 * turn {
            guard = pair.1.wait(guard);
        }
        *guard += 1;
        pair.1.notify_all();
    }
    ensure!(other.join().is_some());
    let (guard, in_time) = pair.1.wait_timeout(pair.0.lock(), Duration::from_millis(5));
    drop(guard);
    let _ = in_time;
    equal!(*pair.0.lock(), 400);
    Ok(())
}

fn channel() -> Outcome {
    let (send, receive) = mpsc::channel();
    let mut threads = Vec::new();
    for number in 0..8u64 {
        let send = send.clone();
        threads.push(thread::spawn(move || (0..200).all(|i| send.send(number * 1000 + i).is_ok()))?);
    }
    drop(send);
    let (mut count, mut last) = (0, [None; 8]);
    while let Ok(value) = receive.recv() {
        let sender = (value / 1000) as usize;
        ensure!(last[sender].is_none_or(|before| before < value), "messages of one sender changed their order");
        last[sender] = Some(value);
        count += 1;
    }
    equal!(count, 1600);
    for handle in threads {
        equal!(handle.join(), Some(true));
    }
    Ok(())
}

/// Memory that one thread maps and a file that it opens are there for the others.
fn share_everything() -> Outcome {
    let made = thread::spawn(|| (map(PAGE, RW), call!(EVENTFD2, 0, 0), call!(DUP, 2)))?.join();
    let Some((Ok(address), _, Ok(fd))) = made else { return Err(Trouble::failed("map or dup")) };
    if let Some((_, Ok(event), _)) = made {
        call!(CLOSE, event)?;
    }
    raw::store64(address, 5);
    equal!(raw::load64(address), 5);
    call!(CLOSE, fd)?;
    process::unmap(address, PAGE)?;
    Ok(())
}

fn exit_ends_all() -> Outcome {
    let pid = child(|| {
        for _ in 0..8 {
            let blocked = thread::spawn(|| sleep_ms(1_000_000));
            let spinning = thread::spawn(|| {
                loop {
                    core::hint::spin_loop();
                }
            });
            if blocked.is_err() || spinning.is_err() {
                return 1;
            }
        }
        sleep_ms(5);
        9
    })?;
    exits(pid, 9)
}

/// The process ends with its last thread, whose code is the process's.
fn main_may_leave_first() -> Outcome {
    needs_kernel("exit of the first thread")?;
    let pid = child(|| {
        let other = thread::spawn(|| {
            sleep_ms(30);
            let _ = call!(EXIT_GROUP, 5);
        });
        core::mem::forget(other);
        let _ = call!(EXIT, 6);
        7
    })?;
    exits(pid, 5)
}

fn fork_takes_one() -> Outcome {
    let shared = Shared::new()?;
    let stop = Arc::new(AtomicU32::new(0));
    let seen = stop.clone();
    let counting = thread::spawn(move || {
        while seen.load(Ordering::Relaxed) == 0 {
            shared.count(0);
            sleep_ms(1);
        }
    })?;
    shared.await_least(0, 1);
    // The child's copy of the counting thread does not exist, so nothing changes its private word.
    let pid = child(|| {
        let here = rt::process::id() as usize;
        i32::from(call!(GETTID) != Ok(here))
    })?;
    exits(pid, 0)?;
    stop.store(1, Ordering::Relaxed);
    ensure!(counting.join().is_some());
    Ok(())
}

fn kill_blocked() -> Outcome {
    let shared = Shared::new()?;
    let pid = child(|| {
        let mut handles = Vec::new();
        for _ in 0..16 {
            handles.push(thread::spawn(move || {
                shared.count(0);
                sleep_ms(1_000_000);
            }));
        }
        handles.into_iter().for_each(|handle| {
            let _ = handle.map(thread::JoinHandle::join);
        });
        0
    })?;
    shared.await_least(0, 16);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

const THREAD: u64 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

extern "C" fn store_and_leave(address: usize) {
    raw::store64(address + 8, 1);
}

/// The kernel stores the id at both places, and at the end clears and wakes the second.
fn clear_child_tid() -> Outcome {
    let base = map(16 * PAGE, RW)?;
    let flags = THREAD | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    let how = raw::Clone { flags, stack: base + 16 * PAGE, parent_tid: base + 16, tls: 0, child_tid: base };
    raw::atomic(base).store(u32::MAX, Ordering::SeqCst);
    let tid = raw::clone_call(how, store_and_leave, base);
    ensure!(tid > 0, "clone gave {tid}");
    while raw::atomic(base).load(Ordering::SeqCst) != 0 {
        let _ = call!(FUTEX, base, rt::abi::futex::FUTEX_WAIT, u32::MAX, 0, 0, 0);
    }
    equal!(raw::load64(base + 8), 1);
    equal!(raw::atomic(base + 16).load(Ordering::SeqCst), tid as u32);
    Ok(())
}

fn bad_flags() -> Outcome {
    fails!(call!(CLONE, CLONE_THREAD, 0, 0, 0, 0), EINVAL);
    fails!(call!(CLONE, CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0), EINVAL);
    fails!(call!(CLONE, CLONE_SIGHAND, 0, 0, 0, 0), EINVAL);
    Ok(())
}
