//! Descriptors that are sent over local sockets (`SCM_RIGHTS`): what comes, with which bytes, and what becomes of what does not fit.

use crate::case::{Case, Outcome, Trouble};
use crate::process::{checked_child, exits};
use alloc::vec::Vec;
use rt::abi::fs::{F_GETFD, FD_CLOEXEC, Iovec};
use rt::abi::net::{
    AF_UNIX, Cmsghdr, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, MSG_TRUNC, MSG_WAITALL,
    Msghdr, SCM_CREDENTIALS, SCM_MAX_FD, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET,
};
use rt::abi::{Errno, errno::Result as Call};
use rt::fs::File;
use rt::io::{Read, Write};
use rt::raw;

pub const CASES: &[Case] = &[
    case!("rights/each-kind", "D17 C4", each_kind),
    case!("rights/order-and-number", "D17 E1", order_and_number),
    case!("rights/no-room", "D17 D14", no_room),
    case!("rights/no-number", "D17 D14 E1", no_number),
    case!("rights/close-on-exec", "D17", close_on_exec),
    case!("rights/peek", "D17", peek),
    case!("rights/bytes-of-a-stream", "D17", bytes_of_a_stream),
    case!("rights/long-message", "D17", long_message),
    case!("rights/wrong", "E1", wrong),
    case!("rights/of-a-sender-that-is-gone", "D17 D14", sender_is_gone),
];

/// The kinds of local sockets.
const KINDS: [u32; 3] = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET];
/// Bytes of a control message's header, and of a descriptor in it.
pub const HEADER: usize = size_of::<Cmsghdr>();
pub const NUMBER: usize = size_of::<i32>();

/// Two local sockets that are connected to each other.
pub fn pair(kind: u32) -> Call<(File, File)> {
    let mut fds = [0i32; 2];
    call!(SOCKETPAIR, AF_UNIX, kind | SOCK_CLOEXEC, 0, fds.as_mut_ptr())?;
    Ok((raw::file(fds[0] as usize), raw::file(fds[1] as usize)))
}

/// Room for control messages, at an address that is a multiple of 8.
pub struct Control(Vec<u64>);

impl Control {
    /// Room for this many descriptors.
    pub fn room(count: usize) -> Self {
        Self(alloc::vec![0; (HEADER + count * NUMBER).div_ceil(8)])
    }

    /// A message with these numbers.
    pub fn of(fds: &[i32]) -> Self {
        let data: Vec<u8> = fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        Self::message(SOL_SOCKET, SCM_RIGHTS, &data, HEADER + data.len())
    }

    /// A message that says that it is so long.
    pub fn message(level: u32, kind: u32, data: &[u8], len: usize) -> Self {
        let mut bytes = Vec::from((len as u64).to_ne_bytes());
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        Self(bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect())
    }

    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// The descriptors that the kernel has put there.
    pub fn files(&self) -> Vec<File> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let len = (self.0.first().copied().unwrap_or(0) as usize).min(bytes.len());
        let data = bytes.get(HEADER..len).unwrap_or_default().chunks_exact(NUMBER);
        let numbers = data.map(|number| i32::from_ne_bytes(number.try_into().unwrap_or_default()));
        numbers.map(|fd| raw::file(fd as usize)).collect()
    }

    fn bytes(&self) -> usize {
        8 * self.0.len()
    }
}

/// A message of one piece.
pub fn message(piece: &Iovec, control: &Control, controllen: usize) -> Msghdr {
    let (iov, controllen) = (core::ptr::from_ref(piece) as u64, controllen as u64);
    Msghdr { name: 0, namelen: 0, pad: 0, iov, iovlen: 1, control: control.address(), controllen, flags: 0, pad2: 0 }
}

/// Sends bytes with control messages.
pub fn send_control(to: &File, bytes: &[u8], control: &Control, flags: u32) -> Call<usize> {
    let piece = Iovec { base: bytes.as_ptr() as u64, len: bytes.len() as u64 };
    let message = message(&piece, control, control.bytes());
    call!(SENDMSG, to.fd().raw(), &raw const message, MSG_NOSIGNAL | flags)
}

