//! What happens at the limits: no quota, no frames, long ranges.

use super::*;

/// An account that has `pages` left after a space and its first page at [`BASE`] are paid.
fn tight(pages: usize) -> (Arc<Account>, Arc<AddressSpace>) {
    let (account, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &1_u8)).unwrap();
    space.state.lock().trim();
    account.set_limit(account.used() + pages * PAGE_SIZE);
    (account, space)
}

fn tables(space: &AddressSpace) -> usize {
    space.state.lock().pages.table_frames()
}

#[test]
fn a_page_table_that_nobody_pays_for_changes_nothing() {
    let _turn = turn();
    for left in 0..3 {
        let before = hal::frame::stats().free;
        let (account, space) = tight(left + 1);
        let far = BASE + (1 << 33);
        let region = run(space.map(Mapping::anonymous(PAGE_SIZE, RW).at(Placement::Fixed(far)))).unwrap();
        let made = tables(&space);
        let served = run(space.fault(region, Access::Write));
        assert_eq!(served.is_ok(), space.usage().resident == 2 * PAGE_SIZE);
        if served.is_err() {
            assert_eq!(tables(&space), made);
        }
        assert_eq!(run(space.get::<u8>(BASE)), Ok(1));
        drop(space);
        assert_eq!((account.used(), hal::frame::stats().free), (0, before));
    }
}

#[test]
fn a_long_unmapping_gives_its_page_tables_back() {
    let _turn = turn();
    let (_, space) = space();
    let chunk = crate::space::CHUNK;
    let base = 4 * chunk;
    run(space.map(Mapping::anonymous(64 * chunk, RW).at(Placement::Fixed(base)))).unwrap();
    run(space.put(base, &1_u8)).unwrap();
    let (before, paid) = (tables(&space), space.usage().paid);
    for i in 1..64 {
        run(space.put(base + i * chunk + 7 * PAGE_SIZE, &1_u8)).unwrap();
    }
    assert_eq!(tables(&space), before + 63);
    run(space.advise(base + chunk, 63 * chunk, Advice::DontNeed)).unwrap();
    assert_eq!((tables(&space), space.usage().paid), (before, paid));
    assert_eq!(run(space.get::<u8>(base + 9 * chunk + 7 * PAGE_SIZE)), Ok(0));
}

#[test]
fn a_move_that_cannot_be_paid_leaves_everything_where_it_was() {
    let _turn = turn();
    let before = hal::frame::stats().free;
    for left in 0..4 {
        let (account, space) = tight(left);
        let far = BASE + (1 << 33);
        let moved = run(space.remap(BASE, PAGE_SIZE, PAGE_SIZE, Remap::Fixed(far)));
        assert_eq!(moved, if left < 3 { Err(Errno::ENOMEM) } else { Ok(far) });
        assert_eq!(run(space.get::<u8>(moved.unwrap_or(BASE))), Ok(1));
        assert_eq!((space.usage().mapped, space.usage().resident), (PAGE_SIZE, PAGE_SIZE));
        assert_eq!(space.mappings(9).len(), 1);
        drop(space);
        assert_eq!((account.used(), hal::frame::stats().free), (0, before));
    }
}

#[test]
fn regions_are_paid_for() {
    let _turn = turn();
    let (account, space) = tight(8);
    let limit = account.limit();
    let every_other = |i: usize| map_at(&space, BASE + (2 + 2 * i) * PAGE_SIZE, 1, RW, false);
    let made = (0..10_000).take_while(|&i| every_other(i).is_ok()).count();
    assert!((50..100).contains(&made), "{made}");
    assert_eq!(run(space.fork(account.clone())).err(), Some(Errno::ENOMEM));
    assert_eq!(run(space.unmap(BASE + 2 * PAGE_SIZE, 2 * made * PAGE_SIZE)), Ok(()));
    space.state.lock().trim();
    assert!(account.used() < limit - 5 * PAGE_SIZE);
    drop(space);
    assert_eq!(account.used(), 0);
}
