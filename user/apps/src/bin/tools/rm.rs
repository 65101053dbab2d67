//! `rm`.

use crate::options::Options;
use crate::{Outcome, Tool};
use rt::eprintln;
use rt::fs;
use rt::io::{self, ErrorKind};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "rm",
    usage: "[-rf] FILE...\nRemoves files. -r: directories with all that is in them. -f: missing files are no error.",
    options: Some("rRf"),
    run,
};

fn run(options: &Options) -> Outcome {
    if options.has('f') && options.args.is_empty() {
        return Ok(0);
    }
    let (mut status, recursive) = (0, options.has('r') || options.has('R'));
    for file in options.some_args()? {
        match remove(file, recursive) {
            Err(error) if error.kind() == ErrorKind::NotFound && options.has('f') => {}
            Err(error) => {
                eprintln!("rm: {file}: {error}");
                status = 1;
            }
            Ok(()) => {}
        }
    }
    Ok(status)
}

fn remove(file: &str, recursive: bool) -> io::Result<()> {
    if fs::symlink_metadata(file)?.is_dir() && recursive { fs::remove_dir_all(file) } else { fs::remove_file(file) }
}
