//! `print!` and its relatives. Output that cannot be written is dropped: the program ends by `SIGPIPE`, or has nobody
//! to tell. Use [`crate::io::Write`] where the failure matters.

/// Prints to standard output, which is buffered.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => {
        { let _ = $crate::io::Write::write_fmt(&mut $crate::io::stdout(), format_args!($($arg)*)); }
    };
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::print!("{}\n", format_args!($($arg)*)) };
}

/// Prints to standard error, unbuffered.
#[macro_export]
macro_rules! eprint {
    ($($arg:tt)*) => {
        { let _ = $crate::io::Write::write_fmt(&mut $crate::io::stderr(), format_args!($($arg)*)); }
    };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::eprint!("\n") };
    ($($arg:tt)*) => { $crate::eprint!("{}\n", format_args!($($arg)*)) };
}
