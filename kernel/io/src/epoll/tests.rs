//! What epoll(7) promises, over pipes and event counters.

use super::*;
use crate::{
    event::{Event, Mode},
    file::BoxFuture,
    pipe,
};
use abi::fs::O_RDWR;
use alloc::{boxed::Box, sync::Weak};
use core::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};
use mem::{Account, Sink, Source};

fn caller() -> Caller {
    Caller::kernel(16, Account::new(None, usize::MAX))
}

fn new_set() -> Arc<Epoll> {
    Epoll::new(&caller().account).unwrap()
}

fn new_event(count: u32, mode: Mode) -> Arc<Event> {
    Event::new(&caller().account, count, mode).unwrap()
}

fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, pad: 0, data }
}

fn found(set: &Epoll) -> Vec<(u32, u64)> {
    set.wait_now(&caller(), 10).iter().map(|event| (event.events, event.data)).collect()
}

fn open(file: Arc<dyn File>) -> Arc<OpenFile> {
    OpenFile::new(file, O_RDWR, b"test")
}

fn write(open: &Arc<OpenFile>, bytes: &[u8]) {
    open.write_now(&caller(), &mut Source::kernel(bytes)).unwrap().unwrap();
}

fn read(open: &Arc<OpenFile>, len: usize) {
    let mut bytes = alloc::vec![0; len];
    open.read_now(&caller(), &mut Sink::kernel(&mut bytes)).unwrap().unwrap();
}

fn pipe() -> (Arc<OpenFile>, Arc<OpenFile>) {
    let (reader, writer) = pipe::new(&Account::new(None, usize::MAX));
    (open(reader), open(writer))
}

#[test]
fn a_level_is_reported_while_it_lasts() {
    let set = new_set();
    let (reader, writer) = pipe();
    set.add(&caller(), 3, &reader, event(EPOLLIN, 7)).unwrap();
    assert_eq!(set.add(&caller(), 3, &reader, event(EPOLLIN, 7)), Err(Errno::EEXIST));
    assert_eq!(found(&set), []);
    write(&writer, b"ab");
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    read(&reader, 1);
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    read(&reader, 1);
    assert_eq!(found(&set), []);
    write(&writer, b"c");
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    drop(writer);
    assert_eq!(found(&set), [(EPOLLIN | EPOLLHUP, 7)]);
}

#[test]
fn an_edge_is_reported_once() {
    let set = new_set();
    let (reader, writer) = pipe();
    set.add(&caller(), 3, &reader, event(EPOLLIN | EPOLLET, 7)).unwrap();
    write(&writer, b"ab");
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    assert_eq!(found(&set), []);
    read(&reader, 1);
    assert_eq!(found(&set), []);
    write(&writer, b"c");
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    // Drained, and new data before the next look: still an edge.
    read(&reader, 2);
    write(&writer, b"d");
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    assert_eq!(found(&set), []);
    // Room that is always there is told once, too.
    set.add(&caller(), 4, &writer, event(EPOLLOUT | EPOLLET, 8)).unwrap();
    assert_eq!(found(&set), [(EPOLLOUT, 8)]);
    assert_eq!(found(&set), []);
}

#[test]
fn a_one_shot_waits_to_be_armed_again() {
    let set = new_set();
    let counter = open(new_event(1, Mode::Counter));
    set.add(&caller(), 3, &counter, event(EPOLLIN | EPOLLONESHOT, 7)).unwrap();
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    assert_eq!(found(&set), []);
    set.modify(3, &counter, event(EPOLLIN | EPOLLONESHOT, 9)).unwrap();
    assert_eq!(found(&set), [(EPOLLIN, 9)]);
    set.remove(3, &counter).unwrap();
    assert_eq!(set.modify(3, &counter, event(EPOLLIN, 9)), Err(Errno::ENOENT));
}

#[test]
fn what_is_closed_leaves_the_set_and_its_peer_knows() {
    let set = new_set();
    let (reader, writer) = pipe();
    write(&writer, b"x");
    set.add(&caller(), 3, &reader, event(EPOLLIN, 7)).unwrap();
    drop(reader);
    assert_eq!(found(&set), []);
    assert_ne!(writer.file().events() & EPOLLERR, 0);
    // A dropped set lets go of its files as well.
    let (reader, writer) = pipe();
    set.add(&caller(), 4, &reader, event(EPOLLIN, 7)).unwrap();
    drop((set, reader));
    assert_ne!(writer.file().events() & EPOLLERR, 0);
}

