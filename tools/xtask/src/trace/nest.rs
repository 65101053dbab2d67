//! Polls on one hart nest: a task that is preempted goes on there, after what preempted it.

use super::record::{Event, Record};

/// How far something on a hart has come.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The hart has switched to it.
    Announced,
    Polled,
    /// The poll is over; the hart will switch back.
    Done,
}

#[derive(Debug)]
struct Frame {
    task: u64,
    /// What was preempted for it, if anything.
    from: Option<u64>,
    stage: Stage,
}

/// What a hart has in hand, the innermost last.
#[derive(Debug, Default)]
pub struct Nest {
    frames: Vec<Frame>,
    /// Whether it is known what the hart has in hand: not before the first moment when that is surely one task.
    known: bool,
    ended_a_poll: bool,
}

impl Nest {
    /// Takes note of a record of this hart.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        let ended = std::mem::replace(&mut self.ended_a_poll, matches!(record.event, Event::End { .. }));
        // After a poll that preempted something comes the switch back.
        self.known |= ended && record.event == Event::Begin;
        if !self.known {
            return Ok(());
        }
        let task = record.task;
        let top = self.frames.last_mut();
        match record.event {
            Event::Begin => match top {
                Some(top) if top.stage == Stage::Announced && top.task == task => top.stage = Stage::Polled,
                Some(top) => return Err(format!("a poll begins while task {} is polled here", top.task)),
                None => self.frames.push(Frame { task, from: None, stage: Stage::Polled }),
            },
            Event::End { .. } => match top {
                Some(top) if top.stage == Stage::Polled && top.task == task => {
                    top.stage = Stage::Done;
                    if top.from.is_none() {
                        self.frames.pop();
                    }
                }
                _ => return Err("a poll ends that is not the innermost here".into()),
            },
            Event::Switch { from } => match top {
                Some(top) if top.stage == Stage::Done && top.task == from && top.from == Some(task) => {
                    self.frames.pop();
                }
                _ => self.frames.push(Frame { task, from: Some(from), stage: Stage::Announced }),
            },
            Event::Acts => match top {
                Some(top) if top.stage == Stage::Polled && top.task == task => {}
                _ => return Err("it acts, but is not what this hart polls".into()),
            },
            Event::Spawn | Event::Wake => {}
        }
        Ok(())
    }
}
