//! The commands that are part of the shell. Each gets its arguments and a place for its output, and returns its status:
//! `None` if it has set the shell's itself, `Err` with what to tell the user.

use crate::state::Shell;
use alloc::string::{String, ToString};
use rt::{env, fs, path, process};
use shell::expand::Variables;
use shell::parse::is_name;

type Output<'a> = &'a mut alloc::vec::Vec<u8>;
type Outcome = Result<Option<i32>, String>;

/// A command of the shell.
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What `help` says.
    help: &'static str,
    /// What it does.
    pub run: fn(&mut Shell, &[String], Output<'_>) -> Outcome,
}

/// All of them, by name.
pub const ALL: [Builtin; 16] = [
    Builtin { name: ":", help: "do nothing", run: |_, _, _| Ok(Some(0)) },
    Builtin { name: "bg", help: "[N] let stopped job N go on in the background", run: bg },
    Builtin { name: "cd", help: "[DIR] change the working directory ($HOME; - is the last one)", run: cd },
    Builtin { name: "echo", help: "[-n] [WORD...] print the words", run: echo },
    Builtin { name: "exit", help: "[N] leave the shell with status N", run: exit },
    Builtin { name: "export", help: "[NAME[=VALUE]...] hand variables on to programs", run: export },
    Builtin { name: "fg", help: "[N] bring job N to the foreground", run: fg },
    Builtin { name: "help", help: "list the commands of the shell", run: help },
    Builtin { name: "history", help: "list the lines that were entered", run: history },
    Builtin { name: "jobs", help: "list the jobs", run: jobs },
    Builtin { name: "kill", help: "[-SIGNAL] PID|%JOB... send a signal", run: kill },
    Builtin { name: "pwd", help: "print the working directory", run: pwd },
    Builtin { name: "set", help: "list the variables", run: set },
    Builtin { name: "type", help: "NAME... say what a command is", run: kind },
    Builtin { name: "unset", help: "NAME... forget variables", run: unset },
    Builtin { name: "wait", help: "wait for the background jobs", run: wait },
];

/// The command with this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|b| b.name == name)
}

fn put(out: Output<'_>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

fn cd(shell: &mut Shell, args: &[String], out: Output<'_>) -> Outcome {
    let target = match args.first().map(String::as_str) {
        None => shell.value("HOME").ok_or("HOME is not set")?,
        Some("-") => {
            let last = shell.value("OLDPWD").ok_or("OLDPWD is not set")?;
            put(out, &last);
            last
        }
        Some(directory) => directory.to_string(),
    };
    let before = env::current_dir().unwrap_or_default();
    env::set_current_dir(&target).map_err(|error| alloc::format!("{target}: {error}"))?;
    shell.set("OLDPWD", &before);
    shell.set("PWD", &env::current_dir().unwrap_or(target));
    Ok(Some(0))
}

fn echo(_: &mut Shell, args: &[String], out: Output<'_>) -> Outcome {
    let (newline, words) = match args.split_first() {
        Some((first, rest)) if first == "-n" => (false, rest),
        _ => (true, args),
    };
    out.extend_from_slice(words.join(" ").as_bytes());
    if newline {
        out.push(b'\n');
    }
    Ok(Some(0))
}

fn exit(shell: &mut Shell, args: &[String], _: Output<'_>) -> Outcome {
    let code = match args.first() {
        None => shell.status,
        Some(text) => text.parse().map_err(|_| alloc::format!("{text}: not a number"))?,
    };
    shell.exit = Some(code);
    Ok(Some(code))
}

fn export(shell: &mut Shell, args: &[String], out: Output<'_>) -> Outcome {
    if args.is_empty() {
        env::vars().iter().for_each(|(name, value)| put(out, &alloc::format!("{name}={value}")));
    }
    for arg in args {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (arg.as_str(), None),
        };
        if !is_name(name) {
            return Err(alloc::format!("{name}: not a name"));
        }
        shell.export(name, value);
    }
    Ok(Some(0))
}

fn unset(shell: &mut Shell, args: &[String], _: Output<'_>) -> Outcome {
    args.iter().for_each(|name| shell.unset(name));
    Ok(Some(0))
}

fn set(shell: &mut Shell, _: &[String], out: Output<'_>) -> Outcome {
    for (name, value) in shell.own_variables().iter() {
        put(out, &alloc::format!("{name}={value}"));
    }
    env::vars().iter().for_each(|(name, value)| put(out, &alloc::format!("{name}={value}")));
    Ok(Some(0))
}

