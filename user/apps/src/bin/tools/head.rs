//! `head`.

use crate::input;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::io::{self, Read, Write};
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "head",
    usage: "[-n LINES | -c BYTES] [FILE...]\nPrints the beginning of files (10 lines).",
    options: Some("n:c:"),
    run,
};

fn run(options: &Options) -> Outcome {
    let (count, bytes) = (options.number('n', 10)?, options.value('c').is_some());
    let limit = options.number('c', 0)?;
    Ok(input::each(options, &options.args, |name, file| {
        if options.args.len() > 1 {
            println!("==> {name} <==");
        }
        if bytes { first_bytes(file, limit) } else { first_lines(file, count) }
    }))
}

fn first_bytes(file: &mut input::Input, mut left: u64) -> io::Result<()> {
    let mut buf = [0u8; 4096];
    while left > 0 {
        let n = file.read(&mut buf[..left.min(4096) as usize])?;
        if n == 0 {
            break;
        }
        io::stdout().write_all(&buf[..n])?;
        left -= n as u64;
    }
    Ok(())
}

fn first_lines(file: &mut input::Input, count: u64) -> io::Result<()> {
    let mut left = count;
    if left == 0 {
        return Ok(());
    }
    input::lines(file, |line| {
        io::stdout().write_all(line)?;
        io::stdout().write_all(b"\n")?;
        left -= 1;
        Ok(left > 0)
    })
}
