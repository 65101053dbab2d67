//! A plugin for the emulator: counts the instructions that each hart executes while the guest says so.
//!
//! The emulator's own count (`-icount`) has all harts take turns on one thread, so that one which waits for another burns its turn.
//! Here they run as they do without a plugin, and each has its counters: of user programs, of the kernel, and of the firmware, told
//! apart by the address. What waits in `wfi` executes nothing, and is not counted; what spins is.
//!
//! The guest marks begin and end of what is measured with two instructions that do nothing (`slti x0, x0, N`, hints of the
//! architecture). At each end a line is appended to the file that the argument `out=` names, with five numbers for each hart: instructions of three kinds, how often it left
//! user programs, and how often of that by a call (an `ecall`; the rest are interrupts and exceptions):
//!
//! ```text
//!   user kernel firmware entries calls user kernel firmware entries calls ...
//! ```
//!
//! Counted is where a block of translated code begins; a block that an interrupt or a fault leaves half-way is counted whole, which is
//! less than a tenth of a percent.
//!
//! **Interface.** The emulator has no header file where it is installed, so what is used of its interface is declared here: eight functions,
//! the same in all versions but for [`insn_data`]. It asks for a number: 1 before version 9, 2 from there on; which of the two is chosen when
//! this is built, with `QEMU_PLUGIN_API` in the environment.
#![expect(unsafe_code, reason = "it is called by the emulator and calls it, through its C interface")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::mem::transmute;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// A translated block, and an instruction of it, while they are being translated.
#[repr(C)]
struct Block([u8; 0]);
#[repr(C)]
struct Instruction([u8; 0]);

/// What the emulator says of itself.
#[repr(C)]
struct Info {
    target: *const c_char,
    oldest: c_int,
    version: c_int,
    is_system: bool,
    harts: c_int,
    most_harts: c_int,
}

type OnBlock = extern "C" fn(u64, *mut Block);
type OnHart = extern "C" fn(c_uint, *mut c_void);

/// The callback reads no registers.
const NO_REGISTERS: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: OnBlock);
    fn qemu_plugin_register_vcpu_tb_exec_cb(block: *mut Block, callback: OnHart, flags: c_int, data: *mut c_void);
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnHart,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    // Called through one of two other types.
    fn qemu_plugin_insn_data();
}

/// Which interface this is for.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = match option_env!("QEMU_PLUGIN_API") {
    Some(api) if api.as_bytes()[0] == b'2' => 2,
    _ => 1,
};

/// `ecall`.
const ECALL: [u8; 4] = 0x0000_0073u32.to_le_bytes();
/// `slti x0, x0, 0x5a1` and `0x5a2`.
const BEGIN: [u8; 4] = 0x5a10_2013u32.to_le_bytes();
const END: [u8; 4] = 0x5a20_2013u32.to_le_bytes();

/// Harts at most: as many as the machine can have.
const MOST_HARTS: usize = 8;
/// User programs, kernel, firmware.
const KINDS: usize = 3;
const USER: usize = 0;
const KERNEL: usize = 1;
const FIRMWARE_KIND: usize = 2;

/// Counters of a hart, on a cache line of their own. All relaxed: its own thread is the only one that writes them, and who reads them elsewhere may be a block behind.
#[repr(align(64))]
struct Hart {
    instructions: [AtomicU64; KINDS],
    /// Times that something else ran behind a user program: the kernel, or firmware, for a call, an exception or an interrupt.
    entries: AtomicU64,
    /// Calls of user programs.
    calls: AtomicU64,
    /// What the last block was of.
    last: AtomicUsize,
}

impl Hart {
    const fn new() -> Self {
        Self {
            instructions: [const { AtomicU64::new(0) }; KINDS],
            entries: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            last: AtomicUsize::new(KERNEL),
        }
    }

