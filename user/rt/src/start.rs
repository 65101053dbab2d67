//! Program start. The kernel enters `_start` with `sp` at the argument block:
//!
//! ```text
//!   sp -> argc | argv[0..argc] | 0 | envp[..] | 0 | auxv pairs .. AT_NULL
//! ```
//!
//! `_start` hands that address to `begin`, which records it, sets up the main thread and calls the function that
//! [`main!`](crate::main) exported as `__rt_main`. The block is never written or freed, so it is `'static`.

use crate::process::Termination;
use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, Ordering};

global_asm!(
    ".globl _start",
    "_start:",
    "mv a0, sp",
    "andi sp, sp, -16",
    "mv ra, zero",
    "mv fp, zero",
    "tail {begin}",
    begin = sym begin,
);

// The note that marks a native program: the kernel chooses its world by it (D1). Name size, content size, type,
// name, content (the version of this mark).
global_asm!(
    ".pushsection .note.asyncos, \"a\", @note",
    ".balign 4",
    ".word 8, 4, 1",
    ".asciz \"AsyncOS\"",
    ".word 1",
    ".popsection",
);

unsafe extern "Rust" {
    /// The program's entry, defined by [`main!`](crate::main).
    safe fn __rt_main() -> i32;
}

/// Makes `$main` the program's entry. Use once, in the crate root.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn __rt_main() -> i32 {
            $crate::start::report($main())
        }
    };
}

/// The exit status of what `main` returned; an error is printed.
pub fn report(result: impl Termination) -> i32 {
    result.report().to_i32()
}

/// Address of the argument block. Written once before any other thread exists, so `Relaxed` suffices.
static BLOCK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

extern "C" fn begin(block: *mut usize) -> ! {
    BLOCK.store(block, Ordering::Relaxed);
    crate::thread::adopt_main();
    crate::overflow::watch();
    crate::scheduler::choose();
    crate::process::exit(__rt_main())
}

/// A word of the argument block.
fn word(index: usize) -> usize {
    let block = BLOCK.load(Ordering::Relaxed);
    // SAFETY: `begin` stored the block's address, and callers stay within its NULL-terminated parts.
    unsafe { block.add(index).read() }
}

/// The string that a non-zero word of the block points to; bytes that are no UTF-8 give the text before them.
fn string(address: usize) -> &'static str {
    // SAFETY: argv and envp words point to NUL-terminated strings in the block, which is never changed.
    let bytes = unsafe { CStr::from_ptr(address as *const c_char) }.to_bytes();
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Number of arguments.
pub(crate) fn argc() -> usize {
    word(0)
}

/// Argument `index`.
pub(crate) fn argument(index: usize) -> Option<&'static str> {
    (index < argc()).then(|| string(word(1 + index)))
}

/// Environment string `index`, `NAME=value`.
pub(crate) fn variable(index: usize) -> Option<&'static str> {
    let first = argc() + 2;
    for i in 0..=index {
        if word(first + i) == 0 {
            return None;
        }
    }
    Some(string(word(first + index)))
}

/// A value of the auxiliary vector (`abi::process::AT_*`).
#[must_use]
pub fn auxiliary(kind: u64) -> Option<u64> {
    let mut at = argc() + 2;
    while word(at) != 0 {
        at += 1;
    }
    at += 1;
    while word(at) != 0 {
        if word(at) as u64 == kind {
            return Some(word(at + 1) as u64);
        }
        at += 2;
    }
    None
}
