//! User interrupts (note 0008): the calls, and the pages that senders and receivers map.
//!
//! A sender sets a bit of its word, fences, and stores what [`SLOT`] says (32 bits) to its doorbell, unless [`ASLEEP`] says otherwise. The word alone says what was sent.
//!
//! A receiver that is told of a slot takes what was sent like this, with its interrupts off:
//!
//! ```text
//! claim the slot's number              AIA: swap of stopei; NUINTC: load from CLAIM; SOFT: swap of PENDING
//! fence io, rw                         a word that is set behind the claim is told of again (SOFT: the swap acquires)
//! again:
//!   change = CHANGE of the slot
//!   fence r, r
//!   sent = word of the slot, and what is GRANTED to the slot
//!   fence r, r
//!   if CHANGE of the slot is not change: again
//! clear the bits of sent in the word   atomically; acquires
//! handle the vectors in sent           behind the clearing: what is sent again meanwhile counts as handled by that
//! ```
//!
//! So other threads of the receiver's may grant and revoke at any time: what is handled was granted to who had the slot when it was sent, and nothing is
//! taken from a slot's next sender that is not handled. What was sent before [`REVOKE`] began may be handled behind its end; what is sent behind its end is not.

use crate::asyncos::FIRST;

/// `uintr_receiver(entry, stack, backend) -> fd`: the calling thread takes its user interrupts at `entry` (a multiple of 4) from now on, in the way of
/// the backend ([`AIA`], [`NUINTC`], [`SOFT`]), with `stack` in its scratch register; its interrupts are off at first. The descriptor is closed by `execve`.
///
/// Errors: `EINVAL` (also: no such backend), `EBUSY` (it is a receiver already), `ENODEV` (not in this world, not on this machine, or the command
/// line excludes it), `ENOMEM`, `EMFILE`.
pub const RECEIVER: usize = FIRST + 0x10;
/// `uintr_grant(receiver, vectors) -> fd`: a sender that may raise the vectors whose bits are set.
///
/// Errors: `EBADF`, `EINVAL` (no receiver, no vectors), `ENOSPC` (no slot), `ESRCH` (the thread has ended), `ENOMEM`, `EMFILE`.
pub const GRANT: usize = FIRST + 0x11;
/// `uintr_send(sender, vector) -> 0`: raises a vector by way of the kernel.
///
/// Errors: `EBADF`, `EINVAL` (no sender, no such vector), `EPERM` (not granted), `ESRCH` (revoked, or the thread has ended).
pub const SEND: usize = FIRST + 0x12;
/// For [`SEND`], in the place of a vector: none is raised; the receiver is told of those that are set in the word, as by the doorbell.
pub const RING: usize = usize::MAX;
/// `uintr_wait(ns) -> 0`: waits until something may have arrived for the calling thread, also while it keeps its interrupts off; at most so many
/// nanoseconds, or without limit ([`FOREVER`]).
///
/// Errors: `EINVAL` (not a receiver), `ETIMEDOUT`, `EINTR`.
pub const WAIT: usize = FIRST + 0x13;
/// `uintr_revoke(receiver, sender) -> 0`: ends a sender's right; when it has returned, nothing that is sent by it from then on reaches a handler.
///
/// Errors: `EBADF`, `EINVAL` (not a receiver and a sender of it), `ESRCH` (it has ended already).
pub const REVOKE: usize = FIRST + 0x14;

/// `uintr_return()`: ends a handler that the kernel has entered ([`SOFT`]): what was interrupted goes on, unless another interrupt is pending. Does
/// not return.
///
/// Errors: `EINVAL` (the thread has no receiver of this backend).
pub const RETURN: usize = FIRST + 0x15;

/// `uintr_traps(causes) -> 0`: the calling thread, a receiver, takes exceptions itself from now on, at its `entry`: a bit for each cause, of [`TRAPS`]. Page faults
/// are those that would end in `SIGSEGV`. An exception while its interrupts are off, so in a handler, becomes a signal as ever.
///
/// Errors: `EINVAL` (not a receiver; other bits).
pub const SET_TRAPS: usize = FIRST + 0x16;
/// Causes (`scause`) for [`SET_TRAPS`]: illegal instruction, breakpoint, misaligned load and store, page fault of a fetch, a load, a store.
pub const TRAPS: usize = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 12 | 1 << 13 | 1 << 15;

/// `uintr_timer(ns) -> 0`: the bit of [`TIMER_SLOT`] in [`PENDING`] is set at that time of the monotonic clock, once, and the thread has to look at everything; [`FOREVER`]: not
/// any more. A later call replaces an earlier one. A thread whose [`TIMEBASE`] is not 0 has a timer of its own instead: `stimecmp`.
///
/// Errors: `EINVAL` (not a receiver; it has a timer of its own).
pub const TIMER: usize = FIRST + 0x17;