/// A counter in a set, in a set, and so on: as many as Linux allows.
#[test]
fn sets_nest_to_a_depth_and_never_in_a_circle() {
    let counter = open(new_event(0, Mode::Semaphore));
    let sets: Vec<_> = (0..6).map(|_| new_set()).collect();
    let files: Vec<_> = sets.iter().map(|set| open(set.clone())).collect();
    sets[0].add(&caller(), 1, &counter, event(EPOLLIN, 1)).unwrap();
    for inner in 0..4 {
        sets[inner + 1].add(&caller(), 2, &files[inner], event(EPOLLIN, 2)).unwrap();
    }
    assert_eq!(sets[5].add(&caller(), 2, &files[4], event(EPOLLIN, 2)), Err(Errno::EINVAL));
    assert_eq!(sets[0].add(&caller(), 3, &files[0], event(EPOLLIN, 3)), Err(Errno::EINVAL));
    assert_eq!(sets[0].add(&caller(), 3, &files[4], event(EPOLLIN, 3)), Err(Errno::ELOOP));
    // What was refused is inside nothing: less deep it goes, and what has left makes room for others.
    sets[5].add(&caller(), 2, &files[3], event(EPOLLIN, 2)).unwrap();
    sets[5].remove(2, &files[3]).unwrap();
    sets[4].remove(2, &files[3]).unwrap();
    sets[3].add(&caller(), 2, &files[5], event(EPOLLIN, 2)).unwrap();
    assert_eq!(found(&sets[3]), []);
    write(&counter, &1_u64.to_ne_bytes());
    assert_eq!(found(&sets[3]), [(EPOLLIN, 2)]);
}

#[test]
fn a_circle_comes_before_what_it_would_cost() {
    let (outer, inner) = (new_set(), new_set());
    let (outer_file, inner_file) = (open(outer.clone()), open(inner.clone()));
    outer.add(&caller(), 2, &inner_file, event(EPOLLIN, 2)).unwrap();
    let poor = Caller::kernel(16, Account::new(None, 0));
    assert_eq!(inner.add(&poor, 3, &outer_file, event(EPOLLIN, 3)), Err(Errno::ELOOP));
}

/// `poll` of a set: what has left, or has been seen to by others, is nothing to report.
#[test]
fn a_set_is_ready_while_something_in_it_is() {
    let (set, counter) = (new_set(), open(new_event(1, Mode::Counter)));
    let ready = || set.look(&caller()).1 == EPOLLIN;
    assert!(!ready());
    set.add(&caller(), 3, &counter, event(EPOLLIN, 7)).unwrap();
    assert!(ready() && ready());
    read(&counter, 8);
    assert!(!ready() && set.0.ready.is_empty());
    write(&counter, &1_u64.to_ne_bytes());
    assert!(ready());
    assert_eq!(found(&set), [(EPOLLIN, 7)]);
    set.remove(3, &counter).unwrap();
    assert!(!ready());
    // An edge is ready until it is told, and not by being looked at.
    set.add(&caller(), 3, &counter, event(EPOLLIN | EPOLLET, 8)).unwrap();
    assert!(ready() && ready());
    assert_eq!(found(&set), [(EPOLLIN, 8)]);
    assert!(!ready());
}

/// A future that waits for a set, and whether it has been called.
struct Waiter {
    told: Arc<Told>,
    wait: BoxFuture<'static, ()>,
}

struct Told(AtomicBool);

impl alloc::task::Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Waiter {
    fn new(set: &Arc<Epoll>) -> Self {
        let (told, set) = (Arc::new(Told(AtomicBool::new(false))), set.clone());
        let mut waiter = Self { told, wait: Box::pin(async move { set.wait_ready().await }) };
        assert!(!waiter.is_through());
        waiter
    }

    fn was_told(&self) -> bool {
        self.told.0.load(Ordering::SeqCst)
    }

    fn is_through(&mut self) -> bool {
        let waker = Waker::from(self.told.clone());
        self.wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
    }
}

fn exclusive(open: &Arc<OpenFile>, events: u32) -> Arc<Epoll> {
    let set = new_set();
    set.add(&caller(), 3, open, event(events | EPOLLEXCLUSIVE, 7)).unwrap();
    set
}

