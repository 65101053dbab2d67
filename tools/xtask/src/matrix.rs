//! `tests/matrix.toml`: the machines that the guest suite is run on, and the choice among them.

use crate::emulator::{Emulator, Interrupts, Machine};
use crate::project::Project;
use crate::run;
use anyhow::{Context, Result, bail};
use std::path::Path;
use toml::{Table, Value};

const AXES: [&str; 5] = ["world", "harts", "memory", "machine", "qemu"];

/// One machine of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// How processes are isolated.
    pub world: String,
    /// How many harts it has.
    pub harts: usize,
    memory: String,
    machine: String,
    qemu: String,
    cpu: Option<String>,
    /// Runs our own firmware.
    pub own_firmware: bool,
    /// The one backend of user interrupts beside `soft`, if not any.
    pub uintr: Option<String>,
    /// Only cases whose names contain one of these; empty: all.
    pub cases: Vec<String>,
    /// Without the suite's slow cases.
    pub short: bool,
    /// Options of the suite beside that.
    pub options: Vec<String>,
}

impl std::fmt::Display for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { world, harts, memory, machine, qemu, cpu, own_firmware, uintr, cases, short, options } = self;
        write!(f, "{world}, {harts} harts, {memory}, {machine}, {qemu} qemu")?;
        cpu.as_ref().map_or(Ok(()), |cpu| write!(f, ", {cpu}"))?;
        f.write_str(if *own_firmware { ", own firmware" } else { "" })?;
        uintr.as_ref().map_or(Ok(()), |backend| write!(f, ", uintr={backend}"))?;
        f.write_str(if *short { ", short suite" } else { "" })?;
        if !cases.is_empty() {
            write!(f, ", cases {}", cases.join(" "))?;
        }
        if options.is_empty() { Ok(()) } else { write!(f, ", {}", options.join(" ")) }
    }
}

impl Configuration {
    fn from_table(table: &Table) -> Result<Self> {
        let text = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
        let required = |key: &str| text(key).with_context(|| format!("tests/matrix.toml: `{key}` is missing"));
        let harts = table.get("harts").and_then(Value::as_integer).unwrap_or(1);
        let words = |key: &str| -> Vec<String> {
            let words = table.get(key).and_then(Value::as_array).into_iter().flatten();
            words.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self {
            world: run::world(&required("world")?)?,
            harts: usize::try_from(harts)?,
            memory: run::memory(&required("memory")?)?,
            machine: required("machine")?,
            qemu: required("qemu")?,
            cpu: text("cpu"),
            own_firmware: text("firmware").map_or(Ok(false), |name| run::own_firmware(&name))?,
            uintr: text("uintr"),
            cases: words("cases"),
            short: table.get("short").and_then(Value::as_bool).unwrap_or(false),
            options: words("options"),
        })
    }

    /// The machine, or the reason why this host cannot have it.
    pub fn machine(&self, project: &Project, kernel: &Path) -> Result<Result<(Machine, Emulator), String>> {
        let wanted = (self.qemu != "stock").then_some(self.qemu.as_str());
        let emulator = match Emulator::find(project, wanted) {
            Ok(emulator) => emulator,
            Err(error) => return Ok(Err(format!("no such emulator here: {error:#}"))),
        };
        let interrupts = run::interrupts(&self.machine)?;
        if interrupts == Interrupts::Aia && !emulator.has_aia() {
            return Ok(Err(format!("{} has no AIA", emulator.version)));
        }
        let needed = self.memory.trim_end_matches('M').parse().unwrap_or(0);
        if host_mebibytes().is_some_and(|has| has < needed) {
            return Ok(Err(format!("this host has less than {needed} MiB of memory")));
        }
        let mut machine = Machine::new(kernel, interrupts);
        machine.harts = self.harts;
        machine.memory.clone_from(&self.memory);
        machine.cpu.clone_from(&self.cpu);
        Ok(Ok((machine, emulator)))
    }
}

fn host_mebibytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? >> 10)
}

