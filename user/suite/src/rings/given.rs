//! What entries say in memory, which is the program's again as soon as they are taken, also behind one that waits (`IORING_FEAT_SUBMIT_STABLE`).

use super::calls::{call_of, one};
use super::*;
use crate::sockets::rights::{Control, HEADER, NUMBER, connected, message, pair, pipe, receive_one};
use core::ffi::CStr;
use rt::abi::fs::{AT_FDCWD, AT_REMOVEDIR, Iovec, O_CREAT, O_RDWR, OpenHow};
use rt::abi::futex::{FUTEX2_PRIVATE, FUTEX2_SIZE_U32, FutexWaitv};
use rt::abi::net::{AF_UNIX, SOCK_DGRAM};
use rt::abi::poll::{EPOLL_CTL_ADD, EpollEvent};
use rt::abi::stat::{STATX_BASIC_STATS, Statx};
use rt::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    case!("ring/paths-are-taken-with-their-entries", "C4 D3 D14", paths),
    case!("ring/lists-are-taken-with-their-entries", "C4 D3 D14", lists),
    case!("ring/messages-are-taken-with-their-entries", "C4 D3 D14", messages),
    case!("ring/what-is-not-there-is-fetched-for-a-chain", "C4 D13 D3", fetched),
    case!("ring/what-goes-again-is-fetched-again", "C4 D13 E1", fetched_again),
    case!("ring/a-chain-with-a-wrong-address-does-not-begin", "C4 E1 D3", wrong_address),
];

/// Memory that entries say something in, and that is then used for something else.
struct Block {
    base: usize,
    used: usize,
}

impl Block {
    const LEN: usize = 4 * PAGE;

    fn new() -> Result<Self, Errno> {
        Ok(Self { base: crate::process::map(Self::LEN, crate::process::RW)?, used: 0 })
    }

    /// Where a value lies from now on.
    fn put<T: Copy>(&mut self, value: T) -> u64 {
        self.put_bytes(raw::bytes((&raw const value).addr(), size_of::<T>()))
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> u64 {
        let at = self.used.next_multiple_of(16);
        self.used = at + bytes.len();
        assert!(self.used <= Self::LEN);
        raw::bytes(self.base + at, bytes.len()).copy_from_slice(bytes);
        (self.base + at) as u64
    }

    fn path(&mut self, path: &CStr) -> u64 {
        self.put_bytes(path.to_bytes_with_nul())
    }

    fn used_otherwise(self) {
        raw::bytes(self.base, Self::LEN).fill(0xff);
    }
}

/// Submits entries behind one that waits, has their memory used for something else, and lets them go on; their results.
fn behind_a_wait(block: Block, entries: &[Sqe]) -> Result<Vec<i32>, Trouble> {
    let mut ring = Ring::new(32, 0)?;
    ensure!(ring.features() & IORING_FEAT_SUBMIT_STABLE != 0, "it is not told");
    let (read, mut write) = rt::pipe::pipe()?;
    let mut byte = [0u8];
    let linked = |entry: Sqe| Sqe { flags: entry.flags | IOSQE_IO_HARDLINK, ..entry };
    push(&mut ring, &[linked(transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0))]);
    for &entry in entries {
        push(&mut ring, &[linked(entry)]);
    }
    equal!(ring.submit(0)?, 1 + entries.len());
    ensure!(ring.pop().is_none(), "before its turn");
    block.used_otherwise();
    io::Write::write_all(&mut write, b"x")?;
    Ok(wait(&mut ring, 1 + entries.len() as u32)?.into_iter().skip(1).map(|(_, result)| result).collect())
}

