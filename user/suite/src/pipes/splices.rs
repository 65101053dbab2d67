//! `splice`, `tee` and `vmsplice`: bytes that go between a pipe and something else.

use super::*;
use crate::process::{PAGE, RW, map};
use rt::abi::fs::{
    Iovec, O_APPEND, O_NONBLOCK, O_RDWR, SPLICE_F_GIFT, SPLICE_F_MORE, SPLICE_F_MOVE, SPLICE_F_NONBLOCK,
};
use rt::abi::net::{AF_UNIX, SOCK_STREAM};
use rt::abi::signal::SIGUSR1;
use rt::fs::OpenOptions;
use rt::raw;

pub const CASES: &[Case] = &[
    case!("splice/file-to-pipe-to-file", "D3 P4", file_to_pipe_to_file),
    case!("splice/positions-move", "D3", positions_move),
    case!("splice/to-a-pipe-that-is-nearly-full", "D3 I1", to_a_pipe_that_is_nearly_full),
    case!("splice/through-pipes-that-fill", "D2 P4", through_pipes_that_fill),
    case!("splice/tee-leaves-the-bytes", "D3", tee_leaves_the_bytes),
    case!("splice/does-not-wait", "I1", does_not_wait),
    case!("splice/interrupted", "D14 E1", interrupted),
    case!("splice/interrupted-half-way", "D14 E1", interrupted_half_way),
    case!("splice/sockets", "D3 D17", sockets),
    case!("splice/nobody-reads", "E1", nobody_reads),
    case!("splice/wrong-arguments", "E1", wrong_arguments),
    case!("splice/wrong-files", "E1", wrong_files),
    case!("splice/memory", "D3 D15", memory),
    case!("splice/several-take-of-one-pipe", "D2 S1", several_take_of_one_pipe),
];

/// What a pipe holds.
const CAPACITY: usize = 16 * PAGE;

type Call = Result<usize, rt::abi::Errno>;

pub fn splice(from: &File, to: &File, len: usize, flags: u32) -> Call {
    call!(SPLICE, from.fd().raw(), 0, to.fd().raw(), 0, len, flags)
}

fn splice_at(from: &File, from_at: *mut i64, to: &File, to_at: *mut i64, len: usize) -> Call {
    call!(SPLICE, from.fd().raw(), from_at, to.fd().raw(), to_at, len, 0)
}

pub fn tee(from: &File, to: &File, len: usize, flags: u32) -> Call {
    call!(TEE, from.fd().raw(), to.fd().raw(), len, flags)
}

/// Reads so many bytes.
pub fn take(from: &mut File, len: usize) -> Result<Vec<u8>, Trouble> {
    let mut bytes = alloc::vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn file(place: &Place, name: &str) -> Result<File, Trouble> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&place.join(name))?)
}

fn file_to_pipe_to_file() -> Outcome {
    for place in [Place::memory()?, Place::best()?] {
        let (mut from, mut to, (read, write)) = (file(&place, "from")?, file(&place, "to")?, pipe::pipe()?);
        let total = 150_001;
        from.write_all(&pattern(0, total))?;
        let (mut taken, mut given) = (0i64, 0i64);
        loop {
            let none = core::ptr::null_mut();
            let moved = splice_at(&from, &raw mut taken, &write, none, 1 << 20)?;
            if moved == 0 {
                break;
            }
            ensure!(moved <= CAPACITY, "{moved} in a pipe");
            let mut left = moved;
            while left > 0 {
                left -= splice_at(&read, none, &to, &raw mut given, left)?;
            }
        }
        equal!((taken, given), (total as i64, total as i64));
        // Neither position has moved.
        let mut bytes = Vec::new();
        equal!(to.read_to_end(&mut bytes)?, total);
        ensure!(bytes == pattern(0, total), "bytes were changed or moved");
        equal!(from.read(&mut [0])?, 0);
    }
    Ok(())
}

