//! What can be recorded, and how it is laid out.
//!
//! Ids are 64-bit numbers that are never used twice: tasks as their pool numbers them, requests as
//! whoever owns the rings does. 0 stands for "nobody": an interrupt handler, or code outside any task.
//!
//! A waiting call in records, as far as it runs on one hart; a device's request is `submit` in a task and
//! `interrupt`, `complete`, `wake` in the handler; an entry of a ring is `submit` where it is taken and `complete` where it ends:
//!
//! ```text
//!   trap ─ submit ─ poll-end ... wake ─ poll-begin ─ complete
//! ```

use core::fmt;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A system call that waits, by its number.
    Call(u32),
    /// A page fault that waits: 0 for a load, 1 for a store, 2 for an instruction.
    Fault(u32),
    /// A device, by its kind as virtio numbers them.
    Device(u32),
    /// An entry of a ring, by its opcode.
    Entry(u32),
}

/// Where an interrupt came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Another hart.
    Hart,
    /// The hart's timer.
    Timer,
    /// A device's line.
    Line(u32),
}

/// What the kernel does for a thread that takes user interrupts. What the hardware does it does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// It has this place.
    Placed(Place),
    /// It has it no more.
    Displaced(Place),
    /// The kernel rings for the sender in this slot.
    Rung(u16),
    /// It is told of what has arrived at its place.
    Arrived,
    /// It is told to look at everything.
    Told,
    /// Its own timer is due.
    Due,
    /// The right of the sender in this slot is revoked.
    Revoked(u16),
    /// The right in this slot ends: nobody has it any more, or its receiver has ended.
    Ended(u16),
}

/// Where what is sent to a thread arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hart.
    pub hart: u8,
    /// Its guest file.
    pub file: u8,
}

impl Place {
    fn word(self) -> u16 {
        u16::from_le_bytes([self.file, self.hart])
    }

    fn of(word: u16) -> Self {
        let [file, hart] = word.to_le_bytes();
        Self { hart, file }
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `parent` made `task`.
    Spawn {
        /// The new task.
        task: u64,
        /// Who made it.
        parent: u64,
    },
    /// Eight bytes of a task's name; `part` says which eight.
    Name {
        /// The task.
        task: u64,
        /// 0 for the first eight bytes, 1 for the next.
        part: u16,
        /// The bytes, filled up with zeros.
        text: [u8; 8],
    },
    /// A worker begins to poll `task`.
    PollBegin {
        /// The task.
        task: u64,
    },
    /// The poll is over.
    PollEnd {
        /// The task.
        task: u64,
        /// The task has ended.
        finished: bool,
    },
    /// `waker` made the idle task `task` ready.
    Wake {
        /// Who was woken.
        task: u64,
        /// By whom.
        waker: u64,
    },
    /// The hart went from one task to another with the first still in its poll (preemption, or the way back).
    Switch {
        /// The task that stops for now.
        from: u64,
        /// The task that goes on.
        to: u64,
    },
    /// A trap, interrupts included.
    Trap {
        /// The task that it came from.
        task: u64,
        /// The cause register: its top bit says that it is an interrupt.
        cause: u64,
        /// From user mode; else from the kernel itself.
        user: bool,
    },
    /// An interrupt is delivered; its handler runs next.
    Interrupt {
        /// Where it came from.
        source: Source,
    },
    /// A user interrupt, as far as it is the kernel's.
    UserInterrupt {
        /// The task of the thread that takes it.
        task: u64,
        /// What is done.
        what: Interrupted,
    },
    /// A request began.
    Submit {
        /// The request.
        request: u64,
        /// The task that asked.
        task: u64,
        /// What for.
        work: Work,
    },
    /// A request is done.
    Complete {
        /// The request.
        request: u64,
        /// Its result, as the asker sees it.
        result: i64,
    },
}

/// An event in three words, as it goes from a trace point to a ring: in registers.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Kind and small operands.
    pub head: u64,
    /// The first operand, an id.
    pub a: u64,
    /// The second operand.
    pub b: u64,
}

impl Event {
    /// The event in words. Inlined, so that a trace point builds no structure.
    #[inline(always)]
    #[must_use]
    pub fn words(self) -> Words {
        let words = |kind: u64, small: u16, wide: u32, a, b| Words {
            head: kind | u64::from(small) << 16 | u64::from(wide) << 32,
            a,
            b,
        };
        match self {
            Event::Spawn { task, parent } => words(1, 0, 0, task, parent),
            Event::Name { task, part, text } => words(2, part, 0, task, u64::from_le_bytes(text)),
            Event::PollBegin { task } => words(3, 0, 0, task, 0),
            Event::PollEnd { task, finished } => words(4, u16::from(finished), 0, task, 0),
            Event::Wake { task, waker } => words(5, 0, 0, task, waker),
            Event::Switch { from, to } => words(6, 0, 0, from, to),
            Event::Trap { task, cause, user } => words(7, u16::from(user), 0, task, cause),
            Event::Interrupt { source: Source::Hart } => words(8, 0, 0, 0, 0),
            Event::Interrupt { source: Source::Timer } => words(8, 1, 0, 0, 0),
            Event::Interrupt { source: Source::Line(line) } => words(8, 2, line, 0, 0),
            Event::Submit { request, task, work: Work::Call(number) } => words(9, 0, number, request, task),
            Event::Submit { request, task, work: Work::Fault(access) } => words(9, 1, access, request, task),
            Event::Submit { request, task, work: Work::Device(kind) } => words(9, 2, kind, request, task),
            Event::Submit { request, task, work: Work::Entry(opcode) } => words(9, 3, opcode, request, task),
            Event::Complete { request, result } => words(10, 0, 0, request, result as u64),
            Event::UserInterrupt { task, what } => {
                let (kind, number) = match what {
                    Interrupted::Placed(place) => (0, place.word()),
                    Interrupted::Displaced(place) => (1, place.word()),
                    Interrupted::Rung(slot) => (2, slot),
                    Interrupted::Arrived => (3, 0),
                    Interrupted::Told => (4, 0),
                    Interrupted::Revoked(slot) => (5, slot),
                    Interrupted::Due => (6, 0),
                    Interrupted::Ended(slot) => (7, slot),
                };
                words(11, kind, u32::from(number), task, 0)
            }
        }
    }
}

