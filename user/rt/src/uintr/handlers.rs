//! What serves each vector; the entries know where it is.

use super::nesting::{self, Nesting};
use super::raised::{self, Raised};
use abi::uintr as at;

/// What serves a vector: the code, which gets the data and the vector.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Served {
    data: *const (),
    code: unsafe extern "C" fn(*const (), u32),
}

impl Served {
    const NOTHING: Self = Self { data: core::ptr::null(), code: ignore };

    /// Of code that has data of its own.
    pub(super) fn raw(data: *const (), code: unsafe extern "C" fn(*const (), u32)) -> Self {
        Self { data, code }
    }

    fn by<H: Fn(u32) + Sync>(handler: &'static H) -> Self {
        Self { data: core::ptr::from_ref(handler).cast(), code: call::<H> }
    }
}

/// # Safety
/// None: it does nothing.
unsafe extern "C" fn ignore(_: *const (), _: u32) {}

/// # Safety
/// `data` is of a handler of this type, which is never gone.
unsafe extern "C" fn call<H: Fn(u32) + Sync>(data: *const (), vector: u32) {
    // SAFETY: the caller's promise; `Served::by` is where both come from.
    unsafe { (*data.cast::<H>())(vector) }
}

/// Handlers by vector.
#[repr(C)]
pub struct Handlers {
    served: [Served; at::VECTORS],
    /// Vectors whose handlers may use floating point.
    floats: u64,
    /// Vectors that are not ignored, and those of them whose handlers let others interrupt them.
    served_at_all: u64,
    nesting: u64,
}

impl Default for Handlers {
    fn default() -> Self {
        Self::new()
    }
}

impl Handlers {
    /// All vectors are ignored.
    #[must_use]
    pub fn new() -> Self {
        Self { served: [Served::NOTHING; at::VECTORS], floats: 0, served_at_all: 0, nesting: 0 }
    }

    /// `vector`, 0 to 63, is noted in `raised`, for tasks and threads to take it from there.
    ///
    /// # Panics
    /// If there is no such vector.
    #[must_use]
    pub fn note(self, vector: u32, raised: &'static Raised) -> Self {
        self.with(vector, Served { data: core::ptr::from_ref(raised).cast(), code: raised::note }, false)
    }

    /// `handler` serves `vector`, 0 to 63, which it is told.
    ///
    /// # Panics
    /// If there is no such vector.
    ///
    /// # Safety
    /// The handler interrupts the thread between any two instructions. It must not depend on what those are in the middle of, which rules out
    /// what is not for the handler of a signal: taking a lock, allocating or freeing, borrowing from a cell or a task's locals, starting or waking tasks,
    /// panicking. It may use atomics and system calls.
    #[must_use]
    pub unsafe fn on<H: Fn(u32) + Sync>(self, vector: u32, handler: &'static H) -> Self {
        self.with(vector, Served::by(handler), true)
    }

    /// The same for a handler that does not use floating point: faster, where the thread does, since no such registers are saved.
    ///
    /// # Panics
    /// If there is no such vector.
    ///
    /// # Safety
    /// As for [`Handlers::on`]; and neither the handler nor what it calls computes with floating-point numbers.
    #[must_use]
    pub unsafe fn on_without_floats<H: Fn(u32) + Sync>(self, vector: u32, handler: &'static H) -> Self {
        self.with(vector, Served::by(handler), false)
    }

    /// `handler` serves `vector`, and may let more urgent ones interrupt it ([`Nesting::by_more_urgent`]). All such handlers together have one more stack, as long as the others': a level takes some 400 bytes
    /// of it beside what its handler needs. Signals in user mode ([`crate::signal::user`]) are never among those that interrupt it.
    ///
    /// # Panics
    /// If there is no such vector.
    ///
    /// # Safety
    /// As for [`Handlers::on`]. The handlers that interrupt it may come between any two instructions of what it lets them in for.
    #[must_use]
    pub unsafe fn nesting<H: Fn(u32, &Nesting) + Sync>(self, vector: u32, handler: &'static H) -> Self {
        let served = Served::raw(core::ptr::from_ref(handler).cast(), nesting::enter::<H>);
        // What was held meanwhile is served behind it in the same interrupt, in which thus floating-point registers must have been saved.
        let mut handlers = self.with(vector, served, true);
        handlers.nesting |= 1 << vector;
        handlers
    }

    /// Whether there is one that lets others in.
    pub(super) fn nest(&self) -> bool {
        self.nesting != 0
    }

    /// Whether one of those is less urgent than `vector`, which is below 64.
    pub(crate) fn nest_below(&self, vector: u32) -> bool {
        self.nesting & u64::MAX << vector & !(1 << vector) != 0
    }

    /// The vectors that are not ignored.
    pub(super) fn served_at_all(&self) -> u64 {
        self.served_at_all
    }

    /// What serves each vector.
    pub(super) fn served(&self) -> [Served; at::VECTORS] {
        self.served
    }

    /// Has a vector below 64 served by something else.
    pub(super) fn serve(&mut self, vector: usize, served: Served) {
        self.served[vector] = served;
    }

    fn with(mut self, vector: u32, served: Served, floats: bool) -> Self {
        self.served[vector as usize] = served;
        self.floats = self.floats & !(1 << vector) | u64::from(floats) << vector;
        self.served_at_all |= 1 << vector;
        self.nesting &= !(1 << vector);
        self
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Handlers, served) == 0 && offset_of!(Handlers, floats) == 1024);
    assert!(offset_of!(Served, data) == 0 && offset_of!(Served, code) == 8 && size_of::<Served>() == 16);
};
