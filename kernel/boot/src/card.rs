//! The virtio network card as the TCP/IP stack wants it: frames lent, never waited for.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll};
use hal::sync::{SpinLock, rank};
use io::faults::{self, Mishap};
use net::{Link, NetDevice};
use virtio::{MAX_PACKET, Net, Transport};

/// Bytes of an Ethernet header.
const ETHERNET_HEADER: usize = 14;
/// What an Ethernet header says at its end where IPv4 follows.
const IPV4: [u8; 2] = [8, 0];
/// Where an IPv4 header says how long the packet is (RFC 791, section 3.1).
const IPV4_LENGTH: core::ops::Range<usize> = 2..4;

/// A card that stays for as long as the machine runs.
pub struct Card<T: Transport + 'static> {
    driver: &'static Net<T>,
    /// One packet each way, so that none is allocated for each.
    incoming: SpinLock<[u8; MAX_PACKET]>,
    outgoing: SpinLock<[u8; MAX_PACKET]>,
    /// A packet found no room; `poll_ready` is to tell when there is some again.
    starved: AtomicBool,
}

impl<T: Transport> Card<T> {
    /// The card of a driver.
    pub fn new(driver: &'static Net<T>) -> Self {
        Self {
            driver,
            incoming: SpinLock::new(rank::NETWORK + 1, [0; MAX_PACKET]),
            outgoing: SpinLock::new(rank::NETWORK + 2, [0; MAX_PACKET]),
            starved: AtomicBool::new(false),
        }
    }
}

/// Turns a bit in the last byte that an IPv4 packet carries, which the checksum of TCP has to find. Other packets, and what the frame is filled up with, are left alone.
fn damage(frame: &mut [u8]) {
    if let Some((header, packet)) = frame.split_at_mut_checked(ETHERNET_HEADER)
        && header.ends_with(&IPV4)
        && let Some(&[high, low]) = packet.get(IPV4_LENGTH)
        && let Some(last) = usize::from(u16::from_be_bytes([high, low])).checked_sub(1)
        && let Some(byte) = packet.get_mut(last)
    {
        *byte ^= 1;
    }
}

impl<T: Transport + Send + 'static> NetDevice for Card<T> {
    fn link(&self) -> Link {
        Link::Ethernet(self.driver.mac())
    }

    fn mtu(&self) -> usize {
        MAX_PACKET - ETHERNET_HEADER
    }

    fn receive(&self, take: &mut dyn FnMut(&[u8])) -> bool {
        let mut packet = self.incoming.lock();
        match self.driver.receive(&mut packet) {
            Ok(Some(len)) => {
                let packet = &mut packet[..len.min(MAX_PACKET)];
                match faults::mishap() {
                    None => take(packet),
                    Some(Mishap::Lost) => {}
                    Some(Mishap::Doubled) => (0..2).for_each(|_| take(packet)),
                    Some(Mishap::Damaged) => {
                        damage(packet);
                        take(packet);
                    }
                }
                true
            }
            // A broken card is silent.
            Ok(None) | Err(_) => false,
        }
    }

    fn can_transmit(&self) -> bool {
        let room = matches!(self.driver.reserve(), Ok(Some(_)));
        if !room {
            // Relaxed: the stack's coroutine reads it behind its own look, and it alone takes it back: who sends meanwhile and finds room may take that from what the coroutine
            // could not send.
            self.starved.store(true, Relaxed);
        }
        room
    }

    fn transmit(&self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        if len > MAX_PACKET {
            return;
        }
        let Ok(Some(slot)) = self.driver.reserve() else {
            self.starved.store(true, Relaxed);
            return;
        };
        let mut packet = self.outgoing.lock();
        fill(&mut packet[..len]);
        let packet = &mut packet[..len];
        match faults::mishap() {
            None => {}
            Some(Mishap::Lost) => return,
            Some(Mishap::Doubled) => {
                if let Ok(Some(slot)) = self.driver.reserve() {
                    let _ = slot.send(packet);
                }
            }
            Some(Mishap::Damaged) => damage(packet),
        }
        // Lost packets are sent again by those who care.
        let _ = slot.send(packet);
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.driver.poll_receive(context).is_ready() {
            return Poll::Ready(());
        }
        if self.starved.load(Relaxed) && self.driver.poll_transmit(context).is_ready() {
            self.starved.store(false, Relaxed);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
