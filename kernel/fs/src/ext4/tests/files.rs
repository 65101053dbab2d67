//! What programs do with files, and what is on the medium afterwards.

use super::*;

const JOURNAL: &[&str] = &[];
const NO_JOURNAL: &[&str] = &["-O", "^has_journal"];

async fn populate(root: &Arc<dyn Inode>) {
    let caller = caller();
    let sub = root.create(&caller, b"sub", directory()).await.unwrap();
    for number in 0..150u64 {
        let name = format!("file-{number}");
        let inode = sub.create(&caller, name.as_bytes(), regular()).await.unwrap();
        let file = open(&inode).await;
        write(&file, 0, &pattern(number, (number * 137) as usize)).await.unwrap();
    }
    let big = root.create(&caller, b"big", regular()).await.unwrap();
    let file = open(&big).await;
    write(&file, 0, &pattern(1000, 5_000_001)).await.unwrap();
    // A hole, then data far behind it.
    write(&file, 9_000_123, &pattern(1001, 5000)).await.unwrap();
    root.symlink(&caller, b"short", b"sub/file-3").await.unwrap();
    root.symlink(&caller, b"long", &[b'x'; 300]).await.unwrap();
    root.link(b"hard", &big).await.unwrap();
}

async fn check(root: &Arc<dyn Inode>) {
    let sub = root.lookup(b"sub").await.unwrap();
    for number in 0..150u64 {
        let inode = sub.lookup(format!("file-{number}").as_bytes()).await.unwrap();
        let bytes = read(&open(&inode).await, 0, 1 << 20).await.unwrap();
        assert!(bytes == pattern(number, (number * 137) as usize), "file-{number}");
    }
    let big = root.lookup(b"hard").await.unwrap();
    assert_eq!(big.metadata().await.unwrap().links, 2);
    let bytes = read(&open(&big).await, 0, 10 << 20).await.unwrap();
    assert_eq!(bytes.len(), 9_005_123);
    assert!(bytes[..5_000_001] == pattern(1000, 5_000_001)[..]);
    assert!(bytes[5_000_001..9_000_123].iter().all(|byte| *byte == 0));
    assert!(bytes[9_000_123..] == pattern(1001, 5000)[..]);
    assert_eq!(&*root.lookup(b"short").await.unwrap().readlink().await.unwrap(), b"sub/file-3");
    assert_eq!(&*root.lookup(b"long").await.unwrap().readlink().await.unwrap(), [b'x'; 300]);
}

