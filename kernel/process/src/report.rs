//! What `/proc/PID/{status,stat,statm,cmdline,maps,resident,threads}` and `/proc/stat` show.

use crate::{
    affinity::Harts,
    process::Process,
    processor::{self, HartTimes},
    table,
    thread::Thread,
};
use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;
use hal::space::KernelPage;

/// Hundredths of a second.
fn ticks(ns: u64) -> u64 {
    ns / 10_000_000
}

/// Letter of the process's state: R, S, D (it waits for a page, which no signal ends), T or Z.
fn letter(process: &Process) -> char {
    match () {
        () if process.thread_count() == 0 => 'Z',
        () if process.stopped() => 'T',
        () if process.threads().iter().any(|thread| thread.running()) => 'R',
        () if process.threads().iter().any(|thread| thread.doing.is_fault()) => 'D',
        () => 'S',
    }
}

/// Arguments, each followed by NUL.
#[must_use]
pub fn cmdline(process: &Process) -> Vec<u8> {
    process.state.lock().command_line.clone()
}

/// The mappings.
#[must_use]
pub fn maps(process: &Process) -> String {
    process.space().maps_text()
}

/// Pages of the kernel that the hardware could reach while the process runs.
#[must_use]
pub fn resident(process: &Process) -> String {
    kernel_pages(&process.space().kernel_pages())
}

/// A line for each: address, physical address, bytes, and 1 if it can be written there, in hexadecimal.
#[must_use]
pub fn kernel_pages(pages: &[KernelPage]) -> String {
    let line = |page: &KernelPage| {
        format!("{:x} {:x} {:x} {}\n", page.address, page.physical, page.bytes, u8::from(page.writable))
    };
    pages.iter().map(line).collect()
}

/// `/proc/stat`: the time of the harts together and of each, and what was counted since boot.
#[must_use]
pub fn system() -> String {
    let now = hal::time::now();
    let mut text = String::new();
    let mut line = |name: &str, elapsed: u64, times: HartTimes| {
        let idle = elapsed.saturating_sub(times.user + times.system);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {} 0 {} {} 0 0 0 0 0 0", ticks(times.user), ticks(times.system), ticks(idle));
    };
    let harts: Vec<HartTimes> = (0..hal::hart::count()).map(|hart| processor::times(hart, now)).collect();
    let sum = |time: fn(&HartTimes) -> u64| harts.iter().map(time).sum();
    let all = HartTimes { user: sum(|times| times.user), system: sum(|times| times.system) };
    line("cpu ", now * harts.len() as u64, all);
    for (hart, times) in harts.iter().enumerate() {
        line(&format!("cpu{hart}"), now, *times);
    }
    let booted = hal::time::wall().saturating_sub(now) / 1_000_000_000;
    let running = table::running();
    let _ = write!(
        text,
        "ctxt {}\nbtime {booted}\nprocesses {}\nprocs_running {running}\nprocs_blocked 0\n",
        processor::switches(),
        table::made(),
    );
    text
}

/// The three switches of the process: polls of coroutines that it says to have begun, slots that were given to threads,
/// and how often its threads gave the CPU up and had it taken; then its slots (see `Slots::lines`).
#[must_use]
pub fn sched(process: &Process) -> String {
    let slots = process.slots();
    let (moves, polls) = slots.as_ref().map_or((0, 0), |slots| slots.counted());
    let lines = slots.map(|slots| slots.lines(&process.space())).unwrap_or_default();
    let times = process.times();
    format!(
        "coroutine_switches {polls}\nslot_moves {moves}\nyields {}\npreemptions {}\n{lines}",
        times.yields, times.preemptions
    )
}

/// A line for each thread: number, state (as in `stat`), the priority that its coroutine runs at and its own, the hart that last
/// ran it, nanoseconds of user and of system time, how often it gave the CPU up and had it taken, its place among those that
/// share slots (0: none), and what it waits for, `-` if it does not.
#[must_use]
pub fn threads(process: &Process) -> String {
    let mut text = String::new();
    for thread in process.threads() {
        line(&mut text, &thread, process.stopped());
    }
    text
}

