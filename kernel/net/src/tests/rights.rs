//! Descriptors in messages: who pays, what keeps what, and what is collected.

use super::{World, pattern};
use crate::{Address, Framing, Net, Received, Rights, SocketFile};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc, vec};
use io::{caller::Caller, open::OpenFile};
use mem::{Account, Sink, Source};

fn open(socket: Arc<SocketFile>) -> Arc<OpenFile> {
    OpenFile::new(socket, 0, b"socket:[]")
}

fn socket(open: &Arc<OpenFile>) -> &SocketFile {
    open.file().as_any().downcast_ref().unwrap()
}

fn pair(net: &Arc<Net>, caller: &Caller, framing: Framing) -> (Arc<OpenFile>, Arc<OpenFile>) {
    let (a, b) = SocketFile::pair(net, caller, framing).unwrap();
    (open(a), open(b))
}

/// Who sends, and pays for what it sends.
fn nobody() -> Caller {
    Caller::kernel(16, Account::new(None, 1 << 20))
}

fn rights(net: &Net, files: &[&Arc<OpenFile>]) -> Box<Rights> {
    let charge = || Account::new(None, 10).charge(1).unwrap();
    Rights::new(net, files.iter().copied().cloned().collect(), None, [charge(), charge()]).unwrap()
}

fn send(net: &Net, to: &Arc<OpenFile>, bytes: &[u8], files: &[&Arc<OpenFile>]) -> Result<usize, Errno> {
    let mut carried = (!files.is_empty()).then(|| rights(net, files));
    let sent = socket(to).send_with_now(&nobody(), &mut Source::kernel(bytes), None, &mut carried);
    sent.map(Option::unwrap).map_err(|error| match error {
        io::file::IoError::Errno(errno) => errno,
        fault => panic!("{fault:?}"),
    })
}

fn receive(from: &Arc<OpenFile>, room: usize, peek: bool) -> Option<Received> {
    socket(from).receive_now(&mut Sink::kernel(&mut vec![0; room]), peek).unwrap()
}

/// What was received: bytes, descriptors, and bytes of the same message that are left.
fn told(received: Option<Received>) -> Option<(usize, usize, usize)> {
    received.map(|got| match got.rights {
        Some(rights) => (got.len, rights.files().len(), got.left as usize),
        None => (got.len, 0, 0),
    })
}

const KINDS: [Framing; 3] = [Framing::Stream, Framing::Datagrams, Framing::Packets];

#[test]
fn a_chain_is_closed_link_by_link() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    for framing in KINDS {
        let mut last = pair(net, caller, framing).1;
        for _ in 0..20_000 {
            let (near, far) = pair(net, caller, framing);
            send(net, &near, b"x", &[&last]).unwrap();
            last = far;
        }
        assert_eq!(net.flights().count(), 20_000);
        drop(last);
        assert_eq!((net.flights().count(), caller.account.used()), (0, 0));
    }
}

#[test]
fn circles_are_collected_once_nobody_has_them() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    for framing in KINDS {
        let ((a, b), (c, d)) = (pair(net, caller, framing), pair(net, caller, framing));
        send(net, &a, b"x", &[&b, &b, &c]).unwrap();
        assert!(net.flights().collect(), "it can become lost");
        send(net, &c, b"y", &[&d, &b]).unwrap();
        send(net, &b, b"z", &[&d]).unwrap();
        // One of them keeps all that it leads to.
        let kept = d.clone();
        drop((a, b, c, d));
        assert!(net.flights().collect());
        assert_eq!(net.flights().count(), 2);
        assert_eq!(told(receive(&kept, 4, true)), Some((1, 2, 0)));
        assert!(net.flights().collect());
        drop(kept);
        assert!(!net.flights().collect());
        assert_eq!((net.flights().count(), caller.account.used()), (0, 0));
    }
}

#[test]
fn a_listener_in_the_queue_of_its_own_connection_is_collected() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    let name = Address::Local(b"/run/c".to_vec().into());
    let listener = open(SocketFile::local(net, Framing::Stream));
    socket(&listener).bind(caller, &name).unwrap();
    socket(&listener).listen(caller, 4).unwrap();
    let connect = || {
        let near = open(SocketFile::local(net, Framing::Stream));
        socket(&near).connect_now(caller, &name).unwrap();
        near
    };
    let (first, second) = (connect(), connect());
    send(net, &first, b"x", &[&listener]).unwrap();
    send(net, &second, b"y", &[&listener, &first]).unwrap();
    // Accepted: its queue is its own now, which somebody has.
    let accepted = open(socket(&listener).accept_now().unwrap().unwrap().socket);
    drop(listener);
    assert!(net.flights().collect());
    assert_eq!(net.flights().count(), 2);
    drop((first, accepted));
    assert_eq!(net.flights().count(), 1);
    assert!(!net.flights().collect());
    drop(second);
    assert_eq!((net.flights().count(), caller.account.used()), (0, 0));
}

#[test]
fn descriptors_come_with_their_bytes() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    let (a, b) = pair(net, caller, Framing::Stream);
    let (other, _peer) = pair(net, caller, Framing::Stream);
    for (bytes, files) in [(2, 0), (3, 1), (2, 2), (2, 0)] {
        send(net, &a, &pattern(0, bytes), &vec![&other; files]).unwrap();
    }
    assert_eq!(told(receive(&b, 1, false)), Some((1, 0, 0)));
    assert_eq!(told(receive(&b, 9, true)), Some((4, 1, 0)));
    assert_eq!(told(receive(&b, 2, false)), Some((2, 1, 2)));
    assert_eq!(told(receive(&b, 9, false)), Some((4, 2, 0)));
    assert_eq!(told(receive(&b, 9, false)), Some((2, 0, 0)));
    assert_eq!(told(receive(&b, 9, false)), None);
    // Where nobody reads any more they stay with who would have sent them.
    drop(b);
    let mut left = Some(rights(net, &[&other]));
    assert!(socket(&a).send_with_now(caller, &mut Source::kernel(b"x"), None, &mut left).is_err());
    assert!(left.is_some() && net.flights().count() == 0);
}

#[test]
fn a_plain_read_closes_what_comes_with_the_bytes() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    for framing in [Framing::Stream, Framing::Packets] {
        let (a, b) = pair(net, caller, framing);
        let (other, peer) = pair(net, caller, framing);
        send(net, &a, b"xy", &[&other]).unwrap();
        drop(other);
        let read = |open: &Arc<OpenFile>| open.file().read_now(caller, 0, &mut Sink::kernel(&mut [0; 4]));
        assert_eq!((read(&peer), net.flights().count()), (Ok(None), 1));
        assert_eq!((read(&b), net.flights().count()), (Ok(Some(2)), 0));
        assert_eq!(read(&peer), Ok(Some(0)));
    }
}
