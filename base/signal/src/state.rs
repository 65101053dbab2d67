//! What one thread that receives signals has pending, masks, and does with each.
//!
//! Signals that queue stay in the places of their [`area`] until they are taken; what is kept here of them is a set that
//! may say too much. The others are a bit here. The lowest number comes first; of one number, the senders come in turn, and what each has sent in its order.
//! A sender may raise low numbers as fast as they are handled. So when more have come in a row than can be pending at once, the numbers come in turn, until none is left that had to stand back: nobody's
//! signal waits for a handler for ever. Who takes signals of a set by himself ([`State::take`]) gets the lowest each time, as from Linux's `sigwaitinfo`.

use crate::area::{self, Area};
use crate::{REAL_TIME, bit};

/// Areas: number 0 is the receiver's own, for what it sends to itself.
pub const AREAS: usize = 64;

/// So many in a row come lowest first: all that can be pending at once.
const IN_ORDER: u32 = (AREAS * area::PLACES) as u32 + *REAL_TIME.start() - 1;

/// `SIGKILL`, `SIGCONT`, `SIGSTOP`, and the others that stop.
const KILL: u32 = 9;
const CONT: u32 = 18;
const STOP: u32 = 19;
const STOPS: u64 = bit(STOP) | bit(20) | bit(21) | bit(22);
/// `SIGCHLD`, `SIGCONT`, `SIGURG`, `SIGWINCH`.
const IGNORED: u64 = bit(17) | bit(CONT) | bit(23) | bit(28);
/// Cannot be caught, ignored or masked.
const SACRED: u64 = bit(KILL) | bit(STOP);

/// The memory of a receiver.
pub trait Areas {
    /// One of it.
    type Area: Area;
    /// That with this number, below [`AREAS`].
    fn area(&self, number: usize) -> Self::Area;
    /// Whether it is still of who may send signals. It may have become another's, who may not.
    fn may_signal(&self, number: usize) -> bool;
    /// Takes the most urgent of a set that is pending for all threads of a [group](crate::group), and says what is pending for them then.
    fn take_shared(&self, _set: u64) -> (Option<Info>, u64) {
        (None, 0)
    }
    /// Throws away all of a signal that is pending for them; what is pending then.
    fn discard_shared(&self, _signal: u32) -> u64 {
        0
    }
}

/// `SA_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// `SA_NODEFER`: its own signal is not masked while the handler runs.
    pub const NODEFER: Self = Self(1);
    /// `SA_RESETHAND`: the handler runs once.
    pub const RESETHAND: Self = Self(2);
    /// `SA_RESTART`: a call that is interrupted goes on.
    pub const RESTART: Self = Self(4);
    /// `SA_ONSTACK`: the handler runs on the alternate stack, if there is one.
    pub const ONSTACK: Self = Self(8);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has all of these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What is done with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<H> {
    /// What is usual: the process ends or stops, or nothing.
    Default,
    /// Nothing.
    Ignore,
    /// Runs this, with the signals of the set masked.
    Handle(H, u64, Flags),
}

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The signal, 1 to 64.
    pub signal: u32,
    /// What the sender has said with it.
    pub value: u64,
    /// What the receiver calls the right that it came by; 0: itself.
    pub tag: u64,
}

/// What is to be done with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<H> {
    /// A handler is to run. Behind it the mask is to be this.
    Run(H, Flags, u64),
    /// The process ends.
    End,
    /// The process stops.
    Stop,
}

/// The signal does not exist, or nothing can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// See the module.
#[derive(Clone, Debug)]
pub struct State<H> {
    mask: u64,
    pending: u64,
    /// What is pending for all threads of a group; perhaps too many.
    shared: u64,
    /// Of a number that is pending both for this thread and for all, the latter is next.
    is_shared_next: bool,
    /// By whom a signal that does not queue has come last, and what was said.
    last: [(u64, u64); 32],
    actions: [Action<H>; 65],
    /// Areas that are somebody's.
    used: u64,
    tags: [u64; AREAS],
    /// The area that is looked at first.
    first: u32,
    /// Signals that were begun since one last came when none had stood back, and the last of them.
    in_a_row: u32,
    latest: u32,
    /// Those that were to be handled when another was. While a handler masks all, they still are.
    stood_back: u64,
}

