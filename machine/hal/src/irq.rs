//! Device interrupts, and messages between harts.
//!
//! Two kinds of machine: a PLIC (lines, claimed and completed; IPIs by the firmware), or an APLIC that turns
//! lines into messages to per-hart IMSIC files (identity = line + 1; identity 1 is the IPI). All device
//! lines go to the first hart; handlers are short and wake coroutines that may run anywhere.

use crate::record::record;
use crate::sync::{IrqLock, rank};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trace::{Event, Source};

/// Lines that can be claimed: 1 to this, exclusive.
pub const LINES: usize = 255;

/// What a driver does when its device interrupts.
pub trait Handler: Sync {
    /// Called with interrupts off: acknowledge the device, note what is done, wake; no waiting.
    fn interrupt(&self);
}

/// A line cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// The controller has no such line, or it belongs to the firmware.
    NoSuchLine,
    /// A driver has it already.
    Taken,
}

static HANDLERS: IrqLock<Vec<Option<&'static dyn Handler>>> = IrqLock::new(rank::DEVICE - 1, Vec::new());
static COUNTS: [AtomicU64; LINES] = [const { AtomicU64::new(0) }; LINES];

/// Interrupts that a line has raised since boot.
pub fn count(line: usize) -> u64 {
    COUNTS.get(line).map_or(0, |count| count.load(Relaxed))
}

/// Connects a device's line to its driver, for ever.
///
/// # Errors
/// See [`ClaimError`].
pub fn claim(line: platform::Line, handler: &'static dyn Handler) -> Result<(), ClaimError> {
    let number = line.number as usize;
    if number == 0 || number >= LINES {
        return Err(ClaimError::NoSuchLine);
    }
    // Under the lock, because controllers' enable registers are shared by many lines.
    let mut handlers = HANDLERS.lock();
    if handlers.len() < LINES {
        handlers.resize(LINES, None);
    }
    if handlers[number].is_some() {
        return Err(ClaimError::Taken);
    }
    connect(line)?;
    handlers[number] = Some(handler);
    Ok(())
}

#[cfg(not(target_os = "none"))]
fn connect(_: platform::Line) -> Result<(), ClaimError> {
    Ok(())
}

/// Calls the driver of a line, as the controller would.
pub fn deliver(line: usize) {
    let handler = HANDLERS.lock().get(line).copied().flatten();
    if let Some(count) = COUNTS.get(line) {
        count.fetch_add(1, Relaxed);
    }
    record(|| Event::Interrupt { source: Source::Line(line as u32) });
    if let Some(handler) = handler {
        handler.interrupt();
    }
}

/// Keeps a line that was claimed from interrupting, from any context.
pub fn mask(number: u32) {
    switch(number, false);
}

/// Lets it interrupt again, and tells at once if its device has raised it meanwhile, or still does.
pub fn unmask(number: u32) {
    switch(number, true);
}

/// Has a claimed line tell the kernel, as it did at first.
pub fn send_home(number: u32) {
    send_to(number, None);
}

#[cfg(not(target_os = "none"))]
fn switch(_: u32, _: bool) {}

#[cfg(not(target_os = "none"))]
pub(crate) fn send_to(_: u32, _: Option<(usize, usize, u32)>) {}

#[cfg(target_os = "none")]
pub(crate) use machine::*;

#[cfg(target_os = "none")]
mod machine {
    use super::*;
    use crate::hart;
    use core::ptr::NonNull;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use platform::{Line, Platform, Trigger};
    use riscv::aplic::{Aplic, Mode, Target};
    use riscv::imsic::{self, Doorbells};
    use riscv::mmio::Mmio;
    use riscv::plic::Plic;
    use riscv::{csr, csr_clear, csr_set, sbi};

    /// IMSIC identity of an IPI.
    const IPI: u32 = 1;
    /// Interrupts taken in one trap before others get a chance.
    const BUDGET: usize = 64;

    struct Aia {
        aplic: Aplic,
        doorbells: Doorbells,
        ids: u32,
        /// Physical address of the files.
        files: usize,
    }

    enum Controller {
        Plic(Plic),
        Aia(Aia),
    }

    static CONTROLLER: spin_once::Once<Controller> = spin_once::Once::new();
    /// PLIC context, or IMSIC file index, of each hart.
    static PLACES: [AtomicUsize; hart::MAX] = [const { AtomicUsize::new(usize::MAX) }; hart::MAX];

    /// A cell that is written once at boot and read for ever after.
    mod spin_once {
        use core::cell::UnsafeCell;
        use core::sync::atomic::{AtomicBool, Ordering};

