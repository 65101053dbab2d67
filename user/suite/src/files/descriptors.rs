//! Descriptors, the working directory, positions, devices.

use crate::case::{Case, Outcome};
use crate::files::pattern;
use crate::place::Place;
use crate::process::{RW, checked_child, exits, map};
use rt::abi::fs::{
    AT_FDCWD, F_GETFD, F_GETFL, F_SETFD, Iovec, O_APPEND, O_CREAT, O_RDWR, SEEK_CUR, SEEK_END, SEEK_SET,
};
use rt::fs::{self, File, OpenOptions};
use rt::io::{Read, Write};
use rt::{env, pipe, raw};

pub const CASES: &[Case] = &[
    case!("descriptors/lowest-is-taken", "D3", lowest_is_taken),
    case!("descriptors/bad", "E1", bad),
    case!("descriptors/dup-shares-position", "D3", dup_shares_position),
    case!("descriptors/dup3", "D3", dup3),
    case!("descriptors/flags", "D3", flags),
    case!("descriptors/seek", "D3", seek),
    case!("descriptors/at-offset", "D3", at_offset),
    case!("descriptors/vectors", "D3", vectors),
    case!("descriptors/working-directory", "D3", working_directory),
    case!("descriptors/relative-to-a-directory", "D3", relative_to_a_directory),
    case!("descriptors/umask", "D3", umask),
    case!("descriptors/null-and-zero", "D3", null_and_zero),
    case!("descriptors/random", "D3", random),
];

fn lowest_is_taken() -> Outcome {
    let (first, second) = (call!(DUP, 2)?, call!(DUP, 2)?);
    ensure!(first < second);
    call!(CLOSE, first)?;
    equal!(call!(DUP, 2), Ok(first));
    call!(CLOSE, first)?;
    call!(CLOSE, second)?;
    Ok(())
}

fn bad() -> Outcome {
    let mut byte = 0u8;
    for fd in [999, -1, i32::MAX] {
        fails!(call!(READ, fd, &raw mut byte, 1), EBADF);
        fails!(call!(WRITE, fd, &raw const byte, 1), EBADF);
        fails!(call!(CLOSE, fd), EBADF);
        fails!(call!(DUP, fd), EBADF);
        fails!(call!(LSEEK, fd, 0, SEEK_SET), EBADF);
        fails!(call!(FSTAT, fd, 0), EBADF);
        fails!(call!(FCNTL, fd, F_GETFD, 0), EBADF);
        fails!(call!(FSYNC, fd), EBADF);
    }
    fails!(call!(DUP3, 1, 1, 0), EINVAL);
    fails!(call!(DUP3, 1, 1 << 30, 0), EBADF);
    fails!(call!(FCNTL, 1, 12345, 0), EINVAL);
    Ok(())
}

fn dup_shares_position() -> Outcome {
    let place = Place::any()?;
    fs::write(&place.join("file"), "abc")?;
    let mut first = File::open(&place.join("file"))?;
    let mut second = first.try_clone()?;
    let mut third = File::open(&place.join("file"))?;
    let mut byte = [0];
    first.read_exact(&mut byte)?;
    second.read_exact(&mut byte)?;
    equal!(byte, *b"b");
    third.read_exact(&mut byte)?;
    equal!(byte, *b"a");
    Ok(())
}

fn dup3() -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let spare = call!(DUP, 2)?;
    // What was open there is closed, and the new one takes its number.
    equal!(call!(DUP3, write.fd().raw(), spare, rt::abi::fs::O_CLOEXEC), Ok(spare));
    equal!(call!(FCNTL, spare, F_GETFD, 0), Ok(1));
    equal!(call!(WRITE, spare, b"x".as_ptr(), 1), Ok(1));
    call!(CLOSE, spare)?;
    drop(write);
    let mut byte = [0; 2];
    equal!(read.read(&mut byte)?, 1);
    equal!(read.read(&mut byte)?, 0);
    fails!(call!(DUP3, read.fd().raw(), 60, 4), EINVAL);
    Ok(())
}

