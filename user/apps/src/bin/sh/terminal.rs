//! Reading lines: on a terminal in raw mode with the line editor, else byte by byte, so that what follows a line is left for
//! the commands on it.

use crate::builtin;
use crate::state::{Shell, programs};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::abi::ioctl::Termios;
use rt::fs::File;
use rt::io::{self, Read, Write};
use rt::{env, fs, path, print, tty};
use shell::complete;
use shell::edit::{Action, Editor};

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// What was read.
#[derive(Debug)]
pub enum Input {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C.
    Cancelled,
    /// There is no more.
    End,
}

/// Where lines come from.
#[derive(Debug)]
pub struct Terminal {
    input: Option<File>,
    modes: Option<Termios>,
    editor: Editor,
    /// The last key was TAB and left several candidates.
    listing: bool,
    /// What the row shows, if the cursor is at its end.
    shown: Option<String>,
}

/// The terminal's modes while a line is edited; set back when dropped.
struct RawMode(Termios);

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that went away needs no modes.
        let _ = tty::set_attributes(0, &self.0);
    }
}

impl Terminal {
    /// Standard input.
    pub fn new() -> Self {
        Self {
            input: File::duplicate(0).ok(),
            modes: tty::attributes(0).ok(),
            editor: Editor::new(),
            listing: false,
            shown: None,
        }
    }

    /// Whether it is a terminal.
    pub fn is_interactive(&self) -> bool {
        self.modes.is_some()
    }

    /// Adds to the history; the whole history.
    pub fn remember(&mut self, text: &str) -> Vec<String> {
        self.editor.remember(&text.replace('\n', " "));
        self.editor.history().to_vec()
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.input.as_mut()?.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            _ => None,
        }
    }

    /// Reads a line; `more` if it continues a command.
    pub fn line(&mut self, shell: &Shell, more: bool) -> Input {
        match self.modes {
            Some(modes) => {
                let prompt = if more { "> ".to_string() } else { prompt() };
                match tty::set_attributes(0, &tty::raw(&modes)) {
                    Ok(()) => {
                        let _raw = RawMode(modes);
                        self.edit(shell, &prompt)
                    }
                    Err(_) => self.plain(),
                }
            }
            None => self.plain(),
        }
    }

    fn plain(&mut self) -> Input {
        let mut line = Vec::new();
        loop {
            match self.byte() {
                None if line.is_empty() => return Input::End,
                None | Some(b'\n') => return Input::Line(String::from_utf8_lossy(&line).to_string()),
                Some(byte) => line.push(byte),
            }
        }
    }

    fn edit(&mut self, shell: &Shell, prompt: &str) -> Input {
        self.editor.start();
        self.shown = None;
        self.show(prompt);
        loop {
            let Some(byte) = self.byte() else { return Input::End };
            let action = self.editor.feed(byte);
            if action != Action::Complete {
                self.listing = false;
            }
            match action {
                Action::None => {}
                Action::Redraw => self.show(prompt),
                Action::Clear => {
                    print!("\x1b[H\x1b[2J");
                    self.shown = None;
                    self.show(prompt);
                }
                Action::Complete => {
                    self.complete(shell);
                    self.show(prompt);
                }
                Action::Submit(line) => return finish("\r\n", Input::Line(line)),
                Action::Cancel => return finish("^C\r\n", Input::Cancelled),
                Action::End => return finish("\r\n", Input::End),
            }
        }
    }

    /// Brings the row up to date.
    fn show(&mut self, prompt: &str) {
        let columns = tty::size(1).map_or(COLUMNS, |(_, columns)| usize::from(columns));
        let addition = self.shown.as_ref().and_then(|shown| self.editor.addition(shown, prompt, columns));
        print!("{}", addition.unwrap_or_else(|| self.editor.render(prompt, columns)));
        let _ = io::stdout().flush();
        self.shown = self.editor.is_at_end().then(|| self.editor.line());
    }

    /// Completes what is before the cursor as far as the candidates agree; lists them at the second TAB.
    fn complete(&mut self, shell: &Shell) {
        let target = complete::target(&self.editor.before_cursor());
        let mut candidates =
            if target.command && !target.word.contains('/') { commands(&target.word) } else { paths(&target.word) };
        candidates.sort();
        candidates.dedup();
        let prefix = complete::common_prefix(candidates.iter().map(String::as_str));
        if let Some(rest) = prefix.strip_prefix(target.word.as_str()) {
            self.editor.insert(rest);
        }
        match candidates.as_slice() {
            [] => {}
            [only] => {
                if !only.ends_with('/') {
                    self.editor.insert(" ");
                }
            }
            _ if self.listing || shell.history.is_empty() && prefix == target.word => {
                let names: Vec<&str> = candidates.iter().map(|c| last_part(c)).collect();
                print!("\r\n{}\r\n", names.join("  "));
                self.shown = None;
            }
            _ => self.listing = true,
        }
    }
}

/// The name at the end of a candidate, with the slash of a directory.
fn last_part(candidate: &str) -> &str {
    let end = candidate.len() - usize::from(candidate.ends_with('/'));
    candidate[..end].rfind('/').map_or(candidate, |at| &candidate[at + 1..])
}

fn finish(text: &str, input: Input) -> Input {
    print!("{text}");
    let _ = io::stdout().flush();
    input
}

fn prompt() -> String {
    let directory = env::current_dir().unwrap_or_else(|_| "?".to_string());
    let home = env::var("HOME").filter(|h| h.len() > 1);
    let shown = match home.as_deref().and_then(|h| directory.strip_prefix(h)) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => alloc::format!("~{rest}"),
        _ => directory,
    };
    let mark = if rt::process::user_id() == 0 { '#' } else { '$' };
    alloc::format!("{shown} {mark} ")
}

fn commands(prefix: &str) -> Vec<String> {
    let own = builtin::ALL.iter().map(|b| b.name.to_string()).filter(|n| n.starts_with(prefix));
    own.chain(programs(prefix)).collect()
}

fn paths(prefix: &str) -> Vec<String> {
    let (directory, name) = prefix.rfind('/').map_or(("", prefix), |at| prefix.split_at(at + 1));
    let listed = if directory.is_empty() { "." } else { directory };
    let mut found = Vec::new();
    for entry in fs::read_dir(listed).unwrap_or_default() {
        let hidden = entry.name.starts_with('.') && !name.starts_with('.');
        if entry.name.starts_with(name) && !hidden {
            let slash = if fs::metadata(&path::join(listed, &entry.name)).is_ok_and(|m| m.is_dir()) { "/" } else { "" };
            found.push(alloc::format!("{directory}{}{slash}", entry.name));
        }
    }
    found
}
