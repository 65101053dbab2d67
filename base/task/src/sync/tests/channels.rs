//! The channels: each beside a list that says what it should do.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

#[test]
fn values_come_back_when_nobody_will_receive_them() {
    let (sender, mut receiver) = mpsc::channel::<_, Spin>(1);
    now(sender.send(1)).unwrap();
    assert_eq!(sender.try_send(2), Err(mpsc::TrySendError::Full(2)));
    let (mut waits, mut closed) = (waiter(sender.send(3)), waiter(sender.closed()));
    assert!(waits.poll().is_none() && closed.poll().is_none());
    receiver.close();
    assert_eq!(waits.run(), Some(Err(mpsc::SendError(3))));
    assert!(closed.run().is_some());
    assert_eq!(sender.try_send(2), Err(mpsc::TrySendError::Closed(2)));
    // What was sent is still there, then nothing, though there is a sender.
    assert_eq!(now(receiver.recv()), Some(1));
    assert_eq!(now(receiver.recv()), None);
}

#[test]
fn a_permit_is_a_place_and_keeps_the_channel_open() {
    let (sender, mut receiver) = mpsc::channel::<_, Spin>(2);
    let (first, second) = (now(sender.reserve()).unwrap(), now(sender.reserve()).unwrap());
    assert!(sender.try_send(0).is_err());
    let mut waits = waiter(sender.send(1));
    assert!(waits.poll().is_none());
    drop(first);
    assert_eq!(waits.run(), Some(Ok(())));
    receiver.close();
    assert_eq!(receiver.try_recv(), Ok(1));
    let mut receive = waiter(receiver.recv());
    assert!(receive.poll().is_none(), "one may still come");
    second.send(2);
    assert_eq!(receive.run(), Some(Some(2)));
    drop(receive);
    assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn the_last_sender_ends_the_stream_and_messages_are_taken_in_heaps() {
    let (sender, mut receiver) = mpsc::unbounded_channel::<_, Spin>();
    let more = sender.clone();
    (0..5).for_each(|number| sender.send(number).unwrap());
    let mut messages = Vec::new();
    assert_eq!(now(receiver.recv_many(&mut messages, 3)), 3);
    assert_eq!(now(receiver.recv_many(&mut messages, 3)), 2);
    assert_eq!(messages, [0, 1, 2, 3, 4]);
    drop(sender);
    let mut receive = waiter(receiver.recv());
    assert!(receive.poll().is_none());
    drop(more);
    assert_eq!(receive.run(), Some(None));
}

#[test]
fn a_message_that_drops_the_channels_own_ends_locks_nothing_twice() {
    let (sender, receiver) = mpsc::unbounded_channel::<Box<dyn Send>, Spin>();
    let again = sender.clone();
    assert!(sender.send(Box::new(again)).is_ok());
    drop(receiver);
    assert!(sender.is_closed());
}

#[test]
fn one_message_goes_either_way_round() {
    let (sender, mut receiver) = oneshot::channel::<_, Spin>();
    assert_eq!(receiver.try_recv(), Err(oneshot::TryRecvError::Empty));
    let mut receive = waiter(receiver);
    assert!(receive.poll().is_none());
    sender.send(1).unwrap();
    assert_eq!(receive.run(), Some(Ok(1)));

    let (sender, receiver) = oneshot::channel::<i32, Spin>();
    let mut receive = waiter(receiver);
    assert!(receive.poll().is_none());
    drop(sender);
    assert_eq!(receive.run(), Some(Err(oneshot::RecvError)));

    let (mut sender, receiver) = oneshot::channel::<i32, Spin>();
    {
        let mut closed = waiter(sender.closed());
        assert!(closed.poll().is_none());
        drop(receiver);
        assert!(closed.run().is_some());
    }
    assert_eq!(sender.send(2), Err(2));
}

#[test]
fn who_watches_sees_the_newest() {
    let (mut sender, mut receiver) = watch::channel::<_, Spin>(0);
    assert!(!receiver.borrow().has_changed());
    let other = receiver.clone();
    {
        let mut changed = waiter(receiver.changed());
        assert!(changed.poll().is_none());
        sender.send(1).unwrap();
        sender.send_modify(|value| *value += 1);
        assert_eq!(changed.run(), Some(Ok(())));
    }
    assert_eq!((*receiver.borrow(), *other.borrow()), (2, 2));
    assert!(!receiver.borrow().has_changed() && other.borrow().has_changed());
    {
        let mut suits = waiter(receiver.wait_for(|value| *value > 5));
        assert!(suits.poll().is_none());
        sender.send(5).unwrap();
        assert!(suits.run().is_none());
        assert_eq!(*sender.send_replace(6), 5);
        assert_eq!(*suits.run().unwrap().unwrap(), 6);
    }
    {
        let mut closed = waiter(sender.closed());
        assert!(closed.poll().is_none());
        drop(other);
        assert!(closed.run().is_none());
        drop(receiver);
        assert!(closed.run().is_some());
    }
    assert_eq!(sender.send(7), Err(watch::SendError(7)));
    let mut late = sender.subscribe();
    drop(sender);
    assert_eq!(now(late.changed()), Err(watch::RecvError));
    assert_eq!(*late.borrow(), 6);
}

/// What is done to a channel.
#[derive(Debug, Clone)]
enum Step {
    TrySend,
    Send,
    PollSender(usize),
    DropSender(usize),
    Receive,
    PollReceiver,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => Just(Step::TrySend),
        20 => Just(Step::Send),
        20 => (0..6usize).prop_map(Step::PollSender),
        8 => (0..6usize).prop_map(Step::DropSender),
        20 => Just(Step::Receive),
        20 => Just(Step::PollReceiver),
        1 => Just(Step::Close),
    ]
}

