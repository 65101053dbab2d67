//! The system calls of Linux for riscv64, and AsyncOS's own.
//!
//! [`Services`] is what `process` calls for each system call of a thread. A call is decoded, its arguments are copied once
//! and checked, and the work is handed to the crate that owns the object. Nothing here owns state but the
//! counters of unknown calls and the interval timers.
//!
//! | module | calls |
//! |---|---|
//! | [`files`], [`transfer`] | on descriptors: reading, writing, seeking, duplicating, controlling |
//! | [`attributes`], [`xattrs`], [`paths`] | `stat` and relatives; extended attributes; everything that takes a path |
//! | [`poll`] | `ppoll`, `pselect6`, `epoll`, `eventfd` |
//! | [`sockets`], [`messages`], [`socket_options`] | the network |
//! | [`memory`] | `mmap` and relatives |
//! | [`ring`] | `io_uring_setup`, `io_uring_enter`, `io_uring_register` |
//! | [`time`], [`alarms`] | clocks, sleeping, timers |
//! | [`futexes`] | futexes of the second interface, for rings |
//! | [`life`], [`identity`], [`signals`], [`schedule`] | processes |
//! | [`system`] | the machine as a whole |
//! | [`dispatch`] | the table |
//!
//! **Waiting.** `now` serves what needs no waiting. In `call`, waits that a signal may end go through
//! `Task::wait_for` and answer `EINTR`; a call that has done something answers with that instead. So `EINTR` at the
//! end of a call always means that nothing was done, and becomes a [`process::Restart`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod alarms;
mod arguments;
mod attributes;
mod channels;
mod context;
mod control;
mod devices;
mod direct_io;
mod dispatch;
mod files;
mod futexes;
mod given;
mod grants;
mod identity;
mod life;
mod locks;
mod memory;
mod messages;
mod opening;
mod paths;
mod poll;
mod program;
mod ring;
mod schedule;
mod signals;
mod socket_options;
mod sockets;
mod splicing;
mod system;
mod time;
mod timers;
mod transfer;
mod unknown;
mod user_interrupts;
mod xattrs;

#[cfg(test)]
mod tests;

use abi::{asyncos, errno::Errno, nr};
use alloc::{
    boxed::Box,
    string::String,
    sync::{Arc, Weak},
};
use arguments::Args;
use context::{Task, Whose};
use io::{device::Random, file::BoxFuture, inode::Inode, log::Log};
use mem::AddressSpace;
use process::{Begun, Call, Outcome, Program, Service, Thread};

