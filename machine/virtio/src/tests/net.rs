//! The network driver: buffers going round, room, and devices that lie.

use super::*;
use crate::{MAX_PACKET, Net};

fn net() -> (Net<FakeTransport>, FakeDevice) {
    let config = [2, 4, 6, 8, 10, 12, 1, 0];
    let (transport, device) = fake::device(DeviceType::Network, 1 << 5 | 1 << 16, &config);
    (Net::new(transport).unwrap(), device)
}

#[test]
fn packets_are_received_and_buffers_go_round() {
    let (net, device) = net();
    assert_eq!((net.mac(), net.is_link_up()), ([2, 4, 6, 8, 10, 12], true));
    let mut packet = [0; MAX_PACKET];
    let (count, waker) = waker();
    for round in 0..200_u8 {
        let chain = device.take(0).unwrap();
        fake::write(chain.segments[0].0 + 12, &[round; 60]);
        assert!(net.poll_receive(&mut Context::from_waker(&waker)).is_pending());
        assert!(device.wants_interrupts(0));
        device.put(0, chain.head.into(), 72);
        net.interrupt();
        assert!(!device.wants_interrupts(0));
        assert_eq!(net.receive(&mut packet), Ok(Some(60)));
        assert_eq!(packet[..60], [round; 60]);
        assert_eq!(net.receive(&mut packet), Ok(None));
        assert!(device.wants_interrupts(0));
    }
    assert_eq!(count.0.load(Ordering::SeqCst), 200);
    assert_eq!(device.take_all(0).len(), 64);
}

#[test]
fn a_packet_that_lies_about_its_length_breaks_the_device() {
    for len in [11, 12 + MAX_PACKET as u32 + 1, u32::MAX] {
        let (net, device) = net();
        let (count, waker) = waker();
        assert!(net.poll_receive(&mut Context::from_waker(&waker)).is_pending());
        device.put(0, device.take(0).unwrap().head.into(), len);
        assert_eq!(net.receive(&mut [0; MAX_PACKET]), Err(Error::Broken));
        assert_eq!(net.reserve().err(), Some(Error::Broken));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(device.status().is_empty());
    }
}

#[test]
fn sending_has_back_pressure() {
    let (net, device) = net();
    for n in 0..64_u8 {
        net.reserve().unwrap().unwrap().send(&[n; 60]).unwrap();
    }
    assert!(net.reserve().unwrap().is_none() && !net.has_room());
    let (count, waker) = waker();
    assert!(!device.wants_interrupts(1));
    assert!(net.poll_transmit(&mut Context::from_waker(&waker)).is_pending());
    assert!(device.wants_interrupts(1));
    let chains = device.take_all(1);
    let (address, len, writable) = chains[5].segments[0];
    assert_eq!((len, writable), (72, false));
    assert_eq!(fake::read(address, 72), [[0; 12].as_slice(), &[5; 60]].concat());
    device.put(1, chains[5].head.into(), 0);
    net.interrupt();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    let slot = net.reserve().unwrap().unwrap();
    // The one free buffer is promised.
    assert!(net.reserve().unwrap().is_none());
    drop(slot);
    assert!(net.reserve().unwrap().is_some());
}

#[test]
fn packets_that_do_not_fit_are_refused() {
    let (net, device) = net();
    assert_eq!(net.reserve().unwrap().unwrap().send(&[0; MAX_PACKET + 1]), Err(Error::Invalid));
    assert_eq!(net.reserve().unwrap().unwrap().send(&[]), Err(Error::Invalid));
    net.reserve().unwrap().unwrap().send(&[0; MAX_PACKET]).unwrap();
    assert_eq!(device.take_all(1).len(), 1);
}
