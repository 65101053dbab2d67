//! Fork, exec, exit, wait, signals: whole lives.

use super::*;
use crate::{
    class::{Class, Parts},
    reservation::Reservation,
};
use abi::{
    process::{CLONE_VFORK, CLONE_VM, SCHED_DEADLINE, WaitStatus},
    signal::*,
};
use hal::user::{Access, Exception};
use std::sync::atomic::{AtomicU32, Ordering};

fn step(context: &UserContext) -> usize {
    (context.pc() - CODE) / 4
}

#[test]
fn a_child_exits_and_is_waited_for() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let status = execute(&parent, |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
        1 if context.x()[10] == 0 => exit_call(context, nr::EXIT_GROUP, &[7]),
        1 => exit_call(context, nr::WAIT4, &[context.x()[10], DATA, 0, 0]),
        2 => {
            assert!(context.x()[10] as isize > 1);
            exit_call(context, nr::WAIT4, &[usize::MAX, DATA, 0, 0])
        }
        3 => {
            assert_eq!(context.x()[10] as isize, Errno::ECHILD.to_return());
            exit_call(context, nr::EXIT_GROUP, &[0x105])
        }
        step => panic!("step {step}"),
    });
    assert_eq!(status, WaitStatus::Exited(5).encode());
}

#[test]
fn a_bad_access_kills_only_its_process() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let status = execute(&parent, |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
        1 if context.x()[10] == 0 => Exit::PageFault { address: 0xdead_0000, access: Access::Write },
        1 => exit_call(context, nr::WAIT4, &[usize::MAX, DATA, 0, 0]),
        _ => exit_call(context, nr::EXIT_GROUP, &[0]),
    });
    assert_eq!(status, 0);
    for exception in [
        Exception::IllegalInstruction,
        Exception::Breakpoint,
        Exception::Misaligned { address: 1, access: Access::Read },
    ] {
        let culprit = exec::block_on(new_process(0));
        let status = execute(&culprit, move |_| Exit::Exception(exception));
        assert!(matches!(WaitStatus::decode(status), WaitStatus::Signaled(..)), "{exception:?}");
    }
}

#[test]
fn a_handler_runs_and_the_call_restarts() {
    let _turn = turn();
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let parent = exec::block_on(new_process(0));
    let pid = parent.process().pid() as usize;
    let status = execute(&parent, move |context| {
        if context.pc() == HANDLER {
            SEEN.fetch_add(context.x()[10] as u32, Ordering::Relaxed);
            assert_eq!((context.x()[2] % 16, context.x()[11]), (0, context.x()[2]));
            context.set_pc(context.x()[1]);
        }
        if context.pc() == signal::deliver::SIGRETURN {
            return exit_call(context, nr::RT_SIGRETURN, &[]);
        }
        match step(context) {
            0 => exit_call(context, ACTION, &[SIGUSR1 as usize, HANDLER, SA_RESTART as usize]),
            1 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
            // The child: interrupts the parent's wait, then ends it.
            2 if context.x()[10] == 0 => exit_call(context, nr::KILL, &[pid, SIGUSR1 as usize]),
            3 if context.x()[18] == 1 => exit_call(context, nr::EXIT_GROUP, &[3]),
            2 => {
                context.x_mut()[18] = 1;
                context.set_pc(CODE + 40);
                exit_call(context, nr::WAIT4, &[context.x()[10], DATA, 0, 0])
            }
            3 => exit_call(context, nr::EXIT_GROUP, &[3]),
            10 => exit_call(context, nr::WAIT4, &[context.x()[10], DATA, 0, 0]),
            11 => exit_call(context, nr::EXIT_GROUP, &[usize::from(context.x()[10] as isize <= 0)]),
            step => panic!("step {step}"),
        }
    });
    assert_eq!((status, SEEN.load(Ordering::Relaxed)), (0, SIGUSR1));
}

