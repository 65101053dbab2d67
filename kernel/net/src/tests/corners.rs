//! What programs do between the usual steps: ask for the peer too early, connect again, close the listener first.

use super::*;
use abi::{
    fs::O_RDWR,
    poll::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EpollEvent},
};
use core::{
    pin::pin,
    task::{Context, Waker},
};
use io::{epoll::Epoll, file::Attempt, open::OpenFile};

#[test]
fn the_peer_is_known_before_anybody_asks_how_connecting_went() {
    let mut world = World::new(0);
    let listener = world.listen(1, Ipv4Addr::UNSPECIFIED, 80, 4);
    let socket = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(socket.connect_now(&world.caller, &v4(B, 80)), Ok(None));
    assert_eq!(socket.peer_address(), Err(Errno::ENOTCONN));
    world.until(|_| (socket.events() & EPOLLOUT != 0).then_some(()));
    assert_eq!(socket.option(SocketOption::Error), SocketValue::Number(0));
    assert_eq!(socket.peer_address(), Ok(v4(B, 80)));
    // The first to ask is told of the success, as in Linux.
    assert_eq!(socket.connect_now(&world.caller, &v4(B, 80)), Ok(Some(())));
    assert_eq!(socket.connect_now(&world.caller, &v4(B, 80)), Err(Errno::EISCONN.into()));
    drop((socket, listener));
    world.assert_clean();
}

#[test]
fn a_refused_socket_connects_again() {
    let mut world = World::new(0);
    let socket = SocketFile::tcp(&world.hosts[0]);
    let connect = |world: &mut World| {
        assert_eq!(socket.connect_now(&world.caller, &v4(B, 80)), Ok(None));
        world.until(|_| match socket.connect_result() {
            Ok(None) => None,
            Ok(Some(())) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        })
    };
    assert_eq!(connect(&mut world), Err(Errno::ECONNREFUSED.into()));
    assert_eq!(connect(&mut world), Err(Errno::ECONNREFUSED.into()));
    let listener = world.listen(1, Ipv4Addr::UNSPECIFIED, 80, 4);
    assert_eq!(connect(&mut world), Ok(()));
    drop((socket, listener));
    world.assert_clean();
}

#[test]
fn linger_zero_resets_also_if_it_was_set_before_connecting() {
    let mut world = World::new(0);
    let listener = world.listen(1, Ipv4Addr::UNSPECIFIED, 80, 4);
    let socket = SocketFile::tcp(&world.hosts[0]);
    socket.set_option(SocketOption::Linger, SocketValue::Linger(Some(0))).unwrap();
    assert_eq!(socket.connect_now(&world.caller, &v4(B, 80)), Ok(None));
    world.until(|_| socket.connect_result().unwrap());
    let far = world.accept(&listener).socket;
    drop(socket);
    let mut piece = [0; 4];
    let end = world.until(|_| far.receive_now(&mut Sink::kernel(&mut piece), false).transpose());
    assert_eq!(end.err(), Some(Errno::ECONNRESET.into()));
    drop((far, listener));
    world.assert_clean();
}

#[test]
fn a_datagram_without_room_waits_for_room() {
    let mut world = World::new(0);
    let socket = SocketFile::udp(&world.hosts[0]);
    let caller = world.caller.clone();
    // Nobody answers for this address, so nothing leaves the queue.
    let to = v4(Ipv4Addr::new(10, 0, 0, 77), 9);
    let mut sent = 0;
    while socket.send_now(&caller, &mut Source::kernel(&[1; 1400]), Some(&to)) == Ok(Some(1400)) {
        sent += 1;
        world.step();
        assert!(sent < 1000);
    }
    assert_eq!(socket.events() & EPOLLOUT, 0);
    drop(socket);
}

#[test]
fn a_local_listener_that_goes_leaves_nothing_but_its_connections() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    let name = Address::Local(b"\0y".to_vec().into());
    let listener = SocketFile::local(net, Framing::Stream);
    listener.bind(caller, &name).unwrap();
    listener.listen(caller, 4).unwrap();
    let near = SocketFile::local(net, Framing::Stream);
    assert_eq!(near.connect_now(caller, &name), Ok(Some(())));
    let far = listener.accept_now().unwrap().unwrap().socket;
    drop(listener);
    let late = SocketFile::local(net, Framing::Stream);
    assert_eq!(late.connect_now(caller, &name), Err(Errno::ECONNREFUSED.into()));
    assert_eq!((far.local_address(), near.peer_address()), (name.clone(), Ok(name.clone())));
    assert_eq!(send(&near, caller, b"still"), Some(5));
    assert_eq!(late.bind(caller, &name), Ok(()));
}

