//! The line editor: bytes of a terminal in raw mode in, a line out. It keeps text, cursor and history; [`Editor::render`]
//! says what to write so that the terminal shows them.
//!
//! ```text
//!   Plain ── ESC ──> Escape ── '[' or 'O' ──> Sequence ── final byte ──> Plain
//!     └── first byte of a character ──> bytes collected until it is whole
//! ```

use alloc::string::String;
use alloc::vec::Vec;

/// Longest line in characters; more is not taken.
const MOST: usize = 4096;
/// Lines of history kept.
const HISTORY: usize = 500;

/// What the caller has to do after a byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Show the line again.
    Redraw,
    /// Clear the screen and show the line.
    Clear,
    /// The line is finished.
    Submit(String),
    /// Ctrl-C: give the line up.
    Cancel,
    /// Ctrl-D on an empty line.
    End,
    /// TAB: complete what is before the cursor.
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    Escape,
    /// In a control sequence, with its number so far.
    Sequence(u16),
}

/// The editor.
#[derive(Debug)]
pub struct Editor {
    text: Vec<char>,
    cursor: usize,
    state: State,
    partial: Vec<u8>,
    history: Vec<String>,
    /// Which line of the history is shown; its length means the new line.
    shown: usize,
    /// The new line while a line of the history is shown.
    draft: Vec<char>,
    /// What was cut last.
    cut: Vec<char>,
}

impl Default for Editor {
    fn default() -> Self {
        Self::new()
    }
}

impl Editor {
    /// Empty, without history.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: Vec::new(),
            cursor: 0,
            state: State::Plain,
            partial: Vec::new(),
            history: Vec::new(),
            shown: 0,
            draft: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Begins a new line.
    pub fn start(&mut self) {
        self.text.clear();
        self.draft.clear();
        self.partial.clear();
        self.cursor = 0;
        self.state = State::Plain;
        self.shown = self.history.len();
    }

    /// Lines that were entered, oldest first.
    #[must_use]
    pub fn history(&self) -> &[String] {
        &self.history
    }

    /// Adds a line to the history, unless it is blank or the last one again.
    pub fn remember(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || self.history.last().is_some_and(|last| last == line) {
            return;
        }
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(line.into());
    }

