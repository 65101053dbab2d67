//! A pool against a reference that keeps everything in one list and looks through all of it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use proptest::prelude::*;

use super::pool;
use crate::{AGE, Birth, JoinHandle, Outcome, Priority, policy};

const WORKERS: usize = 2;
const TASKS: usize = 10;

#[derive(Debug, Clone)]
enum Step {
    Wake(usize),
    SetPriority(usize, u8),
    Inherit(usize, u8),
    Restore(usize, u8),
    SetKey(usize, u64),
    Ticks(usize, u16),
    Run(usize),
    RunAbove(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (task, worker) = (|| 0..TASKS, || 0..WORKERS);
    // Few priorities, so that tasks meet.
    let priority = || prop_oneof![0..4u8, 30..32u8];
    prop_oneof![
        8 => task().prop_map(Step::Wake),
        2 => (task(), priority()).prop_map(|(t, p)| Step::SetPriority(t, p)),
        2 => (task(), priority()).prop_map(|(t, p)| Step::Inherit(t, p)),
        2 => (task(), priority()).prop_map(|(t, p)| Step::Restore(t, p)),
        1 => (task(), 0..5u64).prop_map(|(t, k)| Step::SetKey(t, k)),
        3 => (worker(), 1..AGE).prop_map(|(w, n)| Step::Ticks(w, n)),
        4 => worker().prop_map(Step::Run),
        1 => (worker(), priority()).prop_map(|(w, p)| Step::RunAbove(w, p)),
    ]
}

/// One of the lists that age: priority, pinned, in turn.
type Group = (u8, bool, bool);

/// A task that is queued. The first fields are its order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    priority: u8,
    in_turn: bool,
    rank: u64,
    arrival: u64,
    task: usize,
}

#[derive(Debug, Clone)]
struct Task {
    own: u8,
    inherited: u8,
    key: u64,
    policy: u32,
    is_pinned: bool,
    home: usize,
}

struct Reference {
    tasks: Vec<Task>,
    queues: [Vec<Queued>; WORKERS],
    waited: [BTreeMap<Group, u16>; WORKERS],
    arrivals: u64,
    floors: [[u64; 32]; WORKERS],
}

impl Reference {
    fn priority(&self, task: usize) -> u8 {
        self.tasks[task].own.min(self.tasks[task].inherited)
    }

    fn group(&self, queued: &Queued) -> Group {
        (queued.priority, self.tasks[queued.task].is_pinned, queued.in_turn)
    }

    fn queue(&mut self, task: usize) {
        self.arrivals += 1;
        let in_turn = [policy::FIFO, policy::ROUND_ROBIN].contains(&self.tasks[task].policy);
        let home = self.tasks[task].home;
        let rank = match (in_turn, self.tasks[task].policy, self.tasks[task].key) {
            (true, ..) => 0,
            // Not below what was served last.
            (_, policy::FAIR, key) => {
                let key = key.max(self.floors[home][usize::from(self.priority(task))]);
                self.tasks[task].key = key;
                key.max(1)
            }
            (.., key) => key.max(1),
        };
        let queued = Queued { priority: self.priority(task), in_turn, rank, arrival: self.arrivals, task };
        self.queues[self.tasks[task].home].push(queued);
    }

    fn is_queued(&self, task: usize) -> bool {
        self.queues.iter().flatten().any(|queued| queued.task == task)
    }

    fn wake(&mut self, task: usize) {
        if !self.is_queued(task) {
            self.queue(task);
        }
    }

    fn change(&mut self, task: usize, change: impl Fn(&mut Task)) {
        let before = self.priority(task);
        change(&mut self.tasks[task]);
        if self.priority(task) != before && self.is_queued(task) {
            let home = self.tasks[task].home;
            self.queues[home].retain(|queued| queued.task != task);
            self.forget_empty(home);
            self.queue(task);
        }
    }

    /// An empty list has not waited.
    fn forget_empty(&mut self, worker: usize) {
        let groups: Vec<Group> = self.queues[worker].iter().map(|queued| self.group(queued)).collect();
        self.waited[worker].retain(|group, _| groups.contains(group));
    }

    /// Takes the first task of a worker for which `admits` holds; its list has been served.
    fn take(&mut self, worker: usize, admits: impl Fn(&Self, &Queued) -> bool) -> Option<Queued> {
        let first = self.queues[worker].iter().filter(|queued| admits(self, queued)).min()?.clone();
        self.queues[worker].retain(|queued| queued.task != first.task);
        let group = self.group(&first);
        self.waited[worker].remove(&group);
        Some(first)
    }

    /// A fair task that is to run raises the floor of its priority.
    fn serve(&mut self, worker: usize, first: Option<&Queued>) {
        if let Some(first) = first.filter(|first| self.tasks[first.task].policy == policy::FAIR) {
            let priority = usize::from(self.priority(first.task));
            let floor = &mut self.floors[worker][priority];
            *floor = first.rank.max(*floor);
        }
    }

    fn run(&mut self, worker: usize, limit: u8) -> Option<Queued> {
        let own = self.take(worker, |_, queued| queued.priority < limit);
        self.serve(worker, own.as_ref());
        if own.is_some() || limit <= 31 {
            return own;
        }
        let stolen = self.take(1 - worker, |this, queued| !this.tasks[queued.task].is_pinned)?;
        self.serve(1 - worker, Some(&stolen));
        self.tasks[stolen.task].home = worker;
        Some(stolen)
    }

