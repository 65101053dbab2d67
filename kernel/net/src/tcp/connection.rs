//! What a TCP socket asks of its connection, whichever way the bytes go: to another host ([`super::wired`]) or to a socket of this
//! one ([`super::fused`]).

use crate::options::Options;
use abi::errno::Errno;
use core::net::SocketAddrV4;
use io::file::Attempt;
use mem::{Sink, Source};

/// A connection, from the attempt to make it until its end; dropping it closes it.
pub(super) trait Connection: Send {
    /// Takes over the options that it carries out.
    fn apply(&mut self, options: &Options);

    /// How connecting goes; `Ok(None)`: still under way. An error is told once.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ETIMEDOUT`; `ECONNABORTED` if it was told already.
    fn outcome(&mut self) -> Result<Option<()>, Errno>;

    /// Whether it was made, however it ended later. Nobody need have asked how it went.
    fn is_established(&mut self) -> bool;

    /// The error that ended it, once.
    fn take_error(&mut self) -> Option<Errno>;

    /// Copies what has arrived; `Some(0)`: nothing more will.
    fn receive(&mut self, dst: &mut Sink<'_>, peek: bool) -> Attempt<usize>;

    /// Takes what there is room for.
    fn send(&mut self, src: &mut Source<'_>) -> Attempt<usize>;

    /// No more is sent.
    fn end(&mut self);

    /// How it stands. All changes wake the socket's signal.
    fn look(&self) -> Look;

    /// Whether there is nothing to receive, and may be later.
    fn receive_waits(&self) -> bool;

    /// Bytes that can be received.
    fn readable_bytes(&self) -> usize;

    /// Bytes that the peer's side has not acknowledged.
    fn unsent_bytes(&self) -> usize;

    /// Its own address.
    fn local(&self) -> Option<SocketAddrV4>;

    /// The peer's.
    fn peer(&self) -> Option<SocketAddrV4>;
}

/// How a connection stands, for `poll`.
#[derive(Default)]
pub(super) struct Look {
    /// It is still to be made: nothing else holds.
    pub is_connecting: bool,
    /// Something can be received.
    pub is_readable: bool,
    /// Nothing more will come than that.
    pub peer_is_done: bool,
    /// Sending is worth while, or fails at once.
    pub is_writable: bool,
    /// It is over, for both directions.
    pub is_closed: bool,
    /// By an error, which was not told yet.
    pub has_error: bool,
}

impl Look {
    /// Of a connection that came to nothing.
    pub fn over(has_error: bool) -> Self {
        Self { is_closed: true, peer_is_done: true, is_writable: true, has_error, ..Self::default() }
    }

    /// The events that hold, for a socket that was shut down so far.
    pub fn events(&self, read_shut: bool, write_shut: bool) -> u32 {
        use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM};
        if self.is_connecting {
            return 0;
        }
        let read_over = self.peer_is_done || read_shut;
        let mut events = 0;
        if self.is_readable || read_over {
            events |= EPOLLIN | EPOLLRDNORM;
        }
        if read_over {
            events |= EPOLLRDHUP;
        }
        if self.is_writable || write_shut {
            events |= EPOLLOUT | EPOLLWRNORM;
        }
        if self.is_closed || (write_shut && read_over) {
            events |= EPOLLHUP;
        }
        if self.has_error {
            events |= EPOLLERR;
        }
        events
    }
}
