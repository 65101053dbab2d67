//! What a new program finds on its stack: Linux's layout for riscv64.
//!
//! ```text
//! top   strings: environment, arguments, path; 16 random bytes
//!       auxiliary vector, ending with AT_NULL
//!       environment pointers, 0
//!       argument pointers, 0
//! sp    number of arguments                     (sp is a multiple of 16)
//! ```

use crate::{image::Image, process::Identity};
use abi::{asyncos::AT_SCHEDULER, errno::Errno, process::*};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use hal::{PAGE_SIZE, sync::SpinLock};
use mem::{Room, list};

/// End of the stack: below the window.
pub const TOP: usize = abi::window::START;
/// Most bytes of one string.
pub const MAX_STRING: usize = 128 << 10;
/// Most bytes of all strings and pointers together.
pub const MAX_STRINGS: usize = 2 << 20;

/// Fills a buffer with random bytes.
pub type Entropy = fn(&mut [u8]);

static ENTROPY: SpinLock<Option<Entropy>> = SpinLock::new(hal::sync::rank::ACCOUNT, None);

/// Sets where `AT_RANDOM` comes from.
pub fn set_entropy(source: Entropy) {
    *ENTROPY.lock() = Some(source);
}

fn random() -> [u8; 16] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 16];
    let source = *ENTROPY.lock();
    if let Some(source) = source {
        source(&mut bytes);
        return bytes;
    }
    // Without a source: different from process to process, not secret.
    for (at, half) in bytes.chunks_mut(8).enumerate() {
        let seed = hal::time::now().wrapping_add(COUNTER.fetch_add(1 + at as u64, Ordering::Relaxed));
        half.copy_from_slice(
            &seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes(),
        );
    }
    bytes
}

/// Strings of a new program, each without its NUL.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// Arguments; the first is the program's name by convention.
    pub arguments: Vec<Vec<u8>>,
    /// Environment.
    pub environment: Vec<Vec<u8>>,
}

impl Strings {
    /// Bytes that they take on the stack, pointers included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arguments.iter().chain(&self.environment).map(|string| string.len() + 1 + size_of::<u64>()).sum()
    }
}

/// The content of a stack that ends at [`TOP`]; it starts at the stack pointer.
///
/// # Errors
/// `E2BIG` if it would exceed [`MAX_STRINGS`]; `ENOMEM`.
pub fn build(strings: &Strings, path: &[u8], image: &Image, identity: &Identity) -> Result<(usize, Vec<u8>), Errno> {
    if strings.bytes() > MAX_STRINGS || path.len() > MAX_STRING {
        return Err(Errno::E2BIG);
    }
    let mut top = Vec::new();
    top.make_room(strings.bytes() + path.len() + 64)?;
    let mut put = |bytes: &[u8], end: &[u8]| {
        let at = top.len();
        top.extend_from_slice(bytes);
        top.extend_from_slice(end);
        at
    };
    let random_at = put(&random(), &[]);
    let path_at = put(path, &[0]);
    let mut arguments = list(strings.arguments.len())?;
    arguments.extend(strings.arguments.iter().map(|string| put(string, &[0])));
    let mut environment = list(strings.environment.len())?;
    environment.extend(strings.environment.iter().map(|string| put(string, &[0])));
    let base = (TOP - top.len()) & !15;
    let mut words: Vec<u64> = Vec::new();
    words.make_room(arguments.len() + environment.len() + 48)?;
    words.push(arguments.len() as u64);
    words.extend(arguments.iter().map(|at| (base + at) as u64));
    words.push(0);
    words.extend(environment.iter().map(|at| (base + at) as u64));
    words.push(0);
    for (kind, value) in auxiliary(image, identity, base + random_at, base + path_at) {
        words.extend([kind, value]);
    }
    let sp = (base - words.len() * size_of::<u64>()) & !15;
    let mut bytes = list(TOP - sp)?;
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.resize(base - sp, 0);
    bytes.extend_from_slice(&top);
    Ok((sp, bytes))
}

fn auxiliary(image: &Image, identity: &Identity, random: usize, path: usize) -> [(u64, u64); 18] {
    let isa = COMPAT_HWCAP_ISA_I
        | COMPAT_HWCAP_ISA_M
        | COMPAT_HWCAP_ISA_A
        | COMPAT_HWCAP_ISA_F
        | COMPAT_HWCAP_ISA_D
        | COMPAT_HWCAP_ISA_C;
    [
        // First, for every native program looks for it at its start.
        (AT_SCHEDULER, crate::window::image().unwrap_or_default() as u64),
        (AT_HWCAP, isa),
        (AT_PAGESZ, PAGE_SIZE as u64),
        (AT_CLKTCK, 100),
        (AT_PHDR, image.table as u64),
        (AT_PHENT, crate::image::ENTRY_BYTES as u64),
        (AT_PHNUM, image.entries as u64),
        (AT_BASE, 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, image.entry as u64),
        (AT_UID, u64::from(identity.uid)),
        (AT_EUID, u64::from(identity.euid)),
        (AT_GID, u64::from(identity.gid)),
        (AT_EGID, u64::from(identity.egid)),
        (AT_SECURE, 0),
        (AT_RANDOM, random as u64),
        (AT_EXECFN, path as u64),
        (AT_NULL, 0),
    ]
}
