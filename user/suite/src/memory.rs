//! Memory: mappings, their contents, sharing, growth. What is forbidden is in [`protection`].

pub mod protection;

use crate::case::{Case, Outcome};
use crate::place::Place;
use crate::process::{PAGE, RW, Shared, child, exits, map, map_at, unmap};
use alloc::vec::Vec;
use rt::abi::mm::{
    MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED,
    MREMAP_MAYMOVE, PROT_READ,
};
use rt::fs::{self, File, OpenOptions};
use rt::io::{Read, Write};
use rt::raw;

pub const CASES: &[Case] = &[
    case!("memory/zero-on-demand", "D13 P1", zero_on_demand),
    case!("memory/far-apart", "D13", far_apart),
    case!("memory/zero-page-then-write", "D15", zero_page_then_write),
    case!("memory/fixed-replaces", "D3", fixed_replaces),
    case!("memory/fixed-noreplace", "D3", fixed_noreplace),
    case!("memory/unmap-middle", "D3", unmap_middle),
    case!("memory/map-errors", "E1", map_errors),
    case!("memory/brk", "D3", brk),
    case!("memory/shared-anonymous", "P4", shared_anonymous),
    case!("memory/private-file", "D15 D18", private_file),
    case!("memory/private-file-tail", "D18", private_file_tail),
    case!("memory/shared-file", "D18 P4", shared_file),
    case!("memory/file-outlives-descriptor", "D18", file_outlives_descriptor),
    case!("memory/copy-on-write-family", "D15 P1", copy_on_write_family),
    case!("memory/copy-on-write-by-the-kernel", "D15", copy_on_write_by_the_kernel),
    case!("memory/dontneed", "D3", dontneed),
    case!("memory/remap", "D3", remap),
    case!("memory/stack-grows", "D3", stack_grows),
    case!("memory/read-into-untouched", "D15", read_into_untouched),
    case!("memory/map-unmap-many", "D13", map_unmap_many),
];

fn zero_on_demand() -> Outcome {
    let pages = 256;
    let base = map(pages * PAGE, RW)?;
    for page in 0..pages {
        let words = (0..PAGE / 8).all(|word| raw::load64(base + page * PAGE + 8 * word) == 0);
        ensure!(words, "page {page} was not zero");
        raw::store64(base + page * PAGE, u64::MAX);
    }
    unmap(base, pages * PAGE)?;
    // The same frames may come back; their contents may not.
    let again = map(pages * PAGE, RW)?;
    ensure!((0..pages).all(|page| raw::load64(again + page * PAGE) == 0), "somebody's data came back");
    Ok(())
}

fn far_apart() -> Outcome {
    let len = 4 << 30;
    let base = call!(MMAP, 0, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, usize::MAX, 0)?;
    for step in 0..16 {
        raw::store64(base + step * (len / 16), step as u64 + 1);
    }
    ensure!((0..16).all(|step| raw::load64(base + step * (len / 16)) == step as u64 + 1));
    equal!(raw::load8(base + len - 1), 0);
    unmap(base, len)?;
    Ok(())
}

fn zero_page_then_write() -> Outcome {
    let base = map(2 * PAGE, RW)?;
    equal!(raw::load64(base), 0);
    equal!(raw::load64(base + PAGE), 0);
    raw::store64(base, 9);
    equal!((raw::load64(base), raw::load64(base + PAGE)), (9, 0));
    Ok(())
}

fn fixed_replaces() -> Outcome {
    let base = map(3 * PAGE, RW)?;
    (0..3).for_each(|page| raw::store64(base + page * PAGE, 1));
    equal!(map_at(base + PAGE, PAGE, RW), Ok(base + PAGE));
    equal!([0, 1, 2].map(|page| raw::load64(base + page * PAGE)), [1, 0, 1]);
    Ok(())
}

fn fixed_noreplace() -> Outcome {
    let base = map(2 * PAGE, RW)?;
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    fails!(call!(MMAP, base, PAGE, RW, flags, usize::MAX, 0), EEXIST);
    unmap(base, PAGE)?;
    equal!(call!(MMAP, base, PAGE, RW, flags, usize::MAX, 0), Ok(base));
    Ok(())
}

fn unmap_middle() -> Outcome {
    let base = map(3 * PAGE, RW)?;
    (0..3).for_each(|page| raw::store64(base + page * PAGE, 5));
    unmap(base + PAGE, PAGE)?;
    equal!((raw::load64(base), raw::load64(base + 2 * PAGE)), (5, 5));
    crate::process::faults(|| raw::load8(base + PAGE))?;
    // What is not mapped may be unmapped.
    equal!(unmap(base, 3 * PAGE), Ok(0));
    equal!(unmap(base, 3 * PAGE), Ok(0));
    Ok(())
}

