//! Coroutines that wait for descriptors.

use crate::case::{Case, Outcome};
use crate::machine::needs_asyncos;
use crate::process::call;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use rt::abi::asyncos::{TAKE, TAKE_DRY};
use rt::abi::signal::SIGPIPE;
use rt::async_net::{TcpListener, TcpStream};
use rt::async_pipe::{Receiver, Sender, pipe};
use rt::io::{Read, Write};
use rt::task::{block_on, spawn};
use rt::time::{Duration, timeout};
use rt::{io, select};

pub const CASES: &[Case] = &[
    case!("async-io/given-up-and-used-again", "R2 D14", given_up_and_used_again),
    case!("async-io/descriptor-numbers-come-back", "R2 D14", numbers_come_back),
    case!("async-io/ring", "R2 C7 P8", ring),
    case!("async-io/both-ends-wait", "R2", both_ends_wait),
    case!("async-io/other-end-closed", "R2 E1", other_end_closed),
    case!("async-io/bursts", "R2 P8", bursts),
    case!("async-io/talk-beside-others", "R2 P8", talk_beside_others),
    case!("async-io/take", "R2 E1", take),
];

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(30);

/// A read that is given up has taken nothing and loses nothing: the next one gets what came before, between and after.
fn given_up_and_used_again() -> Outcome {
    block_on(async {
        let (sender, receiver) = pipe()?;
        let mut byte = [0];
        for number in 0..30 {
            ensure!(timeout(SHORT, receiver.read(&mut byte)).await.is_err(), "read what nobody wrote");
            let later = select! {
                read = receiver.read_exact(&mut byte) => Some(read),
                () = async {} => None,
            };
            ensure!(later.is_none());
            sender.write_all(&[number]).await?;
            receiver.read_exact(&mut byte).await?;
            equal!(byte, [number]);
        }
        Ok(())
    })
}

/// A descriptor is closed while its edge may be under way; the next one with its number waits for its own.
fn numbers_come_back() -> Outcome {
    rt::signal::ignore(SIGPIPE)?;
    block_on(async {
        for number in 0..100 {
            let (sender, receiver) = pipe()?;
            let reader = spawn(async move {
                let mut byte = [0];
                receiver.read_exact(&mut byte).await.map(|()| byte[0])
            });
            rt::task::yield_now().await;
            let aborted = number % 3 == 0;
            if aborted {
                reader.task().abort();
            }
            let written = sender.write_all(&[number]).await;
            ensure!(aborted || written.is_ok());
            match reader.await {
                Ok(read) => equal!(read.ok(), Some(number)),
                Err(_) => ensure!(aborted, "cancelled by nobody"),
            }
        }
        Ok(())
    })
}

/// Numbers go round a ring of pipes, each step another coroutine.
fn ring() -> Outcome {
    block_on(async {
        let (first, mut last) = pipe()?;
        let mut others = Vec::new();
        for _ in 0..200 {
            let (next, receiver) = pipe()?;
            let from = core::mem::replace(&mut last, receiver);
            others.push(spawn(async move {
                let mut bytes = [0; 4];
                while from.read_exact(&mut bytes).await.is_ok() {
                    next.write_all(&(u32::from_ne_bytes(bytes) + 1).to_ne_bytes()).await?;
                }
                io::Result::Ok(())
            }));
        }
        for lap in 0..5u32 {
            let mut bytes = lap.to_ne_bytes();
            first.write_all(&bytes).await?;
            last.read_exact(&mut bytes).await?;
            equal!(u32::from_ne_bytes(bytes), lap + 200);
        }
        drop(first);
        for other in others {
            ensure!(other.await.is_ok_and(|result| result.is_ok()));
        }
        Ok(())
    })
}

/// Sends bytes and waits for each to come back, until `last` is set.
async fn talk((sender, receiver): (Sender, Receiver), last: &AtomicBool) -> io::Result<()> {
    let mut byte = [7];
    while !last.load(Ordering::Relaxed) {
        sender.write_all(&byte).await?;
        receiver.read_exact(&mut byte).await?;
    }
    Ok(())
}

/// Two coroutines that talk without a pause, each of which most likely finds what it waits for, keep nobody from what others send it.
fn talk_beside_others() -> Outcome {
    const MESSAGES: u8 = 20;
    static LAST: AtomicBool = AtomicBool::new(false);
    LAST.store(false, Ordering::Relaxed);
    block_on(async {
        let ((there, from), (back, to), (inside, mut outside)) = (pipe()?, pipe()?, rt::pipe::pipe()?);
        let echo = spawn(async move {
            let mut byte = [0];
            while from.read_exact(&mut byte).await.is_ok() {
                back.write_all(&byte).await?;
            }
            io::Result::Ok(())
        });
        let talker = spawn(talk((there, to), &LAST));
        let inside = Receiver::from_file(inside)?;
        let other = rt::thread::spawn(move || (0..MESSAGES).try_for_each(|number| outside.write_all(&[number])))?;
        for number in 0..MESSAGES {
            let mut byte = [0];
            timeout(LONG, inside.read_exact(&mut byte)).await??;
            equal!(byte, [number]);
        }
        LAST.store(true, Ordering::Relaxed);
        ensure!(talker.await.is_ok_and(|talked| talked.is_ok()));
        ensure!(echo.await.is_ok_and(|echoed| echoed.is_ok()));
        ensure!(other.join().is_some_and(|sent| sent.is_ok()));
        Ok(())
    })
}

