//! `sh`: the native shell. `sh` reads commands from standard input, `sh -c TEXT` runs a text, `sh FILE ARGS` a file.
//!
//! What a text means is decided in the crate `shell`. Here: `state` keeps variables and jobs, `run` starts pipelines,
//! `builtin` has the commands that are part of the shell, `terminal` reads lines.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod builtin;
mod jobs;
mod redirect;
mod run;
mod state;
mod terminal;

use alloc::string::{String, ToString};
use rt::process::ExitCode;
use rt::{env, eprintln, fs, println};
use shell::lex::Error;
use shell::parse::parse;
use state::Shell;

rt::main!(main);

const USAGE: &str = "usage: sh [-c TEXT | FILE] [ARGUMENTS...]
Runs TEXT, FILE, or what standard input says. `help` lists the commands that are part of the shell.";

/// Status of a text that is no command.
const SYNTAX: i32 = 2;

fn main() -> ExitCode {
    let mut args = env::args();
    let own_name = args.next().unwrap_or("sh");
    let first = args.next();
    // A write to a pipe that nobody reads is an error of one command, not the end of the shell.
    let _ = rt::signal::ignore(rt::signal::SIGPIPE);
    let code = match first {
        Some("--help") => {
            println!("{USAGE}");
            0
        }
        Some("-c") => match args.next() {
            Some(text) => {
                let name = args.next().unwrap_or(own_name);
                run_text(&mut Shell::new(name, args.map(ToString::to_string).collect()), text)
            }
            None => fail("-c needs a text"),
        },
        Some(option) if option.starts_with('-') && option.len() > 1 => fail("unknown option; try --help"),
        Some(file) => run_file(&mut Shell::new(file, args.map(ToString::to_string).collect()), file),
        None => run_input(&mut Shell::new(own_name, alloc::vec::Vec::new())),
    };
    ExitCode::from(code)
}

fn fail(text: &str) -> i32 {
    eprintln!("sh: {text}");
    SYNTAX
}

fn run_text(shell: &mut Shell, text: &str) -> i32 {
    match parse(text) {
        Ok(jobs) => run::jobs(shell, &jobs),
        Err(error) => {
            shell.status = fail(&alloc::format!("syntax error: {error}"));
        }
    }
    shell.exit.unwrap_or(shell.status)
}

fn run_file(shell: &mut Shell, file: &str) -> i32 {
    match fs::read_to_string(file) {
        Ok(text) => run_text(shell, &text),
        Err(error) => {
            eprintln!("sh: {file}: {error}");
            if error.kind() == rt::io::ErrorKind::NotFound { 127 } else { 126 }
        }
    }
}

/// Reads commands until the end of input or `exit`.
fn run_input(shell: &mut Shell) -> i32 {
    let mut terminal = terminal::Terminal::new();
    shell.interactive = terminal.is_interactive();
    if shell.interactive {
        jobs::take_control(shell);
    }
    let mut text = String::new();
    loop {
        shell.report_jobs();
        match terminal.line(shell, !text.is_empty()) {
            terminal::Input::Line(line) => text.push_str(&line),
            terminal::Input::Cancelled => {
                text.clear();
                continue;
            }
            terminal::Input::End if text.is_empty() => break,
            terminal::Input::End => {
                shell.status = fail("syntax error: unexpected end of input");
                break;
            }
        }
        match parse(&text) {
            Err(Error::Incomplete) => {
                text.push('\n');
                continue;
            }
            Err(error) => shell.status = fail(&alloc::format!("syntax error: {error}")),
            Ok(jobs) => {
                shell.history = terminal.remember(&text);
                run::jobs(shell, &jobs);
            }
        }
        text.clear();
        if let Some(code) = shell.exit {
            return code;
        }
    }
    shell.status
}
