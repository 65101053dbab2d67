//! Registered buffers: what is read into them and written from them, whatever becomes of their mapping, and what is told of their end.

use super::calls::one;
use super::*;
use crate::files::direct;
use crate::process::{RW, map};
use rt::abi::fs::{Iovec, O_CREAT, O_RDWR, POSIX_FADV_RANDOM};
use rt::fs::File;

pub const CASES: &[Case] = &[
    case!("ring/buffers", "C4 D3", moves),
    case!("ring/long-transfers", "C4 D18", long),
    case!("ring/reads-in-a-batch", "C4 D18", batch),
    case!("ring/buffers-outlive-their-mapping", "C4 D15", outlive),
    case!("ring/buffers-stay-when-protection-comes-and-goes", "C4 D3", protected),
    case!("ring/buffers-are-not-shared-by-fork", "C4 D15 P1", forked),
    case!("ring/buffers-change", "C4 D3", change),
    case!("ring/wrong-buffers", "C4 E1 D13", wrong),
    case!("ring/buffers-of-another-ring", "C4 D3 E1", copied),
];

const EFAULT: i32 = -14;

pub fn piece(base: usize, len: usize) -> Iovec {
    Iovec { base: base as u64, len: len as u64 }
}

pub fn register(ring: &Ring, pieces: &[Iovec]) -> Result<usize, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_BUFFERS, pieces.as_ptr(), pieces.len())
}

pub fn unregister(ring: &Ring) -> Result<usize, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_BUFFERS, 0, 0)
}

fn tagged(ring: &Ring, pieces: &[Iovec], tags: &[u64]) -> Result<usize, Errno> {
    let asked = RsrcRegister {
        nr: pieces.len() as u32,
        data: pieces.as_ptr() as u64,
        tags: tags.as_ptr() as u64,
        ..RsrcRegister::default()
    };
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_BUFFERS2, &raw const asked, size_of::<RsrcRegister>())
}

fn update(ring: &Ring, offset: u32, pieces: &[Iovec], tags: &[u64]) -> Result<usize, Errno> {
    let asked = RsrcUpdate {
        offset,
        data: pieces.as_ptr() as u64,
        tags: if tags.is_empty() { 0 } else { tags.as_ptr() as u64 },
        nr: pieces.len() as u32,
        ..RsrcUpdate::default()
    };
    let what = IORING_REGISTER_BUFFERS_UPDATE;
    call!(IO_URING_REGISTER, ring.fd().raw(), what, &raw const asked, size_of::<RsrcUpdate>())
}

/// Moves bytes of the buffer in a place.
fn at(opcode: u8, fd: i32, addr: usize, len: usize, place: u16) -> Sqe {
    Sqe { opcode, fd, addr: addr as u64, len: len as u32, buf_index: place, user_data: 7, ..Sqe::default() }
}

fn file(content: &[u8]) -> Result<File, Trouble> {
    let mut file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open("/tmp/ring-buffers")?;
    io::Write::write_all(&mut file, content)?;
    rt::fs::remove_file("/tmp/ring-buffers")?;
    Ok(file)
}

