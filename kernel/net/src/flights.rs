//! Local sockets in flight, and the collector of those that nobody can reach any more.
//!
//! A descriptor in a message keeps its description open. So sockets in each other's queues, or one in its own, would keep each other for ever
//! once no process has a descriptor of them. What can close such a circle is noted here, as a graph: which socket's queue holds which sockets.
//! Other files hold no messages, and rings, which hold files, are not sent (as in Linux).
//!
//! ```text
//! flight: one message with sockets in it    owner: whose queue it lies in (of a connection that nobody accepted: the listener's)
//! lost:   a flight whose owner is in flight, has no reference but those of flights, and these are lost, too
//! ```
//!
//! **Why no socket that can be reached is lost.** The graph changes under the lock, and all that brings a socket out of a queue, copying for a
//! peek included, does so under it. So while the collector looks, a socket that has no other reference gets none: there is nobody who could make one
//! but by taking it out of a queue. Whoever has one shows in the count of the references, as of the last change of the graph or later.
//! What was lost stays so: after the look, its messages are thrown away without the lock.
//!
//! **Why none is lost for ever.** Only a socket that is in flight and holds others can be part of a circle. As long as there are such, the collector
//! looks again and again; else it sleeps, and who makes the first wakes it. A look takes as long as there are flights, and holds the lock: so the
//! pause behind it is many times as long as it took, and nobody else makes one begin.

use crate::{rights::Rights, stack::rank};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    vec::Vec,
};
use exec::sync::{WaitQueue, wait_until};
use hal::sync::SpinLock;
use io::open::OpenFile;

/// Nanoseconds between two looks: the first pause, and the longest if a look is short.
const PAUSE: (u64, u64) = (10_000_000, 1_000_000_000);
/// A pause is this many times as long as the look before it, at least.
const SHARE: u64 = 20;

/// A queue in which messages with descriptors lie.
pub(crate) trait Hold: Send + Sync {
    /// Takes all descriptors out, and no more in.
    fn strip(&self, into: &mut Option<Box<Rights>>);
}

/// What stands for a socket: the address of its signal.
pub(crate) type Place = usize;

/// All flights of this host.
pub(crate) struct Flights {
    table: SpinLock<Table>,
    /// Woken when a socket that is in flight comes to hold others.
    nests: WaitQueue,
}

#[derive(Default)]
struct Table {
    next: u64,
    flights: BTreeMap<u64, Flight>,
    nodes: BTreeMap<Place, Node>,
    /// Nodes that are in flight and own flights.
    nested: usize,
}

/// Sockets that lie in one message.
struct Flight {
    owner: Place,
    holder: Weak<dyn Hold>,
    sockets: Vec<Passenger>,
}

/// A socket in flight.
pub(crate) struct Passenger {
    pub place: Place,
    pub description: Weak<OpenFile>,
}

#[derive(Default)]
struct Node {
    /// How often it is in flight.
    inside: usize,
    /// Flights that lie in its queue.
    owns: usize,
    /// Once it is, or was, in flight.
    description: Weak<OpenFile>,
}

impl Node {
    fn is_nested(&self) -> bool {
        self.inside > 0 && self.owns > 0
    }
}

impl Table {
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Node)) {
        let node = self.nodes.entry(place).or_default();
        let was = node.is_nested();
        change(node);
        let (is, is_over) = (node.is_nested(), node.inside == 0 && node.owns == 0);
        self.nested = self.nested + usize::from(is) - usize::from(was);
        if is_over {
            self.nodes.remove(&place);
        }
    }

    /// The queues in which something is lost: with their owners, so that all that lies in them is.
    fn lost(&self) -> Vec<Weak<dyn Hold>> {
        let mut owned: BTreeMap<Place, Vec<&Flight>> = BTreeMap::new();
        for flight in self.flights.values() {
            owned.entry(flight.owner).or_default().push(flight);
        }
        let is_held = |node: &Node| node.inside == 0 || node.description.strong_count() > node.inside;
        let held = self.nodes.iter().filter(|(_, node)| is_held(node)).map(|(place, _)| *place);
        let mut reached: BTreeSet<Place> = held.collect();
        let mut left: Vec<Place> = reached.iter().copied().collect();
        while let Some(place) = left.pop() {
            let sockets = owned.get(&place).into_iter().flatten().flat_map(|flight| &flight.sockets);
            left.extend(sockets.map(|socket| socket.place).filter(|&place| reached.insert(place)));
        }
        let lost = self.flights.values().filter(|flight| !reached.contains(&flight.owner));
        lost.map(|flight| flight.holder.clone()).collect()
    }
}

