//! What is done through a handle that goes before the first poll comes before the task is freed.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;

/// A word, and a field beside it that the handle reads.
struct Task {
    word: Word,
    field: UnsafeCell<u32>,
}

// SAFETY: the field is read while the word has a reference, and changed by who frees the task; loom fails where that is not so.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    fn free_if(&self, release: Release) {
        if release == Release::Free {
            self.field.with_mut(|_| ());
        }
    }

    /// The handle is used, and dropped.
    fn use_handle(&self) {
        self.field.with(|_| ());
        if !self.word.detach_new() {
            let _ = self.word.leave();
            self.free_if(self.word.drop_ref());
        }
    }
}

#[test]
fn a_handle_that_goes_at_once_has_done_with_the_task() {
    loom::model(|| {
        let task = Arc::new(Task { word: Word::new(), field: UnsafeCell::new(0) });
        let handle = {
            let task = task.clone();
            thread::spawn(move || task.use_handle())
        };
        assert_eq!(task.word.start(), Start::Poll);
        let _ = task.word.complete(Ending::NoOutput);
        task.free_if(task.word.release());
        handle.join().unwrap();
    });
}
