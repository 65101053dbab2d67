//! The console: several byte streams over one serial line.
//!
//! With `console=mux` (design note 0001, section 6) the line carries the terminal, the kernel log and the standard
//! output and error of the machine's program; without it, all of them are plain text on the line. Everything that is written
//! goes through one bounded queue, so bytes of different channels never mix within an escape.
//! Another serial port's terminal has a queue of this kind, too, which nothing else goes through ([`Console::sole_output`]).
//!
//! [`Console::drain`] is the coroutine that moves the queue to the device, [`Console::pump`] the one that feeds input
//! to the terminal.

use crate::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want, mask_of},
    tty::{CharDevice, Modem, Tty},
};
use abi::{
    errno::Errno,
    mux::{Channel, Decoder, Encoder, Event},
    poll::EPOLLOUT,
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc};
use core::{
    any::Any,
    sync::atomic::{AtomicUsize, Ordering},
};
use exec::sync::WaitQueue;
use hal::sync::{IrqLock, rank};
use mem::{Sink, Source};

/// Bytes that wait for the line at most.
const QUEUE: usize = 16 * 1024;
/// Room that the log leaves to the others.
const RESERVE: usize = 4 * 1024;
/// Bytes that move at once.
const PART: usize = 256;

/// The serial line below: a UART driver.
pub trait Line: Send + Sync {
    /// Takes what has arrived; answers how many bytes.
    fn read_now(&self, bytes: &mut [u8]) -> usize;

    /// Resolves when something has arrived.
    fn wait_input(&self) -> BoxFuture<'_, ()>;

    /// Sends as many of `bytes` as the device takes now.
    fn write_now(&self, bytes: &[u8]) -> usize;

    /// Resolves when the device takes more.
    fn wait_output(&self) -> BoxFuture<'_, ()>;

    /// Bytes that were written and that the device has not sent; where it does not tell how many, one.
    fn unsent(&self) -> usize {
        0
    }

    /// Forgets those that the device has not taken.
    fn discard(&self) {}

    /// The lines beside, if programs may have them.
    fn modem(&self) -> Option<&dyn Modem> {
        None
    }
}

/// How streams share the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Text of all channels as it comes.
    Plain,
    /// Channels kept apart by escapes.
    Mux,
}

struct Queue {
    bytes: VecDeque<u8>,
    encoder: Encoder,
    lost: u64,
    /// Bytes that [`Console::drain`] is sending: the head of the queue, unless they were forgotten meanwhile.
    going: usize,
    is_forgotten: bool,
}

/// The console.
pub struct Console {
    line: Arc<dyn Line>,
    sharing: Sharing,
    queue: IrqLock<Queue>,
    filled: WaitQueue,
    drained: WaitQueue,
    /// How often the line was made another's ([`Console::change_hands`]).
    hands: AtomicUsize,
}

impl Console {
    /// A console on `line`.
    pub fn new(line: Arc<dyn Line>, sharing: Sharing) -> Arc<Console> {
        let queue = Queue {
            bytes: VecDeque::with_capacity(2 * QUEUE + PART),
            encoder: Encoder::new(),
            lost: 0,
            going: 0,
            is_forgotten: false,
        };
        Arc::new(Console {
            line,
            sharing,
            queue: IrqLock::new(rank::CONSOLE, queue),
            filled: WaitQueue::new(),
            drained: WaitQueue::new(),
            hands: AtomicUsize::new(0),
        })
    }

    /// The terminal's output.
    pub fn tty_output(self: &Arc<Self>) -> Arc<dyn CharDevice> {
        Arc::new(TtyOutput { console: self.clone(), is_alone: false })
    }

    /// The same for a terminal that has the line for itself: that can wait for it, and have it forget.
    pub fn sole_output(self: &Arc<Self>) -> Arc<dyn CharDevice> {
        Arc::new(TtyOutput { console: self.clone(), is_alone: true })
    }

