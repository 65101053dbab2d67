//! Rings that are shared with the kernel: nothing, in batches and alone; a read that waits; reads of what is in memory.

use crate::disk;
use crate::measure::{Outcome, call, count_on_all_harts, measure};
use crate::threads::free_bytes;
use alloc::vec::Vec;
use alloc::{format, vec};
use rt::abi::io_uring::{
    IORING_ENTER_SQ_WAKEUP, IORING_OP_NOP, IORING_OP_POLL_ADD, IORING_OP_READ, IORING_OP_RECV, IORING_POLL_ADD_MULTI,
    IORING_SETUP_SQPOLL, Params, Sqe,
};
use rt::abi::net::{AF_UNIX, SOCK_STREAM};
use rt::abi::nr;
use rt::abi::poll::POLLIN;
use rt::ring::Ring;
use rt::task::block_on;
use rt::{async_fs, fs, io, println, raw};

const BATCH: u32 = 128;
/// Of the file that is read.
const PAGES: u64 = 256;
/// Where files are that no disk has.
const IN_MEMORY: &str = "/dev/shm";

/// All of them.
pub fn rings() -> Outcome {
    let mut ring = Ring::new(BATCH, 0)?;
    measure("uring_enter", 20_000, |count| (0..count).try_for_each(|_| ring.submit(0).map(drop)))?;
    nothing("uring_nop_128", BATCH, 200_000)?;
    nothing("uring_nop_1", 1, 20_000)?;
    polled("uring_polled_1", 1, 20_000)?;
    // Each call is an entry, and it makes no other.
    println!("B uring_stream_entries {} entries", polled("uring_polled_128", BATCH, 1_000_000)?);
    pending()?;
    local_pending()?;
    poll_pending("uring_poll_pending", 0)?;
    poll_pending("uring_poll_again", IORING_POLL_ADD_MULTI)?;
    cached()?;
    pending_memory()
}

fn transfer(fd: i32, bytes: &mut [u8], off: u64) -> Sqe {
    let (addr, len) = (bytes.as_mut_ptr() as u64, bytes.len() as u32);
    Sqe { opcode: IORING_OP_READ, fd, addr, len, off, ..Sqe::default() }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::Other, "a completion is missing, or another")
}

/// A read of an empty pipe, then the byte, then the completion.
fn pending() -> Outcome {
    let (read, mut write) = rt::pipe::pipe()?;
    let mut ring = Ring::new(8, 0)?;
    let mut byte = [0];
    measure("uring_pipe_pending", 10_000, |count| {
        for _ in 0..count {
            let _ = ring.push_raw(&transfer(read.fd().raw(), &mut byte, 0));
            ring.submit(0)?;
            io::Write::write_all(&mut write, b"x")?;
            ring.submit(1)?;
            ring.pop().filter(|cqe| cqe.res == 1).ok_or_else(missing)?;
        }
        Ok(())
    })
}

fn local_pair() -> io::Result<[fs::File; 2]> {
    let mut pair = [0i32; 2];
    call(nr::SOCKETPAIR, &[AF_UNIX as usize, SOCK_STREAM as usize, 0, pair.as_mut_ptr() as usize])?;
    Ok(pair.map(|fd| raw::file(fd as usize)))
}

/// A receive of an empty local socket, then the byte sent, then the completion.
fn local_pending() -> Outcome {
    let [near, far] = local_pair()?;
    let mut ring = Ring::new(8, 0)?;
    let mut byte = [0u8];
    measure("uring_unix_pending", 10_000, |count| {
        for _ in 0..count {
            let receive = Sqe { opcode: IORING_OP_RECV, ..transfer(near.fd().raw(), &mut byte, 0) };
            let _ = ring.push_raw(&receive);
            ring.submit(0)?;
            call(nr::SENDTO, &[far.fd().raw() as usize, c"x".as_ptr() as usize, 1, 0, 0, 0])?;
            ring.submit(1)?;
            ring.pop().filter(|cqe| cqe.res == 1).ok_or_else(missing)?;
        }
        Ok(())
    })
}

