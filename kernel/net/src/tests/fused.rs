//! Connections within one host: what TCP promises to programs holds without its segments.

use super::*;
use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn receive(socket: &SocketFile) -> Result<Option<usize>, IoError> {
    Ok(socket.receive_now(&mut Sink::kernel(&mut [0; 4]), false)?.map(|received| received.len))
}

fn write(world: &World, socket: &SocketFile) -> Result<Option<usize>, IoError> {
    socket.send_now(&world.caller, &mut Source::kernel(b"x"), None)
}

/// Begins to connect to port 7.
fn begin(world: &World) -> Arc<SocketFile> {
    let socket = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(socket.connect_now(&world.caller, &v4(HERE, 7)), Ok(None));
    socket
}

/// Both ends of a connection, and their listener.
fn pair(world: &World) -> (Arc<SocketFile>, Arc<SocketFile>, Arc<SocketFile>) {
    let listener = world.listen(0, HERE, 7, 5);
    let near = begin(world);
    assert_eq!(near.connect_result(), Ok(Some(())));
    let far = listener.accept_now().unwrap().unwrap().socket;
    (near, far, listener)
}

#[test]
fn bytes_need_no_round_of_the_stack() {
    let mut world = World::new(0);
    let (near, far, listener) = pair(&world);
    assert_eq!(far.peer_address(), Ok(near.local_address()));
    assert_eq!(near.peer_address(), Ok(far.local_address()));
    assert_eq!((near.events(), receive(&far)), (EPOLLOUT | abi::poll::EPOLLWRNORM, Ok(None)));
    assert_eq!(send(&near, &world.caller, b"one"), Some(3));
    assert_ne!(far.events() & EPOLLIN, 0);
    assert_eq!((receive(&far), receive(&far)), (Ok(Some(3)), Ok(None)));
    drop((near, far, listener));
    world.assert_clean();
}

#[test]
fn memory_comes_with_the_bytes_and_goes_with_them() {
    let mut world = World::new(0);
    let used = |world: &World| world.caller.account.used();
    let before = used(&world);
    let (near, far, listener) = pair(&world);
    let idle = used(&world);
    assert!(idle - before < 2048, "an idle connection costs {} bytes", idle - before);
    let data = pattern(1, 1 << 20);
    let sent = send(&near, &world.caller, &data).unwrap();
    assert_eq!((sent, send(&near, &world.caller, &data)), (2 * crate::stack::BUFFER, None));
    assert_eq!(near.events() & EPOLLOUT, 0);
    assert!(used(&world) - idle >= sent - 1024);
    let mut got = Vec::new();
    assert!(!read_to_end(&far, &mut got));
    assert!(got == data[..sent]);
    assert_eq!((used(&world), near.events() & EPOLLOUT), (idle, EPOLLOUT));
    drop((near, far, listener));
    world.assert_clean();
}

#[test]
fn without_memory_little_is_sent() {
    let mut world = World::new(0);
    world.caller.account = Account::new(None, 20_000);
    let (near, far, listener) = pair(&world);
    // As much as there is memory for: at least what is always paid for.
    assert_eq!(send(&near, &world.caller, &[1; 60_000]), Some(512));
    let refused = near.send_now(&world.caller, &mut Source::kernel(&[1; 60_000]), None);
    assert_eq!(refused, Err(Errno::ENOMEM.into()));
    let mut got = Vec::new();
    assert!(!read_to_end(&far, &mut got));
    assert_eq!((got.len(), send(&near, &world.caller, &[2; 4]), receive(&far)), (512, Some(4), Ok(Some(4))));
    drop((near, far, listener));
    world.assert_clean();
}

