//! An echo over TCP on loopback, 64 bytes a message: a server of coroutines with requests on a ring, one with an epoll loop, one with a
//! thread for each connection; with fewer connections also one with a loop around `poll`, and one that signals drive. The client is the same for all: it sends on each of its connections, then takes all the answers.
//! The last rows are of connections that go by segments as those to other hosts do, where there is such a choice.

mod others;

use crate::measure::{Outcome, call, count_on_all_harts, measure, report};
use crate::processes::own_path;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::{iter, mem};
use rt::abi::errno::Errno;
use rt::abi::io_uring::*;
use rt::abi::net::{MSG_DONTWAIT, MSG_WAITALL};
use rt::abi::nr;
use rt::abi::poll::{EPOLL_CTL_ADD, EPOLLIN, EpollEvent};
use rt::abi::process::{RLIMIT_NOFILE, Rlimit};
use rt::io::{self, BufRead, Read, Write};
use rt::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use rt::process::{Child, Command, Stdio};
use rt::ring::{Buffers, Ring};
use rt::task::{block_on, spawn};
use rt::time::{Duration, Instant};
use rt::{async_net, fs, println, raw, thread};

/// Bytes of a message.
const MESSAGE: usize = 64;
/// Bytes that a server has room for.
const ROOM: usize = 1_024;
/// Requests that are measured, about.
const REQUESTS: u64 = 2_048;
/// Those whose time is taken.
const RATED: u64 = 8 * REQUESTS;
/// Connections that are used, beside so many on which nothing happens.
const BUSY: usize = 100;
const IDLE: usize = 10_000;
/// The same where a connection may hold a quarter of a mebibyte.
const IDLE_WIRED: usize = 500;

/// The servers, and how many connections each is measured with at most.
const MODELS: [(&str, usize); 6] =
    [("ring", MOST), ("tasks", MOST), ("epoll", MOST), ("threads", MOST), ("poll", 256), ("signal", 32)];
const MOST: usize = 1_024;
/// With how many connections.
const COUNTS: [usize; 4] = [1, 32, 256, MOST];

/// For how long free memory is to stand still.
const STILL: Duration = Duration::from_millis(200);

fn more_descriptors() -> Outcome {
    let limit = Rlimit { current: 16_384, max: 16_384 };
    call(nr::PRLIMIT64, &[0, RLIMIT_NOFILE as usize, &raw const limit as usize, 0])?;
    Ok(())
}

/// All of them. Each server has a process of its own.
pub fn servers() -> Outcome {
    more_descriptors()?;
    for count in COUNTS {
        for (model, _) in MODELS.into_iter().filter(|(_, most)| count <= *most) {
            let mut client = Client::new(model, count)?;
            client.measure(&format!("echo_{model}_{count}"), count)?;
            client.end()?;
        }
    }
    idle()?;
    in_segments()
}

/// The servers that are compared wherever that is.
const COMPARED: [&str; 3] = ["ring", "epoll", "threads"];

/// What a plugin counts of some of that, for how often both ends enter the kernel.
pub fn counted() -> Outcome {
    more_descriptors()?;
    for count in COUNTS {
        for model in COMPARED {
            let mut client = Client::new(model, count)?;
            count_on_all_harts(&format!("echo_{model}_{count}_harts"), REQUESTS, |requests| {
                client.request(requests.next_multiple_of(count as u64), count)
            })?;
            client.end()?;
        }
    }
    Ok(())
}

/// How many requests there are in a second, on several harts.
pub fn rates() -> Outcome {
    more_descriptors()?;
    for count in COUNTS {
        for model in COMPARED {
            let mut client = Client::new(model, count)?;
            client.request(REQUESTS, count)?;
            let start = Instant::now();
            client.request(RATED, count)?;
            let seconds = start.elapsed().as_nanos() as f64 / 1e9;
            report(&format!("echo_{model}_{count}_rate"), RATED as f64 / seconds, "1/s");
            client.end()?;
        }
    }
    Ok(())
}

/// By segments: less of all that. Elsewhere than on AsyncOS there is no other way, and these rows are those above.
fn in_segments() -> Outcome {
    let mut switch = match fs::OpenOptions::new().write(true).open("/proc/asyncos/loopback-segments") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        switch => switch?,
    };
    // Until it is closed.
    switch.write_all(b"1")?;
    for count in [1, 32, 256] {
        for model in COMPARED {
            let mut client = Client::new(model, count)?;
            client.measure(&format!("echo_wired_{model}_{count}"), count)?;
            client.end()?;
        }
    }
    let mut client = Client::new("ring", 1)?;
    report("idle_wired_connection", client.memory_of(IDLE_WIRED)?, "B");
    client.end()
}