fn moves() -> Outcome {
    let content: Vec<u8> = (0..3 * PAGE).map(|number| (number % 251) as u8).collect();
    let file = file(&content)?;
    let fd = file.fd().raw();
    let mut ring = Ring::new(8, 0)?;
    // Two of them, the second not at the beginning of a page, and over three.
    let base = map(8 * PAGE, RW)?;
    let (first, second) = (base, base + 4 * PAGE + 100);
    equal!(register(&ring, &[piece(first, PAGE), piece(0, 0), piece(second, 2 * PAGE)])?, 0);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, first, PAGE, 0))?, PAGE as i32);
    ensure!(*raw::bytes(first, PAGE) == content[..PAGE], "other bytes");
    let part = Sqe { off: 1_000, ..at(IORING_OP_READ_FIXED, fd, second + 50, 2 * PAGE - 50, 2) };
    equal!(one(&mut ring, part)?, 2 * PAGE as i32 - 50);
    ensure!(*raw::bytes(second + 50, 2 * PAGE - 50) == content[1_000..1_000 + 2 * PAGE - 50], "other bytes");
    ensure!(raw::bytes(second, 50).iter().all(|byte| *byte == 0), "bytes before it");
    raw::bytes(second, 2 * PAGE).fill(9);
    equal!(one(&mut ring, at(IORING_OP_WRITE_FIXED, fd, second, 2 * PAGE, 2))?, 2 * PAGE as i32);
    let mut found = alloc::vec![0u8; 3 * PAGE];
    equal!(call!(PREAD64, fd, found.as_mut_ptr(), 3 * PAGE, 0)?, 3 * PAGE);
    ensure!(found[..2 * PAGE].iter().all(|byte| *byte == 9) && found[2 * PAGE..] == content[2 * PAGE..], "other bytes");
    // Streams: one that is there, and one that is waited for.
    let (read, mut write) = rt::pipe::pipe()?;
    equal!(one(&mut ring, at(IORING_OP_WRITE_FIXED, write.fd().raw(), second, 3, 2))?, 3);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, read.fd().raw(), first, 10, 0))?, 3);
    push(&mut ring, &[at(IORING_OP_READ_FIXED, read.fd().raw(), first + 7, 10, 0)]);
    equal!(ring.submit(0)?, 1);
    io::Write::write_all(&mut write, b"later")?;
    equal!(wait(&mut ring, 1)?, [(7, 5)]);
    equal!(*raw::bytes(first + 7, 5), *b"later");
    // Where it is not, and where none is.
    let outside = [
        at(IORING_OP_READ_FIXED, fd, first, PAGE + 1, 0),
        at(IORING_OP_READ_FIXED, fd, first - 1, 1, 0),
        at(IORING_OP_READ_FIXED, fd, second, 1, 0),
        at(IORING_OP_READ_FIXED, fd, usize::MAX, 2, 0),
        at(IORING_OP_READ_FIXED, fd, first, 1, 1),
        at(IORING_OP_READ_FIXED, fd, first, 1, 3),
        at(IORING_OP_WRITE_FIXED, fd, first, 1, u16::MAX),
    ];
    for entry in outside {
        let found = one(&mut ring, entry)?;
        ensure!(found == EFAULT, "{found} of {entry:?}");
    }
    equal!(unregister(&ring)?, 0);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, first, 1, 0))?, EFAULT);
    call!(MUNMAP, base, 8 * PAGE)?;
    Ok(())
}

/// A transfer of a file ends where it was to end, whatever goes at once, and wherever it begins; what is linked behind it runs.
fn long() -> Outcome {
    const LONG: usize = 3 << 19;
    let content: Vec<u8> = (0..LONG).map(|number| (number / 7 % 251) as u8).collect();
    let file = file(&content)?;
    let fd = file.fd().raw();
    let mut ring = Ring::new(8, 0)?;
    let base = map(LONG, RW)?;
    equal!(register(&ring, &[piece(base, LONG)])?, 0);
    for opcode in [IORING_OP_READ, IORING_OP_READ_FIXED, IORING_OP_WRITE, IORING_OP_WRITE_FIXED] {
        let writes = matches!(opcode, IORING_OP_WRITE | IORING_OP_WRITE_FIXED);
        for position in [0, u64::MAX] {
            raw::bytes(base, LONG).fill(0);
            if writes {
                raw::bytes(base, LONG).copy_from_slice(&content);
                call!(FTRUNCATE, fd, 0)?;
            }
            call!(LSEEK, fd, 0, rt::abi::fs::SEEK_SET)?;
            let moves = Sqe { flags: IOSQE_IO_LINK, off: position, ..at(opcode, fd, base, LONG, 0) };
            push(&mut ring, &[moves, nop(8, 0, 0)]);
            let mut found = wait(&mut ring, 2)?;
            found.sort_unstable();
            equal!(found, [(7, LONG as i32), (8, 0)]);
            if writes {
                equal!(call!(LSEEK, fd, 0, rt::abi::fs::SEEK_END)?, LONG);
                equal!(call!(PREAD64, fd, base, LONG, 0)?, LONG);
            }
            ensure!(*raw::bytes(base, LONG) == content[..], "opcode {opcode} at {position}: other bytes");
        }
    }
    Ok(())
}

