//! Channels (note 0010): messages arrive whole and in order, who waits is woken, and the end of the other side is an error, whatever it has stored.

mod calls;
mod ends;
mod grants;
mod streams;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{Shared, call, checked_child, child, exits};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;
use rt::abi::{Errno, channel as at};
use rt::channel::{Channel, End, pair};
use rt::{io, raw, thread};

pub const CASES: &[Case] = &[
    case!("channel/echo", "P4", echo),
    case!("channel/stream-that-wraps", "P4", stream_that_wraps),
    case!("channel/many-at-once", "P4", many_at_once),
    case!("channel/both-wait-at-once", "P4", both_wait_at_once),
    case!("channel/tasks", "P4", tasks),
    case!("channel/stream-of-tasks", "P4", stream_of_tasks),
    case!("channel/peer-ends", "P4", ends::peer_ends),
    case!("channel/peer-is-killed", "P4", ends::peer_is_killed),
    case!("channel/peer-ends-while-tasks-wait", "P4", ends::peer_ends_while_tasks_wait),
    case!("channel/end-is-hidden", "P4 S6", ends::end_is_hidden),
    case!("channel/end-of-two-processes", "P4", ends::end_of_two_processes),
    case!("channel/closed-by-exec", "P4", ends::closed_by_exec),
    case!("channel/end-in-a-message", "P4", ends::end_in_a_message),
    case!("channel/memory-is-limited", "P4 S6", memory_is_limited),
    case!("channel/wait-has-a-limit", "P4", wait_has_a_limit),
    case!("channel/errors", "P4 S6", errors),
    case!("channel/any-value-anywhere", "P4 S6", any_value_anywhere),
    case!("channel/rung-at-will", "P4 S6", rung_at_will),
    case!("channel/raises-an-interrupt", "P4 U1", raises_an_interrupt),
    case!("channel/no-value-of-its-type", "P4 S6", calls::no_value),
    case!("channel/calls-out-of-order", "P4", calls::out_of_order),
    case!("channel/calls-have-limits", "P4", calls::limits),
    case!("channel/calls-given-up", "P4", calls::given_up),
    case!("channel/calls-and-wrong-replies", "P4 S6", calls::wrong_replies),
    case!("channel/calls-whose-peer-ends", "P4", calls::peer_ends),
    case!("channel/stream-ends-where-it-is-said", "P4", streams::ends_where_it_is_said),
    case!("channel/stream-is-cut-off", "P4", streams::cut_off),
    case!("channel/stream-that-nobody-receives", "P4", streams::nobody_receives),
    case!("channel/stream-no-faster-than-taken", "P4", streams::no_faster_than_taken),
    case!("channel/stream-by-traits", "P4", streams::of_tasks),
    case!("channel/bytes", "P4", streams::of_bytes),
    case!("channel/bytes-cut-off", "P4", streams::bytes_cut_off),
    case!("channel/stream-of-any-value", "P4 S6", streams::any_value_anywhere),
    case!("channel/stream-errors", "P4 S6", streams::errors),
    case!("channel/grant", "P4", grants::is_shared),
    case!("channel/grant-for-reading", "P4 S6", grants::is_read_only),
    case!("channel/grant-taken-back-meanwhile", "P4 S6", grants::taken_back_meanwhile),
    case!("channel/grant-gone-with-the-granter", "P4", grants::gone_with_the_granter),
    case!("channel/grant-mappings-come-and-go", "P4 S6", grants::mappings_come_and_go),
    case!("channel/grant-is-not-pinned", "P4 S6", grants::is_not_pinned),
    case!("channel/grant-moves-directly", "P4 D18", grants::moves_directly),
    case!("channel/grant-is-limited", "P4 S6", grants::is_limited),
    case!("channel/grant-errors", "P4 S6", grants::errors),
];

type Body = [u64; 8];

/// Two ends for bodies each way.
fn ends(places: u32) -> Result<(End, End), Trouble> {
    needs_kernel("channels")?;
    Ok(pair::<Body, Body>(places)?)
}

