//! The host's stand-in for the machine.
//!
//! Physical memory is one allocation of [`MEMORY`] bytes that pretends to start at [`BASE`]. Each thread
//! is hart 0 with its own hart-local data, so tests may run in parallel. User mode is a closure that the
//! test installs with [`set_user`]: it gets the registers and returns the reason for leaving.

use crate::hart::Local;
use crate::user::{Exit, UserContext};
use alloc::boxed::Box;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Pretended physical address of the first byte of memory.
pub const BASE: usize = 0x8000_0000;
/// Bytes of pretended memory.
pub const MEMORY: usize = 128 << 20;

static MEMORY_START: OnceLock<usize> = OnceLock::new();
static TICKS: AtomicU64 = AtomicU64::new(0);

type User = Box<dyn FnMut(&mut UserContext) -> Exit>;

std::thread_local! {
    static LOCAL: &'static Local = Box::leak(Box::new(Local::new(0, 0)));
    static USER: RefCell<Option<User>> = const { RefCell::new(None) };
}

/// Pointer to pretended physical memory.
pub fn physical_pointer(physical: usize) -> *mut u8 {
    let start = *MEMORY_START.get_or_init(|| {
        let layout = core::alloc::Layout::from_size_align(MEMORY, 1 << 21).expect("constant layout");
        // SAFETY: the layout is not empty. The memory is never freed.
        unsafe { std::alloc::alloc_zeroed(layout) as usize }
    });
    assert!((BASE..BASE + MEMORY).contains(&physical), "physical address {physical:#x} does not exist");
    (start + physical - BASE) as *mut u8
}

/// This thread's hart-local data.
pub fn local() -> &'static Local {
    LOCAL.with(|local| *local)
}

/// Whether this thread's trace points record.
pub fn recording() -> bool {
    local().recording.load(Ordering::Relaxed)
}

/// Interrupts do not exist on the host.
pub fn interrupts_off() -> bool {
    false
}

/// Interrupts do not exist on the host.
pub fn interrupts_on() {}

/// Gives the processor to another thread.
pub fn wait_for_interrupt() {
    std::thread::yield_now();
}

/// Nanoseconds of the fake clock; it moves only by [`advance`].
pub fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Moves the fake clock on by `nanoseconds`.
pub fn advance(nanoseconds: u64) {
    TICKS.fetch_add(nanoseconds, Ordering::Relaxed);
}

/// Installs what "user code" does on this thread.
pub fn set_user(user: impl FnMut(&mut UserContext) -> Exit + 'static) {
    USER.with(|slot| *slot.borrow_mut() = Some(Box::new(user)));
}

/// Runs the installed closure in place of user code.
pub(crate) fn run_user(context: &mut UserContext) -> Exit {
    USER.with(|slot| {
        let mut user = slot.borrow_mut().take().expect("the test installs user code with fake::set_user");
        let exit = user(context);
        slot.borrow_mut().get_or_insert(user);
        exit
    })
}
