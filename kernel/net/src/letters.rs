//! What a local datagram socket has received: messages, each with its sender's name and ids.
//!
//! Who sends pays for a message until it is received. There is room while there are fewer than [`MOST`] bytes, and few messages: from those whom the
//! reader is connected to 512, from others as many as in Linux.
//!
//! **Wake-up protocol.** A message is put in under the lock, then the reader's signal is notified. Who waits for room enters the queue `room` and looks; who watches its own
//! socket instead leaves its signal among those who *expect* room, in the same step in which it finds none. Taking a message out wakes the queue, and notifies those
//! signals once: who still finds no room leaves its signal again.

use crate::{
    flights::{Hold, Place},
    names::Name,
    rights::{Aboard, Rights},
    signal::Signal,
    stack::{BUFFER, rank},
};
use abi::{
    errno::Errno,
    poll::{EPOLLIN, EPOLLOUT},
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use exec::sync::WaitQueue;
use hal::sync::{SpinGuard, SpinLock};
use io::{
    caller::Caller,
    file::{Attempt, IoError},
};
use mem::{Charge, Room, Sink, Source, list};

/// While there are fewer bytes, another message is taken, which may be as long as the longest.
const MOST: usize = 4 * BUFFER;
/// Messages of a peer.
const MESSAGES: usize = 512;
/// Messages of others: Linux's limit, and the one that is over it.
const OTHERS_MESSAGES: usize = 11;

/// Places for messages that an empty inbox keeps.
const FEW: usize = 8;

/// The ids of who sends or connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Sender {
    /// Nobody: Linux's answer where there is none.
    pub(crate) const NOBODY: Self = Self { pid: 0, uid: u32::MAX, gid: u32::MAX };

    pub(crate) fn of(caller: &Caller) -> Self {
        Self { pid: caller.pid, uid: caller.credentials.uid, gid: caller.credentials.gid }
    }
}

/// A message.
pub(crate) struct Letter {
    bytes: Vec<u8>,
    from: Option<Arc<[u8]>>,
    sender: Sender,
    aboard: Option<Aboard>,
    _charge: Charge,
}

/// What a reader got.
pub(crate) struct Opened {
    pub len: usize,
    pub full: usize,
    pub from: Option<Arc<[u8]>>,
    pub sender: Sender,
    pub rights: Option<Box<Rights>>,
}

/// The messages for one socket, and what others have to know of it.
pub(crate) struct Inbox {
    state: SpinLock<State>,
    pub signal: Arc<Signal>,
    room: WaitQueue,
}

pub(crate) struct State {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// Its name, once it has one.
    pub name: Option<Name>,
    /// The only one whose messages it takes.
    pub peer: Option<Place>,
    pub read_shut: bool,
    /// Its socket is gone.
    pub gone: bool,
    /// It goes, and takes no descriptors any more.
    closing: bool,
    /// Messages to a peer were lost, since that has another now.
    pub reset: bool,
    /// Signals to be notified when there is room, and how often they were.
    expecting: Vec<Arc<Signal>>,
    rounds: u64,
}

/// What keeps a message from being taken.
pub(crate) enum Refusal {
    /// There is nobody.
    Gone,
    /// Another time.
    Full,
    Error(Errno),
}

impl Inbox {
    pub fn new() -> Arc<Self> {
        let state = State {
            letters: VecDeque::new(),
            bytes: 0,
            name: None,
            peer: None,
            read_shut: false,
            gone: false,
            closing: false,
            reset: false,
            expecting: Vec::new(),
            rounds: 0,
        };
        Arc::new(Self { state: SpinLock::new(rank::STACK, state), signal: Signal::new(), room: WaitQueue::new() })
    }

