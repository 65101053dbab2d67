//! Devices that this program drives itself: their registers, memory that they reach, their interrupts (note 0011; for the superuser).
//!
//! ```no_run
//! let (index, info) = device::all().find(|(_, info)| info.class >> 8 == 0x0700)?; // a serial port
//! let port = Device::open(index)?;
//! let interrupt = port.bind(Sender::open(receiver.grant(1 << 3)?)?, 3)?;
//! // in the handler of vector 3:
//! interrupt.serve(|| while port.read8(2) & 1 == 0 { … });
//! ```

pub mod serial;

use crate::io::Result;
use crate::sys::{self, OwnedFd, syscall};
use crate::uintr::Sender;
use abi::device as at;
use core::arch::asm;

pub use abi::device::Info;

const PAGE: usize = 4096;

/// All devices that there are, with their numbers, whoever owns them.
pub fn all() -> impl Iterator<Item = (usize, Info)> {
    (0..).map_while(|index| {
        let mut info = Info::default();
        // SAFETY: the call writes to `info`.
        let known = unsafe { sys::call6(at::INFO, sys::pad([index, &raw mut info as usize])) };
        known.is_ok().then_some((index, info))
    })
}

/// A device that is this process's own. Dropped by the process that has opened it, it is given back; a child that has inherited it, and drops it, leaves it to its parent.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    info: Info,
    registers: usize,
    /// The process that has opened it.
    owner: i32,
}

macro_rules! accesses {
    ($($read:ident $write:ident $type:ty, $load:literal $store:literal;)*) => {$(
        /// Reads a register. What was written to registers before has come before, and memory is looked at behind it.
        ///
        /// # Panics
        /// If it is none of the device's, or not aligned.
        #[inline]
        #[must_use]
        pub fn $read(&self, offset: usize) -> $type {
            let address = self.address(offset, size_of::<$type>());
            let value: usize;
            // SAFETY: a register of the device, which is mapped while `self` lives.
            unsafe { asm!(concat!($load, " {value}, 0({address})"), "fence i, rw", value = out(reg) value, address = in(reg) address, options(nostack)) };
            value as $type
        }

        /// Writes a register, behind what was written to memory before.
        ///
        /// # Panics
        /// As for reading.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            let address = self.address(offset, size_of::<$type>());
            // SAFETY: as above.
            unsafe { asm!("fence w, o", concat!($store, " {value}, 0({address})"), value = in(reg) value as usize, address = in(reg) address, options(nostack)) };
        }
    )*};
}

