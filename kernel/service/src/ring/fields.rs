//! What the fields of an entry must be that is a system call, and what its descriptor means.

use super::zero_copy;
use crate::futexes;
use abi::{
    fs::{AT_REMOVEDIR, O_CLOEXEC, SPLICE_F_ALL},
    futex::FUTEX_WAITV_MAX,
    io_uring::*,
    net::{SOCK_CLOEXEC, SOCK_NONBLOCK},
};

/// The operations, and whether they have flags in the place of a priority.
pub(super) const OPERATIONS: &[(u8, bool)] = &[
    (IORING_OP_SEND, true),
    (IORING_OP_RECV, true),
    (IORING_OP_SENDMSG, true),
    (IORING_OP_RECVMSG, true),
    (IORING_OP_SEND_ZC, true),
    (IORING_OP_SENDMSG_ZC, true),
    (IORING_OP_ACCEPT, true),
    (IORING_OP_CONNECT, false),
    (IORING_OP_SHUTDOWN, false),
    (IORING_OP_SOCKET, false),
    (IORING_OP_BIND, false),
    (IORING_OP_LISTEN, false),
    (IORING_OP_OPENAT, false),
    (IORING_OP_OPENAT2, false),
    (IORING_OP_CLOSE, false),
    (IORING_OP_STATX, false),
    (IORING_OP_FSYNC, false),
    (IORING_OP_SYNC_FILE_RANGE, false),
    (IORING_OP_FALLOCATE, false),
    (IORING_OP_FTRUNCATE, false),
    (IORING_OP_FADVISE, false),
    (IORING_OP_MADVISE, false),
    (IORING_OP_RENAMEAT, false),
    (IORING_OP_UNLINKAT, false),
    (IORING_OP_MKDIRAT, false),
    (IORING_OP_SYMLINKAT, false),
    (IORING_OP_LINKAT, false),
    (IORING_OP_SETXATTR, false),
    (IORING_OP_FSETXATTR, false),
    (IORING_OP_GETXATTR, false),
    (IORING_OP_FGETXATTR, false),
    (IORING_OP_EPOLL_CTL, false),
    (IORING_OP_PROVIDE_BUFFERS, false),
    (IORING_OP_REMOVE_BUFFERS, false),
    (IORING_OP_FILES_UPDATE, false),
    (IORING_OP_FIXED_FD_INSTALL, false),
    (IORING_OP_FUTEX_WAIT, false),
    (IORING_OP_FUTEX_WAKE, false),
    (IORING_OP_FUTEX_WAITV, false),
    (IORING_OP_WAITID, false),
    (IORING_OP_SPLICE, false),
    (IORING_OP_TEE, false),
    (IORING_OP_URING_CMD, false),
];

/// Whether all fields that an operation has no use for are zero, and its flags known.
pub(super) fn is_right(entry: &Sqe) -> bool {
    let others = || is_right_file(entry).or_else(|| is_right_other(entry));
    let fields = is_right_socket(entry).or_else(others);
    (entry.buf_index == 0 || may_have_number(entry.opcode)) && fields.unwrap_or(entry.file_index == 0)
}

/// The same of what is about sockets, but for the number of a buffer.
fn is_right_socket(entry: &Sqe) -> Option<bool> {
    let Sqe { off, addr, len, op_flags: flags, file_index: index, .. } = *entry;
    let flags_of_type = off as u32 & !0xf;
    Some(match entry.opcode {
        IORING_OP_SEND => index >> 16 == 0 && entry.ioprio & !IORING_RECVSEND_POLL_FIRST == 0,
        IORING_OP_RECV | IORING_OP_SENDMSG | IORING_OP_RECVMSG => {
            // Without buffers to choose from a bundle is none, as on Linux.
            let bundle = if entry.opcode == IORING_OP_RECV { IORING_RECVSEND_BUNDLE } else { 0 };
            off == 0 && index == 0 && entry.ioprio & !(IORING_RECVSEND_POLL_FIRST | bundle) == 0
        }
        IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC => zero_copy::is_right(entry),
        IORING_OP_ACCEPT => {
            let only = flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) == 0;
            let closed_late = index == 0 || flags & SOCK_CLOEXEC == 0;
            let known = IORING_ACCEPT_POLL_FIRST | IORING_ACCEPT_MULTISHOT | IORING_ACCEPT_DONTWAIT;
            let multishot = entry.ioprio & IORING_ACCEPT_MULTISHOT != 0;
            let place = !multishot || index == 0 || index == IORING_FILE_INDEX_ALLOC;
            len == 0 && only && closed_late && entry.ioprio & !known == 0 && place
        }
        IORING_OP_CONNECT | IORING_OP_BIND => len == 0 && flags == 0 && index == 0,
        IORING_OP_SHUTDOWN => off == 0 && addr == 0 && flags == 0 && index == 0,
        IORING_OP_LISTEN => off == 0 && addr == 0 && flags == 0 && index == 0,
        IORING_OP_SOCKET => {
            let only = flags_of_type & !(SOCK_CLOEXEC | SOCK_NONBLOCK) == 0;
            addr == 0 && flags == 0 && only && (index == 0 || flags_of_type & SOCK_CLOEXEC == 0)
        }
        _ => return None,
    })
}

