//! What a serial port's terminal has: what is on its way out, the lines to a modem, a beginning and an end.

use super::*;
use abi::ioctl::{
    B9600, CLOCAL, CREAD, CS8, HUPCL, TCIFLUSH, TCIOFLUSH, TCOFLUSH, TIOCM_DTR, TIOCM_LOOP, TIOCM_OUT1, TIOCM_OUT2,
    TIOCM_RTS,
};

/// The lines that a program sets.
const SETTABLE: u32 = TIOCM_DTR | TIOCM_RTS | TIOCM_OUT1 | TIOCM_OUT2 | TIOCM_LOOP;

/// The lines beside those that carry bytes.
pub trait Modem: Send + Sync {
    /// Which are on (`TIOCM_*`).
    fn lines(&self) -> u32;

    /// Switches those of [`abi::ioctl`] on and off that a program sets.
    fn change(&self, on: u32, off: u32);
}

impl Tty {
    /// Gives a serial port's terminal the control modes that Linux gives one.
    pub fn make_port(&self) {
        let line = &mut self.state.lock().line;
        let termios = Termios { cflag: B9600 | CS8 | CREAD | HUPCL | CLOCAL, ..*line.termios() };
        line.set_termios(termios);
    }

    /// Somebody opens it after nobody had it open: what is left to read is nobody's.
    pub fn begin(&self) {
        self.state.lock().line.flush();
    }

    /// Nobody has it open any more: it controls no session. The modes stay.
    pub fn finish(&self) {
        let mut state = self.state.lock();
        state.line.flush();
        state.control = Control::default();
    }

    /// What is sent is received.
    pub(super) fn is_looped(&self) -> bool {
        self.output.modem().is_some_and(|modem| modem.lines() & TIOCM_LOOP != 0)
    }

    /// The requests of `ioctl` that are about the line.
    pub(super) async fn control_port(
        &self,
        caller: &Caller,
        space: &AddressSpace,
        command: u32,
        argument: usize,
    ) -> Result<usize, Errno> {
        match command {
            ioctl::TCFLSH => self.flush(caller, argument)?,
            ioctl::TIOCOUTQ => space.put(argument, &(self.output.unsent() as u32)).await?,
            ioctl::TCSBRK | ioctl::TCSBRKP => {
                self.check(caller, SIGTTOU)?;
                self.output.wait_sent().await;
            }
            ioctl::TCXONC => self.check(caller, SIGTTOU)?,
            ioctl::TIOCMGET => {
                let lines = self.output.modem().ok_or(Errno::ENOTTY)?.lines();
                space.put(argument, &lines).await?;
            }
            ioctl::TIOCMBIS | ioctl::TIOCMBIC | ioctl::TIOCMSET => {
                let modem = self.output.modem().ok_or(Errno::ENOTTY)?;
                let lines = space.get::<u32>(argument).await?;
                let (on, off) = match command {
                    ioctl::TIOCMBIS => (lines, 0),
                    ioctl::TIOCMBIC => (0, lines),
                    _ => (lines, !lines),
                };
                modem.change(on & SETTABLE, off & SETTABLE);
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    /// `TCFLSH`.
    fn flush(&self, caller: &Caller, which: usize) -> Result<(), Errno> {
        self.check(caller, SIGTTOU)?;
        let (input, output) = match u32::try_from(which) {
            Ok(TCIFLUSH) => (true, false),
            Ok(TCOFLUSH) => (false, true),
            Ok(TCIOFLUSH) => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        if input {
            self.state.lock().line.flush();
        }
        if output {
            self.output.discard();
        }
        Ok(())
    }
}
