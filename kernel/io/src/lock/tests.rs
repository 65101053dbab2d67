//! What flock(2) and fcntl(2) promise, against a model that has a word for each byte.

use super::*;
use crate::event::{Event, Mode as Count};
use abi::fs::O_RDWR;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use std::{boxed::Box, vec::Vec};

fn file() -> Arc<OpenFile> {
    OpenFile::new(Event::new(&account(), 0, Count::Counter).unwrap(), O_RDWR, b"test")
}

fn account() -> Arc<Account> {
    Account::new(None, usize::MAX)
}

fn range(owner: usize, range: RangeInclusive<u64>, mode: Mode) -> Lock {
    Lock { owner: Owner::Table(owner), pid: owner as u32, what: What::Range(range), mode }
}

fn whole(open: &OpenFile, mode: Mode) -> Lock {
    Lock { owner: Owner::description(open), pid: 1, what: What::Whole, mode }
}

fn poll<T>(future: &mut core::pin::Pin<Box<impl Future<Output = T>>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

const BYTES: usize = 16;

proptest! {
    /// Each byte has an exclusive owner, or shared ones.
    #[test]
    fn ranges_are_as_if_each_byte_had_its_lock(ops in prop::collection::vec((0..3_usize, 0..BYTES as u64, 0..BYTES as u64, 0..3_u8), 1..60)) {
        let (open, account) = (file(), account());
        let mut model = [[None; 3]; BYTES];
        for (owner, a, b, op) in ops {
            let (first, last) = (a.min(b), a.max(b));
            let mode = if op == 0 { Mode::Shared } else { Mode::Exclusive };
            let lock = range(owner, first..=last, mode);
            let bytes = first as usize..=last as usize;
            let free = |byte: &[Option<Mode>; 3]| (0..3).all(|other| {
                other == owner || byte[other].is_none() || (byte[other] == Some(Mode::Shared) && mode == Mode::Shared)
            });
            let may = op == 2 || model[bytes.clone()].iter().all(free);
            let done = if op == 2 { unlock(&open, &lock, &account) } else { try_lock(&open, &lock, &account) };
            prop_assert_eq!(done, if may { Ok(()) } else { Err(Errno::EAGAIN) });
            if may {
                model[bytes].iter_mut().for_each(|byte| byte[owner] = (op != 2).then_some(mode));
            }
            for (at, byte) in model.iter().enumerate() {
                let probe = range(9, at as u64..=at as u64, Mode::Exclusive);
                prop_assert_eq!(find(&open, &probe).is_some(), byte.iter().any(Option::is_some));
            }
        }
        (0..3).for_each(|owner| release(&open, Owner::Table(owner)));
        prop_assert!(!TABLE.lock().files.contains_key(&Key::of(&open)));
    }
}

#[test]
fn neighbours_become_one() {
    let (open, account) = (file(), account());
    for bytes in [0..=4, 10..=14, 5..=9] {
        try_lock(&open, &range(1, bytes, Mode::Exclusive), &account).unwrap();
    }
    assert_eq!(find(&open, &range(2, 7..=7, Mode::Shared)), Some(range(1, 0..=14, Mode::Exclusive)));
    try_lock(&open, &range(1, 15..=u64::MAX, Mode::Exclusive), &account).unwrap();
    assert_eq!(find(&open, &range(2, 99..=99, Mode::Shared)), Some(range(1, 0..=u64::MAX, Mode::Exclusive)));
    release(&open, Owner::Table(1));
}

#[test]
fn a_whole_lock_goes_with_its_description() {
    let (account, inode) = (account(), Event::new(&account(), 0, Count::Counter).unwrap());
    let open = || OpenFile::new(inode.clone(), O_RDWR, b"test");
    let (first, second) = (open(), open());
    try_lock(&first, &whole(&first, Mode::Shared), &account).unwrap();
    try_lock(&second, &whole(&second, Mode::Shared), &account).unwrap();
    assert_eq!(try_lock(&first, &whole(&first, Mode::Exclusive), &account), Err(Errno::EAGAIN));
    // What it had is gone, and ranges are another matter.
    try_lock(&second, &whole(&second, Mode::Exclusive), &account).unwrap();
    try_lock(&first, &range(1, 0..=9, Mode::Exclusive), &account).unwrap();
    release(&first, Owner::Table(1));
    let lock = whole(&first, Mode::Exclusive);
    let mut waiting = Box::pin(super::lock(&first, &lock, &account));
    assert_eq!(poll(&mut waiting), Poll::Pending);
    drop(second);
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(())));
    drop(waiting);
    drop(first);
    assert_eq!(account.used(), 0);
}

