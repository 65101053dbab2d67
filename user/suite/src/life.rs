//! Life of processes: fork, exit, wait, kill, orphans, groups, stopping.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{PAGE, RW, Shared, child, dies, exits, kill, map, run, sleep_ms, stop, wait, wait_with};
use alloc::vec::Vec;
use rt::abi::process::{CLONE_VFORK, CLONE_VM, WNOHANG, WaitStatus};
use rt::abi::signal::{SIGCHLD, SIGCONT, SIGKILL, SIGTERM, SIGUSR1};
use rt::io::{Read, Write};
use rt::{pipe, process, raw};

pub const CASES: &[Case] = &[
    case!("life/exit-codes", "E1 D3", exit_codes),
    case!("life/fork-ids", "P1 D3", fork_ids),
    case!("life/fork-copies-memory", "P1 D15", fork_copies_memory),
    case!("life/fork-copies-untouched-memory", "P1", fork_copies_untouched_memory),
    case!("life/fork-shares-offset", "D3", fork_shares_offset),
    case!("life/fork-chain", "P1", fork_chain),
    case!("life/many-children", "P1 P8", many_children),
    case!("life/children-in-sequence", "P1 D13", children_in_sequence),
    case!("life/wait-without-child", "D3", wait_without_child),
    case!("life/wait-nohang", "D3", wait_nohang),
    case!("life/wait-chosen", "D3", wait_chosen),
    case!("life/wait-many-waiters", "D2", wait_many_waiters),
    case!("life/killed-status", "E1", killed_status),
    case!("life/kill-zero", "D3", kill_zero),
    case!("life/kill-spinning", "P6 S4", kill_spinning),
    case!("life/zombie-keeps-id", "D3", zombie_keeps_id),
    case!("life/orphan", "D3", orphan),
    case!("life/vfork", "P1 D3", vfork),
    case!("life/groups", "D3", groups),
    case!("life/session", "D3", session),
    case!("life/stop-and-continue", "D3", stop_and_continue),
    case!("life/usage", "D16", usage),
];

fn exit_codes() -> Outcome {
    for code in [0, 1, 42, 127, 255, 256, -1] {
        equal!(run(|| code)?, WaitStatus::Exited(code as u8));
    }
    // The exit of the only thread is the exit of the process.
    let status = run(|| {
        let _ = call!(EXIT, 7);
        0
    })?;
    equal!(status, WaitStatus::Exited(7));
    Ok(())
}

fn fork_ids() -> Outcome {
    let parent = process::id();
    let pid = child(|| {
        let (own, above) = (process::id(), process::parent_id());
        i32::from(own == parent || above != parent || call!(GETTID).ok() != Some(own as usize))
    })?;
    ensure!(pid > 1 && pid != parent);
    exits(pid, 0)
}

fn fork_copies_memory() -> Outcome {
    let pages = 64;
    let base = map(pages * PAGE, RW)?;
    let at = |page: usize| base + page * PAGE;
    (0..pages).for_each(|page| raw::store64(at(page), page as u64));
    let (mut tell, go) = (Vec::new(), pipe::pipe()?);
    let (go_read, mut go_write) = go;
    for number in 1..=3u64 {
        let mut reader = go_read.try_clone()?;
        tell.push(child(|| {
            (0..pages).for_each(|page| raw::store64(at(page), raw::load64(at(page)) + 100 * number));
            let mut byte = [0];
            let waited = reader.read_exact(&mut byte).is_ok();
            let same = (0..pages).all(|page| raw::load64(at(page)) == page as u64 + 100 * number);
            i32::from(!(waited && same))
        })?);
    }
    (0..pages).for_each(|page| raw::store64(at(page) + 8, 77));
    go_write.write_all(&[1, 2, 3])?;
    for pid in tell {
        exits(pid, 0)?;
    }
    ensure!((0..pages).all(|page| raw::load64(at(page)) == page as u64), "a child's write reached the parent");
    Ok(())
}

fn fork_copies_untouched_memory() -> Outcome {
    let base = map(4 * PAGE, RW)?;
    let pid = child(|| {
        raw::store64(base, 1);
        i32::from(raw::load64(base + PAGE) != 0)
    })?;
    exits(pid, 0)?;
    equal!(raw::load64(base), 0);
    Ok(())
}

