//! Processes: `clone`, `wait4` and its status word, limits, usage, the auxiliary vector, `prctl`, `reboot`.
//!
//! On riscv64 the arguments of `clone` are (flags, stack, parent_tid, tls, child_tid), in this order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::time::Timeval;

// `clone` flags; the low byte ([`CSIGNAL`]) is the signal sent to the parent at exit.
constants! { u64:
    CSIGNAL = 0xff, CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800,
    CLONE_PIDFD = 0x1000, CLONE_PTRACE = 0x2000, CLONE_VFORK = 0x4000, CLONE_PARENT = 0x8000,
    CLONE_THREAD = 0x10000, CLONE_NEWNS = 0x20000, CLONE_SYSVSEM = 0x40000, CLONE_SETTLS = 0x80000,
    CLONE_PARENT_SETTID = 0x100000, CLONE_CHILD_CLEARTID = 0x200000, CLONE_DETACHED = 0x400000,
    CLONE_UNTRACED = 0x800000, CLONE_CHILD_SETTID = 0x1000000, CLONE_NEWCGROUP = 0x2000000,
    CLONE_NEWUTS = 0x4000000, CLONE_NEWIPC = 0x8000000, CLONE_NEWUSER = 0x10000000, CLONE_NEWPID = 0x20000000,
    CLONE_NEWNET = 0x40000000, CLONE_IO = 0x80000000, CLONE_CLEAR_SIGHAND = 0x100000000,
    CLONE_INTO_CGROUP = 0x200000000,
}

// Sizes of `struct clone_args` over time.
constants! { usize:
    CLONE_ARGS_SIZE_VER0 = 64, CLONE_ARGS_SIZE_VER1 = 80, CLONE_ARGS_SIZE_VER2 = 88,
}

// `wait4` and `waitid` options.
constants! { u32:
    WNOHANG = 0x1, WUNTRACED = 0x2, WSTOPPED = 0x2, WEXITED = 0x4, WCONTINUED = 0x8, WNOWAIT = 0x1000000,
    __WNOTHREAD = 0x20000000, __WALL = 0x40000000, __WCLONE = 0x80000000,
}

// `waitid` id types.
constants! { u32:
    P_ALL = 0, P_PID = 1, P_PGID = 2, P_PIDFD = 3,
}

// Resources for `prlimit64`.
constants! { u32:
    RLIMIT_CPU = 0, RLIMIT_FSIZE = 1, RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_CORE = 4, RLIMIT_RSS = 5,
    RLIMIT_NPROC = 6, RLIMIT_NOFILE = 7, RLIMIT_MEMLOCK = 8, RLIMIT_AS = 9, RLIMIT_LOCKS = 10,
    RLIMIT_SIGPENDING = 11, RLIMIT_MSGQUEUE = 12, RLIMIT_NICE = 13, RLIMIT_RTPRIO = 14, RLIMIT_RTTIME = 15,
    RLIM_NLIMITS = 16,
}

/// Linux `RLIM64_INFINITY`: no limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

// `getrusage` subjects.
constants! { i32:
    RUSAGE_SELF = 0, RUSAGE_CHILDREN = -1, RUSAGE_THREAD = 1,
}

// Auxiliary vector types.
constants! { u64:
    AT_NULL = 0, AT_IGNORE = 1, AT_EXECFD = 2, AT_PHDR = 3, AT_PHENT = 4, AT_PHNUM = 5, AT_PAGESZ = 6,
    AT_BASE = 7, AT_FLAGS = 8, AT_ENTRY = 9, AT_NOTELF = 10, AT_UID = 11, AT_EUID = 12, AT_GID = 13,
    AT_EGID = 14, AT_PLATFORM = 15, AT_HWCAP = 16, AT_CLKTCK = 17, AT_SECURE = 23, AT_BASE_PLATFORM = 24,
    AT_RANDOM = 25, AT_HWCAP2 = 26, AT_EXECFN = 31, AT_SYSINFO_EHDR = 33, AT_MINSIGSTKSZ = 51,
}

