//! Coroutines that wait for requests: the operation owns the buffer until it has ended.

use crate::case::{Case, Outcome, Trouble};
use crate::process::{child, exits};
use alloc::boxed::Box;
use alloc::vec::Vec;
use alloc::{format, vec};
use rt::abi::Errno;
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::async_net::{TcpListener, TcpStream};
use rt::async_pipe::{Receiver, Sender, pipe};
use rt::async_udp::UdpSocket;
use rt::io::{Read, Write};
use rt::net::SocketAddr;
use rt::process::{Command, Stdio};
use rt::sync::Arc;
use rt::task::{JoinHandle, block_on, spawn};
use rt::time::{Duration, timeout};
use rt::{async_fs, async_stdio, fs, io, select};

pub const CASES: &[Case] = &[
    // First: what so many connections leave behind takes a while to go, and is not to be taken for a leak.
    case!("async/thousand-connections", "C5 R2", thousand_connections),
    case!("async/reads-and-writes", "C5 R2", reads_and_writes),
    case!("async/dropped-read-keeps-its-buffer", "C5 R2 D14", dropped_read),
    case!("async/aborted-reader", "C5 R2 D14", aborted_reader),
    case!("async/first-of-two-reads", "C5 R2", first_of_two),
    case!("async/both-ends-wait", "C5 R2", both_ends_wait),
    case!("async/lent-and-handed-over", "C5 R2", lent_and_handed_over),
    case!("async/other-end-closed", "C5 R2 E1", other_end_closed),
    case!("async/many-at-a-time", "C5 R2", many_at_a_time),
    case!("async/files", "C5 R2", files),
    case!("async/many-reads-of-a-file", "C5 R2", many_reads_of_a_file),
    case!("async/wrong-files", "C5 E1", wrong_files),
    case!("async/children", "C5 R2", children),
    case!("async/datagrams", "C5 R2", datagrams),
    case!("async/standard-streams", "C5 R2", standard_streams),
];

const SHORT: Duration = Duration::from_millis(1);

/// A pair of connected TCP sockets.
async fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    let (far, _) = listener.accept().await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

fn reads_and_writes() -> Outcome {
    block_on(async {
        let (near, far) = connection().await?;
        let echo = spawn(async move {
            let mut buf = vec![0; 64];
            loop {
                let (read, back) = far.read_owned(buf).await;
                if read? == 0 {
                    return io::Result::Ok(());
                }
                let (written, back) = far.write_all_owned(back).await;
                written?;
                buf = back;
            }
        });
        for round in 0..200u8 {
            let message = vec![round; usize::from(round % 64) + 1];
            let (written, message) = near.write_all_owned(message).await;
            written?;
            let room: Box<[u8]> = vec![0; message.len()].into();
            let (read, room) = near.read_exact_owned(room).await;
            read?;
            equal!(*room, *message);
        }
        drop(near);
        ensure!(matches!(echo.await, Ok(Ok(()))));
        Ok(())
    })
}

/// A read is dropped while it waits. Its buffer is not given to anybody before the kernel is done with it: what is allocated meanwhile keeps what
/// was put there, whatever arrives.
fn dropped_read() -> Outcome {
    const LEN: usize = 4096;
    block_on(async {
        for round in 0..100u8 {
            let (sender, receiver) = pipe()?;
            ensure!(timeout(SHORT, receiver.read_owned(vec![0; LEN])).await.is_err(), "read what nobody wrote");
            let others: Vec<Vec<u8>> = (0..4).map(|_| vec![round; LEN]).collect();
            sender.write_all(&[!round; LEN]).await?;
            rt::task::yield_now().await;
            ensure!(others.iter().flatten().all(|byte| *byte == round), "written to in round {round}");
            // What has not begun asks for nothing.
            drop(receiver.read_owned(vec![0; 8]));
        }
        Ok(())
    })
}

/// A coroutine is aborted at any point of its read. The next one that reads there gets what comes then.
fn aborted_reader() -> Outcome {
    block_on(async {
        for round in 0..100u8 {
            let (sender, receiver) = pipe()?;
            let receiver = Arc::new(receiver);
            let reads = receiver.clone();
            let reader = spawn(async move { reads.read_owned(vec![0; 8]).await.0 });
            for _ in 0..round % 4 {
                rt::task::yield_now().await;
            }
            reader.task().abort();
            // It had not to wait, if it comes back at all.
            ensure!(reader.await.is_err(), "read what nobody wrote");
            sender.write_all(&[round]).await?;
            drop(sender);
            let (read, buf) = receiver.read_owned(vec![0; 8]).await;
            // Or the read that was cancelled had it already.
            ensure!(read? == 0 || buf == [round], "{buf:?} in round {round}");
        }
        Ok(())
    })
}