/// `uintr_ring(ring, sender, vector) -> 0`: whenever requests of an `io_uring` complete later than they were submitted, the vector is raised, behind the completions, unless
/// `IORING_CQ_EVENTFD_DISABLED` is set in the ring's flags. If the receiver is a thread of the caller's process, it completes reads that have become ready itself, before
/// it goes on, while it runs. It takes the place of a registered eventfd, and `IORING_UNREGISTER_EVENTFD` ends it. Behind completions that find the bit set nobody rings once more: whoever else sets it
/// rings behind that, as ever, or they wait for who does.
///
/// Errors: `EBADF`, `EINVAL` (no ring, no sender, no such vector), `EPERM` (not granted), `EBUSY` (the ring tells somebody already).
pub const COMPLETIONS: usize = FIRST + 0x18;

/// For [`RECEIVER`]: guest interrupt files and the supervisor's registers of VS-mode, in world `vm`. `stopei` tells the slots.
pub const AIA: usize = 1;
/// For [`RECEIVER`]: the CSRs of N and the controller of `docs/nuintc.md`, in the worlds `table` and `shared`. The page [`CLAIM`] tells the slots.
/// [`STATUS`] has [`FLOATS`] set from the thread's first use of floating point on, and nothing else.
pub const NUINTC: usize = 2;
/// For [`RECEIVER`]: the kernel enters the handler on the way to user mode, in every world. The thread's registers are in its control page.
pub const SOFT: usize = 3;

/// No limit for [`WAIT`].
pub const FOREVER: usize = usize::MAX;

/// Vectors of a receiver, 0 to this, exclusive; 0 is the most urgent.
pub const VECTORS: usize = 64;
/// Slots of a receiver: senders have those from 1 to this, exclusive. What a doorbell is told.
pub const SLOTS: usize = 64;

/// Pages of a receiver's mapping: its control page, then the word page of each slot from 1 on, in which nothing is set while the slot is nobody's.
/// Behind them, for [`NUINTC`], the page that claims.
pub const RECEIVER_PAGES: usize = SLOTS + 1;
/// Number of the page that claims: its first 32 bits are read to learn of a slot that rang, 0: of none.
pub const CLAIM: usize = SLOTS;
/// Pages of a sender's mapping: its word page, its doorbell.
pub const SENDER_PAGES: usize = 2;

/// In the control page: an entry for each slot, with the vectors that were granted to it (64 bits; 0: none). The kernel writes it, and goes by its
/// own copy.
pub const GRANTED: usize = 0;
/// Bytes of an entry.
pub const ENTRY: usize = 16;
/// In an entry, 32 bits: another number whenever what is granted to the slot changes, before it does and behind that.
pub const CHANGE: usize = 8;

/// In the control page of a [`SOFT`] receiver, 32 bits: [`ON`], [`BEFORE`], [`FLOATS`]. A handler begins with `ON` clear.
pub const STATUS: usize = 0x400;
/// 64 bits: the slots that were rung and not looked at, a bit each; of a receiver of another backend, the timer's bit alone. The kernel sets them, the program swaps them with 0. A program that sets [`ON`]
/// looks here behind it, and calls [`WAIT`] if something is pending: the handler is entered on the way back.
pub const PENDING: usize = 0x408;
/// 64 bits: what the kernel swaps with the stack pointer when it enters the handler, and when that returns.
pub const SCRATCH: usize = 0x410;
/// 64 bits: where the handler returns to.
pub const EPC: usize = 0x418;
/// 64 bits: what the handler's return loads into `a7`, which it needs itself.
pub const SAVED_A7: usize = 0x420;
/// 64 bits: why the handler was entered: [`INTERRUPT`], or an exception of [`SET_TRAPS`].
pub const CAUSE: usize = 0x428;
/// 64 bits: the address of a page fault or a misaligned access.
pub const VALUE: usize = 0x430;

/// 64 bits: ticks of `time` a second, if the thread can write `stimecmp`; else 0. The kernel writes it.
pub const TIMEBASE: usize = 0x438;

/// The slot that is nobody's: in [`PENDING`], its bit is the timer's, whatever the backend.
pub const TIMER_SLOT: usize = 0;

/// In [`CAUSE`]: something is pending.
pub const INTERRUPT: usize = 1 << 63;

/// In [`STATUS`]: interrupts are let in.
pub const ON: u32 = 1;
/// In [`STATUS`]: they were before the handler was entered, and are behind its return.
pub const BEFORE: u32 = 2;
/// In [`STATUS`], for the handler: the interrupted code has used floating point.
pub const FLOATS: u32 = 4;

/// In a word page: the vectors that were raised and not taken, a bit each.
pub const WORD: usize = 0;
/// In a word page, 32 bits: what is to be stored to the doorbell.
pub const SLOT: usize = 64;
/// In a word page, 32 bits: not 0 when the right has ended. The kernel writes it, for the sender to see.
pub const CLOSED: usize = 68;
/// In a word page, 32 bits: not 0 while the receiver sleeps where no doorbell is heard, or where a store to this one's would be a trap: always, for [`SOFT`]. Who has set a bit of the word fences (`fence rw, rw`), looks here,
/// and calls [`SEND`] with [`RING`] instead of storing to the doorbell if this is set. Not with the vector: that would raise it again, and the receiver may have
/// taken it meanwhile. The kernel writes it.
pub const ASLEEP: usize = 72;
/// In a word page: from here to its end it is the sender's and the receiver's, all zero when the right begins. Nobody else reads or writes it.
pub const AREA: usize = 128;
