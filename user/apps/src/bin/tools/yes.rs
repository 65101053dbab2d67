//! `yes`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::io::{self, Write};

/// The tool.
pub static TOOL: Tool = Tool { name: "yes", usage: "[WORD...]\nPrints the words (y) for ever.", options: None, run };

fn run(options: &Options) -> Outcome {
    let words = if options.args.is_empty() { "y".into() } else { options.args.join(" ") };
    let line = alloc::format!("{words}\n").into_bytes();
    loop {
        io::stdout().write_all(&line).map_err(about("standard output"))?;
    }
}
