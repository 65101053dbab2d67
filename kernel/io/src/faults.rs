//! Failures, late answers and the long way on demand, as files of `/proc/asyncos` for root (D13); `hal::fail` says what can fail.
//!
//! `fail-nth`, as Linux's: writing `N` makes the N-th point fail of what the thread that writes goes on to do, 0 none. What is read is how many
//! points are yet to come; 0: it has failed. Closing takes it back, so what ends meanwhile, or runs another program, leaves nothing behind.
//! `kill-nth`: writing `N` has the N-th poll from there on of what the process that writes has submitted end that process, as `SIGKILL` does; for the rest it is as
//! `fail-nth`.
//! `disk-delay`: milliseconds by which the disk is told of each request later, 0 to 5,000.
//! `card-faults`: writing `N` has every N-th packet that the network card sends or takes meet with a mishap ([`Mishap`]), one after the other, 0 none. What is read is how many
//! have since.
//! `loopback-segments`: 1 lets the connections that are begun within this host take the way to other hosts (design note 0006, section 1).

use crate::{
    caller::Caller,
    file::{Attempt, File},
    inode::Inode,
};
use abi::errno::Errno;
use alloc::{format, sync::Arc};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};
use mem::{Account, Sink, Source};

/// Longest number that is taken.
const DIGITS: usize = 10;
/// Most milliseconds.
const LATEST: u64 = 5000;

/// What was chosen last for a device, by which open file. Both are relaxed: they guard nothing.
struct Choice {
    number: AtomicU64,
    /// Its address.
    by: AtomicUsize,
}

impl Choice {
    const fn new() -> Self {
        Self { number: AtomicU64::new(0), by: AtomicUsize::new(0) }
    }

    fn get(&self) -> u64 {
        self.number.load(Relaxed)
    }

    fn choose(&self, number: u64, by: usize) {
        // First: who had chosen before does not take this back.
        self.by.store(by, Relaxed);
        self.number.store(number, Relaxed);
    }

    /// What another has chosen since stays.
    fn take_back(&self, by: usize) {
        if self.by.load(Relaxed) == by {
            self.number.store(0, Relaxed);
        }
    }
}

/// Milliseconds.
static LATENESS: Choice = Choice::new();

/// By how much the disk is told of a request later, in nanoseconds.
pub fn lateness() -> u64 {
    LATENESS.get() * 1_000_000
}

/// What a packet can meet with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It does not arrive.
    Lost,
    /// It arrives twice.
    Doubled,
    /// A bit of it arrives as the other.
    Damaged,
}

/// Every how many packets.
static MISHAPS: Choice = Choice::new();

/// Packets since that was chosen. Relaxed: a number on its own.
static PACKETS: AtomicU64 = AtomicU64::new(0);

/// What the packet meets with that the network card sends or takes now.
pub fn mishap() -> Option<Mishap> {
    let every = MISHAPS.get();
    if every == 0 {
        return None;
    }
    let packet = PACKETS.fetch_add(1, Relaxed) + 1;
    let kinds = [Mishap::Lost, Mishap::Doubled, Mishap::Damaged];
    packet.is_multiple_of(every).then(|| kinds[(packet / every % 3) as usize])
}

/// How many open files have 1. Relaxed: it guards nothing.
static SEGMENTS: AtomicUsize = AtomicUsize::new(0);

/// Whether TCP within this host goes by segments.
pub fn loopback_segments() -> bool {
    SEGMENTS.load(Relaxed) > 0
}

/// What a number is for.
enum Knob {
    /// The account of who opened it: not another's at the same address.
    Nth(Arc<Account>),
    /// Likewise.
    Poll(Arc<Account>),
    Lateness,
    Mishaps,
    Segments,
}

/// An open of one of the files.
struct Faults {
    knob: Knob,
    inode: Arc<dyn Inode>,
    /// What was written is in force, as far as this knows: what closing takes back. Relaxed: the last reference sees it.
    has_chosen: AtomicBool,
}

