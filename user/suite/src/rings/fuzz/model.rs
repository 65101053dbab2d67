//! What has to come of the entries of one ring.

use super::super::*;
use super::PATIENCE;
use super::entries::FOREIGN;
use alloc::collections::{BTreeMap, VecDeque};

/// What may come of an entry.
struct Expected {
    opcode: u8,
    /// It may have no completion.
    is_silent: bool,
    /// The most that it moves, where it moves bytes.
    most: i32,
    /// It may have several.
    goes_on: bool,
}

/// Whether an entry may have several completions. What is sent does so from several buffers, as long as there are some.
fn goes_on(entry: &Sqe) -> bool {
    match entry.opcode {
        IORING_OP_POLL_ADD | IORING_OP_TIMEOUT | IORING_OP_ACCEPT | IORING_OP_RECV | IORING_OP_RECVMSG => true,
        IORING_OP_READ_MULTISHOT | IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC => true,
        IORING_OP_SEND => entry.ioprio & IORING_RECVSEND_BUNDLE != 0,
        _ => false,
    }
}

/// A ring, and which of its entries are where.
pub struct Model {
    pub ring: Ring,
    /// Pushed and not taken, in order.
    pushed: VecDeque<(u64, Expected)>,
    /// Taken and not over.
    begun: BTreeMap<u64, Expected>,
    /// The kernel's head when it was looked at last, or what it will be: in a ring that is polled, an entry can be over before that says that it was taken, as on Linux, where it is
    /// stored behind a batch.
    head: u32,
    /// The entry before is linked to the next; whether one of its chain says nothing.
    chain: Option<bool>,
    is_disabled: bool,
    /// Entries are taken at any moment, by nobody's call.
    is_polled: bool,
}

/// Stands for the operation of a call.
const CALL: u8 = u8::MAX;

