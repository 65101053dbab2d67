//! Where user interrupts arrive: one entry for each backend, and one for threads that take exceptions, too.

use super::{PAGE, traps};
use abi::uintr as at;
use core::arch::global_asm;

/// Bytes below the block in which the entries keep what they have interrupted; the last eight for the way back.
pub(super) const FRAME: usize = 320;

// The last eight bytes lie behind `fcsr`, the last that `save_floats` keeps.
const _: () = assert!(FRAME - 8 >= 304 + 8);

unsafe extern "C" {
    pub(super) fn uintr_entry_trap();
    pub(super) fn uintr_entry();
    pub(super) fn uintr_entry_nuintc();
    pub(super) fn uintr_entry_soft();
    /// Has the thread handle what is pending, as if the kernel had entered the handler where this was called; whether interrupts are on behind that: else they are off, as before.
    ///
    /// # Safety
    /// The block is the calling thread's, whose interrupts are off; by backend `SOFT`.
    pub(super) fn uintr_enter_soft(block: *const ()) -> bool;
}

// Takes the number and the word of each slot that was rung, and serves the vectors in them, the lowest first. What is sent then interrupts again behind the `sret`.
// The callee-saved registers that it uses: s0, the block; s1, negative if floating-point registers were saved: there is a handler that may use them, and the thread has.
global_asm!(
    r#"
    .macro each_kept operation
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
        \operation s0, 128(sp)
        \operation s1, 136(sp)
    .endm
    .macro each_float operation
        \operation ft0, 144(sp)
        \operation ft1, 152(sp)
        \operation ft2, 160(sp)
        \operation ft3, 168(sp)
        \operation ft4, 176(sp)
        \operation ft5, 184(sp)
        \operation ft6, 192(sp)
        \operation ft7, 200(sp)
        \operation fa0, 208(sp)
        \operation fa1, 216(sp)
        \operation fa2, 224(sp)
        \operation fa3, 232(sp)
        \operation fa4, 240(sp)
        \operation fa5, 248(sp)
        \operation fa6, 256(sp)
        \operation fa7, 264(sp)
        \operation ft8, 272(sp)
        \operation ft9, 280(sp)
        \operation ft10, 288(sp)
        \operation ft11, 296(sp)
    .endm

    // Serves the vectors in t0, which are not none, the lowest first.
    .macro serve_all
2:  neg   t1, t0
    and   t1, t1, t0                # the most urgent vector's bit
    xor   t0, t0, t1
    sd    t0, 8(s0)
    ld    t2, 24(s0)                # sequence
    mul   t1, t1, t2
    srli  t1, t1, 58
    add   t1, t1, s0
    lbu   a1, 32(t1)                # numbers
    slli  t1, a1, 4
    add   t1, t1, s0
    ld    a0, 96(t1)                # handlers
    ld    t1, 104(t1)
    jalr  t1
    ld    t0, 8(s0)
    bnez  t0, 2b
    .endm
    // Takes what was sent by slot t0, which is 1 to 63, and was granted to it (`abi::uintr`): vectors, in t0.
    .macro take_slot
    ld    t1, 0(s0)                 # pages
    slli  t2, t0, 4
    add   t2, t2, t1                # the slot's entry
    slli  t0, t0, 12
    add   t1, t1, t0                # its word
9:  lw    t3, 8(t2)                 # change
    fence r, r
    ld    t4, 0(t2)                 # granted
    ld    t5, 0(t1)
    fence r, r
    lw    t6, 8(t2)
    bne   t3, t6, 9b
    and   t0, t4, t5
    not   t5, t0
    amoand.d.aq zero, t5, (t1)      # pairs with the sender's release
    .endm
    // Takes the slots that were rung beside the first, a2 being the next one's number: vectors, in t0, with those that are there.
    // Numbers are claimed in ascending order. One that is not above the one before it has been rung since, and ends this: ringing for ever keeps no handler off.
    .macro take_others claim
    mv    a3, t0
    li    a4, 0
6:  fence io, rw
    mv    t0, a2
    take_slot
    or    a3, a3, t0
    bgeu  a4, a2, 7f
    mv    a4, a2
    \claim
    bnez  a2, 6b
7:  mv    t0, a3
    .endm
    .macro claim_file
    csrrw a2, 0x15c, zero           # stopei: the most urgent number, in bits 16 and up
    srli  a2, a2, 16
    .endm
    .macro claim_controller
    lw    a2, 0(a5)
    .endm
    .macro save_floats
    each_float fsd
    csrr  t2, fcsr
    sd    t2, 304(sp)
    .endm
    .macro keep_floats_soft
    ld    s1, 0(s0)                 # pages
    lwu   s1, {status}(s1)
    slli  s1, s1, {floats}
    bgez  s1, 8f
    save_floats
8:
    .endm
    .macro load_floats
    ld    t0, 304(sp)
    csrw  fcsr, t0
    each_float fld
    .endm

    .pushsection .text.uintr_entry, "ax"
    .option push
    .option arch, +m, +a, +d
    // For a thread that takes exceptions, too. Not by a vector: OpenSBI hands illegal instructions on to `stvec` with the mode's bits in it.
    .balign 4
    .globl uintr_entry_trap
uintr_entry_trap:
    csrrw sp, sscratch, sp
    addi  sp, sp, -{frame}
    each_kept sd
    addi  s0, sp, {frame}
    csrr  a1, scause
    bltz  a1, 7f                    # an interrupt
    csrr  a4, sstatus
    slli  s1, a4, 49
    bgez  s1, 1f
    save_floats
1:  mv    a0, s0
    csrr  a2, stval
    csrr  a3, sepc
    call  uintr_trapped
    csrw  sepc, a0
    bgez  s1, 2f
    load_floats
2:  each_kept ld
    addi  sp, sp, {frame}
    csrrw sp, sscratch, sp
    sret

    .balign 4
    .globl uintr_entry
uintr_entry:
    csrrw sp, sscratch, sp
    addi  sp, sp, -{frame}
    each_kept sd
    addi  s0, sp, {frame}
7:  li    s1, 0
    csrrw t0, 0x15c, zero           # stopei: the most urgent number, in bits 16 and up
    srli  t0, t0, 16
    beqz  t0, 4f                    # else 1 to 63: no other is enabled
    fence io, rw                    # what is set in the word behind the claim is told of again
    take_slot
    csrrw a2, 0x15c, zero
    bnez  a2, .Luintr_others        # in bits 16 and up, as above
.Luintr_taken:
    beqz  t0, 4f                    # nothing is pending from before: the loop below ends with that
1:  ld    t2, 1120(s0)              # handlers that may use floating point
    and   t2, t2, t0
    bnez  t2, 5f
    serve_all
    bltz  s1, 6f
3:  each_kept ld
    addi  sp, sp, {frame}
    csrrw sp, sscratch, sp
    sret
4:  mv    a0, s0
    call  uintr_look
    ld    t0, 8(s0)
    bnez  t0, 1b
    j     3b
5:  csrr  s1, sstatus
    slli  s1, s1, 49
    bgez  s1, 2b                    # FS is neither clean nor dirty
    save_floats
    j     2b
6:  load_floats
    j     3b
.Luintr_others:
    srli  a2, a2, 16
    take_others claim_file
    j     .Luintr_taken

    // The same by the CSRs of N, by number: uscratch 0x040, uepc 0x041, ucause 0x042, utval 0x043. For exceptions, too.
    .balign 4
    .globl uintr_entry_nuintc
uintr_entry_nuintc:
    csrrw sp, 0x040, sp
    addi  sp, sp, -{frame}
    each_kept sd
    addi  s0, sp, {frame}
    li    s1, 0
    csrr  a1, 0x042
    bgez  a1, 5f
    ld    t1, 0(s0)                 # pages
    li    t2, {claim}
    add   a5, t1, t2
    lw    t0, 0(a5)                 # 1 to 63, or none
    beqz  t0, 4f
    fence io, rw
    take_slot
    lw    a2, 0(a5)
    bnez  a2, .Luintr_others_nuintc
.Luintr_taken_nuintc:
    beqz  t0, 4f
1:  ld    t2, 1120(s0)              # handlers that may use floating point
    and   t2, t2, t0
    beqz  t2, 6f
    keep_floats_soft
6:  serve_all
3:  bgez  s1, 7f
    load_floats
7:  each_kept ld
    addi  sp, sp, {frame}
    csrrw sp, 0x040, sp
    .word 0x00200073                # uret
4:  mv    a0, s0
    call  uintr_look_nuintc
    ld    t0, 8(s0)
    bnez  t0, 1b
    j     3b
5:  keep_floats_soft
    mv    a0, s0
    csrr  a2, 0x043
    csrr  a3, 0x041
    li    a4, {before}              # the kernel enters where interrupts are on
    call  uintr_trapped
    csrw  0x041, a0
    j     3b
.Luintr_others_nuintc:
    take_others claim_controller
    j     .Luintr_taken_nuintc

    // The kernel has swapped the stack pointer and kept a7.
    .balign 4
    .globl uintr_entry_soft
uintr_entry_soft:
    addi  sp, sp, -{frame}
    each_kept sd
    addi  s0, sp, {frame}
    li    s1, 0
    ld    t0, 0(s0)                 # pages
    ld    a1, {cause}(t0)
    bgez  a1, 5f
    mv    a0, s0
    call  uintr_look_soft
    ld    t0, 8(s0)
    beqz  t0, 3f
    ld    t2, 1120(s0)              # handlers that may use floating point
    and   t2, t2, t0
    beqz  t2, 1f
    keep_floats_soft
1:  serve_all
3:  bgez  s1, 4f
    load_floats
4:  ld    t0, 0(s0)                 # pages: not there in a child that a handler has made by fork
    ld    t1, {epc}(t0)
    lla   t2, uintr_trampoline_soft
    beq   t1, t2, 6f
    lla   t2, .Luintr_entered
    beq   t1, t2, 7f
    each_kept ld
    addi  sp, sp, {frame}
    li    a7, {resume}
    ecall                           # does not come back
    unimp                           # but in a child that a handler has made and that shares its memory, or has mapped the page's hole
    // What goes on is in the program, and with interrupts off (`redirect`): so it needs no kernel. As `resume` would have left the page.
6:  ld    t1, {scratch}(t0)
    sd    t1, {frame} - 8(sp)
    sd    s0, {scratch}(t0)
    li    t1, {resumed}
    sw    t1, {status}(t0)
    each_kept ld
    ld    sp, {frame} - 8(sp)
    j     uintr_trampoline_soft
7:  ld    t1, {scratch}(t0)         # likewise
    sd    t1, {frame} - 8(sp)
    sd    s0, {scratch}(t0)
    each_kept ld
    ld    sp, {frame} - 8(sp)
    li    a0, 0
    ret

    // Behind a call nothing is kept but what a call keeps: of floating point `fcsr`, which the caller sees to.
    .balign 4
    .globl uintr_enter_soft
uintr_enter_soft:
    ld    t0, 0(a0)                 # pages
    li    t1, {resumed}
    sw    t1, {status}(t0)
    li    t1, -1
    slli  t1, t1, 63
    sd    t1, {cause}(t0)
    lla   t1, .Luintr_entered
    sd    t1, {epc}(t0)
    sd    a7, {saved_a7}(t0)
    ld    t1, {scratch}(t0)
    sd    sp, {scratch}(t0)
    mv    sp, t1
    j     uintr_entry_soft
    // Here who was redirected comes back, by way of the kernel, which has let interrupts in.
.Luintr_entered:
    li    a0, 1
    ret
5:  keep_floats_soft
    mv    a0, s0
    ld    t0, 0(s0)
    ld    a2, {value}(t0)
    ld    a3, {epc}(t0)
    li    a4, {before}              # the kernel enters where interrupts are on
    call  uintr_trapped
    ld    t0, 0(s0)
    sd    a0, {epc}(t0)
    j     3b
    .option pop
    .popsection
"#,
    frame = const FRAME,
    claim = const at::CLAIM * PAGE,
    status = const at::STATUS,
    cause = const at::CAUSE,
    value = const at::VALUE,
    epc = const at::EPC,
    before = const traps::BEFORE,
    resumed = const at::BEFORE,
    scratch = const at::SCRATCH,
    saved_a7 = const at::SAVED_A7,
    floats = const 63 - at::FLOATS.trailing_zeros(),
    resume = const at::RETURN,
);
