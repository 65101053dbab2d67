//! The traits of `embedded-io-async`, for libraries that are written against them: over the operations that lend their buffer.

use crate::async_net::TcpStream;
use crate::async_pipe::{Receiver, Sender};
use crate::io;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

impl embedded_io_async::Error for io::Error {
    fn kind(&self) -> ErrorKind {
        match io::Error::kind(self) {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::BrokenPipe => ErrorKind::BrokenPipe,
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            io::ErrorKind::InvalidData => ErrorKind::InvalidData,
            io::ErrorKind::WriteZero => ErrorKind::WriteZero,
            _ => ErrorKind::Other,
        }
    }
}

macro_rules! reads {
    ($ty:ty) => {
        impl Read for $ty {
            async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                <$ty>::read(self, buf).await
            }
        }
    };
}

macro_rules! writes {
    ($ty:ty) => {
        impl Write for $ty {
            async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                <$ty>::write(self, buf).await
            }

            // Nothing is kept back here.
            async fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

impl ErrorType for TcpStream {
    type Error = io::Error;
}

impl ErrorType for Receiver {
    type Error = io::Error;
}

impl ErrorType for Sender {
    type Error = io::Error;
}

reads!(TcpStream);
reads!(Receiver);
writes!(TcpStream);
writes!(Sender);