#[test]
fn who_finds_the_queue_full_is_connected_later_or_refused() {
    let mut world = World::new(0);
    let listener = world.listen(0, HERE, 7, 0);
    let sockets: Vec<_> = (0..4).map(|_| begin(&world)).collect();
    assert_eq!(sockets[0].connect_result(), Ok(Some(())));
    for socket in &sockets[1..] {
        assert_eq!((socket.connect_result(), socket.events()), (Ok(None), 0));
        assert_eq!((receive(socket), write(&world, socket)), (Ok(None), Ok(None)));
    }
    // A place goes to who has waited longest; one that was given up is nobody's.
    let [first, second, third, fourth]: [_; 4] = sockets.try_into().ok().unwrap();
    drop(second);
    let accepted = listener.accept_now().unwrap().unwrap();
    assert_eq!(accepted.peer, first.local_address());
    assert_ne!(third.events() & EPOLLOUT, 0);
    assert_eq!((third.connect_result(), fourth.connect_result()), (Ok(Some(())), Ok(None)));
    assert_eq!(send(&third, &world.caller, b"early"), Some(5));
    // The one that waits hears that nobody listens any more, the one in the queue that it was cut.
    drop(listener);
    assert_eq!(fourth.events() & (EPOLLERR | EPOLLHUP), EPOLLERR | EPOLLHUP);
    assert_eq!(fourth.connect_result(), Err(Errno::ECONNREFUSED.into()));
    assert_eq!((receive(&third), receive(&third)), (Err(Errno::ECONNRESET.into()), Ok(Some(0))));
    drop((first, third, fourth, accepted));
    world.assert_clean();
}

#[test]
fn nobody_waits_for_a_place_for_ever() {
    let mut world = World::new(0);
    let listener = world.listen(0, HERE, 7, 0);
    let (first, late) = (begin(&world), begin(&world));
    let patience = crate::stack::PEER_TIMEOUT.total_micros() * 1000;
    let poll = |world: &World, now| world.hosts[0].stacks().for_each(|stack| _ = stack.poll(now));
    // Other tests have the clock go on meanwhile, by less than this.
    poll(&world, world.now + patience / 2);
    assert_eq!(late.connect_result(), Ok(None));
    poll(&world, hal::time::now() + 2 * patience);
    assert_eq!(late.connect_result(), Err(Errno::ETIMEDOUT.into()));
    assert_eq!(first.connect_result(), Ok(Some(())));
    drop((first, late, listener));
    world.now = hal::time::now();
    world.assert_clean();
}

#[test]
fn a_longer_queue_has_places_for_who_waits() {
    let mut world = World::new(0);
    let listener = world.listen(0, HERE, 7, 0);
    let sockets: Vec<_> = (0..4).map(|_| begin(&world)).collect();
    listener.listen(&world.caller, 1).unwrap();
    let made: Vec<_> = sockets.iter().map(|socket| socket.connect_result() == Ok(Some(()))).collect();
    assert_eq!(made, [true, true, false, false]);
    // Who comes now comes behind those who wait; and a shorter queue gives no places.
    listener.listen(&world.caller, 0).unwrap();
    let late = begin(&world);
    assert!(listener.accept_now().unwrap().is_some());
    assert_eq!(sockets[2].connect_result(), Ok(None));
    for socket in &sockets[2..] {
        assert!(listener.accept_now().unwrap().is_some());
        assert_eq!(socket.connect_result(), Ok(Some(())));
    }
    assert_eq!(late.connect_result(), Ok(None));
    drop((sockets, late, listener));
    world.assert_clean();
}

#[test]
fn who_waits_in_a_queue_is_nobody_elses_expense() {
    let mut world = World::new(0);
    let listener = world.listen(0, HERE, 7, 9);
    let used = world.caller.account.used();
    let (server, client) = (world.caller.clone(), Caller::kernel(8, Account::new(None, 1 << 20)));
    let near = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(near.connect_now(&client, &v4(HERE, 7)), Ok(None));
    assert_eq!(server.account.used(), used);
    let both = client.account.used();
    let far = listener.accept_now().unwrap().unwrap().socket;
    assert_eq!((server.account.used() - used, client.account.used()), (both / 2, both / 2));
    drop((near, far, listener));
    assert_eq!(client.account.used(), 0);
    world.assert_clean();
}

