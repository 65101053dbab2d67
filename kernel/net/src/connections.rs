//! The TCP connections of an interface, each in a set of its own: the library looks through a whole set for each packet, and here that is one socket.
//!
//! ```text
//!   a segment:  index by both addresses -> that connection    -+
//!   somebody sends, receives, closes                           +-> due, each once -> egress -> its next timer, in order
//!   its timer                                                 -+
//! ```
//!
//! A connection that is not due has nothing to send before its timer, which may run out early: a later one is found then, so that a conversation
//! moves no timers. What programs can see change when a segment comes or a timer runs out is noted here, and its signal told behind the stack's lock ([`Told`]): however many wait for it, others have
//! the interface meanwhile. One whose next hop is being asked for is due again when an answer to such a question comes.

use crate::{signal::Signal, stack::PEER_TIMEOUT};
use ::mem::Room;
use abi::poll::{EPOLLIN, EPOLLOUT};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{mem, net::SocketAddrV4};
use smoltcp::{
    iface::{Interface, PollResult, SocketHandle, SocketSet},
    phy::Device,
    socket::tcp,
    time::{Duration, Instant},
};

/// How long the library waits before it asks for a next hop again.
const ASKS_AGAIN: Duration = Duration::from_secs(1);

/// Just below a millisecond.
const ALMOST: Duration = Duration::from_micros(999);

/// One of them: its place, and a number that no other has had there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    place: u32,
    serial: u32,
}

/// Its own address and the peer's.
pub(crate) type Route = (SocketAddrV4, SocketAddrV4);

/// The same as a number, which is compared at once.
fn key((local, peer): Route) -> u128 {
    let half = |address: SocketAddrV4| u128::from(address.ip().to_bits()) << 16 | u128::from(address.port());
    half(local) << 48 | half(peer)
}

struct Cell {
    serial: u32,
    set: SocketSet<'static>,
    socket: SocketHandle,
    route: Route,
    /// Hears of its changes.
    signal: Arc<Signal>,
    /// It may have something to send.
    is_due: bool,
    /// Its handle is in the queue of those that are due, where one that is not any more stays until its turn.
    is_queued: bool,
    /// Nobody has a descriptor of it.
    is_orphan: bool,
    /// Its next hop is being asked for.
    is_asking: bool,
    timer: Option<Instant>,
}

/// What programs can see of a connection.
#[derive(Clone, Copy)]
struct View {
    phase: tcp::State,
    readable: usize,
    has_room: bool,
}

impl Cell {
    fn view(&self) -> View {
        let socket = self.set.get::<tcp::Socket<'static>>(self.socket);
        View { phase: socket.state(), readable: socket.recv_queue(), has_room: has_room(socket) }
    }

    /// Lets the library give up a peer that does not answer: one that is asked nothing need not, however long. The library counts from the last segment that came, or from the first that was sent
    /// behind it, so what is watched by asking now and then is given a limit only where one has just come.
    fn limit(&mut self, has_come: bool) {
        let socket = self.set.get_mut::<tcp::Socket<'static>>(self.socket);
        let asks = socket.send_queue() > 0 || is_connecting(socket.state());
        match socket.keep_alive() {
            _ if asks => socket.set_timeout(Some(PEER_TIMEOUT)),
            None => socket.set_timeout(None),
            Some(interval) if has_come => socket.set_timeout(Some(interval + PEER_TIMEOUT)),
            Some(_) => {}
        }
    }

    /// Notes what has changed since `before`; answers whether that is for the coroutine: it began or ended, or something has come that nobody will read.
    fn tell(&self, before: View, told: &mut Told) -> bool {
        let after = self.view();
        if after.phase != before.phase {
            told.note(&self.signal, 0);
            return true;
        }
        if after.readable > before.readable {
            told.note(&self.signal, EPOLLIN);
        }
        if after.has_room && !before.has_room {
            told.note(&self.signal, EPOLLOUT);
        }
        self.is_orphan && after.readable > 0
    }
}

