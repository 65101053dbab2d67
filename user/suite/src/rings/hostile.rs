//! What programs do to a ring's memory, on purpose or not.

use super::*;

pub const CASES: &[Case] = &[
    case!("ring/any-value-anywhere", "C4 S6 E1", any_value_anywhere),
    case!("ring/entries-that-change", "C4 S6", entries_that_change),
    case!("ring/reads-that-change", "C4 S6", reads_that_change),
    case!("ring/mappings", "C4 S6 D15", mappings),
    case!("ring/of-two-processes", "C4 P1", of_two_processes),
    case!("ring/many-rings", "C4 D13", many_rings),
];

/// What a program spoils.
pub(super) const WORDS: [usize; 16] = [
    at::SQ_HEAD,
    at::SQ_TAIL,
    at::CQ_HEAD,
    at::CQ_TAIL,
    at::SQ_FLAGS,
    at::SQ_DROPPED,
    at::CQ_FLAGS,
    at::CQ_OVERFLOW,
    at::SQ_MASK,
    at::CQ_MASK,
    at::SQ_ENTRIES,
    at::CQ_ENTRIES,
    at::SQ_TAIL,
    at::CQ_HEAD,
    at::SQ_TAIL,
    at::CQ_HEAD,
];

/// A small generator: the same values in each run.
pub fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 24
}

fn any_value_anywhere() -> Outcome {
    let mut state = 7;
    for _ in 0..8 {
        let ring = Ring::new(16, 0)?;
        let [(_, _), (entries, bytes)] = ring.mappings();
        for _ in 0..400 {
            let value = scramble(&mut state);
            let word = ring.address(WORDS[value as usize % WORDS.len()]);
            let near = raw::atomic(word).load(Relaxed).wrapping_add((value >> 8) as u32 % 40).wrapping_sub(8);
            raw::atomic(word).store(if value & 64 == 0 { near } else { scramble(&mut state) as u32 }, Relaxed);
            raw::atomic(ring.number((value >> 16) as u32 & 15)).store((scramble(&mut state) & 31) as u32, Relaxed);
            let place = (value >> 7) as usize % (bytes / 8) * 8;
            let wide = scramble(&mut state) ^ scramble(&mut state) << 32;
            // An operation with any flags, then: but of a descriptor that is not there.
            raw::store64(
                entries + place,
                if place.is_multiple_of(64) { wide & 0xffff_ff3f | 0xffff << 44 } else { wide },
            );
            // Any answer will do, and a wait would be for nothing.
            let _ = call!(IO_URING_ENTER, ring.fd().raw(), value as u32 & 31, 0, IORING_ENTER_GETEVENTS, 0, 0);
        }
    }
    // Others have come to no harm.
    nothing()
}

fn entries_that_change() -> Outcome {
    let mut ring = Ring::new(64, 0)?;
    let [_, (entries, bytes)] = ring.mappings();
    let stop = Shared::new()?;
    // Opcode and flags in the first word, the result in the fourth, then what comes back.
    let values = [[0, 5 | 1 << 32, 0x1111_1111_1111_1111], [255, 7 | 1 << 32, 0x2222_2222_2222_2222]];
    let changer = thread::spawn(move || {
        while stop.get(0) == 0 {
            for [first, result, user_data] in values {
                for place in (entries..entries + bytes).step_by(64) {
                    raw::store64(place, first);
                    raw::store64(place + 24, result);
                    raw::store64(place + 32, user_data);
                }
            }
        }
    })?;
    let outcome = tries(&mut ring, 2_000, |ring| {
        for (user_data, result) in reap(ring) {
            let known =
                |index: usize| values.iter().any(|value| value[index] & 0xffff_ffff == u64::from(result as u32));
            if !values.iter().any(|value| value[2] == user_data) && user_data != 0
                || !known(1) && result != EINVAL && result != 0
            {
                return Err(Trouble::failed(format_args!("{user_data:#x} {result}")));
            }
        }
        Ok(())
    });
    stop.set(0, 1);
    let _ = changer.join();
    outcome
}

