//! The machine as a whole: names, memory, random bytes, power.

use crate::io;
use crate::sys::syscall;
use abi::process::{Sysinfo, Utsname};
use alloc::string::{String, ToString};
use zerocopy::FromZeros;

/// What `uname` reports.
#[derive(Clone, Debug)]
pub struct Uname {
    /// Operating system.
    pub sysname: String,
    /// Host name.
    pub nodename: String,
    /// Release.
    pub release: String,
    /// Version.
    pub version: String,
    /// Machine.
    pub machine: String,
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).to_string()
}

/// Names of the system.
///
/// # Errors
/// None that Linux documents for a valid buffer.
pub fn uname() -> io::Result<Uname> {
    let mut names = Utsname::new_zeroed();
    syscall!(UNAME, &raw mut names)?;
    Ok(Uname {
        sysname: text(&names.sysname),
        nodename: text(&names.nodename),
        release: text(&names.release),
        version: text(&names.version),
        machine: text(&names.machine),
    })
}

/// Memory in bytes, uptime in seconds, number of processes.
///
/// # Errors
/// None that Linux documents for a valid buffer.
pub fn sysinfo() -> io::Result<Sysinfo> {
    let mut info = Sysinfo::new_zeroed();
    syscall!(SYSINFO, &raw mut info)?;
    Ok(info)
}

/// Fills `buf` with random bytes.
///
/// # Errors
/// Those of `getrandom`.
pub fn random(buf: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        done += crate::sys::retry(|| syscall!(GETRANDOM, rest.as_mut_ptr(), rest.len(), 0))?;
    }
    Ok(())
}

/// Writes everything that is cached to the disks.
pub fn sync() {
    let _ = syscall!(SYNC);
}

fn reboot(command: u32) -> io::Result<()> {
    use abi::process::{LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2};
    syscall!(REBOOT, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command)?;
    Ok(())
}

/// Switches the machine off, without syncing first.
///
/// # Errors
/// `EPERM`.
pub fn power_off() -> io::Result<()> {
    reboot(abi::process::LINUX_REBOOT_CMD_POWER_OFF)
}

/// Restarts the machine, without syncing first.
///
/// # Errors
/// `EPERM`.
pub fn restart() -> io::Result<()> {
    reboot(abi::process::LINUX_REBOOT_CMD_RESTART)
}
