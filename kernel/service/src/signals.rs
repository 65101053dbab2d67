//! Signals: what a process does about them, which are blocked, sending and waiting. Delivery is `process`'s.

use crate::{
    arguments::{Args, nanos, only},
    context::Task,
};
use abi::{
    errno::Errno,
    fs::O_RDWR,
    signal::{
        SFD_CLOEXEC, SFD_NONBLOCK, SI_KERNEL, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGRTMAX, SIGSET_SIZE, SigStack,
        Sigaction, Siginfo, mask,
    },
};
use io::open::OpenFile;
use process::{
    signal::{self, file::SignalFile},
    table,
};

fn check_size(size: usize) -> Result<(), Errno> {
    if size == SIGSET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Sends a signal of the kernel's to the calling thread.
pub(crate) fn raise(task: &Task<'_>, number: u32) {
    // A standard signal that is pending already is not queued again: nothing can be lost.
    let _ = signal::send_thread(task.thread(), Siginfo::sent(number, SI_KERNEL, 0, 0, 0));
}

/// `kill(pid, signal)`.
pub(crate) fn kill(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    signal::kill(task.process(), args.int(0), args.int(1)).map(|()| 0)
}

/// `tkill(tid, signal)`.
pub(crate) fn tkill(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    signal::kill_thread(task.process(), None, args.int(0), args.int(1)).map(|()| 0)
}

/// `tgkill(pid, tid, signal)`.
pub(crate) fn tgkill(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    signal::kill_thread(task.process(), Some(args.int(0)), args.int(1), args.int(2)).map(|()| 0)
}

/// `rt_sigqueueinfo(pid, signal, info)`.
pub(crate) async fn rt_sigqueueinfo(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let mut info: Siginfo = task.space().get(args.word(2)).await?;
    let number = signal::check_number(args.int(1))?;
    let target = u32::try_from(args.int(0)).ok().and_then(table::process).ok_or(Errno::ESRCH)?;
    // Only the kernel and `kill` may say that a signal is theirs.
    if info.code >= 0 && target.pid() != task.process().pid() {
        return Err(Errno::EPERM);
    }
    if !signal::may_send(task.process(), &target, number) {
        return Err(Errno::EPERM);
    }
    if number > 0 {
        info.signo = number as i32;
        signal::send(&target, info)?;
    }
    Ok(0)
}

/// `rt_sigaction(signal, new, old, size)`.
pub(crate) async fn rt_sigaction(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_size(args.word(3))?;
    let new = match args.word(1) {
        0 => None,
        addr => Some(task.space().get::<Sigaction>(addr).await?),
    };
    let old = signal::set_action(task.process(), args.int(0), new)?;
    if args.word(2) != 0 {
        task.space().put(args.word(2), &old).await?;
    }
    Ok(0)
}

/// `rt_sigprocmask(how, new, old, size)`.
pub(crate) async fn rt_sigprocmask(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_size(args.word(3))?;
    let old = task.thread().signal_mask();
    if args.word(1) != 0 {
        let set: u64 = task.space().get(args.word(1)).await?;
        task.thread().set_signal_mask(new_mask(old, args.bits(0), set)?);
    }
    if args.word(2) != 0 {
        task.space().put(args.word(2), &old).await?;
    }
    Ok(0)
}

/// `rt_sigprocmask` where the pages are there.
pub(crate) fn rt_sigprocmask_now(task: &Task<'_>, args: &Args) -> Option<Result<usize, Errno>> {
    let old = task.thread().signal_mask();
    let set = match args.word(1) {
        0 => None,
        addr => Some(task.space().get_now::<u64>(addr).ok()?),
    };
    let new = match set.map(|set| new_mask(old, args.bits(0), set)).transpose() {
        Ok(new) if args.word(3) == SIGSET_SIZE => new,
        Ok(_) => return Some(Err(Errno::EINVAL)),
        Err(errno) => return Some(Err(errno)),
    };
    if args.word(2) != 0 {
        task.space().put_now(args.word(2), &old).ok()?;
    }
    if let Some(new) = new {
        task.thread().set_signal_mask(new);
    }
    Some(Ok(0))
}

fn new_mask(old: u64, how: u32, set: u64) -> Result<u64, Errno> {
    match how {
        SIG_BLOCK => Ok(old | set),
        SIG_UNBLOCK => Ok(old & !set),
        SIG_SETMASK => Ok(set),
        _ => Err(Errno::EINVAL),
    }
}

/// `rt_sigpending(set, size)`.
pub(crate) async fn rt_sigpending(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(1) > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let pending = task.thread().signals_pending() & task.thread().signal_mask();
    task.space().copy_out(args.word(0), &pending.to_le_bytes()[..args.word(1)]).await.map(|()| 0)
}

/// `rt_sigsuspend(mask, size)`.
pub(crate) async fn rt_sigsuspend(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_size(args.word(1))?;
    let mask: u64 = task.space().get(args.word(0)).await?;
    task.thread().set_temporary_mask(mask);
    signal::retarget(task.thread(), mask);
    task.wait_for(core::future::pending(), None).await
}

/// `rt_sigtimedwait(set, info, timeout, size)`.
pub(crate) async fn rt_sigtimedwait(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_size(args.word(3))?;
    let set: u64 = task.space().get(args.word(0)).await?;
    let deadline = match args.word(2) {
        0 => None,
        addr => Some(hal::time::now().saturating_add(nanos(task.space().get(addr).await?)?)),
    };
    let taking = async { Ok(task.thread().take_signal(set).await) };
    let info = task.wait_for(taking, deadline).await?;
    if args.word(1) != 0 {
        task.space().put(args.word(1), &info).await?;
    }
    Ok(info.signo as usize)
}

/// `sigaltstack(new, old)`.
pub(crate) async fn sigaltstack(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let new = match args.word(0) {
        0 => None,
        addr => Some(task.space().get::<SigStack>(addr).await?),
    };
    let old = signal::set_alternate_stack(task.thread(), 0, new)?;
    if args.word(1) != 0 {
        task.space().put(args.word(1), &old).await?;
    }
    Ok(0)
}

/// `signalfd4(fd, set, size, flags)`.
pub(crate) async fn signalfd4(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    check_size(args.word(2))?;
    let set: u64 = task.space().get(args.word(1)).await?;
    let flags = args.bits(3);
    only(flags, SFD_CLOEXEC | SFD_NONBLOCK)?;
    if args.int(0) == -1 {
        let open = OpenFile::new(SignalFile::new(set), O_RDWR | flags & SFD_NONBLOCK, b"anon_inode:[signalfd]");
        return task.install(open, flags & SFD_CLOEXEC != 0);
    }
    let open = task.file(args.int(0))?;
    let file: &SignalFile = open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    file.set(task.process(), set);
    Ok(args.int(0) as usize)
}

// A signal set has a bit for each signal.
const _: () = assert!(mask(SIGRTMAX) == 1 << 63);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_change_as_asked() {
        assert_eq!(new_mask(0b0110, SIG_BLOCK, 0b0011), Ok(0b0111));
        assert_eq!(new_mask(0b0110, SIG_UNBLOCK, 0b0011), Ok(0b0100));
        assert_eq!(new_mask(0b0110, SIG_SETMASK, 0b0011), Ok(0b0011));
        assert_eq!(new_mask(0, 3, 0), Err(Errno::EINVAL));
    }
}
