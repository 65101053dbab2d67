//! Rings in memory of the program's own (`IORING_SETUP_NO_MMAP`), also without a descriptor (`IORING_SETUP_REGISTERED_FD_ONLY`).

use super::wide::words_of;
use super::*;
use crate::process::{RW, map, map_at};
use core::sync::atomic::Ordering::{Acquire, Release};
use rt::abi::fs::O_RDWR;

pub const CASES: &[Case] = &[
    case!("ring/in-the-programs-memory", "C4 D3", in_memory),
    case!("ring/in-shared-memory", "C4 D3 I1", in_shared_memory),
    case!("ring/without-a-descriptor", "C4 D3 D14", without_descriptor),
    case!("ring/wrong-memory-for-a-ring", "C4 E1", wrong),
    case!("ring/its-memory-changes-meanwhile", "C4 E1 S6", changes_meanwhile),
];

/// Where the ring and the entries lie: a page each, and one behind each.
#[derive(Clone, Copy)]
struct Memory {
    ring: usize,
    entries: usize,
}

impl Memory {
    fn new() -> Result<Self, Errno> {
        let start = map(4 * PAGE, RW)?;
        Ok(Self { ring: start, entries: start + 2 * PAGE })
    }

    fn params(self, flags: u32) -> Params {
        let mut params = Params { flags: IORING_SETUP_NO_MMAP | flags, sq_thread_idle: 1, ..Params::default() };
        (params.cq_off.user_addr, params.sq_off.user_addr) = (self.ring as u64, self.entries as u64);
        params
    }

    fn word(self, offset: u32) -> &'static core::sync::atomic::AtomicU32 {
        raw::atomic(self.ring + offset as usize)
    }

    fn push(self, params: &Params, entry: &Sqe) {
        let tail = self.word(params.sq_off.tail);
        let place = tail.load(Relaxed) & (params.sq_entries - 1);
        for (number, word) in (0..).zip(words_of(entry)) {
            raw::atomic(self.entries + 64 * place as usize + 4 * number).store(word, Relaxed);
        }
        self.word(params.sq_off.array + 4 * place).store(place, Relaxed);
        tail.store(tail.load(Relaxed).wrapping_add(1), Release);
    }

    fn pop(self, params: &Params) -> Option<(u64, i32)> {
        let (head, tail) = (self.word(params.cq_off.head), self.word(params.cq_off.tail).load(Acquire));
        if tail == head.load(Relaxed) {
            return None;
        }
        let place = (head.load(Relaxed) & (params.cq_entries - 1)) as usize;
        let bytes = raw::bytes(self.ring + params.cq_off.cqes as usize + 16 * place, 16);
        let user_data = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
        let result = i32::from_le_bytes(bytes[8..12].try_into().unwrap_or_default());
        head.store(head.load(Relaxed).wrapping_add(1), Release);
        Some((user_data, result))
    }

    /// Does as many as the ring has completions, and more, one after the other, by `enter`.
    fn goes_round(self, params: &Params, enter: impl Fn(u32) -> Result<usize, Errno>) -> Outcome {
        for number in 0..3 * params.cq_entries {
            self.push(params, &nop(number.into(), 0, number.cast_signed()));
            enter(1)?;
            equal!(self.pop(params), Some((number.into(), number.cast_signed())));
        }
        Ok(())
    }
}

fn enter(fd: i32, flags: u32) -> impl Fn(u32) -> Result<usize, Errno> {
    move |count| call!(IO_URING_ENTER, fd, count, 1, IORING_ENTER_GETEVENTS | flags, 0, 0)
}

fn in_memory() -> Outcome {
    let memory = Memory::new()?;
    // What lies beside the ring in its last page is the program's.
    raw::bytes(memory.ring + PAGE - 8, 16).fill(0x5a);
    raw::bytes(memory.entries + PAGE - 8, 16).fill(0xa5);
    // The words are the kernel's, whatever lay there.
    raw::bytes(memory.ring, 64).fill(0xff);
    let mut params = memory.params(0);
    let file = raw::file(setup(4, &mut params)?);
    let fd = file.fd().raw();
    equal!((params.cq_off.user_addr, params.sq_off.user_addr), (memory.ring as u64, memory.entries as u64));
    equal!(memory.word(params.sq_off.ring_entries).load(Relaxed), 4);
    memory.goes_round(&params, enter(fd, 0))?;
    ensure!(raw::bytes(memory.ring + PAGE - 8, 16).iter().all(|byte| *byte == 0x5a), "behind the ring");
    ensure!(raw::bytes(memory.entries + PAGE - 8, 16).iter().all(|byte| *byte == 0xa5), "behind the entries");
    for offset in [IORING_OFF_SQ_RING, IORING_OFF_CQ_RING, IORING_OFF_SQES] {
        fails!(call!(MMAP, 0, PAGE, RW, m::MAP_SHARED, fd, offset), EINVAL);
    }
    // The ring has the pages, whatever becomes of the mapping; and the other way round.
    memory.push(&params, &nop(1, 0, 1));
    call!(MUNMAP, memory.ring, 4 * PAGE)?;
    equal!(enter(fd, 0)(1)?, 1);
    let memory = Memory::new()?;
    let mut params = memory.params(0);
    drop(raw::file(setup(4, &mut params)?));
    memory.push(&params, &nop(1, 0, 1));
    call!(MUNMAP, memory.ring, 4 * PAGE)?;
    Ok(())
}

