//! Signals: numbers, `rt_sigaction`, `siginfo`, and the frame that a handler finds on its stack on riscv64.
//!
//! riscv64 has no `sa_restorer`: a handler returns to code that the kernel provides, which calls `rt_sigreturn`.
//! The frame is [`Siginfo`] followed by [`Ucontext`]; `a0` is the signal, `a1` and `a2` point to the two.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

// Numbers.
constants! { u32:
    SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGIOT = 6, SIGBUS = 7,
    SIGFPE = 8, SIGKILL = 9, SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14,
    SIGTERM = 15, SIGSTKFLT = 16, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20, SIGTTIN = 21,
    SIGTTOU = 22, SIGURG = 23, SIGXCPU = 24, SIGXFSZ = 25, SIGVTALRM = 26, SIGPROF = 27, SIGWINCH = 28,
    SIGIO = 29, SIGPOLL = 29, SIGPWR = 30, SIGSYS = 31, SIGRTMIN = 32, SIGRTMAX = 64,
}

// `Sigaction::flags`.
constants! { u64:
    SA_NOCLDSTOP = 0x1, SA_NOCLDWAIT = 0x2, SA_SIGINFO = 0x4, SA_UNSUPPORTED = 0x400,
    SA_EXPOSE_TAGBITS = 0x800, SA_ONSTACK = 0x8000000, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000,
    SA_RESETHAND = 0x80000000,
}

// Special handlers.
constants! { usize:
    SIG_DFL = 0, SIG_IGN = 1,
}

// `rt_sigprocmask` operations.
constants! { u32:
    SIG_BLOCK = 0, SIG_UNBLOCK = 1, SIG_SETMASK = 2,
}

// `SigStack::flags` and least sizes in bytes.
constants! { u32:
    SS_ONSTACK = 1, SS_DISABLE = 2, SS_AUTODISARM = 0x8000_0000,
}
constants! { usize:
    MINSIGSTKSZ = 2048, SIGSTKSZ = 8192,
}

// `si_code`, for any signal and for each.
constants! { i32:
    SI_USER = 0, SI_KERNEL = 128, SI_QUEUE = -1, SI_TIMER = -2, SI_MESGQ = -3, SI_ASYNCIO = -4, SI_SIGIO = -5,
    SI_TKILL = -6, SI_DETHREAD = -7,
}
constants! { i32:
    ILL_ILLOPC = 1, ILL_ILLOPN = 2, ILL_ILLADR = 3, ILL_ILLTRP = 4, ILL_PRVOPC = 5, ILL_PRVREG = 6,
    ILL_COPROC = 7, ILL_BADSTK = 8, FPE_INTDIV = 1, FPE_INTOVF = 2, FPE_FLTDIV = 3, FPE_FLTOVF = 4,
    FPE_FLTUND = 5, FPE_FLTRES = 6, FPE_FLTINV = 7, SEGV_MAPERR = 1, SEGV_ACCERR = 2, SEGV_BNDERR = 3,
    SEGV_PKUERR = 4, BUS_ADRALN = 1, BUS_ADRERR = 2, BUS_OBJERR = 3, BUS_MCEERR_AR = 4, BUS_MCEERR_AO = 5,
    TRAP_BRKPT = 1, TRAP_TRACE = 2, CLD_EXITED = 1, CLD_KILLED = 2, CLD_DUMPED = 3, CLD_TRAPPED = 4,
    CLD_STOPPED = 5, CLD_CONTINUED = 6, POLL_IN = 1, POLL_OUT = 2, POLL_MSG = 3, POLL_ERR = 4, POLL_PRI = 5,
    POLL_HUP = 6, SYS_SECCOMP = 1,
}

// `sigevent` notification.
constants! { i32:
    SIGEV_SIGNAL = 0, SIGEV_NONE = 1, SIGEV_THREAD = 2, SIGEV_THREAD_ID = 4,
}

// `signalfd4` flags.
constants! { u32:
    SFD_CLOEXEC = 0x80000, SFD_NONBLOCK = 0x800,
}

