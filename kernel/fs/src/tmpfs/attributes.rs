//! Extended attributes of a file in memory. Each counts against the file system's limit, by its name and value.

use super::{SMALL, Shared};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use hal::sync::{SpinLock, rank};
use io::inode::XattrMode;
use mem::list;

/// Values by name.
type Values = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The attributes of one file.
pub(super) struct Attributes(SpinLock<Values>);

fn cost(name: &[u8], len: usize) -> usize {
    SMALL + name.len() + len
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut copy = list(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

impl Attributes {
    pub fn new() -> Self {
        Self(SpinLock::new(rank::INODE + 3, BTreeMap::new()))
    }

    pub fn get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        copy(self.0.lock().get(name).ok_or(Errno::ENODATA)?)
    }

    pub fn set(&self, shared: &Shared, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        let value = copy(value)?.into_boxed_slice();
        let len = value.len();
        shared.take(cost(name, len))?;
        let mut all = self.0.lock();
        let (given_up, result) = match (mode, all.contains_key(name)) {
            (XattrMode::Create, true) => (Some(len), Err(Errno::EEXIST)),
            (XattrMode::Replace, false) => (Some(len), Err(Errno::ENODATA)),
            _ => (all.insert(name.into(), value).map(|old| old.len()), Ok(())),
        };
        drop(all);
        if let Some(len) = given_up {
            shared.give(cost(name, len));
        }
        result
    }

    pub fn remove(&self, shared: &Shared, name: &[u8]) -> Result<(), Errno> {
        let old = self.0.lock().remove(name).ok_or(Errno::ENODATA)?;
        shared.give(cost(name, old.len()));
        Ok(())
    }

    /// The names.
    ///
    /// # Errors
    /// `E2BIG` where they are more than a call can take.
    pub fn names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let all = self.0.lock();
        if all.keys().map(|name| name.len() + 1).sum::<usize>() > abi::fs::XATTR_LIST_MAX {
            return Err(Errno::E2BIG);
        }
        Ok(all.keys().cloned().collect())
    }

    /// Gives back what they are counted for: the file goes.
    pub fn clear(&mut self, shared: &Shared) {
        let all = self.0.get_mut();
        shared.give(all.iter().map(|(name, value)| cost(name, value.len())).sum());
        all.clear();
    }
}