#[test]
fn of_exclusive_sets_one_is_told_that_somebody_waits_for() {
    let (reader, writer) = pipe();
    let sets = [(); 3].map(|()| exclusive(&reader, EPOLLIN));
    let other = new_set();
    other.add(&caller(), 3, &reader, event(EPOLLIN, 9)).unwrap();
    // Nobody waits for the first: it is told, and does not count.
    let waiters = [&sets[1], &sets[2], &other].map(Waiter::new);
    write(&writer, b"a");
    assert_eq!(waiters.each_ref().map(Waiter::was_told), [true, false, true]);
    assert_eq!(found(&sets[0]), [(EPOLLIN, 7)]);
    // The next change is another's.
    write(&writer, b"b");
    assert_eq!(waiters.each_ref().map(Waiter::was_told), [true, true, true]);
    // An end is told to all.
    let (reader, writer) = pipe();
    let sets = [(); 2].map(|()| exclusive(&reader, EPOLLIN));
    let waiters = sets.each_ref().map(Waiter::new);
    drop(writer);
    assert_eq!(waiters.each_ref().map(Waiter::was_told), [true, true]);
    assert_eq!(sets.each_ref().map(|set| found(set)), [[(EPOLLHUP, 7)], [(EPOLLHUP, 7)]]);
}

#[test]
fn an_exclusive_set_takes_what_it_asked_for_and_no_more() {
    let counter = open(new_event(0, Mode::Counter));
    let [writes, reads] = [EPOLLOUT, EPOLLIN].map(|events| exclusive(&counter, events));
    assert_eq!(found(&writes), [(EPOLLOUT, 7)]);
    write(&counter, &(u64::MAX - 1).to_ne_bytes());
    assert_eq!(found(&writes), []);
    assert_eq!(found(&reads), [(EPOLLIN, 7)]);
    read(&counter, 8);
    assert_eq!(found(&reads), []);
    assert_eq!(found(&writes), [(EPOLLOUT, 7)]);
}

/// Who was told and then goes, or leaves the set, or is let down by its waiter, passes it on.
#[test]
fn who_was_told_and_goes_passes_it_on() {
    for way in 0..4 {
        let (reader, writer) = pipe();
        let [first, second] = [(); 2].map(|()| exclusive(&reader, EPOLLIN));
        let (mut waits, waiter) = (Waiter::new(&first), Waiter::new(&second));
        write(&writer, b"a");
        assert_eq!((waits.was_told(), waiter.was_told()), (true, false));
        match way {
            0 => first.remove(3, &reader).unwrap(),
            1 => {
                assert!(waits.is_through());
                drop((waits, first));
            }
            2 => drop(waits),
            // It is through, and looks itself.
            _ => assert!(waits.is_through()),
        }
        assert_eq!(waiter.was_told(), way < 3, "way {way}");
    }
}

/// The list grows and shrinks while items are on it, in their order.
#[test]
fn the_list_keeps_its_order_while_it_grows() {
    let (set, counter) = (new_set(), open(new_event(1, Mode::Counter)));
    for fd in 0..500 {
        set.add(&caller(), fd, &counter, event(EPOLLIN | EPOLLET, fd as u64)).unwrap();
    }
    let mut seen = Vec::new();
    set.take_now(&caller(), 200, |event| seen.push(event.data));
    for fd in 500..3000 {
        set.add(&caller(), fd, &counter, event(EPOLLIN | EPOLLET, fd as u64)).unwrap();
    }
    (1000..2000).for_each(|fd| set.remove(fd, &counter).unwrap());
    set.take_now(&caller(), usize::MAX, |event| seen.push(event.data));
    assert!(seen.into_iter().eq((0..1000).chain(2000..3000)));
}

#[test]
fn a_hang_up_is_told_of_unasked() {
    let set = new_set();
    let (reader, writer) = pipe();
    set.add(&caller(), 3, &reader, event(0, 7)).unwrap();
    write(&writer, b"x");
    assert_eq!(found(&set), []);
    drop(writer);
    assert_eq!(found(&set), [(EPOLLHUP, 7)]);
}

/// A file that somebody takes out of the set just when it is being waited for.
struct Leaving {
    set: Arc<Epoll>,
    open: SpinLock<Weak<OpenFile>>,
    waker: SpinLock<Option<Waker>>,
}

/// Gives its waker up when it is dropped, as a place in a wait queue does.
struct Place<'a>(&'a Leaving);

impl core::future::Future for Place<'_> {
    type Output = Result<(), Errno>;

    fn poll(self: core::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        *self.0.waker.lock() = Some(context.waker().clone());
        let open = self.0.open.lock().upgrade();
        if let Some(open) = open {
            self.0.set.remove(3, &open).unwrap();
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waker = self.0.waker.lock().take();
        drop(waker);
    }
}

