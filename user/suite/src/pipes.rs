//! Pipes.

pub mod splices;

use crate::case::{Case, Outcome, Trouble};
use crate::files::pattern;
use crate::place::Place;
use crate::process::{Shared, await_blocked, checked_child, child, dies, exits, kill};
use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;
use rt::abi::fs::{AT_FDCWD, Iovec, PIPE_BUF};
use rt::abi::signal::{SIG_IGN, SIGKILL, SIGPIPE, Sigaction};
use rt::abi::stat::S_IFIFO;
use rt::fs::File;
use rt::io::{Read, Write};
use rt::{pipe, thread};

pub const CASES: &[Case] = &[
    case!("pipes/bytes-in-order", "D3 P4", bytes_in_order),
    case!("pipes/end-of-file", "D3", end_of_file),
    case!("pipes/writer-kept-alive", "D3", writer_kept_alive),
    case!("pipes/broken", "E1", broken),
    case!("pipes/broken-signal", "E1", broken_signal),
    case!("pipes/reader-waits", "I1 D2", reader_waits),
    case!("pipes/writer-waits", "I1 D2", writer_waits),
    case!("pipes/non-blocking", "I1", non_blocking),
    case!("pipes/whole-messages", "D3", whole_messages),
    case!("pipes/whole-lists", "D3", whole_lists),
    case!("pipes/many-readers", "D2", many_readers),
    case!("pipes/ring-of-processes", "P4 S1", ring_of_processes),
    case!("pipes/threads", "D2", threads),
    case!("pipes/wrong-end", "E1", wrong_end),
    case!("pipes/many", "D13", many),
    case!("pipes/named", "D3 I1", named),
    case!("pipes/named-interrupted", "E1 D14", named_interrupted),
];

/// Writes so many bytes of the pattern, some at a time.
fn write_in_pieces(write: &mut impl Write, total: usize) -> Outcome {
    let mut at = 0;
    while at < total {
        let len = (at % 9000 + 1).min(total - at);
        write.write_all(&pattern(at, len))?;
        at += len;
    }
    Ok(())
}

fn bytes_in_order() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let total = 1 << 20;
    let pid = checked_child(|| write_in_pieces(&mut write, total))?;
    drop(write);
    let mut bytes = Vec::new();
    read.read_to_end(&mut bytes)?;
    equal!(bytes.len(), total);
    ensure!(bytes == pattern(0, total), "bytes were changed or moved");
    exits(pid, 0)
}

fn end_of_file() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    write.write_all(b"rest")?;
    drop(write);
    let mut bytes = [0; 10];
    equal!(read.read(&mut bytes)?, 4);
    equal!(read.read(&mut bytes)?, 0);
    equal!(read.read(&mut bytes)?, 0);
    Ok(())
}

/// The end comes when the last writer of all processes has gone.
fn writer_kept_alive() -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let (mut go, mut start) = pipe::pipe()?;
    let mut late = write.try_clone()?;
    let pid = checked_child(|| {
        go.read_exact(&mut [0])?;
        late.write_all(b"late")?;
        Ok(())
    })?;
    drop((write, late));
    let mut bytes = [0; 10];
    read.fd().set_nonblocking(true)?;
    fails!(read.read(&mut bytes), EAGAIN);
    read.fd().set_nonblocking(false)?;
    start.write_all(&[1])?;
    equal!(read.read(&mut bytes)?, 4);
    equal!(read.read(&mut bytes)?, 0);
    exits(pid, 0)
}

fn broken() -> Outcome {
    let ignore = Sigaction { handler: SIG_IGN as u64, flags: 0, mask: 0 };
    call!(RT_SIGACTION, SIGPIPE, &raw const ignore, 0, 8)?;
    let (read, mut write) = pipe::pipe()?;
    drop(read);
    fails!(write.write(b"x"), EPIPE);
    Ok(())
}

fn broken_signal() -> Outcome {
    let pid = checked_child(|| {
        let default = Sigaction { handler: 0, flags: 0, mask: 0 };
        call!(RT_SIGACTION, SIGPIPE, &raw const default, 0, 8)?;
        let (read, mut write) = pipe::pipe()?;
        drop(read);
        write.write_all(b"x")?;
        Ok(())
    })?;
    dies(pid, SIGPIPE)
}