/// Signals that are to be told, and of what; of all with 0. Who holds the stack's lock takes it before it lets go, and tells afterwards.
#[derive(Default)]
#[must_use = "who waits is to be told"]
pub(crate) struct Told {
    /// A send tells two, mostly.
    few: [Option<(Arc<Signal>, u32)>; 2],
    more: Vec<(Arc<Signal>, u32)>,
}

impl Told {
    fn note(&mut self, signal: &Arc<Signal>, kind: u32) {
        if let Some(place) = self.few.iter_mut().find(|place| place.is_none()) {
            *place = Some((signal.clone(), kind));
        } else if self.more.make_room(1).is_ok() {
            self.more.push((signal.clone(), kind));
        } else {
            // No memory: at once.
            signal.tell(kind);
        }
    }

    /// Without the lock.
    #[inline]
    pub fn tell(self) {
        for (signal, kind) in self.few.into_iter().flatten().chain(self.more) {
            signal.tell(kind);
        }
    }
}

/// Whether writing is worth while: a third of the buffer is free, as in Linux.
pub(crate) fn has_room(socket: &tcp::Socket<'_>) -> bool {
    3 * (socket.send_capacity() - socket.send_queue()) >= socket.send_capacity()
}

/// Whether the handshake is still under way.
pub(crate) fn is_connecting(phase: tcp::State) -> bool {
    matches!(phase, tcp::State::SynSent | tcp::State::SynReceived)
}

fn find_in(cells: &mut [Option<Cell>], handle: Handle) -> Option<&mut Cell> {
    cells.get_mut(handle.place as usize)?.as_mut().filter(|cell| cell.serial == handle.serial)
}

/// All of them.
#[derive(Default)]
pub(crate) struct Connections {
    cells: Vec<Option<Cell>>,
    free: Vec<u32>,
    added: u32,
    /// By both addresses.
    index: BTreeMap<u128, Handle>,
    /// Each that is due once; also some that are gone, or have been served.
    due: VecDeque<Handle>,
    timers: BTreeSet<(Instant, Handle)>,
    /// Also some that are gone.
    asking: Vec<Handle>,
    /// How many are due.
    due_now: usize,
    /// Since somebody asked one of them began or ended, or there was something for one that nobody reads.
    has_changed: bool,
    told: Told,
}

impl Connections {
    /// Adds a connection, or what is to become one. Of two with the same addresses the newer one is found.
    pub fn add(&mut self, socket: tcp::Socket<'static>, route: Route, signal: Arc<Signal>) -> Handle {
        // One place: the set never looks for another.
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let socket = set.add(socket);
        self.added = self.added.wrapping_add(1);
        let serial = self.added;
        let cell = Some(Cell {
            serial,
            set,
            socket,
            route,
            signal,
            is_due: false,
            is_queued: false,
            is_orphan: false,
            is_asking: false,
            timer: None,
        });
        let place = self.free.pop().unwrap_or(self.cells.len() as u32);
        match self.cells.get_mut(place as usize) {
            Some(free) => *free = cell,
            None => self.cells.push(cell),
        }
        let handle = Handle { place, serial };
        self.index.insert(key(route), handle);
        self.touch(handle);
        handle
    }

    /// Removes it, without a word to its peer.
    pub fn remove(&mut self, handle: Handle) {
        let Some(cell) = self.cells.get_mut(handle.place as usize).and_then(Option::take) else { return };
        self.free.push(handle.place);
        if self.index.get(&key(cell.route)) == Some(&handle) {
            self.index.remove(&key(cell.route));
        }
        if let Some(at) = cell.timer {
            self.timers.remove(&(at, handle));
        }
        self.due_now -= usize::from(cell.is_due);
        if self.len() == 0 {
            // Memory goes back when traffic ends.
            let (told, has_changed) = (mem::take(&mut self.told), self.has_changed);
            *self = Self { added: self.added, told, has_changed, ..Self::default() };
        }
    }

    pub fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// The connection between these addresses.
    pub fn find(&self, route: Route) -> Option<Handle> {
        self.index.get(&key(route)).copied()
    }

    fn find_cell(&mut self, handle: Handle) -> Option<&mut Cell> {
        find_in(&mut self.cells, handle)
    }

