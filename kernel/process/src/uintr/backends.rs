//! Which backends there are (D5): the machine gives some, and `uintr=` on the command line may leave one of them only.

use abi::uintr;
use core::sync::atomic::{AtomicUsize, Ordering};
use hal::space::World;

/// Any.
pub const AUTO: usize = 0;

static ONLY: AtomicUsize = AtomicUsize::new(AUTO);

/// Leaves one backend, of those in `abi::uintr`; [`AUTO`]: all. While the machine starts.
pub fn restrict(backend: usize) {
    ONLY.store(backend, Ordering::Relaxed);
}

/// Whether threads in a world can take interrupts by a backend. What the kernel does itself is always there.
pub(crate) fn has(backend: usize, world: World) -> bool {
    let only = ONLY.load(Ordering::Relaxed);
    match backend {
        uintr::SOFT => true,
        uintr::AIA => matches!(only, AUTO | uintr::AIA) && world == World::Vm && hal::guest_file::places() != 0,
        uintr::NUINTC => matches!(only, AUTO | uintr::NUINTC) && world != World::Vm && hal::uintc::exists(),
        _ => false,
    }
}