/// Makes an empty file system of the named kind for `mount`, with its options; answers its proper name too. `ENODEV` for
/// unknown kinds, `EINVAL` for wrong options.
pub type NewFileSystem = fn(kind: &[u8], options: &[u8]) -> Result<(&'static str, Arc<dyn Inode>), Errno>;

/// What the calls work on; made by `boot`.
pub struct Setup {
    /// The tree of names.
    pub namespace: Arc<::fs::namespace::Namespace>,
    /// The network.
    pub net: Arc<net::Net>,
    /// Random bytes.
    pub random: Arc<Random>,
    /// The kernel's log.
    pub log: Arc<Log>,
    /// For `mount`.
    pub new_file_system: NewFileSystem,
    /// Whether processes can run in a world (`abi::asyncos::WORLD_*`) here.
    pub has_world: fn(usize) -> bool,
    /// Begins to end the machine's run: `reboot`, with status 0. Everything is on disk by then.
    pub power_off: fn(),
    /// The first process has ended with this wait status.
    pub init_ended: fn(status: u32),
}

/// Serves system calls. One for all processes.
pub struct System {
    namespace: Arc<::fs::namespace::Namespace>,
    net: Arc<net::Net>,
    random: Arc<Random>,
    log: Arc<Log>,
    new_file_system: NewFileSystem,
    has_world: fn(usize) -> bool,
    power_off: fn(),
    init_ended: fn(u32),
    unknown: unknown::Unknown,
    alarms: alarms::Alarms,
    /// For requests that outlive the call which submits them.
    own: Weak<System>,
}

impl System {
    /// The calls over these parts. Spawn [`System::run`] once.
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Self> {
        let Setup { namespace, net, random, log, new_file_system, has_world, power_off, init_ended } = setup;
        let (unknown, alarms) = (unknown::Unknown::new(), alarms::Alarms::new());
        Arc::new_cyclic(|own| Self {
            namespace,
            net,
            random,
            log,
            new_file_system,
            has_world,
            power_off,
            init_ended,
            unknown,
            alarms,
            own: own.clone(),
        })
    }

    /// Drives the interval timers; never returns.
    pub async fn run(self: Arc<Self>) {
        self.alarms.run().await;
    }

    /// The calls that were made and are not there: number, name, times; behind them such operations of rings. For `/proc/asyncos/syscalls`.
    #[must_use]
    pub fn unknown_calls(&self) -> String {
        self.unknown.report()
    }
}

impl System {
    #[inline(never)]
    fn quick<'a>(
        &'a self,
        thread: &'a Arc<Thread>,
        space: &Arc<AddressSpace>,
        number: usize,
        args: &[usize; 6],
    ) -> Begun<'a> {
        let args = Args(*args);
        // Made where it is used: it is large to be moved.
        let task = || Task::new(self, thread, space.clone());
        match number {
            nr::READ | nr::PREAD64 => return files::begin_read(task(), number, args),
            nr::WRITE | nr::PWRITE64 => return files::begin_write(task(), number, args),
            asyncos::TAKE => return files::begin_take(task(), args),
            nr::SENDTO => return messages::begin_sendto(task(), args),
            abi::channel::RING_CALL => return channels::begin_ring(thread, args),
            nr::EPOLL_PWAIT | nr::EPOLL_PWAIT2 => return poll::begin_epoll_wait(task(), number, args),
            _ => {}
        }
        let task = task();
        let result = dispatch::attempt(&task, number, &args);
        match result.or_else(|| dispatch::at_once(&task, number, &args)) {
            Some(result) => Begun::Done(result.map_or_else(Errno::to_return, |value| value as isize)),
            None => Begun::Not,
        }
    }
}

impl Service for System {
    #[inline]
    fn now<'a>(
        &'a self,
        thread: &'a Arc<Thread>,
        space: &Arc<AddressSpace>,
        number: usize,
        args: &[usize; 6],
    ) -> Begun<'a> {
        if number == nr::FUTEX {
            return life::begin_futex(thread, space, Args(*args));
        }
        if number == nr::IO_URING_ENTER {
            return ring::begin_enter(self, thread, space, args);
        }
        if number != nr::READ && !dispatch::may_be_quick(number) {
            return Begun::Not;
        }
        self.quick(thread, space, number, args)
    }

    fn call<'a>(&'a self, thread: &'a Arc<Thread>, call: Call) -> BoxFuture<'a, Outcome> {
        dispatch::waiting(Whose::Thread(self, thread), call.number, Args(call.args)).unwrap_or_else(|| {
            // A call that never waits has been served by `now`: what comes here is not known.
            self.unknown.count(call.number);
            Box::pin(core::future::ready(Errno::ENOSYS.into()))
        })
    }

    fn register(&self, thread: &Arc<Thread>, call: Call, token: u64, answered: Option<u32>) -> Result<(), Errno> {
        ring::register_call(self, thread, &call, token, answered)
    }

    fn open_program<'a>(
        &'a self,
        thread: &'a Arc<Thread>,
        directory: i32,
        path: &'a [u8],
        flags: u32,
    ) -> BoxFuture<'a, Result<Program, Errno>> {
        Box::pin(async move { program::open(&Task::new(self, thread, thread.space()), directory, path, flags).await })
    }

    fn init_ended(&self, status: u32) {
        (self.init_ended)(status);
    }
}
