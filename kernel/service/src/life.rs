//! The life of processes and threads as far as it needs no registers: waiting for children, futexes, limits,
//! names. `clone`, `execve` and `exit` are `process`'s own.

use crate::{
    arguments::{Args, nanos, only},
    context::Task,
    futexes,
};
use abi::{
    asyncos::{WORLD_AUTO, WORLD_GET, WORLD_SET_NEXT, WORLD_SHARED, WORLD_TABLE, WORLD_VM},
    errno::Errno,
    futex as x,
    process::{self as p, Rlimit, Rusage},
    signal::Siginfo,
    time::Timespec,
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use hal::space::World;
use io::file::IoError;
use mem::AddressSpace;
use process::{
    Begun, Outcome, Process, Restart, Thread, futex,
    futex::Requeue,
    table,
    wait::{self, Who},
};
use zerocopy::FromZeros;

/// Bytes of a robust list's head.
const ROBUST_HEAD: usize = 24;

/// `set_tid_address(addr)`.
pub(crate) fn set_tid_address(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    task.thread().set_clear_tid(args.word(0));
    Ok(task.thread().tid() as usize)
}

/// `set_robust_list(head, len)`.
pub(crate) fn set_robust_list(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(1) != ROBUST_HEAD {
        return Err(Errno::EINVAL);
    }
    task.thread().set_robust_list(args.word(0));
    Ok(0)
}

/// `get_robust_list(tid, head, len)`.
pub(crate) async fn get_robust_list(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let head = match args.int(0) {
        0 => task.thread().robust_list(),
        tid => {
            let thread = table::thread(tid as u32).ok_or(Errno::ESRCH)?;
            if !Arc::ptr_eq(thread.process(), task.process()) {
                task.privileged()?;
            }
            thread.robust_list()
        }
    };
    task.space().put(args.word(1), &(head as u64)).await?;
    task.space().put(args.word(2), &(ROBUST_HEAD as u64)).await.map(|()| 0)
}

/// `wait4(pid, status, options, usage)`.
pub(crate) async fn wait4(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let bits = args.bits(2);
    only(bits, p::WNOHANG | p::WUNTRACED | p::WCONTINUED | p::__WNOTHREAD | p::__WALL | p::__WCLONE)?;
    let options = wait::Options {
        ended: true,
        stopped: bits & p::WUNTRACED != 0,
        continued: bits & p::WCONTINUED != 0,
        no_hang: bits & p::WNOHANG != 0,
        keep: false,
    };
    let who = Who::of_pid(task.process(), args.int(0));
    let changed = async { Ok(wait::change(task.process(), who, options).await?) };
    let Some(report) = task.wait_for(changed, None).await? else { return Ok(0) };
    if args.word(1) != 0 {
        task.space().put(args.word(1), &report.status).await?;
    }
    if args.word(3) != 0 {
        task.space().put(args.word(3), &report.usage).await?;
    }
    Ok(report.pid as usize)
}

/// `waitid(which, id, info, options, usage)`.
pub(crate) async fn waitid(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let bits = args.bits(3);
    let states = p::WEXITED | p::WSTOPPED | p::WCONTINUED;
    only(bits, states | p::WNOHANG | p::WNOWAIT | p::__WNOTHREAD | p::__WALL | p::__WCLONE)?;
    if bits & states == 0 {
        return Err(Errno::EINVAL);
    }
    let id = args.bits(1);
    let who = match args.bits(0) {
        p::P_ALL => Who::Any,
        p::P_PID if id > 0 => Who::Pid(id),
        p::P_PGID if id == 0 => Who::of_pid(task.process(), 0),
        p::P_PGID => Who::Group(id),
        _ => return Err(Errno::EINVAL),
    };
    let options = wait::Options {
        ended: bits & p::WEXITED != 0,
        stopped: bits & p::WSTOPPED != 0,
        continued: bits & p::WCONTINUED != 0,
        no_hang: bits & p::WNOHANG != 0,
        keep: bits & p::WNOWAIT != 0,
    };
    let changed = async { Ok(wait::change(task.process(), who, options).await?) };
    let report = task.wait_for(changed, None).await?;
    if args.word(2) != 0 {
        let info = report.as_ref().map_or_else(Siginfo::new_zeroed, |report| report.info);
        task.space().put(args.word(2), &info).await?;
    }
    if let Some(report) = &report
        && args.word(4) != 0
    {
        task.space().put(args.word(4), &report.usage).await?;
    }
    Ok(0)
}

/// The usual operations of `futex`, served at once or begun: wake-ups, and waits without a time limit.
#[inline(never)]
pub(crate) fn begin_futex<'a>(thread: &'a Arc<Thread>, space: &AddressSpace, args: Args) -> Begun<'a> {
    let (addr, operation) = (args.word(0), args.bits(1));
    let private = operation & x::FUTEX_PRIVATE_FLAG != 0;
    if operation & x::FUTEX_CLOCK_REALTIME != 0 {
        return Begun::Not;
    }
    let woken = match operation & x::FUTEX_CMD_MASK {
        x::FUTEX_WAKE => wake(space, &args, private, x::FUTEX_BITSET_MATCH_ANY),
        x::FUTEX_WAKE_BITSET => wake(space, &args, private, args.bits(5)),
        x::FUTEX_WAIT if args.word(3) == 0 => {
            match futex::begin(Some(thread), space, addr, private, args.bits(2), x::FUTEX_BITSET_MATCH_ANY) {
                Ok(wait) => return Begun::Waits(Box::pin(UntilWoken(wait))),
                Err(IoError::Errno(errno)) => Err(errno),
                Err(IoError::Fault(_)) => return Begun::Not,
            }
        }
        _ => return Begun::Not,
    };
    Begun::Done(woken.map_or_else(Errno::to_return, |count| count as isize))
}

