//! Who waits for a terminal, and what reaches its output.

use super::*;
use crate::{caller::Credentials, epoll::Epoll, open::OpenFile};
use abi::{
    fs::O_RDWR,
    poll::{EPOLLET, EpollEvent},
};
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
};
use mem::Account;

/// A line with so much room.
struct Output {
    room: AtomicUsize,
    drained: WaitQueue,
    written: SpinLock<Vec<u8>>,
}

impl CharDevice for Output {
    fn write(&self, bytes: &[u8]) {
        self.written.lock().extend(bytes);
    }

    fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    fn wait_room(&self) -> BoxFuture<'_, ()> {
        Box::pin(exec::sync::wait_until(&self.drained, || (self.room() >= 2 * PART).then_some(())))
    }
}

impl Output {
    fn drain(&self) {
        self.room.store(10_000, Ordering::Relaxed);
        self.drained.wake_all();
    }
}

fn terminal(room: usize) -> (Arc<Tty>, Arc<Output>) {
    let written = SpinLock::new(rank::PIPE + 2, Vec::new());
    let output = Arc::new(Output { room: AtomicUsize::new(room), drained: WaitQueue::new(), written });
    (Tty::new(output.clone()), output)
}

fn caller(pid: u32, uid: u32) -> Caller {
    Caller {
        pid,
        tid: pid,
        credentials: Credentials { uid, gid: 0 },
        priority: 16,
        request: 0,
        file_limit: u64::MAX,
        account: Account::new(None, usize::MAX),
    }
}

fn is_ready(wait: &mut BoxFuture<'_, Result<(), Errno>>) -> bool {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn who_waits_for_input_and_room_is_woken_by_either() {
    let (tty, output) = terminal(0);
    let caller = caller(1, 0);
    let mut wait = tty.wait(&caller, Want::Events(EPOLLIN | EPOLLOUT));
    assert!(!is_ready(&mut wait));
    output.drain();
    assert!(is_ready(&mut wait));
    output.room.store(0, Ordering::Relaxed);
    let mut wait = tty.wait(&caller, Want::Events(EPOLLIN | EPOLLOUT));
    assert!(!is_ready(&mut wait));
    tty.receive(b"line\n");
    assert!(is_ready(&mut wait));
    // Nothing that this terminal ever says.
    let mut wait = tty.wait(&caller, Want::Events(abi::poll::EPOLLPRI));
    assert!(!is_ready(&mut wait));
}

/// Who registers a terminal in an epoll set has paid for its waits.
#[test]
fn a_wait_is_not_larger_than_what_is_paid_for_it() {
    let (tty, _) = terminal(8);
    let caller = caller(1, 0);
    let both = Want::Events(EPOLLIN | EPOLLOUT);
    for wait in [tty.wait(&caller, both), tty.wait_edge(&caller, EPOLLIN | EPOLLOUT, 0)] {
        // With what it waits for room for, which is boxed.
        assert!(size_of_val(&*wait) + 128 <= crate::epoll::WAIT_OF_FILE, "{}", size_of_val(&*wait));
    }
}

#[test]
fn an_edge_is_told_once() {
    let (tty, output) = terminal(10_000);
    let set = Epoll::new(&mem::Account::new(None, usize::MAX)).unwrap();
    let open = OpenFile::new(tty.clone(), O_RDWR, b"tty");
    let caller = caller(1, 0);
    let events = EPOLLIN | EPOLLOUT | EPOLLET;
    set.add(&caller, 3, &open, EpollEvent { events, pad: 0, data: 7 }).unwrap();
    let found = || set.wait_now(&caller, 10).iter().map(|event| event.events).collect::<Vec<_>>();
    tty.receive(b"line\n");
    assert_eq!(found(), [EPOLLIN | EPOLLOUT]);
    assert_eq!(found(), []);
    // The set is at rest, not looked at again and again.
    let mut wait: BoxFuture<'_, Result<(), Errno>> = Box::pin(async {
        set.wait_ready().await;
        Ok(())
    });
    assert!(!is_ready(&mut wait));
    assert_eq!(tty.read_now(&caller, 0, &mut Sink::kernel(&mut [0; 10])), Ok(Some(5)));
    output.room.store(0, Ordering::Relaxed);
    assert_eq!(tty.write_now(&caller, 0, &mut Source::kernel(b"x")), Ok(None));
    assert_eq!(found(), []);
    output.drain();
    assert_eq!(found(), [EPOLLOUT]);
    assert_eq!(found(), []);
}