/// Sends bytes with descriptors.
pub fn send(to: &File, bytes: &[u8], fds: &[i32]) -> Call<usize> {
    send_control(to, bytes, &Control::of(fds), 0)
}

/// What came.
pub struct Got {
    pub len: usize,
    pub files: Vec<File>,
    pub flags: u32,
    pub controllen: usize,
}

/// Receives, with room for so many descriptors.
pub fn receive(from: &File, bytes: &mut [u8], room: usize, flags: u32) -> Call<Got> {
    let control = Control::room(room);
    let piece = Iovec { base: bytes.as_mut_ptr() as u64, len: bytes.len() as u64 };
    let mut message = message(&piece, &control, HEADER + room * NUMBER);
    let len = call!(RECVMSG, from.fd().raw(), &raw mut message, flags)?;
    let files = if message.controllen == 0 { Vec::new() } else { control.files() };
    Ok(Got { len, files, flags: message.flags, controllen: message.controllen as usize })
}

/// The one descriptor that comes with one byte.
pub fn receive_one(from: &File) -> Result<File, Trouble> {
    let mut got = receive(from, &mut [0; 8], 4, 0)?;
    equal!((got.len, got.files.len(), got.flags), (1, 1, 0));
    got.files.pop().ok_or_else(|| Trouble::failed("nothing came"))
}

/// A pipe whose ends are files.
pub fn pipe() -> Call<(File, File)> {
    let mut fds = [0i32; 2];
    call!(PIPE2, fds.as_mut_ptr(), SOCK_CLOEXEC)?;
    Ok((raw::file(fds[0] as usize), raw::file(fds[1] as usize)))
}

/// Nobody has the other end any more.
pub fn is_over(read: &mut File) -> Outcome {
    equal!(read.read(&mut [0; 4])?, 0);
    Ok(())
}

/// Both are ends of the same pipe.
pub fn connected(read: &mut File, write: &mut File, bytes: &[u8]) -> Outcome {
    write.write_all(bytes)?;
    let mut found = alloc::vec![0; bytes.len()];
    read.read_exact(&mut found)?;
    equal!(found, bytes);
    Ok(())
}

fn each_kind() -> Outcome {
    for kind in KINDS {
        let (near, far) = pair(kind)?;
        let (read, mut write) = pipe()?;
        equal!(send(&near, b"x", &[read.fd().raw()])?, 1);
        // The sender closes it before it is received.
        drop(read);
        let mut read = receive_one(&far)?;
        connected(&mut read, &mut write, b"through")?;
        // A child receives what it did not inherit.
        let pid = {
            let waiting = far.fd().try_clone()?;
            checked_child(move || {
                let mut write = receive_one(&File::from(waiting))?;
                Ok(write.write_all(b"from the child")?)
            })?
        };
        let (mut second, write) = pipe()?;
        send(&near, b"y", &[write.fd().raw()])?;
        drop(write);
        exits(pid, 0)?;
        let mut found = [0; 14];
        second.read_exact(&mut found)?;
        equal!(&found, b"from the child");
        is_over(&mut second)?;
    }
    // A message without bytes is one, too, where messages are kept; of a stream nothing is sent.
    for (kind, comes) in [(SOCK_DGRAM, true), (SOCK_SEQPACKET, true), (SOCK_STREAM, false)] {
        let (near, far) = pair(kind)?;
        let (mut read, write) = pipe()?;
        equal!(send(&near, b"", &[write.fd().raw()])?, 0);
        drop(write);
        match receive(&far, &mut [0; 4], 4, MSG_DONTWAIT) {
            Ok(got) => equal!((got.len, got.files.len(), comes), (0, 1, true)),
            Err(errno) => equal!((errno, comes), (Errno::EAGAIN, false)),
        }
        is_over(&mut read)?;
    }
    Ok(())
}

