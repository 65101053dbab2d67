//! `tail`.

use crate::input;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use rt::io::{self, Write};
use rt::println;

/// The tool.
pub static TOOL: Tool =
    Tool { name: "tail", usage: "[-n LINES] [FILE...]\nPrints the end of files (10 lines).", options: Some("n:"), run };

fn run(options: &Options) -> Outcome {
    let count = options.number('n', 10)? as usize;
    Ok(input::each(options, &options.args, |name, file| {
        if options.args.len() > 1 {
            println!("==> {name} <==");
        }
        let mut last: VecDeque<Vec<u8>> = VecDeque::new();
        input::lines(file, |line| {
            if last.len() == count {
                last.pop_front();
            }
            if count > 0 {
                last.push_back(line.to_vec());
            }
            Ok(true)
        })?;
        for line in &last {
            io::stdout().write_all(line)?;
            io::stdout().write_all(b"\n")?;
        }
        Ok(())
    }))
}