#[test]
fn who_would_wait_for_itself_is_refused() {
    let (open, account) = (file(), account());
    let locks: Vec<_> = (0..3).map(|owner| range(owner, owner as u64..=owner as u64, Mode::Exclusive)).collect();
    locks.iter().for_each(|lock| try_lock(&open, lock, &account).unwrap());
    let wanted: Vec<_> =
        (0..3).map(|owner| range(owner, (owner as u64 + 1) % 3..=(owner as u64 + 1) % 3, Mode::Shared)).collect();
    let mut first = Box::pin(super::lock(&open, &wanted[0], &account));
    let mut second = Box::pin(super::lock(&open, &wanted[1], &account));
    assert_eq!((poll(&mut first), poll(&mut second)), (Poll::Pending, Poll::Pending));
    let mut third = Box::pin(super::lock(&open, &wanted[2], &account));
    assert_eq!(poll(&mut third), Poll::Ready(Err(Errno::EDEADLK)));
    // Who gives up waits for nobody.
    drop(first);
    let mut third = Box::pin(super::lock(&open, &wanted[2], &account));
    assert_eq!(poll(&mut third), Poll::Pending);
    release(&open, Owner::Table(0));
    assert_eq!(poll(&mut third), Poll::Ready(Ok(())));
    drop((second, third));
    (0..3).for_each(|owner| release(&open, Owner::Table(owner)));
    assert!(TABLE.lock().waits.is_empty());
}

#[test]
fn what_is_handed_over_is_no_deadlock() {
    let (open, account) = (file(), account());
    let of = |owner, at| range(owner, at..=at, Mode::Exclusive);
    try_lock(&open, &of(1, 1), &account).unwrap();
    try_lock(&open, &of(2, 2), &account).unwrap();
    let wanted = of(1, 2);
    let mut first = Box::pin(super::lock(&open, &wanted, &account));
    assert_eq!(poll(&mut first), Poll::Pending);
    // The first has not looked yet, and will get what it waits for.
    unlock(&open, &of(2, 2), &account).unwrap();
    let wanted = of(2, 1);
    let mut second = Box::pin(super::lock(&open, &wanted, &account));
    assert_eq!(poll(&mut second), Poll::Pending);
    assert_eq!(poll(&mut first), Poll::Ready(Ok(())));
    release(&open, Owner::Table(1));
    assert_eq!(poll(&mut second), Poll::Ready(Ok(())));
    drop((first, second));
    release(&open, Owner::Table(2));
    assert!(TABLE.lock().waits.is_empty());
}

#[test]
fn the_two_kinds_know_nothing_of_each_other() {
    let (account, inode) = (account(), Event::new(&account(), 0, Count::Counter).unwrap());
    let open = || OpenFile::new(inode.clone(), O_RDWR, b"test");
    let (first, second) = (open(), open());
    let bytes = Lock { what: What::Range(0..=9), ..whole(&first, Mode::Exclusive) };
    try_lock(&first, &bytes, &account).unwrap();
    try_lock(&first, &whole(&first, Mode::Exclusive), &account).unwrap();
    assert_eq!(try_lock(&second, &whole(&second, Mode::Shared), &account), Err(Errno::EAGAIN));
    try_lock(&second, &range(7, 10..=20, Mode::Exclusive), &account).unwrap();
    assert_eq!(find(&second, &range(7, 0..=99, Mode::Exclusive)), Some(bytes.clone()));
    unlock(&first, &whole(&first, Mode::Shared), &account).unwrap();
    try_lock(&second, &whole(&second, Mode::Exclusive), &account).unwrap();
    assert_eq!(try_lock(&second, &range(7, 9..=9, Mode::Shared), &account), Err(Errno::EAGAIN));
    release(&second, Owner::Table(7));
}

#[test]
fn there_are_only_so_many() {
    let (open, account) = (file(), account());
    let odd = |at: u64| range(1, 2 * at..=2 * at, Mode::Shared);
    let done = (0..2 * MOST as u64).take_while(|at| try_lock(&open, &odd(*at), &account).is_ok()).count();
    assert!(done < MOST);
    assert_eq!(try_lock(&open, &odd(done as u64), &account), Err(Errno::ENOLCK));
    // Each can be given back, with no room for more and nobody to pay.
    unlock(&open, &odd(0), &Account::new(None, 0)).unwrap();
    unlock(&open, &range(1, 0..=9, Mode::Shared), &Account::new(None, 0)).unwrap();
    release(&open, Owner::Table(1));
    assert!(find(&open, &range(2, 0..=u64::MAX, Mode::Exclusive)).is_none());
    let poor = Account::new(None, 0);
    assert_eq!(try_lock(&open, &odd(0), &poor), Err(Errno::ENOLCK));
}
