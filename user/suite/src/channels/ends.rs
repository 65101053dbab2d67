//! The end of the other side: by itself, by a signal, by `execve`, and when it hides that.

use super::{Body, ends, serve, with_child};
use crate::case::{Outcome, Trouble};
use crate::exec::exec;
use crate::machine::needs_kernel;
use crate::process::{PAGE, RW, Shared, await_blocked, checked_child, child, exits, kill, wait};
use crate::programs::own_path;
use crate::sockets::rights;
use rt::abi::channel as at;
use rt::abi::mm::MAP_SHARED;
use rt::abi::net::SOCK_DGRAM;
use rt::channel::{Channel, End};
use rt::{pipe, raw};

/// What the peer does before it ends, and what is received then: before a request, in one, behind its reply.
pub fn peer_ends() -> Outcome {
    for replies in 0..3 {
        let (mut client, pid) = with_child(4, |mut server| {
            for _ in 0..replies {
                let request = server.receive()?;
                server.send(&request)?;
            }
            // In the middle of the last one.
            let _ = server.receive()?;
            Ok(())
        })?;
        for round in 0..replies {
            equal!(client.call(&[round; 8])?, [round; 8]);
        }
        client.send(&[9; 8])?;
        fails!(client.receive(), EPIPE);
        fails!(client.receive(), EPIPE);
        fails!(client.send(&[0; 8]), EPIPE);
        exits(pid, 0)?;
    }
    // Before any, and with replies that nobody has asked for yet.
    let (mut client, pid) = with_child(4, |mut server| Ok(server.post(&[5; 8])?))?;
    exits(pid, 0)?;
    equal!(client.receive()?, [5; 8]);
    fails!(client.receive(), EPIPE);
    Ok(())
}

pub fn peer_is_killed() -> Outcome {
    for waits_first in [true, false] {
        let (mut client, pid) = with_child(4, |mut server| {
            server.receive()?;
            loop {
                server.receive()?;
            }
        })?;
        client.send(&[1; 8])?;
        let own = rt::process::id() as i32;
        let killer = checked_child(|| {
            if waits_first {
                await_blocked(own)?;
            }
            kill(pid, rt::abi::signal::SIGKILL)?;
            Ok(())
        });
        fails!(client.receive(), EPIPE);
        exits(killer?, 0)?;
        wait(pid)?;
    }
    Ok(())
}

pub fn peer_ends_while_tasks_wait() -> Outcome {
    let (mut client, pid) = with_child(4, |mut server| {
        server.receive()?;
        Ok(())
    })?;
    rt::task::block_on(async {
        client.send(&[0; 8])?;
        fails!(client.next().await, EPIPE);
        fails!(client.next().await, EPIPE);
        Ok::<(), Trouble>(())
    })?;
    exits(pid, 0)
}

/// A peer that keeps the memory without the descriptor, and takes the kernel's word of that back: who waits learns it all the same.
pub fn end_is_hidden() -> Outcome {
    let (near, far) = ends(4)?;
    let (done, fd) = (Shared::new()?, far.fd().raw());
    let pid = checked_child(|| {
        let base = call!(MMAP, 0, PAGE, RW, MAP_SHARED, fd, 0)?;
        drop(far);
        let ended = raw::atomic(base + at::END[1] + at::ENDED);
        while done.get(0) == 0 {
            ended.store(0, core::sync::atomic::Ordering::Relaxed);
            rt::thread::yield_now();
        }
        Ok(())
    })?;
    let mut near: Channel<Body, Body> = near.open()?;
    let result = (|| {
        fails!(near.receive(), EPIPE);
        rt::task::block_on(async {
            fails!(near.next().await, EPIPE);
            Ok::<(), Trouble>(())
        })
    })();
    done.set(0, 1);
    exits(pid, 0)?;
    result
}

/// An end that two processes have is over with the second of them.
pub fn end_of_two_processes() -> Outcome {
    let (near, far) = ends(4)?;
    let (done, mut far) = (Shared::new()?, Some(far));
    let other = checked_child(|| {
        done.await_least(0, 1);
        Ok(())
    })?;
    let server =
        child(|| far.take().and_then(|far| far.open().ok()).map_or(1, |server| i32::from(serve(server).is_err())))?;
    drop(far);
    let mut near: Channel<Body, Body> = near.open()?;
    equal!(near.call(&[1; 8])?, [2; 8]);
    kill(server, rt::abi::signal::SIGKILL)?;
    wait(server)?;
    near.post(&[2; 8])?;
    fails!(near.receive_within(Some(core::time::Duration::from_millis(2))), ETIMEDOUT);
    done.set(0, 1);
    fails!(near.receive(), EPIPE);
    exits(other, 0)
}

/// The next program of a process does not have its ends.
pub fn closed_by_exec() -> Outcome {
    let (near, far) = ends(4)?;
    let (read, write) = pipe::pipe()?;
    let pid = child(|| {
        let _ = call!(DUP3, read.fd().raw(), 0, 0);
        exec(&own_path(), &["suite", "--program", "cat"]);
        1
    })?;
    drop((far, read));
    let mut near: Channel<Body, Body> = near.open()?;
    fails!(near.receive(), EPIPE);
    // It lives: it has waited for this.
    drop(write);
    exits(pid, 0)
}

/// An end that goes to a process which was there before the channel; and one that is lost on the way.
pub fn end_in_a_message() -> Outcome {
    needs_kernel("channels")?;
    let (here, there) = rights::pair(SOCK_DGRAM)?;
    let pid = checked_child(|| {
        let fd = rights::receive_one(&there)?.fd().try_clone()?;
        serve(End::from_fd(fd, 1, 4).open()?)
    })?;
    let (near, far) = ends(4)?;
    rights::send(&here, b"x", &[far.fd().raw()])?;
    drop(far);
    let mut near: Channel<Body, Body> = near.open()?;
    equal!(near.call(&[1; 8])?, [2; 8]);
    drop(near);
    exits(pid, 0)?;
    let (near, far) = ends(4)?;
    rights::send(&here, b"x", &[far.fd().raw()])?;
    drop(far);
    let mut near: Channel<Body, Body> = near.open()?;
    // It is somebody's as long as the message can be received.
    fails!(near.receive_within(Some(core::time::Duration::from_millis(2))), ETIMEDOUT);
    drop((here, there));
    fails!(near.receive(), EPIPE);
    Ok(())
}
