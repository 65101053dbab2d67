//! What happened between two samples, as rows: each process, below it its threads and its coroutines.
//!
//! What was not there at the first sample has begun since: all that it has used counts.

use crate::lines::{Coroutine, Thread};
use crate::sample::{Process, Sample};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A process, or the kernel.
    Process,
    /// A thread of the process.
    Thread(u32),
    /// A coroutine of the process.
    Coroutine(u64),
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The process.
    pub process: u32,
    /// What of it.
    pub subject: Subject,
    /// See `lines`.
    pub state: char,
    /// The priority that it runs at; of a process the most urgent of its threads'.
    pub priority: Option<u8>,
    /// Whether that is another than its own.
    pub raised: bool,
    /// Thousandths of a hart's time.
    pub share: u64,
    /// CPU time in nanoseconds.
    pub time: u64,
    /// Polls of a coroutine, turns of a thread, since it is counted.
    pub polls: Option<u64>,
    /// The longest poll in nanoseconds.
    pub longest: Option<u64>,
    /// What it waits for.
    pub waits: String,
    /// Command or name.
    pub name: String,
}

/// By what rows are ordered, of processes and of what is below each. Equals are by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The most CPU time between the samples first.
    #[default]
    Share,
    /// The most CPU time in all.
    Time,
    /// The most polls.
    Polls,
    /// The longest poll.
    Longest,
    /// The most urgent first.
    Priority,
    /// By number.
    Number,
}

impl Order {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("cpu", Self::Share),
        ("time", Self::Time),
        ("polls", Self::Polls),
        ("longest", Self::Longest),
        ("priority", Self::Priority),
        ("pid", Self::Number),
    ];

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, order)| *order)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, order)| *order == self).map_or("", |(name, _)| name)
    }

    /// Rows with a smaller key come first.
    fn key(self, row: &Row) -> u64 {
        match self {
            Self::Share => u64::MAX - row.share,
            Self::Time => u64::MAX - row.time,
            Self::Polls => u64::MAX - row.polls.unwrap_or(0),
            Self::Longest => u64::MAX - row.longest.unwrap_or(0),
            Self::Priority => row.priority.map_or(u64::MAX, u64::from),
            Self::Number => 0,
        }
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The order.
    pub order: Order,
    /// Threads of processes that have several.
    pub threads: bool,
    /// Coroutines.
    pub coroutines: bool,
    /// Only this process.
    pub only: Option<u32>,
}

/// The rows of a time of so many nanoseconds.
#[must_use]
pub fn rows(before: &Sample, now: &Sample, elapsed: u64, view: &View) -> Vec<Row> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for process in &now.processes {
        if view.only.is_some_and(|only| only != process.id) {
            continue;
        }
        let older = before.processes.iter().find(|older| older.id == process.id);
        groups.push(group(older, process, elapsed, view));
    }
    // Stable, so equals stay by number.
    groups.sort_by_key(|group| group.first().map_or(0, |row| view.order.key(row)));
    groups.into_iter().flatten().collect()
}

/// Thousandths of `elapsed`.
fn share(before: Option<u64>, now: u64, elapsed: u64) -> u64 {
    now.saturating_sub(before.unwrap_or(0)).saturating_mul(1000) / elapsed.max(1)
}

/// A process and what is below it.
fn group(before: Option<&Process>, now: &Process, elapsed: u64, view: &View) -> Vec<Row> {
    let mut below = Vec::new();
    let threads: BTreeMap<u32, u64> = before
        .map_or_else(BTreeMap::new, |older| older.threads.iter().map(|thread| (thread.id, thread.time)).collect());
    let older: BTreeMap<u64, u64> = before.map_or_else(BTreeMap::new, |older| {
        older.coroutines.iter().map(|coroutine| (coroutine.id, coroutine.time)).collect()
    });
    // One thread says no more than its process does.
    if view.threads && now.threads.len() > 1 {
        below.extend(now.threads.iter().map(|thread| {
            let share = share(threads.get(&thread.id).copied(), thread.time, elapsed);
            of_thread(now.id, thread, share)
        }));
    }
    below.sort_by_key(|row| view.order.key(row));
    let mut coroutines: Vec<Row> = Vec::new();
    if view.coroutines {
        coroutines.extend(now.coroutines.iter().map(|coroutine| {
            let share = share(older.get(&coroutine.id).copied(), coroutine.time, elapsed);
            of_coroutine(now.id, coroutine, share)
        }));
    }
    coroutines.sort_by_key(|row| view.order.key(row));
    let mut rows = alloc::vec![of_process(before, now, elapsed)];
    rows.append(&mut below);
    rows.append(&mut coroutines);
    rows
}

fn of_process(before: Option<&Process>, now: &Process, elapsed: u64) -> Row {
    let turns = |process: &Process| -> u64 {
        let threads: u64 = process.threads.iter().map(|thread| thread.turns).sum();
        threads + process.coroutines.iter().map(|coroutine| coroutine.polls).sum::<u64>()
    };
    let waits = match now.threads.as_slice() {
        [only] => only.waits.clone(),
        _ => String::new(),
    };
    Row {
        process: now.id,
        subject: Subject::Process,
        state: now.state,
        priority: now.threads.iter().map(|thread| thread.priority).min(),
        raised: now.threads.iter().any(|thread| thread.priority < thread.own),
        share: share(before.map(|process| process.time), now.time, elapsed),
        time: now.time,
        polls: Some(turns(now)),
        longest: now.coroutines.iter().map(|coroutine| coroutine.longest).max(),
        waits,
        name: now.command.clone(),
    }
}

fn of_thread(process: u32, now: &Thread, share: u64) -> Row {
    Row {
        process,
        subject: Subject::Thread(now.id),
        state: now.state,
        priority: Some(now.priority),
        raised: now.priority < now.own,
        share,
        time: now.time,
        polls: Some(now.turns),
        longest: None,
        waits: now.waits.clone(),
        name: String::new(),
    }
}

fn of_coroutine(process: u32, now: &Coroutine, share: u64) -> Row {
    Row {
        process,
        subject: Subject::Coroutine(now.id),
        state: now.state,
        priority: Some(now.priority),
        raised: now.priority < now.own,
        share,
        time: now.time,
        polls: Some(now.polls),
        longest: Some(now.longest),
        waits: now.waits.clone(),
        name: now.name.clone(),
    }
}
