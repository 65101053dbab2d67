//! An echo over TCP on loopback, 64 bytes a message: a server of coroutines with requests on a ring, one with an epoll loop, one with a
//! thread for each connection. The client is the same for all: it sends on each of its connections, then takes all the answers.

use crate::measure::{Outcome, call, measure, report};
use crate::processes::own_path;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use rt::abi::errno::Errno;
use rt::abi::io_uring::{IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_SEND, Sqe};
use rt::abi::nr;
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLIN, EpollEvent};
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::io::{self, BufRead, Read, Write};
use rt::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use rt::process::{Child, Command, Stdio};
use rt::ring::Ring;
use rt::task::{block_on, spawn};
use rt::{async_net, fs, println, raw, thread};

/// Bytes of a message.
const MESSAGE: usize = 64;
/// What a server has room for.
const ROOM: usize = 1_024;
/// Requests that are measured, about.
const REQUESTS: u64 = 2_048;
/// Connections that are used, beside so many on which nothing happens.
const BUSY: usize = 100;
const IDLE: usize = 10_000;

/// All of them. Each server has a process of its own.
pub fn servers() -> Outcome {
    let limit = Rlimit { current: 16_384, max: 16_384 };
    call(nr::PRLIMIT64, &[0, RLIMIT_NOFILE as usize, &raw const limit as usize, 0])?;
    for count in [1, 32, 256, 1_024] {
        for model in ["ring", "tasks", "epoll", "threads"] {
            let mut client = Client::new(model, count)?;
            client.measure(&format!("echo_{model}_{count}"), count)?;
            client.end()?;
        }
    }
    idle()
}

/// What connections cost on which nothing happens: memory, and time of those on which something does.
fn idle() -> Outcome {
    let mut client = Client::new("ring", BUSY)?;
    client.measure("echo_busy_100", BUSY)?;
    let before = field("/proc/meminfo", "MemFree:")?;
    client.connect(IDLE)?;
    let taken = (before - field("/proc/meminfo", "MemFree:")?) * 1024.0;
    report("idle_connection", taken / IDLE as f64, "B");
    client.measure("echo_beside_idle", BUSY)?;
    client.end()
}

/// The number behind a word in a file.
fn field(path: &str, name: &str) -> io::Result<f64> {
    let text = fs::read_to_string(path)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a number is missing"))
}

struct Client {
    server: Child,
    addr: SocketAddr,
    streams: Vec<TcpStream>,
}

impl Client {
    /// Starts a server and connects to it so often.
    fn new(model: &str, count: usize) -> io::Result<Self> {
        let mut server = Command::new(&own_path()).args(["--echo", model]).stdout(Stdio::Piped).spawn()?;
        let said = io::BufReader::new(server.stdout.take().ok_or(io::ErrorKind::NotFound)?);
        let port = said.lines().find_map(|line| line.ok()?.strip_prefix("port ")?.parse().ok());
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port.ok_or(io::ErrorKind::InvalidData)?));
        let mut client = Self { server, addr, streams: Vec::new() };
        client.connect(count)?;
        Ok(client)
    }

    /// Connects so often more, each time when the server has the one before.
    fn connect(&mut self, count: usize) -> Outcome {
        for _ in 0..count {
            let mut stream = TcpStream::connect(self.addr)?;
            stream.set_nodelay(true)?;
            stream.write_all(&[1; MESSAGE])?;
            stream.read_exact(&mut [0; MESSAGE])?;
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Measures a request on the first `count` connections; and the switches that it takes.
    fn measure(&mut self, id: &str, count: usize) -> Outcome {
        let streams = &mut self.streams[..count];
        let (mut done, mut before) = (0, 0.0);
        measure(id, REQUESTS, |requests| {
            (done, before) = (0, field("/proc/stat", "ctxt ")?);
            while done < requests.next_multiple_of(count as u64) {
                let message = [done as u8; MESSAGE];
                for stream in &mut *streams {
                    stream.write_all(&message)?;
                }
                for stream in &mut *streams {
                    let mut back = [0; MESSAGE];
                    stream.read_exact(&mut back)?;
                    if back != message {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "another message"));
                    }
                }
                done += count as u64;
            }
            Ok(())
        })?;
        report(&format!("{id}_switches"), (field("/proc/stat", "ctxt ")? - before) / done as f64, "switches");
        Ok(())
    }

    /// Ends it all.
    fn end(mut self) -> Outcome {
        self.server.kill()?;
        self.server.wait()?;
        Ok(())
    }
}

/// A server, in a process of its own. It ends when it is killed.
pub fn serve(model: &str) -> Outcome {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match model {
        "ring" => ring(&TcpListener::bind(addr)?),
        "tasks" => block_on(tasks(async_net::TcpListener::bind(addr)?)),
        "epoll" => epoll(&TcpListener::bind(addr)?),
        _ => threads(&TcpListener::bind(addr)?),
    }
}

/// Says where it listens.
fn ready(addr: SocketAddr) -> Outcome {
    println!("port {}", addr.port());
    io::stdout().flush()
}

/// What an entry's `user_data` says beside the connection: its message is received, or sent.
const SENT: u64 = 1 << 32;
/// Instead of a connection: the next one.
const ACCEPTED: u64 = u32::MAX as u64;