/// Reads in one batch: one at the position that goes on behind what is in memory, and one past the cache.
fn batch() -> Outcome {
    const PATH: &str = "/root/ring-batch";
    let content: Vec<u8> = (0..8 * PAGE).map(|number| (number / 3 % 251) as u8).collect();
    let base = map(8 * PAGE, RW)?;
    raw::bytes(base, 8 * PAGE).copy_from_slice(&content);
    let direct = direct::open(PATH, O_CREAT | O_RDWR)?;
    let cached = File::open(PATH)?;
    rt::fs::remove_file(PATH)?;
    equal!(direct::pwrite(&direct, base, 8 * PAGE, 0)?, 8 * PAGE);
    // Of all this the first page is in memory then, and no more.
    call!(FADVISE64, cached.fd().raw(), 0, 0, POSIX_FADV_RANDOM)?;
    equal!(direct::pread(&cached, base, 1, 0)?, 1);
    raw::bytes(base, 8 * PAGE).fill(0);
    let mut ring = Ring::new(8, 0)?;
    let read = |file: &File, place: usize, len: usize, off: u64, user_data: u64| Sqe {
        user_data,
        off,
        ..at(IORING_OP_READ, file.fd().raw(), base + place * PAGE, len, 0)
    };
    let entries = [
        read(&cached, 0, 2 * PAGE, u64::MAX, 0),
        read(&direct, 2, PAGE, 2 * PAGE as u64, 1),
        read(&cached, 3, 9, 5, 2),
        read(&direct, 4, PAGE, 4 * PAGE as u64, 3),
    ];
    push(&mut ring, &entries);
    let found = wait_sorted(&mut ring, 4)?;
    equal!(found, [(0, 2 * PAGE as i32), (1, PAGE as i32), (2, 9), (3, PAGE as i32)]);
    let (bytes, page) = (raw::bytes(base, 8 * PAGE), |number: usize| number * PAGE..(number + 1) * PAGE);
    ensure!(bytes[..3 * PAGE] == content[..3 * PAGE], "other bytes at the position, or past the cache");
    ensure!(bytes[3 * PAGE..][..9] == content[5..14], "other bytes of the cache");
    ensure!(bytes[page(4)] == content[page(4)], "other bytes past the cache");
    equal!(call!(LSEEK, cached.fd().raw(), 0, rt::abi::fs::SEEK_CUR)?, 2 * PAGE);
    call!(MUNMAP, base, 8 * PAGE)?;
    Ok(())
}

/// The program's memory and the buffer are one after the right to write was away.
fn protected() -> Outcome {
    let file = file(&[1; 8])?;
    let fd = file.fd().raw();
    let mut ring = Ring::new(8, 0)?;
    let base = map(PAGE, RW)?;
    raw::bytes(base, 8).fill(2);
    equal!(register(&ring, &[piece(base, PAGE)])?, 0);
    for gone in [m::PROT_READ, m::PROT_NONE] {
        call!(MPROTECT, base, PAGE, gone)?;
        call!(MPROTECT, base, PAGE, RW)?;
        raw::bytes(base, 8).fill(3);
        equal!(one(&mut ring, at(IORING_OP_WRITE_FIXED, fd, base, 8, 0))?, 8);
        let mut found = [0u8; 8];
        equal!(call!(PREAD64, fd, found.as_mut_ptr(), 8, 0)?, 8);
        equal!(found, [3; 8]);
        equal!(call!(PWRITE64, fd, [4u8; 8].as_ptr(), 8, 0)?, 8);
        equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, base, 8, 0))?, 8);
        equal!(*raw::bytes(base, 8), [4; 8]);
    }
    call!(MUNMAP, base, PAGE)?;
    Ok(())
}

