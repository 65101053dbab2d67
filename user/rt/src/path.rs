//! Paths are `&str` with `/` between components; these helpers take them apart and join them.

use alloc::string::{String, ToString};

/// `base` and `rest` with one `/` between; `rest` alone if it is absolute.
#[must_use]
pub fn join(base: &str, rest: &str) -> String {
    if rest.starts_with('/') || base.is_empty() {
        return rest.to_string();
    }
    let mut path = base.to_string();
    if !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(rest);
    path
}

/// The last component, without slashes after it; `""` for the root.
#[must_use]
pub fn file_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// What is before the last component: `""` when there is only one, `/` below the root.
#[must_use]
pub fn parent(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => &path[..at],
        None => "",
    }
}

/// What follows the last dot of the file name, if the name does not begin with it.
#[must_use]
pub fn extension(path: &str) -> Option<&str> {
    match file_name(path).rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => Some(extension),
        _ => None,
    }
}
