//! The traits of `embedded-io-async` and `futures`, as libraries use them that know nothing of this system.

use crate::case::{Case, Outcome, Trouble};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::pin::pin;
use rt::async_fs::{self, File};
use rt::async_io::{BufReader, Cursor};
use rt::async_net::{TcpListener, TcpStream};
use rt::async_pipe::{Receiver, Sender, pipe};
use rt::async_unix::{SocketAddr, UnixListener, UnixStream};
use rt::embedded_io_async::{BufRead, Read, Seek, SeekFrom, Write};
use rt::fs::OpenOptions;
use rt::futures_util::{SinkExt, Stream, StreamExt, stream};
use rt::io;
use rt::process::{Command, Stdio};
use rt::task::sync::{broadcast, mpsc, watch};
use rt::task::{JoinSet, block_on, spawn, yield_now};
use rt::time::{Duration, Instant, interval, timeout};

pub const CASES: &[Case] = &[
    case!("async/readers-and-writers", "C5 R2", readers_and_writers),
    case!("async/file-with-a-position", "C5 R2", file_with_a_position),
    case!("async/lines", "C5 R2 D14", lines),
    case!("async/streams-of-child", "C5 R2", streams_of_child),
    case!("async/incoming", "C5 R2 D14", incoming),
    case!("async/streams-and-sinks", "C5 R2", streams_and_sinks),
];

const SHORT: Duration = Duration::from_millis(1);

/// What a library does that knows the traits alone: sends, and takes as much back.
async fn exchange<R: Read, W: Write<Error = R::Error>>(mut from: R, mut to: W) -> Result<Vec<u8>, R::Error> {
    to.write_all(b"some bytes").await?;
    to.flush().await?;
    let mut back = vec![0; 10];
    let mut filled = 0;
    while filled < back.len() {
        match from.read(&mut back[filled..]).await? {
            0 => break,
            count => filled += count,
        }
    }
    back.truncate(filled);
    Ok(back)
}

fn readers_and_writers() -> Outcome {
    block_on(async {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let (far, _) = listener.accept().await?;
        let (here, there) = UnixStream::pair()?;
        let (sender, receiver) = pipe()?;
        // One end of each copies what comes to the other.
        let echo = spawn(async move {
            let mut bytes = [0; 10];
            far.read_exact(&mut bytes).await?;
            far.write_all(&bytes).await?;
            there.read_exact(&mut bytes).await?;
            there.write_all(&bytes).await
        });
        equal!(exchange(&near, &near).await?, b"some bytes");
        equal!(exchange(&here, &here).await?, b"some bytes");
        equal!(exchange(receiver, sender).await?, b"some bytes");
        ensure!(matches!(echo.await, Ok(Ok(()))));
        Ok(())
    })
}

/// A file is written and read piece by piece, also where another piece of it is not in memory.
fn file_with_a_position() -> Outcome {
    const PATH: &str = "/tmp/with-a-position";
    block_on(async {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true);
        let mut file = Cursor::new(File::open_with(options, PATH).await?);
        let all: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
        file.write_all(&all).await?;
        equal!(file.seek(SeekFrom::Current(0)).await?, 300_000);
        equal!(file.read(&mut [0; 8]).await?, 0);
        equal!(file.seek(SeekFrom::End(-10)).await?, 299_990);
        let mut some = [0; 20];
        equal!(file.read(&mut some).await?, 10);
        equal!(some[..10], all[299_990..]);
        equal!(file.seek(SeekFrom::Start(0)).await?, 0);
        let mut back = vec![0; all.len()];
        ensure!(file.read_exact(&mut back).await.is_ok());
        ensure!(back == all, "other bytes than were written");
        for wrong in [SeekFrom::Current(-300_001), SeekFrom::End(i64::MIN), SeekFrom::Start(u64::MAX)] {
            ensure!(file.seek(wrong).await.is_err(), "went before the beginning, or beyond all ends");
        }
        equal!(file.seek(SeekFrom::Current(0)).await?, 300_000);
        file.seek(SeekFrom::Start(400_000)).await?;
        file.write_all(b"end").await?;
        equal!(file.into_inner().metadata().await?.size(), 400_003);
        Ok(async_fs::remove_file(PATH).await?)
    })
}

/// Lines out of pieces that end anywhere; who gives up waiting for the rest of one still gets the whole.
fn lines() -> Outcome {
    const LINES: usize = 200;
    let text = |number: usize| "z".repeat(number * 37 % 500) + &format!("{number}");
    block_on(async {
        let (sender, receiver) = pipe()?;
        let writer = spawn(async move {
            let all: String = (0..LINES).map(|number| text(number) + "\n").collect();
            let all = all + "no newline";
            for piece in all.as_bytes().chunks(777) {
                sender.write_all(piece).await?;
                yield_now().await;
            }
            io::Result::Ok(())
        });
        let mut lines = pin!(BufReader::new(receiver).lines());
        for number in 0..LINES {
            let line = loop {
                if let Ok(line) = timeout(Duration::from_micros(200), lines.next()).await {
                    break line;
                }
            };
            equal!(line.transpose()?.as_deref(), Some(&*text(number)));
        }
        equal!(lines.next().await.transpose()?.as_deref(), Some("no newline"));
        ensure!(lines.next().await.is_none());
        ensure!(matches!(writer.await, Ok(Ok(()))));
        // Bytes that are no text; and what is in the buffer can be looked at.
        let (sender, receiver) = pipe()?;
        sender.write_all(b"ab\xff\ncd").await?;
        drop(sender);
        let mut reader = BufReader::new(receiver);
        equal!(reader.fill_buf().await?.first(), Some(&b'a'));
        equal!(reader.next_line().await.map_err(|error| error.kind()).err(), Some(io::ErrorKind::InvalidData));
        let mut two = [0; 2];
        ensure!(reader.read_exact(&mut two).await.is_ok() && two == *b"cd");
        ensure!(reader.fill_buf().await?.is_empty());
        Ok(())
    })
}

