//! Control messages of local sockets: descriptors that are sent along (`SCM_RIGHTS`), and who sends (`SCM_CREDENTIALS`). The rules are Linux's, `net/core/scm.c`.
//!
//! ```text
//!   Cmsghdr | data | up to a multiple of 8 | Cmsghdr | ...
//! ```

use crate::{context::Task, ring::RingFile, sockets::Socket};
use abi::{
    errno::Errno,
    net::{Cmsghdr, MSG_CMSG_CLOEXEC, MSG_CTRUNC, Msghdr, SCM_CREDENTIALS, SCM_MAX_FD, SCM_RIGHTS, SOL_SOCKET, Ucred},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use io::open::OpenFile;
use mem::Room;
use net::{Rights, Sender};
use zerocopy::{FromBytes, IntoBytes};

/// Longest control messages of one call.
pub(crate) const MOST: u64 = 128 << 10;

const HEADER: usize = size_of::<Cmsghdr>();
const NUMBER: usize = size_of::<i32>();

/// What the control messages of a message that is sent over `socket` say. Sockets of the network take any and obey none, as Linux's do these.
///
/// # Errors
/// `EINVAL` (wrong lengths, unknown ones, too many descriptors, a ring's), `EBADF`, `EPERM`, `ENOBUFS` (too long), `ETOOMANYREFS` (too many are under
/// way already), `ENOMEM`, `EFAULT`.
pub(crate) async fn rights(task: &Task<'_>, socket: &Socket, message: &Msghdr) -> Result<Option<Box<Rights>>, Errno> {
    if message.controllen > MOST {
        return Err(Errno::ENOBUFS);
    }
    if !socket.get().is_local() || message.controllen < HEADER as u64 {
        return Ok(None);
    }
    let (mut bytes, _charge) = crate::messages::kernel_buffer(task, message.controllen as usize)?;
    task.copy_in(message.control as usize, &mut bytes).await?;
    let (mut files, mut claim) = (Vec::new(), None);
    let mut rest = &*bytes;
    while let Ok((header, _)) = Cmsghdr::read_from_prefix(rest) {
        let len = usize::try_from(header.len).ok().filter(|len| (HEADER..=rest.len()).contains(len));
        let len = len.ok_or(Errno::EINVAL)?;
        let data = &rest[HEADER..len];
        match (header.level as u32, header.kind as u32) {
            (SOL_SOCKET, SCM_RIGHTS) => take(task, data, &mut files)?,
            (SOL_SOCKET, SCM_CREDENTIALS) => claim = Some(claimed(task, data)?),
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    let claim = claim.or_else(|| real_ids(task));
    if files.is_empty() && claim.is_none() { Ok(None) } else { pack(task, files, claim).map(Some) }
}

/// Who the process really is, if that is another than it acts as: what a message tells, as in Linux.
pub(crate) fn real_ids(task: &Task<'_>) -> Option<Sender> {
    let (acts, identity) = (task.caller().credentials, task.process().identity());
    let differs = (acts.uid, acts.gid) != (identity.uid, identity.gid);
    differs.then_some(Sender { pid: task.caller().pid, uid: identity.uid, gid: identity.gid })
}

/// A message's claim alone.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn claim(task: &Task<'_>, sender: Sender) -> Result<Box<Rights>, Errno> {
    pack(task, Vec::new(), Some(sender))
}

/// The descriptions behind a list of numbers.
fn take(task: &Task<'_>, data: &[u8], files: &mut Vec<Arc<OpenFile>>) -> Result<(), Errno> {
    let count = data.len() / NUMBER;
    if files.len() + count > SCM_MAX_FD as usize {
        return Err(Errno::EINVAL);
    }
    files.make_room(count)?;
    for number in data.chunks_exact(NUMBER) {
        // The process's own, also where the call is about a registered file.
        let fd = i32::from_ne_bytes([number[0], number[1], number[2], number[3]]);
        let open = task.process().file(fd)?;
        // It holds files itself: in its own queue it would never go.
        if open.file().as_any().is::<RingFile>() {
            return Err(Errno::EINVAL);
        }
        files.push(open);
    }
    Ok(())
}

/// Pays for what is under way: as many at a time as the process may have open.
fn pack(task: &Task<'_>, files: Vec<Arc<OpenFile>>, claim: Option<Sender>) -> Result<Box<Rights>, Errno> {
    let number = task.process().quotas().in_flight.charge(files.len()).map_err(|_| Errno::ETOOMANYREFS)?;
    let memory = task.caller().account.charge(Rights::bytes(files.len()))?;
    Rights::new(&task.system.net, files, claim, [number, memory])
}

/// Who sends may claim to be itself, the superuser to be anybody.
fn claimed(task: &Task<'_>, data: &[u8]) -> Result<Sender, Errno> {
    let claim = Ucred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
    if claim.uid == u32::MAX || claim.gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    let sender = Sender { pid: claim.pid as u32, uid: claim.uid, gid: claim.gid };
    let (own, identity) = (task.caller().credentials, task.process().identity());
    let is_itself = claim.pid == task.caller().pid as i32;
    let is_user = [own.uid, identity.uid, identity.suid].contains(&claim.uid);
    if is_itself && is_user && [own.gid, identity.gid, identity.sgid].contains(&claim.gid) {
        return Ok(sender);
    }
    task.privileged().map(|()| sender)
}

/// Tells of who sent, if that is asked for, and gives the descriptors that were received numbers, in control messages at `at`, where there is room for `room` bytes; answers how many of them
/// are used, and the flags that tell of it. What does not fit, or gets no number, is closed.
pub(crate) async fn put(
    task: &Task<'_>,
    rights: Option<Box<Rights>>,
    (at, room): (usize, usize),
    flags: u32,
) -> (usize, u32) {
    let Some(rights) = rights else { return (0, 0) };
    let (before, cut) = match rights.claim() {
        Some(sender) => put_credentials(task, sender, (at, room)).await,
        None => (0, 0),
    };
    if rights.files().is_empty() {
        return (before, cut);
    }
    let behind = (if at == 0 { 0 } else { at.wrapping_add(before) }, room - before);
    let (used, lack) = put_descriptors(task, &rights, behind, flags).await;
    (before + used, cut | lack)
}

/// As much of it as there is room for.
async fn put_credentials(task: &Task<'_>, sender: Sender, (at, room): (usize, usize)) -> (usize, u32) {
    let ids = Ucred { pid: sender.pid as i32, uid: sender.uid, gid: sender.gid };
    let len = (HEADER + size_of::<Ucred>()).min(room);
    if at == 0 || len < HEADER {
        return (0, MSG_CTRUNC);
    }
    let cut = if len < HEADER + size_of::<Ucred>() { MSG_CTRUNC } else { 0 };
    let header = Cmsghdr { len: len as u64, level: SOL_SOCKET as i32, kind: SCM_CREDENTIALS as i32 };
    let stored = task.space().put(at, &header).await.is_ok()
        && task.space().copy_out(at.wrapping_add(HEADER), &ids.as_bytes()[..len - HEADER]).await.is_ok();
    (if stored { len.next_multiple_of(8).min(room) } else { 0 }, cut)
}

/// The same for descriptors alone.
async fn put_descriptors(task: &Task<'_>, rights: &Rights, (at, room): (usize, usize), flags: u32) -> (usize, u32) {
    let fit = if at == 0 { 0 } else { room.saturating_sub(HEADER) / NUMBER };
    let mut count = 0;
    for open in rights.files().iter().take(fit) {
        let place = at.wrapping_add(HEADER + count * NUMBER);
        if give(task, open, place, flags & MSG_CMSG_CLOEXEC != 0).await.is_err() {
            break;
        }
        count += 1;
    }
    let cut = if count < rights.files().len() { MSG_CTRUNC } else { 0 };
    let len = HEADER + count * NUMBER;
    let header = Cmsghdr { len: len as u64, level: SOL_SOCKET as i32, kind: SCM_RIGHTS as i32 };
    let is_told = count > 0 && task.space().put(at, &header).await.is_ok();
    (if is_told { len.next_multiple_of(8).min(room) } else { 0 }, cut)
}

/// One number, stored before anybody can use it.
async fn give(task: &Task<'_>, open: &Arc<OpenFile>, at: usize, close_on_exec: bool) -> Result<(), Errno> {
    let number = task.descriptors()?.keep(task.file_limit())?;
    task.space().put(at, &(number.number() as i32)).await?;
    number.give(open.clone(), close_on_exec);
    Ok(())
}
