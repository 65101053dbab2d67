//! Set-up of a machine: find what is missing, say what will be installed and how, install it.
//!
//! On Debian and its kin packages come from the distribution's own client and its own configuration;
//! elsewhere the exact line is printed and nothing is touched.

use crate::apt;
use crate::command::{self, say};
use crate::emulator::Emulator;
use crate::project::Project;
use crate::toolchain::{Route, Toolchain};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const HELP: &str = "\
cargo xtask setup [--qemu backports] [--linux]

Installs what building and running AsyncOS needs and this machine lacks. Says what, and how, first.
`run`, `test` and `bench` do the same when they start. ASYNCOS_TOOLCHAIN=rustup|debian forces one
of the two Rust toolchains.
    --qemu backports    fetch the distribution's newer QEMU into .cache too
    --linux             fetch Debian's riscv64 kernel for `bench --linux` into .cache too
";

/// A program that must be there, and the package that has it: Debian, Arch, Fedora, Homebrew.
struct Need {
    program: &'static str,
    debian: &'static str,
    arch: &'static str,
    fedora: &'static str,
    brew: &'static str,
}

const NEEDS: [Need; 4] = [
    Need {
        program: "qemu-system-riscv64",
        debian: "qemu-system-misc",
        arch: "qemu-system-riscv",
        fedora: "qemu-system-riscv",
        brew: "qemu",
    },
    Need { program: "mkfs.ext4", debian: "e2fsprogs", arch: "e2fsprogs", fedora: "e2fsprogs", brew: "e2fsprogs" },
    Need { program: "debugfs", debian: "e2fsprogs", arch: "e2fsprogs", fedora: "e2fsprogs", brew: "e2fsprogs" },
    Need { program: "e2fsck", debian: "e2fsprogs", arch: "e2fsprogs", fedora: "e2fsprogs", brew: "e2fsprogs" },
];

/// Folders in which distributions keep OpenSBI's firmware for `-bios default`.
const FIRMWARE: [&str; 4] = [
    "/usr/share/qemu",
    "/usr/lib/riscv64-linux-gnu/opensbi/generic",
    "/usr/local/share/qemu",
    "/opt/homebrew/share/qemu",
];
const FIRMWARE_FILES: [&str; 2] = ["opensbi-riscv64-generic-fw_dynamic.bin", "fw_dynamic.bin"];

/// The verb `setup`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    use lexopt::prelude::*;
    let (mut qemu, mut linux) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("qemu") => qemu = Some(arguments.value()?.string()?),
            Long("linux") => linux = true,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    ensure()?;
    let project = Project::load()?;
    say(Emulator::find(&project, qemu.as_deref())?.version);
    if linux {
        say(apt::linux_kernel(&project)?.display().to_string());
    }
    say("everything is there");
    Ok(0)
}

/// Makes sure that everything needed to build and run is there, and returns the toolchain to use.
pub fn ensure() -> Result<Toolchain> {
    let toolchain = Toolchain::choose()?;
    let mut packages: Vec<String> = missing_programs().into_iter().map(str::to_owned).collect();
    if toolchain.route == Route::Debian {
        packages.extend(missing_compiler(&toolchain));
    }
    install(&packages)?;
    if toolchain.route == Route::Debian {
        // Which linker it wants is known once the compiler is there.
        install(missing_linker().as_slice())?;
    }
    if toolchain.route == Route::Rustup {
        add_targets(&toolchain)?;
    }
    Ok(toolchain)
}

/// Whether OpenSBI's firmware lies where QEMU looks for it.
pub fn has_firmware() -> bool {
    FIRMWARE.iter().any(|folder| FIRMWARE_FILES.iter().any(|file| Path::new(folder).join(file).is_file()))
}

fn missing_programs() -> Vec<&'static str> {
    let pick: fn(&Need) -> &'static str = match client() {
        Client::Apt => |need| need.debian,
        Client::Pacman => |need| need.arch,
        Client::Dnf => |need| need.fedora,
        Client::Brew | Client::Unknown => |need| need.brew,
    };
    let mut packages: Vec<&str> = NEEDS.iter().filter(|need| command::find(need.program).is_none()).map(pick).collect();
    if client() == Client::Apt && !has_firmware() {
        packages.push("opensbi");
    }
    packages.dedup();
    packages
}

fn missing_compiler(toolchain: &Toolchain) -> Vec<String> {
    let mut packages = Vec::new();
    if !toolchain.is_present() {
        packages.extend(["rustc-web".into(), "cargo-web".into()]);
    }
    if !toolchain.has_library_source() {
        packages.push("rust-web-src".into());
    }
    if Path::new("/usr/bin/rust-lld").symlink_metadata().is_err() {
        packages.push("rust-web-llvm".into());
    }
    packages.extend(missing_linker());
    packages
}

