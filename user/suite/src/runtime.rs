//! The runtime's own: locks and channels between tasks, tasks that fail, green threads, and what else can be done with a task.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::is_asyncos;
use crate::process::{child, dies, exits, sleep_ms};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use rt::abi::signal::SIGSEGV;
use rt::io::Read;
use rt::pipe;
use rt::raw;
use rt::select;
use rt::task::sync::{Mutex, RwLock, Semaphore, broadcast, mpsc, oneshot, watch};
use rt::task::{self, JoinError, JoinSet, OnDone, green, yield_now};
use rt::thread;
use rt::time::{Duration, Instant, interval, sleep, timeout_at};
use rt::uintr::{self, Handlers, Nesting, Sender};

pub const CASES: &[Case] = &[
    case!("runtime/locks", "R2 R4 D8", locks),
    case!("runtime/pipeline", "R2 R4", pipeline),
    case!("runtime/channel-between-threads", "R2 R3 P8", channel_between_threads),
    case!("runtime/one-to-many", "R2", one_to_many),
    case!("runtime/panic-ends-the-task", "D10", panic_ends_the_task),
    case!("runtime/panic-poisons-locks", "D10", panic_poisons_locks),
    case!("runtime/panic-that-ends-the-process", "D10", panic_that_ends_the_process),
    case!("runtime/stack-overflow-in-a-poll", "D10", stack_overflow_in_a_poll),
    case!("runtime/woken-after-the-end", "P8", woken_after_the_end),
    case!("runtime/aborted-while-it-runs", "D14 R2", aborted_while_it_runs),
    case!("runtime/green-threads", "S5 I2", green_threads),
    case!("runtime/green-thread-panics", "S5 D10", green_thread_panics),
    case!("runtime/spawn-blocking", "R2 R3 C7", spawn_blocking),
    case!("runtime/select-and-timers", "R2 D14", select_and_timers),
    case!("runtime/deadlines-and-inheritance", "S1 S3 D7", deadlines_and_inheritance),
    case!("runtime/sets-scopes-locals-callbacks", "R2", sets_scopes_locals_callbacks),
];

/// Tasks that hold a lock across a wait.
fn locks() -> Outcome {
    let (mutex, lock, semaphore) = (Mutex::new((0, false)), RwLock::new(0), Semaphore::new(3));
    let shared = Arc::new((mutex, lock, semaphore));
    let wrong = task::block_on(async {
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let shared = shared.clone();
                task::spawn(async move { use_locks(&shared.0, &shared.1, &shared.2).await })
            })
            .collect();
        let mut wrong = 0;
        for task in tasks {
            wrong += task.await.map_or(1, |fine| u32::from(fine != Some(true)));
        }
        wrong
    });
    equal!(wrong, 0);
    equal!(shared.0.try_lock().map(|guard| guard.0), Ok(50 * 20));
    equal!(shared.1.try_read().map(|guard| *guard), Ok(50 * 20));
    equal!(shared.2.available_permits(), 3);
    Ok(())
}

/// Uses each lock twenty times; whether it was alone where it should be.
async fn use_locks(mutex: &Mutex<(u32, bool)>, lock: &RwLock<u32>, semaphore: &Semaphore) -> Option<bool> {
    let mut alone = true;
    for _ in 0..20 {
        let permit = semaphore.acquire().await.ok()?;
        let mut guard = mutex.lock().await.ok()?;
        alone &= !core::mem::replace(&mut guard.1, true);
        yield_now().await;
        *guard = (guard.0 + 1, false);
        drop((guard, permit));
        let before = *lock.read().await.ok()?;
        let mut guard = lock.write().await.ok()?;
        alone &= *guard >= before;
        let now = *guard;
        yield_now().await;
        alone &= *guard == now;
        *guard += 1;
    }
    Some(alone)
}

/// Numbers through a row of tasks with short channels in between.
fn pipeline() -> Outcome {
    let sum = task::block_on(async {
        let (first, mut last) = mpsc::channel::<u64>(2);
        for _ in 0..20 {
            let (sender, receiver) = mpsc::channel(2);
            let mut from = core::mem::replace(&mut last, receiver);
            task::spawn(async move {
                while let Some(number) = from.recv().await {
                    if sender.send(number + 1).await.is_err() {
                        break;
                    }
                }
            })
            .detach();
        }
        task::spawn(async move {
            for number in 0..500 {
                let _ = first.send(number).await;
            }
        })
        .detach();
        let mut sum = 0;
        while let Some(number) = last.recv().await {
            sum += number;
        }
        sum
    });
    equal!(sum, 499 * 500 / 2 + 20 * 500);
    Ok(())
}

