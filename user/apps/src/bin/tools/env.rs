//! `env` and `printenv`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::io::{self, Write};
use rt::process::Command;
use rt::{env, println};

/// Runs a program with a changed environment.
pub static TOOL: Tool = Tool {
    name: "env",
    usage: "[NAME=VALUE...] [PROGRAM ARGS...]\nRuns a program with variables set, or prints the environment.",
    options: None,
    run,
};
/// Prints variables.
pub static PRINTENV: Tool =
    Tool { name: "printenv", usage: "[NAME...]\nPrints variables.", options: Some(""), run: print };

fn run(options: &Options) -> Outcome {
    let split = options.args.iter().position(|a| !a.contains('=')).unwrap_or(options.args.len());
    let (settings, command) = options.args.split_at(split);
    for (name, value) in settings.iter().filter_map(|s| s.split_once('=')) {
        env::set_var(name, value);
    }
    let Some((program, args)) = command.split_first() else {
        env::vars().iter().for_each(|(name, value)| println!("{name}={value}"));
        return Ok(0);
    };
    io::stdout().flush().map_err(about("standard output"))?;
    let status = Command::new(program).args(args).status().map_err(about(program))?;
    Ok(status.shell_code())
}

fn print(options: &Options) -> Outcome {
    let mut status = 0;
    if options.args.is_empty() {
        env::vars().iter().for_each(|(name, value)| println!("{name}={value}"));
    }
    for name in &options.args {
        match env::var(name) {
            Some(value) => println!("{value}"),
            None => status = 1,
        }
    }
    Ok(status)
}
