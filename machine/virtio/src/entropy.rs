//! The entropy device (virtio 1.2, section 5.4).

use crate::device::negotiate;
use crate::request::{Order, Requests};
use crate::{Error, Transport};
use hal::PAGE_SIZE;
use hal::frame::Frame;
use hal::part::{Part, Parts};

const DESCRIPTORS: usize = 8;

/// A source of random bytes.
pub struct Entropy<T> {
    requests: Requests<T, DESCRIPTORS>,
}

impl<T: Transport> Entropy<T> {
    /// Sets the device up.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], [`Error::NoMemory`].
    pub fn new(mut transport: T) -> Result<Entropy<T>, Error> {
        negotiate(&mut transport, 0)?;
        Ok(Entropy { requests: Requests::start_device(transport)? })
    }

    /// Gets random bytes from the device: fills the beginning of `out`, at most a page of it, and returns
    /// how much. The bytes are as good as the device is: mix them into a generator's state, do not use
    /// them as they are.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::Broken`], and [`Error::Failed`] if the device gave nothing.
    pub async fn fill(&self, out: &mut [u8]) -> Result<usize, Error> {
        let wanted = out.len().min(PAGE_SIZE);
        let frame = Frame::zeroed().ok_or(Error::NoMemory)?;
        let Some(part) = Part::new(frame.pin(), 0, wanted) else { return Ok(0) };
        let order = Order { header: None, parts: Parts::from_iter([part]), device_writes: true };
        // The queue guarantees that no more was written than there is room for.
        let filled = self.requests.start(order);
        self.requests.announce();
        let written = filled.await? as usize;
        if written == 0 {
            return Err(Error::Failed);
        }
        frame.read(0, &mut out[..written]);
        Ok(written)
    }
}

impl<T: Transport + Send> hal::irq::Handler for Entropy<T> {
    fn interrupt(&self) {
        self.requests.interrupt();
    }
}
