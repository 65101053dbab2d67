//! TCP/IP and sockets (D17).
//!
//! ```text
//! SocketFile (io::File)        what a descriptor refers to: TCP, UDP or local
//!      |                        every operation has a form that never waits
//! Net                           routes by address, hands out ports
//!      |
//! Stack (one per interface)     smoltcp behind one lock, polled by one coroutine (`Stack::run`)
//!      |
//! NetDevice                     Ethernet card, or loopback: the same datagrams for both
//! ```
//!
//! No type of the protocol library appears in this crate's interface, so it can be replaced.
//!
//! **Who owns what.** A connection belongs to its socket until the last descriptor closes; then to
//! the stack, as an orphan, until the peer acknowledged everything or a time limit passed. Its
//! buffers are charged to the account that opened or accepted it until they are freed. A connection
//! that nobody accepted yet belongs to the listener's backlog. Within this host who connects pays for both sides until the other is accepted.
//!
//! **Locks**, outermost first: socket state, port table and names, stack, channel or inbox, flights, listener's queue, wait queue. User memory is copied
//! under the stack's lock, at most [`stack::BUFFER`] bytes at a time.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
mod channel;
mod connections;
pub mod device;
mod flights;
mod letters;
mod listener;
mod local;
mod local_datagrams;
pub mod loopback;
mod names;
mod network;
mod options;
mod orphan;
mod ports;
mod rights;
mod run;
mod signal;
mod socket;
pub mod stack;
mod tcp;
mod udp;
mod wire;

#[cfg(test)]
mod tests;

pub use address::{Address, LocalName};
pub use channel::Framing;
pub use device::{Link, NetDevice};
pub use letters::Sender;
pub use network::{Configuration, Net};
pub use options::{SocketOption, SocketValue};
pub use rights::Rights;
pub use socket::{Accepted, Direction, Received, SocketFile};
