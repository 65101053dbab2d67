//! Grants of memory (`abi::grant`): pages of one party that others reach until it takes them back.
//!
//! The granter's descriptor maps the pages as any shared memory; the grantee's *lends* them ([`mem::Loans`]), and reads and writes them. Whoever takes them back first
//! takes them away from the grant, so that nobody gets them anew, then out of each space that has them. A read or write by the kernel holds the lock under
//! which the grant has them, and a copy to or from a mapping that of the space: so when taking back is over, none goes on. Nobody can pin them.
//!
//! With the granter's last descriptor they are taken back, too, but for waiting until the harts have heard of it. What grantees still have costs the granter nothing.

use crate::pages::Pages;
use abi::{errno::Errno, grant::MOST_PAGES};
use alloc::{string::String, sync::Arc};
use core::any::Any;
use hal::{
    PAGE_SIZE,
    frame::Frame,
    sync::{SpinLock, rank},
};
use io::{
    caller::Caller,
    file::{Attempt, File},
};
use mem::{Account, Backing, CopyFault, Lent, Loan, Loans, Sink, Source, new_object_id};

/// What a grant costs beside its pages and what is noted of its mappings.
const BYTES: usize = 1 << 10;
/// Mappings by grantees, for each page, that can be known of at once: a touch that makes one more is an error.
const MAPPINGS: usize = 4;
/// The most that one attempt to read or write moves.
const BURST: usize = 64 << 10;

/// What grantees have.
struct Grant {
    id: u64,
    /// The same for all who map the pages, the granter too.
    memory_id: u64,
    pages: usize,
    is_writable: bool,
    /// Until it is taken back.
    memory: SpinLock<Option<Arc<Pages>>>,
    loans: Loans,
}

/// The granter's descriptor.
pub struct Granter {
    memory: Arc<Pages>,
    grant: Arc<Grant>,
}

/// A grantee's.
pub struct Grantee(Arc<Grant>);

/// So many pages, paid for by `account`, for a granter to lend.
///
/// # Errors
/// `EINVAL`, `ENOMEM`.
pub fn pair(pages: usize, is_writable: bool, account: &Arc<Account>) -> Result<(Granter, Grantee), Errno> {
    if !(1..=MOST_PAGES).contains(&pages) {
        return Err(Errno::EINVAL);
    }
    let id = new_object_id();
    let loans = Loans::new(id, MAPPINGS * pages, account)?;
    let memory = Pages::new("anon_inode:[granted]", pages, BYTES, account)?;
    let held = SpinLock::new(rank::PIPE, Some(memory.clone()));
    let grant = Arc::new(Grant { id, memory_id: memory.id(), pages, is_writable, memory: held, loans });
    Ok((Granter { memory, grant: grant.clone() }, Grantee(grant)))
}

impl Grant {
    fn take_away(&self) {
        let memory = self.memory.lock().take();
        drop(memory); // frees them: not under the lock
    }

    /// Calls `copy(page, offset in it, bytes)` for the pages from `offset` on, each while it cannot be taken back.
    fn transfer(
        &self,
        offset: u64,
        len: usize,
        mut copy: impl FnMut(&Frame, usize, usize) -> Result<(), CopyFault>,
    ) -> Attempt<usize> {
        let size = self.pages * PAGE_SIZE;
        let start = usize::try_from(offset).unwrap_or(size).min(size);
        let len = len.min(size - start).min(BURST);
        let mut done = 0;
        loop {
            let (page, within) = ((start + done) / PAGE_SIZE, (start + done) % PAGE_SIZE);
            let held = self.memory.lock();
            let memory = held.as_ref().ok_or(Errno::ESRCH)?;
            if done == len {
                return Ok(Some(done));
            }
            let piece = (len - done).min(PAGE_SIZE - within);
            match copy(&memory.frames()[page], within, piece) {
                Ok(()) => done += piece,
                Err(fault) if done == 0 => return Err(fault.into()),
                Err(_) => return Ok(Some(done)),
            }
        }
    }
}

impl Granter {
    /// Takes the pages back: when this is over, no grantee reaches them.
    pub async fn revoke(&self) {
        self.grant.take_away();
        self.grant.loans.take_back(None).await;
    }
}

impl Drop for Granter {
    /// Pages that harts may still remember are paid for until they do not.
    fn drop(&mut self) {
        self.grant.take_away();
        self.grant.loans.take_out(None);
        let (grant, memory) = (self.grant.clone(), self.memory.clone());
        let rest = async move {
            grant.loans.take_back(None).await;
            drop(memory);
        };
        if let Ok(rest) = exec::try_spawn(exec::Priority::new(8), "grant", rest) {
            rest.detach();
        }
    }
}

impl File for Granter {
    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.memory.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl File for Grantee {
    fn read_now(&self, _caller: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        self.0.transfer(offset, dst.remaining(), |page, at, len| dst.put_frame(page, at, len))
    }

    fn write_now(&self, _caller: &Caller, offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        if !self.0.is_writable {
            return Err(Errno::EBADF.into());
        }
        self.0.transfer(offset, src.remaining(), |page, at, len| src.take_into_frame(page, at, len))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        Some((self.0.pages * PAGE_SIZE) as u64)
    }

    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.0.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Backing for Grant {
    fn lends(&self) -> bool {
        true
    }

    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        self.loans.note(&loan)?;
        // Behind the note, see `Loans`.
        let held = self.memory.lock();
        let frame = held.as_ref().and_then(|memory| memory.frames().get(index as usize));
        frame.cloned().map(Lent::Frame).ok_or(Errno::EFAULT)
    }

    fn len_pages(&self) -> u64 {
        self.pages as u64
    }

    fn admit(&self, first: u64, pages: u64) -> Result<(), Errno> {
        if self.memory.lock().is_none() {
            return Err(Errno::ESRCH);
        }
        if first.checked_add(pages).is_some_and(|end| end <= self.len_pages()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn memory(&self) -> u64 {
        self.memory_id
    }

    fn name(&self) -> Option<String> {
        Some(String::from("anon_inode:[grant]"))
    }
}
