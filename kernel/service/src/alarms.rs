//! Interval timers (`ITIMER_REAL`): one coroutine for all processes, woken by the earliest.

use abi::signal::{SI_KERNEL, SIGALRM, Siginfo};
use alloc::{
    collections::{BTreeMap, BTreeSet},
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

/// Alarms that go off while the table is locked once.
const AT_ONCE: usize = 64;
/// Alarms that are there before those of processes that are gone are looked for.
const FEW: usize = 64;

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
    /// The same in the order in which they go off.
    order: BTreeSet<(u64, u32)>,
    /// So many alarms are the reason to look for those of processes that are gone, each of which holds a process' memory.
    /// Twice what the last look left: a look costs each alarm that came since a constant.
    many: usize,
    /// Counts changes, so that the coroutine sees one that came while it looked elsewhere.
    changes: u64,
}

impl Table {
    fn new() -> Self {
        Self { alarms: BTreeMap::new(), order: BTreeSet::new(), many: FEW, changes: 0 }
    }

    fn put(&mut self, pid: u32, alarm: Alarm) {
        if self.alarms.len() >= self.many {
            self.alarms.retain(|_, alarm| alarm.process.strong_count() > 0);
            let alarms = &self.alarms;
            self.order.retain(|(_, pid)| alarms.contains_key(pid));
            self.many = FEW.max(2 * self.alarms.len());
        }
        self.order.insert((alarm.deadline, pid));
        self.alarms.insert(pid, alarm);
    }

    fn take(&mut self, pid: u32) -> Option<Alarm> {
        let alarm = self.alarms.remove(&pid)?;
        self.order.remove(&(alarm.deadline, pid));
        Some(alarm)
    }

    /// Takes the first alarm if it is due.
    fn take_due(&mut self, now: u64) -> Option<(u32, Alarm)> {
        let (_, pid) = *self.order.first().filter(|(deadline, _)| *deadline <= now)?;
        Some((pid, self.take(pid)?))
    }
}

/// The alarms of all processes, by process id.
pub(crate) struct Alarms {
    table: SpinLock<Table>,
    changed: WaitQueue,
}

impl Alarms {
    pub fn new() -> Self {
        Self { table: SpinLock::new(rank::TTY, Table::new()), changed: WaitQueue::new() }
    }

    /// Sets a process's alarm to go off after `value` nanoseconds (0: never) and then every `interval`;
    /// answers what was left of the old one, and its interval.
    pub fn set(&self, process: &Arc<Process>, value: u64, interval: u64) -> (u64, u64) {
        let old = self.get(process);
        let mut table = self.table.lock();
        table.changes += 1;
        let gone = table.take(process.pid());
        if value != 0 {
            let deadline = hal::time::now().saturating_add(value);
            table.put(process.pid(), Alarm { process: Arc::downgrade(process), deadline, interval });
        }
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

    /// Takes alarms that are due, and sets those again that repeat; answers also the next deadline and the
    /// count of changes.
    fn due(&self, now: u64) -> (Vec<Weak<Process>>, Option<u64>, u64) {
        let mut due = Vec::with_capacity(AT_ONCE);
        let mut table = self.table.lock();
        while due.len() < AT_ONCE
            && let Some((pid, alarm)) = table.take_due(now)
        {
            due.push(alarm.process.clone());
            if alarm.interval > 0 && alarm.process.strong_count() > 0 {
                let deadline = now.saturating_add(alarm.interval.max(SHORTEST));
                table.put(pid, Alarm { deadline, ..alarm });
            }
        }
        let next = table.order.first().map(|(deadline, _)| *deadline);
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

    fn of_nobody(deadline: u64) -> Alarm {
        Alarm { process: Weak::new(), deadline, interval: 1 }
    }

    #[test]
    fn a_wake_up_is_for_those_that_are_due() {
        let alarms = Alarms::new();
        for (pid, deadline) in [(1, 30), (2, 10), (3, 20), (4, u64::MAX)] {
            alarms.table.lock().put(pid, of_nobody(deadline));
        }
        let counts = |now| {
            let (due, next, _) = alarms.due(now);
            (due.len(), next)
        };
        assert_eq!(counts(9), (0, Some(10)));
        assert_eq!(counts(20), (2, Some(30)));
        assert!(alarms.table.lock().take(1).is_some());
        // Nobody's, but far off: nothing has looked at it.
        assert_eq!(counts(30), (0, Some(u64::MAX)));
    }

    #[test]
    fn many_at_once_do_not_keep_the_lock() {
        let alarms = Alarms::new();
        (0..AT_ONCE as u32).for_each(|pid| alarms.table.lock().put(pid, of_nobody(5)));
        alarms.table.lock().order.insert((6, 1000));
        alarms.table.lock().alarms.insert(1000, of_nobody(6));
        let (due, next, _) = alarms.due(7);
        assert_eq!((due.len(), next), (AT_ONCE, Some(6)));
        assert_eq!(alarms.due(7).0.len(), 1);
    }

    #[test]
    fn the_alarms_of_processes_that_are_gone_go_too() {
        let alarms = Alarms::new();
        for pid in 0..10_000 {
            let mut table = alarms.table.lock();
            table.put(pid, of_nobody(u64::MAX));
            assert!(table.alarms.len() <= FEW && table.order.len() == table.alarms.len());
        }
    }
}
