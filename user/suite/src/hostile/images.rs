//! Executable files that are none, or not quite.

use crate::case::{Outcome, Trouble};
use crate::elf::{BASE, Elf, Segment};
use crate::machine::needs_kernel;
use crate::place::Place;
use crate::process::child;
use alloc::ffi::CString;
use alloc::vec::Vec;
use rt::abi::Errno;
use rt::abi::process::WaitStatus;
use rt::fs;

/// What comes of executing these bytes: the error of `execve`, or how the process ended.
fn execute(place: &Place, bytes: &[u8]) -> Result<Result<WaitStatus, Errno>, Trouble> {
    execute_with(place, bytes, 1)
}

/// The same with so many arguments, each the file's name or, as there may be many, nothing.
fn execute_with(place: &Place, bytes: &[u8], count: usize) -> Result<Result<WaitStatus, Errno>, Trouble> {
    let path = place.join("program");
    // A new file each time: the old one may still be in use.
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, 0o755)?;
    let name = CString::new(path).map_err(Trouble::failed)?;
    let shared = crate::process::Shared::new()?;
    let pid = child(|| {
        let argument = if count == 1 { name.as_c_str() } else { c"" };
        let mut arguments = alloc::vec![argument.as_ptr() as usize; count];
        arguments.push(0);
        // A program that runs wild runs for two seconds at most.
        let limit = [2u64, 2];
        let _ = call!(PRLIMIT64, 0, rt::abi::process::RLIMIT_CPU, limit.as_ptr(), 0);
        let error = call!(EXECVE, name.as_ptr(), arguments.as_ptr(), 0).err();
        shared.set(0, error.map_or(0, |errno| errno.number() as u32));
        1
    })?;
    let status = crate::process::wait(pid)?;
    Ok(match Errno::new(shared.get(0) as u16) {
        Some(errno) => Err(errno),
        None => Ok(status),
    })
}

fn runs(place: &Place) -> Outcome {
    equal!(execute(place, &Elf::correct().bytes(42))?, Ok(WaitStatus::Exited(42)));
    Ok(())
}

/// The correct one runs, from the disk and from memory.
pub fn correct() -> Outcome {
    needs_kernel("execve")?;
    runs(&Place::best()?)?;
    runs(&Place::memory()?)
}

fn altered(change: impl FnOnce(&mut Elf)) -> Vec<u8> {
    let mut elf = Elf::correct();
    change(&mut elf);
    elf.bytes(0)
}

fn second(change: impl FnOnce(&mut Segment)) -> Vec<u8> {
    altered(|elf| {
        let mut segment = Segment { address: BASE + 0x10_0000, flags: 6, ..elf.segments[0] };
        change(&mut segment);
        elf.segments.push(segment);
        let more = Elf::code_offset(2) - Elf::code_offset(1);
        elf.segments[0].file_size += more;
        elf.segments[0].memory_size += more;
        elf.entry += more;
    })
}

/// Files that are not executed at all.
pub fn refused() -> Outcome {
    needs_kernel("execve")?;
    let place = Place::any()?;
    let files: [(&str, Vec<u8>); 12] = [
        ("empty", Vec::new()),
        ("one byte", alloc::vec![0x7f]),
        ("magic only", b"\x7fELF".to_vec()),
        ("another magic", altered(|elf| elf.magic = *b"\x7fELG")),
        ("another machine", altered(|elf| elf.machine = 62)),
        ("a relocatable file", altered(|elf| elf.kind = 1)),
        ("a core file", altered(|elf| elf.kind = 4)),
        ("no program headers", altered(|elf| elf.count = Some(0))),
        ("small program headers", altered(|elf| elf.entry_size = 55)),
        ("too many program headers", altered(|elf| elf.count = Some(60_000))),
        ("program headers behind the end", altered(|elf| elf.table = 1 << 40)),
        ("program headers that wrap", altered(|elf| elf.table = u64::MAX - 10)),
    ];
    for (what, bytes) in files {
        let result = execute(&place, &bytes)?;
        let fine = matches!(result, Err(Errno::ENOEXEC | Errno::EINVAL | Errno::EIO));
        ensure!(fine, "{what}: {result:?}");
        runs(&place)?;
    }
    Ok(())
}

