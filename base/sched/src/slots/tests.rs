//! The book by hand, and how long a poll lasts.

use super::*;

/// A process of two threads and one slot, which the first has.
fn alone() -> Book {
    let mut book = Book::new(1);
    assert!(book.enter(0) && book.enter(1));
    assert_eq!(book.kick(0), Do::Nothing, "wanted");
    assert_eq!(book.wait(0), Wait::Slot(0));
    book
}

/// The same, the second waiting for it.
fn pair() -> Book {
    let mut book = alone();
    assert_eq!(book.wait(1), Wait::Waits(Do::Nothing));
    book
}

#[test]
fn who_waits_for_something_else_gives_its_slot_to_a_spare() {
    let mut book = pair();
    assert_eq!(book.blocks(0, true), Do::Give(1, 0));
    assert_eq!(book.waited(1), Some(0));
    assert_eq!(book.shown(0), (2, false));
    assert_eq!(book.blocks(0, true), Do::Nothing);
    // Back from there, it is the spare.
    assert_eq!(book.wait(0), Wait::Waits(Do::Nothing));
    assert_eq!((book.spares(), book.slot_of(0)), (1, None));
}

#[test]
fn nobody_is_taken_out_of_the_scheduler() {
    let mut book = pair();
    assert_eq!(book.blocks(0, false), Do::Nothing);
    assert_eq!(book.kick(0), Do::Interrupt(0));
    assert_eq!(book.examine(0, false, true), Do::Nothing);
    assert_eq!(book.shown(0), (1, true));
    assert_eq!(book.examine(0, true, true), Do::Give(1, 0));
    assert_eq!(book.shown(0), (2, false));
}

#[test]
fn a_slot_that_finds_no_spare_goes_to_the_first() {
    let mut book = alone();
    assert_eq!(book.blocks(0, true), Do::Nothing);
    assert_eq!(book.shown(0), (NOBODY, false));
    assert_eq!(book.wait(1), Wait::Slot(0));
}

#[test]
fn a_kick_that_finds_no_spare_waits_for_one() {
    let mut book = alone();
    assert_eq!(book.kick(0), Do::Interrupt(0));
    assert_eq!(book.examine(0, true, true), Do::Nothing);
    assert_eq!(book.wait(1), Wait::Waits(Do::Interrupt(0)));
    assert_eq!(book.examine(0, true, true), Do::Give(1, 0));
}

#[test]
fn a_spare_that_one_kick_does_not_need_is_for_the_next() {
    let mut book = Book::new(2);
    assert!(book.enter(0) && book.enter(1) && book.enter(2));
    assert_eq!([book.kick(0), book.kick(1)], [Do::Nothing; 2], "wanted");
    assert_eq!([book.wait(0), book.wait(1)], [Wait::Slot(0), Wait::Slot(1)]);
    assert_eq!([book.kick(0), book.kick(1)], [Do::Interrupt(0), Do::Interrupt(1)]);
    // There is no spare yet.
    assert_eq!(book.examine(1, true, true), Do::Nothing);
    assert_eq!(book.wait(2), Wait::Waits(Do::Interrupt(0)));
    // What the first was kicked for has been run elsewhere.
    assert_eq!(book.examine(0, true, false), Do::Interrupt(1));
    assert_eq!(book.examine(1, true, true), Do::Give(2, 1));
}

#[test]
fn a_kick_before_the_wait_ends_it() {
    let mut book = pair();
    assert_eq!(book.kick(0), Do::Interrupt(0));
    assert_eq!(book.wait(0), Wait::Slot(0));
    assert_eq!(book.wait(0), Wait::Waits(Do::Nothing));
    assert_eq!((book.waited(0), book.slot_of(0)), (None, Some(0)));
    assert_eq!(book.kick(0), Do::Give(0, 0));
    assert_eq!(book.waited(0), Some(0));
}

