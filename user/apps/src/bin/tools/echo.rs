//! `echo`.

use crate::options::Options;
use crate::{Outcome, Tool};
use rt::print;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "echo", usage: "[-n] [WORD...]\nPrints the words. -n: without a newline.", options: None, run };

fn run(options: &Options) -> Outcome {
    let (words, end) = match options.args.split_first() {
        Some((&"-n", rest)) => (rest, ""),
        _ => (options.args.as_slice(), "\n"),
    };
    print!("{}{end}", words.join(" "));
    Ok(0)
}
