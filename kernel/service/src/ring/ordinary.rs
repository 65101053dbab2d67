//! Ordinary system calls that nobody waits for (`abi::asyncos::ASYNC`, D4): the same futures as when a thread waits, with another way in. The
//! result is a completion in the ring that the process has named.

use super::{
    Ring,
    begun::{Begun, Body},
    coroutine::{self, Start},
    operation::{About, Done, Step},
    request::{Entry, Mark},
    ring_of,
    ticket::{Chain, Ticket},
    urgency::Urgency,
    waits::Waits,
};
use crate::{
    System,
    arguments::Args,
    context::{OfRequest, Task, Whose},
    dispatch,
};
use abi::{
    asyncos::{CQE_WIDE, CQE_WIDE_SHIFT},
    errno::Errno,
    io_uring::IORING_SETUP_R_DISABLED,
};
use alloc::sync::Arc;
use process::{Call, Outcome, Thread};
use trace::Work;

/// No entry has this opcode.
const NONE: u8 = u8::MAX;

/// `name_ring(fd)`.
pub(crate) async fn name(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let open = match args.int(0) {
        -1 => None,
        fd => Some(task.file(fd)?),
    };
    open.as_deref().map(ring_of).transpose()?;
    task.process().name_ring(open.as_ref());
    Ok(0)
}

/// Makes a call a request of the process's ring, and serves it as far as that goes at once. `answered`: what it comes to is known.
pub(crate) fn register_call(
    system: &System,
    thread: &Arc<Thread>,
    call: &Call,
    token: u64,
    answered: Option<u32>,
) -> Result<(), Errno> {
    let args = Args(call.args);
    // Who has named none does not know of the bit: to such a program this is a call that does not exist.
    let open = thread.process().ring().ok_or(Errno::ENOSYS)?;
    dispatch::may_be_asynchronous(call.number, &args)?;
    let ring = ring_of(&open)?;
    if ring.has(IORING_SETUP_R_DISABLED) {
        return Err(Errno::EBADFD);
    }
    if ring.issuer_is_another(thread) {
        return Err(Errno::EEXIST);
    }
    let task = Task::new(system, thread, thread.space());
    let body = Body::Ordinary(call.number, args);
    let view = OfRequest { is_call: true, ..OfRequest::default() };
    let begun = match answered {
        Some(_) => None,
        None => Some(Begun::new(body, &task, ring, token, view).map_err(|_| Errno::EAGAIN)?),
    };
    if ring.reserve(1) == 0 {
        return Err(Errno::EAGAIN);
    }
    let number = hal::record::submit(Work::Call(call.number as u32));
    let entry = Entry { user_data: token, mark: Mark::new(0, number) };
    let mut ticket = Ticket::new(ring, entry, Urgency::USUAL);
    let step = match begun {
        Some(begun) => begun.begin(body, &task),
        None => Step::Done(done(answered.map_or(0, |id| id as isize))),
    };
    match step {
        Step::Done(done) => ticket.complete(done),
        Step::Waits(waits) => wait(&task, ring, ticket, waits),
    }
    Ok(())
}

fn wait(task: &Task<'_>, ring: &Arc<Ring>, ticket: Ticket, waits: Waits) {
    let about = About { opcode: NONE, file: 0 };
    coroutine::spawn(task, ring, Start::Waits(ticket, about, waits), Chain::default());
}

/// The call, to its end.
pub(super) async fn serve(task: &Task<'_>, number: usize, args: Args) -> Done {
    if let Some(result) = dispatch::at_once(task, number, &args) {
        return done(result.map_or_else(Errno::to_return, |value| value as isize));
    }
    let Some(served) = dispatch::waiting(Whose::Request(task), number, args) else {
        task.system.unknown.count(number);
        return Done::failed(Errno::ENOSYS);
    };
    // It lies in a box of its own.
    let Ok(_charge) = task.caller().account.charge(size_of_val(&*served)) else { return Done::failed(Errno::ENOMEM) };
    match served.await {
        Outcome::Value(value) => done(value),
        // It was told to end, and has done nothing. No call that replaces registers comes here.
        Outcome::Restart(_) | Outcome::Registers => Done::failed(Errno::EINTR),
    }
}

/// What a call answers, in a completion: as `abi::asyncos::result` reads it.
fn done(value: isize) -> Done {
    if let Ok(value) = i32::try_from(value) {
        return Done::with(value);
    }
    match u32::try_from(value >> 32) {
        Ok(upper) if upper < CQE_WIDE >> CQE_WIDE_SHIFT => {
            Done { result: value as i32, fails: false, flags: upper << CQE_WIDE_SHIFT | CQE_WIDE }
        }
        _ => Done::failed(Errno::EOVERFLOW),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::asyncos::result;

    #[test]
    fn what_a_call_answers_is_read_as_it_was() {
        let most = (1 << 55) - 1;
        for value in [0, 1, -1, -4095, i32::MAX as isize, i32::MAX as isize + 1, 1 << 32, 0xffff_f001, most] {
            let Done { result: res, flags, fails } = done(value);
            assert_eq!((result(res, flags), fails), (value as i64, value < 0));
            assert_eq!(flags == 0, i32::try_from(value).is_ok());
            // None of those that say how a request goes on.
            assert_eq!(flags & 0xff, 0);
        }
        assert_eq!(done(most + 1), Done::failed(Errno::EOVERFLOW));
    }
}