/// An event with its hart and time, 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Which event; see [`Record::event`].
    pub kind: u8,
    /// The hart it happened on.
    pub hart: u8,
    /// A small operand.
    pub small: u16,
    /// A larger one.
    pub wide: u32,
    /// The first operand, an id.
    pub a: u64,
    /// The second operand.
    pub b: u64,
}

const _: () = assert!(size_of::<Record>() == 32);

impl Record {
    /// The event, if the kind is one that exists.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let Self { kind, small, wide, a, b, .. } = *self;
        Some(match kind {
            1 => Event::Spawn { task: a, parent: b },
            2 => Event::Name { task: a, part: small, text: b.to_le_bytes() },
            3 => Event::PollBegin { task: a },
            4 => Event::PollEnd { task: a, finished: small != 0 },
            5 => Event::Wake { task: a, waker: b },
            6 => Event::Switch { from: a, to: b },
            7 => Event::Trap { task: a, cause: b, user: small != 0 },
            8 => Event::Interrupt {
                source: match small {
                    0 => Source::Hart,
                    1 => Source::Timer,
                    _ => Source::Line(wide),
                },
            },
            9 => Event::Submit {
                request: a,
                task: b,
                work: match small {
                    0 => Work::Call(wide),
                    1 => Work::Fault(wide),
                    2 => Work::Device(wide),
                    _ => Work::Entry(wide),
                },
            },
            10 => Event::Complete { request: a, result: b as i64 },
            11 => Event::UserInterrupt {
                task: a,
                what: match small {
                    0 => Interrupted::Placed(Place::of(wide as u16)),
                    1 => Interrupted::Displaced(Place::of(wide as u16)),
                    2 => Interrupted::Rung(wide as u16),
                    3 => Interrupted::Arrived,
                    4 => Interrupted::Told,
                    5 => Interrupted::Revoked(wide as u16),
                    6 => Interrupted::Due,
                    _ => Interrupted::Ended(wide as u16),
                },
            },
            _ => return None,
        })
    }

    pub(crate) fn from_words(words: [u64; 4]) -> Self {
        let [time, head, a, b] = words;
        Self {
            time,
            kind: head as u8,
            hart: (head >> 8) as u8,
            small: (head >> 16) as u16,
            wide: (head >> 32) as u32,
            a,
            b,
        }
    }
}

/// A line of text without its end: seconds, hart, event, then `name=value` pairs.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} {} ", self.time / 1_000_000_000, self.time % 1_000_000_000, self.hart)?;
        match self.event() {
            Some(event) => event.fmt(f),
            None => write!(f, "unknown kind={}", self.kind),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Spawn { task, parent } => write!(f, "spawn task={task} parent={parent}"),
            Event::Name { task, part, text } => {
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                write!(f, "name task={task} part={part} text={}", text.escape_ascii())
            }
            Event::PollBegin { task } => write!(f, "poll-begin task={task}"),
            Event::PollEnd { task, finished } => write!(f, "poll-end task={task} finished={}", u8::from(finished)),
            Event::Wake { task, waker } => write!(f, "wake task={task} by={waker}"),
            Event::Switch { from, to } => write!(f, "switch from={from} to={to}"),
            Event::Trap { task, cause, user } => {
                let kind = if cause >> 63 == 0 { "exception" } else { "interrupt" };
                let mode = if user { "user" } else { "kernel" };
                write!(f, "trap task={task} mode={mode} {kind}={}", cause & !(1 << 63))
            }
            Event::Interrupt { source: Source::Hart } => write!(f, "interrupt from=hart"),
            Event::Interrupt { source: Source::Timer } => write!(f, "interrupt from=timer"),
            Event::Interrupt { source: Source::Line(line) } => write!(f, "interrupt from=line line={line}"),
            Event::Submit { request, task, work } => {
                let (kind, value) = match work {
                    Work::Call(number) => ("call", number),
                    Work::Fault(access) => ("fault", access),
                    Work::Device(kind) => ("device", kind),
                    Work::Entry(opcode) => ("entry", opcode),
                };
                write!(f, "submit request={request} task={task} {kind}={value}")
            }
            Event::Complete { request, result } => write!(f, "complete request={request} result={result}"),
            Event::UserInterrupt { task, what } => {
                write!(f, "uintr task={task} ")?;
                match what {
                    Interrupted::Placed(Place { hart, file }) => write!(f, "placed={hart}.{file}"),
                    Interrupted::Displaced(Place { hart, file }) => write!(f, "displaced={hart}.{file}"),
                    Interrupted::Rung(slot) => write!(f, "rung={slot}"),
                    Interrupted::Arrived => write!(f, "told=place"),
                    Interrupted::Told => write!(f, "told=all"),
                    Interrupted::Due => write!(f, "told=timer"),
                    Interrupted::Revoked(slot) => write!(f, "revoked={slot}"),
                    Interrupted::Ended(slot) => write!(f, "ended={slot}"),
                }
            }
        }
    }
}
