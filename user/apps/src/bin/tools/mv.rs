//! `mv`.

use crate::cp;
use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::fs;
use rt::io::ErrorKind;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "mv", usage: "FROM... TO\nMoves or renames. TO may be a directory.", options: Some("f"), run };

fn run(options: &Options) -> Outcome {
    let Some((to, from)) = options.args.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err("needs FROM and TO".to_string());
    };
    if from.len() > 1 && !fs::metadata(to).is_ok_and(|m| m.is_dir()) {
        return Err(alloc::format!("{to}: not a directory"));
    }
    for from in from {
        let target = cp::target(to, from);
        match fs::rename(from, &target) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                cp::copy(from, &target, true)?;
                let directory = fs::symlink_metadata(from).is_ok_and(|m| m.is_dir());
                let removed = if directory { fs::remove_dir_all(from) } else { fs::remove_file(from) };
                removed.map_err(about(from))?;
            }
            other => other.map_err(about(from))?,
        }
    }
    Ok(0)
}
