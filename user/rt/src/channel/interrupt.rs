//! A side that does not wait: what it is bound to is raised for the next message.
//!
//! While it listens, the memory says so, and which binding that is of: whoever has found the doorbell of one asks the kernel anew when another is said. Any
//! value there is answered by that: one call for each change.

use super::{Channel, Message, Received, broken};
use crate::io::Result;
use crate::sys::{self, OwnedFd};
use crate::uintr::{Receiver, Right, Sender};
use abi::channel as at;
use channel::{BINDING, MESSAGE, RUNS};

impl<S: Message, R: Message> Channel<S, R> {
    /// Has what rings this side raise a vector of the receiver as well, while it [listens](Channel::listen): from the next time it does so on, if it was
    /// bound to another before.
    ///
    /// # Errors
    /// As [`Receiver::grant`]; `EINVAL`: there is no such vector.
    pub fn bind(&mut self, receiver: &Receiver, vector: u32) -> Result<()> {
        let right = receiver.grant(1_u64.checked_shl(vector).unwrap_or(0))?;
        let arguments = [self.fd.fd().raw() as usize, right.fd().raw() as usize, vector as usize];
        // SAFETY: no pointers. The kernel keeps the right; its descriptor may go.
        self.binding = unsafe { sys::call6(at::BIND, sys::pad(arguments)) }? as u32;
        Ok(())
    }

    /// Goes on without waiting: the next message raises the vector that this side is [bound](Channel::bind) to. `false`: one is there already. A wait of this
    /// side's, also one for room in a [`send`](Channel::send), ends that: listen again behind it.
    ///
    /// # Errors
    /// `EPROTO`.
    pub fn listen(&mut self) -> Result<bool> {
        self.side.waits(&self.memory, MESSAGE | RUNS | self.binding << BINDING);
        self.inbox.is_empty(&Received(&self.memory)).map_err(broken)
    }

    /// Raises the other side's vector: by its doorbell, of which the kernel is asked once for each binding. If that cannot be, the kernel does, and wakes it
    /// if it sleeps by now.
    pub(super) fn interrupt(&mut self, binding: u32) {
        if self.peer.as_ref().is_none_or(|(_, _, known)| *known != binding) {
            self.peer = self.find_peer().ok().map(|(sender, vector)| (sender, vector, binding));
        }
        match &self.peer {
            Some((sender, vector, _)) if sender.send(*vector).is_ok() => {}
            _ => self.wake(),
        }
    }

    fn find_peer(&self) -> Result<(Sender, u32)> {
        // SAFETY: no pointers.
        let found = unsafe { sys::call6(at::PEER, sys::pad([self.fd.fd().raw() as usize])) }?;
        let right = Right::from_fd(OwnedFd::new(found & 0xffff_ffff));
        Ok((Sender::open(right)?, (found >> 32) as u32))
    }
}
