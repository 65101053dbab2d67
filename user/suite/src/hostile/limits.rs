//! Whoever takes everything gets an error, and the others get on.

use crate::case::{Case, Outcome, Trouble};
use crate::kept;
use crate::machine::{needs_asyncos, needs_kernel, needs_root};
use crate::place::Place;
use crate::process::{PAGE, RW, Shared, checked_child, child, exits, kill, map, wait};
use alloc::vec::Vec;
use rt::abi::Errno;
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLIN, EpollEvent};
use rt::abi::process::{RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_STACK, Rlimit, WaitStatus};
use rt::abi::signal::{SIG_IGN, SIGKILL, SIGXFSZ, Sigaction};
use rt::fs::{self, File, OpenOptions};
use rt::io::Write;
use rt::{pipe, raw, thread};

pub const CASES: &[Case] = &[
    case!("limits/fork-bomb", "E1 D13", fork_bomb),
    case!("limits/thread-bomb", "E1 D13", thread_bomb),
    case!("limits/descriptors", "E1 D13", descriptors),
    case!("limits/address-space", "E1 D13", address_space),
    case!("limits/file-size", "E1", file_size),
    case!("limits/read-and-set", "D3", read_and_set),
    case!("limits/memory-hog", "E1 D13", memory_hog, slow),
    case!("limits/memory-hog-by-the-kernel", "E1 D13", kernel_memory_hog, slow),
    case!("limits/registrations", "E1 D13", registrations),
    case!("limits/tmpfs-full", "E1 D18", tmpfs_full),
    case!("limits/disk-full", "E1 D18", disk_full, slow),
];

fn limit(resource: u32, value: u64) -> Result<usize, Errno> {
    let limit = Rlimit { current: value, max: value };
    call!(PRLIMIT64, 0, resource, &raw const limit, 0)
}

/// Somebody without rights forks as long as it goes. The limit counts all processes of that user.
fn fork_bomb() -> Outcome {
    needs_root()?;
    let pid = checked_child(|| {
        call!(SETSID)?;
        limit(RLIMIT_NPROC, 30)?;
        call!(SETGID, 65534)?;
        call!(SETUID, 4242)?;
        let mut pids = Vec::new();
        let refused = loop {
            match child(|| {
                crate::process::sleep_ms(100_000);
                0
            }) {
                Ok(pid) => pids.push(pid),
                Err(errno) => break errno,
            }
            ensure!(pids.len() <= 30, "{} processes in spite of the limit", pids.len());
        };
        equal!(refused, Errno::EAGAIN);
        ensure!(pids.len() >= 20, "{} processes only", pids.len());
        for pid in &pids {
            kill(*pid, SIGKILL)?;
        }
        pids.into_iter().try_for_each(|pid| crate::process::dies(pid, SIGKILL))?;
        // There is room again.
        exits(child(|| 0)?, 0)
    })?;
    exits(pid, 0)?;
    exits(child(|| 5)?, 5)
}

fn thread_bomb() -> Outcome {
    needs_root()?;
    let pid = checked_child(|| {
        limit(RLIMIT_NPROC, 40)?;
        call!(SETUID, 4243)?;
        let mut count = 0;
        while let Ok(handle) = thread::spawn(|| crate::process::sleep_ms(100_000)) {
            core::mem::forget(handle);
            count += 1;
            ensure!(count <= 40, "{count} threads in spite of the limit");
        }
        ensure!(count >= 20, "{count} threads only");
        Ok(())
    })?;
    exits(pid, 0)
}

fn descriptors() -> Outcome {
    let pid = checked_child(|| {
        limit(RLIMIT_NOFILE, 64)?;
        let mut ends = Vec::new();
        let refused = loop {
            match pipe::pipe() {
                Ok(pair) => ends.push(pair),
                Err(error) => break error,
            }
            ensure!(ends.len() <= 32);
        };
        equal!(refused.raw_os_error(), Some(Errno::EMFILE.number()));
        while call!(DUP, 2).is_ok() {}
        fails!(File::open("/"), EMFILE);
        ends.pop();
        drop(File::open("/")?);
        fails!(call!(DUP3, 1, 64, 0), EBADF);
        Ok(())
    })?;
    exits(pid, 0)
}

