//! `execve` in a process of several threads.

use super::*;
use abi::process::{CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM};
use core::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Another thread of the process, not started.
pub(super) fn another(thread: &Arc<Thread>) -> Arc<Thread> {
    let process = thread.process().clone();
    let other = Thread::new(table::fresh_id().unwrap(), process.clone(), 0, 16);
    process.state.lock().threads.push(other.clone());
    table::add_thread(&other);
    other
}

fn poll<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_thread_that_comes_in_the_middle_ends_with_the_others() {
    let _turn = turn();
    hal::fake::set_user(|_| panic!("the new thread has to end, not to run"));
    let thread = exec::block_on(new_process(0));
    let other = another(&thread);
    let mut ending = pin!(crate::exit::end_others(&thread));
    assert!(poll(ending.as_mut()).is_pending() && other.killed());
    // The other one was in `clone`, past its last await.
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    let request = crate::clone::Request { flags, ..Default::default() };
    let context = UserContext::new(CODE, STACK);
    assert!(exec::block_on(crate::clone::clone(&other, &CALLS, &context, request)).is_ok());
    exec::block_on(crate::exit::thread_ended(&other, &CALLS));
    assert_eq!(exec::block_on(ending), true);
    assert_eq!(thread.process().thread_count(), 1);
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn the_last_thread_takes_the_process_id_over() {
    let _turn = turn();
    let first = exec::block_on(new_process(0));
    let (pid, last) = (first.tid(), another(&first));
    exec::block_on(crate::exit::thread_ended(&first, &CALLS));
    assert!(table::thread(pid).is_none());
    assert!(exec::block_on(crate::exit::end_others(&last)));
    assert_eq!(last.tid(), pid);
    assert!(table::thread(pid).is_some_and(|thread| Arc::ptr_eq(&thread, &last)));
    table::remove_thread(pid);
    table::forget(pid);
}
