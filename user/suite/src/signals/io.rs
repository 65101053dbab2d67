//! Signals that tell what has become possible with a descriptor (`O_ASYNC`, `F_SETSIG`).

use super::blocked;
use crate::case::{Case, Outcome};
use crate::events::adopt;
use crate::machine::needs_root;
use crate::process::{Shared, checked_child, exits, millis};
use rt::abi::errno::Result as Call;
use rt::abi::fs as f;
use rt::abi::ioctl::{FIOASYNC, FIOGETOWN, FIOSETOWN, SIOCGPGRP, SIOCSPGRP};
use rt::abi::process::{RLIMIT_SIGPENDING, Rlimit};
use rt::abi::signal::{POLL_IN, POLL_OUT, SI_KERNEL, SI_SIGIO, SIG_BLOCK, SIGCHLD, SIGIO, SIGRTMIN, Siginfo, mask};
use rt::fs::File;
use rt::io::{Read, Write};
use rt::{pipe, process};

pub const CASES: &[Case] = &[
    case!("sigio/of-a-pipe", "I1 D3", of_a_pipe),
    case!("sigio/of-room", "I1 D3", of_room),
    case!("sigio/of-sockets", "I1 D3", of_sockets),
    case!("sigio/plain", "I1 D3", plain),
    case!("sigio/queue-is-full", "I1 E1", queue_is_full),
    case!("sigio/whose", "I1 E1", whose),
    case!("sigio/of-a-group", "I1 D3", of_a_group),
    case!("sigio/rights", "I1 P1 E1", rights),
    case!("sigio/of-a-terminal", "I1 D3", of_a_terminal),
    case!("sigio/ends-with-the-description", "I1 D13", ends),
    case!("sigio/not-of-others", "I1 E1", not_of_others),
];

/// Of a terminal the foreground hears of it, or who asks, unless somebody else is to; what nobody is to hear of was asked for as something.
fn of_a_terminal() -> Outcome {
    needs_root()?;
    let terminal = rt::fs::OpenOptions::new().read(true).write(true).open("/dev/console")?;
    let owner = || -> Call<(i32, i32)> {
        let mut owner = f::OwnerEx::default();
        fcntl(&terminal, f::F_GETOWN_EX, &raw mut owner as usize)?;
        Ok((owner.kind, owner.pid))
    };
    equal!(owner()?, (f::F_OWNER_TID, 0));
    fcntl(&terminal, f::F_SETFL, f::O_ASYNC as usize)?;
    let (kind, pid) = owner()?;
    let is_own = (kind, pid) == (f::F_OWNER_PID, process::id() as i32);
    ensure!(is_own || kind == f::F_OWNER_PGRP && pid > 0, "{kind} {pid}");
    fcntl(&terminal, f::F_SETFL, 0)?;
    fcntl(&terminal, f::F_SETOWN, 0)?;
    equal!(owner()?, (f::F_OWNER_PID, 0));
    Ok(())
}

const RT: u32 = SIGRTMIN + 1;

fn fcntl(file: &File, command: u32, argument: usize) -> Call<usize> {
    call!(FCNTL, file.fd().raw(), command, argument)
}

/// Has it tell this process, by this signal.
fn tells(file: &File, signal: u32) -> Outcome {
    fcntl(file, f::F_SETOWN, process::id() as usize)?;
    fcntl(file, f::F_SETSIG, signal as usize)?;
    fcntl(file, f::F_SETFL, (f::O_ASYNC | f::O_NONBLOCK) as usize)?;
    Ok(())
}

/// The next of these signals, waited for so long.
fn next(millisecs: u64) -> Call<Siginfo> {
    let (set, span, mut info) =
        (mask(SIGIO) | mask(RT) | mask(SIGCHLD), millis(millisecs), Siginfo::sent(0, 0, 0, 0, 0));
    call!(RT_SIGTIMEDWAIT, &raw const set, &raw mut info, &raw const span, 8).map(|_| info)
}

fn none() -> Outcome {
    fails!(next(30), EAGAIN);
    Ok(())
}

fn is(info: Siginfo, signal: u32, code: i32, band: u64, fd: i32) -> Outcome {
    equal!((info.signo as u32, info.code, info.fields[0], info.fields[1] as i32), (signal, code, band, fd));
    Ok(())
}

fn block() -> Outcome {
    blocked(SIG_BLOCK, mask(SIGIO) | mask(RT))?;
    Ok(())
}

