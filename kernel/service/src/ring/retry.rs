//! Requests that wait without a coroutine: for a file, in its queue, tried again when that is woken, to read or to tell what holds; or for a device, whose answer is looked at when it
//! wakes (note 0005, section 3).
//!
//! ```text
//!   armed --the queue is woken, or it is cancelled--> ready --served--> tried: completed
//!     ^                                                                   or
//!     +----------------- armed, tried once more: not yet -----------------+
//! ```
//!
//! **Wake-up.** Who makes one ready sets [`READY`], and puts it into the list if no bit was set. Who serves takes it out of the list and swaps the bits for
//! [`BUSY`], then tries; what cannot be done is armed, and tried once more. Then `BUSY` goes, and who finds `READY` behind it puts the request into the list
//! again. So a change is seen by a try, or makes it ready; and one party at a time tries. What reads again and again will wait again, and is armed before it is tried at all, as is a poll, to which a look costs little. Who
//! changes what a poll waits for takes it as who serves does, but only where no bit is set: one that is being told, or about to be, is not changed. `BUSY` stays when it has ended: what comes late finds that.
//!
//! **Who holds what.** All that may be costly to let go is [`Held`], which who serves takes out, and gives to the next that waits ([`Parked`]), or drops, at the end. A
//! waker that outlives it has a shell, which is nobody's else then: only a request that nobody can reach waits again.

use super::{
    Ring,
    buffers::Buffer,
    operation::{About, Done, place_of},
    readiness::Readiness,
    ready::{Admitted, Retries},
    request::{CANCELLED, Entry, Mark, Owner, Request, polled},
    stream::{Looked, Stream},
    transfer::{AtDevice, Transfer, Tried},
};
use crate::context::Task;
use abi::{
    errno::Errno,
    io_uring::{IORING_OP_NOP, IORING_OP_POLL_ADD},
};
use alloc::{boxed::Box, sync::Arc, task::Wake};
use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{
        AtomicU32,
        Ordering::{AcqRel, Relaxed},
    },
    task::{Context, Poll, Waker},
};
use exec::sync::{Seat, seat};
use hal::sync::{IrqLock, SpinLock, rank};
use io::open::OpenFile;
use mem::CopyFault;
use pin_project_lite::pin_project;
use process::{
    Thread,
    prompt::{self, Prompt},
};
use ring::Outcome;

/// What a request of this kind takes: itself, what it holds, and what the heap keeps of them.
pub(super) const BYTES: usize = size_of::<Request>() + size_of::<Held>() + 64;
/// What the service coroutine takes, or one that makes memory present.
pub(super) const TASK: usize = 512;

/// It is in the list, or to be put there by who serves it.
const READY: u32 = 1;
/// Somebody serves it, or it has ended.
const BUSY: u32 = 2;

/// What a request of this kind has beside what all have.
pub(super) struct Retry {
    retries: Arc<Retries>,
    /// A word: of less, each change is a loop.
    state: AtomicU32,
    parts: IrqLock<Parts>,
}

impl Retry {
    fn new(ring: &Ring) -> Self {
        let parts = IrqLock::new(rank::WAIT - 1, Parts::default());
        Self { retries: ring.retries.clone(), state: AtomicU32::new(BUSY), parts }
    }

    /// Of one that nobody else has.
    pub(super) fn renew(&mut self) {
        self.state = AtomicU32::new(BUSY);
    }
}

/// In one, for the lock's sake: there are very many of these.
#[derive(Default)]
struct Parts {
    /// Not there while it is served, and when it has ended.
    held: Option<Pin<Box<Held>>>,
    /// The one behind it in the list: under the list's lock, too.
    next: Option<Arc<Request>>,
}

/// What is tried.
pub(super) enum Reading {
    /// A read, in a registered buffer or not.
    Once(Transfer, Option<Arc<Buffer>>),
    /// As long as something comes.
    Again(Stream),
    /// Nothing: it is told what holds.
    Events(Readiness),
    /// A device does it.
    Device(Box<AtDevice>),
    /// It has ended.
    Nothing,
}

impl Reading {
    fn opcode(&self) -> u8 {
        match self {
            Self::Once(transfer, _) => transfer.opcode(),
            Self::Device(device) => device.opcode(),
            Self::Again(stream) => stream.opcode,
            Self::Events(_) => IORING_OP_POLL_ADD,
            Self::Nothing => IORING_OP_NOP,
        }
    }
}

