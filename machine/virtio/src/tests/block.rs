//! The block driver: order, cancellation, room, and devices that lie.

use super::*;
use crate::{Block, Completion};
use hal::PAGE_SIZE;
use hal::frame::Frame;
use hal::part::{Part, Parts};
use proptest::prelude::*;

const SECTORS: u64 = 1024;

fn disk() -> (Block<FakeTransport>, FakeDevice) {
    disk_with(1 << 9)
}

fn disk_with(features: u64) -> (Block<FakeTransport>, FakeDevice) {
    let mut config = vec![0; 60];
    config[..8].copy_from_slice(&SECTORS.to_le_bytes());
    config[12..16].copy_from_slice(&4_u32.to_le_bytes());
    let (transport, device) = fake::device(DeviceType::Block, features, &config);
    (Block::new(transport).unwrap(), device)
}

fn pages(frames: &[Frame]) -> Parts {
    frames.iter().map(Part::page).collect()
}

fn frame() -> Frame {
    Frame::zeroed().unwrap()
}

fn read_page(block: &Block<FakeTransport>, sector: u64) -> (Frame, Completion) {
    let frame = frame();
    let read = block.read(sector, Parts::from_iter([Part::page(&frame)]));
    (frame, read)
}

#[test]
fn a_disk_tells_its_size_and_rights() {
    let (block, _) = disk();
    assert_eq!((block.sectors(), block.is_read_only(), block.max_buffers()), (SECTORS, false, 32));
    let (block, _) = disk_with(1 << 5 | 1 << 2);
    assert_eq!((block.is_read_only(), block.max_buffers()), (true, 4));
    assert_eq!(poll(&mut block.write(0, pages(&[frame()]))), Poll::Ready(Err(Error::ReadOnly)));
    assert_eq!(poll(&mut block.flush()), Poll::Ready(Ok(0)));
}

#[test]
fn writes_arrive_and_reads_return_them() {
    let (block, device) = disk();
    let mut disk = vec![0; 512 * SECTORS as usize];
    let (a, b) = (frame(), frame());
    a.fill(0, PAGE_SIZE, 0xaa);
    b.fill(0, PAGE_SIZE, 0xbb);
    let mut write = block.write(8, pages(&[a, b]));
    assert!(poll(&mut write).is_pending());
    device.serve_block(&device.take(0).unwrap(), &mut disk, 0);
    block.interrupt();
    assert!(matches!(poll(&mut write), Poll::Ready(Ok(_))));
    assert!(disk[8 * 512..][..PAGE_SIZE].iter().all(|&byte| byte == 0xaa));

    let page = frame();
    let mut read = block.read(17, Parts::from_iter(Part::new(page.pin(), 1024, 512)));
    device.serve_block(&device.take(0).unwrap(), &mut disk, 0);
    block.interrupt();
    assert_eq!(poll(&mut read), Poll::Ready(Ok(512)));
    let mut bytes = [0; 3];
    page.read(1023, &mut bytes);
    assert_eq!(bytes, [0, 0xbb, 0xbb]);
}

#[test]
fn the_device_is_notified_unless_it_does_not_want_to() {
    let (block, device) = disk();
    let _first = read_page(&block, 0);
    let _second = read_page(&block, 8);
    assert_eq!(device.notified(), []);
    block.announce();
    block.announce();
    assert_eq!(device.notified(), [0], "once for both");
    device.set_notifications(0, false);
    let _third = read_page(&block, 16);
    block.announce();
    assert_eq!(device.notified(), []);
    assert_eq!(device.take_all(0).len(), 3);
}

