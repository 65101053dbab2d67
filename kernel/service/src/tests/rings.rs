//! Rings, as a program sees them.

use super::{BAD, Cpu, DATA};
use abi::{errno::Errno, fs as f, io_uring::*, mm as m, nr};
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

/// Of an entry and of a completion.
fn sizes(flags: u32) -> (usize, usize) {
    let has = |flag| usize::from(flags & flag != 0);
    (64 << has(IORING_SETUP_SQE128), 16 << has(IORING_SETUP_CQE32))
}

impl Mapped {
    pub async fn new(cpu: &Cpu, entries: usize, flags: u32) -> Self {
        let asked = Params { flags, ..Params::default() };
        cpu.store(PARAMS, asked.as_bytes());
        let fd = cpu.good(nr::IO_URING_SETUP, [entries, PARAMS]).await;
        let params = Params::read_from_bytes(&cpu.load(PARAMS, size_of::<Params>())).unwrap();
        let (prot, shared) = ((m::PROT_READ | m::PROT_WRITE) as usize, m::MAP_SHARED as usize);
        let (each_entry, each_completion) = sizes(flags);
        let ring_len = at::CQES + each_completion * params.cq_entries as usize;
        let map = |len: usize, offset: u64| [0, len, prot, shared, fd, offset as usize];
        let ring = cpu.good(nr::MMAP, map(ring_len, IORING_OFF_SQ_RING)).await;
        let entries = cpu.good(nr::MMAP, map(each_entry * params.sq_entries as usize, IORING_OFF_SQES)).await;
        cpu.bad(nr::MMAP, map(each_entry * params.sq_entries as usize + 4096, IORING_OFF_SQES), Errno::ENOMEM).await;
        cpu.bad(nr::MMAP, map(1, IORING_OFF_SQES + 0x100_0000), Errno::ENOMEM).await;
        Self { fd, ring, entries, params }
    }

    pub fn fd(&self) -> usize {
        self.fd
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
            cpu.store(self.entries + sizes(self.params.flags).0 * place as usize, entry.as_bytes());
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
        let (mask, each) = (self.params.cq_entries - 1, sizes(self.params.flags).1);
        (0..tail.wrapping_sub(head))
            .map(|number| {
                let place = head.wrapping_add(number) & mask;
                let at = self.ring + at::CQES + each * place as usize;
                let bytes = cpu.load(at, each);
                let Cqe { user_data, res, .. } = Cqe::read_from_bytes(&bytes[..16]).unwrap();
                // What is more of it is zero; the next one's as well.
                assert!(bytes[16..].iter().all(|byte| *byte == 0));
                cpu.store(at, &vec![0xa5; each]);
                (user_data, res)
            })
            .collect()
    }

    /// The ring goes, with its mappings.
    pub async fn close(self, cpu: &Cpu) {
        cpu.good(nr::CLOSE, [self.fd]).await;
        let (each_entry, each_completion) = sizes(self.params.flags);
        cpu.good(nr::MUNMAP, [self.ring, at::CQES + each_completion * self.params.cq_entries as usize]).await;
        cpu.good(nr::MUNMAP, [self.entries, each_entry * self.params.sq_entries as usize]).await;
    }

    /// Submits all of these, which are done at once, and takes their completions.
    async fn run(&self, cpu: &Cpu, entries: &[Sqe]) -> Vec<(u64, i32)> {
        self.put(cpu, entries);
        assert_eq!(self.enter(cpu, entries.len(), usize::MAX).await, Ok(entries.len()));
        self.reap(cpu)
    }
}

pub(super) const NOT: usize = usize::MAX;
const EINVAL: i32 = -22;
const CANCELLED: i32 = -125;

