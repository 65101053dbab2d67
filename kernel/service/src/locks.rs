//! Advisory locks: `flock`, and the commands of `fcntl` for ranges of bytes. What they mean is in [`io::lock`].

use crate::{arguments::Args, context::Task};
use abi::{
    errno::Errno,
    fs::{self as f, Flock},
};
use alloc::sync::Arc;
use core::ops::RangeInclusive;
use io::{
    lock::{self, Lock, Mode, Owner, What},
    open::OpenFile,
};

/// Last byte that a file can have: a lock up to there is one to the end.
const LAST: u64 = i64::MAX as u64;

/// `flock(fd, operation)`.
pub(crate) async fn flock(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let operation = args.bits(1);
    let mode = match operation & !f::LOCK_NB {
        f::LOCK_SH => Some(Mode::Shared),
        f::LOCK_EX => Some(Mode::Exclusive),
        f::LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let open = task.file(args.int(0))?;
    if open.flags() & f::O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    let lock = |mode| Lock { owner: Owner::description(&open), pid: task.process().pid(), what: What::Whole, mode };
    let account = &task.caller().account;
    match mode {
        None => lock::unlock(&open, &lock(Mode::Shared), account)?,
        Some(mode) if operation & f::LOCK_NB != 0 => lock::try_lock(&open, &lock(mode), account)?,
        Some(mode) => wait(task, &open, &lock(mode)).await?,
    }
    Ok(0)
}

async fn wait(task: &Task<'_>, open: &OpenFile, lock: &Lock) -> Result<(), Errno> {
    let account = &task.caller().account;
    match lock::try_lock(open, lock, account) {
        Err(Errno::EAGAIN) => task.wait_for(lock::lock(open, lock, account), None).await,
        done => done,
    }
}

/// `fcntl(fd, F_GETLK | F_SETLK | F_SETLKW | F_OFD_..., lock)`.
pub(crate) async fn record(task: &Task<'_>, open: &Arc<OpenFile>, args: &Args) -> Result<usize, Errno> {
    let command = args.bits(1);
    if open.flags() & f::O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    let asked: Flock = task.space().get(args.word(2)).await?;
    // Kept to the end: its address is the owner's.
    let table = task.descriptors()?;
    let owner = match command {
        f::F_OFD_GETLK | f::F_OFD_SETLK | f::F_OFD_SETLKW if asked.pid != 0 => return Err(Errno::EINVAL),
        f::F_OFD_GETLK | f::F_OFD_SETLK | f::F_OFD_SETLKW => Owner::description(open),
        _ => table.lock_owner(),
    };
    let what = What::Range(range(open, &asked).await?);
    let mode = match u32::try_from(asked.kind).unwrap_or(u32::MAX) {
        f::F_RDLCK => Some(Mode::Shared),
        f::F_WRLCK => Some(Mode::Exclusive),
        f::F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let lock = |mode| Lock { owner, pid: task.process().pid(), what, mode };
    if matches!(command, f::F_GETLK | f::F_OFD_GETLK) {
        return report(task, open, asked, &lock(mode.ok_or(Errno::EINVAL)?), args.word(2)).await;
    }
    let account = &task.caller().account;
    let lock = match mode {
        None => return lock::unlock(open, &lock(Mode::Shared), account).map(|()| 0),
        Some(Mode::Shared) if !open.readable() => return Err(Errno::EBADF),
        Some(Mode::Exclusive) if !open.writable() => return Err(Errno::EBADF),
        Some(mode) => lock(mode),
    };
    match command {
        f::F_SETLK | f::F_OFD_SETLK => lock::try_lock(open, &lock, account)?,
        _ => wait(task, open, &lock).await?,
    }
    // Closed meanwhile, by another thread, which cannot have known of this lock.
    if matches!(owner, Owner::Table(_)) && !table.get(args.int(0)).is_ok_and(|now| Arc::ptr_eq(&now, open)) {
        lock::release(open, owner);
        return Err(Errno::EBADF);
    }
    Ok(0)
}

/// The bytes that are asked for, first and last.
async fn range(open: &OpenFile, asked: &Flock) -> Result<RangeInclusive<u64>, Errno> {
    let base = match u32::try_from(asked.whence).unwrap_or(u32::MAX) {
        f::SEEK_SET => 0,
        f::SEEK_CUR => open.position(),
        f::SEEK_END => match open.file().inode() {
            Some(inode) => inode.metadata().await?.size,
            None => 0,
        },
        _ => return Err(Errno::EINVAL),
    };
    let start = i64::try_from(base).ok().and_then(|base| base.checked_add(asked.start)).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match asked.len {
        0 => (start, LAST as i64),
        1.. => (start, start.checked_add(asked.len - 1).ok_or(Errno::EOVERFLOW)?),
        // The bytes before it.
        _ => (start.checked_add(asked.len).ok_or(Errno::EINVAL)?, start - 1),
    };
    match (u64::try_from(first), u64::try_from(last)) {
        (Ok(first), Ok(last)) => Ok(first..=last),
        _ => Err(Errno::EINVAL),
    }
}

/// Stores what excludes `lock`, or that nothing does.
async fn report(task: &Task<'_>, open: &OpenFile, asked: Flock, lock: &Lock, addr: usize) -> Result<usize, Errno> {
    let found = lock::find(open, lock);
    let answer = match found.as_ref().map(|found| (found, &found.what)) {
        Some((found, What::Range(bytes))) => Flock {
            kind: if found.mode == Mode::Shared { f::F_RDLCK as i16 } else { f::F_WRLCK as i16 },
            whence: f::SEEK_SET as i16,
            start: *bytes.start() as i64,
            len: if *bytes.end() == LAST { 0 } else { (bytes.end() - bytes.start() + 1) as i64 },
            pid: if matches!(found.owner, Owner::Table(_)) { found.pid as i32 } else { -1 },
            ..asked
        },
        _ => Flock { kind: f::F_UNLCK as i16, ..asked },
    };
    task.space().put(addr, &answer).await.map(|()| 0)
}
