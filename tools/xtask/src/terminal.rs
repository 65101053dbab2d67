//! The host's terminal in raw mode, for as long as the guest's shell owns it.

use anyhow::Result;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::io::IsTerminal;

/// Restores the terminal when dropped.
pub struct RawMode {
    saved: Option<Termios>,
}

impl RawMode {
    /// Switches standard input to raw mode if it is a terminal: each key goes to the guest as it is typed,
    /// Ctrl-C included. Output processing stays on, so that a bare newline of the kernel log is a new line.
    pub fn enter() -> Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self { saved: None });
        }
        let saved = termios::tcgetattr(&input)?;
        let mut raw = saved.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= termios::InputModes::IXON | termios::InputModes::ICRNL | termios::InputModes::BRKINT;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(&input, OptionalActions::Drain, &raw)?;
        Ok(Self { saved: Some(saved) })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // A terminal that is gone needs no restoring.
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, saved);
        }
    }
}

/// Columns and rows of the terminal, if there is one.
pub fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}
