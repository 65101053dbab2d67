//! How harts come into the kernel. A debugger on the emulated machine does what firmware may do: leave memory full of junk,
//! send a hart that the kernel has called to the kernel's first instruction (OpenSBI before 1.3 does, rarely), let in one that
//! was not called.

use super::guest::machine;
use super::{Context, HANG_LIMIT, Tally};
use crate::console::{Ending, Session, Wire};
use anyhow::{Context as _, Result, bail};
use object::{Object, ObjectSymbol};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Distance between the addresses that the kernel is linked at and those it is loaded at.
const IMAGE_OFFSET: u64 = 0xffff_ffff_0000_0000;
/// Registers of a hart, as the debugger's protocol numbers them.
const A0: usize = 10;
const PC: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    Junk,
    FirstDoor,
    Uncalled,
}

/// Boots with each of the tricks.
pub fn entry(context: &Context) -> Result<Tally> {
    let (machine, emulator, disk) = machine(&context.project, &context.toolchain, "entry", None)?;
    let socket = disk.with_extension("gdb");
    let kernel = std::fs::read(&machine.kernel)?;
    let mut tally = Tally::default();
    for trick in [Trick::Junk, Trick::FirstDoor, Trick::Uncalled] {
        let _ = std::fs::remove_file(&socket);
        let mut qemu = machine.start(&emulator);
        qemu.args(["-S", "-gdb", &format!("unix:{},server=on,wait=off", socket.display())]);
        let mut session = Session::start(qemu, Wire::Mux)?;
        session.input().end();
        // Kept to the end: without its debugger the machine would stand still.
        let _debugger = play(trick, &socket, &kernel)?;
        let mut said = Vec::new();
        let ending = session.drain(Some(HANG_LIMIT), |_, bytes| said.extend_from_slice(bytes));
        let said = session.firmware_output() + &String::from_utf8_lossy(&said);
        let refused = said.contains("a hart that was not called");
        let holds = match &ending {
            Ending::Exited(status) => trick != Trick::Uncalled && *status == 0 && !refused,
            Ending::Died(_) => trick == Trick::Uncalled && refused,
            Ending::Hung | Ending::Quit => false,
        };
        if !holds {
            eprintln!("{said}");
        }
        tally += Tally::named(holds, || format!("{trick:?}: {ending:?}"));
    }
    for file in [disk, socket] {
        let _ = std::fs::remove_file(file);
    }
    Ok(tally)
}

/// Does the trick, and lets the machine go on.
fn play(trick: Trick, socket: &Path, kernel: &[u8]) -> Result<Debugger> {
    let file = object::File::parse(kernel)?;
    let address = |name: &str| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.map(|symbol| symbol.address() - IMAGE_OFFSET).with_context(|| format!("the kernel has no {name}"))
    };
    let mut debugger = Debugger::attach(socket)?;
    debugger.ask("qSupported:multiprocess+")?;
    if trick == Trick::Junk {
        let end = address("__bss_end")?;
        for at in (address("__bss_start")?..end).step_by(1024) {
            let len = (end - at).min(1024);
            debugger.done(&format!("M{at:x},{len:x}:{}", "a5".repeat(len as usize)))?;
        }
    } else {
        let second = address("secondary_start")?;
        debugger.done(&format!("Z1,{second:x},4"))?;
        let stopped = debugger.ask("c")?;
        let thread = stopped.split([':', ';']).skip_while(|word| !word.ends_with("thread")).nth(1);
        debugger.done(&format!("Hg{}", thread.context("no thread has stopped")?))?;
        let (register, value) = match trick {
            Trick::Uncalled => (A0, 7),
            _ => (PC, address("_start")?),
        };
        let mut registers = debugger.ask("g")?;
        registers.replace_range(16 * register..16 * (register + 1), &format!("{:016x}", value.swap_bytes()));
        debugger.done(&format!("G{registers}"))?;
        debugger.done(&format!("z1,{second:x},4"))?;
    }
    debugger.send("c")?;
    Ok(debugger)
}

/// The emulator's side for debuggers: packets `$text#sum`, acknowledged by `+`.
struct Debugger(UnixStream);

impl Debugger {
    fn attach(socket: &Path) -> Result<Self> {
        for _ in 0..HANG_LIMIT.as_millis() / 50 {
            if let Ok(stream) = UnixStream::connect(socket) {
                stream.set_read_timeout(Some(HANG_LIMIT))?;
                return Ok(Self(stream));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the emulator does not open {}", socket.display())
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        Ok(self.0.write_all(format!("${text}#{sum:02x}").as_bytes())?)
    }

    fn ask(&mut self, text: &str) -> Result<String> {
        self.send(text)?;
        while self.byte()? != b'$' {}
        let mut answer = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => answer.push(char::from(byte)),
            }
        }
        let _sum = (self.byte()?, self.byte()?);
        self.0.write_all(b"+")?;
        Ok(answer)
    }

    fn done(&mut self, text: &str) -> Result<()> {
        match self.ask(text)?.as_str() {
            "OK" => Ok(()),
            other => bail!("the emulator answers {other} to {text:.20}"),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}
