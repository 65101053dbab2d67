//! What a process may do to its relatives by ending, and what they hear of it.

use super::*;
use abi::{
    process::{CLONE_PARENT, CloneArgs, WaitStatus},
    signal::*,
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use zerocopy::FromZeros;

fn step(context: &UserContext) -> usize {
    (context.pc() - CODE) / 4
}

fn first() -> Arc<Process> {
    table::process(1).unwrap()
}

#[test]
fn an_orphan_cannot_kill_the_first_process() {
    let _turn = turn();
    let maker = exec::block_on(new_process(0));
    let pid = maker.process().pid() as usize;
    let threads = table::thread_count();
    // The child chose SIGKILL for its parent, outlives that, and ends.
    let status = execute(&maker, move |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[SIGKILL as usize, 0, 0, 0, 0]),
        1 if context.x()[10] == 0 => {
            context.set_pc(CODE + 40);
            Exit::Interrupt
        }
        1 => exit_call(context, nr::EXIT_GROUP, &[0]),
        10 if table::process(pid as u32).is_some_and(|maker| maker.thread_count() > 0) => Exit::Interrupt,
        _ => exit_call(context, nr::EXIT_GROUP, &[0]),
    });
    assert_eq!(status, 0);
    settle(threads - 1);
    assert_eq!(first().ending(), None);
    for pid in table::pids().into_iter().filter(|&pid| pid >= maker.tid()) {
        table::forget(pid);
    }
}

#[test]
fn a_sibling_ends_as_its_maker_would() {
    let _turn = turn();
    let maker = exec::block_on(new_process(0));
    let flags = CLONE_PARENT as usize | SIGKILL as usize;
    // The maker's own parent is the table's 0: it may have no siblings, as the first process may not.
    let status = execute(&maker, move |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[flags, 0, 0, 0, 0]),
        1 if context.x()[10] as isize == Errno::EINVAL.to_return() => {
            exit_call(context, nr::CLONE, &[SIGCHLD as usize])
        }
        // A child of the maker makes a sibling, and both end: the maker is not killed.
        2 if context.x()[10] == 0 => {
            context.set_pc(CODE + 40);
            exit_call(context, nr::CLONE, &[flags, 0, 0, 0, 0])
        }
        2 => exit_call(context, nr::WAIT4, &[usize::MAX, DATA, 0, 0]),
        3 => exit_call(context, nr::WAIT4, &[usize::MAX, DATA, 0, 0]),
        4 => exit_call(context, nr::EXIT_GROUP, &[usize::from((context.x()[10] as isize) < 0)]),
        _ => exit_call(context, nr::EXIT_GROUP, &[0]),
    });
    assert_eq!(status, 0);
    table::forget(maker.tid());
    let clone3 = |flags, exit_signal| {
        crate::clone::Request::of_clone3(&CloneArgs { flags, exit_signal, ..CloneArgs::new_zeroed() }).is_ok()
    };
    assert!(clone3(CLONE_PARENT, 0) && !clone3(CLONE_PARENT, u64::from(SIGCHLD)));
}

#[test]
fn a_new_program_ends_with_sigchld() {
    let _turn = turn();
    CALLS.put(b"/good", images::elf(CODE as u64));
    let thread = exec::block_on(new_process(0));
    exec::block_on(thread.space().copy_out(DATA, b"/good\0")).unwrap();
    thread.process().exit_signal.store(SIGKILL, Relaxed);
    let status = execute(&thread, move |context| match context.x()[2] {
        STACK => exit_call(context, nr::EXECVE, &[DATA, 0, 0]),
        _ => exit_call(context, nr::EXIT_GROUP, &[0]),
    });
    assert_eq!((status, thread.process().exit_signal.load(Relaxed)), (0, SIGCHLD));
    table::forget(thread.tid());
}

#[test]
fn the_first_process_hears_of_zombies_that_it_inherits() {
    let _turn = turn();
    let maker = exec::block_on(new_process(0));
    first().pending.take(u64::MAX);
    let caught = Sigaction { handler: HANDLER as u64, flags: 0, mask: 0 };
    signal::set_action(&first(), SIGCHLD as i32, Some(caught)).unwrap();
    let child = Arc::new(AtomicU32::new(0));
    let made = child.clone();
    // The child dies first, and nobody waits for it.
    let status = execute(&maker, move |context| {
        if context.pc() == HANDLER {
            context.set_pc(context.x()[1]);
        }
        if context.pc() == signal::deliver::SIGRETURN {
            return exit_call(context, nr::RT_SIGRETURN, &[]);
        }
        match step(context) {
            0 => exit_call(context, ACTION, &[SIGUSR1 as usize, HANDLER, 0]),
            1 => exit_call(context, nr::CLONE, &[SIGUSR1 as usize, 0, 0, 0, 0]),
            2 if context.x()[10] == 0 => exit_call(context, nr::EXIT_GROUP, &[3]),
            2 => {
                made.store(context.x()[10] as u32, Relaxed);
                exit_call(context, PAUSE, &[])
            }
            _ => exit_call(context, nr::EXIT_GROUP, &[0]),
        }
    });
    assert_eq!(status, 0);
    let pid = child.load(Relaxed);
    assert_eq!(table::kin(pid).map(|kin| kin.parent), Some(1));
    let info = first().pending.take(mask(SIGCHLD)).expect("told");
    assert_eq!((info.signo, info.code), (SIGCHLD as i32, CLD_EXITED));
    let default = Sigaction { handler: SIG_DFL as u64, flags: 0, mask: 0 };
    signal::set_action(&first(), SIGCHLD as i32, Some(default)).unwrap();
    [pid, maker.tid()].into_iter().for_each(table::forget);
}

