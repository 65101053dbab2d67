//! Rings that a program and the kernel share: `io_uring_setup`, `io_uring_enter`, `io_uring_register`.
//!
//! Where the words of a ring lie in its first mapping is for the kernel to say ([`Params`]); the programs ask.

use crate::time::Timespec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// Flags of `io_uring_setup`, and those of them that it answers with in `Params::features`.
constants! { u32:
    IORING_SETUP_IOPOLL = 1 << 0, IORING_SETUP_SQPOLL = 1 << 1, IORING_SETUP_SQ_AFF = 1 << 2,
    IORING_SETUP_CQSIZE = 1 << 3, IORING_SETUP_CLAMP = 1 << 4, IORING_SETUP_ATTACH_WQ = 1 << 5,
    IORING_SETUP_R_DISABLED = 1 << 6, IORING_SETUP_SUBMIT_ALL = 1 << 7, IORING_SETUP_COOP_TASKRUN = 1 << 8,
    IORING_SETUP_TASKRUN_FLAG = 1 << 9, IORING_SETUP_SQE128 = 1 << 10, IORING_SETUP_CQE32 = 1 << 11,
    IORING_SETUP_SINGLE_ISSUER = 1 << 12, IORING_SETUP_DEFER_TASKRUN = 1 << 13, IORING_SETUP_NO_MMAP = 1 << 14,
    IORING_SETUP_REGISTERED_FD_ONLY = 1 << 15, IORING_SETUP_NO_SQARRAY = 1 << 16,
}
constants! { u32:
    IORING_FEAT_SINGLE_MMAP = 1 << 0, IORING_FEAT_NODROP = 1 << 1, IORING_FEAT_SUBMIT_STABLE = 1 << 2,
    IORING_FEAT_RW_CUR_POS = 1 << 3, IORING_FEAT_CUR_PERSONALITY = 1 << 4, IORING_FEAT_FAST_POLL = 1 << 5,
    IORING_FEAT_POLL_32BITS = 1 << 6, IORING_FEAT_SQPOLL_NONFIXED = 1 << 7, IORING_FEAT_EXT_ARG = 1 << 8,
    IORING_FEAT_NATIVE_WORKERS = 1 << 9, IORING_FEAT_RSRC_TAGS = 1 << 10, IORING_FEAT_CQE_SKIP = 1 << 11,
    IORING_FEAT_LINKED_FILE = 1 << 12, IORING_FEAT_REG_REG_RING = 1 << 13, IORING_FEAT_RECVSEND_BUNDLE = 1 << 14,
    IORING_FEAT_MIN_TIMEOUT = 1 << 15,
}

// What `mmap` of a ring takes as its offset.
constants! { u64:
    IORING_OFF_SQ_RING = 0, IORING_OFF_CQ_RING = 0x800_0000, IORING_OFF_SQES = 0x1000_0000,
    IORING_OFF_PBUF_RING = 0x8000_0000, IORING_OFF_PBUF_SHIFT = 16, IORING_OFF_MMAP_MASK = 0xf800_0000,
}

// The words of a ring that are flags.
constants! { u32:
    IORING_SQ_NEED_WAKEUP = 1 << 0, IORING_SQ_CQ_OVERFLOW = 1 << 1, IORING_SQ_TASKRUN = 1 << 2,
}
constants! { u32:
    IORING_CQ_EVENTFD_DISABLED = 1 << 0,
}

// Flags of `io_uring_enter`.
constants! { u32:
    IORING_ENTER_GETEVENTS = 1 << 0, IORING_ENTER_SQ_WAKEUP = 1 << 1, IORING_ENTER_SQ_WAIT = 1 << 2,
    IORING_ENTER_EXT_ARG = 1 << 3, IORING_ENTER_REGISTERED_RING = 1 << 4, IORING_ENTER_ABS_TIMER = 1 << 5,
}