fn fork_shares_offset() -> Outcome {
    let place = crate::place::Place::any()?;
    let path = place.join("file");
    rt::fs::write(&path, b"abcdef")?;
    let mut file = rt::fs::File::open(&path)?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    let mut same = file.try_clone()?;
    exits(child(|| i32::from(same.read_exact(&mut byte).is_err() || byte != *b"b"))?, 0)?;
    file.read_exact(&mut byte)?;
    equal!(byte, *b"c");
    Ok(())
}

fn fork_chain() -> Outcome {
    fn deeper(left: i32) -> i32 {
        if left == 0 {
            return 0;
        }
        match run(|| deeper(left - 1)) {
            Ok(WaitStatus::Exited(code)) => i32::from(code) + 1,
            _ => 200,
        }
    }
    exits(child(|| deeper(20))?, 20)
}

fn many_children() -> Outcome {
    let mut pids = Vec::new();
    for code in 0..48 {
        pids.push(child(move || code)?);
    }
    for _ in 0..pids.len() {
        let (pid, status) = wait_with(-1, 0)?;
        let code = pids.iter().position(|known| *known == pid);
        ensure!(code.is_some(), "waited for {pid}, which is no child");
        equal!(Some(status), code.map(|code| WaitStatus::Exited(code as u8)));
    }
    fails!(wait_with(-1, 0), ECHILD);
    Ok(())
}

fn children_in_sequence() -> Outcome {
    for number in 0..200 {
        exits(child(move || number & 63)?, number as u8 & 63)?;
    }
    Ok(())
}

fn wait_without_child() -> Outcome {
    fails!(wait_with(-1, 0), ECHILD);
    fails!(wait_with(1_000_000_000, WNOHANG), ECHILD);
    fails!(wait_with(process::id(), 0), ECHILD);
    fails!(wait_with(-1, 0x4000_0000 >> 2), EINVAL);
    Ok(())
}

fn wait_nohang() -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let pid = child(|| i32::from(read.read(&mut [0]).is_err()))?;
    equal!(wait_with(pid, WNOHANG)?.0, 0);
    let mut write = write;
    write.write_all(&[1])?;
    exits(pid, 0)
}

fn wait_chosen() -> Outcome {
    let (first, second) = (child(|| 1)?, child(|| 2)?);
    exits(second, 2)?;
    exits(first, 1)?;
    fails!(wait(first), ECHILD);
    Ok(())
}

/// Two threads wait for any child: each child is reported once.
fn wait_many_waiters() -> Outcome {
    let mut pids = Vec::new();
    for _ in 0..16 {
        pids.push(child(|| 0)?);
    }
    let collect = || {
        let mut found = Vec::new();
        while let Ok((pid, _)) = wait_with(-1, 0) {
            found.push(pid);
        }
        found
    };
    let other = rt::thread::spawn(collect)?;
    let mut found = collect();
    found.extend(other.join().unwrap_or_default());
    found.sort_unstable();
    pids.sort_unstable();
    equal!(found, pids);
    Ok(())
}

fn killed_status() -> Outcome {
    for signal in [SIGTERM, SIGKILL, SIGUSR1] {
        let pid = child(|| {
            loop {
                sleep_ms(1000);
            }
        })?;
        kill(pid, signal)?;
        dies(pid, signal)?;
    }
    Ok(())
}

fn kill_zero() -> Outcome {
    let pid = child(|| {
        sleep_ms(100_000);
        0
    })?;
    equal!(kill(pid, 0), Ok(0));
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    fails!(kill(pid, 0), ESRCH);
    fails!(kill(pid, SIGKILL), ESRCH);
    fails!(kill(process::id(), 65), EINVAL);
    Ok(())
}

/// A process that never enters the kernel can be killed.
fn kill_spinning() -> Outcome {
    let shared = Shared::new()?;
    let pid = child(|| {
        shared.set(0, 1);
        loop {
            core::hint::spin_loop();
        }
    })?;
    shared.await_least(0, 1);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

fn zombie_keeps_id() -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let pid = child(|| 3)?;
    drop(write);
    // The end of file says that the child has let go of everything.
    ensure!(read.read(&mut [0])? == 0);
    equal!(kill(pid, 0), Ok(0));
    exits(pid, 3)
}

