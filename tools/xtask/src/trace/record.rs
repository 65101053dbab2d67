//! The text of `/proc/asyncos/trace`, as far as it tells who is woken and polled.

use anyhow::{Context, Result, bail};

/// Something that happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was made.
    Spawn,
    /// It was idle and has been made ready; the record comes before it is queued.
    Wake,
    /// A worker has taken it from a queue and begins to poll it.
    Begin,
    /// The poll is over, and whether the task has ended with it.
    End { finished: bool },
    /// The hart went to it from this task, which stays in its poll; or back.
    Switch { from: u64 },
    /// It has done something that only a task in its poll does.
    Acts,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds.
    pub time: u64,
    pub hart: usize,
    pub task: u64,
    pub event: Event,
    /// In the file, from 1.
    pub line: usize,
}

/// What of a trace can be checked: from when on each hart's records are complete until the first hart has no more.
#[derive(Debug)]
pub struct Window {
    /// In order of time.
    pub records: Vec<Record>,
    /// How many harts have records.
    pub harts: usize,
    /// Records of the kinds above that lie outside.
    pub outside: usize,
}

/// Reads a trace.
///
/// # Errors
/// It is none, or was taken while it was recorded: then a hart's last records may be missing.
pub fn read(text: &str) -> Result<Window> {
    let head = text.lines().next().unwrap_or_default();
    if !head.starts_with("# recording 0") {
        bail!("a trace is expected that was taken with recording switched off, not `{head}`");
    }
    // Of each hart: where its records begin and end, other kinds included.
    let mut spans: Vec<Option<(u64, u64)>> = Vec::new();
    let mut records = Vec::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        if let Some(gap) = line.strip_prefix("# hart ") {
            let hart: usize = gap.split(' ').next().unwrap_or_default().parse().context("which hart lost records")?;
            spans.resize((hart + 1).max(spans.len()), None);
            // What it has from here on is complete.
            spans[hart] = None;
            continue;
        }
        let line = Line::parse(line).with_context(|| format!("line {}: {line}", at + 1))?;
        spans.resize((line.hart + 1).max(spans.len()), None);
        if spans[line.hart].is_some_and(|(_, last)| line.time < last) {
            bail!("line {}: the time goes back on hart {}", at + 1, line.hart);
        }
        let first = spans[line.hart].map_or(line.time, |(first, _)| first);
        spans[line.hart] = Some((first, line.time));
        records.extend(line.record(at + 1)?);
    }
    let spans: Vec<(u64, u64)> = spans.into_iter().flatten().collect();
    let start = spans.iter().map(|(first, _)| *first).max().unwrap_or(0);
    let end = spans.iter().map(|(_, last)| *last).min().unwrap_or(0);
    let all = records.len();
    records.retain(|record| (start..=end).contains(&record.time));
    Ok(Window { outside: all - records.len(), harts: spans.len(), records })
}

struct Line<'a> {
    time: u64,
    hart: usize,
    event: &'a str,
    pairs: &'a str,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut words = text.splitn(4, ' ');
        let mut word = || words.next().context("a line is `SECONDS HART EVENT NAME=VALUE...`");
        let (seconds, nanos) = word()?.split_once('.').context("no time")?;
        let time = seconds.parse::<u64>()? * 1_000_000_000 + nanos.parse::<u64>()?;
        Ok(Self { time, hart: word()?.parse()?, event: word()?, pairs: word()? })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Result<u64> {
        self.get(name).with_context(|| format!("no {name}"))?.parse().with_context(|| name.to_owned())
    }

    fn record(&self, line: usize) -> Result<Option<Record>> {
        let (task, event) = match self.event {
            "spawn" => (self.number("task")?, Event::Spawn),
            "wake" => (self.number("task")?, Event::Wake),
            "poll-begin" => (self.number("task")?, Event::Begin),
            "poll-end" => (self.number("task")?, Event::End { finished: self.number("finished")? != 0 }),
            "switch" => (self.number("to")?, Event::Switch { from: self.number("from")? }),
            "trap" if self.get("mode") == Some("user") => (self.number("task")?, Event::Acts),
            "submit" if self.number("task")? != 0 => (self.number("task")?, Event::Acts),
            _ => return Ok(None),
        };
        Ok(Some(Record { time: self.time, hart: self.hart, task, event, line }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_complete_is_kept() {
        let text = "# recording 0, lost 3\n1.000000001 0 wake task=4 by=2\n1.000000002 1 interrupt from=timer\n\
                    1.000000003 0 poll-begin task=4\n# hart 0 lost 2\n1.000000005 0 trap task=4 mode=user exception=8\n\
                    1.000000006 1 switch from=4 to=9\n1.000000007 1 trap task=0 mode=kernel interrupt=5\n\
                    1.000000009 0 poll-end task=4 finished=1\n";
        let window = read(text).unwrap();
        let kept: Vec<_> = window.records.iter().map(|record| (record.task, record.event)).collect();
        assert_eq!(kept, [(4, Event::Acts), (9, Event::Switch { from: 4 })]);
        assert_eq!((window.harts, window.outside), (2, 3));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for bad in [
            "",
            "# recording 1, lost 0\n",
            "# recording 0, lost 0\n1.0 0 wake\n",
            "# recording 0, lost 0\nx 0 wake task=1\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
