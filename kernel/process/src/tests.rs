//! Processes over the host's fakes: user programs are closures, the system-call layer is a small stand-in.
//!
//! A "program" is a function from its program counter to the next exit: the counter is `CODE + 4 * step`, each
//! call moves it on by one step, as an `ecall` would. So forks, restarts and handlers work as on the machine.

extern crate std;

mod executes;
mod families;
mod futexes;
mod images;
mod lives;
mod pressure;
mod signals;
mod slots;

use crate::affinity::Affinity;
use crate::class::Class;
use crate::{
    FdTable, futex,
    process::{FileContext, FilePlaces, Identity, Process, State},
    run::start,
    service::{Begun, Call, Outcome, Program, Restart, Service},
    signal,
    signal::Actions,
    table::{self, Kin},
    thread::Thread,
    wait,
};
use abi::{errno::Errno, nr, signal::Sigaction};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{any::Any, future::Future};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    space::{Prot, World},
    sync::{SpinLock, rank},
    user::{Exit, UserContext},
};
use io::{
    caller::Caller,
    file::{Attempt, BoxFuture, File},
};
use mem::{Account, AddressSpace, Backing, Mapping, Placement, Sink};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) const CODE: usize = 0x10000;
pub(super) const HANDLER: usize = 0x5_0000;
/// A page of writable memory in every test process.
pub(super) const DATA: usize = 0x20_0000;
pub(super) const STACK: usize = 0x30_0000;
/// Calls of the stand-in: waits for ever, interruptibly.
pub(super) const PAUSE: usize = 5000;
/// Sets the action for signal `a0` to handler `a1` with flags `a2`.
pub(super) const ACTION: usize = 5001;

/// Tests share the executor and the table of processes, so they take turns.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file in memory.
pub(super) struct MemoryFile {
    bytes: Vec<u8>,
    id: u64,
}

impl File for MemoryFile {
    fn read_now(&self, _: &Caller, offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let rest = self.bytes.get(offset as usize..).unwrap_or(&[]);
        let len = rest.len().min(dst.remaining());
        dst.put(&rest[..len])?;
        Ok(Some(len))
    }
    fn backing(&self, _: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(Arc::new(MemoryFile { bytes: self.bytes.clone(), id: self.id }))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Backing for MemoryFile {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        let frame = Frame::zeroed().ok_or(Errno::ENOMEM)?;
        let from = index as usize * PAGE_SIZE;
        let rest = self.bytes.get(from..).unwrap_or(&[]);
        frame.write(0, &rest[..rest.len().min(PAGE_SIZE)]);
        Ok(Some(frame))
    }
    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        Box::pin(async move { self.frame_now(index)?.ok_or(Errno::EIO) })
    }
    fn mark_dirty(&self, _: u64) {}
    fn len_pages(&self) -> u64 {
        self.bytes.len().div_ceil(PAGE_SIZE) as u64
    }
    fn id(&self) -> u64 {
        self.id
    }
}

pub(super) fn program(path: &[u8], bytes: Vec<u8>) -> Program {
    let file: Arc<dyn File> = Arc::new(MemoryFile { bytes, id: mem::new_object_id() });
    let backing = file.backing(&path.into()).unwrap();
    Program { file, backing, path: path.to_vec(), place: Arc::new(()) }
}

/// The stand-in for the system-call layer.
pub(super) struct Calls {
    files: SpinLock<BTreeMap<Vec<u8>, Vec<u8>>>,
    ended: SpinLock<Option<u32>>,
}

pub(super) static CALLS: Calls =
    Calls { files: SpinLock::new(rank::CACHE, BTreeMap::new()), ended: SpinLock::new(rank::CACHE, None) };

impl Calls {
    pub(super) fn put(&self, path: &[u8], bytes: Vec<u8>) {
        self.files.lock().insert(path.to_vec(), bytes);
    }

    async fn serve(&self, thread: &Arc<Thread>, call: Call) -> Outcome {
        let [a, b, c, ..] = call.args;
        let process = thread.process();
        match call.number {
            nr::WAIT4 => {
                let options =
                    wait::Options { ended: true, stopped: true, continued: true, no_hang: false, keep: false };
                let change = wait::change(process, wait::Who::of_pid(process, a as i32), options);
                match thread.interruptible(change).await {
                    Ok(Ok(Some(report))) => {
                        let stored = thread.space().put(b, &report.status).await;
                        stored.map(|()| report.pid as usize).into()
                    }
                    Ok(Ok(None)) => Outcome::Value(0),
                    Ok(Err(error)) => Errno::from(error).into(),
                    Err(_) => Outcome::Restart(Restart::IfAllowed),
                }
            }
            nr::KILL => signal::kill(process, a as i32, b as i32).map(|()| 0).into(),
            PAUSE => match thread.interruptible(core::future::pending::<()>()).await {
                Ok(()) => Outcome::Value(0),
                Err(_) => Outcome::Restart(Restart::IfAllowed),
            },
            ACTION => {
                let action = Sigaction { handler: b as u64, flags: c as u64, mask: 0 };
                signal::set_action(process, a as i32, Some(action)).map(|_| 0).into()
            }
            nr::FUTEX if b == 0 => futex::wait(thread, a, true, c as u32, u32::MAX, None).await.map(|()| 0).into(),
            nr::FUTEX => futex::wake(&thread.space(), a, true, c, u32::MAX).into(),
            _ => Errno::ENOSYS.into(),
        }
    }
}