impl<H: Copy> Default for State<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Copy> State<H> {
    /// Nothing is pending or masked, and all is as usual.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mask: 0,
            pending: 0,
            shared: 0,
            is_shared_next: false,
            last: [(0, 0); 32],
            actions: [Action::Default; 65],
            used: 1,
            tags: [0; AREAS],
            first: 0,
            in_a_row: 0,
            latest: 0,
            stood_back: 0,
        }
    }

    /// That of a child made by `fork`: it inherits the mask and what is done, and nothing that is pending.
    #[must_use]
    pub fn inherited(&self) -> Self {
        Self { mask: self.mask, actions: self.actions, ..Self::new() }
    }

    /// Changes which areas are somebody's.
    pub fn set_used(&mut self, used: u64) {
        self.used = used | 1;
    }

    /// Names an area.
    pub fn set_tag(&mut self, area: usize, tag: u64) {
        self.tags[area % AREAS] = tag;
    }

    /// Signals that are kept from being handled.
    #[must_use]
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// Changes the mask; what it was.
    pub fn set_mask(&mut self, mask: u64) -> u64 {
        core::mem::replace(&mut self.mask, mask & !SACRED)
    }

    /// Changes what is done with a signal; what was. What is ignored is no longer pending.
    ///
    /// # Errors
    /// [`Invalid`], also for those that nothing can be done about.
    pub fn set_action(&mut self, areas: &impl Areas, signal: u32, action: Action<H>) -> Result<Action<H>, Invalid> {
        if bit(signal) & !SACRED == 0 {
            return Err(Invalid);
        }
        let before = core::mem::replace(&mut self.actions[signal as usize], action);
        if self.is_ignored(signal) {
            self.collect(areas);
            self.discard(areas, signal);
        }
        Ok(before)
    }

    fn is_ignored(&self, signal: u32) -> bool {
        match self.actions[signal as usize] {
            Action::Ignore => true,
            Action::Default => bit(signal) & IGNORED != 0,
            Action::Handle(..) => false,
        }
    }

    /// Throws away all of a signal. Each place once: a sender may fill them as fast as they are emptied. Makes nothing pending, so that `next` ends.
    pub fn discard(&mut self, areas: &impl Areas, signal: u32) {
        self.pending &= !bit(signal);
        if self.shared & bit(signal) != 0 {
            // Others may come in between, which are told of.
            self.shared = areas.discard_shared(signal) & !bit(signal);
        }
        if REAL_TIME.contains(&signal) {
            each(self.used, |number| {
                if !areas.may_signal(number) {
                    return;
                }
                let area = areas.area(number);
                let _ = (0..area::PLACES).find(|_| area::take(&area, signal).is_none());
            });
        }
    }

    /// Looks at what was sent.
    #[inline]
    pub fn collect(&mut self, areas: &impl Areas) {
        each(self.used, |number| {
            if areas.may_signal(number) {
                self.collect_from(&areas.area(number), number);
            }
        });
    }

    /// Makes pending what is queued, also by who has ended before telling; the areas that hold it.
    pub fn collect_queued(&mut self, areas: &impl Areas) -> u64 {
        let mut holding = 0;
        each(self.used, |number| {
            if areas.may_signal(number) {
                let queued = area::queued(&areas.area(number));
                self.pending |= queued;
                holding |= u64::from(queued != 0) << number;
            }
        });
        holding
    }

    fn collect_from(&mut self, area: &impl Area, number: usize) {
        let raised = area::collect(area);
        if raised == 0 {
            return;
        }
        self.look_at_row();
        // What stops and what continues cancel each other, as far as they are pending.
        if raised & bit(CONT) != 0 {
            self.pending &= !STOPS;
        }
        if raised & STOPS != 0 {
            self.pending &= !bit(CONT);
        }
        // One that is pending already keeps its value.
        each(raised & !self.pending & u64::from(u32::MAX >> 1), |index| {
            self.last[index + 1] = (area::value(area, index as u32 + 1), self.tags[number]);
        });
        self.pending |= raised;
    }

    /// What is pending for all threads of a group, this among them.
    pub fn set_shared(&mut self, signals: u64) {
        self.look_at_row();
        self.shared = signals;
    }

    /// A row is over when none is left that stood back.
    fn look_at_row(&mut self) {
        if self.stood_back & self.pending() == 0 {
            (self.in_a_row, self.stood_back) = (0, 0);
        }
    }

    /// Signals that are pending; of those that queue perhaps too many.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending | self.shared
    }

    /// Whether one may be pending that is not masked.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.pending() & !self.mask != 0
    }

    /// Takes the most urgent signal of a set, whatever is masked. Those that nothing can be done about are not to be had.
    #[must_use]
    pub fn take(&mut self, areas: &impl Areas, set: u64) -> Option<Info> {
        self.take_any(areas, set & !SACRED)
    }

    /// The same for a thread that does with it what is to be done.
    #[must_use]
    pub fn take_for_another(&mut self, areas: &impl Areas, set: u64) -> Option<Info> {
        self.take_any(areas, set)
    }

    /// Part of each that calls it: of a signal to oneself it is most of what there is to do.
    #[inline(always)]
    fn take_any(&mut self, areas: &impl Areas, set: u64) -> Option<Info> {
        loop {
            let wanted = self.pending() & set;
            if wanted == 0 {
                return None;
            }
            let signal = wanted.trailing_zeros() + 1;
            if self.shared & bit(signal) != 0 {
                if let Some(info) = self.take_shared(areas, signal) {
                    return Some(info);
                }
                if self.pending & bit(signal) == 0 {
                    // Another thread has it.
                    continue;
                }
            }
            if let Some(info) = self.take_one(areas, signal) {
                return Some(info);
            }
            // Nobody's place holds one. One that comes now is told of.
            self.pending &= !bit(signal);
        }
    }

    /// Takes one that is pending for all, unless it is the turn of this thread's own. `None` leaves one of its own, or none.
    #[cold]
    #[inline(never)]
    fn take_shared(&mut self, areas: &impl Areas, signal: u32) -> Option<Info> {
        self.is_shared_next = !self.is_shared_next || self.pending & bit(signal) == 0;
        if !self.is_shared_next {
            return None;
        }
        let (info, left) = areas.take_shared(bit(signal));
        self.shared = left;
        info
    }

    fn take_one(&mut self, areas: &impl Areas, signal: u32) -> Option<Info> {
        if !REAL_TIME.contains(&signal) {
            self.pending &= !bit(signal);
            let (value, tag) = self.last[signal as usize];
            return Some(Info { signal, value, tag });
        }
        let mut left = self.used.rotate_right(self.first);
        while left != 0 {
            let number = (left.trailing_zeros() + self.first) % AREAS as u32;
            left &= left - 1;
            if areas.may_signal(number as usize)
                && let Some(value) = area::take(&areas.area(number as usize), signal)
            {
                // The next is another's, if another has one.
                self.first = (number + 1) % AREAS as u32;
                return Some(Info { signal, value, tag: self.tags[number as usize] });
            }
        }
        None
    }

    /// Takes the next that is not masked, of a row that is too long: of those behind the latest, and behind the last of these of all.
    #[cold]
    #[inline(never)]
    fn take_in_turn(&mut self, areas: &impl Areas) -> Option<Info> {
        let behind = u64::MAX.checked_shl(self.latest).unwrap_or(0);
        self.take_any(areas, !self.mask & behind).or_else(|| self.take_any(areas, !self.mask))
    }

    /// Takes the most urgent signal that is not masked, and begins what is to be done with it.
    #[must_use]
    pub fn next(&mut self, areas: &impl Areas) -> Option<(Info, Next<H>)> {
        loop {
            let in_order = self.in_a_row < IN_ORDER;
            let info = if in_order { self.take_any(areas, !self.mask) } else { self.take_in_turn(areas) }?;
            (self.in_a_row, self.latest) = (self.in_a_row.saturating_add(1), info.signal);
            let bit = bit(info.signal);
            self.stood_back = (self.stood_back | self.pending() & !self.mask) & !bit;
            match self.actions[info.signal as usize] {
                // All of them: a sender may queue more as fast as they are taken.
                Action::Ignore => self.discard(areas, info.signal),
                Action::Default if bit & IGNORED != 0 => {}
                Action::Default if bit & STOPS != 0 => return Some((info, Next::Stop)),
                Action::Default => return Some((info, Next::End)),
                Action::Handle(handler, more, flags) => {
                    if flags.has(Flags::RESETHAND) {
                        self.actions[info.signal as usize] = Action::Default;
                    }
                    let itself = if flags.has(Flags::NODEFER) { 0 } else { bit };
                    let before = self.set_mask(self.mask | more | itself);
                    return Some((info, Next::Run(handler, flags, before)));
                }
            }
        }
    }
}

/// Calls `f` with the number of each bit.
#[inline]
fn each(mut bits: u64, mut f: impl FnMut(usize)) {
    while bits != 0 {
        f(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
