//! What a process and the kernel tell each other about slots (note 0003, section 5): two pages of the window, in words.
//!
//! ```text
//! HINT    a word a place      the count of `sched::slots::Seat`
//!         HINTS + 16 a slot   two addresses: the worker's ready bits (8 bytes), what it runs at (4 bytes, the low one counts)
//!         CENSUS              address of the lists of chunks that its coroutines lie in (`sched::census`); 0: it has none
//!         PREEMPTION          a word a place: what the poll that its thread is in is preempted for. 0: others as urgent, and more
//!                             urgent ones; 1: more urgent ones; else nothing
//! STATUS  16 bytes a slot     OWNER: the place that has it, from 1; KICKED; STANDS: what its thread stands at
//!                             in the kernel; LOW: the same if that is less urgent than it may, else 0
//!         SPARES              how many threads wait for a slot
//!         FEW                 0, or few threads are left: the least urgent priority that a preempted one polls at, from 1
//!         WATCHED             not zero: somebody wants to know what the coroutines' polls take
//!         AWAYS               how many threads go on in a poll without a slot
//!         AWAY                a word a place: the number of the coroutine that its thread polls without a slot, modulo 2^32; 0 if it does not
//! ```
//!
//! The kernel believes none of the hints: an address that leads nowhere says nothing.

/// Offset in the hint page of the addresses.
pub const HINTS: usize = 0x200;
/// Offset in the hint page.
pub const CENSUS: usize = 0x300;
/// Offset in the hint page.
pub const PREEMPTION: usize = 0x400;
/// Bytes from one slot to the next, in either page.
pub const STRIDE: usize = 16;
/// Offsets in a slot's part of the status page.
pub const OWNER: usize = 0;
/// Likewise.
pub const KICKED: usize = 4;
/// Likewise.
pub const STANDS: usize = 8;
/// Likewise.
pub const LOW: usize = 12;
/// Offset in the status page.
pub const SPARES: usize = 0x200;
/// Likewise.
pub const FEW: usize = 0x204;
/// Likewise.
pub const WATCHED: usize = 0x208;
/// Likewise.
pub const AWAYS: usize = 0x20c;
/// Likewise.
pub const AWAY: usize = 0x300;
