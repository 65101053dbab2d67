//! Other harts run the space meanwhile: what they may still see is neither freed nor copied.

use super::*;
use hal::space::pretend_running;

/// Hart 1 runs user code of `space` for as long as this lives.
struct Elsewhere;

impl Elsewhere {
    fn run(space: &AddressSpace) -> Self {
        hal::hart::set_count(2);
        pretend_running(1, Some(space.handle()));
        Self
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        pretend_running(1, None);
        hal::hart::set_count(1);
    }
}

fn poll<T>(future: core::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_page_is_not_copied_while_another_hart_may_write_it() {
    let _turn = turn();
    let (account, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &1_u8)).unwrap();
    let frame = space.frame_now(BASE, Access::Write).unwrap();
    let elsewhere = Elsewhere::run(&space);
    let mut fork = pin!(space.fork(account));
    assert!(poll(fork.as_mut()).is_pending());
    let mut write = pin!(space.put(BASE, &3_u8));
    assert!(poll(write.as_mut()).is_pending(), "the copy waits for the other hart");
    frame.write(1, &[2]); // a store through the stale translation
    drop(elsewhere);
    drop(frame);
    assert!(matches!(poll(fork.as_mut()), Poll::Ready(Ok(_))));
    assert_eq!(poll(write.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(run(space.get::<[u8; 2]>(BASE)), Ok([3, 2]));
}

#[test]
fn an_unmapped_page_lives_until_no_hart_sees_it() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &1_u8)).unwrap();
    let frame = space.frame_now(BASE, Access::Write).unwrap();
    let elsewhere = Elsewhere::run(&space);
    {
        let mut unmap = pin!(space.unmap(BASE, PAGE_SIZE));
        assert!(poll(unmap.as_mut()).is_pending());
    }
    assert_eq!(frame.shares(), 2, "not even a cancelled caller frees it");
    drop(elsewhere);
    run(space.unmap(BASE, PAGE_SIZE)).unwrap();
    assert_eq!(frame.shares(), 1);
}
