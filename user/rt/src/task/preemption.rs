//! What a coroutine that does not yield is interrupted for, as it chooses at its start.
//!
//! The kernel takes a worker from a thread in the middle of a poll (note 0003, section 5). A coroutine that wants less of that says so in
//! a word of the hint page, of the thread that polls it, for the time of each poll: the others pay nothing.

use crate::slots;
use core::future::{Future, poll_fn};
use core::pin::pin;

/// What a coroutine is preempted for in the middle of a poll, as far as the coroutines of its own process go: other processes, and the
/// plain threads of this one, have their turns in any case.
///
/// One that is preempted goes on on the thread that it is on. One that waits in the kernel always leaves its worker to others. Where the
/// kernel has no slots, as Linux, none is ever preempted for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preemption {
    /// For its equals, when it has had a slice, and for what is more urgent.
    #[default]
    Equal,
    /// For what is more urgent only: its equals wait until it waits or yields.
    Urgent,
    /// For nothing: what is more urgent waits, too. A chain of such polls holds up its worker's tasks for as long as it takes.
    Never,
}

/// The future, polled with that.
pub(super) async fn limited<F: Future>(preemption: Preemption, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _limit = slots::limit(preemption as u32);
        future.as_mut().poll(context)
    })
    .await
}
