//! Signals that are read (`signalfd`).

use super::{blocked, myself};
use crate::case::{Case, Outcome, Trouble, provided};
use crate::events::{Epoll, adopt, entry, poll};
use crate::process::{Shared, await_blocked, checked_child, exits, kill};
use rt::abi::errno::Result as Call;
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLET, EPOLLIN, POLLIN};
use rt::abi::signal::{
    CLD_EXITED, SFD_CLOEXEC, SFD_NONBLOCK, SI_QUEUE, SI_TKILL, SI_USER, SIG_BLOCK, SIGCHLD, SIGKILL, SIGRTMIN, SIGUSR1,
    SIGUSR2, Siginfo, SignalfdSiginfo, mask,
};
use rt::fs::File;
use rt::io::{Read, Write};
use rt::sync::Arc;
use rt::{pipe, process, thread};

pub const CASES: &[Case] = &[
    case!("signalfd/reads", "I1 U6", reads),
    case!("signalfd/what-came-along", "I1 U6", what_came_along),
    case!("signalfd/child-ended", "I1 U6", child_ended),
    case!("signalfd/waits", "I1 D2", waits),
    case!("signalfd/watched", "I1 D2", watched),
    case!("signalfd/threads-come-and-go", "I1 U6", threads_come_and_go),
    case!("signalfd/whose", "I1 U6", whose),
    case!("signalfd/another-set", "I1 U6", another_set),
    case!("signalfd/bad-buffer-loses-nothing", "E1", bad_buffer_loses_nothing),
    case!("signalfd/errors", "E1", errors),
];

/// Reads the signals of `set`, which are blocked.
fn signals(set: u64, flags: u32) -> Result<File, Trouble> {
    blocked(SIG_BLOCK, set)?;
    provided(call!(SIGNALFD4, -1i32, &raw const set, 8, flags), "signalfd4").map(adopt)
}

/// Reads up to `N`, and says how many there were.
fn take<const N: usize>(file: &File) -> Call<([SignalfdSiginfo; N], usize)> {
    let none = SignalfdSiginfo::from(&Siginfo::sent(0, 0, 0, 0, 0));
    let mut infos = [none; N];
    let len = call!(READ, file.fd().raw(), infos.as_mut_ptr(), size_of_val(&infos))?;
    Ok((infos, len / size_of::<SignalfdSiginfo>()))
}

fn one(file: &File) -> Call<SignalfdSiginfo> {
    take::<1>(file).map(|([info], _)| info)
}

fn reads() -> Outcome {
    let file = signals(mask(SIGUSR1) | mask(SIGUSR2), SFD_NONBLOCK | SFD_CLOEXEC)?;
    fails!(one(&file), EAGAIN);
    // Each is there once, the lower number first.
    for signal in [SIGUSR2, SIGUSR1, SIGUSR1] {
        myself(signal)?;
    }
    let (infos, count) = take::<3>(&file)?;
    equal!(count, 2);
    equal!([infos[0].signo, infos[1].signo], [SIGUSR1, SIGUSR2]);
    equal!((infos[0].code, infos[0].pid as i32, infos[0].uid), (SI_USER, process::id(), 0));
    fails!(one(&file), EAGAIN);
    // To the thread: as good.
    call!(TGKILL, process::id(), call!(GETTID)?, SIGUSR1)?;
    let info = one(&file)?;
    equal!((info.signo, info.code), (SIGUSR1, SI_TKILL));
    Ok(())
}

fn what_came_along() -> Outcome {
    let file = signals(mask(SIGRTMIN + 2), 0)?;
    for value in [0x1_2345_6789u64, 7] {
        let info = Siginfo::sent(SIGRTMIN + 2, SI_QUEUE, 11, 22, value);
        call!(RT_SIGQUEUEINFO, process::id(), SIGRTMIN + 2, &raw const info)?;
    }
    let (infos, count) = take::<4>(&file)?;
    equal!(count, 2);
    let read = infos[0];
    equal!((read.code, read.pid, read.uid, read.ptr, read.int), (SI_QUEUE, 11, 22, 0x1_2345_6789, 0x2345_6789));
    equal!(infos[1].ptr, 7);
    Ok(())
}

fn child_ended() -> Outcome {
    let file = signals(mask(SIGCHLD), 0)?;
    let pid = crate::process::child(|| 42)?;
    let info = one(&file)?;
    equal!((info.signo, info.code, info.pid as i32, info.status), (SIGCHLD, CLD_EXITED, pid, 42));
    exits(pid, 42)
}

fn waits() -> Outcome {
    let file = signals(mask(SIGUSR1), 0)?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        equal!(one(&file)?.signo, SIGUSR1);
        shared.set(0, 1);
        equal!(poll(&mut [entry(&file, POLLIN)], None), Ok(1));
        equal!(one(&file)?.signo, SIGUSR1);
        Ok(())
    })?;
    for reads in 0..2 {
        // Two that come before one is read are one.
        shared.await_least(0, reads);
        await_blocked(pid)?;
        kill(pid, SIGUSR1)?;
    }
    exits(pid, 0)
}

