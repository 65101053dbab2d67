//! What a request that waits has found by then, and how it goes on: in a coroutine of its own ([`super::coroutine`]), or as a record ([`super::retry`]).

use super::{
    Ring,
    begun::Begun,
    buffers::Buffer,
    cancel::Cancel,
    operation::{Done, Step, place_of},
    readiness::Readiness,
    request::Request,
    ticket::Tag,
    timeout::{Timeout, Timer},
    transfer::{AtDevice, Transfer},
};
use crate::context::{OfRequest, Task};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc};
use core::future::Future;
use io::open::OpenFile;

/// What waits, with what it has found.
pub(super) enum Waits {
    /// Bytes to move, by way of a buffer or not.
    Transfer(Transfer, Arc<OpenFile>, Option<Arc<Buffer>>),
    /// Bytes that a device moves. Boxed: the others are not to carry its size.
    Device(Box<AtDevice>),
    /// Requests to end, of this file if there is one.
    Cancel(Cancel, Option<Arc<OpenFile>>),
    /// A time.
    Timeout(Timeout),
    /// Events of a file.
    Readiness(Readiness, Arc<OpenFile>),
    /// A system call that has begun.
    Call(Begun),
    /// One of the others, of a file whose place has a tag. Boxed, as such are seldom.
    Tagged(Box<(Waits, Arc<Tag>)>),
}

/// Boxed, and paid for: a request that waits for a few bytes must not carry the size of this.
pub(super) fn boxed<'a, F: Future<Output = Done> + Send + 'a>(
    task: &Task<'_>,
    wait: F,
) -> impl Future<Output = Done> + use<'a, F> {
    let begun = task.caller().account.charge(size_of::<F>()).map(|charge| (Box::pin(wait), charge));
    async move {
        match begun {
            Ok((wait, _charge)) => wait.await,
            Err(errno) => Done::failed(errno),
        }
    }
}

impl Waits {
    /// Without the tag of its file's place, which is to be kept to its end.
    pub(super) fn untag(self) -> (Self, Option<Arc<Tag>>) {
        match self {
            Waits::Tagged(tagged) => {
                let (waits, tag) = *tagged;
                (waits, Some(tag))
            }
            waits => (waits, None),
        }
    }

    /// What waits has the rights of who submits, but for a call, which has those of its task: a transfer with others becomes one.
    pub(super) fn with_rights(self, task: &Task<'_>, ring: &Arc<Ring>) -> Step {
        match self {
            Waits::Transfer(transfer, open, buffer) => {
                transfer.run_as_call(task, ring, OfRequest { file: Some(open), buffer, ..OfRequest::default() })
            }
            Waits::Tagged(tagged) => match tagged.0.with_rights(task, ring) {
                Step::Waits(waits) => Step::Waits(Waits::Tagged(Box::new((waits, tagged.1)))),
                done => done,
            },
            waits => Step::Waits(waits),
        }
    }

    /// Does the rest of it.
    pub(super) async fn run(&mut self, task: &Task<'_>, ring: &Ring, request: &Request) -> Done {
        match self {
            Waits::Transfer(transfer, open, _) => transfer.wait(task, open).await,
            Waits::Device(device) => device.finish().await,
            Waits::Cancel(cancel, open) => boxed(task, cancel.wait(ring, open.as_ref(), false)).await,
            Waits::Timeout(timeout) => boxed(task, timeout.wait(ring, request)).await,
            Waits::Readiness(readiness, open) => boxed(task, readiness.wait(task, ring, request, open)).await,
            Waits::Call(begun) => begun.wait(request.state()).await,
            // Who enlists it has taken the tag off.
            Waits::Tagged(_) => Done::failed(Errno::EINVAL),
        }
    }

    /// Where the description lies that it waits for, or 0.
    pub(super) fn file(&self) -> usize {
        match self {
            Waits::Transfer(_, open, _) | Waits::Readiness(_, open) => place_of(open),
            Waits::Device(device) => place_of(device.open()),
            Waits::Call(begun) => begun.file,
            Waits::Tagged(tagged) => tagged.0.file(),
            Waits::Cancel(..) | Waits::Timeout(_) => 0,
        }
    }

    /// The buffer that it goes on with.
    pub(super) fn take_buffer(&mut self) -> Option<Arc<Buffer>> {
        match self {
            Waits::Transfer(_, _, buffer) => buffer.take(),
            _ => None,
        }
    }

    /// What is to be known of a time that it waits for.
    pub(super) fn timer(&self, ring: &Ring) -> Option<Timer> {
        match self {
            Waits::Timeout(timeout) => Some(timeout.start(ring)),
            _ => None,
        }
    }
}
