//! What runs, as `/proc` and `top` show it.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_asyncos;
use crate::process::{Shared, await_blocked, child, kill, sleep_ms, wait};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use monitor::lines::Thread;
use rt::abi::signal::SIGKILL;
use rt::io::Read;
use rt::process::{Command, Stdio};
use rt::{fs, pipe, thread};

pub const CASES: &[Case] = &[
    case!("watch/threads", "D16 G6", threads),
    case!("watch/top", "D16 G6", top),
    case!("watch/top-arguments", "E1", top_arguments),
];

/// A child that is killed when this is dropped, however its case ends.
struct Watched(i32);

impl Watched {
    fn new(body: impl FnOnce() -> i32) -> Result<Self, Trouble> {
        Ok(Self(child(body)?))
    }

    /// A file of its directory.
    fn file(&self, name: &str) -> Result<String, Trouble> {
        Ok(fs::read_to_string(&format!("/proc/{}/{name}", self.0))?)
    }

    /// Its lines, again and again until they are as they should be; the hang limit is the runner's.
    fn until<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Option<T>,
        fits: impl Fn(&[T]) -> bool,
    ) -> Result<Vec<T>, Trouble> {
        loop {
            let text = self.file(name)?;
            let lines: Option<Vec<T>> = text.lines().map(parse).collect();
            let lines = lines.ok_or_else(|| Trouble::failed(format_args!("a line of {text}")))?;
            if fits(&lines) {
                return Ok(lines);
            }
            sleep_ms(1);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = kill(self.0, SIGKILL);
        let _ = wait(self.0);
    }
}

/// One thread that waits to read, one that waits at a word, one that spins.
fn threads() -> Outcome {
    needs_asyncos()?;
    let (mut read, _write) = pipe::pipe()?;
    let (reads, shared) = (format!("read {}", read.fd().raw()), Shared::new()?);
    let at = core::ptr::from_ref(shared.word(0)).addr();
    let watched = Watched::new(move || {
        let waits = thread::spawn(move || call!(FUTEX, at, 0, 0, 0));
        let spins = thread::spawn(|| {
            loop {
                core::hint::spin_loop();
            }
        });
        let ended = read.read(&mut [0]).is_ok() && waits.is_ok() && spins.is_ok();
        i32::from(ended)
    })?;
    let at = format!("futex {at:x}");
    let waits = |lines: &[Thread], what: &str| lines.iter().any(|line| line.state == 'S' && line.waits == what);
    let spins =
        |lines: &[Thread]| lines.iter().any(|line| line.state == 'R' && line.waits.is_empty() && line.time > 1_000_000);
    let fits = |lines: &[Thread]| waits(lines, &reads) && waits(lines, &at) && spins(lines);
    let lines = watched.until("threads", Thread::parse, fits)?;
    equal!(lines.len(), 3);
    let turns = |line: &Thread| line.turns > 0 || line.waits.is_empty();
    ensure!(lines.iter().all(|line| line.priority < 32 && line.own < 32 && turns(line)), "{lines:?}");
    equal!(lines.iter().find(|line| line.waits == reads).map(|line| line.id), Some(watched.0 as u32));
    fails!(fs::read("/proc/999999999/threads"), ENOENT);
    Ok(())
}

/// The text of `top -b -d 0.1` with more arguments.
fn run_top(arguments: &[&str]) -> Result<String, Trouble> {
    let (status, text) = Command::new("/bin/top").args(["-b", "-d", "0.1"]).args(arguments).output()?;
    equal!(status.code(), Some(0));
    Ok(String::from_utf8_lossy(&text).to_string())
}

/// The program shows what a process waits for, and itself.
fn top() -> Outcome {
    needs_asyncos()?;
    let (mut read, _write) = pipe::pipe()?;
    let reads = format!(" read {} ", read.fd().raw());
    let watched = Watched::new(move || i32::from(read.read(&mut [0]).is_ok()))?;
    await_blocked(watched.0)?;
    let text = run_top(&["-n", "2"])?;
    let begins = |line: &&str, id: i32| line.split_whitespace().next() == Some(id.to_string().as_str());
    let lines: Vec<&str> = text.lines().filter(|line| begins(line, watched.0)).collect();
    equal!(lines.len(), 2);
    ensure!(lines.iter().all(|line| line.contains(&reads) && line.contains("suite")), "{lines:?}");
    ensure!(text.lines().any(|line| line.contains(" R ") && line.contains("/bin/top -b -d 0.1 -n 2")), "{text}");
    ensure!(text.starts_with("top: up "), "{text}");
    let only = run_top(&["-p", &watched.0.to_string(), "-o", "pid"])?;
    ensure!(!only.contains("/bin/top") && only.lines().any(|line| begins(&line, watched.0)), "{only}");
    Ok(())
}

fn top_arguments() -> Outcome {
    needs_asyncos()?;
    let (status, text) = Command::new("/bin/top").arg("--help").output()?;
    ensure!(status.success() && String::from_utf8_lossy(&text).starts_with("usage: top "));
    for (wrong, code) in
        [(&["-o", "size"][..], 1), (&["-d", "x"], 1), (&["-d", "1.x"], 1), (&["-p", "-1"], 1), (&["-x"], 2)]
    {
        let status = Command::new("/bin/top").arg("-b").args(wrong).stderr(Stdio::Null).status()?;
        equal!(status.code(), Some(code));
    }
    // Keys need a terminal.
    let status = Command::new("/bin/top").stdin(Stdio::Null).stderr(Stdio::Null).status()?;
    equal!(status.code(), Some(1));
    Ok(())
}
