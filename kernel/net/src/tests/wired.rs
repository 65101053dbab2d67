//! Connections to another host: who does what, and how long they last.

use super::{A, B, World, send, v4};
use crate::{SocketFile, SocketOption, SocketValue, stack::Stack};
use abi::{
    errno::Errno,
    poll::{EPOLLERR, EPOLLHUP},
};
use alloc::sync::Arc;
use core::{
    net::Ipv4Addr,
    task::{Context, Waker},
};
use io::file::File;
use mem::Sink;

impl World {
    /// The two ends of a connection from the first host to the second.
    fn connected(&mut self) -> [Arc<SocketFile>; 2] {
        let listener = self.listen(1, Ipv4Addr::UNSPECIFIED, 80, 4);
        let near = SocketFile::tcp(&self.hosts[0]);
        assert_eq!(near.connect_now(&self.caller, &v4(B, 80)), Ok(None));
        self.until(|_| near.connect_result().unwrap());
        let far = self.accept(&listener).socket;
        [near, far]
    }

    fn lasts(&mut self, seconds: u64) {
        let end = self.now + seconds * 1_000_000_000;
        while self.now < end {
            // Without a timer time does not creep.
            self.next.get_or_insert(end);
            self.step();
        }
    }

    /// What one end sends comes to the other.
    fn carries(&mut self, [from, to]: [&SocketFile; 2]) -> Result<(), Errno> {
        assert_eq!(send(from, &self.caller, b"word"), Some(4));
        let mut piece = [0; 9];
        let got = self.until(|_| to.receive_now(&mut Sink::kernel(&mut piece), false).transpose());
        assert_eq!(got.map_err(|_| Errno::ECONNRESET)?.len, 4);
        Ok(())
    }
}

/// Whether the coroutine of a stack would run.
fn is_called(stack: &Stack) -> bool {
    stack.poll_work(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn who_sends_has_it_sent_and_calls_for_an_earlier_timer_alone() {
    let mut world = World::new(0);
    let [near, far] = world.connected();
    world.lasts(1);
    let stack = world.hosts[0].stacks().nth(1).unwrap().clone();
    assert!(world.hosts[0].configuration().is_some_and(|own| own.address == A));
    while is_called(&stack) {
        stack.poll(world.now);
    }
    let under_way = |world: &World| world.wire.lock().unwrap().to[1].len();
    assert_eq!(under_way(&world), 0);
    assert_eq!(send(&near, &world.caller, b"one"), Some(3));
    // It is to be sent again if nothing comes.
    assert_eq!((under_way(&world), is_called(&stack)), (1, true));
    stack.poll(world.now);
    near.set_option(SocketOption::NoDelay, SocketValue::Number(1)).unwrap();
    assert_eq!(send(&near, &world.caller, b"two"), Some(3));
    assert_eq!((under_way(&world), is_called(&stack)), (2, false));
    let mut piece = [0; 9];
    let got = world.until(|_| far.receive_now(&mut Sink::kernel(&mut piece), false).unwrap());
    assert_eq!((got.len, &piece[..6]), (6, &b"onetwo"[..]));
    drop((near, far));
    world.assert_clean();
}

#[test]
fn one_on_which_nothing_happens_lasts() {
    for keeps_alive in [0, 1] {
        let mut world = World::new(0);
        let [near, far] = world.connected();
        near.set_option(SocketOption::KeepAlive, SocketValue::Number(keeps_alive)).unwrap();
        assert_eq!(world.carries([&near, &far]), Ok(()));
        world.lasts(10_000);
        assert_eq!((near.events() | far.events()) & (EPOLLHUP | EPOLLERR), 0);
        assert_eq!(world.carries([&far, &near]), Ok(()));
        world.lasts(500);
        assert_eq!(world.carries([&near, &far]), Ok(()));
        drop((near, far));
        world.assert_clean();
    }
}

#[test]
fn a_peer_that_does_not_answer_is_given_up() {
    let mut world = World::new(0);
    let [near, far] = world.connected();
    world.lasts(300);
    world.wire.lock().unwrap().bad = 1;
    assert_eq!(send(&near, &world.caller, b"lost"), Some(4));
    world.lasts(100);
    assert_eq!(near.events() & EPOLLERR, 0);
    world.lasts(100);
    assert_ne!(near.events() & EPOLLERR, 0);
    // Who asked for nothing knows nothing.
    assert_eq!(far.events() & EPOLLERR, 0);
}
