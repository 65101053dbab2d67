//! What an entry asks for, before it begins: its flags, the rights that it names, and what it says in the program's memory.

use super::{
    super::{
        fields,
        operation::{self, Operation},
        own, select,
        urgency::Urgency,
    },
    SPECIAL, Submission,
};
use abi::{errno::Errno, io_uring::*};
use io::file::IoError;
use mem::CopyFault;

/// How often an entry may miss a page until it is taken. What it says lies in fewer, but what was made present may be gone again.
const MOST_MISSED: u32 = 64;

impl Submission<'_, '_, '_> {
    #[inline(never)]
    pub(super) fn prepare(&mut self, mut entry: Sqe) -> Result<Operation, IoError> {
        let entry = &mut entry;
        if self.says_priorities {
            self.urgency = Urgency::USUAL;
            self.urgency = Urgency::of(entry)?;
        }
        if entry.flags & SPECIAL != 0 {
            self.check_special(entry)?;
        }
        if self.is_restricted && entry.opcode < IORING_OP_LAST {
            self.ring.check_entry(entry)?;
            if let Some(instead) = self.ring.check_device(self.task, entry)? {
                return Ok(instead);
            }
        }
        if entry.personality != 0 {
            self.take_rights(entry)?;
        }
        let prepared = match entry.flags & IOSQE_BUFFER_SELECT {
            0 => operation::prepare(self.task, entry),
            _ => operation::prepare_select(entry),
        };
        match prepared.and_then(|operation| self.keep_given(entry, operation)) {
            Err(IoError::Fault(fault)) => self.miss(fault),
            prepared => {
                self.missed = 0;
                prepared
            }
        }
    }

    /// One that begins later has what it says in the program's memory as it is now.
    #[inline]
    fn keep_given(&mut self, entry: &Sqe, operation: Operation) -> Result<Operation, IoError> {
        if entry.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0 || !self.stands_alone() {
            self.own.given = own::given(self.task, &operation)?;
        }
        Ok(operation)
    }

    /// The entry is taken once more when the page is there, unless it has missed too many.
    #[cold]
    fn miss(&mut self, fault: CopyFault) -> Result<Operation, IoError> {
        if self.is_cut || self.missed == MOST_MISSED {
            self.missed = 0;
            return Err(Errno::EFAULT.into());
        }
        self.missed += 1;
        Err(fault.into())
    }

    /// The page that the next entry has missed cannot be there: to miss it again is that entry's error.
    pub(in super::super) fn lacks_it(&mut self) {
        self.missed = MOST_MISSED;
    }

    /// Linux's checks of flags, in its order. Who ever left out a completion cannot drain: nobody could count.
    #[cold]
    fn check_special(&mut self, entry: &Sqe) -> Result<(), Errno> {
        let has = |flag| entry.flags & flag != 0;
        if !operation::is_known(entry.opcode) || has(!operation::FLAGS) {
            operation::count_unknown(self.task, entry);
            return Err(Errno::EINVAL);
        }
        if has(IOSQE_BUFFER_SELECT) && !select::selects(entry.opcode) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.taker.head.skips |= has(IOSQE_CQE_SKIP_SUCCESS);
        if has(IOSQE_IO_DRAIN) && self.taker.head.skips {
            return Err(Errno::EOPNOTSUPP);
        }
        self.is_draining |= has(IOSQE_IO_DRAIN);
        Ok(())
    }

    /// The rights that an entry names are its own from here on, and it is as one that names none.
    #[cold]
    fn take_rights(&mut self, entry: &mut Sqe) -> Result<(), Errno> {
        let rights = self.ring.personalities.get(core::mem::take(&mut entry.personality))?;
        // What it gives a number to is the program's by its own rights.
        if fields::is_fixed(entry.opcode) {
            return match operation::prepare(self.task, entry) {
                Err(IoError::Errno(errno)) => Err(errno),
                _ => Err(Errno::EPERM),
            };
        }
        self.own.rights = Some(rights);
        Ok(())
    }
}
