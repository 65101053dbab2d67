//! Replies to requests: in any order, too late, twice, to nothing.
#![cfg(not(loom))]

use channel::Broken;
use channel::calls::{Answer, Calls, Tag};
use core::task::{Poll, Waker};

fn arrives(calls: &mut Calls<u32>, tag: Tag, reply: u32) {
    assert!(matches!(calls.answer(tag, reply), Ok(Answer::Arrived(_))));
}

fn is_refused(calls: &mut Calls<u32>, tag: Tag) {
    assert!(matches!(calls.answer(tag, 0), Err(Broken)));
}

#[test]
fn replies_come_in_any_order() {
    let mut calls = Calls::new(3);
    let tags = [(); 3].map(|()| calls.begin().unwrap());
    assert_eq!(calls.begin(), None);
    for (tag, reply) in tags.into_iter().zip(0..3).rev() {
        assert_eq!(calls.poll(tag, Waker::noop()), Poll::Pending);
        arrives(&mut calls, tag, reply);
        assert_eq!(calls.poll(tag, Waker::noop()), Poll::Ready(reply));
    }
    assert!([(); 3].iter().all(|()| calls.begin().is_some_and(|tag| !tags.contains(&tag))));
}

#[test]
fn a_reply_to_nothing_changes_nothing() {
    let mut calls = Calls::new(2);
    for tag in [0, 1, 2, 1 << 32, u64::MAX, u64::from(u32::MAX)] {
        is_refused(&mut calls, Tag(tag));
    }
    let first = calls.begin().unwrap();
    arrives(&mut calls, first, 1);
    is_refused(&mut calls, first);
    assert_eq!(calls.poll(first, Waker::noop()), Poll::Ready(1));
    is_refused(&mut calls, first);
    // The same place again: the tag of its first use is none of its second's.
    let second = calls.begin().unwrap();
    is_refused(&mut calls, first);
    assert_eq!(calls.poll(second, Waker::noop()), Poll::Pending);
    arrives(&mut calls, second, 2);
    assert_eq!(calls.poll(second, Waker::noop()), Poll::Ready(2));
}

#[test]
fn the_place_of_a_request_given_up_is_free_with_its_reply() {
    let mut calls = Calls::new(1);
    let tag = calls.begin().unwrap();
    assert!(!calls.give_up(tag));
    assert_eq!(calls.begin(), None);
    assert!(matches!(calls.answer(tag, 1), Ok(Answer::Discarded)));
    is_refused(&mut calls, tag);
    let tag = calls.begin().unwrap();
    arrives(&mut calls, tag, 2);
    assert!(calls.give_up(tag));
    assert!(!calls.give_up(tag));
    assert!(calls.begin().is_some());
    assert_eq!(calls.begin(), None);
}
