//! `mkdir`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::fs;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "mkdir",
    usage: "[-p] DIRECTORY...\nMakes directories. -p: with those above; existing ones are no error.",
    options: Some("p"),
    run,
};

fn run(options: &Options) -> Outcome {
    for dir in options.some_args()? {
        let made = if options.has('p') { fs::create_dir_all(dir) } else { fs::create_dir(dir) };
        made.map_err(about(dir))?;
    }
    Ok(0)
}
