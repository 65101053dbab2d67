//! The table of registered files: what is opened into it, filled by entries, given numbers, and sent to other rings.

use super::calls::{call_of, one};
use super::others::{change, fixed, message, register};
use super::*;
use crate::sockets;
use core::ffi::CStr;
use rt::abi::fs::{AT_FDCWD, F_GETFD, O_CLOEXEC, O_CREAT, O_RDWR};
use rt::abi::net::{AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM};
use rt::net::TcpStream;

pub const CASES: &[Case] = &[
    case!("ring/opens-into-its-table", "C4 D3", opens_into_its_table),
    case!("ring/any-place-of-its-table", "C4 D3", any_place_of_its_table),
    case!("ring/accepts-into-its-table", "C4 D3 D17", accepts_into_its_table),
    case!("ring/table-is-filled-by-entries", "C4 D3", table_is_filled_by_entries),
    case!("ring/files-are-sent", "C4 D3 D4", files_are_sent),
    case!("ring/files-tell-of-their-end", "C4 D3", files_tell_of_their_end),
    case!("ring/wrong-tags-of-files", "C4 E1", wrong_tags),
    case!("ring/wrong-places", "C4 E1", wrong_places),
];

const EBADF: i32 = -9;
const ENXIO: i32 = -6;
const ENFILE: i32 = -23;
const PATH: &CStr = c"/tmp/ring-places";

fn opens(slot: u32) -> Sqe {
    let (addr, op_flags) = (PATH.as_ptr() as u64, O_CREAT | O_RDWR);
    Sqe { addr, op_flags, len: 0o600, file_index: slot, ..call_of(IORING_OP_OPENAT, AT_FDCWD) }
}

fn closes(slot: u32) -> Sqe {
    Sqe { file_index: slot, ..call_of(IORING_OP_CLOSE, 0) }
}

fn empty(count: usize) -> Result<Ring, Trouble> {
    let ring = Ring::new(8, 0)?;
    equal!(register(&ring, IORING_REGISTER_FILES, &alloc::vec![-1; count])?, 0);
    Ok(ring)
}

fn opens_into_its_table() -> Outcome {
    let mut ring = empty(4)?;
    let before = call!(DUP, 0)?;
    call!(CLOSE, before)?;
    equal!(one(&mut ring, opens(2))?, 0);
    // No number was taken.
    let after = call!(DUP, 0)?;
    equal!(after, before);
    call!(CLOSE, after)?;
    let mut bytes = [5u8; 10];
    equal!(one(&mut ring, fixed(transfer(IORING_OP_WRITE, 1, &mut bytes, 0)))?, 10);
    equal!(one(&mut ring, fixed(transfer(IORING_OP_WRITE, 0, &mut bytes, 0)))?, EBADF);
    // Another takes its place; opened, written and closed in a chain.
    let link = |entry: Sqe| Sqe { flags: entry.flags | IOSQE_IO_LINK, ..entry };
    let chain = [link(opens(2)), link(fixed(transfer(IORING_OP_READ, 1, &mut bytes, 0))), closes(2), closes(2)];
    push(&mut ring, &chain);
    ring.submit(4)?;
    let mut found = reap(&mut ring);
    while found.len() < 4 {
        ring.submit(1)?;
        found.extend(reap(&mut ring));
    }
    equal!(found, [(7, 0), (7, 10), (7, 0), (7, EBADF)]);
    let socket =
        |index| Sqe { off: SOCK_STREAM.into(), file_index: index, ..call_of(IORING_OP_SOCKET, AF_UNIX as i32) };
    equal!(one(&mut ring, socket(4))?, 0);
    equal!(one(&mut ring, fixed(Sqe { len: 2, ..call_of(IORING_OP_SHUTDOWN, 3) }))?, 0);
    // A number of its own for it, which it keeps when the place is empty.
    let installs = fixed(call_of(IORING_OP_FIXED_FD_INSTALL, 3));
    let fd = one(&mut ring, installs)?;
    equal!(call!(FCNTL, fd, F_GETFD)?, 1);
    let open = one(&mut ring, Sqe { op_flags: IORING_FIXED_FD_NO_CLOEXEC, ..installs })?;
    equal!(call!(FCNTL, open, F_GETFD)?, 0);
    equal!(one(&mut ring, closes(4))?, 0);
    equal!(one(&mut ring, installs)?, EBADF);
    equal!(call!(SHUTDOWN, fd, 2), Ok(0));
    call!(CLOSE, fd)?;
    call!(CLOSE, open)?;
    rt::fs::remove_file("/tmp/ring-places")?;
    Ok(())
}

