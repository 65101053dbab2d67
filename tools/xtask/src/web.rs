//! The verb `web`: the guest's web server against a client on the host, byte for byte.
//!
//! Files of awkward sizes are shared; many requests, many at a time, over kept and over fresh connections;
//! every body is compared with the file; then some more while the network card loses, doubles and damages packets. Afterwards the guest's free memory must be back where it was, and
//! the disk intact.

use crate::build::{self, Built, Profile};
use crate::command::say;
use crate::console::{Ending, Session, Wire};
use crate::emulator::{self, Emulator, Interrupts, Machine};
use crate::image;
use crate::project::Project;
use crate::setup;
use crate::test::HANG_LIMIT;
use abi::mux::Channel;
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo xtask web [--requests N] [--parallel N] [--world NAME] [--harts N]

Boots the system with files of 0 B to 50 MB, asks its web server for them (default 10000 requests, 64 at a
time), and compares every byte. Then the guest's memory must be back where it was.
";

const MB: usize = 1_000_000;
/// Around the sizes at which something changes: segments, pages, buffers; and large.
const SIZES: [usize; 14] = [0, 1, 100, 1459, 1460, 1461, 4095, 4096, 4097, 65_535, 65_536, 65_537, MB, 50 * MB];
/// Every so many requests, one for 1 MB, and one for 50 MB.
const LARGE: [(usize, usize); 2] = [(2500, 50 * MB), (100, MB)];
/// Errors after which nothing more is asked.
const GIVE_UP: usize = 16;
/// Requests beside mishaps, and every how many packets there is one.
const BESIDE_MISHAPS: usize = 200;
const PACKETS_A_MISHAP: usize = 40;
/// Free memory may differ by so much: pages that caches and pools keep.
const SLACK_KIB: u64 = 1024;

/// What to ask for.
pub struct Options {
    /// Number of requests.
    pub requests: usize,
    /// Requests under way at any time.
    pub parallel: usize,
    /// How processes are isolated.
    pub world: String,
    /// Hardware threads.
    pub harts: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { requests: 10_000, parallel: 64, world: "auto".into(), harts: 2 }
    }
}

/// The verb `web`.
pub fn main(mut arguments: lexopt::Parser) -> Result<u8> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("requests") => options.requests = arguments.value()?.parse()?,
            Long("parallel") => options.parallel = arguments.value()?.parse()?,
            Long("world") => options.world = crate::run::world(&arguments.value()?.string()?)?,
            Long("harts") => options.harts = arguments.value()?.parse()?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let toolchain = setup::ensure()?;
    let project = Project::load()?;
    let built = build::build(&project, &toolchain, Profile::Guest)?;
    let served = check(&project, &built, &Emulator::find(&project, None)?, &options)?;
    Ok(u8::from(!served.holds()))
}

/// What came of it.
pub struct Served {
    /// Requests that were made.
    pub requests: usize,
    /// Of them, those that failed or got something else than the file.
    pub errors: usize,
    /// Free memory of the guest before and after, in KiB.
    memory: (u64, u64),
}

impl Served {
    /// KiB of the guest's memory that did not come back.
    pub fn memory_kept(&self) -> u64 {
        self.memory.0.saturating_sub(self.memory.1)
    }

    /// Whether everything was served, and the memory came back.
    pub fn holds(&self) -> bool {
        self.errors == 0 && self.memory_kept() <= SLACK_KIB
    }
}

/// Runs the whole check. An error means that it could not be done: no boot, no server, a damaged disk.
pub fn check(project: &Project, built: &Built, emulator: &Emulator, options: &Options) -> Result<Served> {
    let share = project.output()?.join(format!("web-{}", std::process::id()));
    let disk = share.with_extension("img");
    let made = make_files(&share).and_then(|()| image::make(project, built, Some(&share), &disk));
    let _ = std::fs::remove_dir_all(&share);
    let outcome = made.and_then(|()| check_machine(emulator, &built.kernel, &disk, options));
    let checked = outcome.and_then(|served| image::check(&disk).map(|()| served));
    let _ = std::fs::remove_file(&disk);
    checked
}

fn check_machine(emulator: &Emulator, kernel: &Path, disk: &Path, options: &Options) -> Result<Served> {
    let port = emulator::free_port(18080)?;
    let interrupts = if emulator.has_aia() { Interrupts::Aia } else { Interrupts::Plic };
    let machine = Machine {
        harts: options.harts,
        command_line: format!("console=mux tty=raw world={}", options.world),
        disk: Some(disk.to_path_buf()),
        port: Some(port),
        ..Machine::new(kernel, interrupts)
    };
    let mut guest = Guest { session: Session::start(machine.start(emulator), Wire::Mux)?, heard: String::new() };
    let outcome = exercise(&mut guest, port, options);
    if !outcome.as_ref().is_ok_and(Served::holds) {
        eprintln!("{}{}", guest.session.firmware_output(), guest.heard);
    }
    let served = outcome?;
    guest.session.input().end();
    match guest.session.drain(Some(HANG_LIMIT), |_, _| {}) {
        Ending::Exited(0) => Ok(served),
        other => bail!("the guest did not power off in order: {other:?}"),
    }
}

