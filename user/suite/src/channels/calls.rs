//! Requests and replies, many at once: each reply finds who has asked, whatever the peer does.

use super::with_ends;
use crate::case::{Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::process::{Shared, exits};
use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use rt::abi::Errno;
use rt::channel::{Channel, Client, End, Server, calls, pair};
use rt::{io, task};

/// Two ends for numbers each way.
fn ends(places: u32) -> Result<(End, End), Trouble> {
    needs_kernel("channels")?;
    Ok(calls::<u64, u64>(places)?)
}

/// A client of a child that answers by `serve`.
fn with_server(
    places: u32,
    serve: impl FnOnce(Server<u64, u64>) -> Outcome,
) -> Result<(Client<u64, u64>, i32), Trouble> {
    let (near, pid) = with_ends(ends(places)?, |far| serve(Server::open(far)?))?;
    Ok((Client::open(near)?, pid))
}

/// A client of a child that stores what it likes: a tag and a body each.
fn with_hostile(
    places: u32,
    body: impl FnOnce(Channel<[u64; 2], [u64; 2]>) -> Outcome,
) -> Result<(Client<u64, u64>, i32), Trouble> {
    let (near, pid) = with_ends(ends(places)?, |far| body(far.open()?))?;
    Ok((Client::open(near)?, pid))
}

fn is<T>(result: io::Result<T>, errno: Errno) -> Outcome {
    equal!(result.err().and_then(|error| error.raw_os_error()), Some(errno.number()));
    Ok(())
}

/// A task that asks.
fn ask(client: &Client<u64, u64>, request: u64) -> task::JoinHandle<io::Result<u64>> {
    let client = client.clone();
    task::spawn(async move { client.call(&request).await })
}

async fn joined<T>(task: task::JoinHandle<T>) -> Result<T, Trouble> {
    task.await.map_err(|_| Trouble::failed("a task has panicked"))
}

/// The last request is answered first.
pub fn out_of_order() -> Outcome {
    const AT_ONCE: u64 = 8;
    const ROUNDS: u64 = 50;
    let (client, pid) = with_server(AT_ONCE as u32, |mut server| {
        for _ in 0..ROUNDS {
            let mut requests = Vec::new();
            for _ in 0..AT_ONCE {
                requests.push(server.receive()?);
            }
            while let Some((ticket, request)) = requests.pop() {
                server.reply(ticket, &(request + 1))?;
            }
        }
        is(server.receive(), Errno::EPIPE)
    })?;
    task::block_on(async {
        for round in 0..ROUNDS {
            let asked: Vec<_> = (0..AT_ONCE).map(|number| ask(&client, round * AT_ONCE + number)).collect();
            for (task, number) in asked.into_iter().zip(0..) {
                equal!(joined(task).await??, round * AT_ONCE + number + 1);
            }
        }
        Ok::<(), Trouble>(())
    })?;
    drop(client);
    exits(pid, 0)
}

/// Many more callers than places, and fewer at work than places: all are answered, and just so many are at work at once.
pub fn limits() -> Outcome {
    const CALLERS: u64 = 50;
    const AT_WORK: usize = 3;
    let (near, far) = ends(8)?;
    let [begun, at_work, most] = [const { AtomicUsize::new(0) }; 3];
    task::block_on(async {
        let client = Client::<u64, u64>::open(near)?;
        let asked: Vec<_> = (0..CALLERS).map(|request| ask(&client, request)).collect();
        drop(client);
        let mut server = Server::<u64, u64>::open(far)?;
        let serving = server.serve(AT_WORK, async |request| {
            most.fetch_max(at_work.fetch_add(1, Relaxed) + 1, Relaxed);
            begun.fetch_add(1, Relaxed);
            // The first wait for as many as there may be.
            while begun.load(Relaxed) < AT_WORK {
                task::yield_now().await;
            }
            // Some take longer.
            for _ in 0..request % 4 {
                task::yield_now().await;
            }
            at_work.fetch_sub(1, Relaxed);
            request + 1
        });
        // It ends with the last of the callers, who have the client.
        serving.await?;
        for (task, request) in asked.into_iter().zip(0..) {
            equal!(joined(task).await??, request + 1);
        }
        equal!(most.load(Relaxed), AT_WORK);
        Ok(())
    })
}

/// Polls a call once, and drops it.
async fn give_up(client: &Client<u64, u64>, request: u64) {
    let mut call = pin!(client.call(&request));
    core::future::poll_fn(|context| {
        let _ = call.as_mut().poll(context);
        core::task::Poll::Ready(())
    })
    .await;
}

/// The reply to a request that was given up comes late, and is nobody's: its place is not used before.
pub fn given_up() -> Outcome {
    const ROUNDS: u64 = 20;
    let go = Shared::new()?;
    let (client, pid) = with_server(1, |mut server| {
        for round in 1..=ROUNDS {
            let (ticket, request) = server.receive()?;
            equal!(request, 0);
            go.await_least(0, round as u32);
            server.reply(ticket, &0)?;
            let (ticket, request) = server.receive()?;
            server.reply(ticket, &(request + 1))?;
        }
        is(server.receive(), Errno::EPIPE)
    })?;
    task::block_on(async {
        for round in 1..=ROUNDS {
            give_up(&client, 0).await;
            // These wait for the place: one is dropped there, one gets it.
            give_up(&client, 99).await;
            let next = ask(&client, round);
            go.set(0, round as u32);
            equal!(joined(next).await??, round + 1);
        }
        Ok::<(), Trouble>(())
    })?;
    drop(client);
    exits(pid, 0)
}

/// Replies to nothing that was asked, to what was answered, and to an earlier use of a place: an error of all who wait, and of each call from then on.
pub fn wrong_replies() -> Outcome {
    let forge: [fn(u64) -> u64; 5] =
        [|tag| tag, |tag| tag + 4, |tag| tag | 1 << 31, |tag| tag + (1 << 32), |_| u64::MAX];
    for forge in forge {
        let (client, pid) = with_hostile(4, |mut hostile| {
            let [first, _] = hostile.receive()?;
            let [_second, _] = hostile.receive()?;
            hostile.send(&[first, 1])?;
            // The first again, or one that never was.
            hostile.send(&[forge(first), 2])?;
            // As long as it likes to: the client ends.
            while hostile.receive().is_ok() {}
            Ok(())
        })?;
        task::block_on(async {
            let (first, second) = (ask(&client, 1), ask(&client, 2));
            let (first, second) = (joined(first).await?, joined(second).await?);
            // Who of the two was first is nobody's choice.
            let (answered, failed) = if first.is_ok() { (first, second) } else { (second, first) };
            equal!(answered?, 1);
            is(failed, Errno::EPROTO)?;
            is(client.call(&3).await, Errno::EPROTO)
        })?;
        drop(client);
        exits(pid, 0)?;
    }
    Ok(())
}

/// Who waits for a reply, who waits for a place, and who comes later.
pub fn peer_ends() -> Outcome {
    let (client, pid) = with_server(2, |mut server| {
        let (_first, (ticket, request)) = (server.receive()?, server.receive()?);
        server.reply(ticket, &request)?;
        let _third = server.receive()?;
        Ok(())
    })?;
    task::block_on(async {
        let asked: Vec<_> = (0..6).map(|request| ask(&client, request)).collect();
        let mut answered = 0;
        for task in asked {
            match joined(task).await? {
                Ok(_) => answered += 1,
                failed => is(failed, Errno::EPIPE)?,
            }
        }
        equal!(answered, 1);
        is(client.call(&9).await, Errno::EPIPE)
    })?;
    drop(client);
    exits(pid, 0)
}

/// Bytes that are no value of the message's type are an error, each time.
pub fn no_value() -> Outcome {
    needs_kernel("channels")?;
    let (near, far) = pair::<NonZeroU64, u64>(4)?;
    let mut near = near.open::<u64, u64>()?;
    let mut far: Channel<u64, NonZeroU64> = far.open()?;
    near.send(&7)?;
    near.send(&0)?;
    near.send(&8)?;
    equal!(far.receive()?.get(), 7);
    fails!(far.receive(), EPROTO);
    fails!(far.receive(), EPROTO);
    Ok(())
}
