//! The machines that are measured: AsyncOS in each world, its boot, and Linux, in turns.
//!
//! A system that fails on one hart, or one of ours on several, is not tried again in later turns; what else it had measured stays.

use super::findings::{ALL_HARTS, CALLS, ENTRIES, Findings, LINUX, Mark, Transcript, clock};
use super::linux::Linux;
use super::{COUNTED, HARTS, Options};
use crate::build::Built;
use crate::command::say;
use crate::console::{Ending, Session, Wire};
use crate::emulator::{Emulator, Interrupts, Machine};
use crate::run;
use crate::test::HANG_LIMIT;
use abi::mux::Channel;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How the shell's prompt ends.
const PROMPT: &str = "# ";

/// Says how far the measuring is, seldom enough to be read.
pub struct Progress {
    started: Instant,
    said: Instant,
    step: usize,
    steps: usize,
    doing: String,
}

impl Progress {
    /// So many machines will be started.
    pub fn new(steps: usize) -> Self {
        Self { started: Instant::now(), said: Instant::now(), step: 0, steps, doing: String::new() }
    }

    /// A machine is started.
    fn begin(&mut self, doing: String) {
        (self.step, self.doing) = (self.step + 1, doing);
        self.say("");
    }

    /// It begins with a group.
    fn group(&mut self, name: &str) {
        const SELDOM: Duration = Duration::from_secs(5);
        if self.said.elapsed() > SELDOM {
            self.say(&format!(": {name}"));
        }
    }

    fn say(&mut self, more: &str) {
        let Self { started, step, steps, doing, .. } = self;
        say(format!("{} [{step}/{steps}] {doing}{more}", clock(started.elapsed())));
        self.said = Instant::now();
    }
}

/// What is measured with.
pub struct Bench<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// The emulator, the same for all.
    pub emulator: &'a Emulator,
    /// Kernel and programs.
    pub built: &'a Built,
    /// What counts instructions on several harts, if that was asked for.
    pub plugin: Option<PathBuf>,
    /// Our own firmware, if that was asked for.
    pub firmware: Option<PathBuf>,
    /// Disk image, attached to every machine.
    pub disk: PathBuf,
    /// The yardstick.
    pub linux: Option<Linux>,
    /// Rounds of wall time.
    pub rounds: usize,
    /// What was found.
    pub findings: Findings,
    /// Set when somebody wants it to end.
    pub stop: Arc<AtomicBool>,
}

