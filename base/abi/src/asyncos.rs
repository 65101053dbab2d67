//! What AsyncOS adds to the Linux calls: a number range of its own, from [`FIRST`] on, far above Linux's.
//!
//! Linux answers each of these numbers with `ENOSYS`, so a program can ask and go on without.

/// Entry of the auxiliary vector: where the scheduler's image is mapped (`abi::window::IMAGE`), 0 if it is not.
pub const AT_SCHEDULER: u64 = FIRST as u64;

/// First number of the range.
pub const FIRST: usize = 0x1000;

/// `asyncos_world(op, world) -> world`: asks for, or chooses, how the calling process is isolated (decision D1).
///
/// `op` is [`WORLD_GET`] (`world` must be 0) or [`WORLD_SET_NEXT`]. Returns the world in force, never [`WORLD_AUTO`].
/// Errors: `EINVAL` for an unknown operation or world, `ENODEV` when the machine cannot run that world.
pub const WORLD: usize = FIRST;

/// `sched_setup(slots) -> slots`: gives the process slots, at most as many as harts (note 0003, section 5; the numbers in
/// `slots`). Errors: `EINVAL`, `EBUSY` (it has some), `ENOMEM`.
pub const SCHED_SETUP: usize = FIRST + 1;

/// `sched_wait(place) -> slot`: waits until the caller has a slot and there is something to run. A thread takes its place with the
/// first wait. Errors: `EINVAL` (no slots, another's place), `EINTR`.
pub const SCHED_WAIT: usize = FIRST + 2;

/// `sched_kick(slot, priority) -> 0`: there is something to run for a slot's worker that is idle or runs something less
/// urgent. Error: `EINVAL` (no slots).
pub const SCHED_KICK: usize = FIRST + 3;

/// `take(fd, buffer, len) -> bytes`: `read` of a stream that does not wait, whatever the descriptor's flags say. With [`TAKE_DRY`]
/// if that was all: a further one would have to wait, and what comes next is an edge for epoll. Of a file that has positions,
/// `take(fd, buffer, len, offset) -> bytes`: `pread64`, if all of it is in memory. Errors: those of the call that it is, `EAGAIN`.
pub const TAKE: usize = FIRST + 4;
/// See [`TAKE`]. No call reads so much.
pub const TAKE_DRY: usize = 1 << 32;

/// `sched_follow(place) -> 0`: the coroutine that the thread in this place polls without a slot (`slots::AWAY`) may be more urgent
/// now, and the thread is to stand at that then. Error: `EINVAL` (no slots).
pub const SCHED_FOLLOW: usize = FIRST + 5;

/// `name_ring(fd) -> 0`: completions of the process's asynchronous calls ([`ASYNC`]) come to this ring from now on; to none with -1. A
/// child of `fork` has none, nor has the next program. Errors: `EBADF`, `EOPNOTSUPP` (no ring).
pub const NAME_RING: usize = FIRST + 6;

/// In the number of a system call: it is registered, and the call returns at once; `a6` is the token, which the completion has as `user_data`
/// ([`result`]: what the call answers). It waits where the call would wait, and not where the descriptor says `O_NONBLOCK`; what its pointers lead to must
/// stay until then. "The calling thread" is the one that registered it; rights to files and the like are those of then, rights over other processes those that the process has when it is carried out. Without this bit `a6` means nothing.
///
/// Errors, and no completion: `ENOSYS` (no ring: to such a program the call does not exist, as on Linux), `EAGAIN` (no place for a completion, or the process has too much under way), `EEXIST` (the ring is
/// another thread's), `EBADFD` (it is not enabled), `EINVAL`: the call needs its thread ([`crate::bound`]), has a mask of signals for its time, or polls more than 64 descriptors.
pub const ASYNC: usize = 1 << 30;

/// In `flags` of the completion of a call: `res` is the lower half of a result that is larger than it can hold, the rest is in the bits of `flags` from
/// [`CQE_WIDE_SHIFT`] on, so that none says what `IORING_CQE_F_*` say. One that is larger still is `EOVERFLOW`. Of other completions the bit may be part of a buffer's
/// number, where `IORING_CQE_F_BUFFER` says that there is one.
pub const CQE_WIDE: u32 = 1 << 31;
/// See [`CQE_WIDE`].
pub const CQE_WIDE_SHIFT: u32 = 8;

/// The result of a call, as its completion has it: a value, or `-errno`.
#[must_use]
pub const fn result(res: i32, flags: u32) -> i64 {
    match flags & CQE_WIDE {
        0 => res as i64,
        _ => ((flags & !CQE_WIDE) as i64 >> CQE_WIDE_SHIFT) << 32 | res.cast_unsigned() as i64,
    }
}

/// Resources for `prlimit64` besides Linux's, which a child of `fork` has from its parent: rings that a process may have, with those that are closed and whose requests wait
/// (beyond: `ENOMEM`).
pub const RLIMIT_RINGS: u32 = FIRST as u32;
/// Places for completions in all its rings, of which each request under way needs one, taken in blocks of 126 (beyond: an entry is not taken; `EAGAIN`).
pub const RLIMIT_RING_REQUESTS: u32 = RLIMIT_RINGS + 1;
/// Words of memory that its requests wait for (beyond: `ENOMEM`).
pub const RLIMIT_RING_WORDS: u32 = RLIMIT_RINGS + 2;

/// Mode of a ring, for `io_uring_setup`, unknown to Linux (which answers `EINVAL`): byte 56 of an entry says how urgent its request is, 0 as its submitter, else one more than a
/// priority (0 to 31), which is never above the submitter's. The seven bytes behind it are 0. With `IORING_SETUP_SQPOLL` the entries are taken at the most urgent
/// priority among those that are not taken; who submits one that is more urgent than all before it calls `io_uring_enter` with `IORING_ENTER_SQ_WAKEUP` to say so.
pub const IORING_SETUP_PRIORITIES: u32 = 1 << 31;

/// [`WORLD`] operation: report the world of the calling process.
pub const WORLD_GET: usize = 0;
/// [`WORLD`] operation: the next `execve` of the caller, and of children it forks, uses this world.
pub const WORLD_SET_NEXT: usize = 1;

/// The kernel chooses by its `world=` parameter.
pub const WORLD_AUTO: usize = 0;
/// VS-mode with G-stage translation only.
pub const WORLD_VM: usize = 1;
/// U-mode; the page table maps nothing of the kernel but the resident pages.
pub const WORLD_TABLE: usize = 2;
/// U-mode; the kernel is mapped as supervisor pages.
pub const WORLD_SHARED: usize = 3;