fn positions_move() -> Outcome {
    let place = Place::best()?;
    let (mut from, mut to, (read, write)) = (file(&place, "from")?, file(&place, "to")?, pipe::pipe()?);
    from.write_all(&pattern(0, 9_000))?;
    equal!(splice(&from, &write, 10, 0)?, 0);
    call!(LSEEK, from.fd().raw(), 1_000, 0)?;
    let flags = SPLICE_F_MOVE | SPLICE_F_MORE | SPLICE_F_GIFT;
    equal!(splice(&from, &write, 5_000, flags)?, 5_000);
    equal!(call!(LSEEK, from.fd().raw(), 0, 1)?, 6_000);
    to.write_all(b"xy")?;
    equal!(splice(&read, &to, 5_000, flags)?, 5_000);
    equal!(call!(LSEEK, to.fd().raw(), 0, 1)?, 5_002);
    call!(LSEEK, to.fd().raw(), 2, 0)?;
    ensure!(take(&mut to, 5_000)? == pattern(1_000, 5_000));
    Ok(())
}

fn to_a_pipe_that_is_nearly_full() -> Outcome {
    let ((mut read, mut write), (mut target, mut into)) = (pipe::pipe()?, pipe::pipe()?);
    write.write_all(&pattern(0, CAPACITY))?;
    into.write_all(&pattern(0, CAPACITY - PAGE))?;
    equal!(splice(&read, &into, CAPACITY, 0)?, PAGE);
    fails!(splice(&read, &into, CAPACITY, SPLICE_F_NONBLOCK), EAGAIN);
    ensure!(take(&mut target, CAPACITY - PAGE)? == pattern(0, CAPACITY - PAGE));
    ensure!(take(&mut target, PAGE)? == pattern(0, PAGE));
    // The rest follows, in its order; the end does as well.
    equal!(splice(&read, &into, 100, 0)?, 100);
    equal!(splice(&read, &into, CAPACITY, 0)?, CAPACITY - PAGE - 100);
    ensure!(take(&mut target, CAPACITY - PAGE)? == pattern(PAGE, CAPACITY - PAGE));
    drop(write);
    equal!(splice(&read, &into, 100, 0)?, 0);
    equal!(read.read(&mut [0])?, 0);
    Ok(())
}

/// One writes, one splices, one reads, each at its own pace.
fn through_pipes_that_fill() -> Outcome {
    let ((read, mut write), (mut target, into)) = (pipe::pipe()?, pipe::pipe()?);
    let total = 1 << 20;
    let writes = checked_child(|| write_in_pieces(&mut write, total))?;
    drop(write);
    let moves = checked_child(|| {
        let mut at = 0;
        loop {
            match splice(&read, &into, at % 70_000 + 1, 0)? {
                0 => break,
                len => at += len,
            }
        }
        equal!(at, total);
        Ok(())
    })?;
    drop((read, into));
    let mut bytes = Vec::new();
    target.read_to_end(&mut bytes)?;
    ensure!(bytes == pattern(0, total), "bytes were changed or moved: {}", bytes.len());
    exits(writes, 0)?;
    exits(moves, 0)
}

fn tee_leaves_the_bytes() -> Outcome {
    let ((mut read, mut write), (mut target, into)) = (pipe::pipe()?, pipe::pipe()?);
    write.write_all(&pattern(0, 3 * PAGE))?;
    equal!(tee(&read, &into, PAGE + 10, 0)?, PAGE + 10);
    equal!(tee(&read, &into, 1 << 20, 0)?, 3 * PAGE);
    ensure!(take(&mut target, PAGE + 10)? == pattern(0, PAGE + 10));
    ensure!(take(&mut target, 3 * PAGE)? == pattern(0, 3 * PAGE));
    // What is written behind it is in the one alone.
    write.write_all(b"more")?;
    ensure!(take(&mut read, 3 * PAGE)? == pattern(0, 3 * PAGE));
    equal!(take(&mut read, 4)?, b"more");
    fails!(tee(&read, &into, 1, SPLICE_F_NONBLOCK), EAGAIN);
    drop(write);
    equal!(tee(&read, &into, 1, 0)?, 0);
    target.fd().set_nonblocking(true)?;
    fails!(target.read(&mut [0]), EAGAIN);
    Ok(())
}

