//! Rings with entries or completions of twice the size (`IORING_SETUP_SQE128`, `IORING_SETUP_CQE32`).

use super::*;
use core::sync::atomic::Ordering::{Acquire, Release};
use rt::fs::File;

pub const CASES: &[Case] = &[case!("ring/wide", "C4 D3 D4", wide)];

/// What the program writes beside what the kernel is to look at, or to write.
const NOISE: u8 = 0xa5;

struct Wide {
    file: File,
    params: Params,
    words: usize,
    entries: usize,
    lens: [usize; 2],
}

impl Wide {
    fn new(entries: u32, flags: u32) -> Result<Self, Trouble> {
        let mut params = Params { flags, sq_thread_idle: 1, ..Params::default() };
        let file = raw::file(setup(entries, &mut params)?);
        let has = |flag| usize::from(flags & flag != 0);
        let cqes = params.cq_off.cqes as usize + ((params.cq_entries as usize * 16) << has(IORING_SETUP_CQE32));
        let array = params.sq_off.array as usize + 4 * params.sq_entries as usize;
        let lens = [cqes.max(array), (params.sq_entries as usize * 64) << has(IORING_SETUP_SQE128)];
        let map = |len: usize, offset: u64| {
            call!(MMAP, 0, len, m::PROT_READ | m::PROT_WRITE, m::MAP_SHARED, file.fd().raw(), offset)
        };
        let (words, entries) = (map(lens[0], IORING_OFF_SQ_RING)?, map(lens[1], IORING_OFF_SQES)?);
        // No page more than there are.
        let beyond = lens[1].next_multiple_of(PAGE) + 1;
        fails!(map(beyond, IORING_OFF_SQES), ENOMEM);
        // What has one size or the other lies at the end of the memory as well.
        raw::bytes(entries, lens[1]).fill(NOISE);
        let first = params.cq_off.cqes as usize;
        raw::bytes(words + first, cqes - first).fill(NOISE);
        Ok(Self { file, params, words, entries, lens })
    }

    fn has(&self, flag: u32) -> usize {
        usize::from(self.params.flags & flag != 0)
    }

    fn word(&self, offset: u32) -> &core::sync::atomic::AtomicU32 {
        raw::atomic(self.words + offset as usize)
    }

    fn push(&self, entry: &Sqe) {
        let tail = self.word(self.params.sq_off.tail);
        let place = tail.load(Relaxed) & (self.params.sq_entries - 1);
        let at = self.entries + ((place as usize * 64) << self.has(IORING_SETUP_SQE128));
        for (number, word) in (0..).zip(words_of(entry)) {
            raw::atomic(at + 4 * number).store(word, Relaxed);
        }
        self.word(self.params.sq_off.array + 4 * place).store(place, Relaxed);
        tail.store(tail.load(Relaxed).wrapping_add(1), Release);
    }

    fn enter(&self, entries: u32, completions: u32) -> Result<usize, Errno> {
        let flags = IORING_ENTER_GETEVENTS | if self.has(IORING_SETUP_SQPOLL) > 0 { IORING_ENTER_SQ_WAKEUP } else { 0 };
        call!(IO_URING_ENTER, self.file.fd().raw(), entries, completions, flags, 0, 0)
    }

    fn pop(&self) -> Result<Option<(u64, i32)>, Trouble> {
        let head = self.word(self.params.cq_off.head);
        if self.word(self.params.cq_off.tail).load(Acquire) == head.load(Relaxed) {
            return Ok(None);
        }
        let place = (head.load(Relaxed) & (self.params.cq_entries - 1)) as usize;
        let is_wide = self.has(IORING_SETUP_CQE32);
        let at = self.words + self.params.cq_off.cqes as usize + ((place * 16) << is_wide);
        let bytes = raw::bytes(at, 16 << is_wide);
        let user_data = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
        let res = i32::from_le_bytes(bytes[8..12].try_into().unwrap_or_default());
        ensure!(bytes[12..].iter().all(|byte| *byte == 0), "{:?}", &bytes[12..]);
        bytes.fill(NOISE);
        head.store(head.load(Relaxed).wrapping_add(1), Release);
        Ok(Some((user_data, res)))
    }

    fn next(&self) -> Result<(u64, i32), Trouble> {
        loop {
            if let Some(found) = self.pop()? {
                return Ok(found);
            }
            self.enter(0, 1)?;
        }
    }
}

pub fn words_of(entry: &Sqe) -> [u32; 16] {
    let &Sqe { opcode, flags, ioprio, fd, off, addr, len, op_flags, user_data, buf_index, .. } = entry;
    let first = u32::from(opcode) | u32::from(flags) << 8 | u32::from(ioprio) << 16;
    let halves = |word: u64| [word as u32, (word >> 32) as u32];
    let ([off, off_high], [addr, addr_high], [name, name_high]) = (halves(off), halves(addr), halves(user_data));
    let fd = fd.cast_unsigned();
    let rest = [buf_index.into(), entry.file_index, 0, 0, 0, 0];
    let mut words = [0; 16];
    words[..10].copy_from_slice(&[first, fd, off, off_high, addr, addr_high, len, op_flags, name, name_high]);
    words[10..].copy_from_slice(&rest);
    words
}

impl Drop for Wide {
    fn drop(&mut self) {
        for (at, len) in [self.words, self.entries].into_iter().zip(self.lens) {
            let _ = call!(MUNMAP, at, len.next_multiple_of(PAGE));
        }
    }
}

/// One entry, several, those that wait, and more completions than there is room for: each is where it is to be, and what it has more is ignored, or zero.
fn wide() -> Outcome {
    for flags in [IORING_SETUP_SQE128, IORING_SETUP_CQE32, IORING_SETUP_SQE128 | IORING_SETUP_CQE32] {
        for more in [0, IORING_SETUP_SQPOLL, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN] {
            let ring = Wide::new(64, flags | more)?;
            let (read, mut write) = rt::pipe::pipe()?;
            let mut byte = [0u8; 1];
            for round in 0..80u64 {
                // What waits is completed elsewhere than what is done at once.
                ring.push(&Sqe { user_data: round, ..transfer(IORING_OP_READ, read.fd().raw(), &mut byte, 0) });
                ring.push(&nop(1000 + round, 0, round as i32));
                equal!(ring.enter(2, 1)?, 2);
                equal!(ring.next()?, (1000 + round, round as i32));
                io::Write::write_all(&mut write, b"x")?;
                equal!(ring.next()?, (round, 1));
                ring.push(&nop(7, 0, 0));
                equal!(ring.enter(1, 1)?, 1);
                equal!(ring.next()?, (7, 0));
            }
            if more & IORING_SETUP_SQPOLL != 0 {
                continue;
            }
            // Some are kept.
            for first in [0, 60, 120] {
                (first..first + 60).for_each(|number| ring.push(&nop(number, 0, number as i32)));
                equal!(ring.enter(60, 0)?, 60);
            }
            for number in 0..180 {
                equal!(ring.next()?, (number, number as i32));
            }
            ensure!(ring.pop()?.is_none(), "one more");
        }
    }
    Ok(())
}
