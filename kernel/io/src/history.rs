//! The trace as a file: `/proc/asyncos/trace`.
//!
//! Reading gives what the harts' rings hold as of the open, a line for each record, in order of time:
//!
//! ```text
//!   # recording 1, lost 40
//!   3.141592653 0 wake task=17 by=9
//!   # hart 1 lost 12
//! ```
//!
//! A line is seconds, hart, event, `name=value` pairs ([`trace::Record`]). The first says whether records are
//! made, and how many were overwritten before the open; a later one that begins with `#` says how many of a hart's
//! were overwritten between the open and the reading of that place. Writing `1` or `0` switches recording on or off.
//!
//! An open keeps a place in each ring and the line that it is at, nothing more, and both are charged; the records stay in the
//! rings, whose writers know nothing of readers. So a reader that is slow loses records, and nobody waits for it.
//! A record that is being written ends what is read of its hart.

use crate::{
    caller::Caller,
    file::{Attempt, File},
    inode::Inode,
};
use abi::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::{any::Any, fmt, fmt::Write};
use hal::{
    hart,
    record::RECORDS,
    sync::{SpinLock, rank},
};
use mem::{Charge, Sink, Source, list};
use trace::{Reader, Record};

/// Longest line: a record with every operand at its largest takes less.
const LINE: usize = 160;

/// An open of the trace.
pub struct History {
    place: SpinLock<Place>,
    inode: Arc<dyn Inode>,
    _charge: Charge,
}

impl History {
    /// Opens the trace as it is now.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn open(caller: &Caller, inode: Arc<dyn Inode>) -> Result<Arc<dyn File>, Errno> {
        let charge = caller.account.charge(size_of::<Self>() + LINE)?;
        let mut line = Line::new()?;
        let harts = hal::record::snapshot().map(Hart::new);
        let lost: u64 = harts.iter().map(|hart| hart.told).sum();
        line.set(format_args!("# recording {}, lost {lost}", u8::from(hal::record::recording())));
        let place = SpinLock::new(rank::INODE, Place { harts, line });
        Ok(Arc::new(History { place, inode, _charge: charge }))
    }
}

/// One hart's part of an open.
struct Hart {
    reader: Reader<'static, RECORDS>,
    /// The next record, looked at but not shown.
    next: Option<Record>,
    /// How many lost records the reader has been told of.
    told: u64,
}

impl Hart {
    fn new(reader: Reader<'static, RECORDS>) -> Self {
        Self { told: reader.lost(), next: None, reader }
    }
}

/// How far an open was read.
struct Place {
    harts: [Hart; hart::MAX],
    line: Line,
}

impl Place {
    /// The bytes to read next: the rest of a line; none at the end.
    fn bytes(&mut self) -> &[u8] {
        if self.line.rest().is_empty() {
            self.next_line();
        }
        self.line.rest()
    }

    fn next_line(&mut self) {
        for (index, hart) in self.harts.iter_mut().enumerate() {
            hart.next = hart.next.take().or_else(|| hart.reader.next());
            let lost = hart.reader.lost() - hart.told;
            if lost > 0 {
                hart.told += lost;
                return self.line.set(format_args!("# hart {index} lost {lost}"));
            }
        }
        let first =
            self.harts.iter_mut().filter(|hart| hart.next.is_some()).min_by_key(|hart| hart.next.map(|r| r.time));
        if let Some(record) = first.and_then(|hart| hart.next.take()) {
            self.line.set(format_args!("{record}"));
        }
    }
}

/// A line of text, and how much of it was read.
struct Line {
    text: Vec<u8>,
    read: usize,
}

impl Line {
    fn new() -> Result<Self, Errno> {
        let text = list(LINE)?;
        Ok(Self { text, read: 0 })
    }

    fn set(&mut self, text: fmt::Arguments<'_>) {
        self.text.clear();
        self.read = 0;
        // What does not fit is cut off, which is no error.
        let _ = self.write_fmt(text);
        self.text.push(b'\n');
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.read..]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Room for the end of the line is kept; it never grows.
        let room = LINE - 1 - self.text.len();
        self.text.extend_from_slice(&text.as_bytes()[..text.len().min(room)]);
        Ok(())
    }
}

