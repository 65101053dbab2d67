//! Pages that are lent: what the kernel may reach of them, and that they come back.

use super::*;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hal::space::PRETENDED;

const MOST: usize = 4;

/// One page of memory and one of a device, as long as it is there.
struct Bell {
    id: u64,
    loans: Loans,
    word: Frame,
    absent: AtomicBool,
}

impl Bell {
    fn new(account: &Arc<Account>) -> Arc<Self> {
        let id = new_object_id();
        let loans = Loans::new(id, MOST, account).unwrap();
        Arc::new(Self { id, loans, word: Frame::zeroed().unwrap(), absent: AtomicBool::new(false) })
    }

    fn map(self: &Arc<Self>, space: &AddressSpace, at: usize) -> Result<usize, Errno> {
        let mapping = Mapping { shared: true, ..Mapping::private(self.clone(), 0, 2 * PAGE_SIZE, RW) };
        run(space.map(mapping.at(Placement::Fixed(at))))
    }
}

impl Backing for Bell {
    fn frame_now(&self, _: u64) -> Result<Option<Frame>, Errno> {
        Err(Errno::EFAULT)
    }

    fn frame(&self, _: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        Box::pin(core::future::ready(Err(Errno::EFAULT)))
    }

    fn mark_dirty(&self, _: u64) {}

    fn lends(&self) -> bool {
        true
    }

    fn lend(&self, index: u64, loan: Loan) -> Result<Lent, Errno> {
        if index == 0 {
            return Ok(Lent::Frame(self.word.clone()));
        }
        self.loans.note(&loan)?;
        Ok(if self.absent.load(Relaxed) { Lent::Absent } else { Lent::Device(PRETENDED) })
    }

    fn len_pages(&self) -> u64 {
        2
    }

    fn id(&self) -> u64 {
        self.id
    }
}

const DOOR: usize = BASE + PAGE_SIZE;

fn ring(space: &AddressSpace) -> Result<(), FaultError> {
    run(space.fault(DOOR, Access::Write))
}

#[test]
fn the_kernel_reaches_no_device() {
    let _turn = turn();
    let (account, space) = space();
    let bell = Bell::new(&account);
    bell.map(&space, BASE).unwrap();
    for absent in [false, true] {
        bell.absent.store(absent, Relaxed);
        run(bell.loans.take_back(None));
        for _ in 0..2 {
            assert_eq!(run(space.get::<u64>(DOOR)), Err(Errno::EFAULT));
            assert_eq!(run(space.put(DOOR - 4, &0_u64)), Err(Errno::EFAULT));
            assert_eq!(run(space.word(DOOR, |_| ())), Err(Errno::EFAULT));
            assert_eq!(run(space.pin(DOOR, 1, &account, &account)).err(), Some(Errno::EFAULT));
            assert_eq!(run(space.instruction(DOOR)), Err(Errno::EFAULT));
            assert_eq!(ring(&space).is_err(), absent); // the program does
        }
    }
    assert_eq!(run(space.put(BASE, &5_u64)), Ok(()));
    assert_eq!(bell.word.word(0).load(Relaxed), 5);
}

#[test]
fn no_page_that_is_lent_is_pinned() {
    let _turn = turn();
    let (account, space) = space();
    let bell = Bell::new(&account);
    bell.map(&space, BASE).unwrap();
    assert_eq!(run(space.put(BASE, &5_u64)), Ok(()));
    assert_eq!(run(space.pin(BASE, 8, &account, &account)).err(), Some(Errno::EFAULT));
    for access in [Access::Read, Access::Write] {
        let pinned = space.pin_now(BASE, 8, access, |_, _, _| panic!("pinned for {access:?}"));
        assert_eq!(pinned, Err(crate::Unpinned::Object));
    }
}

#[test]
fn what_cannot_wait_takes_pages_out_of_every_space() {
    let _turn = turn();
    let (account, space) = space();
    let other = AddressSpace::new(World::Table, Account::new(None, usize::MAX)).unwrap();
    let bell = Bell::new(&account);
    for space in [&space, &other] {
        bell.map(space, BASE).unwrap();
        ring(space).unwrap();
    }
    bell.absent.store(true, Relaxed);
    bell.loans.take_out(None);
    for space in [&space, &other] {
        assert_eq!(ring(space), Err(FaultError::Doorbell));
    }
}

