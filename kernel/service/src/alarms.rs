//! Interval timers (`ITIMER_REAL`): one coroutine for all processes, woken by the earliest.

use abi::signal::{SI_KERNEL, SIGALRM, Siginfo};
use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use process::{Process, signal};

/// An alarm that has been set.
struct Alarm {
    process: Weak<Process>,
    /// When it goes off, in nanoseconds since boot.
    deadline: u64,
    /// How often again; 0: not.
    interval: u64,
}

struct Table {
    alarms: BTreeMap<u32, Alarm>,
    /// Counts changes, so that the coroutine sees one that came while it looked elsewhere.
    changes: u64,
}

/// The alarms of all processes, by process id.
pub(crate) struct Alarms {
    table: SpinLock<Table>,
    changed: WaitQueue,
}

impl Alarms {
    pub fn new() -> Self {
        let table = Table { alarms: BTreeMap::new(), changes: 0 };
        Self { table: SpinLock::new(rank::TTY, table), changed: WaitQueue::new() }
    }

    /// Sets a process's alarm to go off after `value` nanoseconds (0: never) and then every `interval`;
    /// answers what was left of the old one, and its interval.
    pub fn set(&self, process: &Arc<Process>, value: u64, interval: u64) -> (u64, u64) {
        let old = self.get(process);
        let mut table = self.table.lock();
        table.changes += 1;
        let gone = if value == 0 {
            table.alarms.remove(&process.pid())
        } else {
            let deadline = hal::time::now().saturating_add(value);
            table.alarms.insert(process.pid(), Alarm { process: Arc::downgrade(process), deadline, interval })
        };
        drop(table);
        drop(gone);
        self.changed.wake_all();
        old
    }

    /// What is left of a process's alarm, and its interval; zeros if none is set.
    pub fn get(&self, process: &Process) -> (u64, u64) {
        let table = self.table.lock();
        let own = table.alarms.get(&process.pid()).filter(|alarm| core::ptr::eq(alarm.process.as_ptr(), process));
        own.map_or((0, 0), |alarm| (alarm.deadline.saturating_sub(hal::time::now()).max(1), alarm.interval))
    }

    /// Takes the alarms that are due, and sets those again that repeat; answers also the next deadline and the
    /// count of changes.
    fn due(&self, now: u64) -> (Vec<Weak<Process>>, Option<u64>, u64) {
        let mut due = Vec::new();
        let mut table = self.table.lock();
        table.alarms.retain(|_, alarm| {
            if alarm.deadline > now {
                return true;
            }
            due.push(alarm.process.clone());
            alarm.deadline = now.saturating_add(alarm.interval);
            alarm.interval > 0 && alarm.process.strong_count() > 0
        });
        let next = table.alarms.values().map(|alarm| alarm.deadline).min();
        (due, next, table.changes)
    }

    /// Sends the alarms' signals; never returns.
    pub async fn run(&self) {
        loop {
            let (due, next, seen) = self.due(hal::time::now());
            for process in due.iter().filter_map(Weak::upgrade) {
                // A standard signal that is pending already is not queued again.
                let _ = signal::send(&process, Siginfo::sent(SIGALRM, SI_KERNEL, 0, 0, 0));
            }
            let mut changed =
                pin!(exec::sync::wait_until(&self.changed, || { (self.table.lock().changes != seen).then_some(()) }));
            let mut timer = pin!(exec::sleep_until(next.unwrap_or(u64::MAX)));
            poll_fn(|context| match changed.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => timer.as_mut().poll(context),
            })
            .await;
        }
    }
}