/// Debian leaves the linker that the bare-metal targets ask for to the LLVM packages: `rust-lld` is a link
/// to `lld-NN`, which is also the name of the package that has it.
fn missing_linker() -> Option<String> {
    let link = Path::new("/usr/bin/rust-lld");
    let target = std::fs::read_link(link).ok()?;
    (!link.exists()).then(|| target.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Apt,
    Pacman,
    Dnf,
    Brew,
    Unknown,
}

fn client() -> Client {
    let known = [("apt-get", Client::Apt), ("pacman", Client::Pacman), ("dnf", Client::Dnf), ("brew", Client::Brew)];
    known
        .into_iter()
        .find(|(program, _)| command::find(program).is_some())
        .map_or(Client::Unknown, |(_, client)| client)
}

fn install(packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    match client() {
        Client::Apt => apt_install(packages),
        Client::Pacman => bail!("please install what is missing, then try again:\n    sudo pacman -S --needed {list}"),
        Client::Dnf => bail!("please install what is missing, then try again:\n    sudo dnf install {list}"),
        Client::Brew => bail!("please install what is missing, then try again:\n    brew install {list}"),
        Client::Unknown => bail!("please install what is missing (package names of Homebrew): {list}"),
    }
}

fn apt_install(packages: &[String]) -> Result<()> {
    let list = packages.join(" ");
    let root = rustix::process::geteuid().is_root();
    if !root && command::find("sudo").is_none() {
        bail!(
            "missing: {list}. As root, run\n    apt-get update && apt-get install --no-install-recommends {list}\nand try again"
        );
    }
    let prefix = if root { "" } else { "sudo " };
    say(format!("missing on this machine: {list}"));
    say(format!("installing with: {prefix}apt-get install --yes --no-install-recommends {list}"));
    let apt = |arguments: &[&str]| {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.arg("apt-get");
        }
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command::run(&mut command)
    };
    let install = ["install", "--yes", "--no-install-recommends"];
    let arguments: Vec<&str> = install.into_iter().chain(packages.iter().map(String::as_str)).collect();
    // A machine that never fetched the package lists, or fetched them long ago, fails the first time.
    let known = command::capture(Command::new("apt-get").arg("--simulate").args(&arguments)).is_ok();
    if !known || apt(&arguments).is_err() {
        say(format!("the package lists are missing or old; fetching them: {prefix}apt-get update"));
        apt(&["update"])?;
        apt(&arguments)?;
    }
    Ok(())
}

fn add_targets(toolchain: &Toolchain) -> Result<()> {
    let missing = toolchain.missing_targets();
    if missing.is_empty() {
        return Ok(());
    }
    say(format!(
        "the Rust toolchain lacks its bare-metal targets; adding them with: rustup target add {}",
        missing.join(" ")
    ));
    command::run(Command::new("rustup").args(["target", "add"]).args(&missing))
}

/// Makes sure that the model checker and the compiler that it needs are there.
pub fn ensure_model_checker() -> Result<()> {
    let missing = ["spin", "cc"].into_iter().filter(|program| command::find(program).is_none());
    // The compiler's package has its own name.
    install(&missing.map(|program| program.replace("cc", "gcc")).collect::<Vec<_>>())
}

/// Makes sure that the tools of `test` are there: rustfmt and clippy.
pub fn ensure_components(toolchain: &Toolchain) -> Result<()> {
    let tools = [("cargo-fmt", "rustfmt", "rustfmt-web"), ("cargo-clippy", "clippy", "rust-web-clippy")];
    match toolchain.route {
        Route::Debian => {
            let missing = tools.iter().filter(|(program, ..)| !Path::new("/usr/bin").join(program).is_file());
            install(&missing.map(|(_, _, package)| (*package).to_owned()).collect::<Vec<_>>())
        }
        Route::Rustup => {
            // rustup's own proxies are always there; what counts is what they lead to.
            let works = |program: &str| command::capture(Command::new(program).arg("--version")).is_ok();
            let missing: Vec<&str> =
                tools.iter().filter(|(program, ..)| !works(program)).map(|(_, component, _)| *component).collect();
            if missing.is_empty() {
                return Ok(());
            }
            say(format!("adding components with: rustup component add {}", missing.join(" ")));
            command::run(Command::new("rustup").args(["component", "add"]).args(&missing))
        }
    }
}
