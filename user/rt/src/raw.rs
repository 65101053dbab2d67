//! The bare machine, for programs that test or measure the kernel (feature `raw`): any system call with any arguments,
//! any address, any code, counters, and registers held across interruptions.
//!
//! Nothing here keeps Rust's promises, although the functions are safe to name: their users exist to hand the kernel
//! what no correct program would, and each case of theirs runs in a process of its own. A program that serves
//! somebody does not enable the feature. All accesses are in assembly, so that the compiler assumes nothing of them.

use crate::signal::user::{Flags, Handler, Signals};
use crate::uintr::traps::{Causes, Next, Trapped};
use crate::uintr::{Handlers, Nesting, Receiver};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Makes system call `number`; what the kernel left in `a0`.
#[inline]
pub fn syscall6(number: usize, args: [usize; 6]) -> isize {
    // SAFETY: what the call does to memory is the caller's business (module head).
    unsafe { crate::sys::ecall(number, args) }
}

/// The same by [`crate::signal::user::call`].
///
/// # Errors
/// As there.
pub fn waiting_call(number: usize, args: [usize; 6]) -> crate::io::Result<usize> {
    // SAFETY: what the call does to memory is the caller's business (module head).
    Ok(unsafe { crate::signal::user::call(number, args) }?)
}

/// The same, with a token in `a6`: with `abi::asyncos::ASYNC` in the number nobody waits for it.
#[inline]
pub fn syscall_with_token(number: usize, args: [usize; 6], token: u64) -> isize {
    // SAFETY: as above; also what it does to memory later.
    unsafe { crate::sys::ecall_with_token(number, args, token) }
}

/// The file behind a descriptor that a bare call returned; it closes itself.
#[must_use]
pub fn file(fd: usize) -> crate::fs::File {
    crate::fs::File::from(crate::sys::OwnedFd::new(fd))
}

/// The same, where it is the end of a connection.
pub fn tcp_stream(fd: usize) -> crate::net::TcpStream {
    crate::net::TcpStream::of(crate::sys::OwnedFd::new(fd))
}