/// A pipe that is full makes the writer wait, one that is empty the reader; every byte arrives once.
fn both_ends_wait() -> Outcome {
    const TOTAL: usize = 1_000_000;
    block_on(async {
        let (sender, receiver) = pipe()?;
        let writer = spawn(async move {
            let bytes: Vec<u8> = (0..TOTAL).map(|at| (at % 251) as u8).collect();
            sender.write_all(&bytes).await
        });
        let (mut at, mut buf) = (0, [0; 3_000]);
        loop {
            let count = receiver.read(&mut buf).await?;
            if count == 0 {
                break;
            }
            ensure!(buf[..count].iter().enumerate().all(|(n, byte)| *byte == ((at + n) % 251) as u8), "near {at}");
            at += count;
        }
        equal!(at, TOTAL);
        ensure!(writer.await.is_ok_and(|written| written.is_ok()));
        Ok(())
    })
}

/// Whoever waits for an end that goes away is told.
fn other_end_closed() -> Outcome {
    rt::signal::ignore(SIGPIPE)?;
    block_on(async {
        let (sender, receiver) = pipe()?;
        let reader = spawn(async move { receiver.read(&mut [0]).await });
        rt::task::yield_now().await;
        drop(sender);
        ensure!(reader.await.is_ok_and(|read| read.is_ok_and(|count| count == 0)));
        let (sender, receiver) = pipe()?;
        let writer = spawn(async move { sender.write_all(&[0; 200_000]).await });
        let _ = timeout(SHORT, core::future::pending::<()>()).await;
        drop(receiver);
        let written = writer.await;
        ensure!(written.is_ok_and(|written| written == Err(rt::abi::Errno::EPIPE.into())));
        Ok(())
    })
}

/// Bytes that come in bursts are read one at a time: a read that has taken all waits for the next burst, and no burst is slept through,
/// whether it comes before the reader waits or after.
fn bursts() -> Outcome {
    const BURSTS: usize = 300;
    block_on(async {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let (far, _) = listener.accept().await?;
        near.set_nodelay(true)?;
        let (sender, receiver) = pipe()?;
        let bytes = |burst: usize| [burst as u8; 3][..burst % 3 + 1].to_vec();
        let writer = spawn(async move {
            for burst in 0..BURSTS {
                near.write_all(&bytes(burst)).await?;
                sender.write_all(&bytes(burst)).await?;
                for _ in 0..burst % 5 {
                    rt::task::yield_now().await;
                }
                if burst % 50 == 0 {
                    rt::time::sleep(SHORT).await;
                }
            }
            io::Result::Ok((near, sender))
        });
        let from_pipe = spawn(async move {
            let mut byte = [0];
            for burst in 0..BURSTS {
                for _ in 0..burst % 3 + 1 {
                    receiver.read_exact(&mut byte).await?;
                    if byte != [burst as u8] {
                        return Ok(false);
                    }
                }
            }
            io::Result::Ok(true)
        });
        let mut byte = [0];
        for burst in 0..BURSTS {
            for _ in 0..burst % 3 + 1 {
                far.read_exact(&mut byte).await?;
                equal!(byte, [burst as u8]);
            }
        }
        ensure!(matches!(from_pipe.await, Ok(Ok(true))), "bytes of the pipe");
        ensure!(matches!(writer.await, Ok(Ok(_))));
        Ok(())
    })
}

/// The call behind that, by itself.
fn take() -> Outcome {
    needs_asyncos()?;
    let mut bytes = [0u8; 8];
    let mut take = |fd: i32, len: usize| call(TAKE, &[fd as usize, bytes.as_mut_ptr() as usize, len]);
    let (reader, mut writer) = rt::pipe::pipe()?;
    let fd = reader.fd().raw();
    // Though the descriptor would wait.
    fails!(take(fd, 8), EAGAIN);
    writer.write_all(b"abc")?;
    equal!(take(fd, 2)?, 2);
    fails!(call(TAKE, &[fd as usize, 8, 1]), EFAULT);
    equal!(take(fd, 8)?, 1 | TAKE_DRY);
    fails!(take(fd, 8), EAGAIN);
    equal!(take(fd, 0)?, 0);
    drop(writer);
    equal!(take(fd, 8)?, 0);
    fails!(take(1000, 8), EBADF);
    take_from_file()?;
    let listener = rt::net::TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let mut near = rt::net::TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.write_all(b"abc")?;
    // Once it is there.
    far.read_exact(&mut [0])?;
    equal!(take(far.fd().raw(), 1)?, 1);
    equal!(take(far.fd().raw(), 8)?, 1 | TAKE_DRY);
    fails!(take(far.fd().raw(), 8), EAGAIN);
    Ok(())
}

/// Of a file it reads where it is told, what is in memory, as what was just written is.
fn take_from_file() -> Outcome {
    const PATH: &str = "/tmp/taken";
    let mut file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open(PATH)?;
    file.write_all(b"abcdef")?;
    let mut bytes = [0u8; 8];
    let mut take =
        |len: usize, offset: usize| call(TAKE, &[file.fd().raw() as usize, bytes.as_mut_ptr() as usize, len, offset]);
    equal!(take(3, 1)?, 3);
    equal!(take(8, 4)?, 2);
    equal!(take(8, 6)?, 0);
    equal!(take(8, 1000)?, 0);
    fails!(take(8, usize::MAX), EINVAL);
    equal!(bytes[..3], *b"efd");
    let write_only = rt::fs::OpenOptions::new().write(true).open(PATH)?;
    fails!(call(TAKE, &[write_only.fd().raw() as usize, bytes.as_mut_ptr() as usize, 8, 0]), EBADF);
    rt::fs::remove_file(PATH)?;
    Ok(())
}
