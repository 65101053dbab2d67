//! Requests that own their memory, and the queue that carries them: what block and entropy share.
//!
//! # Life of a request
//!
//! ```text
//!   start() ──room──> table[head] ──device returns it──> finished ──> Completion is ready
//!      └──no room──> waiting ──(interrupt: room)──^            └── or nobody is interested: dropped
//! ```
//!
//! The request is entered into the table before the device is told of it, so its interrupt always finds it.
//! Waiting requests are served first come, first served; one that was cancelled while waiting is never sent.

use crate::device::Registers;
use crate::queue::{Queue, Segment, Used};
use crate::{Error, Transport};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use arrayvec::ArrayVec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll, Waker};
use hal::PAGE_SIZE;
use hal::frame::FrameRun;
use hal::part::{Part, Parts};
use hal::sync::{IrqLock, rank};
use trace::Work;

/// Bytes of the header in front of a request.
pub(crate) const HEADER: usize = 16;
/// Bytes kept for each head in the page of headers: the header, then the status byte.
const FRAMING: usize = 32;
/// How many requests end in one hold of the lock. Room for them is made in each interrupt, and most have few to tell of.
const BATCH: usize = 4;

fn segment(part: &Part, writable: bool) -> Segment {
    Segment { address: part.physical() as u64, len: part.len() as u32, writable }
}

/// What the device is asked to do.
pub(crate) struct Order {
    /// Bytes that go in front; such a request also ends with a status byte.
    pub(crate) header: Option<[u32; HEADER / 4]>,
    /// The memory it is about.
    pub(crate) parts: Parts,
    /// Whether the device writes to it.
    pub(crate) device_writes: bool,
}

impl Order {
    fn descriptors(&self) -> usize {
        self.parts.len() + if self.header.is_some() { 2 } else { 0 }
    }

    /// The chain for the device; `framing` is where this request's header and status lie.
    fn segments(&self, framing: u64) -> impl Iterator<Item = Segment> + Clone + '_ {
        let header = Segment { address: framing, len: HEADER as u32, writable: false };
        let status = Segment { address: framing + HEADER as u64, len: 1, writable: true };
        let framed = self.header.is_some();
        let parts = self.parts.iter().map(|part| segment(part, self.device_writes));
        framed.then_some(header).into_iter().chain(parts).chain(framed.then_some(status))
    }
}

/// A request: the order never changes, the state is shared by driver and future.
struct Request {
    order: Order,
    /// Its number in the trace; 0 if it is not recorded.
    number: u64,
    state: IrqLock<State>,
}

#[derive(Default)]
struct State {
    /// Bytes written, or the error, once it is over.
    result: Option<Result<u32, Error>>,
    waker: Option<Waker>,
    /// The future is gone.
    abandoned: bool,
}

impl Request {
    /// Rank of the state: below the queue's lock, under which requests end.
    const RANK: u8 = rank::DEVICE + 1;

    fn new(order: Order, number: u64, result: Option<Result<u32, Error>>) -> Arc<Request> {
        let state = State { result, ..State::default() };
        Arc::new(Request { order, number, state: IrqLock::new(Self::RANK, state) })
    }

    /// Ends the request, unless it has ended; the waker is for after the locks.
    fn end(&self, result: Result<u32, Error>) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.result.is_none() {
            state.result = Some(result);
            hal::record::complete(self.number, result.map_or_else(Error::traced, i64::from));
        }
        state.waker.take()
    }
}

/// A request that was started, as a future of its end: the bytes the device has written.
///
/// The request runs, once the device was told of it, whether this is polled or not. Dropping it gives up the result only: the device may
/// go on writing to the buffers, which the driver keeps.
#[must_use = "the result of a request tells whether it worked"]
pub struct Completion {
    request: Arc<Request>,
    /// The result was seen: the request has no waker any more, and gets none.
    is_over: bool,
}

impl Completion {
    /// A request that ended before it began.
    pub(crate) fn ended(result: Result<u32, Error>) -> Completion {
        let order = Order { header: None, parts: Parts::new(), device_writes: false };
        Completion::of(Request::new(order, 0, Some(result)))
    }

