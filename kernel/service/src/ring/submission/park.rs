//! Requests that wait: as a record, at a device, or in a coroutine.

use super::{
    super::{
        Ring,
        coroutine::{self, Start},
        operation::{Operation, Step},
        request::Entry,
        retry::{self, Parked, Reading},
        select::Select,
        ticket::{Chain, Ticket},
        transfer::{AtDevice, Transfer},
        urgency::Urgency,
        waits::Waits,
    },
    Submission,
};
use crate::context::Task;
use abi::io_uring::Sqe;
use alloc::{boxed::Box, sync::Arc};
use mem::Room;

impl Submission<'_, '_, '_> {
    /// It is done, or waits.
    #[inline]
    pub(super) fn settle(&mut self, entry: &Sqe, transfer: Transfer, step: Step) {
        let entry = Entry::silent(entry);
        match step {
            Step::Done(done) => self.complete(entry, done),
            Step::Waits(Waits::Device(device)) if self.urgency.is_usual(self.task.thread()) => {
                self.park_at_device(entry, Operation::Transfer(transfer), device);
            }
            Step::Waits(waits) => self.park(entry, Operation::Transfer(transfer), waits, Chain::default()),
        }
    }

    /// [`park`](Self::park) for what stands alone and a device carries out: there may be many in a poll.
    fn park_at_device(&mut self, entry: Entry, operation: Operation, device: Box<AtDevice>) {
        self.taker.give_places(1);
        self.taker.show_taken();
        if let Some(parked) = begin_at_device(self.task, self.ring, entry, operation, device) {
            self.keep_parked(parked);
        }
    }

    /// Begins one that reads again and again, if it needs no coroutine.
    pub(super) fn begin_stream(&mut self, select: Select, entry: Entry) -> bool {
        if !self.urgency.is_usual(self.task.thread()) {
            return false;
        }
        let Some((stream, open)) = select.as_stream(self.task, self.ring) else { return false };
        // Those before it are completed before it.
        self.post_some();
        self.taker.show_taken();
        let moved = retry::park(self.task, self.ring, entry, &open, || Reading::Again(stream));
        if let Some(moved) = moved {
            self.taker.give_places(1);
            self.moved += moved;
        }
        moved.is_some()
    }

    /// A request waits, and what is linked behind it with it.
    #[inline(never)]
    pub(super) fn park(&mut self, entry: Entry, operation: Operation, waits: Waits, rest: Chain) {
        if let Waits::Readiness(..) = waits {
            return self.park_poll(entry, operation, waits, rest);
        }
        self.taker.give_places(1);
        self.taker.show_taken();
        let begun = begin_to_wait(self.task, self.ring, (entry, self.urgency), (operation, waits), rest);
        if let Some(parked) = begun {
            self.keep_parked(parked);
        }
    }

    /// The same for a poll. What holds already is told by one that goes on behind what is done before it, and as what comes later is: where the submitter is to ask for that, it is to ask for this.
    #[inline(never)]
    fn park_poll(&mut self, entry: Entry, operation: Operation, waits: Waits, rest: Chain) {
        self.post_some();
        self.taker.give_places(1);
        self.taker.show_taken();
        let (task, ring, urgency) = (self.task, self.ring, self.urgency);
        // None is for a device.
        let _ = ring.later_than_call(|| begin_to_wait(task, ring, (entry, urgency), (operation, waits), rest));
    }

    /// It begins with others, at the end of the poll.
    fn keep_parked(&mut self, parked: Parked) {
        if self.parked.make_room(1).is_err() {
            self.moved += parked.begin();
            return;
        }
        self.parked.push(parked);
    }

    #[inline]
    pub(super) fn begin_parked(&mut self) {
        if !self.parked.is_empty() {
            self.begin_all_parked();
        }
    }

    #[inline(never)]
    fn begin_all_parked(&mut self) {
        self.moved += self.parked.drain(..).map(Parked::begin).sum::<usize>();
    }
}

/// A request waits, with its urgency, and what is linked behind it: as a record, or in a coroutine. One that waits for a device begins when the
/// caller has it. Inlined: what it is given is large to be moved.
#[inline(always)]
pub(super) fn begin_to_wait(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (entry, urgency): (Entry, Urgency),
    (operation, waits): (Operation, Waits),
    rest: Chain,
) -> Option<Parked> {
    // Records are all as urgent as their submitter.
    if rest.len() == 0 && urgency.is_usual(task.thread()) {
        if waits_as_record(task, ring, entry, &waits) {
            return None;
        }
        if let Waits::Device(device) = waits {
            return begin_at_device(task, ring, entry, operation, device);
        }
    }
    waits_in_coroutine(task, ring, (entry, urgency), (operation, waits), rest);
    None
}

#[inline(never)]
fn waits_in_coroutine(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    (entry, urgency): (Entry, Urgency),
    (operation, waits): (Operation, Waits),
    rest: Chain,
) {
    let ticket = Ticket::new(ring, entry, urgency);
    coroutine::spawn(task, ring, Start::Waits(ticket, operation.about(), waits), rest);
}

/// What a device does waits without a coroutine, if it can.
#[inline(never)]
fn begin_at_device(
    task: &Task<'_>,
    ring: &Arc<Ring>,
    entry: Entry,
    operation: Operation,
    device: Box<AtDevice>,
) -> Option<Parked> {
    match retry::park_device(task, ring, entry, device) {
        Ok(parked) => Some(parked),
        Err(device) => {
            let entry = (entry, Urgency::USUAL);
            waits_in_coroutine(task, ring, entry, (operation, Waits::Device(device)), Chain::default());
            None
        }
    }
}

/// Has a read or a poll wait without a coroutine; `false`: it needs one.
#[inline(always)]
fn waits_as_record(task: &Task<'_>, ring: &Arc<Ring>, entry: Entry, waits: &Waits) -> bool {
    if let Waits::Readiness(readiness, open) = waits {
        return retry::park_poll(task, ring, entry, open, *readiness).is_some();
    }
    let Waits::Transfer(transfer, open, buffer) = waits else { return false };
    let reading = || Reading::Once(*transfer, buffer.clone());
    transfer.is_one_read() && retry::park(task, ring, entry, open, reading).is_some()
}
