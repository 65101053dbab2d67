//! `pselect6`: sets of descriptors as bits.

use crate::case::{Case, Outcome};
use crate::process::{await_blocked, checked_child, exits, millis};
use alloc::vec::Vec;
use rt::abi::errno::Result as Call;
use rt::abi::signal::{SIG_BLOCK, SIGUSR1, mask};
use rt::abi::time::Timespec;
use rt::fs::File;
use rt::io::{Read, Write};
use rt::{pipe, process};

pub const CASES: &[Case] = &[
    case!("select/three-sets", "I1 D3", three_sets),
    case!("select/many-words", "I1 D3", many_words),
    case!("select/time-left", "I1 D3", time_left),
    case!("select/wakes", "I1 D2", wakes),
    case!("select/mask", "I1 U6", with_mask),
    case!("select/wrong", "E1", wrong),
];

/// A set of three words.
type Set = [u64; 3];

fn set(fds: &[i32]) -> Set {
    let mut words = Set::default();
    for fd in fds {
        words[*fd as usize / 64] |= 1 << (fd % 64);
    }
    words
}

/// `pselect6` over all three words, without a mask.
fn select(sets: [Option<&mut Set>; 3], limit: Option<&mut Timespec>) -> Call<usize> {
    let [read, write, except] = sets.map(|set| set.map_or(0, |set| set.as_mut_ptr().addr()));
    call!(PSELECT6, 192, read, write, except, limit.map_or(0, |limit| core::ptr::from_mut(limit).addr()), 0)
}

fn number(file: &File) -> i32 {
    file.fd().raw()
}

/// What is not ready leaves each set; the answer counts bits, not descriptors.
fn three_sets() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    let (other, _end) = pipe::pipe()?;
    let (r, w, o) = (number(&read), number(&write), number(&other));
    let (mut reads, mut writes, mut excepts) = (set(&[r, o]), set(&[w]), set(&[r, w, o]));
    let mut none = millis(0);
    equal!(select([Some(&mut reads), Some(&mut writes), Some(&mut excepts)], Some(&mut none)), Ok(1));
    equal!((reads, writes, excepts), (set(&[]), set(&[w]), set(&[])));
    write.write_all(b"x")?;
    let (mut reads, mut writes) = (set(&[r, o]), set(&[w]));
    equal!(select([Some(&mut reads), Some(&mut writes), None], None), Ok(2));
    equal!((reads, writes), (set(&[r]), set(&[w])));
    // Closed at the other end: there is an end to be read, and an error for who writes.
    drop(read);
    let mut writes = set(&[w]);
    equal!(select([None, Some(&mut writes), None], None), Ok(1));
    drop(write);
    // In two sets it counts twice.
    let (end, mut both) = pair()?;
    let fd = number(&end);
    both.write_all(b"x")?;
    let (mut reads, mut writes) = (set(&[fd]), set(&[fd]));
    equal!(select([Some(&mut reads), Some(&mut writes), None], None), Ok(2));
    equal!((reads, writes), (set(&[fd]), set(&[fd])));
    Ok(())
}

/// Two local sockets.
fn pair() -> Call<(File, File)> {
    let mut fds = [0i32; 2];
    call!(SOCKETPAIR, rt::abi::net::AF_UNIX, rt::abi::net::SOCK_STREAM, 0, fds.as_mut_ptr())?;
    Ok((rt::raw::file(fds[0] as usize), rt::raw::file(fds[1] as usize)))
}

/// Numbers in the first, the second and the third word; those behind the count are not looked at.
fn many_words() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    let mut copies = Vec::new();
    for fd in [63, 64, 127, 128, 150] {
        copies.push(rt::raw::file(call!(DUP3, number(&read), fd, 0)?));
    }
    write.write_all(b"x")?;
    let all = set(&[63, 64, 127, 128, 150]);
    let mut reads = all;
    equal!(select([Some(&mut reads), None, None], None), Ok(5));
    equal!(reads, all);
    for (count, found, left) in [(128, 3, &[63, 64, 127][..]), (65, 2, &[63, 64]), (64, 1, &[63])] {
        let mut reads = all;
        equal!(call!(PSELECT6, count, reads.as_mut_ptr(), 0, 0, 0, 0), Ok(found));
        let words = (count as usize).div_ceil(64);
        equal!(reads[..words], set(left)[..words]);
        // Of another's memory nothing is written.
        equal!(reads[words..], all[words..]);
    }
    Ok(())
}