fn line(text: &mut String, thread: &Thread, stopped: bool) {
    // Before the counts: who is seen to wait has been counted for that.
    let running = thread.running();
    let times = thread.usage.times();
    let own = thread.priority();
    let priority = thread.task().map_or(own, |task| task.priority().number());
    let letter = match () {
        () if stopped => 'T',
        () if running => 'R',
        () if thread.doing.is_fault() => 'D',
        () => 'S',
    };
    let waits = if running { String::from("-") } else { thread.doing.text() };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} {letter} {priority} {own} {} {} {} {} {} {} {waits}",
        thread.tid(),
        thread.attention.whereabouts(),
        times.user,
        times.system,
        times.yields,
        times.preemptions,
        thread.place().map_or(0, |place| place + 1),
    );
}

/// Sizes in pages: size, resident, shared, text, 0, data, 0.
#[must_use]
pub fn statm(process: &Process) -> String {
    let usage = process.space().usage();
    let pages = |bytes: usize| bytes / hal::PAGE_SIZE;
    let (size, resident, private) = (pages(usage.mapped), pages(usage.resident), pages(usage.paid));
    format!("{size} {resident} {} 0 0 {private} 0\n", resident.saturating_sub(private))
}

/// The 52 fields of `stat`; those that mean nothing here are 0.
#[must_use]
pub fn stat(process: &Process) -> String {
    let kin = table::kin(process.pid()).unwrap_or(table::Kin { parent: 0, group: 0, session: 0 });
    let (times, children) = (process.times(), process.children_times());
    let usage = process.space().usage();
    let name = process.name();
    let name = String::from_utf8_lossy(&name);
    let mut text = format!(
        "{} ({name}) {} {} {} {} 0 -1 0 {} 0 {} 0 {} {} {} {} 20 0 {} 0 {} {} {} {}",
        process.pid(),
        letter(process),
        kin.parent,
        kin.group,
        kin.session,
        times.minor_faults,
        times.major_faults,
        ticks(times.user),
        ticks(times.system),
        ticks(children.user),
        ticks(children.system),
        process.thread_count(),
        ticks(process.started()),
        usage.mapped,
        usage.resident / hal::PAGE_SIZE,
        u64::MAX,
    );
    // Fields 26 to 52.
    (26..=52).for_each(|_| text.push_str(" 0"));
    text.push('\n');
    text
}

/// The lines of `status` that programs read.
#[must_use]
pub fn status(process: &Process) -> String {
    let kin = table::kin(process.pid()).unwrap_or(table::Kin { parent: 0, group: 0, session: 0 });
    let (ids, usage, name) = (process.identity(), process.space().usage(), process.name());
    let first = process.threads().into_iter().find(|thread| thread.tid() == process.pid());
    let harts = first.map_or_else(Harts::all, |thread| thread.harts());
    let state = match letter(process) {
        'R' => "R (running)",
        'D' => "D (disk sleep)",
        'T' => "T (stopped)",
        'Z' => "Z (zombie)",
        _ => "S (sleeping)",
    };
    format!(
        "Name:\t{}\nState:\t{state}\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t{}\nUid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\n\
         VmPeak:\t{} kB\nVmSize:\t{} kB\nVmHWM:\t{} kB\nVmRSS:\t{} kB\nThreads:\t{}\nSigPnd:\t{:016x}\nCpus_allowed:\t{harts:x}\nCpus_allowed_list:\t{harts}\n\
         World:\t{:?}\n",
        String::from_utf8_lossy(&name),
        kin.parent,
        ids.uid,
        ids.euid,
        ids.suid,
        ids.euid,
        ids.gid,
        ids.egid,
        ids.sgid,
        ids.egid,
        usage.peak >> 10,
        usage.mapped >> 10,
        usage.most_resident >> 10,
        usage.resident >> 10,
        process.thread_count(),
        process.pending.mask(),
        process.space().world(),
        pid = process.pid(),
    )
}