    fn of(request: Arc<Request>) -> Completion {
        Completion { request, is_over: false }
    }
}

impl Future for Completion {
    type Output = Result<u32, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Completion { request, is_over } = self.get_mut();
        let mut state = request.state.lock();
        if let Some(result) = state.result {
            *is_over = true;
            return Poll::Ready(result);
        }
        if state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let old = state.waker.replace(cx.waker().clone());
        drop(state);
        // Dropping a waker may free a task, which is not for under a lock.
        drop(old);
        Poll::Pending
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.request.state.lock();
        state.abandoned = true;
        let waker = state.waker.take();
        drop(state);
        drop(waker);
    }
}

struct Inner<const N: usize> {
    queue: Queue<N>,
    /// What the device has, by head.
    table: [Option<Arc<Request>>; N],
    /// What waits for room.
    waiting: VecDeque<Arc<Request>>,
    /// Headers and status bytes, [`FRAMING`] bytes for each head.
    framing: FrameRun,
    broken: bool,
}

/// A queue of requests at a device.
pub(crate) struct Requests<T, const N: usize> {
    /// First, so that dropping it resets the device before the memory goes.
    registers: Registers<T>,
    /// For the trace.
    kind: Work,
    inner: IrqLock<Inner<N>>,
    /// Something was sent that the device was not told of. Relaxed, and changed under the lock alone: who has sent something and finds it false without the
    /// lock reads what another left, that has it told, behind what was sent.
    unannounced: AtomicBool,
}

impl<T: Transport, const N: usize> Requests<T, N> {
    /// Sets up queue 0 and starts the device.
    pub(crate) fn start_device(mut transport: T) -> Result<Requests<T, N>, Error> {
        let queue = Queue::new(&mut transport, 0)?;
        let kind = Work::Device(transport.device_type() as u32);
        let framing = FrameRun::alloc((FRAMING * N).div_ceil(PAGE_SIZE)).ok_or(Error::NoMemory)?;
        let table = [const { None }; N];
        let inner = Inner { queue, table, waiting: VecDeque::new(), framing, broken: false };
        let (registers, inner) = (Registers::start(transport), IrqLock::new(rank::DEVICE, inner));
        Ok(Requests { registers, kind, inner, unannounced: AtomicBool::new(false) })
    }

    /// Sends a request, or lets it wait for room; [`announce`](Self::announce) tells the device, of all that were sent before. Orders that can never fit
    /// are refused by the caller.
    pub(crate) fn start(&self, order: Order) -> Completion {
        let request = Request::new(order, hal::record::submit(self.kind), None);
        let completion = Completion::of(request.clone());
        let mut inner = self.inner.lock();
        match inner.enter(request) {
            Ok(true) => self.unannounced.store(true, Relaxed),
            Ok(false) => {}
            Err(error) => {
                drop(inner);
                completion.request.end(Err(error));
            }
        }
        completion
    }

    /// Tells the device of what was sent, if it was not told and wants to be.
    pub(crate) fn announce(&self) {
        if !self.unannounced.load(Relaxed) {
            return;
        }
        let inner = self.inner.lock();
        let notify = self.unannounced.swap(false, Relaxed) && !inner.broken && inner.queue.should_notify();
        let index = inner.queue.index();
        drop(inner);
        if notify {
            self.registers.notify(index);
        }
    }

    /// Serves the device's interrupt.
    pub(crate) fn interrupt(&self) {
        self.registers.acknowledge();
        let mut notify = false;
        loop {
            let mut ended = Ended::new();
            let mut inner = self.inner.lock();
            let was_broken = inner.broken;
            let more = inner.collect(&mut ended);
            notify |= inner.refill() && inner.queue.should_notify();
            let (broken, index) = (inner.broken && !was_broken, inner.queue.index());
            // One that was reset is told nothing any more (virtio 1.2, 3.1.1).
            notify &= !inner.broken;
            drop(inner);
            if broken {
                self.registers.reset();
            }
            // Where they are: moved, they would be copied, all places of them.
            for (waker, request) in ended.drain(..) {
                if let Some(waker) = waker {
                    waker.wake();
                }
                drop(request);
            }
            if !more {
                if notify {
                    self.registers.notify(index);
                }
                return;
            }
        }
    }

