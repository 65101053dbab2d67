//! User interrupts: which threads take them, and who may send them (note 0008).
//!
//! A [`Receiver`] is a thread that takes them, a [`Sender`] the right to raise some of its vectors; programs hold both as descriptors and map
//! their pages. What was sent is in the sender's word page, in memory that both share; here it is only told on. The thread's own part, its
//! registers, is in its coroutine ([`Taking`]).
//!
//! **Wake-up protocol.** Who has something for a receiver sets the word first, then rings: at the receiver's place, if it has one, under the lock of
//! `state`; else it has the thread look at all words. A place is given up under that lock; then the doorbells are taken back, the place is free, and
//! the kernel looks at the words and tells the thread if there is anything ([`Receiver`]'s `depart`): whatever was rung at the old place has set its word before. So it does not
//! matter where the thread is meanwhile. A thread that waits arms its place first, so that what is there already is told to it.

pub mod backends;
mod bell;
mod connected;
mod errands;
mod injected;
mod line;
mod places;
mod receiver;
mod sender;
mod slot;
mod taking;
#[cfg(test)]
mod tests;

pub use errands::{AT_ONCE, Errand, Old, Runner};
pub use line::Line;
pub use receiver::{Receiver, ReceiverFile};
pub use sender::{Sender, SenderFile};
pub(crate) use taking::Taking;