// Operations of `io_uring_register`.
constants! { u32:
    IORING_REGISTER_FILES = 2, IORING_UNREGISTER_FILES = 3, IORING_REGISTER_EVENTFD = 4,
    IORING_UNREGISTER_EVENTFD = 5, IORING_REGISTER_FILES_UPDATE = 6, IORING_REGISTER_EVENTFD_ASYNC = 7,
    IORING_REGISTER_PROBE = 8, IORING_REGISTER_PERSONALITY = 9, IORING_UNREGISTER_PERSONALITY = 10,
    IORING_REGISTER_ENABLE_RINGS = 12, IORING_REGISTER_SYNC_CANCEL = 24,
    IORING_REGISTER_FILE_ALLOC_RANGE = 25, IORING_REGISTER_BUFFERS = 0, IORING_UNREGISTER_BUFFERS = 1,
    IORING_REGISTER_PBUF_RING = 22, IORING_UNREGISTER_PBUF_RING = 23, IORING_REGISTER_PBUF_STATUS = 26,
    IORING_REGISTER_IOWQ_AFF = 17, IORING_UNREGISTER_IOWQ_AFF = 18, IORING_REGISTER_IOWQ_MAX_WORKERS = 19,
    IORING_REGISTER_RING_FDS = 20, IORING_UNREGISTER_RING_FDS = 21, IORING_REGISTER_CLOCK = 29,
    IORING_REGISTER_BUFFERS2 = 15, IORING_REGISTER_BUFFERS_UPDATE = 16, IORING_RSRC_REGISTER_SPARSE = 1 << 0,
    IORING_REGISTER_RESTRICTIONS = 11, IORING_REGISTER_FILES2 = 13, IORING_REGISTER_FILES_UPDATE2 = 14,
    IORING_REGISTER_NAPI = 27, IORING_UNREGISTER_NAPI = 28, IORING_REGISTER_CLONE_BUFFERS = 30, IORING_REGISTER_SRC_REGISTERED = 1 << 0, IORING_REGISTER_LAST = 31,
    IORING_REGISTER_USE_REGISTERED_RING = 1 << 31,
}

// What a ring of buffers is like.
constants! { u16:
    IOU_PBUF_RING_MMAP = 1, IOU_PBUF_RING_INC = 2,
}

// What a rule of `IORING_REGISTER_RESTRICTIONS` is about.
constants! { u16:
    IORING_RESTRICTION_REGISTER_OP = 0, IORING_RESTRICTION_SQE_OP = 1, IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2,
    IORING_RESTRICTION_SQE_FLAGS_REQUIRED = 3, IORING_RESTRICTION_LAST = 4,
}

// Operations of an entry. The last is how many there are.
constants! { u8:
    IORING_OP_NOP = 0, IORING_OP_READV = 1, IORING_OP_WRITEV = 2, IORING_OP_FSYNC = 3, IORING_OP_READ_FIXED = 4,
    IORING_OP_WRITE_FIXED = 5, IORING_OP_POLL_ADD = 6, IORING_OP_POLL_REMOVE = 7, IORING_OP_SYNC_FILE_RANGE = 8,
    IORING_OP_SENDMSG = 9, IORING_OP_RECVMSG = 10, IORING_OP_TIMEOUT = 11, IORING_OP_TIMEOUT_REMOVE = 12,
    IORING_OP_ACCEPT = 13, IORING_OP_ASYNC_CANCEL = 14, IORING_OP_LINK_TIMEOUT = 15, IORING_OP_CONNECT = 16,
    IORING_OP_FALLOCATE = 17, IORING_OP_OPENAT = 18, IORING_OP_CLOSE = 19, IORING_OP_FILES_UPDATE = 20,
    IORING_OP_STATX = 21, IORING_OP_READ = 22, IORING_OP_WRITE = 23, IORING_OP_FADVISE = 24, IORING_OP_MADVISE = 25,
    IORING_OP_SEND = 26, IORING_OP_RECV = 27, IORING_OP_OPENAT2 = 28, IORING_OP_EPOLL_CTL = 29,
    IORING_OP_SPLICE = 30, IORING_OP_PROVIDE_BUFFERS = 31, IORING_OP_REMOVE_BUFFERS = 32, IORING_OP_TEE = 33,
    IORING_OP_SHUTDOWN = 34, IORING_OP_RENAMEAT = 35, IORING_OP_UNLINKAT = 36, IORING_OP_MKDIRAT = 37,
    IORING_OP_SYMLINKAT = 38, IORING_OP_LINKAT = 39, IORING_OP_MSG_RING = 40, IORING_OP_FSETXATTR = 41,
    IORING_OP_SETXATTR = 42, IORING_OP_FGETXATTR = 43, IORING_OP_GETXATTR = 44, IORING_OP_SOCKET = 45,
    IORING_OP_URING_CMD = 46, IORING_OP_SEND_ZC = 47, IORING_OP_SENDMSG_ZC = 48, IORING_OP_READ_MULTISHOT = 49,
    IORING_OP_WAITID = 50, IORING_OP_FUTEX_WAIT = 51, IORING_OP_FUTEX_WAKE = 52, IORING_OP_FUTEX_WAITV = 53,
    IORING_OP_FIXED_FD_INSTALL = 54, IORING_OP_FTRUNCATE = 55, IORING_OP_BIND = 56, IORING_OP_LISTEN = 57,
    IORING_OP_LAST = 58,
}

