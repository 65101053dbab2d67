//! A program against the whole kernel on the host: its "machine code" is an async function whose system calls go
//! through the enter-user loop, this crate, and everything below.

use crate::{Setup, System};
use ::fs::{
    namespace::{MountInfo, Namespace},
    tmpfs,
    walk::{Context as Walk, Place},
};
use abi::{errno::Errno, fs as f, net as n, nr, poll as p};
use alloc::{boxed::Box, collections::VecDeque, format, string::String, sync::Arc, vec, vec::Vec};
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};
use hal::user::{Access, Exit, UserContext};
use io::{caller::Caller, device::Random, log::Log};
use mem::{Account, AddressSpace, Source};
use process::{FdTable, Program, Service, process::FilePlaces};
use std::rc::Rc;

mod ring_programs;
mod ring_trace;
mod rings;

/// Where the program's writable memory is.
const DATA: usize = 0x2_0000;
/// An address that is never mapped.
const BAD: usize = 0x30_0000_0000;
const CWD: usize = f::AT_FDCWD as usize;

static SYSTEM: std::sync::OnceLock<Arc<System>> = std::sync::OnceLock::new();
static ENDED: AtomicU32 = AtomicU32::new(u32::MAX);

#[derive(Default)]
struct Registers {
    wanted: VecDeque<(usize, [usize; 6])>,
    result: Option<isize>,
}

/// The processor as the program sees it.
#[derive(Clone)]
struct Cpu(Rc<RefCell<Registers>>);

impl Cpu {
    /// Makes a system call.
    async fn call<const N: usize>(&self, number: usize, args: [usize; N]) -> Result<usize, Errno> {
        let mut all = [0; 6];
        all[..N].copy_from_slice(&args);
        self.0.borrow_mut().wanted.push_back((number, all));
        let result = poll_fn(|_| self.0.borrow_mut().result.take().map_or(Poll::Pending, Poll::Ready)).await;
        Errno::from_return(result)
    }

    /// A call that must succeed.
    async fn good<const N: usize>(&self, number: usize, args: [usize; N]) -> usize {
        let name = abi::nr::name(number).unwrap_or("?");
        self.call(number, args).await.unwrap_or_else(|errno| panic!("{name}: {errno:?}"))
    }

    /// A call that must fail like this.
    async fn bad<const N: usize>(&self, number: usize, args: [usize; N], errno: Errno) {
        let name = abi::nr::name(number).unwrap_or("?");
        assert_eq!(self.call(number, args).await, Err(errno), "{name}{args:?}");
    }

    fn space(&self) -> Arc<AddressSpace> {
        process::table::process(1).expect("the program runs").space()
    }

    fn touch(&self, addr: usize, access: Access) {
        assert_eq!(self.space().fault_now(addr, access), Some(Ok(())));
    }

    fn store(&self, addr: usize, bytes: &[u8]) -> usize {
        while let Err(fault) = self.space().copy_out_now(addr, bytes) {
            self.touch(fault.addr, fault.access);
        }
        addr
    }

    /// Stores a path.
    fn path(&self, at: usize, path: &str) -> usize {
        self.store(at, format!("{path}\0").as_bytes())
    }

    fn load(&self, addr: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        while let Err(fault) = self.space().copy_in_now(addr, &mut bytes) {
            self.touch(fault.addr, fault.access);
        }
        bytes
    }

    fn word(&self, addr: usize) -> i32 {
        i32::from_le_bytes(self.load(addr, 4).try_into().unwrap())
    }
}

/// One step of user mode: runs the program up to its next call.
fn user_mode<F: Future<Output = ()>>(cpu: Cpu, program: F) -> impl FnMut(&mut UserContext) -> Exit {
    let mut program = Box::pin(program);
    let mut called = false;
    move |context| {
        if core::mem::take(&mut called) {
            cpu.0.borrow_mut().result = Some(context.x()[10] as isize);
        }
        let over = program.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let next = cpu.0.borrow_mut().wanted.pop_front();
        let (number, args) = match next {
            Some(next) => next,
            None if over => (nr::EXIT_GROUP, [7, 0, 0, 0, 0, 0]),
            None => panic!("the program waits for something else than a call"),
        };
        context.x_mut()[10..16].copy_from_slice(&args);
        context.x_mut()[17] = number;
        called = true;
        Exit::Syscall
    }
}

