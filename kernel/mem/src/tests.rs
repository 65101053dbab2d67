//! Address spaces against a model: random edits, accesses and forks must give what a table of bytes gives, and
//! leave no frame and no charge behind.

extern crate std;

use crate::*;
use abi::errno::Errno;
use alloc::{collections::BTreeMap, rc::Rc, sync::Arc, vec, vec::Vec};
use core::{
    cell::RefCell,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use hal::{
    PAGE_SIZE,
    frame::Frame,
    space::{Prot, World},
    sync::{SpinLock, rank},
    user::Access,
};
use proptest::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

mod harts;
mod lent;
mod limits;

const RW: Prot = Prot::READ.union(Prot::WRITE);
const BASE: usize = 0x10_0000;

/// Tests count frames, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
    panic!("the future does not finish")
}

fn space() -> (Arc<Account>, Arc<AddressSpace>) {
    let account = Account::new(None, usize::MAX);
    let space = AddressSpace::new(World::Table, account.clone()).unwrap();
    (account, space)
}

fn map_at(space: &AddressSpace, addr: usize, pages: usize, prot: Prot, shared: bool) -> Result<usize, Errno> {
    let mapping = Mapping { shared, ..Mapping::anonymous(pages * PAGE_SIZE, prot) };
    run(space.map(mapping.at(Placement::Fixed(addr))))
}

/// An object whose page `i` is filled with byte `i`, in memory or to be waited for.
struct Pattern {
    id: u64,
    ready: bool,
    frames: SpinLock<BTreeMap<u64, Frame>>,
    dirty: SpinLock<Vec<u64>>,
}

impl Pattern {
    fn new(ready: bool) -> Arc<Self> {
        let frames = SpinLock::new(rank::CACHE, BTreeMap::new());
        Arc::new(Self { id: new_object_id(), ready, frames, dirty: SpinLock::new(rank::CACHE, Vec::new()) })
    }

    fn make(&self, index: u64) -> Frame {
        let mut frames = self.frames.lock();
        let frame = frames.entry(index).or_insert_with(|| {
            let frame = Frame::zeroed().unwrap();
            frame.fill(0, PAGE_SIZE, index as u8);
            frame
        });
        frame.clone()
    }
}

impl Backing for Pattern {
    fn frame_now(&self, index: u64) -> Result<Option<Frame>, Errno> {
        Ok(self.ready.then(|| self.make(index)))
    }
    fn frame(&self, index: u64) -> BoxFuture<'_, Result<Frame, Errno>> {
        alloc::boxed::Box::pin(async move { Ok(self.make(index)) })
    }
    fn mark_dirty(&self, index: u64) {
        self.dirty.lock().push(index);
    }
    fn len_pages(&self) -> u64 {
        4
    }
    fn id(&self) -> u64 {
        self.id
    }
    fn name(&self) -> Option<alloc::string::String> {
        Some("/bin/a\nb".into())
    }
    fn file(&self) -> Option<(u64, u64)> {
        Some((abi::stat::makedev(254, 3), 77))
    }
}

/// As Linux lays it out: names in column 73, a line end in one does not begin another.
#[test]
fn maps_name_files() {
    let _turn = turn();
    let (_, space) = space();
    let file = Mapping::private(Pattern::new(true), 0x1000, PAGE_SIZE, Prot::READ);
    run(space.map(file.at(Placement::Fixed(BASE)))).unwrap();
    map_at(&space, BASE + 0x10_0000, 1, RW, false).unwrap();
    let text = space.maps_text();
    let lines: Vec<&str> = text.lines().collect();
    let file = "00100000-00101000 r--p 00001000 fe:03 77";
    assert_eq!(lines, [std::format!("{file:73}/bin/a\\012b"), "00200000-00201000 rw-p 00000000 00:00 0 ".into()]);
}

