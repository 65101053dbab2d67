//! Doorbells as memory: what a program does with their addresses that is no store of a number. The kernel reaches memory only, and a
//! page that is taken out is out on every hart.

use super::{Counts, counting, until};
use crate::case::{Outcome, Trouble};
use crate::process::{PAGE, RW, checked_child, child, dies, exits, faults, map, map_at, sleep_ms, unmap};
use crate::rings::buffers::{piece, register};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use rt::abi::fs::{O_CREAT, O_RDWR};
use rt::abi::futex::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAKE_OP};
use rt::abi::mm::*;
use rt::abi::signal::{SIGBUS, SIGSEGV};
use rt::raw;
use rt::uintr::{Receiver, Sender};

struct Ends {
    receiver: Receiver,
    counts: &'static Counts,
    sender: Sender,
}

/// A sender to this thread, whose doorbell was rung: where it is a page, it is there.
fn ends() -> Result<Ends, Trouble> {
    let (receiver, counts) = counting()?;
    let sender = Sender::open(receiver.grant(1)?)?;
    let ends = Ends { receiver, counts, sender };
    ends.works()?;
    Ok(ends)
}

impl Ends {
    /// What is sent arrives.
    fn works(&self) -> Outcome {
        let before = self.counts.get(0);
        self.sender.send(0)?;
        until(&self.receiver, || self.counts.get(0) > before)
    }
}

/// Stores a number to a doorbell.
fn ring(bell: usize) {
    raw::atomic(bell).store(1, Relaxed);
}

/// Given to system calls, present and absent: `EFAULT` from all of them, and no hart is held up.
pub fn as_buffer() -> Outcome {
    let ends = ends()?;
    refused(ends.sender.doorbell())?;
    ends.works()?;
    ends.receiver.revoke(ends.sender.right())?;
    refused(ends.sender.doorbell())
}

fn refused(bell: usize) -> Outcome {
    let mut pipe = [0_i32; 2];
    call!(PIPE2, pipe.as_mut_ptr(), 0)?;
    let [mut from, mut to] = pipe.map(|fd| raw::file(fd as usize));
    rt::io::Write::write_all(&mut to, b"12345678")?;
    let [input, output] = pipe;
    fails!(call!(READ, input, bell, 4), EFAULT);
    fails!(call!(WRITE, output, bell, 4), EFAULT);
    fails!(call!(READV, input, bell, 1), EFAULT);
    fails!(call!(READV, input, [piece(bell, 4)].as_ptr(), 1), EFAULT);
    fails!(call!(OPENAT, -100_isize, bell, O_RDWR, 0), EFAULT);
    fails!(call!(CLOCK_GETTIME, 0, bell), EFAULT);
    fails!(call!(NANOSLEEP, bell, 0), EFAULT);
    fails!(call!(GETCWD, bell, 100), EFAULT);
    for private in [0, FUTEX_PRIVATE_FLAG] {
        fails!(call!(FUTEX, bell, FUTEX_WAIT | private, 0, 0, 0, 0), EFAULT);
        fails!(call!(FUTEX, bell - PAGE, FUTEX_WAKE_OP | private, 1, 1, bell, 0), EFAULT);
    }
    past_the_caches(bell)?;
    // The word that the kernel clears when a thread ends.
    let pid = checked_child(|| {
        call!(SET_TID_ADDRESS, bell)?;
        Ok(())
    })?;
    exits(pid, 0)?;
    let mut rest = [0; 8];
    rt::io::Read::read_exact(&mut from, &mut rest)?;
    equal!(rest, *b"12345678");
    Ok(())
}

/// Where pages are pinned.
fn past_the_caches(bell: usize) -> Outcome {
    const FILE: &str = "/root/uintr-direct";
    let direct = crate::files::direct::open(FILE, O_RDWR | O_CREAT)?;
    let fd = direct.fd().raw();
    equal!(call!(WRITE, fd, map(PAGE, RW)?, PAGE)?, PAGE);
    fails!(call!(PREAD64, fd, bell, PAGE, 0), EFAULT);
    fails!(call!(PWRITE64, fd, bell, PAGE, 0), EFAULT);
    rt::fs::remove_file(FILE)?;
    let pinning = rt::ring::Ring::new(8, 0)?;
    fails!(register(&pinning, &[piece(bell, PAGE)]), EFAULT);
    Ok(())
}

/// Behind its end no store rings, by whatever the mapping ended.
pub fn unmapped() -> Outcome {
    let ends = ends()?;
    let bell = ends.sender.doorbell();
    let store = || ring(bell);
    // A hart that runs on in this space must not go by what it remembers.
    faults(|| {
        store();
        unmap(bell, PAGE).map(|_| store())
    })?;
    for protection in [PROT_READ, PROT_NONE] {
        faults(|| {
            store();
            call!(MPROTECT, bell, PAGE, protection).map(|_| store())
        })?;
    }
    let pid = checked_child(|| {
        store();
        map_at(bell, PAGE, RW)?;
        store();
        equal!(raw::load8(bell), 1);
        Ok(())
    })?;
    exits(pid, 0)?;
    ends.works()
}

/// A thread that stores to it on another hart meets the end, too.
pub fn unmapped_elsewhere() -> Outcome {
    let ends = ends()?;
    let bell = ends.sender.doorbell();
    meets_the_end(bell, || unmap(bell, PAGE).map(drop))?;
    meets_the_end(bell, || call!(MPROTECT, bell, PAGE, PROT_READ).map(drop))?;
    meets_the_end(bell, || map_at(bell, PAGE, PROT_NONE).map(drop))?;
    ends.works()
}

