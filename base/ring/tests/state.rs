//! A poll of a request that waits against what it promises, whatever happens before it and during each run.
#![cfg(not(loom))]

use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use ring::{Outcome, Polled, RequestState};

/// What happens in one poll.
#[derive(Clone, Copy, Debug)]
struct Round {
    cancelled_before: bool,
    abandoned_before: bool,
    /// Which run is ready, and which is cancelled while it runs.
    ready: Option<u8>,
    cancelled_in: Option<u8>,
    is_over: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let rarely = || prop::bool::weighted(0.2);
    let one = || prop::option::weighted(0.3, 0..2u8);
    let round = (rarely(), rarely(), one(), one(), rarely()).prop_map(
        |(cancelled_before, abandoned_before, ready, cancelled_in, is_over)| Round {
            cancelled_before,
            abandoned_before,
            ready,
            cancelled_in,
            is_over,
        },
    );
    prop::collection::vec(round, 1..12)
}

proptest! {
    #[test]
    fn what_is_ready_wins_and_who_is_cancelled_has_had_its_say(may_be_dropped: bool, rounds in rounds()) {
        let state = RequestState::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut nobody = false;
        for round in rounds {
            if round.cancelled_before {
                state.cancel();
            }
            if round.abandoned_before {
                state.abandon();
                nobody = true;
            }
            let (mut runs, mut knew) = (0u8, false);
            let run = |_: &mut Context<'_>| {
                knew = state.is_cancelled();
                if round.cancelled_in == Some(runs) {
                    state.cancel();
                }
                runs += 1;
                if round.ready == Some(runs - 1) { Poll::Ready(runs) } else { Poll::Pending }
            };
            let polled = state.poll(&mut context, may_be_dropped, run, |_| round.is_over);
            prop_assert!(runs <= 2 && (runs == 0) == nobody, "{runs} runs");
            match polled {
                Polled::Done(run) => {
                    prop_assert_eq!((Some(run - 1), run), (round.ready, runs));
                    return Ok(());
                }
                _ if nobody => {
                    prop_assert_eq!(polled, Polled::Cancelled);
                    return Ok(());
                }
                Polled::Pending => prop_assert!(!state.is_cancelled() && !round.is_over),
                Polled::GoesOn => prop_assert!(knew && !may_be_dropped),
                Polled::Cancelled => {
                    prop_assert!(knew && may_be_dropped);
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn an_end_is_told_once_and_stays(told in prop::collection::vec(0..3usize, 0..8)) {
        let state = RequestState::default();
        let mut outcome = Outcome::Runs;
        for told in told.into_iter().map(|at| [Outcome::GoesOn, Outcome::Completed, Outcome::Cancelled][at]) {
            let is_new = outcome == Outcome::Runs || outcome == Outcome::GoesOn && told != Outcome::GoesOn;
            prop_assert_eq!(state.tell(told), is_new);
            if is_new {
                outcome = told;
            }
            prop_assert_eq!(state.outcome(), outcome);
        }
    }
}
