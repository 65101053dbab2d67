//! Who is told by signals that a description may be read or written: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`.
//!
//! What watches the file is a waker that stays in its queue, as an epoll set's does, and rings a bell. A coroutine that waits for the bell looks
//! what has become possible, and sends the signal: none is sent from where the file was changed, which may be anywhere. What comes before it has looked is told once.
//!
//! **Wake-up protocol.** Who changes the file wakes its queue; the waker sets `has_rung`, then wakes `bell`. The coroutine is in `bell`, clears
//! `has_rung`, then looks.
//!
//! **Who holds what.** The owner is the description's. The watch holds the file, and itself through the file's queue, until it ends with the description or with `O_ASYNC`: at
//! once, so that a pipe's end is gone when its last descriptor is.

use super::{send, send_thread};
use crate::{
    process::{Identity, Process},
    table,
    thread::Thread,
};
use abi::{
    errno::Errno,
    fs::{F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, OwnerEx},
    poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT},
    signal::*,
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    task::Wake,
};
use core::{
    future::Future,
    sync::atomic::{
        AtomicBool,
        Ordering::{AcqRel, Release},
    },
    task::{Context, Waker},
};
use exec::{
    JoinHandle,
    sync::{WaitQueue, wait_until},
};
use hal::sync::{SpinLock, rank};
use io::{
    caller::Caller,
    file::{BoxFuture, File},
    open::OpenFile,
};
use mem::Charge;

/// What a watch takes, with its coroutine and its place in the file's queue.
const BYTES: usize = size_of::<Watch>() + TASK + 384;
/// What its coroutine takes at most.
const TASK: usize = 512;

/// Whom the signals are for: not another that has got its number later, but for a group, which is who has its number then.
#[derive(Clone, Default)]
enum Target {
    #[default]
    Nobody,
    Thread(Weak<Thread>),
    Process(Weak<Process>),
    Group(u32),
}

#[derive(Clone, Default)]
struct State {
    target: Target,
    /// As what it was asked for (`F_OWNER_*`), if that was nobody.
    kind: i32,
    /// Who has chosen that: real and effective user.
    ids: (u32, u32),
    /// 0: `SIGIO`, without more.
    signal: u32,
    /// The number that the description had when it was asked for signals.
    fd: i32,
}

/// What a description has for that.
pub struct Owner {
    state: SpinLock<State>,
    watch: SpinLock<Option<Watching>>,
    _charge: Charge,
}

struct Watching {
    watch: Arc<Watch>,
    coroutine: JoinHandle<()>,
}

impl Owner {
    /// That of a description, if it has one.
    #[must_use]
    pub fn find(open: &OpenFile) -> Option<Arc<Self>> {
        open.kept()
    }