impl Device {
    /// Makes the device of that number this process's own, and maps its registers.
    ///
    /// # Errors
    /// `EPERM`: not the superuser; `ENODEV`: there is none; `EBUSY`: it is another's; `ENOMEM`, `EMFILE`.
    pub fn open(index: usize) -> Result<Self> {
        let mut info = Info::default();
        // SAFETY: the call writes to `info`.
        unsafe { sys::call6(at::INFO, sys::pad([index, &raw mut info as usize])) }?;
        // SAFETY: no pointers.
        let fd = OwnedFd::new(unsafe { sys::call6(at::OPEN, sys::pad([index])) }?);
        let registers = map(&fd, 0, info.memory as usize)?;
        Ok(Self { fd, info, registers, owner: crate::process::id() })
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Pages side by side for the device to reach.
    ///
    /// # Errors
    /// `EINVAL`: none; `ENOSPC`: more than 256 in all; `ENOMEM`.
    pub fn memory(&self, pages: usize) -> Result<Memory> {
        let mut address = 0_u64;
        // SAFETY: the call writes to `address`.
        let page =
            unsafe { sys::call6(at::MEMORY, sys::pad([self.fd.raw() as usize, pages, &raw mut address as usize])) }?;
        Ok(Memory { address, here: map(&self.fd, page, pages)?, len: pages * PAGE })
    }

    /// Its interrupts raise a vector from now on, and do so at once if its line is raised already.
    ///
    /// # Errors
    /// `ENXIO`: it has none; `EPERM`, `EINVAL`: not a vector of the sender's; `EBUSY`: the sender is another device's; `ESRCH`.
    pub fn bind(&self, sender: Sender, vector: u32) -> Result<Interrupt> {
        let arguments = [self.fd.raw(), sender.right().fd().raw()].map(|fd| fd as usize);
        // SAFETY: no pointers.
        let how = unsafe { sys::call6(at::BIND, sys::pad([arguments[0], arguments[1], vector as usize])) }?;
        Ok(Interrupt { fd: self.fd.raw(), sender, vector, is_mediated: how == at::MEDIATED })
    }

    /// Nobody owns the device from now on. Whoever touches its registers gets `SIGBUS`.
    ///
    /// # Errors
    /// None that are known.
    pub fn give_back(&self) -> Result<()> {
        // SAFETY: no pointers.
        unsafe { sys::call6(at::GIVE_BACK, sys::pad([self.fd.raw() as usize])) }?;
        Ok(())
    }

    accesses! {
        read8 write8 u8, "lbu" "sb";
        read32 write32 u32, "lwu" "sw";
        read64 write64 u64, "ld" "sd";
    }

    #[inline]
    fn address(&self, offset: usize, size: usize) -> usize {
        let is_within = offset.is_multiple_of(size) && offset + size <= self.info.bytes as usize;
        assert!(is_within, "register {offset:#x} outside of the device");
        self.registers + offset
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if crate::process::id() == self.owner {
            // What memory of it is mapped would keep it.
            let _ = self.give_back();
        }
        // Nobody can have it any more.
        let _ = syscall!(MUNMAP, self.registers, self.info.memory as usize * PAGE);
    }
}

/// Memory that a device reaches, for as long as the device is this process's own. It stays mapped; touched behind that it is `SIGBUS`.
#[derive(Debug)]
pub struct Memory {
    /// Where it is for the device.
    pub address: u64,
    here: usize,
    len: usize,
}

impl Memory {
    /// Copies bytes out of it, at any time: the device may write meanwhile.
    ///
    /// # Panics
    /// If they are not all within.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        assert!(offset <= self.len && to.len() <= self.len - offset, "access beyond the memory");
        for (index, byte) in to.iter_mut().enumerate() {
            // SAFETY: within the mapping. Volatile: the device may write at any time.
            *byte = unsafe { ((self.here + offset + index) as *const u8).read_volatile() };
        }
    }

    /// Copies bytes into it.
    ///
    /// # Panics
    /// If they are not all within.
    pub fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset <= self.len && from.len() <= self.len - offset, "access beyond the memory");
        for (index, byte) in from.iter().enumerate() {
            // SAFETY: as above.
            unsafe { ((self.here + offset + index) as *mut u8).write_volatile(*byte) };
        }
    }
}

/// A device's interrupts, as a vector.
pub struct Interrupt {
    /// The device's descriptor, which is closed later: a number that is no device's any more is answered with an error.
    fd: i32,
    sender: Sender,
    vector: u32,
    is_mediated: bool,
}

impl Interrupt {
    /// Has `device` looked at, in the handler of the vector. It returns when the device says that it raises its line no more, or behind as many looks as it likes where the kernel
    /// takes the interrupts ([`Interrupt::is_mediated`]): it is called again then.
    #[inline]
    pub fn serve(&self, device: impl FnOnce()) {
        self.sender.set(self.vector);
        // SAFETY: a fence. The device is looked at behind the bit.
        unsafe { asm!("fence rw, io", options(nostack)) };
        device();
        if self.is_mediated {
            // SAFETY: no pointers. It fails when the device was given back.
            let _ = unsafe { sys::call6(at::AGAIN, sys::pad([self.fd as usize])) };
        }
    }

    /// Whether the kernel takes each interrupt.
    #[must_use]
    pub fn is_mediated(&self) -> bool {
        self.is_mediated
    }
}

/// Maps pages of a device.
fn map(fd: &OwnedFd, page: usize, pages: usize) -> Result<usize> {
    let rights = abi::mm::PROT_READ | abi::mm::PROT_WRITE;
    Ok(syscall!(MMAP, 0, pages * PAGE, rights, abi::mm::MAP_SHARED, fd.raw(), page * PAGE)?)
}
