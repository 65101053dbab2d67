//! What the steps of `test` found: counts, and a line for each failure, which the end of the output repeats.

use crate::command::say;
use std::fmt;
use std::ops::AddAssign;

/// What a step found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Tests that hold.
    pub passed: usize,
    /// Tests that do not.
    pub failed: usize,
    /// Tests that could not be run here.
    pub skipped: usize,
    /// A line for each of those that failed; fewer, where a tool of its own has told its failures.
    pub failures: Vec<String>,
}

impl Tally {
    /// A single test with this verdict.
    pub fn of(holds: bool) -> Self {
        Self { passed: usize::from(holds), failed: usize::from(!holds), ..Self::default() }
    }

    /// One test that failed. It is told at once.
    pub fn failure(what: impl Into<String>) -> Self {
        let what = what.into();
        say(format!("  not ok: {what}"));
        Self { failed: 1, failures: vec![what], ..Self::default() }
    }

    /// A single test with this verdict, and what it is called if it failed.
    pub fn named(holds: bool, what: impl FnOnce() -> String) -> Self {
        if holds { Self::of(true) } else { Self::failure(what()) }
    }

    /// A single test, which holds if there are none of these.
    pub fn of_all(failures: impl IntoIterator<Item = String>) -> Self {
        let mut tally = Self::default();
        failures.into_iter().for_each(|what| tally += Self::failure(what));
        if tally.failed == 0 { Self::of(true) } else { tally }
    }

    /// One test that was skipped.
    pub fn skip() -> Self {
        Self { skipped: 1, ..Self::default() }
    }

    /// The same, with the step's name before each failure, and a line for those that have none.
    pub fn of_step(mut self, name: &str) -> Self {
        self.failures.iter_mut().for_each(|what| what.insert_str(0, &format!("{name}: ")));
        let told = self.failures.len();
        if told < self.failed {
            self.failures.push(format!("{name}: {} that were told above", self.failed - told));
        }
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_with_their_step() {
        let mut total = Tally::default();
        total += Tally::failure("pipe: lost a byte [vm]").of_step("guest");
        total += Tally { failed: 2, ..Tally::of(true) }.of_step("host");
        assert_eq!(total.failures, ["guest: pipe: lost a byte [vm]", "host: 2 that were told above"]);
        assert_eq!(total.to_string(), "1 passed, 3 failed, 0 skipped");
    }
}
