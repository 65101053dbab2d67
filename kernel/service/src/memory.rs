//! Memory: `mmap` and its relatives. The work is done by `mem`; here flags become its terms.

use crate::{
    arguments::{Args, only},
    context::Task,
};
use abi::{errno::Errno, mm as m};
use hal::{PAGE_SIZE, space::Prot, user::Access};
use mem::{Advice, Mapping, Placement, Remap, Role};

/// Flags of `mmap` that ask for nothing that this kernel does not do anyway.
const HINTS: u32 = m::MAP_DENYWRITE
    | m::MAP_EXECUTABLE
    | m::MAP_LOCKED
    | m::MAP_NORESERVE
    | m::MAP_NONBLOCK
    | m::MAP_STACK
    | m::MAP_GROWSDOWN
    | m::MAP_UNINITIALIZED;

fn prot(bits: u32) -> Result<Prot, Errno> {
    only(bits, m::PROT_READ | m::PROT_WRITE | m::PROT_EXEC | m::PROT_SEM)?;
    let mut prot = Prot::empty();
    if bits & m::PROT_READ != 0 {
        prot |= Prot::READ;
    }
    if bits & m::PROT_WRITE != 0 {
        // The page tables know no right to write without the right to read.
        prot |= Prot::READ | Prot::WRITE;
    }
    if bits & m::PROT_EXEC != 0 {
        prot |= Prot::EXEC;
    }
    Ok(prot)
}

fn placement(addr: usize, flags: u32) -> Result<Placement, Errno> {
    if flags & (m::MAP_FIXED | m::MAP_FIXED_NOREPLACE) != 0 && !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    Ok(match addr {
        addr if flags & m::MAP_FIXED_NOREPLACE != 0 => Placement::FixedNoReplace(addr),
        addr if flags & m::MAP_FIXED != 0 => Placement::Fixed(addr),
        0 => Placement::Anywhere,
        addr => Placement::Hint(addr),
    })
}

/// Whether `flags` ask for a shared mapping.
fn shared(flags: u32) -> Result<bool, Errno> {
    match flags & m::MAP_TYPE {
        m::MAP_SHARED => Ok(true),
        m::MAP_SHARED_VALIDATE => {
            let known =
                m::MAP_TYPE | m::MAP_FIXED | m::MAP_FIXED_NOREPLACE | m::MAP_ANONYMOUS | m::MAP_POPULATE | HINTS;
            only(flags, known).map_err(|_| Errno::EOPNOTSUPP)?;
            Ok(true)
        }
        m::MAP_PRIVATE => Ok(false),
        _ => Err(Errno::EINVAL),
    }
}

/// `mmap(addr, len, prot, flags, fd, offset)`.
pub(crate) async fn mmap(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let (addr, len, flags, offset) = (args.word(0), args.word(1), args.bits(3), args.word(5));
    if !offset.is_multiple_of(PAGE_SIZE) || flags & m::MAP_HUGETLB != 0 {
        return Err(Errno::EINVAL);
    }
    let prot = prot(args.bits(2))?;
    let shared = shared(flags)?;
    let mut mapping = Mapping { shared, ..Mapping::anonymous(len, prot) }.at(placement(addr, flags)?);
    if flags & m::MAP_GROWSDOWN != 0 {
        mapping.role = Role::Growing;
    }
    if flags & m::MAP_ANONYMOUS == 0 {
        let open = task.file(args.int(4))?;
        if !open.readable() || (shared && prot.contains(Prot::WRITE) && !open.writable()) {
            return Err(Errno::EACCES);
        }
        if shared && !open.writable() {
            mapping.max.remove(Prot::WRITE);
        }
        let (backing, offset) = open.file().backing_at(open.path(), offset as u64)?;
        backing.admit(offset / PAGE_SIZE as u64, len.div_ceil(PAGE_SIZE) as u64)?;
        mapping.backing = Some((backing, offset));
    }
    let start = task.space().map(mapping).await?;
    if flags & (m::MAP_POPULATE | m::MAP_LOCKED) != 0 && flags & m::MAP_NONBLOCK == 0 {
        let access = if prot.contains(Prot::WRITE) { Access::Write } else { Access::Read };
        // Only a hint: the mapping stands if its pages do not come.
        let _ = task.space().advise(start, len, Advice::Populate(access)).await;
    }
    Ok(start)
}

