//! Arguments: option letters, together or apart, with values behind them or in the next argument; `--` ends options.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The arguments of a tool, taken apart.
#[derive(Debug)]
pub struct Options {
    /// The tool's name, for messages.
    pub name: &'static str,
    flags: Vec<char>,
    values: Vec<(char, &'static str)>,
    /// What is no option.
    pub args: Vec<&'static str>,
}

impl Options {
    /// Takes `args` apart by `known`; with `None` they are left as they are.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(name: &'static str, args: &[&'static str], known: Option<&str>) -> Result<Self, String> {
        let mut options = Self { name, flags: Vec::new(), values: Vec::new(), args: Vec::new() };
        let Some(known) = known else {
            options.args = args.to_vec();
            return Ok(options);
        };
        let mut rest = args.iter().copied();
        while let Some(arg) = rest.next() {
            match arg.strip_prefix('-') {
                Some("-") => {
                    options.args.extend(rest);
                    break;
                }
                Some(letters) if !letters.is_empty() => options.letters(letters, known, &mut rest)?,
                _ => options.args.push(arg),
            }
        }
        Ok(options)
    }

    fn letters(
        &mut self,
        letters: &'static str,
        known: &str,
        rest: &mut impl Iterator<Item = &'static str>,
    ) -> Result<(), String> {
        // "-5" is short for "-n 5" where there is a -n.
        if known.contains("n:") && letters.bytes().all(|b| b.is_ascii_digit()) {
            self.values.push(('n', letters));
            return Ok(());
        }
        for (at, letter) in letters.char_indices() {
            let position = known.find(letter).filter(|_| letter != ':');
            let position = position.ok_or_else(|| alloc::format!("unknown option -{letter}"))?;
            if known[position + 1..].starts_with(':') {
                let behind = &letters[at + letter.len_utf8()..];
                let value = if behind.is_empty() { rest.next() } else { Some(behind) };
                self.values.push((letter, value.ok_or_else(|| alloc::format!("-{letter} needs a value"))?));
                break;
            }
            self.flags.push(letter);
        }
        Ok(())
    }

    /// Whether a letter was given.
    pub fn has(&self, letter: char) -> bool {
        self.flags.contains(&letter)
    }

    /// The value of a letter; the last one counts.
    pub fn value(&self, letter: char) -> Option<&'static str> {
        self.values.iter().rev().find(|(l, _)| *l == letter).map(|(_, v)| *v)
    }

    /// The value of a letter as a number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, letter: char, default: u64) -> Result<u64, String> {
        self.value(letter).map_or(Ok(default), number)
    }

    /// The arguments, of which there must be at least one.
    ///
    /// # Errors
    /// When there is none.
    pub fn some_args(&self) -> Result<&[&'static str], String> {
        if self.args.is_empty() { Err("missing argument; try --help".to_string()) } else { Ok(&self.args) }
    }
}

/// Text as a number.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| alloc::format!("{text}: not a number"))
}
