//! The loopback device: what is sent is received, in order, through the same stack as everything else.
//!
//! It wakes nobody: whoever sends does so under the stack's lock and looks afterwards whether there is something to receive, in a round of the stack's work or in a push.

use crate::device::{Link, NetDevice};
use alloc::{collections::VecDeque, vec::Vec};
use core::task::{Context, Poll};
use hal::sync::SpinLock;
use mem::Room;

/// Packets under way at most; more are dropped as on any wire.
const QUEUE: usize = 256;
/// Emptied packet buffers kept for reuse.
const SPARE: usize = 16;
/// Largest packet: what an IPv4 header can say.
const MTU: usize = 65_535;

/// A queue of packets that come back.
pub struct Loopback {
    packets: SpinLock<Packets>,
}

struct Packets {
    queue: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Loopback {
    /// An empty loopback device.
    #[must_use]
    pub fn new() -> Self {
        let packets = Packets { queue: VecDeque::new(), spare: Vec::new() };
        Self { packets: SpinLock::new(crate::stack::rank::DEVICE, packets) }
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}

impl NetDevice for Loopback {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn mtu(&self) -> usize {
        MTU
    }

    fn receive(&self, take: &mut dyn FnMut(&[u8])) -> bool {
        let Some(mut packet) = self.packets.lock().queue.pop_front() else {
            return false;
        };
        take(&packet);
        let mut packets = self.packets.lock();
        // Buffers of full size are not kept: memory goes back when traffic ends.
        if packets.spare.len() < SPARE && packet.capacity() <= 2048 {
            packet.clear();
            packets.spare.push(packet);
        }
        true
    }

    fn can_transmit(&self) -> bool {
        self.packets.lock().queue.len() < QUEUE
    }

    fn transmit(&self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut packet = {
            let mut packets = self.packets.lock();
            if packets.queue.len() >= QUEUE {
                return;
            }
            packets.spare.pop().unwrap_or_default()
        };
        if packet.make_exact_room(len).is_err() {
            return;
        }
        packet.resize(len, 0);
        fill(&mut packet);
        self.packets.lock().queue.push_back(packet);
    }

    fn poll_ready(&self, _context: &mut Context<'_>) -> Poll<()> {
        if self.packets.lock().queue.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}
