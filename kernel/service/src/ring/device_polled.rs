//! Rings whose completions are looked for at the device (`IORING_SETUP_IOPOLL`).
//!
//! Here a device tells by interrupt, and who waits is woken by that: there is nothing to look for. What is left of the mode is what Linux lets
//! entries ask for in it: transfers that a device carries out, and what never waits.

use super::{Ring, operation::Operation};
use crate::context::Task;
use abi::{errno::Errno, io_uring::*};

/// Operations that there are in such a ring.
const KNOWN: u64 = TRANSFERS
    | 1 << IORING_OP_NOP
    | 1 << IORING_OP_FILES_UPDATE
    | 1 << IORING_OP_PROVIDE_BUFFERS
    | 1 << IORING_OP_REMOVE_BUFFERS
    | 1 << IORING_OP_MSG_RING
    | 1 << IORING_OP_URING_CMD;
const TRANSFERS: u64 = 1 << IORING_OP_READ
    | 1 << IORING_OP_WRITE
    | 1 << IORING_OP_READV
    | 1 << IORING_OP_WRITEV
    | 1 << IORING_OP_READ_FIXED
    | 1 << IORING_OP_WRITE_FIXED;

impl Ring {
    /// What becomes of an entry that no device would carry out, in a ring of this kind; nothing of others.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn check_device(&self, task: &Task<'_>, entry: &Sqe) -> Result<Option<Operation>, Errno> {
        if !self.has(IORING_SETUP_IOPOLL) {
            return Ok(None);
        }
        let is_of = |set: u64| entry.opcode < 64 && set >> entry.opcode & 1 != 0;
        match (is_of(KNOWN), is_of(TRANSFERS)) {
            (false, _) => Err(Errno::EINVAL),
            (true, false) => Ok(None),
            (true, true) => {
                // One that is not there yet is looked for again.
                let file = self.file(task, entry.fd, entry.flags & IOSQE_FIXED_FILE != 0);
                let is_cached = file.is_ok_and(|open| !open.is_direct());
                // As on Linux it is taken, and fails.
                Ok(is_cached.then_some(Operation::Nop(Errno::EOPNOTSUPP.to_return() as i32)))
            }
        }
    }
}
