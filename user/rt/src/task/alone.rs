//! One worker, run by the thread in `block_on`: it polls the main future and runs tasks by priority, looks at the reactor
//! after every `TURN` polls, and parks in it when nothing is ready. Tasks go on in the next `block_on`.

use super::failure::PollStack;
use super::{MainFuture, TURN, Unpark};
use crate::reactor;
use crate::scheduler::Way;
use crate::sync::Mutex;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use task::Pool;

/// The right to run the pool's one worker, with the stack that it polls tasks on.
static DRIVER: Mutex<PollStack> = Mutex::new(PollStack::new());

/// One thread at a time: another waits here until the first has its result.
pub(super) fn block_on<F: Future>(
    pool: &Pool<Unpark, Way>,
    mut future: Pin<&mut F>,
    main: &MainFuture,
    cx: &mut Context<'_>,
) -> F::Output {
    let mut stack = DRIVER.lock();
    let mut left = TURN;
    loop {
        if main.take()
            && let Poll::Ready(output) = future.as_mut().poll(cx)
        {
            return output;
        }
        left -= 1;
        left -= stack.run(|| pool.run_many(0, left, &main.woken)).unwrap_or_else(|| {
            pool.abandon(0);
            // How many were polled before the one that panicked is not known.
            1
        });
        // Relaxed: who finds it set takes it; who finds it clear comes by again, or looks once more before parking.
        let busy = left == 0 || main.woken.load(Ordering::Relaxed);
        if left == 0 || !busy {
            turn(pool, busy, main);
            if left == 0 {
                // So that what waits ages. The worker runs nothing here that could give way.
                let _ = pool.tick(0);
            }
            left = TURN;
        }
    }
}

/// One look at the reactor: parks if there is nothing else to do.
fn turn(pool: &Pool<Unpark, Way>, busy: bool, main: &MainFuture) {
    if busy {
        let _ = reactor::look();
        return;
    }
    reactor::prepare();
    if main.woken.load(Ordering::SeqCst) || !pool.set_idle(0) {
        reactor::cancel();
        let _ = reactor::look();
        return;
    }
    reactor::wait();
    pool.clear_idle(0);
}
