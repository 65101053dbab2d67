//! The kernel's part in slots, one step at a time.

use super::*;
use crate::{slots, window};
use abi::asyncos::SCHED_WAIT;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// Runs `steps` with a thread of a process that has one slot.
fn with_a_slot(steps: impl FnOnce(&Arc<Thread>)) {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    window::map(&thread.space()).unwrap();
    assert_eq!(exec::block_on(slots::setup(&thread, 1)), Ok(1));
    steps(&thread);
    slots::end(&thread, thread.process());
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

/// A thread waits for a slot, with a count that says that it polls a coroutine; another hart gives it one before that poll of its wait is at
/// its end, where a thread that waits gives its slot away. It keeps it: nobody would ever wake it for another.
#[test]
fn a_slot_that_is_given_to_a_thread_on_its_way_into_its_wait_is_kept() {
    with_a_slot(|thread| {
        // What a process that has never counted says: an even number.
        thread.doing.call(SCHED_WAIT, 0);
        let mut wait = pin!(slots::wait(thread, 0, false));
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        assert_eq!(slots::kick(thread, 0, 16), Ok(0));
        slots::blocks(thread);
        assert_eq!(poll(), Poll::Ready(Ok(0)));
    });
}

/// The same thread gives it away as soon as it waits for anything else: the next wait begins with a slot that nobody has.
#[test]
fn a_thread_that_waits_for_something_else_gives_its_slot_away() {
    with_a_slot(|thread| {
        assert_eq!(slots::kick(thread, 0, 16), Ok(0));
        let poll_once = || pin!(slots::wait(thread, 0, false)).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(poll_once(), Poll::Ready(Ok(0)));
        thread.doing.call(nr::READ, 0);
        slots::blocks(thread);
        let lines = thread.process().slots().map(|slots| slots.lines(&thread.space()));
        assert_eq!(lines.as_deref(), Some("slot 0 0 0 0 32\n"));
    });
}