#[test]
fn the_peak_of_what_is_mapped_stays() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 3, RW, false).unwrap();
    run(space.unmap(BASE, 2 * PAGE_SIZE)).unwrap();
    map_at(&space, BASE, 1, RW, false).unwrap();
    let usage = space.usage();
    assert_eq!((usage.mapped, usage.peak), (2 * PAGE_SIZE, 3 * PAGE_SIZE));
    assert_eq!((usage.resident, usage.most_resident), (0, 0));
    let touch = |page: usize| run(space.fault(BASE + page * PAGE_SIZE, Access::Write)).unwrap();
    touch(0);
    touch(2);
    assert_eq!(space.usage().most_resident, 2 * PAGE_SIZE);
    run(space.unmap(BASE, PAGE_SIZE)).unwrap();
    let usage = space.usage();
    assert_eq!((usage.resident, usage.most_resident), (PAGE_SIZE, 2 * PAGE_SIZE));
}

#[test]
fn demand_zero_then_copies_round_trip() {
    let _turn = turn();
    let before = hal::frame::stats().free;
    let (account, space) = space();
    let addr = run(space.map(Mapping::anonymous(3 * PAGE_SIZE, RW))).unwrap();
    let data: Vec<u8> = (0..6000).map(|i| i as u8).collect();
    assert_eq!(space.copy_out_now(addr + 100, &data), Err(CopyFault { addr: addr + 100, access: Access::Write }));
    run(space.copy_out(addr + 100, &data)).unwrap();
    let mut back = vec![0; 6000];
    run(space.copy_in(addr + 100, &mut back)).unwrap();
    assert_eq!(back, data);
    assert_eq!(space.usage().resident, 2 * PAGE_SIZE);
    assert_eq!(space.fault_now(addr + 2 * PAGE_SIZE, Access::Exec), Some(Err(FaultError::Segv(SegvKind::Accerr))));
    assert_eq!(space.fault_now(addr + 3 * PAGE_SIZE, Access::Read), Some(Err(FaultError::Segv(SegvKind::Maperr))));
    drop(space);
    assert_eq!(account.used(), 0);
    assert_eq!(hal::frame::stats().free, before);
}

#[test]
fn bad_addresses_fault_and_never_panic() {
    let _turn = turn();
    let (_, space) = space();
    for addr in [0, 1, USER_START - 1, USER_END - 1, USER_END, 1 << 62, usize::MAX - 3, usize::MAX] {
        let mut buffer = [0; 8];
        assert_eq!(run(space.copy_in(addr, &mut buffer)), Err(Errno::EFAULT), "{addr:#x}");
        assert_eq!(run(space.copy_out(addr, &buffer)), Err(Errno::EFAULT));
        assert!(run(space.cstr(addr, 100)).is_err());
        assert!(matches!(space.fault_now(addr, Access::Read), Some(Err(_))));
        assert!(space.futex_key(addr & !3, false).is_err());
        assert!(run(space.unmap(addr, usize::MAX)).is_err());
        assert!(run(space.word(addr, |_| ())).is_err());
        let mut sink = Sink::user(&space, addr, 8);
        assert!(sink.put(&buffer).is_err());
        assert_eq!(sink.done(), 0);
    }
    assert_eq!(run(space.map(Mapping::anonymous(usize::MAX, RW))), Err(Errno::ENOMEM));
    assert_eq!(run(space.map(Mapping::anonymous(0, RW))), Err(Errno::EINVAL));
    assert_eq!(map_at(&space, USER_END - PAGE_SIZE, 2, RW, false), Err(Errno::ENOMEM));
    assert_eq!(map_at(&space, 0, 1, RW, false), Err(Errno::EPERM));
}

#[test]
fn pieces_are_one_source_and_a_fault_takes_nothing() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 2, RW, false).unwrap();
    let bytes: Vec<u8> = (0..100).collect();
    run(space.copy_out(BASE, &bytes)).unwrap();
    let piece = |at: usize, len: usize| Piece { addr: BASE + at, len };
    let list = [piece(0, 3), piece(50, 0), piece(10, 4), piece(90, 2)];
    let mut source = Source::pieces(&space, &list, 1);
    assert_eq!(source.remaining(), 8);
    let mut into = [0; 5];
    source.take(&mut into).unwrap();
    assert_eq!(into, [1, 2, 10, 11, 12]);
    let frame = Frame::zeroed().unwrap();
    source.take_into_frame(&frame, 7, 100).unwrap();
    let mut into = [0; 4];
    frame.read(6, &mut into);
    assert_eq!((into, source.remaining()), ([0, 13, 90, 91], 0));
    // The second page is missing.
    let list = [piece(0, 3), piece(PAGE_SIZE, 1)];
    let mut source = Source::pieces(&space, &list, 0);
    assert!(source.take(&mut [0; 4]).is_err());
    assert!(source.take_into_frame(&frame, 0, 4).is_err());
    assert_eq!(source.done(), 0);
    source.take(&mut [0; 3]).unwrap();
    assert_eq!(source.remaining(), 1);
}

