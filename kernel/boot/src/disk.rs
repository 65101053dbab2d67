//! The virtio disk as a block device.

use crate::startup::PRIORITY_SERVICE;
use abi::errno::Errno;
use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use io::block::{Answer, BlockDevice, Direction, Parts, SECTOR};
use io::faults;
use virtio::{Block, Completion, Error, Transport};

const _: () = assert!(SECTOR == virtio::SECTOR);

/// A disk that stays for as long as the machine runs.
pub struct Disk<T: Transport + 'static>(pub &'static Block<T>);

fn errno(error: Error) -> Errno {
    match error {
        Error::NoMemory => Errno::ENOMEM,
        Error::ReadOnly => Errno::EROFS,
        Error::Invalid => Errno::EINVAL,
        _ => Errno::EIO,
    }
}

/// The device is told of a request when somebody waits for it: of several that are begun together, all at once. On demand it is told late, by
/// whoever waits for nothing else, so that the memory stays the driver's for longer than anybody may want the answer.
struct Awaited<T: Transport + 'static> {
    disk: &'static Block<T>,
    completion: Completion,
    /// By how much later the device is told; `None`: it was.
    late: Option<u64>,
}

impl<T: Transport + Send> Awaited<T> {
    fn answer(disk: &'static Block<T>, completion: Completion) -> Answer {
        Box::pin(Awaited { disk, completion, late: Some(faults::lateness()) })
    }

    fn announce(&self, late: u64) {
        let disk = self.disk;
        if late == 0 {
            return disk.announce();
        }
        let announce = async move {
            exec::sleep(late).await;
            disk.announce();
        };
        if exec::try_spawn(PRIORITY_SERVICE, "late disk", announce).is_err() {
            disk.announce();
        }
    }
}

impl<T: Transport + Send> Future for Awaited<T> {
    type Output = Result<(), Errno>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(late) = self.late.take() {
            self.announce(late);
        }
        Pin::new(&mut self.completion).poll(context).map(|result| result.map(drop).map_err(errno))
    }
}

impl<T: Transport + Send + 'static> BlockDevice for Disk<T> {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }

    fn read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn max_parts(&self) -> usize {
        self.0.max_buffers()
    }

    fn submit(&self, direction: Direction, sector: u64, parts: Parts) -> Answer {
        if hal::fail::here() {
            return Box::pin(core::future::ready(Err(Errno::EIO)));
        }
        let completion = match direction {
            Direction::Read => self.0.read(sector, parts),
            Direction::Write => self.0.write(sector, parts),
        };
        Awaited::answer(self.0, completion)
    }

    fn flush(&self) -> Answer {
        if hal::fail::here() {
            return Box::pin(core::future::ready(Err(Errno::EIO)));
        }
        Awaited::answer(self.0, self.0.flush())
    }
}