/// A connection of the ring's server. While one message is sent, the next is received.
struct Connection {
    stream: TcpStream,
    messages: [[u8; ROOM]; 2],
    /// Which is received.
    next: usize,
    is_sending: bool,
    /// The one received is so long, and the one before it is still being sent.
    held: Option<usize>,
}

impl Connection {
    fn new(stream: TcpStream) -> Box<Self> {
        Box::new(Self { stream, messages: [[0; ROOM]; 2], next: 0, is_sending: false, held: None })
    }

    fn entry(&mut self, opcode: u8, message: usize, len: usize, user_data: u64) -> Sqe {
        let (fd, addr) = (self.stream.fd().raw(), self.messages[message].as_mut_ptr() as u64);
        Sqe { opcode, fd, addr, len: len as u32, user_data, ..Sqe::default() }
    }

    fn receive(&mut self, ring: &mut Ring, number: u64) -> Outcome {
        let entry = self.entry(IORING_OP_RECV, self.next, ROOM, number);
        add(ring, &entry)
    }

    /// Sends back what was received, and receives the next.
    fn answer(&mut self, ring: &mut Ring, number: u64, len: usize) -> Outcome {
        let entry = self.entry(IORING_OP_SEND, self.next, len, number | SENT);
        add(ring, &entry)?;
        (self.next, self.is_sending) = (1 - self.next, true);
        self.receive(ring, number)
    }
}

/// A loop like the one around epoll: one call for all that has come, and all that is to be done about it.
fn ring(listener: &TcpListener) -> Outcome {
    let mut ring = Ring::new(256, 0)?;
    let mut connections: Vec<Box<Connection>> = Vec::new();
    let accept = Sqe { opcode: IORING_OP_ACCEPT, fd: listener.fd().raw(), user_data: ACCEPTED, ..Sqe::default() };
    add(&mut ring, &accept)?;
    ready(listener.local_addr()?)?;
    loop {
        ring.submit(1)?;
        while let Some(cqe) = ring.pop() {
            let (number, is_sent) = (cqe.user_data & ACCEPTED, cqe.user_data & SENT != 0);
            let len = Errno::from_return(cqe.res as isize)?;
            if number == ACCEPTED {
                let stream = raw::tcp_stream(len);
                stream.set_nodelay(true)?;
                let mut connection = Connection::new(stream);
                connection.receive(&mut ring, connections.len() as u64)?;
                connections.push(connection);
                add(&mut ring, &accept)?;
                continue;
            }
            let connection = &mut connections[number as usize];
            if is_sent {
                connection.is_sending = false;
                if let Some(len) = connection.held.take() {
                    connection.answer(&mut ring, number, len)?;
                }
            } else if connection.is_sending {
                connection.held = Some(len);
            } else if len > 0 {
                connection.answer(&mut ring, number, len)?;
            }
        }
    }
}

/// Adds an entry, submitting what is there if there is no room.
fn add(ring: &mut Ring, entry: &Sqe) -> Outcome {
    while !ring.push_raw(entry) {
        ring.submit(0)?;
    }
    Ok(())
}

async fn tasks(listener: async_net::TcpListener) -> Outcome {
    ready(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(async move {
            let mut buf = Vec::with_capacity(ROOM);
            loop {
                let (read, message) = stream.read_owned(buf).await;
                if read? == 0 {
                    return Outcome::Ok(());
                }
                let (written, message) = stream.write_all_owned(message).await;
                written?;
                buf = message;
            }
        });
    }
}

fn epoll(listener: &TcpListener) -> Outcome {
    let set = call(nr::EPOLL_CREATE1, &[0])?;
    let add = |fd: i32, data: u64| {
        let event = EpollEvent { events: EPOLLIN, pad: 0, data };
        call(nr::EPOLL_CTL, &[set, EPOLL_CTL_ADD as usize, fd as usize, &raw const event as usize])
    };
    listener.fd().set_nonblocking(true)?;
    add(listener.fd().raw(), 0)?;
    ready(listener.local_addr()?)?;
    let (mut streams, mut message) = (Vec::new(), [0; ROOM]);
    let mut events = [EpollEvent { events: 0, pad: 0, data: 0 }; 64];
    loop {
        let count = call(nr::EPOLL_PWAIT, &[set, events.as_mut_ptr() as usize, events.len(), usize::MAX, 0, 0])?;
        for event in &events[..count] {
            if event.data == 0 {
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nodelay(true)?;
                stream.fd().set_nonblocking(true)?;
                streams.push(stream);
                add(streams[streams.len() - 1].fd().raw(), streams.len() as u64)?;
            } else {
                let stream: &mut TcpStream = &mut streams[event.data as usize - 1];
                let Ok(count) = stream.read(&mut message) else { continue };
                stream.write_all(&message[..count])?;
            }
        }
    }
}

fn threads(listener: &TcpListener) -> Outcome {
    ready(listener.local_addr()?)?;
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let _ = thread::spawn(move || {
            let mut message = [0; ROOM];
            while let Ok(count) = stream.read(&mut message)
                && count > 0
                && stream.write_all(&message[..count]).is_ok()
            {}
        })?;
    }
}