#[test]
fn zero_pages_come_one_by_one_with_the_rights_of_their_region() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 3, Prot::WRITE, false).unwrap();
    map_at(&space, BASE + 3 * PAGE_SIZE, 2, Prot::READ, false).unwrap();
    // What may be written may be read, by the first fault of a region as by the next ones, and by who comes late.
    for (page, resident) in [(0, 1), (1, 2), (1, 2), (2, 3), (0, 3)] {
        assert_eq!(space.fault_now(BASE + page * PAGE_SIZE, Access::Read), Some(Ok(())));
        assert_eq!(space.usage().resident, resident * PAGE_SIZE);
    }
    let refused = Some(Err(FaultError::Segv(SegvKind::Accerr)));
    assert_eq!(space.fault_now(BASE + PAGE_SIZE, Access::Exec), refused);
    for page in [3, 4, 4] {
        assert_eq!(space.fault_now(BASE + page * PAGE_SIZE, Access::Read), Some(Ok(())));
        assert_eq!(space.fault_now(BASE + page * PAGE_SIZE, Access::Write), refused);
    }
    assert_eq!(space.usage().resident, 5 * PAGE_SIZE);
}

#[test]
fn an_object_is_mapped_private_and_shared() {
    let _turn = turn();
    for ready in [true, false] {
        let (account, space) = space();
        let object = Pattern::new(ready);
        let private = run(space.map(Mapping::private(object.clone(), PAGE_SIZE as u64, 4 * PAGE_SIZE, RW))).unwrap();
        let shared = Mapping { shared: true, ..Mapping::private(object.clone(), 0, 4 * PAGE_SIZE, RW) };
        let shared = run(space.map(shared)).unwrap();
        assert_eq!(space.fault_now(private, Access::Read).is_some(), ready);
        assert_eq!(run(space.get::<u8>(private)), Ok(1));
        let clean = account.used();
        run(space.put(private, &77_u8)).unwrap();
        assert!(space.state.lock().copied.len() == 1 && account.used() >= clean);
        assert_eq!(run(space.get::<u8>(shared + PAGE_SIZE)), Ok(1));
        run(space.put(shared + PAGE_SIZE, &55_u8)).unwrap();
        assert_eq!((run(space.get::<u8>(private)), object.dirty.lock().contains(&1)), (Ok(77), true));
        assert_eq!(run(space.fault(private + 3 * PAGE_SIZE, Access::Read)), Err(FaultError::Bus));
        run(space.unmap(private, 4 * PAGE_SIZE)).unwrap();
        assert!(space.state.lock().copied.is_empty());
        drop(space);
        assert_eq!(account.used(), 0);
    }
}

#[test]
fn the_stack_grows_to_its_limit_and_no_further() {
    let _turn = turn();
    let (_, space) = space();
    let limits = Limits { stack: 16 * PAGE_SIZE, ..Limits::default() };
    space.set_limits(limits);
    let top = BASE + 1024 * PAGE_SIZE;
    let stack = Mapping { role: Role::Stack, ..Mapping::anonymous(PAGE_SIZE, RW) };
    run(space.map(stack.at(Placement::Fixed(top - PAGE_SIZE)))).unwrap();
    assert_eq!(space.fault_now(top - 16 * PAGE_SIZE, Access::Write), Some(Ok(())));
    assert_eq!(space.fault_now(top - 17 * PAGE_SIZE, Access::Write), Some(Err(FaultError::Segv(SegvKind::Maperr))));
    assert_eq!(space.mappings(10)[0].range, top - 16 * PAGE_SIZE..top);
    assert!(space.maps_text().contains("[stack]"));
}

