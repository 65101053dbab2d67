//! `grep`: lines that contain a fixed text.

use crate::input;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::vec::Vec;
use rt::io::{self, Write};
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "grep",
    usage: "[-ivnc] TEXT [FILE...]\nPrints the lines that contain TEXT (no pattern: as it is).
-i: small and capital letters alike  -v: the other lines  -n: with numbers  -c: only how many",
    options: Some("ivncF"),
    run,
};

/// Whether `line` contains `text`.
fn contains(line: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let same = |a: &[u8]| if ignore_case { a.eq_ignore_ascii_case(text) } else { a == text };
    text.is_empty() || line.windows(text.len()).any(same)
}

fn run(options: &Options) -> Outcome {
    let (text, files) = options.some_args()?.split_first().ok_or("missing argument")?;
    let mut found = false;
    let status = input::each(options, files, |name, file| {
        let (mut number, mut count) = (0u64, 0u64);
        input::lines(file, |line| {
            number += 1;
            if contains(line, text.as_bytes(), options.has('i')) != options.has('v') {
                count += 1;
                if !options.has('c') {
                    show(options, files.len() > 1, name, number, line)?;
                }
            }
            Ok(true)
        })?;
        found |= count > 0;
        if options.has('c') {
            if files.len() > 1 { println!("{name}:{count}") } else { println!("{count}") }
        }
        Ok(())
    });
    // As everywhere: 0 something found, 1 nothing found, 2 trouble.
    Ok(if status != 0 { 2 } else { i32::from(!found) })
}

fn show(options: &Options, with_name: bool, name: &str, number: u64, line: &[u8]) -> io::Result<()> {
    let mut out = Vec::new();
    if with_name {
        write!(out, "{name}:")?;
    }
    if options.has('n') {
        write!(out, "{number}:")?;
    }
    out.extend_from_slice(line);
    out.push(b'\n');
    io::stdout().write_all(&out)
}
