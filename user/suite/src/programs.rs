//! Programs that cases start: this one again, with `--program NAME` as its first arguments.

use crate::{machine, runner};
use alloc::string::String;
use rt::abi::signal::{SIGUSR1, SIGUSR2, Sigaction};
use rt::process::ExitCode;
use rt::{env, println};

/// The path of this program, for `execve`.
pub fn own_path() -> String {
    let first = env::args().next().unwrap_or_default();
    for path in ["/proc/self/exe", first, "/bin/suite", "/init"] {
        if path.starts_with('/') && rt::fs::check_executable(path).is_ok() {
            return rt::fs::read_link(path).unwrap_or_else(|_| path.into());
        }
    }
    first.into()
}

/// Runs the program that the arguments name, if they do.
pub fn run(arguments: &[&str]) -> Option<ExitCode> {
    let [option, name, rest @ ..] = arguments else { return None };
    if *option != "--program" {
        return None;
    }
    match *name {
        "exit" => return Some(rest.first().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0).into()),
        "arguments" => {
            rest.iter().for_each(|argument| println!("argument {argument}"));
            env::vars().iter().for_each(|(name, value)| println!("variable {name}={value}"));
        }
        "faults" => return Some(crate::faults::program(rest.first().unwrap_or(&"")).into()),
        "uintr-sends" | "uintr-receives" => return Some(crate::user_interrupts::worlds::program(name).into()),
        "count" => println!("{} {}", rest.len(), rest.iter().map(|argument| argument.len()).sum::<usize>()),
        "descriptors" => println!("{}", runner::open_descriptors()),
        "handlers" => println!("{} {}", handler(SIGUSR1), handler(SIGUSR2)),
        "harts" => println!("{}", crate::affinity::own_harts()),
        "id" => println!("{} {}", rt::process::id(), rt::thread::id()),
        "world" => println!("{}", machine::world().unwrap_or_default()),
        "slots" => {
            let kick = crate::process::call(rt::abi::asyncos::SCHED_KICK, &[0, 0]);
            println!("{}", if kick == Err(rt::abi::Errno::EINVAL) { "none" } else { "some" });
        }
        "cat" => {
            let _ = rt::io::copy(&mut rt::io::stdin(), &mut rt::io::stdout());
        }
        _ => return Some(ExitCode::from(99)),
    }
    Some(ExitCode::SUCCESS)
}

fn handler(signal: u32) -> u64 {
    let mut action = Sigaction { handler: 99, flags: 0, mask: 0 };
    let _ = call!(RT_SIGACTION, signal, 0, &raw mut action, 8);
    action.handler
}
