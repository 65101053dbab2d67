//! An entry of each operation that is right: what cases need that are about all of them.

use super::*;
use crate::process::{RW, map, sleep_ms};
use alloc::boxed::Box;
use core::ffi::CStr;
use rt::abi::fs::{AT_FDCWD, Iovec, O_CREAT, O_RDWR, OpenHow};
use rt::abi::futex::FutexWaitv;
use rt::abi::net::{
    AF_INET, AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, Msghdr, SHUT_WR, SO_ERROR, SOCK_STREAM, SOL_SOCKET, SockaddrIn,
};
use rt::abi::poll::{EPOLL_CTL_ADD, EpollEvent};
use rt::abi::process::{P_PID, WEXITED};
use rt::abi::stat::STATX_BASIC_STATS;
use rt::fs::File;
use rt::ring::Buffers;

/// Those that go on after their first completion, until they are cancelled: numbers above all opcodes.
pub const AGAIN: [u16; 5] = [ACCEPTS_AGAIN, RECEIVES_AGAIN, POLLS_AGAIN, READS_AGAIN, BUNDLES_AGAIN];
const ACCEPTS_AGAIN: u16 = 256;
const RECEIVES_AGAIN: u16 = 257;
const POLLS_AGAIN: u16 = 258;
const READS_AGAIN: u16 = 259;
const BUNDLES_AGAIN: u16 = 260;

/// What entries point to.
struct Values {
    piece: Iovec,
    span: Timespec,
    long: Timespec,
    address: SockaddrIn,
    any_port: SockaddrIn,
    header: Msghdr,
    word: u32,
    words: FutexWaitv,
    how: OpenHow,
    event: EpollEvent,
    fd: i32,
    /// Of the answer.
    room: u32,
    value: [u8; 64],
    /// Where something is told of what was done.
    answer: [u64; 32],
}

const BYTES: usize = 100;
/// The group of provided buffers.
const GROUP: u16 = 5;
/// Milliseconds that a child goes on, and a time lasts.
const SHORT: u64 = 2;

/// On the disk, so that what works there waits; and elsewhere, for all that is not about files.
const ON_DISK: [&CStr; 4] = [c"/root/every-a", c"/root/every-b", c"/root/every-c", c"/root/every-d"];
const IN_MEMORY: [&CStr; 4] = [c"/tmp/every-a", c"/tmp/every-b", c"/tmp/every-c", c"/tmp/every-d"];

fn is_about_files(which: u16) -> bool {
    u8::try_from(which).is_ok_and(|opcode| {
        matches!(
            opcode,
            IORING_OP_READV..=IORING_OP_WRITE_FIXED
                | IORING_OP_SYNC_FILE_RANGE
                | IORING_OP_FALLOCATE..=IORING_OP_CLOSE
                | IORING_OP_STATX..=IORING_OP_FADVISE
                | IORING_OP_OPENAT2
                | IORING_OP_RENAMEAT..=IORING_OP_LINKAT
                | IORING_OP_FSETXATTR..=IORING_OP_GETXATTR
                | IORING_OP_FTRUNCATE
        )
    })
}

/// What the entries name. Sockets that one entry is about are open as long as its process.
pub struct Stage {
    pub ring: Ring,
    other_ring: Ring,
    /// The buffers of a group, which lie in the second page of the data.
    buffers: Buffers,
    values: Box<Values>,
    /// Pages.
    data: usize,
    /// What waits at its beginning waits for a byte of this.
    pub gate: (File, File),
    /// A few bytes are in it.
    full: (File, File),
    pub pair: (File, File),
    file: File,
    set: File,
    listener: File,
    connected: bool,
    paths: &'static [&'static CStr; 4],
}

fn socket(domain: u32) -> Result<File, Errno> {
    call!(SOCKET, domain, SOCK_STREAM, 0).map(raw::file)
}

fn pipe() -> Result<(File, File), Trouble> {
    Ok(rt::pipe::pipe()?)
}

fn address_of<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

impl Values {
    fn new() -> Self {
        let any_port = SockaddrIn { family: AF_INET as u16, port: [0; 2], addr: [127, 0, 0, 1], zero: [0; 8] };
        Self {
            piece: Iovec { base: 0, len: 0 },
            span: millis(SHORT),
            long: millis(100_000),
            address: any_port,
            any_port,
            header: Msghdr {
                name: 0,
                namelen: 0,
                pad: 0,
                iov: 0,
                iovlen: 1,
                control: 0,
                controllen: 0,
                flags: 0,
                pad2: 0,
            },
            word: 0,
            words: FutexWaitv { val: 0, uaddr: 0, flags: 0x82, reserved: 0 },
            how: OpenHow { flags: O_RDWR.into(), mode: 0, resolve: 0 },
            event: EpollEvent { events: 1, pad: 0, data: 1 },
            fd: -1,
            room: size_of::<SockaddrIn>() as u32,
            value: [1; 64],
            answer: [0; 32],
        }
    }
}

