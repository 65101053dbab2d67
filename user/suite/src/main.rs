//! `suite`: the guest test suite. Named cases, each in a process of its own, over the system calls alone; every case but
//! those of `isolation` states what Linux does, and passes there too.
//!
//! ```text
//!   suite [--list] [--quick] [--here] [--repeat N] [--seed N] [--rounds N] [--fresh N] [WORD...]
//!                                                    cases whose name contains one of the words; default all
//!   ok NAME | not ok NAME: why | skip NAME: reason   one line a case on standard output, then a summary after `#`
//! ```
//!
//! The exit status is 0 when no case failed. A case ends by itself, or is killed at the hang limit: no verdict depends on
//! time otherwise. After each the runner checks that no process of it is left, at the end that memory is back.
//! With `SUITE_EMULATED` in the environment cases that a user-mode emulator cannot carry are skipped.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

#[macro_use]
mod case;
mod affinity;
mod async_io;
mod async_owned;
mod async_sockets;
mod async_traits;
mod channels;
mod classes;
mod coroutines;
mod drivers;
mod elf;
mod events;
mod exec;
mod faults;
mod files;
mod floats;
mod futex;
mod hostile;
mod inheritance;
mod instructions;
mod isolation;
mod kept;
mod life;
mod machine;
mod memory;
mod pipes;
mod place;
mod proc;
mod process;
mod programs;
mod reservations;
mod rings;
mod runner;
mod runtime;
mod scheduling;
mod select;
mod signals;
mod slots;
mod sockets;
mod threads;
mod ticks;
mod time;
mod timers;
mod trace;
mod traps;
mod tty;
mod unharmed;
mod user_interrupts;
mod user_signals;
mod watch;
mod window;
mod word;

use alloc::vec::Vec;
use case::Case;
use rt::{env, println, process::ExitCode};

rt::main!(main);

/// Every case, by group.
const GROUPS: &[&[Case]] = &[
    life::CASES,
    exec::CASES,
    threads::CASES,
    memory::CASES,
    memory::protection::CASES,
    files::CASES,
    files::attributes::CASES,
    files::descriptors::CASES,
    files::direct::CASES,
    files::killed::CASES,
    files::locks::CASES,
    files::synced::CASES,
    pipes::CASES,
    pipes::splices::CASES,
    tty::CASES,
    time::CASES,
    timers::CASES,
    futex::CASES,
    events::CASES,
    reservations::CASES,
    rings::CASES,
    rings::waiting::CASES,
    rings::time::CASES,
    rings::devices::CASES,
    rings::drain::CASES,
    rings::each_call::CASES,
    rings::calls::CASES,
    rings::conform::CASES,
    rings::readiness::CASES,
    rings::personalities::CASES,
    rings::registering::CASES,
    rings::sockets::CASES,
    rings::others::CASES,
    rings::places::CASES,
    rings::words::CASES,
    rings::traced::CASES,
    rings::buffers::CASES,
    rings::provided::CASES,
    rings::bundles::CASES,
    rings::wide::CASES,
    rings::in_place::CASES,
    rings::quotas::CASES,
    rings::messages::CASES,
    rings::rights::CASES,
    rings::given::CASES,
    rings::hostile::CASES,
    rings::hostile_inputs::CASES,
    rings::hostile_ends::CASES,
    rings::fuzz::CASES,
    rings::opening::CASES,
    rings::ordinary::CASES,
    rings::polled::CASES,
    rings::priorities::CASES,
    rings::splices::CASES,
    sockets::CASES,
    sockets::ends::CASES,
    sockets::local_datagrams::CASES,
    sockets::local_ends::CASES,
    sockets::local_paths::CASES,
    sockets::datagrams::CASES,
    sockets::rights::CASES,
    sockets::flights::CASES,
    signals::CASES,
    signals::files::CASES,
    signals::io::CASES,
    signals::restarts::CASES,
    proc::CASES,
    watch::CASES,
    trace::CASES,
    isolation::CASES,
    window::CASES,
    user_interrupts::CASES,
    user_signals::CASES,
    channels::CASES,
    drivers::CASES,
    traps::CASES,
    floats::CASES,
    instructions::CASES,
    async_io::CASES,
    async_owned::CASES,
    async_sockets::CASES,
    async_traits::CASES,
    runtime::CASES,
    coroutines::CASES,
    inheritance::CASES,
    ticks::CASES,
    scheduling::CASES,
    select::CASES,
    classes::CASES,
    affinity::CASES,
    slots::CASES,
    faults::CASES,
    hostile::CASES,
    hostile::limits::CASES,
    hostile::interrupted::CASES,
];

const USAGE: &str = "suite [--list] [--quick] [--here] [--repeat N] [--seed N] [--rounds N] [--fresh N] [WORD...]

Runs the cases whose name contains one of the words, each in a process of its own; without a word all.

    --list       print them with the requirements they show, and run none
    --quick      leave the slow ones out
    --here       all in this process
    --repeat N   N times over: for what fails seldom
    --seed N     where the cases that choose at random begin
    --rounds N   how many seeds they try, or how many times over those that are about numbers do it
    --fresh N    one seed more";

/// The value of an option that takes a number; it is taken out. Without one: 1.
fn number_of(option: &str, arguments: &mut Vec<&str>) -> Option<usize> {
    let Some(at) = arguments.iter().position(|argument| *argument == option) else { return Some(1) };
    let value = arguments.get(at + 1)?.parse().ok()?;
    arguments.drain(at..at + 2);
    Some(value)
}

fn usage(arguments: &[&str]) -> ExitCode {
    println!("{USAGE}");
    ExitCode::from(i32::from(!arguments.contains(&"--help")) * 2)
}

fn main() -> ExitCode {
    let mut arguments: Vec<&str> = env::args().skip(1).collect();
    if let Some(status) = programs::run(&arguments) {
        return status;
    }
    let repeat = number_of("--repeat", &mut arguments);
    for (option, variable) in
        [("--seed", rings::fuzz::SEED), ("--rounds", rings::fuzz::ROUNDS), ("--fresh", rings::fuzz::FRESH)]
    {
        if arguments.contains(&option) {
            let Some(number) = number_of(option, &mut arguments) else { return usage(&arguments) };
            env::set_var(variable, &alloc::format!("{number}"));
        }
    }
    let known = |word: &&str| !word.starts_with('-') || ["--list", "--quick", "--here"].contains(word);
    let (Some(repeat), true) = (repeat, arguments.iter().all(known)) else {
        return usage(&arguments);
    };
    let has = |option: &str| arguments.contains(&option);
    let words: Vec<&str> = arguments.iter().copied().filter(|word| !word.starts_with("--")).collect();
    let wanted = |case: &&Case| {
        (words.is_empty() || words.iter().any(|word| case.name.contains(word))) && (case.quick || !has("--quick"))
    };
    let once = || GROUPS.iter().flat_map(|group| group.iter()).filter(wanted);
    let cases: Vec<&Case> = (0..repeat).flat_map(|_| once()).collect();
    if has("--list") {
        cases.iter().for_each(|case| println!("{:<48} {}", case.name, case.shows));
        return ExitCode::SUCCESS;
    }
    place::prepare();
    if has("--here") {
        return runner::run_here(&cases);
    }
    runner::run(&cases)
}
