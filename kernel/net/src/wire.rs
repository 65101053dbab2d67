//! A look at a frame before the stack sees it: is it a request for a new connection, and from whom?
//!
//! The frame comes from the network; everything is checked by the library's parsers before it is read.

use core::net::SocketAddrV4;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};

/// A TCP segment that asks for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Who asks.
    pub peer: SocketAddrV4,
    /// For which of our addresses.
    pub local: SocketAddrV4,
}

/// The request in `frame`, if it is one.
pub(crate) fn request(frame: &[u8], ethernet: bool) -> Option<Request> {
    if !ethernet {
        return packet_request(frame);
    }
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => packet_request(frame.payload()),
        _ => None,
    }
}

fn packet_request(packet: &[u8]) -> Option<Request> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    if packet.next_header() != IpProtocol::Tcp || packet.frag_offset() != 0 || packet.more_frags() {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    if !segment.syn() || segment.ack() || segment.rst() || segment.fin() {
        return None;
    }
    Some(Request {
        peer: SocketAddrV4::new(packet.src_addr(), segment.src_port()),
        local: SocketAddrV4::new(packet.dst_addr(), segment.dst_port()),
    })
}