impl Stage {
    /// Everything is there for an entry of `which`: files in the table of the ring, buffers of both kinds, a listener on a port of its own.
    pub fn new(which: u16) -> Result<Self, Trouble> {
        let paths = if is_about_files(which) { &ON_DISK } else { &IN_MEMORY };
        for path in paths {
            for flags in [0, rt::abi::fs::AT_REMOVEDIR] {
                let _ = call!(UNLINKAT, AT_FDCWD, path.as_ptr(), flags);
            }
        }
        let file = raw::file(call!(OPENAT, AT_FDCWD, paths[0].as_ptr(), O_CREAT | O_RDWR, 0o600)?);
        let mut pair = [0i32; 2];
        call!(SOCKETPAIR, AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr())?;
        let listener = socket(AF_INET)?;
        call!(LISTEN, listener.fd().raw(), 4)?;
        let ring = Ring::new(16, 0)?;
        let mut stage = Self {
            buffers: Buffers::new(&ring, GROUP, 4)?,
            ring,
            other_ring: Ring::new(4, 0)?,
            values: Box::new(Values::new()),
            data: map(3 * PAGE, RW)?,
            gate: pipe()?,
            full: pipe()?,
            pair: (raw::file(pair[0] as usize), raw::file(pair[1] as usize)),
            file,
            set: raw::file(call!(EPOLL_CREATE1, 0)?),
            listener,
            connected: false,
            paths,
        };
        stage.fill()?;
        Ok(stage)
    }

    fn fill(&mut self) -> Outcome {
        let values = &mut *self.values;
        values.piece = Iovec { base: self.data as u64, len: BYTES as u64 };
        values.header.iov = (&raw const values.piece) as u64;
        values.words.uaddr = (&raw const values.word) as u64;
        values.fd = self.full.0.fd().raw();
        let mut len = size_of::<SockaddrIn>() as u32;
        call!(GETSOCKNAME, self.listener.fd().raw(), &raw mut values.address, &raw mut len)?;
        values.address.addr = [127, 0, 0, 1];
        call!(WRITE, self.file.fd().raw(), self.data, PAGE)?;
        call!(WRITE, self.full.1.fd().raw(), self.data, BYTES)?;
        let fd = self.ring.fd().raw();
        let places = [self.file.fd().raw(), -1];
        call!(IO_URING_REGISTER, fd, IORING_REGISTER_FILES, places.as_ptr(), 2)?;
        let piece = Iovec { base: self.data as u64, len: PAGE as u64 };
        call!(IO_URING_REGISTER, fd, IORING_REGISTER_BUFFERS, &raw const piece, 1)?;
        for number in 0..4 {
            self.buffers.add(self.data + PAGE + 64 * number, 64, number as u16);
        }
        Ok(())
    }

    /// An entry of `which`, an operation or one of [`AGAIN`]; `None`: there is none.
    pub fn entry(&self, which: u16) -> Result<Option<Sqe>, Errno> {
        let Ok(opcode) = u8::try_from(which) else { return Ok(self.again(which)) };
        Ok(self
            .transfers(opcode)
            .or_else(|| self.by_path(opcode))
            .or(self.of_sockets(opcode)?)
            .or(self.others(opcode)?))
    }

    fn again(&self, which: u16) -> Option<Sqe> {
        let selects = |opcode, file: &File| Sqe {
            flags: IOSQE_BUFFER_SELECT,
            buf_index: GROUP,
            ..calls::call_of(opcode, file.fd().raw())
        };
        Some(match which {
            ACCEPTS_AGAIN => Sqe { ioprio: IORING_ACCEPT_MULTISHOT, ..self.on(IORING_OP_ACCEPT, &self.listener) },
            RECEIVES_AGAIN => Sqe { ioprio: IORING_RECV_MULTISHOT, ..selects(IORING_OP_RECV, &self.pair.0) },
            BUNDLES_AGAIN => {
                let ioprio = IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE;
                Sqe { ioprio, ..selects(IORING_OP_RECV, &self.pair.0) }
            }
            POLLS_AGAIN => {
                Sqe { len: IORING_POLL_ADD_MULTI, op_flags: POLLIN.into(), ..self.on(IORING_OP_POLL_ADD, &self.pair.0) }
            }
            READS_AGAIN => selects(IORING_OP_READ_MULTISHOT, &self.full.0),
            _ => return None,
        })
    }

