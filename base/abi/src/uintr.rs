//! User interrupts (note 0008): the calls, and the pages that senders and receivers map.
//!
//! A sender sets a bit of its word, fences, and stores its slot's number (32 bits) to its doorbell. A receiver that is told of a slot swaps the
//! slot's word with 0 and keeps the bits that were granted. The word alone says what was sent.

use crate::asyncos::FIRST;

/// `uintr_receiver(entry, stack) -> fd`: the calling thread takes its user interrupts at `entry` (a multiple of 4) from now on, with `stack` in
/// `sscratch`; its interrupts are off at first. Only in world `vm`, on a machine that has guest interrupt files. The descriptor is closed by `execve`.
///
/// Errors: `EINVAL`, `EBUSY` (it is a receiver already), `ENODEV` (not in this world, or not on this machine), `ENOMEM`, `EMFILE`.
pub const RECEIVER: usize = FIRST + 0x10;
/// `uintr_grant(receiver, vectors) -> fd`: a sender that may raise the vectors whose bits are set.
///
/// Errors: `EBADF`, `EINVAL` (no receiver, no vectors), `ENOSPC` (no slot), `ESRCH` (the thread has ended), `ENOMEM`, `EMFILE`.
pub const GRANT: usize = FIRST + 0x11;
/// `uintr_send(sender, vector) -> 0`: raises a vector by way of the kernel.
///
/// Errors: `EBADF`, `EINVAL` (no sender, no such vector), `EPERM` (not granted), `ESRCH` (revoked, or the thread has ended).
pub const SEND: usize = FIRST + 0x12;
/// `uintr_wait(ns) -> 0`: waits until something may have arrived for the calling thread, also while it keeps its interrupts off; at most so many
/// nanoseconds, or without limit ([`FOREVER`]).
///
/// Errors: `EINVAL` (not a receiver), `ETIMEDOUT`, `EINTR`.
pub const WAIT: usize = FIRST + 0x13;
/// `uintr_revoke(receiver, sender) -> 0`: ends a sender's right; when it returns, nothing that is sent by it reaches a handler.
///
/// Errors: `EBADF`, `EINVAL` (not a receiver and a sender of it), `ESRCH` (it has ended already).
pub const REVOKE: usize = FIRST + 0x14;

/// No limit for [`WAIT`].
pub const FOREVER: usize = usize::MAX;

/// Vectors of a receiver, 0 to this, exclusive; 0 is the most urgent.
pub const VECTORS: usize = 64;
/// Slots of a receiver: senders have those from 1 to this, exclusive. What a doorbell is told.
pub const SLOTS: usize = 64;

/// Pages of a receiver's mapping: its control page, then the word page of each slot from 1 on, which is there while the slot is granted.
pub const RECEIVER_PAGES: usize = SLOTS;
/// Pages of a sender's mapping: its word page, its doorbell.
pub const SENDER_PAGES: usize = 2;

/// In the control page: for each slot, the vectors that were granted to it (64 bits each; 0: none). The kernel writes it, and goes by its own copy.
pub const GRANTED: usize = 0;

/// In a word page: the vectors that were raised and not taken, a bit each.
pub const WORD: usize = 0;
/// In a word page, 32 bits: the slot's number, to be stored to the doorbell.
pub const SLOT: usize = 64;
/// In a word page, 32 bits: not 0 when the right has ended. The kernel writes it, for the sender to see.
pub const CLOSED: usize = 68;
