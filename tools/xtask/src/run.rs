//! The verb `run`: build, make the disk image, boot, and connect this terminal to the guest.
//!
//! Without a program the guest's shell owns the terminal. With one, the program's streams become xtask's,
//! byte for byte, and its exit status too.

use crate::build::{self, Profile};
use crate::command::say;
use crate::console::{Ending, Output, Session, Wire};
use crate::emulator::{self, Emulator, Interrupts, Machine};
use crate::image;
use crate::project::Project;
use crate::setup;
use crate::terminal::{self, RawMode};
use abi::mux::Channel;
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Duration;

const HELP: &str = "\
cargo xtask run [OPTIONS] [-- PROGRAM ARGS...]

Boots AsyncOS in QEMU and gives this terminal its shell. Ctrl-C goes to the guest, Ctrl-A X quits, end of
input powers off. With a program: runs that alone, its output and exit status become this command's.

    --harts N                     hardware threads, 1 to 8 (default 2; also --smp)
    --memory SIZE                 64M to 8G (default 1G)
    --world auto|vm|table|shared  how processes are isolated (default auto)
    --share DIR                   files for /srv/share, which the web server serves
    --port N                      host port of the web server, on the loopback interface (default 8080;
                                  a taken one gives way to the next free one)
    --machine aia|plic            interrupt controllers (default aia where QEMU has it)
    --firmware opensbi|asyncos    what runs in M-mode (default opensbi, the emulator's; asyncos is our own, which plays
                                  the hardware of docs/nuintc.md)
    --qemu PATH|backports         another emulator; `backports` fetches the distribution's newer one
    --cpu PROPERTIES              properties of QEMU's rv64, e.g. h=false,sstc=false
    --disk FILE                   boot this image and keep it (made if it is not there)
    --append WORDS                more words for the kernel command line
    --checked                     kernel and programs with debug assertions
    --gdb                         wait for a debugger, and say how to start it
    --timeout SECONDS             give up when the machine says nothing for so long
    --quiet, --verbose            hide or show the kernel log (default: shown, unless a program runs)
";

/// What was asked for.
pub struct Options {
    harts: usize,
    memory: String,
    world: String,
    share: Option<PathBuf>,
    port: u16,
    interrupts: Option<Interrupts>,
    own_firmware: bool,
    qemu: Option<String>,
    cpu: Option<String>,
    disk: Option<PathBuf>,
    append: Option<String>,
    profile: Profile,
    gdb: bool,
    timeout: Option<Duration>,
    show_log: Option<bool>,
    program: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            harts: 2,
            memory: "1G".into(),
            world: "auto".into(),
            share: None,
            port: 8080,
            interrupts: None,
            own_firmware: false,
            qemu: None,
            cpu: None,
            disk: None,
            append: None,
            profile: Profile::Guest,
            gdb: false,
            timeout: None,
            show_log: None,
            program: Vec::new(),
        }
    }
}

