//! `ps`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::{fs, println};

/// The tool.
pub static TOOL: Tool = Tool { name: "ps", usage: "\nLists the processes, from /proc.", options: None, run };

fn run(_: &Options) -> Outcome {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .map_err(|e| alloc::format!("/proc: {e}"))?
        .iter()
        .filter_map(|e| e.name.parse().ok())
        .collect();
    pids.sort_unstable();
    println!("{:>6} {:>6} S {:>9}  COMMAND", "PID", "PPID", "KIB");
    for pid in pids {
        // One that has ended since is not listed.
        if let Ok(stat) = fs::read_to_string(&alloc::format!("/proc/{pid}/stat")) {
            line(pid, &stat);
        }
    }
    Ok(0)
}

fn line(pid: u32, stat: &str) {
    // The name, in parentheses, may itself contain parentheses and blanks: the last one counts.
    let Some((head, tail)) = stat.rsplit_once(')') else { return };
    let name = head.split_once('(').map_or("?", |(_, n)| n);
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let field = |i: usize| fields.get(i).copied().unwrap_or("?");
    // Fields are numbered from 1 in the manual; `state` is 3, `ppid` 4, `vsize` 23, `rss` 24 in pages.
    let kib = field(21).parse::<u64>().map_or("?".to_string(), |pages| (pages * 4).to_string());
    println!("{pid:6} {:>6} {} {kib:>9}  {}", field(1), field(0), command(pid, name));
}

/// The command line, or the name in brackets if there is none.
fn command(pid: u32, name: &str) -> String {
    match fs::read(&alloc::format!("/proc/{pid}/cmdline")) {
        Ok(bytes) if !bytes.is_empty() => {
            String::from_utf8_lossy(&bytes).split('\0').collect::<Vec<_>>().join(" ").trim_end().to_string()
        }
        _ => alloc::format!("[{name}]"),
    }
}
