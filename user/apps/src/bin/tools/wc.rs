//! `wc`.

use crate::input;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::String;
use rt::io::BufRead;
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "wc",
    usage: "[-lwc] [FILE...]\nCounts lines (-l), words (-w) and bytes (-c).",
    options: Some("lwc"),
    run,
};

fn show(options: &Options, counts: [u64; 3], name: &str) {
    let all = !['l', 'w', 'c'].iter().any(|&l| options.has(l));
    let mut line = String::new();
    for (letter, count) in ['l', 'w', 'c'].into_iter().zip(counts) {
        if all || options.has(letter) {
            line.push_str(&alloc::format!("{count:8}"));
        }
    }
    println!("{line}{}{name}", if name.is_empty() { "" } else { " " });
}

fn run(options: &Options) -> Outcome {
    let mut total = [0u64; 3];
    let status = input::each(options, &options.args, |name, file| {
        let (mut counts, mut in_word) = ([0u64; 3], false);
        loop {
            let buf = file.fill_buf()?;
            if buf.is_empty() {
                break;
            }
            for byte in buf {
                counts[0] += u64::from(*byte == b'\n');
                let blank = byte.is_ascii_whitespace();
                counts[1] += u64::from(!blank && !in_word);
                in_word = !blank;
            }
            let len = buf.len();
            counts[2] += len as u64;
            file.consume(len);
        }
        show(options, counts, if name == "-" { "" } else { name });
        total.iter_mut().zip(counts).for_each(|(t, c)| *t += c);
        Ok(())
    });
    if options.args.len() > 1 {
        show(options, total, "total");
    }
    Ok(status)
}