impl Flights {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { table: SpinLock::new(rank::FLIGHTS, Table::default()), nests: WaitQueue::new() })
    }

    /// `sockets` lie in a message in the queue of `owner` from now on.
    pub fn begin(&self, owner: Place, holder: Weak<dyn Hold>, sockets: Vec<Passenger>) -> u64 {
        let mut table = self.table.lock();
        for socket in &sockets {
            table.change(socket.place, |node| {
                node.inside += 1;
                node.description = socket.description.clone();
            });
        }
        table.change(owner, |node| node.owns += 1);
        let number = table.next;
        table.next += 1;
        table.flights.insert(number, Flight { owner, holder, sockets });
        let is_nested = table.nested > 0;
        drop(table);
        if is_nested {
            self.nests.wake_all();
        }
        number
    }

    /// They do not any more: before anybody else can have them.
    pub fn end(&self, number: u64) {
        let mut table = self.table.lock();
        let Some(flight) = table.flights.remove(&number) else { return };
        for socket in &flight.sockets {
            table.change(socket.place, |node| node.inside -= 1);
        }
        table.change(flight.owner, |node| node.owns -= 1);
    }

    /// The queue has come to another socket.
    pub fn hand_over(&self, number: u64, owner: Place) {
        let mut table = self.table.lock();
        let Some(flight) = table.flights.get_mut(&number) else { return };
        let before = core::mem::replace(&mut flight.owner, owner);
        table.change(owner, |node| node.owns += 1);
        table.change(before, |node| node.owns -= 1);
    }

    /// Copies what is in flight: no look of the collector is under way meanwhile.
    pub fn copy<T>(&self, copy: impl FnOnce() -> T) -> T {
        let _table = self.table.lock();
        copy()
    }

    /// Where something is lost.
    fn look(&self) -> Vec<Weak<dyn Hold>> {
        let table = self.table.lock();
        if table.nested == 0 { Vec::new() } else { table.lost() }
    }

    /// Whether more may become lost.
    fn has_nests(&self) -> bool {
        self.table.lock().nested > 0
    }

    /// Throws away what is lost; whether more may become so.
    #[cfg(test)]
    pub fn collect(&self) -> bool {
        self.look().iter().for_each(throw_away);
        self.has_nests()
    }

    /// Collects for ever.
    pub async fn run(&self) {
        loop {
            wait_until(&self.nests, || self.has_nests().then_some(())).await;
            let mut pause = PAUSE.0;
            while self.has_nests() {
                let began = hal::time::now();
                let lost = self.look();
                let took = hal::time::now().saturating_sub(began);
                for holder in &lost {
                    throw_away(holder);
                    exec::yield_now().await;
                }
                exec::sleep(pause.max(SHARE * took)).await;
                pause = PAUSE.1.min(2 * pause);
            }
        }
    }

    /// Flights under way.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.table.lock().flights.len()
    }
}

/// Closes all that lies in a queue whose owner nobody reaches. The second time there is nothing left.
fn throw_away(holder: &Weak<dyn Hold>) {
    if let Some(holder) = holder.upgrade() {
        let mut lost = None;
        holder.strip(&mut lost);
        drop(lost);
    }
}
