//! `tr`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rt::io::{self, Read, Write};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "tr",
    usage: "SET1 SET2 | -d SET1\nReplaces each byte of SET1 by that of SET2 in its place, or deletes it (-d).
Sets: characters, ranges as in a-z, \\n \\t \\\\",
    options: Some("d"),
    run,
};

fn set(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let next = match byte {
            b'\\' => match rest.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(other) => other,
                None => b'\\',
            },
            b'-' if !bytes.is_empty() && rest.len() > 0 => {
                let first = bytes.pop().unwrap_or(b'-');
                let last = rest.next().unwrap_or(first);
                if last < first {
                    return Err(alloc::format!("{text}: range goes backwards"));
                }
                bytes.extend(first..last);
                last
            }
            other => other,
        };
        bytes.push(next);
    }
    Ok(bytes)
}

fn run(options: &Options) -> Outcome {
    let (from, to) = match (options.args.as_slice(), options.has('d')) {
        ([from, to], false) => (set(from)?, set(to)?),
        ([from], true) => (set(from)?, Vec::new()),
        _ => return Err("needs SET1 and SET2, or -d and SET1".to_string()),
    };
    if !options.has('d') && to.is_empty() {
        return Err("SET2 is empty".to_string());
    }
    let mut table: [Option<u8>; 256] = core::array::from_fn(|b| Some(b as u8));
    for (i, byte) in from.iter().enumerate() {
        // A shorter second set goes on with its last byte.
        table[usize::from(*byte)] = to.get(i).or(to.last()).copied();
    }
    let mut buf = [0u8; 8192];
    loop {
        let n = io::stdin().read(&mut buf).map_err(about("standard input"))?;
        if n == 0 {
            return Ok(0);
        }
        let out: Vec<u8> = buf[..n].iter().filter_map(|&b| table[usize::from(b)]).collect();
        io::stdout().write_all(&out).map_err(about("standard output"))?;
    }
}