#[test]
fn a_break_is_told_to_who_watches() {
    let mut world = World::new(0);
    let (near, far, listener) = pair(&world);
    drop(near);
    let (edges, events) = io::file::File::look(&*far, &world.caller);
    assert_eq!(events & (EPOLLERR | EPOLLHUP), 0);
    assert_eq!(write(&world, &far), Ok(Some(1)));
    let (later, events) = io::file::File::look(&*far, &world.caller);
    assert_eq!((later > edges, events & (EPOLLERR | EPOLLHUP)), (true, EPOLLERR | EPOLLHUP));
    drop((far, listener));
    world.assert_clean();
}

#[test]
fn an_end_in_order() {
    let mut world = World::new(0);
    let (near, far, listener) = pair(&world);
    assert_eq!(send(&near, &world.caller, b"last"), Some(4));
    drop(near);
    assert_eq!(far.events() & (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    assert_eq!((receive(&far), receive(&far)), (Ok(Some(4)), Ok(Some(0))));
    // The first that is sent is lost unnoticed: only the answer to it says that nobody is there.
    assert_eq!(write(&world, &far), Ok(Some(1)));
    assert_eq!(far.events() & (EPOLLERR | EPOLLHUP), EPOLLERR | EPOLLHUP);
    assert_eq!((write(&world, &far), write(&world, &far)), (Err(Errno::EPIPE.into()), Err(Errno::EPIPE.into())));
    assert_eq!((receive(&far), far.events() & EPOLLERR), (Ok(Some(0)), 0));
    drop((far, listener));
    world.assert_clean();
}

#[test]
fn an_end_with_a_reset() {
    let mut world = World::new(0);
    for linger in [false, true] {
        let (near, far, listener) = pair(&world);
        if linger {
            far.set_option(SocketOption::Linger, SocketValue::Linger(Some(0))).unwrap();
        } else {
            assert_eq!(send(&near, &world.caller, b"never read"), Some(10));
        }
        assert_eq!(send(&far, &world.caller, b"to"), Some(2));
        drop(far);
        assert_eq!(near.events() & (EPOLLIN | EPOLLERR | EPOLLHUP), EPOLLIN | EPOLLERR | EPOLLHUP);
        // What came before the end can be read.
        assert_eq!((receive(&near), receive(&near)), (Ok(Some(2)), Err(Errno::ECONNRESET.into())));
        assert_eq!((receive(&near), write(&world, &near)), (Ok(Some(0)), Err(Errno::EPIPE.into())));
        assert_eq!(near.events() & (EPOLLERR | EPOLLHUP), EPOLLHUP);
        drop((near, listener));
    }
    // Who asks for the error has heard of it.
    let (near, far, listener) = pair(&world);
    far.set_option(SocketOption::Linger, SocketValue::Linger(Some(0))).unwrap();
    drop(far);
    let error = SocketValue::Number(Errno::ECONNRESET.number().unsigned_abs().into());
    assert_eq!(near.option(SocketOption::Error), error);
    assert_eq!((near.option(SocketOption::Error), receive(&near)), (SocketValue::Number(0), Ok(Some(0))));
    drop((near, listener));
    world.assert_clean();
}

#[test]
fn either_half_can_end() {
    let mut world = World::new(0);
    let (near, far, listener) = pair(&world);
    near.shutdown(Direction::Write).unwrap();
    assert_eq!(far.events() & (EPOLLIN | EPOLLRDHUP | EPOLLHUP), EPOLLIN | EPOLLRDHUP);
    assert_eq!((receive(&far), write(&world, &near)), (Ok(Some(0)), Err(Errno::EPIPE.into())));
    assert_eq!((write(&world, &far), receive(&near)), (Ok(Some(1)), Ok(Some(1))));
    // Who will read no more still gets what comes, if it does read.
    near.shutdown(Direction::Read).unwrap();
    assert_eq!((receive(&near), write(&world, &far), receive(&near)), (Ok(Some(0)), Ok(Some(1)), Ok(Some(1))));
    far.shutdown(Direction::Write).unwrap();
    assert_ne!(far.events() & EPOLLHUP, 0);
    assert_eq!((near.events() | far.events()) & EPOLLERR, 0);
    drop((near, far, listener));
    world.assert_clean();
}
