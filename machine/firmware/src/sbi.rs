//! Calls of the kernel (SBI specification 2.0), taken apart by the `rustsbi` crate.

use crate::board::{self, HARTS};
use crate::csr::{MTIP, STIP, csr_clear, csr_read, csr_set, csr_write};
use crate::entry::Frame;
use crate::local::{IPI, Local};
use crate::{boot, start};
use core::sync::atomic::Ordering;
use rustsbi::{Console, EnvInfo, HartMask, Hsm, Ipi, Physical, Reset, RustSBI, SbiRet, Timer};

const A0: usize = 10;
const A1: usize = 11;
const A6: usize = 16;
const A7: usize = 17;
/// The legacy call that writes a byte.
const PUT_BYTE: usize = 1;

/// The extensions that are there; the field names are what the derivation goes by.
#[derive(RustSBI)]
struct Sbi {
    console: Serial,
    timer: OwnTimer,
    ipi: Messages,
    hsm: Harts,
    reset: Finisher,
    info: Machine,
}

/// Answers the call in the frame.
pub fn call(frame: &mut Frame) {
    csr_write!("mepc", csr_read!("mepc").wrapping_add(4));
    if frame.get(A7) == PUT_BYTE {
        // Legacy calls answer in `a0` alone.
        board::put_byte(frame.get(A0) as u8);
        return frame.set(A0, 0);
    }
    let hart = frame.hart;
    let own: *mut Frame = frame;
    let sbi = Sbi {
        console: Serial,
        timer: OwnTimer { hart },
        ipi: Messages,
        hsm: Harts { hart, own },
        reset: Finisher,
        info: Machine,
    };
    let arguments = core::array::from_fn(|index| frame.get(A0 + index));
    let answer = sbi.handle_ecall(frame.get(A7), frame.get(A6), arguments);
    frame.set(A0, answer.error);
    frame.set(A1, answer.value);
}

struct Serial;

impl Serial {
    /// The bytes that the kernel names by their physical address, if they are memory that it may name.
    fn bytes<P>(of: &Physical<P>) -> Option<(usize, usize)> {
        let (start, length) = (of.phys_addr_lo(), of.num_bytes());
        (of.phys_addr_hi() == 0 && board::is_memory(start, length)).then_some((start, length))
    }
}

impl Console for Serial {
    fn write(&self, bytes: Physical<&[u8]>) -> SbiRet {
        let Some((start, length)) = Self::bytes(&bytes) else { return SbiRet::invalid_param() };
        // A part at a time, as the call allows: the hart is deaf meanwhile.
        let length = length.min(256);
        for at in start..start + length {
            // SAFETY: memory outside of the firmware; others may write it meanwhile.
            board::put_byte(unsafe { (at as *const u8).read_volatile() });
        }
        SbiRet::success(length)
    }

    fn read(&self, bytes: Physical<&mut [u8]>) -> SbiRet {
        let Some((start, length)) = Self::bytes(&bytes) else { return SbiRet::invalid_param() };
        for (done, at) in (start..start + length.min(256)).enumerate() {
            let Some(byte) = board::get_byte() else { return SbiRet::success(done) };
            // SAFETY: memory outside of the firmware, which the kernel gave for this.
            unsafe { (at as *mut u8).write_volatile(byte) };
        }
        SbiRet::success(length.min(256))
    }

    fn write_byte(&self, byte: u8) -> SbiRet {
        board::put_byte(byte);
        SbiRet::success(0)
    }
}

struct OwnTimer {
    hart: usize,
}

impl Timer for OwnTimer {
    fn set_timer(&self, time: u64) {
        if boot::has_sstc() {
            csr_write!("stimecmp", time as usize);
        } else {
            board::set_timer(self.hart, time);
            csr_clear!("mip", STIP);
            csr_set!("mie", MTIP);
        }
    }
}

struct Messages;

impl Ipi for Messages {
    fn send_ipi(&self, mask: HartMask) -> SbiRet {
        let (bits, base) = mask.into_inner();
        // All harts if the base says so; else those of the mask, which must be there.
        let (bits, base) = if base == usize::MAX { ((1 << HARTS) - 1, 0) } else { (bits, base) };
        if bits != 0 && bits.checked_shl(base as u32).is_none_or(|harts| harts >> HARTS != 0 || base >= HARTS) {
            return SbiRet::invalid_param();
        }
        for (hart, local) in (0..HARTS).filter_map(|hart| Some((hart, Local::of(hart)?))) {
            if bits << base >> hart & 1 != 0 && local.state.load(Ordering::Relaxed) == start::STARTED {
                // Release pairs with the Acquire in `trap::software`.
                local.requests.fetch_or(IPI, Ordering::Release);
                board::interrupt(hart);
            }
        }
        SbiRet::success(0)
    }
}

struct Harts {
    hart: usize,
    own: *mut Frame,
}

impl Harts {
    fn find(hart: usize) -> Option<&'static Local> {
        Local::of(hart).filter(|_| hart < boot::harts())
    }
}

impl Hsm for Harts {
    fn hart_start(&self, hart: usize, address: usize, opaque: usize) -> SbiRet {
        let Some(local) = Self::find(hart) else { return SbiRet::invalid_param() };
        if !board::is_memory(address, 4) {
            return SbiRet::invalid_address();
        }
        if start::start(local, hart, address, opaque) { SbiRet::success(0) } else { SbiRet::already_available() }
    }

    fn hart_stop(&self) -> SbiRet {
        start::wait(self.own, self.hart)
    }

    fn hart_get_status(&self, hart: usize) -> SbiRet {
        let Some(local) = Self::find(hart) else { return SbiRet::invalid_param() };
        // As the specification numbers them.
        SbiRet::success(match local.state.load(Ordering::Acquire) {
            start::STARTED => 0,
            start::STOPPED => 1,
            _ => 2,
        })
    }
}

struct Finisher;

impl Reset for Finisher {
    fn system_reset(&self, kind: u32, reason: u32) -> SbiRet {
        match kind {
            0 => board::power_off(reason != 0),
            1 | 2 => board::restart(),
            _ => SbiRet::invalid_param(),
        }
    }
}

struct Machine;

impl EnvInfo for Machine {
    fn mvendorid(&self) -> usize {
        csr_read!("mvendorid")
    }

    fn marchid(&self) -> usize {
        csr_read!("marchid")
    }

    fn mimpid(&self) -> usize {
        csr_read!("mimpid")
    }
}
