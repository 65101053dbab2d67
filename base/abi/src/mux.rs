//! Several byte streams over one UART: the wire format of `console=mux`, and both ends of it.
//!
//! Each direction is a byte stream with a current channel, at first [`Channel::Tty`]. [`DLE`] introduces a control:
//!
//! ```text
//!   DLE DLE              one literal DLE
//!   DLE '0'..='3'        what follows belongs to that channel
//!   DLE 'E'              end of file on the tty             (host to guest)
//!   DLE 's' digits '\n'  exit status of the program         (guest to host)
//! ```
//!
//! The encoder owns the current channel of its direction and writes a switch only when it changes. The decoder never
//! fails: a control it does not know is reported as [`Event::Malformed`] and the stream goes on after it.

/// The byte that introduces a control.
pub const DLE: u8 = 0x10;
/// Control letter: end of file on the tty.
pub const EOF: u8 = b'E';
/// Control letter: exit status.
pub const STATUS: u8 = b's';

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The terminal, both directions.
    Tty,
    /// Kernel log.
    Log,
    /// Standard output of the program.
    Stdout,
    /// Standard error of the program.
    Stderr,
}

impl Channel {
    /// The control letter that selects this channel.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Tty => b'0',
            Self::Log => b'1',
            Self::Stdout => b'2',
            Self::Stderr => b'3',
        }
    }

    /// The channel that a control letter selects.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'0' => Some(Self::Tty),
            b'1' => Some(Self::Log),
            b'2' => Some(Self::Stdout),
            b'3' => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// Sending end of one direction.
#[derive(Debug)]
pub struct Encoder {
    current: Channel,
}

impl Encoder {
    /// At the start of the stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { current: Channel::Tty }
    }

    /// Sends `bytes` on `channel`; `sink` gets the encoded pieces in order.
    pub fn data(&mut self, channel: Channel, bytes: &[u8], mut sink: impl FnMut(&[u8])) {
        if bytes.is_empty() {
            return;
        }
        if self.current != channel {
            self.current = channel;
            sink(&[DLE, channel.letter()]);
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&b| b == DLE) {
            // The literal DLE ends this piece, its double begins the control.
            sink(&rest[..=at]);
            sink(&[DLE]);
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            sink(rest);
        }
    }

    /// Sends end of file on the tty.
    pub fn eof(&mut self, mut sink: impl FnMut(&[u8])) {
        sink(&[DLE, EOF]);
    }

    /// Sends the exit status of the machine's program.
    pub fn status(&mut self, status: u8, mut sink: impl FnMut(&[u8])) {
        let digits = [b'0' + status / 100, b'0' + status / 10 % 10, b'0' + status % 10];
        sink(&[DLE, STATUS]);
        sink(&digits);
        sink(b"\n");
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What one byte of the stream completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A byte for a channel.
    Data(Channel, u8),
    /// End of file on the tty.
    Eof,
    /// Exit status.
    Status(u8),
    /// A control that is not one; the byte that showed it, which is dropped.
    Malformed(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    Control,
    /// Inside a status: the number so far, `None` before the first digit.
    Number(Option<u8>),
}

/// Receiving end of one direction.
#[derive(Debug)]
pub struct Decoder {
    channel: Channel,
    state: State,
}

impl Decoder {
    /// At the start of the stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { channel: Channel::Tty, state: State::Plain }
    }

    /// Takes the next byte.
    pub fn push(&mut self, byte: u8) -> Option<Event> {
        match self.state {
            State::Plain if byte == DLE => {
                self.state = State::Control;
                None
            }
            State::Plain => Some(Event::Data(self.channel, byte)),
            State::Control => self.control(byte),
            State::Number(number) => self.number(number, byte),
        }
    }

    fn control(&mut self, byte: u8) -> Option<Event> {
        self.state = State::Plain;
        match byte {
            DLE => Some(Event::Data(self.channel, DLE)),
            EOF => Some(Event::Eof),
            STATUS => {
                self.state = State::Number(None);
                None
            }
            _ => match Channel::from_letter(byte) {
                Some(channel) => {
                    self.channel = channel;
                    None
                }
                None => Some(Event::Malformed(byte)),
            },
        }
    }

    fn number(&mut self, number: Option<u8>, byte: u8) -> Option<Event> {
        self.state = State::Plain;
        match (number, byte) {
            (Some(status), b'\n') => Some(Event::Status(status)),
            (_, b'0'..=b'9') => {
                let value = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(byte - b'0'));
                match value {
                    Some(value) => self.state = State::Number(Some(value)),
                    None => return Some(Event::Malformed(byte)),
                }
                None
            }
            _ => Some(Event::Malformed(byte)),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[derive(Clone, Debug)]
    enum Sent {
        Data(u8, Vec<u8>),
        Eof,
        Status(u8),
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let byte = prop_oneof![Just(DLE), any::<u8>()];
        prop_oneof![
            4 => (b'0'..=b'3', proptest::collection::vec(byte, 0..20)).prop_map(|(c, b)| Sent::Data(c, b)),
            1 => Just(Sent::Eof),
            1 => any::<u8>().prop_map(Sent::Status),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(list in proptest::collection::vec(sent(), 0..20)) {
            let (mut encoder, mut wire, mut expected) = (Encoder::new(), Vec::new(), Vec::new());
            for item in &list {
                let sink = |piece: &[u8]| wire.extend_from_slice(piece);
                match item {
                    Sent::Data(letter, bytes) => {
                        let channel = Channel::from_letter(*letter).unwrap();
                        encoder.data(channel, bytes, sink);
                        expected.extend(bytes.iter().map(|&b| Event::Data(channel, b)));
                    }
                    Sent::Eof => { encoder.eof(sink); expected.push(Event::Eof); }
                    Sent::Status(s) => { encoder.status(*s, sink); expected.push(Event::Status(*s)); }
                }
            }
            let mut decoder = Decoder::new();
            let got: Vec<Event> = wire.iter().filter_map(|&b| decoder.push(b)).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new();
            prop_assert!(bytes.iter().filter_map(|&b| decoder.push(b)).count() <= bytes.len());
        }
    }
}
