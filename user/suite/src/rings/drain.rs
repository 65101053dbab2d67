//! Entries that wait for all before them; cancelling by a call.

use super::*;
use rt::time::Duration;

pub const CASES: &[Case] = &[
    case!("ring/drain", "C4 D3", drain),
    case!("ring/drain-and-links", "C4 D3", drain_and_links),
    case!("ring/drain-that-is-given-up", "C4 D14 E1", drain_that_is_given_up),
    case!("ring/cancel-by-call", "C4 D3 D14", cancel_by_call),
];

fn reads(fd: i32, byte: &mut [u8], user_data: u64) -> Sqe {
    Sqe { user_data, ..transfer(IORING_OP_READ, fd, byte, 0) }
}

fn drain() -> Outcome {
    const DRAIN: u8 = IOSQE_IO_DRAIN;
    let mut ring = Ring::new(16, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (fd, mut bytes) = (read.fd().raw(), [0u8; 2]);
    let (first, second) = bytes.split_at_mut(1);
    // Nothing is before it.
    equal!(run(&mut ring, &[nop(1, DRAIN, 1), nop(2, 0, 2), nop(3, DRAIN, 3)])?, [(1, 1), (2, 2), (3, 3)]);
    for _ in 0..20 {
        push(&mut ring, &[reads(fd, first, 1), nop(2, 0, 2), nop(3, DRAIN, 3), nop(4, 0, 4)]);
        equal!(ring.submit(0)?, 4);
        // Of the next call, too.
        push(&mut ring, &[reads(fd, second, 5), nop(6, DRAIN, 6), nop(7, 0, 7)]);
        equal!(ring.submit(0)?, 3);
        // Not at once, perhaps: the last of the round before may be about to give up its place in the gate.
        equal!(wait(&mut ring, 1)?, [(2, 2)]);
        thread::sleep(Duration::from_millis(1));
        ensure!(ring.pop().is_none(), "it has not waited");
        io::Write::write_all(&mut write, b"x")?;
        equal!(wait(&mut ring, 3)?, [(1, 1), (3, 3), (4, 4)]);
        io::Write::write_all(&mut write, b"x")?;
        equal!(wait(&mut ring, 3)?, [(5, 1), (6, 6), (7, 7)]);
    }
    // One that is wrong does not wait.
    push(&mut ring, &[reads(fd, first, 1)]);
    equal!(ring.submit(0)?, 1);
    equal!(run(&mut ring, &[Sqe { ioprio: 1, ..nop(2, DRAIN, 2) }])?, [(2, EINVAL)]);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 1)?, [(1, 1)]);
    // Completions that are left out cannot be counted.
    equal!(run(&mut ring, &[nop(1, IOSQE_CQE_SKIP_SUCCESS, 0), nop(2, DRAIN, 2)])?, [(2, -95)]);
    Ok(())
}

fn drain_and_links() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (fd, mut byte, link) = (read.fd().raw(), [0u8], IOSQE_IO_LINK);
    // In the middle of a chain it holds for all of that, and for what comes next.
    let chain = [nop(2, link, 2), nop(3, link | IOSQE_IO_DRAIN, 3), nop(4, 0, 4)];
    for _ in 0..20 {
        push(&mut ring, &[reads(fd, &mut byte, 1)]);
        push(&mut ring, &chain);
        push(&mut ring, &[nop(5, 0, 5)]);
        equal!(ring.submit(0)?, 5);
        thread::sleep(Duration::from_millis(1));
        ensure!(ring.pop().is_none(), "it has not waited");
        io::Write::write_all(&mut write, b"x")?;
        equal!(wait(&mut ring, 5)?, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    }
    // A chain that waits half-way is waited for to its end.
    push(&mut ring, &[Sqe { flags: link, ..reads(fd, &mut byte, 1) }, nop(2, link, -1), nop(3, 0, 3)]);
    push(&mut ring, &[nop(4, IOSQE_IO_DRAIN, 4)]);
    equal!(ring.submit(0)?, 4);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 4)?, [(1, 1), (2, -1), (3, CANCELLED), (4, 4)]);
    Ok(())
}

