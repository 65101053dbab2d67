//! What a process tells the kernel of its workers harms nobody else.

use super::calls::sched;
use super::moves::blocking_call;
use crate::case::Outcome;
use crate::machine::needs_asyncos;
use crate::process::{PAGE, child, exits, kill, sleep_ms, wait_with};
use alloc::vec::Vec;
use rt::abi::asyncos::{SCHED_FOLLOW, SCHED_KICK};
use rt::abi::process::WNOHANG;
use rt::abi::signal::SIGKILL;
use rt::abi::slots::HINTS;
use rt::abi::window::HINT;
use rt::task::{Priority, block_on, spawn, spawn_with, yield_now};
use rt::{raw, thread};

/// Lets a child go on for a while, and ends it if it has not ended; how is its own affair.
fn let_go(pid: i32) -> Outcome {
    for _ in 0..20 {
        sleep_ms(2);
        if wait_with(pid, WNOHANG)?.0 == pid {
            return Ok(());
        }
    }
    let _ = kill(pid, SIGKILL);
    crate::process::wait(pid)?;
    Ok(())
}

/// A few coroutines that spin, yield and block.
fn stir() {
    block_on(async {
        let tasks: Vec<_> = (0..8u64)
            .map(|index| {
                spawn(async move {
                    for turn in 0..20 {
                        match (index + turn) % 4 {
                            0 => sleep_ms(1),
                            1 => (0..10_000).for_each(|_| core::hint::spin_loop()),
                            _ => yield_now().await,
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    });
}

/// What a case fills memory with: nothing, all ones, addresses of the kernel, of nobody, of the window itself, a count that
/// never stops.
const ANYTHING: [u64; 7] = [
    0,
    u64::MAX,
    0xffff_ffc0_8020_0000,
    0x0000_0040_0000_0000,
    HINT as u64,
    0x1111_1111_1111_1110,
    0x7fff_ffff_ffff_fff9,
];

/// The hint page is filled with anything, again and again, while the process works.
pub fn hints_of_anything() -> Outcome {
    needs_asyncos()?;
    for value in ANYTHING {
        let pid = child(|| {
            block_on(async {
                let _ = spawn(async {}).await;
            });
            let scribbler = thread::spawn(move || {
                loop {
                    (HINT..HINT + PAGE).step_by(8).for_each(|at| raw::store64(at, value));
                    let _ = sched(SCHED_KICK, 0, value as usize);
                    for place in 0..64 {
                        let _ = sched(SCHED_FOLLOW, place, 0);
                    }
                }
            });
            stir();
            i32::from(scribbler.is_err())
        })?;
        let_go(pid)?;
    }
    blocking_call()
}

/// The pool's words are filled with anything: the ready bits, and what lies around them.
pub fn pool_of_anything() -> Outcome {
    needs_asyncos()?;
    for value in ANYTHING {
        for (from, words) in [(0isize, 1), (-8, 4), (-64, 64)] {
            let pid = child(|| {
                block_on(async {
                    let _ = spawn(async {}).await;
                });
                let ready = raw::load64(HINT + HINTS) as isize;
                (0..words).for_each(|word| raw::store64((ready + from + 8 * word) as usize, value));
                stir();
                0
            })?;
            let_go(pid)?;
        }
    }
    blocking_call()
}

/// A process that claims the highest priority for coroutines that never yield does not keep an honest one from ending.
pub fn claims_all() -> Outcome {
    needs_asyncos()?;
    let liar = child(|| {
        block_on(async {
            let spinners: Vec<_> = (0..8)
                .map(|_| {
                    spawn_with(Priority::HIGHEST, async {
                        loop {
                            let _ = sched(SCHED_KICK, 0, 0);
                        }
                    })
                })
                .collect();
            for spinner in spinners {
                let _: Result<(), _> = spinner.await;
            }
        });
        1
    })?;
    sleep_ms(5);
    let honest = child(|| {
        stir();
        0
    })?;
    let ended = exits(honest, 0);
    kill(liar, SIGKILL)?;
    crate::process::wait(liar)?;
    ended
}
