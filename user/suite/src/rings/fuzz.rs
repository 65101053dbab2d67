//! Sequences of everything that a program can do with rings, at random, over a model of what has to come of it.
//!
//! A round is a process: its numbers come from a seed, which a failure names. `suite --seed N ring/fuzz` begins with that one,
//! `--rounds N` does so many, `--fresh N` one more than it would else: a seed that nobody has tried. What else runs beside a round (another hart, a thread that disturbs it) no seed repeats.
//!
//! The model: an entry that was taken has exactly one last completion, and others before it only where an operation goes on; with
//! `IOSQE_CQE_SKIP_SUCCESS`, or behind such a one in its chain, it may have none. Each result is one that a call could have. When the
//! process has ended, however it ended, nothing holds its pipes any more.

mod entries;
mod model;

use super::*;
use crate::process::{RW, kill, map_at, unmap, wait};
use crate::runner::free_memory;
use entries::{FOREIGN, Pool, Random};
use model::Model;
use rt::abi::asyncos::{ASYNC, NAME_RING};
use rt::abi::fs::{AT_FDCWD, Iovec, O_CREAT, O_NONBLOCK, O_RDWR};
use rt::abi::net::{AF_INET, AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_STREAM};
use rt::abi::poll::POLLERR;
use rt::abi::process::WaitStatus;
use rt::abi::signal::{SIG_IGN, SIGKILL, SIGPIPE, Sigaction};
use rt::env;

pub const CASES: &[Case] = &[case!("ring/fuzz", "C4 C6 D14 E1 S6", fuzz)];

/// Variables of the environment in which the runner leaves its arguments.
pub const SEED: &str = "SUITE_SEED";
pub const ROUNDS: &str = "SUITE_ROUNDS";
pub const FRESH: &str = "SUITE_FRESH";
const STEPS: u32 = 120;
/// Rings at a time.
const MOST_RINGS: usize = 3;
/// Milliseconds in which what is cancelled has to end, on the slowest of hosts.
const PATIENCE: u32 = 20_000;
/// Memory in KiB that may be missing behind a round: what a process that ends gives back comes later.
const SLACK: i64 = 2048;

