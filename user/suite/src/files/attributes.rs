//! Extended attributes, on the disk's file system and on tmpfs, by calls and by entries of a ring.

use crate::case::{Case, Outcome, Trouble};
use crate::machine::needs_root;
use crate::place::Place;
use crate::process::{checked_child, exits};
use alloc::ffi::CString;
use core::ffi::CStr;
use rt::abi::Errno;
use rt::abi::fs::{XATTR_CREATE, XATTR_REPLACE};
use rt::abi::io_uring::*;
use rt::fs;
use rt::ring::Ring;

pub const CASES: &[Case] = &[
    case!("files/disk/attributes", "D3 D18", || attributes(&Place::disk()?)),
    case!("files/memory/attributes", "D3 D18", || attributes(&Place::memory()?)),
    case!("files/disk/attributes-of-others", "E1 P1", || of_others(&Place::disk()?)),
    case!("files/memory/attributes-of-others", "E1 P1", || of_others(&Place::memory()?)),
    case!("files/disk/attributes-begin-without", "E1 P1", || begin_without(&Place::disk()?)),
    case!("files/memory/attributes-begin-without", "E1 P1", || begin_without(&Place::memory()?)),
    case!("files/disk/wrong-attributes", "E1", || wrong(&Place::disk()?)),
    case!("files/memory/wrong-attributes", "E1", || wrong(&Place::memory()?)),
    case!("ring/attributes-on-disk", "C4 D3", || by_entries(&Place::disk()?)),
    case!("ring/attributes-in-memory", "C4 D3", || by_entries(&Place::memory()?)),
];

fn path_of(place: &Place, name: &str) -> Result<CString, Trouble> {
    CString::new(place.join(name)).map_err(|_| Trouble::failed("a name with a zero in it"))
}

/// A file in the place, for all to write.
fn file(place: &Place, mode: u32) -> Result<CString, Trouble> {
    let path = place.join("attributes");
    fs::write(&path, b"content")?;
    fs::set_permissions(&path, mode)?;
    path_of(place, "attributes")
}

fn set(path: &CStr, name: &CStr, value: &[u8], flags: u32) -> Result<usize, Errno> {
    call!(SETXATTR, path.as_ptr(), name.as_ptr(), value.as_ptr(), value.len(), flags)
}

fn get(path: &CStr, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    call!(GETXATTR, path.as_ptr(), name.as_ptr(), value.as_mut_ptr(), value.len())
}

fn remove(path: &CStr, name: &CStr) -> Result<usize, Errno> {
    call!(REMOVEXATTR, path.as_ptr(), name.as_ptr())
}

/// Whether the file has these names, and no others.
fn has(path: &CStr, names: &[&CStr]) -> Outcome {
    let mut list = [0u8; 512];
    let len = call!(LISTXATTR, path.as_ptr(), list.as_mut_ptr(), 512)?;
    equal!(call!(LISTXATTR, path.as_ptr(), 0, 0)?, len);
    // What the file system's security gives of its own is not this file's.
    let found = || list[..len].split_inclusive(|byte| *byte == 0).filter(|name| !name.starts_with(b"security."));
    let text = alloc::string::String::from_utf8_lossy(&list[..len]);
    ensure!(found().count() == names.len(), "{text:?}, expected {names:?}");
    ensure!(names.iter().all(|name| found().any(|found| found == name.to_bytes_with_nul())));
    Ok(())
}

