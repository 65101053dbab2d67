//! What programs do between the usual steps: ask for the peer too early, connect again, close the listener first.

use super::*;
use abi::poll::EPOLLOUT;

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
    assert_eq!(end, Err(Errno::ECONNRESET.into()));
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
    let name = Address::Local(b"/run/y".to_vec());
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
    let (a, b) = SocketFile::pair(&world.hosts[0], caller, Framing::Messages).unwrap();
    let most = (0..100_000).take_while(|_| send(&a, caller, b"") == Some(0)).count();
    assert!(most < 10_000);
    assert_eq!(a.events() & EPOLLOUT, 0);
    for _ in 0..most {
        let received = b.receive_now(&mut Sink::kernel(&mut [0; 4]), false).unwrap().unwrap();
        assert_eq!(received.len, 0);
    }
    assert_ne!(a.events() & EPOLLOUT, 0);
}
