//! Who sends a message lends its priority to whoever receives it.

use super::failure::{Alone, as_current};
use super::*;
use crate::{JoinHandle, yield_now};
use std::sync::Mutex as Plain;
use std::sync::atomic::{AtomicUsize, Ordering};

type Sender<T> = mpsc::Sender<T, Spin>;
type Receiver<T> = mpsc::Receiver<T, Spin>;

fn pool() -> Pool<Alone> {
    Pool::new(1, Alone)
}

fn run(pool: &Pool<Alone>) {
    while pool.run_next(0).is_some() {}
}

/// Takes a message each time that it is told to.
fn server<T: Send + 'static>(
    pool: &Pool<Alone>,
    mut receiver: Receiver<T>,
    told: &Arc<Notify<Spin>>,
) -> JoinHandle<()> {
    let told = told.clone();
    pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            // So that it is known.
            assert!(receiver.try_recv().is_err());
            loop {
                told.notified().await;
                let _ = receiver.try_recv();
            }
        }),
    )
}

/// Sends a message of this priority.
fn send(pool: &Pool<Alone>, sender: &Sender<u8>, priority: u8) -> JoinHandle<()> {
    let sender = sender.clone();
    pool.spawn(Priority::new(priority), as_current(async move { sender.send(priority).await.unwrap() }))
}

fn told() -> Arc<Notify<Spin>> {
    Arc::new(Notify::new())
}

/// A request goes from server to server, eight of them, and the last takes some turns for it, while a task of middling urgency
/// never leaves the worker to the servers. One request is under way already, of somebody as little urgent as they.
#[test]
fn an_urgent_client_does_not_wait_for_middling_ones_through_a_chain_of_servers() {
    const LINKS: usize = 8;
    let pool = pool();
    let (first, mut receiver) = mpsc::channel::<oneshot::Sender<(), Spin>, Spin>(4);
    let mut servers = Vec::new();
    for link in 0..LINKS {
        let (next, next_receiver) = mpsc::channel(4);
        let mut requests = core::mem::replace(&mut receiver, next_receiver);
        servers.push(pool.spawn(
            Priority::LOWEST,
            as_current(async move {
                while let Some(request) = requests.recv().await {
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    if link + 1 < LINKS {
                        assert!(next.send(request).await.is_ok());
                    } else {
                        request.send(()).unwrap();
                    }
                }
            }),
        ));
    }
    drop(receiver);
    run(&pool);
    let client = |priority| {
        let first = first.clone();
        pool.spawn(
            priority,
            as_current(async move {
                let (sender, answer) = oneshot::channel();
                assert!(first.send(sender).await.is_ok());
                answer.await.unwrap();
            }),
        )
    };
    let low = client(Priority::LOWEST);
    (0..4).for_each(|_| assert!(pool.run_next(0).is_some()));
    let middling = pool.spawn(Priority::NORMAL, async {
        loop {
            yield_now().await;
        }
    });
    (0..100).for_each(|_| assert!(pool.run_next(0).is_some()));
    assert!(!low.is_finished(), "the middling task has the worker");
    let urgent = client(Priority::HIGHEST);
    let mut polls = 0;
    while !urgent.is_finished() {
        assert!(pool.run_next(0).is_some());
        polls += 1;
        assert!(polls < 200, "the request is somewhere");
    }
    middling.abort();
    run(&pool);
    assert!(low.is_finished());
    let lowest = |server: &JoinHandle<()>| server.task().priority() == Priority::LOWEST;
    assert!(servers.iter().all(lowest), "all is paid back");
}