fn paths() -> Outcome {
    let mut block = Block::new()?;
    let at = |addr, opcode| Sqe { addr, ..call_of(opcode, AT_FDCWD) };
    let (dir, old, new) =
        (block.path(c"/tmp/ring-given"), block.path(c"/tmp/ring-given/old"), block.path(c"/tmp/ring-given/new"));
    let link = block.path(c"/tmp/ring-given/link");
    let (name, value) = (block.path(c"user.given"), block.put(*b"value"));
    let how = block.put(OpenHow { flags: u64::from(O_CREAT | O_RDWR), mode: 0o600, resolve: 0 });
    let (mut statx, mut found) = ([0u8; size_of::<Statx>()], [0u8; 8]);
    let to_new = |opcode| Sqe { off: new, len: AT_FDCWD as u32, ..at(old, opcode) };
    let attribute = |opcode, value, len| Sqe { addr3: new, off: value, len, fd: 0, ..at(name, opcode) };
    let results = behind_a_wait(
        block,
        &[
            Sqe { len: 0o755, ..at(dir, IORING_OP_MKDIRAT) },
            Sqe { off: how, len: size_of::<OpenHow>() as u32, ..at(old, IORING_OP_OPENAT2) },
            Sqe { op_flags: O_RDWR, ..at(old, IORING_OP_OPENAT) },
            to_new(IORING_OP_RENAMEAT),
            Sqe { off: link, len: 0, ..at(new, IORING_OP_SYMLINKAT) },
            Sqe { off: statx.as_mut_ptr() as u64, len: STATX_BASIC_STATS, ..at(link, IORING_OP_STATX) },
            attribute(IORING_OP_SETXATTR, value, 5),
            attribute(IORING_OP_GETXATTR, found.as_mut_ptr() as u64, 8),
            at(link, IORING_OP_UNLINKAT),
            at(new, IORING_OP_UNLINKAT),
            Sqe { op_flags: AT_REMOVEDIR, ..at(dir, IORING_OP_UNLINKAT) },
        ],
    )?;
    let [0, first, second, 0, 0, 0, 0, 5, 0, 0, 0] = results[..] else {
        return Err(Trouble::failed(format_args!("{results:?}")));
    };
    ensure!(first > 2 && second > 2, "{first}, {second}");
    equal!(found, *b"value\0\0\0");
    drop((raw::file(first as usize), raw::file(second as usize)));
    Ok(())
}

fn lists() -> Outcome {
    let mut block = Block::new()?;
    let (read, write) = rt::pipe::pipe()?;
    let bytes = *b"one, two";
    let mut found = [0u8; 8];
    let piece = |bytes: &[u8]| Iovec { base: bytes.as_ptr() as u64, len: bytes.len() as u64 };
    let out = block.put([piece(&bytes[..3]), piece(&bytes[3..])]);
    let into = block.put([piece(&found[..1]), piece(&found[1..])]);
    let word = core::sync::atomic::AtomicU32::new(5);
    let flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;
    let words = block.put([FutexWaitv { val: 4, uaddr: word.as_ptr() as u64, flags, reserved: 0 }]);
    let set = call!(EPOLL_CREATE1, 0)?;
    let event = block.put(EpollEvent { events: POLLOUT.into(), pad: 0, data: 77 });
    let list = |opcode, fd: i32, addr| Sqe { addr, len: 2, off: u64::MAX, ..call_of(opcode, fd) };
    let adds = Sqe {
        len: EPOLL_CTL_ADD,
        off: write.fd().raw() as u64,
        addr: event,
        ..call_of(IORING_OP_EPOLL_CTL, set as i32)
    };
    let results = behind_a_wait(
        block,
        &[
            list(IORING_OP_WRITEV, write.fd().raw(), out),
            list(IORING_OP_READV, read.fd().raw(), into),
            Sqe { addr: words, len: 1, ..call_of(IORING_OP_FUTEX_WAITV, 0) },
            adds,
        ],
    )?;
    equal!(results, [8, 8, -11, 0]);
    equal!(raw::bytes(found.as_mut_ptr() as usize, 8), bytes);
    let mut told = EpollEvent { events: 0, pad: 0, data: 0 };
    equal!(call!(EPOLL_PWAIT, set, &raw mut told, 1, 0, 0, 8)?, 1);
    equal!(told.data, 77);
    drop(raw::file(set));
    Ok(())
}

