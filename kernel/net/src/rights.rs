//! Descriptors that travel in a message of a local socket (`SCM_RIGHTS`).
//!
//! They keep their descriptions open until they are received, or the message is thrown away. What that ends may be a socket with messages in which
//! there are descriptors, and so on: they are closed one after the other, never by one destructor inside another, or a program
//! could make the chain as long as it takes to overrun the stack. Those that are to be closed are a list that needs no memory of its own.

use crate::{
    Net, SocketFile,
    channel::Channel,
    flights::{Flights, Passenger, Place},
    local::LocalSocket,
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;
use io::open::OpenFile;
use mem::{Charge, Room};

/// Descriptors for who receives the message.
pub struct Rights {
    files: Vec<Arc<OpenFile>>,
    /// Those of them that are local sockets, until they are in flight.
    sockets: Vec<Passenger>,
    flights: Arc<Flights>,
    /// What is to be closed behind them.
    next: Option<Box<Self>>,
    _charges: Option<[Charge; 2]>,
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({})", self.files.len())
    }
}

fn local_of(open: &OpenFile) -> Option<&LocalSocket> {
    open.file().as_any().downcast_ref().and_then(SocketFile::as_local)
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
    pub fn new(net: &Net, files: Vec<Arc<OpenFile>>, charges: [Charge; 2]) -> Result<Box<Self>, Errno> {
        let mut sockets = Vec::new();
        for open in &files {
            if let Some(socket) = local_of(open) {
                sockets.make_room(1)?;
                sockets.push(Passenger { place: socket.place(), description: Arc::downgrade(open) });
            }
        }
        Ok(Box::new(Self { files, sockets, flights: net.flights().clone(), next: None, _charges: Some(charges) }))
    }

    /// Puts them in front of a list of those that are to be closed.
    pub(crate) fn put_before(mut self: Box<Self>, list: &mut Option<Box<Self>>) {
        self.next = list.take();
        *list = Some(self);
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
                    && let Some(socket) = local_of(&last)
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
    /// They lie in `channel`, whose reader, or who stands for it, is `owner`.
    pub fn new(mut rights: Box<Rights>, owner: Place, channel: &Arc<Channel>) -> Self {
        let sockets = core::mem::take(&mut rights.sockets);
        let flight = match sockets.is_empty() {
            true => None,
            false => Some(rights.flights.begin(owner, Arc::downgrade(channel), sockets)),
        };
        Self { rights: Some(rights), flight }
    }

    /// The queue is `owner`'s now.
    pub fn hand_over(&self, owner: Place) {
        if let (Some(rights), Some(flight)) = (&self.rights, self.flight) {
            rights.flights.hand_over(flight, owner);
        }
    }

    /// The same once more, for who looks at a message and leaves it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn copy(&self) -> Result<Option<Box<Rights>>, Errno> {
        let Some(rights) = &self.rights else { return Ok(None) };
        let mut files = Vec::new();
        files.make_exact_room(rights.files.len())?;
        rights.flights.copy(|| files.extend(rights.files.iter().cloned()));
        let (sockets, flights) = (Vec::new(), rights.flights.clone());
        Ok(Some(Box::new(Rights { files, sockets, flights, next: None, _charges: None })))
    }

    /// They are received, or thrown away.
    pub fn land(mut self) -> Option<Box<Rights>> {
        self.end();
        self.rights.take()
    }

    fn end(&mut self) {
        if let (Some(rights), Some(flight)) = (&self.rights, self.flight.take()) {
            rights.flights.end(flight);
        }
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        self.end();
    }
}