fn of_a_pipe() -> Outcome {
    block()?;
    let (mut read, mut write) = pipe::pipe()?;
    let fd = read.fd().raw();
    // What is there already is not told.
    write.write_all(b"x")?;
    tells(&read, RT)?;
    none()?;
    let flags = fcntl(&read, f::F_GETFL, 0)? as u32;
    ensure!(flags & f::O_ASYNC != 0, "{flags:#o}");
    for _ in 0..3 {
        write.write_all(b"x")?;
        is(next(10_000)?, RT, POLL_IN, 0x41, fd)?;
        while read.read(&mut [0; 9]).is_ok() {}
    }
    none()?;
    fcntl(&read, f::F_SETFL, f::O_NONBLOCK as usize)?;
    write.write_all(b"x")?;
    none()?;
    fcntl(&read, f::F_SETFL, (f::O_ASYNC | f::O_NONBLOCK) as usize)?;
    drop(write);
    is(next(10_000)?, RT, POLL_IN, 0x41, fd)
}

fn of_room() -> Outcome {
    block()?;
    let (mut read, mut write) = pipe::pipe()?;
    tells(&write, RT)?;
    for _ in 0..3 {
        while write.write(&[0; 4096]).is_ok() {}
        none()?;
        equal!(read.read(&mut [0; 4096])?, 4096);
        is(next(10_000)?, RT, POLL_OUT, 0x304, write.fd().raw())?;
    }
    Ok(())
}

fn of_sockets() -> Outcome {
    block()?;
    let (mut one, mut other) = crate::rings::provided::pair()?;
    let (fd, on, me) = (one.fd().raw(), 1i32, process::id());
    for (set, get) in [(FIOSETOWN, FIOGETOWN), (SIOCSPGRP, SIOCGPGRP)] {
        let (none, mut found) = (0i32, -1i32);
        call!(IOCTL, fd, set, &raw const none)?;
        call!(IOCTL, fd, get, &raw mut found)?;
        equal!(found, 0);
        call!(IOCTL, fd, set, &raw const me)?;
        call!(IOCTL, fd, get, &raw mut found)?;
        equal!(found, me);
    }
    fcntl(&one, f::F_SETSIG, RT as usize)?;
    call!(IOCTL, fd, FIOASYNC, &raw const on)?;
    other.write_all(b"hello")?;
    is(next(10_000)?, RT, POLL_IN, 0x41, fd)?;
    let mut bytes = [0; 9];
    equal!(one.read(&mut bytes)?, 5);
    while next(0).is_ok() {}
    let off = 0i32;
    call!(IOCTL, fd, FIOASYNC, &raw const off)?;
    other.write_all(b"hello")?;
    none()
}

/// Without a signal of its own: `SIGIO`, that says nothing. One with codes of its own has another code.
fn plain() -> Outcome {
    block()?;
    let (read, mut write) = pipe::pipe()?;
    tells(&read, 0)?;
    write.write_all(b"x")?;
    let info = next(10_000)?;
    equal!((info.signo as u32, info.code, info.fields[0], info.fields[1]), (SIGIO, SI_KERNEL, 0, 0));
    fcntl(&read, f::F_SETSIG, SIGIO as usize)?;
    write.write_all(b"x")?;
    is(next(10_000)?, SIGIO, POLL_IN, 0x41, read.fd().raw())?;
    blocked(SIG_BLOCK, mask(SIGCHLD))?;
    fcntl(&read, f::F_SETSIG, SIGCHLD as usize)?;
    write.write_all(b"x")?;
    is(next(10_000)?, SIGCHLD, SI_SIGIO, 0x41, read.fd().raw())
}

fn queue_is_full() -> Outcome {
    block()?;
    let pid = checked_child(|| {
        let limit = Rlimit { current: 0, max: 0 };
        call!(PRLIMIT64, 0, RLIMIT_SIGPENDING, &raw const limit, 0)?;
        let (read, mut write) = pipe::pipe()?;
        tells(&read, RT)?;
        write.write_all(b"x")?;
        let info = next(10_000)?;
        equal!((info.signo as u32, info.code), (SIGIO, SI_KERNEL));
        Ok(())
    })?;
    exits(pid, 0)
}

