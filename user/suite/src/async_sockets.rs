//! Coroutines that accept and connect, and local sockets.

use crate::case::{Case, Outcome, Trouble};
use crate::place::Place;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::future::Future;
use core::pin::pin;
use rt::abi::Errno;
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::async_net::{TcpListener, TcpStream};
use rt::async_unix::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use rt::io;
use rt::net::Shutdown;
use rt::sync::Arc;
use rt::task::{block_on, spawn, yield_now};
use rt::time::{Duration, timeout};

pub const CASES: &[Case] = &[
    case!("async/accepts-before-and-after", "C5 R2", before_and_after),
    case!("async/dropped-accept", "C5 R2 D14", dropped_accept),
    case!("async/accept-against-its-end", "C5 R2 D14", accept_against_its_end),
    case!("async/many-accept", "C5 R2", many_accept),
    case!("async/accept-without-a-number", "C5 R2 E1", without_a_number),
    case!("async/dropped-connect", "C5 R2 D14", dropped_connect),
    case!("async/connect-waits-for-a-place", "C5 R2 D14", waits_for_a_place),
    case!("async/refused", "C5 E1", refused),
    case!("async/local-streams", "C5 R2", local_streams),
    case!("async/local-datagrams", "C5 R2 D14", local_datagrams),
    case!("async/named-local-datagrams", "C5 R2 D14", named_local_datagrams),
    case!("async/descriptors-over-local-sockets", "C5 R2 D14", descriptors),
];

const SHORT: Duration = Duration::from_millis(1);
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(30);
const LOCAL: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A name of this case's own.
fn name(of: &str) -> io::Result<SocketAddr> {
    SocketAddr::new(format!("\0suite-{}-{of}", rt::process::id()))
}

/// Sends a byte from one end to the other.
async fn passes(near: &TcpStream, far: &TcpStream, byte: u8) -> Outcome {
    near.write_all(&[byte]).await?;
    let mut back = [0];
    far.read_exact(&mut back).await?;
    equal!(back, [byte]);
    Ok(())
}

/// Whoever comes first, the one that accepts or the one that connects: they find each other, and know each other's address.
fn before_and_after() -> Outcome {
    block_on(async {
        let listener = Arc::new(TcpListener::bind(LOCAL.into())?);
        let addr = listener.local_addr()?;
        for round in 0..50u8 {
            let accepts = listener.clone();
            let first = spawn(async move { accepts.accept().await });
            for _ in 0..round % 3 {
                yield_now().await;
            }
            let near = TcpStream::connect(addr).await?;
            let Ok(accepted) = first.await else { return Err(Trouble::failed("the one that accepts")) };
            let (far, peer) = accepted?;
            equal!(near.peer_addr()?, addr);
            equal!(far.peer_addr()?, peer);
            passes(&near, &far, round).await?;
            passes(&far, &near, !round).await?;
            let near = TcpStream::connect(addr).await?;
            let (far, _) = listener.accept().await?;
            passes(&near, &far, round).await?;
        }
        Ok(())
    })
}

/// What becomes of a connection when somebody who would have accepted it has gone: the next one has it, or its end comes.
async fn has_a_fate(listener: &TcpListener, near: &TcpStream) -> Outcome {
    let mut byte = [0];
    let ends = async { near.read(&mut byte).await };
    let accepts = async { listener.accept().await };
    rt::pin_mut!(ends, accepts);
    match timeout(LONG, rt::select(ends, accepts)).await? {
        // `ECONNRESET`: it was closed with what was sent to it.
        rt::Either::Left((ended, _)) => ensure!(!matches!(ended, Ok(1..)), "read what nobody wrote"),
        rt::Either::Right((accepted, _)) => {
            let (far, _) = accepted?;
            // Whoever it is: this case has no others.
            passes(near, &far, 7).await?;
        }
    }
    Ok(())
}

