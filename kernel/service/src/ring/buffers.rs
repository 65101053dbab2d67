//! Registered buffers: memory of the program's that is pinned, and named by a place in a table of the ring's.
//!
//! A request keeps the buffer that it began with. A buffer that goes, when nothing uses it any more, tells so by a completion with its tag, if it
//! has one, for which it has a place all the while.

use super::{Ring, in_turn::in_turn, ring_of, ticket::Tag};
use crate::{context::Task, transfer::Piece};
use abi::{
    errno::Errno,
    fs::Iovec,
    io_uring::{CloneBuffers, IORING_REGISTER_SRC_REGISTERED, RsrcUpdate},
};
use alloc::{sync::Arc, vec::Vec};
use hal::{
    PAGE_SIZE,
    frame::Pin,
    sync::{SpinLock, rank},
};
use mem::{Charge, Pinned, Sink, Source, list};

/// Most places of a table, as in Linux.
const MOST: usize = 1 << 14;
/// Most bytes of a buffer, as in Linux.
const LARGEST: u64 = 1 << 30;

/// A buffer.
pub(crate) struct Buffer {
    /// That of others, too, who have had it from here.
    memory: Arc<Pinned>,
    tag: Option<Arc<Tag>>,
}

impl Buffer {
    /// Where a stretch of it is to be read into. One that is not all within has no room.
    pub(crate) fn sink(&self, piece: Piece) -> Sink<'_> {
        Sink::pinned(&self.memory, self.offset(piece), piece.len)
    }

    /// Where a stretch of it is to be written from.
    pub(crate) fn source(&self, piece: Piece) -> Source<'_> {
        Source::pinned(&self.memory, self.offset(piece), piece.len)
    }

    /// Pins a stretch of it for a device.
    ///
    /// # Errors
    /// `EFAULT` if it is not all within.
    pub(crate) fn pin_again(&self, piece: Piece, each: impl FnMut(Pin, usize, usize)) -> Result<(), Errno> {
        self.memory.pin_again(self.offset(piece), piece.len, each)
    }

    fn offset(&self, piece: Piece) -> usize {
        self.memory.offset_of(piece.addr, piece.len).unwrap_or(usize::MAX)
    }
}

/// Bytes of a place in a table, and of the buffer there.
const EACH: usize = size_of::<Option<Arc<Buffer>>>() + size_of::<Buffer>() + 16;
/// Places that are copied in one look.
const AT_ONCE: usize = 64;

struct Table {
    places: Vec<Option<Arc<Buffer>>>,
    /// The process that pays for the memory.
    pid: u32,
    _charge: Charge,
}

/// The table, if there is one.
pub(super) struct Buffers(SpinLock<Option<Table>>);

impl Buffers {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(rank::PIPE, None))
    }

    /// The buffer in a place, if `piece` lies within.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn get(&self, place: u16, piece: Piece) -> Result<Arc<Buffer>, Errno> {
        let table = self.0.lock();
        let found = table.as_ref().and_then(|table| table.places.get(usize::from(place))?.clone());
        drop(table);
        let buffer = found.ok_or(Errno::EFAULT)?;
        buffer.memory.offset_of(piece.addr, piece.len).map(|_| buffer)
    }

    /// Puts a buffer into a place that there is; what was there, which is not to go under the lock.
    fn replace(&self, place: usize, mut buffer: Option<Arc<Buffer>>) -> Option<Arc<Buffer>> {
        if let Some(found) = self.0.lock().as_mut().and_then(|table| table.places.get_mut(place)) {
            core::mem::swap(found, &mut buffer);
        }
        buffer
    }

    fn len(&self) -> Option<usize> {
        self.0.lock().as_ref().map(|table| table.places.len())
    }

    /// Adds the memory of those from a place on, as far as there are and one look goes, for process `pid`.
    ///
    /// # Errors
    /// `ENXIO` if there is no table; `EINVAL` if another process pays for it, which could not give it back.
    fn copy(&self, pid: u32, first: usize, into: &mut Vec<Option<Arc<Pinned>>>) -> Result<(), Errno> {
        let table = self.0.lock();
        let table = table.as_ref().ok_or(Errno::ENXIO)?;
        if table.pid != pid {
            return Err(Errno::EINVAL);
        }
        let places = &table.places;
        let left = (into.capacity() - into.len()).min(AT_ONCE);
        let memory = |buffer: &Option<Arc<Buffer>>| buffer.as_ref().map(|buffer| buffer.memory.clone());
        into.extend(places.get(first..).unwrap_or_default().iter().take(left).map(memory));
        Ok(())
    }

    /// # Errors
    /// `ENXIO` if there is no table.
    pub(super) fn unregister(&self) -> Result<(), Errno> {
        let old = self.0.lock().take();
        // Not under the lock.
        old.map(drop).ok_or(Errno::ENXIO)
    }
}

/// Pins what an entry of a list says; nothing at nothing is no buffer.
async fn buffer(task: &Task<'_>, ring: &Arc<Ring>, piece: &Iovec, tag: u64) -> Result<Option<Arc<Buffer>>, Errno> {
    let &Iovec { base, len } = piece;
    match (base, len, tag) {
        (0, 0, 0) => return Ok(None),
        (0, 0, _) => return Err(Errno::EINVAL),
        (_, 0, _) | (0, ..) => return Err(Errno::EFAULT),
        (_, len, _) if len > LARGEST => return Err(Errno::EFAULT),
        _ => {}
    }
    base.checked_add(len.next_multiple_of(PAGE_SIZE as u64)).ok_or(Errno::EOVERFLOW)?;
    let memory = Arc::new(task.pin(base as usize, len as usize).await?);
    Ok(Some(Arc::new(Buffer { memory, tag: Tag::new(task, ring, tag)? })))
}

