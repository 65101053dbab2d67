//! Streams of items and of bytes: whole, no faster than they are taken, to an end that is told from the sender's.

use super::{over, with_ends};
use crate::case::{Outcome, Trouble};
use crate::files::pattern;
use crate::machine::needs_kernel;
use crate::process::{Shared, await_blocked, dies, exits, kill};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use rt::abi::signal::SIGKILL;
use rt::channel::{Channel, End, Reader, Receiver, Sender, Writer, bytes, stream};
use rt::embedded_io_async;
use rt::futures_util::{SinkExt, StreamExt, stream as streams};
use rt::io::{self, Read, Write};
use rt::{raw, task, thread};

const ITEMS: u64 = 3000;

/// Two ends for numbers.
fn ends(places: u32) -> Result<(End, End), Trouble> {
    needs_kernel("channels")?;
    Ok(stream::<u64>(places)?)
}

/// A receiver of what a child sends.
fn from_child(places: u32, send: impl FnOnce(Sender<u64>) -> Outcome) -> Result<(Receiver<u64>, i32), Trouble> {
    let (near, far) = ends(places)?;
    // A child has the second of two.
    let (far, pid) = with_ends((far, near), |near| send(Sender::open(near)?))?;
    Ok((Receiver::open(far)?, pid))
}

/// A sender to a child that receives.
fn to_child(places: u32, receive: impl FnOnce(Receiver<u64>) -> Outcome) -> Result<(Sender<u64>, i32), Trouble> {
    let (near, pid) = with_ends(ends(places)?, |far| receive(Receiver::open(far)?))?;
    Ok((Sender::open(near)?, pid))
}

pub fn ends_where_it_is_said() -> Outcome {
    for places in [1, 16] {
        let (mut receiver, pid) = from_child(places, |mut sender| {
            (0..ITEMS).try_for_each(|item| sender.send(&item))?;
            sender.finish();
            Ok(())
        })?;
        for item in 0..ITEMS {
            equal!(receiver.receive()?, Some(item));
        }
        equal!(receiver.receive()?, None);
        exits(pid, 0)?;
        // Also when the sender is long gone.
        equal!(receiver.receive()?, None);
    }
    Ok(())
}

/// A sender that ends without saying so, by itself or by a signal, before the receiver waits or while it does.
pub fn cut_off() -> Outcome {
    for (is_killed, waits_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let (here, there) = (rt::process::id() as i32, Shared::new()?);
        let (mut receiver, pid) = from_child(4, |mut sender| {
            (0..3).try_for_each(|item| sender.send(&item))?;
            there.set(0, 1);
            if waits_first {
                await_blocked(here)?;
            }
            if is_killed {
                kill(rt::process::id() as i32, SIGKILL)?;
            }
            Ok(())
        })?;
        there.await_least(0, 1);
        for item in 0..3 {
            equal!(receiver.receive()?, Some(item));
        }
        fails!(receiver.receive(), EPIPE);
        fails!(task::block_on(receiver.next()), EPIPE);
        if is_killed { dies(pid, SIGKILL)? } else { exits(pid, 0)? }
    }
    Ok(())
}

/// A receiver that ends: while the sender waits for room, as a thread and as a task, and before it sends.
pub fn nobody_receives() -> Outcome {
    for as_task in [false, true] {
        let here = rt::process::id() as i32;
        let (mut sender, pid) = to_child(2, |mut receiver| {
            equal!(receiver.receive()?, Some(0));
            await_blocked(here)
        })?;
        let mut send = |item| if as_task { task::block_on(sender.put(&item)) } else { sender.send(&item) };
        let error = (0..).find_map(|item| send(item).err()).ok_or_else(|| Trouble::failed("sent for ever"))?;
        over(&error)?;
        fails!(send(9), EPIPE);
        exits(pid, 0)?;
    }
    Ok(())
}

/// No more is sent ahead than there are places for.
pub fn no_faster_than_taken() -> Outcome {
    const PLACES: u64 = 4;
    let sent = Shared::new()?;
    let (mut receiver, pid) = from_child(PLACES as u32, |mut sender| {
        for item in 0..40 {
            sender.send(&item)?;
            sent.count(0);
        }
        sender.finish();
        Ok(())
    })?;
    for taken in 0..40 {
        if taken + PLACES <= 40 {
            // As many as there is room for, while nobody takes any.
            sent.await_least(0, (taken + PLACES) as u32);
            thread::sleep(Duration::from_micros(100));
        }
        ensure!(u64::from(sent.get(0)) <= taken + PLACES, "{} sent with {taken} taken", sent.get(0));
        equal!(receiver.receive()?, Some(taken));
    }
    equal!(receiver.receive()?, None);
    exits(pid, 0)
}

/// By the traits of `futures`, at both ends.
pub fn of_tasks() -> Outcome {
    let (receiver, pid) = from_child(8, |mut sender| {
        task::block_on(async {
            sender.send_all(&mut streams::iter((0..ITEMS).map(Ok))).await?;
            sender.close().await?;
            fails!(SinkExt::send(&mut sender, 1).await, EPIPE);
            fails!(sender.put(&1).await, EPIPE);
            Ok(())
        })
    })?;
    let all: Vec<_> = task::block_on(receiver.collect());
    let all = all.into_iter().collect::<io::Result<Vec<_>>>()?;
    ensure!(all.iter().copied().eq(0..ITEMS), "{} items, or others", all.len());
    exits(pid, 0)
}