/// Who stops waiting for a connection takes none from those who come later.
fn dropped_accept() -> Outcome {
    block_on(async {
        for round in 0..60 {
            let listener = TcpListener::bind(LOCAL.into())?;
            let addr = listener.local_addr()?;
            ensure!(timeout(SHORT, listener.accept()).await.is_err(), "nobody has connected");
            // What was never polled is nothing.
            drop(listener.accept());
            for _ in 0..round % 4 {
                yield_now().await;
            }
            let near = TcpStream::connect(addr).await?;
            has_a_fate(&listener, &near).await?;
        }
        Ok(())
    })
}

/// It is aborted while the connection comes. No descriptor is left behind: the runner looks.
fn accept_against_its_end() -> Outcome {
    block_on(async {
        for round in 0..100 {
            let listener = Arc::new(TcpListener::bind(LOCAL.into())?);
            let addr = listener.local_addr()?;
            let accepts = listener.clone();
            let acceptor = spawn(async move { accepts.accept().await });
            for _ in 0..round % 3 {
                yield_now().await;
            }
            let connector = spawn(TcpStream::connect(addr));
            for _ in 0..round % 5 {
                yield_now().await;
            }
            acceptor.task().abort();
            let Ok(near) = connector.await else { return Err(Trouble::failed("the one that connects")) };
            let near = near?;
            match acceptor.await {
                Ok(accepted) => passes(&near, &accepted?.0, round as u8).await?,
                Err(_) => has_a_fate(&listener, &near).await?,
            }
        }
        Ok(())
    })
}

/// Many accept from one listener: each connection has one of them.
fn many_accept() -> Outcome {
    const ACCEPTORS: usize = 16;
    const CONNECTIONS: u8 = 80;
    block_on(async {
        let listener = Arc::new(TcpListener::bind(LOCAL.into())?);
        let addr = listener.local_addr()?;
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let listener = listener.clone();
                spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await?;
                        let mut byte = [0];
                        stream.read_exact(&mut byte).await?;
                        stream.write_all(&[!byte[0]]).await?;
                    }
                    #[expect(unreachable_code, reason = "names the type")]
                    io::Result::Ok(())
                })
            })
            .collect();
        let connectors: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                spawn(async move {
                    let stream = TcpStream::connect(addr).await?;
                    stream.write_all(&[number]).await?;
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await?;
                    io::Result::Ok(byte[0] == !number)
                })
            })
            .collect();
        for connector in connectors {
            ensure!(matches!(connector.await, Ok(Ok(true))), "a connection has no answer, or another's");
        }
        for acceptor in acceptors {
            acceptor.task().abort();
            ensure!(acceptor.await.is_err(), "there was no more to accept");
        }
        Ok(())
    })
}

/// Without a number for it a connection stays where it is.
fn without_a_number() -> Outcome {
    block_on(async {
        let listener = TcpListener::bind(LOCAL.into())?;
        // There is a ring from here on.
        ensure!(timeout(SHORT, listener.accept()).await.is_err());
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let mut before = Rlimit { current: 0, max: 0 };
        call!(PRLIMIT64, 0, RLIMIT_NOFILE, 0, &raw mut before)?;
        let none = Rlimit { current: 3, max: before.max };
        call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const none, 0)?;
        let accepted = listener.accept().await;
        call!(PRLIMIT64, 0, RLIMIT_NOFILE, &raw const before, 0)?;
        ensure!(matches!(accepted, Err(error) if error == Errno::EMFILE.into()), "accepted without a number");
        has_a_fate(&listener, &near).await
    })
}