/// The verb `run`.
pub fn main(arguments: lexopt::Parser) -> Result<u8> {
    let Some(options) = parse(arguments)? else {
        print!("{HELP}");
        return Ok(0);
    };
    let mut toolchain = setup::ensure()?;
    if !options.program.is_empty() {
        // Standard error is the program's.
        toolchain = toolchain.quiet();
    }
    let project = Project::load()?;
    let built = build::build(&project, &toolchain, options.profile)?;
    let emulator = Emulator::find(&project, options.qemu.as_deref())?;
    let disk = match &options.disk {
        Some(disk) => disk.clone(),
        None => project.output()?.join(format!("run-{}.img", std::process::id())),
    };
    if options.disk.is_none() || !disk.exists() {
        image::make(&project, &built, options.share.as_deref(), &disk)?;
    }
    let mut machine = machine(&options, &emulator, &built.kernel, &disk)?;
    if options.own_firmware {
        machine.firmware = Some(build::build_firmware(&project, &toolchain)?.image);
    }
    let outcome = connect(&options, &machine, &emulator);
    if options.disk.is_none() {
        let _ = std::fs::remove_file(&disk);
    }
    outcome
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Options>> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("harts" | "smp") => options.harts = harts(arguments.value()?.parse()?)?,
            Long("memory") => options.memory = memory(&arguments.value()?.string()?)?,
            Long("world") => options.world = world(&arguments.value()?.string()?)?,
            Long("share") => options.share = Some(share(arguments.value()?.into())?),
            Long("port") => options.port = arguments.value()?.parse()?,
            Long("machine") => options.interrupts = Some(interrupts(&arguments.value()?.string()?)?),
            Long("firmware") => options.own_firmware = own_firmware(&arguments.value()?.string()?)?,
            Long("qemu") => options.qemu = Some(arguments.value()?.string()?),
            Long("cpu") => options.cpu = Some(arguments.value()?.string()?),
            Long("disk") => options.disk = Some(arguments.value()?.into()),
            Long("append") => options.append = Some(arguments.value()?.string()?),
            Long("checked") => options.profile = Profile::Checked,
            Long("gdb") => options.gdb = true,
            Long("timeout") => options.timeout = Some(Duration::from_secs(arguments.value()?.parse()?)),
            Long("quiet") => options.show_log = Some(false),
            Long("verbose") => options.show_log = Some(true),
            Long("help") | Short('h') => return Ok(None),
            Value(program) => {
                options.program.push(program);
                options.program.extend(arguments.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn harts(number: usize) -> Result<usize> {
    if !(1..=8).contains(&number) {
        bail!("--harts takes 1 to 8, not {number}");
    }
    Ok(number)
}

/// Checks a size such as `64M` or `2G`; a bare number counts MiB, as QEMU does.
pub fn memory(size: &str) -> Result<String> {
    let (digits, factor) = match size.strip_suffix(['G', 'g']) {
        Some(digits) => (digits, 1024),
        None => (size.strip_suffix(['M', 'm']).unwrap_or(size), 1),
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(mebibytes @ 64..=8192) => Ok(format!("{mebibytes}M")),
        _ => bail!("--memory takes 64M to 8G, not {size}"),
    }
}

/// Checks the name of a world.
pub fn world(name: &str) -> Result<String> {
    match name {
        "auto" | "vm" | "table" | "shared" => Ok(name.to_owned()),
        _ => bail!("--world takes auto, vm, table or shared, not {name}"),
    }
}

fn share(folder: PathBuf) -> Result<PathBuf> {
    if !folder.is_dir() {
        bail!("--share takes a folder; {} is none", folder.display());
    }
    Ok(folder)
}

/// Checks the name of an interrupt architecture.
pub fn interrupts(name: &str) -> Result<Interrupts> {
    match name {
        "aia" => Ok(Interrupts::Aia),
        "plic" => Ok(Interrupts::Plic),
        _ => bail!("--machine takes aia or plic, not {name}"),
    }
}

/// Checks the name of a firmware; whether it is our own.
pub fn own_firmware(name: &str) -> Result<bool> {
    match name {
        "opensbi" => Ok(false),
        "asyncos" => Ok(true),
        _ => bail!("--firmware takes opensbi or asyncos, not {name}"),
    }
}

fn machine(
    options: &Options,
    emulator: &Emulator,
    kernel: &std::path::Path,
    disk: &std::path::Path,
) -> Result<Machine> {
    let best = if emulator.has_aia() { Interrupts::Aia } else { Interrupts::Plic };
    let port = emulator::free_port(options.port)?;
    if port != options.port {
        say(format!("port {} is taken", options.port));
    }
    if options.program.is_empty() {
        say(format!("the web server of the guest: http://127.0.0.1:{port}/"));
    }
    if options.gdb {
        say(format!("waiting for: gdb-multiarch {} -ex 'target remote 127.0.0.1:1234'", kernel.display()));
    }
    Ok(Machine {
        harts: options.harts,
        memory: options.memory.clone(),
        cpu: options.cpu.clone(),
        command_line: command_line(options),
        disk: Some(disk.to_path_buf()),
        port: Some(port),
        gdb: options.gdb,
        ..Machine::new(kernel, options.interrupts.unwrap_or(best))
    })
}

fn command_line(options: &Options) -> String {
    let mut words = vec!["console=mux".to_owned(), format!("world={}", options.world)];
    if !std::io::stdin().is_terminal() {
        // Nobody types: no echo, no line editing, every byte as it comes.
        words.push("tty=raw".into());
    } else if let Some((columns, rows)) = terminal::size() {
        words.push(format!("tty.size={columns}x{rows}"));
    }
    words.extend(options.append.clone());
    words.extend(program_words(&options.program));
    words.join(" ")
}

/// The words that make a program pid 1. A name without a slash is looked for in /bin.
pub fn program_words(program: &[OsString]) -> Vec<String> {
    let Some((name, arguments)) = program.split_first() else { return Vec::new() };
    let name = name.as_bytes();
    let path = if name.contains(&b'/') { name.to_vec() } else { [b"/bin/", name].concat() };
    let mut words = vec![format!("init={}", emulator::quote(&path)), "--".to_owned()];
    words.extend(arguments.iter().map(|argument| emulator::quote(argument.as_bytes())));
    words
}

/// Boots the machine and stands between it and this terminal until it ends.
fn connect(options: &Options, machine: &Machine, emulator: &Emulator) -> Result<u8> {
    let mut session = Session::start(machine.start(emulator), Wire::Mux)?;
    let interactive = options.program.is_empty();
    let show_log = options.show_log.unwrap_or(interactive);
    let _raw = RawMode::enter()?;
    spawn_typist(&session);
    watch_signals(session.sender())?;
    let mut log = Vec::new();
    let ending = session.drain(options.timeout, |channel, bytes| match channel {
        Channel::Tty | Channel::Stdout => write(std::io::stdout(), bytes),
        Channel::Stderr => write(std::io::stderr(), bytes),
        Channel::Log if show_log => write(std::io::stderr(), bytes),
        Channel::Log => log.extend_from_slice(bytes),
    });
    drop(_raw);
    let explain = |log: &[u8]| {
        write(std::io::stderr(), session.firmware_output().as_bytes());
        write(std::io::stderr(), log);
    };
    match ending {
        Ending::Exited(status) => Ok(status),
        Ending::Quit => {
            say("stopped");
            Ok(130)
        }
        Ending::Hung => {
            explain(&log);
            bail!("the machine said nothing for {} s; giving up", options.timeout.unwrap_or_default().as_secs())
        }
        Ending::Died(why) => {
            explain(&log);
            bail!("{why}")
        }
    }
}

/// Writes and flushes; a reader that went away is not our failure.
fn write(mut to: impl Write, bytes: &[u8]) {
    let _ = to.write_all(bytes).and_then(|()| to.flush());
}

/// Copies standard input to the guest in a thread of its own, until the end of either.
fn spawn_typist(session: &Session) {
    let (input, sender) = (session.input(), session.sender());
    let mut escape = std::io::stdin().is_terminal().then(Escape::default);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match std::io::stdin().lock().read(&mut buffer) {
                Ok(0) | Err(_) => return input.end(),
                Ok(length) => match &mut escape {
                    None => input.send(&buffer[..length]),
                    Some(escape) => {
                        let (bytes, quit) = escape.filter(&buffer[..length]);
                        input.send(&bytes);
                        if quit {
                            let _ = sender.send(Output::Quit);
                            return;
                        }
                    }
                },
            }
        }
    });
}