/// A channel to a child that runs `body` at the other end, and the child. Each has its own end only.
fn with_child(
    places: u32,
    body: impl FnOnce(Channel<Body, Body>) -> Outcome,
) -> Result<(Channel<Body, Body>, i32), Trouble> {
    let (near, pid) = with_ends(ends(places)?, |far| body(far.open()?))?;
    Ok((near.open()?, pid))
}

/// The first of two ends, and a child that runs `body` with the second.
fn with_ends(ends: (End, End), body: impl FnOnce(End) -> Outcome) -> Result<(End, i32), Trouble> {
    let mut ends = Some(ends);
    let pid = checked_child(|| {
        let (near, far) = ends.take().ok_or_else(|| Trouble::failed("no ends"))?;
        drop(near);
        body(far)
    })?;
    let (near, far) = ends.take().ok_or_else(|| Trouble::failed("no ends"))?;
    drop(far);
    Ok((near, pid))
}

/// Answers requests, each with one more in each word, until the other side ends.
fn serve(mut server: Channel<Body, Body>) -> Outcome {
    loop {
        match server.receive() {
            Ok(request) => server.send(&request.map(|word| word.wrapping_add(1)))?,
            Err(error) => return over(&error),
        }
    }
}

/// The other side has ended.
fn over(error: &io::Error) -> Outcome {
    equal!(error.raw_os_error(), Some(Errno::EPIPE.number()));
    Ok(())
}

fn echo() -> Outcome {
    let (mut client, pid) = with_child(1, serve)?;
    for round in 0..2000 {
        equal!(client.call(&[round; 8])?, [round + 1; 8]);
    }
    drop(client);
    exits(pid, 0)
}

fn stream_that_wraps() -> Outcome {
    const MESSAGES: u64 = 5000;
    for places in [1, 2, 16] {
        let (mut receiver, pid) = with_child(places, |mut sender| {
            (0..MESSAGES).try_for_each(|message| sender.send(&[message; 8]))?;
            Ok(())
        })?;
        for message in 0..MESSAGES {
            equal!(receiver.receive()?, [message; 8]);
        }
        fails!(receiver.receive(), EPIPE);
        exits(pid, 0)?;
    }
    Ok(())
}

fn many_at_once() -> Outcome {
    const AT_ONCE: u64 = 32;
    let (mut client, pid) = with_child(AT_ONCE as u32, serve)?;
    for round in 0..100 {
        for number in 0..AT_ONCE {
            client.post(&[round * AT_ONCE + number; 8])?;
        }
        for number in 0..AT_ONCE {
            equal!(client.receive()?, [round * AT_ONCE + number + 1; 8]);
        }
    }
    drop(client);
    exits(pid, 0)
}

/// Each sends as much as there is room for, and only then receives: both wait, for messages and for room, in turn.
fn both_wait_at_once() -> Outcome {
    const ROUNDS: u64 = 500;
    let talk = |mut end: Channel<Body, Body>| -> Outcome {
        for round in 0..ROUNDS {
            for number in 0..4 {
                end.send(&[round * 4 + number; 8])?;
            }
            for number in 0..4 {
                equal!(end.receive()?, [round * 4 + number; 8]);
            }
        }
        Ok(())
    };
    let (near, pid) = with_child(8, talk)?;
    talk(near)?;
    exits(pid, 0)
}

/// Tasks at one end, a thread that blocks at the other, on several channels at once.
fn tasks() -> Outcome {
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(with_child(4, serve)?);
    }
    let (clients, pids): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    rt::task::block_on(async {
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                rt::task::spawn(async move {
                    for round in 0..300 {
                        client.put(&[round; 8]).await.ok()?;
                        (client.next().await.ok()? == [round + 1; 8]).then_some(())?;
                    }
                    Some(())
                })
            })
            .collect();
        for task in tasks {
            equal!(task.await.ok().flatten(), Some(()));
        }
        Ok::<(), Trouble>(())
    })?;
    pids.into_iter().try_for_each(|pid| exits(pid, 0))
}

