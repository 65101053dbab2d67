//! `uptime`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool { name: "uptime", usage: "\nSays how long the system runs.", options: Some(""), run };

fn run(_: &Options) -> Outcome {
    let info = rt::system::sysinfo().map_err(|e| e.to_string())?;
    let (days, rest) = (info.uptime / 86_400, info.uptime % 86_400);
    println!("up {days} days, {:02}:{:02}:{:02}, {} processes", rest / 3600, rest / 60 % 60, rest % 60, info.procs);
    Ok(0)
}
