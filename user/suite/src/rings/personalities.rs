//! Entries with the rights of others: those that were registered (`IORING_REGISTER_PERSONALITY`).

use super::calls::{call_of, one};
use super::*;
use crate::machine::needs_root;
use crate::process::exits;
use crate::sockets::{local_datagrams::receive_ids, rights::pair};
use rt::abi::fs::AT_FDCWD;
use rt::abi::net::{MSG_DONTWAIT, SCM_CREDENTIALS, SO_PASSCRED, SOCK_DGRAM, SOL_SOCKET};

pub const CASES: &[Case] = &[
    case!("ring/rights-by-number", "C4 P1", by_number),
    case!("ring/rights-by-number-in-chains", "C4 P1 D14", in_chains),
    case!("ring/rights-by-number-of-what-waits", "C4 P1", of_what_waits),
    case!("ring/wrong-rights-by-number", "C4 E1", wrong),
    case!("ring/rights-by-number-until-they-are-full", "C4 D13", until_full),
];

const ACCESS: i32 = -13;
const SOMEBODY: u32 = 4245;
const SAME: u32 = u32::MAX;

fn enrol(ring: &Ring) -> Result<u16, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_REGISTER_PERSONALITY, 0, 0).map(|number| number as u16)
}

fn expel(ring: &Ring, number: usize) -> Result<usize, Errno> {
    call!(IO_URING_REGISTER, ring.fd().raw(), IORING_UNREGISTER_PERSONALITY, 0, number)
}

/// Opens what only root may open, with these rights.
fn opens(personality: u16) -> Sqe {
    Sqe { addr: c"/tmp/ring-personality".as_ptr() as u64, personality, ..call_of(IORING_OP_OPENAT, AT_FDCWD) }
}

/// In a process that is root's and makes itself somebody's.
fn with_secret(run: impl FnOnce() -> Outcome) -> Outcome {
    needs_root()?;
    rt::fs::write("/tmp/ring-personality", [1; 4])?;
    call!(FCHMODAT, AT_FDCWD, c"/tmp/ring-personality".as_ptr(), 0o600)?;
    let ended = exits(checked_child(run)?, 0);
    rt::fs::remove_file("/tmp/ring-personality")?;
    ended
}

fn by_number() -> Outcome {
    with_secret(|| {
        let mut ring = Ring::new(8, 0)?;
        let mut all = Ring::new(8, IORING_SETUP_SUBMIT_ALL)?;
        let root = enrol(&ring)?;
        equal!((root, enrol(&all)?), (1, 1));
        call!(SETRESUID, SAME, SOMEBODY, 0)?;
        let own = enrol(&ring)?;
        equal!(own, 2);
        for flags in [0, IOSQE_ASYNC, IOSQE_IO_DRAIN] {
            let opens = |personality| Sqe { flags, ..opens(personality) };
            equal!(one(&mut ring, opens(0))?, ACCESS);
            equal!(one(&mut ring, opens(own))?, ACCESS);
            ensure!(one(&mut ring, opens(root))? > 2, "{flags}: with root's rights");
            // The rights are of that entry only.
            equal!(one(&mut ring, opens(0))?, ACCESS);
        }
        // Nor are they the next one's behind one that is wrong.
        push(&mut all, &[Sqe { ioprio: 1, user_data: 1, ..opens(root) }, opens(0)]);
        equal!(all.submit(0)?, 2);
        equal!(reap(&mut all), [(1, EINVAL), (7, ACCESS)]);
        // Back as root, that of somebody still says less.
        call!(SETRESUID, SAME, 0, SAME)?;
        ensure!(one(&mut ring, opens(0))? > 2, "as root");
        equal!(one(&mut ring, opens(own))?, ACCESS);
        // The others do the same with any rights.
        let (read, _write) = rt::pipe::pipe()?;
        let mut bytes = [0u8; 4];
        let fd = one(&mut ring, opens(root))?;
        equal!(one(&mut ring, Sqe { personality: own, ..transfer(IORING_OP_READ, fd, &mut bytes, 0) })?, 4);
        equal!(bytes, [1; 4]);
        let waits = Sqe { personality: own, user_data: 1, ..transfer(IORING_OP_READ, read.fd().raw(), &mut bytes, 0) };
        push(&mut ring, &[waits]);
        equal!(ring.submit(0)?, 1);
        push(&mut ring, &[Sqe { user_data: 2, ..cancel_of(1, 0) }]);
        let mut ended = wait(&mut ring, 2)?;
        ended.sort_unstable();
        equal!(ended, [(1, CANCELLED), (2, 0)]);
        Ok(())
    })
}

