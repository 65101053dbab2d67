//! `hexdump`.

use crate::input;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::String;
use rt::io::Read;
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "hexdump",
    usage: "[-C] [FILE...]\nPrints bytes in hexadecimal and as characters, 16 a line.",
    options: Some("C"),
    run,
};

fn run(options: &Options) -> Outcome {
    let mut offset = 0usize;
    let status = input::each(options, &options.args, |_, file| {
        let mut row = [0u8; 16];
        loop {
            let mut filled = 0;
            while filled < row.len() {
                match file.read(&mut row[filled..])? {
                    0 => break,
                    n => filled += n,
                }
            }
            if filled == 0 {
                return Ok(());
            }
            show(offset, &row[..filled]);
            offset += filled;
        }
    });
    println!("{offset:08x}");
    Ok(status)
}

fn show(offset: usize, row: &[u8]) {
    let mut hex = String::new();
    for (i, byte) in row.iter().enumerate() {
        hex.push_str(if i == 8 { "  " } else { " " });
        hex.push_str(&alloc::format!("{byte:02x}"));
    }
    let text: String =
        row.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '.' }).collect();
    println!("{offset:08x} {hex:49}  |{text}|");
}
