//! Terminals: the object behind /dev/tty and /dev/console.
//!
//! A [`Tty`] owns the settings, the [`Line`] that edits input, and who controls it. Input arrives through
//! [`Tty::receive`] from the coroutine that drains the device; output leaves through a [`CharDevice`].
//! Signals go to the foreground process group through [`JobControl`], which the process layer injects.
//!
//! What a serial port adds is in [`port`].
//!
//! A process's controlling terminal is its session's: unlike in Linux, `TIOCNOTTY` of a process that does not lead its session does
//! nothing.

mod port;

use crate::{
    caller::Caller,
    file::{Attempt, BoxFuture, File, Want, mask_of},
    line::{Line, Outcome},
};
use abi::{
    errno::Errno,
    ioctl::{self, Termios, Winsize},
    poll::{EPOLLIN, EPOLLOUT},
    signal::{SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::Any,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};
use exec::sync::WaitQueue;
use hal::sync::{SpinLock, rank};
use mem::{AddressSpace, Sink, Source};

pub use port::Modem;

/// Most bytes of one immediate write.
const PART: usize = 256;

/// Where a terminal's output goes: a queue in front of a serial line.
pub trait CharDevice: Send + Sync {
    /// Takes all of `bytes`. Who writes looks for room first; what others took since then goes beyond it.
    fn write(&self, bytes: &[u8]);

    /// Bytes that fit now.
    fn room(&self) -> usize;

    /// Resolves when there is room.
    fn wait_room(&self) -> BoxFuture<'_, ()>;

    /// Bytes that were written and not sent yet, where that is known.
    fn unsent(&self) -> usize {
        0
    }

    /// Forgets those.
    fn discard(&self) {}

    /// Resolves when there are none.
    fn wait_sent(&self) -> BoxFuture<'_, ()> {
        Box::pin(core::future::ready(()))
    }

    /// The lines to a modem, if it has them.
    fn modem(&self) -> Option<&dyn Modem> {
        None
    }
}

/// Process groups and sessions, as far as a terminal has to know.
pub trait JobControl: Send + Sync {
    /// Process group and session of a process.
    fn groups(&self, pid: u32) -> Option<(u32, u32)>;

    /// The session of a process group, if it exists.
    fn session_of(&self, group: u32) -> Option<u32>;

    /// Sends `signal` to all processes of `group`.
    fn signal(&self, group: u32, signal: u32);

    /// What `signal`, for using a terminal from the background, would do to `caller`, a member of `group`.
    fn effect(&self, caller: &Caller, group: u32, signal: u32) -> Effect;
}

/// What a signal that stops would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It stops, or a handler runs.
    Stops,
    /// It is blocked or ignored.
    Nothing,
    /// Nobody is left who could continue the group.
    Orphan,
}

/// Who controls a terminal.
#[derive(Clone, Copy, Default)]
struct Control {
    session: Option<u32>,
    foreground: Option<u32>,
}

struct State {
    line: Line,
    window: Winsize,
    control: Control,
    edges: u64,
    /// When the last input came.
    last_input: u64,
}

/// A terminal.
pub struct Tty {
    state: SpinLock<State>,
    output: Arc<dyn CharDevice>,
    changed: WaitQueue,
    jobs: SpinLock<Option<&'static dyn JobControl>>,
}

impl Tty {
    /// A terminal with default settings in front of `output`.
    pub fn new(output: Arc<dyn CharDevice>) -> Arc<Tty> {
        let state = State {
            line: Line::new(),
            window: Winsize { row: 24, col: 80, xpixel: 0, ypixel: 0 },
            control: Control::default(),
            edges: 0,
            last_input: 0,
        };
        Arc::new(Tty {
            state: SpinLock::new(rank::TTY, state),
            output,
            changed: WaitQueue::new(),
            jobs: SpinLock::new(rank::TTY - 1, None),
        })
    }

    /// Injects the process layer's part; signals before that are dropped.
    pub fn set_jobs(&self, jobs: &'static dyn JobControl) {
        *self.jobs.lock() = Some(jobs);
    }

