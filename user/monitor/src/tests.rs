//! Texts as `/proc` has them, and what becomes of them on a screen.

use crate::Files;
use crate::lines::{Coroutine, Stat, Thread, command};
use crate::rows::{Order, Row, Subject, View, rows};
use crate::sample::Sample;
use crate::screen;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A `/proc` of texts.
#[derive(Default)]
struct Texts(BTreeMap<String, String>);

impl Texts {
    fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(format!("/proc/{path}"), text.to_string());
        self
    }
}

impl Files for Texts {
    fn text(&self, path: &str, most: usize) -> Option<String> {
        let text = self.0.get(path)?;
        Some(text[..text.len().min(most)].to_string())
    }

    fn names(&self) -> Vec<String> {
        let names = self.0.keys().map(|path| path["/proc/".len()..].split('/').next().unwrap_or_default().to_string());
        let mut names: Vec<String> = names.collect();
        names.dedup();
        names
    }
}

fn stat(id: u32, name: &str, ticks: u64) -> String {
    format!(
        "{id} ({name}) S 1 {id} {id} 0 -1 0 5 0 0 0 {ticks} 2 0 0 20 0 1 0 7 40960 3 18446744073709551615{}\n",
        " 0".repeat(27)
    )
}

#[test]
fn stat_survives_any_name() {
    let found = Stat::parse(&stat(7, "a) R 9 (b", 10));
    let expected = Stat { name: "a) R 9 (b".to_string(), state: 'S', parent: 1, time: 120_000_000, resident: 3 * 4096 };
    assert_eq!(found, Some(expected));
    assert_eq!(Stat::parse("7 (a) S 1"), None);
    assert_eq!(Stat::parse(""), None);
}

#[test]
fn lines_of_threads_and_coroutines() {
    let thread = Thread::parse("9 S 3 16 1 100 20 4 5 0 read 3");
    let expected = Thread { id: 9, state: 'S', priority: 3, own: 16, time: 120, turns: 9, waits: "read 3".to_string() };
    assert_eq!(thread, Some(expected));
    assert_eq!(Thread::parse("9 R 3 16 1 100 20 4 5 0 -").map(|thread| thread.waits), Some(String::new()));
    let coroutine = Coroutine::parse("17 S 16 16 0 5 600 400 sleep the name");
    assert_eq!(
        coroutine.as_ref().map(|found| (found.id, found.polls, found.time, found.longest)),
        Some((17, 5, 600, 400))
    );
    assert_eq!(coroutine.map(|found| (found.waits, found.name)), Some(("sleep".to_string(), "the name".to_string())));
    let bare = Coroutine::parse("17 Q 16 16 0 5 600 400 - -").map(|found| (found.waits, found.name));
    assert_eq!(bare, Some((String::new(), String::new())));
    for broken in ["", "x", "17", "17 S", "17 S 16 16 0 5 600", "-1 S 16 16 0 5 600 400 - -", "17 S 300 16 0 5 6 4 - -"]
    {
        assert_eq!(Coroutine::parse(broken), None, "{broken}");
    }
}

#[test]
fn a_command_line_or_the_name() {
    assert_eq!(command("/bin/ls\0-l\0", "ls"), "/bin/ls -l");
    assert_eq!(command("", "ls"), "[ls]");
    assert_eq!(command("a\x1b[2Jb\0", "ls"), "a [2Jb");
}

fn machine(ticks: u64, polls: u64) -> Texts {
    Texts::default()
        .with("stat", &format!("cpu  {ticks} 0 10 {} 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\nctxt 5\n", 1000 - ticks))
        .with("meminfo", "MemTotal:  1048576 kB\nMemFree:   524288 kB\n")
        .with("uptime", "3723.45 0.00\n")
        .with("asyncos/coroutines", "1 S 0 0 0 0 0 0 timer clock\n")
        .with("1/stat", &stat(1, "init", 0))
        .with("1/threads", "1 S 16 16 0 1000 0 3 0 0 wait4 -1\n")
        .with("12/stat", &stat(12, "work", ticks))
        .with("12/cmdline", "/bin/work\0")
        .with("12/threads", "12 S 16 16 0 7 0 3 0 0 futex 40\n13 R 2 16 1 90 0 5 0 1 -\n")
        .with("12/coroutines", &format!("5 S 16 16 0 {polls} {} 40 channel -\n6 R 16 16 0 0 0 0 - -\n", polls * 1000))
}

