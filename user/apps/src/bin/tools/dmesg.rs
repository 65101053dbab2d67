//! `dmesg`.

use crate::input::about;
use crate::options::Options;
use crate::{Outcome, Tool};
use rt::fs::OpenOptions;
use rt::io::{self, ErrorKind, Read, Write};

/// The tool.
pub static TOOL: Tool = Tool { name: "dmesg", usage: "\nPrints the kernel's messages.", options: Some(""), run };

fn run(_: &Options) -> Outcome {
    const LOG: &str = "/proc/kmsg";
    // Without the flag reading would wait for the next message at the end.
    let flags = rt::abi::fs::O_NONBLOCK;
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open(LOG).map_err(about(LOG))?;
    let mut buf = [0u8; 8192];
    loop {
        match log.read(&mut buf) {
            Ok(0) => return Ok(0),
            Ok(n) => io::stdout().write_all(&buf[..n]).map_err(about("standard output"))?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(about(LOG)(error)),
        }
    }
}
