//! Calls that block, on threads kept for them: at most [`THREADS`], each of which ends when it has had nothing to do for
//! [`IDLE`].

use super::sync::oneshot;
use super::{JoinHandle, spawn};
use crate::sync::{Condvar, Mutex};
use crate::thread;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::future::pending;
use core::time::Duration;

/// The most threads there are for this.
pub const THREADS: usize = 32;
/// How long a thread waits for something to do.
const IDLE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

struct Blocking {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that wait, those included that were notified and have not come back yet.
    waiting: usize,
}

static BLOCKING: Mutex<Blocking> = Mutex::new(Blocking { jobs: VecDeque::new(), threads: 0, waiting: 0 });
static CHANGED: Condvar = Condvar::new();

/// Runs `f`, which may block, on a thread kept for that. It cannot be aborted once it has begun. If there can be no thread at
/// all, it runs at once, here.
pub fn spawn_blocking<T, F>(f: F) -> JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    enqueue(Box::new(move || {
        // Nobody may wait for it any more.
        let _ = sender.send(f());
    }));
    spawn(async move {
        match receiver.await {
            Ok(output) => output,
            // A panic on such a thread ends the process, so the job sends before it goes.
            Err(_) => pending().await,
        }
    })
}

fn enqueue(job: Job) {
    let mut blocking = BLOCKING.lock();
    blocking.jobs.push_back(job);
    // Each job that lies here was put here for one of those that wait.
    if blocking.jobs.len() <= blocking.waiting {
        drop(blocking);
        CHANGED.notify_one();
    } else if blocking.threads < THREADS {
        blocking.threads += 1;
        drop(blocking);
        if thread::spawn(serve).is_err() {
            without_thread();
        }
    }
}

/// There is no new thread. What others do not do is done here.
fn without_thread() {
    let mut blocking = BLOCKING.lock();
    blocking.threads -= 1;
    if blocking.threads == 0 {
        while let Some(job) = blocking.jobs.pop_front() {
            drop(blocking);
            job();
            blocking = BLOCKING.lock();
        }
    }
}

/// What each thread does.
fn serve() {
    let mut blocking = BLOCKING.lock();
    loop {
        while let Some(job) = blocking.jobs.pop_front() {
            drop(blocking);
            job();
            blocking = BLOCKING.lock();
        }
        blocking.waiting += 1;
        let passed;
        (blocking, passed) = CHANGED.wait_timeout(blocking, IDLE);
        blocking.waiting -= 1;
        if passed && blocking.jobs.is_empty() {
            break;
        }
    }
    blocking.threads -= 1;
}