fn map_errors() -> Outcome {
    let anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    fails!(map(0, RW), EINVAL);
    fails!(call!(MMAP, 0, PAGE, RW, MAP_ANONYMOUS, usize::MAX, 0), EINVAL);
    fails!(call!(MMAP, 0, usize::MAX - PAGE + 1, RW, anonymous, usize::MAX, 0), ENOMEM);
    fails!(call!(MMAP, 123, PAGE, RW, anonymous | MAP_FIXED, usize::MAX, 0), EINVAL);
    fails!(call!(MMAP, 0, PAGE, RW, MAP_PRIVATE, 999, 0), EBADF);
    fails!(call!(MMAP, 0, PAGE, RW, MAP_PRIVATE, 1, 7), EINVAL);
    fails!(call!(MUNMAP, 5, PAGE), EINVAL);
    fails!(call!(MUNMAP, PAGE, 0), EINVAL);
    fails!(call!(MPROTECT, 5, PAGE, RW), EINVAL);
    // Behind the end of what a user may have.
    fails!(call!(MMAP, 0xffff_ffc0_0000_0000usize, PAGE, RW, anonymous | MAP_FIXED, usize::MAX, 0), ENOMEM);
    Ok(())
}

fn brk() -> Outcome {
    let start = call!(BRK, 0)?;
    let wanted = start + 20 * PAGE;
    equal!(call!(BRK, wanted), Ok(wanted));
    raw::store64(start.next_multiple_of(8), 3);
    raw::store8(wanted - 1, 4);
    equal!(call!(BRK, start), Ok(start));
    equal!(call!(BRK, wanted), Ok(wanted));
    equal!(raw::load8(wanted - 1), 0);
    // What cannot be leaves it as it was.
    equal!(call!(BRK, 1usize), Ok(wanted));
    equal!(call!(BRK, usize::MAX), Ok(wanted));
    equal!(call!(BRK, start), Ok(start));
    Ok(())
}

fn shared_anonymous() -> Outcome {
    let shared = Shared::new()?;
    let pids = [child(|| add(shared)), child(|| add(shared)), child(|| add(shared))];
    for pid in pids {
        exits(pid?, 0)?;
    }
    equal!(shared.get(0), 3000);
    Ok(())
}

fn add(shared: Shared) -> i32 {
    (0..1000).for_each(|_| shared.count(0));
    0
}

fn with_file(place: &Place, len: usize) -> Result<File, crate::case::Trouble> {
    let path = place.join("mapped");
    let bytes: Vec<u8> = (0..len).map(|index| (index / PAGE + index) as u8).collect();
    fs::write(&path, &bytes)?;
    Ok(OpenOptions::new().read(true).write(true).open(&path)?)
}

fn private_file() -> Outcome {
    let place = Place::best()?;
    let file = with_file(&place, 3 * PAGE)?;
    let base = call!(MMAP, 0, 2 * PAGE, RW, MAP_PRIVATE, file.fd().raw(), PAGE)?;
    equal!([raw::load8(base), raw::load8(base + PAGE + 5)], [1, 7]);
    raw::store8(base, 99);
    let mut byte = [0];
    file.read_at(&mut byte, PAGE as u64)?;
    equal!(byte, [1]);
    exits(
        child(|| {
            let found = raw::load8(base);
            raw::store8(base, 98);
            i32::from(found != 99)
        })?,
        0,
    )?;
    equal!(raw::load8(base), 99);
    Ok(())
}

/// Behind the end of the file the last page is zero, and the next is nothing.
fn private_file_tail() -> Outcome {
    let place = Place::best()?;
    let file = with_file(&place, PAGE + 100)?;
    let base = call!(MMAP, 0, 3 * PAGE, PROT_READ, MAP_PRIVATE, file.fd().raw(), 0)?;
    equal!(raw::load8(base + PAGE + 99), 100);
    equal!([raw::load8(base + PAGE + 100), raw::load8(base + 2 * PAGE - 1)], [0, 0]);
    let pid = child(|| i32::from(raw::load8(base + 2 * PAGE)))?;
    crate::process::dies(pid, rt::abi::signal::SIGBUS)
}

fn shared_file() -> Outcome {
    let place = Place::best()?;
    let file = with_file(&place, 2 * PAGE)?;
    let mapped = call!(MMAP, 0, 2 * PAGE, RW, MAP_SHARED, file.fd().raw(), 0);
    if mapped == Err(rt::abi::Errno::ENODEV) && crate::machine::is_asyncos() {
        return Err(crate::case::Trouble::skipped("writable shared file mappings are not provided"));
    }
    let base = mapped?;
    exits(
        child(|| {
            raw::store8(base + PAGE, 200);
            0
        })?,
        0,
    )?;
    equal!(raw::load8(base + PAGE), 200);
    let mut byte = [0];
    file.read_at(&mut byte, PAGE as u64)?;
    equal!(byte, [200]);
    file.write_at(&[201], 3)?;
    equal!(raw::load8(base + 3), 201);
    call!(MSYNC, base, 2 * PAGE, rt::abi::mm::MS_SYNC)?;
    Ok(())
}