/// Wakes who waits. As Linux: a count of 0 wakes one.
#[inline]
fn wake(space: &AddressSpace, args: &Args, private: bool, bits: u32) -> Result<usize, Errno> {
    futex::wake(space, args.word(0), private, (args.bits(2) as usize).max(1), bits)
}

/// A futex wait as a call.
struct UntilWoken<'a>(futex::Wait<'a>);

impl Future for UntilWoken<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Err(Errno::EINTR) => Outcome::Restart(Restart::IfAllowed),
            ended => ended.map(|()| 0).into(),
        })
    }
}

/// `futex(addr, operation, value, timeout, addr2, value3)`.
pub(crate) async fn futex(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (addr, operation, value) = (args.word(0), args.bits(1), args.bits(2));
    let private = operation & x::FUTEX_PRIVATE_FLAG != 0;
    let command = operation & x::FUTEX_CMD_MASK;
    if operation & x::FUTEX_CLOCK_REALTIME != 0 && command != x::FUTEX_WAIT_BITSET {
        return Err(Errno::ENOSYS);
    }
    match command {
        x::FUTEX_WAIT | x::FUTEX_WAIT_BITSET => {
            let bits = if command == x::FUTEX_WAIT { x::FUTEX_BITSET_MATCH_ANY } else { args.bits(5) };
            let deadline = match task.take_resume() {
                None => futex_deadline(task, args, command == x::FUTEX_WAIT).await?,
                resumed => resumed,
            };
            if task.is_request() {
                let (waits, _charge) = futexes::begin_apart(task, addr, (private, value, bits), deadline)?;
                return waits.await;
            }
            let waited = futex::wait(task.thread(), addr, private, value, bits, deadline).await;
            if let (Err(Errno::EINTR), Some(deadline)) = (waited, deadline) {
                task.thread().resume_at(deadline);
            }
            waited.map(|()| 0)
        }
        // Of a request; of a thread they are served at once.
        x::FUTEX_WAKE => wake(task.space(), args, private, x::FUTEX_BITSET_MATCH_ANY),
        x::FUTEX_WAKE_BITSET => wake(task.space(), args, private, args.bits(5)),
        x::FUTEX_REQUEUE | x::FUTEX_CMP_REQUEUE => {
            let expected = (command == x::FUTEX_CMP_REQUEUE).then(|| args.bits(5));
            if args.int(2) < 0 || args.int(3) < 0 {
                return Err(Errno::EINVAL);
            }
            let (wake, limit) = (value as usize, args.bits(3) as usize);
            let plan = Requeue { to: args.word(4), wake, limit, expected };
            let (woken, moved) = futex::requeue(task.space(), addr, private, plan).await?;
            Ok(woken + moved)
        }
        x::FUTEX_WAKE_OP => wake_op(task, args, private).await,
        _ => Err(Errno::ENOSYS),
    }
}

