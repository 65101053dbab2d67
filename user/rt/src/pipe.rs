//! Pipes: a reading and a writing end.

use crate::fs::File;
use crate::io;
use crate::sys::{OwnedFd, syscall};

/// Makes a pipe; both ends are closed on exec. Returns the reading end first.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0i32; 2];
    syscall!(PIPE2, ends.as_mut_ptr(), abi::fs::O_CLOEXEC)?;
    let [read, write] = ends.map(|fd| File::from(OwnedFd::new(fd as usize)));
    Ok((read, write))
}
