//! Rings, as a program sees them.

use super::{BAD, Cpu, DATA};
use abi::{errno::Errno, io_uring::*, mm as m, nr};
use alloc::{vec, vec::Vec};
use ring::at;
use zerocopy::{FromBytes, IntoBytes};

const PARAMS: usize = DATA + 0x7000;

/// A ring that the program has mapped.
pub(super) struct Mapped {
    fd: usize,
    ring: usize,
    entries: usize,
    pub params: Params,
}

pub(super) fn nop(user_data: u64, flags: u8, result: i32) -> Sqe {
    let op_flags = IORING_NOP_INJECT_RESULT;
    Sqe { flags, user_data, len: result.cast_unsigned(), op_flags, ..Sqe::default() }
}

impl Mapped {
    pub async fn new(cpu: &Cpu, entries: usize, flags: u32) -> Self {
        let asked = Params { flags, ..Params::default() };
        cpu.store(PARAMS, asked.as_bytes());
        let fd = cpu.good(nr::IO_URING_SETUP, [entries, PARAMS]).await;
        let params = Params::read_from_bytes(&cpu.load(PARAMS, size_of::<Params>())).unwrap();
        let (prot, shared) = ((m::PROT_READ | m::PROT_WRITE) as usize, m::MAP_SHARED as usize);
        let ring_len = at::CQES + 16 * params.cq_entries as usize;
        let map = |len: usize, offset: u64| [0, len, prot, shared, fd, offset as usize];
        let ring = cpu.good(nr::MMAP, map(ring_len, IORING_OFF_SQ_RING)).await;
        let entries = cpu.good(nr::MMAP, map(64 * params.sq_entries as usize, IORING_OFF_SQES)).await;
        cpu.bad(nr::MMAP, map(64 * params.sq_entries as usize + 4096, IORING_OFF_SQES), Errno::ENOMEM).await;
        cpu.bad(nr::MMAP, map(1, IORING_OFF_SQES + 0x100_0000), Errno::ENOMEM).await;
        Self { fd, ring, entries, params }
    }

    pub fn word(&self, cpu: &Cpu, offset: usize) -> u32 {
        cpu.word(self.ring + offset).cast_unsigned()
    }

    pub fn set(&self, cpu: &Cpu, offset: usize, value: u32) {
        cpu.store(self.ring + offset, &value.to_le_bytes());
    }

    /// Adds entries without a look at the head.
    pub fn put(&self, cpu: &Cpu, entries: &[Sqe]) {
        let (tail, mask) = (self.word(cpu, at::SQ_TAIL), self.params.sq_entries - 1);
        for (number, entry) in entries.iter().enumerate() {
            let place = tail.wrapping_add(number as u32) & mask;
            cpu.store(self.entries + 64 * place as usize, entry.as_bytes());
            if self.params.sq_off.array != 0 {
                self.set(cpu, self.params.sq_off.array as usize + 4 * place as usize, place);
            }
        }
        self.set(cpu, at::SQ_TAIL, tail.wrapping_add(entries.len() as u32));
    }

    pub async fn enter(&self, cpu: &Cpu, submit: usize, wait: usize) -> Result<usize, Errno> {
        let flags = if wait == usize::MAX { 0 } else { IORING_ENTER_GETEVENTS };
        cpu.call(nr::IO_URING_ENTER, [self.fd, submit, wait & 0xffff, flags as usize, 0, 0]).await
    }

    /// Takes all completions.
    pub fn reap(&self, cpu: &Cpu) -> Vec<(u64, i32)> {
        let (head, tail) = (self.word(cpu, at::CQ_HEAD), self.word(cpu, at::CQ_TAIL));
        self.set(cpu, at::CQ_HEAD, tail);
        let mask = self.params.cq_entries - 1;
        (0..tail.wrapping_sub(head))
            .map(|number| {
                let place = head.wrapping_add(number) & mask;
                let bytes = cpu.load(self.ring + at::CQES + 16 * place as usize, 16);
                let Cqe { user_data, res, .. } = Cqe::read_from_bytes(&bytes).unwrap();
                (user_data, res)
            })
            .collect()
    }

    /// Submits all of these, which are done at once, and takes their completions.
    async fn run(&self, cpu: &Cpu, entries: &[Sqe]) -> Vec<(u64, i32)> {
        self.put(cpu, entries);
        assert_eq!(self.enter(cpu, entries.len(), usize::MAX).await, Ok(entries.len()));
        self.reap(cpu)
    }
}

