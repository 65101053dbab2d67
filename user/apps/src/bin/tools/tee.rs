//! `tee`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::vec::Vec;
use rt::fs::OpenOptions;
use rt::io::{self, Read, Write};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "tee",
    usage: "[-a] [FILE...]\nCopies standard input to standard output and to files. -a: at their end",
    options: Some("a"),
    run,
};

fn run(options: &Options) -> Outcome {
    let mut files = Vec::new();
    for name in &options.args {
        let how = OpenOptions::new().write(true).create(true);
        let how = if options.has('a') { how.append(true) } else { how.truncate(true) };
        files.push((name, how.open(name).map_err(about(name))?));
    }
    let mut buf = [0u8; 8192];
    loop {
        let n = io::stdin().read(&mut buf).map_err(about("standard input"))?;
        if n == 0 {
            return Ok(0);
        }
        let mut out = io::stdout();
        out.write_all(&buf[..n]).and_then(|()| out.flush()).map_err(about("standard output"))?;
        for (name, file) in &mut files {
            file.write_all(&buf[..n]).map_err(about(name))?;
        }
    }
}