fn meets_the_end(bell: usize, end: impl FnOnce() -> Result<(), rt::abi::Errno>) -> Outcome {
    static STORES: AtomicU32 = AtomicU32::new(0);
    let await_more = |from: u32, more: u32| {
        while STORES.load(Relaxed).wrapping_sub(from) < more {
            sleep_ms(1);
        }
    };
    let pid = child(|| {
        let ringing = rt::thread::spawn(move || {
            loop {
                ring(bell);
                STORES.fetch_add(1, Relaxed);
            }
        });
        await_more(0, 1000);
        if ringing.is_err() || end().is_err() {
            return 1;
        }
        // One store may be over and not counted.
        await_more(STORES.load(Relaxed), 2);
        2
    })?;
    dies(pid, SIGSEGV)
}

/// What can be done to the mapping leaves it sane.
pub fn edited() -> Outcome {
    let ends = ends()?;
    let (bell, right) = (ends.sender.doorbell(), ends.sender.right().fd().raw());
    let both = bell - PAGE;
    fails!(call!(MPROTECT, bell, PAGE, PROT_READ | PROT_EXEC), EACCES);
    fails!(call!(MPROTECT, both, PAGE, RW | PROT_EXEC), EACCES);
    fails!(call!(MMAP, 0, 2 * PAGE, RW | PROT_EXEC, MAP_SHARED, right, 0), EACCES);
    for object in [right, ends.receiver.fd().raw()] {
        for protection in [PROT_READ, RW] {
            fails!(call!(MMAP, 0, 2 * PAGE, protection, MAP_PRIVATE, object, 0), EINVAL);
        }
    }
    fails!(call!(MREMAP, bell, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    fails!(call!(MREMAP, both, 2 * PAGE, PAGE, 0), EFAULT);
    ends.works()?;
    for protection in [PROT_READ, PROT_NONE] {
        call!(MPROTECT, bell, PAGE, protection)?;
        call!(MPROTECT, bell, PAGE, RW)?;
        ends.works()?;
    }
    for advice in [MADV_DONTNEED, MADV_FREE, MADV_WILLNEED] {
        call!(MADVISE, both, 2 * PAGE, advice)?;
        ends.works()?;
    }
    call!(MSYNC, both, 2 * PAGE, MS_SYNC)?;
    ends.works()?;
    // They end, whatever they say.
    let _ = call!(MADVISE, bell, PAGE, MADV_POPULATE_WRITE);
    let _ = call!(MLOCK, bell, PAGE);
    ends.works()?;
    let before = ends.counts.get(0);
    // Inherited with the mapping.
    let pid = checked_child(|| Ok(ends.sender.send(0)?))?;
    exits(pid, 0)?;
    until(&ends.receiver, || ends.counts.get(0) > before)?;
    ends.works()
}

/// Far more mappings, one after the other, than are remembered at a time; then as many at a time.
pub fn mapped_often() -> Outcome {
    let ends = ends()?;
    let right = ends.sender.right().fd().raw();
    let rung = || {
        let at = call!(MMAP, 0, 2 * PAGE, RW, MAP_SHARED, right, 0)?;
        ring(at + PAGE);
        Ok::<_, rt::abi::Errno>(at)
    };
    for _ in 0..400 {
        unmap(rung()?, 2 * PAGE)?;
    }
    ends.works()?;
    let all: Vec<_> = (0..100).map(|_| rung()).collect();
    ends.works()?;
    for at in all {
        let at = at?;
        ring(at + PAGE);
        unmap(at, 2 * PAGE)?;
    }
    ends.works()
}

/// Text that cannot be read, with one instruction that uses the address in `a0`, and a return.
fn text(instruction: &[u8]) -> Result<usize, Trouble> {
    const RETURN: [u8; 2] = 0x8082_u16.to_le_bytes();
    let text = map(PAGE, RW)?;
    let (place, rest) = raw::bytes(text, PAGE).split_at_mut(instruction.len());
    place.copy_from_slice(instruction);
    rest[..2].copy_from_slice(&RETURN);
    call!(MPROTECT, text, PAGE, PROT_EXEC)?;
    raw::fence_i();
    let _ = call!(RISCV_FLUSH_ICACHE, text, text + PAGE, 0);
    Ok(text)
}

/// Where no page is, the kernel does what a store of 32 bits means and goes on behind it; all else is an error, and ends.
pub fn absent() -> Outcome {
    let ends = ends()?;
    let bell = ends.sender.doorbell();
    ends.receiver.revoke(ends.sender.right())?;
    let stores: [&[u8]; 3] = [
        &0x00a5_2023_u32.to_le_bytes(), // sw a0, 0(a0)
        &0x7ea5_2e23_u32.to_le_bytes(), // sw a0, 2044(a0)
        &0xc108_u16.to_le_bytes(),      // c.sw a0, 0(a0)
    ];
    for store in stores {
        let text = text(store)?;
        let pid = child(|| (raw::call(text, bell) != bell).into())?;
        exits(pid, 0)?;
    }
    let others = [
        0x00a5_0023_u32, // sb a0, 0(a0)
        0x00a5_1023,     // sh a0, 0(a0)
        0x00a5_3023,     // sd a0, 0(a0)
        0x00a5_20a3,     // sw a0, 1(a0)
        0x00a5_2027,     // fsw fa0, 0(a0)
        0x00a5_25af,     // amoadd.w a1, a0, (a0)
        0x0005_2583,     // lw a1, 0(a0)
    ];
    for other in others {
        let text = text(&other.to_le_bytes())?;
        let pid = child(|| raw::call(text, bell) as i32)?;
        dies(pid, SIGBUS)?;
    }
    Ok(())
}
