//! Data goes past the metadata coroutine, many requests at once (D18).

use super::*;

#[test]
fn one_reader_keeps_32_requests_in_flight() {
    let Some(empty) = image(64, &[]) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let bytes = pattern(5, 4 << 20);
    let inode = drive(&mut engine, async {
        let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
        write(&open(&inode).await, 0, &bytes).await.unwrap();
        system.sync().await.unwrap();
        inode
    });
    evict(&inode);
    disk.hold();
    let file = drive(&mut engine, open(&inode));
    let mut reading = Box::pin(async { read(&file, 0, 4 << 20).await.unwrap() });
    // Nothing completes: what is in flight now is what one read starts by itself.
    let mut turns = 0;
    drive(
        &mut engine,
        poll_fn(|context| {
            assert!(reading.as_mut().poll(context).is_pending());
            turns += 1;
            context.waker().wake_by_ref();
            if turns > 20 { Poll::Ready(()) } else { Poll::Pending }
        }),
    );
    assert!(disk.depth().0 >= 32, "only {} in flight", disk.depth().0);
    disk.complete(None);
    assert!(drive(&mut engine, reading) == bytes);
    drive(&mut engine, system.unmount()).unwrap();
}

#[test]
fn a_failing_disk_is_reported_and_data_stays() {
    let Some(empty) = image(32, &[]) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
        let file = open(&inode).await;
        write(&file, 0, &pattern(1, 100_000)).await.unwrap();
        system.sync().await.unwrap();
        write(&file, 0, &pattern(2, 100_000)).await.unwrap();
        // The first request of the next sync is a data write: the blocks have their places.
        disk.fail_only(Some(0));
        assert_eq!(inode.sync().await, Err(Errno::EIO));
        assert!(read(&file, 0, 100_000).await.unwrap() == pattern(2, 100_000));
        inode.sync().await.unwrap();
        evict(&inode);
        disk.fail_only(Some(0));
        assert_eq!(read(&file, 0, 100).await, Err(Errno::EIO));
        assert!(read(&file, 0, 100_000).await.unwrap() == pattern(2, 100_000));
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn fsync_covers_a_page_that_changed_while_it_was_written() {
    let Some(empty) = image(32, &[]) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let (inode, file) = drive(&mut engine, async {
        let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
        let file = open(&inode).await;
        write(&file, 0, &[1; PAGE_SIZE]).await.unwrap();
        inode.sync().await.unwrap();
        write(&file, 0, &[2; PAGE_SIZE]).await.unwrap();
        (inode, file)
    });
    // A write-back has the page in its hands when it changes once more.
    disk.hold();
    let store: Arc<dyn cache::Store> = inode.as_any().downcast_ref::<Node>().unwrap().myself().unwrap();
    let mut background = Box::pin(cache::kick(&store));
    drive(
        &mut engine,
        poll_fn(|context| {
            assert!(background.as_mut().poll(context).is_pending());
            context.waker().wake_by_ref();
            if disk.depth().0 > 0 { Poll::Ready(()) } else { Poll::Pending }
        }),
    );
    drive(&mut engine, write(&file, 0, &[3; PAGE_SIZE])).unwrap();
    let mut syncing = Box::pin(cache::flush(&store));
    let begun = poll_fn(|context| Poll::Ready(syncing.as_mut().poll(context).is_pending()));
    assert!(drive(&mut engine, begun), "the page is not free yet");
    // That write-back ends, and nothing else is written for now.
    disk.complete(Some(1));
    let mut turns = 0;
    let early = poll_fn(|context| {
        turns += 1;
        context.waker().wake_by_ref();
        match syncing.as_mut().poll(context) {
            Poll::Pending if turns < 100 => Poll::Pending,
            step => Poll::Ready(step.is_ready()),
        }
    });
    assert!(!drive(&mut engine, early), "what was written before fsync is not on the medium");
    disk.complete(None);
    drive(&mut engine, syncing).unwrap();
    assert!(disk.image().chunks(PAGE_SIZE).any(|page| page.iter().all(|byte| *byte == 3)));
    drop(background);
    drive(&mut engine, system.unmount()).unwrap();
}

#[test]
fn a_sequential_reader_is_read_ahead_for() {
    let Some(empty) = image(64, &[]) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let inode = drive(&mut engine, async {
        let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
        write(&open(&inode).await, 0, &pattern(5, 1 << 20)).await.unwrap();
        system.sync().await.unwrap();
        inode
    });
    evict(&inode);
    let before = disk.requests().0;
    drive(&mut engine, async {
        let file = open(&inode).await;
        for page in 0..256 {
            read(&file, page * PAGE_SIZE as u64, PAGE_SIZE).await.unwrap();
        }
    });
    let requests = disk.requests().0 - before;
    assert!(requests <= 64, "{requests} requests for 256 pages");
    drive(&mut engine, system.unmount()).unwrap();
}
