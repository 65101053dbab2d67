//! What programs do to the memory, descriptors and objects that entries name; the table of note 0005 says which case is for what.

use super::calls::{call_of, one};
use super::hostile::scramble;
use super::*;
use crate::process::{RW, map, map_at, sleep_ms, unmap};
use rt::abi::fs::{AT_FDCWD, Iovec, O_PATH};
use rt::abi::net::MSG_DONTWAIT;
use rt::fs::File;

pub const CASES: &[Case] = &[
    case!("ring/mapping-changes-meanwhile", "C4 D15 S6", mapping_changes),
    case!("ring/tables-change-meanwhile", "C4 D15 S6", tables_change),
    case!("ring/pointers-to-anything", "C4 E1 S6", pointers),
    case!("ring/pointers-of-every-operation", "C4 E1 S6", pointers_of_every_operation),
    case!("ring/is-its-own-buffer", "C4 S6", own_buffer),
    case!("ring/memory-changes-while-requests-wait", "C4 D15 S6", memory_changes),
    case!("ring/descriptor-becomes-another", "C4 D14 S6", descriptor_becomes_another),
    case!("ring/rings-that-poll-each-other", "C4 D14 S6", poll_each_other),
    case!("ring/counter-that-tells-of-itself", "C4 E1", counter_of_itself),
];

const EBADF: i32 = -9;
const EFAULT: i32 = -14;

/// Pages of entries come and go, are protected and moved, while another thread's call reads them.
fn mapping_changes() -> Outcome {
    let ring = Ring::new(64, 0)?;
    let (fd, [(words, _), (entries, bytes)]) = (ring.fd().raw(), ring.mappings());
    let view = call!(MMAP, 0, PAGE, RW, m::MAP_SHARED, fd, IORING_OFF_SQ_RING)?;
    let (head, tail) = [at::SQ_HEAD, at::SQ_TAIL].map(|word| raw::atomic(view + ring.address(word) - words)).into();
    let stop = Shared::new()?;
    let changer = thread::spawn(move || {
        let mut at = entries;
        while stop.get(0) == 0 {
            let _ = call!(MPROTECT, at, bytes, m::PROT_NONE);
            let _ = call!(MADVISE, at, bytes, m::MADV_DONTNEED);
            let _ = unmap(at, bytes);
            let _ = call!(MMAP, at, bytes, RW, m::MAP_SHARED | m::MAP_FIXED, fd, IORING_OFF_SQES);
            at = call!(MREMAP, at, bytes, bytes, m::MREMAP_MAYMOVE, 0).unwrap_or(at);
        }
        let _ = unmap(at, bytes);
        call!(MMAP, entries, bytes, RW, m::MAP_SHARED | m::MAP_FIXED, fd, IORING_OFF_SQES).is_ok()
    })?;
    for _ in 0..500 {
        let next = tail.load(Relaxed).wrapping_add(64);
        tail.store(next, Relaxed);
        while head.load(Relaxed) != next {
            call!(IO_URING_ENTER, fd, 64, 0, IORING_ENTER_GETEVENTS, 0, 0)?;
        }
        // Takes them all, unread.
        let [from, to] = [at::CQ_TAIL, at::CQ_HEAD].map(|word| raw::atomic(view + ring.address(word) - words));
        to.store(from.load(Relaxed), Relaxed);
    }
    stop.set(0, 1);
    equal!(changer.join(), Some(true));
    unmap(view, PAGE)?;
    nothing()
}