/// Has the kernel take all entries of a ring of 64, as they are, so many times for each round that the runner was asked for; 128,000 entries are a round of 2,000.
fn tries(ring: &mut Ring, times: u64, mut check: impl FnMut(&mut Ring) -> Outcome) -> Outcome {
    let tail = raw::atomic(ring.address(at::SQ_TAIL));
    for place in 0..64 {
        raw::atomic(ring.number(place)).store(place, Relaxed);
    }
    for _ in 0..times * fuzz::number(fuzz::ROUNDS, 1) {
        // What is there, without writing it.
        let next = tail.load(Relaxed).wrapping_add(64);
        tail.store(next, Relaxed);
        while raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed) != next {
            call!(IO_URING_ENTER, ring.fd().raw(), 64, 0, 0, 0, 0)?;
        }
        check(ring)?;
    }
    Ok(())
}

/// Descriptor, address and length of reads change between those of two files while they are read: what is done is of one of each, and the whole of it. A length that
/// is looked at twice would say other than it moved; an address or a file, move some of both.
fn reads_that_change() -> Outcome {
    const SLOT: usize = 512;
    const LENGTHS: [u64; 2] = [100, 180];
    let mut ring = Ring::new(64, 0)?;
    let [_, (entries, bytes)] = ring.mappings();
    let (files, base) = ([file_of(0xaa)?, file_of(0xbb)?], crate::process::map(64 * SLOT, crate::process::RW)?);
    let fds = files.each_ref().map(|file| file.fd().raw() as u64);
    let stop = Shared::new()?;
    let changer = thread::spawn(move || {
        while stop.get(0) == 0 {
            for which in 0..2 {
                for (number, place) in (entries..entries + bytes).step_by(64).enumerate() {
                    raw::store64(place, u64::from(IORING_OP_READ) | fds[which] << 32);
                    raw::store64(place + 16, (base + number * SLOT + which * SLOT / 2) as u64);
                    raw::store64(place + 24, LENGTHS[which]);
                    raw::store64(place + 32, number as u64);
                }
            }
        }
    })?;
    // Each is there.
    while raw::load64(entries + bytes - 32) != 63 {
        thread::yield_now();
    }
    let mut seen = [[0u32; 2]; 2];
    let outcome = tries(&mut ring, 500, |ring| {
        let mut found = reap(ring);
        while found.len() < 64 {
            // Some wait until memory is there.
            call!(IO_URING_ENTER, ring.fd().raw(), 0, 1, IORING_ENTER_GETEVENTS, 0, 0)?;
            found.extend(reap(ring));
        }
        for (number, result) in found {
            let slot = raw::bytes(base + number as usize * SLOT, SLOT);
            let (first, second) = slot.split_at(SLOT / 2);
            let (half, other) = if first[0] != 0 { (first, second) } else { (second, first) };
            let (value, len) = (half[0], LENGTHS.iter().position(|len| *len == result as u64));
            let moved = half.iter().take_while(|byte| **byte == value).count();
            let is_clean = half[moved..].iter().chain(other).all(|byte| *byte == 0);
            let (Some(len), true, true) = (len, [0xaa, 0xbb].contains(&value), is_clean && moved as i32 == result)
            else {
                return Err(Trouble::failed(format_args!("{result}: {moved} bytes of {value:#x}")));
            };
            seen[usize::from(value == 0xbb)][len] += 1;
            slot.fill(0);
        }
        Ok(())
    });
    stop.set(0, 1);
    let _ = changer.join();
    outcome?;
    ensure!(seen.iter().all(|lengths| lengths.iter().sum::<u32>() > 0), "one file only: {seen:?}");
    crate::process::unmap(base, 64 * SLOT)?;
    Ok(())
}

/// A file of one value.
fn file_of(value: u8) -> Result<rt::fs::File, Trouble> {
    const PATH: &str = "/tmp/ring-reads-that-change";
    let mut file = rt::fs::OpenOptions::new().read(true).write(true).create(true).open(PATH)?;
    rt::fs::remove_file(PATH)?;
    io::Write::write_all(&mut file, &[value; 256])?;
    Ok(file)
}