fn attributes(place: &Place) -> Outcome {
    let path = &*file(place, 0o600)?;
    has(path, &[])?;
    equal!(set(path, c"user.one", b"first", 0), Ok(0));
    equal!(set(path, c"user.two", b"", XATTR_CREATE), Ok(0));
    has(path, &[c"user.one", c"user.two"])?;
    let mut value = [0u8; 16];
    equal!(get(path, c"user.one", &mut value), Ok(5));
    equal!(value[..5], *b"first");
    equal!(get(path, c"user.one", &mut []), Ok(5));
    equal!(get(path, c"user.two", &mut value), Ok(0));
    fails!(get(path, c"user.one", &mut value[..4]), ERANGE);
    fails!(get(path, c"user.none", &mut value), ENODATA);
    fails!(set(path, c"user.one", b"again", XATTR_CREATE), EEXIST);
    fails!(set(path, c"user.none", b"again", XATTR_REPLACE), ENODATA);
    fails!(set(path, c"user.one", b"again", XATTR_CREATE | XATTR_REPLACE), EEXIST);
    equal!(set(path, c"user.one", b"longer than first", XATTR_REPLACE), Ok(0));
    fails!(get(path, c"user.one", &mut value), ERANGE);
    // By a descriptor, and of a directory.
    let open = fs::File::open(&place.join("attributes"))?;
    let fd = open.fd().raw();
    equal!(call!(FGETXATTR, fd, c"user.one".as_ptr(), 0, 0), Ok(17));
    equal!(call!(FSETXATTR, fd, c"user.three".as_ptr(), b"3".as_ptr(), 1, 0), Ok(0));
    let mut list = [0u8; 64];
    equal!(call!(FLISTXATTR, fd, list.as_mut_ptr(), 64), Ok(29));
    fails!(call!(FLISTXATTR, fd, list.as_mut_ptr(), 28), ERANGE);
    equal!(call!(FREMOVEXATTR, fd, c"user.one".as_ptr()), Ok(0));
    fails!(remove(path, c"user.one"), ENODATA);
    equal!(remove(path, c"user.two"), Ok(0));
    has(path, &[c"user.three"])?;
    let directory = path_of(place, ".")?;
    equal!(set(&directory, c"user.of-a-directory", &[7; 100], 0), Ok(0));
    has(&directory, &[c"user.of-a-directory"])?;
    equal!(remove(&directory, c"user.of-a-directory"), Ok(0));
    // The content has nothing to do with it.
    equal!(fs::read(&place.join("attributes"))?, b"content");
    // A large one, beside the others.
    equal!(set(path, c"user.large", &[9; 3000], 0), Ok(0));
    let mut large = [0u8; 4000];
    equal!(get(path, c"user.large", &mut large), Ok(3000));
    ensure!(large[..3000].iter().all(|byte| *byte == 9));
    has(path, &[c"user.three", c"user.large"])
}

/// A file that takes the place of one that is gone has nothing of it.
fn begin_without(place: &Place) -> Outcome {
    for round in 0..20 {
        let path = &*file(place, 0o600)?;
        has(path, &[])?;
        equal!(set(path, c"user.one", b"first", 0), Ok(0));
        equal!(set(path, c"user.large", &[round; 500], 0), Ok(0));
        fs::remove_file(&place.join("attributes"))?;
        fs::symlink("nowhere", &place.join("link"))?;
        let link = path_of(place, "link")?;
        equal!(call!(LLISTXATTR, link.as_ptr(), 0, 0), Ok(0));
        fs::remove_file(&place.join("link"))?;
    }
    Ok(())
}

fn wrong(place: &Place) -> Outcome {
    let path = &*file(place, 0o600)?;
    let mut value = [0u8; 8];
    for name in [c"user", c"nothing.name", c"name", c"system.name"] {
        fails!(set(path, name, b"x", 0), EOPNOTSUPP);
        fails!(get(path, name, &mut value), EOPNOTSUPP);
    }
    fails!(set(path, c"user.", b"x", 0), EINVAL);
    fails!(set(path, c"", b"x", 0), ERANGE);
    let long = CString::new(alloc::vec![b'u'; 256]).map_err(|_| Trouble::failed("a zero"))?;
    fails!(set(path, &long, b"x", 0), ERANGE);
    fails!(set(path, c"user.x", b"x", 4), EINVAL);
    fails!(set(path, c"user.x", &alloc::vec![0; 65_537], 0), E2BIG);
    fails!(set(c"/tmp/there-is-none", c"user.x", b"x", 0), ENOENT);
    fails!(call!(SETXATTR, path.as_ptr(), c"user.x".as_ptr(), 8, 4, 0), EFAULT);
    fails!(call!(SETXATTR, path.as_ptr(), 8, value.as_ptr(), 4, 0), EFAULT);
    fails!(call!(FSETXATTR, 999, c"user.x".as_ptr(), value.as_ptr(), 4, 0), EBADF);
    equal!(set(path, c"user.x", b"12345678", 0), Ok(0));
    fails!(call!(GETXATTR, path.as_ptr(), c"user.x".as_ptr(), 8, 8), EFAULT);
    fails!(call!(LISTXATTR, path.as_ptr(), 8, 64), EFAULT);
    // A link is none of those that have attributes of a user's.
    fs::symlink("attributes", &place.join("link"))?;
    let link = path_of(place, "link")?;
    equal!(get(&link, c"user.x", &mut value), Ok(8));
    fails!(call!(LSETXATTR, link.as_ptr(), c"user.x".as_ptr(), value.as_ptr(), 4, 0), EPERM);
    fails!(call!(LGETXATTR, link.as_ptr(), c"user.x".as_ptr(), value.as_mut_ptr(), 8), ENODATA);
    fails!(call!(LREMOVEXATTR, link.as_ptr(), c"user.x".as_ptr()), EPERM);
    equal!(call!(LGETXATTR, path.as_ptr(), c"user.x".as_ptr(), value.as_mut_ptr(), 8), Ok(8));
    Ok(())
}