/// Who connects is aborted at any point. Those who come later do not suffer.
fn dropped_connect() -> Outcome {
    block_on(async {
        let listener = TcpListener::bind(LOCAL.into())?;
        let addr = listener.local_addr()?;
        for round in 0..100 {
            let connector = spawn(TcpStream::connect(addr));
            for _ in 0..round % 4 {
                yield_now().await;
            }
            connector.task().abort();
            let early = connector.await.ok().transpose()?;
            let near = TcpStream::connect(addr).await?;
            near.write_all(&[round]).await?;
            drop(early);
            // What the first left behind ends without a byte.
            let mut byte = [0];
            loop {
                let (far, _) = timeout(LONG, listener.accept()).await??;
                if matches!(timeout(LONG, far.read(&mut byte)).await?, Ok(1)) {
                    break;
                }
            }
            equal!(byte, [round]);
        }
        Ok(())
    })
}

/// Where as many wait to be accepted as may, who connects waits; who gives up leaves at most a connection that has ended, and the next one has its place.
fn waits_for_a_place() -> Outcome {
    block_on(async {
        let addr = name("places")?;
        let listener = UnixListener::bind(&addr)?;
        let mut waiting = Vec::new();
        while let Ok(connected) = timeout(SHORT, UnixStream::connect(&addr)).await {
            let stream = connected?;
            stream.write_all(b"a").await?;
            waiting.push(stream);
            ensure!(waiting.len() < 1000, "there is no bound");
        }
        for _ in 0..10 {
            ensure!(timeout(SHORT, UnixStream::connect(&addr)).await.is_err(), "there was a place");
        }
        let last = spawn(async move {
            let stream = UnixStream::connect(&addr).await?;
            stream.write_all(b"z").await?;
            io::Result::Ok(stream)
        });
        yield_now().await;
        let (mut early, mut late) = (0, 0);
        while early < waiting.len() || late == 0 {
            let (stream, _) = timeout(LONG, listener.accept()).await??;
            let mut byte = [0];
            let read = timeout(LONG, stream.read(&mut byte)).await??;
            early += usize::from(read == 1 && byte == *b"a");
            late += usize::from(read == 1 && byte == *b"z");
        }
        equal!((early, late), (waiting.len(), 1));
        ensure!(matches!(last.await, Ok(Ok(_))));
        Ok(())
    })
}

fn refused() -> Outcome {
    block_on(async {
        let gone = TcpListener::bind(LOCAL.into())?.local_addr()?;
        let refused = io::Error::from(Errno::ECONNREFUSED);
        for _ in 0..20 {
            equal!(TcpStream::connect(gone).await.err(), Some(refused));
            equal!(UnixStream::connect(&name("nobody")?).await.err(), Some(refused));
        }
        let _there = UnixListener::bind(&name("there")?)?;
        equal!(UnixListener::bind(&name("there")?).err(), Some(Errno::EADDRINUSE.into()));
        ensure!(SocketAddr::new("").is_err() && SocketAddr::new([b'x'; 109]).is_err());
        Ok(())
    })
}

/// Streams between local sockets, by name and by pair.
fn local_streams() -> Outcome {
    block_on(async {
        let addr = SocketAddr::new(format!("/tmp/suite-{}", rt::process::id()))?;
        let listener = UnixListener::bind(&addr)?;
        equal!(listener.local_addr()?, addr);
        for round in 0..40u8 {
            let to = addr.clone();
            let connector = spawn(async move { UnixStream::connect(&to).await });
            let (far, peer) = listener.accept().await?;
            ensure!(peer.is_unnamed() && peer.as_pathname().is_none());
            let Ok(near) = connector.await else { return Err(Trouble::failed("the one that connects")) };
            let near = near?;
            equal!(near.peer_addr()?.as_pathname(), addr.as_pathname());
            both_ways(near, far, round).await?;
            let (near, far) = UnixStream::pair()?;
            ensure!(timeout(SHORT, near.read(&mut [0])).await.is_err(), "read what nobody wrote");
            both_ways(near, far, round).await?;
        }
        Ok(())
    })
}

