//! Damaged disks: whatever the image says, the kernel must neither panic nor hang.
//!
//! The root file system is damaged in a few places, each time in a fresh copy; the shell is then asked to
//! read and write. It may fail, and it may fail to start, but with a word about it, and the machine ends.

use super::guest::machine;
use super::{Context, HANG_LIMIT, Tally};
use crate::console::{Ending, Session, Wire};
use anyhow::Result;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: u64 = 4096;
const SCRIPT: &[u8] =
    b"ls -l / /bin /etc\ncat /etc/hostname\necho text > /root/new\ncat /root/new\nmkdir /root/d\nrm /root/new\n";

/// Name, first byte and length of what is overwritten. A 4-KiB file system has its superblock at byte 1024,
/// group descriptors in block 1, then reserved descriptors, bitmaps, the inode table, and directories.
const DAMAGES: [(&str, u64, usize); 7] = [
    ("nothing", 0, 0),
    ("superblock", 1024, 1024),
    ("block and inode counts", 1024, 32),
    ("block size", 1024 + 24, 4),
    ("group descriptors", BLOCK, 4096),
    ("bitmaps", 20 * BLOCK, 40 * 4096),
    ("inode table", 60 * BLOCK, 200 * 4096),
];

/// Boots from each damaged disk.
pub fn damage(context: &Context) -> Result<Tally> {
    let (machine, emulator, disk) = machine(&context.project, &context.toolchain, "damage", None)?;
    let intact = disk.with_extension("intact");
    std::fs::rename(&disk, &intact)?;
    let mut tally = Tally::default();
    for (name, start, length) in DAMAGES {
        std::fs::copy(&intact, &disk)?;
        overwrite(&disk, start, length)?;
        let mut session = Session::start(machine.start(&emulator), Wire::Mux)?;
        session.input().send(SCRIPT);
        session.input().end();
        let mut said = Vec::new();
        let ending = session.drain(Some(HANG_LIMIT), |_, bytes| said.extend_from_slice(bytes));
        let said = String::from_utf8_lossy(&said);
        // A disk that cannot be mounted is refused with a word, and the machine goes off without a program's status.
        let ended = match &ending {
            Ending::Exited(_) => true,
            Ending::Died(_) => said.contains("error: cannot mount the disk"),
            Ending::Hung | Ending::Quit => false,
        };
        let holds = ended && !said.contains("panicked at");
        if !holds {
            eprintln!("{said}");
        }
        tally += Tally::named(holds, || format!("damaged {name}: {ending:?}"));
    }
    for image in [disk, intact] {
        let _ = std::fs::remove_file(image);
    }
    Ok(tally)
}

/// Overwrites a stretch with bytes that repeat from run to run but look like anything.
fn overwrite(disk: &Path, start: u64, length: usize) -> Result<()> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ start;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let bytes: Vec<u8> = (0..length).map(byte).collect();
    OpenOptions::new().write(true).open(disk)?.write_all_at(&bytes, start)?;
    Ok(())
}
