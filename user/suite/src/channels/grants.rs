//! Memory that is lent and taken back: reached by nobody behind that, whatever the grantee does meanwhile.

use super::comes_to_an_end;
use crate::case::{Outcome, Trouble};
use crate::exec::exec;
use crate::files::{direct, pattern};
use crate::machine::{needs_kernel, needs_root};
use crate::process::{PAGE, RW, Shared, call, checked_child, child, dies, exits, kill, unmap, wait};
use crate::programs::own_path;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use rt::abi::fs::{AT_FDCWD, O_CREAT, O_RDWR};
use rt::abi::grant as at;
use rt::abi::mm::{MAP_PRIVATE, MAP_SHARED, PROT_READ};
use rt::abi::signal::{SIGBUS, SIGKILL, SIGSEGV};
use rt::channel::{Grantee, Granter, grant};
use rt::ring::Ring;
use rt::{fs, pipe, raw, thread};

fn granted(pages: usize, is_writable: bool) -> Result<(Granter, Grantee), Trouble> {
    needs_kernel("grants")?;
    Ok(grant(pages, is_writable)?)
}

/// What the granter writes the grantee reads, and the other way round: mapped, and by calls.
pub fn is_shared() -> Outcome {
    let (granter, grantee) = granted(3, true)?;
    let memory = granter.memory();
    memory.write(PAGE - 3, b"across a page")?;
    let pid = checked_child(|| {
        let mut bytes = [0; 13];
        let mapped = grantee.map(3, true)?;
        mapped.read(PAGE - 3, &mut bytes)?;
        equal!(bytes, *b"across a page");
        equal!(grantee.read_at(PAGE - 3, &mut bytes)?, 13);
        equal!(bytes, *b"across a page");
        mapped.write(2 * PAGE - 5, b"the reply")?;
        equal!(grantee.write_at(3 * PAGE - 4, b"its end")?, 4);
        equal!(grantee.read_at(3 * PAGE, &mut bytes)?, 0);
        fails!(mapped.read(3 * PAGE - 1, &mut bytes), EFAULT);
        Ok(())
    })?;
    exits(pid, 0)?;
    let mut bytes = [0; 9];
    memory.read(2 * PAGE - 5, &mut bytes)?;
    equal!(bytes, *b"the reply");
    memory.read(3 * PAGE - 4, &mut bytes[..4])?;
    equal!(bytes[..4], *b"its ");
    Ok(())
}

/// What may only be read is written by nobody, and who tries faults alone.
pub fn is_read_only() -> Outcome {
    let (granter, grantee) = granted(1, false)?;
    granter.memory().write(0, b"as it was")?;
    let mapped = grantee.map(1, false)?;
    fails!(grantee.map(1, true), EACCES);
    fails!(call!(MPROTECT, mapped.range().0, PAGE, RW), EACCES);
    fails!(grantee.write_at(0, b"x"), EBADF);
    // What its name in /proc opens is not the grant.
    let again = format!("/proc/self/fd/{}\0", grantee.fd().raw());
    if let Ok(other) = call!(OPENAT, AT_FDCWD, again.as_ptr(), O_RDWR, 0) {
        fails!(call!(MMAP, 0, PAGE, RW, MAP_SHARED, other, 0), ENODEV);
        call!(CLOSE, other)?;
    }
    let (read, write) = pipe::pipe()?;
    equal!(call!(WRITE, write.fd().raw(), own_path().as_ptr(), 1)?, 1);
    fails!(call!(READ, read.fd().raw(), mapped.range().0, 1), EFAULT);
    dies(child(|| mapped.write(0, b"x").map_or(2, |()| 3))?, SIGSEGV)?;
    let mut bytes = [0; 9];
    mapped.read(0, &mut bytes)?;
    equal!(bytes, *b"as it was");
    Ok(())
}

