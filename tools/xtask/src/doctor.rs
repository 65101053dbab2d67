//! The verb `doctor`: what is there, what is missing, what would be used.

use crate::command;
use crate::emulator::Emulator;
use crate::project::Project;
use crate::setup;
use crate::toolchain::{Route, Toolchain};
use anyhow::Result;

const HELP: &str = "\
cargo xtask doctor

Says which toolchain, emulator and tools would be used, and what is missing. Changes nothing.
";

/// The verb `doctor`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    if arguments.next()?.is_some() {
        print!("{HELP}");
        return Ok(0);
    }
    let toolchain = Toolchain::choose()?;
    let route = match toolchain.route {
        Route::Rustup => "the one at hand, with bare-metal targets",
        Route::Debian => "Debian's packages, core built from source",
    };
    println!("toolchain   {route}");
    println!("compiler    {}", toolchain.version());
    match (toolchain.route, toolchain.missing_targets()) {
        (Route::Rustup, missing) if !missing.is_empty() => println!("targets     missing: {}", missing.join(" ")),
        (Route::Rustup, _) => println!("targets     installed"),
        (Route::Debian, _) => {
            println!("source      {}", if toolchain.has_library_source() { "installed" } else { "missing" })
        }
    }
    let project = Project::load()?;
    match Emulator::find(&project, None) {
        Ok(emulator) => println!("emulator    {} (AIA: {})", emulator.version, emulator.has_aia()),
        Err(error) => println!("emulator    {error:#}"),
    }
    println!("firmware    {}", if setup::has_firmware() { "installed" } else { "not found; QEMU may bring its own" });
    for program in ["mkfs.ext4", "debugfs", "e2fsck"] {
        let place = command::find(program).map_or_else(|| "missing".into(), |path| path.display().to_string());
        println!("{program:<11} {place}");
    }
    Ok(0)
}