    /// Input from the device.
    pub fn receive(&self, bytes: &[u8]) {
        let mut echo = Vec::new();
        let mut signals = Vec::new();
        let foreground = {
            let mut state = self.state.lock();
            for byte in bytes {
                if let Outcome::Signal(signal) = state.line.input(*byte, &mut echo) {
                    signals.push(signal);
                }
            }
            state.edges += 1;
            state.last_input = hal::time::now();
            state.control.foreground
        };
        if !echo.is_empty() && self.is_looped() {
            // Each byte would come back, and be echoed again, for ever.
            echo.clear();
        }
        // Echo that finds no room is lost, as on a serial line without flow control.
        echo.truncate(self.output.room());
        self.output.write(&echo);
        self.changed.wake_all();
        for signal in signals {
            self.signal(foreground, signal);
        }
    }

    /// The device has no more input: readers see end of file once, then again for each read.
    pub fn hang_up(&self) {
        let mut state = self.state.lock();
        state.line.end();
        state.edges += 1;
        drop(state);
        self.changed.wake_all();
    }

    /// Turns off all editing, echo and signals: every byte as it comes. For a terminal that nobody sits at.
    pub fn make_raw(&self) {
        let line = &mut self.state.lock().line;
        let mut termios = *line.termios();
        (termios.iflag, termios.oflag, termios.lflag) = (0, 0, 0);
        line.set_termios(termios);
    }

    /// The session that this terminal controls.
    pub fn session(&self) -> Option<u32> {
        self.state.lock().control.session
    }

    /// Makes `session` own the terminal if nobody does: what opening it does for a session leader without one.
    pub fn adopt(&self, session: u32, group: u32) -> bool {
        let control = &mut self.state.lock().control;
        if control.session.is_some_and(|owner| owner != session) {
            return false;
        }
        *control = Control { session: Some(session), foreground: Some(group) };
        true
    }

    /// The session leader is gone: the terminal is free. The process layer sends the hang-up signals.
    pub fn release(&self, session: u32) {
        let control = &mut self.state.lock().control;
        if control.session == Some(session) {
            *control = Control::default();
        }
    }

    /// Whether it is the controlling terminal of the caller's session.
    pub fn controls(&self, caller: &Caller) -> bool {
        self.own_session(caller).is_ok()
    }

    /// The foreground process group.
    pub fn foreground(&self) -> Option<u32> {
        self.state.lock().control.foreground
    }

    /// The window changed: the foreground hears of it, unless it is as it was.
    pub fn resize(&self, window: Winsize) {
        let mut state = self.state.lock();
        let changed = core::mem::replace(&mut state.window, window) != window;
        let foreground = state.control.foreground;
        drop(state);
        if changed {
            self.signal(foreground, SIGWINCH);
        }
    }