#[test]
fn placement_honours_hints_fixed_and_no_replace() {
    let _turn = turn();
    let (_, space) = space();
    let page = Mapping::anonymous(PAGE_SIZE, RW);
    let hint = run(space.map(page.clone().at(Placement::Hint(BASE + 5)))).unwrap();
    assert_eq!(hint, BASE);
    assert_ne!(run(space.map(page.clone().at(Placement::Hint(BASE)))).unwrap(), BASE);
    assert_eq!(run(space.map(page.clone().at(Placement::FixedNoReplace(BASE)))), Err(Errno::EEXIST));
    assert_eq!(run(space.map(page.clone().at(Placement::Fixed(BASE + 1)))), Err(Errno::EINVAL));
    run(space.put(BASE, &1_u64)).unwrap();
    assert_eq!(run(space.map(page.at(Placement::Fixed(BASE)))), Ok(BASE));
    assert_eq!(run(space.get::<u64>(BASE)), Ok(0));
}

#[test]
fn equal_neighbours_become_one_region() {
    let _turn = turn();
    let (_, space) = space();
    let first = run(space.map(Mapping::anonymous(PAGE_SIZE, RW))).unwrap();
    for i in 1..100 {
        assert_eq!(run(space.map(Mapping::anonymous(PAGE_SIZE, RW))), Ok(first - i * PAGE_SIZE));
    }
    assert_eq!(space.state.lock().regions.count(), 1);
    run(space.protect(first - 50 * PAGE_SIZE, PAGE_SIZE, Prot::READ)).unwrap();
    assert_eq!(space.state.lock().regions.count(), 3);
    run(space.protect(first - 50 * PAGE_SIZE, PAGE_SIZE, RW)).unwrap();
    assert_eq!(space.state.lock().regions.count(), 1);
}

#[test]
fn brk_grows_shrinks_and_respects_its_limit() {
    let _turn = turn();
    let (_, space) = space();
    space.set_layout(BASE + 10, BASE + (1 << 30));
    space.set_limits(Limits { data: 100 * PAGE_SIZE, ..Limits::default() });
    assert_eq!(run(space.brk(0)), BASE + 10);
    assert_eq!(run(space.brk(BASE + 5 * PAGE_SIZE)), BASE + 5 * PAGE_SIZE);
    run(space.put(BASE + 4 * PAGE_SIZE, &9_u8)).unwrap();
    assert_eq!(run(space.brk(BASE + 2 * PAGE_SIZE)), BASE + 2 * PAGE_SIZE);
    assert!(run(space.get::<u8>(BASE + 4 * PAGE_SIZE)).is_err());
    assert_eq!(run(space.brk(BASE + 5 * PAGE_SIZE)), BASE + 5 * PAGE_SIZE);
    assert_eq!(run(space.get::<u8>(BASE + 4 * PAGE_SIZE)), Ok(0));
    assert_eq!(run(space.brk(BASE + 200 * PAGE_SIZE)), BASE + 5 * PAGE_SIZE);
    assert_eq!(run(space.brk(usize::MAX)), BASE + 5 * PAGE_SIZE);
}

#[test]
fn a_quota_is_met_by_an_error_and_everything_comes_back() {
    let _turn = turn();
    let account = Account::new(None, 40 * PAGE_SIZE);
    let space = AddressSpace::new(World::Shared, account.clone()).unwrap();
    let addr = run(space.map(Mapping::anonymous(100 * PAGE_SIZE, RW))).unwrap();
    let served = (0..100).filter(|i| run(space.fault(addr + i * PAGE_SIZE, Access::Write)).is_ok()).count();
    assert!((30..40).contains(&served), "{served}");
    assert_eq!(run(space.fault(addr + 99 * PAGE_SIZE, Access::Write)), Err(FaultError::NoMemory));
    assert_eq!(run(space.fork(account.clone())).err(), Some(Errno::ENOMEM));
    run(space.unmap(addr, 100 * PAGE_SIZE)).unwrap();
    drop(space);
    assert_eq!(account.used(), 0);
}

#[test]
fn a_pinned_page_is_copied_for_the_child_at_once() {
    let _turn = turn();
    let (account, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &5_u8)).unwrap();
    let pin = space.frame_now(BASE, Access::Write).unwrap().pin();
    let child = run(space.fork(account)).unwrap();
    pin.frame().write(0, &[6]); // the device
    assert_eq!((run(space.get::<u8>(BASE)), run(child.get::<u8>(BASE))), (Ok(6), Ok(5)));
    assert!(space.put_now(BASE, &7_u8).is_ok(), "the parent keeps its right");
}