/// As many as a message can carry, in their order; in one control message or in several.
fn order_and_number() -> Outcome {
    let (near, far) = pair(SOCK_DGRAM)?;
    let (mut read, write) = pipe()?;
    let (mut other, last) = pipe()?;
    let mut fds = alloc::vec![write.fd().raw(); SCM_MAX_FD as usize];
    fds[252] = last.fd().raw();
    fails!(send(&near, b"z", &[&fds[..], &fds[..1]].concat()), EINVAL);
    equal!(send(&near, b"x", &fds)?, 1);
    drop(write);
    drop(last);
    let mut got = receive(&far, &mut [0; 4], 300, 0)?;
    equal!((got.files.len(), got.flags, got.controllen), (253, 0, (HEADER + 253 * NUMBER).next_multiple_of(8)));
    connected(&mut other, &mut got.files[252], b"last")?;
    connected(&mut read, &mut got.files[0], b"first")?;
    connected(&mut read, &mut got.files[251], b"last but one")?;
    drop(got);
    is_over(&mut read)?;
    is_over(&mut other)?;
    // Two control messages: all of them come in one.
    let (first, second) = (pipe()?, pipe()?);
    let mut control = Control::of(&[first.0.fd().raw()]);
    control.0.extend(Control::of(&[second.0.fd().raw(), first.1.fd().raw()]).0);
    equal!(send_control(&near, b"x", &control, 0)?, 1);
    let mut got = receive(&far, &mut [0; 4], 4, 0)?;
    equal!(got.files.len(), 3);
    let mut write = second.1;
    connected(&mut got.files[1], &mut write, b"second")?;
    let mut write = got.files.pop().ok_or_else(|| Trouble::failed("nothing came"))?;
    connected(&mut got.files[0], &mut write, b"first")
}

/// What there is no room for is closed, and told of.
fn no_room() -> Outcome {
    for kind in KINDS {
        for room in [0, 1, 2, 3] {
            let (near, far) = pair(kind)?;
            let mut pipes: Vec<(File, File)> = (0..3).map(|_| pipe()).collect::<Call<_>>()?;
            let fds: Vec<i32> = pipes.iter().map(|(_, write)| write.fd().raw()).collect();
            send(&near, b"x", &fds)?;
            let mut reads: Vec<File> = pipes.drain(..).map(|(read, _)| read).collect();
            let got = receive(&far, &mut [0; 4], room, 0)?;
            equal!((got.len, got.files.len()), (1, room));
            equal!(got.flags, if room < 3 { MSG_CTRUNC } else { 0 });
            reads.drain(room..).try_for_each(|mut read| is_over(&mut read))?;
            drop(got);
            reads.iter_mut().try_for_each(is_over)?;
        }
        // Calls that have no room for any.
        for flags in [None, Some(0), Some(MSG_WAITALL)] {
            let (near, mut far) = pair(kind)?;
            let (mut read, write) = pipe()?;
            send(&near, b"x", &[write.fd().raw()])?;
            drop(write);
            let mut byte = [0u8; 1];
            let len = match flags {
                None => far.read(&mut byte)?,
                Some(flags) => call!(RECVFROM, far.fd().raw(), byte.as_mut_ptr(), 1, flags, 0, 0)?,
            };
            equal!((len, byte), (1, *b"x"));
            is_over(&mut read)?;
        }
    }
    // Control messages where nothing can be stored.
    let (near, far) = pair(SOCK_DGRAM)?;
    let (mut read, write) = pipe()?;
    send(&near, b"x", &[write.fd().raw()])?;
    drop(write);
    let mut byte = 0u8;
    let piece = Iovec { base: &raw mut byte as u64, len: 1 };
    let mut nowhere = Msghdr { control: 8, ..message(&piece, &Control::room(1), 24) };
    equal!(call!(RECVMSG, far.fd().raw(), &raw mut nowhere, 0)?, 1);
    equal!((nowhere.flags, byte), (MSG_CTRUNC, b'x'));
    is_over(&mut read)
}

/// The receiver has no number to give.
fn no_number() -> Outcome {
    let pid = checked_child(|| {
        let (near, far) = pair(SOCK_STREAM)?;
        let (mut read, write) = pipe()?;
        send(&near, b"x", &[write.fd().raw(); 3])?;
        drop(write);
        let limit = rt::abi::process::Rlimit { current: far.fd().raw() as u64 + 3, max: 1024 };
        call!(PRLIMIT64, 0, rt::abi::process::RLIMIT_NOFILE, &raw const limit, 0)?;
        let got = receive(&far, &mut [0; 4], 4, 0)?;
        equal!((got.len, got.flags), (1, MSG_CTRUNC));
        ensure!(got.files.len() < 3, "{} numbers", got.files.len());
        drop(got);
        is_over(&mut read)
    })?;
    exits(pid, 0)
}