fn outlive() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let base = map(2 * PAGE, RW)?;
    raw::bytes(base, 2 * PAGE).fill(1);
    equal!(register(&ring, &[piece(base, 2 * PAGE)])?, 0);
    push(&mut ring, &[at(IORING_OP_READ_FIXED, read.fd().raw(), base, PAGE, 0)]);
    equal!(ring.submit(0)?, 1);
    // The mapping goes, another comes to the same place, and the table goes, too.
    call!(MUNMAP, base, 2 * PAGE)?;
    let fixed = m::MAP_PRIVATE | m::MAP_ANONYMOUS | m::MAP_FIXED;
    call!(MMAP, base, PAGE, m::PROT_READ | m::PROT_WRITE, fixed, usize::MAX, 0)?;
    let writes = Sqe { user_data: 8, ..at(IORING_OP_WRITE_FIXED, write.fd().raw(), base + PAGE, 4, 0) };
    push(&mut ring, &[writes]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, 4), (8, 4)]);
    equal!(raw::bytes(base, 1)[0], 0);
    // What was read is there still.
    equal!(one(&mut ring, at(IORING_OP_WRITE_FIXED, write.fd().raw(), base, 5, 0))?, 5);
    let mut bytes = [0u8; 5];
    equal!(call!(READ, read.fd().raw(), bytes.as_mut_ptr(), 5)?, 5);
    equal!(bytes, [1; 5]);
    push(&mut ring, &[at(IORING_OP_READ_FIXED, read.fd().raw(), base, PAGE, 0)]);
    equal!(ring.submit(0)?, 1);
    equal!(unregister(&ring)?, 0);
    io::Write::write_all(&mut write, b"end")?;
    equal!(wait(&mut ring, 1)?, [(7, 3)]);
    equal!(raw::bytes(base, 1)[0], 0);
    call!(MUNMAP, base, PAGE)?;
    Ok(())
}

fn forked() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let base = map(PAGE, RW)?;
    raw::bytes(base, PAGE).fill(1);
    equal!(register(&ring, &[piece(base, PAGE)])?, 0);
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        while shared.get(0) == 0 {
            thread::sleep(core::time::Duration::from_millis(1));
        }
        ensure!(raw::bytes(base, PAGE).iter().all(|byte| *byte == 1), "it sees the parent's");
        raw::bytes(base, PAGE).fill(5);
        Ok(())
    })?;
    // After a fork the buffer is the parent's, as is what it reads into it.
    raw::bytes(base, 4).fill(2);
    io::Write::write_all(&mut write, b"read")?;
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, read.fd().raw(), base + 4, 4, 0))?, 4);
    equal!(*raw::bytes(base, 9), *b"\x02\x02\x02\x02read\x01");
    shared.set(0, 1);
    exits(pid, 0)?;
    equal!(*raw::bytes(base, 9), *b"\x02\x02\x02\x02read\x01");
    call!(MUNMAP, base, PAGE)?;
    Ok(())
}