/// What the runner was given in place of `default`.
pub fn number(name: &str, default: u64) -> u64 {
    env::var(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fuzz() -> Outcome {
    let (first, rounds) = (number(SEED, 1), number(ROUNDS, 16));
    let mut before = None;
    let fresh = env::var(FRESH).and_then(|text| text.parse().ok());
    for seed in (first..first + rounds).chain(fresh) {
        round(seed).map_err(|trouble| Trouble::failed(format_args!("seed {seed}: {trouble:?}")))?;
        // The first fills what is kept for all.
        before = before.or_else(free_memory);
    }
    let missing = || before.unwrap_or(0) - free_memory().unwrap_or(0);
    let mut patience = PATIENCE / 10;
    while missing() > SLACK + rounds as i64 / 8 && patience > 0 {
        crate::process::sleep_ms(10);
        patience -= 1;
    }
    ensure!(patience > 0, "seeds {first} and {rounds} on: {} KiB are missing", missing());
    Ok(())
}

/// One process, and what is left of it.
fn round(seed: u64) -> Outcome {
    let (read, write) = rt::pipe::pipe()?;
    let (fd, other) = (read.fd().raw(), write.fd().raw());
    let pid = checked_child(|| steps(seed, &[fd, other]))?;
    drop(read);
    let is_killed = seed % 4 == 3;
    if is_killed {
        thread::sleep(core::time::Duration::from_micros(seed * 7919 % 30_000));
        let _ = kill(pid, SIGKILL);
    }
    match wait(pid)? {
        WaitStatus::Exited(0) => {}
        WaitStatus::Signaled(..) if is_killed => {}
        other => return Err(Trouble::failed(format_args!("the round's process: {other:?}"))),
    }
    for _ in 0..PATIENCE {
        let mut poll = PollFd { fd: other, events: 0, revents: 0 };
        let zero = millis(0);
        call!(PPOLL, &raw mut poll, 1, &raw const zero, 0, 0)?;
        if poll.revents & POLLERR != 0 {
            return Ok(());
        }
        crate::process::sleep_ms(1);
    }
    Err(Trouble::failed("something has the pipe yet"))
}

fn steps(seed: u64, pipe: &[i32]) -> Outcome {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
    // Ends are closed at random.
    let ignore = Sigaction { handler: SIG_IGN as u64, flags: 0, mask: 0 };
    call!(RT_SIGACTION, SIGPIPE, &raw const ignore, 0, 8)?;
    let mut run = Run::new(seed, pipe)?;
    let stop = Shared::new()?;
    let disturber = if seed.is_multiple_of(3) { Some(run.disturber(stop)?) } else { None };
    let mut outcome = Ok(());
    for _ in 0..STEPS {
        outcome = run.step(&mut random);
        if outcome.is_err() {
            break;
        }
    }
    stop.set(0, 1);
    let _ = disturber.map(thread::JoinHandle::join);
    outcome?;
    // Some end with everything under way.
    if random.once_in(4) {
        return Ok(());
    }
    while let Some(model) = run.models.pop() {
        if random.once_in(3) { drop(model) } else { model.settle()? }
    }
    Ok(())
}

/// What a round has.
struct Run {
    models: Vec<Model>,
    pool: Pool,
    socket: i32,
    counter: i32,
    next: u64,
    /// The ring to which asynchronous calls are answered.
    named: Option<i32>,
}

impl Run {
    /// Its descriptors are open as long as its process.
    fn new(seed: u64, pipe: &[i32]) -> Result<Self, Trouble> {
        let mut pair = [0i32; 2];
        call!(SOCKETPAIR, AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr())?;
        let counter = call!(EVENTFD2, 0, 0)? as i32;
        let mut hasty = [0i32; 2];
        call!(PIPE2, hasty.as_mut_ptr(), O_NONBLOCK)?;
        let listener = call!(SOCKET, AF_INET, SOCK_STREAM, 0)? as i32;
        let _ = call!(LISTEN, listener, 4);
        // Of a name of its own: what a process that was killed has begun to remove goes after its end.
        let path = alloc::ffi::CString::new(alloc::format!("/tmp/ring-fuzz-{seed}")).map_err(Trouble::failed)?;
        let file = call!(OPENAT, AT_FDCWD, path.as_ptr(), O_RDWR | O_CREAT, 0o600)? as i32;
        call!(UNLINKAT, AT_FDCWD, path.as_ptr(), 0)?;
        let all = [pair[0], pair[1], counter, hasty[0], hasty[1], listener, file, pipe[0], pipe[1], pipe[0]];
        Ok(Self { models: Vec::new(), pool: Pool::new(all.to_vec())?, socket: pair[1], counter, next: 1, named: None })
    }

    /// A thread that cancels, writes and changes mappings meanwhile.
    fn disturber(&self, stop: Shared) -> Result<thread::JoinHandle<()>, Trouble> {
        let (socket, page) = (self.socket, self.pool.page(&mut Random(1)));
        Ok(thread::spawn(move || {
            let mut random = Random(7);
            while stop.get(0) == 0 {
                let _ = call!(SENDTO, socket, c"bytes".as_ptr(), 5, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
                let _ = call!(MPROTECT, page, PAGE, random.of(&[0, m::PROT_READ, RW]));
                let _ = call!(MADVISE, page, PAGE, m::MADV_DONTNEED);
                thread::sleep(core::time::Duration::from_micros(random.below(500)));
            }
            let _ = call!(MPROTECT, page, PAGE, RW);
        })?)
    }

    fn step(&mut self, random: &mut Random) -> Outcome {
        if self.models.is_empty() || self.models.len() < MOST_RINGS && random.once_in(20) {
            self.opens(random)?;
        }
        let which = random.below(self.models.len() as u64) as usize;
        match random.below(40) {
            0..20 => {
                for _ in 0..=random.below(6) {
                    let entry = entries::entry(random, &self.pool, self.next);
                    self.next += u64::from(self.models[which].push(&entry));
                }
                if random.once_in(3) { Ok(()) } else { self.models[which].submit() }
            }
            20..24 => self.models[which].submit(),
            24..27 => self.models[which].reap(),
            27..30 => self.peer(random),
            30..33 => self.asks(random),
            33 | 34 => self.registers(random, which),
            35 => self.changes_memory(random),
            36 => self.forks(random, which),
            37 => self.models[which].cancel(random.below(self.next), 0, 0),
            38 => self.models[which].waits(),
            _ => self.closes(random, which),
        }
    }

    fn opens(&mut self, random: &mut Random) -> Outcome {
        const MODES: &[u32] = &[
            0,
            0,
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
            IORING_SETUP_SUBMIT_ALL,
            IORING_SETUP_COOP_TASKRUN,
            IORING_SETUP_R_DISABLED,
            IORING_SETUP_SQPOLL,
            IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER,
            IORING_SETUP_SQPOLL | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
        ];
        let model = Model::new(random.of(&[1, 4, 8, 32]), random.of(MODES))?;
        // Never by number twice: the rings of others are none of its files.
        self.pool.rings.push(model.fd());
        self.pool.fds.push(model.fd());
        self.models.push(model);
        Ok(())
    }

    fn closes(&mut self, random: &mut Random, which: usize) -> Outcome {
        let model = self.models.swap_remove(which);
        let fd = model.fd();
        self.pool.rings.retain(|ring| *ring != fd);
        self.pool.fds.retain(|other| *other != fd);
        self.named = self.named.filter(|named| *named != fd);
        if random.once_in(2) { model.settle() } else { Ok(()) }
    }

    /// What others do: bytes come, a counter is raised, a word is woken at.
    fn peer(&mut self, random: &mut Random) -> Outcome {
        let one = 1u64;
        // None of these waits; whether it succeeds depends on what entries have done.
        let _ = match random.below(4) {
            0 => call!(WRITE, self.pool.fds[4], c"xyz".as_ptr(), 3),
            1 => call!(SENDTO, self.socket, c"some bytes".as_ptr(), 10, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0),
            2 => call!(WRITE, self.counter, &raw const one, 8),
            _ => call!(FUTEX, self.pool.page(random), 1, 4, 0, 0, 0),
        };
        Ok(())
    }

    /// A call that nobody waits for; sometimes another ring is named first.
    fn asks(&mut self, random: &mut Random) -> Outcome {
        if self.named.is_none() || random.once_in(6) {
            let fd = self.models[random.below(self.models.len() as u64) as usize].fd();
            let answer = raw::syscall6(NAME_RING, [fd as usize, 0, 0, 0, 0, 0]);
            if answer != 0 {
                return Ok(());
            }
            self.named = Some(fd);
        }
        let (number, args) = entries::call(random, &self.pool);
        let token = self.next;
        let answer = raw::syscall_with_token(number | ASYNC, args, token);
        if let Some(model) = self.models.iter_mut().find(|model| Some(model.fd()) == self.named)
            && answer == 0
        {
            self.next += 1;
            model.asked(token);
        }
        ensure!(answer <= 0 && answer > -134, "call {number}: {answer}");
        Ok(())
    }

    /// Files, buffers, a counter, a ring of buffers: any of these may be there already, or be wrong.
    fn registers(&mut self, random: &mut Random, which: usize) -> Outcome {
        let fd = self.models[which].fd();
        let files: Vec<i32> = (0..5).map(|_| self.pool.fd(random)).filter(|fd| !self.pool.rings.contains(fd)).collect();
        let pieces: Vec<Iovec> =
            (0..3).map(|_| Iovec { base: self.pool.page(random) as u64, len: random.below(9000) }).collect();
        let tags = [FOREIGN | 1, 0, FOREIGN | 2];
        let buffers = RsrcRegister {
            nr: pieces.len() as u32,
            data: pieces.as_ptr() as u64,
            tags: tags.as_ptr() as u64,
            ..RsrcRegister::default()
        };
        let group = BufReg {
            ring_addr: self.pool.page(random) as u64,
            ring_entries: 8,
            bgid: random.below(2) as u16,
            ..BufReg::default()
        };
        let (what, argument, count) = match random.below(9) {
            0 | 1 => (IORING_REGISTER_FILES, files.as_ptr() as usize, files.len()),
            2 => (IORING_UNREGISTER_FILES, 0, 0),
            3 => (IORING_REGISTER_BUFFERS2, &raw const buffers as usize, size_of::<RsrcRegister>()),
            4 => (IORING_UNREGISTER_BUFFERS, 0, 0),
            5 => (IORING_REGISTER_EVENTFD, &raw const self.counter as usize, 1),
            6 => (IORING_UNREGISTER_EVENTFD, 0, 0),
            7 => (IORING_REGISTER_PBUF_RING, &raw const group as usize, 1),
            _ => (IORING_UNREGISTER_PBUF_RING, &raw const group as usize, 1),
        };
        let _ = call!(IO_URING_REGISTER, fd, what, argument, count);
        Ok(())
    }

    fn changes_memory(&mut self, random: &mut Random) -> Outcome {
        let page = self.pool.page(random);
        match random.below(3) {
            0 => {
                unmap(page, PAGE)?;
                map_at(page, PAGE, RW)?;
            }
            1 => {
                call!(MPROTECT, page, PAGE, m::PROT_READ)?;
                call!(MPROTECT, page, PAGE, RW)?;
            }
            _ => drop(call!(MADVISE, page, PAGE, m::MADV_DONTNEED)?),
        }
        Ok(())
    }

    /// A child that takes entries of the ring, and ends with what it has submitted.
    fn forks(&mut self, random: &mut Random, which: usize) -> Outcome {
        let entry = entries::entry(random, &self.pool, self.next);
        let model = &mut self.models[which];
        self.next += u64::from(model.push(&entry));
        let pid = child(|| {
            model.call();
            let _ = model.ring.flush();
            0
        })?;
        match wait(pid) {
            // An entry may have waited for it first.
            Ok(_) | Err(Errno::ECHILD) => model.account(),
            Err(errno) => Err(errno.into()),
        }
    }
}
