//! Advisory locks: `flock`, and ranges by `fcntl`.

use crate::case::{Case, Outcome};
use crate::place::Place;
use crate::process::{Shared, await_blocked, checked_child, exits, kill};
use rt::abi::errno::Result as Call;
use rt::abi::fs::{
    F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SETLK, F_SETLKW, F_UNLCK, F_WRLCK, Flock, LOCK_EX,
    LOCK_NB, LOCK_SH, LOCK_UN, SEEK_CUR, SEEK_END, SEEK_SET,
};
use rt::abi::signal::SIGKILL;
use rt::fs::{File, OpenOptions};
use rt::{pipe, process};

pub const CASES: &[Case] = &[
    case!("locks/whole", "D3", whole),
    case!("locks/whole-is-waited-for", "D3 D2", whole_is_waited_for),
    case!("locks/ranges", "D3", ranges),
    case!("locks/ranges-are-of-the-process", "D3", ranges_are_of_the_process),
    case!("locks/range-is-waited-for", "D3 D2", range_is_waited_for),
    case!("locks/deadlock", "D3 E1", deadlock),
    case!("locks/of-descriptions", "D3", of_descriptions),
    case!("locks/errors", "E1", errors),
];

fn flock(file: &File, operation: u32) -> Call<usize> {
    call!(FLOCK, file.fd().raw(), operation)
}

fn open(place: &Place) -> rt::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).open(&place.join("file"))
}

fn lock(kind: u32, start: i64, len: i64) -> Flock {
    Flock { kind: kind as i16, whence: SEEK_SET as i16, pad: 0, start, len, pid: 0, pad2: 0 }
}

fn control(file: &File, command: u32, lock: &Flock) -> Call<usize> {
    call!(FCNTL, file.fd().raw(), command, core::ptr::from_ref(lock))
}

/// What would be in the way: kind, first byte, length, holder.
fn obstacle(file: &File, command: u32, mut lock: Flock) -> Call<(u32, i64, i64, i32)> {
    call!(FCNTL, file.fd().raw(), command, &raw mut lock)?;
    Ok((lock.kind as u32, lock.start, lock.len, lock.pid))
}

fn whole() -> Outcome {
    let place = Place::memory()?;
    let (first, second) = (open(&place)?, open(&place)?);
    equal!(flock(&first, LOCK_SH), Ok(0));
    equal!(flock(&second, LOCK_SH | LOCK_NB), Ok(0));
    fails!(flock(&second, LOCK_EX | LOCK_NB), EAGAIN);
    // Who asked for more has lost what it had.
    equal!(flock(&first, LOCK_EX | LOCK_NB), Ok(0));
    // The same description by another number.
    let twin = first.try_clone()?;
    equal!(flock(&twin, LOCK_EX | LOCK_NB), Ok(0));
    drop(first);
    fails!(flock(&second, LOCK_SH | LOCK_NB), EAGAIN);
    drop(twin);
    equal!(flock(&second, LOCK_EX | LOCK_NB), Ok(0));
    equal!(flock(&second, LOCK_UN), Ok(0));
    equal!(flock(&open(&place)?, LOCK_EX | LOCK_NB), Ok(0));
    // A pipe can be locked, too.
    let (read, _write) = pipe::pipe()?;
    equal!(call!(FLOCK, read.fd().raw(), LOCK_EX), Ok(0));
    Ok(())
}

fn whole_is_waited_for() -> Outcome {
    let place = Place::memory()?;
    let file = open(&place)?;
    flock(&file, LOCK_EX)?;
    let theirs = open(&place)?;
    let waiter = checked_child(|| {
        equal!(flock(&theirs, LOCK_EX), Ok(0));
        Ok(())
    })?;
    await_blocked(waiter)?;
    // One that is killed while it waits leaves nothing behind.
    let doomed = checked_child(|| {
        flock(&open(&place)?, LOCK_SH)?;
        Ok(())
    })?;
    await_blocked(doomed)?;
    kill(doomed, SIGKILL)?;
    crate::process::dies(doomed, SIGKILL)?;
    flock(&file, LOCK_UN)?;
    exits(waiter, 0)?;
    // The description lives on here, and with it the lock.
    fails!(flock(&file, LOCK_SH | LOCK_NB), EAGAIN);
    flock(&theirs, LOCK_UN)?;
    equal!(flock(&file, LOCK_SH | LOCK_NB), Ok(0));
    Ok(())
}