fn any_place_of_its_table() -> Outcome {
    let any = IORING_FILE_INDEX_ALLOC;
    let mut ring = empty(200)?;
    for place in 0..200 {
        equal!(one(&mut ring, opens(any))?, place);
    }
    equal!(one(&mut ring, opens(any))?, ENFILE);
    for slot in [100, 1, 200] {
        equal!(one(&mut ring, closes(slot))?, 0);
    }
    let mut found = [0; 3];
    for place in &mut found {
        *place = one(&mut ring, opens(any))?;
    }
    found.sort_unstable();
    equal!(found, [0, 99, 199]);
    // Only where they may go.
    let range = |off, len, resv| {
        let range = FileIndexRange { off, len, resv };
        call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_FILE_ALLOC_RANGE, &raw const range, 0)
    };
    fails!(range(u32::MAX, 2, 0), EOVERFLOW);
    fails!(range(150, 51, 0), EINVAL);
    fails!(range(0, 1, 1), EINVAL);
    equal!(range(10, 2, 0)?, 0);
    for slot in [5, 11, 12, 13] {
        equal!(one(&mut ring, closes(slot))?, 0);
    }
    let mut found = [one(&mut ring, opens(any))?, one(&mut ring, opens(any))?];
    found.sort_unstable();
    equal!(found, [10, 11]);
    equal!(one(&mut ring, opens(any))?, ENFILE);
    rt::fs::remove_file("/tmp/ring-places")?;
    Ok(())
}

fn accepts_into_its_table() -> Outcome {
    let mut ring = empty(4)?;
    let (listener, address) = sockets::listen()?;
    let accepts = |slot| Sqe { file_index: slot, ..call_of(IORING_OP_ACCEPT, listener.fd().raw()) };
    let again = Sqe { ioprio: IORING_ACCEPT_MULTISHOT, ..accepts(IORING_FILE_INDEX_ALLOC) };
    push(&mut ring, &[accepts(3)]);
    equal!(ring.submit(0)?, 1);
    let mut clients = Vec::new();
    let mut connect = || -> Result<(), Trouble> {
        clients.push(TcpStream::connect(address)?);
        Ok(())
    };
    connect()?;
    equal!(wait(&mut ring, 1)?, [(7, 0)]);
    equal!(one(&mut ring, Sqe { len: 2, ..fixed(call_of(IORING_OP_SHUTDOWN, 2)) })?, 0);
    // The others go where there is room, and the last finds none.
    push(&mut ring, &[again]);
    equal!(ring.submit(0)?, 1);
    for place in [0, 1, 3] {
        connect()?;
        equal!(wait(&mut ring, 1)?, [(7, place)]);
    }
    connect()?;
    equal!(wait(&mut ring, 1)?, [(7, ENFILE)]);
    equal!(one(&mut ring, Sqe { file_index: 1, ..again })?, EINVAL);
    equal!(one(&mut ring, Sqe { op_flags: SOCK_CLOEXEC, ..accepts(1) })?, EINVAL);
    Ok(())
}

