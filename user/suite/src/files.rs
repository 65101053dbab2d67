//! Files and directories. Most cases run twice: on the disk's file system and on tmpfs.

pub mod attributes;
pub mod descriptors;
pub mod direct;
pub mod killed;
pub mod locks;
pub mod synced;

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_root;
use crate::place::Place;
use crate::process::{PAGE, RW, checked_child, child, exits, map};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rt::abi::fs::AT_FDCWD;
use rt::abi::stat::{STATX_BASIC_STATS, STATX_BTIME, Statx};
use rt::abi::time::{CLOCK_REALTIME, Timespec};
use rt::fs::{self, File, OpenOptions};
use rt::io::{Read, Write};
use rt::raw;

pub const CASES: &[Case] = &[
    case!("files/disk/write-and-read", "D18 D3", || write_and_read(&Place::disk()?)),
    case!("files/memory/write-and-read", "D18 D3", || write_and_read(&Place::memory()?)),
    case!("files/disk/untouched-memory", "D18 D15", || untouched_memory(&Place::disk()?)),
    case!("files/memory/untouched-memory", "D18 D15", || untouched_memory(&Place::memory()?)),
    case!("files/disk/append", "D18", || append(&Place::disk()?)),
    case!("files/memory/append", "D18", || append(&Place::memory()?)),
    case!("files/disk/truncate", "D18", || truncate(&Place::disk()?)),
    case!("files/memory/truncate", "D18", || truncate(&Place::memory()?)),
    case!("files/disk/time-of-creation", "D18 D3", || time_of_creation(&Place::disk()?)),
    case!("files/memory/time-of-creation", "D18 D3", || time_of_creation(&Place::memory()?)),
    case!("files/disk/rename", "D18", || rename(&Place::disk()?)),
    case!("files/memory/rename", "D18", || rename(&Place::memory()?)),
    case!("files/disk/unlinked-but-open", "D18", || unlinked_but_open(&Place::disk()?)),
    case!("files/memory/unlinked-but-open", "D18", || unlinked_but_open(&Place::memory()?)),
    case!("files/disk/hard-links", "D18", || hard_links(&Place::disk()?)),
    case!("files/memory/hard-links", "D18", || hard_links(&Place::memory()?)),
    case!("files/disk/symbolic-links", "D18", || symbolic_links(&Place::disk()?)),
    case!("files/memory/symbolic-links", "D18", || symbolic_links(&Place::memory()?)),
    case!("files/disk/directories", "D18", || directories(&Place::disk()?)),
    case!("files/memory/directories", "D18", || directories(&Place::memory()?)),
    case!("files/disk/big-directory", "D18", || big_directory(&Place::disk()?)),
    case!("files/memory/big-directory", "D18", || big_directory(&Place::memory()?)),
    case!("files/disk/exclusive", "D18", || exclusive(&Place::disk()?)),
    case!("files/memory/exclusive", "D18", || exclusive(&Place::memory()?)),
    case!("files/disk/long-names", "E1", || long_names(&Place::disk()?)),
    case!("files/memory/long-names", "E1", || long_names(&Place::memory()?)),
    case!("files/disk/sparse", "D18", || sparse(&Place::disk()?)),
    case!("files/memory/sparse", "D18", || sparse(&Place::memory()?)),
    case!("files/disk/big", "D18", || big(&Place::disk()?)),
    case!("files/memory/big", "D18", || big(&Place::memory()?)),
    case!("files/disk/errors", "E1", || errors(&Place::disk()?)),
    case!("files/memory/errors", "E1", || errors(&Place::memory()?)),
    case!("files/disk/concurrent-append", "G1 D18", || concurrent_append(&Place::disk()?)),
    case!("files/memory/concurrent-append", "G1 D18", || concurrent_append(&Place::memory()?)),
    case!("files/disk/permissions", "E1", || permissions(&Place::disk()?)),
    case!("files/memory/permissions", "E1", || permissions(&Place::memory()?)),
    case!("files/disk/metadata", "D3", || metadata(&Place::disk()?)),
    case!("files/memory/metadata", "D3", || metadata(&Place::memory()?)),
    case!("files/disk/churn", "G1 D18", || churn(&Place::disk()?)),
    case!("files/memory/churn", "G1 D18", || churn(&Place::memory()?)),
    case!("files/between-file-systems", "E1", between_file_systems),
];

