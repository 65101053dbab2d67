//! Who takes a signal, and on which stack.

use super::{executes::another, *};
use abi::signal::*;
use core::{
    pin::pin,
    task::{Context, Poll, Waker},
};
use signal::deliver;

const CAUGHT: Sigaction = Sigaction { handler: HANDLER as u64, flags: 0, mask: 0 };
const ON_STACK: Sigaction = Sigaction { flags: SA_ONSTACK, ..CAUGHT };

fn sent(signal: u32) -> Siginfo {
    Siginfo::sent(signal, SI_USER, 1, 0, 0)
}

fn act(thread: &Arc<Thread>, context: &mut UserContext) {
    exec::block_on(deliver::act(thread, context, None));
}

fn remove(thread: &Thread) {
    table::remove_thread(thread.tid());
    table::forget(thread.process().pid());
}

/// Two threads; the second waits, interruptibly. The first is told of a signal, and then does `change`: the second takes it.
fn other_takes(change: impl FnOnce(&Arc<Thread>)) {
    let _turn = turn();
    let first = exec::block_on(new_process(0));
    let second = another(&first);
    let process = first.process().clone();
    signal::set_action(&process, SIGUSR1 as i32, Some(CAUGHT)).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = pin!(second.interruptible(core::future::pending::<()>()));
    assert!(wait.as_mut().poll(&mut context).is_pending());
    signal::send(&process, sent(SIGUSR1)).unwrap();
    // Attention and the wake-up of the thread's coroutine go together (`Thread::notify`).
    assert!(first.attention.is_wanted() && !second.attention.is_wanted());
    change(&first);
    assert!(second.attention.is_wanted());
    assert!(matches!(wait.as_mut().poll(&mut context), Poll::Ready(Err(_))));
    remove(&second);
    remove(&first);
}

#[test]
fn a_signal_for_a_thread_that_ends_goes_to_another() {
    other_takes(|first| crate::exit::thread_ended(first, &CALLS));
}

#[test]
fn a_signal_for_a_thread_that_blocks_it_goes_to_another() {
    other_takes(|first| {
        first.set_signal_mask(mask(SIGUSR1));
        act(first, &mut UserContext::new(CODE, STACK));
    });
}

/// A thread with an alternate stack of two pages in its test memory, and its registers.
fn with_stack() -> (Arc<Thread>, SigStack, UserContext) {
    let thread = exec::block_on(new_process(0));
    let sp = (STACK - 3 * PAGE_SIZE) as u64; // memory of others below it
    let stack = SigStack { sp, flags: 0, pad: 0, size: 2 * PAGE_SIZE as u64 };
    signal::set_alternate_stack(&thread, STACK, Some(stack)).unwrap();
    (thread, stack, UserContext::new(CODE, STACK))
}

#[test]
fn a_frame_without_a_stack_is_a_fault_that_can_be_handled() {
    let _turn = turn();
    let (thread, stack, mut context) = with_stack();
    signal::set_action(thread.process(), SIGUSR1 as i32, Some(CAUGHT)).unwrap();
    signal::set_action(thread.process(), SIGSEGV as i32, Some(ON_STACK)).unwrap();
    thread.set_temporary_mask(mask(SIGHUP));
    context.x_mut()[2] = CODE; // nothing is mapped there
    signal::send_thread(&thread, sent(SIGUSR1)).unwrap();
    act(&thread, &mut context);
    assert_eq!((thread.process().ending(), context.pc(), context.x()[10]), (None, HANDLER, SIGSEGV as usize));
    let sp = context.x()[2] as u64;
    assert!(sp > stack.sp && sp < stack.sp + stack.size);
    // The mask of before the temporary one comes back.
    exec::block_on(deliver::sigreturn(&thread, &mut context));
    assert_eq!(thread.signal_mask(), 0);
    // The second time, that handler has no stack either.
    signal::set_action(thread.process(), SIGSEGV as i32, Some(CAUGHT)).unwrap();
    context.x_mut()[2] = CODE;
    signal::send_thread(&thread, sent(SIGUSR1)).unwrap();
    act(&thread, &mut context);
    assert!(thread.process().ending().is_some());
    remove(&thread);
}

