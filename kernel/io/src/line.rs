//! The line discipline: how bytes from a keyboard become what `read` returns.
//!
//! Pure state, no locks and no waiting. Canonical input is edited in `pending` until a line end moves it to
//! `ready`, where `ends` remembers how long each line is (length 0: end of file). Raw input goes to `ready`
//! directly. Both are bounded: input beyond [`LIMIT`] is dropped, as in Linux.

use abi::{
    ioctl::{
        ECHO, ECHOCTL, ECHOE, ECHOK, ECHONL, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG, ISTRIP, NOFLSH, OCRNL, ONLCR,
        OPOST, TOSTOP, Termios, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VMIN, VQUIT, VSUSP, VTIME, VWERASE,
    },
    signal::{SIGINT, SIGQUIT, SIGTSTP},
};
use alloc::{collections::VecDeque, vec::Vec};

/// Bytes of input that are kept.
pub const LIMIT: usize = 4096;

/// What one byte of input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was input.
    Input,
    /// It was a request for this signal to the foreground group.
    Signal(u32),
}

/// The state of one terminal's input.
pub struct Line {
    termios: Termios,
    pending: Vec<u8>,
    ready: VecDeque<u8>,
    ends: VecDeque<usize>,
    literal: bool,
    ended: bool,
    /// The time that a raw read waits has passed: the next one takes what is there.
    expired: bool,
}

impl Line {
    /// Default settings, no input.
    pub fn new() -> Line {
        Line {
            termios: Termios::DEFAULT,
            pending: Vec::new(),
            ready: VecDeque::new(),
            ends: VecDeque::new(),
            literal: false,
            ended: false,
            expired: false,
        }
    }

    /// The settings.
    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Changes the settings. Input that was edited so far becomes readable when editing is switched off.
    pub fn set_termios(&mut self, termios: Termios) {
        let was = self.canonical();
        self.termios = termios;
        if was && !self.canonical() {
            self.ready.extend(self.pending.drain(..));
            self.ends.clear();
        } else if !was && self.canonical() && !self.ready.is_empty() {
            self.ends.push_back(self.ready.len());
        }
    }

    /// Drops input that was not read.
    pub fn flush(&mut self) {
        self.pending.clear();
        self.ready.clear();
        self.ends.clear();
        self.literal = false;
    }

    /// There will be no more input.
    pub fn end(&mut self) {
        self.submit();
        self.ended = true;
    }

    /// Takes one byte from the device; `echo` gets what the terminal shows for it.
    pub fn input(&mut self, byte: u8, echo: &mut Vec<u8>) -> Outcome {
        let Some(byte) = self.translate(byte) else { return Outcome::Input };
        if core::mem::take(&mut self.literal) {
            self.store(byte, echo);
            return Outcome::Input;
        }
        if self.flag(ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            self.show_control(byte, echo);
            if !self.flag(NOFLSH) {
                self.flush();
            }
            return Outcome::Signal(signal);
        }
        if self.canonical() {
            self.edit(byte, echo);
        } else {
            self.store(byte, echo);
        }
        Outcome::Input
    }

    /// Whether there is input, as `poll` sees it: raw, so many bytes as a read without a time limit waits for.
    pub fn ready(&self) -> bool {
        let least = if self.time().is_none() { self.least() } else { 1 };
        self.ended || if self.canonical() { !self.ends.is_empty() } else { self.ready.len() >= least.max(1) }
    }

    /// Whether a read of up to `len` bytes would not wait.
    pub fn answers(&self, len: usize) -> bool {
        if self.ended || self.canonical() {
            return self.ready();
        }
        let least = match self.time() {
            // The time decides, if nothing comes.
            Some(_) if self.least() == 0 => 1,
            _ => self.least(),
        };
        self.ready.len() >= least.min(len) || self.expired && (self.least() == 0 || !self.ready.is_empty())
    }

    /// When a raw read waits no longer: `begun` and `last` are when it began and when the last byte came. `None`: it has no
    /// limit, or not yet.
    pub fn read_end(&self, begun: u64, last: u64) -> Option<u64> {
        let time = self.time().filter(|_| !self.canonical())?;
        match self.least() {
            0 => Some(begun.saturating_add(time)),
            // Between bytes: the first may take as long as it likes.
            _ => (!self.ready.is_empty()).then(|| begun.max(last).saturating_add(time)),
        }
    }

    /// The time of [`Line::read_end`] has come.
    pub fn expire(&mut self) {
        self.expired = true;
    }

    /// A raw read ends before there is as much as it waits for: whether the next one takes what there is.
    pub fn take_less(&mut self) -> bool {
        let some = !self.canonical() && !self.ready.is_empty();
        self.expired |= some;
        some
    }

    /// Whether output of processes in the background stops them.
    pub fn stops_output(&self) -> bool {
        self.flag(TOSTOP)
    }

    /// Bytes that a raw read waits for (`MIN`).
    fn least(&self) -> usize {
        self.termios.cc[VMIN].into()
    }

    /// The time limit of a raw read in nanoseconds (`TIME`, in tenths of a second).
    pub fn time(&self) -> Option<u64> {
        let tenths = self.termios.cc[VTIME];
        (tenths != 0).then_some(u64::from(tenths) * 100_000_000)
    }

    /// Bytes that can be read.
    pub fn available(&self) -> usize {
        if self.canonical() { self.ends.iter().sum() } else { self.ready.len() }
    }

