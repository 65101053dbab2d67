//! The rows of the table: what was found, against the bars and beside Linux.

use super::Options;
use super::bars::{ECHO, PENDING, WANTED};
use super::findings::{CALIBRATION, Findings, LINUX, Method, Sample};
use super::wanted::{Limit, OF_LINUX, Place, Wanted};

/// Why a figure is not there.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// This run was not asked for it.
    NotAsked(String),
    /// It should be there.
    Failed(String),
}

/// Two systems that took turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Medians over the rounds, in nanoseconds.
    pub ours: f64,
    pub linux: f64,
    /// Smallest and largest ratio of a single round.
    pub spread: (f64, f64),
    /// Rounds in which both were measured.
    pub rounds: usize,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Stable name; unique with the world.
    pub id: String,
    /// What is measured; empty where the name has to do.
    pub what: &'static str,
    /// World, `auto`, `host`, or `linux` when Linux is measured alone.
    pub world: String,
    /// The figure.
    pub value: Result<f64, Missing>,
    /// Its unit.
    pub unit: String,
    /// How it was measured.
    pub method: Method,
    /// Linux's figure in the same unit.
    pub linux: Option<f64>,
    /// What the ratio is of, for wall times.
    pub pair: Option<Pair>,
    /// The bar.
    pub limit: Option<Limit>,
}

impl Row {
    /// Whether the bar is met; `None` without a bar or a figure.
    pub fn holds(&self) -> Option<bool> {
        Some(self.limit?.holds(*self.value.as_ref().ok()?))
    }

    /// Whether `--check` complains: a bar that is missed, or a figure with a bar that should be there and is not.
    pub fn fails_check(&self) -> bool {
        self.limit.is_some() && (self.holds() == Some(false) || matches!(self.value, Err(Missing::Failed(_))))
    }
}

/// Builds the rows: those that must be there first, then whatever else was measured.
pub fn rows(options: &Options, findings: &Findings) -> Vec<Row> {
    let wanted = WANTED.iter().chain(ECHO).chain(PENDING).filter(|wanted| options.wants(wanted.group));
    let mut rows: Vec<Row> = wanted
        .flat_map(|wanted| places(options, wanted).map(|world| required(options, findings, wanted, world)))
        .collect();
    let displayed =
        |sample: &&Sample| sample.id != CALIBRATION && (sample.system != LINUX || options.worlds.is_empty());
    for sample in findings.samples.iter().filter(displayed) {
        let method = sample.method();
        let id = if method == Method::Wall { format!("{}_wall", sample.id) } else { sample.id.clone() };
        if !rows.iter().any(|row| row.id == id && row.world == sample.system) {
            rows.extend(measured(findings, &sample.id, &sample.system, method).map(|row| Row { id, ..row }));
        }
    }
    rows
}

fn places<'a>(options: &'a Options, wanted: &Wanted) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    match wanted.place {
        Place::EachWorld => Box::new(options.worlds.iter().map(String::as_str)),
        Place::Host => Box::new(std::iter::once("host")),
        Place::Vm => Box::new(options.worlds.iter().map(String::as_str).filter(|world| *world == "vm")),
        Place::Auto => Box::new((!options.worlds.is_empty()).then_some("auto").into_iter()),
    }
}

fn required(options: &Options, findings: &Findings, wanted: &Wanted, world: &str) -> Row {
    let sample = wanted.id.strip_suffix("_wall").unwrap_or(wanted.id);
    let boot = wanted.group == "boot" && wanted.method == Method::Icount;
    let found = match wanted.of {
        Some(figures) => quotient(findings, figures, world, wanted.method),
        None => measured(findings, sample, world, wanted.method),
    };
    let found = found.filter(|_| !boot || findings.counts_truly());
    let row = found.unwrap_or_else(|| Row {
        id: String::new(),
        what: "",
        world: world.into(),
        value: Err(why_missing(options, findings, wanted, world)),
        unit: wanted.unit.into(),
        method: wanted.method,
        linux: None,
        pair: None,
        limit: None,
    });
    Row { id: wanted.id.into(), what: wanted.what, limit: wanted.limit(world), ..row }
}

