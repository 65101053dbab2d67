//! The kernel's trace, as `/proc/asyncos/trace` shows it.
//!
//! The rings are lossy and the machine's other coroutines are in them too: a chain that is not found is sought again in a
//! new recording, a bounded number of times.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{go_to, needs_asyncos, needs_harts, needs_root};
use crate::place::Place;
use crate::process::{await_blocked, checked_child, exits};
use alloc::string::String;
use alloc::vec::Vec;
use rt::abi::{nr, uintr};
use rt::fs::{self, File, OpenOptions};
use rt::io::{Read, Write};
use rt::pipe;
use rt::uintr::{Handlers, Sender, receive};

pub const CASES: &[Case] = &[
    case!("trace/waiting-call", "D16", waiting_call),
    case!("trace/device-request", "D16", device_request),
    case!("trace/user-interrupts", "D16 U5", user_interrupts),
    case!("trace/places", "D16 U4", places),
    case!("trace/order-and-loss", "D16", order_and_loss),
    case!("trace/switch", "D16 E1", switch),
];

/// The file.
pub const PATH: &str = "/proc/asyncos/trace";
/// Recordings made before a chain counts as missing.
const TRIES: usize = 10;
/// A length that no other read has.
const MESSAGE: usize = 3791;

/// A line: `TIME HART EVENT NAME=VALUE...`.
pub struct Line<'a> {
    /// Nanoseconds.
    time: u64,
    hart: u64,
    event: &'a str,
    pairs: &'a str,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let (seconds, nanos) = words.next()?.split_once('.')?;
        let time = seconds.parse::<u64>().ok()? * 1_000_000_000 + nanos.parse::<u64>().ok()?;
        let hart = words.next()?.parse().ok()?;
        Some(Self { time, hart, event: words.next()?, pairs: words.next()? })
    }

    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it is this event with these operands.
    pub fn is(&self, event: &str, operands: &[(&str, &str)]) -> bool {
        self.event == event && operands.iter().all(|(name, value)| self.get(name) == Some(value))
    }
}

fn set(on: bool) -> Outcome {
    let mut file = OpenOptions::new().write(true).open(PATH)?;
    Ok(file.write_all(if on { b"1\n" } else { b"0\n" })?)
}

/// The trace of what `body` does.
pub fn record(body: impl FnOnce() -> Outcome) -> Result<String, Trouble> {
    set(true)?;
    let outcome = body();
    set(false)?;
    outcome?;
    Ok(fs::read_to_string(PATH)?)
}

/// Records `body` until `chain` finds in the trace what it looks for.
pub fn find(body: impl Fn() -> Outcome, chain: impl Fn(&[Line<'_>]) -> Option<()>) -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let mut text = String::new();
    for _ in 0..TRIES {
        text = record(&body)?;
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        if chain(&lines).is_some() {
            return Ok(());
        }
    }
    Err(Trouble::failed(format_args!("no such chain in {text}")))
}

/// A child waits in a read, and its parent's write ends that.
fn pipe_wait() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let pid = checked_child(|| {
        let mut bytes = [0; MESSAGE];
        equal!(read.read(&mut bytes)?, MESSAGE);
        Ok(())
    })?;
    await_blocked(pid)?;
    write.write_all(&[7; MESSAGE])?;
    exits(pid, 0)
}

/// The reader's trap, request, wake, poll and completion name one coroutine and one request; who wakes it is the writer,
/// who made the reader and trapped for the write.
fn waiting_call() -> Outcome {
    let (call, message) = (alloc::format!("{}", nr::READ), alloc::format!("{MESSAGE}"));
    find(pipe_wait, |lines| {
        // The write may wait too, for the page of its message, and has the same result.
        let reads = lines.iter().filter(|line| line.is("submit", &[("call", &call)]));
        reads.filter_map(|submit| chain_of(lines, submit, &message)).next()
    })
}

fn chain_of(lines: &[Line<'_>], submit: &Line<'_>, result: &str) -> Option<()> {
    let (request, reader) = (submit.get("request")?, submit.get("task")?);
    let complete = lines.iter().find(|line| line.is("complete", &[("request", request), ("result", result)]))?;
    let spawn = lines.iter().find(|line| line.is("spawn", &[("task", reader)]))?;
    let writer = spawn.get("parent")?;
    let mut between = lines.iter().filter(|line| submit.time <= line.time && line.time <= complete.time);
    let wake = between.clone().rfind(|line| line.is("wake", &[("task", reader), ("by", writer)]))?;
    let poll = between.rfind(|line| line.is("poll-begin", &[("task", reader)]))?;
    // An `ecall` of user mode, or of the mode that world `vm` runs processes in.
    let called = |task: &str, before: &Line<'_>| {
        let mut earlier = lines.iter().filter(|line| line.time <= before.time);
        let trap = earlier.rfind(|line| line.is("trap", &[("task", task), ("mode", "user")]));
        trap.and_then(|trap| trap.get("exception")).is_some_and(|cause| ["8", "10"].contains(&cause))
    };
    let named = reader != writer && writer != "0" && wake.time <= poll.time;
    (named && called(reader, submit) && called(writer, wake)).then_some(())
}

/// A request to the disk: submitted by a coroutine, completed on the hart and after the interrupt that says so, by nobody.
fn device_request() -> Outcome {
    let place = Place::disk()?;
    let path = place.join("file");
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(&[1; 4096])?;
        Ok(file.sync_all()?)
    };
    find(write, |lines| {
        lines.iter().find_map(|submit| {
            let request = submit.is("submit", &[("device", "2")]).then(|| submit.get("request"))??;
            let at = lines.iter().position(|line| line.is("complete", &[("request", request)]))?;
            let complete = &lines[at];
            let before = |line: &&Line<'_>| line.hart == complete.hart && line.event == "interrupt";
            let interrupt = lines[..at].iter().rfind(before)?;
            let after = |line: &&Line<'_>| line.hart == complete.hart && line.is("wake", &[("by", "0")]);
            let wake = lines[at..].iter().find(after)?;
            let asked = submit.get("task") != Some("0") && submit.time <= complete.time;
            let said = interrupt.is("interrupt", &[("from", "line")]) && interrupt.time >= submit.time;
            (asked && said && wake.get("task") != Some("0")).then_some(())
        })
    })
}

