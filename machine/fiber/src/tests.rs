//! Fibers on the host: waiting, moving between threads, cancellation.

use super::*;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{pending, poll_fn, ready};
use core::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::task::Wake;
use std::thread;

const STACK: usize = 64 * 1024;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll_once<R>(fiber: &mut Fiber<R>) -> Poll<R> {
    Pin::new(fiber).poll(&mut Context::from_waker(Waker::noop()))
}

/// Pending once; wakes at once.
fn yield_once() -> impl Future<Output = ()> + Send {
    let mut first = true;
    poll_fn(move |cx| {
        if core::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

#[test]
fn code_that_never_waits_is_ready_at_once() {
    let mut fiber = Fiber::spawn(STACK, |_| 6 * 7).unwrap();
    assert_eq!(poll_once(&mut fiber), Poll::Ready(42));
}

#[test]
fn wait_suspends_and_goes_on_with_the_value() {
    let mut fiber = Fiber::spawn(STACK, |port| {
        let mut sum = 0;
        for value in 1..=100 {
            port.wait(yield_once()).unwrap();
            sum += port.wait(ready(value)).unwrap();
        }
        sum
    })
    .unwrap();
    let mut polls = 1;
    let sum = loop {
        match poll_once(&mut fiber) {
            Poll::Ready(sum) => break sum,
            Poll::Pending => polls += 1,
        }
    };
    assert_eq!((sum, polls), (5050, 101));
}

#[test]
fn the_waker_of_the_last_poll_reaches_the_inner_future() {
    let (send, receive) = mpsc::channel();
    let send = std::sync::Mutex::new(send);
    let mut fiber = Fiber::spawn(STACK, move |port| {
        let mut polls = 0;
        port.wait(poll_fn(|cx| {
            send.lock().unwrap().send(cx.waker().clone()).unwrap();
            polls += 1;
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        }))
    })
    .unwrap();
    for _ in 0..2 {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(Pin::new(&mut fiber).poll(&mut Context::from_waker(&waker)).is_pending());
        receive.recv().unwrap().wake();
        assert!(woken.0.load(Ordering::SeqCst));
    }
    assert_eq!(poll_once(&mut fiber), Poll::Ready(Ok(())));
}

#[test]
fn a_fiber_goes_on_on_another_thread() {
    let mut fiber = Fiber::spawn(STACK, |port| {
        let local = std::rc::Rc::new(core::cell::Cell::new(0));
        for _ in 0..10 {
            local.set(local.get() + 1);
            port.wait(yield_once()).unwrap();
        }
        local.get()
    })
    .unwrap();
    loop {
        let (back, result) = thread::spawn(move || {
            let result = poll_once(&mut fiber);
            (fiber, result)
        })
        .join()
        .unwrap();
        fiber = back;
        if let Poll::Ready(count) = result {
            assert_eq!(count, 10);
            break;
        }
    }
}

#[test]
fn dropping_cancels_every_wait_and_drops_what_the_code_held() {
    let held = Arc::new(());
    let inside = held.clone();
    let (send, receive) = mpsc::channel();
    let send = std::sync::Mutex::new(send);
    let mut fiber = Fiber::spawn(STACK, move |port| {
        let _inside = inside;
        let results: Vec<_> = (0..3).map(|_| port.wait(pending::<()>())).collect();
        send.lock().unwrap().send((results, port.is_cancelled())).unwrap();
    })
    .unwrap();
    assert!(poll_once(&mut fiber).is_pending());
    drop(fiber);
    assert_eq!(receive.recv().unwrap(), (alloc::vec![Err(Cancelled); 3], true));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn dropping_before_the_first_poll_drops_the_closure() {
    let held = Arc::new(());
    let inside = held.clone();
    drop(Fiber::spawn(STACK, move |_| drop(inside)).unwrap());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn code_that_ignores_its_cancellation_is_leaked_and_counted() {
    let before = leaked();
    let mut fiber = Fiber::<()>::spawn(STACK, |port| {
        loop {
            let _ = port.wait(pending::<()>());
        }
    })
    .unwrap();
    assert!(poll_once(&mut fiber).is_pending());
    drop(fiber);
    assert_eq!(leaked(), before + 1);
}

#[test]
fn an_impossible_size_is_an_error() {
    assert_eq!(Fiber::spawn(usize::MAX, |_| ()).map(drop), Err(NoMemory));
    assert_eq!(Fiber::spawn(isize::MAX as usize, |_| ()).map(drop), Err(NoMemory));
}