fn why_missing(options: &Options, findings: &Findings, wanted: &Wanted, world: &str) -> Missing {
    if wanted.group == "web" && !options.web {
        return Missing::NotAsked("needs --web".into());
    }
    if wanted.method == Method::Wall && (!options.linux || options.rounds == 0) {
        return Missing::NotAsked("needs --linux and a round".into());
    }
    if wanted.group == "boot" && findings.of(wanted.id, world, Method::Icount).next().is_some() {
        return Missing::NotAsked(
            "this emulator counts idle time as instructions; --qemu backports has a newer one".into(),
        );
    }
    if !options.linux && wanted.of.is_some_and(|figures| figures.iter().any(|id| id.starts_with(OF_LINUX))) {
        return Missing::NotAsked("needs --linux".into());
    }
    let of_linux = || findings.why(LINUX, wanted.group).filter(|_| wanted.method == Method::Wall);
    let why = findings.why(world, wanted.group).map(str::to_owned);
    let why = why.or_else(|| of_linux().map(|why| format!("Linux: {why}")));
    Missing::Failed(why.unwrap_or_else(|| "nothing was printed".into()))
}

/// A row from the samples; none if there are none, or if there is nothing to compare a time with.
fn measured(findings: &Findings, id: &str, world: &str, method: Method) -> Option<Row> {
    let samples = || findings.of(id, world, method);
    let unit = samples().next()?.unit.clone();
    let row = |value, unit, linux, pair| Row {
        id: id.into(),
        what: "",
        world: world.into(),
        value: Ok(value),
        unit,
        method,
        linux,
        pair,
        limit: None,
    };
    if method == Method::Wall && world == LINUX {
        return None;
    }
    if method == Method::Wall {
        let pair = pair(samples().collect(), findings.of(id, LINUX, method).collect())?;
        return Some(row(pair.ours / pair.linux, "ratio".into(), None, Some(pair)));
    }
    let value = median(samples().map(|sample| sample.value).collect())?;
    let linux = if world == LINUX { None } else { median(findings.of(id, LINUX, method).map(|s| s.value).collect()) };
    Some(row(value, unit, linux, None))
}

/// The ratio of two figures, either of which may be Linux's.
fn quotient(findings: &Findings, figures: [&str; 2], world: &str, method: Method) -> Option<Row> {
    let figure = |id: &str| match id.strip_prefix(OF_LINUX) {
        Some(id) => measured(findings, id, LINUX, method),
        None => measured(findings, id, world, method),
    };
    let [above, below] = figures.map(figure);
    let (above, below) = (above?, below?);
    let value = above.value.clone().ok()? / below.value.ok()?;
    let linux = above.linux.zip(below.linux).map(|(above, below)| above / below);
    Some(Row { value: Ok(value), unit: "ratio".into(), world: world.into(), linux, ..above })
}

