//! Local datagrams: who pays, who is told of room, what a full queue and a change of the peer do.

use super::World;
use crate::{Address, Framing, Received, SocketFile};
use abi::{
    errno::Errno,
    poll::{EPOLLERR, EPOLLIN, EPOLLOUT},
};
use alloc::{sync::Arc, vec, vec::Vec};
use io::{
    caller::Caller,
    file::{Attempt, File, IoError},
};
use mem::{Account, Sink, Source};

fn caller() -> Caller {
    Caller::kernel(16, Account::new(None, 1 << 22))
}

fn name(text: &str) -> Address {
    Address::Local([b"\0", text.as_bytes()].concat().into())
}

fn plain<T>(attempt: Attempt<T>) -> Result<Option<T>, Errno> {
    attempt.map_err(|error| match error {
        IoError::Errno(errno) => errno,
        fault => panic!("{fault:?}"),
    })
}

struct Host {
    world: World,
    caller: Caller,
}

impl Host {
    fn new() -> Self {
        Self { world: World::new(0), caller: caller() }
    }

    fn socket(&self, text: &str) -> Arc<SocketFile> {
        let socket = SocketFile::local(&self.world.hosts[0], Framing::Datagrams);
        if !text.is_empty() {
            socket.bind(&self.caller, &name(text)).unwrap();
        }
        socket
    }

    fn send(&self, from: &SocketFile, bytes: &[u8], to: Option<&str>) -> Result<Option<usize>, Errno> {
        plain(from.send_now(&self.caller, &mut Source::kernel(bytes), to.map(name).as_ref()))
    }

    fn connect(&self, socket: &SocketFile, to: &str) -> Result<Option<()>, Errno> {
        plain(socket.connect_now(&self.caller, &name(to)))
    }
}

fn receive(from: &SocketFile) -> Result<Option<(usize, Option<Address>)>, Errno> {
    let got = plain(from.receive_now(&mut Sink::kernel(&mut [0; 8]), false))?;
    Ok(got.map(|Received { full, from, .. }| (full, from)))
}

#[test]
fn senders_pay_until_it_is_received() {
    let host = Host::new();
    let (server, client) = (host.socket("s"), host.socket("c"));
    let idle = host.caller.account.used();
    assert_eq!(host.send(&client, &vec![1; 60_000], Some("s")), Ok(Some(60_000)));
    assert!(host.caller.account.used() >= idle + 60_000);
    assert_eq!(receive(&server), Ok(Some((60_000, Some(name("c"))))));
    assert_eq!(host.caller.account.used(), idle);
    // Who cannot pay is refused, and leaves nothing.
    let poor = Caller::kernel(16, Account::new(None, 1000));
    let sent = client.send_now(&poor, &mut Source::kernel(&[0; 2000]), Some(&name("s")));
    assert_eq!((plain(sent), poor.account.used()), (Err(Errno::ENOBUFS), 0));
    assert_eq!(receive(&server), Ok(None));
    // What was not received goes with the reader, and the name with it.
    host.send(&client, b"x", Some("s")).unwrap();
    drop(server);
    assert_eq!(host.send(&client, b"x", Some("s")), Err(Errno::ECONNREFUSED));
    host.socket("s");
    drop(client);
    assert_eq!(host.caller.account.used(), 0);
}

fn fill(host: &Host, from: &SocketFile) -> usize {
    (0..10_000).take_while(|_| host.send(from, b"x", None) == Ok(Some(1))).count()
}

