//! Socket options: what can be set and read on every socket.

use abi::errno::Errno;

/// An option, apart from its number in the system-call interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SO_REUSEADDR`.
    ReuseAddress,
    /// `SO_REUSEPORT`.
    ReusePort,
    /// `SO_KEEPALIVE`.
    KeepAlive,
    /// `SO_BROADCAST`.
    Broadcast,
    /// `TCP_NODELAY`.
    NoDelay,
    /// `TCP_KEEPIDLE`, seconds.
    KeepIdle,
    /// `SO_LINGER`.
    Linger,
    /// `SO_RCVTIMEO`, nanoseconds, 0 for none.
    ReceiveTimeout,
    /// `SO_SNDTIMEO`, nanoseconds, 0 for none.
    SendTimeout,
    /// `SO_ERROR`; reading clears it.
    Error,
    /// `SO_ACCEPTCONN`.
    Listening,
    /// `SO_PASSCRED`: who receives is told who sent.
    PassCredentials,
    /// `SO_RCVBUF`: fixed; what is set is told, and has no other effect.
    ReceiveBuffer,
    /// `SO_SNDBUF`: likewise.
    SendBuffer,
}

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketValue {
    /// A number, or 0 and 1 for no and yes.
    Number(u64),
    /// `SO_LINGER`: seconds to linger, if on.
    Linger(Option<u32>),
}

/// The options that a socket stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub reuse_address: bool,
    pub reuse_port: bool,
    pub keep_alive: bool,
    pub keep_idle: u64,
    pub broadcast: bool,
    pub no_delay: bool,
    pub linger: Option<u32>,
    pub receive_timeout: u64,
    pub send_timeout: u64,
    pub pass_credentials: bool,
    /// Sizes that are told.
    pub receive_buffer: u32,
    pub send_buffer: u32,
}

/// Linux's limit of what may be asked for (`net.core.rmem_max`, `wmem_max`), and the least that it makes of that: it tells twice what was asked for.
const MOST_BUFFER: u64 = 212_992;
const LEAST_RECEIVE_BUFFER: u64 = 2_304;
const LEAST_SEND_BUFFER: u64 = 4_608;

/// What Linux tells of a size that was asked for.
fn told(asked: u64, least: u64) -> u32 {
    (2 * asked.min(MOST_BUFFER)).max(least) as u32
}

impl Options {
    pub const DEFAULT: Self = Self {
        reuse_address: false,
        reuse_port: false,
        keep_alive: false,
        keep_idle: 7200,
        broadcast: false,
        no_delay: false,
        linger: None,
        receive_timeout: 0,
        send_timeout: 0,
        pass_credentials: false,
        receive_buffer: crate::stack::BUFFER as u32,
        send_buffer: crate::stack::BUFFER as u32,
    };

    /// Stores `value`.
    ///
    /// # Errors
    /// `EINVAL` for a value of the wrong form, `ENOPROTOOPT` for an option that is only read.
    pub fn set(&mut self, option: SocketOption, value: SocketValue) -> Result<(), Errno> {
        let number = match (option, value) {
            (SocketOption::Linger, SocketValue::Linger(linger)) => {
                self.linger = linger;
                return Ok(());
            }
            (SocketOption::Linger, _) | (_, SocketValue::Linger(_)) => return Err(Errno::EINVAL),
            (_, SocketValue::Number(number)) => number,
        };
        let on = number != 0;
        match option {
            SocketOption::ReuseAddress => self.reuse_address = on,
            SocketOption::ReusePort => self.reuse_port = on,
            SocketOption::KeepAlive => self.keep_alive = on,
            SocketOption::Broadcast => self.broadcast = on,
            SocketOption::NoDelay => self.no_delay = on,
            SocketOption::KeepIdle if (1..=32_767).contains(&number) => self.keep_idle = number,
            SocketOption::KeepIdle => return Err(Errno::EINVAL),
            SocketOption::ReceiveTimeout => self.receive_timeout = number,
            SocketOption::SendTimeout => self.send_timeout = number,
            SocketOption::PassCredentials => self.pass_credentials = on,
            SocketOption::ReceiveBuffer => self.receive_buffer = told(number, LEAST_RECEIVE_BUFFER),
            SocketOption::SendBuffer => self.send_buffer = told(number, LEAST_SEND_BUFFER),
            SocketOption::Error | SocketOption::Listening | SocketOption::Linger => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// Reads a stored option; `None` for those that are not stored here.
    pub fn get(&self, option: SocketOption) -> Option<SocketValue> {
        let number = match option {
            SocketOption::ReuseAddress => self.reuse_address.into(),
            SocketOption::ReusePort => self.reuse_port.into(),
            SocketOption::KeepAlive => self.keep_alive.into(),
            SocketOption::Broadcast => self.broadcast.into(),
            SocketOption::NoDelay => self.no_delay.into(),
            SocketOption::KeepIdle => self.keep_idle,
            SocketOption::ReceiveTimeout => self.receive_timeout,
            SocketOption::SendTimeout => self.send_timeout,
            SocketOption::PassCredentials => self.pass_credentials.into(),
            SocketOption::Linger => return Some(SocketValue::Linger(self.linger)),
            SocketOption::ReceiveBuffer => self.receive_buffer.into(),
            SocketOption::SendBuffer => self.send_buffer.into(),
            SocketOption::Error | SocketOption::Listening => return None,
        };
        Some(SocketValue::Number(number))
    }
}