    /// How many descriptors are free, how many requests wait.
    #[cfg(test)]
    pub(crate) fn load(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.queue.free(), inner.waiting.len())
    }
}

/// Requests that ended: whom to wake, and the table's share of each, to be dropped without the lock.
type Ended = ArrayVec<OneEnded, BATCH>;
type OneEnded = (Option<Waker>, Option<Arc<Request>>);

impl<const N: usize> Inner<N> {
    /// Sends a request (true) or queues it behind those that wait (false).
    fn enter(&mut self, request: Arc<Request>) -> Result<bool, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        if self.waiting.is_empty() && request.order.descriptors() <= self.queue.free() {
            self.send(request);
            return Ok(true);
        }
        if self.waiting.len() == self.waiting.capacity() {
            // Before it grows: those that nobody waits for any more need no place.
            self.waiting.retain(|request| !request.state.lock().abandoned);
        }
        self.waiting.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.waiting.push_back(request);
        Ok(false)
    }

    /// Gives a request that fits to the device.
    fn send(&mut self, request: Arc<Request>) {
        let head = self.queue.next_head();
        let offset = FRAMING * usize::from(head);
        if let Some(header) = &request.order.header {
            // No status that a device may give: one that was not written is not taken for success.
            let [kind, zero, low, high] = *header;
            // Ordered by the queue's index, which the device reads before.
            self.framing.set_words(offset, [kind, zero, low, high, u32::MAX]);
        }
        let framing = (self.framing.physical() + offset) as u64;
        // SAFETY: the buffers are pinned pages owned by the request, and the framing is ours; the table keeps
        // the request until `pop` returns its head, and for ever if the device breaks the protocol.
        let sent = unsafe { self.queue.add(request.order.segments(framing)) };
        if sent.is_some() {
            self.table[usize::from(head)] = Some(request);
        }
    }

    /// Sends what waits, as far as there is room; true if something was sent.
    fn refill(&mut self) -> bool {
        let mut sent = false;
        while !self.broken {
            let Some(first) = self.waiting.front() else { break };
            let abandoned = first.state.lock().abandoned;
            if !abandoned && first.order.descriptors() > self.queue.free() {
                break;
            }
            let Some(request) = self.waiting.pop_front() else { break };
            if !abandoned {
                self.send(request);
                sent = true;
            }
        }
        sent
    }

    /// Ends what the device has returned; true if there may be more than `ended` had room for.
    fn collect(&mut self, ended: &mut Ended) -> bool {
        while !ended.is_full() {
            if self.broken {
                let Some(one) = self.end_one_of_all() else { return false };
                ended.push(one);
                continue;
            }
            match self.queue.pop() {
                Ok(Some(used)) => ended.extend(self.finish(used)),
                Ok(None) => return false,
                Err(_) => self.broken = true,
            }
        }
        true
    }

    fn finish(&mut self, used: Used) -> Option<OneEnded> {
        let head = usize::from(used.head);
        // The queue returns only heads that it was given, and each was entered here.
        let request = self.table[head].take()?;
        let mut result = Ok(used.written);
        if request.order.header.is_some() {
            // Relaxed: ordered by the load of the queue's index. The first byte is the device's.
            result = match self.framing.word(FRAMING * head + HEADER).load(Relaxed).to_le_bytes() {
                [0, ..] => Ok(used.written.saturating_sub(1)),
                _ => Err(Error::Failed),
            };
        }
        Some((request.end(result), Some(request)))
    }

    /// After the device broke the protocol: ends one request that has not ended. What the device had stays in
    /// the table, with its memory, for ever.
    fn end_one_of_all(&mut self) -> Option<OneEnded> {
        if let Some(request) = self.waiting.pop_front() {
            return Some((request.end(Err(Error::Broken)), Some(request)));
        }
        let open = self.table.iter().flatten().find(|request| request.state.lock().result.is_none())?;
        Some((open.end(Err(Error::Broken)), None))
    }
}
