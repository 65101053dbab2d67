//! Arguments and environment. The environment is copied at first use and then belongs to this process: `set_var` changes
//! what [`crate::process::Command`] hands to children.

use crate::io;
use crate::start;
use crate::sync::Mutex;
use crate::sys::{c_string, syscall};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

static CHANGED: Mutex<Option<BTreeMap<String, String>>> = Mutex::new(None);

/// The program's arguments, its own name first.
pub fn args() -> impl Iterator<Item = &'static str> {
    (0..start::argc()).filter_map(start::argument)
}

fn with<T>(f: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
    let mut guard = CHANGED.lock();
    f(guard.get_or_insert_with(|| {
        (0..)
            .map_while(start::variable)
            .filter_map(|text| text.split_once('='))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }))
}

/// A variable's value.
#[must_use]
pub fn var(name: &str) -> Option<String> {
    with(|vars| vars.get(name).cloned())
}

/// All variables, sorted by name.
#[must_use]
pub fn vars() -> Vec<(String, String)> {
    with(|vars| vars.iter().map(|(n, v)| (n.clone(), v.clone())).collect())
}

/// Sets a variable.
pub fn set_var(name: &str, value: &str) {
    with(|vars| vars.insert(name.to_string(), value.to_string()));
}

/// Removes a variable.
pub fn remove_var(name: &str) {
    with(|vars| vars.remove(name));
}

/// The working directory.
///
/// # Errors
/// `ENOENT` when it was removed.
pub fn current_dir() -> io::Result<String> {
    let mut buf = [0u8; abi::fs::PATH_MAX];
    let len = syscall!(GETCWD, buf.as_mut_ptr(), buf.len())?;
    io::text(buf[..len.saturating_sub(1)].to_vec())
}

/// Changes the working directory.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`.
pub fn set_current_dir(path: &str) -> io::Result<()> {
    let path = c_string(path)?;
    syscall!(CHDIR, path.as_ptr())?;
    Ok(())
}
