//! The null call, pipes between processes, processes from start to end.

use crate::measure::{Outcome, call, measure};
use crate::program;
use rt::abi::nr;
use rt::abi::process::{CLONE_VFORK, CLONE_VM, Rusage};
use rt::abi::signal::{SIGCHLD, SIGKILL};
use rt::abi::time::Timespec;
use rt::io::{self, Read, Write};
use rt::process::Command;
use rt::time::Duration;
use rt::{env, fs, pipe, raw, signal};

const PAGE: usize = 4096;

/// The cheapest calls.
pub fn null() -> Outcome {
    measure("null_getppid", 200_000, |count| {
        for _ in 0..count {
            raw::syscall6(nr::GETPPID, [0; 6]);
        }
        Ok(())
    })?;
    let mut now = Timespec::default();
    let address = &raw mut now as usize;
    measure("clock_gettime", 50_000, |count| {
        for _ in 0..count {
            raw::syscall6(nr::CLOCK_GETTIME, [1, address, 0, 0, 0, 0]);
        }
        Ok(())
    })
}

/// Forks; the child runs `body` and exits.
pub fn fork(body: impl FnOnce()) -> io::Result<i32> {
    match call(nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0])? {
        0 => {
            body();
            loop {
                let _ = call(nr::EXIT_GROUP, &[0]);
            }
        }
        pid => Ok(pid as i32),
    }
}

/// Waits for a child's end.
pub fn wait(pid: i32) -> Outcome {
    call(nr::WAIT4, &[pid as usize, 0, 0, 0])?;
    Ok(())
}

/// Ends a child.
pub fn end(pid: i32) -> Outcome {
    signal::kill(pid, SIGKILL)?;
    wait(pid)
}

/// The same; what it has used of the CPU.
pub fn end_counted(pid: i32) -> io::Result<Duration> {
    // `Rusage`: seconds and microseconds in user mode, and in the kernel, and what is of no interest here.
    let mut used = [0u64; size_of::<Rusage>() / 8];
    signal::kill(pid, SIGKILL)?;
    call(nr::WAIT4, &[pid as usize, 0, 0, used.as_mut_ptr() as usize])?;
    Ok(Duration::from_secs(used[0] + used[2]) + Duration::from_micros(used[1] + used[3]))
}

/// One byte there and back between two processes; pages through a pipe of this process alone.
pub fn pipes() -> Outcome {
    let (mut there_read, mut there) = pipe::pipe()?;
    let (mut back, mut back_write) = pipe::pipe()?;
    let mut byte = [0];
    let pid = fork(|| {
        let mut byte = [0];
        while there_read.read_exact(&mut byte).is_ok() && back_write.write_all(&byte).is_ok() {}
    })?;
    measure("pipe_pp", 5_000, |count| {
        for _ in 0..count {
            there.write_all(&byte)?;
            back.read_exact(&mut byte)?;
        }
        Ok(())
    })?;
    end(pid)?;
    let (mut read, mut write) = pipe::pipe()?;
    let mut page = [0; PAGE];
    measure("pipe_4k", 20_000, |count| {
        for _ in 0..count {
            write.write_all(&page)?;
            read.read_exact(&mut page)?;
        }
        Ok(())
    })
}

/// Addresses of path, arguments and environment.
struct Order([usize; 3]);

extern "C" fn execute(order: usize) {
    let word = |index: usize| raw::load64(order + 8 * index) as usize;
    let _ = call(nr::EXECVE, &[word(0), word(1), word(2)]);
    let _ = call(nr::EXIT_GROUP, &[9]);
}

/// Starting and ending processes in the three ways.
pub fn life() -> Outcome {
    measure("fork_exit_wait", 400, |count| {
        for _ in 0..count {
            wait(fork(|| {})?)?;
        }
        Ok(())
    })?;
    program::write()?;
    let stack = call(nr::MMAP, &[0, 4 * PAGE, 3, 0x22, usize::MAX, 0])? + 4 * PAGE;
    let arguments = [program::PATH.as_ptr() as usize, 0];
    let order = Order([program::PATH.as_ptr() as usize, arguments.as_ptr() as usize, &raw const arguments[1] as usize]);
    let how = raw::Clone { flags: CLONE_VM | CLONE_VFORK | u64::from(SIGCHLD), stack, ..raw::Clone::default() };
    measure("spawn_exit_wait", 400, |count| {
        for _ in 0..count {
            let mut status = 1u32;
            let pid = raw::clone_call(how, execute, order.0.as_ptr() as usize);
            call(nr::WAIT4, &[pid as usize, &raw mut status as usize, 0, 0])?;
            if status != 0 {
                return Err(io::Error::new(io::ErrorKind::Other, "the tiny program could not be started"));
            }
        }
        Ok(())
    })?;
    let own = own_path();
    measure("command_status", 100, |count| {
        for _ in 0..count {
            if !Command::new(&own).arg("--nothing").status()?.success() {
                return Err(io::Error::new(io::ErrorKind::Other, "this program could not be started"));
            }
        }
        Ok(())
    })
}

/// Where this program is.
pub fn own_path() -> alloc::string::String {
    let first = env::args().next().unwrap_or_default();
    let known = ["/bin/bench", "/init"].into_iter().find(|path| fs::exists(path));
    fs::read_link("/proc/self/exe").unwrap_or_else(|_| known.unwrap_or(first).into())
}