/// Taken back while grantees, one of them a child of another's, write without a pause: mapped, and by calls.
pub fn taken_back_meanwhile() -> Outcome {
    for _ in 0..10 {
        let (granter, grantee) = granted(4, true)?;
        let begun = Shared::new()?;
        let writer = |page: usize| {
            let Ok(mapped) = grantee.map(4, true) else { return 1 };
            let word = raw::atomic(mapped.range().0 + page * PAGE);
            loop {
                word.fetch_add(1, Relaxed);
                begun.count(page);
            }
        };
        let caller = checked_child(|| {
            for number in 1_u32.. {
                match grantee.write_at(2 * PAGE, &number.to_ne_bytes()) {
                    Ok(_) => begun.count(2),
                    error => {
                        fails!(error, ESRCH);
                        break;
                    }
                }
            }
            fails!(grantee.read_at(0, &mut [0; 4]), ESRCH);
            fails!(grantee.map(4, true), ESRCH);
            Ok(())
        })?;
        let forked = child(|| {
            let mapped = grantee.map(4, true).map_or((0, 0), |mapped| {
                let range = mapped.range();
                core::mem::forget(mapped);
                range
            });
            raw::atomic(mapped.0).load(Relaxed);
            let inner = child(|| {
                loop {
                    raw::atomic(mapped.0 + 3 * PAGE).fetch_add(1, Relaxed);
                    begun.count(3);
                }
            });
            inner.map_or(1, |pid| i32::from(dies(pid, SIGBUS).is_err()))
        })?;
        let writers = [child(|| writer(0))?, child(|| writer(1))?];
        (0..4).for_each(|page| begun.await_least(page, 10));
        granter.revoke()?;
        let words = || {
            let word = |page| raw::atomic(granter.memory().range().0 + page * PAGE).load(Relaxed);
            [0, 1, 2, 3].map(word)
        };
        let before = words();
        ensure!(before.iter().all(|word| *word >= 9), "{before:?} before it was taken back");
        thread::yield_now();
        for pid in writers {
            dies(pid, SIGBUS)?;
        }
        exits(caller, 0)?;
        exits(forked, 0)?;
        equal!(words(), before);
        // It is the granter's still, and taken back for good.
        granter.memory().write(0, b"mine")?;
        granter.revoke()?;
        fails!(grantee.read_at(0, &mut [0; 4]), ESRCH);
    }
    Ok(())
}

/// A granter that ends, that becomes another program, and that is killed: each takes back.
pub fn gone_with_the_granter() -> Outcome {
    for how in 0..3 {
        let (granter, grantee) = granted(2, true)?;
        let (read, write) = pipe::pipe()?;
        let pid = child(|| {
            match how {
                0 => {}
                1 => {
                    let _ = call!(DUP3, read.fd().raw(), 0, 0);
                    exec(&own_path(), &["suite", "--program", "cat"]);
                }
                // For ever: it has the other end itself.
                _ => drop(call!(READ, read.fd().raw(), [0_u8; 1].as_mut_ptr(), 1)),
            }
            0
        })?;
        let mapped = grantee.map(2, true)?;
        mapped.write(0, b"here")?;
        drop(granter);
        if how == 2 {
            equal!(grantee.read_at(0, &mut [0; 4])?, 4);
            kill(pid, SIGKILL)?;
            wait(pid)?;
        }
        // An `execve` is told by nothing else.
        while grantee.read_at(0, &mut [0; 4]).is_ok() {
            thread::yield_now();
        }
        fails!(grantee.write_at(0, b"gone"), ESRCH);
        fails!(grantee.map(2, true), ESRCH);
        fails!(call!(NANOSLEEP, mapped.range().0, 0), EFAULT);
        dies(child(|| mapped.read(0, &mut [0; 4]).map_or(2, |()| 3))?, SIGBUS)?;
        drop((read, write));
        if how != 2 {
            exits(pid, 0)?;
        }
    }
    Ok(())
}

