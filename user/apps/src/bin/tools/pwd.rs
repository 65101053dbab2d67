//! `pwd`.

use crate::options::Options;
use crate::{Outcome, Tool};
use alloc::string::ToString;
use rt::println;

/// The tool.
pub static TOOL: Tool = Tool { name: "pwd", usage: "\nPrints the working directory.", options: Some(""), run };

fn run(_: &Options) -> Outcome {
    println!("{}", rt::env::current_dir().map_err(|e| e.to_string())?);
    Ok(0)
}
