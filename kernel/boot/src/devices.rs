//! The devices on the virtio slots: one disk, one network card, one entropy source.

use crate::card::Card;
use crate::disk::Disk;
use alloc::boxed::Box;
use alloc::sync::Arc;
use hal::irq::Handler;
use io::block::BlockDevice;
use net::NetDevice;
use virtio::{Block, DeviceType, Entropy, Found, MmioTransport, Net};

type Transport = MmioTransport<'static>;

/// The driver of an entropy device.
pub type EntropySource = Entropy<Transport>;

/// What was found.
#[derive(Default)]
pub struct Devices {
    /// The first disk.
    pub disk: Option<Arc<dyn BlockDevice>>,
    /// The first network card.
    pub card: Option<Box<dyn NetDevice>>,
    /// The first entropy source.
    pub entropy: Option<&'static EntropySource>,
}

/// Starts the drivers. A device that cannot be used is reported and left alone.
pub fn start() -> Devices {
    let mut devices = Devices::default();
    for (line, found) in virtio::devices() {
        let kind = found.kind;
        if let Err(error) = start_one(&mut devices, line, found) {
            log::error!("virtio {kind:?}: {error}");
        }
    }
    devices
}

fn start_one(devices: &mut Devices, line: platform::Line, found: Found) -> Result<(), virtio::Error> {
    match found.kind {
        DeviceType::Block if devices.disk.is_none() => {
            let driver = keep(line, Block::new(found.transport)?);
            log::info!("disk: {} MiB", driver.sectors() / 2048);
            devices.disk = Some(Arc::new(Disk(driver)));
        }
        DeviceType::Network if devices.card.is_none() => {
            devices.card = Some(Box::new(Card::new(keep(line, Net::new(found.transport)?))));
        }
        DeviceType::EntropySource if devices.entropy.is_none() => {
            devices.entropy = Some(keep(line, Entropy::new(found.transport)?));
        }
        kind => log::info!("virtio {kind:?}: no driver, or one too many"),
    }
    Ok(())
}

/// Drivers stay for as long as the machine runs: their interrupt line refers to them.
fn keep<D: Handler + Send>(line: platform::Line, driver: D) -> &'static D {
    let driver: &'static D = Box::leak(Box::new(driver));
    if let Err(error) = hal::irq::claim(line, driver) {
        log::error!("interrupt line {} cannot be used: {error:?}", line.number);
    }
    driver
}
