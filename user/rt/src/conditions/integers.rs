//! Integers whose overflow is an exception of their program's.

use core::arch::asm;
use core::ops::{Add, Div, Mul, Neg, Rem, Shl, Shr, Sub};

/// An integer. An operation whose result does not fit executes `ebreak`: a thread that takes breakpoints ([`Causes::BREAKPOINT`](crate::uintr::traps::Causes::BREAKPOINT))
/// has it in its handler while its interrupts are on, which they are not in a handler of them or in [`masked`](crate::uintr::masked); any other is ended by `SIGTRAP`. Where the handler goes on behind it, the result is what the hardware's operation gives: it
/// wraps around; what is divided by zero is all ones, with all of it left over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checked<T>(pub T);

/// The exception.
#[cold]
#[inline(never)]
fn overflowed() {
    // SAFETY: changes nothing; who handles it goes on behind it, or not at all. What a handler does to memory stays there: no `nomem`.
    unsafe { asm!("ebreak", options(nostack)) };
}

/// The value; and the exception, if that is not the whole result.
#[inline]
fn checked<T>((value, overflow): (T, bool)) -> Checked<T> {
    if overflow {
        overflowed();
    }
    Checked(value)
}

macro_rules! operations {
    ($integer:ident: $($name:ident $function:ident $overflowing:ident),*) => {$(
        impl $name for Checked<$integer> {
            type Output = Self;

            #[inline]
            fn $function(self, other: Self) -> Self {
                checked(self.0.$overflowing(other.0))
            }
        }
    )*};
}

macro_rules! divisions {
    ($integer:ident: $($name:ident $function:ident $overflowing:ident $by_zero:expr),*) => {$(
        impl $name for Checked<$integer> {
            type Output = Self;

            #[inline]
            fn $function(self, other: Self) -> Self {
                checked(if other.0 == 0 { ($by_zero(self.0), true) } else { self.0.$overflowing(other.0) })
            }
        }
    )*};
}

macro_rules! shifts {
    ($integer:ident: $($name:ident $function:ident $overflowing:ident),*) => {$(
        impl $name<u32> for Checked<$integer> {
            type Output = Self;

            #[inline]
            fn $function(self, bits: u32) -> Self {
                checked(self.0.$overflowing(bits))
            }
        }
    )*};
}

macro_rules! integers {
    ($($integer:ident),*) => {$(
        operations!($integer: Add add overflowing_add, Sub sub overflowing_sub, Mul mul overflowing_mul);
        divisions!($integer: Div div overflowing_div |_| !0, Rem rem overflowing_rem |left| left);
        shifts!($integer: Shl shl overflowing_shl, Shr shr overflowing_shr);

        impl Neg for Checked<$integer> {
            type Output = Self;

            #[inline]
            fn neg(self) -> Self {
                checked(self.0.overflowing_neg())
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);