/// Mappings that ended, in part or with their process, and more of them than are known of.
pub fn mappings_come_and_go() -> Outcome {
    let (granter, grantee) = granted(4, true)?;
    for round in 0..40 {
        let mapped = grantee.map(4, true)?;
        mapped.write(0, &[round; 4 * PAGE])?;
        if round % 2 == 0 {
            unmap(mapped.range().0 + PAGE, 2 * PAGE)?;
        }
    }
    // Those that end with their process.
    for _ in 0..10 {
        exits(
            child(|| grantee.map(4, true).and_then(|mapped| mapped.read(0, &mut [0; 4 * PAGE])).map_or(1, |()| 0))?,
            0,
        )?;
    }
    let many = (0..6).map(|_| grantee.map(4, true)).collect::<Result<Vec<_>, _>>()?;
    let pid = child(|| i32::from(many.iter().any(|mapped| mapped.read(0, &mut [0; 4 * PAGE]).is_err())))?;
    dies(pid, SIGBUS)?;
    granter.revoke()?;
    for mapped in &many {
        dies(child(|| i32::from(mapped.read(0, &mut [0]).is_err()))?, SIGBUS)?;
    }
    Ok(())
}

/// The kernel keeps none of it for later transfers.
pub fn is_not_pinned() -> Outcome {
    use crate::rings::buffers::{piece, register};
    let (_granter, grantee) = granted(1, true)?;
    let mapped = grantee.map(1, true)?;
    mapped.write(0, &[1])?;
    fails!(register(&Ring::new(4, 0)?, &[piece(mapped.range().0, PAGE)]), EFAULT);
    Ok(())
}

/// To and from a file past its cache, by pages of the kernel's.
pub fn moves_directly() -> Outcome {
    needs_root()?;
    let (granter, grantee) = granted(3, true)?;
    let (content, mapped) = (pattern(0, 3 * PAGE), grantee.map(3, true)?);
    let base = mapped.range().0;
    granter.memory().write(0, &content)?;
    let file = direct::open("/root/granted", O_CREAT | O_RDWR)?;
    fs::remove_file("/root/granted")?;
    equal!(direct::pwrite(&file, base, 3 * PAGE, 0)?, 3 * PAGE);
    granter.memory().write(0, &[0; 3 * PAGE])?;
    equal!(direct::pread(&file, base, 3 * PAGE, 0)?, 3 * PAGE);
    let mut back = vec![0; 3 * PAGE];
    granter.memory().read(0, &mut back)?;
    ensure!(back == content, "other bytes than were written");
    granter.revoke()?;
    fails!(direct::pwrite(&file, base, PAGE, 0), EFAULT);
    fails!(direct::pread(&file, base, PAGE, 0), EFAULT);
    Ok(())
}

/// The granter pays, and gets back what it has paid for.
pub fn is_limited() -> Outcome {
    needs_kernel("grants")?;
    comes_to_an_end(|| call(at::GRANT, &[at::MOST_PAGES, at::WRITE]))
}

pub fn errors() -> Outcome {
    needs_kernel("grants")?;
    fails!(grant(0, true), EINVAL);
    fails!(grant(at::MOST_PAGES + 1, true), EINVAL);
    fails!(call(at::GRANT, &[usize::MAX, 0]), EINVAL);
    fails!(call(at::GRANT, &[1, 2]), EINVAL);
    fails!(call(at::REVOKE, &[0]), EINVAL);
    fails!(call(at::REVOKE, &[usize::MAX]), EBADF);
    let (granter, grantee) = grant(1, true)?;
    let fd = grantee.fd().raw();
    fails!(call(at::REVOKE, &[fd as usize]), EINVAL);
    fails!(grantee.map(2, true), ENOMEM);
    fails!(call!(MMAP, 0, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), EINVAL);
    fails!(call!(MMAP, 0, PAGE, PROT_READ, MAP_SHARED, fd, PAGE), ENOMEM);
    granter.revoke()?;
    Ok(())
}
