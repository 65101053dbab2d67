//! Random pages of the disk, past all caches: one at a time by the call, and 1 or 32 at a time by a ring, as in the program that measured Linux: of the
//! device, and of a file.

use crate::measure::{Outcome, call, count_on_all_harts, measure};
use alloc::ffi::CString;
use alloc::format;
use core::sync::atomic::{AtomicBool, Ordering};
use rt::abi::fs::{AT_FDCWD, O_DIRECT, O_RDONLY, SEEK_END};
use rt::abi::io_uring::{
    IORING_OP_READ_FIXED, IORING_REGISTER_BUFFERS, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER, Sqe,
};
use rt::abi::nr;
use rt::fs::{self, File};
use rt::io::{self, Write};
use rt::ring::Ring;
use rt::{eprintln, raw};

const PAGE: usize = 4096;
const DEPTH: usize = 32;
/// Of the file.
const PAGES: usize = 4096;
/// Where the disk is mounted if the root lies elsewhere.
const MOUNTED: &str = "/disk";

#[repr(align(4096))]
struct Buffers([[u8; PAGE]; DEPTH]);

/// What is read at random.
struct Target {
    file: File,
    pages: usize,
    seed: u32,
}

impl Target {
    fn open(path: &str) -> io::Result<Self> {
        let name = CString::new(path).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = (O_RDONLY | O_DIRECT) as usize;
        let file = raw::file(call(nr::OPENAT, &[AT_FDCWD as usize, name.as_ptr() as usize, flags, 0])?);
        let bytes = call(nr::LSEEK, &[file.fd().raw() as usize, 0, SEEK_END as usize])?;
        Ok(Self { file, pages: bytes / PAGE, seed: 99 })
    }

    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.seed >> 4) as usize % self.pages * PAGE) as u64
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "not a page was read")
}

fn by_call(target: &mut Target, buffers: &mut Buffers, count: u64) -> Outcome {
    for _ in 0..count {
        let (fd, address) = (target.file.fd().raw() as usize, buffers.0[0].as_mut_ptr() as usize);
        if call(nr::PREAD64, &[fd, address, PAGE, target.next() as usize])? != PAGE {
            return Err(short());
        }
    }
    Ok(())
}

fn by_ring(ring: &mut Ring, target: &mut Target, buffers: &mut Buffers, depth: usize, count: u64) -> Outcome {
    let fd = target.file.fd().raw();
    let mut push = |ring: &mut Ring, slot: usize| {
        let (addr, len) = (buffers.0[slot].as_mut_ptr() as u64, PAGE as u32);
        let place = Sqe { opcode: IORING_OP_READ_FIXED, fd, addr, len, ..Sqe::default() };
        let _ = ring.push_raw(&Sqe { off: target.next(), user_data: slot as u64, ..place });
    };
    let (mut begun, mut done) = (depth.min(count as usize) as u64, 0);
    (0..begun as usize).for_each(|slot| push(ring, slot));
    while done < count {
        ring.submit(1)?;
        while let Some(cqe) = ring.pop() {
            if cqe.res != PAGE as i32 {
                return Err(short());
            }
            done += 1;
            if begun < count {
                push(ring, cqe.user_data as usize);
                begun += 1;
            }
        }
    }
    Ok(())
}

fn ring_for(buffers: &mut Buffers) -> io::Result<Ring> {
    let ring = Ring::new(64, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)?;
    let piece = [buffers.0.as_mut_ptr() as usize, size_of::<Buffers>()];
    let what = IORING_REGISTER_BUFFERS as usize;
    call(nr::IO_URING_REGISTER, &[ring.fd().raw() as usize, what, piece.as_ptr() as usize, 1])?;
    Ok(ring)
}

type Report<'a> = &'a dyn Fn(&str, u64, &mut dyn FnMut(u64) -> Outcome) -> Outcome;

fn read(id: &str, path: &str, report: Report<'_>) -> Outcome {
    let mut target = Target::open(path)?;
    let mut buffers = alloc::boxed::Box::new(Buffers([[0; PAGE]; DEPTH]));
    report(&format!("{id}_pread"), 5_000, &mut |count| by_call(&mut target, &mut buffers, count))?;
    for (depth, count) in [(1, 5_000), (DEPTH, 20_000)] {
        let mut ring = ring_for(&mut buffers)?;
        let id = format!("{id}_qd{depth}");
        report(&id, count, &mut |count| by_ring(&mut ring, &mut target, &mut buffers, depth, count))?;
    }
    Ok(())
}

/// A folder of the disk. The first time it loads what a Linux has for the disk beside itself, and mounts that; not before rows that need it, as it would go on beside others. What
/// does not work leaves rows out, which say so.
pub fn folder() -> &'static str {
    /// Relaxed: one thread asks.
    static PREPARED: AtomicBool = AtomicBool::new(false);
    if !PREPARED.swap(true, Ordering::Relaxed) {
        prepare();
    }
    if fs::exists(MOUNTED) { MOUNTED } else { "/root" }
}

fn prepare() {
    const FINIT_MODULE: usize = 273;
    const COMPRESSED: usize = 4;
    for number in 0.. {
        let Ok(file) = File::open(&format!("/modules/{number}")) else { break };
        if let Err(error) = call(FINIT_MODULE, &[file.fd().raw() as usize, c"".as_ptr() as usize, COMPRESSED]) {
            eprintln!("bench: module {number}: {error}");
        }
    }
    if fs::exists(MOUNTED) {
        let mounted = fs::mount("none", "/dev", "devtmpfs").and_then(|()| fs::mount("/dev/vda", MOUNTED, "ext4"));
        if let Err(error) = mounted {
            eprintln!("bench: {MOUNTED}: {error}");
            // Else files there would be in memory.
            let _ = fs::remove_dir(MOUNTED);
        }
    }
}

fn both(report: Report<'_>) -> Outcome {
    let path = &format!("{}/bench.direct", folder());
    read("disk_direct", "/dev/vda", report)?;
    let mut file = File::create(path)?;
    (0..PAGES).try_for_each(|page| file.write_all(&[page as u8; PAGE]))?;
    file.sync_all()?;
    drop(file);
    let done = read("file_direct", path, report);
    fs::remove_file(path)?;
    done
}

/// How long they take.
pub fn reads() -> Outcome {
    both(&|id, count, body| measure(id, count, body))
}

/// What a plugin counts of them.
pub fn counted() -> Outcome {
    both(&|id, count, body| count_on_all_harts(id, count, body))
}
