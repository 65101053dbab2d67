//! The kernel command line.
//!
//! | word | meaning |
//! |---|---|
//! | `console=mux` | several streams over the UART (design note 0001, section 6) |
//! | `tty=raw` | no line editing and no echo on the terminal |
//! | `tty.size=COLUMNSxROWS` | size of the terminal |
//! | `world=auto\|vm\|table\|shared` | where processes run unless they say otherwise |
//! | `uintr=auto\|aia\|nuintc\|soft` | user interrupts come in this way only |
//! | `log=error\|warn\|info\|debug\|off` | what is logged |
//! | `init=PATH` | the first process; its exit powers the machine off |
//! | `-- ARGUMENT...` | its arguments |
//!
//! Words of `init` and the arguments are encoded as `abi::command_line` says.

use abi::asyncos::{WORLD_AUTO, WORLD_SHARED, WORLD_TABLE, WORLD_VM};
use alloc::vec::Vec;
use log::LevelFilter;
use process::uintr::backends;

/// What the command line asks for.
pub struct Options {
    /// Several streams over the UART.
    pub mux: bool,
    /// The terminal is not a person.
    pub raw: bool,
    /// Columns and rows of the terminal.
    pub size: Option<(u16, u16)>,
    /// Default world.
    pub world: usize,
    /// The backend of user interrupts.
    pub interrupts: usize,
    /// Log level.
    pub log: LevelFilter,
    /// Path of the first process, if it is not the usual one.
    pub init: Option<Vec<u8>>,
    /// Its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Words that mean nothing here.
    pub unknown: Vec<&'static str>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(text: &'static str) -> Self {
        let mut options = Self {
            mux: false,
            raw: false,
            size: None,
            world: WORLD_AUTO,
            interrupts: backends::AUTO,
            log: LevelFilter::Info,
            init: None,
            arguments: Vec::new(),
            unknown: Vec::new(),
        };
        let mut words = text.split_ascii_whitespace();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            if options.word(word).is_none() {
                options.unknown.push(word);
            }
        }
        options.arguments = words.map(|word| abi::command_line::decode(word).collect()).collect();
        options
    }

    /// Takes one word; `None` if it means nothing.
    fn word(&mut self, word: &str) -> Option<()> {
        match word.split_once('=')? {
            ("console", "mux") => self.mux = true,
            ("tty", "raw") => self.raw = true,
            ("tty.size", size) => {
                let (columns, rows) = size.split_once('x')?;
                self.size = Some((columns.parse().ok()?, rows.parse().ok()?));
            }
            ("world", "auto") => self.world = WORLD_AUTO,
            ("world", "vm") => self.world = WORLD_VM,
            ("world", "table") => self.world = WORLD_TABLE,
            ("world", "shared") => self.world = WORLD_SHARED,
            ("uintr", "auto") => self.interrupts = backends::AUTO,
            ("uintr", "aia") => self.interrupts = abi::uintr::AIA,
            ("uintr", "nuintc") => self.interrupts = abi::uintr::NUINTC,
            ("uintr", "soft") => self.interrupts = abi::uintr::SOFT,
            ("log", level) => self.log = level.parse().ok()?,
            ("init", path) => self.init = Some(abi::command_line::decode(path).collect()),
            _ => return None,
        }
        Some(())
    }
}
