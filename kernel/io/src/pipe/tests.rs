//! The promises of pipe(7).

use super::*;
use crate::file::IoError;
use alloc::{vec, vec::Vec};

fn caller() -> Caller {
    Caller::kernel(16, Account::new(None, usize::MAX))
}

fn write(end: &WriteEnd, bytes: &[u8]) -> Attempt<usize> {
    end.write_now(&caller(), 0, &mut Source::kernel(bytes))
}

fn read(end: &ReadEnd, len: usize) -> Result<Option<Vec<u8>>, IoError> {
    let mut bytes = vec![0; len];
    let done = end.read_now(&caller(), 0, &mut Sink::kernel(&mut bytes))?;
    Ok(done.map(|done| bytes[..done].to_vec()))
}

#[test]
fn bytes_come_out_in_order_and_memory_goes_back() {
    let account = Account::new(None, usize::MAX);
    let (reader, writer) = new(&account);
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    let (mut sent, mut received) = (0usize, 0usize);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..next() % 9000).map(|index| ((sent + index) % 251) as u8).collect();
        sent += write(&writer, &bytes).unwrap().unwrap_or(0);
        for byte in read(&reader, next() % 9000 + 1).unwrap().unwrap_or_default() {
            assert_eq!(byte, (received % 251) as u8);
            received += 1;
        }
    }
    while received < sent {
        received += read(&reader, 5000).unwrap().unwrap().len();
    }
    assert_eq!(account.used(), PAGE_SIZE);
    drop((reader, writer));
    assert_eq!(account.used(), 0);
}

#[test]
fn small_writes_are_whole_and_large_ones_partial() {
    let (reader, writer) = new(&Account::new(None, usize::MAX));
    assert_eq!(write(&writer, &vec![1; CAPACITY - 100]).unwrap(), Some(CAPACITY - 100));
    assert_eq!(write(&writer, &[2; 101]).unwrap(), None);
    assert_eq!(writer.events() & EPOLLOUT, 0);
    assert_eq!(write(&writer, &[2; PIPE_BUF + 1]).unwrap(), Some(100));
    assert_eq!(read(&reader, CAPACITY).unwrap().unwrap().len(), CAPACITY);
    assert_eq!(write(&writer, &[2; 101]).unwrap(), Some(101));
}

#[test]
fn a_closed_end_is_seen_at_the_other() {
    let (reader, writer) = new(&Account::new(None, usize::MAX));
    assert_eq!(read(&reader, 1).unwrap(), None);
    write(&writer, b"x").unwrap();
    drop(writer);
    assert_eq!(reader.events(), EPOLLIN | EPOLLHUP);
    assert_eq!(read(&reader, 10).unwrap().unwrap(), b"x");
    assert_eq!(read(&reader, 10).unwrap().unwrap(), b"");
    let (reader, writer) = new(&Account::new(None, usize::MAX));
    drop(reader);
    assert_eq!(writer.events() & EPOLLERR, EPOLLERR);
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE.into()));
}

#[test]
fn a_poor_account_gets_enomem() {
    let (_reader, writer) = new(&Account::new(None, PAGE_SIZE));
    assert_eq!(write(&writer, &vec![0; 3 * PAGE_SIZE]).unwrap(), Some(PAGE_SIZE));
    assert_eq!(write(&writer, b"x"), Err(Errno::ENOMEM.into()));
}

/// What the other side has of a held pipe.
fn held_front(end: &ReadEnd) -> hold::Front<'_> {
    match end.hold() {
        hold::Hold::Held(front) => front,
        _ => panic!("it is not held"),
    }
}

#[test]
fn a_held_side_is_one_splices_alone() {
    let account = Account::new(None, usize::MAX);
    let (reader, writer) = new(&account);
    assert!(matches!(reader.hold(), hold::Hold::Waits));
    write(&writer, b"abcdef").unwrap();
    let mut front = held_front(&reader);
    assert!(matches!(reader.hold(), hold::Hold::Waits));
    assert_eq!(read(&reader, 9), Ok(None));
    let mut bytes = [0; 4];
    front.peek(&mut bytes);
    assert_eq!((&bytes, front.len()), (b"abcd", 6));
    front.advance(3);
    drop(front);
    assert_eq!(read(&reader, 9), Ok(Some(b"def".to_vec())));
    let hold::Hold::Held(back) = writer.hold() else { panic!("it is not held") };
    assert_eq!(write(&writer, b"x"), Ok(None));
    drop(back);
    assert_eq!(write(&writer, b"x"), Ok(Some(1)));
    drop(writer);
    drop(held_front(&reader));
    assert_eq!(read(&reader, 9), Ok(Some(b"x".to_vec())));
    assert!(matches!(reader.hold(), hold::Hold::Over));
}

/// Though whoever reads takes all that was there meanwhile.
#[test]
fn pages_that_are_kept_stay_until_bytes_come() {
    let account = Account::new(None, usize::MAX);
    let (reader, writer) = new(&account);
    let bytes: Vec<u8> = (0..10_000).map(|at| (at % 251) as u8).collect();
    write(&writer, &bytes).unwrap();
    let hold::Hold::Held(mut back) = writer.hold() else { panic!("it is not held") };
    assert_eq!(back.keep(usize::MAX), Ok(CAPACITY - 10_000));
    assert_eq!(read(&reader, 10_000), Ok(Some(bytes.clone())));
    for _ in 0..5 {
        back.put(&bytes);
    }
    drop(back);
    for _ in 0..5 {
        assert_eq!(read(&reader, 10_000), Ok(Some(bytes.clone())));
    }
    assert_eq!(account.used(), PAGE_SIZE, "the first page stays");
}

#[test]
fn bytes_move_between_pipes_as_far_as_there_is_room() {
    let account = Account::new(None, usize::MAX);
    let ((reader, writer), (target, into)) = (new(&account), new(&account));
    let bytes: Vec<u8> = (0..CAPACITY).map(|at| (at % 251) as u8).collect();
    write(&writer, &bytes[..50_001]).unwrap();
    write(&into, &bytes[..CAPACITY - 20_000]).unwrap();
    let step = hold::move_now(&reader, &into, usize::MAX, hold::Rest::Left);
    assert_eq!(step, Ok(hold::Step::Moved(20_000)));
    assert_eq!(hold::move_now(&reader, &into, 1, hold::Rest::Taken), Ok(hold::Step::WaitsOut));
    assert_eq!(read(&target, CAPACITY).unwrap().unwrap()[CAPACITY - 20_000..], bytes[..20_000]);
    for part in [30_000, 20_001] {
        let step = hold::move_now(&reader, &into, 30_000, hold::Rest::Taken);
        assert_eq!(step, Ok(hold::Step::Moved(part)));
    }
    assert_eq!(hold::move_now(&reader, &into, 1, hold::Rest::Taken), Ok(hold::Step::WaitsIn));
    assert_eq!(read(&target, CAPACITY).unwrap().unwrap(), bytes[..50_001]);
    drop(writer);
    assert_eq!(hold::move_now(&reader, &into, 1, hold::Rest::Taken), Ok(hold::Step::End));
    drop(target);
    assert_eq!(hold::move_now(&reader, &into, 1, hold::Rest::Taken), Err(Errno::EPIPE));
}