fn does_not_wait() -> Outcome {
    let ((read, mut write), (target, mut into)) = (pipe::pipe()?, pipe::pipe()?);
    fails!(splice(&read, &into, 1, SPLICE_F_NONBLOCK), EAGAIN);
    for end in [&read, &into] {
        end.fd().set_nonblocking(true)?;
        fails!(splice(&read, &into, 1, 0), EAGAIN);
        fails!(tee(&read, &into, 1, 0), EAGAIN);
        end.fd().set_nonblocking(false)?;
    }
    write.write_all(b"x")?;
    into.write_all(&alloc::vec![0; CAPACITY])?;
    fails!(splice(&read, &into, 1, SPLICE_F_NONBLOCK), EAGAIN);
    fails!(tee(&read, &into, 1, SPLICE_F_NONBLOCK), EAGAIN);
    let from = file(&Place::any()?, "from")?;
    fails!(splice(&from, &into, 1, SPLICE_F_NONBLOCK), EAGAIN);
    let (one, _other) = stream()?;
    fails!(splice(&one, &write, 1, SPLICE_F_NONBLOCK), EAGAIN);
    one.fd().set_nonblocking(true)?;
    fails!(splice(&one, &write, 1, 0), EAGAIN);
    drop(target);
    Ok(())
}

fn stream() -> Result<(File, File), Trouble> {
    let mut pair = [0i32; 2];
    call!(SOCKETPAIR, AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr())?;
    Ok((raw::file(pair[0] as usize), raw::file(pair[1] as usize)))
}

/// Runs `body` in a child, which waits until a signal with a handler comes.
fn interrupted_child(body: impl FnOnce() -> Outcome) -> Outcome {
    let pid = checked_child(|| {
        crate::signals::on(SIGUSR1, crate::signals::count_it, 0)?;
        body()
    })?;
    await_blocked(pid)?;
    kill(pid, SIGUSR1)?;
    exits(pid, 0)
}

fn interrupted() -> Outcome {
    let ((mut read, mut write), (mut target, mut into)) = (pipe::pipe()?, pipe::pipe()?);
    for moves in [splice, tee] {
        interrupted_child(|| {
            fails!(moves(&read, &into, 1, 0), EINTR);
            Ok(())
        })?;
    }
    write.write_all(&pattern(0, 100))?;
    into.write_all(&pattern(0, CAPACITY))?;
    for moves in [splice, tee] {
        interrupted_child(|| {
            fails!(moves(&read, &into, 100, 0), EINTR);
            Ok(())
        })?;
    }
    ensure!(take(&mut target, CAPACITY)? == pattern(0, CAPACITY));
    ensure!(take(&mut read, 100)? == pattern(0, 100));
    let (one, _other) = stream()?;
    interrupted_child(|| {
        fails!(splice(&one, &into, 1, 0), EINTR);
        Ok(())
    })?;
    target.fd().set_nonblocking(true)?;
    fails!(target.read(&mut [0]), EAGAIN);
    Ok(())
}

/// Whatever has been moved by then: each byte is in one place, in its order.
fn interrupted_half_way() -> Outcome {
    let ((mut read, mut write), (mut one, mut other), shared) = (pipe::pipe()?, stream()?, Shared::new()?);
    one.fd().set_nonblocking(true)?;
    let mut filled = 0;
    while let Ok(len) = one.write(&[9; 3000]) {
        filled += len;
    }
    one.fd().set_nonblocking(false)?;
    take(&mut other, 9_000)?;
    write.write_all(&pattern(0, CAPACITY))?;
    let pid = checked_child(|| {
        crate::signals::on(SIGUSR1, crate::signals::count_it, 0)?;
        shared.set(0, 1);
        match splice(&read, &one, CAPACITY, 0) {
            Err(error) => equal!(error, rt::abi::Errno::EINTR),
            Ok(moved) => shared.set(1, moved as u32),
        }
        shared.set(0, 2);
        Ok(())
    })?;
    shared.await_least(0, 1);
    await_blocked(pid)?;
    while shared.get(0) < 2 {
        kill(pid, SIGUSR1)?;
        crate::process::sleep_ms(1);
    }
    exits(pid, 0)?;
    let moved = shared.get(1) as usize;
    let rest = take(&mut read, CAPACITY - moved)?;
    ensure!(rest == pattern(moved, CAPACITY - moved), "the rest behind {moved} is another");
    take(&mut other, filled - 9_000)?;
    ensure!(take(&mut other, moved)? == pattern(0, moved), "the first {moved} are others");
    Ok(())
}