pin_project! {
    struct Held {
        ring: Arc<Ring>,
        owner: Arc<Owner>,
        reading: Reading,
        mark: Mark,
        // Bytes, since it was served last.
        moved: usize,
        // In the queue of the file that it reads; none waits for a device.
        #[pin]
        seat: Option<Seat<OpenFile>>,
    }
}

impl Held {
    /// A poll is to wait for other events, maybe in another queue.
    fn change_events(self: Pin<&mut Self>, events: Option<u32>) -> Result<(), Errno> {
        let mut parts = self.project();
        let (Reading::Events(readiness), Some(seat)) = (&mut *parts.reading, &*parts.seat) else {
            return Err(Errno::ENOENT);
        };
        let mut changed = *readiness;
        changed.change(events);
        let seat = changed.seat(seat.owner()).ok_or(Errno::EINVAL)?;
        *readiness = changed;
        parts.seat.set(Some(seat));
        Ok(())
    }
}

/// Has a request that reads `open` wait without a coroutine; how many bytes it has moved already. `None`: it needs one.
pub(super) fn park(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: Entry,
    open: &Arc<OpenFile>,
    reading: impl FnOnce() -> Reading,
) -> Option<usize> {
    let seat = seat(open.clone(), |open| open.file().read_queue())?;
    sit(task, ring, entry, (open, seat), reading).map(Parked::begin)
}

/// The same of a poll.
#[inline(never)]
pub(super) fn park_poll(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: Entry,
    open: &Arc<OpenFile>,
    readiness: Readiness,
) -> Option<usize> {
    let parked = sit(task, ring, entry, (open, readiness.seat(open)?), || Reading::Events(readiness))?;
    let served = parked.request.watch(parked.held);
    Some(parked.request.go_on(served))
}

/// One that has a place in the queue of its file, and in the table.
#[inline(always)]
fn sit(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: Entry,
    (open, seat): (&Arc<OpenFile>, Seat<OpenFile>),
    reading: impl FnOnce() -> Reading,
) -> Option<Parked> {
    let (admitted, reading) = (ring.admit(task)?, reading());
    let about = About { opcode: reading.opcode(), file: place_of(open) };
    let mut parked = Parked::new(ring, admitted, entry.user_data, about)?;
    parked.wants(reading, entry);
    parked.held.as_mut().project().seat.set(Some(seat));
    Some(parked)
}

/// One that has not begun to wait, or has ended and left all but who asked and their ring.
#[must_use]
pub(super) struct Parked {
    request: Arc<Request>,
    held: Pin<Box<Held>>,
}

impl Parked {
    /// With its place in the ring's table, if there is one.
    fn new(ring: &Arc<Ring>, admitted: Admitted, user_data: u64, about: About) -> Option<Self> {
        let parked = match admitted {
            Admitted::Again(parked) => parked.renew(ring, user_data, about),
            Admitted::New(owner) => {
                let request = Request::of_retry(user_data, about, owner.caller.pid, Retry::new(ring));
                let held = Held {
                    ring: ring.clone(),
                    owner,
                    reading: Reading::Nothing,
                    mark: Mark::new(0, 0),
                    moved: 0,
                    seat: None,
                };
                Self { request, held: Box::pin(held) }
            }
        };
        if ring.requests.insert(&parked.request).is_err() {
            ring.retries.leave(None);
            return None;
        }
        ring.drain.begin(1);
        Some(parked)
    }

    #[inline]
    fn renew(mut self, ring: &Ring, user_data: u64, about: About) -> Self {
        match Arc::get_mut(&mut self.request) {
            Some(request) => request.renew(user_data, about),
            // Who was looking for that one still has it.
            None => self.request = Request::of_retry(user_data, about, self.request.pid, Retry::new(ring)),
        }
        self
    }

    fn wants(&mut self, reading: Reading, entry: Entry) {
        let held = self.held.as_mut().project();
        (*held.reading, *held.mark, *held.moved) = (reading, entry.mark, 0);
    }

    /// It is tried once more, in the queue; a device is told of it, if it was not. How many bytes that moved.
    pub(super) fn begin(self) -> usize {
        let served = self.request.wait(self.held, false);
        self.request.go_on(served)
    }

    pub(super) fn is_of(&self, owner: &Arc<Owner>) -> bool {
        Arc::ptr_eq(&self.held.owner, owner)
    }
}

