//! The functions of the table do what the direct calls do: one script on both, and every answer compared.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use proptest::prelude::*;
use sched::slots::{Seat, Shown};
use sched::table::{MAGIC, TABLE, Table, VERSION};

use super::{Calls, poll_fn};
use crate::{Birth, ByTable, Direct, JoinHandle, Linked, Pool, Priority, Scheduler, TaskRef, yield_now};

struct Here;

// SAFETY: the table of the very source that this crate is built with.
unsafe impl Linked for Here {
    fn table() -> &'static Table {
        static HERE: Table = TABLE;
        &HERE
    }
}

const WORKERS: usize = 3;

/// One call, or a few that belong together.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Starts a task that waits, one that yields, or one that ends at once; pinned to a worker or not.
    Spawn(u8, u8, Option<usize>),
    Wake(usize),
    Abort(usize),
    Detach(usize),
    SetPriority(usize, u8),
    Inherit(usize, u8),
    Restore(usize, u8),
    /// Starts one under this policy, with this key.
    SpawnUnder(u8, u32, u64),
    Tick(usize, u8),
    RunMany(usize, u32),
    RunMeasured(usize, u32),
    Run(usize),
    RunAbove(usize, u8),
    Park(usize),
    Unpark(usize),
    Look(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0..WORKERS + 1;
    prop_oneof![
        4 => (0..3u8, 0..34u8, prop::option::of(worker())).prop_map(|(k, p, w)| Step::Spawn(k, p, w)),
        4 => any::<usize>().prop_map(Step::Wake),
        1 => any::<usize>().prop_map(Step::Abort),
        1 => any::<usize>().prop_map(Step::Detach),
        1 => (any::<usize>(), 0..32u8).prop_map(|(t, p)| Step::SetPriority(t, p)),
        1 => (any::<usize>(), 0..34u8).prop_map(|(t, p)| Step::Inherit(t, p)),
        1 => (any::<usize>(), 0..34u8).prop_map(|(t, p)| Step::Restore(t, p)),
        2 => (0..34u8, 0..6u32, 0..4u64).prop_map(|(p, n, k)| Step::SpawnUnder(p, n, k)),
        2 => (worker(), 0..50u8).prop_map(|(w, n)| Step::Tick(w, n)),
        3 => (worker(), 0..6u32).prop_map(|(w, n)| Step::RunMany(w, n)),
        2 => (worker(), 0..6u32).prop_map(|(w, n)| Step::RunMeasured(w, n)),
        6 => worker().prop_map(Step::Run),
        2 => (worker(), 0..34u8).prop_map(|(w, p)| Step::RunAbove(w, p)),
        2 => worker().prop_map(Step::Park),
        1 => worker().prop_map(Step::Unpark),
        1 => worker().prop_map(Step::Look),
    ]
}

/// Of a thread that keeps its worker.
fn seat() -> Seat<'static> {
    let [standing, low] = [AtomicU32::new(31), AtomicU32::new(0)];
    let shown = Shown { owner: AtomicU32::new(1), kicked: AtomicU32::new(0), standing, low };
    Seat::new(Box::leak(Box::new(AtomicU32::new(1))), Box::leak(Box::new(shown)), 0)
}

sched::crossing! {
    /// A clock that stands.
    ///
    /// # Safety
    /// None is needed.
    unsafe fn noon() -> u64 {
        12
    }
}

/// What a task does, and a note of each of its polls.
async fn work(kind: u8, number: usize, polls: Arc<Mutex<Vec<usize>>>) {
    let note = || polls.lock().unwrap().push(number);
    note();
    match kind {
        0 => {
            poll_fn(|_| {
                note();
                Poll::<()>::Pending
            })
            .await;
        }
        1 => {
            yield_now().await;
            note();
        }
        _ => {}
    }
}