// Flags of an entry.
constants! { u8:
    IOSQE_FIXED_FILE = 1 << 0, IOSQE_IO_DRAIN = 1 << 1, IOSQE_IO_LINK = 1 << 2, IOSQE_IO_HARDLINK = 1 << 3,
    IOSQE_ASYNC = 1 << 4, IOSQE_BUFFER_SELECT = 1 << 5, IOSQE_CQE_SKIP_SUCCESS = 1 << 6,
}

constants! { u32:
    IORING_NOP_INJECT_RESULT = 1 << 0,
}

// Flags of times.
constants! { u32:
    IORING_TIMEOUT_ABS = 1 << 0, IORING_TIMEOUT_UPDATE = 1 << 1, IORING_TIMEOUT_BOOTTIME = 1 << 2,
    IORING_TIMEOUT_REALTIME = 1 << 3, IORING_LINK_TIMEOUT_UPDATE = 1 << 4, IORING_TIMEOUT_ETIME_SUCCESS = 1 << 5,
    IORING_TIMEOUT_MULTISHOT = 1 << 6,
}

// Flags of what is sent and received, of accepting, of `fsync`, of waiting for a descriptor.
constants! { u16:
    IORING_RECVSEND_POLL_FIRST = 1 << 0, IORING_RECV_MULTISHOT = 1 << 1, IORING_RECVSEND_FIXED_BUF = 1 << 2,
    IORING_SEND_ZC_REPORT_USAGE = 1 << 3, IORING_RECVSEND_BUNDLE = 1 << 4,
    IORING_ACCEPT_MULTISHOT = 1 << 0, IORING_ACCEPT_DONTWAIT = 1 << 1, IORING_ACCEPT_POLL_FIRST = 1 << 2,
}
constants! { u32:
    IORING_FSYNC_DATASYNC = 1 << 0, IORING_URING_CMD_FIXED = 1 << 0,
    IORING_POLL_ADD_MULTI = 1 << 0, IORING_POLL_UPDATE_EVENTS = 1 << 1, IORING_POLL_UPDATE_USER_DATA = 1 << 2,
    IORING_POLL_ADD_LEVEL = 1 << 3,
}

// Commands to sockets (`IORING_OP_URING_CMD`).
constants! { u32:
    SOCKET_URING_OP_SIOCINQ = 0, SOCKET_URING_OP_SIOCOUTQ = 1, SOCKET_URING_OP_GETSOCKOPT = 2,
    SOCKET_URING_OP_SETSOCKOPT = 3,
}

// Places of registered files: any that is free; and what a number is made with that stands for one.
constants! { u32:
    IORING_FILE_INDEX_ALLOC = u32::MAX, IORING_FIXED_FD_NO_CLOEXEC = 1 << 0,
}