/// Entries and completions of twice the size, one or both.
async fn wide(cpu: &Cpu) {
    for flags in [IORING_SETUP_SQE128, IORING_SETUP_CQE32, IORING_SETUP_SQE128 | IORING_SETUP_CQE32] {
        let ring = Mapped::new(cpu, 4, flags).await;
        nothing(cpu, &ring).await;
        chains(cpu, &ring).await;
        overflow(cpu, &ring).await;
        waiting(cpu, &ring).await;
        ring.close(cpu).await;
    }
}

pub(super) async fn rings(cpu: &Cpu) {
    setting_up(cpu).await;
    wide(cpu).await;
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
    looking_for_nothing(cpu).await;
    counting_unknown(cpu).await;
    let ring = Mapped::new(cpu, 8, 0).await;
    files(cpu, &ring).await;
    pending(cpu, &ring).await;
    cancelling(cpu, &ring).await;
    waiting_chains(cpu, &ring).await;
    cpu.good(nr::CLOSE, [ring.fd]).await;
    left_behind(cpu).await;
    lists_are_paid_for(cpu).await;
    long_chains(cpu).await;
    accepting(cpu).await;
}

async fn setting_up(cpu: &Cpu) {
    cpu.bad(nr::IO_URING_SETUP, [4, BAD], Errno::EFAULT).await;
    for (entries, params) in [
        (0, Params::default()),
        (40_000, Params::default()),
        (4, Params { flags: IORING_SETUP_SQ_AFF, ..Params::default() }),
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
    // Whoever has left out completions cannot drain.
    let drained = ring.run(cpu, &[nop(1, IOSQE_IO_DRAIN, 0)]).await;
    assert_eq!(drained, [(1, Errno::EOPNOTSUPP.to_return() as i32)]);
}

async fn wrong_entries(cpu: &Cpu, ring: &Mapped) {
    let plain = nop(9, 0, 0);
    let wrong = [
        (Sqe { opcode: IORING_OP_LAST, ..plain }, EINVAL),
        (Sqe { opcode: 255, ..plain }, EINVAL),
        (Sqe { opcode: IORING_OP_URING_CMD, off: 1 << 32, ..plain }, EINVAL),
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
            122..132 => nop(number, IOSQE_IO_LINK, -i32::from(number == 126)),
            number => nop(number, 0, 0),
        })
        .collect();
    let expected: Vec<_> = (0..200)
        .map(|number| match number {
            126 => (number, -1),
            127..=132 => (number, CANCELLED),
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

/// Who looks for completions by itself does not wait where nothing is under way.
async fn looking_for_nothing(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 4, IORING_SETUP_IOPOLL).await;
    assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
    ring.put(cpu, &[nop(1, 0, 1)]);
    assert_eq!(ring.enter(cpu, 1, 2).await, Ok(1));
    assert_eq!(ring.reap(cpu), [(1, 1)]);
    ring.close(cpu).await;
}

/// An operation that is not there is counted, whatever its flags; one that is there, and lacks its group, is not.
async fn counting_unknown(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 4, 0).await;
    for (opcode, flags) in [(IORING_OP_READ_MULTISHOT, 0), (59, IOSQE_BUFFER_SELECT)] {
        let entry = Sqe { opcode, flags, user_data: 1, ..Sqe::default() };
        assert_eq!(ring.run(cpu, &[entry]).await, [(1, EINVAL)]);
    }
    ring.close(cpu).await;
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
    assert!((0..58).all(|op| found[16 + 8 * op + 2] & 1 != 0));
    assert!((0..58).all(|op| usize::from(found[16 + 8 * op]) == op));
    // What is not zeros is refused: a later kernel may ask something there.
    cpu.bad(nr::IO_URING_REGISTER, [ring.fd, probe, DATA + 0x6000, 2], Errno::EINVAL).await;
    cpu.good(nr::CLOSE, [ring.fd]).await;
}

fn transfer(opcode: u8, fd: usize, addr: usize, len: u32, off: u64) -> Sqe {
    Sqe { opcode, fd: fd as i32, addr: addr as u64, len, off, user_data: 7, ..Sqe::default() }
}

pub(super) fn read(fd: usize, addr: usize, len: u32) -> Sqe {
    transfer(IORING_OP_READ, fd, addr, len, 0)
}

pub(super) fn cancel(user_data: u64, flags: u32, fd: usize) -> Sqe {
    let base = transfer(IORING_OP_ASYNC_CANCEL, fd, user_data as usize, 0, 0);
    Sqe { op_flags: flags, user_data: 99, ..base }
}

pub(super) async fn pipe(cpu: &Cpu) -> (usize, usize) {
    cpu.good(nr::PIPE2, [DATA + 0x7300, 0]).await;
    (cpu.word(DATA + 0x7300) as usize, cpu.word(DATA + 0x7304) as usize)
}

async fn files(cpu: &Cpu, ring: &Mapped) {
    let path = cpu.path(DATA, "/ringed");
    let fd = cpu.good(nr::OPENAT, [super::CWD, path, (f::O_RDWR | f::O_CREAT) as usize, 0o666]).await;
    let text = cpu.store(DATA + 0x100, b"hello, world");
    let position = u64::MAX;
    let written = [transfer(IORING_OP_WRITE, fd, text, 5, position), transfer(IORING_OP_WRITE, fd, text + 5, 7, 5)];
    assert_eq!(ring.run(cpu, &written).await, [(7, 5), (7, 7)]);
    // The position is behind the first.
    assert_eq!(ring.run(cpu, &[transfer(IORING_OP_READ, fd, DATA + 0x200, 100, position)]).await, [(7, 7)]);
    assert_eq!(cpu.load(DATA + 0x200, 7), b", world");
    assert_eq!(ring.run(cpu, &[read(fd, DATA + 0x200, 100), read(fd, DATA + 0x200, 0)]).await, [(7, 12), (7, 0)]);
    let list = [(DATA as u64 + 0x200, 5u64), (DATA as u64 + 0x300, 100)];
    let bytes: Vec<u8> = list.iter().flat_map(|(base, len)| [base.to_le_bytes(), len.to_le_bytes()].concat()).collect();
    let at = cpu.store(DATA + 0x400, &bytes);
    ring.put(cpu, &[transfer(IORING_OP_READV, fd, at, 2, 0)]);
    assert_eq!(ring.enter(cpu, 1, 1).await, Ok(1));
    assert_eq!(ring.reap(cpu), [(7, 12)]);
    assert_eq!(cpu.load(DATA + 0x300, 7), b", world");
    let wrong = [
        (read(99, DATA, 1), Errno::EBADF),
        (transfer(IORING_OP_READ, fd, DATA, 1, 1 << 63), Errno::EINVAL),
        (Sqe { op_flags: 0x100, ..read(fd, DATA, 1) }, Errno::EOPNOTSUPP),
        (Sqe { op_flags: f::RWF_HIPRI, ..read(fd, DATA, 1) }, Errno::EINVAL),
        (Sqe { flags: IOSQE_FIXED_FILE, ..read(0, DATA, 1) }, Errno::EBADF),
        (read(fd, BAD, 1), Errno::EFAULT),
        (read(fd, usize::MAX - 10, 100), Errno::EFAULT),
        (transfer(IORING_OP_READV, fd, BAD, 1, 0), Errno::EFAULT),
        (transfer(IORING_OP_READV, fd, at, 1025, 0), Errno::EINVAL),
        (Sqe { ioprio: 7 << 13, ..read(fd, DATA, 1) }, Errno::EINVAL),
    ];
    for (entry, errno) in wrong {
        ring.put(cpu, &[entry]);
        assert_eq!(ring.enter(cpu, 1, 1).await, Ok(1));
        assert_eq!(ring.reap(cpu), [(7, errno.to_return() as i32)], "{entry:?}");
    }
    cpu.good(nr::CLOSE, [fd]).await;
}

async fn pending(cpu: &Cpu, ring: &Mapped) {
    let (from, to) = pipe(cpu).await;
    let buffer = DATA + 0x500;
    // One that waits, into a page that is not there yet; the descriptor may go meanwhile.
    ring.put(cpu, &[read(from, DATA + 0x9000, 4), read(from, buffer, 4)]);
    assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(2));
    cpu.good(nr::CLOSE, [from]).await;
    assert_eq!(ring.reap(cpu), []);
    assert_eq!(cpu.good(nr::WRITE, [to, cpu.store(DATA, b"abcdefgh"), 8]).await, 8);
    assert_eq!(ring.enter(cpu, 0, 2).await, Ok(0));
    assert_eq!(ring.reap(cpu), [(7, 4), (7, 4)]);
    let both = [cpu.load(DATA + 0x9000, 4), cpu.load(buffer, 4)].concat();
    assert!(both == b"abcdefgh" || both == b"efghabcd");
    // Nobody reads any more: with the signal that a call would raise.
    cpu.store(DATA + 0x600, &(1u64 << 12).to_le_bytes());
    cpu.good(nr::RT_SIGPROCMASK, [0, DATA + 0x600, 0, 8]).await;
    assert_eq!(ring.run(cpu, &[transfer(IORING_OP_WRITE, to, DATA, 1, 0)]).await, [(7, -32)]);
    assert_eq!(cpu.good(nr::RT_SIGTIMEDWAIT, [DATA + 0x600, 0, 0, 8]).await, 13);
    cpu.good(nr::RT_SIGPROCMASK, [1, DATA + 0x600, 0, 8]).await;
    cpu.good(nr::CLOSE, [to]).await;
    // A description that does not wait makes requests no less patient.
    cpu.good(nr::PIPE2, [DATA + 0x7300, f::O_NONBLOCK as usize]).await;
    let (from, to) = (cpu.word(DATA + 0x7300) as usize, cpu.word(DATA + 0x7304) as usize);
    ring.put(cpu, &[read(from, buffer, 4)]);
    assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
    // The other end goes: that is the end of the file.
    cpu.good(nr::CLOSE, [to]).await;
    assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
    assert_eq!(ring.reap(cpu), [(7, 0)]);
    cpu.good(nr::CLOSE, [from]).await;
}

