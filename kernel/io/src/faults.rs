//! Failures, late answers and the long way on demand, as files of `/proc/asyncos` for root (D13); `hal::fail` says what can fail.
//!
//! `fail-nth`, as Linux's: writing `N` makes the N-th point fail of what the thread that writes goes on to do, 0 none. What is read is how many
//! points are yet to come; 0: it has failed. Closing takes it back, so what ends meanwhile, or runs another program, leaves nothing behind.
//! `kill-nth`: writing `N` has the N-th poll from there on of what the process that writes has submitted end that process, as `SIGKILL` does; for the rest it is as
//! `fail-nth`.
//! `disk-delay`: milliseconds by which the disk is told of each request later, 0 to 5,000.
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
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use mem::{Account, Sink, Source};

/// Longest number that is taken.
const DIGITS: usize = 10;
/// Most milliseconds.
const LATEST: u64 = 5000;

/// Nanoseconds. Relaxed: it guards nothing.
static LATENESS: AtomicU64 = AtomicU64::new(0);

/// By how much the disk is told of a request later, in nanoseconds.
pub fn lateness() -> u64 {
    LATENESS.load(Relaxed)
}

/// Relaxed: it guards nothing.
static SEGMENTS: AtomicBool = AtomicBool::new(false);

/// Whether TCP within this host goes by segments.
pub fn loopback_segments() -> bool {
    SEGMENTS.load(Relaxed)
}

/// What a number is for.
enum Knob {
    /// The account of who opened it: not another's at the same address.
    Nth(Arc<Account>),
    /// The process that opened it. Its number is its own as long as it, or who has its descriptors, is there to write.
    Poll(u32),
    Lateness,
    Segments,
}

/// An open of one of the files.
struct Faults {
    knob: Knob,
    inode: Arc<dyn Inode>,
    /// Something was written: what closing takes back. Relaxed: the last reference sees it.
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
    Ok(Arc::new(Faults::new(Knob::Poll(caller.pid), inode)))
}

/// Opens `disk-delay`.
///
/// # Errors
/// None.
pub fn open_delay(_: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Lateness, inode)))
}

/// Opens `loopback-segments`.
///
/// # Errors
/// None.
pub fn open_segments(_: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Faults::new(Knob::Segments, inode)))
}

impl File for Faults {
    fn read_now(&self, _caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let number = match self.knob {
            Knob::Nth(_) => hal::fail::left() as u64,
            Knob::Poll(_) => hal::fail::polls_left() as u64,
            Knob::Lateness => lateness() / 1_000_000,
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
        self.has_chosen.store(true, Relaxed);
        match &self.knob {
            Knob::Nth(own) if Arc::ptr_eq(own, &caller.account) => hal::fail::choose(number as usize, own.address()),
            Knob::Poll(own) if *own == caller.pid => hal::fail::choose_poll(number as usize, *own),
            Knob::Nth(_) | Knob::Poll(_) => return Err(Errno::EPERM.into()),
            Knob::Lateness if number <= LATEST => LATENESS.store(number * 1_000_000, Relaxed),
            Knob::Segments if number <= 1 => SEGMENTS.store(number == 1, Relaxed),
            Knob::Lateness | Knob::Segments => return Err(Errno::EINVAL.into()),
        }
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
        if !self.has_chosen.load(Relaxed) {
            return; // what is chosen is another's
        }
        match self.knob {
            Knob::Nth(_) => hal::fail::choose(0, 0),
            Knob::Poll(_) => hal::fail::choose_poll(0, 0),
            Knob::Lateness => LATENESS.store(0, Relaxed),
            Knob::Segments => SEGMENTS.store(false, Relaxed),
        }
    }
}