/// Tables of files and buffers, and a ring of buffers, are made and taken away while another thread submits what names places in them: some that end at once, and some
/// that wait meanwhile.
fn tables_change() -> Outcome {
    const GROUP: u16 = 3;
    const NO_BUFFER: i32 = -105;
    let mut ring = Ring::new(16, 0)?;
    let (fd, base) = (ring.fd().raw(), map(2 * PAGE, RW)?);
    let (stop, file) = (Shared::new()?, File::open("/bin/sh")?);
    let (read, mut write) = rt::pipe::pipe()?;
    let pipe = read.fd().raw();
    let files = [file.fd().raw(), pipe, file.fd().raw(), pipe];
    let changer = thread::spawn(move || changes_tables(fd, base, &files, stop))?;
    let mut outcome = Ok(());
    for _ in 0..500 {
        let entry = Sqe { addr: base as u64, len: 64, ..call_of(IORING_OP_READ_FIXED, 2) };
        let both = Sqe { flags: IOSQE_FIXED_FILE, ..entry };
        let waits = Sqe { len: 1, fd: 1, ..both };
        let selects = Sqe { addr: 0, len: 1, flags: IOSQE_BUFFER_SELECT, buf_index: GROUP, ..entry };
        push(&mut ring, &[both, Sqe { fd: file.fd().raw(), ..entry }, Sqe { opcode: IORING_OP_READ, ..both }]);
        push(&mut ring, &[waits, Sqe { fd: pipe, ..waits }, Sqe { flags: 0, fd: pipe, ..waits }]);
        push(&mut ring, &[Sqe { opcode: IORING_OP_READ, fd: pipe, ..selects }]);
        ring.submit(0)?;
        thread::yield_now();
        // A byte for each that waits; what is left over is taken back.
        io::Write::write_all(&mut write, b"wait")?;
        let mut found = wait(&mut ring, 7)?;
        let taken = found.iter().filter(|(_, result)| *result == 1).count();
        if taken < 4 {
            equal!(call!(READ, pipe, [0u8; 4].as_mut_ptr(), 4 - taken)?, 4 - taken);
        }
        found.retain(|(_, result)| ![64, 1, EBADF, EFAULT, NO_BUFFER].contains(result));
        if !found.is_empty() {
            outcome = Err(Trouble::failed(format_args!("{found:?}")));
            break;
        }
    }
    stop.set(0, 1);
    let _ = changer.join();
    unmap(base, 2 * PAGE)?;
    outcome
}

fn changes_tables(fd: i32, base: usize, files: &[i32; 4], stop: Shared) {
    let register = |what, addr: usize, count: usize| {
        let _ = call!(IO_URING_REGISTER, fd, what, addr, count);
    };
    let piece = Iovec { base: base as u64, len: PAGE as u64 };
    let group = BufReg { ring_addr: (base + PAGE) as u64, ring_entries: 4, bgid: 3, ..BufReg::default() };
    while stop.get(0) == 0 {
        register(IORING_REGISTER_FILES, files.as_ptr() as usize, 4);
        register(IORING_REGISTER_BUFFERS, &raw const piece as usize, 1);
        register(IORING_REGISTER_PBUF_RING, &raw const group as usize, 1);
        // One buffer, and its number; the last two bytes are the tail.
        raw::store64(base + PAGE, base as u64);
        raw::store64(base + PAGE + 8, 64 | 1 << 48);
        thread::yield_now();
        register(IORING_UNREGISTER_PBUF_RING, &raw const group as usize, 1);
        register(IORING_UNREGISTER_FILES, 0, 0);
        register(IORING_UNREGISTER_BUFFERS, 0, 0);
    }
}

