//! The verb `build`: the image of the scheduler, the kernel with its symbol table, and the user programs.

use crate::command::{self, say};
use crate::emulator::Emulator;
use crate::ksyms;
use crate::project::Project;
use crate::sched_image;
use crate::setup;
use crate::toolchain::{KERNEL_TARGET, Toolchain, USER_TARGET};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const HELP: &str = "\
cargo xtask build [--checked]

Builds the kernel (with its symbol table) and the user programs.
    --checked    with debug assertions, as the guest suites run it
";

/// How guest programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Optimised, for use and for figures.
    Guest,
    /// The same with debug assertions: lock order, state machines, overflow.
    Checked,
    /// The image of the scheduler: without frame pointers, which cost more there than anywhere. The frames that led to a poll are
    /// missing in a backtrace.
    Image,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Guest => "guest",
            Profile::Checked => "checked",
            Profile::Image => "image",
        }
    }
}

/// What the build of the firmware leaves behind.
pub struct Firmware {
    /// What runs in M-mode.
    pub image: PathBuf,
    /// A kernel that tries it.
    pub trial: PathBuf,
}

/// What a build leaves behind.
pub struct Built {
    /// The kernel, symbol table filled in.
    pub kernel: PathBuf,
    /// User programs: the name in /bin, and the ELF file.
    pub programs: Vec<(String, PathBuf)>,
}

