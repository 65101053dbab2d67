//! Registered files: descriptions that entries name by a place in a table of the ring's (`IOSQE_FIXED_FILE`).

use super::{Ring, ring_of};
use crate::context::{Task, list};
use abi::{errno::Errno, io_uring::FilesUpdate};
use alloc::{sync::Arc, vec::Vec};
use hal::sync::{SpinLock, rank};
use io::open::OpenFile;
use mem::Charge;

/// Most places of a table, as in Linux.
const MOST: usize = 1 << 20;
/// No file in this place.
const NONE: i32 = -1;
/// Leave this place as it is.
const SKIP: i32 = -2;
/// Descriptors that are read at a time.
const AT_ONCE: usize = 64;

struct Table {
    places: Vec<Option<Arc<OpenFile>>>,
    _charge: Charge,
}

/// The table, if there is one.
pub(super) struct Files(SpinLock<Option<Table>>);

impl Files {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(rank::PIPE, None))
    }

    fn get(&self, place: i32) -> Result<Arc<OpenFile>, Errno> {
        let table = self.0.lock();
        let place = usize::try_from(place).ok().and_then(|place| table.as_ref()?.places.get(place)?.clone());
        place.ok_or(Errno::EBADF)
    }

    fn len(&self) -> Option<usize> {
        self.0.lock().as_ref().map(|table| table.places.len())
    }

    /// Puts a file into a place that there is; what was there.
    fn replace(&self, place: usize, file: Option<Arc<OpenFile>>) -> Option<Arc<OpenFile>> {
        match self.0.lock().as_mut().and_then(|table| table.places.get_mut(place)) {
            Some(found) => core::mem::replace(found, file),
            None => file,
        }
    }

    /// Empties a place.
    ///
    /// # Errors
    /// `ENXIO` without a table, `EINVAL` beyond it, `EBADF` if it is empty.
    pub(super) fn close(&self, place: usize) -> Result<(), Errno> {
        if place >= self.len().ok_or(Errno::ENXIO)? {
            return Err(Errno::EINVAL);
        }
        let old = self.replace(place, None);
        // Not under the lock.
        old.map(drop).ok_or(Errno::EBADF)
    }

    /// # Errors
    /// `ENXIO` if there is no table.
    pub(super) fn unregister(&self) -> Result<(), Errno> {
        let old = self.0.lock().take();
        old.map(drop).ok_or(Errno::ENXIO)
    }
}

impl Ring {
    /// The description that an entry names, by number or by place.
    ///
    /// # Errors
    /// `EBADF`.
    pub(super) fn file(&self, task: &Task<'_>, fd: i32, fixed: bool) -> Result<Arc<OpenFile>, Errno> {
        if fixed { self.files.get(fd) } else { task.file(fd) }
    }
}

/// The file for a place. A ring in a table of its own or of another would never go, nor one that a set of events in its table watches.
fn registrable(task: &Task<'_>, fd: i32) -> Result<Option<Arc<OpenFile>>, Errno> {
    if fd == NONE {
        return Ok(None);
    }
    let open = task.file(fd)?;
    let holds_others = ring_of(&open).is_ok() || open.file().as_any().is::<io::epoll::Epoll>();
    if holds_others { Err(Errno::EBADF) } else { Ok(Some(open)) }
}

/// Makes the table of the descriptors at `addr`.
///
/// # Errors
/// `EBUSY`, `EINVAL`, `EMFILE`, `EFAULT`, `EBADF`, `ENOMEM`.
pub(super) async fn register(task: &Task<'_>, ring: &Ring, addr: usize, count: usize) -> Result<usize, Errno> {
    if ring.files.len().is_some() {
        return Err(Errno::EBUSY);
    }
    match count {
        0 => return Err(Errno::EINVAL),
        count if count > MOST.min(task.file_limit()) => return Err(Errno::EMFILE),
        _ => {}
    }
    let charge = task.caller().account.charge(count * size_of::<Option<Arc<OpenFile>>>())?;
    let mut places = list(count)?;
    while places.len() < count {
        let mut fds = [0i32; AT_ONCE];
        let some = &mut fds[..AT_ONCE.min(count - places.len())];
        let from = addr.wrapping_add(places.len() * size_of::<i32>());
        task.space().copy_in(from, zerocopy::IntoBytes::as_mut_bytes(some)).await?;
        for fd in some {
            places.push(registrable(task, *fd)?);
        }
    }
    let mut table = ring.files.0.lock();
    if table.is_some() {
        drop(table);
        return Err(Errno::EBUSY);
    }
    *table = Some(Table { places, _charge: charge });
    Ok(0)
}

/// Changes places; how many.
///
/// # Errors
/// `ENXIO`, `EINVAL`, `EOVERFLOW`; `EFAULT` and `EBADF` before any was changed.
pub(super) async fn update(task: &Task<'_>, ring: &Ring, addr: usize, count: usize) -> Result<usize, Errno> {
    let asked: FilesUpdate = task.space().get(addr).await?;
    if asked.resv != 0 || count == 0 {
        return Err(Errno::EINVAL);
    }
    let len = ring.files.len().ok_or(Errno::ENXIO)?;
    let first = asked.offset as usize;
    if first + count > len {
        return Err(Errno::EINVAL);
    }
    for done in 0..count {
        let result = update_one(task, ring, first + done, (asked.fds as usize).wrapping_add(done * size_of::<i32>()));
        match result.await {
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => return Ok(done),
            Ok(()) => {}
        }
    }
    Ok(count)
}

async fn update_one(task: &Task<'_>, ring: &Ring, place: usize, addr: usize) -> Result<(), Errno> {
    let fd: i32 = task.space().get(addr).await?;
    if fd != SKIP {
        let file = registrable(task, fd)?;
        // Not under the lock.
        drop(ring.files.replace(place, file));
    }
    if exec::should_yield() {
        exec::yield_now().await;
    }
    Ok(())
}
