//! A request of 64 bytes and its reply between two processes: by a channel (note 0010), several at once, and by what else there is; and streams of items
//! and of bytes, beside a pipe.

use crate::measure::{Outcome, call, measure};
use crate::processes::{end, fork};
use crate::user_interrupts::{Seen, await_more, counting};
use alloc::format;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use rt::abi::futex::{FUTEX_WAIT, FUTEX_WAKE};
use rt::abi::mm::{MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE};
use rt::abi::{Errno, nr};
use rt::channel::{Channel, Reader, Receiver, Sender, Writer, bytes, pair, stream};
use rt::io::{self, Read, Write};
use rt::{pipe, raw};

/// A request, or a reply.
pub type Body = [u64; 8];

/// Requests on the way at once.
const AT_ONCE: [u64; 4] = [1, 2, 8, 32];

/// All rows.
pub fn rows() -> Outcome {
    for at_once in AT_ONCE {
        let (near, far) = match pair::<Body, Body>(64) {
            // Another kernel, which has the rest.
            Err(error) if error.raw_os_error() == Some(Errno::ENOSYS.number()) => break,
            pair => pair?,
        };
        // The child has both ends until it ends: what is measured is not how that is told.
        let pid = fork(|| {
            // It ends by being killed.
            let _ = far.open().and_then(serve);
        })?;
        let mut client: Channel<Body, Body> = near.open()?;
        measure(&format!("channel_call_{at_once}"), 5_120, |count| {
            for _ in 0..count / at_once {
                for _ in 0..at_once {
                    client.post(&[1; 8])?;
                }
                for _ in 0..at_once {
                    client.receive()?;
                }
            }
            Ok(())
        })?;
        end(pid)?;
    }
    crate::urgency::in_a_process(&["--uintr", "channel"])?;
    streams()?;
    one_pipe()?;
    pipes()?;
    unix()?;
    events()?;
    futexes()
}

/// The same, one at a time, in a process that waits for its interrupts: the reply raises one. In a process of its own, as the others would pay for that.
pub fn by_interrupt() -> Outcome {
    let Ok((interrupted, seen)) = counting() else { return Ok(()) };
    let (near, far) = pair::<Body, Body>(64)?;
    let pid = fork(|| {
        let _ = far.open().and_then(serve);
    })?;
    let mut client: Channel<Body, Body> = near.open()?;
    client.bind(&interrupted, 0)?;
    measure("channel_call_interrupt", 5_120, |count| {
        for _ in 0..count {
            client.send(&[1; 8])?;
            next(&mut client, seen, |before| await_more(&interrupted, seen, before))?;
        }
        Ok(())
    })?;
    end(pid)
}

/// The next message to a side that is bound to vector 0, for whose interrupt `wait` waits.
pub fn next(channel: &mut Channel<Body, Body>, seen: &Seen, wait: impl Fn(u32) -> Outcome) -> io::Result<Body> {
    loop {
        let before = seen.count();
        if channel.listen()? {
            wait(before)?;
        }
        if let Some(message) = channel.take()? {
            return Ok(message);
        }
    }
}

/// Bytes on the way at most: what a pipe holds.
const ON_THE_WAY: u32 = 1 << 16;
/// Lengths of pieces.
const PIECES: [usize; 2] = [64, 4096];

/// Items, and pieces of bytes, by channels to a child that takes them.
fn streams() -> Outcome {
    let (near, far) = match stream::<Body>(ON_THE_WAY / 64) {
        // Another kernel.
        Err(error) if error.raw_os_error() == Some(Errno::ENOSYS.number()) => return Ok(()),
        ends => ends?,
    };
    let pid = fork(|| {
        // It ends by being killed.
        let _ = Receiver::<Body>::open(far).map(|mut receiver| while receiver.receive().is_ok() {});
    })?;
    let mut sender = Sender::open(near)?;
    measure("stream_item_64", 20_480, |count| (0..count).try_for_each(|_| sender.send(&[1; 8])))?;
    end(pid)?;
    for len in PIECES {
        let (near, far) = bytes(ON_THE_WAY)?;
        let pid = fork(|| {
            let _ = Reader::open(far).and_then(|reader| take_all(reader, len));
        })?;
        let mut writer = Writer::open(near)?;
        measure(&format!("stream_bytes_{len}"), 20_480, |count| {
            (0..count).try_for_each(|_| writer.write_all(&PIECE[..len]))
        })?;
        end(pid)?;
    }
    Ok(())
}

static PIECE: [u8; 4096] = [1; 4096];

fn take_all(mut from: impl Read, len: usize) -> Outcome {
    let mut piece = [0; 4096];
    while from.read(&mut piece[..len])? > 0 {}
    Ok(())
}

