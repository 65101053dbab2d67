//! `chmod`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::fs;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "chmod", usage: "MODE FILE...\nSets the permissions (octal).", options: Some(""), run };

fn run(options: &Options) -> Outcome {
    let (mode, files) = options.some_args()?.split_first().ok_or("missing argument")?;
    let mode = u32::from_str_radix(mode, 8).map_err(|_| alloc::format!("{mode}: not an octal mode").to_string())?;
    for file in files {
        fs::set_permissions(file, mode).map_err(about(file))?;
    }
    Ok(0)
}
