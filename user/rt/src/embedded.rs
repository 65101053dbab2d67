//! The traits of `embedded-io-async`, for libraries that are written against them: over the operations that lend their buffer.

use crate::async_net::TcpStream;
use crate::async_pipe::{Receiver, Sender};
use crate::async_stdio::{Stderr, Stdin, Stdout};
use crate::async_unix::UnixStream;
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

macro_rules! fails {
    ($($ty:ty),*) => {
        $(impl ErrorType for $ty {
            type Error = io::Error;
        })*
    };
}

macro_rules! reads {
    ($($ty:ty: $own:ty),*) => {
        $(impl Read for $ty {
            async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                <$own>::read(self, buf).await
            }
        })*
    };
}

macro_rules! writes {
    ($($ty:ty: $own:ty),*) => {
        $(impl Write for $ty {
            async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                <$own>::write(self, buf).await
            }

            // Nothing is kept back here.
            async fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        })*
    };
}

fails!(TcpStream, UnixStream, Receiver, Sender, Stdin, Stdout, Stderr);
reads!(TcpStream: TcpStream, UnixStream: UnixStream, Receiver: Receiver, Stdin: Stdin);
writes!(TcpStream: TcpStream, UnixStream: UnixStream, Sender: Sender, Stdout: Stdout, Stderr: Stderr);

// One task may read a connection while another writes.
fails!(&TcpStream, &UnixStream);
reads!(&TcpStream: TcpStream, &UnixStream: UnixStream);
writes!(&TcpStream: TcpStream, &UnixStream: UnixStream);
