//! A running machine and its console: starts QEMU, takes its serial line apart into streams, and makes
//! sure that it ends.
//!
//! The wire format is `abi::mux`. A reader thread decodes and sends [`Output`] events through a channel, in
//! order; input goes through [`Input`], which may be cloned into other threads. The emulator is killed when
//! the [`Session`] is dropped.
//!
//! The firmware prints before the kernel does and knows nothing of streams, so everything before the first
//! control is kept apart; it is shown only if the machine never gets further.

use crate::{backlog, command};
use abi::mux::{Channel, DLE, Decoder, Encoder, Event};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something that came from the machine, or about it.
#[derive(Debug)]
pub enum Output {
    /// Bytes of one stream.
    Data(Channel, Vec<u8>),
    /// The exit status of the machine's program.
    Status(u8),
    /// The machine is gone; nothing follows.
    Closed,
    /// The person at the terminal, or a signal, asks to stop.
    Quit,
}

/// How a machine's life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its program exited with this status.
    Exited(u8),
    /// It stopped without a status: a panic, or the emulator failed. What is known about it.
    Died(String),
    /// Silent for longer than allowed.
    Hung,
    /// Stopped on request.
    Quit,
}

/// The machine's input.
#[derive(Clone)]
pub struct Input {
    line: Arc<Mutex<Line>>,
}

/// The way to the machine.
struct Line {
    encoder: Encoder,
    pipe: ChildStdin,
    /// What waits until the kernel has spoken: a UART forgets what arrives before its driver has set it up.
    held: Option<Vec<u8>>,
}

impl Input {
    /// Sends bytes to the guest's terminal. A machine that is gone takes nothing; its end is reported by
    /// [`Session::next`].
    pub fn send(&self, bytes: &[u8]) {
        self.with(|encoder, wire| encoder.data(Channel::Tty, bytes, |piece| wire.extend_from_slice(piece)));
    }

    /// Sends end of file.
    pub fn end(&self) {
        self.with(|encoder, wire| encoder.eof(|piece| wire.extend_from_slice(piece)));
    }

    fn with(&self, encode: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let mut guard = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Line { encoder, pipe, held } = &mut *guard;
        if let Some(held) = held {
            encode(encoder, held);
            return;
        }
        let mut wire = Vec::new();
        encode(encoder, &mut wire);
        let _ = pipe.write_all(&wire).and_then(|()| pipe.flush());
    }

    /// The kernel has spoken: sends what was held back.
    fn open(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = line.held.take() {
            let _ = line.pipe.write_all(&held).and_then(|()| line.pipe.flush());
        }
    }
}

/// What a machine speaks on its serial line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Several streams, as `abi::mux` has them.
    Mux,
    /// One stream of bytes: a system that is not ours.
    Plain,
}

/// A running machine.
pub struct Session {
    child: Child,
    input: Input,
    sender: Sender<Output>,
    outputs: Receiver<Output>,
    /// Output of the firmware, before the kernel spoke.
    firmware: Arc<Mutex<Vec<u8>>>,
    /// What the emulator itself said.
    complaints: Arc<Mutex<Vec<u8>>>,
    status: Option<u8>,
}

