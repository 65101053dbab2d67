//! Time: requests that end at a time or after so many completions, limits of the time of others, and changes of both.
//!
//! **One decides.** Whether a time is over, was removed or changed is decided under the lock of its [`Timer`].

use super::{
    Ring,
    operation::{Done, Step},
    request::Request,
};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*, time::Timespec};
use core::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};
use exec::sync::stay;
use hal::sync::SpinLock;
use io::file::IoError;

const CLOCKS: u32 = IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME;
const UPDATES: u32 = IORING_TIMEOUT_UPDATE | IORING_LINK_TIMEOUT_UPDATE;

/// `IORING_OP_TIMEOUT`, `IORING_OP_LINK_TIMEOUT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeout {
    nanos: u64,
    /// Completions after which it is over, or how often it comes; 0: neither.
    count: u32,
    flags: u32,
}

/// A time in the program's memory. Nanoseconds beyond a second are added, as in Linux.
fn time_at(task: &Task<'_>, addr: u64) -> Result<u64, IoError> {
    let Timespec { sec, nsec } = task.space().get_now(addr as usize).map_err(IoError::Fault)?;
    match (u64::try_from(sec), u64::try_from(nsec)) {
        (Ok(sec), Ok(nsec)) => Ok(sec.saturating_mul(1_000_000_000).saturating_add(nsec)),
        _ => Err(Errno::EINVAL.into()),
    }
}