    fn on(&self, opcode: u8, file: &File) -> Sqe {
        calls::call_of(opcode, file.fd().raw())
    }

    fn transfers(&self, opcode: u8) -> Option<Sqe> {
        let (file, data) = (self.on(opcode, &self.file), self.data as u64);
        let (len, name) = (BYTES as u32, c"user.every".as_ptr() as u64);
        Some(match opcode {
            IORING_OP_READ | IORING_OP_WRITE | IORING_OP_READ_FIXED | IORING_OP_WRITE_FIXED => {
                Sqe { addr: data, len, ..file }
            }
            IORING_OP_READV | IORING_OP_WRITEV => Sqe { addr: address_of(&self.values.piece), len: 1, ..file },
            IORING_OP_FSYNC | IORING_OP_SYNC_FILE_RANGE | IORING_OP_FADVISE => file,
            IORING_OP_FALLOCATE => Sqe { addr: 9000, ..file },
            IORING_OP_FTRUNCATE => Sqe { off: 100, ..file },
            IORING_OP_FSETXATTR | IORING_OP_FGETXATTR => Sqe {
                addr: name,
                off: address_of(&self.values.value),
                len: if opcode == IORING_OP_FSETXATTR { 8 } else { 64 },
                ..file
            },
            IORING_OP_SPLICE | IORING_OP_TEE => {
                let from = self.full.0.fd().raw().cast_unsigned();
                let none = if opcode == IORING_OP_SPLICE { u64::MAX } else { 0 };
                Sqe { addr: none, off: none, len: 9, file_index: from, ..self.on(opcode, &self.gate.1) }
            }
            IORING_OP_READ_MULTISHOT => return self.again(READS_AGAIN),
            _ => return None,
        })
    }

    fn by_path(&self, opcode: u8) -> Option<Sqe> {
        let [old, new, third, directory] = self.paths.map(|path| path.as_ptr() as u64);
        let path = Sqe { addr: old, ..calls::call_of(opcode, AT_FDCWD) };
        Some(match opcode {
            IORING_OP_OPENAT => Sqe { op_flags: O_CREAT | O_RDWR, len: 0o600, addr: new, ..path },
            IORING_OP_OPENAT2 => Sqe { off: address_of(&self.values.how), len: size_of::<OpenHow>() as u32, ..path },
            IORING_OP_STATX => Sqe { off: address_of(&self.values.answer), len: STATX_BASIC_STATS, ..path },
            IORING_OP_UNLINKAT => path,
            IORING_OP_MKDIRAT => Sqe { addr: directory, len: 0o700, ..path },
            IORING_OP_SYMLINKAT => Sqe { off: third, ..path },
            IORING_OP_RENAMEAT | IORING_OP_LINKAT => Sqe { off: third, len: AT_FDCWD as u32, ..path },
            IORING_OP_SETXATTR | IORING_OP_GETXATTR => {
                let (addr, off) = (c"user.every".as_ptr() as u64, address_of(&self.values.value));
                Sqe { addr, off, len: if opcode == IORING_OP_SETXATTR { 8 } else { 64 }, addr3: old, fd: 0, ..path }
            }
            _ => return None,
        })
    }