fn time_left() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    let mut reads = set(&[number(&read)]);
    let mut limit = millis(20);
    equal!(select([Some(&mut reads), None, None], Some(&mut limit)), Ok(0));
    equal!((reads, limit.sec, limit.nsec), (set(&[]), 0, 0));
    write.write_all(b"x")?;
    let mut reads = set(&[number(&read)]);
    let mut limit = Timespec { sec: 1_000, nsec: 0 };
    equal!(select([Some(&mut reads), None, None], Some(&mut limit)), Ok(1));
    ensure!(limit.sec < 1_000 && limit.sec > 0, "{} s left", limit.sec);
    Ok(())
}

fn wakes() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let (other, _end) = pipe::pipe()?;
    let pid = checked_child(|| {
        let mut reads = set(&[number(&read), number(&other)]);
        equal!(select([Some(&mut reads), None, None], None), Ok(1));
        equal!(reads, set(&[number(&read)]));
        equal!(read.read(&mut [0; 4])?, 1);
        Ok(())
    })?;
    await_blocked(pid)?;
    write.write_all(b"x")?;
    exits(pid, 0)
}

/// A signal that is pending, and blocked but in the wait, ends it; sets and mask stay.
fn with_mask() -> Outcome {
    extern "C" fn nothing(_: usize) {}
    let pid = checked_child(|| {
        let (read, _write) = pipe::pipe()?;
        crate::signals::on(SIGUSR1, nothing, 0)?;
        let blocked = mask(SIGUSR1);
        call!(RT_SIGPROCMASK, SIG_BLOCK, &raw const blocked, 0, 8)?;
        call!(KILL, process::id(), SIGUSR1)?;
        let asked = set(&[number(&read)]);
        let (mut reads, none, mut zero) = (asked, 0u64, millis(0));
        let with = |mask: &u64| [core::ptr::from_ref(mask).addr(), 8];
        // Blocked in the wait too, it ends nothing.
        equal!(call!(PSELECT6, 192, reads.as_mut_ptr(), 0, 0, &raw mut zero, with(&blocked).as_ptr()), Ok(0));
        reads = asked;
        fails!(call!(PSELECT6, 192, reads.as_mut_ptr(), 0, 0, 0, with(&none).as_ptr()), EINTR);
        equal!(reads, asked);
        let mut now = 0u64;
        call!(RT_SIGPROCMASK, SIG_BLOCK, 0, &raw mut now, 8)?;
        equal!(now & blocked, blocked);
        // A set of signals has one size.
        let wrong = [core::ptr::from_ref(&none).addr(), 4];
        fails!(call!(PSELECT6, 0, 0, 0, 0, &raw mut zero, wrong.as_ptr()), EINVAL);
        Ok(())
    })?;
    exits(pid, 0)
}

fn wrong() -> Outcome {
    let (read, write) = pipe::pipe()?;
    let (fd, mut zero) = (number(&read), millis(0));
    let gone = number(&write);
    drop(write);
    for index in 0..3 {
        let mut asked = set(&[fd, gone]);
        let mut sets = [0; 3];
        sets[index] = asked.as_mut_ptr().addr();
        fails!(call!(PSELECT6, 192, sets[0], sets[1], sets[2], &raw mut zero, 0), EBADF);
        equal!(asked, set(&[fd, gone]));
        // Not among those that are looked at.
        equal!(call!(PSELECT6, 0, sets[0], sets[1], sets[2], &raw mut zero, 0), Ok(0));
    }
    fails!(call!(PSELECT6, usize::MAX, 0, 0, 0, &raw mut zero, 0), EINVAL);
    fails!(call!(PSELECT6, 1, 8, 0, 0, &raw mut zero, 0), EFAULT);
    fails!(call!(PSELECT6, 0, 0, 0, 0, 8, 0), EFAULT);
    fails!(call!(PSELECT6, 0, 0, 0, 0, &raw mut zero, 8), EFAULT);
    for (sec, nsec) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
        let time = Timespec { sec, nsec };
        fails!(call!(PSELECT6, 0, 0, 0, 0, &raw const time, 0), EINVAL);
    }
    Ok(())
}
