//! The drivers against the fake device.

mod block;
mod net;
mod queue;

use crate::fake::{self, FakeDevice, FakeTransport};
use crate::{Block, DeviceType, Entropy, Error, MmioTransport, Net};
use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use hal::irq::Handler;
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;
use std::{assert_eq, vec};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn waker() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_drivers_fit_the_real_transport() {
    fn is_device<D: Handler + Send>() {}
    is_device::<Block<MmioTransport<'static>>>();
    is_device::<Net<MmioTransport<'static>>>();
    is_device::<Entropy<MmioTransport<'static>>>();
}

#[test]
fn entropy_fills_what_the_device_gave() {
    let (transport, device) = fake::device(DeviceType::EntropySource, 0, &[]);
    let entropy = Entropy::new(transport).unwrap();
    let mut out = [0; 16];
    {
        let mut fill = pin!(entropy.fill(&mut out));
        assert!(fill.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let chain = device.take(0).unwrap();
        assert_eq!(chain.segments[0].1, 16);
        fake::write(chain.segments[0].0, &[9; 16]);
        device.put(0, chain.head.into(), 10);
        entropy.interrupt();
        assert_eq!(fill.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(10)));
    }
    assert_eq!(out, [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0]);
}