    fn ran(&self, instructions: u64, kind: usize) {
        self.instructions[kind].fetch_add(instructions, Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        if last != kind {
            self.last.store(kind, Ordering::Relaxed);
            if last == USER {
                self.entries.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.instructions.iter().chain([&self.entries, &self.calls]).map(|count| count.load(Ordering::Relaxed))
    }
}

static HARTS: [Hart; MOST_HARTS] = [const { Hart::new() }; MOST_HARTS];

/// What was counted at the last begin, and where lines go.
struct Report {
    harts: usize,
    begin: Vec<u64>,
    file: File,
}

static REPORT: Mutex<Option<Report>> = Mutex::new(None);
/// The emulator's interface, by its number.
static VERSION: OnceLock<c_int> = OnceLock::new();

/// Where the firmware lies.
const FIRMWARE: core::ops::Range<u64> = 0x8000_0000..0x8020_0000;

/// Whose code an address is: the kernel's are in the upper half.
fn kind_of(address: u64) -> usize {
    match address {
        _ if address >> 63 != 0 => KERNEL,
        _ if FIRMWARE.contains(&address) => FIRMWARE_KIND,
        _ => USER,
    }
}

/// All counters, hart by hart.
fn counted(harts: usize) -> Vec<u64> {
    HARTS.iter().take(harts).flat_map(Hart::counts).collect()
}

/// The number that a block's callback is given: its instructions, and whose they are.
fn packed(instructions: usize, kind: usize) -> usize {
    instructions * KINDS + kind
}

extern "C" fn run(hart: c_uint, data: *mut c_void) {
    let data = data.addr();
    if let Some(hart) = HARTS.get(hart as usize) {
        hart.ran((data / KINDS) as u64, data % KINDS);
    }
}

extern "C" fn called(hart: c_uint, _: *mut c_void) {
    if let Some(hart) = HARTS.get(hart as usize) {
        hart.calls.fetch_add(1, Ordering::Relaxed);
    }
}

extern "C" fn begin(_: c_uint, _: *mut c_void) {
    if let Ok(mut report) = REPORT.lock()
        && let Some(report) = report.as_mut()
    {
        report.begin = counted(report.harts);
    }
}

extern "C" fn end(_: c_uint, _: *mut c_void) {
    if let Ok(mut report) = REPORT.lock()
        && let Some(report) = report.as_mut()
    {
        let counts = counted(report.harts).into_iter().zip(&report.begin).map(|(now, then)| now - then);
        let line: Vec<String> = counts.map(|count| count.to_string()).collect();
        // Who reads the file misses a line that could not be written.
        let _ = writeln!(report.file, "{}", line.join(" "));
    }
}

/// The bytes of an instruction of four.
///
/// # Safety
/// The instruction is being translated, and has four bytes.
unsafe fn insn_data(instruction: *const Instruction) -> [u8; 4] {
    let mut bytes = [0; 4];
    // SAFETY: up to interface 2 it answers where the bytes are, from 3 on it copies them; by contract there are four.
    unsafe {
        if VERSION.get().is_some_and(|version| *version >= 3) {
            let copy: unsafe extern "C" fn(*const Instruction, *mut u8, usize) -> usize =
                transmute(qemu_plugin_insn_data as unsafe extern "C" fn());
            copy(instruction, bytes.as_mut_ptr(), bytes.len());
        } else {
            let find: unsafe extern "C" fn(*const Instruction) -> *const u8 =
                transmute(qemu_plugin_insn_data as unsafe extern "C" fn());
            find(instruction).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
        }
    }
    bytes
}

extern "C" fn translated(_: u64, block: *mut Block) {
    // SAFETY: the emulator calls this with a block that it is translating; its instructions are as many as it says.
    unsafe {
        let count = qemu_plugin_tb_n_insns(block);
        let kind = kind_of(qemu_plugin_tb_vaddr(block));
        let data = core::ptr::without_provenance_mut(packed(count, kind));
        qemu_plugin_register_vcpu_tb_exec_cb(block, run, NO_REGISTERS, data);
        if kind != USER {
            return;
        }
        for index in 0..count {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            if qemu_plugin_insn_size(instruction) != BEGIN.len() {
                continue;
            }
            let watched = [(ECALL, called as OnHart), (BEGIN, begin), (END, end)];
            let bytes = insn_data(instruction);
            if let Some((_, callback)) = watched.into_iter().find(|(watched, _)| *watched == bytes) {
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, callback, NO_REGISTERS, core::ptr::null_mut());
            }
        }
    }
}

/// The file that `out=` names among the plugin's arguments.
///
/// # Safety
/// There are `count` strings at `arguments`.
unsafe fn file(count: c_int, arguments: *const *const c_char) -> Option<File> {
    let arguments = (0..usize::try_from(count).ok()?).map(|index| {
        // SAFETY: by contract.
        unsafe { CStr::from_ptr(*arguments.add(index)) }.to_str().unwrap_or_default()
    });
    let path = arguments.filter_map(|argument| argument.strip_prefix("out=")).next()?;
    File::create(path).inspect_err(|error| eprintln!("count: {path}: {error}")).ok()
}

/// Called once, when the emulator has loaded this.
///
/// # Safety
/// The emulator calls it, as its interface says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: by contract there is what it says of itself at `info`, and there are so many arguments.
    let (info, file) = unsafe { (&*info.cast::<Info>(), file(count, arguments)) };
    let Some(file) = file else {
        eprintln!("count: an argument `out=FILE` is needed");
        return -1;
    };
    let harts = usize::try_from(info.harts).unwrap_or(1).clamp(1, MOST_HARTS);
    let Ok(mut report) = REPORT.lock() else { return -1 };
    *report = Some(Report { harts, begin: counted(harts), file });
    let _ = VERSION.set(info.version);
    // SAFETY: the number is this plugin's.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let kinds = [0x1_0000, 0x3f_ffff_f000, 0x8000_0000, 0x801f_fffc, 0x8020_0000, 0xffff_ffff_8000_0000];
        assert_eq!(kinds.map(kind_of), [0, 0, 2, 2, 0, 1]);
    }

    #[test]
    fn leaving_a_program_is_counted_once_whatever_runs_then() {
        let hart = Hart::new();
        for kind in [KERNEL, USER, USER, KERNEL, FIRMWARE_KIND, KERNEL, USER, FIRMWARE_KIND, USER] {
            hart.ran(10, kind);
        }
        assert_eq!(hart.counts().collect::<Vec<_>>(), [40, 30, 20, 2, 0]);
    }

    #[test]
    fn marks_are_instructions_that_do_nothing() {
        for (bytes, number) in [(BEGIN, 0x5a1), (END, 0x5a2)] {
            let word = u32::from_le_bytes(bytes);
            // Opcode, destination, function, source.
            assert_eq!((word & 0x7f, word >> 7 & 31, word >> 12 & 7, word >> 15 & 31), (0x13, 0, 2, 0));
            assert_eq!(word >> 20, number);
        }
    }
}