/// Addresses that nobody may use, and lengths without sense, in each operation that takes some.
fn pointers() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    let ring = &mut ring;
    let base = map(3 * PAGE, RW)?;
    call!(MPROTECT, base + PAGE, PAGE, m::PROT_NONE)?;
    let mut file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open("/tmp/ring-pointers")?;
    rt::fs::remove_file("/tmp/ring-pointers")?;
    io::Write::write_all(&mut file, &[1; 3 * PAGE])?;
    let fd = file.fd().raw();
    let bad = [0, 8, 1 << 38, 1 << 40, 1 << 62, 1 << 63, 0x1000_1000, u64::MAX - 4095, u64::MAX, (base + PAGE) as u64];
    for addr in bad {
        for opcode in [IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV] {
            for len in [1, 100] {
                let found = one(ring, Sqe { addr, len, ..call_of(opcode, fd) })?;
                ensure!(found == EFAULT, "{found} of operation {opcode} at {addr:#x}");
            }
        }
        for opcode in [IORING_OP_OPENAT, IORING_OP_UNLINKAT, IORING_OP_MKDIRAT] {
            let found = one(ring, Sqe { addr, ..call_of(opcode, AT_FDCWD) })?;
            ensure!(found == EFAULT, "{found} of operation {opcode} at {addr:#x}");
        }
        for opcode in [IORING_OP_TIMEOUT, IORING_OP_TIMEOUT_REMOVE] {
            let op_flags = if opcode == IORING_OP_TIMEOUT { 0 } else { IORING_TIMEOUT_UPDATE };
            let len = u32::from(opcode == IORING_OP_TIMEOUT);
            let off = if opcode == IORING_OP_TIMEOUT { 0 } else { addr };
            let found = one(ring, Sqe { addr, off, len, op_flags, ..call_of(opcode, -1) })?;
            ensure!(found == EFAULT, "{found} of operation {opcode} at {addr:#x}");
        }
    }
    let at = |opcode, addr: usize, len: u32| Sqe { addr: addr as u64, len, ..call_of(opcode, fd) };
    // Nothing is nothing; what is there up to a bad page is moved, and no more.
    equal!(one(ring, at(IORING_OP_READ, base, 0))?, 0);
    for len in [101, 1 << 31, u32::MAX] {
        for opcode in [IORING_OP_READ, IORING_OP_WRITE] {
            let found = one(ring, at(opcode, base + PAGE - 100, len))?;
            ensure!([100, EFAULT, EINVAL].contains(&found), "{found} of {len}");
        }
    }
    for off in [1 << 63, u64::MAX - 1] {
        equal!(one(ring, Sqe { off, ..at(IORING_OP_READ, base, 10) })?, EINVAL);
    }
    for count in [1025, 1 << 20, 1 << 31, u32::MAX] {
        equal!(one(ring, at(IORING_OP_READV, base, count))?, EINVAL);
    }
    let lists = [Iovec { base: base as u64, len: 1 << 63 }, Iovec { base: base as u64, len: u64::MAX }];
    for list in &lists {
        equal!(one(ring, at(IORING_OP_READV, core::ptr::from_ref(list) as usize, 1))?, EINVAL);
    }
    unmap(base, 3 * PAGE)?;
    Ok(())
}

/// Fields of an entry that are addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Addr,
    Off,
    Addr3,
}

/// What is an address, of each operation.
const POINTERS: &[(u8, &[Field])] = {
    use Field::{Addr, Addr3, Off};
    &[
        (IORING_OP_READV, &[Addr]),
        (IORING_OP_WRITEV, &[Addr]),
        (IORING_OP_READ_FIXED, &[Addr]),
        (IORING_OP_WRITE_FIXED, &[Addr]),
        (IORING_OP_SENDMSG, &[Addr]),
        (IORING_OP_RECVMSG, &[Addr]),
        (IORING_OP_TIMEOUT, &[Addr]),
        (IORING_OP_TIMEOUT_REMOVE, &[Off]),
        (IORING_OP_ACCEPT, &[Addr, Off]),
        (IORING_OP_LINK_TIMEOUT, &[Addr]),
        (IORING_OP_CONNECT, &[Addr]),
        (IORING_OP_OPENAT, &[Addr]),
        (IORING_OP_FILES_UPDATE, &[Addr]),
        (IORING_OP_STATX, &[Addr, Off]),
        (IORING_OP_READ, &[Addr]),
        (IORING_OP_WRITE, &[Addr]),
        (IORING_OP_MADVISE, &[Addr]),
        (IORING_OP_SEND, &[Addr]),
        (IORING_OP_RECV, &[Addr]),
        (IORING_OP_OPENAT2, &[Addr, Off]),
        (IORING_OP_EPOLL_CTL, &[Addr]),
        (IORING_OP_PROVIDE_BUFFERS, &[Addr]),
        (IORING_OP_RENAMEAT, &[Addr, Off]),
        (IORING_OP_UNLINKAT, &[Addr]),
        (IORING_OP_MKDIRAT, &[Addr]),
        (IORING_OP_SYMLINKAT, &[Addr, Off]),
        (IORING_OP_LINKAT, &[Addr, Off]),
        (IORING_OP_FSETXATTR, &[Addr, Off]),
        (IORING_OP_SETXATTR, &[Addr, Off, Addr3]),
        (IORING_OP_FGETXATTR, &[Addr, Off]),
        (IORING_OP_GETXATTR, &[Addr, Off, Addr3]),
        (IORING_OP_URING_CMD, &[Addr3]),
        (IORING_OP_SEND_ZC, &[Addr]),
        (IORING_OP_SENDMSG_ZC, &[Addr]),
        (IORING_OP_WAITID, &[Off]),
        (IORING_OP_FUTEX_WAIT, &[Addr]),
        (IORING_OP_FUTEX_WAKE, &[Addr]),
        (IORING_OP_FUTEX_WAITV, &[Addr]),
        (IORING_OP_BIND, &[Addr]),
    ]
};