/// When a futex wait ends (ns since boot): relative for `FUTEX_WAIT`, else a time of one of two clocks.
async fn futex_deadline(task: &Task<'_>, args: &Args, relative: bool) -> Result<Option<u64>, Errno> {
    if args.word(3) == 0 {
        return Ok(None);
    }
    let time: Timespec = task.space().get(args.word(3)).await?;
    let nanos = nanos(time)?;
    Ok(Some(match (relative, args.bits(1) & x::FUTEX_CLOCK_REALTIME != 0) {
        (true, _) => hal::time::now().saturating_add(nanos),
        (false, false) => nanos,
        (false, true) => hal::time::of_wall(nanos),
    }))
}

/// What `FUTEX_WAKE_OP` does to the second word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WakeOp {
    operation: u32,
    compare: u32,
    argument: u32,
    against: i32,
}

impl WakeOp {
    fn decode(word: u32) -> Result<Self, Errno> {
        let signed = |bits: u32| (bits << 20) as i32 >> 20;
        let argument = signed(word >> 12 & 0xfff);
        let shift = word >> 28 & 8 != 0;
        let argument = if shift { 1 << (argument as u32 & 31) } else { argument as u32 };
        let (operation, compare) = (word >> 28 & 7, word >> 24 & 15);
        if operation > x::FUTEX_OP_XOR || compare > x::FUTEX_OP_CMP_GE {
            return Err(Errno::ENOSYS);
        }
        Ok(Self { operation, compare, argument, against: signed(word & 0xfff) })
    }

    fn apply(&self, old: u32) -> u32 {
        match self.operation {
            x::FUTEX_OP_SET => self.argument,
            x::FUTEX_OP_ADD => old.wrapping_add(self.argument),
            x::FUTEX_OP_OR => old | self.argument,
            x::FUTEX_OP_ANDN => old & !self.argument,
            _ => old ^ self.argument,
        }
    }

    fn holds(&self, old: u32) -> bool {
        let old = old as i32;
        match self.compare {
            x::FUTEX_OP_CMP_EQ => old == self.against,
            x::FUTEX_OP_CMP_NE => old != self.against,
            x::FUTEX_OP_CMP_LT => old < self.against,
            x::FUTEX_OP_CMP_LE => old <= self.against,
            x::FUTEX_OP_CMP_GT => old > self.against,
            _ => old >= self.against,
        }
    }
}

async fn wake_op(task: &Task<'_>, args: &Args, private: bool) -> Result<usize, Errno> {
    use core::sync::atomic::Ordering::{AcqRel, Acquire};
    let op = WakeOp::decode(args.bits(5))?;
    let change = |word: &core::sync::atomic::AtomicU32| {
        // AcqRel pairs with the program's own accesses to the word, as the call is documented to be atomic.
        word.fetch_update(AcqRel, Acquire, |old| Some(op.apply(old))).unwrap_or_else(|old| old)
    };
    let old = task.space().word(args.word(4), change).await?;
    let all = x::FUTEX_BITSET_MATCH_ANY;
    let mut woken = futex::wake(task.space(), args.word(0), private, args.bits(2) as usize, all)?;
    if op.holds(old) {
        woken += futex::wake(task.space(), args.word(4), private, args.bits(3) as usize, all)?;
    }
    Ok(woken)
}

/// The process that `prlimit64` means; another user's only for the superuser.
fn limited(task: &Task<'_>, pid: i32) -> Result<Arc<Process>, Errno> {
    if pid == 0 || pid as u32 == task.process().pid() {
        return Ok(task.process().clone());
    }
    let target = u32::try_from(pid).ok().and_then(table::process).ok_or(Errno::ESRCH)?;
    let own = target.identity().uid == task.process().identity().uid;
    if own || task.caller().credentials.uid == 0 { Ok(target) } else { Err(Errno::EPERM) }
}