    /// A device for one output channel: descriptor 1 or 2 of a program run.
    pub fn output(self: &Arc<Self>, channel: Channel) -> Arc<dyn File> {
        Arc::new(Output { console: self.clone(), channel })
    }

    /// Queues log text; what does not fit is counted and dropped. Callable from anywhere, interrupt handlers included.
    pub fn log(&self, text: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.bytes.len() + text.len() + RESERVE > QUEUE {
            queue.lost += text.len() as u64;
            return;
        }
        queue.push(self.sharing, Channel::Log, text);
        drop(queue);
        self.filled.wake_all();
    }

    /// Bytes of log that were dropped.
    pub fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    /// Queues the exit status of the machine's program; only the mux can carry it.
    pub fn status(&self, status: u8) {
        if self.sharing == Sharing::Mux {
            let Queue { bytes, encoder, .. } = &mut *self.queue.lock();
            encoder.status(status, |part| bytes.extend(part));
        }
        self.filled.wake_all();
    }

    /// Resolves when everything that was queued has gone to the device.
    pub async fn flushed(&self) {
        let is_empty = || {
            let queue = self.queue.lock();
            // What is forgotten may be on its way yet.
            (queue.bytes.is_empty() && queue.going == 0).then_some(())
        };
        exec::sync::wait_until(&self.drained, is_empty).await;
    }

    /// Moves the queue to the device, for ever.
    pub async fn drain(self: Arc<Self>) {
        let mut part = [0; PART];
        loop {
            let len = exec::sync::wait_until(&self.filled, || self.take(&mut part)).await;
            let mut sent = 0;
            while sent < len && !self.queue.lock().is_forgotten {
                let now = self.line.write_now(&part[sent..len]);
                sent += now;
                if now == 0 {
                    self.line.wait_output().await;
                }
            }
            self.drop_sent();
            self.drained.wake_all();
        }
    }

    /// Feeds input to `tty`, for ever.
    pub async fn pump(self: Arc<Self>, tty: Arc<Tty>) {
        let mut decoder = Decoder::new();
        let mut part = [0; PART];
        loop {
            // Acquire: looked at before the line is. Pairs with the Release in `change_hands`.
            let hands = self.hands.load(Ordering::Acquire);
            let len = self.line.read_now(&mut part);
            if len == 0 {
                self.line.wait_input().await;
                continue;
            }
            // Read from the last owner's line, it is not for the next one's terminal. Acquire as above.
            if hands == self.hands.load(Ordering::Acquire) {
                self.receive(&tty, &mut decoder, &part[..len]);
            }
            // A line may be as fast as this: others of this priority get their turn.
            exec::yield_now().await;
        }
    }

    fn receive(&self, tty: &Tty, decoder: &mut Decoder, bytes: &[u8]) {
        if self.sharing == Sharing::Plain {
            return tty.receive(bytes);
        }
        for byte in bytes {
            match decoder.push(*byte) {
                Some(Event::Data(Channel::Tty, byte)) => tty.receive(&[byte]),
                Some(Event::Eof) => tty.hang_up(),
                _ => {}
            }
        }
    }

    /// The line is another's from here: what [`Console::pump`] has read and not passed on is dropped.
    pub fn change_hands(&self) {
        // Release pairs with the Acquires in `pump`: the end of the last owner comes first.
        self.hands.fetch_add(1, Ordering::Release);
    }

    /// Copies the head of the queue; it stays queued until it is sent, so that `flushed` is exact.
    fn take(&self, part: &mut [u8]) -> Option<usize> {
        let mut queue = self.queue.lock();
        let len = queue.bytes.len().min(part.len());
        queue.going = len;
        for (to, from) in part.iter_mut().zip(queue.bytes.iter().take(len)) {
            *to = *from;
        }
        (len > 0).then_some(len)
    }

