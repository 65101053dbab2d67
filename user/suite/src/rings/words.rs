//! Entries that wait for words of memory to be woken at, and for children.

use super::calls::{call_of, one};
use super::*;
use core::sync::atomic::AtomicU32;
use rt::abi::futex::*;
use rt::abi::process::{P_ALL, P_PID, WEXITED, WNOHANG};

pub const CASES: &[Case] = &[
    case!("ring/futex", "C4 D3", words),
    case!("ring/futex-among-several", "C4 D3", one_of_several),
    case!("ring/futex-that-nobody-heard-of", "C4 D3", nobody_heard),
    case!("ring/futex-between-processes", "C4 D3 D4", between_processes),
    case!("ring/wrong-futex", "C4 E1", wrong_words),
    case!("ring/waits-for-children", "C4 D3", children),
];

const EAGAIN: i32 = -11;
const FLAGS: u32 = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;

fn entry(opcode: u8, word: &AtomicU32, value: u64) -> Sqe {
    let (addr, fd) = (word.as_ptr() as u64, FLAGS.cast_signed());
    Sqe { addr, off: value, addr3: u64::from(u32::MAX), ..call_of(opcode, fd) }
}

fn waits(word: &AtomicU32, value: u64) -> Sqe {
    entry(IORING_OP_FUTEX_WAIT, word, value)
}

fn wakes(word: &AtomicU32, count: u64) -> Sqe {
    Sqe { user_data: 8, ..entry(IORING_OP_FUTEX_WAKE, word, count) }
}

fn words() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let word = AtomicU32::new(5);
    equal!(one(&mut ring, waits(&word, 4))?, EAGAIN);
    // Wakes of an entry and of a call end waits of both kinds.
    push(&mut ring, &[waits(&word, 5), waits(&word, 5), waits(&word, 5)]);
    equal!(ring.submit(0)?, 3);
    equal!(run(&mut ring, &[wakes(&word, 0)])?, [(8, 0)]);
    push(&mut ring, &[wakes(&word, 2)]);
    equal!(wait_sorted(&mut ring, 3)?, [(7, 0), (7, 0), (8, 2)]);
    equal!(call!(FUTEX, word.as_ptr(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 5, 0, 0, 0)?, 1);
    equal!(wait(&mut ring, 1)?, [(7, 0)]);
    let bits = |entry: Sqe, bits| Sqe { addr3: bits, ..entry };
    push(&mut ring, &[bits(waits(&word, 5), 6)]);
    equal!(ring.submit(0)?, 1);
    equal!(run(&mut ring, &[bits(wakes(&word, 1), 9)])?, [(8, 0)]);
    push(&mut ring, &[bits(wakes(&word, 1), 4)]);
    equal!(wait_sorted(&mut ring, 2)?, [(7, 0), (8, 1)]);
    // Cancelled, it leaves no place that a wake-up could be lost in.
    push(&mut ring, &[waits(&word, 5), Sqe { user_data: 9, ..waits(&word, 5) }]);
    equal!(ring.submit(0)?, 2);
    push(&mut ring, &[cancel_of(7, 0)]);
    // As on Linux the answer is how many.
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 1)]);
    push(&mut ring, &[wakes(&word, 1)]);
    equal!(wait_sorted(&mut ring, 2)?, [(8, 1), (9, 0)]);
    Ok(())
}

fn one_of_several() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let words: [AtomicU32; 128] = core::array::from_fn(|number| AtomicU32::new(number as u32));
    let mut list: Vec<FutexWaitv> = words
        .iter()
        .enumerate()
        .map(|(number, word)| FutexWaitv { val: number as u64, uaddr: word.as_ptr() as u64, flags: FLAGS, reserved: 0 })
        .collect();
    let among = |list: &[FutexWaitv]| Sqe {
        addr: list.as_ptr() as u64,
        len: list.len() as u32,
        ..call_of(IORING_OP_FUTEX_WAITV, 0)
    };
    for number in [0, 77, 127] {
        push(&mut ring, &[among(&list)]);
        equal!(ring.submit(0)?, 1);
        push(&mut ring, &[wakes(&words[number], 1)]);
        equal!(wait_sorted(&mut ring, 2)?, [(7, number as i32), (8, 1)]);
        // It waits for none of the others any more.
        equal!(one(&mut ring, Sqe { user_data: 7, ..wakes(&words[1], 1) })?, 0);
    }
    words[50].store(1, Relaxed);
    equal!(one(&mut ring, among(&list))?, EAGAIN);
    words[50].store(50, Relaxed);
    push(&mut ring, &[among(&list)]);
    equal!(ring.submit(0)?, 1);
    push(&mut ring, &[cancel_of(7, 0)]);
    // As on Linux the answer is how many.
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 1)]);
    let (good, many) = (among(&list), among(&[list[0]; 129]));
    for wrong in [Sqe { len: 0, ..good }, many, Sqe { fd: 1, ..good }, Sqe { off: 1, ..good }, Sqe { addr3: 1, ..good }]
    {
        equal!(one(&mut ring, wrong)?, EINVAL);
    }
    equal!(one(&mut ring, Sqe { addr: 8, ..good })?, -14);
    let kept = list[100];
    let spoilt =
        [FutexWaitv { reserved: 1, ..kept }, FutexWaitv { flags: 0, ..kept }, FutexWaitv { val: 1 << 32, ..kept }];
    for word in spoilt {
        list[100] = word;
        equal!(one(&mut ring, among(&list))?, EINVAL);
    }
    list[100] = kept;
    list[100].uaddr = 8;
    equal!(one(&mut ring, among(&list))?, -14);
    Ok(())
}

