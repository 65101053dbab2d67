//! The TCP connections of an interface, each in a set of its own: the library looks through a whole set for each packet, and here that is one socket.
//!
//! ```text
//!   a segment:  index by both addresses -> that connection    -+
//!   somebody sends, receives, closes                           +-> due, each once -> egress -> its next timer, in order
//!   its timer                                                 -+
//! ```
//!
//! A connection that is not due has nothing to send before its timer. One whose next hop is being asked for is due again when an answer to such a question comes.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::net::SocketAddrV4;
use smoltcp::{
    iface::{Interface, PollResult, SocketHandle, SocketSet},
    phy::Device,
    socket::tcp,
    time::{Duration, Instant},
};

/// How long the library waits before it asks for a next hop again.
const ASKS_AGAIN: Duration = Duration::from_secs(1);

/// One of them: its place, and a number that no other has had there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    place: u32,
    serial: u32,
}

/// Its own address and the peer's.
pub(crate) type Route = (SocketAddrV4, SocketAddrV4);

struct Cell {
    serial: u32,
    set: SocketSet<'static>,
    socket: SocketHandle,
    route: Route,
    is_due: bool,
    /// Its next hop is being asked for.
    is_asking: bool,
    timer: Option<Instant>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Connections {
    cells: Vec<Option<Cell>>,
    free: Vec<u32>,
    added: u32,
    index: BTreeMap<Route, Handle>,
    /// Also some that are gone.
    due: VecDeque<Handle>,
    timers: BTreeSet<(Instant, Handle)>,
    /// Also some that are gone.
    asking: Vec<Handle>,
}

impl Connections {
    /// Adds a connection, or what is to become one. Of two with the same addresses the newer one is found.
    pub fn add(&mut self, socket: tcp::Socket<'static>, route: Route) -> Handle {
        // One place: the set never looks for another.
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let socket = set.add(socket);
        self.added = self.added.wrapping_add(1);
        let serial = self.added;
        let cell = Some(Cell { serial, set, socket, route, is_due: false, is_asking: false, timer: None });
        let place = self.free.pop().unwrap_or(self.cells.len() as u32);
        match self.cells.get_mut(place as usize) {
            Some(free) => *free = cell,
            None => self.cells.push(cell),
        }
        let handle = Handle { place, serial };
        self.index.insert(route, handle);
        self.touch(handle);
        handle
    }

    /// Removes it, without a word to its peer.
    pub fn remove(&mut self, handle: Handle) {
        let Some(cell) = self.cells.get_mut(handle.place as usize).and_then(Option::take) else { return };
        self.free.push(handle.place);
        if self.index.get(&cell.route) == Some(&handle) {
            self.index.remove(&cell.route);
        }
        if let Some(at) = cell.timer {
            self.timers.remove(&(at, handle));
        }
        if self.len() == 0 {
            // Memory goes back when traffic ends.
            *self = Self { added: self.added, ..Self::default() };
        }
    }

    pub fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// The connection between these addresses.
    pub fn find(&self, route: Route) -> Option<Handle> {
        self.index.get(&route).copied()
    }

    fn find_cell(&mut self, handle: Handle) -> Option<&mut Cell> {
        self.cells.get_mut(handle.place as usize)?.as_mut().filter(|cell| cell.serial == handle.serial)
    }

    fn cell(&mut self, handle: Handle) -> &mut Cell {
        self.find_cell(handle).expect("whoever removes a connection uses its handle no more")
    }

    /// Its socket. Who changes what is to be sent [touches](Self::touch) it.
    pub fn socket(&mut self, handle: Handle) -> &mut tcp::Socket<'static> {
        let cell = self.cell(handle);
        cell.set.get_mut(cell.socket)
    }

    /// The set that it is alone in: a segment is for it, and it is due.
    pub fn receives(&mut self, handle: Handle) -> &mut SocketSet<'static> {
        self.touch(handle);
        &mut self.cell(handle).set
    }

    /// It may have something to send now.
    pub fn touch(&mut self, handle: Handle) {
        if let Some(cell) = self.find_cell(handle)
            && !core::mem::replace(&mut cell.is_due, true)
        {
            self.due.push_back(handle);
        }
    }

    /// An answer to who has which address has come.
    pub fn next_hop_known(&mut self) {
        for handle in core::mem::take(&mut self.asking) {
            if let Some(cell) = self.find_cell(handle) {
                cell.is_asking = false;
                self.touch(handle);
            }
        }
    }

    /// Makes those due whose time has come, `most` of them at a time.
    pub fn expire(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some(&(at, handle)) = self.timers.first().filter(|(at, _)| *at <= now) else { return };
            self.timers.remove(&(at, handle));
            if let Some(cell) = self.find_cell(handle) {
                cell.timer = None;
                self.touch(handle);
            }
        }
    }

    /// When the first timer runs out.
    pub fn first_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Has some that are due send, until `most` packets were sent or as many had nothing; how many were.
    pub fn send(&mut self, iface: &mut Interface, device: &mut impl Device, now: Instant, most: usize) -> usize {
        let mut sent = 0;
        for _ in 0..most {
            let Some(handle) = self.due.pop_front() else { break };
            sent += self.send_one(iface, device, now, handle);
            if sent >= most {
                break;
            }
        }
        sent
    }

    /// Has one that was due send what it has, a packet at a time with the others.
    fn send_one(&mut self, iface: &mut Interface, device: &mut impl Device, now: Instant, handle: Handle) -> usize {
        let Some(cell) = self.find_cell(handle) else { return 0 };
        cell.is_due = false;
        let result = iface.poll_egress(now, device, &mut cell.set);
        let next = iface.poll_at(now, &cell.set);
        let is_asking = result == PollResult::None && next == Some(now + ASKS_AGAIN);
        let begins_to_ask = is_asking && !core::mem::replace(&mut cell.is_asking, is_asking);
        let before = core::mem::replace(&mut cell.timer, next.filter(|at| *at > now));
        let timer = cell.timer;
        if before != timer {
            before.map(|at| self.timers.remove(&(at, handle)));
            timer.map(|at| self.timers.insert((at, handle)));
        }
        if begins_to_ask {
            self.asking.push(handle);
        }
        if next.is_some_and(|at| at <= now) {
            self.touch(handle);
        }
        usize::from(result != PollResult::None)
    }
}
