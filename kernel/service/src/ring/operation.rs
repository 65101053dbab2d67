//! What an entry asks for: the checks that make it a request, and what it does.

use super::{
    Ring,
    calls::Call,
    cancel::Cancel,
    fields,
    notify::Message,
    own::Own,
    readiness::{Readiness, Update},
    select::{self, Select},
    timeout::{Change, Timeout},
    transfer::Transfer,
    waits::Waits,
};
use crate::{context::Task, given::Given, sockets};
use abi::{errno::Errno, io_uring::*};
use alloc::{boxed::Box, sync::Arc};
use io::{file::IoError, open::OpenFile};

/// What an operation is like.
struct Kind {
    opcode: u8,
    /// It has a priority, or flags in its place.
    ioprio: bool,
}

const fn kind_of(opcode: u8, ioprio: bool) -> Kind {
    Kind { opcode, ioprio }
}

/// The operations that are there, the hot ones first; and those that are system calls.
const KINDS: &[Kind] = &[
    kind_of(IORING_OP_NOP, false),
    kind_of(IORING_OP_READ, true),
    kind_of(IORING_OP_WRITE, true),
    kind_of(IORING_OP_READV, true),
    kind_of(IORING_OP_WRITEV, true),
    kind_of(IORING_OP_READ_FIXED, true),
    kind_of(IORING_OP_WRITE_FIXED, true),
    kind_of(IORING_OP_ASYNC_CANCEL, false),
    kind_of(IORING_OP_TIMEOUT, false),
    kind_of(IORING_OP_TIMEOUT_REMOVE, false),
    kind_of(IORING_OP_LINK_TIMEOUT, false),
    kind_of(IORING_OP_POLL_ADD, false),
    kind_of(IORING_OP_POLL_REMOVE, false),
    kind_of(IORING_OP_MSG_RING, false),
];

/// All flags that an entry can have.
pub(super) const FLAGS: u8 = IOSQE_FIXED_FILE
    | IOSQE_IO_DRAIN
    | IOSQE_IO_LINK
    | IOSQE_IO_HARDLINK
    | IOSQE_ASYNC
    | IOSQE_BUFFER_SELECT
    | IOSQE_CQE_SKIP_SUCCESS;

/// Whether the operation is there, for a probe.
pub(super) fn is_known(opcode: u8) -> bool {
    kind(opcode).is_some() || call(opcode).is_some() || select::is_known(opcode)
}

fn kind(opcode: u8) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.opcode == opcode)
}

/// Whether a system call has flags in the place of a priority.
fn call(opcode: u8) -> Option<bool> {
    fields::OPERATIONS.iter().find(|(known, _)| *known == opcode).map(|(_, ioprio)| *ioprio)
}

/// A request: an entry that was checked, of which nothing is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Nothing, with this result.
    Nop(i32),
    /// Reading and writing.
    Transfer(Transfer),
    /// Ending others that wait.
    Cancel(Cancel),
    /// Waiting for a time.
    Timeout(Timeout),
    /// Removing or changing such a time.
    Change(Change),
    /// A limit of the time of the request before it in its chain, which looks for it.
    LinkTimeout(Timeout),
    /// Waiting for a descriptor.
    Readiness(Readiness),
    /// Changing or removing such a wait.
    Update(Update),
    /// A completion for another ring.
    Message(Message),
    /// A system call.
    Call(Call),
    /// Reading into a buffer that is chosen when there is something to read.
    Select(Select),
}

/// What a request is about, for who cancels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub opcode: u8,
    /// Where the description lies that it waits for, or 0: it keeps that, so that no other can lie there.
    pub file: usize,
}

pub(super) fn place_of(open: &Arc<OpenFile>) -> usize {
    Arc::as_ptr(open).addr()
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The result.
    pub result: i32,
    /// It is an end of its chain: an error, or less than was asked for.
    pub fails: bool,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
}

/// Whether a completion of such an operation says whether there is more.
pub(super) fn says_whether_more(opcode: u8) -> bool {
    matches!(opcode, IORING_OP_RECV | IORING_OP_RECVMSG | IORING_OP_ACCEPT)
}

