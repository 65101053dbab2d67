//! `kill`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::String;
use rt::{println, signal};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "kill",
    usage: "[-SIGNAL] PID...\nSends a signal (TERM), by name or number, to processes; -PID means a group. -l lists them.",
    options: None,
    run,
};

fn number(text: &str) -> Result<u32, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let known = signal::NAMES.iter().position(|n| *n == name).map(|n| n as u32);
    known.or_else(|| text.parse().ok()).ok_or_else(|| alloc::format!("{text}: unknown signal"))
}

fn run(options: &Options) -> Outcome {
    let (signal, pids) = match options.some_args()?.split_first() {
        Some((&"-l", _)) => {
            println!("{}", signal::NAMES[1..].join(" "));
            return Ok(0);
        }
        Some((first, rest)) if first.starts_with('-') => (number(&first[1..])?, rest),
        _ => (signal::SIGTERM, options.args.as_slice()),
    };
    for text in pids {
        let pid = text.parse().map_err(|_| alloc::format!("{text}: not a process id"))?;
        signal::kill(pid, signal).map_err(about(text))?;
    }
    Ok(0)
}
