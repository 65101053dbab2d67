//! The coroutine of a stack: works while there is work, sleeps until the device, a socket or a timer has some.

use crate::stack::Stack;
use core::{future::poll_fn, pin::pin, task::Poll};

/// Rounds between two chances for others of the same priority.
const ROUNDS: usize = 4;

impl Stack {
    /// Drives the stack; never returns. Spawn exactly one a stack.
    pub async fn run(&self) {
        let mut rounds = 0;
        loop {
            let progress = self.poll(hal::time::now());
            if progress.more {
                rounds += 1;
                if rounds == ROUNDS {
                    rounds = 0;
                    exec::yield_now().await;
                }
                continue;
            }
            rounds = 0;
            match progress.deadline {
                Some(at) => self.work_or(at).await,
                None => poll_fn(|context| self.poll_work(context)).await,
            }
        }
    }

    /// Resolves when there is work, or at `deadline` (ns since boot).
    async fn work_or(&self, deadline: u64) {
        let mut timer = pin!(exec::sleep_until(deadline));
        poll_fn(|context| match self.poll_work(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.as_mut().poll(context),
        })
        .await;
    }
}