impl Done {
    /// With this result, which fails if it is an error.
    pub(super) fn with(result: i32) -> Self {
        Self { result, fails: result < 0, flags: 0 }
    }

    /// The same of an operation on this file: of what was received or accepted, with a word of whether there is more.
    pub(super) fn with_more(self, opcode: u8, open: &OpenFile) -> Self {
        if says_whether_more(opcode) && self.result >= 0 && sockets::has_more(open.file().as_ref()) {
            return Self { flags: self.flags | IORING_CQE_F_SOCK_NONEMPTY, ..self };
        }
        self
    }

    /// Failed.
    pub(super) fn failed(errno: Errno) -> Self {
        Self::with(errno.to_return() as i32)
    }
}

/// How far a request gets in the poll that submits it.
pub(super) enum Step {
    /// It is done.
    Done(Done),
    /// It waits: in a coroutine of its own.
    Waits(Waits),
}

/// The completion of an entry without flags, if it asks for nothing but that: the rest of the checks would find no fault with it.
#[inline(always)]
pub(super) fn done_at_once(entry: &Sqe) -> Option<Cqe> {
    let plain = entry.opcode == IORING_OP_NOP && entry.flags == 0 && entry.ioprio == 0;
    let completion = Cqe { user_data: entry.user_data, res: 0, flags: 0 };
    (plain && entry.personality == 0 && entry.op_flags == 0).then_some(completion)
}

/// Makes a request of an entry, in Linux's order of checks. Its flags are right.
///
/// # Errors
/// Why there is none: `EINVAL`, `EPERM`; what it says lies in memory that is not there.
#[inline]
pub(super) fn prepare(task: &Task<'_>, entry: &Sqe) -> Result<Operation, IoError> {
    let Some(kind) = kind(entry.opcode) else { return prepare_call(task, entry) };
    if !kind.ioprio && entry.ioprio != 0 {
        return Err(Errno::EINVAL.into());
    }
    match entry.opcode {
        IORING_OP_NOP => Ok(nop(entry)?),
        IORING_OP_READ
        | IORING_OP_WRITE
        | IORING_OP_READV
        | IORING_OP_WRITEV
        | IORING_OP_READ_FIXED
        | IORING_OP_WRITE_FIXED => Ok(Operation::Transfer(Transfer::prepare(task, entry)?)),
        _ => prepare_seldom(task, entry),
    }
}

