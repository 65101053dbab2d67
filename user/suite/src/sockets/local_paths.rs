//! Local sockets that are bound to paths: the file that stands for one, and who finds it.

use super::flights::socket;
use crate::case::{Case, Outcome};
use crate::place::Place;
use crate::process::{await_blocked, checked_child, exits};
use alloc::format;
use rt::abi::Errno;
use rt::abi::errno::Result as Call;
use rt::abi::fs::AT_FDCWD;
use rt::abi::net::{AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SockaddrUn};
use rt::abi::stat::{S_IFMT, S_IFSOCK};
use rt::fs::{self, File};
use rt::raw;

pub const CASES: &[Case] = &[
    case!("local/path-is-a-file", "D17 E1", || is_a_file(Place::memory()?)),
    case!("local/disk/path-is-a-file", "D17 E1", || is_a_file(Place::disk()?)),
    case!("local/path-waits-and-looks-again", "D17 E1", waits_and_looks_again),
    case!("local/path-leads-to-the-file", "D17 E1", leads_to_the_file),
    case!("local/path-of-datagrams", "D17 E1", of_datagrams),
    case!("local/path-that-is-none", "D17 E1", that_is_none),
    case!("local/path-and-who-may", "D17 S1", who_may),
];

/// A call that takes a socket and an address.
macro_rules! addressed {
    ($number:ident, $file:expr, $path:expr) => {{
        let address = address($path);
        call!($number, $file.fd().raw(), &raw const address, 2 + $path.len() + 1)
    }};
}

fn address(name: &str) -> SockaddrUn {
    let mut path = [0; 108];
    path[..name.len()].copy_from_slice(name.as_bytes());
    SockaddrUn { family: AF_UNIX as u16, path }
}

/// A socket that listens, or takes datagrams, at `path`.
fn bound(kind: u32, path: &str) -> Call<File> {
    let file = socket(kind)?;
    addressed!(BIND, file, path)?;
    if kind != SOCK_DGRAM {
        call!(LISTEN, file.fd().raw(), 8)?;
    }
    Ok(file)
}

fn connect(kind: u32, path: &str) -> Call<File> {
    let file = socket(kind)?;
    addressed!(CONNECT, file, path).map(|_| file)
}

/// What the other end is called, and what one is called oneself.
fn names(file: &File) -> Call<[(usize, SockaddrUn); 2]> {
    let of_peer = |number: usize| {
        let mut name = SockaddrUn { family: 0, path: [0; 108] };
        let mut len = size_of::<SockaddrUn>() as u32;
        crate::process::call(number, &[file.fd().raw() as usize, &raw mut name as usize, &raw mut len as usize])?;
        Ok((len as usize, name))
    };
    Ok([of_peer(rt::abi::nr::GETPEERNAME)?, of_peer(rt::abi::nr::GETSOCKNAME)?])
}

/// Binding makes a file of a kind of its own, which stays when the socket is gone; where something is, nothing is bound.
fn is_a_file(place: Place) -> Outcome {
    let (path, other, file) = (place.join("socket"), place.join("other"), place.join("file"));
    let before = call!(UMASK, 0o027)?;
    let listener = bound(SOCK_STREAM, &path);
    call!(UMASK, before)?;
    let listener = listener?;
    let mode = fs::metadata(&path)?.stat().mode;
    equal!((mode & S_IFMT, mode & 0o777), (S_IFSOCK, 0o750));
    fails!(File::open(&path), ENXIO);
    fs::write(&file, "x")?;
    fails!(bound(SOCK_STREAM, &path), EADDRINUSE);
    fails!(bound(SOCK_DGRAM, &path), EADDRINUSE);
    fails!(bound(SOCK_DGRAM, &file), EADDRINUSE);
    fails!(bound(SOCK_STREAM, &place.join("nowhere/socket")), ENOENT);
    fails!(bound(SOCK_STREAM, &format!("{file}/socket")), ENOTDIR);
    // One that is bound is bound nowhere else, and leaves nothing there.
    fails!(addressed!(BIND, listener, &other), EINVAL);
    ensure!(!fs::exists(&other));
    drop(connect(SOCK_STREAM, &path)?);
    drop(listener);
    ensure!(fs::exists(&path));
    fails!(connect(SOCK_STREAM, &path), ECONNREFUSED);
    fails!(bound(SOCK_STREAM, &path), EADDRINUSE);
    fs::remove_file(&path)?;
    drop(bound(SOCK_SEQPACKET, &path)?);
    Ok(())
}

/// Who waits for a listener's place looks for the name again: another may have it by then.
fn waits_and_looks_again() -> Outcome {
    let place = Place::any()?;
    let path = place.join("socket");
    let first = bound(SOCK_STREAM, &path)?;
    // Its queue is full with one.
    call!(LISTEN, first.fd().raw(), 0)?;
    let _waiting = connect(SOCK_STREAM, &path)?;
    let pid = checked_child(|| {
        // Or the listener would not go.
        call!(CLOSE, first.fd().raw())?;
        drop(connect(SOCK_STREAM, &path)?);
        Ok(())
    })?;
    await_blocked(pid)?;
    fs::remove_file(&path)?;
    let second = bound(SOCK_STREAM, &path)?;
    drop(first);
    exits(pid, 0)?;
    drop(raw::file(call!(ACCEPT4, second.fd().raw(), 0, 0, SOCK_CLOEXEC)?));
    Ok(())
}