/// Those that have none.
const WITHOUT: [u8; 20] = [
    IORING_OP_NOP,
    IORING_OP_FSYNC,
    IORING_OP_POLL_ADD,
    IORING_OP_POLL_REMOVE,
    IORING_OP_SYNC_FILE_RANGE,
    IORING_OP_ASYNC_CANCEL,
    IORING_OP_FALLOCATE,
    IORING_OP_CLOSE,
    IORING_OP_FADVISE,
    IORING_OP_SPLICE,
    IORING_OP_REMOVE_BUFFERS,
    IORING_OP_TEE,
    IORING_OP_SHUTDOWN,
    IORING_OP_MSG_RING,
    IORING_OP_SOCKET,
    // What it points to is in the group.
    IORING_OP_READ_MULTISHOT,
    IORING_OP_FIXED_FD_INSTALL,
    IORING_OP_FTRUNCATE,
    IORING_OP_LISTEN,
    IORING_OP_LAST,
];

/// What else than `EFAULT` an operation may say, where Linux does not come to look at the memory, or has another word for it.
fn is_fine(opcode: u8, field: Field, addr: u64, found: i32) -> bool {
    const NO_MEMORY: i32 = -12;
    const NO_DATA: i32 = -61;
    const TOO_LARGE: i32 = -75;
    let is_user = addr < 1 << 38;
    match opcode {
        // No address is wanted; or the other address says that there is none.
        IORING_OP_ACCEPT | IORING_OP_WAITID if addr == 0 => found >= 0,
        // Memory is there, or is not asked for yet.
        IORING_OP_MADVISE => [NO_MEMORY, EINVAL].contains(&found) || is_user && found == 0,
        IORING_OP_PROVIDE_BUFFERS if is_user => found == 0,
        // They would go beyond the end.
        IORING_OP_PROVIDE_BUFFERS => found == TOO_LARGE,
        // The word of one that is woken is not looked at, and has to lie straight.
        IORING_OP_FUTEX_WAKE if is_user => found == 0,
        IORING_OP_FUTEX_WAIT | IORING_OP_FUTEX_WAKE if !addr.is_multiple_of(4) => found == EINVAL,
        IORING_OP_GETXATTR | IORING_OP_FGETXATTR if field == Field::Off => found == NO_DATA,
        _ => false,
    }
}

/// Addresses that nobody may use, in each field of each operation that is one: it says so, and goes no further.
fn pointers_of_every_operation() -> Outcome {
    let table = |opcode: u8| POINTERS.iter().find(|(known, _)| *known == opcode).map(|(_, fields)| *fields);
    for which in every::probed()? {
        let opcode = which as u8;
        let Some(fields) = table(opcode) else {
            ensure!(WITHOUT.contains(&opcode), "operation {opcode} is in no list");
            continue;
        };
        // What the entries leave open goes with the process.
        let pid = checked_child(|| pointers_of(opcode, fields))?;
        exits(pid, 0)?;
    }
    Ok(())
}

fn pointers_of(opcode: u8, fields: &[Field]) -> Outcome {
    let page = map(PAGE, 0)? as u64;
    let bad = [0, 8, 1 << 38, 1 << 40, 1 << 62, 1 << 63, 0x1000_1000, u64::MAX - 4095, u64::MAX, page];
    let mut wrong = Vec::new();
    for field in fields {
        for addr in bad {
            let mut stage = every::Stage::new(opcode.into())?;
            let Some(mut entry) = stage.entry(opcode.into())? else { return Err(Trouble::failed("no entry")) };
            if opcode == IORING_OP_ACCEPT {
                (entry.addr, entry.off) = stage.room();
            }
            match field {
                Field::Addr => entry.addr = addr,
                Field::Off => entry.off = addr,
                Field::Addr3 => entry.addr3 = addr,
            }
            let found = stage.result_of(entry)?;
            if found != EFAULT && !is_fine(opcode, *field, addr, found) {
                wrong.push((field, addr, found));
            }
        }
    }
    ensure!(wrong.is_empty(), "operation {opcode}: {wrong:x?}");
    Ok(())
}

