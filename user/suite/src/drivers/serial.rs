//! A serial port that sends to itself.

use super::VECTOR;
use crate::case::{Outcome, Trouble};
use alloc::boxed::Box;
use alloc::vec::Vec;
use rt::device::serial::{How, Serial};
use rt::raw;
use rt::uintr::{Handlers, Receiver, masked, receive};

/// The register to send by.
const DATA: usize = 0;

fn port(by_byte: bool) -> Result<(Receiver, &'static Serial), Trouble> {
    let port: &'static Serial = Box::leak(Box::new(Serial::open(How { to_itself: true, by_byte })?));
    let handler = port.handler();
    let handler: &'static _ = Box::leak(Box::new(move |_| handler.run()));
    let receiver = receive(raw::on_without_floats(Handlers::new(), VECTOR, handler))?;
    port.start(&receiver, VECTOR)?;
    Ok((receiver, port))
}

/// Waits until so much was received.
fn await_received(receiver: &Receiver, port: &Serial, count: usize) -> Outcome {
    loop {
        let over = masked(receiver, || match port.received() >= count {
            true => Ok(true),
            false => receiver.wait(None).map(|()| false),
        })?;
        if over {
            return Ok(());
        }
    }
}

/// Bytes on their way at most: behind more, the port would have to drop what comes back.
const UNDER_WAY: usize = 512;

/// Sends bytes and receives them.
fn echo(receiver: &Receiver, port: &Serial, bytes: &[u8]) -> Outcome {
    let mut back = Vec::new();
    let mut sent = 0;
    while back.len() < bytes.len() {
        let end = bytes.len().min(back.len() + UNDER_WAY);
        sent += port.write(receiver, &bytes[sent..end]);
        await_received(receiver, port, 1)?;
        let mut part = [0; 100];
        let count = port.read(receiver, &mut part);
        back.extend_from_slice(&part[..count]);
    }
    ensure!(back == bytes, "what came back is not what was sent");
    Ok(())
}

/// Sends a byte behind the port's back: nothing but the handler moves what comes back. Whatever goes by [`echo`] may have come back before any interrupt does.
fn echo_by_interrupt(receiver: &Receiver, port: &Serial, byte: u8) -> Outcome {
    let before = port.interrupts();
    port.device().write8(DATA, byte);
    await_received(receiver, port, 1)?;
    ensure!(port.interrupts() > before, "a byte without an interrupt");
    let mut back = [0; 2];
    equal!(port.read(receiver, &mut back), 1);
    equal!(back[0], byte);
    Ok(())
}

pub fn with_fifos() -> Outcome {
    let (receiver, port) = port(false)?;
    let bytes: Vec<u8> = (0..5000_u32).map(|value| (value * 7 + value / 251) as u8).collect();
    echo(&receiver, port, &bytes)?;
    echo_by_interrupt(&receiver, port, b'i')
}

pub fn by_byte() -> Outcome {
    let (receiver, port) = port(true)?;
    for byte in 0..=255 {
        echo(&receiver, port, &[byte])?;
        echo_by_interrupt(&receiver, port, byte)?;
    }
    Ok(())
}

/// Nobody reads until no more fits: nothing is lost on the port's side, which stops asking for interrupts.
pub fn fills_up() -> Outcome {
    let (receiver, port) = port(true)?;
    let bytes: Vec<u8> = (0..1024_u32).map(|value| (value / 3) as u8).collect();
    equal!(port.write(&receiver, &bytes), 1024);
    await_received(&receiver, port, 1024)?;
    equal!(port.write(&receiver, b"!"), 1);
    let mut back = [0; 1024];
    equal!(port.read(&receiver, &mut back), 1024);
    ensure!(back[..] == bytes[..], "what came back is not what was sent");
    await_received(&receiver, port, 1)?;
    equal!(port.read(&receiver, &mut back), 1);
    equal!(back[0], b'!');
    Ok(())
}