/// Bytes that differ from page to page and byte to byte.
pub fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|index| (index ^ (index >> 8).wrapping_mul(131) ^ (index >> 16)) as u8).collect()
}

/// Of `struct statx`, asked for `wanted`: what it has, and the times of creation and of the last change.
fn statx(path: &str, wanted: u32) -> Result<(u32, [u64; 2], [u64; 2]), Trouble> {
    let path = alloc::ffi::CString::new(path).map_err(Trouble::failed)?;
    let mut found = [0u8; size_of::<Statx>()];
    call!(STATX, AT_FDCWD, path.as_ptr(), 0, wanted, found.as_mut_ptr())?;
    let number = |at: usize| u64::from_le_bytes(found[at..at + 8].try_into().unwrap_or_default());
    let time = |at: usize| [number(at), number(at + 8) & u64::from(u32::MAX)];
    Ok((number(0) as u32, time(80), time(112)))
}

/// It stays what it was, and is told to who asks for it.
fn time_of_creation(place: &Place) -> Outcome {
    let path = place.join("created");
    let now = || {
        let mut now = Timespec::default();
        call!(CLOCK_GETTIME, CLOCK_REALTIME, &raw mut now).map(|_| core::hint::black_box(now).sec as u64)
    };
    let before = now()?;
    fs::write(&path, b"one")?;
    let (has, created, _) = statx(&path, STATX_BASIC_STATS | STATX_BTIME)?;
    ensure!(has & STATX_BTIME != 0, "it is not told: {has:#x}");
    ensure!((before..=now()?).contains(&created[0]), "{before}, {created:?}");
    crate::process::sleep_ms(1_100);
    fs::write(&path, b"two")?;
    fs::set_permissions(&path, 0o600)?;
    let (_, later, changed) = statx(&path, STATX_BTIME)?;
    equal!(later, created);
    ensure!(changed[0] > created[0], "it was not written: {changed:?}");
    equal!(statx(&path, STATX_BASIC_STATS)?.0 & STATX_BTIME, 0);
    Ok(())
}

fn write_and_read(place: &Place) -> Outcome {
    let path = place.join("file");
    for len in [0, 1, 100, 4095, 4096, 4097, 20_000] {
        fs::write(&path, pattern(0, len))?;
        equal!(fs::metadata(&path)?.size(), len as u64);
        ensure!(fs::read(&path)? == pattern(0, len), "{len} bytes came back changed");
    }
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    file.seek(5000)?;
    file.write_all(b"hello")?;
    file.sync_all()?;
    let mut expected = pattern(0, 20_000);
    expected[5000..5005].copy_from_slice(b"hello");
    ensure!(fs::read(&path)? == expected);
    Ok(())
}

/// Memory that is made when it is touched makes no call shorter.
fn untouched_memory(place: &Place) -> Outcome {
    let path = place.join("file");
    fs::write(&path, pattern(0, 3 * PAGE))?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let memory = map(4 * PAGE, RW)?;
    raw::store8(memory, 1);
    equal!(call!(READ, file.fd().raw(), memory + 100, 3 * PAGE), Ok(3 * PAGE));
    ensure!(raw::bytes(memory + 100, 3 * PAGE) == pattern(0, 3 * PAGE));
    let memory = map(2 * PAGE, RW)?;
    raw::bytes(memory, PAGE).fill(7);
    equal!(call!(WRITE, file.fd().raw(), memory + 1000, PAGE), Ok(PAGE));
    let written = fs::read(&path)?;
    equal!(written.len(), 4 * PAGE);
    ensure!(written[3 * PAGE..4 * PAGE - 1000].iter().all(|byte| *byte == 7));
    ensure!(written[4 * PAGE - 1000..].iter().all(|byte| *byte == 0));
    Ok(())
}

