//! Running user code as a value: [`UserContext::enter`] runs it and returns why it stopped.
//!
//! The registers of a user thread are a plain structure that lives in the thread's coroutine; no stack
//! of the kernel belongs to the thread (P7). Floating point is enabled at a thread's first use of it and
//! then follows the thread: a trap saves it when it changed, an entry restores it when this hart last had
//! another thread's. A thread that has not changed it for [`UNUSED`] of these has it turned off until it uses it again.

pub(crate) mod own;

pub use own::{FloatsWord, UserTraps};

use crate::guest_file::{Place, Seat};
use crate::space::SpaceHandle;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use riscv::context::{FloatingPoint, Registers, sie};

/// What a user program tried to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load.
    Read,
    /// Store or atomic operation.
    Write,
    /// Instruction fetch.
    Exec,
}

/// Why user code stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A system call; `pc` is already behind the `ecall`.
    Syscall,
    /// An access that the page table does not allow; the instruction has not been executed.
    PageFault {
        /// Virtual address of the access.
        address: usize,
        /// Kind of access.
        access: Access,
    },
    /// Any other exception; `pc` is at the instruction.
    Exception(Exception),
    /// An interrupt, already handled, or a request to leave (see [`crate::hart::leave_user`]).
    Interrupt,
}

/// Exceptions other than page faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Not an instruction, or one that a process may not execute.
    IllegalInstruction,
    /// `ebreak`.
    Breakpoint,
    /// A misaligned access that neither hardware nor firmware handles.
    Misaligned {
        /// Address of the access.
        address: usize,
        /// What it was to do there.
        access: Access,
    },
    /// An access to physical memory that does not answer.
    AccessFault {
        /// Address of the access.
        address: usize,
    },
    /// A cause that no process should be able to raise.
    Other {
        /// `scause`.
        cause: usize,
    },
}

/// State of a user thread while it does not run.
pub struct UserContext {
    registers: Registers,
    floating: FloatingPoint,
    /// Names the owner of registers that a hart keeps loaded; new for each thread, and whenever what a hart may have
    /// loaded is not what is here any more.
    id: ContextId,
}

/// What a thread in world `vm` has that takes interrupts itself (note 0008, section 4): its copies of the supervisor's registers,
/// and the place at which its interrupts arrive.
pub struct OwnTraps {
    #[cfg(target_os = "none")]
    registers: riscv::virtual_csr::Own,
    /// Names what a hart has loaded of them; new whenever another hart loads them, for then what is there is old. Not 0.
    #[cfg(target_os = "none")]
    id: u64,
    seat: Option<Seat>,
}

/// What a thread has that takes interrupts by hardware.
pub enum Traps {
    /// In world `vm`.
    Supervisor(OwnTraps),
    /// In the others.
    User(UserTraps),
}

/// Restores of floating-point registers that a thread does not change: from then on they wait for its next use. That use costs
/// a trap, as much as some ten restores: a thread that is always wrong about it pays little.
#[cfg(target_os = "none")]
const UNUSED: u32 = 32;

/// Every hart has double-precision floating point; set at boot.
pub(crate) static HAS_FLOATING: AtomicBool = AtomicBool::new(false);

struct ContextId(u64);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Ticks of `time` a second, if threads with traps of their own have a timer of their own (`stimecmp`); else 0.
pub fn own_timebase() -> u64 {
    #[cfg(target_os = "none")]
    if crate::time::machine::HAS_SSTC.load(Ordering::Relaxed) {
        return crate::time::timebase();
    }
    0
}

impl OwnTraps {
    /// Those of the thread of `context`: a handler at `vector`, four bytes aligned, that finds `scratch` in `sscratch`. Its interrupts are off at
    /// first, as `sie` and `sstatus` say.
    pub fn new(context: &UserContext, vector: usize, scratch: usize) -> Self {
        let floats = context.has_floating();
        let _ = (vector, scratch, floats);
        Self {
            #[cfg(target_os = "none")]
            registers: riscv::virtual_csr::Own::new(vector & !3, scratch, floats),
            #[cfg(target_os = "none")]
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            seat: None,
        }
    }

    /// Whether its interrupts arrive at a place of this hart. Asked where the thread cannot move.
    pub fn is_settled(&self, hart: usize) -> bool {
        self.seat.is_some_and(|seat| seat.hart == hart && seat.is_taken())
    }

