//! Values that belong to a task: [`task_local!`](crate::task_local) declares a key, [`LocalKey::scope`] gives it a value for
//! the time of a future.
//!
//! While a scope's future is polled its frame, on the poll's stack, is the head of a list that the thread has; `with` walks
//! the list. So a value costs nothing while its task does not run, and is found wherever the task does.

use crate::thread;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A scope that is being polled.
pub(crate) struct Scope {
    key: *const (),
    value: *const (),
    outer: *const Self,
}

/// A key of values of type `T`; see [`task_local!`](crate::task_local).
#[derive(Debug)]
pub struct LocalKey<T: 'static> {
    /// Keys are known by their addresses, so they must have some.
    _place: u8,
    value: PhantomData<fn() -> T>,
}

/// There is no value: the caller is in no scope of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl core::fmt::Display for AccessError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no task-local value is set here")
    }
}

impl core::error::Error for AccessError {}

impl<T: 'static> LocalKey<T> {
    /// For [`task_local!`](crate::task_local).
    #[doc(hidden)]
    #[must_use]
    pub const fn new() -> Self {
        Self { _place: 0, value: PhantomData }
    }

    fn address(&'static self) -> *const () {
        core::ptr::from_ref(self).cast()
    }

    /// `future` with a value for this key; a scope inside hides one outside.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> TaskLocalFuture<T, F> {
        TaskLocalFuture { key: self, value, future }
    }

    /// Calls `f` with the value.
    ///
    /// # Errors
    /// [`AccessError`] outside all scopes of this key.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let mut scope = thread::scopes();
        // SAFETY: scopes in the list are being polled by this thread, further up its stack.
        while let Some(found) = unsafe { scope.as_ref() } {
            if found.key == self.address() {
                // SAFETY: the key's values are of this type, and the scope keeps this one as long as it is polled, which is longer
                // than `f` runs.
                return Ok(f(unsafe { &*found.value.cast::<T>() }));
            }
            scope = found.outer;
        }
        Err(AccessError)
    }

    /// Calls `f` with the value.
    ///
    /// # Panics
    /// Outside all scopes of this key.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<T: Clone + 'static> LocalKey<T> {
    /// A copy of the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[must_use]
    pub fn get(&'static self) -> T {
        self.with(T::clone)
    }
}

/// The future of [`LocalKey::scope`].
#[must_use = "futures do nothing unless awaited"]
pub struct TaskLocalFuture<T: 'static, F> {
    key: &'static LocalKey<T>,
    value: T,
    future: F,
}

impl<T: 'static, F: Future> Future for TaskLocalFuture<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned as the whole is, and the others never are; nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        let outer = thread::scopes();
        let value = (&raw const this.value).cast();
        let scope = Scope { key: this.key.address(), value, outer };
        thread::set_scopes(&raw const scope);
        // SAFETY: as above.
        let answer = unsafe { Pin::new_unchecked(&mut this.future) }.poll(context);
        thread::set_scopes(outer);
        answer
    }
}

/// Declares keys of values that belong to a task: `task_local! { static NAME: Type; }`.
#[macro_export]
macro_rules! task_local {
    ($($(#[$note:meta])* $vis:vis static $name:ident: $type:ty;)+) => {$(
        $(#[$note])* $vis static $name: $crate::task::LocalKey<$type> = $crate::task::LocalKey::new();
    )+};
}
