//! `poweroff`, `halt` and `reboot`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::system;

/// Switches the machine off.
pub static TOOL: Tool =
    Tool { name: "poweroff", usage: "\nWrites out the disks and switches off.", options: Some("f"), run: off };
/// The same.
pub static HALT: Tool =
    Tool { name: "halt", usage: "\nWrites out the disks and switches off.", options: Some("f"), run: off };
/// Starts the machine again.
pub static REBOOT: Tool =
    Tool { name: "reboot", usage: "\nWrites out the disks and starts again.", options: Some("f"), run: again };

fn off(_: &Options) -> Outcome {
    system::sync();
    system::power_off().map_err(|e| e.to_string())?;
    Ok(0)
}

fn again(_: &Options) -> Outcome {
    system::sync();
    system::restart().map_err(|e| e.to_string())?;
    Ok(0)
}
