//! A state under a lock, and those who wait in turn for what it holds: permits, a free lock, a place in a buffer.
//!
//! The state lies under the lock of a [`WaitQueue`]. Who waits tries its [`Claim`] with the lock held, and is told
//! whether it is the first of those who wait. Nothing is handed to a waiter in its absence: it is woken when it
//! is first and the [`Gate`] is open, and takes by itself; meanwhile nobody can go before it who asks
//! whether he is first. So a waiter that goes away takes nothing along, and wakes the next.
//!
//! ```text
//!   waiter (Turn::poll)                    changer (change)
//!   ───────────────────                    ────────────────
//!   lock: claim; got it: leave,            lock: change the state
//!         gate open? take out the                gate open? take out the
//!         first's waker                          first's waker
//!         else stay in the queue           unlock; call it
//!         with a waker
//! ```
//!
//! Look and entry, change and wake-up are one section each, so no change falls in between. A waiter whose waker
//! has been taken out stays in its place; it is not called again until it has looked. `change_for_all` takes all waiters
//! out of the queue; who then fails with its claim enters anew, as the last.

use super::*;

/// A state that waiters wait for.
pub trait Gate {
    /// Whether the first of those who wait should look.
    fn is_open(&self) -> bool;
}

/// What a waiter wants.
pub trait Claim<S> {
    /// What it gets.
    type Output;

    /// Takes it from the state, if it is there. `first`: nobody has waited longer. Called with the lock held.
    fn claim(&mut self, state: &mut S, first: bool) -> Option<Self::Output>;

    /// The waiter goes away without having got it. Called with the lock held.
    fn withdraw(&mut self, _state: &mut S) {}
}

impl<S, T, F: FnMut(&mut S, bool) -> Option<T>> Claim<S> for F {
    type Output = T;

    #[inline]
    fn claim(&mut self, state: &mut S, first: bool) -> Option<T> {
        self(state, first)
    }
}

/// A state and its waiters.
///
/// * **W3** The state is touched under the queue's lock only.
pub struct Turns<L, S> {
    queue: WaitQueue<L>,
    state: UnsafeCell<S>,
}

// SAFETY: the state goes along with its owner; the queue by its own bound.
unsafe impl<L: Send, S: Send> Send for Turns<L, S> {}
// SAFETY: W3, the state is reached by one context at a time.
unsafe impl<L: Sync, S: Send> Sync for Turns<L, S> {}

impl<L, S> Turns<L, S> {
    crate::const_fn! {
        /// A state that nobody waits for, with its lock.
        #[must_use]
        pub const fn new(lock: L, state: S) -> Self {
            Self { queue: WaitQueue::new(lock), state: UnsafeCell::new(state) }
        }
    }

    /// Takes the state out.
    pub fn into_state(self) -> S {
        self.state.into_inner()
    }
}

impl<L: WaitLock, S: Gate> Turns<L, S> {
    fn locked<R>(&self, f: impl FnOnce(&mut S, &mut List) -> R) -> R {
        self.queue.lock.with(|| {
            self.queue.list.with_mut(|list| {
                self.state.with_mut(|state| {
                    // SAFETY: W1 and W3, under the lock; both are borrowed nowhere else then.
                    unsafe { f(&mut *state, &mut *list) }
                })
            })
        })
    }

    /// Looks at the state, or changes it in a way that nobody waits for. `f` must not wait, and must not call what is not
    /// known to take none of these locks.
    #[inline]
    pub fn look<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        self.locked(|state, _| f(state))
    }

    /// Changes the state, and wakes the first waiter if the gate is open then. `f` as for [`look`](Self::look).
    #[inline]
    pub fn change<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        let (result, first) = self.locked(|state, list| {
            let result = f(state);
            // SAFETY: the list is this queue's, and the lock held.
            (result, unsafe { call_first(state, list) })
        });
        wake(first);
        result
    }

    /// Changes the state, and has all waiters look. `f` as for [`look`](Self::look).
    pub fn change_for_all<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        let result = self.look(f);
        self.queue.wake_all();
        result
    }

    /// Tries a claim once, without waiting.
    #[inline]
    pub fn now<C: Claim<S>>(&self, claim: &mut C) -> Option<C::Output> {
        let (output, first) = self.locked(|state, list| {
            let output = claim.claim(state, list.head.is_null());
            // SAFETY: the list is this queue's, and the lock held.
            let first = output.is_some().then(|| unsafe { call_first(state, list) });
            (output, first.flatten())
        });
        wake(first);
        output
    }

    /// The same for who goes away if it fails.
    #[inline]
    pub fn try_now<C: Claim<S>>(&self, claim: &mut C) -> Option<C::Output> {
        let output = self.now(claim);
        if output.is_none() {
            self.look(|state| claim.withdraw(state));
        }
        output
    }

    /// Waits until a claim succeeds.
    pub fn wait<C: Claim<S>>(&self, claim: C) -> Turn<'_, L, S, C> {
        Turn { turns: self, node: Node::new(), stage: Stage::New, claim }
    }
}

