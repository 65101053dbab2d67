//! Local sockets as files: what a read takes, and what is told of one that would wait.

use super::*;

const KINDS: [Framing; 2] = [Framing::Stream, Framing::Packets];

fn pair(world: &World, framing: Framing) -> (Arc<SocketFile>, Arc<SocketFile>) {
    SocketFile::pair(&world.hosts[0], &world.caller, framing).unwrap()
}

/// A read; who says that it would have to wait is right.
fn read(world: &World, socket: &SocketFile) -> Result<Option<usize>, IoError> {
    let would_wait = socket.read_waits();
    let read = socket.read_now(&world.caller, 0, &mut Sink::kernel(&mut [0; 4]));
    assert!(!would_wait || read == Ok(None));
    read
}

#[test]
fn who_would_wait_is_told_so() {
    let world = World::new(0);
    for framing in KINDS {
        let (near, far) = pair(&world, framing);
        assert!(near.read_waits());
        assert_eq!(read(&world, &near), Ok(None));
        assert_eq!(send(&far, &world.caller, b"one"), Some(3));
        assert!(!near.read_waits());
        assert_eq!((read(&world, &near), read(&world, &near)), (Ok(Some(3)), Ok(None)));
        far.shutdown(Direction::Write).unwrap();
        assert!(!near.read_waits());
        assert_eq!(read(&world, &near), Ok(Some(0)));
    }
}

#[test]
fn an_empty_packet_is_something_to_read() {
    let world = World::new(0);
    let (near, far) = pair(&world, Framing::Packets);
    assert_eq!(send(&far, &world.caller, b""), Some(0));
    assert!(!near.read_waits());
    assert_eq!((read(&world, &near), read(&world, &near)), (Ok(Some(0)), Ok(None)));
}

#[test]
fn nobody_waits_for_a_peer_that_is_gone() {
    let world = World::new(0);
    for framing in KINDS {
        let (near, far) = pair(&world, framing);
        assert_eq!(send(&near, &world.caller, b"unread"), Some(6));
        drop(far);
        assert!(!near.read_waits());
        assert_eq!(read(&world, &near), Err(Errno::ECONNRESET.into()));
        assert!(!near.read_waits());
        assert_eq!(read(&world, &near), Ok(Some(0)));
    }
}

#[test]
fn a_socket_without_a_peer_does_not_wait_to_be_read() {
    let world = World::new(0);
    for (framing, errno) in [(Framing::Stream, Errno::EINVAL), (Framing::Packets, Errno::ENOTCONN)] {
        let socket = SocketFile::local(&world.hosts[0], framing);
        assert!(!socket.read_waits());
        assert_eq!(read(&world, &socket), Err(errno.into()));
    }
}
