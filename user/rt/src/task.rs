//! Tasks: coroutines of this process, in the shape of `tokio::task`, over the shared scheduler.
//!
//! One pool, one worker: the thread inside [`block_on`]. It polls the main future and runs tasks by priority, looks at
//! the reactor after every `TURN` polls, and parks in it when nothing is ready. Tasks outlive a `block_on` and go on
//! in the next one.

use crate::reactor;
use crate::scheduler::Way;
use crate::sync::{Arc, Mutex, OnceLock};
use alloc::task::Wake;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use task::{Pender, Pool};

pub use task::{JoinError, JoinHandle, Priority, TaskRef, yield_now};

/// Polls between two looks at the reactor.
const TURN: u32 = 64;

struct Unpark;

impl Pender for Unpark {
    fn pend(&self, _worker: usize, _priority: Priority) {
        reactor::notify();
    }
}

fn pool() -> &'static Pool<Unpark, Way> {
    static POOL: OnceLock<Pool<Unpark, Way>> = OnceLock::new();
    POOL.get_or_init(|| Pool::new(1, Unpark))
}

/// Starts a task of normal priority. It runs while some thread is in [`block_on`].
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_with(Priority::NORMAL, future)
}

/// Starts a task of the given priority.
pub fn spawn_with<F>(priority: Priority, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    pool().spawn(priority, future)
}

/// Wakes the main future of a `block_on`.
struct MainFuture {
    woken: AtomicBool,
}

impl Wake for MainFuture {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SeqCst: stored before `notify` looks whether the executor is parked.
        self.woken.store(true, Ordering::SeqCst);
        reactor::notify();
    }
}

/// The right to run the pool's one worker.
static DRIVER: Mutex<()> = Mutex::new(());

/// Runs `future` to its end on this thread, and tasks beside it. One thread at a time: another waits here until the
/// first has its result. Not to be called from a task.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let _driver = DRIVER.lock();
    let mut future = pin!(future);
    let main = Arc::new(MainFuture { woken: AtomicBool::new(true) });
    let waker = Waker::from(main.clone());
    let mut cx = Context::from_waker(&waker);
    let (pool, mut left) = (pool(), TURN);
    loop {
        if main.woken.swap(false, Ordering::SeqCst)
            && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
        {
            return output;
        }
        left -= 1;
        let polled = pool.run_many(0, left, &main.woken);
        left -= polled;
        // Relaxed: who finds it set swaps it; who finds it clear comes by again, or looks once more before parking.
        let busy = left == 0 || main.woken.load(Ordering::Relaxed);
        if left == 0 || !busy {
            turn(busy, &main);
            left = TURN;
        }
    }
}

/// One look at the reactor: parks if there is nothing else to do.
fn turn(busy: bool, main: &MainFuture) {
    if busy || reactor::prepare().is_err() {
        return reactor::wait(false);
    }
    if main.woken.load(Ordering::SeqCst) || !pool().set_idle(0) {
        reactor::cancel();
        return reactor::wait(false);
    }
    reactor::wait(true);
    pool().clear_idle(0);
}