/// Senders on threads that run no tasks, and a task that receives.
fn channel_between_threads() -> Outcome {
    let pid = child(|| {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        for thread in 0..4u64 {
            let sender = sender.clone();
            let started = thread::spawn(move || (0..200).all(|number| sender.send(thread * 1000 + number).is_ok()));
            if started.is_err() {
                return 1;
            }
        }
        drop(sender);
        let sum = task::block_on(async move {
            task::spawn(async move {
                let (mut sum, mut last) = (0, [None; 4]);
                while let Some(number) = receiver.recv().await {
                    let before = last[(number / 1000) as usize].replace(number);
                    sum += if before.is_some_and(|before| before + 1 != number) { u64::MAX / 2 } else { number % 1000 };
                }
                end.send(sum)
            })
            .detach();
            ended.await
        });
        i32::from(sum != Ok(4 * 199 * 200 / 2))
    })?;
    exits(pid, 0)
}

/// Each receiver gets each message; who is slow is told; who watches sees the last.
fn one_to_many() -> Outcome {
    let (sums, slow, seen) = task::block_on(async {
        let (sender, mut slow) = broadcast::channel::<u32>(8);
        let (set, mut watched) = watch::channel(0);
        let (got, mut acknowledged) = mpsc::channel(1);
        let receivers: Vec<_> = (0..10)
            .map(|_| {
                let (mut receiver, got) = (sender.subscribe(), got.clone());
                task::spawn(async move {
                    let mut sum = 0;
                    while let Ok(number) = receiver.recv().await {
                        sum += number;
                        let _ = got.send(()).await;
                    }
                    sum
                })
            })
            .collect();
        let watcher = task::spawn(async move {
            while watched.changed().await.is_ok() {}
            *watched.borrow()
        });
        for number in 1..=100 {
            let _ = (sender.send(number), set.send(number));
            for _ in &receivers {
                let _ = acknowledged.recv().await;
            }
        }
        drop((sender, set));
        let mut sums = Vec::new();
        for receiver in receivers {
            sums.push(receiver.await);
        }
        (sums, (slow.recv().await, slow.recv().await), watcher.await)
    });
    ensure!(sums.iter().all(|sum| *sum == Ok(5050)), "{sums:?}");
    equal!(slow, (Err(broadcast::RecvError::Lagged(92)), Ok(93)));
    equal!(seen, Ok(100));
    Ok(())
}

/// A process whose standard error is closed: panics are to be expected there.
fn quiet(f: impl FnOnce() -> bool) -> Outcome {
    let pid = child(|| {
        let _ = call!(CLOSE, 2);
        i32::from(!f())
    })?;
    exits(pid, 0)
}

/// Tasks panic, at once or later; the others and the joiner do not mind.
fn panic_ends_the_task() -> Outcome {
    quiet(|| {
        task::block_on(async {
            let mut failed = 0;
            let others: Vec<_> = (0..10)
                .map(|number| {
                    task::spawn(async move {
                        for _ in 0..50 {
                            yield_now().await;
                        }
                        number
                    })
                })
                .collect();
            for number in 0..20 {
                let handle = task::spawn(async move {
                    if number % 2 == 0 {
                        yield_now().await;
                    }
                    let kept = alloc::vec![number; 10];
                    assert!(kept.len() > 10, "on purpose");
                });
                failed += u32::from(handle.await == Err(JoinError::Panicked));
            }
            let mut sum = 0;
            for other in others {
                sum += other.await.unwrap_or(100);
            }
            let metrics = task::metrics();
            failed == 20 && sum == 45 && metrics.panicked == 20 && metrics.leaked_stack_bytes > 0
        })
    })
}

/// Who waits for a lock, and who comes later, learns that its holder has failed.
fn panic_poisons_locks() -> Outcome {
    quiet(|| {
        let mutex = Arc::new(Mutex::new(1));
        let (held, later) = (mutex.clone(), mutex.clone());
        task::block_on(async move {
            let (locked, is_locked) = oneshot::channel();
            let holder = task::spawn(async move {
                let guard = held.lock().await;
                let _ = locked.send(());
                yield_now().await;
                assert!(guard.is_err(), "on purpose");
            });
            // Another worker may run the second task before the first.
            let _ = is_locked.await;
            let waits = task::spawn(async move { mutex.lock().await.is_err() });
            let failed = holder.await == Err(JoinError::Panicked);
            failed && waits.await == Ok(true) && later.try_lock().is_err() && later.is_poisoned()
        })
    })
}

