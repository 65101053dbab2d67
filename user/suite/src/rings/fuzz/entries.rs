//! Entries, asynchronous calls and memory for them, at random: about half are right, the others wrong in some field.

use super::super::hostile::scramble;
use crate::case::Trouble;
use crate::process::{PAGE, RW, map};
use alloc::vec::Vec;
use rt::abi::fs::{AT_FDCWD, O_CREAT, O_RDWR};
use rt::abi::io_uring::*;
use rt::abi::{mm as m, nr};
use rt::raw;

/// What a message or a tag brings is none of the entries'.
pub const FOREIGN: u64 = 1 << 62;
/// Pages that data goes to and comes from; behind them are as many that may not be touched.
const DATA: usize = 16;

/// The numbers of a run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        scramble(&mut self.0) % bound
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len() as u64) as usize]
    }
}

/// What entries name.
pub struct Pool {
    data: usize,
    /// Lists of pieces, times and paths, which nothing writes to.
    lists: usize,
    /// Descriptors that anything may be done to.
    pub fds: Vec<i32>,
    /// The rings among them.
    pub rings: Vec<i32>,
}

const TIMES: u64 = 512;
const PATHS: u64 = 1024;

impl Pool {
    pub fn new(fds: Vec<i32>) -> Result<Self, Trouble> {
        let (data, lists) = (map(2 * DATA * PAGE, RW)?, map(PAGE, RW)?);
        call!(MPROTECT, data + DATA * PAGE, DATA * PAGE, m::PROT_NONE)?;
        let end = (data + DATA * PAGE) as u64;
        // Pieces: good ones, none, one over the end, one of the kernel's, one that is too long.
        let pieces = [(end - 8192, 100), (end - 4096, 5000), (8, 8), (end - 300, 0), (1 << 63, 9), (end - 90, 1 << 63)];
        for (place, (addr, len)) in pieces.into_iter().enumerate() {
            raw::store64(lists + 16 * place, addr);
            raw::store64(lists + 16 * place + 8, len);
        }
        let times = [(0, 300_000), (0, 0), (1000, 0), (-1_i64, 0), (0, 2_000_000_000), (i64::MAX, 999_999_999)];
        for (place, (sec, nsec)) in times.into_iter().enumerate() {
            raw::store64(lists + TIMES as usize + 16 * place, sec as u64);
            raw::store64(lists + TIMES as usize + 16 * place + 8, nsec);
        }
        for (place, path) in ["/tmp/ring-fuzz-a", "/tmp/ring-fuzz-b", "/tmp/ring-fuzz-a/x", ""].into_iter().enumerate()
        {
            let at = lists + PATHS as usize + 64 * place;
            path.bytes().enumerate().for_each(|(number, byte)| raw::store8(at + number, byte));
        }
        call!(MPROTECT, lists, PAGE, m::PROT_READ)?;
        Ok(Self { data, lists, fds, rings: Vec::new() })
    }

    pub fn address(&self, random: &mut Random) -> u64 {
        let (data, lists) = (self.data as u64, self.lists as u64);
        match random.below(12) {
            0..7 => data + random.below((DATA * PAGE) as u64 - 8192) / 8 * 8,
            7 => data + (DATA * PAGE) as u64 - random.below(40),
            8 => lists + 16 * random.below(6),
            9 => lists + TIMES + 16 * random.below(6),
            10 => lists + PATHS + 64 * random.below(4),
            _ => random.of(&[0, 8, u64::MAX, 1 << 63, u64::MAX - 7, 1 << 62, 0x8000_0000, data + (DATA * PAGE) as u64]),
        }
    }

    /// A page of the data.
    pub fn page(&self, random: &mut Random) -> usize {
        self.data + random.below(DATA as u64) as usize * PAGE
    }

    pub fn fd(&self, random: &mut Random) -> i32 {
        if random.once_in(12) { random.of(&[-1, 200, i32::MIN, i32::MAX, AT_FDCWD]) } else { random.of(&self.fds) }
    }

    fn time(&self, random: &mut Random) -> u64 {
        self.lists as u64 + TIMES + 16 * random.below(6)
    }

    fn path(&self, random: &mut Random) -> u64 {
        self.lists as u64 + PATHS + 64 * random.below(4)
    }
}

