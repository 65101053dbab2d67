//! A disk that is told late (`/proc/asyncos/disk-delay`): whoever wanted the answer has long gone when it comes.

use crate::case::{Outcome, Trouble};
use crate::files::direct::{open, pread};
use crate::kept;
use crate::machine::{needs_asyncos, needs_root};
use crate::process::{PAGE, RW, checked_child, exit, exits, kill, map, sleep_ms, unmap, wait};
use rt::abi::fs::{AT_FDCWD, Iovec, O_CREAT, O_RDWR};
use rt::abi::io_uring::*;
use rt::abi::process::WaitStatus;
use rt::abi::signal::SIGKILL;
use rt::fs::{self, File};
use rt::raw;
use rt::ring::Ring;

const PATH: &str = "/root/faults-late";
const PAGES: usize = 8;
/// Milliseconds: long enough for a process to end within.
const DELAY: u64 = 40;
/// The most that the switch takes.
const LATEST: u64 = 5_000;

/// How the reader of a round is not there any more when the answer comes.
#[derive(Clone, Copy)]
enum Leaving {
    Killed,
    Exits,
    Unmaps,
    Cancels,
    Execs,
    /// With memory that was a buffer of the ring's.
    Unregisters,
}

fn begins_to_read(ring: &mut Ring, file: &File, opcode: u8, address: usize) -> Outcome {
    let (addr, len) = (address as u64, (PAGES * PAGE) as u32);
    let entry = Sqe { opcode, fd: file.fd().raw(), addr, len, user_data: 7, ..Sqe::default() };
    ensure!(ring.push_raw(&entry));
    equal!(ring.submit(0)?, 1);
    Ok(())
}

/// What the process of a round does; exit code 5 if all is well.
fn reader(leaving: Leaving, file: &File) -> Outcome {
    let address = map(PAGES * PAGE, RW)?;
    // Pages that are there: they are pinned as it begins.
    raw::bytes(address, PAGES * PAGE).fill(1);
    if matches!(leaving, Leaving::Killed) {
        pread(file, address, PAGES * PAGE, 0)?;
        return Ok(());
    }
    let mut ring = Ring::new(4, 0)?;
    let is_registered = matches!(leaving, Leaving::Unregisters);
    if is_registered {
        let piece = Iovec { base: address as u64, len: (PAGES * PAGE) as u64 };
        call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_BUFFERS, &raw const piece, 1)?;
    }
    begins_to_read(&mut ring, file, if is_registered { IORING_OP_READ_FIXED } else { IORING_OP_READ }, address)?;
    match leaving {
        Leaving::Unmaps => {
            unmap(address, PAGES * PAGE)?;
            ring.submit(1)?;
            equal!(ring.pop().map(|found| found.res), Some((PAGES * PAGE) as i32));
        }
        Leaving::Cancels => {
            let cancel = Sqe { opcode: IORING_OP_ASYNC_CANCEL, addr: 7, user_data: 8, ..Sqe::default() };
            ensure!(ring.push_raw(&cancel));
            let mut seen = 0;
            while seen != 15 {
                ring.submit(1)?;
                seen += core::iter::from_fn(|| ring.pop()).map(|found| found.user_data).sum::<u64>();
            }
        }
        Leaving::Execs => {
            let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), c"exit 5".as_ptr(), core::ptr::null()];
            call!(EXECVE, c"/bin/sh".as_ptr(), arguments.as_ptr(), 0)?;
        }
        Leaving::Unregisters => {
            call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_BUFFERS, 0, 0)?;
            unmap(address, PAGES * PAGE)?;
        }
        Leaving::Killed | Leaving::Exits => {}
    }
    exit(5)
}

fn round(leaving: Leaving, file: &File, delay: u64) -> Outcome {
    let pid = checked_child(|| reader(leaving, file))?;
    if matches!(leaving, Leaving::Killed) {
        // While it waits, as a rule; it may have had its answer.
        sleep_ms(delay / 4);
        kill(pid, SIGKILL)?;
        let status = wait(pid)?;
        ensure!(matches!(status, WaitStatus::Signaled(..) | WaitStatus::Exited(0)), "{status:?}");
    } else {
        exits(pid, 5)?;
    }
    // Pages that somebody else has by now are not written to.
    let mine = map(64 * PAGE, RW)?;
    (0..64).for_each(|page| raw::bytes(mine + page * PAGE, PAGE).fill(0xaa));
    sleep_ms(delay + DELAY);
    ensure!((0..64 * PAGE).step_by(64).all(|at| raw::load64(mine + at) == u64::MAX / 3 * 2), "the disk wrote into it");
    Ok(())
}

/// A round by a process of its own, which leaves nothing behind.
fn round_beside(leaving: Leaving, file: &File, delay: u64) -> Outcome {
    kept::nothing(2, kept::charges, || exits(checked_child(|| round(leaving, file, delay))?, 0))
}

/// Each way to leave, with a disk that is told a little later.
pub fn disk() -> Outcome {
    use Leaving::{Cancels, Execs, Exits, Killed, Unmaps, Unregisters};
    with_delay(DELAY, &[Killed, Exits, Unmaps, Cancels, Execs, Unregisters])
}

/// As late as can be.
pub fn very_late_disk() -> Outcome {
    with_delay(LATEST, &[Leaving::Unregisters])
}

fn with_delay(milliseconds: u64, ways: &[Leaving]) -> Outcome {
    needs_asyncos()?;
    needs_root()?;
    let file = open(PATH, O_CREAT | O_RDWR)?;
    let memory = map(PAGES * PAGE, RW)?;
    raw::bytes(memory, PAGES * PAGE).fill(0x55);
    equal!(call!(PWRITE64, file.fd().raw(), memory, PAGES * PAGE, 0)?, PAGES * PAGE);
    unmap(memory, PAGES * PAGE)?;
    let delay = raw::file(call!(OPENAT, AT_FDCWD, c"/proc/asyncos/disk-delay".as_ptr(), O_RDWR, 0)?);
    fails!(call!(WRITE, delay.fd().raw(), b"5001".as_ptr(), 4), EINVAL);
    let done = (|| -> Result<(), Trouble> {
        // What is made once.
        let _ = round_beside(Leaving::Exits, &file, DELAY);
        delay.write_at(alloc::format!("{milliseconds}").as_bytes(), 0)?;
        ways.iter().try_for_each(|leaving| round_beside(*leaving, &file, milliseconds))
    })();
    drop(delay);
    fs::remove_file(PATH)?;
    done
}
