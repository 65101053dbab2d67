//! Killed while it waits: in each call that may wait, at several moments. Nothing of the victim may be left.

use crate::case::{Case, Outcome};
use crate::process::{Shared, await_blocked, child, dies, exits, kill, sleep_ms};
use crate::sockets::{listen, local};
use rt::abi::futex::FUTEX_WAIT;
use rt::abi::io_uring::{IORING_ENTER_GETEVENTS, IORING_OP_READ, IOSQE_IO_LINK, Sqe};
use rt::abi::poll::{POLLIN, PollFd};
use rt::abi::signal::SIGKILL;
use rt::io::{Read, Write};
use rt::net::UdpSocket;
use rt::ring::Ring;
use rt::{fs, pipe, thread};

pub const CASES: &[Case] = &[
    case!("killed/in-read", "D14 D2", in_read),
    case!("killed/in-write", "D14 D2", in_write),
    case!("killed/in-wait", "D14 D2", in_wait),
    case!("killed/in-sleep", "D14 D16", in_sleep),
    case!("killed/in-futex", "D14 D2", in_futex),
    case!("killed/in-accept", "D14 D17", in_accept),
    case!("killed/in-receive", "D14 D17", in_receive),
    case!("killed/in-poll", "D14 I1", in_poll),
    case!("killed/in-ring", "D14 C4", in_ring),
    case!("killed/in-file-work", "D14 D18", in_file_work),
    case!("killed/in-page-faults", "D14 D15", in_page_faults),
    case!("killed/in-fork", "D14 P1", in_fork),
    case!("killed/with-threads-everywhere", "D14 P7", with_threads_everywhere),
];

/// Starts `body`, which says when it begins and then waits or works for ever, and kills it: after it has blocked (if
/// it does), and at moments before that.
fn killed_at_any_time<T>(blocks: bool, body: impl Fn(Shared) -> T) -> Outcome {
    let shared = Shared::new()?;
    for round in 0..14u32 {
        shared.set(0, 0);
        let pid = child(|| {
            shared.set(0, 1);
            core::hint::black_box(body(shared));
            99
        })?;
        match round {
            0..4 if blocks => await_blocked(pid)?,
            4..8 => shared.await_least(0, 1),
            8..12 => {
                shared.await_least(0, 1);
                (0..round * 700).for_each(|_| core::hint::spin_loop());
            }
            _ => {}
        }
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
    }
    Ok(())
}

fn in_read() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    killed_at_any_time(true, |_| {
        let mut byte = 0u8;
        let _ = call!(READ, read.fd().raw(), &raw mut byte, 1);
    })?;
    // The pipe works on.
    let mut read = read;
    write.write_all(b"x")?;
    equal!(read.read(&mut [0; 4])?, 1);
    Ok(())
}

fn in_ring() -> Outcome {
    let mut ring = Ring::new(4, 0)?;
    let fd = ring.fd().raw();
    killed_at_any_time(true, |_| {
        let _ = call!(IO_URING_ENTER, fd, 0, 2, IORING_ENTER_GETEVENTS, 0, 0);
    })?;
    // With requests that wait, of its own ring.
    let (read, _write) = pipe::pipe()?;
    killed_at_any_time(true, |_| {
        let Ok(mut own) = Ring::new(4, 0) else { return };
        let mut byte = 0u8;
        let (addr, fd) = (&raw mut byte as u64, read.fd().raw());
        for flags in [IOSQE_IO_LINK, 0, 0] {
            own.push_raw(&Sqe { opcode: IORING_OP_READ, flags, fd, addr, len: 1, ..Sqe::default() });
        }
        let _ = own.submit(3);
    })?;
    // While it submits, as well; the ring works on.
    killed_at_any_time(false, |_| {
        for _ in 0..100_000 {
            let _ = call!(IO_URING_ENTER, fd, 4, 0, IORING_ENTER_GETEVENTS, 0, 0);
        }
    })?;
    ensure!(ring.push(&Sqe { user_data: 5, ..Sqe::default() })?);
    equal!(ring.submit(1)?, 1);
    equal!(ring.pop().map(|cqe| cqe.user_data), Some(5));
    Ok(())
}

fn in_write() -> Outcome {
    let (mut read, mut write) = pipe::pipe()?;
    write.fd().set_nonblocking(true)?;
    while write.write(&[0; 4096]).is_ok() {}
    write.fd().set_nonblocking(false)?;
    killed_at_any_time(true, |_| {
        let bytes = [1u8; 8192];
        let _ = call!(WRITE, write.fd().raw(), bytes.as_ptr(), bytes.len());
    })?;
    read.fd().set_nonblocking(true)?;
    let mut bytes = [9; 4096];
    while let Ok(len) = read.read(&mut bytes) {
        ensure!(bytes[..len].iter().all(|byte| *byte == 0), "bytes of a killed writer");
    }
    Ok(())
}

