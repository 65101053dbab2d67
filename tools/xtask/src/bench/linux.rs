//! The Linux column: Debian's riscv64 kernel with the same `/bin/bench` as its first program, from an initial
//! ramdisk. Files that it reads lie in that ramdisk, but for those that are about the disk: it has the same one as ours, a copy at each boot, since
//! two file systems would write to it.

use super::findings::Transcript;
use super::machines::describe;
use crate::apt;
use crate::build::{self, Built};
use crate::console::{Ending, Session, Wire};
use crate::cpio::Archive;
use crate::emulator::{Emulator, Machine};
use crate::project::Project;
use crate::test::HANG_LIMIT;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the kernel says when it is up and starts its first program.
const UP: &str = "Run /init as init process";
const PANIC: &str = "Kernel panic";
/// The SBI counter driver would stop the instruction counter that user programs read, and that of the serial port for programs would name this one
/// `ttyS0`.
pub const COMMAND_LINE: &str = "console=ttyS0 initcall_blacklist=pmu_sbi_devinit,serial_pci_driver_init panic=-1";

/// What Debian has built apart of disk and file system, below the package's modules, each behind what it needs. One that is not there is part of the kernel.
const MODULES: [&str; 7] = [
    "lib/crc16",
    "crypto/crc32c_generic",
    "fs/mbcache",
    "fs/jbd2/jbd2",
    "fs/ext4/ext4",
    "drivers/virtio/virtio_mmio",
    "drivers/block/virtio_blk",
];

/// Kernel and ramdisk.
pub struct Linux {
    kernel: PathBuf,
    ramdisk: PathBuf,
}

/// Fetches the kernel and packs the ramdisk.
pub fn prepare(project: &Project, built: &Built) -> Result<Linux> {
    let kernel = apt::linux_kernel(project)?;
    let bench = built.programs.iter().find(|(name, _)| name == "bench").context("there is no program `bench`")?;
    let bench = build::loadable_part(&bench.1)?;
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "tmp", "bin", "etc", "root", "disk", "modules"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.program("init", &bench);
    archive.program("bin/bench", &bench);
    // By their number: the program loads one after the other, until there is none. The kernel unpacks them itself.
    for (number, path) in modules(&kernel)?.iter().enumerate() {
        let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        archive.file(&format!("modules/{number}"), &content);
    }
    let ramdisk = project.output()?.join("linux.cpio");
    std::fs::write(&ramdisk, archive.finish())?;
    Ok(Linux { kernel, ramdisk })
}

/// The files of [`MODULES`] that come with this kernel.
fn modules(kernel: &Path) -> Result<Vec<PathBuf>> {
    let root = kernel.ancestors().nth(2).context("the kernel lies in no package")?.join("usr/lib/modules");
    let mut versions = std::fs::read_dir(&root).with_context(|| format!("cannot read {}", root.display()))?.flatten();
    let version = versions.next().context("the package holds no modules")?.path().join("kernel");
    let files = MODULES.iter().map(|module| version.join(format!("{module}.ko.xz")));
    Ok(files.filter(|file| file.is_file()).collect())
}

impl Linux {
    /// File name of the kernel, which tells its version.
    pub fn version(&self) -> String {
        self.kernel.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Boots Linux once on a machine like `like`; how long it took to start its first program.
    pub fn measure(
        &self,
        like: Machine,
        emulator: &Emulator,
        groups: &[String],
        output: &mut Transcript<'_>,
    ) -> Result<Duration> {
        let disk = like.disk.as_deref().map(Copied::of).transpose()?;
        let machine = Machine {
            disk: disk.as_ref().map(|copied| copied.0.clone()),
            kernel: self.kernel.clone(),
            command_line: format!("{COMMAND_LINE} -- {}", groups.join(" ")),
            initrd: Some(self.ramdisk.clone()),
            ..like
        };
        let started = Instant::now();
        let mut session = Session::start(machine.start(emulator), Wire::Plain)?;
        let (mut text, mut up) = (String::new(), None);
        let ending = session.drain(Some(HANG_LIMIT), |_, bytes| {
            text.push_str(&String::from_utf8_lossy(bytes));
            if up.is_none() && text.contains(UP) {
                up = Some(started.elapsed());
            }
            output.take(bytes);
        });
        if let Some(line) = text.lines().find(|line| line.contains(PANIC)) {
            bail!("{}\n{text}", line.trim());
        }
        match (ending, up) {
            // It has no way to tell a status; that it goes off is its good end.
            (Ending::Died(_), Some(up)) => Ok(up),
            (Ending::Died(_), None) => bail!("it did not start its first program\n{text}"),
            (other, _) => bail!("{}\n{text}", describe(&other)),
        }
    }
}

/// A copy of a disk, for as long as this is there.
struct Copied(PathBuf);

impl Copied {
    fn of(disk: &Path) -> Result<Self> {
        let copy = Self(disk.with_extension("linux.img"));
        std::fs::copy(disk, &copy.0).with_context(|| format!("cannot copy {}", disk.display()))?;
        Ok(copy)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