/// Two that send each other work and acknowledgement for ever, and one urgent message to one of them: that and what follows from it comes before
/// what is middling, but soon they are as urgent as they are by themselves.
#[test]
fn what_goes_round_is_not_urgent_for_ever() {
    let pool = pool();
    let actor = |mut receiver: Receiver<u8>, other: Sender<u8>, turns: Arc<AtomicUsize>| {
        pool.spawn(
            Priority::LOWEST,
            as_current(async move {
                while let Some(message) = receiver.recv().await {
                    turns.fetch_add(1, Ordering::Relaxed);
                    other.send(message).await.unwrap();
                }
            }),
        )
    };
    let turns = Arc::new(AtomicUsize::new(0));
    let (first, second) = (mpsc::channel(4), mpsc::channel(4));
    let sender = first.0.clone();
    let actors = [actor(first.1, second.0, turns.clone()), actor(second.1, first.0, turns.clone())];
    run(&pool);
    let middling = pool.spawn(Priority::NORMAL, async {
        loop {
            yield_now().await;
        }
    });
    send(&pool, &sender, 0).detach();
    assert!(pool.run_next(0).is_some());
    let urgent = || actors.iter().any(|actor| actor.task().priority() < Priority::NORMAL);
    let mut polls = 0;
    while urgent() {
        assert!(pool.run_next(0).is_some());
        polls += 1;
        assert!(polls < 100, "they calm down");
    }
    assert!(turns.load(Ordering::Relaxed) > 8, "a chain is gone along");
    middling.abort();
    for _ in 0..1000 {
        assert!(pool.run_next(0).is_some() && !urgent());
    }
    // Another urgent one is as welcome.
    let before = turns.load(Ordering::Relaxed);
    send(&pool, &sender, 0).detach();
    assert!(pool.run_next(0).is_some());
    assert!(urgent());
    (0..100).for_each(|_| assert!(pool.run_next(0).is_some()));
    assert!(!urgent() && turns.load(Ordering::Relaxed) > before);
    actors.iter().for_each(JoinHandle::abort);
    run(&pool);
}

/// Waiting messages, then the one that was taken, make the server as urgent as the most urgent of them; none that is no more urgent does.
#[test]
fn a_server_is_as_urgent_as_what_waits_and_what_it_serves() {
    let (pool, told) = (pool(), told());
    let (sender, receiver) = mpsc::channel(8);
    let server = server(&pool, receiver, &told);
    run(&pool);
    let mut found = Vec::new();
    for priority in [31, 9, 5, 7, 7] {
        send(&pool, &sender, priority).detach();
        run(&pool);
        found.push(server.task().priority().number());
    }
    for _ in 0..6 {
        told.notify_one();
        run(&pool);
        found.push(server.task().priority().number());
    }
    assert_eq!(found, [31, 9, 5, 5, 5, 5, 5, 5, 7, 7, 31]);
}

/// Those that wait for room count, too, and do no more when they go away.
#[test]
fn a_sender_that_waits_for_room_lends_until_it_goes_away() {
    let (pool, told) = (pool(), told());
    let (sender, receiver) = mpsc::channel(1);
    let server = server(&pool, receiver, &told);
    run(&pool);
    let priority = || server.task().priority().number();
    send(&pool, &sender, 20).detach();
    run(&pool);
    let (waits, gives_up) = (send(&pool, &sender, 8), send(&pool, &sender, 3));
    let reserve = sender.clone();
    let reserves = pool.spawn(Priority::new(2), as_current(async move { drop(reserve.reserve().await) }));
    run(&pool);
    let mut found = vec![priority()];
    reserves.abort();
    run(&pool);
    found.push(priority());
    gives_up.abort();
    run(&pool);
    found.push(priority());
    for _ in 0..3 {
        told.notify_one();
        run(&pool);
        found.push(priority());
    }
    // The one taken, then what has its room now and is more urgent; that one taken; nothing.
    assert_eq!(found, [2, 3, 8, 8, 8, 31]);
    assert!(waits.is_finished());
}

/// A server waits for a lock, for room in another channel, or for the end of a task, when somebody urgent sends to it: whoever it waits for is
/// raised as well.
#[test]
fn a_server_that_waits_passes_on_what_it_inherits() {
    let pool = pool();
    let mutex = Arc::new(Mutex::<(), Spin>::new(()));
    let (full, full_receiver) = mpsc::channel(1);
    let (told, forever) = (told(), told());
    let last = server(&pool, full_receiver, &told);
    let (locks, waits) = (mutex.clone(), forever.clone());
    let holder = pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            let _guard = locks.lock().await.unwrap();
            waits.notified().await;
        }),
    );
    let joined = pool.spawn(Priority::LOWEST, as_current(async move { forever.notified().await }));
    let ends = joined.task();
    run(&pool);
    full.try_send(0).unwrap();
    let mut senders = Vec::new();
    let mut serves = |work: Pin<Box<dyn Future<Output = ()> + Send>>| {
        let (sender, mut receiver) = mpsc::channel::<u8, Spin>(1);
        senders.push(sender);
        let task = pool.spawn(
            Priority::LOWEST,
            as_current(async move {
                assert!(receiver.try_recv().is_err());
                work.await;
                let _ = receiver.recv().await;
            }),
        );
        task.detach();
        run(&pool);
    };
    let full_too = full.clone();
    serves(Box::pin(async move { drop(mutex.lock().await) }));
    serves(Box::pin(async move { full.send(1).await.unwrap() }));
    serves(Box::pin(async move { joined.await.unwrap() }));
    for (sender, priority) in senders.iter().zip([4, 5, 6]) {
        send(&pool, sender, priority).detach();
        run(&pool);
    }
    let found = [holder.task(), last.task(), ends].map(|task| task.priority().number());
    assert_eq!(found, [4, 5, 6]);
    drop(full_too);
}

