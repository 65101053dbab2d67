//! Doing something for each of a list of the program's, one after the other.

use abi::errno::Errno;
use core::future::Future;

/// Does `one` for each number below `count`, and lets others have their turn in between; how many were done. What fails ends the list.
///
/// # Errors
/// That of the first: of others only the number of those before is told.
pub(super) async fn in_turn<F: Future<Output = Result<(), Errno>>>(
    count: usize,
    one: impl Fn(usize) -> F,
) -> Result<usize, Errno> {
    for done in 0..count {
        match one(done).await {
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => return Ok(done),
            Ok(()) => {}
        }
        if exec::should_yield() {
            exec::yield_now().await;
        }
    }
    Ok(count)
}