/// How much of the matrix to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breadth {
    /// One machine, the short suite.
    Quick,
    /// Every pair of the default values, and a few machines with the short suite.
    Pairwise,
    /// Every combination, always the whole suite; and some cases in a size that takes an hour.
    Full,
}

/// One of several parts of the machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Counted from 0.
    number: usize,
    of: usize,
}

impl std::str::FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number: number - 1, of }),
            _ => bail!("--share takes K/N with K from 1 to N, not {text}"),
        }
    }
}

impl Share {
    /// The part of a list. Neighbours in the list are alike, so it is walked in wide steps before it is dealt out: around a circle of odd length, as what alternates in the list
    /// would else be dealt out by halves.
    pub fn of<T: Clone>(self, all: Vec<T>) -> Vec<T> {
        const WIDE: usize = 17;
        let circle = (all.len()..).find(|len| len % 2 == 1 && !len.is_multiple_of(WIDE)).unwrap_or(all.len());
        let mixed = (0..circle).map(|place| place * WIDE % circle).filter_map(|place| all.get(place));
        mixed.skip(self.number).step_by(self.of).cloned().collect()
    }
}

/// The parsed file.
pub struct Matrix {
    table: Table,
}

impl Matrix {
    /// Reads `tests/matrix.toml`.
    pub fn load(project: &Project) -> Result<Self> {
        let path = project.root.join("tests/matrix.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { table: text.parse().context("tests/matrix.toml")? })
    }

    /// The machines to boot, and the number of combinations of the axes that do not get the whole suite.
    pub fn choose(&self, breadth: Breadth) -> Result<(Vec<Configuration>, usize)> {
        let all = self.combinations("axes")?;
        let chosen: Vec<Table> = match breadth {
            Breadth::Quick => vec![self.section("quick")?.clone()],
            Breadth::Pairwise => pairwise(&self.combinations("default")?),
            Breadth::Full => all.clone(),
        };
        let rows = |name: &str| self.table.get(name).and_then(Value::as_array).into_iter().flatten();
        let large = rows("large").filter(|_| breadth == Breadth::Full).filter_map(Value::as_table);
        let also = rows("also").filter(|_| breadth != Breadth::Quick).filter_map(Value::as_table);
        let mut configurations: Vec<Configuration> =
            large.chain(&chosen).chain(also).map(Configuration::from_table).collect::<Result<_>>()?;
        for configuration in &mut configurations {
            configuration.short = breadth == Breadth::Quick || configuration.short && breadth != Breadth::Full;
        }
        let whole = if breadth == Breadth::Quick { 0 } else { chosen.len() };
        Ok((configurations, all.len() - whole))
    }

    /// Every requirement number.
    pub fn requirements(&self) -> Result<Vec<String>> {
        let families = self.section("requirements")?;
        let numbers = |(family, count): (&String, &Value)| {
            let family = family.clone();
            (1..=count.as_integer().unwrap_or(0)).map(move |number| format!("{family}{number}"))
        };
        Ok(families.iter().flat_map(numbers).collect())
    }

    fn section(&self, name: &str) -> Result<&Table> {
        self.table.get(name).and_then(Value::as_table).with_context(|| format!("tests/matrix.toml: no [{name}]"))
    }

    /// Every combination of the values in this section.
    fn combinations(&self, section: &str) -> Result<Vec<Table>> {
        let axes = self.section(section)?;
        let mut all = vec![Table::new()];
        for axis in AXES {
            let values = axes
                .get(axis)
                .and_then(Value::as_array)
                .with_context(|| format!("tests/matrix.toml: no axis `{axis}` in [{section}]"))?;
            let extend = |table: &Table, value: &Value| {
                let mut table = table.clone();
                table.insert(axis.to_owned(), value.clone());
                table
            };
            all = all.iter().flat_map(|table| values.iter().map(move |value| extend(table, value))).collect();
        }
        Ok(all)
    }
}

/// A small subset in which every pair of values of two axes occurs: repeatedly the combination that adds
/// most pairs, the first of equals.
fn pairwise(all: &[Table]) -> Vec<Table> {
    let mut open: Vec<String> = all.iter().flat_map(pairs).collect();
    open.sort();
    open.dedup();
    let mut chosen = Vec::new();
    while !open.is_empty() {
        let gain = |table: &&Table| pairs(table).iter().filter(|pair| open.binary_search(pair).is_ok()).count();
        let Some(best) = all.iter().rev().max_by_key(gain) else { break };
        let covered = pairs(best);
        open.retain(|pair| !covered.contains(pair));
        chosen.push(best.clone());
    }
    chosen
}

fn pairs(table: &Table) -> Vec<String> {
    let entries: Vec<String> = table.iter().map(|(axis, value)| format!("{axis}={value:?}")).collect();
    let after = |index: usize| entries[index + 1..].iter().map(move |_| index);
    let firsts = (0..entries.len()).flat_map(after);
    let seconds = (0..entries.len()).flat_map(|index| index + 1..entries.len());
    firsts.zip(seconds).map(|(first, second)| format!("{} {}", entries[first], entries[second])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Matrix {
        let text = include_str!("../../../tests/matrix.toml");
        Matrix { table: text.parse().unwrap() }
    }

    #[test]
    fn every_pair_occurs_and_few_machines_suffice() {
        assert_eq!(matrix().combinations("axes").unwrap().len(), 3 * 4 * 3 * 2 * 2);
        let all = matrix().combinations("default").unwrap();
        let chosen = pairwise(&all);
        let covered: Vec<String> = chosen.iter().flat_map(pairs).collect();
        assert!(all.iter().flat_map(pairs).all(|pair| covered.contains(&pair)));
        assert!(chosen.len() <= 7, "{}", chosen.len());
    }

    #[test]
    fn every_value_occurs_by_default() {
        let (booted, _) = matrix().choose(Breadth::Pairwise).unwrap();
        let names: Vec<String> = booted.iter().map(ToString::to_string).collect();
        for all in matrix().choose(Breadth::Full).unwrap().0 {
            for part in all.to_string().split(", ").take(5) {
                assert!(names.iter().any(|name| name.split(", ").any(|word| word == part)), "{part}");
            }
        }
    }

    #[test]
    fn shares_are_mixed_and_add_up() {
        let (all, _) = matrix().choose(Breadth::Full).unwrap();
        let mut names: Vec<String> = Vec::new();
        for number in 1..=12 {
            let share = format!("{number}/12").parse::<Share>().unwrap().of(all.clone());
            assert!((12..=13).contains(&share.len()));
            for value in ["vm", "table", "shared", "aia", "plic", "stock qemu", "backports qemu", "64M", "8192M"] {
                let has = |machine: &Configuration| machine.to_string().split(", ").any(|word| word == value);
                assert!(share.iter().any(has), "{value} in share {number}");
            }
            names.extend(share.iter().map(ToString::to_string));
        }
        let mut expected: Vec<String> = all.iter().map(ToString::to_string).collect();
        names.sort();
        expected.sort();
        assert_eq!(names, expected);
        for bad in ["0/3", "4/3", "1", "a/b", "1/0", ""] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn breadths() {
        let (quick, left_out) = matrix().choose(Breadth::Quick).unwrap();
        assert_eq!((quick.len(), quick[0].short, left_out), (1, true, 144));
        let (full, left_out) = matrix().choose(Breadth::Full).unwrap();
        assert_eq!(left_out, 0);
        assert!(full.iter().all(|configuration| !configuration.short));
        let large = |all: &[Configuration]| all.iter().filter(|machine| !machine.options.is_empty()).count();
        assert_eq!((large(&full), large(&quick), large(&matrix().choose(Breadth::Pairwise).unwrap().0)), (2, 0, 0));
        assert!(matrix().requirements().unwrap().contains(&"P3".to_owned()));
    }
}