    /// That of a description; one that is made now is nobody's at first.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn of(open: &OpenFile, caller: &Caller) -> Result<Arc<Self>, Errno> {
        if let Some(owner) = Self::find(open) {
            return Ok(owner);
        }
        let _charge = caller.account.charge(size_of::<Self>() + 64)?;
        let state = SpinLock::new(rank::OPEN_FILE, State::default());
        Ok(open.keep(Self { state, watch: SpinLock::new(rank::OPEN_FILE, None), _charge }))
    }

    /// `F_SETOWN`: a process, or with a negative number a group; 0 is nobody.
    ///
    /// # Errors
    /// `EINVAL`, `ESRCH`.
    pub fn set(&self, who: i32, by: &Identity) -> Result<(), Errno> {
        let kind = if who < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
        self.set_kind(OwnerEx { kind, pid: who.checked_abs().ok_or(Errno::EINVAL)? }, by)
    }

    /// `F_SETOWN_EX`.
    ///
    /// # Errors
    /// `EINVAL`, `ESRCH`.
    pub fn set_kind(&self, owner: OwnerEx, by: &Identity) -> Result<(), Errno> {
        let number = u32::try_from(owner.pid).map_err(|_| Errno::ESRCH);
        let target = match (owner.kind, owner.pid) {
            (F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP, 0) => Target::Nobody,
            (F_OWNER_TID, _) => Target::Thread(Arc::downgrade(&table::thread(number?).ok_or(Errno::ESRCH)?)),
            // That of a thread is its process.
            (F_OWNER_PID, _) => Target::Process(Arc::downgrade(&process_of(number?).ok_or(Errno::ESRCH)?)),
            (F_OWNER_PGRP, _) if !table::group(number?).is_empty() => Target::Group(number?),
            (F_OWNER_PGRP, _) => return Err(Errno::ESRCH),
            _ => return Err(Errno::EINVAL),
        };
        let mut state = self.state.lock();
        let old = core::mem::replace(&mut state.target, target);
        state.kind = owner.kind;
        state.ids = (by.uid, by.euid);
        drop(state);
        drop(old);
        Ok(())
    }

    /// `F_GETOWN_EX`; 0 for nobody, or who has ended.
    #[must_use]
    pub fn get_kind(&self) -> OwnerEx {
        let State { target, kind, .. } = self.state.lock().clone();
        let of = |kind, pid: Option<u32>| OwnerEx { kind, pid: pid.unwrap_or(0).cast_signed() };
        match target {
            Target::Nobody => of(kind, None),
            Target::Thread(thread) => of(F_OWNER_TID, thread.upgrade().map(|thread| thread.tid())),
            Target::Process(process) => of(F_OWNER_PID, process.upgrade().map(|process| process.pid())),
            Target::Group(group) => of(F_OWNER_PGRP, (!table::group(group).is_empty()).then_some(group)),
        }
    }

    /// As [`set`](Self::set), unless it is somebody's.
    ///
    /// # Errors
    /// As there.
    pub fn set_default(&self, who: i32, by: &Identity) -> Result<(), Errno> {
        let is_nobody = matches!(self.state.lock().target, Target::Nobody);
        if is_nobody { self.set(who, by) } else { Ok(()) }
    }

    /// `F_GETOWN`: groups are negative.
    #[must_use]
    pub fn get(&self) -> i32 {
        let OwnerEx { kind, pid } = self.get_kind();
        if kind == F_OWNER_PGRP { -pid } else { pid }
    }

    /// `F_GETOWNER_UIDS`: who has chosen the owner.
    #[must_use]
    pub fn chooser(&self) -> (u32, u32) {
        self.state.lock().ids
    }

    /// `F_GETSIG`.
    #[must_use]
    pub fn signal(&self) -> u32 {
        self.state.lock().signal
    }

    /// `F_SETSIG`.
    pub fn set_signal(&self, signal: u32) {
        self.state.lock().signal = signal;
    }

    /// Begins to tell of what becomes possible with a description, which has this number, on behalf of `thread`. Does nothing if it does so already.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn begin(self: &Arc<Self>, fd: i32, open: &OpenFile, thread: &Thread, caller: &Caller) -> Result<(), Errno> {
        if self.watch.lock().is_some() {
            return Ok(());
        }
        self.state.lock().fd = fd;
        let charge = caller.account.charge(BYTES)?;
        let watch = Watch::new(open, caller);
        let life = tell(watch.clone(), Arc::downgrade(self), watch.since, charge);
        check_size(&life);
        let coroutine = exec::try_spawn_with(&thread.birth_of_request(), "sigio", life).map_err(|_| Errno::ENOMEM)?;
        let begun = Watching { watch: watch.clone(), coroutine };
        let other = {
            let mut watching = self.watch.lock();
            if watching.is_some() { Some(begun) } else { watching.replace(begun) }
        };
        // Of two at once, one begins.
        drop(other);
        watch.enter(watch.since);
        Ok(())
    }

    /// Ends that.
    pub fn end(&self) {
        let old = self.watch.lock().take();
        drop(old);
    }

    /// Sends the signal for `code` (`POLL_*`).
    fn tell(&self, code: i32) {
        let state = self.state.lock().clone();
        match &state.target {
            Target::Nobody => {}
            Target::Thread(thread) => {
                if let Some(thread) = thread.upgrade() {
                    state.tell(thread.process(), code, |info| send_thread(&thread, info));
                }
            }
            Target::Process(process) => {
                if let Some(process) = process.upgrade() {
                    state.tell(&process, code, |info| send(&process, info));
                }
            }
            Target::Group(group) => {
                for process in table::group(*group) {
                    state.tell(&process, code, |info| send(&process, info));
                }
            }
        }
    }
}

fn process_of(number: u32) -> Option<Arc<Process>> {
    table::process(number).or_else(|| Some(table::thread(number)?.process().clone()))
}

