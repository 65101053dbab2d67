//! The controller: which sender may interrupt which receiver, and which did.
//!
//! `enabled` is kept twice, by sender and by receiver, because a send looks along a row and a receiver's registers along a
//! column; each is the transpose of the other. `pending` is kept by receiver alone, and nothing is pending that is not
//! enabled. A context's line is a level: it is high while a sender is pending at the receiver that the context listens to.

use crate::registers::{CONTEXTS, Register, SLOTS, Side};

/// A set of contexts, a bit for each.
pub type Contexts = u8;

#[derive(Clone, Copy)]
struct Sender {
    uiid: u32,
    /// Whether the last send found a receiver.
    sent: bool,
    /// Receivers, a bit for each.
    enabled: u64,
}

#[derive(Clone, Copy)]
struct Receiver {
    uiid: u32,
    /// Senders, a bit for each.
    enabled: u64,
    /// Senders, a bit for each.
    pending: u64,
    /// The contexts that listen to it.
    listeners: Contexts,
}

impl Receiver {
    const fn is_raised(&self) -> bool {
        self.pending != 0
    }
}

/// The controller. Who shares it among harts puts a lock around it.
pub struct Matrix {
    senders: [Sender; SLOTS],
    receivers: [Receiver; SLOTS],
    /// The receiver of each context, 0 for none.
    listening: [u8; CONTEXTS],
}

impl Matrix {
    /// As after a reset: nothing is enabled, nobody listens.
    pub const fn new() -> Matrix {
        Matrix {
            senders: [Sender { uiid: 0, sent: false, enabled: 0 }; SLOTS],
            receivers: [Receiver { uiid: 0, enabled: 0, pending: 0, listeners: 0 }; SLOTS],
            listening: [0; CONTEXTS],
        }
    }

    /// The level of a context's line.
    #[inline(always)]
    pub fn line(&self, context: usize) -> bool {
        self.listening.get(context).is_some_and(|&slot| self.receivers[usize::from(slot) % SLOTS].is_raised())
    }

    /// Reads a register. The lines of the contexts that come with the value may have changed.
    #[inline(always)]
    pub fn read(&mut self, register: Register) -> (u32, Contexts) {
        let value = match register {
            Register::Claim(slot) => return self.claim(slot % SLOTS),
            Register::Send(slot) => u32::from(self.senders[slot % SLOTS].sent),
            Register::Listen(context) => self.listening.get(context).map_or(0, |slot| u32::from(*slot)),
            Register::Uiid(Side::Sender, slot) => self.senders[slot % SLOTS].uiid,
            Register::Uiid(Side::Receiver, slot) => self.receivers[slot % SLOTS].uiid,
            Register::Enable(Side::Sender, slot, first) => part(self.senders[slot % SLOTS].enabled, first),
            Register::Enable(Side::Receiver, slot, first) => part(self.receivers[slot % SLOTS].enabled, first),
            Register::Pending(Side::Receiver, slot, first) => part(self.receivers[slot % SLOTS].pending, first),
            Register::Pending(Side::Sender, slot, first) => {
                let bit = |at: usize| (self.receivers[(first + at) % SLOTS].pending >> (slot % SLOTS) & 1) << at;
                (0..32).fold(0, |bits, at| bits | bit(at) as u32)
            }
            Register::Reserved => 0,
        };
        (value, 0)
    }

    /// Writes a register. The lines of these contexts may have changed.
    #[inline(always)]
    pub fn write(&mut self, register: Register, value: u32) -> Contexts {
        match register {
            Register::Send(slot) => self.send(slot % SLOTS, value),
            Register::Listen(context) => self.listen(context, value),
            Register::Uiid(Side::Sender, slot) => self.name_sender(slot % SLOTS, value),
            Register::Uiid(Side::Receiver, slot) => self.name_receiver(slot % SLOTS, value),
            Register::Enable(side, slot, first) => self.write_bits(side, slot % SLOTS, first, value, Matrix::enable),
            Register::Pending(side, slot, first) => {
                self.write_bits(side, slot % SLOTS, first, value, Matrix::set_pending)
            }
            Register::Claim(_) | Register::Reserved => 0,
        }
    }

