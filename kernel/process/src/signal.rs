//! Signals: what is pending, what a process does about each, and sending.
//!
//! Sending makes the signal visible in a [`Pending`] set first and notifies a thread then; the thread takes it out
//! and acts on it in [`deliver`] before it next enters user mode. `SIGKILL` does not queue: it ends the process.

pub mod deliver;
pub mod file;
pub mod owner;

use crate::{
    process::Process,
    table::{self, Change},
    thread::Thread,
};
use abi::{
    errno::Errno,
    process::{RLIMIT_SIGPENDING, WaitStatus},
    signal::*,
};
use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering, fence},
};
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use mem::{Account, Charge};

/// Sets of signals.
pub mod bits {
    use abi::signal::*;

    /// Cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: u64 = mask(SIGKILL) | mask(SIGSTOP);
    /// Stop a process unless caught.
    pub const STOP: u64 = mask(SIGSTOP) | mask(SIGTSTP) | mask(SIGTTIN) | mask(SIGTTOU);
    /// Ignored unless caught.
    pub const IGNORED: u64 = mask(SIGCHLD) | mask(SIGURG) | mask(SIGWINCH) | mask(SIGCONT);
    /// Raised by an instruction of the thread itself; dealt with before others.
    pub const SYNCHRONOUS: u64 =
        mask(SIGSEGV) | mask(SIGBUS) | mask(SIGILL) | mask(SIGTRAP) | mask(SIGFPE) | mask(SIGSYS);
}

/// Signals that wait to be dealt with.
pub struct Pending {
    /// Relaxed with `infos` locked; a reader without the lock is told by `Thread::notify`.
    mask: AtomicU64,
    /// In order of arrival.
    infos: SpinLock<Vec<Queued>>,
}

struct Queued {
    info: Siginfo,
    /// Of standard signals there is one of each: the thread is paid for with room for them.
    _paid: Option<Charge>,
}

/// What a queued real-time signal costs: itself, and as much again, which the queue may keep ahead.
const QUEUED: usize = 2 * size_of::<Queued>();

impl Default for Pending {
    fn default() -> Self {
        Self::new()
    }
}

impl Pending {
    /// Nothing pending.
    #[must_use]
    pub const fn new() -> Self {
        Self { mask: AtomicU64::new(0), infos: SpinLock::new(rank::SIGNAL, Vec::new()) }
    }

    /// The set of pending signals.
    #[inline]
    #[must_use]
    pub fn mask(&self) -> u64 {
        self.mask.load(Ordering::Acquire) // pairs with the Release in `push`
    }

    /// Adds a signal. Below `SIGRTMIN` one of each kind is kept; above, up to `limit` in all, paid by `account`.
    ///
    /// # Errors
    /// `EAGAIN` if the queue of real-time signals is full.
    fn push(&self, info: Siginfo, limit: usize, account: &Arc<Account>) -> Result<(), Errno> {
        let signal = info.signo as u32;
        let mut infos = self.infos.lock();
        let pending = self.mask.load(Ordering::Relaxed);
        if signal < SIGRTMIN && pending & mask(signal) != 0 {
            return Ok(());
        }
        let _paid = match signal {
            SIGRTMIN.. if infos.len() >= limit => return Err(Errno::EAGAIN),
            SIGRTMIN.. => Some(account.charge(QUEUED).map_err(|_| Errno::EAGAIN)?),
            _ => None,
        };
        infos.push(Queued { info, _paid });
        self.mask.store(pending | mask(signal), Ordering::Release); // pairs with the Acquire in `mask`
        Ok(())
    }

    /// Takes out the first signal that `allowed` contains: synchronous ones first, then by number.
    pub(crate) fn take(&self, allowed: u64) -> Option<Siginfo> {
        match self.take_if(allowed, |_| Ok::<_, Infallible>(())) {
            Ok(info) => info,
        }
    }

    /// As [`Pending::take`], but `accept` sees it first, and it stays if that fails. `accept` runs with the signals locked.
    pub(crate) fn take_if<E>(
        &self,
        allowed: u64,
        accept: impl FnOnce(&Siginfo) -> Result<(), E>,
    ) -> Result<Option<Siginfo>, E> {
        if self.mask() & allowed == 0 {
            return Ok(None);
        }
        let mut infos = self.infos.lock();
        let ready = self.mask.load(Ordering::Relaxed) & allowed;
        let first = if ready & bits::SYNCHRONOUS != 0 { ready & bits::SYNCHRONOUS } else { ready };
        let signal = first.trailing_zeros() as i32 + 1;
        let Some(at) = infos.iter().position(|queued| queued.info.signo == signal) else { return Ok(None) };
        accept(&infos[at].info)?;
        let Queued { info, .. } = infos.remove(at);
        if !infos.iter().any(|queued| queued.info.signo == signal) {
            self.mask.fetch_and(!mask(signal as u32), Ordering::Relaxed);
        }
        Ok(Some(info))
    }

