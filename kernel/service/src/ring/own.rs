//! What an entry that begins later has of its own, beside what it asks for: rights that it names ([`super::personalities`]), and what it says in the program's memory, as it was when the entry was
//! taken ([`crate::given`]).

use super::{calls::Call, operation::Operation};
use crate::{arguments::Args, context::Task, control, given::Given};
use abi::{
    fs::{IOV_MAX, Iovec, PATH_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX},
    futex::{FUTEX_WAITV_MAX, FutexWaitv},
    io_uring::*,
    net::{Msghdr, SOCKADDR_MAX},
    poll::{EPOLL_CTL_DEL, EpollEvent},
};
use alloc::boxed::Box;
use hal::PAGE_SIZE;
use io::{caller::Credentials, file::IoError};

/// Most entries have nothing.
#[derive(Default)]
pub(super) struct Own {
    /// Other than its submitter's.
    pub rights: Option<Credentials>,
    pub given: Option<Box<Given>>,
}

impl Own {
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self.rights.is_some() || self.given.is_some()).then(|| Box::new(self))
    }
}

/// Keeps what an operation says in the program's memory. What is longer than it may be, or not there, is left to who reads it: that is its error.
///
/// # Errors
/// `ENOMEM`; the page that is missing.
pub(super) fn given(task: &Task<'_>, operation: &Operation) -> Result<Option<Box<Given>>, IoError> {
    let mut keeper = Keeper { task, given: Given::default() };
    match operation {
        Operation::Call(call) => keeper.call(call)?,
        Operation::Select(select) => match (select.opcode(), select.said()) {
            (IORING_OP_RECVMSG, (at, _)) => keeper.message(at, false)?,
            (_, (at, len)) => keeper.bytes(at, len, SOCKADDR_MAX)?,
        },
        Operation::Transfer(transfer) => {
            if let Some((at, count)) = transfer.list() {
                keeper.list(at, count)?;
            }
        }
        _ => {}
    }
    Ok((!keeper.given.is_empty()).then(|| Box::new(keeper.given)))
}

/// Who keeps it.
struct Keeper<'a, 't> {
    task: &'a Task<'t>,
    given: Given,
}

impl Keeper<'_, '_> {
    fn call(&mut self, call: &Call) -> Result<(), IoError> {
        let Args(args) = call.args();
        match call.opcode() {
            IORING_OP_FUTEX_WAITV => {
                let most = FUTEX_WAITV_MAX as usize * size_of::<FutexWaitv>();
                self.bytes(call.addr as usize, (call.len as usize).saturating_mul(size_of::<FutexWaitv>()), most)
            }
            IORING_OP_EPOLL_CTL if args[1] == EPOLL_CTL_DEL as usize => Ok(()),
            IORING_OP_EPOLL_CTL => self.bytes(args[3], size_of::<EpollEvent>(), PAGE_SIZE),
            IORING_OP_CONNECT | IORING_OP_BIND => self.bytes(args[1], args[2], SOCKADDR_MAX),
            IORING_OP_SEND | IORING_OP_SEND_ZC => self.bytes(args[4], args[5], SOCKADDR_MAX),
            IORING_OP_SENDMSG | IORING_OP_SENDMSG_ZC => self.message(args[1], true),
            IORING_OP_RECVMSG => self.message(args[1], false),
            _ => self.call_by_path(call.opcode(), args),
        }
    }

    fn call_by_path(&mut self, opcode: u8, args: [usize; 6]) -> Result<(), IoError> {
        match opcode {
            IORING_OP_OPENAT | IORING_OP_STATX | IORING_OP_UNLINKAT | IORING_OP_MKDIRAT => self.path(args[1]),
            IORING_OP_OPENAT2 => {
                self.path(args[1])?;
                self.bytes(args[2], args[3], PAGE_SIZE)
            }
            IORING_OP_RENAMEAT | IORING_OP_LINKAT => {
                self.path(args[1])?;
                self.path(args[3])
            }
            IORING_OP_SYMLINKAT => {
                self.path(args[0])?;
                self.path(args[2])
            }
            IORING_OP_SETXATTR | IORING_OP_GETXATTR => {
                self.path(args[0])?;
                self.attribute(opcode, args)
            }
            IORING_OP_FSETXATTR | IORING_OP_FGETXATTR => self.attribute(opcode, args),
            _ => Ok(()),
        }
    }

    fn path(&mut self, at: usize) -> Result<(), IoError> {
        self.given.keep_string(self.task, at, PATH_MAX)
    }

    /// A name, and the value that it is set to.
    fn attribute(&mut self, opcode: u8, args: [usize; 6]) -> Result<(), IoError> {
        self.given.keep_string(self.task, args[1], XATTR_NAME_MAX + 1)?;
        match opcode {
            IORING_OP_SETXATTR | IORING_OP_FSETXATTR => self.bytes(args[2], args[3], XATTR_SIZE_MAX),
            _ => Ok(()),
        }
    }

    fn bytes(&mut self, at: usize, len: usize, most: usize) -> Result<(), IoError> {
        match len {
            len if len == 0 || len > most => Ok(()),
            len => self.given.keep_bytes(self.task, at, len),
        }
    }

    /// A list of pieces of memory.
    fn list(&mut self, at: usize, count: usize) -> Result<(), IoError> {
        self.bytes(at, count.saturating_mul(size_of::<Iovec>()), IOV_MAX as usize * size_of::<Iovec>())
    }

    /// The head of a message with its list, and of one that is sent what goes with its bytes.
    fn message(&mut self, at: usize, is_sent: bool) -> Result<(), IoError> {
        let head: Msghdr = self.given.keep(self.task, at)?;
        self.list(head.iov as usize, head.iovlen as usize)?;
        if !is_sent {
            return Ok(());
        }
        self.bytes(head.name as usize, usize::try_from(head.namelen).unwrap_or(0), SOCKADDR_MAX)?;
        self.bytes(head.control as usize, head.controllen as usize, control::MOST as usize)
    }
}