#[test]
fn empty_messages_are_bounded() {
    let world = World::new(0);
    let caller = &world.caller;
    let (a, b) = SocketFile::pair(&world.hosts[0], caller, Framing::Datagrams).unwrap();
    let most = (0..100_000).take_while(|_| send(&a, caller, b"") == Some(0)).count();
    assert!(most < 10_000);
    assert_eq!(a.events() & EPOLLOUT, 0);
    for _ in 0..most {
        let received = b.receive_now(&mut Sink::kernel(&mut [0; 4]), false).unwrap().unwrap();
        assert_eq!(received.len, 0);
    }
    assert_ne!(a.events() & EPOLLOUT, 0);
}

/// What is not connected is shut down all the same, and stays so.
#[test]
fn who_has_no_peer_is_shut_down_as_in_linux() {
    let world = World::new(0);
    let caller = &world.caller;
    let local = || SocketFile::local(&world.hosts[0], Framing::Stream);
    let (name, listener, early, late) = (Address::Local(b"x".to_vec().into()), local(), local(), local());
    assert_eq!(late.shutdown(Direction::Write), Ok(()));
    listener.bind(caller, &name).unwrap();
    listener.listen(caller, 1).unwrap();
    assert_eq!(early.connect_now(caller, &name), Ok(Some(())));
    assert_eq!(late.connect_now(caller, &name), Ok(Some(())));
    let block = late.send_now(caller, &mut Source::kernel(b"x"), None);
    assert_eq!(block, Err(Errno::EPIPE.into()));
    assert_eq!(listener.shutdown(Direction::Read), Ok(()));
    assert_eq!(local().connect_now(caller, &name), Err(Errno::ECONNREFUSED.into()));
    // Those who came before are taken.
    let far = listener.accept_now().unwrap().unwrap();
    assert!(listener.accept_now().unwrap().is_some());
    assert_eq!(listener.accept_now().map(|_| ()), Err(Errno::EINVAL.into()));
    assert_eq!(send(&early, caller, b"x"), Some(1));
    drop(far);
    let datagrams = SocketFile::udp(&world.hosts[0]);
    assert_eq!(datagrams.shutdown(Direction::Read), Err(Errno::ENOTCONN));
    let received = datagrams.receive_now(&mut Sink::kernel(&mut [0; 4]), false).unwrap();
    assert_eq!(received.map(|received| received.len), Some(0));
    let tcp = world.listen(0, Ipv4Addr::LOCALHOST, 80, 4);
    assert_eq!(tcp.shutdown(Direction::Write), Ok(()));
    assert_eq!(tcp.shutdown(Direction::Read), Ok(()));
    // It is said to be nothing, and lasts.
    let idle = SocketFile::tcp(&world.hosts[0]);
    let read =
        |socket: &SocketFile| socket.receive_now(&mut Sink::kernel(&mut [0; 4]), false).map(|r| r.map(|r| r.len));
    assert_eq!(read(&idle), Err(Errno::ENOTCONN.into()));
    assert_eq!(idle.shutdown(Direction::Read), Err(Errno::ENOTCONN));
    assert_eq!((read(&idle), idle.events() & EPOLLIN), (Ok(Some(0)), EPOLLIN));
    // What was shut down before it was connected is so for its peer when that is said again.
    let (early, server) = (SocketFile::tcp(&world.hosts[0]), world.listen(0, Ipv4Addr::LOCALHOST, 81, 4));
    assert_eq!(early.shutdown(Direction::Write), Err(Errno::ENOTCONN));
    early.connect_now(caller, &v4(Ipv4Addr::LOCALHOST, 81)).unwrap();
    assert_eq!(early.connect_result(), Ok(Some(())));
    let far = server.accept_now().unwrap().unwrap().socket;
    assert_eq!((read(&far), early.shutdown(Direction::Write), read(&far)), (Ok(None), Ok(()), Ok(Some(0))));
    // What is being connected is so no more, and can be connected again.
    let connecting = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(connecting.connect_now(caller, &v4(B, 80)), Ok(None));
    assert_eq!(connecting.shutdown(Direction::Write), Ok(()));
    assert_ne!(connecting.events() & EPOLLERR, 0);
    assert_eq!(connecting.connect_result(), Err(Errno::ECONNRESET.into()));
    assert_eq!(connecting.connect_result(), Err(Errno::ENOTCONN.into()));
    assert_eq!(connecting.connect_now(caller, &v4(B, 80)), Ok(None));
}