    /// Only receivers that the sender is enabled for are looked at: the others are none of its business, and it costs as
    /// much as it was granted.
    #[inline(always)]
    fn send(&mut self, slot: usize, uiid: u32) -> Contexts {
        let mut left = if uiid == 0 { 0 } else { self.senders[slot].enabled };
        while left != 0 {
            let receiver = &mut self.receivers[left.trailing_zeros() as usize];
            if receiver.uiid == uiid {
                receiver.pending |= 1 << slot;
                self.senders[slot].sent = true;
                return receiver.listeners;
            }
            left &= left - 1;
        }
        self.senders[slot].sent = false;
        0
    }

    #[inline(always)]
    fn claim(&mut self, slot: usize) -> (u32, Contexts) {
        let receiver = &mut self.receivers[slot];
        if receiver.pending == 0 {
            return (0, 0);
        }
        let sender = receiver.pending.trailing_zeros() as usize;
        receiver.pending &= receiver.pending - 1;
        (self.senders[sender].uiid, receiver.listeners)
    }

    fn listen(&mut self, context: usize, slot: u32) -> Contexts {
        let Some(listening) = self.listening.get_mut(context) else { return 0 };
        let bit = 1 << context;
        // Slot 0 is nobody's, so it stands for none; so does one that is not there.
        let slot = u8::try_from(slot).ok().filter(|slot| usize::from(*slot) < SLOTS).unwrap_or(0);
        self.receivers[usize::from(*listening) % SLOTS].listeners &= !bit;
        *listening = slot;
        if slot != 0 {
            self.receivers[usize::from(slot)].listeners |= bit;
        }
        bit
    }

    /// A name is a new owner: nothing of the last one's is left.
    #[inline(never)]
    fn name_sender(&mut self, slot: usize, uiid: u32) -> Contexts {
        self.senders[slot] = Sender { uiid, sent: false, enabled: 0 };
        let mut changed = 0;
        for receiver in &mut self.receivers {
            receiver.enabled &= !(1 << slot);
            receiver.pending &= !(1 << slot);
            changed |= receiver.listeners;
        }
        changed
    }

    #[inline(never)]
    fn name_receiver(&mut self, slot: usize, uiid: u32) -> Contexts {
        let listeners = self.receivers[slot].listeners;
        self.receivers[slot] = Receiver { uiid, enabled: 0, pending: 0, listeners };
        for sender in &mut self.senders {
            sender.enabled &= !(1 << slot);
        }
        listeners
    }

    #[inline(never)]
    fn write_bits(
        &mut self,
        side: Side,
        slot: usize,
        first: usize,
        value: u32,
        set: fn(&mut Matrix, usize, usize, bool),
    ) -> Contexts {
        let mut changed = 0;
        for at in 0..32 {
            let other = (first + at) % SLOTS;
            let (sender, receiver) = if side == Side::Sender { (slot, other) } else { (other, slot) };
            if sender != 0 && receiver != 0 {
                set(self, sender, receiver, value >> at & 1 != 0);
                changed |= self.receivers[receiver].listeners;
            }
        }
        changed
    }

    fn enable(&mut self, sender: usize, receiver: usize, on: bool) {
        put(&mut self.senders[sender].enabled, receiver, on);
        put(&mut self.receivers[receiver].enabled, sender, on);
        // What was sent under a right that is taken away does not arrive, and not under the next one either.
        self.receivers[receiver].pending &= self.receivers[receiver].enabled;
    }

    fn set_pending(&mut self, sender: usize, receiver: usize, on: bool) {
        put(&mut self.receivers[receiver].pending, sender, on);
        self.receivers[receiver].pending &= self.receivers[receiver].enabled;
    }
}

impl Default for Matrix {
    fn default() -> Matrix {
        Matrix::new()
    }
}

fn part(bits: u64, first: usize) -> u32 {
    (bits >> (first % SLOTS)) as u32
}

fn put(bits: &mut u64, at: usize, on: bool) {
    *bits = *bits & !(1 << at) | u64::from(on) << at;
}
