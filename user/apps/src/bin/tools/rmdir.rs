//! `rmdir`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::fs;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "rmdir", usage: "DIRECTORY...\nRemoves empty directories.", options: Some(""), run };

fn run(options: &Options) -> Outcome {
    for dir in options.some_args()? {
        fs::remove_dir(dir).map_err(about(dir))?;
    }
    Ok(0)
}
