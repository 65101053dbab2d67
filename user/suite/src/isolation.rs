//! What a process can reach of the kernel, and of other processes: nothing but the resident pages, and those not.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{needs_asyncos, needs_kernel, world};
use crate::process::{PAGE, RW, child, dies, exits, faults, map};
use crate::programs::own_path;
use alloc::vec::Vec;
use rt::abi::asyncos::{WORLD, WORLD_GET, WORLD_SET_NEXT, WORLD_SHARED, WORLD_TABLE, WORLD_VM};
use rt::abi::mm::{PROT_EXEC, PROT_READ};
use rt::abi::signal::SIGILL;
use rt::process::Command;
use rt::{fs, raw};

pub const CASES: &[Case] = &[
    case!("isolation/kernel-half-unreadable", "P2 P3 S6", kernel_half_unreadable),
    case!("isolation/kernel-half-unwritable", "P2 P3 S6", kernel_half_unwritable),
    case!("isolation/kernel-half-not-executable", "P2 P3", kernel_half_not_executable),
    case!("isolation/physical-addresses", "P1 P2", physical_addresses),
    case!("isolation/privileged-instructions", "P2 E1", privileged_instructions),
    case!("isolation/same-address-own-memory", "P1", same_address_own_memory),
    case!("isolation/own-world", "P3 D1", own_world),
    case!("isolation/resident-pages", "P2 P3 D1", resident_pages),
    case!("isolation/other-worlds", "P3 D1", other_worlds),
    case!("isolation/world-errors", "E1 D1", world_errors),
];

/// Addresses of the kernel: direct map, a frame in it, stacks, image, the last page, and what is no address at all.
const KERNEL: [usize; 9] = [
    0xffff_ffc0_0000_0000,
    0xffff_ffc0_8020_0000,
    0xffff_ffe0_0000_0000,
    0xffff_ffff_8020_0000,
    0xffff_ffff_8040_0000,
    0xffff_ffff_ffff_f000,
    0x0000_0040_0000_0000,
    0x0000_8000_0000_0000,
    0x8000_0000_0000_0000,
];

/// The same and what the kernel says that it keeps in this process.
fn kernel_addresses() -> Vec<usize> {
    let mut all = KERNEL.to_vec();
    all.extend(reachable().unwrap_or_default().iter().take(16).map(|page| page[0]));
    all
}

/// Lines of `N` hexadecimal numbers.
pub fn numbers<const N: usize>(path: &str) -> Result<Vec<[usize; N]>, Trouble> {
    let line = |line: &str| -> Option<[usize; N]> {
        let words: Option<Vec<usize>> =
            line.split_whitespace().map(|word| usize::from_str_radix(word, 16).ok()).collect();
        words?.try_into().ok()
    };
    let text = fs::read_to_string(path)?;
    let parsed: Option<Vec<_>> = text.lines().map(line).collect();
    parsed.ok_or_else(|| Trouble::failed(format_args!("{path}: not {N} numbers a line: {text}")))
}

/// Kernel pages that the page table of this process maps: address, physical address, bytes, writable.
fn reachable() -> Result<Vec<[usize; 4]>, Trouble> {
    numbers("/proc/self/resident")
}

/// What is to be resident in every `table` process: from where to where.
fn resident() -> Result<Vec<[usize; 2]>, Trouble> {
    numbers("/proc/asyncos/resident")
}

fn kernel_half_unreadable() -> Outcome {
    kernel_addresses().into_iter().try_for_each(|address| faults(|| raw::load8(address)))
}

fn kernel_half_unwritable() -> Outcome {
    kernel_addresses().into_iter().try_for_each(|address| faults(|| raw::store8(address, 0)))
}

fn kernel_half_not_executable() -> Outcome {
    needs_kernel("jumps to other halves")?;
    kernel_addresses().into_iter().try_for_each(|address| faults(|| raw::call(address, 0)))
}

/// Devices, firmware and memory at the addresses that the hardware has them at.
fn physical_addresses() -> Outcome {
    for address in [0x0010_0000, 0x0200_0000, 0x0c00_0000, 0x2400_0000, 0x2800_0000, 0x1000_0000] {
        // A program may have something of its own there.
        if mapped(address)? {
            continue;
        }
        faults(|| raw::load8(address))?;
        faults(|| raw::store8(address, 0))?;
    }
    for address in [0x8000_0000usize, 0x8020_0000, 0x8800_0000] {
        if !mapped(address)? {
            faults(|| raw::load8(address))?;
        }
    }
    Ok(())
}

fn mapped(address: usize) -> Result<bool, Trouble> {
    let text = fs::read_to_string("/proc/self/maps")?;
    Ok(text.lines().any(|line| {
        let mut ends = line.split([' ', '-']).map(|word| usize::from_str_radix(word, 16).unwrap_or(0));
        let (start, end) = (ends.next().unwrap_or(0), ends.next().unwrap_or(0));
        (start..end).contains(&address)
    }))
}

