//! The verb `bench`: every figure of the project in one run, each with its method, as a table, JSON and Markdown.
//!
//! The guest's program `/bin/bench` is a static program of the Linux ABI, so the very same file is run on Linux for
//! the column beside. Turn 0 counts instructions on one hart under `-icount`, which repeats; the rounds after it take
//! wall time, which is quoted only as a ratio of two systems that took turns on the same emulator with the same
//! options. [`bars`] says what must be there, [`machines`] measures, [`findings`] keeps what was said, [`rows`]
//! compares, [`table`] prints.

mod bars;
mod findings;
mod linux;
mod machines;
mod rows;
mod table;
mod wanted;

use crate::build::{self, Built, Profile};
use crate::command::say;
use crate::emulator::{Emulator, Interrupts};
use crate::image;
use crate::project::Project;
use crate::run;
use crate::setup;
use crate::tidy;
use crate::web;
use anyhow::{Context, Result, bail};
use findings::Findings;
use machines::Bench;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use table::{About, Table};

const HELP: &str = "\
cargo xtask bench [--linux] [--web] [--check] [--json FILE] [--markdown FILE] [--world NAME] [--rounds N]
                  [--firmware opensbi|asyncos] [--qemu PATH|backports] [-- GROUPS...]

Measures, prints the table, and keeps it as JSON.
    --linux          boot Debian's riscv64 kernel too, taking turns: the Linux column, and the ratios of wall time
    --web            the check of the web server too (as `cargo xtask web`)
    --check          fail if a bar is missed, or a figure with a bar could not be measured
    --json FILE      where to keep it (default: target/asyncos/bench.json); brought up to date after every machine
    --markdown FILE  write the table as a page too
    --world NAME     only this world (default: vm, table and shared); `linux` for Linux alone
    --rounds N       rounds of wall time (default 3; 0 leaves them out); without --linux there are none
    --firmware NAME  what runs in M-mode (default opensbi, the emulator's); not with --linux. asyncos is our own, which plays
                     the hardware of docs/nuintc.md: what it executes for that is counted
    --qemu ...       another emulator, for all that is measured
    GROUPS           only these: boot unsafe web, and the groups of /bin/bench: null pipe process thread futex
                     memory file disk socket task ring uring priority echo, harts (which has a machine of four harts), counted
                     (of two harts, with a plugin of the emulator that counts instructions)
Without --check the exit status is 0 whatever the figures are. Ctrl-C ends the run with what is known by then.
";

/// Debian's current riscv64 kernel finds no serial line on older emulators.
const OLDEST_FOR_LINUX: (u32, u32) = (8, 2);
/// The groups that have a machine of their own, with this many harts: one without counting instructions, one with the plugin.
const HARTS: (&str, usize) = ("harts", 4);
const COUNTED: (&str, usize) = ("counted", 2);
/// Groups that are measured from the host alone.
const HOST_GROUPS: [&str; 2] = ["unsafe", "web"];

/// What was asked for.
pub struct Options {
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    linux: bool,
    web: bool,
    check: bool,
    worlds: Vec<String>,
    rounds: usize,
    own_firmware: bool,
    qemu: Option<String>,
    groups: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let worlds = ["vm", "table", "shared"].map(str::to_owned).to_vec();
        let (json, markdown, qemu) = (None, None, None);
        let (linux, web, check, own_firmware) = (false, false, false, false);
        Self { json, markdown, linux, web, check, worlds, rounds: 3, own_firmware, qemu, groups: Vec::new() }
    }
}

