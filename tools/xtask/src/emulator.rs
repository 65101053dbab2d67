//! QEMU: which one, what it can do, and the command line of a machine.

use crate::apt;
use crate::command;
use crate::project::Project;
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An emulator that was found and asked what it is.
#[derive(Clone)]
pub struct Emulator {
    path: PathBuf,
    /// Root of an emulator that is not installed but unpacked: firmware and libraries are below.
    unpacked: Option<PathBuf>,
    /// First line of `--version`.
    pub version: String,
}

impl Emulator {
    /// Finds the emulator: a path, the word `backports` (fetched if need be), or by default `QEMU` from the
    /// environment, else the one in `PATH`.
    pub fn find(project: &Project, wanted: Option<&str>) -> Result<Self> {
        match wanted {
            Some("backports") => {
                let unpacked = apt::backported_qemu(project)?;
                Self::ask(unpacked.join("usr/bin/qemu-system-riscv64"), Some(unpacked))
            }
            Some(path) => Self::ask(path.into(), None),
            None => {
                let named = std::env::var_os("QEMU").map(PathBuf::from);
                let found = named.or_else(|| command::find("qemu-system-riscv64"));
                Self::ask(found.context("qemu-system-riscv64 is not installed; `cargo xtask setup` installs it")?, None)
            }
        }
    }

    fn ask(path: PathBuf, unpacked: Option<PathBuf>) -> Result<Self> {
        let mut emulator = Self { path, unpacked, version: String::new() };
        let text = command::capture(emulator.command().arg("--version"))?;
        emulator.version = text.lines().next().unwrap_or_default().to_owned();
        Ok(emulator)
    }

    /// The version as two numbers, e.g. `(7, 2)`; zeros if it does not say.
    pub fn number(&self) -> (u32, u32) {
        let word = self.version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let mut parts = word.unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// The number of its interface for plugins, as far as they have to ask for it.
    pub fn plugin_interface(&self) -> u32 {
        if self.number() >= (9, 0) { 2 } else { 1 }
    }

    /// Whether `-M virt` offers the advanced interrupt architecture with guest files.
    pub fn has_aia(&self) -> bool {
        self.number() >= (7, 1)
    }

    fn command(&self) -> Command {
        let mut command = match command::find("setpriv") {
            // The emulator must not outlive an xtask that is killed.
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.path);
                command
            }
            None => Command::new(&self.path),
        };
        if let Some(root) = &self.unpacked {
            let folders = apt::library_folders(root);
            command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).unwrap_or_default());
            command.arg("-L").arg(root.join("usr/share/qemu"));
        }
        command
    }
}

/// Interrupt controllers of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    /// APLIC and IMSIC with guest files.
    Aia,
    /// PLIC and the SBI's timer and IPIs.
    Plic,
}

impl Interrupts {
    /// The emulator's name of a machine that has them.
    pub fn machine_option(self) -> &'static str {
        match self {
            Interrupts::Aia => "virt,aia=aplic-imsic,aia-guests=3",
            Interrupts::Plic => "virt",
        }
    }
}

/// Options with which a machine counts instructions instead of time, and repeats itself. With `sleep=off` the clock
/// would leap to the next timer whenever a hart is idle, so that while a disk works, which it does in the host's
/// time, timers of hours run out one after the other, and their work would be counted.
pub const ICOUNT: [&str; 6] = ["-icount", "shift=1,sleep=on", "-seed", "1", "-rtc", "base=2025-01-01,clock=vm"];

/// One machine to start.
#[derive(Clone)]
pub struct Machine {
    /// Hardware threads, 1 to 8.
    pub harts: usize,
    /// Memory as QEMU writes it, e.g. `1G`.
    pub memory: String,
    /// Interrupt controllers.
    pub interrupts: Interrupts,
    /// Extra properties of the CPU, e.g. `h=false`.
    pub cpu: Option<String>,
    /// Firmware in the place of the emulator's OpenSBI.
    pub firmware: Option<PathBuf>,
    /// Kernel file.
    pub kernel: PathBuf,
    /// Kernel command line, without `console=`.
    pub command_line: String,
    /// Disk image; none for a machine without disk and network.
    pub disk: Option<PathBuf>,
    /// Host port that leads to port 80 of the guest.
    pub port: Option<u16>,
    /// Initial ramdisk (Linux only).
    pub initrd: Option<PathBuf>,
    /// Wait for a debugger on port 1234.
    pub gdb: bool,
    /// Count instructions instead of time: the repeatable way to measure.
    pub icount: bool,
    /// A plugin, and the file that it writes.
    pub plugin: Option<(PathBuf, PathBuf)>,
}

