//! What epoll(7) promises, over pipes and event counters.

use super::*;
use crate::{
    event::{Event, Mode},
    pipe,
};
use abi::{fs::O_RDWR, poll::EPOLLOUT};
use mem::{Account, Sink, Source};

fn caller() -> Caller {
    Caller::kernel(16, Account::new(None, usize::MAX))
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
    let set = Epoll::new();
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
    let set = Epoll::new();
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
    let set = Epoll::new();
    let counter = open(Event::new(1, Mode::Counter));
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
    let set = Epoll::new();
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

#[test]
fn sets_nest_once_and_never_in_a_circle() {
    let (outer, inner, third) = (Epoll::new(), Epoll::new(), Epoll::new());
    let (outer_file, inner_file, third_file) = (open(outer.clone()), open(inner.clone()), open(third.clone()));
    let counter = open(Event::new(1, Mode::Semaphore));
    inner.add(&caller(), 1, &counter, event(EPOLLIN, 1)).unwrap();
    outer.add(&caller(), 2, &inner_file, event(EPOLLIN, 2)).unwrap();
    assert_eq!(found(&outer), [(EPOLLIN, 2)]);
    assert_eq!(inner.add(&caller(), 3, &inner_file, event(EPOLLIN, 3)), Err(Errno::EINVAL));
    assert_eq!(inner.add(&caller(), 3, &outer_file, event(EPOLLIN, 3)), Err(Errno::ELOOP));
    assert_eq!(inner.add(&caller(), 3, &third_file, event(EPOLLIN, 3)), Err(Errno::ELOOP));
    assert_eq!(third.add(&caller(), 3, &outer_file, event(EPOLLIN, 3)), Err(Errno::ELOOP));
}

#[test]
fn what_was_refused_or_left_is_inside_nothing() {
    let (outer, inner, third) = (Epoll::new(), Epoll::new(), Epoll::new());
    let (inner_file, third_file) = (open(inner.clone()), open(third.clone()));
    inner.add(&caller(), 1, &third_file, event(EPOLLIN, 1)).unwrap();
    assert_eq!(outer.add(&caller(), 2, &inner_file, event(EPOLLIN, 2)), Err(Errno::ELOOP));
    // That did not count: the inner set may still contain others.
    inner.remove(1, &third_file).unwrap();
    inner.add(&caller(), 1, &third_file, event(EPOLLIN, 1)).unwrap();
    inner.remove(1, &third_file).unwrap();
    outer.add(&caller(), 2, &inner_file, event(EPOLLIN, 2)).unwrap();
    outer.remove(2, &inner_file).unwrap();
    inner.add(&caller(), 1, &third_file, event(EPOLLIN, 1)).unwrap();
}

#[test]
fn a_hang_up_is_told_of_unasked() {
    let set = Epoll::new();
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
    let set = Epoll::new();
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
        let set = Epoll::new();
        let file = Arc::new(Leaving {
            set: Epoll::new(),
            open: SpinLock::new(rank::PIPE, Weak::new()),
            waker: SpinLock::new(rank::PIPE, None),
        });
        let (held, description) = (Arc::downgrade(&file), open(file.clone()));
        set.add(&caller(), 3, &description, event(EPOLLIN, 7)).unwrap();
        let waker = file.waker.lock().clone().unwrap();
        if is_removed {
            set.remove(3, &description).unwrap();
            waker.wake_by_ref();
            assert!(set.0.ready.lock().is_empty(), "it takes room that is others'");
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
    let (set, counter) = (Epoll::new(), open(Event::new(1, Mode::Counter)));
    let mut most = 0;
    for round in 0..3 {
        let refused = (0..1 << 20).find_map(|fd| Some((fd, set.add(&payer, fd, &counter, event(EPOLLIN, 7)).err()?)));
        let (count, errno) = refused.expect("there is no limit");
        assert_eq!((errno, set.0.items.lock().len()), (Errno::ENOSPC, count as usize));
        assert!((100..2000).contains(&count), "{count}");
        // Who is gone is forgotten in time for others.
        assert!(round == 0 || count >= most, "{count} of {most}");
        most = count;
        assert!(set.0.ready.lock().capacity() >= count as usize);
        (0..count).for_each(|fd| set.remove(fd, &counter).unwrap());
        assert_eq!(found(&set), []);
        set.take_now(&payer, usize::MAX, |_| panic!("it has left"));
        assert!(set.0.ready.lock().capacity() <= 4 * ROOM);
    }
    drop((set, counter));
    assert_eq!(account.used(), 0);
}

/// Those that leave while they are ready do not pile up on the list, whether or not somebody ever waits.
#[test]
fn who_leaves_while_ready_is_let_go() {
    let account = Account::new(None, 1 << 20);
    let payer = Caller::kernel(16, account.clone());
    let (set, kept, counter) = (Epoll::new(), open(Event::new(1, Mode::Counter)), open(Event::new(1, Mode::Counter)));
    set.add(&payer, 1, &kept, event(EPOLLIN, 1)).unwrap();
    for _ in 0..10_000 {
        set.add(&payer, 3, &counter, event(EPOLLIN, 7)).unwrap();
        set.remove(3, &counter).unwrap();
    }
    assert!(set.0.ready.lock().capacity() <= 4 * (1 + ROOM));
    let mut seen = Vec::new();
    set.take_now(&payer, usize::MAX, |event| seen.push(event.data));
    assert_eq!(seen, [1]);
    drop((set, kept, counter));
    assert_eq!(account.used(), 0);
}

#[test]
fn counters_count() {
    let caller = caller();
    let counter = Event::new(2, Mode::Semaphore);
    let mut bytes = [0; 8];
    counter.signal(1);
    for _ in 0..3 {
        assert_eq!(counter.read_now(&caller, 0, &mut Sink::kernel(&mut bytes)), Ok(Some(8)));
        assert_eq!(u64::from_ne_bytes(bytes), 1);
    }
    assert_eq!(counter.read_now(&caller, 0, &mut Sink::kernel(&mut bytes)), Ok(None));
    let counter = Event::new(2, Mode::Counter);
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
    let counter = Event::new(0, Mode::Semaphore);
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
    let (set, file) = (Epoll::new(), open(busy.clone()));
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