    /// Copies what a read returns next into `bytes`, at most one line; `Some(0)` is end of file.
    pub fn peek(&self, bytes: &mut [u8]) -> Option<usize> {
        if !self.answers(bytes.len()) {
            return None;
        }
        let available = if self.canonical() { self.ends.front().copied().unwrap_or(0) } else { self.ready.len() };
        let len = available.min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(self.ready.iter().take(len)) {
            *to = *from;
        }
        Some(len)
    }

    /// Drops the first `len` bytes, which `peek` gave; whether that ended a line.
    pub fn consume(&mut self, len: usize) -> bool {
        self.ready.drain(..len.min(self.ready.len()));
        self.expired = false;
        if !self.canonical() {
            return self.ready.is_empty();
        }
        let Some(rest) = self.ends.front_mut() else { return true };
        *rest = rest.saturating_sub(len);
        let ended = *rest == 0;
        if ended {
            self.ends.pop_front();
        }
        ended
    }

    /// Output processing of `bytes` into `out`.
    pub fn cook(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.termios.oflag & OPOST == 0 {
            out.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            match byte {
                b'\n' if self.termios.oflag & ONLCR != 0 => out.extend_from_slice(b"\r\n"),
                b'\r' if self.termios.oflag & OCRNL != 0 => out.push(b'\n'),
                byte => out.push(*byte),
            }
        }
    }

    fn canonical(&self) -> bool {
        self.flag(ICANON)
    }

    fn flag(&self, flag: u32) -> bool {
        self.termios.lflag & flag != 0
    }

    /// Whether `byte` is the control character `which`; 0 switches one off.
    fn is(&self, byte: u8, which: usize) -> bool {
        byte != 0 && self.termios.cc[which] == byte
    }

    fn translate(&self, byte: u8) -> Option<u8> {
        let iflag = self.termios.iflag;
        let byte = if iflag & ISTRIP != 0 { byte & 0x7f } else { byte };
        match byte {
            b'\r' if iflag & IGNCR != 0 => None,
            b'\r' if iflag & ICRNL != 0 => Some(b'\n'),
            b'\n' if iflag & INLCR != 0 => Some(b'\r'),
            byte => Some(byte),
        }
    }

    fn signal_of(&self, byte: u8) -> Option<u32> {
        [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)]
            .into_iter()
            .find(|(which, _)| self.is(byte, *which))
            .map(|(_, signal)| signal)
    }

    fn edit(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.is(byte, VERASE) || byte == 8 && self.is(127, VERASE) {
            self.erase(echo);
        } else if self.is(byte, VKILL) {
            self.kill(echo);
        } else if self.flag(IEXTEN) && self.is(byte, VWERASE) {
            self.erase_word(echo);
        } else if self.flag(IEXTEN) && self.is(byte, VLNEXT) {
            self.literal = true;
        } else if self.is(byte, VEOF) {
            // An end of file takes no byte of the buffer, but memory.
            if self.ends.len() < LIMIT {
                self.submit();
            }
        } else if byte == b'\n' || self.is(byte, VEOL) || self.is(byte, VEOL2) {
            if self.flag(ECHO) || self.flag(ECHONL) && byte == b'\n' {
                self.cook(&[byte], echo);
            }
            // The line's end has the place that `store` left; without it nothing of the line would ever be read.
            if self.pending.len() + self.ready.len() < LIMIT {
                self.pending.push(byte);
                self.submit();
            }
        } else {
            self.store(byte, echo);
        }
    }

    /// Makes the edited line readable; an empty one is end of file.
    fn submit(&mut self) {
        self.ends.push_back(self.pending.len());
        self.ready.extend(self.pending.drain(..));
    }

    fn store(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.pending.len() + self.ready.len() >= LIMIT - 1 {
            return;
        }
        if self.canonical() {
            self.pending.push(byte);
        } else {
            self.ready.push_back(byte);
        }
        if self.flag(ECHO) {
            self.show(byte, echo);
        }
    }

    fn show(&self, byte: u8, echo: &mut Vec<u8>) {
        match byte {
            b'\n' | b'\t' => self.cook(&[byte], echo),
            byte if is_control(byte) => self.show_control(byte, echo),
            byte => echo.push(byte),
        }
    }

    fn show_control(&self, byte: u8, echo: &mut Vec<u8>) {
        if self.flag(ECHO) {
            if self.flag(ECHOCTL) {
                echo.extend_from_slice(&[b'^', byte ^ 0x40]);
            } else {
                echo.push(byte);
            }
        }
    }

    /// Drops the last character, which in UTF-8 may be several bytes.
    fn erase(&mut self, echo: &mut Vec<u8>) -> bool {
        let Some(mut byte) = self.pending.pop() else { return false };
        let first = byte;
        while byte & 0xc0 == 0x80 {
            match self.pending.pop() {
                Some(next) => byte = next,
                None => break,
            }
        }
        if self.flag(ECHO) && self.flag(ECHOE) {
            let width = if is_control(first) && self.flag(ECHOCTL) { 2 } else { 1 };
            for _ in 0..width {
                echo.extend_from_slice(b"\x08 \x08");
            }
        }
        true
    }

    fn erase_word(&mut self, echo: &mut Vec<u8>) {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        while self.pending.last().is_some_and(|byte| !is_word(byte)) {
            self.erase(echo);
        }
        while self.pending.last().is_some_and(is_word) {
            self.erase(echo);
        }
    }

    fn kill(&mut self, echo: &mut Vec<u8>) {
        if self.flag(ECHOE) {
            while self.erase(echo) {}
        } else {
            self.pending.clear();
            if self.flag(ECHO) && self.flag(ECHOK) {
                self.cook(b"\n", echo);
            }
        }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

fn is_control(byte: u8) -> bool {
    byte < 32 || byte == 127
}

#[cfg(test)]
mod tests;