/// Has a transfer that a device carries out wait without a coroutine, once it begins: with others maybe, of which the device is told together.
///
/// # Errors
/// What it waits for, if it needs a coroutine.
pub(super) fn park_device(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: Entry,
    device: Box<AtDevice>,
) -> Result<Parked, Box<AtDevice>> {
    let Some(admitted) = ring.admit(task) else { return Err(device) };
    let about = About { opcode: device.opcode(), file: place_of(device.open()) };
    let Some(mut parked) = Parked::new(ring, admitted, entry.user_data, about) else { return Err(device) };
    parked.wants(Reading::Device(device), entry);
    Ok(parked)
}

/// Starts a coroutine that serves; `false`: there is no memory for it.
pub(super) fn spawn(thread: &Thread, name: &'static str, life: impl Future<Output = ()> + Send + 'static) -> bool {
    check_size(&life);
    exec::try_spawn_with(&thread.birth_of_request(), name, life).map(|handle| handle.detach()).is_ok()
}

fn check_size<F: Future>(_: &F) {
    const { assert!(exec::task_size::<F>() <= TASK) }
}

/// What came of serving one.
enum Served {
    /// It has ended, with so many bytes moved.
    Ended(usize),
    /// It waits on.
    Waits(Pin<Box<Held>>),
    /// It is to be tried again, when others had their turn.
    More(Pin<Box<Held>>),
    /// It needs something first that has to be waited for.
    Needs(Pin<Box<Held>>, Need),
}

/// What has to be waited for.
enum Need {
    Memory(CopyFault),
    /// Of this group: others hold the last.
    Buffer(u16),
}

impl Request {
    /// The one behind it in the list of those that are ready.
    pub(super) fn take_next(&self) -> Option<Arc<Request>> {
        self.retry.as_ref()?.parts.lock().next.take()
    }

    /// Another comes behind it in that list.
    pub(super) fn set_next(&self, next: Arc<Request>) {
        if let Some(retry) = &self.retry {
            retry.parts.lock().next = Some(next);
        }
    }

    /// It is to be tried again, by who serves.
    pub(super) fn make_ready(self: Arc<Self>) {
        // AcqRel: with the others of these bits, one sees what was done before the other: the change, or that it is ready already.
        if let Some(retry) = &self.retry
            && retry.state.fetch_or(READY, AcqRel) == 0
        {
            if self.about.opcode == IORING_OP_POLL_ADD {
                return self.leave_poll();
            }
            let retries = &*retry.retries.clone();
            retries.push(self);
        }
    }

    /// A poll is told where it is woken, unless a thread waits in the ring, which looks itself; and unless it is to end, with what it has, which may take long. Apart, so that a read is made ready in few
    /// steps.
    #[inline(never)]
    fn leave_poll(self: Arc<Self>) {
        let Some(retry) = &self.retry else { return };
        let retries = &*retry.retries.clone();
        let is_prompt = !self.state().is_cancelled() && !retries.has_helper();
        if !is_prompt || prompt::push(self.clone()).is_err() {
            retries.push(self);
        }
    }

    /// Whether it is to end with all that it has, or nobody else has its file open: letting go of these may take long.
    fn may_end_slowly(&self) -> bool {
        let is_last =
            |held: &Pin<Box<Held>>| held.seat.as_ref().is_some_and(|seat| Arc::strong_count(seat.owner()) == 1);
        let is_last_of = |retry: &Retry| retry.parts.lock().held.as_ref().is_some_and(is_last);
        self.state().is_abandoned() || self.retry.as_ref().is_some_and(is_last_of)
    }

    /// Tries, and if that is in vain, waits on; how many bytes that moved.
    pub(super) fn serve(self: &Arc<Self>) -> usize {
        let Some(held) = self.take_held() else { return 0 };
        let served = self.try_again(held);
        self.go_on(served)
    }

    /// What it holds, for who serves it.
    #[inline(always)]
    fn take_held(&self) -> Option<Pin<Box<Held>>> {
        let retry = self.retry.as_ref()?;
        retry.state.swap(BUSY, AcqRel);
        retry.parts.lock().held.take()
    }

    /// Changes the events of a poll, and what comes back with it, and looks what holds.
    ///
    /// # Errors
    /// `EALREADY` if it is being told, or has been; `EINVAL` if the file cannot be watched for these events.
    pub(super) fn change_poll(
        self: &Arc<Self>,
        ring: &Ring,
        events: Option<u32>,
        user_data: Option<u64>,
    ) -> Result<(), Errno> {
        let retry = self.retry.as_ref().ok_or(Errno::ENOENT)?;
        // AcqRel: as of who serves. Relaxed where it fails: nothing of it is touched.
        if retry.state.compare_exchange(0, BUSY, AcqRel, Relaxed).is_err() {
            return Err(Errno::EALREADY);
        }
        let mut held = retry.parts.lock().held.take().ok_or(Errno::EALREADY)?;
        let changed = held.as_mut().change_events(events);
        if changed.is_ok()
            && let Some(user_data) = user_data
        {
            // It runs: nobody else ends it meanwhile.
            ring.requests.rename(self, user_data);
        }
        let served = self.watch(held);
        self.go_on(served);
        changed
    }

