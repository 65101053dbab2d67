//! On whose behalf a service runs (D14): identity and rights as of submission, priority, account.
//!
//! A `Caller` is a value: it is fixed when a request is submitted and does not change when the
//! process later drops rights or raises its priority. Cancellation is not in here: dropping the
//! service's future is the only cancellation.

use alloc::sync::Arc;
use mem::Account;

/// User and group ids that access checks use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id; 0 passes every permission check.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Who submitted a request.
#[derive(Clone)]
pub struct Caller {
    /// Process id (thread-group id) of the submitter.
    pub pid: u32,
    /// Thread id of the submitter.
    pub tid: u32,
    /// Rights as of submission.
    pub credentials: Credentials,
    /// Priority of the request, 0 (highest) to 31.
    pub priority: u8,
    /// Number of the request in the trace, never reused (D16); 0 for what is served at once or not recorded.
    pub request: u64,
    /// Regular files do not grow beyond this many bytes by its hand (`RLIMIT_FSIZE`).
    pub file_limit: u64,
    /// Who pays for kernel objects that the request creates (D13).
    pub account: Arc<Account>,
}

impl Caller {
    /// Whether both are the same in all but the number of a request.
    #[inline]
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let Self { pid, tid, credentials, priority, request: _, file_limit, account } = self;
        let same = (*pid, *tid, *credentials, *priority, *file_limit)
            == (other.pid, other.tid, other.credentials, other.priority, other.file_limit);
        same && Arc::ptr_eq(account, &other.account)
    }

    /// The kernel itself, as process 0: it passes every permission check, and `account` pays.
    #[must_use]
    pub fn kernel(priority: u8, account: Arc<Account>) -> Self {
        let credentials = Credentials { uid: 0, gid: 0 };
        Self { pid: 0, tid: 0, credentials, priority, request: 0, file_limit: u64::MAX, account }
    }
}
