//! Runs cases, each in a child process, and prints their verdicts.
//!
//! The child holds the writing end of a pipe, and so does every process that it leaves behind: the end of file on the
//! reading end says that all of them are gone. What a case has to say comes through it.

use crate::case::{Case, Outcome, Trouble};
use crate::{machine, process, unharmed};
use alloc::string::{String, ToString};
use rt::abi::poll::{POLLIN, PollFd};
use rt::abi::process::{PR_SET_CHILD_SUBREAPER, WNOHANG, WaitStatus};
use rt::abi::signal::SIGKILL;
use rt::io::{Read, Write};
use rt::process::ExitCode;
use rt::{fs, pipe, println};

/// Seconds after which a case hangs.
const HANG_LIMIT: u64 = 120;
/// Free memory in KiB that may be missing after all cases: caches that fill once (slabs, directory entries, the disk's journal, the
/// runner's own heap), not what one case or one process holds.
const MEMORY_TOLERANCE: i64 = 4096;
const FAILED: i32 = 1;
const SKIPPED: i32 = 2;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn add(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name}");
            }
            Err(Trouble::Failed(why)) => {
                self.failed += 1;
                println!("not ok {name}: {why}");
            }
            Err(Trouble::Skipped(reason)) => {
                self.skipped += 1;
                println!("skip {name}: {reason}");
            }
        }
        let _ = rt::io::stdout().flush();
    }

    fn finish(&self) -> ExitCode {
        println!("# {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs the cases in this very process: for a system that cannot fork yet.
pub fn run_here(cases: &[&Case]) -> ExitCode {
    let mut tally = Tally::default();
    for case in cases {
        tally.add(case.name, &(case.run)());
    }
    tally.finish()
}

/// Runs the cases.
pub fn run(cases: &[&Case]) -> ExitCode {
    let mut tally = Tally::default();
    // Orphans of a case come here, where they are reaped. Process 1 has them anyway.
    let _ = call!(PRCTL, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    let descriptors = open_descriptors();
    let mut before = None;
    let mut reference = None;
    for case in cases {
        let is_hostile = unharmed::is_hostile(case);
        if is_hostile && reference.is_none() {
            reference = unharmed::Reference::new().ok();
        }
        let outcome = if is_hostile { unharmed::leaves_nothing(|| run_one(case)) } else { run_one(case) };
        tally.add(case.name, &outcome);
        // The first case warms up what every case needs.
        before = before.or_else(free_memory);
    }
    if let Some(reference) = reference {
        tally.add("leaks/speed", &reference.is_kept());
    }
    if cases.len() > 1 {
        tally.add("leaks/descriptors", &no_descriptor_is_left(descriptors));
        tally.add("leaks/memory", &memory_is_back(before));
    }
    tally.finish()
}

fn no_descriptor_is_left(before: usize) -> Outcome {
    equal!(open_descriptors(), before);
    Ok(())
}

fn memory_is_back(before: Option<i64>) -> Outcome {
    if !machine::is_asyncos() {
        return Err(Trouble::skipped("others use this system's memory too"));
    }
    memory_comes_back(before.ok_or_else(no_figure)?, MEMORY_TOLERANCE)
}

fn no_figure() -> Trouble {
    Trouble::failed("/proc/meminfo says nothing")
}

/// Waits until no more than so many KiB are missing: what a process had is given back soon after its end.
pub fn memory_comes_back(before: i64, tolerance: i64) -> Outcome {
    let mut missing = 0;
    for _ in 0..20_000 {
        missing = before - free_memory().ok_or_else(no_figure)?;
        if missing <= tolerance {
            return Ok(());
        }
        process::sleep_ms(1);
    }
    Err(Trouble::failed(format_args!("{missing} KiB are missing")))
}

/// Free memory and what the page cache could give back, in KiB.
pub fn free_memory() -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<i64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(field("MemFree")? + field("Cached").unwrap_or(0) + field("Buffers").unwrap_or(0))
}

/// Descriptors below the default limit that are open: a case may have so many that what the runtime keeps comes late.
pub fn open_descriptors() -> usize {
    (0..1024).filter(|fd| call!(FCNTL, *fd, rt::abi::fs::F_GETFD, 0).is_ok()).count()
}

fn run_one(case: &Case) -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let pid = process::child(|| {
        // A group of its own, so that nothing of it escapes a kill.
        let _ = call!(SETPGID, 0, 0);
        process::exit(report(write, &run_and_count(case)))
    })?;
    let mut said = String::new();
    let hung = !listen(&mut read, &mut said);
    if hung {
        describe(pid);
        let _ = process::kill(-pid, SIGKILL);
        let _ = process::kill(pid, SIGKILL);
    }
    let status = process::wait(pid)?;
    // Orphans that no longer hold the pipe may still run: programs that were started.
    let _ = process::kill(-pid, SIGKILL);
    while process::wait_with(-1, 0).is_ok() {}
    match status {
        _ if hung => Err(Trouble::Failed(alloc::format!("hangs (limit {HANG_LIMIT} s); {status:?} {said}"))),
        WaitStatus::Exited(code) if i32::from(code) == SKIPPED => Err(Trouble::Skipped(said)),
        WaitStatus::Exited(0) => Ok(()),
        WaitStatus::Exited(code) if i32::from(code) == FAILED => Err(Trouble::Failed(said)),
        other => Err(Trouble::Failed(alloc::format!("the case's process: {other:?} {said}"))),
    }
}

/// Prints what a case that hangs is doing: the threads of its process group, and its slots.
fn describe(group: i32) {
    let is_of_group = |stat: &str| {
        // Behind the name, which may hold anything: state, parent, group.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(2).and_then(|field| field.parse().ok()) == Some(group)
    };
    for entry in fs::read_dir("/proc").unwrap_or_default() {
        let file = |name: &str| fs::read_to_string(&alloc::format!("/proc/{}/{name}", entry.name));
        if file("stat").is_ok_and(|stat| is_of_group(&stat)) {
            println!("#   process {}", entry.name);
            for line in ["threads", "sched"].iter().filter_map(|name| file(name).ok()).collect::<String>().lines() {
                println!("#     {line}");
            }
        }
    }
}

/// Runs the case and counts what it leaves open.
fn run_and_count(case: &Case) -> Outcome {
    let before = open_descriptors();
    (case.run)()?;
    let after = open_descriptors() - rt::task::kept_descriptors();
    ensure!(after == before, "{} descriptors are left open", after as i64 - before as i64);
    ensure!(process::wait_with(-1, WNOHANG).is_err(), "a child was not waited for");
    Ok(())
}

fn report(mut write: fs::File, outcome: &Outcome) -> i32 {
    let (text, code) = match outcome {
        Ok(()) => return 0,
        Err(Trouble::Failed(why)) => (why, FAILED),
        Err(Trouble::Skipped(why)) => (why, SKIPPED),
    };
    // Without the text the exit status still counts.
    let _ = write.write_all(text.replace('\n', " ").as_bytes());
    code
}

/// Collects what the case says until all of its processes are gone; `false` at the hang limit.
fn listen(read: &mut fs::File, said: &mut String) -> bool {
    let limit = rt::abi::time::Timespec { sec: HANG_LIMIT as i64, nsec: 0 };
    loop {
        let mut poll = PollFd { fd: read.fd().raw(), events: POLLIN, revents: 0 };
        let mut left = limit;
        match call!(PPOLL, &raw mut poll, 1, &raw mut left, 0, 0) {
            Ok(0) => return false,
            Err(rt::abi::Errno::EINTR) => continue,
            _ => {}
        }
        let mut buf = [0u8; 512];
        match read.read(&mut buf) {
            Ok(0) | Err(_) => return true,
            Ok(len) => said.push_str(String::from_utf8_lossy(&buf[..len]).to_string().as_str()),
        }
    }
}