fn address_space() -> Outcome {
    needs_kernel("RLIMIT_AS")?;
    let pid = checked_child(|| {
        limit(RLIMIT_AS, 64 << 20)?;
        let mut pieces = 0;
        while map(1 << 20, RW).is_ok() {
            pieces += 1;
            ensure!(pieces < 64, "64 MiB and more in spite of the limit");
        }
        ensure!(pieces > 32, "{pieces} MiB only");
        fails!(map(1 << 30, RW), ENOMEM);
        Ok(())
    })?;
    exits(pid, 0)
}

fn file_size() -> Outcome {
    let place = Place::any()?;
    let path = place.join("file");
    let pid = checked_child(|| {
        let ignore = Sigaction { handler: SIG_IGN as u64, flags: 0, mask: 0 };
        call!(RT_SIGACTION, SIGXFSZ, &raw const ignore, 0, 8)?;
        limit(RLIMIT_FSIZE, 10_000)?;
        let mut file = OpenOptions::new().write(true).create(true).open(&path)?;
        equal!(file.write(&[1; 20_000])?, 10_000);
        fails!(file.write(&[1]), EFBIG);
        fails!(file.set_len(10_001), EFBIG);
        Ok(())
    })?;
    exits(pid, 0)?;
    equal!(fs::metadata(&path)?.size(), 10_000);
    Ok(())
}

fn read_and_set() -> Outcome {
    let read = |resource: u32| -> Result<Rlimit, Errno> {
        let mut found = Rlimit { current: 0, max: 0 };
        call!(PRLIMIT64, 0, resource, 0, &raw mut found)?;
        Ok(found)
    };
    let stack = read(RLIMIT_STACK)?;
    ensure!(stack.current >= 1 << 20 && stack.current <= stack.max);
    let pid = checked_child(|| {
        limit(RLIMIT_NOFILE, 77)?;
        let found = read(RLIMIT_NOFILE)?;
        equal!((found.current, found.max), (77, 77));
        exits(
            checked_child(|| if read(RLIMIT_NOFILE)?.current == 77 { Ok(()) } else { Err(Trouble::failed("lost")) })?,
            0,
        )?;
        let wrong = Rlimit { current: 5, max: 4 };
        fails!(call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const wrong, 0), EINVAL);
        Ok(())
    })?;
    exits(pid, 0)?;
    fails!(read(16), EINVAL);
    fails!(call!(PRLIMIT64, 1_000_000_000, RLIMIT_NOFILE, 0, 0), ESRCH);
    Ok(())
}

/// A process that touches all memory there is dies or is refused; one that stands by does not notice.
fn memory_hog() -> Outcome {
    needs_asyncos()?;
    let shared = Shared::new()?;
    let bystander = child(|| {
        let mut rounds = 0u64;
        while shared.get(0) == 0 {
            let Ok(base) = map(16 * PAGE, RW) else { return 1 };
            (0..16).for_each(|page| raw::store64(base + page * PAGE, rounds));
            if (0..16).any(|page| raw::load64(base + page * PAGE) != rounds) {
                return 2;
            }
            let _ = crate::process::unmap(base, 16 * PAGE);
            rounds += 1;
        }
        0
    })?;
    let total = rt::system::sysinfo()?.totalram as usize;
    let hog = child(|| {
        let Ok(base) = map(2 * total, RW) else { return 7 };
        (0..2 * total / PAGE).for_each(|page| raw::store8(base + page * PAGE, 1));
        8
    })?;
    let status = wait(hog)?;
    shared.set(0, 1);
    exits(bystander, 0)?;
    let fine = matches!(status, WaitStatus::Exited(7) | WaitStatus::Signaled(..));
    ensure!(fine, "it touched twice the memory there is: {status:?}");
    exits(child(|| 3)?, 3)
}

/// Memory that the kernel holds for a process is the process's too: full pipes without end.
fn kernel_memory_hog() -> Outcome {
    needs_asyncos()?;
    let pid = child(|| {
        let _ = limit(RLIMIT_NOFILE, 4096);
        let mut pipes = Vec::new();
        while let Ok((read, mut write)) = pipe::pipe() {
            let _ = write.fd().set_nonblocking(true);
            while write.write(&[1; 4096]).is_ok() {}
            pipes.push((read, write));
            if pipes.len() > 3000 {
                break;
            }
        }
        0
    })?;
    wait(pid)?;
    exits(child(|| 3)?, 3)
}