/// The same pieces by a pipe.
fn one_pipe() -> Outcome {
    for len in PIECES {
        let (read, mut write) = pipe::pipe()?;
        let pid = fork(|| {
            let _ = take_all(read, len);
        })?;
        measure(&format!("stream_pipe_{len}"), 20_480, |count| {
            (0..count).try_for_each(|_| write.write_all(&PIECE[..len]))
        })?;
        end(pid)?;
    }
    Ok(())
}

/// Answers requests, one by one.
pub fn serve(mut server: Channel<Body, Body>) -> Outcome {
    loop {
        let request = server.receive()?;
        server.post(&request)?;
    }
}

/// Measures calls of `request` while a child answers by `answer`.
fn against(name: &str, mut answer: impl FnMut() -> Outcome, mut request: impl FnMut() -> Outcome) -> Outcome {
    let pid = fork(|| while answer().is_ok() {})?;
    measure(name, 5_000, |count| (0..count).try_for_each(|_| request()))?;
    end(pid)
}

fn pipes() -> Outcome {
    let (mut there_read, mut there) = pipe::pipe()?;
    let (mut back, mut back_write) = pipe::pipe()?;
    let mut reply = [0; 64];
    against(
        "channel_pipe",
        || {
            let mut request = [0; 64];
            there_read.read_exact(&mut request)?;
            back_write.write_all(&request)
        },
        || {
            there.write_all(&[1; 64])?;
            back.read_exact(&mut reply)
        },
    )
}

fn transfer(number: usize, fd: i32, bytes: &mut [u8]) -> Outcome {
    match call(number, &[fd as usize, bytes.as_mut_ptr() as usize, bytes.len()])? {
        len if len == bytes.len() => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::Other, "a short transfer")),
    }
}

fn unix() -> Outcome {
    const AF_UNIX: usize = 1;
    const SOCK_STREAM: usize = 1;
    let mut ends = [0_i32; 2];
    call(nr::SOCKETPAIR, &[AF_UNIX, SOCK_STREAM, 0, ends.as_mut_ptr() as usize])?;
    against(
        "channel_unix",
        || {
            let mut request = [0; 64];
            transfer(nr::READ, ends[1], &mut request)?;
            transfer(nr::WRITE, ends[1], &mut request)
        },
        || {
            let mut body = [1; 64];
            transfer(nr::WRITE, ends[0], &mut body)?;
            transfer(nr::READ, ends[0], &mut body)
        },
    )
}

/// Shared memory: two words, two bodies behind them.
fn shared() -> io::Result<usize> {
    let rights = PROT_READ | PROT_WRITE;
    Ok(call(nr::MMAP, &[0, 4096, rights as usize, (MAP_SHARED | MAP_ANONYMOUS) as usize, usize::MAX, 0])?)
}

fn copy(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(core::hint::black_box(from));
}

/// The bodies in shared memory, told of by counters.
fn events() -> Outcome {
    let memory = shared()?;
    let body = |index: usize| raw::bytes(memory + 64 + 64 * index, 64);
    let event = || call(nr::EVENTFD2, &[0, 0]).map(|fd| fd as i32);
    let (there, back) = (event()?, event()?);
    let post = |fd| transfer(nr::WRITE, fd, &mut 1_u64.to_ne_bytes());
    let wait = |fd| transfer(nr::READ, fd, &mut [0; 8]);
    against(
        "channel_eventfd",
        || {
            wait(there)?;
            copy(body(0), body(1));
            post(back)
        },
        || {
            copy(&[1; 64], body(0));
            post(there)?;
            wait(back)?;
            copy(body(1), &mut [0; 64]);
            Ok(())
        },
    )
}

/// The same, told of by words that they wait on.
fn futexes() -> Outcome {
    let memory = shared()?;
    let body = |index: usize| raw::bytes(memory + 64 + 64 * index, 64);
    let word = |index: usize| raw::atomic(memory + 4 * index);
    let futex = |word: &AtomicU32, operation: u32, value: usize| {
        call(nr::FUTEX, &[word.as_ptr() as usize, operation as usize, value, 0])
    };
    let post = |word: &AtomicU32| -> Outcome {
        word.store(1, SeqCst);
        futex(word, FUTEX_WAKE, 1)?;
        Ok(())
    };
    let wait = |word: &AtomicU32| {
        while word.swap(0, SeqCst) == 0 {
            // It changed meanwhile, or a signal came: the word says.
            let _ = futex(word, FUTEX_WAIT, 0);
        }
    };
    against(
        "channel_futex",
        || {
            wait(word(0));
            copy(body(0), body(1));
            post(word(1))
        },
        || {
            copy(&[1; 64], body(0));
            post(word(0))?;
            wait(word(1));
            copy(body(1), &mut [0; 64]);
            Ok(())
        },
    )
}
