//! What the machines said: samples, and what went wrong.
//!
//! `/bin/bench` prints a line `G GROUP` when it begins with a group, `B ID VALUE UNIT` for a figure, and
//! `bench: GROUP: ERROR` when a group could not go on. Turn 0 counts instructions, the later ones take wall time.

use std::time::Duration;

/// How a figure is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Instructions of one hart under `-icount`.
    Icount,
    /// Wall time, as a ratio of two systems that took turns.
    Wall,
    /// Counted; no clock is involved.
    Count,
    /// Wall time of one system alone.
    Time,
    /// What all harts do, counted by a plugin of the emulator.
    Plugin,
}

impl Method {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Method::Icount => "icount",
            Method::Wall => "wall",
            Method::Count => "count",
            Method::Time => "time",
            Method::Plugin => "plugin",
        }
    }
}

/// The name under which Linux's samples are kept, beside those of the worlds.
pub const LINUX: &str = "linux";

/// The units of what a plugin has counted: instructions, times that a user program was left, and those of them that were calls.
pub const ALL_HARTS: &str = "insn, all harts";
pub const ENTRIES: &str = "entries, all harts";
pub const CALLS: &str = "calls, all harts";
/// How often something is done in a second of the machine's clock.
pub const RATE: &str = "1/s";

/// One figure of one turn of one system.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Stable name.
    pub id: String,
    /// World, `auto`, `host` or [`LINUX`].
    pub system: String,
    /// Turn it belongs to.
    pub turn: usize,
    /// The figure.
    pub value: f64,
    /// `insn`, `ns`, or what is counted.
    pub unit: String,
}

impl Sample {
    /// Parses a line `B ID VALUE UNIT`. Time under icount is a fiction, and so is the instruction counter without it;
    /// what is counted needs one turn only, and times on several harts are taken in each.
    fn parse(line: &str, system: &str, turn: usize) -> Option<Self> {
        let mut words = line.strip_prefix("B ")?.split_whitespace();
        let (id, value, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let wanted = match unit {
            "ns" => turn > 0,
            "us" | RATE => true,
            _ => turn == 0,
        };
        wanted.then(|| Self { id: id.into(), system: system.into(), turn, value, unit: unit.into() })
    }

    /// How it was measured.
    pub fn method(&self) -> Method {
        match self.unit.as_str() {
            "insn" => Method::Icount,
            "ns" => Method::Wall,
            "us" | RATE => Method::Time,
            ALL_HARTS | ENTRIES | CALLS => Method::Plugin,
            _ => Method::Count,
        }
    }
}

/// Why figures are missing.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The system that had it.
    pub system: String,
    /// The group that could not go on; none if it was the whole system.
    pub group: Option<String>,
    /// What happened.
    pub what: String,
}

/// Everything that was found so far.
#[derive(Default)]
pub struct Findings {
    /// Figures.
    pub samples: Vec<Sample>,
    /// Failures.
    pub troubles: Vec<Trouble>,
}

impl Findings {
    /// Keeps a figure that the host measured itself.
    pub fn add(&mut self, id: &str, system: &str, turn: usize, value: f64, unit: &str) {
        self.samples.push(Sample { id: id.into(), system: system.into(), turn, value, unit: unit.into() });
    }

    /// Samples with this name of this system that were measured so.
    pub fn of<'a>(&'a self, id: &'a str, system: &'a str, method: Method) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |s| s.id == id && s.system == system && s.method() == method)
    }

    /// Notes a failure; of a report of many lines, the first.
    pub fn trouble(&mut self, system: &str, group: Option<&str>, what: &str) {
        let what = what.lines().next().unwrap_or_default();
        let known = |t: &Trouble| t.system == system && t.group.as_deref() == group && t.what == what;
        if !self.troubles.iter().any(known) {
            self.troubles.push(Trouble { system: system.into(), group: group.map(Into::into), what: what.into() });
        }
    }

    /// What kept a system from measuring a group.
    pub fn why(&self, system: &str, group: &str) -> Option<&str> {
        let fits = |t: &&Trouble| t.system == system && t.group.as_deref().is_none_or(|name| name == group);
        self.troubles.iter().find(fits).map(|trouble| trouble.what.as_str())
    }

    /// Whether `instret` counts instructions. Older emulators count virtual nanoseconds in it, those of idle time too:
    /// good for a loop that never waits, whose figures `/bin/bench` corrects, but not for a boot.
    pub fn counts_truly(&self) -> bool {
        self.samples.iter().any(|sample| sample.id == CALIBRATION && sample.value.round() == 1.0)
    }
}

/// The id under which `/bin/bench` says how its counter counts.
pub const CALIBRATION: &str = "calibration";

/// A stretch that `/bin/bench` has marked, in a line `M ID OPERATIONS`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Stable name of the row.
    pub id: String,
    /// Operations in it.
    pub operations: f64,
}

