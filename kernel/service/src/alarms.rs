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

/// Nanoseconds between two signals of an alarm, at least: its owner must not keep this coroutine busy, which is more urgent
/// than all programs.
const SHORTEST: u64 = 1_000_000;

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
        // Also those of processes that are gone leave, however far off they were: each holds a process' memory.
        table.alarms.retain(|_, alarm| {
            if alarm.deadline > now || alarm.process.strong_count() == 0 {
                return alarm.process.strong_count() > 0;
            }
            due.push(alarm.process.clone());
            alarm.deadline = now.saturating_add(alarm.interval.max(SHORTEST));
            alarm.interval > 0
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For a process that runs.
    pub(crate) fn an_alarm_that_repeats_leaves_time_for_others(process: &Arc<Process>) {
        let alarms = Alarms::new();
        alarms.set(process, 1, 1);
        let now = hal::time::now() + 1_000_000;
        let (due, next, _) = alarms.due(now);
        assert_eq!((due.len(), next), (1, Some(now + SHORTEST)));
        assert!(alarms.due(now + 1).0.is_empty());
    }

    #[test]
    fn the_alarm_of_a_process_that_is_gone_goes_too() {
        let alarms = Alarms::new();
        alarms.table.lock().alarms.insert(7, Alarm { process: Weak::new(), deadline: u64::MAX, interval: 0 });
        let (due, next, _) = alarms.due(hal::time::now());
        assert_eq!((due.len(), next), (0, None));
    }
}