fn wait_has_a_limit() -> Outcome {
    let (near, _far) = ends(2)?;
    let mut near: Channel<Body, Body> = near.open()?;
    fails!(near.receive_within(Some(Duration::from_millis(2))), ETIMEDOUT);
    fails!(near.receive_within(Some(Duration::ZERO)), ETIMEDOUT);
    near.post(&[0; 8])?;
    near.post(&[0; 8])?;
    fails!(near.post(&[0; 8]), EAGAIN);
    Ok(())
}

fn errors() -> Outcome {
    needs_kernel("channels")?;
    fails!(pair::<Body, Body>(0), EINVAL);
    fails!(pair::<Body, Body>(3), EINVAL);
    fails!(pair::<Body, Body>(1 << 20), EINVAL);
    fails!(call(at::PAIR, &[0]), EINVAL);
    fails!(call(at::PAIR, &[at::MOST_PAGES + 1]), EINVAL);
    fails!(call(at::PAIR, &[usize::MAX]), EINVAL);
    fails!(call(at::RING_CALL, &[0, at::RING, 0]), EINVAL);
    fails!(call(at::RING_CALL, &[usize::MAX, at::RING, 0]), EBADF);
    fails!(call(at::PEER, &[0]), EINVAL);
    let (near, far) = ends(1)?;
    let end = near.fd().raw() as usize;
    fails!(call(at::RING_CALL, &[end, 4, 0]), EINVAL);
    fails!(call(at::RING_CALL, &[end, at::WAIT, 0]), ETIMEDOUT);
    fails!(call(at::PEER, &[end]), ENOENT);
    fails!(call(at::BIND, &[end, end, 0]), EINVAL);
    // A peer that says there is more than there is.
    let small = near.fd().try_clone()?;
    fails!(End::from_fd(small, 0, 1 << 12).open::<Body, Body>(), ENOMEM);
    fails!(End::from_fd(near.fd().try_clone()?, 0, u32::MAX).open::<Body, Body>(), EINVAL);
    equal!(call(at::RING_CALL, &[end, 0, 0])?, 0);
    drop(far);
    fails!(call(at::RING_CALL, &[end, 0, 0]), EPIPE);
    fails!(call(at::RING_CALL, &[end, at::RING, 0]), EPIPE);
    fails!(call(at::RING_CALL, &[end, at::RING | at::WAIT, at::FOREVER]), EPIPE);
    Ok(())
}

/// Channels end in an error when there is no more room for them, and what they took comes back.
fn memory_is_limited() -> Outcome {
    needs_kernel("channels")?;
    comes_to_an_end(|| call(at::PAIR, &[at::MOST_PAGES]))
}

/// More than a few can be made, and then no more, by one process after another.
fn comes_to_an_end(make: impl Fn() -> Result<usize, Errno>) -> Outcome {
    for _ in 0..3 {
        let pid = checked_child(|| {
            let mut all = Vec::new();
            let error = loop {
                match make() {
                    Ok(ends) => all.push(ends),
                    Err(error) => break error,
                }
            };
            ensure!(matches!(error, Errno::ENOMEM | Errno::EMFILE), "{error:?} after {}", all.len());
            ensure!(all.len() > 8, "{error:?} after {}", all.len());
            Ok(())
        })?;
        exits(pid, 0)?;
    }
    Ok(())
}

/// Tasks that send much more than there is room for, and receive as much.
fn stream_of_tasks() -> Outcome {
    const MESSAGES: u64 = 2000;
    let (mut sender, taker) = with_child(2, |mut receiver| {
        for message in 0..MESSAGES {
            equal!(receiver.receive()?, [message; 8]);
        }
        over(&receiver.receive().err().ok_or_else(|| Trouble::failed("one message too many"))?)
    })?;
    let (mut receiver, giver) = with_child(2, |mut sender| {
        (0..MESSAGES).try_for_each(|message| sender.send(&[message; 8]))?;
        Ok(())
    })?;
    rt::task::block_on(async {
        let sending = rt::task::spawn(async move {
            for message in 0..MESSAGES {
                sender.put(&[message; 8]).await.ok()?;
            }
            Some(())
        });
        for message in 0..MESSAGES {
            equal!(receiver.next().await?, [message; 8]);
        }
        fails!(receiver.next().await, EPIPE);
        equal!(sending.await.ok().flatten(), Some(()));
        Ok::<(), Trouble>(())
    })?;
    exits(taker, 0)?;
    exits(giver, 0)
}