fn table_is_filled_by_entries() -> Outcome {
    let mut ring = empty(8)?;
    let (read, write) = rt::pipe::pipe()?;
    let (r, w) = (read.fd().raw(), write.fd().raw());
    let update = |fds: &mut [i32], first: u32| Sqe {
        addr: fds.as_mut_ptr() as u64,
        len: fds.len() as u32,
        off: first.into(),
        ..call_of(IORING_OP_FILES_UPDATE, -1)
    };
    equal!(one(&mut ring, update(&mut [r, -2, w], 2))?, 3);
    let mut byte = [9u8];
    equal!(one(&mut ring, fixed(transfer(IORING_OP_WRITE, 4, &mut byte, 0)))?, 1);
    equal!(one(&mut ring, fixed(transfer(IORING_OP_READ, 2, &mut byte, 0)))?, 1);
    // Any places, whose numbers come back; as far as it goes.
    let mut fds = [r, w, 200, r];
    equal!(one(&mut ring, update(&mut fds, IORING_FILE_INDEX_ALLOC))?, 2);
    equal!(fds, [0, 1, 200, r]);
    equal!(one(&mut ring, update(&mut [200], IORING_FILE_INDEX_ALLOC))?, EBADF);
    let mut fds = [w; 8];
    equal!(one(&mut ring, update(&mut fds, IORING_FILE_INDEX_ALLOC))?, 4);
    equal!(fds[..5], [3, 5, 6, 7, w]);
    equal!(one(&mut ring, update(&mut [w], IORING_FILE_INDEX_ALLOC))?, ENFILE);
    let (mut own, mut one_of) = ([ring.fd().raw()], [r]);
    let good = update(&mut one_of, 0);
    let wrong = [
        (update(&mut one_of, 8), EINVAL),
        (Sqe { len: 0, ..good }, EINVAL),
        (update(&mut own, 0), EBADF),
        (Sqe { addr: 8, ..good }, -14),
        (Sqe { op_flags: 1, ..good }, EINVAL),
        (fixed(good), EINVAL),
    ];
    for (entry, errno) in wrong {
        let found = one(&mut ring, entry)?;
        ensure!(found == errno, "{found} of {entry:?}");
    }
    let mut without = Ring::new(2, 0)?;
    equal!(one(&mut without, good)?, ENXIO);
    equal!(one(&mut without, Sqe { off: IORING_FILE_INDEX_ALLOC.into(), ..good })?, ENXIO);
    Ok(())
}

fn files_are_sent() -> Outcome {
    let (mut here, mut there) = (empty(2)?, empty(2)?);
    let (read, write) = rt::pipe::pipe()?;
    equal!(change(&here, 0, &[read.fd().raw(), write.fd().raw()])?, 2);
    let sends = |ring: &Ring, source: u64, slot| Sqe {
        addr: IORING_MSG_SEND_FD,
        addr3: source,
        file_index: slot,
        len: 0,
        ..message(ring, 55, 0)
    };
    equal!(run(&mut here, &[sends(&there, 1, 2)])?, [(7, 0)]);
    equal!(reap(&mut there), [(55, 0)]);
    let quiet = Sqe { op_flags: IORING_MSG_RING_CQE_SKIP, ..sends(&there, 0, IORING_FILE_INDEX_ALLOC) };
    equal!(run(&mut here, &[quiet])?, [(7, 0)]);
    equal!(reap(&mut there), []);
    drop((read, write));
    let mut byte = [3u8];
    equal!(one(&mut there, fixed(transfer(IORING_OP_WRITE, 1, &mut byte, 0)))?, 1);
    equal!(one(&mut there, fixed(transfer(IORING_OP_READ, 0, &mut byte, 0)))?, 1);
    let off = Ring::new(2, IORING_SETUP_R_DISABLED)?;
    let bare = Ring::new(2, 0)?;
    let wrong = [
        (sends(&there, 0, IORING_FILE_INDEX_ALLOC), ENFILE),
        (sends(&there, 2, 1), EBADF),
        (sends(&there, 0, 3), EINVAL),
        (sends(&there, 0, 0), EINVAL),
        (sends(&here, 0, 1), EINVAL),
        (Sqe { len: 1, ..sends(&there, 0, 1) }, EINVAL),
        (sends(&off, 0, 1), -77),
        (sends(&bare, 0, 1), ENXIO),
    ];
    for (entry, errno) in wrong {
        let found = run(&mut here, &[entry])?;
        ensure!(found == [(7, errno)], "{found:?} of {entry:?}");
    }
    Ok(())
}

