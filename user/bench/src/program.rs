//! The smallest program: three instructions that exit with 0, in a file of one page. Both systems start the same.

use rt::{fs, io};

/// Where it is kept.
pub const PATH: &core::ffi::CStr = c"/tmp/tiny";
const BASE: u64 = 0x40_0000;
const CODE: u64 = 64 + 56;

/// Writes the file.
///
/// # Errors
/// Those of writing.
pub fn write() -> io::Result<()> {
    let mut bytes = alloc::vec::Vec::new();
    let size = CODE + 12;
    bytes.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // An executable for RISC-V, version 1.
    bytes.extend_from_slice(&[2, 0, 243, 0, 1, 0, 0, 0]);
    // Entry, program headers, no sections.
    [BASE + CODE, 64, 0].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    // Flags; sizes of this header and of the one program header.
    bytes.extend_from_slice(&[5, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // PT_LOAD, readable and executable.
    bytes.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    [0, BASE, BASE, size, size, 4096].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    // li a0, 0; li a7, 93; ecall
    [0x0000_0513u32, 0x05d0_0893, 0x0000_0073].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    let path = PATH.to_str().unwrap_or_default();
    let _ = fs::remove_file(path);
    fs::write(path, &bytes)?;
    fs::set_permissions(path, 0o755)
}