/// Whoever receives is raised, and who did before is not any more.
#[test]
fn a_receiver_that_moves_takes_what_is_lent_along() {
    let pool = pool();
    let (sender, receiver) = mpsc::channel(8);
    let shared = Arc::new((Plain::new(receiver), Notify::<Spin>::new(), Notify::<Spin>::new()));
    let servers = [(); 2].map(|()| {
        let shared = shared.clone();
        let is_first = Arc::strong_count(&shared) == 2;
        pool.spawn(
            Priority::LOWEST,
            as_current(async move {
                let told = if is_first { &shared.1 } else { &shared.2 };
                loop {
                    told.notified().await;
                    let _ = shared.0.lock().unwrap().try_recv();
                }
            }),
        )
    });
    let priorities = || servers.each_ref().map(|server| server.task().priority().number());
    let tell = |which: usize| {
        run(&pool);
        if which == 0 { &shared.1 } else { &shared.2 }.notify_one();
        run(&pool);
    };
    send(&pool, &sender, 12).detach();
    run(&pool);
    let mut found = vec![priorities()];
    send(&pool, &sender, 13).detach();
    tell(0);
    found.push(priorities());
    send(&pool, &sender, 5).detach();
    run(&pool);
    found.push(priorities());
    tell(1);
    found.push(priorities());
    // Outside of any task.
    assert_eq!(shared.0.lock().unwrap().try_recv(), Ok(5));
    found.push(priorities());
    tell(0);
    found.push(priorities());
    assert_eq!(found, [[31, 31], [12, 31], [5, 31], [31, 5], [31, 31], [31, 31]]);
}

/// A task that has ended is not looked for, whatever lies where it lay.
#[test]
fn a_receiver_whose_task_has_ended_raises_nobody() {
    let pool = pool();
    let (sender, receiver) = mpsc::channel(8);
    let shared = Arc::new(Plain::new(receiver));
    for aborted in [false, true] {
        let theirs = shared.clone();
        let knows = pool.spawn(
            Priority::LOWEST,
            as_current(async move {
                let _ = theirs.lock().unwrap().try_recv();
                if aborted {
                    pending::<()>().await;
                }
            }),
        );
        run(&pool);
        knows.abort();
        run(&pool);
        drop(knows);
        // As large, so that one of them lies there, as a rule.
        let others: Vec<_> = (0..4)
            .map(|_| {
                let theirs = shared.clone();
                let same = as_current(async move {
                    pending::<()>().await;
                    drop(theirs);
                });
                pool.spawn(Priority::LOWEST, same)
            })
            .collect();
        run(&pool);
        send(&pool, &sender, 3).detach();
        run(&pool);
        assert!(others.iter().all(|other| other.task().priority() == Priority::LOWEST));
        others.iter().for_each(JoinHandle::abort);
        run(&pool);
    }
}

/// A server that nobody can wake any more goes, though somebody urgent sends to it: the channel does not keep it.
#[test]
fn a_server_that_lies_dead_is_found() {
    let pool = pool();
    let (sender, mut receiver) = mpsc::channel(1);
    pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            let _ = receiver.recv().await;
            pending::<()>().await;
            drop(receiver);
        }),
    )
    .detach();
    run(&pool);
    send(&pool, &sender, 3).detach();
    run(&pool);
    assert!(sender.is_closed());
    assert_eq!(now(sender.send(1)), Err(mpsc::SendError(1)));
}

/// Of several messages that are taken in one go each counts until the next.
#[test]
fn a_heap_of_messages_is_as_urgent_as_each_of_them() {
    let pool = pool();
    let (sender, mut receiver) = mpsc::channel(8);
    for priority in [6, 20, 21, 22] {
        send(&pool, &sender, priority).detach();
        run(&pool);
    }
    let task = pool.spawn(
        Priority::LOWEST,
        as_current(async move {
            let mut heap = Vec::new();
            let mut found = Vec::new();
            for _ in 0..2 {
                receiver.recv_many(&mut heap, 2).await;
                found.push(crate::current().await.unwrap().priority().number());
            }
            (found, heap)
        }),
    );
    run(&pool);
    assert_eq!(waiter(task).poll(), Some(Ok((vec![6, 21], vec![6, 20, 21, 22]))));
}