#[test]
fn a_pinned_page_stays_when_the_right_to_write_comes_back() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &5_u8)).unwrap();
    let pin = space.frame_now(BASE, Access::Write).unwrap().pin();
    run(space.protect(BASE, PAGE_SIZE, Prot::READ)).unwrap();
    run(space.protect(BASE, PAGE_SIZE, RW)).unwrap();
    run(space.put(BASE, &6_u8)).unwrap();
    assert_eq!(pin.frame().physical(), space.frame_now(BASE, Access::Read).unwrap().physical());
    assert_eq!(pin.frame().owners(), 1);
}

#[test]
fn a_lone_owner_gets_its_right_back_without_a_copy() {
    let _turn = turn();
    let (account, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.put(BASE, &5_u8)).unwrap();
    let frame = space.frame_now(BASE, Access::Read).unwrap().physical();
    drop(run(space.fork(account)).unwrap());
    run(space.put(BASE, &6_u8)).unwrap();
    assert_eq!(space.frame_now(BASE, Access::Read).unwrap().physical(), frame);
}

#[test]
fn a_cancelled_unmap_is_finished_by_the_next_edit() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 4, RW, false).unwrap();
    run(space.put(BASE, &5_u8)).unwrap();
    {
        let mut state = space.state.lock();
        state.hot = crate::space::Hot::NONE;
        state.regions.mark(&(BASE..BASE + 4 * PAGE_SIZE), crate::region::Phase::Dying);
        state.unfinished = true;
    }
    assert_eq!(space.fault_now(BASE + PAGE_SIZE, Access::Read), Some(Err(FaultError::Segv(SegvKind::Maperr))));
    run(space.map(Mapping::anonymous(PAGE_SIZE, RW))).unwrap();
    assert_eq!((space.usage().mapped, space.usage().resident), (PAGE_SIZE, 0));
}

#[test]
fn futex_keys_tell_shared_from_private() {
    let _turn = turn();
    let (account, space) = space();
    map_at(&space, BASE, 1, RW, true).unwrap();
    map_at(&space, BASE + PAGE_SIZE, 1, RW, false).unwrap();
    let child = run(space.fork(account)).unwrap();
    assert_eq!(space.futex_key(BASE + 4, false), child.futex_key(BASE + 4, false));
    assert_ne!(space.futex_key(BASE + 4, true), child.futex_key(BASE + 4, true));
    assert_ne!(space.futex_key(BASE + PAGE_SIZE, false), child.futex_key(BASE + PAGE_SIZE, false));
    assert_eq!(space.futex_key(BASE + 2, false), Err(Errno::EINVAL));
}

#[test]
fn no_offset_overflows_however_far_a_mapping_grows() {
    let _turn = turn();
    let (_, space) = space();
    let shared = |offset| Mapping { shared: true, ..Mapping::private(Pattern::new(true), offset, PAGE_SIZE, RW) };
    let page = PAGE_SIZE as u64;
    for offset in [u64::MAX - page + 1, u64::MAX - 2 * page + 1, i64::MAX as u64 + 1] {
        let mapped = run(space.map(shared(offset)));
        if let Ok(at) = mapped {
            let at = run(space.remap(at, PAGE_SIZE, 3 * PAGE_SIZE, Remap::MayMove)).unwrap();
            let _ = space.futex_key(at + 2 * PAGE_SIZE, false);
        }
        assert_eq!(mapped, Err(Errno::EOVERFLOW), "{offset:#x}");
    }
    let at = run(space.map(shared(i64::MAX as u64 - 2 * page + 1))).unwrap();
    let at = run(space.remap(at, PAGE_SIZE, 3 * PAGE_SIZE, Remap::MayMove)).unwrap();
    assert!(space.futex_key(at + 2 * PAGE_SIZE, false).is_ok());
}

