//! Running: jobs in order, their pipelines by condition, the commands of a pipeline side by side.

use crate::builtin::{self, Builtin};
use crate::jobs::{self, Job, TERMINAL};
use crate::redirect::Streams;
use crate::state::Shell;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::fs::File;
use rt::io::{self, ErrorKind, Write};
use rt::process::Command;
use rt::{eprintln, pipe};
use shell::expand;
use shell::parse::{self, Condition, Pipeline};

/// Status of a command that was not found, and of one that cannot be run.
const NOT_FOUND: i32 = 127;
const CANNOT_RUN: i32 = 126;

/// Runs jobs until one says `exit`.
pub fn jobs(shell: &mut Shell, jobs: &[parse::Job]) {
    for job in jobs {
        if job.background {
            background(shell, job);
        } else {
            foreground(shell, job);
        }
        if shell.exit.is_some() {
            return;
        }
    }
}

fn foreground(shell: &mut Shell, job: &parse::Job) {
    for (condition, part) in &job.pipelines {
        let wanted = match condition {
            Condition::Always => true,
            Condition::Success => shell.status == 0,
            Condition::Failure => shell.status != 0,
        };
        if wanted && shell.exit.is_none() {
            let started = pipeline(shell, part, true);
            if let Some(started) = started {
                jobs::wait_foreground(shell, started);
            }
            if part.negated {
                shell.status = i32::from(shell.status == 0);
            }
        }
    }
}

/// Starts a job without waiting. One of several pipelines is given to a second shell.
fn background(shell: &mut Shell, job: &parse::Job) {
    let text = job.to_string();
    let started = match job.pipelines.as_slice() {
        [(_, single)] if !single.negated => pipeline(shell, single, false),
        _ => {
            let args = ["-c".to_string(), text.clone()];
            let mut group = Group::new(shell, false);
            group.start(shell, shell.program(), &args, &[], Streams::default());
            group.into_job(shell, text)
        }
    };
    if let Some(job) = started {
        shell.last_background = Some(job.last);
        if shell.interactive {
            eprintln!("[{}] {}", job.number, job.last);
        }
        shell.status = 0;
        shell.jobs.push(job);
    }
}

/// The processes of a pipeline while it is being started.
struct Group {
    /// Process group: -1 the shell's own, 0 not yet known.
    id: i32,
    foreground: bool,
    pids: Vec<i32>,
    /// Whether the last command so far became a process.
    last_started: bool,
}

impl Group {
    fn new(shell: &Shell, foreground: bool) -> Self {
        Self { id: if shell.interactive { 0 } else { -1 }, foreground, pids: Vec::new(), last_started: false }
    }

    /// Starts a program; says why if it cannot.
    fn start(
        &mut self,
        shell: &mut Shell,
        program: &str,
        args: &[String],
        env: &[(String, String)],
        mut streams: Streams,
    ) {
        let mut command = Command::new(program);
        command.args(args);
        env.iter().for_each(|(name, value)| _ = command.env(name, value));
        if !self.foreground && self.id < 0 && streams.0[0].is_none() {
            command.stdin(rt::process::Stdio::Null);
        } else {
            command.stdin(streams.stdio(0));
        }
        command.stdout(streams.stdio(1)).stderr(streams.stdio(2));
        if self.id >= 0 {
            command.process_group(self.id);
            if self.foreground {
                command.foreground(TERMINAL);
            }
        }
        match command.spawn() {
            Ok(child) => {
                if self.id == 0 {
                    self.id = child.id();
                }
                self.pids.push(child.id());
                self.last_started = true;
            }
            Err(error) => {
                self.last_started = false;
                shell.status = cannot_start(program, error);
            }
        }
    }

    /// The job, if there is a process in it. The status of a pipeline whose last command is no process is known already.
    fn into_job(self, shell: &Shell, text: String) -> Option<Job> {
        let last = *self.pids.last()?;
        Some(Job {
            number: shell.next_job(),
            group: self.id.max(0),
            running: self.pids,
            last,
            status: None,
            stopped: false,
            text,
        })
    }
}