/// Instructions that belong to the kernel, the hypervisor or the firmware.
const PRIVILEGED: [(&str, u32); 9] = [
    ("csrr sstatus", 0x1000_2573),
    ("csrw satp", 0x1800_1073),
    ("csrr mstatus", 0x3000_2573),
    ("csrr hstatus", 0x6000_2573),
    ("csrw vsatp", 0x2800_1073),
    ("sret", 0x1020_0073),
    ("mret", 0x3020_0073),
    ("sfence.vma", 0x1200_0073),
    ("hfence.gvma", 0x6200_0073),
];
const RET: u32 = 0x0000_8067;

/// In `vm` the program runs in a supervisor's mode of its own, whose registers are its own: there the first kind
/// may work or trap, but touches nobody else.
fn privileged_instructions() -> Outcome {
    needs_kernel("privileged instructions")?;
    let own_mode = world() == Some(WORLD_VM);
    for (name, word) in PRIVILEGED {
        let base = map(PAGE, RW)?;
        raw::store64(base, u64::from(RET) << 32 | u64::from(word));
        call!(MPROTECT, base, PAGE, PROT_READ | PROT_EXEC)?;
        let pid = child(|| {
            raw::call(base, 0);
            77
        })?;
        if own_mode && !["csrr mstatus", "csrr hstatus", "mret", "csrw vsatp", "hfence.gvma"].contains(&name) {
            crate::process::sleep_ms(2);
            let _ = crate::process::kill(pid, rt::abi::signal::SIGKILL);
            crate::process::wait(pid)?;
        } else {
            dies(pid, SIGILL).map_err(|trouble| Trouble::failed(format_args!("{name}: {trouble:?}")))?;
        }
        crate::process::unmap(base, PAGE)?;
    }
    Ok(())
}

/// Two programs that were started alike lie at the same addresses, and do not see each other.
fn same_address_own_memory() -> Outcome {
    let base = map(PAGE, RW)?;
    let shared = crate::process::Shared::new()?;
    let mut pids = Vec::new();
    for number in 1..=4u32 {
        pids.push(child(|| {
            raw::store64(base, u64::from(number));
            shared.count(0);
            shared.await_least(0, 4);
            i32::from(raw::load64(base) != u64::from(number))
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    equal!(raw::load64(base), 0);
    Ok(())
}

fn own_world() -> Outcome {
    needs_asyncos()?;
    let Some(world) = world() else { return Err(Trouble::failed("no answer")) };
    ensure!([WORLD_VM, WORLD_TABLE, WORLD_SHARED].contains(&world), "world {world}");
    // Children live in the same.
    let pid = child(|| crate::machine::world().unwrap_or(99) as i32)?;
    exits(pid, world as u8)
}

/// The kernel walks this process's page table: in `vm` nothing of the kernel is there, in `table` exactly the resident
/// pages, each of them small and in a frame of its own.
fn resident_pages() -> Outcome {
    needs_asyncos()?;
    let pages = reachable()?;
    let resident = resident()?;
    let bytes: usize = resident.iter().map(|[start, end]| end - start).sum();
    // Trap entry and exit, and a save area a hart, of eight at most.
    ensure!((2 * PAGE..=16 * PAGE).contains(&bytes), "{resident:x?}");
    match world() {
        Some(WORLD_VM) => ensure!(pages.is_empty(), "{pages:x?}"),
        Some(WORLD_TABLE) => {
            let inside = |address: usize| resident.iter().any(|[start, end]| (*start..*end).contains(&address));
            ensure!(pages.iter().all(|page| inside(page[0]) && page[2] == PAGE), "{pages:x?}, {resident:x?}");
            let mut frames: Vec<usize> = pages.iter().map(|page| page[1]).collect();
            frames.sort_unstable();
            frames.dedup();
            equal!((frames.len(), pages.len()), (pages.len(), bytes / PAGE));
        }
        _ => ensure!(!pages.is_empty(), "the kernel is not mapped in `shared`"),
    }
    Ok(())
}

/// A program can be started in each world that this machine has, and runs there.
fn other_worlds() -> Outcome {
    needs_asyncos()?;
    let mut ran = 0;
    for wanted in [WORLD_VM, WORLD_TABLE, WORLD_SHARED] {
        match crate::process::call(WORLD, &[WORLD_SET_NEXT, wanted]) {
            Err(rt::abi::Errno::ENODEV) => continue,
            other => equal!(other, Ok(wanted)),
        }
        let mut command = Command::new(&own_path());
        let (status, output) = command.args(["--program", "world"]).output()?;
        ensure!(status.success(), "in world {wanted}: {status}");
        equal!(core::str::from_utf8(&output).map(|text| text.trim().parse()), Ok(Ok(wanted)));
        ran += 1;
    }
    ensure!(ran >= 2, "{ran} worlds");
    Ok(())
}

fn world_errors() -> Outcome {
    needs_asyncos()?;
    fails!(crate::process::call(WORLD, &[99, 0]), EINVAL);
    fails!(crate::process::call(WORLD, &[WORLD_GET, 1]), EINVAL);
    fails!(crate::process::call(WORLD, &[WORLD_SET_NEXT, 4]), EINVAL);
    fails!(crate::process::call(WORLD, &[WORLD_SET_NEXT, usize::MAX]), EINVAL);
    Ok(())
}