async fn cancelling(cpu: &Cpu, ring: &Mapped) {
    let (from, to) = pipe(cpu).await;
    let waits = |user_data| Sqe { user_data, ..read(from, DATA, 4) };
    let enoent = Errno::ENOENT.to_return() as i32;
    assert_eq!(ring.run(cpu, &[cancel(1, 0, 0)]).await, [(99, enoent)]);
    for (flags, fd) in [(0, 0), (IORING_ASYNC_CANCEL_FD, from), (IORING_ASYNC_CANCEL_USERDATA, 0)] {
        ring.put(cpu, &[waits(1), cancel(1, flags, fd)]);
        assert_eq!(ring.enter(cpu, 2, 2).await, Ok(2));
        let mut found = ring.reap(cpu);
        found.sort_unstable();
        assert_eq!(found, [(1, CANCELLED), (99, 0)]);
    }
    let all = [
        (cancel(1, IORING_ASYNC_CANCEL_ALL, 0), 2),
        (cancel(0, IORING_ASYNC_CANCEL_ANY, 0), 3),
        (cancel(0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD, from), 3),
        (Sqe { len: 22, ..cancel(0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_OP, 0) }, 3),
        (cancel(0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD, to), 0),
    ];
    for (entry, count) in all {
        ring.put(cpu, &[waits(1), waits(2), waits(1), entry]);
        assert_eq!(ring.enter(cpu, 4, count as usize + 1).await, Ok(4));
        let found = ring.reap(cpu);
        assert!(found.contains(&(99, count)), "{entry:?} {found:?}");
        // What is left goes here.
        ring.put(cpu, &[cancel(0, IORING_ASYNC_CANCEL_ANY, 0)]);
        assert_eq!(ring.enter(cpu, 1, 4 - count as usize).await, Ok(1));
        assert!(ring.reap(cpu).contains(&(99, 3 - count)));
    }
    // A file, by whatever number; no other that has that number now.
    let other = cpu.good(nr::DUP, [from]).await;
    let by_file = |fd| cancel(0, IORING_ASYNC_CANCEL_FD, fd);
    ring.put(cpu, &[waits(1), by_file(other)]);
    assert_eq!(ring.enter(cpu, 2, 2).await, Ok(2));
    assert!(ring.reap(cpu).contains(&(99, 0)));
    ring.put(cpu, &[Sqe { fd: other as i32, ..waits(1) }]);
    assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
    cpu.good(nr::CLOSE, [other]).await;
    let ebadf = Errno::EBADF.to_return() as i32;
    for fd in [other, usize::MAX] {
        let all = cancel(0, IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL, fd);
        assert_eq!(ring.run(cpu, &[all]).await, [(99, ebadf)]);
    }
    cpu.good(nr::DUP3, [to, other, 0]).await;
    assert_eq!(ring.run(cpu, &[by_file(other)]).await, [(99, enoent)]);
    cpu.good(nr::CLOSE, [other]).await;
    ring.put(cpu, &[by_file(from)]);
    assert_eq!(ring.enter(cpu, 1, 2).await, Ok(1));
    assert!(ring.reap(cpu).contains(&(99, 0)));
    for wrong in [1 << 9, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD] {
        assert_eq!(ring.run(cpu, &[cancel(1, wrong, 0)]).await, [(99, EINVAL)]);
    }
    cpu.good(nr::CLOSE, [from]).await;
    cpu.good(nr::CLOSE, [to]).await;
}