macro_rules! accesses {
    ($($(#[$doc:meta])* $load:ident $store:ident $ty:ty, $l:literal $s:literal;)*) => {$(
        $(#[$doc])*
        #[inline]
        #[must_use]
        pub fn $load(address: usize) -> $ty {
            let value: usize;
            // SAFETY: a load; where it must not happen, the kernel ends the process, which is what is tested.
            unsafe { asm!(concat!($l, " {}, 0({})"), out(reg) value, in(reg) address, options(nostack)) };
            value as $ty
        }

        /// The store that belongs to it.
        #[inline]
        pub fn $store(address: usize, value: $ty) {
            // SAFETY: the caller owns what lies there (module head), or wants to be ended.
            unsafe { asm!(concat!($s, " {}, 0({})"), in(reg) value as usize, in(reg) address, options(nostack)) };
        }
    )*};
}

accesses! {
    /// Loads a byte.
    load8 store8 u8, "lbu" "sb";
    /// Loads a word of eight bytes, at a multiple of eight.
    load64 store64 u64, "ld" "sd";
}

/// The word at `address`, a multiple of four that stays mapped.
#[must_use]
pub fn atomic(address: usize) -> &'static AtomicU32 {
    // SAFETY: the caller maps the word for good (module head); it is only used atomically.
    unsafe { &*(address as *const AtomicU32) }
}

/// `len` bytes at `address`, which the caller mapped and which nothing else refers to.
#[must_use]
pub fn bytes<'a>(address: usize, len: usize) -> &'a mut [u8] {
    // SAFETY: mapped, exclusive and long enough by the caller's word (module head); bytes need no alignment.
    unsafe { core::slice::from_raw_parts_mut(address as *mut u8, len) }
}

/// Calls the code at `address` as a C function.
pub fn call(address: usize, argument: usize) -> usize {
    let result;
    // SAFETY: the code keeps the C convention by the caller's word, or ends the process.
    unsafe {
        asm!("jalr {}", in(reg) address, inlateout("a0") argument => result, clobber_abi("C"));
    }
    result
}

/// Takes exceptions ([`crate::uintr::traps::take`]); the handler keeps the rules that are told there.
///
/// # Errors
/// As there.
pub fn take_traps<H: Fn(&Trapped) -> Next + Sync>(
    receiver: &Receiver,
    causes: Causes,
    handler: &'static H,
) -> crate::io::Result<()> {
    // SAFETY: the caller's word (module head).
    unsafe { crate::uintr::traps::take(receiver, causes, handler) }
}

/// A receiver, for its own handlers, which run in its thread.
#[derive(Default)]
pub struct InHandlers(AtomicPtr<Receiver>);

impl InHandlers {
    /// From now on they have it, for as long as it is there.
    pub fn set(&self, receiver: &Receiver) {
        // Relaxed: they are this thread's.
        self.0.store(core::ptr::from_ref(receiver).cast_mut(), Ordering::Relaxed);
    }

    /// What one does with it, if it has been set.
    pub fn with<T>(&self, act: impl FnOnce(&Receiver) -> T) -> Option<T> {
        // SAFETY: handlers run while it is there; that this is one, in its thread, is the caller's word (module head).
        unsafe { self.0.load(Ordering::Relaxed).as_ref() }.map(act)
    }
}

/// Has `handler` serve a user interrupt ([`crate::uintr::Handlers::on`]); it keeps the rules that are told there.
#[must_use]
pub fn on<H: Fn(u32) + Sync>(handlers: Handlers, vector: u32, handler: &'static H) -> Handlers {
    // SAFETY: the caller's word (module head).
    unsafe { handlers.on(vector, handler) }
}

/// The same for [`crate::uintr::Handlers::on_without_floats`].
#[must_use]
pub fn on_without_floats<H: Fn(u32) + Sync>(handlers: Handlers, vector: u32, handler: &'static H) -> Handlers {
    // SAFETY: the caller's word (module head).
    unsafe { handlers.on_without_floats(vector, handler) }
}

/// The same for [`crate::uintr::Handlers::nesting`].
#[must_use]
pub fn on_nesting<H: Fn(u32, &Nesting) + Sync>(handlers: Handlers, vector: u32, handler: &'static H) -> Handlers {
    // SAFETY: the caller's word (module head).
    unsafe { handlers.nesting(vector, handler) }
}

/// Has `handler` run for a signal ([`crate::signal::user::Signals::handle`]); it keeps the rules that are told there.
///
/// # Errors
/// As there.
pub fn handle_signal(
    signals: &Signals,
    signal: u32,
    how: (Flags, u64),
    handler: &'static Handler,
) -> crate::io::Result<()> {
    // SAFETY: the caller's word (module head).
    unsafe { signals.handle(signal, how.0, how.1, handler) }
}

/// Raises a breakpoint exception.
pub fn breakpoint() {
    // SAFETY: a handler goes on behind it and keeps all registers, or the process ends.
    unsafe { asm!("ebreak", options(nostack)) };
}

/// The `time` register.
#[inline]
#[must_use]
pub fn time() -> u64 {
    let value: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("csrr {}, time", out(reg) value, options(nostack)) };
    value
}

/// The `instret` register: instructions of this hart, in whatever mode. A kernel may forbid reading it.
#[inline]
#[must_use]
pub fn instret() -> u64 {
    let value: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("csrr {}, instret", out(reg) value, options(nostack)) };
    value
}

/// Marks the begin of what a plugin of the emulator counts. To everybody else it does nothing: a hint of the architecture.
#[inline(never)]
pub fn mark_begin() {
    // SAFETY: its destination is the zero register.
    unsafe { asm!("slti x0, x0, 0x5a1", options(nostack)) };
}

/// Marks the end.
#[inline(never)]
pub fn mark_end() {
    // SAFETY: as above.
    unsafe { asm!("slti x0, x0, 0x5a2", options(nostack)) };
}

/// Makes code that was written visible to this hart.
pub fn fence_i() {
    // SAFETY: orders instruction fetches after stores, nothing else.
    unsafe { asm!("fence.i", options(nostack)) };
}

