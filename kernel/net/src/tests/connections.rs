//! Many connections: each is found by its addresses, has its turn once, and its timer.

use crate::{
    connections::{Connections, Handle},
    device::{Adapter, NetDevice},
    loopback::Loopback,
    signal::Signal,
    stack::instant,
    wire::{self, Kind},
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::{
    iface::{Config, Interface},
    socket::tcp,
    wire::{HardwareAddress, IpEndpoint},
};

const NOW: u64 = 1_000_000_000;

struct Bench {
    device: Loopback,
    iface: Interface,
    connections: Connections,
}

fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

impl Bench {
    fn new() -> Self {
        let device = Loopback::new();
        let iface = Interface::new(Config::new(HardwareAddress::Ip), &mut Adapter::sending(&device), instant(NOW));
        let mut bench = Self { device, iface, connections: Connections::default() };
        bench.iface.set_any_ip(true);
        bench.iface.update_ip_addrs(|list| {
            let _ = list.push(smoltcp::wire::IpCidr::new(Ipv4Addr::LOCALHOST.into(), 8));
        });
        bench
    }

    fn socket() -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket
    }

    /// Two that are connected, and the signal of the second.
    fn pair(&mut self, port: u16) -> (Handle, Handle, Arc<Signal>) {
        let near = self.connect(port);
        let (mut far, signal) = (Self::socket(), Signal::new());
        far.listen(1).unwrap();
        let far = self.connections.add(far, (local(1), local(port)), signal.clone());
        while self.send(NOW, 9) + self.deliver() > 0 {}
        (near, far, signal)
    }

    /// Has each packet that is under way taken by the connection that it is for; how many.
    fn deliver(&mut self) -> usize {
        let mut frames = Vec::new();
        while self.device.receive(&mut |frame| frames.push(frame.to_vec())) {}
        for frame in &frames {
            let Kind::Segment(segment) = wire::kind(frame, false) else { panic!("another packet") };
            let handle = self.connections.find((segment.local, segment.peer)).unwrap();
            let mut device = Adapter::receiving(&self.device, frame);
            self.connections.receive(&mut self.iface, &mut device, instant(NOW), handle);
        }
        frames.len()
    }

    /// One that begins to connect to port 1.
    fn connect(&mut self, port: u16) -> Handle {
        let mut socket = Self::socket();
        let to: IpEndpoint = (Ipv4Addr::LOCALHOST, 1).into();
        socket.connect(self.iface.context(), to, (Ipv4Addr::LOCALHOST, port)).unwrap();
        self.connections.add(socket, (local(port), local(1)), Signal::new())
    }

    fn send(&mut self, now: u64, most: usize) -> usize {
        let mut device = Adapter::sending(&self.device);
        self.connections.expire(instant(now), usize::MAX);
        self.connections.send(&mut self.iface, &mut device, instant(now), most)
    }

    /// Packets under way, which are lost.
    fn lose(&self) -> usize {
        (0..).take_while(|_| self.device.receive(&mut |_| {})).count()
    }
}

#[test]
fn each_has_its_turn_once() {
    let mut bench = Bench::new();
    let handles: Vec<Handle> = (100..150).map(|port| bench.connect(port)).collect();
    for handle in &handles {
        bench.connections.touch(*handle);
    }
    assert_eq!((bench.send(NOW, 20), bench.lose()), (20, 20));
    assert!(bench.connections.has_due());
    assert_eq!((bench.send(NOW, 50), bench.lose()), (30, 30));
    assert!(!bench.connections.has_due());
    // One that has nothing to say costs its turn, and the others none.
    bench.connections.touch(handles[7]);
    assert_eq!((bench.send(NOW, 50), bench.connections.has_due()), (0, false));
    assert_eq!(bench.connections.find((local(107), local(1))), Some(handles[7]));
    assert_eq!(bench.connections.find((local(99), local(1))), None);
}