fn drain_that_is_given_up() -> Outcome {
    let mut ring = Ring::new(64, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (fd, mut byte) = (read.fd().raw(), [0u8]);
    push(&mut ring, &[reads(fd, &mut byte, 1), nop(2, IOSQE_IO_DRAIN, 2), nop(3, 0, 3), nop(4, 0, 4)]);
    equal!(ring.submit(0)?, 4);
    let mut asked = SyncCancel::of(3, 0);
    equal!(asked.call(&ring)?, 0);
    equal!(wait(&mut ring, 1)?, [(3, CANCELLED)]);
    // The one at the front goes: the next has its turn, as it drains nothing.
    equal!(SyncCancel::of(2, 0).call(&ring)?, 0);
    equal!(wait_sorted(&mut ring, 2)?, [(2, CANCELLED), (4, 4)]);
    io::Write::write_all(&mut write, b"x")?;
    equal!(wait(&mut ring, 1)?, [(1, 1)]);
    // Behind one that never ends; then the ring goes, or the process.
    for _ in 0..20 {
        let mut ring = Ring::new(64, 0)?;
        push(&mut ring, &[reads(fd, &mut byte, 1)]);
        (0..30).for_each(|_| push(&mut ring, &[nop(2, IOSQE_IO_DRAIN, 2), reads(fd, &mut [0u8], 3)]));
        equal!(ring.submit(0)?, 61);
        asked.user_data(3);
        equal!(asked.call(&ring)?, 0);
    }
    thread::sleep(Duration::from_millis(50));
    waiting::takes_nothing(&read, &mut write)
}

/// What `IORING_REGISTER_SYNC_CANCEL` takes.
struct SyncCancel(rt::abi::io_uring::SyncCancel);

impl SyncCancel {
    fn of(addr: u64, flags: u32) -> Self {
        let timeout = Timespec { sec: -1, nsec: -1 };
        Self(rt::abi::io_uring::SyncCancel { addr, fd: -1, flags, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] })
    }

    fn user_data(&mut self, user_data: u64) {
        self.0.addr = user_data;
    }

    fn call(&self, ring: &Ring) -> Result<usize, Errno> {
        call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_SYNC_CANCEL, &raw const self.0, 1)
    }
}

fn cancel_by_call() -> Outcome {
    let mut ring = Ring::new(16, 0)?;
    let (read, mut write) = rt::pipe::pipe()?;
    let (fd, mut byte) = (read.fd().raw(), [0u8]);
    fails!(SyncCancel::of(1, 0).call(&ring), ENOENT);
    push(&mut ring, &[reads(fd, &mut byte, 1), reads(fd, &mut byte, 2), reads(fd, &mut byte, 2)]);
    equal!(ring.submit(0)?, 3);
    equal!(SyncCancel::of(1, 0).call(&ring)?, 0);
    equal!(reap(&mut ring), [(1, CANCELLED)]);
    equal!(SyncCancel::of(2, IORING_ASYNC_CANCEL_ALL).call(&ring)?, 2);
    equal!(reap(&mut ring), [(2, CANCELLED), (2, CANCELLED)]);
    push(&mut ring, &[reads(fd, &mut byte, 3)]);
    equal!(ring.submit(0)?, 1);
    let mut by_file = SyncCancel::of(0, IORING_ASYNC_CANCEL_FD);
    by_file.0.fd = 200;
    fails!(by_file.call(&ring), EBADF);
    by_file.0.fd = fd;
    equal!(by_file.call(&ring)?, 0);
    equal!(reap(&mut ring), [(3, CANCELLED)]);
    let mut wrong = SyncCancel::of(0, 1 << 31);
    fails!(wrong.call(&ring), EINVAL);
    wrong = SyncCancel::of(0, 0);
    wrong.0.pad[6] = 1;
    fails!(wrong.call(&ring), EINVAL);
    wrong = SyncCancel::of(0, 0);
    wrong.0.pad2[2] = 1;
    fails!(wrong.call(&ring), EINVAL);
    fails!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_SYNC_CANCEL, 8, 1), EFAULT);
    fails!(call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_SYNC_CANCEL, 8, 2), EINVAL);
    waiting::takes_nothing(&read, &mut write)
}
