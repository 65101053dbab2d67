//! The system's account, and what happens when memory is gone.
//!
//! The limit of the system's account leaves a reserve for the kernel, so most shortages show as `ENOMEM` at
//! admission. A page fault has nobody to answer to: when it finds no memory, the process that pays for the
//! most is killed (it may be the faulting one), and the fault is tried again.

use crate::{process::Process, table, thread::Thread};
use abi::{process::WaitStatus, signal::SIGKILL};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use hal::{
    PAGE_SIZE,
    space::World,
    sync::{SpinLock, rank},
};
use mem::{Account, AddressSpace};

/// Part of the memory that user processes may have, in eighths.
const USER_EIGHTHS: usize = 7;

/// The account that all processes are below.
#[must_use]
pub fn system_account() -> Arc<Account> {
    static ACCOUNT: SpinLock<Option<Arc<Account>>> = SpinLock::new(rank::ACCOUNT, None);
    if let Some(account) = &*ACCOUNT.lock() {
        return account.clone();
    }
    let limit = hal::frame::stats().total * PAGE_SIZE / 8 * USER_EIGHTHS;
    let account = Account::new(None, limit);
    ACCOUNT.lock().get_or_insert(account).clone()
}

/// Makes room for a fault of `thread`; `false` if the thread itself has to go.
pub(crate) async fn relieve(thread: &Thread) -> bool {
    let own = thread.process().account();
    if own.limit().saturating_sub(own.used()) < PAGE_SIZE {
        return false; // its own quota, not the system's memory
    }
    if !is_gone() {
        return true; // somebody gave memory back, or a failure was asked for (`hal::fail`)
    }
    static KILLING: AtomicBool = AtomicBool::new(false);
    if !KILLING.swap(true, Ordering::Acquire) {
        if let Some(victim) = largest() {
            let name = victim.name();
            let (name, kib) = (alloc::string::String::from_utf8_lossy(&name), victim.account().used() >> 10);
            log::warn!("out of memory: killing {name}[{}], {kib} KiB", victim.pid());
            victim.end(WaitStatus::Signaled(SIGKILL as u8, false).encode());
        }
        KILLING.store(false, Ordering::Release); // pairs with the Acquire above
    }
    if thread.killed() {
        return false;
    }
    // The victim ends in its own time.
    exec::sleep(1_000_000).await;
    !thread.killed()
}

/// More than a page with what is noted about it: who was refused less than this is not told that there is memory.
const MARGIN: usize = 4 * PAGE_SIZE;

/// Whether the next page might be refused.
fn is_gone() -> bool {
    let system = system_account();
    system.limit().saturating_sub(system.used()) < MARGIN || !hal::frame::admits(MARGIN)
}

/// The process that pays for the most and is not ending; the first process only if it is alone.
fn largest() -> Option<Arc<Process>> {
    let all = table::members(|_| true);
    let running = || all.iter().filter(|process| process.thread_count() > 0);
    if running().any(|process| process.ending().is_some()) {
        return None; // memory is on its way already
    }
    let first = |process: &&Arc<Process>| process.pid() != 1;
    let largest = running().filter(first).max_by_key(|process| process.account().used());
    largest.or_else(|| running().next()).cloned()
}

/// What an ended process has in place of its space; one for each world, made for the first program in it.
pub(crate) fn empty_space(world: World) -> Option<Arc<AddressSpace>> {
    static SPACES: SpinLock<[Option<Arc<AddressSpace>>; 3]> = SpinLock::new(rank::THREAD, [const { None }; 3]);
    let index = match world {
        World::Vm => 0,
        World::Table => 1,
        World::Shared => 2,
    };
    if let Some(space) = &SPACES.lock()[index] {
        return Some(space.clone());
    }
    let space = AddressSpace::new(world, system_account()).ok()?;
    Some(SPACES.lock()[index].get_or_insert(space).clone())
}
