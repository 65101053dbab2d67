//! What is left to a hart, on the host: who does it, how much of it, and what becomes of what it wakes.

use super::*;
use crate::tests::turn;
use alloc::vec::Vec;
use core::sync::atomic::AtomicUsize;

#[derive(Default)]
struct Work {
    done: AtomicUsize,
    refused: AtomicUsize,
}

/// One that leaves something more where it is done.
impl Prompt for Work {
    fn act(self: Arc<Self>) {
        self.done.fetch_add(1, Relaxed);
        let refused = push(self.clone()).is_err();
        self.refused.fetch_add(usize::from(refused), Relaxed);
    }
}

impl Work {
    fn seen(&self) -> (usize, usize) {
        (self.done.load(Relaxed), self.refused.load(Relaxed))
    }
}

/// One test, as a hart has one list.
#[test]
fn a_hart_does_some_at_a_time_and_nothing_that_comes_of_it() {
    let _turn = turn();
    let (hart, work) = (hart::id(), Arc::new(Work::default()));
    assert!(push(work.clone()).is_err(), "nobody is there who would do it");
    start();
    exec::block_on(exec::yield_now());
    assert!(!is_wanted(hart));
    // By the thread that is about to enter user mode.
    let taken: Vec<bool> = (0..AT_ONCE + 4).map(|_| push(work.clone()).is_ok()).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), AT_ONCE);
    assert!(is_wanted(hart));
    act(hart);
    assert!(!is_wanted(hart));
    assert_eq!(work.seen(), (AT_ONCE, AT_ONCE));
    act(hart);
    assert_eq!(work.seen(), (AT_ONCE, AT_ONCE));
    // By the coroutine, where nobody is.
    exec::block_on(exec::yield_now());
    assert!(push(work.clone()).is_ok());
    exec::block_on(exec::yield_now());
    assert_eq!(work.seen(), (AT_ONCE + 1, AT_ONCE + 1));
    // Nothing is kept.
    assert_eq!(Arc::strong_count(&work), 1);
}