fn watched() -> Outcome {
    let file = signals(mask(SIGUSR1) | mask(SIGRTMIN), SFD_NONBLOCK)?;
    let (level, edge) = (Epoll::new()?, Epoll::new()?);
    level.control(EPOLL_CTL_ADD, file.fd().raw(), EPOLLIN, 1)?;
    edge.control(EPOLL_CTL_ADD, file.fd().raw(), EPOLLIN | EPOLLET, 2)?;
    equal!(level.wait(0)?, []);
    myself(SIGUSR1)?;
    equal!(level.wait(-1)?, [(EPOLLIN, 1)]);
    equal!(level.wait(-1)?, [(EPOLLIN, 1)]);
    equal!(edge.wait(-1)?, [(EPOLLIN, 2)]);
    equal!(edge.wait(0)?, []);
    myself(SIGRTMIN)?;
    equal!(edge.wait(-1)?, [(EPOLLIN, 2)]);
    equal!(take::<2>(&file)?.1, 2);
    equal!(level.wait(0)?, []);
    // A signal comes while somebody waits.
    let parent = process::id();
    let pid = checked_child(|| {
        await_blocked(parent)?;
        kill(parent, SIGUSR1)?;
        Ok(())
    })?;
    equal!(level.wait(-1)?, [(EPOLLIN, 1)]);
    exits(pid, 0)
}

/// A set knows of signals for whoever asks it, also if the thread is gone that put the descriptor in.
fn threads_come_and_go() -> Outcome {
    let file = signals(mask(SIGUSR1), SFD_NONBLOCK)?;
    let epoll = Arc::new(Epoll::new()?);
    let fd = file.fd().raw();
    let theirs = epoll.clone();
    let registers = thread::spawn(move || theirs.control(EPOLL_CTL_ADD, fd, EPOLLIN, 5).is_ok())?;
    equal!(registers.join(), Some(true));
    equal!(epoll.wait(0)?, []);
    for _ in 0..2 {
        myself(SIGUSR1)?;
        equal!(epoll.wait(-1)?, [(EPOLLIN, 5)]);
        equal!(one(&file)?.signo, SIGUSR1);
        equal!(epoll.wait(0)?, []);
        // For this thread alone.
        call!(TGKILL, process::id(), call!(GETTID)?, SIGUSR1)?;
        equal!(epoll.wait(-1)?, [(EPOLLIN, 5)]);
        equal!(one(&file)?.signo, SIGUSR1);
    }
    Ok(())
}

fn whose() -> Outcome {
    let file = signals(mask(SIGUSR1), SFD_NONBLOCK)?;
    myself(SIGUSR1)?;
    // What is pending is not inherited; the descriptor reads the signals of who reads.
    let pid = checked_child(|| {
        equal!(poll(&mut [entry(&file, POLLIN)], Some(0)), Ok(0));
        fails!(one(&file), EAGAIN);
        myself(SIGUSR1)?;
        equal!(one(&file)?.pid as i32, process::id());
        Ok(())
    })?;
    exits(pid, 0)?;
    equal!(one(&file)?.pid as i32, process::id());
    Ok(())
}

fn another_set() -> Outcome {
    let file = signals(mask(SIGUSR1), SFD_NONBLOCK)?;
    blocked(SIG_BLOCK, mask(SIGUSR2))?;
    myself(SIGUSR2)?;
    fails!(one(&file), EAGAIN);
    let set = mask(SIGUSR2) | mask(SIGKILL);
    equal!(change(file.fd().raw(), set), Ok(file.fd().raw() as usize));
    equal!(one(&file)?.signo, SIGUSR2);
    myself(SIGUSR1)?;
    fails!(one(&file), EAGAIN);
    Ok(())
}

fn change(fd: i32, set: u64) -> Call<usize> {
    call!(SIGNALFD4, fd, &raw const set, 8, 0)
}

fn bad_buffer_loses_nothing() -> Outcome {
    let mut file = signals(mask(SIGUSR1), SFD_NONBLOCK)?;
    myself(SIGUSR1)?;
    fails!(call!(READ, file.fd().raw(), 4096, 128), EFAULT);
    fails!(file.read(&mut [0; 127]), EINVAL);
    equal!(one(&file)?.signo, SIGUSR1);
    Ok(())
}

fn errors() -> Outcome {
    let set = mask(SIGUSR1);
    let mut file = signals(set, 0)?;
    fails!(call!(SIGNALFD4, -1i32, &raw const set, 4, 0), EINVAL);
    fails!(call!(SIGNALFD4, -1i32, &raw const set, 8, 1), EINVAL);
    fails!(call!(SIGNALFD4, -1i32, 4096, 8, 0), EFAULT);
    fails!(change(200, set), EBADF);
    let (read, _write) = pipe::pipe()?;
    fails!(change(read.fd().raw(), set), EINVAL);
    fails!(file.write(&[0; 128]), EINVAL);
    Ok(())
}