#[test]
fn nothing_is_lost_when_others_take_the_room() {
    let (tty, output) = terminal(20);
    let caller = caller(1, 0);
    // Both have seen the same room.
    for text in [b"1\n3\n5\n7\n9\n", b"a\nc\ne\ng\ni\n"] {
        assert_eq!(tty.write_now(&caller, 0, &mut Source::kernel(text)), Ok(Some(10)));
    }
    assert_eq!(*output.written.lock(), b"1\r\n3\r\n5\r\n7\r\n9\r\na\r\nc\r\ne\r\ng\r\ni\r\n");
    // Echo has no right to more than there is.
    output.written.lock().clear();
    output.room.store(3, Ordering::Relaxed);
    tty.receive(b"abcdef");
    assert_eq!(*output.written.lock(), b"abc");
}

/// Session 1 of the groups 1 and 2; each process leads its own.
struct Jobs;

impl JobControl for Jobs {
    fn groups(&self, pid: u32) -> Option<(u32, u32)> {
        Some((pid, if pid <= 2 { 1 } else { pid }))
    }

    fn session_of(&self, group: u32) -> Option<u32> {
        (group < 10).then_some(if group <= 2 { 1 } else { group })
    }

    fn signal(&self, group: u32, signal: u32) {
        SENT.lock().push((group, signal));
    }

    fn effect(&self, caller: &Caller, _group: u32, _signal: u32) -> Effect {
        match caller.credentials.uid {
            IGNORES => Effect::Nothing,
            ORPHAN => Effect::Orphan,
            _ => Effect::Stops,
        }
    }
}

static SENT: SpinLock<Vec<(u32, u32)>> = SpinLock::new(rank::TTY + 1, Vec::new());
/// Users who stand for what a signal does to them.
const IGNORES: u32 = 2000;
const ORPHAN: u32 = 2001;

#[test]
fn a_shell_takes_its_terminal_back_whoever_runs_it() {
    let (tty, _) = terminal(10_000);
    tty.set_jobs(&Jobs);
    assert!(tty.adopt(1, 1));
    let shell = caller(1, 1000);
    assert_eq!(tty.set_foreground(&shell, 2), Ok(0));
    // It is in the background now, and ignores what would stop it.
    let shell = caller(1, IGNORES);
    assert_eq!(tty.set_foreground(&shell, 1), Ok(0));
    assert_eq!(tty.foreground(), Some(1));
    assert_eq!(tty.set_foreground(&shell, -1), Err(Errno::EINVAL));
    assert_eq!(tty.set_foreground(&shell, 77), Err(Errno::ESRCH));
    assert_eq!(tty.set_foreground(&shell, 5), Err(Errno::EPERM));
    assert_eq!(tty.set_foreground(&caller(5, 0), 1), Err(Errno::ENOTTY));
}

fn controlled() -> Arc<Tty> {
    let (tty, _) = terminal(10_000);
    tty.set_jobs(&Jobs);
    assert!(tty.adopt(1, 1));
    tty
}

