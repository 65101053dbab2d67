//! Pauses of background work.

/// Nanoseconds between a file's first dirty page and its write-back.
pub const WRITE_BACK: u64 = 1_000_000_000;

/// Waits for `nanoseconds`.
pub async fn pause(nanoseconds: u64) {
    exec::sleep(nanoseconds).await;
}