fn change() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let file = file(b"content")?;
    let fd = file.fd().raw();
    let base = map(4 * PAGE, RW)?;
    let pieces: Vec<Iovec> = (0..4).map(|number| piece(base + number * PAGE, PAGE)).collect();
    equal!(tagged(&ring, &pieces[..3], &[11, 0, 13])?, 0);
    equal!(reap(&mut ring), []);
    // The old one goes when the new one is there.
    equal!(update(&ring, 0, &pieces[3..], &[14])?, 1);
    equal!(reap(&mut ring), [(11, 0)]);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, base, 7, 0))?, EFAULT);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, base + 3 * PAGE, 7, 0))?, 7);
    equal!(update(&ring, 1, &[piece(0, 0)], &[])?, 1);
    equal!(reap(&mut ring), []);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, base + PAGE, 7, 1))?, EFAULT);
    // One that is in use goes with its use.
    let (read, mut write) = rt::pipe::pipe()?;
    push(&mut ring, &[at(IORING_OP_READ_FIXED, read.fd().raw(), base + 2 * PAGE, 7, 2)]);
    equal!(ring.submit(0)?, 1);
    equal!(update(&ring, 2, &[piece(0, 0)], &[])?, 1);
    equal!(reap(&mut ring), []);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 2)?, [(7, 1), (13, 0)]);
    // As far as it goes.
    equal!(update(&ring, 0, &[pieces[0], piece(8, PAGE)], &[21, 22])?, 1);
    equal!(reap(&mut ring), [(14, 0)]);
    fails!(update(&ring, 0, &[piece(0, 0)], &[5]), EINVAL);
    fails!(update(&ring, 3, &pieces[..1], &[]), EINVAL);
    fails!(update(&ring, u32::MAX, &pieces[..2], &[]), EOVERFLOW);
    equal!(unregister(&ring)?, 0);
    equal!(reap(&mut ring), [(21, 0)]);
    fails!(update(&ring, 0, &pieces[..1], &[]), ENXIO);
    // Places that are to be filled later; one that fails leaves none, and nothing is told.
    let sparse = RsrcRegister { nr: 5, flags: IORING_RSRC_REGISTER_SPARSE, ..RsrcRegister::default() };
    let what = IORING_REGISTER_BUFFERS2;
    fails!(tagged(&ring, &[pieces[0], piece(8, 1)], &[31, 32]), EFAULT);
    equal!(call!(IO_URING_REGISTER, ring.fd().raw(), what, &raw const sparse, size_of::<RsrcRegister>())?, 0);
    equal!(update(&ring, 4, &pieces[..1], &[41])?, 1);
    equal!(one(&mut ring, at(IORING_OP_READ_FIXED, fd, base, 7, 4))?, 7);
    equal!(reap(&mut ring), []);
    call!(MUNMAP, base, 4 * PAGE)?;
    Ok(())
}

fn wrong() -> Outcome {
    let ring = Ring::new(8, 0)?;
    let base = map(2 * PAGE, RW)?;
    let good = piece(base, PAGE);
    fails!(unregister(&ring), ENXIO);
    fails!(register(&ring, &[]), EINVAL);
    let of =
        |addr: usize, count: usize| call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_BUFFERS, addr, count);
    fails!(of(8, 1), EFAULT);
    fails!(of(0, 1), EFAULT);
    fails!(of((&raw const good) as usize, (1 << 14) + 1), EINVAL);
    fails!(of((&raw const good) as usize, u32::MAX as usize), EINVAL);
    let bad = [
        (piece(0, PAGE), Errno::EFAULT),
        (piece(base, 0), Errno::EFAULT),
        (piece(base, (1 << 30) + 1), Errno::EFAULT),
        (piece(usize::MAX - 10, 11), Errno::EOVERFLOW),
        (piece(1 << 62, PAGE), Errno::EFAULT),
        (piece(base + PAGE, PAGE + 1), Errno::EFAULT),
    ];
    call!(MPROTECT, base + PAGE, PAGE, m::PROT_READ)?;
    for (wrong, errno) in bad {
        for list in [alloc::vec![wrong], alloc::vec![good, wrong]] {
            let found = register(&ring, &list);
            ensure!(found == Err(errno), "{found:?} of {wrong:?}");
        }
    }
    // Read only, and a file's that others see.
    fails!(register(&ring, &[piece(base + PAGE, PAGE)]), EFAULT);
    let content = file(&[1; PAGE])?;
    let mapped = call!(MMAP, 0, PAGE, m::PROT_READ | m::PROT_WRITE, m::MAP_SHARED, content.fd().raw(), 0)?;
    fails!(register(&ring, &[piece(mapped, PAGE)]), EFAULT);
    let asked = RsrcRegister { nr: 1, data: (&raw const good) as u64, ..RsrcRegister::default() };
    let ask = |asked: &RsrcRegister, size: usize| {
        call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_BUFFERS2, core::ptr::from_ref(asked), size)
    };
    fails!(ask(&asked, 31), EINVAL);
    fails!(ask(&RsrcRegister { nr: 0, ..asked }, 32), EINVAL);
    fails!(ask(&RsrcRegister { resv2: 1, ..asked }, 32), EINVAL);
    fails!(ask(&RsrcRegister { flags: 2, ..asked }, 32), EINVAL);
    fails!(ask(&RsrcRegister { flags: 1, ..asked }, 32), EINVAL);
    fails!(ask(&RsrcRegister { tags: 8, ..asked }, 32), EFAULT);
    equal!(ask(&asked, 32)?, 0);
    fails!(register(&ring, &[good]), EBUSY);
    // Pinned memory is paid for, once for each time: a small machine has not as much as that.
    let many = alloc::vec![good; 1 << 14];
    equal!(unregister(&ring)?, 0);
    let all = register(&ring, &many);
    ensure!(matches!(all, Ok(0) | Err(Errno::ENOMEM)), "{all:?}");
    if all.is_ok() {
        equal!(unregister(&ring)?, 0);
    }
    equal!(register(&ring, &many[..64])?, 0);
    call!(MUNMAP, mapped, PAGE)?;
    call!(MUNMAP, base, 2 * PAGE)?;
    Ok(())
}