/// Fills all floating-point registers from a seed, executes the instructions given, and says how the registers differ then.
macro_rules! holding_floats {
    ($seed:ident, $difference:ident, [$($between:literal),*], $($operands:tt)*) => {
        asm!(
            "mv t0, {seed}",
            ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "fmv.d.x f\\r, t0",
            "addi t0, t0, 1",
            ".endr",
            $($between,)*
            "mv t0, {seed}",
            "li t2, 0",
            ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "fmv.x.d t1, f\\r",
            "xor t1, t1, t0",
            "or t2, t2, t1",
            "addi t0, t0, 1",
            ".endr",
            seed = in(reg) $seed,
            $($operands)*
            out("t0") _, out("t1") _, lateout("t2") $difference,
            out("f0") _, out("f1") _, out("f2") _, out("f3") _, out("f4") _, out("f5") _, out("f6") _, out("f7") _,
            out("f8") _, out("f9") _, out("f10") _, out("f11") _, out("f12") _, out("f13") _, out("f14") _,
            out("f15") _, out("f16") _, out("f17") _, out("f18") _, out("f19") _, out("f20") _, out("f21") _,
            out("f22") _, out("f23") _, out("f24") _, out("f25") _, out("f26") _, out("f27") _, out("f28") _,
            out("f29") _, out("f30") _, out("f31") _,
            options(nostack),
        )
    };
}

/// Fills all floating-point registers from `seed`, counts to `rounds`, and returns how the registers differ then: 0.
#[must_use]
pub fn hold_floats(seed: u64, rounds: u64) -> u64 {
    let difference: u64;
    // SAFETY: every register that is changed is named as clobbered.
    unsafe {
        holding_floats!(
            seed,
            difference,
            ["2: addi {rounds}, {rounds}, -1", "bgtz {rounds}, 2b"],
            rounds = inout(reg) rounds => _,
        );
    }
    difference
}

/// Fills all floating-point registers from `seed`, gives way `yields` times, makes call `number` with `argument` and otherwise 0, and returns
/// how the registers differ then: 0; and what the call has answered.
#[must_use]
pub fn hold_floats_over_calls(seed: u64, yields: u64, [number, argument]: [usize; 2]) -> (u64, isize) {
    let (difference, answer): (u64, isize);
    // SAFETY: every register that is changed is named as clobbered; the calls do nothing to memory that the caller knows of.
    unsafe {
        holding_floats!(
            seed,
            difference,
            [
                "2: blez {yields}, 3f",
                "li a7, {SCHED_YIELD}",
                "ecall",
                "addi {yields}, {yields}, -1",
                "j 2b",
                "3: mv a0, {argument}",
                "mv a7, {number}",
                "ecall"
            ],
            yields = inout(reg) yields => _,
            number = in(reg) number,
            argument = in(reg) argument,
            SCHED_YIELD = const abi::nr::SCHED_YIELD,
            inout("a1") 0usize => _, inout("a2") 0usize => _, inout("a3") 0usize => _, inout("a4") 0usize => _,
            lateout("a0") answer, out("a7") _,
        );
    }
    (difference, answer)
}

/// The rounding mode of the thread.
#[must_use]
pub fn rounding() -> usize {
    let mode;
    // SAFETY: reads a register.
    unsafe { asm!(".option push", ".option arch, +f", "frrm {}", ".option pop", out(reg) mode, options(nostack)) };
    mode
}

/// Sets it, 0 to 3; the program computes with no numbers that are rounded.
pub fn set_rounding(mode: usize) {
    // SAFETY: it concerns what is rounded alone.
    unsafe { asm!(".option push", ".option arch, +f", "fsrm {}", ".option pop", in(reg) mode & 3, options(nostack)) };
}

/// The same for the integer registers that a compiler leaves to assembly.
#[must_use]
pub fn hold_integers(seed: u64, rounds: u64) -> u64 {
    let difference: u64;
    // SAFETY: every register that is changed is named as clobbered.
    unsafe {
        asm!(
            "mv t0, a0",
            ".irp r,t3,t4,t5,t6,a2,a3,a4,a5,a6,a7,s2,s3,s4,s5,s6,s7,s8,s9,s10,s11",
            "mv \\r, t0",
            "addi t0, t0, 1",
            ".endr",
            "2: addi a1, a1, -1",
            "bgtz a1, 2b",
            "mv t0, a0",
            "li t2, 0",
            ".irp r,t3,t4,t5,t6,a2,a3,a4,a5,a6,a7,s2,s3,s4,s5,s6,s7,s8,s9,s10,s11",
            "xor t1, \\r, t0",
            "or t2, t2, t1",
            "addi t0, t0, 1",
            ".endr",
            in("a0") seed,
            inout("a1") rounds => _,
            out("t0") _, out("t1") _, lateout("t2") difference,
            out("t3") _, out("t4") _, out("t5") _, out("t6") _, out("a2") _, out("a3") _, out("a4") _, out("a5") _,
            out("a6") _, out("a7") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _, out("s6") _, out("s7") _,
            out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            options(nostack),
        );
    }
    difference
}

