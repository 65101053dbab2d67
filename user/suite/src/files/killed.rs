//! What a process that is killed was doing to names: done, or not, by the time that its end is told.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_kernel;
use crate::place::Place;
use crate::process::{child, kill, sleep_ms, wait};
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use rt::abi::fs::{AT_FDCWD, AT_REMOVEDIR, O_CREAT, O_EXCL, O_RDWR};
use rt::abi::signal::SIGKILL;
use rt::{fs, thread};

pub const CASES: &[Case] = &[case!("files/disk/killed-while-names-change", "D14 P1", || killed(&Place::disk()?))];

fn path(place: &Place, name: &str) -> Result<(String, CString), Trouble> {
    let path = place.join(name);
    let name = CString::new(path.as_str()).map_err(|_| Trouble::failed("a name with a zero in it"))?;
    Ok((path, name))
}

/// Makes a directory and a file and takes them away, over and over.
fn changes(directory: &CString, file: &CString) -> i32 {
    loop {
        let _ = call!(MKDIRAT, AT_FDCWD, directory.as_ptr(), 0o700);
        if let Ok(fd) = call!(OPENAT, AT_FDCWD, file.as_ptr(), O_CREAT | O_EXCL | O_RDWR, 0o600) {
            let _ = call!(CLOSE, fd);
        }
        let _ = call!(UNLINKAT, AT_FDCWD, directory.as_ptr(), AT_REMOVEDIR);
        let _ = call!(UNLINKAT, AT_FDCWD, file.as_ptr(), 0);
    }
}

/// Keeps the file system busy.
fn writes(path: &str) -> i32 {
    loop {
        let done = fs::File::create(path).and_then(|file| file.write_at(&[1; 4096], 0).and_then(|_| file.sync_all()));
        if done.is_err() {
            return 1;
        }
    }
}

fn killed(place: &Place) -> Outcome {
    needs_kernel("kills")?;
    let ((directory, made), (file, created)) = (path(place, "directory")?, path(place, "file")?);
    let noise: Vec<i32> = (0..2)
        .map(|number| {
            let path = place.join(&format!("noise-{number}"));
            child(move || writes(&path))
        })
        .collect::<Result<_, _>>()?;
    // Both names are looked for in memory, not behind what is yet to be done.
    let there = || [fs::exists(&directory), fs::exists(&file)];
    let mut done = Ok(());
    for round in 0..40u64 {
        let pid = child(|| changes(&made, &created))?;
        thread::sleep(Duration::from_micros(500 + round * 173));
        kill(pid, SIGKILL)?;
        wait(pid)?;
        let before = there();
        sleep_ms(5);
        let after = there();
        if after != before {
            done = Err(Trouble::failed(format_args!("{before:?} became {after:?} in round {round}")));
            break;
        }
    }
    for pid in noise {
        kill(pid, SIGKILL)?;
        wait(pid)?;
    }
    done
}
