//! The journal is written round and round: it is emptied in time, and whatever is in it when the power goes can be replayed.

use super::*;

/// The smallest journal there is: 1024 blocks, of which a round takes some ten.
const SMALL: &[&str] = &["-J", "size=4"];

/// Makes a file, brings it to the medium, and removes it.
async fn round(system: &Ext4, number: u64) -> Result<(), Errno> {
    let caller = caller();
    let root = system.root();
    let name = format!("round-{number}");
    let inode = root.create(&caller, name.as_bytes(), regular()).await?;
    write(&open(&inode).await, 0, b"x").await?;
    inode.sync().await?;
    root.unlink(name.as_bytes(), Removal::File).await
}

#[test]
fn a_journal_that_is_full_is_no_reason_not_to_unmount() {
    let Some(empty) = image(16, SMALL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    for rounds in (0..400).step_by(57) {
        let (mut engine, system) = mounted(&disk);
        drive(&mut engine, async {
            for number in 0..rounds {
                round(&system, number).await.unwrap();
            }
            system.sync().await.unwrap();
            assert_eq!(system.unmount().await, Ok(()), "{rounds} rounds");
        });
        assert_eq!(complaints(&disk.image()), None, "{rounds} rounds");
    }
}

/// A transaction is as large as one can be when it is committed, or nearly so.
#[test]
fn a_transaction_that_is_full_can_be_synced() {
    let Some(empty) = image(64, SMALL) else { return };
    let disk = Arc::new(RamDisk::new(&empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let mut number = 0;
        for files in (1..140u64).step_by(14) {
            for _ in 0..files {
                // Each adds its own block to the transaction.
                system.root().create(&caller, format!("{number}").as_bytes(), directory()).await.unwrap();
                number += 1;
            }
            assert_eq!(system.sync().await, Ok(()), "{files} files");
        }
        assert_eq!(system.unmount().await, Ok(()));
    });
    assert_eq!(complaints(&disk.image()), None);
}

/// Rounds in a journal that has been full, until the disk stops at its `stop`th request; answers what is on the medium then.
fn cut(empty: &[u8], stop: u64) -> Vec<u8> {
    let disk = Arc::new(RamDisk::new(empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        power::write_kept(&system).await.sync().await.unwrap();
        for number in 0..150 {
            round(&system, number).await.unwrap();
        }
        disk.fail_from(Some(stop));
        let mut number = 150;
        while round(&system, number).await.is_ok() {
            number += 1;
        }
        assert!(system.root().create(&caller(), b"more", regular()).await.is_err() || system.sync().await.is_err());
        assert!(system.unmount().await.is_err(), "nothing is clean that could not be written");
    });
    disk.image()
}

#[test]
fn a_power_cut_while_the_journal_is_emptied_loses_nothing() {
    let Some(empty) = image(16, SMALL) else { return };
    for stop in (0..60).chain([144, 233]) {
        let image = cut(&empty, stop);
        assert_eq!(repaired(&image).and_then(|image| complaints(&image)), None, "cut at {stop}");
        power::check_kept(&image, stop);
    }
}