/// Of what is about files and their names.
fn is_right_file(entry: &Sqe) -> Option<bool> {
    let Sqe { off, addr, len, op_flags: flags, file_index: index, addr3, .. } = *entry;
    Some(match entry.opcode {
        IORING_OP_OPENAT => index == 0 || flags & O_CLOEXEC == 0,
        IORING_OP_OPENAT2 => true,
        IORING_OP_CLOSE => off == 0 && addr == 0 && len == 0 && flags == 0 && (index == 0 || entry.fd == 0),
        IORING_OP_FSYNC => addr == 0 && index == 0 && flags & !IORING_FSYNC_DATASYNC == 0,
        IORING_OP_SYNC_FILE_RANGE => addr == 0 && index == 0,
        IORING_OP_FALLOCATE => flags == 0 && index == 0,
        IORING_OP_FTRUNCATE => addr == 0 && len == 0 && flags == 0 && index == 0 && addr3 == 0,
        IORING_OP_UNLINKAT => off == 0 && len == 0 && index == 0 && flags & !AT_REMOVEDIR == 0,
        IORING_OP_MKDIRAT => off == 0 && flags == 0 && index == 0,
        IORING_OP_SETXATTR | IORING_OP_FSETXATTR => true,
        IORING_OP_GETXATTR | IORING_OP_FGETXATTR => flags == 0,
        IORING_OP_SYMLINKAT => len == 0 && flags == 0 && index == 0,
        _ => return None,
    })
}

/// Of the others, if they are there.
fn is_right_other(entry: &Sqe) -> Option<bool> {
    let Sqe { off, addr, len, op_flags: flags, file_index: index, addr3, .. } = *entry;
    Some(match entry.opcode {
        IORING_OP_PROVIDE_BUFFERS => flags == 0 && index == 0,
        IORING_OP_REMOVE_BUFFERS => {
            let some = (1..=1 << 16).contains(&entry.fd);
            off == 0 && addr == 0 && len == 0 && flags == 0 && index == 0 && some
        }
        IORING_OP_FILES_UPDATE => len != 0 && flags == 0 && index == 0 && entry.flags & IOSQE_FIXED_FILE == 0,
        IORING_OP_FIXED_FD_INSTALL => {
            off == 0 && addr == 0 && len == 0 && index == 0 && addr3 == 0 && flags & !IORING_FIXED_FD_NO_CLOEXEC == 0
        }
        IORING_OP_FUTEX_WAIT | IORING_OP_FUTEX_WAKE => {
            let word = futexes::is_right(entry.fd.cast_unsigned(), off, addr3);
            len == 0 && flags == 0 && index == 0 && word
        }
        IORING_OP_FUTEX_WAITV => {
            let count = (1..=FUTEX_WAITV_MAX).contains(&len);
            entry.fd == 0 && index == 0 && off == 0 && flags == 0 && addr3 == 0 && count
        }
        IORING_OP_WAITID => addr == 0 && addr3 == 0 && flags == 0,
        IORING_OP_SPLICE | IORING_OP_TEE => {
            let known = flags & !(SPLICE_F_ALL | SPLICE_F_FD_IN_FIXED) == 0;
            known && (entry.opcode == IORING_OP_SPLICE || off == 0 && addr == 0)
        }
        IORING_OP_URING_CMD => off >> 32 == 0 && flags & !IORING_URING_CMD_FIXED == 0,
        _ => return None,
    })
}

/// Whether the number of a buffer or a group may be there: Linux has use for it, or does not look at it.
fn may_have_number(opcode: u8) -> bool {
    matches!(
        opcode,
        IORING_OP_PROVIDE_BUFFERS
            | IORING_OP_REMOVE_BUFFERS
            | IORING_OP_SEND_ZC
            | IORING_OP_SENDMSG_ZC
            | IORING_OP_SEND
            | IORING_OP_SENDMSG
            | IORING_OP_RECV
            | IORING_OP_RECVMSG
            | IORING_OP_SPLICE
            | IORING_OP_TEE
            | IORING_OP_URING_CMD
    )
}

/// Whether an operation has no descriptor that could be a place.
pub(super) fn is_without(opcode: u8) -> bool {
    matches!(
        opcode,
        IORING_OP_SOCKET
            | IORING_OP_MADVISE
            | IORING_OP_EPOLL_CTL
            | IORING_OP_PROVIDE_BUFFERS
            | IORING_OP_REMOVE_BUFFERS
            | IORING_OP_FILES_UPDATE
            | IORING_OP_FUTEX_WAIT
            | IORING_OP_FUTEX_WAKE
            | IORING_OP_FUTEX_WAITV
            | IORING_OP_WAITID
    )
}

/// Whether an operation is about an open file. Others have no descriptor of their own, but a directory's.
pub(super) fn has_file(opcode: u8) -> bool {
    let by_path = matches!(
        opcode,
        IORING_OP_OPENAT
            | IORING_OP_OPENAT2
            | IORING_OP_CLOSE
            | IORING_OP_STATX
            | IORING_OP_RENAMEAT
            | IORING_OP_UNLINKAT
            | IORING_OP_MKDIRAT
            | IORING_OP_SYMLINKAT
            | IORING_OP_LINKAT
            | IORING_OP_SETXATTR
            | IORING_OP_GETXATTR
            // By a descriptor, but not by a place in the table: as on Linux.
            | IORING_OP_FSETXATTR
            | IORING_OP_FGETXATTR
    );
    !by_path && !is_without(opcode)
}

/// Whether an operation is about a registered file only.
pub(super) fn is_fixed(opcode: u8) -> bool {
    opcode == IORING_OP_FIXED_FD_INSTALL
}

/// Whether an operation opens what can go into the table of registered files.
pub(super) fn opens(opcode: u8) -> bool {
    matches!(opcode, IORING_OP_OPENAT | IORING_OP_OPENAT2 | IORING_OP_ACCEPT | IORING_OP_SOCKET)
}
