//! Packages unpacked beside the project, through an isolated apt: its own state, cache and sources under
//! `.cache/`. Nothing is installed, and apt's own sources are read, never edited.
//!
//! The mirror is the one that this machine's apt is configured with, asked at run time.

use crate::command::{self, say};
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The Debian release whose riscv64 kernel is the yardstick of `bench --linux`.
const LINUX_RELEASE: &str = "trixie";

/// An apt that has nothing to do with the machine's own.
struct IsolatedApt {
    folder: PathBuf,
    options: Vec<String>,
}

impl IsolatedApt {
    /// Prepares state and sources below `folder` and fetches the package lists.
    fn prepare(folder: PathBuf, sources: &str, options: &[&str]) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial", "etc/parts"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(folder.join("etc/sources.list"), sources)?;
        let path = |part: &str| folder.join(part).display().to_string();
        let mut all = vec![
            format!("Dir::State={}", path("state")),
            format!("Dir::Cache={}", path("cache")),
            format!("Dir::Etc::SourceList={}", path("etc/sources.list")),
            format!("Dir::Etc::SourceParts={}", path("etc/parts")),
            format!("Dir::Etc::Preferences={}", path("etc/preferences")),
            format!("Dir::Etc::PreferencesParts={}", path("etc/parts")),
            "Debug::NoLocking=1".into(),
            "APT::Sandbox::User=".into(),
        ];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        let apt = Self { folder, options: all };
        command::capture(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.current_dir(self.folder.join("cache/archives"));
        command
    }

    /// Unpacks everything that was downloaded into `target`, which appears only when it is complete.
    fn unpack(&self, target: &Path) -> Result<()> {
        let partial = target.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        for entry in fs::read_dir(self.folder.join("cache/archives"))? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                command::capture(Command::new("dpkg").arg("-x").arg(&package).arg(&partial))?;
            }
        }
        fs::rename(&partial, target).with_context(|| format!("nothing was unpacked for {}", target.display()))?;
        fs::remove_dir_all(&self.folder).context("cannot remove the package lists")
    }
}

/// The distribution's mirror and release as the machine's own apt knows them.
fn mirror() -> Result<(String, String)> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or_default()
        .trim_matches('"')
        .to_owned();
    if !release.lines().any(|line| line == "ID=debian") || !Path::new(KEYRING).is_file() {
        bail!("only Debian's packages can be unpacked beside the project; this system is another");
    }
    let format = ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"];
    let targets = command::capture(Command::new("apt-get").args(format))?;
    let uri = targets.lines().find_map(|line| line.strip_suffix(&format!(" {codename}")));
    Ok((uri.context("apt knows no mirror of this release")?.to_owned(), codename))
}

/// The newer QEMU from the distribution's backports, unpacked under `.cache`; its root folder.
pub fn backported_qemu(project: &Project) -> Result<PathBuf> {
    let target = project.cache().join("qemu-10");
    if target.is_dir() {
        return Ok(target);
    }
    let (uri, codename) = mirror()?;
    say(format!("fetching the newer QEMU of {codename}-backports into {} (nothing is installed)", target.display()));
    let sources = format!(
        "deb [signed-by={KEYRING}] {uri} {codename} main\ndeb [signed-by={KEYRING}] {uri} {codename}-backports main\n"
    );
    // The machine's list of installed packages is read, so that only what it lacks is downloaded.
    let options = ["Dir::State::status=/var/lib/dpkg/status"];
    let apt = IsolatedApt::prepare(project.cache().join("apt-qemu"), &sources, &options)?;
    let release = format!("{codename}-backports");
    let download = [
        "--yes",
        "--download-only",
        "--no-install-recommends",
        "--reinstall",
        "--allow-downgrades",
        "--target-release",
        &release,
    ];
    command::capture(apt.command("apt-get").arg("install").args(download).args(["qemu-system-riscv", "opensbi"]))?;
    apt.unpack(&target)?;
    Ok(target)
}

/// Folders with the shared libraries of an unpacked tree.
pub fn library_folders(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
    folders.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with("-linux-gnu")).collect()
}

/// Debian's riscv64 kernel, unpacked under `.cache`; the kernel file.
pub fn linux_kernel(project: &Project) -> Result<PathBuf> {
    let target = project.cache().join("linux-riscv64");
    if !target.is_dir() {
        fetch_linux(project, &target)?;
    }
    let mut files = fs::read_dir(target.join("boot"))?.flatten().map(|entry| entry.path());
    let is_kernel = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinu"));
    files.find(is_kernel).context("the package holds no kernel")
}

fn fetch_linux(project: &Project, target: &Path) -> Result<()> {
    let (uri, _) = mirror()?;
    say(format!("fetching Debian's riscv64 kernel into {} (nothing is installed)", target.display()));
    let folder = project.cache().join("apt-linux");
    let status = folder.join("status");
    fs::create_dir_all(&folder)?;
    fs::write(&status, "")?;
    let sources = format!("deb [arch=riscv64 signed-by={KEYRING}] {uri} {LINUX_RELEASE} main\n");
    let status = format!("Dir::State::status={}", status.display());
    let apt = IsolatedApt::prepare(
        folder,
        &sources,
        &[&status, "APT::Architecture=riscv64", "APT::Architectures::=riscv64"],
    )?;
    // The package of that name is empty and depends on the current kernel.
    let text = command::capture(apt.command("apt-cache").args(["depends", "linux-image-riscv64"]))?;
    let depends = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let package = format!("linux-image-{}", depends.context("no riscv64 kernel in the package lists")?);
    command::capture(apt.command("apt-get").args(["download", &package]))?;
    apt.unpack(target)
}