/// The fields that this operation needs.
fn right(random: &mut Random, pool: &Pool, newest: u64) -> Sqe {
    let opcode = random.below(u64::from(IORING_OP_LAST) + 1) as u8;
    // Those that wait come more often than those that do not.
    let opcode = if random.once_in(2) { opcode } else { random.of(OFTEN) };
    let some = Sqe { opcode, fd: pool.fd(random), ..Sqe::default() };
    let older = newest.saturating_sub(random.below(12));
    let len = random.below(300) as u32;
    match opcode {
        IORING_OP_NOP => Sqe { len, op_flags: IORING_NOP_INJECT_RESULT, ..some },
        IORING_OP_POLL_ADD => Sqe { op_flags: random.of(&[1, 4, 5, 0]), len: random.below(2) as u32, ..some },
        IORING_OP_POLL_REMOVE => Sqe { fd: -1, addr: older, ..some },
        IORING_OP_ASYNC_CANCEL => {
            let flags = if random.once_in(4) { random.below(64) as u32 } else { 0 };
            Sqe { addr: older, op_flags: flags, ..some }
        }
        IORING_OP_TIMEOUT => {
            let op_flags =
                random.of(&[0, 0, IORING_TIMEOUT_MULTISHOT, IORING_TIMEOUT_ABS, IORING_TIMEOUT_ETIME_SUCCESS]);
            Sqe { fd: -1, addr: pool.time(random), len: 1, off: random.below(4), op_flags, ..some }
        }
        IORING_OP_LINK_TIMEOUT => Sqe { fd: -1, addr: pool.time(random), len: 1, ..some },
        IORING_OP_TIMEOUT_REMOVE if random.once_in(2) => Sqe { fd: -1, addr: older, ..some },
        IORING_OP_TIMEOUT_REMOVE => {
            let op_flags = random.of(&[IORING_TIMEOUT_UPDATE, IORING_TIMEOUT_UPDATE | IORING_LINK_TIMEOUT_UPDATE]);
            Sqe { fd: -1, addr: older, off: pool.time(random), op_flags, ..some }
        }
        IORING_OP_ACCEPT => Sqe { ioprio: random.below(2) as u16, ..some },
        IORING_OP_RECV if random.once_in(2) => {
            const BOTH: u16 = IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE;
            let ioprio = random.of(&[IORING_RECV_MULTISHOT, IORING_RECVSEND_BUNDLE, BOTH]);
            Sqe { ioprio, flags: IOSQE_BUFFER_SELECT, buf_index: random.below(2) as u16, ..some }
        }
        IORING_OP_SEND if random.once_in(4) => {
            let (ioprio, buf_index) = (IORING_RECVSEND_BUNDLE, random.below(2) as u16);
            Sqe { ioprio, flags: IOSQE_BUFFER_SELECT, buf_index, ..some }
        }
        IORING_OP_READ_MULTISHOT => {
            Sqe { flags: IOSQE_BUFFER_SELECT, buf_index: random.below(2) as u16, off: u64::MAX, ..some }
        }
        IORING_OP_PROVIDE_BUFFERS => {
            let (fd, buf_index) = (1 + random.below(8) as i32, random.below(2) as u16);
            Sqe { fd, addr: pool.address(random), len: 32, off: random.below(20), buf_index, ..some }
        }
        IORING_OP_REMOVE_BUFFERS => Sqe { fd: 1 + random.below(8) as i32, buf_index: random.below(2) as u16, ..some },
        IORING_OP_OPENAT => {
            let file_index = if random.once_in(2) { random.below(6) as u32 } else { 0 };
            let op_flags = O_CREAT | O_RDWR;
            Sqe { fd: AT_FDCWD, addr: pool.path(random), len: 0o600, op_flags, file_index, ..some }
        }
        IORING_OP_MKDIRAT | IORING_OP_UNLINKAT => Sqe { fd: AT_FDCWD, addr: pool.path(random), ..some },
        IORING_OP_RENAMEAT | IORING_OP_LINKAT | IORING_OP_SYMLINKAT => {
            Sqe { fd: AT_FDCWD, addr: pool.path(random), off: pool.path(random), ..some }
        }
        IORING_OP_MSG_RING => {
            let fd = if pool.rings.is_empty() { -1 } else { random.of(&pool.rings) };
            Sqe { fd, len: 7, addr: random.below(2), file_index: random.below(4) as u32, ..some }
        }
        IORING_OP_FUTEX_WAIT => {
            Sqe { fd: random.of(&[2, 0x82]), addr: pool.page(random) as u64, addr3: u64::from(u32::MAX), ..some }
        }
        IORING_OP_FUTEX_WAKE => {
            let (addr, addr3) = (pool.page(random) as u64, u64::from(u32::MAX));
            Sqe { fd: random.of(&[2, 0x82]), addr, off: random.below(9), addr3, ..some }
        }
        IORING_OP_CLOSE if random.once_in(2) => Sqe { fd: 0, file_index: 1 + random.below(5) as u32, ..some },
        IORING_OP_WAITID => Sqe { fd: 0, len: 0, file_index: 4, addr: 0, ..some },
        IORING_OP_FILES_UPDATE => Sqe { addr: pool.address(random), len: 1, off: random.below(5), ..some },
        IORING_OP_READ_FIXED | IORING_OP_WRITE_FIXED => {
            Sqe { addr: pool.page(random) as u64, len, buf_index: random.below(3) as u16, ..some }
        }
        IORING_OP_READV | IORING_OP_WRITEV => Sqe { addr: pool.lists as u64, len: len % 5, ..some },
        _ => Sqe { addr: pool.address(random), len, off: random.of(&[0, 0, u64::MAX, 100]), ..some },
    }
}