/// The waker of the first waiter, if it should look and has not been called since it last did.
///
/// # Safety
/// The list is that of the state's queue, whose lock is held.
#[inline]
unsafe fn call_first<S: Gate>(state: &S, list: &List) -> Option<Waker> {
    if list.head.is_null() || !state.is_open() {
        return None;
    }
    // SAFETY: W2, who is in the list is alive; W1 by contract.
    unsafe { (*list.head).links.with_mut(|links| (*links).call.take()) }
}

#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Has not looked.
    New,
    Waiting,
    Done,
}

/// The future of [`Turns::wait`]. Dropped before it is ready, it has taken nothing.
#[must_use = "futures do nothing unless awaited"]
pub struct Turn<'q, L: WaitLock, S: Gate, C: Claim<S>> {
    turns: &'q Turns<L, S>,
    node: Node,
    stage: Stage,
    claim: C,
}

// SAFETY: the node is reached through the queue under its lock, from whatever thread (W1); the rest by its bounds.
unsafe impl<L: WaitLock + Sync, S: Gate + Send, C: Claim<S> + Send> Send for Turn<'_, L, S, C> {}

/// What one look came to, and what is to be dropped or called outside the lock.
struct Look<T> {
    output: Option<T>,
    replaced: Option<Waker>,
    first: Option<Waker>,
}

impl<L: WaitLock, S: Gate, C: Claim<S>> Turn<'_, L, S, C> {
    /// Looks, and with a waker given waits if there is nothing.
    ///
    /// # Safety
    /// The future is pinned.
    unsafe fn look(&mut self, waker: Option<Waker>) -> Option<C::Output> {
        let (turns, node, claim) = (self.turns, &self.node, &mut self.claim);
        let look = turns.locked(|state, list| {
            let linked = node.is_linked();
            let first = if linked { ptr::eq(list.head, node) } else { list.head.is_null() };
            // SAFETY: under the lock; linked nodes of this future are in this list; the node does not move and leaves
            // before it goes (W2).
            unsafe {
                let Some(output) = claim.claim(state, first) else {
                    return Look { output: None, replaced: turns.queue.stay(list, node, waker), first: None };
                };
                let replaced = if linked { turns.queue.unlink_own(list, node) } else { None };
                Look { output: Some(output), replaced, first: call_first(state, list) }
            }
        });
        drop(look.replaced);
        wake(look.first);
        look.output
    }
}

impl<L: WaitLock> WaitQueue<L> {
    /// Has `waker`, if there is one, called for a node, which is put into the list if it is not there.
    ///
    /// # Safety
    /// As [`link`](Self::link), but the node may be in this queue's list.
    unsafe fn stay(&self, list: &mut List, node: &Node, waker: Option<Waker>) -> Option<Waker> {
        let waker = waker?;
        if node.is_linked() {
            // SAFETY: W1, under the lock.
            return node.links.with_mut(|links| unsafe { (*links).call.replace(waker) });
        }
        // SAFETY: by contract.
        unsafe { self.link(list, node, waker) };
        None
    }
}

impl<L: WaitLock, S: Gate, C: Claim<S>> Future for Turn<'_, L, S, C> {
    type Output = C::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        // SAFETY: nothing is moved out; the node stays where it is, and the claim is never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        this.stage = Stage::Waiting;
        // A waker is made only for who has to wait; outside the lock, so there are two looks.
        let output = {
            // SAFETY: pinned.
            unsafe { this.look(None).or_else(|| this.look(Some(context.waker().clone()))) }
        };
        match output {
            Some(output) => {
                this.stage = Stage::Done;
                Poll::Ready(output)
            }
            None => Poll::Pending,
        }
    }
}

impl<L: WaitLock, S: Gate, C: Claim<S>> Drop for Turn<'_, L, S, C> {
    fn drop(&mut self) {
        if self.stage != Stage::Waiting {
            return;
        }
        let (turns, node, claim) = (self.turns, &self.node, &mut self.claim);
        let (waker, first) = turns.locked(|state, list| {
            let linked = node.is_linked();
            // SAFETY: W1, under the lock; linked nodes of this future are in this list.
            let waker = linked.then(|| unsafe { turns.queue.unlink_own(list, node) }).flatten();
            claim.withdraw(state);
            // SAFETY: the list is this queue's, and the lock held.
            (waker, unsafe { call_first(state, list) })
        });
        drop(waker);
        wake(first);
    }
}