/// Whatever path leads to the file leads to the socket, and the file's removal away from it; the peer's name is the one it was bound to.
fn leads_to_the_file() -> Outcome {
    let place = Place::any()?;
    let [path, link, symlink, moved] = ["socket", "link", "symlink", "moved"].map(|name| place.join(name));
    let first = bound(SOCK_STREAM, &path)?;
    fs::hard_link(&path, &link)?;
    fs::symlink("socket", &symlink)?;
    let expected = [(2 + path.len() + 1, address(&path)), (2, SockaddrUn { family: AF_UNIX as u16, path: [0; 108] })];
    for to in [&path, &link, &symlink] {
        let near = connect(SOCK_STREAM, to)?;
        let far = raw::file(call!(ACCEPT4, first.fd().raw(), 0, 0, SOCK_CLOEXEC)?);
        let (found, of_far) = (names(&near)?, names(&far)?);
        ensure!(found.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && a.1.path == b.1.path), "{to}");
        equal!((of_far[0].0, of_far[1].0), (expected[1].0, expected[0].0));
    }
    fs::rename(&path, &moved)?;
    fails!(connect(SOCK_STREAM, &path), ENOENT);
    fails!(connect(SOCK_STREAM, &symlink), ENOENT);
    connect(SOCK_STREAM, &moved)?;
    // Another at the same path is another.
    let second = bound(SOCK_STREAM, &path)?;
    let near = connect(SOCK_STREAM, &symlink)?;
    equal!(call!(ACCEPT4, second.fd().raw(), 0, 0, SOCK_CLOEXEC).map(raw::file).is_ok(), true);
    drop((near, second));
    fails!(connect(SOCK_STREAM, &path), ECONNREFUSED);
    connect(SOCK_STREAM, &link)?;
    // What has no name in the file system any more is reached by nobody.
    fs::remove_file(&moved)?;
    fs::remove_file(&link)?;
    fails!(connect(SOCK_STREAM, &link), ENOENT);
    // A path is looked for where the process is.
    exits(
        checked_child(|| {
            let directory = format!("{}\0", place.path());
            call!(CHDIR, directory.as_ptr())?;
            let near = bound(SOCK_STREAM, "here")?;
            connect(SOCK_STREAM, &place.join("here"))?;
            equal!(names(&connect(SOCK_STREAM, "./here")?)?[0].0, 2 + 5);
            drop(near);
            Ok(())
        })?,
        0,
    )
}

/// A datagram is sent to a path, and answered to the sender's.
fn of_datagrams() -> Outcome {
    let place = Place::any()?;
    let [here, there, stream] = ["here", "there", "stream"].map(|name| place.join(name));
    let (near, far) = (bound(SOCK_DGRAM, &here)?, bound(SOCK_DGRAM, &there)?);
    let _listener = bound(SOCK_STREAM, &stream)?;
    let send = |file: &File, to: &str| {
        let address = address(to);
        call!(SENDTO, file.fd().raw(), b"x".as_ptr(), 1, MSG_DONTWAIT, &raw const address, 2 + to.len() + 1)
    };
    equal!(send(&near, &there), Ok(1));
    let (mut byte, mut from, mut len) = ([0u8; 4], address(""), size_of::<SockaddrUn>() as u32);
    let received = call!(RECVFROM, far.fd().raw(), byte.as_mut_ptr(), 4, MSG_DONTWAIT, &raw mut from, &raw mut len);
    equal!((received, len as usize), (Ok(1), 2 + here.len() + 1));
    equal!(from.path, address(&here).path);
    equal!(call!(SENDTO, far.fd().raw(), b"y".as_ptr(), 1, MSG_DONTWAIT, &raw const from, len), Ok(1));
    fails!(send(&near, &stream), EPROTOTYPE);
    fails!(send(&near, &place.join("nobody")), ENOENT);
    fails!(connect(SOCK_STREAM, &there), EPROTOTYPE);
    fails!(connect(SOCK_SEQPACKET, &stream), EPROTOTYPE);
    drop(far);
    fails!(send(&near, &there), ECONNREFUSED);
    Ok(())
}

/// Paths to what is no socket, or is one's that nobody has bound.
fn that_is_none() -> Outcome {
    let place = Place::any()?;
    let (file, made) = (place.join("file"), place.join("made"));
    fs::write(&file, "x")?;
    fails!(connect(SOCK_STREAM, &file), ECONNREFUSED);
    fails!(connect(SOCK_STREAM, place.path()), ECONNREFUSED);
    let name = format!("{made}\0");
    call!(MKNODAT, AT_FDCWD, name.as_ptr(), S_IFSOCK | 0o600, 0)?;
    fails!(connect(SOCK_STREAM, &made), ECONNREFUSED);
    fails!(bound(SOCK_STREAM, &made), EADDRINUSE);
    // Who bound it does not listen.
    let idle = socket(SOCK_STREAM)?;
    let path = place.join("idle");
    addressed!(BIND, idle, &path)?;
    fails!(connect(SOCK_STREAM, &path), ECONNREFUSED);
    Ok(())
}

/// Who may write to the file may connect, and who may write to the directory may bind.
fn who_may() -> Outcome {
    let place = Place::any()?;
    let [open, closed] = ["open", "closed"].map(|name| place.join(name));
    let _listeners = (bound(SOCK_STREAM, &open)?, bound(SOCK_STREAM, &closed)?);
    let change = |path: &str, mode: u32| {
        let name = format!("{path}\0");
        call!(FCHMODAT, AT_FDCWD, name.as_ptr(), mode)
    };
    change(&open, 0o622)?;
    change(&closed, 0o644)?;
    change(place.path(), 0o755)?;
    exits(
        checked_child(|| {
            call!(SETUID, 1000)?;
            connect(SOCK_STREAM, &open)?;
            equal!(connect(SOCK_STREAM, &closed).err(), Some(Errno::EACCES));
            equal!(bound(SOCK_STREAM, &place.join("new")).err(), Some(Errno::EACCES));
            Ok(())
        })?,
        0,
    )
}
