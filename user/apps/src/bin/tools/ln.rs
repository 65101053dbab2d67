//! `ln`.

use crate::cp;
use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::fs;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "ln",
    usage: "[-s] TARGET NAME\nMakes another name, or with -s a symbolic link.",
    options: Some("s"),
    run,
};

fn run(options: &Options) -> Outcome {
    let [from, to] = options.args.as_slice() else { return Err("needs TARGET and NAME".to_string()) };
    let to = cp::target(to, from);
    let made = if options.has('s') { fs::symlink(from, &to) } else { fs::hard_link(from, &to) };
    made.map_err(about(&to))?;
    Ok(0)
}
