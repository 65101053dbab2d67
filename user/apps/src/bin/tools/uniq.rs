//! `uniq`.

use crate::input::{self, about};
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::vec::Vec;
use rt::io::{self, Write};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "uniq",
    usage: "[-cd] [FILE]\nPrints lines that follow themselves once. -c: with how often  -d: only repeated ones",
    options: Some("cd"),
    run,
};

fn run(options: &Options) -> Outcome {
    let (lines, status) = input::all_lines(options);
    for group in lines.chunk_by(|a, b| a == b) {
        if options.has('d') && group.len() < 2 {
            continue;
        }
        let mut out: Vec<u8> = Vec::new();
        if options.has('c') {
            out.extend_from_slice(alloc::format!("{:7} ", group.len()).as_bytes());
        }
        out.extend_from_slice(&group[0]);
        out.push(b'\n');
        io::stdout().write_all(&out).map_err(about("standard output"))?;
    }
    Ok(status)
}
