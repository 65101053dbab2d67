//! Jobs: the process groups that the shell has started and has not seen the end of, and who owns the terminal.

use crate::state::Shell;
use alloc::string::String;
use alloc::vec::Vec;
use rt::process::{self, ExitStatus};
use rt::signal::{self, SIGCONT, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};
use rt::{eprintln, println, tty};

/// The terminal is standard input.
pub const TERMINAL: i32 = 0;

/// A pipeline in the background, or stopped.
#[derive(Debug)]
pub struct Job {
    /// Number that `fg` takes.
    pub number: usize,
    /// Process group; 0 if it is the shell's own.
    pub group: i32,
    /// Processes that have not ended.
    pub running: Vec<i32>,
    /// The last process of the pipeline, whose status is the job's.
    pub last: i32,
    /// Its status, once it has ended.
    pub status: Option<ExitStatus>,
    /// Whether it is stopped.
    pub stopped: bool,
    /// What was typed.
    pub text: String,
}

impl Job {
    /// Takes note of what `wait` reported.
    fn note(&mut self, pid: i32, status: ExitStatus) {
        if status.stopped().is_some() {
            self.stopped = true;
            return;
        }
        self.running.retain(|&p| p != pid);
        if pid == self.last {
            self.status = Some(status);
        }
    }

    fn state(&self) -> &'static str {
        match (self.running.is_empty(), self.stopped) {
            (true, _) => "Done",
            (false, true) => "Stopped",
            (false, false) => "Running",
        }
    }
}

/// Makes the shell the owner of its terminal, and immune to the keys meant for its jobs. Each step may fail where there is
/// no job control; the shell works without.
pub fn take_control(shell: &mut Shell) {
    for number in [SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU] {
        let _ = signal::ignore(number);
    }
    let _ = process::set_group(0, 0);
    let owned = tty::set_foreground(TERMINAL, process::group());
    shell.interactive = owned.is_ok() || tty::is_terminal(TERMINAL);
}

/// Waits until a job in the foreground ends or stops, takes the terminal back, and sets the shell's status.
pub fn wait_foreground(shell: &mut Shell, mut job: Job) {
    let modes = if shell.interactive { tty::attributes(TERMINAL).ok() } else { None };
    while let Some(&pid) = job.running.first().filter(|_| !job.stopped) {
        match process::wait(pid) {
            Ok((pid, status)) => job.note(pid, status),
            // It is not there any more: ended, and its status lost.
            Err(_) => job.running.retain(|&p| p != pid),
        }
    }
    if shell.interactive {
        let _ = tty::set_foreground(TERMINAL, process::group());
        if let Some(modes) = modes {
            let _ = tty::set_attributes(TERMINAL, &modes);
        }
    }
    if job.stopped {
        shell.status = 128 + SIGTSTP as i32;
        eprintln!("\n[{}] Stopped  {}", job.number, job.text);
        shell.jobs.push(job);
    } else {
        shell.status = job.status.map_or(0, ExitStatus::shell_code);
        match job.status.and_then(ExitStatus::signal) {
            Some(SIGINT) if shell.interactive => eprintln!(),
            Some(signal) if signal != signal::SIGPIPE && signal != SIGINT => {
                eprintln!("sh: {}: killed by SIG{}", job.text, name_of(signal));
            }
            _ => {}
        }
    }
}

fn name_of(number: u32) -> &'static str {
    signal::NAMES.get(number as usize).copied().unwrap_or("?")
}

impl Shell {
    /// The number for a new job.
    pub fn next_job(&self) -> usize {
        self.jobs.iter().map(|j| j.number).max().unwrap_or(0) + 1
    }

    /// Looks which jobs have changed, without waiting.
    pub fn refresh_jobs(&mut self) {
        for job in &mut self.jobs {
            for pid in job.running.clone() {
                match process::try_wait(pid) {
                    Ok(Some((pid, status))) => job.note(pid, status),
                    Ok(None) => {}
                    Err(_) => job.running.retain(|&p| p != pid),
                }
            }
        }
    }

    /// Says which background jobs have ended, and forgets them.
    pub fn report_jobs(&mut self) {
        self.refresh_jobs();
        let interactive = self.interactive;
        self.jobs.retain(|job| {
            if job.running.is_empty() && interactive {
                eprintln!("[{}] {}  {}", job.number, job.state(), job.text);
            }
            !job.running.is_empty()
        });
    }

    /// Lists the jobs.
    pub fn list_jobs(&mut self, out: &mut dyn rt::io::Write) -> rt::io::Result<()> {
        self.refresh_jobs();
        for job in &self.jobs {
            writeln!(out, "[{}] {}  {}", job.number, job.state(), job.text)?;
        }
        self.jobs.retain(|job| !job.running.is_empty());
        Ok(())
    }

    /// Takes out job `number`, or the newest.
    pub fn take_job(&mut self, number: Option<usize>) -> Option<Job> {
        let at = match number {
            Some(number) => self.jobs.iter().position(|j| j.number == number)?,
            None => self.jobs.len().checked_sub(1)?,
        };
        Some(self.jobs.remove(at))
    }

    /// Lets a job go on, in the foreground or in the background.
    pub fn resume(&mut self, mut job: Job, foreground: bool) {
        job.stopped = false;
        println!("{}", job.text);
        if foreground && self.interactive && job.group != 0 {
            let _ = tty::set_foreground(TERMINAL, job.group);
        }
        if job.group != 0 {
            // A job that has just ended is waited for below.
            let _ = signal::kill(-job.group, SIGCONT);
        }
        if foreground { wait_foreground(self, job) } else { self.jobs.push(job) }
    }
}