/// `prlimit64(pid, resource, new, old)`.
pub(crate) async fn prlimit64(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let process = limited(task, args.int(0))?;
    let old = process.limits().get(args.bits(1))?;
    if args.word(2) != 0 {
        let new: Rlimit = task.space().get(args.word(2)).await?;
        process.set_limit(args.bits(1), new)?;
    }
    if args.word(3) != 0 {
        task.space().put(args.word(3), &old).await?;
    }
    Ok(0)
}

/// `getrlimit(resource, limit)`.
pub(crate) async fn getrlimit(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let limit = task.process().limits().get(args.bits(0))?;
    task.space().put(args.word(1), &limit).await.map(|()| 0)
}

/// `setrlimit(resource, limit)`.
pub(crate) async fn setrlimit(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let new: Rlimit = task.space().get(args.word(1)).await?;
    task.process().set_limit(args.bits(0), new).map(|()| 0)
}

/// `getrusage(who, usage)`.
pub(crate) async fn getrusage(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let usage: Rusage = match args.int(0) {
        p::RUSAGE_SELF => task.process().times().rusage(0),
        p::RUSAGE_CHILDREN => task.process().children_times().rusage(0),
        p::RUSAGE_THREAD => task.thread().usage.times().rusage(0),
        _ => return Err(Errno::EINVAL),
    };
    task.space().put(args.word(1), &usage).await.map(|()| 0)
}

/// `prctl(option, argument, ...)`.
pub(crate) async fn prctl(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    match args.bits(0) {
        p::PR_SET_NAME => {
            let mut name = [0; 16];
            let text = task.space().cstr(args.word(1), 16).await;
            match text {
                Ok(text) => task.process().set_name(&text),
                // Too long is cut, not refused.
                Err(Errno::ENAMETOOLONG) => {
                    task.space().copy_in(args.word(1), &mut name).await?;
                    task.process().set_name(&name);
                }
                Err(errno) => return Err(errno),
            }
            Ok(0)
        }
        p::PR_GET_NAME => {
            let mut bytes = [0; 16];
            for (to, from) in bytes.iter_mut().zip(task.process().name().into_iter().take(15)) {
                *to = from;
            }
            task.space().copy_out(args.word(1), &bytes).await.map(|()| 0)
        }
        p::PR_GET_DUMPABLE => Ok(1),
        p::PR_GET_KEEPCAPS | p::PR_GET_NO_NEW_PRIVS | p::PR_GET_SECCOMP => Ok(0),
        p::PR_SET_DUMPABLE | p::PR_SET_PDEATHSIG | p::PR_SET_TIMERSLACK | p::PR_SET_VMA => Ok(0),
        p::PR_CAPBSET_READ => Ok(1),
        _ => Err(Errno::EINVAL),
    }
}

/// `asyncos_world(operation, world)`.
pub(crate) async fn world(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    match (args.word(0), args.word(1)) {
        (WORLD_GET, 0) => Ok(match task.space().world() {
            World::Vm => WORLD_VM,
            World::Table => WORLD_TABLE,
            World::Shared => WORLD_SHARED,
        }),
        (WORLD_SET_NEXT, world @ (WORLD_AUTO | WORLD_VM | WORLD_TABLE | WORLD_SHARED)) => {
            if !(task.system.has_world)(world) {
                return Err(Errno::ENODEV);
            }
            task.process().set_next_world(world as u8);
            Ok(world)
        }
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_operations_are_decoded() {
        let word = |operation: u32, compare: u32, argument: u32, against: u32| {
            operation << 28 | compare << 24 | (argument & 0xfff) << 12 | against & 0xfff
        };
        let op = WakeOp::decode(word(x::FUTEX_OP_ADD, x::FUTEX_OP_CMP_GT, 0xfff, 0xffe)).unwrap();
        assert_eq!((op.apply(5), op.against), (4, -2));
        assert!(op.holds(0) && !op.holds(-3i32 as u32));
        let shifted = WakeOp::decode(word(x::FUTEX_OP_OR | 8, x::FUTEX_OP_CMP_EQ, 4, 0)).unwrap();
        assert_eq!(shifted.apply(1), 17);
        assert_eq!(WakeOp::decode(word(5, 0, 0, 0)), Err(Errno::ENOSYS));
        assert_eq!(WakeOp::decode(word(0, 6, 0, 0)), Err(Errno::ENOSYS));
    }
}
