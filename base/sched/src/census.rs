//! What can be told of tasks from their memory, by who has no more than copies of it: the kernel, of a process's tasks. It
//! believes nothing of what it reads.
//!
//! Whoever has tasks counted keeps them in *chunks*: a head ([`Chunk`]), and behind it places of one size, each of which begins
//! with a [`Header`] while a task is in it. Chunks are linked in lists, by size say; a table of [`LISTS`] addresses says where each
//! begins. So to be found costs a task nothing: neither memory nor an instruction.
//!
//! ```text
//!   table: LISTS addresses ──► Chunk ─► place, place, ...       in a free place `ops` is null
//!                                │ next
//!                                ▼
//!                              Chunk ─► ...
//! ```

use core::mem::offset_of;

use sync::atomic::Ordering::Relaxed;

use crate::interface::Header;
use crate::measure::Measured;
use crate::standing::{Mark, Parts};
use crate::word::{self, Doing};

/// How many lists there are.
pub const LISTS: usize = 33;
/// Bytes of a chunk's head.
pub const HEAD: usize = 32;
/// Bytes of a header.
pub const HEADER: usize = size_of::<Header>();
/// Where in a header the address of its functions is: null in a free place.
pub const OPS: usize = offset_of!(Header, ops);
/// How far the address of the header that a worker polls is before the word that says what it runs at (the second of
/// [`Pool::hints`](crate::Pool::hints)).
pub const POLLED: usize = crate::worker::POLLED;
/// Where in a place the name of its task is, if it has one ([`Mark::Named`]): text in [`NAME_LEN`] bytes, and zeros behind it.
pub const NAME: usize = 112;
/// Bytes of a name.
pub const NAME_LEN: usize = 32;
/// What a chunk begins with: "TASK".
pub const MAGIC: u32 = u32::from_le_bytes(*b"TASK");
/// The most bytes of the places of a chunk.
const MOST: usize = 16 << 20;

/// The head of a chunk.
#[repr(C)]
#[derive(Debug)]
pub struct Chunk {
    /// The next in the list, or null.
    pub next: *mut Chunk,
    /// The one before; of the first it means nothing.
    pub before: *mut Chunk,
    /// [`MAGIC`]; 0 once it is nobody's.
    pub magic: u32,
    /// How many places there are.
    pub places: u16,
    /// For its maker, to count in.
    pub free: u16,
    /// Bytes of each.
    pub stride: u64,
}

const _: () = assert!(size_of::<Chunk>() == HEAD);

/// A head as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenChunk {
    /// Where the next is, or 0.
    pub next: u64,
    /// How many places there are.
    pub places: u16,
    /// Bytes of each.
    pub stride: u64,
}

/// Eight bytes of a copy, at most, as a number.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let part = bytes.iter().skip(at).take(len);
    part.rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl SeenChunk {
    /// From a copy; none if that is no head.
    #[must_use]
    pub fn of(bytes: &[u8; HEAD]) -> Option<Self> {
        let places = number(bytes, offset_of!(Chunk, places), 2) as u16;
        let stride = number(bytes, offset_of!(Chunk, stride), 8);
        let bytes_of_all = stride.checked_mul(u64::from(places))?;
        let sound = number(bytes, offset_of!(Chunk, magic), 4) == u64::from(MAGIC)
            && stride >= HEADER as u64
            && (places == 1 || bytes_of_all <= MOST as u64);
        sound.then(|| Self { next: number(bytes, offset_of!(Chunk, next), 8), places, stride })
    }
}

/// A task as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub doing: Doing,
    /// The priority that it runs at, and its own.
    pub priority: u8,
    /// Likewise.
    pub own: u8,
    /// The number of its policy.
    pub policy: u8,
    /// What it waits for, if it does: [`Wait`](crate::Wait)s.
    pub waits: u8,
    /// What its polls took.
    pub measured: Measured,
    /// Whether it has a name.
    pub named: bool,
}

impl Seen {
    /// From a copy of a header; none if the place is free.
    #[must_use]
    pub fn of(bytes: &[u8; HEADER]) -> Option<Self> {
        if number(bytes, OPS, 8) == 0 {
            return None;
        }
        let parts = Parts::of(number(bytes, offset_of!(Header, standing), 4) as u32);
        let Parts { slot, own, policy, .. } = parts;
        Some(Self {
            id: number(bytes, offset_of!(Header, id), 8),
            doing: word::doing(number(bytes, offset_of!(Header, word), 8) as usize),
            priority: slot & 31,
            own,
            policy,
            waits: number(bytes, offset_of!(Header, waits), 1) as u8,
            measured: Measured::of(
                number(bytes, offset_of!(Header, polls), 4) as u32,
                number(bytes, offset_of!(Header, time), 4) as u32,
                number(bytes, offset_of!(Header, longest), 1) as u8,
            ),
            named: parts.has(Mark::Named),
        })
    }
}

impl Header {
    /// What can be told of this task at this moment. Relaxed, all: figures on their own.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let Self { polls, time, longest, .. } = self;
        Seen {
            id: self.id(),
            doing: self.word().doing(),
            priority: self.priority().number(),
            own: self.own_priority().number(),
            policy: self.standing.policy() as u8,
            waits: self.waits.load(Relaxed),
            measured: Measured::of(polls.load(Relaxed), time.load(Relaxed), longest.load(Relaxed)),
            named: self.has(Mark::Named),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(next: u64, magic: u32, places: u16, stride: u64) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(&next.to_le_bytes());
        bytes[16..20].copy_from_slice(&magic.to_le_bytes());
        bytes[20..22].copy_from_slice(&places.to_le_bytes());
        bytes[24..].copy_from_slice(&stride.to_le_bytes());
        bytes
    }

    #[test]
    fn a_head_is_believed_within_limits() {
        let seen = SeenChunk { next: 7, places: 36, stride: 112 };
        assert_eq!(SeenChunk::of(&head(7, MAGIC, 36, 112)), Some(seen));
        assert_eq!(SeenChunk::of(&head(7, MAGIC, 1, 1 << 40)).map(|seen| seen.places), Some(1));
        for (magic, places, stride) in [(0, 36, 112), (MAGIC, 36, 8), (MAGIC, 2, u64::MAX), (MAGIC, 1 << 12, 1 << 20)] {
            assert_eq!(SeenChunk::of(&head(7, magic, places, stride)), None, "{magic} {places} {stride}");
        }
        assert_eq!(SeenChunk::of(&[0xff; HEAD]), None);
    }

    #[test]
    fn a_name_is_said_in_a_bit_of_its_own() {
        let mut bytes = [0xff; HEADER];
        let at = offset_of!(Header, standing) + 3;
        let said = |bytes: &[u8; HEADER]| Seen::of(bytes).map(|seen| (seen.own, seen.policy, seen.named));
        assert_eq!(said(&bytes), Some((31, 15, true)));
        bytes[at] = 0b1011_1111;
        assert_eq!(said(&bytes), Some((31, 15, false)));
    }

    #[test]
    fn any_bytes_are_a_task_or_none() {
        assert_eq!(Seen::of(&[0; HEADER]), None);
        let seen = Seen::of(&[0xff; HEADER]);
        assert_eq!(seen.map(|seen| (seen.priority, seen.own, seen.doing)), Some((31, 31, Doing::Failed)));
        assert_eq!(seen.map(|seen| seen.measured.longest), Some(0xf << 30));
    }
}