    fn drop_sent(&self) {
        let mut queue = self.queue.lock();
        let going = core::mem::take(&mut queue.going);
        if !core::mem::take(&mut queue.is_forgotten) {
            queue.bytes.drain(..going);
            return;
        }
        drop(queue);
        // The line may have taken some since it was told to forget.
        self.line.discard();
    }

    /// Bytes that were queued and that the device has not sent; where it does not tell how many, one.
    pub fn unsent(&self) -> usize {
        let queue = self.queue.lock();
        let queued = queue.bytes.len().max(queue.going);
        drop(queue);
        queued + self.line.unsent()
    }

    /// Forgets what is queued, and the part of it that is on its way to the device. Whether there was none: if there was, its coroutine, which runs now, has yet to let it go.
    pub fn discard(&self) -> bool {
        let mut queue = self.queue.lock();
        let is_idle = queue.going == 0;
        queue.bytes.clear();
        queue.is_forgotten = !is_idle;
        drop(queue);
        // Makes room: who waits for that looks again.
        self.line.discard();
        self.drained.wake_all();
        is_idle
    }

    /// Resolves when the device has sent everything. It tells of room only, so it is asked, as often as it may take it to send a few bytes.
    async fn sent(&self) {
        /// Nanoseconds.
        const PAUSE: u64 = 1_000_000;
        loop {
            self.flushed().await;
            if self.unsent() == 0 {
                return;
            }
            exec::sleep(PAUSE).await;
        }
    }

    fn room(&self) -> usize {
        QUEUE.saturating_sub(self.queue.lock().bytes.len())
    }

    /// Queues all of `bytes`. Another writer may have taken the room meanwhile; the queue has slack for that.
    fn write(&self, channel: Channel, bytes: &[u8]) {
        self.queue.lock().push(self.sharing, channel, bytes);
        self.filled.wake_all();
    }

    async fn wait_room(&self) {
        exec::sync::wait_until(&self.drained, || (self.room() >= 2 * PART).then_some(())).await;
    }
}

impl Queue {
    fn push(&mut self, sharing: Sharing, channel: Channel, text: &[u8]) {
        let Queue { bytes, encoder, .. } = self;
        match sharing {
            Sharing::Mux => encoder.data(channel, text, |part| bytes.extend(part)),
            Sharing::Plain if channel == Channel::Tty => bytes.extend(text),
            // The terminal's own output has been through its line discipline; other text gets its line ends here.
            Sharing::Plain => {
                for byte in text {
                    if *byte == b'\n' {
                        bytes.push_back(b'\r');
                    }
                    bytes.push_back(*byte);
                }
            }
        }
    }
}

struct TtyOutput {
    console: Arc<Console>,
    /// The line carries nothing else.
    is_alone: bool,
}

impl CharDevice for TtyOutput {
    fn write(&self, bytes: &[u8]) {
        self.console.write(Channel::Tty, bytes);
    }

    fn room(&self) -> usize {
        self.console.room()
    }

    fn wait_room(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.console.wait_room())
    }

    fn unsent(&self) -> usize {
        if self.is_alone { self.console.unsent() } else { 0 }
    }

    fn discard(&self) {
        if self.is_alone {
            self.console.discard();
        }
    }

    fn wait_sent(&self) -> BoxFuture<'_, ()> {
        if self.is_alone { Box::pin(self.console.sent()) } else { Box::pin(core::future::ready(())) }
    }

    fn modem(&self) -> Option<&dyn Modem> {
        self.console.line.modem()
    }
}

struct Output {
    console: Arc<Console>,
    channel: Channel,
}

impl File for Output {
    fn read_now(&self, _caller: &Caller, _offset: u64, _dst: &mut Sink<'_>) -> Attempt<usize> {
        Ok(Some(0))
    }