const OFTEN: &[u8] = &[
    IORING_OP_NOP,
    IORING_OP_READ,
    IORING_OP_READ,
    IORING_OP_WRITE,
    IORING_OP_RECV,
    IORING_OP_SEND,
    IORING_OP_POLL_ADD,
    IORING_OP_TIMEOUT,
    IORING_OP_LINK_TIMEOUT,
    IORING_OP_ASYNC_CANCEL,
    IORING_OP_FUTEX_WAIT,
    IORING_OP_PROVIDE_BUFFERS,
    IORING_OP_READ_MULTISHOT,
];

/// What would harm this very program, or could not be told from others: memory that is not the pool's, messages that look like answers.
fn harmless(random: &mut Random, pool: &Pool, entry: &mut Sqe) {
    match entry.opcode {
        IORING_OP_MADVISE => (entry.addr, entry.len, entry.off) = (pool.page(random) as u64, PAGE as u32, 0),
        IORING_OP_PROVIDE_BUFFERS => (entry.len, entry.fd) = (entry.len % 64, entry.fd % 16),
        IORING_OP_CLOSE if !pool.fds.contains(&entry.fd) || pool.rings.contains(&entry.fd) => entry.fd = -1,
        IORING_OP_FALLOCATE => entry.addr %= 1 << 16,
        IORING_OP_MSG_RING => entry.off = FOREIGN | random.below(1 << 20),
        _ => {}
    }
}

/// An entry.
pub fn entry(random: &mut Random, pool: &Pool, user_data: u64) -> Sqe {
    let mut entry = right(random, pool, user_data);
    if random.once_in(3) {
        match random.below(10) {
            0 => entry.fd = pool.fd(random),
            1 => entry.addr = pool.address(random),
            2 => entry.len = random.of(&[0, 1, 4096, 70_000, 1 << 31, u32::MAX]),
            3 => entry.off = random.of(&[1, u64::MAX, u64::MAX - 1, 1 << 63, 1 << 40, pool.data as u64]),
            4 => entry.op_flags = 1 << random.below(32),
            5 => entry.ioprio = random.below(1 << 16) as u16,
            6 => entry.buf_index = random.below(5) as u16,
            7 => entry.file_index = random.of(&[1, 3, 9, u32::MAX, u32::MAX - 1]),
            8 => entry.addr3 = pool.address(random),
            _ => (entry.opcode, entry.fd) = (random.below(256) as u8, pool.fd(random)),
        }
    }
    let flags = [
        (6, IOSQE_IO_LINK),
        (24, IOSQE_IO_HARDLINK),
        (24, IOSQE_IO_DRAIN),
        (12, IOSQE_CQE_SKIP_SUCCESS),
        (16, IOSQE_ASYNC),
        (12, IOSQE_FIXED_FILE),
        (24, IOSQE_BUFFER_SELECT),
        (200, 1 << 7),
    ];
    for (times, flag) in flags {
        if random.once_in(times) {
            entry.flags |= flag;
        }
    }
    if entry.flags & IOSQE_FIXED_FILE != 0 && random.once_in(2) {
        entry.fd = random.below(6) as i32;
    }
    harmless(random, pool, &mut entry);
    Sqe { user_data, ..entry }
}

/// The number of a system call to be made without waiting, and its arguments.
pub fn call(random: &mut Random, pool: &Pool) -> (usize, [usize; 6]) {
    let fd = pool.fd(random) as usize;
    let (addr, len) = (pool.address(random) as usize, random.below(100) as usize);
    match random.below(9) {
        0..3 => (nr::READ, [fd, addr, len, 0, 0, 0]),
        3 => (nr::WRITE, [fd, addr, len, 0, 0, 0]),
        4 => (nr::NANOSLEEP, [pool.time(random) as usize, 0, 0, 0, 0, 0]),
        5 => (nr::FSTAT, [fd, addr, 0, 0, 0, 0]),
        6 => (nr::LSEEK, [fd, len, random.below(4) as usize, 0, 0, 0]),
        7 => (nr::PPOLL, [addr, 1, pool.time(random) as usize, 0, 0, 0]),
        _ => (random.of(&[nr::GETPID, nr::SCHED_YIELD, nr::MMAP, nr::FUTEX, 0xfff, nr::WAIT4]), [0; 6]),
    }
}
