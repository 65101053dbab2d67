//! Rings that are shared with the kernel: nothing, in batches and alone; a read that waits; reads of what is in memory.

use crate::measure::{Outcome, call, measure};
use alloc::{format, vec};
use rt::abi::io_uring::{IORING_OP_NOP, IORING_OP_READ, Sqe};
use rt::abi::nr;
use rt::ring::Ring;
use rt::{fs, io};

const BATCH: u32 = 128;

/// All of them.
pub fn rings() -> Outcome {
    let mut ring = Ring::new(BATCH, 0)?;
    measure("uring_enter", 20_000, |count| (0..count).try_for_each(|_| ring.submit(0).map(drop)))?;
    nothing("uring_nop_128", BATCH, 200_000)?;
    nothing("uring_nop_1", 1, 20_000)?;
    pending()?;
    cached()
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

/// Reads of a file that is in memory: by the call, and by the ring.
fn cached() -> Outcome {
    const PAGES: u64 = 256;
    const PATH: &str = "/tmp/bench-uring";
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).open(PATH)?;
    for page in 0..PAGES {
        io::Write::write_all(&mut file, &[page as u8; 4096])?;
    }
    let fd = file.fd().raw();
    let mut bytes = vec![0; 32 * 4096];
    for len in [4096, 64] {
        let mut number = 0;
        measure(&format!("pread_{len}"), 20_000, |count| {
            for _ in 0..count {
                number = (number * 5 + 1) % PAGES;
                let read = call(nr::PREAD64, &[fd as usize, bytes.as_mut_ptr() as usize, len, number as usize * 4096])?;
                if read != len || bytes[0] != number as u8 {
                    return Err(missing());
                }
            }
            Ok(())
        })?;
    }
    let mut ring = Ring::new(32, 0)?;
    for (id, len, batch) in [("uring_read4k_32", 4096, 32), ("uring_read64_1", 64, 1)] {
        let mut number = 0;
        measure(id, 19_200, |count| {
            for _ in 0..count / batch {
                for place in bytes.chunks_mut(4096).take(batch as usize) {
                    number = (number * 5 + 1) % PAGES;
                    let _ = ring.push_raw(&transfer(fd, &mut place[..len], number * 4096));
                }
                ring.submit(batch as u32)?;
                for _ in 0..batch {
                    ring.pop().filter(|cqe| cqe.res == len as i32).ok_or_else(missing)?;
                }
            }
            Ok(())
        })?;
    }
    fs::remove_file(PATH)
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