/// A peer that stores any value into any word: the other side gets messages or errors, and ends.
fn any_value_anywhere() -> Outcome {
    let values = [0, 1, 2, 3, 4, 5, 8, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX];
    for value in values {
        let (mut client, pid) = with_child(4, |server| {
            let (base, len) = server.memory();
            for offset in (0..len).step_by(4) {
                raw::atomic(base + offset).store(value, Relaxed);
            }
            Ok(())
        })?;
        // At most as many as there are places, then an error, then nothing else.
        let mut received = 0;
        while client.post(&[1; 8]).is_ok() && client.receive().is_ok() {
            received += 1;
            ensure!(received <= 8, "{received} messages of 4 with {value:#x}");
        }
        ensure!(client.receive().is_err());
        exits(pid, 0)?;
    }
    Ok(())
}

/// A peer that rings all the time, and changes what this side says it waits for.
fn rung_at_will() -> Outcome {
    let stop = Shared::new()?;
    let (near, far) = ends(4)?;
    let hostile = child(|| {
        let fd = far.fd().raw() as usize;
        let Ok(end) = far.open::<Body, Body>() else { return 1 };
        let (base, _) = end.memory();
        while stop.get(0) == 0 {
            for side in 0..2 {
                raw::atomic(base + 128 + 256 * side).store(3, Relaxed);
            }
            let _ = call(at::RING_CALL, &[fd, at::RING, 0]);
        }
        0
    })?;
    let mut near = near.open::<Body, Body>()?;
    for _ in 0..200 {
        fails!(near.receive_within(Some(Duration::from_micros(200))), ETIMEDOUT);
    }
    stop.set(0, 1);
    exits(hostile, 0)
}

/// A side that does not wait is interrupted for the next message: by the kernel, and by the other side itself; and by what it was bound to last.
fn raises_an_interrupt() -> Outcome {
    use rt::uintr::{Handlers, receive};
    const ROUNDS: u64 = 50;
    const VECTORS: [u32; 2] = [3, 5];
    let counts: &'static [AtomicU32; 2] = Box::leak(Box::new([const { AtomicU32::new(0) }; 2]));
    let handler = |which: usize| -> &'static _ {
        Box::leak(Box::new(move |_| {
            counts[which].fetch_add(1, Relaxed);
        }))
    };
    let (near, far) = ends(4)?;
    let handlers = raw::on(Handlers::new(), VECTORS[0], handler(0));
    let receiver = receive(raw::on(handlers, VECTORS[1], handler(1)))?;
    let far_fd = far.fd().raw() as usize;
    let mut near = near.open::<Body, Body>()?;
    near.bind(&receiver, VECTORS[0])?;
    // As long as nobody has said that it listens, the kernel raises it with each ring.
    call(at::RING_CALL, &[far_fd, at::RING, 0])?;
    while counts[0].load(Relaxed) == 0 {
        thread::yield_now();
    }
    let mut ends = Some((near, far));
    let pid = checked_child(|| {
        let (near, far) = ends.take().ok_or_else(|| Trouble::failed("no ends"))?;
        drop(near);
        let mut far = far.open::<Body, Body>()?;
        for _ in 0..ROUNDS {
            let request = far.receive()?;
            far.send(&request)?;
        }
        match far.receive() {
            Ok(_) => Err(Trouble::failed("one request too many")),
            Err(error) => over(&error),
        }
    })?;
    let (mut near, far) = ends.take().ok_or_else(|| Trouble::failed("no ends"))?;
    drop(far);
    for round in 0..ROUNDS {
        let which = usize::from(round >= ROUNDS / 2);
        if round == ROUNDS / 2 {
            // The peer has found the first already.
            near.bind(&receiver, VECTORS[1])?;
        }
        let before = counts[which].load(Relaxed);
        if near.listen()? {
            near.send(&[round; 8])?;
            while counts[which].load(Relaxed) == before {
                thread::yield_now();
            }
        }
        equal!(near.take()?, Some([round; 8]));
    }
    drop(near);
    exits(pid, 0)
}