fn sockets() -> Outcome {
    let (mut out, input) = crate::sockets::pair()?;
    let (mut read, write) = pipe::pipe()?;
    let (one, mut other) = stream()?;
    out.write_all(&pattern(0, 10_000))?;
    drop(out);
    let mut moved = 0;
    loop {
        let len = call!(SPLICE, input.fd().raw(), 0, write.fd().raw(), 0, 1 << 20, 0)?;
        if len == 0 {
            break;
        }
        let mut left = len;
        while left > 0 {
            left -= splice(&read, &one, left, SPLICE_F_MORE)?;
        }
        ensure!(take(&mut other, len)? == pattern(moved, len));
        moved += len;
    }
    equal!(moved, 10_000);
    // Who waits for a stream has what comes, not all it asked for.
    let pid = checked_child(|| {
        equal!(splice(&one, &write, 100, 0)?, 3);
        Ok(())
    })?;
    await_blocked(pid)?;
    other.write_all(b"abc")?;
    exits(pid, 0)?;
    equal!(take(&mut read, 3)?, b"abc");
    Ok(())
}

fn nobody_reads() -> Outcome {
    let default = Sigaction { handler: 0, flags: 0, mask: 0 };
    let ignore = Sigaction { handler: SIG_IGN as u64, flags: 0, mask: 0 };
    let ((mut read, mut write), (_, into), (one, other)) = (pipe::pipe()?, pipe::pipe()?, stream()?);
    write.write_all(b"kept")?;
    drop(other);
    let (word, page) = ([7u8; 8], Iovec { base: 0, len: 8 });
    let piece = Iovec { base: word.as_ptr() as u64, ..page };
    let from = file(&Place::any()?, "from")?;
    type Broken<'a> = &'a dyn Fn() -> Call;
    let broken: [Broken<'_>; 5] = [
        &|| splice(&read, &into, 4, 0),
        &|| splice(&read, &one, 4, 0),
        &|| tee(&read, &into, 4, 0),
        &|| splice(&from, &into, 4, 0),
        &|| call!(VMSPLICE, into.fd().raw(), &raw const piece, 1, 0),
    ];
    for moves in broken {
        let pid = checked_child(|| {
            call!(RT_SIGACTION, SIGPIPE, &raw const ignore, 0, 8)?;
            fails!(moves(), EPIPE);
            call!(RT_SIGACTION, SIGPIPE, &raw const default, 0, 8)?;
            moves()?;
            Ok(())
        })?;
        dies(pid, SIGPIPE)?;
    }
    equal!(take(&mut read, 4)?, b"kept");
    Ok(())
}