// Of a splice: what is read is a place, not a number.
constants! { u32:
    SPLICE_F_FD_IN_FIXED = 1 << 31,
}

// Messages between rings.
constants! { u64:
    IORING_MSG_DATA = 0, IORING_MSG_SEND_FD = 1,
}
constants! { u32:
    IORING_MSG_RING_CQE_SKIP = 1 << 0, IORING_MSG_RING_FLAGS_PASS = 1 << 1,
}

// Flags of a completion.
constants! { u32:
    IORING_CQE_BUFFER_SHIFT = 16, IORING_CQE_F_BUFFER = 1 << 0, IORING_CQE_F_MORE = 1 << 1, IORING_CQE_F_SOCK_NONEMPTY = 1 << 2,
    IORING_CQE_F_NOTIF = 1 << 3, IORING_CQE_F_BUF_MORE = 1 << 4, IORING_NOTIF_USAGE_ZC_COPIED = 1 << 31,
}

// Which requests `IORING_OP_ASYNC_CANCEL` means.
constants! { u32:
    IORING_ASYNC_CANCEL_ALL = 1 << 0, IORING_ASYNC_CANCEL_FD = 1 << 1, IORING_ASYNC_CANCEL_ANY = 1 << 2,
    IORING_ASYNC_CANCEL_FD_FIXED = 1 << 3, IORING_ASYNC_CANCEL_USERDATA = 1 << 4, IORING_ASYNC_CANCEL_OP = 1 << 5,
}
constants! { u16:
    IO_URING_OP_SUPPORTED = 1 << 0,
}

/// Linux `struct io_uring_sqe`: a request. The fields that operations share are called after their first use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Sqe {
    /// `IORING_OP_*`.
    pub opcode: u8,
    /// `IOSQE_*`.
    pub flags: u8,
    /// I/O priority, or the operation's flags.
    pub ioprio: u16,
    /// Descriptor.
    pub fd: i32,
    /// Offset in the file, or a second address.
    pub off: u64,
    /// Address.
    pub addr: u64,
    /// Bytes, or a count.
    pub len: u32,
    /// The operation's flags.
    pub op_flags: u32,
    /// Comes back with the completion.
    pub user_data: u64,
    /// Fixed buffer, or buffer group.
    pub buf_index: u16,
    /// Registered rights to use; 0: the submitter's.
    pub personality: u16,
    /// Another descriptor, or a place in the table of fixed files.
    pub file_index: u32,
    /// A third address.
    pub addr3: u64,
    /// Reserved.
    pub pad: u64,
}
layout!(Sqe, 64, ioprio @ 2, fd @ 4, off @ 8, addr @ 16, len @ 24, op_flags @ 28, user_data @ 32, buf_index @ 40,
    personality @ 42, file_index @ 44, addr3 @ 48, pad @ 56);

/// Linux `struct io_uring_cqe`: a completion.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Cqe {
    /// The request's.
    pub user_data: u64,
    /// Result, or a negated error number.
    pub res: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
}
layout!(Cqe, 16, res @ 8, flags @ 12);

/// Linux `struct io_uring_recvmsg_out`: what a buffer begins with that one message after the other is received into. Behind it there is the room
/// for the sender's address and for control messages that was asked for, then what was received.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RecvmsgOut {
    /// Length of the address, which may be more than there is room for.
    pub namelen: u32,
    /// Length of the control messages.
    pub controllen: u32,
    /// Bytes that were received.
    pub payloadlen: u32,
    /// `MSG_*`.
    pub flags: u32,
}
layout!(RecvmsgOut, 16, controllen @ 4, payloadlen @ 8, flags @ 12);