const CAPACITY: usize = 3;

/// How a message was sent.
type Sent = Result<(), mpsc::SendError<i32>>;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// A bounded channel is a queue of messages and a list of those who want to send, of whom the first alone may.
    #[test]
    fn a_bounded_channel_behaves_like_a_queue(steps in prop::collection::vec(step(), 0..120)) {
        let (sender, receiver) = mpsc::channel::<_, Spin>(CAPACITY);
        let receiver = RefCell::new(receiver);
        let mut receive = waiter(std::future::poll_fn(|context| receiver.borrow_mut().poll_recv(context)));
        let mut receiver_waits = false;
        let (mut queue, mut closed, mut next) = (VecDeque::new(), false, 0);
        let mut senders: Vec<(Waiter<'_, Sent>, i32)> = Vec::new();
        for step in steps {
            match step {
                Step::TrySend => {
                    next += 1;
                    let expected = match (closed, queue.len() < CAPACITY && senders.is_empty()) {
                        (true, _) => Err(mpsc::TrySendError::Closed(next)),
                        (false, false) => Err(mpsc::TrySendError::Full(next)),
                        (false, true) => {
                            queue.push_back(next);
                            Ok(())
                        }
                    };
                    prop_assert_eq!(sender.try_send(next), expected);
                }
                Step::Send => {
                    next += 1;
                    senders.push((waiter(sender.send(next)), next));
                    let number = senders.len() - 1;
                    let expected = sent(number, next, closed, &mut queue);
                    prop_assert_eq!(senders[number].0.poll(), expected);
                    if expected.is_some() {
                        senders.pop();
                    }
                }
                Step::PollSender(number) => {
                    if number < senders.len() {
                        let expected = sent(number, senders[number].1, closed, &mut queue);
                        prop_assert_eq!(senders[number].0.poll(), expected);
                        if expected.is_some() {
                            senders.remove(number);
                        }
                    }
                }
                Step::DropSender(number) => {
                    if number < senders.len() {
                        senders.remove(number);
                    }
                }
                Step::Receive => {
                    let none = if closed { mpsc::TryRecvError::Disconnected } else { mpsc::TryRecvError::Empty };
                    prop_assert_eq!(receiver.borrow_mut().try_recv(), queue.pop_front().ok_or(none));
                }
                Step::PollReceiver => {
                    let expected = queue.pop_front().map(Some).or(closed.then_some(None));
                    prop_assert_eq!(receive.poll(), expected);
                    receiver_waits = expected.is_none();
                }
                Step::Close => {
                    receiver.borrow_mut().close();
                    closed = true;
                }
            }
            // Nobody sleeps on what it could have.
            prop_assert!(!receiver_waits || queue.is_empty() || receive.is_woken());
            if closed {
                prop_assert!(senders.iter().all(|(sender, _)| sender.is_woken()));
            } else if let Some((sender, _)) = senders.first() {
                prop_assert!(sender.is_woken() || queue.len() == CAPACITY);
            }
        }
    }

    /// A broadcast channel is one queue for each receiver, of which the oldest messages are lost.
    #[test]
    fn a_broadcast_channel_behaves_like_queues(steps in prop::collection::vec((0..8u8, 0..4usize), 0..120)) {
        let (sender, first) = broadcast::channel::<_, Spin>(CAPACITY);
        let mut receivers = vec![(first, VecDeque::new(), 0u64)];
        let mut next = 0;
        for (step, number) in steps {
            match step {
                0..3 => {
                    next += 1;
                    let expected = if receivers.is_empty() { Err(broadcast::SendError(next)) } else { Ok(receivers.len()) };
                    prop_assert_eq!(sender.send(next), expected);
                    for (_, queue, missed) in &mut receivers {
                        queue.push_back(next);
                        if queue.len() > CAPACITY {
                            queue.pop_front();
                            *missed += 1;
                        }
                    }
                }
                3 => receivers.push((sender.subscribe(), VecDeque::new(), 0)),
                4 if number < receivers.len() => drop(receivers.remove(number)),
                _ => {
                    let Some((receiver, queue, missed)) = receivers.get_mut(number) else { continue };
                    prop_assert_eq!(receiver.len() as u64, *missed + queue.len() as u64);
                    let expected = match std::mem::take(missed) {
                        0 => queue.pop_front().ok_or(broadcast::TryRecvError::Empty),
                        missed => Err(broadcast::TryRecvError::Lagged(missed)),
                    };
                    prop_assert_eq!(receiver.try_recv(), expected);
                }
            }
        }
        // Who waits is woken by a message, and by the end.
        for (mut receiver, ..) in receivers {
            while receiver.try_recv() != Err(broadcast::TryRecvError::Empty) {}
            let mut receive = waiter(receiver.recv());
            prop_assert_eq!(receive.poll(), None);
            prop_assert!(sender.send(1).is_ok());
            prop_assert_eq!(receive.run(), Some(Ok(1)));
        }
        let mut last = sender.subscribe();
        let mut receive = waiter(last.recv());
        prop_assert_eq!(receive.poll(), None);
        drop(sender);
        prop_assert_eq!(receive.run(), Some(Err(broadcast::RecvError::Closed)));
    }
}

/// What a sender that is the `number`th to wait gets.
fn sent(number: usize, value: i32, closed: bool, queue: &mut VecDeque<i32>) -> Option<Sent> {
    if closed {
        return Some(Err(mpsc::SendError(value)));
    }
    (number == 0 && queue.len() < CAPACITY).then(|| {
        queue.push_back(value);
        Ok(())
    })
}
