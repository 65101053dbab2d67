//! The power goes: what was synced is there after the journal's replay, and the medium is sound.

use super::*;

/// Makes the file that is synced before the cut.
pub(super) async fn write_kept(system: &Arc<Ext4>) -> Arc<dyn Inode> {
    let kept = system.root().create(&caller(), b"kept", regular()).await.unwrap();
    write(&open(&kept).await, 0, &pattern(1, 50_000)).await.unwrap();
    kept
}

/// That file is on the medium after a cut at the `stop`th request, which is sound behind the mount.
pub(super) fn check_kept(image: &[u8], stop: u64) {
    let disk = Arc::new(RamDisk::new(image));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let kept = system.root().lookup(b"kept").await.unwrap();
        assert!(read(&open(&kept).await, 0, 100_000).await.unwrap() == pattern(1, 50_000), "cut at {stop}");
        system.unmount().await.unwrap();
    });
    assert_eq!(complaints(&disk.image()), None, "cut at {stop}");
}

/// Writes after a sync until the disk stops at its `stop`th request; answers what is on the medium then.
fn cut(empty: &[u8], stop: u64) -> Vec<u8> {
    let disk = Arc::new(RamDisk::new(empty));
    let (mut engine, system) = mounted(&disk);
    drive(&mut engine, async {
        let caller = caller();
        let root = system.root();
        write_kept(&system).await;
        // As `sync` does: all of the file system, by any inode of it.
        root.sync_all().await.unwrap();
        disk.fail_from(Some(stop));
        for number in 0..20u64 {
            let Ok(inode) = root.create(&caller, format!("late-{number}").as_bytes(), regular()).await else { break };
            let _ = write(&open(&inode).await, 0, &pattern(number, 9_000)).await;
            let _ = inode.sync().await;
            if number % 3 == 2 {
                let name = format!("late-{}", number - 1);
                let _ = root.unlink(name.as_bytes(), Removal::File).await;
            }
        }
    });
    disk.image()
}

#[test]
fn a_power_cut_loses_nothing_that_was_synced() {
    let Some(empty) = image(16, &[]) else { return };
    for stop in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144] {
        check_kept(&cut(&empty, stop), stop);
    }
}