fn reader_waits() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let pid = checked_child(|| {
        let mut byte = [0];
        read.read_exact(&mut byte)?;
        equal!(byte, [7]);
        Ok(())
    })?;
    await_blocked(pid)?;
    write.write_all(&[7])?;
    exits(pid, 0)
}

fn writer_waits() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let shared = Shared::new()?;
    let pid = checked_child(|| {
        for _ in 0..64 {
            write.write_all(&[1; 4096])?;
            shared.count(0);
        }
        Ok(())
    })?;
    drop(write);
    await_blocked(pid)?;
    ensure!(shared.get(0) < 64, "a pipe took 256 KiB");
    let mut bytes = Vec::new();
    equal!(read.read_to_end(&mut bytes)?, 64 * 4096);
    exits(pid, 0)
}

fn non_blocking() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    read.fd().set_nonblocking(true)?;
    write.fd().set_nonblocking(true)?;
    fails!(read.read(&mut [0]), EAGAIN);
    let mut filled = 0;
    loop {
        match write.write(&[5; 4096]) {
            Ok(len) => filled += len,
            Err(error) => {
                equal!(crate::case::number(error), rt::abi::Errno::EAGAIN.number());
                break;
            }
        }
        ensure!(filled <= 1 << 20, "a pipe takes everything");
    }
    ensure!(filled >= PIPE_BUF);
    let mut drained = 0;
    let mut bytes = [0; 3000];
    while let Ok(len) = read.read(&mut bytes) {
        ensure!(bytes[..len].iter().all(|byte| *byte == 5));
        drained += len;
    }
    equal!(drained, filled);
    Ok(())
}

/// Writes of up to `PIPE_BUF` bytes are never mixed.
fn whole_messages() -> Outcome {
    let (mut read, write) = pipe::pipe()?;
    let mut pids = Vec::new();
    for writer in 1..=4u8 {
        let mut write = write.try_clone()?;
        pids.push(checked_child(move || {
            for round in 0..50 {
                let len = if round % 2 == 0 { PIPE_BUF } else { 512 };
                write.write_all(&alloc::vec![writer; len])?;
            }
            Ok(())
        })?);
    }
    drop(write);
    let mut bytes = Vec::new();
    read.read_to_end(&mut bytes)?;
    equal!(bytes.len(), 4 * 25 * (PIPE_BUF + 512));
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
        ensure!(run % 512 == 0, "a message was cut after {run} bytes");
        at += run;
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

/// What several pieces have goes into a pipe whole, too, or not at all.
fn whole_lists() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    read.fd().set_nonblocking(true)?;
    write.fd().set_nonblocking(true)?;
    write.write_all(&[1; 65_530])?;
    let piece = |bytes: &[u8]| Iovec { base: bytes.as_ptr() as u64, len: bytes.len() as u64 };
    let list = [piece(b"four"), piece(b""), piece(b"more")];
    fails!(call!(WRITEV, write.fd().raw(), list.as_ptr(), list.len()), EAGAIN);
    let mut drained = 0;
    let mut bytes = [0; 4096];
    while let Ok(len) = read.read(&mut bytes) {
        ensure!(bytes[..len].iter().all(|byte| *byte == 1));
        drained += len;
    }
    equal!(drained, 65_530);
    equal!(call!(WRITEV, write.fd().raw(), list.as_ptr(), list.len())?, 8);
    equal!(read.read(&mut bytes)?, 8);
    equal!(bytes[..8], b"fourmore"[..]);
    Ok(())
}

/// One write wakes readers enough that none starves: each byte is read once.
fn many_readers() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let shared = Shared::new()?;
    let mut pids = Vec::new();
    for _ in 0..8 {
        pids.push(checked_child(|| {
            // The end comes when the last writer has gone, and this is one.
            call!(CLOSE, write.fd().raw())?;
            let mut byte = [0];
            while read.read(&mut byte)? == 1 {
                shared.count(usize::from(byte[0]));
            }
            Ok(())
        })?);
    }
    for value in 0..200u8 {
        write.write_all(&[value])?;
    }
    drop(write);
    for pid in pids {
        exits(pid, 0)?;
    }
    ensure!((0..200).all(|value| shared.get(value) == 1), "a byte was lost, or read twice");
    Ok(())
}

