//! `top`.
//!
//! What a process's coroutines do is measured from the first look on, so there is always one before what is shown.

use crate::options::Options;
use crate::{Outcome, Tool, proc};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use monitor::rows::{Order, View, rows};
use monitor::sample::Sample;
use monitor::screen;
use rt::abi::ioctl::{Termios, VMIN, VTIME};
use rt::fs::File;
use rt::io::{self, Read, Write};
use rt::time::{Duration, Instant};
use rt::{print, println, thread, tty};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "top",
    usage:
        "[-bs] [-n TIMES] [-d SECONDS] [-o ORDER] [-p PID]
Shows what runs: processes, and below each its threads, if it has several, and its coroutines (~), with
    PID ID    numbers of process, thread or coroutine; process 0 is the kernel
    S         R runs or wants to, Q is ready, S waits, D waits for a page, T stopped, Z ended, F failed
    PR        the priority it runs at, 0 the most urgent; ^: more urgent than its own
    %CPU      of one hart, since the look before
    TIME      on a CPU in all; of a coroutine while somebody looks
    POLLS     of a coroutine while somebody looks; how often a thread had the CPU
    LONGEST   poll of a coroutine while somebody looks
    -b  print all and no keys, for files and pipes    -n  how often (-b: 1; else until q)
    -s  processes only                                -d  how far apart, in seconds (2)
    -o  cpu, time, polls, longest, priority, pid      -p  only this process
Keys: q ends; P M L T R N order by cpu, polls, longest, time, priority, number; t shows or hides threads, c coroutines.",
    options: Some("bsn:d:o:p:"),
    run,
};

/// What is left of a screen that does not say how large it is.
const LINES: usize = 24;
const COLUMNS: usize = 80;
/// The shortest and the longest time between two looks: a terminal waits for a key for at most 25.5 s.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(25);

fn run(options: &Options) -> Outcome {
    let order = match options.value('o') {
        Some(name) => Order::named(name).ok_or_else(|| alloc::format!("{name}: not an order"))?,
        None => Order::default(),
    };
    let all = !options.has('s');
    let only = options.value('p').map(|text| text.parse().map_err(|_| alloc::format!("{text}: not a process")));
    let view = View { order, threads: all, coroutines: all, only: only.transpose()? };
    let delay = options.value('d').map_or(Ok(Duration::from_secs(2)), seconds)?;
    let times = options.value('n').map(crate::options::number).transpose()?;
    if options.has('b') {
        batch(&view, delay, times.unwrap_or(1));
        return Ok(0);
    }
    let modes = tty::attributes(0).map_err(|_| "standard input is no terminal; try -b".to_string())?;
    let _keys = Keys::new(modes, delay).map_err(|error| error.to_string())?;
    interact(view, delay, times).map_err(|error| error.to_string())?;
    Ok(0)
}

/// Seconds, with tenths perhaps.
fn seconds(text: &str) -> Result<Duration, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let tenths = part.get(..1).and_then(|digit| digit.parse::<u64>().ok());
    let all =
        whole.parse::<u64>().ok().zip(tenths).and_then(|(whole, tenths)| whole.checked_mul(10)?.checked_add(tenths));
    let all = all.filter(|_| part.bytes().all(|digit| digit.is_ascii_digit()));
    let tenths = all.ok_or_else(|| alloc::format!("{text}: not a number of seconds"))?;
    Ok(Duration::from_millis(tenths.saturating_mul(100)).clamp(SHORTEST, LONGEST))
}

/// Two looks, and what happened between them.
struct Look {
    before: (Sample, Instant),
    now: (Sample, Instant),
}

impl Look {
    fn first() -> Self {
        let at = Instant::now();
        Self { before: (Sample::default(), at), now: (Sample::take(&proc::System), at) }
    }

    fn again(&mut self) {
        let at = Instant::now();
        self.before = core::mem::replace(&mut self.now, (Sample::take(&proc::System), at));
    }

    fn lines(&self, view: &View, lines: usize, columns: usize) -> Vec<String> {
        let elapsed = self.now.1.saturating_duration_since(self.before.1).as_nanos() as u64;
        let head = screen::summary(&self.now.0, &self.before.0, view.order);
        let rows = rows(&self.before.0, &self.now.0, elapsed, view);
        screen::screen(&head, &rows, lines, columns)
    }
}

fn batch(view: &View, delay: Duration, times: u64) {
    let mut look = Look::first();
    for time in 0..times {
        thread::sleep(delay);
        look.again();
        if time > 0 {
            println!();
        }
        for line in look.lines(view, usize::MAX, usize::MAX) {
            println!("{line}");
        }
    }
}

/// The terminal gives each key at once, or nothing after a time; as it was when dropped.
struct Keys(Termios);

impl Keys {
    fn new(modes: Termios, delay: Duration) -> io::Result<Self> {
        let mut raw = tty::raw(&modes);
        raw.cc[VMIN] = 0;
        raw.cc[VTIME] = (delay.as_millis() / 100).clamp(1, 255) as u8;
        tty::set_attributes(0, &raw)?;
        Ok(Self(modes))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that went away needs no modes.
        let _ = tty::set_attributes(0, &self.0);
    }
}

/// How long after the first look the second one comes.
const BEGIN: Duration = Duration::from_millis(300);

fn interact(mut view: View, delay: Duration, times: Option<u64>) -> io::Result<()> {
    let mut input = File::duplicate(0)?;
    let mut look = Look::first();
    thread::sleep(BEGIN);
    look.again();
    let mut shown = 0;
    while times.is_none_or(|times| shown < times) {
        show(&look, &view)?;
        let began = Instant::now();
        let mut key = [0];
        match input.read(&mut key)? {
            // Nothing, and at once: the terminal is gone.
            0 if began.elapsed() < SHORTEST / 2 => break,
            0 => {}
            _ if is_end(key[0]) => break,
            _ => press(key[0], &mut view),
        }
        if began.elapsed() >= delay || look.now.1.elapsed() >= delay {
            look.again();
            shown += 1;
        }
    }
    print!("\n");
    io::stdout().flush()
}

/// Draws over what is there, so that nothing flickers.
fn show(look: &Look, view: &View) -> io::Result<()> {
    let (lines, columns) = tty::size(1).map_or((LINES, COLUMNS), |(rows, columns)| (rows.into(), columns.into()));
    let lines = look.lines(view, lines.max(2) - 1, columns);
    print!("\x1b[H");
    for line in lines {
        print!("{line}\x1b[K\n");
    }
    print!("\x1b[J");
    io::stdout().flush()
}

/// q, Ctrl-C, Ctrl-D.
fn is_end(key: u8) -> bool {
    matches!(key, b'q' | 3 | 4)
}

fn press(key: u8, view: &mut View) {
    match key {
        b'P' => view.order = Order::Share,
        b'M' => view.order = Order::Polls,
        b'L' => view.order = Order::Longest,
        b'T' => view.order = Order::Time,
        b'R' => view.order = Order::Priority,
        b'N' => view.order = Order::Number,
        b't' => view.threads = !view.threads,
        b'c' => view.coroutines = !view.coroutines,
        _ => {}
    }
}
