//! The promises of fifo(7).

use super::*;
use crate::inode::{Metadata, Reply};
use abi::poll::{EPOLLERR, EPOLLHUP};
use core::task::{Context, Poll, Waker};

struct Named(u64);

impl Inode for Named {
    fn id(&self) -> InodeId {
        InodeId { dev: 77, ino: self.0 }
    }

    fn kind(&self) -> Kind {
        Kind::Fifo
    }

    fn metadata_now(&self) -> Option<Metadata> {
        None
    }

    fn open(self: Arc<Self>, _caller: &Caller, _flags: u32) -> Reply<'static, Arc<dyn File>> {
        Box::pin(core::future::ready(Err(Errno::ENXIO)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn caller() -> Caller {
    Caller::kernel(16, mem::Account::new(None, usize::MAX))
}

fn named(number: u64) -> Arc<dyn Inode> {
    Arc::new(Named(number))
}

fn is_open(file: &Arc<dyn File>) -> bool {
    let Some(mut wait) = file.opened() else { return true };
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

fn write(file: &Arc<dyn File>, bytes: &[u8]) -> Attempt<usize> {
    file.write_now(&caller(), 0, &mut Source::kernel(bytes))
}

fn read(file: &Arc<dyn File>) -> Attempt<usize> {
    file.read_now(&caller(), 0, &mut Sink::kernel(&mut [0; 16]))
}

#[test]
fn each_side_waits_for_the_other() {
    let inode = named(1);
    let reader = open(&inode, &caller(), O_RDONLY).unwrap();
    assert!(!is_open(&reader));
    let writer = open(&inode, &caller(), O_WRONLY).unwrap();
    assert!(is_open(&reader) && is_open(&writer));
    assert_eq!(write(&writer, b"word").unwrap(), Some(4));
    assert_eq!(read(&reader).unwrap(), Some(4));
    assert_eq!(read(&reader).unwrap(), None);
    drop(writer);
    assert_eq!(read(&reader).unwrap(), Some(0));
    assert_eq!(reader.events() & EPOLLHUP, EPOLLHUP);
}

#[test]
fn a_side_that_came_and_went_has_been_there() {
    let inode = named(2);
    let reader = open(&inode, &caller(), O_RDONLY).unwrap();
    let mut wait = reader.opened().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    drop(open(&inode, &caller(), O_WRONLY).unwrap());
    assert!(wait.as_mut().poll(&mut context).is_ready());
}

#[test]
fn without_blocking_a_reader_comes_in_and_a_writer_does_not() {
    let inode = named(3);
    assert_eq!(open(&inode, &caller(), O_WRONLY | O_NONBLOCK).err(), Some(Errno::ENXIO));
    let reader = open(&inode, &caller(), O_RDONLY | O_NONBLOCK).unwrap();
    assert!(is_open(&reader));
    // No writer has been there yet: the end of the file, but not a hang-up.
    assert_eq!(read(&reader).unwrap(), Some(0));
    assert_eq!(reader.events() & EPOLLHUP, 0);
    assert!(open(&inode, &caller(), O_WRONLY | O_NONBLOCK).is_ok());
    assert_eq!(reader.events() & EPOLLHUP, EPOLLHUP);
}

#[test]
fn both_directions_at_once_wait_for_nobody() {
    let inode = named(4);
    let both = open(&inode, &caller(), O_RDWR).unwrap();
    assert!(is_open(&both));
    assert_eq!(write(&both, b"to myself").unwrap(), Some(9));
    assert_eq!(both.events(), EPOLLIN | EPOLLOUT);
    assert_eq!(read(&both).unwrap(), Some(9));
    assert_eq!(read(&both).unwrap(), None);
}

#[test]
fn the_pipe_goes_with_its_last_end_and_giving_up_leaves_nothing() {
    let inode = named(5);
    let writer = open(&inode, &caller(), O_RDWR).unwrap();
    write(&writer, b"lost").unwrap();
    drop(writer);
    assert!(!OPEN.lock().contains_key(&inode.id()));
    let waiting = open(&inode, &caller(), O_RDONLY).unwrap();
    assert!(!is_open(&waiting));
    drop(waiting);
    assert_eq!(open(&inode, &caller(), O_WRONLY | O_NONBLOCK).err(), Some(Errno::ENXIO));
    let reader = open(&inode, &caller(), O_RDONLY | O_NONBLOCK).unwrap();
    assert_eq!(read(&reader).unwrap(), Some(0), "what was lost stays lost");
    let other = open(&named(6), &caller(), O_RDWR).unwrap();
    write(&other, b"elsewhere").unwrap();
    assert_eq!(read(&reader).unwrap(), Some(0));
    let writer = open(&inode, &caller(), O_WRONLY).unwrap();
    drop(reader);
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE.into()));
    assert_eq!(writer.events() & EPOLLERR, EPOLLERR);
}
