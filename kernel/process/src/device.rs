//! Devices that programs drive themselves (note 0011): who owns one, what is lent of it, and the taking back.
//!
//! A [`Device`] is there for as long as the machine runs; an [`Owned`] is one owner's having it, held by the descriptor and each mapping. The end of that, by
//! [`Owned::give_back`] or with the last holder, is in this order: the interrupts end, the pages leave the spaces, the device is stopped, and only then may
//! another have it. [`Driven`] is the kernel's having it, for a driver of its own. The memory that it was given stays with it for the next owner: a device that is stopped in the middle of a transfer may go
//! on with that when it is started again.

use crate::uintr::{Line, Sender};
use abi::{
    device::{Info, MOST_PAGES},
    errno::Errno,
};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering},
};
use hal::{
    PAGE_SIZE,
    frame::{Frame, FrameRun},
    irq,
    registers::Registers,
    sync::{SpinLock, rank},
};
use io::file::File;
use mem::{Account, Backing, Charge, Lent, Loan, Loans, Room, list, new_object_id};

/// What an owner costs beside the mappings that are noted: itself, and its open file.
const BYTES: usize = 1 << 10;
/// Pages that a device may know, of all its owners: they stay with it.
const MOST_KNOWN: usize = 4 * MOST_PAGES;

/// What the kernel can do with a device whatever it is.
pub trait Switch: Send + Sync {
    /// It answers, may reach memory, and interrupts.
    fn start(&self);
    /// It does none of that. What it is in the middle of may go on when it is started again: so memory that it knows stays with it.
    fn stop(&self);
}

/// A driver of the kernel, for a device that programs may have while it has not.
pub trait Driver: irq::Handler + Send {
    /// The device is its own, and answers; behind this it interrupts.
    fn start(&self);
    /// It is not any more: it touches no register behind this. An interrupt that comes later still says nothing.
    fn stop(&self);
}

/// Memory that a device was given, side by side.
struct Given {
    frames: Box<[Frame]>,
    _charge: Charge,
}

/// See the module.
pub struct Device {
    info: Info,
    registers: Registers,
    switch: Box<dyn Switch>,
    line: Option<&'static Line>,
    is_owned: AtomicBool,
    kept: SpinLock<Kept>,
}

/// What earlier owners have given a device.
#[derive(Default)]
struct Kept {
    blocks: Vec<Given>,
    /// Pages and blocks that it knows, those of its owner among them: there is room for all of these blocks.
    pages: usize,
    known: usize,
}

impl Kept {
    /// The smallest block for so many pages, not much larger if new memory may be had, that nobody has any more.
    fn find(&self, pages: usize, most: usize) -> Option<usize> {
        let most = if self.pages + pages <= MOST_KNOWN { most.min(2 * pages) } else { most };
        let is_free = |given: &Given| given.frames.iter().all(|frame| frame.shares() == 1);
        let fits = |given: &Given| (pages..=most).contains(&given.frames.len()) && is_free(given);
        let blocks = self.blocks.iter().enumerate().filter(|(_, given)| fits(given));
        blocks.min_by_key(|(_, given)| given.frames.len()).map(|(number, _)| number)
    }

    /// Room for a new block.
    fn announce(&mut self, pages: usize) -> Result<(), Errno> {
        if self.pages + pages > MOST_KNOWN {
            return Err(Errno::ENOSPC);
        }
        self.blocks.make_room(self.known + 1 - self.blocks.len())?;
        (self.pages, self.known) = (self.pages + pages, self.known + 1);
        Ok(())
    }

    /// It is not made.
    fn forget(&mut self, pages: usize) {
        (self.pages, self.known) = (self.pages - pages, self.known - 1);
    }
}

static DEVICES: SpinLock<Vec<&'static Device>> = SpinLock::new(rank::PROCESSES - 2, Vec::new());

/// Lets programs have a device, which is stopped: what it is (page numbers and line are filled in here), its registers, and its line, which is level-triggered and off.
///
/// A driver of the kernel may have it likewise, by what this returns.
pub fn offer(
    info: Info,
    registers: Registers,
    switch: Box<dyn Switch>,
    line: Option<&'static Line>,
) -> &'static Device {
    let info = Info { memory: registers.pages() as u32, line: line.map_or(0, Line::number), ..info };
    let kept = SpinLock::new(rank::PIPE, Kept::default());
    let device = Device { info, registers, switch, line, is_owned: AtomicBool::new(false), kept };
    let device: &'static Device = Box::leak(Box::new(device));
    DEVICES.lock().push(device);
    device
}

fn device(index: usize) -> Result<&'static Device, Errno> {
    DEVICES.lock().get(index).copied().ok_or(Errno::ENODEV)
}