fn file_outlives_descriptor() -> Outcome {
    let place = Place::any()?;
    let file = with_file(&place, 2 * PAGE)?;
    let base = call!(MMAP, 0, 2 * PAGE, PROT_READ, MAP_PRIVATE, file.fd().raw(), 0)?;
    drop(file);
    fs::remove_file(&place.join("mapped"))?;
    equal!(raw::load8(base + PAGE), 1);
    unmap(base, 2 * PAGE)?;
    Ok(())
}

/// Three generations write to the same pages; each sees its own.
fn copy_on_write_family() -> Outcome {
    let base = map(8 * PAGE, RW)?;
    (0..8).for_each(|page| raw::store64(base + page * PAGE, 1));
    let pid = child(|| {
        (0..4).for_each(|page| raw::store64(base + page * PAGE, 2));
        let grandchild = child(|| {
            (2..6).for_each(|page| raw::store64(base + page * PAGE, 3));
            i32::from(values(base) != [2, 2, 3, 3, 3, 3, 1, 1])
        });
        let fine = grandchild.is_ok_and(|pid| exits(pid, 0).is_ok());
        i32::from(!fine || values(base) != [2, 2, 2, 2, 1, 1, 1, 1])
    })?;
    exits(pid, 0)?;
    equal!(values(base), [1; 8]);
    Ok(())
}

fn values(base: usize) -> [u64; 8] {
    core::array::from_fn(|page| raw::load64(base + page * PAGE))
}

/// The kernel's own writes into shared pages (here: `read`) copy them too.
fn copy_on_write_by_the_kernel() -> Outcome {
    let base = map(2 * PAGE, RW)?;
    raw::store64(base, 1);
    let (read, mut write) = rt::pipe::pipe()?;
    write.write_all(&[0xaa; 8])?;
    let pid = child(|| {
        let got = call!(READ, read.fd().raw(), base, 8);
        i32::from(got != Ok(8) || raw::load64(base) != 0xaaaa_aaaa_aaaa_aaaa)
    })?;
    exits(pid, 0)?;
    equal!(raw::load64(base), 1);
    Ok(())
}

fn dontneed() -> Outcome {
    let base = map(2 * PAGE, RW)?;
    raw::store64(base, 1);
    raw::store64(base + PAGE, 2);
    call!(MADVISE, base, PAGE, MADV_DONTNEED)?;
    equal!((raw::load64(base), raw::load64(base + PAGE)), (0, 2));
    Ok(())
}

fn remap() -> Outcome {
    let base = map(2 * PAGE, RW)?;
    raw::store64(base + PAGE, 7);
    let grown = crate::case::provided(call!(MREMAP, base, 2 * PAGE, 64 * PAGE, MREMAP_MAYMOVE, 0), "mremap")?;
    equal!((raw::load64(grown + PAGE), raw::load64(grown + 63 * PAGE)), (7, 0));
    equal!(call!(MREMAP, grown, 64 * PAGE, 2 * PAGE, 0, 0), Ok(grown));
    crate::process::faults(|| raw::load8(grown + 2 * PAGE))?;
    let unmapped = map(PAGE, RW)?;
    unmap(unmapped, PAGE)?;
    fails!(call!(MREMAP, grown + 1, PAGE, PAGE, MREMAP_MAYMOVE, 0), EINVAL);
    fails!(call!(MREMAP, unmapped, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0), EFAULT);
    Ok(())
}

#[inline(never)]
fn deeper(left: usize) -> u64 {
    let frame = core::hint::black_box([left as u64; 128]);
    if left == 0 { frame[3] } else { deeper(left - 1) + frame[left % 128] - left as u64 }
}

/// One MiB of stack, of the eight that are usual.
fn stack_grows() -> Outcome {
    equal!(deeper(1000), 0);
    Ok(())
}

fn read_into_untouched() -> Outcome {
    let len = 24 * PAGE;
    let place = Place::any()?;
    let mut file = with_file(&place, len)?;
    let base = map(len, RW)?;
    let mut got = 0;
    while got < len {
        let more = call!(READ, file.fd().raw(), base + got, len - got)?;
        ensure!(more > 0);
        got += more;
    }
    ensure!((0..len).all(|index| raw::load8(base + index) == (index / PAGE + index) as u8));
    equal!(file.read(&mut [0])?, 0);
    Ok(())
}

fn map_unmap_many() -> Outcome {
    let mut bases = Vec::new();
    for round in 0..10 {
        for index in 0..100usize {
            let base = map((index % 7 + 1) * PAGE, RW)?;
            raw::store64(base, (round * 100 + index) as u64);
            bases.push(base);
        }
        // Every other one first, so that holes lie between the rest.
        for half in 0..2 {
            for index in (half..100).step_by(2) {
                equal!(raw::load64(bases[index]), (round * 100 + index) as u64);
                unmap(bases[index], (index % 7 + 1) * PAGE)?;
            }
        }
        bases.clear();
    }
    Ok(())
}
