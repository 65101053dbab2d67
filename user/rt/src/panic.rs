//! A panic prints where and why on standard error. In a task it ends that task ([`crate::task::metrics`] counts), if that can be
//! ended alone; else it writes out what is buffered and ends the process with the status of an abort.

use core::panic::PanicInfo;

/// 128 + SIGABRT, what a shell reports for an aborted program.
const STATUS: usize = 134;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    crate::task::end_task();
    crate::io::flush_if_free();
    loop {
        let _ = crate::sys::syscall!(EXIT_GROUP, STATUS);
    }
}
