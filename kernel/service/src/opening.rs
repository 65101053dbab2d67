//! `openat2`: opening with flags that are checked, and a walk that is kept within bounds.

use crate::{
    arguments::Args,
    context::Task,
    paths::{self, Base, OPEN_FLAGS},
};
use abi::{errno::Errno, fs as f};
use hal::PAGE_SIZE;

const RESOLVE: u32 = f::RESOLVE_NO_XDEV
    | f::RESOLVE_NO_MAGICLINKS
    | f::RESOLVE_NO_SYMLINKS
    | f::RESOLVE_BENEATH
    | f::RESOLVE_IN_ROOT
    | f::RESOLVE_CACHED;
/// What may stand beside `O_PATH`.
const BESIDE_PATH: u32 = f::O_PATH | f::O_DIRECTORY | f::O_NOFOLLOW | f::O_CLOEXEC;
/// Bytes of what is longer than this kernel knows that are looked at in one go.
const TAIL: usize = 64;

/// What is asked for, checked.
struct How {
    flags: u32,
    mode: u32,
    resolve: u32,
}

/// `openat2(dirfd, path, how, size)`.
pub(crate) async fn openat2(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    open(task, args, false).await
}

/// The same; a table that no program is executed with has no use for `O_CLOEXEC`.
pub(crate) async fn open(task: &Task<'_>, args: &Args, into_table: bool) -> Result<usize, Errno> {
    let how = checked(&get(task, args.word(2), args.word(3)).await?)?;
    if into_table && how.flags & f::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let path = paths::get(task, args.word(1)).await?;
    let base = Base::bounded(task, args.int(0), &path, how.resolve).await?;
    let open = paths::open(task, &base, &path, how.flags, how.mode).await?;
    task.install(open, how.flags & f::O_CLOEXEC != 0)
}

/// Copies it, of whatever size the program knows it to have.
async fn get(task: &Task<'_>, addr: usize, size: usize) -> Result<f::OpenHow, Errno> {
    const KNOWN: usize = size_of::<f::OpenHow>();
    match size {
        ..KNOWN => return Err(Errno::EINVAL),
        KNOWN..=PAGE_SIZE => {}
        _ => return Err(Errno::E2BIG),
    }
    let mut at = KNOWN;
    while at < size {
        let mut tail = [0; TAIL];
        let some = TAIL.min(size - at);
        task.copy_in(addr.wrapping_add(at), &mut tail[..some]).await?;
        if tail != [0; TAIL] {
            return Err(Errno::E2BIG);
        }
        at += some;
    }
    task.get(addr).await
}

/// Linux's checks, in its order.
fn checked(how: &f::OpenHow) -> Result<How, Errno> {
    let known =
        |value: u64, known: u32| u32::try_from(value).ok().filter(|value| value & !known == 0).ok_or(Errno::EINVAL);
    let flags = known(how.flags, OPEN_FLAGS | f::O_TMPFILE)?;
    let resolve = known(how.resolve, RESOLVE)?;
    const EITHER: u32 = f::RESOLVE_BENEATH | f::RESOLVE_IN_ROOT;
    // Of `O_TMPFILE`, what no other flag has.
    const NAMELESS: u32 = f::O_TMPFILE & !f::O_DIRECTORY;
    let makes = flags & (f::O_CREAT | NAMELESS) != 0;
    let mode = known(how.mode, if makes { 0o7777 } else { 0 })?;
    const MADE: u32 = f::O_CREAT | f::O_DIRECTORY;
    if resolve & EITHER == EITHER || flags & MADE == MADE {
        return Err(Errno::EINVAL);
    }
    // So that a kernel that does not know of files without a name opens none.
    if flags & NAMELESS != 0 && (flags & f::O_DIRECTORY == 0 || flags & f::O_ACCMODE == f::O_RDONLY) {
        return Err(Errno::EINVAL);
    }
    if flags & f::O_PATH != 0 && flags & !BESIDE_PATH != 0 {
        return Err(Errno::EINVAL);
    }
    if resolve & f::RESOLVE_CACHED != 0 && (makes || flags & f::O_TRUNC != 0) {
        return Err(Errno::EAGAIN);
    }
    match flags & NAMELESS {
        0 => Ok(How { flags, mode, resolve }),
        // No file system here makes files without a name.
        _ => Err(Errno::EOPNOTSUPP),
    }
}
