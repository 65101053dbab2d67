//! A channel for one message.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::*;

struct State<T> {
    value: Option<T>,
    sender: Side,
    receiver: Side,
}

/// One of the two.
#[derive(Default)]
struct Side {
    gone: bool,
    waker: Option<Waker>,
}

impl<T> Gate for State<T> {
    fn is_open(&self) -> bool {
        false
    }
}

type Shared<T, L> = Arc<Turns<L, State<T>>>;

/// The sender is gone without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError;

/// Why there was no message at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// There may be one later.
    Empty,
    /// There will be none.
    Closed,
}

says! {
    RecvError: _ => "the sender is gone";
    TryRecvError: Self::Empty => "no message yet", Self::Closed => "the sender is gone";
}

/// Makes a channel.
pub fn channel<T, L: Lock>() -> (Sender<T, L>, Receiver<T, L>) {
    let state = State { value: None, sender: Side::default(), receiver: Side::default() };
    let shared = Arc::new(Turns::new(free(), state));
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// The sending half.
pub struct Sender<T, L: Lock> {
    shared: Shared<T, L>,
}

/// The receiving half: a future of the message.
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver<T, L: Lock> {
    shared: Shared<T, L>,
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T, L: Lock> Sender<T, L> {
    /// Sends the message.
    ///
    /// # Errors
    /// Gives it back if the receiver is gone or wants none.
    pub fn send(self, value: T) -> Result<(), T> {
        self.shared.look(|state| {
            if state.receiver.gone {
                return Err(value);
            }
            state.value = Some(value);
            Ok(())
        })
        // The receiver is woken by the drop.
    }

    /// Whether the receiver is gone or wants none.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.look(|state| state.receiver.gone)
    }

    /// Waits until the receiver is gone or wants none.
    pub async fn closed(&mut self) {
        poll_fn(|context| self.poll_closed(context)).await;
    }

    /// Polls for that.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(context.waker().clone());
        self.shared.look(|state| {
            if state.receiver.gone {
                return Poll::Ready(());
            }
            core::mem::swap(&mut state.sender.waker, &mut waker);
            Poll::Pending
        })
    }
}

impl<T, L: Lock> Drop for Sender<T, L> {
    fn drop(&mut self) {
        let wakers = self.shared.look(|state| {
            state.sender.gone = true;
            (state.receiver.waker.take(), state.sender.waker.take())
        });
        wake(wakers.0);
    }
}

impl<T, L: Lock> Receiver<T, L> {
    /// Wants no message: a sender gets it back from now on. One that was sent can still be received.
    pub fn close(&mut self) {
        let sender = self.shared.look(|state| {
            state.receiver.gone = true;
            state.sender.waker.take()
        });
        wake(sender);
    }

    /// The message if it is there.
    ///
    /// # Errors
    /// Says why not.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.take(&mut None)
    }

    fn take(&self, waker: &mut Option<Waker>) -> Result<T, TryRecvError> {
        self.shared.look(|state| match state.value.take() {
            Some(value) => Ok(value),
            None if state.sender.gone || state.receiver.gone => Err(TryRecvError::Closed),
            None => {
                if waker.is_some() {
                    core::mem::swap(&mut state.receiver.waker, waker);
                }
                Err(TryRecvError::Empty)
            }
        })
    }
}

impl<T, L: Lock> Future for Receiver<T, L> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let taken = match self.take(&mut None) {
            Err(TryRecvError::Empty) => self.take(&mut Some(context.waker().clone())),
            taken => taken,
        };
        let answer = match taken {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(TryRecvError::Closed) => Poll::Ready(Err(RecvError)),
            Err(TryRecvError::Empty) => Poll::Pending,
        };
        noted(answer, Wait::Channel, context)
    }
}

impl<T, L: Lock> Drop for Receiver<T, L> {
    fn drop(&mut self) {
        self.close();
        // Dropped outside the lock.
        let left = self.shared.look(|state| (state.value.take(), state.receiver.waker.take()));
        drop(left);
    }
}