impl Timeout {
    pub(super) fn prepare(task: &Task<'_>, entry: &Sqe) -> Result<Self, IoError> {
        const KNOWN: u32 = IORING_TIMEOUT_ABS | CLOCKS | IORING_TIMEOUT_ETIME_SUCCESS | IORING_TIMEOUT_MULTISHOT;
        const REPEATED_AT: u32 = IORING_TIMEOUT_MULTISHOT | IORING_TIMEOUT_ABS;
        let (flags, count) = (entry.op_flags, entry.off as u32);
        let is_limit = entry.opcode == IORING_OP_LINK_TIMEOUT;
        if entry.buf_index != 0
            || entry.len != 1
            || entry.file_index != 0
            || (is_limit && count != 0)
            || flags & !KNOWN != 0
            || flags & CLOCKS == CLOCKS
            || flags & REPEATED_AT == REPEATED_AT
        {
            return Err(Errno::EINVAL.into());
        }
        Ok(Self { nanos: time_at(task, entry.addr)?, count, flags })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Begins now.
    pub(super) fn start(&self, ring: &Ring) -> Timer {
        let by_wall_clock = self.has(IORING_TIMEOUT_REALTIME);
        let multishot = self.has(IORING_TIMEOUT_MULTISHOT);
        Timer {
            deadline: deadline(self.nanos, self.has(IORING_TIMEOUT_ABS), by_wall_clock),
            period: multishot.then_some(self.nanos),
            repeats: if multishot { self.count } else { 0 },
            counts: (self.count > 0 && !multishot).then(|| (ring.counted(), self.count)),
            by_wall_clock,
            changes: 0,
            is_over: false,
        }
    }

    /// Waits for its end.
    pub(super) async fn wait(&self, ring: &Ring, request: &Request) -> Done {
        let over =
            Done { result: Errno::ETIME.to_return() as i32, fails: !self.has(IORING_TIMEOUT_ETIME_SUCCESS), flags: 0 };
        let Some(timer) = request.timer.as_deref() else { return over };
        let counts = self.count > 0 && !self.has(IORING_TIMEOUT_MULTISHOT);
        let (mut sleep, mut posts) = (Sleeper::default(), pin!(counts.then(|| stay(ring.changed()))));
        poll_fn(move |context| {
            if let Some(posts) = posts.as_mut().as_pin_mut() {
                // It only has this woken, before the look.
                let _ = posts.poll(context);
                let counted = ring.counted();
                if timer.lock().is_reached(counted) {
                    ring.count_timeout();
                    ring.tell_time();
                    return Poll::Ready(Done::with(0));
                }
            }
            let expiry = sleep.poll(timer, context);
            if matches!(expiry, Expiry::No) {
                return Poll::Pending;
            }
            ring.count_timeout();
            if let Expiry::Again(changes) = expiry {
                let more = Cqe { user_data: request.user_data(), res: over.result, flags: IORING_CQE_F_MORE };
                if ring.post_time(more) {
                    // Others get their turn, however short the period is.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // There was no room: that was the last, unless who has removed or changed it meanwhile was told so. Then the cancellation comes, or the other time.
                if !timer.lock().ends_behind(changes) {
                    ring.uncount_timeout();
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            ring.tell_time();
            Poll::Ready(over)
        })
        .await
    }
}

fn deadline(nanos: u64, is_absolute: bool, by_wall_clock: bool) -> u64 {
    match (is_absolute, by_wall_clock) {
        (false, _) => hal::time::now().saturating_add(nanos),
        (true, false) => nanos,
        (true, true) => hal::time::of_wall(nanos),
    }
}

/// The state of a time that is waited for.
pub(super) struct Timer {
    deadline: u64,
    /// When it comes again after that.
    period: Option<u64>,
    /// How often it comes yet; 0: without end.
    repeats: u32,
    /// The count of completions when it last looked, and how many more of them it waits for.
    counts: Option<(u32, u32)>,
    by_wall_clock: bool,
    /// How often it was changed.
    changes: u32,
    /// Nothing changes it any more.
    is_over: bool,
}

/// What a look at the clock says.
enum Expiry {
    No,
    /// It comes again, unless it is changed after so many changes.
    Again(u32),
    Over,
}

impl Timer {
    fn is_reached(&mut self, counted: u32) -> bool {
        let Some((last, left)) = &mut self.counts else { return false };
        // Less than before: one that tells the time is counted just before it is posted.
        let more = counted.wrapping_sub(*last).cast_signed().max(0).cast_unsigned();
        (*last, *left) = (last.wrapping_add(more), left.saturating_sub(more));
        let ends = !self.is_over && *left == 0;
        self.is_over |= ends;
        ends
    }

    fn expire(&mut self) -> Expiry {
        match self.period {
            Some(period) if self.repeats != 1 => {
                self.repeats = self.repeats.saturating_sub(1);
                self.deadline = hal::time::now().saturating_add(period);
                Expiry::Again(self.changes)
            }
            _ => {
                self.is_over = true;
                Expiry::Over
            }
        }
    }

    /// It is over, unless it was removed, or changed since there were so many changes.
    fn ends_behind(&mut self, changes: u32) -> bool {
        let ends = !self.is_over && self.changes == changes;
        self.is_over |= ends;
        ends
    }

    /// As in Linux, one that is changed counts no more: neither completions nor repetitions.
    fn change(&mut self, nanos: u64, is_absolute: bool) {
        self.deadline = deadline(nanos, is_absolute, self.by_wall_clock);
        self.period = self.period.map(|_| nanos);
        self.changes = self.changes.wrapping_add(1);
        (self.repeats, self.counts) = (0, None);
    }
}

/// Sleeps until a timer's time, which may change meanwhile: who changes it wakes the coroutine afterwards.
#[derive(Default)]
pub(super) struct Sleeper(Option<exec::Sleep>);

impl Sleeper {
    fn poll(&mut self, timer: &SpinLock<Timer>, context: &mut Context<'_>) -> Expiry {
        let deadline = {
            let timer = timer.lock();
            if timer.is_over {
                // Removed: the cancellation comes.
                return Expiry::No;
            }
            timer.deadline
        };
        let sleep = match &mut self.0 {
            Some(sleep) if sleep.deadline() == deadline => sleep,
            other => other.insert(exec::sleep_until(deadline)),
        };
        if Pin::new(sleep).poll(context).is_pending() {
            return Expiry::No;
        }
        let mut timer = timer.lock();
        if timer.is_over {
            return Expiry::No;
        }
        if timer.deadline != deadline {
            context.waker().wake_by_ref();
            return Expiry::No;
        }
        timer.expire()
    }

    /// Whether a limit is over now.
    pub(super) fn is_over(&mut self, timer: &SpinLock<Timer>, context: &mut Context<'_>) -> bool {
        !matches!(self.poll(timer, context), Expiry::No)
    }
}

/// `IORING_OP_TIMEOUT_REMOVE`, which also changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    user_data: u64,
    flags: u32,
    nanos: u64,
}

impl Change {
    pub(super) fn prepare(task: &Task<'_>, entry: &Sqe) -> Result<Self, IoError> {
        let (user_data, flags) = (entry.addr, entry.op_flags);
        if entry.flags & IOSQE_FIXED_FILE != 0 || entry.buf_index != 0 || entry.len != 0 || entry.file_index != 0 {
            return Err(Errno::EINVAL.into());
        }
        if flags & UPDATES == 0 {
            return if flags == 0 { Ok(Self { user_data, flags, nanos: 0 }) } else { Err(Errno::EINVAL.into()) };
        }
        if flags & CLOCKS != 0 || flags & !(UPDATES | IORING_TIMEOUT_ABS) != 0 {
            return Err(Errno::EINVAL.into());
        }
        Ok(Self { user_data, flags, nanos: time_at(task, entry.off)? })
    }

    pub(super) fn run(self, ring: &Ring) -> Step {
        let has = |flag| self.flags & flag != 0;
        let opcode = match has(IORING_TIMEOUT_UPDATE) && has(IORING_LINK_TIMEOUT_UPDATE) {
            true => IORING_OP_LINK_TIMEOUT,
            false => IORING_OP_TIMEOUT,
        };
        let Some(request) = ring.requests.first(self.user_data, |request| request.about.opcode == opcode) else {
            return Step::Done(Done::failed(Errno::ENOENT));
        };
        let Some(timer) = request.timer.as_deref() else { return Step::Done(Done::failed(Errno::ENOENT)) };
        let mut timer = timer.lock();
        if timer.is_over {
            return Step::Done(Done::failed(Errno::EALREADY));
        }
        if has(IORING_TIMEOUT_UPDATE) {
            timer.change(self.nanos, has(IORING_TIMEOUT_ABS));
            drop(timer);
            request.rouse();
        } else {
            timer.is_over = true;
            drop(timer);
            request.cancel();
        }
        Step::Done(Done::with(0))
    }
}