impl State {
    /// Sends it if who has chosen this process may, by the users of then. Where the queue is full, `SIGIO` says that something was lost.
    fn tell(&self, process: &Process, code: i32, send: impl Fn(Siginfo) -> Result<(), Errno>) {
        let (to, (uid, euid)) = (process.identity(), self.ids);
        if euid != 0 && ![uid, euid].iter().any(|id| *id == to.uid || *id == to.suid) {
            return;
        }
        if self.signal == 0 || send(Siginfo::readiness(self.signal, code, self.fd)).is_err() {
            // Standard signals always fit.
            let _ = send(Siginfo::sent(SIGIO, SI_KERNEL, 0, 0, 0));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.coroutine.abort();
        self.watch.end();
    }
}

/// What is in the file's queue.
struct Watch {
    /// Not there when it has ended.
    file: SpinLock<Option<Arc<dyn File>>>,
    /// The place in the file's queue, or a wait.
    armed: SpinLock<Option<BoxFuture<'static, Result<(), Errno>>>>,
    caller: Caller,
    /// Events that the access mode has to do with.
    events: u32,
    /// Edges when it began: what came before is not told.
    since: u64,
    has_rung: AtomicBool,
    bell: WaitQueue,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        // Release pairs with the AcqRel of the coroutine.
        self.has_rung.store(true, Release);
        self.bell.wake_all();
    }
}

impl Watch {
    fn new(open: &OpenFile, caller: &Caller) -> Arc<Self> {
        Arc::new(Self {
            file: SpinLock::new(rank::OPEN_FILE, Some(open.file().clone())),
            armed: SpinLock::new(rank::OPEN_FILE, None),
            caller: caller.clone(),
            events: if open.readable() { EPOLLIN } else { EPOLLOUT } | EPOLLERR | EPOLLHUP,
            since: open.file().look(caller).0,
            has_rung: AtomicBool::new(false),
            bell: WaitQueue::new(),
        })
    }

    /// Enters the file's queue, if it is not in it, and rings if the edges are not `since` any more.
    fn enter(self: &Arc<Self>, since: u64) {
        let Some(file) = self.file.lock().clone() else { return };
        let mut place = self.armed.lock().take().unwrap_or_else(|| self.place(file.clone(), since));
        let waker = Waker::from(self.clone());
        let waits = place.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        let old = if waits { self.armed.lock().replace(place) } else { Some(place) };
        drop(old);
        if self.file.lock().is_none() {
            // It has ended meanwhile, and nobody else comes for that.
            self.end();
        } else if !waits || file.look(&self.caller).0 != since {
            waker.wake();
        }
    }

    fn place(&self, file: Arc<dyn File>, since: u64) -> BoxFuture<'static, Result<(), Errno>> {
        let (events, caller) = (self.events, self.caller.clone());
        Box::pin(async move {
            match file.watched(events) {
                Some(queue) => match exec::sync::stay(queue).await {},
                None => file.wait_edge(&caller, events, since).await,
            }
        })
    }

    fn end(&self) {
        let file = self.file.lock().take();
        let place = self.armed.lock().take();
        drop((file, place));
    }

    /// The edges so far, and what to tell, if there is something new.
    fn look(&self, since: u64) -> Option<(u64, Option<i32>)> {
        let file = self.file.lock().clone()?;
        let (edges, events) = file.look(&self.caller);
        Some((edges, (edges != since).then(|| code_of(events, self.events))))
    }
}

/// As Linux says it: a pipe that nobody has the other end of is readable, or writable.
fn code_of(events: u32, watched: u32) -> i32 {
    match () {
        () if watched & EPOLLIN == 0 => POLL_OUT,
        () if events & EPOLLERR != 0 => POLL_ERR,
        () if events & (EPOLLHUP | EPOLLOUT) == EPOLLHUP | EPOLLOUT => POLL_HUP,
        // It may have been read already.
        () if events & (EPOLLIN | EPOLLOUT) != EPOLLOUT => POLL_IN,
        () => POLL_OUT,
    }
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

/// The coroutine.
async fn tell(watch: Arc<Watch>, owner: Weak<Owner>, mut since: u64, _charge: Charge) {
    loop {
        // AcqRel: with the waker's Release; what was changed before it is seen.
        wait_until(&watch.bell, || watch.has_rung.swap(false, AcqRel).then_some(())).await;
        let Some((edges, code)) = watch.look(since) else { return };
        since = edges;
        if let Some(code) = code {
            let Some(owner) = owner.upgrade() else { return };
            owner.tell(code);
        }
        watch.enter(since);
        // Who changes the file all the time keeps nobody from running.
        exec::yield_now().await;
    }
}
