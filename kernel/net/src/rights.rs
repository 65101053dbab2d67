//! Descriptors that travel in a message of a local socket (`SCM_RIGHTS`).
//!
//! They keep their descriptions open until they are received, or the message is thrown away. What that ends may be a socket with messages in which
//! there are descriptors, and so on: they are closed one after the other, never by one destructor inside another, or a program
//! could make the chain as long as it takes to overrun the stack. Those that are to be closed are a list that needs no memory of its own.

use crate::{
    Net, SocketFile,
    flights::{Flights, Hold, Passenger, Place},
    letters::Sender,
};
use abi::errno::Errno;
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::fmt;
use io::open::OpenFile;
use mem::{Charge, Room, list};

/// Descriptors for who receives the message, and who its sender claims to be.
pub struct Rights {
    files: Vec<Arc<OpenFile>>,
    claim: Option<Sender>,
    /// Those of them that are local sockets, until they are in flight.
    sockets: Vec<Passenger>,
    /// Where they are noted when they lie in a queue.
    flights: Option<Arc<Flights>>,
    /// What is to be closed behind them.
    next: Option<Box<Self>>,
    _charges: Option<[Charge; 2]>,
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({})", self.files.len())
    }
}

fn socket_of(open: &OpenFile) -> Option<&SocketFile> {
    open.file().as_any().downcast_ref()
}

impl Rights {
    /// What the memory for `count` of them costs at most.
    #[must_use]
    pub fn bytes(count: usize) -> usize {
        size_of::<Self>() + 256 + count * (size_of::<Arc<OpenFile>>() + size_of::<Passenger>() + 128)
    }

    /// `charges` are for their number and their memory, for as long as they are under way.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(
        net: &Net,
        files: Vec<Arc<OpenFile>>,
        claim: Option<Sender>,
        charges: [Charge; 2],
    ) -> Result<Box<Self>, Errno> {
        let mut sockets = Vec::new();
        for open in &files {
            if let Some(place) = socket_of(open).and_then(SocketFile::place) {
                sockets.make_room(1)?;
                sockets.push(Passenger { place, description: Arc::downgrade(open) });
            }
        }
        let flights = Some(net.flights().clone());
        Ok(Box::new(Self { files, claim, sockets, flights, next: None, _charges: Some(charges) }))
    }

    /// Puts them in front of a list of those that are to be closed.
    pub(crate) fn put_before(mut self: Box<Self>, list: &mut Option<Box<Self>>) {
        self.next = list.take();
        *list = Some(self);
    }

    /// Tells of who sent what these came with, if `sender` is to be told and they do not say it themselves.
    pub(crate) fn told(rights: Option<Box<Self>>, sender: Option<Sender>) -> Option<Box<Self>> {
        match (rights, sender) {
            (Some(mut rights), sender) => {
                rights.claim = rights.claim.filter(|_| sender.is_some()).or(sender);
                Some(rights)
            }
            (None, None) => None,
            (None, claim) => {
                let (files, sockets) = (Vec::new(), Vec::new());
                Some(Box::new(Self { files, claim, sockets, flights: None, next: None, _charges: None }))
            }
        }
    }

    /// Who the sender is, or says to be.
    #[must_use]
    pub fn claim(&self) -> Option<Sender> {
        self.claim
    }

    /// The descriptions.
    #[must_use]
    pub fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let (mut files, mut more) = (core::mem::take(&mut self.files), self.next.take());
        loop {
            while let Some(open) = files.pop() {
                if let Some(last) = Arc::into_inner(open)
                    && let Some(socket) = socket_of(&last)
                {
                    socket.strip(&mut more);
                }
            }
            let Some(mut next) = more else { return };
            (files, more) = (core::mem::take(&mut next.files), next.next.take());
        }
    }
}

/// Rights in a queue.
pub(crate) struct Aboard {
    rights: Option<Box<Rights>>,
    /// There are local sockets among them.
    flight: Option<u64>,
}

impl Aboard {
    /// They lie in the queue `holder`, whose reader, or who stands for it, is `owner`.
    pub fn new(mut rights: Box<Rights>, owner: Place, holder: Weak<dyn Hold>) -> Self {
        let sockets = core::mem::take(&mut rights.sockets);
        let flights = rights.flights.as_ref().filter(|_| !sockets.is_empty());
        let flight = flights.map(|flights| flights.begin(owner, holder, sockets));
        Self { rights: Some(rights), flight }
    }

    fn flights(&self) -> Option<&Flights> {
        self.rights.as_ref()?.flights.as_deref()
    }

    /// The queue is `owner`'s now.
    pub fn hand_over(&self, owner: Place) {
        if let (Some(flights), Some(flight)) = (self.flights(), self.flight) {
            flights.hand_over(flight, owner);
        }
    }

    /// The same once more, for who looks at a message and leaves it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn copy(&self) -> Result<Option<Box<Rights>>, Errno> {
        let Some(rights) = &self.rights else { return Ok(None) };
        let mut files = list(rights.files.len())?;
        let copy = || files.extend(rights.files.iter().cloned());
        if let Some(flights) = self.flights() {
            flights.copy(copy);
        }
        let (sockets, flights) = (Vec::new(), rights.flights.clone());
        Ok(Some(Box::new(Rights { files, claim: rights.claim, sockets, flights, next: None, _charges: None })))
    }

    /// They are received, or thrown away.
    pub fn land(mut self) -> Option<Box<Rights>> {
        self.end();
        self.rights.take()
    }

    fn end(&mut self) {
        let flight = self.flight.take();
        if let (Some(flights), Some(flight)) = (self.flights(), flight) {
            flights.end(flight);
        }
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        self.end();
    }
}
