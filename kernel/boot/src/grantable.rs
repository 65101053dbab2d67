//! Devices that the kernel lets programs have: all functions on the PCI bus. Those that are serial ports it drives itself while no program has them.

use crate::serial::Port;
use abi::device::{Info, SERIAL};
use alloc::boxed::Box;
use alloc::vec::Vec;
use hal::irq;
use pci::Function;
use platform::Trigger;
use process::{
    device::{self, Switch},
    uintr::Line,
};

struct OnBus {
    switch: pci::Switch,
    interrupts: bool,
}

impl Switch for OnBus {
    fn start(&self) {
        self.switch.start(self.interrupts);
    }

    fn stop(&self) {
        self.switch.stop();
    }
}

/// Bytes of a serial port's registers.
const SERIAL_BYTES: u32 = 8;

/// Finds them; answers the serial ports. On the boot hart.
pub fn offer() -> Vec<&'static Port> {
    let mut ports = Vec::new();
    for function in pci::functions() {
        let Function { switch, vendor, device, class, registers, bytes, line } = function;
        let line = line.and_then(claim);
        log::info!("pci {vendor:04x}:{device:04x}: {bytes} bytes, line {}", line.map_or(0, Line::number));
        let info = Info { vendor, device, class, bytes, ..Info::default() };
        let is_port = class == SERIAL && bytes == SERIAL_BYTES;
        let mapped = if is_port { uart::Mapped::of(&registers) } else { None };
        let device = device::offer(info, registers, Box::new(OnBus { switch, interrupts: line.is_some() }), line);
        ports.extend(mapped.map(|registers| Port::new(device, registers)));
    }
    ports
}

/// The line, if no other function has it and it is a level, as all of this bus are: one that is not may tell something once only.
fn claim(line: platform::Line) -> Option<&'static Line> {
    if !matches!(line.trigger, Trigger::LevelHigh | Trigger::LevelLow) {
        return None;
    }
    let known: &'static Line = Box::leak(Box::new(Line::new(line.number)));
    match irq::claim(line, known) {
        Ok(()) => {
            irq::mask(line.number);
            Some(known)
        }
        Err(error) => {
            log::warn!("interrupt line {} cannot be used: {error:?}", line.number);
            None
        }
    }
}