#[test]
fn strings_end_at_nul_or_fail() {
    let _turn = turn();
    let (_, space) = space();
    map_at(&space, BASE, 1, RW, false).unwrap();
    run(space.copy_out(BASE + PAGE_SIZE - 4, b"abc\0")).unwrap();
    assert_eq!(run(space.cstr(BASE + PAGE_SIZE - 4, 100)).unwrap(), b"abc");
    assert_eq!(run(space.cstr(BASE + PAGE_SIZE - 4, 3)), Err(Errno::ENAMETOOLONG));
    run(space.copy_out(BASE + PAGE_SIZE - 4, b"abcd")).unwrap();
    assert_eq!(run(space.cstr(BASE + PAGE_SIZE - 4, 100)), Err(Errno::EFAULT));
}

const PAGES: usize = 24;

#[derive(Clone, Debug)]
enum Op {
    Map { at: usize, pages: usize, prot: u8, shared: bool },
    Unmap { at: usize, pages: usize },
    Protect { at: usize, pages: usize, prot: u8 },
    Discard { at: usize, pages: usize },
    Move { at: usize, pages: usize, to: usize, len: usize },
    Write { at: usize, byte: u8 },
    Read { at: usize },
    Fork,
    Switch { to: usize },
    Leave,
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..PAGES;
    let pages = 1..8_usize;
    prop_oneof![
        3 => (at.clone(), pages.clone(), 0..8_u8, any::<bool>())
            .prop_map(|(at, pages, prot, shared)| Op::Map { at, pages, prot, shared }),
        2 => (at.clone(), pages.clone()).prop_map(|(at, pages)| Op::Unmap { at, pages }),
        2 => (at.clone(), pages.clone(), 0..8_u8).prop_map(|(at, pages, prot)| Op::Protect { at, pages, prot }),
        1 => (at.clone(), pages.clone()).prop_map(|(at, pages)| Op::Discard { at, pages }),
        1 => (at.clone(), pages.clone(), at.clone(), pages).prop_map(|(at, pages, to, len)| Op::Move { at, pages, to, len }),
        8 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Op::Write { at, byte }),
        6 => at.prop_map(|at| Op::Read { at }),
        1 => Just(Op::Fork),
        2 => (0..4_usize).prop_map(|to| Op::Switch { to }),
        1 => Just(Op::Leave),
    ]
}

/// One page in the model: rights, whether the cell is shared, and the cell.
#[derive(Clone)]
struct Cell {
    prot: Prot,
    shared: bool,
    /// Maps of equal numbers are one mapping (`mremap` wants one).
    mapping: usize,
    byte: Rc<RefCell<u8>>,
}

#[derive(Clone, Default)]
struct Model {
    cells: BTreeMap<usize, Cell>,
}

impl Model {
    fn fork(&self) -> Self {
        let copy = |cell: &Cell| {
            let byte = if cell.shared { cell.byte.clone() } else { Rc::new(RefCell::new(*cell.byte.borrow())) };
            Cell { byte, ..cell.clone() }
        };
        Self { cells: self.cells.iter().map(|(&page, cell)| (page, copy(cell))).collect() }
    }

    fn whole(&self, at: usize, pages: usize) -> bool {
        (at..at + pages).all(|page| self.cells.contains_key(&page))
    }

    fn remove(&mut self, at: usize, pages: usize) {
        (at..at + pages).for_each(|page| drop(self.cells.remove(&page)));
    }
}

struct History {
    spaces: Vec<(Arc<AddressSpace>, Model)>,
    now: usize,
    maps: usize,
    account: Arc<Account>,
}

