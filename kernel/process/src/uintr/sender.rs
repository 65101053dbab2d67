//! The right to raise some of a receiver's vectors.

use super::Receiver;
use abi::{errno::Errno, uintr};
use alloc::{boxed::Box, sync::Arc};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering},
};
use hal::frame::Frame;
use io::file::File;
use mem::{Backing, Charge, Lent, Loan, Loans};

/// Page of the mapping that rings.
const DOORBELL: u64 = 1;

/// A slot of a receiver.
pub struct Sender {
    id: u64,
    receiver: Arc<Receiver>,
    slot: usize,
    vectors: u64,
    word: Frame,
    /// Each completion rings ([`tells_more`](Self::tells_more)).
    rings_always: AtomicBool,
    /// Mappings of the doorbell.
    pub(super) loans: Loans,
    _charge: Charge,
}

impl Sender {
    pub(super) fn new(
        id: u64,
        receiver: Arc<Receiver>,
        slot: usize,
        vectors: u64,
        word: Frame,
        loans: Loans,
        charge: Charge,
    ) -> Self {
        word.word(uintr::SLOT).store(receiver.ring_number(slot), Ordering::Relaxed);
        Self { id, receiver, slot, vectors, word, rings_always: AtomicBool::new(false), loans, _charge: charge }
    }

    /// The receiver.
    #[must_use]
    pub fn receiver(&self) -> &Arc<Receiver> {
        &self.receiver
    }

    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// Sets a vector's bit in the word; whether it was there.
    pub(super) fn set(&self, vector: usize) -> bool {
        // Release pairs with the receiver's swap: what was written before is visible to the handler. Acquire with the Release of who has set it, for `tells_more`. The word is 64 bits, of
        // which programs see both halves change apart, which is all that bits need.
        let bit = 1 << (vector % 32);
        self.word.word(uintr::WORD + vector / 32 * 4).fetch_or(bit, Ordering::AcqRel) & bit != 0
    }

    /// Tells the sender that its right has ended.
    pub(super) fn close(&self) {
        // Release pairs with whatever the sender's side does: what the receiver did before is visible to who sees this.
        self.word.word(uintr::CLOSED).store(1, Ordering::Release);
        // Relaxed: who raises at the same time may have been earlier. Not in the word page, which programs write.
        self.rings_always.store(true, Ordering::Relaxed);
    }

    /// Sets a vector's bit for a device, whose handler has it set whatever there is (`abi::device`): it tells of nothing, so who finds it set rings from now on.
    pub(super) fn set_for_device(&self, vector: usize) {
        // Relaxed: the bit carries it.
        self.rings_always.store(true, Ordering::Relaxed);
        self.set(vector);
    }

    /// Whether it was granted a vector.
    ///
    /// # Errors
    /// `EINVAL`: there is no such vector; `EPERM`: it was not.
    pub fn may_raise(&self, vector: usize) -> Result<(), Errno> {
        match vector {
            0..uintr::VECTORS if self.vectors & 1 << vector != 0 => Ok(()),
            0..uintr::VECTORS => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Raises a vector, or tells of those that are ([`uintr::RING`]).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`; `ESRCH`: the right has ended.
    pub fn raise(&self, vector: usize) -> Result<(), Errno> {
        if vector == uintr::RING {
            return self.receiver.ring(self);
        }
        self.may_raise(vector)?;
        self.set(vector);
        self.receiver.ring(self)
    }

    /// Tells of one more thing by a vector that it may raise, if it was raised and the handler is still to look: that clears the bit before it looks, and who has set it has rung, or rings
    /// behind that, but where a device tells by it. Else it is to be [raised](Self::raise).
    #[must_use]
    pub fn tells_more(&self, vector: usize) -> bool {
        self.set(vector) && !self.rings_always.load(Ordering::Relaxed)
    }
}

impl Backing for Sender {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        if index == DOORBELL { Err(Errno::EFAULT) } else { Ok(Some(self.word.clone())) }
    }

    fn frame(&self, index: u64) -> mem::BoxFuture<'_, Result<Frame, Errno>> {
        Box::pin(core::future::ready(self.frame_now(index).and_then(|frame| frame.ok_or(Errno::EFAULT))))
    }

    fn mark_dirty(&self, _index: u64) {}

    fn lends(&self) -> bool {
        true
    }

    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        if index != DOORBELL {
            return Ok(Lent::Frame(self.word.clone()));
        }
        if self.loans.note(&loan).is_err() {
            // In too many places to be taken back from: the kernel rings for this one.
            return Ok(Lent::Absent);
        }
        Ok(self.receiver.doorbell(self, loan.is_virtual()).map_or(Lent::Absent, Lent::Device))
    }

    fn knock(&self, index: u64) {
        if index == DOORBELL {
            // A right that has ended is told in the word page.
            let _ = self.receiver.ring(self);
        }
    }

    fn len_pages(&self) -> u64 {
        uintr::SENDER_PAGES as u64
    }

    fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.receiver.part_from(self);
    }
}

/// The descriptor of a sender.
pub struct SenderFile(pub Arc<Sender>);

impl File for SenderFile {
    fn events(&self) -> u32 {
        0
    }

    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.0.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
