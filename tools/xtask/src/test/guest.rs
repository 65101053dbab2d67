//! The steps of `test` that boot the system: the guest suite over the matrix, the shell, the web server.

use super::{Context, HANG_LIMIT, Tally};
use crate::build::{self, Built, Profile};
use crate::command::say;
use crate::console::{Ending, Session, Wire};
use crate::emulator::{Emulator, Interrupts, Machine};
use crate::image;
use crate::matrix::{Breadth, Configuration, Matrix};
use crate::project::Project;
use crate::run;
use crate::toolchain::Toolchain;
use crate::web;
use abi::mux::Channel;
use anyhow::{Result, anyhow};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Commands for the shell, and what their output must contain.
const SHELL: [(&str, &str); 9] = [
    ("echo one two three | wc", "3"),
    ("cat /etc/hostname", "asyncos"),
    ("ls /bin", "sh"),
    ("echo first > /tmp/a; cat /tmp/a /tmp/a | wc -l", "2"),
    ("echo kept > /root/kept; cat /root/kept", "kept"),
    ("no-such-program", "no-such-program"),
    ("cat /proc/meminfo", "MemFree"),
    ("top -b -n 1 -d 0.1 -p 1 | tail -n 1", " wait4 -1 "),
    ("echo last-$?", "last-0"),
];

/// What is to be started, by what, and its disk.
type Ready = (Machine, Emulator, PathBuf);

/// The guest suite, on the machines of the matrix: as many at a time as the host has processors for, as far as they have one hart.
pub fn suite(context: &Context) -> Result<Tally> {
    let Context { project, toolchain, breadth, .. } = context;
    let built = build::build(project, toolchain, Profile::Checked)?;
    let (mut configurations, mut left_out) = Matrix::load(project)?.choose(*breadth)?;
    if let Some(share) = context.share {
        let all = configurations.len();
        configurations = share.of(configurations);
        left_out += all - configurations.len();
    }
    let total = configurations.len();
    say(format!("guest suite on {total} machines"));
    let (mut tally, mut done, started) = (Tally::default(), 0, Instant::now());
    for batch in batches(configurations, std::thread::available_parallelism().map_or(1, usize::from)) {
        let numbers = if batch.len() == 1 { String::new() } else { format!(" to {}", done + batch.len()) };
        say(format!("  machine {}{numbers} of {total}{}", done + 1, to_go(started.elapsed(), done, total)));
        let machines = batch.iter().map(|configuration| prepared(context, configuration, &built));
        let machines = machines.collect::<Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let running: Vec<_> = machines
                .into_iter()
                .zip(&batch)
                .map(|(machine, configuration)| scope.spawn(move || suite_on(configuration, machine)))
                .collect();
            // All of them are waited for, and counted, before the first that could not be run ends it.
            let ended: Vec<_> = running.into_iter().map(|machine| machine.join()).collect();
            ended.into_iter().try_for_each(|machine| -> Result<()> {
                tally += machine.map_err(|_| anyhow!("a machine's thread has panicked"))??;
                Ok(())
            })
        })?;
        done += batch.len();
    }
    if left_out > 0 {
        say(format!("left out: the whole suite on {left_out} machines of tests/matrix.toml (`--full` boots them)"));
    }
    Ok(tally)
}

/// What is run at a time. A machine of several harts has the host for itself: what it does then is what such a machine does.
fn batches(configurations: Vec<Configuration>, processors: usize) -> Vec<Vec<Configuration>> {
    let (single, several): (Vec<_>, Vec<_>) = configurations.into_iter().partition(|machine| machine.harts == 1);
    let single = single.chunks(processors.max(1)).map(<[_]>::to_vec);
    several.into_iter().map(|machine| vec![machine]).chain(single).collect()
}

/// An estimate from the machines that are done; none before the first.
fn to_go(elapsed: Duration, done: usize, total: usize) -> String {
    if done == 0 {
        return String::new();
    }
    let left = elapsed.as_secs_f64() / done as f64 * (total - done) as f64;
    format!(", {} min so far, about {:.0} to go", elapsed.as_secs() / 60, (left / 60.0).ceil())
}

