//! The same conversation between coroutines and between threads: over a channel, over one connection, and round a ring.

use crate::measure::{Outcome, measure};
use crate::pipe_rings;
use alloc::vec::Vec;
use rt::io::{Read, Write};
use rt::task::sync::mpsc;
use rt::task::{block_on, spawn};
use rt::{async_net, net, sync, thread};

/// All of them.
pub fn conversations() -> Outcome {
    channels()?;
    connections()?;
    rings()?;
    pipe_rings::rings()
}

/// A message there and one back, through channels.
fn channels() -> Outcome {
    measure("channel_pp_tasks", 20_000, |count| {
        let _ = block_on(spawn(async move {
            let ((there, mut from), (back, mut to)) = (mpsc::channel(1), mpsc::channel(1));
            spawn(async move {
                while let Some(number) = from.recv().await {
                    let _ = back.send(number).await;
                }
            })
            .detach();
            for number in 0..count {
                let _ = there.send(number).await;
                let _ = to.recv().await;
            }
        }));
        Ok(())
    })?;
    measure("channel_pp_threads", 4_000, |count| {
        let ((there, from), (back, to)) = (sync::mpsc::channel(), sync::mpsc::channel());
        let other = thread::spawn(move || {
            while let Ok(number) = from.recv() {
                let _ = back.send(number);
            }
        })?;
        for number in 0..count {
            let _ = there.send(number);
            let _ = to.recv();
        }
        drop(there);
        let _ = other.join();
        Ok(())
    })
}

/// A byte there and one back, over a connection on this machine.
fn connections() -> Outcome {
    let address = "127.0.0.1:0".parse().unwrap_or(net::SocketAddr::from(([127, 0, 0, 1], 0)));
    measure("connection_pp_tasks", 2_000, |count| {
        block_on(async {
            let listener = async_net::TcpListener::bind(address)?;
            let here = async_net::TcpStream::connect(listener.local_addr()?).await?;
            let (there, _) = listener.accept().await?;
            here.set_nodelay(true)?;
            there.set_nodelay(true)?;
            let echo = spawn(async move {
                let mut byte = [0];
                while there.read_exact(&mut byte).await.is_ok() && there.write_all(&byte).await.is_ok() {}
            });
            let ask = spawn(async move {
                let mut byte = [1];
                for _ in 0..count {
                    here.write_all(&byte).await?;
                    here.read_exact(&mut byte).await?;
                }
                rt::io::Result::Ok(())
            });
            let asked = ask.await;
            let _ = echo.await;
            asked.unwrap_or(Ok(()))
        })
    })?;
    measure("connection_pp_threads", 2_000, |count| {
        let listener = net::TcpListener::bind(address)?;
        let mut here = net::TcpStream::connect(listener.local_addr()?)?;
        let (mut there, _) = listener.accept()?;
        here.set_nodelay(true)?;
        there.set_nodelay(true)?;
        let echo = thread::spawn(move || {
            let mut byte = [0];
            while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
        })?;
        let mut byte = [1];
        for _ in 0..count {
            here.write_all(&byte)?;
            here.read_exact(&mut byte)?;
        }
        drop(here);
        let _ = echo.join();
        Ok(())
    })
}

/// How many stand in a ring.
const RING: usize = 3_600;

/// A byte that goes round a ring; an operation is a step from one to the next.
fn rings() -> Outcome {
    measure("ring_tasks", 10 * RING as u64, |steps| {
        block_on(async {
            let mut ends = Vec::new();
            let (first, mut last) = mpsc::channel(1);
            for _ in 1..RING {
                let (next, receiver) = mpsc::channel(1);
                let mut from = core::mem::replace(&mut last, receiver);
                ends.push(spawn(async move {
                    while let Some(byte) = from.recv().await {
                        let _ = next.send(byte).await;
                    }
                }));
            }
            let turn = spawn(async move {
                for _ in 0..steps.div_ceil(RING as u64) {
                    let _ = first.send(1u8).await;
                    let _ = last.recv().await;
                }
            });
            let _ = turn.await;
            for end in ends {
                let _ = end.await;
            }
        });
        Ok(())
    })?;
    Ok(())
}