/// A static program with one writable segment of 64 KiB at [`DATA`] and its headers at 0x10000.
fn elf() -> Vec<u8> {
    let mut file = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &2u16.to_le_bytes());
    put(18, &243u16.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &0x1_0000u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 2, 0]);
    for (index, (flags, address, size)) in
        [(5u32, 0x1_0000u64, 0x1000u64), (6, DATA as u64, 0x1_0000)].into_iter().enumerate()
    {
        let at = 64 + 56 * index;
        put(at, &1u32.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        put(at + 16, &address.to_le_bytes());
        put(at + 24, &address.to_le_bytes());
        put(at + 32, &0x1000u64.to_le_bytes());
        put(at + 40, &size.to_le_bytes());
        put(at + 48, &0x1000u64.to_le_bytes());
    }
    file
}

fn power_off() {
    panic!("powered off")
}

fn system() -> (&'static System, Arc<Namespace>) {
    let info = MountInfo { source: "root".into(), path: "/".into(), kind: "tmpfs" };
    let namespace = Namespace::new(tmpfs::new(16 << 20), info);
    let net = net::Net::new(None, 12_345);
    for stack in net.stacks() {
        let stack = stack.clone();
        drop(exec::spawn(exec::Priority::NORMAL, "net", async move { stack.run().await }));
    }
    let system = System::new(Setup {
        namespace: namespace.clone(),
        net,
        random: Arc::new(Random::new([7; 32])),
        log: Log::new(),
        new_file_system: |kind, _| {
            if kind == b"tmpfs" { Ok(("tmpfs", tmpfs::new(1 << 20))) } else { Err(Errno::ENODEV) }
        },
        has_world: |_| true,
        power_off,
        init_ended: |status| ENDED.store(status, Relaxed),
    });
    drop(exec::spawn(exec::Priority::NORMAL, "timers", system.clone().run()));
    (SYSTEM.get_or_init(|| system), namespace)
}