fn first_of_two() -> Outcome {
    block_on(async {
        for round in 0..50u8 {
            // Anew: what the read that is dropped gets before it is cancelled is lost.
            let ((one, from_one), (two, from_two)) = (pipe()?, pipe()?);
            let writer = if round % 2 == 0 { &one } else { &two };
            let select = async {
                select! {
                    (read, buf) = from_one.read_owned(vec![0; 1]) => (0, read, buf),
                    (read, buf) = from_two.read_owned(vec![0; 1]) => (1, read, buf),
                }
            };
            let write = async {
                rt::task::yield_now().await;
                writer.write_all(&[round]).await
            };
            let ((which, read, buf), written) = rt::join(select, write).await;
            written?;
            equal!((which, read?, buf), (round % 2, 1, vec![round]));
        }
        Ok(())
    })
}

/// A pipe that is full makes the writer wait, one that is empty the reader; every byte arrives once.
fn both_ends_wait() -> Outcome {
    const TOTAL: usize = 1_000_000;
    let byte = |at: usize| (at % 251) as u8;
    block_on(async {
        let (sender, receiver) = pipe()?;
        let writer = spawn(async move { sender.write_all_owned((0..TOTAL).map(byte).collect::<Vec<u8>>()).await.0 });
        let (mut at, mut buf) = (0, vec![0; 3_000]);
        loop {
            let (read, back) = receiver.read_owned(buf).await;
            if read? == 0 {
                break;
            }
            ensure!(back.iter().enumerate().all(|(n, found)| *found == byte(at + n)), "near {at}");
            at += back.len();
            buf = back;
        }
        equal!(at, TOTAL);
        ensure!(writer.await.is_ok_and(|written| written.is_ok()));
        Ok(())
    })
}

/// Reads that lend their buffer and reads that hand it over take turns, and none sleeps through what the other left.
fn lent_and_handed_over() -> Outcome {
    block_on(async {
        let (near, far) = connection().await?;
        let writer = spawn(async move {
            for burst in 0..200u8 {
                near.write_all(&[burst; 3][..usize::from(burst % 3) + 1]).await?;
                for _ in 0..burst % 5 {
                    rt::task::yield_now().await;
                }
            }
            io::Result::Ok(near)
        });
        for burst in 0..200u8 {
            for number in 0..burst % 3 + 1 {
                let mut byte = [0];
                if (burst + number) % 2 == 0 {
                    far.read_exact(&mut byte).await?;
                } else {
                    let (read, buf) = far.read_exact_owned(vec![0; 1]).await;
                    read?;
                    byte[0] = buf[0];
                }
                equal!(byte, [burst]);
            }
        }
        ensure!(matches!(writer.await, Ok(Ok(_))));
        Ok(())
    })
}

/// Whoever waits for an end that goes away is told, and has the buffer back.
fn other_end_closed() -> Outcome {
    rt::signal::ignore(rt::abi::signal::SIGPIPE)?;
    block_on(async {
        let (sender, receiver) = pipe()?;
        let reader = spawn(async move { receiver.read_owned(vec![7; 9]).await });
        rt::task::yield_now().await;
        drop(sender);
        let Ok((read, buf)) = reader.await else { return Err(Trouble::failed("the reader")) };
        equal!((read?, buf.capacity()), (0, 9));
        let (sender, receiver) = pipe()?;
        let writer = spawn(async move { sender.write_all_owned(vec![0; 200_000]).await });
        let _ = timeout(SHORT, core::future::pending::<()>()).await;
        drop(receiver);
        let Ok((written, buf)) = writer.await else { return Err(Trouble::failed("the writer")) };
        equal!(written, Err(Errno::EPIPE.into()));
        equal!(buf.len(), 200_000);
        Ok(())
    })
}

/// Passes on what it gets, one more each time.
fn stage(from: Receiver, to: Sender) -> JoinHandle<io::Result<()>> {
    spawn(async move {
        let mut buf = vec![0; 1];
        loop {
            let (read, mut back) = from.read_owned(buf).await;
            if read? == 0 {
                return Ok(());
            }
            back[0] = back[0].wrapping_add(1);
            let (written, back) = to.write_all_owned(back).await;
            written?;
            buf = back;
        }
    })
}