/// The verb `build`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    let mut profile = Profile::Guest;
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("checked") => profile = Profile::Checked,
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let toolchain = setup::ensure()?;
    let project = Project::load()?;
    let built = build(&project, &toolchain, profile)?;
    say(format!("kernel: {}", built.kernel.display()));
    say(format!("programs: {}", built.programs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")));
    Ok(0)
}

/// Builds everything that goes into a machine.
pub fn build(project: &Project, toolchain: &Toolchain, profile: Profile) -> Result<Built> {
    let image = build_sched_image(project, toolchain)?;
    let kernel = build_kernel(project, toolchain, profile, &image)?;
    let programs = build_programs(project, toolchain, profile)?;
    Ok(Built { kernel, programs })
}

/// The image of the scheduler as flat bytes. It has no checked form: what checks can fail, and it must not.
pub fn build_sched_image(project: &Project, toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = guest_build(project, toolchain, Profile::Image, KERNEL_TARGET);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Cforce-frame-pointers=no");
    command::run(cargo.args(["-p", "image"]))?;
    let linked = artifact(project, toolchain, Profile::Image, KERNEL_TARGET, "sched-image");
    let linked = std::fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let bytes = sched_image::flatten(&linked)?;
    let image = project.output()?.join("sched-image.bin");
    // Left alone if it is the same: the kernel is built again when it changes.
    if std::fs::read(&image).ok().as_ref() != Some(&bytes) {
        std::fs::write(&image, bytes).with_context(|| format!("cannot write {}", image.display()))?;
    }
    Ok(image)
}

/// Our own firmware. Without checks: what runs in its place is hardware, and it is counted.
pub fn build_firmware(project: &Project, toolchain: &Toolchain) -> Result<Firmware> {
    let mut cargo = guest_build(project, toolchain, Profile::Guest, KERNEL_TARGET);
    command::run(cargo.args(["-p", "firmware"]))?;
    let program = |name| artifact(project, toolchain, Profile::Guest, KERNEL_TARGET, name);
    Ok(Firmware { image: program("firmware"), trial: program("trial") })
}

/// The plugin that counts instructions on several harts, for this emulator.
pub fn build_plugin(project: &Project, toolchain: &Toolchain, emulator: &Emulator) -> Result<PathBuf> {
    let mut cargo = toolchain.host_cargo(project);
    cargo.env("QEMU_PLUGIN_API", emulator.plugin_interface().to_string());
    command::run(cargo.args(["build", "--quiet", "--release", "-p", "count"]))?;
    let built = toolchain.target_dir(project).join("release/libcount.so");
    // The next emulator may want another.
    let plugin = project.output()?.join(format!("libcount-{}.so", emulator.plugin_interface()));
    std::fs::copy(&built, &plugin).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(plugin)
}

fn build_kernel(project: &Project, toolchain: &Toolchain, profile: Profile, image: &Path) -> Result<PathBuf> {
    let boot = project.members.iter().find(|member| member.name == "boot");
    let Some(program) = boot.and_then(|member| member.programs.first()) else {
        bail!("the workspace has no kernel (package `boot` with a program)");
    };
    let mut cargo = guest_build(project, toolchain, profile, KERNEL_TARGET);
    command::run(cargo.args(["-p", "boot"]).env("ASYNCOS_SCHED_IMAGE", image))?;
    let linked = artifact(project, toolchain, profile, KERNEL_TARGET, program);
    let kernel = project.output()?.join(format!("asyncos-{}", profile.name()));
    let image = std::fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let image = ksyms::fill(image).context("cannot write the kernel's symbol table")?;
    std::fs::write(&kernel, image).with_context(|| format!("cannot write {}", kernel.display()))?;
    Ok(kernel)
}

fn build_programs(project: &Project, toolchain: &Toolchain, profile: Profile) -> Result<Vec<(String, PathBuf)>> {
    let members: Vec<_> = project.members.iter().filter(|member| member.is_user_program()).collect();
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let mut cargo = guest_build(project, toolchain, profile, USER_TARGET);
    for member in &members {
        cargo.args(["-p", &member.name]);
    }
    command::run(&mut cargo)?;
    let programs = members.iter().flat_map(|member| &member.programs);
    Ok(programs.map(|name| (name.clone(), artifact(project, toolchain, profile, USER_TARGET, name))).collect())
}

fn guest_build(project: &Project, toolchain: &Toolchain, profile: Profile, target: &str) -> Command {
    let mut cargo = toolchain.guest_cargo(project, "build", target);
    cargo.args(["--bins", "--profile", profile.name()]);
    cargo
}

fn artifact(project: &Project, toolchain: &Toolchain, profile: Profile, target: &str, name: &str) -> PathBuf {
    toolchain.target_dir(project).join(target).join(profile.name()).join(name)
}

/// The part of an ELF file that a loader reads: everything up to the end of the last segment, without
/// sections. Debug information would fill the disk image and helps nobody in the guest.
pub fn loadable_part(elf: &Path) -> Result<Vec<u8>> {
    use object::elf::PT_LOAD;
    use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
    const HEADER_SIZE: usize = 56;
    const SECTION_TABLE_OFFSET: std::ops::Range<usize> = 40..48;
    const SECTION_TABLE_COUNTS: std::ops::Range<usize> = 60..64;
    let mut bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let file = ElfFile64::<object::Endianness>::parse(bytes.as_slice())?;
    let endian = file.endian();
    let headers = usize::try_from(file.elf_header().e_phoff(endian))?;
    let segments: Vec<(bool, u64)> = file
        .elf_program_headers()
        .iter()
        .map(|header| (header.p_type(endian) == PT_LOAD, header.p_offset(endian) + header.p_filesz(endian)))
        .collect();
    let loaded = segments.iter().filter(|(is_loaded, _)| *is_loaded).map(|(_, end)| *end).max().unwrap_or(0);
    bytes.truncate(usize::try_from(loaded)?.max(headers + segments.len() * HEADER_SIZE));
    bytes[SECTION_TABLE_OFFSET].fill(0);
    bytes[SECTION_TABLE_COUNTS].fill(0);
    for (index, (_, end)) in segments.iter().enumerate() {
        if *end > bytes.len() as u64 {
            // It described something that was cut off: PT_NULL.
            bytes[headers + index * HEADER_SIZE..][..4].fill(0);
        }
    }
    Ok(bytes)
}