fn pair(ours: Vec<&Sample>, linux: Vec<&Sample>) -> Option<Pair> {
    let rounds: Vec<(f64, f64)> = ours
        .iter()
        .filter_map(|our| Some((our.value, linux.iter().find(|their| their.turn == our.turn)?.value)))
        .collect();
    let ratios = || rounds.iter().map(|(our, their)| our / their);
    Some(Pair {
        ours: median(rounds.iter().map(|(our, _)| *our).collect())?,
        linux: median(rounds.iter().map(|(_, their)| *their).collect())?,
        spread: (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max)),
        rounds: rounds.len(),
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(linux: bool) -> Options {
        Options { linux, worlds: vec!["vm".into()], ..Options::default() }
    }

    fn find<'a>(rows: &'a [Row], id: &str) -> &'a Row {
        rows.iter().find(|row| row.id == id).unwrap()
    }

    #[test]
    fn what_must_be_there_is_there_even_when_nothing_was_measured() {
        let rows = rows(&options(false), &Findings::default());
        assert_eq!(rows.len(), WANTED.len() + ECHO.len() + PENDING.len());
        assert!(rows.iter().all(|row| row.value.is_err() && row.holds().is_none()));
        assert!(find(&rows, "pipe_pp").fails_check());
        // Nobody asked for these.
        assert!(!find(&rows, "read4k_wall").fails_check() && !find(&rows, "web_errors").fails_check());
    }

    #[test]
    fn bars_are_those_of_the_world() {
        let mut findings = Findings::default();
        findings.add("null_getppid", "vm", 0, 230.0, "insn");
        findings.add("null_getppid", LINUX, 0, 460.0, "insn");
        let rows = rows(&options(true), &findings);
        let row = find(&rows, "null_getppid");
        assert_eq!((row.holds(), row.linux, row.value.clone()), (Some(true), Some(460.0), Ok(230.0)));
    }

    #[test]
    fn wall_times_are_ratios_of_the_rounds_that_both_were_in() {
        let mut findings = Findings::default();
        for (turn, ours, linux) in [(1, 50.0, 100.0), (2, 90.0, 100.0), (3, 30.0, 120.0)] {
            findings.add("read4k", "vm", turn, ours, "ns");
            findings.add("read4k", LINUX, turn, linux, "ns");
        }
        findings.add("read4k", "vm", 4, 1000.0, "ns");
        let rows = rows(&options(true), &findings);
        let row = find(&rows, "read4k_wall");
        let pair = row.pair.clone().unwrap();
        assert_eq!((row.value.clone(), row.unit.as_str(), row.holds()), (Ok(0.5), "ratio", Some(true)));
        assert_eq!((pair.ours, pair.linux, pair.spread, pair.rounds), (50.0, 100.0, (0.25, 0.9), 3));
    }

    #[test]
    fn a_ratio_is_of_both_its_figures() {
        let mut findings = Findings::default();
        findings.add("connection_pp_tasks", "vm", 0, 300.0, "insn");
        let missing = rows(&options(true), &findings);
        assert!(find(&missing, "connection_pp_ratio").fails_check());
        findings.add("connection_pp_threads", "vm", 0, 400.0, "insn");
        findings.add("connection_pp_tasks", LINUX, 0, 900.0, "insn");
        findings.add("connection_pp_threads", LINUX, 0, 600.0, "insn");
        let rows = rows(&options(true), &findings);
        findings.add("pp_uintr_running", "vm", 0, 2.0, "us");
        let alone = super::rows(&options(false), &findings);
        assert!(!find(&alone, "pp_linux_signal_ratio").fails_check());
        findings.add("pp_signal", LINUX, 0, 50.0, "us");
        let beside = super::rows(&options(true), &findings);
        assert_eq!(find(&beside, "pp_linux_signal_ratio").value, Ok(25.0));
        let row = find(&rows, "connection_pp_ratio");
        assert_eq!((row.value.clone(), row.linux, row.holds()), (Ok(0.75), Some(1.5), Some(true)));
    }

    #[test]
    fn a_time_without_linux_is_no_row() {
        let mut findings = Findings::default();
        findings.add("null_getppid", "vm", 1, 900.0, "ns");
        let rows = rows(&options(true), &findings);
        assert!(rows.iter().all(|row| row.id != "null_getppid_wall"));
    }

    #[test]
    fn a_boot_is_known_only_where_the_counter_counts_truly() {
        let mut findings = Findings::default();
        findings.add("boot_prompt", "auto", 0, 90e6, "insn");
        let not_asked = |row: &Row| matches!(row.value, Err(Missing::NotAsked(_)));
        assert!(not_asked(find(&rows(&options(true), &findings), "boot_prompt")));
        findings.add(CALIBRATION, "auto", 0, 1.0, "steps");
        assert_eq!(find(&rows(&options(true), &findings), "boot_prompt").value, Ok(90e6));
    }

    #[test]
    fn a_failure_is_the_reason_of_its_rows() {
        let mut findings = Findings::default();
        findings.trouble("vm", Some("pipe"), "no such file");
        findings.trouble(LINUX, None, "it hangs");
        let rows = rows(&options(true), &findings);
        assert_eq!(find(&rows, "pipe_pp").value, Err(Missing::Failed("no such file".into())));
        assert_eq!(find(&rows, "read4k_wall").value, Err(Missing::Failed("Linux: it hangs".into())));
    }
}