const NOT: usize = usize::MAX;
const EINVAL: i32 = -22;
const CANCELLED: i32 = -125;

pub(super) async fn rings(cpu: &Cpu) {
    setting_up(cpu).await;
    for flags in [0, IORING_SETUP_NO_SQARRAY, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN] {
        let ring = Mapped::new(cpu, 4, flags).await;
        nothing(cpu, &ring).await;
        chains(cpu, &ring).await;
        wrong_entries(cpu, &ring).await;
        overflow(cpu, &ring).await;
        waiting(cpu, &ring).await;
        cpu.good(nr::CLOSE, [ring.fd]).await;
        // The mapping stays as it was, and is nobody's ring.
        ring.put(cpu, &[nop(1, 0, 1)]);
        assert_eq!(ring.enter(cpu, 1, NOT).await, Err(Errno::EBADF));
        cpu.good(nr::MUNMAP, [ring.ring, 4096]).await;
    }
    many(cpu).await;
    disabled(cpu).await;
    probing(cpu).await;
}

async fn setting_up(cpu: &Cpu) {
    cpu.bad(nr::IO_URING_SETUP, [4, BAD], Errno::EFAULT).await;
    for (entries, params) in [
        (0, Params::default()),
        (40_000, Params::default()),
        (4, Params { flags: IORING_SETUP_SQPOLL, ..Params::default() }),
        (4, Params { resv: [1, 0, 0], ..Params::default() }),
    ] {
        cpu.store(PARAMS, params.as_bytes());
        cpu.bad(nr::IO_URING_SETUP, [entries, PARAMS], Errno::EINVAL).await;
    }
    let file = cpu.good(nr::EVENTFD2, [0, 0]).await;
    cpu.bad(nr::IO_URING_ENTER, [file, 1, 0, 0], Errno::EOPNOTSUPP).await;
    cpu.bad(nr::IO_URING_REGISTER, [file, 8, DATA, 1], Errno::EOPNOTSUPP).await;
    cpu.bad(nr::IO_URING_ENTER, [99, 1, 0, 0], Errno::EBADF).await;
    cpu.bad(nr::IO_URING_ENTER, [99, 1, 0, 1 << 9], Errno::EINVAL).await;
    cpu.good(nr::CLOSE, [file]).await;
}

async fn nothing(cpu: &Cpu, ring: &Mapped) {
    assert_eq!((ring.params.sq_entries, ring.params.cq_entries), (4, 8));
    assert_eq!(ring.enter(cpu, 4, NOT).await, Ok(0));
    // More often than there are places.
    for round in 0..5 {
        let entries: Vec<Sqe> = (0..3).map(|number| nop(round * 3 + number, 0, number as i32)).collect();
        let expected: Vec<_> = (0..3).map(|number| (round * 3 + number, number as i32)).collect();
        assert_eq!(ring.run(cpu, &entries).await, expected);
        assert_eq!(ring.word(cpu, at::SQ_HEAD), ring.word(cpu, at::SQ_TAIL));
    }
    // Some only, then the rest and a wait for both.
    ring.put(cpu, &[nop(1, 0, 5), nop(2, IOSQE_ASYNC, 6)]);
    assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
    assert_eq!(ring.enter(cpu, 1, 2).await, Ok(1));
    assert_eq!(ring.reap(cpu), [(1, 5), (2, 6)]);
    // Asking for more than there is answers what there was, without a wait.
    ring.put(cpu, &[nop(3, 0, 7)]);
    assert_eq!(ring.enter(cpu, 3, 3).await, Ok(1));
    assert_eq!(ring.reap(cpu), [(3, 7)]);
}

