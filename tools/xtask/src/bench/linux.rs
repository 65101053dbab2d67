//! The Linux column: Debian's riscv64 kernel with the same `/bin/bench` as its first program, from an initial
//! ramdisk. Files that it reads lie in that ramdisk.

use super::rows::Row;
use crate::apt;
use crate::build::{self, Built};
use crate::console::{Session, Wire};
use crate::cpio::Archive;
use crate::emulator::{Emulator, Interrupts, Machine};
use crate::project::Project;
use crate::test::HANG_LIMIT;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

/// What the kernel says when it is up and starts its first program.
const UP: &str = "Run /init as init process";
/// The SBI counter driver would stop the instruction counter that user programs read.
const COMMAND_LINE: &str = "console=ttyS0 initcall_blacklist=pmu_sbi_devinit panic=-1";

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
    for folder in ["dev", "proc", "tmp", "bin", "etc", "root"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.program("init", &bench);
    archive.program("bin/bench", &bench);
    let ramdisk = project.output()?.join("linux.cpio");
    std::fs::write(&ramdisk, archive.finish())?;
    Ok(Linux { kernel, ramdisk })
}

impl Linux {
    /// Boots Linux once and collects its rows.
    pub fn measure(&self, emulator: &Emulator, groups: &[OsString], icount: bool) -> Result<Vec<Row>> {
        let groups: Vec<_> = groups.iter().map(|group| group.to_string_lossy()).collect();
        let machine = Machine {
            command_line: format!("{COMMAND_LINE} -- {}", groups.join(" ")),
            initrd: Some(self.ramdisk.clone()),
            icount,
            ..Machine::new(&self.kernel, Interrupts::Aia)
        };
        let started = Instant::now();
        let mut session = Session::start(machine.start(emulator), Wire::Plain)?;
        let (mut text, mut up) = (String::new(), None);
        while let Ok((_, bytes)) = session.next(Some(HANG_LIMIT)) {
            text.push_str(&String::from_utf8_lossy(&bytes));
            if up.is_none() && text.contains(UP) {
                up = Some(started.elapsed());
            }
        }
        let Some(up) = up else { bail!("Linux did not start its first program\n{text}") };
        let mut rows: Vec<Row> = text.lines().filter_map(|line| Row::parse(line, "linux", !icount)).collect();
        if rows.is_empty() {
            bail!("/bin/bench printed nothing on Linux\n{text}");
        }
        if !icount {
            rows.push(Row {
                id: "boot".into(),
                world: "linux".into(),
                value: up.as_nanos() as f64,
                unit: "ns".into(),
                method: "wall",
            });
        }
        Ok(rows)
    }
}