impl Options {
    /// Whether rows of this group are wanted.
    pub fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|name| name == group)
    }

    /// Whether `/bin/bench` has something to do.
    pub fn wants_guest(&self) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|name| !HOST_GROUPS.contains(&name.as_str()))
    }

    fn parse(mut arguments: lexopt::Parser) -> Result<Option<Self>> {
        use lexopt::prelude::*;
        let mut options = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("json") => options.json = Some(arguments.value()?.into()),
                Long("markdown") => options.markdown = Some(arguments.value()?.into()),
                Long("linux") => options.linux = true,
                Long("web") => options.web = true,
                Long("check") => options.check = true,
                Long("world") => match arguments.value()?.string()?.as_str() {
                    "linux" => (options.linux, options.worlds) = (true, Vec::new()),
                    name => options.worlds = vec![run::world(name)?],
                },
                Long("rounds") => options.rounds = arguments.value()?.parse()?,
                Long("firmware") => options.own_firmware = run::own_firmware(&arguments.value()?.string()?)?,
                Long("qemu") => options.qemu = Some(arguments.value()?.string()?),
                Value(group) => options.groups.push(group.string()?),
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.linux && options.own_firmware {
            bail!("--linux is measured with the emulator's firmware alone");
        }
        options.web |= options.groups.iter().any(|group| group == "web");
        Ok(Some(options))
    }
}

/// The verb `bench`.
pub fn main(arguments: lexopt::Parser) -> Result<u8> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{HELP}");
        return Ok(0);
    };
    let toolchain = setup::ensure()?;
    let project = Project::load()?;
    let built = build::build(&project, &toolchain, Profile::Guest)?;
    let emulator = emulator(&project, &options)?;
    let plugin = options.wants(COUNTED.0).then(|| build::build_plugin(&project, &toolchain, &emulator)).transpose()?;
    let file = options.json.clone().map_or_else(|| project.output().map(|folder| folder.join("bench.json")), Ok)?;
    // That it cannot be written should not turn out after minutes.
    std::fs::write(partial(&file), "").with_context(|| format!("cannot write beside {}", file.display()))?;
    let stop = stop_on_signals()?;
    let firmware = options.own_firmware.then(|| build::build_firmware(&project, &toolchain)).transpose()?;
    let instruments = Instruments { emulator: &emulator, plugin, firmware: firmware.map(|built| built.image) };
    let table = measure(&project, &built, instruments, &options, &file, &stop)?;
    print!("{}", table.text());
    say(format!("kept in {} after {} s", file.display(), table.about.seconds));
    if let Some(page) = &options.markdown {
        std::fs::write(page, table.markdown()).with_context(|| format!("cannot write {}", page.display()))?;
        say(format!("the page is {}", page.display()));
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(130);
    }
    if table.rows.iter().all(|row| row.value.is_err()) {
        bail!("nothing could be measured");
    }
    Ok(u8::from(options.check && table.rows.iter().any(rows::Row::fails_check)))
}

/// The first signal ends the run in order, the next one at once. The emulator in the foreground gets it too.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn emulator(project: &Project, options: &Options) -> Result<Emulator> {
    let emulator = Emulator::find(project, options.qemu.as_deref())?;
    if options.linux && emulator.number() < OLDEST_FOR_LINUX {
        say(format!("Linux does not come up on {}; measuring both on the newer one", emulator.version));
        return Emulator::find(project, Some("backports"));
    }
    Ok(emulator)
}

/// What all machines have, beside kernel and programs.
struct Instruments<'a> {
    emulator: &'a Emulator,
    plugin: Option<PathBuf>,
    firmware: Option<PathBuf>,
}