        pub(super) struct Once<T> {
            set: AtomicBool,
            value: UnsafeCell<Option<T>>,
        }

        // SAFETY: the value is written before `set` and only read after it.
        unsafe impl<T: Send + Sync> Sync for Once<T> {}

        impl<T> Once<T> {
            pub(super) const fn new() -> Self {
                Self { set: AtomicBool::new(false), value: UnsafeCell::new(None) }
            }

            /// Called once, by the boot hart, before other harts start.
            pub(super) fn set(&self, value: T) {
                assert!(!self.set.load(Ordering::Relaxed), "set twice");
                // SAFETY: nobody reads before `set`, and only the boot hart runs.
                unsafe { *self.value.get() = Some(value) };
                // Release pairs with the Acquire in `get`.
                self.set.store(true, Ordering::Release);
            }

            pub(super) fn get(&self) -> Option<&T> {
                if !self.set.load(Ordering::Acquire) {
                    return None;
                }
                // SAFETY: never written again after `set`.
                unsafe { (*self.value.get()).as_ref() }
            }
        }
    }

    /// Registers in the direct map. Boot maps every range of the platform there.
    pub(crate) fn registers(range: platform::Range) -> Option<Mmio> {
        let base = NonNull::new(crate::arch::physical_pointer(range.start as usize))?;
        // SAFETY: the device tree names these registers, the kernel's table maps them for ever, and
        // register blocks start on at least a 4-byte boundary (checked by the platform's parser).
        Some(unsafe { Mmio::new(base, range.size as usize) })
    }

    /// Finds the controller. Once, on the boot hart.
    pub(crate) fn initialise(platform: &Platform) -> Option<()> {
        let controller = match (&platform.aplic, &platform.imsic) {
            (Some(aplic), Some(imsic)) => {
                let chip = Aplic::new(registers(aplic.registers)?, aplic.sources);
                if !chip.init() {
                    return None;
                }
                let doorbells = Doorbells::new(registers(imsic.registers)?, imsic.guest_index_bits);
                let files = imsic.registers.start as usize;
                Controller::Aia(Aia { aplic: chip, doorbells, ids: imsic.ids, files })
            }
            _ => {
                let plic = platform.plic.as_ref()?;
                Controller::Plic(Plic::new(registers(plic.registers)?, plic.lines))
            }
        };
        for (index, hart) in platform.harts.iter().take(hart::MAX).enumerate() {
            let place = match (&controller, &platform.imsic, &platform.plic) {
                (Controller::Aia(_), Some(imsic), _) => imsic.index_of(hart.id),
                (_, _, Some(plic)) => plic.contexts.iter().find(|c| c.hart == hart.id).map(|c| c.context),
                _ => None,
            };
            PLACES[index].store(place.unwrap_or(usize::MAX), Relaxed);
        }
        CONTROLLER.set(controller);
        Some(())
    }

    /// Lets interrupts in on the running hart.
    pub(crate) fn initialise_hart(index: usize) {
        match CONTROLLER.get() {
            Some(Controller::Aia(aia)) => {
                imsic::init(aia.ids);
                imsic::enable(IPI);
            }
            Some(Controller::Plic(plic)) => {
                let context = PLACES[index].load(Relaxed);
                if plic.has_context(context) {
                    plic.init_context(context);
                }
            }
            None => {}
        }
        csr_set!(sie, csr::SOFTWARE | csr::TIMER | csr::EXTERNAL);
    }