fn messages() -> Outcome {
    let mut block = Block::new()?;
    let (near, far) = pair(SOCK_DGRAM)?;
    let (mut pipe_read, pipe_write) = pipe()?;
    let socket = || call!(SOCKET, AF_UNIX, SOCK_DGRAM, 0).map(raw::file);
    let (named, to_it) = (socket()?, socket()?);
    let mut address = [0u8; 110];
    address[0] = AF_UNIX as u8;
    address[3..13].copy_from_slice(b"ring-given");
    let (address, len) = (block.put(address), 13);
    let piece = block.put(Iovec { base: b"x".as_ptr() as u64, len: 1 });
    let control = Control::of(&[pipe_write.fd().raw()]);
    let kept = block.put_bytes(raw::bytes(control.address() as usize, HEADER + NUMBER));
    let head = message(&Iovec { base: 0, len: 0 }, &Control::room(0), HEADER + NUMBER);
    let out = block.put(rt::abi::net::Msghdr { iov: piece, control: kept, ..head });
    let mut found = [0u8; 8];
    let room = block.put(Iovec { base: found.as_mut_ptr() as u64, len: 8 });
    let into = block.put(rt::abi::net::Msghdr { iov: room, control: 0, controllen: 0, ..head });
    let about = |opcode, file: &rt::fs::File, addr| Sqe { addr, len: 1, ..call_of(opcode, file.fd().raw()) };
    let by_name = |opcode, file| Sqe { off: len, len: 0, ..about(opcode, file, address) };
    let bytes = b"to a name";
    let sends =
        Sqe { len: 9, off: address, file_index: len as u32, ..about(IORING_OP_SEND, &to_it, bytes.as_ptr() as u64) };
    let results = behind_a_wait(
        block,
        &[
            about(IORING_OP_SENDMSG, &near, out),
            by_name(IORING_OP_BIND, &named),
            sends,
            about(IORING_OP_RECVMSG, &named, into),
            by_name(IORING_OP_CONNECT, &to_it),
        ],
    )?;
    equal!(results, [1, 0, 9, 8, 0]);
    equal!(raw::bytes(found.as_mut_ptr() as usize, 8), b"to a nam");
    drop(pipe_write);
    let mut write = receive_one(&far)?;
    connected(&mut pipe_read, &mut write, b"by a kept message")
}

/// A file's pages that nobody has read yet, a path across two of them.
fn fetched() -> Outcome {
    let place = crate::place::Place::disk()?;
    let path = place.join("given");
    let mut content = alloc::vec![b'/'; 2 * PAGE];
    let name = b"tmp/ring-fetched\0";
    content[PAGE + 100..][..name.len()].copy_from_slice(name);
    rt::fs::write(&path, &content)?;
    let file = rt::fs::File::open(&path)?;
    let base = call!(MMAP, 0, 2 * PAGE, m::PROT_READ, m::MAP_PRIVATE, file.fd().raw(), 0)?;
    let mut ring = Ring::new(8, 0)?;
    // As many slashes as one.
    let addr = (base + PAGE - 100) as u64;
    let makes = Sqe { addr, len: 0o755, flags: IOSQE_IO_LINK, ..call_of(IORING_OP_MKDIRAT, AT_FDCWD) };
    let removes = Sqe { addr, op_flags: AT_REMOVEDIR, ..call_of(IORING_OP_UNLINKAT, AT_FDCWD) };
    push(&mut ring, &[makes, removes]);
    equal!(ring.submit(0)?, 2);
    let found: Vec<_> = wait(&mut ring, 2)?.into_iter().map(|(_, result)| result).collect();
    call!(MUNMAP, base, 2 * PAGE)?;
    equal!(found, [0, 0]);
    Ok(())
}

/// A page that is taken away again between being made present and the entry's next turn is no error of the entry.
fn fetched_again() -> Outcome {
    let (page, stop) = (crate::process::map(PAGE, crate::process::RW)?, Shared::new()?);
    let taker = thread::spawn(move || {
        while stop.get(0) == 0 {
            let _ = call!(MADVISE, page, PAGE, m::MADV_DONTNEED);
        }
    })?;
    let mut ring = Ring::new(8, 0)?;
    // A time of zeros is over at once.
    let entry = Sqe { addr: page as u64, len: 1, ..call_of(IORING_OP_TIMEOUT, -1) };
    let mut found = Ok(-Errno::ETIME.number());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) && matches!(found, Ok(result) if result == -Errno::ETIME.number()) {
        found = one(&mut ring, entry);
    }
    stop.set(0, 1);
    let _ = taker.join();
    call!(MUNMAP, page, PAGE)?;
    equal!(found?, -Errno::ETIME.number());
    Ok(())
}

/// As on Linux, which copies it when the entry is taken.
fn wrong_address() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let unmapped = crate::process::map(PAGE, crate::process::RW)?;
    call!(MUNMAP, unmapped, PAGE)?;
    for addr in [unmapped as u64, 8, 1 << 63] {
        let wrong = Sqe { addr, user_data: 2, ..call_of(IORING_OP_UNLINKAT, AT_FDCWD) };
        push(&mut ring, &[nop(1, IOSQE_IO_LINK, 0), Sqe { flags: IOSQE_IO_LINK, ..wrong }, nop(3, 0, 0)]);
        equal!(ring.submit(0)?, 3);
        equal!(reap(&mut ring), [(1, CANCELLED), (2, -14), (3, CANCELLED)]);
    }
    Ok(())
}
