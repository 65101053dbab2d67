//! Names of tasks: in a table of the process, for what it says itself, and at the start of the task's future, where the kernel finds them
//! when somebody wants to know what the process does (`sched::census::NAME`). Who has no name pays for neither.

use crate::sync::Mutex;
use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use task::{NAME_LEN, TaskRef};

/// Names of tasks that run.
static NAMES: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());

/// The name of a task, if it was given one and has begun.
#[must_use]
pub fn name(id: u64) -> Option<String> {
    NAMES.lock().get(&id).cloned()
}

/// The name of the task with this number, where it can be had without waiting.
pub(crate) struct NameOf(pub(crate) u64);

impl fmt::Display for NameOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.try_lock().as_ref().and_then(|names| names.get(&self.0)) {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

/// A name in the table as long as this is there.
struct Entry(u64);

impl Entry {
    fn new(id: u64, name: String) -> Self {
        NAMES.lock().insert(id, name);
        Self(id)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let name = NAMES.lock().remove(&self.0);
        drop(name);
    }
}

/// A future with a name. `repr(C)`: the kernel finds that at the start.
#[repr(C)]
struct Named<F> {
    /// Read by the kernel.
    shown: [u8; NAME_LEN],
    /// Until it begins.
    name: Option<String>,
    entry: Option<Entry>,
    future: F,
}

/// The future of a task with this name.
pub(super) fn named<F: Future>(name: String, future: F) -> impl Future<Output = F::Output> {
    let mut shown = [0; NAME_LEN];
    let text = &name.as_bytes()[..name.floor_char_boundary(NAME_LEN)];
    shown[..text.len()].copy_from_slice(text);
    Named { shown, name: Some(name), entry: None, future }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned as the whole is, and the others never are; nothing is moved out of it.
        let this = unsafe { self.get_unchecked_mut() };
        if let Some(name) = this.name.take()
            && let Some(task) = TaskRef::from_waker(context.waker())
        {
            this.entry = Some(Entry::new(task.id(), name));
            // Whoever polls it else than as a task's whole future shows the first bytes of another.
            let _ = task.mark_named::<Self>();
        }
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(&mut this.future) }.poll(context)
    }
}