async fn chains(cpu: &Cpu, ring: &Mapped) {
    let (link, hard, skip) = (IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_CQE_SKIP_SUCCESS);
    let chain = [nop(1, link, 0), nop(2, link, -5), nop(3, link, 0), nop(4, 0, 0)];
    assert_eq!(ring.run(cpu, &chain).await, [(1, 0), (2, -5), (3, CANCELLED), (4, CANCELLED)]);
    let chain = [nop(1, hard, -7), nop(2, 0, 2), nop(3, 0, 3)];
    assert_eq!(ring.run(cpu, &chain).await, [(1, -7), (2, 2), (3, 3)]);
    // An end of the submission is an end of the chain.
    assert_eq!(ring.run(cpu, &[nop(1, link, 1)]).await, [(1, 1)]);
    assert_eq!(ring.run(cpu, &[nop(2, 0, 2)]).await, [(2, 2)]);
    // None that wants none: but for errors, and what is cancelled behind another kind of error.
    assert_eq!(ring.run(cpu, &[nop(1, skip, 1), nop(2, skip, -1)]).await, [(2, -1)]);
    let chain = [nop(1, link | skip, 0), nop(2, link, -5), nop(3, skip, 0)];
    assert_eq!(ring.run(cpu, &chain).await, [(2, -5), (3, CANCELLED)]);
    let chain = [nop(1, link | skip, -5), nop(2, 0, 0)];
    assert_eq!(ring.run(cpu, &chain).await, [(1, -5)]);
    // One that is wrong keeps all from beginning.
    let wrong = Sqe { ioprio: 1, ..nop(2, link, 0) };
    let chain = [nop(1, link, 1), wrong, nop(3, 0, 3)];
    assert_eq!(ring.run(cpu, &chain).await, [(1, CANCELLED), (2, EINVAL), (3, CANCELLED)]);
    // To wait for none is no longer possible where some want none.
    let drain = [nop(1, IOSQE_IO_DRAIN, 0)];
    assert_eq!(ring.run(cpu, &drain).await, [(1, Errno::EOPNOTSUPP.to_return() as i32)]);
}

async fn wrong_entries(cpu: &Cpu, ring: &Mapped) {
    let plain = nop(9, 0, 0);
    let wrong = [
        (Sqe { opcode: IORING_OP_LAST, ..plain }, EINVAL),
        (Sqe { opcode: 255, ..plain }, EINVAL),
        (Sqe { opcode: IORING_OP_READ, ..plain }, EINVAL),
        (Sqe { flags: 1 << 7, ..plain }, EINVAL),
        (Sqe { ioprio: 1, ..plain }, EINVAL),
        (Sqe { op_flags: 2, ..plain }, EINVAL),
        (Sqe { personality: 1, ..plain }, EINVAL),
        (Sqe { flags: IOSQE_BUFFER_SELECT, ..plain }, Errno::EOPNOTSUPP.to_return() as i32),
    ];
    for (entry, result) in wrong {
        // The first that is wrong ends the submission, and is one of it.
        ring.put(cpu, &[entry, nop(2, 0, 2)]);
        assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(1));
        assert_eq!(ring.reap(cpu), [(9, result)], "{entry:?}");
        assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(1));
        assert_eq!(ring.reap(cpu), [(2, 2)]);
    }
    if ring.params.sq_off.array != 0 {
        let dropped = ring.word(cpu, at::SQ_DROPPED);
        ring.put(cpu, &[nop(1, 0, 1), nop(2, 0, 2)]);
        let place = ring.word(cpu, at::SQ_HEAD) & 3;
        ring.set(cpu, ring.params.sq_off.array as usize + 4 * place as usize, 4);
        assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(0));
        assert_eq!(ring.word(cpu, at::SQ_DROPPED), dropped + 1);
        assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(1));
        assert_eq!(ring.reap(cpu), [(2, 2)]);
    }
}

async fn overflow(cpu: &Cpu, ring: &Mapped) {
    let mut expected = vec![];
    for number in 0..40 {
        ring.put(cpu, &[nop(number, 0, number as i32)]);
        assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
        expected.push((number, number as i32));
    }
    assert_eq!(ring.word(cpu, at::SQ_FLAGS), IORING_SQ_CQ_OVERFLOW);
    let mut found = ring.reap(cpu);
    assert_eq!(found.len(), 8);
    while ring.word(cpu, at::SQ_FLAGS) & IORING_SQ_CQ_OVERFLOW != 0 {
        assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
        found.extend(ring.reap(cpu));
    }
    assert_eq!((found, ring.word(cpu, at::CQ_OVERFLOW)), (expected, 0));
}