/// More than there is room for goes one way, to the end, and an answer the other.
async fn both_ways(near: UnixStream, far: UnixStream, byte: u8) -> Outcome {
    const LEN: usize = 300_000;
    let writer = spawn(async move {
        near.write_all_owned(vec![byte; LEN]).await.0?;
        near.shutdown(Shutdown::Write)?;
        let (read, answer) = near.read_exact_owned(vec![0; 5]).await;
        read.map(|()| answer)
    });
    let (mut count, mut buf) = (0, Vec::with_capacity(10_000));
    loop {
        let (read, back) = far.read_owned(buf).await;
        buf = back;
        if read? == 0 {
            break;
        }
        count += buf.len();
        ensure!(buf.iter().all(|read| *read == byte));
    }
    equal!(count, LEN);
    far.write_all(b"taken").await?;
    ensure!(matches!(writer.await, Ok(Ok(answer)) if answer == b"taken"));
    Ok(())
}

/// Datagrams between two local sockets: each arrives whole and in order, who sends too many waits, and a wait that is given up leaves the next alone.
fn local_datagrams() -> Outcome {
    const COUNT: usize = 500;
    block_on(async {
        let (near, far) = UnixDatagram::pair()?;
        ensure!(timeout(SHORT, near.recv(vec![0; 8])).await.is_err(), "received what nobody sent");
        drop(near);
        // As soon as the one that was given up has ended.
        let sends = async { while far.send(vec![1]).await.0.is_ok() {} };
        ensure!(timeout(LONG, sends).await.is_ok(), "sent to nobody");
        let (near, far) = UnixDatagram::pair()?;
        let sender = spawn(async move {
            for number in 0..COUNT {
                let (sent, _) = near.send(vec![number as u8; number % 700 + 1]).await;
                if sent? != number % 700 + 1 {
                    return Ok(None);
                }
            }
            io::Result::Ok(Some(near))
        });
        let mut buf = Vec::with_capacity(1000);
        for number in 0..COUNT {
            let (received, bytes) = far.recv(buf).await;
            equal!(received?, number % 700 + 1);
            ensure!(bytes.iter().all(|byte| *byte == number as u8), "datagram {number} has other bytes");
            buf = bytes;
        }
        let Ok(Ok(Some(near))) = sender.await else { return Err(Trouble::failed("the other socket")) };
        // What there is no room for is lost.
        near.send(vec![7; 50]).await.0?;
        let (received, bytes) = far.recv(vec![0; 8]).await;
        equal!((received?, bytes), (8, vec![7; 8]));
        Ok(())
    })
}

/// From whom comes what `send` sends, to who has waited for it in the ring before that.
async fn waited_for(
    socket: &UnixDatagram,
    send: impl Future<Output = (io::Result<usize>, Vec<u8>)>,
) -> io::Result<SocketAddr> {
    let mut received = pin!(socket.recv_from(vec![0; 8]));
    if timeout(SHORT, received.as_mut()).await.is_ok() {
        return Err(Errno::EEXIST.into());
    }
    send.await.0?;
    Ok(received.await.0?.1)
}

