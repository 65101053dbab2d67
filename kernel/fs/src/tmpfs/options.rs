//! The options of a mount: `size=`, `nr_blocks=`, `mode=`, `uid=`, `gid=`, as in Linux's tmpfs.
//!
//! `nr_inodes=` is accepted and means nothing: inodes count against the size.

use abi::errno::Errno;
use core::str::FromStr;
use hal::PAGE_SIZE;

/// How a new file system is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Most bytes that it holds.
    pub(super) limit: usize,
    /// Permissions of the root directory, and its owner and group.
    pub(super) permissions: u32,
    pub(super) owner: (u32, u32),
}

impl Default for Options {
    fn default() -> Self {
        Options { limit: usize::MAX, permissions: 0o1777, owner: (0, 0) }
    }
}

impl Options {
    /// Takes in a list with commas between. `total`: bytes of memory, for sizes in percent.
    pub(super) fn parse(mut self, options: &[u8], total: usize) -> Result<Options, Errno> {
        let options = core::str::from_utf8(options).map_err(|_| Errno::EINVAL)?;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or(Errno::EINVAL)?;
            match key {
                "size" => self.limit = limit(size(value, total)?),
                "nr_blocks" => self.limit = limit(amount(value)?.saturating_mul(PAGE_SIZE)),
                "nr_inodes" => _ = amount(value)?,
                "mode" => self.permissions = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777,
                "uid" => self.owner.0 = number(value)?,
                "gid" => self.owner.1 = number(value)?,
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(self)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, Errno> {
    text.parse().map_err(|_| Errno::EINVAL)
}

/// A number with a binary suffix.
fn amount(text: &str) -> Result<usize, Errno> {
    let shift = match text.bytes().last().map(|last| last.to_ascii_lowercase()) {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    Ok(number::<usize>(digits)?.saturating_mul(1 << shift))
}

fn size(text: &str, total: usize) -> Result<usize, Errno> {
    match text.strip_suffix('%') {
        Some(percent) => Ok((total / 100).saturating_mul(number(percent)?)),
        None => amount(text),
    }
}

/// Whole pages; zero stands for no limit.
fn limit(bytes: usize) -> usize {
    if bytes == 0 { usize::MAX } else { bytes.checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, Errno> {
        Options::default().parse(text.as_bytes(), 1000 << 20)
    }

    #[test]
    fn sizes_have_suffixes() {
        let limit = |text: &str| parse(text).unwrap().limit;
        assert_eq!(limit("size=1m"), 1 << 20);
        assert_eq!(limit("size=5000"), 2 * PAGE_SIZE);
        assert_eq!(limit("size=10%"), 100 << 20);
        assert_eq!(limit("nr_blocks=2K,nr_inodes=100"), 2048 * PAGE_SIZE);
        assert_eq!((limit("size=0"), limit("")), (usize::MAX, usize::MAX));
        assert_eq!(limit("size=99999999999g"), usize::MAX);
    }

    #[test]
    fn the_root_has_an_owner() {
        let options = parse("mode=755,uid=7,gid=8").unwrap();
        assert_eq!((options.permissions, options.owner), (0o755, (7, 8)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["size", "size=", "size=m", "size=1x", "size=-1", "size=1%%", "mode=9", "other=1", "size=\u{e9}"] {
            assert_eq!(parse(text), Err(Errno::EINVAL), "{text}");
        }
    }
}