async fn waiting(cpu: &Cpu, ring: &Mapped) {
    // Nothing comes: a time that passes, relative and absolute.
    let time = cpu.store(DATA + 0x7100, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0xf, 0, 0, 0, 0, 0]);
    let argument = GetEvents { ts: time as u64, ..GetEvents::default() };
    let at = cpu.store(DATA + 0x7200, argument.as_bytes());
    for timer in [0, IORING_ENTER_ABS_TIMER] {
        let flags = (IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | timer) as usize;
        cpu.bad(nr::IO_URING_ENTER, [ring.fd, 0, 1, flags, at, 24], Errno::ETIME).await;
        cpu.bad(nr::IO_URING_ENTER, [ring.fd, 0, 1, flags, at, 16], Errno::EINVAL).await;
        cpu.bad(nr::IO_URING_ENTER, [ring.fd, 0, 1, flags, BAD, 24], Errno::EFAULT).await;
    }
    let mask = IORING_ENTER_GETEVENTS as usize;
    cpu.bad(nr::IO_URING_ENTER, [ring.fd, 0, 1, mask, DATA, 4], Errno::EINVAL).await;
    // More than were there when the time began would be.
    ring.put(cpu, &[nop(1, 0, 1)]);
    let flags = (IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG) as usize;
    assert_eq!(cpu.good(nr::IO_URING_ENTER, [ring.fd, 1, 2, flags, at, 24]).await, 1);
    assert_eq!(cpu.call(nr::IO_URING_ENTER, [ring.fd, 0, 2, flags, at, 24]).await, Ok(0));
    assert_eq!(ring.reap(cpu), [(1, 1)]);
    // A head that cannot be is a full ring: no wait.
    let head = ring.word(cpu, at::CQ_HEAD);
    ring.set(cpu, at::CQ_HEAD, head.wrapping_add(77));
    assert_eq!(ring.enter(cpu, 0, 8).await, Ok(0));
    ring.set(cpu, at::CQ_HEAD, head);
    // A tail that cannot be is as many entries as the ring has: what lies there, which is right.
    ring.put(cpu, &[nop(1, 0, 0), nop(2, 0, 0), nop(3, 0, 0), nop(4, 0, 0)]);
    let tail = ring.word(cpu, at::SQ_TAIL);
    ring.set(cpu, at::SQ_TAIL, tail.wrapping_sub(u32::MAX / 2));
    assert_eq!(ring.enter(cpu, 9, NOT).await, Ok(4));
    ring.set(cpu, at::SQ_TAIL, tail);
    assert_eq!(ring.reap(cpu).len(), 4);
}

/// More than are taken in one poll, and chains across these.
async fn many(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 256, IORING_SETUP_SUBMIT_ALL).await;
    let wrong = Sqe { ioprio: 1, ..nop(100, 0, 0) };
    let entries: Vec<Sqe> = (0..200)
        .map(|number| match number {
            100 => wrong,
            60..70 => nop(number, IOSQE_IO_LINK, -i32::from(number == 66)),
            number => nop(number, 0, 0),
        })
        .collect();
    let expected: Vec<_> = (0..200)
        .map(|number| match number {
            66 => (number, -1),
            67..=70 => (number, CANCELLED),
            100 => (number, EINVAL),
            number => (number, 0),
        })
        .collect();
    assert_eq!(ring.run(cpu, &entries).await, expected);
    cpu.good(nr::CLOSE, [ring.fd]).await;
}

async fn disabled(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 4, IORING_SETUP_R_DISABLED).await;
    ring.put(cpu, &[nop(1, 0, 1)]);
    assert_eq!(ring.enter(cpu, 1, NOT).await, Err(Errno::EBADFD));
    let enable = IORING_REGISTER_ENABLE_RINGS as usize;
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, enable, 1, 0], Errno::EINVAL).await;
    cpu.good(nr::IO_URING_REGISTER, [ring.fd, enable, 0, 0]).await;
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, enable, 0, 0], Errno::EBADFD).await;
    assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
    assert_eq!(ring.reap(cpu), [(1, 1)]);
    cpu.good(nr::CLOSE, [ring.fd]).await;
}

async fn probing(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 1, 0).await;
    let probe = IORING_REGISTER_PROBE as usize;
    cpu.store(DATA + 0x6000, &[0; 16 + 256 * 8]);
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, probe, 0, 1], Errno::EINVAL).await;
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, probe, BAD, 1], Errno::EFAULT).await;
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, probe, DATA + 0x6000, 257], Errno::EINVAL).await;
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, 31, 0, 0], Errno::EINVAL).await;
    cpu.good(nr::IO_URING_REGISTER, [ring.fd, probe, DATA + 0x6000, 256]).await;
    let found = cpu.load(DATA + 0x6000, 16 + 58 * 8);
    assert_eq!(found[..2], [57, 58]);
    let supported: Vec<usize> = (0..58).filter(|op| found[16 + 8 * op + 2] & 1 != 0).collect();
    assert_eq!(supported, [usize::from(IORING_OP_NOP)]);
    assert!((0..58).all(|op| usize::from(found[16 + 8 * op]) == op));
    // What is not zeros is refused: a later kernel may ask something there.
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, probe, DATA + 0x6000, 2], Errno::EINVAL).await;
    cpu.good(nr::CLOSE, [ring.fd]).await;
}
