//! A look at a frame before the stack sees it: which connection it is for, and whether it asks for a new one.
//!
//! The frame comes from the network; everything is checked by the library's parsers before it is read.

use core::net::SocketAddrV4;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};

/// What a frame is, as far as the stack has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A segment of TCP.
    Segment(Segment),
    /// It says who has which address.
    NextHop,
    /// Anything else.
    Other,
}

/// Between whom a segment of TCP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Who sent it.
    pub peer: SocketAddrV4,
    /// To which of our addresses.
    pub local: SocketAddrV4,
    /// It asks for a new connection.
    pub asks: bool,
}

/// What `frame` is.
pub(crate) fn kind(frame: &[u8], ethernet: bool) -> Kind {
    if !ethernet {
        return packet_kind(frame);
    }
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return Kind::Other };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => packet_kind(frame.payload()),
        EthernetProtocol::Arp => Kind::NextHop,
        _ => Kind::Other,
    }
}

fn packet_kind(packet: &[u8]) -> Kind {
    segment(packet).map_or(Kind::Other, Kind::Segment)
}

fn segment(packet: &[u8]) -> Option<Segment> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    if packet.next_header() != IpProtocol::Tcp || packet.frag_offset() != 0 || packet.more_frags() {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    Some(Segment {
        peer: SocketAddrV4::new(packet.src_addr(), segment.src_port()),
        local: SocketAddrV4::new(packet.dst_addr(), segment.dst_port()),
        asks: segment.syn() && !segment.ack() && !segment.rst() && !segment.fin(),
    })
}
