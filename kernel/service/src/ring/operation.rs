//! What an entry asks for: the checks that make it a request, and what it does.

use super::Taking;
use abi::{errno::Errno, io_uring::*};

/// What an operation is like.
struct Kind {
    opcode: u8,
    /// It has a priority, or flags in its place.
    ioprio: bool,
    /// It can take its buffer from a group.
    selects: bool,
}

/// The operations that are there.
const KINDS: &[Kind] = &[Kind { opcode: IORING_OP_NOP, ioprio: false, selects: false }];

const FLAGS: u8 = IOSQE_FIXED_FILE
    | IOSQE_IO_DRAIN
    | IOSQE_IO_LINK
    | IOSQE_IO_HARDLINK
    | IOSQE_ASYNC
    | IOSQE_BUFFER_SELECT
    | IOSQE_CQE_SKIP_SUCCESS;
/// Flags that need a look of their own.
const SPECIAL: u8 = IOSQE_BUFFER_SELECT | IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS | !FLAGS;

/// Whether the operation is there, for a probe.
pub(super) fn is_known(opcode: u8) -> bool {
    kind(opcode).is_some()
}

fn kind(opcode: u8) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.opcode == opcode)
}

/// A request: an entry that was checked, of which nothing is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Nothing, with this result.
    Nop(i32),
}

/// Makes a request of an entry, in Linux's order of checks.
///
/// # Errors
/// Why there is none: `EINVAL`, `EOPNOTSUPP`.
#[inline]
pub(super) fn prepare(taking: &mut Taking, entry: &Sqe) -> Result<Operation, Errno> {
    let kind = kind(entry.opcode).ok_or(Errno::EINVAL)?;
    if entry.flags & SPECIAL != 0 {
        check_flags(taking, kind, entry.flags)?;
    }
    // No rights are ever registered.
    if (!kind.ioprio && entry.ioprio != 0) || entry.personality != 0 {
        return Err(Errno::EINVAL);
    }
    match entry.op_flags {
        0 => Ok(Operation::Nop(0)),
        IORING_NOP_INJECT_RESULT => Ok(Operation::Nop(entry.len.cast_signed())),
        _ => Err(Errno::EINVAL),
    }
}

#[cold]
fn check_flags(taking: &mut Taking, kind: &Kind, flags: u8) -> Result<(), Errno> {
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & IOSQE_BUFFER_SELECT != 0 && !kind.selects {
        return Err(Errno::EOPNOTSUPP);
    }
    taking.no_drain |= flags & IOSQE_CQE_SKIP_SUCCESS != 0;
    // To wait for all requests before it is to wait for none: each is done when the next one is taken.
    if flags & IOSQE_IO_DRAIN != 0 && taking.no_drain { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

impl Operation {
    /// Does it.
    #[inline]
    pub(super) fn run(self) -> i32 {
        match self {
            Operation::Nop(result) => result,
        }
    }
}