/// Linux `struct io_sqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SqOffsets {
    /// The next entry that the kernel takes.
    pub head: u32,
    /// Where the program puts its next one.
    pub tail: u32,
    /// Entries less one.
    pub ring_mask: u32,
    /// Entries.
    pub ring_entries: u32,
    /// `IORING_SQ_*`.
    pub flags: u32,
    /// Entries whose number was out of range.
    pub dropped: u32,
    /// Numbers of entries, in the order of submission.
    pub array: u32,
    /// 0.
    pub resv1: u32,
    /// Memory of the program's, for `IORING_SETUP_NO_MMAP`.
    pub user_addr: u64,
}
layout!(SqOffsets, 40, array @ 24, user_addr @ 32);

/// Linux `struct io_cqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CqOffsets {
    /// The next completion that the program takes.
    pub head: u32,
    /// Where the kernel puts the next one.
    pub tail: u32,
    /// Completions less one.
    pub ring_mask: u32,
    /// Completions that fit.
    pub ring_entries: u32,
    /// Completions that were lost.
    pub overflow: u32,
    /// The completions.
    pub cqes: u32,
    /// `IORING_CQ_*`.
    pub flags: u32,
    /// 0.
    pub resv1: u32,
    /// Memory of the program's, for `IORING_SETUP_NO_MMAP`.
    pub user_addr: u64,
}
layout!(CqOffsets, 40, cqes @ 20, user_addr @ 32);

/// Linux `struct io_uring_params`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Params {
    /// Answer: entries.
    pub sq_entries: u32,
    /// Completions that are to fit, with `IORING_SETUP_CQSIZE`; answer: those that do.
    pub cq_entries: u32,
    /// `IORING_SETUP_*`.
    pub flags: u32,
    /// Where the polling thread is to run.
    pub sq_thread_cpu: u32,
    /// Milliseconds after which it sleeps.
    pub sq_thread_idle: u32,
    /// Answer: `IORING_FEAT_*`.
    pub features: u32,
    /// A ring to share workers with.
    pub wq_fd: u32,
    /// 0.
    pub resv: [u32; 3],
    /// Answer.
    pub sq_off: SqOffsets,
    /// Answer.
    pub cq_off: CqOffsets,
}
layout!(Params, 120, resv @ 28, sq_off @ 40, cq_off @ 80);

/// Linux `struct io_uring_getevents_arg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetEvents {
    /// Address of a signal mask, or 0.
    pub sigmask: u64,
    /// Its size.
    pub sigmask_sz: u32,
    /// Time to wait for more than one, in microseconds.
    pub min_wait_usec: u32,
    /// Address of a time, or 0.
    pub ts: u64,
}
layout!(GetEvents, 24, min_wait_usec @ 12, ts @ 16);

/// Linux `struct io_uring_sync_cancel_reg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SyncCancel {
    /// `user_data` of those that are meant.
    pub addr: u64,
    /// Descriptor of those that are meant.
    pub fd: i32,
    /// `IORING_ASYNC_CANCEL_*`.
    pub flags: u32,
    /// How long to wait for their end; -1, -1: without limit.
    pub timeout: Timespec,
    /// `IORING_OP_*`.
    pub opcode: u8,
    /// 0.
    pub pad: [u8; 7],
    /// 0.
    pub pad2: [u64; 3],
}
layout!(SyncCancel, 64, fd @ 8, timeout @ 16, opcode @ 32, pad2 @ 40);

/// Linux `struct io_uring_files_update`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FilesUpdate {
    /// The first place.
    pub offset: u32,
    /// 0.
    pub resv: u32,
    /// Address of descriptors; -1: none, -2: leave the place as it is.
    pub fds: u64,
}
layout!(FilesUpdate, 16, fds @ 8);

/// Linux `struct io_uring_rsrc_update`, as `IORING_REGISTER_RING_FDS` takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RingUpdate {
    /// The place; all ones: any. Answer: the place.
    pub offset: u32,
    /// 0.
    pub resv: u32,
    /// The descriptor; 0 where a place is emptied.
    pub data: u64,
}
layout!(RingUpdate, 16, resv @ 4, data @ 8);

