//! Senders and receivers in different worlds, which have different backends: the right is passed over a local socket, both ways.

use super::{counting, until};
use crate::case::{Outcome, Trouble};
use crate::machine::{needs_asyncos, needs_kernel};
use crate::programs::own_path;
use crate::sockets::rights::{pair, receive_one, send};
use rt::abi::{Errno, net::SOCK_SEQPACKET};
use rt::fs::File;
use rt::io::{Read, Write};
use rt::process::{Child, Command, World};
use rt::raw;
use rt::uintr::{Right, Sender};

const ROUNDS: u32 = 50;
const VECTOR: u32 = 3;

/// This process receives, others send; then they receive.
pub fn both_ways() -> Outcome {
    needs_asyncos()?;
    needs_kernel("user interrupts")?;
    let mut ran = 0;
    for world in [World::Vm, World::Table, World::Shared] {
        let Some((mut child, mut near)) = start(world, "uintr-sends")? else { continue };
        // A thread is a receiver once.
        let received = rt::thread::spawn(move || receives(&mut near))?.join();
        received.unwrap_or_else(|| Err(Trouble::failed("the thread ended")))?;
        let status = child.wait()?;
        ensure!(status.success(), "who sends in {}: {status}", world.name());
        let Some((mut child, mut near)) = start(world, "uintr-receives")? else { continue };
        sends(&mut near)?;
        let status = child.wait()?;
        ensure!(status.success(), "who receives in {}: {status}", world.name());
        ran += 1;
    }
    ensure!(ran >= 2, "{ran} worlds");
    Ok(())
}

/// This program again, in a world, if the machine has that; with one end of a local socket as its input.
fn start(world: World, program: &str) -> Result<Option<(Child, File)>, Trouble> {
    let (near, far) = pair(SOCK_SEQPACKET)?;
    let mut command = Command::new(&own_path());
    match command.args(["--program", program]).world(world).stdin(far).spawn() {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV.number()) => Ok(None),
        child => Ok(Some((child?, near))),
    }
}

/// Grants a right to the other end, is interrupted by its doorbell and by its call in turn, each once, and ends the right.
pub fn receives(other: &mut File) -> Outcome {
    let (receiver, counts) = counting()?;
    let right = receiver.grant(1 << VECTOR)?;
    send(other, b"x", &[right.fd().raw()])?;
    for round in 1..=ROUNDS {
        until(&receiver, || counts.get(VECTOR) >= round)?;
        equal!(counts.get(VECTOR), round);
        other.write_all(b"y")?;
    }
    other.read_exact(&mut [0])?;
    receiver.revoke(&right)?;
    other.write_all(b"z")?;
    other.read_exact(&mut [0])?;
    equal!([counts.get(VECTOR), counts.get(VECTOR + 1)], [ROUNDS, 0]);
    Ok(())
}

/// What the other end does meanwhile.
pub fn sends(other: &mut File) -> Outcome {
    let sender = Sender::open(Right::from_fd(receive_one(other)?.fd().try_clone()?))?;
    for round in 1..=ROUNDS {
        match round % 4 {
            0 => sender.send_by_call(VECTOR)?,
            // What was not granted is heard by nobody.
            1 => sender.send(VECTOR + 1).and_then(|()| sender.send(VECTOR))?,
            _ => sender.send(VECTOR)?,
        }
        other.read_exact(&mut [0])?;
    }
    other.write_all(b"e")?;
    other.read_exact(&mut [0])?;
    fails!(sender.send(VECTOR), ESRCH);
    fails!(sender.send_by_call(VECTOR), ESRCH);
    Ok(other.write_all(b"e")?)
}

/// One of the two, as a program whose input is the socket.
pub fn program(name: &str) -> i32 {
    let mut other = raw::file(0);
    let done = if name == "uintr-sends" { sends(&mut other) } else { receives(&mut other) };
    match done {
        Ok(()) => 0,
        Err(trouble) => {
            rt::eprintln!("in another world: {trouble:?}");
            1
        }
    }
}