    fn try_again(self: &Arc<Self>, held: Pin<Box<Held>>) -> Served {
        if self.state().is_abandoned() {
            return self.end(held, CANCELLED);
        }
        if let Reading::Again(_) = held.reading {
            return self.wait(held, true);
        }
        if let Reading::Events(_) = held.reading {
            return self.watch(held);
        }
        match self.try_once(held) {
            Served::Waits(held) if held.seat.is_some() => self.wait(held, false),
            served => served,
        }
    }

    /// Enters the queue, and tries once more, unless there is nothing; of what is probably there that is not asked.
    fn wait(self: &Arc<Self>, mut held: Pin<Box<Held>>, is_probable: bool) -> Served {
        let Some(seat) = held.as_mut().project().seat.as_pin_mut() else { return self.try_once(held) };
        seat.enter(|| Waker::from(self.clone()));
        let is_there = |held: &Held| !held.seat.as_ref().is_some_and(|seat| seat.owner().file().read_waits());
        if is_probable || is_there(&held) {
            match self.try_once(held) {
                Served::Waits(left) => held = left,
                served => return served,
            }
        }
        if self.state().is_cancelled() { self.end(held, CANCELLED) } else { Served::Waits(held) }
    }

    /// Lets others serve it, if it waits on; how many bytes were moved.
    #[inline]
    fn go_on(self: &Arc<Self>, served: Served) -> usize {
        match served {
            Served::Ended(moved) => moved,
            Served::Waits(held) => self.waits_on(held),
            served => self.go_on_seldom(served),
        }
    }

    /// The same for what is seldom.
    #[inline(never)]
    fn go_on_seldom(self: &Arc<Self>, served: Served) -> usize {
        match served {
            Served::Ended(moved) => moved,
            Served::Needs(held, need) => {
                self.meet(held, need);
                0
            }
            Served::Waits(held) => self.waits_on(held),
            Served::More(held) => {
                if let Some(retry) = &self.retry {
                    retry.state.fetch_or(READY, AcqRel);
                }
                self.waits_on(held)
            }
        }
    }

    /// Others may serve it from here on.
    fn waits_on(self: &Arc<Self>, mut held: Pin<Box<Held>>) -> usize {
        let Some(retry) = &self.retry else { return 0 };
        let moved = core::mem::take(held.as_mut().project().moved);
        polled(held.owner.thread());
        retry.parts.lock().held = Some(held);
        if retry.state.fetch_and(!BUSY, AcqRel) & READY != 0 {
            retry.retries.push(self.clone());
        }
        moved
    }

    /// A coroutine waits for what is needed, and serves it then: until that it is served by nobody else.
    fn meet(self: &Arc<Self>, held: Pin<Box<Held>>, need: Need) {
        polled(held.owner.thread());
        let Ok(charge) = held.owner.charge(TASK) else { return drop(self.end(held, Done::failed(Errno::ENOMEM))) };
        let (request, thread) = (self.clone(), held.owner.thread().clone());
        // Else it would go with a coroutine that cannot be made.
        let shared = Arc::new(SpinLock::new(rank::PIPE, Some(held)));
        let its = shared.clone();
        let life = async move {
            let _charge = charge;
            let held = its.lock().take();
            if let Some(held) = held {
                request.resolve(held, need).await;
            }
        };
        if !spawn(&thread, "ring memory", life) {
            let held = shared.lock().take();
            held.map(|held| self.end(held, Done::failed(Errno::ENOMEM)));
        }
    }

    async fn resolve(self: &Arc<Self>, mut held: Pin<Box<Held>>, mut need: Need) {
        loop {
            let met = match need {
                Need::Memory(fault) => held.owner.resolve(fault).await,
                // It comes back, or is used.
                Need::Buffer(group) => {
                    held.ring.groups.settled(group).await;
                    Ok(())
                }
            };
            if let Err(errno) = met {
                let _ = self.end(held, Done::failed(errno));
                return;
            }
            match self.try_again(held) {
                Served::Needs(left, _) if self.state().is_cancelled() => return drop(self.end(left, CANCELLED)),
                Served::Needs(left, again) => (held, need) = (left, again),
                served => {
                    self.go_on(served);
                    return;
                }
            }
            exec::yield_now().await;
        }
    }