/// Written and read in pieces of any length, by threads and by tasks.
pub fn of_bytes() -> Outcome {
    const LEN: usize = 100_000;
    for as_task in [false, true] {
        needs_kernel("channels")?;
        let (near, far) = bytes(4096)?;
        let (far, pid) = with_ends((far, near), |near| {
            let (all, mut writer) = (pattern(0, LEN), Writer::open(near)?);
            let mut rest = &all[..];
            for len in (1..=9000).cycle().step_by(377) {
                let (piece, behind) = rest.split_at(rest.len().min(len));
                if as_task {
                    task::block_on(embedded_io_async::Write::write_all(&mut writer, piece))?;
                } else {
                    writer.write_all(piece)?;
                }
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            equal!(writer.write(&[])?, 0);
            writer.finish();
            Ok(())
        })?;
        let mut reader = Reader::open(far)?;
        let mut all = vec![0; LEN + 1];
        let mut filled = 0;
        for len in (1..=5000).cycle().step_by(611) {
            let end = all.len().min(filled + len);
            let piece = &mut all[filled..end];
            let read = task::block_on(async {
                if as_task { embedded_io_async::Read::read(&mut reader, piece).await } else { reader.read(piece) }
            })?;
            filled += read;
            if read == 0 {
                break;
            }
        }
        equal!(filled, LEN);
        ensure!(all[..LEN] == pattern(0, LEN), "other bytes than were written");
        equal!(reader.read(&mut [0; 8])?, 0);
        exits(pid, 0)?;
    }
    Ok(())
}

/// A writer that ends in the middle, and a reader that does.
pub fn bytes_cut_off() -> Outcome {
    needs_kernel("channels")?;
    let (near, far) = bytes(64)?;
    let (far, pid) = with_ends((far, near), |near| Ok(Writer::open(near)?.write_all(b"some")?))?;
    let mut reader = Reader::open(far)?;
    exits(pid, 0)?;
    let mut some = [0; 8];
    equal!(reader.read(&mut some)?, 4);
    equal!(some[..4], *b"some");
    fails!(reader.read(&mut some), EPIPE);
    fails!(task::block_on(embedded_io_async::Read::read(&mut reader, &mut some)), EPIPE);

    let (near, pid) = with_ends(bytes(64)?, |far| {
        let mut reader = Reader::open(far)?;
        equal!(reader.read(&mut [0; 8])?, 8);
        Ok(())
    })?;
    let mut writer = Writer::open(near)?;
    fails!(writer.write_all(&[1; 1000]), EPIPE);
    fails!(writer.write(&[1]), EPIPE);
    exits(pid, 0)
}

/// A peer that stores any value into any word: a few items or bytes of its own, an end, or an error.
pub fn any_value_anywhere() -> Outcome {
    const PLACES: u64 = 8;
    for value in [0, 1, 7, 8, 9, 64, 65, 0x7fff_ffff, 0x8000_0000, u32::MAX - 7, u32::MAX] {
        let scribble = |end: End| {
            // The same memory, whatever it is for.
            let own: Channel<u64, ()> = end.open()?;
            let (base, len) = own.memory();
            for offset in (128..len).step_by(4) {
                raw::atomic(base + offset).store(value, Relaxed);
            }
            Ok(())
        };
        let (near, far) = ends(PLACES as u32)?;
        let (far, pid) = with_ends((far, near), scribble)?;
        let mut receiver: Receiver<u64> = Receiver::open(far)?;
        let mut received = 0;
        while let Ok(Some(_)) = receiver.receive() {
            received += 1;
            ensure!(received <= PLACES, "{received} items of {PLACES} with {value:#x}");
        }
        exits(pid, 0)?;

        let (near, far) = bytes(8 * PLACES as u32)?;
        let (far, pid) = with_ends((far, near), scribble)?;
        let mut reader = Reader::open(far)?;
        let mut received = 0;
        while let Ok(count @ 1..) = reader.read(&mut [0; 100]) {
            received += count as u64;
            ensure!(received <= 8 * PLACES, "{received} bytes of {} with {value:#x}", 8 * PLACES);
        }
        exits(pid, 0)?;
    }
    Ok(())
}

pub fn errors() -> Outcome {
    needs_kernel("channels")?;
    fails!(bytes(4), EINVAL);
    fails!(bytes(20), EINVAL);
    fails!(bytes(1 << 20), EINVAL);
    fails!(stream::<u64>(0), EINVAL);
    let (near, far) = bytes(64)?;
    fails!(Writer::open(far), EINVAL);
    fails!(Reader::open(near), EINVAL);
    let (near, far) = ends(1)?;
    fails!(Sender::<u64>::open(far), EINVAL);
    fails!(Receiver::<u64>::open(near), EINVAL);
    Ok(())
}
