//! `cut`.

use crate::input::{self, about};
use crate::options::{Options, number};
use crate::{Outcome, Tool};
use alloc::string::String;
use alloc::vec::Vec;
use rt::io::{self, Write};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cut",
    usage:
        "(-f LIST [-d CHAR] | -c LIST) [FILE...]\nPrints fields (-f, between tabs or CHAR) or bytes (-c) of each line.
LIST: numbers and ranges, as in 1,3-5,7-",
    options: Some("f:d:c:"),
    run,
};

/// Ranges of positions, from 1, both ends in.
fn list(text: &str) -> Result<Vec<(u64, u64)>, String> {
    let range = |part: &str| match part.split_once('-') {
        None => number(part).map(|n| (n, n)),
        Some((first, last)) => Ok((
            if first.is_empty() { 1 } else { number(first)? },
            if last.is_empty() { u64::MAX } else { number(last)? },
        )),
    };
    text.split(',').map(range).collect()
}

fn run(options: &Options) -> Outcome {
    let fields = options.value('f');
    let ranges = list(fields.or(options.value('c')).ok_or("needs -f or -c")?)?;
    let wanted = |i: usize| ranges.iter().any(|&(first, last)| (first..=last).contains(&(i as u64 + 1)));
    let delimiter = options.value('d').and_then(|d| d.bytes().next()).unwrap_or(b'\t');
    let (lines, status) = input::all_lines(options);
    for line in lines {
        let mut out: Vec<u8> = if fields.is_none() {
            line.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, b)| *b).collect()
        } else if !line.contains(&delimiter) {
            line
        } else {
            let parts: Vec<&[u8]> =
                line.split(|&b| b == delimiter).enumerate().filter(|(i, _)| wanted(*i)).map(|(_, p)| p).collect();
            parts.join(&delimiter)
        };
        out.push(b'\n');
        io::stdout().write_all(&out).map_err(about("standard output"))?;
    }
    Ok(status)
}
