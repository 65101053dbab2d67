//! The names of local sockets: a table of their own, keyed by the file that a path leads to, or by the bytes of a name outside the file system.
//!
//! A name is free again when the socket that bound it is gone; its file stays, as on Linux, and leads to nobody then. Who binds one pays for it.

use crate::{address::LocalName, channel::Framing, letters::Inbox, local::Bound, stack::rank};
use abi::errno::Errno;
use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    format,
    sync::{Arc, Weak},
};
use core::sync::atomic::{AtomicU32, Ordering};
use hal::sync::SpinLock;
use io::inode::{Inode, InodeId};
use mem::{Account, Charge};

/// Names for those who ask for any.
const ANY: u32 = 1 << 20;
/// So many of them are tried in a row. Each that is taken has been paid for.
const TRIES: usize = 1 << 12;
/// What a name costs, beside its bytes, twice.
const BYTES: usize = 256;

/// What is bound.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A file is one name for all kinds of sockets.
    File(InodeId),
    /// A name outside the file system is each kind's own.
    Outside(Framing, Arc<[u8]>),
}

impl Key {
    fn of(framing: Framing, name: &LocalName) -> Self {
        match name.file() {
            Some((id, _)) => Self::File(*id),
            None => Self::Outside(framing, name.bytes().into()),
        }
    }
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
    key: Key,
    bytes: Arc<[u8]>,
    /// No other file gets its number meanwhile.
    _file: Option<Arc<dyn Inode>>,
    _charge: Charge,
}

impl Names {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { table: SpinLock::new(rank::PORTS, BTreeMap::new()), next: AtomicU32::new(0) })
    }

    /// Whom the name leads to.
    pub fn find(&self, framing: Framing, name: &LocalName) -> Target {
        let key = Key::of(framing, name);
        self.table.lock().get(&key).cloned().unwrap_or(Target::Nobody)
    }

    /// Binds a name; it leads to nobody until [`Name::lead_to`].
    ///
    /// # Errors
    /// `EADDRINUSE`, `ENOMEM`.
    pub fn bind(self: &Arc<Self>, account: &Arc<Account>, framing: Framing, name: &LocalName) -> Result<Name, Errno> {
        let charge = account.charge(BYTES + 2 * name.bytes().len())?;
        let (key, bytes) = (Key::of(framing, name), name.bytes().into());
        match self.table.lock().entry(key.clone()) {
            Entry::Occupied(_) => return Err(Errno::EADDRINUSE),
            Entry::Vacant(place) => place.insert(Target::Nobody),
        };
        Ok(Name {
            names: self.clone(),
            key,
            bytes,
            _file: name.file().map(|(_, inode)| inode.clone()),
            _charge: charge,
        })
    }

    /// Binds some name outside the file system that is free: five hexadecimal digits, as in Linux. Not under a lock: it may take a while.
    ///
    /// # Errors
    /// `ENOSPC` if none was found, `ENOMEM`.
    pub fn bind_any(self: &Arc<Self>, account: &Arc<Account>, framing: Framing) -> Result<Name, Errno> {
        for _ in 0..TRIES {
            // Relaxed: the table decides.
            let number = self.next.fetch_add(1, Ordering::Relaxed) % ANY;
            match self.bind(account, framing, &format!("\0{number:05x}").into_bytes().into()) {
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
        if let Some(place) = self.names.table.lock().get_mut(&self.key) {
            *place = target;
        }
    }

    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.names.table.lock().remove(&self.key);
    }
}
