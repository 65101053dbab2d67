//! Turning the machine off.

/// Powers off; `failed` makes the emulator exit with a failing status.
pub fn off(failed: bool) -> ! {
    #[cfg(target_os = "none")]
    {
        crate::console::flush();
        let error = riscv::sbi::reset(false, failed);
        log::error!("the firmware cannot power off ({error:?}); stopping");
        stop()
    }
    #[cfg(not(target_os = "none"))]
    panic!("power off (failed: {failed})")
}

/// Restarts the machine.
pub fn restart() -> ! {
    #[cfg(target_os = "none")]
    {
        crate::console::flush();
        let error = riscv::sbi::reset(true, false);
        log::error!("the firmware cannot restart ({error:?}); stopping");
        stop()
    }
    #[cfg(not(target_os = "none"))]
    panic!("restart")
}

#[cfg(target_os = "none")]
pub(crate) fn stop() -> ! {
    crate::arch::interrupts_off();
    loop {
        crate::arch::wait_for_interrupt();
    }
}
