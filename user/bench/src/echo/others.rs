//! The echo's servers of the older models: a loop around `poll`, and one that is driven by signals (`O_ASYNC`). Neither waits in a read.

use super::{ROOM, ready};
use crate::measure::{Outcome, call};
use alloc::vec::Vec;
use rt::abi::fs::{F_SETFL, F_SETOWN, F_SETSIG, O_ASYNC, O_NONBLOCK};
use rt::abi::nr;
use rt::abi::poll::{POLLIN, PollFd};
use rt::abi::signal::{POLL_OUT, SIG_BLOCK, SIGIO, SIGRTMIN, Siginfo, mask};
use rt::io::{self, Read, Write};
use rt::net::{TcpListener, TcpStream};
use rt::process;

/// Sends back what is there. `false`: the other end is closed.
fn answer(stream: &mut TcpStream, message: &mut [u8; ROOM]) -> io::Result<bool> {
    // Short of a whole buffer there was no more; what comes later is told.
    loop {
        let count = match stream.read(message) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        stream.write_all(&message[..count])?;
        if count < ROOM {
            return Ok(count > 0);
        }
    }
}

fn accept(listener: &TcpListener) -> Option<TcpStream> {
    let (stream, _) = listener.accept().ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// Each call is told of all the connections again.
#[inline(never)]
pub fn poll(listener: &TcpListener) -> Outcome {
    listener.fd().set_nonblocking(true)?;
    ready(listener.local_addr()?)?;
    let watched = |fd: i32| PollFd { fd, events: POLLIN, revents: 0 };
    let (mut polled, mut streams, mut message) = (Vec::from([watched(listener.fd().raw())]), Vec::new(), [0; ROOM]);
    loop {
        call(nr::PPOLL, &[polled.as_mut_ptr() as usize, polled.len(), 0, 0, 0])?;
        // From behind: one that ends changes places with the last.
        for number in (1..polled.len()).rev() {
            if polled[number].revents != 0 && !answer(&mut streams[number - 1], &mut message)? {
                polled.swap_remove(number);
                streams.swap_remove(number - 1);
            }
        }
        if polled[0].revents != 0
            && let Some(stream) = accept(listener)
        {
            stream.fd().set_nonblocking(true)?;
            polled.push(watched(stream.fd().raw()));
            streams.push(stream);
        }
    }
}

/// What tells of a descriptor; `SIGIO` comes when there is no room for more of these, and says of none.
const TELLS: u32 = SIGRTMIN + 1;

/// Has a descriptor tell this process.
fn tells(fd: i32) -> Outcome {
    let set = |command: u32, value: usize| call(nr::FCNTL, &[fd as usize, command as usize, value]);
    set(F_SETOWN, process::id() as usize)?;
    set(F_SETSIG, TELLS as usize)?;
    set(F_SETFL, (O_ASYNC | O_NONBLOCK) as usize)?;
    Ok(())
}

/// One that a signal drives: it names the descriptor of which something has come. They are taken one by one, not by handlers.
#[inline(never)]
pub fn signal(listener: &TcpListener) -> Outcome {
    let set = mask(TELLS) | mask(SIGIO);
    call(nr::RT_SIGPROCMASK, &[SIG_BLOCK as usize, &raw const set as usize, 0, 8])?;
    tells(listener.fd().raw())?;
    ready(listener.local_addr()?)?;
    // By descriptor.
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut message = [0; ROOM];
    loop {
        let mut info = Siginfo::sent(0, 0, 0, 0, 0);
        let number = call(nr::RT_SIGTIMEDWAIT, &[&raw const set as usize, &raw mut info as usize, 0, 8])?;
        let fd = info.fields[1] as usize;
        let told = match number as u32 {
            TELLS if info.code == POLL_OUT => continue,
            TELLS => fd..fd + 1,
            _ => 0..streams.len(),
        };
        for place in told {
            // A signal may be of one that has ended.
            if let Some(stream) = streams.get_mut(place).and_then(Option::as_mut)
                && !answer(stream, &mut message)?
            {
                streams[place] = None;
            }
        }
        if number as u32 == SIGIO || fd == listener.fd().raw() as usize {
            while let Some(mut stream) = accept(listener) {
                tells(stream.fd().raw())?;
                // What came before that is not told.
                if answer(&mut stream, &mut message)? {
                    let place = stream.fd().raw() as usize;
                    streams.resize_with(streams.len().max(place + 1), || None);
                    streams[place] = Some(stream);
                }
            }
        }
    }
}