    /// Forgets these signals.
    fn discard(&self, signals: u64) {
        let mut infos = self.infos.lock();
        infos.retain(|queued| mask(queued.info.signo as u32) & signals == 0);
        self.mask.fetch_and(!signals, Ordering::Relaxed);
    }
}

/// Tells who reads a process's signals ([`file::SignalFile`]) that there are more, for it or for one of its threads.
#[derive(Default)]
pub(crate) struct Arrivals {
    pub queue: WaitQueue,
    count: AtomicU64,
}

impl Arrivals {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed) // orders nothing: who is late is woken by the queue
    }

    /// One more, which is pending by now.
    pub fn note(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.queue.wake_all();
    }
}

/// What a process does about each signal; shared by `CLONE_SIGHAND` relatives.
pub struct Actions(SpinLock<[Sigaction; 64]>);

const DEFAULT_ACTION: Sigaction = Sigaction { handler: SIG_DFL as u64, flags: 0, mask: 0 };

impl Actions {
    /// The default for all.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(SpinLock::new(rank::SIGNAL, [DEFAULT_ACTION; 64])))
    }

    /// A copy for `fork`.
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        let copy = *self.0.lock();
        Arc::new(Self(SpinLock::new(rank::SIGNAL, copy)))
    }

    /// What `execve` leaves: handlers are gone, ignored signals stay ignored.
    #[must_use]
    pub fn exec(&self) -> Arc<Self> {
        let mut copy = *self.0.lock();
        for action in &mut copy {
            let ignored = action.handler == SIG_IGN as u64;
            *action = Sigaction { handler: if ignored { SIG_IGN as u64 } else { SIG_DFL as u64 }, ..DEFAULT_ACTION };
        }
        Arc::new(Self(SpinLock::new(rank::SIGNAL, copy)))
    }

    /// The action for a valid signal number.
    #[must_use]
    pub fn get(&self, signal: u32) -> Sigaction {
        let at = signal.wrapping_sub(1) as usize;
        self.0.lock().get(at).copied().unwrap_or(DEFAULT_ACTION)
    }

    fn set(&self, signal: u32, action: Sigaction) {
        if let Some(slot) = self.0.lock().get_mut(signal.wrapping_sub(1) as usize) {
            *slot = action;
        }
    }

    fn ignores(&self, signal: u32) -> bool {
        let handler = self.get(signal).handler;
        handler == SIG_IGN as u64 || (handler == SIG_DFL as u64 && bits::IGNORED & mask(signal) != 0)
    }
}

/// Checks a signal number; 0 ("is it there?") passes.
///
/// # Errors
/// `EINVAL`.
pub fn check_number(signal: i32) -> Result<u32, Errno> {
    u32::try_from(signal).ok().filter(|&signal| signal <= SIGRTMAX).ok_or(Errno::EINVAL)
}

/// `rt_sigaction`: answers the old action.
///
/// # Errors
/// `EINVAL` for a number that is none, or that cannot be changed.
pub fn set_action(process: &Process, signal: i32, new: Option<Sigaction>) -> Result<Sigaction, Errno> {
    let signal = check_number(signal)?;
    let fixed = mask(signal) & bits::UNBLOCKABLE != 0;
    if signal == 0 || (fixed && new.is_some()) {
        return Err(Errno::EINVAL);
    }
    let actions = process.actions();
    let old = actions.get(signal);
    if let Some(new) = new {
        actions.set(signal, Sigaction { mask: new.mask & !bits::UNBLOCKABLE, ..new });
        if actions.ignores(signal) {
            discard_everywhere(process, mask(signal));
        }
    }
    Ok(old)
}

/// `sigaltstack`: answers the old stack. `stack_pointer` is the caller's.
///
/// # Errors
/// `EPERM` while on that stack, `EINVAL` (flags), `ENOMEM` (too small).
pub fn set_alternate_stack(thread: &Thread, stack_pointer: usize, new: Option<SigStack>) -> Result<SigStack, Errno> {
    let mut slot = thread.alternate.lock();
    let on_it = on_stack(&slot, stack_pointer);
    let mut old = *slot;
    old.flags = if old.flags & SS_DISABLE as i32 != 0 {
        SS_DISABLE as i32
    } else if on_it {
        SS_ONSTACK as i32
    } else {
        0
    };
    if let Some(new) = new {
        if on_it {
            return Err(Errno::EPERM);
        }
        let mode = new.flags as u32 & !SS_AUTODISARM;
        if mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK {
            return Err(Errno::EINVAL);
        }
        if mode != SS_DISABLE && new.size < MINSIGSTKSZ as u64 {
            return Err(Errno::ENOMEM);
        }
        *slot = SigStack { flags: if mode == SS_DISABLE { SS_DISABLE as i32 } else { 0 }, ..new };
    }
    Ok(old)
}

