//! Integer arithmetic whose overflow is an exception of the program's (`rt::conditions::Checked`).

use super::{noting, receiver};
use crate::case::Outcome;
use crate::process::{child, dies};
use core::hint::black_box;
use rt::abi::signal::SIGTRAP;
use rt::conditions::Checked;
use rt::uintr::traps::{Causes, Kind, Next};

/// What does not fit comes to the handler, once, and the result is what is left of it; what fits does not.
pub fn checked() -> Outcome {
    let receiver = receiver()?;
    let seen = noting(&receiver, Causes::BREAKPOINT, Next::Behind)?;
    let mut overflows = 0;
    let mut is = |found: Checked<i32>, expected: i32, overflow: bool| -> Outcome {
        overflows += usize::from(overflow);
        equal!((found.0, seen.count()), (expected, overflows));
        Ok(())
    };
    let [most, least, zero, one] = [i32::MAX, i32::MIN, 0, 1].map(|value| Checked(black_box(value)));
    let minus = Checked(black_box(-1));
    is(most + one, i32::MIN, true)?;
    is(most + zero, i32::MAX, false)?;
    is(least - one, i32::MAX, true)?;
    is(zero - one, -1, false)?;
    is(most * most, 1, true)?;
    is(most * minus, -i32::MAX, false)?;
    is(least / minus, i32::MIN, true)?;
    is(most / zero, -1, true)?;
    is(most % zero, i32::MAX, true)?;
    is(least % minus, 0, true)?;
    is(most / minus, -i32::MAX, false)?;
    is(-least, i32::MIN, true)?;
    is(-most, -i32::MAX, false)?;
    is(one << 32, 1, true)?;
    is(one << 31, i32::MIN, false)?;
    is(least >> 40, -1 << 23, true)?;
    is(least >> 31, -1, false)?;
    equal!(seen.kinds.load(core::sync::atomic::Ordering::Relaxed), 1 << Kind::Breakpoint as usize);
    let (big, two) = (Checked(black_box(u64::MAX)), Checked(black_box(2)));
    equal!(((big + two).0, (two - big).0, (big * two).0), (1, 3, u64::MAX - 1));
    equal!(seen.count(), overflows + 3);
    Ok(())
}

/// What keeps its interrupts off takes no exceptions either: it ends at the operation.
pub fn masked() -> Outcome {
    let body = || {
        let Ok(receiver) = receiver() else { return 1 };
        if noting(&receiver, Causes::BREAKPOINT, Next::Behind).is_err() {
            return 1;
        }
        rt::uintr::masked(&receiver, || (Checked(black_box(i32::MAX)) + Checked(black_box(1))).0)
    };
    drop(receiver()?);
    dies(child(body)?, SIGTRAP)
}

/// A program that takes no exceptions ends at the operation.
pub fn without_a_handler() -> Outcome {
    dies(child(|| (Checked(black_box(i32::MAX)) + Checked(black_box(1))).0)?, SIGTRAP)
}
