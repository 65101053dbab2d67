//! Tasks that borrow: a scope that ends when all of them have.
//!
//! An asynchronous form is not possible: its future could be forgotten while tasks run that borrow from its caller, so the end
//! of the borrow cannot be awaited, only blocked for. [`scope`] therefore blocks, as `std::thread::scope` does, and belongs on a thread or in
//! `main`. Inside a task, futures that borrow are driven together by the task itself: [`crate::join!`], [`crate::select!`].

use super::{JoinHandle, Priority, block_on, pool};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;

type Borrowing<'s> = Pin<Box<dyn Future<Output = ()> + Send + 's>>;

/// Where tasks can be spawned that borrow what lives longer than the scope.
pub struct Scope<'scope, 'env: 'scope> {
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// Neither longer nor shorter.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a task that may borrow. Its output goes where it puts it: into what it borrows, or a channel.
    pub fn spawn(&'scope self, future: impl Future<Output = ()> + Send + 'scope) {
        let future: Borrowing<'scope> = Box::pin(future);
        // SAFETY: only the lifetime changes. `scope` does not come back before the task has ended, with its future dropped, or
        // failed, when the future is never touched again and stays where it is.
        let future = unsafe { core::mem::transmute::<Borrowing<'scope>, Borrowing<'static>>(future) };
        self.tasks.borrow_mut().push(pool().spawn(Priority::NORMAL, future));
    }
}

/// Calls `f` with a scope, then waits for all tasks that were spawned there. Not to be called from a task.
pub fn scope<'env, R>(f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
    let scope = Scope { tasks: RefCell::new(Vec::new()), scope: PhantomData, env: PhantomData };
    // A panic does not unwind: what `f` borrows stays where it is for ever then.
    let result = f(&scope);
    block_on(async {
        loop {
            let Some(task) = scope.tasks.borrow_mut().pop() else { break };
            // However it has ended, it has.
            let _ = task.await;
        }
    });
    result
}