fn cannot_start(program: &str, error: io::Error) -> i32 {
    if error.kind() == ErrorKind::NotFound {
        let what = if program.contains('/') { "no such file" } else { "command not found" };
        eprintln!("sh: {program}: {what}");
        NOT_FOUND
    } else {
        eprintln!("sh: {program}: {error}");
        CANNOT_RUN
    }
}

/// Starts a pipeline; `None` if no process is left to wait for, the status is set then.
fn pipeline(shell: &mut Shell, pipeline: &Pipeline, foreground: bool) -> Option<Job> {
    // What the shell itself has printed comes before what its commands print.
    let _ = io::stdout().flush();
    let mut group = Group::new(shell, foreground);
    let mut input: Option<File> = None;
    let count = pipeline.commands.len();
    for (i, command) in pipeline.commands.iter().enumerate() {
        let (mut streams, mut next) = (Streams::default(), None);
        streams.0[0] = input.take();
        if i + 1 < count {
            match pipe::pipe() {
                Ok((read, write)) => {
                    streams.0[1] = Some(write);
                    next = Some(read);
                }
                Err(error) => {
                    eprintln!("sh: pipe: {error}");
                    shell.status = CANNOT_RUN;
                    break;
                }
            }
        }
        one(shell, command, streams, &mut group, count == 1);
        input = next;
    }
    let (last_started, status) = (group.last_started, shell.status);
    let job = group.into_job(shell, pipeline.to_string())?;
    if last_started {
        return Some(job);
    }
    if foreground {
        jobs::wait_foreground(shell, job);
        shell.status = status;
        return None;
    }
    Some(job)
}

/// Runs one command of a pipeline: a built-in at once, a program as a process of the group.
fn one(shell: &mut Shell, command: &parse::Command, mut streams: Streams, group: &mut Group, alone: bool) {
    group.last_started = false;
    if let Err(text) = streams.redirect(shell, &command.redirects) {
        eprintln!("sh: {text}");
        shell.status = 1;
        return;
    }
    let words: Vec<String> = command.words.iter().flat_map(|w| expand::fields(w, shell, shell)).collect();
    let values: Vec<(String, String)> =
        command.assignments.iter().map(|(name, value)| (name.clone(), expand::text(value, shell))).collect();
    let Some((name, args)) = words.split_first() else {
        values.iter().for_each(|(name, value)| shell.set(name, value));
        shell.status = 0;
        return;
    };
    match builtin::find(name) {
        Some(builtin) => run_builtin(shell, builtin, args, streams, alone),
        None => group.start(shell, name, args, &values, streams),
    }
}

/// Runs a built-in. In a pipeline its output is collected first and written by a thread: the reader may not run yet.
fn run_builtin(shell: &mut Shell, builtin: &Builtin, args: &[String], mut streams: Streams, alone: bool) {
    let mut out = Vec::new();
    let result = (builtin.run)(shell, args, &mut out);
    if let Err(text) = &result {
        let text = alloc::format!("sh: {}: {text}\n", builtin.name);
        let written = match &mut streams.0[2] {
            Some(file) => file.write_all(text.as_bytes()),
            None => io::stderr().write_all(text.as_bytes()),
        };
        // Nobody can be told that standard error failed.
        let _ = written;
    }
    // `fg` and `wait` set the status of what they waited for.
    match result {
        Ok(Some(status)) => shell.status = status,
        Ok(None) => {}
        Err(_) => shell.status = 1,
    }
    match streams.0[1].take() {
        None => {
            let _ = io::stdout().write_all(&out);
            let _ = io::stdout().flush();
        }
        Some(mut file) if alone => {
            if let Err(error) = file.write_all(&out) {
                eprintln!("sh: {}: {error}", builtin.name);
                shell.status = 1;
            }
        }
        Some(mut file) => {
            // Without a thread the output is lost, which the reader sees as an early end.
            let _ = rt::thread::spawn(move || file.write_all(&out));
        }
    }
}
