//! Rows as lines of a screen. Columns that are numbers have a width of their own and shorten what does not fit; what is last takes
//! what is left of the line.
//!
//! ```text
//!    PID      ID S PR  %CPU     TIME  POLLS LONGEST WAITS FOR        COMMAND
//!      7         S 16  12.5  0:01.20   1.2M         futex 3fff0010   /bin/httpd /srv
//!              9 R 16  12.5  0:01.20   312                             thread
//!            ~17 S 16   0.4  0:00.03    97k  12.0us read               accept
//! ```

use crate::rows::{Order, Row, Subject};
use crate::sample::Sample;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What the rows are of.
#[must_use]
pub fn summary(sample: &Sample, before: &Sample, order: Order) -> [String; 3] {
    let (hours, minutes, seconds) = (sample.uptime / 3600, sample.uptime / 60 % 60, sample.uptime % 60);
    let (mut threads, mut coroutines, mut more) = (0, 0, "");
    for process in &sample.processes {
        threads += process.threads.len();
        coroutines += process.coroutines.len();
        if process.cut {
            more = "+";
        }
    }
    let processes = sample.processes.iter().filter(|process| process.id != 0).count();
    let spent = [
        sample.user.saturating_sub(before.user),
        sample.system.saturating_sub(before.system),
        sample.idle.saturating_sub(before.idle),
    ];
    let all = spent.iter().sum::<u64>().max(1);
    let [user, system, idle] = spent.map(|part| tenths(part.saturating_mul(1000) / all));
    let mib = |bytes: u64| bytes >> 20;
    [
        format!(
            "top: up {hours}:{minutes:02}:{seconds:02}, {} harts; {processes} processes, {threads} threads, \
             {coroutines}{more} coroutines",
            sample.harts
        ),
        format!("cpu: {user}% user, {system}% system, {idle}% idle; by {}", order.name()),
        format!("memory: {} MiB, {} MiB free", mib(sample.memory), mib(sample.free)),
    ]
}

/// The names of the columns.
pub const HEADING: &str = "   PID      ID S PR  %CPU     TIME  POLLS LONGEST WAITS FOR          COMMAND";
/// Bytes of the column of what is waited for.
const WAITS: usize = 18;

/// Thousandths as a percentage.
fn tenths(thousandths: u64) -> String {
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

/// Minutes, seconds and hundredths; hours and minutes from a hundred minutes on.
fn clock(ns: u64) -> String {
    let hundredths = ns / 10_000_000;
    let (minutes, seconds) = (hundredths / 6000, hundredths / 100 % 60);
    if minutes < 100 {
        return format!("{minutes}:{seconds:02}.{:02}", hundredths % 100);
    }
    let hours = minutes / 60;
    if hours < 10_000 { format!("{hours}h{:02}m", minutes % 60) } else { format!("{}d", hours / 24) }
}

/// A number in at most six characters.
fn count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..100_000_000 => format!("{}k", number / 1000),
        100_000_000..100_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", (number / 1_000_000_000).min(99_999)),
    }
}

/// A time in at most seven characters.
fn length(ns: u64) -> String {
    let parts = |unit: u64, name: &str| format!("{}.{}{name}", ns / unit, ns % unit / (unit / 10));
    match ns {
        0..1000 => format!("{ns}ns"),
        1000..1_000_000 => parts(1000, "us"),
        1_000_000..1_000_000_000 => parts(1_000_000, "ms"),
        1_000_000_000..1_000_000_000_000 => parts(1_000_000_000, "s"),
        _ => format!("{}s", (ns / 1_000_000_000).min(999_999)),
    }
}

/// A row as a line.
#[must_use]
pub fn line(row: &Row) -> String {
    let (process, id) = match row.subject {
        Subject::Process => (row.process.to_string(), String::new()),
        Subject::Thread(id) => (String::new(), id.to_string()),
        Subject::Coroutine(id) => (String::new(), format!("~{id}")),
    };
    let name = match row.subject {
        Subject::Process => row.name.clone(),
        Subject::Thread(_) => String::from("  thread"),
        Subject::Coroutine(_) if row.name.is_empty() => String::from("  coroutine"),
        Subject::Coroutine(_) => format!("  {}", row.name),
    };
    let priority = row.priority.map_or_else(String::new, |priority| priority.to_string());
    let raised = if row.raised { '^' } else { ' ' };
    let polls = row.polls.map_or_else(String::new, count);
    let longest = row.longest.map_or_else(String::new, length);
    let waits: String = row.waits.chars().take(WAITS).collect();
    let text = format!(
        "{process:>6} {id:>7} {} {priority:>2}{raised}{:>5} {:>8} {polls:>6} {longest:>7} {waits:WAITS$} {name}",
        row.state,
        tenths(row.share.min(9999)),
        clock(row.time),
    );
    text.trim_end().to_string()
}

/// The whole screen, at most so many lines of so many characters each.
#[must_use]
pub fn screen(head: &[String], rows: &[Row], lines: usize, columns: usize) -> Vec<String> {
    let head = head.iter().cloned().chain([String::from(HEADING)]);
    let all = head.chain(rows.iter().map(line));
    all.take(lines).map(|line| cut(&line, columns)).collect()
}

/// A line, no longer than so many characters, and nothing in it that a terminal would act upon.
fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns).map(|c| if c.is_control() { '?' } else { c }).collect()
}