/// More requests at a time than the ring has room for.
fn many_at_a_time() -> Outcome {
    const STAGES: usize = 300;
    block_on(async {
        let (first, mut last) = pipe()?;
        let mut stages = Vec::new();
        for _ in 0..STAGES {
            let (next, receiver) = pipe()?;
            stages.push(stage(core::mem::replace(&mut last, receiver), next));
        }
        for lap in 0..5u8 {
            first.write_all(&[lap]).await?;
            let (read, buf) = last.read_exact_owned(vec![0; 1]).await;
            read?;
            equal!(buf, [lap.wrapping_add(STAGES as u8)]);
        }
        drop(first);
        for stage in stages {
            ensure!(matches!(stage.await, Ok(Ok(()))));
        }
        Ok(())
    })
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; 64];
    loop {
        let (read, back) = stream.read_owned(buf).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, back) = stream.write_all_owned(back).await;
        written?;
        buf = back;
    }
}

fn thousand_connections() -> Outcome {
    const CONNECTIONS: u16 = 1000;
    let limit = Rlimit { current: 4096, max: 4096 };
    call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const limit, 0)?;
    block_on(async {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        let addr = listener.local_addr()?;
        let server = spawn(async move {
            let mut echoes = Vec::new();
            for _ in 0..CONNECTIONS {
                let (stream, _) = listener.accept().await?;
                echoes.push(spawn(echo(stream)));
            }
            for echo in echoes {
                echo.await.map_err(|_| io::Error::from(Errno::ECANCELED))??;
            }
            io::Result::Ok(())
        });
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            let stream = TcpStream::connect(addr).await?;
            clients.push(spawn(async move {
                for round in 0..3u16 {
                    let message = format!("{number} {round}").into_bytes();
                    let (written, message) = stream.write_all_owned(message).await;
                    written?;
                    let (read, back) = stream.read_exact_owned(Vec::with_capacity(message.len())).await;
                    read?;
                    if back != message {
                        return Ok(false);
                    }
                }
                io::Result::Ok(true)
            }));
        }
        for client in clients {
            ensure!(matches!(client.await, Ok(Ok(true))));
        }
        ensure!(matches!(server.await, Ok(Ok(()))));
        Ok(())
    })
}