fn wrong_arguments() -> Outcome {
    let ((read, mut write), (_target, into)) = (pipe::pipe()?, pipe::pipe()?);
    let place = Place::best()?;
    let (mut from, to) = (file(&place, "from")?, file(&place, "to")?);
    from.write_all(b"text")?;
    write.write_all(b"pipe")?;
    let (r, w, f, t) = (read.fd().raw(), write.fd().raw(), from.fd().raw(), to.fd().raw());
    // Nothing is looked at before the length, or the flags of `tee`.
    equal!(call!(SPLICE, 200, 8, 200, 8, 0, u32::MAX)?, 0);
    equal!(call!(TEE, 200, 200, 0, 0)?, 0);
    fails!(call!(TEE, 200, 200, 0, 16), EINVAL);
    fails!(call!(SPLICE, 200, 0, 200, 0, 1, 16), EINVAL);
    fails!(call!(SPLICE, 200, 0, w, 0, 1, 0), EBADF);
    fails!(call!(SPLICE, r, 0, 200, 0, 1, 0), EBADF);
    fails!(call!(TEE, r, 200, 1, 0), EBADF);
    let mut at = 0i64;
    let at = &raw mut at;
    fails!(call!(SPLICE, r, at, t, 0, 1, 0), ESPIPE);
    fails!(call!(SPLICE, f, 0, w, at, 1, 0), ESPIPE);
    fails!(call!(SPLICE, r, 8, 200, 8, 1, 0), EBADF);
    fails!(call!(SPLICE, f, 8, w, 0, 1, 0), EFAULT);
    fails!(call!(SPLICE, r, 0, t, 8, 1, 0), EFAULT);
    for wrong in [-1i64, i64::MIN, i64::MAX] {
        let wrong = &raw const wrong;
        fails!(call!(SPLICE, f, wrong, w, 0, 1, 0), EINVAL);
        fails!(call!(SPLICE, r, 0, t, wrong, 1, 0), EINVAL);
    }
    for len in [usize::MAX, 1 << 63] {
        fails!(splice(&from, &write, len, 0), EINVAL);
        fails!(splice(&read, &to, len, 0), EINVAL);
    }
    equal!(tee(&read, &into, usize::MAX, 0)?, 4);
    equal!(splice(&read, &into, usize::MAX, 0)?, 4);
    Ok(())
}

fn wrong_files() -> Outcome {
    let ((read, mut write), (one, _other)) = (pipe::pipe()?, stream()?);
    let place = Place::best()?;
    let (from, to) = (file(&place, "from")?, file(&place, "to")?);
    write.write_all(b"pipe")?;
    fails!(splice(&from, &to, 1, 0), EINVAL);
    fails!(splice(&read, &write, 1, 0), EINVAL);
    fails!(tee(&read, &write, 1, 0), EINVAL);
    fails!(tee(&from, &write, 1, 0), EINVAL);
    fails!(tee(&read, &to, 1, 0), EINVAL);
    // The wrong ends.
    fails!(splice(&write, &to, 1, 0), EBADF);
    fails!(splice(&from, &read, 1, 0), EBADF);
    fails!(tee(&write, &read, 1, 0), EBADF);
    fails!(splice(&File::open(&place.join("from"))?, &to, 1, 0), EINVAL);
    fails!(splice(&read, &File::open(&place.join("to"))?, 1, 0), EBADF);
    let append = raw::file(call!(OPENAT, AT_FDCWD, c"/tmp/splice-append".as_ptr(), O_RDWR | O_APPEND | 0o100, 0o600)?);
    fails!(splice(&read, &append, 1, 0), EINVAL);
    let mut at = 0i64;
    fails!(splice_at(&one, &raw mut at, &write, core::ptr::null_mut(), 1), EINVAL);
    fails!(splice_at(&read, core::ptr::null_mut(), &one, &raw mut at, 1), EINVAL);
    let event = raw::file(call!(EVENTFD2, 1, O_NONBLOCK)?);
    fails!(splice(&event, &write, 8, 0), EINVAL);
    fails!(splice(&read, &event, 4, 0), EINVAL);
    let directory = raw::file(call!(OPENAT, AT_FDCWD, c"/tmp".as_ptr(), 0, 0)?);
    fails!(splice(&directory, &write, 1, 0), EINVAL);
    call!(UNLINKAT, AT_FDCWD, c"/tmp/splice-append".as_ptr(), 0)?;
    Ok(())
}