/// The piece and the tag with this number of two lists; without a list: no buffer, no tag.
async fn described(task: &Task<'_>, pieces: u64, tags: u64, number: usize) -> Result<(Iovec, u64), Errno> {
    let at = |list: u64, size: usize| (list as usize).wrapping_add(number * size);
    let piece = match pieces {
        0 => Iovec { base: 0, len: 0 },
        list => task.space().get(at(list, size_of::<Iovec>())).await?,
    };
    let tag = match tags {
        0 => 0,
        list => task.space().get(at(list, size_of::<u64>())).await?,
    };
    Ok((piece, tag))
}

/// Makes a table of the pieces at `pieces`, with the tags at `tags`.
///
/// # Errors
/// `EBUSY`, `EINVAL`, `EFAULT`, `EOVERFLOW`, `ENOMEM`; then none is left, and no tag is told.
pub(super) async fn register(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (pieces, tags): (u64, u64),
    count: usize,
) -> Result<usize, Errno> {
    if ring.buffers.len().is_some() {
        return Err(Errno::EBUSY);
    }
    if count == 0 || count > MOST {
        return Err(Errno::EINVAL);
    }
    let charge = task.caller().account.charge(count * EACH)?;
    let mut places = list(count)?;
    while places.len() < count {
        let made = match described(task, pieces, tags, places.len()).await {
            Ok((piece, tag)) => buffer(task, ring, &piece, tag).await,
            Err(errno) => Err(errno),
        };
        match made {
            Ok(made) => places.push(made),
            Err(errno) => {
                silence(places);
                return Err(errno);
            }
        }
    }
    begin(ring, Table { places, pid: task.process().pid(), _charge: charge })
}

/// The table is there from now on, unless another is.
fn begin(ring: &Ring, table: Table) -> Result<usize, Errno> {
    let mut there = ring.buffers.0.lock();
    if there.is_some() {
        drop(there);
        silence(table.places);
        return Err(Errno::EBUSY);
    }
    *there = Some(table);
    Ok(0)
}

/// Makes a table of the memory of another ring's, which this process has registered there and pays for. Tags are that ring's. What changes there meanwhile is seen or not.
///
/// # Errors
/// `EBUSY`, `EFAULT`, `EINVAL`, those of the other's descriptor, `ENXIO` if that has none; `ENOMEM`.
pub(super) async fn copy_table(task: &Task<'_>, ring: &Arc<Ring>, addr: usize) -> Result<usize, Errno> {
    if ring.buffers.len().is_some() {
        return Err(Errno::EBUSY);
    }
    let asked: CloneBuffers = task.space().get(addr).await?;
    if asked.flags & !IORING_REGISTER_SRC_REGISTERED != 0 || asked.pad != [0; 6] {
        return Err(Errno::EINVAL);
    }
    let open = match asked.flags {
        0 => task.file(asked.src_fd.cast_signed())?,
        _ => task.thread().registered_ring(asked.src_fd as usize)?,
    };
    let from = ring_of(&open)?;
    let count = from.buffers.len().ok_or(Errno::ENXIO)?;
    let charge = task.caller().account.charge(count * EACH)?;
    let pid = task.process().pid();
    let (mut memory, mut places) = (list(count.min(AT_ONCE))?, list(count)?);
    while places.len() < count {
        from.buffers.copy(pid, places.len(), &mut memory)?;
        if memory.is_empty() {
            // There are fewer by now.
            break;
        }
        let buffer = |memory| Arc::new(Buffer { memory, tag: None });
        places.extend(memory.drain(..).take(count - places.len()).map(|memory| memory.map(buffer)));
        if exec::should_yield() {
            exec::yield_now().await;
        }
    }
    begin(ring, Table { places, pid, _charge: charge })
}

/// Buffers go that nobody has used: no tag is told.
fn silence(places: Vec<Option<Arc<Buffer>>>) {
    for mut buffer in places.into_iter().flatten() {
        if let Some(tag) = Arc::get_mut(&mut buffer).and_then(|buffer| buffer.tag.take()) {
            Tag::silence(tag);
        }
    }
}

/// Changes places; how many.
///
/// # Errors
/// `ENXIO`, `EINVAL`; those of [`register`] before any was changed.
pub(super) async fn update(task: &Task<'_>, ring: &Arc<Ring>, asked: &RsrcUpdate) -> Result<usize, Errno> {
    if asked.offset as usize + asked.nr as usize > ring.buffers.len().ok_or(Errno::ENXIO)? {
        return Err(Errno::EINVAL);
    }
    if asked.data == 0 {
        return Err(Errno::EFAULT);
    }
    let (first, lists) = (asked.offset as usize, (asked.data, asked.tags));
    in_turn(asked.nr as usize, |done| update_one(task, ring, lists, done, first + done)).await
}

async fn update_one(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (pieces, tags): (u64, u64),
    number: usize,
    place: usize,
) -> Result<(), Errno> {
    let (piece, tag) = described(task, pieces, tags, number).await?;
    let made = buffer(task, ring, &piece, tag).await?;
    drop(ring.buffers.replace(place, made));
    Ok(())
}
