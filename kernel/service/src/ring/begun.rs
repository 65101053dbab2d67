//! A request that is served by a future of its own, which is polled once where it is submitted and goes on in a coroutine if it has to wait.

use super::{
    Ring,
    calls::Call,
    operation::{Done, Step, place_of},
    ordinary,
    request::Owner,
    select::Select,
    transfer::Transfer,
    waits::Waits,
    zero_copy,
};
use crate::{
    arguments::Args,
    context::{OfRequest, Task},
    dispatch,
};
use abi::errno::Errno;
use alloc::{boxed::Box, sync::Arc};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};
use mem::Charge;
use ring::RequestState;

/// A call that has begun, on its own.
pub(super) struct Begun {
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
    /// What the call asks whether it is to wait no longer.
    view: Arc<OfRequest>,
    /// Where the description lies that it is about, or 0.
    pub file: usize,
    _charge: Charge,
}

/// What is done.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Call(Call),
    Select(Select),
    /// Reading or writing with a list of pieces, or with other rights than the submitter's.
    Transfer(Transfer),
    /// A system call as it is, by its number.
    Ordinary(usize, Args),
}

impl Begun {
    /// Begins it, as far as that goes without waiting.
    pub(super) fn run(body: Body, task: &Task<'_>, ring: &Arc<Ring>, user_data: u64, view: OfRequest) -> Step {
        match Self::new(body, task, ring, user_data, view) {
            Ok(begun) => begun.begin(body, task),
            Err(errno) => Step::Done(Done::failed(errno)),
        }
    }

    /// Goes as far as that goes without waiting.
    pub(super) fn begin(mut self, body: Body, task: &Task<'_>) -> Step {
        let begun = &mut self;
        // Whoever goes on with it polls it again, with a waker.
        match begun.future.as_mut().poll(&mut Context::from_waker(exec::looking())) {
            Poll::Ready(done) => Step::Done(done),
            Poll::Pending => {
                begun.file = match (&begun.view.file, body) {
                    (Some(open), _) => place_of(open),
                    (None, Body::Call(call)) => call.file(task, &begun.view),
                    (None, Body::Select(_) | Body::Transfer(_) | Body::Ordinary(..)) => 0,
                };
                Step::Waits(Waits::Call(self))
            }
        }
    }

    /// One that has not begun yet.
    ///
    /// # Errors
    /// `ENOMEM`, `ECANCELED`.
    pub(super) fn new(
        body: Body,
        task: &Task<'_>,
        ring: &Arc<Ring>,
        user_data: u64,
        view: OfRequest,
    ) -> Result<Self, Errno> {
        let owner = Owner::of(task).ok_or(Errno::ECANCELED)?;
        let view = Arc::new(view);
        let (flag, ring) = (view.clone(), ring.clone());
        let future = async move {
            let task = owner.task(&flag);
            match body {
                Body::Call(call) if call.multishot => call.accept_all(&task, &ring, user_data).await,
                Body::Call(call) if zero_copy::is_one(&call) => zero_copy::serve(&call, &task, &ring, user_data).await,
                Body::Call(call) => call.finish(&task, &ring).await,
                Body::Select(select) => select.serve(&task, &ring, user_data).await,
                Body::Transfer(transfer) => transfer.serve(&task).await,
                Body::Ordinary(number, args) => ordinary::serve(&task, number, args).await,
            }
        };
        let kept = if let Body::Ordinary(number, args) = body { dispatch::kept(number, &args) } else { 0 };
        let charge = task.caller().account.charge(size_of_val(&future) + size_of::<OfRequest>() + 48 + kept)?;
        Ok(Self { future: Box::pin(future), view, file: 0, _charge: charge })
    }

    /// Goes on. What becomes of the request is seen before this is polled again.
    pub(super) async fn wait(&mut self, state: &RequestState) -> Done {
        poll_fn(|context| {
            if state.is_cancelled() {
                self.view.state.cancel();
            }
            self.future.as_mut().poll(context)
        })
        .await
    }
}