#[test]
fn who_found_no_room_is_told_of_it_once() {
    let host = Host::new();
    let server = host.socket("s");
    let clients: Vec<_> = (0..3).map(|_| host.socket("")).collect();
    for client in &clients {
        host.connect(client, "s").unwrap();
    }
    assert_eq!(fill(&host, &clients[0]), 11);
    let edges = || clients.iter().map(|client| client.edges()).collect::<Vec<_>>();
    // The first has tried, the second looks twice, the third does not.
    assert_eq!((clients[1].events(), clients[1].events()), (0, 0));
    let before = edges();
    receive(&server).unwrap();
    let after = edges();
    assert_eq!([0, 1, 2].map(|client| after[client] - before[client]), [1, 1, 0]);
    receive(&server).unwrap();
    assert_eq!(edges(), after);
    // Who takes another peer, or goes, is expected no more.
    assert_eq!(fill(&host, &clients[0]), 2);
    assert_eq!(clients[1].events(), 0);
    clients[1].disconnect(&host.caller).unwrap();
    let before = edges();
    drop(server);
    let after = edges();
    assert_eq!([0, 1].map(|client| after[client] - before[client]), [1, 0]);
    assert_ne!(clients[0].events() & EPOLLOUT, 0);
}

#[test]
fn a_reader_that_goes_is_gone_for_those_whom_it_did_not_hear() {
    let host = Host::new();
    let (server, client, other) = (host.socket("s"), host.socket(""), host.socket("o"));
    host.connect(&client, "s").unwrap();
    assert_eq!(fill(&host, &client), 11);
    let before = client.edges();
    // Another peer is another answer, of which who waits for room hears.
    host.connect(&server, "o").unwrap();
    assert_eq!(client.edges(), before + 1);
    assert_eq!(host.send(&client, b"x", None), Err(Errno::EPERM));
    drop((server, other));
    assert_eq!(host.send(&client, b"x", None), Err(Errno::ECONNREFUSED));
    assert_eq!(host.send(&client, b"x", None), Err(Errno::ENOTCONN));
}

/// A peer has more room than others, and that is bounded in bytes.
#[test]
fn peers_have_more_room() {
    let host = Host::new();
    let (a, b) = SocketFile::pair(&host.world.hosts[0], &host.caller, Framing::Datagrams).unwrap();
    assert_eq!(fill(&host, &a), 512);
    assert_eq!(a.events() & (EPOLLIN | EPOLLOUT), 0);
    while receive(&b).unwrap().is_some() {}
    let big = (0..100).take_while(|_| host.send(&a, &vec![0; 65_536], None) == Ok(Some(65_536))).count();
    assert_eq!(big, 4);
    assert_eq!(host.send(&a, &vec![0; 65_537], None), Err(Errno::EMSGSIZE));
    drop((a, b));
    assert_eq!(host.caller.account.used(), 0);
}

#[test]
fn what_another_peer_makes_of_messages() {
    let host = Host::new();
    let (a, b) = (host.socket("a"), host.socket("b"));
    host.connect(&a, "b").unwrap();
    host.connect(&b, "a").unwrap();
    host.send(&a, b"x", None).unwrap();
    // The same once more changes nothing.
    host.connect(&b, "a").unwrap();
    assert_eq!(receive(&b), Ok(Some((1, Some(name("a"))))));
    host.send(&a, b"x", None).unwrap();
    b.disconnect(&host.caller).unwrap();
    assert_ne!(a.events() & EPOLLERR, 0);
    assert_eq!((receive(&a), receive(&a), receive(&b)), (Err(Errno::ECONNRESET), Ok(None), Ok(None)));
    assert_eq!(a.peer_address(), Ok(name("b")));
    // Without messages nobody hears of it.
    host.connect(&b, "a").unwrap();
    b.disconnect(&host.caller).unwrap();
    assert_eq!(a.events() & EPOLLERR, 0);
}

/// Names that nobody gave are looked for until one is free.
#[test]
fn any_name_is_a_free_one() {
    let host = Host::new();
    let taken: Vec<_> = (0..3).map(|number| host.socket(&alloc::format!("{number:05x}"))).collect();
    let socket = host.socket("");
    socket.bind(&host.caller, &Address::Local(Vec::new().into())).unwrap();
    assert_eq!(socket.local_address(), name("00003"));
    assert_eq!(socket.bind(&host.caller, &name("other")), Err(Errno::EINVAL));
    drop((taken, socket));
    assert_eq!(host.caller.account.used(), 0);
}
