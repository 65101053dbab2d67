//! `execve` in a process of several threads.

use super::*;
use crate::class::Class;
use abi::process::{CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM};
use core::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Another thread of the process, not started.
pub(super) fn another(thread: &Arc<Thread>) -> Arc<Thread> {
    let process = thread.process().clone();
    let other = Thread::new(table::fresh_id().unwrap(), process.clone(), 0, Class::DEFAULT, Affinity::all()).unwrap();
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
    crate::exit::thread_ended(&other, &CALLS);
    assert!(exec::block_on(ending));
    assert_eq!(thread.process().thread_count(), 1);
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn the_last_thread_takes_the_process_id_over() {
    let _turn = turn();
    let first = exec::block_on(new_process(0));
    let (pid, last) = (first.tid(), another(&first));
    crate::exit::thread_ended(&first, &CALLS);
    assert!(table::thread(pid).is_none());
    assert!(exec::block_on(crate::exit::end_others(&last)));
    assert_eq!(last.tid(), pid);
    assert!(table::thread(pid).is_some_and(|thread| Arc::ptr_eq(&thread, &last)));
    table::remove_thread(pid);
    table::forget(pid);
}

#[test]
fn strings_are_paid_for_while_a_program_is_loaded() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let (space, account) = (thread.space(), thread.process().account().clone());
    // Many arguments: each the same long string.
    let text = STACK - 3 * PAGE_SIZE;
    exec::block_on(space.copy_out(text, &[b'x'; 2 * PAGE_SIZE])).unwrap();
    exec::block_on(space.copy_out(DATA, b"/none\0")).unwrap();
    let array: Vec<u8> = (0..32).flat_map(|_| (text as u64).to_le_bytes()).chain([0; 8]).collect();
    exec::block_on(space.copy_out(DATA + 512, &array)).unwrap();
    let used = account.used();
    let request = crate::execve::Request {
        directory: abi::fs::AT_FDCWD,
        path: DATA,
        arguments: DATA + 512,
        environment: 0,
        flags: 0,
    };
    for (room, expected) in [(300 << 10, Errno::ENOMEM), (1 << 20, Errno::ENOENT)] {
        account.set_limit(used + room);
        let mut context = UserContext::new(CODE, STACK);
        let failed = exec::block_on(crate::execve::execve(&thread, &CALLS, &mut context, request));
        assert_eq!((failed, account.used()), (Err(expected), used));
    }
    account.set_limit(usize::MAX);
    table::remove_thread(thread.tid());
    table::forget(thread.tid());
}

#[test]
fn of_two_threads_that_end_at_once_one_is_the_last() {
    let _turn = turn();
    let first = exec::block_on(new_process(0));
    let second = another(&first);
    let process = first.process();
    // Neither has left the list of threads when the other looks.
    assert!(!process.leave(&first));
    assert!(process.leave(&second));
    for thread in [&first, &second] {
        crate::exit::thread_ended(thread, &CALLS);
    }
    table::forget(process.pid());
}
