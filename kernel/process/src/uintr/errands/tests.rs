//! Who does an errand, on the host: how often before the thread is in user mode again, how much in one go, and for whom there is a place.

use super::*;
use crate::tests::{HANDLER, STACK, execute, exit_call, new_process, turn};
use crate::uintr::ReceiverFile;
use abi::{nr, uintr};
use alloc::vec::Vec;
use core::{mem, sync::atomic::AtomicUsize};
use exec::Priority;
use hal::user::{Exit, UserContext};

/// What somebody has left to a thread.
#[derive(Default)]
struct Work {
    /// How much there is.
    left: AtomicUsize,
    passed_on: AtomicUsize,
}

impl Work {
    fn new(left: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(left), ..Self::default() })
    }

    fn errand(self: &Arc<Self>) -> Weak<dyn Errand> {
        let errand: Weak<Self> = Arc::downgrade(self);
        errand
    }

    /// How much is left, and how often it was passed on.
    fn seen(&self) -> (usize, usize) {
        (self.left.load(Relaxed), self.passed_on.load(Relaxed))
    }
}

impl Errand for Work {
    fn run(&self, _: &Thread, left: &mut usize) -> bool {
        let there = self.left.load(Relaxed);
        let done = there.min(*left);
        *left -= done;
        self.left.store(there - done, Relaxed);
        done < there
    }

    fn pass_on(&self) {
        self.passed_on.fetch_add(1, Relaxed);
    }
}

/// A program that is a receiver and has a ring, say, and each time it stands there: what is left to it, of which it is `rounds` to see.
fn receives(rings: Vec<Arc<Work>>, mut rounds: impl FnMut(usize, &Runner, &mut UserContext) -> Exit + 'static) {
    let _turn = turn();
    let thread = exec::block_on(new_process(0));
    let process = thread.process().clone();
    let (mut round, mut runner) = (0, None);
    let status = execute(&thread, move |context| {
        round += 1;
        match round {
            1 => exit_call(context, uintr::RECEIVER, &[HANDLER, STACK, uintr::SOFT]),
            2 => {
                let open = process.descriptors().unwrap().get(context.x()[10] as i32).unwrap();
                let ReceiverFile(receiver) = open.file().as_any().downcast_ref().unwrap();
                for ring in &rings {
                    runner = receiver.runs(process.pid(), &ring.errand()).0;
                }
                // It takes some when it begins to run the next time.
                exit_call(context, nr::SCHED_YIELD, &[])
            }
            _ => rounds(round - 3, runner.as_ref().unwrap(), context),
        }
    });
    assert_eq!(status, 0);
}

fn leaves(context: &mut UserContext) -> Exit {
    exit_call(context, nr::EXIT, &[0])
}

/// Whoever has something for it each time does not keep it from its program.
#[test]
fn what_comes_before_it_was_in_user_mode_again_is_passed_on() {
    let work = Work::new(0);
    let ring = work.clone();
    receives(Vec::from([work]), move |round, runner, context| {
        // What is left is passed on each time.
        let seen = [(0, 0), (0, 0), (1, 1), (1, 2), (0, 2), (0, 2)];
        assert_eq!(ring.seen(), seen[round]);
        if round < 5 {
            ring.left.store(1, Relaxed);
            assert!(runner.call(Priority::LOWEST));
        }
        match round {
            // It is where it was: the first is done, and the next two are not.
            0..3 => {
                context.x_mut()[17] = nr::GETPID;
                Exit::Syscall
            }
            3 => Exit::Interrupt,
            4 => exit_call(context, nr::GETPID, &[]),
            _ => leaves(context),
        }
    });
}

/// However many rings it has, it does no more in one go than for one.
#[test]
fn what_it_does_in_one_go_is_for_all_together() {
    let rings = [AT_ONCE / 2, AT_ONCE, 1].map(Work::new);
    let works = rings.clone();
    receives(Vec::from(rings), move |round, runner, context| {
        if round == 0 {
            assert!(runner.call(Priority::LOWEST));
            return Exit::Interrupt;
        }
        assert_eq!(works.each_ref().map(|work| work.seen()), [(0, 0), (AT_ONCE / 2, 1), (1, 1)]);
        leaves(context)
    });
}

/// Who is less urgent than who would do it else is left nothing.
#[test]
fn what_is_more_urgent_is_not_left_to_it() {
    let work = Work::new(1);
    let ring = work.clone();
    receives(Vec::from([work]), move |round, runner, context| {
        if round == 0 {
            // More urgent than it is: it is not left to this one either.
            assert!(!runner.call(Priority::new(0)));
            return exit_call(context, nr::SCHED_YIELD, &[]);
        }
        assert_eq!(ring.seen(), (1, 0));
        leaves(context)
    });
}

/// A ring has one place, which is another's when it is gone, or wants no more, and nothing is kept behind the receiver's end.
#[test]
fn each_has_one_place() {
    let errands = Errands::new();
    let mut rings: [_; MOST] = core::array::from_fn(|_| Work::new(0));
    for ring in &rings {
        assert!(errands.add(&ring.errand()).unwrap().is_none());
    }
    let other = Work::new(0);
    assert!(errands.add(&other.errand()).is_err());
    // The first is gone; the last has its own place all the same.
    drop(mem::replace(&mut rings[0], other.clone()));
    assert!(errands.add(&rings[MOST - 1].errand()).unwrap().is_some_and(|old| old.strong_count() > 0));
    assert!(errands.add(&other.errand()).unwrap().is_some_and(|old| old.strong_count() == 0));
    assert!(errands.add(&Work::new(0).errand()).is_err());
    drop(errands.remove(&rings[1].errand()));
    assert_eq!(Arc::weak_count(&rings[1]), 0);
    assert!(errands.remove(&rings[1].errand()).is_none());
    assert!(errands.add(&Work::new(0).errand()).unwrap().is_none());
    errands.clear();
    assert!(rings.iter().all(|ring| Arc::weak_count(ring) == 0));
}