fn files() -> Outcome {
    const DIRECTORY: &str = "/tmp/async-files";
    let [first, second] = ["a", "b"].map(|name| format!("{DIRECTORY}/{name}"));
    block_on(async {
        async_fs::create_dir(DIRECTORY).await?;
        let options = fs::OpenOptions::new().read(true).write(true).create_new(true);
        let file = async_fs::File::open_with(options, &first).await?;
        let (written, text) = file.write_all_at(b"0123456789".to_vec(), 5).await;
        written?;
        equal!(text.len(), 10);
        file.sync_all().await?;
        equal!(file.metadata().await?.size(), 15);
        let (read, buf) = file.read_at(vec![1; 8], 7).await;
        equal!((read?, buf), (8, b"23456789".to_vec()));
        let (read, buf) = file.read_exact_at(vec![1; 4], 13).await;
        equal!(read.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
        equal!(buf, b"89");
        file.set_len(6).await?;
        file.sync_data().await?;
        let (read, buf) = file.read_at(vec![1; 8], 0).await;
        equal!((read?, buf), (6, b"\0\0\0\0\x000".to_vec()));
        equal!(file.read_at(vec![1; 8], 6).await.0?, 0);
        async_fs::rename(&first, &second).await?;
        ensure!(async_fs::File::open(&first).await.is_err());
        async_fs::remove_file(&second).await?;
        async_fs::remove_dir(DIRECTORY).await?;
        ensure!(!fs::exists(DIRECTORY));
        Ok(())
    })
}

/// Coroutines read a file side by side, more of them than there are threads.
fn many_reads_of_a_file() -> Outcome {
    const PATH: &str = "/tmp/async-reads";
    const BLOCK: usize = 4096;
    block_on(async {
        let file = async_fs::File::create(PATH).await?;
        for block in 0..64u8 {
            file.write_all_at(vec![block; BLOCK], u64::from(block) * BLOCK as u64).await.0?;
        }
        file.sync_all().await?;
        let file = Arc::new(async_fs::File::open(PATH).await?);
        let readers: Vec<_> = (0..64u8)
            .map(|first| {
                let file = file.clone();
                spawn(async move {
                    for step in 0..8u8 {
                        let block = first.wrapping_mul(7).wrapping_add(step) % 64;
                        let (read, buf) =
                            file.read_exact_at(vec![!block; BLOCK], u64::from(block) * BLOCK as u64).await;
                        read?;
                        if buf.iter().any(|byte| *byte != block) {
                            return Ok(false);
                        }
                    }
                    io::Result::Ok(true)
                })
            })
            .collect();
        for reader in readers {
            ensure!(matches!(reader.await, Ok(Ok(true))));
        }
        async_fs::remove_file(PATH).await?;
        Ok(())
    })
}

fn wrong_files() -> Outcome {
    block_on(async {
        let failed = |result: io::Result<()>, errno: Errno| result == Err(errno.into());
        ensure!(failed(async_fs::File::open("/tmp/none").await.map(drop), Errno::ENOENT));
        ensure!(failed(async_fs::File::open("/tmp/\0").await.map(drop), Errno::EINVAL));
        ensure!(failed(async_fs::remove_dir("/tmp/none").await, Errno::ENOENT));
        let directory = async_fs::File::open("/").await?;
        ensure!(failed(directory.read_at(vec![0; 8], 0).await.0.map(drop), Errno::EISDIR));
        let file = async_fs::File::open("/bin/suite").await?;
        let (written, buf) = file.write_at(vec![1; 8], 0).await;
        ensure!(failed(written.map(drop), Errno::EBADF));
        equal!(buf, [1; 8]);
        Ok(())
    })
}

/// A coroutine waits for a child while others run; one that gives up has not taken the child's status.
fn children() -> Outcome {
    block_on(async {
        let mut child = Command::new("/bin/cat").stdin(Stdio::Piped).stdout(Stdio::Null).spawn()?;
        let stdin = child.stdin.take();
        ensure!(timeout(SHORT, child.wait_async()).await.is_err(), "it has not ended");
        drop(stdin);
        ensure!(child.wait_async().await?.success());
        ensure!(child.wait_async().await?.success());
        let children: io::Result<Vec<_>> =
            (0..8).map(|_| Command::new("/bin/cat").arg("/none").stderr(Stdio::Null).spawn()).collect();
        let waits = children?.into_iter().map(|mut child| spawn(async move { child.wait_async().await }));
        for wait in waits.collect::<Vec<_>>() {
            ensure!(matches!(wait.await, Ok(Ok(status)) if !status.success()));
        }
        Ok(())
    })
}

/// Datagrams between two sockets: each arrives whole, from whom it is; a wait for one that nobody sends ends when it is dropped.
fn datagrams() -> Outcome {
    block_on(async {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (near, far) = (UdpSocket::bind(local)?, UdpSocket::bind(local)?);
        let (to_near, to_far) = (near.local_addr()?, far.local_addr()?);
        let echo = spawn(async move {
            for _ in 0..50 {
                let (received, bytes) = far.recv_from(vec![0; 100]).await;
                let (_, from) = received?;
                far.send_to(bytes, from).await.0?;
            }
            io::Result::Ok(far)
        });
        for round in 0..50u8 {
            let message = vec![round; usize::from(round)];
            equal!(near.send_to(message.clone(), to_far).await.0?, message.len());
            let (received, bytes) = near.recv_from(vec![1; 100]).await;
            equal!((received?, bytes), ((message.len(), to_far), message));
        }
        let Ok(Ok(far)) = echo.await else { return Err(Trouble::failed("the other socket")) };
        ensure!(timeout(SHORT, near.recv_from(vec![0; 8])).await.is_err(), "received what nobody sent");
        // What there is no room for is lost.
        let near = UdpSocket::bind(local)?;
        far.send_to(vec![7; 50], near.local_addr()?).await.0?;
        let (received, bytes) = near.recv_from(vec![0; 8]).await;
        equal!((received?.0, bytes), (8, vec![7; 8]));
        let (sent, message) = far.send_to(vec![7; 70_000], to_near).await;
        equal!(sent, Err(Errno::EMSGSIZE.into()));
        equal!(message.len(), 70_000);
        Ok(())
    })
}

/// A process whose streams are pipes copies one to the other, as `cat` does, while another coroutine runs.
fn standard_streams() -> Outcome {
    let ((input, mut to_input), (mut from_output, output)) = (rt::pipe::pipe()?, rt::pipe::pipe()?);
    let child = child(|| {
        // Else there would never be an end.
        let _ = call!(CLOSE, to_input.fd().raw());
        for (file, number) in [(&input, 0), (&output, 1)] {
            if call!(DUP3, file.fd().raw(), number, 0).is_err() {
                return 1;
            }
        }
        let copied = block_on(async {
            let mut buf = vec![0; 16];
            loop {
                let (read, back) = async_stdio::read(buf).await;
                if read? == 0 {
                    return io::Result::Ok(());
                }
                let (written, back) = async_stdio::write_all(back).await;
                written?;
                buf = back;
            }
        });
        i32::from(copied.is_err())
    })?;
    for round in 0..20u8 {
        to_input.write_all(&[round; 40])?;
        let mut back = [0; 40];
        from_output.read_exact(&mut back)?;
        equal!(back, [round; 40]);
    }
    drop((input, output, to_input));
    exits(child, 0)
}
