//! `openat2`, as a call and as an entry.

use super::calls::{call_of, one};
use super::*;
use core::ffi::CStr;
use rt::abi::fs::*;

pub const CASES: &[Case] =
    &[case!("ring/opens-within-bounds", "C4 D3 E1", within_bounds), case!("ring/wrong-bounds", "C4 D3 E1", wrong)];

const ELOOP: i32 = -40;
const EXDEV: i32 = -18;
const E2BIG: i32 = -7;
const ENOENT: i32 = -2;
const EAGAIN: i32 = -11;

/// Opens a path by call and by entry, which answer the same; closes what that opened, and says 0.
fn opens(ring: &mut Ring, dir: i32, path: &CStr, how: &OpenHow, size: usize) -> Result<i32, Trouble> {
    let called = match call!(OPENAT2, dir, path.as_ptr(), &raw const *how, size) {
        Ok(fd) => fd as i32,
        Err(errno) => -errno.number(),
    };
    let (addr, off) = (path.as_ptr() as u64, &raw const *how as u64);
    let entry = Sqe { addr, off, len: size as u32, ..call_of(IORING_OP_OPENAT2, dir) };
    let asked = one(ring, entry)?;
    for fd in [called, asked].into_iter().filter(|fd| *fd >= 0) {
        call!(CLOSE, fd)?;
    }
    equal!(called.min(0), asked.min(0));
    Ok(asked.min(0))
}

fn within(ring: &mut Ring, dir: i32, path: &CStr, resolve: u32) -> Result<i32, Trouble> {
    let how = OpenHow { flags: O_RDONLY.into(), mode: 0, resolve: resolve.into() };
    opens(ring, dir, path, &how, size_of::<OpenHow>())
}

fn within_bounds() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ring = &mut ring;
    let _ = rt::fs::remove_dir_all("/tmp/ring-bounds");
    rt::fs::create_dir_all("/tmp/ring-bounds/dir/below")?;
    drop(rt::fs::File::create("/tmp/ring-bounds/dir/file")?);
    drop(rt::fs::File::create("/tmp/ring-bounds/outside")?);
    for (link, to) in [(c"near", c"file"), (c"far", c"../outside"), (c"absolute", c"/tmp/ring-bounds/outside")] {
        let path = [b"/tmp/ring-bounds/dir/", link.to_bytes_with_nul()].concat();
        call!(SYMLINKAT, to.as_ptr(), AT_FDCWD, path.as_ptr())?;
    }
    let dir = raw::file(call!(OPENAT, AT_FDCWD, c"/tmp/ring-bounds/dir".as_ptr(), O_RDONLY | O_DIRECTORY)?);
    let fd = dir.fd().raw();
    let expected: [(&CStr, u32, i32); 21] = [
        (c"file", RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_CACHED, 0),
        (c"below/../file", RESOLVE_BENEATH, 0),
        (c"near", RESOLVE_BENEATH, 0),
        (c"near", RESOLVE_NO_MAGICLINKS, 0),
        (c"near", RESOLVE_NO_SYMLINKS, ELOOP),
        (c"far", 0, 0),
        (c"far", RESOLVE_BENEATH, EXDEV),
        (c"..", RESOLVE_BENEATH, EXDEV),
        (c"below/../../outside", RESOLVE_BENEATH, EXDEV),
        (c"/tmp", RESOLVE_BENEATH, EXDEV),
        (c"absolute", RESOLVE_BENEATH, EXDEV),
        // The directory is the root.
        (c"/file", RESOLVE_IN_ROOT, 0),
        (c"../../file", RESOLVE_IN_ROOT, 0),
        (c"far", RESOLVE_IN_ROOT, ENOENT),
        (c"absolute", RESOLVE_IN_ROOT, ENOENT),
        (c"/proc/self/stat", RESOLVE_IN_ROOT, ENOENT),
        (c"/proc/self/stat", RESOLVE_NO_MAGICLINKS, 0),
        (c"/proc/self/stat", RESOLVE_NO_SYMLINKS, ELOOP),
        (c"/proc/self/stat", RESOLVE_NO_XDEV, EXDEV),
        (c"/proc/self/cwd", RESOLVE_NO_MAGICLINKS, ELOOP),
        (c"/proc/self/cwd", 0, 0),
    ];
    for (path, resolve, result) in expected {
        let found = within(ring, fd, path, resolve)?;
        ensure!(found == result, "{found} of {path:?} {resolve:#x}");
    }
    let proc = raw::file(call!(OPENAT, AT_FDCWD, c"/proc/self".as_ptr(), O_RDONLY | O_DIRECTORY)?);
    equal!(within(ring, proc.fd().raw(), c"cwd", RESOLVE_BENEATH)?, EXDEV);
    equal!(within(ring, proc.fd().raw(), c"cwd", RESOLVE_IN_ROOT)?, EXDEV);
    rt::fs::remove_dir_all("/tmp/ring-bounds")?;
    Ok(())
}

