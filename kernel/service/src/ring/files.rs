//! Registered files: descriptions that entries name by a place in a table of the ring's (`IOSQE_FIXED_FILE`).
//!
//! A request keeps the file that it began with, and with it the tag of the place: that is told when the place has another file, or none, and no request has
//! it any more.

use super::{Ring, in_turn::in_turn, operation::Step, places::Places, ring_of, ticket::Tag, waits::Waits};
use crate::context::Task;
use abi::{
    errno::Errno,
    io_uring::{FileIndexRange, FilesUpdate, IORING_FILE_INDEX_ALLOC},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::{Deref, Range};
use hal::sync::{SpinLock, rank};
use io::open::OpenFile;
use mem::{Charge, list};
use zerocopy::{FromBytes, IntoBytes};

/// Most places of a table, as in Linux.
const MOST: usize = 1 << 20;
/// No file in this place.
const NONE: i32 = -1;
/// Leave this place as it is.
const SKIP: i32 = -2;
/// Descriptors that are read at a time.
const AT_ONCE: usize = 64;

/// A file that an entry names, with the tag of its place, if it has that by a place that has one.
#[derive(Clone)]
pub(super) struct Used {
    open: Arc<OpenFile>,
    tag: Option<Arc<Tag>>,
}

impl Used {
    /// Whether somebody wants to know when it is used no more. What waits for it then has a coroutine.
    #[inline(always)]
    pub(super) fn is_tagged(&self) -> bool {
        self.tag.is_some()
    }

    /// What has begun with it has it to its end.
    #[inline]
    pub(super) fn keep(&self, step: Step) -> Step {
        match (&self.tag, step) {
            (Some(tag), Step::Waits(waits)) => Step::Waits(Waits::Tagged(Box::new((waits, tag.clone())))),
            (_, step) => step,
        }
    }
}

impl Deref for Used {
    type Target = Arc<OpenFile>;

    #[inline(always)]
    fn deref(&self) -> &Arc<OpenFile> {
        &self.open
    }
}

struct Table {
    files: Vec<Option<Used>>,
    places: Places,
    /// Where a file goes that may go anywhere, and where the look for that begins.
    range: Range<usize>,
    hint: usize,
    _charge: Charge,
}

impl Table {
    fn replace(&mut self, place: usize, file: Option<Used>) -> Option<Used> {
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
    pub(super) fn get(&self, place: i32) -> Result<Used, Errno> {
        let table = self.0.lock();
        let place = usize::try_from(place).ok().and_then(|place| table.as_ref()?.files.get(place)?.clone());
        place.ok_or(Errno::EBADF)
    }

    fn len(&self) -> Option<usize> {
        self.0.lock().as_ref().map(|table| table.files.len())
    }

    /// Puts a file into a place that there is; what was there.
    fn replace(&self, place: usize, file: Option<Used>) -> Option<Used> {
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
        let file = Used { open: file, tag: None };
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
    pub(super) fn file(&self, task: &Task<'_>, fd: i32, fixed: bool) -> Result<Used, Errno> {
        if fixed { self.files.get(fd) } else { Ok(Used { open: task.file(fd)?, tag: None }) }
    }
}

/// Whether a file is none for a table: a ring in a table of its own or of another would never go, nor one that a set of events in its table
/// watches.
pub(super) fn holds_others(open: &OpenFile) -> bool {
    ring_of(open).is_ok() || open.file().as_any().is::<io::epoll::Epoll>()
}

/// The file for a place, and its tag.
fn registrable(task: &Task<'_>, ring: &Arc<Ring>, fd: i32, tag: u64) -> Result<Option<Used>, Errno> {
    match (fd, tag) {
        (NONE, 0) => return Ok(None),
        (NONE, _) => return Err(Errno::EINVAL),
        _ => {}
    }
    let open = task.file(fd)?;
    if holds_others(&open) {
        return Err(Errno::EBADF);
    }
    Ok(Some(Used { open, tag: Tag::new(task, ring, tag)? }))
}

/// Some of a list in the program's memory, from the one with this number on. Without a list they are left as they are.
async fn copy_some<T: IntoBytes + FromBytes>(
    task: &Task<'_>,
    list: u64,
    first: usize,
    some: &mut [T],
) -> Result<(), Errno> {
    match list {
        0 => Ok(()),
        list => {
            let from = (list as usize).wrapping_add(first * size_of::<T>());
            task.space().copy_in(from, <[T]>::as_mut_bytes(some)).await
        }
    }
}

/// Makes the table of the descriptors at `fds`, with the tags at `tags`; without a list, of empty places.
///
/// # Errors
/// `EBUSY`, `EINVAL`, `EMFILE`, `EFAULT`, `EBADF`, `ENOMEM`; then no tag is told.
pub(super) async fn register(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (fds, tags): (u64, u64),
    count: usize,
) -> Result<usize, Errno> {
    if ring.files.len().is_some() {
        return Err(Errno::EBUSY);
    }
    match count {
        0 => return Err(Errno::EINVAL),
        count if count > MOST.min(task.file_limit()) => return Err(Errno::EMFILE),
        _ => {}
    }
    let bytes = count * size_of::<Option<Used>>() + Places::bytes(count);
    let charge = task.caller().account.charge(bytes)?;
    let (mut files, mut places) = (list(count)?, Places::new(count)?);
    if let Err(errno) = fill(task, ring, (fds, tags), &mut files, &mut places, count).await {
        silence(files);
        return Err(errno);
    }
    let mut table = ring.files.0.lock();
    if table.is_some() {
        drop(table);
        silence(files);
        return Err(Errno::EBUSY);
    }
    *table = Some(Table { files, places, range: 0..count, hint: 0, _charge: charge });
    Ok(0)
}

/// Fills a table, in which there is room for so many.
async fn fill(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (fds, tags): (u64, u64),
    files: &mut Vec<Option<Used>>,
    places: &mut Places,
    count: usize,
) -> Result<(), Errno> {
    while files.len() < count {
        let (first, len) = (files.len(), AT_ONCE.min(count - files.len()));
        let (mut some, mut their_tags) = ([NONE; AT_ONCE], [0u64; AT_ONCE]);
        copy_some(task, fds, first, &mut some[..len]).await?;
        copy_some(task, tags, first, &mut their_tags[..len]).await?;
        for (fd, tag) in some.into_iter().zip(their_tags).take(len) {
            let file = registrable(task, ring, fd, tag)?;
            places.set(files.len(), file.is_some());
            files.push(file);
        }
        if exec::should_yield() {
            exec::yield_now().await;
        }
    }
    Ok(())
}

/// Files go that nobody has used: no tag is told.
fn silence(files: Vec<Option<Used>>) {
    files.into_iter().flatten().filter_map(|file| file.tag).for_each(Tag::silence);
}

/// Changes places as a call asks for it; how many.
///
/// # Errors
/// `EFAULT`, `EINVAL`; those of [`update`].
pub(super) async fn update_of_call(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    addr: usize,
    count: usize,
) -> Result<usize, Errno> {
    let asked: FilesUpdate = task.space().get(addr).await?;
    if asked.resv != 0 || count == 0 {
        return Err(Errno::EINVAL);
    }
    update(task, ring, asked.offset as usize, (asked.fds, 0), count).await
}

/// Changes the places from `first` on to the descriptors at `fds`, with the tags at `tags`; how many.
///
/// # Errors
/// `ENXIO`, `EINVAL`; `EFAULT`, `EBADF` and `ENOMEM` if the first cannot be changed. Of `EBADF` its place is empty then, as on Linux.
pub(super) async fn update(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    first: usize,
    lists: (u64, u64),
    count: usize,
) -> Result<usize, Errno> {
    let len = ring.files.len().ok_or(Errno::ENXIO)?;
    if first.checked_add(count).is_none_or(|end| end > len) {
        return Err(Errno::EINVAL);
    }
    in_turn(count, |done| update_one(task, ring, lists, done, first + done)).await
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

async fn update_one(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (fds, tags): (u64, u64),
    number: usize,
    place: usize,
) -> Result<(), Errno> {
    let fd: i32 = task.space().get((fds as usize).wrapping_add(number * size_of::<i32>())).await?;
    let mut tag = [0u64];
    copy_some(task, tags, number, &mut tag).await?;
    match (fd, tag) {
        (SKIP, [0]) => Ok(()),
        (SKIP, _) => Err(Errno::EINVAL),
        (fd, [tag]) => {
            let (file, result) = match registrable(task, ring, fd, tag) {
                Ok(file) => (file, Ok(())),
                // As on Linux the place is empty then.
                Err(errno @ Errno::EBADF) => (None, Err(errno)),
                Err(errno) => return Err(errno),
            };
            // Not under the lock.
            drop(ring.files.replace(place, file));
            result
        }
    }
}