impl Mark {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("M ")?.split_whitespace();
        Some(Self { id: words.next()?.into(), operations: words.next()?.parse().ok()? })
    }

    /// An operation of all harts, from the line that the plugin has written about it: instructions, the firmware's among them, times that a user program was left, and those by a
    /// call.
    pub fn figures(&self, counts: &str) -> Option<[f64; 4]> {
        let counts: Vec<f64> = counts.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let sum = |of: fn(&[f64]) -> f64| counts.chunks_exact(5).map(of).sum::<f64>() / self.operations;
        Some([sum(|hart| hart[..3].iter().sum()), sum(|hart| hart[2]), sum(|hart| hart[3]), sum(|hart| hart[4])])
    }
}

/// The output of `/bin/bench`, as it comes.
pub struct Transcript<'a> {
    /// What was marked so far.
    pub marks: Vec<Mark>,
    system: &'a str,
    turn: usize,
    line: Vec<u8>,
    findings: &'a mut Findings,
    group: &'a mut dyn FnMut(&str),
}

impl<'a> Transcript<'a> {
    /// Samples go to `findings`; `group` hears which group begins.
    pub fn new(system: &'a str, turn: usize, findings: &'a mut Findings, group: &'a mut dyn FnMut(&str)) -> Self {
        Self { marks: Vec::new(), system, turn, line: Vec::new(), findings, group }
    }

    /// Takes bytes of the output.
    pub fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                    self.line(line.trim());
                }
                byte => self.line.push(*byte),
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(group) = line.strip_prefix("G ") {
            (self.group)(group);
        } else if let Some((group, error)) = line.strip_prefix("bench: ").and_then(|rest| rest.split_once(": ")) {
            self.findings.trouble(self.system, Some(group), error);
        } else if let Some(mark) = Mark::parse(line) {
            self.marks.push(mark);
        } else if let Some(sample) = Sample::parse(line, self.system, self.turn) {
            self.findings.samples.push(sample);
        }
    }
}

/// Minutes and seconds.
pub fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_samples_of_the_turn_they_belong_to() {
        let parse = |line, turn| Sample::parse(line, "vm", turn);
        assert_eq!(parse("B null_getppid 210.5 insn", 0).unwrap().value, 210.5);
        assert_eq!(parse("B null_getppid 210 insn", 1), None);
        assert_eq!(parse("B null_getppid 210 ns", 0), None);
        assert_eq!(parse("B null_getppid 210 ns", 1).unwrap().method(), Method::Wall);
        assert_eq!(parse("B thread_memory 7 B", 0).unwrap().method(), Method::Count);
        for turn in 0..2 {
            assert_eq!(parse("B priority_harts_p99 7 us", turn).unwrap().method(), Method::Time);
            assert_eq!(parse("B echo_ring_32_rate 7 1/s", turn).unwrap().method(), Method::Time);
        }
        assert_eq!(parse("null_getppid 210", 0), None);
        assert_eq!(parse("B null_getppid lots insn", 0), None);
    }

    #[test]
    fn a_transcript_keeps_what_was_said_before_a_failure_and_why_the_rest_is_missing() {
        let (mut findings, mut groups) = (Findings::default(), Vec::new());
        let mut group = |name: &str| groups.push(name.to_owned());
        let mut transcript = Transcript::new("table", 0, &mut findings, &mut group);
        transcript.take(b"G pipe\r\nB pipe_pp 7000 in");
        transcript.take(b"sn\r\nG file\nbench: file: no space left\n");
        assert_eq!(groups, ["pipe", "file"]);
        assert_eq!(findings.of("pipe_pp", "table", Method::Icount).next().unwrap().value, 7000.0);
        assert_eq!(findings.why("table", "file"), Some("no space left"));
        assert_eq!(findings.why("table", "pipe"), None);
        assert_eq!(findings.why("vm", "file"), None);
        findings.trouble("vm", None, "it hangs");
        assert_eq!(findings.why("vm", "file"), Some("it hangs"));
    }

    #[test]
    fn a_mark_is_what_the_plugin_has_counted_by_its_operations() {
        let (mut findings, mut group) = (Findings::default(), |_: &str| ());
        let mut transcript = Transcript::new("vm", 0, &mut findings, &mut group);
        transcript.take(b"M futex_two_harts 100\nM lots of\nB x 1 insn\n");
        let [mark] = transcript.marks.as_slice() else { panic!("{:?}", transcript.marks) };
        assert_eq!(
            (mark.id.as_str(), mark.figures("1000 200 0 7 3 300 400 100 3 2")),
            ("futex_two_harts", Some([20.0, 1.0, 0.1, 0.05]))
        );
        assert_eq!(mark.figures("1 2 lots"), None);
    }

    #[test]
    fn a_counter_that_advances_by_two_does_not_count_truly() {
        let mut findings = Findings::default();
        assert!(!findings.counts_truly());
        findings.add(CALIBRATION, "vm", 0, 2.001, "steps");
        assert!(!findings.counts_truly());
        findings.add(CALIBRATION, "vm", 0, 1.001, "steps");
        assert!(findings.counts_truly());
    }
}
