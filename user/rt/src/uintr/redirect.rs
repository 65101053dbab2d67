//! Has a thread call a function before it goes on with what an interrupt has interrupted: on its own stack, and with interrupts at its disposal, which
//! a handler's are not.
//!
//! ```text
//!   interrupted ... entry, handler: redirect ... entry's return
//!        |                                          v
//!        |                               trampoline: keeps what a call may change in a frame below the
//!        |                               stack pointer, calls, loads it again
//!        v  <----------------------------------------+   the backend's return from an interrupt
//!   goes on
//! ```
//!
//! Interrupts are off from the handler to the function's first line, and from its last one to where the thread goes on: so the frames of two are never both being made.

use super::interrupted::{Interrupted, SPIE, SPP, UPIE};
use super::{Block, Receiver};
use abi::uintr as at;
use core::arch::global_asm;
use core::mem::offset_of;

/// What a thread goes on with.
#[repr(C, align(16))]
pub(crate) struct Frame {
    integers: [usize; 16],
    floats: [u64; 20],
    fcsr: usize,
    /// The thread has used floating point.
    has_floats: usize,
    pc: usize,
    sp: usize,
    data: *const (),
    call: Call,
    /// For the backend `SOFT`.
    pages: *const u8,
    block: *const Block,
}

/// What is called, with interrupts off, in which state it returns.
pub(crate) type Call = unsafe extern "C" fn(*const (), &mut Frame);

/// Place of `a0` and `a7` in `integers`.
const A0: usize = 4;
const A7: usize = 11;

impl Frame {
    /// Has the system call instruction at `pc`, if that is what was interrupted, answer this instead of being made.
    pub(crate) fn answer_at(&mut self, pc: usize, answer: isize) {
        if self.pc == pc {
            self.pc += 4;
            self.integers[A0] = answer as usize;
        }
    }

    /// The call that has this frame comes back in the thread of that receiver, whichever it began in, with interrupts off: where it is to jump to, instead of
    /// returning.
    pub(crate) fn go_on_by(&mut self, receiver: &Receiver) -> usize {
        // SAFETY: it is there as long as the thread.
        self.pages = unsafe { (*receiver.block).pages };
        self.block = receiver.block;
        let code = match receiver.backend {
            at::AIA => uintr_called,
            at::NUINTC => uintr_called_nuintc,
            _ => uintr_called_soft,
        } as unsafe extern "C" fn();
        code as *const () as usize
    }
}

/// Where the thread was interrupted, and its stack pointer.
///
/// # Safety
/// Called by a handler of this receiver's.
pub(crate) unsafe fn interrupted(receiver: &Receiver) -> (usize, usize) {
    // SAFETY: the caller's promise.
    let interrupted = unsafe { Interrupted::of(receiver.backend, receiver.block) };
    (interrupted.pc(), interrupted.sp())
}

/// Has the interrupted thread call `call(data)` before it goes on. Once for an interrupt, how often it may be asked. `false`: the thread is in a mode that cannot.
///
/// # Safety
/// Called by a handler of this receiver's. The call may come between any two instructions of the thread, whose stack has room for it.
pub(crate) unsafe fn redirect(receiver: &Receiver, call: Call, data: *const ()) -> bool {
    // SAFETY: the caller is a handler of this receiver's.
    let interrupted = unsafe { Interrupted::of(receiver.backend, receiver.block) };
    let (pc, trampoline) = (interrupted.pc(), trampoline(receiver.backend));
    if pc == trampoline {
        return true;
    }
    let Some(has_floats) = interrupted.close() else { return false };
    let sp = interrupted.sp();
    let frame = ((sp - size_of::<Frame>()) & !15) as *mut Frame;
    // SAFETY: below the thread's stack pointer, thus nobody's; there is room by the caller's promise.
    unsafe {
        (&raw mut (*frame).pc).write(pc);
        (&raw mut (*frame).sp).write(sp);
        (&raw mut (*frame).has_floats).write(usize::from(has_floats));
        (&raw mut (*frame).data).write(data);
        (&raw mut (*frame).call).write(call);
        (&raw mut (*frame).pages).write((*receiver.block).pages);
        (&raw mut (*frame).block).write(receiver.block);
    }
    interrupted.go_on(trampoline, frame as usize);
    true
}

/// Where a thread goes on that is redirected.
fn trampoline(backend: usize) -> usize {
    let code = match backend {
        at::AIA => uintr_trampoline,
        at::NUINTC => uintr_trampoline_nuintc,
        _ => uintr_trampoline_soft,
    } as unsafe extern "C" fn();
    code as *const () as usize
}

unsafe extern "C" {
    fn uintr_trampoline();
    fn uintr_trampoline_nuintc();
    fn uintr_trampoline_soft();
    fn uintr_called();
    fn uintr_called_nuintc();
    fn uintr_called_soft();
}