    /// Its interrupts arrive at this place from now on.
    pub fn settle(&mut self, place: &Place) {
        self.seat = Some(place.seat());
    }

    /// Has it take a software interrupt, which tells it to look at everything.
    pub fn look_at_all(&mut self) {
        #[cfg(target_os = "none")]
        self.registers.inject();
    }

    /// Whether it has still to look at everything.
    fn has_to_look(&self) -> bool {
        #[cfg(target_os = "none")]
        return self.registers.is_injected();
        #[cfg(not(target_os = "none"))]
        return false;
    }

    /// When the thread's own timer interrupts it (ns since boot), if it does before the clock ends. It may hold anything.
    pub fn timer(&self) -> Option<u64> {
        #[cfg(target_os = "none")]
        return self.registers.timer().and_then(|ticks| {
            let nanoseconds = (ticks as u128 + 1) * 1_000_000_000 / u128::from(crate::time::timebase().max(1));
            u64::try_from(nanoseconds).ok()
        });
        #[cfg(not(target_os = "none"))]
        return None;
    }

    /// The thread takes these exceptions itself, a bit for each cause; those that the hardware can deliver do not come to the kernel any more.
    pub fn take_exceptions(&mut self, causes: usize) {
        #[cfg(target_os = "none")]
        {
            self.registers.take_exceptions(causes);
            self.id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        }
        let _ = causes;
    }

    /// Whether the thread of `context` would take an interrupt now.
    pub fn is_open(&self, context: &UserContext) -> bool {
        self.open(context) != 0
    }

    /// The interrupts that it would take now.
    fn open(&self, context: &UserContext) -> usize {
        let supervisor = context.registers.status & riscv::context::sstatus::SPP != 0;
        #[cfg(target_os = "none")]
        return self.registers.open(supervisor);
        #[cfg(not(target_os = "none"))]
        return if supervisor { 0 } else { sie::SOFTWARE | sie::EXTERNAL };
    }

    /// The thread of `context` does not run for now: what arrives is told to the owner of its place, if it would take it, or `waits` for it. On the
    /// hart that it ran on. `true`: something is there already.
    ///
    /// One that has no place here any more is not told of what had arrived there: who has taken it away sees to that.
    pub fn rest(&self, context: &UserContext, waits: bool) -> bool {
        let hears = |interrupt| waits || self.open(context) & interrupt != 0;
        if hears(sie::SOFTWARE) && self.has_to_look() {
            return true;
        }
        if !hears(sie::EXTERNAL) {
            return false;
        }
        // Nobody else takes the place between the look and the bit.
        let enabled = crate::arch::interrupts_off();
        let seat = self.seat.filter(|seat| seat.hart == crate::hart::id() && seat.is_taken());
        #[cfg(target_os = "none")]
        let arrived = seat.is_some_and(|seat| !crate::guest_file::arm(seat));
        #[cfg(not(target_os = "none"))]
        let arrived = seat.is_some() && self.has_to_look();
        if enabled {
            crate::arch::interrupts_on();
        }
        arrived
    }
}

impl ContextId {
    fn new() -> Self {
        Self(NEXT_ID.fetch_add(1, Ordering::Relaxed))
    }
}

impl UserContext {
    /// A thread that starts at `pc` with all registers zero but the stack pointer.
    pub fn new(pc: usize, stack_pointer: usize) -> Self {
        let mut x = [0; 32];
        x[2] = stack_pointer;
        Self { registers: Registers { x, pc, status: 0 }, floating: FloatingPoint::ZERO, id: ContextId::new() }
    }

    /// A new thread that goes on from here, without traps of its own: it begins in its world's mode, whatever mode this one is in. It has the floating-point registers of this one, which
    /// wait for its first use of them: most threads begin with something else, and a hart's own would have to be loaded again behind it.
    #[must_use]
    pub fn of_child(&self) -> Self {
        let (registers, floating) = (self.registers.clone(), self.floating.clone());
        let mut child = Self { registers, floating, id: ContextId::new() };
        child.floating.restores = u32::from(self.has_floating());
        child.registers.status = 0;
        child
    }

    /// Integer registers `x0..x31`; element 0 is ignored.
    pub fn x(&self) -> &[usize; 32] {
        &self.registers.x
    }

    /// Integer registers, to change.
    pub fn x_mut(&mut self) -> &mut [usize; 32] {
        &mut self.registers.x
    }

