//! `init`: the first process. It greets, starts the web server if there is something to serve, runs the shell on the
//! console, and waits for whatever ends.
//!
//! * The shell: when it exits, the machine is switched off; when a signal ends it, it is started again.
//! * The web server: started again when it ends, but given up after [`TRIES`] ends that came quickly.
//! * Everything else is an orphan, and only reaped.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use rt::process::{self, Child, Command, ExitCode, ExitStatus, Stdio};
use rt::time::{Duration, Instant};
use rt::{env, eprintln, fs, io, println, signal, system, tty};

rt::main!(main);

const SHELL: &str = "/bin/sh";
const SERVER: &str = "/bin/httpd";
const SHARE: &str = "/srv/share";
/// Quick ends of the web server after which it is given up, and what is quick.
const TRIES: u32 = 3;
const QUICK: Duration = Duration::from_secs(5);
/// How long processes have to end when the machine is switched off.
const GRACE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // Not the first process, or no terminal: there is nothing to own then.
    let _ = process::new_session();
    let _ = tty::set_controlling(0);
    for (name, value) in [("PATH", "/bin:/sbin:/usr/bin"), ("HOME", "/root"), ("TERM", "vt100"), ("USER", "root")] {
        if env::var(name).is_none() {
            env::set_var(name, value);
        }
    }
    // Stays where it is if there is no such directory.
    let _ = env::var("HOME").map(|home| env::set_current_dir(&home));
    banner();
    let mut server = Server { child: None, started: Instant::now(), left: TRIES };
    if fs::metadata(SHARE).is_ok_and(|m| m.is_dir()) {
        server.start();
    }
    let code = match run(&mut server) {
        Ok(status) => status.shell_code(),
        Err(error) => {
            eprintln!("init: {SHELL}: {error}");
            1
        }
    };
    shut_down(code)
}

/// One line about the machine.
fn banner() {
    let release = system::uname().map_or_else(|_| String::from("AsyncOS"), |names| names.version);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let harts = cpus.lines().filter(|l| l.starts_with("processor")).count().max(1);
    let bytes = system::sysinfo().map_or(0, |i| i.totalram.saturating_mul(u64::from(i.mem_unit)));
    let plural = if harts == 1 { "" } else { "s" };
    println!("{release} on riscv64, {harts} hart{plural}, {} MiB of memory", bytes >> 20);
}

struct Server {
    child: Option<Child>,
    started: Instant,
    left: u32,
}

impl Server {
    fn start(&mut self) {
        self.started = Instant::now();
        match Command::new(SERVER).arg(SHARE).stdin(Stdio::Null).process_group(0).spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => eprintln!("init: {SERVER}: {error}"),
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        self.child = None;
        self.left = if self.started.elapsed() < QUICK { self.left.saturating_sub(1) } else { TRIES };
        if self.left > 0 {
            self.start();
        } else {
            eprintln!("init: {SERVER} keeps ending ({status}), not started again");
        }
    }
}

/// Runs the shell until it exits of its own accord.
fn run(server: &mut Server) -> io::Result<ExitStatus> {
    let mut shell = Command::new(SHELL).arg0("sh").spawn()?;
    loop {
        let (pid, status) = process::wait(-1)?;
        if status.stopped().is_some() {
            continue;
        }
        if pid == shell.id() {
            if status.signal().is_none() {
                return Ok(status);
            }
            eprintln!("init: shell {status}, started again");
            shell = Command::new(SHELL).arg0("sh").spawn()?;
        } else if server.child.as_ref().is_some_and(|c| c.id() == pid) {
            server.ended(status);
        }
    }
}

fn shut_down(code: i32) -> ExitCode {
    if process::id() == 1 {
        // Errors: nobody is left, or the machine cannot be switched off, which ends in the exit below.
        let _ = signal::kill(-1, signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end && process::try_wait(-1).is_ok() {
            rt::thread::sleep(Duration::from_millis(5));
        }
        system::sync();
        let _ = system::power_off();
    }
    ExitCode::from(code)
}
