//! The barrier: tasks that wait for each other.

use super::*;

struct State {
    arrived: usize,
    /// How often all were there.
    generation: u64,
}

impl Gate for State {
    fn is_open(&self) -> bool {
        false
    }
}

/// One that has arrived.
struct Arrived(u64);

impl Claim<State> for Arrived {
    type Output = ();

    fn claim(&mut self, state: &mut State, _: bool) -> Option<()> {
        (state.generation != self.0).then_some(())
    }

    fn withdraw(&mut self, state: &mut State) {
        if state.generation == self.0 {
            state.arrived -= 1;
        }
    }
}

/// Tasks wait here until so many are there.
pub struct Barrier<L: Lock> {
    turns: Turns<L, State>,
    count: usize,
}

/// Who was last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether this is the one task that came last.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl<L: Lock> Barrier<L> {
    sync::const_fn! {
        /// A barrier for so many tasks; for none it is as for one.
        #[must_use]
        pub const fn new(count: usize) -> Self {
            Self { turns: Turns::new(free(), State { arrived: 0, generation: 0 }), count }
        }
    }

    /// Waits until all are there, and lets all go. A task that goes away before does not count.
    pub async fn wait(&self) -> BarrierWaitResult {
        let (generation, last) = self.turns.look(|state| {
            state.arrived += 1;
            let (generation, last) = (state.generation, state.arrived >= self.count);
            if last {
                state.arrived = 0;
                state.generation += 1;
            }
            (generation, last)
        });
        if last {
            self.turns.change_for_all(|_| ());
        }
        // Polled at once: dropped later, it takes the arrival back.
        let mut turn = pin!(self.turns.wait(Arrived(generation)));
        poll_fn(|context| noted(turn.as_mut().poll(context), Wait::Notice, context)).await;
        BarrierWaitResult(last)
    }
}