/// Local sockets with names: each hears who has sent, replies, and is refused by a name that nobody has; a full one has its sender wait.
fn named_local_datagrams() -> Outcome {
    block_on(async {
        let place = Place::memory()?;
        let path = SocketAddr::new(place.join("service"))?;
        let service = UnixDatagram::bind(&path)?;
        equal!(UnixDatagram::bind(&path).err(), Some(Errno::EADDRINUSE.into()));
        equal!(service.local_addr()?, path);
        let name = name("client")?;
        let client = UnixDatagram::bind(&name)?;
        let nobody = UnixDatagram::unbound()?;
        ensure!(nobody.local_addr()?.is_unnamed() && nobody.peer_addr().is_err());
        nobody.connect(&path)?;
        // A wait does not change who has sent.
        equal!(waited_for(&service, client.send_to(vec![1], &path)).await?, name);
        ensure!(waited_for(&service, nobody.send(vec![2])).await?.is_unnamed());
        let waiter = spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..2 {
                let (received, bytes) = service.recv_from(vec![0; 8]).await;
                let (len, from) = received?;
                seen.push((bytes[..len].to_vec(), from));
            }
            io::Result::Ok((seen, service))
        });
        yield_now().await;
        equal!(client.send_to(vec![1, 2], &path).await.0?, 2);
        equal!(nobody.send(vec![3]).await.0?, 1);
        let Ok(Ok((seen, service))) = waiter.await else { return Err(Trouble::failed("nothing came")) };
        equal!((&*seen[0].0, &seen[0].1), (&[1, 2][..], &name));
        equal!((&*seen[1].0, seen[1].1.is_unnamed()), (&[3][..], true));
        service.send_to(vec![4], &seen[0].1).await.0?;
        let (received, bytes) = client.recv_from(vec![0; 8]).await;
        equal!((received?, bytes), ((1, path.clone()), vec![4]));
        // Who sends more than there is room for waits, until somebody takes some.
        let mut sent = 0u32;
        while timeout(SHORT, client.send_to(vec![5; 8], &path)).await.is_ok_and(|(sent, _)| sent.is_ok()) {
            sent += 1;
            ensure!(sent < 1 << 20, "room for everything");
        }
        let late = spawn(async move { client.send_to(vec![6], &path).await.0 });
        while service.recv(vec![0; 8]).await.1 != [6] {}
        ensure!(matches!(late.await, Ok(Ok(1))));
        drop(service);
        equal!(nobody.send(vec![7]).await.0.err(), Some(Errno::ECONNREFUSED.into()));
        Ok(())
    })
}

/// An end of a pipe comes over a stream and over datagrams: at once, to who waits for it, and to who waits no more.
fn descriptors() -> Outcome {
    block_on(async {
        let (near, far) = UnixStream::pair()?;
        let (mut read, write) = rt::pipe::pipe()?;
        equal!(near.send_fds(vec![1, 2, 3], vec![write.fd().try_clone()?]).await.0?, 3);
        let (received, bytes) = far.recv_fds(vec![0; 8], 4).await;
        let (len, fds) = received?;
        equal!((len, fds.len(), bytes), (3, 1, vec![1, 2, 3]));
        drop(fds);
        // More than asked for: they are closed.
        let three = vec![write.fd().try_clone()?, write.fd().try_clone()?, write.fd().try_clone()?];
        equal!(near.send_fds(vec![4], three).await.0?, 1);
        equal!(far.recv_fds(vec![0; 8], 1).await.0?.1.len(), 1);
        let (waits, sender) = UnixDatagram::pair()?;
        let waiter = spawn(async move {
            let (received, bytes) = waits.recv_fds(vec![0; 8], 4).await;
            received.map(|(_, fds)| (fds, bytes.len(), waits))
        });
        yield_now().await;
        equal!(sender.send_fds(vec![5; 5], vec![write.fd().try_clone()?]).await.0?, 5);
        drop(write);
        let Ok(Ok((mut fds, 5, waits))) = waiter.await else { return Err(Trouble::failed("nothing came")) };
        let mut last = rt::fs::File::from(fds.remove(0));
        io::Write::write_all(&mut last, b"both")?;
        equal!(io::Read::read(&mut read, &mut [0; 8])?, 4);
        // Who gave up waiting takes one at most, and closes what came with it.
        ensure!(timeout(SHORT, waits.recv_fds(vec![0; 8], 4)).await.is_err(), "received what nobody sent");
        for _ in 0..2 {
            sender.send_fds(vec![6], vec![last.fd().try_clone()?]).await.0?;
        }
        equal!(waits.recv_fds(vec![0; 8], 4).await.0?.1.len(), 1);
        drop((sender, waits, fds, last));
        read.fd().set_nonblocking(true)?;
        let ends = async {
            while io::Read::read(&mut read, &mut [0; 8]).is_err() {
                yield_now().await;
            }
        };
        ensure!(timeout(LONG, ends).await.is_ok(), "somebody still has an end");
        Ok(())
    })
}