/// Linux `struct io_uring_restriction`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Restriction {
    /// `IORING_RESTRICTION_*`.
    pub opcode: u16,
    /// An operation of `io_uring_register` or of an entry, or flags of entries.
    pub value: u8,
    /// Nothing.
    pub resv: u8,
    /// Nothing.
    pub resv2: [u32; 3],
}
layout!(Restriction, 16, value @ 2, resv2 @ 4);

/// Linux `struct io_uring_clock_register`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ClockRegister {
    /// `CLOCK_*`.
    pub clockid: u32,
    /// 0.
    pub resv: [u32; 3],
}
layout!(ClockRegister, 16, resv @ 4);

/// Linux `struct io_uring_rsrc_register`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RsrcRegister {
    /// How many.
    pub nr: u32,
    /// `IORING_RSRC_REGISTER_*`.
    pub flags: u32,
    /// 0.
    pub resv2: u64,
    /// Address of the list.
    pub data: u64,
    /// Address of tags, or 0.
    pub tags: u64,
}
layout!(RsrcRegister, 32, resv2 @ 8, data @ 16, tags @ 24);

/// Linux `struct io_uring_rsrc_update2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RsrcUpdate {
    /// The first place.
    pub offset: u32,
    /// 0.
    pub resv: u32,
    /// Address of the list.
    pub data: u64,
    /// Address of tags, or 0.
    pub tags: u64,
    /// How many.
    pub nr: u32,
    /// 0.
    pub resv2: u32,
}
layout!(RsrcUpdate, 32, data @ 8, tags @ 16, nr @ 24);

/// Linux `struct io_uring_buf`. In the first of a ring of buffers the last two bytes are that ring's tail.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Buf {
    /// Address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// What a completion tells of it.
    pub bid: u16,
    /// 0.
    pub resv: u16,
}
layout!(Buf, 16, len @ 8, bid @ 12, resv @ 14);

/// Linux `struct io_uring_buf_reg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BufReg {
    /// Address of the ring.
    pub ring_addr: u64,
    /// Places of it.
    pub ring_entries: u32,
    /// The group.
    pub bgid: u16,
    /// `IOU_PBUF_RING_*`.
    pub flags: u16,
    /// 0.
    pub resv: [u64; 3],
}
layout!(BufReg, 40, ring_entries @ 8, bgid @ 12, flags @ 14, resv @ 16);

/// Linux `struct io_uring_clone_buffers`, as of 6.12.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CloneBuffers {
    /// Descriptor or place of the ring that has them.
    pub src_fd: u32,
    /// `IORING_REGISTER_SRC_REGISTERED`: it is a place.
    pub flags: u32,
    /// 0.
    pub pad: [u32; 6],
}
layout!(CloneBuffers, 32, flags @ 4, pad @ 8);

/// Linux `struct io_uring_buf_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BufStatus {
    /// The group.
    pub buf_group: u32,
    /// Answer: the next that is taken.
    pub head: u32,
    /// 0.
    pub resv: [u32; 8],
}
layout!(BufStatus, 40, head @ 4, resv @ 8);

/// Linux `struct io_uring_file_index_range`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FileIndexRange {
    /// The first place.
    pub off: u32,
    /// How many.
    pub len: u32,
    /// 0.
    pub resv: u64,
}
layout!(FileIndexRange, 16, resv @ 8);

/// Linux `struct io_uring_probe`, without the operations that follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Probe {
    /// Answer: the last operation that is known.
    pub last_op: u8,
    /// Answer: how many follow.
    pub ops_len: u8,
    /// 0.
    pub resv: u16,
    /// 0.
    pub resv2: [u32; 3],
}
layout!(Probe, 16, resv2 @ 4);

/// Linux `struct io_uring_probe_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ProbeOp {
    /// `IORING_OP_*`.
    pub op: u8,
    /// 0.
    pub resv: u8,
    /// [`IO_URING_OP_SUPPORTED`].
    pub flags: u16,
    /// 0.
    pub resv2: u32,
}
layout!(ProbeOp, 8, flags @ 2);