fn mappings() -> Outcome {
    let mut ring = Ring::new(64, 0)?;
    let (prot, fd) = (m::PROT_READ | m::PROT_WRITE, ring.fd().raw());
    let map = |len: usize, offset: u64| call!(MMAP, 0, len, prot, m::MAP_SHARED, fd, offset);
    fails!(map(PAGE, IORING_OFF_SQES + 0x80_0000), ENOMEM);
    fails!(map(64 * 64 + PAGE, IORING_OFF_SQES), ENOMEM);
    fails!(map(1 << 30, IORING_OFF_SQ_RING), ENOMEM);
    // Both offsets of the first mapping are the same memory.
    let again = map(PAGE, IORING_OFF_CQ_RING)?;
    equal!(run(&mut ring, &[nop(1, 0, 1)])?, [(1, 1)]);
    equal!(raw::atomic(again).load(Relaxed), raw::atomic(ring.address(at::SQ_HEAD)).load(Relaxed));
    call!(MUNMAP, again, PAGE)?;
    // The kernel needs none of the program's mappings.
    let [(words, len), (entries, bytes)] = ring.mappings();
    let view = map(PAGE, IORING_OFF_SQ_RING)?;
    ensure!(ring.push_raw(&nop(2, 0, 2)) && ring.push_raw(&nop(3, 0, 3)));
    let tail = view + ring.address(at::SQ_TAIL) - words;
    call!(MADVISE, entries, bytes, m::MADV_DONTNEED)?;
    call!(MPROTECT, entries, bytes, m::PROT_NONE)?;
    call!(MPROTECT, words, len, m::PROT_NONE)?;
    raw::atomic(tail).store(raw::atomic(tail).load(Relaxed) + 2, Relaxed);
    equal!(call!(IO_URING_ENTER, fd, 2, 2, IORING_ENTER_GETEVENTS, 0, 0)?, 2);
    call!(MPROTECT, words, len, prot)?;
    equal!(reap(&mut ring), [(2, 2), (3, 3)]);
    // A child has the same pages.
    call!(MPROTECT, entries, bytes, prot)?;
    let number = ring.number(0);
    let pid = child(|| {
        raw::atomic(number).store(77, Relaxed);
        0
    })?;
    exits(pid, 0)?;
    equal!(raw::atomic(number).load(Relaxed), 77);
    Ok(())
}

fn of_two_processes() -> Outcome {
    const ROUNDS: u64 = 300;
    let mut ring = Ring::new(8, 0)?;
    let (fd, tail) = (ring.fd().raw(), raw::atomic(ring.address(at::SQ_TAIL)));
    let [_, (entries, bytes)] = ring.mappings();
    (0..bytes / 8).for_each(|word| raw::store64(entries + 8 * word, 0));
    (0..8).for_each(|place| raw::atomic(ring.number(place)).store(place, Relaxed));
    let submit = move || {
        // The tail is both's; the kernel takes each entry once.
        for _ in 0..ROUNDS {
            tail.fetch_add(1, Relaxed);
            call!(IO_URING_ENTER, fd, 1, 0, 0, 0, 0)?;
        }
        Ok(())
    };
    let pid = checked_child(submit)?;
    submit()?;
    exits(pid, 0)?;
    while call!(IO_URING_ENTER, fd, 8, 0, 0, 0, 0)? > 0 {}
    let mut found = 0;
    loop {
        found += reap(&mut ring).len() as u64;
        if found == 2 * ROUNDS {
            return Ok(());
        }
        let before = found;
        ring.flush()?;
        found += reap(&mut ring).len() as u64;
        ensure!(found > before, "{found} of {}", 2 * ROUNDS);
    }
}

fn many_rings() -> Outcome {
    // Until there are no more, and again: nothing of the first is left.
    let mut counts = Vec::new();
    for _ in 0..2 {
        let mut rings = Vec::new();
        while let Ok(ring) = Ring::new(64, 0) {
            rings.push(ring);
        }
        counts.push(rings.len());
        let mut last = rings.pop().ok_or(Trouble::failed("not one"))?;
        equal!(run(&mut last, &[nop(1, 0, 1)])?, [(1, 1)]);
    }
    // A few less where memory is what ends: others may have more of it by now.
    ensure!(counts[0] > 100 && counts[1] + counts[1] / 50 >= counts[0], "{counts:?}");
    Ok(())
}