    fn of_sockets(&self, opcode: u8) -> Result<Option<Sqe>, Errno> {
        let (pair, data, len) = (self.on(opcode, &self.pair.0), self.data as u64, BYTES as u32);
        // What is made for one entry is its process's to close.
        let fresh = || -> Result<Sqe, Errno> {
            let socket = core::mem::ManuallyDrop::new(socket(AF_INET)?);
            Ok(calls::call_of(opcode, socket.fd().raw()))
        };
        let address =
            |socket: Sqe| Sqe { addr: address_of(&self.values.address), off: size_of::<SockaddrIn>() as u64, ..socket };
        Ok(Some(match opcode {
            IORING_OP_SEND | IORING_OP_RECV => Sqe { addr: data, len, ..pair },
            IORING_OP_SENDMSG | IORING_OP_RECVMSG => Sqe { addr: address_of(&self.values.header), len: 1, ..pair },
            IORING_OP_SHUTDOWN => Sqe { len: SHUT_WR, ..pair },
            IORING_OP_URING_CMD => Sqe {
                off: SOCKET_URING_OP_GETSOCKOPT.into(),
                addr: u64::from(SOL_SOCKET) | u64::from(SO_ERROR) << 32,
                addr3: address_of(&self.values.answer),
                file_index: 4,
                ..pair
            },
            IORING_OP_SEND_ZC => Sqe { addr: data, len, ..self.connected_to(opcode)? },
            IORING_OP_SENDMSG_ZC => Sqe { addr: address_of(&self.values.header), len: 1, ..self.connected_to(opcode)? },
            IORING_OP_ACCEPT => self.on(opcode, &self.listener),
            IORING_OP_CONNECT => address(fresh()?),
            IORING_OP_BIND => Sqe { addr: address_of(&self.values.any_port), ..address(fresh()?) },
            IORING_OP_LISTEN => Sqe { len: 4, ..fresh()? },
            IORING_OP_SOCKET => Sqe { off: SOCK_STREAM.into(), ..calls::call_of(opcode, AF_INET as i32) },
            _ => return Ok(None),
        }))
    }

    fn connected_to(&self, opcode: u8) -> Result<Sqe, Errno> {
        let client = core::mem::ManuallyDrop::new(socket(AF_INET)?);
        call!(CONNECT, client.fd().raw(), address_of(&self.values.address), size_of::<SockaddrIn>())?;
        Ok(calls::call_of(opcode, client.fd().raw()))
    }

    fn others(&self, opcode: u8) -> Result<Option<Sqe>, Errno> {
        let none = calls::call_of(opcode, -1);
        let span = Sqe { addr: address_of(&self.values.span), len: 1, ..none };
        Ok(Some(match opcode {
            IORING_OP_NOP => none,
            IORING_OP_POLL_ADD => Sqe { op_flags: POLLIN.into(), ..self.on(opcode, &self.pair.0) },
            IORING_OP_POLL_REMOVE | IORING_OP_ASYNC_CANCEL => Sqe { addr: 1, ..none },
            IORING_OP_TIMEOUT | IORING_OP_LINK_TIMEOUT => span,
            IORING_OP_TIMEOUT_REMOVE => {
                Sqe { addr: 1, off: address_of(&self.values.span), op_flags: IORING_TIMEOUT_UPDATE, ..none }
            }
            IORING_OP_CLOSE => calls::call_of(opcode, call!(DUP, self.file.fd().raw())? as i32),
            IORING_OP_FILES_UPDATE => Sqe { addr: address_of(&self.values.fd), len: 1, off: 1, ..none },
            IORING_OP_FIXED_FD_INSTALL => Sqe { fd: 0, flags: IOSQE_FIXED_FILE, ..none },
            IORING_OP_MADVISE => {
                Sqe { addr: (self.data + 2 * PAGE) as u64, len: PAGE as u32, op_flags: m::MADV_DONTNEED, ..none }
            }
            IORING_OP_EPOLL_CTL => {
                let fd = self.gate.0.fd().raw() as u64;
                Sqe { addr: address_of(&self.values.event), len: EPOLL_CTL_ADD, off: fd, ..self.on(opcode, &self.set) }
            }
            IORING_OP_PROVIDE_BUFFERS => Sqe { fd: 2, addr: self.data as u64, len: 64, buf_index: GROUP + 1, ..none },
            IORING_OP_REMOVE_BUFFERS => Sqe { fd: 1, buf_index: GROUP + 1, ..none },
            IORING_OP_MSG_RING => Sqe { off: 5, len: 5, ..calls::call_of(opcode, self.other_ring.fd().raw()) },
            IORING_OP_FUTEX_WAIT | IORING_OP_FUTEX_WAKE => {
                let off = u64::from(opcode == IORING_OP_FUTEX_WAKE);
                Sqe { fd: 0x82, addr: address_of(&self.values.word), off, addr3: u32::MAX.into(), ..none }
            }
            IORING_OP_FUTEX_WAITV => Sqe { fd: 0, addr: address_of(&self.values.words), len: 1, ..none },
            IORING_OP_WAITID => {
                let pid = child(|| {
                    sleep_ms(SHORT);
                    0
                })?;
                Sqe { fd: pid, len: P_PID, file_index: WEXITED, off: address_of(&self.values.answer), ..none }
            }
            _ => return Ok(None),
        }))
    }

