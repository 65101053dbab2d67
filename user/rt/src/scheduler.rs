//! Which scheduler this process runs its tasks on: the image in the window, or, under a kernel that maps none, as Linux
//! does, what is linked into the program.

use crate::{env, process, slots, start, thread};
use ::task::{ByTable, Linked};
use abi::asyncos::AT_SCHEDULER;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicPtr, Ordering};
use sched::table::{MAGIC, TABLE, Table, VERSION};

/// The way to the scheduler.
pub(crate) type Way = ByTable<Chosen>;

/// The exit status of a program that was built for another scheduler.
const REFUSED: i32 = 126;

static LINKED: Table = TABLE;
static CHOSEN: AtomicPtr<Table> = AtomicPtr::new((&raw const LINKED).cast_mut());

// A note beside the one that marks a native program: the version of the scheduler that this program was built for.
core::arch::global_asm!(
    ".pushsection .note.asyncos, \"a\", @note",
    ".balign 4",
    ".word 8, 4, 2",
    ".asciz \"AsyncOS\"",
    ".globl rt_scheduler_version",
    "rt_scheduler_version:",
    ".word {version}",
    ".popsection",
    version = const VERSION,
);

unsafe extern "C" {
    static rt_scheduler_version: u32;
}

/// The scheduler that [`choose`] found.
#[derive(Debug)]
pub(crate) struct Chosen;

// SAFETY: it is the table that is linked in, or one that `choose` has compared the version of, which covers the functions
// and the structures; the kernel maps that before the process begins, and nobody can unmap or change it.
unsafe impl Linked for Chosen {
    #[inline]
    fn table() -> &'static Table {
        // SAFETY: as above. Relaxed: stored before there was a second thread.
        unsafe { &*CHOSEN.load(Ordering::Relaxed) }
    }

    fn keep_worker(call: impl FnOnce()) {
        thread::begin_guard();
        let kept = slots::keep();
        call();
        drop(kept);
        thread::end_guard();
    }

    fn priority_changed(task: u64) {
        slots::follow(task);
    }
}

/// Takes the kernel's scheduler, if it has one. Called before anything else of it is, and before there is a second thread.
/// If it is another than this program was built for, this says so and ends the program.
pub(crate) fn choose() {
    let Some(address) = start::auxiliary(AT_SCHEDULER).filter(|address| *address != 0) else { return };
    let image: *const Table = with_exposed_provenance(address as usize);
    // SAFETY: the kernel says that its image is there; the first three fields are in the same place in all versions.
    let (magic, version) = unsafe { ((&raw const (*image).magic).read(), (&raw const (*image).version).read()) };
    // SAFETY: a word of the note above. Read as it is in the file, not as the compiler knows it.
    let own = unsafe { (&raw const rt_scheduler_version).read_volatile() };
    if magic != MAGIC || version != own {
        let name = env::args().next().unwrap_or("program");
        eprintln!("{name}: built for version {own} of the scheduler, this kernel has version {version}");
        process::exit(REFUSED);
    }
    // Relaxed: as in `table`.
    CHOSEN.store(image.cast_mut(), Ordering::Relaxed);
}