impl Session {
    /// Starts a machine.
    pub fn start(mut qemu: Command, wire: Wire) -> Result<Self> {
        let shown = command::shown(&qemu);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = qemu.spawn().with_context(|| format!("cannot start `{shown}`"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdin, stdout, stderr) =
            (stdin.context("no pipe")?, stdout.context("no pipe")?, stderr.context("no pipe")?);
        let (sender, outputs) = channel();
        let held = (wire == Wire::Mux).then(Vec::new);
        let line = Line { encoder: Encoder::new(), pipe: stdin, held };
        let input = Input { line: Arc::new(Mutex::new(line)) };
        let (firmware, complaints) = (Arc::default(), Arc::default());
        let streams = Streams::new(wire, Arc::clone(&firmware));
        spawn_reader(stdout, sender.clone(), streams, input.clone(), child.id());
        spawn_listener(stderr, Arc::clone(&complaints));
        Ok(Self { child, input, sender, outputs, firmware, complaints, status: None })
    }

    /// The machine's input, to keep.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// A handle through which other threads can ask the session to stop, with [`Output::Quit`].
    pub fn sender(&self) -> Sender<Output> {
        self.sender.clone()
    }

    /// Waits for the next bytes of any stream. `Err` is the end; `silence` bounds how long the machine may
    /// say nothing from now on.
    pub fn next(&mut self, silence: Option<Duration>) -> Result<(Channel, Vec<u8>), Ending> {
        // What was not listened for does not count as silence.
        let listening = Instant::now();
        loop {
            let output = match silence {
                Some(limit) => {
                    let left = limit.saturating_sub(listening.elapsed());
                    self.outputs.recv_timeout(left)
                }
                None => self.outputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match output {
                Ok(Output::Data(channel, bytes)) => return Ok((channel, bytes)),
                Ok(Output::Status(status)) => self.status = Some(status),
                Ok(Output::Quit) => return Err(Ending::Quit),
                Err(RecvTimeoutError::Timeout) => return Err(Ending::Hung),
                Ok(Output::Closed) | Err(RecvTimeoutError::Disconnected) => return Err(self.ending()),
            }
        }
    }

    /// Reads until the end; `each` sees all bytes.
    pub fn drain(&mut self, silence: Option<Duration>, mut each: impl FnMut(Channel, &[u8])) -> Ending {
        loop {
            match self.next(silence) {
                Ok((channel, bytes)) => each(channel, &bytes),
                Err(ending) => return ending,
            }
        }
    }

    /// What the firmware printed, for a machine that got no further.
    pub fn firmware_output(&self) -> String {
        String::from_utf8_lossy(&self.firmware.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn ending(&mut self) -> Ending {
        if let Some(status) = self.status {
            return Ending::Exited(status);
        }
        let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let said =
            String::from_utf8_lossy(&self.complaints.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        Ending::Died(format!(
            "the machine stopped without an exit status (emulator: {how}){}{said}",
            if said.is_empty() { "" } else { "\n" }
        ))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A machine that has given its status is on its way out: let it write its disk image back.
        let patience = Instant::now() + Duration::from_secs(if self.status.is_some() { 5 } else { 0 });
        while Instant::now() < patience {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn_reader(mut stdout: ChildStdout, sender: Sender<Output>, mut streams: Streams, input: Input, machine: u32) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            let silent = !streams.kernel_spoke;
            let outputs = streams.push(&buffer[..length]);
            if silent && streams.kernel_spoke {
                // By now the emulator listens.
                backlog::widen(machine);
                input.open();
            }
            for output in outputs {
                if sender.send(output).is_err() {
                    return;
                }
            }
        }
        let _ = sender.send(Output::Closed);
    });
}

fn spawn_listener(mut stderr: ChildStderr, complaints: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut buffer) {
            complaints.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
        }
    });
}

/// The decoder, with bytes of one stream gathered into one output.
struct Streams {
    wire: Wire,
    decoder: Decoder,
    kernel_spoke: bool,
    firmware: Arc<Mutex<Vec<u8>>>,
}

impl Streams {
    fn new(wire: Wire, firmware: Arc<Mutex<Vec<u8>>>) -> Self {
        Self { wire, decoder: Decoder::new(), kernel_spoke: false, firmware }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Vec<Output> {
        if self.wire == Wire::Plain {
            return vec![Output::Data(Channel::Tty, bytes.to_vec())];
        }
        if !self.kernel_spoke {
            let first = bytes.iter().position(|byte| *byte == DLE);
            let (before, rest) = bytes.split_at(first.unwrap_or(bytes.len()));
            self.firmware.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(before);
            self.kernel_spoke = first.is_some();
            bytes = rest;
        }
        let mut outputs: Vec<Output> = Vec::new();
        for event in bytes.iter().filter_map(|byte| self.decoder.push(*byte)) {
            match (event, outputs.last_mut()) {
                (Event::Data(channel, byte), Some(Output::Data(last, data))) if *last == channel => data.push(byte),
                (Event::Data(channel, byte), _) => outputs.push(Output::Data(channel, vec![byte])),
                (Event::Status(status), _) => outputs.push(Output::Status(status)),
                (Event::Eof | Event::Malformed(_), _) => {}
            }
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(script: &str) -> Session {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        Session::start(shell, Wire::Mux).unwrap()
    }

    #[test]
    fn streams_are_taken_apart_and_the_firmware_is_kept_away() {
        let mut session = session(r"printf 'OpenSBI\n\0201log\0202out\020\020\0203err\020s42\n'");
        let mut seen = Vec::new();
        let ending = session.drain(None, |channel, bytes| seen.push((channel, bytes.to_vec())));
        assert_eq!(ending, Ending::Exited(42));
        let expected = [(Channel::Log, &b"log"[..]), (Channel::Stdout, b"out\x10"), (Channel::Stderr, b"err")];
        assert_eq!(seen, expected.map(|(channel, bytes)| (channel, bytes.to_vec())));
        assert_eq!(session.firmware_output(), "OpenSBI\n");
    }

    #[test]
    fn a_machine_that_dies_says_why() {
        let ending = session("echo no such device >&2; exit 1").drain(None, |_, _| {});
        let Ending::Died(why) = ending else { panic!("{ending:?}") };
        assert!(why.contains("exit status: 1"), "{why}");
    }

    #[test]
    fn a_silent_machine_is_hung_and_is_killed() {
        let started = Instant::now();
        let mut session = session("exec sleep 100");
        assert_eq!(session.drain(Some(Duration::from_millis(50)), |_, _| {}), Ending::Hung);
        drop(session);
        assert!(started.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn input_waits_for_the_kernel_and_is_encoded() {
        let mut session = session("printf '\\0202'; head -c 5 | od -An -tx1; printf '\\020s0\\n'");
        session.input().send(b"a\x10b");
        session.input().end();
        let mut seen = String::new();
        session.drain(Some(Duration::from_secs(20)), |_, bytes| seen.push_str(&String::from_utf8_lossy(bytes)));
        assert_eq!(seen.trim(), "61 10 10 62 10");
    }
}
