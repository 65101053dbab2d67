//! Who asks over a channel: many requests on the way, each of which gets its own reply.
//!
//! A task of the client's takes whatever replies come, also those that nobody waits for any more, and wakes who asked
//! (`channel::calls`). A request has its place from before it is sent until its reply has come, so there are never more on the way than
//! the memory has places for, and neither side ever waits for room: a peer that makes it do so has replied to what it has not taken.
//!
//! The task says for good that this side waits for messages, before it looks: who sends one behind that look rings. It holds the channel only while it looks,
//! and wakes behind that: with the last [`Client`], which somebody may drop who was woken, this end is over, whether the task runs again or not.

use super::server::Tagged;
use super::{Channel, End, Message, Received, call, pair};
use crate::io::{Error, Result};
use crate::reactor::Direction;
use crate::sync::{Arc, Mutex};
use crate::task::sync::Semaphore;
use crate::task::{self, JoinHandle, Priority};
use abi::{Errno, channel as at};
use alloc::sync::Weak;
use alloc::vec::Vec;
use channel::MESSAGE;
use channel::calls::{Answer, Calls, Tag};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// A channel for a [`Client`], whose is the first end, and a [`Server`](super::Server), with `places` requests at most on the way.
///
/// # Errors
/// As [`pair`].
pub fn calls<Q: Message, P: Message>(places: u32) -> Result<(End, End)> {
    pair::<Tagged<Q>, Tagged<P>>(places)
}

struct State<Q, P> {
    channel: Channel<Tagged<Q>, Tagged<P>>,
    calls: Calls<P>,
    /// Why nothing more comes.
    failure: Option<Errno>,
}

struct Shared<Q, P> {
    state: Mutex<State<Q, P>>,
    /// As many as there are free places; closed with the failure. Whoever closes it may do so when the rest is gone.
    places: Arc<Semaphore>,
}

/// What replies have brought, told of when the channel is not held any more.
struct News {
    /// Of who asked.
    wakers: Vec<Waker>,
    /// Places of requests that were given up.
    places: usize,
}

/// The task that takes replies.
struct Taker(JoinHandle<()>);

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends requests `Q`, each of which is replied to by a `P`. Clones send over the same channel.
pub struct Client<Q, P> {
    shared: Arc<Shared<Q, P>>,
    taker: Arc<Taker>,
}

impl<Q, P> Clone for Client<Q, P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), taker: self.taker.clone() }
    }
}

impl<Q: Message, P: Message> Client<Q, P> {
    /// Over the first end of a channel that [`calls`] has made.
    ///
    /// # Errors
    /// As [`End::open`].
    pub fn open(end: End) -> Result<Self> {
        let most = end.places;
        let state = State { channel: end.open()?, calls: Calls::new(most), failure: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), places: Arc::new(Semaphore::new(most as usize)) });
        let (taken, mut news) = (Arc::downgrade(&shared), News { wakers: Vec::new(), places: 0 });
        // Here, where that can fail: as many as are on the way.
        news.wakers.try_reserve_exact(most as usize).map_err(|_| Error::from(Errno::ENOMEM))?;
        let replies = poll_fn(move |context| take_replies(&taken, &mut news, context));
        // Before all who wait, however urgent they are: it takes no more than there are requests on the way.
        let taker = task::spawn_with(Priority::new(0), replies);
        Ok(Self { shared, taker: Arc::new(Taker(taker)) })
    }

    /// Asks, and waits for the reply; before that for a place, while as many requests are on the way as may be. If this is dropped, the reply is
    /// discarded when it comes.
    ///
    /// # Errors
    /// `EPIPE`: the other end is nobody's any more; `EPROTO`: it has sent what makes no sense; `EMFILE`, `ENOMEM`: nothing was left to wait with.
    pub async fn call(&self, request: &Q) -> Result<P> {
        let place = self.shared.places.acquire().await.map_err(|_| self.shared.why())?;
        let mut asked = self.shared.ask(request)?;
        // The request has it until its reply comes.
        place.forget();
        poll_fn(|context| asked.poll(context)).await
    }
}