    pub fn lock(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    /// What stands for it.
    pub fn place(&self) -> Place {
        crate::channel::place_of(&self.signal)
    }

    /// Takes a message from who stands at `place`, and with it what there is of `rights`.
    pub fn put(
        self: &Arc<Self>,
        place: Place,
        mut letter: Letter,
        rights: &mut Option<Box<Rights>>,
    ) -> Result<(), (Refusal, SpinGuard<'_, State>)> {
        let mut state = self.lock();
        if let Err(refusal) = state.admit(place, self.place(), rights.is_some()) {
            return Err((refusal, state));
        }
        if state.letters.make_room(1).is_err() {
            return Err((Refusal::Error(Errno::ENOBUFS), state));
        }
        let holder = Arc::downgrade(self);
        letter.aboard = rights.take().map(|rights| Aboard::new(rights, self.place(), holder));
        state.bytes += letter.bytes.len();
        state.letters.push_back(letter);
        drop(state);
        self.signal.notify_of(EPOLLIN);
        Ok(())
    }

    /// The first message, of which the part that does not fit is lost. `None`: there is none.
    ///
    /// # Errors
    /// `ECONNRESET`, once.
    pub fn take(&self, dst: &mut Sink<'_>, peek: bool) -> Attempt<Opened> {
        let mut state = self.lock();
        if core::mem::take(&mut state.reset) {
            return Err(Errno::ECONNRESET.into());
        }
        let Some(letter) = state.letters.front() else { return Ok(None) };
        let (len, full) = (letter.bytes.len().min(dst.remaining()), letter.bytes.len());
        // On a fault the message stays.
        dst.put(&letter.bytes[..len])?;
        let mut opened = Opened { len, full, from: letter.from.clone(), sender: letter.sender, rights: None };
        if peek {
            opened.rights = letter.aboard.as_ref().map_or(Ok(None), Aboard::copy)?;
            return Ok(Some(opened));
        }
        let letter = state.letters.pop_front();
        state.bytes -= full;
        let spent = state.shrink();
        let expecting = if state.has_room_for_some() { state.expected() } else { Vec::new() };
        drop(state);
        drop(spent);
        // Before it is told to others: nobody can have what it carries until it has landed.
        opened.rights = letter.and_then(|letter| letter.aboard).and_then(Aboard::land);
        self.tell_of_room(expecting);
        Ok(Some(opened))
    }

    /// Takes messages from `peer` alone from now on, or from anybody.
    pub fn set_peer(&self, peer: Option<Place>) {
        let expecting = {
            let mut state = self.lock();
            state.peer = peer;
            state.expected()
        };
        // There is more room for one, and another answer for others.
        self.tell_of_room(expecting);
    }

    /// Throws all messages away; whether there were any.
    pub fn clear(&self) -> bool {
        let (letters, expecting) = {
            let mut state = self.lock();
            state.bytes = 0;
            (core::mem::take(&mut state.letters), state.expected())
        };
        let any = !letters.is_empty();
        drop(letters);
        self.tell_of_room(expecting);
        any
    }

    /// Its socket goes: nobody finds it any more, and who would send hears of it.
    pub fn desert(&self) {
        let name = {
            let mut state = self.lock();
            (state.gone, state.closing) = (true, true);
            state.name.take()
        };
        drop(name);
        self.clear();
    }

    /// Nothing more is taken.
    pub fn refuse(&self) {
        let expecting = {
            let mut state = self.lock();
            state.read_shut = true;
            state.expected()
        };
        self.tell_of_room(expecting);
        self.signal.notify();
    }

    fn tell_of_room(&self, expecting: Vec<Arc<Signal>>) {
        self.room.wake_all();
        expecting.iter().for_each(|signal| signal.notify_of(EPOLLOUT));
    }

    /// Resolves when a message from who stands at `place` may be taken, or never will.
    pub async fn room(&self, place: Place) {
        let own = self.place();
        let ready = || (!matches!(self.lock().admit(place, own, false), Err(Refusal::Full))).then_some(());
        exec::sync::wait_until(&self.room, ready).await;
    }
}

impl State {
    /// Whether a message from who stands at `place` is taken now by this one, at `own`.
    pub fn admit(&self, place: Place, own: Place, carries: bool) -> Result<(), Refusal> {
        if self.gone || self.closing && carries {
            return Err(Refusal::Gone);
        }
        if !self.takes_from(place) {
            return Err(Refusal::Error(Errno::EPERM));
        }
        if self.read_shut {
            return Err(Refusal::Error(Errno::EPIPE));
        }
        let most = if self.peer == Some(place) || place == own { MESSAGES } else { OTHERS_MESSAGES };
        if self.bytes < MOST && self.letters.len() < most { Ok(()) } else { Err(Refusal::Full) }
    }

    pub fn takes_from(&self, place: Place) -> bool {
        self.peer.is_none_or(|peer| peer == place)
    }

    /// Of those who may send at all some may now.
    fn has_room_for_some(&self) -> bool {
        self.bytes < MOST && (self.peer.is_some() || self.letters.len() < OTHERS_MESSAGES)
    }

    /// Leaves a signal to be notified when there is room, unless it was left in the round that `since` tells.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn leave_signal(&mut self, signal: &Arc<Signal>, since: &mut Option<u64>) -> Result<(), Errno> {
        if *since != Some(self.rounds) {
            self.expecting.make_room(1)?;
            self.expecting.push(signal.clone());
            *since = Some(self.rounds);
        }
        Ok(())
    }

    /// Takes a signal back.
    pub fn expect_no_more(&mut self, signal: &Arc<Signal>) {
        self.expecting.retain(|known| !Arc::ptr_eq(known, signal));
    }

    fn expected(&mut self) -> Vec<Arc<Signal>> {
        self.rounds += 1;
        core::mem::take(&mut self.expecting)
    }

    /// Gives up room that was for more messages than there are. The old list, to be dropped without the lock.
    fn shrink(&mut self) -> VecDeque<Letter> {
        let mut less = VecDeque::new();
        let (len, room) = (self.letters.len(), self.letters.capacity());
        if room <= FEW || 4 * len > room || len > 0 && less.make_exact_room(2 * len).is_err() {
            return less;
        }
        less.extend(self.letters.drain(..));
        core::mem::replace(&mut self.letters, less)
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Bytes of the first message.
    pub fn next_len(&self) -> usize {
        self.letters.front().map_or(0, |letter| letter.bytes.len())
    }
}

impl Letter {
    /// What is left of `src`, paid for by `caller`.
    pub fn new(caller: &Caller, src: &mut Source<'_>, from: Option<Arc<[u8]>>) -> Result<Self, IoError> {
        let len = src.remaining();
        let charge = caller.account.charge(2 * size_of::<Self>() + len).map_err(|_| Errno::ENOBUFS)?;
        let mut bytes = list(len).map_err(|_| Errno::ENOBUFS)?;
        bytes.resize(len, 0);
        src.take(&mut bytes)?;
        Ok(Self { bytes, from, sender: Sender::of(caller), aboard: None, _charge: charge })
    }
}

impl Hold for Inbox {
    fn strip(&self, into: &mut Option<Box<Rights>>) {
        let letters = {
            let mut state = self.lock();
            state.closing = true;
            state.bytes = 0;
            core::mem::take(&mut state.letters)
        };
        let aboard = letters.into_iter().filter_map(|letter| letter.aboard);
        aboard.filter_map(Aboard::land).for_each(|rights| rights.put_before(into));
    }
}