impl Machine {
    /// A machine with the defaults of `run`.
    pub fn new(kernel: &Path, interrupts: Interrupts) -> Self {
        Self {
            harts: 1,
            memory: "1G".into(),
            interrupts,
            cpu: None,
            firmware: None,
            kernel: kernel.to_path_buf(),
            command_line: String::new(),
            disk: None,
            port: None,
            initrd: None,
            gdb: false,
            icount: false,
            plugin: None,
        }
    }

    /// The command that starts this machine with its serial line on standard input and output.
    pub fn start(&self, emulator: &Emulator) -> Command {
        let mut qemu = emulator.command();
        let machine = self.interrupts.machine_option();
        let cpu = self.cpu.as_ref().map_or_else(|| "rv64".into(), |extra| format!("rv64,{extra}"));
        qemu.args(["-M", machine, "-cpu", &cpu, "-smp", &self.harts.to_string(), "-m", &self.memory]);
        qemu.args(["-display", "none", "-monitor", "none", "-no-reboot", "-bios"]);
        qemu.arg(self.firmware.as_deref().unwrap_or(Path::new("default")));
        qemu.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        qemu.arg("-kernel").arg(&self.kernel).args(["-append", &self.command_line]);
        if let Some(initrd) = &self.initrd {
            qemu.arg("-initrd").arg(initrd);
        }
        if let Some(disk) = &self.disk {
            self.devices(&mut qemu, disk);
        }
        if self.icount {
            qemu.args(ICOUNT);
        }
        if let Some((library, file)) = &self.plugin {
            qemu.args(["-plugin", &format!("{},out={}", option_value(library), option_value(file))]);
        }
        if self.gdb {
            qemu.args(["-S", "-gdb", "tcp:127.0.0.1:1234"]);
        }
        qemu
    }

    fn devices(&self, qemu: &mut Command, disk: &Path) {
        let file = option_value(disk);
        qemu.args(["-global", "virtio-mmio.force-legacy=false"]);
        qemu.args(["-drive", &format!("if=none,format=raw,cache=writeback,file={file},id=disk0")]);
        qemu.args(["-device", "virtio-blk-device,drive=disk0"]);
        let forward = self.port.map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:80")).unwrap_or_default();
        qemu.args(["-netdev", &format!("user,id=net0{forward}"), "-device", "virtio-net-device,netdev=net0"]);
        qemu.args(["-device", "virtio-rng-device"]);
        // For programs that drive devices themselves: a serial port, and one that copies memory.
        qemu.args(["-chardev", "null,id=nobody", "-device", "pci-serial,chardev=nobody"]);
        qemu.args(["-device", "edu,dma_mask=0xffffffffff"]);
    }
}

/// A file name as the value of an option: a comma would end it, and QEMU reads a doubled one as a comma.
fn option_value(file: &Path) -> String {
    file.to_string_lossy().replace(',', ",,")
}

/// The first free port of the loopback interface from `wanted` on.
pub fn free_port(wanted: u16) -> Result<u16> {
    let mut candidates = (wanted..=u16::MAX).take(1000);
    let free = candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    match free {
        Some(port) => Ok(port),
        None => bail!("no free port from {wanted} on"),
    }
}

/// Writes one argument so that it is one word of the kernel command line: any byte that is not a printable
/// ASCII character, and space, `%`, `"`, becomes `%XX`; a `%` alone stands for the empty word.
pub fn quote(argument: &[u8]) -> String {
    if argument.is_empty() {
        return "%".into();
    }
    let mut word = String::new();
    for &byte in argument {
        match byte {
            b'%' | b'"' | 0..=b' ' | 0x7f.. => word.push_str(&format!("%{byte:02X}")),
            _ => word.push(char::from(byte)),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_keeps_words_apart() {
        assert_eq!(quote(b"ls"), "ls");
        assert_eq!(quote(b"a b%\"\n"), "a%20b%25%22%0A");
        assert_eq!(quote("\u{e9}".as_bytes()), "%C3%A9");
        assert_eq!(quote(b""), "%");
    }

    #[test]
    fn a_taken_port_gives_way() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        if port < u16::MAX {
            assert!(free_port(port).unwrap() > port);
        }
    }
}
