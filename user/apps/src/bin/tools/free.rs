//! `free`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::println;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "free", usage: "\nSays how much memory there is, in KiB.", options: Some(""), run };

fn run(_: &Options) -> Outcome {
    let info = rt::system::sysinfo().map_err(|e| e.to_string())?;
    let kib = |units: u64| units.saturating_mul(u64::from(info.mem_unit)) / 1024;
    let (total, free, cached) = (kib(info.totalram), kib(info.freeram), kib(info.bufferram));
    println!("{:>12} {:>12} {:>12} {:>12}", "total", "used", "free", "buffers");
    println!("{total:12} {:12} {free:12} {cached:12}", total.saturating_sub(free));
    Ok(0)
}