#[test]
fn who_does_not_listen_is_as_who_has_no_name() {
    let world = World::new(0);
    let socket = SocketFile::local(&world.hosts[0], Framing::Stream);
    let before = socket.events();
    assert_eq!(before & (EPOLLIN | EPOLLOUT | EPOLLHUP), EPOLLOUT | EPOLLHUP);
    socket.bind(&world.caller, &Address::Local(b"x".to_vec().into())).unwrap();
    assert_eq!(socket.events(), before);
    socket.listen(&world.caller, 1).unwrap();
    assert_eq!(socket.events(), 0);
}

/// A set with one socket in it, for edges of either kind.
fn edges_of(socket: &Arc<SocketFile>, caller: &Caller) -> (Arc<Epoll>, Arc<OpenFile>) {
    let (set, open) = (Epoll::new(&caller.account).unwrap(), OpenFile::new(socket.clone(), O_RDWR, b"socket:[]"));
    let event = EpollEvent { events: EPOLLIN | EPOLLOUT | EPOLLET, pad: 0, data: 0 };
    set.add(caller, 3, &open, event).unwrap();
    (set, open)
}

fn found(set: &Epoll) -> Option<u32> {
    let list = set.wait_now(&Caller::kernel(16, mem::Account::new(None, usize::MAX)), 10);
    assert!(list.len() <= 1);
    list.first().map(|event| event.events)
}

#[test]
fn room_that_is_always_there_is_told_once() {
    let mut world = World::new(0);
    let caller = world.caller.clone();
    let (near, far, listener) = world.connection();
    let (set, open) = edges_of(&near, &caller);
    for _ in 0..20 {
        world.step();
    }
    assert_eq!(found(&set), Some(EPOLLOUT));
    assert_eq!((found(&set), found(&set)), (None, None));
    // Each arrival is an edge, also if what came before is still there.
    for text in [b"one", b"two"] {
        assert_eq!(send(&far, &caller, text), Some(3));
        assert_eq!(world.until(|_| found(&set)), EPOLLIN | EPOLLOUT);
        for _ in 0..20 {
            world.step();
        }
        assert_eq!((found(&set), found(&set)), (None, None));
    }
    // A full buffer that drains.
    let block = vec![0; 1 << 20];
    while send(&near, &caller, &block).is_some() {}
    assert_eq!(found(&set), None);
    let mut sink = Vec::new();
    let events = world.until(|_| {
        read_to_end(&far, &mut sink);
        found(&set)
    });
    assert_ne!(events & EPOLLOUT, 0);
    drop((set, open, near, far, listener));
    world.assert_clean();
}

#[test]
fn edges_of_datagrams_and_local_sockets() {
    let mut world = World::new(0);
    let caller = world.caller.clone();
    let server = SocketFile::udp(&world.hosts[1]);
    server.bind(&caller, &v4(Ipv4Addr::UNSPECIFIED, 53)).unwrap();
    let client = SocketFile::udp(&world.hosts[0]);
    let (set, open) = edges_of(&server, &caller);
    assert_eq!((found(&set), found(&set)), (Some(EPOLLOUT), None));
    for _ in 0..2 {
        assert_eq!(client.send_now(&caller, &mut Source::kernel(b"?"), Some(&v4(B, 53))), Ok(Some(1)));
        assert_eq!(world.until(|_| found(&set)), EPOLLIN | EPOLLOUT);
        assert_eq!(found(&set), None);
    }
    drop((set, open, server, client));
    let (a, b) = SocketFile::pair(&world.hosts[0], &caller, Framing::Stream).unwrap();
    let (set, open) = edges_of(&b, &caller);
    assert_eq!((found(&set), found(&set)), (Some(EPOLLOUT), None));
    for _ in 0..2 {
        assert_eq!(send(&a, &caller, b"x"), Some(1));
        assert_eq!((found(&set), found(&set)), (Some(EPOLLIN | EPOLLOUT), None));
    }
    drop((set, open, a, b));
    world.assert_clean();
}