/// The child that it waited for is somebody else's then, and ends for that.
fn in_wait() -> Outcome {
    killed_at_any_time(true, |_| {
        let own = rt::process::id();
        let inner = child(|| {
            while rt::process::parent_id() == own {
                sleep_ms(1);
            }
            0
        });
        if let Ok(pid) = inner {
            let _ = crate::process::wait(pid);
        }
    })
}

fn in_sleep() -> Outcome {
    killed_at_any_time(true, |_| sleep_ms(1_000_000))
}

fn in_futex() -> Outcome {
    let shared = Shared::new()?;
    let word = shared.word(0).as_ptr();
    killed_at_any_time(true, |_| call!(FUTEX, word, FUTEX_WAIT, 0, 0, 0, 0))?;
    equal!(call!(FUTEX, word, rt::abi::futex::FUTEX_WAKE, 99, 0, 0, 0), Ok(0));
    Ok(())
}

fn in_accept() -> Outcome {
    let (listener, addr) = listen()?;
    killed_at_any_time(true, |_| listener.accept())?;
    let _near = rt::net::TcpStream::connect(addr)?;
    listener.accept()?;
    Ok(())
}

fn in_receive() -> Outcome {
    let socket = UdpSocket::bind(local())?;
    killed_at_any_time(true, |_| socket.recv_from(&mut [0; 10]))?;
    socket.send_to(b"x", socket.local_addr()?)?;
    equal!(socket.recv_from(&mut [0; 10])?.0, 1);
    Ok(())
}

fn in_poll() -> Outcome {
    let (read, mut write) = pipe::pipe()?;
    let (other, _other_write) = pipe::pipe()?;
    let entries = || [&read, &other].map(|file| PollFd { fd: file.fd().raw(), events: POLLIN, revents: 0 });
    killed_at_any_time(true, |_| {
        let mut fds = entries();
        let _ = call!(PPOLL, fds.as_mut_ptr(), 2, 0, 0, 0);
    })?;
    write.write_all(b"x")?;
    let mut fds = entries();
    equal!(call!(PPOLL, fds.as_mut_ptr(), 2, 0, 0, 0), Ok(1));
    Ok(())
}

/// In the middle of writing, syncing and removing files on the disk; the file system is whole afterwards.
fn in_file_work() -> Outcome {
    let place = crate::place::Place::best()?;
    killed_at_any_time(false, |_| {
        for round in 0u32.. {
            let path = place.join(&alloc::format!("file {}", round % 3));
            let _ = fs::write(&path, [round as u8; 20_000]);
            let _ = fs::File::open(&path).map(|file| file.sync_all());
            let _ = fs::remove_file(&path);
        }
    })?;
    for round in 0..3 {
        let path = place.join(&alloc::format!("file {round}"));
        fs::write(&path, [7; 100])?;
        equal!(fs::read(&path)?, [7; 100]);
    }
    Ok(())
}

fn in_page_faults() -> Outcome {
    killed_at_any_time(false, |_| {
        loop {
            let Ok(base) = crate::process::map(1 << 20, crate::process::RW) else { return };
            (0..256).for_each(|page| rt::raw::store8(base + page * 4096, 1));
            let _ = crate::process::unmap(base, 1 << 20);
        }
    })
}

fn in_fork() -> Outcome {
    killed_at_any_time(false, |_| {
        loop {
            if let Ok(pid) = child(|| 0) {
                let _ = crate::process::wait(pid);
            }
        }
    })
}

/// One process, its threads in as many kinds of waiting as there are, killed as a whole.
fn with_threads_everywhere() -> Outcome {
    let (read, _write) = pipe::pipe()?;
    let (listener, _) = listen()?;
    for _ in 0..6 {
        let shared = Shared::new()?;
        let pid = child(|| {
            let (own, word) = (read.fd().raw(), shared.word(5).as_ptr() as usize);
            let kinds: [fn(i32, usize); 4] = [
                |fd, _| {
                    let _ = call!(READ, fd, &raw const fd, 1);
                },
                |_, word| {
                    let _ = call!(FUTEX, word, FUTEX_WAIT, 0, 0, 0, 0);
                },
                |_, _| sleep_ms(1_000_000),
                |_, _| loop {
                    core::hint::spin_loop();
                },
            ];
            for kind in kinds.iter().cycle().take(12) {
                let kind = *kind;
                let started = thread::spawn(move || {
                    shared.count(0);
                    kind(own, word);
                });
                core::mem::forget(started);
            }
            let _ = listener.accept();
            0
        })?;
        shared.await_least(0, 12);
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
    }
    exits(child(|| 0)?, 0)
}
