//! The verb `bench`: figures, each with its method, as a table and as JSON.
//!
//! The guest's program `/bin/bench` prints `B id value unit` lines. It is a static program of the Linux ABI,
//! so the very same file is run on Linux for the column beside. Instructions are counted on one hart under
//! `-icount`, which repeats exactly; wall time is quoted only as a ratio of two systems that took turns on
//! the same emulator with the same flags.

mod linux;
mod rows;

use crate::build::{self, Built, Profile};
use crate::command::say;
use crate::console::{Ending, Session, Wire};
use crate::emulator::{Emulator, Interrupts, Machine};
use crate::image;
use crate::project::Project;
use crate::run;
use crate::setup;
use crate::test::HANG_LIMIT;
use abi::mux::Channel;
use anyhow::{Context, Result, bail};
use rows::{Row, Table};
use std::path::PathBuf;
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench [--json FILE] [--linux] [--world NAME] [--rounds N] [--qemu PATH|backports] [-- GROUPS...]

Measures, prints the table, and keeps it as JSON.
    --json FILE     where to keep it (default: target/asyncos/bench.json)
    --linux         boot Debian's riscv64 kernel too, taking turns, and fill the Linux column
    --world NAME    only this world (default: vm, table and shared); `linux` for Linux alone
    --rounds N      turns of the wall-clock rows (default 3; 0 leaves them out)
    GROUPS          groups of rows, passed on to /bin/bench
";

/// Debian's current riscv64 kernel finds no serial line on older emulators.
const OLDEST_FOR_LINUX: (u32, u32) = (8, 2);

struct Options {
    json: Option<PathBuf>,
    linux: bool,
    worlds: Vec<String>,
    rounds: usize,
    qemu: Option<String>,
    groups: Vec<std::ffi::OsString>,
}

/// The verb `bench`.
pub fn main(arguments: lexopt::Parser) -> Result<u8> {
    let Some(options) = parse(arguments)? else {
        print!("{HELP}");
        return Ok(0);
    };
    let toolchain = setup::ensure()?;
    let project = Project::load()?;
    let built = build::build(&project, &toolchain, Profile::Guest)?;
    let disk = project.output()?.join(format!("bench-{}.img", std::process::id()));
    image::make(&project, &built, None, &disk)?;
    let mut emulator = Emulator::find(&project, options.qemu.as_deref())?;
    if options.linux && emulator.number() < OLDEST_FOR_LINUX {
        say(format!("Linux does not come up on {}; measuring both on the newer one", emulator.version));
        emulator = Emulator::find(&project, Some("backports"))?;
    }
    let linux = if options.linux { Some(linux::prepare(&project, &built)?) } else { None };
    let bench = Bench { options, emulator, built, disk, linux };
    let rows = bench.measure();
    let _ = std::fs::remove_file(&bench.disk);
    let rows = rows::medians(rows?);
    let table = Table::new(&rows);
    table.print();
    let file =
        bench.options.json.clone().map_or_else(|| project.output().map(|folder| folder.join("bench.json")), Ok)?;
    std::fs::write(&file, format!("{:#}\n", table.json(&bench.emulator.version)))
        .with_context(|| format!("cannot write {}", file.display()))?;
    say(format!("kept in {}", file.display()));
    Ok(0)
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Options>> {
    use lexopt::prelude::*;
    let worlds = ["vm", "table", "shared"].map(str::to_owned).to_vec();
    let mut options = Options { json: None, linux: false, worlds, rounds: 3, qemu: None, groups: Vec::new() };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("json") => options.json = Some(arguments.value()?.into()),
            Long("linux") => options.linux = true,
            Long("world") => match arguments.value()?.string()?.as_str() {
                "linux" => (options.linux, options.worlds) = (true, Vec::new()),
                name => options.worlds = vec![run::world(name)?],
            },
            Long("rounds") => options.rounds = arguments.value()?.parse()?,
            Long("qemu") => options.qemu = Some(arguments.value()?.string()?),
            Value(group) => options.groups.push(group),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

struct Bench {
    options: Options,
    emulator: Emulator,
    built: Built,
    disk: PathBuf,
    linux: Option<linux::Linux>,
}

impl Bench {
    fn measure(&self) -> Result<Vec<Row>> {
        let mut rows = self.turn(true)?;
        for round in 1..=self.options.rounds {
            say(format!("wall clock, round {round} of {}", self.options.rounds));
            rows.extend(self.turn(false)?);
        }
        Ok(rows)
    }

    /// Everything once: AsyncOS in each world, then Linux; turns alternate, so that both see the same host.
    fn turn(&self, icount: bool) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        if !self.options.worlds.is_empty() {
            rows.extend(self.boot(icount)?);
        }
        for world in &self.options.worlds {
            rows.extend(self.guest(world, icount)?);
        }
        if let Some(linux) = &self.linux {
            say(format!("Linux{}", if icount { ", icount" } else { "" }));
            rows.extend(linux.measure(&self.emulator, &self.options.groups, icount)?);
        }
        rows::correct_boot(&mut rows);
        Ok(rows)
    }

    fn machine(&self, command_line: String, icount: bool) -> Machine {
        let interrupts = if self.emulator.has_aia() { Interrupts::Aia } else { Interrupts::Plic };
        Machine { command_line, icount, disk: Some(self.disk.clone()), ..Machine::new(&self.built.kernel, interrupts) }
    }

    /// `/bin/bench` as the machine's only program.
    fn guest(&self, world: &str, icount: bool) -> Result<Vec<Row>> {
        say(format!("AsyncOS, world {world}{}", if icount { ", icount" } else { "" }));
        let program: Vec<_> = ["bench".into()].into_iter().chain(self.options.groups.iter().cloned()).collect();
        let words = run::program_words(&program).join(" ");
        let machine = self.machine(format!("console=mux tty=raw world={world} {words}"), icount);
        let mut session = Session::start(machine.start(&self.emulator), Wire::Mux)?;
        let (mut output, mut log) = (String::new(), String::new());
        let ending = session.drain(Some(HANG_LIMIT), |channel, bytes| {
            let text = if channel == Channel::Stdout { &mut output } else { &mut log };
            text.push_str(&String::from_utf8_lossy(bytes));
        });
        if ending != Ending::Exited(0) {
            eprintln!("{}{log}", session.firmware_output());
            bail!("/bin/bench in world {world}: {ending:?}");
        }
        Ok(output.lines().filter_map(|line| Row::parse(line, world, !icount)).collect())
    }

    /// Boot to the prompt: instructions as the kernel counts them, or wall time until it says so.
    fn boot(&self, icount: bool) -> Result<Vec<Row>> {
        let machine = self.machine("console=mux tty=raw world=auto".into(), icount);
        let started = Instant::now();
        let mut session = Session::start(machine.start(&self.emulator), Wire::Mux)?;
        let mut text = String::new();
        loop {
            let count = text
                .lines()
                .find_map(|line| line.split_once("boot: ")?.1.strip_suffix(" instructions")?.parse::<f64>().ok());
            if let Some(count) = count {
                let row = |value, unit: &str, method| Row {
                    id: "boot".into(),
                    world: "auto".into(),
                    value,
                    unit: unit.into(),
                    method,
                };
                let wall = started.elapsed().as_nanos() as f64;
                return Ok(vec![if icount { row(count, "insn", "icount") } else { row(wall, "ns", "wall") }]);
            }
            match session.next(Some(HANG_LIMIT)) {
                Ok((_, bytes)) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(ending) => bail!("no prompt: {ending:?}\n{}{text}", session.firmware_output()),
            }
        }
    }
}
