//! `touch`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::fs::{self, OpenOptions};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "touch",
    usage: "FILE...\nSets the times of files to now; makes missing ones.",
    options: Some(""),
    run,
};

fn run(options: &Options) -> Outcome {
    for file in options.some_args()? {
        if fs::exists(file) {
            fs::touch(file).map_err(about(file))?;
        } else {
            OpenOptions::new().write(true).create(true).open(file).map_err(about(file))?;
        }
    }
    Ok(0)
}
