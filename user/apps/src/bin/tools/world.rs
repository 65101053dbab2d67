//! `world`: how this process is isolated, or a program in a chosen world.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::println;
use rt::process::{self, Command, World};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "world",
    usage: "[auto|vm|table|shared PROGRAM ARGS...]\nPrints the world this runs in, or runs a program in the one named.",
    options: None,
    run,
};

fn run(options: &Options) -> Outcome {
    let [name, program, args @ ..] = options.args.as_slice() else {
        println!("{}", process::world().map_err(about("world"))?.name());
        return Ok(0);
    };
    let world = World::from_name(name).ok_or_else(|| alloc::format!("{name}: no such world; try --help"))?;
    let status = Command::new(program).args(args).world(world).status().map_err(about(program))?;
    Ok(status.shell_code())
}