fn survive(options: &[&str]) {
    let Some(empty) = image(64, options) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        populate(&system.root()).await;
        check(&system.root()).await;
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        check(&system.root()).await;
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn files_survive_a_remount_with_a_journal() {
    survive(JOURNAL);
}

#[test]
fn files_survive_a_remount_without_a_journal() {
    survive(NO_JOURNAL);
}

#[test]
fn truncating_forgets_and_growing_shows_zeros() {
    let Some(empty) = image(32, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let root = system.root();
        let inode = root.create(&caller, b"file", regular()).await.unwrap();
        let file = open(&inode).await;
        let mut model: Vec<u8> = Vec::new();
        for round in 0..60u64 {
            let size = (pattern(round, 3).iter().fold(0usize, |sum, byte| sum * 61 + *byte as usize)) % 300_000;
            if round % 3 == 0 {
                let set = SetAttributes { size: Some(size as u64), ..Default::default() };
                inode.set_attributes(&caller, set).await.unwrap();
                model.resize(size, 0);
            } else {
                let bytes = pattern(round, size / 10 + 1);
                write(&file, size as u64, &bytes).await.unwrap();
                if model.len() < size + bytes.len() {
                    model.resize(size + bytes.len(), 0);
                }
                model[size..size + bytes.len()].copy_from_slice(&bytes);
            }
            if round % 4 == 0 {
                inode.sync().await.unwrap();
            }
            if round % 5 == 0 {
                cache::shrink(10_000);
                cache::shrink(10_000);
            }
            assert!(read(&file, 0, 1 << 20).await.unwrap() == model, "round {round}");
        }
        system.unmount().await.unwrap();
        drop(file);
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn names_move_and_go() {
    let Some(empty) = image(32, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let root = system.root();
        let (one, two) = (
            root.create(&caller, b"one", directory()).await.unwrap(),
            root.create(&caller, b"two", directory()).await.unwrap(),
        );
        assert_eq!(root.create(&caller, b"one", directory()).await.err(), Some(Errno::EEXIST));
        let inode = one.create(&caller, b"a", regular()).await.unwrap();
        let file = open(&inode).await;
        write(&file, 0, b"content").await.unwrap();
        let victim = two.create(&caller, b"b", regular()).await.unwrap();
        write(&open(&victim).await, 0, &pattern(7, 100_000)).await.unwrap();
        assert_eq!(one.rename(b"a", &two, b"b", Replace::No).await, Err(Errno::EEXIST));
        one.rename(b"a", &two, b"b", Replace::Yes).await.unwrap();
        assert_eq!(one.lookup(b"a").await.err(), Some(Errno::ENOENT));
        let moved = two.lookup(b"b").await.unwrap();
        assert_eq!(moved.id(), inode.id());
        // The replaced file is open and lives on without a name.
        assert_eq!(victim.metadata_now().unwrap().links, 0);
        assert!(read(&open(&victim).await, 0, 200_000).await.unwrap() == pattern(7, 100_000));
        assert_eq!(root.unlink(b"two", Removal::Directory).await, Err(Errno::ENOTEMPTY));
        assert_eq!(root.unlink(b"two", Removal::File).await, Err(Errno::EISDIR));
        two.unlink(b"b", Removal::File).await.unwrap();
        assert_eq!(read(&file, 0, 100).await.unwrap(), b"content");
        root.unlink(b"two", Removal::Directory).await.unwrap();
        assert_eq!(root.lookup(b"two").await.err(), Some(Errno::ENOENT));
        drop((victim, inode, moved, file, one, two));
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn a_large_directory_is_listed_once() {
    let Some(empty) = image(64, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let root = system.root();
        for number in 0..1200 {
            root.create(&caller, format!("a-rather-long-name-{number}").as_bytes(), regular()).await.unwrap();
        }
        let mut names = std::collections::BTreeSet::new();
        let mut cookie = 0;
        loop {
            let part = root.readdir(cookie, 50).await.unwrap();
            let Some(last) = part.last() else { break };
            cookie = last.next;
            for entry in &part {
                assert!(names.insert(entry.name.clone()), "listed twice");
            }
        }
        assert_eq!(names.len(), 1200 + 3);
        // Removing while listing must not skip.
        let mut cookie = 0;
        loop {
            let part = root.readdir(cookie, 64).await.unwrap();
            let Some(last) = part.last() else { break };
            cookie = last.next;
            for entry in part.iter().filter(|entry| entry.kind == Kind::Regular) {
                root.unlink(&entry.name, Removal::File).await.unwrap();
            }
        }
        assert_eq!(root.readdir(0, 5000).await.unwrap().len(), 3);
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let Some(empty) = image(16, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let root = system.root();
        let mut kept = Vec::new();
        let full = 'fill: loop {
            let number = kept.len() as u64;
            let inode = root.create(&caller, format!("{number}").as_bytes(), regular()).await.unwrap();
            let file = open(&inode).await;
            let mut len = 0;
            while len < 1 << 20 {
                match write(&file, len as u64, &pattern(number, 4096)).await {
                    Ok(()) => len += 4096,
                    Err(errno) => break 'fill errno,
                }
            }
            kept.push(len);
        };
        assert_eq!(full, Errno::ENOSPC);
        assert!(kept.len() > 3);
        system.sync().await.unwrap();
        cache::shrink(100_000);
        cache::shrink(100_000);
        for (number, len) in kept.iter().enumerate() {
            let inode = root.lookup(format!("{number}").as_bytes()).await.unwrap();
            let bytes = read(&open(&inode).await, 0, 2 << 20).await.unwrap();
            assert_eq!(bytes.len(), *len);
            assert!(bytes.chunks(4096).all(|part| part == pattern(number as u64, 4096)));
        }
        // Room that is freed can be used again.
        root.unlink(b"0", Removal::File).await.unwrap();
        system.sync().await.unwrap();
        let inode = root.create(&caller, b"again", regular()).await.unwrap();
        write(&open(&inode).await, 0, &pattern(9, 500_000)).await.unwrap();
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

/// What is removed makes room at once, although somebody is about to write it back.
#[test]
fn room_comes_back_while_a_write_back_holds_the_file() {
    let Some(empty) = image(16, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let root = system.root();
        let inode = root.create(&caller, b"big", regular()).await.unwrap();
        let full = write(&open(&inode).await, 0, &pattern(1, 20 << 20)).await;
        assert_eq!(full, Err(Errno::ENOSPC));
        drop(inode);
        let again = async {
            root.unlink(b"big", Removal::File).await.unwrap();
            let inode = root.create(&caller, b"again", regular()).await.unwrap();
            write(&open(&inode).await, 0, &pattern(2, 500_000)).await.unwrap();
        };
        // Begins first, and holds a list of the dirty files.
        futures_util::future::join(async { system.sync().await.unwrap() }, again).await;
        // A file that somebody has open keeps its room, and whoever wants it is told.
        let inode = root.create(&caller, b"held", regular()).await.unwrap();
        let held = open(&inode).await;
        drop(inode);
        assert_eq!(write(&held, 0, &pattern(3, 20 << 20)).await, Err(Errno::ENOSPC));
        root.unlink(b"held", Removal::File).await.unwrap();
        let inode = root.create(&caller, b"more", regular()).await.unwrap();
        let more = open(&inode).await;
        assert_eq!(write(&more, 0, &pattern(4, 4096)).await, Err(Errno::ENOSPC));
        drop(held);
        write(&more, 0, &pattern(4, 500_000)).await.unwrap();
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn the_time_of_a_write_in_place_reaches_the_medium() {
    let Some(empty) = image(32, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let long_ago = io::inode::Timestamp { seconds: 1000, nanos: 0 };
    let modified = |inode: &Arc<dyn Inode>| inode.metadata_now().unwrap().modified.seconds;
    let age = SetAttributes { modified: Some(long_ago), ..Default::default() };
    let written = drive(&mut engine, async {
        let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
        let file = open(&inode).await;
        write(&file, 0, &pattern(5, 8192)).await.unwrap();
        // The time that is set counts, also before what was written is on the medium.
        inode.set_attributes(&caller(), age).await.unwrap();
        inode.sync().await.unwrap();
        assert_eq!(modified(&inode), 1000);
        write(&file, 0, &pattern(6, 4096)).await.unwrap();
        let written = modified(&inode);
        assert_ne!(written, 1000);
        let mode = SetAttributes { permissions: Some(0o600), ..Default::default() };
        inode.set_attributes(&caller(), mode).await.unwrap();
        assert_eq!(modified(&inode), written);
        inode.sync().await.unwrap();
        assert_eq!(modified(&inode), written);
        system.unmount().await.unwrap();
        written
    });
    assert_eq!(complaints(&disk.image()), None);
    let (mut engine, system) = mounted(&disk);
    let inode = drive(&mut engine, system.root().lookup(b"file")).unwrap();
    assert_eq!(modified(&inode), written);
    drive(&mut engine, system.unmount()).unwrap();
}

/// A file of 400,000 bytes, in memory.
async fn written(system: &Ext4) -> Arc<dyn Inode> {
    let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
    write(&open(&inode).await, 0, &pattern(1, 400_000)).await.unwrap();
    inode
}

#[test]
fn a_truncation_that_nobody_waits_for_is_whole() {
    let Some(empty) = image(32, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let inode = drive(&mut engine, async {
        let inode = written(&system).await;
        system.sync().await.unwrap();
        inode
    });
    let node = inode.as_any().downcast_ref::<Node>().unwrap();
    disk.hold();
    // Killed when the pages are gone, but not yet the blocks.
    let caller = caller();
    let set = SetAttributes { size: Some(1000), ..Default::default() };
    let mut truncation = inode.set_attributes(&caller, set);
    drive(
        &mut engine,
        poll_fn(|context| {
            assert!(truncation.as_mut().poll(context).is_pending());
            context.waker().wake_by_ref();
            if node.pages.size() == 1000 { Poll::Ready(()) } else { Poll::Pending }
        }),
    );
    drop(truncation);
    assert!(node.pages.claim_now().is_none(), "others may change a file that is half truncated");
    disk.complete(None);
    drive(&mut engine, async {
        drop(node.pages.claim().await);
        assert_eq!((node.disk_size(), inode.metadata().await.unwrap().size), (1000, 1000));
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

#[test]
fn a_truncation_overtakes_a_write_back() {
    let Some(empty) = image(32, JOURNAL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let inode = drive(&mut engine, written(&system));
    let node = inode.as_any().downcast_ref::<Node>().unwrap();
    let caller = caller();
    let set = SetAttributes { size: Some(1000), ..Default::default() };
    let claim = node.pages.claim_now().unwrap();
    let (mut truncation, mut sync) = (inode.set_attributes(&caller, set), inode.sync());
    let mut turns = 0;
    let waits = poll_fn(|context| {
        assert!(truncation.as_mut().poll(context).is_pending());
        context.waker().wake_by_ref();
        turns += 1;
        if turns == 10 { Poll::Ready(()) } else { Poll::Pending }
    });
    drive(&mut engine, waits);
    // The truncation has its turn next, behind it the write-back, whose pages are taken now.
    drop(claim);
    assert!(sync.as_mut().poll(&mut Context::from_waker(core::task::Waker::noop())).is_pending());
    drive(&mut engine, async {
        let (truncated, synced) = futures_util::future::join(truncation, sync).await;
        assert_eq!((truncated, synced), (Ok(()), Ok(())));
        assert!(read(&open(&inode).await, 0, 2000).await.unwrap() == pattern(1, 1000));
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}

/// Writes pages of a file, each to the medium at once, 32 at a time.
async fn scatter(inode: &Arc<dyn Inode>, order: &[u64]) {
    let file = open(inode).await;
    let mut left = order.iter().copied();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < 32
            && let Some(at) = left.next()
        {
            let (file, inode) = (file.clone(), inode.clone());
            under_way.push(async move {
                write(&file, at * 4096, &pattern(at, 4096)).await?;
                inode.sync().await
            });
        }
        match poll_fn(|context| pin!(&mut under_way).poll_next(context)).await {
            Some(result) => assert_eq!(result, Ok(())),
            None => return,
        }
    }
}

/// Each page is a place of its own, given in any order: the tree of places gets three levels, and now and then a place comes in front of all.
#[test]
fn a_file_is_written_in_any_order() {
    let Some(empty) = image(64, &["-J", "size=4"]) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    let mut order: Vec<u64> = (0..4096).collect();
    order.sort_by_key(|at| pattern(*at + 1, 16));
    drive(&mut engine, async {
        let inode = system.root().create(&caller(), b"file", regular()).await.unwrap();
        let set = SetAttributes { size: Some(4096 * 4096), ..SetAttributes::default() };
        inode.set_attributes(&caller(), set).await.unwrap();
        scatter(&inode, &order).await;
        evict(&inode);
        let file = open(&inode).await;
        for at in 0..4096 {
            assert!(read(&file, at * 4096, 4096).await.unwrap() == pattern(at, 4096), "block {at}");
        }
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None);
}
