//! `/proc`, and system calls that do not exist.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::{needs_asyncos, needs_kernel};
use alloc::format;
use alloc::string::ToString;
use rt::abi::Errno;
use rt::{fs, process, system};

pub const CASES: &[Case] = &[
    case!("proc/meminfo", "D13", meminfo),
    case!("proc/own-directory", "D16", own_directory),
    case!("proc/maps", "D15", maps),
    case!("proc/processes", "D16", processes),
    case!("proc/system", "D16", system_files),
    case!("proc/read-only", "E1", read_only),
    case!("calls/unknown", "E1 D3", unknown),
    case!("calls/unknown-are-counted", "D3 D16", unknown_are_counted),
    case!("calls/names", "D3", names),
];

fn meminfo() -> Outcome {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let (Some(total), Some(free)) = (kib("MemTotal"), kib("MemFree")) else {
        return Err(Trouble::failed(format!("no MemTotal or MemFree: {text}")));
    };
    ensure!(free > 0 && free <= total, "{free} KiB free of {total}");
    let info = system::sysinfo()?;
    let by_call = (info.totalram * u64::from(info.mem_unit)) >> 10;
    ensure!(by_call.abs_diff(total) * 20 < total, "sysinfo says {by_call} KiB, /proc {total} KiB");
    Ok(())
}

fn own_directory() -> Outcome {
    needs_kernel("/proc/self")?;
    let stat = fs::read_to_string("/proc/self/stat")?;
    equal!(stat.split(' ').next(), Some(process::id().to_string().as_str()));
    let after = stat.rsplit(") ").next().unwrap_or_default();
    equal!(after.split(' ').nth(1), Some(process::parent_id().to_string().as_str()));
    let status = fs::read_to_string(&format!("/proc/{}/status", process::id()))?;
    ensure!(status.lines().any(|line| line.split_whitespace().eq(["Pid:", &process::id().to_string()])), "{status}");
    fails!(fs::read("/proc/999999999/stat"), ENOENT);
    Ok(())
}

/// A mapping shows up with its rights, and goes.
fn maps() -> Outcome {
    let page = crate::process::map(4096 * 3, crate::process::RW)?;
    call!(MPROTECT, page, 4096 * 3, rt::abi::mm::PROT_READ)?;
    let line = format!("{page:08x}-{:08x} r--p", page + 4096 * 3);
    let text = fs::read_to_string("/proc/self/maps")?;
    ensure!(text.lines().any(|found| found.starts_with(&line)), "no line {line} in {text}");
    ensure!(text.lines().all(|line| !line.contains("rwx")), "memory that is writable and executable: {text}");
    crate::process::unmap(page, 4096 * 3)?;
    ensure!(!fs::read_to_string("/proc/self/maps")?.contains(&line));
    // The program's own file, by name and number.
    let number = fs::metadata("/proc/self/exe")?.stat().ino.to_string();
    let of_file = |line: &str| line.split_whitespace().nth(4) == Some(&number) && line.ends_with("/suite");
    ensure!(text.lines().any(of_file), "no line with file {number} in {text}");
    let status = fs::read_to_string("/proc/self/status")?;
    let size = |name: &str| -> Option<usize> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    ensure!(size("VmPeak:") >= size("VmSize:") && size("VmHWM:") >= size("VmRSS:"), "{status}");
    ensure!(size("VmRSS:") > Some(0), "{status}");
    Ok(())
}

fn processes() -> Outcome {
    let (read, write) = rt::pipe::pipe()?;
    let pid = crate::process::child(|| {
        let mut read = read;
        i32::from(rt::io::Read::read(&mut read, &mut [0]).is_err())
    })?;
    let listed =
        || -> Result<bool, Trouble> { Ok(fs::read_dir("/proc")?.iter().any(|entry| entry.name == pid.to_string())) };
    ensure!(listed()?, "a process is not in /proc");
    let mut write = write;
    rt::io::Write::write_all(&mut write, &[1])?;
    crate::process::exits(pid, 0)?;
    ensure!(!listed()?, "a process that is gone is in /proc");
    Ok(())
}

fn system_files() -> Outcome {
    let uptime = fs::read_to_string("/proc/uptime")?;
    ensure!(uptime.split(' ').next().is_some_and(|word| word.contains('.')), "{uptime}");
    let mounts = fs::read_to_string("/proc/mounts")?;
    ensure!(mounts.lines().any(|line| line.split(' ').nth(1) == Some("/proc")), "{mounts}");
    ensure!(fs::read_to_string("/proc/version")?.contains(&system::uname()?.sysname));
    ensure!(fs::read_to_string("/proc/cpuinfo")?.contains("hart"));
    ensure!(fs::read_to_string("/proc/stat")?.starts_with("cpu"));
    equal!(system::uname()?.machine, "riscv64");
    Ok(())
}

fn read_only() -> Outcome {
    ensure!(fs::File::create("/proc/new").is_err());
    ensure!(fs::remove_file("/proc/meminfo").is_err());
    ensure!(fs::create_dir("/proc/dir").is_err());
    Ok(())
}

fn unknown() -> Outcome {
    for number in [244, 300, 423, 1000, 0xfff, 0x1fff, usize::MAX, 1 << 40, i32::MIN as usize] {
        equal!(crate::process::call(number, &[0; 6]), Err(Errno::ENOSYS));
    }
    Ok(())
}

/// Lines of the file: number, name or `-`, count.
fn unknown_are_counted() -> Outcome {
    needs_asyncos()?;
    let count = |number: usize| -> Result<u64, Trouble> {
        let text = fs::read_to_string("/proc/asyncos/syscalls")?;
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(number.to_string().as_str()));
        Ok(line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0))
    };
    let before = count(300)?;
    for _ in 0..3 {
        equal!(crate::process::call(300, &[0; 6]), Err(Errno::ENOSYS));
    }
    equal!(count(300)?, before + 3);
    Ok(())
}

fn names() -> Outcome {
    let names = system::uname()?;
    ensure!([&names.sysname, &names.nodename, &names.release, &names.version].iter().all(|name| !name.is_empty()));
    Ok(())
}