/// What connections cost on which nothing happens: memory, and time of those on which something does.
fn idle() -> Outcome {
    let mut client = Client::new("ring", BUSY)?;
    client.measure("echo_busy_100", BUSY)?;
    report("idle_connection", client.memory_of(IDLE)?, "B");
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

/// The same of free memory, when it does not become more any more: what was there before may still be going.
fn free_memory() -> io::Result<f64> {
    let look = || field("/proc/meminfo", "MemFree:");
    let (mut most, mut since) = (look()?, Instant::now());
    while since.elapsed() < STILL {
        thread::sleep(STILL / 10);
        let now = look()?;
        if now > most {
            (most, since) = (now, Instant::now());
        }
    }
    look()
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

    /// Connects so often more, and finds how many bytes each of these takes.
    fn memory_of(&mut self, count: usize) -> io::Result<f64> {
        let before = free_memory()?;
        self.connect(count)?;
        let taken = before - field("/proc/meminfo", "MemFree:")?;
        Ok(taken * 1024.0 / count as f64)
    }

    /// Measures a request on the first `count` connections; and the switches that it takes.
    fn measure(&mut self, id: &str, count: usize) -> Outcome {
        let (mut done, mut before) = (0, 0.0);
        measure(id, REQUESTS, |requests| {
            before = field("/proc/stat", "ctxt ")?;
            done = requests.next_multiple_of(count as u64);
            self.request(done, count)
        })?;
        report(&format!("{id}_switches"), (field("/proc/stat", "ctxt ")? - before) / done as f64, "switches");
        Ok(())
    }

    /// So many requests, a multiple of `count`, on the first `count` connections.
    fn request(&mut self, requests: u64, count: usize) -> Outcome {
        let streams = &mut self.streams[..count];
        for round in 0..requests / count as u64 {
            let message = [round as u8; MESSAGE];
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
        }
        Ok(())
    }

    /// Ends it all.
    fn end(mut self) -> Outcome {
        self.server.kill()?;
        self.server.wait()?;
        Ok(())
    }
}

/// A server, in a process of its own. It ends when it is killed. Each has a frame of its own: that of all together is so large that each access to it takes three instructions.
pub fn serve(model: &str) -> Outcome {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match model {
        "ring" => ring(&TcpListener::bind(addr)?),
        "tasks" => block_on(tasks(async_net::TcpListener::bind(addr)?)),
        "epoll" => epoll(&TcpListener::bind(addr)?),
        "poll" => others::poll(&TcpListener::bind(addr)?),
        "signal" => others::signal(&TcpListener::bind(addr)?),
        _ => threads(&TcpListener::bind(addr)?),
    }
}

/// Says where it listens.
fn ready(addr: SocketAddr) -> Outcome {
    println!("port {}", addr.port());
    io::stdout().flush()
}

/// Whose completion it is, beside the connection's number in the lower half of `user_data`: a message is received, or one is sent.
const SENT: u64 = 1 << 63;
/// Instead of a connection: the next one.
const ACCEPTED: u64 = u32::MAX as u64;
/// The group of the buffers, and how many these are.
const GROUP: u16 = 1;
const BUFFERS: u16 = 2_048;
/// Of the server's ring, which has room for twice as many completions.
const ENTRIES: u32 = 1_024;

/// A message in a buffer: which, and what is to be sent of it.
#[derive(Clone, Copy)]
struct Message {
    bid: u16,
    from: usize,
    len: usize,
}

/// A connection of the ring's server. Its messages are sent one after the other.
struct Connection {
    stream: TcpStream,
    sending: Option<Message>,
    /// That is sent by an entry that waits for room.
    waits: bool,
    held: VecDeque<Message>,
}

/// A loop like the one around epoll: one call for all that has come, and all that is to be done about it. What comes is put into buffers that the kernel chooses,
/// and sent from there: first as epoll's server does it, without waiting. Such an entry is done when the call that submits it has come back, and has a completion only if not all was
/// sent.
struct Server {
    ring: Ring,
    /// Connections whose message is sent so by the next call.
    tried: Vec<usize>,
    /// Memory for the completions that are being looked at.
    seen: Vec<Cqe>,
    buffers: Buffers,
    memory: Vec<u8>,
    connections: Vec<Connection>,
    /// Those that are to be received from again when there are buffers.
    starved: Vec<usize>,
}

impl Server {
    fn new() -> io::Result<Self> {
        let ring = Ring::new(ENTRIES, 0)?;
        let buffers = Buffers::new(&ring, GROUP, BUFFERS)?;
        let memory = vec![0; usize::from(BUFFERS) * ROOM];
        let mut server = Self {
            ring,
            tried: Vec::new(),
            seen: Vec::new(),
            buffers,
            memory,
            connections: Vec::new(),
            starved: Vec::new(),
        };
        (0..BUFFERS).for_each(|bid| server.give_back(bid));
        Ok(server)
    }

    fn address(&self, bid: u16) -> usize {
        self.memory.as_ptr() as usize + usize::from(bid) * ROOM
    }

    fn give_back(&mut self, bid: u16) {
        self.buffers.add(self.address(bid), ROOM as u32, bid);
    }

    /// Adds an entry, submitting what is there if there is no room.
    fn add(&mut self, entry: &Sqe) -> Outcome {
        while !self.ring.push_raw(entry) {
            self.ring.submit(0)?;
        }
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener) -> Outcome {
        self.add(&Sqe { opcode: IORING_OP_ACCEPT, fd: listener.fd().raw(), user_data: ACCEPTED, ..Sqe::default() })
    }

    /// Receives from a connection as long as there is something.
    fn receive(&mut self, number: usize) -> Outcome {
        let (flags, ioprio) = (IOSQE_BUFFER_SELECT, IORING_RECV_MULTISHOT);
        let (fd, user_data) = (self.connections[number].stream.fd().raw(), number as u64);
        self.add(&Sqe { opcode: IORING_OP_RECV, flags, ioprio, fd, buf_index: GROUP, user_data, ..Sqe::default() })
    }

    fn send(&mut self, number: usize, message: Message, waits: bool) -> Outcome {
        let connection = &mut self.connections[number];
        (connection.sending, connection.waits) = (Some(message), waits);
        let (mut flags, mut op_flags) = (0, MSG_WAITALL);
        if !waits {
            self.tried.push(number);
            (flags, op_flags) = (IOSQE_CQE_SKIP_SUCCESS, MSG_WAITALL | MSG_DONTWAIT);
        }
        let fd = connection.stream.fd().raw();
        let (addr, len) = ((self.address(message.bid) + message.from) as u64, message.len as u32);
        let user_data = number as u64 | SENT;
        self.add(&Sqe { opcode: IORING_OP_SEND, flags, fd, addr, len, op_flags, user_data, ..Sqe::default() })
    }

    fn accepted(&mut self, fd: usize) -> Outcome {
        let stream = raw::tcp_stream(fd);
        stream.set_nodelay(true)?;
        self.connections.push(Connection { stream, sending: None, waits: false, held: VecDeque::new() });
        self.receive(self.connections.len() - 1)
    }

    fn received(&mut self, number: usize, cqe: &Cqe) -> Outcome {
        if cqe.flags & IORING_CQE_F_BUFFER != 0 {
            let message =
                Message { bid: (cqe.flags >> IORING_CQE_BUFFER_SHIFT) as u16, from: 0, len: cqe.res as usize };
            match self.connections[number].sending {
                None => self.send(number, message, false)?,
                Some(_) => self.connections[number].held.push_back(message),
            }
        }
        let goes_on = cqe.flags & IORING_CQE_F_MORE != 0;
        if !goes_on && cqe.res == -Errno::ENOBUFS.number() {
            self.starved.push(number);
        } else if !goes_on && cqe.res > 0 {
            return self.receive(number);
        }
        Ok(())
    }

    /// What was being sent has been, or some of it: what is left waits for room.
    fn sent(&mut self, number: usize, result: i32) -> Outcome {
        let Some(Message { bid, from, len }) = self.connections[number].sending.take() else { return Ok(()) };
        let bytes = match Errno::from_return(result as isize) {
            Err(Errno::EAGAIN) => 0,
            bytes => bytes?,
        };
        match len - bytes {
            0 => self.have_sent(number, bid),
            rest => self.send(number, Message { bid, from: from + bytes, len: rest }, true),
        }
    }

    /// A message has been sent.
    fn have_sent(&mut self, number: usize, bid: u16) -> Outcome {
        self.give_back(bid);
        if let Some(next) = self.connections[number].held.pop_front() {
            self.send(number, next, false)?;
        }
        match self.starved.pop() {
            Some(starved) => self.receive(starved),
            None => Ok(()),
        }
    }

    /// A call has come back. What was to be sent by it, and is not among what has failed, has been.
    fn submitted(&mut self, listener: &TcpListener) -> Outcome {
        let (tried, mut seen) = (self.tried.len(), mem::take(&mut self.seen));
        loop {
            seen.extend(iter::from_fn(|| self.ring.pop()));
            if !self.ring.asks_for_a_call() {
                break;
            }
            self.ring.flush()?;
        }
        for cqe in seen.iter().filter(|cqe| cqe.user_data & SENT != 0) {
            self.sent((cqe.user_data & ACCEPTED) as usize, cqe.res)?;
        }
        for place in 0..tried {
            let number = self.tried[place];
            if !self.connections[number].waits
                && let Some(message) = self.connections[number].sending.take()
            {
                self.have_sent(number, message.bid)?;
            }
        }
        self.tried.drain(..tried);
        for cqe in seen.iter().filter(|cqe| cqe.user_data & SENT == 0) {
            self.completed(cqe, listener)?;
        }
        seen.clear();
        self.seen = seen;
        Ok(())
    }

    fn completed(&mut self, cqe: &Cqe, listener: &TcpListener) -> Outcome {
        if cqe.user_data == ACCEPTED {
            self.accepted(Errno::from_return(cqe.res as isize)?)?;
            return self.accept(listener);
        }
        self.received((cqe.user_data & ACCEPTED) as usize, cqe)
    }
}

#[inline(never)]
fn ring(listener: &TcpListener) -> Outcome {
    let mut server = Server::new()?;
    server.accept(listener)?;
    ready(listener.local_addr()?)?;
    loop {
        server.ring.submit(1)?;
        server.submitted(listener)?;
    }
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

#[inline(never)]
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
    let mut events = [EpollEvent { events: 0, pad: 0, data: 0 }; ROOM];
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

#[inline(never)]
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
