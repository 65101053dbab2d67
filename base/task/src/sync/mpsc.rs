//! Channels with many senders and one receiver: [`channel`] with a bound, [`unbounded_channel`] without.
//!
//! Senders of a bounded channel wait for a place in order of arrival; a place belongs to a message in the buffer or to a
//! [`Permit`]. The receiver leaves its waker in the state. When the receiver closes the channel, or goes away, senders get
//! their values back; when all senders are gone, the receiver gets what is left, and then nothing.
//!
//! The task that receives is as urgent as who sends to it: see `server`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use futures_core::Stream;
use sync::wait::wait_until;

use super::server::Server;
use super::urgency::{Carried, Urge, Urgency};
use super::*;

struct State<T> {
    buffer: VecDeque<T>,
    carried: Carried,
    /// Places that nobody has; always 0 without a bound.
    free: usize,
    /// Places that permits have.
    reserved: usize,
    senders: usize,
    /// The receiver wants no more.
    closed: bool,
    receiver: Option<Waker>,
    /// Senders that wait for a place.
    waiting: Urgency,
    server: Server,
}

impl<T> State<T> {
    /// Puts a message of the calling task in the buffer; who is to be woken.
    fn push<L: Lock>(&mut self, channel: usize, value: T) -> Option<Waker> {
        let urge = Urge::sending::<L>();
        self.carried.push(urge, self.buffer.len());
        self.buffer.push_back(value);
        if self.server.is_below(urge) {
            self.server.owes::<L>(channel, self.most());
        }
        self.receiver.take()
    }

    /// The most urgent that waits, whether sent or to be sent.
    fn most(&self) -> Urge {
        let waiting = self.waiting.most().unwrap_or(Urge::NONE);
        if self.buffer.is_empty() { waiting } else { waiting.min(self.carried.most()) }
    }

    /// Takes the first message, for the calling task. `more`: besides what it has taken before.
    #[inline]
    fn pop<L: Lock>(&mut self, channel: usize, more: bool) -> Option<T> {
        if !self.server.stays::<L>() {
            return self.pop_urgent::<L>(channel, more);
        }
        self.carried.pop();
        self.buffer.pop_front()
    }

    /// The same where what the task inherits may be another then.
    #[cold]
    #[inline(never)]
    fn pop_urgent<L: Lock>(&mut self, channel: usize, more: bool) -> Option<T> {
        let carried = self.carried.most();
        self.carried.pop();
        let message = self.buffer.pop_front();
        let taken = message.is_some().then_some(carried);
        self.server.receives::<L>(channel, taken, more, self.most());
        message
    }

    /// Whether nothing can come any more.
    fn is_over(&self) -> bool {
        self.reserved == 0 && (self.closed || self.senders == 0)
    }
}

impl<T> Gate for State<T> {
    fn is_open(&self) -> bool {
        self.free > 0 || self.closed
    }
}

struct Channel<T, L: Lock> {
    turns: Turns<L, State<T>>,
    /// Those who wait for the receiver to want no more.
    closing: WaitQueue<L>,
    capacity: Option<usize>,
}

impl<T, L: Lock> Channel<T, L> {
    fn new(capacity: Option<usize>) -> Arc<Self> {
        let free_places = capacity.unwrap_or(0);
        let buffer = VecDeque::new();
        let (carried, waiting, server) = (Carried::new(), Urgency::new(), Server::new());
        let free = free_places;
        let state =
            State { buffer, carried, free, reserved: 0, senders: 1, closed: false, receiver: None, waiting, server };
        Arc::new(Self { turns: Turns::new(super::free(), state), closing: WaitQueue::new(super::free()), capacity })
    }

    /// What inheritance through it is noted by.
    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// A sender, or a permit without use, goes away.
    fn leave(&self, leave: impl FnOnce(&mut State<T>)) {
        let receiver = self.turns.change(|state| {
            leave(state);
            if state.is_over() { state.receiver.take() } else { None }
        });
        wake(receiver);
    }