/// Ctrl-A as the first of two keys: X quits, Ctrl-A is itself, any other key is passed on alone.
#[derive(Default)]
struct Escape {
    pending: bool,
}

impl Escape {
    fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        const CTRL_A: u8 = 1;
        let mut bytes = Vec::new();
        for &key in typed {
            match (self.pending, key) {
                (true, b'x' | b'X') => return (bytes, true),
                (false, CTRL_A) => self.pending = true,
                _ => {
                    self.pending = false;
                    bytes.push(key);
                }
            }
        }
        (bytes, false)
    }
}

/// Turns the signals that end a program into an orderly end: the terminal is restored, the emulator killed.
fn watch_signals(sender: Sender<Output>) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let _ = sender.send(Output::Quit);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_are_checked() {
        assert_eq!(memory("64M").unwrap(), "64M");
        assert_eq!(memory("8G").unwrap(), "8192M");
        assert_eq!(memory("128").unwrap(), "128M");
        for bad in ["63M", "9G", "", "G", "99999999999999999999G", "1T"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escape_quits_and_passes_other_keys() {
        let mut escape = Escape::default();
        assert_eq!(escape.filter(b"a\x01\x01b"), (b"a\x01b".to_vec(), false));
        assert_eq!(escape.filter(b"\x01"), (vec![], false));
        assert_eq!(escape.filter(b"x"), (vec![], true));
    }

    #[test]
    fn programs_become_words() {
        let words = program_words(&["echo".into(), "a b".into(), "".into()]);
        assert_eq!(words, ["init=/bin/echo", "--", "a%20b", "%"]);
    }
}