/// Bytes go to where the entries lie, the words, and the list that says so.
fn own_buffer() -> Outcome {
    let mut state = 5;
    for _ in 0..40 {
        let mut ring = Ring::new(8, 0)?;
        let [(words, len), (entries, bytes)] = ring.mappings();
        let (read, mut write) = rt::pipe::pipe()?;
        let noise: Vec<u8> = (0..300).map(|_| scramble(&mut state) as u8).collect();
        io::Write::write_all(&mut write, &noise)?;
        let pieces = [Iovec { base: words as u64, len: len as u64 }, Iovec { base: entries as u64, len: bytes as u64 }];
        // The list lies in a place for an entry that is not used yet.
        let list = entries + 256;
        for (number, piece) in pieces.iter().enumerate() {
            raw::store64(list + 16 * number, piece.base);
            raw::store64(list + 16 * number + 8, piece.len);
        }
        let fd = read.fd().raw();
        let whole = Sqe { addr: entries as u64, len: 200, ..call_of(IORING_OP_READ, fd) };
        let listed = Sqe { addr: list as u64, len: 2, ..call_of(IORING_OP_READV, fd) };
        push(&mut ring, &[whole, listed, whole]);
        for _ in 0..4 {
            let _ = call!(IO_URING_ENTER, ring.fd().raw(), 3, 0, IORING_ENTER_GETEVENTS, 0, 0);
        }
    }
    nothing()
}

/// Memory is replaced, given to a child, or loses its file, while a request waits to put bytes there.
fn memory_changes() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let page = map(PAGE, RW)?;
    let reads = transfer(IORING_OP_READ, read.fd().raw(), raw::bytes(page, 4), 0);
    // Other memory in its place: the bytes go there.
    raw::store8(page, 1);
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    map_at(page, PAGE, RW)?;
    io::Write::write_all(&mut write, b"abcd")?;
    equal!(wait(&mut ring, 1)?, [(7, 4)]);
    equal!(raw::bytes(page, 4), b"abcd");
    // A child has what was there when it was made.
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    let go = Shared::new()?;
    let pid = child(|| {
        go.await_least(0, 1);
        i32::from(raw::bytes(page, 4) != b"abcd")
    })?;
    io::Write::write_all(&mut write, b"efgh")?;
    equal!(wait(&mut ring, 1)?, [(7, 4)]);
    go.set(0, 1);
    exits(pid, 0)?;
    equal!(raw::bytes(page, 4), b"efgh");
    // A file's, which is no longer so long; then one that may only be read.
    let file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open("/tmp/ring-cut")?;
    rt::fs::remove_file("/tmp/ring-cut")?;
    file.set_len(PAGE as u64)?;
    let shared = m::MAP_SHARED | m::MAP_FIXED;
    for is_cut in [true, false] {
        call!(MMAP, page, PAGE, RW, shared, file.fd().raw(), 0)?;
        push(&mut ring, &[reads]);
        equal!(ring.submit(0)?, 1);
        if is_cut {
            file.set_len(0)?;
        } else {
            call!(MMAP, page, PAGE, m::PROT_READ, shared, file.fd().raw(), 0)?;
        }
        io::Write::write_all(&mut write, b"ijkl")?;
        equal!(wait(&mut ring, 1)?, [(7, EFAULT)]);
        let mut bytes = [0u8; 4];
        equal!(call!(READ, read.fd().raw(), bytes.as_mut_ptr(), 4)?, 4);
    }
    unmap(page, PAGE)?;
    Ok(())
}

