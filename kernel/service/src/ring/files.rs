//! Registered files: descriptions that entries name by a place in a table of the ring's (`IOSQE_FIXED_FILE`).

use super::{Ring, in_turn::in_turn, places::Places, ring_of};
use crate::context::{Task, list};
use abi::{
    errno::Errno,
    io_uring::{FileIndexRange, FilesUpdate, IORING_FILE_INDEX_ALLOC},
};
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
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
    files: Vec<Option<Arc<OpenFile>>>,
    places: Places,
    /// Where a file goes that may go anywhere, and where the look for that begins.
    range: Range<usize>,
    hint: usize,
    _charge: Charge,
}

impl Table {
    fn replace(&mut self, place: usize, file: Option<Arc<OpenFile>>) -> Option<Arc<OpenFile>> {
        let Some(found) = self.files.get_mut(place) else { return file };
        self.places.set(place, file.is_some());
        if file.is_none() && self.range.contains(&place) {
            self.hint = place;
        }
        core::mem::replace(found, file)
    }

    /// A free place of the range.
    fn free(&mut self) -> Result<usize, Errno> {
        let found = self.places.free_in(self.hint..self.range.end);
        let found = found.or_else(|| self.places.free_in(self.range.start..self.hint)).ok_or(Errno::ENFILE)?;
        self.hint = found + 1;
        Ok(found)
    }
}

/// The table, if there is one.
pub(super) struct Files(SpinLock<Option<Table>>);

impl Files {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(rank::PIPE, None))
    }

    /// The file in a place.
    ///
    /// # Errors
    /// `EBADF`.
    pub(super) fn get(&self, place: i32) -> Result<Arc<OpenFile>, Errno> {
        let table = self.0.lock();
        let place = usize::try_from(place).ok().and_then(|place| table.as_ref()?.files.get(place)?.clone());
        place.ok_or(Errno::EBADF)
    }

    fn len(&self) -> Option<usize> {
        self.0.lock().as_ref().map(|table| table.files.len())
    }

    /// Puts a file into a place that there is; what was there.
    fn replace(&self, place: usize, file: Option<Arc<OpenFile>>) -> Option<Arc<OpenFile>> {
        match self.0.lock().as_mut() {
            Some(table) => table.replace(place, file),
            None => file,
        }
    }

    /// Puts a file into a place, given as one more than its number, or any that is free; the number of that, else 0.
    ///
    /// # Errors
    /// `EBADF` for a file that a table must not hold; `ENXIO` without a table, `EINVAL` beyond it; `ENFILE` if none is free.
    pub(super) fn install(&self, slot: u32, file: Arc<OpenFile>) -> Result<usize, Errno> {
        if holds_others(&file) {
            return Err(Errno::EBADF);
        }
        let any = slot == IORING_FILE_INDEX_ALLOC;
        let mut lock = self.0.lock();
        let place = match (lock.as_mut(), any) {
            (Some(table), true) => table.free(),
            (None, true) => Err(Errno::ENFILE),
            (Some(table), false) => Ok((slot as usize).wrapping_sub(1))
                .and_then(|place| if place < table.files.len() { Ok(place) } else { Err(Errno::EINVAL) }),
            (None, false) => Err(Errno::ENXIO),
        };
        let old = match (&place, lock.as_mut()) {
            (Ok(place), Some(table)) => table.replace(*place, Some(file)),
            _ => Some(file),
        };
        // Not under the lock.
        drop(lock);
        drop(old);
        place.map(|place| if any { place } else { 0 })
    }

    /// Where files go that may go anywhere.
    ///
    /// # Errors
    /// `EOVERFLOW`; `EINVAL` beyond the table.
    pub(super) fn set_range(&self, range: FileIndexRange) -> Result<(), Errno> {
        let FileIndexRange { off, len, resv } = range;
        let end = off.checked_add(len).ok_or(Errno::EOVERFLOW)? as usize;
        let mut lock = self.0.lock();
        let count = lock.as_ref().map_or(0, |table| table.files.len());
        if resv != 0 || end > count {
            return Err(Errno::EINVAL);
        }
        if let Some(table) = lock.as_mut() {
            (table.range, table.hint) = (off as usize..end, off as usize);
        }
        Ok(())
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

/// The place of a ring's table that a request opens into, as [`Files::install`] has it.
pub(crate) struct Direct {
    pub(super) ring: Arc<Ring>,
    pub(super) slot: u32,
}

impl Direct {
    /// Puts a file there.
    ///
    /// # Errors
    /// Those of [`Files::install`].
    pub(crate) fn install(&self, file: Arc<OpenFile>) -> Result<usize, Errno> {
        self.ring.files.install(self.slot, file)
    }
}

impl Ring {
    /// The description that an entry names, by number or by place.
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub(super) fn file(&self, task: &Task<'_>, fd: i32, fixed: bool) -> Result<Arc<OpenFile>, Errno> {
        if fixed { self.files.get(fd) } else { task.file(fd) }
    }
}

/// Whether a file is none for a table: a ring in a table of its own or of another would never go, nor one that a set of events in its table
/// watches.
fn holds_others(open: &OpenFile) -> bool {
    ring_of(open).is_ok() || open.file().as_any().is::<io::epoll::Epoll>()
}

/// The file for a place.
fn registrable(task: &Task<'_>, fd: i32) -> Result<Option<Arc<OpenFile>>, Errno> {
    if fd == NONE {
        return Ok(None);
    }
    let open = task.file(fd)?;
    if holds_others(&open) { Err(Errno::EBADF) } else { Ok(Some(open)) }
}

/// Makes the table of the descriptors at `addr`; without a list, of empty places.
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
    let bytes = count * size_of::<Option<Arc<OpenFile>>>() + Places::bytes(count);
    let charge = task.caller().account.charge(bytes)?;
    let (mut files, mut places) = (list(count)?, Places::new(count)?);
    while files.len() < count {
        let mut fds = [0i32; AT_ONCE];
        let some = &mut fds[..AT_ONCE.min(count - files.len())];
        if addr == 0 {
            some.fill(NONE);
            if exec::should_yield() {
                exec::yield_now().await;
            }
        } else {
            let from = addr.wrapping_add(files.len() * size_of::<i32>());
            task.space().copy_in(from, zerocopy::IntoBytes::as_mut_bytes(some)).await?;
        }
        for fd in some {
            let file = registrable(task, *fd)?;
            places.set(files.len(), file.is_some());
            files.push(file);
        }
    }
    let mut table = ring.files.0.lock();
    if table.is_some() {
        drop(table);
        return Err(Errno::EBUSY);
    }
    *table = Some(Table { files, places, range: 0..count, hint: 0, _charge: charge });
    Ok(0)
}

