//! Drivers in user mode (note 0011): a serial port that sends to itself, by polling and by interrupts; one that only sends, beside the kernel's driver; and bytes there and back, beside the kernel's driver of the same port. Without the device there are no rows.

mod there_and_back;

use crate::measure::{Outcome, call, measure, report};
use crate::urgency;
use alloc::boxed::Box;
use alloc::format;
use core::cell::Cell;
use rt::abi::nr;
use rt::device::serial::{How, Serial};
use rt::uintr::{Handlers, Receiver, receive};
use rt::{io, raw};

const VECTOR: u32 = 0;
/// Bytes that are on their way at once: what the port drops for want of room would be waited for.
const BLOCK: usize = 512;

/// All rows, each in a process of its own, which has the port until it ends.
pub fn rows() -> Outcome {
    if Serial::open(How::default()).is_err() {
        return Ok(());
    }
    ["polled", "by-byte", "fifos", "sent-polled", "sent", "sent-by-kernel"]
        .into_iter()
        .chain(there_and_back::WAYS)
        .try_for_each(|how| urgency::in_a_process(&["--driver", how]))
}

/// What the kernel was entered for, by interrupts of devices, since it runs.
fn interrupts() -> io::Result<u64> {
    let text = rt::fs::read_to_string("/proc/interrupts")?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let counts = lines.filter(|(source, _)| source.trim().parse::<u32>().is_ok());
    Ok(counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum())
}

/// Instructions of all parts for a block that is sent, and how often the kernel was entered for a thousand bytes: by interrupts, and by the calls that the program makes.
fn sent(id: &str, calls: impl Fn() -> u64, mut send: impl FnMut() -> Outcome) -> Outcome {
    const BLOCKS: u64 = 200;
    let mut entries = 0;
    measure(id, BLOCKS, |count| {
        let before = interrupts()? + calls();
        (0..count).try_for_each(|_| send())?;
        entries = interrupts()? + calls() - before;
        Ok(())
    })?;
    report(&format!("{id}_entries"), entries as f64 * 1_000.0 / (BLOCKS * BLOCK as u64) as f64, "entries");
    Ok(())
}

/// Sends only, so that it is what the console does: by the program, looking or told by interrupts; and by the kernel's driver of the console, which is such a port, too. That way a call, the
/// terminal's and the console's queues lie before the driver.
fn sending(how: &str) -> Outcome {
    let mut bytes = [b' '; BLOCK];
    bytes[BLOCK - 1] = b'\n';
    if how == "sent-by-kernel" {
        let calls = Cell::new(0);
        return sent(
            "driver_send_512_kernel",
            || calls.get(),
            || {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    calls.set(calls.get() + 1);
                    rest = &rest[call(nr::WRITE, &[1, rest.as_ptr() as usize, rest.len()])?..];
                }
                Ok(())
            },
        );
    }
    if how == "sent-polled" {
        let port = Serial::open(How::default())?;
        return sent(
            "driver_send_512_polled",
            || 0,
            || {
                port.send_polled(&bytes);
                Ok(())
            },
        );
    }
    let (port, receiver) = driven(How::default())?;
    sent(
        "driver_send_512",
        || port.calls(),
        || {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                rest = &rest[port.write(&receiver, rest)..];
            }
            while port.unsent() != 0 {
                core::hint::spin_loop();
            }
            Ok(())
        },
    )
}

/// A port whose interrupts run the program's driver.
fn driven(how: How) -> io::Result<(&'static Serial, Receiver)> {
    let port: &'static Serial = Box::leak(Box::new(Serial::open(how)?));
    let handler = port.handler();
    let handler: &'static _ = Box::leak(Box::new(move |_| handler.run()));
    let receiver = receive(raw::on_without_floats(Handlers::new(), VECTOR, handler))?;
    port.start(&receiver, VECTOR)?;
    Ok((port, receiver))
}

/// A row, `bench --driver HOW`.
pub fn serial(how: &str) -> Outcome {
    if there_and_back::WAYS.contains(&how) {
        return there_and_back::row(how);
    }
    if how.starts_with("sent") {
        return sending(how);
    }
    let mode = How { to_itself: true, by_byte: how != "fifos" };
    if how == "polled" {
        let port = Serial::open(mode)?;
        return measure("driver_byte_polled", 20_000, |count| {
            (0..count).for_each(|value| {
                core::hint::black_box(port.exchange_polled(value as u8));
            });
            Ok(())
        });
    }
    let (port, receiver) = driven(mode)?;
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