/// A receiver that the kernel rings for had got a place, or is told to look; then the right of who sent ends.
fn user_interrupts() -> Outcome {
    let receives = || -> Outcome {
        let receiver = receive(Handlers::new())?;
        let sender = Sender::open(receiver.grant(1)?)?;
        sender.send_by_call(0)?;
        Ok(receiver.revoke(sender.right())?)
    };
    let in_a_thread =
        || rt::thread::spawn(receives)?.join().unwrap_or_else(|| Err(Trouble::failed("the thread ended")));
    find(in_a_thread, |lines| {
        let rung = lines.iter().position(|line| line.is("uintr", &[("rung", "1")]))?;
        let task = lines[rung].get("task")?;
        let placed = |line: &Line<'_>| line.is("uintr", &[("task", task)]) && line.get("placed").is_some();
        let told = |line: &Line<'_>| line.is("uintr", &[("task", task), ("told", "all")]);
        let revoked = |line: &Line<'_>| line.is("uintr", &[("task", task), ("revoked", "1")]);
        let is_reached = lines[..rung].iter().any(placed) || lines[rung..].iter().any(told);
        (is_reached && lines[rung..].iter().any(revoked)).then_some(())
    })
}

/// A receiver with a place by hardware loses it where it goes to another hart, has another there, and is told of what arrives at that while it waits; at its end it has none, and
/// the right has ended.
fn places() -> Outcome {
    needs_asyncos()?;
    let backend = || -> Result<usize, Trouble> { Ok(receive(Handlers::new())?.backend()) };
    let backend = rt::thread::spawn(backend)?.join().unwrap_or_else(|| Err(Trouble::failed("the thread ended")))?;
    if backend != uintr::AIA {
        return Err(Trouble::skipped("needs interrupts by hardware, in world vm"));
    }
    needs_harts(2)?;
    let receives = || -> Outcome {
        go_to(0)?;
        let receiver = receive(Handlers::new())?;
        let right = receiver.grant(1)?;
        go_to(1)?;
        let waiter = rt::process::id();
        let sends = checked_child(|| {
            let sender = Sender::open(right)?;
            await_blocked(waiter)?;
            Ok(sender.send(0)?)
        })?;
        receiver.wait(None)?;
        exits(sends, 0)
    };
    find(
        || exits(checked_child(receives)?, 0),
        |lines| {
            let told = lines.iter().position(|line| line.is("uintr", &[("told", "place")]))?;
            let task = lines[told].get("task")?;
            let own = |line: &&Line<'_>| line.is("uintr", &[("task", task)]);
            let at = |lines: &[Line<'_>], what: &str, hart: &str| {
                let is = |line: &Line<'_>| line.get(what).is_some_and(|place| place.starts_with(hart));
                lines.iter().position(|line| own(&line) && is(line))
            };
            let (before, behind) = lines.split_at(told);
            // One behind the other.
            let first = at(before, "placed", "0.")?;
            let left = first + at(&before[first..], "displaced", "0.")?;
            at(&before[left..], "placed", "1.")?;
            at(behind, "displaced", "1.")?;
            behind.iter().filter(own).any(|line| line.get("ended").is_some()).then_some(())
        },
    )
}

/// More happens than the rings hold: the newest is there, in order, and what is missing was counted.
fn order_and_loss() -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let lost = |text: &str| -> Result<u64, Trouble> {
        let head = text.lines().next().and_then(|line| line.strip_prefix("# recording 0, lost "));
        head.and_then(|lost| lost.parse().ok()).ok_or_else(|| Trouble::failed(format_args!("no head: {text}")))
    };
    let before = lost(&record(|| Ok(()))?)?;
    let text = record(|| {
        (0..20_000).for_each(|_| _ = rt::process::parent_id());
        Ok(())
    })?;
    let after = lost(&text)?;
    // Eight rings of some thousand records cannot hold as many traps.
    ensure!(after > before + 10_000, "{before} lost before 20000 calls, {after} after");
    let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
    ensure!(lines.is_sorted_by_key(|line| line.time), "not in order of time: {text}");
    equal!(text.lines().filter(|line| !line.starts_with('#')).count(), lines.len());
    // Nobody records any more.
    equal!(fs::read_to_string(PATH)?, text);
    Ok(())
}

/// Root alone opens it, and only the two words that there are switch it.
fn switch() -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let head = || -> Result<String, Trouble> {
        let mut bytes = [0; 13];
        File::open(PATH)?.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    // As a shell's `>` opens it.
    fs::write(PATH, "1")?;
    let on = head()?;
    for wrong in ["2", "10", "0\n0\n", "off"] {
        fails!(OpenOptions::new().write(true).open(PATH)?.write(wrong.as_bytes()), EINVAL);
    }
    let still = head()?;
    fs::write(PATH, "0\n")?;
    equal!([&*on, &*still, &*head()?], ["# recording 1", "# recording 1", "# recording 0"]);
    let pid = checked_child(|| {
        call!(SETUID, 65534)?;
        fails!(File::open(PATH), EACCES);
        fails!(OpenOptions::new().write(true).open(PATH), EACCES);
        Ok(())
    })?;
    exits(pid, 0)
}
