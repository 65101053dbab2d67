//! System calls: the one `ecall`, and helpers that turn its result into a `Result`.
//!
//! The callers in this crate own the meaning of the arguments; this file owns the register convention: number in
//! `a7`, arguments in `a0..a5`, result in `a0`, every other register preserved.

use abi::asyncos::{TAKE, TAKE_DRY};
use abi::errno::{Errno, Result};
use alloc::ffi::CString;
use core::arch::asm;

/// Makes system call `number`; what the kernel left in `a0`.
///
/// # Safety
/// The call must be sound with these arguments: every address the kernel writes through is valid for it, and the
/// call does not take away memory that is in use.
#[inline]
pub(crate) unsafe fn ecall(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the convention above; the kernel preserves all registers but a0. Memory effects are the caller's
    // promise, and the asm is not marked `nomem`, so the compiler assumes any reachable memory changed.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") args[0] => result,
            in("a1") args[1],
            in("a2") args[2],
            in("a3") args[3],
            in("a4") args[4],
            in("a5") args[5],
            options(nostack),
        );
    }
    result
}

/// The same, with a token in `a6`.
///
/// # Safety
/// As of [`ecall`], until the call has completed.
#[cfg(feature = "raw")]
pub(crate) unsafe fn ecall_with_token(number: usize, args: [usize; 6], token: u64) -> isize {
    let result: isize;
    // SAFETY: as in `ecall`.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            in("a6") token,
            inlateout("a0") args[0] => result,
            in("a1") args[1],
            in("a2") args[2],
            in("a3") args[3],
            in("a4") args[4],
            in("a5") args[5],
            options(nostack),
        );
    }
    result
}

/// The same, with the result taken apart.
///
/// # Safety
/// As for [`ecall`].
#[inline]
pub(crate) unsafe fn call6(number: usize, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller keeps the same promise.
    Errno::from_return(unsafe { ecall(number, args) })
}

/// Arguments with zeros for those that the call does not have.
pub(crate) fn pad<const N: usize>(args: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    all
}

/// A call whose pointer arguments come from references alive across it, or that has none.
macro_rules! syscall {
    ($number:ident $(, $arg:expr)* $(,)?) => {{
        let args = $crate::sys::pad([$($arg as usize),*]);
        // SAFETY: each address among the arguments is that of a live reference or slice of the stated length, mutable
        // where the kernel writes; the call changes no mapping this program uses.
        unsafe { $crate::sys::call6(abi::nr::$number, args) }
    }};
}
pub(crate) use syscall;

/// A call that may wait, as [`syscall!`](syscall): a handler of a signal in user mode that does not restart it ends it with `EINTR` ([`crate::signal::user`]).
macro_rules! waiting_call {
    ($number:ident $(, $arg:expr)* $(,)?) => {{
        let args = $crate::sys::pad([$($arg as usize),*]);
        // SAFETY: as in `syscall!`.
        unsafe { $crate::signal::user::call(abi::nr::$number, args) }
    }};
}
pub(crate) use waiting_call;

/// A path or argument as the kernel takes it.
///
/// # Errors
/// `EINVAL` when it contains a NUL byte.
pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

/// Repeats a call that a signal interrupted: one that does not wait, or whose answer promises more than a part of it.
pub(crate) fn retry<T, E: Copy + Into<crate::io::Error>>(
    mut call: impl FnMut() -> core::result::Result<T, E>,
) -> core::result::Result<T, E> {
    loop {
        match call() {
            Err(error) if error.into().raw_os_error() == Some(Errno::EINTR.number()) => {}
            other => return other,
        }
    }
}

/// An open descriptor, closed when dropped.
#[derive(Debug)]
pub struct OwnedFd(i32);

impl OwnedFd {
    /// Takes over a descriptor that a call returned.
    pub(crate) fn new(fd: usize) -> Self {
        Self(fd as i32)
    }

    /// The number.
    #[must_use]
    pub fn raw(&self) -> i32 {
        self.0
    }

    /// A second descriptor of the same open file, closed on exec.
    ///
    /// # Errors
    /// `EMFILE` when the process has as many as it may.
    pub fn try_clone(&self) -> crate::io::Result<Self> {
        Self::duplicate(self.0)
    }

    /// A descriptor above 2 of what `fd` refers to.
    pub(crate) fn duplicate(fd: i32) -> crate::io::Result<Self> {
        Ok(Self::new(syscall!(FCNTL, fd, abi::fs::F_DUPFD_CLOEXEC, 3)?))
    }

    /// Switches waiting on this open file off or on.
    ///
    /// # Errors
    /// `EBADF` only.
    pub fn set_nonblocking(&self, nonblocking: bool) -> crate::io::Result<()> {
        let flags = syscall!(FCNTL, self.0, abi::fs::F_GETFL)?;
        let bit = abi::fs::O_NONBLOCK as usize;
        let flags = if nonblocking { flags | bit } else { flags & !bit };
        syscall!(FCNTL, self.0, abi::fs::F_SETFL, flags)?;
        Ok(())
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        // The descriptor is gone whatever close reports; a program that cares syncs first.
        let _ = syscall!(CLOSE, self.0);
    }
}

/// Reads from a descriptor.
pub(crate) fn read(fd: i32, buf: &mut [u8]) -> Result<usize> {
    waiting_call!(READ, fd, buf.as_mut_ptr(), buf.len())
}

/// Reads what a non-blocking stream has; also whether that is known to be all.
pub(crate) fn take(fd: i32, buf: &mut [u8]) -> Result<(usize, bool)> {
    // SAFETY: the buffer is borrowed.
    unsafe { take_into(fd, buf.as_mut_ptr(), buf.len()) }
}

/// The same into memory that need not have been written before.
///
/// # Safety
/// So many bytes there are valid for writes.
pub(crate) unsafe fn take_into(fd: i32, start: *mut u8, len: usize) -> Result<(usize, bool)> {
    let (number, args) =
        (if crate::slots::active() { TAKE } else { abi::nr::READ }, pad([fd as usize, start as usize, len]));
    // SAFETY: the contract; the kernel writes nowhere else.
    let taken = retry(|| unsafe { call6(number, args) })?;
    // No read is so long that it would say so.
    Ok((taken & !TAKE_DRY, taken & TAKE_DRY != 0))
}

/// Reads at a position what of a file is in memory; `EAGAIN` if that is less than asked for, or cannot be told.
///
/// # Safety
/// So many bytes at `start` are valid for writes.
pub(crate) unsafe fn take_at(fd: i32, start: *mut u8, len: usize, offset: u64) -> Result<usize> {
    if !crate::slots::active() {
        return Err(Errno::EAGAIN);
    }
    let args = pad([fd as usize, start as usize, len, offset as usize]);
    // SAFETY: the contract; the kernel writes nowhere else.
    retry(|| unsafe { call6(TAKE, args) })
}

/// Writes to a descriptor.
pub(crate) fn write(fd: i32, buf: &[u8]) -> Result<usize> {
    waiting_call!(WRITE, fd, buf.as_ptr(), buf.len())
}
