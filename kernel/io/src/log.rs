//! The kernel's log in memory: what `dmesg`, `/dev/kmsg` and `/proc/kmsg` show.
//!
//! A ring of records; the oldest go when it is full. Writing takes a lock with interrupts off and allocates nothing,
//! so anything may log. Each open of /dev/kmsg reads on from its own place.

use crate::{
    caller::Caller,
    file::{Attempt, File, Want},
};
use abi::{errno::Errno, poll::EPOLLIN};
use alloc::{collections::VecDeque, format, sync::Arc, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
};
use exec::sync::WaitQueue;
use hal::sync::{IrqLock, rank};
use mem::{Sink, Source};

/// Bytes of text that are kept.
const TEXT: usize = 64 * 1024;
/// Records that are kept.
const RECORDS: usize = 1024;
/// Longest record; the rest is cut off.
const LONGEST: usize = 512;

#[derive(Clone, Copy)]
struct Record {
    level: u8,
    time: u64,
    len: usize,
}

struct Ring {
    text: VecDeque<u8>,
    records: VecDeque<Record>,
    /// Number of the first record in the ring.
    first: u64,
}

/// The log.
pub struct Log {
    ring: IrqLock<Ring>,
    arrived: WaitQueue,
}

impl Log {
    /// An empty log with all its memory.
    pub fn new() -> Arc<Log> {
        let ring = Ring { text: VecDeque::with_capacity(TEXT), records: VecDeque::with_capacity(RECORDS), first: 0 };
        Arc::new(Log { ring: IrqLock::new(rank::CONSOLE, ring), arrived: WaitQueue::new() })
    }

    /// Adds a record: `level` as syslog counts (0 emergency, 7 debug), `time` in nanoseconds since boot.
    pub fn push(&self, level: u8, time: u64, text: &[u8]) {
        let text = &text[..text.len().min(LONGEST)];
        let mut ring = self.ring.lock();
        while ring.records.len() == RECORDS || ring.text.len() + text.len() > TEXT {
            let Some(oldest) = ring.records.pop_front() else { break };
            ring.text.drain(..oldest.len);
            ring.first += 1;
        }
        ring.text.extend(text);
        ring.records.push_back(Record { level, time, len: text.len() });
        drop(ring);
        self.arrived.wake_all();
    }

    /// All records as text, a line each: `<level>[seconds] text`.
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut next = 0;
        while let Some((number, record, text)) = self.record(next) {
            next = number + 1;
            let (seconds, micros) = (record.time / 1_000_000_000, record.time / 1000 % 1_000_000);
            out.extend_from_slice(format!("<{}>[{seconds:5}.{micros:06}] ", record.level).as_bytes());
            out.extend_from_slice(&text);
            out.push(b'\n');
        }
        out
    }

    /// The file behind one open of /dev/kmsg.
    pub fn open(self: &Arc<Self>) -> Arc<dyn File> {
        Arc::new(Reader { log: self.clone(), next: AtomicU64::new(0) })
    }

    /// The first record from number `next` on, with its number.
    fn record(&self, next: u64) -> Option<(u64, Record, Vec<u8>)> {
        let mut text = Vec::with_capacity(LONGEST);
        let ring = self.ring.lock();
        let number = next.max(ring.first);
        let index = usize::try_from(number - ring.first).ok()?;
        let record = *ring.records.get(index)?;
        let start = ring.records.iter().take(index).map(|record| record.len).sum();
        text.extend(ring.text.iter().skip(start).take(record.len));
        Some((number, record, text))
    }

    fn end(&self) -> u64 {
        let ring = self.ring.lock();
        ring.first + ring.records.len() as u64
    }
}

struct Reader {
    log: Arc<Log>,
    /// Number of the record that is read next. Relaxed: racing readers of one description may see one twice.
    next: AtomicU64,
}

impl File for Reader {
    fn read_now(&self, _caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        let Some((number, record, text)) = self.log.record(self.next.load(Ordering::Relaxed)) else {
            return Ok(None);
        };
        let mut line = format!("{},{},{},-;", record.level, number, record.time / 1000).into_bytes();
        line.extend_from_slice(&text);
        line.push(b'\n');
        if line.len() > dst.remaining() {
            return Err(Errno::EINVAL.into());
        }
        dst.put(&line)?;
        self.next.store(number + 1, Ordering::Relaxed);
        Ok(Some(line.len()))
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let len = src.remaining().min(LONGEST);
        let mut bytes = [0; LONGEST];
        src.take(&mut bytes[..len])?;
        self.log.push(6, hal::time::now(), bytes[..len].trim_ascii_end());
        Ok(Some(len))
    }

    fn queue(&self, _want: Want) -> Option<&WaitQueue> {
        Some(&self.log.arrived)
    }

    fn events(&self) -> u32 {
        let waiting = self.next.load(Ordering::Relaxed) < self.log.end();
        abi::poll::EPOLLOUT | if waiting { EPOLLIN } else { 0 }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