// The stack pointer is the frame's address; all other registers are the thread's.
global_asm!(
    r#"
    .macro each_integer operation
        \operation ra, 0(sp)
        \operation t0, 8(sp)
        \operation t1, 16(sp)
        \operation t2, 24(sp)
        \operation a0, 32(sp)
        \operation a1, 40(sp)
        \operation a2, 48(sp)
        \operation a3, 56(sp)
        \operation a4, 64(sp)
        \operation a5, 72(sp)
        \operation a6, 80(sp)
        \operation a7, 88(sp)
        \operation t3, 96(sp)
        \operation t4, 104(sp)
        \operation t5, 112(sp)
        \operation t6, 120(sp)
    .endm
    .macro each_of_floats operation
        \operation ft0, 128(sp)
        \operation ft1, 136(sp)
        \operation ft2, 144(sp)
        \operation ft3, 152(sp)
        \operation ft4, 160(sp)
        \operation ft5, 168(sp)
        \operation ft6, 176(sp)
        \operation ft7, 184(sp)
        \operation fa0, 192(sp)
        \operation fa1, 200(sp)
        \operation fa2, 208(sp)
        \operation fa3, 216(sp)
        \operation fa4, 224(sp)
        \operation fa5, 232(sp)
        \operation fa6, 240(sp)
        \operation fa7, 248(sp)
        \operation ft8, 256(sp)
        \operation ft9, 264(sp)
        \operation ft10, 272(sp)
        \operation ft11, 280(sp)
    .endm
    .macro call_from_frame
        each_integer sd
        ld    t0, {has_floats}(sp)
        beqz  t0, 1f
        each_of_floats fsd
        csrr  t0, fcsr
        sd    t0, {fcsr}(sp)
1:      ld    a0, {data}(sp)
        ld    t0, {call}(sp)
        mv    a1, sp
        jalr  t0
    .endm
    .macro load_of_floats
        ld    t0, {has_floats}(sp)
        beqz  t0, 2f
        ld    t0, {fcsr}(sp)
        csrw  fcsr, t0
        each_of_floats fld
2:
    .endm

    .pushsection .text.uintr_trampoline, "ax"
    .option push
    .option arch, +m, +a, +d
    .balign 4
    .globl uintr_trampoline
uintr_trampoline:
    call_from_frame
    .globl uintr_called
uintr_called:
    load_of_floats
    ld    t0, {pc}(sp)
    csrw  sepc, t0
    li    t0, {spp_and_spie}
    csrs  sstatus, t0
    each_integer ld
    ld    sp, {sp}(sp)
    sret

    .balign 4
    .globl uintr_trampoline_nuintc
uintr_trampoline_nuintc:
    call_from_frame
    .globl uintr_called_nuintc
uintr_called_nuintc:
    load_of_floats
    ld    t0, {pc}(sp)
    csrw  0x041, t0
    csrsi 0x000, {upie}
    each_integer ld
    ld    sp, {sp}(sp)
    .word 0x00200073                # uret

    // As if the kernel had entered a handler: the return from it swaps the stack pointer and loads a7.
    .balign 4
    .globl uintr_trampoline_soft
uintr_trampoline_soft:
    call_from_frame
    .globl uintr_called_soft
uintr_called_soft:
    load_of_floats
    ld    t0, {pages}(sp)
    ld    t1, {pc}(sp)
    sd    t1, {epc}(t0)
    ld    t1, {sp}(sp)
    sd    t1, {scratch}(t0)
    ld    t1, {a7}(sp)
    sd    t1, {saved_a7}(t0)
    li    t1, {before}
    sw    t1, {status}(t0)
    each_integer ld
    ld    sp, {block}(sp)
    li    a7, {resume}
    ecall                           # does not come back
    unimp
    .option pop
    .popsection
"#,
    has_floats = const offset_of!(Frame, has_floats),
    fcsr = const offset_of!(Frame, fcsr),
    data = const offset_of!(Frame, data),
    call = const offset_of!(Frame, call),
    pc = const offset_of!(Frame, pc),
    sp = const offset_of!(Frame, sp),
    pages = const offset_of!(Frame, pages),
    block = const offset_of!(Frame, block),
    a7 = const A7 * 8,
    spp_and_spie = const SPP | SPIE,
    upie = const UPIE,
    epc = const at::EPC,
    scratch = const at::SCRATCH,
    saved_a7 = const at::SAVED_A7,
    before = const at::BEFORE,
    status = const at::STATUS,
    resume = const at::RETURN,
);

const _: () = assert!(offset_of!(Frame, integers) == 0 && offset_of!(Frame, floats) == 128);