fn tagged(ring: &Ring, fds: &[i32], tags: &[u64]) -> Result<usize, Errno> {
    let (data, tags) = (fds.as_ptr() as u64, tags.as_ptr() as u64);
    let asked = RsrcRegister { nr: fds.len() as u32, data, tags, ..RsrcRegister::default() };
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_FILES2, &raw const asked, size_of::<RsrcRegister>())
}

fn update(ring: &Ring, offset: u32, fds: &[i32], tags: &[u64]) -> Result<usize, Errno> {
    let (data, tags) = (fds.as_ptr() as u64, tags.as_ptr() as u64);
    let asked = RsrcUpdate { offset, data, tags, nr: fds.len() as u32, ..RsrcUpdate::default() };
    let what = IORING_REGISTER_FILES_UPDATE2;
    call!(IO_URING_REGISTER, ring.fd().raw(), what, &raw const asked, size_of::<RsrcUpdate>())
}

/// By a completion with the tag of its place, when that has another and no request has it any more.
fn files_tell_of_their_end() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (r, w) = (read.fd().raw(), write.fd().raw());
    equal!(tagged(&ring, &[r, w, -1, r, r, w], &[11, 12, 0, 0, 15, 16])?, 0);
    // Used, replaced by one without a tag, emptied, never there.
    let mut byte = [3u8];
    equal!(one(&mut ring, fixed(transfer(IORING_OP_WRITE, 1, &mut byte, 0)))?, 1);
    equal!(one(&mut ring, fixed(transfer(IORING_OP_READ, 0, &mut byte, 0)))?, 1);
    equal!(update(&ring, 1, &[-2, r, -1], &[0, 13, 0])?, 3);
    equal!(reap(&mut ring), []);
    equal!(change(&ring, 1, &[w])?, 1);
    equal!(reap(&mut ring), [(12, 0)]);
    equal!(run(&mut ring, &[closes(3)])?, [(13, 0), (7, 0)]);
    push(&mut ring, &[opens(6)]);
    equal!(wait(&mut ring, 2)?, [(16, 0), (7, 0)]);
    rt::fs::remove_file("/tmp/ring-places")?;
    // Requests that wait keep it, whatever they are; those for the same file by another name do not.
    let (_other, into) = rt::pipe::pipe()?;
    let out = into.fd().raw();
    let polls = Sqe { op_flags: 1, ..fixed(call_of(IORING_OP_POLL_ADD, 0)) };
    let reads = fixed(transfer(IORING_OP_READ, 0, &mut byte, 0));
    let splices =
        Sqe { op_flags: SPLICE_F_FD_IN_FIXED, file_index: 0, off: u64::MAX, ..call_of(IORING_OP_SPLICE, out) };
    let splices = Sqe { addr: u64::MAX, len: 1, ..splices };
    let cancels = |user_data: u64| Sqe { addr: user_data, ..call_of(IORING_OP_ASYNC_CANCEL, -1) };
    let linked = Sqe { flags: IOSQE_IO_LINK, ..call_of(IORING_OP_NOP, -1) };
    let beside = Sqe { user_data: 40, op_flags: 1, ..call_of(IORING_OP_POLL_ADD, r) };
    push(&mut ring, &[beside]);
    equal!(ring.submit(0)?, 1);
    let cases = [
        (21, &[polls][..], 1),
        (22, &[reads], 1),
        (23, &[splices], 1),
        (24, &[linked, reads], 1),
        (25, &[polls, reads], 2),
    ];
    for (tag, entries, waiting) in cases {
        equal!(update(&ring, 0, &[r], &[tag])?, 1);
        drop(reap(&mut ring));
        let entries: Vec<Sqe> = entries.iter().map(|entry| Sqe { user_data: 30, ..*entry }).collect();
        push(&mut ring, &entries);
        equal!(ring.submit(0)?, entries.len());
        drop(reap(&mut ring));
        equal!(change(&ring, 0, &[-1])?, 1);
        let found = reap(&mut ring);
        ensure!(found.is_empty(), "{found:?} while {tag} is used");
        let (mut all, count) =
            (Vec::new(), |all: &[(u64, i32)], one| all.iter().filter(|(name, _)| *name == one).count());
        for _ in 0..waiting {
            all.extend(reap(&mut ring));
            ensure!(count(&all, tag) == 0, "{all:?} while {tag} is used");
            push(&mut ring, &[cancels(30)]);
            ring.submit(1)?;
        }
        // With all answers to the cancellations.
        all.extend(reap(&mut ring));
        while count(&all, tag) == 0 || count(&all, 7) < waiting {
            ring.submit(1)?;
            all.extend(reap(&mut ring));
        }
    }
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 1)?, [(40, 1)]);
    // With the table the others go.
    equal!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_FILES, 0, 0)?, 0);
    equal!(reap(&mut ring), [(15, 0)]);
    Ok(())
}