fn in_chains() -> Outcome {
    with_secret(|| {
        let (mut ring, mut byte) = (Ring::new(8, 0)?, [0u8]);
        let (read, mut write) = rt::pipe::pipe()?;
        let root = enrol(&ring)?;
        call!(SETRESUID, SAME, SOMEBODY, 0)?;
        let linked = |user_data, entry: Sqe| Sqe { user_data, flags: IOSQE_IO_HARDLINK, ..entry };
        let chain = |first| [linked(1, first), linked(2, opens(root)), linked(3, opens(0)), opens(root)];
        let check = |found: &[(u64, i32)]| {
            let is_right = matches!(found, [(1, 0..), (2, 3..), (3, ACCESS), (7, 3..)]);
            ensure!(is_right, "{found:?}");
            Ok(())
        };
        push(&mut ring, &chain(nop(1, 0, 0)));
        check(&wait(&mut ring, 4)?)?;
        // Behind one that waits, and though the number means nothing any more.
        push(&mut ring, &chain(transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0)));
        equal!(ring.submit(0)?, 4);
        equal!(expel(&ring, root.into())?, 0);
        io::Write::write_all(&mut write, b"x")?;
        check(&wait(&mut ring, 4)?)
    })
}

/// Whoever is told who sent is told the same of a message that had to wait.
fn of_what_waits() -> Outcome {
    with_secret(|| {
        let mut ring = Ring::new(8, 0)?;
        call!(SETRESUID, SAME, SOMEBODY, 0)?;
        let own = enrol(&ring)?;
        call!(SETRESUID, SAME, 0, SAME)?;
        let (near, far) = pair(SOCK_DGRAM)?;
        let on = 1i32;
        call!(SETSOCKOPT, far.fd().raw(), SOL_SOCKET, SO_PASSCRED, &raw const on, 4)?;
        let mut byte = [1u8];
        let sends = Sqe { personality: own, ..transfer(IORING_OP_WRITE, near.fd().raw(), &mut byte, 0) };
        equal!(one(&mut ring, sends)?, 1);
        let (kind, at_once, _) = receive_ids(&far, 64)?;
        equal!((kind, at_once[1]), (SCM_CREDENTIALS, SOMEBODY));
        for before in [&[][..], &[nop(1, IOSQE_IO_LINK, 0)]] {
            let mut filled = 0;
            while call!(SENDTO, near.fd().raw(), byte.as_ptr(), 1, MSG_DONTWAIT, 0, 0).is_ok() {
                filled += 1;
            }
            push(&mut ring, before);
            push(&mut ring, &[sends]);
            equal!(ring.submit(0)?, before.len() + 1);
            for _ in 0..filled {
                receive_ids(&far, 64)?;
            }
            ensure!(wait(&mut ring, before.len() as u32 + 1)?.ends_with(&[(7, 1)]), "it is not sent");
            equal!(receive_ids(&far, 64)?.1, at_once);
        }
        Ok(())
    })
}

fn wrong() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let fd = ring.fd().raw();
    fails!(expel(&ring, 1), EINVAL);
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PERSONALITY, 1, 0), EINVAL);
    fails!(call!(IO_URING_REGISTER, fd, IORING_REGISTER_PERSONALITY, 0, 1), EINVAL);
    let number = enrol(&ring)?;
    fails!(call!(IO_URING_REGISTER, fd, IORING_UNREGISTER_PERSONALITY, 1, number), EINVAL);
    fails!(expel(&ring, 0), EINVAL);
    fails!(expel(&ring, (1 << 16) + usize::from(number)), EINVAL);
    let with = |personality| Sqe { personality, ..nop(7, 0, 0) };
    equal!(one(&mut ring, with(number))?, 0);
    equal!(one(&mut ring, with(number + 1))?, EINVAL);
    equal!(one(&mut ring, Sqe { ioprio: 1, ..with(number) })?, EINVAL);
    // Giving out a number by other rights than one's own.
    let install = Sqe { flags: IOSQE_FIXED_FILE, personality: number, ..call_of(IORING_OP_FIXED_FD_INSTALL, 0) };
    equal!(one(&mut ring, install)?, -1);
    equal!(one(&mut ring, Sqe { len: 1, ..install })?, EINVAL);
    equal!(expel(&ring, number.into())?, 0);
    equal!(one(&mut ring, with(number))?, EINVAL);
    fails!(expel(&ring, number.into()), EINVAL);
    // The next number is another, so who still says the old one is told so.
    equal!(enrol(&ring)?, number + 1);
    Ok(())
}

fn until_full() -> Outcome {
    const MOST: u16 = 4096;
    let ring = Ring::new(8, 0)?;
    for number in 1..=MOST {
        equal!(enrol(&ring)?, number);
    }
    fails!(enrol(&ring), ENOMEM);
    equal!(expel(&ring, 5)?, 0);
    equal!(enrol(&ring)?, MOST + 1);
    fails!(enrol(&ring), ENOMEM);
    Ok(())
}
