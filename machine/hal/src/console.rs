//! Output for the log and for last words.
//!
//! Until the console driver installs a sink, bytes go to the firmware's console one by one. A panic takes
//! the sink away again, because the driver's lock may be held by whoever panicked.

use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

static SINK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static EMERGENCY: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static FLUSH: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Installs where log text goes: `sink` in normal times, `emergency` (which must take no lock) in a panic,
/// and `flush`, which writes out what is buffered. Any context may call them.
pub fn set_sink(sink: fn(&[u8]), emergency: fn(&[u8]), flush: fn()) {
    FLUSH.store(flush as *mut (), Ordering::Relaxed);
    EMERGENCY.store(emergency as *mut (), Ordering::Relaxed);
    // Release pairs with the Acquire in `write`.
    SINK.store(sink as *mut (), Ordering::Release);
}

/// Writes log text.
pub fn write(bytes: &[u8]) {
    let sink = SINK.load(Ordering::Acquire);
    if sink.is_null() {
        early(bytes);
    } else {
        // SAFETY: only function pointers of this type are stored here.
        unsafe { core::mem::transmute::<*mut (), fn(&[u8])>(sink)(bytes) };
    }
}

/// Switches to the emergency sink, for a panic.
pub fn enter_emergency() {
    SINK.store(EMERGENCY.load(Ordering::Relaxed), Ordering::Release);
    FLUSH.store(core::ptr::null_mut(), Ordering::Relaxed);
}

/// Writes out what the driver has buffered.
pub fn flush() {
    let flush = FLUSH.load(Ordering::Relaxed);
    if !flush.is_null() {
        // SAFETY: only function pointers of this type are stored here.
        unsafe { core::mem::transmute::<*mut (), fn()>(flush)() };
    }
}

#[cfg(target_os = "none")]
fn early(bytes: &[u8]) {
    bytes.iter().for_each(|&byte| riscv::sbi::put_byte(byte));
}

#[cfg(not(target_os = "none"))]
fn early(bytes: &[u8]) {
    std::eprint!("{}", std::string::String::from_utf8_lossy(bytes));
}

/// A writer for formatted text.
pub struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}
