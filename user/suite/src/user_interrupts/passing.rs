//! Rights to raise vectors that are passed over local sockets: to processes that did not inherit them.

use super::{counting, until};
use crate::case::Outcome;
use crate::process::{Shared, checked_child, exits};
use crate::sockets::flights::{name, socket};
use crate::sockets::rights::{pair, receive_one, send};
use rt::abi::net::{SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SockaddrUn};
use rt::fs::File;
use rt::raw;
use rt::uintr::{Right, Sender};

/// The right that comes next.
fn right(from: &File) -> Result<Right, crate::case::Trouble> {
    Ok(Right::from_fd(receive_one(from)?.fd().try_clone()?))
}

/// From the receiver to a process that was there before it, and from that to another, which goes on when the one between has ended; until the
/// receiver ends the right, wherever it is.
pub fn passed_on() -> Outcome {
    let shared = Shared::new()?;
    let (listener, address) = (socket(SOCK_STREAM)?, name("passed-on")?);
    call!(BIND, listener.fd().raw(), &raw const address, size_of::<SockaddrUn>())?;
    call!(LISTEN, listener.fd().raw(), 4)?;
    let connect = || -> Result<File, crate::case::Trouble> {
        let near = socket(SOCK_STREAM)?;
        call!(CONNECT, near.fd().raw(), &raw const address, size_of::<SockaddrUn>())?;
        Ok(near)
    };
    let (between, last) = pair(SOCK_DGRAM)?;
    let stranger = checked_child(|| {
        let sender = Sender::open(right(&connect()?)?)?;
        sender.send(3)?;
        send(&between, b"x", &[sender.right().fd().raw()])?;
        Ok(())
    })?;
    let other = checked_child(|| {
        let sender = Sender::open(right(&last)?)?;
        shared.await_least(0, 1);
        sender.send(9)?;
        // The right is not to end before that has returned: it would say so.
        shared.set(1, 1);
        shared.await_least(0, 2);
        fails!(sender.send(9), ESRCH);
        fails!(sender.send_by_call(9), ESRCH);
        Ok(())
    })?;
    drop((between, last));
    let (receiver, counts) = counting()?;
    let granted = receiver.grant(1 << 3 | 1 << 9)?;
    let accepted = raw::file(call!(ACCEPT4, listener.fd().raw(), 0, 0, SOCK_CLOEXEC)?);
    send(&accepted, b"x", &[granted.fd().raw()])?;
    until(&receiver, || counts.get(3) == 1)?;
    exits(stranger, 0)?;
    shared.set(0, 1);
    until(&receiver, || counts.get(9) == 1)?;
    shared.await_least(1, 1);
    receiver.revoke(&granted)?;
    shared.set(0, 2);
    exits(other, 0)?;
    equal!((counts.get(3), counts.get(9)), (1, 1));
    Ok(())
}

/// A right that lies in a message while it ends, and one that only the message has: who receives the second can still use it.
pub fn revoked_in_flight() -> Outcome {
    let (receiver, counts) = counting()?;
    let (near, far) = pair(SOCK_DGRAM)?;
    let (ends, stays) = (receiver.grant(1 << 1)?, receiver.grant(1 << 2)?);
    send(&near, b"x", &[ends.fd().raw()])?;
    send(&near, b"y", &[stays.fd().raw()])?;
    receiver.revoke(&ends)?;
    drop((ends, stays));
    let pid = checked_child(|| {
        let ended = Sender::open(right(&far)?);
        match ended {
            Ok(sender) => fails!(sender.send(1), ESRCH),
            Err(error) => fails!(Err::<(), _>(error), ESRCH),
        }
        Sender::open(right(&far)?)?.send(2)?;
        Ok(())
    })?;
    until(&receiver, || counts.get(2) == 1)?;
    exits(pid, 0)?;
    equal!(counts.get(1), 0);
    Ok(())
}