/// A token goes round twelve processes fifty times.
fn ring_of_processes() -> Outcome {
    let (count, rounds) = (12, 50u32);
    let mut pipes = Vec::new();
    for _ in 0..count {
        pipes.push(pipe::pipe()?);
    }
    let mut pids = Vec::new();
    for index in 1..count {
        let mut read = pipes[index].0.try_clone()?;
        let mut write = pipes[(index + 1) % count].1.try_clone()?;
        pids.push(checked_child(move || {
            for _ in 0..rounds {
                let mut word = [0; 4];
                read.read_exact(&mut word)?;
                write.write_all(&(u32::from_le_bytes(word) + 1).to_le_bytes())?;
            }
            Ok(())
        })?);
    }
    let mut token = 0u32;
    for _ in 0..rounds {
        pipes[1].1.write_all(&token.to_le_bytes())?;
        let mut word = [0; 4];
        pipes[0].0.read_exact(&mut word)?;
        token = u32::from_le_bytes(word);
    }
    equal!(token, rounds * (count as u32 - 1));
    for pid in pids {
        exits(pid, 0)?;
    }
    Ok(())
}

fn threads() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).map(|_| bytes)
    })?;
    for index in 0..100 {
        write.write_all(&pattern(index * 1000, 1000))?;
    }
    drop(write);
    let bytes = reader.join().ok_or(rt::abi::Errno::EINVAL)??;
    ensure!(bytes == pattern(0, 100_000));
    Ok(())
}

fn wrong_end() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    fails!(write.read(&mut [0]), EBADF);
    fails!(read.write(&[0]), EBADF);
    equal!(write.write(&[])?, 0);
    let mut ends = [0i32; 2];
    fails!(call!(PIPE2, ends.as_mut_ptr(), 1 << 30), EINVAL);
    Ok(())
}

/// Full pipes that are never read are given back with the process.
fn many() -> Outcome {
    let shared = Shared::new()?;
    for _ in 0..3 {
        let pid = child(|| {
            let mut pipes = Vec::new();
            while pipes.len() < 40 {
                let Ok((read, mut write)) = pipe::pipe() else { return 1 };
                let _ = write.fd().set_nonblocking(true);
                while write.write(&[1; 4096]).is_ok() {}
                pipes.push((read, write));
            }
            shared.count(0);
            crate::process::sleep_ms(100_000);
            0
        })?;
        let before = shared.get(0);
        shared.await_least(0, before.max(1));
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
        shared.set(0, 0);
    }
    Ok(())
}

fn make_named(path: &str) -> Outcome {
    let name = CString::new(path).map_err(Trouble::failed)?;
    call!(MKNODAT, AT_FDCWD, name.as_ptr(), S_IFIFO | 0o600, 0)?;
    Ok(())
}

/// Both sides wait for each other at opening, on either file system; `create` is what a shell's `>` does.
fn named() -> Outcome {
    for place in [Place::memory()?, Place::best()?] {
        let path = place.join("fifo");
        make_named(&path)?;
        let pid = checked_child(|| {
            File::create(&path)?.write_all(b"through a name")?;
            Ok(())
        })?;
        await_blocked(pid)?;
        let mut text = String::new();
        File::open(&path)?.read_to_string(&mut text)?;
        equal!(text, "through a name");
        exits(pid, 0)?;
    }
    Ok(())
}

/// Who is killed while waiting for the other side leaves nothing behind.
fn named_interrupted() -> Outcome {
    let place = Place::any()?;
    let path = place.join("fifo");
    make_named(&path)?;
    let pid = child(|| {
        let _ = File::open(&path);
        0
    })?;
    await_blocked(pid)?;
    kill(pid, SIGKILL)?;
    dies(pid, SIGKILL)?;
    let name = CString::new(path.as_str()).map_err(Trouble::failed)?;
    let flags = rt::abi::fs::O_WRONLY | rt::abi::fs::O_NONBLOCK;
    fails!(call!(OPENAT, AT_FDCWD, name.as_ptr(), flags), ENXIO);
    Ok(())
}