fn append(place: &Place) -> Outcome {
    let path = place.join("log");
    let open = || OpenOptions::new().append(true).create(true).open(&path);
    open()?.write_all(b"one")?;
    let mut file = open()?;
    file.seek(0)?;
    file.write_all(b" two")?;
    let mut other = open()?;
    other.write_all(b" three")?;
    file.write_all(b" four")?;
    equal!(fs::read_to_string(&path)?, "one two three four");
    Ok(())
}

fn truncate(place: &Place) -> Outcome {
    let path = place.join("file");
    fs::write(&path, pattern(1, 10_000))?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    file.set_len(5000)?;
    file.set_len(9000)?;
    let mut expected = pattern(1, 5000);
    expected.resize(9000, 0);
    ensure!(fs::read(&path)? == expected, "what was cut off came back");
    File::create(&path)?;
    equal!(fs::metadata(&path)?.size(), 0);
    fails!(file.set_len(u64::MAX), EINVAL);
    fails!(File::open(&path)?.set_len(0), EINVAL);
    Ok(())
}

fn rename(place: &Place) -> Outcome {
    let [a, b, dir] = ["a", "b", "dir"].map(|name| place.join(name));
    fs::write(&a, "A")?;
    fs::write(&b, "B")?;
    fs::rename(&a, &b)?;
    equal!(fs::read_to_string(&b)?, "A");
    fails!(fs::metadata(&a), ENOENT);
    fs::create_dir(&dir)?;
    fs::rename(&b, &format!("{dir}/c"))?;
    equal!(fs::read_to_string(&format!("{dir}/c"))?, "A");
    fails!(fs::rename(&dir, &format!("{dir}/below")), EINVAL);
    fails!(fs::rename(&a, &b), ENOENT);
    fs::write(&a, "A")?;
    fails!(fs::rename(&a, &dir), EISDIR);
    fails!(fs::rename(&dir, &a), ENOTDIR);
    fs::create_dir(&b)?;
    fails!(fs::rename(&b, &dir), ENOTEMPTY);
    fs::rename(&dir, &b)?;
    equal!(fs::read_to_string(&format!("{b}/c"))?, "A");
    Ok(())
}

fn unlinked_but_open(place: &Place) -> Outcome {
    let path = place.join("file");
    fs::write(&path, pattern(3, 9000))?;
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    fs::remove_file(&path)?;
    fails!(File::open(&path), ENOENT);
    fs::write(&path, "another")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    ensure!(bytes == pattern(3, 9000));
    file.write_all(b"more")?;
    equal!((file.metadata()?.size(), file.metadata()?.stat().nlink), (9004, 0));
    Ok(())
}

fn hard_links(place: &Place) -> Outcome {
    let [a, b] = ["a", "b"].map(|name| place.join(name));
    fs::write(&a, "x")?;
    fs::hard_link(&a, &b)?;
    let (first, second) = (fs::metadata(&a)?, fs::metadata(&b)?);
    equal!((first.stat().ino, first.stat().nlink), (second.stat().ino, 2));
    fs::write(&b, "changed")?;
    equal!(fs::read_to_string(&a)?, "changed");
    fs::remove_file(&a)?;
    equal!(fs::metadata(&b)?.stat().nlink, 1);
    fails!(fs::hard_link(&a, &b), ENOENT);
    fs::create_dir(&a)?;
    fails!(fs::hard_link(&a, &place.join("c")), EPERM);
    fails!(fs::hard_link(&b, &a), EEXIST);
    Ok(())
}