fn pwd(_: &mut Shell, _: &[String], out: Output<'_>) -> Outcome {
    put(out, &env::current_dir().map_err(|error| error.to_string())?);
    Ok(Some(0))
}

fn help(_: &mut Shell, _: &[String], out: Output<'_>) -> Outcome {
    put(out, "Commands of the shell (programs take --help):");
    ALL.iter().for_each(|b| put(out, &alloc::format!("  {:8} {}", b.name, b.help)));
    put(out, "Also: a | b   a && b   a || b   a ; b   a &   < > >> 2> 2>&1   * ?   $NAME   'x' \"x\"   # comment");
    Ok(Some(0))
}

fn history(shell: &mut Shell, _: &[String], out: Output<'_>) -> Outcome {
    for (i, line) in shell.history.iter().enumerate() {
        put(out, &alloc::format!("{:4}  {line}", i + 1));
    }
    Ok(Some(0))
}

fn kind(_: &mut Shell, args: &[String], out: Output<'_>) -> Outcome {
    let mut status = 0;
    for name in args {
        let search = env::var("PATH").unwrap_or_default();
        let found = search.split(':').map(|d| path::join(d, name)).find(|p| fs::check_executable(p).is_ok());
        if find(name).is_some() {
            put(out, &alloc::format!("{name} is part of the shell"));
        } else if let Some(path) = found {
            put(out, &alloc::format!("{name} is {path}"));
        } else {
            put(out, &alloc::format!("{name} is not found"));
            status = 1;
        }
    }
    Ok(Some(status))
}

fn jobs(shell: &mut Shell, _: &[String], out: Output<'_>) -> Outcome {
    shell.list_jobs(out).map_err(|error| error.to_string())?;
    Ok(Some(0))
}

fn number(args: &[String]) -> Result<Option<usize>, String> {
    let parse = |text: &String| text.trim_start_matches('%').parse().map_err(|_| alloc::format!("{text}: no job"));
    args.first().map(parse).transpose()
}

fn fg(shell: &mut Shell, args: &[String], _: Output<'_>) -> Outcome {
    let job = shell.take_job(number(args)?).ok_or("no such job")?;
    shell.resume(job, true);
    Ok(None)
}

fn bg(shell: &mut Shell, args: &[String], _: Output<'_>) -> Outcome {
    let job = shell.take_job(number(args)?).ok_or("no such job")?;
    shell.resume(job, false);
    Ok(Some(0))
}

fn wait(shell: &mut Shell, args: &[String], _: Output<'_>) -> Outcome {
    let selected = number(args)?;
    shell.status = 0;
    while let Some(mut job) = shell.take_job(selected) {
        for pid in core::mem::take(&mut job.running) {
            let Ok((_, status)) = process::wait(pid) else { continue };
            if pid == job.last {
                shell.status = status.shell_code();
            }
        }
        if selected.is_some() {
            break;
        }
    }
    Ok(None)
}

fn kill(shell: &mut Shell, args: &[String], out: Output<'_>) -> Outcome {
    let (signal, targets) = match args.split_first() {
        Some((first, _)) if first == "-l" => {
            put(out, &rt::signal::NAMES[1..].join(" "));
            return Ok(Some(0));
        }
        None => return Err("missing argument".to_string()),
        Some((first, rest)) if first.starts_with('-') => (signal_number(&first[1..])?, rest),
        _ => (rt::signal::SIGTERM, args),
    };
    for target in targets {
        let pid = match target.strip_prefix('%') {
            Some(number) => {
                let job = shell.jobs.iter().find(|j| j.number.to_string() == number).ok_or("no such job")?;
                if job.group != 0 { -job.group } else { job.last }
            }
            None => target.parse().map_err(|_| alloc::format!("{target}: not a process id"))?,
        };
        rt::signal::kill(pid, signal).map_err(|error| alloc::format!("{target}: {error}"))?;
    }
    Ok(Some(0))
}

fn signal_number(text: &str) -> Result<u32, String> {
    let name = text.trim_start_matches("SIG");
    let known = rt::signal::NAMES.iter().position(|n| *n == name).map(|n| n as u32);
    known.or_else(|| text.parse().ok()).ok_or_else(|| alloc::format!("{text}: unknown signal"))
}