    /// Does what each of them may wait for. None of this waits, and what is there already is no matter.
    pub fn feed(&mut self) {
        let _ = call!(FUTEX, address_of(&self.values.word), 0x81, 8, 0, 0, 0);
        let _ = call!(SENDTO, self.pair.1.fd().raw(), self.data as u64, 4, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
        if !self.connected {
            self.connected = self.connected_to(0).is_ok();
        }
    }

    /// Submits these.
    pub fn begin(&mut self, entries: &[Sqe]) -> Outcome {
        self.connected = false;
        for entry in entries {
            ensure!(self.ring.push_raw(entry));
        }
        equal!(self.ring.submit(0)?, entries.len());
        Ok(())
    }

    /// Does what `count` entries wait for until all have ended, of which one is of `which`; what each said, more than once where one goes on. One of [`AGAIN`] is
    /// cancelled then.
    pub fn ends(&mut self, count: usize, which: u16) -> Result<Vec<(u64, i32)>, Trouble> {
        let (mut left, mut results, mut goes_on, mut is_cancelled) = (count, Vec::new(), false, false);
        loop {
            while let Some(found) = self.ring.pop() {
                let is_last = found.flags & IORING_CQE_F_MORE == 0;
                left -= usize::from(is_last);
                goes_on |= !is_last;
                // A canceller that had no memory has ended nothing.
                is_cancelled &= found.user_data != CANCELLER || found.res >= 0;
                // That of a send without a copy says nothing more of it.
                if found.flags & IORING_CQE_F_NOTIF == 0 {
                    results.push((found.user_data, found.res));
                }
            }
            if left == 0 {
                return Ok(results);
            }
            if !is_cancelled {
                // Else it would go on while it does: who has its completion at once, in each call, never lets the hart go to what cancels, until its slice is over.
                self.feed();
            }
            let is_endless = AGAIN.contains(&which) || which == u16::from(IORING_OP_READ_MULTISHOT);
            if goes_on && is_endless && !is_cancelled {
                let cancel = Sqe { user_data: CANCELLER, ..cancel_of(ENTRY, 0) };
                is_cancelled = self.ring.push_raw(&cancel) && self.ring.submit(0).is_ok();
                left += usize::from(is_cancelled);
            }
            self.waits_shortly();
        }
    }

    /// Submits one and feeds it until it has ended; the first that it said.
    pub fn result_of(&mut self, entry: Sqe) -> Result<i32, Trouble> {
        self.begin(&[entry])?;
        let results = self.ends(1, entry.opcode.into())?;
        results.first().map(|(_, result)| *result).ok_or(Trouble::failed("it says nothing"))
    }

    /// Where an address and its length may be written.
    pub fn room(&self) -> (u64, u64) {
        (address_of(&self.values.answer), address_of(&self.values.room))
    }

    /// What waits at the gate goes on.
    pub fn open_gate(&self) {
        let _ = call!(WRITE, self.gate.1.fd().raw(), self.data, 1);
    }

    /// A limit that is never reached.
    pub fn limit(&self) -> Sqe {
        Sqe {
            addr: address_of(&self.values.long),
            len: 1,
            user_data: LIMIT,
            ..calls::call_of(IORING_OP_LINK_TIMEOUT, -1)
        }
    }

    /// Waits for a completion, but not for long: what is to come may have to be fed once more.
    pub fn waits_shortly(&self) {
        let argument = GetEvents { ts: address_of(&self.values.span), ..GetEvents::default() };
        let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        let _ = call!(IO_URING_ENTER, self.ring.fd().raw(), 0, 1, flags, &raw const argument, size_of::<GetEvents>());
    }

    /// A read that waits at the gate.
    pub fn waits(&self) -> Sqe {
        Sqe { addr: self.data as u64, len: 1, user_data: GATE, ..self.on(IORING_OP_READ, &self.gate.0) }
    }
}

/// What comes back: of the entry, of the read at the gate, of the limit of a chain, of what cancels.
pub const ENTRY: u64 = 7;
pub const GATE: u64 = 21;
pub const LIMIT: u64 = 22;
const CANCELLER: u64 = 23;

/// The operations that a probe tells of.
pub fn probed() -> Result<Vec<u16>, Trouble> {
    let ring = Ring::new(1, 0)?;
    let mut found = [0u64; 2 + 64];
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_PROBE, found.as_mut_ptr(), 64)?;
    Ok((0..64).filter(|opcode| found[2 + usize::from(*opcode)] >> 16 & 1 == 1).collect())
}