/// Whether none of the tags at `tags` is one: a file's end is not told.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(super) async fn check_untagged(task: &Task<'_>, tags: u64, count: usize) -> Result<(), Errno> {
    if tags == 0 {
        return Ok(());
    }
    for done in (0..count.min(MOST)).step_by(AT_ONCE) {
        let mut some = [0u64; AT_ONCE];
        let some = &mut some[..AT_ONCE.min(count - done)];
        let from = (tags as usize).wrapping_add(done * size_of::<u64>());
        task.space().copy_in(from, zerocopy::IntoBytes::as_mut_bytes(some)).await?;
        if some.iter().any(|tag| *tag != 0) {
            return Err(Errno::EINVAL);
        }
        if exec::should_yield() {
            exec::yield_now().await;
        }
    }
    Ok(())
}

/// Changes places as a call asks for it; how many.
///
/// # Errors
/// `EFAULT`, `EINVAL`; those of [`update`].
pub(super) async fn update_of_call(task: &Task<'_>, ring: &Ring, addr: usize, count: usize) -> Result<usize, Errno> {
    let asked: FilesUpdate = task.space().get(addr).await?;
    if asked.resv != 0 || count == 0 {
        return Err(Errno::EINVAL);
    }
    update(task, ring, asked.offset as usize, asked.fds as usize, count).await
}

/// Changes the places from `first` on to the descriptors at `addr`; how many.
///
/// # Errors
/// `ENXIO`, `EINVAL`; `EFAULT` and `EBADF` before any was changed.
pub(super) async fn update(
    task: &Task<'_>,
    ring: &Ring,
    first: usize,
    addr: usize,
    count: usize,
) -> Result<usize, Errno> {
    let len = ring.files.len().ok_or(Errno::ENXIO)?;
    if first.checked_add(count).is_none_or(|end| end > len) {
        return Err(Errno::EINVAL);
    }
    in_turn(count, |done| update_one(task, ring, first + done, addr.wrapping_add(done * size_of::<i32>()))).await
}

/// Puts the files of the descriptors at `addr` into free places, whose numbers it leaves there; how many.
///
/// # Errors
/// `ENXIO`; `EFAULT`, `EBADF`, `ENFILE` before any was.
pub(super) async fn place_anywhere(task: &Task<'_>, ring: &Ring, addr: usize, count: usize) -> Result<usize, Errno> {
    ring.files.len().ok_or(Errno::ENXIO)?;
    in_turn(count, |done| place_one(task, ring, addr.wrapping_add(done * size_of::<i32>()))).await
}

async fn place_one(task: &Task<'_>, ring: &Ring, addr: usize) -> Result<(), Errno> {
    let fd: i32 = task.space().get(addr).await?;
    let place = ring.files.install(IORING_FILE_INDEX_ALLOC, task.file(fd)?)?;
    let told = task.space().put(addr, &(place as i32)).await;
    if told.is_err() {
        // Another may have emptied it already.
        let _ = ring.files.close(place);
    }
    told
}

async fn update_one(task: &Task<'_>, ring: &Ring, place: usize, addr: usize) -> Result<(), Errno> {
    let fd: i32 = task.space().get(addr).await?;
    if fd != SKIP {
        let file = registrable(task, fd)?;
        // Not under the lock.
        drop(ring.files.replace(place, file));
    }
    Ok(())
}