/// What process 2, in the background, may do.
#[test]
fn the_background_stops_or_fails() {
    let tty = controlled();
    let read = |uid| tty.read_now(&caller(2, uid), 0, &mut Sink::kernel(&mut [0; 10]));
    let write = |uid| tty.write_now(&caller(2, uid), 0, &mut Source::kernel(b"x"));
    let sent = |signal| SENT.lock().iter().filter(|sent| **sent == (2, signal)).count();
    assert_eq!((read(0), sent(SIGTTIN)), (Err(Errno::EINTR.into()), 1));
    assert_eq!((read(IGNORES), read(ORPHAN)), (Err(Errno::EIO.into()), Err(Errno::EIO.into())));
    assert_eq!(write(0), Ok(Some(1)));
    let mut termios = *tty.state.lock().line.termios();
    termios.lflag |= abi::ioctl::TOSTOP;
    tty.state.lock().line.set_termios(termios);
    assert_eq!((write(0), sent(SIGTTOU)), (Err(Errno::EINTR.into()), 1));
    assert_eq!((write(IGNORES), write(ORPHAN)), (Ok(Some(1)), Err(Errno::EIO.into())));
    assert_eq!(tty.set_foreground(&caller(2, ORPHAN), 2), Err(Errno::ENOTTY));
    // Who is of another session, or in the foreground, is not stopped.
    assert!(tty.check(&caller(5, 0), SIGTTIN).is_ok() && tty.check(&caller(1, 0), SIGTTIN).is_ok());
}

#[test]
fn only_the_leader_gives_the_terminal_up() {
    let tty = controlled();
    assert_eq!((tty.give_up(&caller(5, 0)), tty.give_up(&caller(2, 0))), (Err(Errno::ENOTTY), Ok(0)));
    assert_eq!(tty.session(), Some(1));
    // Who has it already keeps the foreground.
    assert_eq!((tty.set_foreground(&caller(1, 0), 2), tty.take_control(&caller(1, 0))), (Ok(0), Ok(0)));
    assert_eq!(tty.foreground(), Some(2));
    assert_eq!((tty.give_up(&caller(1, 0)), tty.session()), (Ok(0), None));
}

#[test]
fn a_raw_read_waits_for_bytes_and_for_time() {
    let (tty, _) = terminal(10_000);
    let caller = caller(1, 0);
    let raw = |least, tenths| {
        tty.make_raw();
        let mut termios = *tty.state.lock().line.termios();
        (termios.cc[abi::ioctl::VMIN], termios.cc[abi::ioctl::VTIME]) = (least, tenths);
        tty.state.lock().line.set_termios(termios);
    };
    let read = |len: usize| {
        let mut bytes = [0; 10];
        tty.read_now(&caller, 0, &mut Sink::kernel(&mut bytes[..len]))
    };
    // Waits for a tenth of a second, and not less.
    let wait_a_tenth = || {
        let mut wait = tty.wait(&caller, Want::Read { offset: 0, len: 10 });
        assert!(!is_ready(&mut wait));
        hal::fake::advance(99_999_999);
        assert!(!is_ready(&mut wait));
        hal::fake::advance(1);
        assert!(is_ready(&mut wait));
    };
    // As many as asked for, or as MIN says if that is less.
    raw(3, 0);
    tty.receive(b"ab");
    assert_eq!((read(10), read(2), tty.events() & EPOLLIN), (Ok(None), Ok(Some(2)), 0));
    // Who waits no longer takes what there is, once.
    tty.receive(b"c");
    assert_eq!((tty.take_less(), read(10), tty.take_less(), read(10)), (true, Ok(Some(1)), false, Ok(None)));
    // No bytes and no time: never waits; but there is nothing to poll for.
    raw(0, 0);
    assert_eq!((read(10), tty.events() & EPOLLIN), (Ok(Some(0)), 0));
    // A time without bytes: for the first.
    raw(0, 1);
    assert_eq!(read(10), Ok(None));
    wait_a_tenth();
    assert_eq!((read(10), read(10)), (Ok(Some(0)), Ok(None)));
    tty.receive(b"x");
    assert_eq!(read(10), Ok(Some(1)));
    // Both: between bytes.
    raw(3, 1);
    let mut first = tty.wait(&caller, Want::Read { offset: 0, len: 10 });
    assert!(!is_ready(&mut first));
    drop(first);
    tty.receive(b"yz");
    assert_eq!((read(10), tty.events() & EPOLLIN), (Ok(None), EPOLLIN));
    wait_a_tenth();
    assert_eq!((read(10), read(10)), (Ok(Some(2)), Ok(None)));
}
