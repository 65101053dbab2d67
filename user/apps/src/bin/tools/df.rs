//! `df`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::{fs, println};

/// The tool.
pub static TOOL: Tool =
    Tool { name: "df", usage: "[PATH...]\nSays how full file systems are, in KiB.", options: Some(""), run };

fn run(options: &Options) -> Outcome {
    println!("{:>12} {:>12} {:>12} {:>5}  mounted at", "total", "used", "free", "use");
    let mounted: Vec<String> = match options.args.as_slice() {
        [] => mounts(),
        some => some.iter().map(|p| (*p).to_string()).collect(),
    };
    for path in mounted {
        let info = fs::statfs(&path).map_err(about(&path))?;
        if info.blocks == 0 && options.args.is_empty() {
            continue;
        }
        let kib = |blocks: u64| blocks.saturating_mul(info.bsize.unsigned_abs()) / 1024;
        let (total, free) = (kib(info.blocks), kib(info.bavail));
        let used = total.saturating_sub(kib(info.bfree));
        let percent = (used * 100).checked_div(used + free).unwrap_or(0);
        println!("{total:12} {used:12} {free:12} {percent:4}%  {path}");
    }
    Ok(0)
}

/// Where file systems are mounted; the root if that is not known.
fn mounts() -> Vec<String> {
    match fs::read_to_string("/proc/mounts") {
        Ok(text) => text.lines().filter_map(|l| l.split(' ').nth(1)).map(ToString::to_string).collect(),
        Err(_) => alloc::vec!["/".to_string()],
    }
}