fn on_stack(stack: &SigStack, sp: usize) -> bool {
    let enabled = stack.flags & SS_DISABLE as i32 == 0;
    enabled && (sp as u64) > stack.sp && sp as u64 - stack.sp <= stack.size
}

/// Whether `thread` blocks or ignores a signal.
#[must_use]
pub fn is_refused(thread: &Thread, signal: u32) -> bool {
    let ignored = thread.process().actions().get(signal).handler == SIG_IGN as u64;
    ignored || thread.signal_mask() & mask(signal) != 0
}

/// Sends a signal to a process.
///
/// # Errors
/// `EAGAIN` if its queue is full.
pub fn send(process: &Arc<Process>, info: Siginfo) -> Result<(), Errno> {
    if !admit(process, &info, false) {
        return Ok(());
    }
    process.pending.push(info, process.limit(RLIMIT_SIGPENDING) as usize, process.account())?;
    fence(Ordering::SeqCst); // pairs with those in `Thread::{set_signal_mask, take_signal}`
    process.arrivals.note();
    let signal = info.signo as u32;
    let threads = process.threads();
    let waiting = threads.iter().find(|thread| thread.awaits(signal));
    let takes = |thread: &&Arc<Thread>| thread.signal_mask() & mask(signal) == 0 && !thread.killed();
    if let Some(thread) = waiting.or_else(|| threads.iter().find(takes)) {
        thread.notify();
    }
    Ok(())
}

/// Tells others of the signals for the process in `signals`, which `thread` does not take: it blocks them, or it ends.
/// [`send`] may have told it alone, just before. Called after its mask (or its end) is visible: either `send` sees that,
/// or this sees the signal.
pub fn retarget(thread: &Thread, signals: u64) {
    let process = thread.process();
    let mut left = process.pending.mask() & signals;
    if left == 0 {
        return;
    }
    for other in process.threads() {
        let takes = left & !other.signal_mask();
        if takes != 0 && !core::ptr::eq(&*other, thread) && !other.killed() {
            other.notify();
            left &= !takes;
        }
    }
}

/// Sends a signal to one thread.
///
/// # Errors
/// `EAGAIN` if its queue is full.
pub fn send_thread(thread: &Arc<Thread>, info: Siginfo) -> Result<(), Errno> {
    let process = thread.process();
    let blocked = thread.signal_mask() & mask(info.signo as u32) != 0;
    if !admit(process, &info, blocked) {
        return Ok(());
    }
    thread.pending.push(info, process.limit(RLIMIT_SIGPENDING) as usize, process.account())?;
    process.arrivals.note();
    thread.notify();
    Ok(())
}

/// Sends a signal that the thread itself caused and cannot escape: blocked or ignored, it kills.
pub(crate) fn force(thread: &Arc<Thread>, info: Siginfo) {
    let signal = info.signo as u32;
    let actions = thread.process().actions();
    let blocked = thread.signal_mask() & mask(signal) != 0;
    if blocked || actions.get(signal).handler == SIG_IGN as u64 {
        actions.set(signal, DEFAULT_ACTION);
        thread.set_signal_mask(thread.signal_mask() & !mask(signal));
    }
    // A full queue cannot lose it: standard signals always fit.
    let _ = thread.pending.push(info, usize::MAX, thread.process().account());
    thread.process().arrivals.note();
    thread.notify();
}

/// Does what has to be done at once; says whether the signal is to be queued.
fn admit(process: &Arc<Process>, info: &Siginfo, blocked: bool) -> bool {
    let signal = info.signo as u32;
    let actions = process.actions();
    let by_default = actions.get(signal).handler == SIG_DFL as u64;
    // The first process gets from others only what it has a handler for: the system depends on it.
    if process.pid() == 1 && by_default && info.code <= SI_USER {
        return false;
    }
    if mask(signal) & bits::STOP != 0 {
        discard_everywhere(process, mask(SIGCONT));
    }
    if signal == SIGCONT || signal == SIGKILL {
        // Before it goes on: a stop that a thread has taken out by then is recognised by the count.
        discard_everywhere(process, bits::STOP);
        if process.resume() && signal == SIGCONT {
            report_change(process, Change::Continued, CLD_CONTINUED, SIGCONT);
        }
    }
    if signal == SIGKILL {
        process.end(WaitStatus::Signaled(SIGKILL as u8, false).encode());
        return false;
    }
    blocked
        || !actions.ignores(signal)
        || process.threads().iter().all(|thread| thread.signal_mask() & mask(signal) != 0)
}

fn discard_everywhere(process: &Process, signals: u64) {
    process.pending.discard(signals);
    process.threads().iter().for_each(|thread| thread.pending.discard(signals));
}