    fn jobs(&self) -> Option<&'static dyn JobControl> {
        *self.jobs.lock()
    }

    fn signal(&self, group: Option<u32>, signal: u32) {
        if let (Some(group), Some(jobs)) = (group, self.jobs()) {
            jobs.signal(group, signal);
        }
    }

    /// Stops who is of the terminal's session but not in the foreground; they try again when they are continued.
    ///
    /// # Errors
    /// `EINTR` for those; `EIO` for who cannot be stopped: always in a group that nobody could continue, and to read.
    fn check(&self, caller: &Caller, signal: u32) -> Result<(), Errno> {
        let Some(jobs) = self.jobs() else { return Ok(()) };
        let Some((group, session)) = jobs.groups(caller.pid) else { return Ok(()) };
        let control = self.state.lock().control;
        if control.session != Some(session) || control.foreground.is_none_or(|foreground| foreground == group) {
            return Ok(());
        }
        match jobs.effect(caller, group, signal) {
            Effect::Nothing if signal == SIGTTOU => Ok(()),
            Effect::Nothing | Effect::Orphan => Err(Errno::EIO),
            Effect::Stops => {
                jobs.signal(group, signal);
                Err(Errno::EINTR)
            }
        }
    }

    async fn set_termios(
        &self,
        caller: &Caller,
        space: &AddressSpace,
        command: u32,
        argument: usize,
    ) -> Result<usize, Errno> {
        self.check(caller, SIGTTOU)?;
        let termios: Termios = space.get(argument).await?;
        if command != ioctl::TCSETS {
            self.output.wait_sent().await;
        }
        let mut state = self.state.lock();
        if command == ioctl::TCSETSF {
            state.line.flush();
        }
        state.line.set_termios(termios);
        drop(state);
        self.changed.wake_all();
        Ok(0)
    }

    fn take_control(&self, caller: &Caller) -> Result<usize, Errno> {
        let (group, session) = self.jobs().and_then(|jobs| jobs.groups(caller.pid)).ok_or(Errno::EPERM)?;
        // Who has it keeps the foreground that it has set.
        let owns = self.session() == Some(session);
        if session != caller.pid || !owns && !self.adopt(session, group) {
            return Err(Errno::EPERM);
        }
        Ok(0)
    }

    /// `TIOCNOTTY`: the leader of the session gives its terminal up, and the foreground hears of it.
    fn give_up(&self, caller: &Caller) -> Result<usize, Errno> {
        let control = self.own_session(caller)?;
        if control.session == Some(caller.pid) {
            self.release(caller.pid);
            self.signal(control.foreground, SIGHUP);
            self.signal(control.foreground, SIGCONT);
        }
        Ok(0)
    }

    fn set_foreground(&self, caller: &Caller, group: i32) -> Result<usize, Errno> {
        self.check(caller, SIGTTOU).map_err(|errno| if errno == Errno::EIO { Errno::ENOTTY } else { errno })?;
        let jobs = self.jobs().ok_or(Errno::ENOTTY)?;
        let (_, session) = jobs.groups(caller.pid).ok_or(Errno::ENOTTY)?;
        let control = self.state.lock().control;
        if control.session != Some(session) {
            return Err(Errno::ENOTTY);
        }
        let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
        if jobs.session_of(group).ok_or(Errno::ESRCH)? != session {
            return Err(Errno::EPERM);
        }
        self.state.lock().control.foreground = Some(group);
        Ok(0)
    }

    fn own_session(&self, caller: &Caller) -> Result<Control, Errno> {
        let control = self.state.lock().control;
        let session = self.jobs().and_then(|jobs| jobs.groups(caller.pid)).map(|(_, session)| session);
        if control.session.is_some() && control.session == session { Ok(control) } else { Err(Errno::ENOTTY) }
    }

    /// Resolves when a read of up to `len` bytes has an answer.
    async fn wait_input(&self, len: usize) {
        let begun = hal::time::now();
        let look = || {
            let state = self.state.lock();
            (state.line.answers(len), state.line.read_end(begun, state.last_input))
        };
        loop {
            let (answers, end) = look();
            if answers {
                return;
            }
            let news = exec::sync::wait_until(&self.changed, || (look() != (false, end)).then_some(()));
            if exec::timeout_at(end.unwrap_or(u64::MAX), news).await.is_err() {
                return self.state.lock().line.expire();
            }
        }
    }

    /// Resolves when one of `events` holds and `also` does. Input and refused output wake one queue, room another.
    async fn either(&self, events: u32, also: impl Fn() -> bool) {
        let ready = || self.events() & events != 0 && also();
        let full = || events & EPOLLOUT != 0 && self.output.room() < 2;
        while !ready() {
            let mut input = pin!(exec::sync::wait_until(&self.changed, || ready().then_some(())));
            let mut filled = pin!(exec::sync::wait_until(&self.changed, || full().then_some(())));
            let mut room = if full() { Some(self.output.wait_room()) } else { None };
            poll_fn(|context| {
                if input.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                match &mut room {
                    Some(room) => room.as_mut().poll(context),
                    None => filled.as_mut().poll(context),
                }
            })
            .await;
        }
    }

    async fn control(
        &self,
        caller: &Caller,
        space: &AddressSpace,
        command: u32,
        argument: usize,
    ) -> Result<usize, Errno> {
        match command {
            ioctl::TCGETS => {
                let termios = *self.state.lock().line.termios();
                space.put(argument, &termios).await?;
            }
            ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => {
                return self.set_termios(caller, space, command, argument).await;
            }
            ioctl::TIOCGWINSZ => {
                let window = self.state.lock().window;
                space.put(argument, &window).await?;
            }
            ioctl::TIOCSWINSZ => {
                self.resize(space.get(argument).await?);
            }
            ioctl::TIOCSCTTY => return self.take_control(caller),
            ioctl::TIOCNOTTY => return self.give_up(caller),
            ioctl::TIOCGPGRP => {
                let group = self.own_session(caller)?.foreground.unwrap_or(0);
                space.put(argument, &group).await?;
            }
            ioctl::TIOCSPGRP => {
                let group = space.get::<i32>(argument).await?;
                return self.set_foreground(caller, group);
            }
            ioctl::TIOCGSID => {
                let session = self.own_session(caller)?.session.unwrap_or(0);
                space.put(argument, &session).await?;
            }
            ioctl::FIONREAD => {
                let len = self.state.lock().line.available() as u32;
                space.put(argument, &len).await?;
            }
            _ => return self.control_port(caller, space, command, argument).await,
        }
        Ok(0)
    }
}