fn flags() -> Outcome {
    let place = Place::any()?;
    let file = OpenOptions::new().read(true).append(true).create(true).open(&place.join("file"))?;
    let found = call!(FCNTL, file.fd().raw(), F_GETFL, 0)? as u32;
    equal!(found & (O_RDWR | O_APPEND | O_CREAT), O_RDWR | O_APPEND);
    equal!(call!(FCNTL, file.fd().raw(), F_GETFD, 0), Ok(1));
    call!(FCNTL, file.fd().raw(), F_SETFD, 0)?;
    equal!(call!(FCNTL, file.fd().raw(), F_GETFD, 0), Ok(0));
    let twin = file.try_clone()?;
    file.fd().set_nonblocking(true)?;
    ensure!(call!(FCNTL, twin.fd().raw(), F_GETFL, 0)? as u32 & rt::abi::fs::O_NONBLOCK != 0);
    Ok(())
}

fn seek() -> Outcome {
    let place = Place::any()?;
    fs::write(&place.join("file"), pattern(0, 100))?;
    let file = File::open(&place.join("file"))?;
    let fd = file.fd().raw();
    equal!(call!(LSEEK, fd, -10isize, SEEK_END), Ok(90));
    equal!(call!(LSEEK, fd, -20isize, SEEK_CUR), Ok(70));
    equal!(call!(LSEEK, fd, 5000, SEEK_SET), Ok(5000));
    fails!(call!(LSEEK, fd, -1isize, SEEK_SET), EINVAL);
    fails!(call!(LSEEK, fd, -6000isize, SEEK_CUR), EINVAL);
    fails!(call!(LSEEK, fd, 0, 99), EINVAL);
    equal!(call!(LSEEK, fd, 0, SEEK_CUR), Ok(5000));
    let (read, _write) = pipe::pipe()?;
    fails!(call!(LSEEK, read.fd().raw(), 0, SEEK_CUR), ESPIPE);
    Ok(())
}

fn at_offset() -> Outcome {
    let place = Place::any()?;
    let file = OpenOptions::new().read(true).write(true).create(true).open(&place.join("file"))?;
    equal!(file.write_at(b"world", 6)?, 5);
    equal!(file.write_at(b"hello ", 0)?, 6);
    let mut bytes = [0; 11];
    equal!(file.read_at(&mut bytes, 0)?, 11);
    equal!(&bytes, b"hello world");
    equal!(call!(LSEEK, file.fd().raw(), 0, SEEK_CUR), Ok(0));
    fails!(call!(PREAD64, file.fd().raw(), bytes.as_mut_ptr(), 1, -1isize), EINVAL);
    let (read, _write) = pipe::pipe()?;
    fails!(call!(PREAD64, read.fd().raw(), bytes.as_mut_ptr(), 1, 0), ESPIPE);
    Ok(())
}

fn vectors() -> Outcome {
    let place = Place::any()?;
    let mut file = OpenOptions::new().read(true).write(true).create(true).open(&place.join("file"))?;
    let piece = |bytes: &[u8]| Iovec { base: bytes.as_ptr() as u64, len: bytes.len() as u64 };
    let pieces = [piece(b"one "), piece(b""), piece(b"two "), piece(b"three")];
    equal!(call!(WRITEV, file.fd().raw(), pieces.as_ptr(), 4), Ok(13));
    file.seek(0)?;
    let (mut first, mut second) = ([0u8; 6], [0u8; 20]);
    let room = [Iovec { base: first.as_mut_ptr() as u64, len: 6 }, Iovec { base: second.as_mut_ptr() as u64, len: 20 }];
    equal!(call!(READV, file.fd().raw(), room.as_ptr(), 2), Ok(13));
    equal!((&first, &second[..7]), (b"one tw", &b"o three"[..]));
    fails!(call!(READV, file.fd().raw(), room.as_ptr(), 1025), EINVAL);
    fails!(call!(READV, file.fd().raw(), room.as_ptr(), -1isize), EINVAL);
    equal!(call!(READV, file.fd().raw(), room.as_ptr(), 0), Ok(0));
    let huge = [Iovec { base: 4096, len: u64::MAX / 2 + 5 }];
    fails!(call!(WRITEV, file.fd().raw(), huge.as_ptr(), 1), EINVAL);
    file.write_all(b"!")?;
    Ok(())
}

