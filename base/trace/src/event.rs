//! What can be recorded, and how it is laid out.
//!
//! Ids are 64-bit numbers that are never used twice: tasks as their pool numbers them, requests as their
//! service does. 0 stands for "nobody": an interrupt handler, or code outside any task.

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
    /// A trap from user mode, by its cause register.
    Trap {
        /// The task whose thread trapped.
        task: u64,
        /// The cause.
        cause: u64,
    },
    /// An interrupt, by its cause register.
    Interrupt {
        /// The cause.
        cause: u64,
    },
    /// A request began.
    Submit {
        /// The request.
        request: u64,
        /// The task that asked.
        task: u64,
    },
    /// A request is done.
    Complete {
        /// The request.
        request: u64,
        /// Its result, as the asker sees it.
        result: i64,
    },
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
    /// Always 0.
    pub reserved: u32,
    /// The first operand, an id.
    pub a: u64,
    /// The second operand.
    pub b: u64,
}

const _: () = assert!(size_of::<Record>() == 32);

impl Record {
    /// The record of an event.
    #[must_use]
    pub fn new(hart: u8, time: u64, event: Event) -> Self {
        let (kind, small, a, b) = match event {
            Event::Spawn { task, parent } => (1, 0, task, parent),
            Event::Name { task, part, text } => (2, part, task, u64::from_le_bytes(text)),
            Event::PollBegin { task } => (3, 0, task, 0),
            Event::PollEnd { task, finished } => (4, u16::from(finished), task, 0),
            Event::Wake { task, waker } => (5, 0, task, waker),
            Event::Switch { from, to } => (6, 0, from, to),
            Event::Trap { task, cause } => (7, 0, task, cause),
            Event::Interrupt { cause } => (8, 0, 0, cause),
            Event::Submit { request, task } => (9, 0, request, task),
            Event::Complete { request, result } => (10, 0, request, result as u64),
        };
        Self { time, kind, hart, small, reserved: 0, a, b }
    }

    /// The event, if the kind is one that exists.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let Self { kind, small, a, b, .. } = *self;
        Some(match kind {
            1 => Event::Spawn { task: a, parent: b },
            2 => Event::Name { task: a, part: small, text: b.to_le_bytes() },
            3 => Event::PollBegin { task: a },
            4 => Event::PollEnd { task: a, finished: small != 0 },
            5 => Event::Wake { task: a, waker: b },
            6 => Event::Switch { from: a, to: b },
            7 => Event::Trap { task: a, cause: b },
            8 => Event::Interrupt { cause: b },
            9 => Event::Submit { request: a, task: b },
            10 => Event::Complete { request: a, result: b as i64 },
            _ => return None,
        })
    }

    /// The record as four words, as a ring keeps it.
    pub(crate) fn to_words(self) -> [u64; 4] {
        let head = u64::from(self.kind) | u64::from(self.hart) << 8 | u64::from(self.small) << 16;
        [self.time, head | u64::from(self.reserved) << 32, self.a, self.b]
    }

    pub(crate) fn from_words(words: [u64; 4]) -> Self {
        let [time, head, a, b] = words;
        Self {
            time,
            kind: head as u8,
            hart: (head >> 8) as u8,
            small: (head >> 16) as u16,
            reserved: (head >> 32) as u32,
            a,
            b,
        }
    }
}
