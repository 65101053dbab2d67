//! Memory that runs out, and kills at every possible moment.

use super::*;
use abi::{
    process::{CLONE_VFORK, CLONE_VM, WaitStatus},
    signal::*,
};
use hal::user::Access;

const KILLED: u32 = WaitStatus::Signaled(SIGKILL as u8, false).encode();

#[test]
fn a_memory_hog_is_killed_and_its_memory_comes_back() {
    let _turn = turn();
    let bystander = exec::block_on(new_process(0));
    let system = crate::oom::system_account();
    let before = system.used();
    let hog = exec::block_on(new_process(0));
    let len = 1 << 30;
    let mapping = Mapping::anonymous(len, Prot::READ | Prot::WRITE);
    let start = exec::block_on(hog.space().map(mapping)).unwrap();
    let status = execute(&hog, move |context| {
        let at = context.x()[9];
        context.x_mut()[9] += PAGE_SIZE;
        assert!(at < len, "nobody stopped it");
        Exit::PageFault { address: start + at, access: Access::Write }
    });
    assert_eq!(status, KILLED);
    assert!(system.peak() <= system.limit());
    table::forget(hog.tid());
    drop(hog);
    assert_eq!(system.used(), before);
    assert_eq!(bystander.process().ending(), None);
    table::remove_thread(bystander.tid());
    table::forget(bystander.tid());
}

#[test]
fn what_ends_gives_its_memory_back_when_there_is_none() {
    let _turn = turn();
    CALLS.put(b"/good", images::elf(CODE as u64));
    let thread = exec::block_on(new_process(0));
    exec::block_on(thread.space().copy_out(DATA, b"/good\0")).unwrap();
    let (process, system) = (thread.process().clone(), crate::oom::system_account());
    // A world in which no process of these tests has ended yet.
    process.set_next_world(abi::asyncos::WORLD_TABLE as u8);
    let status = execute(&thread, move |context| {
        if context.x()[2] == STACK {
            return exit_call(context, nr::EXECVE, &[DATA, 0, 0]);
        }
        system.set_limit(system.used());
        exit_call(context, nr::EXIT_GROUP, &[0])
    });
    let system = crate::oom::system_account();
    system.set_limit(hal::frame::stats().total * PAGE_SIZE / 8 * 7);
    assert_eq!((status, process.space().world()), (0, World::Table));
    assert_eq!(process.space().usage().mapped, 0);
    table::forget(thread.tid());
}

/// One step of a life with a child that executes, a wait, a `vfork`, a fault and a handler.
fn busy(context: &mut UserContext) -> Exit {
    let vfork = (CLONE_VM | CLONE_VFORK) as usize | SIGCHLD as usize;
    if context.pc() == signal::deliver::SIGRETURN {
        return exit_call(context, nr::RT_SIGRETURN, &[]);
    }
    if context.pc() == HANDLER {
        context.set_pc(context.x()[1]);
        return Exit::Interrupt;
    }
    match (context.pc() - CODE) / 4 {
        0 if context.x()[2] != STACK => exit_call(context, nr::EXIT_GROUP, &[0]),
        0 => exit_call(context, ACTION, &[SIGCHLD as usize, HANDLER, SA_RESTART as usize]),
        1 => exit_call(context, nr::CLONE, &[SIGCHLD as usize, 0, 0, 0, 0]),
        2 if context.x()[10] == 0 => {
            context.set_pc(CODE + 80);
            exit_call(context, nr::EXECVE, &[DATA, 0, 0])
        }
        2 => {
            context.set_pc(context.pc() + 4);
            Exit::PageFault { address: DATA + 8, access: Access::Write }
        }
        3 => exit_call(context, nr::WAIT4, &[usize::MAX, DATA + 64, 0, 0]),
        4 => exit_call(context, nr::CLONE, &[vfork, 0, 0, 0, 0]),
        5 if context.x()[10] == 0 => exit_call(context, nr::EXIT_GROUP, &[0]),
        5 => exit_call(context, nr::WAIT4, &[usize::MAX, DATA + 64, 0, 0]),
        6 => {
            context.set_pc(CODE + 4);
            Exit::Interrupt
        }
        _ => exit_call(context, nr::EXIT_GROUP, &[1]),
    }
}

#[test]
fn a_kill_after_any_step_leaves_nothing_behind() {
    let _turn = turn();
    CALLS.put(b"/good", images::elf(CODE as u64));
    let system = crate::oom::system_account();
    // What is made once and stays: the first process, the signal-return page, the space that ended processes share.
    let first = exec::block_on(new_process(0));
    exec::block_on(first.space().copy_out(DATA, b"/good\0")).unwrap();
    execute(&first, |context| match context.x()[2] {
        STACK => exit_call(context, nr::EXECVE, &[DATA, 0, 0]),
        _ => exit_call(context, nr::EXIT_GROUP, &[0]),
    });
    table::forget(first.tid());
    drop(first);
    for steps in 1..40 {
        let (threads, used, free) = (table::thread_count(), system.used(), hal::frame::stats().free);
        let thread = exec::block_on(new_process(0));
        let pid = thread.tid();
        exec::block_on(thread.space().copy_out(DATA, b"/good\0")).unwrap();
        let (process, mut left) = (thread.process().clone(), steps);
        let victim = process.clone();
        let status = execute(&thread, move |context| {
            left -= 1;
            if left == 0 {
                victim.end(KILLED);
            }
            busy(context)
        });
        assert_eq!(status, KILLED, "after {steps} steps");
        hal::fake::set_user(|context| exit_call(context, nr::EXIT_GROUP, &[0]));
        exec::block_on(settle(threads));
        drop((thread, process));
        // The orphans went to the first process, which never waits here.
        table::forget(pid);
        for orphan in table::pids().into_iter().filter(|orphan| *orphan > pid) {
            table::forget(orphan);
        }
        assert_eq!((table::thread_count(), system.used()), (threads, used), "after {steps} steps");
        assert_eq!(hal::frame::stats().free, free, "after {steps} steps");
    }
}

/// Lets the executor run until only this many threads are left.
async fn settle(threads: usize) {
    for _ in 0..1000 {
        if table::thread_count() <= threads {
            return;
        }
        exec::sleep(0).await;
    }
    panic!("threads are left");
}