/// `munmap(addr, len)`.
pub(crate) async fn munmap(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    task.space().unmap(args.word(0), args.word(1)).await.map(|()| 0)
}

/// `mprotect(addr, len, prot)`.
pub(crate) async fn mprotect(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let prot = prot(args.bits(2))?;
    if args.word(1) == 0 {
        return if args.word(0).is_multiple_of(PAGE_SIZE) { Ok(0) } else { Err(Errno::EINVAL) };
    }
    task.space().protect(args.word(0), args.word(1), prot).await.map(|()| 0)
}

/// `mremap(addr, old_len, new_len, flags, new_addr)`.
pub(crate) async fn mremap(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(3);
    only(flags, m::MREMAP_MAYMOVE | m::MREMAP_FIXED)?;
    let how = match (flags & m::MREMAP_MAYMOVE != 0, flags & m::MREMAP_FIXED != 0) {
        (false, false) => Remap::InPlace,
        (true, false) => Remap::MayMove,
        (true, true) => Remap::Fixed(args.word(4)),
        (false, true) => return Err(Errno::EINVAL),
    };
    task.space().remap(args.word(0), args.word(1), args.word(2), how).await
}

/// `madvise(addr, len, advice)`.
pub(crate) async fn madvise(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let advice = match args.bits(2) {
        // Freeing lazily may as well be done at once.
        m::MADV_DONTNEED | m::MADV_FREE => Advice::DontNeed,
        m::MADV_POPULATE_READ => Advice::Populate(Access::Read),
        m::MADV_POPULATE_WRITE => Advice::Populate(Access::Write),
        m::MADV_NORMAL | m::MADV_RANDOM | m::MADV_SEQUENTIAL | m::MADV_WILLNEED | m::MADV_HUGEPAGE => Advice::Ignore,
        m::MADV_NOHUGEPAGE | m::MADV_DONTDUMP | m::MADV_DODUMP | m::MADV_COLD | m::MADV_PAGEOUT => Advice::Ignore,
        _ => return Err(Errno::EINVAL),
    };
    task.space().advise(args.word(0), args.word(1), advice).await.map(|()| 0)
}

/// `msync(addr, len, flags)`: written pages of a shared mapping are in the file's cache already; `fsync`
/// brings them to the medium.
pub(crate) async fn msync(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(2);
    only(flags, m::MS_ASYNC | m::MS_INVALIDATE | m::MS_SYNC)?;
    if flags & m::MS_ASYNC != 0 && flags & m::MS_SYNC != 0 {
        return Err(Errno::EINVAL);
    }
    task.space().advise(args.word(0), args.word(1), Advice::Sync).await.map(|()| 0)
}

/// `mlock(addr, len)`: nothing is ever swapped out; the pages are brought in.
pub(crate) async fn mlock(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let start = args.word(0) & !(PAGE_SIZE - 1);
    let len = args.word(1).checked_add(args.word(0) - start).ok_or(Errno::EINVAL)?;
    let populate = Advice::Populate(Access::Read);
    match task.space().advise(start, len, populate).await {
        Err(Errno::EFAULT) => Err(Errno::ENOMEM),
        done => done.map(|()| 0),
    }
}

/// `brk(addr)`.
pub(crate) async fn brk(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    Ok(task.space().brk(args.word(0)).await)
}

/// `riscv_flush_icache(start, end, flags)`: all of the space, on all harts; asking for this hart alone asks for less.
pub(crate) async fn flush_icache(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    const LOCAL: u32 = 1;
    only(args.bits(2), LOCAL)?;
    task.space().flush_instructions().await;
    Ok(0)
}

/// `membarrier(command)`: every entry to the kernel that may matter orders memory.
pub(crate) fn membarrier(args: &Args) -> Result<usize, Errno> {
    match args.bits(0) {
        m::MEMBARRIER_CMD_QUERY => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