/// A machine with its disk and the suite's command line; none if this host cannot have it.
fn prepared(context: &Context, configuration: &Configuration, built: &Built) -> Result<Option<Ready>> {
    let (mut machine, emulator) = match configuration.machine(&context.project, &built.kernel)? {
        Ok(machine) => machine,
        Err(reason) => {
            say(format!("  skipped: {reason} [{configuration}]"));
            return Ok(None);
        }
    };
    if configuration.own_firmware {
        machine.firmware = Some(build::build_firmware(&context.project, &context.toolchain)?.image);
    }
    let cases = context.case.as_ref().map_or(configuration.cases.as_slice(), std::slice::from_ref);
    let quick = configuration.short.then_some("--quick");
    let fresh = fresh_seed().to_string();
    // What failed with it is done again by `suite --seed N --rounds 1 ring/fuzz`.
    say(format!("  the fuzzer's fresh seed: {fresh} [{configuration}]"));
    let program: Vec<_> = ["suite", "--fresh", &fresh]
        .into_iter()
        .chain(quick)
        .chain(configuration.options.iter().map(String::as_str))
        .chain(cases.iter().map(String::as_str))
        .map(Into::into)
        .collect();
    let words = run::program_words(&program).join(" ");
    let uintr = configuration.uintr.as_deref().unwrap_or("auto");
    machine.command_line = format!("console=mux tty=raw world={} uintr={uintr} {words}", configuration.world);
    let disk = context.project.output()?.join(format!("suite-{}-{fresh}.img", std::process::id()));
    image::make(&context.project, built, None, &disk)?;
    machine.disk = Some(disk.clone());
    Ok(Some((machine, emulator, disk)))
}

fn suite_on(configuration: &Configuration, machine: Option<Ready>) -> Result<Tally> {
    let Some((machine, emulator, disk)) = machine else { return Ok(Tally::skip()) };
    let mut report = Report::new(configuration);
    let ending = Session::start(machine.start(&emulator), Wire::Mux)?
        .drain(Some(HANG_LIMIT), |channel, bytes| report.take(channel, bytes));
    let mut tally = std::mem::take(&mut report.tally);
    let trouble = match ending {
        Ending::Exited(0) if tally.passed + tally.failed + tally.skipped == 0 => Some("the suite ran no case".into()),
        Ending::Exited(0) => None,
        Ending::Exited(_) if tally.failed > 0 => None,
        other => Some(format!("{other:?}")),
    };
    if let Some(trouble) = trouble {
        tally += Tally::failure(format!("{trouble} [{configuration}]"));
        eprintln!("{}", report.last_words());
    }
    tally += match image::check(&disk) {
        Ok(()) => Tally::of(true),
        Err(error) => Tally::failure(format!("the disk is damaged afterwards [{configuration}]: {error:#}")),
    };
    let _ = std::fs::remove_file(&disk);
    say(format!("  slowest: {} [{configuration}]", report.slowest()));
    say(format!("  {tally} [{configuration}]"));
    Ok(tally)
}

/// Another each time: beside the seeds that are always the same the fuzzer goes where nobody was.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64 >> 10 & 0xffff_ffff)
}

/// The lines of the suite: `ok NAME`, `not ok NAME: why`, `skip NAME: reason`; `#   ` before what a case does that hangs.
struct Report {
    /// Said behind each line: two machines may run at a time.
    machine: String,
    line: Vec<u8>,
    everything: Vec<u8>,
    tally: Tally,
    /// What each case took here, from the verdict before it to its own; the first has the boot in it.
    times: Vec<(Duration, String)>,
    last: Instant,
}

/// How many cases of a machine are named with what they took.
const SLOWEST: usize = 8;

impl Report {
    fn new(machine: impl ToString) -> Self {
        Self {
            machine: machine.to_string(),
            line: Vec::new(),
            everything: Vec::new(),
            tally: Tally::default(),
            times: Vec::new(),
            last: Instant::now(),
        }
    }

    fn take(&mut self, channel: Channel, bytes: &[u8]) {
        self.everything.extend_from_slice(bytes);
        if channel == Channel::Stdout {
            for byte in bytes {
                match byte {
                    b'\n' => self.finish_line(),
                    byte => self.line.push(*byte),
                }
            }
        }
    }