impl Model {
    pub fn new(entries: u32, flags: u32) -> Result<Self, Trouble> {
        let has = |flag| flags & flag != 0;
        let (is_disabled, is_polled) = (has(IORING_SETUP_R_DISABLED), has(IORING_SETUP_SQPOLL));
        // It parks as soon as it may, so that it is called as often as it looks.
        let ring = Ring::with(entries, Params { flags, sq_thread_idle: u32::from(is_polled), ..Params::default() })?;
        let (pushed, begun) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { ring, pushed, begun, head: 0, chain: None, is_disabled, is_polled })
    }

    pub fn fd(&self) -> i32 {
        self.ring.fd().raw()
    }

    /// Adds an entry, if there is room.
    pub fn push(&mut self, entry: &Sqe) -> bool {
        if !self.ring.push_raw(entry) {
            return false;
        }
        let skips = entry.flags & IOSQE_CQE_SKIP_SUCCESS != 0 || self.chain == Some(true);
        let most = match entry.opcode {
            IORING_OP_READ | IORING_OP_WRITE | IORING_OP_RECV | IORING_OP_SEND => entry.len.min(i32::MAX as u32) as i32,
            _ => i32::MAX,
        };
        // Of what is chosen from a group the length is not the entry's.
        let most = if entry.flags & IOSQE_BUFFER_SELECT != 0 { i32::MAX } else { most };
        let expected = Expected { opcode: entry.opcode, is_silent: skips, most, goes_on: goes_on(entry) };
        self.pushed.push_back((entry.user_data, expected));
        // Before a limit that is no part of the chain the flag of the one before counts.
        let is_linked = entry.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0;
        self.chain = is_linked.then_some(skips);
        true
    }

    /// A call was registered.
    pub fn asked(&mut self, token: u64) {
        self.begun.insert(token, Expected { opcode: CALL, is_silent: false, most: i32::MAX, goes_on: false });
    }

    /// Notes what the kernel has taken, whoever submitted it.
    pub fn account(&mut self) -> Outcome {
        let taken = self.kernels_head().wrapping_sub(self.head).cast_signed();
        ensure!(taken >= 0 || self.is_polled, "{} are not taken any more", -taken);
        for _ in 0..taken {
            self.begin()?;
        }
        Ok(())
    }

    fn kernels_head(&self) -> u32 {
        raw::atomic(self.ring.address(at::SQ_HEAD)).load(core::sync::atomic::Ordering::Acquire)
    }

    /// The next one was taken.
    fn begin(&mut self) -> Outcome {
        let Some((user_data, expected)) = self.pushed.pop_front() else {
            return Err(Trouble::failed(format_args!("more was taken than was pushed: {} and one", self.head)));
        };
        self.begun.insert(user_data, expected);
        self.head = self.head.wrapping_add(1);
        Ok(())
    }

    /// Notes what was taken up to this one, which is over, if nothing says so yet.
    fn begin_up_to(&mut self, user_data: u64) -> Outcome {
        if self.is_polled
            && !self.begun.contains_key(&user_data)
            && let Some(at) = self.pushed.iter().position(|(pushed, _)| *pushed == user_data)
        {
            (0..=at).try_for_each(|_| self.begin())?;
        }
        Ok(())
    }

    pub fn submit(&mut self) -> Outcome {
        if self.is_polled {
            self.call();
            return self.reap();
        }
        let before = self.pushed.len();
        let answer = self.ring.submit(0);
        self.account()?;
        let taken = before - self.pushed.len();
        match answer {
            Ok(said) => equal!(said, taken),
            Err(_) => equal!(taken, 0),
        }
        self.reap()
    }

    /// Shows what was pushed to who takes it, whatever that answers: of a child's, too.
    pub fn call(&mut self) {
        let _ = if self.is_polled { self.ring.submit_polled(0) } else { self.ring.submit(0).map(drop) };
    }

    pub fn reap(&mut self) -> Outcome {
        self.account()?;
        while let Some(cqe) = self.ring.pop() {
            // An entry is taken before it is completed.
            self.account()?;
            self.completed(cqe)?;
        }
        self.ring.flush()?;
        Ok(())
    }

    fn completed(&mut self, cqe: Cqe) -> Outcome {
        let Cqe { user_data, res, flags } = cqe;
        if user_data & FOREIGN != 0 {
            return Ok(());
        }
        self.begin_up_to(user_data)?;
        let Some(expected) = self.begun.get(&user_data) else {
            return Err(Trouble::failed(format_args!("{user_data}: {res} {flags:#x} of nothing, or twice")));
        };
        let opcode = expected.opcode;
        // None is interrupted, and none tells what only the kernel knows.
        ensure!(res > -134 && res != -4 || opcode == IORING_OP_NOP, "{user_data}, operation {opcode}: {res}");
        ensure!(res <= expected.most, "{user_data}, operation {opcode}: {res} of {}", expected.most);
        if flags & IORING_CQE_F_MORE == 0 {
            self.begun.remove(&user_data);
        } else {
            ensure!(expected.goes_on, "{user_data}, operation {opcode}: {res}, and more");
        }
        Ok(())
    }

    /// Cancels by call: what has this `user_data`, or by flags.
    pub fn cancel(&mut self, user_data: u64, flags: u32, wait: i64) -> Outcome {
        let timeout = Timespec { sec: 0, nsec: wait };
        let asked = SyncCancel { addr: user_data, fd: -1, flags, timeout, opcode: 0, pad: [0; 7], pad2: [0; 3] };
        let _ = call!(IO_URING_REGISTER, self.fd(), IORING_REGISTER_SYNC_CANCEL, &raw const asked, 1);
        self.reap()
    }

    /// Waits a moment for one.
    pub fn waits(&mut self) -> Outcome {
        let span = Timespec { sec: 0, nsec: 1_000_000 };
        let argument = GetEvents { ts: core::ptr::from_ref(&span) as u64, ..GetEvents::default() };
        let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        let _ = call!(IO_URING_ENTER, self.fd(), 0, 1, flags, &raw const argument, 24);
        self.reap()
    }

    /// All that is left is submitted and ends, each once.
    pub fn settle(mut self) -> Outcome {
        if self.is_disabled {
            let _ = call!(IO_URING_REGISTER, self.fd(), IORING_REGISTER_ENABLE_RINGS, 0, 0);
        }
        let mut patience = PATIENCE;
        let is_said = |model: &Self| model.kernels_head() == model.head;
        while !self.pushed.is_empty() || !is_said(&self) || self.begun.values().any(|expected| !expected.is_silent) {
            self.submit()?;
            self.cancel(0, IORING_ASYNC_CANCEL_ANY, 1_000_000)?;
            self.waits()?;
            patience -= 1;
            if patience == 0 {
                let left: Vec<_> = self.begun.iter().filter(|(_, one)| !one.is_silent).collect();
                let first = left.first().map(|(user_data, one)| (**user_data, one.opcode));
                let pushed = self.pushed.len();
                return Err(Trouble::failed(format_args!(
                    "{} do not end, first {first:?}; {pushed} pushed",
                    left.len()
                )));
            }
        }
        // Whoever comes twice comes now.
        self.waits()?;
        self.waits()
    }
}