    fn try_once(self: &Arc<Self>, mut held: Pin<Box<Held>>) -> Served {
        let parts = held.as_mut().project();
        let seat = parts.seat.as_ref().get_ref().as_ref();
        let open = match (&mut *parts.reading, seat) {
            (Reading::Device(device), _) => {
                let waker = Waker::from(self.clone());
                let Poll::Ready(done) = device.poll(&mut Context::from_waker(&waker)) else {
                    if self.state().is_cancelled() {
                        self.tell(parts.ring, Outcome::GoesOn);
                    }
                    return Served::Waits(held);
                };
                return self.end(held, done);
            }
            (_, Some(seat)) => seat.owner(),
            (_, None) => return self.end(held, Done::failed(Errno::EINVAL)),
        };
        // The view of who asks goes before what is asked for.
        match parts.reading {
            Reading::Device(_) | Reading::Events(_) | Reading::Nothing => Served::Waits(held),
            Reading::Once(transfer, buffer) => {
                let tried = transfer.look(&parts.owner.task(&self.view), open, buffer.as_deref());
                match tried {
                    Tried::Done(done) => self.end(held, done),
                    Tried::NotYet => Served::Waits(held),
                    Tried::Faults(fault) => Served::Needs(held, Need::Memory(fault)),
                    // What a signal would end: of that a request knows nothing.
                    Tried::Partly(_) => self.end(held, Done::failed(Errno::EINTR)),
                }
            }
            Reading::Again(stream) => {
                let (stream, task) = (*stream, parts.owner.task(&self.view));
                let looked = stream.look(&task, parts.ring, open, self.user_data(), parts.moved);
                match looked {
                    Looked::Done(done) => self.end(held, done),
                    Looked::NotYet => Served::Waits(held),
                    Looked::More => Served::More(held),
                    Looked::Faults(fault) => Served::Needs(held, Need::Memory(fault)),
                    Looked::NoBuffer => Served::Needs(held, Need::Buffer(stream.group)),
                }
            }
        }
    }

    /// A poll enters the queue, and says what is new. Apart, as [`leave_poll`](Self::leave_poll).
    #[inline(never)]
    fn watch(self: &Arc<Self>, mut held: Pin<Box<Held>>) -> Served {
        let parts = held.as_mut().project();
        let (Reading::Events(readiness), Some(mut seat)) = (parts.reading, parts.seat.as_pin_mut()) else {
            return Served::Waits(held);
        };
        seat.as_mut().enter(|| Waker::from(self.clone()));
        let told = readiness.tell(&parts.owner.task(&self.view), parts.ring, seat.owner(), self.user_data());
        match told {
            Some(done) => self.end(held, done),
            None if self.state().is_cancelled() => self.end(held, CANCELLED),
            None => Served::Waits(held),
        }
    }

    /// Its completion is posted, and it leaves all that it is in.
    fn end(self: &Arc<Self>, mut held: Pin<Box<Held>>, done: Done) -> Served {
        self.state().decide();
        let entry = Entry { user_data: self.user_data(), mark: held.mark };
        held.ring.complete(entry, done);
        held.ring.drain.end();
        self.has_ended(&held.ring, done);
        polled(held.owner.thread());
        let moved = held.moved + done.result.max(0) as usize;
        let mut parts = held.as_mut().project();
        *parts.reading = Reading::Nothing;
        parts.seat.set(None);
        if let Some(retry) = &self.retry {
            retry.retries.leave(Some(Parked { request: self.clone(), held }));
        }
        Served::Ended(moved)
    }
}

impl Wake for Request {
    fn wake(self: Arc<Self>) {
        self.make_ready();
    }
}

/// Where it was woken, on the account of its process: beside the thread's that does it, whose time it is as well.
impl Prompt for Request {
    fn act(self: Arc<Self>) {
        let began = hal::time::now();
        // That is for who serves the ring.
        if self.may_end_slowly() {
            if let Some(retry) = &self.retry {
                retry.retries.push(self.clone());
            }
            return;
        }
        if let Some(held) = self.take_held() {
            let thread = held.owner.thread().clone();
            let served = self.try_again(held);
            self.go_on(served);
            let _ = thread.charge_moment(hal::time::now().saturating_sub(began));
        }
    }
}