fn symbolic_links(place: &Place) -> Outcome {
    let [file, link, dir, first, second] = ["file", "link", "dir", "first", "second"].map(|name| place.join(name));
    fs::write(&file, "text")?;
    fs::symlink("file", &link)?;
    equal!(fs::read_link(&link)?, "file");
    equal!(fs::read_to_string(&link)?, "text");
    ensure!(fs::symlink_metadata(&link)?.is_symlink() && fs::metadata(&link)?.is_file());
    fs::create_dir(&dir)?;
    fs::symlink("../link", &format!("{dir}/up"))?;
    equal!(fs::read_to_string(&format!("{dir}/up"))?, "text");
    fs::symlink("second", &first)?;
    fs::symlink("first", &second)?;
    fails!(File::open(&first), ELOOP);
    fails!(fs::read_link(&file), EINVAL);
    fails!(fs::symlink("x", &link), EEXIST);
    fs::remove_file(&file)?;
    fails!(File::open(&link), ENOENT);
    let nofollow = OpenOptions::new().read(true).custom_flags(rt::abi::fs::O_NOFOLLOW).open(&link);
    fails!(nofollow, ELOOP);
    // A long one does not fit where a short one does.
    let long = "l/".repeat(300);
    fs::symlink(&long, &file)?;
    equal!(fs::read_link(&file)?, long);
    Ok(())
}

fn directories(place: &Place) -> Outcome {
    let path = place.join("a/b/c/d");
    fs::create_dir_all(&path)?;
    fs::write(&format!("{path}/file"), "x")?;
    fails!(fs::remove_dir(&path), ENOTEMPTY);
    fails!(fs::create_dir(&path), EEXIST);
    fails!(fs::remove_file(&path), EISDIR);
    fails!(fs::remove_dir(&format!("{path}/file")), ENOTDIR);
    equal!(fs::read_to_string(&format!("{path}/../d/.//file"))?, "x");
    fails!(fs::metadata(&format!("{path}/file/")), ENOTDIR);
    equal!(fs::metadata(&place.join("a"))?.stat().nlink, 3);
    let mut byte = [0];
    fails!(File::open(&path)?.read(&mut byte), EISDIR);
    fails!(OpenOptions::new().write(true).open(&path), EISDIR);
    let entries = fs::read_dir(&place.join("a"))?;
    ensure!(entries.len() == 1 && entries[0].name == "b" && entries[0].is_dir());
    fs::remove_dir_all(&place.join("a"))?;
    fails!(fs::metadata(&place.join("a")), ENOENT);
    Ok(())
}