    fn aia() -> Option<&'static Aia> {
        match CONTROLLER.get() {
            Some(Controller::Aia(aia)) => Some(aia),
            _ => None,
        }
    }

    /// Guest files that the controller has a page for, for each hart.
    pub(crate) fn guest_files() -> usize {
        aia().map_or(0, |aia| aia.doorbells.guests())
    }

    /// Identities of a file.
    pub(crate) fn ids() -> u32 {
        aia().map_or(0, |aia| aia.ids)
    }

    /// Physical address of the page of a guest file that is there.
    pub(crate) fn guest_page(index: usize, file: usize) -> usize {
        let page = aia().and_then(|aia| Some(aia.files + aia.doorbells.guest_page(PLACES[index].load(Relaxed), file)?));
        page.expect("a place is a file of a hart")
    }

    /// Makes an identity pending at a guest file that is there.
    pub(crate) fn ring_guest(index: usize, file: usize, identity: u32) {
        // What it is about was written before.
        core::sync::atomic::fence(Ordering::SeqCst);
        if let Some(aia) = aia() {
            aia.doorbells.ring_guest(PLACES[index].load(Relaxed), file, identity);
        }
    }

    pub(super) fn connect(line: Line) -> Result<(), ClaimError> {
        let place = PLACES[0].load(Relaxed);
        match CONTROLLER.get().ok_or(ClaimError::NoSuchLine)? {
            Controller::Plic(plic) => {
                if !plic.has_context(place) || !plic.has_line(line.number) {
                    return Err(ClaimError::NoSuchLine);
                }
                plic.set_priority(line.number, 1);
                plic.enable(place, line.number);
            }
            Controller::Aia(aia) => {
                let identity = line.number + 1;
                let target = Target { hart_index: place as u32, guest: 0, identity };
                if line.number > aia.aplic.sources()
                    || identity > aia.ids
                    || !aia.aplic.configure(line.number, mode(line.trigger), target)
                {
                    return Err(ClaimError::NoSuchLine);
                }
                enable_on_boot_hart(identity);
                aia.aplic.enable(line.number);
            }
        }
        Ok(())
    }

    pub(super) fn switch(number: u32, on: bool) {
        match (CONTROLLER.get(), on) {
            // Not by the enable bit: a line that is not enabled cannot be completed.
            (Some(Controller::Plic(plic)), _) => plic.set_priority(number, u32::from(on)),
            (Some(Controller::Aia(aia)), false) => aia.aplic.disable(number),
            (Some(Controller::Aia(aia)), true) => {
                aia.aplic.enable(number);
                aia.aplic.resample(number);
            }
            (None, _) => {}
        }
    }

    /// Has a claimed line make an identity pending at a guest file of a hart; without one, as [`claim`] did. A message that is under way still arrives at the old place.
    pub(crate) fn send_to(number: u32, to: Option<(usize, usize, u32)>) {
        let Some(aia) = aia() else { return };
        let (hart, guest, identity) = to.unwrap_or((0, 0, number + 1));
        let hart_index = PLACES[hart].load(Relaxed) as u32;
        let is_possible = aia.aplic.retarget(number, Target { hart_index, guest: guest as u32, identity });
        debug_assert!(is_possible, "a place is a file of a hart");
    }

    /// IMSIC enables are reached from their own hart only; drivers start on the boot hart.
    fn enable_on_boot_hart(identity: u32) {
        assert!(hart::id() == 0, "drivers claim their lines on the boot hart");
        let enabled = crate::arch::interrupts_off();
        imsic::enable(identity);
        if enabled {
            crate::arch::interrupts_on();
        }
    }

    fn mode(trigger: Trigger) -> Mode {
        match trigger {
            Trigger::RisingEdge => Mode::RisingEdge,
            Trigger::FallingEdge => Mode::FallingEdge,
            Trigger::LevelHigh => Mode::LevelHigh,
            Trigger::LevelLow => Mode::LevelLow,
        }
    }

    /// Interrupts another hart.
    pub(crate) fn send_ipi(hart_id: usize, index: usize) {
        // What the other hart is to see was written before; the doorbell's own fence orders device writes
        // after memory writes, and the firmware call is a fence by itself.
        core::sync::atomic::fence(Ordering::SeqCst);
        match CONTROLLER.get() {
            Some(Controller::Aia(aia)) => aia.doorbells.ring(PLACES[index].load(Relaxed), IPI),
            _ => {
                if sbi::send_ipi(hart_id).is_err() {
                    log::error!("the firmware cannot interrupt hart {hart_id}");
                }
            }
        }
    }

    /// A software interrupt: an IPI through the firmware. Its arrival is all it says.
    pub(crate) fn software() {
        csr_clear!(sip, csr::SOFTWARE);
        record(|| Event::Interrupt { source: Source::Hart });
    }

    /// An external interrupt: serves what is pending, a bounded number.
    pub(crate) fn external(index: usize) {
        match CONTROLLER.get() {
            Some(Controller::Plic(plic)) => {
                let context = PLACES[index].load(Relaxed);
                for _ in 0..BUDGET {
                    let Some(line) = plic.claim(context) else { break };
                    deliver(line as usize);
                    plic.complete(context, line);
                }
            }
            Some(Controller::Aia(aia)) => {
                for _ in 0..BUDGET {
                    let Some(identity) = imsic::claim() else { break };
                    if identity == IPI {
                        record(|| Event::Interrupt { source: Source::Hart });
                    } else if identity > IPI && identity <= aia.aplic.sources() + 1 {
                        deliver(identity as usize - 1);
                        aia.aplic.resample(identity - 1);
                    }
                }
            }
            None => {}
        }
    }
}
#[cfg(target_os = "none")]
use machine::{connect, switch};