    fn finish_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if let Some(rest) = line.strip_prefix("not ok ") {
            self.clock(rest);
            self.tally += Tally::failure(format!("{rest} [{}]", self.machine));
        } else if let Some(rest) = line.strip_prefix("ok ") {
            self.tally.passed += 1;
            self.clock(rest);
        } else if line.starts_with("skip ") {
            self.tally.skipped += 1;
            say(format!("  {line} [{}]", self.machine));
        } else if line.starts_with("#   ") {
            say(format!("  {line} [{}]", self.machine));
        }
    }

    /// A case is over whose line goes on with `rest`.
    fn clock(&mut self, rest: &str) {
        let name = rest.split([' ', ':']).next().unwrap_or_default();
        let now = Instant::now();
        self.times.push((now - std::mem::replace(&mut self.last, now), name.into()));
    }

    /// What to look at first when the suite takes too long.
    fn slowest(&mut self) -> String {
        self.times.sort_by(|a, b| b.cmp(a));
        let shown = self.times.iter().take(SLOWEST);
        shown.map(|(time, name)| format!("{name} {:.1} s", time.as_secs_f64())).collect::<Vec<_>>().join(", ")
    }

    fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.everything);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// The shell reads commands from a pipe, does what they say, and powers off at their end.
pub fn shell(context: &Context) -> Result<Tally> {
    let (machine, emulator, disk) = machine(&context.project, &context.toolchain, "shell", None)?;
    let mut session = Session::start(machine.start(&emulator), Wire::Mux)?;
    let mut output = Vec::new();
    let script: String = SHELL.iter().map(|(command, _)| format!("{command}\n")).collect();
    session.input().send(script.as_bytes());
    session.input().end();
    let ending = session.drain(Some(HANG_LIMIT), |_, bytes| output.extend_from_slice(bytes));
    drop(session);
    let text = String::from_utf8_lossy(&output);
    let mut tally = Tally::of(matches!(ending, Ending::Exited(_)));
    for (command, expected) in SHELL {
        tally += Tally::named(text.contains(expected), || format!("`{command}` did not print `{expected}`"));
    }
    if tally.failed > 0 {
        eprintln!("{ending:?}\n{text}");
    }
    tally += Tally::of(image::check(&disk).map_err(|error| eprintln!("{error:#}")).is_ok());
    let _ = std::fs::remove_file(&disk);
    Ok(tally)
}

/// The web server, asked from the host.
pub fn web(context: &Context) -> Result<Tally> {
    let requests = if context.breadth == Breadth::Full { 10_000 } else { 2_000 };
    let Context { project, toolchain, .. } = context;
    let built = build::build(project, toolchain, Profile::Guest)?;
    let options = web::Options { requests, ..web::Options::default() };
    let served = web::check(project, &built, &Emulator::find(project, None)?, &options);
    if let Err(error) = &served {
        eprintln!("{error:#}");
    }
    Ok(Tally::of(served.is_ok_and(|served| served.holds())))
}

/// An ordinary machine with a fresh disk.
pub fn machine(project: &Project, toolchain: &Toolchain, name: &str, share: Option<&std::path::Path>) -> Result<Ready> {
    let built = build::build(project, toolchain, Profile::Guest)?;
    let disk = project.output()?.join(format!("{name}-{}.img", std::process::id()));
    image::make(project, &built, share, &disk)?;
    let emulator = Emulator::find(project, None)?;
    let interrupts = if emulator.has_aia() { Interrupts::Aia } else { Interrupts::Plic };
    let mut machine = Machine::new(&built.kernel, interrupts);
    machine.harts = 2;
    machine.command_line = "console=mux tty=raw world=auto".into();
    machine.disk = Some(disk.clone());
    Ok((machine, emulator, disk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        assert_eq!(to_go(Duration::from_secs(5), 0, 9), "");
        assert_eq!(to_go(Duration::from_secs(130), 2, 4), ", 2 min so far, about 3 to go");
    }

    #[test]
    fn machines_of_one_hart_go_together() {
        let matrix = Matrix::load(&Project::load().unwrap()).unwrap();
        let (all, _) = matrix.choose(Breadth::Pairwise).unwrap();
        let batches = batches(all.clone(), 2);
        let one = all.iter().filter(|machine| machine.harts == 1).count();
        assert_eq!(batches.len(), all.len() - one / 2);
        assert!(batches.iter().all(|batch| batch.len() == 1 || batch.iter().all(|machine| machine.harts == 1)));
    }

    #[test]
    fn suite_lines_are_counted() {
        let mut report = Report::new("here");
        report.take(Channel::Stdout, b"ok fork [P1]\nnot ok pipe: lost a by");
        report.take(Channel::Log, b"ok this is the log\n");
        report.take(Channel::Stdout, b"te\nskip uintr: no H\n");
        let failures = vec!["pipe: lost a byte [here]".into()];
        assert_eq!(report.tally, Tally { passed: 1, failed: 1, skipped: 1, failures });
        let timed: Vec<_> = report.times.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(timed, ["fork", "pipe"]);
    }
}