fn wrong() -> Outcome {
    let mut ring = Ring::new(8, 0)?;
    let ring = &mut ring;
    let size = size_of::<OpenHow>();
    let plain = OpenHow::default();
    let cases = [
        (OpenHow { flags: 1 << 40, ..plain }, EINVAL),
        (OpenHow { flags: 1 << 31, ..plain }, EINVAL),
        (OpenHow { mode: 0o600, ..plain }, EINVAL),
        (OpenHow { flags: O_CREAT.into(), mode: 0o10_000, ..plain }, EINVAL),
        (OpenHow { flags: (O_CREAT | O_DIRECTORY).into(), ..plain }, EINVAL),
        (OpenHow { flags: (O_TMPFILE & !O_DIRECTORY | O_RDWR).into(), ..plain }, EINVAL),
        (OpenHow { flags: (O_TMPFILE | O_RDONLY).into(), ..plain }, EINVAL),
        (OpenHow { flags: (O_PATH | O_RDWR).into(), ..plain }, EINVAL),
        (OpenHow { flags: (O_PATH | O_CLOEXEC).into(), ..plain }, 0),
        (OpenHow { resolve: 1 << 6, ..plain }, EINVAL),
        (OpenHow { resolve: 1 << 32, ..plain }, EINVAL),
        (OpenHow { resolve: (RESOLVE_IN_ROOT | RESOLVE_BENEATH).into(), ..plain }, EINVAL),
        (OpenHow { flags: O_TRUNC.into(), resolve: RESOLVE_CACHED.into(), ..plain }, EAGAIN),
    ];
    for (how, result) in cases {
        let found = opens(ring, AT_FDCWD, c"/tmp", &how, size)?;
        ensure!(found == result, "{found} of {how:?}");
    }
    equal!(opens(ring, AT_FDCWD, c"/tmp", &plain, size - 1)?, EINVAL);
    // A kernel that knows less than the program: what it does not know is not asked for.
    let mut longer = [0u8; 8192];
    let asks = |longer: &[u8], size: usize| call!(OPENAT2, AT_FDCWD, c"/tmp".as_ptr(), longer.as_ptr(), size);
    call!(CLOSE, asks(&longer, 200)?)?;
    call!(CLOSE, asks(&longer, PAGE)?)?;
    longer[199] = 1;
    for size in [200, PAGE, PAGE + 1] {
        ensure!(asks(&longer, size).is_err_and(|errno| errno.number() == -E2BIG), "{size}");
    }
    call!(CLOSE, asks(&longer, 199)?)?;
    // A place in the table is closed by no `execve`.
    let how = OpenHow { flags: O_CLOEXEC.into(), ..plain };
    let (addr, off) = (c"/tmp".as_ptr() as u64, &raw const how as u64);
    let entry = Sqe { addr, off, len: size as u32, file_index: 1, ..call_of(IORING_OP_OPENAT2, AT_FDCWD) };
    equal!(one(ring, entry)?, EINVAL);
    equal!(one(ring, Sqe { off: 8, file_index: 0, ..entry })?, -14);
    Ok(())
}
