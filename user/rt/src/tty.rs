//! Terminals: modes, size, the process group in the foreground, and the lines of a serial port.

use crate::io;
use crate::sys::syscall;
use abi::ioctl::{
    ECHO, FIONREAD, ICANON, ICRNL, IEXTEN, ISIG, IXON, TCFLSH, TCGETS, TCSETSW, TIOCGPGRP, TIOCGWINSZ, TIOCMBIC,
    TIOCMBIS, TIOCMGET, TIOCSCTTY, TIOCSPGRP, Termios, VMIN, VTIME, Winsize,
};
use zerocopy::FromZeros;

/// The modes of the terminal `fd`.
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn attributes(fd: i32) -> io::Result<Termios> {
    let mut termios = Termios::new_zeroed();
    syscall!(IOCTL, fd, TCGETS, &raw mut termios)?;
    Ok(termios)
}

/// Sets the modes, after what was written has been sent.
///
/// # Errors
/// `ENOTTY`.
pub fn set_attributes(fd: i32, termios: &Termios) -> io::Result<()> {
    syscall!(IOCTL, fd, TCSETSW, core::ptr::from_ref(termios))?;
    Ok(())
}

/// `termios` changed so that each key is delivered at once, unechoed, and Ctrl-C is a character.
#[must_use]
pub fn raw(termios: &Termios) -> Termios {
    let mut raw = *termios;
    raw.iflag &= !(ICRNL | IXON);
    raw.lflag &= !(ICANON | ECHO | ISIG | IEXTEN);
    raw.cc[VMIN] = 1;
    raw.cc[VTIME] = 0;
    raw
}

/// Whether `fd` is a terminal.
#[must_use]
pub fn is_terminal(fd: i32) -> bool {
    attributes(fd).is_ok()
}

/// Rows and columns; `None` if unknown.
#[must_use]
pub fn size(fd: i32) -> Option<(u16, u16)> {
    let mut size = Winsize::new_zeroed();
    syscall!(IOCTL, fd, TIOCGWINSZ, &raw mut size).ok()?;
    (size.row > 0 && size.col > 0).then_some((size.row, size.col))
}

/// Makes process group `group` the one that Ctrl-C and reading belong to.
///
/// # Errors
/// `ENOTTY`, `EPERM`.
pub fn set_foreground(fd: i32, group: i32) -> io::Result<()> {
    syscall!(IOCTL, fd, TIOCSPGRP, &raw const group)?;
    Ok(())
}

/// The process group in the foreground.
///
/// # Errors
/// `ENOTTY`.
pub fn foreground(fd: i32) -> io::Result<i32> {
    let mut group = 0i32;
    syscall!(IOCTL, fd, TIOCGPGRP, &raw mut group)?;
    Ok(group)
}

/// Makes `fd` the controlling terminal of the calling session leader.
///
/// # Errors
/// `EPERM` when it belongs to another session.
pub fn set_controlling(fd: i32) -> io::Result<()> {
    syscall!(IOCTL, fd, TIOCSCTTY, 0)?;
    Ok(())
}

/// Which lines to a modem and from it are on (`TIOCM_*`).
///
/// # Errors
/// `ENOTTY` when it has none.
pub fn lines(fd: i32) -> io::Result<u32> {
    let mut lines = 0u32;
    syscall!(IOCTL, fd, TIOCMGET, &raw mut lines)?;
    Ok(lines)
}

/// Switches some of them on or off. With `TIOCM_LOOP` what is sent is received.
///
/// # Errors
/// As for [`lines`].
pub fn switch_lines(fd: i32, lines: u32, on: bool) -> io::Result<()> {
    syscall!(IOCTL, fd, if on { TIOCMBIS } else { TIOCMBIC }, &raw const lines)?;
    Ok(())
}

/// Forgets what was received and not read, or written and not sent (`TCIFLUSH`, `TCOFLUSH`, `TCIOFLUSH`).
///
/// # Errors
/// `ENOTTY`, `EINVAL`.
pub fn flush(fd: i32, which: u32) -> io::Result<()> {
    syscall!(IOCTL, fd, TCFLSH, which)?;
    Ok(())
}

/// Bytes that can be read at once.
///
/// # Errors
/// `ENOTTY`.
pub fn available(fd: i32) -> io::Result<usize> {
    let mut count = 0u32;
    syscall!(IOCTL, fd, FIONREAD, &raw mut count)?;
    Ok(count as usize)
}