/// A request is about what the number meant when it was taken.
fn descriptor_becomes_another() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ((read, mut write), (other, mut others)) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    let (fd, mut bytes) = (read.fd().raw(), [0u8; 4]);
    let reads = transfer(IORING_OP_READ, fd, &mut bytes, 0);
    push(&mut ring, &[reads]);
    equal!(ring.submit(0)?, 1);
    call!(DUP3, other.fd().raw(), fd, 0)?;
    io::Write::write_all(&mut others, b"no")?;
    thread::sleep(core::time::Duration::from_millis(2));
    equal!(reap(&mut ring), []);
    io::Write::write_all(&mut write, b"yes")?;
    equal!(wait(&mut ring, 1)?, [(7, 3)]);
    equal!(&bytes[..3], b"yes");
    // Now it is the other; an entry closes what another waits for.
    equal!(one(&mut ring, reads)?, 2);
    push(&mut ring, &[reads, Sqe { user_data: 8, ..call_of(IORING_OP_CLOSE, fd) }]);
    equal!(wait(&mut ring, 1)?, [(8, 0)]);
    core::mem::forget(read);
    equal!(one(&mut ring, reads)?, EBADF);
    io::Write::write_all(&mut others, b"late")?;
    equal!(wait(&mut ring, 1)?, [(7, 4)]);
    // One that names a path only.
    let path = raw::file(call!(OPENAT, AT_FDCWD, c"/bin/sh".as_ptr(), O_PATH)?);
    equal!(one(&mut ring, transfer(IORING_OP_READ, path.fd().raw(), &mut bytes, 0))?, EBADF);
    let sends = Sqe { op_flags: MSG_DONTWAIT, ..transfer(IORING_OP_SEND, path.fd().raw(), &mut bytes, 0) };
    ensure!([EBADF, -88].contains(&one(&mut ring, sends)?), "a path is no socket");
    Ok(())
}

/// Rings, a set of events and each other: who ends gives all of it back, in whatever circle they hold each other.
fn poll_each_other() -> Outcome {
    const ROUNDS: i64 = 100;
    let before = crate::runner::free_memory();
    for _ in 0..ROUNDS {
        let pid = checked_child(|| {
            let (mut one, mut two) = (Ring::new(64, 0)?, Ring::new(64, 0)?);
            let set = raw::file(call!(EPOLL_CREATE1, 0)?);
            let event = rt::abi::poll::EpollEvent { events: 1, pad: 0, data: 0 };
            call!(EPOLL_CTL, set.fd().raw(), 1, one.fd().raw(), &raw const event)?;
            let (first, second, third) = (one.fd().raw(), two.fd().raw(), set.fd().raw());
            let polls = |fd| Sqe { op_flags: 1, len: IORING_POLL_ADD_MULTI, ..call_of(IORING_OP_POLL_ADD, fd) };
            push(&mut one, &[polls(second), polls(third), polls(first)]);
            push(&mut two, &[polls(first), polls(third)]);
            one.submit(0)?;
            two.submit(0)?;
            // One completion makes all of them ready, at most until there is no room.
            push(&mut one, &[nop(1, 0, 0)]);
            one.submit(0)?;
            ensure!(one.pop().is_some(), "nothing was completed");
            Ok(())
        })?;
        exits(pid, 0)?;
    }
    // A tenth of what the rings took may be kept for others.
    let (Some(before), allowed) = (before, 2 * ROUNDS * 20 / 10 + 1024) else { return Ok(()) };
    crate::runner::memory_comes_back(before, allowed)
}

/// A counter is raised by each completion, and its ring waits for it to be: that ends when there is no room.
fn counter_of_itself() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let event = raw::file(call!(EVENTFD2, 0, 0)?);
    let fd = event.fd().raw();
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_EVENTFD, &raw const fd, 1)?;
    let polls = Sqe { op_flags: 1, len: IORING_POLL_ADD_MULTI, ..call_of(IORING_OP_POLL_ADD, fd) };
    push(&mut ring, &[polls, polls, nop(1, 0, 0)]);
    equal!(ring.submit(0)?, 3);
    thread::sleep(core::time::Duration::from_millis(20));
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_EVENTFD, 0, 0)?;
    push(&mut ring, &[Sqe { user_data: 99, ..cancel_of(0, IORING_ASYNC_CANCEL_ANY) }]);
    // Each ends once: by itself or by this.
    let (mut last, mut patience) = (0, 20_000);
    ring.submit(0)?;
    while last < 4 && patience > 0 {
        while let Some(cqe) = ring.pop() {
            last += u32::from(cqe.flags & IORING_CQE_F_MORE == 0);
        }
        ring.flush()?;
        sleep_ms(1);
        patience -= 1;
    }
    equal!(last, 4);
    Ok(())
}
