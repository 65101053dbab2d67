//! What the word does, and that it is what `tests/model/word.table` says: the models of the protocol, and the check of traces,
//! are made of that.

use super::*;

const LETTERS: [(char, usize); 8] = [
    ('S', SCHEDULED),
    ('R', RUNNING),
    ('C', COMPLETE),
    ('X', CANCEL),
    ('N', NO_OUTPUT),
    ('F', FAILED),
    ('I', JOIN_INTEREST),
    ('W', JOIN_WAKER),
];

/// A line of the table: operation, condition, change, answer.
type Row<'t> = [&'t str; 4];

fn rows() -> impl Iterator<Item = Row<'static>> {
    let lines = include_str!("../../../../tests/model/word.table").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [operation, when, then, answer, mutant] = columns[..] else { panic!("five columns: {line}") };
        mutant.is_empty().then_some([operation, when, then, answer])
    })
}

fn bit(word: &str) -> usize {
    LETTERS.iter().find(|(letter, _)| word[1..] == letter.to_string()).unwrap().1
}

fn applies(when: &str, word: usize) -> bool {
    when.split_whitespace().all(|part| match part.strip_prefix("refs") {
        Some(count) if count.starts_with('=') => word / REF == count[1..].parse().unwrap(),
        Some(count) => word / REF >= count.strip_prefix(">=").unwrap().parse().unwrap(),
        None => (word & bit(part) != 0) == part.starts_with('+'),
    })
}

fn changed(then: &str, word: usize) -> usize {
    then.split_whitespace().fold(word, |word, part| match part.strip_prefix("refs") {
        Some(count) => word.wrapping_add_signed(count.parse::<isize>().unwrap() * REF as isize),
        None if part.starts_with('+') => word | bit(part),
        None => word & !bit(part),
    })
}

/// Does an operation on the real word and names its answer as the table does.
fn done(operation: &str, word: &Word) -> &'static str {
    let completed = |found| match found {
        Completed { wake_joiner: true, .. } => "wake_joiner",
        Completed { drop_output: true, .. } => "drop_output",
        Completed { .. } => "nothing",
    };
    let woken = |wake| if wake == Wake::Enqueue { "enqueue" } else { "nothing" };
    let released = |release| match release {
        Release::Nothing => "nothing",
        Release::Free => "free",
        Release::Enqueue => "enqueue",
    };
    match operation {
        "wake" => woken(word.wake()),
        "abort" => woken(word.abort()),
        "start" if word.start() == Start::Poll => "poll",
        "start" => "cancel",
        "pause" => match word.pause() {
            Pause::Idle => "idle",
            Pause::Requeue => "requeue",
            Pause::Orphan => "orphan",
        },
        "finish" => completed(word.complete(Ending::Output)),
        "cancelled" => completed(word.complete(Ending::NoOutput)),
        "release" => released(word.release()),
        "add_ref" => {
            word.add_ref();
            "nothing"
        }
        "try_ref" if word.try_add_ref() => "added",
        "try_ref" => "refused",
        "drop_ref" => released(word.drop_ref()),
        "ending" => match word.ending() {
            None => "none",
            Some(Ending::Output) => "output",
            Some(Ending::NoOutput) => "no_output",
            Some(Ending::Failed) => "failed",
        },
        "take_cell" => word.take_join_cell().map_or("ended", |()| "taken"),
        "give_cell" => word.give_join_cell().map_or("ended", |()| "given"),
        "leave" => {
            if word.leave() == Leave::Running {
                "running"
            } else {
                "ended"
            }
        }
        unknown => panic!("the word has no operation {unknown}"),
    }
}

/// Whether the operation's caller may find the word like this.
fn is_allowed(operation: &str, word: usize) -> bool {
    let (runs, ended) = (word & RUNNING != 0, word & COMPLETE != 0);
    // The joiner's bits are the handle's, which has a reference.
    let joined = word & JOIN_INTEREST != 0;
    let sound = (joined || word & JOIN_WAKER == 0) && (!joined || word >= REF);
    sound
        && match operation {
            "start" => word & (SCHEDULED | RUNNING | COMPLETE) == SCHEDULED,
            "pause" | "finish" | "cancelled" => runs && !ended,
            "release" => runs && ended,
            "take_cell" | "give_cell" | "leave" => joined,
            // By who has none.
            "try_ref" => true,
            // A handle that goes has left before.
            "drop_ref" => word >= 2 * REF || (word >= REF && !joined),
            _ => word >= REF,
        }
}

#[test]
fn it_is_as_the_table_says() {
    let mut operations: Vec<&str> = rows().map(|row| row[0]).collect();
    operations.dedup();
    let mut compared = 0;
    for operation in operations {
        let own: Vec<Row<'_>> = rows().filter(|row| row[0] == operation).collect();
        for before in (0..4 * REF).filter(|before| is_allowed(operation, *before)) {
            let row = own.iter().find(|row| applies(row[1], before)).unwrap();
            let word = Word(AtomicUsize::new(before));
            assert_eq!(done(operation, &word), row[3], "{operation} of {before:#x}");
            assert_eq!(word.0.load(Ordering::Relaxed), changed(row[2], before), "{operation} of {before:#x}");
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn a_wake_while_running_requeues_once() {
    let word = Word::new();
    assert_eq!(word.wake(), Wake::Nothing);
    assert_eq!(word.start(), Start::Poll);
    assert_eq!(word.wake(), Wake::Nothing);
    assert_eq!(word.wake(), Wake::Nothing);
    assert_eq!(word.pause(), Pause::Requeue);
    assert_eq!(word.start(), Start::Poll);
    assert_eq!(word.pause(), Pause::Idle);
    assert_eq!(word.wake(), Wake::Enqueue);
}

#[test]
fn a_wake_after_completion_does_nothing() {
    let word = Word::new();
    assert_eq!(word.start(), Start::Poll);
    assert_eq!(word.complete(Ending::Output), Completed { drop_output: false, wake_joiner: false });
    assert_eq!(word.wake(), Wake::Nothing);
    assert_eq!(word.abort(), Wake::Nothing);
    assert_eq!(word.release(), Release::Nothing);
    assert_eq!(word.wake(), Wake::Nothing);
    assert_eq!(word.leave(), Leave::Ended(Ending::Output));
    assert_eq!(word.drop_ref(), Release::Free);
}

#[test]
fn a_waiting_task_without_references_is_queued_to_be_cancelled() {
    let word = Word::new();
    assert_eq!(word.start(), Start::Poll);
    assert_eq!(word.pause(), Pause::Idle);
    assert_eq!(word.drop_ref(), Release::Enqueue);
    assert_eq!(word.drop_ref(), Release::Nothing);
    assert_eq!(word.start(), Start::Cancel);
    assert_eq!(word.complete(Ending::NoOutput), Completed { drop_output: false, wake_joiner: false });
    assert_eq!(word.release(), Release::Free);
}

#[test]
fn an_unreferenced_task_is_an_orphan_at_the_end_of_its_poll() {
    let word = Word::new();
    assert_eq!(word.start(), Start::Poll);
    assert_eq!(word.leave(), Leave::Running);
    assert_eq!(word.drop_ref(), Release::Nothing);
    assert_eq!(word.pause(), Pause::Orphan);
}
