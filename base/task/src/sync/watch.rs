//! A value that one side sets and the other watches: receivers see the newest, not each.

use core::ops::Deref;

use sync::wait::wait_until;

use super::*;

struct State<T> {
    value: Arc<T>,
    /// How often it was set.
    version: u64,
    receivers: usize,
    sender: bool,
}

impl<T> Gate for State<T> {
    fn is_open(&self) -> bool {
        false
    }
}

struct Channel<T, L: Lock> {
    turns: Turns<L, State<T>>,
    /// Those who wait for all receivers to be gone.
    closing: WaitQueue<L>,
}

/// Nobody watches; the value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The sender is gone, and its last value was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError;

says! {
    SendError<T>: _ => "nobody watches";
    RecvError: _ => "the sender is gone";
}

/// A channel with a first value, which counts as seen.
#[must_use]
pub fn channel<T, L: Lock>(value: T) -> (Sender<T, L>, Receiver<T, L>) {
    let state = State { value: Arc::new(value), version: 0, receivers: 1, sender: true };
    let channel = Arc::new(Channel { turns: Turns::new(free(), state), closing: WaitQueue::new(free()) });
    (Sender { channel: channel.clone() }, Receiver { channel, seen: 0 })
}

/// A value as it was when it was looked at; later ones do not wait for this.
#[derive(Debug, Clone)]
pub struct Ref<T> {
    value: Arc<T>,
    changed: bool,
}

impl<T> Ref<T> {
    /// Whether the receiver had not seen it before.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The side that sets.
pub struct Sender<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
}

impl<T, L: Lock> Sender<T, L> {
    /// Sets the value.
    ///
    /// # Errors
    /// Gives it back if nobody watches.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.receiver_count() == 0 {
            return Err(SendError(value));
        }
        drop(self.send_replace(value));
        Ok(())
    }

    /// Sets the value, also if nobody watches; the one before.
    pub fn send_replace(&self, value: T) -> Ref<T> {
        let value = Arc::new(value);
        let value = self.channel.turns.change_for_all(|state| {
            state.version += 1;
            core::mem::replace(&mut state.value, value)
        });
        Ref { value, changed: false }
    }

    /// Changes the value.
    pub fn send_modify(&mut self, change: impl FnOnce(&mut T))
    where
        T: Clone,
    {
        // Nobody else sets it in between: the sender is borrowed mutably.
        let mut value = T::clone(&self.borrow());
        change(&mut value);
        drop(self.send_replace(value));
    }

    /// The value.
    #[must_use]
    pub fn borrow(&self) -> Ref<T> {
        Ref { value: self.channel.turns.look(|state| state.value.clone()), changed: false }
    }

    /// One more receiver, which has seen the present value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T, L> {
        let seen = self.channel.turns.look(|state| {
            state.receivers += 1;
            state.version
        });
        Receiver { channel: self.channel.clone(), seen }
    }

    /// How many watch.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.channel.turns.look(|state| state.receivers)
    }

    /// Whether nobody watches.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// Waits until nobody watches.
    pub async fn closed(&self) {
        wait_until(&self.channel.closing, || self.is_closed().then_some(())).await;
    }
}

impl<T, L: Lock> Drop for Sender<T, L> {
    fn drop(&mut self) {
        self.channel.turns.change_for_all(|state| state.sender = false);
    }
}

/// A side that watches.
pub struct Receiver<T, L: Lock> {
    channel: Arc<Channel<T, L>>,
    /// The version it has seen.
    seen: u64,
}

impl<T, L: Lock> Receiver<T, L> {
    /// The value.
    #[must_use]
    pub fn borrow(&self) -> Ref<T> {
        let (value, version) = self.channel.turns.look(|state| (state.value.clone(), state.version));
        Ref { value, changed: version != self.seen }
    }

    /// The value, which counts as seen from now on.
    pub fn borrow_and_update(&mut self) -> Ref<T> {
        let (value, version) = self.channel.turns.look(|state| (state.value.clone(), state.version));
        let seen = core::mem::replace(&mut self.seen, version);
        Ref { value, changed: version != seen }
    }

    /// Whether there is a value that it has not seen.
    ///
    /// # Errors
    /// [`RecvError`] if the sender is gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let (version, sender) = self.channel.turns.look(|state| (state.version, state.sender));
        if sender { Ok(version != self.seen) } else { Err(RecvError) }
    }

    /// Waits for a value that it has not seen, which counts as seen then.
    ///
    /// # Errors
    /// [`RecvError`] if the sender is gone and there is none.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        let seen = self.seen;
        let newer = |state: &mut State<T>, _: bool| {
            if state.version != seen {
                return Some(Ok(state.version));
            }
            (!state.sender).then_some(Err(RecvError))
        };
        self.seen = claim(&self.channel.turns, newer, Wait::Channel).await?;
        Ok(())
    }

    /// Waits for a value that suits, the present one included.
    ///
    /// # Errors
    /// [`RecvError`] if the sender is gone and its last value does not.
    pub async fn wait_for(&mut self, mut suits: impl FnMut(&T) -> bool) -> Result<Ref<T>, RecvError> {
        loop {
            let value = self.borrow_and_update();
            if suits(&value) {
                return Ok(value);
            }
            drop(value);
            self.changed().await?;
        }
    }
}

impl<T, L: Lock> Clone for Receiver<T, L> {
    fn clone(&self) -> Self {
        self.channel.turns.look(|state| state.receivers += 1);
        Self { channel: self.channel.clone(), seen: self.seen }
    }
}

impl<T, L: Lock> Drop for Receiver<T, L> {
    fn drop(&mut self) {
        let left = self.channel.turns.look(|state| {
            state.receivers -= 1;
            state.receivers
        });
        if left == 0 {
            self.channel.closing.wake_all();
        }
    }
}