/// Takes the replies that are there, and wakes those who asked; `news` keep their room from one poll to the next.
fn take_replies<Q: Message, P: Message>(
    shared: &Weak<Shared<Q, P>>,
    news: &mut News,
    context: &mut Context<'_>,
) -> Poll<()> {
    let (taken, places) = {
        let Some(shared) = shared.upgrade() else { return Poll::Ready(()) };
        let fd = shared.state.lock().channel.fd.clone();
        // Without a state of its own: it can be made anew for each poll.
        let taken = pin!(fd.io(Direction::Read, |fd| shared.take(fd, news))).poll(context);
        let taken = taken.map(|end| {
            let Err(error) = end;
            // Its own where this process has no descriptor or memory left to wait with.
            let errno = error.raw_os_error().and_then(|number| u16::try_from(number).ok()).and_then(Errno::new);
            news.wakers.extend(shared.end(errno.unwrap_or(Errno::EPROTO)));
        });
        (taken, shared.places.clone())
    };
    if taken.is_ready() {
        places.close();
    }
    match core::mem::take(&mut news.places) {
        0 => {}
        given_up => places.add_permits(given_up),
    }
    news.wakers.drain(..).for_each(Waker::wake);
    taken
}

impl<Q: Message, P: Message> Shared<Q, P> {
    /// Takes the replies that are there, and notes whom to tell; `EAGAIN`: more will come.
    fn take(&self, fd: &crate::sys::OwnedFd, news: &mut News) -> Result<Infallible> {
        self.give_out(news)?;
        let ring = {
            let mut state = self.state.lock();
            let channel = &mut state.channel;
            channel.side.waits(&channel.memory, MESSAGE);
            if channel.must_ring_fenced() { at::RING } else { 0 }
        };
        // Asked before the look: what was sent before the end is received.
        let is_over = call(fd, ring, 0) == Err(Errno::EPIPE);
        self.give_out(news)?;
        Err(Error::from(if is_over { Errno::EPIPE } else { Errno::EAGAIN }))
    }

    /// Gives each reply that is there to who asked: no more of them than there are requests on the way.
    fn give_out(&self, news: &mut News) -> Result<()> {
        let broken = |_| Error::from(Errno::EPROTO);
        loop {
            let answer = {
                let State { channel, calls, .. } = &mut *self.state.lock();
                let Some(reply) = channel.inbox.pop(&Received(&channel.memory)).map_err(broken)? else { return Ok(()) };
                calls.answer(Tag(reply.tag), reply.body).map_err(broken)?
            };
            match answer {
                Answer::Arrived(waker) => news.wakers.extend(waker),
                Answer::Discarded => news.places += 1,
            }
        }
    }

    /// Nothing more comes; who is to be woken for it. Those who wait for a place hear of it when `places` is closed.
    fn end(&self, errno: Errno) -> Vec<Waker> {
        let mut state = self.state.lock();
        state.failure.get_or_insert(errno);
        state.calls.end()
    }

    fn why(&self) -> Error {
        Error::from(self.state.lock().failure.unwrap_or(Errno::EPIPE))
    }

    fn ask(&self, request: &Q) -> Result<Asked<'_, Q, P>> {
        let mut state = self.state.lock();
        if let Some(errno) = state.failure {
            return Err(errno.into());
        }
        let tag = state.calls.begin().ok_or(Errno::EAGAIN)?;
        let posted = state.channel.post(&Tagged { tag: tag.0, body: *request });
        if posted.is_err() {
            drop(state);
            let wakers = self.end(Errno::EPROTO);
            self.places.close();
            wakers.into_iter().for_each(Waker::wake);
            return Err(Errno::EPROTO.into());
        }
        state.channel.flush();
        Ok(Asked { shared: self, tag: Some(tag) })
    }
}

/// A request whose reply is wanted.
struct Asked<'c, Q: Message, P: Message> {
    shared: &'c Shared<Q, P>,
    /// Until it was taken.
    tag: Option<Tag>,
}

impl<Q: Message, P: Message> Asked<'_, Q, P> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<P>> {
        let Some(tag) = self.tag else { return Poll::Pending };
        let mut state = self.shared.state.lock();
        let reply = state.calls.poll(tag, context.waker());
        let failure = state.failure;
        drop(state);
        match (reply, failure) {
            (Poll::Ready(reply), _) => {
                self.tag = None;
                self.shared.places.add_permits(1);
                Poll::Ready(Ok(reply))
            }
            (Poll::Pending, Some(errno)) => Poll::Ready(Err(errno.into())),
            (Poll::Pending, None) => Poll::Pending,
        }
    }
}

impl<Q: Message, P: Message> Drop for Asked<'_, Q, P> {
    fn drop(&mut self) {
        if let Some(tag) = self.tag
            && self.shared.state.lock().calls.give_up(tag)
        {
            self.shared.places.add_permits(1);
        }
    }
}