/// Files of which a loader may make something or not; but that something must not be a success by accident, where
/// the file asks for what cannot be.
pub fn odd() -> Outcome {
    needs_kernel("execve")?;
    let place = Place::any()?;
    let kernel = 0xffff_ffc0_0000_0000;
    // What must not run; and what may.
    let files: [(&str, bool, Vec<u8>); 17] = [
        ("entry in the kernel", false, altered(|elf| elf.entry = kernel)),
        ("entry at nothing", false, altered(|elf| elf.entry = 16)),
        ("entry at the end of memory", false, altered(|elf| elf.entry = u64::MAX - 1)),
        ("segment in the kernel", false, altered(|elf| elf.segments[0].address = kernel)),
        ("segment behind user memory", false, altered(|elf| elf.segments[0].address = 1 << 38)),
        ("segment that wraps", false, altered(|elf| elf.segments[0].memory_size = u64::MAX - 100)),
        ("file part longer than memory", false, altered(|elf| elf.segments[0].memory_size = 20)),
        ("no loadable segment", false, altered(|elf| elf.segments[0].kind = 4)),
        ("segment that is not executable", false, altered(|elf| elf.segments[0].flags = 4)),
        ("file part behind the file", false, altered(|elf| elf.segments[0].offset = 1 << 30)),
        ("offset that does not fit the address", false, altered(|elf| elf.segments[0].offset = 8)),
        ("second in the kernel", false, second(|segment| segment.address = kernel)),
        ("second of endless size", false, second(|segment| segment.memory_size = 1 << 60)),
        ("second over the first", true, second(|segment| segment.address = BASE)),
        ("second empty", true, second(|segment| (segment.file_size, segment.memory_size) = (0, 0))),
        ("writable and executable", true, altered(|elf| elf.segments[0].flags = 7)),
        ("odd alignment", true, altered(|elf| elf.segments[0].align = 3)),
    ];
    for (what, may_run, bytes) in files {
        let result = execute(&place, &bytes)?;
        ensure!(may_run || result != Ok(WaitStatus::Exited(0)), "{what}: it ran");
        runs(&place)?;
    }
    Ok(())
}

/// Cut after any number of bytes, the file is refused, or its process ends.
pub fn truncated() -> Outcome {
    needs_kernel("execve")?;
    let place = Place::any()?;
    let bytes = Elf::correct().bytes(0);
    // A cut in the last instruction alone would leave it whole: what follows it is zero anyway.
    for len in (0..bytes.len() - 3).step_by(3) {
        let result = execute(&place, &bytes[..len])?;
        ensure!(result != Ok(WaitStatus::Exited(0)), "{len} bytes of {} ran", bytes.len());
    }
    runs(&place)
}

/// One bit of the headers is wrong, each in turn: whatever comes of it, it ends, and the next program runs.
pub fn flipped() -> Outcome {
    needs_kernel("execve")?;
    let place = Place::any()?;
    let bytes = Elf::correct().bytes(0);
    for bit in (0..8 * Elf::code_offset(1) as usize).step_by(5) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let _ = execute(&place, &changed)?;
    }
    runs(&place)
}

/// As many arguments as their list has places for when it has grown by doubling: the interpreter's name and the script's make it grow once more, beyond what any
/// piece of the kernel's memory has.
pub fn script_with_many_arguments() -> Outcome {
    const MANY: usize = 1 << 17;
    needs_kernel("the largest list of arguments")?;
    let place = Place::any()?;
    let outcome = execute_with(&place, b"#!/bin/true\n", MANY)?;
    ensure!(matches!(outcome, Ok(WaitStatus::Exited(_)) | Err(Errno::ENOMEM | Errno::E2BIG)), "{outcome:?}");
    runs(&place)
}