fn ranges() -> Outcome {
    let place = Place::memory()?;
    let file = open(&place)?;
    control(&file, F_SETLK, &lock(F_WRLCK, 10, 20))?;
    control(&file, F_SETLK, &lock(F_UNLCK, 15, 5))?;
    control(&file, F_SETLK, &lock(F_RDLCK, 100, 0))?;
    let own = process::id();
    let pid = checked_child(|| {
        let probe = |kind, start, len| obstacle(&file, F_GETLK, lock(kind, start, len));
        equal!(probe(F_RDLCK, 0, 0), Ok((F_WRLCK, 10, 5, own)));
        equal!(probe(F_RDLCK, 15, 10), Ok((F_WRLCK, 20, 10, own)));
        equal!(probe(F_WRLCK, 1000, 1), Ok((F_RDLCK, 100, 0, own)));
        equal!(probe(F_RDLCK, 1000, 1).map(|found| found.0), Ok(F_UNLCK));
        equal!(probe(F_WRLCK, 15, 5).map(|found| found.0), Ok(F_UNLCK));
        equal!(control(&file, F_SETLK, &lock(F_WRLCK, 15, 5)), Ok(0));
        equal!(control(&file, F_SETLK, &lock(F_RDLCK, 200, 10)), Ok(0));
        fails!(control(&file, F_SETLK, &lock(F_WRLCK, 14, 1)), EAGAIN);
        // Negative lengths go back from the start; the end is where the file ends.
        fails!(control(&file, F_SETLK, &lock(F_WRLCK, 15, -1)), EAGAIN);
        let at_end = Flock { whence: SEEK_END as i16, ..lock(F_WRLCK, 14, 1) };
        fails!(control(&file, F_SETLK, &at_end), EAGAIN);
        let here = Flock { whence: SEEK_CUR as i16, ..lock(F_WRLCK, 0, 10) };
        equal!(control(&file, F_SETLK, &here), Ok(0));
        Ok(())
    })?;
    exits(pid, 0)?;
    // What the child had is gone with it.
    equal!(control(&file, F_SETLK, &lock(F_WRLCK, 0, 0)), Ok(0));
    Ok(())
}

fn ranges_are_of_the_process() -> Outcome {
    let place = Place::disk()?;
    let (file, other) = (open(&place)?, open(&place)?);
    control(&file, F_SETLK, &lock(F_WRLCK, 0, 10))?;
    // By whatever description: it is the same owner.
    equal!(control(&other, F_SETLK, &lock(F_WRLCK, 5, 10)), Ok(0));
    let probe = || obstacle(&file, F_GETLK, lock(F_WRLCK, 0, 0));
    let found = |kind: u32| -> Outcome {
        let pid = checked_child(|| {
            equal!(probe()?.0, kind);
            Ok(())
        })?;
        exits(pid, 0)
    };
    found(F_WRLCK)?;
    // Whole locks are another matter.
    equal!(flock(&other, LOCK_EX | LOCK_NB), Ok(0));
    // Closing any number of the file gives all of them back.
    drop(other);
    found(F_UNLCK)
}

fn range_is_waited_for() -> Outcome {
    let place = Place::memory()?;
    let file = open(&place)?;
    control(&file, F_SETLK, &lock(F_WRLCK, 0, 10))?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        equal!(control(&file, F_SETLKW, &lock(F_RDLCK, 9, 1)), Ok(0));
        shared.set(0, 1);
        equal!(control(&file, F_SETLKW, &lock(F_WRLCK, 0, 0)), Ok(0));
        Ok(())
    })?;
    await_blocked(pid)?;
    control(&file, F_SETLK, &lock(F_RDLCK, 9, 1))?;
    shared.await_least(0, 1);
    await_blocked(pid)?;
    drop(file);
    exits(pid, 0)
}

