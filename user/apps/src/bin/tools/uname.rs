//! `uname`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use alloc::vec::Vec;
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "uname",
    usage: "[-asnrvm]\nPrints names of the system: -s system  -n host  -r release  -v version  -m machine  -a all",
    options: Some("asnrvm"),
    run,
};

fn run(options: &Options) -> Outcome {
    let names = rt::system::uname().map_err(|e| e.to_string())?;
    let all =
        [('s', names.sysname), ('n', names.nodename), ('r', names.release), ('v', names.version), ('m', names.machine)];
    let none = !all.iter().any(|(letter, _)| options.has(*letter));
    let wanted = |letter| options.has('a') || options.has(letter) || (none && letter == 's');
    let words: Vec<_> = all.into_iter().filter(|(letter, _)| wanted(*letter)).map(|(_, name)| name).collect();
    println!("{}", words.join(" "));
    Ok(0)
}
