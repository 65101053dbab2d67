//! `cat`.

use crate::input;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::io::{self, BufRead, Write};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cat",
    usage: "[-n] [FILE...]\nPrints files one after the other. -n: with line numbers.",
    options: Some("n"),
    run,
};

fn run(options: &Options) -> Outcome {
    let mut count = 0;
    let status = input::each(options, &options.args, |_, file| {
        let mut out = io::stdout();
        if !options.has('n') {
            return pass_on(file, &mut out);
        }
        input::lines(file, |line| {
            count += 1;
            write!(out, "{count:6}  ")?;
            out.write_all(line)?;
            out.write_all(b"\n")?;
            Ok(true)
        })
    });
    io::stdout().flush().map_err(input::about("standard output"))?;
    Ok(status)
}

/// Copies bytes as they come: whoever feeds the pipe may be waiting for them at the other end.
fn pass_on(file: &mut input::Input, out: &mut impl Write) -> io::Result<()> {
    loop {
        let bytes = file.fill_buf()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(());
        }
        out.write_all(bytes)?;
        out.flush()?;
        file.consume(len);
    }
}