fn close_on_exec() -> Outcome {
    let (near, far) = pair(SOCK_STREAM)?;
    for (flag, marked) in [(0, 0), (MSG_CMSG_CLOEXEC, FD_CLOEXEC)] {
        send(&near, b"x", &[0, 1])?;
        let got = receive(&far, &mut [0; 4], 4, flag)?;
        equal!((got.files.len(), got.flags), (2, flag));
        for file in &got.files {
            equal!(call!(FCNTL, file.fd().raw(), F_GETFD)?, marked as usize);
        }
    }
    Ok(())
}

/// Who looks at a message gets its descriptors, and so does who takes it.
fn peek() -> Outcome {
    for kind in KINDS {
        let (near, far) = pair(kind)?;
        let (mut read, write) = pipe()?;
        send(&near, b"abc", &[write.fd().raw()])?;
        drop(write);
        let mut bytes = [0; 8];
        for flags in [MSG_PEEK, MSG_PEEK, 0] {
            let mut got = receive(&far, &mut bytes, 2, flags)?;
            equal!((got.len, got.files.len(), got.flags), (3, 1, 0));
            connected(&mut read, &mut got.files[0], b"also by this")?;
        }
        is_over(&mut read)?;
        fails!(receive(&far, &mut bytes, 2, MSG_DONTWAIT), EAGAIN);
    }
    Ok(())
}

/// A read goes no further than the bytes that the descriptors came with; those before may come with them.
fn bytes_of_a_stream() -> Outcome {
    let (near, far) = pair(SOCK_STREAM)?;
    let (read, write) = pipe()?;
    let (one, two) = ([read.fd().raw()], [read.fd().raw(), write.fd().raw()]);
    let mut bytes = [0; 16];
    let mut next = |room: usize, flags: u32| -> Result<(Vec<u8>, usize), Trouble> {
        let got = receive(&far, &mut bytes[..room], 4, flags)?;
        equal!(got.flags, 0);
        Ok((bytes[..got.len].to_vec(), got.files.len()))
    };
    let fill = || -> Outcome {
        for (bytes, fds) in [(b"ab", &[][..]), (b"cd", &one), (b"ef", &two), (b"gh", &[]), (b"ij", &[])] {
            equal!(send(&near, bytes, fds)?, 2);
        }
        Ok(())
    };
    fill()?;
    equal!(next(16, MSG_PEEK)?, (b"abcd".to_vec(), 1));
    equal!(next(16, 0)?, (b"abcd".to_vec(), 1));
    equal!(next(16, 0)?, (b"ef".to_vec(), 2));
    equal!(next(16, 0)?, (b"ghij".to_vec(), 0));
    // A part of them, and then the rest, which comes with what is next.
    fill()?;
    equal!(next(2, 0)?, (b"ab".to_vec(), 0));
    equal!(next(1, 0)?, (b"c".to_vec(), 1));
    equal!(next(16, 0)?, (b"def".to_vec(), 2));
    // Also a call that waits for all it has room for.
    fill()?;
    equal!(next(4, 0)?, (b"ghij".to_vec(), 0));
    equal!(next(16, MSG_WAITALL)?, (b"abcd".to_vec(), 1));
    equal!(next(16, MSG_DONTWAIT)?, (b"ef".to_vec(), 2));
    equal!(next(4, MSG_WAITALL)?, (b"ghij".to_vec(), 0));
    fails!(receive(&far, &mut [0; 4], 1, MSG_DONTWAIT), EAGAIN);
    Ok(())
}