fn whose() -> Outcome {
    block()?;
    let (read, mut write) = pipe::pipe()?;
    let (me, thread) = (process::id(), call!(GETTID)? as i32);
    let get = |read: &File| -> Call<(i32, i32)> {
        let mut owner = f::OwnerEx { kind: 9, pid: 9 };
        fcntl(read, f::F_GETOWN_EX, (&raw mut owner) as usize)?;
        Ok((owner.kind, owner.pid))
    };
    let set = |kind: i32, pid: i32| {
        let owner = f::OwnerEx { kind, pid };
        fcntl(&read, f::F_SETOWN_EX, (&raw const owner) as usize)
    };
    equal!((fcntl(&read, f::F_GETOWN, 0)?, fcntl(&read, f::F_GETSIG, 0)?, get(&read)?), (0, 0, (0, 0)));
    let group = call!(GETPGID, 0)? as i32;
    for (kind, pid) in [(f::F_OWNER_PID, me), (f::F_OWNER_PGRP, group), (f::F_OWNER_TID, thread)] {
        set(kind, pid)?;
        equal!(get(&read)?, (kind, pid));
    }
    // To the thread, and to nobody.
    fcntl(&read, f::F_SETSIG, RT as usize)?;
    equal!(fcntl(&read, f::F_GETSIG, 0)?, RT as usize);
    fcntl(&read, f::F_SETFL, f::O_ASYNC as usize)?;
    write.write_all(b"x")?;
    is(next(10_000)?, RT, POLL_IN, 0x41, read.fd().raw())?;
    fcntl(&read, f::F_SETOWN, 0)?;
    write.write_all(b"x")?;
    none()?;
    fcntl(&read, f::F_SETOWN, (-group) as usize)?;
    equal!(get(&read)?, (f::F_OWNER_PGRP, group));
    fails!(fcntl(&read, f::F_SETOWN, 999_999), ESRCH);
    fails!(fcntl(&read, f::F_SETOWN, -999_999isize as usize), ESRCH);
    fails!(fcntl(&read, f::F_SETOWN, i32::MIN as usize), EINVAL);
    fails!(set(3, me), EINVAL);
    fails!(set(f::F_OWNER_TID, 999_999), ESRCH);
    fails!(fcntl(&read, f::F_SETOWN_EX, 8), EFAULT);
    fails!(fcntl(&read, f::F_SETSIG, 65), EINVAL);
    fails!(fcntl(&read, f::F_SETSIG, usize::MAX), EINVAL);
    // Refused, nothing was changed.
    equal!(get(&read)?, (f::F_OWNER_PGRP, group));
    Ok(())
}

fn of_a_group() -> Outcome {
    block()?;
    let (read, mut write) = pipe::pipe()?;
    let pid = checked_child(|| {
        call!(SETPGID, 0, 0)?;
        let group = process::id();
        fcntl(&read, f::F_SETOWN, (-group) as usize)?;
        fcntl(&read, f::F_SETFL, f::O_ASYNC as usize)?;
        let ready = Shared::new()?;
        let pid = checked_child(|| {
            ready.count(0);
            equal!(next(10_000)?.signo as u32, SIGIO);
            Ok(())
        })?;
        ready.await_least(0, 1);
        write.write_all(b"x")?;
        equal!(next(10_000)?.signo as u32, SIGIO);
        exits(pid, 0)
    })?;
    exits(pid, 0)?;
    none()
}

/// A signal goes to whom its sender might send one: the users of who chose the owner, as they were then.
fn rights() -> Outcome {
    needs_root()?;
    block()?;
    let parent = process::id();
    let (read, write) = pipe::pipe()?;
    let by = |user: usize| -> Outcome {
        let pid = checked_child(|| {
            call!(SETUID, user)?;
            fcntl(&read, f::F_SETOWN, parent as usize)?;
            fcntl(&read, f::F_SETFL, f::O_ASYNC as usize)?;
            Ok(())
        })?;
        exits(pid, 0)?;
        call!(WRITE, write.fd().raw(), b"x".as_ptr(), 1)?;
        Ok(())
    };
    by(4242)?;
    none()?;
    by(0)?;
    equal!(next(10_000)?.signo as u32, SIGIO);
    Ok(())
}

fn ends() -> Outcome {
    block()?;
    for _ in 0..50 {
        let (mut read, write) = pipe::pipe()?;
        tells(&write, RT)?;
        let copy = adopt(call!(DUP, write.fd().raw())?);
        drop(write);
        let flags = fcntl(&copy, f::F_GETFL, 0)? as u32;
        ensure!(flags & f::O_ASYNC != 0, "{flags:#o}");
        drop(copy);
        // The end is gone at once.
        let mut poll = rt::abi::poll::PollFd { fd: read.fd().raw(), events: 1, revents: 0 };
        let zero = millis(0);
        equal!(call!(PPOLL, &raw mut poll, 1, &raw const zero, 0, 0)?, 1);
        equal!(read.read(&mut [0; 4])?, 0);
    }
    Ok(())
}

fn not_of_others() -> Outcome {
    let event = adopt(call!(EVENTFD2, 0, 0)?);
    fcntl(&event, f::F_SETFL, f::O_ASYNC as usize)?;
    let flags = fcntl(&event, f::F_GETFL, 0)? as u32;
    equal!(flags & f::O_ASYNC, 0);
    let on = 1i32;
    fails!(call!(IOCTL, event.fd().raw(), FIOASYNC, &raw const on), ENOTTY);
    fails!(call!(IOCTL, event.fd().raw(), FIOSETOWN, &raw const on), ENOTTY);
    fails!(call!(IOCTL, event.fd().raw(), FIOASYNC, 8), EFAULT);
    Ok(())
}