/// A byte for an empty pipe that is polled, the completion, which may be there by then, and the byte taken: by a poll for each, or one for all.
fn poll_pending(id: &str, flags: u32) -> Outcome {
    let (read, mut write) = rt::pipe::pipe()?;
    let (mut ring, fd) = (Ring::new(8, 0)?, read.fd().raw());
    let poll = Sqe { opcode: IORING_OP_POLL_ADD, fd, len: flags, op_flags: POLLIN as u32, ..Sqe::default() };
    if flags != 0 {
        let _ = ring.push_raw(&poll);
    }
    let mut byte = 0u8;
    measure(id, 10_000, |count| {
        for _ in 0..count {
            if flags == 0 {
                let _ = ring.push_raw(&poll);
            }
            ring.submit(0)?;
            io::Write::write_all(&mut write, b"x")?;
            let told = match ring.pop() {
                None => ring.submit(1).map(|_| ring.pop())?,
                told => told,
            };
            told.filter(|cqe| cqe.res == i32::from(POLLIN)).ok_or_else(missing)?;
            call(nr::READ, &[fd as usize, &raw mut byte as usize, 1])?;
        }
        Ok(())
    })
}

/// What free memory of the machine has become less by, a read, once very many wait for one pipe, and in all. It counts pages, and so all that the
/// kernel keeps for a read; the ring, and the memory that is read into, are there before.
fn pending_memory() -> Outcome {
    const READS: usize = 100_000;
    const ENTRIES: u32 = 4_096;
    let (read, mut write) = rt::pipe::pipe()?;
    let mut ring = Ring::new(ENTRIES, 0)?;
    let mut bytes = vec![1u8; READS];
    let settle = || rt::thread::sleep(core::time::Duration::from_millis(50));
    settle();
    let before = free_bytes()?;
    for some in bytes.chunks_mut(ENTRIES as usize) {
        for byte in some.chunks_mut(1) {
            let _ = ring.push_raw(&transfer(read.fd().raw(), byte, 0));
        }
        ring.submit(0)?;
    }
    settle();
    let taken = before - free_bytes()?;
    println!("B pending_memory {:.0} B", taken / READS as f64);
    println!("B pending_memory_all {:.1} MiB", taken / (1 << 20) as f64);
    let mut left = READS;
    while left > 0 {
        io::Write::write_all(&mut write, &vec![2u8; left.min(4_096)])?;
        let mut some = left.min(4_096);
        while some > 0 {
            ring.submit(1)?;
            let taken = core::iter::from_fn(|| ring.pop()).filter(|cqe| cqe.res == 1).count();
            (some, left) = (some - taken, left - taken);
        }
    }
    if bytes.iter().all(|byte| *byte == 2) { Ok(()) } else { Err(missing()) }
}

#[repr(align(4096))]
struct Page([u8; 4096]);

/// Reads of a file that is in memory: one of the disk, and one that is nowhere else.
fn cached() -> Outcome {
    let path = format!("{}/bench-uring", disk::folder());
    let file = filled(&path)?;
    by_call_and_ring(file.fd().raw(), "")?;
    alone(&file.into())?;
    fs::remove_file(&path)?;
    let path = format!("{IN_MEMORY}/bench-uring");
    if !fs::exists(IN_MEMORY) {
        fs::create_dir(IN_MEMORY)?;
        fs::mount("none", IN_MEMORY, "tmpfs")?;
    }
    by_call_and_ring(filled(&path)?.fd().raw(), "_tmpfs")?;
    fs::remove_file(&path)
}

/// A file whose pages are all different; nothing of it is left to be written while it is read.
fn filled(path: &str) -> io::Result<fs::File> {
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).open(path)?;
    for page in 0..PAGES {
        io::Write::write_all(&mut file, &[page as u8; 4096])?;
    }
    file.sync_all()?;
    Ok(file)
}

