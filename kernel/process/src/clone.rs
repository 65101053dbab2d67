//! `clone`, `clone3` (and so `fork` and `vfork`): new threads and processes.
//!
//! Everything that can fail or wait happens before the new thread is entered in any table; from there to its
//! start there is no await, so a caller killed half-way leaves nothing behind.

use crate::{
    limits::most_threads,
    process::{Process, State},
    run::start,
    service::Service,
    table,
    thread::Thread,
};
use abi::{errno::Errno, process::*, signal::SIGRTMAX};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use hal::user::{Access, UserContext};
use mem::{Account, AddressSpace, Room};

/// What is understood.
const KNOWN: u64 = CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_VFORK
    | CLONE_PARENT
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID
    | CLONE_DETACHED
    | CLONE_UNTRACED
    | CLONE_CHILD_SETTID
    | CLONE_IO
    | CLONE_CLEAR_SIGHAND;

/// Arguments, whichever call they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `CLONE_*` without the exit signal.
    pub flags: u64,
    /// Signal to the parent at the end.
    pub exit_signal: u32,
    /// Stack pointer of the child; 0: the parent's.
    pub stack: usize,
    /// Where the parent wants the child's tid.
    pub parent_tid: usize,
    /// Where the child wants its tid, or wants 0 at its end.
    pub child_tid: usize,
    /// Thread pointer.
    pub tls: usize,
}

impl Request {
    /// From the registers of `clone` (riscv64's order).
    #[must_use]
    pub fn of_clone(args: &[usize; 6]) -> Self {
        let flags = args[0] as u64;
        Self {
            flags: flags & !CSIGNAL,
            exit_signal: (flags & CSIGNAL) as u32,
            stack: args[1],
            parent_tid: args[2],
            tls: args[3],
            child_tid: args[4],
        }
    }

    /// From the structure of `clone3`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn of_clone3(args: &CloneArgs) -> Result<Self, Errno> {
        let size = |value: u64| usize::try_from(value).map_err(|_| Errno::EINVAL);
        let stack = match (args.stack, args.stack_size) {
            (0, 0) => 0,
            (0, _) | (_, 0) => return Err(Errno::EINVAL),
            (low, len) => size(low.checked_add(len).ok_or(Errno::EINVAL)?)?,
        };
        if args.set_tid_size != 0 || args.flags & (CSIGNAL | CLONE_DETACHED) != 0 {
            return Err(Errno::EINVAL);
        }
        // Neither a thread nor a sibling has a say in it.
        if args.flags & (CLONE_THREAD | CLONE_PARENT) != 0 && args.exit_signal != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            flags: args.flags,
            exit_signal: u32::try_from(args.exit_signal).map_err(|_| Errno::EINVAL)?,
            stack,
            parent_tid: size(args.parent_tid)?,
            child_tid: size(args.child_tid)?,
            tls: size(args.tls)?,
        })
    }

    /// # Errors
    /// `EINVAL` for combinations that Linux refuses, and for what is not supported.
    fn check(&self) -> Result<(), Errno> {
        let needs = |flag: u64, other: u64| self.flags & flag == 0 || self.flags & other == other;
        let fits = needs(CLONE_THREAD, CLONE_SIGHAND) && needs(CLONE_SIGHAND, CLONE_VM);
        let clear = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND;
        if !fits || self.flags & !KNOWN != 0 || self.flags & clear == clear || self.exit_signal > SIGRTMAX {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// Serves `clone3`'s structure: copies it and checks its size.
///
/// # Errors
/// `EINVAL`, `E2BIG`, `EFAULT`.
pub(crate) async fn read_clone3(thread: &Thread, addr: usize, size: usize) -> Result<Request, Errno> {
    const FIRST_SIZE: usize = 64;
    let full = size_of::<CloneArgs>();
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL);
    }
    if size > full {
        return Err(Errno::E2BIG);
    }
    let mut bytes = [0; size_of::<CloneArgs>()];
    thread.space().copy_in(addr, &mut bytes[..size]).await?;
    let args = <CloneArgs as zerocopy::FromBytes>::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    Request::of_clone3(&args)
}

/// Makes the child and starts it; answers its tid.
///
/// # Errors
/// `EINVAL`, `EAGAIN` (too many threads), `ENOMEM`, `EFAULT`.
pub(crate) async fn clone(
    thread: &Arc<Thread>,
    service: &'static dyn Service,
    context: &UserContext,
    request: Request,
) -> Result<usize, Errno> {
    let tid = admit(thread, &request)?;
    let target = if request.has(CLONE_THREAD) { thread.process().clone() } else { fork(thread, tid, &request).await? };
    let child = child(thread, &target, tid, &request)?;
    if request.has(CLONE_CHILD_SETTID) {
        target.space().put(request.child_tid, &tid).await?;
    }
    if request.has(CLONE_PARENT_SETTID) {
        thread.space().put(request.parent_tid, &tid).await?;
    }
    set_off(thread, service, context, &target, &child, &request)?;
    if request.has(CLONE_VFORK) && !request.has(CLONE_THREAD) {
        let released = || (!target.borrowing.load(Ordering::Acquire)).then_some(()); // pairs with `release_parent`
        // A parent that is killed does not wait for its child.
        let _ = thread.unless_killed(exec::sync::wait_until(&target.released, released)).await;
    }
    Ok(tid as usize)
}