impl Service for Calls {
    fn now<'a>(
        &'a self,
        thread: &'a Arc<Thread>,
        _: &Arc<mem::AddressSpace>,
        number: usize,
        _: &[usize; 6],
    ) -> Begun<'a> {
        if number == nr::GETPID { Begun::Done(thread.process().pid() as isize) } else { Begun::Not }
    }
    fn call<'a>(&'a self, thread: &'a Arc<Thread>, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(self.serve(thread, call))
    }
    fn register(&self, _: &Arc<Thread>, _: Call, _: u64, _: Option<u32>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    fn open_program<'a>(
        &'a self,
        _: &'a Arc<Thread>,
        _: i32,
        path: &'a [u8],
        _: u32,
    ) -> BoxFuture<'a, Result<Program, Errno>> {
        let found = self.files.lock().get(path).cloned().ok_or(Errno::ENOENT);
        Box::pin(async move { found.map(|bytes| program(path, bytes)) })
    }
    fn init_ended(&self, status: u32) {
        *self.ended.lock() = Some(status);
    }
}

pub(super) fn exit_call(context: &mut UserContext, number: usize, args: &[usize]) -> Exit {
    let x = context.x_mut();
    x[17] = number;
    x[10..10 + args.len()].copy_from_slice(args);
    context.set_pc(context.pc() + 4);
    Exit::Syscall
}

/// Lets the coroutines run until only `threads` are left.
pub(super) fn settle(threads: usize) {
    exec::block_on(async {
        while table::thread_count() > threads {
            exec::sleep(0).await;
        }
    });
}

/// A process with one thread and two pages of memory, whose parent is `parent`; not started.
pub(super) async fn new_process(parent: u32) -> Arc<Thread> {
    if parent == 0 && table::process(1).is_none() {
        // Somebody has to be the first process: it never runs.
        assert_eq!(table::fresh_id(), Ok(1));
        let first = bare(1).await;
        table::add(first.process().clone(), Kin { parent: 0, group: 0, session: 0 });
    }
    let pid = table::fresh_id().unwrap();
    let thread = bare(pid).await;
    table::add(thread.process().clone(), Kin { parent, group: 0, session: 0 });
    table::add_thread(&thread);
    thread
}

async fn bare(pid: u32) -> Arc<Thread> {
    let account = Account::new(Some(&crate::oom::system_account()), usize::MAX);
    let space = AddressSpace::new(World::Shared, account.clone()).unwrap();
    for (at, pages) in [(DATA, 1), (STACK - 4 * PAGE_SIZE, 4)] {
        let mapping = Mapping::anonymous(pages * PAGE_SIZE, Prot::READ | Prot::WRITE);
        space.map(mapping.at(Placement::Fixed(at))).await.unwrap();
    }
    let place: crate::process::Place = Arc::new(());
    let state = State {
        space,
        descriptors: Some(Arc::new(FdTable::new(&account).unwrap())),
        files: Some(FileContext::new(FilePlaces { root: place.clone(), directory: place, umask: 0o22 })),
        executable: None,
        actions: Actions::new(),
        limits: crate::limits::Limits::default(),
        identity: Identity::default(),
        name: b"test".to_vec(),
        command_line: Vec::new(),
        threads: Vec::new(),
        slots: None,
    };
    let process = Process::new(pid, account, state, abi::signal::SIGCHLD).unwrap();
    let thread = Thread::new(pid, process.clone(), 0, Class::DEFAULT, Affinity::all()).unwrap();
    process.state.lock().threads.push(thread.clone());
    thread
}

/// Runs `user` as the code of all processes until the process of `thread` has ended; answers its status.
pub(super) fn execute(thread: &Arc<Thread>, user: impl FnMut(&mut UserContext) -> Exit + 'static) -> u32 {
    hal::fake::set_user(user);
    start(thread, &CALLS, UserContext::new(CODE, STACK)).unwrap();
    let process = thread.process().clone();
    let ended = async {
        for _ in 0..10_000 {
            if process.thread_count() == 0 {
                return;
            }
            let mut polled = false;
            core::future::poll_fn(|_| {
                let ready = if polled { core::task::Poll::Ready(()) } else { core::task::Poll::Pending };
                polled = true;
                ready
            })
            .await;
        }
        panic!("the process does not end");
    };
    exec::block_on(ended);
    process.ending().unwrap()
}

#[test]
fn a_thread_is_paid_for_by_its_process() {
    let _turn = turn();
    let first = exec::block_on(new_process(0));
    let account = first.process().account().clone();
    let before = account.used();
    let second =
        Thread::new(table::fresh_id().unwrap(), first.process().clone(), 0, Class::DEFAULT, Affinity::all()).unwrap();
    assert_eq!(account.used(), before + crate::footprint::CHARGE);
    account.set_limit(account.used() + crate::footprint::CHARGE - 1);
    assert!(
        Thread::new(table::fresh_id().unwrap(), first.process().clone(), 0, Class::DEFAULT, Affinity::all()).is_err()
    );
    drop(second);
    assert_eq!(account.used(), before);
    table::remove_thread(first.tid());
    table::forget(first.tid());
}
