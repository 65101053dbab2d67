//! Floating-point conditions as values. RISC-V raises no exception for them: it sets bits in `fcsr`, which stay until they are cleared
//! (unprivileged specification, 20.2).
//!
//! ```no_run
//! let (quotient, conditions) = conditions::of(|| a / b);
//! if conditions.has(Conditions::DIVISION_BY_ZERO) { /* ... */ }
//! ```
//!
//! And integers whose overflow is an exception, which RISC-V has none for either: [`Checked`].

mod integers;

use core::arch::asm;
use core::hint::black_box;

pub use integers::Checked;

/// A set of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions(u8);

impl Conditions {
    /// None.
    pub const NONE: Self = Self(0);
    /// The result was rounded.
    pub const INEXACT: Self = Self(1);
    /// It was rounded and is too small to be normal.
    pub const UNDERFLOW: Self = Self(2);
    /// It is too large.
    pub const OVERFLOW: Self = Self(4);
    /// A finite number was divided by zero.
    pub const DIVISION_BY_ZERO: Self = Self(8);
    /// There is no such result: 0 / 0, the root of a negative number, and so on.
    pub const INVALID: Self = Self(16);
    /// What is an error in most programs: all but rounding.
    pub const ERRORS: Self = Self(4 | 8 | 16);

    /// Whether one of `others` is among them.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

/// What `body` computes, and the conditions that it met. Those that were there before are there again behind it, with these.
///
/// What `body` computes with should come from outside of it: what the compiler knows, it computes itself, and meets no condition.
pub fn of<T>(body: impl FnOnce() -> T) -> (T, Conditions) {
    let before: usize;
    // SAFETY: the flags are the thread's own and change no result. No `nomem`: nothing moves across.
    unsafe { asm!("csrrw {}, fflags, zero", out(reg) before) };
    let value = compute(black_box(body));
    let met: usize;
    // SAFETY: as above.
    unsafe { asm!("csrr {0}, fflags", "csrs fflags, {1}", out(reg) met, in(reg) before) };
    (value, Conditions(met as u8 & 0x1f))
}

/// Apart, so that no operation is moved out of the two looks at the flags.
#[inline(never)]
fn compute<T>(body: impl FnOnce() -> T) -> T {
    black_box(body())
}
