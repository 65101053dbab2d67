//! Requests that a device serves on the program's own pages: many at a time, registered buffers, and what becomes of memory and process meanwhile.

use super::buffers::{piece, register};
use super::calls::one;
use super::*;
use crate::files::direct::{self, disk, pread};
use crate::process::{RW, dies, kill, map, sleep_ms, unmap};
use rt::abi::signal::SIGKILL;
use rt::fs::File;

pub const CASES: &[Case] = &[
    case!("ring/direct-many", "C4 D18", many),
    case!("ring/direct-wrong", "C4 E1 D3", wrong),
    case!("ring/direct-file", "C4 D18", file),
    case!("ring/direct-memory-goes", "C4 D14 D15", memory_goes),
    case!("ring/direct-forks", "C4 D15 P1", forks),
    case!("ring/direct-killed", "C4 D14 P1", killed),
    case!("ring/direct-cancelled", "C4 D14", cancelled),
];

const DEPTH: usize = 32;

fn read_of(file: &File, address: usize, len: usize, offset: usize) -> Sqe {
    let (addr, len, off) = (address as u64, len as u32, offset as u64);
    Sqe { opcode: IORING_OP_READ, fd: file.fd().raw(), addr, len, off, user_data: 7, ..Sqe::default() }
}

/// Waits for so many completions.
fn gather(ring: &mut Ring, count: usize) -> Result<Vec<(u64, i32)>, Trouble> {
    let mut found = Vec::new();
    while found.len() < count {
        ring.submit(1)?;
        found.extend(reap(ring));
    }
    Ok(found)
}

/// Three times as many as fit into the device's queue, the registered buffer's in turn with others: each finds its page.
fn many() -> Outcome {
    let place = crate::place::Place::disk()?;
    let path = place.join("file");
    let content = crate::files::pattern(0, 64 * PAGE);
    rt::fs::write(&path, &content)?;
    let file = direct::open(&path, rt::abi::fs::O_RDONLY)?;
    let mut ring = Ring::new(128, 0)?;
    let memory = map(128 * PAGE, RW)?;
    equal!(register(&ring, &[piece(memory, 128 * PAGE)])?, 0);
    for round in 0..10 {
        raw::bytes(memory, 128 * PAGE).fill(0);
        let page = |number: usize| (number * 37 + round) % 64;
        for number in 0..128 {
            let entry = read_of(&file, memory + number * PAGE, PAGE, page(number) * PAGE);
            let opcode = if number % 2 == 0 { IORING_OP_READ_FIXED } else { IORING_OP_READ };
            push(&mut ring, &[Sqe { opcode, user_data: number as u64, ..entry }]);
        }
        let mut found = gather(&mut ring, 128)?;
        found.sort_unstable();
        ensure!(found.iter().enumerate().all(|(number, one)| *one == (number as u64, PAGE as i32)), "{found:?}");
        for number in 0..128 {
            let expected = &content[page(number) * PAGE..][..PAGE];
            ensure!(raw::bytes(memory + number * PAGE, PAGE) == expected, "round {round}: page {number} is another");
        }
    }
    Ok(())
}

fn wrong() -> Outcome {
    let disk = disk()?;
    let end = call!(LSEEK, disk.fd().raw(), 0, rt::abi::fs::SEEK_END)?;
    let mut ring = Ring::new(8, 0)?;
    let memory = map(4 * PAGE, RW)?;
    for (address, len, offset) in [(1, 512, 0), (0, 100, 0), (0, 512, 100)] {
        equal!(one(&mut ring, read_of(&disk, memory + address, len, offset))?, EINVAL);
    }
    equal!(one(&mut ring, read_of(&disk, memory, PAGE, end))?, 0);
    equal!(one(&mut ring, read_of(&disk, memory, 2 * PAGE, end - 512))?, 512);
    equal!(one(&mut ring, read_of(&disk, 512, 512, 0))?, -14);
    equal!(one(&mut ring, read_of(&disk, memory, 0, 0))?, 0);
    equal!(one(&mut ring, Sqe { opcode: IORING_OP_WRITE, ..read_of(&disk, memory, PAGE, 0) })?, -9);
    // Of a chain, one that gets less than it asked for is the last.
    let first = Sqe { flags: IOSQE_IO_LINK, ..read_of(&disk, memory, PAGE, end - 512) };
    push(&mut ring, &[first, nop(8, 0, 0)]);
    equal!(gather(&mut ring, 2)?, [(7, 512), (8, CANCELLED)]);
    push(&mut ring, &[Sqe { off: 0, ..first }, nop(8, 0, 0)]);
    equal!(gather(&mut ring, 2)?, [(7, PAGE as i32), (8, 0)]);
    Ok(())
}

/// Written by entries, read by entries and by the call; memory that has not been touched.
fn file() -> Outcome {
    let place = crate::place::Place::disk()?;
    let path = place.join("file");
    rt::fs::write(&path, alloc::vec![1u8; 16 * PAGE])?;
    let file = direct::open(&path, rt::abi::fs::O_RDWR)?;
    let mut ring = Ring::new(32, 0)?;
    let (memory, fresh) = (map(16 * PAGE, RW)?, map(16 * PAGE, RW)?);
    for number in 0..16 {
        raw::bytes(memory + number * PAGE, PAGE).fill(10 + number as u8);
        let entry = read_of(&file, memory + number * PAGE, PAGE, number * PAGE);
        push(&mut ring, &[Sqe { opcode: IORING_OP_WRITE, ..entry }]);
    }
    ensure!(gather(&mut ring, 16)?.iter().all(|one| *one == (7, PAGE as i32)), "a write is short");
    for number in 0..16 {
        push(&mut ring, &[read_of(&file, fresh + number * PAGE, PAGE, number * PAGE)]);
    }
    ensure!(gather(&mut ring, 16)?.iter().all(|one| *one == (7, PAGE as i32)), "a read is short");
    let whole = raw::bytes(memory, 16 * PAGE);
    ensure!(raw::bytes(fresh, 16 * PAGE) == whole, "other bytes are read");
    ensure!(rt::fs::read(&path)? == whole, "other bytes are in the cache");
    // Behind the end: the file grows.
    let entry = Sqe { opcode: IORING_OP_WRITE, ..read_of(&file, memory, PAGE, 20 * PAGE) };
    equal!(one(&mut ring, entry)?, PAGE as i32);
    equal!(rt::fs::metadata(&path)?.size(), 21 * PAGE as u64);
    Ok(())
}

