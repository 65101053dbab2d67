//! The coroutines of a process, from its own memory: the lines of `/proc/PID/coroutines`.
//!
//! How they lie there is in `sched::census`; where the lists begin, the process says in its hint page. None of it is believed:
//! each head, each place and each name is copied once and checked, what cannot be read ends its list, and there are no more steps than
//! the memory of the process has room for, so that a list without an end does end. The process goes on meanwhile: a line may
//! be of a task that is just being made or is gone.
//!
//! A line: number, state (R it runs, Q it is ready, S it waits, Z it has ended, F it has failed), the priority that it runs at
//! and its own, the number of its policy, how many polls it had while somebody watched, nanoseconds of all and of
//! the longest, what it waits for, `-` if it does not or if that is not known, and its name, `-` for none.

use crate::{process::Process, slots::Slots};
use alloc::{
    string::String,
    sync::{Arc, Weak},
};
use core::fmt::Write;
use exec::Polls;
use mem::AddressSpace;
use sched::{
    Measured, Wait,
    census::{HEAD, HEADER, LISTS, NAME, NAME_LEN, Seen, SeenChunk},
    word::Doing,
};

/// Steps at a time: as many copies, and at most as many lines.
const STEPS: usize = 64;

/// Where it is in a chunk.
struct At {
    address: u64,
    chunk: SeenChunk,
    place: u16,
}

/// The coroutines of a process, one after the other.
pub struct Coroutines {
    process: Weak<Process>,
    /// The list that it is in.
    list: usize,
    at: Option<At>,
    /// The last task of this list that it has told of. If it loses its way, because a chunk goes as it comes there, it begins the list
    /// again and tells of those `below`, which are older: new chunks come first.
    last: u64,
    below: u64,
    /// How many steps it may make yet.
    left: usize,
}

impl Coroutines {
    /// From the first on. From now on what they do is measured, for a while.
    #[must_use]
    pub fn of(process: &Arc<Process>) -> Self {
        if let Some(slots) = process.slots() {
            slots.watch();
        }
        let left = process.space().usage().resident / HEADER + LISTS;
        let process = Arc::downgrade(process);
        Self { process, list: 0, at: None, last: u64::MAX, below: u64::MAX, left }
    }

    /// Appends some; `false` when there are no more.
    pub fn more(&mut self, text: &mut String) -> bool {
        let Some(process) = self.process.upgrade() else { return false };
        let Some(slots) = process.slots() else { return false };
        let space = process.space();
        (0..STEPS).all(|_| self.step(&slots, &space, text))
    }

    /// Looks at one place or one head.
    fn step(&mut self, slots: &Slots, space: &AddressSpace, text: &mut String) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        match &mut self.at {
            Some(at) if at.place < at.chunk.places => {
                let offset = HEAD as u64 + at.chunk.stride * u64::from(at.place);
                let mut bytes = [0; HEADER];
                at.place += 1;
                let read = read(space, at.address.wrapping_add(offset), &mut bytes);
                if read.is_none() {
                    self.next_list();
                } else if let Some(seen) =
                    Seen::of(&bytes).filter(|seen| seen.id < self.below || self.below == u64::MAX)
                {
                    let place = at.address.wrapping_add(offset);
                    // Of what has ended the output lies there.
                    let has_name = seen.named && seen.doing != Doing::Ended;
                    let name = if has_name { name(space, place) } else { String::new() };
                    line(text, &seen, polls(seen.measured), &name);
                    self.last = seen.id;
                }
            }
            Some(at) => {
                let next = at.chunk.next;
                self.at = enter(space, next);
                match self.at {
                    Some(_) => {}
                    None if next != 0 && self.last < self.below => self.below = self.last,
                    None => self.next_list(),
                }
            }
            None if self.list < LISTS => {
                self.at = slots.list(space, self.list).and_then(|first| enter(space, first));
                if self.at.is_none() {
                    self.next_list();
                }
            }
            None => return false,
        }
        true
    }

    fn next_list(&mut self) {
        (self.list, self.at, self.last, self.below) = (self.list + 1, None, u64::MAX, u64::MAX);
    }
}

/// Copies from where the process says something is.
pub(crate) fn read(space: &AddressSpace, address: u64, bytes: &mut [u8]) -> Option<()> {
    space.copy_in_now(usize::try_from(address).ok()?, bytes).ok()
}

/// The name of the task in a place, as it says: one line, in which nothing acts upon a terminal.
fn name(space: &AddressSpace, place: u64) -> String {
    let mut bytes = [0; NAME_LEN];
    let _ = read(space, place.wrapping_add(NAME as u64), &mut bytes);
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_LEN);
    let shown = |c: char| if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    String::from(String::from_utf8_lossy(&bytes[..len]).trim()).chars().map(shown).collect()
}

/// The chunk at an address, if there is one.
fn enter(space: &AddressSpace, address: u64) -> Option<At> {
    let mut head = [0; HEAD];
    read(space, address, &mut head)?;
    Some(At { address, chunk: SeenChunk::of(&head)?, place: 0 })
}

/// The kernel's own coroutines, in the same way, with their names; all their polls count.
#[must_use]
pub fn kernel() -> String {
    let mut text = String::new();
    for service in exec::services() {
        line(&mut text, &service.seen(), service.polls(), service.name());
    }
    text
}

/// The polls of a coroutine of a process: its runtime counts in ticks of the time register.
fn polls(measured: Measured) -> Polls {
    let Measured { polls, time, longest } = measured;
    let nanoseconds = hal::time::nanoseconds_of;
    Polls { count: u64::from(polls), time: nanoseconds(u64::from(time)), longest: nanoseconds(longest) }
}

/// The line of a task.
fn line(text: &mut String, seen: &Seen, polls: Polls, name: &str) {
    let (Seen { id, priority, own, policy, .. }, Polls { count, time, longest }) = (seen, polls);
    let letter = match seen.doing {
        Doing::Runs => 'R',
        Doing::Ready => 'Q',
        Doing::Waits => 'S',
        Doing::Ended => 'Z',
        Doing::Failed => 'F',
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "{id} {letter} {priority} {own} {policy} {count} {time} {longest} ");
    let before = text.len();
    if seen.doing == Doing::Waits {
        for kind in Wait::names(seen.waits) {
            let comma = if text.len() == before { "" } else { "," };
            let _ = write!(text, "{comma}{kind}");
        }
    }
    let waits = if text.len() == before { "-" } else { "" };
    let _ = writeln!(text, "{waits} {}", if name.is_empty() { "-" } else { name });
}
