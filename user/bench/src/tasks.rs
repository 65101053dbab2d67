//! Coroutines of this process under the shared scheduler library: no system call in any operation.

use crate::measure::{Outcome, measure};
use alloc::vec::Vec;
use rt::task::{block_on, spawn, yield_now};

/// Two tasks that yield to each other; tasks from start to join, one by one and all at once.
pub fn switches() -> Outcome {
    measure("task_switch", 200_000, |count| {
        block_on(async {
            let half = || async move {
                for _ in 0..count / 2 {
                    yield_now().await;
                }
            };
            let (first, second) = (spawn(half()), spawn(half()));
            let _ = first.await;
            let _ = second.await;
        });
        Ok(())
    })?;
    measure("task_spawn_join", 20_000, |count| {
        block_on(async {
            for _ in 0..count {
                let _ = spawn(async {}).await;
            }
        });
        Ok(())
    })?;
    measure("task_spawn_10k", 10_000, |count| {
        block_on(async {
            let tasks: Vec<_> = (0..count).map(|_| spawn(async {})).collect();
            for task in tasks {
                let _ = task.await;
            }
        });
        Ok(())
    })
}
