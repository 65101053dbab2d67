//! What a request is given in the program's memory beside the bytes that it moves (paths, names, lists, heads of messages), as it was when the request was submitted.
//!
//! A call reads that when it begins, by [`Task::get`], [`Task::copy_in`] and [`Task::cstr`]. A request that begins later, as it is linked behind others, has it from then on, as on Linux: the
//! program may use the memory for something else as soon as its entry is taken (`IORING_FEAT_SUBMIT_STABLE`).

use crate::context::Task;
use abi::errno::Errno;
use alloc::vec::Vec;
use hal::PAGE_SIZE;
use io::file::IoError;
use mem::{Charge, Room, list};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What it takes itself, and where an entry keeps it.
const FIRST: usize = size_of::<Given>() + 64;

/// Copies of stretches of the program's memory, which who submits pays for.
#[derive(Default)]
pub(crate) struct Given {
    parts: Vec<Part>,
    charge: Option<Charge>,
}

struct Part {
    addr: usize,
    bytes: Vec<u8>,
}

impl Given {
    /// Keeps so many bytes.
    ///
    /// # Errors
    /// `ENOMEM`; the page that is missing.
    pub fn keep_bytes(&mut self, task: &Task<'_>, addr: usize, len: usize) -> Result<(), IoError> {
        let mut bytes = list(len)?;
        bytes.resize(len, 0);
        let mut at = addr;
        for some in bytes.chunks_mut(PAGE_SIZE) {
            task.space().copy_in_now(at, some)?;
            at = at.wrapping_add(some.len());
        }
        Ok(self.add(task, addr, bytes)?)
    }

    /// The same of one value, which is told.
    ///
    /// # Errors
    /// As [`keep_bytes`](Self::keep_bytes).
    pub fn keep<T: FromBytes + IntoBytes + Immutable>(&mut self, task: &Task<'_>, addr: usize) -> Result<T, IoError> {
        let value: T = task.space().get_now(addr)?;
        let mut bytes = list(size_of::<T>())?;
        bytes.extend_from_slice(value.as_bytes());
        self.add(task, addr, bytes)?;
        Ok(value)
    }

    /// Keeps a string with its NUL, or `most` bytes if none of them is one: who reads it says what is wrong with that.
    ///
    /// # Errors
    /// As [`keep_bytes`](Self::keep_bytes).
    pub fn keep_string(&mut self, task: &Task<'_>, addr: usize, most: usize) -> Result<(), IoError> {
        let (mut string, mut chunk) = (Vec::new(), [0; 64]);
        while string.len() < most {
            let at = addr.wrapping_add(string.len());
            let len = chunk.len().min(PAGE_SIZE - at % PAGE_SIZE).min(most - string.len());
            task.space().copy_in_now(at, &mut chunk[..len])?;
            let nul = chunk[..len].iter().position(|&byte| byte == 0);
            string.make_room(len)?;
            string.extend_from_slice(&chunk[..nul.map_or(len, |nul| nul + 1)]);
            if nul.is_some() {
                break;
            }
        }
        Ok(self.add(task, addr, string)?)
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn add(&mut self, task: &Task<'_>, addr: usize, bytes: Vec<u8>) -> Result<(), Errno> {
        let paid = bytes.capacity() + size_of::<Part>();
        match &mut self.charge {
            Some(charge) => charge.grow(paid)?,
            none => *none = Some(task.caller().account.charge(paid + FIRST)?),
        }
        self.parts.make_exact_room(1)?;
        self.parts.push(Part { addr, bytes });
        Ok(())
    }

    /// What was kept of a stretch, if all of it was.
    fn at(&self, addr: usize, len: usize) -> Option<&[u8]> {
        self.parts.iter().find_map(|part| part.from(addr)?.get(..len))
    }

    /// What was kept of a string, with what lies behind it in its part.
    fn string_at(&self, addr: usize) -> Option<&[u8]> {
        self.parts.iter().find_map(|part| part.from(addr).filter(|bytes| !bytes.is_empty()))
    }
}

impl Part {
    /// What lies from an address on.
    fn from(&self, addr: usize) -> Option<&[u8]> {
        self.bytes.get(addr.wrapping_sub(self.addr)..)
    }
}

impl Task<'_> {
    /// Copies what the call is given at an address.
    ///
    /// # Errors
    /// `EFAULT`, `ENOMEM`.
    pub async fn copy_in(&self, addr: usize, into: &mut [u8]) -> Result<(), Errno> {
        match self.given().and_then(|given| given.at(addr, into.len())) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => self.space().copy_in(addr, into).await?,
        }
        Ok(())
    }

    /// A value that the call is given at an address.
    ///
    /// # Errors
    /// `EFAULT`, `ENOMEM`.
    pub async fn get<T: FromBytes + IntoBytes>(&self, addr: usize) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.copy_in(addr, value.as_mut_bytes()).await?;
        Ok(value)
    }

    /// A string that the call is given at an address, without its NUL.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` if no NUL is among the first `max` bytes.
    pub async fn cstr(&self, addr: usize, max: usize) -> Result<Vec<u8>, Errno> {
        let Some(kept) = self.given().and_then(|given| given.string_at(addr)) else {
            return self.space().cstr(addr, max).await;
        };
        let kept = &kept[..kept.len().min(max)];
        let len = kept.iter().position(|&byte| byte == 0).ok_or(Errno::ENAMETOOLONG)?;
        let mut string = list(len)?;
        string.extend_from_slice(&kept[..len]);
        Ok(string)
    }
}
