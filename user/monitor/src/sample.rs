//! All that `/proc` says at one time.
//!
//! It is read file by file while everything goes on, so what ends meanwhile is missing, in part or altogether.

use crate::Files;
use crate::lines::{Coroutine, Stat, Thread, command};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The most bytes that are read of a file of one line, and of one with a line for each thread or coroutine: a process can have
/// a million.
const SHORT: usize = 4096;
const LONG: usize = 256 << 10;

/// A process, or the kernel.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number; 0 is the kernel.
    pub id: u32,
    /// Its parent.
    pub parent: u32,
    /// R, S, D, T or Z.
    pub state: char,
    /// CPU time in nanoseconds.
    pub time: u64,
    /// Bytes in memory.
    pub resident: u64,
    /// What it was started as.
    pub command: String,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Its coroutines.
    pub coroutines: Vec<Coroutine>,
    /// There may be more threads or coroutines than those.
    pub cut: bool,
}

/// The machine.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Nanoseconds of all harts in programs, in the kernel on their behalf, and idle.
    pub user: u64,
    /// Likewise.
    pub system: u64,
    /// Likewise.
    pub idle: u64,
    /// Harts.
    pub harts: usize,
    /// Seconds since the start.
    pub uptime: u64,
    /// Bytes of memory, and of it free.
    pub memory: u64,
    /// Likewise.
    pub free: u64,
    /// The kernel first, then by number.
    pub processes: Vec<Process>,
}

impl Sample {
    /// What there is now.
    pub fn take(files: &impl Files) -> Self {
        let mut sample = Self::default();
        sample.read_times(&files.text("/proc/stat", SHORT).unwrap_or_default());
        sample.read_memory(&files.text("/proc/meminfo", SHORT).unwrap_or_default());
        let uptime = files.text("/proc/uptime", SHORT).unwrap_or_default();
        sample.uptime = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        sample.processes.extend(kernel(files));
        let mut ids: Vec<u32> = files.names().iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        sample.processes.extend(ids.into_iter().filter_map(|id| process(files, id)));
        sample
    }

    /// `/proc/stat`.
    fn read_times(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            let ticks: Vec<u64> = words.map(|word| word.parse().unwrap_or(0)).collect();
            match (name.strip_prefix("cpu"), ticks.as_slice()) {
                (Some(""), [user, nice, system, idle, ..]) => {
                    let ns = |ticks: u64| ticks.saturating_mul(10_000_000);
                    (self.user, self.system, self.idle) = (ns(user.saturating_add(*nice)), ns(*system), ns(*idle));
                }
                (Some(_), _) => self.harts += 1,
                _ => {}
            }
        }
    }

    /// `/proc/meminfo`.
    fn read_memory(&mut self, text: &str) {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        self.memory = bytes("MemTotal:").unwrap_or(0);
        self.free = bytes("MemFree:").unwrap_or(0);
    }
}

/// The lines of a file as values, and whether some may be missing.
fn values<T>(files: &impl Files, path: &str, parse: fn(&str) -> Option<T>) -> (Vec<T>, bool) {
    let text = files.text(path, LONG).unwrap_or_default();
    let cut = text.len() >= LONG;
    // The last line may not be whole.
    let whole = if cut { text.rsplit_once('\n').map_or("", |(whole, _)| whole) } else { &text };
    (whole.lines().filter_map(parse).collect(), cut)
}

/// The kernel, whose own coroutines work for everybody.
fn kernel(files: &impl Files) -> Option<Process> {
    let (coroutines, cut) = values(files, "/proc/asyncos/coroutines", Coroutine::parse);
    let time = coroutines.iter().map(|coroutine| coroutine.time).sum();
    let kernel = Process { state: 'S', command: String::from("[kernel]"), time, coroutines, cut, ..Process::default() };
    (!kernel.coroutines.is_empty()).then_some(kernel)
}

/// A process, unless it is gone.
#[must_use]
pub fn process(files: &impl Files, id: u32) -> Option<Process> {
    let mut process = bare(files, id)?;
    let threads = values(files, &format!("/proc/{id}/threads"), Thread::parse);
    let coroutines = values(files, &format!("/proc/{id}/coroutines"), Coroutine::parse);
    process.cut = threads.1 || coroutines.1;
    (process.threads, process.coroutines) = (threads.0, coroutines.0);
    Some(process)
}

/// The same without its threads and coroutines.
#[must_use]
pub fn bare(files: &impl Files, id: u32) -> Option<Process> {
    let stat = Stat::parse(&files.text(&format!("/proc/{id}/stat"), SHORT)?)?;
    let cmdline = files.text(&format!("/proc/{id}/cmdline"), SHORT).unwrap_or_default();
    let Stat { name, state, parent, time, resident } = stat;
    let command = command(&cmdline, &name);
    Some(Process { id, parent, state, time, resident, command, ..Process::default() })
}
