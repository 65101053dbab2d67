//! The machine and the system as a whole: names, memory figures, random bytes, power.

use crate::{
    arguments::{Args, only},
    context::Task,
};
use abi::{
    errno::Errno,
    mm::{GRND_INSECURE, GRND_NONBLOCK, GRND_RANDOM},
    process as p,
};
use hal::PAGE_SIZE;
use zerocopy::FromZeros;

/// The release that `uname` reports: programs compare it with the Linux version whose calls they want.
const RELEASE: &str = "6.12.0-asyncos";
/// Random bytes made at a time.
const CHUNK: usize = 256;

fn fill(field: &mut [u8; 65], text: &str) {
    for (to, from) in field.iter_mut().zip(text.bytes().take(64)) {
        *to = from;
    }
}

/// `uname(buffer)`.
pub(crate) async fn uname(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let mut name = p::Utsname::new_zeroed();
    fill(&mut name.sysname, "Linux");
    fill(&mut name.nodename, "asyncos");
    fill(&mut name.release, RELEASE);
    fill(&mut name.version, concat!("AsyncOS ", env!("CARGO_PKG_VERSION")));
    fill(&mut name.machine, "riscv64");
    fill(&mut name.domainname, "(none)");
    task.space().put(args.word(0), &name).await.map(|()| 0)
}

/// `sysinfo(buffer)`.
pub(crate) async fn sysinfo(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let frames = hal::frame::stats();
    let mut info = p::Sysinfo::new_zeroed();
    info.uptime = (hal::time::now() / 1_000_000_000) as i64;
    info.totalram = (frames.total * PAGE_SIZE) as u64;
    info.freeram = (frames.free * PAGE_SIZE) as u64;
    info.procs = process::table::thread_count().min(u16::MAX.into()) as u16;
    info.mem_unit = 1;
    task.space().put(args.word(0), &info).await.map(|()| 0)
}

/// `getrandom(buffer, len, flags)`.
pub(crate) async fn getrandom(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    let flags = args.bits(2);
    only(flags, GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)?;
    if flags & GRND_RANDOM != 0 && flags & GRND_INSECURE != 0 {
        return Err(Errno::EINVAL);
    }
    let (addr, len) = (args.word(0), args.count(1));
    let mut bytes = [0; CHUNK];
    let mut done = 0;
    while done < len {
        let piece = &mut bytes[..CHUNK.min(len - done)];
        task.system.random.fill(piece);
        match task.space().copy_out(addr.wrapping_add(done), piece).await {
            Ok(()) => done += piece.len(),
            Err(errno) => return if done > 0 { Ok(done) } else { Err(errno) },
        }
        if done.is_multiple_of(64 * CHUNK) {
            exec::yield_now().await;
        }
    }
    Ok(done)
}

/// `reboot(magic, magic2, command)`.
pub(crate) async fn reboot(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if task.caller().credentials.uid != 0 {
        return Err(Errno::EPERM);
    }
    if args.bits(0) != p::LINUX_REBOOT_MAGIC1 || args.bits(1) != p::LINUX_REBOOT_MAGIC2 {
        return Err(Errno::EINVAL);
    }
    match args.bits(2) {
        p::LINUX_REBOOT_CMD_POWER_OFF | p::LINUX_REBOOT_CMD_HALT | p::LINUX_REBOOT_CMD_RESTART => {
            crate::paths::sync(task).await?;
            (task.system.power_off)();
            core::future::pending().await
        }
        p::LINUX_REBOOT_CMD_CAD_ON | p::LINUX_REBOOT_CMD_CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// `syslog(action, buffer, len)`: reading the kernel's log.
pub(crate) async fn syslog(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    /// Action numbers of syslog(2).
    const READ_ALL: u32 = 3;
    const CONSOLE_LEVEL: u32 = 8;
    const SIZE_BUFFER: u32 = 10;
    match args.bits(0) {
        READ_ALL => {
            let len = usize::try_from(args.int(2)).map_err(|_| Errno::EINVAL)?;
            let text = task.system.log.text();
            let tail = &text[text.len() - len.min(text.len())..];
            task.space().copy_out(args.word(1), tail).await?;
            Ok(tail.len())
        }
        0 | 1 | 6 | 7 | CONSOLE_LEVEL => Ok(0),
        9 => Ok(0),
        SIZE_BUFFER => Ok(task.system.log.text().len()),
        _ => Err(Errno::EINVAL),
    }
}

/// `getcpu(cpu, node)`.
pub(crate) async fn getcpu(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    if args.word(0) != 0 {
        task.space().put(args.word(0), &(hal::hart::id() as u32)).await?;
    }
    if args.word(1) != 0 {
        task.space().put(args.word(1), &0u32).await?;
    }
    Ok(0)
}

/// `riscv_hwprobe(pairs, count, cpu_count, cpus, flags)`: every key is unknown.
pub(crate) async fn hwprobe(task: &Task<'_>, args: &Args) -> Result<usize, Errno> {
    /// Most pairs that are looked at; there are far fewer keys.
    const MOST: usize = 64;
    if args.word(4) != 0 || args.word(1) > MOST {
        return Err(Errno::EINVAL);
    }
    for index in 0..args.word(1) {
        // A pair of a key and a value; -1 as the key says that it is not known.
        task.space().put(args.word(0).wrapping_add(index * 16), &[-1i64, 0]).await?;
    }
    Ok(0)
}
