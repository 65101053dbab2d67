//! The runtime's own: locks and channels between tasks.

use crate::case::{Case, Outcome};
use crate::process::{child, exits};
use alloc::sync::Arc;
use alloc::vec::Vec;
use rt::task::sync::{Mutex, RwLock, Semaphore, broadcast, mpsc, oneshot, watch};
use rt::task::{self, yield_now};
use rt::thread;

pub const CASES: &[Case] = &[
    case!("runtime/locks", "R2 R4 D8", locks),
    case!("runtime/pipeline", "R2 R4", pipeline),
    case!("runtime/channel-between-threads", "R2 R3 P8", channel_between_threads),
    case!("runtime/one-to-many", "R2", one_to_many),
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
