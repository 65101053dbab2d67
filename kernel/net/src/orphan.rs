//! Connections that no descriptor refers to any more, until they have ended.
//!
//! What was written before the close is still delivered, within [`LINGER`]. After an orderly end the
//! connection stays a short while to acknowledge the peer's last segment once more if that was lost,
//! at most [`TIME_WAIT_MOST`] of them, because each holds its buffers.

use crate::connections::{Connections, Handle};
use alloc::vec::Vec;
use mem::Charge;
use smoltcp::socket::tcp;

/// Nanoseconds an orphan has to deliver its data and hear the peer's end.
const LINGER: u64 = 60_000_000_000;
/// Nanoseconds a connection that ended in order is remembered.
const TIME_WAIT: u64 = 100_000_000;
/// Connections remembered at a time.
const TIME_WAIT_MOST: usize = 16;

#[derive(Default)]
pub(crate) struct Orphans {
    list: Vec<Orphan>,
}

struct Orphan {
    handle: Handle,
    deadline: u64,
    time_wait: bool,
    /// Held for the buffers until they are freed.
    _charge: Charge,
}

impl Orphans {
    pub fn add(&mut self, handle: Handle, charge: Charge, now: u64) {
        self.list.push(Orphan { handle, deadline: now + LINGER, time_wait: false, _charge: charge });
    }

    /// Forgets an orphan; false if `handle` is not one.
    pub fn remove(&mut self, handle: Handle) -> bool {
        let found = self.list.iter().position(|orphan| orphan.handle == handle);
        found.map(|index| self.list.swap_remove(index)).is_some()
    }

    /// When `reap` has something to do at the latest.
    pub fn deadline(&self) -> Option<u64> {
        self.list.iter().map(|orphan| orphan.deadline).min()
    }

    /// Frees the connections that ended.
    pub fn reap(&mut self, connections: &mut Connections, now: u64) {
        let mut remembered = 0;
        let mut index = self.list.len();
        while index > 0 {
            index -= 1;
            let orphan = &mut self.list[index];
            let socket = connections.socket(orphan.handle);
            let ended = match socket.state() {
                // The library forgets the peer once the reset was sent.
                tcp::State::Closed => socket.remote_endpoint().is_none() || now >= orphan.deadline,
                tcp::State::TimeWait => {
                    if !orphan.time_wait {
                        orphan.time_wait = true;
                        orphan.deadline = now + TIME_WAIT;
                    }
                    remembered += 1;
                    now >= orphan.deadline || remembered > TIME_WAIT_MOST
                }
                _ => {
                    // Nobody reads any more: data that still comes, or no end in time, means a reset.
                    if socket.can_recv() || now >= orphan.deadline {
                        socket.abort();
                        connections.touch(orphan.handle);
                        orphan.deadline = now + TIME_WAIT;
                    }
                    false
                }
            };
            if ended {
                connections.remove(orphan.handle);
                self.list.swap_remove(index);
            }
        }
        if self.list.is_empty() {
            self.list = Vec::new();
        }
    }
}