impl File for Tty {
    fn read_now(&self, caller: &Caller, _offset: u64, dst: &mut Sink<'_>) -> Attempt<usize> {
        self.check(caller, SIGTTIN)?;
        let mut bytes = [0; PART];
        let mut done = 0;
        loop {
            let mut state = self.state.lock();
            let want = bytes.len().min(dst.remaining());
            let Some(len) = state.line.peek(&mut bytes[..want]) else {
                return Ok((done > 0).then_some(done));
            };
            match dst.put(&bytes[..len]) {
                Ok(()) => {}
                Err(fault) if done == 0 => return Err(fault.into()),
                Err(_) => return Ok(Some(done)),
            }
            let ended = state.line.consume(len);
            done += len;
            if ended || len == 0 || dst.remaining() == 0 {
                return Ok(Some(done));
            }
        }
    }

    fn write_now(&self, caller: &Caller, _offset: u64, src: &mut Source<'_>) -> Attempt<usize> {
        if self.state.lock().line.stops_output() {
            self.check(caller, SIGTTOU)?;
        }
        if src.remaining() == 0 {
            return Ok(Some(0));
        }
        // In the worst case each byte becomes two.
        let len = src.remaining().min(self.output.room() / 2).min(PART);
        if len == 0 {
            // Room that comes is news from now on.
            self.state.lock().edges += 1;
            self.changed.wake_all();
            return Ok(None);
        }
        let mut bytes = [0; PART];
        src.take(&mut bytes[..len])?;
        let mut cooked = Vec::with_capacity(2 * len);
        self.state.lock().line.cook(&bytes[..len], &mut cooked);
        self.output.write(&cooked);
        Ok(Some(len))
    }

    fn queue(&self, want: Want) -> Option<&WaitQueue> {
        let timed = || self.state.lock().line.time().is_some();
        (matches!(want, Want::Read { .. }) && !timed()).then_some(&self.changed)
    }

    fn wait<'a>(&'a self, _caller: &'a Caller, want: Want) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            match want {
                Want::Read { len, .. } => self.wait_input(len).await,
                want => self.either(mask_of(want), || true).await,
            }
            Ok(())
        })
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn take_less(&self) -> bool {
        self.state.lock().line.take_less()
    }

    fn wait_edge<'a>(&'a self, _caller: &'a Caller, events: u32, since: u64) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            self.either(events, || self.edges() != since).await;
            Ok(())
        })
    }

    fn events(&self) -> u32 {
        let input = if self.state.lock().line.ready() { EPOLLIN } else { 0 };
        input | if self.output.room() >= 2 { EPOLLOUT } else { 0 }
    }

    fn edges(&self) -> u64 {
        self.state.lock().edges
    }

    fn ioctl<'a>(
        &'a self,
        caller: &'a Caller,
        space: &'a AddressSpace,
        command: u32,
        argument: usize,
    ) -> BoxFuture<'a, Result<usize, Errno>> {
        Box::pin(self.control(caller, space, command, argument))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