#[test]
fn who_finds_the_queue_full_waits_for_a_place_or_the_end() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    let name = Address::Local(b"\0z".to_vec().into());
    let listener = SocketFile::local(net, Framing::Packets);
    listener.bind(caller, &name).unwrap();
    // One more waits than asked for.
    listener.listen(caller, 0).unwrap();
    let sockets: Vec<_> = (0..3).map(|_| SocketFile::local(net, Framing::Packets)).collect();
    assert_eq!(sockets[0].connect_now(caller, &name), Ok(Some(())));
    assert_eq!(sockets[1].connect_now(caller, &name), Err(Errno::EAGAIN.into()));
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = pin!(sockets[1].vacancy(&name));
    assert!(wait.as_mut().poll(&mut context).is_pending());
    let far = listener.accept_now().unwrap().unwrap().socket;
    assert!(wait.as_mut().poll(&mut context).is_ready());
    assert_eq!(sockets[1].connect_now(caller, &name), Ok(Some(())));
    assert_eq!((send(&sockets[0], caller, b"one"), send(&sockets[0], caller, b"two")), (Some(3), Some(3)));
    let received = far.receive_now(&mut Sink::kernel(&mut [0; 9]), false).unwrap().unwrap();
    assert_eq!((received.len, received.full), (3, 3));
    let mut wait = pin!(sockets[2].vacancy(&name));
    assert!(wait.as_mut().poll(&mut context).is_pending());
    drop(listener);
    assert!(wait.as_mut().poll(&mut context).is_ready());
    assert_eq!(sockets[2].connect_now(caller, &name), Err(Errno::ECONNREFUSED.into()));
}

/// A name outside the file system, by a listener of each kind that has one.
#[test]
fn names_outside_the_file_system_are_each_kinds_own() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    let name = Address::Local(b"\0own".to_vec().into());
    let listener = |framing| {
        let socket = SocketFile::local(net, framing);
        socket.bind(caller, &name).map(|()| socket)
    };
    let stream = SocketFile::local(net, Framing::Stream);
    let packets = listener(Framing::Packets).unwrap();
    packets.listen(caller, 1).unwrap();
    assert_eq!(stream.connect_now(caller, &name), Err(Errno::ECONNREFUSED.into()));
    let streams = listener(Framing::Stream).unwrap();
    streams.listen(caller, 1).unwrap();
    assert_eq!(listener(Framing::Stream).err(), Some(Errno::EADDRINUSE));
    // Two may wait, and who listens does not connect.
    assert_eq!(packets.connect_now(caller, &name), Err(Errno::EINVAL.into()));
    assert_eq!(stream.connect_now(caller, &name), Ok(Some(())));
    let second = SocketFile::local(net, Framing::Stream);
    assert_eq!(second.connect_now(caller, &name), Ok(Some(())));
    assert_eq!(stream.connect_now(caller, &name), Err(Errno::EAGAIN.into()));
    assert!(streams.accept_now().unwrap().is_some());
    assert_eq!(stream.connect_now(caller, &name), Err(Errno::EISCONN.into()));
    let receive = |socket: &SocketFile| socket.receive_now(&mut Sink::kernel(&mut [0; 4]), false);
    assert_eq!(receive(&SocketFile::local(net, Framing::Packets)).err(), Some(Errno::ENOTCONN.into()));
    // One that was never accepted is reset, and that is told once.
    drop(streams);
    assert_ne!(second.events() & EPOLLERR, 0);
    assert_eq!(receive(&second).err(), Some(Errno::ECONNRESET.into()));
    assert_eq!((receive(&second).unwrap().unwrap().len, second.events() & EPOLLERR), (0, 0));
}

#[test]
fn the_end_of_a_local_peer() {
    let world = World::new(0);
    let caller = &world.caller;
    let receive = |socket: &SocketFile| -> Attempt<usize> {
        Ok(socket.receive_now(&mut Sink::kernel(&mut [0; 4]), false)?.map(|r| r.len))
    };
    let write = |socket: &SocketFile| socket.send_now(caller, &mut Source::kernel(b"x"), None);
    for (framing, read) in [(Framing::Stream, true), (Framing::Stream, false), (Framing::Packets, false)] {
        let (a, b) = SocketFile::pair(&world.hosts[0], caller, framing).unwrap();
        assert_eq!((send(&a, caller, b"to"), send(&b, caller, b"fro")), (Some(2), Some(3)));
        if read {
            assert_eq!(receive(&b), Ok(Some(2)));
        }
        drop(b);
        assert_eq!(receive(&a), Ok(Some(3)));
        // What it left unread is lost, which is an error: streams hear of it where they read.
        let reset = Err(Errno::ECONNRESET.into());
        match framing {
            Framing::Packets => assert_eq!(write(&a), reset),
            _ if read => {}
            _ => assert_eq!((write(&a), receive(&a)), (Err(Errno::EPIPE.into()), reset)),
        }
        assert_eq!((write(&a), receive(&a)), (Err(Errno::EPIPE.into()), Ok(Some(0))));
    }
    let (a, b) = SocketFile::pair(&world.hosts[0], caller, Framing::Datagrams).unwrap();
    drop(b);
    assert_eq!((receive(&a), write(&a)), (Ok(None), Err(Errno::ECONNREFUSED.into())));
    assert_eq!(a.events() & (EPOLLIN | EPOLLOUT), EPOLLOUT);
}
