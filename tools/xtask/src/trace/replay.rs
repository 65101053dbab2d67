//! A trace against the model: for each task, the states that it can be in after what was recorded.
//!
//! A trace shows a part of what happens, and a little later: the task word changes without a record, and a poll's record of
//! its end comes after the change that ends it. So a task is followed as a set of states. Between two records any
//! operation of `word.table` may have happened that is not recorded by itself; a record leaves those states in which
//! it can be made. When none is left, what was recorded is impossible by the model: a task was polled without having been
//! queued, by two workers at once, woken while it was ready, or after its end.
//!
//! Records of one time on several harts may have come in any order.

use super::record::{Event, Record};
use crate::model::table::{WordTable, bit};
use std::collections::{BTreeMap, BTreeSet};

/// A hart that is not known: the task was in its poll when the records begin.
const SOMEWHERE: usize = usize::MAX;
/// Of so many records of one time all orders are tried; more have never been seen.
const AT_ONCE: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In no queue, or in a worker's hand.
    Away,
    /// Woken, not yet recorded.
    Woken,
    Queued,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Begun,
    Polled,
    Cancelled,
    /// Not yet recorded.
    Over {
        finished: bool,
    },
}

/// One state that a task can be in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    bits: u8,
    place: Place,
    /// By hart, in order of their beginning.
    polls: Vec<(usize, Stage)>,
}

type States = BTreeSet<State>;

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Tasks that were followed.
    pub tasks: usize,
    /// Records that were followed.
    pub records: usize,
    /// The most polls of others that began between a wake and the task's own.
    pub most_bypassed: usize,
    /// What is impossible, as text.
    pub impossible: Vec<String>,
}

/// Follows all tasks of a trace.
pub fn replay(records: &[Record], table: &WordTable) -> Replayed {
    let mut found = Replayed { most_bypassed: most_bypassed(records), ..Replayed::default() };
    let mut tasks: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| !matches!(record.event, Event::Switch { .. })) {
        tasks.entry(record.task).or_default().push(*record);
    }
    for (task, records) in &tasks {
        found.tasks += 1;
        found.records += records.len();
        let is_new = records.iter().any(|record| record.event == Event::Spawn);
        if let Err(at) = follow(records, is_new, table) {
            let shown = |record: &Record| format!("line {}, hart {}: {:?}", record.line, record.hart, record.event);
            let before: Vec<String> = records[at.saturating_sub(4)..at].iter().map(shown).collect();
            found.impossible.push(format!("task {task}: {} after {}", shown(&records[at]), before.join("; ")));
        }
    }
    found
}

fn most_bypassed(records: &[Record]) -> usize {
    let (mut begun, mut most, mut woken) = (0, 0, BTreeMap::new());
    for record in records {
        match record.event {
            Event::Wake => drop(woken.insert(record.task, begun)),
            Event::Begin => {
                most = most.max(woken.remove(&record.task).map_or(0, |at| begun - at));
                begun += 1;
            }
            _ => {}
        }
    }
    most
}

/// The place of the first record that cannot be.
fn follow(records: &[Record], is_new: bool, table: &WordTable) -> Result<(), usize> {
    let mut states = closed(if is_new { newborn() } else { anything() }, table);
    let mut at = 0;
    while at < records.len() {
        let together = records[at..].iter().take_while(|record| record.time == records[at].time).count();
        let group = &records[at..at + together];
        states = if together <= AT_ONCE {
            in_any_order(&states, group, table)
        } else {
            group.iter().fold(states, |states, record| after(&states, record, table))
        };
        if states.is_empty() {
            return Err(at);
        }
        at += together;
    }
    Ok(())
}

/// The states after records of one time: those of a hart in their order, those of several in every order.
fn in_any_order(states: &States, group: &[Record], table: &WordTable) -> States {
    if group.is_empty() {
        return states.clone();
    }
    let mut all = States::new();
    for (at, record) in group.iter().enumerate() {
        if group[..at].iter().any(|earlier| earlier.hart == record.hart) {
            continue;
        }
        let rest: Vec<Record> = [&group[..at], &group[at + 1..]].concat();
        all.extend(in_any_order(&after(states, record, table), &rest, table));
    }
    all
}

/// A task that was just made.
fn newborn() -> States {
    [State { bits: bit('S'), place: Place::Queued, polls: Vec::new() }].into()
}