/// A process whose parent has gone gets another one.
fn orphan() -> Outcome {
    let shared = Shared::new()?;
    let middle = child(|| {
        let middle = process::id();
        let orphan = child(|| {
            while process::parent_id() == middle {
                sleep_ms(1);
            }
            shared.set(1, process::parent_id() as u32);
            shared.set(0, 1);
            0
        });
        i32::from(orphan.is_err())
    })?;
    exits(middle, 0)?;
    shared.await_least(0, 1);
    let parent = shared.get(1) as i32;
    ensure!(parent > 0 && parent != middle && parent != process::id(), "the new parent is {parent}");
    Ok(())
}

extern "C" fn vfork_body(address: usize) {
    raw::store64(address, 2);
    sleep_ms(20);
    raw::store64(address, 3);
}

/// The child shares the parent's memory, and the parent waits until the child has gone.
fn vfork() -> Outcome {
    needs_kernel("vfork")?;
    let base = map(16 * PAGE, RW)?;
    raw::store64(base, 1);
    let how = raw::Clone {
        flags: CLONE_VM | CLONE_VFORK | u64::from(SIGCHLD),
        stack: base + 16 * PAGE,
        ..raw::Clone::default()
    };
    let pid = raw::clone_call(how, vfork_body, base);
    equal!(raw::load64(base), 3);
    ensure!(pid > 0, "clone gave {pid}");
    exits(pid as i32, 0)
}

fn groups() -> Outcome {
    let sleeper = || {
        sleep_ms(100_000);
        0
    };
    let (first, second, outside) = (child(sleeper)?, child(sleeper)?, child(sleeper)?);
    call!(SETPGID, first, first)?;
    call!(SETPGID, second, first)?;
    equal!(call!(GETPGID, second), Ok(first as usize));
    fails!(call!(SETPGID, second, 1_000_000_000), EPERM);
    equal!(kill(-first, SIGTERM), Ok(0));
    dies(first, SIGTERM)?;
    let (pid, status) = wait_with(-first, 0)?;
    equal!((pid, status), (second, WaitStatus::Signaled(SIGTERM as u8, false)));
    equal!(wait_with(outside, WNOHANG)?.0, 0);
    kill(outside, SIGKILL)?;
    dies(outside, SIGKILL)
}

fn session() -> Outcome {
    let pid = child(|| {
        let own = process::id() as usize;
        let began = call!(SETSID) == Ok(own) && call!(GETSID, 0) == Ok(own) && call!(GETPGID, 0) == Ok(own);
        let again = call!(SETSID);
        i32::from(!began || again != Err(rt::abi::Errno::EPERM))
    })?;
    exits(pid, 0)
}

fn stop_and_continue() -> Outcome {
    let shared = Shared::new()?;
    let pid = child(|| {
        loop {
            shared.count(0);
            sleep_ms(1);
        }
    })?;
    shared.await_least(0, 1);
    stop(pid)?;
    let count = shared.get(0);
    sleep_ms(30);
    equal!(shared.get(0), count);
    kill(pid, SIGCONT)?;
    shared.await_least(0, count + 1);
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)
}

/// Time that a child has used is the parent's to see, once it was waited for.
fn usage() -> Outcome {
    use rt::abi::process::{RUSAGE_CHILDREN, Rusage};
    needs_kernel("getrusage")?;
    let used = || -> Result<i64, Trouble> {
        let mut words = [0u64; size_of::<Rusage>() / 8];
        call!(GETRUSAGE, RUSAGE_CHILDREN, words.as_mut_ptr())?;
        // User and system time, each seconds and microseconds.
        Ok((words[0] * 1_000_000 + words[1] + words[2] * 1_000_000 + words[3]) as i64)
    };
    let before = used()?;
    let pid = child(|| {
        let start = rt::time::Instant::now();
        while start.elapsed().as_millis() < 60 {
            core::hint::spin_loop();
        }
        0
    })?;
    exits(pid, 0)?;
    ensure!(used()? > before, "a child that computed has used no time");
    Ok(())
}
