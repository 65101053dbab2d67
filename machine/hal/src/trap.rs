//! Traps: interrupts from anywhere, and exceptions of the kernel itself.

use crate::hart::{self, Local};
use crate::record::record;
use crate::{arch, irq, kernel_table, stack, time};
use core::sync::atomic::Ordering::Relaxed;
use riscv::context::sstatus;
use trace::{Event, Source};

const INTERRUPT: usize = 1 << 63;

/// Serves one interrupt, with interrupts off. `cause` is without the top bit.
pub(crate) fn interrupt(local: &Local, cause: usize) {
    // Handlers take locks of their own from the bottom of the order: what they interrupted does not count.
    let held = local.held.swap(0, Relaxed);
    local.in_interrupt.store(true, Relaxed);
    // Nor is it the interrupted coroutine that a handler wakes others for.
    let interrupted = local.coroutine.swap(0, Relaxed);
    match cause {
        1 => irq::software(),
        5 => {
            record(|| Event::Interrupt { source: Source::Timer });
            time::alarm();
        }
        9 => irq::external(local.index.load(Relaxed)),
        riscv::guest_file::SGEI => crate::guest_file::interrupt(local.index.load(Relaxed)),
        // Others are not enabled; a spurious one is not worth stopping the machine for.
        _ => {}
    }
    // Among the locks of this interrupt, not those of what it has interrupted.
    crate::space::wake_shootdowns();
    local.coroutine.store(interrupted, Relaxed);
    local.in_interrupt.store(false, Relaxed);
    local.held.store(held, Relaxed);
}

/// A trap while the kernel ran, on the running stack. `frame` holds the interrupted registers.
#[unsafe(no_mangle)]
extern "C" fn kernel_trap(cause: usize, value: usize, frame: &mut KernelFrame) {
    let local = arch::local();
    record(|| Event::Trap { task: hart::coroutine(), cause: cause as u64, user: false });
    if cause & INTERRUPT == 0 {
        exception(cause, value, frame);
    }
    // The interrupted code may be on its way to user mode, past its last look at what this interrupt brought.
    local.leave.store(true, Relaxed);
    interrupt(local, cause & !INTERRUPT);
    // SPIE says whether interrupts were on where this one struck. `idle_unless` handles its interrupt with
    // preemption allowed too: its caller picks what became ready.
    if frame.status & sstatus::SPIE != 0 && hart::preemptible() {
        preempt(local);
    }
}

/// Runs what is more urgent than the interrupted coroutine, on the next stack; then the latter goes on (P6).
fn preempt(local: &Local) {
    let Some((wanted, run)) = hart::preemption() else { return };
    let level = local.stack_level.load(Relaxed) + 1;
    if level >= stack::LEVELS || !wanted() {
        return;
    }
    local.stack_level.store(level, Relaxed);
    let top = stack::hart_stack_top(local.index.load(Relaxed), level);
    // SAFETY: the stack of this level is mapped and free: levels below it are interrupted, and this hart
    // alone uses its stacks.
    unsafe { riscv::resident::call_on_stack(run as usize, run_preempting, top) };
    crate::kernel_table::return_to_kernel();
    local.stack_level.store(level - 1, Relaxed);
    // Threads that ran meanwhile have taken the notice for themselves.
    local.leave.store(true, Relaxed);
}

extern "C" fn run_preempting(run: usize) {
    // SAFETY: `preempt` passes the function that `preemption()` returned.
    let run = unsafe { core::mem::transmute::<usize, fn()>(run) };
    arch::interrupts_on();
    run();
    arch::interrupts_off();
}

/// Registers that `kernel_vector` saves: caller-saved ones, then where to return.
#[repr(C)]
pub(crate) struct KernelFrame {
    scratch: [usize; 16],
    pub(crate) pc: usize,
    pub(crate) status: usize,
}

const _: () = assert!(size_of::<KernelFrame>() == riscv::resident::KERNEL_FRAME);

fn exception(cause: usize, value: usize, frame: &KernelFrame) -> ! {
    panic!(
        "kernel exception: {} (cause {cause}) at {:#x}, address {value:#x}, ra {:#x}, satp {:#x}",
        exception_name(cause),
        frame.pc,
        frame.scratch[0],
        kernel_table::current()
    );
}

fn exception_name(cause: usize) -> &'static str {
    match cause {
        0 => "misaligned instruction",
        1 => "instruction access fault",
        2 => "illegal instruction",
        3 => "breakpoint",
        4 | 6 => "misaligned access",
        5 | 7 => "access fault",
        12 => "instruction page fault",
        13 => "load page fault",
        15 => "store page fault",
        _ => "unknown",
    }
}

#[unsafe(no_mangle)]
extern "C" fn kernel_stack_overflow(cause: usize, stack: usize, pc: usize) -> ! {
    panic!("kernel stack overflow: stack pointer {stack:#x}, pc {pc:#x}, cause {cause}");
}

#[unsafe(no_mangle)]
extern "C" fn early_trap(cause: usize, pc: usize, value: usize) -> ! {
    panic!("exception during boot: {} (cause {cause}) at {pc:#x}, address {value:#x}", exception_name(cause));
}
