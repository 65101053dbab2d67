//! Rights that entries name by a number (`IORING_REGISTER_PERSONALITY`): those of who registers them, as they are then. An entry that names some begins with them, whoever submits it and
//! whatever becomes of the number; all else (account, priority, umask, whose descriptors) stays the submitter's.

use crate::context::Task;
use abi::errno::Errno;
use alloc::collections::BTreeMap;
use hal::sync::{SpinLock, rank};
use io::caller::Credentials;
use mem::Charge;

/// Most of a ring: so many numbers in use are passed, at most, for one that is free.
const MOST: usize = 4096;
/// Numbers that are looked at under the lock at a time.
const AT_ONCE: usize = 64;
/// What each takes.
const EACH: usize = size_of::<Registered>() + 32;

struct Registered {
    rights: Credentials,
    _charge: Option<Charge>,
}

#[derive(Default)]
struct Table {
    all: BTreeMap<u16, Registered>,
    /// The last number that was given out, or 0.
    last: u16,
}

/// The rights that are registered with a ring.
pub(super) struct Personalities(SpinLock<Table>);

impl Personalities {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(rank::PIPE, Table::default()))
    }

    /// Keeps the caller's rights; their number, from 1 on. As on Linux the next one behind the last that is free, so one that was given up is another's late.
    ///
    /// # Errors
    /// `ENOMEM`, also where there are too many; Linux has 65,535.
    pub(super) fn register(&self, task: &Task<'_>) -> Result<usize, Errno> {
        let mut charge = Some(task.caller().account.charge(EACH)?);
        let mut from = None;
        // More than are in use at a time.
        for _ in 0..=MOST / AT_ONCE {
            let mut table = self.0.lock();
            if table.all.len() >= MOST {
                break;
            }
            match free(from.unwrap_or(next(table.last)), |number| table.all.contains_key(&number)) {
                Ok(number) => {
                    table.last = number;
                    table.all.insert(number, Registered { rights: task.caller().credentials, _charge: charge.take() });
                    return Ok(number.into());
                }
                Err(behind) => from = Some(behind),
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Gives a number up.
    ///
    /// # Errors
    /// `EINVAL`: there is none.
    pub(super) fn unregister(&self, number: usize) -> Result<usize, Errno> {
        let number = u16::try_from(number).map_err(|_| Errno::EINVAL)?;
        let registered = self.0.lock().all.remove(&number);
        registered.map(|_| 0).ok_or(Errno::EINVAL)
    }

    /// The rights that an entry names.
    ///
    /// # Errors
    /// `EINVAL`: there are none.
    #[cold]
    pub(super) fn get(&self, number: u16) -> Result<Credentials, Errno> {
        self.0.lock().all.get(&number).map(|registered| registered.rights).ok_or(Errno::EINVAL)
    }
}

/// The number behind one. 0 is none.
fn next(number: u16) -> u16 {
    number.checked_add(1).unwrap_or(1)
}

/// The first number from this on that is not used, among some.
///
/// # Errors
/// Where to go on.
fn free(mut number: u16, is_used: impl Fn(u16) -> bool) -> Result<u16, u16> {
    for _ in 0..AT_ONCE {
        if !is_used(number) {
            return Ok(number);
        }
        number = next(number);
    }
    Err(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn a_free_number_is_looked_for_some_at_a_time() {
        // All but one of those that a ring may have, around the end of the numbers.
        let first = u16::MAX - 100;
        let used = |number: u16| number.wrapping_sub(first) < MOST as u16 - 1 && number != 0;
        let looks = Cell::new(0);
        let (mut from, mut rounds) = (first, 0);
        let found = loop {
            looks.set(0);
            rounds += 1;
            let answer = free(from, |number| {
                looks.set(looks.get() + 1);
                used(number)
            });
            assert!(looks.get() <= AT_ONCE);
            match answer {
                Ok(number) => break number,
                Err(behind) => from = behind,
            }
        };
        assert!(!used(found) && used(if found == 1 { u16::MAX } else { found - 1 }));
        assert!(rounds <= MOST / AT_ONCE + 1);
    }
}