    fn is_closed(&self) -> bool {
        self.turns.look(|state| state.closed)
    }

    async fn closed(&self) {
        wait_until(&self.closing, || self.is_closed().then_some(())).await;
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A channel that holds at most `capacity` messages; for 0 it is as for 1.
#[must_use]
pub fn channel<T, L: Lock>(capacity: usize) -> (Sender<T, L>, Receiver<T, L>) {
    let channel = Channel::new(Some(capacity.max(1)));
    (Sender { channel: channel.clone() }, Receiver { channel })
}

/// A channel without a bound.
#[must_use]
pub fn unbounded_channel<T, L: Lock>() -> (UnboundedSender<T, L>, UnboundedReceiver<T, L>) {
    let channel = Channel::new(None);
    (UnboundedSender { channel: channel.clone() }, Receiver { channel })
}

/// The receiver is gone or wants no more; the value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why a value could not be sent at once; it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The buffer is full, or others have waited longer.
    Full(T),
    /// The receiver is gone or wants no more.
    Closed(T),
}

/// Why there was no message at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// There may be one later.
    Empty,
    /// There will be none.
    Disconnected,
}

says! {
    SendError<T>: _ => "the channel is closed";
    TrySendError<T>: Self::Full(_) => "the channel is full", Self::Closed(_) => "the channel is closed";
    TryRecvError: Self::Empty => "the channel is empty", Self::Disconnected => "the channel is closed";
}

/// A sender, which may wait for a place.
struct Sending<L> {
    /// The address of the channel.
    channel: usize,
    /// What it is one of those who wait with.
    noted: Option<Urge>,
    kind: PhantomData<fn() -> L>,
}

impl<L: Lock> Sending<L> {
    fn of<T>(channel: &Channel<T, L>) -> Self {
        Self { channel: channel.address(), noted: None, kind: PhantomData }
    }

    /// There is no place for it: who receives is as urgent as it.
    fn waits<T>(&mut self, state: &mut State<T>) {
        state.waiting.waits(&mut self.noted, Urge::waiting::<L>());
        state.server.owes::<L>(self.channel, state.most());
    }

    /// It has its place, or wants none any more.
    fn leaves<T>(&mut self, state: &mut State<T>) {
        if self.noted.is_some() {
            state.waiting.leaves(self.noted.take());
            state.server.owes::<L>(self.channel, state.most());
        }
    }
}

/// A message that wants a place.
struct Put<T, L> {
    value: Option<T>,
    sending: Sending<L>,
}

impl<T, L: Lock> Put<T, L> {
    fn new(channel: &Channel<T, L>, value: T) -> Self {
        Self { value: Some(value), sending: Sending::of(channel) }
    }

    /// Who is to be woken, or the message; nothing if there is no place now.
    #[inline]
    fn now(&mut self, state: &mut State<T>, first: bool) -> Option<Result<Option<Waker>, SendError<T>>> {
        if state.closed {
            return self.value.take().map(|value| Err(SendError(value)));
        }
        if !first {
            return None;
        }
        state.free = state.free.checked_sub(1)?;
        self.value.take().map(|value| Ok(state.push::<L>(self.sending.channel, value)))
    }
}

impl<T, L: Lock> Claim<State<T>> for Put<T, L> {
    type Output = Result<Option<Waker>, SendError<T>>;

    fn claim(&mut self, state: &mut State<T>, first: bool) -> Option<Self::Output> {
        let put = self.now(state, first);
        match put {
            Some(_) => self.sending.leaves(state),
            None => self.sending.waits(state),
        }
        put
    }

    fn withdraw(&mut self, state: &mut State<T>) {
        self.sending.leaves(state);
    }
}

/// Somebody who wants a place to send later.
struct Reserve<L>(Sending<L>);

impl<T, L: Lock> Claim<State<T>> for Reserve<L> {
    type Output = Result<(), SendError<()>>;