/// The memory goes as soon as the device has it, and others get the addresses.
fn memory_goes() -> Outcome {
    let disk = disk()?;
    let mut ring = Ring::new(DEPTH as u32, 0)?;
    for _ in 0..50 {
        let memory = map(DEPTH * PAGE, RW)?;
        raw::bytes(memory, DEPTH * PAGE).fill(1);
        (0..DEPTH).for_each(|number| push(&mut ring, &[read_of(&disk, memory + number * PAGE, PAGE, number * PAGE)]));
        ring.submit(0)?;
        unmap(memory, DEPTH * PAGE)?;
        let other = crate::process::map_at(memory, DEPTH * PAGE, RW)?;
        ensure!(gather(&mut ring, DEPTH)?.iter().all(|one| *one == (7, PAGE as i32)), "a read is short");
        ensure!(
            raw::bytes(other, DEPTH * PAGE).iter().all(|byte| *byte == 0),
            "a device wrote to memory that is another's"
        );
        unmap(other, DEPTH * PAGE)?;
    }
    Ok(())
}

/// A child is born while the device works: it has what was there before, or what came, and nothing comes to it later.
fn forks() -> Outcome {
    let disk = disk()?;
    let (memory, expected) = (map(DEPTH * PAGE, RW)?, map(PAGE, RW)?);
    equal!(pread(&disk, expected, PAGE, 0), Ok(PAGE));
    let mut ring = Ring::new(DEPTH as u32, 0)?;
    for round in 0..20 {
        raw::bytes(memory, DEPTH * PAGE).fill(1);
        (0..DEPTH).for_each(|number| push(&mut ring, &[read_of(&disk, memory + number * PAGE, PAGE, 0)]));
        ring.submit(0)?;
        let shared = Shared::new()?;
        let pid = checked_child(|| {
            let before: Vec<u8> = raw::bytes(memory, DEPTH * PAGE).to_vec();
            shared.await_least(0, 1);
            ensure!(raw::bytes(memory, DEPTH * PAGE) == before, "a device wrote to the child's memory");
            Ok(())
        })?;
        ensure!(gather(&mut ring, DEPTH)?.iter().all(|one| *one == (7, PAGE as i32)), "a read is short");
        let is_there = |number: usize| raw::bytes(memory + number * PAGE, 1024) == raw::bytes(expected, 1024);
        let all = (0..DEPTH).all(is_there);
        shared.set(0, 1);
        exits(pid, 0)?;
        ensure!(all, "round {round}: what was read is not the parent's");
    }
    Ok(())
}

fn killed() -> Outcome {
    let disk = disk()?;
    for round in 0..30 {
        let shared = Shared::new()?;
        let pid = child(|| {
            let (Ok(mut ring), Ok(memory)) = (Ring::new(DEPTH as u32, 0), map(DEPTH * PAGE, RW)) else { return 1 };
            loop {
                for number in 0..DEPTH {
                    push(&mut ring, &[read_of(&disk, memory + number * PAGE, PAGE, number * PAGE)]);
                }
                if ring.submit(round % 3).is_err() {
                    return 2;
                }
                reap(&mut ring);
                shared.count(0);
            }
        })?;
        shared.await_least(0, 1 + round % 5);
        kill(pid, SIGKILL)?;
        dies(pid, SIGKILL)?;
    }
    // The disk is whole.
    let memory = map(PAGE, RW)?;
    equal!(pread(&disk, memory, PAGE, 0), Ok(PAGE));
    Ok(())
}

/// What a device has begun goes on: each is completed once, with its bytes, and whoever cancels hears that it was there, or is over.
fn cancelled() -> Outcome {
    let disk = disk()?;
    let mut ring = Ring::new(64, 0)?;
    let memory = map(DEPTH * PAGE, RW)?;
    for _ in 0..20 {
        for number in 0..DEPTH {
            let entry = read_of(&disk, memory + number * PAGE, PAGE, number * PAGE);
            let cancel = Sqe { opcode: IORING_OP_ASYNC_CANCEL, addr: number as u64, user_data: 100, ..Sqe::default() };
            push(&mut ring, &[Sqe { user_data: number as u64, ..entry }, Sqe { fd: -1, ..cancel }]);
        }
        let found = gather(&mut ring, 2 * DEPTH)?;
        for number in 0..DEPTH as u64 {
            let results: Vec<_> = found.iter().filter(|one| one.0 == number).map(|one| one.1).collect();
            equal!(results, [PAGE as i32]);
        }
        let known = |result: &i32| [-2, -114].contains(result);
        ensure!(found.iter().filter(|one| one.0 == 100).all(|one| known(&one.1)), "{found:?}");
    }
    // The ring goes while they are under way.
    (0..DEPTH).for_each(|number| push(&mut ring, &[read_of(&disk, memory + number * PAGE, PAGE, number * PAGE)]));
    ring.submit(0)?;
    drop(ring);
    sleep_ms(1);
    Ok(())
}