const OPTIONS: wait::Options =
    wait::Options { ended: true, stopped: true, continued: true, no_hang: true, keep: false };

fn sent(signal: u32) -> Siginfo {
    Siginfo::sent(signal, SI_USER, 1, 0, 0)
}

#[test]
fn a_zombie_stays_one_whatever_it_is_sent() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let child = exec::block_on(new_process(parent.tid()));
    let process = child.process();
    // It ends while it is stopped, not by a signal: the memory ran out.
    signal::stop(process, SIGSTOP, process.continued());
    process.end(WaitStatus::Exited(4).encode());
    crate::exit::thread_ended(&child, &CALLS);
    signal::send(process, sent(SIGCONT)).unwrap();
    let report = wait::wait_now(parent.process(), wait::Who::Any, OPTIONS).unwrap().expect("a zombie");
    assert_eq!(report.status, WaitStatus::Exited(4).encode());
    table::remove_thread(parent.tid());
    table::forget(parent.tid());
}

#[test]
fn a_stop_that_was_continued_before_it_happened_does_not_happen() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let child = exec::block_on(new_process(parent.tid()));
    let process = child.process();
    signal::send(process, sent(SIGSTOP)).unwrap();
    // What `deliver::act` does, and a SIGCONT from another hart in the middle of it.
    let continued = process.continued();
    let info = process.pending.take(u64::MAX).expect("pending");
    signal::send(process, sent(SIGCONT)).unwrap();
    signal::stop(process, info.signo as u32, continued);
    assert!(!process.stopped());
    assert!(wait::wait_now(parent.process(), wait::Who::Any, OPTIONS).unwrap().is_none());
    // The next one counts, and so does its end.
    signal::stop(process, SIGTSTP, process.continued());
    assert!(process.stopped());
    let report = wait::wait_now(parent.process(), wait::Who::Any, OPTIONS).unwrap().expect("stopped");
    assert_eq!(report.status, WaitStatus::Stopped(SIGTSTP as u8).encode());
    signal::send(process, sent(SIGCONT)).unwrap();
    let report = wait::wait_now(parent.process(), wait::Who::Any, OPTIONS).unwrap().expect("continued");
    assert_eq!((report.status, process.stopped()), (WaitStatus::Continued.encode(), false));
    for thread in [child, parent] {
        table::remove_thread(thread.tid());
        table::forget(thread.tid());
    }
}

/// The guest's `signals/child-ended` saw the zombie of a child that its parent ignores: noted first, forgotten afterwards.
#[test]
fn an_end_that_the_parent_ignores_is_never_a_zombie() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let pid = parent.process().pid();
    let find = || wait::wait_now(parent.process(), wait::Who::Any, OPTIONS);
    for unwanted in [true, false] {
        let child = exec::block_on(new_process(pid));
        table::remove_thread(child.tid());
        let told = table::end(child.tid(), 0, unwanted.then_some(pid)).unwrap();
        assert_eq!(told.pid(), pid);
        assert_eq!(find().is_ok_and(|found| found.is_some()), !unwanted);
        assert!(find().is_err(), "nothing is left");
    }
    table::remove_thread(parent.tid());
    table::forget(pid);
}

#[test]
fn a_child_that_is_made_meanwhile_gets_the_signal_too() {
    let _turn = turn();
    let sender = exec::block_on(new_process(0));
    let maker = exec::block_on(new_process(0));
    let child = exec::block_on(new_process(0));
    let all = core::cell::RefCell::new(Vec::from([maker.process().clone()]));
    let found = || {
        let found = all.borrow().clone();
        // It comes after this look, and before its maker has the signal.
        if found.len() == 1 {
            all.borrow_mut().push(child.process().clone());
        }
        found
    };
    assert_eq!(signal::send_all(sender.process(), SIGUSR1, found), Ok(()));
    let pending = |thread: &Arc<Thread>| thread.process().pending.mask() & mask(SIGUSR1) != 0;
    assert!(pending(&maker) && pending(&child));
    // Nothing comes from who has to end.
    signal::send(maker.process(), Siginfo::sent(SIGKILL, SI_USER, 1, 0, 0)).unwrap();
    let late = table::add_child(child.process().clone(), maker.process().pid(), false);
    assert_eq!(late, Err(Errno::ESRCH));
    for thread in [&sender, &maker, &child] {
        table::remove_thread(thread.tid());
        table::forget(thread.process().pid());
    }
}

#[test]
fn the_id_of_a_group_is_in_use_as_long_as_the_group() {
    let _turn = turn();
    let leader = exec::block_on(new_process(0));
    let id = leader.process().pid();
    let member = exec::block_on(new_process(0));
    let pid = member.process().pid();
    table::forget(pid);
    table::add(member.process().clone(), Kin { parent: 0, group: id, session: id });
    table::remove_thread(id);
    table::forget(id);
    assert!(!table::is_free(id));
    table::new_session(pid).unwrap();
    assert!(table::is_free(id));
    table::remove_thread(pid);
    table::forget(pid);
    assert!(table::is_free(pid));
}