/// Registrations in epoll sets without end are the process's too: each file in each set, as long as that goes. A GiB takes half a minute.
fn registrations() -> Outcome {
    needs_asyncos()?;
    if rt::system::sysinfo()?.totalram > 256 << 20 {
        return Err(Trouble::skipped("takes long where there is so much memory"));
    }
    let shared = Shared::new()?;
    // Its page, and what that costs, is there until the end, and so is room for a look's descriptor.
    shared.set(0, 0);
    kept::charges()?;
    kept::nothing(2, kept::charges, || registers_without_end(shared))?;
    exits(child(|| 3)?, 3)
}

fn registers_without_end(shared: Shared) -> Outcome {
    shared.set(0, 0);
    let pid = child(|| {
        let _ = limit(RLIMIT_NOFILE, 4096);
        let files: Vec<usize> = (0..1000).map_while(|_| call!(EVENTFD2, 0, 0).ok()).collect();
        let event = EpollEvent { events: EPOLLIN, pad: 0, data: 0 };
        while let Ok(set) = call!(EPOLL_CREATE1, 0) {
            for fd in &files {
                match call!(EPOLL_CTL, set, EPOLL_CTL_ADD, *fd, &raw const event) {
                    Ok(_) => shared.set(0, shared.get(0) + 1),
                    Err(errno) => return i32::from(errno != Errno::ENOSPC && errno != Errno::ENOMEM),
                }
            }
        }
        2
    })?;
    let status = wait(pid)?;
    ensure!(matches!(status, WaitStatus::Exited(0) | WaitStatus::Signaled(..)), "{status:?}, {}", shared.get(0));
    ensure!(shared.get(0) > 1000, "{} registrations only", shared.get(0));
    Ok(())
}

fn fill(path: &str, most: usize) -> Outcome {
    let mut file = File::create(path)?;
    let chunk = alloc::vec![0x77; 64 << 10];
    let mut written = 0;
    let refused = loop {
        match file.write(&chunk) {
            Ok(len) => written += len,
            Err(error) => break error,
        }
        ensure!(written <= most, "{written} bytes fitted");
    };
    equal!(refused.raw_os_error(), Some(Errno::ENOSPC.number()));
    equal!(file.metadata()?.size(), written as u64);
    Ok(())
}

fn tmpfs_full() -> Outcome {
    needs_root()?;
    let place = Place::any()?;
    let target = place.join("small");
    fs::create_dir(&target)?;
    let name = alloc::ffi::CString::new(target.as_str()).map_err(Trouble::failed)?;
    let data = c"size=1m";
    let mounted = call!(MOUNT, c"none".as_ptr(), name.as_ptr(), c"tmpfs".as_ptr(), 0, data.as_ptr());
    if let Err(errno) = mounted {
        return Err(Trouble::skipped(format_args!("a tmpfs cannot be mounted: {errno}")));
    }
    let kept = alloc::format!("{target}/kept");
    fs::write(&kept, [3; 5000])?;
    let filled = fill(&alloc::format!("{target}/big"), 2 << 20);
    let same = fs::read(&kept)? == [3; 5000];
    fs::remove_file(&alloc::format!("{target}/big"))?;
    fs::write(&alloc::format!("{target}/after"), [4; 5000])?;
    call!(UMOUNT2, name.as_ptr(), 0)?;
    ensure!(same, "another file was harmed");
    filled
}

/// On the disk's file system: the error is clear, what was there stays, and room that is given back can be used.
fn disk_full() -> Outcome {
    needs_asyncos()?;
    let place = Place::disk()?;
    // What others have removed is free behind a commit only.
    rt::system::sync();
    let room = fs::statfs(place.path()).map(|statfs| statfs.bfree * statfs.bsize as u64)?;
    fs::write(&place.join("kept"), [3; 5000])?;
    fill(&place.join("big"), room as usize + (8 << 20))?;
    // Likewise what has become free meanwhile.
    rt::system::sync();
    let _ = fill(&place.join("rest"), 8 << 20);
    ensure!(fs::write(&place.join("more"), [1; 100_000]).is_err(), "more fitted on a full disk");
    ensure!(fs::read(&place.join("kept"))? == [3; 5000], "another file was harmed");
    fs::remove_file(&place.join("big"))?;
    let _ = fs::remove_file(&place.join("rest"));
    let _ = fs::remove_file(&place.join("more"));
    fs::write(&place.join("after"), [4; 100_000])?;
    ensure!(fs::read(&place.join("after"))? == [4; 100_000]);
    Ok(())
}
