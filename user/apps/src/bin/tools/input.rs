//! What tools read: the files of their arguments one after the other, `-` or no argument being standard input.

use crate::options::Options;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use rt::eprintln;
use rt::fs::File;
use rt::io::{self, BufRead, BufReader, Read};

/// An open input.
pub type Input = BufReader<Box<dyn Read>>;

/// Opens a file, or standard input for `-`.
pub fn open(name: &str) -> io::Result<Input> {
    let inner: Box<dyn Read> = if name == "-" { Box::new(io::stdin()) } else { Box::new(File::open(name)?) };
    Ok(BufReader::new(inner))
}

/// Calls `f` for each input in turn. One that fails is reported, and the others go on; the status is 1 then.
pub fn each(options: &Options, args: &[&str], mut f: impl FnMut(&str, &mut Input) -> io::Result<()>) -> i32 {
    let names: &[&str] = if args.is_empty() { &["-"] } else { args };
    let mut status = 0;
    for name in names {
        if let Err(error) = open(name).and_then(|mut input| f(name, &mut input)) {
            eprintln!("{}: {name}: {error}", options.name);
            status = 1;
        }
    }
    status
}

/// Calls `f` for each line, without its newline, until it returns `false`. Lines are bytes: text need not be UTF-8.
pub fn lines(input: &mut Input, mut f: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !f(&line)? {
            return Ok(());
        }
    }
}

/// All lines of all inputs.
pub fn all_lines(options: &Options) -> (Vec<Vec<u8>>, i32) {
    let mut all = Vec::new();
    let status = each(options, &options.args, |_, input| {
        lines(input, |line| {
            all.push(line.to_vec());
            Ok(true)
        })
    });
    (all, status)
}

/// An error with the file it is about.
pub fn about(name: &str) -> impl FnOnce(io::Error) -> String {
    move |error| alloc::format!("{name}: {error}")
}