fn wrong_tags() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, write) = rt::pipe::pipe()?;
    let (r, w) = (read.fd().raw(), write.fd().raw());
    // What fails leaves no table, and tells of nothing.
    fails!(tagged(&ring, &[r, -1], &[1, 2]), EINVAL);
    fails!(tagged(&ring, &[r, 200], &[1, 2]), EBADF);
    fails!(tagged(&ring, &[r, ring.fd().raw()], &[1, 0]), EBADF);
    let asked = RsrcRegister { nr: 1, data: (&raw const r) as u64, tags: 8, ..RsrcRegister::default() };
    let size = size_of::<RsrcRegister>();
    fails!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_FILES2, &raw const asked, size), EFAULT);
    equal!(reap(&mut ring), []);
    equal!(tagged(&ring, &[r, w], &[1, 0])?, 0);
    fails!(tagged(&ring, &[r, w], &[3, 4]), EBUSY);
    fails!(update(&ring, 0, &[-1], &[5]), EINVAL);
    fails!(update(&ring, 0, &[-2], &[5]), EINVAL);
    fails!(update(&ring, 2, &[r], &[5]), EINVAL);
    equal!(reap(&mut ring), []);
    // As far as it goes; and as on Linux the place of one that is wrong is empty then.
    equal!(update(&ring, 0, &[w, 200], &[6, 7])?, 1);
    equal!(reap(&mut ring), [(1, 0)]);
    let mut byte = [0u8];
    equal!(one(&mut ring, fixed(transfer(IORING_OP_WRITE, 1, &mut byte, 0)))?, EBADF);
    // There is nobody to be told when the ring goes.
    drop(ring);
    Ok(())
}

fn wrong_places() -> Outcome {
    let mut ring = empty(2)?;
    let plain = call_of(IORING_OP_FIXED_FD_INSTALL, 0);
    let wrong = [
        (opens(3), EINVAL),
        (Sqe { op_flags: O_CREAT | O_RDWR | O_CLOEXEC, ..opens(1) }, EINVAL),
        (plain, EBADF),
        (fixed(plain), EBADF),
        (fixed(Sqe { off: 1, ..plain }), EINVAL),
        (fixed(Sqe { addr3: 1, ..plain }), EINVAL),
        (fixed(Sqe { op_flags: 2, ..plain }), EINVAL),
        (fixed(Sqe { fd: 2, ..plain }), EBADF),
    ];
    for (entry, errno) in wrong {
        let found = one(&mut ring, entry)?;
        ensure!(found == errno, "{found} of {entry:?}");
    }
    let mut bare = Ring::new(2, 0)?;
    equal!(one(&mut bare, opens(1))?, ENXIO);
    equal!(one(&mut bare, opens(IORING_FILE_INDEX_ALLOC))?, ENFILE);
    rt::fs::remove_file("/tmp/ring-places")?;
    Ok(())
}
