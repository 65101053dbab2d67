//! Damaged images: errors, never a panic.

use super::*;

/// Uses whatever of a damaged file system still answers.
async fn explore(system: &Arc<Ext4>) {
    let caller = caller();
    let root = system.root();
    let entries = root.readdir(0, 100).await.unwrap_or_default();
    for entry in entries.iter().take(20) {
        let Ok(inode) = root.lookup(&entry.name).await else { continue };
        match inode.kind() {
            Kind::Regular => {
                let file = open(&inode).await;
                let _ = read(&file, 0, 50_000).await;
                let _ = write(&file, 5000, &pattern(1, 9000)).await;
                let set = SetAttributes { size: Some(3000), ..Default::default() };
                let _ = inode.set_attributes(&caller, set).await;
            }
            Kind::Symlink => drop(inode.readlink().await),
            Kind::Directory => drop(inode.readdir(0, 50).await),
            _ => {}
        }
    }
    let _ = root.create(&caller, b"new", regular()).await;
    let _ = root.create(&caller, b"newdir", directory()).await;
    let _ = root.unlink(b"file-1", Removal::File).await;
    let _ = system.sync().await;
    let _ = system.unmount().await;
}

fn populated(options: &[&str]) -> Option<Vec<u8>> {
    let disk = Arc::new(RamDisk::new(&image(8, options)?));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let root = system.root();
        for number in 0..8u64 {
            let inode = root.create(&caller(), format!("file-{number}").as_bytes(), regular()).await.unwrap();
            write(&open(&inode).await, 0, &pattern(number, 3000 * number as usize)).await.unwrap();
        }
        root.create(&caller(), b"dir", directory()).await.unwrap();
        root.symlink(&caller(), b"link", b"file-1").await.unwrap();
        system.unmount().await.unwrap();
    });
    Some(disk.image())
}

/// Flips bits where metadata lies: the used part of the first pages, most often the superblock.
fn damage(image: &mut [u8], seed: u64, rounds: usize) {
    let bytes = pattern(seed, rounds * 8);
    let used: Vec<usize> = (0..image.len() / 4096)
        .filter(|page| image[page * 4096..(page + 1) * 4096].iter().any(|byte| *byte != 0))
        .take(200)
        .collect();
    for flip in bytes.chunks(8) {
        let word = u64::from_le_bytes(flip.try_into().unwrap());
        let page = if word % 4 == 0 { 0 } else { used[(word >> 2) as usize % used.len()] };
        let at = if word % 4 == 0 { 1024 + (word >> 20) as usize % 1024 } else { (word >> 20) as usize % 4096 };
        image[page * 4096 + at] ^= 1 << (word >> 60 & 7);
    }
}

fn survive(options: &[&str], seeds: core::ops::Range<u64>) {
    let Some(sound) = populated(options) else { return };
    for seed in seeds {
        let mut image = sound.clone();
        damage(&mut image, seed, 1 + (seed % 6) as usize);
        let disk = Arc::new(RamDisk::new(&image));
        let (mut engine, mounting) = mount(disk.clone()).unwrap();
        drive(&mut engine, async {
            if let Ok(system) = mounting.await {
                explore(&system).await;
            }
        });
    }
}

#[test]
fn flipped_bits_do_no_harm() {
    survive(&[], 0..60);
}

#[test]
fn flipped_bits_do_no_harm_without_checksums() {
    survive(&["-O", "^metadata_csum,^has_journal"], 100..220);
}

#[test]
fn what_is_no_file_system_is_refused() {
    for image in [vec![0; 1 << 20], vec![0xff; 1 << 20], pattern(3, 1 << 20), vec![0; 4096], Vec::new()] {
        let disk = Arc::new(RamDisk::new(&image));
        let (mut engine, mounting) = mount(disk).unwrap();
        assert!(drive(&mut engine, mounting).is_err());
    }
    let Some(sound) = image(8, &[]) else { return };
    let disk = Arc::new(RamDisk::new(&sound[..4 << 20]));
    let (mut engine, mounting) = mount(disk).unwrap();
    assert_eq!(drive(&mut engine, mounting).err(), Some(Errno::EUCLEAN));
}
