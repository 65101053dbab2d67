//! What who sends does himself.

use super::{Core, Stack, instant};
use crate::{connections::Handle, device::Adapter};
use hal::sync::SpinGuard;

impl Core {
    /// The time outside a round: the machine's, in this crate's tests that of the last round, which is theirs.
    fn time(&self) -> u64 {
        if cfg!(test) { self.now } else { hal::time::now().max(self.now) }
    }
}

impl Stack {
    /// Has a connection that may have something to send do so; on loopback has the peer take it, and answer if it does so at once. What is left
    /// after a bounded while, what begins or ends by it, and an earlier timer make the coroutine look.
    pub(crate) fn push(&self, mut guard: SpinGuard<'_, Core>, handle: Handle) {
        let core = &mut *guard;
        core.now = core.time();
        let now = instant(core.now);
        core.connections.send_one(&mut core.iface, &mut Adapter::sending(&*self.device), now, handle);
        let more = self.is_loopback() && self.receive(core);
        let settles = core.connections.take_changed();
        let is_early = core.connections.first_timer().is_some_and(|at| at < instant(core.asleep_until));
        // One that is about to look anyway sees it all.
        let kicks = core.asleep_until > 0 && (more || settles || is_early || core.connections.has_due());
        let told = core.connections.take_told();
        drop(guard);
        told.tell();
        if kicks {
            self.kick();
        }
    }
}