/// What cannot be ended alone, and what the program wants so.
fn panic_that_ends_the_process() -> Outcome {
    static LOCK: rt::sync::Mutex<u32> = rt::sync::Mutex::new(0);
    type Prepare = fn();
    let with_a_lock = || {
        let guard = LOCK.lock();
        assert!(*guard > 0, "on purpose");
    };
    let plain = || assert!(LOCK.try_lock().is_none(), "on purpose");
    let cases: [(Prepare, Prepare); 2] = [(|| (), with_a_lock), (|| task::abort_on_panic(true), plain)];
    for (prepare, panics) in cases {
        let pid = child(move || {
            let _ = call!(CLOSE, 2);
            prepare();
            let _ = task::block_on(task::spawn(async move { panics() }));
            0
        })?;
        exits(pid, 134)?;
    }
    Ok(())
}

fn deeper(level: u64) -> u64 {
    let page = core::hint::black_box([level; 64]);
    if level == u64::MAX { page[0] } else { deeper(level + 1) + page[1] }
}

/// The same in a handler of user interrupts; `nests`: in one that lets others interrupt it.
fn deeper_in_a_handler(nests: bool) -> bool {
    let plain: &'static _ = Box::leak(Box::new(|_: u32| assert!(deeper(0) > 0)));
    let open: &'static _ = Box::leak(Box::new(|_: u32, nesting: &Nesting| {
        nesting.by_more_urgent(|| assert!(deeper(0) > 0));
    }));
    let handlers = Handlers::new();
    let handlers = if nests { raw::on_nesting(handlers, 0, open) } else { raw::on(handlers, 0, plain) };
    uintr::receive(handlers).and_then(|receiver| Sender::open(receiver.grant(1)?)?.send(0)).is_ok()
}

/// The process ends by the fault, as by any other, and says first whose stack it was.
fn stack_overflow_in_a_poll() -> Outcome {
    // Whether it comes back from there: it does not.
    type Body = fn() -> bool;
    let bodies: [(Body, &str); 4] = [
        (|| task::block_on(task::spawn(async { deeper(0) })).is_ok(), "in a coroutine (task "),
        (
            || task::block_on(task::Builder::new().name("deep").spawn(async { deeper(0) })).is_ok(),
            " \"deep\"): its stack has ",
        ),
        (|| green::spawn(|| deeper(0)).map(task::block_on).is_ok(), "in a green thread (task "),
        (|| deeper(0) > 0, "in the main thread"),
    ];
    let in_handlers: [(Body, &str); 2] = [
        (|| deeper_in_a_handler(false), "in a handler of user interrupts of thread "),
        (|| deeper_in_a_handler(true), "in handlers of user interrupts that let others in, of thread "),
    ];
    let in_handlers = in_handlers.into_iter().filter(|_| is_asyncos());
    for (body, expected) in bodies.into_iter().chain(in_handlers) {
        let said = last_words(body)?;
        ensure!(said.starts_with("stack overflow in ") && said.contains(expected), "{expected:?}: {said:?}");
    }
    // Another fault is not taken for one.
    equal!(last_words(|| raw::load8(8) > 0)?, "");
    // Nor is a plain thread watched: its process ends without a word.
    equal!(last_words(|| thread::spawn(|| deeper(0)).map(thread::JoinHandle::join).is_ok())?, "");
    Ok(())
}

