//! Waiting on a word: the two `futex` operations that locks and thread joins are made of.

use crate::sys::syscall;
use abi::futex::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAKE};
use abi::time::Timespec;
use core::sync::atomic::AtomicU32;
use core::time::Duration;

/// Waits until woken, while `word` is `expected`, at most `timeout`. Returns `false` after the timeout. May return
/// early: callers look at the word again.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
    wait_scoped(word, expected, timeout, FUTEX_PRIVATE_FLAG)
}

/// The same for the word that the kernel clears when a thread ends: it wakes without the private flag.
pub(crate) fn wait_kernel(word: &AtomicU32, expected: u32) {
    wait_scoped(word, expected, None, 0);
}

fn wait_scoped(word: &AtomicU32, expected: u32, timeout: Option<Duration>, scope: u32) -> bool {
    let limit = timeout.map(|t| Timespec { sec: t.as_secs() as i64, nsec: i64::from(t.subsec_nanos()) });
    let limit_ptr = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let result = syscall!(FUTEX, word.as_ptr(), FUTEX_WAIT | scope, expected, limit_ptr);
    result != Err(abi::Errno::ETIMEDOUT)
}

/// Wakes up to `count` waiters.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    // Fails only for an address that is not mapped, which a reference rules out.
    let _ = syscall!(FUTEX, word.as_ptr(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
}
