//! The check of traces must be able to fail.

use super::*;

/// Two harts: task 7 is woken by 9 and goes on at the other hart before its last poll's end is recorded; 5 preempts 7.
const GOOD: &str = "# recording 0, lost 0
1.000000000 0 interrupt from=timer
1.000000000 1 interrupt from=timer
1.000000100 0 spawn task=7 parent=9
1.000000200 0 poll-end task=9 finished=0
1.000000300 0 poll-begin task=7
1.000000400 0 trap task=7 mode=user exception=8
1.000000500 1 wake task=7 by=9
1.000000600 1 poll-end task=9 finished=0
1.000000700 1 poll-begin task=7
1.000000800 0 poll-end task=7 finished=0
1.000000900 1 trap task=7 mode=user interrupt=5
1.000001000 1 switch from=7 to=5
1.000001100 1 poll-begin task=5
1.000001200 1 poll-end task=5 finished=0
1.000001300 1 switch from=5 to=7
1.000001400 1 submit request=3 task=7 call=63
1.000001500 1 poll-end task=7 finished=1
1.000001600 0 interrupt from=timer
1.000001700 1 interrupt from=timer
";

fn table() -> WordTable {
    model::word_table(&Project::load().unwrap()).unwrap()
}

fn holds(text: &str) -> bool {
    let tally = judge(text, &table()).unwrap();
    assert_ne!(tally.passed > 0, tally.failed > 0);
    tally.failed == 0
}

fn without(line: &str) -> String {
    assert_eq!(GOOD.matches(line).count(), 1, "{line}");
    GOOD.lines().filter(|other| !other.contains(line)).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn a_possible_trace_holds() {
    assert!(holds(GOOD));
}

/// A missing wake is not: the task may have been woken during its poll, which is not recorded.
#[test]
fn a_missing_record_is_noticed() {
    for line in [
        "0 poll-begin task=7",
        "1 poll-begin task=7",
        "poll-begin task=5",
        "poll-end task=5",
        "switch from=7",
        "switch from=5",
    ] {
        assert!(!holds(&without(line)), "{line}");
    }
}

#[test]
fn what_the_model_forbids_is_noticed() {
    let changed = |from: &str, to: &str| {
        assert_eq!(GOOD.matches(from).count(), 1, "{from}");
        holds(&GOOD.replace(from, to))
    };
    // It goes on at the old hart after another has begun to poll it.
    assert!(!changed(
        "1.000000800 0 poll-end task=7",
        "1.000000800 0 trap task=7 mode=user exception=8\n1.000000801 0 poll-end task=7"
    ));
    // It is woken again before it was polled.
    assert!(!changed("1.000000600 1", "1.000000550 0 wake task=7 by=0\n1.000000600 1"));
    // It is woken after its end.
    assert!(!changed("1.000001600 0", "1.000001550 0 wake task=7 by=0\n1.000001600 0"));
    // It is polled after its end.
    assert!(!changed("1.000001600 0", "1.000001550 0 poll-begin task=7\n1.000001600 0"));
    // It is polled twice for one wake.
    assert!(!changed("1.000001000 1", "1.000000950 0 poll-begin task=7\n1.000001000 1"));
    // The preempted task goes on before what preempted it.
    assert!(!changed("1.000001200 1", "1.000001150 1 trap task=7 mode=user exception=8\n1.000001200 1"));
}

#[test]
fn records_of_one_time_come_in_any_order() {
    assert!(holds(&GOOD.replace("1.000000700 1", "1.000000500 1").replace("1.000000600 1", "1.000000500 1")));
    // But not on one hart.
    assert!(judge(&GOOD.replace("1.000000400 0", "1.000000250 0"), &table()).is_err());
}

#[test]
fn a_trace_of_nothing_does_not_hold() {
    assert!(!holds("# recording 0, lost 0\n1.000000000 0 interrupt from=timer\n"));
}