/// Who waits for two words and is woken at both hears of one. The other wake-up is who waits there next.
fn nobody_heard() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let list =
        words.each_ref().map(|word| FutexWaitv { val: 0, uaddr: word.as_ptr() as u64, flags: FLAGS, reserved: 0 });
    let both = Sqe { addr: list.as_ptr() as u64, len: 2, ..call_of(IORING_OP_FUTEX_WAITV, 0) };
    push(&mut ring, &[both, Sqe { user_data: 9, ..waits(&words[1], 0) }]);
    equal!(ring.submit(0)?, 2);
    for word in &words {
        equal!(call!(FUTEX, word.as_ptr(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0)?, 1);
    }
    equal!(wait_sorted(&mut ring, 2)?, [(7, 0), (9, 0)]);
    Ok(())
}

fn between_processes() -> Outcome {
    let shared = Shared::new()?;
    let word = shared.word(0);
    let mut ring = Ring::new(8, 0)?;
    let open = |entry: Sqe| Sqe { fd: FUTEX2_SIZE_U32.cast_signed(), ..entry };
    push(&mut ring, &[open(waits(word, 0))]);
    equal!(ring.submit(0)?, 1);
    // One that is for this process alone finds it not.
    equal!(run(&mut ring, &[wakes(word, 1)])?, [(8, 0)]);
    let pid = checked_child(|| {
        let mut ring = Ring::new(2, 0)?;
        equal!(run(&mut ring, &[open(wakes(word, 9))])?, [(8, 1)]);
        Ok(())
    })?;
    equal!(wait(&mut ring, 1)?, [(7, 0)]);
    exits(pid, 0)
}

fn wrong_words() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let word = AtomicU32::new(0);
    for plain in [waits(&word, 0), Sqe { user_data: 7, ..wakes(&word, 1) }] {
        let wrong = [
            (Sqe { len: 1, ..plain }, EINVAL),
            (Sqe { op_flags: 1, ..plain }, EINVAL),
            (Sqe { file_index: 1, ..plain }, EINVAL),
            (Sqe { buf_index: 1, ..plain }, EINVAL),
            (Sqe { fd: 0, ..plain }, EINVAL),
            (Sqe { fd: FUTEX2_SIZE_MASK.cast_signed(), ..plain }, EINVAL),
            (Sqe { fd: FLAGS.cast_signed() | 4, ..plain }, EINVAL),
            (Sqe { off: 1 << 32, ..plain }, EINVAL),
            (Sqe { addr3: 1 << 32, ..plain }, EINVAL),
            (Sqe { addr3: 0, ..plain }, EINVAL),
            (Sqe { addr: plain.addr + 1, ..plain }, EINVAL),
            (Sqe { addr: u64::MAX - 3, ..plain }, -14),
        ];
        for (entry, errno) in wrong {
            let found = one(&mut ring, entry)?;
            ensure!(found == errno, "{found} of {entry:?}");
        }
    }
    equal!(one(&mut ring, Sqe { addr: 8, ..waits(&word, 0) })?, -14);
    Ok(())
}

fn children() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let mut info = [0u32; 32];
    let of = |info: &mut [u32; 32], kind: u32, pid: i32, options: u32| Sqe {
        len: kind,
        off: info.as_mut_ptr() as u64,
        file_index: options,
        ..call_of(IORING_OP_WAITID, pid)
    };
    equal!(one(&mut ring, of(&mut info, P_ALL, 0, WEXITED))?, -10);
    let shared = Shared::new()?;
    let go = shared.word(0);
    let pid = child(|| {
        while go.load(Relaxed) == 0 {
            thread::sleep(core::time::Duration::from_millis(1));
        }
        33
    })?;
    equal!(one(&mut ring, of(&mut info, P_PID, pid, WEXITED | WNOHANG))?, 0);
    equal!(info[3], 0);
    // One that is cancelled leaves the child to the next.
    push(&mut ring, &[of(&mut info, P_PID, pid, WEXITED)]);
    equal!(ring.submit(0)?, 1);
    push(&mut ring, &[cancel_of(7, 0)]);
    // As on Linux the answer is how many.
    equal!(wait_sorted(&mut ring, 2)?, [(7, CANCELLED), (99, 1)]);
    push(&mut ring, &[of(&mut info, P_PID, pid, WEXITED)]);
    equal!(ring.submit(0)?, 1);
    go.store(1, Relaxed);
    equal!(wait(&mut ring, 1)?, [(7, 0)]);
    // SIGCHLD, exited, who, and its status.
    equal!((info[0], info[2], info[4], info[6]), (17, 1, pid.cast_unsigned(), 33));
    let plain = of(&mut info, P_PID, pid, WEXITED);
    let wrong = [
        (plain, -10),
        (Sqe { addr: 1, ..plain }, EINVAL),
        (Sqe { addr3: 1, ..plain }, EINVAL),
        (Sqe { op_flags: 1, ..plain }, EINVAL),
        (Sqe { file_index: 0, ..plain }, EINVAL),
        (Sqe { file_index: u32::MAX, ..plain }, EINVAL),
        (Sqe { len: 99, ..plain }, EINVAL),
    ];
    for (entry, errno) in wrong {
        let found = one(&mut ring, entry)?;
        ensure!(found == errno, "{found} of {entry:?}");
    }
    Ok(())
}