    fn claim(&mut self, state: &mut State<T>, first: bool) -> Option<Self::Output> {
        if state.closed {
            self.0.leaves(state);
            return Some(Err(SendError(())));
        }
        if !first || state.free == 0 {
            self.0.waits(state);
            return None;
        }
        state.free -= 1;
        state.reserved += 1;
        self.0.leaves(state);
        Some(Ok(()))
    }

    fn withdraw(&mut self, state: &mut State<T>) {
        self.0.leaves(state);
    }
}

/// The sending half of a bounded channel.
pub struct Sender<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
}

impl<T, L: Lock> Sender<T, L> {
    /// Waits for a place and sends. If this is dropped before, the value is, too, and nothing was sent; see
    /// [`reserve`](Self::reserve).
    ///
    /// # Errors
    /// Gives the value back if nobody will receive it.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut put = Put::new(&self.channel, value);
        let sent = match self.now(&mut put) {
            Some(sent) => sent,
            None => claim_in_turn(&self.channel.turns, put, Wait::Channel).await,
        };
        wake(sent?);
        Ok(())
    }

    /// Sends if there is a place that nobody waits for.
    #[inline]
    fn now(&self, put: &mut Put<T, L>) -> Option<Result<Option<Waker>, SendError<T>>> {
        self.channel.turns.now(&mut |state: &mut State<T>, first: bool| put.now(state, first))
    }

    /// Sends if there is a place that nobody waits for.
    ///
    /// # Errors
    /// Says why not, and gives the value back.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut put = Put::new(&self.channel, value);
        let sent = self.now(&mut put);
        match (sent, put.value) {
            (Some(Ok(receiver)), _) => wake(receiver),
            (Some(Err(SendError(value))), _) => return Err(TrySendError::Closed(value)),
            (None, Some(value)) => return Err(TrySendError::Full(value)),
            (None, None) => {}
        }
        Ok(())
    }

    /// Waits for a place, to send later without waiting.
    ///
    /// # Errors
    /// If nobody will receive anything.
    pub async fn reserve(&self) -> Result<Permit<'_, T, L>, SendError<()>> {
        claim(&self.channel.turns, Reserve(Sending::of(&self.channel)), Wait::Channel).await?;
        Ok(Permit { channel: &self.channel })
    }

    /// Waits until the receiver is gone or wants no more.
    pub async fn closed(&self) {
        self.channel.closed().await;
    }

    /// Whether the receiver is gone or wants no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// How many places are free now.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.channel.turns.look(|state| state.free)
    }

    /// How many places there are.
    #[must_use]
    pub fn max_capacity(&self) -> usize {
        self.channel.capacity.unwrap_or(usize::MAX)
    }
}

/// The sending half of a channel without a bound.
pub struct UnboundedSender<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
}

impl<T, L: Lock> UnboundedSender<T, L> {
    /// Sends.
    ///
    /// # Errors
    /// Gives the value back if nobody will receive it.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let channel = self.channel.address();
        let receiver = self.channel.turns.look(|state| match state.closed {
            true => Err(SendError(value)),
            false => Ok(state.push::<L>(channel, value)),
        })?;
        wake(receiver);
        Ok(())
    }

    /// Waits until the receiver is gone or wants no more.
    pub async fn closed(&self) {
        self.channel.closed().await;
    }

    /// Whether the receiver is gone or wants no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }
}

/// What both senders do.
macro_rules! senders {
    ($($name:ident)*) => {$(
        impl<T, L: Lock> Clone for $name<T, L> {
            fn clone(&self) -> Self {
                self.channel.turns.look(|state| state.senders += 1);
                Self { channel: self.channel.clone() }
            }
        }
        impl<T, L: Lock> Drop for $name<T, L> {
            fn drop(&mut self) {
                self.channel.leave(|state| state.senders -= 1);
            }
        }
        impl<T, L: Lock> core::fmt::Debug for $name<T, L> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name)).field("closed", &self.is_closed()).finish()
            }
        }
    )*};
}

senders! { Sender UnboundedSender }

