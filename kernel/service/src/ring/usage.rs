//! What a ring's own coroutines take of a hart: it is the process's, as what its threads take is, so they are ranked with these when it has had its share.

use super::{request::Request, urgency::Urgency};
use exec::{Birth, TaskRef};
use process::{BUSY, Thread};

/// What is taken before it is put in the account, in nanoseconds.
const QUANTUM: u64 = 1_000_000;

/// Not in the account yet.
#[derive(Default)]
pub(super) struct Usage(u64);

impl Usage {
    /// A poll that began then is over, with what preempted it, which is not told apart. `thread` is of who is served. How the coroutine is to run from now on, where
    /// that was put in the account.
    pub(super) fn add(&mut self, began: u64, thread: &Thread) -> Option<Birth> {
        self.0 += hal::time::now().saturating_sub(began);
        (self.0 >= QUANTUM).then(|| thread.charge_service(core::mem::take(&mut self.0)))
    }
}

/// At the priority that the thread's requests have now: its process may be busy, or not any more.
pub(super) fn follow(thread: &Thread, task: &TaskRef) {
    let birth = thread.birth_of_request();
    if task.own_priority() != birth.priority {
        exec::set_class(task, &birth);
    }
}

/// How the coroutine of a request runs on behind a poll that made the account of its process grow (`birth`), or of one that is ranked as busy: by what its process has used, whether its thread runs or
/// not. Whether the next is to look again.
#[cold]
pub(super) fn rank(thread: &Thread, request: &Request, urgency: Urgency, birth: Option<Birth>) -> bool {
    let (task, is_counted) = (request.task.lock().clone(), birth.is_some());
    // What says how urgent it is is no less so for what it takes, which counts in its place among those.
    let birth = match urgency.is_usual(thread) {
        true => birth.unwrap_or_else(|| thread.charge_service(0)),
        false => urgency.birth(thread),
    };
    let is_busy = birth.priority == BUSY;
    if let Some(task) = task.filter(|task| is_counted || task.own_priority() != birth.priority) {
        exec::set_class(&task, &birth);
    }
    is_counted || is_busy
}