/// What the device of that number is.
///
/// # Errors
/// `ENODEV`.
pub fn info(index: usize) -> Result<Info, Errno> {
    Ok(device(index)?.info)
}

impl Device {
    /// Makes it the caller's, and starts it.
    ///
    /// # Errors
    /// `EBUSY`.
    fn take(&self) -> Result<(), Errno> {
        // Acquire pairs with the Release in `leave`: what the last owner left is seen.
        if self.is_owned.swap(true, Ordering::Acquire) {
            return Err(Errno::EBUSY);
        }
        self.switch.start();
        Ok(())
    }

    /// It is stopped: another may have it.
    fn leave(&self) {
        // Release pairs with the Acquire in `take`.
        self.is_owned.store(false, Ordering::Release);
    }

    fn pages(&self) -> usize {
        self.registers.pages()
    }

    /// Memory that it knows stays with it.
    fn keep(&self, memory: Given) {
        // There is room: see `Kept::announce`.
        self.kept.lock().blocks.push(memory);
    }

    /// Memory of an earlier owner that is large enough, and no larger than `most`, or new memory.
    fn memory(&self, pages: usize, most: usize, account: &Arc<Account>) -> Result<Given, Errno> {
        let known = {
            let mut kept = self.kept.lock();
            match kept.find(pages, most) {
                Some(found) => Some(kept.blocks.swap_remove(found)),
                None => {
                    kept.announce(pages)?;
                    None
                }
            }
        };
        let count = known.as_ref().map_or(pages, |known| known.frames.len());
        let charge = match account.charge(count * PAGE_SIZE) {
            Ok(charge) => charge,
            Err(errno) => {
                match known {
                    Some(known) => self.keep(known),
                    None => self.kept.lock().forget(pages),
                }
                return Err(errno);
            }
        };
        let frames = match known {
            Some(known) => known.frames,
            None => FrameRun::side_by_side(pages).ok_or_else(|| {
                self.kept.lock().forget(pages);
                Errno::ENOMEM
            })?,
        };
        frames.iter().for_each(|frame| frame.fill(0, PAGE_SIZE, 0));
        Ok(Given { frames, _charge: charge })
    }
}

/// The kernel's having a device, until it is dropped.
pub struct Driven {
    device: &'static Device,
    driver: &'static dyn Driver,
}

impl Driven {
    /// Makes it the driver's own.
    ///
    /// # Errors
    /// `EBUSY`: it is a program's.
    pub fn new(device: &'static Device, driver: &'static dyn Driver) -> Result<Self, Errno> {
        device.take()?;
        // Before its line tells: what an earlier owner has had it raise would be nobody's.
        driver.start();
        if let Some(line) = device.line {
            line.serve(driver);
        }
        Ok(Self { device, driver })
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(line) = self.device.line {
            line.end_serving();
        }
        self.driver.stop();
        self.device.switch.stop();
        self.device.leave();
    }
}

struct Held {
    /// It was given back, or is about to be: it refuses.
    over: bool,
    /// The device is stopped, and another may have it.
    has_ended: bool,
    /// A mapping in the space of the process that has its pages.
    owner: Option<Loan>,
    bound: Option<Arc<Sender>>,
    given: Vec<Given>,
}

/// See the module.
pub struct Owned {
    id: u64,
    device: &'static Device,
    account: Arc<Account>,
    held: SpinLock<Held>,
    loans: Loans,
    _charge: Charge,
}

impl Held {
    /// Pages that were given so far.
    ///
    /// # Errors
    /// `ESRCH`: it was given back.
    fn count(&self) -> Result<usize, Errno> {
        if self.over {
            return Err(Errno::ESRCH);
        }
        Ok(self.given.iter().map(|given| given.frames.len()).sum())
    }
}

impl Owned {
    /// Makes the device of that number its own, and starts it. `account` pays.
    ///
    /// # Errors
    /// `ENODEV`, `EBUSY`, `ENOMEM`.
    pub fn new(index: usize, account: &Arc<Account>) -> Result<Arc<Self>, Errno> {
        let device = device(index)?;
        let charge = account.charge(BYTES + MOST_PAGES * size_of::<Given>())?;
        let id = new_object_id();
        let loans = Loans::new(id, device.pages() + MOST_PAGES, account)?;
        let given = list(MOST_PAGES)?;
        device.take()?;
        let held = Held { over: false, has_ended: false, owner: None, bound: None, given };
        let held = SpinLock::new(rank::PIPE - 1, held);
        Ok(Arc::new(Self { id, device, account: account.clone(), held, loans, _charge: charge }))
    }

