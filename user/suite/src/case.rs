//! What a case is, how it fails or is skipped, and the macros that cases are written with.

use alloc::string::String;
use core::fmt;
use core::panic::Location;
use rt::abi::Errno;
use rt::io;

/// A named case.
pub struct Case {
    /// Group and name, with `/` between.
    pub name: &'static str,
    /// Requirements and decisions that it shows.
    pub shows: &'static str,
    /// Whether it belongs to `--quick`.
    pub quick: bool,
    /// The case.
    pub run: fn() -> Outcome,
}

/// Why a case did not pass.
#[derive(Debug)]
pub enum Trouble {
    /// Something does not hold.
    Failed(String),
    /// It cannot be run here.
    Skipped(String),
}

/// How a case ends.
pub type Outcome = Result<(), Trouble>;

impl Trouble {
    /// A failure at the caller's place in the source.
    #[track_caller]
    pub fn failed(why: impl fmt::Display) -> Self {
        let at = Location::caller();
        let file = at.file().rsplit('/').next().unwrap_or_default();
        Self::Failed(alloc::format!("{why} ({file}:{})", at.line()))
    }

    /// Not possible here.
    pub fn skipped(why: impl fmt::Display) -> Self {
        Self::Skipped(alloc::format!("{why}"))
    }
}

impl From<Errno> for Trouble {
    #[track_caller]
    fn from(errno: Errno) -> Self {
        Self::failed(format_args!("unexpected {errno}"))
    }
}

impl From<io::Error> for Trouble {
    #[track_caller]
    fn from(error: io::Error) -> Self {
        Self::failed(format_args!("unexpected error: {error}"))
    }
}

/// Declares a case: name, requirements, function; a fourth word `slow` keeps it out of `--quick`.
macro_rules! case {
    ($name:literal, $shows:literal, $run:expr) => {
        $crate::case::Case { name: $name, shows: $shows, quick: true, run: $run }
    };
    ($name:literal, $shows:literal, $run:expr, slow) => {
        $crate::case::Case { name: $name, shows: $shows, quick: false, run: $run }
    };
}

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr) => {
        ensure!($condition, "{}", stringify!($condition))
    };
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::case::Trouble::failed(format_args!($($why)+)));
        }
    };
}

/// Fails the case unless both are equal.
macro_rules! equal {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => ensure!(*left == *right, "{} is {left:?}, expected {right:?}", stringify!($left)),
        }
    };
}

/// Fails the case unless the call fails with that error.
macro_rules! fails {
    ($call:expr, $errno:ident) => {
        match $call {
            Err(error) => ensure!(
                $crate::case::number(error) == rt::abi::Errno::$errno.number(),
                "{} gave {error}, expected {}",
                stringify!($call),
                stringify!($errno)
            ),
            Ok(_) => ensure!(false, "{} succeeded, expected {}", stringify!($call), stringify!($errno)),
        }
    };
}

/// Makes a system call by name; `Result<usize, Errno>`.
macro_rules! call {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        $crate::process::call(rt::abi::nr::$number, &[$($argument as usize),*])
    };
}

/// The number of an error of either kind.
pub fn number(error: impl Into<io::Error>) -> i32 {
    error.into().raw_os_error().unwrap_or_default()
}

/// The value, or the case is skipped because AsyncOS has no such call yet. On Linux a missing call is a failure.
#[track_caller]
pub fn provided<T, E: Into<io::Error>>(result: Result<T, E>, what: &str) -> Result<T, Trouble> {
    result.map_err(|error| {
        let error = error.into();
        if error.raw_os_error() == Some(Errno::ENOSYS.number()) && crate::machine::is_asyncos() {
            return Trouble::skipped(format_args!("{what} is not provided"));
        }
        Trouble::failed(format_args!("{what}: {error}"))
    })
}
