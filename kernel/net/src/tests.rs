//! Two hosts on a bad wire, one host with itself, and hostile frames. Time is the test's, not the machine's.

use crate::{
    Accepted, Address, Configuration, Direction, Framing, Link, Net, NetDevice, SocketFile, SocketOption, SocketValue,
};
use abi::errno::Errno;
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec, vec::Vec};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::{Context, Poll};
use io::{
    caller::Caller,
    file::{File, IoError},
};
use mem::{Account, Sink, Source};
use std::sync::Mutex;

mod connections;
mod corners;
mod fused;
mod local;
mod local_datagrams;
mod rights;
mod wired;

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A small generator; the tests need variety, not quality.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.next().is_multiple_of(n)
    }
}

/// A wire that loses, repeats and reorders one frame in so many (0: never).
struct Wire {
    to: [VecDeque<Vec<u8>>; 2],
    random: Random,
    bad: u64,
}

struct Card {
    wire: Arc<Mutex<Wire>>,
    side: usize,
}

impl NetDevice for Card {
    fn link(&self) -> Link {
        Link::Ethernet([2, 0, 0, 0, 0, self.side as u8 + 1])
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn receive(&self, take: &mut dyn FnMut(&[u8])) -> bool {
        let frame = self.wire.lock().unwrap().to[self.side].pop_front();
        frame.map(|frame| take(&frame)).is_some()
    }

    fn can_transmit(&self) -> bool {
        self.wire.lock().unwrap().to[1 - self.side].len() < 256
    }

    fn transmit(&self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut frame = vec![0; len];
        fill(&mut frame);
        let mut wire = self.wire.lock().unwrap();
        let bad = wire.bad;
        if wire.random.one_in(bad) {
            return;
        }
        let twice = wire.random.one_in(bad);
        let early = wire.random.one_in(bad);
        let queue = &mut wire.to[1 - self.side];
        if twice {
            queue.push_back(frame.clone());
        }
        if early { queue.push_front(frame) } else { queue.push_back(frame) }
    }

    fn poll_ready(&self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

struct World {
    hosts: Vec<Arc<Net>>,
    wire: Arc<Mutex<Wire>>,
    caller: Caller,
    now: u64,
    /// The next timer.
    next: Option<u64>,
}

impl World {
    fn new(bad: u64) -> Self {
        let wire = Wire { to: Default::default(), random: Random(bad + 7), bad };
        let wire = Arc::new(Mutex::new(wire));
        let hosts = [A, B].iter().enumerate().map(|(side, &address)| {
            let net = Net::new(Some(Box::new(Card { wire: wire.clone(), side })), 99 + side as u64);
            net.configure(Configuration { address, prefix: 24, gateway: None });
            net
        });
        let caller = Caller::kernel(8, Account::new(None, 256 << 20));
        Self { hosts: hosts.collect(), wire: wire.clone(), caller, now: hal::time::now(), next: None }
    }

    /// Lets time pass to the next timer, then works until nobody has anything to do: who sends afterwards does so at that time.
    fn step(&mut self) {
        self.now = self.next.unwrap_or(self.now).clamp(self.now + 1_000_000, self.now + 1_000_000_000);
        let mut next = None::<u64>;
        for _ in 0..10_000 {
            let mut busy = false;
            next = None;
            for stack in self.hosts.iter().flat_map(|host| host.stacks()) {
                let progress = stack.poll(self.now);
                busy |= progress.more;
                next = [next, progress.deadline].into_iter().flatten().min();
            }
            busy |= self.wire.lock().unwrap().to.iter().any(|queue| !queue.is_empty());
            if !busy {
                break;
            }
        }
        self.next = next;
    }

    fn until<T>(&mut self, mut attempt: impl FnMut(&Caller) -> Option<T>) -> T {
        for _ in 0..100_000 {
            if let Some(value) = attempt(&self.caller) {
                return value;
            }
            self.step();
        }
        panic!("nothing happened");
    }

    fn listen(&self, host: usize, ip: Ipv4Addr, port: u16, backlog: usize) -> Arc<SocketFile> {
        let socket = SocketFile::tcp(&self.hosts[host]);
        socket.bind(&self.caller, &v4(ip, port)).unwrap();
        socket.listen(&self.caller, backlog).unwrap();
        socket
    }

    fn connect(&mut self, host: usize, to: Address) -> Result<Arc<SocketFile>, Errno> {
        let socket = SocketFile::tcp(&self.hosts[host]);
        assert_eq!(socket.connect_now(&self.caller, &to), Ok(None));
        self.until(|_| match socket.connect_result() {
            Ok(None) => None,
            Ok(Some(())) => Some(Ok(())),
            Err(IoError::Errno(errno)) => Some(Err(errno)),
            Err(fault) => panic!("{fault:?}"),
        })
        .map(|()| socket)
    }

    fn accept(&mut self, listener: &SocketFile) -> Accepted {
        self.until(|_| listener.accept_now().unwrap())
    }

    /// A connection from host 0 to host 1: its two ends, and the listener.
    fn connection(&mut self) -> (Arc<SocketFile>, Arc<SocketFile>, Arc<SocketFile>) {
        let listener = self.listen(1, Ipv4Addr::UNSPECIFIED, 80, 4);
        let near = self.connect(0, v4(B, 80)).unwrap();
        let far = self.accept(&listener).socket;
        (near, far, listener)
    }

    fn assert_clean(&mut self) {
        for _ in 0..400 {
            self.step();
        }
        for host in &self.hosts {
            assert_eq!(host.ports_held(), 0, "ports");
            assert!(host.stacks().all(|stack| stack.socket_count() == 0), "sockets");
        }
        assert_eq!(self.caller.account.used(), 0, "bytes charged");
        for stack in self.hosts.iter().flat_map(|host| host.stacks()) {
            let idle = crate::stack::Progress { more: false, deadline: None };
            assert_eq!(stack.poll(self.now), idle, "a stack without sockets sleeps");
        }
    }
}

fn v4(ip: Ipv4Addr, port: u16) -> Address {
    Address::V4(SocketAddrV4::new(ip, port))
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    let mut random = Random(seed as u64);
    (0..len).map(|_| random.next() as u8).collect()
}

fn send(socket: &SocketFile, caller: &Caller, bytes: &[u8]) -> Option<usize> {
    socket.send_now(caller, &mut Source::kernel(bytes), None).unwrap()
}

/// Reads what is there; `Some(true)` at the end.
fn read_to_end(socket: &SocketFile, into: &mut Vec<u8>) -> bool {
    let mut piece = vec![0; 3000];
    while let Some(received) = socket.receive_now(&mut Sink::kernel(&mut piece), false).unwrap() {
        if received.len == 0 {
            return true;
        }
        into.extend_from_slice(&piece[..received.len]);
    }
    false
}

/// One client and one server that exchange `len` bytes in both directions at once.
struct Exchange {
    near: Arc<SocketFile>,
    far: Option<Arc<SocketFile>>,
    data: Vec<u8>,
    sent: [usize; 2],
    got: [Vec<u8>; 2],
    ended: [bool; 2],
}

impl Exchange {
    fn advance(&mut self, caller: &Caller) {
        let Some(far) = &self.far else { return };
        for (side, (from, to)) in [(&self.near, far), (far, &self.near)].into_iter().enumerate() {
            while self.sent[side] < self.data.len() {
                match send(from, caller, &self.data[self.sent[side]..]) {
                    Some(done) => self.sent[side] += done,
                    None => break,
                }
                if self.sent[side] == self.data.len() {
                    from.shutdown(Direction::Write).unwrap();
                }
            }
            self.ended[side] = self.ended[side] || read_to_end(to, &mut self.got[side]);
        }
    }
}

fn exchange(world: &mut World, connections: usize, len: usize) {
    let listener = world.listen(1, Ipv4Addr::UNSPECIFIED, 80, connections);
    let mut all = Vec::new();
    for seed in 0..connections {
        let near = SocketFile::tcp(&world.hosts[0]);
        assert_eq!(near.connect_now(&world.caller, &v4(B, 80)), Ok(None));
        let data = pattern(seed, len);
        all.push(Exchange { near, far: None, data, sent: [0; 2], got: Default::default(), ended: [false; 2] });
    }
    let mut accepted = 0;
    world.until(|caller| {
        while let Some(Accepted { socket, peer }) = listener.accept_now().unwrap() {
            let found = all.iter_mut().find(|one| one.near.local_address() == peer).unwrap();
            found.far = Some(socket);
            accepted += 1;
        }
        all.iter_mut().for_each(|one| one.advance(caller));
        all.iter().all(|one| one.ended == [true; 2]).then_some(())
    });
    assert_eq!(accepted, connections);
    for one in &all {
        assert!(one.got[0] == one.data && one.got[1] == one.data);
    }
}

#[test]
fn bytes_arrive_over_a_good_wire() {
    let mut world = World::new(0);
    exchange(&mut world, 2, 3_000_000);
    world.assert_clean();
}

#[test]
fn bytes_arrive_over_a_bad_wire() {
    let mut world = World::new(20);
    exchange(&mut world, 3, 300_000);
    world.assert_clean();
}

#[test]
fn sixty_four_at_once() {
    let mut world = World::new(0);
    exchange(&mut world, 64, 20_000);
    world.assert_clean();
    let mut world = World::new(25);
    exchange(&mut world, 64, 5_000);
    world.assert_clean();
}

#[test]
fn data_written_before_the_close_arrives() {
    let mut world = World::new(10);
    let (near, far, listener) = world.connection();
    let data = pattern(1, 50_000);
    assert_eq!(send(&near, &world.caller, &data), Some(50_000));
    drop(near);
    let mut got = Vec::new();
    world.until(|_| read_to_end(&far, &mut got).then_some(()));
    assert!(got == data);
    drop((far, listener));
    world.assert_clean();
}

#[test]
fn a_closed_port_refuses() {
    let mut world = World::new(0);
    assert_eq!(world.connect(0, v4(B, 81)).err(), Some(Errno::ECONNREFUSED));
    assert_eq!(world.connect(0, v4(Ipv4Addr::LOCALHOST, 81)).err(), Some(Errno::ECONNREFUSED));
    world.assert_clean();
}

#[test]
fn unread_data_resets_the_peer() {
    let mut world = World::new(0);
    let (near, far, listener) = world.connection();
    send(&near, &world.caller, b"never read");
    world.step();
    drop(far);
    world.step();
    world.step();
    let mut byte = [0];
    assert_ne!(near.events() & abi::poll::EPOLLERR, 0);
    let answer = near.receive_now(&mut Sink::kernel(&mut byte), false);
    assert_eq!(answer.err(), Some(IoError::Errno(Errno::ECONNRESET)));
    assert_eq!(near.receive_now(&mut Sink::kernel(&mut byte), false).unwrap().map(|r| r.len), Some(0));
    assert_eq!(near.send_now(&world.caller, &mut Source::kernel(b"x"), None), Err(Errno::EPIPE.into()));
    drop((near, listener));
    world.assert_clean();
}

#[test]
fn half_close_and_poll_events() {
    use abi::poll::{EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};
    let mut world = World::new(0);
    let (near, far, listener) = world.connection();
    assert_eq!(far.events() & (EPOLLIN | EPOLLOUT | EPOLLHUP), EPOLLOUT);
    near.shutdown(Direction::Write).unwrap();
    world.step();
    assert_eq!(far.events() & (EPOLLIN | EPOLLRDHUP | EPOLLHUP), EPOLLIN | EPOLLRDHUP);
    assert_eq!(send(&far, &world.caller, b"still here"), Some(10));
    world.step();
    let mut got = Vec::new();
    assert!(!read_to_end(&near, &mut got));
    assert_eq!(got, b"still here");
    assert_eq!(near.send_now(&world.caller, &mut Source::kernel(b"x"), None), Err(Errno::EPIPE.into()));
    far.shutdown(Direction::Write).unwrap();
    world.step();
    assert!(read_to_end(&near, &mut got));
    assert_ne!(near.events() & EPOLLHUP, 0);
    drop((near, far, listener));
    world.assert_clean();
}

#[test]
fn a_listener_that_goes_resets_who_waits() {
    let mut world = World::new(0);
    // One more than asked for may wait.
    let listener = world.listen(1, B, 80, 0);
    let near = world.connect(0, v4(B, 80)).unwrap();
    // The queue is full: a second request is not answered.
    let second = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(second.connect_now(&world.caller, &v4(B, 80)), Ok(None));
    world.step();
    assert_eq!(second.connect_result(), Ok(None));
    assert_eq!(second.connect_now(&world.caller, &v4(B, 80)), Err(Errno::EALREADY.into()));
    drop(listener);
    let first = world.until(|_| near.receive_now(&mut Sink::kernel(&mut [0]), false).err());
    assert_eq!(first, IoError::Errno(Errno::ECONNRESET));
    assert_eq!(world.until(|_| second.connect_result().err()), IoError::Errno(Errno::ECONNREFUSED));
    drop((near, second));
    world.assert_clean();
}

#[test]
fn an_account_limits_connections() {
    let mut world = World::new(0);
    world.caller.account = Account::new(None, 3 * 2 * crate::stack::BUFFER);
    let one = world.connect(0, v4(Ipv4Addr::LOCALHOST, 1));
    assert!(one.is_err());
    let listener = world.listen(1, B, 80, 9);
    let near = world.connect(0, v4(B, 80)).unwrap();
    let far = world.accept(&listener).socket;
    let third = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(third.connect_now(&world.caller, &v4(B, 80)), Ok(None));
    let fourth = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(fourth.connect_now(&world.caller, &v4(B, 80)), Err(Errno::ENOMEM.into()));
    drop((near, far, third, fourth, listener));
    world.assert_clean();
}

#[test]
fn loopback_is_the_same_tcp() {
    let mut world = World::new(0);
    let listener = world.listen(0, Ipv4Addr::UNSPECIFIED, 8080, 5);
    // All of 127/8 is this host.
    for target in [Ipv4Addr::LOCALHOST, A, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(127, 1, 2, 3)] {
        let near = world.connect(0, v4(target, 8080)).unwrap();
        let Accepted { socket: far, peer } = world.accept(&listener);
        assert_eq!(near.local_address(), peer);
        let data = pattern(9, 200_000);
        let (mut sent, mut got) = (0, Vec::new());
        world.until(|caller| {
            sent += if sent < data.len() { send(&near, caller, &data[sent..]).unwrap_or(0) } else { 0 };
            read_to_end(&far, &mut got);
            (got.len() == data.len()).then_some(())
        });
        assert!(got == data);
    }
    drop(listener);
    world.assert_clean();
}

#[test]
fn an_address_of_loopback_is_one_of_many() {
    let mut world = World::new(0);
    let (ours, other) = (Ipv4Addr::new(127, 0, 0, 7), Ipv4Addr::new(127, 0, 0, 8));
    let listener = world.listen(0, ours, 8080, 5);
    assert!(world.connect(0, v4(other, 8080)).is_err());
    let near = world.connect(0, v4(ours, 8080)).unwrap();
    let Accepted { socket: far, .. } = world.accept(&listener);
    assert_eq!(far.local_address(), near.peer_address().unwrap());
    drop((near, far, listener));
    world.assert_clean();
}

#[test]
fn datagrams() {
    let mut world = World::new(0);
    let server = SocketFile::udp(&world.hosts[1]);
    server.bind(&world.caller, &v4(Ipv4Addr::UNSPECIFIED, 53)).unwrap();
    let client = SocketFile::udp(&world.hosts[0]);
    let caller = world.caller.clone();
    assert_eq!(client.send_now(&caller, &mut Source::kernel(b"?"), None), Err(Errno::EDESTADDRREQ.into()));
    assert_eq!(
        client.send_now(&caller, &mut Source::kernel(&[7; 1473]), Some(&v4(B, 53))),
        Err(Errno::EMSGSIZE.into())
    );
    assert_eq!(client.send_now(&caller, &mut Source::kernel(b"question"), Some(&v4(B, 53))), Ok(Some(8)));
    let mut piece = [0; 4];
    let received = world.until(|_| server.receive_now(&mut Sink::kernel(&mut piece), false).unwrap());
    assert_eq!((received.len, received.full, &piece), (4, 8, b"ques"));
    let from = received.from.unwrap();
    assert_eq!(server.send_now(&caller, &mut Source::kernel(b"answer"), Some(&from)), Ok(Some(6)));
    // A connected socket hears its peer alone.
    client.connect_now(&caller, &v4(B, 54)).unwrap();
    world.step();
    assert!(matches!(client.receive_now(&mut Sink::kernel(&mut piece), false), Ok(None)));
    drop((server, client));
    world.assert_clean();
}

#[test]
fn addresses_in_use_and_unknown() {
    let world = World::new(0);
    let first = world.listen(0, Ipv4Addr::UNSPECIFIED, 80, 1);
    let second = SocketFile::tcp(&world.hosts[0]);
    assert_eq!(second.bind(&world.caller, &v4(A, 80)), Err(Errno::EADDRINUSE));
    assert_eq!(second.bind(&world.caller, &v4(B, 80)), Err(Errno::EADDRNOTAVAIL));
    second.set_option(SocketOption::ReuseAddress, SocketValue::Number(1)).unwrap();
    assert_eq!(second.bind(&world.caller, &v4(A, 80)), Err(Errno::EADDRINUSE));
    drop(first);
    assert_eq!(second.bind(&world.caller, &v4(A, 80)), Ok(()));
    assert_eq!(second.bind(&world.caller, &v4(A, 81)), Err(Errno::EINVAL));
    assert_eq!(second.option(SocketOption::ReuseAddress), SocketValue::Number(1));
    let far = v4(Ipv4Addr::new(192, 0, 2, 1), 80);
    let third = SocketFile::tcp(&world.hosts[0]);
    third.connect_now(&world.caller, &far).unwrap();
}

#[test]
fn ports_run_out_and_come_back() {
    use crate::ports::{Ports, Protocol};
    let ports = Ports::new(5);
    let bind = || ports.bind(Protocol::Udp, crate::address::ANY, false);
    let held: Vec<_> = (0..28_232).map(|_| bind().unwrap()).collect();
    assert_eq!(bind().err(), Some(Errno::EADDRINUSE));
    drop(held);
    assert_eq!(ports.held(), 0);
    assert!(bind().is_ok());
}

#[test]
fn local_streams_and_messages() {
    let world = World::new(0);
    let (net, caller) = (&world.hosts[0], &world.caller);
    let name = Address::Local(b"/run/x".to_vec().into());
    let listener = SocketFile::local(net, Framing::Stream);
    listener.bind(caller, &name).unwrap();
    let near = SocketFile::local(net, Framing::Stream);
    assert_eq!(near.connect_now(caller, &name), Err(Errno::ECONNREFUSED.into()));
    listener.listen(caller, 1).unwrap();
    assert_eq!(near.connect_now(caller, &name), Ok(Some(())));
    let far = listener.accept_now().unwrap().unwrap().socket;
    let data = pattern(3, 100_000);
    let mut sent = send(&near, caller, &data).unwrap();
    assert_eq!(sent, crate::stack::BUFFER);
    assert_eq!(send(&near, caller, &data), None);
    assert_eq!(near.events() & abi::poll::EPOLLOUT, 0);
    let mut got = Vec::new();
    assert!(!read_to_end(&far, &mut got));
    sent += send(&near, caller, &data[sent..]).unwrap();
    drop(near);
    assert!(read_to_end(&far, &mut got));
    assert!(sent == data.len() && got == data);
    drop((far, listener));
    let again = SocketFile::local(net, Framing::Stream);
    assert_eq!(again.bind(caller, &name), Ok(()));
    drop(again);

    let (a, b) = SocketFile::pair(net, caller, Framing::Datagrams).unwrap();
    assert_eq!((send(&a, caller, b"one"), send(&a, caller, b"three")), (Some(3), Some(5)));
    let mut piece = [0; 4];
    let mut next = || b.receive_now(&mut Sink::kernel(&mut piece), false).unwrap().map(|r| (r.len, r.full));
    assert_eq!((next(), next(), next()), (Some((3, 3)), Some((4, 5)), None));
    drop((a, b));
    assert_eq!(caller.account.used(), 0);
}

#[test]
fn hostile_frames_do_no_harm() {
    let mut world = World::new(0);
    let (near, far, listener) = world.connection();
    let mut random = Random(1);
    send(&near, &world.caller, &pattern(1, 4000));
    // Frames of a living connection, to be bent.
    world.hosts[0].stacks().for_each(|stack| _ = stack.poll(world.now));
    let samples: Vec<_> = world.wire.lock().unwrap().to[1].iter().cloned().collect();
    assert!(!samples.is_empty());
    for round in 0..20_000 {
        let mut frame = match round % 4 {
            0 => pattern(round, random.next() as usize % 1600),
            _ => samples[random.next() as usize % samples.len()].clone(),
        };
        for _ in 0..random.next() % 4 {
            let at = random.next() as usize % frame.len().max(1);
            if let Some(byte) = frame.get_mut(at % 64) {
                *byte = random.next() as u8;
            }
        }
        if random.one_in(3) {
            frame.truncate(random.next() as usize % (frame.len() + 1));
        }
        world.wire.lock().unwrap().to[1].push_back(frame);
        world.hosts[1].stacks().for_each(|stack| _ = stack.poll(world.now));
        world.wire.lock().unwrap().to[0].clear();
    }
    // A new connection works.
    let other = world.connect(0, v4(B, 80)).unwrap();
    drop((near, far, other, listener));
    world.assert_clean();
}

/// What a DHCP server answers to `frame`, if it is a request.
fn dhcp_answer(frame: &[u8]) -> Option<Vec<u8>> {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::*;
    let request = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv4Packet::new_checked(request.payload()).ok()?;
    let datagram = UdpPacket::new_checked(packet.payload()).ok().filter(|datagram| datagram.dst_port() == 67)?;
    let message = DhcpPacket::new_checked(datagram.payload()).ok()?;
    let asked = DhcpRepr::parse(&message).ok()?;
    let message_type = match asked.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        _ => DhcpMessageType::Ack,
    };
    let mut answer = asked.clone();
    (answer.message_type, answer.your_ip, answer.router) = (message_type, A, Some(B));
    answer.subnet_mask = Some(Ipv4Addr::new(255, 255, 255, 0));
    answer.server_identifier = Some(B);
    (answer.lease_duration, answer.requested_ip, answer.max_size) = (Some(3600), None, None);
    (answer.parameter_request_list, answer.client_identifier) = (None, None);
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let (src_addr, dst_addr) = (B, Ipv4Addr::BROADCAST);
    let payload_len = udp.header_len() + answer.buffer_len();
    let ip = Ipv4Repr { src_addr, dst_addr, next_header: IpProtocol::Udp, payload_len, hop_limit: 64 };
    let mut bytes = vec![0; 14 + ip.buffer_len() + payload_len];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.set_src_addr(EthernetAddress([2, 0, 0, 0, 0, 9]));
    ethernet.set_dst_addr(request.src_addr());
    ethernet.set_ethertype(EthernetProtocol::Ipv4);
    let checksums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let body = |payload: &mut [u8]| answer.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap();
    udp.emit(&mut datagram, &src_addr.into(), &dst_addr.into(), answer.buffer_len(), body, &checksums);
    Some(bytes)
}

/// Asks for an address for up to 30 s, with or without a server that answers.
fn ask_for_address(served: bool) -> Option<Configuration> {
    let wire = Arc::new(Mutex::new(Wire { to: Default::default(), random: Random(3), bad: 0 }));
    let net = Net::new(Some(Box::new(Card { wire: wire.clone(), side: 0 })), 5);
    let mut asking = core::pin::pin!(net.run_dhcp(3_000_000_000, Configuration::QEMU_USER));
    let mut context = Context::from_waker(core::task::Waker::noop());
    for _ in 0..300 {
        hal::fake::advance(100_000_000);
        exec::timer::on_timer_interrupt();
        assert!(asking.as_mut().poll(&mut context).is_pending());
        net.stacks().for_each(|stack| _ = stack.poll(hal::time::now()));
        let mut wire = wire.lock().unwrap();
        while let Some(frame) = wire.to[1].pop_front() {
            let answer = dhcp_answer(&frame).filter(|_| served);
            wire.to[0].extend(answer);
        }
        if let Some(found) = net.configuration() {
            return Some(found);
        }
    }
    None
}

#[test]
fn an_address_comes_from_the_network_or_the_fallback() {
    let leased = Configuration { address: A, prefix: 24, gateway: Some(B) };
    assert_eq!(ask_for_address(true), Some(leased));
    assert_eq!(ask_for_address(false), Some(Configuration::QEMU_USER));
}

#[test]
fn the_coroutines_drive_it_all() {
    use core::pin::pin;
    let world = World::new(0);
    let net = world.hosts[0].clone();
    let caller = world.caller.clone();
    let loopback = net.stacks().next().unwrap().clone();
    let listener = world.listen(0, Ipv4Addr::LOCALHOST, 7, 5);
    let server = async {
        listener.wait(&caller, io::file::Want::Events(abi::poll::EPOLLIN)).await.unwrap();
        let socket = listener.accept_now().unwrap().unwrap().socket;
        let mut got = Vec::new();
        while !read_to_end(&socket, &mut got) {
            socket.wait(&caller, io::file::Want::Read { offset: 0, len: 1 }).await.unwrap();
        }
        got
    };
    let client = async {
        let socket = SocketFile::tcp(&net);
        assert_eq!(socket.connect_now(&caller, &v4(Ipv4Addr::LOCALHOST, 7)), Ok(None));
        let data = pattern(4, 500_000);
        let mut sent = 0;
        while sent < data.len() {
            match send(&socket, &caller, &data[sent..]) {
                Some(done) => sent += done,
                None => socket.wait(&caller, io::file::Want::Write { offset: 0, len: 1 }).await.unwrap(),
            }
        }
        data
    };
    let mut context = Context::from_waker(core::task::Waker::noop());
    let (mut run, mut server, mut client) = (pin!(loopback.run()), pin!(server), pin!(client));
    let (mut got, mut data) = (None, None);
    for _ in 0..10_000_000 {
        hal::fake::advance(100_000);
        exec::timer::on_timer_interrupt();
        assert!(run.as_mut().poll(&mut context).is_pending());
        if got.is_none()
            && let Poll::Ready(bytes) = server.as_mut().poll(&mut context)
        {
            got = Some(bytes);
        }
        if data.is_none()
            && let Poll::Ready(bytes) = client.as_mut().poll(&mut context)
        {
            data = Some(bytes);
        }
        if got.is_some() && data.is_some() {
            break;
        }
    }
    assert!(got.is_some() && got == data);
}