impl File for Leaving {
    fn wait<'a>(&'a self, _caller: &'a Caller, _want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(Place(self))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn what_leaves_while_it_is_armed_is_let_go() {
    let set = new_set();
    let file = Arc::new(Leaving {
        set: set.clone(),
        open: SpinLock::new(rank::PIPE, Weak::new()),
        waker: SpinLock::new(rank::PIPE, None),
    });
    let watched = Arc::downgrade(&file);
    let description = open(file.clone());
    *file.open.lock() = Arc::downgrade(&description);
    set.add(&caller(), 3, &description, event(EPOLLIN, 7)).unwrap();
    drop((file, description));
    assert!(watched.upgrade().is_none(), "the file is kept by its own wait");
}

/// A wake-up that began before the set was closed ends after the last descriptor of the file: under the file's locks it must not be what ends the file.
#[test]
fn a_wake_up_is_never_the_last_to_hold_a_file() {
    for is_removed in [false, true] {
        let set = new_set();
        let file = Arc::new(Leaving {
            set: new_set(),
            open: SpinLock::new(rank::PIPE, Weak::new()),
            waker: SpinLock::new(rank::PIPE, None),
        });
        let (held, description) = (Arc::downgrade(&file), open(file.clone()));
        set.add(&caller(), 3, &description, event(EPOLLIN, 7)).unwrap();
        let waker = file.waker.lock().clone().unwrap();
        if is_removed {
            set.remove(3, &description).unwrap();
            waker.wake_by_ref();
            assert!(set.0.ready.is_empty(), "it takes room that is others'");
        }
        let shared = set.0.clone();
        drop((set, file, description));
        assert!(held.upgrade().is_none(), "a wake-up holds the file");
        waker.wake();
        drop(shared);
    }
}

/// Registrations are paid for, until they are gone: those that left the set, and those whose file or set was closed.
#[test]
fn registrations_are_paid_for() {
    let account = Account::new(None, 1 << 20);
    let payer = Caller::kernel(16, account.clone());
    let (set, counter) = (new_set(), open(new_event(1, Mode::Counter)));
    let mut most = 0;
    for round in 0..3 {
        let refused = (0..1 << 20).find_map(|fd| Some((fd, set.add(&payer, fd, &counter, event(EPOLLIN, 7)).err()?)));
        let (count, errno) = refused.expect("there is no limit");
        assert_eq!((errno, set.0.items.lock().len()), (Errno::ENOSPC, count as usize));
        assert!((100..2000).contains(&count), "{count}");
        // Who is gone is forgotten in time for others.
        assert!(round == 0 || count >= most, "{count} of {most}");
        most = count;
        assert!(set.0.ready.room() >= count as usize);
        (0..count).for_each(|fd| set.remove(fd, &counter).unwrap());
        assert_eq!(found(&set), []);
        set.take_now(&payer, usize::MAX, |_| panic!("it has left"));
        assert!(set.0.ready.room() <= 4 * ROOM);
    }
    drop((set, counter));
    assert_eq!(account.used(), 0);
}

/// Those that leave while they are ready do not pile up on the list, whether or not somebody ever waits.
#[test]
fn who_leaves_while_ready_is_let_go() {
    let account = Account::new(None, 1 << 20);
    let payer = Caller::kernel(16, account.clone());
    let (set, kept, counter) = (new_set(), open(new_event(1, Mode::Counter)), open(new_event(1, Mode::Counter)));
    set.add(&payer, 1, &kept, event(EPOLLIN, 1)).unwrap();
    for _ in 0..10_000 {
        set.add(&payer, 3, &counter, event(EPOLLIN, 7)).unwrap();
        set.remove(3, &counter).unwrap();
    }
    assert!(set.0.ready.room() <= 4 * (1 + ROOM));
    let mut seen = Vec::new();
    set.take_now(&payer, usize::MAX, |event| seen.push(event.data));
    assert_eq!(seen, [1]);
    drop((set, kept, counter));
    assert_eq!(account.used(), 0);
}

