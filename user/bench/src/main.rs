//! `bench`: the guest half of `cargo xtask bench`. It is a static program of the Linux ABI, so that the same file runs on
//! Linux, there as the first program, which mounts what it needs and switches the machine off at the end.
//!
//! ```text
//!   bench [GROUP...]       groups: boot null pipe process thread futex memory file disk socket task ring uring uintr channel driver priority echo
//!                          harts counted; default all; the last two have nothing to say on one hart
//!   G GROUP                a line before each group
//!   B ID VALUE UNIT        a line a figure: `insn` instructions an operation, `ns` wall time an operation, `B` bytes
//!   M ID OPERATIONS        a line for each stretch that a plugin of the emulator may have counted
//! ```
//!
//! Each row does its operation a tenth as often first, to warm up, then counts instructions (`instret`, valid under
//! QEMU's `-icount` on one hart only) and time (`CLOCK_MONOTONIC`, valid without it) over all operations. The loop
//! around the operation is part of the figure, some ten instructions. Whoever reads the lines picks the unit that holds.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod channels;
mod completions;
mod disk;
mod drivers;
mod echo;
mod files;
mod measure;
mod memory;
mod ping_pong;
mod pipe_rings;
mod processes;
mod program;
mod rings;
mod sockets;
mod storm;
mod tasks;
mod threads;
mod ticks;
mod urgency;
mod uring;
mod user_interrupts;
mod user_signals;

use alloc::vec::Vec;
use measure::{Outcome, call};
use rt::abi::nr;
use rt::process::ExitCode;
use rt::{env, eprintln, fs, println, process, system};

rt::main!(main);

/// How long a first program leaves the system to itself.
const SETTLE: core::time::Duration = core::time::Duration::from_secs(3);

type Group = (&'static str, fn() -> Outcome);
const GROUPS: [Group; 19] = [
    ("null", processes::null),
    ("pipe", processes::pipes),
    ("process", processes::life),
    ("thread", threads::life),
    ("futex", threads::futexes),
    ("memory", memory::faults),
    ("file", files::reads),
    ("disk", disk::reads),
    ("socket", sockets::round_trips),
    ("task", tasks::switches),
    ("ring", rings::conversations),
    ("uring", uring::rings),
    ("uintr", || {
        user_interrupts::rows()
            .and_then(|()| user_signals::rows())
            .and_then(|()| ticks::rows())
            .and_then(|()| completions::rows())
    }),
    ("channel", channels::rows),
    ("driver", drivers::rows),
    ("priority", urgency::priorities),
    // Behind the others: its connections stay for a while, and the network looks through them all for each packet.
    ("echo", echo::servers),
    ("harts", across_harts),
    ("counted", counted),
];

/// Nothing on one.
fn across_harts() -> Outcome {
    if urgency::harts() < 2 {
        return Ok(());
    }
    urgency::across_harts()?;
    echo::rates()
}

fn counted() -> Outcome {
    // First: what the disk leaves to be written later would be counted with it.
    threads::across_harts()?;
    urgency::in_a_process(&["--uintr", "counted"])?;
    ticks::counted()?;
    user_signals::across_harts()?;
    uring::across_harts()?;
    echo::counted()?;
    disk::counted()
}

/// Rows that need a process of their own, which is told how.
type Process = (&'static str, fn(&str) -> Outcome);
const PROCESSES: [Process; 13] = [
    ("--echo", echo::serve),
    ("--ring", pipe_rings::with_executors),
    ("--ring-time", pipe_rings::timed),
    ("--urgent", urgency::urgent),
    ("--pending", completions::pending),
    ("--lie", urgency::lie),
    ("--wakes", urgency::wakes),
    ("--uintr", user_interrupts::in_a_process),
    ("--signals", user_signals::measured),
    ("--ticks", ticks::in_a_process),
    ("--driver", drivers::serial),
    ("--ping-pong", |_| ping_pong::rows()),
    ("--storm", |_| storm::rows()),
];

fn main() -> ExitCode {
    let arguments: Vec<&str> = env::args().skip(1).collect();
    if arguments.first() == Some(&"--nothing") {
        return ExitCode::SUCCESS;
    }
    if let [row, how] = arguments[..]
        && let Some(row) = PROCESSES.iter().find_map(|(name, run)| (*name == row).then_some(run))
    {
        measure::calibrate();
        return row(how).map_or_else(
            |error| {
                eprintln!("bench: {}: {error}", arguments.join(" "));
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let first = process::id() == 1;
    let born = rt::raw::instret();
    if first {
        prepare();
    }
    measure::calibrate();
    // What a plugin of the emulator counts takes long where instructions are counted, and says nothing without it.
    let wanted = |name: &str| arguments.is_empty() && name != "counted" || arguments.contains(&name);
    if wanted("boot") {
        // Typed at the first prompt, this is the count up to there.
        measure::report_counter(if first { "boot_program" } else { "boot_prompt" }, born);
    }
    let mut status = ExitCode::SUCCESS;
    let known = |name: &str| name == "boot" || GROUPS.iter().any(|(known, _)| *known == name);
    for name in arguments.iter().filter(|name| !known(name)) {
        eprintln!("bench: {name}: there is no such group");
        status = ExitCode::FAILURE;
    }
    for (name, group) in GROUPS {
        if !wanted(name) {
            continue;
        }
        println!("G {name}");
        let _ = rt::io::Write::flush(&mut rt::io::stdout());
        if let Err(error) = group() {
            eprintln!("bench: {name}: {error}");
            status = ExitCode::FAILURE;
        }
    }
    let _ = rt::io::Write::flush(&mut rt::io::stdout());
    if first && system::uname().is_ok_and(|names| names.sysname == "Linux") {
        // Linux takes the end of its first program for an accident.
        let _ = system::power_off();
    }
    status
}

/// What a first program finds missing on Linux: /proc, and a loopback interface that is up.
fn prepare() {
    const SIOCSIFFLAGS: usize = 0x8914;
    if !fs::exists("/proc/meminfo") {
        let _ = fs::mount("none", "/proc", "proc");
    }
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = 0x41;
    if let Ok(socket) = call(nr::SOCKET, &[2, 2, 0]) {
        // Where the interface is up already nothing changes; where it cannot be, the rows of sockets say so.
        let _ = call(nr::IOCTL, &[socket, SIOCSIFFLAGS, request.as_ptr() as usize]);
        let _ = call(nr::CLOSE, &[socket]);
    }
    // What a system has put off until after its start would be counted with the first rows.
    rt::thread::sleep(SETTLE);
}
