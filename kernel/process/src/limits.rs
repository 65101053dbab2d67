//! Resource limits (`RLIMIT_*`).

use abi::{
    errno::Errno,
    process::{
        RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_CORE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RTPRIO,
        RLIMIT_SIGPENDING, RLIMIT_STACK, Rlimit,
    },
};

/// Most descriptors a process may be allowed.
pub const MAX_FILES: u64 = 65_536;
/// Descriptors a process may have unless it asks for more.
pub const DEFAULT_FILES: u64 = 1024;
/// Kernel memory that one thread is assumed to take when the limit of threads is derived from the memory.
const BYTES_A_THREAD: usize = 64 << 10;

/// Most threads in the system, whatever anybody's limit says: what the kernel keeps for them is not charged.
pub(crate) fn most_threads() -> usize {
    (hal::frame::stats().total * hal::PAGE_SIZE / BYTES_A_THREAD).clamp(64, 32_768)
}

const COUNT: usize = RLIM_NLIMITS as usize;

/// All limits of a process.
#[derive(Clone)]
pub struct Limits([Rlimit; COUNT]);

impl Default for Limits {
    /// What the first process starts with.
    fn default() -> Self {
        let mut limits = Self([Rlimit { current: RLIM_INFINITY, max: RLIM_INFINITY }; COUNT]);
        let threads = most_threads() as u64;
        limits.0[RLIMIT_NPROC as usize] = Rlimit { current: threads, max: threads };
        limits.0[RLIMIT_NOFILE as usize] = Rlimit { current: DEFAULT_FILES, max: MAX_FILES };
        limits.0[RLIMIT_STACK as usize].current = mem::space::DEFAULT_STACK as u64;
        limits.0[RLIMIT_CORE as usize].current = 0;
        // What may be taken without privilege, as on Linux: nothing.
        for resource in [RLIMIT_NICE, RLIMIT_RTPRIO] {
            limits.0[resource as usize] = Rlimit { current: 0, max: 0 };
        }
        limits.0[RLIMIT_SIGPENDING as usize] = Rlimit { current: 128, max: 1024 };
        limits
    }
}

impl Limits {
    /// One limit.
    ///
    /// # Errors
    /// `EINVAL` for a number that is none.
    pub fn get(&self, resource: u32) -> Result<Rlimit, Errno> {
        self.0.get(resource as usize).copied().ok_or(Errno::EINVAL)
    }

    /// The value in force of one of the `RLIMIT_*` constants.
    #[must_use]
    pub fn current(&self, resource: u32) -> u64 {
        self.0.get(resource as usize).map_or(0, |limit| limit.current)
    }

    /// Changes one limit.
    ///
    /// # Errors
    /// `EINVAL` (no such limit, current above maximum), `EPERM` (raising the maximum needs `privileged`).
    pub fn set(&mut self, resource: u32, new: Rlimit, privileged: bool) -> Result<(), Errno> {
        let slot = self.0.get_mut(resource as usize).ok_or(Errno::EINVAL)?;
        if new.current > new.max {
            return Err(Errno::EINVAL);
        }
        let ceiling = if resource == RLIMIT_NOFILE { MAX_FILES } else { RLIM_INFINITY };
        if (new.max > slot.max && !privileged) || new.max > ceiling {
            return Err(Errno::EPERM);
        }
        *slot = new;
        Ok(())
    }

    /// Those that the address space enforces.
    #[must_use]
    pub fn of_space(&self) -> mem::Limits {
        use abi::process::{RLIMIT_AS, RLIMIT_DATA};
        let bytes = |resource| usize::try_from(self.current(resource)).unwrap_or(usize::MAX);
        mem::Limits { address_space: bytes(RLIMIT_AS), data: bytes(RLIMIT_DATA), stack: bytes(RLIMIT_STACK) }
    }
}