/// By the call, and by the ring; `more` is the end of the rows' names.
fn by_call_and_ring(fd: i32, more: &str) -> Outcome {
    // At a page's start, as in the program that measured Linux: of memory that lies across two pages both have to be found.
    let mut bytes: Vec<Page> = (0..32).map(|_| Page([0; 4096])).collect();
    for len in [4096, 64] {
        let mut number = 0;
        measure(&format!("pread_{len}{more}"), 20_000, |count| {
            for _ in 0..count {
                number = (number * 5 + 1) % PAGES;
                let read = call(nr::PREAD64, &[fd as usize, bytes.as_mut_ptr() as usize, len, number as usize * 4096])?;
                if read != len || bytes[0].0[0] != number as u8 {
                    return Err(missing());
                }
            }
            Ok(())
        })?;
    }
    let mut ring = Ring::new(32, 0)?;
    for (id, len, batch) in [("uring_read4k_32", 4096, 32), ("uring_read64_1", 64, 1)] {
        let mut number = 0;
        let mut entry = transfer(fd, &mut bytes[0].0[..len], 0);
        measure(&format!("{id}{more}"), 19_200, |count| {
            for _ in 0..count / batch {
                for Page(place) in bytes.iter_mut().take(batch as usize) {
                    number = (number * 5 + 1) % PAGES;
                    (entry.addr, entry.off) = (place.as_mut_ptr() as u64, number * 4096);
                    let _ = ring.push_raw(&entry);
                }
                ring.submit(batch as u32)?;
                for _ in 0..batch {
                    ring.pop().filter(|cqe| cqe.res == len as i32).ok_or_else(missing)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The same as a task has it, one at a time: the runtime makes the call where that has what is asked for.
fn alone(file: &async_fs::File) -> Outcome {
    for len in [4096, 64] {
        let (mut number, mut room) = (0, Vec::with_capacity(len));
        let mut one = async |count| {
            for _ in 0..count {
                number = (number * 5 + 1) % PAGES;
                let (read, bytes) = file.read_at(core::mem::take(&mut room), number * 4096).await;
                if read? != len || bytes[0] != number as u8 {
                    return Err(missing());
                }
                room = bytes;
            }
            Ok(())
        };
        measure(&format!("async_read_{len}"), 20_000, |count| block_on(one(count)))?;
    }
    Ok(())
}

/// Nothing, by a ring whose entries the kernel takes by itself, `batch` of them in it at a time; how often it is called. Somebody has to wait: on
/// one hart nobody would take them.
fn polled(id: &str, batch: u32, operations: u32) -> io::Result<u32> {
    let mut ring = Ring::new(batch, IORING_SETUP_SQPOLL)?;
    let mut calls = 0;
    measure(id, operations.into(), |count| {
        let (mut added, mut taken) = (0, 0);
        calls = 0;
        while taken < count {
            while added < count && ring.push(&Sqe { opcode: IORING_OP_NOP, ..Sqe::default() })? {
                added += 1;
            }
            calls += 1;
            ring.submit_polled((added - taken) as u32)?;
            taken += core::iter::from_fn(|| ring.pop()).count() as u64;
        }
        Ok(())
    })?;
    Ok(calls)
}

/// A stream of a million that never runs dry, by such a ring whose coroutine has another hart: the program calls where it has been told that the ring sleeps.
pub fn across_harts() -> Outcome {
    let params = Params { flags: IORING_SETUP_SQPOLL, sq_thread_idle: 10_000, ..Params::default() };
    let mut ring = Ring::with(2 * BATCH, params)?;
    count_on_all_harts("uring_polled_million", 1, |times| stream(&mut ring, 1_000_000 * times))
}

fn stream(ring: &mut Ring, count: u64) -> Outcome {
    let (mut added, mut taken) = (0, 0);
    while taken < count {
        while added < count && ring.push(&Sqe { opcode: IORING_OP_NOP, user_data: added, ..Sqe::default() })? {
            added += 1;
        }
        if ring.show() {
            call(nr::IO_URING_ENTER, &[ring.fd().raw() as usize, 0, 0, IORING_ENTER_SQ_WAKEUP as usize, 0, 0])?;
        }
        while let Some(cqe) = ring.pop() {
            if cqe.user_data != taken {
                return Err(missing());
            }
            taken += 1;
        }
    }
    Ok(())
}

/// An entry that asks for nothing, `batch` of them with each call; submitted, waited for, taken.
fn nothing(id: &str, batch: u32, operations: u64) -> Outcome {
    let mut ring = Ring::new(BATCH, 0)?;
    measure(id, operations / u64::from(batch) * u64::from(batch), |count| {
        let mut left = count;
        while left > 0 {
            let some = left.min(u64::from(batch)) as u32;
            for number in 0..some {
                let entry = Sqe { opcode: IORING_OP_NOP, user_data: u64::from(number), ..Sqe::default() };
                let _ = ring.push(&entry)?;
            }
            ring.submit(some)?;
            let sum: u64 = core::iter::from_fn(|| ring.pop()).map(|cqe| cqe.user_data + 1).sum();
            if sum != u64::from(some) * u64::from(some + 1) / 2 {
                return Err(io::Error::new(io::ErrorKind::Other, "a completion is missing"));
            }
            left -= u64::from(some);
        }
        Ok(())
    })
}