fn measure(
    project: &Project,
    built: &Built,
    Instruments { emulator, plugin, firmware }: Instruments<'_>,
    options: &Options,
    file: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<Table> {
    let started = Instant::now();
    let mut findings = Findings::default();
    if options.wants("unsafe") {
        unsafe_rows(project, &mut findings)?;
    }
    let linux = linux(project, built, options, &mut findings);
    let version = linux.as_ref().map(linux::Linux::version);
    // A time needs two systems.
    let rounds = if linux.is_some() && !options.worlds.is_empty() { options.rounds } else { 0 };
    let mut load = 0.0;
    let mut table = |findings: &Findings, complete: bool| {
        load = host_load().max(load);
        let about = About {
            emulator: emulator.version.clone(),
            machine: machine_options(emulator, options),
            linux: version.clone(),
            rounds,
            load,
            seconds: started.elapsed().as_secs(),
            complete,
        };
        Table { about, rows: rows::rows(options, findings) }
    };
    if options.wants_guest() {
        let disk = project.output()?.join(format!("bench-{}.img", std::process::id()));
        image::make(project, built, None, &disk)?;
        let mut bench =
            Bench { options, emulator, built, plugin, firmware, disk, linux, rounds, findings, stop: Arc::clone(stop) };
        let mut kept = Ok(());
        bench.measure(|findings| kept = keep(file, &table(findings, false)));
        let _ = std::fs::remove_file(&bench.disk);
        kept?;
        findings = bench.findings;
    }
    if options.web && !stop.load(Ordering::Relaxed) {
        web_rows(project, built, emulator, &mut findings);
    }
    let table = table(&findings, !stop.load(Ordering::Relaxed));
    keep(file, &table)?;
    Ok(table)
}

fn unsafe_rows(project: &Project, findings: &mut Findings) -> Result<()> {
    let (justified, uses) = tidy::justified_unsafe(project)?;
    findings.add("unsafe_uses", "host", 0, uses as f64, "uses");
    findings.add("unsafe_justified", "host", 0, 100.0 * justified as f64 / uses.max(1) as f64, "%");
    Ok(())
}

/// The yardstick; if it cannot be had, its column stays empty and says why.
fn linux(project: &Project, built: &Built, options: &Options, findings: &mut Findings) -> Option<linux::Linux> {
    if !options.linux || !options.wants_guest() {
        return None;
    }
    linux::prepare(project, built)
        .inspect_err(|error| {
            say(format!("Linux cannot be measured: {error:#}"));
            findings.trouble(findings::LINUX, None, &format!("{error:#}"));
        })
        .ok()
}

/// Processes that ran or wanted to, averaged over the last minute; 0 where the host does not say.
fn host_load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn machine_options(emulator: &Emulator, options: &Options) -> String {
    let interrupts = if emulator.has_aia() { Interrupts::Aia } else { Interrupts::Plic };
    format!(
        "-M {}{} -cpu rv64 -smp 1 -m 1G, virtio disk, network card and entropy; icount: {}",
        interrupts.machine_option(),
        if options.own_firmware { ", our own firmware," } else { "" },
        crate::emulator::ICOUNT.join(" ")
    )
}

fn web_rows(project: &Project, built: &Built, emulator: &Emulator, findings: &mut Findings) {
    match web::check(project, built, emulator, &web::Options::default()) {
        Ok(served) => {
            findings.add("web_requests", "auto", 0, served.requests as f64, "requests");
            findings.add("web_errors", "auto", 0, served.errors as f64, "errors");
            findings.add("web_memory_kept", "auto", 0, served.memory_kept() as f64, "KiB");
        }
        Err(error) => {
            say(format!("the check of the web server fails: {error:#}"));
            findings.trouble("auto", Some("web"), &format!("{error:#}"));
        }
    }
}

fn partial(file: &Path) -> PathBuf {
    file.with_extension("partial")
}

/// Writes the file whole or not at all, so that whoever is interrupted finds the last good one.
fn keep(file: &Path, table: &Table) -> Result<()> {
    let partial = partial(file);
    let written =
        std::fs::write(&partial, format!("{:#}\n", table.json())).and_then(|()| std::fs::rename(&partial, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(lexopt::Parser::from_args(words)).unwrap().unwrap()
    }

    #[test]
    fn groups_choose_what_is_measured() {
        let all = parse(&[]);
        assert!(all.wants("boot") && all.wants_guest() && !all.web);
        let host = parse(&["--", "unsafe", "web"]);
        assert!(host.wants("unsafe") && host.web && !host.wants("pipe") && !host.wants_guest());
        assert!(parse(&["--world", "vm", "--rounds", "0", "--", "pipe"]).wants_guest());
        assert!(Options::parse(lexopt::Parser::from_args(["--world", "mars"])).is_err());
    }
}