    fn tick(&mut self, worker: usize) {
        let Some(ahead) = self.queues[worker].iter().map(|queued| queued.priority).min() else { return };
        let mut groups: Vec<Group> = self.queues[worker].iter().map(|queued| self.group(queued)).collect();
        // In the order of the columns: those that may be stolen first.
        groups.sort_by_key(|&(priority, is_pinned, in_turn)| (is_pinned, priority, in_turn));
        groups.dedup();
        for group in groups {
            let waited = self.waited[worker].entry(group).or_default();
            *waited += 1;
            if *waited < AGE {
                continue;
            }
            let mut aged = self.take(worker, |this, queued| this.group(queued) == group).expect("the list has tasks");
            // What has been put ahead already has rank 0, and raises nothing.
            self.serve(worker, Some(&aged));
            if aged.rank != 0 || aged.in_turn {
                self.arrivals += 1;
                (aged.rank, aged.arrival) = (0, self.arrivals);
            }
            (aged.in_turn, aged.priority) = (false, ahead);
            self.queues[worker].push(aged);
        }
        self.forget_empty(worker);
    }
}

/// Tasks of every policy, some of them pinned, that wait until they are woken, and the same for the reference.
fn waiting(pool: &super::Pool<super::Calls>) -> (Vec<JoinHandle<()>>, Reference) {
    let tasks: Vec<Task> = (0..TASKS)
        .map(|n| Task {
            own: 16,
            inherited: 31,
            key: n as u64 / 2,
            policy: n as u32 % 4,
            is_pinned: n % 3 == 0,
            home: n % WORKERS,
        })
        .collect();
    let born = |task: &Task| {
        let birth = Birth::new(Priority::NORMAL).under(task.policy, task.key);
        let birth = if task.is_pinned { birth.on(task.home) } else { birth };
        let handle = pool.spawn_with(&birth, poll_fn(|_| Poll::<()>::Pending));
        assert_eq!(pool.run_next(task.home), Some(Outcome::Waiting));
        handle
    };
    let handles = tasks.iter().map(born).collect();
    for (task, handle) in tasks.iter().zip(&handles as &Vec<JoinHandle<()>>) {
        assert_eq!(handle.task().worker(), task.home);
    }
    let (queues, waited) = Default::default();
    let mut floors = [[0; 32]; WORKERS];
    for task in tasks.iter().filter(|task| task.policy == policy::FAIR) {
        // What is not pinned is spread in another order, and was stolen.
        let server = if task.is_pinned { task.home } else { 1 - task.home };
        floors[server][16] = floors[server][16].max(task.key);
    }
    (handles, Reference { tasks, queues, waited, arrivals: 0, floors })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 512 }, ..Default::default() })]

    #[test]
    fn a_pool_decides_as_a_sorted_list_does(steps in prop::collection::vec(step(), 0..300)) {
        let (pool, _) = pool(WORKERS);
        let (handles, mut reference) = waiting(&pool);
        for step in steps {
            let (worker, limit) = match step {
                Step::Wake(task) => {
                    handles[task].task().wake();
                    reference.wake(task);
                    // A fair task is ranked when it leaves the inbox, by the floor and its priority of that time: now, as the
                    // reference does.
                    if reference.tasks[task].policy == policy::FAIR {
                        prop_assert!(pool.next_above(reference.tasks[task].home, Priority::HIGHEST).is_none());
                    }
                    continue;
                }
                Step::SetPriority(task, priority) => {
                    handles[task].task().set_priority(Priority::new(priority));
                    reference.change(task, |task| task.own = priority);
                    continue;
                }
                Step::Inherit(task, priority) => {
                    handles[task].task().inherit(Priority::new(priority));
                    reference.change(task, |task| task.inherited = task.inherited.min(priority));
                    continue;
                }
                Step::Restore(task, priority) => {
                    handles[task].task().restore(Priority::new(priority));
                    reference.change(task, |task| task.inherited = priority);
                    continue;
                }
                Step::SetKey(task, key) => {
                    // Counts when it is next queued; so it is set where the two queue at the same time.
                    if !reference.is_queued(task) {
                        handles[task].task().set_key(key);
                        reference.tasks[task].key = key;
                    }
                    continue;
                }
                Step::Ticks(worker, times) => {
                    for _ in 0..times {
                        prop_assert!(!pool.tick(worker), "nothing runs");
                        reference.tick(worker);
                    }
                    continue;
                }
                Step::Run(worker) => (worker, 32),
                Step::RunAbove(worker, limit) => (worker, limit),
            };
            let found = if limit == 32 { pool.next(worker) } else { pool.next_above(worker, Priority::new(limit)) };
            let expected = reference.run(worker, limit);
            prop_assert_eq!(
                found.as_ref().map(|found| (found.id(), found.priority().number())),
                expected.map(|queued| (handles[queued.task].id(), queued.priority))
            );
            if let Some(found) = found {
                prop_assert_eq!(found.run(), Outcome::Waiting);
            }
            for worker in 0..WORKERS {
                let highest = reference.queues[worker].iter().map(|queued| queued.priority).min();
                prop_assert_eq!(pool.highest_ready(worker), highest.map(Priority::new));
            }
        }
    }
}
