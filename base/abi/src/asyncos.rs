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
