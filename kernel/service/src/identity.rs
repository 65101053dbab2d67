//! Who a process is: ids of process, group, session, user and group.

use crate::{arguments::Args, context::Task};
use abi::{errno::Errno, nr};
use mem::list;
use process::{process::Identity, table};
use zerocopy::IntoBytes;

/// Most supplementary groups, as in Linux.
const GROUPS_MOST: usize = 65_536;

/// The process that an argument names; 0 is the caller.
fn target(task: &Task<'_>, args: &Args, index: usize) -> Result<u32, Errno> {
    match args.int(index) {
        0 => Ok(task.process().pid()),
        pid if pid > 0 => Ok(pid as u32),
        _ => Err(Errno::ESRCH),
    }
}

/// `getpgid(pid)`.
pub(crate) fn getpgid(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let kin = table::kin(target(task, args, 0)?).ok_or(Errno::ESRCH)?;
    Ok(kin.group as usize)
}

/// `getsid(pid)`.
pub(crate) fn getsid(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let kin = table::kin(target(task, args, 0)?).ok_or(Errno::ESRCH)?;
    Ok(kin.session as usize)
}

/// `setpgid(pid, group)`.
pub(crate) fn setpgid(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let group = u32::try_from(args.int(1)).map_err(|_| Errno::EINVAL)?;
    let pid = target(task, args, 0)?;
    // 0: a group of its own.
    let group = if group == 0 { pid } else { group };
    table::set_group(task.process().pid(), pid, group).map(|()| 0)
}

/// `setsid()`.
pub(crate) fn setsid(task: &Task<'_>) -> Result<usize, Errno> {
    table::new_session(task.process().pid()).map(|session| session as usize)
}

/// An id argument; all ones means "leave as it is".
fn keep(bits: u32) -> Option<u32> {
    (bits != u32::MAX).then_some(bits)
}

/// Three ids of one kind: real, effective, saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
}

impl Ids {
    fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// `setuid`: all three for the superuser, else the effective one.
    fn set(self, id: u32, privileged: bool) -> Result<Self, Errno> {
        match privileged {
            true => Ok(Self { real: id, effective: id, saved: id }),
            false if id == self.real || id == self.saved => Ok(Self { effective: id, ..self }),
            false => Err(Errno::EPERM),
        }
    }

    /// `setreuid`: an unprivileged process may only exchange what it has.
    fn set_two(self, real: Option<u32>, effective: Option<u32>, privileged: bool) -> Result<Self, Errno> {
        let real_allowed = real.is_none_or(|id| id == self.real || id == self.effective);
        let effective_allowed = effective.is_none_or(|id| self.has(id));
        if !privileged && (!real_allowed || !effective_allowed) {
            return Err(Errno::EPERM);
        }
        let new = Self { real: real.unwrap_or(self.real), effective: effective.unwrap_or(self.effective), ..self };
        let moves = real.is_some() || effective.is_some_and(|id| id != self.real);
        Ok(if moves { Self { saved: new.effective, ..new } } else { new })
    }

    /// `setresuid`.
    fn set_three(self, new: [Option<u32>; 3], privileged: bool) -> Result<Self, Errno> {
        if !privileged && !new.iter().flatten().all(|&id| self.has(id)) {
            return Err(Errno::EPERM);
        }
        let [real, effective, saved] = new;
        Ok(Self {
            real: real.unwrap_or(self.real),
            effective: effective.unwrap_or(self.effective),
            saved: saved.unwrap_or(self.saved),
        })
    }
}

fn user(identity: &Identity) -> Ids {
    Ids { real: identity.uid, effective: identity.euid, saved: identity.suid }
}

fn group(identity: &Identity) -> Ids {
    Ids { real: identity.gid, effective: identity.egid, saved: identity.sgid }
}

