//! The scheduler as a link of its own, at a fixed address, in pages that every process shares (note 0003).
//!
//! It consists of the table of functions and what they call: code and constants, nothing else. `cargo xtask` builds it
//! before the kernel, checks that, and hands it to the kernel as flat bytes.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the table is put at the start of the image")]

use sched::table::{TABLE, Table};

#[used]
// SAFETY: a section of its own, which image.ld puts first.
#[unsafe(link_section = ".head")]
static HEAD: Table = TABLE;

/// The language asks for it; nothing calls it, and the check of the image fails if something does.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