fn working_directory() -> Outcome {
    let place = Place::any()?;
    fs::create_dir(&place.join("dir"))?;
    fs::write(&place.join("dir/file"), "x")?;
    let before = env::current_dir()?;
    let pid = checked_child(|| {
        env::set_current_dir(&place.join("dir"))?;
        equal!(env::current_dir()?, place.join("dir"));
        equal!(fs::read_to_string("file")?, "x");
        fs::write("../made", "y")?;
        fails!(env::set_current_dir("file"), ENOTDIR);
        fails!(env::set_current_dir("missing"), ENOENT);
        fs::remove_dir_all(&place.join("dir"))?;
        fails!(env::current_dir(), ENOENT);
        fails!(File::create("file"), ENOENT);
        Ok(())
    })?;
    exits(pid, 0)?;
    equal!(env::current_dir()?, before);
    equal!(fs::read_to_string(&place.join("made"))?, "y");
    let mut small = [0u8; 1];
    fails!(call!(GETCWD, small.as_mut_ptr(), 1), ERANGE);
    Ok(())
}

fn relative_to_a_directory() -> Outcome {
    let place = Place::any()?;
    fs::write(&place.join("file"), "x")?;
    let dir = OpenOptions::new().read(true).custom_flags(rt::abi::fs::O_DIRECTORY).open(place.path())?;
    let name = c"file";
    let fd = call!(OPENAT, dir.fd().raw(), name.as_ptr(), 0, 0)?;
    call!(CLOSE, fd)?;
    fails!(call!(OPENAT, fd, name.as_ptr(), 0, 0), EBADF);
    let file = File::open(&place.join("file"))?;
    fails!(call!(OPENAT, file.fd().raw(), name.as_ptr(), 0, 0), ENOTDIR);
    call!(MKDIRAT, dir.fd().raw(), c"below".as_ptr(), 0o700)?;
    call!(RENAMEAT2, dir.fd().raw(), c"file".as_ptr(), dir.fd().raw(), c"below/file".as_ptr(), 0)?;
    equal!(fs::read_to_string(&place.join("below/file"))?, "x");
    fails!(call!(UNLINKAT, dir.fd().raw(), c"below".as_ptr(), 0), EISDIR);
    fails!(call!(MKDIRAT, AT_FDCWD, c"".as_ptr(), 0o700), ENOENT);
    Ok(())
}

fn umask() -> Outcome {
    let place = Place::any()?;
    let before = call!(UMASK, 0o027)?;
    fs::write(&place.join("file"), "x")?;
    fs::create_dir(&place.join("dir"))?;
    equal!(call!(UMASK, before), Ok(0o027));
    equal!(fs::metadata(&place.join("file"))?.stat().mode & 0o777, 0o640);
    equal!(fs::metadata(&place.join("dir"))?.stat().mode & 0o777, 0o750);
    Ok(())
}

fn null_and_zero() -> Outcome {
    let mut bytes = [1; 5000];
    let mut null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    equal!((null.read(&mut bytes)?, null.write(&bytes)?), (0, 5000));
    if !fs::exists("/dev/zero") {
        return Err(crate::case::Trouble::skipped("/dev/zero is not there"));
    }
    let mut zero = File::open("/dev/zero")?;
    equal!(zero.read(&mut bytes)?, 5000);
    ensure!(bytes.iter().all(|byte| *byte == 0));
    // As much as was asked for, of memory that is yet to be, and anywhere.
    const MUCH: usize = 300 << 10;
    let random = File::open("/dev/urandom")?;
    for (name, fd) in [("zero", zero.fd().raw()), ("random", random.fd().raw())] {
        let base = map(MUCH, RW)?;
        equal!(call!(READ, fd, base, MUCH)?, MUCH);
        let is_zero = raw::bytes(base, MUCH).chunks(4096).all(|page| page.iter().all(|byte| *byte == 0));
        equal!((name, is_zero), (name, name == "zero"));
        equal!(call!(PREAD64, fd, base, 10, 1usize << 40)?, 10);
        call!(MUNMAP, base, MUCH)?;
    }
    equal!(call!(LSEEK, null.fd().raw(), 0, rt::abi::fs::SEEK_END)?, 0);
    Ok(())
}

fn random() -> Outcome {
    let (mut first, mut second) = ([0; 256], [0; 256]);
    rt::system::random(&mut first)?;
    rt::system::random(&mut second)?;
    ensure!(first != second);
    let mut seen = [false; 256];
    first.iter().chain(&second).for_each(|byte| seen[usize::from(*byte)] = true);
    ensure!(seen.iter().filter(|seen| **seen).count() > 100, "that is not random");
    fails!(call!(GETRANDOM, first.as_mut_ptr(), 1, 0x80), EINVAL);
    Ok(())
}
