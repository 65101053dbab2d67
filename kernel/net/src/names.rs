//! The names of local sockets: a table of their own, keyed by the bytes of the address.
//!
//! A name is free again when the socket that bound it is gone. Who binds one pays for it.

use crate::{channel::Framing, letters::Inbox, local::Bound, stack::rank};
use abi::errno::Errno;
use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    format,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicU32, Ordering};
use hal::sync::SpinLock;
use mem::{Account, Charge};

/// Names for those who ask for any.
const ANY: u32 = 1 << 20;
/// So many of them are tried in a row. Each that is taken has been paid for.
const TRIES: usize = 1 << 12;
/// What a name costs, beside its bytes, twice.
const BYTES: usize = 256;

/// A path is one name for all kinds of sockets; a name outside the file system, which begins with 0, is each kind's own.
type Key = (Option<Framing>, Vec<u8>);

fn key(framing: Framing, name: &[u8]) -> Key {
    ((name.first() == Some(&0)).then_some(framing), name.to_vec())
}

/// Whom a name leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// Nobody yet.
    Nobody,
    /// Who listens, or may come to.
    Listener(Weak<Bound>),
    /// A datagram socket.
    Inbox(Weak<Inbox>),
}

/// All names.
pub(crate) struct Names {
    table: SpinLock<BTreeMap<Key, Target>>,
    /// Where the search for a free one begins.
    next: AtomicU32,
}

/// A bound name. Dropped, it is free.
pub(crate) struct Name {
    names: Arc<Names>,
    framing: Framing,
    bytes: Arc<[u8]>,
    _charge: Charge,
}

impl Names {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { table: SpinLock::new(rank::PORTS, BTreeMap::new()), next: AtomicU32::new(0) })
    }

    /// Whom the name leads to.
    pub fn find(&self, framing: Framing, name: &[u8]) -> Target {
        let key = key(framing, name);
        self.table.lock().get(&key).cloned().unwrap_or(Target::Nobody)
    }

    /// Binds a name; it leads to nobody until [`Name::lead_to`].
    ///
    /// # Errors
    /// `EADDRINUSE`, `ENOMEM`.
    pub fn bind(self: &Arc<Self>, account: &Arc<Account>, framing: Framing, name: &[u8]) -> Result<Name, Errno> {
        let charge = account.charge(BYTES + 2 * name.len())?;
        let bytes: Arc<[u8]> = name.into();
        let key = key(framing, name);
        match self.table.lock().entry(key) {
            Entry::Occupied(_) => return Err(Errno::EADDRINUSE),
            Entry::Vacant(place) => place.insert(Target::Nobody),
        };
        Ok(Name { names: self.clone(), framing, bytes, _charge: charge })
    }

    /// Binds some name outside the file system that is free: five hexadecimal digits, as in Linux. Not under a lock: it may take a while.
    ///
    /// # Errors
    /// `ENOSPC` if none was found, `ENOMEM`.
    pub fn bind_any(self: &Arc<Self>, account: &Arc<Account>, framing: Framing) -> Result<Name, Errno> {
        for _ in 0..TRIES {
            // Relaxed: the table decides.
            let number = self.next.fetch_add(1, Ordering::Relaxed) % ANY;
            match self.bind(account, framing, format!("\0{number:05x}").as_bytes()) {
                Err(Errno::EADDRINUSE) => {}
                bound => return bound,
            }
        }
        Err(Errno::ENOSPC)
    }
}

impl Name {
    /// Says who is found by it.
    pub fn lead_to(&self, target: Target) {
        let key = key(self.framing, &self.bytes);
        if let Some(place) = self.names.table.lock().get_mut(&key) {
            *place = target;
        }
    }

    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let key = key(self.framing, &self.bytes);
        self.names.table.lock().remove(&key);
    }
}
