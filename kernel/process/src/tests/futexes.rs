//! Waiting, waking, moving, timing out.

use super::*;
use core::{
    pin::pin,
    task::{Context, Poll, Waker},
};
use futex::Requeue;

fn poll<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn waiters_are_woken_in_order_and_by_bits() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let space = thread.space();
    let mut a = pin!(futex::wait(&thread, DATA, true, 0, 1, None));
    let mut b = pin!(futex::wait(&thread, DATA, true, 0, 2, None));
    assert!(poll(a.as_mut()).is_pending() && poll(b.as_mut()).is_pending());
    assert_eq!(futex::wake(&space, DATA, true, 9, 4), Ok(0));
    assert_eq!(futex::wake(&space, DATA, true, 1, 2), Ok(1));
    assert!(poll(a.as_mut()).is_pending());
    assert_eq!(poll(b.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(futex::wake(&space, DATA, true, 9, u32::MAX), Ok(1));
    assert_eq!(poll(a.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(futex::wake(&space, DATA, true, 9, u32::MAX), Ok(0));
    assert_eq!(futex::wake(&space, DATA, true, 9, 0), Err(Errno::EINVAL));
    let other = exec::block_on(futex::wait(&thread, DATA, true, 1, u32::MAX, None));
    assert_eq!(other, Err(Errno::EAGAIN));
    assert_eq!(exec::block_on(futex::wait(&thread, 8, true, 1, u32::MAX, None)), Err(Errno::EFAULT));
    assert_eq!(exec::block_on(futex::wait(&thread, DATA + 1, true, 1, u32::MAX, None)), Err(Errno::EINVAL));
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn a_dropped_waiter_takes_no_wake_up() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let space = thread.space();
    {
        let mut gone = pin!(futex::wait(&thread, DATA, true, 0, u32::MAX, None));
        assert!(poll(gone.as_mut()).is_pending());
    }
    assert_eq!(futex::wake(&space, DATA, true, 1, u32::MAX), Ok(0));
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn requeue_moves_and_a_timeout_leaves_the_new_queue() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let space = thread.space();
    let deadline = hal::time::now() + 1000;
    let mut a = pin!(futex::wait(&thread, DATA, true, 0, u32::MAX, None));
    let mut b = pin!(futex::wait(&thread, DATA, true, 0, u32::MAX, Some(deadline)));
    let mut c = pin!(futex::wait(&thread, DATA, true, 0, u32::MAX, None));
    assert!(poll(a.as_mut()).is_pending() && poll(b.as_mut()).is_pending() && poll(c.as_mut()).is_pending());
    let plan = Requeue { to: DATA + 64, wake: 1, limit: 5, expected: Some(0) };
    assert_eq!(exec::block_on(futex::requeue(&space, DATA, true, plan)), Ok((1, 2)));
    let wrong = Requeue { expected: Some(1), ..plan };
    assert_eq!(exec::block_on(futex::requeue(&space, DATA, true, wrong)), Err(Errno::EAGAIN));
    assert_eq!(poll(a.as_mut()), Poll::Ready(Ok(())));
    hal::fake::advance(2000);
    exec::timer::on_timer_interrupt();
    assert_eq!(poll(b.as_mut()), Poll::Ready(Err(Errno::ETIMEDOUT)));
    assert_eq!(futex::wake(&space, DATA + 64, true, 9, u32::MAX), Ok(1));
    assert_eq!(poll(c.as_mut()), Poll::Ready(Ok(())));
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn who_leaves_after_a_requeue_leaves_nothing_behind() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let (space, before) = (thread.space(), futex::entries());
    // To every bucket in turn: none is swept by chance.
    for to in (DATA + 4..DATA + 512).step_by(4) {
        let mut waiting = alloc::boxed::Box::pin(futex::wait(&thread, DATA, true, 0, u32::MAX, None));
        assert!(poll(waiting.as_mut()).is_pending());
        let plan = Requeue { to, wake: 0, limit: 1, expected: None };
        assert_eq!(exec::block_on(futex::requeue(&space, DATA, true, plan)), Ok((0, 1)));
        drop(waiting);
    }
    assert_eq!(futex::entries(), before);
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn what_no_thread_stands_behind_leaves_nothing_behind() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let (space, before) = (thread.space(), futex::entries());
    // The page is there from now on.
    assert_eq!(exec::block_on(futex::wait(&thread, DATA, true, 1, u32::MAX, None)), Err(Errno::EAGAIN));
    let begin = |_| futex::begin(None, &space, DATA, true, 0, u32::MAX).ok();
    let mut waits: Vec<_> = (0..1 << 13).filter_map(begin).collect();
    let mut last = pin!(futex::wait(&thread, DATA, true, 0, u32::MAX, None));
    assert!(poll(last.as_mut()).is_pending());
    let most = waits.len();
    // Some leave: those that are gone are never more than those that wait.
    while waits.len() > most / 3 {
        drop(waits.swap_remove(waits.len() / 2));
        assert!(futex::entries() - before <= 2 * (waits.len() + 1));
    }
    // In the order that they came in, however many at once, and no one who has left.
    assert_eq!(futex::wake(&space, DATA, true, waits.len(), u32::MAX), Ok(waits.len()));
    assert!(waits.iter_mut().all(|wait| poll(core::pin::Pin::new(wait)) == Poll::Ready(Ok(()))));
    assert!(poll(last.as_mut()).is_pending());
    assert_eq!(futex::wake(&space, DATA, true, usize::MAX, u32::MAX), Ok(1));
    assert_eq!(poll(last.as_mut()), Poll::Ready(Ok(())));
    drop(waits);
    assert_eq!(futex::entries(), before);
    assert!(futex::room() <= 64 * 64, "the memory is given back");
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}