/// A child's streams, in coroutines.
fn streams_of_child() -> Outcome {
    block_on(async {
        let mut child = Command::new("cat").stdin(Stdio::Piped).stdout(Stdio::Piped).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Trouble::failed("the pipes"));
        };
        let (to_child, from_child) = (Sender::from_file(stdin)?, Receiver::from_file(stdout)?);
        let writer = spawn(async move {
            for number in 0..500u32 {
                to_child.write_all(format!("line {number}\n").as_bytes()).await?;
            }
            io::Result::Ok(())
        });
        let mut lines = pin!(BufReader::new(from_child).lines());
        let mut count = 0;
        while let Some(line) = lines.next().await {
            equal!(line?, format!("line {count}"));
            count += 1;
        }
        equal!(count, 500);
        ensure!(matches!(writer.await, Ok(Ok(()))));
        ensure!(child.wait_async().await?.success());
        Ok(())
    })
}

/// Connections as a stream. Who gives up waiting for one loses none: the wait stays with the stream.
fn incoming() -> Outcome {
    const COUNT: u8 = 40;
    block_on(async {
        let addr = SocketAddr::new(format!("\0suite-{}", rt::process::id()))?;
        let listener = UnixListener::bind(&addr)?;
        let mut incoming = pin!(listener.incoming());
        ensure!(timeout(SHORT, incoming.next()).await.is_err(), "nobody has connected");
        let connectors = spawn(async move {
            let mut all = Vec::new();
            for number in 0..COUNT {
                let stream = UnixStream::connect(&addr).await?;
                stream.write_all(&[number]).await?;
                all.push(stream);
                if number % 8 == 0 {
                    rt::time::sleep(SHORT).await;
                }
            }
            io::Result::Ok(all)
        });
        for number in 0..COUNT {
            let stream = loop {
                if let Ok(Some(stream)) = timeout(Duration::from_micros(100), incoming.next()).await {
                    break stream?;
                }
            };
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            equal!(byte, [number]);
        }
        ensure!(matches!(connectors.await, Ok(Ok(_))));
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        let _near = TcpStream::connect(listener.local_addr()?).await?;
        ensure!(matches!(pin!(listener.incoming()).next().await, Some(Ok(_))));
        Ok(())
    })
}

/// The sum of what a stream has.
async fn sum(stream: impl Stream<Item = u64>) -> u64 {
    stream.fold(0, async |sum, number| sum + number).await
}

fn streams_and_sinks() -> Outcome {
    block_on(async {
        // A channel with less room than what goes through it.
        let (sender, receiver) = mpsc::channel(2);
        let feeder = spawn(async move {
            let mut sink = pin!(mpsc::sink(sender));
            let mut numbers = stream::iter((1..=100).map(Ok));
            sink.send_all(&mut numbers).await
        });
        equal!(sum(receiver).await, 5050);
        ensure!(matches!(feeder.await, Ok(Ok(()))));
        // One that nobody reads.
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        ensure!(pin!(mpsc::sink(sender)).send(1).await.is_err());
        let (sender, receiver) = broadcast::channel(4);
        let late = broadcast::stream(receiver);
        for number in 1..=6u64 {
            ensure!(sender.send(number).is_ok());
        }
        drop(sender);
        let (missed, got): (Vec<_>, Vec<_>) = late.collect::<Vec<_>>().await.into_iter().partition(Result::is_err);
        equal!((missed, got), (vec![Err(2)], vec![Ok(3), Ok(4), Ok(5), Ok(6)]));
        let (sender, receiver) = watch::channel(1u64);
        let mut values = pin!(watch::stream(receiver));
        equal!(values.next().await, Some(1));
        ensure!(sender.send(2).is_ok() && sender.send(3).is_ok());
        equal!(values.next().await, Some(3));
        drop(sender);
        equal!(values.next().await, None);
        let before = Instant::now();
        let ticks: Vec<_> = interval(SHORT).take(5).collect().await;
        ensure!(ticks.windows(2).all(|pair| pair[1].saturating_duration_since(pair[0]) == SHORT));
        ensure!(before.elapsed() >= 4 * SHORT, "the moments came too early");
        let mut tasks = JoinSet::new();
        (1..=10).for_each(|number| tasks.spawn(async move { number }));
        equal!(sum(tasks.filter_map(async |number| number.ok())).await, 55);
        Ok(())
    })
}