/// Makes a call that looks at no argument, with values from `seed` on in the same registers and those of arguments, and returns how these, and
/// the number, differ behind it: 0.
#[must_use]
pub fn hold_integers_over_call(number: usize, seed: u64) -> u64 {
    let (difference, kept): (u64, usize);
    // SAFETY: every register that is changed is named as clobbered; a call without arguments does nothing to memory.
    unsafe {
        asm!(
            "mv t0, s11",
            ".irp r,t3,t4,t5,t6,a1,a2,a3,a4,a5,a6,s2,s3,s4,s5,s6,s7,s8,s9,s10",
            "mv \\r, t0",
            "addi t0, t0, 1",
            ".endr",
            "ecall",
            "mv t0, s11",
            "li t2, 0",
            ".irp r,t3,t4,t5,t6,a1,a2,a3,a4,a5,a6,s2,s3,s4,s5,s6,s7,s8,s9,s10",
            "xor t1, \\r, t0",
            "or t2, t2, t1",
            "addi t0, t0, 1",
            ".endr",
            inout("s11") seed => _,
            inout("a7") number => kept,
            out("a0") _,
            out("t0") _, out("t1") _, lateout("t2") difference,
            out("t3") _, out("t4") _, out("t5") _, out("t6") _, out("a1") _, out("a2") _, out("a3") _, out("a4") _,
            out("a5") _, out("a6") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _, out("s6") _, out("s7") _,
            out("s8") _, out("s9") _, out("s10") _,
            options(nostack),
        );
    }
    difference | (kept ^ number) as u64
}

/// What `clone` is told beside the function to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clone {
    /// `CLONE_*` and the exit signal.
    pub flags: u64,
    /// Highest address of the child's stack, a multiple of 16.
    pub stack: usize,
    /// Where the child's id is stored.
    pub parent_tid: usize,
    /// The child's `tp`, with `CLONE_SETTLS`.
    pub tls: usize,
    /// The word that is cleared and woken when the child ends.
    pub child_tid: usize,
}

// rt_raw_clone(flags, stack, parent_tid, tls, child_tid, function, argument) -> pid or -errno. The child calls
// function(argument) on its stack, then exits with 0.
global_asm!(
    ".globl rt_raw_clone",
    "rt_raw_clone:",
    "li a7, {clone}",
    "ecall",
    "bnez a0, 1f",
    "mv ra, zero",
    "mv fp, zero",
    "mv a0, a6",
    "jalr a5",
    "li a0, 0",
    "li a7, {exit}",
    "ecall",
    "1: ret",
    clone = const abi::nr::CLONE,
    exit = const abi::nr::EXIT,
);

unsafe extern "C" {
    safe fn rt_raw_clone(
        flags: u64,
        stack: usize,
        parent: usize,
        tls: usize,
        child: usize,
        function: extern "C" fn(usize),
        argument: usize,
    ) -> isize;
}

/// `clone`: the child runs `function(argument)` on its own stack and exits with 0. Its id, or minus an error number.
pub fn clone_call(how: Clone, function: extern "C" fn(usize), argument: usize) -> isize {
    rt_raw_clone(how.flags, how.stack, how.parent_tid, how.tls, how.child_tid, function, argument)
}

/// The right behind a descriptor that a bare call returned.
#[must_use]
pub fn right(fd: usize) -> crate::uintr::Right {
    crate::uintr::Right::from_fd(crate::sys::OwnedFd::new(fd))
}

/// In world `vm`, in a thread with supervisor registers of its own: goes on in VU-mode, with `sstatus.SIE` clear, and keeps to it.
pub fn enter_user_mode() {
    // SAFETY: the next instruction in another mode, with the same memory and registers (module head).
    unsafe {
        asm!(
            "csrc sstatus, {bits}",
            "la   {at}, 1f",
            "csrw sepc, {at}",
            "sret",
            "1:",
            bits = in(reg) 0x100 | 0x20 | 0x2, // SPP, SPIE, SIE
            at = out(reg) _,
            options(nostack)
        );
    }
}