/// Runs a program as process 1 until it exits with 7.
fn run(program: impl Future<Output = ()> + 'static, cpu: Cpu) -> &'static System {
    let (system, namespace) = system();
    let account = Account::new(None, usize::MAX);
    let caller = Caller::kernel(8, account);
    let root: Arc<Place> = namespace.root().clone();
    hal::fake::set_user(user_mode(cpu, program));
    let start = async {
        let walk = Walk { caller: &caller, root: &root, base: &root, resolve: 0 };
        let (open, place) = namespace.open(&walk, b"/init", f::O_RDWR | f::O_CREAT, 0o755).await.unwrap();
        open.write_now(&caller, &mut Source::kernel(&elf())).unwrap().unwrap();
        let places = FilePlaces { root: root.clone(), directory: root.clone(), umask: 0o22 };
        let init = process::run::Init {
            program: Program {
                file: open.file().clone(),
                backing: open.file().backing(open.path()).unwrap(),
                path: b"/init".to_vec(),
                place,
            },
            strings: Default::default(),
            places,
            descriptors: FdTable::new(&process::oom::system_account()).unwrap(),
        };
        process::spawn_init(system, init).await.unwrap();
    };
    exec::block_on(start);
    exec::block_on(poll_fn(|_| {
        hal::fake::advance(50_000);
        if ENDED.load(Relaxed) == u32::MAX { Poll::Pending } else { Poll::Ready(()) }
    }));
    assert_eq!(ENDED.load(Relaxed), 7 << 8);
    system
}

async fn files(cpu: &Cpu) {
    let path = cpu.path(DATA, "/file");
    cpu.bad(nr::OPENAT, [CWD, path, f::O_RDONLY as usize], Errno::ENOENT).await;
    cpu.bad(nr::OPENAT, [CWD, BAD, 0], Errno::EFAULT).await;
    let fd = cpu.good(nr::OPENAT, [CWD, path, (f::O_RDWR | f::O_CREAT) as usize, 0o666]).await;
    let text = cpu.store(DATA + 0x100, b"hello, world");
    assert_eq!(cpu.good(nr::WRITE, [fd, text, 12]).await, 12);
    cpu.bad(nr::WRITE, [fd, BAD, 1], Errno::EFAULT).await;
    cpu.bad(nr::WRITE, [fd, usize::MAX - 10, 100], Errno::EFAULT).await;
    cpu.bad(nr::READ, [99, text, 1], Errno::EBADF).await;
    assert_eq!(cpu.good(nr::LSEEK, [fd, 7, 0]).await, 7);
    // Into a page that has not been touched.
    assert_eq!(cpu.good(nr::READ, [fd, DATA + 0x5000, 100]).await, 5);
    assert_eq!(cpu.load(DATA + 0x5000, 5), b"world");
    assert_eq!(cpu.good(nr::READ, [fd, DATA + 0x5000, 100]).await, 0);
    assert_eq!(cpu.good(nr::PREAD64, [fd, DATA + 0x200, 5, 0]).await, 5);
    cpu.bad(nr::LSEEK, [fd, 0, 9], Errno::EINVAL).await;
    cpu.bad(nr::PREAD64, [fd, DATA, 1, usize::MAX], Errno::EINVAL).await;
    let mut list = Vec::new();
    for (base, len) in [(text, 5u64), (BAD, 0), (text + 7, 5)] {
        list.extend_from_slice(&(base as u64).to_le_bytes());
        list.extend_from_slice(&len.to_le_bytes());
    }
    cpu.store(DATA + 0x300, &list);
    assert_eq!(cpu.good(nr::PWRITEV, [fd, DATA + 0x300, 3, 0]).await, 10);
    cpu.bad(nr::READV, [fd, DATA + 0x300, 1025], Errno::EINVAL).await;
    cpu.good(nr::FSTAT, [fd, DATA + 0x400]).await;
    assert_eq!(cpu.load(DATA + 0x400 + 48, 8), 12u64.to_le_bytes());
    assert_eq!(cpu.word(DATA + 0x400 + 16), 0o100_644);
    cpu.bad(nr::FSTAT, [fd, BAD], Errno::EFAULT).await;
    cpu.good(nr::STATX, [CWD, path, 0, 0x7ff, DATA + 0x400]).await;
    cpu.good(nr::FTRUNCATE, [fd, 3]).await;
    assert_eq!(cpu.good(nr::LSEEK, [fd, 0, 2]).await, 3);
    descriptors(cpu, fd).await;
    paths(cpu).await;
}

async fn descriptors(cpu: &Cpu, fd: usize) {
    let copy = cpu.good(nr::DUP, [fd]).await;
    cpu.good(nr::DUP3, [fd, 20, f::O_CLOEXEC as usize]).await;
    assert_eq!(cpu.good(nr::FCNTL, [20, f::F_GETFD as usize]).await, 1);
    assert_eq!(cpu.good(nr::FCNTL, [fd, f::F_DUPFD as usize, 30]).await, 30);
    assert_eq!(cpu.good(nr::FCNTL, [fd, f::F_GETFL as usize]).await & 3, 2);
    cpu.bad(nr::DUP3, [fd, fd, 0], Errno::EINVAL).await;
    cpu.good(nr::CLOSE_RANGE, [20, 40, 0]).await;
    cpu.bad(nr::CLOSE, [30], Errno::EBADF).await;
    cpu.good(nr::CLOSE, [copy]).await;
    cpu.good(nr::CLOSE, [fd]).await;
    cpu.bad(nr::CLOSE, [usize::MAX], Errno::EBADF).await;
}

async fn paths(cpu: &Cpu) {
    let (a, b) = (DATA + 0x1000, DATA + 0x1800);
    cpu.good(nr::MKDIRAT, [CWD, cpu.path(a, "/dir"), 0o777]).await;
    cpu.good(nr::RENAMEAT2, [CWD, cpu.path(a, "/file"), CWD, cpu.path(b, "/dir/moved"), 0]).await;
    cpu.good(nr::SYMLINKAT, [cpu.path(a, "dir/moved"), CWD, cpu.path(b, "/link")]).await;
    assert_eq!(cpu.good(nr::READLINKAT, [CWD, b, DATA + 0x2000, 3]).await, 3);
    assert_eq!(cpu.load(DATA + 0x2000, 3), b"dir");
    cpu.good(nr::FACCESSAT, [CWD, b, f::R_OK as usize]).await;
    cpu.good(nr::CHDIR, [cpu.path(a, "dir")]).await;
    assert_eq!(cpu.good(nr::GETCWD, [DATA + 0x2000, 100]).await, 5);
    cpu.bad(nr::GETCWD, [DATA + 0x2000, 4], Errno::ERANGE).await;
    let dir = cpu.good(nr::OPENAT, [CWD, cpu.path(a, "."), f::O_DIRECTORY as usize]).await;
    cpu.good(nr::NEWFSTATAT, [dir, cpu.path(a, "moved"), DATA + 0x2000, 0]).await;
    let len = cpu.good(nr::GETDENTS64, [dir, DATA + 0x2000, 1000]).await;
    let records = cpu.load(DATA + 0x2000, len);
    let names: Vec<_> =
        f::dirent::Entries(&records).map(|entry| String::from_utf8_lossy(entry.name).into_owned()).collect();
    assert_eq!(names, [".", "..", "moved"]);
    assert_eq!(cpu.good(nr::GETDENTS64, [dir, DATA + 0x2000, 1000]).await, 0);
    cpu.bad(nr::UNLINKAT, [CWD, cpu.path(a, "/dir"), f::AT_REMOVEDIR as usize], Errno::ENOTEMPTY).await;
    cpu.good(nr::UNLINKAT, [dir, cpu.path(a, "moved"), 0]).await;
    cpu.good(nr::FCHDIR, [dir]).await;
    cpu.good(nr::CHDIR, [cpu.path(a, "/")]).await;
    cpu.good(nr::MOUNT, [0, cpu.path(a, "/dir"), cpu.path(b, "tmpfs"), 0, 0]).await;
    cpu.good(nr::STATFS, [a, DATA + 0x2000]).await;
    cpu.good(nr::UMOUNT2, [a, 0]).await;
    cpu.good(nr::CLOSE, [dir]).await;
    let long = "x".repeat(300);
    cpu.bad(nr::CHDIR, [cpu.path(a, &long)], Errno::ENAMETOOLONG).await;
    cpu.good(nr::SYNC, []).await;
}

/// Waits for what never comes, on files that say at once that one may look: time must go on.
async fn vain_waits(cpu: &Cpu) {
    let limit = cpu.store(DATA + 0x180, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0xf, 0, 0, 0, 0, 0]);
    let file = cpu.good(nr::OPENAT, [CWD, cpu.path(DATA, "/vain"), (f::O_RDWR | f::O_CREAT) as usize, 0o666]).await;
    let list = cpu.store(DATA + 0x200, &[file as u8, 0, 0, 0, p::EPOLLPRI as u8, 0, 0, 0]);
    assert_eq!(cpu.good(nr::PPOLL, [list, 1, limit, 0, 8]).await, 0);
    let kind = (n::SOCK_DGRAM) as usize;
    cpu.good(nr::SOCKETPAIR, [n::AF_UNIX as usize, kind, 0, DATA + 0x100]).await;
    let (one, other) = (cpu.word(DATA + 0x100) as usize, cpu.word(DATA + 0x104) as usize);
    let limit = cpu.store(DATA + 0xa0, &[0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0]);
    cpu.good(nr::SETSOCKOPT, [one, 1, n::SO_SNDTIMEO as usize, limit, 16]).await;
    // While there is room, however little, another is taken whole.
    for _ in 0..7 {
        cpu.good(nr::SENDTO, [one, DATA, 40_000, 0, 0, 0]).await;
    }
    cpu.bad(nr::SENDTO, [one, DATA, 100, 0, 0, 0], Errno::EAGAIN).await;
    for fd in [file, one, other] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

async fn pipes_and_events(cpu: &Cpu) {
    let fds = DATA + 0x100;
    cpu.bad(nr::PIPE2, [BAD, 0], Errno::EFAULT).await;
    cpu.good(nr::PIPE2, [fds, f::O_NONBLOCK as usize]).await;
    let (reader, writer) = (cpu.word(fds) as usize, cpu.word(fds + 4) as usize);
    cpu.bad(nr::READ, [reader, DATA, 10], Errno::EAGAIN).await;
    cpu.bad(nr::LSEEK, [reader, 0, 0], Errno::ESPIPE).await;
    cpu.bad(nr::READ, [writer, DATA, 1], Errno::EBADF).await;
    let poll = |events: u16| {
        let mut list = Vec::new();
        for fd in [reader as i32, -1, 77] {
            list.extend_from_slice(&fd.to_le_bytes());
            list.extend_from_slice(&events.to_le_bytes());
            list.extend_from_slice(&[0, 0]);
        }
        cpu.store(DATA + 0x200, &list)
    };
    cpu.store(DATA + 0x180, &[0; 16]);
    assert_eq!(cpu.good(nr::PPOLL, [poll(p::POLLIN), 1, DATA + 0x180, 0, 8]).await, 0);
    assert_eq!(cpu.good(nr::WRITE, [writer, cpu.store(DATA, b"abc"), 3]).await, 3);
    assert_eq!(cpu.good(nr::PPOLL, [poll(p::POLLIN), 3, 0, 0, 8]).await, 2);
    assert_eq!(cpu.load(DATA + 0x200 + 6, 2), p::POLLIN.to_le_bytes());
    assert_eq!(cpu.load(DATA + 0x210 + 6, 2), p::POLLNVAL.to_le_bytes());
    cpu.store(DATA + 0x400, &(1u64 << reader).to_le_bytes());
    assert_eq!(cpu.good(nr::PSELECT6, [reader + 1, DATA + 0x400, 0, 0, 0, 0]).await, 1);
    let set = cpu.good(nr::EPOLL_CREATE1, [0]).await;
    let event = cpu.store(DATA + 0x300, &[1, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0]);
    cpu.good(nr::EPOLL_CTL, [set, 1, reader, event]).await;
    cpu.bad(nr::EPOLL_CTL, [set, 1, reader, event], Errno::EEXIST).await;
    cpu.bad(nr::EPOLL_CTL, [reader, 1, set, event], Errno::EINVAL).await;
    assert_eq!(cpu.good(nr::EPOLL_PWAIT, [set, DATA + 0x340, 4, usize::MAX, 0, 8]).await, 1);
    assert_eq!(cpu.word(DATA + 0x348), 42);
    assert_eq!(cpu.good(nr::READ, [reader, DATA, 10]).await, 3);
    assert_eq!(cpu.good(nr::EPOLL_PWAIT, [set, DATA + 0x340, 4, 1, 0, 8]).await, 0);
    cpu.good(nr::EPOLL_CTL, [set, 2, reader, 0]).await;
    // Nobody reads: SIGPIPE, which is ignored here, and EPIPE.
    let ignore = cpu.store(DATA + 0x380, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    cpu.good(nr::RT_SIGACTION, [abi::signal::SIGPIPE as usize, ignore, 0, 8]).await;
    cpu.good(nr::CLOSE, [reader]).await;
    cpu.bad(nr::WRITE, [writer, DATA, 1], Errno::EPIPE).await;
    let counter = cpu.good(nr::EVENTFD2, [5, 0]).await;
    assert_eq!(cpu.good(nr::READ, [counter, DATA, 8]).await, 8);
    assert_eq!(cpu.word(DATA), 5);
    for fd in [writer, set, counter] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

/// A terminal without a screen.
struct Keyboard;

impl io::tty::CharDevice for Keyboard {
    fn write(&self, _bytes: &[u8]) {}

    fn room(&self) -> usize {
        usize::MAX
    }

    fn wait_room(&self) -> io::file::BoxFuture<'_, ()> {
        Box::pin(core::future::ready(()))
    }
}

async fn raw_terminal(cpu: &Cpu) {
    let tty = io::tty::Tty::new(Arc::new(Keyboard));
    tty.make_raw();
    let open = io::open::OpenFile::new(tty.clone(), f::O_RDWR | f::O_NONBLOCK, b"tty");
    let table = process::table::process(1).unwrap().descriptors().unwrap();
    let fd = table.insert(open, false, 0, 100).unwrap() as usize;
    cpu.good(nr::IOCTL, [fd, abi::ioctl::TCGETS as usize, DATA]).await;
    cpu.store(DATA + 17 + abi::ioctl::VMIN, &[3]);
    cpu.good(nr::IOCTL, [fd, abi::ioctl::TCSETS as usize, DATA]).await;
    tty.receive(b"ab");
    assert_eq!(cpu.good(nr::READ, [fd, DATA, 10]).await, 2);
    cpu.bad(nr::READ, [fd, DATA, 10], Errno::EAGAIN).await;
    cpu.good(nr::CLOSE, [fd]).await;
}

/// Several messages in one call, and what sockets refuse.
async fn messages(cpu: &Cpu) {
    let (inet, local) = (n::AF_INET as usize, n::AF_UNIX as usize);
    let (stream, datagram) = (n::SOCK_STREAM as usize, n::SOCK_DGRAM as usize);
    cpu.bad(nr::SOCKET, [inet, n::SOCK_RAW as usize, 0], Errno::EPROTONOSUPPORT).await;
    cpu.bad(nr::SOCKETPAIR, [inet, datagram, 17, DATA], Errno::EOPNOTSUPP).await;
    cpu.bad(nr::SOCKETPAIR, [inet, stream, 1, DATA], Errno::EPROTONOSUPPORT).await;
    cpu.good(nr::SOCKETPAIR, [local, datagram, 1, DATA]).await;
    let (one, other) = (cpu.word(DATA) as usize, cpu.word(DATA + 4) as usize);
    let any = cpu.store(DATA + 0x10, &[1, 0]);
    cpu.good(nr::BIND, [one, any, 2]).await;
    cpu.bad(nr::CONNECT, [one, any, 2], Errno::EINVAL).await;
    cpu.bad(nr::BIND, [other, cpu.store(DATA + 0x20, &[2; 16]), 16], Errno::EINVAL).await;
    cpu.store(DATA + 8, &16u32.to_le_bytes());
    cpu.bad(nr::GETSOCKOPT, [one, 6, 1, DATA, DATA + 8], Errno::EOPNOTSUPP).await;
    cpu.bad(nr::SETSOCKOPT, [one, 6, 1, DATA, 4], Errno::EOPNOTSUPP).await;
    // Three of two bytes, of which the second is said wrongly.
    let (vec, pieces) = (DATA + 0x400, DATA + 0x300);
    for index in 0..3usize {
        let piece = pieces + 16 * index;
        cpu.store(piece, &[((DATA + 0x200 + 2 * index) as u64).to_le_bytes(), 2u64.to_le_bytes()].concat());
        let count = if index == 1 { 1u64 << 20 } else { 1 };
        let words = [0, 0, piece as u64, count, 0, 0, 0, 0];
        cpu.store(vec + 64 * index, &words.map(u64::to_le_bytes).concat());
    }
    assert_eq!(cpu.good(nr::SENDMMSG, [one, vec, 3, 0]).await, 1);
    assert_eq!((cpu.word(vec + 56), cpu.word(vec + 64 + 56)), (2, 0));
    cpu.bad(nr::SENDMMSG, [one, vec + 64, 2, 0], Errno::EMSGSIZE).await;
    assert_eq!(cpu.good(nr::SENDMMSG, [one, vec + 128, 1, 0]).await, 1);
    cpu.store(vec + 64 + 24, &1u64.to_le_bytes());
    let first = n::MSG_WAITFORONE as usize;
    assert_eq!(cpu.good(nr::RECVMMSG, [other, vec, 3, first, 0]).await, 2);
    assert_eq!((cpu.word(vec + 56), cpu.word(vec + 64 + 56)), (2, 2));
    cpu.bad(nr::RECVMMSG, [other, vec, 3, n::MSG_DONTWAIT as usize, 0], Errno::EAGAIN).await;
    // Who does not wait is told that there is nothing, who waits is through.
    cpu.good(nr::SHUTDOWN, [other, n::SHUT_RD as usize]).await;
    cpu.bad(nr::RECVFROM, [other, DATA, 1, n::MSG_DONTWAIT as usize, 0, 0], Errno::EAGAIN).await;
    assert_eq!(cpu.good(nr::RECVFROM, [other, DATA, 1, 0, 0, 0]).await, 0);
    for fd in [one, other] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

async fn sockets(cpu: &Cpu) {
    let (tcp, stream) = (n::AF_INET as usize, n::SOCK_STREAM as usize);
    cpu.bad(nr::SOCKET, [n::AF_INET6 as usize, stream, 0], Errno::EAFNOSUPPORT).await;
    cpu.bad(nr::SOCKET, [tcp, stream, 17], Errno::EPROTONOSUPPORT).await;
    let server = cpu.good(nr::SOCKET, [tcp, stream, 0]).await;
    let address = cpu.store(DATA, &[2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    cpu.store(DATA + 0x80, &16u32.to_le_bytes());
    cpu.bad(nr::BIND, [server, address, 4], Errno::EINVAL).await;
    cpu.good(nr::BIND, [server, address, 16]).await;
    cpu.good(nr::LISTEN, [server, 5]).await;
    cpu.bad(nr::ACCEPT4, [server, 0, 0, 3], Errno::EINVAL).await;
    let client = cpu.good(nr::SOCKET, [tcp, stream, 0]).await;
    cpu.good(nr::CONNECT, [client, address, 16]).await;
    cpu.bad(nr::CONNECT, [client, address, 16], Errno::EISCONN).await;
    // Without a number to give, the connection stays.
    let (few, old) = (cpu.store(DATA + 0x100, &[[2u8, 0, 0, 0, 0, 0, 0, 0]; 2].concat()), DATA + 0x120);
    cpu.good(nr::PRLIMIT64, [0, 7, few, old]).await;
    cpu.bad(nr::ACCEPT4, [server, 0, 0, 0], Errno::EMFILE).await;
    cpu.good(nr::PRLIMIT64, [0, 7, old, 0]).await;
    let peer = cpu.good(nr::ACCEPT4, [server, DATA + 0x40, DATA + 0x80, 0]).await;
    assert_eq!(cpu.load(DATA + 0x40 + 4, 4), [127, 0, 0, 1]);
    let body = cpu.store(DATA + 0x1000, &[9; 5000]);
    assert_eq!(cpu.good(nr::SENDTO, [client, body, 5000, 0, 0, 0]).await, 5000);
    let all = n::MSG_WAITALL as usize;
    assert_eq!(cpu.good(nr::RECVFROM, [peer, DATA + 0x4000, 5000, all, 0, 0]).await, 5000);
    assert_eq!(cpu.load(DATA + 0x4000, 5000), [9; 5000]);
    cpu.bad(nr::RECVFROM, [peer, DATA, 1, n::MSG_DONTWAIT as usize, 0, 0], Errno::EAGAIN).await;
    cpu.good(nr::GETSOCKNAME, [peer, DATA + 0x40, DATA + 0x80]).await;
    cpu.good(nr::SETSOCKOPT, [peer, 6, n::TCP_NODELAY as usize, cpu.store(DATA + 0x90, &[1, 0, 0, 0]), 4]).await;
    cpu.bad(nr::SETSOCKOPT, [peer, 6, 999, DATA + 0x90, 4], Errno::ENOPROTOOPT).await;
    // A wait for data has a limit of 1 ms.
    let limit = cpu.store(DATA + 0xa0, &[0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0]);
    cpu.good(nr::SETSOCKOPT, [peer, 1, n::SO_RCVTIMEO as usize, limit, 16]).await;
    cpu.bad(nr::READ, [peer, DATA, 1], Errno::EAGAIN).await;
    cpu.good(nr::SHUTDOWN, [client, 1]).await;
    assert_eq!(cpu.good(nr::READ, [peer, DATA + 0x40, 10]).await, 0);
    cpu.bad(nr::WRITE, [client, DATA, 1], Errno::EPIPE).await;
    cpu.bad(nr::GETPEERNAME, [server, DATA + 0x40, DATA + 0x80], Errno::ENOTCONN).await;
    for fd in [server, client, peer] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
    cpu.bad(nr::LISTEN, [server, 5], Errno::EBADF).await;
    packets_raise_nothing(cpu).await;
    let refused = cpu.good(nr::SOCKET, [tcp, stream, 0]).await;
    cpu.bad(nr::CONNECT, [refused, address, 16], Errno::ECONNREFUSED).await;
    cpu.good(nr::CLOSE, [refused]).await;
}

/// `SIGPIPE` is for streams.
async fn packets_raise_nothing(cpu: &Cpu) {
    let default = cpu.store(DATA + 0x380, &[0; 24]);
    cpu.good(nr::RT_SIGACTION, [abi::signal::SIGPIPE as usize, default, DATA + 0x3a0, 8]).await;
    let blocked = cpu.store(DATA + 0x3c0, &abi::signal::mask(abi::signal::SIGPIPE).to_le_bytes());
    cpu.good(nr::RT_SIGPROCMASK, [0, blocked, DATA + 0x3c8, 8]).await;
    cpu.good(nr::SOCKETPAIR, [n::AF_UNIX as usize, n::SOCK_SEQPACKET as usize, 0, DATA + 0x3d0]).await;
    let (near, far) = (cpu.word(DATA + 0x3d0) as usize, cpu.word(DATA + 0x3d4) as usize);
    cpu.good(nr::CLOSE, [far]).await;
    cpu.bad(nr::SENDTO, [near, DATA, 1, 0, 0, 0], Errno::EPIPE).await;
    cpu.bad(nr::WRITE, [near, DATA, 1], Errno::EPIPE).await;
    cpu.good(nr::RT_SIGPENDING, [DATA + 0x3d8, 8]).await;
    assert_eq!(cpu.word(DATA + 0x3d8), 0);
    cpu.good(nr::CLOSE, [near]).await;
    cpu.good(nr::RT_SIGPROCMASK, [2, DATA + 0x3c8, 0, 8]).await;
    cpu.good(nr::RT_SIGACTION, [abi::signal::SIGPIPE as usize, DATA + 0x3a0, 0, 8]).await;
}

async fn memory_and_time(cpu: &Cpu) {
    let (rw, private) = (3, 0x22);
    let at = cpu.good(nr::MMAP, [0, 8192, rw, private, usize::MAX, 0]).await;
    cpu.store(at + 4090, b"0123456789");
    cpu.good(nr::MPROTECT, [at, 4096, 1]).await;
    cpu.bad(nr::GETRANDOM, [at, 10, 0], Errno::EFAULT).await;
    assert_eq!(cpu.good(nr::GETRANDOM, [at + 4096, 600, 0]).await, 600);
    cpu.good(nr::MUNMAP, [at, 8192]).await;
    cpu.bad(nr::GETRANDOM, [at + 4096, 10, 0], Errno::EFAULT).await;
    cpu.bad(nr::MMAP, [0, 0, rw, private, 0, 0], Errno::EINVAL).await;
    cpu.bad(nr::MMAP, [0, 4096, rw, 2, 55, 0], Errno::EBADF).await;
    let heap = cpu.good(nr::BRK, [0]).await;
    assert_eq!(cpu.good(nr::BRK, [heap + 10_000]).await, heap + 10_000);
    let before = hal::time::now();
    let time = cpu.store(DATA, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0xf, 0, 0, 0, 0, 0]);
    cpu.good(nr::NANOSLEEP, [time, 0]).await;
    assert!(hal::time::now() >= before + 1_000_000);
    cpu.good(nr::CLOCK_GETTIME, [1, DATA]).await;
    cpu.bad(nr::CLOCK_GETTIME, [77, DATA], Errno::EINVAL).await;
    cpu.bad(nr::CLOCK_GETTIME, [1, BAD], Errno::EFAULT).await;
    cpu.store(DATA, &[0xff; 16]);
    cpu.bad(nr::NANOSLEEP, [DATA, 0], Errno::EINVAL).await;
}

/// What a thread that waits in a call costs: a parked thread is to fit into 2 KiB.
fn waiting_calls_are_small() {
    let thread = process::table::thread(1).expect("the program runs");
    let system = SYSTEM.get().expect("set before the program starts");
    for number in [nr::READ, nr::WRITE, nr::PPOLL, nr::EPOLL_PWAIT, nr::FUTEX, nr::NANOSLEEP, nr::ACCEPT4, nr::RECVFROM]
    {
        let size = size_of_val(&*system.call(&thread, process::Call { number, args: [0; 6] }));
        let limit = if number == nr::FUTEX { process::footprint::CALL } else { 864 };
        assert!(size <= limit, "{}: {size} bytes", nr::name(number).unwrap_or("?"));
    }
}

async fn processes(cpu: &Cpu) {
    waiting_calls_are_small();
    assert_eq!(cpu.good(nr::GETPID, []).await, 1);
    assert_eq!(cpu.good(nr::GETPPID, []).await, 0);
    cpu.bad(nr::WAIT4, [usize::MAX, 0, 0, 0], Errno::ECHILD).await;
    cpu.bad(nr::KILL, [999, 0], Errno::ESRCH).await;
    cpu.bad(nr::FUTEX, [DATA, 0, 12_345, 0], Errno::EAGAIN).await;
    cpu.bad(nr::FUTEX, [BAD, 0, 0, 0], Errno::EFAULT).await;
    assert_eq!(cpu.good(nr::FUTEX, [DATA, 1, 1]).await, 0);
    let limit = cpu.store(DATA + 0x100, &[0, 0, 0, 0, 0, 0, 0, 0xe8]);
    cpu.bad(nr::FUTEX, [DATA + 0x40, 0, 1, limit], Errno::EINVAL).await;
    cpu.good(nr::UNAME, [DATA]).await;
    assert_eq!(cpu.load(DATA, 5), b"Linux");
    cpu.good(nr::PRLIMIT64, [0, 7, 0, DATA]).await;
    assert_eq!(cpu.word(DATA), 1024);
    cpu.good(nr::PRCTL, [15, cpu.path(DATA, "renamed")]).await;
    assert_eq!(cpu.good(nr::UMASK, [0o77]).await, 0o22);
    crate::alarms::tests::an_alarm_that_repeats_leaves_time_for_others(&process::table::process(1).unwrap());
    // A blocked alarm becomes pending.
    cpu.store(DATA, &(1u64 << 13).to_le_bytes());
    cpu.good(nr::RT_SIGPROCMASK, [0, DATA, DATA + 8, 8]).await;
    let timer = cpu.store(DATA + 0x40, &[[0; 24].as_slice(), &1000u64.to_le_bytes()].concat());
    cpu.good(nr::SETITIMER, [0, timer, 0]).await;
    let time = cpu.store(DATA + 0x80, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0xf, 0, 0, 0, 0, 0]);
    cpu.good(nr::NANOSLEEP, [time, 0]).await;
    cpu.good(nr::NANOSLEEP, [time, 0]).await;
    cpu.good(nr::RT_SIGPENDING, [DATA + 0x100, 8]).await;
    assert_eq!(cpu.load(DATA + 0x100, 8), (1u64 << 13).to_le_bytes());
    cpu.good(nr::SETUID, [1000]).await;
    cpu.bad(nr::SETUID, [0], Errno::EPERM).await;
    cpu.bad(nr::CHROOT, [cpu.path(DATA, "/")], Errno::EPERM).await;
    cpu.bad(nr::REBOOT, [0, 0, 0], Errno::EPERM).await;
    cpu.bad(nr::IO_SETUP, [0], Errno::ENOSYS).await;
    cpu.bad(4000, [0], Errno::ENOSYS).await;
}

#[test]
fn a_program_makes_every_kind_of_call() {
    let cpu = Cpu(Rc::default());
    let user = cpu.clone();
    let program: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        files(&user).await;
        vain_waits(&user).await;
        pipes_and_events(&user).await;
        raw_terminal(&user).await;
        sockets(&user).await;
        messages(&user).await;
        rings::rings(&user).await;
        ring_trace::traced(&user).await;
        ring_programs::programs(&user).await;
        memory_and_time(&user).await;
        processes(&user).await;
    });
    let system = run(program, cpu);
    assert_eq!(system.unknown_calls(), "0 io_setup 1\nother ? 1\nring:58 ? 3\nring:59 ? 1\nring:255 ? 3\n");
}