fn memory() -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let pages = map(32 * PAGE, RW)?;
    raw::bytes(pages, 32 * PAGE).copy_from_slice(&pattern(0, 32 * PAGE));
    let piece = |offset: usize, len: usize| Iovec { base: (pages + offset) as u64, len: len as u64 };
    let give = |list: &[Iovec], flags| call!(VMSPLICE, write.fd().raw(), list.as_ptr(), list.len(), flags);
    // Several pieces; then what there is room for.
    equal!(give(&[piece(0, PAGE), piece(0, 0), piece(PAGE, 2 * PAGE)], 0)?, 3 * PAGE);
    ensure!(take(&mut read, 3 * PAGE)? == pattern(0, 3 * PAGE));
    equal!(give(&[piece(0, PAGE), piece(PAGE, 31 * PAGE)], 0)?, CAPACITY);
    fails!(give(&[piece(0, PAGE)], SPLICE_F_NONBLOCK), EAGAIN);
    interrupted_child(|| {
        fails!(give(&[piece(0, PAGE)], 0), EINTR);
        Ok(())
    })?;
    // The other way: into pieces, as much as there is.
    let target = map(32 * PAGE, RW)?;
    let into = |offset: usize, len: usize| Iovec { base: (target + offset) as u64, len: len as u64 };
    let get = |list: &[Iovec], flags| call!(VMSPLICE, read.fd().raw(), list.as_ptr(), list.len(), flags);
    equal!(get(&[into(0, 10), into(10, 30 * PAGE)], 0)?, CAPACITY);
    ensure!(raw::bytes(target, CAPACITY) == pattern(0, CAPACITY));
    fails!(get(&[into(0, 1)], SPLICE_F_NONBLOCK), EAGAIN);
    // Wrong ones.
    let wrong = Iovec { base: 8, len: 1 };
    fails!(give(&[wrong], 0), EFAULT);
    fails!(give(&[piece(0, 1)], 16), EINVAL);
    fails!(give(&[piece(0, usize::MAX)], 0), EINVAL);
    fails!(call!(VMSPLICE, write.fd().raw(), pages, 1025, 0), EINVAL);
    fails!(call!(VMSPLICE, write.fd().raw(), 8, 1, 0), EFAULT);
    fails!(call!(VMSPLICE, 200, 8, 1, 16), EINVAL);
    fails!(call!(VMSPLICE, 200, 8, 1, 0), EBADF);
    let other = file(&Place::any()?, "other")?;
    let list = [piece(0, 1)];
    fails!(call!(VMSPLICE, other.fd().raw(), list.as_ptr(), 1, 0), EBADF);
    equal!(call!(VMSPLICE, other.fd().raw(), list.as_ptr(), 0, 0)?, 0);
    Ok(())
}

/// Three splice and one reads of a pipe: each byte goes one way.
fn several_take_of_one_pipe() -> Outcome {
    let ((read, mut write), (mut target, into)) = (pipe::pipe()?, pipe::pipe()?);
    let total = 400_000usize;
    let mut pids = Vec::new();
    for taker in 0..4 {
        let (mut read, mut into) = (read.try_clone()?, into.try_clone()?);
        let close = [write.fd().raw(), target.fd().raw()];
        pids.push(checked_child(move || {
            for fd in close {
                call!(CLOSE, fd)?;
            }
            let mut bytes = [0; 700];
            while match taker {
                0 => {
                    let len = read.read(&mut bytes)?;
                    into.write_all(&bytes[..len])?;
                    len
                }
                _ => splice(&read, &into, 1_000 * taker, 0)?,
            } > 0
            {}
            Ok(())
        })?);
    }
    drop((read, into));
    let writes = checked_child(|| {
        for at in (0..total).step_by(8_000) {
            write.write_all(&pattern(at, 8_000))?;
        }
        Ok(())
    })?;
    drop(write);
    let mut bytes = Vec::new();
    equal!(target.read_to_end(&mut bytes)?, total);
    let counts = |bytes: &[u8]| {
        bytes.iter().fold([0u32; 256], |mut counts, byte| {
            counts[usize::from(*byte)] += 1;
            counts
        })
    };
    ensure!(counts(&bytes) == counts(&pattern(0, total)), "a byte was lost, or came twice");
    for pid in pids {
        exits(pid, 0)?;
    }
    exits(writes, 0)
}
