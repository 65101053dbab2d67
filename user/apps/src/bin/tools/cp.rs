//! `cp`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::{String, ToString};
use rt::fs::{self, File};
use rt::{io, path};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cp",
    usage: "[-r] FROM... TO\nCopies files, with -r directories too. TO may be a directory.",
    options: Some("r"),
    run,
};

/// The target of each source: `to` itself, or below it if it is a directory.
pub fn target(to: &str, from: &str) -> String {
    if fs::metadata(to).is_ok_and(|m| m.is_dir()) { path::join(to, path::file_name(from)) } else { to.to_string() }
}

fn run(options: &Options) -> Outcome {
    let Some((to, from)) = options.args.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err("needs FROM and TO".to_string());
    };
    if from.len() > 1 && !fs::metadata(to).is_ok_and(|m| m.is_dir()) {
        return Err(alloc::format!("{to}: not a directory"));
    }
    for from in from {
        copy(from, &target(to, from), options.has('r'))?;
    }
    Ok(0)
}

/// Copies a file, or a directory with all that is in it.
pub fn copy(from: &str, to: &str, recursive: bool) -> Result<(), String> {
    let meta = fs::metadata(from).map_err(about(from))?;
    if meta.is_dir() {
        if !recursive {
            return Err(alloc::format!("{from}: is a directory (use -r)"));
        }
        if alloc::format!("{to}/").starts_with(&alloc::format!("{}/", from.trim_end_matches('/'))) {
            return Err(alloc::format!("{from}: cannot be copied into itself"));
        }
        fs::create_dir_all(to).map_err(about(to))?;
        for entry in fs::read_dir(from).map_err(about(from))? {
            copy(&path::join(from, &entry.name), &path::join(to, &entry.name), true)?;
        }
        return Ok(());
    }
    if fs::metadata(to).is_ok_and(|t| (t.stat().dev, t.stat().ino) == (meta.stat().dev, meta.stat().ino)) {
        return Err(alloc::format!("{from} and {to} are the same file"));
    }
    let mut source = File::open(from).map_err(about(from))?;
    let mut sink = File::create(to).map_err(about(to))?;
    io::copy(&mut source, &mut sink).map_err(about(to))?;
    // Where there are no permissions to set, the copy is as good as it gets.
    let _ = fs::set_permissions(to, meta.stat().mode & 0o7777);
    Ok(())
}
