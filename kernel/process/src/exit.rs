//! The end of threads and processes.
//!
//! A thread ends in its own coroutine, never elsewhere: whoever wants it gone sets its kill flag. The last thread of a
//! process gives back what the process holds, hands its children to the first process and becomes a zombie.

use crate::{
    futex,
    process::Process,
    service::Service,
    signal::{retarget, send},
    table,
    thread::Thread,
};
use abi::{
    process::WaitStatus,
    signal::{CLD_EXITED, CLD_KILLED, SA_NOCLDWAIT, SIG_IGN, SIGCHLD, Siginfo},
};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// Most entries of a robust list that are looked at, as in Linux.
const ROBUST_LIMIT: usize = 2048;

/// What a thread owes to others in its address space when it leaves it: its robust mutexes, its tid word.
pub(crate) async fn leave_space(thread: &Thread) {
    if leave_space_now(thread) {
        return;
    }
    let space = thread.space();
    let head = thread.robust.swap(0, Ordering::Relaxed);
    if head != 0 {
        release_robust(&space, head, thread.tid()).await;
    }
    let clear = thread.clear_tid.swap(0, Ordering::Relaxed);
    if clear != 0 {
        futex::clear_and_wake(&space, clear).await;
    }
}

/// [`leave_space`] of a thread without robust mutexes whose tid word is there. `false`: nothing was done.
pub(crate) fn leave_space_now(thread: &Thread) -> bool {
    let clear = thread.clear_tid.load(Ordering::Relaxed);
    if thread.robust.load(Ordering::Relaxed) != 0 {
        return false;
    }
    if clear != 0 && futex::clear_and_wake_now(&thread.space(), clear).is_err() {
        return false;
    }
    thread.clear_tid.store(0, Ordering::Relaxed);
    true
}

/// Walks `struct robust_list_head`: first entry, offset of the lock word, entry being changed.
async fn release_robust(space: &mem::AddressSpace, head: usize, tid: u32) {
    let Ok([first, offset, changing]) = space.get::<[u64; 3]>(head).await else { return };
    let word = |entry: u64| (entry & !1).wrapping_add(offset) as usize;
    let mut entry = first;
    for _ in 0..ROBUST_LIMIT {
        if (entry & !1) as usize == head {
            break;
        }
        let next = space.get::<u64>((entry & !1) as usize).await;
        if entry != changing {
            futex::owner_died(space, word(entry), tid).await;
        }
        let Ok(next) = next else { return };
        entry = next;
    }
    if changing != 0 {
        futex::owner_died(space, word(changing), tid).await;
    }
}

/// Ends all other threads of the process and waits until they are gone, for `execve`. `false`: this thread has to
/// end itself, because the process ends or another thread executes.
pub(crate) async fn end_others(thread: &Arc<Thread>) -> bool {
    let process = thread.process();
    // One thread at a time: two would wait for each other's end.
    if thread.killed() || process.executing.swap(true, Ordering::AcqRel) {
        return false;
    }
    // Who makes a thread enters it first and looks at `executing` then: it is in this list, or ends of itself.
    process.threads().iter().filter(|other| !Arc::ptr_eq(other, thread)).for_each(|other| other.kill());
    let alone = exec::sync::wait_until(&process.changed, || (process.thread_count() == 1).then_some(()));
    if thread.unless_killed(alone).await.is_err() {
        return false;
    }
    process.executing.store(false, Ordering::Release);
    // The process's id is the tid of its only thread, whichever that is: the first may have ended long ago.
    if thread.tid() != process.pid() {
        table::remove_thread(thread.tid());
        thread.set_tid(process.pid());
        table::add_thread(thread);
    }
    true
}

/// The last thing a thread's coroutine does, when it has left its space.
pub(crate) fn thread_ended(thread: &Arc<Thread>, service: &dyn Service) {
    let process = thread.process();
    process.usage.absorb(&thread.usage.times());
    table::remove_thread(thread.tid());
    let task = thread.scheduled.lock().task.take();
    drop(task);
    // A ring may hold on whose behalf it serves: this thread.
    thread.end_registered_rings();
    let last = {
        let mut state = process.state.lock();
        state.threads.retain(|other| !Arc::ptr_eq(other, thread));
        state.threads.is_empty()
    };
    if last {
        process_ended(process, service);
    } else {
        retarget(thread, u64::MAX);
        process.changed.wake_all();
    }
}

fn process_ended(process: &Arc<Process>, service: &dyn Service) {
    let status = process.ending().unwrap_or(0);
    give_back(process);
    process.release_parent();
    if process.pid() == 1 {
        service.init_ended(status);
    }
    if let Some((first, zombies)) = table::orphan(process.pid()) {
        for (zombie, status) in &zombies {
            if careless(&first, zombie) {
                table::forget(zombie.pid());
            }
            tell(&first, zombie, *status);
        }
    }
    let unwanted_by = table::parent(process.pid()).filter(|parent| careless(parent, process));
    let Some(parent) = table::end(process.pid(), status, unwanted_by.map(|parent| parent.pid())) else { return };
    tell(&parent, process, status);
}

/// Drops space, descriptors, file context and program; not under the lock, because that may run anybody's code.
fn give_back(process: &Arc<Process>) {
    let nothing = crate::oom::empty_space(process.space().world());
    let mut state = process.state.lock();
    let held = (state.descriptors.take(), state.files.take(), state.executable.take(), state.slots.take());
    let space = nothing.map(|nothing| core::mem::replace(&mut state.space, nothing));
    drop(state);
    process.abandon_attached();
    drop(held);
    drop(space);
}

/// Whether a parent does not care for the end of this child: then it has no zombie.
fn careless(parent: &Process, process: &Process) -> bool {
    let action = parent.actions().get(SIGCHLD);
    let ignores = action.handler == SIG_IGN as u64 || action.flags & SA_NOCLDWAIT != 0;
    process.exit_signal.load(Ordering::Relaxed) == SIGCHLD && ignores
}

/// Tells the parent.
fn tell(parent: &Arc<Process>, process: &Arc<Process>, status: u32) {
    let signal = process.exit_signal.load(Ordering::Relaxed);
    if signal != 0 {
        let info = child_info(process, status);
        // Its queue may be full: the child can be waited for all the same.
        let _ = send(parent, Siginfo { signo: signal as i32, ..info });
    }
    parent.changed.wake_all();
}

/// What `SIGCHLD` and `waitid` say about a child that has ended.
#[must_use]
pub(crate) fn child_info(process: &Process, status: u32) -> Siginfo {
    let (code, value) = match WaitStatus::decode(status) {
        WaitStatus::Exited(code) => (CLD_EXITED, i32::from(code)),
        WaitStatus::Signaled(signal, _) | WaitStatus::Stopped(signal) => (CLD_KILLED, i32::from(signal)),
        WaitStatus::Continued => (CLD_KILLED, 0),
    };
    let times = process.times();
    let ticks = |ns: u64| ns / 10_000_000;
    Siginfo::child(code, process.pid() as i32, process.user(), value, ticks(times.user), ticks(times.system))
}
