//! Saving and restoring floating-point registers of user programs. The kernel itself uses none.

use crate::context::FloatingPoint;
use core::arch::{asm, naked_asm};

macro_rules! each_register {
    ($operation:literal) => {
        concat!(
            $operation,
            " f0, 0(a0)\n",
            $operation,
            " f1, 8(a0)\n",
            $operation,
            " f2, 16(a0)\n",
            $operation,
            " f3, 24(a0)\n",
            $operation,
            " f4, 32(a0)\n",
            $operation,
            " f5, 40(a0)\n",
            $operation,
            " f6, 48(a0)\n",
            $operation,
            " f7, 56(a0)\n",
            $operation,
            " f8, 64(a0)\n",
            $operation,
            " f9, 72(a0)\n",
            $operation,
            " f10, 80(a0)\n",
            $operation,
            " f11, 88(a0)\n",
            $operation,
            " f12, 96(a0)\n",
            $operation,
            " f13, 104(a0)\n",
            $operation,
            " f14, 112(a0)\n",
            $operation,
            " f15, 120(a0)\n",
            $operation,
            " f16, 128(a0)\n",
            $operation,
            " f17, 136(a0)\n",
            $operation,
            " f18, 144(a0)\n",
            $operation,
            " f19, 152(a0)\n",
            $operation,
            " f20, 160(a0)\n",
            $operation,
            " f21, 168(a0)\n",
            $operation,
            " f22, 176(a0)\n",
            $operation,
            " f23, 184(a0)\n",
            $operation,
            " f24, 192(a0)\n",
            $operation,
            " f25, 200(a0)\n",
            $operation,
            " f26, 208(a0)\n",
            $operation,
            " f27, 216(a0)\n",
            $operation,
            " f28, 224(a0)\n",
            $operation,
            " f29, 232(a0)\n",
            $operation,
            " f30, 240(a0)\n",
            $operation,
            " f31, 248(a0)\n"
        )
    };
}

/// Stores all floating-point registers of this hart.
///
/// # Safety
/// `sstatus.FS` is not off, and the hart has the D extension.
#[unsafe(naked)]
pub unsafe extern "C" fn save(to: &mut FloatingPoint) {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        each_register!("fsd"),
        "frcsr t0",
        "sw t0, 256(a0)",
        ".option pop",
        "ret"
    )
}

/// Loads all floating-point registers of this hart.
///
/// # Safety
/// `sstatus.FS` is not off, and the hart has the D extension.
#[unsafe(naked)]
pub unsafe extern "C" fn restore(from: &FloatingPoint) {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        each_register!("fld"),
        "lw t0, 256(a0)",
        "fscsr t0",
        ".option pop",
        "ret"
    )
}

/// `fcsr` of this hart: rounding mode and accrued exceptions.
///
/// # Safety
/// As [`save`].
#[inline]
pub unsafe fn control() -> u32 {
    let control: usize;
    // SAFETY: reads a register, which is there by contract.
    unsafe {
        asm!(".option push", ".option arch, +d", "frcsr {}", ".option pop", out(reg) control, options(nomem, nostack));
    }
    control as u32
}
