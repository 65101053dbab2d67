//! The verb `image`: an ext4 disk image with the user programs, /etc, and the files of `--share`.
//!
//! Blocks are 4 KiB, one page of the guest's cache each; identifiers are fixed, so that the same input
//! gives the same image.

use crate::build::{self, Built, Profile};
use crate::command::{self, say};
use crate::project::Project;
use crate::setup;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HELP: &str = "\
cargo xtask image [--share DIR] [--output FILE]

Builds the user programs and makes the disk image that `run` boots from.
    --share DIR      files for /srv/share, which the web server serves
    --output FILE    where to write it
";

const MIB: u64 = 1 << 20;
/// Free space in a new image, beyond what it contains.
const HEADROOM: u64 = 192 * MIB;
const FILESYSTEM_ID: &str = "a5c05000-0000-4000-8000-000000000001";

/// Small files that every image has.
const FILES: [(&str, &str); 5] = [
    ("etc/hostname", "asyncos\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost asyncos\n"),
    ("etc/profile", "# Read by interactive shells.\n"),
];
const FOLDERS: [&str; 8] = ["bin", "etc", "dev", "proc", "tmp", "root", "srv/share", "var"];

/// The verb `image`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    let mut share = None;
    let mut output = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("share") => share = Some(PathBuf::from(arguments.value()?)),
            lexopt::Arg::Long("output") => output = Some(PathBuf::from(arguments.value()?)),
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let toolchain = setup::ensure()?;
    let project = Project::load()?;
    let built = build::build(&project, &toolchain, Profile::Guest)?;
    let output = output.map_or_else(|| project.output().map(|folder| folder.join("disk.img")), Ok)?;
    make(&project, &built, share.as_deref(), &output)?;
    say(format!("disk image: {}", output.display()));
    Ok(0)
}

/// Makes the image `output` from the programs and the files of `share`.
pub fn make(project: &Project, built: &Built, share: Option<&Path>, output: &Path) -> Result<()> {
    let staging = project.output()?.join(format!("staging-{}", std::process::id()));
    let made = stage(project, built, share, &staging).and_then(|()| format(&staging, output));
    let removed = fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()));
    made.and(removed)
}

fn stage(project: &Project, built: &Built, share: Option<&Path>, staging: &Path) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(staging.join(folder)).with_context(|| format!("cannot create {}", staging.display()))?;
    }
    for (name, text) in FILES {
        fs::write(staging.join(name), text)?;
    }
    for (name, elf) in &built.programs {
        let program = staging.join("bin").join(name);
        fs::write(&program, build::loadable_part(elf)?)?;
        make_executable(&program)?;
    }
    link_tools(project, &staging.join("bin"))?;
    if let Some(share) = share {
        copy_folder(share, &staging.join("srv/share"))?;
    }
    Ok(())
}

/// The everyday tools are one program; each name in `user/apps/links.txt` becomes a link to it.
fn link_tools(project: &Project, bin: &Path) -> Result<()> {
    let list = project.root.join("user/apps/links.txt");
    let names = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    for name in names.lines().filter(|name| !name.is_empty()) {
        std::os::unix::fs::symlink("tools", bin.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    Ok(())
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies a folder of the host. A link to a file becomes the file; anything else that is neither file nor
/// folder is left out, and said so.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&source, &target)?;
        } else if fs::metadata(&source).is_ok_and(|metadata| metadata.is_file()) {
            fs::copy(&source, &target).with_context(|| format!("cannot copy {}", source.display()))?;
        } else {
            say(format!("not shared, because it is no file and no folder: {}", source.display()));
        }
    }
    Ok(())
}

fn format(staging: &Path, output: &Path) -> Result<()> {
    let Some(mkfs) = command::find("mkfs.ext4") else { bail!("mkfs.ext4 is not installed (package e2fsprogs)") };
    let (bytes, files) = contents(staging)?;
    let size = (bytes + bytes / 16 + HEADROOM).next_multiple_of(MIB);
    let inodes = files + size / (16 << 10);
    // mkfs would ask before it overwrites.
    let _ = fs::remove_file(output);
    let mut command = Command::new(mkfs);
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "asyncos", "-U", FILESYSTEM_ID]);
    command.args([
        "-E",
        &format!("root_owner=0:0,hash_seed={FILESYSTEM_ID},lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
    ]);
    // The smallest journal that there is: the library of the guest keeps in memory what the journal holds, and looks through it at each read of metadata.
    command.args(["-J", "size=4"]);
    command.args(["-N", &inodes.to_string(), "-d"]).arg(staging).arg(output).arg(format!("{}K", size >> 10));
    command::capture(&mut command).map(|_| ())
}

/// Bytes (in whole blocks) and number of files below a folder.
fn contents(folder: &Path) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let below = if metadata.is_dir() { contents(&entry.path())? } else { (0, 0) };
        sum = (sum.0 + metadata.len().next_multiple_of(4096) + below.0, sum.1 + 1 + below.1);
    }
    Ok(sum)
}

/// Checks an image after the guest has written to it; fails with e2fsck's own words.
pub fn check(image: &Path) -> Result<()> {
    let Some(fsck) = command::find("e2fsck") else { bail!("e2fsck is not installed (package e2fsprogs)") };
    command::capture(Command::new(fsck).args(["-f", "-n"]).arg(image)).map(|_| ())
}