#[test]
fn it_is_shared_and_never_code() {
    let _turn = turn();
    let (account, space) = space();
    let bell = Bell::new(&account);
    let private = Mapping::private(bell.clone(), 0, PAGE_SIZE, Prot::READ);
    assert_eq!(run(space.map(private.clone())), Err(Errno::EINVAL));
    let code = Mapping { shared: true, prot: Prot::READ | Prot::EXEC, ..private };
    assert_eq!(run(space.map(code)), Err(Errno::EACCES));
    bell.map(&space, BASE).unwrap();
    assert_eq!(run(space.protect(DOOR, PAGE_SIZE, Prot::READ | Prot::EXEC)), Err(Errno::EACCES));
}

#[test]
fn mappings_that_ended_take_no_room() {
    let _turn = turn();
    let (account, space) = space();
    let bell = Bell::new(&account);
    for round in 0..100 {
        let at = BASE + round * 3 * PAGE_SIZE;
        bell.map(&space, at).unwrap();
        run(space.fault(at + PAGE_SIZE, Access::Write)).unwrap();
        match round % 3 {
            0 => run(space.unmap(at, 2 * PAGE_SIZE)).unwrap(),
            1 => run(space.protect(at, 2 * PAGE_SIZE, Prot::READ)).unwrap(),
            _ => drop(map_at(&space, at, 2, RW, false).unwrap()),
        }
    }
    // Those that last do.
    for round in 0..=MOST {
        let at = BASE + round * 3 * PAGE_SIZE;
        bell.map(&space, at).unwrap();
        let served = run(space.fault(at + PAGE_SIZE, Access::Write));
        assert_eq!(served, if round < MOST { Ok(()) } else { Err(FaultError::Bus) });
    }
}

#[test]
fn a_space_that_ended_is_not_kept() {
    let _turn = turn();
    let (account, _space) = space();
    let bell = Bell::new(&account);
    let spaces = || AddressSpace::new(World::Table, Account::new(None, usize::MAX)).unwrap();
    for _ in 0..3 * MOST {
        let borrower = spaces();
        bell.map(&borrower, BASE).unwrap();
        ring(&borrower).unwrap();
        let known = borrower.state.lock().borrower.clone().unwrap();
        drop(borrower);
        assert!(known.is_gone());
    }
    run(bell.loans.take_back(None));
}

/// What ends a mapping, or takes its page out.
type End = fn(&AddressSpace) -> BoxFuture<'_, Result<(), Errno>>;

#[test]
fn taking_a_device_away_waits_for_the_harts() {
    let _turn = turn();
    let (account, space) = space();
    let bell = Bell::new(&account);
    let ends: [End; 4] = [
        |space| Box::pin(space.protect(DOOR, PAGE_SIZE, Prot::READ)),
        |space| Box::pin(space.advise(DOOR, PAGE_SIZE, Advice::DontNeed)),
        |space| Box::pin(async { map_over(space).await.map(drop) }),
        |space| Box::pin(space.unmap(DOOR, PAGE_SIZE)),
    ];
    for end in ends {
        bell.map(&space, BASE).unwrap();
        ring(&space).unwrap();
        let elsewhere = harts::Elsewhere::run(&space);
        let mut end = end(&space);
        assert!(harts::poll(end.as_mut()).is_pending(), "the other hart may still ring");
        let mut back = pin!(bell.loans.take_back(None));
        assert!(harts::poll(back.as_mut()).is_pending(), "and whoever takes it back must know");
        drop(elsewhere);
        assert_eq!(harts::poll(end.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(harts::poll(back.as_mut()), Poll::Ready(()));
    }
}

async fn map_over(space: &AddressSpace) -> Result<usize, Errno> {
    space.map(Mapping::anonymous(PAGE_SIZE, RW).at(Placement::Fixed(DOOR))).await
}