impl Bench<'_> {
    /// Turn 0, and then the rounds of wall time; `keep` is called after every machine with what is known then.
    pub fn measure(&mut self, mut keep: impl FnMut(&Findings)) {
        let rounds = self.rounds;
        let systems = self.systems();
        let machines = |(group, _), turns| if self.options.wants(group) { turns } else { 0 };
        let turns = machines(HARTS, 1 + rounds) + machines(COUNTED, 1);
        let more = turns * (self.options.worlds.len() + usize::from(self.linux.is_some()));
        let mut progress = Progress::new(systems.len() * (1 + rounds) + more);
        let mut failed = Vec::new();
        for turn in 0..=rounds {
            if turn > 0 && failed.iter().any(|system| system == LINUX) {
                say("no wall time: Linux fails, and there is nothing to compare with");
                return;
            }
            let started = Instant::now();
            for system in &systems {
                if self.stop.load(Ordering::Relaxed) {
                    self.findings.trouble(system, None, "interrupted");
                    continue;
                }
                if failed.contains(system) {
                    continue;
                }
                let name = if system == LINUX { "Linux".into() } else { format!("AsyncOS, world {system}") };
                let how = if turn == 0 { "icount".into() } else { format!("wall, round {turn} of {rounds}") };
                progress.begin(format!("{name}, {how}"));
                let outcome = self.machine_of(system, turn, &mut progress);
                if self.stop.load(Ordering::Relaxed) {
                    self.findings.trouble(system, None, "interrupted");
                } else if let Err(error) = outcome {
                    say(format!("{name} fails, and is left out from here on: {error:#}"));
                    self.findings.trouble(system, None, &format!("{error:#}"));
                    failed.push(system.clone());
                }
                keep(&self.findings);
            }
            if (1..rounds).contains(&turn) && !self.stop.load(Ordering::Relaxed) {
                say(format!("about {} to go", clock(started.elapsed() * (rounds - turn) as u32)));
            }
        }
    }

    /// Each turn measures these, in this order, so that all see the same host.
    fn systems(&self) -> Vec<String> {
        let boot = self.options.wants("boot") && !self.options.worlds.is_empty();
        let guests = if self.options.wants_guest() { self.options.worlds.as_slice() } else { &[] };
        let linux = self.linux.is_some() && self.options.wants_guest();
        let ends = |wanted: bool, name: &str| wanted.then(|| name.to_owned());
        ends(boot, "auto").into_iter().chain(guests.iter().cloned()).chain(ends(linux, LINUX)).collect()
    }

    fn machine_of(&mut self, system: &str, turn: usize, progress: &mut Progress) -> Result<()> {
        match (system, &self.linux) {
            ("auto", _) => self.boot(turn),
            (LINUX, Some(linux)) => {
                if let Some(groups) = self.on_one_hart() {
                    let machine = self.machine(String::new(), turn == 0);
                    let mut group = |name: &str| progress.group(name);
                    let mut transcript = Transcript::new(LINUX, turn, &mut self.findings, &mut group);
                    let up = linux.measure(machine, self.emulator, &groups, &mut transcript)?;
                    if turn > 0 {
                        self.findings.add("boot", LINUX, turn, up.as_nanos() as f64, "ns");
                    }
                }
                self.linux_on_harts(turn, progress);
                if turn == 0 { self.counted(LINUX, progress) } else { Ok(()) }
            }
            _ => self.guest(system, turn, progress),
        }
    }

    fn machine(&self, command_line: String, icount: bool) -> Machine {
        let interrupts = if self.emulator.has_aia() { Interrupts::Aia } else { Interrupts::Plic };
        let (disk, firmware) = (Some(self.disk.clone()), self.firmware.clone());
        Machine { command_line, icount, disk, firmware, ..Machine::new(&self.built.kernel, interrupts) }
    }

    /// The groups that were asked for and need one hart; an empty list is all of them.
    fn on_one_hart(&self) -> Option<Vec<String>> {
        let single = |group: &&String| ![HARTS.0, COUNTED.0].contains(&group.as_str());
        let groups: Vec<String> = self.options.groups.iter().filter(single).cloned().collect();
        (!groups.is_empty() || self.options.groups.is_empty()).then_some(groups)
    }

    /// The groups that were asked for, on one hart; and those that need more, without counting instructions.
    fn guest(&mut self, world: &str, turn: usize, progress: &mut Progress) -> Result<()> {
        if let Some(groups) = self.on_one_hart() {
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            self.program(world, turn, self.machine(String::new(), turn == 0), &groups, progress)?;
        }
        if self.options.wants(HARTS.0) {
            progress.begin(format!("AsyncOS, world {world}, {} harts", HARTS.1));
            let machine = Machine { harts: HARTS.1, ..self.machine(String::new(), false) };
            self.program(world, turn, machine, &[HARTS.0], progress)?;
        }
        if turn == 0 { self.counted(world, progress) } else { Ok(()) }
    }

    /// What Linux has of the group that needs several harts, if it was asked for; if that fails it costs these rows only.
    fn linux_on_harts(&mut self, turn: usize, progress: &mut Progress) {
        let Some(linux) = self.linux.as_ref().filter(|_| self.options.wants(HARTS.0)) else { return };
        progress.begin(format!("Linux, {} harts", HARTS.1));
        let machine = Machine { harts: HARTS.1, ..self.machine(String::new(), false) };
        let mut group = |name: &str| progress.group(name);
        let mut transcript = Transcript::new(LINUX, turn, &mut self.findings, &mut group);
        if let Err(error) = linux.measure(machine, self.emulator, &[HARTS.0.into()], &mut transcript) {
            self.findings.trouble(LINUX, Some(HARTS.0), &format!("{error:#}"));
        }
    }

    /// The group that the plugin counts, if it was asked for; if that fails it costs these rows only.
    fn counted(&mut self, system: &str, progress: &mut Progress) -> Result<()> {
        let Some(plugin) = self.plugin.clone() else { return Ok(()) };
        progress.begin(format!("{system}, {} harts, counted", COUNTED.1));
        let counts = self.disk.with_extension("counts");
        let machine =
            Machine { harts: COUNTED.1, plugin: Some((plugin, counts.clone())), ..self.machine(String::new(), false) };
        let marks = match (system, &self.linux) {
            (LINUX, Some(linux)) => {
                let mut group = |name: &str| progress.group(name);
                let mut transcript = Transcript::new(LINUX, 0, &mut self.findings, &mut group);
                let measured = linux.measure(machine, self.emulator, &[COUNTED.0.into()], &mut transcript);
                measured.map(|_| transcript.marks)
            }
            _ => self.program(system, 0, machine, &[COUNTED.0], progress),
        };
        let lines = std::fs::read_to_string(&counts).unwrap_or_default();
        let _ = std::fs::remove_file(&counts);
        match marks {
            Ok(marks) if marks.len() == lines.lines().count() => self.add_counts(system, &marks, &lines),
            Ok(marks) => {
                let what = format!("{} marks, and {} were counted", marks.len(), lines.lines().count());
                self.findings.trouble(system, Some(COUNTED.0), &what);
            }
            Err(error) => self.findings.trouble(system, Some(COUNTED.0), &format!("{error:#}")),
        }
        Ok(())
    }

    fn add_counts(&mut self, system: &str, marks: &[Mark], lines: &str) {
        for (mark, line) in marks.iter().zip(lines.lines()) {
            let Some([all, firmware, entries, calls]) = mark.figures(line) else {
                self.findings.trouble(system, Some(COUNTED.0), "the plugin has written something else than numbers");
                return;
            };
            self.findings.add(&mark.id, system, 0, all, ALL_HARTS);
            self.findings.add(&format!("{}_firmware", mark.id), system, 0, firmware, ALL_HARTS);
            self.findings.add(&format!("{}_entries", mark.id), system, 0, entries, ENTRIES);
            self.findings.add(&format!("{}_calls", mark.id), system, 0, calls, CALLS);
        }
    }

    /// `/bin/bench` as a machine's only program.
    fn program(
        &mut self,
        world: &str,
        turn: usize,
        machine: Machine,
        groups: &[&str],
        progress: &mut Progress,
    ) -> Result<Vec<Mark>> {
        let program: Vec<_> = ["bench"].iter().chain(groups).map(Into::into).collect();
        let words = run::program_words(&program).join(" ");
        let machine = Machine { command_line: format!("console=mux tty=raw world={world} {words}"), ..machine };
        let mut session = Session::start(machine.start(self.emulator), Wire::Mux)?;
        let mut log = String::new();
        let mut group = |name: &str| progress.group(name);
        let mut output = Transcript::new(world, turn, &mut self.findings, &mut group);
        let ending = session.drain(Some(HANG_LIMIT), |channel, bytes| match channel {
            Channel::Stdout | Channel::Stderr => output.take(bytes),
            Channel::Tty | Channel::Log => log.push_str(&String::from_utf8_lossy(bytes)),
        });
        match ending {
            // A group that could not go on has said so.
            Ending::Exited(0 | 1) => Ok(output.marks),
            ending => bail!("{}\n{}{log}", describe(&ending), session.firmware_output()),
        }
    }

    /// Boot to the prompt. Instructions: a program whose name is typed ahead reads the counter when the first prompt
    /// starts it. Wall time: until the prompt is there.
    fn boot(&mut self, turn: usize) -> Result<()> {
        let machine = self.machine("console=mux tty=raw world=auto".into(), turn == 0);
        let started = Instant::now();
        let mut session = Session::start(machine.start(self.emulator), Wire::Mux)?;
        if turn == 0 {
            session.input().send(b"bench boot\n");
        }
        let (mut terminal, mut log) = (String::new(), String::new());
        let mut ignored = |_: &str| ();
        let mut typed = Transcript::new("auto", turn, &mut self.findings, &mut ignored);
        loop {
            match session.next(Some(HANG_LIMIT)) {
                Ok((Channel::Tty, bytes)) => {
                    typed.take(&bytes);
                    terminal.push_str(&String::from_utf8_lossy(&bytes));
                }
                Ok((_, bytes)) => log.push_str(&String::from_utf8_lossy(&bytes)),
                Err(ending) => bail!("no prompt: {}\n{}{log}", describe(&ending), session.firmware_output()),
            }
            if turn > 0 && terminal.contains(PROMPT) {
                self.findings.add("boot", "auto", turn, started.elapsed().as_nanos() as f64, "ns");
                return Ok(());
            }
            let printed = terminal.lines().any(|line| line.starts_with("B boot_prompt ")) && terminal.ends_with('\n');
            if let Some(count) = instructions(&log).filter(|_| printed) {
                self.findings.add("boot_kernel", "auto", turn, count, "insn");
                return Ok(());
            }
        }
    }
}

/// The count in the kernel's line about its boot.
fn instructions(log: &str) -> Option<f64> {
    log.lines().find_map(|line| line.split_once("boot: ")?.1.strip_suffix(" instructions")?.parse().ok())
}

/// An end that was not wanted, in a table's words.
pub fn describe(ending: &Ending) -> String {
    match ending {
        Ending::Exited(status) => format!("/bin/bench ended with status {status}"),
        Ending::Died(why) => why.clone(),
        Ending::Hung => format!("silent for {} s", HANG_LIMIT.as_secs()),
        Ending::Quit => "stopped".into(),
    }
}