#[inline(never)]
fn prepare_seldom(task: &Task<'_>, entry: &Sqe) -> Result<Operation, IoError> {
    match entry.opcode {
        IORING_OP_ASYNC_CANCEL => Ok(Operation::Cancel(Cancel::prepare(entry)?)),
        IORING_OP_TIMEOUT => Timeout::prepare(task, entry).map(Operation::Timeout),
        IORING_OP_LINK_TIMEOUT => Timeout::prepare(task, entry).map(Operation::LinkTimeout),
        IORING_OP_TIMEOUT_REMOVE => Change::prepare(task, entry).map(Operation::Change),
        IORING_OP_POLL_ADD => Ok(Operation::Readiness(Readiness::prepare(entry)?)),
        IORING_OP_MSG_RING => Ok(Operation::Message(Message::prepare(entry)?)),
        IORING_OP_POLL_REMOVE => Update::prepare(entry),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// The same for one that has a buffer chosen for it, or does nothing else.
#[inline(never)]
pub(super) fn prepare_select(entry: &Sqe) -> Result<Operation, IoError> {
    Ok(Operation::Select(Select::prepare(entry)?))
}

/// Counts an entry whose operation is not there. One that is there with a buffer of a group only is no such.
#[inline(never)]
pub(super) fn count_unknown(task: &Task<'_>, entry: &Sqe) {
    if !is_known(entry.opcode) {
        task.system.unknown.count_operation(entry.opcode);
    }
}

#[inline(never)]
fn prepare_call(task: &Task<'_>, entry: &Sqe) -> Result<Operation, IoError> {
    let Some(ioprio) = call(entry.opcode) else {
        count_unknown(task, entry);
        return Err(Errno::EINVAL.into());
    };
    if !ioprio && entry.ioprio != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Operation::Call(Call::prepare(entry)?))
}

fn nop(entry: &Sqe) -> Result<Operation, Errno> {
    match entry.op_flags {
        0 => Ok(Operation::Nop(0)),
        IORING_NOP_INJECT_RESULT => Ok(Operation::Nop(entry.len.cast_signed())),
        _ => Err(Errno::EINVAL),
    }
}

impl Operation {
    /// Does it, as far as that goes without waiting.
    #[inline]
    pub(super) fn run(self, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64) -> Step {
        match self {
            Operation::Nop(result) => Step::Done(Done::with(result)),
            Operation::Transfer(transfer) => transfer.run(task, ring),
            seldom => seldom.run_seldom(task, ring, user_data),
        }
    }

    /// The same of one that may have something of its own.
    #[inline]
    pub(super) fn run_own(self, task: &Task<'_>, own: Option<Box<Own>>, ring: &Arc<Ring>, user_data: u64) -> Step {
        match own {
            None => self.run(task, ring, user_data),
            Some(own) => self.run_with(task, *own, ring, user_data),
        }
    }

    #[cold]
    fn run_with(self, task: &Task<'_>, Own { rights, given }: Own, ring: &Arc<Ring>, user_data: u64) -> Step {
        let Some(rights) = rights else { return self.run_given(task, given, ring, user_data) };
        let task = &task.with_rights(rights);
        match self.run_given(task, given, ring, user_data) {
            Step::Waits(waits) => waits.with_rights(task, ring),
            done => done,
        }
    }

    fn run_given(self, task: &Task<'_>, given: Option<Box<Given>>, ring: &Arc<Ring>, user_data: u64) -> Step {
        match self {
            Operation::Call(call) => call.run(task, ring, user_data, given),
            Operation::Select(select) => select.run(task, ring, user_data, given),
            Operation::Transfer(transfer) => transfer.run_given(task, ring, given),
            other => other.run(task, ring, user_data),
        }
    }

    /// Apart, so that the others stay short.
    #[inline(never)]
    fn run_seldom(self, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64) -> Step {
        match self {
            Operation::Cancel(cancel) => cancel.run(task, ring),
            Operation::Timeout(timeout) => Step::Waits(Waits::Timeout(timeout)),
            Operation::Change(change) => change.run(ring),
            Operation::Readiness(readiness) => readiness.run(task, ring),
            Operation::Update(update) => update.run(ring),
            Operation::Message(message) => message.run(task, ring),
            Operation::Call(call) => call.run(task, ring, user_data, None),
            Operation::Select(select) => select.run(task, ring, user_data, None),
            // A limit is looked for by the request before it.
            Operation::Nop(_) | Operation::Transfer(_) | Operation::LinkTimeout(_) => {
                Step::Done(Done::failed(Errno::EINVAL))
            }
        }
    }

    /// For who cancels, before a file is looked for.
    pub(super) fn about(&self) -> About {
        let opcode = match self {
            Operation::Nop(_) => IORING_OP_NOP,
            Operation::Transfer(transfer) => transfer.opcode(),
            Operation::Cancel(_) => IORING_OP_ASYNC_CANCEL,
            Operation::Timeout(_) => IORING_OP_TIMEOUT,
            Operation::Change(_) => IORING_OP_TIMEOUT_REMOVE,
            Operation::LinkTimeout(_) => IORING_OP_LINK_TIMEOUT,
            Operation::Readiness(_) => IORING_OP_POLL_ADD,
            Operation::Update(_) => IORING_OP_POLL_REMOVE,
            Operation::Message(_) => IORING_OP_MSG_RING,
            Operation::Call(call) => call.opcode(),
            Operation::Select(select) => select.opcode(),
        };
        About { opcode, file: 0 }
    }
}