/// More bytes than there is room for: the descriptors go with the first.
fn long_message() -> Outcome {
    const LONG: usize = 300_000;
    let (near, far) = pair(SOCK_STREAM)?;
    let (read, mut write) = pipe()?;
    let pid = checked_child(|| {
        let bytes = crate::files::pattern(5, LONG);
        equal!(send(&near, &bytes, &[read.fd().raw()])?, LONG);
        Ok(())
    })?;
    drop((near, read));
    let mut bytes = alloc::vec![0; LONG];
    let mut got = receive(&far, &mut bytes, 1, 0)?;
    ensure!(got.files.len() == 1 && got.len > 0 && got.flags == 0, "{} bytes", got.len);
    let mut len = got.len;
    while len < LONG {
        let more = receive(&far, &mut bytes[len..], 1, 0)?;
        ensure!(more.files.is_empty() && more.len > 0, "{len} bytes");
        len += more.len;
    }
    ensure!(bytes == crate::files::pattern(5, LONG), "other bytes");
    exits(pid, 0)?;
    connected(&mut got.files[0], &mut write, b"and the pipe")
}

fn wrong() -> Outcome {
    let (near, far) = pair(SOCK_DGRAM)?;
    let control =
        |level, kind, data: &[u8], len| send_control(&near, b"x", &Control::message(level, kind, data, len), 0);
    let zero = [0; 4];
    fails!(send(&near, b"x", &[0, 900, 1]), EBADF);
    fails!(send(&near, b"x", &[-1]), EBADF);
    fails!(control(SOL_SOCKET, SCM_RIGHTS, &zero, HEADER - 1), EINVAL);
    fails!(control(SOL_SOCKET, SCM_RIGHTS, &zero, HEADER + 9), EINVAL);
    fails!(control(SOL_SOCKET, SCM_RIGHTS, &zero, usize::MAX), EINVAL);
    fails!(control(SOL_SOCKET, 77, &zero, HEADER + 4), EINVAL);
    fails!(control(SOL_SOCKET, SCM_CREDENTIALS, &zero, HEADER + 4), EINVAL);
    let ring = rt::ring::Ring::new(2, 0)?;
    fails!(send(&near, b"x", &[ring.fd().raw()]), EINVAL);
    // Its own socket's other end is gone: nothing is sent.
    let (alone, gone) = pair(SOCK_DGRAM)?;
    drop(gone);
    fails!(send(&alone, b"x", &[0]), ECONNREFUSED);
    let piece = Iovec { base: 0, len: 0 };
    let unreadable = Msghdr { control: 8, ..message(&piece, &Control::room(1), 24) };
    fails!(call!(SENDMSG, near.fd().raw(), &raw const unreadable, 0), EFAULT);
    let long = Msghdr { controllen: 1 << 32, ..unreadable };
    fails!(call!(SENDMSG, near.fd().raw(), &raw const long, 0), ENOBUFS);
    // Nothing of all that was sent. What is of another level is no business of theirs; nor is half a number one.
    fails!(receive(&far, &mut [0; 4], 1, MSG_DONTWAIT), EAGAIN);
    equal!(control(7, SCM_RIGHTS, &zero, HEADER + 4)?, 1);
    equal!(control(SOL_SOCKET, SCM_RIGHTS, &zero, HEADER + 3)?, 1);
    equal!(control(SOL_SOCKET, SCM_RIGHTS, &[0; 8], HEADER + 7)?, 1);
    for count in [0, 0, 1] {
        let got = receive(&far, &mut [0; 4], 4, MSG_DONTWAIT | MSG_TRUNC)?;
        equal!((got.len, got.files.len(), got.flags), (1, count, 0));
    }
    Ok(())
}

/// Who has sent ends before anybody receives; or who could receive ends.
fn sender_is_gone() -> Outcome {
    for kind in KINDS {
        let (near, far) = pair(kind)?;
        let (mut read, write) = pipe()?;
        let pid = checked_child(|| {
            let (own, mut write) = pipe()?;
            write.write_all(b"of the child")?;
            equal!(send(&near, b"x", &[own.fd().raw()])?, 1);
            equal!(send(&near, b"y", &[write.fd().raw()])?, 1);
            Ok(())
        })?;
        exits(pid, 0)?;
        equal!(send(&near, b"z", &[write.fd().raw()])?, 1);
        drop((near, write));
        let mut own = receive_one(&far)?;
        let mut found = [0; 12];
        own.read_exact(&mut found)?;
        equal!(&found, b"of the child");
        // The rest is never received.
        drop(far);
        is_over(&mut own)?;
        is_over(&mut read)?;
    }
    Ok(())
}