/// Bytes of a signal set as the `rt_sig*` calls take it: the only size that is valid.
pub const SIGSET_SIZE: usize = 8;

/// The bit of a signal in a set; 0 for a number that is no signal.
#[must_use]
pub const fn mask(signal: u32) -> u64 {
    match signal {
        1..=64 => 1 << (signal - 1),
        _ => 0,
    }
}

/// Linux `struct sigaction` of the kernel interface (riscv64: without restorer).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Sigaction {
    /// Handler address, [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Signals blocked while the handler runs.
    pub mask: u64,
}
layout!(Sigaction, 24, flags @ 8, mask @ 16);

/// Linux `stack_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SigStack {
    /// Lowest address.
    pub sp: u64,
    /// `SS_*`.
    pub flags: i32,
    /// Padding.
    pub pad: u32,
    /// Size in bytes.
    pub size: u64,
}
layout!(SigStack, 24, flags @ 8, size @ 16);

/// Linux `siginfo_t`: 128 bytes, of which the fields after `code` depend on the signal.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Siginfo {
    /// Signal.
    pub signo: i32,
    /// An error number, usually 0.
    pub errno: i32,
    /// `SI_*`, or a code of the signal.
    pub code: i32,
    /// Padding.
    pub pad: i32,
    /// The union `_sifields`, little-endian words.
    pub fields: [u64; 14],
}
layout!(Siginfo, 128, code @ 8, fields @ 16);

const fn pair(low: i32, high: u32) -> u64 {
    (low as u32) as u64 | ((high as u64) << 32)
}

impl Siginfo {
    const fn new(signo: u32, code: i32) -> Self {
        Self { signo: signo as i32, errno: 0, code, pad: 0, fields: [0; 14] }
    }

    /// Sent by a process (`SI_USER`, `SI_TKILL`, `SI_QUEUE` with `value`), or by the kernel (`SI_KERNEL`, zeros).
    #[must_use]
    pub const fn sent(signo: u32, code: i32, pid: i32, uid: u32, value: u64) -> Self {
        let mut info = Self::new(signo, code);
        info.fields[0] = pair(pid, uid);
        info.fields[1] = value;
        info
    }

    /// `SIGCHLD`: `code` is `CLD_*`, `status` the exit code or signal, times in ticks of 1/100 s.
    #[must_use]
    pub const fn child(code: i32, pid: i32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        let mut info = Self::new(SIGCHLD, code);
        info.fields[0] = pair(pid, uid);
        info.fields[1] = pair(status, 0);
        info.fields[2] = utime;
        info.fields[3] = stime;
        info
    }

    /// `SIGIO`, or another signal in its place: `code` (`POLL_*`) of the description that had the number `fd`. A signal that has codes of its own has `SI_SIGIO`.
    #[must_use]
    pub const fn readiness(signo: u32, code: i32, fd: i32) -> Self {
        use crate::poll::*;
        let band = match code {
            POLL_IN => EPOLLIN | EPOLLRDNORM,
            POLL_OUT => EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND,
            POLL_ERR => EPOLLERR,
            _ => EPOLLHUP | EPOLLERR,
        };
        let has_codes = matches!(signo, SIGILL | SIGFPE | SIGSEGV | SIGBUS | SIGTRAP | SIGCHLD | SIGSYS);
        let mut info = Self::new(signo, if has_codes { SI_SIGIO } else { code });
        info.fields[0] = band as u64;
        info.fields[1] = pair(fd, 0);
        info
    }

    /// A fault at `addr`: `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGTRAP`.
    #[must_use]
    pub const fn fault(signo: u32, code: i32, addr: u64) -> Self {
        let mut info = Self::new(signo, code);
        info.fields[0] = addr;
        info
    }

    /// Sender's or child's process id, where the signal has one.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.fields[0] as i32
    }
}