// `AT_HWCAP` bits: one a letter of the ISA string.
constants! { u64:
    COMPAT_HWCAP_ISA_I = 0x100, COMPAT_HWCAP_ISA_M = 0x1000, COMPAT_HWCAP_ISA_A = 0x1,
    COMPAT_HWCAP_ISA_F = 0x20, COMPAT_HWCAP_ISA_D = 0x8, COMPAT_HWCAP_ISA_C = 0x4,
}

// `prctl` operations.
constants! { u32:
    PR_SET_PDEATHSIG = 1, PR_GET_PDEATHSIG = 2, PR_GET_DUMPABLE = 3, PR_SET_DUMPABLE = 4, PR_GET_KEEPCAPS = 7,
    PR_SET_KEEPCAPS = 8, PR_GET_NAME = 16, PR_SET_NAME = 15, PR_GET_SECCOMP = 21, PR_CAPBSET_READ = 23,
    PR_SET_TIMERSLACK = 29, PR_GET_TIMERSLACK = 30, PR_SET_CHILD_SUBREAPER = 36, PR_GET_CHILD_SUBREAPER = 37,
    PR_SET_NO_NEW_PRIVS = 38, PR_GET_NO_NEW_PRIVS = 39, PR_GET_TID_ADDRESS = 40, PR_SET_VMA = 1398164801,
}
constants! { u32:
    PR_SET_VMA_ANON_NAME = 0x0,
}

// Scheduling policies, and subjects of `setpriority`.
constants! { u32:
    SCHED_NORMAL = 0, SCHED_FIFO = 1, SCHED_RR = 2, SCHED_BATCH = 3, SCHED_IDLE = 5, SCHED_DEADLINE = 6,
}
constants! { u32:
    SCHED_RESET_ON_FORK = 0x40000000,
}
constants! { u32:
    PRIO_PROCESS = 0, PRIO_PGRP = 1, PRIO_USER = 2,
}

// `reboot` magic numbers and commands.
constants! { u32:
    LINUX_REBOOT_MAGIC1 = 0xfee1dead, LINUX_REBOOT_MAGIC2 = 0x28121969, LINUX_REBOOT_CMD_RESTART = 0x1234567,
    LINUX_REBOOT_CMD_HALT = 0xcdef0123, LINUX_REBOOT_CMD_CAD_ON = 0x89abcdef, LINUX_REBOOT_CMD_CAD_OFF = 0x0,
    LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc, LINUX_REBOOT_CMD_RESTART2 = 0xa1b2c3d4,
}

/// Linux `struct clone_args`, the argument of `clone3`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CloneArgs {
    /// `CLONE_*`.
    pub flags: u64,
    /// Where to store a pidfd.
    pub pidfd: u64,
    /// Child's tid address.
    pub child_tid: u64,
    /// Parent's tid address.
    pub parent_tid: u64,
    /// Signal sent to the parent at exit.
    pub exit_signal: u64,
    /// Lowest address of the child's stack.
    pub stack: u64,
    /// Its size in bytes.
    pub stack_size: u64,
    /// Value of `tp`.
    pub tls: u64,
    /// Array of requested pids.
    pub set_tid: u64,
    /// Its length.
    pub set_tid_size: u64,
    /// Control group descriptor.
    pub cgroup: u64,
}
layout!(CloneArgs, 88, exit_signal @ 32, tls @ 56, cgroup @ 80);

/// Linux `struct sched_attr`, its first version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SchedAttr {
    /// Of the structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99.
    pub priority: u32,
    /// Of `SCHED_DEADLINE`, in nanoseconds.
    pub runtime: u64,
    /// Likewise.
    pub deadline: u64,
    /// Likewise.
    pub period: u64,
}
layout!(SchedAttr, 48, flags @ 8, nice @ 16, period @ 40);

/// Linux `struct rlimit64`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Rlimit {
    /// Limit in force.
    pub current: u64,
    /// Highest value that `current` may be set to.
    pub max: u64,
}
layout!(Rlimit, 16, max @ 8);