impl History {
    fn apply(&mut self, op: &Op) {
        let addr = |page: usize| BASE + page * PAGE_SIZE;
        let alive = self.spaces.len();
        let (space, model) = &mut self.spaces[self.now];
        match *op {
            Op::Map { at, pages, prot, shared } => {
                let prot = Prot::from_bits_truncate(prot);
                map_at(space, addr(at), pages, prot, shared).unwrap();
                self.maps += 1;
                for page in at..at + pages {
                    model.cells.insert(page, Cell { prot, shared, mapping: self.maps, byte: Rc::default() });
                }
            }
            Op::Unmap { at, pages } => {
                run(space.unmap(addr(at), pages * PAGE_SIZE)).unwrap();
                model.remove(at, pages);
            }
            Op::Protect { at, pages, prot } => {
                let prot = Prot::from_bits_truncate(prot);
                let changed = run(space.protect(addr(at), pages * PAGE_SIZE, prot));
                assert_eq!(changed, if model.whole(at, pages) { Ok(()) } else { Err(Errno::ENOMEM) });
                if changed.is_ok() {
                    (at..at + pages).for_each(|page| model.cells.get_mut(&page).unwrap().prot = prot);
                }
            }
            Op::Discard { at, pages } => {
                let done = run(space.advise(addr(at), pages * PAGE_SIZE, Advice::DontNeed));
                assert_eq!(done, if model.whole(at, pages) { Ok(()) } else { Err(Errno::ENOMEM) });
                for page in at..at + pages {
                    if done.is_ok() && !model.cells[&page].shared {
                        *model.cells[&page].byte.borrow_mut() = 0;
                    }
                }
            }
            Op::Move { at, pages, to, len } => self.relocate(at, pages, to, len),
            Op::Write { at, byte } => {
                let may = model.cells.get(&at).is_some_and(|cell| cell.prot.contains(Prot::WRITE));
                let done = run(space.put(addr(at) + 17, &byte));
                assert_eq!(done, if may { Ok(()) } else { Err(Errno::EFAULT) }, "write {at}");
                if may {
                    *model.cells[&at].byte.borrow_mut() = byte;
                }
            }
            Op::Read { at } => check(space, model, at),
            Op::Fork if alive < 4 => {
                let child = run(space.fork(self.account.clone())).unwrap();
                let copy = model.fork();
                self.spaces.push((child, copy));
            }
            Op::Fork => {}
            Op::Switch { to } => self.now = to % alive,
            Op::Leave if alive > 1 => {
                drop(self.spaces.remove(self.now));
                self.now = 0;
            }
            Op::Leave => {}
        }
    }

    fn relocate(&mut self, at: usize, pages: usize, to: usize, len: usize) {
        let addr = |page: usize| BASE + page * PAGE_SIZE;
        let (space, model) = &mut self.spaces[self.now];
        let one = model.whole(at, pages)
            && (at..at + pages).all(|page| {
                let (first, cell) = (&model.cells[&at], &model.cells[&page]);
                cell.mapping == first.mapping && cell.prot == first.prot
            });
        let apart = to + len <= at || at + pages <= to;
        // Growth of a shared object beyond its end is a bus error: not modelled.
        if !one || !apart || (len > pages && model.cells[&at].shared) {
            return;
        }
        run(space.remap(addr(at), pages * PAGE_SIZE, len * PAGE_SIZE, Remap::Fixed(addr(to)))).unwrap();
        let old: Vec<Cell> = (at..at + pages).map(|page| model.cells[&page].clone()).collect();
        model.remove(at, pages);
        self.maps += 1;
        for i in 0..len {
            let fresh = Cell { byte: Rc::default(), ..old[0].clone() };
            let cell = Cell { mapping: self.maps, ..old.get(i).cloned().unwrap_or(fresh) };
            model.cells.insert(to + i, cell);
        }
    }
}

