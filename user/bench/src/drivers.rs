//! Drivers in user mode (note 0011): a serial port that sends to itself, by polling and by interrupts. Without the device there are no rows.

use crate::measure::{Outcome, measure};
use crate::urgency;
use alloc::boxed::Box;
use rt::device::serial::{How, Serial};
use rt::uintr::{Handlers, receive};
use rt::{io, raw};

const VECTOR: u32 = 0;
/// Bytes that are on their way at once: what the port drops for want of room would be waited for.
const BLOCK: usize = 512;

/// All rows, each in a process of its own, which has the port until it ends.
pub fn rows() -> Outcome {
    if Serial::open(How::default()).is_err() {
        return Ok(());
    }
    ["polled", "by-byte", "fifos"].into_iter().try_for_each(|how| urgency::in_a_process(&["--driver", how]))
}

/// A row, `bench --driver HOW`.
pub fn serial(how: &str) -> Outcome {
    let port: &'static Serial = Box::leak(Box::new(Serial::open(How { to_itself: true, by_byte: how != "fifos" })?));
    if how == "polled" {
        return measure("driver_byte_polled", 20_000, |count| {
            (0..count).for_each(|value| {
                core::hint::black_box(port.exchange_polled(value as u8));
            });
            Ok(())
        });
    }
    let handler = port.handler();
    let handler: &'static _ = Box::leak(Box::new(move |_| handler.run()));
    let receiver = receive(raw::on_without_floats(Handlers::new(), VECTOR, handler))?;
    port.start(&receiver, VECTOR)?;
    let mut bytes = [0; BLOCK];
    let mut exchange = |block: usize| -> io::Result<()> {
        port.write(&receiver, &bytes[..block]);
        while port.received() < block {
            core::hint::spin_loop();
        }
        port.read(&receiver, &mut bytes[..block]);
        Ok(())
    };
    match how {
        "by-byte" => measure("driver_byte", 20_000, |count| (0..count).try_for_each(|_| exchange(1))),
        _ => measure("driver_block_512", 200, |count| (0..count).try_for_each(|_| exchange(BLOCK))),
    }
}