async fn waiting_chains(cpu: &Cpu, ring: &Mapped) {
    let (link, hard, skip) = (IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_CQE_SKIP_SUCCESS);
    let (from, to) = pipe(cpu).await;
    let waits = |flags| Sqe { flags, ..read(from, DATA + 0x500, 4) };
    // What is linked begins when the read is done; one that reads less ends the chain.
    for (len, expected) in [(4, [(7, 4), (8, 1), (9, 2)]), (2, [(7, 2), (8, CANCELLED), (9, CANCELLED)])] {
        ring.put(cpu, &[waits(link), nop(8, link, 1), nop(9, 0, 2)]);
        assert_eq!(ring.enter(cpu, 3, NOT).await, Ok(3));
        assert_eq!(ring.reap(cpu), []);
        assert_eq!(cpu.good(nr::WRITE, [to, DATA, len]).await, len);
        assert_eq!(ring.enter(cpu, 0, 3).await, Ok(0));
        assert_eq!(ring.reap(cpu), expected);
    }
    // Behind a hard link the next waits, too; cancelled, it ends the rest, silently.
    ring.put(cpu, &[waits(hard), Sqe { user_data: 8, ..waits(link | skip) }, nop(9, 0, 2)]);
    assert_eq!(ring.enter(cpu, 3, NOT).await, Ok(3));
    assert_eq!(cpu.good(nr::WRITE, [to, DATA, 1]).await, 1);
    assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
    assert_eq!(ring.reap(cpu), [(7, 1)]);
    ring.put(cpu, &[cancel(8, 0, 0)]);
    assert_eq!(ring.enter(cpu, 1, 2).await, Ok(1));
    let mut found = ring.reap(cpu);
    found.sort_unstable();
    assert_eq!(found, [(8, CANCELLED), (99, 0)]);
    cpu.good(nr::CLOSE, [from]).await;
    cpu.good(nr::CLOSE, [to]).await;
}

