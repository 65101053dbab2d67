//! Files in the page cache.

use crate::measure::{Outcome, call, measure};
use alloc::ffi::CString;
use rt::abi::fs::{AT_FDCWD, SEEK_SET};
use rt::abi::nr;
use rt::fs::{self, File};
use rt::io::{self, Read, Write};

const PAGE: usize = 4096;
/// Pages of the file, all of them cached.
const PAGES: usize = 1024;
const PATH: &str = "/root/bench.data";

/// Reading and writing by pages, opening, asking.
pub fn reads() -> Outcome {
    let mut file = File::create(PATH)?;
    let mut page = [1u8; PAGE];
    for _ in 0..PAGES {
        file.write_all(&page)?;
    }
    drop(file);
    let result = measure_file(&mut page);
    fs::remove_file(PATH)?;
    result
}

fn measure_file(page: &mut [u8; PAGE]) -> Outcome {
    let mut file = File::open(PATH)?;
    let fd = file.fd().raw() as usize;
    let address = page.as_mut_ptr() as usize;
    // From the first page to the last, eight times; the seek back is a part in a thousand.
    measure("read4k", 8 * PAGES as u64, |count| {
        for number in 0..count {
            if number % PAGES as u64 == 0 {
                call(nr::LSEEK, &[fd, 0, SEEK_SET as usize])?;
            }
            file.read_exact(page)?;
        }
        Ok(())
    })?;
    let mut seed = 1u32;
    measure("pread4k_random", 8 * PAGES as u64, |count| {
        for _ in 0..count {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let offset = (seed >> 8) as usize % PAGES * PAGE;
            if call(nr::PREAD64, &[fd, address, PAGE, offset])? != PAGE {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ended"));
            }
        }
        Ok(())
    })?;
    measure("read1", 20_000, |count| {
        for _ in 0..count {
            call(nr::PREAD64, &[fd, address, 1, 0])?;
        }
        Ok(())
    })?;
    drop(file);
    let name = CString::new(PATH).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let name = name.as_ptr() as usize;
    let here = AT_FDCWD as usize;
    measure("open_close", 5_000, |count| {
        for _ in 0..count {
            let fd = call(nr::OPENAT, &[here, name, 0, 0])?;
            call(nr::CLOSE, &[fd])?;
        }
        Ok(())
    })?;
    let mut stat = [0u64; 16];
    measure("stat", 5_000, |count| {
        for _ in 0..count {
            call(nr::NEWFSTATAT, &[here, name, stat.as_mut_ptr() as usize, 0])?;
        }
        Ok(())
    })
}