#[test]
fn without_restart_the_call_fails_with_eintr() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let pid = parent.process().pid() as usize;
    let status = execute(&parent, move |context| {
        if context.pc() == HANDLER {
            context.set_pc(context.x()[1]);
        }
        if context.pc() == signal::deliver::SIGRETURN {
            return exit_call(context, nr::RT_SIGRETURN, &[]);
        }
        match step(context) {
            0 => exit_call(context, ACTION, &[SIGUSR1 as usize, HANDLER, 0]),
            1 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
            2 if context.x()[10] == 0 => {
                context.set_pc(CODE + 80);
                exit_call(context, nr::KILL, &[pid, SIGUSR1 as usize])
            }
            2 => exit_call(context, PAUSE, &[]),
            3 => {
                let interrupted = context.x()[10] as isize == Errno::EINTR.to_return();
                exit_call(context, nr::EXIT_GROUP, &[usize::from(!interrupted)])
            }
            _ => exit_call(context, nr::EXIT_GROUP, &[0]),
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn a_killed_process_is_gone_wherever_it_was() {
    let _turn = turn();
    let parent = exec::block_on(new_process(0));
    let status = execute(&parent, |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
        1 if context.x()[10] == 0 => {
            context.set_pc(CODE + 80);
            exit_call(context, PAUSE, &[])
        }
        1 => {
            context.x_mut()[18] = context.x()[10];
            exit_call(context, nr::KILL, &[context.x()[10], SIGKILL as usize])
        }
        2 => exit_call(context, nr::WAIT4, &[context.x()[18], DATA, 0, 0]),
        3 => exit_call(context, nr::EXIT_GROUP, &[usize::from(context.x()[10] != context.x()[18])]),
        step => panic!("step {step}"),
    });
    assert_eq!(status, 0);
}

#[test]
fn a_vfork_parent_waits_for_exec_or_exit() {
    let _turn = turn();
    let flags = (CLONE_VM | CLONE_VFORK) as usize | SIGCHLD as usize;
    static ORDER: AtomicU32 = AtomicU32::new(0);
    let parent = exec::block_on(new_process(0));
    let status = execute(&parent, move |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[flags, 0, 0, 0, 0]),
        1 if context.x()[10] == 0 => {
            assert_eq!(ORDER.fetch_add(1, Ordering::Relaxed), 0);
            exit_call(context, nr::EXIT_GROUP, &[0])
        }
        _ => {
            assert_eq!(ORDER.fetch_add(1, Ordering::Relaxed), 1);
            exit_call(context, nr::EXIT_GROUP, &[0])
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn exec_replaces_the_program_and_bad_files_harm_nobody() {
    let _turn = turn();
    CALLS.put(b"/good", images::elf(CODE as u64));
    CALLS.put(b"/script", b"#! /good -x\nrest".to_vec());
    CALLS.put(b"/loop", b"#!/loop\n".to_vec());
    CALLS.put(b"/bad", b"\x7fELF nonsense".to_vec());
    for (path, expected) in [
        (b"/good\0".as_slice(), 0),
        (b"/script\0", 0),
        (b"/loop\0", Errno::ELOOP.to_return()),
        (b"/bad\0", Errno::ENOEXEC.to_return()),
        (b"/none\0", Errno::ENOENT.to_return()),
    ] {
        let thread = exec::block_on(new_process(0));
        exec::block_on(thread.space().copy_out(DATA, path)).unwrap();
        let process = thread.process().clone();
        let status = execute(&thread, move |context| match step(context) {
            // A new program starts at its entry with a fresh register file.
            0 if context.x()[2] != STACK => exit_call(context, nr::EXIT_GROUP, &[0]),
            0 => exit_call(context, nr::EXECVE, &[DATA, 0, 0]),
            1 => exit_call(context, nr::EXIT_GROUP, &[context.x()[10].wrapping_neg()]),
            step => panic!("step {step}"),
        });
        assert_eq!(status, WaitStatus::Exited((-expected) as u8).encode(), "{}", path.escape_ascii());
        let ran = expected == 0;
        assert_eq!(process.name() == b"test", !ran);
    }
}

#[test]
fn threads_share_memory_and_end_with_the_group() {
    let _turn = turn();
    use abi::process::{CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD};
    let flags = (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD) as usize;
    let thread = exec::block_on(new_process(0));
    let status = execute(&thread, move |context| match step(context) {
        0 => exit_call(context, nr::CLONE, &[flags, STACK - 4096, 0, 0, 0]),
        1 if context.x()[10] == 0 => exit_call(context, nr::FUTEX, &[DATA, 0, 0]),
        1 => exit_call(context, nr::FUTEX, &[DATA, 1, 1]),
        // Whoever comes first ends the other.
        _ => exit_call(context, nr::EXIT_GROUP, &[9]),
    });
    assert_eq!(status, WaitStatus::Exited(9).encode());
}

#[test]
fn requests_of_a_thread_with_a_reservation_run_without_one() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let usual = thread.class();
    let reserved = Class::new(Parts { policy: SCHED_DEADLINE, ..usual.parts() });
    let reservation = Reservation::new(1_000_000, 10_000_000, 0).unwrap();
    assert_eq!(thread.set_class(usual, reserved, Some(reservation)), Ok(true));
    let request = thread.birth_of_request().priority;
    assert_eq!(thread.set_class(reserved, usual, None), Ok(true));
    assert_eq!(request, exec::Priority::NORMAL);
    let status = execute(&thread, |context| exit_call(context, nr::EXIT_GROUP, &[0]));
    assert_eq!(status, WaitStatus::Exited(0).encode());
}

#[test]
fn ids_change_by_what_they_are() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let process = thread.process();
    assert_eq!(process.change_identity(|identity| Ok(core::mem::replace(&mut identity.euid, 1000))), Ok(0));
    // What else is changed leaves that.
    let groups = process.change_identity(|identity| Ok(core::mem::replace(&mut identity.groups, Vec::from([7]))));
    assert_eq!(groups, Ok(Vec::new()));
    let refused = process.change_identity(|identity| if identity.euid == 0 { Ok(()) } else { Err(Errno::EPERM) });
    assert_eq!(refused, Err(Errno::EPERM));
    let expected = Identity { euid: 1000, groups: Vec::from([7]), ..Identity::default() };
    assert_eq!((process.identity(), process.credentials().uid), (expected, 1000));
    let status = execute(&thread, |context| exit_call(context, nr::EXIT_GROUP, &[0]));
    assert_eq!(status, WaitStatus::Exited(0).encode());
}

#[test]
fn a_fork_bomb_meets_its_limit() {
    let _turn = turn();
    let before = table::thread_count();
    let thread = exec::block_on(new_process(0));
    let limit = abi::process::Rlimit { current: before as u64 + 20, max: before as u64 + 20 };
    thread.process().set_limit(abi::process::RLIMIT_NPROC, limit).unwrap();
    static MET: AtomicU32 = AtomicU32::new(0);
    static MOST: AtomicU32 = AtomicU32::new(0);
    let status = execute(&thread, |context| {
        MOST.fetch_max(table::thread_count() as u32, Ordering::Relaxed);
        if context.x()[10] as isize == Errno::EAGAIN.to_return() {
            MET.store(1, Ordering::Relaxed);
        }
        match MET.load(Ordering::Relaxed) {
            0 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
            _ => exit_call(context, nr::EXIT_GROUP, &[0]),
        }
    });
    assert_eq!((status, MOST.load(Ordering::Relaxed) as usize), (0, before + 20));
    settle(before);
}

#[test]
fn the_system_has_a_limit_that_nobody_can_raise() {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let process = thread.process();
    let unlimited = abi::process::Rlimit { current: u64::MAX, max: u64::MAX };
    process.set_limit(abi::process::RLIMIT_NPROC, unlimited).unwrap();
    let crowd: Vec<_> = (table::thread_count()..crate::limits::most_threads())
        .map(|_| Thread::new(table::fresh_id().unwrap(), process.clone(), 0, Class::DEFAULT, Affinity::all()).unwrap())
        .collect();
    crowd.iter().for_each(table::add_thread);
    let request = crate::clone::Request { exit_signal: SIGCHLD, ..Default::default() };
    let context = UserContext::new(CODE, STACK);
    let made = exec::block_on(crate::clone::clone(&thread, &CALLS, &context, request));
    assert_eq!(made, Err(Errno::EAGAIN));
    crowd.iter().chain([&thread]).for_each(|thread| table::remove_thread(thread.tid()));
    table::forget(thread.tid());
}
