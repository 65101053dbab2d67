//! Entries that are taken without a call: a ring that is made with `IORING_SETUP_SQPOLL` has a coroutine that looks for them (note 0005, section 3).
//!
//! ```text
//!   looks --there are some--> takes them, as a call would, but for who made the ring
//!     ^ |                       |
//!     | +<----------------------+
//!     |
//!     +--none for too long, or others wait for a hart--> parked: IORING_SQ_NEED_WAKEUP --called--> looks
//! ```
//!
//! **Wake-up.** With the program it is `base/ring`'s protocol: who parks sets the flag and looks once more, who submits looks at the flag behind the tail. With who
//! calls: the mark `called` is set, then the queue is woken; who parks is in the queue before it looks at the mark (A10). So a call that comes between
//! the flag and the queue is seen, and one that comes before the flag costs a look for nothing.
//!
//! **The end.** It comes with the last descriptor of the ring, and with the program that made it (exit, `execve`); the mark `is_over` is looked at wherever it
//! looks for entries or parks. Requests that it began behind who ended those of the ring, or of the process, it ends itself.
//!
//! **Whose time.** What its polls take is the process's, as its threads' is: it runs at their priority until that has had its share, then ranked
//! with them. While it only looks it never keeps a hart from others.

use super::{
    Ring,
    enter::{submit, submit_now},
    request::Owner,
    usage::{self, Usage},
};
use crate::context::{OfRequest, Task};
use abi::{
    asyncos::IORING_SETUP_PRIORITIES,
    errno::Errno,
    io_uring::{IORING_SETUP_R_DISABLED, Params},
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{
        AtomicBool, AtomicU8,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};
use exec::{
    Birth, Priority, TaskRef,
    sync::{WaitQueue, wait_until},
};
use hal::sync::{SpinLock, rank};
use process::{Attached, Process, Thread};

/// Looks in one poll.
const LOOKS: usize = 32;
/// Polls in a row in which others wait at other harts before this one is left to them.
const PATIENCE: u32 = 64;
/// How long it looks for entries where the program does not say.
const IDLE: u64 = 1_000_000_000;
/// It tries again after so long when there is no place for a completion.
const PAUSE: u64 = 1_000_000;
/// What the coroutine takes at most.
const TASK: usize = 1_152;

/// What a ring that is polled has beside what all have.
pub(super) struct Poller {
    /// The process that made the ring.
    pid: u32,
    /// Nanoseconds without an entry after which it parks.
    idle: u64,
    /// It is to look again.
    called: AtomicBool,
    /// It takes no more.
    is_over: AtomicBool,
    calls: WaitQueue,
    /// The coroutine, and the thread that made the ring, where entries say how urgent they are.
    served: SpinLock<Option<(TaskRef, Arc<Thread>)>>,
    /// The priority that the coroutine may have then: less than the thread's when the process has had its share.
    allowed: AtomicU8,
    /// It has taken some.
    takes: WaitQueue,
}

impl Poller {
    pub(super) fn new(process: &Process, params: &Params) -> Self {
        let idle = match params.sq_thread_idle {
            0 => IDLE,
            millis => u64::from(millis) * 1_000_000,
        };
        let (called, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (calls, takes) = (WaitQueue::new(), WaitQueue::new());
        let (served, allowed) = (SpinLock::new(rank::PIPE, None), AtomicU8::new(0));
        Self { pid: process.pid(), idle, called, is_over, calls, served, allowed, takes }
    }

    /// Whether it looks for who makes another ring, which may share it; `ENXIO` if it would, and is over.
    pub(super) fn is_shared_by(&self, process: &Process) -> Result<bool, Errno> {
        match (self.pid == process.pid(), self.is_over()) {
            (true, true) => Err(Errno::ENXIO),
            (is_its, _) => Ok(is_its),
        }
    }

    /// That it is still there.
    ///
    /// # Errors
    /// `EOWNERDEAD`.
    pub(super) fn check(&self) -> Result<(), Errno> {
        if self.is_over() { Err(Errno::EOWNERDEAD) } else { Ok(()) }
    }

    /// Has it look for entries, if it does not, and be as urgent as they are.
    pub(super) fn call(&self, ring: &Ring) {
        let served = self.served.lock().clone();
        if let Some((task, thread)) = served {
            self.follow(ring, &task, &thread);
        }
        // Release pairs with the Acquire in `park`: it sees what was changed before.
        self.called.store(true, Release);
        self.calls.wake_all();
    }

    /// The program that made the ring is over.
    pub(super) fn abandoned(&self, pid: u32) {
        if self.pid == pid {
            self.end();
        }
    }

    pub(super) fn end(&self) {
        // Release pairs with the Acquire in `is_over`: who ends requests did so before, and what is begun later is ended by the coroutine.
        self.is_over.store(true, Release);
        self.calls.wake_all();
        self.takes.wake_all();
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Acquire)
    }

    /// Waits until there is room for an entry.
    ///
    /// # Errors
    /// `EINTR`.
    pub(super) async fn wait_for_room(&self, task: &Task<'_>, ring: &Ring) -> Result<(), Errno> {
        let has_room = wait_until(&self.takes, || (self.is_over() || !ring.is_full()).then_some(Ok(())));
        task.wait_for(has_room, None).await
    }
}

/// Begins to look for entries of a ring, for who makes it; on one hart only, if one is named.
pub(super) fn begin(task: &Task<'_>, ring: &Arc<Ring>, hart: Option<usize>) -> Result<(), Errno> {
    let owner = Owner::of(task).ok_or(Errno::ENOMEM)?;
    let charge = owner.charge(TASK)?;
    ring.attach(task);
    let birth = task.thread().birth_of_request();
    let birth = hart.map_or(birth, |hart| birth.on(hart));
    let ring = ring.clone();
    let life = async move {
        let _charge = charge;
        let Some(poller) = &ring.poller else { return };
        let task = exec::current().await;
        let changes = |birth: Birth| match &task {
            _ if ring.has(IORING_SETUP_PRIORITIES) => poller.allowed.store(birth.priority.number(), Relaxed),
            Some(task) => exec::set_class(task, &birth),
            None => {}
        };
        accounted(owner.thread(), changes, poller.serve(&owner, &ring)).await;
    };
    check_size(&life);
    exec::try_spawn_with(&birth, "ring poller", life).map_or(Err(Errno::ENOMEM), |handle| {
        handle.detach();
        Ok(())
    })
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

/// `future`, with what its polls take in the account of the thread's process; `changes` is told how it is to run then.
async fn accounted<F: Future>(thread: &Thread, changes: impl Fn(Birth), future: F) -> F::Output {
    let mut future = pin!(future);
    let mut usage = Usage::default();
    poll_fn(|context| {
        let began = hal::time::now();
        let answer = future.as_mut().poll(context);
        if let Some(birth) = usage.add(began, thread) {
            changes(birth);
        }
        answer
    })
    .await
}

fn becomes_less_urgent(task: &TaskRef, change: impl FnOnce()) -> bool {
    let before = task.own_priority();
    change();
    task.own_priority() > before
}

/// What came of looking for entries.
enum Found {
    Entries,
    /// None, and it is not to look on.
    Nothing,
    Over,
}

impl Poller {
    async fn serve(&self, owner: &Owner, ring: &Arc<Ring>) {
        let never = OfRequest::default();
        let task = owner.task(&never);
        let served = if ring.has(IORING_SETUP_PRIORITIES) { exec::current().await } else { None };
        *self.served.lock() = served.clone().map(|served| (served, owner.thread().clone()));
        loop {
            match self.look(ring).await {
                Found::Entries => {
                    if let Some(served) = &served
                        && becomes_less_urgent(served, || self.follow(ring, served, owner.thread()))
                    {
                        // What is more urgent than these goes first.
                        exec::yield_now().await;
                        continue;
                    }
                    self.take(&task, ring).await;
                }
                Found::Nothing => self.park(owner, ring).await,
                Found::Over => break,
            }
        }
        // Else it would hold itself.
        let served = self.served.lock().take();
        drop(served);
        ring.abandoned(self.pid);
        ring.posting.lock().head.submissions.leave(&*ring.pages);
    }

    /// As urgent as what is not taken.
    fn follow(&self, ring: &Ring, task: &TaskRef, thread: &Thread) {
        // Relaxed: a number that guards nothing; the next look has the next.
        ring.follow_entries(task, thread, Priority::new(self.allowed.load(Relaxed)));
    }

    async fn look(&self, ring: &Ring) -> Found {
        // Nobody else takes any.
        let submissions = ring.posting.lock().head.submissions;
        let until = hal::time::now().saturating_add(self.idle);
        let (mut gave_way, mut impatience) = (false, 0);
        loop {
            for _ in 0..LOOKS {
                if self.is_over() {
                    return Found::Over;
                }
                if submissions.ready(&*ring.pages) > 0 && !ring.has(IORING_SETUP_R_DISABLED) {
                    return Found::Entries;
                }
                core::hint::spin_loop();
            }
            let others_wait = exec::others_wait();
            impatience = if exec::others_wait_anywhere() { impatience + 1 } else { 0 };
            if others_wait && gave_way || impatience > PATIENCE || hal::time::now() >= until {
                return Found::Nothing;
            }
            gave_way |= others_wait;
            exec::yield_now().await;
        }
    }

    /// Takes what there is, as far as there are places for completions.
    async fn take(&self, task: &Task<'_>, ring: &Arc<Ring>) {
        let taken = match ring.try_claim().map(|head| submit_now(task, ring, head, u32::MAX)) {
            Some(Ok(Ok(_))) => Ok(()),
            Some(Err(errno)) => Err(errno),
            // Boxed: seldom, and large.
            Some(Ok(Err(_))) | None => Box::pin(submit(task, ring, u32::MAX)).await.map(drop),
        };
        self.takes.wake_all();
        match taken {
            Ok(()) => exec::yield_now().await,
            Err(_) => exec::sleep(PAUSE).await,
        }
    }

    /// Waits for a call, unless there is something to take.
    async fn park(&self, owner: &Owner, ring: &Ring) {
        if let Some(task) = exec::current().await {
            usage::follow(owner.thread(), &task);
            self.allowed.store(owner.thread().priority(), Relaxed);
        }
        let submissions = ring.posting.lock().head.submissions;
        if ring.has(IORING_SETUP_R_DISABLED) || submissions.park(&*ring.pages) {
            // Acquire pairs with the Release in `call`.
            let is_called = || self.called.swap(false, AcqRel) || self.is_over();
            wait_until(&self.calls, || is_called().then_some(())).await;
            submissions.unpark(&*ring.pages);
        }
    }
}