fn big_directory(place: &Place) -> Outcome {
    let dir = place.join("big");
    fs::create_dir(&dir)?;
    for number in 0..400 {
        File::create(&format!("{dir}/a file with a name of some length {number}"))?;
    }
    let numbers = |dir: &str| -> Result<Vec<u32>, Trouble> {
        let entries = fs::read_dir(dir)?;
        let number = |name: &str| name.rsplit(' ').next().and_then(|word| word.parse().ok());
        let mut numbers: Vec<u32> = entries.iter().filter_map(|entry| number(&entry.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    };
    ensure!(numbers(&dir)?.into_iter().eq(0..400), "entries are missing, or there twice");
    for number in (0..400).step_by(2) {
        fs::remove_file(&format!("{dir}/a file with a name of some length {number}"))?;
    }
    ensure!(numbers(&dir)?.into_iter().eq((1..400).step_by(2)));
    Ok(())
}

fn exclusive(place: &Place) -> Outcome {
    let path = place.join("lock");
    let create = || OpenOptions::new().write(true).create_new(true).open(&path);
    let mut pids = Vec::new();
    for _ in 0..8 {
        pids.push(child(|| i32::from(create().is_ok()))?);
    }
    let mut winners = 0;
    for pid in pids {
        match crate::process::wait(pid)? {
            rt::abi::process::WaitStatus::Exited(code) => winners += u32::from(code),
            other => ensure!(false, "{other:?}"),
        }
    }
    equal!(winners, 1);
    fails!(create(), EEXIST);
    fs::symlink("nowhere", &place.join("link"))?;
    let through = OpenOptions::new().write(true).create_new(true).open(&place.join("link"));
    fails!(through, EEXIST);
    Ok(())
}

fn long_names(place: &Place) -> Outcome {
    let longest = "n".repeat(255);
    fs::write(&place.join(&longest), "x")?;
    equal!(fs::read_to_string(&place.join(&longest))?, "x");
    fails!(fs::write(&place.join(&"n".repeat(256)), "x"), ENAMETOOLONG);
    fails!(fs::metadata(&"/.".repeat(3000)), ENAMETOOLONG);
    let long_path = format!("{}/{}{longest}", place.path(), "./".repeat(1700));
    equal!(fs::read_to_string(&long_path)?, "x");
    let odd = place.join("ü \t*?\\\"'$\u{1f980}");
    fs::write(&odd, "y")?;
    ensure!(fs::read_dir(place.path())?.iter().any(|entry| odd.ends_with(&entry.name)));
    Ok(())
}

fn sparse(place: &Place) -> Outcome {
    let path = place.join("sparse");
    let file = OpenOptions::new().read(true).write(true).create(true).open(&path)?;
    let far = 64 << 20;
    file.write_at(b"end", far)?;
    equal!(file.metadata()?.size(), far + 3);
    ensure!(file.metadata()?.stat().blocks * 512 < 1 << 20, "a hole takes room");
    let mut bytes = [1; 5000];
    equal!(file.read_at(&mut bytes, far - 4990)?, 4993);
    ensure!(bytes[..4990].iter().all(|byte| *byte == 0) && &bytes[4990..4993] == b"end");
    equal!(file.read_at(&mut bytes, far + 3)?, 0);
    Ok(())
}

fn big(place: &Place) -> Outcome {
    let path = place.join("big");
    let (chunk, count) = (50_000, 80);
    let mut file = File::create(&path)?;
    for index in 0..count {
        file.write_all(&pattern(index * chunk, chunk))?;
    }
    file.sync_all()?;
    let mut file = File::open(&path)?;
    let mut bytes = alloc::vec![0; chunk];
    for index in 0..count {
        file.read_exact(&mut bytes)?;
        ensure!(bytes == pattern(index * chunk, chunk), "chunk {index} came back changed");
    }
    equal!(file.read(&mut bytes)?, 0);
    Ok(())
}

fn errors(place: &Place) -> Outcome {
    let path = place.join("file");
    fails!(File::open(&path), ENOENT);
    fails!(File::create(&place.join("no/file")), ENOENT);
    fs::write(&path, "x")?;
    fails!(File::open(&format!("{path}/below")), ENOTDIR);
    fails!(fs::create_dir(&path), EEXIST);
    fails!(fs::read_dir(&path), ENOTDIR);
    fails!(File::open(&path)?.write(b"x"), EBADF);
    fails!(File::create(&path)?.read(&mut [0]), EBADF);
    fails!(fs::remove_dir(place.path()), ENOTEMPTY);
    fails!(fs::remove_file(&place.join("missing")), ENOENT);
    fails!(File::open(""), ENOENT);
    fails!(File::create(&place.join("slash/")), EISDIR);
    Ok(())
}

/// Four writers, one file: every line is whole and there once.
fn concurrent_append(place: &Place) -> Outcome {
    let path = place.join("log");
    File::create(&path)?;
    let mut pids = Vec::new();
    for writer in 0..4 {
        let path = &path;
        pids.push(checked_child(move || {
            let mut file = OpenOptions::new().append(true).open(path)?;
            for line in 0..100 {
                file.write_all(format!("writer {writer} line {line:03}\n").as_bytes())?;
            }
            Ok(())
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    let text = fs::read_to_string(&path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..400).map(|n| format!("writer {} line {:03}", n / 100, n % 100)).collect();
    ensure!(lines == expected, "{} lines, of which some are torn or lost", lines.len());
    Ok(())
}

fn permissions(place: &Place) -> Outcome {
    needs_root()?;
    let [private, shared] = ["private", "shared"].map(|name| place.join(name));
    fs::write(&private, "secret")?;
    fs::set_permissions(&private, 0o600)?;
    fs::write(&shared, "text")?;
    fs::set_permissions(&shared, 0o644)?;
    fs::set_permissions(place.path(), 0o755)?;
    // The place must be reachable for others, which /root need not be: so relative to it.
    let pid = checked_child(|| {
        rt::env::set_current_dir(place.path())?;
        call!(SETGID, 65534)?;
        call!(SETUID, 65534)?;
        fails!(File::open("private"), EACCES);
        equal!(fs::read_to_string("shared")?, "text");
        fails!(OpenOptions::new().write(true).open("shared"), EACCES);
        fails!(File::create("new"), EACCES);
        fails!(fs::remove_file("shared"), EACCES);
        fails!(fs::set_permissions("shared", 0o777), EPERM);
        fails!(call!(SETUID, 0), EPERM);
        Ok(())
    })?;
    exits(pid, 0)
}

fn metadata(place: &Place) -> Outcome {
    let path = place.join("file");
    fs::write(&path, pattern(0, 5000))?;
    fs::set_permissions(&path, 0o640)?;
    let before = fs::metadata(&path)?;
    equal!((before.size(), before.stat().mode & 0o7777, before.stat().nlink), (5000, 0o640, 1));
    ensure!(before.stat().blocks >= 10 && before.stat().blksize >= 512);
    ensure!(before.mtime() > 1_500_000_000, "changed in {} after 1970", before.mtime());
    let times = [5i64, 0, 7, 0];
    let name = alloc::ffi::CString::new(path.as_str()).map_err(Trouble::failed)?;
    call!(UTIMENSAT, rt::abi::fs::AT_FDCWD, name.as_ptr(), times.as_ptr(), 0)?;
    equal!((fs::metadata(&path)?.stat().atime, fs::metadata(&path)?.mtime()), (5, 7));
    fs::write(&path, "x")?;
    ensure!(fs::metadata(&path)?.mtime() >= before.mtime());
    let statfs = fs::statfs(&path)?;
    ensure!(statfs.bsize > 0 && statfs.bfree <= statfs.blocks && statfs.namelen == 255, "{statfs:?}");
    Ok(())
}

/// Processes that make and remove the same names do not disturb one another beyond what is said.
fn churn(place: &Place) -> Outcome {
    let mut pids = Vec::new();
    for worker in 0..4usize {
        pids.push(checked_child(move || {
            for round in 0..60 {
                let name = place.join(&format!("n{}", (round * 7 + worker) % 5));
                let other = place.join(&format!("n{}", (round * 3 + worker) % 5));
                for result in [fs::write(&name, "text"), fs::rename(&name, &other), fs::remove_file(&other)] {
                    let expected =
                        result.as_ref().map_or_else(|error| error.kind() == rt::io::ErrorKind::NotFound, |()| true);
                    ensure!(expected, "{result:?}");
                }
            }
            Ok(())
        })?);
    }
    for pid in pids {
        exits(pid, 0)?;
    }
    for number in 0..5 {
        let _ = fs::remove_file(&place.join(&format!("n{number}")));
    }
    equal!(fs::read_dir(place.path())?.len(), 0);
    Ok(())
}

fn between_file_systems() -> Outcome {
    let (disk, memory) = (Place::disk()?, Place::memory()?);
    fs::write(&disk.join("a"), "x")?;
    fails!(fs::rename(&disk.join("a"), &memory.join("a")), EXDEV);
    fails!(fs::hard_link(&disk.join("a"), &memory.join("a")), EXDEV);
    fs::symlink(&disk.join("a"), &memory.join("link"))?;
    equal!(fs::read_to_string(&memory.join("link"))?, "x");
    Ok(())
}
