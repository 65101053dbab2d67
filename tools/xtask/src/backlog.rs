//! Room for clients that come at the same time.
//!
//! QEMU's user network listens on the host with a queue of one connection. When many clients connect at once, the
//! host drops most of their handshakes: some connect a second later, and some, which believe to be
//! connected, hear nothing until they are reset. The guest sees none of it. A listening socket's queue can be
//! changed at any time by whoever has the socket, and Linux lets a parent have its child's descriptors.
//!
//! Where that is not possible (another system, or a container that forbids it) the queue stays as it is.

/// Connections that may wait for QEMU to accept them.
#[cfg(target_os = "linux")]
const QUEUE: i32 = 1024;

/// Enlarges the queue of every socket that the child process `child` listens on.
#[cfg(target_os = "linux")]
pub fn widen(child: u32) {
    use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{child}/fd")) else { return };
    let numbers = descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers {
        // Fails where tracing is forbidden, and for descriptors closed since.
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        if rustix::net::sockopt::socket_acceptconn(&socket) == Ok(true) {
            // A queue that stays short is the slower network that we have already.
            let _ = rustix::net::listen(&socket, QUEUE);
        }
    }
}

/// Other systems do not hand out descriptors.
#[cfg(not(target_os = "linux"))]
pub fn widen(_child: u32) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener};

    /// How many of eight clients can connect while nobody accepts.
    fn connected(address: SocketAddr) -> usize {
        let limit = std::time::Duration::from_millis(200);
        let connect = || std::net::TcpStream::connect_timeout(&address, limit);
        std::iter::repeat_with(connect).take(8).map_while(Result::ok).collect::<Vec<_>>().len()
    }

    #[test]
    fn the_queue_grows() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connected(address) < 8);
        while listener.set_nonblocking(true).is_ok() && listener.accept().is_ok() {}
        widen(std::process::id());
        assert_eq!(connected(address), 8);
    }
}