/// What a process that ends by a fault in `body` says on standard error.
fn last_words(body: fn() -> bool) -> Result<String, Trouble> {
    let (mut read, write) = pipe::pipe()?;
    let pid = child(|| {
        if call!(DUP3, write.fd().raw(), 2, 0).is_ok() {
            core::hint::black_box(body());
        }
        0
    })?;
    drop(write);
    let mut said = Vec::new();
    read.read_to_end(&mut said)?;
    dies(pid, SIGSEGV)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn woken_after_the_end() -> Outcome {
    let woken = task::block_on(async {
        let (sender, receiver) = oneshot::channel();
        let handle =
            task::spawn(core::future::poll_fn(move |context| core::task::Poll::Ready(context.waker().clone())));
        let waker = handle.await;
        let other = task::spawn(async move { receiver.await.is_ok() });
        yield_now().await;
        let Ok(waker) = waker else { return false };
        for _ in 0..1000 {
            waker.wake_by_ref();
        }
        waker.wake();
        let _ = sender.send(());
        other.await == Ok(true)
    });
    ensure!(woken);
    Ok(())
}

/// Another thread aborts a task in the middle of its poll: the future is dropped once, after the poll.
fn aborted_while_it_runs() -> Outcome {
    struct Note(Arc<AtomicU32>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let pid = child(|| {
        let (stage, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (theirs, note) = (stage.clone(), Note(dropped.clone()));
        let task = task::spawn(async move {
            let _note = note;
            theirs.store(1, Ordering::SeqCst);
            while theirs.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            yield_now().await;
            theirs.store(3, Ordering::SeqCst);
        });
        let (reference, theirs) = (task.task(), stage.clone());
        let aborter = thread::spawn(move || {
            while theirs.load(Ordering::SeqCst) < 1 {
                thread::yield_now();
            }
            reference.abort();
            theirs.store(2, Ordering::SeqCst);
        });
        let result = task::block_on(task);
        let joined = aborter.is_ok_and(|aborter| aborter.join().is_some());
        let fine = result == Err(JoinError::Cancelled) && stage.load(Ordering::SeqCst) == 2;
        i32::from(!(fine && joined && dropped.load(Ordering::SeqCst) == 1))
    })?;
    exits(pid, 0)
}

/// A thousand green threads that wait for each other, in the style of threads.
fn green_threads() -> Outcome {
    quiet(|| {
        let count = Arc::new(Mutex::new((0, 0.0)));
        let (sender, mut receiver) = mpsc::channel(3);
        for number in 0..1000u32 {
            let (count, sender) = (count.clone(), sender.clone());
            let started = green::spawn(move || {
                let mut factor = f64::from(number);
                for _ in 0..3 {
                    if let Ok(mut guard) = green::block_on(count.lock()) {
                        green::yield_now();
                        *guard = (guard.0 + 1, guard.1 + factor);
                    }
                    factor += 1.0;
                }
                let sent = green::block_on(sender.send(number));
                sent.is_ok() && green::is_current()
            });
            match started {
                Ok(handle) => handle.detach(),
                Err(_) => return false,
            }
        }
        drop(sender);
        let sum = task::block_on(async {
            let mut sum = 0;
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            sum
        });
        let found = count.try_lock().map(|guard| *guard);
        // Each adds its number three times, and 0 + 1 + 2.
        sum == 999 * 500 && found == Ok((3000, 3.0 * 999.0 * 500.0 + 3000.0)) && task::metrics().leaked_stack_bytes == 0
    })
}

fn green_thread_panics() -> Outcome {
    quiet(|| {
        // Aborted while it waits, or is about to: its stack stays.
        let (begun, has_begun) = oneshot::channel();
        let stuck = green::spawn(move || {
            let _ = begun.send(());
            green::block_on(core::future::pending::<()>());
        });
        let Ok(stuck) = stuck else { return false };
        let aborted = task::block_on(async move {
            let _ = has_begun.await;
            stuck.abort();
            stuck.await == Err(JoinError::Cancelled)
        });
        // Nobody has panicked yet, so nothing else leaks.
        let leaked = task::metrics().leaked_stack_bytes;
        let failing = green::spawn(|| {
            green::yield_now();
            assert!(!green::is_current(), "on purpose");
        });
        let fine = green::spawn(|| (0..10).inspect(|_| green::yield_now()).sum::<u32>());
        let (Ok(failing), Ok(fine)) = (failing, fine) else { return false };
        let ended = task::block_on(async move { (failing.await, fine.await) });
        aborted && leaked == green::STACK && ended == (Err(JoinError::Panicked), Ok(45))
    })
}

/// Calls that block, more than there are threads for; tasks go on meanwhile.
fn spawn_blocking() -> Outcome {
    quiet(|| {
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let handles: Vec<_> = (0..80u32)
            .map(|number| {
                let (now, most) = (now.clone(), most.clone());
                task::spawn_blocking(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep_ms(5);
                    now.fetch_sub(1, Ordering::SeqCst);
                    number
                })
            })
            .collect();
        let sum = task::block_on(async {
            let mut sum = 0;
            for handle in handles {
                sum += handle.await.unwrap_or(10_000);
            }
            sum
        });
        sum == 79 * 40 && (1..=32).contains(&most.load(Ordering::SeqCst))
    })
}

/// The first of several; what is given up has taken nothing.
fn select_and_timers() -> Outcome {
    let (first, second, ticks) = task::block_on(async {
        let (sender, mut receiver) = mpsc::channel::<u32>(1);
        let start = Instant::now();
        let first = select! {
            message = receiver.recv() => message,
            () = sleep(Duration::from_millis(5)) => Some(1),
        };
        let late = timeout_at(start, receiver.recv()).await.is_err();
        let _ = sender.send(7).await;
        let second = select! {
            () = core::future::pending::<()>() => None,
            message = receiver.recv() => message,
            () = sleep(Duration::from_secs(100)) => None,
        };
        let mut interval = interval(Duration::from_millis(2));
        let from = interval.tick().await;
        for _ in 0..3 {
            interval.tick().await;
        }
        (first, second.filter(|_| late), from.elapsed() >= Duration::from_millis(6))
    });
    equal!((first, second, ticks), (Some(1), Some(7), true));
    Ok(())
}

rt::task_local! {
    static NUMBER: u32;
}

fn sets_scopes_locals_callbacks() -> Outcome {
    let mut sum = AtomicU32::new(0);
    let numbers = [1u32, 2, 3];
    task::scope(|scope| {
        for number in &numbers {
            let sum = &sum;
            scope.spawn(async move {
                yield_now().await;
                sum.fetch_add(*number, Ordering::Relaxed);
            });
        }
    });
    equal!(*sum.get_mut(), 6);
    let (outputs, called, locals) = task::block_on(async {
        let mut set = JoinSet::new();
        (0..10u32).for_each(|number| {
            set.spawn(NUMBER.scope(number, async {
                yield_now().await;
                NUMBER.get() * 2
            }))
        });
        let named = task::Builder::new().name("counts").spawn(async {
            yield_now().await;
            task::name(task::current().await.map_or(0, |task| task.id()))
        });
        set.spawn(async move { u32::from(named.await.ok().flatten().as_deref() == Some("counts")) });
        let outputs: u32 = set.join_all().await.iter().sum();
        let (sender, called) = oneshot::channel();
        task::spawn(async { 5 }).on_done(move |result| {
            let _ = sender.send(result);
        });
        let nested = NUMBER.scope(1, async { (NUMBER.scope(2, async { NUMBER.get() }).await, NUMBER.get()) }).await;
        (outputs, called.await, (nested, NUMBER.try_with(|number| *number).is_err()))
    });
    equal!(outputs, 91);
    equal!(called, Ok(Ok(5)));
    equal!(locals, ((2, 1), true));
    Ok(())
}

/// The order in which the one worker runs tasks with deadlines.
fn order_of_deadlines() -> Vec<u64> {
    let order = Arc::new(rt::sync::Mutex::new(Vec::new()));
    let seen = order.clone();
    // More urgent than those that it starts.
    let all = task::spawn_with(task::Priority::HIGHEST, async move {
        let mut set = JoinSet::new();
        for deadline in [30u64, 10, 20] {
            let order = seen.clone();
            let builder = task::Builder::new().policy(task::policy::DEADLINE, deadline);
            set.insert(builder.spawn(async move { order.lock().push(deadline) }));
        }
        set.join_all().await;
    });
    let _ = task::block_on(all);
    core::mem::take(&mut *order.lock())
}

/// Tasks with deadlines, and a lock between a task that is urgent, one that is not, and one in between.
fn deadlines_and_inheritance() -> Outcome {
    task::set_workers(1);
    // The kernel may give the worker to another thread before all three are there, which then begins with what there is.
    ensure!((0..100).any(|_| order_of_deadlines() == [10, 20, 30]), "not once by deadline");
    let (mutex, stop) = (Arc::new(Mutex::new(())), Arc::new(AtomicU32::new(0)));
    let ended = task::block_on(async {
        let (theirs, (held, holds)) = (mutex.clone(), oneshot::channel());
        let holder = task::spawn_with(task::Priority::LOWEST, async move {
            let guard = theirs.lock().await;
            let _ = held.send(());
            for _ in 0..10 {
                yield_now().await;
            }
            drop(guard);
        });
        let _ = holds.await;
        let theirs = stop.clone();
        let middling = task::spawn(async move {
            // For ever, if the holder does not come before it on the one worker that there may be.
            while theirs.load(Ordering::Relaxed) == 0 {
                yield_now().await;
            }
        });
        let urgent = task::spawn_with(task::Priority::HIGHEST, async move {
            let _ = mutex.lock().await;
            stop.store(1, Ordering::Relaxed);
        });
        (urgent.await, holder.await, middling.await)
    });
    equal!(ended, (Ok(()), Ok(()), Ok(())));
    Ok(())
}