    /// The text before the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> String {
        self.text[..self.cursor].iter().collect()
    }

    /// The whole text.
    #[must_use]
    pub fn line(&self) -> String {
        self.text.iter().collect()
    }

    /// Inserts at the cursor.
    pub fn insert(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.text.len() < MOST {
                self.text.insert(self.cursor, c);
                self.cursor += 1;
            }
        }
    }

    /// Takes a byte from the terminal.
    pub fn feed(&mut self, byte: u8) -> Action {
        match self.state {
            State::Plain if !self.partial.is_empty() || byte >= 0x80 => self.character(byte),
            State::Plain => self.key(byte),
            State::Escape => self.escape(byte),
            State::Sequence(number) => self.sequence(number, byte),
        }
    }

    /// Collects the bytes of a character that is not ASCII; what is no UTF-8 is dropped.
    fn character(&mut self, byte: u8) -> Action {
        self.partial.push(byte);
        match core::str::from_utf8(&self.partial) {
            Ok(text) => {
                let text = String::from(text);
                self.partial.clear();
                self.insert(&text);
                Action::Redraw
            }
            Err(error) => {
                if error.error_len().is_some() {
                    self.partial.clear();
                }
                Action::None
            }
        }
    }

    fn key(&mut self, byte: u8) -> Action {
        match byte {
            b'\r' | b'\n' => return Action::Submit(self.line()),
            b'\t' => return Action::Complete,
            0x03 => return Action::Cancel,
            0x04 if self.text.is_empty() => return Action::End,
            0x04 => self.delete(),
            0x0c => return Action::Clear,
            0x1b => {
                self.state = State::Escape;
                return Action::None;
            }
            0x01 => self.cursor = 0,
            0x02 => self.cursor = self.cursor.saturating_sub(1),
            0x05 => self.cursor = self.text.len(),
            0x06 => self.right(),
            0x08 | 0x7f => self.backspace(),
            0x0b => self.cut = self.text.split_off(self.cursor),
            0x0e => self.recall(1),
            0x10 => self.recall(-1),
            0x15 => self.cut_from(0),
            0x17 => self.cut_from(self.word_start()),
            0x19 => self.insert(&self.cut.iter().collect::<String>()),
            b' '.. => self.insert(char::from(byte).encode_utf8(&mut [0; 4])),
            _ => return Action::None,
        }
        Action::Redraw
    }

    fn escape(&mut self, byte: u8) -> Action {
        self.state = State::Plain;
        match byte {
            b'[' | b'O' => {
                self.state = State::Sequence(0);
                return Action::None;
            }
            b'b' => self.cursor = self.word_start(),
            b'f' => self.cursor = self.word_end(),
            _ => return Action::None,
        }
        Action::Redraw
    }

    fn sequence(&mut self, number: u16, byte: u8) -> Action {
        match byte {
            b'0'..=b'9' => {
                self.state = State::Sequence(number.wrapping_mul(10).wrapping_add(u16::from(byte - b'0')));
                return Action::None;
            }
            // Parameters after the first say which modifier was held: the final byte decides.
            b' '..=b'?' => return Action::None,
            _ => self.state = State::Plain,
        }
        match (byte, number) {
            (b'A', _) => self.recall(-1),
            (b'B', _) => self.recall(1),
            (b'C', _) => self.right(),
            (b'D', _) => self.cursor = self.cursor.saturating_sub(1),
            (b'H', _) | (b'~', 1 | 7) => self.cursor = 0,
            (b'F', _) | (b'~', 4 | 8) => self.cursor = self.text.len(),
            (b'~', 3) => self.delete(),
            _ => return Action::None,
        }
        Action::Redraw
    }

    fn right(&mut self) {
        self.cursor = (self.cursor + 1).min(self.text.len());
    }

    fn delete(&mut self) {
        if self.cursor < self.text.len() {
            self.text.remove(self.cursor);
        }
    }

    fn backspace(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.text.remove(self.cursor);
        }
    }

    fn cut_from(&mut self, start: usize) {
        self.cut = self.text.drain(start..self.cursor).collect();
        self.cursor = start;
    }

    fn word_start(&self) -> usize {
        let mut at = self.cursor;
        while at > 0 && self.text[at - 1].is_whitespace() {
            at -= 1;
        }
        while at > 0 && !self.text[at - 1].is_whitespace() {
            at -= 1;
        }
        at
    }

    fn word_end(&self) -> usize {
        let mut at = self.cursor;
        while at < self.text.len() && self.text[at].is_whitespace() {
            at += 1;
        }
        while at < self.text.len() && !self.text[at].is_whitespace() {
            at += 1;
        }
        at
    }

    /// Shows the line of the history that is `step` further.
    fn recall(&mut self, step: isize) {
        let Some(target) = self.shown.checked_add_signed(step).filter(|&t| t <= self.history.len()) else {
            return;
        };
        if self.shown == self.history.len() {
            self.draft = core::mem::take(&mut self.text);
        }
        self.text = match self.history.get(target) {
            Some(line) => line.chars().collect(),
            None => core::mem::take(&mut self.draft),
        };
        self.shown = target;
        self.cursor = self.text.len();
    }

    /// What to write when the row shows `before` with the cursor at its end, and only characters were added there that
    /// still fit; `None` if the row has to be shown anew.
    #[must_use]
    pub fn addition(&self, before: &str, prompt: &str, columns: usize) -> Option<String> {
        let line = self.line();
        let added = line.strip_prefix(before).filter(|_| self.cursor == self.text.len())?;
        let width = width_of(prompt.chars()) + width_of(line.chars());
        (width < columns).then(|| added.into())
    }

    /// Whether the cursor is behind the last character.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// What to write to show prompt and line on one row of `columns` columns, with the part around the cursor if the line
    /// is longer.
    #[must_use]
    pub fn render(&self, prompt: &str, columns: usize) -> String {
        let room = columns.saturating_sub(width_of(prompt.chars()) + 1).max(8);
        let mut start = 0;
        while width_of(self.text[start..self.cursor].iter().copied()) > room {
            start += 1;
        }
        let mut end = start;
        while end < self.text.len() && width_of(self.text[start..=end].iter().copied()) <= room {
            end += 1;
        }
        let shown: String = self.text[start..end].iter().collect();
        let mut out = alloc::format!("\r{prompt}{shown}\x1b[K");
        let back = width_of(self.text[self.cursor.min(end)..end].iter().copied());
        if back > 0 {
            out.push_str(&alloc::format!("\x1b[{back}D"));
        }
        out
    }
}

/// Columns that characters take: two for the wide ones of East Asia and emoji, none for combining marks.
fn width_of(text: impl Iterator<Item = char>) -> usize {
    text.map(|c| match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    })
    .sum()
}
