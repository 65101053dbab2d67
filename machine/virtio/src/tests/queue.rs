//! The virtqueue against a model, through many turns of its indices.

use super::*;
use crate::fake::Chain;
use crate::queue::{Queue, Segment, Used};
use std::collections::HashMap;

const N: usize = 16;

fn segments(seed: u64) -> Vec<Segment> {
    let count = 1 + seed % 5;
    (0..count)
        .map(|n| Segment {
            address: 0x1000 * (seed + n),
            len: 1 + (seed as u32 * 7 + n as u32) % 4000,
            writable: (seed >> n) & 1 == 1,
        })
        .collect()
}

#[test]
fn chains_arrive_whole_and_come_back_in_any_order() {
    let (mut transport, device) = fake::device(DeviceType::Block, 0, &[]);
    let mut queue = Queue::<N>::new(&mut transport, 0).unwrap();
    let mut out: HashMap<u16, Vec<Segment>> = HashMap::new();
    let mut held: Vec<Chain> = Vec::new();
    let mut random = 1_u64;
    // More turns than a 16-bit index has values.
    for turn in 0..150_000_u64 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let chain = segments(turn % 1000);
        let expected = queue.next_head();
        // SAFETY: no device: the addresses are numbers to be compared.
        match unsafe { queue.add(chain.iter().copied()) } {
            Some(head) => {
                assert_eq!(head, expected);
                assert!(out.insert(head, chain).is_none());
            }
            None => assert!(queue.free() < chain.len()),
        }
        held.extend(device.take_all(0));
        if !random.is_multiple_of(3) && !held.is_empty() {
            let chain = held.swap_remove((random >> 33) as usize % held.len());
            let sent = out.remove(&chain.head).unwrap();
            let seen: Vec<_> = sent.iter().map(|s| (s.address, s.len, s.writable)).collect();
            assert_eq!(seen, chain.segments);
            let writable: u32 = sent.iter().filter(|s| s.writable).map(|s| s.len).sum();
            device.put(0, chain.head.into(), writable);
            assert_eq!(queue.pop(), Ok(Some(Used { head: chain.head, written: writable })));
            assert_eq!(queue.pop(), Ok(None));
        }
        let in_use: usize = out.values().map(Vec::len).sum();
        assert_eq!(queue.free(), N - in_use);
    }
}

#[test]
fn nothing_and_too_much_are_not_added() {
    let (mut transport, device) = fake::device(DeviceType::Block, 0, &[]);
    let mut queue = Queue::<N>::new(&mut transport, 0).unwrap();
    let segment = Segment { address: 0, len: 1, writable: false };
    // SAFETY: no device: the addresses are numbers.
    assert_eq!(unsafe { queue.add(core::iter::empty()) }, None);
    // SAFETY: as above.
    assert_eq!(unsafe { queue.add(core::iter::repeat_n(segment, N + 1)) }, None);
    // SAFETY: as above.
    assert_eq!(unsafe { queue.add(core::iter::repeat_n(segment, N)) }, Some(0));
    assert_eq!((queue.free(), device.take_all(0).len()), (0, 1));
}

#[test]
fn a_queue_is_set_up_once() {
    let (mut transport, _device) = fake::device(DeviceType::Block, 0, &[]);
    let _queue = Queue::<N>::new(&mut transport, 0).unwrap();
    assert_eq!(Queue::<N>::new(&mut transport, 0).err(), Some(Error::Unsupported));
}
