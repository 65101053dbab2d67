//! Other harts run the space meanwhile: what they may still see is neither freed nor copied.

use super::*;
use hal::space::pretend_running;

/// Hart 1 runs user code of `space` for as long as this lives.
pub(super) struct Elsewhere;

impl Elsewhere {
    pub(super) fn run(space: &AddressSpace) -> Self {
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

pub(super) fn poll<T>(future: core::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
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

#[test]
fn what_is_replaced_is_never_a_hole() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 2, RW, false).unwrap();
    map_at(&space, BASE + 3 * PAGE_SIZE, 1, Prot::READ, true).unwrap();
    run(space.put(BASE, &1_u8)).unwrap();
    let elsewhere = Elsewhere::run(&space);
    let wide = Mapping::anonymous(5 * PAGE_SIZE, RW).at(Placement::Fixed(BASE));
    let mut map = pin!(space.map(wide));
    assert!(poll(map.as_mut()).is_pending());
    assert_eq!(space.fault_now(BASE, Access::Write), None);
    let mut read = pin!(space.get::<u8>(BASE + 3 * PAGE_SIZE));
    assert!(poll(read.as_mut()).is_pending());
    drop(elsewhere);
    assert_eq!(poll(map.as_mut()), Poll::Ready(Ok(BASE)));
    assert_eq!(run(read), Ok(0));
    assert_eq!((run(space.get::<u8>(BASE)), space.usage().mapped), (Ok(0), 5 * PAGE_SIZE));
}

#[test]
fn a_stack_that_grows_into_a_place_being_replaced_goes_too() {
    let _turn = turn();
    let (_, space) = space();
    let gap = crate::region::GUARD_GAP;
    let top = BASE + 4 * gap;
    map_at(&space, BASE + gap, 1, RW, false).unwrap();
    run(space.put(BASE + gap, &1_u8)).unwrap();
    let stack = Mapping { role: Role::Stack, ..Mapping::anonymous(PAGE_SIZE, RW) };
    run(space.map(stack.at(Placement::Fixed(top - PAGE_SIZE)))).unwrap();
    let elsewhere = Elsewhere::run(&space);
    let wide = Mapping::anonymous(3 * gap - 8 * PAGE_SIZE, RW).at(Placement::Fixed(BASE + gap));
    let mut map = pin!(space.map(wide));
    assert!(poll(map.as_mut()).is_pending());
    assert_eq!(space.fault_now(top - 16 * PAGE_SIZE, Access::Write), Some(Ok(())));
    drop(elsewhere);
    assert_eq!(poll(map.as_mut()), Poll::Ready(Ok(BASE + gap)));
    assert_eq!(space.usage().mapped, 3 * gap);
    assert_eq!(space.mappings(9).len(), 2);
}

#[test]
fn a_mapping_on_the_move_is_touched_at_neither_place() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 4, RW, false).unwrap();
    run(space.put(BASE, &1_u8)).unwrap();
    let to = BASE + 64 * PAGE_SIZE;
    let elsewhere = Elsewhere::run(&space);
    let mut remap = pin!(space.remap(BASE, 4 * PAGE_SIZE, 4 * PAGE_SIZE, Remap::Fixed(to)));
    assert!(poll(remap.as_mut()).is_pending());
    assert_eq!(space.fault_now(BASE + PAGE_SIZE, Access::Write), None);
    assert_eq!(space.fault_now(to + PAGE_SIZE, Access::Write), None);
    drop(elsewhere);
    assert_eq!(poll(remap.as_mut()), Poll::Ready(Ok(to)));
    assert_eq!(space.fault_now(BASE, Access::Read), Some(Err(FaultError::Segv(SegvKind::Maperr))));
    assert_eq!((run(space.get::<u8>(to)), space.usage().resident), (Ok(1), PAGE_SIZE));
}

#[test]
fn rights_that_are_only_added_cost_no_flush() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &1_u8)).unwrap();
    run(space.protect(BASE, PAGE_SIZE, Prot::READ)).unwrap();
    let elsewhere = Elsewhere::run(&space);
    assert_eq!(poll(pin!(space.protect(BASE, PAGE_SIZE, RW))), Poll::Ready(Ok(())));
    assert_eq!(poll(pin!(space.protect(BASE, 0, Prot::READ))), Poll::Ready(Ok(())));
    run(space.put(BASE, &2_u8)).unwrap();
    assert!(poll(pin!(space.protect(BASE, PAGE_SIZE, Prot::READ))).is_pending());
    drop(elsewhere);
}