    /// Program counter.
    pub fn pc(&self) -> usize {
        self.registers.pc
    }

    /// Goes on behind `instruction`, which is the one at the program counter, if it stores 32 bits to `address`. `false`: it does something else.
    pub fn pass_word_store(&mut self, instruction: u32, address: usize) -> bool {
        let store = riscv::store::WordStore::decode(instruction);
        let stores = store.filter(|store| self.x()[store.base].wrapping_add_signed(store.offset) == address);
        if let Some(store) = stores {
            self.registers.pc = self.registers.pc.wrapping_add(store.len);
        }
        stores.is_some()
    }

    /// Sets the program counter.
    pub fn set_pc(&mut self, pc: usize) {
        self.registers.pc = pc;
    }

    /// Floating-point registers and `fcsr`, for signal frames.
    pub fn floating(&self) -> (&[u64; 32], u32) {
        (&self.floating.f, self.floating.fcsr)
    }

    /// Whether the thread has used floating point.
    pub fn has_floating(&self) -> bool {
        self.floating.restores != 0 || self.registers.status & riscv::context::sstatus::FS != 0
    }

    /// Replaces the floating-point registers.
    pub fn set_floating(&mut self, f: [u64; 32], fcsr: u32) {
        self.floating = FloatingPoint { f, fcsr: fcsr & 0xff, restores: 0 };
        self.id = ContextId::new();
        self.enable_floating();
    }

    fn enable_floating(&mut self) {
        if HAS_FLOATING.load(Ordering::Relaxed) {
            self.registers.status |= riscv::context::sstatus::FS_CLEAN;
            self.floating.restores = 0;
        }
    }

    /// Keeps `fcsr` behind a call, before anything else runs on the hart: it may have changed though `status` says that nothing has. A write of that register in VS-mode is to be noted in
    /// `sstatus.FS` as well as in `vsstatus.FS` (privileged specification, "Virtual Supervisor Status Register"); the emulator (QEMU, up to 10.0) does so for instructions that compute, not for those that write the
    /// register.
    #[inline]
    pub fn keep_float_control(&mut self) {
        #[cfg(target_os = "none")]
        // Behind a stay it is clean or off.
        if self.registers.status & riscv::context::sstatus::FS_CLEAN != 0 {
            // SAFETY: the hart's FS is the thread's still, and so it is on; which is so only where every hart has the D extension.
            self.floating.fcsr = unsafe { riscv::floating::control() };
        }
    }

    /// The same where the thread may not have been in user mode: an interrupt was there before, or nothing but work for it. The registers may be another's, and off.
    pub fn keep_float_control_if_own(&mut self) {
        #[cfg(target_os = "none")]
        if self.registers.status & riscv::context::sstatus::FS != 0 && self.owns_floating(crate::arch::local()) {
            riscv::csr_set!(sstatus, riscv::context::sstatus::FS_CLEAN);
            self.keep_float_control();
        }
    }

    /// Has the thread enter its handler for an exception, as if the hardware had done it. `false`: it may be in a handler already.
    pub fn trap(&mut self, traps: &mut OwnTraps, cause: usize, value: usize) -> bool {
        #[cfg(target_os = "none")]
        {
            let supervisor = self.registers.status & riscv::context::sstatus::SPP != 0;
            let Some(pc) = traps.registers.trap(supervisor, self.registers.pc, cause, value) else { return false };
            self.registers.pc = pc;
            self.registers.status |= riscv::context::sstatus::SPP;
            traps.id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            true
        }
        #[cfg(not(target_os = "none"))]
        {
            let _ = (traps, cause, value);
            false
        }
    }

    /// Turns floating point on for the thread, if the harts have it.
    pub fn use_floating(&mut self) {
        self.enable_floating();
    }

    /// Runs the thread until it needs the kernel. Called from the thread's coroutine with no lock held. `traps`, of a thread that has its own,
    /// have a place on this hart or none.
    #[cfg(not(target_os = "none"))]
    pub fn enter(&mut self, space: &SpaceHandle, traps: Option<&mut Traps>) -> Exit {
        let has_seat = matches!(traps, Some(Traps::Supervisor(traps)) if traps.seat.is_some());
        let _ = (space, self.id.0, has_seat);
        let exit = crate::arch::run_user(self);
        if exit == Exit::Interrupt {
            crate::arch::local().struck.store(true, Ordering::Relaxed);
        }
        exit
    }

