//! A channel in which each receiver gets each message. It keeps the newest `capacity` messages; a receiver that is
//! further behind is told how many it missed.

use alloc::collections::VecDeque;

use super::*;

struct Slot<T> {
    value: Arc<T>,
    /// How many receivers have not taken it.
    left: usize,
}

struct State<T> {
    buffer: VecDeque<Slot<T>>,
    /// The number of the next message.
    next: u64,
    senders: usize,
    receivers: usize,
}

impl<T> State<T> {
    /// The number of the oldest message that is kept.
    fn oldest(&self) -> u64 {
        self.next - self.buffer.len() as u64
    }

    /// The message that a receiver at `position` gets next.
    fn take(&mut self, position: &mut u64) -> Result<Arc<T>, TryRecvError> {
        let oldest = self.oldest();
        if *position < oldest {
            let missed = oldest - *position;
            *position = oldest;
            return Err(TryRecvError::Lagged(missed));
        }
        let Some(slot) = self.buffer.get_mut((*position - oldest) as usize) else {
            return Err(if self.senders == 0 { TryRecvError::Closed } else { TryRecvError::Empty });
        };
        *position += 1;
        slot.left -= 1;
        if slot.left > 0 {
            return Ok(slot.value.clone());
        }
        // Who took this has taken all before, so it is the oldest.
        self.buffer.pop_front().map(|slot| slot.value).ok_or(TryRecvError::Empty)
    }
}

impl<T> Gate for State<T> {
    fn is_open(&self) -> bool {
        false
    }
}

struct Channel<T, L: Lock> {
    turns: Turns<L, State<T>>,
    capacity: usize,
}

/// Nobody receives; the value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvError {
    /// All senders are gone, and all messages received.
    Closed,
    /// The receiver was too slow and missed this many; the next call gives the oldest that is kept.
    Lagged(u64),
}

/// Why there was no message at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// There may be one later.
    Empty,
    /// See [`RecvError::Closed`].
    Closed,
    /// See [`RecvError::Lagged`].
    Lagged(u64),
}

says! {
    SendError<T>: _ => "nobody receives";
    RecvError: Self::Closed => "the channel is closed", Self::Lagged(_) => "messages were missed";
    TryRecvError:
        Self::Empty => "the channel is empty",
        Self::Closed => "the channel is closed",
        Self::Lagged(_) => "messages were missed";
}

/// A channel that keeps the newest `capacity` messages; for 0 it is as for 1.
#[must_use]
pub fn channel<T: Clone, L: Lock>(capacity: usize) -> (Sender<T, L>, Receiver<T, L>) {
    let state = State { buffer: VecDeque::new(), next: 0, senders: 1, receivers: 1 };
    let channel = Arc::new(Channel { turns: Turns::new(free(), state), capacity: capacity.max(1) });
    (Sender { channel: channel.clone() }, Receiver { channel, position: 0 })
}

/// The sending half.
pub struct Sender<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
}

impl<T, L: Lock> Sender<T, L> {
    /// Sends to all that receive now; how many these are.
    ///
    /// # Errors
    /// Gives the value back if nobody receives.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        // The value is moved, and what it displaces dropped, outside the lock.
        let value = Arc::new(value);
        let capacity = self.channel.capacity;
        let sent = self.channel.turns.change_for_all(|state| {
            if state.receivers == 0 {
                return Err(value);
            }
            let displaced = if state.buffer.len() == capacity { state.buffer.pop_front() } else { None };
            state.buffer.push_back(Slot { value, left: state.receivers });
            state.next += 1;
            Ok((state.receivers, displaced))
        });
        match sent {
            Ok((receivers, displaced)) => {
                drop(displaced);
                Ok(receivers)
            }
            // Nobody else has it; so there is a value.
            Err(value) => Arc::into_inner(value).map_or(Ok(0), |value| Err(SendError(value))),
        }
    }

    /// One more receiver, for what is sent from now on.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T, L> {
        Receiver::new(&self.channel)
    }

    /// How many receive.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.channel.turns.look(|state| state.receivers)
    }
}

impl<T, L: Lock> Clone for Sender<T, L> {
    fn clone(&self) -> Self {
        self.channel.turns.look(|state| state.senders += 1);
        Self { channel: self.channel.clone() }
    }
}

impl<T, L: Lock> Drop for Sender<T, L> {
    fn drop(&mut self) {
        let left = self.channel.turns.look(|state| {
            state.senders -= 1;
            state.senders
        });
        if left == 0 {
            self.channel.turns.change_for_all(|_| ());
        }
    }
}

/// A receiving half.
pub struct Receiver<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
    /// The number of the message it gets next.
    position: u64,
}

impl<T, L: Lock> Receiver<T, L> {
    fn new(channel: &Arc<Channel<T, L>>) -> Self {
        let position = channel.turns.look(|state| {
            state.receivers += 1;
            state.next
        });
        Self { channel: channel.clone(), position }
    }

    /// One more receiver, for what is sent from now on.
    #[must_use]
    pub fn resubscribe(&self) -> Self {
        Self::new(&self.channel)
    }

    /// How many messages there are for it, those included that it missed.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.channel.turns.look(|state| state.next) - self.position) as usize
    }

    /// Whether there is no message for it now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone, L: Lock> Receiver<T, L> {
    /// Waits for the next message. If this is dropped before, no message is lost.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        let position = &mut self.position;
        let take = |state: &mut State<T>, _: bool| match state.take(position) {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(RecvError::Closed)),
            Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
        };
        claim(&self.channel.turns, take, Wait::Channel).await.map(Arc::unwrap_or_clone)
    }

    /// The next message if it is there.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let position = &mut self.position;
        self.channel.turns.look(|state| state.take(position)).map(Arc::unwrap_or_clone)
    }
}

impl<T, L: Lock> Drop for Receiver<T, L> {
    fn drop(&mut self) {
        // Takes what is left, so that it goes when the others have it; one by one, since values are dropped outside the lock.
        loop {
            let position = &mut self.position;
            let taken = self.channel.turns.look(|state| {
                let taken = state.take(position);
                let last = matches!(taken, Err(TryRecvError::Empty | TryRecvError::Closed));
                state.receivers -= usize::from(last);
                (last, taken.ok())
            });
            if taken.0 {
                return;
            }
        }
    }
}