#[test]
fn counters_count() {
    let caller = caller();
    let counter = new_event(2, Mode::Semaphore);
    let mut bytes = [0; 8];
    counter.signal(1);
    for _ in 0..3 {
        assert_eq!(counter.read_now(&caller, 0, &mut Sink::kernel(&mut bytes)), Ok(Some(8)));
        assert_eq!(u64::from_ne_bytes(bytes), 1);
    }
    assert_eq!(counter.read_now(&caller, 0, &mut Sink::kernel(&mut bytes)), Ok(None));
    let counter = new_event(2, Mode::Counter);
    let put = |value: u64| counter.write_now(&caller, 0, &mut Source::kernel(&value.to_ne_bytes()));
    assert_eq!(put(5), Ok(Some(8)));
    assert_eq!(put(u64::MAX), Err(Errno::EINVAL.into()));
    assert_eq!(counter.read_now(&caller, 0, &mut Sink::kernel(&mut bytes)), Ok(Some(8)));
    assert_eq!(u64::from_ne_bytes(bytes), 7);
    assert_eq!(put(u64::MAX - 1), Ok(Some(8)));
    assert_eq!((put(1), counter.events()), (Ok(None), EPOLLIN));
}

/// A blocking write is an attempt in the object's queue: it succeeds when its own value fits, and not before.
#[test]
fn a_value_that_does_not_fit_waits_for_its_room() {
    let caller = caller();
    let counter = new_event(0, Mode::Semaphore);
    counter.signal(u64::MAX);
    let attempt = || counter.write_now(&caller, 0, &mut Source::kernel(&2_u64.to_ne_bytes())).transpose();
    let queue = counter.queue(Want::Write { offset: 0, len: 8 }).expect("counters name a queue");
    let mut write = core::pin::pin!(exec::sync::wait_until(queue, attempt));
    let mut poll = || write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let take = || counter.read_now(&caller, 0, &mut Sink::kernel(&mut [0; 8]));
    assert!(poll().is_pending());
    assert_eq!(take(), Ok(Some(8)));
    assert!(poll().is_pending(), "room for one");
    assert_eq!(take(), Ok(Some(8)));
    assert_eq!(poll(), Poll::Ready(Ok(8)));
}

/// A file at which others look whenever a set asks for its queue. A wait for its edges takes long to begin.
struct Busy {
    queue: WaitQueue,
    edges: AtomicU64,
    /// Who looks, until the test is through with that.
    set: std::sync::Mutex<Option<Arc<Epoll>>>,
    lookers: std::sync::Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// Waits that begin, and looks that are over.
    told: (std::sync::mpsc::Sender<()>, std::sync::Mutex<std::sync::mpsc::Receiver<()>>),
    may_go_on: AtomicBool,
}

impl Busy {
    fn arrive(&self) {
        self.edges.fetch_add(1, Ordering::SeqCst);
        self.queue.wake_all();
    }
}

impl File for Busy {
    fn watched(&self, _events: u32) -> Option<&WaitQueue> {
        let set = self.set.lock().unwrap().clone();
        if let Some(set) = set {
            self.arrive();
            let told = self.told.0.clone();
            self.lookers.lock().unwrap().push(std::thread::spawn(move || {
                found(&set);
                let _ = told.send(());
            }));
            self.told.1.lock().unwrap().recv().unwrap();
        }
        Some(&self.queue)
    }

    fn events(&self) -> u32 {
        EPOLLIN
    }

    fn edges(&self) -> u64 {
        self.edges.load(Ordering::SeqCst)
    }

    fn wait_edge<'a>(&'a self, _: &'a Caller, _: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        self.told.0.send(()).unwrap();
        while !self.may_go_on.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Box::pin(async move {
            exec::sync::wait_until(&self.queue, || (self.edges() != since).then_some(())).await;
            Ok(())
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn who_looks_while_a_registration_changes_takes_nothing_away() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let busy = Arc::new(Busy {
        queue: WaitQueue::new(),
        edges: AtomicU64::new(1),
        set: std::sync::Mutex::new(None),
        lookers: std::sync::Mutex::new(Vec::new()),
        told: (sender, std::sync::Mutex::new(receiver)),
        may_go_on: AtomicBool::new(false),
    });
    let (set, file) = (new_set(), open(busy.clone()));
    set.add(&caller(), 3, &file, event(EPOLLIN | EPOLLET, 7)).unwrap();
    *busy.set.lock().unwrap() = Some(set.clone());
    set.modify(3, &file, event(EPOLLIN | EPOLLET, 8)).unwrap();
    *busy.set.lock().unwrap() = None;
    let lookers = core::mem::take(&mut *busy.lookers.lock().unwrap());
    busy.may_go_on.store(true, Ordering::SeqCst);
    lookers.into_iter().for_each(|looker| looker.join().unwrap());
    found(&set);
    for _ in 0..3 {
        busy.arrive();
        assert_eq!(found(&set), [(EPOLLIN, 8)]);
    }
}
