//! What a receiver knows of each of its senders.

use super::{Line, Sender};
use abi::uintr;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::Ordering::Relaxed;
use hal::{frame::Frame, uintc::SenderSlot};

/// How far a sender's right has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// The granting goes on.
    Reserved,
    /// The program was told.
    Granted,
    /// It has ended, and the doorbells are being taken back, or who did that was killed.
    Revoked,
}

/// A slot that is not free.
pub(super) struct Slot {
    pub(super) sender: Weak<Sender>,
    /// The sender's [`mem::Backing::id`].
    pub(super) id: u64,
    pub(super) vectors: u64,
    pub(super) word: Frame,
    pub(super) right: Right,
    /// Its place at the controller, if the receiver has one there and one was left.
    pub(super) wire: Option<SenderSlot>,
    /// What the device raises whose line is its, as a bit: in the word that is set beforehand, and says nothing.
    pub(super) line: Option<(&'static Line, u64)>,
    /// The trace says that the right has ended.
    noted: bool,
}

impl Slot {
    /// For the sender `id`, which there is not yet.
    pub(super) fn new(id: u64, vectors: u64, word: Frame) -> Self {
        Self { sender: Weak::new(), id, vectors, word, right: Right::Reserved, wire: None, line: None, noted: false }
    }

    /// The right ends of itself; whether that is to be noted: once, and not of one that was revoked.
    pub(super) fn note_end(&mut self) -> bool {
        self.right == Right::Granted && !core::mem::replace(&mut self.noted, true)
    }

    /// Its sender, if anybody has it.
    pub(super) fn sender(&self) -> Option<Arc<Sender>> {
        self.sender.upgrade()
    }

    /// What the program is told.
    pub(super) fn granted(&self) -> u64 {
        if self.right == Right::Granted { self.vectors } else { 0 }
    }

    /// Whether something was sent that has not been taken. What was not granted does not count.
    pub(super) fn has_message(&self) -> bool {
        // Relaxed: whoever asks has ordered it behind what it asks about.
        let half = |index: usize| u64::from(self.word.word(uintr::WORD + 4 * index).load(Relaxed));
        let by_line = self.line.map_or(0, |(_, vector)| vector);
        (half(0) | half(1) << 32) & self.granted() & !by_line != 0
    }

    /// Whether its sender is gone, with its mappings, and what it sent was taken.
    pub(super) fn is_over(&self) -> bool {
        self.right != Right::Reserved && self.sender.strong_count() == 0 && !self.has_message()
    }
}
