//! The verb `trace` and the step of `test`: what a real run recorded, against the model of the scheduler.
//!
//! [`record`] reads `/proc/asyncos/trace`; [`nest`] checks what a hart does, [`replay`] what happens to a task, by the same
//! table of the task word that the models in `tests/model` are made of.

mod nest;
mod record;
mod replay;

#[cfg(test)]
mod tests;

use crate::command::say;
use crate::console::{Ending, Session, Wire};
use crate::model;
use crate::model::table::WordTable;
use crate::project::Project;
use crate::setup;
use crate::test::guest;
use crate::test::{HANG_LIMIT, Tally};
use crate::toolchain::Toolchain;
use abi::mux::Channel;
use anyhow::{Context, Result, bail};
use nest::Nest;
use std::path::PathBuf;

const HELP: &str = "\
cargo xtask trace [--harts N] [FILE]

Checks a trace of the kernel (/proc/asyncos/trace, taken with recording switched off) against the model of the
scheduler: who is woken, polled and preempted, by the table in tests/model. Without FILE boots a machine, records a
run of its own and keeps it in target/asyncos/trace.txt.
    --harts N    of that machine, 1 to 8 (default 4)
";

/// What keeps all harts busy while it is recorded: chains of processes that wait for each other.
const LOAD: &str = "cat /bin/suite | cat | cat | cat | wc -c";
const TIMES: usize = 4;

/// The verb `trace`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    use lexopt::prelude::*;
    let (mut harts, mut file) = (4, None::<PathBuf>);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("harts") => harts = arguments.value()?.parse()?,
            Value(path) if file.is_none() => file = Some(path.into()),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let project = Project::load()?;
    let tally = match file {
        Some(file) => judge(&std::fs::read_to_string(&file)?, &model::word_table(&project)?)?,
        None => check(&project, &setup::ensure()?, harts)?,
    };
    println!("{tally}");
    Ok(u8::from(tally.failed > 0))
}

/// Records a run and checks it.
pub fn check(project: &Project, toolchain: &Toolchain, harts: usize) -> Result<Tally> {
    let text = recorded(project, toolchain, harts)?;
    std::fs::write(project.output()?.join("trace.txt"), &text)?;
    judge(&text, &model::word_table(project)?)
}

/// Boots a machine, records a load, and returns the trace.
fn recorded(project: &Project, toolchain: &Toolchain, harts: usize) -> Result<String> {
    let (mut machine, emulator, disk) = guest::machine(project, toolchain, "trace", None)?;
    machine.harts = harts;
    let mut session = Session::start(machine.start(&emulator), Wire::Mux)?;
    let load = format!("{LOAD}\n").repeat(TIMES);
    let script = format!("echo 1 > /proc/asyncos/trace\n{load}echo 0 > /proc/asyncos/trace\ncat /proc/asyncos/trace\n");
    session.input().send(script.as_bytes());
    session.input().end();
    let mut output = Vec::new();
    let ending = session.drain(Some(HANG_LIMIT), |channel, bytes| {
        if channel != Channel::Log {
            output.extend_from_slice(bytes);
        }
    });
    drop(session);
    let _ = std::fs::remove_file(disk);
    let output = String::from_utf8_lossy(&output).replace('\r', "");
    if !matches!(ending, Ending::Exited(_)) {
        bail!("the machine that was to be recorded: {ending:?}\n{output}");
    }
    let start = output.find("# recording ").context("no trace was shown")?;
    let lines = output[start..].lines().take_while(|line| line.starts_with(|c: char| c == '#' || c.is_ascii_digit()));
    Ok(lines.flat_map(|line| [line, "\n"]).collect())
}

/// Checks a trace and says what it came to. A trace in which nothing can be checked does not hold.
fn judge(text: &str, table: &WordTable) -> Result<Tally> {
    let window = record::read(text)?;
    let mut nests: Vec<Nest> = Vec::new();
    let mut impossible = Vec::new();
    for record in &window.records {
        nests.resize_with((record.hart + 1).max(nests.len()), Nest::default);
        if let Err(why) = nests[record.hart].take(record) {
            impossible.push(format!("line {}, hart {}, task {}: {why}", record.line, record.hart, record.task));
            // What follows on this hart would be more of the same.
            nests[record.hart] = Nest::default();
        }
    }
    let replayed = replay::replay(&window.records, table);
    impossible.extend(replayed.impossible);
    say(format!(
        "  {} records of {} tasks on {} harts followed, {} lie outside of what is complete; at most {} polls went between \
         a wake and its poll",
        replayed.records, replayed.tasks, window.harts, window.outside, replayed.most_bypassed
    ));
    if replayed.records == 0 {
        impossible.push("there is nothing in it that could be followed".into());
    }
    Ok(Tally::of_all(impossible))
}
