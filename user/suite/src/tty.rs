//! Terminals, as far as they can be tested without somebody at the keys.

use crate::case::{Case, Outcome, Trouble};
use crate::process::{child, exits};
use rt::fs::OpenOptions;
use rt::{pipe, tty};

pub const CASES: &[Case] = &[
    case!("tty/not-a-terminal", "D3 E1", not_a_terminal),
    case!("tty/no-controlling-terminal", "D3", no_controlling_terminal),
    case!("tty/modes", "D3", modes),
];

fn not_a_terminal() -> Outcome {
    let (read, _write) = pipe::pipe()?;
    fails!(tty::attributes(read.fd().raw()), ENOTTY);
    fails!(tty::foreground(read.fd().raw()), ENOTTY);
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    fails!(tty::attributes(null.fd().raw()), ENOTTY);
    fails!(tty::attributes(999), EBADF);
    Ok(())
}

fn no_controlling_terminal() -> Outcome {
    let pid = child(|| {
        let began = call!(SETSID).is_ok();
        let open = OpenOptions::new().read(true).write(true).open("/dev/tty");
        i32::from(!began || open.is_ok())
    })?;
    exits(pid, 0)
}

/// Modes that are set can be read back; the window's size too.
fn modes() -> Outcome {
    if !tty::is_terminal(0) {
        return Err(Trouble::skipped("standard input is no terminal"));
    }
    let before = tty::attributes(0)?;
    // A terminal of another session or in another group would stop this process.
    if tty::foreground(0).ok() != Some(rt::process::group()) {
        return Err(Trouble::skipped("not in the foreground of the terminal"));
    }
    tty::set_attributes(0, &tty::raw(&before))?;
    let after = tty::attributes(0);
    tty::set_attributes(0, &before)?;
    equal!(after?, tty::raw(&before));
    equal!(tty::attributes(0)?, before);
    Ok(())
}