impl File for History {
    /// The lock is held for a line at a time, not for the whole read.
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let start = dst.done();
        while dst.remaining() > 0 {
            let mut place = self.place.lock();
            let bytes = place.bytes();
            let len = bytes.len().min(dst.remaining());
            if len == 0 {
                break;
            }
            match dst.put(&bytes[..len]) {
                Ok(()) => place.line.read += len,
                Err(fault) if dst.done() == start => return Err(fault.into()),
                Err(_) => break,
            }
        }
        Ok(Some(dst.done() - start))
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let len = src.remaining();
        let mut bytes = [0; 2];
        let taken = len.min(bytes.len());
        src.take(&mut bytes[..taken])?;
        match (len, bytes) {
            (1, [b'0', _]) | (2, [b'0', b'\n']) => hal::record::set_recording(false),
            (1, [b'1', _]) | (2, [b'1', b'\n']) => hal::record::set_recording(true),
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(Some(len))
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.inode.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        caller::Credentials,
        inode::{InodeId, Kind, Metadata},
    };
    use mem::Account;
    use std::{string::String, vec};
    use trace::Event;

    struct Stub;

    impl Inode for Stub {
        fn id(&self) -> InodeId {
            InodeId { dev: 0, ino: 1 }
        }

        fn kind(&self) -> Kind {
            Kind::Regular
        }

        fn metadata_now(&self) -> Option<Metadata> {
            None
        }

        fn open(self: Arc<Self>, _: &Caller, _: u32) -> crate::inode::Reply<'static, Arc<dyn File>> {
            alloc::boxed::Box::pin(core::future::ready(Err(Errno::EPERM)))
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    fn caller(limit: usize) -> Caller {
        let credentials = Credentials { uid: 0, gid: 0 };
        let account = Account::new(None, limit);
        Caller { pid: 1, tid: 1, credentials, priority: 8, request: 0, file_limit: u64::MAX, account }
    }

    fn read(file: &Arc<dyn File>, caller: &Caller, piece: usize) -> String {
        let mut text = Vec::new();
        loop {
            let mut bytes = vec![0; piece];
            let read = file.read_now(caller, 0, &mut Sink::kernel(&mut bytes)).unwrap().unwrap();
            if read == 0 {
                return String::from_utf8(text).unwrap();
            }
            text.extend_from_slice(&bytes[..read]);
        }
    }

    fn write(file: &Arc<dyn File>, caller: &Caller, bytes: &[u8]) -> Attempt<usize> {
        file.write_now(caller, 0, &mut Source::kernel(bytes))
    }

    fn record(harts: core::ops::Range<u64>) {
        harts.for_each(|task| hal::record::record(|| Event::PollBegin { task }));
    }

    /// One test, because the ring of hart 0 is all threads': what is read, by whom, what is lost, what it costs.
    #[test]
    fn the_trace_is_switched_and_read_as_text() {
        let caller = caller(usize::MAX);
        let open = || History::open(&caller, Arc::new(Stub)).unwrap();
        let switch = open();
        record(0..5);
        assert_eq!(read(&open(), &caller, 999), "# recording 0, lost 0\n");
        assert_eq!(write(&switch, &caller, b"1\n"), Ok(Some(2)));
        record(5..8);
        let (whole, pieces) = (open(), open());
        let text = read(&whole, &caller, 4096);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "# recording 1, lost 0");
        assert!(
            lines[1..].iter().zip(5..).all(|(line, task)| line.ends_with(&std::format!(" 0 poll-begin task={task}")))
        );
        assert_eq!(lines.len(), 4);
        assert_eq!(read(&pieces, &caller, 1), text);

        // A reader that is overtaken is told, and does not go past what there was when it opened.
        let slow = open();
        record(0..RECORDS as u64);
        let text = read(&slow, &caller, 64);
        assert_eq!(text, "# recording 1, lost 0\n# hart 0 lost 3\n");
        assert!(read(&open(), &caller, 64).starts_with("# recording 1, lost 3\n"));

        for wrong in [&b""[..], b"2", b"10", b"1\n\n", b"on"] {
            assert!(write(&switch, &caller, wrong).is_err(), "{wrong:?}");
        }
        assert!(hal::record::recording());
        assert_eq!(write(&switch, &caller, b"0"), Ok(Some(1)));
        assert!(!hal::record::recording());
        assert!(caller.account.used() >= size_of::<History>());
        drop((switch, whole, pieces, slow));
        assert_eq!(caller.account.used(), 0);
        let poor = self::caller(100);
        assert_eq!(History::open(&poor, Arc::new(Stub)).err(), Some(Errno::ENOMEM));
    }

    #[test]
    fn the_longest_record_fits_into_a_line() {
        let record =
            Record { time: u64::MAX, kind: 9, hart: u8::MAX, small: 9, wide: u32::MAX, a: u64::MAX, b: u64::MAX };
        let longest = (0..=10).map(|kind| std::format!("{}\n", Record { kind, ..record }).len()).max();
        assert!(longest.is_some_and(|longest| longest < LINE), "{longest:?}");
    }
}
