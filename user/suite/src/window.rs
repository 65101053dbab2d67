//! The window: the scheduler's image and the pages beside it, which every process has and none can change (note 0003).

use crate::case::{Case, Outcome, Trouble};
use crate::isolation::numbers;
use crate::machine::needs_asyncos;
use crate::place::Place;
use crate::process::{PAGE, RW, child, exits, faults, map, map_at, unmap};
use crate::programs::own_path;
use alloc::string::String;
use alloc::vec::Vec;
use rt::abi::asyncos::AT_SCHEDULER;
use rt::abi::mm::{
    MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_EXEC, PROT_NONE,
    PROT_READ, PROT_WRITE,
};
use rt::abi::window::{HINT, IMAGE, IMAGE_PAGES, PAGES, RETURN, START, STATUS};
use rt::process::Command;
use rt::{fs, raw, start};

pub const CASES: &[Case] = &[
    case!("window/maps", "S2 D6", maps),
    case!("window/not-writable", "S2 S6", not_writable),
    case!("window/frames-not-writable", "S2 S6 P2", frames_not_writable),
    case!("window/stays", "S2 S6", stays),
    case!("window/advice", "S6", advice),
    case!("window/own-pages", "S6 P1", own_pages),
    case!("window/other-version", "S2", other_version),
];

/// Every page of it, mapped or not.
fn pages() -> impl Iterator<Item = usize> {
    (START..START + PAGES * PAGE).step_by(PAGE)
}

fn maps() -> Outcome {
    needs_asyncos()?;
    let text = fs::read_to_string("/proc/self/maps")?;
    let image = alloc::format!("{IMAGE:08x}-");
    let named = |name: &str, start: &str, rights: &str| {
        text.lines().any(|line| line.ends_with(name) && line.starts_with(start) && line.contains(rights))
    };
    ensure!(named("[sched]", &image, " r-xp "), "{text}");
    for (name, start, rights) in [("[status]", STATUS, " r--p "), ("[hint]", HINT, " rw-p ")] {
        ensure!(named(name, &alloc::format!("{start:08x}-"), rights), "{text}");
    }
    ensure!(named("[sigreturn]", &alloc::format!("{RETURN:08x}-"), " r-xp "), "{text}");
    equal!(start::auxiliary(AT_SCHEDULER), Some(IMAGE as u64));
    Ok(())
}

/// A store to any page but the hints ends the process that did it, and changes nothing for the others.
fn not_writable() -> Outcome {
    needs_asyncos()?;
    let before = raw::load64(IMAGE);
    for page in pages().filter(|page| *page != HINT) {
        faults(|| raw::store64(page, !before))?;
    }
    equal!(raw::load64(IMAGE), before);
    // Nobody reads beyond the image either: its pages hold nothing else.
    faults(|| raw::load8(IMAGE + IMAGE_PAGES * PAGE))?;
    // The kernel does not store there for a program.
    let zero = fs::File::open("/dev/zero")?;
    fails!(call!(READ, zero.fd().raw(), IMAGE, 8), EFAULT);
    fails!(call!(READ, zero.fd().raw(), STATUS, 8), EFAULT);
    equal!(raw::load64(IMAGE), before);
    Ok(())
}

/// The kernel walks its own page table, and this process's: the frames of the image are mapped, nowhere writable.
fn frames_not_writable() -> Outcome {
    needs_asyncos()?;
    let kernel: Vec<[usize; 4]> = numbers("/proc/asyncos/scheduler")?;
    let frames: Vec<usize> = kernel.iter().filter(|page| page[2] == PAGE).map(|page| page[1]).collect();
    // At the image's own address and in the direct map, which is how a program's copy of it is read.
    ensure!(frames.len() >= 2, "{kernel:x?}");
    ensure!(kernel.iter().all(|page| page[3] == 0), "{kernel:x?}");
    let reachable: Vec<[usize; 4]> = numbers("/proc/self/resident")?;
    let holds = |page: &[usize; 4]| frames.iter().any(|frame| (page[1]..page[1] + page[2]).contains(frame));
    let writable: Vec<_> = reachable.iter().filter(|page| holds(page) && page[3] != 0).collect();
    ensure!(writable.is_empty(), "{writable:x?}");
    // A read through the kernel, which uses the direct map.
    let (read, write) = rt::pipe::pipe()?;
    equal!(call!(WRITE, write.fd().raw(), IMAGE, 8), Ok(8));
    let mut bytes = [0; 8];
    equal!(call!(READ, read.fd().raw(), bytes.as_mut_ptr(), 8), Ok(8));
    equal!(u64::from_le_bytes(bytes), raw::load64(IMAGE));
    Ok(())
}