/// A ring has the buffers of another, as they are then; they outlive that ring, whose tags tell of its own.
fn copied() -> Outcome {
    let copy = |to: &Ring, asked: &CloneBuffers, count: usize| {
        let asked = core::ptr::from_ref(asked);
        call!(IO_URING_REGISTER, to.fd().raw(), IORING_REGISTER_CLONE_BUFFERS, asked, count)
    };
    let (mut from, mut to) = (Ring::new(8, 0)?, Ring::new(8, 0)?);
    let asked = CloneBuffers { src_fd: from.fd().raw().cast_unsigned(), ..CloneBuffers::default() };
    fails!(copy(&to, &asked, 1), ENXIO);
    let base = map(2 * PAGE, RW)?;
    equal!(tagged(&from, &[piece(base, PAGE), piece(0, 0), piece(base + PAGE, 100)], &[5, 0, 6])?, 0);
    for (asked, count) in [
        (CloneBuffers { flags: 2, ..asked }, 1),
        (CloneBuffers { pad: [0, 0, 0, 0, 0, 1], ..asked }, 1),
        (asked, 0),
        (asked, 2),
    ] {
        fails!(copy(&to, &asked, count), EINVAL);
    }
    fails!(copy(&to, &CloneBuffers { src_fd: 300, ..asked }, 1), EBADF);
    let (read, _write) = rt::pipe::pipe()?;
    fails!(copy(&to, &CloneBuffers { src_fd: read.fd().raw().cast_unsigned(), ..asked }, 1), EOPNOTSUPP);
    // Another process would have memory that this one pays for.
    let is_refused = || copy(&to, &asked, 1) == Err(Errno::EINVAL);
    exits(child(|| i32::from(!is_refused()))?, 0)?;
    equal!(copy(&to, &asked, 1)?, 0);
    fails!(copy(&to, &asked, 1), EBUSY);
    fails!(copy(&from, &asked, 1), EBUSY);
    // The first ring tells at once that its own are gone.
    equal!(unregister(&from)?, 0);
    equal!(wait_sorted(&mut from, 2)?, [(5, 0), (6, 0)]);
    drop(from);
    let file = file(&[9u8; 200])?;
    let fd = file.fd().raw();
    equal!(one(&mut to, at(IORING_OP_READ_FIXED, fd, base + PAGE, 100, 2))?, 100);
    ensure!(*raw::bytes(base + PAGE, 100) == [9u8; 100], "other bytes");
    equal!(one(&mut to, at(IORING_OP_READ_FIXED, fd, base, 100, 1))?, EFAULT);
    equal!(unregister(&to)?, 0);
    ensure!(to.pop().is_none(), "a tag");
    call!(MUNMAP, base, 2 * PAGE)?;
    Ok(())
}