/// As liburing has it, where the kernel polls, too.
fn in_shared_memory() -> Outcome {
    for (flags, wake) in [(0, 0), (IORING_SETUP_SQPOLL, IORING_ENTER_SQ_WAKEUP)] {
        let place = || call!(MMAP, 0, PAGE, RW, m::MAP_SHARED | m::MAP_ANONYMOUS, -1i32, 0);
        let memory = Memory { ring: place()?, entries: place()? };
        let mut params = memory.params(flags);
        let file = raw::file(setup(8, &mut params)?);
        memory.goes_round(&params, enter(file.fd().raw(), wake))?;
        call!(MUNMAP, memory.ring, PAGE)?;
        call!(MUNMAP, memory.entries, PAGE)?;
    }
    Ok(())
}

fn without_descriptor() -> Outcome {
    let only = IORING_SETUP_REGISTERED_FD_ONLY;
    fails!(setup(4, &mut Params { flags: only, ..Params::default() }), EINVAL);
    let memory = Memory::new()?;
    let mut params = memory.params(only);
    // The least number that a descriptor could have is taken.
    equal!(setup(4, &mut params)?, 0);
    memory.goes_round(&params, enter(0, IORING_ENTER_REGISTERED_RING))?;
    // It is this thread's.
    exits(checked_child(|| fails_by_place(0))?, 0)?;
    let update = RingUpdate::default();
    let expel = |place| {
        let what = IORING_UNREGISTER_RING_FDS | IORING_REGISTER_USE_REGISTERED_RING;
        call!(IO_URING_REGISTER, place, what, &raw const update, 1)
    };
    let mut places = Vec::new();
    for place in 1..16 {
        let memory = Memory::new()?;
        equal!(setup(4, &mut memory.params(only))?, place);
        places.push(memory);
    }
    fails!(setup(4, &mut memory.params(only)), EBUSY);
    // Its last name goes, and it with that.
    equal!(expel(0)?, 1);
    fails_by_place(0)?;
    let again = Memory::new()?;
    equal!(setup(4, &mut again.params(only))?, 0);
    for memory in places.into_iter().chain([memory, again]) {
        call!(MUNMAP, memory.ring, 4 * PAGE)?;
    }
    Ok(())
}

fn fails_by_place(place: i32) -> Outcome {
    fails!(enter(place, IORING_ENTER_REGISTERED_RING)(0), EBADF);
    Ok(())
}

fn wrong() -> Outcome {
    let (memory, nowhere) = (Memory::new()?, map(PAGE, RW)?);
    call!(MUNMAP, nowhere, PAGE)?;
    let try_at = |ring, entries| setup(4, &mut Memory { ring, entries }.params(0));
    let both = |address| [try_at(address, memory.entries), try_at(memory.ring, address)];
    for found in both(memory.ring + 64) {
        fails!(found, EINVAL);
    }
    let path = "/tmp/ring-in-place";
    rt::fs::write(path, [1; PAGE])?;
    let fd = call!(OPENAT, rt::abi::fs::AT_FDCWD, c"/tmp/ring-in-place".as_ptr(), O_RDWR, 0)?;
    let file = raw::file(fd);
    let shared = call!(MMAP, 0, PAGE, RW, m::MAP_SHARED, file.fd().raw(), 0)?;
    let constant = map(PAGE, m::PROT_READ)?;
    for address in [0, nowhere, usize::MAX - PAGE + 1, 1 << 62, shared, constant] {
        for found in both(address) {
            fails!(found, EFAULT);
        }
    }
    // Two pages, of which there is one.
    let short = map(2 * PAGE, RW)?;
    call!(MUNMAP, short + PAGE, PAGE)?;
    fails!(setup(128, &mut Memory { ring: memory.ring, entries: short }.params(0)), EFAULT);
    // One over the other: who does that has a ring that says nothing right, and no more.
    drop(raw::file(try_at(memory.ring, memory.ring)?));
    rt::fs::remove_file(path)?;
    for (address, len) in [(memory.ring, 4 * PAGE), (shared, PAGE), (constant, PAGE), (short, PAGE)] {
        call!(MUNMAP, address, len)?;
    }
    Ok(())
}

/// While a ring is made there, another thread takes the memory away, and puts some there again.
fn changes_meanwhile() -> Outcome {
    let (memory, stop) = (Memory::new()?, Shared::new()?);
    let changer = thread::spawn(move || -> Outcome {
        while stop.get(0) == 0 {
            call!(MUNMAP, memory.ring, PAGE)?;
            map_at(memory.ring, PAGE, RW)?;
        }
        Ok(())
    })?;
    let made = (0..2_000).try_for_each(|_| match setup(4, &mut memory.params(0)) {
        Ok(fd) => {
            drop(raw::file(fd));
            Ok(())
        }
        Err(Errno::EFAULT) => Ok(()),
        Err(errno) => Err(errno),
    });
    stop.set(0, 1);
    changer.join().unwrap_or_else(|| Err(Trouble::failed("the other thread is gone")))?;
    made?;
    call!(MUNMAP, memory.ring, 4 * PAGE)?;
    Ok(())
}