    /// Runs the thread until it needs the kernel. Called from the thread's coroutine with no lock held. `traps`, of a thread that has its own,
    /// have a place on this hart or none.
    #[cfg(target_os = "none")]
    #[inline]
    pub fn enter(&mut self, space: &SpaceHandle, mut traps: Option<&mut Traps>) -> Exit {
        crate::arch::interrupts_off();
        let exit = loop {
            if let Some(exit) = self.run_once(space, traps.as_deref_mut()) {
                break exit;
            }
        };
        crate::arch::interrupts_on();
        exit
    }
}

#[cfg(target_os = "none")]
mod machine {
    use super::*;
    use crate::arch;
    use crate::hart::{self, Local};
    use crate::record::record;
    use crate::space::{self, World};
    use core::sync::atomic::Ordering::Relaxed;
    use riscv::context::sstatus;
    use trace::Event;

    /// `scause` bit of interrupts.
    const INTERRUPT: usize = 1 << 63;
    /// What `status` says of the mode, in virtual mode; [`sstatus::SPIE`] alone is U-mode.
    const VIRTUAL: usize = sstatus::SPP | sstatus::SPIE;

    impl UserContext {
        /// One stay in user mode, with interrupts off around it; `None` to enter again at once.
        #[inline(always)]
        pub(super) fn run_once(&mut self, space: &SpaceHandle, mut traps: Option<&mut Traps>) -> Option<Exit> {
            let local = arch::local();
            if local.leave.load(Relaxed) {
                local.leave.store(false, Relaxed);
                return Some(Exit::Interrupt);
            }
            space::publish(local, space);
            if self.registers.status & sstatus::FS != 0 && !self.owns_floating(local) {
                self.load_floating(local, traps.is_some());
            }
            let mode = self.registers.status & VIRTUAL;
            // A context enters spaces of one world: a new program begins with a new one.
            debug_assert!(mode == 0 || traps.is_some() || (mode == VIRTUAL) == (space.world() == World::Vm));
            match mode {
                VIRTUAL if traps.is_none() && local.traps_owner.load(Relaxed) == 0 => {
                    riscv::virtual_csr::prepare_entry()
                }
                sstatus::SPIE if traps.is_none() => {}
                _ => {
                    if !self.prepare_entry(local, space.world(), traps.as_deref_mut()) {
                        space::withdraw(local);
                        return Some(Exit::Interrupt);
                    }
                }
            }
            // SAFETY: 1. interrupts are off (`enter`). 2. `select` set the area up for this space's world.
            // 3. `status` is as `first_entry` made it for this world: SPP = 0, or SPP = 1 with SPV set just above; a
            // user program can change its FS field only (VTSR keeps a `vm` process from leaving VS-mode). One with traps of its
            // own can change SPP too, between VS-mode and VU-mode: SPV is set just above in either case.
            let trap = unsafe { riscv::resident::enter(&raw mut self.registers, local.area.load(Relaxed)) };
            space::withdraw(local);
            match traps {
                None => {}
                Some(Traps::Supervisor(traps)) => traps.registers.save(),
                Some(Traps::User(traps)) => traps.save(),
            }
            record(|| Event::Trap { task: hart::coroutine(), cause: trap.cause as u64, user: true });
            if self.registers.status & sstatus::FS == sstatus::FS {
                self.save_floating();
            }
            if trap.cause == 8 || trap.cause == 10 {
                self.registers.pc += 4;
                return Some(Exit::Syscall);
            }
            self.classify(local, space.world(), trap)
        }

        #[cold]
        #[inline(never)]
        fn save_floating(&mut self) {
            // SAFETY: FS was dirty, so floating point exists and is on: `sstatus` still has that value.
            unsafe { riscv::floating::save(&mut self.floating) };
            self.registers.status = self.registers.status & !sstatus::FS | sstatus::FS_CLEAN;
            self.floating.restores = 0;
        }

        /// Prepares an entry to a world that is the first, or of a thread with traps of its own, or behind one of these. `false`: such a
        /// thread has lost its place, and does not enter.
        #[cold]
        fn prepare_entry(&mut self, local: &Local, world: World, traps: Option<&mut Traps>) -> bool {
            match traps {
                Some(Traps::Supervisor(traps)) if world == World::Vm => return traps.prepare_entry(local),
                Some(Traps::User(traps)) if world != World::Vm => traps.prepare_entry(local, self.has_floating()),
                _ => {}
            }
            if world == World::Vm && local.traps_owner.load(Relaxed) != 0 {
                riscv::virtual_csr::disown();
                local.traps_owner.store(0, Relaxed);
            }
            self.first_entry(world);
            true
        }