fn exercise(guest: &mut Guest, port: u16, options: &Options) -> Result<Served> {
    guest.free_memory()?;
    wait_for_server(port)?;
    check_manners(port)?;
    // Warm the caches: every file once, and as many connections as there will be.
    let warm = ask(port, SIZES.len(), options.parallel, |number| SIZES[number]).errors
        + ask(port, options.parallel * 4, options.parallel, |_| 100).errors;
    ensure!(warm == 0, "{warm} of the first requests failed");
    let before = guest.free_memory()?;
    let started = Instant::now();
    let Asked { requests, errors, bytes } = ask(port, options.requests, options.parallel, size_of_request);
    let seconds = started.elapsed().as_secs_f64();
    let astray = ask_beside_mishaps(guest, port, options)?;
    say(format!(
        "{requests} requests, {errors} errors, {} MB compared, in {seconds:.1} s ({:.0} requests/s)",
        bytes / MB,
        requests as f64 / seconds
    ));
    let deadline = Instant::now() + HANG_LIMIT;
    loop {
        // Closed connections linger for a while before their memory comes back.
        let after = guest.free_memory()?;
        if after + SLACK_KIB >= before || Instant::now() > deadline {
            say(format!("memory of the guest: {before} KiB free before, {after} KiB after"));
            return Ok(Served { requests, errors: errors + astray, memory: (before, after) });
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// Asks while some packets are lost, some come twice, and some are not what was sent; how many requests failed.
fn ask_beside_mishaps(guest: &mut Guest, port: u16, options: &Options) -> Result<usize> {
    // What was chosen is taken back where its file is closed.
    let file = "/proc/asyncos/card-faults";
    guest.ask(&format!("sh -c 'echo {PACKETS_A_MISHAP}; sleep 1000' > {file} &"))?;
    let asked = ask(port, BESIDE_MISHAPS, options.parallel, |number| SIZES[number % (SIZES.len() - 1)]);
    let count = |guest: &mut Guest| -> Result<usize> {
        let told = guest.ask(&format!("cat {file}"))?;
        told.lines().find_map(|line| line.trim().parse().ok()).context("no count of mishaps")
    };
    let mishaps = count(guest)?;
    ensure!(mishaps > 0, "no packet met with a mishap");
    guest.ask("kill %1; wait")?;
    ensure!(count(guest)? == 0, "packets still meet with mishaps");
    say(format!("{} requests, {} errors, beside {mishaps} mishaps of packets", asked.requests, asked.errors));
    Ok(asked.errors)
}

fn size_of_request(number: usize) -> usize {
    let large = LARGE.iter().find(|(every, _)| number % every == every - 1);
    large.map_or_else(|| SIZES[number % (SIZES.len() - LARGE.len())], |(_, size)| *size)
}

/// The machine under test and what its streams said.
struct Guest {
    session: Session,
    heard: String,
}

impl Guest {
    /// Asks the shell for the free memory, in KiB.
    fn free_memory(&mut self) -> Result<u64> {
        let text = self.ask("cat /proc/meminfo")?;
        let number = |name: &str| text.split_once(name)?.1.split_whitespace().next()?.parse().ok();
        let free = number("MemAvailable:").or_else(|| number("MemFree:"));
        free.with_context(|| format!("the guest does not say how much memory is free:\n{text}"))
    }

    /// Has the shell run a line; what is said until it is done.
    fn ask(&mut self, line: &str) -> Result<String> {
        let from = self.heard.len();
        self.session.input().send(format!("{line}\necho all-read\n").as_bytes());
        loop {
            let text = &self.heard[from..];
            // The whole line: the shell's echo of the command ends like this too.
            if text.lines().any(|line| line.trim() == "all-read") {
                return Ok(text.to_owned());
            }
            match self.session.next(Some(HANG_LIMIT)) {
                Ok((Channel::Tty | Channel::Log | Channel::Stderr | Channel::Stdout, bytes)) => {
                    self.heard.push_str(&String::from_utf8_lossy(&bytes));
                }
                Err(ending) => bail!("the guest ended: {ending:?}"),
            }
        }
    }
}

fn wait_for_server(port: u16) -> Result<()> {
    let deadline = Instant::now() + HANG_LIMIT;
    while Instant::now() < deadline {
        // The emulator accepts before the guest does, so only an answer counts.
        if Client::connect(port).and_then(|mut client| client.get("/", &[], true)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the web server does not answer")
}

/// A few things besides plain files: missing ones, ranges, listings, paths that climb.
fn check_manners(port: u16) -> Result<()> {
    let ask = |path: &str, headers: &[&str]| Client::connect(port)?.get(path, headers, true);
    let part = ask("/4097", &["Range: bytes=4090-"])?;
    ensure!(part.status == 206 && part.body == content(4097)[4090..], "a range: {}", part.status);
    let missing = ask("/no-such-file", &[])?;
    ensure!(missing.status == 404, "a missing file: {}", missing.status);
    let listing = ask("/", &[])?;
    ensure!(
        listing.status == 200 && String::from_utf8_lossy(&listing.body).contains("65537"),
        "no listing of the folder"
    );
    let climbing = ask("/../../etc/passwd", &[])?;
    ensure!(climbing.status >= 400 && !climbing.body.starts_with(b"root:"), "a path that climbs: {}", climbing.status);
    let mut client = Client::connect(port)?;
    client.stream.get_mut().write_all(b"\x00\x01 nonsense\r\n\r\n")?;
    let answer = client.answer();
    ensure!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400), "nonsense was not refused");
    Ok(())
}

/// What clients did.
#[derive(Default)]
struct Asked {
    requests: usize,
    errors: usize,
    bytes: usize,
}

/// Asks for `count` files from `parallel` threads. Each waits long for what does not come, so after [`GIVE_UP`]
/// errors no more is asked.
fn ask(port: u16, count: usize, parallel: usize, size: impl Fn(usize) -> usize + Sync) -> Asked {
    let (next, errors) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let contents: Vec<(usize, Vec<u8>)> = SIZES.iter().map(|size| (*size, content(*size))).collect();
    let worker = || {
        let (mut kept, mut asked) = (None, Asked::default());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || errors.load(Ordering::Relaxed) >= GIVE_UP {
                return asked;
            }
            let size = size(number);
            let expected = contents.iter().find(|(of, _)| *of == size).map_or(&[][..], |(_, content)| content);
            asked.requests += 1;
            match fetch(port, kept.take(), expected, number % 8 == 7) {
                Ok(client) => (kept, asked.bytes) = (client, asked.bytes + size),
                Err(error) => {
                    say(format!("request {number}, {size} bytes: {error:#}"));
                    errors.fetch_add(1, Ordering::Relaxed);
                    asked.errors += 1;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..parallel).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().fold(Asked::default(), |sum, worker| {
            // A client that panicked is an error of the check itself, and counts as one.
            let one = worker.join().unwrap_or(Asked { errors: 1, ..Asked::default() });
            Asked {
                requests: sum.requests + one.requests,
                errors: sum.errors + one.errors,
                bytes: sum.bytes + one.bytes,
            }
        })
    })
}

/// Asks for the file with this content, over a kept connection if there is one; the connection, if it can be kept.
fn fetch(port: u16, kept: Option<Client>, expected: &[u8], close: bool) -> Result<Option<Client>> {
    let mut client = kept.map_or_else(|| Client::connect(port), Ok)?;
    let answer = client.get(&format!("/{}", expected.len()), &[], close)?;
    ensure!(answer.status == 200, "status {}", answer.status);
    ensure!(answer.body == expected, "the body differs");
    Ok((!close && !answer.closes).then_some(client))
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    closes: bool,
}

/// One connection.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(HANG_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    fn get(&mut self, path: &str, headers: &[&str], close: bool) -> Result<Answer> {
        let connection = if close { "close" } else { "keep-alive" };
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n");
        headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
        request.push_str("\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer> {
        let status = self.line()?.split(' ').nth(1).and_then(|number| number.parse().ok()).context("no status line")?;
        let (mut length, mut closes) = (None, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", value)) => length = Some(value.trim().parse::<usize>()?),
                Some(("connection", value)) => closes = value.trim() == "close",
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                self.stream.read_exact(&mut body)?;
            }
            None => {
                closes = true;
                self.stream.read_to_end(&mut body)?;
            }
        }
        Ok(Answer { status, body, closes })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended early");
        Ok(line.trim_end().to_owned())
    }
}

fn make_files(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    SIZES.iter().try_for_each(|size| std::fs::write(folder.join(size.to_string()) as PathBuf, content(*size)))?;
    Ok(())
}

/// Bytes without a pattern that a lost or doubled piece could hide in.
fn content(size: usize) -> Vec<u8> {
    let mut state = size as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(size);
    bytes
}
