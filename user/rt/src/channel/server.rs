//! Who answers over a channel: requests of one client, in whatever order they are done.

use super::{Channel, End, Message};
use crate::io::Result;
use abi::Errno;
use core::future::{Future, pending};
use core::pin::pin;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// A request or a reply on the way. Packed: so there is no padding, whatever the body is.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable)]
#[repr(C, packed)]
pub struct Tagged<M> {
    /// The client's; it comes back as it was.
    pub(super) tag: u64,
    pub(super) body: M,
}

/// A request that is to be replied to.
#[derive(Debug)]
#[must_use = "who has asked waits"]
pub struct Ticket(u64);

/// Receives requests `Q` and replies to each by a `P`.
pub struct Server<Q, P> {
    channel: Channel<Tagged<P>, Tagged<Q>>,
}

impl<Q: Message, P: Message> Server<Q, P> {
    /// Over the second end of a channel that [`calls`](super::calls) has made.
    ///
    /// # Errors
    /// As [`End::open`].
    pub fn open(end: End) -> Result<Self> {
        Ok(Self { channel: end.open()? })
    }

    /// Waits for a request.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub fn receive(&mut self) -> Result<(Ticket, Q)> {
        self.channel.receive().map(open)
    }

    /// Replies; who has asked is woken at the latest when this side waits.
    ///
    /// # Errors
    /// As [`Channel::post`]: a client has as much room as it has asked for.
    pub fn reply(&mut self, ticket: Ticket, reply: &P) -> Result<()> {
        self.channel.post(&Tagged { tag: ticket.0, body: *reply })
    }

    /// Waits for a request, as a task.
    ///
    /// # Errors
    /// As [`Channel::next`].
    pub async fn next(&mut self) -> Result<(Ticket, Q)> {
        self.channel.next().await.map(open)
    }

    /// Answers requests until the client ends: so many at once (one at least), each when it is done. More are not taken meanwhile, so they are the client's, which waits.
    ///
    /// # Errors
    /// `EPROTO`; `EAGAIN`: the client has not taken the replies to what it has asked.
    pub async fn serve<F: Future<Output = P>>(&mut self, at_once: usize, mut answer: impl FnMut(Q) -> F) -> Result<()> {
        let mut working = FuturesUnordered::new();
        loop {
            let may_take = working.len() < at_once.max(1);
            let taken = async {
                if may_take {
                    return self.next().await;
                }
                self.channel.flush();
                pending().await
            };
            let done = async {
                match working.next().await {
                    Some(done) => done,
                    None => pending().await,
                }
            };
            let next = match select(pin!(taken), pin!(done)).await {
                Either::Left((taken, _)) => Either::Left(taken),
                Either::Right((done, _)) => Either::Right(done),
            };
            match next {
                Either::Left(Ok((ticket, request))) => {
                    let answer = answer(request);
                    working.push(async move { (ticket, answer.await) });
                }
                Either::Left(Err(error)) if error.raw_os_error() == Some(Errno::EPIPE.number()) => return Ok(()),
                Either::Left(Err(error)) => return Err(error),
                Either::Right((ticket, reply)) => self.reply(ticket, &reply)?,
            }
        }
    }
}

fn open<M: Copy>(request: Tagged<M>) -> (Ticket, M) {
    (Ticket(request.tag), request.body)
}