fn check(space: &AddressSpace, model: &Model, page: usize) {
    // Write implies read, as in the hardware.
    let readable = Prot::READ | Prot::WRITE;
    let expected = model.cells.get(&page).filter(|cell| cell.prot.intersects(readable));
    let got = run(space.get::<u8>(BASE + page * PAGE_SIZE + 17));
    match expected {
        Some(cell) => assert_eq!(got, Ok(*cell.byte.borrow()), "page {page}"),
        None => assert_eq!(got, Err(Errno::EFAULT), "page {page}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_histories_match_the_model(ops in prop::collection::vec(op(), 1..80)) {
        let _turn = turn();
            let before = hal::frame::stats().free;
        let (account, first) = space();
        let mut world = History { spaces: vec![(first, Model::default())], now: 0, maps: 0, account: account.clone() };
        for op in &ops {
            world.apply(op);
        }
        for (space, model) in &world.spaces {
            for page in 0..PAGES + 8 {
                check(space, model, page);
            }
            let mapped = model.cells.len() * PAGE_SIZE;
            prop_assert_eq!(space.usage().mapped, mapped);
            prop_assert!(space.usage().resident <= mapped);
        }
        drop(world);
        prop_assert_eq!(account.used(), 0);
        prop_assert_eq!(hal::frame::stats().free, before);
    }

    #[test]
    fn placement_never_overlaps(lens in prop::collection::vec(1..200_usize, 1..60), holes in any::<u64>()) {
        let _turn = turn();
        let (_, space) = space();
        let mut placed = Vec::new();
        for (i, len) in lens.iter().enumerate() {
            let prot = if i % 2 == 0 { RW } else { Prot::READ };
            let addr = run(space.map(Mapping::anonymous(len * PAGE_SIZE, prot))).unwrap();
            let range = addr..addr + len * PAGE_SIZE;
            prop_assert!(placed.iter().all(|other: &core::ops::Range<usize>| other.end <= addr || range.end <= other.start));
            placed.push(range);
            if holes >> (i % 64) & 1 == 1 {
                let gone = placed.remove(placed.len() / 2);
                run(space.unmap(gone.start, gone.len())).unwrap();
            }
        }
        prop_assert_eq!(space.usage().mapped, placed.iter().map(|range| range.len()).sum::<usize>());
    }
}

/// Coroutines move between harts: every edit must be able to.
#[test]
fn edits_can_move_between_harts() {
    fn movable<F: Future + Send>(_: F) {}
    let _turn = turn();
    let (account, space) = space();
    movable(space.map(Mapping::anonymous(PAGE_SIZE, RW)));
    movable(space.unmap(BASE, PAGE_SIZE));
    movable(space.protect(BASE, PAGE_SIZE, RW));
    movable(space.advise(BASE, PAGE_SIZE, Advice::DontNeed));
    movable(space.remap(BASE, PAGE_SIZE, PAGE_SIZE, Remap::MayMove));
    movable(space.brk(0));
    movable(space.fork(account));
    movable(space.fault(BASE, Access::Read));
    movable(space.cstr(BASE, 1));
}

#[test]
fn objects_hear_of_every_store_through_a_shared_mapping() {
    let _turn = turn();
    let (_, space) = space();
    let object = Pattern::new(true);
    let shared = Mapping { shared: true, ..Mapping::private(object.clone(), 0, 4 * PAGE_SIZE, RW) };
    let addr = run(space.map(shared)).unwrap();
    let store = |page: usize| run(space.put(addr + page * PAGE_SIZE, &1_u8)).unwrap();
    let written_back = || object.dirty.lock().clear();
    let heard_of = |page: u64| object.dirty.lock().contains(&page);
    run(space.get::<u8>(addr)).unwrap();
    assert!(!heard_of(0));

    store(1);
    written_back();
    run(space.advise(addr, 4 * PAGE_SIZE, Advice::Sync)).unwrap();
    assert!(heard_of(1) && !heard_of(0));
    written_back();
    store(1);
    assert!(heard_of(1), "a store after msync faults");

    written_back();
    run(space.protect(addr + PAGE_SIZE, PAGE_SIZE, Prot::READ)).unwrap();
    assert!(heard_of(1));

    store(2);
    store(3);
    written_back();
    run(space.unmap(addr + 2 * PAGE_SIZE, PAGE_SIZE)).unwrap();
    assert!(heard_of(2) && !heard_of(3));
    drop(space);
    assert!(heard_of(3));
}

#[test]
fn nothing_is_placed_where_a_stack_will_grow() {
    let _turn = turn();
    let (_, space) = space();
    let (gap, top) = (crate::region::GUARD_GAP, BASE + (1 << 30));
    space.set_layout(BASE, top);
    let stack = Mapping { role: Role::Stack, ..Mapping::anonymous(PAGE_SIZE, RW) };
    run(space.map(stack.at(Placement::Fixed(top + 4 * PAGE_SIZE)))).unwrap();
    let placed = run(space.map(Mapping::anonymous(PAGE_SIZE, RW))).unwrap();
    assert_eq!(placed, top + 4 * PAGE_SIZE - gap - PAGE_SIZE);
    assert_eq!(run(space.remap(placed, PAGE_SIZE, 2 * PAGE_SIZE, Remap::InPlace)), Err(Errno::ENOMEM));
}