/// Every answer that a script gets, what it made the tasks do, and whom it called.
fn answers<S: Scheduler>(steps: &[Step]) -> Vec<String> {
    let calls = Calls::default();
    let pool = Pool::<Calls, S>::new(WORKERS, calls.clone());
    let polls = Arc::new(Mutex::new(Vec::new()));
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    let mut answers = Vec::new();
    for &step in steps {
        let which = |tasks: &Vec<_>, n: usize| (!tasks.is_empty()).then(|| n % tasks.len());
        let answer = match step {
            Step::Spawn(kind, priority, worker) => {
                let (priority, future) = (Priority::new(priority), work(kind, answers.len(), polls.clone()));
                tasks.push(match worker {
                    Some(worker) => pool.spawn_on(worker, priority, future),
                    None => pool.spawn(priority, future),
                });
                format!("{:?}", tasks.last().map(JoinHandle::id))
            }
            Step::Wake(n) => format!("{:?}", which(&tasks, n).map(|n| tasks[n].task().wake())),
            Step::Abort(n) => format!("{:?}", which(&tasks, n).map(|n| tasks[n].abort())),
            Step::Detach(n) => format!("{:?}", which(&tasks, n).map(|n| tasks.swap_remove(n).detach())),
            Step::SetPriority(n, p) => {
                format!("{:?}", which(&tasks, n).map(|n| tasks[n].task().set_priority(Priority::new(p))))
            }
            Step::Inherit(n, p) => {
                format!("{:?}", which(&tasks, n).map(|n| tasks[n].task().inherit(Priority::new(p))))
            }
            Step::Restore(n, p) => {
                format!("{:?}", which(&tasks, n).map(|n| tasks[n].task().restore(Priority::new(p))))
            }
            Step::SpawnUnder(priority, policy, key) => {
                let birth = Birth::new(Priority::new(priority)).under(policy, key);
                tasks.push(pool.spawn_with(&birth, work(1, answers.len(), polls.clone())));
                format!("{:?}", tasks.last().map(JoinHandle::id))
            }
            Step::Tick(worker, times) => format!("{:?}", (0..times).map(|_| pool.tick(worker)).collect::<Vec<_>>()),
            Step::RunMany(worker, times) => format!("{}", pool.run_many(worker, times, &AtomicBool::new(false))),
            Step::RunMeasured(worker, times) => {
                // SAFETY: the clock may be called.
                format!("{}", unsafe { S::run_seated_measured(pool.inner(), worker, times, &seat(), noon) })
            }
            Step::Run(worker) => format!("{:?}", pool.run_next(worker)),
            Step::RunAbove(worker, p) => format!("{:?}", pool.run_above(worker, Priority::new(p))),
            Step::Park(worker) => format!("{}", pool.set_idle(worker)),
            Step::Unpark(worker) => format!("{:?}", pool.clear_idle(worker)),
            Step::Look(worker) => format!("{:?}", (pool.highest_ready(worker), pool.running(worker))),
        };
        let state = |task: &TaskRef| (task.is_finished(), task.priority(), task.worker(), task.seen());
        let ended: Vec<_> = tasks.iter().map(|handle| state(&handle.task())).collect();
        answers.push(format!("{step:?}: {answer} {:?} {ended:?} {:?}", pool.idle_workers(), calls.take()));
    }
    drop(pool);
    answers.push(format!("{:?}", polls.lock().unwrap()));
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 256 }, ..Default::default() })]

    #[test]
    fn the_table_answers_as_direct_calls_do(steps in prop::collection::vec(step(), 0..120)) {
        prop_assert_eq!(answers::<ByTable<Here>>(&steps), answers::<Direct>(&steps));
    }
}

#[test]
fn the_head_of_the_table_says_what_follows() {
    assert_eq!((TABLE.magic, TABLE.version), (MAGIC, VERSION));
    assert_eq!(size_of::<Table>(), 16 + TABLE.count as usize * size_of::<usize>());
}