/// Others get their turn before a long chain is through, whether it begins at once or behind one that waits.
async fn long_chains(cpu: &Cpu) {
    const COUNT: usize = 400;
    let ring = Mapped::new(cpu, 512, 0).await;
    let (from, to) = pipe(cpu).await;
    let chain: Vec<Sqe> = (0..COUNT as u64).map(|number| nop(number, IOSQE_IO_LINK, 0)).collect();
    let behind = [&[Sqe { flags: IOSQE_IO_LINK, ..read(from, DATA, 1) }], &chain[1..]].concat();
    let expected: Vec<u64> = (0..COUNT as u64).collect();
    for (entries, waits) in [(&chain, false), (&behind, true)] {
        ring.put(cpu, entries);
        assert_eq!(ring.enter(cpu, COUNT, NOT).await, Ok(COUNT));
        if waits {
            assert_eq!(ring.reap(cpu), []);
            cpu.good(nr::WRITE, [to, DATA, 1]).await;
            assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
        }
        let mut found = ring.reap(cpu);
        assert!(found.len() < COUNT, "all of it in one poll");
        while found.len() < COUNT {
            assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
            found.extend(ring.reap(cpu));
        }
        let order: Vec<u64> = found.iter().map(|(user_data, _)| *user_data).collect();
        assert_eq!(order[1..], expected[1..]);
    }
    for fd in [from, to, ring.fd] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

/// Requests that wait for a connection keep no number, and have one when it comes.
async fn accepting(cpu: &Cpu) {
    let ring = Mapped::new(cpu, 8, 0).await;
    let listener = cpu.good(nr::SOCKET, [abi::net::AF_UNIX as usize, abi::net::SOCK_STREAM as usize, 0]).await;
    let address = cpu.store(DATA + 0x7400, b"\x01\0/ring-socket\0");
    cpu.good(nr::BIND, [listener, address, 15]).await;
    cpu.good(nr::LISTEN, [listener, 4]).await;
    let accept = Sqe { op_flags: 0, ..transfer(IORING_OP_ACCEPT, listener, 0, 0, 0) };
    let none = Errno::EAGAIN.to_return() as i32;
    assert_eq!(ring.run(cpu, &[Sqe { ioprio: IORING_ACCEPT_DONTWAIT, ..accept }]).await, [(7, none)]);
    ring.put(cpu, &[accept, accept]);
    assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(2));
    let client = cpu.good(nr::SOCKET, [abi::net::AF_UNIX as usize, abi::net::SOCK_STREAM as usize, 0]).await;
    assert_eq!(client, listener + 1);
    cpu.good(nr::CONNECT, [client, address, 15]).await;
    assert_eq!(ring.enter(cpu, 0, 1).await, Ok(0));
    assert_eq!(ring.reap(cpu), [(7, client as i32 + 1)]);
    // Less than all of a message, for who wants all, ends its chain.
    let list = [DATA + 0x500, 8].map(usize::to_le_bytes).concat();
    let list = cpu.store(DATA + 0x7500, &list);
    let message = cpu.store(DATA + 0x7400, &[0, 0, list as u64, 1, 0, 0, 0].map(u64::to_le_bytes).concat());
    for (wants, next) in [(0, 1), (abi::net::MSG_WAITALL, CANCELLED)] {
        let receive = transfer(IORING_OP_RECVMSG, client, message, 0, 0);
        ring.put(cpu, &[Sqe { flags: IOSQE_IO_LINK, op_flags: wants, ..receive }, nop(8, 0, 1)]);
        assert_eq!(ring.enter(cpu, 2, NOT).await, Ok(2));
        cpu.good(nr::WRITE, [client + 1, DATA, 4]).await;
        if wants != 0 {
            cpu.good(nr::SHUTDOWN, [client + 1, abi::net::SHUT_WR as usize]).await;
        }
        assert_eq!(ring.enter(cpu, 0, 2).await, Ok(0));
        assert_eq!(ring.reap(cpu), [(7, 4), (8, next)]);
    }
    for fd in [client + 1, client, listener, ring.fd] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

/// What a request that waits keeps of its arguments is its submitter's, and goes with it.
async fn lists_are_paid_for(cpu: &Cpu) {
    let used = || process::table::process(1).unwrap().account().used();
    let ring = Mapped::new(cpu, 8, 0).await;
    let (from, to) = pipe(cpu).await;
    let datagrams = abi::net::SOCK_DGRAM as usize;
    cpu.good(nr::SOCKETPAIR, [abi::net::AF_UNIX as usize, datagrams, 0, DATA + 0x7310]).await;
    let (here, there) = (cpu.word(DATA + 0x7310) as usize, cpu.word(DATA + 0x7314) as usize);
    let list: Vec<u8> = (0..1024).flat_map(|_| [DATA.to_le_bytes(), 64usize.to_le_bytes()].concat()).collect();
    let list = cpu.store(DATA + 0xa000, &list);
    // A message: no name, the list, no more.
    let message = [0, 0, list as u64, 1024, 0, 0, 0].map(u64::to_le_bytes).concat();
    let message = cpu.store(DATA + 0x7400, &message);
    let receive = transfer(IORING_OP_RECVMSG, here, message, 0, 0);
    for (entry, held) in [(transfer(IORING_OP_READV, from, list, 1024, 0), 16 << 10), (receive, (16 + 64) << 10)] {
        let before = used();
        ring.put(cpu, &[entry]);
        assert_eq!(ring.enter(cpu, 1, NOT).await, Ok(1));
        let time = cpu.store(DATA + 0x180, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0xf, 0, 0, 0, 0, 0]);
        cpu.good(nr::NANOSLEEP, [time, 0]).await;
        assert!(used() >= before + held, "{} of {held}", used() - before);
        ring.put(cpu, &[cancel(7, 0, 0)]);
        assert_eq!(ring.enter(cpu, 1, 2).await, Ok(1));
        let mut found = ring.reap(cpu);
        found.sort_unstable();
        assert_eq!(found, [(7, CANCELLED), (99, 0)]);
        cpu.good(nr::NANOSLEEP, [time, 0]).await;
        assert!(used() < before + 4096);
    }
    for fd in [from, to, here, there, ring.fd] {
        cpu.good(nr::CLOSE, [fd]).await;
    }
}

