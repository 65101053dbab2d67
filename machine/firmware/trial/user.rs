//! The programs of the trial, in user mode, and the way to them and back.

use core::arch::global_asm;

/// Where programs see memory: this much above its address.
pub const ALIAS: usize = 0x4000_0000;

/// A program's registers, and why it came back.
#[repr(C)]
#[derive(Clone, Default)]
pub struct Context {
    /// By their numbers; the first holds the kernel's stack meanwhile.
    pub registers: [usize; 32],
    /// Where it goes on.
    pub pc: usize,
    /// `scause`.
    pub cause: usize,
    /// `stval`.
    pub value: usize,
    /// The kernel's trap vector while it runs.
    pub vector: usize,
}

/// A program.
pub type Program = unsafe extern "C" fn();

unsafe extern "C" {
    fn enter_user(context: *mut Context);
    fn back();
    fn posting();
    /// Sends to itself `a2` times: `a0` `send`, `a1` `claim`, `a3` the receiver, `a4` the sender. `s1` counts, `s2` what was not
    /// from that sender, `s5` instructions.
    pub fn to_itself();
    /// Answers each interrupt with one, until it has had `a2`; the same registers. Begins if `a5` is set.
    pub fn ping_pong();
    /// Calls the kernel `a2` times, which sends; the same registers, and `s6` is the kernel's `send`.
    pub fn called_back();
    /// Claims one for each interrupt and does nothing else, until it has had `a2`.
    pub fn claims_one();
    /// Takes a breakpoint itself; `s1` counts, `s3` is `ucause`.
    pub fn breaks();
    /// Loads from `a0`, then calls.
    pub fn loads();
    /// Loads 64 bits from `a0`.
    pub fn loads_twice();
    /// Stores `a1` to `a0`, loads it into `a2`, then calls.
    pub fn stores();
    /// Adds to `a0` atomically.
    pub fn adds();
    /// Reads `sideleg`.
    pub fn reads_sideleg();
    /// Executes what is no instruction.
    pub fn illegal();
}

impl Context {
    /// A program before its first instruction.
    pub fn new(program: Program, arguments: &[usize]) -> Self {
        let mut context = Context {
            pc: program as *const () as usize + ALIAS,
            vector: back as *const () as usize,
            ..Context::default()
        };
        context.registers[10..10 + arguments.len()].copy_from_slice(arguments);
        context
    }

    /// The same, with a kernel that sends whenever the program calls.
    pub fn posted(self) -> Self {
        Context { vector: posting as *const () as usize, ..self }
    }

    /// Runs it until a trap leads to the kernel.
    pub fn run(&mut self) {
        // SAFETY: the context is this hart's alone; the program reaches only what is mapped for user mode.
        unsafe { enter_user(self) };
    }
}

global_asm!(
    r#"
    .option push
    .option arch, +a
    .text
enter_user:                             # a0 = context
    addi sp, sp, -112
    sd   ra, 0(sp)
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11
    sd   s\n, 8*\n+8(sp)
    .endr
    sd   sp, 0(a0)
    csrw sscratch, a0
    ld   t0, 256(a0)
    csrw sepc, t0
    ld   t0, 280(a0)
    csrw stvec, t0
    li   t0, 0x120                      # SPP, SPIE
    csrc sstatus, t0
    .irp n,1,2,3,4,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld   x\n, 8*\n(a0)
    .endr
    ld   a0, 80(a0)
    sret
    .balign 4
back:
    csrrw a0, sscratch, a0
    .irp n,1,2,3,4,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd   x\n, 8*\n(a0)
    .endr
    csrr t0, sscratch
    sd   t0, 80(a0)
    csrr t0, sepc
    sd   t0, 256(a0)
    csrr t0, scause
    sd   t0, 264(a0)
    csrr t0, stval
    sd   t0, 272(a0)
    ld   sp, 0(a0)
    ld   ra, 0(sp)
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11
    ld   s\n, 8*\n+8(sp)
    .endr
    addi sp, sp, 112
    ret
    .balign 4
posting:                                # a kernel that sends on the program's behalf
    beqz a7, back
    csrr t0, sepc
    addi t0, t0, 4
    csrw sepc, t0
    sw   a3, 0(s6)
    sret

    .macro begin handler
    lla  t0, \handler
    csrw 0x005, t0                      # utvec
    csrwi 0x004, 1                      # uie
    li   s1, 0
    li   s2, 0
    csrsi 0x000, 1                      # ustatus
    rdinstret s4
    .endm
    .macro finish
    rdinstret s5
    sub  s5, s5, s4
    csrci 0x000, 1
    li   a7, 0
    ecall
    .endm
    .macro uret
    .word 0x00200073
    .endm

to_itself:
    begin counts
1:  sw   a3, 0(a0)
    addi a2, a2, -1
    bnez a2, 1b
    finish
called_back:
    begin counts
    li   a7, 1
1:  ecall
    addi a2, a2, -1
    bnez a2, 1b
    finish
ping_pong:
    begin answers
    beqz a5, 1f
    sw   a3, 0(a0)
1:  bltu s1, a2, 1b
    finish
claims_one:
    begin counts
1:  bltu s1, a2, 1b
    finish
    .balign 4
counts:
    lw   t0, 0(a1)
    addi s1, s1, 1
    beq  t0, a4, 1f
    addi s2, s2, 1
1:  uret
    .balign 4
answers:
    lw   t0, 0(a1)
    addi s1, s1, 1
    beq  t0, a4, 1f
    addi s2, s2, 1
1:  sw   a3, 0(a0)
    uret

breaks:
    begin skips
    .option push
    .option norvc
    ebreak
    ebreak
    .option pop
    finish
    .balign 4
skips:
    csrr s3, 0x042                      # ucause
    csrr t0, 0x041                      # uepc
    addi t0, t0, 4
    csrw 0x041, t0
    addi s1, s1, 1
    uret

loads:
    lwu  a2, 0(a0)
    ecall
loads_twice:
    ld   a2, 0(a0)
    ecall
stores:
    sw   a1, 0(a0)
    lw   a2, 0(a0)
    ecall
adds:
    amoadd.w a2, a1, (a0)
    ecall
reads_sideleg:
    csrr a2, 0x103
    ecall
illegal:
    .word 0xffffffff
    ecall
    .option pop
"#
);