/// Linux `struct rusage`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Rusage {
    /// Time in user mode.
    pub utime: Timeval,
    /// Time in the kernel.
    pub stime: Timeval,
    /// Largest resident set in KiB.
    pub maxrss: i64,
    /// Unused by Linux.
    pub ixrss: i64,
    /// Unused by Linux.
    pub idrss: i64,
    /// Unused by Linux.
    pub isrss: i64,
    /// Page faults served without a device.
    pub minflt: i64,
    /// Page faults that read a device.
    pub majflt: i64,
    /// Unused by Linux.
    pub nswap: i64,
    /// Block reads.
    pub inblock: i64,
    /// Block writes.
    pub oublock: i64,
    /// Unused by Linux.
    pub msgsnd: i64,
    /// Unused by Linux.
    pub msgrcv: i64,
    /// Unused by Linux.
    pub nsignals: i64,
    /// Times it gave up the CPU.
    pub nvcsw: i64,
    /// Times it was preempted.
    pub nivcsw: i64,
}
layout!(Rusage, 144, maxrss @ 32, minflt @ 64, nivcsw @ 136);

/// Linux `struct new_utsname`: NUL-terminated strings.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Utsname {
    /// Operating system.
    pub sysname: [u8; 65],
    /// Host name.
    pub nodename: [u8; 65],
    /// Release.
    pub release: [u8; 65],
    /// Version.
    pub version: [u8; 65],
    /// Machine, `riscv64`.
    pub machine: [u8; 65],
    /// NIS domain.
    pub domainname: [u8; 65],
}
layout!(Utsname, 390, nodename @ 65, machine @ 260);

/// Linux `struct sysinfo`. Memory is in units of `mem_unit` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Sysinfo {
    /// Seconds since boot.
    pub uptime: i64,
    /// Load over 1, 5 and 15 minutes, times 65536.
    pub loads: [u64; 3],
    /// Usable memory.
    pub totalram: u64,
    /// Free memory.
    pub freeram: u64,
    /// Shared memory.
    pub sharedram: u64,
    /// Memory in buffers.
    pub bufferram: u64,
    /// Swap space.
    pub totalswap: u64,
    /// Free swap space.
    pub freeswap: u64,
    /// Processes.
    pub procs: u16,
    /// Padding.
    pub pad: u16,
    /// Padding.
    pub pad2: u32,
    /// High memory, 0.
    pub totalhigh: u64,
    /// Free high memory, 0.
    pub freehigh: u64,
    /// Bytes a unit.
    pub mem_unit: u32,
    /// Padding.
    pub pad3: u32,
}
layout!(Sysinfo, 112, totalram @ 32, procs @ 80, totalhigh @ 88, mem_unit @ 104);

/// Linux `siginfo`-free view of the status word that `wait4` stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// Exited with this code (its low eight bits).
    Exited(u8),
    /// Killed by a signal; the flag says whether a core was dumped.
    Signaled(u8, bool),
    /// Stopped by a signal.
    Stopped(u8),
    /// Continued.
    Continued,
}

impl WaitStatus {
    /// The status word.
    #[must_use]
    pub const fn encode(self) -> u32 {
        match self {
            Self::Exited(code) => (code as u32) << 8,
            Self::Signaled(signal, core) => (signal & 0x7f) as u32 | if core { 0x80 } else { 0 },
            Self::Stopped(signal) => ((signal as u32) << 8) | 0x7f,
            Self::Continued => 0xffff,
        }
    }

    /// What a status word says.
    #[must_use]
    pub const fn decode(word: u32) -> Self {
        let high = (word >> 8) as u8;
        match word & 0x7f {
            _ if word & 0xffff == 0xffff => Self::Continued,
            0 => Self::Exited(high),
            0x7f => Self::Stopped(high),
            signal => Self::Signaled(signal as u8, word & 0x80 != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WaitStatus::{self, Continued, Exited, Signaled, Stopped};

    #[test]
    fn status_words_survive() {
        for status in [Exited(0), Exited(255), Signaled(9, false), Signaled(11, true), Stopped(19), Continued] {
            assert_eq!(WaitStatus::decode(status.encode()), status);
        }
        assert_eq!(Exited(3).encode(), 0x300);
        assert_eq!(Signaled(11, true).encode(), 0x8b);
        assert_eq!(Stopped(20).encode(), 0x147f);
    }
}