/// A place for a message; given back when dropped.
#[must_use = "a permit that is dropped at once gives its place back"]
pub struct Permit<'s, T, L: Lock> {
    channel: &'s Channel<T, L>,
}

impl<T, L: Lock> Permit<'_, T, L> {
    /// Sends a message on this place.
    pub fn send(self, value: T) {
        let receiver = self.channel.turns.look(|state| {
            state.reserved -= 1;
            state.push::<L>(self.channel.address(), value)
        });
        core::mem::forget(self);
        wake(receiver);
    }
}

impl<T, L: Lock> Drop for Permit<'_, T, L> {
    fn drop(&mut self) {
        self.channel.leave(|state| {
            state.reserved -= 1;
            state.free += 1;
        });
    }
}

/// The receiving half.
pub struct Receiver<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
}

/// The receiving half of a channel without a bound.
pub type UnboundedReceiver<T, L> = Receiver<T, L>;

impl<T, L: Lock> Receiver<T, L> {
    /// Waits for a message; `None` when none can come any more. If this is dropped before, no message is lost.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Waits for messages, and takes as many as there are, up to `limit`; how many. 0 when none can come any more, or for a
    /// limit of 0.
    pub async fn recv_many(&mut self, messages: &mut Vec<T>, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        let Some(first) = self.recv().await else { return 0 };
        messages.push(first);
        let mut count = 1;
        while count < limit
            && let Some(message) = self.now(true)
        {
            messages.push(message);
            count += 1;
        }
        count
    }

    /// A message if there is one.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.now(false).map_or_else(|| self.wait(&mut None), Ok)
    }

    /// Polls for a message; see [`recv`](Self::recv).
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        // A waker is made only for who has to wait; outside the lock, so there are two looks.
        let taken = match self.now(false) {
            Some(message) => Ok(message),
            None => self.wait(&mut Some(context.waker().clone())),
        };
        let answer = match taken {
            Ok(message) => Poll::Ready(Some(message)),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => Poll::Pending,
        };
        noted(answer, Wait::Channel, context)
    }

    /// Takes a message, `more` of them than the one before.
    #[inline]
    fn now(&self, more: bool) -> Option<T> {
        let (bounded, channel) = (self.channel.capacity.is_some(), self.channel.address());
        self.channel.turns.change(|state| {
            // Who finds nothing looks once more.
            if state.buffer.is_empty() {
                return None;
            }
            state.free += usize::from(bounded);
            state.pop::<L>(channel, more)
        })
    }

    /// Takes a message, or else leaves a waker, if one is given, in exchange for the one before.
    #[inline(never)]
    fn wait(&self, waker: &mut Option<Waker>) -> Result<T, TryRecvError> {
        let (bounded, channel) = (self.channel.capacity.is_some(), self.channel.address());
        self.channel.turns.change(|state| match state.pop::<L>(channel, false) {
            Some(message) => {
                state.free += usize::from(bounded);
                Ok(message)
            }
            None if state.is_over() => Err(TryRecvError::Disconnected),
            None => {
                if waker.is_some() {
                    core::mem::swap(&mut state.receiver, waker);
                }
                Err(TryRecvError::Empty)
            }
        })
    }

    /// Wants no more: senders get an error from now on. What has been sent, or has a permit, can still be received.
    pub fn close(&mut self) {
        self.channel.turns.change_for_all(|state| state.closed = true);
        self.channel.closing.wake_all();
    }

    /// How many messages there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channel.turns.look(|state| state.buffer.len())
    }

    /// Whether there is no message now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T, L: Lock> Drop for Receiver<T, L> {
    fn drop(&mut self) {
        self.close();
        // Dropped outside the lock.
        let channel = self.channel.address();
        let left = self.channel.turns.look(|state| {
            state.server.leaves::<L>(channel);
            (core::mem::take(&mut state.buffer), state.receiver.take())
        });
        drop(left);
    }
}

impl<T, L: Lock> Stream for Receiver<T, L> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_recv(context)
    }
}

impl<T, L: Lock> core::fmt::Debug for Receiver<T, L> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish()
    }
}