#[test]
fn what_a_thread_had_at_its_end_goes_on() {
    let mut book = pair();
    assert_eq!(book.leave(0), Do::Give(1, 0));
    assert_eq!(book.leave(1), Do::Nothing);
    assert_eq!(book.shown(0), (NOBODY, false));
    assert!(book.enter(1));
    assert_eq!(book.wait(1), Wait::Slot(0));
}

#[test]
fn a_wait_that_is_given_up_keeps_what_it_was_given() {
    let mut book = pair();
    assert_eq!(book.blocks(0, true), Do::Give(1, 0));
    assert_eq!(book.give_up(1), Some(0));
    assert_eq!(book.wait(0), Wait::Waits(Do::Nothing));
    assert_eq!(book.give_up(0), None);
    assert_eq!(book.spares(), 0);
}

/// A process of one slot, which the first has, and as many threads as there can be, so many of them spares.
fn full(spares: u8) -> Book {
    let mut book = Book::new(1);
    (0..MAX_PLACES as u8).for_each(|place| assert!(book.enter(place)));
    assert_eq!((book.kick(0), book.wait(0)), (Do::Nothing, Wait::Slot(0)));
    (1..=spares).for_each(|place| assert_eq!(book.wait(place), Wait::Waits(Do::Nothing)));
    book
}

/// The same, the others preempted at priority 20.
fn crowded(spares: u8) -> Book {
    let mut book = full(spares);
    (spares + 1..MAX_PLACES as u8).for_each(|place| book.note_preempted(place, 20));
    book
}

#[test]
fn some_are_kept_for_what_is_urgent() {
    let mut book = crowded(17);
    assert_eq!((book.few(), book.preempt(0, true)), (0, Do::Give(1, 0)));
    book.note_preempted(0, 24);
    assert_eq!((book.few(), book.preempt(1, true)), (25, Do::Nothing), "the least urgent of all");
    assert_eq!((book.kick(0), book.examine(1, true, true)), (Do::Interrupt(1), Do::Give(2, 0)));
    // Without any that were preempted it is no use to wait.
    assert_eq!(full(3).few(), 0);
}

#[test]
fn who_stands_in_is_relieved_when_more_are_left_or_called_for_what_is_urgent() {
    let mut book = crowded(KEPT as u8);
    assert_eq!((book.stand_in(0), book.relieve()), (Wait::Waits(Do::Nothing), Do::Nothing));
    assert_eq!((book.kick(0), book.waited(0)), (Do::Give(0, 0), Some(0)));
    assert_eq!(book.stand_in(0), Wait::Waits(Do::Nothing));
    // One of those that were preempted has ended its poll.
    assert_eq!(book.wait(40), Wait::Waits(Do::Nothing));
    assert_eq!((book.relieve(), book.relieve()), (Do::Give(0, 0), Do::Nothing));
    assert_eq!(book.stand_in(0), Wait::Slot(0), "there is no need");
}

#[test]
fn numbers_out_of_range_mean_nothing() {
    let mut book = Book::new(99);
    assert_eq!(book.slots(), MAX_SLOTS);
    assert!(book.enter(0) && !book.enter(64) && !book.enter(255) && !book.enter(0));
    assert_eq!([book.kick(8), book.kick(255), book.leave(99)], [Do::Nothing; 3]);
    assert_eq!([book.blocks(70, true), book.examine(70, true, true), book.preempt(70, true)], [Do::Nothing; 3]);
    assert_eq!((book.waited(70), book.give_up(200), book.shown(9)), (None, None, (NOBODY, false)));
}

/// A slot goes from thread to thread, and the first poll of each is the same number: each has lasted no longer than it was seen.
#[test]
fn a_poll_is_not_taken_for_that_of_another_thread() {
    let mut lasting = Lasting::default();
    assert_eq!([lasting.look(0, 2, 100), lasting.look(0, 2, 107)], [0, 7]);
    assert_eq!([lasting.look(1, 2, 110), lasting.look(1, 2, 112), lasting.look(1, 4, 120)], [0, 2, 0]);
    assert_eq!([lasting.look(0, 2, 130), lasting.look(0, 2, 129)], [0, 0]);
}