        /// Prepares the first entry to a world.
        fn first_entry(&mut self, world: World) {
            let mode = if world == World::Vm { sstatus::SPP } else { 0 };
            self.registers.status = self.registers.status & sstatus::FS | sstatus::UXL_64 | sstatus::SPIE | mode;
            if world == World::Vm {
                riscv::virtual_csr::prepare_entry();
            }
        }

        /// Whether this hart's floating-point registers are the thread's.
        #[inline(always)]
        pub(super) fn owns_floating(&self, local: &Local) -> bool {
            local.floating_owner.load(Relaxed) == self.id.0
        }

        /// Restores them, unless the thread seems to have no use for them any more. One that `has_traps` of its own sees whether floating point
        /// is on, and may take the trap itself.
        #[cold]
        #[inline(never)]
        fn load_floating(&mut self, local: &Local, has_traps: bool) {
            if self.floating.restores >= UNUSED && !has_traps {
                self.registers.status &= !sstatus::FS;
                return;
            }
            self.floating.restores = self.floating.restores.saturating_add(1);
            riscv::csr_set!(sstatus, sstatus::FS_CLEAN);
            // SAFETY: FS is on, by the line above; `enable_floating` alone sets it in a thread's status, and only
            // where every hart has the D extension.
            unsafe { riscv::floating::restore(&self.floating) };
            // A hart that had them before has old ones.
            self.id = ContextId::new();
            local.floating_owner.store(self.id.0, Relaxed);
        }

        #[cold]
        fn classify(&mut self, local: &Local, world: World, trap: riscv::resident::Trap) -> Option<Exit> {
            if trap.cause & INTERRUPT != 0 {
                local.struck.store(true, Relaxed);
                crate::trap::interrupt(local, trap.cause & !INTERRUPT);
                return Some(Exit::Interrupt);
            }
            let address = trap.value;
            if matches!(trap.cause, 12..=15 | 20..=23) {
                // The hart may remember that the page was not there, or had fewer rights, after that has changed.
                forget_translation(world, address);
            }
            Some(match trap.cause {
                12 | 20 => Exit::PageFault { address, access: Access::Exec },
                13 | 21 => Exit::PageFault { address, access: Access::Read },
                15 | 23 => Exit::PageFault { address, access: Access::Write },
                2 if self.first_floating() => return None,
                2 | 22 => Exit::Exception(Exception::IllegalInstruction),
                3 => Exit::Exception(Exception::Breakpoint),
                0 => Exit::Exception(Exception::Misaligned { address, access: Access::Exec }),
                4 => Exit::Exception(Exception::Misaligned { address, access: Access::Read }),
                6 => Exit::Exception(Exception::Misaligned { address, access: Access::Write }),
                1 | 5 | 7 => Exit::Exception(Exception::AccessFault { address }),
                cause => Exit::Exception(Exception::Other { cause }),
            })
        }

        /// An illegal instruction while floating point was off: turn it on and try the instruction again.
        fn first_floating(&mut self) -> bool {
            let was_off = self.registers.status & sstatus::FS == 0;
            self.enable_floating();
            was_off && HAS_FLOATING.load(Relaxed)
        }
    }

    impl OwnTraps {
        /// Loads them if this hart has others, and lets the hardware enter the handler. `false`: the place is not there any more.
        fn prepare_entry(&mut self, local: &Local) -> bool {
            let here = |seat: &Seat| seat.hart == local.index.load(Relaxed) && seat.is_taken();
            let Some(seat) = self.seat.filter(here) else { return false };
            if local.traps_owner.load(Relaxed) != self.id {
                self.registers.load();
                self.id = NEXT_ID.fetch_add(1, Relaxed);
                local.traps_owner.store(self.id, Relaxed);
            }
            self.registers.prepare_entry(crate::guest_file::disarm(seat));
            true
        }
    }

    fn forget_translation(world: World, address: usize) {
        if world == World::Vm {
            riscv::csr::flush_guest_translations();
        } else {
            riscv::csr::flush_translation(address);
        }
    }
}