/// Linux `struct signalfd_siginfo`: what `signalfd` reads of a signal.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, PartialEq, Eq)]
pub struct SignalfdSiginfo {
    /// Signal.
    pub signo: u32,
    /// An error number, usually 0.
    pub errno: i32,
    /// `SI_*`, or a code of the signal.
    pub code: i32,
    /// Sender or child.
    pub pid: u32,
    /// Its real user.
    pub uid: u32,
    /// Descriptor (`SIGIO`).
    pub fd: i32,
    /// Timer (`SI_TIMER`).
    pub tid: u32,
    /// Events (`SIGIO`).
    pub band: u32,
    /// Expiries that were missed (`SI_TIMER`).
    pub overrun: u32,
    /// Trap number: none on riscv64.
    pub trapno: u32,
    /// Exit status or signal (`SIGCHLD`).
    pub status: i32,
    /// What was sent along (`sigqueue`), as an integer.
    pub int: i32,
    /// The same, as a pointer.
    pub ptr: u64,
    /// User time (`SIGCHLD`).
    pub utime: u64,
    /// System time (`SIGCHLD`).
    pub stime: u64,
    /// Address of a fault.
    pub addr: u64,
    /// Lowest bit of that which counts, padding, call number: not reported here.
    pub unused: [u64; 2],
    /// `AUDIT_ARCH_*`, then padding: not reported here.
    pub pad: [u64; 4],
}
layout!(SignalfdSiginfo, 128, status @ 40, ptr @ 48, addr @ 72);

impl From<&Siginfo> for SignalfdSiginfo {
    /// Which fields there are depends on signal and code, as in Linux (`kernel/signal.c`, `siginfo_layout`).
    fn from(info: &Siginfo) -> Self {
        let [first, second, third, fourth, ..] = info.fields;
        let mut read = Self::new_zeroed();
        (read.signo, read.errno, read.code) = (info.signo as u32, info.errno, info.code);
        let by_kernel = info.code > SI_USER && info.code < SI_KERNEL;
        match info.signo as u32 {
            SIGILL | SIGFPE | SIGSEGV | SIGBUS | SIGTRAP if by_kernel => read.addr = first,
            SIGPOLL if by_kernel => (read.band, read.fd) = (first as u32, second as i32),
            _ if info.code == SI_SIGIO => (read.band, read.fd) = (first as u32, second as i32),
            _ if info.code == SI_TIMER => {
                (read.tid, read.overrun) = (first as u32, (first >> 32) as u32);
                (read.int, read.ptr) = (second as i32, second);
            }
            signal => {
                (read.pid, read.uid) = (first as u32, (first >> 32) as u32);
                match signal {
                    SIGCHLD if by_kernel => (read.status, read.utime, read.stime) = (second as i32, third, fourth),
                    _ if info.code < SI_USER => (read.int, read.ptr) = (second as i32, second),
                    _ => {}
                }
            }
        }
        read
    }
}

/// Linux `struct user_regs_struct` (riscv64): `pc`, then x1 to x31.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct UserRegs {
    /// Program counter.
    pub pc: u64,
    /// `x[i]` is register x(i+1).
    pub x: [u64; 31],
}
layout!(UserRegs, 256, x @ 8);

/// Linux `union __riscv_fp_state`, used as `__riscv_d_ext_state`; the rest of the union is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FpState {
    /// f0 to f31.
    pub f: [u64; 32],
    /// Control and status.
    pub fcsr: u32,
    /// Padding.
    pub pad: u32,
    /// The part of the union that only the Q extension uses. Must be zero in `rt_sigreturn`.
    pub reserved: [u64; 33],
}
layout!(FpState, 528, fcsr @ 256);

/// Linux `struct ucontext` (riscv64), with `struct sigcontext` at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Ucontext {
    /// Zero.
    pub flags: u64,
    /// Zero.
    pub link: u64,
    /// Alternate stack in force.
    pub stack: SigStack,
    /// Signals that were blocked.
    pub sigmask: u64,
    /// Room for a longer set, then alignment of the registers to 16 bytes.
    pub unused: [u64; 16],
    /// Integer registers.
    pub regs: UserRegs,
    /// Floating-point registers.
    pub fp: FpState,
}
layout!(Ucontext, 960, stack @ 16, sigmask @ 40, regs @ 176, fp @ 432);
