//! One connection: requests in the order they come, each answered before the next is looked at (so pipelining needs
//! nothing special), until the client closes, asks to, errs, or is silent for too long.

use crate::answer;
use alloc::vec::Vec;
use http::request::{self, MAX_HEAD, Request};
use rt::async_net::TcpStream;
use rt::io::{self, ErrorKind};
use rt::net::Shutdown;
use rt::time::{Duration, timeout};

/// Longest silence between requests, and longest time for a request's head to arrive.
const IDLE: Duration = Duration::from_secs(15);
/// Longest time for one piece of an answer to be taken.
const STALL: Duration = Duration::from_secs(60);
/// Bytes read from a file and sent at a time. Each answer under way has such a buffer, and a process keeps the
/// memory of the most that ever were: small enough for many, large enough that calls cost little.
pub const PIECE: usize = 16 * 1024;
/// How much of what a client goes on sending after an error is read, so that it gets to see the answer.
const DRAIN: usize = 256 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Serves a connection to its end; `full` means that there are too many.
pub async fn serve(stream: TcpStream, root: &str, full: bool) {
    // Without it small answers may wait for an acknowledgement; the connection works either way.
    let _ = stream.set_nodelay(true);
    // A connection that breaks has nobody left to tell.
    let _ = if full { refuse(&stream, 503).await } else { requests(&stream, root).await };
}

async fn requests(stream: &TcpStream, root: &str) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        match next(stream, &mut received).await {
            Ok(Some(request)) => {
                answer::answer(stream, root, &request).await?;
                if !request.keep_alive {
                    return close(stream).await;
                }
            }
            Ok(None) => return Ok(()),
            Err(Failure::Status(status)) => return refuse(stream, status).await,
            Err(Failure::Broken(error)) => return Err(error),
        }
    }
}

enum Failure {
    Status(u16),
    Broken(io::Error),
}

/// The next request; `None` when the client has closed between requests or was idle.
async fn next(stream: &TcpStream, received: &mut Vec<u8>) -> Result<Option<Request>, Failure> {
    let deadline = rt::time::Instant::now() + IDLE;
    let mut chunk = [0u8; 2048];
    loop {
        match request::parse(received) {
            Ok(Some((request, used))) => {
                received.drain(..used);
                return Ok(Some(request));
            }
            Ok(None) => {}
            Err(bad) => return Err(Failure::Status(bad.status())),
        }
        let room = chunk.len().min(MAX_HEAD.saturating_sub(received.len()).max(1));
        let left = deadline.saturating_duration_since(rt::time::Instant::now());
        match timeout(left, stream.read(&mut chunk[..room])).await {
            Err(_) if received.is_empty() => return Ok(None),
            Err(_) => return Err(Failure::Status(408)),
            Ok(Ok(0)) if received.is_empty() => return Ok(None),
            Ok(Ok(0)) => return Err(Failure::Status(400)),
            Ok(Ok(n)) => received.extend_from_slice(&chunk[..n]),
            Ok(Err(error)) => return Err(Failure::Broken(error)),
        }
    }
}

async fn refuse(stream: &TcpStream, status: u16) -> io::Result<()> {
    answer::error(stream, status, false, true).await?;
    close(stream).await
}

/// Closes so that the client can read everything: sending ends first, then what still comes is thrown away.
async fn close(stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let drain = async {
        let (mut chunk, mut total) = ([0u8; 2048], 0);
        while total < DRAIN {
            match stream.read(&mut chunk).await? {
                0 => break,
                n => total += n,
            }
        }
        Ok(())
    };
    timeout(DRAIN_TIME, drain).await.unwrap_or(Ok(()))
}

/// Sends `bytes`, unless the client is too slow: each piece has its time, however often a little of it is taken.
pub async fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(PIECE) {
        timeout(STALL, send_piece(stream, piece)).await??;
    }
    Ok(())
}

async fn send_piece(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes).await? {
            0 => return Err(io::Error::new(ErrorKind::WriteZero, "the client takes nothing")),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}