    /// Memory for the device to reach: where it is for the device, and with which page of the mapping it begins.
    ///
    /// # Errors
    /// See [`abi::device::MEMORY`].
    pub fn give(&self, pages: usize) -> Result<(u64, usize), Errno> {
        if pages == 0 {
            return Err(Errno::EINVAL);
        }
        let room = MOST_PAGES - self.held.lock().count()?;
        if pages > room {
            return Err(Errno::ENOSPC);
        }
        let memory = self.device.memory(pages, room, &self.account)?;
        let address = memory.frames.first().map_or(0, Frame::physical) as u64;
        let mut held = self.held.lock();
        // Another thread may have been faster.
        match held.count() {
            Ok(count) if memory.frames.len() <= MOST_PAGES - count => {
                // There is room: each has a page at least.
                held.given.push(memory);
                Ok((address, self.device.pages() + count))
            }
            count => {
                drop(held);
                self.device.keep(memory);
                Err(count.err().unwrap_or(Errno::ENOSPC))
            }
        }
    }

    /// The device's interrupts raise a vector; whether [`Owned::again`] is to be called behind each.
    ///
    /// # Errors
    /// See [`abi::device::BIND`].
    pub fn bind(&self, sender: &Arc<Sender>, vector: usize) -> Result<bool, Errno> {
        sender.may_raise(vector)?;
        let line = self.device.line.ok_or(Errno::ENXIO)?;
        // In one step, so that of two that bind, or one that gives back, each finds what the other has wired.
        let mut held = self.held.lock();
        if held.over {
            return Err(Errno::ESRCH);
        }
        let before = held.bound.take();
        if let Some(before) = &before {
            before.receiver().unwire(before);
        }
        let wired = sender.receiver().wire(sender, line, vector);
        if wired.is_ok() {
            held.bound = Some(sender.clone());
        }
        drop(held);
        // Not under the lock.
        drop(before);
        wired
    }

    fn unbind(&self) {
        let mut held = self.held.lock();
        let bound = held.bound.take();
        if let Some(sender) = &bound {
            sender.receiver().unwire(sender);
        }
        drop(held);
        drop(bound);
    }

    /// The device was served.
    ///
    /// # Errors
    /// `ESRCH`: nobody is told of its interrupts.
    pub fn again(&self) -> Result<(), Errno> {
        let held = self.held.lock();
        match self.device.line {
            Some(line) if held.bound.is_some() => line.again(),
            _ => Err(Errno::ESRCH),
        }
    }

    /// Nobody owns the device any more.
    pub async fn give_back(&self) {
        self.held.lock().over = true;
        self.unbind();
        // Whoever is here first ends it: one that is killed meanwhile leaves that to another, or to the end of its space.
        self.loans.take_back(None).await;
        self.end();
    }

    /// Its pages are in no space any more. Once.
    fn end(&self) {
        if core::mem::replace(&mut self.held.lock().has_ended, true) {
            return;
        }
        self.device.switch.stop();
        let given = core::mem::take(&mut self.held.lock().given);
        given.into_iter().for_each(|memory| self.device.keep(memory));
        self.device.leave();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.unbind();
        self.held.lock().over = true;
        self.end();
    }
}

impl Backing for Owned {
    fn lends(&self) -> bool {
        true
    }

    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        {
            let mut held = self.held.lock();
            if !held.owner.get_or_insert_with(|| loan.clone()).is_to_space_of(&loan) {
                return Err(Errno::EFAULT);
            }
        }
        self.loans.note(&loan)?;
        // Behind the note, see `Loans`.
        let held = self.held.lock();
        if held.over {
            return Err(Errno::EFAULT);
        }
        let index = usize::try_from(index).map_err(|_| Errno::EFAULT)?;
        if let Some(page) = self.device.registers.page(index) {
            return Ok(Lent::Device(page));
        }
        let mut frames = held.given.iter().flat_map(|given| &given.frames);
        frames.nth(index - self.device.pages()).cloned().map(Lent::Frame).ok_or(Errno::EFAULT)
    }

    fn len_pages(&self) -> u64 {
        (self.device.pages() + MOST_PAGES) as u64
    }

    /// Nothing behind the registers but memory that was given already.
    fn admit(&self, first: u64, pages: u64) -> Result<(), Errno> {
        let given = self.held.lock().count()?;
        let end = first.checked_add(pages).ok_or(Errno::EINVAL)?;
        if end <= (self.device.pages() + given) as u64 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> Option<String> {
        Some(String::from("anon_inode:[device]"))
    }
}

/// The descriptor of a device.
pub struct DeviceFile(pub Arc<Owned>);

impl File for DeviceFile {
    fn events(&self) -> u32 {
        0
    }

    fn backing(&self, _path: &Arc<[u8]>) -> Option<Arc<dyn Backing>> {
        Some(self.0.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
