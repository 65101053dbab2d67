//! The lines of `/proc` as values. What a line lacks, or what is no number, makes it none.

use alloc::string::{String, ToString};
use core::str::SplitWhitespace;

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// R, S, D, T or Z.
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// CPU time in nanoseconds, of which the kernel tells hundredths of a second.
    pub time: u64,
    /// Bytes in memory.
    pub resident: u64,
}

/// A line of `/proc/PID/threads`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// R, S, D or T.
    pub state: char,
    /// The priority that it runs at, 0 the most urgent.
    pub priority: u8,
    /// The priority that it has.
    pub own: u8,
    /// CPU time in nanoseconds.
    pub time: u64,
    /// How often it had the CPU.
    pub turns: u64,
    /// The call and what that is about; empty if it does not wait.
    pub waits: String,
}

/// A line of `/proc/PID/coroutines` or `/proc/asyncos/coroutines`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coroutine {
    /// Its number, unique in its process.
    pub id: u64,
    /// R it runs, Q it is ready, S it waits, Z it has ended, F it has failed.
    pub state: char,
    /// The priority that it runs at, 0 the most urgent.
    pub priority: u8,
    /// The priority that it has.
    pub own: u8,
    /// Polls since somebody has been watching.
    pub polls: u64,
    /// Their time in nanoseconds.
    pub time: u64,
    /// The longest in nanoseconds.
    pub longest: u64,
    /// What it waits for; empty if it does not, or if that is not known.
    pub waits: String,
    /// Its name; empty if it has none.
    pub name: String,
}

/// The next word as a number.
fn number<T: core::str::FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

/// The next word, which is one character.
fn letter(words: &mut SplitWhitespace<'_>) -> Option<char> {
    words.next()?.chars().next()
}

/// What is left, `-` for nothing.
fn rest(words: SplitWhitespace<'_>) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    if text == "-" { String::new() } else { text }
}

/// Nanoseconds of a hundredth of a second.
const TICK: u64 = 10_000_000;
/// Bytes of a page.
const PAGE: u64 = 4096;

impl Stat {
    /// From the text of the file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The name, in parentheses, may itself contain parentheses and blanks: the last one counts.
        let (head, tail) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_string();
        // Fields are numbered from 1 in the manual: state is 3, ppid 4, utime 14, stime 15, rss 24.
        let mut words = tail.split_whitespace();
        let (state, parent) = (letter(&mut words)?, number(&mut words)?);
        let mut words = words.skip(9).map(|word| word.parse::<u64>().ok());
        let mut next = || words.next().flatten();
        let time = next()?.saturating_add(next()?).saturating_mul(TICK);
        let resident = words.nth(8).flatten()?.saturating_mul(PAGE);
        Some(Self { name, state, parent, time, resident })
    }
}

impl Thread {
    /// From a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (id, state) = (number(&mut words)?, letter(&mut words)?);
        let (priority, own) = (number(&mut words)?, number(&mut words)?);
        let _hart: u32 = number(&mut words)?;
        let mut sum = || Some(number::<u64>(&mut words)?.saturating_add(number(&mut words)?));
        let (time, turns) = (sum()?, sum()?);
        let _place: u32 = number(&mut words)?;
        Some(Self { id, state, priority, own, time, turns, waits: rest(words) })
    }
}

impl Coroutine {
    /// From a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (id, state) = (number(&mut words)?, letter(&mut words)?);
        let (priority, own) = (number(&mut words)?, number(&mut words)?);
        let _policy: u32 = number(&mut words)?;
        let (polls, time, longest) = (number(&mut words)?, number(&mut words)?, number(&mut words)?);
        let waits = words.next().filter(|word| *word != "-").unwrap_or_default().to_string();
        Some(Self { id, state, priority, own, polls, time, longest, waits, name: rest(words) })
    }
}

/// The command line of a process, from its file; its name in brackets if there is none.
#[must_use]
pub fn command(cmdline: &str, name: &str) -> String {
    let text = cmdline.trim_end_matches('\0').replace(|c: char| c.is_control(), " ");
    if text.trim().is_empty() { alloc::format!("[{name}]") } else { text }
}