/// Stops all threads of a process, unless a `SIGCONT` came after `continued` was read ([`Process::continued`]): it was
/// sent after the signal that stops, and found nothing to continue yet.
pub(crate) fn stop(process: &Arc<Process>, signal: u32, continued: u32) {
    if process.stop(continued) {
        report_change(process, Change::Stopped(signal as u8), CLD_STOPPED, signal);
    }
}

fn report_change(process: &Arc<Process>, change: Change, code: i32, signal: u32) {
    let Some(parent) = table::note(process.pid(), change) else { return };
    if parent.actions().get(SIGCHLD).flags & SA_NOCLDSTOP == 0 {
        let info = Siginfo::child(code, process.pid() as i32, process.user(), signal as i32, 0, 0);
        // Its queue may be full: the change can be waited for all the same.
        let _ = send(&parent, info);
    }
    parent.changed.wake_all();
}

/// Whether `sender` may send `signal` to `target`.
#[must_use]
pub fn may_send(sender: &Process, target: &Process, signal: u32) -> bool {
    let (from, to) = (sender.identity(), target.identity());
    let same = [from.euid, from.uid].iter().any(|id| *id == to.uid || *id == to.suid);
    let session = |process: &Process| table::kin(process.pid()).map(|kin| kin.session);
    from.euid == 0 || same || (signal == SIGCONT && session(sender) == session(target))
}

/// `kill`: `pid` above 0 is a process, 0 the own group, -1 everybody else, below a group.
///
/// # Errors
/// `EINVAL`, `ESRCH`, `EPERM` (none of them could be sent to).
pub fn kill(sender: &Arc<Process>, pid: i32, signal: i32) -> Result<(), Errno> {
    let number = check_number(signal)?;
    let group = match pid {
        1.. => {
            let target = table::process(pid as u32).ok_or(Errno::ESRCH)?;
            return send_if_allowed(sender, &target, number);
        }
        0 => table::kin(sender.pid()).map_or(0, |kin| kin.group),
        _ => pid.unsigned_abs(),
    };
    if pid != -1 {
        return send_all(sender, number, || table::group(group));
    }
    let others = |process: &Arc<Process>| process.pid() != 1 && process.pid() != sender.pid();
    send_all(sender, number, || table::members(|_| true).into_iter().filter(others).collect())
}

fn send_if_allowed(sender: &Process, target: &Arc<Process>, number: u32) -> Result<(), Errno> {
    if !may_send(sender, target, number) {
        return Err(Errno::EPERM);
    }
    let info = Siginfo::sent(number, SI_USER, sender.pid() as i32, sender.user(), 0);
    if number == 0 { Ok(()) } else { send(target, info) }
}

/// Looks for processes that were made while the others got their signal: a child whose parent had not got it yet. Those who
/// make more all the time do not keep the sender for ever.
const ROUNDS: usize = 100;

/// Sends to all that `targets` finds, and to those that it finds then.
pub(crate) fn send_all(sender: &Process, number: u32, targets: impl Fn() -> Vec<Arc<Process>>) -> Result<(), Errno> {
    let (mut result, mut told) = (Err(Errno::ESRCH), BTreeSet::new());
    for _ in 0..ROUNDS {
        let mut fresh = targets();
        fresh.retain(|target| told.insert(target.pid()));
        if fresh.is_empty() {
            break;
        }
        for target in &fresh {
            let sent = send_if_allowed(sender, target, number);
            result = if result.is_ok() { result } else { sent };
        }
    }
    result
}

/// `tkill` and `tgkill` (with `pid`).
///
/// # Errors
/// `EINVAL`, `ESRCH`, `EPERM`, `EAGAIN`.
pub fn kill_thread(sender: &Arc<Process>, pid: Option<i32>, tid: i32, signal: i32) -> Result<(), Errno> {
    let number = check_number(signal)?;
    if tid <= 0 || pid.is_some_and(|pid| pid <= 0) {
        return Err(Errno::EINVAL);
    }
    let thread = table::thread(tid as u32).ok_or(Errno::ESRCH)?;
    if pid.is_some_and(|pid| pid as u32 != thread.process().pid()) {
        return Err(Errno::ESRCH);
    }
    if !may_send(sender, thread.process(), number) {
        return Err(Errno::EPERM);
    }
    if number == 0 {
        return Ok(());
    }
    send_thread(&thread, Siginfo::sent(number, SI_TKILL, sender.pid() as i32, sender.user(), 0))
}

/// Sends a signal of the kernel to a process group: the terminal's Ctrl-C.
pub fn send_group(group: u32, signal: u32) {
    for process in table::group(group) {
        // A full queue cannot happen: only standard signals come from the kernel.
        let _ = send(&process, Siginfo::sent(signal, SI_KERNEL, 0, 0, 0));
    }
}