/// The calls that change user and group ids; `None` for other calls.
pub(crate) fn change(task: &Task<'_>, number: usize, args: &Args) -> Option<Result<usize, Errno>> {
    let one = args.bits(0);
    let two = || (keep(args.bits(0)), keep(args.bits(1)));
    let three = || [keep(args.bits(0)), keep(args.bits(1)), keep(args.bits(2))];
    let privileged = task.caller().credentials.uid == 0;
    let process = task.process();
    // By what they are when they are changed: requests may be served beside threads that change them as well.
    let user = |new: &Change<'_>| process.change_identity(|identity| set_user(identity, new, privileged));
    let group = |new: &Change<'_>| process.change_identity(|identity| set_group(identity, new, privileged));
    let changed = match number {
        nr::SETUID => user(&|ids, privileged| ids.set(one, privileged)),
        nr::SETGID => group(&|ids, privileged| ids.set(one, privileged)),
        nr::SETREUID => user(&|ids, privileged| ids.set_two(two().0, two().1, privileged)),
        nr::SETREGID => group(&|ids, privileged| ids.set_two(two().0, two().1, privileged)),
        nr::SETRESUID => user(&|ids, privileged| ids.set_three(three(), privileged)),
        nr::SETRESGID => group(&|ids, privileged| ids.set_three(three(), privileged)),
        // The ids of file accesses follow the effective ones; the answer is the one in force.
        nr::SETFSUID => return Some(Ok(process.identity().euid as usize)),
        nr::SETFSGID => return Some(Ok(process.identity().egid as usize)),
        _ => return None,
    };
    Some(changed.map(|()| 0))
}

/// Makes other ids of those that there are, for who is privileged or not.
type Change<'a> = dyn Fn(Ids, bool) -> Result<Ids, Errno> + 'a;

/// `privileged`: the call was when it began. It counts if the process still is.
fn set_user(identity: &mut Identity, new: &Change<'_>, privileged: bool) -> Result<(), Errno> {
    let ids = new(user(identity), privileged && identity.euid == 0)?;
    (identity.uid, identity.euid, identity.suid) = (ids.real, ids.effective, ids.saved);
    Ok(())
}

fn set_group(identity: &mut Identity, new: &Change<'_>, privileged: bool) -> Result<(), Errno> {
    let ids = new(group(identity), privileged && identity.euid == 0)?;
    (identity.gid, identity.egid, identity.sgid) = (ids.real, ids.effective, ids.saved);
    Ok(())
}

async fn put_three(task: &Task<'_>, args: &Args, ids: Ids) -> Result<usize, Errno> {
    for (index, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
        task.space().put(args.word(index), &id).await?;
    }
    Ok(0)
}

/// `getresuid(real, effective, saved)`.
pub(crate) async fn getresuid(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    put_three(task, args, user(&task.process().identity())).await
}

/// `getresgid(real, effective, saved)`.
pub(crate) async fn getresgid(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    put_three(task, args, group(&task.process().identity())).await
}

/// `getgroups(count, list)`.
pub(crate) async fn getgroups(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let room = usize::try_from(args.int(0)).map_err(|_| Errno::EINVAL)?;
    let groups = task.process().identity().groups;
    if room > 0 {
        if groups.len() > room {
            return Err(Errno::EINVAL);
        }
        task.space().copy_out(args.word(1), groups.as_slice().as_bytes()).await?;
    }
    Ok(groups.len())
}

/// `setgroups(count, list)`.
pub(crate) async fn setgroups(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    task.privileged()?;
    let count = args.word(0);
    if count > GROUPS_MOST {
        return Err(Errno::EINVAL);
    }
    let mut groups = list(count)?;
    groups.resize(count, 0u32);
    task.space().copy_in(args.word(1), groups.as_mut_slice().as_mut_bytes()).await?;
    // The ids are those of now: who gave rights up while the list was read is not given them back, nor other groups.
    let changed = task.process().change_identity(|identity| {
        if identity.euid != 0 {
            return Err(Errno::EPERM);
        }
        core::mem::swap(&mut identity.groups, &mut groups);
        Ok(0)
    });
    drop(groups); // those of before: not under the lock
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Ids = Ids { real: 1, effective: 2, saved: 3 };

    #[test]
    fn ordinary_users_move_between_their_own_ids() {
        assert_eq!(USER.set(3, false), Ok(Ids { effective: 3, ..USER }));
        assert_eq!(USER.set(2, false), Err(Errno::EPERM));
        assert_eq!(USER.set(9, true), Ok(Ids { real: 9, effective: 9, saved: 9 }));
        assert_eq!(USER.set_three([None, Some(1), Some(1)], false), Ok(Ids { real: 1, effective: 1, saved: 1 }));
        assert_eq!(USER.set_three([Some(4), None, None], false), Err(Errno::EPERM));
    }

    #[test]
    fn a_new_real_id_sets_the_saved_one() {
        assert_eq!(USER.set_two(Some(2), None, false), Ok(Ids { real: 2, effective: 2, saved: 2 }));
        assert_eq!(USER.set_two(None, Some(1), false), Ok(Ids { real: 1, effective: 1, saved: 3 }));
        assert_eq!(USER.set_two(Some(3), None, false), Err(Errno::EPERM));
    }
}