/// Nothing that changes mappings changes the window.
fn stays() -> Outcome {
    needs_asyncos()?;
    let before = fs::read_to_string("/proc/self/maps")?;
    // Those with a name, but the two that grow by themselves.
    let kept = |text: &str| -> Vec<String> {
        let grows = |line: &str| line.ends_with("[heap]") || line.ends_with("[stack]");
        text.lines().filter(|line| line.ends_with(']') && !grows(line)).map(String::from).collect()
    };
    let own = map(2 * PAGE, RW)?;
    for page in pages() {
        fails!(unmap(page, PAGE), EPERM);
        fails!(map_at(page, PAGE, RW), EPERM);
        for rights in [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC] {
            fails!(call!(MPROTECT, page, PAGE, rights), EPERM);
        }
        fails!(call!(MREMAP, page, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EPERM);
        fails!(call!(MREMAP, page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, own), EPERM);
        fails!(call!(MREMAP, own, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page), EPERM);
    }
    // From below into it, and all of user space at once.
    fails!(unmap(START - PAGE, 2 * PAGE), EPERM);
    fails!(map_at(START - PAGE, 2 * PAGE, RW), EPERM);
    fails!(call!(MPROTECT, START - PAGE, 2 * PAGE, RW), EPERM);
    fails!(unmap(PAGE, START + PAGES * PAGE - PAGE), EPERM);
    fails!(call!(MMAP, IMAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, usize::MAX, 0), EEXIST);
    let elsewhere = call!(MMAP, START, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX, 0)?;
    ensure!(elsewhere < START, "{elsewhere:x}");
    let end = call!(BRK, 0)?;
    equal!(call!(BRK, START + PAGE), Ok(end));
    let after = fs::read_to_string("/proc/self/maps")?;
    equal!(kept(&after), kept(&before));
    Ok(())
}

/// Advice is allowed, and what the hint page holds stays there.
fn advice() -> Outcome {
    needs_asyncos()?;
    let at = HINT + PAGE - 8;
    let before = raw::load64(at);
    raw::store64(at, 0x1234);
    for page in [IMAGE, STATUS, HINT, RETURN] {
        equal!(call!(MADVISE, page, PAGE, MADV_DONTNEED), Ok(0));
    }
    equal!(raw::load64(at), 0x1234);
    raw::store64(at, before);
    Ok(())
}

/// A child's status and hints are its own, and begin as zeros.
fn own_pages() -> Outcome {
    needs_asyncos()?;
    let at = HINT + PAGE - 8;
    let before = raw::load64(at);
    raw::store64(at, 0x5678);
    let pid = child(|| {
        let fresh = raw::load64(at) == 0 && raw::load64(STATUS) == 0;
        raw::store64(at, 9);
        i32::from(!fresh)
    })?;
    exits(pid, 0)?;
    equal!(raw::load64(at), 0x5678);
    raw::store64(at, before);
    Ok(())
}

/// A program that was built for another scheduler says so in one line, and ends.
fn other_version() -> Outcome {
    needs_asyncos()?;
    let mut bytes = fs::read(&own_path())?;
    // The note of `rt`: name size, content size, type 2, the name; the version follows.
    let note = *b"\x08\0\0\0\x04\0\0\0\x02\0\0\0AsyncOS\0";
    let Some(at) = bytes.windows(note.len()).position(|window| window == note) else {
        return Err(Trouble::failed("the program has no note of its scheduler's version"));
    };
    let version = u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + note.len() + byte]));
    bytes[at + note.len()..][..4].copy_from_slice(&(version + 1).to_le_bytes());
    let place = Place::best()?;
    let path = place.join("other");
    fs::write(&path, &bytes)?;
    fs::set_permissions(&path, 0o755)?;
    let line = place.join("line");
    let errors = fs::File::create(&line)?;
    let status = Command::new(&path).args(["--program", "exit", "0"]).stderr(errors).status()?;
    let (status, text) = (status.code(), fs::read_to_string(&line)?);
    let expected = alloc::format!(
        "{path}: built for version {} of the scheduler, this kernel has version {version}\n",
        version + 1
    );
    equal!((status, text), (Some(126), expected));
    Ok(())
}