/// [`clone`] of a thread where nothing has to be waited for: none of the pages that get its tid. `None`: nothing was done,
/// but for an id that is skipped. `space` is the thread's.
#[inline(never)]
pub(crate) fn thread_now(
    thread: &Arc<Thread>,
    space: &AddressSpace,
    service: &'static dyn Service,
    context: &UserContext,
    request: Request,
) -> Option<Result<usize, Errno>> {
    if !request.has(CLONE_THREAD) {
        return None;
    }
    let tid = match admit(thread, &request) {
        Ok(tid) => tid,
        Err(errno) => return Some(Err(errno)),
    };
    for (flag, addr) in [(CLONE_CHILD_SETTID, request.child_tid), (CLONE_PARENT_SETTID, request.parent_tid)] {
        if request.has(flag) {
            space.word_now(addr, Access::Write, |word| word.store(tid, Ordering::Relaxed)).ok()?;
        }
    }
    let process = thread.process();
    let made = child(thread, process, tid, &request)
        .and_then(|child| set_off(thread, service, context, process, &child, &request));
    Some(made.map(|()| tid as usize))
}

/// Checks a request and the limits; a fresh id.
fn admit(thread: &Thread, request: &Request) -> Result<u32, Errno> {
    request.check()?;
    let process = thread.process();
    let user = process.user();
    if user != 0 && table::threads_of_user(user) as u64 >= process.limit(RLIMIT_NPROC) {
        return Err(Errno::EAGAIN);
    }
    if table::thread_count() as u64 >= process.limit(RLIMIT_NPROC).min(most_threads() as u64) {
        return Err(Errno::EAGAIN);
    }
    table::fresh_id()
}

/// The new thread, which nobody knows yet.
fn child(thread: &Thread, target: &Arc<Process>, tid: u32, request: &Request) -> Result<Arc<Thread>, Errno> {
    let class = thread.class().of_child()?;
    let child = Thread::new(tid, target.clone(), thread.signal_mask(), class, thread.affinity.clone())?;
    if request.has(CLONE_CHILD_CLEARTID) {
        child.set_clear_tid(request.child_tid);
    }
    // Another thread on the same memory would use its maker's at the same time; after `vfork` that one waits.
    if !request.has(CLONE_VM) || request.has(CLONE_VFORK) {
        let alternate = *thread.alternate.lock();
        *child.alternate.lock() = alternate;
    }
    Ok(child)
}

/// Enters the new thread everywhere and starts it.
fn set_off(
    thread: &Arc<Thread>,
    service: &'static dyn Service,
    context: &UserContext,
    target: &Arc<Process>,
    child: &Arc<Thread>,
    request: &Request,
) -> Result<(), Errno> {
    enter(thread, target, child, request)?;
    let mut registers = context.of_child();
    let x = registers.x_mut();
    x[10] = 0;
    if request.stack != 0 {
        x[2] = request.stack;
    }
    if request.has(CLONE_SETTLS) {
        x[4] = request.tls;
    }
    if start(child, service, registers).is_err() {
        withdraw(target, child, request);
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// Enters the new thread (and process) in the tables.
fn enter(thread: &Arc<Thread>, target: &Arc<Process>, child: &Arc<Thread>, request: &Request) -> Result<(), Errno> {
    {
        let mut state = target.state.lock();
        state.threads.make_room(1)?;
        state.threads.push(child.clone());
    }
    let executing = request.has(CLONE_THREAD) && target.executing.load(Ordering::Acquire); // pairs with `end_others`
    if executing || target.ending().is_some() {
        child.kill(); // it came too late to be killed with the others
    }
    if target.stopped() {
        child.notify(); // likewise
    }
    if !request.has(CLONE_THREAD) {
        target.borrowing.store(request.has(CLONE_VFORK), Ordering::Release); // pairs with the Acquire in `clone`
        let added = table::add_child(target.clone(), thread.process().pid(), request.has(CLONE_PARENT));
        added.inspect_err(|_| target.state.lock().threads.clear())?;
    }
    table::add_thread(child);
    Ok(())
}

fn withdraw(target: &Arc<Process>, child: &Arc<Thread>, request: &Request) {
    table::remove_thread(child.tid());
    target.state.lock().threads.retain(|thread| !Arc::ptr_eq(thread, child));
    if !request.has(CLONE_THREAD) {
        table::forget(target.pid());
    }
}

/// A new process with copies of, or shares in, what the flags say.
async fn fork(thread: &Arc<Thread>, pid: u32, request: &Request) -> Result<Arc<Process>, Errno> {
    let parent = thread.process();
    let account = Account::new(Some(&crate::oom::system_account()), usize::MAX);
    let space = if request.has(CLONE_VM) { parent.space() } else { parent.space().fork(account.clone()).await? };
    let (files, descriptors) = (parent.files()?, parent.descriptors()?);
    let files = if request.has(CLONE_FS) { files } else { crate::process::FileContext::new(files.get()) };
    let descriptors = if request.has(CLONE_FILES) { descriptors } else { Arc::new(descriptors.fork(&account)?) };
    let actions = parent.actions();
    let actions = if request.has(CLONE_SIGHAND) {
        actions
    } else if request.has(CLONE_CLEAR_SIGHAND) {
        actions.exec()
    } else {
        actions.fork()
    };
    let state = {
        let own = parent.state.lock();
        State {
            space,
            descriptors: Some(descriptors),
            files: Some(files),
            executable: own.executable.clone(),
            actions,
            limits: own.limits.clone(),
            identity: own.identity.clone(),
            name: own.name.clone(),
            command_line: own.command_line.clone(),
            threads: Vec::new(),
            slots: None,
        }
    };
    let child = Process::new(pid, account, state, request.exit_signal)?;
    child.set_next_world(parent.next_world() as u8);
    child.share.begin_as(&parent.share);
    child.is_guest.store(request.has(CLONE_VM), Ordering::Relaxed);
    Ok(child)
}