    fn write_now(&self, _caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        let len = src.remaining().min(self.console.room()).min(PART);
        if len == 0 {
            return Ok((src.remaining() == 0).then_some(0));
        }
        let mut bytes = [0; PART];
        src.take(&mut bytes[..len])?;
        self.console.write(self.channel, &bytes[..len]);
        Ok(Some(len))
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            if mask_of(want) & EPOLLOUT == 0 && !matches!(want, Want::Read { .. }) {
                // There is nothing else to come.
                core::future::pending::<()>().await;
            }
            self.console.wait_room().await;
            Ok(())
        })
    }

    fn events(&self) -> u32 {
        if self.console.room() > 0 { EPOLLOUT } else { 0 }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    };
    use hal::sync::SpinLock;

    /// A line with so much room, where something arrives once.
    struct Stub {
        room: AtomicUsize,
        sent: SpinLock<Vec<u8>>,
        arrived: SpinLock<Vec<u8>>,
        /// Its owner changes while that is read.
        changing: SpinLock<Option<Arc<Console>>>,
    }

    impl Line for Stub {
        fn read_now(&self, bytes: &mut [u8]) -> usize {
            if let Some(console) = self.changing.lock().take() {
                console.change_hands();
            }
            let arrived = core::mem::take(&mut *self.arrived.lock());
            bytes[..arrived.len()].copy_from_slice(&arrived);
            arrived.len()
        }

        fn wait_input(&self) -> BoxFuture<'_, ()> {
            Box::pin(core::future::pending())
        }

        fn write_now(&self, bytes: &[u8]) -> usize {
            let len = bytes.len().min(self.room.load(Ordering::Relaxed));
            self.room.fetch_sub(len, Ordering::Relaxed);
            self.sent.lock().extend(&bytes[..len]);
            len
        }

        fn wait_output(&self) -> BoxFuture<'_, ()> {
            Box::pin(core::future::poll_fn(|_| match self.room.load(Ordering::Relaxed) {
                0 => core::task::Poll::Pending,
                _ => core::task::Poll::Ready(()),
            }))
        }
    }

    fn console(room: usize, arrived: &[u8]) -> (Arc<Console>, Arc<Stub>) {
        let line = Arc::new(Stub {
            room: AtomicUsize::new(room),
            sent: SpinLock::new(rank::DEVICE, Vec::new()),
            arrived: SpinLock::new(rank::DEVICE, Vec::from(arrived)),
            changing: SpinLock::new(rank::DEVICE, None),
        });
        (Console::new(line.clone(), Sharing::Plain), line)
    }

    /// What is forgotten is not sent, also what is on its way; a line is not to be another's while some of its owner's bytes are in no queue. What comes behind is sent.
    #[test]
    fn a_part_that_is_on_its_way_is_forgotten_and_told_of() {
        let (console, line) = console(10, b"");
        let mut context = Context::from_waker(Waker::noop());
        let mut drain = pin!(console.clone().drain());
        console.write(Channel::Tty, &[b'x'; PART + 50]);
        assert!(drain.as_mut().poll(&mut context).is_pending());
        assert_eq!((console.discard(), console.unsent()), (false, PART));
        console.write(Channel::Tty, b"next");
        line.room.store(10_000, Ordering::Relaxed);
        assert!(drain.as_mut().poll(&mut context).is_pending());
        assert_eq!((console.discard(), console.unsent()), (true, 0));
        assert_eq!(*line.sent.lock(), b"xxxxxxxxxxnext");
    }

    #[test]
    fn input_of_the_last_owner_is_not_the_next_ones() {
        for changes in [false, true] {
            let (console, line) = console(0, b"secret");
            *line.changing.lock() = changes.then(|| console.clone());
            let tty = Tty::new(console.sole_output());
            let mut pump = pin!(console.clone().pump(tty));
            let mut context = Context::from_waker(Waker::noop());
            assert!(pump.as_mut().poll(&mut context).is_pending());
            // What a terminal receives it echoes.
            assert_eq!(console.unsent(), if changes { 0 } else { 6 });
        }
    }
}
