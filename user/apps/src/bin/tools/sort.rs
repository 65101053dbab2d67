//! `sort`.

use crate::input::{self, about};
use crate::options::Options;
use crate::{Outcome, Tool};
use core::cmp::Ordering;
use rt::io::{self, Write};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "sort",
    usage: "[-rnu] [FILE...]\nSorts lines. -r: backwards  -n: by number  -u: each line once",
    options: Some("rnu"),
    run,
};

/// The number that a line begins with, in thousandths.
fn leading(line: &[u8]) -> i128 {
    let text = core::str::from_utf8(line.trim_ascii_start()).unwrap_or_default();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mut value, mut scale, mut fraction) = (0i128, 1000, false);
    for c in digits.chars().take(30) {
        match c.to_digit(10) {
            Some(d) if !fraction => value = value * 10 + i128::from(d),
            Some(d) if scale > 1 => {
                scale /= 10;
                value = value * 10 + i128::from(d);
            }
            None if c == '.' && !fraction => fraction = true,
            _ => break,
        }
    }
    if negative { -value * scale } else { value * scale }
}

fn run(options: &Options) -> Outcome {
    let (mut lines, status) = input::all_lines(options);
    let order = |a: &[u8], b: &[u8]| {
        let first = if options.has('n') { leading(a).cmp(&leading(b)) } else { Ordering::Equal };
        first.then_with(|| a.cmp(b))
    };
    lines.sort_by(|a, b| if options.has('r') { order(b, a) } else { order(a, b) });
    if options.has('u') {
        lines.dedup();
    }
    for mut line in lines {
        line.push(b'\n');
        io::stdout().write_all(&line).map_err(about("standard output"))?;
    }
    Ok(status)
}