#[test]
fn frames_stay_on_the_alternate_stack() {
    let _turn = turn();
    let (thread, stack, mut context) = with_stack();
    signal::set_action(thread.process(), SIGUSR1 as i32, Some(ON_STACK)).unwrap();
    context.x_mut()[2] = stack.sp as usize + 512; // a handler is deep in its stack
    signal::send_thread(&thread, sent(SIGUSR1)).unwrap();
    act(&thread, &mut context);
    assert!(thread.process().ending().is_some() && context.pc() == CODE);
    remove(&thread);
}

#[test]
fn queued_signals_are_paid_for() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let process = thread.process();
    let unlimited = abi::process::Rlimit { current: u64::MAX, max: u64::MAX };
    process.set_limit(abi::process::RLIMIT_SIGPENDING, unlimited).unwrap();
    thread.set_signal_mask(u64::MAX);
    let account = process.account();
    let before = account.used();
    account.set_limit(before + 10_000);
    let queued = (0..1000).take_while(|_| signal::send(process, sent(SIGRTMIN)).is_ok()).count();
    assert!((1..100).contains(&queued), "{queued}");
    // Standard signals come through all the same, and what is taken out is paid back.
    signal::send(process, sent(SIGTERM)).unwrap();
    while process.pending.take(u64::MAX).is_some() {}
    assert_eq!(account.used(), before);
    account.set_limit(usize::MAX);
    remove(&thread);
}

/// The registers of a thread whose call was ended by a signal: after the `ecall`, its first argument in place.
fn after_a_call() -> (UserContext, Call) {
    let mut context = UserContext::new(CODE + 4, STACK);
    context.x_mut()[10] = 77;
    let call = Call::of(&context);
    (context, call)
}

#[test]
fn a_wait_that_is_resumed_keeps_its_end_until_a_handler_runs() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    signal::set_action(thread.process(), SIGUSR1 as i32, Some(CAUGHT)).unwrap();
    let eintr = Errno::EINTR.to_return() as usize;
    // Without a handler it runs again.
    let (mut context, call) = after_a_call();
    thread.resume_at(1234);
    exec::block_on(deliver::act(&thread, &mut context, Some((Restart::IfNoHandler, call))));
    assert_eq!((context.pc(), context.x()[10]), (CODE, 77));
    // A handler that comes before it does ends it; it returns behind the call.
    signal::send_thread(&thread, sent(SIGUSR1)).unwrap();
    act(&thread, &mut context);
    assert_eq!((context.pc(), thread.take_resume()), (HANDLER, None));
    exec::block_on(deliver::sigreturn(&thread, &mut context));
    assert_eq!((context.pc(), context.x()[10]), (CODE + 4, eintr));
    // A handler that comes at once does the same.
    let (mut context, call) = after_a_call();
    thread.resume_at(1234);
    signal::send_thread(&thread, sent(SIGUSR1)).unwrap();
    exec::block_on(deliver::act(&thread, &mut context, Some((Restart::IfNoHandler, call))));
    assert_eq!(thread.take_resume(), None);
    exec::block_on(deliver::sigreturn(&thread, &mut context));
    assert_eq!((context.pc(), context.x()[10]), (CODE + 4, eintr));
    // Some fail without any handler.
    let (mut context, call) = after_a_call();
    exec::block_on(deliver::act(&thread, &mut context, Some((Restart::Never, call))));
    assert_eq!((context.pc(), context.x()[10]), (CODE + 4, eintr));
    remove(&thread);
}

#[test]
fn a_handler_after_a_stop_decides_about_the_call_before_it() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    signal::set_action(thread.process(), SIGCONT as i32, Some(CAUGHT)).unwrap();
    let (mut context, call) = after_a_call();
    signal::send_thread(&thread, sent(SIGSTOP)).unwrap();
    {
        let mut looks = pin!(deliver::act(&thread, &mut context, Some((Restart::IfNoHandler, call))));
        let mut polls = Context::from_waker(Waker::noop());
        assert!(looks.as_mut().poll(&mut polls).is_pending() && thread.process().stopped());
        signal::send(thread.process(), sent(SIGCONT)).unwrap();
        assert!(looks.as_mut().poll(&mut polls).is_ready());
    }
    assert_eq!(context.pc(), HANDLER);
    exec::block_on(deliver::sigreturn(&thread, &mut context));
    assert_eq!((context.pc(), context.x()[10]), (CODE + 4, Errno::EINTR.to_return() as usize));
    remove(&thread);
}