    fn cell(&mut self, handle: Handle) -> &mut Cell {
        self.find_cell(handle).expect("whoever removes a connection uses its handle no more")
    }

    /// Its socket. Who changes what is to be sent [touches](Self::touch) it.
    pub fn socket(&mut self, handle: Handle) -> &mut tcp::Socket<'static> {
        let cell = self.cell(handle);
        cell.set.get_mut(cell.socket)
    }

    /// Has one take the segment that `device` has.
    pub fn receive(&mut self, iface: &mut Interface, device: &mut impl Device, now: Instant, handle: Handle) {
        let Some(cell) = find_in(&mut self.cells, handle) else { return };
        let before = cell.view();
        let _ = iface.poll_ingress_single(now, device, &mut cell.set);
        cell.limit(true);
        let has_changed = cell.tell(before, &mut self.told);
        let next = iface.poll_at(now, &cell.set);
        self.has_changed |= has_changed;
        self.schedule(handle, next, now);
    }

    /// Whether there was something for the coroutine since the last call: one of them began or ended, or something came that nobody will read.
    pub fn take_changed(&mut self) -> bool {
        mem::take(&mut self.has_changed)
    }

    /// What is to be told.
    #[inline]
    pub fn take_told(&mut self) -> Told {
        mem::take(&mut self.told)
    }

    /// Nobody has a descriptor of it any more.
    pub fn desert(&mut self, handle: Handle) {
        self.cell(handle).is_orphan = true;
    }

    /// It may have something to send now.
    pub fn touch(&mut self, handle: Handle) {
        let Some(cell) = find_in(&mut self.cells, handle) else { return };
        self.due_now += usize::from(!mem::replace(&mut cell.is_due, true));
        if !mem::replace(&mut cell.is_queued, true) {
            self.due.push_back(handle);
        }
    }

    /// An answer to who has which address has come.
    pub fn next_hop_known(&mut self) {
        for handle in mem::take(&mut self.asking) {
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
        self.due_now > 0
    }

    /// Has some that are due send, until `most` packets were sent or as many had nothing; how many were.
    pub fn send(&mut self, iface: &mut Interface, device: &mut impl Device, now: Instant, most: usize) -> usize {
        let mut sent = 0;
        for _ in 0..most {
            let Some(handle) = self.due.pop_front() else { break };
            let Some(cell) = self.find_cell(handle) else { continue };
            cell.is_queued = false;
            if !cell.is_due {
                continue; // it has had its turn
            }
            sent += self.send_one(iface, device, now, handle);
            if sent >= most {
                break;
            }
        }
        sent
    }

    /// Has one send what it has, a packet at a time with the others; how many packets that were.
    pub fn send_one(&mut self, iface: &mut Interface, device: &mut impl Device, now: Instant, handle: Handle) -> usize {
        let Some(cell) = find_in(&mut self.cells, handle) else { return 0 };
        self.due_now -= usize::from(mem::replace(&mut cell.is_due, false));
        let before = cell.view();
        cell.limit(false);
        let result = iface.poll_egress(now, device, &mut cell.set);
        let has_changed = cell.tell(before, &mut self.told);
        let next = iface.poll_at(now, &cell.set);
        let is_asking = result == PollResult::None && next == Some(now + ASKS_AGAIN);
        if is_asking && !mem::replace(&mut cell.is_asking, is_asking) {
            self.asking.push(handle);
        }
        self.has_changed |= has_changed;
        self.schedule(handle, next, now);
        usize::from(result != PollResult::None)
    }

    /// It has something to send at `next`. A timer that runs out before stays.
    fn schedule(&mut self, handle: Handle, next: Option<Instant>, now: Instant) {
        let Some(at) = next else { return };
        if at <= now {
            return self.touch(handle);
        }
        // Those of a millisecond run out together.
        let at = Instant::from_millis((at + ALMOST).total_millis());
        let Some(cell) = self.find_cell(handle).filter(|cell| cell.timer.is_none_or(|timer| at < timer)) else {
            return;
        };
        let before = cell.timer.replace(at);
        before.map(|at| self.timers.remove(&(at, handle)));
        self.timers.insert((at, handle));
    }
}
