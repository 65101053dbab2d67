//! What a thread does in the kernel, as one word, and in `/proc/PID/threads` as text.
//!
//! The thread notes it before it may wait. The word says nothing of whether it waits: that says `Thread::waits`.

use alloc::{format, string::String};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of the call's number; what is above them is of its first argument.
const NUMBER: u32 = 16;
/// Stand where a number would.
const FAULT: u64 = 0xfffe;
const SIGNAL: u64 = 0xffff;

/// The word. Relaxed: for whoever looks, a snapshot.
#[derive(Default)]
pub(crate) struct Doing(AtomicU64);

impl Doing {
    /// A call, and what it is about: a descriptor, an address, a process.
    pub(crate) fn call(&self, number: usize, first: usize) {
        let number = (number as u64).min(FAULT - 1);
        self.0.store((first as u64) << NUMBER | number, Relaxed);
    }

    /// A page fault.
    pub(crate) fn fault(&self, address: usize) {
        self.0.store((address as u64) << NUMBER | FAULT, Relaxed);
    }

    /// It looks at signals, or is stopped by one.
    pub(crate) fn signal(&self) {
        self.0.store(SIGNAL, Relaxed);
    }

    /// Whether it is this call.
    pub(crate) fn is_call(&self, number: usize) -> bool {
        self.0.load(Relaxed) & ((1 << NUMBER) - 1) == number as u64
    }

    /// Whether it is a page fault.
    pub(crate) fn is_fault(&self) -> bool {
        self.is_call(FAULT as usize)
    }

    /// `read 3`, `futex 3fff0010`, `fault 10000`, `signal`: the call's name, or its number, and 48 bits of its first argument:
    /// descriptors and process ids in decimal, with a sign, addresses in hexadecimal.
    pub(crate) fn text(&self) -> String {
        let word = self.0.load(Relaxed);
        let (number, first) = ((word & ((1 << NUMBER) - 1)) as usize, word >> NUMBER);
        let argument = match i32::try_from((word.cast_signed()) >> NUMBER) {
            Ok(small) if !is_address(number) && (-1..1 << 16).contains(&small) => format!("{small}"),
            _ => format!("{first:x}"),
        };
        match number as u64 {
            SIGNAL => String::from("signal"),
            FAULT => format!("fault {first:x}"),
            _ => match abi::nr::name(number) {
                Some(name) => format!("{name} {argument}"),
                None => format!("call{number} {argument}"),
            },
        }
    }
}

/// Whether the first argument of a call is an address.
fn is_address(number: usize) -> bool {
    use abi::nr;
    matches!(number, nr::FUTEX | nr::PPOLL | nr::NANOSLEEP | nr::EXECVE | nr::RT_SIGTIMEDWAIT | nr::RT_SIGSUSPEND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::nr;

    #[test]
    fn what_a_thread_does_is_named() {
        let doing = Doing::default();
        doing.call(nr::READ, 3);
        assert_eq!((doing.text().as_str(), doing.is_fault()), ("read 3", false));
        doing.call(nr::WAIT4, usize::MAX);
        assert_eq!(doing.text(), "wait4 -1");
        doing.call(nr::FUTEX, 0x40);
        assert_eq!(doing.text(), "futex 40");
        doing.call(usize::MAX, usize::MAX - 1);
        assert_eq!(doing.text(), "call65533 fffffffffffe");
        doing.fault(0x3f_ffff_f000);
        assert_eq!((doing.text().as_str(), doing.is_fault()), ("fault 3ffffff000", true));
        doing.signal();
        assert_eq!((doing.text().as_str(), doing.is_fault()), ("signal", false));
    }
}