fn deadlock() -> Outcome {
    let place = Place::memory()?;
    let file = open(&place)?;
    control(&file, F_SETLK, &lock(F_WRLCK, 0, 1))?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        equal!(control(&file, F_SETLK, &lock(F_WRLCK, 1, 1)), Ok(0));
        shared.set(0, 1);
        equal!(control(&file, F_SETLKW, &lock(F_WRLCK, 0, 1)), Ok(0));
        Ok(())
    })?;
    shared.await_least(0, 1);
    await_blocked(pid)?;
    fails!(control(&file, F_SETLKW, &lock(F_RDLCK, 1, 1)), EDEADLK);
    control(&file, F_SETLK, &lock(F_UNLCK, 0, 1))?;
    exits(pid, 0)
}

fn of_descriptions() -> Outcome {
    let place = Place::memory()?;
    let (first, second) = (open(&place)?, open(&place)?);
    equal!(control(&first, F_OFD_SETLK, &lock(F_WRLCK, 0, 10)), Ok(0));
    fails!(control(&second, F_OFD_SETLK, &lock(F_RDLCK, 9, 1)), EAGAIN);
    fails!(control(&second, F_SETLK, &lock(F_RDLCK, 9, 1)), EAGAIN);
    equal!(obstacle(&second, F_OFD_GETLK, lock(F_RDLCK, 0, 0)), Ok((F_WRLCK, 0, 10, -1)));
    let first_number = first.fd().raw();
    let pid = checked_child(|| {
        // The description has two numbers as long as this one has it, too.
        call!(CLOSE, first_number)?;
        equal!(control(&second, F_OFD_SETLKW, &lock(F_RDLCK, 9, 1)), Ok(0));
        Ok(())
    })?;
    await_blocked(pid)?;
    drop(first);
    exits(pid, 0)?;
    // The child's lock is that of the description, which is open here.
    fails!(control(&open(&place)?, F_OFD_SETLK, &lock(F_WRLCK, 0, 0)), EAGAIN);
    Ok(())
}

fn errors() -> Outcome {
    let place = Place::memory()?;
    let file = open(&place)?;
    fails!(flock(&file, 0), EINVAL);
    fails!(flock(&file, LOCK_SH | LOCK_EX), EINVAL);
    fails!(call!(FLOCK, 200, LOCK_SH), EBADF);
    let read_only = File::open(&place.join("file"))?;
    equal!(flock(&read_only, LOCK_EX | LOCK_NB), Ok(0));
    fails!(control(&read_only, F_SETLK, &lock(F_WRLCK, 0, 0)), EBADF);
    let write_only = OpenOptions::new().write(true).open(&place.join("file"))?;
    fails!(control(&write_only, F_SETLK, &lock(F_RDLCK, 0, 0)), EBADF);
    fails!(control(&file, F_SETLK, &lock(7, 0, 0)), EINVAL);
    fails!(control(&file, F_GETLK, &lock(F_UNLCK, 0, 0)), EINVAL);
    fails!(control(&file, F_SETLK, &lock(F_RDLCK, -1, 0)), EINVAL);
    fails!(control(&file, F_SETLK, &lock(F_RDLCK, 1, -2)), EINVAL);
    fails!(control(&file, F_SETLK, &lock(F_RDLCK, 2, i64::MAX)), EOVERFLOW);
    fails!(control(&file, F_SETLK, &Flock { whence: 9, ..lock(F_RDLCK, 0, 0) }), EINVAL);
    fails!(control(&file, F_OFD_SETLK, &Flock { pid: 1, ..lock(F_RDLCK, 0, 0) }), EINVAL);
    fails!(call!(FCNTL, file.fd().raw(), F_SETLK, 4096), EFAULT);
    Ok(())
}