#[test]
fn thirty_two_reads_complete_in_any_order_with_one_interrupt() {
    let (block, device) = disk();
    let mut disk: Vec<u8> = (0..512 * SECTORS as usize).map(|at| (at / PAGE_SIZE) as u8).collect();
    let (count, waker) = waker();
    let mut reads: Vec<_> = (0..32).map(|page| read_page(&block, 8 * page)).collect();
    for (_, read) in &mut reads {
        assert!(Pin::new(read).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let mut chains = device.take_all(0);
    assert_eq!(chains.len(), 32);
    chains.reverse();
    chains.swap(3, 20);
    for chain in &chains {
        device.serve_block(chain, &mut disk, 0);
    }
    block.interrupt();
    assert_eq!(count.0.load(Ordering::SeqCst), 32);
    for (page, (frame, read)) in reads.iter_mut().enumerate() {
        assert_eq!(poll(read), Poll::Ready(Ok(PAGE_SIZE as u32)));
        let mut byte = [0];
        frame.read(100, &mut byte);
        assert_eq!(usize::from(byte[0]), page);
    }
    assert!(reads.into_iter().all(|(frame, read)| {
        drop(read);
        !frame.pinned()
    }));
    assert_eq!(block.requests().load(), (128, 0));
}

#[test]
fn what_finds_no_room_waits_and_is_sent_in_order() {
    let (block, device) = disk();
    let mut disk = vec![0; 512 * SECTORS as usize];
    let mut reads: Vec<_> = (0..50).map(|page| read_page(&block, 8 * page)).collect();
    assert_eq!(block.requests().load(), (128 - 42 * 3, 8));
    assert_eq!(device.take_all(0).len(), 42);
    // Cancelled while waiting: never sent.
    let (cancelled, read) = reads.remove(44);
    drop(read);
    device.put(0, 0, 1);
    block.interrupt();
    let sent = device.take(0).unwrap();
    assert_eq!(fake::read(sent.segments[0].0 + 8, 8), (8 * 42_u64).to_le_bytes());
    device.serve_block(&sent, &mut disk, 0);
    block.interrupt();
    let sent = device.take(0).unwrap();
    assert_eq!(fake::read(sent.segments[0].0 + 8, 8), (8 * 43_u64).to_le_bytes());
    device.serve_block(&sent, &mut disk, 0);
    block.interrupt();
    let sent = device.take(0).unwrap();
    assert_eq!(fake::read(sent.segments[0].0 + 8, 8), (8 * 45_u64).to_le_bytes());
    assert!(!cancelled.pinned());
}

#[test]
fn a_dropped_read_leaves_its_page_with_the_device() {
    let (block, device) = disk();
    let (frame, mut read) = read_page(&block, 0);
    assert!(poll(&mut read).is_pending());
    drop(read);
    assert!(frame.pinned());
    assert_eq!(frame.shares(), 2);
    let mut disk = vec![7; 512 * SECTORS as usize];
    device.serve_block(&device.take(0).unwrap(), &mut disk, 0);
    block.interrupt();
    assert!(!frame.pinned());
    assert_eq!(frame.shares(), 1);
    assert_eq!(block.requests().load(), (128, 0));
}

#[test]
fn a_device_that_never_answers_holds_up_only_its_callers() {
    let (silent, _device) = disk();
    let (_frame, mut stuck) = read_page(&silent, 0);
    let (block, device) = disk();
    let (_other, mut read) = read_page(&block, 0);
    device.serve_block(&device.take(0).unwrap(), &mut vec![0; 512 * SECTORS as usize], 0);
    block.interrupt();
    silent.interrupt();
    assert!(poll(&mut read).is_ready() && poll(&mut stuck).is_pending());
}

#[test]
fn an_error_status_or_none_is_a_failure() {
    let (block, device) = disk();
    for status in [1, 2, 0xff] {
        let (_frame, mut read) = read_page(&block, 0);
        device.serve_block(&device.take(0).unwrap(), &mut vec![0; 512 * SECTORS as usize], status);
        block.interrupt();
        assert_eq!(poll(&mut read), Poll::Ready(Err(Error::Failed)));
    }
    // Returned without a word: the status byte was prepared to mean failure.
    let (_frame, mut read) = read_page(&block, 0);
    device.put(0, device.take(0).unwrap().head.into(), 0);
    block.interrupt();
    assert_eq!(poll(&mut read), Poll::Ready(Err(Error::Failed)));
}

#[test]
fn impossible_requests_are_refused_before_the_device_sees_them() {
    let (block, device) = disk();
    let page = frame();
    let part = |len| Parts::from_iter(Part::new(page.pin(), 0, len));
    for (sector, buffers) in [
        (SECTORS, part(512)),
        (SECTORS - 7, part(4096)),
        (u64::MAX, part(512)),
        (0, part(100)),
        (0, Parts::new()),
        (0, (0..33).map(|_| Part::page(&page)).collect()),
    ] {
        assert_eq!(poll(&mut block.read(sector, buffers)), Poll::Ready(Err(Error::Invalid)));
    }
    assert!(device.take(0).is_none() && !page.pinned());
}

/// Lies about the returned chain: everything in flight ends with an error, and stays pinned.
fn lie(lie: impl FnOnce(&FakeDevice, u16)) {
    let (block, device) = disk();
    let (frame, mut read) = read_page(&block, 0);
    let (_other, mut second) = read_page(&block, 8);
    let (count, waker) = waker();
    assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
    let resets = device.resets();
    let head = device.take(0).unwrap().head;
    lie(&device, head);
    block.interrupt();
    assert_eq!(poll(&mut second), Poll::Ready(Err(Error::Broken)));
    assert!(poll(&mut read).is_ready());
    assert_eq!((count.0.load(Ordering::SeqCst), device.resets()), (1, resets + 1));
    let (_late, mut late) = read_page(&block, 0);
    assert_eq!(poll(&mut late), Poll::Ready(Err(Error::Broken)));
    block.interrupt();
    drop(frame);
}

#[test]
fn an_identity_beyond_the_queue() {
    lie(|device, _| device.put(0, 128, 1));
    lie(|device, _| device.put(0, u32::MAX, 1));
    lie(|device, head| device.put(0, 1 << 16 | u32::from(head), 1));
}

#[test]
fn a_head_that_was_never_sent() {
    lie(|device, _| device.put(0, 127, 1));
    // The middle of a chain.
    lie(|device, head| device.put(0, u32::from(head) + 1, 1));
}

#[test]
fn a_chain_returned_twice() {
    lie(|device, head| {
        device.put(0, head.into(), 1);
        device.put(0, head.into(), 1);
    });
}

#[test]
fn more_written_than_there_is_room() {
    lie(|device, head| device.put(0, head.into(), 4096 + 2));
}

#[test]
fn a_used_index_that_runs_ahead() {
    lie(|device, _| device.set_used_index(0, 3));
    lie(|device, _| device.set_used_index(0, u16::MAX));
}

#[test]
fn a_page_of_a_broken_device_stays_pinned() {
    let (block, device) = disk();
    let (frame, read) = read_page(&block, 0);
    drop(read);
    device.put(0, 99, 0);
    block.interrupt();
    assert!(frame.pinned());
    drop(block);
    assert!(!frame.pinned());
}

#[test]
fn devices_that_cannot_be_used_are_refused() {
    let config = [0; 60];
    let (transport, device) = fake::device(DeviceType::Block, 0, &config);
    device.set_max_queue(64);
    assert_eq!(Block::new(transport).err(), Some(Error::Unsupported));
    let (transport, device) = fake::device(DeviceType::Block, 0, &config);
    device.refuse_features();
    assert_eq!(Block::new(transport).err(), Some(Error::Unsupported));
    let (transport, _) = fake::device(DeviceType::Block, 0, &config[..4]);
    assert_eq!(Block::new(transport).err(), Some(Error::Unsupported));
}

#[test]
fn a_legacy_device_works_too() {
    let mut config = vec![0; 60];
    config[..8].copy_from_slice(&SECTORS.to_le_bytes());
    let (transport, device) = fake::device(DeviceType::Block, 0, &config);
    device.set_legacy();
    let block = Block::new(transport).unwrap();
    let (_frame, mut read) = read_page(&block, 0);
    device.serve_block(&device.take(0).unwrap(), &mut vec![0; 512 * SECTORS as usize], 0);
    block.interrupt();
    assert!(matches!(poll(&mut read), Poll::Ready(Ok(_))));
    assert!(!device.status().is_empty());
}

#[test]
fn submitters_and_the_interrupt_handler_on_different_harts() {
    let (block, device) = disk();
    let (block, stop) = (Arc::new(block), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (block, stop) = (block.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut disk = vec![5; 512 * SECTORS as usize];
            while stop.load(Ordering::SeqCst) < 3 {
                for chain in device.take_all(0) {
                    device.serve_block(&chain, &mut disk, 0);
                }
                block.interrupt();
                std::thread::yield_now();
            }
        })
    };
    let submitters: Vec<_> = (0..3)
        .map(|_| {
            let (block, stop) = (block.clone(), stop.clone());
            std::thread::spawn(move || {
                for round in 0..300 {
                    let (frame, mut read) = read_page(&block, round % 100);
                    if round % 7 == 0 {
                        continue;
                    }
                    while poll(&mut read).is_pending() {
                        std::thread::yield_now();
                    }
                    let mut byte = [0];
                    frame.read(4095, &mut byte);
                    assert_eq!(byte, [5]);
                }
                stop.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    for thread in submitters {
        thread.join().unwrap();
    }
    handler.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the device returns: no panic, every request ends or is still in flight, and no more pages are
    /// free than the device gave back.
    #[test]
    fn any_device(returns in prop::collection::vec((0..140_u32, 0..5000_u32, any::<bool>()), 0..60)) {
        let (block, device) = disk();
        let mut disk = vec![0; 512 * SECTORS as usize];
        let mut reads = Vec::new();
        for (id, written, honest) in returns {
            reads.push(read_page(&block, u64::from(id % 100)));
            match device.take(0) {
                Some(chain) if honest => device.serve_block(&chain, &mut disk, 0),
                Some(_) | None => device.put(0, id, written),
            }
            block.interrupt();
        }
        for (frame, mut read) in reads {
            if let Poll::Ready(Ok(_)) = poll(&mut read) {
                drop(read);
                prop_assert!(!frame.pinned());
            }
        }
    }
}