#[test]
fn timers_run_out_in_order() {
    let mut bench = Bench::new();
    let first = bench.connect(100);
    assert_eq!((bench.send(NOW, 9), bench.lose()), (1, 1));
    let later = NOW + 500_000_000;
    let second = bench.connect(101);
    assert_eq!((bench.send(later, 9), bench.lose()), (1, 1));
    let timer = bench.connections.first_timer().unwrap();
    assert!(timer > instant(later));
    assert_eq!(bench.send(later, 9), 0);
    // Only the first sends again.
    let now = timer.total_micros() as u64 * 1000;
    assert_eq!((bench.send(now, 9), bench.lose()), (1, 1));
    assert!(bench.connections.first_timer().unwrap() > timer);
    bench.connections.remove(second);
    bench.connections.remove(first);
    assert_eq!((bench.connections.first_timer(), bench.connections.len()), (None, 0));
}

#[test]
fn timers_of_a_millisecond_run_out_together() {
    let mut bench = Bench::new();
    for (port, later) in [(100, 100_000), (101, 800_000)] {
        bench.connect(port);
        assert_eq!((bench.send(NOW + later, 9), bench.lose()), (1, 1));
    }
    let timer = bench.connections.first_timer().unwrap();
    let now = timer.total_micros() as u64 * 1000;
    assert_eq!((bench.send(now, 9), bench.lose()), (2, 2));
}

#[test]
fn one_that_is_gone_is_not_the_next_in_its_place() {
    let mut bench = Bench::new();
    let (first, kept) = (bench.connect(100), bench.connect(101));
    bench.connections.touch(first);
    bench.connections.remove(first);
    let next = bench.connect(102);
    assert_ne!(first, next);
    bench.connections.touch(first);
    assert_eq!((bench.send(NOW, 9), bench.lose()), (2, 2));
    // Of two with the same addresses the newer is found, also when the older goes.
    let newer = bench.connect(101);
    bench.connections.remove(kept);
    assert_eq!(bench.connections.find((local(101), local(1))), Some(newer));
    assert_eq!(bench.connections.len(), 2);
}

#[test]
fn who_sends_by_itself_leaves_no_turn_behind() {
    let mut bench = Bench::new();
    let handle = bench.connect(100);
    let mut device = Adapter::sending(&bench.device);
    assert!(bench.connections.has_due());
    assert_eq!(bench.connections.send_one(&mut bench.iface, &mut device, instant(NOW), handle), 1);
    assert!(!bench.connections.has_due());
    // What is left of its turn is no turn of the next.
    bench.connections.touch(handle);
    bench.connections.remove(handle);
    assert!(!bench.connections.has_due());
    bench.connect(101);
    assert_eq!((bench.lose(), bench.send(NOW, 9), bench.lose()), (1, 1, 1));
}

#[test]
fn what_comes_is_told_behind_the_lock() {
    let mut bench = Bench::new();
    let (near, far, signal) = bench.pair(100);
    bench.connections.take_told().tell();
    assert!(bench.connections.take_changed());
    let before = signal.changes();
    for connections in 0..4 {
        let next = bench.pair(101 + connections);
        assert_ne!(next.1, far);
    }
    bench.connections.socket(near).send_slice(b"one").unwrap();
    bench.connections.touch(near);
    assert_eq!((bench.send(NOW, 1), bench.deliver(), signal.changes()), (1, 1, before));
    bench.connections.take_told().tell();
    assert_eq!((signal.changes(), bench.connections.socket(far).recv_queue()), (before + 1, 3));
    bench.connections.take_told().tell();
    assert_eq!(signal.changes(), before + 1);
}

#[test]
fn what_comes_for_one_that_nobody_reads_is_for_the_coroutine() {
    let mut bench = Bench::new();
    let (near, far, _) = bench.pair(100);
    assert!(bench.connections.take_changed());
    for deserted in [false, true] {
        if deserted {
            let read = bench.connections.socket(far).recv(|bytes| (bytes.len(), bytes.len())).unwrap();
            assert_eq!(read, 3);
            bench.connections.desert(far);
        }
        bench.connections.socket(near).send_slice(b"one").unwrap();
        bench.connections.touch(near);
        assert_eq!((bench.send(NOW, 1), bench.deliver(), bench.connections.take_changed()), (1, 1, deserted));
    }
}
