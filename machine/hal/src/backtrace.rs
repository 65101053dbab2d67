//! Symbolised backtraces of the kernel.
//!
//! The build tool writes a symbol table into the reserved section `.ksyms` of the linked image: magic, count,
//! then for each function its offset from the image's start and the offset of its name. Frames are followed
//! by frame pointers; where library code keeps none, the chain ends early and the trace says so.

use crate::kernel_table;
use core::fmt::Write;

/// Room for the table.
const SIZE: usize = 416 << 10;
const MAGIC: u32 = 0x4d59_534b;
/// Frames printed at most.
const DEPTH: usize = 40;

#[repr(align(8))]
struct Table([u8; SIZE]);

#[unsafe(link_section = ".ksyms")]
#[used]
static TABLE: Table = Table([0; SIZE]);

fn word(offset: usize) -> Option<u32> {
    let bytes: *const [u8; SIZE] = &raw const TABLE.0;
    if offset + 4 > SIZE || !offset.is_multiple_of(4) {
        return None;
    }
    // SAFETY: inside the table. Volatile, because the build tool changes it after the compiler is done.
    Some(unsafe { bytes.cast::<u8>().add(offset).cast::<u32>().read_volatile() })
}

/// Name and start of the function that contains `address`.
pub fn symbol(address: usize) -> Option<(&'static str, usize)> {
    let start = kernel_table::image().start;
    let offset = u32::try_from(address.checked_sub(start)?).ok()?;
    if word(0)? != MAGIC {
        return None;
    }
    let count = word(4)? as usize;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if word(8 + middle * 4)? <= offset { low = middle + 1 } else { high = middle }
    }
    let index = low.checked_sub(1)?;
    let name = word(8 + (count + index) * 4)? as usize;
    // The compiler sees a table of zeroes; what the build tool wrote is behind this pointer only.
    let table: *const [u8; SIZE] = core::hint::black_box(&raw const TABLE.0);
    // SAFETY: the table is a static of this size that nothing writes while the machine runs.
    let bytes: &'static [u8] = unsafe { &*table }.get(name..)?;
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((core::str::from_utf8(&bytes[..end]).ok()?, start + word(8 + index * 4)? as usize))
}

/// Writes one line for a code address.
fn line(out: &mut impl Write, number: usize, address: usize) {
    let _ = match symbol(address) {
        Some((name, start)) => writeln!(out, "  {number:2}: {address:#x} {name}+{:#x}", address - start),
        None => writeln!(out, "  {number:2}: {address:#x}"),
    };
}

/// Writes the call chain of the caller.
pub fn print(out: &mut impl Write) {
    let mut frame: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mv {0}, s0", out(reg) frame, options(nomem, nostack)) };
    for number in 0..DEPTH {
        // The frame pointer is the stack pointer of the caller; below it lie the return address and the
        // caller's frame pointer. Each step must go up, on mapped memory.
        let valid = frame > riscv::boot::STACKS
            && frame.is_multiple_of(8)
            && kernel_table::is_mapped(frame - 16)
            && kernel_table::is_mapped(frame - 8);
        if !valid {
            break;
        }
        // SAFETY: mapped in the kernel's table, aligned.
        let (address, next) = unsafe { (*((frame - 8) as *const usize), *((frame - 16) as *const usize)) };
        if !kernel_table::text().contains(&address) {
            break;
        }
        line(out, number, address);
        if next <= frame {
            break;
        }
        frame = next;
    }
}