fn of_others(place: &Place) -> Outcome {
    needs_root()?;
    fs::set_permissions(&place.join("."), 0o755)?;
    let path = &*file(place, 0o644)?;
    equal!(set(path, c"user.x", b"seen", 0), Ok(0));
    equal!(set(path, c"trusted.x", b"hidden", 0), Ok(0));
    has(path, &[c"user.x", c"trusted.x"])?;
    // The way to it may be closed to others.
    let open = fs::File::open(&place.join("attributes"))?;
    let fd = open.fd().raw();
    let pid = checked_child(|| {
        call!(SETUID, 1000)?;
        let mut value = [0u8; 8];
        let mut get = |name: &CStr| call!(FGETXATTR, fd, name.as_ptr(), value.as_mut_ptr(), 8);
        equal!(get(c"user.x"), Ok(4));
        fails!(get(c"trusted.x"), ENODATA);
        let set = |name: &CStr| call!(FSETXATTR, fd, name.as_ptr(), b"x".as_ptr(), 1, 0);
        fails!(set(c"user.x"), EACCES);
        fails!(set(c"trusted.x"), EPERM);
        fails!(set(c"security.x"), EPERM);
        fails!(call!(FREMOVEXATTR, fd, c"user.x".as_ptr()), EACCES);
        let mut list = [0u8; 64];
        let len = call!(FLISTXATTR, fd, list.as_mut_ptr(), 64)?;
        ensure!(!list[..len].split(|byte| *byte == 0).any(|name| name.starts_with(b"trusted.")), "it is listed");
        Ok(())
    })?;
    exits(pid, 0)
}

fn by_entries(place: &Place) -> Outcome {
    let path = &*file(place, 0o600)?;
    let open = fs::File::open(&place.join("attributes"))?;
    let mut ring = Ring::new(4, 0)?;
    let mut one = |entry: Sqe| -> Result<i32, Trouble> {
        ensure!(ring.push_raw(&entry));
        ring.submit(1)?;
        ring.pop().map(|found| found.res).ok_or_else(|| Trouble::failed("nothing completes"))
    };
    let mut value = *b"12345678";
    let entry = |opcode, len, flags, value: &mut [u8; 8]| Sqe {
        opcode,
        fd: open.fd().raw(),
        addr: c"user.ring".as_ptr() as u64,
        off: value.as_mut_ptr() as u64,
        addr3: path.as_ptr() as u64,
        len,
        op_flags: flags,
        ..Sqe::default()
    };
    equal!(one(entry(IORING_OP_FSETXATTR, 8, XATTR_CREATE, &mut value))?, 0);
    equal!(one(entry(IORING_OP_SETXATTR, 3, XATTR_CREATE, &mut value))?, -17);
    equal!(one(entry(IORING_OP_SETXATTR, 3, XATTR_REPLACE, &mut value))?, 0);
    value = [0; 8];
    equal!(one(entry(IORING_OP_FGETXATTR, 8, 0, &mut value))?, 3);
    equal!(value, *b"123\0\0\0\0\0");
    equal!(one(entry(IORING_OP_GETXATTR, 8, 0, &mut value))?, 3);
    equal!(one(entry(IORING_OP_GETXATTR, 2, 0, &mut value))?, -34);
    equal!(one(entry(IORING_OP_GETXATTR, 8, 1, &mut value))?, -22);
    equal!(one(entry(IORING_OP_SETXATTR, 8, 4, &mut value))?, -22);
    for opcode in [IORING_OP_FSETXATTR, IORING_OP_SETXATTR, IORING_OP_FGETXATTR, IORING_OP_GETXATTR] {
        equal!(one(Sqe { flags: IOSQE_FIXED_FILE, ..entry(opcode, 8, 0, &mut value) })?, -9);
    }
    Ok(())
}
