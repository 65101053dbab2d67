//! `ps`.

use crate::options::Options;
use crate::{Outcome, Tool, proc};
use alloc::vec::Vec;
use monitor::{Files, sample};
use rt::println;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "ps", usage: "\nLists the processes, from /proc; `top -b` what they do.", options: None, run };

fn run(_: &Options) -> Outcome {
    let mut pids: Vec<u32> = proc::System.names().iter().filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    println!("{:>6} {:>6} S {:>9}  COMMAND", "PID", "PPID", "KIB");
    // One that has ended since is not listed.
    for process in pids.into_iter().filter_map(|pid| sample::bare(&proc::System, pid)) {
        let (kib, command) = (process.resident >> 10, &process.command);
        println!("{:6} {:>6} {} {kib:>9}  {command}", process.id, process.parent, process.state);
    }
    Ok(0)
}