impl Faults {
    fn new(knob: Knob, inode: Arc<dyn Inode>) -> Self {
        Self { knob, inode, has_chosen: AtomicBool::new(false) }
    }
}

/// Opens `fail-nth`.
///
/// # Errors
/// None.
pub fn open_nth(caller: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Nth(caller.account.clone()), inode)))
}

/// Opens `kill-nth`.
///
/// # Errors
/// None.
pub fn open_poll(caller: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Poll(caller.account.clone()), inode)))
}

/// Opens `disk-delay`.
///
/// # Errors
/// None.
pub fn open_delay(_: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Lateness, inode)))
}

/// Opens `card-faults`.
///
/// # Errors
/// None.
pub fn open_card(_: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Mishaps, inode)))
}

/// Opens `loopback-segments`.
///
/// # Errors
/// None.
pub fn open_segments(_: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Segments, inode)))
}

impl Faults {
    fn choose(&self, number: u64, caller: &Caller) -> Result<(), Errno> {
        let is_own =
            |own: &Arc<Account>| if Arc::ptr_eq(own, &caller.account) { Ok(own.address()) } else { Err(Errno::EPERM) };
        let within = |most: u64| if number <= most { Ok(number) } else { Err(Errno::EINVAL) };
        match &self.knob {
            Knob::Nth(own) => hal::fail::choose(number as usize, is_own(own)?),
            Knob::Poll(own) => hal::fail::choose_poll(within(hal::fail::MOST_POLLS as u64)? as usize, is_own(own)?),
            Knob::Lateness => LATENESS.choose(within(LATEST)?, self.place()),
            Knob::Mishaps => {
                PACKETS.store(0, Relaxed);
                MISHAPS.choose(number, self.place());
            }
            Knob::Segments => {
                within(1)?;
                if number == 0 {
                    self.take_back();
                    return Ok(());
                }
                if !self.has_chosen.swap(true, Relaxed) {
                    SEGMENTS.fetch_add(1, Relaxed);
                }
            }
        }
        self.has_chosen.store(true, Relaxed);
        Ok(())
    }

    /// What tells it from others while it is there.
    fn place(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Nothing is chosen by this any more. What others have chosen stays.
    fn take_back(&self) {
        if !self.has_chosen.swap(false, Relaxed) {
            return;
        }
        match &self.knob {
            Knob::Nth(own) => hal::fail::give_up(own.address()),
            Knob::Poll(own) => hal::fail::give_up_poll(own.address()),
            Knob::Lateness => LATENESS.take_back(self.place()),
            Knob::Mishaps => MISHAPS.take_back(self.place()),
            Knob::Segments => _ = SEGMENTS.fetch_sub(1, Relaxed),
        }
    }
}

impl File for Faults {
    fn read_now(&self, _caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let number = match self.knob {
            Knob::Nth(_) => hal::fail::left() as u64,
            Knob::Poll(_) => hal::fail::polls_left() as u64,
            Knob::Lateness => LATENESS.get(),
            Knob::Mishaps => PACKETS.load(Relaxed).checked_div(MISHAPS.get()).unwrap_or(0),
            Knob::Segments => loopback_segments().into(),
        };
        let text = format!("{number}\n");
        let rest = usize::try_from(offset).ok().and_then(|from| text.as_bytes().get(from..)).unwrap_or_default();
        let len = rest.len().min(dst.remaining());
        dst.put(&rest[..len])?;
        Ok(Some(len))
    }

    fn write_now(&self, caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let len = src.remaining();
        let mut bytes = [0; DIGITS + 1];
        let bytes = bytes.get_mut(..len).ok_or(Errno::EINVAL)?;
        src.take(bytes)?;
        let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        let number: u64 = text.strip_suffix('\n').unwrap_or(text).parse().map_err(|_| Errno::EINVAL)?;
        self.choose(number, caller)?;
        Ok(Some(len))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.take_back();
    }
}