/// Whatever a task can be in that the records begin with.
fn anything() -> States {
    let (s, r, c, x) = (bit('S'), bit('R'), bit('C'), bit('X'));
    let state = |bits, place, polls: &[Stage]| State {
        bits,
        place,
        polls: polls.iter().map(|stage| (SOMEWHERE, *stage)).collect(),
    };
    let mut all = States::new();
    for cancel in [0, x] {
        all.insert(state(cancel & !x, Place::Away, &[]));
        all.extend([Place::Woken, Place::Queued].map(|place| state(s | cancel, place, &[])));
        all.insert(state(s | cancel, Place::Away, &[Stage::Begun]));
        all.extend([0, s].map(|again| state(r | again | cancel, Place::Away, &[Stage::Polled])));
    }
    all.extend([0, s].map(|again| state(r | again | x, Place::Away, &[Stage::Cancelled])));
    all.insert(state(c, Place::Away, &[]));
    all
}

/// The states after a record.
fn after(states: &States, record: &Record, table: &WordTable) -> States {
    closed(states.iter().filter_map(|state| recorded(state, record)).collect(), table)
}

/// What a state becomes by a record; nothing if the record cannot be made in it.
fn recorded(state: &State, record: &Record) -> Option<State> {
    let mut state = state.clone();
    let own = state.polls.iter().rposition(|(hart, _)| *hart == record.hart);
    let own = own.or_else(|| state.polls.iter().position(|(hart, _)| *hart == SOMEWHERE));
    match record.event {
        Event::Spawn | Event::Switch { .. } => Some(state),
        Event::Wake if state.place == Place::Woken => {
            state.place = Place::Queued;
            Some(state)
        }
        Event::Begin if state.place == Place::Queued => {
            state.place = Place::Away;
            state.polls.push((record.hart, Stage::Begun));
            Some(state)
        }
        Event::End { finished } => match own.map(|own| state.polls[own].1) {
            Some(Stage::Over { finished: really }) if really == finished => {
                state.polls.remove(own?);
                Some(state)
            }
            Some(_) => None,
            // It began before the records do. Whether that can be is seen by the hart (`nest`).
            None => Some(state),
        },
        Event::Acts => {
            let own = own?;
            state.polls[own].0 = record.hart;
            (state.polls[own].1 == Stage::Polled).then_some(state)
        }
        Event::Wake | Event::Begin => None,
    }
}

/// The states, and all that come of them without a record.
fn closed(states: States, table: &WordTable) -> States {
    let mut open: Vec<State> = states.iter().cloned().collect();
    let mut all = states;
    while let Some(state) = open.pop() {
        for next in unrecorded(&state, table) {
            if all.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    all
}

/// What can happen to a task next without a record.
fn unrecorded(state: &State, table: &WordTable) -> Vec<State> {
    let mut next = Vec::new();
    // From outside. Only a wake that finds the task idle is recorded.
    for (operation, place) in [("wake", Place::Woken), ("abort", Place::Queued), ("drop_ref", Place::Queued)] {
        for row in table.possible(operation, state.bits) {
            match row.answer.as_str() {
                "enqueue" if state.place == Place::Away => {
                    next.push(State { bits: row.applied(state.bits), place, ..state.clone() });
                }
                "nothing" => next.push(State { bits: row.applied(state.bits), ..state.clone() }),
                // A task that is freed is not seen again; one that is queued is not queued.
                _ => {}
            }
        }
    }
    for (at, (hart, stage)) in state.polls.iter().enumerate() {
        let mut then = |bits, stage, place| {
            let mut polls = state.polls.clone();
            polls[at] = (*hart, stage);
            next.push(State { bits, place, polls });
        };
        match stage {
            Stage::Begun if state.bits & (bit('S') | bit('R') | bit('C')) == bit('S') => {
                for row in table.possible("start", state.bits) {
                    let stage = if row.answer == "poll" { Stage::Polled } else { Stage::Cancelled };
                    then(row.applied(state.bits), stage, state.place);
                }
            }
            Stage::Polled => {
                for row in table.possible("pause", state.bits) {
                    let (over, bits) = (Stage::Over { finished: row.answer == "orphan" }, row.applied(state.bits));
                    match row.answer.as_str() {
                        "requeue" => then(bits, over, Place::Queued),
                        "orphan" => then(bits | bit('C'), over, state.place),
                        _ => then(bits, over, state.place),
                    }
                }
                ended(table, "finish", state.bits)
                    .for_each(|bits| then(bits, Stage::Over { finished: true }, state.place));
            }
            Stage::Cancelled => {
                ended(table, "cancelled", state.bits)
                    .for_each(|bits| then(bits, Stage::Over { finished: true }, state.place));
            }
            Stage::Begun | Stage::Over { .. } => {}
        }
    }
    next
}

/// The bits after a task's end, and after it was let go.
fn ended(table: &WordTable, operation: &str, bits: u8) -> impl Iterator<Item = u8> {
    let ends = table.possible(operation, bits).into_iter().map(move |row| row.applied(bits));
    ends.flat_map(|bits| table.possible("release", bits).into_iter().map(move |row| row.applied(bits)))
        .collect::<BTreeSet<u8>>()
        .into_iter()
}