const ALL: View = View { order: Order::Share, threads: true, coroutines: true, only: None };

fn subjects(rows: &[Row]) -> Vec<(u32, Subject)> {
    rows.iter().map(|row| (row.process, row.subject)).collect()
}

#[test]
fn what_happened_between_two_times() {
    let (before, now) = (Sample::take(&machine(0, 0)), Sample::take(&machine(50, 100)));
    assert_eq!((now.harts, now.uptime, now.memory, now.free), (2, 3723, 1 << 30, 1 << 29));
    let found = rows(&before, &now, 1_000_000_000, &ALL);
    let expected = [
        (12, Subject::Process),
        (12, Subject::Thread(12)),
        (12, Subject::Thread(13)),
        (12, Subject::Coroutine(5)),
        (12, Subject::Coroutine(6)),
        (0, Subject::Process),
        (0, Subject::Coroutine(1)),
        (1, Subject::Process),
    ];
    assert_eq!(subjects(&found), expected);
    assert_eq!((found[0].share, found[0].priority, found[0].raised), (500, Some(2), true));
    assert_eq!((found[0].polls, found[0].longest), (Some(108), Some(40)));
    // What is alone stands for its process.
    assert_eq!(found[7].waits, "wait4 -1");
    let only = View { order: Order::Number, threads: false, only: Some(12), ..ALL };
    let found = subjects(&rows(&before, &now, 1, &only));
    assert_eq!(found, [(12, Subject::Process), (12, Subject::Coroutine(5)), (12, Subject::Coroutine(6))]);
}

#[test]
fn orders() {
    let sample = Sample::take(&machine(50, 100));
    for (order, first) in [
        (Order::Share, 12),
        (Order::Time, 12),
        (Order::Polls, 12),
        (Order::Longest, 12),
        (Order::Priority, 12),
        (Order::Number, 0),
    ] {
        let view = View { order, threads: false, coroutines: false, only: None };
        let found = rows(&Sample::default(), &sample, 1, &view);
        assert_eq!(found.first().map(|row| row.process), Some(first), "{}", order.name());
        assert_eq!(Order::named(order.name()), Some(order));
    }
    assert_eq!(Order::named("size"), None);
}

#[test]
fn a_screen_has_its_size_and_no_control_characters() {
    let (before, mut now) = (Sample::take(&machine(0, 0)), Sample::take(&machine(50, 100)));
    now.processes[2].command =
        "bell\x07 \x1b[2J and a name that is much longer than what is left of a line".to_string();
    let head = screen::summary(&now, &before, Order::Share);
    assert_eq!(head[0], "top: up 1:02:03, 2 harts; 2 processes, 3 threads, 3 coroutines");
    assert_eq!(head[2], "memory: 1024 MiB, 512 MiB free");
    let rows = rows(&before, &now, 1_000_000_000, &ALL);
    let lines = screen::screen(&head, &rows, 7, 80);
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().all(|line| line.chars().count() <= 80 && !line.contains(|c: char| c.is_control())));
    assert!(lines[4].contains("bell? ?[2J"), "{}", lines[4]);
    assert_eq!(screen::screen(&head, &rows, 100, 80).len(), 4 + 8);
}

/// The columns of a row are below their names, whatever the numbers.
#[test]
fn columns_keep_their_places() {
    let row = |number: u64| Row {
        process: 7,
        subject: Subject::Coroutine(number.min(999_999)),
        state: 'S',
        priority: Some(16),
        raised: false,
        share: number.min(99_999),
        time: number,
        polls: Some(number),
        longest: Some(number),
        waits: "w".repeat(40),
        name: "n".to_string(),
    };
    let place = screen::HEADING.find("COMMAND");
    for number in [0, 999, 1000, 99_999, 123_456_789, 600_000_000_000, 6_000_000_000_000, 360_000_000_000_000, u64::MAX]
    {
        let line = screen::line(&row(number));
        assert_eq!(line.rfind(" n").map(|at| at - 1), place, "{line}");
    }
}