/// What waits goes with the ring, and gives back what it held.
async fn left_behind(cpu: &Cpu) {
    let used = || process::table::process(1).unwrap().account().used();
    let (from, to) = pipe(cpu).await;
    let time = cpu.store(DATA + 0x180, &[0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x42, 0xf, 0, 0, 0, 0, 0]);
    // Of the rings before, too.
    cpu.good(nr::NANOSLEEP, [time, 0]).await;
    let before = used();
    let ring = Mapped::new(cpu, 8, 0).await;
    let entries = [IOSQE_IO_HARDLINK, IOSQE_IO_LINK, 0, 0].map(|flags| Sqe { flags, ..read(from, DATA, 4) });
    ring.put(cpu, &entries);
    assert_eq!(ring.enter(cpu, 4, NOT).await, Ok(4));
    cpu.good(nr::CLOSE, [ring.fd]).await;
    cpu.good(nr::MUNMAP, [ring.ring, 4096]).await;
    cpu.good(nr::MUNMAP, [ring.entries, 4096]).await;
    // Their coroutines have run by then.
    cpu.good(nr::NANOSLEEP, [time, 0]).await;
    assert_eq!(used(), before);
    // Nobody has taken this.
    assert_eq!(cpu.good(nr::WRITE, [to, DATA, 4]).await, 4);
    assert_eq!(cpu.good(nr::READ, [from, DATA, 4]).await, 4);
    cpu.good(nr::CLOSE, [from]).await;
    cpu.good(nr::CLOSE, [to]).await;
}
